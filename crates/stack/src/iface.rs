//! Interfaces and their addresses.

use wire::Instant;

use crate::Stack;

/// What happens on an interface later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimerEvent {}

/// A host's interfaces.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {}

impl Stack {
    pub(crate) fn add_loopback(&mut self) {}
    pub(crate) fn iface_timeout(&mut self, _now: Instant, event: TimerEvent) {
        match event {}
    }
}
