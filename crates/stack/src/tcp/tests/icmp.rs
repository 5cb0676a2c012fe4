//! TRUTH.md 1k, 5aI, 11e, 11f, §15: what ICMP errors do to connections; IPv6 and mapped addresses.

use core::time::Duration;

use wire::{Frame, Instant, Medium};

use super::fixture::*;
use crate::call::{Call, Cmsg, Data, Domain, MsgFlags, Outcome, Ret, SockAddr, SockOpt, SockType};
use crate::iface::NewAddr6;
use crate::mib::Counter;
use crate::{Errno, Stack, StackConfig};

/// An ICMP error from a router about this packet; `info` is the word behind the checksum.
fn error_about(packet: &Frame, ty: u8, code: u8, info: u32) -> Frame {
    let quoted = packet.to_vec();
    let mut icmp = vec![ty, code, 0, 0];
    icmp.extend(info.to_be_bytes());
    icmp.extend(&quoted[..quoted.len().min(28)]);
    let sum = wire::checksum::sum(&icmp).finish();
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 254];
    ip.extend(&quoted[12..16]);
    let total = u16::try_from(20 + icmp.len()).unwrap();
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    let sum = wire::checksum::sum(&ip).finish();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip.extend(icmp);
    Frame::from_slice(&ip)
}

#[test]
fn errors_about_the_syn_end_connect_at_once_1k() {
    let rows = [
        (3, 0, Errno::ENETUNREACH),
        (3, 1, Errno::EHOSTUNREACH),
        (3, 10, Errno::EHOSTUNREACH),
        (11, 0, Errno::EHOSTUNREACH),
        (3, 13, Errno::EHOSTUNREACH),
        (3, 2, Errno::ENOPROTOOPT),
        (3, 3, Errno::ECONNREFUSED),
    ];
    for (ty, code, errno) in rows {
        let mut pair = Pair::new(0);
        pair.rule = Box::new(|_| Fate::Drop);
        let fd = pair.socket(C, true);
        assert_eq!(pair.connect(fd, 80), Err(Errno::EINPROGRESS));
        let syn = pair.frames[0].1.clone();
        pair.inject(C, &error_about(&syn, ty, code, 0));
        assert_eq!(pair.so_error(C, fd), i64::from(errno.0), "{ty}/{code}");
        pair.run_secs(3);
        assert_eq!(pair.seen.len(), 1, "no further SYN");
    }
}

#[test]
fn an_error_with_a_foreign_number_is_ignored() {
    let mut pair = Pair::new(0);
    pair.rule = Box::new(|_| Fate::Drop);
    let fd = pair.socket(C, true);
    let _ = pair.connect(fd, 80);
    let mut bytes = pair.frames[0].1.to_vec();
    bytes[24] ^= 0x55; // the sequence number
    pair.inject(C, &error_about(&Frame::from_slice(&bytes), 3, 1, 0));
    assert_eq!(pair.states(C), ["SYN-SENT"]);
    assert_eq!(pair.counter(C, Counter::TcpExtOutOfWindowIcmps), 1);
}

/// RFC 6069: "host unreachable" for each retransmission takes the back-off back; the error becomes the errno.
#[test]
fn unreachable_reverts_the_backoff_5ai() {
    let mut pair = Pair::new(0);
    pair.sysctl(C, "net.ipv4.tcp_retries2", "5");
    let (client, _server) = pair.established();
    pair.rule = Box::new(|_| Fate::Drop);
    pair.forget();
    let begin = pair.now;
    pair.send(C, client, 100).unwrap();
    let mut answered = 0;
    while pair.states(C) == ["ESTAB"] {
        pair.run_ms(1);
        while answered < pair.frames.len() {
            let packet = pair.frames[answered].1.clone();
            answered += 1;
            pair.inject(C, &error_about(&packet, 3, 1, 0));
        }
        assert!(pair.now - begin < Duration::from_secs(30));
    }
    let took = (pair.now - begin).as_secs_f64();
    assert!((12.6..13.6).contains(&took), "{took}");
    assert_eq!(pair.recv(C, client, 1), Err(Errno::EHOSTUNREACH));
    let resent = pair.frames.len() - 1;
    assert!((58..=66).contains(&resent), "63 measured: {resent}");
}

/// 11f: "fragmentation needed" makes the segment leave again at once in smaller pieces.
#[test]
fn a_smaller_path_mtu_resends_at_once_11f() {
    let mut pair = Pair::new(10);
    let (client, server) = pair.established();
    pair.rule = Box::new(|s| if s.len > 948 { Fate::Drop } else { Fate::Pass });
    pair.forget();
    pair.send(C, client, 1448).unwrap();
    let large = pair.frames[0].1.clone();
    pair.run_ms(2);
    pair.inject(C, &error_about(&large, 3, 4, 1000));
    let lengths: Vec<usize> = pair.seen.iter().filter(|s| s.len > 0).map(|s| s.len).collect();
    assert_eq!(lengths, [1448, 948, 500]);
    pair.run_ms(50);
    assert_eq!(pair.recv(S, server, 2000).unwrap().len(), 1448);
}

/// 11g1: a black hole is escaped by smaller segments after several timeouts.
#[test]
fn mtu_probing_escapes_a_black_hole_11g1() {
    let mut pair = Pair::new(0);
    pair.sysctl(C, "net.ipv4.tcp_mtu_probing", "1");
    let (client, server) = pair.established();
    pair.rule = Box::new(|s| if s.len > 948 { Fate::Drop } else { Fate::Pass });
    pair.forget();
    pair.send(C, client, 1448).unwrap();
    pair.run_secs(16);
    assert_eq!(pair.recv(S, server, 2000).unwrap().len(), 1448, "{:#?}", pair.trace());
}

