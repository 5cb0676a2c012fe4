//! Which ICMP errors are sent, from which address and how much they quote. RFC 1122 §3.2.2, RFC 1812 §4.3.2, RFC
//! 4443 §2.4. Linux: net/ipv4/icmp.c `__icmp_send`, net/ipv6/icmp.c `icmp6_send`.

use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::frame::MAX_HEADROOM;
use wire::ip::Protocol;
use wire::{Frame, Instant, icmpv4, icmpv6, ipv4, ipv6};

use super::IcmpError;
use crate::ip::dev::PktType;
use crate::ip::{IpOut, RxMeta, options};
use crate::mib::Counter;
use crate::record::IfIndex;
use crate::route::Flow;
use crate::{DropReason, Stack};

/// An ICMP error is at most this long with its IP header (RFC 1812 §4.3.2.3).
const MAX_V4: usize = 576;
/// An ICMPv6 error is at most this long (RFC 4443 §2.4(c)).
const MAX_V6: usize = 1280;
/// Internetwork control precedence, for errors.
const PRECEDENCE: u8 = 0xc0;
/// Throughput, delay, reliability and cost: what of the offender's TOS an error keeps (`RT_TOS`).
const TOS_MASK: u8 = 0x1e;
/// `INADDR_DUMMY`: the source when a host has no address at all (RFC 7600).
const DUMMY: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// How the offending packet came to be here: what Linux reads from the skb and its route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    /// The interface it came in by.
    pub(crate) iif: IfIndex,
    pub(crate) pkt_type: PktType,
    /// It was for this host: the error comes from the address that it was sent to.
    pub(crate) local: bool,
    /// It came in; false for one of our own that could not be sent.
    pub(crate) input: bool,
}

impl Stack {
    /// Sends an error about `offending`, which starts at its network header, as `icmp_send` does: never about
    /// ICMP errors, group addresses or later fragments; within the rate limits.
    pub(crate) fn icmp_send(&mut self, now: Instant, ifindex: IfIndex, offending: &Frame, error: IcmpError) {
        let Some(first) = offending.head().first() else { return };
        if first >> 4 == 6 {
            let about = About { iif: ifindex, pkt_type: PktType::Host, local: false, input: true };
            return self.icmp6_send(now, about, offending, error);
        }
        let Ok((header, _)) = ipv4::Header::parse_quoted(offending.head()) else { return };
        let input = !self.is_local_v4(header.src);
        let about =
            About { iif: ifindex, pkt_type: PktType::Host, local: self.is_local_v4(header.dst), input };
        self.icmp4_send(now, about, offending, error);
    }

    /// As [`Stack::icmp_send`] for a segment that was delivered to a transport: `frame` starts at the
    /// transport header.
    pub(crate) fn icmp_send_for(&mut self, now: Instant, meta: &RxMeta, mut frame: Frame, error: IcmpError) {
        frame.push(usize::from(meta.network_header_len)); // still there: nothing is written before it
        let pkt_type = if meta.group { PktType::Multicast } else { PktType::Host };
        let about = About { iif: meta.ifindex, pkt_type, local: true, input: true };
        match meta.src {
            IpAddr::V4(_) => self.icmp4_send(now, about, &frame, error),
            IpAddr::V6(_) => self.icmp6_send(now, about, &frame, error),
        }
    }

