//! Losing and repairing: what is in flight, what counts as lost, and what the window does about it.
//!
//! RFC 6675 with RACK-TLP (RFC 8985), PRR (RFC 6937), F-RTO (RFC 5682), Eifel and D-SACK undo. Linux:
//! tcp_input.c `tcp_fastretrans_alert`, `tcp_enter_loss`, `tcp_process_loss`; tcp_recovery.c.

use wire::Instant;
use wire::tcp::SeqNum;

use super::ack::AckFlags;
use super::cc::{CaEvent, CaState};
use super::cx::Cx;
use super::rtx::Slot;
use super::tcb::Tcb;
use crate::mib::Counter;

pub(crate) mod frto;
pub(crate) mod prr;
pub(crate) mod rack;
pub(crate) mod tlp;
pub(crate) mod undo;

/// State of loss recovery (`struct tcp_sock`).
#[derive(Clone, Debug)]
pub(crate) struct Recovery {
    pub(crate) ca_state: CaState,
    /// Packets sent and not cumulatively acknowledged; of them SACKed, lost, retransmitted.
    pub(crate) packets_out: u32,
    pub(crate) sacked_out: u32,
    pub(crate) lost_out: u32,
    pub(crate) retrans_out: u32,
    /// Recovery ends when this is acknowledged.
    pub(crate) high_seq: SeqNum,
    /// `ssthresh` before the reduction; 0 when it cannot be undone.
    pub(crate) prior_ssthresh: u32,
    /// `snd.una` when the reduction began; `None`: nothing to undo.
    pub(crate) undo_marker: Option<SeqNum>,
    /// Retransmissions that D-SACKs have not yet proven needless; negative when there were none to count.
    pub(crate) undo_retrans: i32,
    pub(crate) prr_delivered: u32,
    pub(crate) prr_out: u32,
    /// Packets that may arrive out of order before it counts as loss.
    pub(crate) reordering: u32,
    pub(crate) reord_seen: u32,
    pub(crate) rack: rack::Rack,
    pub(crate) tlp: tlp::Tlp,
    /// F-RTO is under way.
    pub(crate) frto: bool,
    pub(crate) is_sack_reneg: bool,
    /// The end of the highest SACKed entry; counts while something is SACKed.
    pub(crate) highest_sack: SeqNum,
    /// Where retransmitting goes on (`retransmit_skb_hint`).
    pub(crate) retransmit_hint: Option<Slot>,
    /// The SACK blocks of the last ACK, sorted (`recv_sack_cache`).
    pub(crate) sack_cache: [(SeqNum, SeqNum); 4],
    /// Delivery accounting.
    pub(crate) delivered: u32,
    pub(crate) delivered_ce: u32,
    pub(crate) lost: u32,
    pub(crate) delivered_mstamp: Option<Instant>,
    pub(crate) first_tx: Instant,
    pub(crate) app_limited: u32,
    pub(crate) rate_delivered: u32,
    pub(crate) rate_interval_us: u32,
    pub(crate) rate_app_limited: bool,
    /// Consecutive RTOs of the current series and in all (`total_rto`).
    pub(crate) total_rto: u32,
    /// Series of RTOs (`total_rto_recoveries`), milliseconds spent in those that are over (`total_rto_time`), and
    /// since when this one goes on (`rto_stamp`).
    pub(crate) rto_recoveries: u16,
    pub(crate) rto_time_ms: u32,
    pub(crate) rto_stamp: Option<Instant>,
}

impl Recovery {
    /// As for a new connection; `reordering` is `tcp_reordering`.
    pub(crate) fn new(reordering: u32) -> Recovery {
        Recovery {
            ca_state: CaState::Open,
            packets_out: 0,
            sacked_out: 0,
            lost_out: 0,
            retrans_out: 0,
            high_seq: SeqNum(0),
            prior_ssthresh: 0,
            undo_marker: None,
            undo_retrans: 0,
            prr_delivered: 0,
            prr_out: 0,
            reordering,
            reord_seen: 0,
            rack: rack::Rack::default(),
            tlp: tlp::Tlp::default(),
            frto: false,
            is_sack_reneg: false,
            highest_sack: SeqNum(0),
            retransmit_hint: None,
            sack_cache: [(SeqNum(0), SeqNum(0)); 4],
            delivered: 0,
            delivered_ce: 0,
            lost: 0,
            delivered_mstamp: None,
            first_tx: Instant::ZERO,
            app_limited: u32::MAX,
            rate_delivered: 0,
            rate_interval_us: 0,
            rate_app_limited: true,
            total_rto: 0,
            rto_recoveries: 0,
            rto_time_ms: 0,
            rto_stamp: None,
        }
    }

