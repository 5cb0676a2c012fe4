//! What becomes of an IPv6 packet that arrived: header checks, extension headers in order, delivery. RFC 8200 §3,
//! §4, RFC 4291 §2.5.3, §2.7. Linux: net/ipv6/ip6_input.c `ip6_rcv_core`, `ip6_mc_input`,
//! `ip6_protocol_deliver_rcu`; net/ipv6/exthdrs.c; net/ipv6/reassembly.c `ipv6_frag_rcv`.

use wire::ip::Protocol;
use wire::ipv6::{self, FragmentHeader, ext};
use wire::{Frame, Instant};

use super::RxMeta;
use super::dev::{PktType, may_pull};
use super::reasm::{FragKey, Part, Verdict};
use crate::icmp::IcmpError;
use crate::icmp::send::About;
use crate::mib::Counter;
use crate::record::IfIndex;
use crate::route::{Flow, RouteKind};
use crate::{DropReason, Errno, Stack};

/// Counters by the ECN field: Not-ECT, ECT(1), ECT(0), CE.
const ECN_COUNTERS: [Counter; 4] =
    [Counter::Ip6InNoECTPkts, Counter::Ip6InECT1Pkts, Counter::Ip6InECT0Pkts, Counter::Ip6InCEPkts];

/// The offset of the fragment header's offset field, for parameter problems.
const FRAG_OFFSET_FIELD: usize = 2;

/// How far a packet's headers were walked.
enum Walked {
    /// The upper layer begins at this offset from the network header; the packet is complete.
    Upper(Protocol, usize),
    /// It ended here.
    Gone,
}

impl Stack {
    /// `ipv6_rcv`: `frame` starts at the IPv6 header.
    pub(super) fn ip6_rcv(&mut self, now: Instant, ifindex: IfIndex, pkt_type: PktType, mut frame: Frame) {
        self.mib.inc(Counter::Ip6InReceives);
        self.mib.add(Counter::Ip6InOctets, frame.len() as u64);
        if !self.ipv6_enabled(ifindex) {
            self.mib.inc(Counter::Ip6InDiscards);
            return self.drop(now, ifindex, DropReason::Ipv6disabled, &frame);
        }
        if !may_pull(&mut frame, ipv6::HEADER_LEN) {
            return self.ip6_header_error(now, ifindex, DropReason::IpInhdr, &frame);
        }
        let Ok((header, hlen)) = ipv6::Header::parse_quoted(frame.head()) else {
            return self.ip6_header_error(now, ifindex, DropReason::IpInhdr, &frame);
        };
        self.mib.inc(ECN_COUNTERS[usize::from(header.traffic_class & 3)]);
        let on_loopback = self.net_device(ifindex).is_some_and(|d| d.is_loopback());
        if let Some(reason) = bad_address(&header, pkt_type, on_loopback) {
            return self.ip6_header_error(now, ifindex, reason, &frame);
        }
        let total = hlen + usize::from(header.payload_len);
        if header.payload_len != 0 || header.next_header != Protocol::HOPOPTS {
            if frame.len() < total {
                self.mib.inc(Counter::Ip6InTruncatedPkts);
                return self.drop(now, ifindex, DropReason::PktTooSmall, &frame);
            }
            frame.truncate(total);
        }
        if header.next_header == Protocol::HOPOPTS
            && !self.ip6_options(now, ifindex, pkt_type, &header, hlen, &mut frame)
        {
            return;
        }
        self.ip6_rcv_finish(now, ifindex, pkt_type, &header, frame);
    }

    #[cold]
    fn ip6_header_error(&mut self, now: Instant, ifindex: IfIndex, reason: DropReason, frame: &Frame) {
        self.mib.inc(Counter::Ip6InHdrErrors);
        self.drop(now, ifindex, reason, frame);
    }

