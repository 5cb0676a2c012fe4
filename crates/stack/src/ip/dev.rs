//! The border between links and protocols: which frames are ours, which protocol takes them, and how a frame
//! leaves by each kind of interface. IEEE 802.3, 802.1Q. Linux: net/core/dev.c `__netif_receive_skb_core`,
//! `__dev_queue_xmit`; net/ethernet/eth.c `eth_type_trans`; net/8021q/vlan_core.c; drivers/net/loopback.c.

use wire::ethernet::EtherType;
use wire::{Frame, Instant, MacAddr, Medium};

use super::glue::{Dev, Link};
use crate::iface::LinkKind;
use crate::outbox::Backlog;
use crate::record::IfIndex;
use crate::{DropReason, Stack};

/// `skb->pkt_type`: whom the link layer addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PktType {
    /// `PACKET_HOST`
    Host,
    /// `PACKET_BROADCAST`
    Broadcast,
    /// `PACKET_MULTICAST`
    Multicast,
    /// `PACKET_OTHERHOST`
    OtherHost,
    /// `PACKET_LOOPBACK`: our own copy of what we sent to a group.
    Loopback,
}

/// `netdev_max_backlog`.
const MAX_BACKLOG: usize = 1000;
/// Packets that one call takes from the backlog; the rest waits for the next call.
const BACKLOG_BUDGET: usize = 10_000;
/// `VLAN_HLEN`: Linux lets frames exceed the MTU by one tag (`is_skb_forwardable`).
const VLAN_HLEN: usize = 4;

impl Stack {
    /// A packet arrived at an interface (`netif_receive_skb`).
    pub(crate) fn dev_receive(&mut self, now: Instant, ifindex: IfIndex, mut frame: Frame) {
        let Some(iface) = self.ifaces.get(ifindex) else { return };
        if !iface.is_running() {
            return self.drop(now, ifindex, DropReason::DevReady, &frame);
        }
        let (own, mtu) = (iface.mac, iface.mtu);
        if iface.medium == Medium::Ip || iface.is_loopback() {
            let ethertype = match frame.head().first().map(|b| b >> 4) {
                Some(4) => EtherType::IPV4,
                Some(6) => EtherType::IPV6,
                _ => return self.drop(now, ifindex, DropReason::UnhandledProto, &frame),
            };
            return self.deliver_ethertype(now, ifindex, PktType::Host, ethertype, frame);
        }
        if !may_pull(&mut frame, wire::ethernet::HEADER_LEN) {
            return self.drop(now, ifindex, DropReason::PktTooSmall, &frame);
        }
        let b = frame.head().first_chunk::<{ wire::ethernet::HEADER_LEN }>().expect("just pulled");
        let dst = MacAddr([b[0], b[1], b[2], b[3], b[4], b[5]]);
        let ethertype = EtherType(u16::from_be_bytes([b[12], b[13]]));
        let pkt_type = if dst == own {
            PktType::Host
        } else if !dst.is_multicast() {
            PktType::OtherHost
        } else if dst.is_broadcast() {
            PktType::Broadcast
        } else {
            PktType::Multicast
        };
        if ethertype == EtherType::VLAN {
            return self.vlan_receive(now, ifindex, pkt_type, frame);
        }
        if ethertype == EtherType::ARP {
            return self.arp_receive(now, ifindex, wire::ethernet::HEADER_LEN, frame);
        }
        if ethertype == EtherType::IPV4
            && pkt_type == PktType::Host
            && let Some(sock) = self.taker_by_port(ifindex, mtu, &frame)
        {
            return self.receive_by_port(now, ifindex, sock, frame);
        }
        frame.pull(wire::ethernet::HEADER_LEN);
        self.deliver_ethertype(now, ifindex, pkt_type, ethertype, frame);
    }

    fn arp_receive(&mut self, now: Instant, ifindex: IfIndex, at: usize, mut frame: Frame) {
        frame.linearize();
        if let Ok((eth, _)) = wire::ethernet::Header::parse(frame.head()) {
            self.arp_input(now, ifindex, &eth, &frame.head()[at..]);
        }
    }

    /// `vlan_do_receive`: a tagged frame belongs to the sub-interface of its VLAN; without one nobody takes it.
    fn vlan_receive(&mut self, now: Instant, parent: IfIndex, pkt_type: PktType, mut frame: Frame) {
        if !may_pull(&mut frame, wire::ethernet::TAGGED_HEADER_LEN) {
            return self.drop(now, parent, DropReason::PktTooSmall, &frame);
        }
        let b = frame.head();
        let vid = u16::from_be_bytes([b[14], b[15]]) & 0x0fff;
        let ethertype = EtherType(u16::from_be_bytes([b[16], b[17]]));
        let dst = MacAddr([b[0], b[1], b[2], b[3], b[4], b[5]]);
        if vid == 0 {
            // A priority tag only: as if untagged.
            frame.pull(wire::ethernet::TAGGED_HEADER_LEN);
            return self.deliver_ethertype(now, parent, pkt_type, ethertype, frame);
        }
        let Some((ifindex, dev)) = self.vlan_dev(parent, vid) else {
            frame.pull(wire::ethernet::TAGGED_HEADER_LEN);
            return self.drop(now, parent, DropReason::IpOthersHost, &frame);
        };
        frame.pull(wire::ethernet::TAGGED_HEADER_LEN);
        if !dev.up {
            return self.drop(now, ifindex, DropReason::DevReady, &frame);
        }
        if ethertype == EtherType::ARP {
            frame.push(wire::ethernet::TAGGED_HEADER_LEN);
            return self.arp_receive(now, ifindex, wire::ethernet::TAGGED_HEADER_LEN, frame);
        }
        // The sub-interface may have a MAC address of its own.
        let pkt_type =
            if pkt_type == PktType::OtherHost && dst == dev.mac { PktType::Host } else { pkt_type };
        self.deliver_ethertype(now, ifindex, pkt_type, ethertype, frame);
    }

