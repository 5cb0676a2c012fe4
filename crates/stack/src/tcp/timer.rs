//! A connection's timers: retransmission (with its four meanings), delayed ACK, keepalive, pacing.
//!
//! Linux: tcp_timer.c, inet_connection_sock.h `inet_csk_reset_xmit_timer`. Each has at most one entry in the
//! host's timer queue: re-arming for later only moves the deadline, and the entry re-queues itself when it
//! comes up early; re-arming for sooner moves the entry at the end of the step. That keeps an ACK's re-arming free of
//! work on the queue.

use core::time::Duration;

use wire::Instant;

use super::cx::{Cx, Fate};
use super::tcb::{State, Tcb};
use crate::Errno;
use crate::mib::Counter;
use crate::timer::TimerId;

/// Which timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerKind {
    /// `icsk_retransmit_timer`
    Retransmit,
    /// `icsk_delack_timer`
    DelayedAck,
    /// `sk_timer`: keepalive, and FIN_WAIT2 of orphans.
    Keepalive,
    /// `pacing_timer`
    Pacing,
    /// `compressed_ack_timer`
    CompressedAck,
}

/// What the retransmission timer means now (`icsk_pending`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// `ICSK_TIME_RETRANS`
    Retransmit,
    /// `ICSK_TIME_PROBE0`
    Probe0,
    /// `ICSK_TIME_LOSS_PROBE`
    LossProbe,
    /// `ICSK_TIME_REO_TIMEOUT`
    ReorderTimeout,
}

/// One lazily queued timer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LazyTimer {
    /// When it shall fire; far future when it is off.
    at: Instant,
    /// When its queue entry comes up; far future when there is none.
    queued: Instant,
    /// Of that entry; means nothing without one.
    id: TimerId,
}

impl Default for LazyTimer {
    fn default() -> Self {
        LazyTimer { at: Instant::FAR_FUTURE, queued: Instant::FAR_FUTURE, id: TimerId::default() }
    }
}

impl LazyTimer {
    /// When it fires; `None` when it is off.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (self.at != Instant::FAR_FUTURE).then_some(self.at)
    }

    fn arm_at(&mut self, cx: &mut Cx<'_>, at: Instant, kind: TimerKind) {
        self.at = at;
        if self.queued > at {
            cx.moved_timers |= 1 << kind as u8; // five kinds
        }
    }

    /// The end of a step: its entry comes up in time.
    fn enqueue(&mut self, timers: &mut crate::timer::TimerQueue<crate::TimerKey>, key: crate::TimerKey) {
        if self.queued <= self.at {
            return;
        }
        if self.queued != Instant::FAR_FUTURE {
            timers.cancel(self.id);
        }
        self.queued = self.at;
        self.id = timers.arm(self.at, key);
    }

    fn clear(&mut self) {
        self.at = Instant::FAR_FUTURE;
    }

    /// Its queue entry came up: `true` when it is due, otherwise it queues itself again.
    fn due(&mut self, cx: &mut Cx<'_>, kind: TimerKind) -> bool {
        self.queued = Instant::FAR_FUTURE;
        if self.at == Instant::FAR_FUTURE {
            return false;
        }
        if self.at > cx.now {
            let at = self.at;
            self.arm_at(cx, at, kind);
            return false;
        }
        self.at = Instant::FAR_FUTURE;
        true
    }

    fn remove(&mut self, timers: &mut crate::timer::TimerQueue<crate::TimerKey>) {
        if self.queued != Instant::FAR_FUTURE {
            timers.cancel(self.id);
        }
        *self = LazyTimer::default();
    }
}

/// All of a connection's timers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timers {
    pub(crate) pending: Option<Pending>,
    pub(crate) retransmit: LazyTimer,
    pub(crate) delayed_ack: LazyTimer,
    pub(crate) keepalive: LazyTimer,
    pub(crate) pacing: LazyTimer,
    pub(crate) compressed_ack: LazyTimer,
}

impl Timers {
    /// Queues those that a step moved: most are moved again within the step, or taken back.
    pub(crate) fn enqueue(
        &mut self,
        timers: &mut crate::timer::TimerQueue<crate::TimerKey>,
        id: super::TcpId,
        moved: u8,
    ) {
        for (timer, kind) in [
            (&mut self.retransmit, TimerKind::Retransmit),
            (&mut self.delayed_ack, TimerKind::DelayedAck),
            (&mut self.keepalive, TimerKind::Keepalive),
            (&mut self.pacing, TimerKind::Pacing),
            (&mut self.compressed_ack, TimerKind::CompressedAck),
        ] {
            if moved & 1 << kind as u8 != 0 {
                timer.enqueue(timers, crate::TimerKey::Tcp(id, kind));
            }
        }
    }

    /// Takes every entry out of the host's queue: the connection is going.
    pub(crate) fn remove_all(&mut self, timers: &mut crate::timer::TimerQueue<crate::TimerKey>) {
        for timer in [
            &mut self.retransmit,
            &mut self.delayed_ack,
            &mut self.keepalive,
            &mut self.pacing,
            &mut self.compressed_ack,
        ] {
            timer.remove(timers);
        }
        self.pending = None;
    }
}

impl Tcb {
    /// `inet_csk_reset_xmit_timer`
    pub(crate) fn arm_retransmit(&mut self, cx: &mut Cx<'_>, pending: Pending, delay: Duration) {
        let delay = delay.min(super::rto::rto_max(cx.sysctl));
        self.timers.pending = Some(pending);
        let at = cx.granularity.fire_at(cx.now, delay);
        self.timers.retransmit.arm_at(cx, at, TimerKind::Retransmit);
    }

