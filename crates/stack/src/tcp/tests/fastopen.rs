//! Fast Open, client and server, and what hosts remember of each other. TRUTH.md §9 (9a, 9a0, 9al, 9b, 9c); the facts of
//! packetdrill's gtests/net/tcp/fastopen by their scripts' names; Linux functions.

use core::time::Duration;

use wire::tcp::{FastOpen, Flags, Header, OptionSet, SeqNum};
use wire::{Bytes, Frame};

use super::fixture::*;
use crate::Errno;
use crate::call::{Call, Data, MsgFlags, OptValue, Ret, SockAddr, SockOpt};
use crate::mib::Counter;

const FASTOPEN: MsgFlags = MsgFlags::FASTOPEN;
const SYN: Flags = Flags::SYN;
const SYN_ACK: Flags = Flags(0x12);

fn both_on(rtt: u64) -> Pair {
    let mut pair = Pair::new(rtt);
    pair.sysctl(C, "net.ipv4.tcp_fastopen", "3");
    pair.sysctl(S, "net.ipv4.tcp_fastopen", "3");
    pair
}

fn tfo_listener(pair: &mut Pair, qlen: i64) -> i32 {
    let fd = pair.listen(80, 16);
    pair.set(S, fd, SockOpt::TCP_FASTOPEN, qlen);
    fd
}

fn open_call(fd: i32, len: u32) -> Call {
    Call::SendTo { fd, data: Data::Filler(len), flags: FASTOPEN, addr: addr(S, 80) }
}

fn send_open(pair: &mut Pair, fd: i32, len: u32) -> Result<i64, Errno> {
    pair.call(C, &open_call(fd, len)).map(|r| r.value())
}

/// Asks for a cookie and closes again.
fn warm_up(pair: &mut Pair, listener: i32) {
    let fd = pair.socket(C, true);
    assert_eq!(send_open(pair, fd, 0), Err(Errno::EINPROGRESS));
    pair.run_ms(300);
    let server = pair.accept(listener).expect("a plain handshake");
    pair.close(C, fd);
    pair.close(S, server);
    pair.run_secs(1);
    pair.forget();
}

/// Both hosts, a listener, and a client that has a cookie from it.
fn warm(rtt: u64) -> (Pair, i32) {
    let mut pair = both_on(rtt);
    let listener = tfo_listener(&mut pair, 5);
    warm_up(&mut pair, listener);
    (pair, listener)
}

/// The same with up to `qlen` unfinished connections, and the cookie itself, for segments made by hand.
fn warm_with_cookie(qlen: i64) -> (Pair, i32, Vec<u8>) {
    let mut pair = both_on(20);
    let listener = tfo_listener(&mut pair, qlen);
    let cookie = cookie_of(&mut pair, listener);
    (pair, listener, cookie)
}

/// `sendto(…, MSG_FASTOPEN)` on a new blocking socket: the socket, and what it returned within `secs`.
fn blocking_open(pair: &mut Pair, len: u32, secs: u64) -> (i32, Option<Result<i64, Errno>>) {
    let fd = pair.socket(C, false);
    let result = pair.wait(C, &open_call(fd, len), Duration::from_secs(secs));
    (fd, result.map(|r| r.map(|r| r.value())))
}

/// Opens with ten bytes, all of which the SYN-ACK acknowledges.
fn opens_with_data(pair: &mut Pair, why: &str) {
    let fd = pair.socket(C, true);
    assert_eq!(send_open(pair, fd, 10), Ok(10));
    pair.run_ms(100);
    assert_eq!(pair.trace()[1], "S S. 0 ack 11", "{why}");
}

fn option_of(seen: &Seen) -> Option<(usize, bool)> {
    seen.header.options.fast_open().map(|o| (o.cookie.len(), o.experimental))
}

