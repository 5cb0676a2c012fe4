//! RACK: a packet is lost when one sent sufficiently later was delivered (RFC 8985 §6).
//!
//! Linux: net/ipv4/tcp_recovery.c.

use core::time::Duration;

use wire::Instant;
use wire::tcp::SeqNum;

use super::super::cc::{CaState, RateSample};
use super::super::cx::{Cx, delta_us};
use super::super::rtx::Slot;
use super::super::tcb::Tcb;
use super::super::timer::Pending;

/// `TCP_RACK_RECOVERY_THRESH`: recoveries that a widened window lasts.
pub(crate) const RECOVERY_THRESHOLD: u8 = 16;
/// `TCP_TIMEOUT_MIN_US`
pub(crate) const TIMEOUT_MIN_US: u32 = 2_000;

/// `tcp_recovery` bits.
const RACK_STATIC_REO_WND: u8 = 2;
const RACK_NO_DUPTHRESH: u8 = 4;

/// `struct tcp_rack`
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rack {
    /// When the most recently sent packet among the delivered ones was sent, and its end.
    pub(crate) xmit: Instant,
    pub(crate) end_seq: SeqNum,
    /// Its round trip.
    pub(crate) rtt_us: u32,
    /// Something was delivered since the last look.
    pub(crate) advanced: bool,
    /// A D-SACK arrived: widen the window.
    pub(crate) dsack_seen: bool,
    /// Quarters of the least round trip that packets may be late.
    pub(crate) reo_wnd_steps: u8,
    pub(crate) reo_wnd_persist: u8,
    /// `delivered` when the window was last widened.
    pub(crate) last_delivered: u32,
}

impl Default for Rack {
    fn default() -> Self {
        Rack {
            xmit: Instant::ZERO,
            end_seq: SeqNum(0),
            rtt_us: 0,
            advanced: false,
            dsack_seen: false,
            reo_wnd_steps: 1,
            reo_wnd_persist: 0,
            last_delivered: 0,
        }
    }
}

/// `tcp_skb_sent_after`
fn sent_after(a: Instant, b: Instant, a_end: SeqNum, b_end: SeqNum) -> bool {
    a > b || (a == b && a_end.after(b_end))
}

impl Tcb {
    /// `tcp_rack_reo_wnd`: how late a packet may be, microseconds.
    fn rack_reo_wnd_us(&self, cx: &Cx<'_>) -> u32 {
        let r = &self.recovery;
        if r.reord_seen == 0 {
            if r.ca_state >= CaState::Recovery {
                return 0;
            }
            if r.sacked_out >= r.reordering && cx.sysctl.tcp_recovery & RACK_NO_DUPTHRESH == 0 {
                return 0;
            }
        }
        let quarter = self.rtt.min_rtt.value().unwrap_or(u32::MAX) >> 2;
        quarter.saturating_mul(u32::from(r.rack.reo_wnd_steps)).min(self.rtt.srtt_us8 >> 3)
    }

    /// `tcp_rack_skb_timeout`: microseconds until the entry counts as lost; not positive when it does now.
    pub(super) fn rack_remaining_us(&self, cx: &Cx<'_>, slot: Slot, reo_wnd_us: u32) -> i64 {
        let elapsed = delta_us(cx.now, self.rtx.get(slot).sent);
        i64::from(self.recovery.rack.rtt_us) + i64::from(reo_wnd_us) - i64::from(elapsed)
    }

    /// `tcp_rack_detect_loss`: marks what is late; returns microseconds until the next one may be.
    fn rack_detect_loss(&mut self, cx: &mut Cx<'_>) -> u32 {
        let reo_wnd = self.rack_reo_wnd_us(cx);
        let mut timeout = 0;
        let mut at = self.rtx.oldest_sent();
        while let Some(slot) = at {
            at = self.rtx.next_sent(slot);
            let skb = self.rtx.get(slot);
            if skb.sacked.lost && !skb.sacked.retrans {
                continue;
            }
            let rack = &self.recovery.rack;
            if !sent_after(rack.xmit, skb.sent, rack.end_seq, skb.end_seq) {
                break;
            }
            let remaining = self.rack_remaining_us(cx, slot, reo_wnd);
            if remaining <= 0 {
                self.mark_lost(cx, slot);
                self.rtx.unlink(slot);
            } else {
                timeout = timeout.max(u32::try_from(remaining).unwrap_or(u32::MAX));
            }
        }
        timeout
    }

    /// `tcp_rack_mark_lost`: returns whether the reordering timer was armed.
    pub(super) fn rack_mark_lost(&mut self, cx: &mut Cx<'_>) -> bool {
        if !core::mem::take(&mut self.recovery.rack.advanced) {
            return false;
        }
        let timeout = self.rack_detect_loss(cx);
        if timeout == 0 {
            return false;
        }
        let delay = cx.ticks(Duration::from_micros(u64::from(timeout + TIMEOUT_MIN_US)));
        self.arm_retransmit(cx, Pending::ReorderTimeout, delay.min(self.rto));
        true
    }

    /// `tcp_rack_advance`: an entry sent at `sent` was delivered.
    pub(crate) fn rack_advance(&mut self, now: Instant, retransmitted: bool, end_seq: SeqNum, sent: Instant) {
        let rtt_us = delta_us(now, sent);
        if retransmitted && self.rtt.min_rtt.value().is_some_and(|m| rtt_us < m) {
            // Acknowledged sooner than the path allows: the original arrived, not the retransmission.
            return;
        }
        let rack = &mut self.recovery.rack;
        rack.advanced = true;
        rack.rtt_us = rtt_us;
        if sent_after(sent, rack.xmit, end_seq, rack.end_seq) {
            rack.xmit = sent;
            rack.end_seq = end_seq;
        }
    }

    /// `tcp_rack_reo_timeout`: the reordering window is over.
    pub(crate) fn rack_reorder_timeout(&mut self, cx: &mut Cx<'_>) {
        let before = self.in_flight();
        self.rack_detect_loss(cx);
        if before != self.in_flight() {
            if self.recovery.ca_state != CaState::Recovery {
                self.enter_recovery(cx, false);
                if !matches!(self.cc, super::super::cc::Cc::Bbr(_)) {
                    self.cwnd_reduction(1, false, false);
                }
            }
            self.xmit_retransmit_queue(cx);
        }
        if self.timers.pending != Some(Pending::Retransmit) {
            self.rearm_rto(cx);
        }
    }

    /// `tcp_rack_update_reo_wnd`: D-SACKs widen the window, recoveries without them narrow it again.
    pub(crate) fn rack_update_reo_wnd(&mut self, cx: &Cx<'_>, sample: &RateSample) {
        if cx.sysctl.tcp_recovery & RACK_STATIC_REO_WND != 0 || sample.prior_delivered == 0 {
            return;
        }
        let delivered = self.recovery.delivered;
        let rack = &mut self.recovery.rack;
        if (sample.prior_delivered.wrapping_sub(rack.last_delivered) as i32) < 0 {
            rack.dsack_seen = false;
        }
        if rack.dsack_seen {
            rack.reo_wnd_steps = rack.reo_wnd_steps.saturating_add(1);
            rack.dsack_seen = false;
            rack.last_delivered = delivered;
            rack.reo_wnd_persist = RECOVERY_THRESHOLD;
        } else if rack.reo_wnd_persist == 0 {
            rack.reo_wnd_steps = 1;
        }
    }
}
