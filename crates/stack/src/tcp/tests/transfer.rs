//! TRUTH.md §10: Nagle and cork, delayed ACKs, slow start, loss, tail loss, closed windows.

use core::time::Duration;

use wire::tcp::Flags;

use super::fixture::*;
use crate::call::{Call, Data, MsgFlags, SockOpt};
use crate::mib::Counter;

fn clock(pair: &Pair) -> f64 {
    (pair.now - pair.start()).as_secs_f64()
}

/// Time since `start`, and length, of each data segment from the client.
fn data(pair: &Pair, start: f64) -> Vec<(f64, usize)> {
    let sent = pair.seen.iter().filter(|s| s.from == C && s.len > 0);
    sent.map(|s| (s.secs() - start, s.len)).collect()
}

fn lengths(pair: &Pair) -> Vec<usize> {
    data(pair, 0.0).iter().map(|d| d.1).collect()
}

/// Ready to measure: an established pair with nothing recorded, and the time.
fn ready(rtt_ms: u64) -> (Pair, i32, i32, f64) {
    let mut pair = Pair::new(rtt_ms);
    let (client, server) = pair.established();
    pair.run_ms(300);
    pair.forget();
    let start = clock(&pair);
    (pair, client, server, start)
}

/// Ten writes of 10 bytes at once, with and without Nagle, and corked.
#[test]
fn nagle_holds_small_segments_10c() {
    let (mut pair, client, _, start) = ready(50);
    for _ in 0..10 {
        pair.send(C, client, 10).unwrap();
    }
    pair.run_secs(1);
    let got = data(&pair, start);
    assert_eq!(lengths(&pair), [10, 90]);
    assert!((0.050..0.052).contains(&got[1].0), "{got:?}");

    let (mut pair, client, _, _) = ready(50);
    pair.set(C, client, SockOpt::TCP_NODELAY, 1);
    for _ in 0..10 {
        pair.send(C, client, 10).unwrap();
    }
    pair.run_secs(1);
    assert_eq!(lengths(&pair), [10; 10]);

    let (mut pair, client, _, start) = ready(50);
    pair.set(C, client, SockOpt::TCP_CORK, 1);
    for _ in 0..10 {
        pair.send(C, client, 10).unwrap();
    }
    pair.run_secs(1);
    let got = data(&pair, start);
    assert_eq!(lengths(&pair), [100]);
    assert!((0.252..0.290).contains(&got[0].0), "{got:?}");
}

#[test]
fn writes_10_ms_apart_are_gathered_while_one_is_in_flight_10c() {
    let (mut pair, client, _, _) = ready(50);
    for _ in 0..10 {
        pair.send(C, client, 10).unwrap();
        pair.run_ms(10);
    }
    pair.run_secs(1);
    assert_eq!(lengths(&pair), [10, 50, 40]);
}

/// Minshall: only a small segment in flight holds the next one.
#[test]
fn full_segments_are_not_held_10c() {
    let (mut pair, client, _, _) = ready(50);
    for _ in 0..3 {
        pair.send(C, client, 1000).unwrap();
    }
    pair.run_secs(1);
    assert_eq!(lengths(&pair), [1000, 1448, 552]);

    let (mut pair, client, _, _) = ready(50);
    for _ in 0..2 {
        pair.send(C, client, 4000).unwrap();
    }
    pair.run_secs(1);
    assert_eq!(lengths(&pair), [1448, 1448, 1104, 1448, 1448, 1104]);
}

/// 10b: sixteen quick ACKs, then 40 ms while the application does not read.
#[test]
fn the_first_sixteen_segments_are_acked_at_once_10b() {
    let (mut pair, client, _, _) = ready(0);
    let mut waits = Vec::new();
    for _ in 0..24 {
        pair.forget();
        let at = clock(&pair);
        pair.send(C, client, 100).unwrap();
        pair.run_ms(60);
        let ack = pair.seen.iter().find(|s| s.from == S).expect("an ACK");
        waits.push(((ack.secs() - at) * 1000.0) as u32);
    }
    let quick = waits.iter().take_while(|w| **w < 2).count();
    assert_eq!(quick, 16, "{waits:?}");
    assert!(waits[16..].iter().all(|w| (40..=46).contains(w)), "{waits:?}");
}

#[test]
fn reading_sends_the_ack_10b() {
    let (mut pair, client, server, _) = ready(0);
    for n in 0..30 {
        pair.forget();
        let at = clock(&pair);
        pair.send(C, client, 100).unwrap();
        pair.run_ms(1);
        pair.recv(S, server, 1000).unwrap();
        pair.run_ms(59);
        let ack = pair.seen.iter().find(|s| s.from == S).expect("an ACK");
        assert!(ack.secs() - at < 0.002, "segment {n}: {}", ack.secs() - at);
    }
}

