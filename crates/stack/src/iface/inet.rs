//! IPv4 addresses of an interface: primary and secondary, and the routes that come with them.
//!
//! Linux: net/ipv4/devinet.c (`__inet_insert_ifa`, `__inet_del_ifa`), net/ipv4/fib_frontend.c (`fib_add_ifaddr`,
//! `fib_del_ifaddr`).

use core::net::Ipv4Addr;

use wire::Instant;

use super::Scope;
use crate::record::{AddrChange, IfIndex, What};
use crate::route::{NewRoute, RouteKind, RouteProtocol, Table, v4_mask};
use crate::{Errno, KernelProfile, Stack};

/// One IPv4 address of an interface (`struct in_ifaddr`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv4IfAddr {
    /// The address.
    pub addr: Ipv4Addr,
    /// The other end of a point-to-point link; else `addr` again. The network is this one's.
    pub peer: Ipv4Addr,
    /// Prefix length, 0 to 32.
    pub prefix_len: u8,
    /// Broadcast address, where one was given.
    pub broadcast: Option<Ipv4Addr>,
    /// How far it is valid.
    pub scope: Scope,
    /// `IFA_F_SECONDARY`: another address of the same network came first.
    pub secondary: bool,
    /// Its label, when it is not the interface's name.
    pub label: Option<Box<str>>,
}

impl Ipv4IfAddr {
    /// The network's mask.
    pub fn mask(&self) -> u32 {
        v4_mask(self.prefix_len)
    }

    /// The network's lowest address.
    pub fn network(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.peer.to_bits() & self.mask())
    }

    /// `inet_ifa_match`: whether `a` belongs to its network.
    pub fn contains(&self, a: Ipv4Addr) -> bool {
        (a.to_bits() ^ self.peer.to_bits()) & self.mask() == 0
    }
}

/// What `ip addr add` was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewAddr4 {
    pub(crate) addr: Ipv4Addr,
    pub(crate) peer: Option<Ipv4Addr>,
    pub(crate) prefix_len: u8,
    pub(crate) broadcast: Option<Ipv4Addr>,
    /// `None`: `host` for loopback addresses, else `global`.
    pub(crate) scope: Option<Scope>,
    pub(crate) label: Option<Box<str>>,
}

impl NewAddr4 {
    pub(crate) fn new(addr: Ipv4Addr, prefix_len: u8) -> NewAddr4 {
        NewAddr4 { addr, peer: None, prefix_len, broadcast: None, scope: None, label: None }
    }
}

/// Addresses that one interface may have.
const MAX_ADDRESSES: usize = 65_536;

impl Stack {
    /// `inet_rtm_newaddr`, `__inet_insert_ifa`.
    pub(crate) fn addr_add4(&mut self, now: Instant, ifindex: IfIndex, new: &NewAddr4) -> Result<(), Errno> {
        if new.prefix_len > 32 || new.addr.is_multicast() {
            return Err(Errno::EINVAL);
        }
        let scope = new.scope.unwrap_or(if new.addr.is_loopback() { Scope::HOST } else { Scope::UNIVERSE });
        let mut ifa = Ipv4IfAddr {
            addr: new.addr,
            peer: new.peer.unwrap_or(new.addr),
            prefix_len: new.prefix_len,
            broadcast: new.broadcast,
            scope,
            secondary: false,
            label: new.label.clone(),
        };
        let iface = self.ifaces.get_mut(ifindex).ok_or(Errno::ENODEV)?;
        if iface.addrs4.len() >= MAX_ADDRESSES {
            return Err(Errno::ENOBUFS);
        }
        let mut last_primary = 0;
        for (i, other) in iface.addrs4.iter().enumerate() {
            if !other.secondary && ifa.scope <= other.scope {
                last_primary = i + 1;
            }
            if other.prefix_len == ifa.prefix_len && other.contains(ifa.peer) {
                if other.addr == ifa.addr {
                    return Err(Errno::EEXIST);
                }
                if other.scope != ifa.scope {
                    return Err(Errno::EINVAL);
                }
                ifa.secondary = true;
            }
        }
        let at = if ifa.secondary { iface.addrs4.len() } else { last_primary };
        crate::socket::slab::grow_by_one(&mut iface.addrs4);
        iface.addrs4.insert(at, ifa.clone());
        self.fib_add_ifaddr(now, ifindex, &ifa);
        self.fib.bump();
        self.out.record(now, || What::Addr { ifindex, addr: ifa.addr.into(), change: AddrChange::Preferred });
        Ok(())
    }

