//! What ICMP taught us about one destination: path MTU and redirects.
//!
//! Linux: net/ipv4/route.c (`__ip_rt_update_pmtu`, `__ip_do_redirect`, `update_or_create_fnhe`), net/ipv6/route.c
//! (`__ip6_rt_update_pmtu`, `rt6_do_redirect`). RFC 1191, RFC 8201. TRUTH 11f.

use std::collections::BTreeMap;
use std::net::IpAddr;

use wire::Instant;

use super::{Dst, Flow, RouteKind};
use crate::iface::Scope;
use crate::record::{IfIndex, What};
use crate::{Errno, Stack};

/// Exceptions a host keeps (`FNHE_HASH_SIZE` buckets of `FNHE_RECLAIM_DEPTH`); then the one that expires
/// first gives way.
const MAX_EXCEPTIONS: usize = 2048 * 5;

/// `fib_nh_exception`, `rt6_exception`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exception {
    /// The interface of the route it belongs to: when the route moves, the exception is void.
    pub(super) ifindex: IfIndex,
    /// The gateway (or destination) of that route.
    pub(super) next_hop: IpAddr,
    /// Path MTU, 0 when not learnt.
    pub(super) mtu: u32,
    /// Below `min_pmtu`: fragments instead of believing it.
    pub(super) locked: bool,
    /// A redirect's gateway.
    pub(super) gateway: Option<IpAddr>,
    /// When it is forgotten.
    pub(super) expires: Instant,
}

/// By destination.
#[derive(Clone, Debug, Default)]
pub(super) struct Exceptions(pub(super) BTreeMap<IpAddr, Exception>);

impl Exceptions {
    fn put(&mut self, dst: IpAddr, exception: Exception) {
        if self.0.len() >= MAX_EXCEPTIONS
            && !self.0.contains_key(&dst)
            && let Some(oldest) = self.0.iter().min_by_key(|(_, e)| e.expires).map(|(dst, _)| *dst)
        {
            self.0.remove(&oldest);
        }
        self.0.insert(dst, exception);
    }
}

impl Stack {
    /// `find_exception`: the entry with what is known about this destination.
    #[inline]
    pub(super) fn with_exception(&self, now: Instant, dst: IpAddr, entry: Dst) -> Dst {
        if self.fib.exceptions.0.is_empty() {
            return entry;
        }
        self.apply_exception(now, dst, entry)
    }

    fn apply_exception(&self, now: Instant, dst: IpAddr, mut entry: Dst) -> Dst {
        let Some(e) = self.fib.exceptions.0.get(&dst) else { return entry };
        if e.expires <= now || e.ifindex != entry.ifindex || e.next_hop != entry.next_hop {
            return entry;
        }
        if e.mtu != 0 && !entry.mtu_locked {
            entry.mtu = entry.mtu.min(e.mtu);
            entry.mtu_locked = e.locked;
        }
        if let Some(gateway) = e.gateway {
            entry.next_hop = gateway;
            entry.via_gateway = true;
        }
        entry
    }

    /// The route without its exceptions: what an exception belongs to.
    fn plain_route(&self, now: Instant, flow: &Flow) -> Result<Dst, Errno> {
        let mut entry = self.route_output(now, flow)?;
        if let Some(e) = self.fib.exceptions.0.get(&flow.dst)
            && e.ifindex == entry.ifindex
            && e.gateway == Some(entry.next_hop)
        {
            entry.next_hop = e.next_hop;
        }
        Ok(entry)
    }

