//! What a command changes, and how it is refused: the words are those of iproute2 6.1 on kernel 6.18, seen in a
//! throw-away namespace.

use core::net::Ipv4Addr;
use std::net::IpAddr;

use wire::{Instant, MacAddr, Medium};

use super::{
    AddrCommand, AddrVerb, Admin, AdminFailure, Broadcast, LinkChange, NeighCommand, NeighVerb, NewLink,
    RouteSpec,
};
use crate::iface::{LinkKind, NewAddr4, NewAddr6, Tunnel, TunnelMode, Vxlan};
use crate::neigh::{NudState, Update};
use crate::record::{IfIndex, What};
use crate::route::{NewRoute, RouteFilter, RouteKind, RouteProtocol, v4_mask};
use crate::{Errno, Stack};

/// The MTU of a tunnel's lower link when none is known (`ETH_DATA_LEN`).
const ETH_DATA_LEN: u32 = 1500;
/// Outer IP and UDP headers, VXLAN's, and the inner Ethernet header (`VXLAN_HEADROOM`).
const VXLAN_HEADROOM: u32 = 50;

impl Stack {
    /// Runs a command as root; it is recorded as [`What::Admin`], and then what it changed.
    pub fn admin(&mut self, now: Instant, command: &Admin) -> Result<(), AdminFailure> {
        if !matches!(command, Admin::Sysctl { .. }) {
            self.out.record(now, || What::Admin { text: command.to_string() });
        }
        let done = self.admin_inner(now, command);
        self.run_loopback(now);
        done
    }

    fn named_dev(&self, name: &str) -> Result<IfIndex, AdminFailure> {
        self.ifaces.by_name(name).map(|i| i.ifindex).ok_or_else(|| AdminFailure {
            errno: Some(Errno::ENODEV),
            message: format!("Cannot find device \"{name}\""),
        })
    }

    fn admin_inner(&mut self, now: Instant, command: &Admin) -> Result<(), AdminFailure> {
        match command {
            Admin::LinkSet { dev, changes } => {
                let ifindex = self.named_dev(dev)?;
                changes.iter().try_for_each(|change| self.admin_link(now, ifindex, change))
            }
            Admin::LinkAdd { name, kind } => self.admin_link_add(name, kind),
            Admin::LinkDel { dev } => {
                let ifindex = self.named_dev(dev)?;
                self.link_delete(now, ifindex).map_err(AdminFailure::answer)
            }
            Admin::Addr(command) => self.admin_addr(now, command),
            Admin::AddrFlush { dev, ipv6 } => {
                let ifindex = self.named_dev(dev)?;
                self.admin_addr_flush(now, ifindex, *ipv6);
                Ok(())
            }
            Admin::Route { change, route } => {
                let new = self.new_route(route)?;
                self.route_change(now, &new, *change).map_err(|e| route_failure(e, &new))
            }
            Admin::RouteDel(route) => {
                let filter = self.route_filter(route)?;
                self.route_delete(now, &filter).map_err(AdminFailure::answer)
            }
            Admin::RouteFlushCache => {
                self.route_flush_cache();
                Ok(())
            }
            Admin::Neigh(command) => self.admin_neigh(now, command),
            Admin::TcpMetricsFlush { remote } => {
                self.tcp.peers.metrics.flush(*remote);
                Ok(())
            }
            Admin::NeighFlush { dev, ipv6, all } => {
                let ifindex = dev.as_deref().map(|d| self.named_dev(d)).transpose()?;
                self.neigh_flush(now, ifindex, *ipv6, *all);
                Ok(())
            }
            Admin::Sysctl { name, value } => self
                .sysctl_write(now, name, value)
                .map_err(|e| AdminFailure { errno: Some(e.errno()), message: format!("sysctl: {e}") }),
            Admin::RouterAdvert { dev, advertise } => {
                let ifindex = self.named_dev(dev)?;
                self.set_advertise(now, ifindex, advertise.clone());
                Ok(())
            }
        }
    }