    /// `ip6_rcv_finish`: where does it go?
    fn ip6_rcv_finish(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        pkt_type: PktType,
        header: &ipv6::Header,
        frame: Frame,
    ) {
        if header.dst.is_multicast() {
            self.mib.inc(Counter::Ip6InMcastPkts);
            self.mib.add(Counter::Ip6InMcastOctets, frame.len() as u64);
            // ip6_mc_input: without a membership it ends here, uncounted.
            if !self.ip6_is_member(ifindex, header.dst) {
                return self.drop(now, ifindex, DropReason::NotSpecified, &frame);
            }
            return self.ip6_local_deliver(now, ifindex, pkt_type, header, frame);
        }
        let flow = Flow { dst: header.dst.into(), src: header.src.into(), oif: 0, tos: header.traffic_class };
        let about = About { iif: ifindex, pkt_type, local: false, input: true };
        match self.route_input(now, &flow, ifindex) {
            Ok(route) => match route.kind {
                RouteKind::Local => self.ip6_local_deliver(now, ifindex, pkt_type, header, frame),
                RouteKind::Unicast => self.ip6_forward(now, ifindex, pkt_type, &route, frame),
                RouteKind::Unreachable => self.ip6_discard(now, about, IcmpError::NetUnreachable, &frame),
                RouteKind::Prohibit => self.ip6_discard(now, about, IcmpError::Prohibited, &frame),
                RouteKind::Blackhole | RouteKind::Broadcast | RouteKind::Multicast => {
                    self.drop(now, ifindex, DropReason::IpInNoRoutes, &frame);
                }
            },
            Err(Errno::EACCES) => self.ip6_discard(now, about, IcmpError::Prohibited, &frame),
            Err(Errno::EINVAL) => self.drop(now, ifindex, DropReason::IpInNoRoutes, &frame),
            Err(_) => self.ip6_discard(now, about, IcmpError::NetUnreachable, &frame),
        }
    }

    /// `ip6_pkt_drop`: no route. IPv6 hosts answer, not only routers.
    #[cold]
    fn ip6_discard(&mut self, now: Instant, about: About, error: IcmpError, frame: &Frame) {
        self.mib.inc(Counter::Ip6InNoRoutes);
        self.icmp6_send(now, about, frame, error);
        self.drop(now, about.iif, DropReason::IpInNoRoutes, frame);
    }

    /// `ip6_input_finish`: extension headers one after the other, then raw sockets, then the protocol.
    fn ip6_local_deliver(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        pkt_type: PktType,
        header: &ipv6::Header,
        mut frame: Frame,
    ) {
        let mut header = *header;
        let upper = if header.next_header.is_ipv6_extension() {
            self.ip6_walk(now, ifindex, pkt_type, &mut header, &mut frame)
        } else {
            Walked::Upper(header.next_header, ipv6::HEADER_LEN)
        };
        let Walked::Upper(protocol, at) = upper else { return };
        let group = pkt_type != PktType::Host || header.dst.is_multicast();
        let meta = RxMeta {
            ifindex,
            src: header.src.into(),
            dst: header.dst.into(),
            protocol,
            ttl: header.hop_limit,
            tos: header.traffic_class,
            group,
            spec_dst: header.dst.into(),
            network_header_len: at as u16, // ext::MAX_HEADERS headers of 2 KiB each
        };
        if !may_pull(&mut frame, at) {
            return self.drop(now, ifindex, DropReason::PktTooSmall, &frame);
        }
        frame.pull(at);
        self.ip6_protocol_deliver(now, &meta, frame);
    }

