//! Keepalive: is the peer still there? (RFC 9293 §3.8.4) And how long an orphan waits in FIN_WAIT2.
//!
//! Linux: tcp_timer.c `tcp_keepalive_timer`, tcp.h `keepalive_time_when` and neighbours.

use core::time::Duration;

use super::cx::{Cx, Fate};
use super::rto::RESOURCE_PROBE_INTERVAL;
use super::tcb::{State, Tcb};
use super::time_wait::TIME_WAIT_LEN;
use crate::mib::Counter;

impl Tcb {
    fn keepalive_time(&self, cx: &Cx<'_>) -> Duration {
        if self.user.keepidle.is_zero() { cx.sysctl.tcp_keepalive_time } else { self.user.keepidle }
    }

    fn keepalive_interval(&self, cx: &Cx<'_>) -> Duration {
        if self.user.keepintvl.is_zero() { cx.sysctl.tcp_keepalive_intvl } else { self.user.keepintvl }
    }

    fn keepalive_probes(&self, cx: &Cx<'_>) -> u8 {
        if self.user.keepcnt == 0 { cx.sysctl.tcp_keepalive_probes } else { self.user.keepcnt }
    }

    /// How long nothing was heard (`keepalive_time_elapsed`).
    fn silence(&self, cx: &Cx<'_>) -> Duration {
        (cx.now - self.ack.last_received).min(cx.now - self.last_ack_received)
    }

    /// `SO_KEEPALIVE` (`tcp_set_keepalive`).
    pub(crate) fn set_keepalive(&mut self, cx: &mut Cx<'_>, on: bool) {
        if matches!(self.state, State::Close) {
            self.user.keepalive = on;
            return;
        }
        if on && !self.user.keepalive {
            let delay = self.keepalive_time(cx);
            self.arm_keepalive(cx, delay);
        } else if !on {
            self.clear_keepalive();
        }
        self.user.keepalive = on;
    }

    /// `TCP_KEEPIDLE` while keepalive is on (`tcp_sock_set_keepidle_locked`).
    pub(crate) fn set_keepidle(&mut self, cx: &mut Cx<'_>, idle: Duration) {
        self.user.keepidle = idle;
        if self.user.keepalive && self.state != State::Close {
            let left = idle.saturating_sub(self.silence(cx));
            self.arm_keepalive(cx, left);
        }
    }

    pub(crate) fn start_keepalive(&mut self, cx: &mut Cx<'_>) {
        if self.user.keepalive {
            let delay = self.keepalive_time(cx);
            self.arm_keepalive(cx, delay);
        }
    }

    pub(super) fn on_keepalive_timer(&mut self, cx: &mut Cx<'_>) {
        if self.state == State::FinWait2 && self.orphan {
            let fin_time = self.fin_time(cx);
            match fin_time {
                Some(time) if time > TIME_WAIT_LEN => {
                    cx.fate = Some(Fate::TimeWait { fin_wait2: true, timeout: time - TIME_WAIT_LEN });
                }
                Some(_) | None => {
                    self.send_active_reset(cx);
                    self.done(cx);
                }
            }
            return;
        }
        if !self.user.keepalive || matches!(self.state, State::Close | State::SynSent) {
            return;
        }
        let idle_limit = self.keepalive_time(cx);
        let mut next = idle_limit;
        // Unacknowledged data keeps the connection under watch already.
        if self.recovery.packets_out == 0 && self.unsent.is_empty() {
            let silence = self.silence(cx);
            if silence >= idle_limit {
                let limit = self.user.user_timeout;
                let dead = if limit.is_zero() {
                    self.probes_out >= self.keepalive_probes(cx)
                } else {
                    silence >= limit && self.probes_out > 0
                };
                if dead {
                    self.send_active_reset(cx);
                    self.write_error(cx);
                    return;
                }
                next = if self.write_wakeup(cx, Counter::TcpExtTCPKeepAlive) || cx.no_route {
                    self.probes_out = self.probes_out.saturating_add(1);
                    self.keepalive_interval(cx)
                } else {
                    RESOURCE_PROBE_INTERVAL
                };
            } else {
                next = idle_limit - silence;
            }
        }
        self.arm_keepalive(cx, next);
    }
}
