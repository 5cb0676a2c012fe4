//! Fifth check of RFC 9293 §3.10.7.4: the acknowledgment. What it takes off the retransmission queue, what it
//! says about the round trip, and what the sender does next.
//!
//! Linux: tcp_input.c `tcp_ack`, `tcp_clean_rtx_queue`, `tcp_ack_update_rtt`, `tcp_ack_update_window`.

use core::time::Duration;

use wire::Instant;
use wire::tcp::SeqNum;

use super::cc::{CaState, Cc, CcCx, RateSample};
use super::chrono::Chrono;
use super::cx::{Cx, delta_us};
use super::input::Segment;
use super::recovery::Rexmit;
use super::tcb::{State, Tcb};
use crate::mib::Counter;
use crate::{DropReason, KernelProfile};

/// `FLAG_*`: what an ACK did.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are Linux's flags, one for one")]
pub(crate) struct AckFlags {
    pub(crate) data: bool,
    pub(crate) win_update: bool,
    pub(crate) data_acked: bool,
    pub(crate) retrans_data_acked: bool,
    pub(crate) syn_acked: bool,
    pub(crate) data_sacked: bool,
    pub(crate) ece: bool,
    pub(crate) slowpath: bool,
    pub(crate) orig_sack_acked: bool,
    pub(crate) snd_una_advanced: bool,
    pub(crate) dsacking_ack: bool,
    pub(crate) sack_reneging: bool,
    pub(crate) update_ts_recent: bool,
    pub(crate) no_challenge_ack: bool,
    pub(crate) ack_maybe_delayed: bool,
    pub(crate) set_xmit_timer: bool,
    pub(crate) lost_retrans: bool,
    pub(crate) dsack_tlp: bool,
}

impl AckFlags {
    fn acked(&self) -> bool {
        self.data_acked || self.syn_acked
    }

    /// `FLAG_NOT_DUP`
    pub(crate) fn not_dup(&self) -> bool {
        self.data || self.win_update || self.acked()
    }

    fn ca_alert(&self) -> bool {
        self.data_sacked || self.ece || self.dsacking_ack
    }

    /// `FLAG_FORWARD_PROGRESS`
    fn forward_progress(&self) -> bool {
        self.acked() || self.data_sacked
    }
}

/// What SACK processing found (`struct tcp_sacktag_state`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct SackState {
    /// Send times of the first and last newly SACKed entries that were never retransmitted.
    pub(crate) first_sackt: Option<Instant>,
    pub(crate) last_sackt: Option<Instant>,
    /// The lowest sequence number that proves reordering.
    pub(crate) reord: SeqNum,
    pub(crate) sack_delivered: u32,
    pub(crate) rate: RateSample,
}

