//! IPv6 lookups: output and input. Linux: net/ipv6/route.c (`ip6_pol_route`, `find_rr_leaf`, `rt6_score_route`),
//! net/ipv6/ip6_output.c (`ip6_dst_lookup_tail`).

use core::net::Ipv6Addr;

use wire::Instant;

use super::table::Route;
use super::{Dst, RouteKind};
use crate::iface::Interface;
use crate::record::IfIndex;
use crate::{DropReason, Errno, Stack};

/// `lo`'s number.
const LOOPBACK_IFINDEX: IfIndex = 1;

impl Stack {
    /// `fib6_lookup` with router selection: the local table, then the main one; of the routes to the longest
    /// prefix the lowest metric, of those the most preferred and reachable router (RFC 4191 §3.2).
    pub(super) fn fib_lookup6(&self, now: Instant, dst: Ipv6Addr, oif: IfIndex) -> Option<&Route<u128>> {
        let key = dst.to_bits();
        self.fib
            .local6
            .lookup(key, |routes| self.best6(now, routes, oif))
            .or_else(|| self.fib.main6.lookup(key, |routes| self.best6(now, routes, oif)))
    }

    fn best6<'a>(&self, now: Instant, routes: &'a [Route<u128>], oif: IfIndex) -> Option<&'a Route<u128>> {
        let usable = |r: &&Route<u128>| {
            r.expires.is_none_or(|at| now < at)
                && (oif == 0 || r.oif == oif || r.kind.refuses().is_some())
                && (r.kind != RouteKind::Unicast || self.ifaces.get(r.oif).is_some_and(|i| i.up))
        };
        let first = routes.iter().find(usable)?;
        if first.gateway.is_none() || routes.len() == 1 {
            return Some(first);
        }
        // rt6_score_route: a router that is known not to answer is the last choice; then preference.
        let score = |r: &Route<u128>| {
            let reachable =
                r.gateway.is_none_or(|gw| !self.neigh_is_failed(r.oif, Ipv6Addr::from_bits(gw).into()));
            let preference = match r.pref {
                1 => 2u8,
                3 => 0,
                _ => 1,
            };
            (reachable, preference)
        };
        let mut best = first;
        for r in routes.iter().filter(|r| r.metric == first.metric).filter(usable) {
            if score(r) > score(best) {
                best = r;
            }
        }
        Some(best)
    }

    fn dst6(
        &self,
        kind: RouteKind,
        dst: Ipv6Addr,
        src: Ipv6Addr,
        iface: &Interface,
        route: Option<&Route<u128>>,
    ) -> Dst {
        let gateway = route.and_then(|r| r.gateway).filter(|_| kind == RouteKind::Unicast);
        let metrics = route.and_then(|r| r.metrics.as_deref());
        // The interface's IPv6 MTU, which a router may have lowered (`idev->cnf.mtu6`).
        let link = if kind == RouteKind::Local { iface.mtu } else { iface.conf6.mtu };
        Dst {
            kind,
            ifindex: iface.ifindex,
            src: src.into(),
            next_hop: gateway.map_or(dst, Ipv6Addr::from_bits).into(),
            via_gateway: gateway.is_some(),
            mtu: metrics.map(|m| m.mtu).filter(|m| *m != 0).unwrap_or(link).min(link),
            mtu_locked: metrics.is_some_and(|m| m.mtu_lock),
        }
    }

    pub(super) fn route_output6(
        &self,
        now: Instant,
        dst: Ipv6Addr,
        src: Ipv6Addr,
        oif: IfIndex,
    ) -> Result<Dst, Errno> {
        if !src.is_unspecified() && src.is_multicast() {
            return Err(Errno::EINVAL);
        }
        if oif != 0 && !self.ifaces.get(oif).ok_or(Errno::ENODEV)?.up {
            return Err(Errno::ENETUNREACH);
        }
        let dst = if dst.is_unspecified() { Ipv6Addr::LOCALHOST } else { dst };
        let Some(route) = self.fib_lookup6(now, dst, oif) else { return Err(Errno::ENETUNREACH) };
        if let Some(errno) = route.kind.refuses() {
            return Err(errno);
        }
        let kind = if dst.is_multicast() { RouteKind::Multicast } else { route.kind };
        let via = if kind == RouteKind::Local { LOOPBACK_IFINDEX } else { route.oif };
        let iface = self.ifaces.get(via).ok_or(Errno::ENODEV)?;
        let mut src = src;
        if src.is_unspecified() {
            let chosen = match route.prefsrc {
                Some(src) => Some(Ipv6Addr::from_bits(src)),
                None => self.select_addr6(route.oif, dst),
            };
            // ip6_dst_lookup_tail: without any address the packet leaves with `::`, which only ND may do.
            src = chosen.ok_or(Errno::EADDRNOTAVAIL)?;
        }
        let entry = self.dst6(kind, dst, src, iface, Some(route));
        Ok(self.with_exception(now, dst.into(), entry))
    }

    pub(super) fn route_input6(
        &self,
        now: Instant,
        dst: Ipv6Addr,
        src: Ipv6Addr,
        iif: IfIndex,
    ) -> Result<Dst, (Errno, DropReason)> {
        let iface = self.ifaces.get(iif).ok_or((Errno::ENODEV, DropReason::DevReady))?;
        if src.is_multicast() {
            return Err((Errno::EINVAL, DropReason::IpInvalidSource));
        }
        let deliver = |kind: RouteKind| Dst {
            kind,
            ifindex: LOOPBACK_IFINDEX,
            src: dst.into(),
            next_hop: dst.into(),
            via_gateway: false,
            mtu: iface.mtu,
            mtu_locked: false,
        };
        if dst.is_multicast() {
            return Ok(deliver(RouteKind::Multicast));
        }
        // Link-local addresses are looked for on the link they came by (RT6_LOOKUP_F_IFACE).
        let link_local = dst.is_unicast_link_local();
        let oif = if link_local { iif } else { 0 };
        let none = (Errno::ENETUNREACH, DropReason::IpInNoRoutes);
        let route = self.fib_lookup6(now, dst, oif).ok_or(none)?;
        match route.kind {
            RouteKind::Local => Ok(deliver(RouteKind::Local)),
            RouteKind::Unicast | RouteKind::Multicast | RouteKind::Broadcast => {
                let via = self.ifaces.get(route.oif).ok_or(none)?;
                let entry = self.dst6(RouteKind::Unicast, dst, Ipv6Addr::UNSPECIFIED, via, Some(route));
                Ok(self.with_exception(now, dst.into(), entry))
            }
            RouteKind::Unreachable => Err((Errno::EHOSTUNREACH, DropReason::IpInNoRoutes)),
            RouteKind::Prohibit => Err((Errno::EACCES, DropReason::IpInNoRoutes)),
            RouteKind::Blackhole => Err((Errno::EINVAL, DropReason::IpInNoRoutes)),
        }
    }
}
