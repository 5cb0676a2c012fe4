//! One routing table: longest prefix first, then the lowest metric. Linux: net/ipv4/fib_trie.c, net/ipv6/ip6_fib.c.
//!
//! A lookup with the few routes of an ordinary host reads two or three short sorted vectors; with many
//! routes it is one binary search for each prefix length in use.

use core::fmt::Debug;
use core::net::{Ipv4Addr, Ipv6Addr};
use std::net::IpAddr;

use wire::Instant;

use super::{Metrics, RouteKind, RouteProtocol};
use crate::iface::Scope;
use crate::record::IfIndex;

/// An address as a number.
pub(crate) trait Address: Copy + Ord + Debug {
    /// Bits of an address.
    const BITS: u8;
    /// The bits of `self` that a prefix of this length covers.
    fn masked(self, len: u8) -> Self;
    /// As an address.
    fn ip(self) -> IpAddr;
}

impl Address for u32 {
    const BITS: u8 = 32;
    fn masked(self, len: u8) -> u32 {
        self & super::v4_mask(len)
    }
    fn ip(self) -> IpAddr {
        Ipv4Addr::from_bits(self).into()
    }
}

impl Address for u128 {
    const BITS: u8 = 128;
    fn masked(self, len: u8) -> u128 {
        if len == 0 { 0 } else { self & (u128::MAX << (128 - u32::from(len))) }
    }
    fn ip(self) -> IpAddr {
        Ipv6Addr::from_bits(self).into()
    }
}

/// One route (`struct fib_alias` with its `fib_info`; `struct fib6_info`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route<A> {
    pub(crate) dst: A,
    pub(crate) prefix_len: u8,
    pub(crate) kind: RouteKind,
    pub(crate) scope: Scope,
    pub(crate) protocol: RouteProtocol,
    pub(crate) metric: u32,
    pub(crate) oif: IfIndex,
    pub(crate) gateway: Option<A>,
    pub(crate) prefsrc: Option<A>,
    pub(crate) onlink: bool,
    /// Learnt from a router advertisement (`RTF_ADDRCONF`).
    pub(crate) addrconf: bool,
    /// `RTA_PREF`: 1 high, 0 medium, 3 low, as RFC 4191 §2.1 codes them.
    pub(crate) pref: u8,
    pub(crate) metrics: Option<Box<Metrics>>,
    pub(crate) expires: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Group<A> {
    len: u8,
    /// Prefixes, sorted; close together, so that a search touches little memory.
    keys: Vec<A>,
    /// The routes to each of `keys`, by metric.
    routes: Vec<Vec<Route<A>>>,
}

/// All routes of one table.
#[derive(Clone, Debug)]
pub(crate) struct RouteTable<A> {
    /// By prefix length, longest first.
    groups: Vec<Group<A>>,
}

impl<A> Default for RouteTable<A> {
    fn default() -> Self {
        RouteTable { groups: Vec::new() }
    }
}

impl<A: Address> RouteTable<A> {
    /// The routes to each prefix that holds `dst`, longest prefix first, until `choose` takes one.
    #[inline]
    pub(crate) fn lookup<'a, R>(
        &'a self,
        dst: A,
        mut choose: impl FnMut(&'a [Route<A>]) -> Option<R>,
    ) -> Option<R> {
        for group in &self.groups {
            let key = dst.masked(group.len);
            if let Ok(at) = group.keys.binary_search(&key)
                && let Some(found) = choose(&group.routes[at])
            {
                return Some(found);
            }
        }
        None
    }

    /// The routes to exactly this prefix, by metric.
    pub(crate) fn at(&self, dst: A, len: u8) -> &[Route<A>] {
        self.groups
            .iter()
            .find(|g| g.len == len)
            .and_then(|g| g.keys.binary_search(&dst).ok().map(|at| &g.routes[at][..]))
            .unwrap_or_default()
    }

    /// The same, to change them; made when there are none.
    pub(crate) fn at_mut(&mut self, dst: A, len: u8) -> &mut Vec<Route<A>> {
        let g = match self.groups.binary_search_by(|g| len.cmp(&g.len)) {
            Ok(g) => g,
            Err(g) => {
                self.groups.reserve_exact(1); // few lengths are ever in use
                let (keys, routes) = (Vec::with_capacity(1), Vec::with_capacity(1));
                self.groups.insert(g, Group { len, keys, routes });
                g
            }
        };
        let group = &mut self.groups[g];
        let at = match group.keys.binary_search(&dst) {
            Ok(at) => at,
            Err(at) => {
                crate::socket::slab::grow_by_one(&mut group.keys);
                crate::socket::slab::grow_by_one(&mut group.routes);
                group.keys.insert(at, dst);
                // Nearly every prefix has one route; a vector's first growth would take room for four.
                group.routes.insert(at, Vec::with_capacity(1));
                at
            }
        };
        &mut group.routes[at]
    }

    /// Takes every route away that `gone` says, and returns them.
    pub(crate) fn take_if(&mut self, mut gone: impl FnMut(&Route<A>) -> bool) -> Vec<Route<A>> {
        let mut taken = Vec::new();
        for group in &mut self.groups {
            for routes in &mut group.routes {
                taken.extend(routes.extract_if(.., |r| gone(r)));
            }
            let mut left = group.routes.iter().map(|routes| !routes.is_empty());
            group.keys.retain(|_| left.next().expect("as many as keys"));
            group.routes.retain(|routes| !routes.is_empty());
        }
        self.groups.retain(|g| !g.keys.is_empty());
        taken
    }

    /// All routes, longest prefix first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route<A>> + '_ {
        self.groups.iter().flat_map(|g| g.routes.iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn route(dst: u32, len: u8, metric: u32) -> Route<u32> {
        Route {
            dst: dst.masked(len),
            prefix_len: len,
            kind: RouteKind::Unicast,
            scope: Scope::LINK,
            protocol: RouteProtocol::BOOT,
            metric,
            oif: 1,
            gateway: None,
            prefsrc: None,
            onlink: false,
            addrconf: false,
            pref: 0,
            metrics: None,
            expires: None,
        }
    }

    /// The model: look at every route.
    #[test]
    fn lookup_agrees_with_a_linear_search_over_random_tables() {
        let mut rng = Rng::new(7, "fib");
        for _ in 0..20 {
            let mut table = RouteTable::default();
            let mut all = Vec::new();
            for _ in 0..300 {
                let len = u8::try_from(rng.below(33)).unwrap();
                let dst = (rng.next_u32() & 0x0707_0707).masked(len);
                if table.at(dst, len).is_empty() {
                    table.at_mut(dst, len).push(route(dst, len, 0));
                    all.push(route(dst, len, 0));
                }
            }
            for _ in 0..500 {
                let dst = rng.next_u32() & 0x0707_0707;
                let best =
                    all.iter().filter(|r| dst.masked(r.prefix_len) == r.dst).max_by_key(|r| r.prefix_len);
                assert_eq!(table.lookup(dst, |r| r.first()), best);
            }
            assert_eq!(table.take_if(|_| true).len(), all.len());
            assert_eq!(table.iter().count(), 0);
        }
    }
}
