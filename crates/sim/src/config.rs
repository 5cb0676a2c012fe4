//! What a world is made from, and when a run of it ends.

use core::fmt;
use core::time::Duration;

use wire::Instant;

/// What a [`crate::World`] is made from.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    /// All randomness of links comes from this; hosts have their own seed.
    pub seed: u64,
    /// Whether the journal gets packets, calls and the hosts' records; off costs nothing.
    pub record: bool,
    /// Whether the invariants of [`crate::check`] are checked after every step; a violation is our bug and
    /// panics. On by default in builds with debug assertions, which tests are.
    pub check: bool,
}

impl Default for WorldConfig {
    fn default() -> Self {
        WorldConfig { seed: 0, record: true, check: cfg!(debug_assertions) }
    }
}

/// When [`crate::World::run`] stops; whatever comes first.
#[derive(Clone, Debug)]
pub struct RunLimit {
    /// Stop this long after the last program ended (after the start, when there is none); `None` runs until
    /// nothing is left to happen.
    pub settle: Option<Duration>,
    /// Stop at this virtual time.
    pub until: Instant,
    /// Stop after so many events: a bound on wall time.
    pub max_events: u64,
}

impl Default for RunLimit {
    /// One second after the last program, at most an hour and 100 million events.
    fn default() -> Self {
        RunLimit {
            settle: Some(Duration::from_secs(1)),
            until: Instant::from_secs(3600),
            max_events: 100_000_000,
        }
    }
}

/// Why a run stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// Nothing is left to happen: no packet, no timer, no program that would ever wake.
    Quiet,
    /// Every program ended and the settle time is over.
    ProgramsDone,
    /// [`RunLimit::until`] is reached.
    TimeLimit,
    /// [`RunLimit::max_events`] is reached.
    EventLimit,
    /// Packets multiply in a loop of switches; [`crate::World::storm`] says where.
    Storm,
}

impl fmt::Display for RunEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            RunEnd::Quiet => "nothing left to happen",
            RunEnd::ProgramsDone => "all programs ended",
            RunEnd::TimeLimit => "time limit reached",
            RunEnd::EventLimit => "event limit reached",
            RunEnd::Storm => "packets multiply in a loop of switches",
        })
    }
}
