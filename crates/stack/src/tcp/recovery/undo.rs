//! Taking a reduction back when nothing was lost: by timestamps (Eifel, RFC 3522/4015), by D-SACK (RFC 3708).
//!
//! Linux: tcp_input.c `tcp_may_undo`, `tcp_try_undo_recovery`, `…_partial`, `…_dsack`, `…_loss`.

use wire::tcp::SeqNum;

use super::super::cc::{CaState, Cc};
use super::super::cx::{Cx, clock_ms};
use super::super::tcb::{State, Tcb};
use super::rack::RECOVERY_THRESHOLD;
use crate::mib::Counter;

impl Tcb {
    /// `tcp_packet_delayed`: the ACK echoes a timestamp from before the first retransmission.
    fn packet_delayed(&self) -> bool {
        match self.retrans_stamp {
            Some(first) => {
                self.ts.saw
                    && self.ts.rcv_tsecr != 0
                    && SeqNum(self.ts.rcv_tsecr.wrapping_sub(self.ts.offset)).before(SeqNum(clock_ms(first)))
            }
            // Nothing was retransmitted at all; unless the SYN has cleared the stamp, or `reno_holds_state` did.
            None => {
                let held = self.is_reno() && !self.snd.una.before(self.recovery.high_seq);
                self.state != State::SynSent && !held
            }
        }
    }

    /// `tcp_may_undo`
    fn may_undo(&self) -> bool {
        self.recovery.undo_marker.is_some() && (self.recovery.undo_retrans == 0 || self.packet_delayed())
    }

    /// `tcp_undo_cwnd_reduction`
    fn undo_cwnd_reduction(&mut self, cx: &mut Cx<'_>, unmark_loss: bool) {
        if unmark_loss {
            for index in 0..self.rtx.len() {
                self.rtx.at_mut(index).expect("in range").sacked.lost = false;
            }
            self.recovery.lost_out = 0;
            self.recovery.retransmit_hint = None;
        }
        if self.recovery.prior_ssthresh != 0 {
            self.window.cwnd = self.with_cc(cx, |cc: &mut Cc, c| cc.undo_cwnd(c));
            if self.recovery.prior_ssthresh > self.window.ssthresh {
                self.window.ssthresh = self.recovery.prior_ssthresh;
                self.ecn.queue_cwr = false;
            }
        }
        self.window.used_stamp = cx.now;
        self.recovery.undo_marker = None;
        self.recovery.rack.advanced = true; // look again at what counts as lost
    }

    /// `tcp_is_non_sack_preventing_reopen`
    fn reno_holds_state(&mut self) -> bool {
        if self.snd.una == self.recovery.high_seq && self.is_reno() {
            // Hold the state until something above high_seq is acknowledged: late duplicate ACKs.
            if !self.any_retrans_done() {
                self.retrans_stamp = None;
            }
            return true;
        }
        false
    }

    /// `tcp_try_undo_recovery`: everything sent before recovery is acknowledged.
    pub(crate) fn try_undo_recovery(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.may_undo() {
            let counter = if self.recovery.ca_state == CaState::Loss {
                Counter::TcpExtTCPLossUndo
            } else {
                Counter::TcpExtTCPFullUndo
            };
            self.undo_cwnd_reduction(cx, false);
            cx.count(counter);
        } else if self.recovery.rack.reo_wnd_persist > 0 {
            self.recovery.rack.reo_wnd_persist -= 1;
        }
        if self.reno_holds_state() {
            return true;
        }
        self.set_ca_state(cx, CaState::Open);
        self.recovery.is_sack_reneg = false;
        false
    }

    /// `tcp_try_undo_dsack`: every retransmission was needless.
    pub(super) fn try_undo_dsack(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.recovery.undo_marker.is_none() || self.recovery.undo_retrans != 0 {
            return false;
        }
        let rack = &mut self.recovery.rack;
        rack.reo_wnd_persist = RECOVERY_THRESHOLD.min(rack.reo_wnd_persist + 1);
        self.undo_cwnd_reduction(cx, false);
        cx.count(Counter::TcpExtTCPDSACKUndo);
        true
    }

    /// `tcp_try_undo_loss`: a timeout was spurious.
    pub(super) fn try_undo_loss(&mut self, cx: &mut Cx<'_>, frto: bool) -> bool {
        if !frto && !self.may_undo() {
            return false;
        }
        self.undo_cwnd_reduction(cx, true);
        cx.count(Counter::TcpExtTCPLossUndo);
        if frto {
            cx.count(Counter::TcpExtTCPSpuriousRTOs);
        }
        self.retransmits = 0;
        if self.reno_holds_state() {
            return true;
        }
        if frto || !self.is_reno() {
            self.set_ca_state(cx, CaState::Open);
            self.recovery.is_sack_reneg = false;
        }
        true
    }

    /// `tcp_try_undo_partial`: a hole was filled by a delayed packet, not by the retransmission. `true`: send
    /// nothing more for now.
    pub(super) fn try_undo_partial(&mut self, cx: &mut Cx<'_>, prior_snd_una: SeqNum) -> bool {
        if self.recovery.undo_marker.is_none() || !self.packet_delayed() {
            return false;
        }
        self.check_sack_reordering(cx, prior_snd_una, true);
        if self.recovery.retrans_out > 0 {
            return true;
        }
        if !self.any_retrans_done() {
            self.retrans_stamp = None;
        }
        self.undo_cwnd_reduction(cx, true);
        cx.count(Counter::TcpExtTCPPartialUndo);
        self.try_keep_open(cx);
        false
    }
}
