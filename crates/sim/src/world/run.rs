//! Time: steps in virtual time, the hooks of real time, and the end.

use stack::record::{IfIndex, Journal, NodeId, What};
use wire::{Frame, Instant};

use super::{Body, World};
use crate::config::{RunEnd, RunLimit};
use crate::link::LinkState;
use crate::queue::{Due, Key};

impl World {
    /// Does the next thing that is to happen, and says when that was; `None` when nothing is.
    pub fn step(&mut self) -> Option<Instant> {
        let (key, due) = self.next_live()?;
        self.happen(key, due);
        Some(key.at)
    }

    /// When the next thing happens; `None` when nothing will.
    pub fn next_event(&mut self) -> Option<Instant> {
        self.next_live().map(|(key, _)| key.at)
    }

    /// Lets everything happen up to and including `until`, and sets the clock to it.
    pub fn run_until(&mut self, until: Instant) {
        while let Some((key, due)) = self.next_live()
            && key.at <= until
        {
            self.happen(key, due);
        }
        self.wires.now = self.wires.now.max(until);
    }

    /// The same as [`World::run_until`], for a clock that runs by itself: what is due at `now` happens.
    pub fn advance_to(&mut self, now: Instant) {
        self.run_until(now);
    }

    /// Runs until a limit is reached.
    pub fn run(&mut self, limit: &RunLimit) -> RunEnd {
        let mut events = 0;
        let mut deadline = None;
        loop {
            if let Some(settle) = limit.settle
                && deadline.is_none()
                && self.all_programs_done()
            {
                deadline = Some(self.wires.now + settle);
            }
            let (until, end) = match deadline {
                Some(deadline) if deadline < limit.until => (deadline, RunEnd::ProgramsDone),
                _ => (limit.until, RunEnd::TimeLimit),
            };
            let Some((key, due)) = self.next_live() else {
                return match deadline {
                    _ if self.storm().is_some() => RunEnd::Storm,
                    Some(_) => RunEnd::ProgramsDone,
                    None => RunEnd::Quiet,
                };
            };
            if key.at > until {
                self.wires.now = self.wires.now.max(until);
                return end;
            }
            if events == limit.max_events {
                return RunEnd::EventLimit;
            }
            events += 1;
            self.happen(key, due);
        }
    }

    /// A packet that an external node transmitted enters the link of its interface. Panics when there is no
    /// such interface.
    pub fn inject(&mut self, node: NodeId, ifindex: IfIndex, frame: Frame) {
        let nic = self.nodes[node.0 as usize].nics.get(ifindex).expect("an interface of the node");
        self.wires.transmit(node, ifindex, Some(nic), frame);
        // A fault may have cut the link.
        self.tell_carrier();
    }

    /// The next packet that arrived at an external node.
    pub fn poll_external(&mut self) -> Option<(NodeId, IfIndex, Frame)> {
        self.external.pop_front()
    }

    /// The next interface of an external node whose link went up (`true`) or down.
    pub fn poll_carrier(&mut self) -> Option<(NodeId, IfIndex, bool)> {
        self.external_carrier.pop_front()
    }

    /// Changes a link's state now.
    pub fn set_link_state(&mut self, link: crate::link::LinkId, state: LinkState) {
        self.wires.set_link_state(link.0, state);
        self.tell_carrier();
    }

    /// The next event that still means something; those that do not are thrown away.
    #[inline]
    pub(super) fn next_live(&mut self) -> Option<(Key, Due)> {
        if self.storm().is_some() {
            return None;
        }
        loop {
            let (key, due) = self.wires.queue.peek()?;
            let live = match due {
                Due::Arrival(d) => self.wires.directions[d as usize].pipe.next() == Some(key),
                Due::Timer(n) => match &self.nodes[n as usize].body {
                    Body::Host(host) => host.armed.is_some_and(|at| at <= key.at),
                    Body::Switch(_) | Body::External => false,
                },
                Due::Program(p) => self.programs[p as usize].wake.is_some_and(|at| at <= key.at),
                Due::Link(l) => {
                    let next = self.wires.cables[l as usize].schedule.last();
                    next.is_some_and(|(at, _)| *at <= key.at)
                }
                Due::Release(slot) => self.wires.release_time(slot).is_some_and(|at| at <= key.at),
            };
            if live {
                return Some((key, due));
            }
            self.wires.queue.pop();
        }
    }

