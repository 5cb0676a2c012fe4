//! The scoreboard: which packets the peer says it has (RFC 2018, RFC 6675), and D-SACK (RFC 2883).
//!
//! Linux: tcp_input.c `tcp_sacktag_write_queue`, `tcp_sacktag_one`, `tcp_check_dsack`, `tcp_match_skb_to_sack`.

use wire::tcp::{SackBlock, SeqNum};

use super::ack::{AckFlags, SackState};
use super::cc::CaState;
use super::cx::Cx;
use super::input::Segment;
use super::tcb::Tcb;
use crate::mib::Counter;

/// Blocks of one ACK.
const MAX_BLOCKS: usize = 4;

/// What a walk through the queue knows of D-SACKs.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    /// The block that is walked is one.
    dup: bool,
    /// The next block is one.
    next_dup: Option<(SeqNum, SeqNum)>,
    /// Something of that was met.
    met: bool,
}

impl Tcb {
    pub(crate) fn sacktag_write_queue(
        &mut self,
        cx: &mut Cx<'_>,
        seg: &Segment,
        prior_snd_una: SeqNum,
        flags: &mut AckFlags,
        state: &mut SackState,
    ) {
        let sack = seg.header.options.sack();
        let raw = sack.as_slice();
        if self.recovery.sacked_out == 0 {
            self.recovery.highest_sack = self.snd.una;
        }
        let found_dup = self.check_dsack(cx, seg, raw, prior_snd_una, flags, state);
        // Too old to say anything about what is in flight.
        if seg.ack.before(SeqNum(prior_snd_una.0.wrapping_sub(self.snd.max_window)))
            || self.recovery.packets_out == 0
        {
            return;
        }
        let mut blocks: [(SackBlock, bool); MAX_BLOCKS] = [(SackBlock::default(), false); MAX_BLOCKS];
        let mut used = 0;
        for (i, block) in raw.iter().enumerate() {
            let dup = found_dup && i == 0;
            if !self.sack_block_valid(dup, block) {
                self.count_bad_block(cx, seg, dup, block);
            } else if block.right.after(prior_snd_una) {
                blocks[used] = (*block, dup);
                used += 1;
            }
        }
        let blocks = &mut blocks[..used];
        // In sequence order, so that one walk serves all.
        let una = self.snd.una;
        blocks.sort_by_key(|(b, _)| b.left.minus(una));
        let mut cache =
            core::mem::replace(&mut self.recovery.sack_cache, [(SeqNum(0), SeqNum(0)); MAX_BLOCKS]);
        if self.recovery.sacked_out == 0 {
            cache = Default::default(); // nothing is SACKed (any more: the peer reneged)
        }
        for (slot, (block, _)) in self.recovery.sack_cache.iter_mut().zip(blocks.iter()) {
            *slot = (block.left, block.right);
        }
        // A D-SACK inside the block before it is seen in that block's walk (`next_dup`), where it has not been walked before.
        let mut met = false;
        for (i, (block, dup)) in blocks.iter().enumerate() {
            if !*dup {
                let next_dup = blocks.get(i + 1).filter(|(_, dup)| *dup).map(|(b, _)| (b.left, b.right));
                let mut walk = Walk { next_dup, ..Walk::default() };
                self.sacktag_new_part(cx, block, &cache, &mut walk, flags, state);
                met |= walk.met;
            } else if !met {
                let mut walk = Walk { dup: true, ..Walk::default() };
                self.sacktag_walk(cx, block.left, (block.left, block.right), &mut walk, flags, state);
            }
        }
        if self.recovery.ca_state != CaState::Loss || self.recovery.undo_marker.is_some() {
            self.check_sack_reordering(cx, state.reord, false);
        }
    }

    /// Walks only what the previous ACK's blocks did not cover already. An entry that one of them ended in is looked at with
    /// the whole block: it may be covered now.
    fn sacktag_new_part(
        &mut self,
        cx: &mut Cx<'_>,
        block: &SackBlock,
        cache: &[(SeqNum, SeqNum); MAX_BLOCKS],
        walk: &mut Walk,
        flags: &mut AckFlags,
        state: &mut SackState,
    ) {
        let mut from = block.left;
        for (left, right) in cache.iter().filter(|(l, r)| l != r) {
            if !from.before(block.right) {
                return;
            }
            if !right.after(from) || !left.before(block.right) {
                continue;
            }
            if from.before(*left) {
                self.sacktag_walk(cx, from, (block.left, *left), walk, flags, state);
            }
            from = from.latest(*right);
        }
        if from.before(block.right) {
            self.sacktag_walk(cx, from, (block.left, block.right), walk, flags, state);
        }
    }

