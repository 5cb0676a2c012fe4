//! The loop: packets between namespaces and world, programs, probes; one `ppoll` for all of it.
//!
//! Order within one turn: when a host has sent a packet, its neighbour table is looked at, because what happened
//! there led to the packet; then the packet enters the world; only then packets are delivered and programs go
//! on. So a state such as INCOMPLETE is seen before the answer that ends it can arrive.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use sim::{Event, RunEnd, RunLimit};
use stack::record::{IfIndex, What};
use wire::{Frame, Instant};

use super::host::Tap;
use super::program::{Running, State};
use super::{ExecOutput, LiveWorld, order};
use crate::error::LinuxError;
use crate::permission;
use crate::probe::Beginning;
use crate::protocol::{Reply, Request};
use crate::sys::{self, Urgent};

/// Packets taken from one interface before the others get their turn.
const MAX_READS: usize = 64;

/// The longest packet: an IP packet of 65,535 bytes behind an Ethernet header with two VLAN tags.
const MAX_FRAME: usize = 65_535 + 22;

/// When nothing happens for so long, a call that waits will wait for ever: longer than `TCP_RTO_MAX` (120 s),
/// the longest that a kernel stays silent with something to say, keepalive aside.
const QUIET_TIME: Duration = Duration::from_secs(130);

impl LiveWorld {
    /// World time: `CLOCK_MONOTONIC` since the start.
    pub(super) fn now(&self) -> Instant {
        self.world_time(sys::monotonic_ns())
    }

    fn world_time(&self, monotonic_ns: u64) -> Instant {
        let epoch = self.epoch_ns.expect("the clock was started");
        Instant::from_nanos(monotonic_ns.saturating_sub(epoch))
    }

    /// Time 0 is now, unless it was before.
    pub(super) fn start_clock(&mut self) -> Result<(), LinuxError> {
        if self.epoch_ns.is_some() {
            return Ok(());
        }
        sys::exact_timers();
        for host in &mut self.hosts {
            host.prepare_programs()?;
            let Beginning { whats, addrs } = host.start()?;
            for what in whats {
                self.world.record(host.node, Instant::ZERO, what);
            }
            let info = self.world.external_info(host.node);
            for iface in &mut info.ifaces {
                let own = addrs.iter().filter(|(ifindex, ..)| *ifindex == iface.ifindex);
                iface.addrs = own.map(|(_, addr, prefix)| (*addr, *prefix)).collect();
            }
        }
        self.epoch_ns = Some(sys::monotonic_ns());
        Ok(())
    }

    /// Runs to a limit; without a settle time to [`RunLimit::until`].
    pub(super) fn drive(&mut self, limit: &RunLimit) -> Result<RunEnd, LinuxError> {
        self.start_clock()?;
        let _urgent = Urgent::new();
        let mut last_program = None;
        loop {
            self.turn()?;
            let now = self.now();
            let done = self.world.all_programs_done()
                && self.hosts.iter().all(|host| host.programs.iter().all(Running::is_done));
            last_program = match (limit.settle, last_program) {
                (Some(settle), None) if done => Some(now + settle),
                (_, known) => known.filter(|_| done),
            };
            let end = if self.world.storm().is_some() {
                RunEnd::Storm
            } else if last_program.is_some_and(|end| end <= now) {
                RunEnd::ProgramsDone
            } else if limit.until <= now {
                RunEnd::TimeLimit
            } else if self.events >= limit.max_events {
                RunEnd::EventLimit
            } else if self.is_quiet(now) {
                RunEnd::Quiet
            } else {
                self.wait(last_program.map_or(limit.until, |end| end.min(limit.until)))?;
                continue;
            };
            return Ok(end);
        }
    }

    /// Nothing has happened for [`QUIET_TIME`], and nothing that we know of will.
    fn is_quiet(&mut self, now: Instant) -> bool {
        if self.events != self.seen.0 {
            self.seen = (self.events, now);
        }
        let sleeps = |host: &super::Host| host.programs.iter().any(|program| program.wake().is_some());
        now - self.seen.1 >= QUIET_TIME && self.world.next_event().is_none() && !self.hosts.iter().any(sleeps)
    }

