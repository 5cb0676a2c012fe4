//! Making interfaces, taking them up and down, plugging and unplugging them.
//!
//! Linux: net/core/dev.c (`dev_open`, `dev_close`), net/ipv4/devinet.c (`inetdev_event`), net/ipv4/fib_frontend.c
//! (`fib_netdev_event`), net/ipv6/addrconf.c (`addrconf_notify`), net/8021q.

use core::net::Ipv4Addr;
use std::sync::Arc;

use wire::{Instant, MacAddr, Medium};

use super::{Inet6, Interface, LinkKind, NewAddr4, NewAddr6, Scope};
use crate::record::{IfIndex, What};
use crate::sysctl::Ipv6Conf;
use crate::{Errno, Stack};

/// `IPV4_MIN_MTU`: below it, IPv4 leaves the interface.
const IPV4_MIN_MTU: u32 = 68;
/// `IPV6_MIN_MTU` (RFC 8200 §5): below it, IPv6 leaves the interface.
pub(crate) const IPV6_MIN_MTU: u32 = 1280;
/// The largest MTU that an interface of ours takes.
const MAX_MTU: u32 = 65_536;

impl Stack {
    /// `lo`: number 1, up, with 127.0.0.1/8 and ::1/128.
    pub(crate) fn add_loopback(&mut self) {
        let ifindex = self.new_interface("lo", LinkKind::Loopback, Medium::Ip, MacAddr::ZERO, 65_536);
        self.link_set_up(Instant::ZERO, ifindex, true).expect("lo exists");
        self.out.records.clear();
    }

    /// A new interface that is down, attached to the world. `mtu` is the largest IP packet in bytes.
    /// Panics when the name is taken.
    pub fn add_interface(&mut self, name: &str, medium: Medium, mac: MacAddr, mtu: u32) -> IfIndex {
        assert!(
            self.ifaces.by_name(name).is_none(),
            "{}: there already is an interface {name}",
            self.config.name
        );
        self.new_interface(name, LinkKind::Nic, medium, mac, mtu)
    }

    /// `register_netdevice`: a device of any kind, down, with the settings of `default`.
    pub(crate) fn new_interface(
        &mut self,
        name: &str,
        kind: LinkKind,
        medium: Medium,
        mac: MacAddr,
        mtu: u32,
    ) -> IfIndex {
        let s = &self.sysctl;
        let (conf4, conf6) = (Arc::clone(&s.conf4_default), s.new_conf6(kind == LinkKind::Loopback, mtu));
        let (neigh4, neigh6) = (Arc::clone(&s.neigh4_default), Arc::clone(&s.neigh6_default));
        self.ifaces.insert(|ifindex| Interface {
            ifindex,
            name: name.into(),
            noarp: medium == Medium::Ip && kind != LinkKind::Loopback,
            tso: false,
            kind,
            medium,
            mac,
            mtu,
            up: false,
            carrier: true,
            addrs4: Vec::new(),
            inet6: Inet6::default(),
            conf4,
            conf6,
            neigh4,
            neigh6,
            conf4_set: 0,
            neigh4_set: 0,
            neigh6_set: 0,
            reachable4: None,
            reachable6: None,
        })
    }

    /// The host's interfaces.
    pub fn interfaces(&self) -> &super::Interfaces {
        &self.ifaces
    }

    /// `ip link set dev X up` or `down`.
    pub fn link_set_up(&mut self, now: Instant, ifindex: IfIndex, up: bool) -> Result<(), Errno> {
        let iface = self.ifaces.get(ifindex).ok_or(Errno::ENODEV)?;
        if iface.up == up {
            return Ok(());
        }
        if let LinkKind::Vlan { link, .. } = iface.kind {
            let below = self.ifaces.get(link).ok_or(Errno::ENODEV)?;
            if up && !below.up {
                return Err(Errno::ENETDOWN);
            }
            let carrier = below.carrier;
            self.ifaces.get_mut(ifindex).expect("seen above").carrier = carrier;
        }
        self.ifaces.get_mut(ifindex).expect("seen above").up = up;
        self.record_link(now, ifindex);
        if up {
            self.link_is_up(now, ifindex);
        } else {
            self.link_is_down(now, ifindex);
            for vlan in self.vlans_on(ifindex) {
                self.link_set_up(now, vlan, false)?;
            }
        }
        Ok(())
    }

