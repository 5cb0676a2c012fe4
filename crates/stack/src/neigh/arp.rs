//! ARP: asking, answering, believing. RFC 826, RFC 5227. Linux: net/ipv4/arp.c (`arp_solicit`, `arp_process`,
//! `arp_ignore`, `arp_filter`, `arp_fwd_proxy`), net/ipv4/devinet.c (`inetdev_send_gratuitous_arp`).
//! TRUTH 11a, 11b, 11c, 11d, 11h.

use core::net::Ipv4Addr;

use wire::arp::{Operation, PACKET_LEN, Packet};
use wire::ethernet::{self, EtherType};
use wire::{Frame, Instant, MacAddr};

use super::{NudState, Update};
use crate::iface::Scope;
use crate::mib::Counter;
use crate::record::IfIndex;
use crate::route::{Flow, RouteKind};
use crate::{DropReason, Stack};

/// Ethernet frames are at least 60 bytes without their checksum; Linux leaves the padding to the driver, and
/// so do we: an ARP frame is 42 bytes here as it is on a veth.
const FRAME_LEN: usize = ethernet::HEADER_LEN + PACKET_LEN;

/// The source address of the IP packet that waits.
fn source_of(waiting: Option<&[u8]>) -> Option<Ipv4Addr> {
    let b = waiting?.get(12..16)?;
    Some(Ipv4Addr::new(b[0], b[1], b[2], b[3]))
}

impl Stack {
    /// `arp_send`
    pub(crate) fn arp_send(&mut self, now: Instant, ifindex: IfIndex, dst: MacAddr, packet: &Packet) {
        let Some(iface) = self.ifaces.get(ifindex) else { return };
        if !iface.resolves() {
            return;
        }
        let header = ethernet::Header { dst, src: iface.mac, vlan: None, ethertype: EtherType::ARP };
        let mut frame = Frame::with_headroom(0, FRAME_LEN);
        header.emit(frame.put_zeroed(ethernet::HEADER_LEN));
        packet.emit(frame.put_zeroed(PACKET_LEN));
        self.dev_xmit(now, ifindex, frame);
    }

    /// `arp_solicit`: the `probes`-th request for `target`; the first `ucast_solicit` go to the address that
    /// was last known.
    pub(super) fn arp_solicit(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        target: Ipv4Addr,
        probes: u32,
        waiting: Option<&[u8]>,
    ) {
        let Some(iface) = self.ifaces.get(ifindex) else { return };
        let (mac, params) = (iface.mac, &iface.neigh4);
        let unicast = probes < params.ucast_solicit;
        if !unicast && probes - params.ucast_solicit < params.app_solicit {
            // Left to a daemon on netlink, which nobody runs here.
            return;
        }
        let announce = self.sysctl.arp_announce(iface);
        let candidate = source_of(waiting).filter(|src| self.addr_type4(*src) == RouteKind::Local);
        let own = match announce {
            0 => candidate,
            // Only an address of a network that the target is in.
            1 => candidate.filter(|src| self.ifaces.iter().any(|i| i.on_link(target, *src))),
            _ => None,
        };
        let Some(sender_ip) = own.or_else(|| self.select_addr4(ifindex, Some(target), Scope::LINK)) else {
            return;
        };
        let known = self.neigh.get(ifindex, target.into()).map(|n| n.lladdr);
        let dst = known.filter(|_| unicast).unwrap_or(MacAddr::BROADCAST);
        // The target's address stays zero even when it is known (arp_send_dst without target_hw).
        let target_mac = MacAddr::ZERO;
        let request = Packet {
            operation: Operation::REQUEST,
            sender_mac: mac,
            sender_ip,
            target_mac,
            target_ip: target,
        };
        self.arp_send(now, ifindex, dst, &request);
    }

