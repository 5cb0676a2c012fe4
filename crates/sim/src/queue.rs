//! What happens next: a four-way heap of small entries, ordered by time and then by serial number.
//!
//! Links keep their packets themselves and enter only the first of them here, hosts only their earliest
//! timer; so the heap stays small and an entry is 24 bytes.

use wire::Instant;

/// When an event happens, and its place among those of the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) at: Instant,
    pub(crate) serial: u64,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The first packet of a link direction arrives.
    Arrival(u32),
    /// A host's earliest timer.
    Timer(u32),
    /// A program starts, wakes or gives up waiting.
    Program(u32),
    /// The next entry of a link's up/down schedule, or the end of a cut.
    Link(u32),
    /// A held packet is released.
    Release(u32),
}

impl Key {
    /// As one number: compared without a branch, which nobody could predict.
    #[inline]
    fn order(self) -> u128 {
        u128::from(self.at.as_nanos()) << 64 | u128::from(self.serial)
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    due: Due,
}

/// Children of a node: four make the heap half as deep as two, and they share a cache line or two.
const WAYS: usize = 4;

/// The event queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    heap: Vec<Entry>,
    serial: u64,
}

impl Queue {
    /// The place in line of an event at `at` that is decided on now.
    #[inline]
    pub(crate) fn key(&mut self, at: Instant) -> Key {
        self.serial += 1;
        Key { at, serial: self.serial }
    }

    /// Enters an event with a key from [`Queue::key`].
    #[inline]
    pub(crate) fn push(&mut self, key: Key, due: Due) {
        let at = self.heap.len();
        self.heap.push(Entry { key, due });
        self.sift_up(at);
    }

    /// Enters an event behind all others of the same time.
    pub(crate) fn push_at(&mut self, at: Instant, due: Due) {
        let key = self.key(at);
        self.push(key, due);
    }

    /// The next event.
    #[inline]
    pub(crate) fn peek(&self) -> Option<(Key, Due)> {
        self.heap.first().map(|e| (e.key, e.due))
    }

    /// Removes the next event.
    pub(crate) fn pop(&mut self) {
        let last = self.heap.pop().expect("pop follows peek");
        if let Some(first) = self.heap.first_mut() {
            *first = last;
            self.sift_down();
        }
    }

    /// Puts another event in the place of the next one: half the work of a pop and a push.
    #[inline]
    pub(crate) fn replace(&mut self, key: Key, due: Due) {
        self.heap[0] = Entry { key, due };
        self.sift_down();
    }

    /// How many events wait, stale ones included.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    fn sift_up(&mut self, mut at: usize) {
        let entry = self.heap[at];
        while at > 0 {
            let parent = (at - 1) / WAYS;
            if self.heap[parent].key.order() <= entry.key.order() {
                break;
            }
            self.heap[at] = self.heap[parent];
            at = parent;
        }
        self.heap[at] = entry;
    }

    fn sift_down(&mut self) {
        let heap = self.heap.as_mut_slice();
        let entry = heap[0];
        let order = entry.key.order();
        let mut at = 0;
        loop {
            let first = at * WAYS + 1;
            let Some(children) = heap.get(first..) else { break };
            let (least, best) = match children.first_chunk::<WAYS>() {
                Some(four) => least_of_four(four),
                None => {
                    let few = children.iter().enumerate().map(|(n, child)| (n, child.key.order()));
                    let Some(least) = few.min_by_key(|(_, order)| *order) else { break };
                    least
                }
            };
            if order <= best {
                break;
            }
            heap[at] = heap[first + least];
            at = first + least;
        }
        heap[at] = entry;
    }
}

/// The earliest of a node's children: two matches and a final, none of which branches.
#[inline]
fn least_of_four(children: &[Entry; WAYS]) -> (usize, u128) {
    let [a, b, c, d] = children.each_ref().map(|child| child.key.order());
    let (left, low) = if b < a { (1, b) } else { (0, a) };
    let (right, high) = if d < c { (3, d) } else { (2, c) };
    if high < low { (right, high) } else { (left, low) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stack::rng::Rng;

    #[test]
    fn events_come_out_by_time_and_then_in_the_order_of_their_keys() {
        let mut rng = Rng::new(1, "queue");
        let mut queue = Queue::default();
        let mut model = std::collections::BTreeMap::new();
        for i in 0..5_000 {
            let key = queue.key(Instant::from_nanos(rng.below(50)));
            queue.push(key, Due::Timer(i));
            model.insert(key, i);
            match rng.below(4) {
                0 => {
                    let (key, due) = queue.peek().expect("just pushed");
                    queue.pop();
                    assert_eq!(model.pop_first().map(|(k, i)| (k, Due::Timer(i))), Some((key, due)));
                }
                1 => {
                    let (old, _) = queue.peek().expect("just pushed");
                    let key = queue.key(Instant::from_nanos(rng.below(50)));
                    queue.replace(key, Due::Timer(i));
                    model.remove(&old);
                    model.insert(key, i);
                }
                _ => {}
            }
        }
        while let Some((key, _)) = queue.peek() {
            assert_eq!(model.pop_first().map(|(k, _)| k), Some(key));
            queue.pop();
        }
        assert!(model.is_empty());
    }
}
