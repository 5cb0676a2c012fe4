//! Processes, descriptors, sockets: what system calls act on. Linux: net/socket.c, net/core/sock.c, net/ipv4/af_inet.c.

pub mod options;

use wire::Instant;

use crate::Stack;
use crate::call::{Call, Outcome};
use crate::rng::Rng;

/// A process of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub u32);

/// What happens to a sleeping call later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimerEvent {}

/// All sockets, files and processes of a host.
#[derive(Debug)]
pub struct Sockets {}

impl Sockets {
    pub(crate) fn new(_rng: &Rng) -> Sockets {
        Sockets {}
    }
}

impl Stack {
    /// A new process without open descriptors but 0, 1 and 2 (so that its first socket is 3).
    pub fn spawn(&mut self) -> Pid {
        Pid(0)
    }

    /// The process ends (as by SIGKILL): every descriptor is closed.
    pub fn exit(&mut self, _now: Instant, _pid: Pid) {}

    /// Tries a system call of a process. See [`Outcome::Block`] for calls that sleep.
    pub fn call(&mut self, _now: Instant, _pid: Pid, _call: &Call) -> Outcome {
        Outcome::Block { until: None }
    }

    pub(crate) fn socket_timeout(&mut self, _now: Instant, event: TimerEvent) {
        match event {}
    }
}
