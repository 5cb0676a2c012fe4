//! VXLAN: Ethernet frames in UDP, and which host has which MAC address. RFC 7348. Linux:
//! drivers/net/vxlan/vxlan_core.c `vxlan_xmit`, `vxlan_rcv`, `vxlan_snoop`.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::IpAddr;

use wire::checksum::{pseudo_v4, pseudo_v6};
use wire::ip::Protocol;
use wire::{Frame, Instant, MacAddr, udp, vxlan};

use super::{ecn_encapsulate, unspecified_like};
use crate::iface::{LinkKind, Vxlan};
use crate::ip::{IpOut, RxMeta};
use crate::mib::Counter;
use crate::outbox::Backlog;
use crate::record::IfIndex;
use crate::route::Flow;
use crate::{DropReason, Stack};

/// `VXLAN_FDB_AGE_DEFAULT`: entries that were not used for so long are forgotten.
const AGE: Duration = Duration::from_secs(300);
/// MAC addresses learnt; Linux has no limit of its own here.
const MAX_FDB: usize = 65_536;

/// Where MAC addresses are.
#[derive(Clone, Debug, Default)]
pub(super) struct Fdb(BTreeMap<MacAddr, (IpAddr, Instant)>);

impl Fdb {
    fn learn(&mut self, now: Instant, mac: MacAddr, at: IpAddr) {
        if self.0.len() >= MAX_FDB && !self.0.contains_key(&mac) {
            self.0.pop_first();
        }
        self.0.insert(mac, (at, now));
    }

    fn find(&mut self, now: Instant, mac: MacAddr) -> Option<IpAddr> {
        let (at, seen) = self.0.get_mut(&mac)?;
        if now - *seen > AGE {
            return None;
        }
        *seen = now;
        Some(*at)
    }
}

impl Stack {
    /// `vxlan_xmit_one`: to the host that has the MAC address, else to the default one or group.
    pub(super) fn vxlan_xmit(&mut self, now: Instant, ifindex: IfIndex, config: &Vxlan, mut frame: Frame) {
        if frame.head().len() < wire::ethernet::HEADER_LEN {
            return self.drop(now, ifindex, DropReason::PktTooSmall, &frame);
        }
        let b = frame.head();
        let mac = MacAddr([b[0], b[1], b[2], b[3], b[4], b[5]]);
        let state = self.tunnels.states.entry(ifindex).or_default();
        let known = if mac.is_multicast() { None } else { state.fdb.find(now, mac) };
        let Some(remote) = known.or(config.remote).filter(|r| !r.is_unspecified()) else {
            return self.drop(now, ifindex, DropReason::TunnelUnknown, &frame);
        };
        let local = config.local.unwrap_or(unspecified_like(remote));
        let inner_tos = match b.get(wire::ethernet::HEADER_LEN).map(|v| v >> 4) {
            Some(4) => b.get(15).copied().unwrap_or(0),
            Some(6) => b.get(14..16).map_or(0, |v| (v[0] << 4) | (v[1] >> 4)),
            _ => 0,
        };
        let tos = ecn_encapsulate(0, inner_tos);
        let flow = Flow { dst: remote, src: local, oif: config.link, tos };
        let Ok(dst) = self.route_output(now, &flow) else {
            return self.drop(now, ifindex, DropReason::IpOutNoRoutes, &frame);
        };
        if dst.ifindex == ifindex {
            return self.drop(now, ifindex, DropReason::TunnelRecursion, &frame);
        }
        let src_port = self.flow_port(frame.head());
        frame.linearize();
        vxlan::Header { vni: config.vni }.emit(frame.push(vxlan::HEADER_LEN));
        let Ok(len) = u16::try_from(frame.len() + udp::HEADER_LEN) else {
            return self.drop(now, ifindex, DropReason::PktTooBig, &frame);
        };
        let mut header = udp::Header { src_port, dst_port: config.dstport, len, checksum: 0 };
        header.emit(frame.push(udp::HEADER_LEN));
        let src = if local.is_unspecified() { dst.src } else { local };
        header.checksum = match (src, remote) {
            (IpAddr::V4(s), IpAddr::V4(d)) => udp::checksum_v4(s, d, frame.head()),
            (IpAddr::V6(s), IpAddr::V6(d)) => udp::checksum_v6(s, d, frame.head()),
            _ => return self.drop(now, ifindex, DropReason::TunnelUnknown, &frame),
        };
        header.emit(frame.head_mut());
        let multicast = remote.is_multicast();
        let ttl = match config.ttl {
            0 if multicast => 1,
            0 => self.sysctl.ns.ip_default_ttl,
            ttl => ttl,
        };
        let out = IpOut { ttl, tos, pmtu_discover: false, ..IpOut::new(src, remote, Protocol::UDP) };
        // Without DF a long frame is fragmented outside.
        let _ = self.ip_output(now, &dst, &out, frame);
    }