    fn admin_link(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        change: &LinkChange,
    ) -> Result<(), AdminFailure> {
        match change {
            LinkChange::Up(up) => self.link_set_up(now, ifindex, *up).map_err(AdminFailure::answer),
            LinkChange::Mtu(mtu) => self.link_set_mtu(now, ifindex, *mtu).map_err(|e| {
                let text = if *mtu < 68 {
                    "mtu less than device minimum"
                } else {
                    "mtu greater than device maximum"
                };
                AdminFailure::explained(e, text)
            }),
            LinkChange::Address(mac) => self.link_set_mac(now, ifindex, *mac).map_err(AdminFailure::answer),
            LinkChange::Arp(on) => self.link_set_arp(now, ifindex, *on).map_err(AdminFailure::answer),
            LinkChange::Carrier(on) => self.link_set_carrier(now, ifindex, *on).map_err(AdminFailure::answer),
        }
    }

    fn admin_link_add(&mut self, name: &str, kind: &NewLink) -> Result<(), AdminFailure> {
        if self.ifaces.by_name(name).is_some() {
            return Err(AdminFailure::answer(Errno::EEXIST));
        }
        if self.ifaces.iter().count() >= crate::iface::MAX_INTERFACES {
            return Err(AdminFailure::answer(Errno::ENOBUFS));
        }
        let below =
            |stack: &Stack, dev: &Option<String>| dev.as_deref().map(|d| stack.named_dev(d)).transpose();
        match kind {
            NewLink::Vlan { link, id } => {
                let link = self.named_dev(link)?;
                self.add_vlan(link, name, *id).map(drop).map_err(|e| match e {
                    Errno::ERANGE => AdminFailure::explained(e, "8021q: Invalid VLAN id"),
                    Errno::EEXIST => AdminFailure::explained(e, "8021q: VLAN device already exists"),
                    e => AdminFailure::answer(e),
                })
            }
            NewLink::Tunnel { mode, local, remote, ttl, tos, pmtudisc, key, csum, seq, dev } => {
                let link = below(self, dev)?.unwrap_or(0);
                let tunnel = Tunnel {
                    mode: *mode,
                    local: *local,
                    remote: *remote,
                    ttl: *ttl,
                    tos: *tos,
                    pmtudisc: *pmtudisc,
                    ikey: *key,
                    okey: *key,
                    csum: *csum,
                    seq: *seq,
                    link,
                };
                self.add_tunnel(name, tunnel);
                Ok(())
            }
            NewLink::Vxlan { vni, local, remote, dstport, dev, ttl, learning } => {
                let link = below(self, dev)?.unwrap_or(0);
                let vxlan = Vxlan {
                    vni: *vni,
                    local: *local,
                    remote: *remote,
                    dstport: *dstport,
                    link,
                    ttl: *ttl,
                    learning: *learning,
                };
                // Only a given lower link lowers the MTU (vxlan_config_apply).
                let mtu =
                    self.ifaces.get(link).map_or(ETH_DATA_LEN, |i| i.mtu.saturating_sub(VXLAN_HEADROOM));
                let mac = self.random_mac(name);
                self.new_interface(name, LinkKind::Vxlan(Box::new(vxlan)), Medium::Ethernet, mac, mtu);
                Ok(())
            }
        }
    }

    fn add_tunnel(&mut self, name: &str, tunnel: Tunnel) {
        // ip_tunnel_bind_dev: the MTU of the way to the remote end, when there is one.
        let way = tunnel.remote.and_then(|dst| {
            let flow = crate::route::Flow { dst, src: super::any(dst.is_ipv6()), oif: tunnel.link, tos: 0 };
            self.route_output(Instant::ZERO, &flow).ok()
        });
        let link = if tunnel.link != 0 { Some(tunnel.link) } else { way.map(|d| d.ifindex) };
        let lower = link.and_then(|i| self.ifaces.get(i)).map_or(ETH_DATA_LEN, |i| i.mtu);
        let mtu = lower.saturating_sub(tunnel.overhead()).max(68);
        let (medium, mac) = if tunnel.mode == TunnelMode::Gretap {
            (Medium::Ethernet, self.random_mac(name))
        } else {
            (Medium::Ip, MacAddr::ZERO)
        };
        self.new_interface(name, LinkKind::Tunnel(Box::new(tunnel)), medium, mac, mtu);
    }

