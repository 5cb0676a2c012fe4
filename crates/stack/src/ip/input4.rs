//! What becomes of an IPv4 packet that arrived: header checks, route, delivery. RFC 791 §3.1, RFC 1122 §3.2.1,
//! RFC 1812 §5.2. Linux: net/ipv4/ip_input.c `ip_rcv_core`, `ip_rcv_finish_core`, `ip_local_deliver`,
//! `ip_protocol_deliver_rcu`; net/ipv4/route.c `ip_error`.

use std::net::{IpAddr, Ipv4Addr};

use wire::ip::Protocol;
use wire::{Frame, Instant, ipv4};

use super::dev::{PktType, may_pull};
use super::output::addr4;
use super::reasm::{FragKey, Part, Verdict};
use super::{RxMeta, TimerEvent};
use crate::icmp::IcmpError;
use crate::icmp::send::About;
use crate::mib::Counter;
use crate::record::IfIndex;
use crate::route::{Dst, Flow, RouteKind};
use crate::{DropReason, Errno, Stack, TimerKey};

/// Counters by the ECN field: Not-ECT, ECT(1), ECT(0), CE (RFC 3168 §5).
pub(crate) const ECN_COUNTERS: [Counter; 4] =
    [Counter::IpExtInNoECTPkts, Counter::IpExtInECT1Pkts, Counter::IpExtInECT0Pkts, Counter::IpExtInCEPkts];

impl Stack {
    /// `ip_rcv`: `frame` starts at the IPv4 header.
    #[inline]
    pub(super) fn ip4_rcv(&mut self, now: Instant, ifindex: IfIndex, pkt_type: PktType, mut frame: Frame) {
        if pkt_type == PktType::Host {
            if let Some(meta) = self.tcp4_arrives(ifindex, &mut frame) {
                return self.tcp_rcv(now, &meta, frame);
            }
            match self.ip4_hands_on(now, ifindex, frame) {
                Ok(()) => return,
                Err(back) => frame = back,
            }
        }
        self.ip4_rcv_any(now, ifindex, pkt_type, frame);
    }

    #[inline(never)]
    fn ip4_rcv_any(&mut self, now: Instant, ifindex: IfIndex, pkt_type: PktType, mut frame: Frame) {
        self.mib.inc(Counter::IpInReceives);
        self.mib.add(Counter::IpExtInOctets, frame.len() as u64);
        if !may_pull(&mut frame, ipv4::MIN_HEADER_LEN) {
            return self.ip4_header_error(now, ifindex, DropReason::IpInhdr, &frame);
        }
        let first = frame.head()[0];
        let hlen = usize::from(first & 15) * 4;
        if first >> 4 != 4 || hlen < ipv4::MIN_HEADER_LEN {
            return self.ip4_header_error(now, ifindex, DropReason::IpInhdr, &frame);
        }
        self.mib.inc(ECN_COUNTERS[usize::from(frame.head()[1] & 3)]);
        if !may_pull(&mut frame, hlen) {
            return self.ip4_header_error(now, ifindex, DropReason::IpInhdr, &frame);
        }
        if !ipv4::verify_checksum(&frame.head()[..hlen]) {
            self.mib.inc(Counter::IpExtInCsumErrors);
            return self.ip4_header_error(now, ifindex, DropReason::IpCsum, &frame);
        }
        let total = usize::from(u16::from_be_bytes([frame.head()[2], frame.head()[3]]));
        if frame.len() < total {
            self.mib.inc(Counter::IpExtInTruncatedPkts);
            return self.drop(now, ifindex, DropReason::PktTooSmall, &frame);
        }
        if total < hlen {
            return self.ip4_header_error(now, ifindex, DropReason::IpInhdr, &frame);
        }
        frame.truncate(total); // Ethernet pads short packets
        self.ip4_rcv_finish(now, ifindex, pkt_type, hlen, frame);
    }

