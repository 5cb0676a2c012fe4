//! Connections between hosts of a swarm's world: options and sysctls from its seed, data both ways in pieces of any size.
//!
//! What a side reads is what the other wrote, byte by byte and in order; after an orderly end it is all of it.

use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sim::program::{Action, Event, Program};
use stack::call::{
    Call, CallResult, Data, Domain, Fd, MsgFlags, OptValue, Ret, Shutdown, SockAddr, SockOpt, SockType,
};
use stack::errno::Errno;
use stack::rng::Rng;
use wire::Instant;

use super::common::Net;

/// Most that a side writes.
const MAX_BYTES: u64 = 200_000;
/// Most calls of a side: a connection that stands still ends nevertheless.
const MAX_CALLS: u32 = 400;
/// The first descriptor of a process.
const FIRST: Fd = 3;

/// One direction, as its writer knows it.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Bytes given to calls so far.
    offered: AtomicU64,
    /// Bytes that calls took.
    taken: AtomicU64,
    /// `shutdown(SHUT_WR)` or `close` was called, so that an end in order is due after `taken`.
    ended: AtomicBool,
    /// Its reader saw that end, with all before it.
    whole: AtomicBool,
}

impl Written {
    /// Whether all that was written was read, to an orderly end.
    pub(super) fn is_whole(&self) -> bool {
        self.whole.load(Ordering::Relaxed) && self.taken.load(Ordering::Relaxed) > 0
    }
}

