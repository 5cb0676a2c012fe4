//! When timers fire: the queue of a host's pending timers, and Linux's timer-wheel rounding.
//!
//! Linux: kernel/time/timer.c, `calc_wheel_index` and `calc_index`. A timer armed for `expires`
//! jiffies fires at the first tick at or after it; beyond 63 ticks it is rounded up to a bucket whose
//! width grows by 8 for each level (TRUTH.md §0).

use core::time::Duration;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

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

/// A place in a queue: when, the order of arming, whose.
type Entry = (Instant, u64, TimerId);

/// Below so many entries in the heap a new one joins them: most hosts have few timers.
const FEW: usize = 16;
/// Lanes at most.
const LANES: usize = 6;

/// Pending timers of one host, earliest first; equal times fire in the order in which they were armed.
///
/// Nearly all timers of a busy host are armed for one of a few delays (60 s of TIME_WAIT, 1 s of a SYN, 40 ms of a
/// delayed ACK), so that each delay's come due in the order of arming. Entries therefore stand in a few *lanes*, each
/// sorted, where both ends are all that is ever touched; what fits no lane stands in a heap. Cancelling leaves the entry
/// behind; it is skipped when it comes up.
#[derive(Clone, Debug)]
pub struct TimerQueue<K> {
    heap: BinaryHeap<Reverse<Entry>>,
    lanes: Vec<VecDeque<Entry>>,
    /// The earliest live entry and where it stands: a lane, or the heap for [`LANES`].
    first: Option<(Entry, usize)>,
    slots: Vec<Slot<K>>,
    free: Vec<u32>,
    armed: u64,
}

impl<K> Default for TimerQueue<K> {
    fn default() -> Self {
        TimerQueue {
            heap: BinaryHeap::new(),
            lanes: Vec::new(),
            first: None,
            slots: Vec::new(),
            free: Vec::new(),
            armed: 0,
        }
    }
}

impl<K> TimerQueue<K> {
    /// Arms a timer that hands back `key` at `at`.
    pub fn arm(&mut self, at: Instant, key: K) -> TimerId {
        let id = match self.free.pop() {
            Some(slot) => {
                let entry = &mut self.slots[slot as usize];
                entry.key = Some(key);
                TimerId { slot, generation: entry.generation }
            }
            None => {
                crate::socket::slab::grow_by_one(&mut self.slots);
                self.slots.push(Slot { generation: 0, key: Some(key) });
                let slot = u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 timers");
                TimerId { slot, generation: 0 }
            }
        };
        self.armed += 1;
        let entry = (at, self.armed, id);
        let place = self.enqueue(entry);
        if self.first.is_none_or(|((first, ..), _)| at < first) {
            self.first = Some((entry, place));
        }
        id
    }

    /// Puts an entry, the newest, where it belongs; says where that is.
    fn enqueue(&mut self, entry: Entry) -> usize {
        if !self.lanes.is_empty() || self.heap.len() >= FEW {
            for (number, lane) in self.lanes.iter_mut().enumerate() {
                if lane.back().is_none_or(|(last, ..)| *last <= entry.0) {
                    lane.push_back(entry);
                    return number;
                }
            }
            if self.lanes.len() < LANES {
                self.lanes.push(VecDeque::from([entry]));
                return self.lanes.len() - 1;
            }
        }
        if self.heap.len() < FEW / 2 {
            self.heap.reserve_exact(1); // as many hosts have a few timers and never more
        }
        self.heap.push(Reverse(entry));
        LANES
    }

