//! `ip route add`, `del`, `replace`, `append`, `change`, and the routes that come and go with interfaces.
//!
//! Linux: net/ipv4/fib_semantics.c (`fib_create_info`, `fib_check_nh`), net/ipv4/fib_trie.c (`fib_table_insert`),
//! net/ipv6/ip6_fib.c (`fib6_add_rt2node`), net/ipv6/route.c (`ip6_route_info_create`).

use core::time::Duration;
use std::net::IpAddr;

use wire::Instant;

use super::table::{Address, Route, RouteTable};
use super::{Metrics, RouteKind, RouteProtocol, Table};
use crate::iface::Scope;
use crate::record::{IfIndex, What};
use crate::{Errno, Stack};

/// `IP6_RT_PRIO_USER`: the metric of an IPv6 route that was given none.
const IP6_METRIC_USER: u32 = 1024;
/// Routes that one host may have, and how many of them strangers may make by advertisements.
const MAX_ROUTES: usize = 1 << 20;
const MAX_ADVERTISED_ROUTES: usize = 4096;

/// A route to be added. What is `None` or 0 gets the default of `ip route`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRoute {
    /// Destination network; host bits are an error.
    pub dst: IpAddr,
    /// Its prefix length.
    pub prefix_len: u8,
    /// What it does.
    pub kind: RouteKind,
    /// Where it goes; by default as its kind says.
    pub table: Option<Table>,
    /// IPv4: by default host for local, link without a gateway, else global.
    pub scope: Option<Scope>,
    /// Who makes it.
    pub protocol: RouteProtocol,
    /// `metric`; IPv4's default is 0, IPv6's 1024.
    pub metric: Option<u32>,
    /// `dev`; 0 to find it by the gateway.
    pub oif: IfIndex,
    /// `via`
    pub gateway: Option<IpAddr>,
    /// `src`
    pub prefsrc: Option<IpAddr>,
    /// `onlink`: the gateway need not be in a connected network.
    pub onlink: bool,
    /// `mtu`, `advmss` and so on.
    pub metrics: Metrics,
    /// `pref`, coded as in RFC 4191 §2.1.
    pub pref: u8,
    /// Learnt from a router advertisement.
    pub addrconf: bool,
    /// `expires`; IPv6 only.
    pub expires: Option<Duration>,
}

impl NewRoute {
    /// A unicast route of `ip route add`, with nothing but its destination.
    pub fn new(dst: IpAddr, prefix_len: u8) -> NewRoute {
        NewRoute {
            dst,
            prefix_len,
            kind: RouteKind::Unicast,
            table: None,
            scope: None,
            protocol: RouteProtocol::BOOT,
            metric: None,
            oif: 0,
            gateway: None,
            prefsrc: None,
            onlink: false,
            metrics: Metrics::default(),
            pref: 0,
            addrconf: false,
            expires: None,
        }
    }

    /// What finds exactly this route.
    pub fn as_filter(&self) -> RouteFilter {
        RouteFilter {
            dst: self.dst,
            prefix_len: self.prefix_len,
            kind: Some(self.kind),
            table: self.table,
            metric: self.metric,
            oif: (self.oif != 0).then_some(self.oif),
            gateway: self.gateway,
            prefsrc: self.prefsrc,
            protocol: None,
            scope: None,
        }
    }

    fn table(&self) -> Table {
        self.table.unwrap_or(match self.kind {
            RouteKind::Local | RouteKind::Broadcast => Table::Local,
            RouteKind::Unicast
            | RouteKind::Multicast
            | RouteKind::Unreachable
            | RouteKind::Prohibit
            | RouteKind::Blackhole => Table::Main,
        })
    }
}

/// Which route to delete: what is `None` matches anything (`fib_table_delete`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteFilter {
    /// Destination network.
    pub dst: IpAddr,
    /// Its prefix length.
    pub prefix_len: u8,
    /// `unicast`, `blackhole` and so on.
    pub kind: Option<RouteKind>,
    /// `table`
    pub table: Option<Table>,
    /// `metric`
    pub metric: Option<u32>,
    /// `dev`
    pub oif: Option<IfIndex>,
    /// `via`
    pub gateway: Option<IpAddr>,
    /// `src`
    pub prefsrc: Option<IpAddr>,
    /// `proto`
    pub protocol: Option<RouteProtocol>,
    /// `scope`
    pub scope: Option<Scope>,
}

/// `ip route`'s verbs that make routes (`NLM_F_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteChange {
    /// Create; `EEXIST` when there is one with the same metric.
    Add,
    /// Create or replace.
    Replace,
    /// Replace; `ENOENT` when there is none.
    Change,
    /// Create behind those with the same metric.
    Append,
    /// Create before those with the same metric.
    Prepend,
}

