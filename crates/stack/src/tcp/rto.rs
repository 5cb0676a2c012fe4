//! The retransmission timeout: its length, its back-off, and when a connection is given up.
//!
//! RFC 6298 with Linux's bounds; RFC 1122 §4.2.3.5 R1/R2 as *times* (TRUTH.md §0 "Base rules"). Linux: tcp_timer.c
//! `tcp_retransmit_timer`, `tcp_write_timeout`, `retransmits_timed_out`, `tcp_model_timeout`.

use core::time::Duration;

use wire::Instant;

use super::cc::CaState;
use super::cx::Cx;
use super::tcb::{State, Tcb};
use super::timer::Pending;
use crate::mib::Counter;
use crate::sysctl::Globals;

/// `TCP_TIMEOUT_INIT` (RFC 6298 §2.1).
pub(crate) const INITIAL_RTO: Duration = Duration::from_secs(1);
/// `TCP_TIMEOUT_FALLBACK`: RFC 6298 §5.7.
pub(crate) const FALLBACK_RTO: Duration = Duration::from_secs(3);
/// `TCP_RTO_MIN`, the base of the give-up times whatever `tcp_rto_min_us` says.
const MODEL_RTO_MIN: Duration = Duration::from_millis(200);
/// `TCP_RESOURCE_PROBE_INTERVAL`
pub(crate) const RESOURCE_PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// `tcp_rto_max`
pub(crate) fn rto_max(sysctl: &Globals) -> Duration {
    Duration::from_millis(u64::try_from(sysctl.tcp_rto_max_ms).unwrap_or(120_000))
}

/// `tcp_model_timeout`: how long `boundary` retransmissions with doubling timeouts take.
pub(crate) fn model_timeout(boundary: u32, base: Duration, max: Duration) -> Duration {
    let linear_after = (max.as_millis() / base.as_millis().max(1)).max(1).ilog2();
    let doubled = |n: u32| base * ((2u32 << n) - 1);
    if boundary <= linear_after {
        doubled(boundary)
    } else {
        doubled(linear_after) + max * (boundary - linear_after)
    }
}

impl Tcb {
    /// `tcp_set_rto`
    pub(crate) fn set_rto(&mut self, cx: &Cx<'_>) {
        self.rto = cx.ticks(self.rtt.rto()).min(rto_max(cx.sysctl));
    }

    /// `tcp_rto_delta_us`: until the timeout of the first packet in flight, counted from its sending. `None` when
    /// it is past.
    pub(crate) fn rto_remaining(&self, cx: &Cx<'_>) -> Option<Duration> {
        let due = match self.rtx.head() {
            Some(head) => head.sent + self.rto,
            None => cx.now + self.rto,
        };
        (due > cx.now).then(|| due - cx.now)
    }

    /// `tcp_rearm_rto`
    pub(crate) fn rearm_rto(&mut self, cx: &mut Cx<'_>) {
        if self.fo.server_pending() {
            return;
        }
        if self.recovery.packets_out == 0 {
            self.clear_retransmit();
            return;
        }
        let mut rto = self.rto;
        if matches!(self.timers.pending, Some(Pending::ReorderTimeout | Pending::LossProbe)) {
            // The first packet has waited already.
            let left = self.rto_remaining(cx).unwrap_or(Duration::from_micros(1));
            rto = cx.ticks(left);
        }
        self.arm_retransmit(cx, Pending::Retransmit, rto);
    }

    /// `tcp_set_xmit_timer`
    pub(crate) fn set_xmit_timer(&mut self, cx: &mut Cx<'_>) {
        if !self.schedule_loss_probe(cx, true) {
            self.rearm_rto(cx);
        }
    }

