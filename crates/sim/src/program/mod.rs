//! Programs: what runs on a host, written in system calls.
//!
//! One [`Program`] is one process. The same program runs on the stack (the [`crate::World`] drives it) and
//! on the real kernel (the `linux` crate's agent makes its calls).

use stack::admin::Admin;
use stack::call::{Call, CallResult};
use wire::Instant;

pub mod ping;
pub mod script;
pub mod traceroute;

/// A program; the index in the order of [`crate::World::spawn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramId(pub u32);

/// What a program does next.
#[derive(Clone, Debug)]
pub enum Action {
    /// Makes a system call and waits for its result.
    Call(Call),
    /// Runs an `ip` or `sysctl` command.
    Admin(Admin),
    /// Sleeps.
    SleepUntil(Instant),
    /// Ends with this status.
    Exit(i32),
}

/// Why a program runs again.
#[derive(Clone, Debug)]
pub enum Event {
    /// It was started.
    Start,
    /// Its call returned.
    Returned(CallResult),
    /// Its command ended; the error is what `ip` or `sysctl` prints.
    AdminDone(Result<(), String>),
    /// It slept enough.
    Woke,
}

/// One process: a state machine that is told what happened and answers what to do next.
pub trait Program: Send {
    /// What happened; what to do next.
    fn resume(&mut self, now: Instant, event: Event) -> Action;

    /// Called before [`Program::resume`] for every finished call: what was expected, when the scenario
    /// expected something else.
    fn check(&mut self, result: &CallResult) -> Option<String> {
        let _ = result;
        None
    }

    /// Lines that it printed so far.
    fn output(&self) -> &[String] {
        &[]
    }

    /// Expectations that were not met so far.
    fn failures(&self) -> &[String] {
        &[]
    }
}