    /// A locally administered unicast address (`eth_hw_addr_random`).
    fn random_mac(&self, name: &str) -> MacAddr {
        let bits = self.rng.fork(&format!("mac {name}")).next_u64().to_be_bytes();
        MacAddr([(bits[0] & 0xfc) | 2, bits[1], bits[2], bits[3], bits[4], bits[5]])
    }

    fn admin_addr(&mut self, now: Instant, c: &AddrCommand) -> Result<(), AdminFailure> {
        let ifindex = self.named_dev(&c.dev)?;
        match c.addr {
            IpAddr::V4(addr) => {
                let network = c.peer.unwrap_or(addr).to_bits();
                let broadcast = match c.broadcast {
                    None => None,
                    Some(Broadcast::Address(b)) => Some(b),
                    Some(Broadcast::Auto) if c.prefix_len >= 31 => None,
                    Some(Broadcast::Auto) => Some(Ipv4Addr::from_bits(network | !v4_mask(c.prefix_len))),
                };
                let new = NewAddr4 {
                    addr,
                    peer: c.peer,
                    prefix_len: c.prefix_len,
                    broadcast,
                    scope: c.scope,
                    label: c.label.as_deref().filter(|l| *l != c.dev).map(Into::into),
                };
                match c.verb {
                    AddrVerb::Del => self
                        .addr_del4(now, ifindex, addr, Some(c.prefix_len))
                        .map_err(|e| AdminFailure::explained(e, "ipv4: Address not found")),
                    AddrVerb::Replace => match self.addr_add4(now, ifindex, &new) {
                        Err(Errno::EEXIST) => Ok(()),
                        other => other.map_err(AdminFailure::answer),
                    },
                    AddrVerb::Add => self.addr_add4(now, ifindex, &new).map_err(|e| match e {
                        Errno::EEXIST => AdminFailure::explained(e, "ipv4: Address already assigned"),
                        e => AdminFailure::answer(e),
                    }),
                }
            }
            IpAddr::V6(addr) => {
                let new = NewAddr6 {
                    nodad: c.nodad,
                    noprefixroute: c.noprefixroute,
                    valid: c.valid_lft,
                    preferred: c.preferred_lft,
                    ..NewAddr6::new(addr, c.prefix_len)
                };
                match c.verb {
                    AddrVerb::Del => self
                        .addr_del6(now, ifindex, addr, Some(c.prefix_len))
                        .map_err(|e| AdminFailure::explained(e, "ipv6: address not found")),
                    AddrVerb::Replace => match self.addr_add6(now, ifindex, &new) {
                        Err(Errno::EEXIST) => {
                            self.addr_refresh6(now, ifindex, addr, c.valid_lft, c.preferred_lft);
                            Ok(())
                        }
                        other => other.map_err(AdminFailure::answer),
                    },
                    AddrVerb::Add => self.addr_add6(now, ifindex, &new).map_err(|e| match e {
                        Errno::EEXIST => AdminFailure::explained(e, "ipv6: address already assigned"),
                        Errno::EACCES => AdminFailure::explained(e, "ipv6: IPv6 is disabled on this device"),
                        e => AdminFailure::answer(e),
                    }),
                }
            }
        }
    }

    fn admin_addr_flush(&mut self, now: Instant, ifindex: IfIndex, ipv6: Option<bool>) {
        let Some(iface) = self.ifaces.get(ifindex) else { return };
        let v4: Vec<Ipv4Addr> = iface.addrs4.iter().map(|a| a.addr).collect();
        let v6: Vec<_> = iface.inet6.addrs.iter().map(|a| a.addr).collect();
        if ipv6 != Some(true) {
            // A secondary may be gone already along with its primary.
            for a in v4 {
                let _ = self.addr_del4(now, ifindex, a, None);
            }
        }
        if ipv6 != Some(false) {
            for a in v6 {
                let _ = self.addr_del6(now, ifindex, a, None);
            }
        }
    }

