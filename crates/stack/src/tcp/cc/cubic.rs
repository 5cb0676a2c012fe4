//! CUBIC with HyStart: RFC 9438. Linux: net/ipv4/tcp_cubic.c (module parameters at their defaults).

use super::{CaEvent, CaState, CcCx};
use crate::mib::Counter;
use wire::tcp::SeqNum;

/// `beta`: the window shrinks to 717/1024 on a loss.
const BETA: u32 = 717;
const BETA_SCALE: u32 = 1024;
/// `bic_scale`: C = 41/1024 × 10 ≈ 0.4.
const CUBE_RTT_SCALE: u64 = 410;
/// Time is kept in 1/1024 s.
const TIME_SHIFT: u32 = 10;
/// 2^(10 + 3·10) / (bic_scale · 10)
const CUBE_FACTOR: u64 = (1 << (10 + 3 * TIME_SHIFT)) / CUBE_RTT_SCALE;
/// 8·(1024 + 717)/3/(1024 − 717): slope of the window that Reno would have, in eighths.
const RENO_SLOPE: u32 = 8 * (BETA_SCALE + BETA) / 3 / (BETA_SCALE - BETA);
/// `hystart_low_window`: below it HyStart keeps quiet.
const HYSTART_LOW_WINDOW: u32 = 16;
/// `hystart_ack_delta_us`: ACKs closer than this belong to one train.
const HYSTART_ACK_DELTA_US: u32 = 2_000;
/// `HYSTART_MIN_SAMPLES`
const HYSTART_MIN_SAMPLES: u8 = 8;
/// `GSO_MAX_SIZE` (`GSO_LEGACY_MAX_SIZE`)
const GSO_MAX_SIZE: u64 = 65_536;

/// `struct bictcp`
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cubic {
    /// Packets to acknowledge for one packet more.
    cnt: u32,
    last_max_cwnd: u32,
    last_cwnd: u32,
    last_time: u32,
    origin_point: u32,
    /// Time until the origin point, 1/1024 s.
    k: u32,
    /// Least round trip seen, microseconds; 0 before the first.
    delay_min: u32,
    /// When this growth phase began, ticks; 0 when none runs.
    epoch_start: u32,
    ack_cnt: u32,
    /// The window Reno would have.
    reno_cwnd: u32,
    sample_cnt: u8,
    /// HyStart has ended slow start.
    found: bool,
    round_start: u32,
    end_seq: SeqNum,
    last_ack: u32,
    /// Least round trip of this round, microseconds.
    curr_rtt: u32,
}

impl Cubic {
    pub(super) fn init(&mut self, cx: &CcCx<'_>) {
        *self = Cubic::default();
        self.hystart_reset(cx);
    }

    fn hystart_reset(&mut self, cx: &CcCx<'_>) {
        self.round_start = cx.now_us();
        self.last_ack = self.round_start;
        self.end_seq = cx.snd_nxt;
        self.curr_rtt = u32::MAX;
        self.sample_cnt = 0;
    }

    pub(super) fn cwnd_event(&mut self, cx: &CcCx<'_>, event: CaEvent) {
        if event != CaEvent::TxStart || self.epoch_start == 0 {
            return;
        }
        // The application was idle: shift the epoch so that the cubic does not grow during the pause.
        let now = cx.jiffies();
        let idle = now.wrapping_sub(super::jiffies(cx.last_sent, cx.hz)) as i32; // signed distance
        if idle > 0 {
            self.epoch_start = self.epoch_start.wrapping_add(idle as u32); // positive
            if (self.epoch_start.wrapping_sub(now) as i32) > 0 {
                self.epoch_start = now;
            }
        }
    }

    pub(super) fn set_state(&mut self, cx: &CcCx<'_>, new: CaState) {
        if new == CaState::Loss {
            let keep = self.end_seq;
            *self = Cubic { end_seq: keep, ..Cubic::default() };
            self.hystart_reset(cx);
        }
    }

    pub(super) fn ssthresh(&mut self, cx: &CcCx<'_>) -> u32 {
        self.epoch_start = 0;
        let cwnd = cx.window.cwnd;
        // Fast convergence: a flow that lost before it came back to its maximum gives way.
        self.last_max_cwnd =
            if cwnd < self.last_max_cwnd { scaled(cwnd, BETA_SCALE + BETA, 2 * BETA_SCALE) } else { cwnd };
        scaled(cwnd, BETA, BETA_SCALE).max(2)
    }

    pub(super) fn cong_avoid(&mut self, cx: &mut CcCx<'_>, acked: u32) {
        if !cx.window.is_limited() {
            return;
        }
        let acked = if cx.window.in_slow_start() { cx.window.slow_start(acked) } else { acked };
        if acked > 0 {
            self.update(cx, acked);
            cx.window.additive_increase(self.cnt, acked);
        }
    }

    /// `bictcp_update`: how many ACKs the next packet costs.
    fn update(&mut self, cx: &CcCx<'_>, acked: u32) {
        let cwnd = cx.window.cwnd;
        let now = cx.jiffies();
        self.ack_cnt += acked;
        if self.last_cwnd == cwnd && now.wrapping_sub(self.last_time) <= cx.hz / 32 {
            return;
        }
        if self.epoch_start == 0 || now != self.last_time {
            self.last_cwnd = cwnd;
            self.last_time = now;
            self.cubic_target(cx, cwnd, acked, now);
        }
        self.reno_floor(cwnd);
        // At most one packet for every two ACKs.
        self.cnt = self.cnt.max(2);
    }

