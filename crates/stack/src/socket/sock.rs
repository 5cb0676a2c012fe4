//! A datagram socket: UDP, ping or raw. Linux: `struct sock`, `struct inet_sock`, `struct udp_sock`.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use core::time::Duration;

use wire::ip::Protocol;
use wire::{Frame, Instant};

use super::file::FileId;
use super::{Membership, QueuedError};
use crate::Errno;
use crate::call::{Domain, SockAddr};
use crate::ip::RxMeta;
use crate::record::IfIndex;
use crate::route::Dst;
use crate::udp::send::Cork;

/// What a datagram socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DgramKind {
    /// `SOCK_DGRAM`
    Udp,
    /// `SOCK_DGRAM` with `IPPROTO_ICMP` or `IPPROTO_ICMPV6`: the port is the echo identifier.
    Ping,
    /// `SOCK_RAW`
    Raw,
}

/// A datagram that waits to be read.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// What the program gets: the payload (raw sockets: with the IPv4 header).
    pub(crate) frame: Frame,
    pub(crate) at: Instant,
    addrs: Addrs,
    pub(crate) ifindex: IfIndex,
    pub(crate) truesize: u32,
    /// `sk_drops` when it was queued (`SO_RXQ_OVFL`).
    pub(crate) drops: u32,
    pub(crate) src_port: u16,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
}

/// Source, destination and `ipi_spec_dst`, small for the many.
#[derive(Clone, Debug)]
enum Addrs {
    V4([u32; 3]),
    Other(Box<[IpAddr; 3]>),
}

impl Received {
    /// A datagram that arrived now, with this header.
    #[inline(always)]
    pub(crate) fn new(at: Instant, meta: &RxMeta, src_port: u16, frame: Frame, truesize: u32) -> Received {
        let addrs = match (meta.src, meta.dst, meta.spec_dst) {
            (IpAddr::V4(src), IpAddr::V4(dst), IpAddr::V4(spec)) => {
                Addrs::V4([src.to_bits(), dst.to_bits(), spec.to_bits()])
            }
            (src, dst, spec) => Addrs::Other(Box::new([src, dst, spec])),
        };
        let RxMeta { ifindex, ttl, tos, .. } = *meta;
        Received { frame, at, addrs, ifindex, truesize, drops: 0, src_port, ttl, tos }
    }

    #[inline]
    fn addr(&self, which: usize) -> IpAddr {
        match &self.addrs {
            Addrs::V4(addrs) => IpAddr::V4(Ipv4Addr::from_bits(addrs[which])),
            Addrs::Other(addrs) => addrs[which],
        }
    }

    #[inline]
    pub(crate) fn src(&self) -> IpAddr {
        self.addr(0)
    }

    #[inline]
    pub(crate) fn dst(&self) -> IpAddr {
        self.addr(1)
    }

    /// `ipi_spec_dst`
    pub(crate) fn spec_dst(&self) -> IpAddr {
        self.addr(2)
    }
}

/// `SO_TIMESTAMP`, `SO_TIMESTAMPNS`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timestamps {
    Off,
    Micros,
    Nanos,
}

/// `IP_PMTUDISC_*`
pub(crate) mod pmtudisc {
    /// Never set DF.
    pub(crate) const DONT: u8 = 0;
    /// Set DF and refuse what is longer than the path MTU.
    pub(crate) const DO: u8 = 2;
    /// Set DF, ignore the path MTU.
    pub(crate) const PROBE: u8 = 3;
    /// Use the interface's MTU, no DF, ignore ICMP.
    pub(crate) const INTERFACE: u8 = 4;
    /// As `INTERFACE`, and fragment what is longer.
    pub(crate) const OMIT: u8 = 5;
}

/// Socket options (every one that is stored); defaults are a fresh socket's. TCP's sockets will have them too.
#[derive(Clone, Debug)]
pub(crate) struct SockOptions {
    pub(crate) reuse_addr: bool,
    pub(crate) reuse_port: bool,
    pub(crate) broadcast: bool,
    pub(crate) dont_route: bool,
    pub(crate) keepalive: bool,
    pub(crate) oob_inline: bool,
    pub(crate) rxq_ovfl: bool,
    pub(crate) timestamps: Timestamps,
    pub(crate) linger: Option<i32>,
    pub(crate) priority: i32,
    pub(crate) mark: u32,
    pub(crate) rcvlowat: i32,
    pub(crate) rcvbuf: u32,
    pub(crate) sndbuf: u32,
    /// `None` waits for ever, zero not at all.
    pub(crate) rcvtimeo: Option<Duration>,
    pub(crate) sndtimeo: Option<Duration>,
    pub(crate) bound_if: IfIndex,

