//! What a host does with ICMP that arrives: echo, timestamp, and errors handed to the socket whose packet they
//! quote. RFC 792, RFC 1122 §3.2.2, RFC 4443 §3, §4. Linux: net/ipv4/icmp.c `icmp_rcv`, `icmp_unreach`,
//! `icmp_redirect`; net/ipv6/icmp.c `icmpv6_rcv`, `icmpv6_notify`.

use std::net::IpAddr;

use wire::icmpv4::{self, Quoted};
use wire::ip::Protocol;
use wire::quoted::IpHeader;
use wire::{Frame, Instant, icmpv6};

use super::{IcmpReport, convert};
use crate::ip::{IpOut, RxMeta};
use crate::mib::Counter;
use crate::route::{Flow, RouteKind};
use crate::{DropReason, Stack};

/// Bytes of the upper layer that an error must quote to be believed.
const QUOTED_UPPER: usize = 8;
/// `NR_ICMP_TYPES`.
const MAX_TYPE_V4: u8 = 18;

impl Stack {
    /// `icmp_rcv`: `frame` starts at the ICMP header.
    pub(crate) fn icmp4_rcv(&mut self, now: Instant, meta: &RxMeta, mut frame: Frame) {
        self.mib.inc(Counter::IcmpInMsgs);
        frame.linearize();
        if !icmpv4::verify_checksum(frame.head()) {
            self.mib.inc(Counter::IcmpInCsumErrors);
            return self.icmp4_bad(now, meta, DropReason::IcmpCsum, &frame);
        }
        if frame.len() < 8 {
            return self.icmp4_bad(now, meta, DropReason::PktTooSmall, &frame);
        }
        let kind = frame.head()[0];
        if kind > MAX_TYPE_V4 {
            return self.icmp4_bad(now, meta, DropReason::UnhandledProto, &frame);
        }
        if let Some(counter) = super::in_counter_v4(kind) {
            self.mib.inc(counter);
        }
        if meta.group && self.dst_is_group(now, meta) {
            let asks = matches!(kind, icmpv4::kind::ECHO | icmpv4::kind::TIMESTAMP);
            let known = asks || matches!(kind, icmpv4::kind::ADDRESS_MASK | icmpv4::kind::ADDRESS_MASK_REPLY);
            if !known || (asks && self.sysctl.ns.icmp_echo_ignore_broadcasts != 0) {
                return self.icmp4_bad(now, meta, DropReason::InvalidProto, &frame);
            }
        }
        match kind {
            icmpv4::kind::ECHO_REPLY => self.ping_rcv(now, meta, &frame),
            icmpv4::kind::ECHO => self.icmp4_echo(now, meta, frame),
            icmpv4::kind::TIMESTAMP => self.icmp4_timestamp(now, meta, frame),
            icmpv4::kind::DEST_UNREACH
            | icmpv4::kind::SOURCE_QUENCH
            | icmpv4::kind::TIME_EXCEEDED
            | icmpv4::kind::PARAMETER_PROBLEM
            | icmpv4::kind::REDIRECT => self.icmp4_error(now, meta, &frame),
            _ => {} // icmp_discard: understood and of no interest
        }
    }

    #[cold]
    fn icmp4_bad(&mut self, now: Instant, meta: &RxMeta, reason: DropReason, frame: &Frame) {
        self.mib.inc(Counter::IcmpInErrors);
        self.drop_transport(now, meta, reason, frame);
    }

    /// Records a drop of what a transport was given, from its network header on.
    #[cold]
    pub(crate) fn drop_transport(&mut self, now: Instant, meta: &RxMeta, reason: DropReason, frame: &Frame) {
        let mut whole = frame.clone();
        whole.push(usize::from(meta.network_header_len));
        self.drop(now, meta.ifindex, reason, &whole);
    }

    /// `meta.group` also says that only the frame was a broadcast; RFC 1122's rule is about the packet.
    fn dst_is_group(&self, now: Instant, meta: &RxMeta) -> bool {
        match meta.dst {
            IpAddr::V4(dst) => {
                dst.is_multicast() || dst.is_broadcast() || {
                    let flow = Flow { dst: meta.dst, src: meta.src, oif: 0, tos: 0 };
                    self.route_input(now, &flow, meta.ifindex).is_ok_and(|r| r.kind == RouteKind::Broadcast)
                }
            }
            IpAddr::V6(dst) => dst.is_multicast(),
        }
    }

    /// `icmp_echo`: the same data back (RFC 1122 §3.2.2.6).
    fn icmp4_echo(&mut self, now: Instant, meta: &RxMeta, frame: Frame) {
        if self.sysctl.ns.icmp_echo_ignore_all != 0 {
            return self.drop_transport(now, meta, DropReason::NotSpecified, &frame);
        }
        let mut reply = frame;
        let b = reply.head_mut();
        let old = u16::from_be_bytes([b[0], b[1]]);
        let checksum = u16::from_be_bytes([b[2], b[3]]);
        b[0] = icmpv4::kind::ECHO_REPLY;
        let checksum = wire::checksum::update_u16(checksum, old, u16::from(b[1]));
        b[2..4].copy_from_slice(&checksum.to_be_bytes());
        let header = self.header_with_options(meta, &mut reply);
        self.icmp4_reply(now, meta, &header, reply);
    }

