//! BBR version 1: model the path by its bandwidth and round trip, pace at the former.
//!
//! Cardwell et al., "BBR: Congestion-Based Congestion Control" (2016). Linux: net/ipv4/tcp_bbr.c.

use core::time::Duration;

use super::{CaEvent, CaState, CcCx, INFINITE_SSTHRESH, INITIAL_WINDOW, RateSample};
use wire::Instant;

/// Bandwidth is in packets per microsecond, times 2^24.
const BW_SCALE: u32 = 24;
const BW_UNIT: u64 = 1 << BW_SCALE;
/// Gains are in 1/256.
const GAIN_SCALE: u32 = 8;
const UNIT: u64 = 1 << GAIN_SCALE;
/// 2/ln 2: doubles the rate each round.
const HIGH_GAIN: u64 = UNIT * 2885 / 1000 + 1;
const DRAIN_GAIN: u64 = UNIT * 1000 / 2885;
const CWND_GAIN: u64 = UNIT * 2;
const CYCLE_LEN: u32 = 8;
const PACING_GAIN: [u64; CYCLE_LEN as usize] =
    [UNIT * 5 / 4, UNIT * 3 / 4, UNIT, UNIT, UNIT, UNIT, UNIT, UNIT];
/// Phases in which a cycle may begin, at random.
const CYCLE_RAND: u64 = 7;
const BW_WINDOW_ROUNDS: u32 = CYCLE_LEN + 2;
const MIN_RTT_WINDOW: Duration = Duration::from_secs(10);
const PROBE_RTT_TIME: Duration = Duration::from_millis(200);
const CWND_MIN_TARGET: u32 = 4;
const FULL_BW_THRESHOLD: u64 = UNIT * 5 / 4;
const FULL_BW_ROUNDS: u8 = 3;
const LT_INTERVAL_MIN_ROUNDS: u32 = 4;
/// Loss rate that suggests a policer: 50/256.
const LT_LOSS_THRESHOLD: u64 = 50;
const LT_BW_RATIO: u64 = UNIT / 8;
/// Bytes a second that two policed intervals may differ by.
const LT_BW_DIFF: u64 = 4_000 / 8;
const LT_BW_MAX_ROUNDS: u32 = 48;
const EXTRA_ACKED_WINDOW_ROUNDS: u32 = 5;
const ACK_EPOCH_RESET: u32 = 1 << 20;
const EXTRA_ACKED_MAX_US: u64 = 100_000;
/// `GSO_LEGACY_MAX_SIZE - 1 - MAX_TCP_HEADER`
const GSO_PAYLOAD_MAX: u64 = 65_536 - 1 - 192;
/// `sk_pacing_shift`: super-segments of about a millisecond.
const PACING_SHIFT: u32 = 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Startup,
    Drain,
    ProbeBw,
    ProbeRtt,
}

/// The maximum over a number of rounds (lib/win_minmax.c with the round count as time).
#[derive(Clone, Copy, Debug, Default)]
struct MaxFilter([(u32, u64); 3]);

impl MaxFilter {
    fn value(&self) -> u64 {
        self.0[0].1
    }

    fn update(&mut self, window: u32, round: u32, value: u64) {
        let new = (round, value);
        let best = &mut self.0;
        if value >= best[0].1 || round.wrapping_sub(best[2].0) > window {
            *best = [new; 3];
            return;
        }
        if value >= best[1].1 {
            best[1] = new;
            best[2] = new;
        } else if value >= best[2].1 {
            best[2] = new;
        }
        let age = round.wrapping_sub(best[0].0);
        if age > window {
            *best = [best[1], best[2], new];
            if round.wrapping_sub(best[0].0) > window {
                *best = [best[1], best[2], new];
            }
        } else if best[1].0 == best[0].0 && age > window / 4 {
            best[1] = new;
            best[2] = new;
        } else if best[2].0 == best[1].0 && age > window / 2 {
            best[2] = new;
        }
    }
}

/// Long-term sampling: the rate that a policer lets through.
#[derive(Clone, Copy, Debug, Default)]
struct Policer {
    sampling: bool,
    in_use: bool,
    rounds: u32,
    bw: u64,
    last_delivered: u32,
    last_stamp: Instant,
    last_lost: u32,
}

