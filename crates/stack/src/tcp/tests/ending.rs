//! TRUTH.md §4, §5, §7: lost FINs, orphans, FIN_WAIT2, TIME_WAIT; dead peers, keepalive, resets.

use wire::tcp::Flags;

use super::fixture::*;
use crate::Errno;
use crate::Granularity;
use crate::call::{Call, Data, MsgFlags, OptValue, Ret, Shutdown, SockAddr, SockOpt};
use crate::mib::Counter;

const FIN: Flags = Flags(0x11);

fn since(pair: &Pair, from: usize, fin: bool, start: f64) -> Vec<f64> {
    let times = pair.times(|s| s.from == from && (s.flags.fin() == fin) && (fin || s.len > 0));
    times.iter().map(|t| t - start).collect()
}

fn clock(pair: &Pair) -> f64 {
    (pair.now - pair.start()).as_secs_f64()
}

/// Runs until a host shows no socket in `state` any more; the seconds since `from`.
fn until_gone(pair: &mut Pair, host: usize, state: &str, from: f64, limit: u64) -> f64 {
    for _ in 0..limit * 50 {
        if !pair.states(host).iter().any(|s| s == state) {
            return clock(pair) - from;
        }
        pair.run_ms(20);
    }
    panic!("{state} after {limit} s: {}", pair.hosts[host].ss_tcp(pair.now));
}

/// A segment without its data, its TCP header altered, with right checksums.
fn altered(segment: &[u8], change: impl FnOnce(&mut [u8])) -> wire::Frame {
    let mut b = segment.to_vec();
    b.truncate(52);
    b[2..4].copy_from_slice(&52u16.to_be_bytes());
    change(&mut b[20..]);
    b[36..38].fill(0);
    let (ip, n) = wire::ipv4::Header::parse(&b).unwrap();
    let sum = wire::tcp::checksum_v4(ip.src, ip.dst, &b[n..]);
    b[36..38].copy_from_slice(&sum.to_be_bytes());
    b[10..12].fill(0);
    let sum = wire::checksum::sum(&b[..20]).finish();
    b[10..12].copy_from_slice(&sum.to_be_bytes());
    wire::Frame::from_slice(&b)
}

/// 0, R, 2R, 4R … with the loss probe first (TRUTH §0).
fn doubling(n: usize) -> Vec<f64> {
    let mut times = vec![0.0, 0.204];
    let mut gap = 0.204f64;
    while times.len() < n {
        times.push(times[times.len() - 1] + gap);
        gap = (gap * 2.0).min(120.0);
    }
    times.truncate(n);
    times
}

#[test]
fn lost_fins_of_an_orphan_are_sent_ten_times_4a() {
    for (retries, fins, least, most) in [("0", 10, 102.0, 109.0), ("1", 4, 1.4, 1.9), ("3", 6, 6.4, 7.2)] {
        let mut pair = Pair::new(0);
        pair.sysctl(C, "net.ipv4.tcp_orphan_retries", retries);
        let (client, _server) = pair.established();
        pair.rule = mute(C);
        let start = clock(&pair);
        pair.forget();
        pair.close(C, client);
        let gone = until_gone(&mut pair, C, "FIN-WAIT-1", start, 150);
        assert_schedule(&since(&pair, C, true, start), &doubling(fins));
        assert!((least..most).contains(&gone), "retries {retries}: {gone}");
        assert_eq!(pair.states(C), Vec::<String>::new());
        assert_eq!(pair.counter(C, Counter::TcpOutRsts), 0);
        assert_eq!(pair.states(S), ["ESTAB"]);
    }
}

#[test]
fn a_fin_after_shutdown_falls_under_retries2_4c() {
    let mut pair = Pair::new(0);
    pair.sysctl(C, "net.ipv4.tcp_retries2", "6");
    let (client, _server) = pair.established();
    pair.rule = mute(C);
    let start = clock(&pair);
    pair.forget();
    pair.call(C, &Call::Shutdown { fd: client, how: Shutdown::Wr }).unwrap();
    let gone = until_gone(&mut pair, C, "FIN-WAIT-1", start, 100);
    assert_schedule(&since(&pair, C, true, start), &doubling(8));
    assert!((25.0..27.5).contains(&gone), "{gone}");
    assert_eq!(pair.so_error(C, client), 110);
}