    fn record_link(&mut self, now: Instant, ifindex: IfIndex) {
        let Some(iface) = self.ifaces.get(ifindex) else { return };
        let (up, carrier) = (iface.up, iface.carrier);
        self.out.record(now, || What::Link { ifindex, up, carrier });
    }

    fn vlans_on(&self, ifindex: IfIndex) -> Vec<IfIndex> {
        self.ifaces
            .iter()
            .filter(|i| matches!(i.kind, LinkKind::Vlan { link, .. } if link == ifindex))
            .map(|i| i.ifindex)
            .collect()
    }

    /// `NETDEV_UP`.
    fn link_is_up(&mut self, now: Instant, ifindex: IfIndex) {
        let iface = self.ifaces.get(ifindex).expect("the caller has it");
        let (loopback, mtu) = (iface.is_loopback(), iface.mtu);
        if mtu >= IPV4_MIN_MTU {
            if loopback && iface.addrs4.is_empty() {
                let addr = NewAddr4 { scope: Some(Scope::HOST), ..NewAddr4::new(Ipv4Addr::LOCALHOST, 8) };
                self.addr_add4(now, ifindex, &addr).expect("lo has no address yet");
            } else {
                for addr in iface.addrs4.clone() {
                    self.fib_add_ifaddr(now, ifindex, &addr);
                }
            }
            if !loopback {
                self.mcast_join(now, ifindex, Ipv4Addr::new(224, 0, 0, 1).into());
            }
        }
        self.fib.bump();
        if self.ifaces.get(ifindex).is_some_and(|i| self.sysctl.arp_notify(i) != 0) {
            self.arp_announce_all(now, ifindex);
        }
        self.inet6_up(now, ifindex);
    }

    /// `NETDEV_DOWN`: `fib_disable_ip`, `arp_ifdown`, `addrconf_ifdown`.
    fn link_is_down(&mut self, now: Instant, ifindex: IfIndex) {
        self.neigh_ifdown(now, ifindex, false);
        self.fib_flush_dev(now, ifindex);
        self.inet6_down(now, ifindex);
        self.mcast_leave(now, ifindex, Ipv4Addr::new(224, 0, 0, 1).into());
    }

    /// The cable is plugged in or pulled out (`netif_carrier_on`, `netif_carrier_off`).
    pub fn link_set_carrier(&mut self, now: Instant, ifindex: IfIndex, carrier: bool) -> Result<(), Errno> {
        let iface = self.ifaces.get_mut(ifindex).ok_or(Errno::ENODEV)?;
        if iface.carrier == carrier {
            return Ok(());
        }
        iface.carrier = carrier;
        let up = iface.up;
        self.record_link(now, ifindex);
        for vlan in self.vlans_on(ifindex) {
            self.link_set_carrier(now, vlan, carrier)?;
        }
        if !up {
            return Ok(());
        }
        self.fib.bump();
        if carrier {
            self.inet6_carrier_up(now, ifindex);
        } else {
            // arp_evict_nocarrier, ndisc_evict_nocarrier: all but permanent entries go.
            self.neigh_ifdown(now, ifindex, true);
        }
        Ok(())
    }

    /// `ip link set dev X mtu N`.
    pub fn link_set_mtu(&mut self, now: Instant, ifindex: IfIndex, mtu: u32) -> Result<(), Errno> {
        let iface = self.ifaces.get_mut(ifindex).ok_or(Errno::ENODEV)?;
        if !(IPV4_MIN_MTU..=MAX_MTU).contains(&mtu) {
            return Err(Errno::EINVAL);
        }
        let old = iface.mtu;
        iface.mtu = mtu;
        let conf6: &mut Ipv6Conf = Arc::make_mut(&mut iface.conf6);
        // addrconf_notify(NETDEV_CHANGEMTU): the IPv6 MTU follows.
        conf6.mtu = mtu;
        self.fib.bump();
        if mtu < IPV6_MIN_MTU && old >= IPV6_MIN_MTU {
            self.inet6_down(now, ifindex);
        } else if mtu >= IPV6_MIN_MTU && old < IPV6_MIN_MTU {
            self.inet6_up(now, ifindex);
        }
        for vlan in self.vlans_on(ifindex) {
            if self.ifaces.get(vlan).is_some_and(|v| v.mtu > mtu) {
                self.link_set_mtu(now, vlan, mtu)?;
            }
        }
        Ok(())
    }