    fn sacktag_walk(
        &mut self,
        cx: &mut Cx<'_>,
        from: SeqNum,
        (left, right): (SeqNum, SeqNum),
        walk: &mut Walk,
        flags: &mut AckFlags,
        state: &mut SackState,
    ) {
        let mut index = self.rtx.index_of(from);
        while let Some(skb) = self.rtx.at(index) {
            if !skb.seq.before(right) {
                break;
            }
            let again = walk.next_dup.filter(|(_, end)| skb.seq.before(*end));
            if again.is_some_and(|(l, r)| self.match_to_block(index, l, r)) {
                walk.met = true;
                self.sacktag_one(cx, index, true, flags, state);
            } else if self.match_to_block(index, left, right) {
                self.sacktag_one(cx, index, walk.dup, flags, state);
            }
            index += 1;
        }
    }

    /// `tcp_match_skb_to_sack`: whether the entry lies in the block; a super-segment is cut at its edge first.
    fn match_to_block(&mut self, index: usize, left: SeqNum, right: SeqNum) -> bool {
        let skb = *self.rtx.at(index).expect("the caller looked at it");
        let inside = !left.after(skb.seq) && !right.before(skb.end_seq);
        if inside || skb.pcount <= 1 || !skb.end_seq.after(left) {
            return inside;
        }
        let mss = u32::from(skb.mss);
        let starts_inside = !left.after(skb.seq);
        let mut cut = if starts_inside { right - skb.seq } else { left - skb.seq } as u32; // inside the entry
        if starts_inside {
            if cut < mss {
                return false;
            }
        } else {
            cut = cut.max(mss);
        }
        if cut > mss {
            // SACKs cover whole segments.
            let floor = cut / mss * mss;
            cut = if !starts_inside && floor < cut { floor + mss } else { floor };
        }
        if cut >= skb.len() {
            return false;
        }
        self.fragment_rtx(index, cut, skb.mss);
        starts_inside
    }

    fn sacktag_one(
        &mut self,
        cx: &mut Cx<'_>,
        index: usize,
        dup: bool,
        flags: &mut AckFlags,
        state: &mut SackState,
    ) {
        let slot = self.rtx.slot_at(index).expect("the caller looked at it");
        let skb = *self.rtx.get(slot);
        let pcount = skb.pcount;
        let ever = skb.sacked.retrans || skb.sacked.ever_retrans;
        if dup && ever {
            self.count_undo(skb.end_seq, pcount);
            if skb.sacked.acked {
                state.reord = state.reord.earliest(skb.seq);
            }
        }
        if !skb.end_seq.after(self.snd.una) {
            return;
        }
        let highest = self.highest_sack_seq();
        let mut s = skb.sacked;
        if !s.acked {
            self.rack_advance(cx.now, ever, skb.end_seq, skb.sent);
            let r = &mut self.recovery;
            if s.retrans {
                if s.lost {
                    s.lost = false;
                    s.retrans = false;
                    r.lost_out -= pcount;
                    r.retrans_out -= pcount;
                }
            } else {
                if !ever {
                    if skb.seq.before(highest) {
                        // It filled a hole without having been resent: reordering.
                        state.reord = state.reord.earliest(skb.seq);
                    }
                    if !skb.end_seq.after(r.high_seq) {
                        flags.orig_sack_acked = true;
                    }
                    state.first_sackt = state.first_sackt.or(Some(skb.sent));
                    state.last_sackt = Some(skb.sent);
                }
                if s.lost {
                    s.lost = false;
                    r.lost_out -= pcount;
                }
            }
            s.acked = true;
            flags.data_sacked = true;
            r.sacked_out += pcount;
            state.sack_delivered += pcount;
        }
        if dup && s.retrans {
            s.retrans = false;
            self.recovery.retrans_out -= pcount;
        }
        self.rtx.get_mut(slot).sacked = s;
        if !skb.sacked.acked && (dup || !skb.sacked.retrans || skb.sacked.lost) {
            self.join_sacked(index);
        }
        let skb = *self.rtx.get(slot);
        self.rate_delivered(&skb, &mut state.rate);
        if s.acked {
            self.rtx.get_mut(slot).tx.delivered_mstamp = None;
            self.rtx.unlink(slot);
        }
        if !skb.seq.before(highest) {
            self.recovery.highest_sack = skb.end_seq;
        }
    }

    /// `tcp_shift_skb_data`: a SACKed entry and its SACKed neighbours, of segments of one size, take one `sk_buff`.
    fn join_sacked(&mut self, index: usize) {
        let only = |s: &super::skb::Skb| s.sacked.acked && !s.sacked.retrans && !s.sacked.lost;
        let Some(skb) = self.rtx.at(index).copied().filter(only) else { return };
        let before = index.checked_sub(1).and_then(|i| self.rtx.at(i)).copied();
        let pinned = |s: &super::skb::Skb| self.notes.as_ref().is_some_and(|n| n.pins(s.seq));
        let fits = |a: &super::skb::Skb, b: &super::skb::Skb| {
            only(a) && only(b) && a.segment_len() == b.segment_len() && !a.eor && !pinned(a) && !pinned(b)
        };
        if !before.is_some_and(|prev| fits(&prev, &skb)) {
            return;
        }
        let next = self.rtx.at(index + 1).is_some_and(|next| fits(&skb, next));
        self.rtx.join(index);
        if next {
            self.rtx.join(index + 1);
        }
    }

