//! IPv4 lookups: output, input, reverse path, source address, kind of an address.
//!
//! Linux: net/ipv4/route.c (`ip_route_output_key_hash_rcu`, `ip_route_input_slow`), net/ipv4/fib_frontend.c
//! (`__fib_validate_source`, `inet_addr_type`), net/ipv4/devinet.c (`inet_select_addr`, `inet_confirm_addr`).

use core::net::Ipv4Addr;

use wire::Instant;

use super::table::Route;
use super::{Dst, RouteKind};
use crate::iface::{Interface, Scope};
use crate::record::IfIndex;
use crate::{DropReason, Errno, Stack};

/// `lo`'s number.
const LOOPBACK_IFINDEX: IfIndex = 1;

/// 0.0.0.0/8.
fn is_zeronet(a: Ipv4Addr) -> bool {
    a.octets()[0] == 0
}

impl Stack {
    /// `fib_lookup`: the local table, then the main one. Routes of a smaller scope than asked for are not
    /// seen, nor those by another interface than `oif` when one is given.
    #[inline]
    pub(super) fn fib_lookup4(
        &self,
        _now: Instant,
        dst: Ipv4Addr,
        oif: IfIndex,
        scope: Scope,
    ) -> Option<&Route<u32>> {
        let usable = |r: &&Route<u32>| {
            r.scope >= scope
                && (oif == 0 || r.oif == oif || r.kind.refuses().is_some())
                && (r.kind != RouteKind::Unicast || self.link_usable(r.oif))
        };
        let key = dst.to_bits();
        let first = |routes: &'_ [Route<u32>]| routes.iter().position(|r| usable(&r));
        self.fib
            .local4
            .lookup(key, |routes| first(routes).map(|i| &routes[i]))
            .or_else(|| self.fib.main4.lookup(key, |routes| first(routes).map(|i| &routes[i])))
    }

    /// `ignore_routes_with_linkdown`: routes by an unplugged interface count unless it is set.
    #[inline]
    fn link_usable(&self, oif: IfIndex) -> bool {
        self.ifaces.get(oif).is_some_and(|i| i.up && (i.carrier || i.conf4.ignore_routes_with_linkdown == 0))
    }

    /// `inet_select_addr`: a primary address of `iface`, best one of `dst`'s network, not narrower than
    /// `scope`; else any other interface's.
    pub(crate) fn select_addr4(
        &self,
        iface: IfIndex,
        dst: Option<Ipv4Addr>,
        scope: Scope,
    ) -> Option<Ipv4Addr> {
        if let Some(i) = self.ifaces.get(iface) {
            let local = if self.sysctl.route_localnet(i) { Scope::HOST } else { Scope::LINK };
            let mut primaries =
                i.addrs4.iter().filter(|a| !a.secondary && a.scope.min(local) <= scope).peekable();
            if let Some(first) = primaries.peek().map(|a| a.addr) {
                let near = primaries.find(|a| dst.is_none_or(|d| a.contains(d)));
                return Some(near.map_or(first, |a| a.addr));
            }
        }
        self.ifaces
            .iter()
            .flat_map(|i| i.addrs4.iter())
            .find(|a| !a.secondary && a.scope != Scope::LINK && a.scope <= scope)
            .map(|a| a.addr)
    }

    /// `fib_result_prefsrc`: the source that goes with a route.
    fn prefsrc4(&self, route: &Route<u32>) -> Option<Ipv4Addr> {
        match route.prefsrc {
            Some(src) => Some(Ipv4Addr::from_bits(src)),
            None => self.select_addr4(route.oif, route.gateway.map(Ipv4Addr::from_bits), route.scope),
        }
    }

    /// `inet_addr_type`: what kind of address this is, from where this host stands.
    pub(crate) fn addr_type4(&self, addr: Ipv4Addr) -> RouteKind {
        if is_zeronet(addr) || addr.is_broadcast() {
            return RouteKind::Broadcast;
        }
        if addr.is_multicast() {
            return RouteKind::Multicast;
        }
        let key = addr.to_bits();
        self.fib.local4.lookup(key, |routes| routes.first().map(|r| r.kind)).unwrap_or(RouteKind::Unicast)
    }