#[test]
fn data_and_fin_are_merged_when_resent_4d() {
    let mut pair = Pair::new(0);
    let (client, _server) = pair.established();
    pair.rule = mute(C);
    pair.forget();
    pair.send(C, client, 100).unwrap();
    pair.close(C, client);
    pair.run_secs(5);
    let later: Vec<&Seen> = pair.seen.iter().skip(3).collect();
    assert!(!later.is_empty());
    for s in later {
        assert_eq!((s.flags, s.len, s.seq), (FIN | Flags::PSH, 100, 1), "{:#?}", pair.trace());
    }
}

#[test]
fn fin_wait2_of_a_closed_socket_ends_by_fin_timeout_4j() {
    let rows: [(&str, Option<i64>, f64, f64); 6] = [
        ("60", None, 60.0, 62.3),
        ("5", None, 5.0, 5.4),
        ("60", Some(3), 3.0, 3.4),
        ("90", None, 60.0, 62.3), // the quirk: 2 · (90 - 60)
        ("70", None, 20.0, 22.6),
        ("61", None, 2.0, 2.4),
    ];
    for (timeout, linger2, least, most) in rows {
        let mut pair = Pair::new(0);
        pair.sysctl(C, "net.ipv4.tcp_fin_timeout", timeout);
        let (client, _server) = pair.established();
        if let Some(n) = linger2 {
            pair.set(C, client, SockOpt::TCP_LINGER2, n);
        }
        let start = clock(&pair);
        pair.close(C, client);
        pair.run_ms(100);
        assert_eq!(pair.states(C), ["FIN-WAIT-2"]);
        let gone = until_gone(&mut pair, C, "FIN-WAIT-2", start, 150);
        assert!((least..most).contains(&gone), "fin_timeout {timeout} linger2 {linger2:?}: {gone}");
        assert_eq!(pair.states(C), Vec::<String>::new());
    }
}

#[test]
fn a_negative_linger2_resets_when_the_fin_is_acked_4jl() {
    let mut pair = Pair::new(0);
    let (client, _server) = pair.established();
    pair.set(C, client, SockOpt::TCP_LINGER2, -1);
    pair.forget();
    pair.close(C, client);
    pair.run_ms(100);
    assert_eq!(pair.states(C), Vec::<String>::new());
    assert!(pair.seen.last().unwrap().flags.rst(), "{:#?}", pair.trace());
}

#[test]
fn after_shutdown_only_fin_wait2_lasts_for_ever_4k() {
    let mut pair = Pair::new(0);
    pair.sysctl(C, "net.ipv4.tcp_fin_timeout", "5");
    let (client, _server) = pair.established();
    pair.call(C, &Call::Shutdown { fd: client, how: Shutdown::Wr }).unwrap();
    pair.run_secs(200);
    assert_eq!(pair.states(C), ["FIN-WAIT-2"]);
}

#[test]
fn data_for_a_closed_fin_wait2_is_reset_4l() {
    let mut pair = Pair::new(0);
    let (client, server) = pair.established();
    pair.close(C, client);
    pair.run_ms(100);
    pair.forget();
    assert_eq!(pair.send(S, server, 10), Ok(10));
    pair.run_ms(5);
    assert!(pair.seen.iter().any(|s| s.from == C && s.flags.rst()));
    assert_eq!(pair.states(C), Vec::<String>::new());
    assert_eq!(pair.send(S, server, 10), Err(Errno::EPIPE));
}

#[test]
fn every_repeated_fin_restarts_time_wait_4i() {
    let mut pair = Pair::new(0);
    let (client, server) = pair.established();
    pair.close(C, client);
    pair.run_ms(100);
    // The last ACK is lost for 15 s.
    let begin = clock(&pair);
    pair.rule =
        Box::new(move |s| if s.from == C && s.secs() < begin + 15.0 { Fate::Drop } else { Fate::Pass });
    pair.forget();
    pair.close(S, server);
    pair.run_ms(100);
    assert_eq!(pair.states(C), ["TIME-WAIT"]);
    assert_eq!(pair.states(S), ["LAST-ACK"]);
    pair.run_secs(30);
    assert_eq!(pair.states(S), Vec::<String>::new());
    let last = *since(&pair, S, true, begin).last().unwrap();
    assert!((26.0..28.5).contains(&last), "{last}");
    let gone = until_gone(&mut pair, C, "TIME-WAIT", begin, 100);
    assert!((last + 60.0..last + 62.4).contains(&gone), "{gone}");
}

