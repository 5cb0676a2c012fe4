//! Interfaces that send packets inside packets: which outer header, which tunnel an arriving one belongs to, what
//! happens to TTL, TOS, ECN and DF. RFC 2003, RFC 2784, RFC 2473, RFC 4213, RFC 6040. Linux:
//! net/ipv4/ip_tunnel.c `ip_tunnel_xmit`, `ip_tunnel_lookup`, `ip_tunnel_rcv`; net/ipv4/{ipip,ip_gre,tunnel4}.c;
//! net/ipv6/{sit,ip6_tunnel}.c. VXLAN: `vxlan.rs`.

mod gre;
mod vxlan;

#[cfg(test)]
mod tests;

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::IpAddr;

use wire::ethernet::EtherType;
use wire::ip::Protocol;
use wire::{Frame, Instant};

use crate::icmp::{IcmpError, IcmpReport};
use crate::iface::{LinkKind, Tunnel, TunnelMode};
use crate::ip::{IpOut, RxMeta};
use crate::mib::Counter;
use crate::outbox::Backlog;
use crate::record::IfIndex;
use crate::route::Flow;
use crate::{DropReason, Stack};

/// `IPTUNNEL_ERR_TIMEO`: how long an ICMP error about the outer packet is remembered.
const ERROR_MEMORY: Duration = Duration::from_secs(30);
/// `XMIT_RECURSION_LIMIT`: tunnels inside each other on one host.
const MAX_NESTING: u32 = 8;
/// The tunnel encapsulation limit option (RFC 2473 §4.1.1) in a destination options header: 4 more tunnels.
const ENCAP_LIMIT: [u8; 8] = [0, 0, 4, 1, 4, 1, 1, 0];

/// What a tunnel interface remembers.
#[derive(Clone, Debug, Default)]
struct State {
    /// Next GRE sequence number to send, and to expect.
    sent: u32,
    expected: u32,
    /// ICMP errors about outer packets, and when the last came (`err_count`, `err_time`).
    errors: u32,
    error_at: Option<Instant>,
    /// VXLAN: where each MAC address is.
    fdb: vxlan::Fdb,
}

/// The state of all tunnels, by interface.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tunnels {
    states: BTreeMap<IfIndex, State>,
    nesting: u32,
    /// Whether a VXLAN interface is up, as of this routing generation: asked for every UDP packet.
    has_vxlan: Option<(u32, bool)>,
}

impl Stack {
    /// A packet for a tunnel interface: bare IP, or an Ethernet frame for `gretap` and VXLAN.
    pub(crate) fn tunnel_xmit(&mut self, now: Instant, ifindex: IfIndex, frame: Frame) {
        if self.tunnels.nesting >= MAX_NESTING {
            return self.drop(now, ifindex, DropReason::TunnelRecursion, &frame);
        }
        self.tunnels.nesting += 1;
        match self.ifaces.get(ifindex).map(|i| i.kind.clone()) {
            Some(LinkKind::Tunnel(config)) => self.ip_tunnel_xmit(now, ifindex, &config, frame),
            Some(LinkKind::Vxlan(config)) => self.vxlan_xmit(now, ifindex, &config, frame),
            _ => {}
        }
        self.tunnels.nesting -= 1;
    }

    /// `ip_tunnel_xmit`.
    fn ip_tunnel_xmit(&mut self, now: Instant, ifindex: IfIndex, config: &Tunnel, mut frame: Frame) {
        let Some(remote) = config.remote else {
            return self.drop(now, ifindex, DropReason::TunnelUnknown, &frame);
        };
        let inner = Inner::of(config.mode, &frame);
        let Some(protocol) = outer_protocol(config.mode, inner.version) else {
            return self.drop(now, ifindex, DropReason::TunnelUnknown, &frame);
        };
        let local = config.local.unwrap_or(unspecified_like(remote));
        let tos = ecn_encapsulate(config.tos.unwrap_or(inner.tos), inner.tos);
        let flow = Flow { dst: remote, src: local, oif: config.link, tos };
        let Ok(dst) = self.route_output(now, &flow) else {
            return self.drop(now, ifindex, DropReason::IpOutNoRoutes, &frame);
        };
        if dst.ifindex == ifindex {
            return self.drop(now, ifindex, DropReason::TunnelRecursion, &frame); // its own way leads into it
        }
        let ether = if config.mode == TunnelMode::Gretap { wire::ethernet::HEADER_LEN } else { 0 };
        let df = (config.pmtudisc || inner.dont_fragment) && remote.is_ipv4();
        let room = (dst.mtu as usize).saturating_sub(config.overhead() as usize);
        let mtu = if df || remote.is_ipv6() {
            room
        } else {
            self.net_device(ifindex).map_or(room, |d| d.mtu as usize)
        };
        if self.tunnel_too_big(now, ifindex, &inner, frame.len() - ether, mtu, ether, &frame) {
            return;
        }
        self.tunnel_soft_error(now, ifindex, ether, &frame);
        let ttl = config.ttl.filter(|t| *t != 0).unwrap_or(inner.ttl);
        self.tunnel_header(ifindex, config, &inner, &mut frame);
        let src = if local.is_unspecified() { dst.src } else { local };
        let outer_len = if remote.is_ipv4() { 20 } else { 40 };
        if df && frame.len() + outer_len > dst.mtu as usize {
            self.mib.inc(Counter::IpFragFails);
            return self.drop(now, ifindex, DropReason::PktTooBig, &frame);
        }
        let out = IpOut { ttl, tos, pmtu_discover: df, ..IpOut::new(src, remote, protocol) };
        // Too long without DF is fragmented; nothing else fails.
        let _ = self.ip_output(now, &dst, &out, frame);
    }