/// `struct bbr`
#[derive(Clone, Debug, Default)]
pub(crate) struct Bbr {
    mode: Mode,
    min_rtt_us: Option<u32>,
    min_rtt_stamp: Instant,
    probe_rtt_done: Option<Instant>,
    probe_rtt_round_done: bool,
    bw: MaxFilter,
    round_count: u32,
    next_round_delivered: u32,
    round_start: bool,
    cycle_stamp: Instant,
    cycle_index: u32,
    prev_ca_state: CaState,
    packet_conservation: bool,
    idle_restart: bool,
    policer: Policer,
    pacing_gain: u64,
    cwnd_gain: u64,
    full_bw_reached: bool,
    full_bw_rounds: u8,
    full_bw: u64,
    has_seen_rtt: bool,
    prior_cwnd: u32,
    ack_epoch_start: Instant,
    ack_epoch_acked: u32,
    extra_acked: [u32; 2],
    extra_acked_rounds: u32,
    extra_acked_index: usize,
}

impl Bbr {
    pub(super) fn init(&mut self, cx: &mut CcCx<'_>) {
        *self = Bbr {
            next_round_delivered: cx.delivered,
            min_rtt_us: cx.min_rtt_us,
            min_rtt_stamp: cx.now,
            ack_epoch_start: cx.now,
            ..Bbr::default()
        };
        cx.window.ssthresh = INFINITE_SSTHRESH;
        self.policer_restart(cx);
        self.init_pacing_rate(cx);
        self.enter_startup();
        self.update_gains();
    }

    fn enter_startup(&mut self) {
        self.mode = Mode::Startup;
    }

    fn enter_probe_bw(&mut self, cx: &mut CcCx<'_>) {
        self.mode = Mode::ProbeBw;
        let skip = u32::try_from(cx.rng.below(CYCLE_RAND)).expect("below 7");
        self.cycle_index = CYCLE_LEN - 1 - skip;
        self.next_phase(cx);
    }

    fn next_phase(&mut self, cx: &CcCx<'_>) {
        self.cycle_index = (self.cycle_index + 1) % CYCLE_LEN;
        self.cycle_stamp = cx.delivered_mstamp;
    }

    fn restart_mode(&mut self, cx: &mut CcCx<'_>) {
        if self.full_bw_reached { self.enter_probe_bw(cx) } else { self.enter_startup() }
    }

    fn bandwidth(&self) -> u64 {
        if self.policer.in_use { self.policer.bw } else { self.bw.value() }
    }

    /// Bytes a second for `bw` times `gain`, 1 % below the estimate so that queues drain.
    fn pacing_rate(cx: &CcCx<'_>, bw: u64, gain: u64) -> u64 {
        let rate = (u128::from(bw) * u128::from(cx.mss) * u128::from(gain)) >> GAIN_SCALE;
        let rate = (rate * 990_000) >> BW_SCALE;
        u64::try_from(rate).unwrap_or(u64::MAX).min(cx.pacing_max)
    }

    fn init_pacing_rate(&mut self, cx: &mut CcCx<'_>) {
        let rtt_us = if cx.srtt_us8 == 0 {
            1_000 // no sample yet: a millisecond
        } else {
            self.has_seen_rtt = true;
            (cx.srtt_us8 >> 3).max(1)
        };
        let bw = u64::from(cx.window.cwnd) * BW_UNIT / u64::from(rtt_us);
        *cx.pacing_rate = Self::pacing_rate(cx, bw, HIGH_GAIN);
    }

    fn set_pacing_rate(&mut self, cx: &mut CcCx<'_>, bw: u64, gain: u64) {
        let rate = Self::pacing_rate(cx, bw, gain);
        if !self.has_seen_rtt && cx.srtt_us8 != 0 {
            self.init_pacing_rate(cx);
        }
        if self.full_bw_reached || rate > *cx.pacing_rate {
            *cx.pacing_rate = rate;
        }
    }

    fn tso_segs_goal(cx: &CcCx<'_>) -> u32 {
        let least = if *cx.pacing_rate < (1_200_000 >> 3) { 1 } else { 2 };
        let bytes = (*cx.pacing_rate >> PACING_SHIFT).min(GSO_PAYLOAD_MAX);
        u32::try_from(bytes / u64::from(cx.mss))
            .expect("a super-segment has few packets")
            .max(least)
            .min(0x7f)
    }

