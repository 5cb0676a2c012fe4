//! The persist timer: probing a window that is closed (RFC 9293 §3.8.6.1), and one too small to be used.
//!
//! Linux: tcp_timer.c `tcp_probe_timer`; tcp_output.c `tcp_send_probe0`, `tcp_write_wakeup`; tcp_input.c `tcp_ack_probe`.

use core::time::Duration;

use wire::tcp::{Flags, SeqNum};

use super::cx::Cx;
use super::rto::{RESOURCE_PROBE_INTERVAL, rto_max};
use super::tcb::{State, Tcb};
use super::timer::Pending;
use crate::mib::Counter;

/// `TCP_RTO_MIN`
const RTO_MIN: Duration = Duration::from_millis(200);
/// `ilog2(TCP_RTO_MAX / TCP_RTO_MIN) + 1`
const MAX_BACKOFF: u8 = 10;

impl Tcb {
    /// `tcp_probe0_base`
    fn probe0_base(&self) -> Duration {
        self.rto.max(RTO_MIN)
    }

    /// `tcp_probe0_when`
    fn probe0_when(&self, cx: &Cx<'_>) -> Duration {
        let shift = u32::from(self.backoff.min(MAX_BACKOFF));
        (self.probe0_base() * (1 << shift)).min(rto_max(cx.sysctl))
    }

    /// `tcp_clamp_probe0_to_user_timeout`
    fn clamp_probe0(&self, cx: &Cx<'_>, when: Duration) -> Duration {
        let limit = self.user.user_timeout;
        let (false, Some(since)) = (limit.is_zero(), self.probes_stamp) else { return when };
        let left = limit.saturating_sub(cx.now - since).max(cx.granularity.tick() * 2);
        when.min(left)
    }

    /// `tcp_check_probe_timer`: there is data that may not be sent, and nothing in flight that would bring news.
    pub(crate) fn check_probe_timer(&mut self, cx: &mut Cx<'_>) {
        if self.recovery.packets_out == 0 && self.timers.pending.is_none() {
            let base = self.probe0_base();
            self.arm_retransmit(cx, Pending::Probe0, base);
        }
    }

    /// `tcp_ack_probe`: an ACK came while nothing was in flight: does the window take the first segment now?
    pub(crate) fn ack_probe(&mut self, cx: &mut Cx<'_>) {
        let Some(head) = self.unsent.front() else { return };
        if head.end_seq.after(self.wnd_end()) {
            let when = self.probe0_when(cx);
            let when = self.clamp_probe0(cx, when);
            self.arm_retransmit(cx, Pending::Probe0, when);
        } else {
            self.backoff = 0;
            self.probes_stamp = None;
            if self.timers.pending == Some(Pending::Probe0) {
                self.clear_retransmit();
            }
        }
    }

    /// `tcp_probe_timer`
    pub(super) fn probe_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.recovery.packets_out > 0 || self.unsent.is_empty() {
            self.probes_out = 0;
            self.probes_stamp = None;
            return;
        }
        // Probing goes on for ever while it is answered, unless the application set a limit or is gone.
        match self.probes_stamp {
            None => self.probes_stamp = Some(cx.now),
            Some(since) => {
                let limit = self.user.user_timeout;
                if !limit.is_zero() && cx.now - since >= limit {
                    self.write_error(cx);
                    return;
                }
            }
        }
        let mut max_probes = u32::from(cx.sysctl.tcp_retries2);
        if self.orphan {
            let alive = self.probe0_when(cx) < rto_max(cx.sysctl);
            max_probes = self.orphan_retries(cx, alive);
            if !alive && u32::from(self.backoff) >= max_probes {
                self.write_error(cx);
                return;
            }
            if self.out_of_resources(cx, true) {
                return;
            }
        }
        if u32::from(self.probes_out) >= max_probes {
            self.write_error(cx);
        } else {
            self.send_probe0(cx);
        }
    }

    /// `tcp_send_probe0`
    fn send_probe0(&mut self, cx: &mut Cx<'_>) {
        let sent = self.write_wakeup(cx, Counter::TcpExtTCPWinProbe);
        if self.recovery.packets_out > 0 || self.unsent.is_empty() {
            self.probes_out = 0;
            self.backoff = 0;
            self.probes_stamp = None;
            return;
        }
        self.probes_out = self.probes_out.saturating_add(1);
        let when = if sent || cx.no_route {
            if self.backoff < cx.sysctl.tcp_retries2 {
                self.backoff += 1;
            }
            self.probe0_when(cx)
        } else {
            RESOURCE_PROBE_INTERVAL
        };
        let when = self.clamp_probe0(cx, when);
        self.arm_retransmit(cx, Pending::Probe0, when);
    }

    /// `tcp_write_wakeup`: send what fits the window, or a bare probe. Returns whether something was sent; where it was not for
    /// want of a route, probing goes on as if it had been.
    pub(crate) fn write_wakeup(&mut self, cx: &mut Cx<'_>, counter: Counter) -> bool {
        if self.state == State::Close {
            return false;
        }
        let wnd_end = self.wnd_end();
        if let Some(head) = self.unsent.front().filter(|h| h.seq.before(wnd_end)) {
            let room = (wnd_end - head.seq) as u32; // positive
            let (len, seq_len, end) = (head.len(), (head.end_seq - head.seq) as u32, head.end_seq);
            self.snd.pushed_seq = self.snd.pushed_seq.latest(end);
            let mss = self.current_mss();
            if room < seq_len || len > u32::from(mss) {
                let cut = room.min(u32::from(mss));
                if cut < len {
                    let head = self.unsent.front_mut().expect("it was there");
                    head.flags = head.flags.with(Flags::PSH); // the rest keeps it
                    self.split_unsent(cx, cut, mss);
                }
            }
            let head = self.unsent.front_mut().expect("it was there");
            head.flags = head.flags.with(Flags::PSH);
            head.set_segments(mss);
            return self.send_head(cx);
        }
        if self.snd.urg_mode && self.snd.up.between(self.snd.una + 1, self.snd.una + 0xffff) {
            self.send_probe(cx, self.snd.una, counter);
        }
        self.send_probe(cx, SeqNum(self.snd.una.0.wrapping_sub(1)), counter)
    }

    /// `tcp_xmit_probe_skb`: an empty segment that the peer must answer, because its number is old.
    fn send_probe(&mut self, cx: &mut Cx<'_>, seq: SeqNum, counter: Counter) -> bool {
        cx.count(counter);
        self.send_control(cx, seq, Flags::ACK);
        true
    }
}
