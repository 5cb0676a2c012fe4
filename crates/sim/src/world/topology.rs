//! Building a world: nodes, interfaces, links.

use stack::admin::Admin;
use stack::record::{IfIndex, IfaceInfo, NodeId, NodeInfo, NodeKind};
use stack::{Stack, StackConfig};
use wire::{MacAddr, Medium};

use super::{Body, Host, Nic, Node, World};
use crate::link::{Cable, Direction, End, Impairer, Impairment, LinkConfig, LinkId, LinkState, Pipe};
use crate::nat::{Nat, NatConfig};
use crate::queue::Due;
use crate::switch::{PortConfig, Switch, SwitchConfig};

impl World {
    /// A host on our stack, with a loopback interface.
    pub fn add_host(&mut self, config: StackConfig) -> NodeId {
        let name = config.name.clone();
        let mut config = config;
        config.record &= self.config.record;
        let node = self.add_node(&name, NodeKind::Stack, Body::Host(Box::new(Host::new(Stack::new(config)))));
        self.service(node, None);
        node
    }

    /// A switch.
    pub fn add_switch(&mut self, name: &str, config: SwitchConfig) -> NodeId {
        self.add_node(name, NodeKind::Switch, Body::Switch(Box::new(Switch::new(config))))
    }

    /// A node that lives elsewhere: what it sends comes in by [`World::inject`], what it gets goes out by
    /// [`World::poll_external`].
    pub fn add_external(&mut self, name: &str, kind: NodeKind) -> NodeId {
        self.add_node(name, kind, Body::External)
    }

