//! After a retransmission timeout: was it spurious? F-RTO (RFC 5682). Linux: tcp_input.c `tcp_process_loss`.

use super::super::ack::AckFlags;
use super::super::cx::Cx;
use super::super::tcb::Tcb;
use super::Rexmit;

impl Tcb {
    pub(super) fn process_loss(
        &mut self,
        cx: &mut Cx<'_>,
        flags: AckFlags,
        num_dupack: u32,
        rexmit: &mut Rexmit,
    ) {
        let recovered = !self.snd.una.before(self.recovery.high_seq);
        if (flags.snd_una_advanced || self.fo.server_pending()) && self.try_undo_loss(cx, false) {
            return;
        }
        if self.recovery.frto {
            // Step 3.b: something that was never retransmitted arrived after all.
            if flags.orig_sack_acked && self.try_undo_loss(cx, true) {
                return;
            }
            if self.snd.nxt.after(self.recovery.high_seq) {
                if flags.data_sacked || num_dupack > 0 {
                    self.recovery.frto = false; // step 3.a: the loss was real
                }
            } else if flags.snd_una_advanced && !recovered {
                self.recovery.high_seq = self.snd.nxt;
                // Step 2.b: try new data; the answer to it will tell.
                if !self.unsent.is_empty() && self.wnd_end().after(self.snd.nxt) {
                    *rexmit = Rexmit::New;
                    return;
                }
                self.recovery.frto = false;
            }
        }
        if recovered {
            self.try_undo_recovery(cx);
            return;
        }
        if self.is_reno() {
            if self.snd.nxt.after(self.recovery.high_seq) && num_dupack > 0 {
                self.add_reno_sack(cx, num_dupack, flags.ece);
            } else if flags.snd_una_advanced {
                self.recovery.sacked_out = 0;
            }
        }
        *rexmit = Rexmit::Lost;
    }
}
