//! A `SOCK_STREAM` socket as system calls and the tables see it, whatever stage it is in. Linux: `struct socket`,
//! `struct inet_sock`, `struct inet_connection_sock`.

use std::net::IpAddr;

use super::isn::Secrets;
use super::listen::Listener;
use super::request::RequestSock;
use super::shared::Shared;
use super::tables::Ehash;
use super::tcb::{Nagle, Tcb, UserOptions};
use super::time_wait::TimeWaits;
use crate::Errno;
use crate::call::Domain;
use crate::rng::Rng;
use crate::route::Dst;
use crate::socket::slab::Slab;
use crate::socket::sock::SockOptions;

/// `sock->state` (`enum socket_state`): what `connect` has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Unconnected,
    Connecting,
    Connected,
}

/// Settings that a connection is made with (or, on a listener, that its connections inherit).
#[derive(Clone, Debug)]
pub(crate) struct Prep {
    pub(crate) user: Shared<UserOptions>,
    pub(crate) nagle: Nagle,
    /// `TCP_MAXSEG`; 0 for none.
    pub(crate) user_mss: u16,
    /// `TCP_CONGESTION`
    pub(crate) congestion: &'static str,
    pub(crate) sndbuf_locked: bool,
    pub(crate) rcvbuf_locked: bool,
    /// `TCP_QUICKACK` 0 before connecting.
    pub(crate) pingpong: bool,
    pub(crate) fastopen: super::fastopen::Prep,
    /// `TCP_SAVE_SYN`: 0, 1 (IP and TCP headers), 2 (with the link's).
    pub(crate) save_syn: u8,
    /// `TCP_INQ`: `recvmsg` tells how much is left to read.
    pub(crate) inq: bool,
    pub(crate) zerocopy: bool,
    /// `SO_TIMESTAMPING`
    pub(crate) timestamping: u32,
}

/// No file: a connection that was not accepted yet, or an orphan.
pub(crate) const NO_FILE: u32 = u32::MAX;

/// In no bind bucket.
pub(crate) const NO_PLACE: u32 = u32::MAX;

/// One socket.
#[derive(Debug)]
pub(crate) struct TcpSock {
    pub(crate) domain: Domain,
    pub(crate) serial: u32,
    pub(crate) file: u32,
    pub(crate) opts: Shared<SockOptions>,
    pub(crate) prep: Shared<Prep>,
    pub(crate) rcv_addr: IpAddr,
    pub(crate) saddr: IpAddr,
    /// `inet_num`; 0 while it has none.
    pub(crate) port: u16,
    /// Its place in the bind bucket of `port`.
    pub(crate) bind_place: u32,
    pub(crate) addr_locked: bool,
    pub(crate) port_locked: bool,
    pub(crate) peer_scope: u32,
    pub(crate) dst: Option<(u32, Dst)>,
    pub(crate) ip_id: u16,
    pub(crate) phase: Phase,
    /// In the established table under this hash.
    pub(crate) hash: Option<u32>,
    /// In the accept queue of this listener.
    pub(crate) parent: Option<u32>,
    /// `sk_err` and `sk_shutdown` while there is no connection.
    pub(crate) error: Option<Errno>,
    pub(crate) shutdown_rd: bool,
    pub(crate) shutdown_wr: bool,
    /// A process waits in `close` for the FIN to be acknowledged (`SO_LINGER`).
    pub(crate) lingering: bool,
    pub(crate) linger_until: Option<wire::Instant>,
    pub(crate) tcb: Option<Box<Tcb>>,
    pub(crate) listener: Option<Box<Listener>>,
    /// The headers of the SYN that it was made from (`TCP_SAVED_SYN`).
    pub(crate) saved_syn: Option<Box<[u8]>>,
}

impl TcpSock {
    /// `ss`'s word for its state.
    pub(crate) fn state_name(&self) -> &'static str {
        if self.listener.is_some() {
            return "LISTEN";
        }
        self.tcb.as_ref().map_or("UNCONN", |t| t.state().name())
    }
}

/// TCP's tables.
#[derive(Debug)]
pub(crate) struct Tcp {
    pub(crate) socks: Slab<Box<TcpSock>>,
    /// Settings of a new socket, as long as the sysctls behind them stay.
    pub(super) fresh: Option<(Shared<SockOptions>, Shared<Prep>)>,
    pub(crate) requests: Slab<RequestSock>,
    pub(crate) time_waits: TimeWaits,
    pub(crate) ehash: Ehash,
    pub(crate) binds: super::bind::BindTable,
    /// Listeners by port, oldest first.
    pub(crate) listeners: crate::udp::ports::PortTable,
    pub(crate) ways: super::ways::Ways,
    pub(super) spare: super::spare::Spare,
    pub(crate) secrets: Secrets,
    pub(crate) rng: Rng,
    pub(crate) peers: super::metrics::Peers,
    /// `tcp_tw_recycle`'s memory of hosts.
    pub(crate) stamps: super::recycle::Stamps,
    /// Headers of SYNs whose requests are not connections yet, by serial number (`TCP_SAVE_SYN`).
    pub(crate) saved_syns: std::collections::BTreeMap<u32, Box<[u8]>>,
    /// `tcp_orphan_count`
    pub(crate) orphans: u32,
    /// Memory of all connections.
    pub(crate) memory: super::mem::TcpMemory,
    /// `tw_count`
    pub(crate) time_wait_count: u32,
    /// `table_perturb`: a salt of port choices by destination; empty before the first.
    pub(crate) port_perturb: Vec<u32>,
    /// The interface whose queue takes no packet.
    pub(crate) full_queue: Option<crate::record::IfIndex>,
    /// Segments of the step that is being taken.
    pub(super) segments: Vec<super::cx::OutSegment>,
    /// Buffers for what bulk writers copy.
    pub(super) chunks: super::send_buffer::ChunkPool,
    /// State changes of it.
    pub(super) transitions: Vec<(super::tcb::State, super::tcb::State)>,
}

impl Tcp {
    pub(crate) fn new(rng: &Rng) -> Tcp {
        Tcp {
            socks: Slab::default(),
            fresh: None,
            requests: Slab::default(),
            time_waits: TimeWaits::default(),
            ehash: Ehash::default(),
            binds: super::bind::BindTable::default(),
            listeners: crate::udp::ports::PortTable::default(),
            ways: super::ways::Ways::default(),
            spare: super::spare::Spare::default(),
            secrets: Secrets::new(rng),
            rng: rng.fork("tcp"),
            peers: super::metrics::Peers::default(),
            stamps: super::recycle::Stamps::default(),
            saved_syns: std::collections::BTreeMap::new(),
            orphans: 0,
            memory: super::mem::TcpMemory::default(),
            time_wait_count: 0,
            port_perturb: Vec::new(),
            full_queue: None,
            segments: Vec::new(),
            chunks: super::send_buffer::ChunkPool::default(),
            transitions: Vec::new(),
        }
    }
}