    fn add_node(&mut self, name: &str, kind: NodeKind, body: Body) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("fewer than 2^32 nodes"));
        self.nodes.push(Node::new(name, body));
        self.wires.journal.nodes.push(NodeInfo { name: name.into(), kind, ..NodeInfo::default() });
        id
    }

    /// An interface that a link can be connected to; on a switch, a port. `mtu` is in bytes without the
    /// Ethernet header.
    pub fn add_nic(&mut self, node: NodeId, name: &str, medium: Medium, mac: MacAddr, mtu: u32) -> IfIndex {
        let at = node.0 as usize;
        let ifindex = match &mut self.nodes[at].body {
            Body::Host(host) => host.add_nic(name, medium, mac, mtu),
            // `lo` is 1 on a real kernel too.
            Body::External => self.nodes[at].nics.last().max(1) + 1,
            Body::Switch(_) => self.nodes[at].nics.last() + 1,
        };
        let node_mut = &mut self.nodes[at];
        if let Body::Switch(switch) = &mut node_mut.body {
            switch.add_port(ifindex, name);
        }
        node_mut.nics.insert(ifindex, Nic { name: name.into(), medium, out: None });
        let info = IfaceInfo { ifindex, name: name.into(), medium, mac, addrs: Vec::new() };
        let ifaces = &mut self.wires.journal.nodes[at].ifaces;
        if ifaces.len() < 4 {
            ifaces.reserve_exact(1); // hosts have two
        }
        ifaces.push(info);
        if matches!(self.nodes[at].body, Body::Host(_)) {
            self.service(node, None);
        }
        ifindex
    }

    /// Joins two interfaces. Panics when one of them does not exist or is connected already.
    pub fn connect(&mut self, a: (NodeId, IfIndex), b: (NodeId, IfIndex), config: LinkConfig) -> LinkId {
        let LinkConfig { name, a_to_b, b_to_a, mtu, mut schedule } = config;
        let link = LinkId(u32::try_from(self.wires.cables.len()).expect("fewer than 2^31 links"));
        let node_name = |id: NodeId| self.nodes[id.0 as usize].name.as_str();
        let name = if name.is_empty() { format!("{}-{}", node_name(a.0), node_name(b.0)) } else { name };
        let ends = [(a, b, a_to_b, "a>b"), (b, a, b_to_a, "b>a")];
        for (offset, (from, to, impairment, arrow)) in (0..).zip(ends) {
            let nic = self.nodes[from.0.0 as usize].nics.get_mut(from.1).expect("an interface to connect");
            assert!(nic.out.is_none(), "{} has a cable already", nic.name);
            nic.out = Some(link.0 * 2 + offset);
            let direction = self.direction(&name, arrow, from, to, impairment);
            self.wires.directions.push(direction);
        }
        let medium = self.nodes[a.0.0 as usize].nics.get(a.1).expect("connected above").medium;
        schedule.sort_by_key(|(at, _)| *at);
        schedule.reverse();
        if let Some((at, _)) = schedule.last() {
            self.wires.queue.push_at(*at, Due::Link(link.0));
        }
        self.wires.cables.push(Cable { name, state: LinkState::Up, mtu, medium, schedule });
        link
    }

    fn direction(
        &self,
        link: &str,
        arrow: &str,
        from: (NodeId, IfIndex),
        to: (NodeId, IfIndex),
        impairment: Impairment,
    ) -> Direction {
        let end = |(node, ifindex)| End { node, ifindex };
        let fifo = impairment.is_fifo();
        let delay = impairment.delay;
        let streams = self.wires.rng.fork(&format!("link {link} {arrow}"));
        let plain = impairment.is_plain();
        Direction {
            from: end(from),
            to: end(to),
            pipe: Pipe::default(),
            delay,
            impairer: (!plain).then(|| Box::new(Impairer::new(impairment, &streams))),
            fifo,
            stats: Default::default(),
            held: 0,
        }
    }

    /// Puts address translation on an interface of a host, a router as a rule; replaces one that is there.
    /// Panics when the node is no host of ours or has no such interface.
    pub fn set_nat(&mut self, node: NodeId, config: NatConfig) {
        let at = &self.nodes[node.0 as usize];
        let medium = at.nics.get(config.wan).expect("an interface of the router").medium;
        let rng = self.wires.rng.fork(&format!("nat {}", at.name));
        self.host_mut(node).nat = Some(Box::new(Nat::new(config, medium, rng)));
    }

    /// A router's translation table, as `conntrack -L` prints it; `None` without address translation.
    pub fn nat_table(&self, node: NodeId) -> Option<String> {
        Some(self.host(node).nat.as_ref()?.table_text(self.now()))
    }

    /// Replaces a switch port's configuration. Panics when the node is no switch.
    pub fn set_port(&mut self, node: NodeId, ifindex: IfIndex, config: PortConfig) {
        match &mut self.nodes[node.0 as usize].body {
            Body::Switch(switch) => switch.set_port(ifindex, config),
            Body::Host(_) | Body::External => panic!("only switches have ports"),
        }
    }

    /// Runs an `ip` or `sysctl` command on a host. The error is what the command prints. Panics when the node
    /// is no host of ours.
    pub fn admin(&mut self, node: NodeId, command: &Admin) -> Result<(), String> {
        self.with_stack(node, |stack, now| stack.admin(now, command)).map_err(|failure| failure.to_string())
    }

    /// The node called `name`.
    pub fn find_node(&self, name: &str) -> Option<NodeId> {
        let at = self.nodes.iter().position(|node| node.name == name)?;
        Some(NodeId(u32::try_from(at).expect("add_node counted")))
    }

    /// The host of ours called `name`, in whatever case: host names are ASCII-insensitive (RFC 952).
    pub fn find_host(&self, name: &str) -> Option<NodeId> {
        let meant = |node: &Node| matches!(node.body, Body::Host(_)) && node.name.eq_ignore_ascii_case(name);
        let at = self.nodes.iter().position(meant)?;
        Some(NodeId(u32::try_from(at).expect("add_node counted")))
    }

    /// Some link joins the two nodes directly.
    pub(crate) fn are_neighbours(&self, a: NodeId, b: NodeId) -> bool {
        self.wires.directions.iter().any(|d| d.from.node == a && d.to.node == b)
    }

    /// The link called `name`.
    pub fn find_link(&self, name: &str) -> Option<LinkId> {
        let at = self.wires.cables.iter().position(|cable| cable.name == name)?;
        Some(LinkId(u32::try_from(at).expect("connect counted")))
    }

    /// The interface of `node` called `name`.
    pub fn find_nic(&self, node: NodeId, name: &str) -> Option<IfIndex> {
        self.nodes[node.0 as usize].nics.iter().find(|(_, nic)| nic.name == name).map(|(ifindex, _)| ifindex)
    }

    /// Every node's and link's name, for "did you mean".
    pub fn names(&self) -> Vec<String> {
        let nodes = self.nodes.iter().map(|node| node.name.clone());
        nodes.chain(self.wires.cables.iter().map(|cable| cable.name.clone())).collect()
    }
}
