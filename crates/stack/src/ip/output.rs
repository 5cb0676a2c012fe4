//! How a packet of our own leaves: header, identification, DF, multicast copies, fragments. RFC 791 §3.1,
//! RFC 1122 §3.2.1, RFC 8200. Linux: net/ipv4/ip_output.c `__ip_make_skb`, `ip_local_out`, `ip_mc_output`,
//! `ip_finish_output2`; net/ipv6/ip6_output.c.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::ip::Protocol;
use wire::{Frame, Instant, ipv4, ipv6};

use super::IpOut;
use crate::mib::Counter;
use crate::outbox::Backlog;
use crate::record::IfIndex;
use crate::route::{Dst, RouteKind};
use crate::{DropReason, Errno, Stack};

/// Router Alert (RFC 2113): type, length, value 0.
const ROUTER_ALERT_V4: [u8; 4] = [148, 4, 0, 0];
/// A hop-by-hop header with Router Alert for MLD (RFC 2711) and two bytes of padding; the first byte is
/// the next header.
const ROUTER_ALERT_V6: [u8; 8] = [0, 0, 5, 2, 0, 0, 1, 0];

/// The largest IPv4 packet, and the largest IPv6 payload.
const MAX_LEN: usize = 65_535;

/// The fields of an IPv4 header that is no fragment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed4 {
    pub(crate) tos: u8,
    pub(crate) total: u16,
    pub(crate) id: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) ttl: u8,
    pub(crate) protocol: Protocol,
    pub(crate) src: Ipv4Addr,
    pub(crate) dst: Ipv4Addr,
}

impl Fixed4 {
    /// Writes a header without options.
    #[inline]
    pub(crate) fn emit(&self, header: &mut [u8; 20]) {
        self.emit_with(header, &[]);
    }

    /// The same when `options` stand behind it. Assembled in words and summed there: reading back bytes just written would
    /// stall.
    #[inline]
    fn emit_with(&self, header: &mut [u8; 20], options: &[u8]) {
        let hlen = 20 + options.len() as u32; // at most 60
        let fragment = if self.dont_fragment { 0x4000 } else { 0 };
        let words = [
            0x4000_0000 | ((hlen / 4) << 24) | (u32::from(self.tos) << 16) | u32::from(self.total),
            (u32::from(self.id) << 16) | fragment,
            (u32::from(self.ttl) << 24) | (u32::from(self.protocol.0) << 16),
            self.src.to_bits(),
            self.dst.to_bits(),
        ];
        let sum: u64 = words.iter().map(|w| u64::from(*w)).sum();
        // The lower and the upper half.
        let mut total = wire::checksum::Sum::EMPTY.add_u32(sum as u32).add_u32((sum >> 32) as u32);
        if !options.is_empty() {
            total = total + wire::checksum::sum(options);
        }
        let checksum = total.finish();
        for (i, mut word) in words.into_iter().enumerate() {
            if i == 2 {
                word |= u32::from(checksum);
            }
            header[i * 4..i * 4 + 4].copy_from_slice(&word.to_be_bytes());
        }
    }
}

impl Stack {
    /// Sends a transport segment (`frame` starts at the transport header, with headroom) by the route
    /// `dst`: network header, fragmentation, neighbour. `EMSGSIZE` when it may not be fragmented and is larger
    /// than the path MTU.
    pub(crate) fn ip_output(
        &mut self,
        now: Instant,
        dst: &Dst,
        out: &IpOut,
        frame: Frame,
    ) -> Result<(), Errno> {
        match (out.src, out.dst) {
            (IpAddr::V4(src), IpAddr::V4(daddr)) => {
                let options: &[u8] = if out.router_alert { &ROUTER_ALERT_V4 } else { &[] };
                self.ip4_output(now, dst, out, (src, daddr), options, frame)
            }
            (IpAddr::V6(src), IpAddr::V6(daddr)) => self.ip6_output(now, dst, out, src, daddr, frame),
            (src, daddr) => panic!("a packet from {src} to {daddr}: the families must be the same"),
        }
    }

