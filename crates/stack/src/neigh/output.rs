//! From an IP packet and its next hop to a frame on the link.
//!
//! Linux: include/net/neighbour.h `neigh_output`, net/core/neighbour.c `neigh_resolve_output`; net/ipv4/arp.c
//! `arp_constructor`, net/ipv6/ndisc.c `ndisc_constructor` (which neighbours need no resolution).

use std::net::IpAddr;

use wire::ethernet::{self, EtherType};
use wire::{Frame, Instant, MacAddr, Medium};

use super::TimerEvent;
use crate::record::IfIndex;
use crate::route::RouteKind;
use crate::{DropReason, Stack};

/// Room for the link-layer header, `sk_buff` and `skb_shared_info` that Linux allocates with every packet.
const SKB_OVERHEAD: usize = 256;
const SHARED_INFO: usize = 320;
/// `LL_MAX_HEADER` and what `alloc_skb` rounds to.
const HEADROOM: usize = 32;

/// `skb->truesize` of a packet with `len` bytes: the slab object that holds it, and `sk_buff`.
pub(crate) fn truesize(len: usize) -> u32 {
    let data = (len + HEADROOM).next_multiple_of(64) + SHARED_INFO;
    // kmalloc rounds up to a power of two.
    u32::try_from(data.next_power_of_two() + SKB_OVERHEAD).unwrap_or(u32::MAX)
}

impl Stack {
    pub(crate) fn neigh_timeout(&mut self, now: Instant, event: TimerEvent) {
        match event {
            TimerEvent::State(ifindex, addr) => self.neigh_state_timeout(now, ifindex, addr),
            TimerEvent::Gc => self.neigh_gc(now),
            TimerEvent::Proxy => self.neigh_proxy_timeout(now),
        }
    }

    /// Sends an IP packet to `next_hop` on the link of `ifindex` (`neigh_output`): puts the Ethernet header
    /// before it and hands it to [`Stack::dev_xmit`], or queues it while the address is being resolved.
    /// Works for bare-IP and loopback interfaces too, which need no header; broadcast and multicast map
    /// without resolution.
    #[inline]
    pub(crate) fn neigh_output(&mut self, now: Instant, ifindex: IfIndex, next_hop: IpAddr, packet: Frame) {
        let Some(iface) = self.ifaces.get(ifindex) else { return };
        if iface.medium == Medium::Ip {
            return self.dev_xmit(now, ifindex, packet);
        }
        // The common case first: a neighbour that was confirmed lately, or is permanent.
        if let Some(slot) = self.neigh.find_cached(ifindex, next_hop) {
            let n = self.neigh.slot(slot);
            if n.is_connected() {
                let (src, dst) = (iface.mac, n.lladdr);
                return self.link_output(now, ifindex, src, dst, next_hop, packet);
            }
        } else if let Some(dst) = self.unresolved_mac(ifindex, next_hop) {
            let src = iface.mac;
            return self.link_output(now, ifindex, src, dst, next_hop, packet);
        } else if !self.neigh_create(now, ifindex, next_hop) {
            return self.record_drop(now, ifindex, DropReason::NeighCreatefail, packet.head());
        }
        if let Some(packet) = self.neigh_event_send(now, ifindex, next_hop, Some(packet)) {
            let src = self.ifaces.get(ifindex).expect("seen above").mac;
            let dst = self.neigh.get(ifindex, next_hop).expect("just used").lladdr;
            self.link_output(now, ifindex, src, dst, next_hop, packet);
        }
    }

    #[inline(always)]
    fn link_output(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        src: MacAddr,
        dst: MacAddr,
        next_hop: IpAddr,
        mut packet: Frame,
    ) {
        let ethertype = if next_hop.is_ipv6() { EtherType::IPV6 } else { EtherType::IPV4 };
        ethernet::Header { dst, src, vlan: None, ethertype }.emit(packet.push(ethernet::HEADER_LEN));
        self.dev_xmit(now, ifindex, packet);
    }

    /// The link-layer address of neighbours that are never asked for theirs.
    fn unresolved_mac(&self, ifindex: IfIndex, next_hop: IpAddr) -> Option<MacAddr> {
        let iface = self.ifaces.get(ifindex)?;
        match next_hop {
            IpAddr::V4(a) if a.is_multicast() => Some(MacAddr::from_ipv4_multicast(a)),
            IpAddr::V6(a) if a.is_multicast() => Some(MacAddr::from_ipv6_multicast(a)),
            _ if iface.noarp => Some(iface.mac),
            IpAddr::V4(a) if self.addr_type4_dev(ifindex, a) == RouteKind::Broadcast => {
                Some(MacAddr::BROADCAST)
            }
            _ => None,
        }
    }
}
