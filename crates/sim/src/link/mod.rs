//! Links: two interfaces joined by a cable, each direction with its own impairments in `tc`'s words.
//!
//! A direction is a queue in front of a transmitter (`rate`, `limit`) followed by a wire (`delay`,
//! `jitter`, loss and the rest). Linux: net/sched/sch_netem.c for the words and their order.

mod impair;
mod pipe;

use core::time::Duration;

use stack::record::{IfIndex, NodeId};
use wire::{Instant, Medium};

pub(crate) use impair::{Impairer, Verdict};
pub(crate) use pipe::{InFlight, MAX_IN_FLIGHT, Pipe};

/// A link; the index in the order of [`crate::World::connect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// A cable from `a` to `b`, the order of the arguments of [`crate::World::connect`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkConfig {
    /// Its name, for faults and messages, and the name of its streams of randomness; when empty, both
    /// ends' names such as `client-server`.
    pub name: String,
    /// What happens to packets from a to b.
    pub a_to_b: Impairment,
    /// What happens to packets from b to a.
    pub b_to_a: Impairment,
    /// Longest packet that passes, in bytes without the Ethernet header; `None` for any.
    pub mtu: Option<u32>,
    /// When the link changes its state, in any order; it starts [`LinkState::Up`].
    pub schedule: Vec<(Instant, LinkState)>,
}

impl LinkConfig {
    /// A link with the same impairments both ways.
    pub fn symmetric(impairment: Impairment) -> LinkConfig {
        LinkConfig { a_to_b: impairment.clone(), b_to_a: impairment, ..LinkConfig::default() }
    }

    /// A link that only takes time, the same both ways.
    pub fn with_delay(delay: Duration) -> LinkConfig {
        LinkConfig::symmetric(Impairment { delay, ..Impairment::default() })
    }
}

/// Whether packets pass, and what the ends see of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// Packets pass.
    #[default]
    Up,
    /// The cable is pulled: packets on it are lost, and both ends lose carrier.
    Down,
    /// Packets vanish somewhere on the way, and the ends notice nothing: a black hole.
    Silent,
}

/// How `jitter` is spread around `delay`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distribution {
    /// Evenly within `delay ± jitter`: netem without a `distribution`.
    #[default]
    Uniform,
    /// Normal with `jitter` as standard deviation, cut at six of them.
    Normal,
}

/// Gilbert–Elliott loss: a good and a bad state, `tc`'s `loss gemodel p [r [1-h [1-k]]]`. All in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gemodel {
    /// Chance, per packet, to go from good to bad.
    pub p: u32,
    /// Chance, per packet, to go from bad to good.
    pub r: u32,
    /// `1-h`: chance of loss in the bad state.
    pub loss_bad: u32,
    /// `1-k`: chance of loss in the good state.
    pub loss_good: u32,
}

impl Default for Gemodel {
    /// `tc`'s defaults for what is left out, and never bad.
    fn default() -> Self {
        Gemodel { p: 0, r: 1_000_000, loss_bad: 1_000_000, loss_good: 0 }
    }
}

/// One direction of a link, in `tc`'s words. Chances and correlations are millionths (`_ppm`): 1 % is 10,000.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Impairment {
    /// Time on the wire.
    pub delay: Duration,
    /// How far the delay varies; may reorder, as netem's does.
    pub jitter: Duration,
    /// How much each delay depends on the one before.
    pub jitter_correlation_ppm: u32,
    /// How the variation is spread.
    pub distribution: Distribution,
    /// Bits per second of the transmitter; `None` for no limit. Packets go one after the other.
    pub rate: Option<u64>,
    /// Packets that may wait for the transmitter, the one being sent included (`pfifo limit`); those
    /// beyond are dropped at the tail. Without `rate` nothing waits. Unlike netem's `limit`, packets
    /// on the wire do not count.
    pub limit: u32,
    /// `loss random`.
    pub loss_ppm: u32,
    /// Its correlation.
    pub loss_correlation_ppm: u32,
    /// `loss gemodel`, beside `loss_ppm`.
    pub gemodel: Option<Gemodel>,
    /// `reorder`: chance for a packet to be sent at once, before those that wait out their delay.
    pub reorder_ppm: u32,
    /// Its correlation.
    pub reorder_correlation_ppm: u32,
    /// `gap`: only every so many-th packet can be reordered; 0 is 1.
    pub gap: u32,
    /// `duplicate`.
    pub duplicate_ppm: u32,
    /// Its correlation.
    pub duplicate_correlation_ppm: u32,
    /// `corrupt`: chance that one bit, anywhere in the packet, is flipped.
    pub corrupt_ppm: u32,
    /// Its correlation.
    pub corrupt_correlation_ppm: u32,
}

/// netem's default `limit`, and the usual `txqueuelen`.
pub const DEFAULT_LIMIT: u32 = 1000;

impl Default for Impairment {
    /// A perfect wire of no length.
    fn default() -> Self {
        Impairment {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            jitter_correlation_ppm: 0,
            distribution: Distribution::default(),
            rate: None,
            limit: DEFAULT_LIMIT,
            loss_ppm: 0,
            loss_correlation_ppm: 0,
            gemodel: None,
            reorder_ppm: 0,
            reorder_correlation_ppm: 0,
            gap: 0,
            duplicate_ppm: 0,
            duplicate_correlation_ppm: 0,
            corrupt_ppm: 0,
            corrupt_correlation_ppm: 0,
        }
    }
}

impl Impairment {
    /// Nothing but a constant delay: packets need no decisions.
    pub(crate) fn is_plain(&self) -> bool {
        let only_delay = Impairment { delay: self.delay, limit: self.limit, ..Impairment::default() };
        *self == only_delay
    }

    /// Packets leave in the order in which they came.
    pub(crate) fn is_fifo(&self) -> bool {
        self.jitter.is_zero() && self.reorder_ppm == 0
    }
}

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) node: NodeId,
    pub(crate) ifindex: IfIndex,
}

/// What went through a direction; `sent = delivered + lost + in flight` at all times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Packets that entered, duplicates and forged ones included.
    pub sent: u64,
    /// Packets that arrived.
    pub delivered: u64,
    /// Packets that never will.
    pub lost: u64,
}

/// One direction of a link. Direction `2n` is a to b of link `n`, `2n + 1` is b to a.
#[derive(Debug)]
pub(crate) struct Direction {
    pub(crate) from: End,
    pub(crate) to: End,
    pub(crate) pipe: Pipe,
    pub(crate) delay: Duration,
    /// `None` for a plain direction.
    pub(crate) impairer: Option<Box<Impairer>>,
    pub(crate) fifo: bool,
    pub(crate) stats: LinkStats,
    /// Packets a fault holds.
    pub(crate) held: u64,
}

/// What both directions share.
#[derive(Debug)]
pub(crate) struct Cable {
    pub(crate) name: String,
    pub(crate) state: LinkState,
    pub(crate) mtu: Option<u32>,
    /// What the interfaces at its ends speak.
    pub(crate) medium: Medium,
    /// Changes to come, the next one last.
    pub(crate) schedule: Vec<(Instant, LinkState)>,
}
