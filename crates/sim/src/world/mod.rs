//! The world: nodes, links, programs, faults and the clock they share.

mod drive;
mod host;
mod node;
mod outside;
mod run;
mod storm;
mod topology;
mod wires;

use std::collections::VecDeque;

use stack::Stack;
use stack::record::{IfIndex, Journal, NodeId, NodeInfo, What};
use wire::{Frame, Instant};

pub(crate) use drive::Slot;
pub use drive::{MAX_CALLS_PER_INSTANT, SPIN_STATUS};
pub(crate) use host::Host;
pub(crate) use node::{Body, Nic, Node};
pub use outside::{News, Process};
pub use storm::{MAX_STORM, MAX_SWITCHES};
pub(crate) use wires::Wires;

use crate::config::WorldConfig;
use crate::fault::{Armed, Fault};
use crate::link::{LinkId, LinkStats};
use crate::program::{Program, ProgramId};

/// Hosts, switches, links and programs in virtual time. See the crate's documentation for the map.
pub struct World {
    pub(crate) config: WorldConfig,
    pub(crate) nodes: Vec<Node>,
    pub(crate) wires: Wires,
    pub(crate) programs: Vec<Slot>,
    /// Programs that have not ended.
    pub(crate) running: usize,
    /// Packets that arrived at external nodes.
    pub(crate) external: VecDeque<(NodeId, IfIndex, Frame)>,
    /// News for the owners of processes that are driven from outside.
    pub(crate) news: VecDeque<News>,
    /// Interfaces of external nodes whose link went up or down.
    pub(crate) external_carrier: VecDeque<(NodeId, IfIndex, bool)>,
    pub(crate) checks: crate::check::Checks,
    /// Something has happened: what was there before is the start.
    pub(crate) started: bool,
    pub(crate) storm: storm::Watch,
    /// Events that have happened.
    pub(crate) events: u64,
}

impl World {
    /// An empty world at time 0.
    pub fn new(config: WorldConfig) -> World {
        World {
            wires: Wires::new(&config),
            nodes: Vec::new(),
            programs: Vec::new(),
            running: 0,
            external: VecDeque::new(),
            news: VecDeque::new(),
            external_carrier: VecDeque::new(),
            checks: crate::check::Checks::default(),
            started: false,
            storm: storm::Watch::default(),
            events: 0,
            config,
        }
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.wires.now
    }

    /// A host's stack. Panics when the node is no host.
    pub fn stack(&self, node: NodeId) -> &Stack {
        &self.host(node).stack
    }

    /// Does something with a host's stack, and carries out what comes of it. Panics when the node is no host.
    pub fn with_stack<R>(&mut self, node: NodeId, f: impl FnOnce(&mut Stack, Instant) -> R) -> R {
        let now = self.wires.now;
        let result = f(&mut self.host_mut(node).stack, now);
        self.service(node, None);
        result
    }

    /// Arms a fault; the index that [`World::fault_hits`] and the journal know it by.
    pub fn add_fault(&mut self, fault: Fault) -> usize {
        self.wires.journal.faults.push(fault.text.clone());
        self.wires.faults.push(Armed { fault, seen: 0, hits: 0 });
        self.wires.faults.len() - 1
    }

    /// How often each fault acted.
    pub fn fault_hits(&self) -> Vec<u64> {
        self.wires.faults.iter().map(|armed| armed.hits).collect()
    }

    /// The faults, in order.
    pub fn faults(&self) -> impl Iterator<Item = &Fault> {
        self.wires.faults.iter().map(|armed| &armed.fault)
    }

    /// A program.
    pub fn program(&self, id: ProgramId) -> &dyn Program {
        self.programs[id.0 as usize].program()
    }

    /// A program's exit status; `None` while it runs.
    pub fn exit_status(&self, id: ProgramId) -> Option<i32> {
        self.programs[id.0 as usize].exit_status()
    }

    /// Every program with its host and name.
    pub fn programs(&self) -> impl Iterator<Item = (ProgramId, NodeId, &str, &dyn Program)> {
        let id = |i| ProgramId(u32::try_from(i).expect("spawn counted"));
        self.programs.iter().enumerate().map(move |(i, s)| (id(i), s.node, s.name.as_str(), s.program()))
    }

    /// Every program has ended (also when there is none).
    pub fn all_programs_done(&self) -> bool {
        self.running == 0
    }

    /// How many events have happened: for whoever drives the world and bounds its work.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// What went through a link, a to b and b to a.
    pub fn link_stats(&self, link: LinkId) -> [LinkStats; 2] {
        let a = link.0 as usize * 2;
        [self.wires.directions[a].stats, self.wires.directions[a + 1].stats]
    }

    /// Adds a fact from outside, such as what a probe saw on a real kernel.
    pub fn record(&mut self, node: NodeId, at: Instant, what: What) {
        self.wires.record_at(node, at, what);
    }

    /// What the journal says of an external node: addresses, programs, counters and tables come from whoever
    /// stands behind it. Panics when the node is not external.
    pub fn external_info(&mut self, node: NodeId) -> &mut NodeInfo {
        let at = node.0 as usize;
        assert!(matches!(self.nodes[at].body, Body::External), "{} is not external", self.nodes[at].name);
        &mut self.wires.journal.nodes[at]
    }

    /// Puts the records in order of time. In real time they are written when they become known: a call's entry
    /// when it returns.
    pub fn sort_records(&mut self) {
        self.wires.journal.records.sort_by_key(|record| record.at);
    }

    /// What was recorded so far; nodes get their counters and tables in [`World::finish`].
    pub fn journal(&self) -> &Journal {
        &self.wires.journal
    }

    pub(crate) fn host(&self, node: NodeId) -> &Host {
        match &self.nodes[node.0 as usize].body {
            Body::Host(host) => host,
            Body::Switch(_) | Body::External => panic!("{} is no host", self.nodes[node.0 as usize].name),
        }
    }

    pub(crate) fn host_mut(&mut self, node: NodeId) -> &mut Host {
        let node = &mut self.nodes[node.0 as usize];
        match &mut node.body {
            Body::Host(host) => host,
            Body::Switch(_) | Body::External => panic!("{} is no host", node.name),
        }
    }
}