    /// Runs until one program has ended.
    pub(super) fn drive_until_program(&mut self, host: usize, program: usize) -> Result<(), LinuxError> {
        let _urgent = Urgent::new();
        loop {
            self.turn()?;
            if self.hosts[host].programs[program].is_done() {
                return Ok(());
            }
            self.wait(Instant::FAR_FUTURE)?;
        }
    }

    /// Calls that did not return are in the journal too.
    pub(super) fn record_unfinished(&mut self) {
        for host in &self.hosts {
            for (index, program) in (0..).zip(&host.programs) {
                if let Some((at, what)) = program.unfinished(index) {
                    self.world.record(host.node, at, what);
                }
            }
        }
    }

    /// Everything that can be done now.
    fn turn(&mut self) -> Result<(), LinuxError> {
        self.read_packets()?;
        self.advance();
        self.deliver();
        self.look_around()?;
        self.hear_agents()?;
        self.hear_programs()?;
        self.wake_programs()?;
        self.advance();
        self.deliver();
        Ok(())
    }

    /// What is due in the world happens. Its clock stays at the last of that: a packet whose stamp is older than
    /// this moment may still be on its way to us.
    fn advance(&mut self) {
        let now = self.now();
        while let Some(at) = self.world.next_event()
            && at <= now
            && !self.is_held(at)
        {
            self.world.advance_to(at);
        }
    }

    /// The world's clock reads what ours does.
    pub(super) fn catch_up(&mut self) {
        let now = self.now();
        self.world.advance_to(now);
    }

    /// What the kernels sent enters the world at the time it left, and before it what became of the neighbours
    /// it was sent to.
    fn read_packets(&mut self) -> Result<(), LinuxError> {
        let mut sent = Vec::new();
        for at in 0..self.hosts.len() {
            for tap in 0..self.hosts[at].taps.len() {
                if std::mem::take(&mut self.hosts[at].taps[tap].ready) {
                    self.read_tap(at, tap, &mut sent)?;
                }
            }
        }
        sent.sort_by_key(|packet| packet.left);
        for Sent { left, at, ifindex, whats, frame } in sent {
            self.world.advance_to(left);
            let node = self.hosts[at].node;
            for what in whats {
                self.world.record(node, self.world.now(), what);
            }
            self.world.inject(node, ifindex, frame);
        }
        Ok(())
    }

    fn read_tap(&mut self, at: usize, tap: usize, sent: &mut Vec<Sent>) -> Result<(), LinuxError> {
        self.buf.resize(MAX_FRAME, 0);
        for _ in 0..MAX_READS {
            let Tap { ifindex, fd, stamps, gone, .. } = &mut self.hosts[at].taps[tap];
            let len = match sys::read(fd.as_raw_fd(), &mut self.buf) {
                Ok(len) => len,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // `ip link del` took the interface away: its descriptor is an error for ever.
                Err(e) if e.raw_os_error() == Some(libc::EBADFD) => {
                    *gone = true;
                    break;
                }
                Err(e) => return Err(self.hosts[at].io("read a packet")(e)),
            };
            let (ifindex, packet) = (*ifindex, &self.buf[..len]);
            let stamp = stamps.as_ref().and_then(|stamps| stamps.take(packet));
            let left = self.world_time(stamp.unwrap_or_else(sys::monotonic_ns));
            let host = &mut self.hosts[at];
            let whats = if host.probe.wants_look(left, packet) {
                host.probe.look(left).map_err(host.io("netlink"))?
            } else {
                Vec::new()
            };
            self.events += 1;
            sent.push(Sent { left, at, ifindex, whats, frame: Frame::from_slice(packet) });
        }
        Ok(())
    }

