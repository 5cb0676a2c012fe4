//! Driving hosts: what a stack has to say is carried out, and its programs run.

use stack::DropReason;
use stack::call::{Call, CallResult, Outcome};
use stack::record::{FrameId, IfIndex, LossCause, NodeId, What};
use stack::socket::Pid;
use wire::{Frame, Instant, Medium};

use super::{Body, News, Node, World};
use crate::link::InFlight;
use crate::nat::Pass;
use crate::program::{Action, Event, Program, ProgramId};
use crate::queue::Due;
use crate::switch::Forward;

/// Calls that a program may make at one instant; a program that makes more spins, and is ended.
pub const MAX_CALLS_PER_INSTANT: u32 = 1_000_000;

/// The exit status of a program that was ended because it spins: as by SIGXCPU.
pub const SPIN_STATUS: i32 = 128 + 24;

/// A program in the world.
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) node: NodeId,
    /// Its number among its host's programs.
    index: u32,
    pid: Option<Pid>,
    /// `None` only while it runs.
    program: Option<Box<dyn Program>>,
    state: State,
    /// Calls it made.
    seq: u32,
    /// When the event queue wakes it.
    pub(crate) wake: Option<Instant>,
    /// Calls at this instant.
    calls: (Instant, u32),
}

/// What a program waits for.
enum State {
    NotStarted,
    Blocked { call: Box<Call>, seq: u32 },
    Sleeping,
    Done(i32),
}

impl Slot {
    pub(crate) fn program(&self) -> &dyn Program {
        self.program.as_deref().expect("programs run only inside World::run_program")
    }

    pub(crate) fn exit_status(&self) -> Option<i32> {
        match self.state {
            State::Done(status) => Some(status),
            State::NotStarted | State::Blocked { .. } | State::Sleeping => None,
        }
    }
}

/// Why a program runs again.
enum Resume {
    With(Event),
    Retry(Box<Call>, u32),
}

impl World {
    /// A process of `node` that runs `program` from `start` on (now, if that is past). Panics when the node is
    /// no host of ours.
    pub fn spawn(
        &mut self,
        node: NodeId,
        name: &str,
        start: Instant,
        program: Box<dyn Program>,
    ) -> ProgramId {
        self.host(node);
        let id = u32::try_from(self.programs.len()).expect("fewer than 2^32 programs");
        let names = &mut self.wires.journal.nodes[node.0 as usize].programs;
        names.push(name.into());
        let index = u32::try_from(names.len() - 1).expect("as above");
        let start = start.max(self.wires.now);
        self.programs.push(Slot {
            name: name.into(),
            node,
            index,
            pid: None,
            program: Some(program),
            state: State::NotStarted,
            seq: 0,
            wake: Some(start),
            calls: (start, 0),
        });
        self.running += 1;
        self.wires.queue.push_at(start, Due::Program(id));
        ProgramId(id)
    }

    /// A packet arrives at the far end of a direction.
    #[inline]
    pub(crate) fn deliver(&mut self, direction: u32, packet: InFlight) {
        let InFlight { id, frame, switches_passed, .. } = packet;
        let d = &mut self.wires.directions[direction as usize];
        let (node, ifindex) = (d.to.node, d.to.ifindex);
        if let Body::Host(host) = &self.nodes[node.0 as usize].body
            && !host.is_up(ifindex)
        {
            return self.wires.lose(direction, id, LossCause::ReceiverDown);
        }
        d.stats.delivered += 1;
        self.wires.record(node, || What::Rx { ifindex, id, frame: frame.clone() });
        let now = self.wires.now;
        match &mut self.nodes[node.0 as usize].body {
            Body::Host(host) => {
                let refused = host.receive(now, ifindex, frame);
                if let Some(frame) = refused {
                    self.record_nat_drop(node, ifindex, Some(id), &frame);
                }
                self.service(node, Some((ifindex, id)));
            }
            Body::Switch(switch) => {
                let forward = switch.forward(now, ifindex, &frame);
                self.switch_out(node, id, frame, forward, switches_passed);
            }
            Body::External => self.external.push_back((node, ifindex, frame)),
        }
    }

    fn switch_out(&mut self, node: NodeId, id: FrameId, frame: Frame, forward: Forward, passed: u16) {
        let ports = match forward {
            Forward::Ports(ports) => ports,
            Forward::Drop(LossCause::NoPort) => return,
            Forward::Drop(cause) => return self.wires.record(node, || What::Lost { id, cause }),
        };
        let passed = passed.saturating_add(1);
        if passed > 1 && self.is_storm(passed) {
            return;
        }
        self.wires.switches_passed = passed;
        let (last, others) = ports.split_last().expect("a switch drops what has no port");
        let mut send = |(port, tagging): (IfIndex, crate::switch::Tagging), mut frame: Frame| {
            tagging.apply(&mut frame);
            self.wires.transmit(node, port, self.nodes[node.0 as usize].nics.get(port), frame);
        };
        for port in others {
            send(*port, frame.clone());
        }
        send(*last, frame);
        self.wires.switches_passed = 0;
    }