#[test]
fn time_wait_lasts_60_seconds_whatever_fin_timeout_says_4n() {
    let mut pair = Pair::new(0);
    pair.sysctl(C, "net.ipv4.tcp_fin_timeout", "5");
    let (client, server) = pair.established();
    pair.close(C, client);
    pair.run_ms(10);
    pair.close(S, server);
    pair.run_ms(1);
    let start = clock(&pair);
    let gone = until_gone(&mut pair, C, "TIME-WAIT", start, 100);
    assert!((59.9..62.3).contains(&gone), "{gone}");
}

// --- dead peers ----------------------------------------------------------------------------------

#[test]
fn a_pulled_cable_ends_by_retries2_5a() {
    for (retries, sends, least, most) in [("3", 6, 6.4, 7.2), ("5", 7, 12.8, 14.0), ("8", 10, 102.4, 109.0)] {
        let mut pair = Pair::new(0);
        pair.sysctl(C, "net.ipv4.tcp_retries2", retries);
        let (client, _server) = pair.established();
        pair.rule = Box::new(|_| Fate::Drop);
        let start = clock(&pair);
        pair.forget();
        pair.send(C, client, 100).unwrap();
        let gone = until_gone(&mut pair, C, "ESTAB", start, 150);
        assert_schedule(&since(&pair, C, false, start), &doubling(sends));
        assert!((least..most).contains(&gone), "retries2 {retries}: {gone}");
        assert_eq!(pair.recv(C, client, 1), Err(Errno::ETIMEDOUT));
        assert_eq!(pair.send(C, client, 1), Err(Errno::EPIPE));
    }
}

/// 5a: 17 transmissions, ETIMEDOUT after 938 s.
#[test]
fn by_default_it_takes_fifteen_minutes_5a() {
    let mut pair = Pair::new(0);
    let (client, _server) = pair.established();
    pair.rule = Box::new(|_| Fate::Drop);
    let start = clock(&pair);
    pair.forget();
    pair.send(C, client, 100).unwrap();
    pair.run_secs(920);
    assert_eq!(pair.states(C), ["ESTAB"]);
    pair.run_secs(60);
    assert_eq!(pair.recv(C, client, 1), Err(Errno::ETIMEDOUT));
    let times = since(&pair, C, false, start);
    assert_eq!(times.len(), 17, "{times:?}");
    assert_schedule(&times, &doubling(17));
}

#[test]
fn without_loss_probes_the_schedule_is_the_classical_5ae() {
    let mut pair = Pair::new(0);
    pair.sysctl(C, "net.ipv4.tcp_early_retrans", "0");
    pair.sysctl(C, "net.ipv4.tcp_retries2", "5");
    let (client, _server) = pair.established();
    pair.rule = Box::new(|_| Fate::Drop);
    let start = clock(&pair);
    pair.forget();
    pair.send(C, client, 100).unwrap();
    let gone = until_gone(&mut pair, C, "ESTAB", start, 50);
    let r = 0.204;
    assert_schedule(&since(&pair, C, false, start), &[0.0, r, 3.0 * r, 7.0 * r, 15.0 * r, 31.0 * r]);
    assert!((12.6..13.6).contains(&gone), "{gone}");
}

#[test]
fn user_timeout_clips_the_last_wait_5au() {
    let mut pair = Pair::new(0);
    let (client, _server) = pair.established();
    pair.set(C, client, SockOpt::TCP_USER_TIMEOUT, 10_000);
    pair.rule = Box::new(|_| Fate::Drop);
    let start = clock(&pair);
    pair.send(C, client, 100).unwrap();
    let gone = until_gone(&mut pair, C, "ESTAB", start, 50);
    assert!((10.2..10.8).contains(&gone), "{gone}");
}

