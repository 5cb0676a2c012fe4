//! What queues cost and what follows from it: small receive buffers, closed windows, joined entries. The expected
//! packets were captured on Linux 6.18.44 between two TUN devices, 20 ms each way (TRUTH 10a with that delay).

use core::time::Duration;

use super::fixture::{C, Pair, S, addr};
use crate::call::{Call, Fd, OptValue, Ret, SockOpt};
use crate::mib::Counter;

/// A connection whose server has `SO_RCVBUF` set to `rcvbuf` before `listen`.
fn small_receiver(pair: &mut Pair, rcvbuf: i64) -> (Fd, Fd) {
    let listener = pair.socket(S, true);
    pair.set(S, listener, SockOpt::SO_RCVBUF, rcvbuf);
    pair.call(S, &Call::Bind { fd: listener, addr: addr(S, 80) }).unwrap();
    pair.call(S, &Call::Listen { fd: listener, backlog: 5 }).unwrap();
    let client = pair.socket(C, true);
    let _ = pair.connect(client, 80);
    pair.run_ms(300);
    let server = pair.accept(listener).expect("a connection");
    pair.forget();
    (client, server)
}

/// Writes of `len` bytes until the buffer is full.
fn fill(pair: &mut Pair, fd: Fd, len: u32) -> i64 {
    let mut sum = 0;
    for _ in 0..10_000 {
        match pair.send(C, fd, len) {
            Ok(n) => sum += n,
            Err(_) => return sum,
        }
    }
    panic!("the buffer is never full");
}

/// 10a: a receiver with 8 KiB that does not read, then does: splits, PSH, windows and ACKs.
#[test]
fn a_small_receiver_is_filled_and_emptied_as_measured_10a() {
    let mut pair = Pair::new(0);
    let (client, server) = small_receiver(&mut pair, 4096);
    pair.delay = Duration::from_millis(20);
    assert_eq!(fill(&mut pair, client, 1000), 31_408);
    pair.run_ms(3000);
    for _ in 0..2000 {
        pair.run_ms(1);
        let _ = pair.recv(S, server, 65_536);
    }
    let captured = "
        C P. 1 1 1000 63|C . 1001 1 1448 63|C . 1001 1 1448 63|S . 1 1001 0 2000|S . 1 2449 0 2000|
        C . 2449 1 1448 63|C P. 3897 1 552 63|C . 3897 1 552 63|S . 1 4449 0 0|
        C . 4448 1 0 63|S . 1 4449 0 0|C . 4448 1 0 63|C . 4448 1 0 63|S . 1 4449 0 0|
        S . 1 4449 0 2896|C . 4449 1 1448 63|C P. 5897 1 1448 63|S . 1 5897 0 2896|S . 1 7345 0 2896|
        C . 7345 1 1448 63|C . 8793 1 1448 63|S . 1 10241 0 2896|C . 10241 1 1448 63|C P. 11689 1 1448 63|
        S . 1 13137 0 2896|C . 13137 1 1448 63|C P. 14585 1 1448 63|S . 1 16033 0 2896|
        C . 16033 1 1448 63|C P. 17481 1 1448 63|S . 1 18929 0 2896|C . 18929 1 1448 63|
        C P. 20377 1 1448 63|S . 1 21825 0 2896|C . 21825 1 1448 63|C P. 23273 1 1448 63|
        S . 1 24721 0 2896|C . 24721 1 1448 63|C P. 26169 1 1448 63|S . 1 27617 0 2896|
        C . 27617 1 1448 63|C P. 29065 1 1448 63|S . 1 30513 0 2896|C P. 30513 1 896 63|S . 1 31409 0 2896";
    let captured: Vec<&str> = captured.split('|').map(str::trim).collect();
    assert_eq!(pair.lines(), captured);
    let client_counted = [
        (Counter::TcpOutSegs, 28),
        (Counter::TcpRetransSegs, 2),
        (Counter::TcpExtTCPWinProbe, 3),
        (Counter::TcpExtTCPOrigDataSent, 23),
        (Counter::TcpExtTCPDSACKRecv, 2),
        (Counter::TcpExtTCPDSACKIgnoredNoUndo, 2),
    ];
    let server_counted = [
        (Counter::TcpExtTCPHPHits, 2),
        (Counter::TcpExtDelayedACKs, 1),
        (Counter::TcpExtDelayedACKLost, 2),
        (Counter::TcpExtTCPDSACKOldSent, 2),
        (Counter::TcpExtTCPToZeroWindowAdv, 1),
        (Counter::TcpExtTCPFromZeroWindowAdv, 1),
    ];
    for (host, counted) in [(C, client_counted), (S, server_counted)] {
        for (counter, n) in counted {
            assert_eq!(pair.counter(host, counter), n, "{counter:?}");
        }
    }
}