/// Byte `at` of a direction.
fn byte(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// Adds up to three connections; both directions of each. With `exact` what arrives is compared; a world that flips bits twice in one packet may
/// make a checksum true again.
pub(super) fn add(net: &mut Net, rng: &mut Rng, hosts: &[String], exact: bool) -> Vec<Arc<Written>> {
    let mut all = Vec::new();
    for host in hosts {
        sysctls(net, rng, host);
    }
    for n in 0..rng.below(4) {
        let pick = |rng: &mut Rng| hosts[rng.below(hosts.len() as u64) as usize].clone();
        let (client, server) = (pick(rng), pick(rng));
        let port = 80 + u16::try_from(n).expect("small");
        let addr = SockAddr::Ip(SocketAddr::new(net.addr(&server), port));
        let ways: [Arc<Written>; 2] = Default::default();
        all.extend(ways.iter().cloned());
        let begin = rng.below(3000);
        let mut side = |rng: &mut Rng, name: &str, host: &str, calls: Vec<Call>, at: u64, way: usize| {
            let side = Side {
                rng: rng.fork(name),
                calls: calls.into_iter().rev().collect(),
                fd: None,
                out: Arc::clone(&ways[way]),
                peer: Arc::clone(&ways[1 - way]),
                total: rng.below(MAX_BYTES) >> rng.below(16),
                got: 0,
                left: MAX_CALLS,
                doing: Doing::Preparing,
                exact,
            };
            let node = net.node(host);
            net.world.spawn(node, name, Instant::from_millis(at), Box::new(side));
        };
        let any = SockAddr::Ip(SocketAddr::new("0.0.0.0".parse().expect("an address"), port));
        let mut calls = prepare(&mut rng.fork(&format!("listen {n}")));
        calls.push(Call::Bind { fd: FIRST, addr: any });
        calls.push(Call::Listen { fd: FIRST, backlog: (n as i32) * 3 });
        calls.push(Call::Accept { fd: FIRST, nonblock: false });
        side(rng, &format!("server{n}"), &server, calls, begin, 0);
        let mut calls = prepare(&mut rng.fork(&format!("connect {n}")));
        calls.push(Call::Connect { fd: FIRST, addr });
        side(rng, &format!("client{n}"), &client, calls, begin + 1, 1);
    }
    all
}

/// Some hosts have other settings than Linux's own.
fn sysctls(net: &mut Net, rng: &mut Rng, host: &str) {
    const SETTINGS: [(&str, &[&str]); 16] = [
        ("tcp_sack", &["0"]),
        ("tcp_dsack", &["0"]),
        ("tcp_timestamps", &["0", "2"]),
        ("tcp_window_scaling", &["0"]),
        ("tcp_ecn", &["0", "1"]),
        ("tcp_congestion_control", &["reno", "bbr"]),
        ("tcp_recovery", &["0", "3"]),
        ("tcp_early_retrans", &["0"]),
        ("tcp_frto", &["0"]),
        ("tcp_mtu_probing", &["1", "2"]),
        ("tcp_rmem", &["4096 4096 4096", "4096 20000 6291456"]),
        ("tcp_wmem", &["4096 4608 8192"]),
        ("tcp_fin_timeout", &["3"]),
        // Not 2: a cookie also fits a FIN whose up to three bytes before it were lost, as Linux's does (seed 2264 found it).
        ("tcp_syncookies", &["0"]),
        ("tcp_shrink_window", &["1"]),
        ("tcp_abort_on_overflow", &["1"]),
    ];
    for (name, values) in SETTINGS {
        if rng.below(6) == 0 {
            net.sysctl(host, &format!("net.ipv4.{name}"), values[rng.below(values.len() as u64) as usize]);
        }
    }
}

/// A socket with some options.
fn prepare(rng: &mut Rng) -> Vec<Call> {
    let mut calls =
        vec![Call::Socket { domain: Domain::Inet, ty: SockType::Stream, protocol: 0, nonblock: false }];
    let mut set = |opt: SockOpt, value: OptValue| calls.push(Call::SetSockOpt { fd: FIRST, opt, value });
    // Nobody sleeps for ever.
    set(SockOpt::SO_RCVTIMEO, OptValue::Timeval(4, 0));
    set(SockOpt::SO_SNDTIMEO, OptValue::Timeval(3, 0));
    let options: [(SockOpt, &[i64]); 12] = [
        (SockOpt::TCP_NODELAY, &[1]),
        (SockOpt::TCP_CORK, &[1]),
        (SockOpt::SO_RCVBUF, &[1, 4000, 100_000]),
        (SockOpt::SO_SNDBUF, &[1, 10_000]),
        (SockOpt::TCP_MAXSEG, &[100, 536]),
        (SockOpt::SO_KEEPALIVE, &[1]),
        (SockOpt::TCP_KEEPIDLE, &[1]),
        (SockOpt::TCP_USER_TIMEOUT, &[500, 5000]),
        (SockOpt::TCP_DEFER_ACCEPT, &[2]),
        (SockOpt::TCP_QUICKACK, &[0]),
        (SockOpt::TCP_NOTSENT_LOWAT, &[2000]),
        (SockOpt::TCP_WINDOW_CLAMP, &[3000]),
    ];
    for (opt, values) in options {
        if rng.below(6) == 0 {
            set(opt, OptValue::Int(values[rng.below(values.len() as u64) as usize]));
        }
    }
    if rng.below(8) == 0 {
        set(SockOpt::SO_LINGER, OptValue::Linger(true, rng.below(3) as i32));
    }
    calls
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Preparing,
    /// Its last call wrote so many bytes.
    Writing(u64),
    Reading,
    Peeking,
    /// Asking, sleeping.
    Other,
    ShuttingDown,
    Draining,
    Closing,
}

/// One end of a connection.
struct Side {
    rng: Rng,
    /// What comes before data, the next one last.
    calls: Vec<Call>,
    fd: Option<Fd>,
    out: Arc<Written>,
    peer: Arc<Written>,
    /// How much it means to write.
    total: u64,
    /// How much it has read.
    got: u64,
    left: u32,
    doing: Doing,
    exact: bool,
}

impl Program for Side {
    fn resume(&mut self, now: Instant, event: Event) -> Action {
        let result = match event {
            Event::Start | Event::AdminDone(_) | Event::Woke => Ok(Ret::Int(0)),
            Event::Returned(result) => result,
        };
        if let Some(next) = self.calls.pop() {
            return Action::Call(next);
        }
        if self.doing == Doing::Preparing {
            // The last call was `connect` or `accept`.
            match result {
                Ok(Ret::Fd(fd, _)) => self.fd = Some(fd),
                Ok(_) => self.fd = Some(FIRST),
                Err(_) => return Action::Exit(1),
            }
            self.doing = Doing::Other;
            return self.next(now);
        }
        if self.took(&result) { self.close() } else { self.next(now) }
    }
}

impl Side {
    fn fd(&self) -> Fd {
        self.fd.expect("connected")
    }

    /// What the last call did; whether there is nothing more to do than to close.
    fn took(&mut self, result: &CallResult) -> bool {
        match (self.doing, result) {
            (Doing::Closing, _) => self.left = 0,
            (Doing::Writing(len), Ok(ret)) => {
                let taken = u64::try_from(ret.value()).expect("a count");
                assert!(taken <= len, "took {taken} of {len}");
                self.out.taken.fetch_add(taken, Ordering::Relaxed);
                let at = self.out.taken.load(Ordering::Relaxed);
                self.out.offered.store(at, Ordering::Relaxed);
            }
            (Doing::Reading | Doing::Draining, Ok(Ret::Data { data, .. })) if data.is_empty() => {
                self.end_of_data();
                return self.doing == Doing::Draining;
            }
            (Doing::Reading | Doing::Draining, Ok(Ret::Data { data, .. })) => {
                self.compare(data);
                self.got += data.len() as u64;
            }
            (Doing::Peeking, Ok(Ret::Data { data, .. })) => self.compare(data),
            (_, Err(e)) => return *e != Errno::EAGAIN,
            _ => {}
        }
        false
    }

    fn compare(&self, data: &[u8]) {
        let end = self.got + data.len() as u64;
        let offered = self.peer.offered.load(Ordering::Relaxed);
        assert!(end <= offered, "read up to {end} of {offered} that were written");
        if self.exact {
            let wrong = data.iter().zip(self.got..).find(|(b, at)| **b != byte(*at));
            assert_eq!(wrong, None, "after {} bytes another byte than was written", self.got);
        }
    }

    fn end_of_data(&self) {
        assert!(self.peer.ended.load(Ordering::Relaxed), "an end that nobody made");
        assert_eq!(self.got, self.peer.taken.load(Ordering::Relaxed), "an end in order before all was read");
        self.peer.whole.store(true, Ordering::Relaxed);
    }

    fn next(&mut self, now: Instant) -> Action {
        if self.left == 0 {
            return if self.doing == Doing::Closing { Action::Exit(0) } else { self.close() };
        }
        self.left -= 1;
        let fd = self.fd();
        let at = self.out.taken.load(Ordering::Relaxed);
        if matches!(self.doing, Doing::ShuttingDown | Doing::Draining) {
            self.doing = Doing::Draining;
            return Action::Call(Call::Read { fd, len: 1 + self.rng.below(30_000) as usize });
        }
        match self.rng.below(10) {
            0..4 if at < self.total => {
                let len = (1 + self.rng.below(20_000)).min(self.total - at);
                let data: Vec<u8> = (at..at + len).map(byte).collect();
                self.out.offered.store(at + len, Ordering::Relaxed);
                self.doing = Doing::Writing(len);
                let flags = if self.rng.below(8) == 0 { MsgFlags::MORE } else { MsgFlags(0) };
                Action::Call(Call::Send { fd, data: Data::Literal(data.into()), flags })
            }
            0..4 => {
                self.doing = Doing::ShuttingDown;
                self.out.ended.store(true, Ordering::Relaxed);
                Action::Call(Call::Shutdown { fd, how: Shutdown::Wr })
            }
            4..8 => {
                self.doing = Doing::Reading;
                let len = 1 + self.rng.below(20_000) as usize;
                let wait = [MsgFlags(0), MsgFlags::DONTWAIT, MsgFlags::WAITALL][self.rng.below(3) as usize];
                let peek = self.rng.below(6) == 0;
                if peek {
                    self.doing = Doing::Peeking;
                }
                let flags = if peek { MsgFlags::PEEK | MsgFlags::DONTWAIT } else { wait };
                Action::Call(Call::Recv { fd, len, flags })
            }
            8 => {
                self.doing = Doing::Other;
                let opt =
                    [SockOpt::TCP_INFO, SockOpt::SO_SNDBUF, SockOpt::TCP_MAXSEG][self.rng.below(3) as usize];
                Action::Call(Call::GetSockOpt { fd, opt })
            }
            _ => {
                self.doing = Doing::Other;
                Action::SleepUntil(now + Duration::from_millis(self.rng.below(1500)))
            }
        }
    }

    fn close(&mut self) -> Action {
        self.doing = Doing::Closing;
        self.left = 0;
        self.out.ended.store(true, Ordering::Relaxed);
        Action::Call(Call::Close { fd: self.fd() })
    }
}