    /// What changed in the namespaces.
    fn look_around(&mut self) -> Result<(), LinuxError> {
        for at in 0..self.hosts.len() {
            let now = self.now();
            let host = &mut self.hosts[at];
            let due = host.probe.next_dump() <= now;
            if std::mem::take(&mut host.events_ready) || due {
                self.probe(at, due)?;
            }
        }
        Ok(())
    }

    fn probe(&mut self, at: usize, dump: bool) -> Result<(), LinuxError> {
        let now = self.now();
        let host = &mut self.hosts[at];
        let whats = if dump { host.probe.look(now) } else { host.probe.drain() };
        for what in whats.map_err(host.io("netlink"))? {
            self.world.record(host.node, now, what);
        }
        Ok(())
    }

    /// What arrived goes into the namespaces, and whose cable was pulled or plugged in learns of it.
    fn deliver(&mut self) {
        while let Some((node, ifindex, up)) = self.world.poll_carrier() {
            let Some(host) = self.hosts.iter().find(|host| host.node == node) else { continue };
            if let Err(text) = host.set_carrier(ifindex, up) {
                let now = self.now();
                self.world.record(node, now, What::Note { text });
            }
        }
        while let Some((node, ifindex, frame)) = self.world.poll_external() {
            let Some(host) = self.hosts.iter().find(|host| host.node == node) else { continue };
            self.events += 1;
            if let Err(text) = host.receive(ifindex, &frame) {
                let now = self.now();
                self.world.record(node, now, What::Note { text });
            }
        }
    }

    /// Commands that ended.
    fn hear_agents(&mut self) -> Result<(), LinuxError> {
        for at in 0..self.hosts.len() {
            if !std::mem::take(&mut self.hosts[at].agent_ready) {
                continue;
            }
            while let Some(reply) = self.hosts[at].agent.poll_answer()? {
                self.events += 1;
                let (id, outcome) = match reply {
                    Reply::Done { id } => (id, Ok((Some(0), None))),
                    Reply::Exited { id, code, signal } => (id, Ok((code, signal))),
                    Reply::Failed { id, what, errno } => {
                        (id, Err(permission::explain(&self.hosts[at].agent.host, &what, errno)))
                    }
                    Reply::Ready { .. } => continue,
                };
                let asked = &mut self.hosts[at].asked;
                let Some(found) = asked.iter().position(|(asked, _)| *asked == id) else { continue };
                let program = asked.swap_remove(found).1;
                self.ended(at, program, outcome)?;
            }
        }
        Ok(())
    }

    /// A program's `ip` command, or a command, or a program's process has ended.
    fn ended(
        &mut self,
        at: usize,
        index: usize,
        outcome: Result<(Option<i32>, Option<i32>), LinuxError>,
    ) -> Result<(), LinuxError> {
        let now = self.now();
        let program = &mut self.hosts[at].programs[index];
        match std::mem::replace(&mut program.state, State::Done(None)) {
            State::Admin { step, streams, .. } => {
                let said = match outcome {
                    Ok((Some(0), _)) => Ok(()),
                    Ok(_) => {
                        let stderr = streams.map_or_else(String::new, |s| s.stderr.text());
                        Err(super::admin::blame(&step, &stderr))
                    }
                    Err(LinuxError::Setup { what, .. }) => Err(what),
                    Err(other) => return Err(other),
                };
                self.resume(at, index, Event::AdminDone(said))
            }
            State::Command { streams, deadline, .. } => {
                let (status, signal) = outcome?;
                program.exec = Some(ExecOutput {
                    status,
                    signal,
                    timed_out: deadline <= now,
                    stdout: streams.stdout.text(),
                    stderr: streams.stderr.text(),
                });
                program.state = State::Done(status);
                Ok(())
            }
            // The process of a program ended: as it was told, or somebody killed it.
            State::Done(status) => {
                program.state = State::Done(status);
                outcome.map(drop)
            }
            // It was killed, in a call or in its sleep; what it was in the middle of is in the journal.
            before @ (State::NotStarted | State::Calling { .. } | State::Sleeping(_)) => {
                program.state = before;
                let number = u32::try_from(index).expect("few programs");
                let unfinished = program.unfinished(number);
                program.state = State::Done(None);
                program.socket = None;
                let node = self.hosts[at].node;
                if let Some((at, what)) = unfinished {
                    self.world.record(node, at, what);
                }
                outcome.map(drop)
            }
        }
    }

