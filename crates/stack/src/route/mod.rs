//! Where packets go: longest prefix, source selection, exceptions. Linux: net/ipv4/{route,fib_*}.c,
//! net/ipv6/{route,ip6_fib,addrconf}.c.

use std::net::IpAddr;

use wire::Instant;

use crate::record::IfIndex;
use crate::{Errno, Stack};

/// `RTN_*`: what a route does with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// To a gateway or a direct neighbour.
    Unicast,
    /// Ours.
    Local,
    /// A broadcast address of a connected network.
    Broadcast,
    /// A multicast group.
    Multicast,
    /// Answered with host unreachable.
    Unreachable,
    /// Answered with communication prohibited.
    Prohibit,
    /// Dropped silently.
    Blackhole,
}

/// What a packet is looked up by (`struct flowi4`/`flowi6`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) dst: IpAddr,
    /// Unspecified when the lookup shall choose it.
    pub(crate) src: IpAddr,
    /// Bound output interface (`SO_BINDTODEVICE`, `sin6_scope_id`, `IP_MULTICAST_IF`), 0 for none.
    pub(crate) oif: IfIndex,
    pub(crate) tos: u8,
}

/// The result of a lookup (`struct rtable` / `rt6_info`): everything that output needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dst {
    pub(crate) kind: RouteKind,
    /// The interface it leaves by (`lo` for local destinations).
    pub(crate) ifindex: IfIndex,
    /// The source address that an unbound socket gets.
    pub(crate) src: IpAddr,
    /// The neighbour to hand the packet to: the gateway, or the destination itself.
    pub(crate) next_hop: IpAddr,
    /// Whether `next_hop` is a gateway.
    pub(crate) via_gateway: bool,
    /// The path MTU known now: exception, else route metric, else the interface's.
    pub(crate) mtu: u32,
    /// `mtu lock`: never learnt from ICMP, DF is not set.
    pub(crate) mtu_locked: bool,
}

/// Routing tables, exceptions included.
#[derive(Clone, Debug, Default)]
pub struct Fib {}

impl Stack {
    /// `ip_route_output_key` / `ip6_route_output`: the way for a packet of our own. Errors as the system
    /// call returns them: `ENETUNREACH`, `EHOSTUNREACH`, `EACCES` (prohibit), `EINVAL` (blackhole).
    pub(crate) fn route_output(&self, _now: Instant, _flow: &Flow) -> Result<Dst, Errno> {
        Err(Errno::ENETUNREACH)
    }

    /// `ip_route_input` / `ip6_route_input`: what to do with a packet that arrived. `Local` means deliver,
    /// `Unicast` means forward (whether forwarding is on is the caller's check).
    pub(crate) fn route_input(&self, _now: Instant, _flow: &Flow, _iif: IfIndex) -> Result<Dst, Errno> {
        Err(Errno::ENETUNREACH)
    }

    /// Changes whenever a cached [`Dst`] might be wrong (`rt_genid`).
    pub(crate) fn route_generation(&self) -> u32 {
        0
    }

    /// ICMP says that packets to `dst` must be smaller (`ip_rt_update_pmtu`, RFC 1191/8201). Makes or updates
    /// an exception with `mtu_expires`; returns whether the known path MTU changed.
    pub(crate) fn route_update_pmtu(&mut self, _now: Instant, _flow: &Flow, _mtu: u32) -> bool {
        false
    }

    /// ICMP redirect: `dst` is better reached by `gateway` on `ifindex` (`__ip_do_redirect`).
    pub(crate) fn route_redirect(
        &mut self,
        _now: Instant,
        _dst: IpAddr,
        _from: IpAddr,
        _gateway: IpAddr,
        _ifindex: IfIndex,
    ) {
    }
}