    fn save_cwnd(&mut self, cx: &CcCx<'_>) {
        let cwnd = cx.window.cwnd;
        self.prior_cwnd = if self.prev_ca_state < CaState::Recovery && self.mode != Mode::ProbeRtt {
            cwnd
        } else {
            self.prior_cwnd.max(cwnd)
        };
    }

    pub(super) fn ssthresh(&mut self, cx: &CcCx<'_>) -> u32 {
        self.save_cwnd(cx);
        cx.window.ssthresh
    }

    pub(super) fn undo_cwnd(&mut self, cx: &CcCx<'_>) -> u32 {
        self.full_bw = 0;
        self.full_bw_rounds = 0;
        self.policer_restart(cx);
        cx.window.cwnd
    }

    pub(super) fn set_state(&mut self, cx: &mut CcCx<'_>, new: CaState) {
        if new == CaState::Loss {
            self.prev_ca_state = CaState::Loss;
            self.full_bw = 0;
            self.round_start = true; // an RTO is a round
            self.policer_sample(cx, &RateSample { losses: 1, ..RateSample::default() });
        }
    }

    pub(super) fn cwnd_event(&mut self, cx: &mut CcCx<'_>, event: CaEvent) {
        if event != CaEvent::TxStart || *cx.app_limited == 0 {
            return;
        }
        self.idle_restart = true;
        self.ack_epoch_start = cx.now;
        self.ack_epoch_acked = 0;
        match self.mode {
            Mode::ProbeBw => self.set_pacing_rate(cx, self.bandwidth(), UNIT),
            Mode::ProbeRtt => self.check_probe_rtt_done(cx),
            Mode::Startup | Mode::Drain => {}
        }
    }

    /// `bbr_get_info`: bytes a second, microseconds, and both gains in 1/256.
    pub(super) fn info(&self, mss: u32) -> [u32; 5] {
        let rate = (u128::from(self.bandwidth()) * u128::from(mss) * 1_000_000) >> BW_SCALE;
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        let word = |n: u64| (n & u64::from(u32::MAX)) as u32; // 32 bits
        let min_rtt = self.min_rtt_us.unwrap_or(u32::MAX);
        [word(rate), word(rate >> 32), min_rtt, word(self.pacing_gain), word(self.cwnd_gain)]
    }

    /// `bbr_main`: one ACK.
    pub(super) fn main(&mut self, cx: &mut CcCx<'_>, sample: &RateSample) {
        self.update_bandwidth(cx, sample);
        self.update_ack_aggregation(cx, sample);
        self.update_cycle_phase(cx, sample);
        self.check_full_bw_reached(sample);
        self.check_drain(cx);
        self.update_min_rtt(cx, sample);
        self.update_gains();
        let bw = self.bandwidth();
        self.set_pacing_rate(cx, bw, self.pacing_gain);
        self.set_cwnd(cx, sample, bw);
    }

    fn update_gains(&mut self) {
        (self.pacing_gain, self.cwnd_gain) = match self.mode {
            Mode::Startup => (HIGH_GAIN, HIGH_GAIN),
            Mode::Drain => (DRAIN_GAIN, HIGH_GAIN),
            Mode::ProbeBw if self.policer.in_use => (UNIT, CWND_GAIN),
            Mode::ProbeBw => (PACING_GAIN[self.cycle_index as usize], CWND_GAIN),
            Mode::ProbeRtt => (UNIT, UNIT),
        };
    }

    // --- the model -------------------------------------------------------------------------------

    fn bdp(&self, bw: u64, gain: u64) -> u32 {
        let Some(min_rtt) = self.min_rtt_us else { return INITIAL_WINDOW };
        let packets = (u128::from(bw) * u128::from(min_rtt) * u128::from(gain)) >> GAIN_SCALE;
        u32::try_from(packets.div_ceil(u128::from(BW_UNIT))).unwrap_or(u32::MAX)
    }

