//! The fate of one packet on an impaired link: what netem decides, in netem's order.
//!
//! Linux: sch_netem.c `netem_enqueue` (duplicate, loss, corrupt, reorder, delay), `get_crandom` for
//! correlation, `loss_gilb_ell`. Every cause draws from a stream of its own, so that adding one does not
//! change the others.

use core::time::Duration;
use std::collections::VecDeque;

use stack::record::LossCause;
use stack::rng::Rng;
use wire::{Frame, Instant};

use super::{Distribution, Impairment};

/// One million: certainty.
const PPM: u64 = 1_000_000;

/// A stream whose numbers depend on the one before (`struct crndstate`).
#[derive(Debug)]
struct Correlated {
    rng: Rng,
    /// 32-bit fraction of the previous number that goes into the next.
    rho: u64,
    last: u32,
}

impl Correlated {
    fn new(rng: Rng, correlation_ppm: u32) -> Correlated {
        Correlated { rng, rho: u64::from(correlation_ppm.min(1_000_000)) * (1 << 32) / PPM, last: 0 }
    }

    fn next(&mut self) -> u32 {
        let fresh = u64::from(self.rng.next_u32());
        if self.rho == 0 {
            return fresh as u32; // came from a u32
        }
        let mixed = (fresh * ((1 << 32) - self.rho) + u64::from(self.last) * self.rho) >> 32;
        self.last = mixed as u32; // a weighted mean of two u32
        self.last
    }

    /// True in `ppm` of a million cases.
    fn chance(&mut self, ppm: u32) -> bool {
        ppm != 0 && (u64::from(self.next()) * PPM) >> 32 < u64::from(ppm)
    }
}

/// What becomes of a packet that enters a direction.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It arrives then.
    Arrive {
        /// When.
        at: Instant,
        /// The bit that is flipped, counted from the first bit of the frame.
        corrupt: Option<u64>,
        /// It overtakes those that wait out their delay.
        reordered: bool,
    },
    /// It never arrives.
    Lose(LossCause),
}

/// The state of one impaired direction.
#[derive(Debug)]
pub(crate) struct Impairer {
    config: Impairment,
    /// `loss gemodel`'s state.
    bad: bool,
    /// Packets since the last reordered one.
    counter: u32,
    /// When each packet in the transmitter's queue will have left it.
    leaving: VecDeque<Instant>,
    jitter: Correlated,
    loss: Correlated,
    gemodel: Rng,
    reorder: Correlated,
    duplicate: Correlated,
    corrupt: Correlated,
    corrupt_bit: Rng,
}

impl Impairer {
    /// `streams` is the direction's own source of randomness.
    pub(crate) fn new(config: Impairment, streams: &Rng) -> Impairer {
        let stream = |name, correlation| Correlated::new(streams.fork(name), correlation);
        Impairer {
            bad: false,
            counter: 0,
            leaving: VecDeque::new(),
            jitter: stream("jitter", config.jitter_correlation_ppm),
            loss: stream("loss", config.loss_correlation_ppm),
            gemodel: streams.fork("gemodel"),
            reorder: stream("reorder", config.reorder_correlation_ppm),
            duplicate: stream("duplicate", config.duplicate_correlation_ppm),
            corrupt: stream("corrupt", config.corrupt_correlation_ppm),
            corrupt_bit: streams.fork("corrupt bit"),
            config,
        }
    }

    /// Whether the packet is to be sent twice; decided before everything else.
    pub(crate) fn duplicates(&mut self) -> bool {
        self.duplicate.chance(self.config.duplicate_ppm)
    }

    /// The fate of one packet (or of a duplicate, which is not duplicated again).
    pub(crate) fn decide(&mut self, now: Instant, frame: &Frame) -> Verdict {
        if self.loss.chance(self.config.loss_ppm) {
            return Verdict::Lose(LossCause::Random);
        }
        if self.gemodel_loses() {
            return Verdict::Lose(LossCause::Gemodel);
        }
        let sent = match self.transmit(now, frame) {
            Ok(sent) => sent,
            Err(cause) => return Verdict::Lose(cause),
        };
        let corrupt = self
            .corrupt
            .chance(self.config.corrupt_ppm)
            .then(|| self.corrupt_bit.below(frame.len().max(1) as u64 * 8));
        let reordered = self.reorders();
        let at = if reordered { sent } else { sent + self.delay() };
        Verdict::Arrive { at, corrupt, reordered }
    }

    /// Packets that wait for the transmitter at `now`, and how many may.
    pub(crate) fn queue(&self, now: Instant) -> (usize, u32) {
        (self.leaving.iter().filter(|at| **at > now).count(), self.config.limit)
    }

    /// The cable was pulled: nothing waits any more.
    pub(crate) fn clear(&mut self) {
        self.leaving.clear();
    }

    fn gemodel_loses(&mut self) -> bool {
        let Some(model) = self.config.gemodel else { return false };
        let (leave, loss) = if self.bad { (model.r, model.loss_bad) } else { (model.p, model.loss_good) };
        // Both numbers are always drawn, the state's own loss applies, and the change counts from the
        // next packet on.
        let leaves = self.gemodel.chance_ppm(leave);
        let loses = self.gemodel.chance_ppm(loss);
        self.bad ^= leaves;
        loses
    }

    /// When the packet has left the transmitter.
    fn transmit(&mut self, now: Instant, frame: &Frame) -> Result<Instant, LossCause> {
        let Some(rate) = self.config.rate else { return Ok(now) };
        while self.leaving.front().is_some_and(|at| *at <= now) {
            self.leaving.pop_front();
        }
        let limit = self.config.limit;
        if self.leaving.len() >= limit as usize {
            return Err(LossCause::QueueLimit { limit });
        }
        let start = self.leaving.back().map_or(now, |last| now.max(*last));
        let sent = start + Duration::from_nanos(transmission_ns(frame.len(), rate));
        self.leaving.push_back(sent);
        Ok(sent)
    }

    fn reorders(&mut self) -> bool {
        if self.config.reorder_ppm == 0 {
            return false;
        }
        let gap = self.config.gap.max(1);
        if self.counter + 1 >= gap && self.reorder.chance(self.config.reorder_ppm) {
            self.counter = 0;
            return true;
        }
        self.counter = self.counter.saturating_add(1);
        false
    }

    fn delay(&mut self) -> Duration {
        let Impairment { delay, jitter, distribution, .. } = self.config;
        if jitter.is_zero() {
            return delay;
        }
        let sigma = i128::try_from(jitter.as_nanos()).expect("a u64 of seconds in nanoseconds fits");
        let offset = match distribution {
            Distribution::Uniform => ((2 * sigma * i128::from(self.jitter.next())) >> 32) - sigma,
            Distribution::Normal => {
                // Irwin–Hall: the sum of twelve uniform numbers has variance 1 and is normal enough.
                let sum: i128 = (0..12).map(|_| i128::from(self.jitter.next())).sum();
                (sigma * (sum - (6 << 32))) >> 32
            }
        };
        let mean = i128::try_from(delay.as_nanos()).expect("as above");
        Duration::from_nanos(u64::try_from((mean + offset).max(0)).unwrap_or(u64::MAX))
    }
}

/// How long `bytes` take at `rate` bits a second.
fn transmission_ns(bytes: usize, rate: u64) -> u64 {
    let bits = bytes as u64 * 8;
    match bits.checked_mul(1_000_000_000) {
        Some(product) => product.div_ceil(rate.max(1)),
        None => u64::MAX, // two gigabytes: no packet
    }
}

#[cfg(test)]
#[path = "impair_tests.rs"]
mod tests;
