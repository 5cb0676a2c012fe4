//! The life of a connection: handshake, data both ways, every form of closing.

use core::time::Duration;

use wire::tcp::Flags;

use super::fixture::*;
use crate::Errno;
use crate::call::{Call, Data, MsgFlags, Ret, Shutdown, SockOpt};
use crate::mib::Counter;

#[test]
fn three_segments_open_a_connection_and_options_are_linuxs() {
    let mut pair = Pair::new(10);
    let (client, server) = pair.established();
    assert_eq!(pair.trace(), ["C S 0", "S S. 0 ack 1", "C . 1 ack 1"]);
    let syn = &pair.seen[0].header;
    assert_eq!((syn.window, syn.options.mss(), syn.options.window_scale()), (64_240, Some(1460), Some(10)));
    assert_eq!(pair.seen[1].header.window, 65_160);
    assert!(syn.options.sack_permitted() && syn.options.timestamps().is_some());
    assert_eq!(pair.states(C), ["ESTAB"]);
    assert_eq!(pair.poll(C, client) & 0x4, 0x4);
    assert_eq!(pair.recv(S, server, 10), Err(Errno::EAGAIN));
    assert_eq!(pair.counter(C, Counter::TcpActiveOpens), 1);
    assert_eq!(pair.counter(S, Counter::TcpPassiveOpens), 1);
    assert_eq!(pair.counter(S, Counter::TcpCurrEstab), 1);
}