    /// Carries out what a host's stack has to say, until it is silent.
    #[inline(always)]
    pub(crate) fn service(&mut self, node: NodeId, arrived: Option<(IfIndex, FrameId)>) {
        let Body::Host(host) = &self.nodes[node.0 as usize].body else { return };
        if !host.stack.is_silent() {
            self.carry_out(node, arrived);
        }
        self.arm_timer(node);
    }

    #[inline(never)]
    fn carry_out(&mut self, node: NodeId, arrived: Option<(IfIndex, FrameId)>) {
        loop {
            self.flush(node, arrived);
            let Body::Host(host) = &mut self.nodes[node.0 as usize].body else { return };
            let Some(pid) = host.stack.poll_wakeup() else { break };
            if let Some(program) = host.program_of(pid) {
                self.retry(program);
            }
        }
    }

    /// Records and packets, in the order in which a packet capture on the host sees them.
    #[inline]
    fn flush(&mut self, node: NodeId, arrived: Option<(IfIndex, FrameId)>) {
        let Node { nics, body, .. } = &mut self.nodes[node.0 as usize];
        let Body::Host(host) = body else { return };
        if self.wires.recording {
            while let Some((when, mut what)) = host.stack.poll_record() {
                if let What::Drop { ifindex, id: id @ None, packet, .. } = &mut what
                    && let Some((in_ifindex, arrived)) = arrived
                    && *ifindex == in_ifindex
                    && self.wires.is_arrived(arrived, packet)
                {
                    *id = Some(arrived);
                }
                self.wires.record_at(node, when, what);
            }
        }
        if host.nat.is_some() {
            return self.flush_translated(node);
        }
        while let Some((ifindex, frame)) = host.stack.poll_transmit() {
            self.wires.transmit(node, ifindex, nics.get(ifindex), frame);
        }
        while let Some((token, events)) = host.stack.poll_news() {
            self.news.push_back(News { node, token, events });
        }
    }

    /// Packets of a host that translates addresses.
    fn flush_translated(&mut self, node: NodeId) {
        let now = self.wires.now;
        while let Some((ifindex, frame, pass)) = self.host_mut(node).transmit(now) {
            match pass {
                Pass::Yes => {
                    let nic = self.nodes[node.0 as usize].nics.get(ifindex);
                    self.wires.transmit(node, ifindex, nic, frame);
                }
                Pass::No => self.record_nat_drop(node, ifindex, None, &frame),
            }
        }
        while let Some((token, events)) = self.host_mut(node).stack.poll_news() {
            self.news.push_back(News { node, token, events });
        }
    }

    /// Address translation refused a packet: `NF_DROP`.
    fn record_nat_drop(&mut self, node: NodeId, ifindex: IfIndex, id: Option<FrameId>, frame: &Frame) {
        let medium = self.nodes[node.0 as usize].nics.get(ifindex).map_or(Medium::Ip, |nic| nic.medium);
        let skip = match medium {
            Medium::Ethernet => wire::ethernet::Header::parse(frame.head()).map_or(0, |(_, len)| len),
            Medium::Ip => 0,
        };
        let reason = DropReason::NetfilterDrop;
        self.wires.record(node, || {
            let bytes = frame.to_vec();
            let packet = bytes[skip..bytes.len().min(skip + 128)].into();
            What::Drop { ifindex, reason, id, packet }
        });
    }

    /// Makes sure that the event queue looks at the host's timers in time.
    #[inline]
    fn arm_timer(&mut self, node: NodeId) {
        let Body::Host(host) = &mut self.nodes[node.0 as usize].body else { return };
        if let Some(at) = host.stack.poll_timeout()
            && host.armed.is_none_or(|armed| at < armed)
        {
            host.armed = Some(at);
            self.wires.queue.push_at(at.max(self.wires.now), Due::Timer(node.0));
        }
    }

    /// The host's timers are due.
    pub(crate) fn run_timer(&mut self, node: NodeId) {
        let now = self.wires.now;
        let host = self.host_mut(node);
        host.armed = None;
        if host.stack.poll_timeout().is_some_and(|at| at <= now) {
            host.stack.handle_timeout(now);
            self.service(node, None);
        } else {
            self.arm_timer(node);
        }
    }

