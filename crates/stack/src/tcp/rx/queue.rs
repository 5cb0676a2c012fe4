//! The receive queue and reassembly. Linux: tcp_input.c `tcp_data_queue`, `tcp_data_queue_ofo`, `tcp_ofo_queue`,
//! `tcp_try_rmem_schedule`, `tcp_prune_queue`, `tcp_prune_ofo_queue`, `tcp_clamp_window`.

use wire::tcp::{SackBlock, SeqNum};

use super::super::cx::Cx;
use super::super::input::Segment;
use super::super::mem::MemKind;
use super::super::tcb::{State, Tcb};
use super::RxSegment;
use super::ackpolicy::MAX_QUICKACKS;
use crate::mib::Counter;
use crate::socket::SkbHead;
use crate::{DropReason, KernelProfile};

impl Tcb {
    /// `tcp_data_queue`: seventh check, the segment text (RFC 9293 §3.10.7.4).
    pub(crate) fn data_queue(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Result<(), DropReason> {
        if seg.seq == seg.end_seq {
            return Ok(());
        }
        self.rx.dsack = None;
        let window = self.receive_window();
        if seg.seq == self.rcv.nxt {
            let bare_fin = seg.len() == 0 && seg.header.flags.fin();
            if window == 0 && !bare_fin {
                cx.count(Counter::TcpExtTCPZeroWindowDrop);
                self.out_of_window(cx);
                return Err(DropReason::TcpZeroWindow);
            }
            return self.queue_in_order(cx, seg);
        }
        if !seg.end_seq.after(self.rcv.nxt) {
            cx.count(Counter::TcpExtDelayedACKLost);
            self.dsack_set(cx, seg.seq, seg.end_seq);
            self.out_of_window(cx);
            return Err(DropReason::TcpOldData);
        }
        if !seg.seq.before(self.rcv.nxt + window) {
            self.out_of_window(cx);
            return Err(DropReason::TcpOverwindow);
        }
        if seg.seq.before(self.rcv.nxt) {
            self.dsack_set(cx, seg.seq, self.rcv.nxt);
            if window == 0 {
                cx.count(Counter::TcpExtTCPZeroWindowDrop);
                self.out_of_window(cx);
                return Err(DropReason::TcpZeroWindow);
            }
            return self.queue_in_order(cx, seg);
        }
        self.queue_out_of_order(cx, seg)
    }

    fn out_of_window(&mut self, cx: &mut Cx<'_>) {
        self.enter_quickack_mode(cx, MAX_QUICKACKS);
        self.ack.scheduled = true;
    }

    fn queue_in_order(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Result<(), DropReason> {
        let size = seg.memory.truesize;
        let len = seg.len();
        let newest = cx.profile >= KernelProfile::V6_12;
        let must = !newest && self.rx.ready.is_empty();
        if !must && !self.room_for(cx, seg) {
            self.ack.scheduled = true;
            cx.wake.readable = true;
            if newest {
                // ICSK_ACK_NOMEM: the next ACK closes the window.
                self.ack.nomem = true;
                self.ack.now = true;
            }
            if !newest || (!self.rx.ready.is_empty() && len > 0) {
                cx.count(Counter::TcpExtTCPRcvQDrop);
                return Err(DropReason::ProtoMem);
            }
        }
        self.mem_force(cx, size);
        self.queue_rcv(cx, seg);
        if len > 0 {
            self.event_data_received(cx, len, seg);
        }
        if seg.header.flags.fin() {
            self.receive_fin(cx);
        }
        if !self.rx.out_of_order.is_empty() {
            self.take_from_out_of_order(cx);
            if self.rx.out_of_order.is_empty() {
                // RFC 5681 §4.2: the gap is filled, say so at once.
                self.ack.now = true;
            }
        }
        self.sacks_remove();
        cx.wake.readable = true;
        Ok(())
    }

    /// The body of `tcp_rcv_established`'s fast path: in order, in the window, and memory reserved.
    pub(crate) fn queue_predicted(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) {
        let len = seg.len();
        self.queue_rcv(cx, seg);
        self.event_data_received(cx, len, seg);
        self.sacks_remove();
    }

    /// `tcp_queue_rcv`; what overlaps with bytes that are there already stays in the entry and is skipped by reads.
    fn queue_rcv(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) {
        let entry = entry_of(seg);
        self.advance_rcv_nxt(seg.end_seq);
        self.push_ready(cx, entry, false);
    }

    /// `tcp_rcv_nxt_update`
    pub(crate) fn advance_rcv_nxt(&mut self, to: SeqNum) {
        let delta = u64::from((to - self.rcv.nxt) as u32); // forward
        self.totals.bytes_received += delta;
        self.rcv.nxt = to;
    }

    /// `tcp_data_queue_ofo`
    fn queue_out_of_order(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Result<(), DropReason> {
        self.ecn_check_ce(cx, seg);
        if !self.room_for(cx, seg) {
            cx.count(Counter::TcpExtTCPOFODrop);
            cx.wake.readable = true;
            return Err(DropReason::ProtoMem);
        }
        self.measure_rcv_mss(cx, seg);
        self.ack.scheduled = true;
        self.rx.ooo_packets += 1;
        cx.count(Counter::TcpExtTCPOFOQueue);
        let (seq, end_seq) = (seg.seq, seg.end_seq);
        let first = self.rx.out_of_order.is_empty();
        let done = self.insert_out_of_order(cx, seg);
        if self.opts.sack {
            if first {
                self.rx.sacks = core::iter::once(SackBlock { left: seq, right: end_seq }).collect();
            } else {
                self.sack_new(seq, end_seq);
            }
            if let Ok(joined) = done {
                // A packet of its own is charged only afterwards (`skb_set_owner_r`).
                let charged = if joined { 0 } else { seg.memory.truesize };
                self.rx.rmem -= charged;
                self.grow_window(cx, seg, joined);
                self.rx.rmem += charged;
            }
        }
        if cx.profile >= KernelProfile::V6_18 && !self.orphan {
            self.grow_rcvbuf(cx, self.rx.space);
        }
        done.map(|_| ())
    }

    /// Puts a segment where it belongs; `Ok(true)` when it was joined with the one before it.
    fn insert_out_of_order(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Result<bool, DropReason> {
        let (seq, end_seq) = (seg.seq, seg.end_seq);
        let mut entry = entry_of(seg);
        // Before the first entry that begins after it.
        let mut at = self.rx.out_of_order.partition_point(|e| e.seq.before_eq(seq));
        if let Some(index) = at.checked_sub(1) {
            let acked = self.rcv.wup;
            let before = &mut self.rx.out_of_order[index];
            let (before_seq, before_end) = (before.seq, before.end_seq);
            if !seq.before(before_end) {
                match before.try_join(entry, acked) {
                    Ok(delta) => {
                        self.rx.rmem += delta;
                        cx.count(Counter::TcpExtTCPRcvCoalesce);
                        return Ok(true);
                    }
                    Err(back) => entry = back,
                }
            } else if !end_seq.after(before_end) {
                // All of it is there already.
                cx.count(Counter::TcpExtTCPOFOMerge);
                self.dsack_set(cx, seq, end_seq);
                return Err(DropReason::TcpOfomerge);
            } else if seq.after(before_seq) {
                self.dsack_set(cx, seq, before_end);
            } else {
                // It covers the entry before: that one goes.
                self.dsack_extend(cx, before_seq, before_end);
                cx.count(Counter::TcpExtTCPOFOMerge);
                let gone = self.rx.out_of_order.remove(index).expect("it was there");
                self.rx.rmem -= gone.truesize;
                at = index;
            }
        }
        while let Some(next) = self.rx.out_of_order.get(at) {
            if !end_seq.after(next.seq) {
                break;
            }
            let (next_seq, next_end) = (next.seq, next.end_seq);
            if end_seq.before(next_end) {
                self.dsack_extend(cx, next_seq, end_seq);
                break;
            }
            self.dsack_extend(cx, next_seq, next_end);
            cx.count(Counter::TcpExtTCPOFOMerge);
            let gone = self.rx.out_of_order.remove(at).expect("it was there");
            self.rx.rmem -= gone.truesize;
        }
        self.rx.rmem += entry.truesize;
        self.rx.out_of_order.insert(at, entry);
        Ok(false)
    }

    /// `tcp_ofo_queue`: what follows the last byte in order now is in order as well.
    fn take_from_out_of_order(&mut self, cx: &mut Cx<'_>) {
        let known = self.rcv.nxt;
        while let Some(first) = self.rx.out_of_order.front() {
            if first.seq.after(self.rcv.nxt) {
                break;
            }
            let entry = self.rx.out_of_order.pop_front().expect("it was there");
            if entry.seq.before(known) {
                let until = entry.end_seq.earliest(known);
                self.dsack_extend(cx, entry.seq, until);
            }
            if !entry.end_seq.after(self.rcv.nxt) {
                self.rx.rmem -= entry.truesize;
                self.mem_reclaim(cx);
                continue;
            }
            self.advance_rcv_nxt(entry.end_seq);
            let fin = entry.fin;
            self.push_ready(cx, entry, true);
            if fin {
                self.receive_fin(cx); // nothing can follow: it empties the queue
                break;
            }
        }
    }

    /// `tcp_can_ingest`. (6.17 and the first 6.18 counted the arriving bytes as well; 6.18.44, which was measured, does
    /// not.)
    fn can_ingest(&self) -> bool {
        self.rx.rmem <= self.rx.rcvbuf
    }

    /// `tcp_try_rmem_schedule`: is there memory, after pruning if need be?
    fn room_for(&mut self, cx: &mut Cx<'_>, seg: &Segment) -> bool {
        let size = seg.memory.truesize;
        if self.can_ingest() && self.mem_schedule(cx, size, MemKind::Receive) {
            return true;
        }
        if !self.prune_queue(cx, seg) {
            return false;
        }
        while !self.mem_schedule(cx, size, MemKind::Receive) {
            if !self.prune_out_of_order(cx, seg.seq) {
                return false;
            }
        }
        true
    }

    /// `tcp_prune_queue`
    fn prune_queue(&mut self, cx: &mut Cx<'_>, seg: &Segment) -> bool {
        if cx.profile >= KernelProfile::V6_18 && self.rx.rmem == 0 {
            return false; // nothing to give up
        }
        cx.count(Counter::TcpExtPruneCalled);
        let full = if cx.profile >= KernelProfile::V6_18 {
            !self.can_ingest()
        } else {
            self.rx.rmem >= self.rx.rcvbuf
        };
        if full {
            self.clamp_window(cx);
        } else if cx.mem.under_pressure() {
            self.adjust_rcv_ssthresh();
        }
        if self.can_ingest() {
            return true;
        }
        self.collapse_queues(cx);
        self.mem_reclaim(cx);
        if self.can_ingest() {
            return true;
        }
        self.prune_out_of_order(cx, seg.seq);
        if self.can_ingest() {
            return true;
        }
        cx.count(Counter::TcpExtRcvPruned);
        false
    }

    /// `tcp_clamp_window`: the buffer may grow to what it holds before anything is thrown away.
    fn clamp_window(&mut self, cx: &Cx<'_>) {
        self.ack.quick = 0;
        let most = u32::try_from(cx.sysctl.tcp_rmem[2]).unwrap_or(u32::MAX);
        if self.rx.rcvbuf < most
            && !self.rx.rcvbuf_locked
            && !cx.mem.under_pressure()
            && cx.mem.allocated() < cx.sysctl.tcp_mem[0]
        {
            self.rx.rcvbuf = self.rx.rmem.min(most);
        }
        if self.rx.rmem > self.rx.rcvbuf {
            self.rcv.ssthresh = self.rcv.window_clamp.min(2 * u32::from(self.rcv.advmss));
        }
    }

    /// `tcp_adjust_rcv_ssthresh`: memory is short: four segments are enough.
    pub(crate) fn adjust_rcv_ssthresh(&mut self) {
        self.rcv.ssthresh = self.rcv.ssthresh.min(4 * u32::from(self.rcv.advmss));
    }

    /// `tcp_prune_ofo_queue`: gives up the newest out-of-order data (the peer keeps it until acknowledged), an eighth
    /// of the buffer at a time, but nothing before what just arrived.
    fn prune_out_of_order(&mut self, cx: &mut Cx<'_>, arrived: SeqNum) -> bool {
        let step = i64::from(self.rx.rcvbuf >> 3);
        let mut goal = step;
        let mut pruned = false;
        while let Some(last) = self.rx.out_of_order.back() {
            // Before 6.2 everything went.
            if cx.profile >= KernelProfile::V6_12 && arrived.after(last.seq) {
                break;
            }
            let gone = self.rx.out_of_order.pop_back().expect("it was there");
            pruned = true;
            self.rx.rmem -= gone.truesize;
            goal -= i64::from(gone.truesize);
            if goal <= 0 || self.rx.out_of_order.is_empty() {
                self.mem_reclaim(cx);
                if self.rx.rmem <= self.rx.rcvbuf && !cx.mem.under_pressure() {
                    break;
                }
                goal = step;
            }
        }
        if pruned {
            cx.count(Counter::TcpExtOfoPruned);
            // What was SACKed is gone: the peer must not rely on it.
            self.rx.sacks = wire::tcp::Sack::EMPTY;
            self.rx.dsack = None;
        }
        pruned
    }

    /// Whether reads find something to return (`tcp_stream_is_readable`, `tcp_epollin_ready`): also less than
    /// `SO_RCVLOWAT` when no more can come.
    pub(crate) fn is_readable(&self) -> bool {
        let bytes = (self.rcv.nxt - self.rcv.copied_seq) as u32; // not negative
        let full = self.rx.rmem > self.rx.rcvbuf - (self.rx.rcvbuf >> 3);
        (bytes > 0
            && (bytes >= self.rx.rcvlowat || full || self.receive_window() <= u32::from(self.ack.rcv_mss)))
            || self.shutdown_rd
            || self.error.is_some()
            || self.state == State::Close
    }
}

/// The queue entry of a segment; takes the payload.
pub(crate) fn entry_of(seg: &mut Segment) -> RxSegment {
    RxSegment {
        seq: seg.seq,
        end_seq: seg.end_seq,
        frame: core::mem::take(&mut seg.frame),
        fin: seg.header.flags.fin(),
        truesize: seg.memory.truesize,
        tailroom: seg.memory.tailroom,
        head: seg.memory.head,
        frags: u8::from(seg.memory.head == SkbHead::Shared),
        ..RxSegment::default()
    }
}