/// A stream between two hosts on IPv6, and an IPv4 client of a dual-stack listener.
#[test]
fn ipv6_and_mapped_addresses_carry_streams() {
    let now = Instant::from_secs(5);
    let mut hosts: Vec<Stack> = (0..2)
        .map(|n| {
            let mut host = Stack::new(StackConfig { name: format!("h{n}"), ..StackConfig::default() });
            let eth = host.add_interface("tun0", Medium::Ip, wire::MacAddr([0; 6]), 1500);
            host.link_set_up(now, eth, true).unwrap();
            let a4 = format!("192.0.2.{}", n + 1).parse().unwrap();
            host.addr_add4(now, eth, &crate::iface::NewAddr4::new(a4, 24)).unwrap();
            let a6 = format!("2001:db8::{}", n + 1).parse().unwrap();
            host.addr_add6(now, eth, &NewAddr6 { nodad: true, ..NewAddr6::new(a6, 64) }).unwrap();
            host
        })
        .collect();
    let pids = [hosts[0].spawn(), hosts[1].spawn()];
    let carry = |hosts: &mut Vec<Stack>| {
        for _ in 0..1000 {
            let mut idle = true;
            for from in 0..2 {
                while let Some((_, frame)) = hosts[from].poll_transmit() {
                    hosts[1 - from].handle_frame(now, 2, frame);
                    idle = false;
                }
            }
            if idle {
                return;
            }
        }
        panic!("packets without end");
    };
    let call = |hosts: &mut Vec<Stack>, host: usize, call: Call| {
        let result = match hosts[host].call(now, pids[host], &call) {
            Outcome::Done(result) => result,
            Outcome::Block { .. } => panic!("{call:?} blocks"),
        };
        carry(hosts);
        result
    };
    let socket = |domain| Call::Socket { domain, ty: SockType::Stream, protocol: 0, nonblock: true };
    let at = |text: &str| SockAddr::Ip(text.parse().unwrap());
    let Ok(Ret::Fd(l, _)) = call(&mut hosts, 1, socket(Domain::Inet6)) else { panic!() };
    call(&mut hosts, 1, Call::Bind { fd: l, addr: at("[::]:80") }).unwrap();
    call(&mut hosts, 1, Call::Listen { fd: l, backlog: 4 }).unwrap();
    for (domain, to, seen) in [
        (Domain::Inet6, "[2001:db8::2]:80", "2001:db8::1"),
        (Domain::Inet, "192.0.2.2:80", "::ffff:192.0.2.1"),
        (Domain::Inet6, "[::ffff:192.0.2.2]:80", "::ffff:192.0.2.1"),
    ] {
        let Ok(Ret::Fd(c, _)) = call(&mut hosts, 0, socket(domain)) else { panic!() };
        let connect = Call::Connect { fd: c, addr: at(to) };
        assert_eq!(call(&mut hosts, 0, connect.clone()), Err(Errno::EINPROGRESS), "{to}");
        assert_eq!(call(&mut hosts, 0, connect), Ok(Ret::Int(0)), "{to}");
        let Ok(Ret::Fd(s, Some(SockAddr::Ip(peer)))) =
            call(&mut hosts, 1, Call::Accept { fd: l, nonblock: true })
        else {
            panic!("{to}")
        };
        assert_eq!(peer.ip().to_string(), seen);
        let send = Call::Send { fd: c, data: Data::Filler(5000), flags: MsgFlags(0) };
        assert_eq!(call(&mut hosts, 0, send), Ok(Ret::Int(5000)));
        match call(&mut hosts, 1, Call::Recv { fd: s, len: 9000, flags: MsgFlags(0) }) {
            Ok(Ret::Data { len, .. }) => assert_eq!(len, 5000),
            other => panic!("{other:?}"),
        }
    }
}

/// `IP_RECVERR` while connecting: the router's answer is in the error queue with the header that it quotes (5.9,
/// `tcp_v4_err`).
#[test]
fn an_error_about_the_syn_can_be_read_from_the_error_queue() {
    let mut pair = Pair::new(0);
    pair.rule = Box::new(|_| Fate::Drop);
    let fd = pair.socket(C, true);
    pair.set(C, fd, SockOpt::IP_RECVERR, 1);
    let _ = pair.connect(fd, 80);
    let syn = pair.frames[0].1.clone();
    pair.inject(C, &error_about(&syn, 11, 0, 0));
    let call = Call::RecvMsg { fd, lens: vec![64], control_len: 512, flags: MsgFlags::ERRQUEUE };
    let Ok(Ret::Data { data, from, control, .. }) = pair.call(C, &call) else { panic!("nothing there") };
    assert_eq!(data.as_slice(), &syn.to_vec()[20..28]);
    assert_eq!(from, Some(addr(S, 80)));
    let offender = Some("192.0.2.254".parse().unwrap());
    let (errno, data) = (Errno::EHOSTUNREACH, 0);
    let told = Cmsg::ExtendedErr { errno, origin: 2, ty: 11, code: 0, info: 0, data, offender };
    assert_eq!(control, [told]);
    assert_eq!(pair.call(C, &call), Err(Errno::EAGAIN));
}