    /// A program starts, has slept enough, or its call's own limit is over.
    pub(crate) fn wake_program(&mut self, id: u32) {
        let slot = &mut self.programs[id as usize];
        slot.wake = None;
        let node = slot.node;
        match slot.state {
            State::NotStarted => {
                let host = self.host_mut(node);
                let pid = host.stack.spawn();
                host.add_process(pid, id);
                self.programs[id as usize].pid = Some(pid);
                self.run_program(id, Resume::With(Event::Start));
            }
            State::Sleeping => self.run_program(id, Resume::With(Event::Woke)),
            State::Blocked { .. } => self.retry(id),
            State::Done(_) => {}
        }
        self.service(node, None);
    }

    /// Something that a program's call waits for may have happened.
    fn retry(&mut self, id: u32) {
        let slot = &mut self.programs[id as usize];
        if matches!(slot.state, State::Blocked { .. })
            && let State::Blocked { call, seq } = core::mem::replace(&mut slot.state, State::Sleeping)
        {
            self.run_program(id, Resume::Retry(call, seq));
        }
    }

    /// Runs a program until it waits or ends.
    fn run_program(&mut self, id: u32, resume: Resume) {
        let at = id as usize;
        let mut program = self.programs[at].program.take().expect("a program does not run inside itself");
        let mut resume = resume;
        let state = loop {
            let now = self.wires.now;
            let event = match resume {
                Resume::With(event) => event,
                Resume::Retry(call, seq) => match self.try_call(id, &call) {
                    Outcome::Done(result) => self.returned(id, seq, &mut *program, result),
                    Outcome::Block { until } => {
                        self.wait_until(id, until);
                        break State::Blocked { call, seq };
                    }
                },
            };
            if self.spins(id) {
                self.end_program(id, SPIN_STATUS);
                break State::Done(SPIN_STATUS);
            }
            resume = match program.resume(now, event) {
                Action::Exit(status) => {
                    self.end_program(id, status);
                    break State::Done(status);
                }
                Action::SleepUntil(until) if until <= now => Resume::With(Event::Woke),
                Action::SleepUntil(until) => {
                    self.wait_until(id, Some(until));
                    break State::Sleeping;
                }
                Action::Admin(command) => {
                    Resume::With(Event::AdminDone(self.admin(self.programs[at].node, &command)))
                }
                Action::Call(call) => Resume::Retry(Box::new(call), self.called(id)),
            };
            if let Resume::Retry(call, seq) = &resume {
                self.record_call(id, *seq, call);
            }
        };
        let slot = &mut self.programs[at];
        slot.program = Some(program);
        slot.state = state;
    }

    /// Numbers a new call.
    fn called(&mut self, id: u32) -> u32 {
        let slot = &mut self.programs[id as usize];
        slot.seq += 1;
        slot.seq
    }

    fn record_call(&mut self, id: u32, seq: u32, call: &Call) {
        let Slot { node, index, .. } = self.programs[id as usize];
        self.wires.record(node, || What::Call { program: index, seq, text: call.brief() });
    }

    fn try_call(&mut self, id: u32, call: &Call) -> Outcome {
        let slot = &mut self.programs[id as usize];
        slot.wake = None;
        let (node, pid) = (slot.node, slot.pid.expect("it was started"));
        let now = self.wires.now;
        let outcome = self.host_mut(node).stack.call(now, pid, call);
        self.flush(node, None);
        outcome
    }

    fn returned(&mut self, id: u32, seq: u32, program: &mut dyn Program, result: CallResult) -> Event {
        let unexpected = program.check(&result);
        let Slot { node, index, .. } = self.programs[id as usize];
        let text = || stack::call::text::result_text(&result);
        self.wires.record(node, || What::Return { program: index, seq, text: text(), unexpected });
        Event::Returned(result)
    }

    fn wait_until(&mut self, id: u32, until: Option<Instant>) {
        self.programs[id as usize].wake = until;
        if let Some(at) = until {
            self.wires.queue.push_at(at.max(self.wires.now), Due::Program(id));
        }
    }

    fn spins(&mut self, id: u32) -> bool {
        let now = self.wires.now;
        let slot = &mut self.programs[id as usize];
        if slot.calls.0 != now {
            slot.calls = (now, 0);
        }
        slot.calls.1 += 1;
        let spins = slot.calls.1 > MAX_CALLS_PER_INSTANT;
        let node = slot.node;
        if spins {
            let text =
                format!("{} made {MAX_CALLS_PER_INSTANT} calls without waiting and was ended", slot.name);
            self.wires.record(node, || What::Note { text });
        }
        spins
    }

    fn end_program(&mut self, id: u32, _status: i32) {
        let slot = &mut self.programs[id as usize];
        slot.wake = None;
        let (node, pid) = (slot.node, slot.pid.expect("it was started"));
        let now = self.wires.now;
        self.host_mut(node).stack.exit(now, pid);
        self.flush(node, None);
        self.running -= 1;
    }
}
