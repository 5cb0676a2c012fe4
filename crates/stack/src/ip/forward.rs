//! What a router does with other people's packets. RFC 1812 §5.2, §5.3, RFC 8200 §5, RFC 4443 §3. Linux:
//! net/ipv4/ip_forward.c `ip_forward`, net/ipv4/route.c `ip_rt_send_redirect`, net/ipv6/ip6_output.c
//! `ip6_forward`.

use std::net::{IpAddr, Ipv6Addr};

use wire::{Frame, Instant, ipv6};

use super::dev::PktType;
use super::output::addr4;
use crate::icmp::IcmpError;
use crate::icmp::send::About;
use crate::mib::Counter;
use crate::record::IfIndex;
use crate::route::{Dst, Flow};
use crate::{DropReason, Stack};

impl Stack {
    /// `ip_forward`: `frame` starts at an IPv4 header that was checked; `dst` is the way on.
    pub(super) fn ip4_forward(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        pkt_type: PktType,
        dst: &Dst,
        mut frame: Frame,
    ) {
        if pkt_type != PktType::Host {
            return self.drop(now, ifindex, DropReason::NotSpecified, &frame);
        }
        let about = About { iif: ifindex, pkt_type, local: false, input: true };
        if frame.head()[8] <= 1 {
            self.mib.inc(Counter::IpInHdrErrors);
            self.icmp4_send(now, about, &frame, IcmpError::TtlExceeded);
            return self.drop(now, ifindex, DropReason::IpTtlExceeded, &frame);
        }
        if dst.via_gateway && super::options::has_strict_route(frame.head()) {
            self.icmp4_send(now, about, &frame, IcmpError::SourceRouteFailed);
            return self.drop(now, ifindex, DropReason::NotSpecified, &frame);
        }
        self.mib.inc(Counter::IpForwDatagrams); // before the MTU is looked at
        let mtu = self.forward_mtu(now, addr4(frame.head(), 16).into(), dst);
        let dont_fragment = frame.head()[6] & 0x40 != 0;
        if frame.len() > mtu as usize && dont_fragment {
            self.mib.inc(Counter::IpFragFails);
            self.icmp4_send(now, about, &frame, IcmpError::TooBig(mtu));
            return self.drop(now, ifindex, DropReason::PktTooBig, &frame);
        }
        let h = frame.head_mut();
        h[8] -= 1;
        // TTL is the upper half of its 16-bit word (ip_decrease_ttl, RFC 1141).
        let checksum = u16::from_be_bytes([h[10], h[11]]);
        let word = u16::from_be_bytes([h[8], h[9]]);
        let checksum = wire::checksum::update_u16(checksum, word + 0x100, word);
        h[10..12].copy_from_slice(&checksum.to_be_bytes());
        if dst.ifindex == ifindex && !super::options::has_source_route(frame.head()) {
            self.send_redirect(now, about, dst, &frame);
        }
        if frame.head()[0] & 15 > 5 {
            self.ip4_forward_options(now, dst, &mut frame);
        }
        self.ip4_finish_output(now, dst, mtu as usize, frame);
    }

    /// `ip_dst_mtu_maybe_forward`: a router goes by the route's `mtu` and the interface, and by a learnt path MTU only
    /// with `ip_forward_use_pmtu`.
    pub(super) fn forward_mtu(&self, now: Instant, to: IpAddr, dst: &Dst) -> u32 {
        let device = self.net_device(dst.ifindex).map_or(dst.mtu, |d| d.mtu);
        if dst.mtu_locked || dst.mtu >= device || self.sysctl.ns.ip_forward_use_pmtu != 0 {
            return dst.mtu;
        }
        let flow = Flow { dst: to, src: to, oif: 0, tos: 0 };
        match self.route_metrics(now, &flow).mtu {
            0 => device,
            mtu => mtu,
        }
    }