/// The number behind an address of this table's family.
fn bits4(a: IpAddr) -> Option<u32> {
    match a {
        IpAddr::V4(a) => Some(a.to_bits()),
        IpAddr::V6(_) => None,
    }
}

fn bits6(a: IpAddr) -> Option<u128> {
    match a {
        IpAddr::V4(_) => None,
        IpAddr::V6(a) => Some(a.to_bits()),
    }
}

/// `fib_table_insert`: puts a route among those to the same prefix.
fn insert<A: Address>(table: &mut RouteTable<A>, route: Route<A>, change: RouteChange) -> Result<(), Errno> {
    let same =
        |r: &Route<A>| Route { expires: None, ..r.clone() } == Route { expires: None, ..route.clone() };
    let existing = table.at(route.dst, route.prefix_len);
    let first = existing.iter().position(|r| r.metric >= route.metric);
    let found = first.filter(|i| existing[*i].metric == route.metric);
    let twin = existing.iter().position(same);
    match (change, found) {
        (RouteChange::Add, Some(_)) => return Err(Errno::EEXIST),
        (RouteChange::Change, None) => return Err(Errno::ENOENT),
        (RouteChange::Append | RouteChange::Prepend, Some(_)) if twin.is_some() => return Err(Errno::EEXIST),
        _ => {}
    }
    let routes = table.at_mut(route.dst, route.prefix_len);
    match (change, found) {
        (RouteChange::Replace | RouteChange::Change, Some(at)) => routes[at] = route,
        (RouteChange::Append, Some(at)) => {
            let behind = routes[at..].iter().take_while(|r| r.metric == route.metric).count();
            routes.insert(at + behind, route);
        }
        _ => routes.insert(first.unwrap_or(routes.len()), route),
    }
    Ok(())
}

fn matches<A: Address>(r: &Route<A>, f: &RouteFilter, gateway: Option<A>, prefsrc: Option<A>) -> bool {
    // A missing kind means unicast for routes with a way, anything for those that refuse.
    f.kind.is_none_or(|k| k == r.kind)
        && f.metric.is_none_or(|m| m == r.metric)
        && f.oif.is_none_or(|oif| oif == r.oif)
        && (gateway.is_none() || gateway == r.gateway)
        && (prefsrc.is_none() || prefsrc == r.prefsrc)
        && f.protocol.is_none_or(|p| p == r.protocol)
        && f.scope.is_none_or(|s| s == r.scope)
}

/// Takes the first route that the filter finds.
fn remove<A: Address>(
    table: &mut RouteTable<A>,
    dst: A,
    f: &RouteFilter,
    gateway: Option<A>,
    prefsrc: Option<A>,
) -> Option<Route<A>> {
    let at = table.at(dst, f.prefix_len).iter().position(|r| matches(r, f, gateway, prefsrc))?;
    let gone = table.at_mut(dst, f.prefix_len).remove(at);
    let _ = table.take_if(|_| false);
    Some(gone)
}

impl Stack {
    /// `ip route add` and its sisters. Errors are those of the kernel (`RTNETLINK answers: …`).
    pub fn route_change(&mut self, now: Instant, new: &NewRoute, change: RouteChange) -> Result<(), Errno> {
        let text = match new.dst {
            IpAddr::V4(dst) => {
                let route = self.checked4(now, dst, new)?;
                let text = self.route4_text(now, &route, new.table());
                let table = match new.table() {
                    Table::Local => &mut self.fib.local4,
                    Table::Main => &mut self.fib.main4,
                };
                insert(table, route, change)?;
                text
            }
            IpAddr::V6(dst) => {
                let route = self.checked6(now, dst, new)?;
                let text = self.route6_text(now, &route, new.table());
                let table = match new.table() {
                    Table::Local => &mut self.fib.local6,
                    Table::Main => &mut self.fib.main6,
                };
                insert(table, route, change)?;
                text
            }
        };
        self.fib.bump();
        self.out.record(now, || What::Route { text, added: true });
        Ok(())
    }

    /// A route of the kernel's own (`fib_magic`): another one with the same metric does not stand in its way.
    pub(crate) fn route_add_quiet(&mut self, now: Instant, new: &NewRoute) -> Result<(), Errno> {
        self.route_change(now, new, RouteChange::Append)
    }