    /// The IP header before the message, when it has options; empty when it has none.
    fn header_with_options(&self, meta: &RxMeta, frame: &mut Frame) -> Vec<u8> {
        let len = usize::from(meta.network_header_len);
        if len == wire::ipv4::MIN_HEADER_LEN {
            return Vec::new();
        }
        let header = frame.push(len).to_vec();
        frame.pull(len);
        header
    }

    /// `icmp_timestamp`: milliseconds since midnight; the run begins at midnight.
    fn icmp4_timestamp(&mut self, now: Instant, meta: &RxMeta, mut frame: Frame) {
        let Ok((icmpv4::Message::TimestampRequest { id, seq, mut times }, _)) =
            icmpv4::Message::parse(frame.head())
        else {
            return self.icmp4_bad(now, meta, DropReason::PktTooSmall, &frame);
        };
        times.receive = (now.as_nanos() / 1_000_000 % 86_400_000) as u32; // less than a day
        times.transmit = times.receive;
        let message = icmpv4::Message::TimestampReply { id, seq, times };
        let mut reply = Frame::with_headroom(wire::frame::MAX_HEADROOM, message.header_len());
        message.emit(reply.put_zeroed(message.header_len()));
        icmpv4::set_checksum(reply.head_mut());
        let header = self.header_with_options(meta, &mut frame);
        self.icmp4_reply(now, meta, &header, reply);
    }

    /// `icmp_unreach`, `icmp_redirect`, `icmp_socket_deliver`.
    fn icmp4_error(&mut self, now: Instant, meta: &RxMeta, frame: &Frame) {
        let Ok((message, at)) = icmpv4::Message::parse(frame.head()) else { return };
        let Ok(quoted) = Quoted::parse(&frame.head()[at..]) else {
            return self.icmp4_bad(now, meta, DropReason::PktTooSmall, frame);
        };
        let IpHeader::V4(inner) = quoted.ip else {
            return self.icmp4_bad(now, meta, DropReason::InvalidProto, frame);
        };
        let (ty, code) = message.type_code();
        let info = match message {
            icmpv4::Message::DestinationUnreachable {
                code: icmpv4::code::ICMP_FRAG_NEEDED,
                next_hop_mtu,
            } => {
                // ip_no_pmtu_disc 2 ignores these, 3 believes only some protocols (none is registered here).
                if self.sysctl.ns.ip_no_pmtu_disc >= 2 {
                    return;
                }
                if self.sysctl.ns.ip_no_pmtu_disc == 1 { 0 } else { u32::from(next_hop_mtu) }
            }
            icmpv4::Message::DestinationUnreachable { code, .. } if code > 15 => return,
            icmpv4::Message::ParameterProblem { pointer, .. } => u32::from(pointer),
            icmpv4::Message::TimeExceeded { code: icmpv4::code::ICMP_EXC_FRAGTIME } => return,
            icmpv4::Message::Redirect { gateway, .. } => u32::from(gateway),
            _ => 0,
        };
        if quoted.upper.len() < QUOTED_UPPER {
            return self.icmp4_bad(now, meta, DropReason::PktTooSmall, frame);
        }
        let (errno, fatal) = convert::errno_v4(ty, code);
        let report = IcmpReport {
            errno,
            fatal,
            ty,
            code,
            info,
            offender: meta.src,
            local: inner.src.into(),
            remote: inner.dst.into(),
            ifindex: meta.ifindex,
        };
        if self.is_local_v4(inner.src) {
            self.icmp4_route(now, &message, &report, inner.tos);
        }
        self.icmp_report(now, &report, quoted.protocol, quoted.upper);
    }

    /// What an error changes in the routing table: path MTU and gateway.
    fn icmp4_route(&mut self, now: Instant, message: &icmpv4::Message, report: &IcmpReport, tos: u8) {
        match *message {
            icmpv4::Message::DestinationUnreachable { code: icmpv4::code::ICMP_FRAG_NEEDED, .. } => {
                let flow = Flow { dst: report.remote, src: report.local, oif: 0, tos };
                // A router from before RFC 1191 names no MTU; Linux then takes min_pmtu, as for any below it.
                self.route_update_pmtu(now, &flow, report.info);
            }
            icmpv4::Message::Redirect { gateway, .. } => {
                self.route_redirect(now, report.remote, report.offender, gateway.into(), report.ifindex);
            }
            _ => {}
        }
    }

    /// Raw sockets first, then the transport that sent the quoted packet. A transport is added here by one arm.
    fn icmp_report(&mut self, now: Instant, report: &IcmpReport, protocol: Protocol, upper: &[u8]) {
        self.raw_err(now, report, protocol, upper);
        match protocol {
            Protocol::TCP => self.tcp_err(now, report, upper),
            Protocol::UDP if self.vxlan_err(upper) => {}
            Protocol::UDP => self.udp_err(now, report, upper),
            Protocol::IPIP | Protocol::IPV6 | Protocol::GRE => {
                self.tunnel_err(now, report, protocol, upper);
            }
            _ => {}
        }
    }

