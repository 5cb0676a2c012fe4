//! The sockets and descriptors of a run: script numbers beside live ones, and how a connection's numbers map.

use std::collections::BTreeMap;
use std::net::IpAddr;

use stack::call::Fd;

/// Where a socket stands, as far as packets are matched by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    New,
    Listening,
    /// A SYN was injected.
    PacketReceived,
    SynAckSent,
    SynAckAcked,
    /// `connect()` was called.
    Connecting,
    SynSent,
    SynAcked,
}

/// One socket; the newest is the one under test.
#[derive(Clone, Debug)]
pub(super) struct Sock {
    pub(super) state: State,
    pub(super) datagram: bool,
    /// 6, 17, 1 or 58.
    pub(super) protocol: i64,
    pub(super) script_fd: Option<i64>,
    pub(super) live_fd: Option<Fd>,
    pub(super) local: Option<(IpAddr, u16)>,
    pub(super) remote: Option<(IpAddr, u16)>,
    pub(super) script_local_isn: u32,
    pub(super) live_local_isn: u32,
    /// The runner chooses it: the script's.
    pub(super) remote_isn: u32,
    /// TSval of the script to that of the host.
    pub(super) ts: BTreeMap<u32, u32>,
    /// The first pair of them.
    pub(super) first_ts: Option<(u32, u32)>,
    /// Flow label of the script and the host's.
    pub(super) flow_label: Option<(u32, u32)>,
}

impl Sock {
    pub(super) fn new(state: State, protocol: i64) -> Sock {
        Sock {
            state,
            datagram: false,
            protocol,
            script_fd: None,
            live_fd: None,
            local: None,
            remote: None,
            script_local_isn: 0,
            live_local_isn: 0,
            remote_isn: 0,
            ts: BTreeMap::new(),
            first_ts: None,
            flow_label: None,
        }
    }

    /// What is added to the host's sequence number in a script to get the live one.
    pub(super) fn local_offset(&self, syn: bool) -> u32 {
        if syn { self.live_local_isn.wrapping_sub(self.script_local_isn) } else { self.live_local_isn }
    }

    /// The same for the peer's.
    pub(super) fn remote_offset(&self, syn: bool) -> u32 {
        if syn { 0 } else { self.remote_isn }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Socks {
    pub(super) all: Vec<Sock>,
    /// Open descriptors: script number to live one.
    pub(super) fds: BTreeMap<i64, Fd>,
    next_port: u16,
}

/// First port of the peer that plays a client.
const FIRST_PORT: u16 = 40_001;

impl Socks {
    /// A new socket is the one under test.
    pub(super) fn push(&mut self, sock: Sock) {
        self.all.push(sock);
    }

    pub(super) fn under_test(&mut self) -> Option<&mut Sock> {
        self.all.last_mut()
    }

    pub(super) fn by_script_fd(&mut self, fd: i64) -> Option<&mut Sock> {
        self.all.iter_mut().rev().find(|s| s.script_fd == Some(fd))
    }

    /// A port that the peer has not used yet.
    pub(super) fn peer_port(&mut self) -> u16 {
        self.next_port += 1;
        FIRST_PORT + self.next_port
    }

    /// Gives a descriptor its script number.
    pub(super) fn open(&mut self, script: i64, live: Fd) -> Result<(), String> {
        if script < 0 {
            return Err(format!("invalid fd {script} in script"));
        }
        if self.fds.contains_key(&script) {
            return Err(format!("duplicate fd {script} in script"));
        }
        self.fds.insert(script, live);
        Ok(())
    }

    /// `accept` may use a number again: scripts that let go of their connections do.
    pub(super) fn open_again(&mut self, script: i64, live: Fd) -> Result<(), String> {
        self.fds.remove(&script);
        self.open(script, live)
    }

    pub(super) fn close(&mut self, script: i64) {
        self.fds.remove(&script);
        if let Some(sock) = self.by_script_fd(script) {
            sock.script_fd = None;
        }
    }
}