#[test]
fn data_arrives_in_order_in_both_directions() {
    let mut pair = Pair::new(20);
    let (client, server) = pair.established();
    assert_eq!(pair.send(C, client, 10_000), Ok(10_000));
    assert_eq!(pair.send(S, server, 5), Ok(5));
    pair.run_ms(200);
    let got = pair.recv(S, server, 20_000).unwrap();
    assert_eq!(got, (0..10_000u32).map(|i| (i % 251) as u8).collect::<Vec<u8>>());
    assert_eq!(pair.recv(C, client, 100).unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!(pair.counter(C, Counter::TcpRetransSegs), 0);
}

/// A megabyte through a path that loses every 37th data segment: whole, and repaired without timeouts.
#[test]
fn losses_are_repaired_by_sack() {
    let mut pair = Pair::new(10);
    let mut n = 0;
    pair.rule = Box::new(move |s| {
        n += u32::from(s.len > 0);
        if s.len > 0 && n % 37 == 0 { Fate::Drop } else { Fate::Pass }
    });
    let (client, server) = pair.established();
    let total: usize = 1 << 20;
    let data: Vec<u8> = (0..total).map(|i| (i * 7 % 253) as u8).collect();
    let (mut sent, mut got) = (0, Vec::new());
    for _ in 0..2_000 {
        if sent < total {
            let chunk = Data::Literal(data[sent..(sent + 50_000).min(total)].into());
            if let Ok(r) = pair.call(C, &Call::Send { fd: client, data: chunk, flags: MsgFlags(0) }) {
                sent += r.value() as usize;
            }
        }
        pair.run_ms(5);
        if let Ok(more) = pair.recv(S, server, 1 << 20) {
            got.extend(more);
        }
        if got.len() == total {
            break;
        }
    }
    assert_eq!(got.len(), total, "at {:?}; {}", pair.now, pair.hosts[C].ss_tcp(pair.now));
    assert!(got == data);
    assert!(pair.counter(C, Counter::TcpExtTCPSackRecovery) > 0);
    assert!(pair.counter(C, Counter::TcpExtTCPFastRetrans) > 0);
}

/// 9f: nothing was received before, so the FIN is acknowledged at once: four segments.
#[test]
fn closing_takes_four_segments_and_ends_in_time_wait_9f() {
    let mut pair = Pair::new(10);
    let (client, server) = pair.established();
    pair.forget();
    pair.close(C, client);
    pair.run_ms(300);
    assert_eq!(pair.poll(S, server), 0x2005); // 12j: IN|OUT|RDHUP
    assert_eq!(pair.recv(S, server, 10), Ok(vec![]));
    assert_eq!(pair.states(S), ["CLOSE-WAIT"]);
    assert_eq!(pair.states(C), ["FIN-WAIT-2"]);
    pair.close(S, server);
    pair.run_ms(300);
    assert_eq!(pair.trace(), ["C F. 1 ack 1", "S . 1 ack 2", "S F. 1 ack 2", "C . 2 ack 2"]);
    assert_eq!(pair.states(C), ["TIME-WAIT"]);
    assert_eq!(pair.states(S), Vec::<String>::new());
    pair.run_secs(63);
    assert_eq!(pair.states(C), Vec::<String>::new());
}

/// 9e: FIN, FIN, ACK, ACK; both sides pass CLOSING to TIME_WAIT.
#[test]
fn simultaneous_close_leaves_time_wait_on_both_sides_9e() {
    let mut pair = Pair::new(20);
    let (client, server) = pair.established();
    pair.forget();
    pair.close(C, client);
    pair.close(S, server);
    pair.run_ms(100);
    let flags: Vec<Flags> = pair.seen.iter().map(|s| s.flags).collect();
    let fin = Flags::FIN | Flags::ACK;
    assert_eq!(flags, [fin, fin, Flags::ACK, Flags::ACK]);
    assert_eq!(pair.states(C), ["TIME-WAIT"]);
    assert_eq!(pair.states(S), ["TIME-WAIT"]);
}

/// 5f: close() with unread data sends RST, no FIN; the peer reads ECONNRESET.
#[test]
fn close_with_unread_data_resets_5f() {
    let mut pair = Pair::new(0);
    let (client, server) = pair.established();
    pair.send(S, server, 20).unwrap();
    pair.run_ms(10);
    pair.forget();
    pair.close(C, client);
    pair.run_ms(10);
    assert_eq!(pair.trace(), ["C R. 1 ack 21"]);
    assert_eq!(pair.poll(S, server), 0x201d); // 12j
    assert_eq!(pair.recv(S, server, 10), Err(Errno::ECONNRESET));
    assert_eq!(pair.send(S, server, 10), Err(Errno::EPIPE));
    assert_eq!(pair.counter(C, Counter::TcpExtTCPAbortOnClose), 1);
}

/// 5g: SO_LINGER{1,0}: RST, no TIME_WAIT.
#[test]
fn linger_zero_aborts_5g() {
    let mut pair = Pair::new(0);
    let (client, server) = pair.established();
    let value = crate::call::OptValue::Linger(true, 0);
    pair.call(C, &Call::SetSockOpt { fd: client, opt: SockOpt::SO_LINGER, value }).unwrap();
    pair.forget();
    pair.close(C, client);
    pair.run_ms(10);
    assert_eq!(pair.trace(), ["C R. 1 ack 1"]);
    assert_eq!(pair.states(C), Vec::<String>::new());
    assert_eq!(pair.recv(S, server, 10), Err(Errno::ECONNRESET));
}

/// 5g2, 5g3: SO_LINGER{1,3} waits for the FIN's ACK, at most 3 seconds, and returns 0 either way.
#[test]
fn linger_waits_for_the_ack_of_the_fin_5g3() {
    for (dead, least, most) in [(false, 0.05, 0.2), (true, 3.0, 3.3)] {
        let mut pair = Pair::new(50);
        let (client, _server) = pair.established();
        let value = crate::call::OptValue::Linger(true, 3);
        pair.call(C, &Call::SetSockOpt { fd: client, opt: SockOpt::SO_LINGER, value }).unwrap();
        if dead {
            pair.rule = Box::new(|_| Fate::Drop);
        }
        let begin = pair.now;
        let done = pair.wait(C, &Call::Close { fd: client }, Duration::from_secs(10));
        assert_eq!(done, Some(Ok(Ret::Int(0))));
        let took = (pair.now - begin).as_secs_f64();
        assert!((least..most).contains(&took), "{took}");
        assert_eq!(pair.states(C).len(), 1, "it goes on as an orphan");
    }
}

/// 4o, 4l2: after shutdown(WR) data is received normally, and the peer's FIN ends it.
#[test]
fn half_close_still_receives_4l2() {
    let mut pair = Pair::new(10);
    let (client, server) = pair.established();
    pair.call(C, &Call::Shutdown { fd: client, how: Shutdown::Wr }).unwrap();
    pair.run_ms(100);
    assert_eq!(pair.recv(S, server, 10), Ok(vec![]));
    assert_eq!(pair.send(S, server, 3), Ok(3));
    pair.run_ms(100);
    assert_eq!(pair.recv(C, client, 10), Ok(vec![0, 1, 2]));
    assert_eq!(pair.send(C, client, 1), Err(Errno::EPIPE));
    pair.close(S, server);
    pair.run_ms(100);
    assert_eq!(pair.recv(C, client, 10), Ok(vec![]));
    assert_eq!(pair.states(C).iter().filter(|s| *s == "TIME-WAIT").count(), 1);
}

/// A blocking send of more than the buffers hold returns when all of it was taken.
#[test]
fn a_blocking_send_takes_everything() {
    let mut pair = Pair::new(10);
    let (client, server) = pair.established();
    pair.call(C, &Call::SetFl { fd: client, nonblock: false }).unwrap();
    let call = Call::Send { fd: client, data: Data::Filler(400_000), flags: MsgFlags(0) };
    let mut received = 0;
    let mut outcome = None;
    for _ in 0..500 {
        outcome = pair.wait(C, &call, Duration::from_millis(20));
        if let Ok(data) = pair.recv(S, server, 1 << 20) {
            received += data.len();
        }
        if outcome.is_some() {
            break;
        }
    }
    assert_eq!(outcome, Some(Ok(Ret::Int(400_000))));
    pair.run_secs(1);
    while let Ok(data) = pair.recv(S, server, 1 << 20) {
        received += data.len();
        pair.run_ms(100);
    }
    assert_eq!(received, 400_000);
}
