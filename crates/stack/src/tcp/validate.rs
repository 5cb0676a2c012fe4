//! The first four checks of RFC 9293 §3.10.7.4 with RFC 5961's and RFC 7323's: is this segment acceptable at all?
//!
//! Linux: tcp_input.c `tcp_validate_incoming`, `tcp_sequence`, `tcp_paws_discard`, `tcp_send_challenge_ack`,
//! `tcp_oow_rate_limited`.

use core::ops::ControlFlow;

use wire::tcp::{Flags, SeqNum};

use super::cx::{Cx, Step};
use super::input::Segment;
use super::rx::ackpolicy::MAX_QUICKACKS;
use super::tcb::{State, Tcb};
use crate::mib::Counter;
use crate::{DropReason, KernelProfile};

/// `TCP_PAWS_24DAYS`: a stored timestamp this old says nothing any more, seconds.
const PAWS_24_DAYS: u32 = 60 * 60 * 24 * 24;
/// `TCP_PAWS_WINDOW`: so much older is still taken, ticks of the timestamp clock.
const PAWS_WINDOW: i32 = 1;

impl Tcb {
    /// RFC 7323 §5.3 R1: a timestamp from the past is an old duplicate.
    pub(crate) fn validate_paws(&mut self, cx: &mut Cx<'_>, seg: &Segment) -> Step {
        self.parse_timestamps(seg);
        if !self.ts.saw || !self.paws_discard(cx, seg) {
            return ControlFlow::Continue(());
        }
        let flags = seg.header.flags;
        if flags.rst() {
            return ControlFlow::Continue(()); // resets are judged by number alone
        }
        if flags.syn() {
            return self.challenge_syn(cx);
        }
        cx.count(Counter::TcpExtPAWSEstab);
        if !self.oow_rate_limited(cx, seg, Counter::TcpExtTCPACKSkippedPAWS) {
            self.send_dup_ack(cx, seg);
        }
        ControlFlow::Break(DropReason::TcpRfc7323Paws)
    }

    fn parse_timestamps(&mut self, seg: &Segment) {
        match seg.header.options.timestamps().filter(|_| self.ts.ok) {
            Some(ts) => {
                self.ts.saw = true;
                self.ts.rcv_tsval = ts.val;
                self.ts.rcv_tsecr = ts.ecr;
            }
            None => self.ts.saw = false,
        }
    }

    /// `tcp_paws_discard` with `tcp_paws_check`
    fn paws_discard(&self, cx: &Cx<'_>, seg: &Segment) -> bool {
        !self.paws_check(cx, PAWS_WINDOW) && !self.disordered_ack(seg)
    }

    /// `tcp_paws_check`: no older than `window`; or what is stored says nothing: too long ago, or 0.
    fn paws_check(&self, cx: &Cx<'_>, window: i32) -> bool {
        let older = self.ts.recent.wrapping_sub(self.ts.rcv_tsval) as i32; // wraps as on the wire
        older <= window || cx.clock_s() >= self.ts.recent_stamp + PAWS_24_DAYS || self.ts.recent == 0
    }

    /// `tcp_disordered_ack`: a pure duplicate ACK, reordered in the network.
    fn disordered_ack(&self, seg: &Segment) -> bool {
        let older_ms = self.ts.recent.wrapping_sub(self.ts.rcv_tsval) as i32; // wraps as on the wire
        seg.header.flags.contains(Flags::ACK)
            && seg.seq == self.rcv.nxt
            && seg.seq == seg.end_seq
            && seg.ack == self.snd.una
            && !self.may_update_window(seg, u32::from(seg.header.window) << self.snd.wscale)
            && i128::from(older_ms) <= i128::try_from(self.rto.as_millis()).unwrap_or(i128::MAX).min(1_000)
    }

    /// `tcp_store_ts_recent`
    pub(crate) fn store_ts_recent(&mut self, cx: &Cx<'_>) {
        self.ts.recent = self.ts.rcv_tsval;
        self.ts.recent_stamp = cx.clock_s();
    }

    /// `tcp_replace_ts_recent`
    pub(crate) fn replace_ts_recent(&mut self, cx: &Cx<'_>, seq: SeqNum) {
        if self.ts.saw && !seq.after(self.rcv.wup) && self.paws_check(cx, 0) {
            self.store_ts_recent(cx);
        }
    }

    /// First: the sequence number.
    pub(crate) fn validate_sequence(&mut self, cx: &mut Cx<'_>, seg: &Segment) -> Step {
        let limit = self.rcv.nxt + self.receive_window();
        let reason = if seg.end_seq.before(self.rcv.wup) {
            DropReason::TcpOldSequence
        } else if seg.seq.after(limit) {
            DropReason::TcpInvalidSequence
        } else if cx.profile >= KernelProfile::V6_18 && seg.end_seq.after(limit) && !self.rx.ready.is_empty()
        {
            // Beyond the window only while nothing waits to be read (6.17).
            DropReason::TcpInvalidEndSequence
        } else {
            return ControlFlow::Continue(());
        };
        let flags = seg.header.flags;
        if flags.rst() {
            if self.reset_after_fin(seg) {
                self.reset_by_peer(cx, Some(seg));
            }
        } else if flags.syn() {
            return self.challenge_syn(cx);
        } else {
            if cx.profile >= KernelProfile::V6_18 && reason != DropReason::TcpOldSequence {
                cx.count(Counter::TcpExtBeyondWindow);
            }
            if !self.oow_rate_limited(cx, seg, Counter::TcpExtTCPACKSkippedSeq) {
                self.send_dup_ack(cx, seg);
            }
        }
        ControlFlow::Break(reason)
    }

