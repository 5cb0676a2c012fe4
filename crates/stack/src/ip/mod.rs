//! IPv4 and IPv6: input, delivery, forwarding, output, fragments. Linux: net/ipv4/ip_*.c, net/ipv6/ip6_*.c.

use std::net::IpAddr;

use wire::ip::Protocol;
use wire::{Frame, Instant};

use crate::record::IfIndex;
use crate::rng::Rng;
use crate::route::Dst;
use crate::{Errno, Stack};

/// What happens in IP later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimerEvent {}

/// IP's own state: reassembly, identification counters, group membership.
#[derive(Clone, Debug)]
pub(crate) struct IpState {}

impl IpState {
    pub(crate) fn new(_rng: &Rng) -> IpState {
        IpState {}
    }
}

/// How a packet of our own is to be sent. One type for both families.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpOut {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: Protocol,
    /// TTL or hop limit.
    pub(crate) ttl: u8,
    /// TOS or traffic class.
    pub(crate) tos: u8,
    /// Don't fragment: `EMSGSIZE` locally when it does not fit, DF on the wire (IPv4).
    pub(crate) dont_fragment: bool,
    /// IPv6 flow label.
    pub(crate) flow_label: u32,
    /// Router Alert option (IGMP, MLD).
    pub(crate) router_alert: bool,
    /// DF on the wire when the packet fits into the path MTU, fragments when it does not
    /// (`IP_PMTUDISC_WANT`, the default of UDP and raw sockets). False: `IP_PMTUDISC_DONT`.
    pub(crate) pmtu_discover: bool,
    /// The interface's MTU counts, not the path's (`IP_PMTUDISC_PROBE`, `_INTERFACE`, `_OMIT`).
    pub(crate) ignore_path_mtu: bool,
    /// IPv4 identification of a connected socket (`inet_id`); `None` for the host's own generator.
    pub(crate) id: Option<u16>,
    /// `IP_MULTICAST_LOOP`: a copy for ourselves when we are a member of the group.
    pub(crate) multicast_loop: bool,
}

impl IpOut {
    /// A packet with Linux's defaults for a fresh socket: TTL 64, path MTU discovery wanted, multicast looped.
    pub(crate) fn new(src: IpAddr, dst: IpAddr, protocol: Protocol) -> IpOut {
        IpOut {
            src,
            dst,
            protocol,
            ttl: 64,
            tos: 0,
            dont_fragment: false,
            flow_label: 0,
            router_alert: false,
            pmtu_discover: true,
            ignore_path_mtu: false,
            id: None,
            multicast_loop: true,
        }
    }
}

/// What the transport learns about a packet that was delivered to it. The frame starts at the transport
/// header; the network header's bytes are lost to it but for this.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RxMeta {
    /// The interface it came in by.
    pub(crate) ifindex: IfIndex,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: Protocol,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    /// Whether `dst` is a broadcast or multicast address, and whether the frame was (`PACKET_BROADCAST`…).
    pub(crate) group: bool,
    /// The route to ourselves that was found: its `src` is `ipi_spec_dst`.
    pub(crate) spec_dst: IpAddr,
    /// Bytes of network header (with options and extension headers) before the transport header; the
    /// frame can be pushed back by that much to quote it in an ICMP error.
    pub(crate) network_header_len: u16,
}

impl Stack {
    pub(crate) fn dev_receive(&mut self, _now: Instant, _ifindex: IfIndex, _frame: Frame) {}

    /// Hands a complete link-layer frame to the interface: to the wire ([`Stack::poll_transmit`]), to `lo`'s
    /// own input, or into a tunnel.
    pub(crate) fn dev_xmit(&mut self, _now: Instant, _ifindex: IfIndex, _frame: Frame) {}

    pub(crate) fn run_loopback(&mut self, _now: Instant) {}

    pub(crate) fn ip_timeout(&mut self, _now: Instant, event: TimerEvent) {
        match event {}
    }

    /// Joins `group` on the interface once more (counted): what IGMP and MLD report and the MAC filter lets in.
    pub(crate) fn mcast_join(&mut self, _now: Instant, _ifindex: IfIndex, _group: IpAddr) {}

    /// Undoes one [`Stack::mcast_join`].
    pub(crate) fn mcast_leave(&mut self, _now: Instant, _ifindex: IfIndex, _group: IpAddr) {}

    /// Sends a transport segment (`frame` starts at the transport header, with headroom) by the route
    /// `dst`: network header, fragmentation, neighbour. `EMSGSIZE` when it may not be fragmented and is larger
    /// than the path MTU.
    pub(crate) fn ip_output(
        &mut self,
        _now: Instant,
        _dst: &Dst,
        _out: &IpOut,
        _frame: Frame,
    ) -> Result<(), Errno> {
        Err(Errno::ENETUNREACH)
    }
}
