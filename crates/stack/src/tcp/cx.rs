//! What a step of a connection may use besides the connection: time, settings, counters, randomness, timers;
//! and where its effects go.

use core::time::Duration;

use wire::tcp::Header;
use wire::{Bytes, Instant};

use super::mem::TcpMemory;
use super::send_buffer::ChunkPool;
use super::tcb::State;
use crate::mib::{Counter, Mib};
use crate::rng::Rng;
use crate::sysctl::Globals;
use crate::timer::{Granularity, TimerQueue};
use crate::{DropReason, KernelProfile, TimerKey};

/// A segment on its way out, before IP.
#[derive(Clone, Debug)]
pub(crate) struct OutSegment {
    /// Ports, numbers, flags, window, options; the checksum is filled in when it is built.
    pub(crate) header: Header,
    pub(crate) payload: Bytes,
    /// Bytes a wire segment: larger payloads are cut (software GSO).
    pub(crate) mss: u16,
    /// ECT(0) in the IP header.
    pub(crate) ect: bool,
    /// It leaves as from a host without the connection: identification 0 (SYN-ACKs of requests, resets).
    pub(crate) without_socket: bool,
}

/// What happened that sockets above must know.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wake {
    /// Data, FIN or an error to read.
    pub(crate) readable: bool,
    /// Room to write, or connected.
    pub(crate) writable: bool,
    /// The state changed in a way that `poll` shows.
    pub(crate) changed: bool,
    /// Something is in the error queue (`sk_error_report`).
    pub(crate) error: bool,
}

/// What the connection asks the tables to do after the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The socket is done: remove it.
    Destroy,
    /// Become a TIME_WAIT (or FIN_WAIT2) mini-socket for this long.
    TimeWait {
        /// FIN_WAIT2 or TIME_WAIT.
        fin_wait2: bool,
        /// How long.
        timeout: Duration,
    },
}

/// Context of one step.
pub(crate) struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) sysctl: &'a Globals,
    pub(crate) profile: KernelProfile,
    pub(crate) granularity: Granularity,
    pub(crate) mem: &'a mut TcpMemory,
    pub(crate) mib: &'a mut Mib,
    pub(crate) rng: &'a mut Rng,
    pub(crate) timers: &'a mut TimerQueue<TimerKey>,
    pub(crate) segments: &'a mut Vec<OutSegment>,
    pub(crate) chunks: &'a mut ChunkPool,
    pub(crate) wake: Wake,
    pub(crate) fate: Option<Fate>,
    /// Set when the route should be looked up anew (`__dst_negative_advice`).
    pub(crate) dst_suspect: bool,
    /// A Fast Open connection needs its request no longer.
    pub(crate) fastopen_removed: Option<super::fastopen::Removed>,
    /// What the host remembers of peers.
    pub(crate) peers: &'a mut super::metrics::Peers,
    /// The ACK proves that the peer hears us: its neighbour entry is confirmed (`sk_dst_confirm`).
    pub(crate) confirm: bool,
    /// Timers that were moved to earlier than their entry in the queue stands, one bit for each kind.
    pub(crate) moved_timers: u8,
    /// Orphans of the host (`tcp_orphan_count`).
    pub(crate) orphans: u32,
    /// The queue of the way's interface takes nothing: `NET_XMIT_DROP`.
    pub(crate) queue_full: bool,
    /// There is no route: what is to be sent fails (`-EHOSTUNREACH` of `ip_queue_xmit`), and stays where it is.
    pub(crate) no_route: bool,
    /// What the way takes now; a connection learns of it with its next look at the route.
    pub(crate) way_mtu: u32,
    /// State changes of this step, for records.
    pub(crate) transitions: &'a mut Vec<(State, State)>,
}

impl Cx<'_> {
    /// Adds one to a counter.
    pub(crate) fn count(&mut self, counter: Counter) {
        self.mib.inc(counter);
    }

    /// Ticks a second: the wheel's, or 1000 when timers are ideal.
    pub(crate) fn hz(&self) -> u32 {
        match self.granularity {
            Granularity::Ideal => 1000,
            Granularity::Wheel { hz } => hz,
        }
    }

    /// A duration as the kernel keeps it: whole ticks, rounded up (`usecs_to_jiffies`); exact when ideal.
    pub(crate) fn ticks(&self, d: Duration) -> Duration {
        match self.granularity {
            Granularity::Ideal => d,
            Granularity::Wheel { .. } => {
                let tick = self.granularity.tick();
                let n = d.as_nanos().div_ceil(tick.as_nanos());
                tick * u32::try_from(n).unwrap_or(u32::MAX)
            }
        }
    }

    /// `TCP_TIMEOUT_MIN`: two ticks, of a kernel with 1000 a second when timers are ideal.
    pub(crate) fn timeout_min(&self) -> Duration {
        Duration::from_secs(2) / self.hz()
    }

    /// The timestamp clock without the connection's offset: milliseconds (`tcp_clock_ms`), wrapping.
    pub(crate) fn clock_ms(&self) -> u32 {
        clock_ms(self.now)
    }

    /// Whole seconds, for `ts_recent_stamp`; never 0, which means "none".
    pub(crate) fn clock_s(&self) -> u32 {
        clock_s(self.now)
    }
}

/// Milliseconds since the epoch, wrapping as a 32-bit timestamp does.
pub(crate) fn clock_ms(at: Instant) -> u32 {
    (at.as_nanos() / 1_000_000) as u32 // wraps as on the wire
}

/// Whole seconds since the epoch, from 1.
pub(crate) fn clock_s(at: Instant) -> u32 {
    (at.as_nanos() / 1_000_000_000) as u32 + 1 // wraps after 136 years
}

/// Microseconds from `earlier` to `later`, saturating.
pub(crate) fn delta_us(later: Instant, earlier: Instant) -> u32 {
    u32::try_from(later.as_nanos().saturating_sub(earlier.as_nanos()) / 1_000).unwrap_or(u32::MAX)
}

/// Why the rest of a list of checks is not run: the segment ends here.
pub(crate) type Step = core::ops::ControlFlow<DropReason>;