    /// Milliseconds in RTO recoveries, one that goes on included (`tcpi_total_rto_time`).
    pub(crate) fn rto_time(&self, now: Instant) -> u32 {
        let current = self.rto_stamp.map_or(0, |since| (now - since).as_millis());
        self.rto_time_ms.saturating_add(u32::try_from(current).unwrap_or(u32::MAX))
    }

    /// `tcp_left_out`
    pub(crate) fn left_out(&self) -> u32 {
        self.sacked_out + self.lost_out
    }

    /// `tcp_in_cwnd_reduction`
    pub(crate) fn in_cwnd_reduction(&self) -> bool {
        matches!(self.ca_state, CaState::Cwr | CaState::Recovery)
    }
}

/// What to send after an ACK was processed (`REXMIT_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Rexmit {
    /// Nothing.
    #[default]
    None,
    /// What is marked lost.
    Lost,
    /// New data first (F-RTO).
    New,
}

impl Tcb {
    /// `tcp_is_reno`: the peer sends no SACKs.
    pub(crate) fn is_reno(&self) -> bool {
        !self.opts.sack
    }

    pub(crate) fn set_ca_state(&mut self, cx: &mut Cx<'_>, new: CaState) {
        self.with_cc(cx, |cc, c| cc.set_state(c, new));
        self.recovery.ca_state = new;
    }

    /// `tcp_any_retrans_done`
    pub(crate) fn any_retrans_done(&self) -> bool {
        self.recovery.retrans_out > 0 || self.rtx.head().is_some_and(|s| s.sacked.ever_retrans)
    }

    /// `tcp_mark_skb_lost`
    pub(crate) fn mark_lost(&mut self, cx: &mut Cx<'_>, slot: Slot) {
        let skb = self.rtx.get_mut(slot);
        if skb.sacked.acked {
            return;
        }
        let pcount = skb.pcount;
        let seq = skb.seq;
        if skb.sacked.lost {
            if skb.sacked.retrans {
                // The retransmission was lost as well.
                skb.sacked.retrans = false;
                self.recovery.retrans_out -= pcount;
                cx.mib.add(Counter::TcpExtTCPLostRetransmit, u64::from(pcount));
                self.recovery.lost += pcount;
            }
        } else {
            skb.sacked.lost = true;
            self.recovery.lost_out += pcount;
            self.recovery.lost += pcount;
        }
        // Retransmitting must begin no later than here.
        let hint_later = self.recovery.retransmit_hint.is_some_and(|h| seq.before(self.rtx.get(h).seq));
        if hint_later {
            self.recovery.retransmit_hint = Some(slot);
        }
    }

    /// `tcp_current_ssthresh`
    pub(crate) fn current_ssthresh(&self) -> u32 {
        let w = &self.window;
        if self.recovery.in_cwnd_reduction() {
            w.ssthresh
        } else {
            w.ssthresh.max((w.cwnd >> 1) + (w.cwnd >> 2))
        }
    }

    /// `tcp_init_undo`
    fn init_undo(&mut self) {
        let r = &mut self.recovery;
        r.undo_marker = Some(self.snd.una);
        r.undo_retrans = i32::try_from(r.retrans_out).unwrap_or(i32::MAX);
        if r.tlp.high_seq.is_some() && r.tlp.retrans {
            r.undo_retrans += 1;
        }
        if r.undo_retrans == 0 {
            r.undo_retrans = -1;
        }
    }