/// 6.18 with a window of 2896 that is never acknowledged: entries of the send queue grow by `tcp_grow_skb` while the
/// window allows no more; `SO_MEMINFO`'s wmem_queued told how many there were.
#[test]
fn unsent_entries_are_filled_from_the_next_ones() {
    let mut pair = Pair::new(0);
    let (client, _) = small_receiver(&mut pair, 4096);
    pair.rule = Box::new(|_| super::fixture::Fate::Drop);
    let mut entries = Vec::new();
    for n in 1..=64 {
        assert_eq!(pair.send(C, client, 500), Ok(500));
        let (_, _, queued) = meminfo(&mut pair, C, client);
        entries.push((queued - 500 * n) / 832);
    }
    let at = |count: i64| 500 * (1 + entries.iter().position(|e| *e == count).unwrap());
    let grown: Vec<usize> = (1..=19).map(at).collect();
    let measured = [
        500, 1000, 2000, 9500, 11_000, 12_500, 14_000, 15_000, 16_500, 18_000, 19_500, 21_000, 22_500,
        24_000, 25_500, 27_000, 28_500, 29_500, 31_000,
    ];
    assert_eq!(grown, measured);
}

/// rmem_alloc, fwd_alloc and wmem_queued of `SO_MEMINFO`.
fn meminfo(pair: &mut Pair, host: usize, fd: Fd) -> (i64, i64, i64) {
    match pair.call(host, &Call::GetSockOpt { fd, opt: SockOpt::SO_MEMINFO }) {
        Ok(Ret::Opt(OptValue::Bytes(b))) => {
            let word = |i: usize| i64::from(u32::from_ne_bytes(b[4 * i..4 * i + 4].try_into().unwrap()));
            (word(0), word(4), word(5))
        }
        other => panic!("{other:?}"),
    }
}

/// Measured on 6.18 over TUN by `SO_MEMINFO`: what the receive queue holds, and what of its pages is not used.
#[test]
fn the_receive_queue_costs_what_was_measured() {
    // SO_RCVBUF, bytes that came in, rmem_alloc, fwd_alloc
    for (rcvbuf, rmem, fwd) in [(2048, 2304, 1792), (1, 2560, 1536)] {
        let mut pair = Pair::new(0);
        let (client, server) = small_receiver(&mut pair, rcvbuf);
        fill(&mut pair, client, 1000);
        pair.run_ms(1000);
        let (got_rmem, got_fwd, _) = meminfo(&mut pair, S, server);
        assert_eq!((got_rmem, got_fwd), (rmem, fwd), "SO_RCVBUF {rcvbuf}: {:#?}", pair.lines());
    }
}

/// Measured: a receiver with default buffers that never reads takes 90,368 bytes; its buffer grew to what it held
/// (`tcp_clamp_window`), nothing was collapsed or dropped.
#[test]
fn a_full_default_buffer_grows_before_anything_is_thrown_away() {
    let mut pair = Pair::new(0);
    let (client, server) = pair.established();
    for _ in 0..30 {
        let _ = pair.send(C, client, 200_000);
        pair.run_ms(100);
    }
    pair.run_ms(2000);
    let last = pair.seen.iter().rfind(|s| s.from == S).expect("ACKs");
    assert_eq!((last.ack, last.header.window), (90_369, 0));
    assert_eq!(meminfo(&mut pair, S, server).0, 145_152);
    let rcvbuf = pair.call(S, &Call::GetSockOpt { fd: server, opt: SockOpt::SO_RCVBUF });
    assert_eq!(rcvbuf, Ok(Ret::Opt(OptValue::Int(142_848))));
    assert_eq!(pair.counter(S, Counter::TcpExtPruneCalled), 3);
    assert_eq!(pair.counter(S, Counter::TcpExtTCPRcvCollapsed), 0);
    assert_eq!(pair.counter(S, Counter::TcpExtTCPHPHits), 27);
}