    fn ip6_protocol_deliver(&mut self, now: Instant, meta: &RxMeta, frame: Frame) {
        let raw = self.raw_rcv(now, meta, &frame);
        match meta.protocol {
            Protocol::TCP => {
                self.mib.inc(Counter::Ip6InDelivers);
                self.tcp_rcv(now, meta, frame);
            }
            Protocol::UDP => {
                self.mib.inc(Counter::Ip6InDelivers);
                if !self.vxlan_rcv(now, meta, &frame) {
                    self.udp_rcv(now, meta, frame);
                }
            }
            Protocol::ICMPV6 => {
                self.mib.inc(Counter::Ip6InDelivers);
                self.icmp6_rcv(now, meta, frame);
            }
            Protocol::NONE => self.mib.inc(Counter::Ip6InDelivers),
            _ => {
                let Some(frame) = self.tunnel_rcv(now, meta, frame) else {
                    self.mib.inc(Counter::Ip6InDelivers);
                    return;
                };
                if raw {
                    self.mib.inc(Counter::Ip6InDelivers);
                    return;
                }
                self.mib.inc(Counter::Ip6InUnknownProtos);
                let copy = frame.clone();
                self.icmp_send_for(now, meta, copy, IcmpError::ProtocolUnreachable);
                self.drop(now, meta.ifindex, DropReason::IpNoproto, &frame);
            }
        }
    }

    /// Steps over extension headers; a complete set of fragments replaces `frame` and `header`.
    fn ip6_walk(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        pkt_type: PktType,
        header: &mut ipv6::Header,
        frame: &mut Frame,
    ) -> Walked {
        let about = About { iif: ifindex, pkt_type, local: true, input: true };
        let mut next = header.next_header;
        let mut at = ipv6::HEADER_LEN;
        let mut field = 6; // where `next` stands
        for _ in 0..ext::MAX_HEADERS {
            if !next.is_ipv6_extension() {
                return Walked::Upper(next, at);
            }
            if !may_pull(frame, at + 8) {
                self.ip6_header_error(now, ifindex, DropReason::Ipv6BadExthdr, frame);
                return Walked::Gone;
            }
            match next {
                Protocol::FRAGMENT => {
                    let Ok((fh, _)) = FragmentHeader::parse(&frame.head()[at..]) else {
                        return Walked::Gone;
                    };
                    self.mib.inc(Counter::Ip6ReasmReqds);
                    if fh.is_atomic() {
                        // RFC 6946: processed by itself, whatever else has this identification.
                        self.mib.inc(Counter::Ip6ReasmOKs);
                        field = at;
                        next = fh.next_header;
                        at += 8;
                        continue;
                    }
                    let whole = self.ip6_defrag(now, about, header, at, fh, core::mem::take(frame));
                    let Some(whole) = whole else { return Walked::Gone };
                    *frame = whole;
                    let Ok((h, _)) = ipv6::Header::parse_quoted(frame.head()) else { return Walked::Gone };
                    *header = h;
                    // The fragment header is gone; what follows it stands where it stood.
                    next = fh.next_header;
                    frame.linearize();
                    if frame.head().len() < at {
                        return Walked::Gone;
                    }
                }
                Protocol::HOPOPTS => {
                    // Only right after the IPv6 header (RFC 8200 §4.1); there it was read on arrival.
                    if at != ipv6::HEADER_LEN {
                        self.mib.inc(Counter::Ip6InUnknownProtos);
                        self.icmp6_send(now, about, frame, IcmpError::ParameterProblem(1, field as u32));
                        self.drop(now, ifindex, DropReason::IpNoproto, frame);
                        return Walked::Gone;
                    }
                    field = at;
                    next = Protocol(frame.head()[at]);
                    at += (usize::from(frame.head()[at + 1]) + 1) * 8;
                }
                Protocol::DSTOPTS => {
                    if !self.ip6_options(now, ifindex, pkt_type, header, at, frame) {
                        return Walked::Gone;
                    }
                    field = at;
                    next = Protocol(frame.head()[at]);
                    at += (usize::from(frame.head()[at + 1]) + 1) * 8;
                }
                Protocol::ROUTING => {
                    // Segments left: no routing type is on by default (type 0: RFC 5095; SRH: seg6_enabled).
                    if frame.head()[at + 3] != 0 {
                        self.mib.inc(Counter::Ip6InHdrErrors);
                        self.icmp6_send(now, about, frame, IcmpError::ParameterProblem(0, (at + 2) as u32));
                        self.drop(now, ifindex, DropReason::Ipv6BadExthdr, frame);
                        return Walked::Gone;
                    }
                    field = at;
                    next = Protocol(frame.head()[at]);
                    at += (usize::from(frame.head()[at + 1]) + 1) * 8;
                }
                _ => return Walked::Upper(next, at), // AH: without IPsec an unknown protocol
            }
        }
        self.ip6_header_error(now, ifindex, DropReason::Ipv6BadExthdr, frame);
        Walked::Gone
    }