/// Linux: tcp_rtx_probe0_timed_out() as of 6.10; before, a segment left every two ticks until the last ACK was as old.
#[test]
fn a_window_closed_over_data_in_flight_does_not_begin_the_user_timeout_anew() {
    for granularity in [Granularity::Ideal, Granularity::Wheel { hz: 250 }, Granularity::Wheel { hz: 1000 }] {
        let mut pair = Pair::with(0, granularity);
        let (client, server) = pair.established();
        pair.set(C, client, SockOpt::TCP_USER_TIMEOUT, 2000);
        pair.send(C, client, 10).unwrap();
        pair.run_ms(50);
        assert_eq!(pair.recv(S, server, 100).unwrap().len(), 10);
        let ack = pair.frames.iter().rev().find(|(from, _)| *from == S).unwrap().1.to_vec();
        let start = clock(&pair);
        pair.forget();
        pair.rule = Box::new(|_| Fate::Drop);
        pair.send(C, client, 100).unwrap();
        pair.run_ms(1500);
        pair.inject(C, &altered(&ack, |tcp| tcp[14..16].fill(0)));
        let gone = until_gone(&mut pair, C, "ESTAB", start, 10);
        assert!((2.0..2.5).contains(&gone), "{granularity:?}: {gone}");
        assert!(pair.seen.len() <= 8, "{granularity:?}: {:#?}", pair.trace());
        assert_eq!(pair.recv(C, client, 1), Err(Errno::ETIMEDOUT));
    }
}

#[test]
fn an_idle_connection_sends_nothing_5b() {
    let mut pair = Pair::new(0);
    let (client, server) = pair.established();
    pair.forget();
    pair.run_secs(200);
    assert_eq!(pair.trace(), Vec::<String>::new());
    pair.send(C, client, 1).unwrap();
    pair.run_ms(5);
    assert_eq!(pair.recv(S, server, 5).unwrap().len(), 1);
}

fn keepalive(pair: &mut Pair, fd: i32, idle: i64, interval: i64, count: i64) {
    pair.set(C, fd, SockOpt::TCP_KEEPIDLE, idle);
    pair.set(C, fd, SockOpt::TCP_KEEPINTVL, interval);
    pair.set(C, fd, SockOpt::TCP_KEEPCNT, count);
    pair.set(C, fd, SockOpt::SO_KEEPALIVE, 1);
}

#[test]
fn keepalive_gives_up_with_a_reset_5c() {
    let mut pair = Pair::new(0);
    let (client, _server) = pair.established();
    keepalive(&mut pair, client, 5, 2, 3);
    pair.rule = Box::new(|_| Fate::Drop);
    let start = clock(&pair);
    pair.forget();
    let gone = until_gone(&mut pair, C, "ESTAB", start, 20);
    let times: Vec<f64> = pair.times(|s| s.from == C).iter().map(|t| t - start).collect();
    assert_eq!(times.len(), 4, "three probes and a RST: {:#?}", pair.trace());
    assert_schedule(&times, &[4.9, 6.9, 8.9, 10.9]);
    assert!(pair.seen[3].flags.rst());
    assert_eq!((pair.seen[0].len, pair.seen[0].seq), (0, 0), "the probe lies one below");
    assert!((10.8..11.9).contains(&gone), "{gone}");
    assert_eq!(pair.recv(C, client, 1), Err(Errno::ETIMEDOUT));
}

#[test]
fn answered_keepalives_go_on_5cok() {
    let mut pair = Pair::new(0);
    let (client, _server) = pair.established();
    keepalive(&mut pair, client, 3, 1, 3);
    pair.forget();
    pair.run_secs(30);
    assert_eq!(pair.states(C), ["ESTAB"]);
    let probes = pair.times(|s| s.from == C).len();
    assert!((8..=10).contains(&probes), "{probes}");
    assert_eq!(pair.counter(C, Counter::TcpExtTCPKeepAlive), probes as u64);
}

