//! Anything may arrive in any state: forged segments, random calls. Nothing panics, and what ends is forgotten.

use core::time::Duration;

use wire::Frame;

use super::fixture::*;
use crate::call::{Call, Data, MsgFlags, OptValue, Shutdown, SockOpt};
use crate::mib::Counter;
use crate::rng::Rng;

/// Changes a segment: numbers near by or far off, flags, window, options, length; the checksums are made right.
fn forge(rng: &mut Rng, original: &Frame) -> Frame {
    let mut b = original.to_vec();
    let header = usize::from(b[32] >> 4) * 4;
    let near = |rng: &mut Rng, word: &mut [u8]| {
        let old = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
        let delta = match rng.below(5) {
            0 => 0,
            1 => rng.below(5) as u32,
            2 => (rng.below(5) as u32).wrapping_neg(),
            3 => (rng.below(200_000) as u32).wrapping_sub(100_000),
            _ => rng.next_u32(),
        };
        word.copy_from_slice(&old.wrapping_add(delta).to_be_bytes());
    };
    if rng.below(2) == 0 {
        near(rng, &mut b[24..28]);
    }
    if rng.below(2) == 0 {
        near(rng, &mut b[28..32]);
    }
    if rng.below(3) > 0 {
        b[33] = rng.next_u32() as u8;
    }
    if rng.below(3) == 0 {
        let window = rng.next_u32() as u16;
        b[34..36].copy_from_slice(&window.to_be_bytes());
    }
    if rng.below(4) == 0 {
        b[38] = rng.next_u32() as u8;
        b[39] = rng.next_u32() as u8;
    }
    if rng.below(4) == 0 {
        for byte in &mut b[40..20 + header] {
            if rng.below(4) == 0 {
                *byte = rng.next_u32() as u8;
            }
        }
    }
    match rng.below(4) {
        0 => b.truncate(20 + header),
        1 => b.extend(vec![7; rng.below(1500) as usize]),
        _ => {}
    }
    let total = u16::try_from(b.len()).unwrap();
    b[2..4].copy_from_slice(&total.to_be_bytes());
    b[10..12].fill(0);
    let sum = wire::checksum::sum(&b[..20]).finish();
    b[10..12].copy_from_slice(&sum.to_be_bytes());
    b[36..38].fill(0);
    let (ip, n) = wire::ipv4::Header::parse(&b).unwrap();
    let sum = wire::tcp::checksum_v4(ip.src, ip.dst, &b[n..]);
    b[36..38].copy_from_slice(&sum.to_be_bytes());
    Frame::from_slice(&b)
}

/// RFC 5961 §5.2, `tcp_ack`; the kernel's answers were seen with `wirelab run --twin` (6.18.44).
#[test]
fn an_acknowledgment_of_what_was_never_sent_is_answered_once_in_500_ms() {
    let mut pair = Pair::new(0);
    let (client, _server) = pair.established();
    pair.send(C, client, 10).expect("sends");
    pair.run_ms(100);
    let (_, frame) =
        pair.frames.iter().rfind(|(from, _)| *from == S).expect("the ACK of the ten bytes").clone();
    let mut b = frame.to_vec();
    let (ip, n) = wire::ipv4::Header::parse(&b).unwrap();
    b[n + 11] = b[n + 11].wrapping_add(5);
    b[n + 16..n + 18].fill(0);
    let sum = wire::tcp::checksum_v4(ip.src, ip.dst, &b[n..]);
    b[n + 16..n + 18].copy_from_slice(&sum.to_be_bytes());
    let forged = Frame::from_slice(&b);
    let challenges = |pair: &Pair| pair.counter(C, Counter::TcpExtTCPChallengeACK);
    pair.inject(C, &forged);
    assert_eq!(challenges(&pair), 1);
    pair.inject(C, &forged);
    assert_eq!(challenges(&pair), 1, "tcp_invalid_ratelimit");
    pair.run_ms(600);
    pair.inject(C, &forged);
    assert_eq!(challenges(&pair), 2);
}