    /// `tcp_enter_recovery`
    pub(crate) fn enter_recovery(&mut self, cx: &mut Cx<'_>, ece: bool) {
        let counter =
            if self.is_reno() { Counter::TcpExtTCPRenoRecovery } else { Counter::TcpExtTCPSackRecovery };
        cx.count(counter);
        self.recovery.prior_ssthresh = 0;
        self.init_undo();
        if !self.recovery.in_cwnd_reduction() {
            if !ece {
                self.recovery.prior_ssthresh = self.current_ssthresh();
            }
            self.init_cwnd_reduction(cx);
        }
        self.set_ca_state(cx, CaState::Recovery);
    }

    /// `tcp_enter_loss`: a retransmission timeout.
    pub(crate) fn enter_loss(&mut self, cx: &mut Cx<'_>) {
        let new_recovery = self.recovery.ca_state < CaState::Recovery;
        self.timeout_mark_lost(cx);
        let state = self.recovery.ca_state;
        if state <= CaState::Disorder
            || !self.recovery.high_seq.after(self.snd.una)
            || (state == CaState::Loss && self.retransmits == 0)
        {
            self.recovery.prior_ssthresh = self.current_ssthresh();
            self.window.prior_cwnd = self.window.cwnd;
            self.window.ssthresh = self.with_cc(cx, super::cc::Cc::ssthresh);
            self.with_cc(cx, |cc, c| cc.cwnd_event(c, CaEvent::Loss));
            self.init_undo();
        }
        self.window.cwnd = self.in_flight() + 1;
        self.window.cwnd_cnt = 0;
        self.window.used_stamp = cx.now;
        let usual = u32::try_from(cx.sysctl.tcp_reordering).unwrap_or(3);
        if state <= CaState::Disorder && self.recovery.sacked_out >= usual {
            // So many duplicate ACKs and yet a timeout: reordering was overestimated.
            self.recovery.reordering = self.recovery.reordering.min(usual);
        }
        self.set_ca_state(cx, CaState::Loss);
        self.recovery.high_seq = self.snd.nxt;
        self.recovery.tlp.high_seq = None;
        self.ecn_queue_cwr();
        self.recovery.frto =
            cx.sysctl.tcp_frto != 0 && (new_recovery || self.retransmits > 0) && !self.mtu_probe_in_flight();
    }

    /// `tcp_timeout_mark_lost`: everything counts as lost but what RACK says may still arrive.
    fn timeout_mark_lost(&mut self, cx: &mut Cx<'_>) {
        let reneg = self.rtx.head().is_some_and(|s| s.sacked.acked);
        if reneg {
            cx.count(Counter::TcpExtTCPSACKReneging);
            self.recovery.sacked_out = 0;
            self.recovery.is_sack_reneg = true;
        } else if self.is_reno() {
            self.recovery.sacked_out = 0;
        }
        for index in 0..self.rtx.len() {
            let slot = self.rtx.slot_at(index).expect("in range");
            if reneg {
                self.rtx.get_mut(slot).sacked.acked = false;
            } else if index > 0 && !self.is_reno() && self.rack_remaining_us(cx, slot, 0) > 0 {
                continue;
            }
            self.mark_lost(cx, slot);
        }
        self.recovery.retransmit_hint = None;
    }

    /// `tcp_enter_cwr`: reduce the window for ECN or local congestion.
    pub(crate) fn enter_cwr(&mut self, cx: &mut Cx<'_>) {
        self.recovery.prior_ssthresh = 0;
        if self.recovery.ca_state < CaState::Cwr {
            self.recovery.undo_marker = None;
            self.init_cwnd_reduction(cx);
            self.set_ca_state(cx, CaState::Cwr);
        }
    }

    /// `tcp_try_keep_open`
    pub(crate) fn try_keep_open(&mut self, cx: &mut Cx<'_>) {
        let odd = self.recovery.left_out() > 0 || self.any_retrans_done();
        let state = if odd { CaState::Disorder } else { CaState::Open };
        if self.recovery.ca_state != state {
            self.set_ca_state(cx, state);
            self.recovery.high_seq = self.snd.nxt;
        }
    }

    /// `tcp_try_to_open`
    fn try_to_open(&mut self, cx: &mut Cx<'_>, flags: AckFlags) {
        if !self.any_retrans_done() {
            self.retrans_stamp = None;
        }
        if flags.ece {
            self.enter_cwr(cx);
        }
        if self.recovery.ca_state != CaState::Cwr {
            self.try_keep_open(cx);
        }
    }

