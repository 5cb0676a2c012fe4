//! Runs a script on a target: what happens when, how far off it may be, and how it ended.
//!
//! Event times are packetdrill's: relative ones count from the moment the event before was finished, but an inbound
//! packet right after another counts from the other's planned time.

mod after;
mod calls;
mod cmsg;
mod code;
mod observe;
mod packets;
mod socks;
mod value;

use std::path::Path;

use wire::Instant;

use crate::ast::{Event, Script, Shell, Time, Usecs, What};
use crate::config::{Addresses, Config};
use crate::target::{Answer, ShellError, Target};
use after::After;
use code::Code;
use socks::Socks;

/// How long the next call waits for a blocking one that has not returned (packetdrill's MAX_WAIT_SECS).
const MAX_IDLE_WAIT: Usecs = 1_000_000;

/// What is wrong, where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The event's line.
    pub line: u32,
    /// packetdrill's words without file and line: `error handling packet: …`.
    pub message: String,
    /// More lines: `script packet: …`, `actual packet: …`.
    pub details: Vec<String>,
}

/// How a script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything happened as written.
    Passed,
    /// Something did not.
    Failed(Fault),
    /// Something in it is not understood, or the target cannot do it.
    Unsupported(Fault),
}

/// Something that happened, for the ladder around a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// Since the script's start.
    pub at: Usecs,
    /// The script's line; 0 for a packet of another connection.
    pub line: u32,
    /// Which way.
    pub kind: HappenedKind,
    /// In the script's notation.
    pub text: String,
}

/// The kinds of [`Happened`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HappenedKind {
    /// Injected.
    Inbound,
    /// The host sent it and the script expected it.
    Outbound,
    /// The host sent it: another connection's, or not what was expected.
    Stray,
    /// A system call was made or returned.
    Call,
    /// A shell command.
    Shell,
    /// A code block; the text is what it printed.
    Code,
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// What happened, in order.
    pub happened: Vec<Happened>,
    /// Mismatches that `--non_fatal` let pass.
    pub warnings: Vec<Fault>,
    /// What it ran on.
    pub target: String,
    /// How long the script took, in the target's time.
    pub usecs: Usecs,
}

/// A reason to stop; the line is that of the event unless said.
pub(crate) enum Stop {
    Failed(Fault),
    Unsupported(Fault),
}

type Step = Result<(), Stop>;

/// When an event is to happen, since the script's start.
#[derive(Clone, Copy, Debug)]
struct When {
    time: Time,
    at: Usecs,
    end: Usecs,
    /// What relative times were added to.
    offset: Usecs,
}

/// A blocking call that has not returned.
struct Pending {
    line: u32,
    name: String,
    start: Usecs,
    end: Usecs,
    after: After,
}

pub(crate) struct Run<'a> {
    script: &'a Script,
    config: &'a Config,
    addresses: Addresses,
    dir: &'a Path,
    target: &'a mut dyn Target,
    start: Instant,
    socks: Socks,
    pending: Option<Pending>,
    code: Code,
    happened: Vec<Happened>,
    warnings: Vec<Fault>,
    /// The event's line now.
    line: u32,
    events_done: usize,
    /// The planned time of the event before; `None` at the first.
    last_at: Option<Usecs>,
}

/// Runs a parsed script. `config` holds the script's own options already; `dir` is the script's folder.
pub fn run(script: &Script, config: &Config, dir: &Path, target: &mut dyn Target) -> Outcome {
    let name = target.name();
    let start = target.now();
    let mut run = Run {
        script,
        config,
        addresses: config.addresses(),
        dir,
        target,
        start,
        socks: Socks::default(),
        pending: None,
        code: Code::default(),
        happened: Vec::new(),
        warnings: Vec::new(),
        line: 0,
        events_done: 0,
        last_at: None,
    };
    let verdict = match run.whole() {
        Ok(()) => Verdict::Passed,
        Err(Stop::Failed(fault)) => Verdict::Failed(fault),
        Err(Stop::Unsupported(fault)) => Verdict::Unsupported(fault),
    };
    if matches!(verdict, Verdict::Failed(_)) {
        run.note_strays();
    }
    let usecs = run.now();
    Outcome { verdict, happened: run.happened, warnings: run.warnings, target: name, usecs }
}