    /// `ip route del`: `ESRCH` when nothing matches.
    pub fn route_delete(&mut self, now: Instant, filter: &RouteFilter) -> Result<(), Errno> {
        let tables = match (filter.table, filter.kind) {
            (Some(t), _) => vec![t],
            (None, Some(RouteKind::Local | RouteKind::Broadcast)) => vec![Table::Local],
            (None, _) => vec![Table::Main],
        };
        for t in tables {
            let text = match filter.dst {
                IpAddr::V4(dst) => {
                    let table = if t == Table::Local { &mut self.fib.local4 } else { &mut self.fib.main4 };
                    let (gw, src) = (filter.gateway.and_then(bits4), filter.prefsrc.and_then(bits4));
                    remove(table, dst.to_bits(), filter, gw, src).map(|r| self.route4_text(now, &r, t))
                }
                IpAddr::V6(dst) => {
                    let table = if t == Table::Local { &mut self.fib.local6 } else { &mut self.fib.main6 };
                    let (gw, src) = (filter.gateway.and_then(bits6), filter.prefsrc.and_then(bits6));
                    remove(table, dst.to_bits(), filter, gw, src).map(|r| self.route6_text(now, &r, t))
                }
            };
            if let Some(text) = text {
                self.fib.bump();
                self.out.record(now, || What::Route { text, added: false });
                return Ok(());
            }
        }
        Err(Errno::ESRCH)
    }

    fn routes_in_all(&self) -> usize {
        self.fib.main4.iter().count() + self.fib.main6.iter().count()
    }

    /// `fib_create_info` and `fib_check_nh`.
    fn checked4(&self, now: Instant, dst: core::net::Ipv4Addr, new: &NewRoute) -> Result<Route<u32>, Errno> {
        let key = dst.to_bits();
        if new.prefix_len > 32 || key.masked(new.prefix_len) != key || new.expires.is_some() {
            return Err(Errno::EINVAL);
        }
        if self.fib.main4.at(key, new.prefix_len).len() >= 1024 && self.routes_in_all() >= MAX_ROUTES {
            return Err(Errno::ENOBUFS);
        }
        let gateway = match new.gateway {
            None => None,
            Some(IpAddr::V4(gw)) => Some(gw),
            // `via inet6` (RFC 5549) is not modelled.
            Some(IpAddr::V6(_)) => return Err(Errno::EOPNOTSUPP),
        };
        let default_scope = match new.kind {
            RouteKind::Local => Scope::HOST,
            RouteKind::Broadcast | RouteKind::Multicast => Scope::LINK,
            RouteKind::Unicast if gateway.is_none() => Scope::LINK,
            RouteKind::Unicast | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Blackhole => {
                Scope::UNIVERSE
            }
        };
        let scope = new.scope.unwrap_or(default_scope);
        let mut oif = new.oif;
        if new.kind.refuses().is_some() {
            if oif != 0 || gateway.is_some() {
                return Err(Errno::EINVAL);
            }
        } else if let Some(gw) = gateway {
            oif = self.check_gateway4(now, gw, scope, new)?;
        } else {
            if new.onlink {
                return Err(Errno::EINVAL);
            }
            let iface = self.ifaces.get(oif).ok_or(Errno::ENODEV)?;
            if !iface.up {
                return Err(Errno::ENETDOWN);
            }
        }
        let prefsrc = new.prefsrc.and_then(bits4);
        if let Some(src) = prefsrc
            && new.protocol != RouteProtocol::KERNEL
            && self.addr_type4(core::net::Ipv4Addr::from_bits(src)) != RouteKind::Local
        {
            return Err(Errno::EINVAL);
        }
        Ok(Route {
            dst: key,
            prefix_len: new.prefix_len,
            kind: new.kind,
            scope,
            protocol: new.protocol,
            metric: new.metric.unwrap_or(0),
            oif,
            gateway: gateway.map(core::net::Ipv4Addr::to_bits),
            prefsrc,
            onlink: new.onlink,
            addrconf: false,
            pref: 0,
            metrics: (new.metrics != Metrics::default()).then(|| Box::new(new.metrics)),
            expires: None,
        })
    }

    /// `fib_check_nh_v4_gw`: a gateway must be a neighbour; returns its interface.
    fn check_gateway4(
        &self,
        now: Instant,
        gw: core::net::Ipv4Addr,
        scope: Scope,
        new: &NewRoute,
    ) -> Result<IfIndex, Errno> {
        if scope >= Scope::LINK {
            return Err(Errno::EINVAL);
        }
        let up = |oif: IfIndex| match self.ifaces.get(oif) {
            None => Err(Errno::ENODEV),
            Some(iface) if !iface.up => Err(Errno::ENETDOWN),
            Some(_) => Ok(oif),
        };
        if new.onlink {
            if self.addr_type4(gw) != RouteKind::Unicast {
                return Err(Errno::EINVAL);
            }
            return up(new.oif);
        }
        let found = self.fib_lookup4(now, gw, new.oif, Scope::LINK);
        match found {
            None => Err(Errno::ENETUNREACH),
            Some(r) if !matches!(r.kind, RouteKind::Unicast | RouteKind::Local) => Err(Errno::EINVAL),
            Some(r) => up(r.oif),
        }
    }