    /// Room for the packets that offloads hold back (`bbr_quantization_budget`).
    fn quantized(&self, cx: &CcCx<'_>, cwnd: u32) -> u32 {
        let cwnd = cwnd.saturating_add(3 * Self::tso_segs_goal(cx)).saturating_add(1) & !1;
        if self.mode == Mode::ProbeBw && self.cycle_index == 0 { cwnd.saturating_add(2) } else { cwnd }
    }

    fn inflight(&self, cx: &CcCx<'_>, bw: u64, gain: u64) -> u32 {
        self.quantized(cx, self.bdp(bw, gain))
    }

    /// What will be in the network when the packet that is being paced leaves.
    fn packets_in_net(&self, cx: &CcCx<'_>, inflight: u32) -> u32 {
        let wait_us = u64::try_from((cx.next_departure - cx.now).as_micros()).unwrap_or(u64::MAX);
        let delivered = (u128::from(self.bandwidth()) * u128::from(wait_us)) >> BW_SCALE;
        let at_departure = inflight + if self.pacing_gain > UNIT { Self::tso_segs_goal(cx) } else { 0 };
        at_departure.saturating_sub(u32::try_from(delivered).unwrap_or(u32::MAX))
    }

    fn update_bandwidth(&mut self, cx: &mut CcCx<'_>, sample: &RateSample) {
        self.round_start = false;
        let (Ok(delivered), Some(interval)) = (u64::try_from(sample.delivered), sample.interval) else {
            return;
        };
        let interval_us = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
        if interval_us == 0 {
            return;
        }
        if sample.prior_delivered.wrapping_sub(self.next_round_delivered) as i32 >= 0 {
            self.next_round_delivered = cx.delivered;
            self.round_count = self.round_count.wrapping_add(1);
            self.round_start = true;
            self.packet_conservation = false;
        }
        self.policer_sample(cx, sample);
        let bw = delivered * BW_UNIT / interval_us;
        if !sample.is_app_limited || bw >= self.bw.value() {
            self.bw.update(BW_WINDOW_ROUNDS, self.round_count, bw);
        }
    }

    fn update_ack_aggregation(&mut self, cx: &CcCx<'_>, sample: &RateSample) {
        if sample.acked_sacked == 0 || sample.delivered < 0 || sample.interval.is_none() {
            return;
        }
        if self.round_start {
            self.extra_acked_rounds = (self.extra_acked_rounds + 1).min(0x1f);
            if self.extra_acked_rounds >= EXTRA_ACKED_WINDOW_ROUNDS {
                self.extra_acked_rounds = 0;
                self.extra_acked_index ^= 1;
                self.extra_acked[self.extra_acked_index] = 0;
            }
        }
        let epoch_us = (cx.delivered_mstamp - self.ack_epoch_start).as_micros();
        let expected = (u128::from(self.bandwidth()) * epoch_us) >> BW_SCALE;
        let mut expected = u32::try_from(expected).unwrap_or(u32::MAX);
        if self.ack_epoch_acked <= expected
            || self.ack_epoch_acked.saturating_add(sample.acked_sacked) >= ACK_EPOCH_RESET
        {
            self.ack_epoch_acked = 0;
            self.ack_epoch_start = cx.delivered_mstamp;
            expected = 0;
        }
        self.ack_epoch_acked = (self.ack_epoch_acked + sample.acked_sacked).min(0xf_ffff);
        let extra = self.ack_epoch_acked.saturating_sub(expected).min(cx.window.cwnd);
        let slot = &mut self.extra_acked[self.extra_acked_index];
        *slot = extra.max(*slot);
    }

    fn update_cycle_phase(&mut self, cx: &CcCx<'_>, sample: &RateSample) {
        if self.mode != Mode::ProbeBw {
            return;
        }
        let min_rtt = Duration::from_micros(self.min_rtt_us.map_or(u64::MAX, u64::from));
        let full_length = cx.delivered_mstamp - self.cycle_stamp > min_rtt;
        let next = if self.pacing_gain == UNIT {
            full_length
        } else {
            let inflight = self.packets_in_net(cx, sample.prior_in_flight);
            let bw = self.bw.value();
            if self.pacing_gain > UNIT {
                full_length && (sample.losses > 0 || inflight >= self.inflight(cx, bw, self.pacing_gain))
            } else {
                full_length || inflight <= self.inflight(cx, bw, UNIT)
            }
        };
        if next {
            self.next_phase(cx);
        }
    }

