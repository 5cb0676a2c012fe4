//! The retransmission queue: what was sent and not acknowledged, in sequence order and in order of sending.
//!
//! Linux: `tcp_rtx_queue` (a tree by sequence number) and `tsorted_sent_queue` (a list by time, for RACK).

use std::collections::VecDeque;

use wire::tcp::SeqNum;

use super::skb::Skb;

/// Names an entry while it is in the queue.
pub(crate) type Slot = u32;

const NONE: Slot = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    skb: Skb,
    /// Neighbours in order of sending; `in_time` tells whether it is linked.
    prev: Slot,
    next: Slot,
    in_time: bool,
}

/// Entries in two orders.
#[derive(Debug)]
pub(crate) struct RtxQueue {
    nodes: Vec<Node>,
    free: Vec<Slot>,
    /// By sequence number, contiguous.
    order: VecDeque<Slot>,
    oldest: Slot,
    newest: Slot,
    /// Entries that are joined to the one before them.
    joined: usize,
}

impl Default for RtxQueue {
    fn default() -> Self {
        RtxQueue {
            nodes: Vec::new(),
            free: Vec::new(),
            order: VecDeque::new(),
            oldest: NONE,
            newest: NONE,
            joined: 0,
        }
    }
}

impl RtxQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Entries that there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.nodes.capacity()
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Entries that stand for no `sk_buff` of their own.
    pub(crate) fn joined(&self) -> usize {
        self.joined
    }

    /// The entry at `index` becomes a part of the one before it, for the memory's account.
    pub(crate) fn join(&mut self, index: usize) {
        if let Some(skb) = self.at_mut(index).filter(|s| !s.joined) {
            skb.joined = true;
            self.joined += 1;
        }
    }

    /// The entry at `index` stands for itself.
    fn part(&mut self, index: usize) {
        if let Some(skb) = self.at_mut(index).filter(|s| s.joined) {
            skb.joined = false;
            self.joined -= 1;
        }
    }

    pub(crate) fn get(&self, slot: Slot) -> &Skb {
        &self.nodes[slot as usize].skb
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut Skb {
        &mut self.nodes[slot as usize].skb
    }

    /// The slot at `index` in sequence order.
    pub(crate) fn slot_at(&self, index: usize) -> Option<Slot> {
        self.order.get(index).copied()
    }

    /// The entry at `index` in sequence order.
    pub(crate) fn at(&self, index: usize) -> Option<&Skb> {
        self.slot_at(index).map(|s| self.get(s))
    }

    pub(crate) fn at_mut(&mut self, index: usize) -> Option<&mut Skb> {
        let slot = self.slot_at(index)?;
        Some(self.get_mut(slot))
    }

    /// The first entry (`tcp_rtx_queue_head`).
    pub(crate) fn head(&self) -> Option<&Skb> {
        self.at(0)
    }

    /// The index of the first entry that ends after `seq`.
    pub(crate) fn index_of(&self, seq: SeqNum) -> usize {
        // Usually asked for a place near the front (cumulative ACKs) or anywhere (SACK): binary search.
        self.order.partition_point(|s| self.get(*s).end_seq.before_eq(seq))
    }

    /// Appends what was just sent for the first time.
    pub(crate) fn push_back(&mut self, skb: Skb) -> Slot {
        let slot = self.allocate(skb);
        self.order.push_back(slot);
        self.link_newest(slot);
        slot
    }

    /// Inserts the second half of an entry that was split, right behind it in both orders.
    pub(crate) fn insert_after(&mut self, index: usize, skb: Skb) -> Slot {
        let before = self.order[index];
        let slot = self.allocate(skb);
        self.order.insert(index + 1, slot);
        if self.nodes[before as usize].in_time {
            let next = self.nodes[before as usize].next;
            self.link_between(slot, before, next);
        }
        slot
    }

    /// Takes the first entry out.
    pub(crate) fn pop_front(&mut self) -> Option<Skb> {
        self.part(0);
        let slot = self.order.pop_front()?;
        self.part(0);
        Some(self.release(slot))
    }

    /// Takes the entry at `index` out.
    pub(crate) fn remove(&mut self, index: usize) -> Skb {
        self.part(index);
        let slot = self.order.remove(index).expect("the index is in the queue");
        self.part(index);
        self.release(slot)
    }

    fn allocate(&mut self, skb: Skb) -> Slot {
        let node = Node { skb, prev: NONE, next: NONE, in_time: false };
        if let Some(slot) = self.free.pop() {
            self.nodes[slot as usize] = node;
            slot
        } else {
            self.nodes.push(node);
            u32::try_from(self.nodes.len() - 1).expect("windows hold far fewer than 2^32 segments")
        }
    }

    fn release(&mut self, slot: Slot) -> Skb {
        self.unlink(slot);
        if self.order.is_empty() {
            // Give memory back when idle: an idle connection should be small.
            let skb = self.nodes[slot as usize].skb;
            self.free.clear();
            self.nodes.clear();
            if self.nodes.capacity() > 16 {
                self.nodes.shrink_to(0);
                self.free.shrink_to(0);
                self.order.shrink_to(0);
            }
            return skb;
        }
        self.free.push(slot);
        self.nodes[slot as usize].skb
    }

    // --- order of sending ------------------------------------------------------------------------

    /// The entry sent longest ago that is neither SACKed nor waiting to be resent.
    pub(crate) fn oldest_sent(&self) -> Option<Slot> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// The one sent next after `slot`.
    pub(crate) fn next_sent(&self, slot: Slot) -> Option<Slot> {
        let next = self.nodes[slot as usize].next;
        (next != NONE).then_some(next)
    }

    /// It was sent (again) just now.
    pub(crate) fn touch(&mut self, slot: Slot) {
        self.unlink(slot);
        self.link_newest(slot);
    }

    /// It no longer waits for an acknowledgment (SACKed, or marked lost).
    pub(crate) fn unlink(&mut self, slot: Slot) {
        let Node { prev, next, in_time, .. } = self.nodes[slot as usize];
        if !in_time {
            return;
        }
        if prev == NONE {
            self.oldest = next
        } else {
            self.nodes[prev as usize].next = next
        }
        if next == NONE {
            self.newest = prev
        } else {
            self.nodes[next as usize].prev = prev
        }
        let node = &mut self.nodes[slot as usize];
        node.in_time = false;
        node.prev = NONE;
        node.next = NONE;
    }

    fn link_newest(&mut self, slot: Slot) {
        self.link_between(slot, self.newest, NONE);
    }

    fn link_between(&mut self, slot: Slot, prev: Slot, next: Slot) {
        let node = &mut self.nodes[slot as usize];
        node.prev = prev;
        node.next = next;
        node.in_time = true;
        if prev == NONE {
            self.oldest = slot
        } else {
            self.nodes[prev as usize].next = slot
        }
        if next == NONE { self.newest = slot } else { self.nodes[next as usize].prev = slot }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn skb(seq: u32, len: u32) -> Skb {
        let mut skb = Skb::at(SeqNum(seq));
        skb.end_seq = SeqNum(seq.wrapping_add(len));
        skb.pcount = 1;
        skb
    }

    /// The queue against two plain vectors, thousands of random operations.
    #[test]
    fn both_orders_agree_with_a_naive_model() {
        let mut rng = Rng::new(7, "rtx model");
        let mut queue = RtxQueue::default();
        let (mut by_seq, mut by_time): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        let mut next = u32::MAX - 50_000;
        for _ in 0..20_000 {
            match rng.below(6) {
                0 | 1 => {
                    queue.push_back(skb(next, 10));
                    by_seq.push(next);
                    by_time.push(next);
                    next = next.wrapping_add(10);
                }
                2 if !by_seq.is_empty() => {
                    let first = queue.pop_front().expect("not empty").seq.0;
                    assert_eq!(first, by_seq.remove(0));
                    by_time.retain(|s| *s != first);
                }
                3 if !by_seq.is_empty() => {
                    let i = rng.below(by_seq.len() as u64) as usize;
                    queue.touch(queue.slot_at(i).expect("in range"));
                    by_time.retain(|s| *s != by_seq[i]);
                    by_time.push(by_seq[i]);
                }
                4 if !by_seq.is_empty() => {
                    let i = rng.below(by_seq.len() as u64) as usize;
                    queue.unlink(queue.slot_at(i).expect("in range"));
                    by_time.retain(|s| *s != by_seq[i]);
                }
                5 if !by_seq.is_empty() => {
                    let i = rng.below(by_seq.len() as u64) as usize;
                    assert_eq!(queue.index_of(SeqNum(by_seq[i].wrapping_add(3))), i);
                }
                _ => {}
            }
            let seen: Vec<u32> = (0..queue.len()).map(|i| queue.at(i).expect("in range").seq.0).collect();
            assert_eq!(seen, by_seq);
            let mut seen = Vec::new();
            let mut at = queue.oldest_sent();
            while let Some(slot) = at {
                seen.push(queue.get(slot).seq.0);
                at = queue.next_sent(slot);
            }
            assert_eq!(seen, by_time);
        }
    }
}
