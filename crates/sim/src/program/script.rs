//! A program read from a scenario: steps, one after the other.
//!
//! Calls are text with variables (`s = socket(AF_INET, SOCK_DGRAM, 0)`, then `sendto(s, "hello", 0,
//! server:9)`), read when their turn comes, because descriptors are known only then.

use core::ops::Range;
use core::time::Duration;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use stack::admin::Admin;
use stack::call::text::{CallTextError, Env, Expect, parse_call};
use stack::call::{Call, CallResult, Fd, Ret};
use wire::Instant;

use super::{Action, Event, Program};

/// One step of a script.
#[derive(Clone, Debug)]
pub struct Step {
    /// When it begins; a step whose time has passed begins at once.
    pub when: When,
    /// What it does.
    pub what: StepKind,
    /// What the call must return, as [`Expect`] reads it: `3`, `ECONNREFUSED`, `"hello" from server:9`.
    pub expect: Option<String>,
    /// Where it stands in its file, in bytes.
    pub span: Range<usize>,
}

/// When a step begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// When the step before has ended.
    #[default]
    Next,
    /// At this time of the run.
    At(Instant),
    /// So long after the step before has ended.
    After(Duration),
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum StepKind {
    /// A system call with variables, as `s = socket(AF_INET, SOCK_DGRAM, 0)`.
    Call(String),
    /// An `ip` or `sysctl` command.
    Admin(Admin),
    /// Sleeps.
    Sleep(Duration),
}

/// What names stand for in a script's calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Each host's addresses.
    pub hosts: BTreeMap<String, HostAddrs>,
    /// The interfaces of the host that runs the script.
    pub interfaces: BTreeMap<String, u32>,
}

/// A host's addresses, as its name stands for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostAddrs {
    /// `server`
    pub v4: Option<Ipv4Addr>,
    /// `[server]`
    pub v6: Option<Ipv6Addr>,
}

/// Names together with the variables that are set.
struct Scope<'a> {
    names: &'a Names,
    variables: &'a BTreeMap<String, Fd>,
}

impl Env for Scope<'_> {
    fn fd(&self, name: &str) -> Option<Fd> {
        self.variables.get(name).copied()
    }

    fn host(&self, name: &str, ipv6: bool) -> Option<IpAddr> {
        let addrs = self.names.hosts.get(name)?;
        let (v4, v6) = (addrs.v4.map(IpAddr::V4), addrs.v6.map(IpAddr::V6));
        if ipv6 { v6 } else { v4 }
    }

    fn ifindex(&self, name: &str) -> Option<u32> {
        self.names.interfaces.get(name).copied()
    }

    fn names(&self) -> Vec<String> {
        let all = self.variables.keys().chain(self.names.hosts.keys()).chain(self.names.interfaces.keys());
        all.cloned().collect()
    }
}

/// A script as a program.
#[derive(Clone, Debug)]
pub struct Script {
    names: Names,
    steps: Vec<Step>,
    variables: BTreeMap<String, Fd>,
    /// The step that runs, or would run next.
    at: usize,
    /// Its time was waited for.
    waited: bool,
    /// It was begun.
    begun: bool,
    /// The variable its result goes into.
    binds: Option<String>,
    expect: Option<Expect>,
    failures: Vec<String>,
}

impl Script {
    /// A script that has not started.
    pub fn new(names: Names, steps: Vec<Step>) -> Script {
        Script {
            names,
            steps,
            variables: BTreeMap::new(),
            at: 0,
            waited: false,
            begun: false,
            binds: None,
            expect: None,
            failures: Vec::new(),
        }
    }

    /// Everything in the steps' texts that cannot be read, before anything runs: the step's number and the
    /// error, whose offset counts from the start of the call's or the expectation's text.
    pub fn errors(&self) -> Vec<ScriptError> {
        let mut variables = BTreeMap::new();
        let mut errors = Vec::new();
        for (step, s) in self.steps.iter().enumerate() {
            if let StepKind::Call(text) = &s.what {
                let (binds, at) = split_binding(text);
                let scope = Scope { names: &self.names, variables: &variables };
                if let Err(mut error) = parse_call(&text[at..], &scope) {
                    error.offset += at;
                    errors.push(ScriptError { step, part: Part::Call, error });
                }
                if let Some(name) = binds {
                    // Descriptors differ from run to run; any number will do to read the text.
                    let fd = Fd::try_from(variables.len() + 3).unwrap_or(Fd::MAX);
                    variables.insert(name.to_string(), fd);
                }
            }
            if let Some(text) = &s.expect {
                let scope = Scope { names: &self.names, variables: &variables };
                if let Err(error) = Expect::parse(text, &scope) {
                    errors.push(ScriptError { step, part: Part::Expect, error });
                }
            }
        }
        errors
    }

    /// Reads the current step's call and expectation.
    fn read(&mut self, text: &str) -> Result<Call, CallTextError> {
        let (binds, at) = split_binding(text);
        self.binds = binds.map(str::to_string);
        let scope = Scope { names: &self.names, variables: &self.variables };
        let call = parse_call(&text[at..], &scope)?;
        self.expect = match &self.steps[self.at].expect {
            Some(expect) => Some(Expect::parse(expect, &scope)?),
            None => None,
        };
        Ok(call)
    }

    fn end_step(&mut self) {
        self.at += 1;
        (self.waited, self.begun) = (false, false);
    }