    fn cubic_target(&mut self, cx: &CcCx<'_>, cwnd: u32, acked: u32, now: u32) {
        if self.epoch_start == 0 {
            self.epoch_start = now;
            self.ack_cnt = acked;
            self.reno_cwnd = cwnd;
            if self.last_max_cwnd <= cwnd {
                self.k = 0;
                self.origin_point = cwnd;
            } else {
                self.k = cube_root(CUBE_FACTOR * u64::from(self.last_max_cwnd - cwnd));
                self.origin_point = self.last_max_cwnd;
            }
        }
        let delay_ticks = (u64::from(self.delay_min) * u64::from(cx.hz)).div_ceil(1_000_000);
        let elapsed = u64::from(now.wrapping_sub(self.epoch_start)) + delay_ticks;
        let t = (elapsed << TIME_SHIFT) / u64::from(cx.hz);
        let offset = t.abs_diff(u64::from(self.k));
        let delta = CUBE_RTT_SCALE.saturating_mul(offset * offset * offset) >> (10 + 3 * TIME_SHIFT);
        let delta = u32::try_from(delta).unwrap_or(u32::MAX);
        let target = if t < u64::from(self.k) {
            self.origin_point.saturating_sub(delta)
        } else {
            self.origin_point.saturating_add(delta)
        };
        self.cnt = if target > cwnd { cwnd / (target - cwnd) } else { cwnd.saturating_mul(100) };
        // Before the first loss the plateau is unknown: grow at least 5 % a round trip.
        if self.last_max_cwnd == 0 && self.cnt > 20 {
            self.cnt = 20;
        }
    }

    /// `tcp_friendliness`: never slower than Reno.
    fn reno_floor(&mut self, cwnd: u32) {
        let step = (cwnd * RENO_SLOPE) >> 3;
        while step > 0 && self.ack_cnt > step {
            self.ack_cnt -= step;
            self.reno_cwnd += 1;
        }
        if self.reno_cwnd > cwnd {
            self.cnt = self.cnt.min(cwnd / (self.reno_cwnd - cwnd));
        }
    }

    pub(super) fn pkts_acked(&mut self, cx: &mut CcCx<'_>, rtt_us: Option<u32>) {
        let Some(rtt_us) = rtt_us else { return };
        // Samples right after recovery are not representative.
        if self.epoch_start != 0 && cx.jiffies().wrapping_sub(self.epoch_start) < cx.hz {
            return;
        }
        let delay = rtt_us.max(1);
        if self.delay_min == 0 || delay < self.delay_min {
            self.delay_min = delay;
        }
        if !self.found && cx.window.in_slow_start() {
            self.hystart(cx, delay);
        }
    }

    /// `hystart_update`: leave slow start before the first loss, when an ACK train is as long as half the
    /// round trip or when the round trip grows.
    fn hystart(&mut self, cx: &mut CcCx<'_>, delay: u32) {
        if cx.snd_una.after(self.end_seq) {
            self.hystart_reset(cx);
        }
        if cx.window.cwnd < HYSTART_LOW_WINDOW {
            return;
        }
        let now = cx.now_us();
        if now.wrapping_sub(self.last_ack) as i32 <= HYSTART_ACK_DELTA_US as i32 {
            self.last_ack = now;
            let mut threshold = u64::from(self.delay_min) + train_allowance_us(*cx.pacing_rate);
            if !cx.paced {
                threshold >>= 1;
            }
            if u64::from(now.wrapping_sub(self.round_start)) > threshold {
                self.leave_slow_start(
                    cx,
                    Counter::TcpExtTCPHystartTrainDetect,
                    Counter::TcpExtTCPHystartTrainCwnd,
                );
            }
        }
        if self.found {
            return;
        }
        self.curr_rtt = self.curr_rtt.min(delay);
        if self.sample_cnt < HYSTART_MIN_SAMPLES {
            self.sample_cnt += 1;
        } else if self.curr_rtt > self.delay_min + (self.delay_min >> 3).clamp(4_000, 16_000) {
            self.leave_slow_start(
                cx,
                Counter::TcpExtTCPHystartDelayDetect,
                Counter::TcpExtTCPHystartDelayCwnd,
            );
        }
    }

    fn leave_slow_start(&mut self, cx: &mut CcCx<'_>, times: Counter, windows: Counter) {
        self.found = true;
        cx.mib.inc(times);
        cx.mib.add(windows, cx.window.cwnd.into());
        cx.window.ssthresh = cx.window.cwnd;
    }
}

/// `hystart_ack_delay`: what GSO bursts may add to a train, microseconds.
fn train_allowance_us(pacing_rate: u64) -> u64 {
    (GSO_MAX_SIZE * 4 * 1_000_000).checked_div(pacing_rate).map_or(0, |us| us.min(1_000))
}

fn scaled(value: u32, num: u32, den: u32) -> u32 {
    u32::try_from(u64::from(value) * u64::from(num) / u64::from(den)).unwrap_or(u32::MAX)
}

/// The integer cube root (Linux approximates it by a table and one Newton step, within 0.2 %).
fn cube_root(a: u64) -> u32 {
    let (mut low, mut high) = (0u64, 2_642_246); // the cube root of 2^64
    while low < high {
        let mid = (low + high).div_ceil(2);
        if mid.checked_pow(3).is_some_and(|c| c <= a) { low = mid } else { high = mid - 1 }
    }
    u32::try_from(low).expect("a cube root of 64 bits has 22")
}
