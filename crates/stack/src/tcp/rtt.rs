//! How long a round trip takes, and how long to wait before a segment counts as lost.
//!
//! RFC 6298 with Linux's variance: the deviation's maximum over one round trip, at least `tcp_rto_min_us`,
//! decaying by a quarter. Linux: tcp_input.c `tcp_rtt_estimator`, `tcp_set_rto`, `tcp_update_rtt_min`;
//! lib/win_minmax.c.

use core::time::Duration;

use wire::Instant;
use wire::tcp::SeqNum;

/// Smoothed round-trip time and deviation, in Linux's fixed point.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RttEstimator {
    /// Smoothed round-trip time, microseconds times 8; 0 before the first sample.
    pub(crate) srtt_us8: u32,
    /// Mean deviation, microseconds times 4.
    pub(crate) mdev_us4: u32,
    /// The largest `mdev_us4` within this round trip.
    pub(crate) mdev_max_us: u32,
    /// What is added to the smoothed time, microseconds: at least the minimum RTO.
    pub(crate) rttvar_us: u32,
    /// The end of the round trip that `mdev_max_us` covers.
    pub(crate) rtt_seq: SeqNum,
    /// The least sample of late.
    pub(crate) min_rtt: WindowedMin,
}

impl RttEstimator {
    /// Takes a sample (`tcp_rtt_estimator`). `rto_min_us` is `tcp_rto_min_us`.
    pub(crate) fn sample(&mut self, rtt_us: u32, snd_una: SeqNum, snd_nxt: SeqNum, rto_min_us: u32) {
        if self.srtt_us8 == 0 {
            self.srtt_us8 = rtt_us.max(1) << 3;
            self.mdev_us4 = rtt_us << 1;
            self.rttvar_us = self.mdev_us4.max(rto_min_us);
            self.mdev_max_us = self.rttvar_us;
            self.rtt_seq = snd_nxt;
            return;
        }
        let error = i64::from(rtt_us) - i64::from(self.srtt_us8 >> 3);
        self.srtt_us8 = clamp_u32(i64::from(self.srtt_us8) + error).max(1);
        let mut step = error.abs() - i64::from(self.mdev_us4 >> 2);
        if error < 0 && step > 0 {
            // A sudden drop of the round-trip time must not blow the deviation up (Eifel).
            step >>= 3;
        }
        self.mdev_us4 = clamp_u32(i64::from(self.mdev_us4) + step);
        if self.mdev_us4 > self.mdev_max_us {
            self.mdev_max_us = self.mdev_us4;
            self.rttvar_us = self.rttvar_us.max(self.mdev_max_us);
        }
        if snd_una.after(self.rtt_seq) {
            if self.mdev_max_us < self.rttvar_us {
                self.rttvar_us -= (self.rttvar_us - self.mdev_max_us) >> 2;
            }
            self.rtt_seq = snd_nxt;
            self.mdev_max_us = rto_min_us;
        }
    }

    /// Smoothed time plus variance (`__tcp_set_rto`), not yet rounded to ticks or capped.
    pub(crate) fn rto(&self) -> Duration {
        Duration::from_micros(u64::from(self.srtt_us8 >> 3) + u64::from(self.rttvar_us))
    }
}

fn clamp_u32(v: i64) -> u32 {
    u32::try_from(v.max(0)).unwrap_or(u32::MAX)
}

/// The minimum over a sliding window, kept in three samples (Kathleen Nichols' algorithm, as
/// lib/win_minmax.c has it).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WindowedMin {
    best: [(Instant, u32); 3],
}

impl WindowedMin {
    /// The minimum; `u32::MAX` before the first sample.
    pub(crate) fn value(&self) -> Option<u32> {
        (self.best[0].0 != Instant::ZERO || self.best[0].1 != 0).then_some(self.best[0].1)
    }

    /// Takes `value` at `now` with samples older than `window` forgotten; returns the minimum.
    pub(crate) fn update(&mut self, now: Instant, window: Duration, value: u32) -> u32 {
        let new = (now, value);
        if self.value().is_none() || value <= self.best[0].1 || now - self.best[2].0 > window {
            self.best = [new; 3];
            return value;
        }
        if value <= self.best[1].1 {
            self.best[1] = new;
            self.best[2] = new;
        } else if value <= self.best[2].1 {
            self.best[2] = new;
        }
        let age = now - self.best[0].0;
        if age > window {
            self.best = [self.best[1], self.best[2], new];
            if now - self.best[0].0 > window {
                self.best = [self.best[1], self.best[2], new];
            }
        } else if self.best[1].0 == self.best[0].0 && age > window / 4 {
            self.best[1] = new;
            self.best[2] = new;
        } else if self.best[2].0 == self.best[1].0 && age > window / 2 {
            self.best[2] = new;
        }
        self.best[0].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTO_MIN: u32 = 200_000;

    fn after_samples(samples: &[u32]) -> RttEstimator {
        let mut rtt = RttEstimator::default();
        for (i, s) in (1u32..).zip(samples) {
            // every sample ends a round trip
            rtt.sample(*s, SeqNum(i * 2), SeqNum(i * 2 + 1), RTO_MIN);
        }
        rtt
    }

    /// TRUTH.md §0 "Base rules": RTT 0 → 204, 10 → 212, 50 → 252, 200 → 604 ms after the handshake
    /// (rounded up to the 4 ms tick there).
    #[test]
    fn rto_after_the_handshake_sample_is_srtt_plus_at_least_200_ms() {
        for (rtt_us, rto_ms) in [(100, 204), (10_200, 212), (50_300, 252), (200_300, 604)] {
            let exact = after_samples(&[rtt_us]).rto();
            let ticks = exact.as_micros().div_ceil(4_000) * 4;
            assert_eq!(ticks, rto_ms, "rtt {rtt_us} us");
        }
    }

    /// TRUTH.md §0: RTT 200 ms → 404 ms after 20 exchanges.
    #[test]
    fn variance_decays_to_the_minimum_on_a_steady_path() {
        let rto = after_samples(&[200_300; 40]).rto();
        assert_eq!(rto.as_micros().div_ceil(4_000) * 4, 404);
    }

    #[test]
    fn a_single_spike_raises_the_deviation_and_a_drop_hardly_does() {
        let steady = [50_000; 20];
        let up = after_samples(&[&steady[..], &[500_000]].concat());
        let down = after_samples(&[&[500_000; 20][..], &[50_000]].concat());
        assert!(up.rttvar_us >= 450_000, "{up:?}");
        assert!(down.rttvar_us <= 220_000, "{down:?}");
    }

    #[test]
    fn windowed_minimum_forgets_old_samples() {
        let mut min = WindowedMin::default();
        assert_eq!(min.value(), None);
        let window = Duration::from_secs(10);
        assert_eq!(min.update(Instant::from_secs(1), window, 50), 50);
        for s in 2..=11 {
            assert_eq!(min.update(Instant::from_secs(s), window, 80), 50);
        }
        assert_eq!(min.update(Instant::from_secs(12), window, 90), 80);
    }
}