    /// `inetdev_send_gratuitous_arp`: announces every address of the interface.
    pub(crate) fn arp_announce_all(&mut self, now: Instant, ifindex: IfIndex) {
        let Some(iface) = self.ifaces.get(ifindex) else { return };
        let mac = iface.mac;
        for addr in iface.addrs4.iter().map(|a| a.addr).collect::<Vec<_>>() {
            let packet = Packet {
                operation: Operation::REQUEST,
                sender_mac: mac,
                sender_ip: addr,
                target_mac: MacAddr::ZERO,
                target_ip: addr,
            };
            self.arp_send(now, ifindex, MacAddr::BROADCAST, &packet);
        }
    }

    fn arp_reply(&mut self, now: Instant, ifindex: IfIndex, request: &Packet) {
        let Some(mac) = self.ifaces.get(ifindex).map(|i| i.mac) else { return };
        let reply = Packet {
            operation: Operation::REPLY,
            sender_mac: mac,
            sender_ip: request.target_ip,
            target_mac: request.sender_mac,
            target_ip: request.sender_ip,
        };
        self.arp_send(now, ifindex, request.sender_mac, &reply);
    }

    /// `arp_rcv`: `packet` starts at the ARP header, `eth` is the frame's header.
    pub(crate) fn arp_input(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        eth: &ethernet::Header,
        packet: &[u8],
    ) {
        let Some(iface) = self.ifaces.get(ifindex) else { return };
        // PACKET_OTHERHOST never gets here on a NIC that is not promiscuous.
        let for_us = eth.dst == iface.mac;
        if !iface.up || !iface.resolves() || !(for_us || eth.dst.is_multicast()) {
            return;
        }
        match Packet::parse(packet) {
            Ok((arp, _)) if matches!(arp.operation, Operation::REQUEST | Operation::REPLY) => {
                self.arp_process(now, ifindex, &arp, for_us);
            }
            _ => self.record_drop(now, ifindex, DropReason::ArpInvalid, packet),
        }
    }

    /// `arp_process`
    fn arp_process(&mut self, now: Instant, ifindex: IfIndex, arp: &Packet, for_us: bool) {
        let (sip, tip) = (arp.sender_ip, arp.target_ip);
        let iface = self.ifaces.get(ifindex).expect("arp_input has it");
        let loopback = tip.is_loopback() && !self.sysctl.route_localnet(iface);
        if tip.is_multicast() || loopback || (sip == tip && self.sysctl.drop_gratuitous_arp(iface)) {
            return;
        }
        let request = arp.operation == Operation::REQUEST;
        if sip.is_unspecified() {
            // RFC 5227 probe: answered, and nothing learnt.
            if request
                && self.addr_type4_dev(ifindex, tip) == RouteKind::Local
                && !self.arp_ignore(ifindex, sip, tip)
            {
                self.arp_reply(now, ifindex, arp);
            }
            return;
        }
        if request && self.arp_request(now, ifindex, arp, for_us) {
            return;
        }
        self.arp_learn(now, ifindex, arp, for_us);
    }

    /// A request that might be for us, or for somebody whom we stand in for. `true` when it was dealt with.
    fn arp_request(&mut self, now: Instant, ifindex: IfIndex, arp: &Packet, for_us: bool) -> bool {
        let (sip, tip) = (arp.sender_ip, arp.target_ip);
        let flow = Flow { dst: tip.into(), src: sip.into(), oif: 0, tos: 0 };
        // A broadcast destination is an error for anything but IP packets (ip_route_input_slow).
        let Ok(route) = self.route_input(now, &flow, ifindex) else { return false };
        let iface = self.ifaces.get(ifindex).expect("arp_input has it");
        match route.kind {
            RouteKind::Local => {
                let silent = self.arp_ignore(ifindex, sip, tip)
                    || (self.sysctl.arp_filter(iface) && self.arp_filter(now, ifindex, sip, tip));
                if !silent && self.neigh_event_ns(now, ifindex, sip.into(), arp.sender_mac) {
                    self.arp_reply(now, ifindex, arp);
                }
                true
            }
            RouteKind::Unicast if iface.forwards_ipv4() && route.ifindex != ifindex => {
                let proxied = self.sysctl.proxy_arp(iface) || self.neigh.proxies.has(ifindex, tip.into());
                if !proxied {
                    return false;
                }
                let delay = iface.neigh4.proxy_delay;
                self.neigh_event_ns(now, ifindex, sip.into(), arp.sender_mac);
                if for_us || delay.is_zero() {
                    self.arp_reply(now, ifindex, arp);
                } else {
                    self.proxy_enqueue(now, ifindex, *arp);
                }
                true
            }
            _ => false,
        }
    }