    fn new_route(&self, r: &RouteSpec) -> Result<NewRoute, AdminFailure> {
        Ok(NewRoute {
            kind: r.kind.unwrap_or(RouteKind::Unicast),
            table: r.table,
            scope: r.scope,
            protocol: r.proto.unwrap_or(RouteProtocol::BOOT),
            metric: r.metric,
            oif: r.dev.as_deref().map(|d| self.named_dev(d)).transpose()?.unwrap_or(0),
            gateway: r.via,
            prefsrc: r.src,
            onlink: r.onlink,
            metrics: r.metrics,
            pref: r.pref.unwrap_or(0),
            expires: r.expires.map(|s| core::time::Duration::from_secs(s.into())),
            ..NewRoute::new(r.dst, r.prefix_len)
        })
    }

    fn route_filter(&self, r: &RouteSpec) -> Result<RouteFilter, AdminFailure> {
        Ok(RouteFilter {
            dst: r.dst,
            prefix_len: r.prefix_len,
            kind: r.kind,
            table: r.table,
            metric: r.metric,
            oif: r.dev.as_deref().map(|d| self.named_dev(d)).transpose()?,
            gateway: r.via,
            prefsrc: r.src,
            protocol: r.proto,
            scope: r.scope,
        })
    }

    fn admin_neigh(&mut self, now: Instant, c: &NeighCommand) -> Result<(), AdminFailure> {
        let ifindex = self.named_dev(&c.dev)?;
        if c.proxy {
            let done = match c.verb {
                NeighVerb::Del => self.proxy_del(ifindex, c.addr),
                NeighVerb::Add | NeighVerb::Replace | NeighVerb::Change => self.proxy_add(ifindex, c.addr),
            };
            return if done { Ok(()) } else { Err(AdminFailure::answer(Errno::ENOENT)) };
        }
        let exists = self.neigh_exists(ifindex, c.addr);
        match (c.verb, exists) {
            (NeighVerb::Add, true) => return Err(AdminFailure::answer(Errno::EEXIST)),
            (NeighVerb::Change | NeighVerb::Del, false) => return Err(AdminFailure::answer(Errno::ENOENT)),
            _ => {}
        }
        let state = c.nud.unwrap_or(NudState::Permanent);
        if c.verb == NeighVerb::Del {
            self.neigh_delete(now, ifindex, c.addr);
            return Ok(());
        }
        if state.is_valid() && c.lladdr.is_none() && !self.neigh_known(ifindex, c.addr) {
            return Err(AdminFailure::explained(Errno::EINVAL, "No link layer address given"));
        }
        if !exists && !self.neigh_make(now, ifindex, c.addr) {
            return Err(AdminFailure::answer(Errno::ENOBUFS));
        }
        let flags = Update {
            override_: true,
            override_is_router: true,
            is_router: c.router,
            admin: true,
            ..Update::default()
        };
        self.neigh_update(now, ifindex, c.addr, c.lladdr, state, flags).map_err(AdminFailure::answer)
    }
}

/// `ip route` with the kernel's explanations.
fn route_failure(e: Errno, new: &NewRoute) -> AdminFailure {
    let v4 = new.dst.is_ipv4();
    let text = match e {
        Errno::ENETUNREACH if v4 => "Nexthop has invalid gateway",
        Errno::ENETDOWN if v4 => "Device for nexthop is not up",
        Errno::EINVAL if v4 && new.kind.refuses().is_some() => {
            "Route with device set to blackhole, unreachable or prohibit can not have a nexthop"
        }
        Errno::EINVAL if v4 && new.gateway.is_none() && new.prefsrc.is_some() => "Invalid prefsrc address",
        Errno::EINVAL if v4 && new.gateway.is_none() => "Invalid prefix for given prefix length",
        Errno::EINVAL if v4 => "Nexthop has invalid gateway",
        Errno::EINVAL
            if new.oif == 0
                && new.gateway.is_some_and(|g| matches!(g, IpAddr::V6(g) if g.is_unicast_link_local())) =>
        {
            "Egress device not specified"
        }
        Errno::ENODEV if v4 => "Device for nexthop is not given",
        e => return AdminFailure::answer(e),
    };
    AdminFailure::explained(e, text)
}