    /// The way for an arriving packet; ways that were asked for lately are remembered.
    #[inline]
    fn route_input_cached(
        &mut self,
        now: Instant,
        flow: &Flow,
        iif: IfIndex,
    ) -> Result<Dst, (Errno, DropReason)> {
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (flow.src, flow.dst) else {
            return self.route_input_why(now, flow, iif);
        };
        if let Some(way) = self.remembered_arrival(src, dst, iif) {
            return Ok(way);
        }
        let way = self.route_input_why(now, flow, iif)?;
        self.remember_way(now, src, dst, iif, &way);
        Ok(way)
    }

    #[cold]
    fn ip4_header_error(&mut self, now: Instant, ifindex: IfIndex, reason: DropReason, frame: &Frame) {
        self.mib.inc(Counter::IpInHdrErrors);
        self.drop(now, ifindex, reason, frame);
    }

    /// `ip_rcv_finish_core`: where does it go?
    #[inline]
    fn ip4_rcv_finish(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        pkt_type: PktType,
        hlen: usize,
        mut frame: Frame,
    ) {
        let head = frame.head();
        let (src, dst) = (addr4(head, 12), addr4(head, 16));
        let flow = Flow { dst: dst.into(), src: src.into(), oif: 0, tos: head[1] };
        let mut route = if pkt_type == PktType::Loopback {
            // dev_loopback_xmit: the copy carries the route of the packet that was sent.
            let kind = if dst.is_multicast() { RouteKind::Multicast } else { RouteKind::Broadcast };
            Ok(local_copy_route(kind, ifindex, src))
        } else {
            self.route_input_cached(now, &flow, ifindex)
        };
        if hlen > ipv4::MIN_HEADER_LEN
            && let Ok(found) = route
        {
            match self.ip4_rcv_options(now, ifindex, pkt_type, &found, &mut frame) {
                Ok(Some(next)) => route = Ok(next), // the next hop of a source route
                Ok(None) => {}
                Err(reason) => return self.drop(now, ifindex, reason, &frame),
            }
        }
        let route = match route {
            Ok(route) => route,
            Err((errno, reason)) => return self.ip4_no_route(now, ifindex, pkt_type, errno, reason, &frame),
        };
        match route.kind {
            RouteKind::Multicast => {
                // ip_route_input_mc: without a membership it ends here, uncounted.
                if !self.ip.mcast.is_member(ifindex, dst.into()) && pkt_type != PktType::Loopback {
                    return self.drop(now, ifindex, DropReason::NotSpecified, &frame);
                }
                self.mib.inc(Counter::IpExtInMcastPkts);
                self.mib.add(Counter::IpExtInMcastOctets, frame.len() as u64);
            }
            RouteKind::Broadcast => {
                self.mib.inc(Counter::IpExtInBcastPkts);
                self.mib.add(Counter::IpExtInBcastOctets, frame.len() as u64);
            }
            RouteKind::Unicast | RouteKind::Local => {
                if matches!(pkt_type, PktType::Broadcast | PktType::Multicast)
                    && self.drop_unicast_in_l2_multicast(ifindex)
                {
                    return self.drop(now, ifindex, DropReason::UnicastInL2Multicast, &frame);
                }
            }
            RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Blackhole => {
                // route_input answers these as errors
                return self.drop(now, ifindex, DropReason::IpInNoRoutes, &frame);
            }
        }
        match route.kind {
            RouteKind::Unicast => self.ip4_forward(now, ifindex, pkt_type, &route, frame),
            _ => self.ip4_local_deliver(now, ifindex, pkt_type, &route, hlen, frame),
        }
    }

    /// `ip_error`: no way for a packet that arrived. A host counts it; a router says so to the sender, as fast as
    /// `ip_rt_error_burst` and `_cost` allow.
    #[cold]
    fn ip4_no_route(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        pkt_type: PktType,
        errno: Errno,
        reason: DropReason,
        frame: &Frame,
    ) {
        match reason {
            DropReason::IpInAddrErrors => self.mib.inc(Counter::IpInAddrErrors), // TRUTH 11d
            DropReason::IpRpfilter => self.mib.inc(Counter::TcpExtIPReversePathFilter),
            _ => {}
        }
        if reason != DropReason::IpInNoRoutes {
            return self.drop(now, ifindex, reason, frame);
        }
        let error = match errno {
            Errno::EHOSTUNREACH => IcmpError::HostUnreachable,
            Errno::EACCES => IcmpError::Prohibited,
            Errno::EINVAL => return self.drop(now, ifindex, DropReason::IpInNoRoutes, frame),
            _ => {
                self.mib.inc(Counter::IpExtInNoRoutes);
                IcmpError::NetUnreachable
            }
        };
        let src = addr4(frame.head(), 12);
        if self.icmp.peers.error_allowed(now, src.into()) {
            let about = About { iif: ifindex, pkt_type, local: false, input: true };
            self.icmp4_send(now, about, frame, error);
        }
        self.drop(now, ifindex, DropReason::IpInNoRoutes, frame);
    }