    /// What stands between the outer IP header and the packet.
    fn tunnel_header(&mut self, ifindex: IfIndex, config: &Tunnel, inner: &Inner, frame: &mut Frame) {
        match config.mode {
            TunnelMode::Ipip | TunnelMode::Sit => {}
            TunnelMode::Gre | TunnelMode::Gretap | TunnelMode::Ip6gre => {
                let state = self.tunnels.states.entry(ifindex).or_default();
                let sequence = config.seq.then_some(state.sent);
                state.sent = state.sent.wrapping_add(u32::from(config.seq));
                gre::push(frame, inner.ethertype(config.mode), config, sequence);
            }
            TunnelMode::Ip6tnl => {}
        }
        if matches!(config.mode, TunnelMode::Ip6tnl | TunnelMode::Ip6gre) {
            let next = match (config.mode, inner.version) {
                (TunnelMode::Ip6gre, _) => Protocol::GRE,
                (_, 4) => Protocol::IPIP,
                _ => Protocol::IPV6,
            };
            let options = frame.push(ENCAP_LIMIT.len());
            options.copy_from_slice(&ENCAP_LIMIT);
            options[0] = next.0;
        }
    }

    /// `tnl_update_pmtu`: a packet that must not be fragmented and does not fit is answered with the tunnel's MTU.
    #[expect(clippy::too_many_arguments, reason = "all of them describe the one packet")]
    fn tunnel_too_big(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        inner: &Inner,
        len: usize,
        mtu: usize,
        ether: usize,
        frame: &Frame,
    ) -> bool {
        if len <= mtu {
            return false;
        }
        let answer = match inner.version {
            4 => inner.dont_fragment,
            6 => mtu >= 1280,
            _ => false,
        };
        let mtu = u32::try_from(mtu).expect("an MTU");
        if let (Some(dst), Some(src)) = (inner.dst, inner.src) {
            // skb_dst_update_pmtu: the way into the tunnel is narrower than its interface says.
            let flow = Flow { dst, src, oif: 0, tos: 0 };
            self.route_update_pmtu(now, &flow, mtu);
        }
        if answer {
            let mut packet = frame.clone();
            packet.pull(ether);
            self.icmp_send(now, ifindex, &packet, IcmpError::TooBig(mtu));
            self.drop(now, ifindex, DropReason::PktTooBig, &packet);
        }
        answer
    }

    /// An ICMP error about an earlier outer packet is passed on to the sender of this one (RFC 2003 §4).
    fn tunnel_soft_error(&mut self, now: Instant, ifindex: IfIndex, ether: usize, frame: &Frame) {
        let state = self.tunnels.states.entry(ifindex).or_default();
        if state.errors == 0 {
            return;
        }
        if state.error_at.is_none_or(|at| now > at + ERROR_MEMORY) {
            state.errors = 0;
            return;
        }
        state.errors -= 1;
        let mut packet = frame.clone();
        packet.pull(ether);
        self.icmp_send(now, ifindex, &packet, IcmpError::HostUnreachable);
    }