    /// `tcp_reset_check`: a RST for a connection whose FIN the peer's stack acknowledged but never passed on
    /// (macOS sends it one below).
    fn reset_after_fin(&self, seg: &Segment) -> bool {
        matches!(self.state, State::CloseWait | State::LastAck | State::Closing)
            && seg.seq == SeqNum(self.rcv.nxt.0.wrapping_sub(1))
    }

    /// Second: RST (RFC 5961 §3): exact, or a challenge.
    pub(crate) fn validate_reset(&mut self, cx: &mut Cx<'_>, seg: &Segment) -> Step {
        if !seg.header.flags.rst() {
            return ControlFlow::Continue(());
        }
        let right_of_sacks = self.rx.sacks.as_slice().iter().map(|b| b.right).reduce(SeqNum::latest);
        let exact = seg.seq == self.rcv.nxt
            || self.reset_after_fin(seg)
            || (self.opts.sack && right_of_sacks == Some(seg.seq));
        if exact {
            self.reset_by_peer(cx, Some(seg));
        } else {
            if self.fo.option_sent && self.totals.data_segs_in == 0 && self.state == State::Established {
                Tcb::fastopen_disable(cx); // a RST beyond a hole is all that came
            }
            self.send_challenge_ack(cx);
        }
        ControlFlow::Break(DropReason::TcpReset)
    }

    /// Fourth: SYN (RFC 5961 §4): never believed, always challenged.
    pub(crate) fn validate_syn(&mut self, cx: &mut Cx<'_>, seg: &Segment) -> Step {
        if !seg.header.flags.syn() {
            return ControlFlow::Continue(());
        }
        let completes_simultaneous_open = self.state == State::SynRecv
            && seg.header.flags.contains(Flags::ACK)
            && seg.seq + 1 == seg.end_seq
            && seg.seq + 1 == self.rcv.nxt
            && seg.ack == self.snd.nxt;
        if completes_simultaneous_open {
            return ControlFlow::Continue(());
        }
        self.challenge_syn(cx)
    }

    fn challenge_syn(&mut self, cx: &mut Cx<'_>) -> Step {
        if self.state == State::Established {
            cx.count(Counter::TcpInErrs); // `syn_inerr`: only tcp_rcv_established asks for it
        }
        cx.count(Counter::TcpExtTCPSYNChallenge);
        self.send_challenge_ack(cx);
        ControlFlow::Break(DropReason::TcpInvalidSyn)
    }

    /// `tcp_send_challenge_ack`: "say again with the right number".
    pub(crate) fn send_challenge_ack(&mut self, cx: &mut Cx<'_>) {
        if self.rate_limited(cx, Counter::TcpExtTCPACKSkippedChallenge) {
            return;
        }
        // Without limit by default since 6.1; a set one is for all of the host's connections.
        let limit = cx.sysctl.tcp_challenge_ack_limit;
        if limit != i32::MAX {
            let limit = u32::try_from(limit).unwrap_or(0);
            if !cx.mem.may_challenge(cx.now, cx.profile, limit, cx.rng) {
                return;
            }
        }
        cx.count(Counter::TcpExtTCPChallengeACK);
        self.send_ack(cx);
    }

    /// `tcp_oow_rate_limited`: segments with data are always answered, others at most every
    /// `tcp_invalid_ratelimit`.
    fn oow_rate_limited(&mut self, cx: &mut Cx<'_>, seg: &Segment, counter: Counter) -> bool {
        let has_data = seg.seq != seg.end_seq && !seg.header.flags.syn();
        !has_data && self.rate_limited(cx, counter)
    }

    fn rate_limited(&mut self, cx: &mut Cx<'_>, counter: Counter) -> bool {
        if let Some(last) = self.last_oow_ack
            && cx.now - last < cx.sysctl.tcp_invalid_ratelimit
        {
            cx.count(counter);
            return true;
        }
        self.last_oow_ack = Some(cx.now);
        false
    }

    /// `tcp_send_dupack`: the peer resends what we have.
    fn send_dup_ack(&mut self, cx: &mut Cx<'_>, seg: &Segment) {
        if seg.end_seq != seg.seq && seg.seq.before(self.rcv.nxt) {
            cx.count(Counter::TcpExtDelayedACKLost);
            self.enter_quickack_mode(cx, MAX_QUICKACKS);
            if self.opts.sack && cx.sysctl.tcp_dsack != 0 {
                let end = seg.end_seq.earliest(self.rcv.nxt);
                self.dsack_set(cx, seg.seq, end);
            }
        }
        self.send_ack(cx);
    }
}