    /// `tcp_check_sack_reneging`: the peer took a SACK back; give it a moment, then treat it as a timeout.
    fn check_sack_reneging(&mut self, cx: &mut Cx<'_>, flags: &mut AckFlags) -> bool {
        if !flags.sack_reneging || !flags.snd_una_advanced {
            return false;
        }
        let delay = core::time::Duration::from_micros(u64::from(self.rtt.srtt_us8 >> 4))
            .max(core::time::Duration::from_millis(10));
        self.arm_retransmit(cx, super::timer::Pending::Retransmit, delay);
        flags.set_xmit_timer = false;
        true
    }

    /// `tcp_identify_packet_loss`
    fn identify_packet_loss(&mut self, cx: &mut Cx<'_>, flags: &mut AckFlags) {
        if self.rtx.is_empty() {
            return;
        }
        if self.is_reno() {
            self.newreno_mark_lost(cx, flags.snd_una_advanced);
            return;
        }
        let before = self.recovery.retrans_out;
        if self.rack_mark_lost(cx) {
            flags.set_xmit_timer = false;
        }
        if before > self.recovery.retrans_out {
            flags.lost_retrans = true;
        }
    }

    /// `tcp_newreno_mark_lost`: without SACK only the first hole is known.
    fn newreno_mark_lost(&mut self, cx: &mut Cx<'_>, snd_una_advanced: bool) {
        let r = &self.recovery;
        let first = r.ca_state < CaState::Recovery && r.sacked_out >= r.reordering;
        if !(first || (r.ca_state == CaState::Recovery && snd_una_advanced)) {
            return;
        }
        let head = self.rtx.head().expect("the queue is not empty");
        if head.sacked.lost {
            return;
        }
        let mss = self.current_mss();
        if head.pcount > 1 && head.len() > u32::from(mss) {
            self.fragment_rtx(0, u32::from(mss), mss);
        }
        let slot = self.rtx.slot_at(0).expect("the queue is not empty");
        self.mark_lost(cx, slot);
    }

    /// `tcp_add_reno_sack`: a duplicate ACK means that one more packet left the network.
    pub(crate) fn add_reno_sack(&mut self, cx: &mut Cx<'_>, num_dupack: u32, ece: bool) {
        if num_dupack == 0 {
            return;
        }
        let before = self.recovery.sacked_out;
        self.recovery.sacked_out += num_dupack;
        self.check_reno_reordering(cx, 0);
        let delivered = self.recovery.sacked_out.saturating_sub(before);
        if delivered > 0 {
            self.count_delivered(delivered, ece);
        }
    }

    /// `tcp_remove_reno_sacks`: `acked` packets were acknowledged; one of them was the hole.
    pub(crate) fn remove_reno_sacks(&mut self, cx: &mut Cx<'_>, acked: u32, ece: bool) {
        if acked > 0 {
            // One ACK acknowledged the hole; the others were counted as duplicates.
            self.count_delivered((acked.saturating_sub(self.recovery.sacked_out)).max(1), ece);
            self.recovery.sacked_out = self.recovery.sacked_out.saturating_sub(acked - 1);
        }
        self.check_reno_reordering(cx, acked);
    }

    fn check_reno_reordering(&mut self, cx: &mut Cx<'_>, addend: u32) {
        // More "SACKed" than there can be holes: the network reorders.
        let holes = self.recovery.lost_out.max(1).min(self.recovery.packets_out);
        if self.recovery.sacked_out + holes <= self.recovery.packets_out {
            return;
        }
        self.recovery.sacked_out = self.recovery.packets_out - holes;
        let most = u32::try_from(cx.sysctl.tcp_max_reordering).unwrap_or(300);
        self.recovery.reordering = (self.recovery.packets_out + addend).min(most);
        self.recovery.reord_seen += 1;
        cx.count(Counter::TcpExtTCPRenoReorder);
    }

