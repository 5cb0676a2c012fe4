//! TRUTH.md §6: the two queues of a listener, overflow, cookies.

use wire::tcp::Flags;

use super::fixture::*;
use crate::Errno;
use crate::mib::Counter;

const SYN_ACK: Flags = Flags(0x12);

/// Six clients; `at_once`: all SYNs before any third ACK.
fn six(pair: &mut Pair, backlog: i32, at_once: bool) -> (i32, Vec<i32>) {
    let listener = pair.listen(80, backlog);
    let mut clients = Vec::new();
    for _ in 0..6 {
        let fd = pair.socket(C, true);
        let _ = pair.connect(fd, 80);
        if !at_once {
            pair.run_ms(5);
        }
        clients.push(fd);
    }
    pair.run_ms(50);
    (listener, clients)
}

fn count(states: &[String], state: &str) -> usize {
    states.iter().filter(|s| *s == state).count()
}

#[test]
fn one_after_another_backlog_plus_one_get_in_6a() {
    for (abort, cookies) in [("0", "0"), ("0", "1"), ("0", "2"), ("1", "0"), ("1", "1"), ("1", "2")] {
        let mut pair = Pair::new(0);
        pair.sysctl(S, "net.ipv4.tcp_abort_on_overflow", abort);
        pair.sysctl(S, "net.ipv4.tcp_syncookies", cookies);
        six(&mut pair, 1, false);
        let states = pair.states(C);
        assert_eq!(
            (count(&states, "ESTAB"), count(&states, "SYN-SENT")),
            (2, 4),
            "abort {abort} cookies {cookies}"
        );
        let text = pair.hosts[S].ss_tcp(pair.now);
        let row: Vec<&str> =
            text.lines().find(|l| l.starts_with("LISTEN")).unwrap().split_whitespace().collect();
        assert_eq!(row[1..3], ["2", "1"], "Recv-Q 2, Send-Q 1");
        assert_eq!(pair.counter(S, Counter::TcpOutRsts), 0);
        pair.run_secs(13);
        assert_eq!(pair.counter(S, Counter::TcpExtListenOverflows), 32);
        assert_eq!(pair.counter(S, Counter::TcpExtListenDrops), 32);
    }
}

#[test]
fn at_once_without_cookies_the_syn_queue_limits_6b00() {
    let mut pair = Pair::new(20);
    pair.sysctl(S, "net.ipv4.tcp_syncookies", "0");
    six(&mut pair, 1, true);
    let states = pair.states(C);
    assert_eq!((count(&states, "ESTAB"), count(&states, "SYN-SENT")), (2, 4));
    assert_eq!(pair.counter(S, Counter::TcpExtTCPReqQFullDrop), 4);
}

#[test]
fn at_once_with_cookies_four_clients_are_phantoms_6b01_6b02() {
    for (cookies, sent) in [("1", 4), ("2", 6)] {
        let mut pair = Pair::new(20);
        pair.sysctl(S, "net.ipv4.tcp_syncookies", cookies);
        pair.sysctl(S, "net.ipv4.tcp_abort_on_overflow", "1");
        six(&mut pair, 1, true);
        assert_eq!(count(&pair.states(C), "ESTAB"), 6);
        assert_eq!(count(&pair.states(S), "ESTAB"), 2);
        assert_eq!(pair.counter(S, Counter::TcpExtTCPReqQFullDoCookies), sent);
        assert_eq!(pair.counter(S, Counter::TcpExtSyncookiesSent), sent);
        assert_eq!(pair.counter(S, Counter::TcpExtListenOverflows), 4);
        assert_eq!(pair.counter(S, Counter::TcpOutRsts), 0);
    }
}

#[test]
fn a_phantoms_data_builds_the_connection_when_there_is_room_6b5d() {
    let mut pair = Pair::new(20);
    let (listener, clients) = six(&mut pair, 1, true);
    let states = |pair: &mut Pair| (0..6).filter_map(|_| pair.accept(listener).ok()).collect::<Vec<i32>>();
    for fd in &clients {
        pair.send(C, *fd, 5).unwrap();
    }
    pair.run_secs(1);
    let mut accepted = states(&mut pair);
    assert_eq!(accepted.len(), 2);
    for _ in 0..20 {
        pair.run_secs(1);
        accepted.extend(states(&mut pair));
    }
    assert_eq!(accepted.len(), 6, "every phantom's retransmission carries a valid cookie");
    for fd in accepted {
        assert_eq!(pair.recv(S, fd, 10).unwrap().len(), 5);
    }
}

/// The accept queue is full when the third ACK of a request comes.
fn classic(abort: &str) -> (Pair, i32, Vec<i32>) {
    let mut pair = Pair::new(20);
    pair.sysctl(S, "net.ipv4.tcp_abort_on_overflow", abort);
    let listener = pair.listen(80, 4);
    for _ in 0..4 {
        let fd = pair.socket(C, true);
        let _ = pair.connect(fd, 80);
        pair.run_ms(50);
    }
    let clients: Vec<i32> = (0..5).map(|_| pair.socket(C, true)).collect();
    for fd in &clients {
        let _ = pair.connect(*fd, 80);
    }
    pair.run_ms(50);
    (pair, listener, clients)
}

