//! Connections that are over, kept for the memory that they stand in and that their queues have: whoever opens and
//! closes one after the other needs the same again each time.
//!
//! Linux: the slab caches of `tcp_prot` and `tcp_skb`, which give back what was freed last.

use super::rtx::RtxQueue;
use super::send_buffer::SendBuffer;
use super::tcb::Tcb;

/// Connections that a host keeps.
const MOST: usize = 2;
/// Entries that a queue may have room for to be kept.
const SHORT: usize = 16;

/// Them; empty it owns nothing.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "the boxes are what is kept")]
pub(crate) struct Spare(Vec<Box<Tcb>>);

impl Spare {
    /// `tcb` in a box, with room in its queues if there is some.
    pub(super) fn boxed(&mut self, mut tcb: Tcb) -> Box<Tcb> {
        let Some(mut old) = self.0.pop() else { return Box::new(tcb) };
        tcb.unsent = core::mem::take(&mut old.unsent);
        tcb.rtx = core::mem::take(&mut old.rtx);
        tcb.rx.ready = core::mem::take(&mut old.rx.ready);
        *old = tcb;
        old
    }

    /// A connection that nobody needs any more.
    pub(super) fn keep(&mut self, mut tcb: Box<Tcb>) {
        if self.0.len() >= MOST {
            return;
        }
        tcb.unsent.clear();
        tcb.rx.ready.clear();
        tcb.rx.out_of_order = Default::default();
        tcb.data = SendBuffer::default();
        tcb.notes = None;
        tcb.fo.request = None;
        if !tcb.rtx.is_empty() || tcb.rtx.capacity() > SHORT {
            tcb.rtx = RtxQueue::default();
        }
        if tcb.unsent.capacity() > SHORT {
            tcb.unsent = Default::default();
        }
        if tcb.rx.ready.capacity() > SHORT {
            tcb.rx.ready = Default::default();
        }
        self.0.push(tcb);
    }
}