fn info(pair: &mut Pair, host: usize, fd: i32) -> Vec<u8> {
    match pair.call(host, &Call::GetSockOpt { fd, opt: SockOpt::TCP_INFO }) {
        Ok(Ret::Opt(OptValue::Bytes(b))) => b.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// A segment of the client's address, made by hand.
fn forged(header: Header, payload: &[u8]) -> Frame {
    forged_from(ADDRS[C], header, payload)
}

fn forged_from(source: &str, header: Header, payload: &[u8]) -> Frame {
    let (src, dst) = (source.parse().unwrap(), ADDRS[S].parse().unwrap());
    let hlen = header.header_len();
    let mut bytes = vec![0; 20 + hlen];
    bytes.extend_from_slice(payload);
    let total = bytes.len();
    let mut ip = [0u8; 20];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&u16::try_from(total).unwrap().to_be_bytes());
    ip[6] = 0x40;
    ip[8] = 64;
    ip[9] = 6;
    ip[12..16].copy_from_slice(&std::net::Ipv4Addr::octets(&src));
    ip[16..20].copy_from_slice(&std::net::Ipv4Addr::octets(&dst));
    let sum = wire::checksum::sum(&ip).finish();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes[..20].copy_from_slice(&ip);
    let pseudo =
        wire::checksum::pseudo_v4(src, dst, wire::ip::Protocol::TCP, u16::try_from(total - 20).unwrap());
    header.emit_with_checksum(&mut bytes[20..20 + hlen], pseudo, wire::checksum::sum(payload));
    Frame::from_slice(&bytes)
}

fn forged_syn(port: u16, cookie: &[u8], payload: &[u8]) -> Frame {
    let set = OptionSet {
        mss: Some(1460),
        sack_permitted: true,
        fast_open: Some(FastOpen { cookie, experimental: false }),
        ..OptionSet::default()
    };
    let header = Header {
        src_port: port,
        dst_port: 80,
        seq: SeqNum(5000),
        flags: SYN,
        window: 32_792,
        options: set.build().unwrap(),
        ..Header::default()
    };
    forged(header, payload)
}

fn forged_rst(port: u16, seq: u32) -> Frame {
    let header =
        Header { src_port: port, dst_port: 80, seq: SeqNum(seq), flags: Flags::RST, ..Header::default() };
    forged(header, &[])
}

/// The client's cookie at the server of `pair`.
fn cookie_of(pair: &mut Pair, listener: i32) -> Vec<u8> {
    warm_up(pair, listener);
    let shown = pair.hosts[C].ip_tcp_metrics(pair.now);
    let hex = shown.split("fo_cookie ").nth(1).expect("a cookie").split(' ').next().unwrap().to_owned();
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

#[test]
fn a_cookie_is_asked_for_then_data_goes_with_the_syn_9a() {
    let mut pair = both_on(100);
    let listener = tfo_listener(&mut pair, 5);
    let fd = pair.socket(C, true);
    assert_eq!(send_open(&mut pair, fd, 0), Err(Errno::EINPROGRESS));
    pair.run_ms(400);
    assert_eq!(pair.trace(), ["C S 0", "S S. 0 ack 1", "C . 1 ack 1"]);
    assert_eq!(option_of(&pair.seen[0]), Some((0, false)), "a request");
    assert_eq!(option_of(&pair.seen[1]), Some((8, false)), "an answer of 8 bytes");
    assert_eq!(pair.counter(S, Counter::TcpExtTCPFastOpenCookieReqd), 1);
    assert!(pair.accept(listener).is_ok());
    pair.forget();
    let fd = pair.socket(C, true);
    assert_eq!(send_open(&mut pair, fd, 5), Ok(5));
    pair.run_ms(60);
    // Accepted and read before the third ACK.
    let server = pair.accept(listener).expect("made from the SYN");
    assert_eq!(pair.recv(S, server, 100).unwrap().len(), 5);
    assert_eq!(info(&mut pair, S, server)[0], 3, "SYN-RECV");
    assert_eq!(info(&mut pair, S, server)[5] & 0xa0, 0xa0, "SYN_DATA and TFO_CHILD");
    assert_eq!(pair.trace(), ["C S 0 len 5", "S S. 0 ack 6"]);
    assert_eq!(option_of(&pair.seen[0]), Some((8, false)));
    assert_eq!(option_of(&pair.seen[1]), None);
    pair.run_ms(150);
    assert_eq!(pair.trace()[2..], ["C . 6 ack 1"]);
    assert_eq!(info(&mut pair, S, server)[0], 1, "ESTABLISHED");
    assert_eq!(info(&mut pair, C, fd)[5] & 0x20, 0x20, "TCPI_OPT_SYN_DATA");
    for (host, counter, n) in [
        (C, Counter::TcpExtTCPFastOpenActive, 1),
        (S, Counter::TcpExtTCPFastOpenPassive, 1),
        (S, Counter::TcpPassiveOpens, 2),
        (C, Counter::TcpExtTCPOrigDataSent, 1),
    ] {
        assert_eq!(pair.counter(host, counter), n, "{counter:?}");
    }
}

#[test]
fn an_answer_may_leave_before_the_third_ack_and_an_rtt_is_saved() {
    let (mut pair, listener) = warm(100);
    let fd = pair.socket(C, true);
    send_open(&mut pair, fd, 100).unwrap();
    pair.run_ms(52);
    let server = pair.accept(listener).unwrap();
    assert_eq!(pair.send(S, server, 3000), Ok(3000));
    pair.run_ms(52);
    assert_eq!(pair.recv(C, fd, 10_000).unwrap().len(), 3000, "one round trip after the SYN");
    assert_eq!(
        pair.trace()[..5],
        [
            "C S 0 len 100",
            "S S. 0 ack 101",
            "S . 1 ack 101 len 1448",
            "S . 1449 ack 101 len 1448",
            "S P. 2897 ack 101 len 104"
        ]
    );
    pair.run_secs(1);
    pair.close(C, fd);
    pair.close(S, server);
    pair.run_secs(1);
    assert!(!pair.states(S).iter().any(|s| s == "LAST-ACK" || s == "CLOSE-WAIT"));
}

#[test]
fn a_server_with_the_default_setting_ignores_it_and_the_client_tries_the_experimental_option_9a0() {
    let mut pair = Pair::new(10);
    let listener = pair.listen(80, 16);
    let mut options = Vec::new();
    for _ in 0..4 {
        let fd = pair.socket(C, true);
        assert_eq!(send_open(&mut pair, fd, 1000), Err(Errno::EINPROGRESS));
        pair.run_ms(100);
        options.push(option_of(&pair.seen[0]));
        let server = pair.accept(listener).unwrap();
        pair.close(C, fd);
        pair.close(S, server);
        pair.run_ms(300);
        pair.forget();
    }
    // fallback-exp-opt.pkt: once experimental, then never again.
    assert_eq!(options, [Some((0, false)), Some((0, true)), Some((0, false)), Some((0, false))]);
    assert_eq!(pair.counter(S, Counter::TcpExtTCPFastOpenCookieReqd), 4);
}

#[test]
fn a_lost_syn_with_data_is_repeated_bare_and_the_data_follows_the_handshake_9al() {
    let (mut pair, listener) = warm(50);
    pair.rule = Box::new(|s| if s.from == C && s.len > 0 && s.flags.syn() { Fate::Drop } else { Fate::Pass });
    let fd = pair.socket(C, true);
    let start = pair.now;
    assert_eq!(send_open(&mut pair, fd, 1000), Ok(1000));
    pair.run_secs(2);
    assert_eq!(
        pair.trace(),
        ["C S 0 len 1000 LOST", "C S 0", "S S. 0 ack 1", "C P. 1 ack 1 len 1000", "S . 1 ack 1001"]
    );
    assert_eq!(option_of(&pair.seen[1]), None);
    let base = (start - pair.start()).as_secs_f64();
    assert_schedule(&[pair.seen[1].secs() - base], &[1.0]);
    assert_eq!(info(&mut pair, C, fd)[5] & 0x20, 0);
    assert_eq!(info(&mut pair, C, fd)[7] >> 1 & 3, 3, "TFO_SYN_RETRANSMITTED");
    assert_eq!(pair.counter(C, Counter::TcpExtTCPFastOpenActiveFail), 1);
    assert!(pair.hosts[C].ip_tcp_metrics(pair.now).contains("fo_syn_drops 1/"));
    let server = pair.accept(listener).unwrap();
    assert_eq!(pair.recv(S, server, 5000).unwrap().len(), 1000);
}

#[test]
fn data_of_the_syn_is_sent_again_when_only_the_syn_is_acknowledged() {
    // syn-data-only-syn-acked.pkt: the server's key changed.
    let (mut pair, _) = warm(20);
    pair.sysctl(S, "net.ipv4.tcp_fastopen_key", "1-2-3-4");
    let fd = pair.socket(C, true);
    assert_eq!(send_open(&mut pair, fd, 5000), Ok(1420), "the MSS less 40");
    pair.run_ms(100);
    assert_eq!(
        pair.trace()[..3],
        ["C S 0 len 1420", "S S. 0 ack 1", "C P. 1 ack 1 len 1420"],
        "{:?}",
        pair.trace()
    );
    assert_eq!(option_of(&pair.seen[1]), Some((8, false)), "the new cookie");
    assert_eq!(pair.counter(S, Counter::TcpExtTCPFastOpenPassiveFail), 1);
    assert_eq!(info(&mut pair, C, fd)[7] >> 1 & 3, 2, "TFO_DATA_NOT_ACKED");
    pair.forget();
    opens_with_data(&mut pair, "the new cookie was kept");
}

#[test]
fn the_backup_key_still_opens_and_brings_a_new_cookie() {
    let mut pair = both_on(20);
    pair.sysctl(S, "net.ipv4.tcp_fastopen_key", "1-2-3-4");
    let listener = tfo_listener(&mut pair, 5);
    warm_up(&mut pair, listener);
    pair.sysctl(S, "net.ipv4.tcp_fastopen_key", "5-6-7-8,1-2-3-4");
    for alt in [1, 1] {
        opens_with_data(&mut pair, "by the backup key");
        assert_eq!(pair.counter(S, Counter::TcpExtTCPFastOpenPassiveAltKey), alt);
        pair.forget();
    }
    assert_eq!(pair.counter(S, Counter::TcpExtTCPFastOpenPassive), 2);
}

#[test]
fn a_listener_may_have_a_key_of_its_own() {
    let mut pair = both_on(20);
    let listener = tfo_listener(&mut pair, 5);
    let key: Vec<u8> = (0..16).collect();
    let set = |value: Vec<u8>| Call::SetSockOpt {
        fd: listener,
        opt: SockOpt::TCP_FASTOPEN_KEY,
        value: OptValue::Bytes(Bytes::from(value)),
    };
    assert_eq!(pair.call(S, &set(vec![1; 15])), Err(Errno::EINVAL));
    pair.call(S, &set(key.clone())).unwrap();
    let get = pair.call(S, &Call::GetSockOpt { fd: listener, opt: SockOpt::TCP_FASTOPEN_KEY });
    assert_eq!(get, Ok(Ret::Opt(OptValue::Bytes(Bytes::from(key)))));
    warm_up(&mut pair, listener);
    pair.sysctl(S, "net.ipv4.tcp_fastopen_key", "1-2-3-4");
    opens_with_data(&mut pair, "the host's key does not matter");
}

#[test]
fn without_cookies_on_both_ends_the_first_syn_carries_data() {
    // cookie-less-sendto.pkt, basic-cookie-not-reqd.pkt
    let mut pair = Pair::new(20);
    pair.sysctl(C, "net.ipv4.tcp_fastopen", "5");
    pair.sysctl(S, "net.ipv4.tcp_fastopen", "0x602");
    let listener = pair.listen(80, 16);
    let fd = pair.socket(C, true);
    assert_eq!(send_open(&mut pair, fd, 1000), Ok(1000));
    pair.run_ms(100);
    assert_eq!(pair.trace(), ["C S 0 len 1000", "S S. 0 ack 1001", "C . 1001 ack 1"]);
    assert_eq!(option_of(&pair.seen[0]), None);
    let server = pair.accept(listener).unwrap();
    assert_eq!(pair.recv(S, server, 5000).unwrap().len(), 1000);
    assert_eq!(pair.counter(C, Counter::TcpExtTCPFastOpenActive), 1);
}

#[test]
fn fastopen_connect_waits_for_the_first_write() {
    // nonblocking-connect-bypass.pkt, nonblocking-connect-bypass-errno.pkt
    let mut pair = both_on(20);
    let listener = tfo_listener(&mut pair, 5);
    pair.sysctl(C, "net.ipv4.tcp_fastopen", "0");
    let fd = pair.socket(C, true);
    let set = Call::SetSockOpt { fd, opt: SockOpt::TCP_FASTOPEN_CONNECT, value: OptValue::Int(1) };
    assert_eq!(pair.call(C, &set), Err(Errno::EOPNOTSUPP));
    pair.sysctl(C, "net.ipv4.tcp_fastopen", "1");
    pair.call(C, &set).unwrap();
    assert_eq!(pair.connect(fd, 80), Err(Errno::EINPROGRESS), "no cookie: a request goes at once");
    pair.run_ms(100);
    assert_eq!(option_of(&pair.seen[0]), Some((0, false)));
    let server = pair.accept(listener).unwrap();
    pair.close(C, fd);
    pair.close(S, server);
    pair.run_ms(300);
    pair.forget();
    let fd = pair.socket(C, true);
    pair.set(C, fd, SockOpt::TCP_FASTOPEN_CONNECT, 1);
    assert_eq!(pair.connect(fd, 80).map(|r| r.value()), Ok(0));
    assert_eq!(pair.states(C).last().unwrap(), "SYN-SENT", "{:?}", pair.states(C));
    assert_eq!(pair.connect(fd, 80), Err(Errno::EISCONN));
    assert_eq!(pair.poll(C, fd), 0x4, "POLLOUT");
    assert_eq!(pair.recv(C, fd, 10), Err(Errno::EAGAIN));
    pair.run_ms(100);
    assert_eq!(pair.trace(), Vec::<String>::new());
    assert_eq!(pair.send(C, fd, 700), Ok(700));
    assert_eq!(send_open(&mut pair, fd, 9), Err(Errno::EALREADY));
    assert_eq!(pair.send(C, fd, 1), Err(Errno::EAGAIN));
    assert_eq!(pair.poll(C, fd), 0);
    pair.run_ms(100);
    assert_eq!(pair.trace(), ["C S 0 len 700", "S S. 0 ack 701", "C . 701 ack 1"]);
    // With nothing to write the handshake goes without data, and says so.
    let fd = pair.socket(C, true);
    pair.set(C, fd, SockOpt::TCP_FASTOPEN_CONNECT, 1);
    pair.connect(fd, 80).unwrap();
    assert_eq!(pair.send(C, fd, 0), Err(Errno::EINPROGRESS));
}

#[test]
fn a_blocking_send_sends_the_rest_after_the_handshake_without_an_ack_of_its_own() {
    // blocking-sendto.pkt
    let (mut pair, _) = warm(20);
    assert_eq!(blocking_open(&mut pair, 1900, 1).1, Some(Ok(1900)));
    assert_eq!(pair.trace(), ["C S 0 len 1420", "S S. 0 ack 1421", "C P. 1421 ack 1 len 480"]);
    // All of it in the SYN: the ACK goes at once.
    pair.run_secs(1);
    pair.forget();
    assert_eq!(blocking_open(&mut pair, 1000, 1).1, Some(Ok(1000)));
    assert_eq!(pair.trace(), ["C S 0 len 1000", "S S. 0 ack 1001", "C . 1001 ack 1"]);
}

#[test]
fn errnos_of_an_open_with_data() {
    // nonblocking-sendto-errnos.pkt, sendto-af-unspec.pkt, blocking-sendto-errnos.pkt
    let mut pair = both_on(20);
    let fd = pair.socket(C, true);
    let unspec = Call::SendTo { fd, data: Data::Filler(1), flags: FASTOPEN, addr: SockAddr::Unspec };
    assert_eq!(pair.call(C, &unspec), Err(Errno::EOPNOTSUPP));
    assert_eq!(send_open(&mut pair, fd, 1000), Err(Errno::EINPROGRESS));
    assert_eq!(send_open(&mut pair, fd, 1000), Err(Errno::EALREADY));
    assert_eq!(pair.send(C, fd, 1000), Err(Errno::EAGAIN));
    // Nobody listens: a RST.
    pair.run_ms(100);
    assert_eq!(pair.send(C, fd, 1000), Err(Errno::ECONNREFUSED));
    assert_eq!(blocking_open(&mut pair, 10, 1).1, Some(Err(Errno::ECONNREFUSED)));
    pair.rule = Box::new(|_| Fate::Drop);
    pair.sysctl(C, "net.ipv4.tcp_syn_linear_timeouts", "0");
    let fd = pair.socket(C, false);
    pair.set(C, fd, SockOpt::TCP_SYNCNT, 1);
    assert_eq!(pair.wait(C, &open_call(fd, 10), Duration::from_secs(9)), Some(Err(Errno::ETIMEDOUT)));
}

#[test]
fn the_servers_syn_ack_is_repeated_by_the_connection_and_one_time_more() {
    // tcp_fastopen_synack_timer: 1, 2, 4 … s; tcp_synack_retries + 1 times.
    let (mut pair, listener, cookie) = warm_with_cookie(5);
    pair.sysctl(S, "net.ipv4.tcp_synack_retries", "2");
    let syn = forged_syn(999, &cookie, b"hello");
    let start = (pair.now - pair.start()).as_secs_f64();
    pair.rule = Box::new(|_| Fate::Drop);
    pair.inject(S, &syn);
    let server = pair.accept(listener).unwrap();
    // Data goes out, and is not repeated before the SYN-ACK is answered.
    pair.send(S, server, 100).unwrap();
    pair.run_secs(20);
    let times: Vec<f64> = pair.times(|s| s.flags == SYN_ACK).iter().map(|t| t - start).collect();
    assert_schedule(&times, &[0.0, 1.0, 3.0, 7.0]);
    assert_eq!(pair.times(|s| s.from == S && s.len > 0).len(), 1);
    assert_eq!(pair.recv(S, server, 10).unwrap(), b"hello");
    assert_eq!(pair.recv(S, server, 10), Err(Errno::ETIMEDOUT));
    assert_eq!(pair.counter(S, Counter::TcpExtTCPAbortOnTimeout), 1);
}

#[test]
fn a_reset_before_the_third_ack_leaves_the_data_to_be_read() {
    // reset-before-accept.pkt, reset-after-accept.pkt
    let (mut pair, listener, cookie) = warm_with_cookie(5);
    for (port, accept_first) in [(999, false), (998, true)] {
        let syn = forged_syn(port, &cookie, b"0123456789");
        pair.inject(S, &syn);
        let early = accept_first.then(|| pair.accept(listener).unwrap());
        let rst = forged_rst(port, 5011);
        pair.inject(S, &rst);
        let server = early.unwrap_or_else(|| pair.accept(listener).unwrap());
        assert_eq!(pair.recv(S, server, 512).unwrap().len(), 10);
        assert_eq!(pair.recv(S, server, 512), Err(Errno::ECONNRESET));
        pair.close(S, server);
    }
}

#[test]
fn closing_the_listener_resets_connections_that_nobody_accepted() {
    // listener-closed-trigger-rst.pkt, unread-data-closed-trigger-rst.pkt
    let (mut pair, listener, cookie) = warm_with_cookie(5);
    for port in [999, 998] {
        let syn = forged_syn(port, &cookie, b"0123456789");
        pair.inject(S, &syn);
    }
    let server = pair.accept(listener).unwrap();
    pair.forget();
    pair.close(S, server);
    assert_eq!(pair.seen.len(), 1, "data that was not read");
    pair.close(S, listener);
    let flags: Vec<Flags> = pair.seen.iter().map(|s| s.flags).collect();
    assert_eq!(flags, [Flags::RST | Flags::ACK; 2]);
    assert_eq!(pair.states(S), ["TIME-WAIT"], "that of the connection before");
}

#[test]
fn close_before_the_third_ack_sends_a_fin_that_waits_for_it() {
    let (mut pair, listener) = warm(100);
    let fd = pair.socket(C, true);
    send_open(&mut pair, fd, 10).unwrap();
    pair.run_ms(52);
    let server = pair.accept(listener).unwrap();
    pair.recv(S, server, 100).unwrap();
    pair.close(S, server);
    assert_eq!(pair.states(S).last().unwrap(), "FIN-WAIT-1");
    pair.run_ms(300);
    assert_eq!(pair.trace()[..3], ["C S 0 len 10", "S S. 0 ack 11", "S F. 1 ack 11"]);
    assert_eq!(pair.recv(C, fd, 10).unwrap().len(), 0, "the end of the stream");
    pair.close(C, fd);
    pair.run_ms(300);
    assert_eq!(pair.states(S).iter().filter(|s| *s == "TIME-WAIT").count(), 2, "with the first connection's");
}

#[test]
fn the_queue_of_unfinished_connections_is_limited_and_resets_count_for_a_minute() {
    // tcp_fastopen_queue_check, reqsk_fastopen_remove
    let (mut pair, listener, cookie) = warm_with_cookie(1);
    let syn = forged_syn(999, &cookie, b"x");
    pair.inject(S, &syn);
    let server = pair.accept(listener).unwrap();
    let second = forged_syn(998, &cookie, b"x");
    pair.inject(S, &second);
    assert_eq!(pair.counter(S, Counter::TcpExtTCPFastOpenListenOverflow), 1);
    assert_eq!(pair.accept(listener), Err(Errno::EAGAIN), "an ordinary handshake");
    let rst = forged_rst(999, 5002);
    pair.inject(S, &rst);
    pair.close(S, server);
    let third = forged_syn(997, &cookie, b"x");
    pair.inject(S, &third);
    assert_eq!(pair.counter(S, Counter::TcpExtTCPFastOpenListenOverflow), 2);
    pair.run_secs(61);
    let fourth = forged_syn(996, &cookie, b"x");
    pair.inject(S, &fourth);
    assert!(pair.accept(listener).is_ok());
    assert_eq!(pair.counter(S, Counter::TcpExtTCPFastOpenListenOverflow), 2);
}

#[test]
fn a_repeated_syn_is_answered_again_and_its_data_is_not_taken_twice() {
    let (mut pair, listener, cookie) = warm_with_cookie(5);
    pair.rule = Box::new(|_| Fate::Drop);
    let syn = forged_syn(999, &cookie, b"abc");
    pair.inject(S, &syn);
    pair.run_ms(600);
    pair.inject(S, &syn);
    let server = pair.accept(listener).unwrap();
    assert_eq!(pair.recv(S, server, 100).unwrap(), b"abc");
    assert_eq!(pair.recv(S, server, 100), Err(Errno::EAGAIN));
    assert_eq!(pair.times(|s| s.flags == SYN_ACK).len(), 2);
    assert_eq!(pair.accept(listener), Err(Errno::EAGAIN));
}

#[test]
fn three_timeouts_pause_fast_open_on_the_host() {
    // tcp_fastopen_active_detect_blackhole, tcp_fastopen_active_should_disable
    let mut pair = both_on(20);
    pair.sysctl(C, "net.ipv4.tcp_fastopen_blackhole_timeout_sec", "100");
    let listener = tfo_listener(&mut pair, 5);
    warm_up(&mut pair, listener);
    pair.rule = Box::new(|_| Fate::Drop);
    let fd = pair.socket(C, true);
    assert_eq!(send_open(&mut pair, fd, 10), Ok(10));
    pair.run_secs(4);
    assert_eq!(pair.counter(C, Counter::TcpExtTCPFastOpenBlackhole), 1);
    pair.close(C, fd);
    pair.rule = Box::new(|_| Fate::Pass);
    pair.forget();
    let fd = pair.socket(C, true);
    assert_eq!(send_open(&mut pair, fd, 10), Err(Errno::EINPROGRESS), "no data with the SYN");
    assert_eq!(option_of(&pair.seen[0]), None, "nor a request");
    pair.run_secs(100);
    pair.forget();
    let fd = pair.socket(C, true);
    assert_eq!(send_open(&mut pair, fd, 10), Ok(10), "the pause is over");
}

#[test]
fn the_mss_of_the_last_syn_ack_bounds_the_data() {
    // syn-data-mss.pkt, nonblocking-sendto-empty-buf.pkt
    let mut pair = both_on(20);
    let listener = tfo_listener(&mut pair, 5);
    pair.set(S, listener, SockOpt::TCP_MAXSEG, 940);
    warm_up(&mut pair, listener);
    assert!(pair.hosts[C].ip_tcp_metrics(pair.now).contains("fo_mss 940 "));
    let fd = pair.socket(C, true);
    assert_eq!(send_open(&mut pair, fd, 2000), Ok(900));
}

#[test]
fn a_host_remembers_round_trips_until_they_are_flushed() {
    // tcp_update_metrics, tcp_init_metrics
    let mut pair = Pair::new(400);
    let (client, server) = pair.established();
    pair.send(C, client, 100).unwrap();
    pair.run_secs(2);
    pair.recv(S, server, 1000).unwrap();
    pair.close(C, client);
    pair.run_secs(1);
    pair.close(S, server);
    pair.run_secs(2);
    let shown = pair.hosts[C].ip_tcp_metrics(pair.now);
    assert!(shown.starts_with("192.0.2.2 age ") && shown.ends_with(" source 192.0.2.1\n"), "{shown}");
    let rtt: u32 = shown.split(" rtt ").nth(1).unwrap().split("us").next().unwrap().parse().unwrap();
    assert!((400_000..415_000).contains(&rtt), "{shown}");
    assert!(shown.contains(" cwnd 1") && !shown.contains("ssthresh"), "{shown}");
    // The server's side closed by LAST-ACK remembers, too.
    assert!(pair.hosts[S].ip_tcp_metrics(pair.now).contains("192.0.2.1 age "));
    let command = crate::admin::Admin::parse("ip tcp_metrics flush all").unwrap();
    assert_eq!(command.to_string(), "ip tcp_metrics flush all");
    pair.hosts[C].admin(pair.now, &command).unwrap();
    assert_eq!(pair.hosts[C].ip_tcp_metrics(pair.now), "");
}

#[test]
fn a_signed_segment_is_dropped_where_no_key_is_expected() {
    // tcp_inbound_md5_hash
    let mut pair = Pair::new(20);
    let _listener = pair.listen(80, 5);
    let set = OptionSet { md5: Some([7; 16]), mss: Some(1460), ..OptionSet::default() };
    let header = Header {
        src_port: 7,
        dst_port: 80,
        seq: SeqNum(1),
        flags: SYN,
        window: 1000,
        options: set.build().unwrap(),
        ..Header::default()
    };
    let syn = forged(header, &[]);
    pair.inject(S, &syn);
    assert_eq!(pair.trace(), Vec::<String>::new());
    assert_eq!(pair.counter(S, Counter::TcpExtTCPMD5Unexpected), 1);
}

#[test]
fn the_syns_headers_can_be_read_once() {
    // tcp_reqsk_record_syn; TCP_SAVED_SYN
    let mut pair = Pair::new(20);
    let listener = pair.listen(80, 5);
    pair.set(S, listener, SockOpt::TCP_SAVE_SYN, 1);
    let fd = pair.socket(C, true);
    pair.connect(fd, 80).unwrap_err();
    pair.run_ms(100);
    let server = pair.accept(listener).unwrap();
    let get = Call::GetSockOpt { fd: server, opt: SockOpt::TCP_SAVED_SYN };
    let Ok(Ret::Opt(OptValue::Bytes(saved))) = pair.call(S, &get) else { panic!() };
    assert_eq!(*saved, pair.frames[0].1.to_vec(), "a SYN without data is its headers");
    assert_eq!(pair.call(S, &get), Ok(Ret::Opt(OptValue::Bytes(Bytes::new()))));
}

#[test]
fn a_send_that_waits_in_syn_sent_saves_the_third_ack_9c() {
    let mut pair = Pair::new(100);
    let listener = pair.listen(80, 5);
    let fd = pair.socket(C, true);
    pair.connect(fd, 80).unwrap_err();
    pair.call(C, &Call::SetFl { fd, nonblock: false }).unwrap();
    let call = Call::Send { fd, data: Data::Filler(10), flags: MsgFlags(0) };
    assert_eq!(pair.wait(C, &call, Duration::from_secs(1)).unwrap().unwrap().value(), 10);
    assert_eq!(pair.trace(), ["C S 0", "S S. 0 ack 1", "C P. 1 ack 1 len 10"]);
    pair.run_ms(100);
    assert!(pair.accept(listener).is_ok());
}

#[test]
fn with_no_metrics_save_nothing_is_remembered() {
    let mut pair = Pair::new(20);
    pair.sysctl(C, "net.ipv4.tcp_no_metrics_save", "1");
    let (client, server) = pair.established();
    pair.close(C, client);
    pair.run_secs(1);
    pair.close(S, server);
    pair.run_secs(1);
    assert_eq!(pair.hosts[C].ip_tcp_metrics(pair.now), "");
    assert_ne!(pair.hosts[S].ip_tcp_metrics(pair.now), "");
}

#[test]
fn shutdown_in_syn_recv_waits_for_the_third_ack() {
    // tcp_shutdown leaves SYN_RECV alone; tcp_rcv_state_process makes up for it.
    let (mut pair, listener) = warm(100);
    let fd = pair.socket(C, true);
    send_open(&mut pair, fd, 10).unwrap();
    pair.run_ms(52);
    let server = pair.accept(listener).unwrap();
    pair.call(S, &Call::Shutdown { fd: server, how: crate::call::Shutdown::Wr }).unwrap();
    assert_eq!(pair.states(S).last().unwrap(), "SYN-RECV");
    pair.run_ms(120);
    assert_eq!(pair.trace()[..4], ["C S 0 len 10", "S S. 0 ack 11", "C . 11 ack 1", "S F. 1 ack 11"]);
}

#[test]
fn data_soon_after_the_syn_ack_makes_the_connection_interactive() {
    // tcp_finish_connect stamps lrcvtime; blocking-sendto.pkt: the read is not acknowledged by itself.
    let (mut pair, listener) = warm(20);
    let (fd, sent) = blocking_open(&mut pair, 1900, 1);
    assert_eq!(sent, Some(Ok(1900)));
    pair.run_ms(15);
    let server = pair.accept(listener).unwrap();
    pair.send(S, server, 500).unwrap();
    pair.run_ms(12);
    pair.forget();
    assert_eq!(pair.recv(C, fd, 4096).unwrap().len(), 500);
    assert_eq!(pair.trace(), Vec::<String>::new());
    pair.close(C, fd);
    assert_eq!(pair.trace(), ["C F. 1901 ack 501"]);
}

#[test]
fn a_longer_round_trip_of_before_sets_the_first_timeout() {
    // tcp_init_metrics: rto = rtt + max(2 rtt, tcp_rto_min), when the cached one is above the handshake's.
    let mut pair = Pair::new(0);
    pair.rule = Box::new(|_| Fate::Delay(200));
    let listener = pair.listen(80, 8);
    let first = pair.socket(C, true);
    pair.connect(first, 80).unwrap_err();
    pair.run_secs(1);
    let server = pair.accept(listener).unwrap();
    pair.close(C, first);
    pair.run_secs(1);
    pair.close(S, server);
    pair.run_secs(2);
    pair.rule = Box::new(|_| Fate::Pass);
    let second = pair.socket(C, true);
    pair.connect(second, 80).unwrap_err();
    pair.run_ms(50);
    let info = info(&mut pair, C, second);
    let word = |at: usize| u32::from_ne_bytes(*info[at..].first_chunk().unwrap());
    assert!((1_196_000..=1_216_000).contains(&word(8)), "tcpi_rto {}", word(8));
    assert!(word(68) < 5_000, "tcpi_rtt is the handshake's: {}", word(68));
}

#[test]
fn without_cookies_a_peer_that_was_here_before_gets_into_the_last_quarter() {
    // tcp_conn_request, tcp_peer_is_proven
    let mut pair = Pair::new(0);
    pair.sysctl(S, "net.ipv4.tcp_syncookies", "0");
    pair.sysctl(S, "net.ipv4.tcp_max_syn_backlog", "4");
    let listener = pair.listen(80, 64);
    let syn = |n: u16| Header {
        src_port: n,
        dst_port: 80,
        seq: SeqNum(7),
        flags: SYN,
        window: 999,
        ..Header::default()
    };
    for proven in [false, true] {
        for n in 0..9 {
            let frame = forged_from("192.0.2.77", syn(100 + n), &[]);
            pair.inject(S, &frame);
        }
        let fd = pair.socket(C, true);
        pair.connect(fd, 80).unwrap_err();
        pair.run_ms(100);
        assert_eq!(pair.accept(listener).is_ok(), proven);
        // The flood is forgotten; the client comes in and ends well.
        pair.run_secs(70);
        pair.close(C, fd);
        pair.run_secs(1);
        while let Ok(server) = pair.accept(listener) {
            pair.close(S, server);
        }
        pair.run_secs(1);
    }
}
