//! IPv4 and IPv6: input, delivery, forwarding, output, fragments. Linux: net/ipv4/ip_*.c, net/ipv6/ip6_*.c.
//!
//! The way in: `dev` (which frames are ours) -> `input4`/`input6` (header checks, route; `remembered`) -> `reasm` -> transport,
//! or `forward`. The way out: `output` -> `fragment` -> [`Stack::neigh_output`] -> `dev`. `options` rewrites IPv4
//! options, `mcast` holds memberships that `igmp` and `mld` report, `ident` numbers packets.

pub(crate) mod dev;
mod forward;
mod fragment;
mod glue;
mod ident;
mod igmp;
mod input4;
mod input6;
pub(crate) mod mcast;
mod mld;
pub(crate) mod options;
mod output;
mod reasm;
mod remembered;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub(crate) use input4::ECN_COUNTERS;
pub(crate) use output::Fixed4;

use wire::Instant;
use wire::ip::Protocol;

use crate::Stack;
use crate::record::IfIndex;
use crate::rng::Rng;

/// What happens in IP later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimerEvent {
    /// Fragments of this packet did not all come in time.
    Reassembly(Box<reasm::FragKey>),
    /// A membership report is due.
    Report { ifindex: IfIndex, protocol: mcast::Protocol, timer: mcast::ReportTimer },
}

/// IP's own state: reassembly, identification counters, group membership.
#[derive(Clone, Debug)]
pub(crate) struct IpState {
    pub(crate) idents: ident::Idents,
    reasm4: reasm::Reassembly,
    reasm6: reasm::Reassembly,
    pub(crate) mcast: mcast::Memberships,
    remembered: remembered::Remembered,
}

impl IpState {
    pub(crate) fn new(rng: &Rng) -> IpState {
        IpState {
            idents: ident::Idents::new(rng),
            reasm4: reasm::Reassembly::default(),
            reasm6: reasm::Reassembly::default(),
            mcast: mcast::Memberships::new(rng),
            remembered: remembered::Remembered::default(),
        }
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
    pub(crate) fn ip_timeout(&mut self, now: Instant, event: TimerEvent) {
        match event {
            TimerEvent::Reassembly(key) => self.reassembly_timeout(now, *key),
            TimerEvent::Report { ifindex, protocol, timer } => {
                self.report_timeout(now, ifindex, protocol, timer);
            }
        }
    }
}
