//! Which socket gets a datagram, and whether its buffer takes it. Linux: net/ipv4/udp.c `__udp4_lib_rcv`,
//! `udp4_lib_lookup2`, `compute_score`, `__udp4_lib_mcast_deliver`, `__udp_enqueue_schedule_skb`.

use std::net::IpAddr;

use wire::{Frame, Instant, Medium, udp};

use super::counters;
use crate::call::{Domain, PollEvents};
use crate::icmp::IcmpError;
use crate::ip::RxMeta;
use crate::record::IfIndex;
use crate::socket::{Dgram, DgramKind, Received, truesize, truesize_received};
use crate::{DropReason, Stack};

/// Both ends of an arriving datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    pub(super) src: IpAddr,
    pub(super) src_port: u16,
    pub(super) dst: IpAddr,
    pub(super) dst_port: u16,
    pub(super) ifindex: IfIndex,
}

impl Stack {
    /// `udp_rcv`: a datagram for us; `frame` starts at the UDP header.
    pub(crate) fn udp_rcv(&mut self, now: Instant, meta: &RxMeta, mut frame: Frame) {
        let count = counters(meta.dst.is_ipv6());
        if frame.head().len() < udp::HEADER_LEN {
            frame.linearize();
        }
        let header = match udp::Header::parse_quoted(frame.head()) {
            Ok((header, _)) if usize::from(header.len) <= frame.len() => header,
            _ => {
                self.mib.inc(count.in_errors);
                self.udp_drop(now, meta, DropReason::PktTooSmall, frame);
                return;
            }
        };
        frame.truncate(header.len.into());
        let ends = Ends {
            src: meta.src,
            src_port: header.src_port,
            dst: meta.dst,
            dst_port: header.dst_port,
            ifindex: meta.ifindex,
        };
        let valid = checksum_is_valid(meta, &frame, header);
        if meta.group {
            self.udp_deliver_to_group(now, meta, &ends, valid, frame);
            return;
        }
        let found = self.udp_lookup(&ends);
        let accepts_none = header.checksum == 0 && meta.dst.is_ipv6();
        let valid =
            valid || (accepts_none && found.is_some_and(|s| self.sockets.dgrams[s].opts.no_check6_rx));
        if !valid {
            self.mib.inc(count.in_csum_errors);
            self.mib.inc(count.in_errors);
            self.udp_drop(now, meta, DropReason::UdpCsum, frame);
            return;
        }
        match found {
            Some(sock) => self.udp_queue(now, sock, meta, header.src_port, frame),
            None => {
                self.mib.inc(count.no_ports);
                let on_port = self.sockets.udp_ports.on_port(header.dst_port).next().is_some();
                let reason = if on_port { DropReason::SocketFilter } else { DropReason::NoSocket };
                self.udp_drop(now, meta, reason, frame.clone());
                self.icmp_send_for(now, meta, frame, IcmpError::PortUnreachable);
            }
        }
    }

    fn udp_drop(&mut self, now: Instant, meta: &RxMeta, reason: DropReason, mut frame: Frame) {
        frame.push(meta.network_header_len.into());
        self.record_drop(now, meta.ifindex, reason, frame.head());
    }

    /// `__udp4_lib_lookup`: the best among those bound to the address; only without any, the best of the wildcards.
    pub(super) fn udp_lookup(&mut self, ends: &Ends) -> Option<u32> {
        let dgrams = &self.sockets.dgrams;
        let candidates = self.sockets.udp_ports.on_port(ends.dst_port).rev();
        let mut best: Option<(u32, u32)> = None;
        for wildcard in [false, true] {
            for sock in candidates.clone() {
                let entry = &dgrams[sock];
                if entry.rcv_addr.is_unspecified() != wildcard {
                    continue;
                }
                if let Some(score) = score(entry, ends)
                    && best.is_none_or(|(_, high)| score > high)
                {
                    best = Some((sock, score));
                }
            }
            if best.is_some() {
                break;
            }
        }
        let (sock, _) = best?;
        let entry = &dgrams[sock];
        if entry.opts.reuse_port && entry.peer.is_none() {
            return Some(self.reuseport_select(sock, ends));
        }
        Some(sock)
    }

