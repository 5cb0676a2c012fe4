//! When to acknowledge: at once, every second segment, or after a while (RFC 9293 §3.8.6.3, RFC 5681 §4.2).
//!
//! Linux: tcp_input.c `__tcp_ack_snd_check`, `tcp_event_data_recv`, `tcp_measure_rcv_mss`, `tcp_enter_quickack_mode`;
//! tcp_output.c `tcp_send_delayed_ack`; tcp_timer.c `tcp_delack_timer_handler`; tcp.c `tcp_cleanup_rbuf`.

use core::time::Duration;

use wire::Instant;
use wire::tcp::Flags;

use super::super::cx::Cx;
use super::super::input::Segment;
use super::super::tcb::{AckState, State, Tcb};
use crate::mib::Counter;
use crate::{Granularity, KernelProfile};

/// `TCP_ATO_MIN`, `TCP_DELACK_MIN`
pub(crate) const ATO_MIN: Duration = Duration::from_millis(40);
/// `TCP_DELACK_MAX`
pub(crate) const DELACK_MAX: Duration = Duration::from_millis(200);
/// `TCP_MAX_QUICKACKS`
pub(crate) const MAX_QUICKACKS: u32 = 16;
/// `TCP_FASTRETRANS_THRESH`
const FASTRETRANS_THRESH: u8 = 3;

impl AckState {
    pub(crate) fn clear_scheduled(&mut self) {
        self.scheduled = false;
        self.pushed = false;
        self.pushed2 = false;
        self.now = false;
        self.nomem = false;
        self.retry = 0;
    }
}

impl Tcb {
    /// `inet_csk_in_pingpong_mode`
    pub(crate) fn in_pingpong(&self, cx: &Cx<'_>) -> bool {
        self.ack.pingpong >= cx.sysctl.tcp_pingpong_thresh
    }

    fn in_quickack_mode(&self, cx: &Cx<'_>) -> bool {
        self.way.quickack || (self.ack.quick > 0 && !self.in_pingpong(cx))
    }

    /// `tcp_incr_quickack`
    fn incr_quickack(&mut self, max: u32) {
        let packets = self.rcv.wnd / (2 * u32::from(self.ack.rcv_mss.max(1)));
        let quick = if packets == 0 { 2 } else { packets }.min(max);
        self.ack.quick = self.ack.quick.max(u8::try_from(quick).expect("at most 16"));
    }

    /// `tcp_enter_quickack_mode`
    pub(crate) fn enter_quickack_mode(&mut self, cx: &Cx<'_>, max: u32) {
        let _ = cx;
        self.incr_quickack(max);
        self.ack.pingpong = 0;
        self.ack.ato = ATO_MIN;
    }

    /// `tcp_measure_rcv_mss`: guesses the peer's segment size.
    pub(crate) fn measure_rcv_mss(&mut self, cx: &Cx<'_>, seg: &Segment) {
        let last = core::mem::take(&mut self.ack.last_seg_size);
        let len = seg.len();
        let psh = seg.header.flags.psh();
        if len >= usize::from(self.ack.rcv_mss) {
            if cx.profile >= KernelProfile::V6_12 {
                self.measure_scaling_ratio(cx, len, seg);
            }
            let mss = len.min(usize::from(self.rcv.advmss));
            self.ack.rcv_mss = u16::try_from(mss).expect("clamped to a u16");
            if psh {
                self.ack.pushed = true;
            }
            return;
        }
        // Not full: careful, SACK blocks make segments shorter.
        let whole = len + seg.header.header_len();
        let remnant = seg.header.flags.intersects(Flags::PSH | Flags::FIN | Flags::URG | Flags::SYN);
        if whole >= 536 + 20 || (whole >= 88 + 20 && !remnant) {
            let invariant = whole - (20 + if self.ts.ok { 12 } else { 0 });
            let invariant = u16::try_from(invariant).unwrap_or(u16::MAX);
            self.ack.last_seg_size = invariant;
            if invariant == last {
                self.ack.rcv_mss = invariant;
                return;
            }
        }
        if self.ack.pushed {
            self.ack.pushed2 = true;
        }
        self.ack.pushed = true;
    }

