//! Proportional rate reduction: send in proportion to what arrives until the window is where it should be
//! (RFC 6937). Linux: tcp_input.c `tcp_init_cwnd_reduction`, `tcp_cwnd_reduction`, `tcp_end_cwnd_reduction`.

use super::super::cc::{CaEvent, CaState, Cc, INFINITE_SSTHRESH};
use super::super::cx::Cx;
use super::super::tcb::Tcb;

impl Tcb {
    pub(crate) fn init_cwnd_reduction(&mut self, cx: &mut Cx<'_>) {
        self.recovery.high_seq = self.snd.nxt;
        self.recovery.tlp.high_seq = None;
        self.window.cwnd_cnt = 0;
        self.window.prior_cwnd = self.window.cwnd;
        self.recovery.prr_delivered = 0;
        self.recovery.prr_out = 0;
        self.window.ssthresh = self.with_cc(cx, Cc::ssthresh);
        self.ecn_queue_cwr();
    }

    /// `delivered` packets arrived with this ACK.
    pub(crate) fn cwnd_reduction(&mut self, delivered: u32, newly_lost: bool, snd_una_advanced: bool) {
        if delivered == 0 || self.window.prior_cwnd == 0 {
            return;
        }
        let in_flight = self.in_flight();
        let r = &mut self.recovery;
        r.prr_delivered += delivered;
        let send = if in_flight > self.window.ssthresh {
            let due = u64::from(self.window.ssthresh) * u64::from(r.prr_delivered);
            let due = due.div_ceil(u64::from(self.window.prior_cwnd));
            i64::try_from(due).unwrap_or(i64::MAX) - i64::from(r.prr_out)
        } else {
            // Slow start back up to the threshold, one packet more when the hole is being filled.
            let mut send = (i64::from(r.prr_delivered) - i64::from(r.prr_out)).max(i64::from(delivered));
            if snd_una_advanced && !newly_lost {
                send += 1;
            }
            send.min(i64::from(self.window.ssthresh - in_flight))
        };
        // The first retransmission must leave.
        let least = i64::from(r.prr_out == 0);
        let send = u32::try_from(send.max(least)).unwrap_or(0);
        self.window.cwnd = in_flight + send;
    }

    pub(crate) fn end_cwnd_reduction(&mut self, cx: &mut Cx<'_>) {
        if matches!(self.cc, Cc::Bbr(_)) {
            return; // a module with cong_control sets the window itself
        }
        let undone = self.recovery.undo_marker.is_none();
        if self.window.ssthresh < INFINITE_SSTHRESH && (self.recovery.ca_state == CaState::Cwr || !undone) {
            self.window.cwnd = self.window.ssthresh;
            self.window.used_stamp = cx.now;
        }
        self.with_cc(cx, |cc, c| cc.cwnd_event(c, CaEvent::CompleteCwr));
    }
}