    #[inline]
    pub(super) fn happen(&mut self, key: Key, due: Due) {
        if !self.started {
            self.note_addresses();
        }
        debug_assert!(key.at >= self.wires.now, "time runs backwards");
        self.wires.now = self.wires.now.max(key.at);
        self.events += 1;
        match due {
            Due::Arrival(d) => {
                let pipe = &mut self.wires.directions[d as usize].pipe;
                let packet = pipe.pop().expect("a live arrival has a packet");
                match pipe.next() {
                    Some(next) => self.wires.queue.replace(next, due),
                    None => self.wires.queue.pop(),
                }
                if self.config.check {
                    crate::check::arrival(self, d, packet.key);
                }
                self.deliver(d, packet);
            }
            Due::Timer(n) => {
                self.wires.queue.pop();
                self.run_timer(NodeId(n));
            }
            Due::Program(p) => {
                self.wires.queue.pop();
                self.wake_program(p);
            }
            Due::Link(l) => {
                self.wires.queue.pop();
                self.wires.run_schedule(l);
            }
            Due::Release(slot) => {
                self.wires.queue.pop();
                self.wires.release(slot as usize);
            }
        }
        self.tell_carrier();
        if self.config.check {
            crate::check::after_step(self);
        }
    }

    /// The journal says which addresses every interface had at the start.
    #[cold]
    fn note_addresses(&mut self) {
        self.started = true;
        for (node, info) in self.nodes.iter().zip(&mut self.wires.journal.nodes) {
            if let Body::Host(host) = &node.body {
                for iface in &mut info.ifaces {
                    iface.addrs = host.addrs(iface.ifindex);
                }
            }
        }
    }

    /// Tells the ends of links whose state changed.
    #[inline]
    pub(super) fn tell_carrier(&mut self) {
        if !self.wires.carrier_changes.is_empty() {
            self.tell_carrier_changes();
        }
    }

    #[cold]
    fn tell_carrier_changes(&mut self) {
        while let Some(link) = self.wires.carrier_changes.pop() {
            let up = self.wires.cables[link as usize].state != LinkState::Down;
            for direction in [link * 2, link * 2 + 1] {
                let end = self.wires.directions[direction as usize].from;
                let now = self.wires.now;
                match &mut self.nodes[end.node.0 as usize].body {
                    Body::Host(host) => {
                        host.set_carrier(now, end.ifindex, up);
                        self.service(end.node, None);
                    }
                    Body::Switch(switch) if !up => switch.port_down(end.ifindex),
                    Body::Switch(_) => {}
                    Body::External => self.external_carrier.push_back((end.node, end.ifindex, up)),
                }
            }
        }
    }

    /// The end: the journal, with every node's counters and tables.
    pub fn finish(mut self) -> Journal {
        if !self.started {
            self.note_addresses();
        }
        if self.config.check {
            crate::check::at_end(&self);
        }
        let now = self.wires.now;
        for (node, info) in self.nodes.iter_mut().zip(&mut self.wires.journal.nodes) {
            match &mut node.body {
                Body::Host(host) => {
                    info.counters = host.counters();
                    info.sysctls = host.sysctls();
                    info.tables = host.tables(now);
                }
                Body::Switch(switch) => {
                    info.tables = vec![("bridge fdb".into(), switch.table_text(now))];
                }
                Body::External => {}
            }
        }
        self.wires.journal.end = now;
        self.note_sysctls_of_others();
        self.wires.journal
    }

    /// A real kernel's settings are not asked for: what the run itself set is known.
    fn note_sysctls_of_others(&mut self) {
        let journal = &mut self.wires.journal;
        for record in &journal.records {
            let What::Admin { text } = &record.what else { continue };
            let set = text.strip_prefix("sysctl -w ").and_then(|t| t.split_once('='));
            let at = record.node.0 as usize;
            if let (Some((name, value)), Body::External) = (set, &self.nodes[at].body) {
                let (name, value) = (name.trim().to_string(), value.trim().to_string());
                let known = &mut journal.nodes[at].sysctls;
                known.retain(|(n, _)| *n != name);
                known.push((name, value));
            }
        }
    }

    /// Adds a remark to the journal.
    pub fn note(&mut self, node: NodeId, text: impl Into<String>) {
        let text = text.into();
        self.wires.record(node, || What::Note { text });
    }
}
