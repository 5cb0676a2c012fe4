//! Joining received segments: an arrival into the entry before it, and many small entries into few full ones when
//! memory is short.
//!
//! Linux: tcp_input.c `tcp_try_coalesce`, `tcp_collapse`, `tcp_collapse_ofo_queue`; net/core/skbuff.c
//! `skb_try_coalesce`.

use core::ops::Range;
use std::collections::VecDeque;

use wire::Frame;
use wire::tcp::SeqNum;

use super::super::cx::Cx;
use super::super::tcb::Tcb;
use super::RxSegment;
use super::window::window_from_space;
use crate::mib::Counter;
use crate::socket::{PAGE_PAYLOAD, SKB_OVERHEAD, SKB_STRUCT, SkbHead, SkbMemory};

/// `MAX_SKB_FRAGS`
const MAX_FRAGS: u8 = 17;

impl RxSegment {
    /// Bytes of data.
    pub(crate) fn len(&self) -> usize {
        ((self.end_seq - self.seq) as u32 - u32::from(self.fin)) as usize // an entry spans far less than 2^31
    }

    /// Hands out the bytes from `from` up to `to` (counted from `seq` on), piece by piece: how many came before, the
    /// piece, and which of its bytes.
    pub(crate) fn for_range(
        &self,
        from: usize,
        to: usize,
        mut take: impl FnMut(usize, &Frame, Range<usize>),
    ) {
        let mut at = self.gone;
        let rest = self.rest.as_deref().into_iter().flatten();
        for piece in core::iter::once(&self.frame).chain(rest) {
            let end = at + piece.len();
            if from < end && to > at {
                let first = from.max(at);
                take(first - from, piece, first - at..to.min(end) - at);
            }
            if to <= end {
                return;
            }
            at = end;
        }
    }

    /// Lets pieces go that were read up to `offset`.
    pub(crate) fn forget(&mut self, offset: usize) {
        while offset >= self.gone + self.frame.len()
            && let Some(next) = self.rest.as_mut().and_then(|rest| rest.pop_front())
        {
            self.gone += self.frame.len();
            self.frame = next;
        }
    }

    /// `skb_try_coalesce` behind `tcp_try_coalesce`: takes `from` in when it follows and its bytes can be moved. Gives
    /// back what the memory grew by, or `from`. `acked`: everything up to there was acknowledged.
    pub(crate) fn try_join(&mut self, from: RxSegment, acked: SeqNum) -> Result<u32, RxSegment> {
        // A packet from lo is a clone of what the sender keeps until it is acknowledged.
        let cloned = self.head == SkbHead::Shared && self.end_seq.after(acked);
        if from.seq != self.end_seq || self.fin || cloned {
            return Err(from);
        }
        let len = u32::try_from(from.len()).expect("a few packets");
        let delta = if len <= self.tailroom {
            self.tailroom -= len;
            0
        } else {
            let (frags, rest) = match from.head {
                SkbHead::Slab => return Err(from),
                SkbHead::Page => (from.frags + 1, SKB_STRUCT),
                SkbHead::Shared => (from.frags.max(1), SKB_OVERHEAD),
            };
            if self.frags + frags > MAX_FRAGS {
                return Err(from);
            }
            self.frags += frags;
            self.tailroom = 0;
            from.truesize - rest
        };
        self.truesize += delta;
        self.end_seq = from.end_seq;
        self.fin = from.fin;
        if len > 0 {
            if self.frame.is_empty() && self.rest.as_ref().is_none_or(|rest| rest.is_empty()) {
                self.frame = from.frame;
            } else {
                self.rest.get_or_insert_default().push_back(from.frame);
            }
            if let Some(more) = from.rest {
                self.rest.get_or_insert_default().extend(*more);
            }
        }
        Ok(delta)
    }
}

impl Tcb {
    /// Puts an entry at the end of the receive queue (`tcp_queue_rcv`); `held`: its memory is counted already.
    pub(crate) fn push_ready(&mut self, cx: &mut Cx<'_>, seg: RxSegment, held: bool) {
        let size = seg.truesize;
        if held {
            self.rx.rmem -= size;
        }
        let acked = self.rcv.wup;
        let Some(tail) = self.rx.ready.back_mut() else {
            self.rx.rmem += size;
            self.rx.ready.push_back(seg);
            return;
        };
        match tail.try_join(seg, acked) {
            Ok(delta) => {
                cx.count(Counter::TcpExtTCPRcvCoalesce);
                self.rx.rmem += delta;
            }
            Err(seg) => {
                self.rx.rmem += size;
                self.rx.ready.push_back(seg);
            }
        }
    }