    /// `__icmp_send`.
    pub(crate) fn icmp4_send(&mut self, now: Instant, about: About, offending: &Frame, error: IcmpError) {
        let Ok((header, hlen)) = ipv4::Header::parse_quoted(offending.head()) else { return };
        if !self.icmp4_may_answer(about, &header, offending, hlen) {
            return;
        }
        let message = message_v4(error);
        let (kind, code) = message.type_code();
        let masked = self.icmp4_masked(kind, code);
        let on_loopback = self.net_device(about.iif).is_some_and(|d| d.is_loopback());
        if masked && !on_loopback && !self.icmp_global_allow(now) {
            self.mib.inc(Counter::IcmpOutRateLimitGlobal);
            return self.drop(now, about.iif, DropReason::IcmpRatelimit, offending);
        }
        let apply_ratelimit = masked && !on_loopback;
        let mut src = if about.local {
            header.dst
        } else if about.input && self.sysctl.ns.icmp_errors_use_inbound_ifaddr != 0 {
            self.address_on(about.iif, header.src)
        } else {
            Ipv4Addr::UNSPECIFIED
        };
        let tos = (header.tos & TOS_MASK) | PRECEDENCE;
        let flow = Flow { dst: header.src.into(), src: src.into(), oif: 0, tos };
        let Ok(dst) = self.route_output(now, &flow) else { return };
        if src.is_unspecified() {
            src = match dst.src {
                IpAddr::V4(a) if !a.is_unspecified() => a,
                _ => DUMMY,
            };
        }
        if apply_ratelimit && !self.icmp_peer_allow(now, dst.ifindex, header.src.into()) {
            self.mib.inc(Counter::IcmpOutRateLimitHost);
            return self.drop(now, about.iif, DropReason::IcmpRatelimit, offending);
        }
        let options = options::echo(&offending.head()[..hlen.min(offending.head().len())], src, now);
        let headers = ipv4::MIN_HEADER_LEN + options.len() + message.header_len();
        let room = (dst.mtu as usize).min(MAX_V4).saturating_sub(headers);
        let quoted = offending.len().min(room);
        let mut frame = Frame::with_headroom(MAX_HEADROOM + ipv4::MIN_HEADER_LEN, 8 + quoted);
        message.emit(frame.put_zeroed(message.header_len()));
        put_range(&mut frame, offending, quoted);
        icmpv4::set_checksum(frame.head_mut());
        let out = IpOut {
            ttl: self.sysctl.ns.ip_default_ttl,
            tos,
            pmtu_discover: false,
            ..IpOut::new(src.into(), header.src.into(), Protocol::ICMP)
        };
        if self.ip4_output(now, &dst, &out, (src, header.src), &options, frame).is_err() {
            self.mib.inc(Counter::IcmpOutErrors);
        }
    }

    /// The conditions of RFC 1122 §3.2.2 under which no error is sent.
    fn icmp4_may_answer(&self, about: About, header: &ipv4::Header, offending: &Frame, hlen: usize) -> bool {
        if about.pkt_type != PktType::Host || header.frag_offset != 0 {
            return false;
        }
        if header.dst.is_multicast() || header.dst.is_broadcast() || header.src.is_unspecified() {
            return false;
        }
        if header.protocol == Protocol::ICMP {
            let kind = offending.head().get(hlen).copied();
            // Unknown types count as errors, too (NR_ICMP_TYPES).
            let errors = [3, 4, 5, 11, 12];
            return kind.is_some_and(|k| k <= 18 && !errors.contains(&k));
        }
        true
    }

    /// `icmpv4_mask_allow`, turned round: whether this type is limited at all.
    fn icmp4_masked(&self, kind: u8, code: u8) -> bool {
        if kind > 18 || (kind == icmpv4::kind::DEST_UNREACH && code == icmpv4::code::ICMP_FRAG_NEEDED) {
            return false; // path MTU discovery must not suffer
        }
        self.sysctl.ns.icmp_ratemask & (1 << kind) != 0
    }

    fn icmp_global_allow(&mut self, now: Instant) -> bool {
        let (per_sec, burst) = (self.sysctl.ns.icmp_msgs_per_sec, self.sysctl.ns.icmp_msgs_burst);
        self.icmp.global.allow(now, per_sec, burst)
    }

    /// `icmpv4_xrlim_allow` past its mask: the destination's bucket, unless it is this host.
    fn icmp_peer_allow(&mut self, now: Instant, oif: IfIndex, to: IpAddr) -> bool {
        if self.net_device(oif).is_some_and(|d| d.is_loopback()) {
            self.icmp.global.consume();
            return true;
        }
        let interval = match to {
            IpAddr::V4(_) => Duration::from_millis(u64::try_from(self.sysctl.ns.icmp_ratelimit).unwrap_or(0)),
            IpAddr::V6(_) => self.sysctl.ns.icmp6_ratelimit,
        };
        let allowed = self.icmp.peers.allow(now, to, interval);
        if allowed {
            self.icmp.global.consume();
        }
        allowed
    }