#[test]
fn a_third_ack_that_finds_the_queue_full_is_forgotten_6k0() {
    let (mut pair, ..) = classic("0");
    assert_eq!(count(&pair.states(C), "ESTAB"), 9);
    let states = pair.states(S);
    assert_eq!((count(&states, "ESTAB"), count(&states, "SYN-RECV")), (5, 4));
    pair.run_secs(70);
    assert_eq!(count(&pair.states(S), "SYN-RECV"), 0);
    assert_eq!(count(&pair.states(C), "ESTAB"), 9);
    assert_eq!(pair.counter(S, Counter::TcpExtListenOverflows), 24);
    assert_eq!(pair.counter(S, Counter::TcpExtListenDrops), 24);
    assert_eq!(pair.counter(S, Counter::TcpOutRsts), 0);
}

#[test]
fn with_abort_on_overflow_it_is_reset_6k1() {
    let (mut pair, _, clients) = classic("1");
    assert_eq!(pair.counter(S, Counter::TcpOutRsts), 4);
    let errors: Vec<_> = clients.iter().map(|fd| pair.send(C, *fd, 1)).collect();
    assert_eq!(errors.iter().filter(|e| **e == Err(Errno::ECONNRESET)).count(), 4, "{errors:?}");
}

#[test]
fn a_closed_listener_resets_what_it_queued_6e() {
    let mut pair = Pair::new(0);
    let listener = pair.listen(80, 4);
    let fd = pair.socket(C, true);
    let _ = pair.connect(fd, 80);
    pair.run_ms(5);
    pair.forget();
    pair.close(S, listener);
    pair.run_ms(5);
    assert_eq!(pair.seen[0].flags, Flags::RST | Flags::ACK);
    assert_eq!(pair.recv(C, fd, 1), Err(Errno::ECONNRESET));
    assert_eq!(pair.states(S), Vec::<String>::new());
}

#[test]
fn accept_works_after_a_reset_12i() {
    let mut pair = Pair::new(0);
    let listener = pair.listen(80, 4);
    let fd = pair.socket(C, true);
    let _ = pair.connect(fd, 80);
    pair.run_ms(5);
    pair.send(C, fd, 7).unwrap();
    pair.run_ms(5);
    let value = crate::call::OptValue::Linger(true, 0);
    let opt = crate::call::SockOpt::SO_LINGER;
    pair.call(C, &crate::call::Call::SetSockOpt { fd, opt, value }).unwrap();
    pair.close(C, fd);
    pair.run_ms(5);
    let server = pair.accept(listener).expect("succeeds");
    let name = pair.call(S, &crate::call::Call::GetPeerName { fd: server });
    assert_eq!(name, Err(Errno::ENOTCONN));
    assert_eq!(pair.recv(S, server, 100).unwrap().len(), 7);
    assert_eq!(pair.recv(S, server, 100), Err(Errno::ECONNRESET));
}

#[test]
fn without_cookies_the_last_quarter_of_the_syn_backlog_is_kept_6f0() {
    let mut pair = Pair::new(0);
    pair.sysctl(S, "net.ipv4.tcp_syncookies", "0");
    pair.sysctl(S, "net.ipv4.tcp_max_syn_backlog", "64");
    pair.listen(80, 4096);
    pair.rule = Box::new(|s| if s.from == C && s.flags != Flags::SYN { Fate::Drop } else { Fate::Pass });
    for _ in 0..100 {
        let fd = pair.socket(C, true);
        let _ = pair.connect(fd, 80);
    }
    pair.run_ms(50);
    assert_eq!(count(&pair.states(S), "SYN-RECV"), 49);
    assert_eq!(pair.counter(S, Counter::TcpExtTCPReqQFullDrop), 0);
    assert_eq!(pair.seen.iter().filter(|s| s.flags == SYN_ACK).count(), 49);
}

/// TRUTH §13: with a full accept queue every SYN is dropped since 4.10; before, one was answered while no two were new.
#[test]
fn an_old_kernel_answers_a_syn_although_nobody_can_be_accepted() {
    use crate::{Granularity, KernelProfile};
    for (profile, answered) in [(KernelProfile::V4_4, true), (KernelProfile::V5_15, false)] {
        let mut pair = Pair::of(0, Granularity::Wheel { hz: 250 }, profile);
        pair.listen(80, 0);
        for _ in 0..2 {
            let client = pair.socket(C, true);
            let _ = pair.connect(client, 80);
            pair.run_ms(10);
        }
        let answers = pair.seen.iter().filter(|s| s.from == S && s.flags.syn()).count();
        assert_eq!(answers == 2, answered, "{profile:?}: {:?}", pair.trace());
    }
}

/// TRUTH §13: what changed between 5.1 and 5.19: interactive only after three answers.
#[test]
fn three_answers_make_a_conversation_in_5_15() {
    use crate::KernelProfile;
    use crate::sysctl::Globals;
    let of = |profile| Globals::of(profile).tcp_pingpong_thresh;
    let kernels = [KernelProfile::V4_4, KernelProfile::V5_15, KernelProfile::V6_12, KernelProfile::V6_18];
    assert_eq!(kernels.map(of), [1, 3, 1, 1]);
}
