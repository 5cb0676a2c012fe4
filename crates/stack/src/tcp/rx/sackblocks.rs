//! The SACK blocks that we report (RFC 2018 §4, RFC 2883). Linux: tcp_input.c `tcp_sack_new_ofo_skb`,
//! `tcp_sack_remove`, `tcp_dsack_set`, `tcp_dsack_extend`.

use wire::tcp::{Sack, SackBlock, SeqNum};

use super::super::cx::Cx;
use super::super::tcb::Tcb;
use crate::mib::Counter;

/// `TCP_NUM_SACKS`
const MAX_BLOCKS: usize = 4;

impl Tcb {
    /// A block arrived out of order: it is reported first, joined with what it touches.
    pub(crate) fn sack_new(&mut self, seq: SeqNum, end_seq: SeqNum) {
        let mut first = SackBlock { left: seq, right: end_seq };
        let mut rest: Vec<SackBlock> = Vec::with_capacity(MAX_BLOCKS);
        for block in self.rx.sacks.as_slice() {
            // tcp_sack_extend: they touch.
            if !first.left.after(block.right) && !block.left.after(first.right) {
                first.left = first.left.earliest(block.left);
                first.right = first.right.latest(block.right);
            } else {
                rest.push(*block);
            }
        }
        rest.truncate(MAX_BLOCKS - 1);
        self.rx.sacks = core::iter::once(first).chain(rest).collect();
    }

    /// `tcp_sack_remove`: blocks below `rcv.nxt` are acknowledged now.
    pub(crate) fn sacks_remove(&mut self) {
        if self.rx.out_of_order.is_empty() {
            self.rx.sacks = Sack::EMPTY;
            return;
        }
        let nxt = self.rcv.nxt;
        self.rx.sacks = self.rx.sacks.as_slice().iter().filter(|b| nxt.before(b.left)).copied().collect();
    }

    /// `tcp_dsack_set`: these bytes arrived twice.
    pub(crate) fn dsack_set(&mut self, cx: &mut Cx<'_>, seq: SeqNum, end_seq: SeqNum) {
        if !self.opts.sack || cx.sysctl.tcp_dsack == 0 {
            return;
        }
        let counter = if seq.before(self.rcv.nxt) {
            Counter::TcpExtTCPDSACKOldSent
        } else {
            Counter::TcpExtTCPDSACKOfoSent
        };
        cx.count(counter);
        self.rx.dsack = Some(SackBlock { left: seq, right: end_seq });
    }

    /// `tcp_dsack_extend`: and these too.
    pub(crate) fn dsack_extend(&mut self, cx: &mut Cx<'_>, seq: SeqNum, end_seq: SeqNum) {
        match &mut self.rx.dsack {
            None => self.dsack_set(cx, seq, end_seq),
            Some(block) => {
                if !block.left.after(end_seq) && !seq.after(block.right) {
                    block.left = block.left.earliest(seq);
                    block.right = block.right.latest(end_seq);
                }
            }
        }
    }
}