    /// `__inet_del_ifa`: without `promote_secondaries`, the secondaries of a primary go with it.
    pub(crate) fn addr_del4(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        addr: Ipv4Addr,
        prefix_len: Option<u8>,
    ) -> Result<(), Errno> {
        let iface = self.ifaces.get_mut(ifindex).ok_or(Errno::ENODEV)?;
        let at = iface
            .addrs4
            .iter()
            .position(|i| i.addr == addr && prefix_len.is_none_or(|len| len == i.prefix_len))
            .ok_or(Errno::EADDRNOTAVAIL)?;
        let gone = iface.addrs4.remove(at);
        let same = |i: &Ipv4IfAddr| i.secondary && i.prefix_len == gone.prefix_len && i.contains(gone.peer);
        let mut removed = vec![gone.clone()];
        if !gone.secondary {
            let promote = self.sysctl.promote_secondaries(self.ifaces.get(ifindex).expect("seen above"));
            let iface = self.ifaces.get_mut(ifindex).expect("seen above");
            if promote {
                if let Some(heir) = iface.addrs4.iter().position(same) {
                    let mut heir = iface.addrs4.remove(heir);
                    heir.secondary = false;
                    iface.addrs4.insert(at.min(iface.addrs4.len()), heir);
                }
            } else {
                removed.extend(iface.addrs4.iter().filter(|i| same(i)).cloned());
                iface.addrs4.retain(|i| !same(i));
            }
        }
        self.fib_rebuild_ifaddrs(now, ifindex, &removed);
        for ifa in removed {
            self.fib_sync_down_addr(now, ifa.addr.into());
            self.out.record(now, || What::Addr {
                ifindex,
                addr: ifa.addr.into(),
                change: AddrChange::Removed,
            });
        }
        if self.ifaces.get(ifindex).is_some_and(|i| i.addrs4.is_empty()) {
            // fib_inetaddr_event: the last address is gone, and IPv4 with it (fib_disable_ip, arp_ifdown).
            self.fib_flush4_dev(now, ifindex);
            self.neigh_ifdown4(now, ifindex);
        }
        self.fib.bump();
        Ok(())
    }

    /// Removes the kernel's routes of `removed` addresses that no address left behind explains.
    fn fib_rebuild_ifaddrs(&mut self, now: Instant, ifindex: IfIndex, removed: &[Ipv4IfAddr]) {
        let keep: Vec<NewRoute> = self
            .ifaces
            .get(ifindex)
            .map(|i| i.addrs4.clone())
            .unwrap_or_default()
            .iter()
            .flat_map(|ifa| self.ifaddr_routes(ifindex, ifa))
            .collect();
        for ifa in removed {
            for route in self.ifaddr_routes(ifindex, ifa) {
                let needed = keep
                    .iter()
                    .any(|k| k.dst == route.dst && k.prefix_len == route.prefix_len && k.kind == route.kind);
                if !needed {
                    let _ = self.route_delete(now, &route.as_filter());
                }
            }
        }
        for route in keep {
            let _ = self.route_add_quiet(now, &route);
        }
    }

    /// `fib_add_ifaddr`.
    pub(super) fn fib_add_ifaddr(&mut self, now: Instant, ifindex: IfIndex, ifa: &Ipv4IfAddr) {
        for route in self.ifaddr_routes(ifindex, ifa) {
            // An address that is already there has its routes (EEXIST), one on a link that is down gets none.
            let _ = self.route_add_quiet(now, &route);
        }
    }

    /// The routes that an address brings: local, broadcast, connected.
    fn ifaddr_routes(&self, ifindex: IfIndex, ifa: &Ipv4IfAddr) -> Vec<NewRoute> {
        let Some(iface) = self.ifaces.get(ifindex) else { return Vec::new() };
        // A secondary's routes carry its primary's address as source (fib_add_ifaddr, "prim").
        let prim = if ifa.secondary {
            iface
                .addrs4
                .iter()
                .find(|i| !i.secondary && i.prefix_len == ifa.prefix_len && i.contains(ifa.peer))
                .map_or(ifa.addr, |i| i.addr)
        } else {
            ifa.addr
        };
        let route = |kind: RouteKind, dst: Ipv4Addr, prefix_len: u8| {
            let (table, scope) = match kind {
                RouteKind::Unicast => (Table::Main, Scope::LINK),
                RouteKind::Local => (Table::Local, Scope::HOST),
                _ => (Table::Local, Scope::LINK),
            };
            NewRoute {
                protocol: RouteProtocol::KERNEL,
                scope: Some(scope),
                prefsrc: Some(prim.into()),
                oif: ifindex,
                table: Some(table),
                kind,
                ..NewRoute::new(dst.into(), prefix_len)
            }
        };
        let mut routes = vec![route(RouteKind::Local, ifa.addr, 32)];
        if let Some(brd) = ifa.broadcast.filter(|b| *b != Ipv4Addr::BROADCAST) {
            routes.push(route(RouteKind::Broadcast, brd, 32));
        }
        let network = ifa.network();
        let zeronet = network.octets()[0] == 0;
        if !zeronet && !ifa.secondary && (network != ifa.addr || ifa.prefix_len < 32) {
            let kind = if iface.is_loopback() { RouteKind::Local } else { RouteKind::Unicast };
            routes.push(route(kind, network, ifa.prefix_len));
            if ifa.prefix_len < 31 {
                let last = Ipv4Addr::from_bits(network.to_bits() | !ifa.mask());
                if Some(last) != ifa.broadcast {
                    routes.push(route(RouteKind::Broadcast, last, 32));
                }
                // Until 5.14 the network's lowest address was a broadcast address too.
                if self.config.profile < KernelProfile::V5_15 {
                    routes.push(route(RouteKind::Broadcast, network, 32));
                }
            }
        }
        routes
    }
}