    fn check_full_bw_reached(&mut self, sample: &RateSample) {
        if self.full_bw_reached || !self.round_start || sample.is_app_limited {
            return;
        }
        if self.bw.value() >= (self.full_bw * FULL_BW_THRESHOLD) >> GAIN_SCALE {
            self.full_bw = self.bw.value();
            self.full_bw_rounds = 0;
            return;
        }
        self.full_bw_rounds += 1;
        self.full_bw_reached = self.full_bw_rounds >= FULL_BW_ROUNDS;
    }

    fn check_drain(&mut self, cx: &mut CcCx<'_>) {
        let bw = self.bw.value();
        if self.mode == Mode::Startup && self.full_bw_reached {
            self.mode = Mode::Drain;
            cx.window.ssthresh = self.inflight(cx, bw, UNIT);
        }
        if self.mode == Mode::Drain
            && self.packets_in_net(cx, cx.packets_in_flight) <= self.inflight(cx, bw, UNIT)
        {
            self.enter_probe_bw(cx);
        }
    }

    fn check_probe_rtt_done(&mut self, cx: &mut CcCx<'_>) {
        if self.probe_rtt_done.is_some_and(|at| cx.now > at) {
            self.min_rtt_stamp = cx.now;
            cx.window.cwnd = cx.window.cwnd.max(self.prior_cwnd);
            self.restart_mode(cx);
        }
    }

    fn update_min_rtt(&mut self, cx: &mut CcCx<'_>, sample: &RateSample) {
        let expired = cx.now > self.min_rtt_stamp + MIN_RTT_WINDOW;
        if let Some(rtt) = sample.rtt_us
            && (self.min_rtt_us.is_none_or(|m| rtt < m) || (expired && !sample.is_ack_delayed))
        {
            self.min_rtt_us = Some(rtt);
            self.min_rtt_stamp = cx.now;
        }
        if expired && !self.idle_restart && self.mode != Mode::ProbeRtt {
            self.mode = Mode::ProbeRtt;
            self.save_cwnd(cx);
            self.probe_rtt_done = None;
        }
        if self.mode == Mode::ProbeRtt {
            *cx.app_limited = (cx.delivered + cx.packets_in_flight).max(1);
            if self.probe_rtt_done.is_none() && cx.packets_in_flight <= CWND_MIN_TARGET {
                self.probe_rtt_done = Some(cx.now + PROBE_RTT_TIME);
                self.probe_rtt_round_done = false;
                self.next_round_delivered = cx.delivered;
            } else if self.probe_rtt_done.is_some() {
                self.probe_rtt_round_done |= self.round_start;
                if self.probe_rtt_round_done {
                    self.check_probe_rtt_done(cx);
                }
            }
        }
        if sample.delivered > 0 {
            self.idle_restart = false;
        }
    }

    // --- the window ------------------------------------------------------------------------------

    fn ack_aggregation_cwnd(&self) -> u32 {
        if !self.full_bw_reached {
            return 0;
        }
        let most = (u128::from(self.bandwidth()) * u128::from(EXTRA_ACKED_MAX_US)) >> BW_SCALE;
        self.extra_acked[0].max(self.extra_acked[1]).min(u32::try_from(most).unwrap_or(u32::MAX))
    }

    /// Packet conservation in the first round of recovery, the old window back after it. `Err` when it decides
    /// the window alone.
    fn recovery_or_restore(&mut self, cx: &CcCx<'_>, sample: &RateSample) -> Result<u32, u32> {
        let mut cwnd = cx.window.cwnd;
        if sample.losses > 0 {
            cwnd = cwnd.saturating_sub(sample.losses).max(1);
        }
        let before = core::mem::replace(&mut self.prev_ca_state, cx.ca_state);
        if cx.ca_state == CaState::Recovery && before != CaState::Recovery {
            self.packet_conservation = true;
            self.next_round_delivered = cx.delivered;
            cwnd = cx.packets_in_flight + sample.acked_sacked;
        } else if before >= CaState::Recovery && cx.ca_state < CaState::Recovery {
            cwnd = cwnd.max(self.prior_cwnd);
            self.packet_conservation = false;
        }
        if self.packet_conservation {
            Err(cwnd.max(cx.packets_in_flight + sample.acked_sacked))
        } else {
            Ok(cwnd)
        }
    }