    #[inline]
    fn deliver_ethertype(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        pkt_type: PktType,
        ethertype: EtherType,
        frame: Frame,
    ) {
        if pkt_type == PktType::OtherHost {
            return self.drop(now, ifindex, DropReason::IpOthersHost, &frame);
        }
        match ethertype {
            EtherType::IPV4 => self.ip4_rcv(now, ifindex, pkt_type, frame),
            EtherType::IPV6 => self.ip6_rcv(now, ifindex, pkt_type, frame),
            _ => self.drop(now, ifindex, DropReason::UnhandledProto, &frame),
        }
    }

    /// Hands a complete link-layer frame to the interface: to the wire ([`Stack::poll_transmit`]), to `lo`'s
    /// own input, or into a tunnel.
    #[inline(always)]
    pub(crate) fn dev_xmit(&mut self, now: Instant, ifindex: IfIndex, frame: Frame) {
        let Some(iface) = self.ifaces.get(ifindex) else { return };
        // The common case: a NIC that is up takes a frame that fits.
        if matches!(iface.kind, LinkKind::Nic) && iface.is_running() {
            let ethernet = iface.medium == Medium::Ethernet;
            let limit =
                iface.mtu as usize + if ethernet { wire::ethernet::HEADER_LEN + VLAN_HLEN } else { 0 };
            if frame.len() <= limit || iface.tso {
                self.out.tx.push_back((ifindex, frame));
                return;
            }
        }
        self.dev_xmit_slow(now, ifindex, frame);
    }

    #[inline(never)]
    fn dev_xmit_slow(&mut self, now: Instant, ifindex: IfIndex, frame: Frame) {
        let Some(dev) = self.net_device(ifindex) else { return };
        if !dev.up || !dev.running {
            return self.drop_link(now, ifindex, &dev, DropReason::DevReady, frame);
        }
        match dev.link {
            Link::Wire => self.drop_link(now, ifindex, &dev, DropReason::PktTooBig, frame),
            Link::Loopback => self.backlog(now, Backlog::Frame(ifindex, frame)),
            Link::Vlan { parent, vid } => self.vlan_xmit(now, parent, vid, frame),
            Link::Tunnel => self.tunnel_xmit(now, ifindex, frame),
        }
    }

    /// `vlan_dev_hard_start_xmit`: the tag goes between the addresses and the ethertype.
    fn vlan_xmit(&mut self, now: Instant, parent: IfIndex, vid: u16, mut frame: Frame) {
        let b = frame.push(VLAN_HLEN);
        debug_assert_eq!(b.len(), VLAN_HLEN);
        let h = frame.head_mut();
        h.copy_within(VLAN_HLEN..VLAN_HLEN + 12, 0);
        h[12..14].copy_from_slice(&EtherType::VLAN.0.to_be_bytes());
        h[14..16].copy_from_slice(&vid.to_be_bytes());
        self.dev_xmit(now, parent, frame);
    }

    /// `enqueue_to_backlog`: bounded, as on a real CPU.
    pub(crate) fn backlog(&mut self, now: Instant, what: Backlog) {
        if self.out.backlog.len() >= MAX_BACKLOG {
            let (Backlog::Frame(ifindex, frame) | Backlog::Looped(ifindex, frame)) = what;
            return self.drop(now, ifindex, DropReason::CpuBacklog, &frame);
        }
        self.out.backlog.push_back(what);
    }

    /// Receives what the host sent to itself (`process_backlog`).
    #[inline]
    pub(crate) fn run_loopback(&mut self, now: Instant) {
        if !self.out.backlog.is_empty() {
            self.process_backlog(now);
        }
    }

    fn process_backlog(&mut self, now: Instant) {
        for _ in 0..BACKLOG_BUDGET {
            match self.out.backlog.pop_front() {
                None => return,
                Some(Backlog::Frame(ifindex, frame)) => self.dev_receive(now, ifindex, frame),
                Some(Backlog::Looped(ifindex, frame)) => {
                    if frame.head()[0] >> 4 == 4 {
                        self.ip4_rcv(now, ifindex, PktType::Loopback, frame);
                    } else {
                        self.ip6_rcv(now, ifindex, PktType::Loopback, frame);
                    }
                }
            }
        }
    }

    /// Records that `frame`, which starts at its network header, ends here.
    #[cold]
    pub(crate) fn drop(&mut self, now: Instant, ifindex: IfIndex, reason: DropReason, frame: &Frame) {
        self.record_drop(now, ifindex, reason, frame.head());
    }

    /// The same for a frame that starts with the link layer's header.
    #[cold]
    fn drop_link(&mut self, now: Instant, ifindex: IfIndex, dev: &Dev, reason: DropReason, mut frame: Frame) {
        if dev.has_ethernet_header() && frame.head().len() >= wire::ethernet::HEADER_LEN {
            frame.pull(wire::ethernet::HEADER_LEN);
        }
        self.drop(now, ifindex, reason, &frame);
    }
}

/// `pskb_may_pull`: the first `n` bytes stand in the head. False when the frame is shorter.
#[inline]
pub(crate) fn may_pull(frame: &mut Frame, n: usize) -> bool {
    if frame.head().len() >= n {
        return true;
    }
    if frame.len() < n {
        return false;
    }
    frame.linearize();
    true
}