    /// `ip link set dev X address MAC`: peers are told only with `arp_notify` or `ndisc_notify`.
    pub fn link_set_mac(&mut self, now: Instant, ifindex: IfIndex, mac: MacAddr) -> Result<(), Errno> {
        if mac.is_multicast() || mac == MacAddr::ZERO {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let iface = self.ifaces.get_mut(ifindex).ok_or(Errno::ENODEV)?;
        if iface.medium != Medium::Ethernet {
            return Err(Errno::EOPNOTSUPP);
        }
        iface.mac = mac;
        // arp_netdev_event, ndisc_netdev_event: NETDEV_CHANGEADDR throws the neighbours away.
        self.neigh_ifdown(now, ifindex, false);
        self.fib.bump();
        if self.ifaces.get(ifindex).is_some_and(|i| i.up && self.sysctl.arp_notify(i) != 0) {
            self.arp_announce_all(now, ifindex);
        }
        Ok(())
    }

    /// `tc qdisc replace dev X root pfifo limit 0` (`full`), or any queue with room: TCP is told of what the queue drops
    /// (`NET_XMIT_DROP`), reduces its window and tries again every 500 ms (`TCP_RESOURCE_PROBE_INTERVAL`). One interface
    /// at a time; queues are not modelled otherwise, and datagrams pass.
    pub fn link_set_queue_full(&mut self, ifindex: IfIndex, full: bool) {
        self.tcp.full_queue = full.then_some(ifindex);
    }

    /// `ip link set dev X arp on` or `off`.
    pub fn link_set_arp(&mut self, now: Instant, ifindex: IfIndex, on: bool) -> Result<(), Errno> {
        let iface = self.ifaces.get_mut(ifindex).ok_or(Errno::ENODEV)?;
        if iface.noarp != on {
            return Ok(());
        }
        iface.noarp = !on;
        // NETDEV_CHANGE with IFF_NOARP changed: neigh_changeaddr.
        self.neigh_ifdown(now, ifindex, false);
        Ok(())
    }

    /// `ethtool -K X tso on` or `off`. New interfaces have it off, so that every packet on a wire is one that a wire bears.
    pub fn link_set_tso(&mut self, ifindex: IfIndex, on: bool) -> Result<(), Errno> {
        self.ifaces.get_mut(ifindex).ok_or(Errno::ENODEV)?.tso = on;
        Ok(())
    }

    /// `ip link del X`: with every address, route and neighbour on it, and VLANs above it.
    pub fn link_delete(&mut self, now: Instant, ifindex: IfIndex) -> Result<(), Errno> {
        let iface = self.ifaces.get(ifindex).ok_or(Errno::ENODEV)?;
        if iface.is_loopback() {
            return Err(Errno::EOPNOTSUPP);
        }
        for vlan in self.vlans_on(ifindex) {
            self.link_delete(now, vlan)?;
        }
        self.link_set_up(now, ifindex, false)?;
        self.neigh_ifdown(now, ifindex, false);
        self.fib_flush_dev(now, ifindex);
        self.ifaces.remove(ifindex);
        Ok(())
    }

    /// `ip link add link L name N type vlan id I`.
    pub fn add_vlan(&mut self, link: IfIndex, name: &str, id: u16) -> Result<IfIndex, Errno> {
        let below = self.ifaces.get(link).ok_or(Errno::ENODEV)?;
        if below.medium != Medium::Ethernet {
            return Err(Errno::EOPNOTSUPP);
        }
        if !(1..=4094).contains(&id) {
            return Err(Errno::ERANGE);
        }
        if self.ifaces.by_name(name).is_some() || self.ifaces.vlan(link, id).is_some() {
            return Err(Errno::EEXIST);
        }
        let (mac, mtu, carrier) = (below.mac, below.mtu, below.carrier);
        let ifindex = self.new_interface(name, LinkKind::Vlan { link, id }, Medium::Ethernet, mac, mtu);
        self.ifaces.get_mut(ifindex).expect("just made").carrier = carrier;
        Ok(ifindex)
    }

    /// Adds an address as `ip addr add ADDR/LEN dev X` does, broadcast address included where `ip`'s `brd +`
    /// would set one.
    pub fn addr_add(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        addr: std::net::IpAddr,
        prefix_len: u8,
    ) -> Result<(), Errno> {
        match addr {
            std::net::IpAddr::V4(a) => self.addr_add4(now, ifindex, &NewAddr4::new(a, prefix_len)),
            std::net::IpAddr::V6(a) => self.addr_add6(now, ifindex, &NewAddr6::new(a, prefix_len)),
        }
    }
}