    fn set_cwnd(&mut self, cx: &mut CcCx<'_>, sample: &RateSample, bw: u64) {
        let mut cwnd = cx.window.cwnd;
        if sample.acked_sacked > 0 {
            cwnd = match self.recovery_or_restore(cx, sample) {
                Err(decided) => decided,
                Ok(cwnd) => {
                    let target = self.bdp(bw, self.cwnd_gain).saturating_add(self.ack_aggregation_cwnd());
                    let target = self.quantized(cx, target);
                    let grown = cwnd + sample.acked_sacked;
                    let next = if self.full_bw_reached {
                        grown.min(target)
                    } else if cwnd < target || cx.delivered < INITIAL_WINDOW {
                        grown
                    } else {
                        cwnd
                    };
                    next.max(CWND_MIN_TARGET)
                }
            };
        }
        cx.window.cwnd = cwnd.min(cx.window.cwnd_clamp);
        if self.mode == Mode::ProbeRtt {
            cx.window.cwnd = cx.window.cwnd.min(CWND_MIN_TARGET);
        }
    }

    // --- policers --------------------------------------------------------------------------------

    fn policer_restart(&mut self, cx: &CcCx<'_>) {
        self.policer.bw = 0;
        self.policer.in_use = false;
        self.policer.sampling = false;
        self.policer_new_interval(cx);
    }

    fn policer_new_interval(&mut self, cx: &CcCx<'_>) {
        self.policer.last_stamp = cx.delivered_mstamp;
        self.policer.last_delivered = cx.delivered;
        self.policer.last_lost = cx.lost;
        self.policer.rounds = 0;
    }

    /// Two intervals in a row with much loss and the same rate: somebody polices; use that rate for a while.
    fn policer_sample(&mut self, cx: &mut CcCx<'_>, sample: &RateSample) {
        if self.policer.in_use {
            if self.mode == Mode::ProbeBw && self.round_start {
                self.policer.rounds += 1;
                if self.policer.rounds >= LT_BW_MAX_ROUNDS {
                    self.policer_restart(cx);
                    self.enter_probe_bw(cx);
                }
            }
            return;
        }
        if !self.policer.sampling {
            if sample.losses == 0 {
                return;
            }
            self.policer_new_interval(cx);
            self.policer.sampling = true;
        }
        if sample.is_app_limited {
            self.policer_restart(cx);
            return;
        }
        if self.round_start {
            self.policer.rounds += 1;
        }
        if self.policer.rounds < LT_INTERVAL_MIN_ROUNDS {
            return;
        }
        if self.policer.rounds > 4 * LT_INTERVAL_MIN_ROUNDS {
            self.policer_restart(cx);
            return;
        }
        if sample.losses == 0 {
            return;
        }
        let lost = u64::from(cx.lost.wrapping_sub(self.policer.last_lost));
        let delivered = u64::from(cx.delivered.wrapping_sub(self.policer.last_delivered));
        if delivered == 0 || lost << GAIN_SCALE < LT_LOSS_THRESHOLD * delivered {
            return;
        }
        let interval_us = (cx.delivered_mstamp - self.policer.last_stamp).as_micros();
        let Ok(interval_us) = u64::try_from(interval_us) else { return };
        if interval_us < 1_000 {
            return;
        }
        self.policer_interval_done(cx, delivered * BW_UNIT / interval_us);
    }

    fn policer_interval_done(&mut self, cx: &CcCx<'_>, bw: u64) {
        if self.policer.bw > 0 {
            let diff = bw.abs_diff(self.policer.bw);
            if diff * UNIT <= LT_BW_RATIO * self.policer.bw || Self::pacing_rate(cx, diff, UNIT) <= LT_BW_DIFF
            {
                self.policer.bw = u64::midpoint(bw, self.policer.bw);
                self.policer.in_use = true;
                self.pacing_gain = UNIT;
                self.policer.rounds = 0;
                return;
            }
        }
        self.policer.bw = bw;
        self.policer_new_interval(cx);
    }
}