    /// `ip6_parse_tlv`: hop-by-hop or destination options at offset `at`. What an unknown option asks for stands in
    /// its two upper bits (RFC 8200 §4.2). False when the packet ends here.
    fn ip6_options(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        pkt_type: PktType,
        header: &ipv6::Header,
        at: usize,
        frame: &mut Frame,
    ) -> bool {
        let len = if may_pull(frame, at + 8) { (usize::from(frame.head()[at + 1]) + 1) * 8 } else { 0 };
        if len == 0 || !may_pull(frame, at + len) {
            self.ip6_header_error(now, ifindex, DropReason::Ipv6BadExthdr, frame);
            return false;
        }
        let max = if header.next_header == Protocol::HOPOPTS && at == ipv6::HEADER_LEN {
            self.sysctl.ns.max_hbh_opts_number
        } else {
            self.sysctl.ns.max_dst_opts_number
        };
        let mut problem = None;
        let mut counted = 0;
        let mut options = ext::ExtHeader {
            kind: Protocol::DSTOPTS,
            offset: at,
            bytes: &frame.head()[at..at + len],
            next_header: Protocol::NONE,
        }
        .options();
        for option in &mut options {
            match option {
                Ok((_, ext::Opt::Pad1)) => {}
                Ok((_, ext::Opt::PadN(n))) => {
                    if n > 5 {
                        problem = Some((0, None)); // more padding than alignment needs
                    }
                }
                Ok((_, ext::Opt::RouterAlert(_))) => counted += 1,
                Ok((offset, ext::Opt::Jumbo(_))) => {
                    // No interface here takes jumbograms; in a packet with a payload length it is an error.
                    problem = Some((0, Some(IcmpError::ParameterProblem(0, (at + offset) as u32))));
                }
                Ok((offset, ext::Opt::Unknown { kind, .. })) => {
                    counted += 1;
                    let answer = IcmpError::ParameterProblem(2, (at + offset) as u32);
                    match kind >> 6 {
                        0 => {}
                        1 => problem = Some((0, None)),
                        2 => problem = Some((2, Some(answer))),
                        _ if header.dst.is_multicast() => problem = Some((0, None)),
                        _ => problem = Some((3, Some(answer))),
                    }
                }
                Err(_) => problem = Some((0, None)),
            }
            if counted > max {
                problem = Some((0, None));
            }
            if problem.is_some() {
                break;
            }
        }
        let Some((_, answer)) = problem else { return true };
        self.mib.inc(Counter::Ip6InHdrErrors);
        if let Some(error) = answer {
            let about = About { iif: ifindex, pkt_type, local: true, input: true };
            self.icmp6_send(now, about, frame, error);
        }
        self.drop(now, ifindex, DropReason::Ipv6BadExthdr, frame);
        false
    }