/// A question every 100 ms: the answer within 40 ms carries the ACK, a later one does not.
#[test]
fn answers_carry_the_ack_when_they_come_within_40_ms_10b3() {
    for (think_ms, pure) in [(10, false), (60, true)] {
        let (mut pair, client, server, _) = ready(0);
        for round in 0..12 {
            pair.forget();
            pair.send(C, client, 100).unwrap();
            pair.run_ms(1);
            pair.recv(S, server, 1000).unwrap();
            pair.run_ms(think_ms);
            pair.send(S, server, 100).unwrap();
            pair.run_ms(100);
            pair.recv(C, client, 1000).unwrap();
            let acks = pair.seen.iter().filter(|s| s.from == S && s.len == 0).count();
            if round > 2 {
                assert_eq!(acks > 0, pure, "{think_ms} ms, round {round}: {:#?}", pair.trace());
            }
        }
    }
}

/// Sends `total` bytes to a server that reads as soon as something comes.
fn transfer(pair: &mut Pair, client: i32, server: i32, total: u32) {
    let (mut left, mut got) = (total, 0);
    for _ in 0..200_000 {
        if left > 0
            && let Ok(n) = pair.send(C, client, left)
        {
            left -= n as u32;
        }
        pair.turn(pair.now + Duration::from_millis(1));
        if let Ok(data) = pair.recv(S, server, 1 << 20) {
            got += data.len();
        }
        if got == total as usize {
            return;
        }
    }
    panic!("{got} of {total}: {}", pair.hosts[C].ss_tcp(pair.now));
}

/// Data segments in each round of 50 ms.
fn rounds(pair: &Pair, start: f64) -> Vec<usize> {
    let mut rounds = Vec::new();
    for (at, _) in data(pair, start) {
        let round = (at / 0.050 + 0.1) as usize;
        rounds.resize(rounds.len().max(round + 1), 0);
        rounds[round] += 1;
    }
    rounds
}

#[test]
fn slow_start_doubles_from_ten_10d() {
    for name in ["cubic", "reno"] {
        let mut pair = Pair::new(50);
        pair.sysctl(C, "net.ipv4.tcp_congestion_control", name);
        let (client, server) = pair.established();
        pair.run_ms(300);
        pair.forget();
        let start = clock(&pair);
        transfer(&mut pair, client, server, 277 * 1448);
        let rounds = rounds(&pair, start);
        assert_eq!(rounds[..4], [10, 20, 40, 80], "{name}: {rounds:?}");
    }
}

#[test]
fn after_two_idle_seconds_the_window_is_ten_again_10di() {
    let (mut pair, client, server, _) = ready(50);
    transfer(&mut pair, client, server, 70 * 1448);
    pair.run_secs(2);
    pair.forget();
    let start = clock(&pair);
    transfer(&mut pair, client, server, 40 * 1448);
    assert_eq!(rounds(&pair, start)[0], 10);
}

/// Segment 15 of 100 lost: repaired within the next round trip, without a timeout.
#[test]
fn a_lost_segment_is_resent_in_the_next_round_trip_10e() {
    for (sack, name) in [("1", "cubic"), ("0", "cubic"), ("1", "reno"), ("1", "bbr")] {
        let mut pair = Pair::new(50);
        pair.sysctl(C, "net.ipv4.tcp_sack", sack);
        pair.sysctl(C, "net.ipv4.tcp_congestion_control", name);
        let (client, server) = pair.established();
        pair.run_ms(300);
        let mut n = 0;
        pair.rule = Box::new(move |s| {
            n += u32::from(s.from == C && s.len > 0);
            if n == 15 && s.from == C && s.len > 0 { Fate::Drop } else { Fate::Pass }
        });
        pair.forget();
        let start = clock(&pair);
        transfer(&mut pair, client, server, 100 * 1448);
        let lost = pair.seen.iter().find(|s| s.dropped).unwrap().seq;
        let again = pair.seen.iter().find(|s| !s.dropped && s.from == C && s.seq == lost).unwrap();
        let at = again.secs() - start;
        assert!((0.100..0.112).contains(&at), "sack {sack} {name}: {at}");
        assert_eq!(pair.counter(C, Counter::TcpExtTCPTimeouts), 0, "sack {sack} {name}");
        assert_eq!(pair.counter(C, Counter::TcpRetransSegs), 1, "sack {sack} {name}");
    }
}

/// 10g: packets that come late are resent in vain; the reduction is taken back.
#[test]
fn reordering_is_noticed_and_undone_10g() {
    let (mut pair, client, server, _) = ready(50);
    let mut n = 0;
    pair.rule = Box::new(move |s| {
        n += u32::from(s.from == C && s.len > 0);
        if n == 15 && s.from == C && s.len > 0 { Fate::Delay(60) } else { Fate::Pass }
    });
    transfer(&mut pair, client, server, 100 * 1448);
    pair.run_ms(300);
    let undone = [
        Counter::TcpExtTCPFullUndo,
        Counter::TcpExtTCPPartialUndo,
        Counter::TcpExtTCPDSACKUndo,
        Counter::TcpExtTCPLossUndo,
    ];
    assert!(undone.iter().any(|c| pair.counter(C, *c) > 0), "{}", pair.hosts[C].nstat());
    assert_eq!(pair.counter(C, Counter::TcpExtTCPTimeouts), 0);
}