    /// ICMP says that packets to `dst` must be smaller (`ip_rt_update_pmtu`, RFC 1191/8201). Makes or updates
    /// an exception with `mtu_expires`; returns whether the known path MTU changed.
    pub(crate) fn route_update_pmtu(&mut self, now: Instant, flow: &Flow, mtu: u32) -> bool {
        let Ok(entry) = self.route_output(now, flow) else { return false };
        let Ok(plain) = self.plain_route(now, flow) else { return false };
        if entry.kind != RouteKind::Unicast || (entry.mtu_locked && flow.dst.is_ipv4()) {
            return false;
        }
        let (mut mtu, mut locked) = (mtu, false);
        let ns = &self.sysctl.ns;
        let (floor, expires) = match flow.dst {
            IpAddr::V4(_) => (ns.route_min_pmtu, ns.route_mtu_expires),
            IpAddr::V6(_) => (crate::iface::IPV6_MIN_MTU, ns.route6_mtu_expires),
        };
        if mtu < floor {
            mtu = entry.mtu.min(floor);
            locked = flow.dst.is_ipv4();
        }
        if entry.mtu < mtu || (flow.dst.is_ipv6() && entry.mtu == mtu) {
            return false;
        }
        let old = self.fib.exceptions.0.get(&flow.dst).copied();
        if let Some(old) = old
            && entry.mtu == mtu
            && !locked
            && now < old.expires - expires / 2
        {
            return false;
        }
        let gateway = old.filter(|o| o.expires > now && o.next_hop == plain.next_hop).and_then(|o| o.gateway);
        let exception = Exception {
            ifindex: plain.ifindex,
            next_hop: plain.next_hop,
            mtu,
            locked,
            gateway,
            expires: now + expires,
        };
        self.fib.exceptions.put(flow.dst, exception);
        self.fib.bump();
        let dst = flow.dst;
        self.out.record(now, || What::Note {
            text: format!("path MTU to {dst} is {mtu} bytes for {} s", expires.as_secs()),
        });
        entry.mtu != mtu || locked
    }

    /// ICMP redirect: `dst` is better reached by `gateway` on `ifindex` (`__ip_do_redirect`).
    pub(crate) fn route_redirect(
        &mut self,
        now: Instant,
        dst: IpAddr,
        from: IpAddr,
        gateway: IpAddr,
        ifindex: IfIndex,
    ) {
        let Some(iface) = self.ifaces.get(ifindex) else { return };
        let unspecified = match dst {
            IpAddr::V4(_) => IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(core::net::Ipv6Addr::UNSPECIFIED),
        };
        let flow = Flow { dst, src: unspecified, oif: ifindex, tos: 0 };
        let Ok(entry) = self.route_output(now, &flow) else { return };
        // Only the router in use may redirect.
        if entry.kind != RouteKind::Unicast || !entry.via_gateway || entry.next_hop != from {
            return;
        }
        let Ok(plain) = self.plain_route(now, &flow) else { return };
        if let (IpAddr::V4(gw), IpAddr::V4(old)) = (gateway, from) {
            let bad = gw == old
                || !self.sysctl.accept_redirects(iface)
                || gw.is_multicast()
                || gw.is_broadcast()
                || gw.octets()[0] == 0;
            let untrusted = if self.sysctl.shared_media(iface) {
                self.addr_type4(gw) != RouteKind::Unicast
            } else {
                !iface.on_link(gw, old)
                    || (self.sysctl.secure_redirects(iface) && !self.is_default_gateway(gw, ifindex))
            };
            if bad || untrusted {
                return;
            }
        }
        // A gateway that is not known to be there is asked for first; the next redirect is believed.
        if !self.neigh_known(ifindex, gateway) && gateway.is_ipv4() {
            self.neigh_resolve(now, ifindex, gateway);
            return;
        }
        let old = self.fib.exceptions.0.get(&dst).copied();
        let expires = now + self.sysctl.ns.route_gc_timeout;
        let mtu = old.filter(|o| o.expires > now && o.next_hop == plain.next_hop).map_or(0, |o| o.mtu);
        let exception = Exception {
            ifindex,
            next_hop: plain.next_hop,
            mtu,
            locked: old.is_some_and(|o| o.locked && mtu != 0),
            gateway: Some(gateway),
            expires,
        };
        self.fib.exceptions.put(dst, exception);
        self.fib.bump();
        self.out.record(now, || What::Route {
            text: format!("{dst} via {gateway} redirected by {from}"),
            added: true,
        });
    }

    /// `ip_fib_check_default`: whether this is the gateway of a default route.
    fn is_default_gateway(&self, gateway: core::net::Ipv4Addr, ifindex: IfIndex) -> bool {
        self.fib
            .main4
            .iter()
            .any(|r| r.gateway == Some(gateway.to_bits()) && r.oif == ifindex && r.scope == Scope::UNIVERSE)
    }

    /// `ip route flush cache`.
    pub fn route_flush_cache(&mut self) {
        self.fib.exceptions.0.clear();
        self.fib.bump();
    }
}