    /// How much of the buffer will be payload, judging by this packet. Since 6.6; before it was half.
    fn measure_scaling_ratio(&mut self, cx: &Cx<'_>, len: usize, seg: &Segment) {
        if len == usize::from(self.ack.rcv_mss) {
            return;
        }
        let size = u64::from(seg.memory.truesize);
        let ratio = ((len as u64) << 8) / size.max(1);
        let ratio = u8::try_from(ratio.clamp(1, 255)).expect("clamped");
        if ratio != self.rx.scaling_ratio {
            self.rx.scaling_ratio = ratio;
            let clamp = super::window::window_from_space(self.rx.rcvbuf, ratio);
            if cx.profile >= KernelProfile::V6_18 {
                self.set_window_clamp(clamp);
            } else {
                self.rcv.window_clamp = clamp;
            }
            self.rx.space = self.rx.space.min(self.rcv.window_clamp);
        }
    }

    /// `tcp_event_data_recv`: data arrived in order.
    pub(crate) fn event_data_received(&mut self, cx: &mut Cx<'_>, len: usize, seg: &Segment) {
        self.ack.scheduled = true;
        self.measure_rcv_mss(cx, seg);
        self.rcv_rtt_measure(cx);
        if self.ack.ato.is_zero() {
            // The first data: acknowledge at once for a while, so that the sender's window opens.
            self.incr_quickack(MAX_QUICKACKS);
            self.ack.ato = ATO_MIN;
        } else {
            let gap = cx.now - self.ack.last_received;
            if gap <= ATO_MIN / 2 {
                self.ack.ato = self.ack.ato / 2 + ATO_MIN / 2;
            } else if gap < self.ack.ato {
                self.ack.ato = (self.ack.ato / 2 + gap).min(self.rto);
            } else if gap > self.rto {
                // The sender was idle and starts over slowly.
                self.incr_quickack(MAX_QUICKACKS);
            }
        }
        self.ack.last_received = cx.now;
        self.ecn_check_ce(cx, seg);
        if len >= 128 {
            self.grow_window(cx, seg, true);
        }
    }

    /// `tcp_ack_snd_check`
    pub(crate) fn ack_snd_check(&mut self, cx: &mut Cx<'_>) {
        if self.ack.scheduled {
            self.ack_snd_check_now(cx, true);
        }
    }

    /// `__tcp_ack_snd_check`
    pub(crate) fn ack_snd_check_now(&mut self, cx: &mut Cx<'_>, ofo_possible: bool) {
        let unacked = (self.rcv.nxt - self.rcv.wup) as u32; // forward
        let unread = (self.rcv.nxt - self.rcv.copied_seq) as u32; // forward
        let two_segments = unacked > u32::from(self.ack.rcv_mss)
            && (unread < self.rx.rcvlowat || self.desired_window(cx) >= self.rcv.wnd);
        if two_segments || self.in_quickack_mode(cx) || self.ack.now {
            self.send_ack(cx);
            return;
        }
        if !ofo_possible || self.rx.out_of_order.is_empty() {
            self.send_delayed_ack(cx);
            return;
        }
        let at_once = cx.profile <= KernelProfile::V4_4; // ACKs are compressed since 4.18
        if at_once || self.is_reno() || self.rx.compressed_ack >= cx.sysctl.tcp_comp_sack_nr {
            self.send_ack(cx);
            return;
        }
        if self.rx.compressed_ack_rcv_nxt != self.rcv.nxt {
            self.rx.compressed_ack_rcv_nxt = self.rcv.nxt;
            self.rx.dup_ack_counter = 0;
        }
        if self.rx.dup_ack_counter < FASTRETRANS_THRESH {
            self.rx.dup_ack_counter += 1;
            self.send_ack(cx);
            return;
        }
        self.rx.compressed_ack = self.rx.compressed_ack.saturating_add(1);
        if self.timers.compressed_ack.deadline().is_some() {
            return;
        }
        // 5 % of the round trip as the receiver knows it, but no more than tcp_comp_sack_delay_ns; and the timer's slack.
        let mut rtt_us8 = self.rx.rtt_us8;
        if self.rtt.srtt_us8 > 0 && self.rtt.srtt_us8 < rtt_us8 {
            rtt_us8 = self.rtt.srtt_us8;
        }
        let part = Duration::from_nanos(u64::from(rtt_us8) * (1_000 >> 3) / 20);
        let delay = part.min(Duration::from_nanos(cx.sysctl.tcp_comp_sack_delay_ns));
        let slack = Duration::from_nanos(cx.sysctl.tcp_comp_sack_slack_ns);
        self.arm_compressed_ack(cx, delay + slack);
    }

