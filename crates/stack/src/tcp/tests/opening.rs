//! TRUTH.md §1, §2, §3, §9: SYNs without answer, lost SYN-ACKs, lost third ACKs, crossing SYNs.

use core::time::Duration;

use wire::tcp::Flags;

use super::fixture::*;
use crate::Errno;
use crate::call::{Call, Data, MsgFlags, OptValue, Ret, SockAddr, SockOpt};
use crate::mib::Counter;

const SYN: Flags = Flags::SYN;
const SYN_ACK: Flags = Flags(0x12);

fn sent(pair: &Pair, from: usize, flags: Flags) -> Vec<f64> {
    pair.times(|s| s.from == from && s.flags == flags)
}

/// One row of §1: settings, when SYNs are sent, when connect() fails.
struct Row {
    id: &'static str,
    sysctls: &'static [(&'static str, &'static str)],
    option: Option<(SockOpt, i64)>,
    syns: &'static [f64],
    end: f64,
}

const LINEAR0: (&str, &str) = ("net.ipv4.tcp_syn_linear_timeouts", "0");
const fn retries(n: &'static str) -> (&'static str, &'static str) {
    ("net.ipv4.tcp_syn_retries", n)
}

const ROWS: &[Row] = &[
    Row {
        id: "1a",
        sysctls: &[],
        option: None,
        syns: &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 11.0, 19.0, 35.0, 67.0],
        end: 131.0,
    },
    Row {
        id: "1b",
        sysctls: &[LINEAR0],
        option: None,
        syns: &[0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0],
        end: 127.0,
    },
    Row {
        id: "1c",
        sysctls: &[LINEAR0, retries("5")],
        option: None,
        syns: &[0.0, 1.0, 3.0, 7.0, 15.0, 31.0],
        end: 63.0,
    },
    Row {
        id: "1d",
        sysctls: &[retries("5")],
        option: None,
        syns: &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 11.0, 19.0, 35.0],
        end: 67.0,
    },
    Row { id: "1e", sysctls: &[retries("1")], option: None, syns: &[0.0, 1.0, 2.0], end: 3.0 },
    Row {
        id: "1e2",
        sysctls: &[retries("2")],
        option: None,
        syns: &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        end: 7.0,
    },
    Row {
        id: "1f",
        sysctls: &[],
        option: Some((SockOpt::TCP_SYNCNT, 3)),
        syns: &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 11.0],
        end: 19.0,
    },
    Row {
        id: "1f0",
        sysctls: &[LINEAR0],
        option: Some((SockOpt::TCP_SYNCNT, 3)),
        syns: &[0.0, 1.0, 3.0, 7.0],
        end: 15.0,
    },
    Row {
        id: "1g",
        sysctls: &[],
        option: Some((SockOpt::TCP_USER_TIMEOUT, 5000)),
        syns: &[0.0, 1.0, 2.0, 3.0, 4.0],
        end: 5.0,
    },
    Row {
        id: "1i",
        sysctls: &[LINEAR0, retries("9"), ("net.ipv4.tcp_rto_max_ms", "10000")],
        option: None,
        syns: &[0.0, 1.0, 3.0, 7.0, 15.0, 25.0, 35.0, 45.0, 55.0, 65.0],
        end: 75.0,
    },
];