/// A lone segment, the last of ten, all of ten: loss probe and timeout as measured (RTT 50 ms).
#[test]
fn tails_are_probed_10f() {
    // 10f1: one segment: the probe comes with the timeout.
    let (mut pair, client, _, start) = ready(50);
    let mut first = true;
    pair.rule =
        Box::new(move |s| if s.len > 0 && core::mem::take(&mut first) { Fate::Drop } else { Fate::Pass });
    pair.send(C, client, 100).unwrap();
    pair.run_secs(1);
    assert_schedule(&data(&pair, start).iter().map(|d| d.0).collect::<Vec<_>>(), &[0.0, 0.252]);
    assert_eq!(pair.counter(C, Counter::TcpExtTCPLossProbes), 1);
    assert_eq!(pair.counter(C, Counter::TcpExtTCPTimeouts), 0);

    // 10fA: ten of ten lost: the last one again after two round trips, then the timeout.
    let (mut pair, client, _, start) = ready(50);
    let mut n = 0;
    pair.rule = Box::new(move |s| {
        n += u32::from(s.len > 0);
        if s.len > 0 && n <= 10 { Fate::Drop } else { Fate::Pass }
    });
    pair.send(C, client, 14_480).unwrap();
    pair.run_secs(2);
    let got = data(&pair, start);
    assert!((0.102..0.112).contains(&got[10].0), "the probe: {got:?}");
    assert_eq!(pair.seen.iter().filter(|s| s.len > 0).nth(10).unwrap().seq, 1 + 9 * 1448);
    assert!(pair.counter(C, Counter::TcpExtTCPLossProbes) == 1);
}

/// 10a, 13z: probes of a closed window at RTO · 2^n, for ever while answered.
#[test]
fn a_closed_window_is_probed_10a() {
    let mut pair = Pair::new(0);
    let (client, server) = pair.established();
    let call = Call::Send { fd: client, data: Data::Filler(200_000), flags: MsgFlags(0) };
    for _ in 0..50 {
        let _ = pair.call(C, &call);
        pair.run_ms(100);
        if pair.seen.iter().rfind(|s| s.from == S).is_some_and(|s| s.header.window == 0) {
            break;
        }
    }
    pair.forget();
    pair.run_secs(60);
    let probes: Vec<&Seen> = pair.seen.iter().filter(|s| s.from == C).collect();
    assert!(probes.len() >= 6, "{:#?}", pair.trace());
    assert!(probes.iter().all(|p| p.len == 0 && p.flags == Flags::ACK), "{:#?}", pair.trace());
    let times: Vec<f64> = probes.iter().map(|p| p.secs()).collect();
    for pair in times.windows(3).skip(1) {
        let ratio = (pair[2] - pair[1]) / (pair[1] - pair[0]);
        assert!((1.8..2.2).contains(&ratio), "{times:?}");
    }
    assert_eq!(pair.states(C), ["ESTAB"]);
    // The application reads: the window opens and all the rest comes.
    let mut got = 0;
    for _ in 0..400 {
        if let Ok(data) = pair.recv(S, server, 1 << 20) {
            got += data.len();
        }
        pair.run_ms(50);
    }
    assert!(got > 20_000, "{got}");
}

/// A connection of every congestion control through heavy random loss, duplication and reordering: byte-exact.
#[test]
fn nothing_is_lost_or_doubled_in_a_bad_network() {
    for (seed, name) in ["cubic", "reno", "bbr", "cubic", "reno", "bbr"].iter().enumerate() {
        let mut pair = Pair::new(10);
        pair.sysctl(C, "net.ipv4.tcp_congestion_control", name);
        if seed == 4 {
            pair.sysctl(C, "net.ipv4.tcp_sack", "0");
        }
        if seed == 3 {
            pair.sysctl(S, "net.ipv4.tcp_timestamps", "0");
        }
        let (client, server) = pair.established();
        let mut rng = crate::rng::Rng::new(seed as u64, "bad network");
        pair.rule = Box::new(move |_| match rng.below(100) {
            0..=5 => Fate::Drop,
            6..=9 => Fate::Delay(rng.below(40)),
            _ => Fate::Pass,
        });
        let total = 300_000;
        let bytes: Vec<u8> = (0..total).map(|i| (i * 31 % 239) as u8).collect();
        let (mut sent, mut got) = (0, Vec::new());
        for _ in 0..100_000 {
            if sent < total {
                let part = Data::Literal(bytes[sent..(sent + 30_000).min(total)].into());
                let call = Call::Send { fd: client, data: part, flags: MsgFlags(0) };
                if let Ok(n) = pair.call(C, &call) {
                    sent += n.value() as usize;
                }
            }
            pair.run_ms(10);
            if let Ok(more) = pair.recv(S, server, 1 << 20) {
                got.extend(more);
            }
            if got.len() == total {
                break;
            }
        }
        assert_eq!(got.len(), total, "{name}: {}", pair.hosts[C].ss_tcp(pair.now));
        assert!(got == bytes, "{name}");
    }
}