    /// `udp_flow_src_port`: one port for each inner flow, from the ephemeral range.
    fn flow_port(&self, frame: &[u8]) -> u16 {
        let [low, high] = self.sysctl.ns.ip_local_port_range;
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        // Addresses and ethertype; of IPv4 also the addresses and ports.
        let inner = frame.get(26..38).unwrap_or(&[]);
        for byte in frame.iter().take(14).chain(inner) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let span = u64::try_from(high - low).unwrap_or(0).max(1);
        u16::try_from(low).unwrap_or(0).saturating_add(((hash >> 32) % span) as u16) // span is below 2^16
    }

    /// Whether any VXLAN interface is up. Taking one up moves the routing generation on.
    #[inline]
    pub(crate) fn has_vxlan(&mut self) -> bool {
        let generation = self.route_generation();
        match self.tunnels.has_vxlan {
            Some((known, answer)) if known == generation => answer,
            _ => {
                let answer = self.ifaces.iter().any(|i| i.up && matches!(i.kind, LinkKind::Vxlan(_)));
                self.tunnels.has_vxlan = Some((generation, answer));
                answer
            }
        }
    }

    /// `vxlan_rcv`: `frame` starts at the UDP header. True when a VXLAN interface took it.
    pub(crate) fn vxlan_rcv(&mut self, now: Instant, meta: &RxMeta, frame: &Frame) -> bool {
        if !self.has_vxlan() {
            return false;
        }
        let mut frame = frame.clone();
        frame.linearize();
        let Ok((header, at)) = udp::Header::parse(frame.head()) else { return false };
        let on_port = |v: &Vxlan| v.dstport == header.dst_port;
        if !self.ifaces.iter().any(|i| i.up && matches!(&i.kind, LinkKind::Vxlan(v) if on_port(v))) {
            return false;
        }
        let sum_is_right = header.checksum == 0
            || match (meta.src, meta.dst) {
                (IpAddr::V4(s), IpAddr::V4(d)) => (pseudo_v4(s, d, Protocol::UDP, header.len)
                    + wire::checksum::sum(frame.head()))
                .is_valid(),
                (IpAddr::V6(s), IpAddr::V6(d)) => {
                    let len = u32::from(header.len);
                    (pseudo_v6(s, d, Protocol::UDP, len) + wire::checksum::sum(frame.head())).is_valid()
                }
                _ => false,
            };
        if !sum_is_right {
            self.drop_transport(now, meta, DropReason::UdpCsum, &frame);
            return true;
        }
        // udp_queue_rcv_one_skb: what an encapsulation takes counts as delivered, whatever becomes of it.
        self.mib.inc(if meta.src.is_ipv6() { Counter::Udp6InDatagrams } else { Counter::UdpInDatagrams });
        let Ok((vx, more)) = vxlan::Header::parse(&frame.head()[at..]) else {
            self.drop_transport(now, meta, DropReason::InvalidProto, &frame);
            return true;
        };
        let found = self.ifaces.iter().find_map(|i| match &i.kind {
            LinkKind::Vxlan(v) if i.up && on_port(v) && v.vni == vx.vni => {
                Some((i.ifindex, v.learning, i.mac))
            }
            _ => None,
        });
        let Some((ifindex, learning, own)) = found else {
            self.drop_transport(now, meta, DropReason::TunnelUnknown, &frame);
            return true;
        };
        frame.pull(at + more);
        if frame.len() < wire::ethernet::HEADER_LEN {
            self.drop(now, ifindex, DropReason::PktTooSmall, &frame);
            return true;
        }
        let b = frame.head();
        let mac = MacAddr([b[6], b[7], b[8], b[9], b[10], b[11]]);
        if mac == own {
            return true; // our own frame came back
        }
        if learning && !mac.is_multicast() {
            self.tunnels.states.entry(ifindex).or_default().fdb.learn(now, mac, meta.src);
        }
        self.backlog(now, Backlog::Frame(ifindex, frame));
        true
    }

    /// `vxlan_err_lookup`: errors about our outer packets are nobody else's; the routing table has learnt the MTU.
    pub(crate) fn vxlan_err(&self, quoted: &[u8]) -> bool {
        let Some(port) = quoted.get(2..4).map(|p| u16::from_be_bytes([p[0], p[1]])) else { return false };
        self.ifaces.iter().any(|i| i.up && matches!(&i.kind, LinkKind::Vxlan(v) if v.dstport == port))
    }
}