#[test]
fn unanswered_syns_are_repeated_and_given_up_as_measured_1a_to_1i() {
    for row in ROWS {
        let mut pair = Pair::new(0);
        for (name, value) in row.sysctls {
            pair.sysctl(C, name, value);
        }
        pair.rule = Box::new(|_| Fate::Drop);
        let fd = pair.socket(C, false);
        if let Some((opt, n)) = row.option {
            pair.set(C, fd, opt, n);
        }
        let call = Call::Connect { fd, addr: addr(S, 80) };
        let result = pair.wait(C, &call, Duration::from_secs(200));
        assert_eq!(result, Some(Err(Errno::ETIMEDOUT)), "{}", row.id);
        let mut times = sent(&pair, C, SYN);
        let mut nominal = row.syns.to_vec();
        times.push((pair.now - pair.start()).as_secs_f64());
        nominal.push(row.end);
        assert_schedule(&times, &nominal);
        assert_eq!(pair.so_error(C, fd), 0, "{}: consumed by connect()", row.id);
        if row.id == "1a" {
            assert_eq!(pair.counter(C, Counter::TcpExtTCPSynRetrans), 10);
            assert_eq!(pair.counter(C, Counter::TcpExtTCPTimeouts), 11);
            assert_eq!(pair.counter(C, Counter::TcpExtTCPAbortOnTimeout), 1);
            assert_eq!(pair.counter(C, Counter::TcpAttemptFails), 1);
        }
    }
}

#[test]
fn so_sndtimeo_ends_only_the_call_1h() {
    let mut pair = Pair::new(0);
    pair.rule = Box::new(|_| Fate::Drop);
    let fd = pair.socket(C, false);
    let value = OptValue::Timeval(3, 0);
    pair.call(C, &Call::SetSockOpt { fd, opt: SockOpt::SO_SNDTIMEO, value }).unwrap();
    let result = pair.wait(C, &Call::Connect { fd, addr: addr(S, 80) }, Duration::from_secs(10));
    assert_eq!(result, Some(Err(Errno::EINPROGRESS)));
    let took = (pair.now - pair.start()).as_secs_f64();
    assert!((3.0..3.3).contains(&took), "{took}");
    assert_eq!(pair.states(C), ["SYN-SENT"]);
}

#[test]
fn a_closed_port_refuses_at_once_1j() {
    let mut pair = Pair::new(0);
    let fd = pair.socket(C, false);
    let result = pair.wait(C, &Call::Connect { fd, addr: addr(S, 80) }, Duration::from_secs(1));
    assert_eq!(result, Some(Err(Errno::ECONNREFUSED)));
    let rst = &pair.seen[1];
    assert_eq!((rst.flags, rst.header.seq.0, rst.ack), (Flags::RST | Flags::ACK, 0, 1));
    assert_eq!(pair.counter(S, Counter::TcpOutRsts), 1);
}

#[test]
fn a_nonblocking_connect_tells_by_poll_and_so_error_1l() {
    let mut pair = Pair::new(0);
    pair.sysctl(C, "net.ipv4.tcp_syn_retries", "2");
    pair.rule = Box::new(|_| Fate::Drop);
    let fd = pair.socket(C, true);
    assert_eq!(pair.connect(fd, 80), Err(Errno::EINPROGRESS));
    assert_eq!(pair.connect(fd, 80), Err(Errno::EALREADY));
    assert_eq!(pair.send(C, fd, 5), Err(Errno::EAGAIN));
    assert_eq!(pair.recv(C, fd, 5), Err(Errno::EAGAIN));
    pair.run_secs(8);
    assert_eq!(pair.poll(C, fd), 0x201d);
    assert_eq!(pair.so_error(C, fd), 110);
    assert_eq!(pair.so_error(C, fd), 0);
    assert_eq!(pair.connect(fd, 80), Err(Errno::ECONNABORTED));
    pair.rule = Box::new(|_| Fate::Pass);
    pair.listen(80, 1);
    assert_eq!(pair.connect(fd, 80), Err(Errno::EINPROGRESS));
    pair.run_ms(10);
    assert_eq!(pair.connect(fd, 80), Ok(Ret::Int(0)));
    assert_eq!(pair.connect(fd, 80), Err(Errno::EISCONN));
}

/// A blocking connect with a rule; the descriptors of both ends and how long it took.
fn connect_with(pair: &mut Pair, rule: impl FnMut(&Seen) -> Fate + 'static) -> (i32, i32, f64) {
    let listener = pair.listen(80, 16);
    pair.rule = Box::new(rule);
    let fd = pair.socket(C, false);
    let begin = pair.now;
    let done = pair.wait(C, &Call::Connect { fd, addr: addr(S, 80) }, Duration::from_secs(200));
    assert_eq!(done, Some(Ok(Ret::Int(0))));
    let took = (pair.now - begin).as_secs_f64();
    pair.run_ms(5);
    (fd, listener, took)
}

