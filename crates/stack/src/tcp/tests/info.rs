//! `TCP_INFO` and `TCP_CC_INFO`. Linux: tcp.c `tcp_get_info`, `do_tcp_getsockopt`; sizes measured on 6.18.44.

use core::time::Duration;

use super::fixture::*;
use crate::call::{Call, Fd, OptValue, Ret, SockOpt};

fn bytes(pair: &mut Pair, host: usize, fd: Fd, opt: SockOpt) -> Vec<u8> {
    match pair.call(host, &Call::GetSockOpt { fd, opt }) {
        Ok(Ret::Opt(OptValue::Bytes(bytes))) => bytes.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn word(info: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(*info[at..].first_chunk().unwrap())
}

#[test]
fn cc_info_is_20_bytes_of_bbr_and_none_of_cubic() {
    let mut pair = Pair::new(10);
    let (client, server) = pair.established();
    assert_eq!(bytes(&mut pair, C, client, SockOpt::TCP_CC_INFO), [0; 0]);
    let value = OptValue::Text("bbr".into());
    pair.call(S, &Call::SetSockOpt { fd: server, opt: SockOpt::TCP_CONGESTION, value }).unwrap();
    let info = bytes(&mut pair, S, server, SockOpt::TCP_CC_INFO);
    // bw_lo, bw_hi, min_rtt, pacing_gain 2.89, cwnd_gain 2.89 in 1/256.
    assert_eq!(info.len(), 20);
    assert_eq!((word(&info, 12), word(&info, 16)), (739, 739));
}

#[test]
fn tcp_info_has_280_bytes_and_counts_timeouts_by_series() {
    let mut pair = Pair::new(10);
    let (client, _) = pair.established();
    let info = bytes(&mut pair, C, client, SockOpt::TCP_INFO);
    assert_eq!(info.len(), 280);
    assert_eq!((word(&info, 240), word(&info, 244)), (0, 0));
    // A probe and two timeouts are lost; the third repetition arrives.
    let mut lost = 0;
    pair.rule = Box::new(move |seen| {
        if seen.from == C && seen.len > 0 && lost < 4 {
            lost += 1;
            return Fate::Drop;
        }
        Fate::Pass
    });
    pair.send(C, client, 100).unwrap();
    pair.run_for(Duration::from_secs(5));
    let info = bytes(&mut pair, C, client, SockOpt::TCP_INFO);
    let first = pair.seen.iter().filter(|s| s.from == C && s.len > 0).nth(2).expect("the first RTO").at;
    let arrived = pair.seen.iter().rfind(|s| s.from == C && s.len > 0).expect("the last").at;
    assert_eq!(word(&info, 240), 3 | 1 << 16, "three timeouts, one series");
    let took = word(&info, 244);
    let least = u32::try_from((arrived - first).as_millis()).unwrap();
    assert!((least..least + 15).contains(&took), "{took} ms, and at least {least}");
}

/// packetdrill's slow-start-app-limited-9-packets-out: in slow start a window is worth twice what was used of it.
#[test]
fn nine_packets_of_ten_let_the_window_grow_to_eighteen() {
    for congestion in ["cubic", "reno"] {
        let mut pair = Pair::new(100);
        pair.sysctl(C, "net.ipv4.tcp_congestion_control", congestion);
        let (client, _) = pair.established();
        pair.send(C, client, 9 * 1448).unwrap();
        pair.run_for(Duration::from_secs(1));
        let info = bytes(&mut pair, C, client, SockOpt::TCP_INFO);
        assert_eq!(word(&info, 80), 18, "{congestion}");
    }
}

/// packetdrill's tcp-info-last_data_recv: before any data it counts from the handshake.
#[test]
fn last_data_recv_counts_from_the_handshake() {
    let mut pair = Pair::new(10);
    let (client, server) = pair.established();
    pair.run_for(Duration::from_secs(1));
    for (host, fd) in [(C, client), (S, server)] {
        let info = bytes(&mut pair, host, fd, SockOpt::TCP_INFO);
        let ago = word(&info, 52);
        assert!((990..1100).contains(&ago), "{ago} ms");
    }
}

/// packetdrill's tcp-info-rwnd-limited: a window of nothing holds a writer back, and is time in which it was busy.
#[test]
fn a_closed_window_is_counted_as_time_limited_by_it() {
    let mut pair = Pair::new(10);
    let (client, server) = pair.established();
    let limited = |pair: &mut Pair| {
        let info = bytes(pair, C, client, SockOpt::TCP_INFO);
        [168, 176, 184].map(|at| u64::from_ne_bytes(*info[at..].first_chunk().unwrap()))
    };
    assert_eq!(limited(&mut pair), [0, 0, 0]);
    // The server reads nothing: its window closes.
    while pair.send(C, client, 100_000).is_ok() {
        pair.run_ms(40);
    }
    let [busy, rwnd, _] = limited(&mut pair);
    pair.run_secs(2);
    let [busy_then, rwnd_then, sndbuf] = limited(&mut pair);
    assert!((2_000_000..2_010_000).contains(&(rwnd_then - rwnd)), "{rwnd} to {rwnd_then}");
    assert!((2_000_000..2_010_000).contains(&(busy_then - busy)), "{busy} to {busy_then}");
    assert!(busy_then >= rwnd_then + sndbuf);
    let _ = server;
}

/// packetdrill's sack-route-refresh-ip-tos: at `SOL_IP` one byte is a number, of other levels it is not.
#[test]
fn an_ip_option_can_be_one_byte_long() {
    let mut pair = Pair::new(10);
    let fd = pair.socket(C, true);
    let byte = |opt, n: u8| Call::SetSockOpt { fd, opt, value: OptValue::Bytes([n].as_slice().into()) };
    pair.call(C, &byte(SockOpt::IP_TOS, 4)).unwrap();
    let tos = pair.call(C, &Call::GetSockOpt { fd, opt: SockOpt::IP_TOS });
    assert_eq!(tos, Ok(Ret::Opt(OptValue::Int(4))));
    assert_eq!(pair.call(C, &byte(SockOpt::TCP_NODELAY, 1)), Err(crate::Errno::EINVAL));
}