    /// A packet of a tunnel protocol was delivered; `frame` starts after the outer IP header. Gives it back when
    /// this host has no tunnel of the kind at all: then the protocol is unknown.
    pub(crate) fn tunnel_rcv(&mut self, now: Instant, meta: &RxMeta, mut frame: Frame) -> Option<Frame> {
        let modes = modes_of(meta.protocol, meta.src.is_ipv4());
        let exists =
            self.ifaces.iter().any(|i| matches!(&i.kind, LinkKind::Tunnel(t) if modes.contains(&t.mode)));
        if !exists {
            return Some(frame);
        }
        frame.linearize();
        let parsed = match meta.protocol {
            Protocol::GRE => match gre::read(&frame) {
                Some(parsed) => parsed,
                None => {
                    self.drop_transport(now, meta, DropReason::InvalidProto, &frame);
                    return None;
                }
            },
            Protocol::IPIP => gre::Read { protocol: EtherType::IPV4, ..gre::Read::default() },
            _ => gre::Read { protocol: EtherType::IPV6, ..gre::Read::default() },
        };
        let Some(ifindex) = self.tunnel_lookup(modes, meta.dst, meta.src, &parsed) else {
            let copy = frame.clone();
            self.icmp_send_for(now, meta, copy, IcmpError::PortUnreachable);
            self.drop_transport(now, meta, DropReason::TunnelUnknown, &frame);
            return None;
        };
        if !self.tunnel_accepts(ifindex, &parsed) {
            self.drop_transport(now, meta, DropReason::InvalidProto, &frame);
            return None;
        }
        frame.pull(parsed.len);
        let ether = if parsed.protocol == EtherType::TEB { wire::ethernet::HEADER_LEN } else { 0 };
        if !ecn_decapsulate(meta.tos, &mut frame, ether) {
            self.drop_transport(now, meta, DropReason::NotSpecified, &frame);
            return None;
        }
        self.backlog(now, Backlog::Frame(ifindex, frame));
        None
    }

    /// GRE's checksum and sequence rules (`__ip_tunnel_rcv`).
    fn tunnel_accepts(&mut self, ifindex: IfIndex, parsed: &gre::Read) -> bool {
        let Some(LinkKind::Tunnel(config)) = self.ifaces.get(ifindex).map(|i| &i.kind) else { return false };
        if parsed.has_checksum != config.csum {
            return false;
        }
        if !config.seq {
            return true;
        }
        let Some(sequence) = parsed.sequence else { return false };
        let state = self.tunnels.states.entry(ifindex).or_default();
        // Older than what was seen last, in the arithmetic of RFC 1982.
        if state.expected != 0 && sequence.wrapping_sub(state.expected) > u32::MAX / 2 {
            return false;
        }
        state.expected = sequence.wrapping_add(1);
        true
    }

    /// `ip_tunnel_lookup`: both ends, then one, then none; keys must be equal.
    fn tunnel_lookup(
        &self,
        modes: &[TunnelMode],
        local: IpAddr,
        remote: IpAddr,
        parsed: &gre::Read,
    ) -> Option<IfIndex> {
        let mut best: Option<(u8, IfIndex)> = None;
        for iface in self.ifaces.iter().filter(|i| i.up) {
            let LinkKind::Tunnel(t) = &iface.kind else { continue };
            let tap = (t.mode == TunnelMode::Gretap) == (parsed.protocol == EtherType::TEB);
            if !modes.contains(&t.mode) || t.ikey != parsed.key || (parsed.len > 0 && !tap) {
                continue;
            }
            let rank = match (t.local, t.remote) {
                (Some(l), Some(r)) if l == local && r == remote => 4,
                (None, Some(r)) if r == remote => 3,
                (Some(l), None) if l == local => 2,
                (None, None) => 1,
                _ => continue,
            };
            if best.is_none_or(|(b, _)| rank > b) {
                best = Some((rank, iface.ifindex));
            }
        }
        best.map(|(_, ifindex)| ifindex)
    }

    /// `ipip_err`, `gre_err`: an ICMP error quotes one of our outer packets. The path MTU is the routing table's; the
    /// rest is remembered for the next packet's sender.
    pub(crate) fn tunnel_err(
        &mut self,
        now: Instant,
        report: &IcmpReport,
        protocol: Protocol,
        _quoted: &[u8],
    ) {
        let modes = modes_of(protocol, report.local.is_ipv4());
        let too_big = report.errno == crate::Errno::EMSGSIZE;
        if too_big || (report.ty, report.code) == (11, 1) {
            return;
        }
        let found = self.ifaces.iter().find(|i| {
            matches!(&i.kind, LinkKind::Tunnel(t) if modes.contains(&t.mode)
                && t.remote == Some(report.remote) && t.local.is_none_or(|l| l == report.local))
        });
        let Some(ifindex) = found.map(|i| i.ifindex) else { return };
        let state = self.tunnels.states.entry(ifindex).or_default();
        let recent = state.error_at.is_some_and(|at| now < at + ERROR_MEMORY);
        state.errors = if recent { state.errors + 1 } else { 1 };
        state.error_at = Some(now);
    }
}