    pub(crate) tos: u8,
    /// `None`: `ip_default_ttl`.
    pub(crate) ttl: Option<u8>,
    pub(crate) pmtudisc: u8,
    pub(crate) recverr: bool,
    pub(crate) recvttl: bool,
    pub(crate) recvtos: bool,
    pub(crate) pktinfo: bool,
    pub(crate) freebind: bool,
    pub(crate) transparent: bool,
    pub(crate) hdrincl: bool,
    pub(crate) bind_no_port: bool,
    pub(crate) min_ttl: u8,
    /// `IP_LOCAL_PORT_RANGE`; 0 for the sysctl's bound.
    pub(crate) port_range: (u16, u16),
    pub(crate) mc_ttl: u8,
    pub(crate) mc_loop: bool,
    pub(crate) mc_all: bool,
    pub(crate) mc_if: IfIndex,
    pub(crate) mc_addr: Option<Ipv4Addr>,

    pub(crate) v6only: bool,
    pub(crate) hops: Option<u8>,
    pub(crate) tclass: u8,
    pub(crate) pmtudisc6: u8,
    pub(crate) dontfrag6: bool,
    pub(crate) recverr6: bool,
    pub(crate) recvpktinfo6: bool,
    pub(crate) recvhoplimit6: bool,
    pub(crate) recvtclass6: bool,
    pub(crate) mc_hops: u8,
    pub(crate) mc_loop6: bool,
    pub(crate) mc_all6: bool,
    pub(crate) mc_if6: IfIndex,

    pub(crate) cork: bool,
    pub(crate) gso_size: u16,
    pub(crate) no_check6_rx: bool,
    pub(crate) no_check6_tx: bool,
    pub(crate) no_check: bool,
    /// `ICMP_FILTER`: set bits are types that are not received.
    pub(crate) icmp_filter: u32,
}

impl SockOptions {
    pub(crate) fn new(rcvbuf: u32, sndbuf: u32) -> SockOptions {
        SockOptions {
            reuse_addr: false,
            reuse_port: false,
            broadcast: false,
            dont_route: false,
            keepalive: false,
            oob_inline: false,
            rxq_ovfl: false,
            timestamps: Timestamps::Off,
            linger: None,
            priority: 0,
            mark: 0,
            rcvlowat: 1,
            rcvbuf,
            sndbuf,
            rcvtimeo: None,
            sndtimeo: None,
            bound_if: 0,
            tos: 0,
            ttl: None,
            pmtudisc: 1,
            recverr: false,
            recvttl: false,
            recvtos: false,
            pktinfo: false,
            freebind: false,
            transparent: false,
            hdrincl: false,
            bind_no_port: false,
            min_ttl: 0,
            port_range: (0, 0),
            mc_ttl: 1,
            mc_loop: true,
            mc_all: true,
            mc_if: 0,
            mc_addr: None,
            v6only: false,
            hops: None,
            tclass: 0,
            pmtudisc6: 1,
            dontfrag6: false,
            recverr6: false,
            recvpktinfo6: false,
            recvhoplimit6: false,
            recvtclass6: false,
            mc_hops: 1,
            mc_loop6: true,
            mc_all6: true,
            mc_if6: 0,
            cork: false,
            gso_size: 0,
            no_check6_rx: false,
            no_check6_tx: false,
            no_check: false,
            icmp_filter: 0,
        }
    }
}

/// One datagram socket. IPv4-mapped addresses of IPv6 sockets are kept as IPv4 addresses.
#[derive(Debug)]
pub(crate) struct Dgram {
    pub(crate) kind: DgramKind,
    pub(crate) domain: Domain,
    pub(crate) protocol: Protocol,
    pub(crate) serial: u32,
    pub(crate) file: FileId,
    pub(crate) opts: SockOptions,

