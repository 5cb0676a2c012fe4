//! Where packets go: longest prefix, source selection, exceptions. Linux: net/ipv4/{route,fib_*}.c,
//! net/ipv6/{route,ip6_fib,addrconf}.c.
//!
//! `table.rs` holds routes, `ipv4.rs` and `ipv6.rs` look them up, `change.rs` is `ip route add|del|…`, `exception.rs`
//! what ICMP taught us, `source.rs` RFC 6724, `text.rs` what `ip route` prints.

mod change;
mod exception;
mod ipv4;
mod ipv6;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod text;

use std::net::IpAddr;

use wire::Instant;

pub use change::{NewRoute, RouteChange, RouteFilter};
use exception::Exceptions;
use table::RouteTable;

use crate::record::IfIndex;
use crate::{DropReason, Errno, Stack};

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

impl RouteKind {
    /// `ip route`'s word.
    pub fn name(self) -> &'static str {
        match self {
            RouteKind::Unicast => "unicast",
            RouteKind::Local => "local",
            RouteKind::Broadcast => "broadcast",
            RouteKind::Multicast => "multicast",
            RouteKind::Unreachable => "unreachable",
            RouteKind::Prohibit => "prohibit",
            RouteKind::Blackhole => "blackhole",
        }
    }

    /// Routes that refuse need no interface.
    pub fn refuses(self) -> Option<Errno> {
        match self {
            RouteKind::Unreachable => Some(Errno::EHOSTUNREACH),
            RouteKind::Prohibit => Some(Errno::EACCES),
            RouteKind::Blackhole => Some(Errno::EINVAL),
            RouteKind::Unicast | RouteKind::Local | RouteKind::Broadcast | RouteKind::Multicast => None,
        }
    }
}

/// `RTPROT_*`: who made a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteProtocol(pub u8);

impl RouteProtocol {
    /// ICMP redirect.
    pub const REDIRECT: RouteProtocol = RouteProtocol(1);
    /// The kernel, along with an address.
    pub const KERNEL: RouteProtocol = RouteProtocol(2);
    /// `ip route add` without `proto`.
    pub const BOOT: RouteProtocol = RouteProtocol(3);
    /// The administrator, to be kept by routing daemons.
    pub const STATIC: RouteProtocol = RouteProtocol(4);
    /// A router advertisement.
    pub const RA: RouteProtocol = RouteProtocol(9);

    /// `ip`'s word.
    pub fn name(self) -> String {
        match self {
            RouteProtocol::REDIRECT => "redirect".into(),
            RouteProtocol::KERNEL => "kernel".into(),
            RouteProtocol::BOOT => "boot".into(),
            RouteProtocol::STATIC => "static".into(),
            RouteProtocol::RA => "ra".into(),
            RouteProtocol(n) => n.to_string(),
        }
    }

    /// From `ip`'s word or number.
    pub fn parse(word: &str) -> Option<RouteProtocol> {
        Some(match word {
            "redirect" => RouteProtocol::REDIRECT,
            "kernel" => RouteProtocol::KERNEL,
            "boot" => RouteProtocol::BOOT,
            "static" => RouteProtocol::STATIC,
            "ra" => RouteProtocol::RA,
            n => RouteProtocol(n.parse().ok()?),
        })
    }
}

/// Which table: `ip rule` is not modelled, so that there are these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// 255: looked up first.
    Local,
    /// 254.
    Main,
}

/// `RTAX_*`: what a route says about paths by it; 0 or `false` where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// `mtu`, in bytes.
    pub mtu: u32,
    /// `mtu lock`.
    pub mtu_lock: bool,
    /// `advmss`, in bytes.
    pub advmss: u32,
    /// `hoplimit`.
    pub hoplimit: u8,
    /// `initcwnd`, in packets.
    pub initcwnd: u32,
    /// `initrwnd`, in packets.
    pub initrwnd: u32,
    /// `rto_min`, in milliseconds.
    pub rto_min_ms: u32,
    /// `window`, in bytes.
    pub window: u32,
    /// `quickack`.
    pub quickack: bool,
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
pub struct Fib {
    local4: RouteTable<u32>,
    main4: RouteTable<u32>,
    local6: RouteTable<u128>,
    main6: RouteTable<u128>,
    exceptions: Exceptions,
    generation: u32,
}