    /// A D-SACK proves a retransmission needless.
    fn count_undo(&mut self, end_seq: SeqNum, packets: u32) {
        let r = &mut self.recovery;
        if r.undo_retrans > 0 && r.undo_marker.is_some_and(|m| end_seq.after(m)) {
            r.undo_retrans = (r.undo_retrans - i32::try_from(packets).unwrap_or(i32::MAX)).max(0);
        }
    }

    fn check_dsack(
        &mut self,
        cx: &mut Cx<'_>,
        seg: &Segment,
        blocks: &[SackBlock],
        prior_snd_una: SeqNum,
        flags: &mut AckFlags,
        state: &mut SackState,
    ) -> bool {
        let Some(first) = blocks.first() else { return false };
        if first.left.before(seg.ack) {
            cx.count(Counter::TcpExtTCPDSACKRecv);
        } else if blocks.get(1).is_some_and(|b| !first.right.after(b.right) && !first.left.before(b.left)) {
            cx.count(Counter::TcpExtTCPDSACKOfoRecv);
        } else {
            return false;
        }
        let segments = self.dsack_seen(first, flags, state);
        if segments == 0 {
            cx.count(Counter::TcpExtTCPDSACKIgnoredDubious);
            return false;
        }
        cx.mib.add(Counter::TcpExtTCPDSACKRecvSegs, u64::from(segments));
        if !first.right.after(prior_snd_una) {
            self.count_undo(first.right, segments);
        }
        true
    }

    /// `tcp_dsack_seen`: how many segments it reports; 0 when it cannot be true.
    fn dsack_seen(&mut self, block: &SackBlock, flags: &mut AckFlags, state: &mut SackState) -> u32 {
        if !block.left.before(block.right) {
            return 0;
        }
        let len = (block.right - block.left) as u32; // positive
        if len > self.snd.max_window {
            return 0;
        }
        let mut segments = 1;
        if len > u32::from(self.mss) {
            segments = len.div_ceil(u32::from(self.mss));
        } else if self.recovery.tlp.high_seq == Some(block.right) {
            flags.dsack_tlp = true;
        }
        self.totals.dsack_dups += segments;
        if self.totals.dsack_dups > self.totals.total_retrans {
            return 0; // more than we ever resent
        }
        if self.recovery.reord_seen > 0 && !flags.dsack_tlp {
            self.recovery.rack.dsack_seen = true;
        }
        flags.dsacking_ack = true;
        state.sack_delivered += segments;
        segments
    }

    /// `tcp_is_sackblock_valid`
    fn sack_block_valid(&self, dup: bool, block: &SackBlock) -> bool {
        let (start, end) = (block.left, block.right);
        if end.after(self.snd.nxt) || !start.before(end) || !start.before(self.snd.nxt) {
            return false;
        }
        if start.after(self.snd.una) {
            return true;
        }
        let Some(marker) = self.recovery.undo_marker.filter(|_| dup) else { return false };
        if end.after(self.snd.una) {
            return false;
        }
        if !start.before(marker) {
            return true;
        }
        end.after(marker) && !start.before(SeqNum(end.0.wrapping_sub(self.snd.max_window)))
    }

    fn count_bad_block(&self, cx: &mut Cx<'_>, seg: &Segment, dup: bool, block: &SackBlock) {
        if dup {
            let counter = if self.recovery.undo_marker.is_none() {
                Counter::TcpExtTCPDSACKIgnoredNoUndo
            } else {
                Counter::TcpExtTCPDSACKIgnoredOld
            };
            cx.count(counter);
        } else if seg.ack == self.snd.una || block.right.after(self.snd.una) {
            cx.count(Counter::TcpExtTCPSACKDiscard);
        }
    }

    /// `tcp_check_sack_reordering`: packets from `low` on arrived late; remember how far.
    pub(crate) fn check_sack_reordering(&mut self, cx: &mut Cx<'_>, low: SeqNum, by_timestamp: bool) {
        let highest = self.highest_sack_seq();
        if !low.before(highest) {
            return;
        }
        let metric = (highest - low) as u32; // positive
        let mss = u32::from(self.mss.max(1));
        if metric > self.recovery.reordering * mss {
            let most = u32::try_from(cx.sysctl.tcp_max_reordering).unwrap_or(300);
            self.recovery.reordering = metric.div_ceil(mss).min(most);
        }
        self.recovery.reord_seen += 1;
        cx.count(if by_timestamp { Counter::TcpExtTCPTSReorder } else { Counter::TcpExtTCPSACKReorder });
    }
}