    /// `inet_csk_clear_xmit_timer` for the retransmission timer.
    pub(crate) fn clear_retransmit(&mut self) {
        self.timers.pending = None;
        self.timers.retransmit.clear();
    }

    pub(crate) fn arm_delayed_ack(&mut self, cx: &mut Cx<'_>, at: Instant) {
        self.timers.delayed_ack.arm_at(cx, at, TimerKind::DelayedAck);
    }

    pub(crate) fn clear_delayed_ack(&mut self) {
        self.timers.delayed_ack.clear();
    }

    pub(crate) fn arm_keepalive(&mut self, cx: &mut Cx<'_>, delay: Duration) {
        let at = cx.granularity.fire_at(cx.now, delay);
        self.timers.keepalive.arm_at(cx, at, TimerKind::Keepalive);
    }

    pub(crate) fn clear_keepalive(&mut self) {
        self.timers.keepalive.clear();
    }

    /// The pacer is an hrtimer: exact.
    pub(crate) fn arm_pacing(&mut self, cx: &mut Cx<'_>, at: Instant) {
        self.timers.pacing.arm_at(cx, at, TimerKind::Pacing);
    }

    pub(crate) fn arm_compressed_ack(&mut self, cx: &mut Cx<'_>, delay: Duration) {
        let at = cx.now + delay;
        self.timers.compressed_ack.arm_at(cx, at, TimerKind::CompressedAck);
    }

    pub(crate) fn clear_compressed_ack(&mut self) {
        self.timers.compressed_ack.clear();
    }

    fn timer(&self, kind: TimerKind) -> &LazyTimer {
        match kind {
            TimerKind::Retransmit => &self.timers.retransmit,
            TimerKind::DelayedAck => &self.timers.delayed_ack,
            TimerKind::Keepalive => &self.timers.keepalive,
            TimerKind::Pacing => &self.timers.pacing,
            TimerKind::CompressedAck => &self.timers.compressed_ack,
        }
    }

    /// Whether that timer, and not only its queue entry, is due.
    pub(crate) fn timer_is_due(&self, now: Instant, kind: TimerKind) -> bool {
        self.timer(kind).deadline().is_some_and(|at| at <= now)
    }

    /// A queue entry of this connection came up.
    pub(crate) fn on_timer(&mut self, cx: &mut Cx<'_>, kind: TimerKind) {
        let timer = match kind {
            TimerKind::Retransmit => &mut self.timers.retransmit,
            TimerKind::DelayedAck => &mut self.timers.delayed_ack,
            TimerKind::Keepalive => &mut self.timers.keepalive,
            TimerKind::Pacing => &mut self.timers.pacing,
            TimerKind::CompressedAck => &mut self.timers.compressed_ack,
        };
        if !timer.due(cx, kind) || self.state == State::Close {
            return;
        }
        match kind {
            TimerKind::Retransmit => self.on_retransmit_timer(cx),
            TimerKind::DelayedAck => self.on_delayed_ack_timer(cx),
            TimerKind::Keepalive => self.on_keepalive_timer(cx),
            TimerKind::Pacing => self.on_pacing_timer(cx),
            TimerKind::CompressedAck => self.on_compressed_ack_timer(cx),
        }
    }

    /// `tcp_write_timer_handler`
    fn on_retransmit_timer(&mut self, cx: &mut Cx<'_>) {
        match self.timers.pending {
            None => {}
            Some(Pending::ReorderTimeout) => self.rack_reorder_timeout(cx),
            Some(Pending::LossProbe) => self.send_loss_probe(cx),
            Some(Pending::Retransmit) => {
                self.timers.pending = None;
                self.retransmit_timeout(cx);
            }
            Some(Pending::Probe0) => {
                self.timers.pending = None;
                self.probe_timeout(cx);
            }
        }
    }

    /// `tcp_pace_kick`
    fn on_pacing_timer(&mut self, cx: &mut Cx<'_>) {
        if self.recovery.lost_out > self.recovery.retrans_out && self.window.cwnd > self.in_flight() {
            self.xmit_retransmit_queue(cx);
        }
        let nagle = self.nagle;
        self.push_pending(cx, nagle);
    }

    /// `tcp_write_err`: give up.
    pub(crate) fn write_error(&mut self, cx: &mut Cx<'_>) {
        let error = self.soft_error.unwrap_or(Errno::ETIMEDOUT);
        self.fail(cx, error);
        cx.count(Counter::TcpExtTCPAbortOnTimeout);
    }

    /// `tcp_done` with an error for the application.
    pub(crate) fn fail(&mut self, cx: &mut Cx<'_>, error: Errno) {
        self.error = Some(error);
        self.purge_send_queues(cx);
        self.mem_reclaim(cx);
        self.notes_purged(cx);
        self.done(cx);
    }

    /// `tcp_done`: the connection is over.
    pub(crate) fn done(&mut self, cx: &mut Cx<'_>) {
        if matches!(self.state, State::SynSent | State::SynRecv) {
            cx.count(Counter::TcpAttemptFails);
        }
        self.set_state(cx, State::Close);
        self.timers.remove_all(cx.timers);
        self.fastopen_remove(cx, false);
        self.shutdown_rd = true;
        self.shutdown_wr = true;
        cx.wake.readable = true;
        cx.wake.writable = true;
        cx.wake.changed = true;
        if self.orphan {
            cx.fate = Some(Fate::Destroy);
        }
    }
}