    /// `inet_addr_type_dev_table`: as [`Stack::addr_type4`], but an address of another interface than
    /// `ifindex` is not local.
    pub(crate) fn addr_type4_dev(&self, ifindex: IfIndex, addr: Ipv4Addr) -> RouteKind {
        if is_zeronet(addr) || addr.is_broadcast() {
            return RouteKind::Broadcast;
        }
        if addr.is_multicast() {
            return RouteKind::Multicast;
        }
        self.fib
            .local4
            .lookup(addr.to_bits(), |routes| routes.first().map(|r| (r.kind, r.oif)))
            .filter(|(_, oif)| *oif == ifindex)
            .map_or(RouteKind::Unicast, |(kind, _)| kind)
    }

    /// The broadcast or multicast cases and unknown networks, where no route is needed.
    fn unrouted4(&self, dst: Ipv4Addr, src: Ipv4Addr, ifindex: IfIndex) -> Result<Dst, Errno> {
        let kind = if dst.is_broadcast() {
            RouteKind::Broadcast
        } else if dst.is_multicast() {
            RouteKind::Multicast
        } else {
            RouteKind::Unicast
        };
        self.dst4(kind, dst, src, ifindex, None)
    }

    /// `__mkroute_output`: the entry itself, with what is known of the path.
    #[inline]
    fn dst4(
        &self,
        kind: RouteKind,
        dst: Ipv4Addr,
        src: Ipv4Addr,
        ifindex: IfIndex,
        route: Option<&Route<u32>>,
    ) -> Result<Dst, Errno> {
        let iface = self.ifaces.get(ifindex).ok_or(Errno::ENODEV)?;
        if src.is_loopback() && !iface.is_loopback() && !self.sysctl.route_localnet(iface) {
            return Err(Errno::EINVAL);
        }
        if is_zeronet(dst) && kind != RouteKind::Local {
            return Err(Errno::EINVAL);
        }
        let gateway = route.and_then(|r| r.gateway).filter(|_| kind == RouteKind::Unicast);
        let metrics = route.and_then(|r| r.metrics.as_deref());
        let mut mtu = metrics.map(|m| m.mtu).filter(|m| *m != 0).unwrap_or(iface.mtu).min(iface.mtu.max(68));
        if kind == RouteKind::Local {
            mtu = iface.mtu;
        }
        Ok(Dst {
            kind,
            ifindex,
            src: src.into(),
            next_hop: gateway.map_or(dst, Ipv4Addr::from_bits).into(),
            via_gateway: gateway.is_some(),
            mtu,
            mtu_locked: metrics.is_some_and(|m| m.mtu_lock),
        })
    }

    pub(super) fn route_output4(
        &self,
        now: Instant,
        dst: Ipv4Addr,
        src: Ipv4Addr,
        oif: IfIndex,
    ) -> Result<Dst, Errno> {
        let mut src = src;
        if !src.is_unspecified() {
            if src.is_multicast() || src.is_broadcast() || is_zeronet(src) {
                return Err(Errno::EINVAL);
            }
            let owner = self.owner4(src);
            if oif == 0 && (dst.is_multicast() || dst.is_broadcast()) {
                return match owner {
                    Some(iface) => self.unrouted4(dst, src, iface),
                    None => Err(Errno::EINVAL),
                };
            }
            if owner.is_none() && self.sysctl.ns.ip_nonlocal_bind == 0 {
                return Err(Errno::EINVAL);
            }
        }
        if oif != 0 {
            let iface = self.ifaces.get(oif).ok_or(Errno::ENODEV)?;
            if !iface.up {
                return Err(Errno::ENETUNREACH);
            }
            if dst.octets()[..3] == [224, 0, 0] || dst.is_broadcast() {
                if src.is_unspecified() {
                    src = self.select_addr4(oif, None, Scope::LINK).unwrap_or(src);
                }
                return self.unrouted4(dst, src, oif);
            }
            if src.is_unspecified() && dst.is_multicast() {
                src = self.select_addr4(oif, None, Scope::UNIVERSE).unwrap_or(src);
            }
        }
        if dst.is_unspecified() {
            let to = if src.is_unspecified() { Ipv4Addr::LOCALHOST } else { src };
            return self.dst4(RouteKind::Local, to, to, LOOPBACK_IFINDEX, None);
        }
        let Some(route) = self.fib_lookup4(now, dst, oif, Scope::UNIVERSE) else {
            if oif == 0 {
                return Err(Errno::ENETUNREACH);
            }
            // Bound to an interface: the destination is taken to be on its link.
            if src.is_unspecified() {
                src = self.select_addr4(oif, None, Scope::LINK).unwrap_or(src);
            }
            return self.unrouted4(dst, src, oif);
        };
        if let Some(errno) = route.kind.refuses() {
            return Err(errno);
        }
        if route.kind == RouteKind::Local {
            if src.is_unspecified() {
                src = route.prefsrc.map_or(dst, Ipv4Addr::from_bits);
            }
            return self.dst4(RouteKind::Local, dst, src, LOOPBACK_IFINDEX, Some(route));
        }
        if src.is_unspecified() {
            src = self.prefsrc4(route).unwrap_or(src);
        }
        let kind = if dst.is_multicast() { RouteKind::Multicast } else { route.kind };
        let entry = self.dst4(kind, dst, src, route.oif, Some(route))?;
        Ok(self.with_exception(now, dst.into(), entry))
    }