/// What of the packet inside the outer header says.
#[derive(Clone, Copy, Debug)]
struct Inner {
    /// 4, 6 or 0.
    version: u8,
    tos: u8,
    ttl: u8,
    dont_fragment: bool,
    src: Option<IpAddr>,
    dst: Option<IpAddr>,
}

impl Inner {
    fn of(mode: TunnelMode, frame: &Frame) -> Inner {
        let none = Inner { version: 0, tos: 0, ttl: 64, dont_fragment: false, src: None, dst: None };
        let packet = if mode == TunnelMode::Gretap {
            frame.head().get(wire::ethernet::HEADER_LEN..).unwrap_or(&[])
        } else {
            frame.head()
        };
        match packet.first().map(|b| b >> 4) {
            Some(4) => wire::ipv4::Header::parse_quoted(packet).map_or(none, |(h, _)| Inner {
                version: 4,
                tos: h.tos,
                ttl: h.ttl,
                dont_fragment: h.dont_fragment,
                src: Some(h.src.into()),
                dst: Some(h.dst.into()),
            }),
            Some(6) => wire::ipv6::Header::parse_quoted(packet).map_or(none, |(h, _)| Inner {
                version: 6,
                tos: h.traffic_class,
                ttl: h.hop_limit,
                dont_fragment: false,
                src: Some(h.src.into()),
                dst: Some(h.dst.into()),
            }),
            _ => none,
        }
    }

    fn ethertype(&self, mode: TunnelMode) -> EtherType {
        match (mode, self.version) {
            (TunnelMode::Gretap, _) => EtherType::TEB,
            (_, 6) => EtherType::IPV6,
            _ => EtherType::IPV4,
        }
    }
}

/// What the outer header says follows; `None` when this kind of tunnel does not carry the inner version.
fn outer_protocol(mode: TunnelMode, inner: u8) -> Option<Protocol> {
    Some(match (mode, inner) {
        (TunnelMode::Ipip, 4) => Protocol::IPIP,
        (TunnelMode::Sit, 6) => Protocol::IPV6,
        (TunnelMode::Gre, 4 | 6) | (TunnelMode::Gretap, _) => Protocol::GRE,
        (TunnelMode::Ip6tnl | TunnelMode::Ip6gre, 4 | 6) => Protocol::DSTOPTS,
        _ => return None,
    })
}

/// The kinds of tunnel that an outer protocol can belong to.
fn modes_of(protocol: Protocol, outer_v4: bool) -> &'static [TunnelMode] {
    match (protocol, outer_v4) {
        (Protocol::IPIP, true) => &[TunnelMode::Ipip],
        (Protocol::IPV6, true) => &[TunnelMode::Sit],
        (Protocol::GRE, true) => &[TunnelMode::Gre, TunnelMode::Gretap],
        (Protocol::IPIP | Protocol::IPV6, false) => &[TunnelMode::Ip6tnl],
        (Protocol::GRE, false) => &[TunnelMode::Ip6gre],
        _ => &[],
    }
}

fn unspecified_like(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}

/// `INET_ECN_encapsulate`: the inner ECN field goes outside, but CE as ECT(0) (RFC 6040 §4.1, compatibility aside).
pub(crate) fn ecn_encapsulate(outer: u8, inner: u8) -> u8 {
    let ecn = if inner & 3 == 3 { 2 } else { inner & 3 };
    (outer & !3) | ecn
}

/// `INET_ECN_decapsulate`: congestion on the way is congestion inside. False: CE outside and Not-ECT inside must be
/// dropped (RFC 6040 §4.2).
fn ecn_decapsulate(outer: u8, frame: &mut Frame, ether: usize) -> bool {
    if outer & 3 != 3 {
        return true;
    }
    let Some(h) = frame.head_mut().get_mut(ether..) else { return true };
    match h.first().map(|b| b >> 4) {
        Some(4) if h.len() >= 20 => {
            if h[1] & 3 == 0 {
                return false;
            }
            let word = u16::from_be_bytes([h[0], h[1]]);
            h[1] |= 3;
            let checksum = u16::from_be_bytes([h[10], h[11]]);
            let checksum = wire::checksum::update_u16(checksum, word, u16::from_be_bytes([h[0], h[1]]));
            h[10..12].copy_from_slice(&checksum.to_be_bytes());
            true
        }
        Some(6) if h.len() >= 40 => {
            if h[1] & 0x30 == 0 {
                return false;
            }
            h[1] |= 0x30;
            true
        }
        _ => true,
    }
}