    /// A proxied request whose time has come.
    pub(super) fn arp_proxy_reply(&mut self, now: Instant, ifindex: IfIndex, arp: &Packet) {
        self.arp_reply(now, ifindex, arp);
    }

    /// What an entry is worth after this packet. By default only entries that exist are changed.
    fn arp_learn(&mut self, now: Instant, ifindex: IfIndex, arp: &Packet, for_us: bool) {
        let (sip, tip) = (arp.sender_ip, arp.target_ip);
        let iface = self.ifaces.get(ifindex).expect("arp_input has it");
        let reply = arp.operation == Operation::REPLY;
        let locktime = iface.neigh4.locktime;
        let accept = match self.sysctl.arp_accept(iface) {
            0 => false,
            // 2: only from one of the interface's networks.
            2 => iface.on_link(sip, Ipv4Addr::UNSPECIFIED),
            _ => true,
        };
        let unicast = self.addr_type4_dev(ifindex, sip) == RouteKind::Unicast;
        // Gratuitous: sender and target address are equal; in a reply, both hardware addresses too.
        let gratuitous = sip == tip && (!reply || arp.target_mac == arp.sender_mac) && unicast;
        let known = self.neigh.get(ifindex, sip.into()).is_some();
        if !known
            && !(accept && unicast && (gratuitous || reply) && self.neigh_create(now, ifindex, sip.into()))
        {
            return;
        }
        let Some(n) = self.neigh.get(ifindex, sip.into()) else { return };
        // Only a reply to us alone proves that the neighbour hears us.
        let state = if reply && for_us { NudState::Reachable } else { NudState::Stale };
        let flags = Update { override_: gratuitous || now > n.updated + locktime, ..Update::default() };
        // A permanent entry does not change (EPERM), and nobody is told.
        let _ = self.neigh_update(now, ifindex, sip.into(), Some(arp.sender_mac), state, flags);
    }

    /// `arp_ignore`: whether the sysctl forbids the answer.
    fn arp_ignore(&self, ifindex: IfIndex, sip: Ipv4Addr, tip: Ipv4Addr) -> bool {
        let Some(iface) = self.ifaces.get(ifindex) else { return true };
        let none = Ipv4Addr::UNSPECIFIED;
        let confirmed = match self.sysctl.arp_ignore(iface) {
            1 => self.confirm_addr4(Some(ifindex), none, tip, Scope::HOST),
            2 => self.confirm_addr4(Some(ifindex), sip, tip, Scope::HOST),
            3 => self.confirm_addr4(None, none, tip, Scope::LINK),
            8 => false,
            _ => true,
        };
        !confirmed
    }

    /// `arp_filter`: whether packets to the asker would leave by another interface.
    fn arp_filter(&mut self, now: Instant, ifindex: IfIndex, sip: Ipv4Addr, tip: Ipv4Addr) -> bool {
        let flow = Flow { dst: sip.into(), src: tip.into(), oif: 0, tos: 0 };
        match self.route_output(now, &flow) {
            Ok(route) if route.ifindex == ifindex => false,
            Ok(_) => {
                self.mib.inc(Counter::TcpExtArpFilter);
                true
            }
            Err(_) => true,
        }
    }
}