/// `tcp_mem`: beyond the second number memory is short (and counted), windows stay small; the third is the limit; all of
/// it comes back.
#[test]
fn memory_of_all_connections_is_bounded_and_comes_back() {
    let mut pair = Pair::new(0);
    pair.sysctl(S, "net.ipv4.tcp_mem", "256 300 400");
    let listener = pair.listen(80, 128);
    let clients: Vec<Fd> = (0..20).map(|_| pair.socket(C, true)).collect();
    for fd in &clients {
        let _ = pair.connect(*fd, 80);
    }
    pair.run_ms(50);
    let servers: Vec<Fd> = clients.iter().map(|_| pair.accept(listener).expect("a connection")).collect();
    let mut most = 0;
    for _ in 0..40 {
        for fd in &clients {
            let _ = pair.send(C, *fd, 100_000);
        }
        pair.run_ms(50);
        most = most.max(pair.hosts[S].tcp.memory.allocated());
    }
    let counted = |pair: &Pair, counter| pair.counter(S, counter);
    assert!((300..=400 + 256).contains(&most), "pages: {most}");
    assert_eq!(counted(&pair, Counter::TcpExtTCPMemoryPressures), 1);
    assert!(pair.hosts[S].tcp.memory.under_pressure());
    // Unread data is dropped: a RST each.
    for fd in servers {
        pair.close(S, fd);
    }
    for fd in &clients {
        pair.close(C, *fd);
    }
    pair.run_secs(5);
    assert_eq!(pair.hosts[S].tcp.memory.exact(), 0);
    assert!(!pair.hosts[S].tcp.memory.under_pressure());
    assert!(counted(&pair, Counter::TcpExtTCPMemoryPressuresChrono) > 100, "milliseconds");
}

/// `tcp_max_orphans`: who closes while there are too many is reset (`__tcp_close`, `tcp_check_oom`); they are counted
/// ten times a second.
#[test]
fn orphans_beyond_the_limit_are_reset() {
    let mut pair = Pair::new(0);
    pair.sysctl(C, "net.ipv4.tcp_max_orphans", "2");
    let listener = pair.listen(80, 128);
    let clients: Vec<Fd> = (0..5).map(|_| pair.socket(C, true)).collect();
    for fd in &clients {
        let _ = pair.connect(*fd, 80);
    }
    pair.run_ms(50);
    for _ in &clients {
        pair.accept(listener).expect("a connection");
    }
    pair.rule =
        Box::new(|s| if s.from == C { super::fixture::Fate::Drop } else { super::fixture::Fate::Pass });
    for fd in &clients {
        pair.send(C, *fd, 10).unwrap();
        pair.run_ms(150);
        pair.close(C, *fd);
    }
    assert_eq!(pair.counter(C, Counter::TcpExtTCPAbortOnMemory), 2, "three of them may stay");
    assert_eq!(pair.states(C), ["FIN-WAIT-1"; 3]);
    assert_eq!(pair.counter(C, Counter::TcpOutRsts), 2);
}

/// `tcp_challenge_ack_limit`, when it is set: half of it and up to as much again in a second; a plain count in 4.4.
#[test]
fn challenges_are_limited_for_the_host() {
    use crate::KernelProfile;
    use crate::rng::Rng;
    use crate::tcp::mem::TcpMemory;
    let mut rng = Rng::new(1, "challenge");
    let mut sent = |profile, limit| {
        let mut memory = TcpMemory::default();
        let mut one = |second| {
            let now = wire::Instant::from_secs(second);
            (0..10_000).filter(|_| memory.may_challenge(now, profile, limit, &mut rng)).count()
        };
        [one(7), one(8)]
    };
    assert_eq!(sent(KernelProfile::V4_4, 100), [100, 100]);
    for n in sent(KernelProfile::V6_18, 100) {
        assert!((50..150).contains(&n), "{n}");
    }
    assert_eq!(sent(KernelProfile::V6_18, 1), [1, 1]);
}

/// traces-6.12-uml/10aW (HZ 100): the second copy comes within a quarter of the delay of the ACK that is due, so that
/// ACK leaves at once; the probes follow the RTO of 210 ms, and the second one is too soon for an answer.
#[test]
fn a_delayed_ack_that_is_nearly_due_leaves_with_the_next_arrival_10a_w() {
    let mut pair = Pair::of(0, crate::Granularity::Wheel { hz: 100 }, crate::KernelProfile::V6_12);
    let (client, _server) = small_receiver(&mut pair, 4096);
    for _ in 0..20 {
        pair.send(C, client, 1000).unwrap();
    }
    pair.run_ms(1200);
    let start = pair.seen[0].at;
    let line = |s: &super::fixture::Seen| {
        let ms = (s.at - start).as_millis();
        format!("{} {} {} {} {ms}", if s.from == C { 'C' } else { 'S' }, s.flags, s.seq.max(s.ack), s.len)
    };
    let got: Vec<String> = pair.seen.iter().map(line).collect();
    let expected = [
        "C P. 1 1000 0",
        "C . 1001 1448 0",
        "S . 1001 0 0",
        "S . 2449 0 50",
        "C . 2449 1448 50",
        "C P. 3897 552 50",
        "C . 3897 552 80",
        "S . 4449 0 80",
        "C . 4448 0 300",
        "S . 4449 0 300",
        "C . 4448 0 730",
    ];
    assert_eq!(got, expected);
}