#[test]
fn a_rebooted_peer_resets_what_it_does_not_know_5d() {
    let mut pair = Pair::new(0);
    let (client, server) = pair.established();
    // The server forgets without a word.
    pair.rule = mute(S);
    let value = OptValue::Linger(true, 0);
    pair.call(S, &Call::SetSockOpt { fd: server, opt: SockOpt::SO_LINGER, value }).unwrap();
    pair.close(S, server);
    pair.rule = Box::new(|_| Fate::Pass);
    assert_eq!(pair.send(C, client, 1), Ok(1));
    pair.run_ms(5);
    assert_eq!(pair.send(C, client, 1), Err(Errno::ECONNRESET));
    assert_eq!(pair.send(C, client, 1), Err(Errno::EPIPE));
    assert_eq!(pair.recv(C, client, 1), Ok(vec![]));
}

#[test]
fn a_write_after_the_peers_close_is_epipe_5f3() {
    let mut pair = Pair::new(0);
    let (client, server) = pair.established();
    pair.close(S, server);
    pair.run_ms(100);
    assert_eq!(pair.recv(C, client, 1), Ok(vec![]));
    assert_eq!(pair.send(C, client, 1), Ok(1));
    pair.run_ms(5);
    assert_eq!(pair.send(C, client, 1), Err(Errno::EPIPE));
}

#[test]
fn both_fins_and_a_fresh_socket_as_poll_shows_them_12j() {
    let mut pair = Pair::new(0);
    let fresh = pair.socket(C, true);
    assert_eq!(pair.poll(C, fresh), 0x14);
    let (client, server) = pair.established();
    pair.call(C, &Call::Shutdown { fd: client, how: Shutdown::Wr }).unwrap();
    pair.call(S, &Call::Shutdown { fd: server, how: Shutdown::Wr }).unwrap();
    pair.run_ms(100);
    assert_eq!(pair.poll(C, client), 0x2015);
}

#[test]
fn resets_and_syns_are_judged_by_number_5i() {
    let mut pair = Pair::new(0);
    let (client, server) = pair.established();
    pair.send(C, client, 10).unwrap();
    pair.run_ms(5);
    let template = pair.frames.iter().rev().find(|(from, _)| *from == C).unwrap().1.clone();
    let forge = |seq_delta: i64, flags: u8| {
        altered(&template.to_vec(), |tcp| {
            let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add(seq_delta as u32);
            tcp[4..8].copy_from_slice(&seq.to_be_bytes());
            tcp[13] = flags;
        })
    };
    let last = i64::from(pair.seen.iter().rfind(|s| s.from == C && s.len > 0).unwrap().len as u32);
    let here = if template.len() > 52 { last } else { 0 };
    pair.run_secs(1);
    pair.forget();
    pair.inject(S, &forge(here - 100_000, 0x04));
    assert_eq!(pair.trace(), Vec::<String>::new(), "out of the window: ignored");
    pair.inject(S, &forge(here + 1000, 0x04));
    assert_eq!(pair.counter(S, Counter::TcpExtTCPChallengeACK), 1, "in the window: challenged");
    pair.run_secs(1);
    pair.inject(S, &forge(here, 0x02));
    assert_eq!(pair.counter(S, Counter::TcpExtTCPSYNChallenge), 1);
    assert_eq!(pair.states(S), ["ESTAB"]);
    pair.inject(S, &forge(here, 0x04));
    assert_eq!(pair.states(S), ["UNCONN"], "exact: reset");
    assert_eq!(pair.recv(S, server, 10).unwrap().len(), 10);
    assert_eq!(pair.recv(S, server, 10), Err(Errno::ECONNRESET));
}

// --- ports and TIME_WAIT -------------------------------------------------------------------------

/// A connection of `fd` to `listener` that both close, `first` first.
fn visit(pair: &mut Pair, listener: i32, fd: i32, first: usize) {
    assert_eq!(pair.connect(fd, 80), Err(Errno::EINPROGRESS));
    pair.run_ms(5);
    let server = pair.accept(listener).unwrap();
    let fds = [fd, server];
    for host in [first, 1 - first] {
        pair.close(host, fds[host]);
        pair.run_ms(2);
    }
}

/// A client's socket that may use port 40000 again, and the port.
fn on_port_40000(pair: &mut Pair) -> i32 {
    let fd = pair.socket(C, true);
    pair.set(C, fd, SockOpt::SO_REUSEADDR, 1);
    pair.call(C, &Call::Bind { fd, addr: addr(C, 40_000) }).unwrap();
    fd
}