    fn exit(&self) -> Action {
        Action::Exit(i32::from(!self.failures.is_empty()))
    }
}

/// What in a script cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// The step, from 0.
    pub step: usize,
    /// Which of its texts.
    pub part: Part,
    /// Where and what.
    pub error: CallTextError,
}

/// A text of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The call.
    Call,
    /// The expectation.
    Expect,
}

/// The variable before a call's `=`, and where the call begins.
fn split_binding(text: &str) -> (Option<&str>, usize) {
    let Some(equals) = text.find('=') else { return (None, 0) };
    let name = text[..equals].trim();
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return (None, 0);
    }
    let rest = &text[equals + 1..];
    (Some(name), equals + 1 + (rest.len() - rest.trim_start().len()))
}

impl Program for Script {
    fn resume(&mut self, now: Instant, event: Event) -> Action {
        match event {
            Event::Start => {}
            Event::Woke if !self.begun => self.waited = true,
            Event::Woke => self.end_step(),
            Event::Returned(result) => {
                if let (Some(name), Ok(Ret::Fd(fd, _))) = (self.binds.take(), &result) {
                    self.variables.insert(name, *fd);
                }
                self.end_step();
            }
            Event::AdminDone(result) => {
                if let Err(error) = result {
                    self.failures.push(format!("step {}: {error}", self.at + 1));
                }
                self.end_step();
            }
        }
        let Some(step) = self.steps.get(self.at) else { return self.exit() };
        if !self.waited {
            let until = match step.when {
                When::Next => now,
                When::At(at) => at,
                When::After(after) => now + after,
            };
            if until > now {
                return Action::SleepUntil(until);
            }
        }
        (self.waited, self.begun) = (true, true);
        match step.what.clone() {
            StepKind::Sleep(duration) => Action::SleepUntil(now + duration),
            StepKind::Admin(command) => Action::Admin(command),
            StepKind::Call(text) => match self.read(&text) {
                Ok(call) => Action::Call(call),
                Err(error) => {
                    // A variable was not set because its call failed: nothing behind makes sense.
                    self.failures.push(format!("step {}: {text}: {error}", self.at + 1));
                    self.exit()
                }
            },
        }
    }

    fn check(&mut self, result: &CallResult) -> Option<String> {
        let error = self.expect.take()?.matches(result).err()?;
        self.failures.push(format!("step {}: {error}", self.at + 1));
        Some(error)
    }

    fn failures(&self) -> &[String] {
        &self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stack::Errno;

    fn call(text: &str, expect: Option<&str>) -> Step {
        let expect = expect.map(str::to_string);
        Step { when: When::Next, what: StepKind::Call(text.into()), expect, span: 0..0 }
    }

    fn names() -> Names {
        let addrs = HostAddrs { v4: Some(Ipv4Addr::new(192, 0, 2, 2)), v6: None };
        Names { hosts: BTreeMap::from([("server".to_string(), addrs)]), interfaces: BTreeMap::new() }
    }

    #[test]
    fn a_variable_holds_the_descriptor_that_the_call_returned() {
        let steps = vec![
            call("s = socket(AF_INET, SOCK_DGRAM, 0)", None),
            call("sendto(s, \"x\", 0, server:9)", None),
        ];
        let mut script = Script::new(names(), steps);
        assert_eq!(script.errors(), []);
        let Action::Call(Call::Socket { .. }) = script.resume(Instant::ZERO, Event::Start) else { panic!() };
        let next = script.resume(Instant::ZERO, Event::Returned(Ok(Ret::Fd(7, None))));
        let Action::Call(Call::SendTo { fd: 7, .. }) = next else { panic!("{next:?}") };
        let Action::Exit(0) = script.resume(Instant::ZERO, Event::Returned(Ok(Ret::Int(1)))) else {
            panic!()
        };
    }

    #[test]
    fn an_unmet_expectation_is_told_and_ends_with_status_1() {
        let mut script = Script::new(names(), vec![call("socket(AF_INET, SOCK_DGRAM, 0)", Some("ok"))]);
        script.resume(Instant::ZERO, Event::Start);
        let result = Err(Errno::EMFILE);
        let told = script.check(&result).expect("EMFILE is not ok");
        assert!(told.contains("EMFILE"), "{told}");
        let Action::Exit(1) = script.resume(Instant::ZERO, Event::Returned(result)) else { panic!() };
        assert_eq!(script.failures().len(), 1);
    }

    #[test]
    fn errors_are_found_before_the_run_each_at_its_place() {
        let steps = vec![
            call("s = sockt(AF_INET, SOCK_DGRAM, 0)", None),
            call("sendto(t, \"x\", 0, sever:9)", Some("nonsense")),
        ];
        let errors = Script::new(names(), steps).errors();
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert_eq!((errors[0].step, errors[0].error.offset), (0, 4));
        assert_eq!((errors[2].step, errors[2].part), (1, Part::Expect));
    }

    #[test]
    fn a_step_waits_for_its_time() {
        let mut step = call("socket(AF_INET, SOCK_DGRAM, 0)", None);
        step.when = When::At(Instant::from_secs(2));
        let mut script = Script::new(names(), vec![step]);
        let Action::SleepUntil(at) = script.resume(Instant::ZERO, Event::Start) else { panic!() };
        assert_eq!(at, Instant::from_secs(2));
        let Action::Call(_) = script.resume(at, Event::Woke) else { panic!() };
    }
}