    /// `reuseport_select_sock`: one of the group, by a hash of both ends.
    fn reuseport_select(&self, sock: u32, ends: &Ends) -> u32 {
        let dgrams = &self.sockets.dgrams;
        let leader = &dgrams[sock];
        let member = |s: &u32| {
            let e = &dgrams[*s];
            e.opts.reuse_port
                && e.peer.is_none()
                && e.rcv_addr == leader.rcv_addr
                && e.domain == leader.domain
                && e.opts.bound_if == leader.opts.bound_if
        };
        let group: Vec<u32> = self.sockets.udp_ports.on_port(ends.dst_port).filter(member).collect();
        let hash = ends_hash(ends, self.config.seed);
        group[((u64::from(hash) * group.len() as u64) >> 32) as usize]
    }

    /// `__udp4_lib_mcast_deliver`: every socket that matches gets a copy; nobody is told when there is none.
    fn udp_deliver_to_group(&mut self, now: Instant, meta: &RxMeta, ends: &Ends, valid: bool, frame: Frame) {
        let takers: Vec<u32> = {
            let dgrams = &self.sockets.dgrams;
            self.sockets.udp_ports.on_port(ends.dst_port).filter(|s| takes_group(&dgrams[*s], ends)).collect()
        };
        let count = counters(meta.dst.is_ipv6());
        if takers.is_empty() {
            self.mib.inc(count.ignored_multi);
            return;
        }
        if !valid {
            self.mib.inc(count.in_csum_errors);
            self.mib.inc(count.in_errors);
            self.udp_drop(now, meta, DropReason::UdpCsum, frame);
            return;
        }
        for sock in takers {
            self.udp_queue(now, sock, meta, ends.src_port, frame.clone());
        }
    }

    /// `__udp_enqueue_schedule_skb`. A full buffer drops the datagram; an empty one takes any.
    fn udp_queue(&mut self, now: Instant, sock: u32, meta: &RxMeta, src_port: u16, mut frame: Frame) {
        let cost = self.cost_of(meta, frame.len());
        let entry = &mut self.sockets.dgrams[sock];
        if entry.rmem > 0 && entry.rmem.saturating_add(cost) > entry.opts.rcvbuf {
            entry.drops += 1;
            let count = counters(meta.dst.is_ipv6());
            self.mib.inc(count.rcvbuf_errors);
            self.mib.inc(count.in_errors);
            self.udp_drop(now, meta, DropReason::SocketRcvbuff, frame);
            return;
        }
        frame.pull(udp::HEADER_LEN);
        self.dgram_queue(now, sock, meta, src_port, frame, cost);
    }

    /// `skb->truesize` of an arrived packet.
    pub(super) fn cost_of(&self, meta: &RxMeta, segment_len: usize) -> u32 {
        let header = usize::from(meta.network_header_len);
        let iface = self.ifaces.get(meta.ifindex);
        let mtu = iface.map_or(u32::MAX, |iface| iface.mtu) as usize;
        let by_ethernet = iface.is_some_and(|i| i.medium == Medium::Ethernet && !i.is_loopback());
        let each = if by_ethernet { truesize_received } else { truesize };
        if segment_len + header > mtu {
            crate::socket::truesize_fragments(segment_len + header, header, mtu, each)
        } else {
            each(segment_len + header)
        }
    }

    /// Puts what arrived into the receive queue and wakes who waits (`sock_def_readable`).
    #[inline(always)]
    pub(super) fn dgram_queue(
        &mut self,
        now: Instant,
        sock: u32,
        meta: &RxMeta,
        src_port: u16,
        frame: Frame,
        truesize: u32,
    ) {
        let entry = &mut self.sockets.dgrams[sock];
        entry.rmem += truesize;
        let mut received = Received::new(now, meta, src_port, frame, truesize);
        received.drops = entry.drops;
        entry.rx.push_back(received);
        let file = entry.file;
        self.wake_file(file, PollEvents::IN | PollEvents::RDNORM);
    }
}