/// Four ports, all in TIME_WAIT; the fifth connect after each of these times.
fn fifth_connect(reuse: &str, timestamps: &str, after_ms: u64) -> Result<Ret, Errno> {
    let mut pair = Pair::new(0);
    pair.sysctl(C, "net.ipv4.ip_local_port_range", "40000 40003");
    pair.sysctl(C, "net.ipv4.tcp_tw_reuse", reuse);
    pair.sysctl(C, "net.ipv4.tcp_timestamps", timestamps);
    let listener = pair.listen(80, 16);
    for _ in 0..4 {
        let fd = pair.socket(C, true);
        visit(&mut pair, listener, fd, C);
    }
    assert_eq!(pair.states(C), ["TIME-WAIT"; 4]);
    pair.run_ms(after_ms);
    let fd = pair.socket(C, true);
    let result = pair.connect(fd, 80);
    // Another destination is no trouble.
    pair.listen(81, 16);
    let other = pair.socket(C, true);
    if result.is_err_and(|e| e == Errno::EADDRNOTAVAIL) {
        assert_eq!(pair.connect(other, 81), Err(Errno::EINPROGRESS));
    }
    pair.connect(fd, 80)
}

#[test]
fn tw_reuse_needs_timestamps_and_a_second_7b() {
    let taken = Err(Errno::EADDRNOTAVAIL);
    for (reuse, ts, ms, free) in [
        ("0", "1", 2300, false),
        ("1", "1", 0, false),
        ("1", "1", 500, false),
        ("1", "1", 1300, true),
        ("1", "0", 1300, false),
        ("2", "1", 1300, false),
    ] {
        let result = fifth_connect(reuse, ts, ms);
        assert_eq!(result == taken, !free, "tw_reuse {reuse} timestamps {ts} after {ms} ms: {result:?}");
    }
}

#[test]
fn a_bound_port_recycles_time_wait_at_once_7bb() {
    let mut pair = Pair::new(0);
    pair.sysctl(C, "net.ipv4.tcp_tw_reuse", "0");
    let listener = pair.listen(80, 16);
    for _ in 0..2 {
        let fd = on_port_40000(&mut pair);
        visit(&mut pair, listener, fd, C);
    }
    assert_eq!(pair.counter(C, Counter::TcpExtTWRecycled), 1);
    let fd = pair.socket(C, true);
    let bind = Call::Bind { fd, addr: addr(C, 40_000) };
    assert_eq!(pair.call(C, &bind), Err(Errno::EADDRINUSE), "without SO_REUSEADDR");
}

#[test]
fn a_syn_reopens_time_wait_on_the_server_7b1s() {
    let mut pair = Pair::new(0);
    let listener = pair.listen(80, 16);
    for _ in 0..2 {
        let fd = on_port_40000(&mut pair);
        visit(&mut pair, listener, fd, S);
        assert_eq!(pair.states(S), ["LISTEN", "TIME-WAIT"]);
        assert_eq!(pair.states(C), Vec::<String>::new());
    }
}

#[test]
fn too_many_time_waits_end_at_once_7e() {
    let mut pair = Pair::new(0);
    pair.sysctl(C, "net.ipv4.tcp_max_tw_buckets", "5");
    let listener = pair.listen(80, 64);
    for _ in 0..20 {
        let fd = pair.socket(C, true);
        let _ = pair.connect(fd, 80);
        pair.run_ms(2);
        let server = pair.accept(listener).unwrap();
        pair.close(C, fd);
        pair.run_ms(60);
        pair.close(S, server);
        pair.run_ms(2);
    }
    assert_eq!(pair.states(C), ["TIME-WAIT"; 5]);
    assert_eq!(pair.counter(C, Counter::TcpExtTCPTimeWaitOverflow), 15);
    assert_eq!(pair.counter(C, Counter::TcpOutRsts), 15, "the peers' FINs");
}