    /// `__ip_dev_find`: the interface that has this local address, by the local table.
    fn owner4(&self, addr: Ipv4Addr) -> Option<IfIndex> {
        self.fib.local4.lookup(addr.to_bits(), |routes| {
            routes.first().filter(|r| r.kind == RouteKind::Local).map(|r| r.oif)
        })
    }

    pub(super) fn route_input4(
        &self,
        now: Instant,
        dst: Ipv4Addr,
        src: Ipv4Addr,
        iif: IfIndex,
    ) -> Result<Dst, (Errno, DropReason)> {
        const SOURCE: (Errno, DropReason) = (Errno::EINVAL, DropReason::IpInvalidSource);
        const DEST: (Errno, DropReason) = (Errno::EINVAL, DropReason::IpInvalidDest);
        let iface = self.ifaces.get(iif).ok_or((Errno::ENODEV, DropReason::DevReady))?;
        let deliver = |kind: RouteKind, spec_dst: Ipv4Addr| Dst {
            kind,
            ifindex: LOOPBACK_IFINDEX,
            src: spec_dst.into(),
            next_hop: dst.into(),
            via_gateway: false,
            mtu: iface.mtu,
            mtu_locked: false,
        };
        let own = || self.select_addr4(iif, Some(src), Scope::LINK).unwrap_or(Ipv4Addr::UNSPECIFIED);
        if dst.is_multicast() {
            // ip_mc_validate_source
            if src.is_multicast() || src.is_broadcast() || (src.is_loopback() && !iface.is_loopback()) {
                return Err(SOURCE);
            }
            if is_zeronet(src) {
                if dst.octets()[..3] != [224, 0, 0] {
                    return Err(SOURCE);
                }
            } else {
                self.validate_source4(now, src, None, 0, iface)?;
            }
            return Ok(deliver(RouteKind::Multicast, own()));
        }
        if src.is_multicast() || src.is_broadcast() {
            return Err(SOURCE);
        }
        if dst.is_broadcast() || (src.is_unspecified() && dst.is_unspecified()) {
            if !is_zeronet(src) {
                self.validate_source4(now, src, None, 0, iface)?;
            }
            return Ok(deliver(RouteKind::Broadcast, own()));
        }
        let localnet = || iface.is_loopback() || self.sysctl.route_localnet(iface);
        if is_zeronet(src) {
            return Err(SOURCE);
        }
        if is_zeronet(dst) || (dst.is_loopback() && !localnet()) {
            return Err(DEST);
        }
        if src.is_loopback() && !localnet() {
            return Err(SOURCE);
        }
        let not_for_us = (Errno::EHOSTUNREACH, DropReason::IpInAddrErrors);
        let Some(route) = self.fib_lookup4(now, dst, 0, Scope::UNIVERSE) else {
            return Err(if iface.forwards_ipv4() {
                (Errno::ENETUNREACH, DropReason::IpInNoRoutes)
            } else {
                not_for_us
            });
        };
        match route.kind {
            RouteKind::Local => {
                self.validate_source4(now, src, Some(dst), 0, iface)?;
                Ok(deliver(RouteKind::Local, dst))
            }
            RouteKind::Broadcast => {
                self.validate_source4(now, src, None, 0, iface)?;
                Ok(deliver(RouteKind::Broadcast, own()))
            }
            _ if !iface.forwards_ipv4() => Err(not_for_us),
            RouteKind::Unreachable => Err((Errno::EHOSTUNREACH, DropReason::IpInNoRoutes)),
            RouteKind::Prohibit => Err((Errno::EACCES, DropReason::IpInNoRoutes)),
            RouteKind::Blackhole => Err((Errno::EINVAL, DropReason::IpInNoRoutes)),
            RouteKind::Multicast => Err(DEST),
            RouteKind::Unicast => {
                self.validate_source4(now, src, Some(dst), route.oif, iface)?;
                let from = self.prefsrc4(route).unwrap_or(Ipv4Addr::UNSPECIFIED);
                let entry = self
                    .dst4(RouteKind::Unicast, dst, from, route.oif, Some(route))
                    .map_err(|e| (e, DropReason::IpInvalidDest))?;
                Ok(self.with_exception(now, dst.into(), entry))
            }
        }
    }