    /// `tcp_retransmit_timer`: nothing came back in time.
    pub(crate) fn retransmit_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.fo.server_pending() {
            self.fastopen_synack_timeout(cx);
            return;
        }
        if self.recovery.packets_out == 0 || self.rtx.is_empty() {
            return;
        }
        self.recovery.tlp.high_seq = None;
        let synchronized = !matches!(self.state, State::SynSent | State::SynRecv);
        if self.snd.wnd == 0 && !self.orphan && synchronized {
            // The peer closed its window over data in flight: retransmit as a probe, do not give up.
            if self.zero_window_timed_out(cx) {
                self.write_error(cx);
                return;
            }
            self.enter_loss(cx);
            self.retransmit_skb(cx, 0, 1);
            cx.dst_suspect = true;
            self.back_off(cx);
            return;
        }
        cx.count(Counter::TcpExtTCPTimeouts);
        if self.write_timeout(cx) {
            return;
        }
        if self.retransmits == 0 {
            self.count_failed_recovery(cx);
        }
        self.enter_loss(cx);
        self.update_rto_stats(cx);
        if !self.retransmit_skb(cx, 0, 1) && !cx.no_route {
            // Local congestion: no back-off, soon again.
            self.arm_retransmit(cx, Pending::Retransmit, RESOURCE_PROBE_INTERVAL);
            return;
        }
        self.back_off(cx);
        if self.retransmits_timed_out(cx, u32::from(cx.sysctl.tcp_retries1) + 1, Duration::ZERO) {
            cx.dst_suspect = true;
        }
    }

    /// `tcp_update_rto_stats`
    pub(crate) fn update_rto_stats(&mut self, cx: &Cx<'_>) {
        if self.retransmits == 0 {
            self.recovery.rto_recoveries = self.recovery.rto_recoveries.saturating_add(1);
            self.recovery.rto_stamp = Some(cx.now);
        }
        self.retransmits = self.retransmits.saturating_add(1);
        self.recovery.total_rto = self.recovery.total_rto.saturating_add(1);
    }

    fn back_off(&mut self, cx: &mut Cx<'_>) {
        let linear = u32::from(cx.sysctl.tcp_syn_linear_timeouts);
        let thin = (self.user.thin_linear || cx.sysctl.tcp_thin_linear_timeouts != 0)
            && self.state == State::Established
            && self.stream_is_thin()
            && self.retransmits <= 6;
        if thin {
            self.backoff = 0;
            self.set_rto(cx);
        } else if self.state != State::SynSent || self.recovery.total_rto > linear {
            self.backoff = self.backoff.saturating_add(1);
            self.rto = (self.rto * 2).min(rto_max(cx.sysctl));
        }
        let delay = self.clamp_to_user_timeout(cx, self.rto);
        self.arm_retransmit(cx, Pending::Retransmit, delay);
    }

    /// `tcp_stream_is_thin`
    fn stream_is_thin(&self) -> bool {
        // tcp_in_initial_slowstart: nothing was lost yet.
        self.recovery.packets_out < 4 && self.window.ssthresh < super::cc::INFINITE_SSTHRESH
    }

    /// `tcp_clamp_rto_to_user_timeout`
    fn clamp_to_user_timeout(&self, cx: &Cx<'_>, rto: Duration) -> Duration {
        let (limit, Some(since)) = (self.user.user_timeout, self.retrans_stamp) else { return rto };
        if limit.is_zero() {
            return rto;
        }
        let left = limit.saturating_sub(cx.now - since);
        // One jiffy from now; ideal timers have none, but what is too late is judged in milliseconds.
        let soon = cx.granularity.tick().max(Duration::from_millis(1));
        if left.is_zero() { soon } else { rto.min(cx.ticks(left)) }
    }

    fn count_failed_recovery(&self, cx: &mut Cx<'_>) {
        let reno = self.is_reno();
        let counter = match self.recovery.ca_state {
            CaState::Recovery if reno => Counter::TcpExtTCPRenoRecoveryFail,
            CaState::Recovery => Counter::TcpExtTCPSackRecoveryFail,
            CaState::Loss => Counter::TcpExtTCPLossFailures,
            CaState::Disorder if reno => Counter::TcpExtTCPRenoFailures,
            CaState::Disorder => Counter::TcpExtTCPSackFailures,
            _ if self.recovery.sacked_out > 0 && reno => Counter::TcpExtTCPRenoFailures,
            _ if self.recovery.sacked_out > 0 => Counter::TcpExtTCPSackFailures,
            CaState::Open | CaState::Cwr => return,
        };
        cx.count(counter);
    }

    /// `retransmits_timed_out`: `boundary` retransmissions' worth of time has passed since the first one.
    pub(crate) fn retransmits_timed_out(&self, cx: &Cx<'_>, boundary: u32, timeout: Duration) -> bool {
        if self.retransmits == 0 {
            return false;
        }
        let since = self.retrans_stamp.unwrap_or(cx.now);
        let mut limit = timeout;
        if limit.is_zero() {
            let syn = matches!(self.state, State::SynSent | State::SynRecv);
            let base = if syn { INITIAL_RTO } else { MODEL_RTO_MIN };
            limit = model_timeout(boundary, base, rto_max(cx.sysctl));
        }
        // Both are milliseconds of the timestamp clock there.
        whole_ms(cx.now) - whole_ms(since) >= limit
    }

    /// `tcp_write_timeout`: whether to give up now; if so, it is done.
    fn write_timeout(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut expired = false;
        let retry_until;
        if matches!(self.state, State::SynSent | State::SynRecv) {
            if self.retransmits > 0 {
                cx.dst_suspect = true;
            }
            let own = u32::from(self.user.syn_retries);
            retry_until = if own > 0 { own } else { u32::from(cx.sysctl.tcp_syn_retries) };
            let mut most = retry_until;
            if self.state == State::SynSent {
                most += u32::from(cx.sysctl.tcp_syn_linear_timeouts);
            }
            expired = u32::from(self.retransmits) >= most;
        } else {
            if self.retransmits_timed_out(cx, u32::from(cx.sysctl.tcp_retries1), Duration::ZERO) {
                self.mtu_probing_on_timeout(cx);
                cx.dst_suspect = true;
            }
            let mut until = u32::from(cx.sysctl.tcp_retries2);
            if self.orphan {
                let alive = self.rto < rto_max(cx.sysctl);
                until = self.orphan_retries(cx, alive);
                let do_reset = alive || !self.retransmits_timed_out(cx, until, Duration::ZERO);
                if self.out_of_resources(cx, do_reset) {
                    return true;
                }
            }
            retry_until = until;
        }
        expired = expired || self.retransmits_timed_out(cx, retry_until, self.user.user_timeout);
        self.fastopen_detect_blackhole(cx, expired);
        if expired {
            self.write_error(cx);
            return true;
        }
        cx.count(Counter::TcpExtTcpTimeoutRehash);
        false
    }

    /// `tcp_orphan_retries`
    pub(crate) fn orphan_retries(&self, cx: &Cx<'_>, alive: bool) -> u32 {
        let mut retries = u32::from(cx.sysctl.tcp_orphan_retries);
        if self.soft_error.is_some() && !alive {
            retries = 0;
        }
        // Eight retransmissions are more than 100 s even with the least timeout.
        if retries == 0 && alive { 8 } else { retries }
    }

    /// `tcp_rtx_probe0_timed_out`
    fn zero_window_timed_out(&self, cx: &Cx<'_>) -> bool {
        let sent = self.retrans_stamp.or_else(|| self.rtx.head().map(|h| h.sent)).unwrap_or(cx.now);
        let unanswered = whole_ms(cx.now) - whole_ms(sent);
        let mut limit = rto_max(cx.sysctl) * 2;
        if !self.user.user_timeout.is_zero() {
            // Whoever set a limit does not want ACKs of a closed window to begin it anew (since 6.10).
            if unanswered > self.user.user_timeout {
                return true;
            }
            limit = limit.min(self.user.user_timeout);
        }
        cx.now - self.last_ack_received > limit && unanswered > limit
    }
}

/// The timestamp clock's reading.
fn whole_ms(at: Instant) -> Duration {
    Duration::from_millis(at.as_nanos() / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TRUTH.md §0: T(3) = 3.0, T(5) = 12.6, T(8) = 102.2, T(15) = 924.6 s; SYN: 2^(n+1) - 1 s.
    #[test]
    fn give_up_times_are_those_measured() {
        let max = Duration::from_secs(120);
        for (n, ms) in [(3, 3_000), (5, 12_600), (8, 102_200), (15, 924_600)] {
            assert_eq!(model_timeout(n, MODEL_RTO_MIN, max), Duration::from_millis(ms), "retries {n}");
        }
        for (n, s) in [(1, 3), (2, 7), (6, 127)] {
            assert_eq!(model_timeout(n, INITIAL_RTO, max), Duration::from_secs(s), "SYN retries {n}");
        }
    }
}