    /// Calls that returned.
    fn hear_programs(&mut self) -> Result<(), LinuxError> {
        for at in 0..self.hosts.len() {
            for index in 0..self.hosts[at].programs.len() {
                let running = &mut self.hosts[at].programs[index];
                if !std::mem::take(&mut running.ready) {
                    continue;
                }
                match running.read() {
                    Ok(None) => {}
                    Ok(Some(returned)) => {
                        self.events += 1;
                        let number = u32::try_from(index).expect("few programs");
                        let (call, ret, event) = running.returned(number, returned.result);
                        let (enter, leave) =
                            (self.world_time(returned.enter_ns), self.world_time(returned.leave_ns));
                        let node = self.hosts[at].node;
                        self.world.record(node, enter, call);
                        self.world.record(node, leave, ret);
                        self.resume(at, index, event)?;
                    }
                    // Killed; the agent tells how.
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => running.socket = None,
                    Err(e) => {
                        return Err(LinuxError::AgentDied {
                            host: self.hosts[at].agent.host.clone(),
                            how: e.to_string(),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    /// `SIGKILL`, and the answer that it is gone, which comes at once.
    pub(super) fn kill_program(&mut self, at: usize, index: usize) -> Result<(), LinuxError> {
        let Some(id) = self.hosts[at].programs[index].id else { return Ok(()) };
        self.hosts[at].agent.ask(&Request::Kill { id }, &[])?;
        while !self.hosts[at].programs[index].is_done() {
            let mut fds = [sys::wait_for_input(self.hosts[at].agent.control())];
            sys::ppoll(&mut fds, Some(Duration::from_secs(1))).map_err(LinuxError::io("ppoll"))?;
            if fds[0].revents == 0 {
                return Err(LinuxError::AgentDied {
                    host: self.hosts[at].agent.host.clone(),
                    how: "it did not kill a program within 1 s".into(),
                });
            }
            self.hosts[at].agent_ready = true;
            self.hear_agents()?;
        }
        Ok(())
    }

    pub(super) fn resume(&mut self, at: usize, index: usize, event: Event) -> Result<(), LinuxError> {
        let now = self.now();
        let host = &mut self.hosts[at];
        let mut records = Vec::new();
        let asked = host.programs[index].resume(now, event, &mut host.agent, &mut records)?;
        host.asked.extend(asked.map(|id| (id, index)));
        for what in records {
            self.world.record(host.node, now, what);
        }
        Ok(())
    }

    /// Sleeps until something happens, at most until `end`, and marks what is ready.
    fn wait(&mut self, end: Instant) -> Result<(), LinuxError> {
        let mut next = self.world.next_event().map_or(end, |at| at.min(end));
        let mut fds = Vec::new();
        for host in &self.hosts {
            next = next.min(host.probe.next_dump());
            let wakes = host.programs.iter().filter_map(Running::wake);
            next = wakes.fold(next, Instant::min);
            host.descriptors(&mut fds);
        }
        let timeout = match self.first {
            Some(_) => order::LOOK,
            None => next.saturating_since(self.now()),
        };
        sys::ppoll(&mut fds, Some(timeout)).map_err(LinuxError::io("ppoll"))?;
        let mut ready = fds.iter().map(|fd| fd.revents != 0);
        for host in &mut self.hosts {
            host.mark_ready(&mut ready);
        }
        Ok(())
    }
}

/// A packet that a host sent.
struct Sent {
    /// When.
    left: Instant,
    /// The host.
    at: usize,
    /// By which interface.
    ifindex: IfIndex,
    /// What the look at its neighbours showed.
    whats: Vec<What>,
    frame: Frame,
}