    /// `icmp6_send`.
    pub(crate) fn icmp6_send(&mut self, now: Instant, about: About, offending: &Frame, error: IcmpError) {
        let Ok((header, _)) = ipv6::Header::parse_quoted(offending.head()) else { return };
        let mut message = message_v6(error);
        if error == IcmpError::ProtocolUnreachable {
            let pointer = last_next_header(offending);
            message = icmpv6::Message::ParameterProblem { code: icmpv6::code::ICMPV6_UNK_NEXTHDR, pointer };
        }
        let (kind, code) = message.type_code();
        let mut src = if self.is_local(header.dst.into()) { header.dst } else { Ipv6Addr::UNSPECIFIED };
        if header.dst.is_multicast() || about.pkt_type != PktType::Host {
            // Only what path MTU discovery and unknown options need (RFC 4443 §2.4(e.3)).
            let unknown_option =
                kind == icmpv6::kind::PARAMETER_PROBLEM && code == icmpv6::code::ICMPV6_UNK_OPTION;
            if kind != icmpv6::kind::PACKET_TOO_BIG && !unknown_option {
                return;
            }
            src = Ipv6Addr::UNSPECIFIED;
        }
        if header.src.is_unspecified() || header.src.is_multicast() || quotes_icmp6_error(offending) {
            return;
        }
        let masked = super::ratemask_has(&self.sysctl.ns.icmp6_ratemask, kind);
        let on_loopback = self.net_device(about.iif).is_some_and(|d| d.is_loopback());
        if masked && !on_loopback && !self.icmp_global_allow(now) {
            self.mib.inc(Counter::IcmpOutRateLimitGlobal);
            return self.drop(now, about.iif, DropReason::IcmpRatelimit, offending);
        }
        let oif = if header.src.is_unicast_link_local() { about.iif } else { 0 };
        let flow = Flow { dst: header.src.into(), src: src.into(), oif, tos: 0 };
        let Ok(dst) = self.route_output(now, &flow) else { return };
        if src.is_unspecified() {
            let IpAddr::V6(chosen) = dst.src else { return };
            src = chosen;
        }
        if masked && !on_loopback && !self.icmp_peer_allow(now, dst.ifindex, header.src.into()) {
            self.mib.inc(Counter::Icmp6OutRateLimitHost);
            return self.drop(now, about.iif, DropReason::IcmpRatelimit, offending);
        }
        let room = MAX_V6 - ipv6::HEADER_LEN - message.header_len();
        let quoted = offending.len().min(room);
        let mut frame = Frame::with_headroom(MAX_HEADROOM + ipv6::HEADER_LEN, 8 + quoted);
        message.emit(frame.put_zeroed(message.header_len()));
        put_range(&mut frame, offending, quoted);
        icmpv6::set_checksum(src, header.src, frame.head_mut());
        let out = IpOut {
            ttl: self.hop_limit_v6(dst.ifindex),
            ..IpOut::new(src.into(), header.src.into(), Protocol::ICMPV6)
        };
        if self.ip_output(now, &dst, &out, frame).is_err() {
            self.mib.inc(Counter::Icmp6OutErrors);
        }
    }

    /// `icmp_reply`: answers echo and timestamp requests. `frame` is the ICMP message with its checksum; `header` the
    /// IP header of the request, when it had options.
    pub(super) fn icmp4_reply(&mut self, now: Instant, meta: &RxMeta, header: &[u8], frame: Frame) {
        let kind = frame.head()[0];
        let masked = self.icmp4_masked(kind, 0);
        if masked && !self.icmp_global_allow(now) {
            self.mib.inc(Counter::IcmpOutRateLimitGlobal);
            return;
        }
        let flow = Flow { dst: meta.src, src: meta.spec_dst, oif: 0, tos: meta.tos };
        let Ok(dst) = self.route_output(now, &flow) else { return };
        if masked && !self.icmp_peer_allow(now, dst.ifindex, meta.src) {
            self.mib.inc(Counter::IcmpOutRateLimitHost);
            return;
        }
        let out = IpOut {
            ttl: self.sysctl.ns.ip_default_ttl,
            tos: meta.tos,
            pmtu_discover: false,
            ..IpOut::new(meta.spec_dst, meta.src, Protocol::ICMP)
        };
        let (IpAddr::V4(src), IpAddr::V4(to)) = (meta.spec_dst, meta.src) else { return };
        let options = options::echo(header, src, now);
        if self.ip4_output(now, &dst, &out, (src, to), &options, frame).is_err() {
            self.mib.inc(Counter::IcmpOutErrors);
        }
    }

    /// `icmp_out_count`.
    pub(crate) fn count_icmp_out(&mut self, message: &[u8]) {
        self.mib.inc(Counter::IcmpOutMsgs);
        if let Some(counter) = message.first().and_then(|kind| super::out_counter_v4(*kind)) {
            self.mib.inc(counter);
        }
    }