/// Seconds with six places.
pub(crate) fn secs(usecs: Usecs) -> String {
    let sign = if usecs < 0 { "-" } else { "" };
    let n = usecs.unsigned_abs();
    format!("{sign}{}.{:06}", n / 1_000_000, n % 1_000_000)
}

impl Run<'_> {
    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault { line: self.line, message: message.into(), details: Vec::new() }
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, Stop> {
        Err(Stop::Failed(self.fault(message)))
    }

    fn unsupported<T>(&self, message: impl Into<String>) -> Result<T, Stop> {
        Err(Stop::Unsupported(self.fault(message)))
    }

    fn note(&mut self, kind: HappenedKind, text: impl Into<String>) {
        let at = self.now();
        self.happened.push(Happened { at, line: self.line, kind, text: text.into() });
    }

    fn script_time(&self, at: Instant) -> Usecs {
        let (at, start) = (i128::from(at.as_nanos()), i128::from(self.start.as_nanos()));
        Usecs::try_from((at - start).div_euclid(1000)).unwrap_or(Usecs::MAX)
    }

    fn live_time(&self, at: Usecs) -> Instant {
        self.start + core::time::Duration::from_micros(u64::try_from(at).unwrap_or(0))
    }

    fn now(&mut self) -> Usecs {
        let now = self.target.now();
        self.script_time(now)
    }

    fn whole(&mut self) -> Step {
        for text in &self.config.init_scripts {
            self.shell(&Shell { line: 0, text: text.clone() }, "init script")?;
        }
        if let Some(init) = &self.script.init {
            self.shell(init, "init command")?;
        }
        // The script's clock starts when the preparations are done.
        self.start = self.target.now();
        let script = self.script;
        let mut last: Option<(&Event, When)> = None;
        for event in &script.events {
            self.line = event.line;
            self.reap()?;
            let when = self.when(event, last)?;
            self.last_at = last.map(|(_, w)| w.at);
            self.event(event, when)?;
            if self.config.observe && !matches!(event.what, What::Shell(_)) {
                self.observe_info()?;
            }
            self.events_done += 1;
            last = Some((event, when));
        }
        self.await_idle();
        self.reap()?;
        if self.config.observe {
            self.observe_packets();
            self.observe_counters();
        }
        if let Some(pending) = &self.pending {
            self.line = pending.line;
            return self.fail("runtime error: exiting while a blocking system call is in progress");
        }
        match &script.cleanup {
            Some(cleanup) => self.shell(cleanup, "cleanup command"),
            None => Ok(()),
        }
    }

    /// The event's time since the start.
    fn when(&mut self, event: &Event, last: Option<(&Event, When)>) -> Result<When, Stop> {
        let inbound = |e: &Event| matches!(&e.what, What::Packet(p) if p.inbound);
        let offset = match last {
            Some((before, when)) if inbound(before) && inbound(event) => when.at,
            _ => self.now(),
        };
        let (at, end, offset) = match event.time {
            Time::Absolute(t) => (t, t, 0),
            Time::AbsoluteRange(t, end) => (t, end, 0),
            Time::Relative(t) => (t + offset, t + offset, offset),
            Time::RelativeRange(t, end) => (t + offset, end + offset, offset),
            Time::Any => (offset, offset, offset),
        };
        let absolute = |t: Time| matches!(t, Time::Absolute(_) | Time::AbsoluteRange(..));
        if let Some((before, w)) = last
            && absolute(before.time)
            && absolute(event.time)
            && at < w.at
        {
            return self.fail(format!("time goes backward in script from {} usec to {at} usec", w.at));
        }
        Ok(When { time: event.time, at, end, offset })
    }

    fn event(&mut self, event: &Event, when: When) -> Step {
        match &event.what {
            What::Packet(packet) if packet.inbound => self.inbound(packet, when),
            What::Packet(packet) => self.outbound(packet, when),
            What::Syscall(call) => self.syscall(call, when),
            What::Shell(shell) => {
                self.wait_for(when, "command")?;
                self.shell(shell, "command")
            }
            What::Code(text) => {
                self.wait_for(when, "data collection for code")?;
                self.run_code(text)
            }
        }
    }

    /// Lets time pass until the event is due, and checks that it is not late.
    fn wait_for(&mut self, when: When, what: &str) -> Step {
        let at = self.live_time(when.at);
        self.target.sleep_until(at);
        self.reap()?;
        if self.config.observe {
            self.observe_packets();
            return Ok(());
        }
        if self.events_done > 0 {
            let now = self.now();
            if let Err(message) = self.check_time(when, now, self.last_at, what) {
                return self.fail(message);
            }
        }
        Ok(())
    }

    /// Is `actual` near enough? The percentage is of the time since the event before.
    fn check_time(&self, when: When, actual: Usecs, last: Option<Usecs>, what: &str) -> Result<(), String> {
        let tolerance =
            last.map_or(self.config.tolerance_usecs, |last| self.config.tolerance(when.at - last));
        let inside = |low: Usecs, high: Usecs| actual >= low - tolerance && actual <= high + tolerance;
        match when.time {
            Time::Any => Ok(()),
            Time::AbsoluteRange(..) if !inside(when.at, when.end) => Err(format!(
                "timing error: expected {what} in time range {}~{} sec but happened at {} sec",
                secs(when.at),
                secs(when.end),
                secs(actual)
            )),
            Time::RelativeRange(..) if !inside(when.at, when.end) => Err(format!(
                "timing error: expected {what} in relative time range +{}~+{} sec but happened at +{} sec",
                secs(when.at - when.offset),
                secs(when.end - when.offset),
                secs(actual - when.offset)
            )),
            Time::Absolute(_) | Time::Relative(_) if !inside(when.at, when.at) => Err(format!(
                "timing error: expected {what} at {} sec but happened at {} sec; tolerance {} sec",
                secs(when.at),
                secs(actual),
                secs(tolerance)
            )),
            _ => Ok(()),
        }
    }

    fn shell(&mut self, shell: &Shell, what: &str) -> Step {
        self.line = shell.line;
        let first = shell.text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default();
        self.note(HappenedKind::Shell, format!("`{first}`"));
        match self.target.shell(&shell.text, self.dir) {
            Ok(()) => Ok(()),
            Err(ShellError::Unsupported(text)) => self.unsupported(format!("{what} not understood: {text}")),
            Err(ShellError::Failed(text)) => self.fail(format!("error executing {what}: {text}")),
        }
    }

    /// Waits a while for the blocking call.
    fn await_idle(&mut self) {
        if self.pending.is_some() {
            let until = self.now() + MAX_IDLE_WAIT;
            self.reap_until(until);
        }
    }

    /// If the blocking call has returned: was it in time, and with the right result?
    fn reap(&mut self) -> Step {
        let now = self.now();
        self.reap_until(now);
        let Some((at, answer)) = self.code.returned.take() else { return Ok(()) };
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let line = core::mem::replace(&mut self.line, pending.line);
        let at = self.script_time(at);
        self.happened.push(Happened {
            at,
            line: pending.line,
            kind: HappenedKind::Call,
            text: format!("{} returns {}", pending.name, calls::show_answer(&answer)),
        });
        self.finish_call(&pending.name, pending.after, answer)?;
        let when = When { time: Time::Absolute(0), at: pending.end, end: pending.end, offset: 0 };
        if let Err(message) = self.check_time(when, at, Some(pending.start), "system call return") {
            return self.fail(message);
        }
        self.line = line;
        Ok(())
    }

    fn reap_until(&mut self, until: Usecs) {
        if self.pending.is_some() && self.code.returned.is_none() {
            let until = self.live_time(until);
            self.code.returned = self.target.finished(until);
        }
    }
}

/// An answer that was given out while the runner was busy with something else.
pub(crate) type Returned = Option<(Instant, Answer)>;