    /// `fib_validate_source`: may a packet from `src` come in here? `oif` is where it would go on to, 0 for
    /// local delivery. The answer tells whether the source is a direct neighbour on this interface.
    fn validate_source4(
        &self,
        now: Instant,
        src: Ipv4Addr,
        _dst: Option<Ipv4Addr>,
        oif: IfIndex,
        iface: &Interface,
    ) -> Result<bool, (Errno, DropReason)> {
        const LOCAL: (Errno, DropReason) = (Errno::EINVAL, DropReason::IpLocalSource);
        const RPF: (Errno, DropReason) = (Errno::EXDEV, DropReason::IpRpfilter);
        let rpf = self.sysctl.rp_filter(iface);
        if rpf == 0 && (oif != iface.ifindex || !self.sysctl.send_redirects(iface)) {
            let foreign = iface.is_loopback()
                || self.sysctl.accept_local(iface)
                || self.ifaces.owner(src.into()).is_none();
            return if foreign { Ok(false) } else { Err(LOCAL) };
        }
        let last_resort = if rpf == 0 { Ok(false) } else { Err(RPF) };
        let Some(route) = self.fib_lookup4(now, src, 0, Scope::UNIVERSE) else { return last_resort };
        match route.kind {
            RouteKind::Unicast => {}
            // On lo, a packet's way back is lo itself.
            RouteKind::Local if iface.is_loopback() || self.sysctl.accept_local(iface) => return Ok(false),
            RouteKind::Local => return Err(LOCAL),
            _ => return Err((Errno::EINVAL, DropReason::IpInvalidSource)),
        }
        if route.oif == iface.ifindex {
            return Ok(route.gateway.is_none());
        }
        if iface.addrs4.is_empty() {
            return last_resort;
        }
        if rpf == 1 {
            return Err(RPF);
        }
        let by_here = self.fib_lookup4(now, src, iface.ifindex, Scope::UNIVERSE);
        Ok(by_here.is_some_and(|r| r.kind == RouteKind::Unicast && r.gateway.is_none()))
    }

    /// Whether a packet that is forwarded back to the link it came from earns its sender a redirect
    /// (`__mkroute_input`: `IPSKB_DOREDIRECT`).
    pub(crate) fn route_should_redirect4(
        &self,
        now: Instant,
        src: Ipv4Addr,
        iif: IfIndex,
        dst: &Dst,
    ) -> bool {
        let Some(iface) = self.ifaces.get(iif) else { return false };
        let std::net::IpAddr::V4(next_hop) = dst.next_hop else { return false };
        dst.ifindex == iif
            && self.sysctl.send_redirects(iface)
            && self.validate_source4(now, src, None, iif, iface) == Ok(true)
            && (self.sysctl.shared_media(iface) || iface.on_link(src, next_hop))
    }

    /// `inet_confirm_addr`: whether `local` is an address of `iface` (of any interface when `None`), wide
    /// enough, and of `dst`'s network unless that is unspecified.
    pub(crate) fn confirm_addr4(
        &self,
        iface: Option<IfIndex>,
        dst: Ipv4Addr,
        local: Ipv4Addr,
        scope: Scope,
    ) -> bool {
        let fits = |i: &Interface| {
            i.addrs4.iter().any(|a| {
                let narrow =
                    a.scope.min(if self.sysctl.route_localnet(i) { Scope::HOST } else { Scope::LINK });
                a.addr == local && narrow <= scope && (dst.is_unspecified() || a.contains(dst))
            })
        };
        match iface {
            Some(i) => self.ifaces.get(i).is_some_and(fits),
            None => self.ifaces.iter().any(fits),
        }
    }
}
