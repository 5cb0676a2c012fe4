//! Whose segment is it? Four-tuple → socket, request or TIME_WAIT entry → listener → RST (RFC 9293 §3.10.7.1).
//!
//! Linux: tcp_ipv4.c `tcp_v4_rcv`, `tcp_v4_err`, `tcp_v4_send_reset`; inet_hashtables.c `__inet_lookup_listener`,
//! `inet_lhash2_lookup`.

use std::net::{IpAddr, SocketAddr};

use wire::checksum::{pseudo_v4, pseudo_v6, sum};
use wire::ip::Protocol;
use wire::tcp::SeqNum;
use wire::{Bytes, Frame, Instant, Medium};

use super::cx::OutSegment;
use super::input::Segment;
use super::short::is_same;
use super::sock::TcpSock;
use super::tables::{Owner, tuple_hash};
use crate::call::Domain;
use crate::icmp::IcmpReport;
use crate::ip::RxMeta;
use crate::mib::Counter;
use crate::socket::SkbMemory;
use crate::{DropReason, Stack};

/// ICMP destination unreachable, its codes "net", "host" and "fragmentation needed"; time exceeded and so on.
const DEST_UNREACH: u8 = 3;
const FRAG_NEEDED: u8 = 4;
const SOURCE_QUENCH: u8 = 4;
const REDIRECT: u8 = 5;
const PACKET_TOO_BIG_V6: u8 = 2;

impl Stack {
    /// `tcp_v4_rcv`: a segment for us; `frame` starts at the TCP header.
    pub(crate) fn tcp_rcv(&mut self, now: Instant, meta: &RxMeta, mut frame: Frame) {
        if meta.group {
            self.drop_transport(now, meta, DropReason::NotSpecified, &frame);
            return;
        }
        self.mib.inc(Counter::TcpInSegs);
        if frame.head().len() < wire::tcp::MIN_HEADER_LEN {
            frame.linearize();
        }
        let mut seg = Segment::default();
        let hlen = match seg.header.parse_into(frame.head()) {
            Ok(hlen) => hlen,
            Err(_) => {
                frame.linearize();
                let Ok(hlen) = seg.header.parse_into(frame.head()) else {
                    self.mib.inc(Counter::TcpInErrs);
                    self.drop_transport(now, meta, DropReason::PktTooSmall, &frame);
                    return;
                };
                hlen
            }
        };
        if !checksum_is_valid(meta, &frame) {
            self.mib.inc(Counter::TcpInCsumErrors);
            self.mib.inc(Counter::TcpInErrs);
            self.drop_transport(now, meta, DropReason::TcpCsum, &frame);
            return;
        }
        let frame_len = frame.len() + usize::from(meta.network_header_len);
        frame.pull(hlen);
        let payload_len = frame.len();
        seg.seq = seg.header.seq;
        seg.end_seq = seg.seq + seg.header.seq_len(payload_len);
        seg.ack = seg.header.ack;
        seg.frame = frame;
        seg.payload_len = payload_len;
        seg.tos = meta.tos;
        seg.memory = self.memory_of(meta, payload_len, frame_len);
        if let Err(reason) = self.tcp_deliver(now, meta, &mut seg)
            && reason != DropReason::NotSpecified
        {
            let mut whole = core::mem::take(&mut seg.frame);
            whole.push(hlen);
            self.drop_transport(now, meta, reason, &whole);
        }
    }

    /// What the packet of a segment costs, by the kind of interface that it came in by.
    fn memory_of(&self, meta: &RxMeta, payload: usize, len: usize) -> SkbMemory {
        match self.ifaces.get(meta.ifindex) {
            Some(iface) if iface.is_loopback() => SkbMemory::looped(payload),
            Some(iface) if iface.medium == Medium::Ethernet => SkbMemory::from_ethernet(len),
            _ => SkbMemory::from_tun(len),
        }
    }

    fn tcp_deliver(&mut self, now: Instant, meta: &RxMeta, seg: &mut Segment) -> Result<(), DropReason> {
        let local = SocketAddr::new(meta.dst, seg.header.dst_port);
        let remote = SocketAddr::new(meta.src, seg.header.src_port);
        let owner = self.tcp_lookup(local, remote);
        let listener = match owner {
            None => self.listener_lookup(local, remote, meta.ifindex),
            Some(_) => None,
        };
        // tcp_inbound_md5_hash: nobody has a key here, so a signature is not expected.
        let somebody = matches!(owner, Some(Owner::Full(_) | Owner::Request(_))) || listener.is_some();
        if somebody && seg.header.options.md5().is_some() {
            self.mib.inc(Counter::TcpExtTCPMD5Unexpected);
            return Err(DropReason::TcpMd5unexpected);
        }
        match owner {
            Some(Owner::Full(id)) => {
                self.tcp_sync_route(now, id);
                let result = self.tcp_step(now, id, |tcb, cx| tcb.segment_arrives(cx, seg));
                self.tcp_release_closed(now, id);
                result.unwrap_or(Err(DropReason::NoSocket))
            }
            Some(Owner::Request(id)) => self.request_rcv(now, id, meta, seg),
            Some(Owner::TimeWait(id)) => self.time_wait_rcv(now, id, meta, seg),
            None => match listener {
                Some(listener) => self.listener_rcv(now, listener, meta, seg, None),
                None => {
                    self.send_reset_for(now, meta, seg);
                    Err(DropReason::NoSocket)
                }
            },
        }
    }

