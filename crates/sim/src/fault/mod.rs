//! Faults: which packets, where, and what becomes of them.
//!
//! A fault counts the packets that match its filter as they enter a link in its direction, and acts on
//! those whose number it names. Text form: [`Fault::parse`].

mod copy;
mod forge;
mod parse;

use core::time::Duration;

use stack::record::NodeId;
use wire::Instant;
use wire::filter::Filter;

pub use copy::ForgedCopy;
pub use forge::Forge;
pub use parse::{FaultError, FaultSpec, Place};

use crate::link::{LinkId, LinkState};

/// One fault of a scenario.
#[derive(Clone, Debug)]
pub struct Fault {
    /// As it was written, for the journal and for messages.
    pub text: String,
    /// Where it looks.
    pub direction: Direction,
    /// Which packets it counts.
    pub filter: Filter,
    /// On which of those it acts.
    pub ordinal: Ordinal,
    /// What it does.
    pub action: FaultAction,
    /// The run does not fail when it never acted.
    pub optional: bool,
}

/// Where a fault looks; all that is given must hold, nothing given is everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Direction {
    /// Packets that leave this node.
    pub from: Option<NodeId>,
    /// Packets on a link that ends at this node.
    pub to: Option<NodeId>,
    /// Packets on this link.
    pub link: Option<LinkId>,
}

/// On which of the matching packets a fault acts, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordinal {
    /// The n-th.
    Nth(u64),
    /// The first n.
    First(u64),
    /// From the n-th to the m-th.
    Range(u64, u64),
    /// Every one.
    Every,
}

impl Ordinal {
    /// Whether the `n`-th matching packet is meant.
    pub fn covers(self, n: u64) -> bool {
        match self {
            Ordinal::Nth(at) => n == at,
            Ordinal::First(count) => n <= count,
            Ordinal::Range(from, to) => (from..=to).contains(&n),
            Ordinal::Every => true,
        }
    }

    /// No packet after the `n`-th can be meant.
    pub(crate) fn is_over(self, n: u64) -> bool {
        match self {
            Ordinal::Nth(last) | Ordinal::First(last) | Ordinal::Range(_, last) => n >= last,
            Ordinal::Every => false,
        }
    }
}

/// What a fault does to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultAction {
    /// It never arrives.
    Drop,
    /// It takes so much longer than the link's own delay; those behind it may overtake it.
    Delay(Duration),
    /// It arrives so many times more.
    Duplicate(u32),
    /// A byte is inverted, or one bit at a random place.
    Corrupt {
        /// The byte, from the start of the frame; past its end nothing is changed. `None`: one random bit.
        at: Option<u32>,
    },
    /// It waits at the entry of the link.
    Hold(Release),
    /// An answer from the wire arrives at the sender.
    Forge {
        /// The answer.
        reply: Forge,
        /// Whether the packet itself is dropped.
        instead: bool,
    },
    /// A changed copy of a TCP segment follows it: a late one, a blind one, what a middlebox made of it.
    Copy {
        /// What is changed.
        copy: ForgedCopy,
        /// How much later it arrives.
        by: Duration,
        /// Whether the packet itself is dropped.
        instead: bool,
    },
    /// The packet is lost, and so is the link for a time.
    CutLink {
        /// How long.
        duration: Duration,
        /// [`LinkState::Down`] or [`LinkState::Silent`].
        state: LinkState,
    },
}

/// When a held packet goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// At this time.
    At(Instant),
    /// Behind so many further packets of the same direction, matching or not.
    AfterPackets(u32),
}

/// Packets that all faults together hold at most; more are lost.
pub const MAX_HELD: usize = 4096;
/// Copies that one duplication makes at most.
pub const MAX_DUPLICATES: u32 = 1000;

/// A fault in a world.
#[derive(Debug)]
pub(crate) struct Armed {
    pub(crate) fault: Fault,
    /// Packets that matched.
    pub(crate) seen: u64,
    /// Packets it acted on.
    pub(crate) hits: u64,
}