    /// `ip6_route_info_create` and `ip6_route_check_nh`.
    fn checked6(&self, now: Instant, dst: core::net::Ipv6Addr, new: &NewRoute) -> Result<Route<u128>, Errno> {
        let key = dst.to_bits();
        if new.prefix_len > 128 || key.masked(new.prefix_len) != key {
            return Err(Errno::EINVAL);
        }
        if new.addrconf && self.fib.main6.iter().filter(|r| r.addrconf).count() >= MAX_ADVERTISED_ROUTES {
            return Err(Errno::ENOBUFS);
        }
        let gateway = match new.gateway {
            None => None,
            Some(IpAddr::V6(gw)) => Some(gw),
            Some(IpAddr::V4(_)) => return Err(Errno::EINVAL),
        };
        let mut oif = new.oif;
        if new.kind.refuses().is_some() {
            // Linux hangs them on lo.
            oif = 1;
        } else if let Some(gw) = gateway {
            if gw.is_unicast_link_local() && oif == 0 {
                return Err(Errno::EINVAL);
            }
            if gw.is_multicast()
                || gw.is_unspecified()
                || gw.is_loopback()
                || self.ifaces.owner(gw.into()).is_some()
            {
                return Err(Errno::EINVAL);
            }
            if !new.onlink && !new.addrconf {
                let way = self.fib_lookup6(now, gw, oif).filter(|r| r.kind == RouteKind::Unicast);
                match way {
                    Some(r) if r.gateway.is_none() => oif = r.oif,
                    _ => return Err(Errno::EHOSTUNREACH),
                }
            }
        }
        let iface = self.ifaces.get(oif).ok_or(Errno::ENODEV)?;
        if !iface.up && new.kind.refuses().is_none() {
            return Err(Errno::ENETDOWN);
        }
        let prefsrc = new.prefsrc.and_then(bits6);
        if let Some(src) = prefsrc
            && self.ifaces.owner(core::net::Ipv6Addr::from_bits(src).into()).is_none()
        {
            return Err(Errno::EINVAL);
        }
        Ok(Route {
            dst: key,
            prefix_len: new.prefix_len,
            kind: new.kind,
            scope: new.scope.unwrap_or(Scope::UNIVERSE),
            protocol: new.protocol,
            metric: new.metric.unwrap_or(IP6_METRIC_USER),
            oif,
            gateway: gateway.map(core::net::Ipv6Addr::to_bits),
            prefsrc,
            onlink: new.onlink,
            addrconf: new.addrconf,
            pref: new.pref,
            metrics: (new.metrics != Metrics::default()).then(|| Box::new(new.metrics)),
            expires: new.expires.map(|after| now + after),
        })
    }

    /// `fib_disable_ip`, `rt6_disable_ip`: every route by this interface goes.
    pub(crate) fn fib_flush_dev(&mut self, now: Instant, ifindex: IfIndex) {
        self.fib_flush4_dev(now, ifindex);
        self.fib_flush6_dev(now, ifindex);
        self.fib.exceptions.0.retain(|_, e| e.ifindex != ifindex);
    }

    /// `fib_disable_ip`: IPv4 alone leaves the interface.
    pub(crate) fn fib_flush4_dev(&mut self, now: Instant, ifindex: IfIndex) {
        self.fib_flush4(now, |r| r.oif == ifindex && r.kind.refuses().is_none());
        self.fib.bump();
    }

    /// `rt6_disable_ip`: IPv6 alone leaves the interface.
    pub(crate) fn fib_flush6_dev(&mut self, now: Instant, ifindex: IfIndex) {
        self.fib_flush6(now, |r| r.oif == ifindex && r.kind.refuses().is_none());
        self.fib.bump();
    }

    fn fib_flush4(&mut self, now: Instant, gone: impl Fn(&Route<u32>) -> bool) {
        for (table, t) in [(Table::Main, &mut self.fib.main4), (Table::Local, &mut self.fib.local4)] {
            for route in t.take_if(&gone) {
                let text = super::text::route_line(&self.ifaces, now, &route, table);
                self.out.record(now, || What::Route { text, added: false });
            }
        }
    }