    /// The owner of a four-tuple.
    pub(super) fn tcp_lookup(&self, local: SocketAddr, remote: SocketAddr) -> Option<Owner> {
        let hash = tuple_hash(self.tcp.secrets.port[0], local, remote);
        self.tcp.ehash.find(hash, |owner| self.is_owner(owner, &local, &remote))
    }

    #[inline]
    fn is_owner(&self, owner: Owner, local: &SocketAddr, remote: &SocketAddr) -> bool {
        match owner {
            Owner::Full(id) => {
                let tcb = self.tcp.socks[id].tcb.as_ref();
                tcb.is_some_and(|t| is_same(&t.remote, remote) && is_same(&t.local, local))
            }
            Owner::Request(id) => {
                let r = &self.tcp.requests[id];
                is_same(&r.remote, remote) && is_same(&r.local, local)
            }
            Owner::TimeWait(id) => {
                let (own, peer) = self.tcp.time_waits.addrs(&self.tcp.time_waits[id]);
                is_same(&peer, remote) && is_same(&own, local)
            }
        }
    }

    /// `__inet_lookup_listener`: the address before the wildcard, a bound interface before none, then the newest;
    /// of an `SO_REUSEPORT` group one by hash.
    pub(super) fn listener_lookup(&self, local: SocketAddr, remote: SocketAddr, ifindex: u32) -> Option<u32> {
        let on_port = self.tcp.listeners.on_port(local.port());
        for wildcard in [false, true] {
            let mut best: Option<(u32, u32)> = None;
            for id in on_port.clone() {
                let sock = &self.tcp.socks[id];
                if sock.rcv_addr.is_unspecified() != wildcard {
                    continue;
                }
                if let Some(score) = score(sock, local.ip(), ifindex)
                    && best.is_none_or(|(_, high)| score > high)
                {
                    best = Some((id, score));
                }
            }
            if let Some((id, _)) = best {
                return Some(self.reuseport_listener(id, local, remote));
            }
        }
        None
    }

    fn reuseport_listener(&self, id: u32, local: SocketAddr, remote: SocketAddr) -> u32 {
        let leader = &self.tcp.socks[id];
        if !leader.opts.reuse_port {
            return id;
        }
        let group: Vec<u32> = self
            .tcp
            .listeners
            .on_port(local.port())
            .filter(|s| {
                let s = &self.tcp.socks[*s];
                s.opts.reuse_port && s.rcv_addr == leader.rcv_addr && s.opts.bound_if == leader.opts.bound_if
            })
            .collect();
        let hash = tuple_hash(self.tcp.secrets.port[1], local, remote);
        group[((u64::from(hash) * group.len() as u64) >> 32) as usize] // below the length
    }

    /// `tcp_v4_send_reset`: tells the sender that there is no such connection. A RST is never answered.
    pub(super) fn send_reset_for(&mut self, now: Instant, meta: &RxMeta, seg: &Segment) {
        let Some(header) = super::reset::reset_for(seg) else { return };
        self.mib.inc(Counter::TcpOutSegs);
        self.mib.inc(Counter::TcpOutRsts);
        let local = SocketAddr::new(meta.dst, seg.header.dst_port);
        let remote = SocketAddr::new(meta.src, seg.header.src_port);
        let payload = Bytes::new();
        let segment = OutSegment { header, payload, mss: u16::MAX, ect: false, without_socket: true };
        self.emit_without_socket(now, None, local, remote, &segment, meta.tos);
    }