/// `compute_score`; `None` when the socket does not take it.
#[inline]
pub(super) fn score(sock: &Dgram, ends: &Ends) -> Option<u32> {
    let mut score = match (sock.domain, ends.dst) {
        (Domain::Inet, IpAddr::V4(_)) | (Domain::Inet6, IpAddr::V6(_)) => 2,
        (Domain::Inet6, IpAddr::V4(_)) if !sock.opts.v6only => 1,
        _ => return None,
    };
    if !sock.rcv_addr.is_unspecified() && sock.rcv_addr != ends.dst {
        return None;
    }
    if let Some((addr, port)) = sock.peer {
        if addr != ends.src || (port != 0 && port != ends.src_port) {
            return None;
        }
        score += 8;
    }
    match sock.opts.bound_if {
        0 => {}
        bound if bound == ends.ifindex => score += 4,
        _ => return None,
    }
    Some(score)
}

/// `__udp_is_mcast_sock`, `ip_mc_sf_allow`
fn takes_group(sock: &Dgram, ends: &Ends) -> bool {
    let is_member =
        |group: IpAddr| sock.memberships.iter().any(|m| m.group == group && m.ifindex == ends.ifindex);
    let all = match ends.dst {
        IpAddr::V4(_) => sock.opts.mc_all,
        IpAddr::V6(_) => sock.opts.mc_all6,
    };
    score(sock, ends).is_some() && (!ends.dst.is_multicast() || all || is_member(ends.dst))
}

fn checksum_is_valid(meta: &RxMeta, frame: &Frame, header: udp::Header) -> bool {
    use wire::checksum::{pseudo_v4, pseudo_v6, sum};
    if frame.is_checksummed() {
        return true;
    }
    let (head, tail) = (frame.head(), frame.tail());
    let pseudo = match (meta.src, meta.dst) {
        (IpAddr::V4(_), _) if header.checksum == 0 => return true,
        (IpAddr::V6(_), _) if header.checksum == 0 => return false,
        (IpAddr::V4(src), IpAddr::V4(dst)) => pseudo_v4(src, dst, meta.protocol, header.len),
        (IpAddr::V6(src), IpAddr::V6(dst)) => pseudo_v6(src, dst, meta.protocol, header.len.into()),
        _ => return false,
    };
    if head.len() % 2 == 1 && !tail.is_empty() {
        // The border is at an odd byte: rare enough to copy.
        return (pseudo + sum(&frame.to_vec())).is_valid();
    }
    (pseudo + sum(head) + sum(tail)).is_valid()
}

/// A hash of both ends, the host's own (`inet_ehashfn` with its secret).
pub(super) fn ends_hash(ends: &Ends, secret: u64) -> u32 {
    let mut hash = secret ^ 0x6a09_e667_f3bc_c908;
    let mut mix = |word: u64| hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    for ip in [ends.src, ends.dst] {
        match ip {
            IpAddr::V4(v4) => mix(u64::from(u32::from(v4))),
            IpAddr::V6(v6) => v6.segments().iter().for_each(|s| mix(u64::from(*s))),
        }
    }
    mix(u64::from(ends.src_port) << 16 | u64::from(ends.dst_port));
    mix(0);
    (hash >> 32) as u32 // the upper half
}

/// Whether a socket that has no ports takes the packet: raw and ping.
pub(super) fn takes_host(sock: &Dgram, meta: &RxMeta) -> bool {
    let family = match (sock.domain, meta.dst) {
        (Domain::Inet, IpAddr::V4(_)) | (Domain::Inet6, IpAddr::V6(_)) => true,
        (Domain::Inet | Domain::Inet6, _) => false,
    };
    let peer = sock.peer.is_none_or(|(addr, _)| sock.kind == DgramKind::Ping || addr == meta.src);
    family
        && peer
        && (sock.rcv_addr.is_unspecified() || sock.rcv_addr == meta.dst)
        && (sock.opts.bound_if == 0 || sock.opts.bound_if == meta.ifindex)
}