    /// `ip_rt_send_redirect`: the packet leaves by the interface it came in by, so its sender could have gone
    /// straight to the next hop.
    fn send_redirect(&mut self, now: Instant, about: About, dst: &Dst, frame: &Frame) {
        let src = addr4(frame.head(), 12);
        let IpAddr::V4(gateway) = dst.next_hop else { return };
        if !self.route_should_redirect4(now, src, about.iif, dst) {
            return;
        }
        let limits = self.redirect_limits();
        if self.icmp.peers.redirect_allowed(now, src.into(), limits) {
            self.icmp4_send(now, about, frame, IcmpError::Redirect(gateway));
        }
    }

    /// The redirect of `ip6_forward` and the limits of `ndisc_send_redirect`: one a second for each destination and each
    /// source, and only to a neighbour.
    fn send_redirect6(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        dst: &Dst,
        header: &ipv6::Header,
        frame: &Frame,
    ) {
        let IpAddr::V6(next_hop) = dst.next_hop else { return };
        let target = if dst.via_gateway { next_hop } else { header.dst };
        if !self.icmp.peers.redirect6_allowed(now, header.dst.into()) {
            return;
        }
        let oif = if header.src.is_unicast_link_local() { ifindex } else { 0 };
        let back = Flow { dst: header.src.into(), src: Ipv6Addr::UNSPECIFIED.into(), oif, tos: 0 };
        let neighbour = self.route_output(now, &back).is_ok_and(|way| !way.via_gateway);
        if neighbour && self.icmp.peers.redirect6_allowed(now, header.src.into()) {
            self.ndisc_send_redirect(now, ifindex, target, &frame.to_vec());
        }
    }

    /// `ip6_forward`: `frame` starts at the IPv6 header.
    pub(super) fn ip6_forward(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        pkt_type: PktType,
        dst: &Dst,
        mut frame: Frame,
    ) {
        let Ok((header, _)) = ipv6::Header::parse_quoted(frame.head()) else { return };
        if !self.forwarding_v6() {
            self.mib.inc(Counter::Ip6InAddrErrors);
            return self.drop(now, ifindex, DropReason::IpInAddrErrors, &frame);
        }
        if pkt_type != PktType::Host {
            return self.drop(now, ifindex, DropReason::NotSpecified, &frame);
        }
        let about = About { iif: ifindex, pkt_type, local: false, input: true };
        if header.hop_limit <= 1 {
            self.icmp6_send(now, about, &frame, IcmpError::TtlExceeded);
            self.mib.inc(Counter::Ip6InHdrErrors);
            return self.drop(now, ifindex, DropReason::IpTtlExceeded, &frame);
        }
        if dst.ifindex == ifindex {
            self.send_redirect6(now, ifindex, dst, &header, &frame);
        } else if header.src.is_unspecified() || header.src.is_multicast() || header.src.is_loopback() {
            self.mib.inc(Counter::Ip6InAddrErrors);
            return self.drop(now, ifindex, DropReason::IpInvalidSource, &frame);
        } else if header.src.is_unicast_link_local() {
            self.icmp6_send(now, about, &frame, IcmpError::BeyondScope);
            self.mib.inc(Counter::Ip6InAddrErrors);
            return self.drop(now, ifindex, DropReason::IpInvalidSource, &frame);
        }
        self.mib.inc(Counter::Ip6OutForwDatagrams); // before the MTU is looked at
        let mtu = self.forward_mtu(now, header.dst.into(), dst).max(1280);
        if frame.len() > mtu as usize {
            self.icmp6_send(now, about, &frame, IcmpError::TooBig(mtu));
            self.mib.inc(Counter::Ip6InTooBigErrors);
            self.mib.inc(Counter::Ip6FragFails);
            return self.drop(now, ifindex, DropReason::PktTooBig, &frame);
        }
        frame.head_mut()[7] -= 1;
        self.ip6_finish_output2(now, dst, header.dst, frame);
    }
}