    pub(super) fn fib_flush6(&mut self, now: Instant, gone: impl Fn(&Route<u128>) -> bool) {
        for (table, t) in [(Table::Main, &mut self.fib.main6), (Table::Local, &mut self.fib.local6)] {
            for route in t.take_if(&gone) {
                let text = super::text::route_line(&self.ifaces, now, &route, table);
                self.out.record(now, || What::Route { text, added: false });
            }
        }
    }

    /// `fib_sync_down_addr`, `rt6_remove_prefsrc`: routes that prefer an address which is no longer ours.
    pub(crate) fn fib_sync_down_addr(&mut self, now: Instant, addr: IpAddr) {
        if self.ifaces.owner(addr).is_some() {
            return;
        }
        match addr {
            IpAddr::V4(a) => self.fib_flush4(now, |r| r.prefsrc == Some(a.to_bits())),
            IpAddr::V6(a) => {
                // IPv6 keeps the route and forgets the preference.
                let bits = a.to_bits();
                for r in self.fib.main6.take_if(|r| r.prefsrc == Some(bits)) {
                    let r = Route { prefsrc: None, ..r };
                    let _ = insert(&mut self.fib.main6, r, RouteChange::Prepend);
                }
            }
        }
        self.fib.bump();
    }

    /// IPv6 routes whose time is over (`fib6_run_gc`).
    pub(crate) fn fib_expire6(&mut self, now: Instant) {
        self.fib_flush6(now, |r| r.expires.is_some_and(|at| at <= now));
        self.fib.exceptions.0.retain(|_, e| e.expires > now);
        self.fib.bump();
    }

    /// When the next IPv6 route expires.
    pub(crate) fn fib_next_expiry6(&self) -> Option<Instant> {
        self.fib.main6.iter().filter_map(|r| r.expires).min()
    }

    /// `rt6_purge_dflt_routers`: default routes from advertisements, on one interface or all (0).
    pub(crate) fn fib_purge_ra_routers(&mut self, now: Instant, ifindex: IfIndex) {
        self.fib_flush6(now, |r| {
            r.addrconf && r.prefix_len == 0 && r.gateway.is_some() && (ifindex == 0 || r.oif == ifindex)
        });
        self.fib.bump();
    }

    /// What a router says of its link goes into the default route by it (`RTAX_HOPLIMIT`, `RTAX_MTU`).
    pub(crate) fn fib_ra_metrics(
        &mut self,
        ifindex: IfIndex,
        router: core::net::Ipv6Addr,
        hoplimit: Option<u8>,
        mtu: Option<u32>,
    ) {
        if (hoplimit, mtu) == (None, None) || self.fib.main6.at(0, 0).is_empty() {
            return;
        }
        let routes = self.fib.main6.at_mut(0, 0);
        for r in routes
            .iter_mut()
            .filter(|r| r.addrconf && r.oif == ifindex && r.gateway == Some(router.to_bits()))
        {
            let metrics = r.metrics.get_or_insert_default();
            metrics.hoplimit = hoplimit.unwrap_or(metrics.hoplimit);
            metrics.mtu = mtu.unwrap_or(metrics.mtu);
        }
        self.fib.bump();
    }

    /// Removes one learnt default router (`ip6_del_rt`).
    pub(crate) fn fib_del_ra_router(&mut self, now: Instant, ifindex: IfIndex, router: core::net::Ipv6Addr) {
        self.fib_flush6(now, |r| {
            r.addrconf && r.prefix_len == 0 && r.oif == ifindex && r.gateway == Some(router.to_bits())
        });
        self.fib.bump();
    }

    /// Gives a learnt route a new lifetime and preference; `false` when there is none.
    pub(crate) fn fib_refresh6(
        &mut self,
        dst: core::net::Ipv6Addr,
        prefix_len: u8,
        oif: IfIndex,
        gateway: Option<core::net::Ipv6Addr>,
        expires: Option<Instant>,
        pref: u8,
    ) -> bool {
        let gateway = gateway.map(core::net::Ipv6Addr::to_bits);
        if self.fib.main6.at(dst.to_bits(), prefix_len).is_empty() {
            return false;
        }
        let routes = self.fib.main6.at_mut(dst.to_bits(), prefix_len);
        match routes.iter_mut().find(|r| r.oif == oif && r.gateway == gateway) {
            Some(r) => {
                r.expires = expires;
                r.pref = pref;
                self.fib.bump();
                true
            }
            None => false,
        }
    }
}