    /// As [`Stack::ip_output`] for IPv4 with these options, a multiple of four bytes long.
    #[inline]
    pub(crate) fn ip4_output(
        &mut self,
        now: Instant,
        dst: &Dst,
        out: &IpOut,
        (src, daddr): (Ipv4Addr, Ipv4Addr),
        options: &[u8],
        mut frame: Frame,
    ) -> Result<(), Errno> {
        let hlen = ipv4::MIN_HEADER_LEN + options.len();
        let total = hlen + frame.len();
        let mtu = self.mtu_for(dst, out.ignore_path_mtu);
        if total > MAX_LEN || (out.dont_fragment && total > mtu) {
            return Err(Errno::EMSGSIZE);
        }
        // IP_PMTUDISC_WANT: DF only on what fits. With it Linux still counts identifications up (ignore_df);
        // only a packet that will never be fragmented gets 0 (`ip_select_ident_segs`).
        let df = out.dont_fragment || (out.pmtu_discover && total <= mtu && !dst.mtu_locked);
        let id = match out.id {
            Some(id) => id,
            None if out.dont_fragment => 0,
            None => self.ip.idents.next_v4(now, src, daddr, out.protocol),
        };
        if out.protocol == Protocol::ICMP {
            self.count_icmp_out(frame.head());
        }
        let header = frame.push(hlen);
        header[20..].copy_from_slice(options);
        let fixed = Fixed4 {
            tos: out.tos,
            total: total as u16, // at most MAX_LEN
            id,
            dont_fragment: df,
            ttl: out.ttl,
            protocol: out.protocol,
            src,
            dst: daddr,
        };
        fixed.emit_with(header.first_chunk_mut::<20>().expect("pushed that much"), options);
        self.mib.inc(Counter::IpOutRequests);
        self.ip4_route_out(now, dst, mtu, out.multicast_loop, frame);
        Ok(())
    }

    /// A packet whose header the sender made (`IP_HDRINCL`, `raw_send_hdrinc`): total length and checksum are
    /// always filled in, identification and source when they are 0. It is never fragmented.
    pub(crate) fn ip_output_hdrincl(
        &mut self,
        now: Instant,
        dst: &Dst,
        mut frame: Frame,
    ) -> Result<(), Errno> {
        frame.linearize();
        let len = frame.len();
        if len > dst.mtu as usize || len < ipv4::MIN_HEADER_LEN {
            return Err(if len < ipv4::MIN_HEADER_LEN { Errno::EINVAL } else { Errno::EMSGSIZE });
        }
        let hlen = usize::from(frame.head()[0] & 15) * 4;
        if hlen < ipv4::MIN_HEADER_LEN || hlen > len {
            return Err(Errno::EINVAL);
        }
        let h = frame.head_mut();
        let src = addr4(h, 12);
        let daddr = addr4(h, 16);
        if src.is_unspecified()
            && let IpAddr::V4(chosen) = dst.src
        {
            h[12..16].copy_from_slice(&chosen.octets());
        }
        h[2..4].copy_from_slice(&(len as u16).to_be_bytes()); // at most an MTU
        if h[4..6] == [0, 0] {
            let id = self.ip.idents.next_v4(now, src, daddr, Protocol(h[9]));
            h[4..6].copy_from_slice(&id.to_be_bytes());
        }
        h[10..12].fill(0);
        let checksum = wire::checksum::sum(&h[..hlen]).finish();
        h[10..12].copy_from_slice(&checksum.to_be_bytes());
        if h[9] == Protocol::ICMP.0 {
            self.count_icmp_out(&frame.head()[hlen..]);
        }
        self.mib.inc(Counter::IpOutRequests);
        self.ip4_route_out(now, dst, dst.mtu as usize, true, frame);
        Ok(())
    }