    /// `ip_local_deliver`: fragments wait here for the rest.
    #[inline]
    pub(super) fn ip4_local_deliver(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        pkt_type: PktType,
        route: &Dst,
        hlen: usize,
        mut frame: Frame,
    ) {
        let mut hlen = hlen;
        let head = frame.head();
        if u16::from_be_bytes([head[6], head[7]]) & 0x3fff != 0 {
            match self.ip4_defrag(now, ifindex, hlen, frame) {
                Some(whole) => frame = whole,
                None => return,
            }
            hlen = usize::from(frame.head()[0] & 15) * 4;
        }
        let head = frame.head();
        let (src, dst) = (addr4(head, 12), addr4(head, 16));
        let group = !matches!(pkt_type, PktType::Host)
            || matches!(route.kind, RouteKind::Broadcast | RouteKind::Multicast);
        let meta = RxMeta {
            ifindex,
            src: src.into(),
            dst: dst.into(),
            protocol: Protocol(head[9]),
            ttl: head[8],
            tos: head[1],
            group,
            spec_dst: if matches!(route.kind, RouteKind::Local) { dst.into() } else { route.src },
            network_header_len: hlen as u16, // at most 60
        };
        frame.pull(hlen);
        self.ip4_protocol_deliver(now, &meta, frame);
    }

    /// `ip_protocol_deliver_rcu`: raw sockets first, then the protocol.
    fn ip4_protocol_deliver(&mut self, now: Instant, meta: &RxMeta, frame: Frame) {
        let raw = self.raw_rcv(now, meta, &frame);
        match meta.protocol {
            Protocol::TCP => {
                self.mib.inc(Counter::IpInDelivers);
                self.tcp_rcv(now, meta, frame);
            }
            Protocol::UDP => {
                self.mib.inc(Counter::IpInDelivers);
                if !self.vxlan_rcv(now, meta, &frame) {
                    self.udp_rcv(now, meta, frame);
                }
            }
            Protocol::ICMP => {
                self.mib.inc(Counter::IpInDelivers);
                self.icmp4_rcv(now, meta, frame);
            }
            Protocol::IGMP => {
                self.mib.inc(Counter::IpInDelivers);
                self.igmp_rcv(now, meta, frame);
            }
            _ => {
                let Some(frame) = self.tunnel_rcv(now, meta, frame) else {
                    self.mib.inc(Counter::IpInDelivers);
                    return;
                };
                if raw {
                    self.mib.inc(Counter::IpInDelivers);
                    return;
                }
                self.mib.inc(Counter::IpInUnknownProtos);
                let copy = frame.clone();
                self.icmp_send_for(now, meta, copy, IcmpError::ProtocolUnreachable);
                self.drop(now, meta.ifindex, DropReason::IpNoproto, &frame);
            }
        }
    }

