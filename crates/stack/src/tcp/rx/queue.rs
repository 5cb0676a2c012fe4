//! The receive queue and reassembly. Linux: tcp_input.c `tcp_data_queue`, `tcp_data_queue_ofo`, `tcp_ofo_queue`,
//! `tcp_try_rmem_schedule`, `tcp_prune_ofo_queue`, `tcp_collapse`.

use wire::Frame;
use wire::tcp::SeqNum;

use super::super::cx::Cx;
use super::super::input::Segment;
use super::super::tcb::{State, Tcb};
use super::RxSegment;
use super::ackpolicy::MAX_QUICKACKS;
use crate::DropReason;
use crate::mib::Counter;
use crate::socket::truesize;

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
        let size = truesize(seg.len() + seg.header_len);
        if !self.room_for(cx, size) {
            self.ack.now = true;
            self.ack.scheduled = true;
            cx.count(Counter::TcpExtTCPRcvQDrop);
            cx.wake.readable = true;
            return Err(DropReason::ProtoMem);
        }
        let len = seg.len();
        self.enqueue(seg, size);
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

    /// `tcp_queue_rcv`: appends the part that is new.
    fn enqueue(&mut self, seg: &mut Segment, size: u32) {
        let old = u32::try_from(self.rcv.nxt - seg.seq).unwrap_or(0);
        let mut frame = core::mem::take(&mut seg.frame);
        drop_front(&mut frame, old as usize);
        self.advance_rcv_nxt(seg.end_seq);
        self.rx.rmem += size;
        let fin = seg.header.flags.fin();
        let seq = seg.seq + old;
        self.rx.ready.push_back(RxSegment { seq, end_seq: seg.end_seq, frame, fin, truesize: size });
    }

    /// `tcp_rcv_nxt_update`
    pub(crate) fn advance_rcv_nxt(&mut self, to: SeqNum) {
        let delta = u64::from((to - self.rcv.nxt) as u32); // forward
        self.totals.bytes_received += delta;
        self.rcv.nxt = to;
    }

    /// `tcp_data_queue_ofo`
    fn queue_out_of_order(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Result<(), DropReason> {
        let size = truesize(seg.len() + seg.header_len);
        if !self.room_for(cx, size) {
            cx.count(Counter::TcpExtTCPOFODrop);
            return Err(DropReason::ProtoMem);
        }
        self.measure_rcv_mss(seg);
        cx.count(Counter::TcpExtTCPOFOQueue);
        self.rx.ooo_packets += 1;
        self.ack.scheduled = true;
        let (seq, end_seq) = (seg.seq, seg.end_seq);
        let queue = &self.rx.out_of_order;
        // Where it belongs: before the first entry that begins after it.
        let mut at = queue.partition_point(|e| e.seq.before_eq(seq));
        let mut start = seq;
        if let Some(before) = at.checked_sub(1).map(|i| &queue[i])
            && seq.before(before.end_seq)
        {
            if !end_seq.after(before.end_seq) {
                // All of it is there already.
                cx.count(Counter::TcpExtTCPOFOMerge);
                self.dsack_set(cx, seq, end_seq);
                self.sack_new(seq, end_seq);
                return Err(DropReason::TcpOfomerge);
            }
            let until = before.end_seq;
            if seq == before.seq {
                // It covers the entry before: that one goes.
                self.dsack_extend(cx, before.seq, until);
                at -= 1;
            } else {
                self.dsack_set(cx, seq, until);
                start = until;
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
        let end = match self.rx.out_of_order.get(at) {
            Some(next) if end_seq.after(next.seq) => next.seq,
            _ => end_seq,
        };
        let mut frame = core::mem::take(&mut seg.frame);
        drop_front(&mut frame, (start - seq) as usize);
        frame.truncate((end - start) as usize);
        let fin = seg.header.flags.fin() && end == end_seq;
        self.rx.rmem += size;
        self.rx.out_of_order.insert(at, RxSegment { seq: start, end_seq: end, frame, fin, truesize: size });
        if self.opts.sack {
            self.sack_new(seq, end_seq);
            self.grow_window(cx, seg.frame_len, false);
        }
        self.grow_rcvbuf(cx, self.rx.space);
        Ok(())
    }

    /// `tcp_ofo_queue`: what follows the last byte in order now is in order as well.
    fn take_from_out_of_order(&mut self, cx: &mut Cx<'_>) {
        while let Some(first) = self.rx.out_of_order.front() {
            if first.seq.after(self.rcv.nxt) {
                break;
            }
            let mut seg = self.rx.out_of_order.pop_front().expect("it was there");
            if self.rcv.nxt.after(seg.seq) {
                let until = seg.end_seq.earliest(self.rcv.nxt);
                self.dsack_extend(cx, seg.seq, until);
            }
            if !seg.end_seq.after(self.rcv.nxt) {
                self.rx.rmem -= seg.truesize;
                continue;
            }
            let old = (self.rcv.nxt - seg.seq) as u32; // not negative
            drop_front(&mut seg.frame, old as usize);
            seg.seq = self.rcv.nxt;
            self.advance_rcv_nxt(seg.end_seq);
            let fin = seg.fin;
            self.rx.ready.push_back(seg);
            if fin {
                self.receive_fin(cx);
                // Nothing can follow a FIN.
                for rest in self.rx.out_of_order.drain(..) {
                    self.rx.rmem -= rest.truesize;
                }
                break;
            }
        }
    }

    /// `tcp_try_rmem_schedule`: is there memory, after pruning if need be?
    fn room_for(&mut self, cx: &mut Cx<'_>, size: u32) -> bool {
        if self.rx.rmem <= self.rx.rcvbuf {
            return true;
        }
        cx.count(Counter::TcpExtPruneCalled);
        // tcp_clamp_window: the buffer may grow to what is allowed before anything is thrown away.
        let most = u32::try_from(cx.sysctl.tcp_rmem[2]).unwrap_or(u32::MAX);
        if !self.rx.rcvbuf_locked && self.rx.rmem < most {
            self.rx.rcvbuf = self.rx.rcvbuf.max(self.rx.rmem.min(most));
        }
        if self.rx.rmem > self.rx.rcvbuf {
            self.rcv.ssthresh = self.rcv.window_clamp.min(2 * u32::from(self.rcv.advmss));
        }
        if self.rx.rmem <= self.rx.rcvbuf {
            return true;
        }
        self.prune_out_of_order(cx, size);
        if self.rx.rmem <= self.rx.rcvbuf {
            return true;
        }
        cx.count(Counter::TcpExtRcvPruned);
        false
    }

    /// `tcp_prune_ofo_queue`: gives up the newest out-of-order data (the peer keeps it until acknowledged).
    fn prune_out_of_order(&mut self, cx: &mut Cx<'_>, size: u32) {
        if self.rx.out_of_order.is_empty() {
            return;
        }
        cx.count(Counter::TcpExtOfoPruned);
        let goal = self.rx.rcvbuf.saturating_sub(size);
        while self.rx.rmem > goal {
            let Some(last) = self.rx.out_of_order.pop_back() else { break };
            self.rx.rmem -= last.truesize;
        }
        // What was SACKed is gone: the peer must not rely on it.
        self.rx.sacks = wire::tcp::Sack::EMPTY;
    }

    /// Whether reads find something to return (`tcp_stream_is_readable`).
    pub(crate) fn is_readable(&self) -> bool {
        let bytes = (self.rcv.nxt - self.rcv.copied_seq) as u32; // not negative
        bytes >= self.rx.rcvlowat.max(1)
            || self.shutdown_rd
            || self.error.is_some()
            || self.state == State::Close
    }
}

/// Takes `n` bytes from the front of a payload, across the border of head and tail.
fn drop_front(frame: &mut Frame, n: usize) {
    let head = frame.head().len();
    frame.pull(n.min(head));
    if n > head {
        let tail = frame.tail().clone();
        frame.set_tail(tail.slice(n - head..tail.len()));
    }
}