    /// `inet_rcv_saddr`: what it is bound to; unspecified takes all.
    pub(crate) rcv_addr: IpAddr,
    /// `inet_saddr`: what it sends from; unspecified leaves the choice to the route.
    pub(crate) saddr: IpAddr,
    /// `inet_num`; 0 while it has none. Of a raw socket the protocol.
    pub(crate) port: u16,
    /// The program chose the address (`SOCK_BINDADDR_LOCK`), the port (`SOCK_BINDPORT_LOCK`).
    pub(crate) addr_locked: bool,
    /// The IPv6 name that the socket keeps (`sk_v6_rcv_saddr`) when it was connected to an IPv4 peer afterwards.
    pub(crate) name6: Option<Ipv6Addr>,
    pub(crate) port_locked: bool,
    /// Connected: `inet_daddr`, `inet_dport`.
    pub(crate) peer: Option<(IpAddr, u16)>,
    /// `sin6_scope_id` of the peer.
    pub(crate) peer_scope: u32,
    /// The way to the peer, and the routing generation it was found in.
    pub(crate) dst: Option<(u32, Dst)>,
    /// How the last datagram went; forgotten when a name or an option changes.
    pub(crate) flow: Option<Box<crate::udp::flow::Flow>>,
    /// `inet_id` of a connected socket.
    pub(crate) ip_id: u16,
    /// Flow label of this socket's packets (`sk_txhash`).
    pub(crate) txhash: u32,
    pub(crate) shutdown_rd: bool,
    pub(crate) shutdown_wr: bool,
    /// `sk_err`
    pub(crate) error: Option<Errno>,
    pub(crate) errors: VecDeque<QueuedError>,
    pub(crate) rx: VecDeque<Received>,
    /// `sk_rmem_alloc`
    pub(crate) rmem: u32,
    /// Of `rx`, how many stand in UDP's `reader_queue`: their memory is given back late.
    pub(crate) reader_queue: u32,
    /// `forward_deficit`
    pub(crate) rmem_deficit: u32,
    pub(crate) drops: u32,
    pub(crate) cork: Option<Box<Cork>>,
    pub(crate) memberships: Vec<Membership>,
}

impl Dgram {
    /// `skb_errqueue_purge`
    pub(super) fn purge_errors(&mut self) {
        self.rmem = self.rmem.saturating_sub(self.errors.iter().map(|e| e.truesize).sum());
        self.errors.clear();
    }

    pub(crate) fn any_addr(domain: Domain) -> IpAddr {
        match domain {
            Domain::Inet => Ipv4Addr::UNSPECIFIED.into(),
            Domain::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// An address as this socket's program sees it: IPv6 sockets see IPv4 ones mapped.
    pub(crate) fn shown(&self, addr: IpAddr, port: u16, scope: u32) -> SockAddr {
        Self::shown_in(self.domain, addr, port, scope)
    }

    /// The same for a socket of this domain.
    pub(crate) fn shown_in(domain: Domain, addr: IpAddr, port: u16, scope: u32) -> SockAddr {
        SockAddr::Ip(match (domain, addr) {
            (Domain::Inet6, IpAddr::V4(v4)) => SocketAddrV6::new(v4.to_ipv6_mapped(), port, 0, 0).into(),
            (_, IpAddr::V6(v6)) => {
                let scope = if is_link_local(v6) { scope } else { 0 };
                SocketAddrV6::new(v6, port, 0, scope).into()
            }
            (Domain::Inet, addr) => SocketAddr::new(addr, port),
        })
    }

    /// An address without a port, for control messages.
    pub(crate) fn shown_ip(&self, addr: IpAddr) -> IpAddr {
        match (self.domain, addr) {
            (Domain::Inet6, IpAddr::V4(v4)) => v4.to_ipv6_mapped().into(),
            (_, addr) => addr,
        }
    }

    /// `ss`'s word for its state.
    pub(crate) fn state(&self) -> &'static str {
        if self.peer.is_some() { "ESTAB" } else { "UNCONN" }
    }

    /// `IP_RECVERR` or `IPV6_RECVERR`, for errors about packets of this family.
    pub(crate) fn wants_errors(&self, ipv6: bool) -> bool {
        if ipv6 { self.opts.recverr6 } else { self.opts.recverr }
    }

    /// Takes `sk_err`.
    pub(crate) fn take_error(&mut self) -> Option<Errno> {
        self.error.take()
    }

    /// `sock_dequeue_err_skb`: the next queued error; `sk_err` follows the one behind it.
    pub(crate) fn dequeue_error(&mut self) -> Option<QueuedError> {
        let entry = self.errors.pop_front()?;
        self.rmem = self.rmem.saturating_sub(entry.truesize);
        match self.errors.front() {
            Some(next) if next.is_icmp() => self.error = Some(next.errno),
            _ if entry.is_icmp() => self.error = None,
            _ => {}
        }
        Some(entry)
    }
}

/// `fe80::/10` or a link-local multicast group: needs an interface.
pub(crate) fn is_link_local(addr: Ipv6Addr) -> bool {
    let first = addr.segments()[0];
    first & 0xffc0 == 0xfe80 || first & 0xff0f == 0xff02 || first & 0xff0f == 0xff01
}

/// Without the IPv4-mapped form.
pub(crate) fn unmapped(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(addr, IpAddr::V4),
        IpAddr::V4(_) => addr,
    }
}

impl Dgram {
    /// `getsockname`'s address: a multicast or broadcast address that it is bound to is `inet_rcv_saddr` only.
    pub(crate) fn saddr_shown(&self) -> IpAddr {
        if let Some(name) = self.name6 {
            return name.into();
        }
        if self.rcv_addr.is_unspecified() { self.saddr } else { self.rcv_addr }
    }
}
