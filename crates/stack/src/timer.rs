//! When timers fire: the queue of a host's pending timers, and Linux's timer-wheel rounding.
//!
//! Linux: kernel/time/timer.c, `calc_wheel_index` and `calc_index`. A timer armed for `expires`
//! jiffies fires at the first tick at or after it; beyond 63 ticks it is rounded up to a bucket whose
//! width grows by 8 for each level (TRUTH.md §0).

use core::time::Duration;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use wire::Instant;

/// How exactly a host's timers fire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Granularity {
    /// At the nominal time, to the nanosecond.
    #[default]
    Ideal,
    /// As a kernel built with this `CONFIG_HZ` fires them: on a tick, rounded up to a wheel bucket.
    Wheel {
        /// Ticks a second: 100, 250, 300 or 1000.
        hz: u32,
    },
}

/// `LVL_BITS`: buckets a level, as a power of two.
const LVL_BITS: u32 = 6;
/// `LVL_CLK_SHIFT`: each level is this much coarser than the one below, as a power of two.
const LVL_CLK_SHIFT: u32 = 3;
/// `LVL_DEPTH` for `HZ > 100`; one level more than needed at 100 does no harm.
const LVL_DEPTH: u32 = 9;

impl Granularity {
    /// The length of one tick; one nanosecond when ideal.
    pub fn tick(self) -> Duration {
        match self {
            Granularity::Ideal => Duration::from_nanos(1),
            Granularity::Wheel { hz } => Duration::from_nanos(1_000_000_000 / u64::from(hz)),
        }
    }

    /// When a timer armed at `now` to run after `delay` fires. Never before `now + delay`.
    ///
    /// Linux: `expires = jiffies + delay`, then rounded up as `calc_wheel_index()` does. `jiffies` is
    /// the tick count at `now`, rounded down; a delay is rounded up to ticks as `msecs_to_jiffies()`.
    pub fn fire_at(self, now: Instant, delay: Duration) -> Instant {
        let Granularity::Wheel { .. } = self else { return now + delay };
        let tick = u64::try_from(self.tick().as_nanos()).expect("a tick is at most 10 ms");
        let jiffies = now.as_nanos() / tick;
        let delay_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let ticks = delay_ns.div_ceil(tick);
        let expires = jiffies.saturating_add(ticks);
        Instant::from_nanos(bucket(jiffies, expires).saturating_mul(tick))
    }
}

/// The tick at which the wheel, standing at `clk`, runs a timer that expires at `expires`.
fn bucket(clk: u64, expires: u64) -> u64 {
    let delta = expires.saturating_sub(clk);
    for level in 0..LVL_DEPTH {
        // LVL_START(n + 1) - 1: the largest distance that level n takes.
        let limit = ((1u64 << LVL_BITS) - 1) << (level * LVL_CLK_SHIFT);
        if delta < limit || level == LVL_DEPTH - 1 {
            let shift = level * LVL_CLK_SHIFT;
            let granularity = 1u64 << shift;
            // One bucket up at every level: a timer armed late in a tick must not fire early.
            return ((expires + granularity) >> shift) << shift;
        }
    }
    expires
}

/// Names one armed timer; stale ids are harmless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId {
    slot: u32,
    generation: u32,
}

#[derive(Clone, Debug)]
struct Slot<K> {
    generation: u32,
    key: Option<K>,
}

/// Pending timers of one host, earliest first; equal times fire in the order in which they were armed.
///
/// Cancelling is O(1): the heap entry stays behind and is skipped when it comes up.
#[derive(Clone, Debug)]
pub struct TimerQueue<K> {
    heap: BinaryHeap<Reverse<(Instant, u64, TimerId)>>,
    slots: Vec<Slot<K>>,
    free: Vec<u32>,
    armed: u64,
}

impl<K> Default for TimerQueue<K> {
    fn default() -> Self {
        TimerQueue { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), armed: 0 }
    }
}

