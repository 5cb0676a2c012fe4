//! Small networks for tests.

use std::net::IpAddr;

use sim::program::script::{HostAddrs, Names};
use sim::{LinkConfig, SwitchConfig, World, WorldConfig};
use stack::StackConfig;
use stack::record::{IfIndex, NodeId};
use stack::route::{NewRoute, RouteChange};
use wire::{Instant, MacAddr, Medium};

/// A world whose nodes and interfaces are known by name.
pub(crate) struct Net {
    pub(crate) world: World,
    addrs: Vec<(String, IpAddr)>,
    macs: u8,
    seed: u64,
}

pub(crate) fn secs(s: u64) -> Instant {
    Instant::from_secs(s)
}

impl Net {
    pub(crate) fn new(seed: u64) -> Net {
        Net::with_record(seed, true)
    }

    pub(crate) fn with_record(seed: u64, record: bool) -> Net {
        let world = World::new(WorldConfig { seed, record, check: true });
        Net { world, addrs: Vec::new(), macs: 0, seed }
    }

    /// A host with interfaces and their addresses, all up.
    pub(crate) fn host(&mut self, name: &str, ifaces: &[(&str, &str)]) {
        let config = StackConfig { name: name.into(), seed: self.seed, ..StackConfig::default() };
        let node = self.world.add_host(config);
        for (iface, addr) in ifaces {
            self.macs += 1;
            let mac = MacAddr([2, 0, 0, 0, 0, self.macs]);
            let ifindex = self.world.add_nic(node, iface, Medium::Ethernet, mac, 1500);
            let (ip, len) = addr.split_once('/').expect("ADDR/LEN");
            let ip: IpAddr = ip.parse().expect("an address");
            self.world.with_stack(node, |stack, now| {
                stack.link_set_up(now, ifindex, true).expect("it was just made");
                stack.addr_add(now, ifindex, ip, len.parse().expect("a length")).expect("a new address");
            });
            self.addrs.push((name.into(), ip));
        }
    }

    pub(crate) fn switch(&mut self, name: &str, config: SwitchConfig) {
        self.world.add_switch(name, config);
    }

    pub(crate) fn node(&self, name: &str) -> NodeId {
        self.world.find_node(name).expect("a node of this name")
    }

    pub(crate) fn nic(&self, node: &str, name: &str) -> IfIndex {
        self.world.find_nic(self.node(node), name).expect("an interface of this name")
    }

    /// The first address of a host.
    pub(crate) fn addr(&self, host: &str) -> IpAddr {
        self.addrs.iter().find(|(name, _)| name == host).expect("a host").1
    }

    pub(crate) fn link(&mut self, a: (&str, &str), b: (&str, &str), config: LinkConfig) {
        let [a, b] = [a, b].map(|(node, nic)| (self.node(node), self.nic(node, nic)));
        self.world.connect(a, b, config);
    }

    /// Joins a host to a new port of a switch.
    pub(crate) fn port(&mut self, host: (&str, &str), switch: &str, config: LinkConfig) {
        let node = self.node(switch);
        let port = self.world.add_nic(node, host.0, Medium::Ethernet, MacAddr::ZERO, 1500);
        self.world.connect((self.node(host.0), self.nic(host.0, host.1)), (node, port), config);
    }

    pub(crate) fn gateway(&mut self, host: &str, via: &str) {
        let node = self.node(host);
        let mut route = NewRoute::new("0.0.0.0".parse().expect("an address"), 0);
        route.gateway = Some(via.parse().expect("an address"));
        self.world.with_stack(node, |stack, now| {
            stack.route_change(now, &route, RouteChange::Add).expect("a reachable gateway");
        });
    }

    pub(crate) fn sysctl(&mut self, host: &str, name: &str, value: &str) {
        let node = self.node(host);
        self.world.with_stack(node, |stack, now| stack.sysctl_write(now, name, value).expect("a sysctl"));
    }

    /// What a script on `host` may call things.
    pub(crate) fn names(&self, host: &str) -> Names {
        let mut names = Names::default();
        for (name, ip) in &self.addrs {
            let addrs: &mut HostAddrs = names.hosts.entry(name.clone()).or_default();
            match ip {
                IpAddr::V4(ip) => addrs.v4 = addrs.v4.or(Some(*ip)),
                IpAddr::V6(ip) => addrs.v6 = addrs.v6.or(Some(*ip)),
            }
        }
        for nic in ["eth0", "lan", "wan"] {
            if let Some(ifindex) = self.world.find_nic(self.node(host), nic) {
                names.interfaces.insert(nic.into(), ifindex);
            }
        }
        names
    }
}