/// A rule that drops the first `n` segments from `from` with exactly these flags.
fn drop_first(n: usize, from: usize, flags: Flags) -> impl FnMut(&Seen) -> Fate + 'static {
    let mut left = n;
    move |s| {
        if s.from == from && s.flags == flags && left > 0 {
            left -= 1;
            return Fate::Drop;
        }
        Fate::Pass
    }
}

fn info(pair: &mut Pair, host: usize, fd: i32) -> (u32, u32) {
    match pair.call(host, &Call::GetSockOpt { fd, opt: SockOpt::TCP_INFO }) {
        Ok(Ret::Opt(OptValue::Bytes(b))) => {
            let word = |at: usize| u32::from_ne_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
            (word(8) / 1000, word(80)) // tcpi_rto in ms, tcpi_snd_cwnd
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lost_syn_leaves_window_and_rto_as_they_were_1m() {
    let mut pair = Pair::new(0);
    let (fd, _, took) = connect_with(&mut pair, drop_first(1, C, SYN));
    assert!((1.0..1.04).contains(&took), "{took}");
    assert_eq!(info(&mut pair, C, fd), (204, 10));
}

#[test]
fn a_lost_syn_ack_is_repeated_by_both_sides_2a() {
    let mut pair = Pair::new(0);
    let (fd, listener, took) = connect_with(&mut pair, drop_first(1, S, SYN_ACK));
    assert!((1.0..1.04).contains(&took), "{took}");
    let (rto, cwnd) = info(&mut pair, C, fd);
    assert!((3_000..3_120).contains(&rto), "the first SYN's timestamp was echoed: {rto}");
    assert_eq!(cwnd, 10);
    assert_eq!(sent(&pair, S, SYN_ACK).len(), 3, "{:#?}", pair.trace());
    assert_eq!(pair.counter(C, Counter::TcpExtTCPSYNChallenge), 1);
    let server = pair.accept(listener).unwrap();
    assert_eq!(info(&mut pair, S, server).0, 204);
}

#[test]
fn all_syn_acks_lost_2b() {
    let mut pair = Pair::new(0);
    pair.listen(80, 16);
    pair.rule = mute(S);
    let fd = pair.socket(C, false);
    let done = pair.wait(C, &Call::Connect { fd, addr: addr(S, 80) }, Duration::from_secs(200));
    assert_eq!(done, Some(Err(Errno::ETIMEDOUT)));
    assert_eq!(sent(&pair, C, SYN).len(), 11);
    pair.run_secs(20);
    let acks = sent(&pair, S, SYN_ACK);
    assert!((20..=22).contains(&acks.len()), "21 measured: {acks:?}");
    assert_eq!(pair.states(S), ["LISTEN"]);
}

#[test]
fn a_request_without_answer_goes_after_63_s_2c() {
    let mut pair = Pair::new(0);
    pair.listen(80, 16);
    let mut first = true;
    pair.rule =
        Box::new(move |s| if s.from == C && core::mem::take(&mut first) { Fate::Pass } else { Fate::Drop });
    let fd = pair.socket(C, true);
    let _ = pair.connect(fd, 80);
    pair.run_secs(60);
    assert_eq!(pair.states(S), ["LISTEN", "SYN-RECV"]);
    pair.run_secs(8);
    assert_eq!(pair.states(S), ["LISTEN"]);
    assert_schedule(&sent(&pair, S, SYN_ACK), &[0.0, 1.0, 3.0, 7.0, 15.0, 31.0]);
}

#[test]
fn a_delayed_syn_ack_does_not_cost_the_window_2d() {
    let mut pair = Pair::new(0);
    let (fd, _, took) = connect_with(&mut pair, |s| {
        if s.from == S && s.flags == SYN_ACK { Fate::Delay(3300) } else { Fate::Pass }
    });
    assert!((3.3..3.31).contains(&took), "{took}");
    let (rto, cwnd) = info(&mut pair, C, fd);
    assert!((9_800..10_000).contains(&rto), "{rto}");
    assert_eq!(cwnd, 10);
    assert_eq!(sent(&pair, C, SYN).len(), 4);
}

#[test]
fn two_lost_syn_acks_cost_the_server_its_window_12c() {
    let mut pair = Pair::new(0);
    let (fd, listener, _) = connect_with(&mut pair, drop_first(3, S, SYN_ACK));
    let server = pair.accept(listener).unwrap();
    assert_eq!(info(&mut pair, S, server), (204, 1), "{:#?}", pair.trace());
    assert_eq!(info(&mut pair, C, fd).1, 10);
}

#[test]
fn a_lost_third_ack_is_repaired_by_the_servers_timer_3a() {
    let mut pair = Pair::new(0);
    let (fd, listener, took) = connect_with(&mut pair, drop_first(1, C, Flags::ACK));
    assert!(took < 0.01);
    assert_eq!(pair.accept(listener), Err(Errno::EAGAIN));
    assert_eq!(pair.states(S), ["LISTEN", "SYN-RECV"]);
    pair.run_ms(1100);
    let server = pair.accept(listener).expect("the SYN-ACK was repeated after 1 s");
    let acks = sent(&pair, S, SYN_ACK);
    assert_schedule(&acks, &[0.0, 1.0]);
    let (rto, _) = info(&mut pair, S, server);
    assert!((3_000..3_120).contains(&rto), "{rto}");
    assert_eq!(sent(&pair, C, Flags::ACK).len(), 2, "the client sends nothing by itself");
    let _ = fd;
}

#[test]
fn data_completes_the_handshake_3b_and_so_does_fin_3g() {
    let mut pair = Pair::new(0);
    let (fd, listener, _) = connect_with(&mut pair, |s| {
        if s.from == C && s.flags == Flags::ACK && s.len == 0 { Fate::Drop } else { Fate::Pass }
    });
    pair.send(C, fd, 10).unwrap();
    pair.run_ms(2);
    let server = pair.accept(listener).expect("by the data");
    assert_eq!(pair.recv(S, server, 100).unwrap().len(), 10);
    assert_eq!(pair.counter(C, Counter::TcpRetransSegs), 0);

    let mut pair = Pair::new(0);
    let (fd, listener, _) = connect_with(&mut pair, drop_first(1, C, Flags::ACK));
    pair.close(C, fd);
    pair.run_ms(2);
    assert!(pair.accept(listener).is_ok());
    assert_eq!(pair.states(S)[1], "CLOSE-WAIT");
}

#[test]
fn the_server_forgets_and_the_client_does_not_know_3c() {
    let mut pair = Pair::new(0);
    let (fd, _, _) =
        connect_with(&mut pair, |s| if s.from == C && s.flags != SYN { Fate::Drop } else { Fate::Pass });
    pair.run_secs(70);
    assert_schedule(&sent(&pair, S, SYN_ACK), &[0.0, 1.0, 3.0, 7.0, 15.0, 31.0]);
    assert_eq!(pair.states(S), ["LISTEN"]);
    assert_eq!(pair.states(C), ["ESTAB"]);
    pair.rule = Box::new(|_| Fate::Pass);
    assert_eq!(pair.send(C, fd, 1), Ok(1));
    pair.run_ms(5);
    assert_eq!(pair.recv(C, fd, 1), Err(Errno::ECONNRESET));
    assert_eq!(pair.send(C, fd, 1), Err(Errno::EPIPE));
}

#[test]
fn defer_accept_hands_silent_clients_over_late_3e() {
    for (value, nominal, late) in [(1, 1.0, 0.04), (5, 7.0, 0.4)] {
        let mut pair = Pair::new(0);
        let listener = pair.listen(80, 16);
        pair.set(S, listener, SockOpt::TCP_DEFER_ACCEPT, value);
        let fd = pair.socket(C, true);
        let _ = pair.connect(fd, 80);
        pair.run_ms(10);
        assert_eq!(pair.states(C), ["ESTAB"]);
        assert_eq!(pair.counter(S, Counter::TcpExtTCPDeferAcceptDrop), 1);
        pair.run_for(Duration::from_secs_f64(nominal - 0.02));
        assert_eq!(pair.accept(listener), Err(Errno::EAGAIN));
        pair.run_for(Duration::from_secs_f64(late));
        assert!(pair.accept(listener).is_ok(), "{:#?}", pair.trace());
        assert_eq!(sent(&pair, S, SYN_ACK).len(), 2);
    }
    // 3e3: data at once, accepted with it.
    let mut pair = Pair::new(0);
    let listener = pair.listen(80, 16);
    pair.set(S, listener, SockOpt::TCP_DEFER_ACCEPT, 5);
    let fd = pair.socket(C, true);
    let _ = pair.connect(fd, 80);
    pair.run_ms(500);
    pair.send(C, fd, 3).unwrap();
    pair.run_ms(5);
    assert!(pair.accept(listener).is_ok());
}

#[test]
fn crossing_syns_open_one_connection_9d() {
    let mut pair = Pair::new(50);
    let fds = [pair.socket(C, true), pair.socket(S, true)];
    for host in [C, S] {
        pair.call(host, &Call::Bind { fd: fds[host], addr: addr(host, 7000) }).unwrap();
        let call = Call::Connect { fd: fds[host], addr: addr(1 - host, 7000) };
        assert_eq!(pair.call(host, &call), Err(Errno::EINPROGRESS));
    }
    pair.run_ms(300);
    let flags: Vec<String> = pair.seen.iter().map(|s| s.flags.to_string()).collect();
    assert_eq!(flags, ["S", "S", "S.", "S.", ".", "."]);
    let dsack = pair.seen[4].header.options.sack();
    assert_eq!(dsack.as_slice().len(), 1, "the peer's SYN arrived twice");
    assert_eq!(pair.states(C), ["ESTAB"]);
    assert_eq!(pair.states(S), ["ESTAB"]);
    pair.send(C, fds[C], 9).unwrap();
    pair.run_ms(100);
    assert_eq!(pair.recv(S, fds[S], 20).unwrap().len(), 9);
}

#[test]
fn a_socket_can_connect_to_itself_9ds() {
    let mut pair = Pair::new(0);
    let fd = pair.socket(C, false);
    let me = SockAddr::Ip("127.0.0.1:7000".parse().unwrap());
    pair.call(C, &Call::Bind { fd, addr: me }).unwrap();
    let done = pair.wait(C, &Call::Connect { fd, addr: me }, Duration::from_secs(2));
    assert_eq!(done, Some(Ok(Ret::Int(0))));
    pair.call(C, &Call::Send { fd, data: Data::Filler(5), flags: MsgFlags(0) }).unwrap();
    pair.run_ms(1);
    assert_eq!(pair.recv(C, fd, 10).unwrap().len(), 5);
    pair.close(C, fd);
    pair.run_ms(100);
    assert_eq!(pair.states(C), ["TIME-WAIT"]);
}

#[test]
fn duplicates_of_a_syn_are_answered_at_most_every_half_second_2f() {
    let mut pair = Pair::new(0);
    pair.listen(80, 16);
    pair.rule = mute(S);
    let fd = pair.socket(C, true);
    let _ = pair.connect(fd, 80);
    pair.run_ms(1);
    let syn = pair.frames.iter().find(|(from, _)| *from == C).expect("the SYN").1.clone();
    for _ in 0..4 {
        pair.inject(S, &syn);
    }
    assert_eq!(sent(&pair, S, SYN_ACK).len(), 2);
    assert_eq!(pair.counter(S, Counter::TcpExtTCPACKSkippedSynRecv), 3);
}
