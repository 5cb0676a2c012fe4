//! One flow of bytes between two hosts in memory, MTU 1500.

use std::hint::black_box;

use stack::Errno;
use stack::call::{Fd, SockOpt};
use wire::Frame;

use crate::duo::{Duo, Host};
use crate::{Args, Bar, compare, cpu, smol};

/// What a program writes at once.
const CHUNK: usize = 64 << 10;
/// Of both buffers.
const BUFFER: i64 = 1 << 20;

pub(crate) fn rows(args: &Args) {
    let total = args.scaled(2 << 30);
    let mut theirs = || smol::bulk(total, BUFFER as usize, true);
    let ours = || bulk(total, false);
    compare(args, "bulk frame at a time", "Gbit/s", Bar::ratio(1.0, 1.4), ours, Some(&mut theirs));
    let mut theirs = || smol::bulk(total, BUFFER as usize, false);
    let ours = || bulk(total, true);
    compare(args, "super 64 KiB super-segments", "Gbit/s", Bar::ratio(1.4, 2.0), ours, Some(&mut theirs));
}

/// Reads until a read is short.
fn read_all(host: &mut Host, now: wire::Instant, fd: Fd, target: &mut [u8]) -> u64 {
    let mut got = 0;
    loop {
        match host.stack.recv_into(now, host.pid, fd, target) {
            Ok(n) => {
                black_box(&target[..n]);
                got += n as u64;
                if n < target.len() {
                    return got;
                }
            }
            Err(Errno::EAGAIN) => return got,
            Err(errno) => panic!("{errno:?}"),
        }
    }
}

fn write_all(host: &mut Host, now: wire::Instant, fd: Fd, from: &[u8], limit: u64) -> u64 {
    let mut sent = 0;
    while sent < limit {
        match host.stack.send_from(now, host.pid, fd, from) {
            Ok(n) => sent += n as u64,
            Err(Errno::EAGAIN) => break,
            Err(errno) => panic!("{errno:?}"),
        }
    }
    sent
}

/// Gbit/s of CPU time: every frame is given to the receiver alone, which reads and may answer, as a simulator does it.
fn bulk(total: u64, tso: bool) -> f64 {
    let mut duo = Duo::new(&[]);
    duo.client.stack.link_set_tso(duo.client.nic, tso).expect("an interface");
    let listener = duo.server.listen(duo.now, 5000);
    duo.server.set(duo.now, listener, SockOpt::SO_RCVBUFFORCE, BUFFER);
    let (fd, accepted) = duo.connect(listener, 5000);
    duo.client.set(duo.now, fd, SockOpt::SO_SNDBUFFORCE, BUFFER / 2);
    let source: Vec<u8> = (0..CHUNK).map(|i| (i % 251) as u8).collect();
    let mut target = vec![0; CHUNK];
    let (mut sent, mut got) = (0, 0);
    let mut answers: Vec<Frame> = Vec::new();
    let start = cpu();
    while got < total {
        let Duo { client, server, now, frames } = &mut duo;
        *now += core::time::Duration::from_micros(10);
        client.stack.handle_timeout(*now);
        server.stack.handle_timeout(*now);
        sent += write_all(client, *now, fd, &source, total - sent.min(total));
        loop {
            let before = frames[0] + frames[1];
            while let Some((_, frame)) = client.stack.poll_transmit() {
                frames[0] += 1;
                server.stack.handle_frame(*now, server.nic, frame);
                got += read_all(server, *now, accepted, &mut target);
                while let Some((_, frame)) = server.stack.poll_transmit() {
                    frames[1] += 1;
                    answers.push(frame);
                }
            }
            for frame in answers.drain(..) {
                client.stack.handle_frame(*now, client.nic, frame);
            }
            if frames[0] + frames[1] == before {
                break;
            }
            *now += core::time::Duration::from_micros(1);
        }
    }
    let spent = cpu() - start;
    if std::env::var_os("TCP_BENCH_TELL").is_some() {
        eprintln!(
            "bulk: {} data frames, {} acks, {:.1} ns a data frame",
            duo.frames[0],
            duo.frames[1],
            spent * 1e9 / duo.frames[0] as f64
        );
    }
    got as f64 * 8e-9 / spent
}
