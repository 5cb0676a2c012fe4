//! What a host has to say after something happened: packets, wake-ups, records, in order.

use std::collections::VecDeque;

use wire::{Frame, Instant};

use crate::call::PollEvents;
use crate::record::{IfIndex, What};
use crate::socket::Pid;

/// A packet that is received without having been on a wire (`enqueue_to_backlog`).
#[derive(Debug)]
pub(crate) enum Backlog {
    /// By `lo`, or decapsulated by a tunnel: a complete link-layer frame for that interface.
    Frame(IfIndex, Frame),
    /// The host's own copy of a group packet that it sent by that interface; starts at the IP header.
    Looped(IfIndex, Frame),
}

/// Effects that wait for the driver.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Packets for the wire.
    pub(crate) tx: VecDeque<(IfIndex, Frame)>,
    /// Processes whose blocked call should be tried again; each at most once.
    pub(crate) wakeups: VecDeque<Pid>,
    /// News about observed descriptors ([`crate::Stack::observe`]).
    pub(crate) news: VecDeque<(u64, PollEvents)>,
    /// Facts; empty when recording is off.
    pub(crate) records: VecDeque<(Instant, What)>,
    /// Packets that this host sent to itself and that wait to be received.
    pub(crate) backlog: VecDeque<Backlog>,
    recording: bool,
}

impl Outbox {
    pub(crate) fn new(recording: bool) -> Outbox {
        Outbox { recording, ..Outbox::default() }
    }

    /// Appends a fact; `what` is not even built when recording is off.
    pub(crate) fn record(&mut self, at: Instant, what: impl FnOnce() -> What) {
        if self.recording {
            self.records.push_back((at, what()));
        }
    }
}