    /// `ip_output` and `ip_mc_output`: the copies of group packets for ourselves, then the link.
    #[inline]
    fn ip4_route_out(&mut self, now: Instant, dst: &Dst, mtu: usize, looped: bool, frame: Frame) {
        if dst.kind == RouteKind::Unicast {
            return self.ip4_finish_output(now, dst, mtu, frame);
        }
        match dst.kind {
            RouteKind::Multicast => {
                let IpAddr::V4(group) = dst.next_hop else { return };
                if looped && self.ip.mcast.is_member(dst.ifindex, group.into()) {
                    self.loop_back(now, dst.ifindex, frame.clone());
                }
                if frame.head()[8] == 0 {
                    return; // TTL 0: only for this host, no drop
                }
            }
            RouteKind::Broadcast => self.loop_back(now, dst.ifindex, frame.clone()),
            RouteKind::Unicast
            | RouteKind::Local
            | RouteKind::Unreachable
            | RouteKind::Prohibit
            | RouteKind::Blackhole => {}
        }
        self.ip4_finish_output(now, dst, mtu, frame);
    }

    /// `ip_finish_output`: fragments what is too long for `mtu`. Also the way of forwarded packets.
    #[inline]
    pub(super) fn ip4_finish_output(&mut self, now: Instant, dst: &Dst, mtu: usize, frame: Frame) {
        if frame.len() <= mtu {
            self.ip4_finish_output2(now, dst, frame);
        } else {
            self.ip4_fragment(now, dst, mtu, frame);
        }
    }

    /// `ip_fragment`
    #[inline(never)]
    fn ip4_fragment(&mut self, now: Instant, dst: &Dst, mtu: usize, frame: Frame) {
        match super::fragment::split_v4(&frame, mtu) {
            Some(fragments) => {
                for fragment in fragments {
                    self.mib.inc(Counter::IpFragCreates);
                    self.ip4_finish_output2(now, dst, fragment);
                }
                self.mib.inc(Counter::IpFragOKs);
            }
            None => {
                self.mib.inc(Counter::IpFragFails);
                self.drop(now, dst.ifindex, DropReason::PktTooBig, &frame);
            }
        }
    }

    #[inline]
    fn ip4_finish_output2(&mut self, now: Instant, dst: &Dst, frame: Frame) {
        let len = frame.len() as u64;
        match dst.kind {
            RouteKind::Multicast => {
                self.mib.inc(Counter::IpExtOutMcastPkts);
                self.mib.add(Counter::IpExtOutMcastOctets, len);
            }
            RouteKind::Broadcast => {
                self.mib.inc(Counter::IpExtOutBcastPkts);
                self.mib.add(Counter::IpExtOutBcastOctets, len);
            }
            RouteKind::Unicast
            | RouteKind::Local
            | RouteKind::Unreachable
            | RouteKind::Prohibit
            | RouteKind::Blackhole => {}
        }
        self.mib.inc(Counter::IpOutTransmits);
        self.mib.add(Counter::IpExtOutOctets, len);
        self.neigh_output(now, dst.ifindex, dst.next_hop, frame);
    }

    fn ip6_output(
        &mut self,
        now: Instant,
        dst: &Dst,
        out: &IpOut,
        src: Ipv6Addr,
        daddr: Ipv6Addr,
        mut frame: Frame,
    ) -> Result<(), Errno> {
        let ext_len = if out.router_alert { ROUTER_ALERT_V6.len() } else { 0 };
        let payload = ext_len + frame.len();
        let mtu = self.mtu_for(dst, out.ignore_path_mtu);
        if payload > MAX_LEN || (out.dont_fragment && payload + ipv6::HEADER_LEN > mtu) {
            return Err(Errno::EMSGSIZE);
        }
        if out.protocol == Protocol::ICMPV6 {
            self.count_icmp6_out(frame.head());
        }
        let flow_label = if out.flow_label == 0 && !out.router_alert {
            self.auto_flow_label(src, daddr, out.protocol, frame.head())
        } else {
            out.flow_label
        };
        let header = frame.push(ipv6::HEADER_LEN + ext_len);
        if out.router_alert {
            header[ipv6::HEADER_LEN..].copy_from_slice(&ROUTER_ALERT_V6);
            header[ipv6::HEADER_LEN] = out.protocol.0;
        }
        ipv6::Header {
            traffic_class: out.tos,
            flow_label,
            payload_len: payload as u16, // at most MAX_LEN
            next_header: if out.router_alert { Protocol::HOPOPTS } else { out.protocol },
            hop_limit: out.ttl,
            src,
            dst: daddr,
        }
        .emit(header);
        self.mib.inc(Counter::Ip6OutRequests);
        if daddr.is_multicast() && !self.ip6_multicast_out(now, dst, daddr, out.multicast_loop, &frame) {
            return Ok(());
        }
        if frame.len() <= mtu {
            self.ip6_finish_output2(now, dst, daddr, frame);
            return Ok(());
        }
        let id = self.ip.idents.next_v6(src, daddr);
        match super::fragment::split_v6(&frame, mtu, id, out.protocol) {
            Some(fragments) => {
                for fragment in fragments {
                    self.mib.inc(Counter::Ip6FragCreates);
                    self.ip6_finish_output2(now, dst, daddr, fragment);
                }
                self.mib.inc(Counter::Ip6FragOKs);
                Ok(())
            }
            None => {
                self.mib.inc(Counter::Ip6FragFails);
                self.drop(now, dst.ifindex, DropReason::PktTooBig, &frame);
                Err(Errno::EMSGSIZE)
            }
        }
    }