    /// `ip_defrag`: the whole packet, once it is complete.
    pub(super) fn ip4_defrag(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        hlen: usize,
        frame: Frame,
    ) -> Option<Frame> {
        self.mib.inc(Counter::IpReasmReqds);
        let head = frame.head();
        let key = FragKey::V4 {
            src: addr4(head, 12),
            dst: addr4(head, 16),
            id: u16::from_be_bytes([head[4], head[5]]),
            protocol: Protocol(head[9]),
        };
        let flags = u16::from_be_bytes([head[6], head[7]]);
        let offset = usize::from(flags & 0x1fff) * 8;
        let part = Part {
            offset,
            end: offset + frame.len() - hlen,
            more: flags & 0x2000 != 0,
            ecn: head[1] & 3,
            dont_fragment: flags & 0x4000 != 0,
            size: frame.len(),
        };
        let limits = self.frag_limits_v4();
        if self.ip.reasm4.memory() > limits.high_thresh {
            self.mib.inc(Counter::IpReasmFails);
            self.drop(now, ifindex, DropReason::FragMemory, &frame);
            return None;
        }
        if self.ip.reasm4.queue(key, ifindex).1 {
            self.arm_reassembly(now, key, limits.time);
        }
        if self.ip.reasm4.too_far(key, limits.max_dist) {
            self.mib.inc(Counter::IpReasmFails);
            if let Some(timer) = self.ip.reasm4.restart(key) {
                self.timers.cancel(timer);
            }
            self.arm_reassembly(now, key, limits.time);
        }
        let quoted = frame.head()[..frame.head().len().min(64)].to_vec();
        match self.ip.reasm4.insert(key, ifindex, part, hlen, frame) {
            Verdict::Queued => None,
            Verdict::Complete(whole) => {
                self.forget_reassembly(key);
                self.mib.inc(Counter::IpReasmOKs);
                Some(whole)
            }
            Verdict::Duplicate => {
                self.record_drop(now, ifindex, DropReason::DuplicateFrag, &quoted);
                None
            }
            Verdict::Overlap => {
                self.mib.inc(Counter::IpExtReasmOverlaps);
                self.mib.inc(Counter::IpReasmFails);
                self.forget_reassembly(key);
                self.record_drop(now, ifindex, DropReason::FragOverlap, &quoted);
                None
            }
            Verdict::Invalid => {
                self.mib.inc(Counter::IpReasmFails);
                self.forget_reassembly(key);
                self.record_drop(now, ifindex, DropReason::NotSpecified, &quoted);
                None
            }
        }
    }

    pub(super) fn arm_reassembly(&mut self, now: Instant, key: FragKey, after: core::time::Duration) {
        let timer = self.arm(now, after, TimerKey::Ip(TimerEvent::Reassembly(Box::new(key))));
        let table = match key {
            FragKey::V4 { .. } => &mut self.ip.reasm4,
            FragKey::V6 { .. } => &mut self.ip.reasm6,
        };
        let iif = 0;
        table.queue(key, iif).0.timer = Some(timer);
    }

    /// Removes a queue and its timer.
    pub(super) fn forget_reassembly(&mut self, key: FragKey) {
        let table = match key {
            FragKey::V4 { .. } => &mut self.ip.reasm4,
            FragKey::V6 { .. } => &mut self.ip.reasm6,
        };
        if let Some(timer) = table.remove(key).and_then(|q| q.timer) {
            self.timers.cancel(timer);
        }
    }

    /// `ip_expire`, `ip6frag_expire_frag_queue`: not all fragments came. The sender learns it if the first one did.
    pub(super) fn reassembly_timeout(&mut self, now: Instant, key: FragKey) {
        let v4 = matches!(key, FragKey::V4 { .. });
        let table = if v4 { &mut self.ip.reasm4 } else { &mut self.ip.reasm6 };
        let Some(queue) = table.remove(key) else { return };
        let (fails, timeouts) = if v4 {
            (Counter::IpReasmFails, Counter::IpReasmTimeout)
        } else {
            (Counter::Ip6ReasmFails, Counter::Ip6ReasmTimeout)
        };
        self.mib.inc(fails);
        self.mib.inc(timeouts);
        let iif = queue.iif;
        let Some(first) = queue.first_fragment() else { return };
        let about = About { iif, pkt_type: PktType::Host, local: true, input: true };
        if v4 {
            self.icmp4_send(now, about, &first, IcmpError::ReassemblyTimeout);
        } else {
            self.icmp6_send(now, about, &first, IcmpError::ReassemblyTimeout);
        }
        self.drop(now, iif, DropReason::FragReasmTimeout, &first);
    }
}

/// The route of our own copy of a group packet.
fn local_copy_route(kind: RouteKind, ifindex: IfIndex, src: Ipv4Addr) -> Dst {
    let src = IpAddr::V4(src);
    Dst { kind, ifindex, src, next_hop: src, via_gateway: false, mtu: u32::MAX, mtu_locked: false }
}