    pub(crate) fn on_compressed_ack_timer(&mut self, cx: &mut Cx<'_>) {
        if self.rx.compressed_ack > 0 {
            // The first of them was sent; the others are one ACK now.
            let saved = u64::from(self.rx.compressed_ack) - 1;
            cx.mib.add(Counter::TcpExtTCPAckCompressed, saved);
            self.rx.compressed_ack = 0;
            self.send_ack(cx);
        }
    }

    /// `tcp_send_delayed_ack`
    pub(crate) fn send_delayed_ack(&mut self, cx: &mut Cx<'_>) {
        let mut ato = self.ack.ato;
        if ato > ATO_MIN {
            let mut most = Duration::from_millis(500);
            if self.in_pingpong(cx) || self.ack.pushed {
                most = DELACK_MAX;
            }
            if self.rtt.srtt_us8 > 0 {
                let rtt = Duration::from_micros(u64::from(self.rtt.srtt_us8 >> 3)).max(ATO_MIN);
                most = most.min(rtt);
            }
            ato = ato.min(most);
        }
        let ato = ato.min(DELACK_MAX);
        let mut at = cx.granularity.fire_at(cx.now, ato);
        // In ticks, as the kernel compares: the wheel fires up to a bucket after `icsk_ack.timeout`.
        let (now, quarter) = match cx.granularity {
            Granularity::Ideal => (cx.now, ato / 4),
            Granularity::Wheel { .. } => {
                let tick = cx.granularity.tick();
                let since = u64::try_from(tick.as_nanos()).expect("a tick is at most 10 ms");
                let quarter =
                    u32::try_from(ato.as_nanos().div_ceil(tick.as_nanos()) / 4).expect("below 200 ms");
                (Instant::from_nanos(cx.now.as_nanos() / since * since), tick * quarter)
            }
        };
        let timeout = now + cx.ticks(ato);
        if let Some(armed) = self.timers.delayed_ack.deadline() {
            if self.ack.timeout <= now + quarter {
                self.send_ack(cx); // it was about to fire
                return;
            }
            at = at.min(armed);
            self.ack.timeout = self.ack.timeout.min(timeout);
        } else {
            self.ack.timeout = timeout;
        }
        self.ack.scheduled = true;
        self.arm_delayed_ack(cx, at);
    }

    pub(crate) fn on_delayed_ack_timer(&mut self, cx: &mut Cx<'_>) {
        if !self.ack.scheduled {
            return;
        }
        if self.in_pingpong(cx) {
            // No answer came in time: not interactive after all.
            self.ack.pingpong = 0;
            self.ack.ato = ATO_MIN;
        } else {
            self.ack.ato = (self.ack.ato * 2).min(self.rto);
        }
        self.send_ack(cx);
        cx.count(Counter::TcpExtDelayedACKs);
    }

    /// `TCP_QUICKACK` (`__tcp_sock_set_quickack`): 0 delays ACKs as in interactive traffic, an even number does so again
    /// after the ACK that is owed now.
    pub(crate) fn set_quickack(&mut self, cx: &mut Cx<'_>, value: i32) {
        if value == 0 {
            self.enter_pingpong(cx);
            self.ack.nodelay_forced = self.state == State::Close || self.state == State::SynSent;
            return;
        }
        self.ack.pingpong = 0;
        if self.state.may_send() && self.ack.scheduled {
            self.ack.pushed = true;
            self.cleanup_rbuf(cx, 1);
            if value & 1 == 0 {
                self.enter_pingpong(cx);
            }
        }
    }

    /// `tcp_cleanup_rbuf`: the application read `copied` bytes; is an ACK due, or a window update?
    pub(crate) fn cleanup_rbuf(&mut self, cx: &mut Cx<'_>, copied: u32) {
        let mut now = false;
        if self.ack.scheduled {
            let unacked = (self.rcv.nxt - self.rcv.wup) as u32; // forward
            let empty = self.rx.rmem == 0;
            let pushed = self.ack.pushed2 || (self.ack.pushed && !self.in_pingpong(cx));
            now = unacked > u32::from(self.ack.rcv_mss) || (copied > 0 && pushed && empty);
        }
        if copied > 0 && !now && !self.shutdown_rd {
            let left = self.receive_window();
            // The window could at least double: tell the peer.
            if 2 * left <= self.rcv.window_clamp {
                let new = self.desired_window(cx);
                now = new > 0 && new >= 2 * left;
            }
        }
        if now && self.state != State::Close {
            self.send_ack(cx);
        }
    }
}