    /// `tcp_v4_err`, `tcp_v6_err`: an ICMP error quotes a segment of ours; `quoted` starts at its TCP header (8 bytes
    /// at least). TRUTH.md 1k0 to 1k13, 5aI.
    pub(crate) fn tcp_err(&mut self, now: Instant, report: &IcmpReport, quoted: &[u8]) {
        let Some(fixed) = quoted.first_chunk::<8>() else { return };
        let port = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        let seq = SeqNum(u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]));
        let local = SocketAddr::new(report.local, port(0));
        let remote = SocketAddr::new(report.remote, port(2));
        let ipv6 = report.local.is_ipv6();
        match self.tcp_lookup(local, remote) {
            None => self.mib.inc(if ipv6 { Counter::Icmp6InErrors } else { Counter::IcmpInErrors }),
            Some(Owner::TimeWait(_)) => {}
            Some(Owner::Request(id)) => self.request_error(now, id, report, seq),
            Some(Owner::Full(id)) => self.connection_error(now, id, report, quoted, seq),
        }
    }

    /// `tcp_req_err`
    fn request_error(&mut self, now: Instant, id: u32, report: &IcmpReport, seq: SeqNum) {
        if self.tcp.requests[id].snt_isn != seq {
            self.mib.inc(Counter::TcpExtOutOfWindowIcmps);
            return;
        }
        let abort = report.local.is_ipv6() || report.ty != DEST_UNREACH || report.code <= 1;
        if abort && !matches!(report.ty, SOURCE_QUENCH | REDIRECT) {
            self.drop_request(now, id);
            self.mib.inc(Counter::TcpExtListenDrops);
        }
    }

    fn connection_error(&mut self, now: Instant, id: u32, report: &IcmpReport, quoted: &[u8], seq: SeqNum) {
        let tcb = self.tcp.socks[id].tcb.as_ref().expect("it is in the established table");
        let (una, nxt) = tcb.icmp_window();
        if !seq.between(una, nxt) {
            self.mib.inc(Counter::TcpExtOutOfWindowIcmps);
            return;
        }
        let ipv6 = report.local.is_ipv6();
        let too_big = if ipv6 {
            report.ty == PACKET_TOO_BIG_V6
        } else {
            report.ty == DEST_UNREACH && report.code == FRAG_NEEDED
        };
        if !ipv6 && matches!(report.ty, SOURCE_QUENCH | REDIRECT) {
            return;
        }
        if too_big {
            // tcp_v4_mtu_reduced: the route knows by now.
            let discover = &self.tcp.socks[id].opts;
            let off = if ipv6 { discover.pmtudisc6 == 0 } else { discover.pmtudisc == 0 };
            let before = tcb.path_mtu;
            self.tcp.socks[id].dst = None;
            self.tcp_sync_route(now, id);
            let after = self.tcp.socks[id].tcb.as_ref().map_or(before, |t| t.path_mtu);
            if !off && after < before {
                self.tcp_step(now, id, |tcb, cx| tcb.simple_retransmit(cx));
            }
            return;
        }
        let reverts = if ipv6 {
            report.ty == 1 && report.code == 0
        } else {
            report.ty == DEST_UNREACH && report.code <= 1
        };
        let opts = &self.tcp.socks[id].opts;
        let recverr = if ipv6 { opts.recverr6 } else { opts.recverr };
        let accepted = self.tcp.socks[id].parent.is_none();
        self.tcp_step(now, id, |tcb, cx| {
            if reverts {
                tcb.revert_backoff(cx, seq);
            }
            if recverr {
                tcb.queue_icmp(cx, report, quoted);
            }
            tcb.icmp_error(cx, report.errno, recverr, accepted);
        });
        self.tcp_release_closed(now, id);
    }
}

/// `compute_score` of a listener.
fn score(sock: &TcpSock, dst: IpAddr, ifindex: u32) -> Option<u32> {
    let fits = match (sock.rcv_addr, dst) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.is_unspecified() || a == b,
        (IpAddr::V6(a), IpAddr::V6(b)) => a.is_unspecified() || a == b,
        (IpAddr::V6(a), IpAddr::V4(_)) => a.is_unspecified() && !sock.opts.v6only,
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
    };
    let dev = sock.opts.bound_if;
    if !fits || (dev != 0 && dev != ifindex) {
        return None;
    }
    let same_family = (sock.domain == Domain::Inet) == dst.is_ipv4();
    Some(1 + u32::from(dev != 0) * 2 + u32::from(same_family))
}

fn checksum_is_valid(meta: &RxMeta, frame: &Frame) -> bool {
    if frame.is_checksummed() {
        return true;
    }
    let len = frame.len();
    let pseudo = match (meta.src, meta.dst) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            let Ok(len) = u16::try_from(len) else { return false };
            pseudo_v4(s, d, Protocol::TCP, len)
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            let Ok(len) = u32::try_from(len) else { return false };
            pseudo_v6(s, d, Protocol::TCP, len)
        }
        _ => return false,
    };
    (pseudo + sum(frame.head()) + sum(frame.tail())).is_valid()
}