    /// `ip6_make_flowlabel`: with `auto_flowlabels` 1, a hash of addresses, protocol and ports (ICMPv6: type and code)
    /// with a secret. Neighbour discovery has none.
    fn auto_flow_label(&self, src: Ipv6Addr, dst: Ipv6Addr, protocol: Protocol, segment: &[u8]) -> u32 {
        let first = segment.first_chunk::<4>().map_or(0, |b| match protocol {
            Protocol::ICMPV6 => u32::from_be_bytes([b[0], b[1], 0, 0]),
            _ => u32::from_be_bytes(*b),
        });
        let discovery = protocol == Protocol::ICMPV6 && (133..=137).contains(&(first >> 24));
        if self.sysctl.ns.auto_flowlabels != 1 || discovery {
            return 0;
        }
        self.ip.idents.flow_label(src, dst, protocol, first)
    }

    /// The multicast half of `ip6_finish_output2`: our own copy, and what never reaches the wire. False when
    /// the packet ends here.
    fn ip6_multicast_out(
        &mut self,
        now: Instant,
        dst: &Dst,
        group: Ipv6Addr,
        looped: bool,
        frame: &Frame,
    ) -> bool {
        let on_loopback = self.net_device(dst.ifindex).is_some_and(|d| d.is_loopback());
        if looped && !on_loopback && self.ip.mcast.is_member(dst.ifindex, group.into()) {
            self.loop_back(now, dst.ifindex, frame.clone());
            if frame.head()[7] == 0 {
                self.mib.inc(Counter::Ip6OutDiscards);
                return false;
            }
        }
        self.mib.inc(Counter::Ip6OutMcastPkts);
        self.mib.add(Counter::Ip6OutMcastOctets, frame.len() as u64);
        // ff01::/16 stays on this interface (RFC 4291 §2.7).
        on_loopback || group.octets()[1] & 0x0f > 1
    }

    pub(super) fn ip6_finish_output2(&mut self, now: Instant, dst: &Dst, _daddr: Ipv6Addr, frame: Frame) {
        self.mib.inc(Counter::Ip6OutTransmits);
        self.mib.add(Counter::Ip6OutOctets, frame.len() as u64);
        self.neigh_output(now, dst.ifindex, dst.next_hop, frame);
    }

    /// `dev_loopback_xmit`: the interface receives a copy of what it sends to a group.
    fn loop_back(&mut self, now: Instant, ifindex: IfIndex, frame: Frame) {
        self.backlog(now, Backlog::Looped(ifindex, frame));
    }

    /// `ip_skb_dst_mtu`, or the interface's own for sockets that ask for it.
    #[inline]
    fn mtu_for(&self, dst: &Dst, ignore_path_mtu: bool) -> usize {
        let mtu =
            if ignore_path_mtu { self.net_device(dst.ifindex).map_or(dst.mtu, |d| d.mtu) } else { dst.mtu };
        mtu as usize
    }
}

/// The IPv4 address at this offset.
#[inline]
pub(super) fn addr4(b: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(b[at], b[at + 1], b[at + 2], b[at + 3])
}