    /// `ICMP6MSGOUT_INC_STATS`.
    pub(crate) fn count_icmp6_out(&mut self, message: &[u8]) {
        self.mib.inc(Counter::Icmp6OutMsgs);
        if let Some(counter) = message.first().and_then(|kind| super::out_counter_v6(*kind)) {
            self.mib.inc(counter);
        }
    }
}

/// Appends the first `n` bytes of `from`, across its head and tail.
fn put_range(frame: &mut Frame, from: &Frame, n: usize) {
    let head = from.head();
    frame.put(&head[..n.min(head.len())]);
    if n > head.len() {
        frame.put(&from.tail()[..n - head.len()]);
    }
}

/// Where the next-header field stands that names the upper layer (`IP6CB(skb)->nhoff`).
fn last_next_header(offending: &Frame) -> u32 {
    let mut field = 6;
    let Ok((header, at)) = ipv6::Header::parse_quoted(offending.head()) else { return field };
    for ext in ipv6::ext::walk(header.next_header, &offending.head()[at..]) {
        let Ok(ext) = ext else { break };
        field = (at + ext.offset) as u32; // within the headers
    }
    field
}

/// `is_ineligible`: the packet is itself an ICMPv6 error, or a redirect's like.
fn quotes_icmp6_error(offending: &Frame) -> bool {
    match icmpv6::Quoted::parse(offending.head()) {
        Ok(quoted) => {
            quoted.protocol == Protocol::ICMPV6
                && !quoted.later_fragment
                && quoted.upper.first().is_none_or(|kind| *kind < 128)
        }
        Err(_) => true,
    }
}

fn message_v4(error: IcmpError) -> icmpv4::Message {
    use icmpv4::{Message, code};
    let unreachable = |code| Message::DestinationUnreachable { code, next_hop_mtu: 0 };
    match error {
        IcmpError::PortUnreachable => unreachable(code::ICMP_PORT_UNREACH),
        IcmpError::ProtocolUnreachable => unreachable(code::ICMP_PROT_UNREACH),
        IcmpError::HostUnreachable | IcmpError::BeyondScope => unreachable(code::ICMP_HOST_UNREACH),
        IcmpError::NetUnreachable => unreachable(code::ICMP_NET_UNREACH),
        IcmpError::Prohibited => unreachable(code::ICMP_PKT_FILTERED),
        IcmpError::SourceRouteFailed => unreachable(code::ICMP_SR_FAILED),
        IcmpError::TooBig(mtu) => Message::DestinationUnreachable {
            code: code::ICMP_FRAG_NEEDED,
            next_hop_mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
        },
        IcmpError::TtlExceeded => Message::TimeExceeded { code: code::ICMP_EXC_TTL },
        IcmpError::ReassemblyTimeout => Message::TimeExceeded { code: code::ICMP_EXC_FRAGTIME },
        IcmpError::ParameterProblem(code, pointer) => {
            Message::ParameterProblem { code, pointer: u8::try_from(pointer).unwrap_or(0) }
        }
        IcmpError::Redirect(gateway) => Message::Redirect { code: code::ICMP_REDIR_HOST, gateway },
    }
}

fn message_v6(error: IcmpError) -> icmpv6::Message {
    use icmpv6::{Message, code};
    let unreachable = |code| Message::DestinationUnreachable { code };
    match error {
        IcmpError::PortUnreachable => unreachable(code::ICMPV6_PORT_UNREACH),
        // The pointer depends on the packet: see last_next_header.
        IcmpError::ProtocolUnreachable => {
            Message::ParameterProblem { code: code::ICMPV6_UNK_NEXTHDR, pointer: 6 }
        }
        IcmpError::HostUnreachable => unreachable(code::ICMPV6_ADDR_UNREACH),
        IcmpError::NetUnreachable | IcmpError::Redirect(_) => unreachable(code::ICMPV6_NOROUTE),
        IcmpError::Prohibited | IcmpError::SourceRouteFailed => unreachable(code::ICMPV6_ADM_PROHIBITED),
        IcmpError::BeyondScope => unreachable(code::ICMPV6_NOT_NEIGHBOUR),
        IcmpError::TooBig(mtu) => Message::PacketTooBig { mtu },
        IcmpError::TtlExceeded => Message::TimeExceeded { code: code::ICMPV6_EXC_HOPLIMIT },
        IcmpError::ReassemblyTimeout => Message::TimeExceeded { code: code::ICMPV6_EXC_FRAGTIME },
        IcmpError::ParameterProblem(code, pointer) => Message::ParameterProblem { code, pointer },
    }
}