    /// `ip6_frag_queue`: the fragment header stands at `at`.
    fn ip6_defrag(
        &mut self,
        now: Instant,
        about: About,
        header: &ipv6::Header,
        at: usize,
        fh: FragmentHeader,
        mut frame: Frame,
    ) -> Option<Frame> {
        let ifindex = about.iif;
        let before = at + 8;
        let payload = frame.len() - before;
        let offset = usize::from(fh.offset);
        let end = offset + payload;
        if fh.offset == 0 && upper_header_missing(&mut frame, fh.next_header, before) {
            // RFC 8200 §4.5: the first fragment must have all headers.
            self.mib.inc(Counter::Ip6InHdrErrors);
            self.icmp6_send(now, about, &frame, IcmpError::ParameterProblem(3, 0));
            self.drop(now, ifindex, DropReason::Ipv6BadExthdr, &frame);
            return None;
        }
        let problem = if end > 65_535 {
            Some((at + FRAG_OFFSET_FIELD) as u32) // within the headers
        } else if fh.more && !end.is_multiple_of(8) {
            Some(4) // the payload length field
        } else {
            None
        };
        if let Some(pointer) = problem {
            self.mib.inc(Counter::Ip6InHdrErrors);
            self.icmp6_send(now, about, &frame, IcmpError::ParameterProblem(0, pointer));
            self.drop(now, ifindex, DropReason::IpInhdr, &frame);
            return None;
        }
        let scoped = header.dst.is_multicast() || header.dst.is_unicast_link_local();
        let key = FragKey::V6 {
            src: header.src,
            dst: header.dst,
            id: fh.id,
            iif: if scoped { ifindex } else { 0 },
        };
        if self.ip.reasm6.memory() > usize::try_from(self.sysctl.ns.ip6frag_high_thresh).unwrap_or(usize::MAX)
        {
            self.mib.inc(Counter::Ip6ReasmFails);
            self.drop(now, ifindex, DropReason::FragMemory, &frame);
            return None;
        }
        if self.ip.reasm6.queue(key, ifindex).1 {
            let time = self.sysctl.ns.ip6frag_time;
            self.arm_reassembly(now, key, time);
        }
        let part = Part {
            offset,
            end,
            more: fh.more,
            ecn: header.traffic_class & 3,
            dont_fragment: false,
            size: frame.len(),
        };
        let quoted = frame.head()[..frame.head().len().min(128)].to_vec();
        let reason = match self.ip.reasm6.insert(key, ifindex, part, before, frame) {
            Verdict::Queued => return None,
            Verdict::Complete(whole) => {
                self.forget_reassembly(key);
                self.mib.inc(Counter::Ip6ReasmOKs);
                return Some(whole);
            }
            Verdict::Duplicate => DropReason::DuplicateFrag,
            Verdict::Overlap => {
                self.forget_reassembly(key);
                self.mib.inc(Counter::Ip6ReasmFails);
                DropReason::FragOverlap
            }
            Verdict::Invalid => {
                self.forget_reassembly(key);
                self.mib.inc(Counter::Ip6ReasmFails);
                DropReason::NotSpecified
            }
        };
        self.record_drop(now, ifindex, reason, &quoted);
        None
    }
}

/// Addresses that no packet from a link may have (`ip6_rcv_core`).
fn bad_address(header: &ipv6::Header, pkt_type: PktType, on_loopback: bool) -> Option<DropReason> {
    if (header.src.is_loopback() || header.dst.is_loopback()) && !on_loopback {
        return Some(DropReason::IpInvalidSource); // RFC 4291 §2.5.3
    }
    if header.src.is_multicast() {
        return Some(DropReason::IpInvalidSource);
    }
    if header.dst.is_multicast() {
        let scope = header.dst.octets()[1] & 0x0f;
        // RFC 4291 §2.7: scope 0 is reserved, scope 1 never leaves the interface.
        if scope == 0 || (scope == 1 && !on_loopback && pkt_type != PktType::Loopback) {
            return Some(DropReason::IpInvalidDest);
        }
    }
    None
}

/// `ipv6frag_thdr_truncated`: the first fragment ends before its upper-layer header does.
fn upper_header_missing(frame: &mut Frame, first: Protocol, at: usize) -> bool {
    let available = frame.len();
    frame.linearize();
    let mut walk = ext::walk(first, &frame.head()[at..]);
    for header in &mut walk {
        if header.is_err() {
            return false; // not for this check to say (seen on 6.18: an empty fragment fails reassembly)
        }
    }
    let (protocol, offset) = walk.upper();
    let need = match protocol {
        Protocol::TCP => 20,
        Protocol::UDP => 8,
        Protocol::ICMPV6 => 1,
        _ => 1,
    };
    at + offset + need > available
}