impl Tcb {
    /// Lets the congestion control module look and act.
    pub(crate) fn with_cc<R>(&mut self, cx: &mut Cx<'_>, f: impl FnOnce(&mut Cc, &mut CcCx<'_>) -> R) -> R {
        let packets_in_flight = self.in_flight();
        let hz = cx.hz();
        let Tcb { cc, window, recovery, pacing_rate, snd, rtt, .. } = self;
        let mut cc_cx = CcCx {
            now: cx.now,
            hz,
            window,
            ca_state: recovery.ca_state,
            snd_una: snd.una,
            snd_nxt: snd.nxt,
            srtt_us8: rtt.srtt_us8,
            min_rtt_us: rtt.min_rtt.value(),
            mss: u32::from(self.mss),
            packets_in_flight,
            delivered: recovery.delivered,
            lost: recovery.lost,
            delivered_mstamp: recovery.delivered_mstamp.unwrap_or(cx.now),
            app_limited: &mut recovery.app_limited,
            next_departure: self.next_departure,
            pacing_rate,
            pacing_max: self.user.max_pacing_rate.unwrap_or(u64::MAX),
            paced: self.pacing_needed,
            last_sent: self.last_sent,
            rng: cx.rng,
            mib: cx.mib,
        };
        f(cc, &mut cc_cx)
    }

    /// `TCP_CONGESTION` on a connection (`tcp_reinit_congestion_control`).
    pub(crate) fn change_congestion(&mut self, cx: &mut Cx<'_>, cc: Cc) {
        self.cc = cc;
        self.pacing_needed = self.user.max_pacing_rate.is_some() || self.cc.needs_pacing();
        if self.state != State::Close {
            self.with_cc(cx, |cc, k| cc.init(k));
        }
    }

    /// `tcp_count_delivered`
    pub(crate) fn count_delivered(&mut self, packets: u32, ece: bool) {
        self.recovery.delivered = self.recovery.delivered.wrapping_add(packets);
        if ece {
            self.recovery.delivered_ce = self.recovery.delivered_ce.wrapping_add(packets);
        }
    }

    /// `tcp_highest_sack_seq`
    pub(crate) fn highest_sack_seq(&self) -> SeqNum {
        if self.recovery.sacked_out == 0 {
            self.snd.una
        } else if self.is_reno() {
            // Nothing moves it without SACK: it stays at the oldest entry (tcp_event_new_data_sent sets it).
            self.rtx.head().map_or(self.snd.nxt, |head| head.seq)
        } else {
            self.recovery.highest_sack
        }
    }

    /// Processes an acknowledgment (`tcp_ack`). `Ok(false)`: an old one.
    pub(crate) fn process_ack(
        &mut self,
        cx: &mut Cx<'_>,
        seg: &Segment,
        mut flags: AckFlags,
    ) -> Result<bool, DropReason> {
        let prior_snd_una = self.snd.una;
        if seg.ack.before(prior_snd_una) {
            return self.old_ack(cx, seg, flags);
        }
        if seg.ack.after(self.snd.nxt) {
            // RFC 5961 §5.2: discarded, and answered. Measured on 6.18.44; 6.12 keeps silent (random-isn-known).
            if !flags.no_challenge_ack && cx.profile >= KernelProfile::V6_18 {
                self.send_challenge_ack(cx);
            }
            return Err(DropReason::TcpAckUnsentData);
        }
        if seg.ack.after(prior_snd_una) {
            flags.snd_una_advanced = true;
            self.retransmits = 0;
        }
        let prior_fack = if self.is_reno() { prior_snd_una } else { self.highest_sack_seq() };
        let prior_packets = self.recovery.packets_out;
        let delivered = self.recovery.delivered;
        let lost = self.recovery.lost;
        let mut sack = SackState {
            first_sackt: None,
            last_sackt: None,
            reord: self.snd.nxt,
            sack_delivered: 0,
            rate: RateSample { prior_in_flight: self.in_flight(), ..RateSample::default() },
        };
        if flags.update_ts_recent {
            self.replace_ts_recent(cx, seg.seq);
        }
        self.update_window_and_sacks(cx, seg, prior_snd_una, &mut flags, &mut sack);
        self.ecn_accept_cwr(seg);
        self.soft_error = None;
        self.probes_out = 0;
        self.last_ack_received = cx.now;
        cx.confirm |= flags.snd_una_advanced || flags.data_sacked;
        let mut rexmit = Rexmit::None;
        if prior_packets == 0 {
            if flags.dsacking_ack {
                self.fastretrans_alert(cx, prior_snd_una, 0, &mut flags, &mut rexmit);
                newly_delivered(cx, self.recovery.delivered.wrapping_sub(delivered), flags.ece);
            }
            self.ack_probe(cx);
            self.process_tlp_ack(cx, seg.ack, flags);
            return Ok(true);
        }
        self.clean_rtx_queue(cx, prior_fack, prior_snd_una, &mut flags, &mut sack);
        self.rack_update_reo_wnd(cx, &sack.rate);
        self.process_tlp_ack(cx, seg.ack, flags);
        if !flags.not_dup() || flags.ca_alert() || self.recovery.ca_state != CaState::Open {
            let is_dup = !(flags.snd_una_advanced || flags.not_dup() || flags.dsacking_ack);
            self.fastretrans_alert(cx, prior_snd_una, u32::from(is_dup), &mut flags, &mut rexmit);
        }
        if flags.set_xmit_timer {
            self.set_xmit_timer(cx);
        }
        let delivered = self.recovery.delivered.wrapping_sub(delivered);
        newly_delivered(cx, delivered, flags.ece);
        let lost = self.recovery.lost.wrapping_sub(lost);
        sack.rate.is_ack_delayed = flags.ack_maybe_delayed;
        self.rate_generate(cx, delivered, lost, &mut sack.rate);
        self.cong_control(cx, delivered, flags, &sack.rate);
        self.xmit_recovery(cx, rexmit);
        Ok(true)
    }

    /// An ACK below `snd.una`: it may still carry SACKs; one far below is an attack (RFC 5961 §5.2).
    fn old_ack(&mut self, cx: &mut Cx<'_>, seg: &Segment, mut flags: AckFlags) -> Result<bool, DropReason> {
        let prior_snd_una = self.snd.una;
        let acked = u32::try_from(self.totals.bytes_acked).unwrap_or(u32::MAX);
        let max_window = self.snd.max_window.min(acked);
        if seg.ack.before(SeqNum(prior_snd_una.0.wrapping_sub(max_window))) {
            if !flags.no_challenge_ack {
                self.send_challenge_ack(cx);
            }
            return Err(DropReason::TcpTooOldAck);
        }
        if seg.header.options.has_sack() && self.opts.sack {
            let mut sack = SackState {
                first_sackt: None,
                last_sackt: None,
                reord: self.snd.nxt,
                sack_delivered: 0,
                rate: RateSample::default(),
            };
            let mut rexmit = Rexmit::None;
            let delivered = self.recovery.delivered;
            self.sacktag_write_queue(cx, seg, prior_snd_una, &mut flags, &mut sack);
            self.fastretrans_alert(cx, prior_snd_una, 0, &mut flags, &mut rexmit);
            let delivered = self.recovery.delivered.wrapping_sub(delivered);
            newly_delivered(cx, delivered, flags.ece);
            self.xmit_recovery(cx, rexmit);
        }
        Ok(false)
    }

    fn update_window_and_sacks(
        &mut self,
        cx: &mut Cx<'_>,
        seg: &Segment,
        prior_snd_una: SeqNum,
        flags: &mut AckFlags,
        sack: &mut SackState,
    ) {
        if flags.snd_una_advanced && !flags.slowpath {
            // Header prediction: the window is unchanged.
            self.snd.wl1 = seg.seq;
            self.snd_una_update(seg.ack);
            flags.win_update = true;
            cx.count(Counter::TcpExtTCPHPAcks);
            return;
        }
        if seg.seq == seg.end_seq {
            cx.count(Counter::TcpExtTCPPureAcks);
        } else {
            flags.data = true;
        }
        self.ack_update_window(cx, seg, flags);
        if self.opts.sack && seg.header.options.has_sack() {
            self.sacktag_write_queue(cx, seg, prior_snd_una, flags, sack);
        }
        if self.opts.ecn && seg.header.flags.ece() && !seg.header.flags.syn() {
            flags.ece = true;
        }
        if sack.sack_delivered > 0 {
            self.count_delivered(sack.sack_delivered, flags.ece);
        }
    }

    /// `tcp_snd_una_update`
    fn snd_una_update(&mut self, ack: SeqNum) {
        let delta = u64::from((ack - self.snd.una) as u32); // not before snd.una
        self.totals.bytes_acked += delta;
        self.snd.una = ack;
    }

    /// `tcp_may_update_window`
    pub(crate) fn may_update_window(&self, seg: &Segment, nwin: u32) -> bool {
        seg.ack.after(self.snd.una)
            || seg.seq.after(self.snd.wl1)
            || (seg.seq == self.snd.wl1 && (nwin > self.snd.wnd || nwin == 0))
    }

    fn ack_update_window(&mut self, cx: &mut Cx<'_>, seg: &Segment, flags: &mut AckFlags) {
        let mut nwin = u32::from(seg.header.window);
        if !seg.header.flags.syn() {
            nwin <<= self.snd.wscale;
        }
        if self.may_update_window(seg, nwin) {
            flags.win_update = true;
            self.snd.wl1 = seg.seq;
            if self.snd.wnd != nwin {
                self.snd.wnd = nwin;
                if !self.unsent.is_empty() {
                    self.slow_start_after_idle_check(cx);
                }
                if nwin > self.snd.max_window {
                    self.snd.max_window = nwin;
                    self.sync_mss(cx, self.path_mtu);
                }
            }
        }
        self.snd_una_update(seg.ack);
    }

    /// Takes everything acknowledged off the queue.
    fn clean_rtx_queue(
        &mut self,
        cx: &mut Cx<'_>,
        prior_fack: SeqNum,
        prior_snd_una: SeqNum,
        flags: &mut AckFlags,
        sack: &mut SackState,
    ) {
        let mut c =
            Cleaned { reord: self.snd.nxt, prior_sacked: self.recovery.sacked_out, ..Cleaned::default() };
        while let Some(head) = self.rtx.head() {
            let whole = !head.end_seq.after(self.snd.una);
            if !whole && (head.pcount == 1 || !self.snd.una.after(head.seq)) {
                break;
            }
            if !self.clean_entry(cx, whole, flags, sack, &mut c) {
                break;
            }
        }
        if self.rtx.is_empty() {
            self.chrono.stop(cx.now, Chrono::Busy, self.unsent.is_empty());
        }
        if self.recovery.packets_out == 0 && !self.is_reno() {
            // FASTRETRANS_DEBUG, which is on: what leaked is forgotten.
            let r = &mut self.recovery;
            (r.lost_out, r.sacked_out, r.retrans_out) = (0, 0, 0);
        }
        self.data.acknowledge(self.snd.una, cx.chunks);
        self.mem_reclaim(cx);
        if self.notes.is_some() {
            self.notes_acked(cx);
        }
        if self.snd.urg_mode && self.snd.up.between(prior_snd_una, self.snd.una) {
            self.snd.up = self.snd.una;
            self.snd.urg_mode = false;
        }
        let head_sent = self.rtx.head().map(|h| (h.sacked.acked, h.sent));
        if head_sent.is_some_and(|(acked, _)| acked) {
            flags.sack_reneging = true;
        }
        let (mut seq_rtt, mut ca_rtt, mut sack_rtt) = (None, None, None);
        if let (Some(first), Some(last)) = (c.first_ackt, c.last_ackt)
            && !flags.retrans_data_acked
        {
            seq_rtt = Some(delta_us(cx.now, first));
            ca_rtt = Some(delta_us(cx.now, last));
            let little = ((self.snd.una - prior_snd_una) as u32) < u32::from(self.mss); // forward
            flags.ack_maybe_delayed = c.packets == 1
                && c.fully
                && c.prior_sacked == 0
                && little
                && sack.rate.prior_delivered.wrapping_add(1) == self.recovery.delivered
                && !flags.ca_alert()
                && !flags.syn_acked;
        }
        if let (Some(first), Some(last)) = (sack.first_sackt, sack.last_sackt) {
            sack_rtt = Some(delta_us(cx.now, first));
            ca_rtt = Some(delta_us(cx.now, last));
        }
        let updated = self.ack_update_rtt(cx, flags, seq_rtt, sack_rtt, ca_rtt, &mut sack.rate);
        if flags.acked() {
            flags.set_xmit_timer = true;
            self.mtu_probe_acked(cx);
            if self.is_reno() {
                self.remove_reno_sacks(cx, c.packets, flags.ece);
                if flags.retrans_data_acked {
                    flags.orig_sack_acked = false;
                }
            } else if c.reord.before(prior_fack) {
                // A hole that was never retransmitted got filled: reordering.
                self.check_sack_reordering(cx, c.reord, false);
            }
        } else if let (Some((_, head)), true, Some(rtt)) = (head_sent, updated, sack_rtt)
            && rtt > delta_us(cx.now, head)
        {
            // The SACKed data was sent before the head was: the timer may start anew.
            flags.set_xmit_timer = true;
        }
        if sack.rate.rtt_us.is_some() {
            let rtt = sack.rate.rtt_us;
            self.with_cc(cx, |cc, k| cc.pkts_acked(k, rtt));
        }
    }

    /// One entry of [`Tcb::clean_rtx_queue`]; `false` when it stays in part.
    fn clean_entry(
        &mut self,
        cx: &mut Cx<'_>,
        whole: bool,
        flags: &mut AckFlags,
        sack: &mut SackState,
        c: &mut Cleaned,
    ) -> bool {
        let head = *self.rtx.head().expect("the caller looked at it");
        let mut pcount = head.pcount;
        if !whole {
            // tcp_tso_acked: a part of a super-segment.
            let mss = head.mss;
            let cut = (self.snd.una - head.seq) as u32; // inside the entry
            let head_mut = self.rtx.at_mut(0).expect("there");
            head_mut.seq = self.snd.una;
            head_mut.set_segments(mss.max(1));
            pcount -= head_mut.pcount;
            debug_assert!(cut > 0, "something of it is acknowledged");
            if pcount == 0 {
                return false;
            }
            c.fully = false;
        }
        let s = head.sacked;
        let r = &mut self.recovery;
        if s.retrans || s.ever_retrans {
            if s.retrans {
                r.retrans_out -= pcount;
            }
            flags.retrans_data_acked = true;
        } else if !s.acked {
            c.last_ackt = Some(head.sent);
            c.first_ackt = c.first_ackt.or(Some(head.sent));
            c.reord = c.reord.earliest(head.seq);
            if !head.end_seq.after(r.high_seq) {
                flags.orig_sack_acked = true;
            }
        }
        if s.acked {
            r.sacked_out -= pcount;
        } else if self.opts.sack {
            let ece = flags.ece;
            self.count_delivered(pcount, ece);
            if !self.spurious_retrans(&head) {
                self.rack_advance(cx.now, s.retrans || s.ever_retrans, head.end_seq, head.sent);
            }
        }
        let r = &mut self.recovery;
        if s.lost {
            r.lost_out -= pcount;
        }
        r.packets_out -= pcount;
        c.packets += pcount;
        self.rate_delivered(&head, &mut sack.rate);
        if head.flags.syn() {
            flags.syn_acked = true;
            self.retrans_stamp = None;
        } else {
            flags.data_acked = true;
        }
        if !whole {
            return false;
        }
        if self.recovery.retransmit_hint == self.rtx.slot_at(0) {
            self.recovery.retransmit_hint = None;
        }
        self.rtx.pop_front();
        true
    }

    /// `tcp_skb_spurious_retrans`: the ACK echoes a timestamp from before this retransmission.
    fn spurious_retrans(&self, skb: &super::skb::Skb) -> bool {
        (skb.sacked.retrans || skb.sacked.ever_retrans)
            && self.ts.saw
            && self.ts.rcv_tsecr != 0
            && SeqNum(self.ts.rcv_tsecr.wrapping_sub(self.ts.offset))
                .before(SeqNum(super::cx::clock_ms(skb.sent)))
    }

    /// `tcp_ack_update_rtt`: the sample for RTO and congestion control. Karn: never from a retransmission unless
    /// timestamps tell.
    fn ack_update_rtt(
        &mut self,
        cx: &mut Cx<'_>,
        flags: &AckFlags,
        seq_rtt: Option<u32>,
        sack_rtt: Option<u32>,
        mut ca_rtt: Option<u32>,
        rate: &mut RateSample,
    ) -> bool {
        let mut rtt = seq_rtt.or(sack_rtt);
        if rtt.is_none() && self.ts.saw && self.ts.rcv_tsecr != 0 && flags.acked() {
            rtt = self.rtt_by_timestamp(cx);
            ca_rtt = rtt;
        }
        rate.rtt_us = ca_rtt;
        let Some(rtt) = rtt else { return false };
        if let Some(ca_rtt) = ca_rtt {
            self.update_min_rtt(cx, ca_rtt, flags.ack_maybe_delayed);
        }
        let rto_min = self.rto_min_us(cx);
        self.rtt.sample(rtt, self.snd.una, self.snd.nxt, rto_min);
        self.set_rto(cx);
        self.backoff = 0;
        true
    }

    /// `tcp_synack_rtt_meas`: the round trip of our SYN-ACK, from when it was sent unless it was resent, else by the
    /// timestamp that the ACK echoes.
    pub(crate) fn synack_rtt_measure(&mut self, cx: &mut Cx<'_>, sent: Option<Instant>) {
        let rtt = sent.map(|at| delta_us(cx.now, at));
        let flags = AckFlags { syn_acked: true, ..AckFlags::default() };
        let mut rate = RateSample::default();
        self.ack_update_rtt(cx, &flags, rtt, None, rtt, &mut rate);
    }

    /// `tcp_rtt_tsopt_us`
    fn rtt_by_timestamp(&self, cx: &Cx<'_>) -> Option<u32> {
        let sent = self.ts.rcv_tsecr.wrapping_sub(self.ts.offset);
        let delta = cx.clock_ms().wrapping_sub(sent);
        (delta < i32::MAX as u32 / 1000).then(|| delta.max(1) * 1000)
    }

    fn update_min_rtt(&mut self, cx: &Cx<'_>, rtt_us: u32, maybe_delayed: bool) {
        if maybe_delayed && self.rtt.min_rtt.value().is_some_and(|m| rtt_us > m) {
            return; // a delayed ACK says nothing about the path
        }
        let window = Duration::from_secs(u64::try_from(cx.sysctl.tcp_min_rtt_wlen).unwrap_or(300));
        self.rtt.min_rtt.update(cx.now, window, rtt_us.max(1));
    }

    /// `tcp_cong_control`
    fn cong_control(&mut self, cx: &mut Cx<'_>, delivered: u32, flags: AckFlags, rate: &RateSample) {
        if matches!(self.cc, Cc::Bbr(_)) {
            self.with_cc(cx, |cc, k| cc.cong_control(k, rate));
            return;
        }
        if self.recovery.in_cwnd_reduction() {
            self.cwnd_reduction(delivered, rate.losses > 0, flags.snd_una_advanced);
        } else if self.may_raise_cwnd(cx, flags) {
            // tcp_is_cwnd_limited: both modules ask it first.
            if self.window.is_limited() {
                self.with_cc(cx, |cc, k| cc.cong_avoid(k, delivered));
            }
            self.window.used_stamp = cx.now;
        }
        self.update_pacing_rate(cx);
    }

    fn may_raise_cwnd(&self, cx: &Cx<'_>, flags: AckFlags) -> bool {
        let usual = u32::try_from(cx.sysctl.tcp_reordering).unwrap_or(3);
        if self.recovery.reordering > usual { flags.forward_progress() } else { flags.data_acked }
    }

    /// `tcp_xmit_recovery`
    fn xmit_recovery(&mut self, cx: &mut Cx<'_>, rexmit: Rexmit) {
        if rexmit == Rexmit::None || self.state == State::SynSent {
            return;
        }
        if rexmit == Rexmit::New {
            self.push_pending(cx, super::tcb::Nagle { off: true, ..super::tcb::Nagle::default() });
            if self.snd.nxt.after(self.recovery.high_seq) {
                return;
            }
            self.recovery.frto = false;
        }
        self.xmit_retransmit_queue(cx);
    }
}

/// What [`Tcb::clean_rtx_queue`] gathers.
#[derive(Clone, Copy, Debug)]
struct Cleaned {
    first_ackt: Option<Instant>,
    last_ackt: Option<Instant>,
    reord: SeqNum,
    prior_sacked: u32,
    packets: u32,
    fully: bool,
}

impl Default for Cleaned {
    fn default() -> Self {
        Cleaned {
            first_ackt: None,
            last_ackt: None,
            reord: SeqNum(0),
            prior_sacked: 0,
            packets: 0,
            fully: true,
        }
    }
}

/// `tcp_newly_delivered`: counts packets, and those that an ACK with ECN echo acknowledged.
fn newly_delivered(cx: &mut Cx<'_>, packets: u32, ece: bool) {
    if packets > 0 {
        cx.mib.add(Counter::TcpExtTCPDelivered, u64::from(packets));
        if ece {
            cx.mib.add(Counter::TcpExtTCPDeliveredCE, u64::from(packets));
        }
    }
}
