//! Neighbour tables: who on the link has which address. Linux: net/core/neighbour.c.
//!
//! `table.rs` holds entries and throws old ones away, `state.rs` is the state machine and its timers, `output.rs`
//! sends packets to neighbours, `arp.rs` and `ndisc.rs` are the two protocols, `text.rs` what `ip neigh` prints.

mod arp;
mod ndisc;
mod output;
mod proxy;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod text;

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::net::IpAddr;

use wire::{Frame, Instant, MacAddr};

use crate::record::IfIndex;
use crate::timer::TimerId;

pub(crate) use output::truesize;
pub(crate) use proxy::Proxies;
pub(crate) use state::Update;
pub use table::NeighTables;

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

impl NudState {
    /// `NUD_VALID`: there is a link-layer address to send to.
    pub fn is_valid(self) -> bool {
        match self {
            NudState::Permanent
            | NudState::Noarp
            | NudState::Reachable
            | NudState::Probe
            | NudState::Stale
            | NudState::Delay => true,
            NudState::Incomplete | NudState::Failed => false,
        }
    }

    /// `NUD_CONNECTED`: used without a second thought.
    pub fn is_connected(self) -> bool {
        matches!(self, NudState::Permanent | NudState::Noarp | NudState::Reachable)
    }

    /// `NUD_IN_TIMER`: a timer runs.
    pub fn is_timed(self) -> bool {
        matches!(self, NudState::Incomplete | NudState::Reachable | NudState::Delay | NudState::Probe)
    }

    /// From `ip neigh`'s lower-case word after `nud`.
    pub fn parse(word: &str) -> Option<NudState> {
        Some(match word {
            "permanent" => NudState::Permanent,
            "reachable" => NudState::Reachable,
            "stale" => NudState::Stale,
            "noarp" => NudState::Noarp,
            "delay" => NudState::Delay,
            "probe" => NudState::Probe,
            "failed" => NudState::Failed,
            "incomplete" => NudState::Incomplete,
            _ => return None,
        })
    }
}

impl fmt::Display for NudState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// `SKB_TRUESIZE(ETH_FRAME_LEN)`: what a full Ethernet frame counts against `unres_qlen_bytes`.
pub(crate) const FULL_FRAME_TRUESIZE: u32 = 2112;

/// What happens to an entry later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimerEvent {
    /// `neigh_timer_handler`
    State(IfIndex, IpAddr),
    /// `neigh_periodic_work`: throw away what nobody uses.
    Gc,
    /// `neigh_proxy_process`: answer for somebody else after a while.
    Proxy,
}

/// One neighbour (`struct neighbour`).
#[derive(Clone, Debug)]
pub(crate) struct Neighbour {
    pub(crate) ifindex: IfIndex,
    pub(crate) addr: IpAddr,
    /// The last link-layer address heard, zero when none was.
    pub(crate) lladdr: MacAddr,
    /// `None` is `NUD_NONE`: made, and nothing happened yet.
    pub(crate) state: Option<NudState>,
    /// `NTF_ROUTER`: it said so in a neighbour advertisement.
    pub(crate) router: bool,
    /// Requests sent, as the kernel counts them: broadcasts begin at `ucast_solicit`.
    pub(crate) probes: u32,
    pub(crate) confirmed: Instant,
    pub(crate) updated: Instant,
    pub(crate) used: Instant,
    /// IP packets that wait for the address.
    pub(crate) queue: VecDeque<Frame>,
    /// Their `truesize`.
    pub(crate) queue_bytes: u32,
    pub(crate) timer: Option<TimerId>,
}

impl Neighbour {
    pub(crate) fn is_valid(&self) -> bool {
        self.state.is_some_and(NudState::is_valid)
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.state.is_some_and(NudState::is_connected)
    }
}

/// Half to one and a half times `base` (`neigh_rand_reach_time`).
pub(crate) fn random_reachable_time(base: Duration, rng: &mut crate::rng::Rng) -> Duration {
    let ms = u64::try_from(base.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 { Duration::ZERO } else { Duration::from_millis(rng.below(ms) + ms / 2) }
}