impl Fib {
    /// Whether ICMP taught us anything that still stands here.
    pub(crate) fn has_exceptions(&self) -> bool {
        !self.exceptions.0.is_empty()
    }

    /// Every cached [`Dst`] might be wrong now (`rt_cache_flush`).
    pub(crate) fn bump(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }
}

/// The mask of an IPv4 prefix.
pub(crate) const fn v4_mask(len: u8) -> u32 {
    if len == 0 { 0 } else { u32::MAX << (32 - len as u32) } // widening
}

impl Stack {
    /// `ip_route_output_key` / `ip6_route_output`: the way for a packet of our own. Errors as the system
    /// call returns them: `ENETUNREACH`, `EHOSTUNREACH`, `EACCES` (prohibit), `EINVAL` (blackhole).
    pub(crate) fn route_output(&self, now: Instant, flow: &Flow) -> Result<Dst, Errno> {
        match (flow.dst, flow.src) {
            (IpAddr::V4(dst), IpAddr::V4(src)) => self.route_output4(now, dst, src, flow.oif),
            (IpAddr::V6(dst), IpAddr::V6(src)) => self.route_output6(now, dst, src, flow.oif),
            // An unspecified source of the other family says nothing.
            (IpAddr::V4(dst), IpAddr::V6(_)) => {
                self.route_output4(now, dst, core::net::Ipv4Addr::UNSPECIFIED, flow.oif)
            }
            (IpAddr::V6(dst), IpAddr::V4(_)) => {
                self.route_output6(now, dst, core::net::Ipv6Addr::UNSPECIFIED, flow.oif)
            }
        }
    }

    /// `ip_route_input` / `ip6_route_input`: what to do with a packet that arrived. `Local` means deliver,
    /// `Unicast` means forward (whether forwarding is on is the caller's check for IPv6; IPv4 answers
    /// `EHOSTUNREACH` when it is off). [`Stack::route_input_why`] also says with which reason to drop it.
    pub(crate) fn route_input(&self, now: Instant, flow: &Flow, iif: IfIndex) -> Result<Dst, Errno> {
        self.route_input_why(now, flow, iif).map_err(|(errno, _)| errno)
    }

    /// As [`Stack::route_input`], with the kernel's reason for a drop: martian sources
    /// (`IP_INVALID_SOURCE`, `IP_LOCAL_SOURCE`), reverse path filter (`IP_RPFILTER`), martian destinations
    /// (`IP_INVALID_DEST`), no route (`IP_INNOROUTES`), not for us (`IP_INADDRERRORS`).
    pub(crate) fn route_input_why(
        &self,
        now: Instant,
        flow: &Flow,
        iif: IfIndex,
    ) -> Result<Dst, (Errno, DropReason)> {
        match (flow.dst, flow.src) {
            (IpAddr::V4(dst), IpAddr::V4(src)) => self.route_input4(now, dst, src, iif),
            (IpAddr::V6(dst), IpAddr::V6(src)) => self.route_input6(now, dst, src, iif),
            _ => Err((Errno::EINVAL, DropReason::IpInhdr)),
        }
    }

    /// Changes whenever a cached [`Dst`] might be wrong (`rt_genid`).
    #[inline]
    pub(crate) fn route_generation(&self) -> u32 {
        self.fib.generation
    }

    /// The route metrics that hold for packets to this flow's destination: what TCP asks for `initcwnd`,
    /// `rto_min`, `advmss`, `hoplimit`.
    pub(crate) fn route_metrics(&self, now: Instant, flow: &Flow) -> Metrics {
        match flow.dst {
            IpAddr::V4(dst) => self
                .fib_lookup4(now, dst, flow.oif, crate::iface::Scope::UNIVERSE)
                .and_then(|r| r.metrics.as_deref().copied()),
            IpAddr::V6(dst) => {
                self.fib_lookup6(now, dst, flow.oif).and_then(|r| r.metrics.as_deref().copied())
            }
        }
        .unwrap_or_default()
    }
}
