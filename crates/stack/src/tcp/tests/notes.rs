//! What the error queue tells a sender, against Linux 6.18.44 between two TUN devices, 10 ms each way.

use core::time::Duration;

use super::fixture::{C, Fate, Pair};
use crate::Errno;
use crate::call::{Call, Cmsg, Data, Fd, MsgFlags, OptValue, PollEvents, Ret, SockOpt};

fn connected() -> (Pair, Fd, Fd) {
    let mut pair = Pair::new(0);
    let (client, server) = pair.established();
    pair.delay = Duration::from_millis(10);
    // The estimate of the round trip follows.
    for _ in 0..4 {
        pair.send(C, client, 1).unwrap();
        pair.run_ms(100);
    }
    (pair, client, server)
}

fn send_zerocopy(pair: &mut Pair, fd: Fd, pieces: &[u32]) -> Result<Ret, Errno> {
    let data = pieces.iter().map(|n| Data::Filler(*n)).collect();
    pair.call(C, &Call::SendMsg { fd, addr: None, data, control: Vec::new(), flags: MsgFlags::ZEROCOPY })
}

/// `(bytes, stamped, ee_origin, ee_code, ee_info, ee_data)` of the next report.
fn report(pair: &mut Pair, fd: Fd, len: usize) -> Result<(usize, bool, u8, u8, u32, u32), Errno> {
    let call = Call::RecvMsg { fd, lens: vec![len], control_len: 512, flags: MsgFlags::ERRQUEUE };
    match pair.call(C, &call)? {
        Ret::Data { len, control, flags, .. } => {
            assert!(flags.has(MsgFlags::ERRQUEUE));
            let stamped = control.iter().any(|c| matches!(c, Cmsg::Other(1, 37, bytes) if bytes.len() == 48));
            match control.last() {
                Some(Cmsg::ExtendedErr { origin, code, info, data, .. }) => {
                    Ok((len, stamped, *origin, *code, *info, *data))
                }
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

/// Three calls acknowledged together are one range; each later call its own. The number is the call's.
#[test]
fn zero_copy_calls_are_reported_when_they_are_acknowledged() {
    let (mut pair, client, _server) = connected();
    pair.set(C, client, SockOpt::SO_ZEROCOPY, 1);
    for _ in 0..3 {
        assert_eq!(send_zerocopy(&mut pair, client, &[3000]), Ok(Ret::Int(3000)));
    }
    assert_eq!(report(&mut pair, client, 0), Err(Errno::EAGAIN));
    pair.run_ms(100);
    assert_eq!(pair.poll(C, client) & PollEvents::ERR.0, PollEvents::ERR.0);
    assert_eq!(report(&mut pair, client, 0), Ok((0, false, 5, 1, 0, 2)));
    assert_eq!(report(&mut pair, client, 0), Err(Errno::EAGAIN));
    send_zerocopy(&mut pair, client, &[100]).unwrap();
    pair.run_ms(50);
    pair.send(C, client, 100).unwrap();
    send_zerocopy(&mut pair, client, &[100]).unwrap();
    pair.run_ms(50);
    assert_eq!(report(&mut pair, client, 0), Ok((0, false, 5, 1, 3, 4)));
    assert_eq!(report(&mut pair, client, 0), Err(Errno::EAGAIN));
}

/// 18 pieces of a byte: 17 fit one packet (`MAX_SKB_FRAGS`), and it is pushed.
#[test]
fn pieces_of_a_zero_copy_call_fill_a_packet_before_its_bytes_do() {
    let (mut pair, client, _server) = connected();
    pair.set(C, client, SockOpt::SO_ZEROCOPY, 1);
    pair.forget();
    send_zerocopy(&mut pair, client, &[1; 18]).unwrap();
    pair.run_ms(100);
    let sent: Vec<_> = pair.seen.iter().filter(|s| s.from == C).map(|s| (s.flags.psh(), s.len)).collect();
    assert_eq!(sent, [(true, 17), (true, 1)]);
    assert_eq!(report(&mut pair, client, 0), Ok((0, false, 5, 1, 0, 0)));
    // Without the option the flag means nothing; a call that fails has no number.
    let (mut pair, client, _server) = connected();
    send_zerocopy(&mut pair, client, &[1; 18]).unwrap();
    pair.run_ms(100);
    assert_eq!(report(&mut pair, client, 0), Err(Errno::EAGAIN));
}

/// SCHED (1), SND (0) and ACK (2) of the last byte of a call; a repetition is scheduled and sent again.
#[test]
fn stamps_tell_when_the_last_byte_left_and_was_acknowledged() {
    const WISHES: i64 = 0x100 | 0x2 | 0x200 | 0x10 | 0x80;
    let (mut pair, client, _server) = connected();
    pair.set(C, client, SockOpt::SO_TIMESTAMPING, WISHES);
    pair.send(C, client, 5000).unwrap();
    pair.run_ms(100);
    for info in [1, 0, 2] {
        assert_eq!(report(&mut pair, client, 0), Ok((0, true, 4, 0, info, 4999)));
    }
    assert_eq!(report(&mut pair, client, 0), Err(Errno::EAGAIN));
    pair.send(C, client, 500).unwrap();
    pair.run_ms(100);
    let lens: Vec<_> = (0..3).map(|_| report(&mut pair, client, 5000).unwrap()).map(|r| (r.0, r.5)).collect();
    assert_eq!(lens, [(500, 5499); 3]);
    // OPT_TSONLY: without the bytes.
    pair.set(C, client, SockOpt::SO_TIMESTAMPING, WISHES | 1 << 11);
    let mut lost = 2;
    pair.rule = Box::new(move |s| {
        let drop = s.from == C && s.len > 0 && lost > 0;
        lost -= i32::from(drop);
        if drop { Fate::Drop } else { Fate::Pass }
    });
    pair.send(C, client, 500).unwrap();
    pair.run_ms(2000);
    for info in [1, 0, 1, 0, 1, 0, 2] {
        assert_eq!(report(&mut pair, client, 5000), Ok((0, true, 4, 0, info, 5999)));
    }
    assert_eq!(report(&mut pair, client, 0), Err(Errno::EAGAIN));
}

/// `sock_set_timestamping`: keys need a connection, statistics need `OPT_TSONLY`.
#[test]
fn stamps_that_make_no_sense_are_refused() {
    let (mut pair, client, _) = connected();
    let fresh = pair.socket(C, true);
    let mut set = |fd, n| {
        let call = Call::SetSockOpt { fd, opt: SockOpt::SO_TIMESTAMPING, value: OptValue::Int(n) };
        pair.call(C, &call).map(|_| ())
    };
    assert_eq!(set(fresh, 0x80), Err(Errno::EINVAL));
    assert_eq!(set(fresh, 0x102), Ok(()));
    assert_eq!(set(client, 1 << 12), Err(Errno::EINVAL));
    assert_eq!(set(client, 1 << 16), Err(Errno::EINVAL));
    assert_eq!(set(client, 1 << 30), Err(Errno::EINVAL));
    assert_eq!(set(client, 0x82), Ok(()));
}