    /// `icmpv6_rcv`: `frame` starts at the ICMPv6 header.
    pub(crate) fn icmp6_rcv(&mut self, now: Instant, meta: &RxMeta, mut frame: Frame) {
        self.mib.inc(Counter::Icmp6InMsgs);
        frame.linearize();
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (meta.src, meta.dst) else { return };
        if !icmpv6::verify_checksum(src, dst, frame.head()) {
            self.mib.inc(Counter::Icmp6InCsumErrors);
            return self.icmp6_bad(now, meta, DropReason::IcmpCsum, &frame);
        }
        if frame.len() < 8 {
            return self.icmp6_bad(now, meta, DropReason::PktTooSmall, &frame);
        }
        let kind = frame.head()[0];
        if let Some(counter) = super::in_counter_v6(kind) {
            self.mib.inc(counter);
        }
        match kind {
            icmpv6::kind::ECHO_REQUEST => self.icmp6_echo(now, meta, frame),
            icmpv6::kind::ECHO_REPLY => self.ping_rcv(now, meta, &frame),
            icmpv6::kind::ROUTER_SOLICIT..=icmpv6::kind::REDIRECT => self.ndisc_rcv(now, meta, &frame),
            icmpv6::kind::MLD_QUERY | icmpv6::kind::MLD_REPORT => self.mld_rcv(now, meta, &frame),
            0..128 => self.icmp6_error(now, meta, &frame),
            _ => {} // informational, and of no interest
        }
    }

    #[cold]
    fn icmp6_bad(&mut self, now: Instant, meta: &RxMeta, reason: DropReason, frame: &Frame) {
        self.mib.inc(Counter::Icmp6InErrors);
        self.drop_transport(now, meta, reason, frame);
    }

    /// `icmpv6_echo_reply`.
    fn icmp6_echo(&mut self, now: Instant, meta: &RxMeta, frame: Frame) {
        let multicast = matches!(meta.dst, IpAddr::V6(d) if d.is_multicast());
        let ns = &self.sysctl.ns;
        if ns.icmp6_echo_ignore_all != 0 || (multicast && ns.icmp6_echo_ignore_multicast != 0) {
            return self.drop_transport(now, meta, DropReason::NotSpecified, &frame);
        }
        let source = if multicast { IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED) } else { meta.dst };
        let link_local = matches!(meta.src, IpAddr::V6(s) if s.is_unicast_link_local());
        let oif = if link_local || multicast { meta.ifindex } else { 0 };
        let flow = Flow { dst: meta.src, src: source, oif, tos: meta.tos };
        let Ok(dst) = self.route_output(now, &flow) else { return };
        let source = if multicast { dst.src } else { source };
        let (IpAddr::V6(from), IpAddr::V6(to)) = (source, meta.src) else { return };
        let mut reply = frame;
        reply.head_mut()[0] = icmpv6::kind::ECHO_REPLY;
        icmpv6::set_checksum(from, to, reply.head_mut());
        let out = IpOut {
            ttl: self.hop_limit_v6(dst.ifindex),
            tos: meta.tos,
            ..IpOut::new(source, meta.src, Protocol::ICMPV6)
        };
        if self.ip_output(now, &dst, &out, reply).is_err() {
            self.mib.inc(Counter::Icmp6OutErrors);
        }
    }

    /// `icmpv6_notify`.
    fn icmp6_error(&mut self, now: Instant, meta: &RxMeta, frame: &Frame) {
        let b = frame.head();
        let (ty, code) = (b[0], b[1]);
        let word = u32::from_be_bytes([b[4], b[5], b[6], b[7]]);
        let Ok(quoted) = Quoted::parse(&b[8..]) else {
            return self.icmp6_bad(now, meta, DropReason::PktTooSmall, frame);
        };
        let IpHeader::V6(inner) = quoted.ip else {
            return self.icmp6_bad(now, meta, DropReason::InvalidProto, frame);
        };
        if quoted.upper.len() < QUOTED_UPPER {
            return self.icmp6_bad(now, meta, DropReason::PktTooSmall, frame);
        }
        let (errno, fatal) = convert::errno_v6(ty, code);
        let report = IcmpReport {
            errno,
            fatal,
            ty,
            code,
            info: word,
            offender: meta.src,
            local: inner.src.into(),
            remote: inner.dst.into(),
            ifindex: meta.ifindex,
        };
        if ty == icmpv6::kind::PACKET_TOO_BIG && self.is_local(report.local) {
            let oif = if inner.dst.is_unicast_link_local() { meta.ifindex } else { 0 };
            let flow = Flow { dst: report.remote, src: report.local, oif, tos: inner.traffic_class };
            self.route_update_pmtu(now, &flow, word);
        }
        self.icmp_report(now, &report, quoted.protocol, quoted.upper);
    }
}
