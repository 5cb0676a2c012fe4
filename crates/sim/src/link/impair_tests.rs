use core::time::Duration;

use stack::record::LossCause;
use stack::rng::Rng;
use wire::{Frame, Instant};

use super::super::{Distribution, Gemodel, Impairment};
use super::{Impairer, Verdict};

fn impairer(config: Impairment) -> Impairer {
    Impairer::new(config, &Rng::new(1, "test"))
}

fn frame(len: usize) -> Frame {
    Frame::from_vec(vec![0; len])
}

fn arrival(verdict: Verdict) -> Instant {
    match verdict {
        Verdict::Arrive { at, .. } => at,
        Verdict::Lose(cause) => panic!("lost: {cause:?}"),
    }
}

#[test]
fn packets_back_to_back_leave_one_after_the_other() {
    let delay = Duration::from_millis(10);
    let mut link = impairer(Impairment { rate: Some(8_000_000), delay, ..Default::default() });
    // 1,000 bytes at 8 Mbit/s take 1 ms.
    let times: Vec<_> = (0..3).map(|_| arrival(link.decide(Instant::ZERO, &frame(1000)))).collect();
    assert_eq!(times, [11, 12, 13].map(Instant::from_millis));
    // After an idle time the transmitter is free again.
    assert_eq!(arrival(link.decide(Instant::from_secs(1), &frame(500))), Instant::from_micros(1_010_500));
}

#[test]
fn the_queue_takes_limit_packets_and_those_on_the_wire_do_not_count() {
    let delay = Duration::from_secs(1);
    let mut link = impairer(Impairment { rate: Some(8_000_000), limit: 2, delay, ..Default::default() });
    let lost = Verdict::Lose(LossCause::QueueLimit { limit: 2 });
    arrival(link.decide(Instant::ZERO, &frame(1000)));
    arrival(link.decide(Instant::ZERO, &frame(1000)));
    assert_eq!(link.decide(Instant::ZERO, &frame(1000)), lost);
    assert_eq!(arrival(link.decide(Instant::from_millis(1), &frame(1000))), Instant::from_millis(1003));
}

#[test]
fn loss_is_as_frequent_as_it_says_and_a_correlated_one_comes_in_runs() {
    let lost = |correlation| {
        let config =
            Impairment { loss_ppm: 300_000, loss_correlation_ppm: correlation, ..Default::default() };
        let mut link = impairer(config);
        let fate =
            (0..20_000).map(|_| link.decide(Instant::ZERO, &frame(60)) == Verdict::Lose(LossCause::Random));
        fate.collect::<Vec<_>>()
    };
    let changes = |fates: &[bool]| fates.windows(2).filter(|w| w[0] != w[1]).count();
    let (independent, correlated) = (lost(0), lost(900_000));
    let count = independent.iter().filter(|l| **l).count();
    assert!((5_700..6_300).contains(&count), "{count} of 20,000 lost at 30 %");
    assert!(changes(&correlated) * 2 < changes(&independent), "correlation makes runs");
}

#[test]
fn gemodel_loses_in_bursts_of_one_over_r() {
    let gemodel = Gemodel { p: 10_000, r: 250_000, ..Gemodel::default() };
    let mut link = impairer(Impairment { gemodel: Some(gemodel), ..Default::default() });
    let mut bursts = Vec::new();
    let mut run = 0;
    for _ in 0..200_000 {
        match link.decide(Instant::ZERO, &frame(60)) {
            Verdict::Lose(LossCause::Gemodel) => run += 1,
            _ if run > 0 => bursts.push(std::mem::take(&mut run)),
            _ => {}
        }
    }
    let lost: u32 = bursts.iter().sum();
    let mean = f64::from(lost) / bursts.len() as f64;
    assert!((3.7..4.3).contains(&mean), "mean burst {mean}, 1/r is 4");
    let share = f64::from(lost) / 200_000.0;
    assert!((0.034..0.043).contains(&share), "share {share}, p/(p+r) is 0.0385");
}

#[test]
fn jitter_stays_around_the_delay() {
    for distribution in [Distribution::Uniform, Distribution::Normal] {
        let (delay, jitter) = (Duration::from_millis(100), Duration::from_millis(10));
        let mut link = impairer(Impairment { delay, jitter, distribution, ..Default::default() });
        let ms: Vec<f64> = (0..10_000)
            .map(|_| arrival(link.decide(Instant::ZERO, &frame(60))).as_secs_f64() * 1e3)
            .collect();
        let mean = ms.iter().sum::<f64>() / 1e4;
        let deviation = (ms.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e4).sqrt();
        assert!((99.7..100.3).contains(&mean), "{distribution:?}: mean {mean}");
        // A uniform spread of ±10 has the deviation 10/√3.
        let expected = if distribution == Distribution::Uniform { 5.77 } else { 10.0 };
        assert!((deviation - expected).abs() < 0.3, "{distribution:?}: deviation {deviation}");
    }
}

#[test]
fn every_gap_th_packet_overtakes_when_reorder_is_certain() {
    let delay = Duration::from_millis(10);
    let mut link = impairer(Impairment { delay, reorder_ppm: 1_000_000, gap: 3, ..Default::default() });
    let early: Vec<bool> =
        (0..9).map(|_| arrival(link.decide(Instant::ZERO, &frame(60))) == Instant::ZERO).collect();
    assert_eq!(early, [false, false, true, false, false, true, false, false, true]);
}

#[test]
fn one_cause_more_does_not_change_the_others() {
    let fates = |corrupt_ppm| {
        let mut link = impairer(Impairment { loss_ppm: 500_000, corrupt_ppm, ..Default::default() });
        let lost = |v| matches!(v, Verdict::Lose(_));
        (0..100).map(|_| lost(link.decide(Instant::ZERO, &frame(60)))).collect::<Vec<_>>()
    };
    assert_eq!(fates(0), fates(500_000));
}
