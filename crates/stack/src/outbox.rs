//! What a host has to say after something happened: packets, wake-ups, records, in order.

use std::collections::VecDeque;

use wire::{Frame, Instant};

use crate::record::{IfIndex, What};
use crate::socket::Pid;

/// Effects that wait for the driver.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Packets for the wire.
    pub(crate) tx: VecDeque<(IfIndex, Frame)>,
    /// Processes whose blocked call should be tried again; each at most once.
    pub(crate) wakeups: VecDeque<Pid>,
    /// Facts; empty when recording is off.
    pub(crate) records: VecDeque<(Instant, What)>,
    /// Packets that were sent by `lo` and wait to be received by it.
    pub(crate) loopback: VecDeque<(IfIndex, Frame)>,
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