fn random_call(rng: &mut Rng, fd: i32) -> Call {
    match rng.below(12) {
        0..=3 => Call::Send {
            fd,
            data: Data::Filler(rng.below(20_000) as u32),
            flags: MsgFlags([0, 0x8000, 0x80, 0x1][rng.below(4) as usize]),
        },
        4..=7 => Call::Recv {
            fd,
            len: rng.below(30_000) as usize,
            flags: MsgFlags([0, 0x2, 0x20, 0x1][rng.below(4) as usize]),
        },
        8 => Call::Shutdown { fd, how: if rng.below(2) == 0 { Shutdown::Wr } else { Shutdown::Rd } },
        9 => Call::SetSockOpt { fd, opt: SockOpt::TCP_CORK, value: OptValue::Int(rng.below(2) as i64) },
        10 => Call::SetSockOpt { fd, opt: SockOpt::SO_RCVBUF, value: OptValue::Int(rng.below(9000) as i64) },
        _ => Call::GetSockOpt { fd, opt: SockOpt::TCP_INFO },
    }
}

#[test]
fn forged_segments_in_every_state_do_no_harm() {
    harm(0..60);
}

/// `cargo test -p stack forged -- --ignored`
#[test]
#[ignore = "half a minute"]
fn forged_segments_do_no_harm_with_many_seeds() {
    harm(0..1500);
}

fn harm(seeds: core::ops::Range<u64>) {
    for seed in seeds {
        let mut rng = Rng::new(seed, "forged");
        let mut pair = Pair::new(rng.below(30));
        if rng.below(4) == 0 {
            pair.sysctl(S, "net.ipv4.tcp_sack", "0");
        }
        if rng.below(4) == 0 {
            pair.sysctl(S, "net.ipv4.tcp_timestamps", "0");
        }
        let name = ["cubic", "reno", "bbr"][rng.below(3) as usize];
        pair.sysctl(C, "net.ipv4.tcp_congestion_control", name);
        pair.sysctl(C, "net.ipv4.tcp_ecn", "1");
        pair.sysctl(C, "net.ipv4.tcp_mtu_probing", "2");
        let listener = pair.listen(80, 2);
        let client = pair.socket(C, true);
        let _ = pair.connect(client, 80);
        let mut loss = Rng::new(seed, "loss");
        pair.rule = Box::new(move |_| match loss.below(10) {
            0 => Fate::Drop,
            1 => Fate::Delay(loss.below(100)),
            _ => Fate::Pass,
        });
        let mut server = None;
        for _ in 0..150 {
            pair.run_for(Duration::from_micros(rng.below(30_000)));
            server = server.or_else(|| pair.accept(listener).ok());
            if rng.below(2) == 0 {
                let call = random_call(&mut rng, client);
                let _ = pair.call(C, &call);
            } else if let Some(fd) = server {
                let call = random_call(&mut rng, fd);
                let _ = pair.call(S, &call);
            }
            // Late in the run, so that there is a connection to harm.
            if rng.below(3) == 0 {
                let at = rng.below(pair.frames.len() as u64) as usize;
                let (from, frame) = pair.frames[at].clone();
                let forged = forge(&mut rng, &frame);
                pair.inject(1 - from, &forged);
            }
        }
        pair.close(C, client);
        if let Some(fd) = server {
            pair.close(S, fd);
        }
        pair.close(S, listener);
        pair.rule = Box::new(|_| Fate::Pass);
        pair.run_secs(400);
        for host in [C, S] {
            assert_eq!(pair.states(host), Vec::<String>::new(), "seed {seed}");
            let tcp = &pair.hosts[host].tcp;
            assert_eq!((tcp.ehash.len(), tcp.orphans, tcp.time_wait_count), (0, 0, 0), "seed {seed}");
        }
    }
}