#[test]
fn connect_takes_even_offsets_first_7f() {
    let mut pair = Pair::new(0);
    pair.sysctl(C, "net.ipv4.ip_local_port_range", "40000 40009");
    pair.listen(80, 64);
    let mut ports = Vec::new();
    for _ in 0..10 {
        let fd = pair.socket(C, true);
        assert_eq!(pair.connect(fd, 80), Err(Errno::EINPROGRESS));
        pair.run_ms(2);
        match pair.call(C, &Call::GetSockName { fd }) {
            Ok(Ret::Addr(SockAddr::Ip(a))) => ports.push(a.port()),
            other => panic!("{other:?}"),
        }
    }
    assert!(ports[..5].iter().all(|p| p % 2 == 0), "{ports:?}");
    assert!(ports[5..].iter().all(|p| p % 2 == 1), "{ports:?}");
    let fd = pair.socket(C, true);
    assert_eq!(pair.connect(fd, 80), Err(Errno::EADDRNOTAVAIL));
}

// --- bind ----------------------------------------------------------------------------------------

/// Binds a new socket with `SO_REUSEADDR` and `SO_REUSEPORT` as said.
fn bind(pair: &mut Pair, (reuseaddr, reuseport): (bool, bool), ip: &str) -> (i32, Result<Ret, Errno>) {
    let fd = pair.socket(S, true);
    pair.set(S, fd, SockOpt::SO_REUSEADDR, reuseaddr.into());
    pair.set(S, fd, SockOpt::SO_REUSEPORT, reuseport.into());
    let addr = SockAddr::Ip(format!("{ip}:80").parse().unwrap());
    (fd, pair.call(S, &Call::Bind { fd, addr }))
}

/// §8's table: options of both sockets, whether the first listens, and what the second bind gives.
#[test]
fn bind_conflicts_are_those_measured_8() {
    let none = (false, false);
    let (ra, rp) = ((true, false), (false, true));
    let same = ["192.0.2.2", "0.0.0.0"];
    for (first, second, bound, listening) in [
        (none, none, false, false),
        (ra, none, false, false),
        (none, ra, false, false),
        (rp, none, false, false),
        (none, rp, false, false),
        (ra, rp, false, false),
        (rp, ra, false, false),
        (ra, ra, true, false),
        (rp, rp, true, true),
        ((true, true), (true, true), true, true),
    ] {
        for a in same {
            for b in same {
                for listens in [false, true] {
                    let mut pair = Pair::new(0);
                    let (fd, done) = bind(&mut pair, first, a);
                    done.unwrap();
                    if listens {
                        pair.call(S, &Call::Listen { fd, backlog: 1 }).unwrap();
                    }
                    let (_, got) = bind(&mut pair, second, b);
                    let free = if listens { listening } else { bound };
                    let want = if free { Ok(Ret::Int(0)) } else { Err(Errno::EADDRINUSE) };
                    assert_eq!(got, want, "{first:?} {a} listens {listens}, {second:?} {b}");
                }
            }
        }
    }
}

#[test]
fn calls_on_the_wrong_kind_of_socket_fail_as_measured_8() {
    let mut pair = Pair::new(0);
    let listener = pair.listen(80, 4);
    assert_eq!(pair.call(S, &Call::Connect { fd: listener, addr: addr(C, 1) }), Err(Errno::EISCONN));
    let fresh = pair.socket(C, true);
    assert_eq!(pair.call(C, &Call::Accept { fd: fresh, nonblock: true }), Err(Errno::EINVAL));
    assert_eq!(pair.send(C, fresh, 1), Err(Errno::EPIPE));
    assert_eq!(pair.recv(C, fresh, 1), Err(Errno::ENOTCONN));
    let unbound = pair.socket(C, true);
    assert_eq!(pair.call(C, &Call::Listen { fd: unbound, backlog: 1 }), Ok(Ret::Int(0)));
    let to = SockAddr::Ip("198.51.100.1:80".parse().unwrap());
    assert_eq!(pair.call(C, &Call::Connect { fd: fresh, addr: to }), Err(Errno::ENETUNREACH), "12h");
    let write = Call::Send { fd: fresh, data: Data::Filler(1), flags: MsgFlags(0) };
    assert_eq!(pair.call(C, &write), Err(Errno::EPIPE));
}