    /// Disarms; `None` when the timer has fired or was cancelled before.
    pub fn cancel(&mut self, id: TimerId) -> Option<K> {
        let key = self.release(id)?;
        if self.first.is_some_and(|((.., first), _)| first == id) {
            self.find_first();
        }
        self.compact();
        Some(key)
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

    /// Entries, stale ones included.
    fn queued(&self) -> usize {
        self.heap.len() + self.lanes.iter().map(VecDeque::len).sum::<usize>()
    }

    /// Throws stale entries away once they are many times the timers: one that is armed far ahead and moved with
    /// every packet would leave an entry each time.
    fn compact(&mut self) {
        const SPARED: usize = 64;
        const TIMES: usize = 4;
        if self.queued() > SPARED + TIMES * self.len() {
            let slots = &self.slots;
            let is_live = |(.., id): &Entry| slots[id.slot as usize].generation == id.generation;
            self.heap.retain(|Reverse(entry)| is_live(entry));
            for lane in &mut self.lanes {
                lane.retain(is_live);
            }
        }
    }

    /// When the earliest timer is due.
    #[inline]
    pub fn next(&self) -> Option<Instant> {
        self.first.map(|((at, ..), _)| at)
    }

    /// Takes the earliest timer that is due at `now`, with the time it was due.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, K)> {
        let ((at, _, id), _) = self.first.filter(|((at, ..), _)| *at <= now)?;
        let key = self.release(id).expect("the first entry is live");
        self.find_first();
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

    /// The first entry is gone: drops stale ones at the front of every lane and of the heap, and looks for the next.
    fn find_first(&mut self) {
        let slots = &self.slots;
        let is_live = |(.., id): &Entry| slots[id.slot as usize].generation == id.generation;
        let mut first: Option<(Entry, usize)> = None;
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            while let Some(entry) = lane.front() {
                if is_live(entry) {
                    if first.is_none_or(|((at, armed, _), _)| (entry.0, entry.1) < (at, armed)) {
                        first = Some((*entry, number));
                    }
                    break;
                }
                lane.pop_front();
            }
        }
        while let Some(Reverse(entry)) = self.heap.peek() {
            if is_live(entry) {
                if first.is_none_or(|((at, armed, _), _)| (entry.0, entry.1) < (at, armed)) {
                    first = Some((*entry, LANES));
                }
                break;
            }
            self.heap.pop();
        }
        self.first = first;
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
            assert!(q.queued() <= 64 + 4 * 2 + 1, "{} entries for 2 timers", q.queued());
        }
        assert_eq!(q.len(), 2);
        assert_eq!(q.cancel(soon), Some(0));
        assert_eq!(q.next(), Some(Instant::from_secs(7200 + 9_999)));
    }

    /// Lanes and heap against a plain list, with many equal times, cancellations and a few usual delays.
    #[test]
    fn the_queue_agrees_with_a_naive_model() {
        let mut rng = crate::rng::Rng::new(5, "timer model");
        let mut q = TimerQueue::default();
        let mut model: Vec<(Instant, u64, TimerId)> = Vec::new();
        let mut now = Instant::ZERO;
        for n in 0..30_000u64 {
            match rng.below(8) {
                0..4 => {
                    let delay = match rng.below(4) {
                        0 => 60_000,
                        1 => 200,
                        2 => 1_000,
                        _ => rng.below(5_000),
                    };
                    let at = now + Duration::from_millis(delay);
                    model.push((at, n, q.arm(at, n)));
                }
                4 | 5 if !model.is_empty() => {
                    let (_, key, id) = model.remove(rng.below(model.len() as u64) as usize);
                    assert_eq!(q.cancel(id), Some(key));
                    assert_eq!(q.cancel(id), None);
                }
                _ => {
                    now += Duration::from_millis(rng.below(100));
                    model.sort_by_key(|(at, key, _)| (*at, *key));
                    while let Some((at, key)) = q.pop_due(now) {
                        let (due, first, _) = model.remove(0);
                        assert_eq!((at, key), (due, first));
                    }
                    assert!(model.first().is_none_or(|(at, ..)| *at > now));
                }
            }
            assert_eq!(q.len(), model.len());
            assert_eq!(q.next(), model.iter().map(|(at, ..)| *at).min());
        }
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