    /// Both queues are copied into as few buffers as their bytes need.
    pub(super) fn collapse_queues(&mut self, cx: &mut Cx<'_>) {
        self.collapse_out_of_order(cx);
        let (start, end) = (self.rcv.copied_seq, self.rcv.nxt);
        let mut queue = core::mem::take(&mut self.rx.ready);
        let all = queue.len();
        self.collapse(cx, &mut queue, 0, all, start, end);
        self.rx.ready = queue;
    }

    /// `tcp_collapse_ofo_queue`: range by range.
    fn collapse_out_of_order(&mut self, cx: &mut Cx<'_>) {
        let mut queue = core::mem::take(&mut self.rx.out_of_order);
        let mut first = 0;
        let mut tiny = 0u32;
        while let Some(head) = queue.get(first) {
            let (mut start, mut end, mut size) = (head.seq, head.end_seq, head.truesize);
            let lone = size;
            let mut next = first + 1;
            while let Some(seg) = queue.get(next) {
                if seg.seq.after(end) || seg.end_seq.before(start) {
                    break;
                }
                size += seg.truesize;
                start = start.earliest(seg.seq);
                end = end.latest(seg.end_seq);
                next += 1;
            }
            if size != lone || (end - start) as u32 >= PAGE_PAYLOAD {
                let before = queue.len();
                self.collapse(cx, &mut queue, first, next, start, end);
                next = next + queue.len() - before;
            } else {
                tiny += size;
                if tiny > self.rx.rcvbuf >> 3 {
                    break;
                }
            }
            first = next;
        }
        self.rx.out_of_order = queue;
    }

    /// `tcp_collapse`: entries `first..tail` that hold bytes from `start` to `end`.
    fn collapse(
        &mut self,
        cx: &mut Cx<'_>,
        queue: &mut VecDeque<RxSegment>,
        first: usize,
        tail: usize,
        mut start: SeqNum,
        end: SeqNum,
    ) {
        let ratio = self.rx.scaling_ratio;
        let (mut at, mut tail) = (first, tail);
        let mut useful = false;
        while at < tail {
            let seg = &queue[at];
            if !start.before(seg.end_seq) {
                self.collapse_one(cx, queue, at);
                tail -= 1;
                continue;
            }
            let bloated = window_from_space(seg.truesize, ratio) as usize > seg.len();
            let overlaps = at + 1 < tail && queue[at + 1].seq != seg.end_seq;
            if (!seg.fin && (bloated || seg.seq.before(start))) || overlaps {
                useful = true;
                break;
            }
            start = seg.end_seq;
            at += 1;
        }
        if !useful || queue[at].fin {
            return;
        }
        let mut fresh: Vec<RxSegment> = Vec::new();
        'fill: while start.before(end) {
            let room = PAGE_PAYLOAD.min((end - start) as u32); // positive
            let memory = SkbMemory::plain(room);
            let mut bytes = Vec::with_capacity(room as usize);
            let from = start;
            let mut over = false;
            while bytes.len() < room as usize && !over {
                let seg = &queue[at];
                let offset = (start - seg.seq) as usize; // not negative: the first search saw to it
                let size = (seg.len() - offset.min(seg.len())).min(room as usize - bytes.len());
                seg.for_range(offset, offset + size, |_, piece, range| piece.copy_range(range, &mut bytes));
                start += u32::try_from(size).expect("below a page");
                if !start.before(seg.end_seq) {
                    self.collapse_one(cx, queue, at);
                    tail -= 1;
                    over = at >= tail || queue[at].fin || queue[at].seq.after(start);
                }
            }
            let unused = room - u32::try_from(bytes.len()).expect("below a page");
            self.rx.rmem += memory.truesize;
            fresh.push(RxSegment {
                seq: from,
                end_seq: start,
                frame: Frame::from_vec(bytes),
                truesize: memory.truesize,
                tailroom: memory.tailroom + unused,
                head: memory.head,
                ..RxSegment::default()
            });
            if over {
                break 'fill;
            }
        }
        for (n, seg) in fresh.into_iter().enumerate() {
            queue.insert(at + n, seg);
        }
    }

    /// `tcp_collapse_one`
    fn collapse_one(&mut self, cx: &mut Cx<'_>, queue: &mut VecDeque<RxSegment>, at: usize) {
        let gone = queue.remove(at).expect("the caller looked at it");
        self.rx.rmem -= gone.truesize;
        cx.count(Counter::TcpExtTCPRcvCollapsed);
    }
}