    /// `tcp_fastretrans_alert`: something about this ACK is odd, or recovery is under way.
    pub(crate) fn fastretrans_alert(
        &mut self,
        cx: &mut Cx<'_>,
        prior_snd_una: SeqNum,
        num_dupack: u32,
        flags: &mut AckFlags,
        rexmit: &mut Rexmit,
    ) {
        if self.recovery.packets_out == 0 {
            self.recovery.sacked_out = 0;
        }
        if flags.ece {
            self.recovery.prior_ssthresh = 0;
        }
        if self.check_sack_reneging(cx, flags) {
            return;
        }
        if self.leave_state(cx) {
            return;
        }
        let go_on = match self.recovery.ca_state {
            CaState::Recovery => self.in_recovery(cx, prior_snd_una, num_dupack, flags),
            CaState::Loss => {
                self.process_loss(cx, *flags, num_dupack, rexmit);
                if self.recovery.ca_state != CaState::Loss {
                    // tcp_update_rto_time
                    self.recovery.rto_time_ms = self.recovery.rto_time(cx.now);
                    self.recovery.rto_stamp = None;
                }
                self.identify_packet_loss(cx, flags);
                if self.recovery.ca_state == CaState::Open || flags.lost_retrans {
                    self.maybe_enter_recovery(cx, num_dupack, flags)
                } else {
                    return;
                }
            }
            CaState::Open | CaState::Disorder | CaState::Cwr => {
                self.maybe_enter_recovery(cx, num_dupack, flags)
            }
        };
        if go_on {
            *rexmit = Rexmit::Lost;
        }
    }

    /// Step D: a state ends when what was sent before it is acknowledged. `true` when nothing else is to be done.
    fn leave_state(&mut self, cx: &mut Cx<'_>) -> bool {
        if self.recovery.ca_state == CaState::Open {
            self.retrans_stamp = None;
            return false;
        }
        if self.snd.una.before(self.recovery.high_seq) {
            return false;
        }
        match self.recovery.ca_state {
            CaState::Cwr => {
                // Only something above high_seq proves that CWR reached the peer.
                if self.snd.una != self.recovery.high_seq {
                    self.end_cwnd_reduction(cx);
                    self.set_ca_state(cx, CaState::Open);
                }
                false
            }
            CaState::Recovery => {
                if self.is_reno() {
                    self.recovery.sacked_out = 0;
                }
                if self.try_undo_recovery(cx) {
                    return true;
                }
                self.end_cwnd_reduction(cx);
                false
            }
            CaState::Open | CaState::Disorder | CaState::Loss => false,
        }
    }

    fn in_recovery(
        &mut self,
        cx: &mut Cx<'_>,
        prior_snd_una: SeqNum,
        num_dupack: u32,
        flags: &mut AckFlags,
    ) -> bool {
        if !flags.snd_una_advanced {
            if self.is_reno() {
                self.add_reno_sack(cx, num_dupack, flags.ece);
            }
        } else if self.try_undo_partial(cx, prior_snd_una) {
            return false;
        }
        if self.try_undo_dsack(cx) {
            self.try_to_open(cx, *flags);
        }
        self.identify_packet_loss(cx, flags);
        if self.recovery.ca_state != CaState::Recovery {
            if self.recovery.lost_out == 0 {
                return false;
            }
            // The undo ended recovery, but something is lost all the same.
            self.enter_recovery(cx, flags.ece);
        }
        true
    }

    fn maybe_enter_recovery(&mut self, cx: &mut Cx<'_>, num_dupack: u32, flags: &mut AckFlags) -> bool {
        if self.is_reno() {
            if flags.snd_una_advanced {
                self.recovery.sacked_out = 0;
            }
            self.add_reno_sack(cx, num_dupack, flags.ece);
        }
        if self.recovery.ca_state <= CaState::Disorder {
            self.try_undo_dsack(cx);
        }
        self.identify_packet_loss(cx, flags);
        if self.recovery.lost_out == 0 {
            // tcp_time_to_recover: nothing is proven lost.
            self.try_to_open(cx, *flags);
            return false;
        }
        if self.recovery.ca_state < CaState::Cwr && self.mtu_probe_lost() {
            self.mtu_probe_failed(cx);
            return false;
        }
        self.enter_recovery(cx, flags.ece);
        true
    }
}