impl<K> TimerQueue<K> {
    /// Arms a timer that hands back `key` at `at`.
    pub fn arm(&mut self, at: Instant, key: K) -> TimerId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, key: None });
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 timers")
        });
        let entry = &mut self.slots[slot as usize];
        entry.key = Some(key);
        let id = TimerId { slot, generation: entry.generation };
        self.armed += 1;
        self.heap.push(Reverse((at, self.armed, id)));
        id
    }

    /// Disarms; `None` when the timer has fired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<K> {
        let key = self.release(id);
        self.skip_stale();
        self.compact();
        key
    }

    /// Where an armed timer stands: half of its id, enough for an owner that forgets it when it fires.
    pub(crate) fn slot(id: TimerId) -> u32 {
        id.slot
    }

    /// Disarms the timer that is armed in this slot.
    pub(crate) fn cancel_slot(&mut self, slot: u32) -> Option<K> {
        let generation = self.slots[slot as usize].generation;
        self.cancel(TimerId { slot, generation })
    }

    /// Throws stale entries away once they are many times the timers: one that is armed far ahead and moved with
    /// every packet would leave an entry each time.
    fn compact(&mut self) {
        const FEW: usize = 64;
        const TIMES: usize = 4;
        if self.heap.len() > FEW + TIMES * self.len() {
            let slots = &self.slots;
            self.heap.retain(|Reverse((_, _, id))| slots[id.slot as usize].generation == id.generation);
        }
    }

    /// When the earliest timer is due.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Takes the earliest timer that is due at `now`, with the time it was due.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, K)> {
        let Reverse((at, _, id)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        let key = self.release(id).expect("stale entries never stay on top");
        self.skip_stale();
        Some((at, key))
    }

    /// How many timers are armed.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// No timer is armed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn release(&mut self, id: TimerId) -> Option<K> {
        let slot = &mut self.slots[id.slot as usize];
        if slot.generation != id.generation {
            return None;
        }
        let key = slot.key.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        Some(key)
    }

    /// Keeps the top of the heap alive, so that `next` needs no search.
    fn skip_stale(&mut self) {
        while let Some(Reverse((_, _, id))) = self.heap.peek() {
            if self.slots[id.slot as usize].generation == id.generation {
                break;
            }
            self.heap.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_times_fire_in_the_order_of_arming_and_cancelled_ones_never() {
        let mut q = TimerQueue::default();
        let t = Instant::from_secs(1);
        q.arm(t, "a");
        let b = q.arm(t, "b");
        q.arm(t, "c");
        assert_eq!(q.cancel(b), Some("b"));
        assert_eq!(q.cancel(b), None);
        assert_eq!(q.pop_due(Instant::from_millis(999)), None);
        assert_eq!(q.pop_due(t), Some((t, "a")));
        assert_eq!(q.pop_due(t), Some((t, "c")));
        assert!(q.is_empty() && q.next().is_none());
    }

    #[test]
    fn a_timer_that_is_moved_for_ever_leaves_a_bounded_queue() {
        let mut q = TimerQueue::default();
        let soon = q.arm(Instant::from_secs(1), 0);
        let mut far = q.arm(Instant::from_secs(7200), 1);
        for i in 2..10_000 {
            assert!(q.cancel(far).is_some());
            far = q.arm(Instant::from_secs(7200 + i), i);
            assert!(q.heap.len() <= 64 + 4 * 2 + 1, "{} entries for 2 timers", q.heap.len());
        }
        assert_eq!(q.len(), 2);
        assert_eq!(q.cancel(soon), Some(0));
        assert_eq!(q.next(), Some(Instant::from_secs(7200 + 9_999)));
    }

    /// TRUTH.md §0: HZ=250 steps are 4, 32, 256, 2048 ms.
    #[test]
    fn wheel_never_fires_early_and_late_by_at_most_one_bucket() {
        let g = Granularity::Wheel { hz: 250 };
        for (delay_ms, late_ms) in [(200, 8), (1_000, 36), (4_000, 260), (60_000, 2_052), (120_000, 2_052)] {
            for phase in 0..300 {
                let now = Instant::from_nanos(7_000_000_000 + phase * 13_777_777);
                let at = g.fire_at(now, Duration::from_millis(delay_ms));
                assert!(at > now + Duration::from_millis(delay_ms), "{delay_ms} ms from {now} fired at {at}");
                assert!(at - now <= Duration::from_millis(delay_ms + late_ms), "{delay_ms} from {now}: {at}");
            }
        }
    }

    #[test]
    fn ideal_is_exact() {
        let now = Instant::from_nanos(123);
        assert_eq!(Granularity::Ideal.fire_at(now, Duration::from_nanos(7)), Instant::from_nanos(130));
    }
}
