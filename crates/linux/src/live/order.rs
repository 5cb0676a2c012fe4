//! Which program goes on first when several are due at one time: as in virtual time, where calls take no time, the first
//! of them goes on until it waits for something, then the next one. Without this a sender could be faster than the
//! `bind` of its receiver, now and then.

use std::time::Duration;

use sim::Event;
use wire::Instant;

use super::LiveWorld;
use super::program::State;
use crate::error::LinuxError;

/// The program that goes on now.
pub(super) struct First {
    host: usize,
    program: usize,
    /// When it was due.
    due: Instant,
    /// When the others stop waiting for it.
    until: Instant,
}

/// The longest that one program holds the others up: one that computes for so long, or that a busy machine does not let
/// run, shall not stop the world.
const PATIENCE: Duration = Duration::from_millis(100);

/// How often it is looked at: nobody tells when a process falls asleep.
pub(super) const LOOK: Duration = Duration::from_micros(200);

impl LiveWorld {
    /// Lets programs that start or have slept enough go on, one after the other; ends commands whose time is over.
    pub(super) fn wake_programs(&mut self) -> Result<(), LinuxError> {
        loop {
            let now = self.now();
            if let Some(First { host, program, until, .. }) = self.first {
                if now < until && !self.waits(host, program) {
                    return Ok(());
                }
                self.first = None;
            }
            let Some((due, host, program)) = self.next_due(now) else { return Ok(()) };
            self.first = Some(First { host, program, due, until: now + PATIENCE });
            match self.hosts[host].programs[program].state {
                State::NotStarted => self.begin(now, host, program)?,
                State::Sleeping(_) => self.resume(host, program, Event::Woke)?,
                State::Command { .. } => self.kill_program(host, program)?,
                State::Calling { .. } | State::Admin { .. } | State::Done(_) => {
                    unreachable!("these have no time")
                }
            }
        }
    }

    /// Whether a program waits for something, or has ended and the kernel has closed its sockets.
    fn waits(&self, host: usize, program: usize) -> bool {
        let host = &self.hosts[host];
        let running = &host.programs[program];
        let is_ending = running.is_done() && host.asked.iter().any(|(_, asked)| *asked == program);
        running.is_blocked() && !is_ending
    }

    /// The first program that is due: by time, then by its place in the file.
    fn next_due(&self, now: Instant) -> Option<(Instant, usize, usize)> {
        let programs = self.hosts.iter().enumerate().flat_map(|(host, h)| {
            h.programs.iter().enumerate().map(move |(program, running)| (host, program, running))
        });
        programs
            .filter_map(|(host, program, running)| {
                let due = running.wake().filter(|due| *due <= now)?;
                Some((due, running.order, host, program))
            })
            .min()
            .map(|(due, _, host, program)| (due, host, program))
    }

    fn begin(&mut self, now: Instant, at: usize, index: usize) -> Result<(), LinuxError> {
        let host = &mut self.hosts[at];
        let (event, id) = host.programs[index].begin(now, &mut host.agent)?;
        host.asked.extend(id.map(|id| (id, index)));
        match event {
            Some(event) => self.resume(at, index, event),
            None => Ok(()),
        }
    }

    /// Whether what is due in the world at exactly this time, such as a program on our stack, waits for a program here
    /// that is due at the same time: it arrives there in no time, as the world's clock is held.
    pub(super) fn is_held(&self, at: Instant) -> bool {
        self.first.as_ref().is_some_and(|first| first.due == at)
            || self.hosts.iter().flat_map(|host| &host.programs).any(|p| p.wake() == Some(at))
    }
}
