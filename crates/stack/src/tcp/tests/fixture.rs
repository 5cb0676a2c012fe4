//! Two hosts on one link of chosen delay, packets dropped or changed by rule, times as the kernel's wheel has them.

use core::time::Duration;
use std::net::SocketAddr;

use wire::tcp::{Flags, Header};
use wire::{Frame, Instant, Medium};

use crate::call::{
    Call, Data, Domain, Fd, MsgFlags, OptValue, Outcome, PollEvents, Ret, SockAddr, SockOpt, SockType,
};
use crate::iface::NewAddr4;
use crate::mib::Counter;
use crate::socket::Pid;
use crate::{Errno, Granularity, Stack, StackConfig};

/// The client's host and the server's, as indexes.
pub(super) const C: usize = 0;
pub(super) const S: usize = 1;

/// One segment that a host sent, seen at its NIC; numbers relative to both ISNs.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) from: usize,
    pub(super) flags: Flags,
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) len: usize,
    pub(super) header: Header,
    pub(super) dropped: bool,
}

impl Seen {
    /// Seconds since the start of the run.
    pub(super) fn secs(&self) -> f64 {
        self.at.as_secs_f64()
    }
}

/// What a rule does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Pass,
    Drop,
    /// Later by so many milliseconds.
    Delay(u64),
    /// With "congestion experienced".
    Mark,
}

type Rule = Box<dyn FnMut(&Seen) -> Fate>;

/// Nothing that `host` sends arrives.
pub(super) fn mute(host: usize) -> Rule {
    Box::new(move |s| if s.from == host { Fate::Drop } else { Fate::Pass })
}

/// The pair.
pub(super) struct Pair {
    pub(super) hosts: Vec<Stack>,
    pub(super) now: Instant,
    pub(super) delay: Duration,
    pub(super) rule: Rule,
    pub(super) seen: Vec<Seen>,
    /// The segments themselves, with who sent them.
    pub(super) frames: Vec<(usize, Frame)>,
    wire: Vec<(Instant, u64, usize, Frame)>,
    serial: u64,
    isn: [Option<u32>; 2],
    pub(super) pids: [Pid; 2],
}

pub(super) const ADDRS: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

pub(super) fn addr(host: usize, port: u16) -> SockAddr {
    SockAddr::Ip(SocketAddr::new(ADDRS[host].parse().unwrap(), port))
}

/// Sets "congestion experienced" in an IPv4 header.
fn mark(frame: &mut Frame) {
    frame.linearize();
    let (mut ip, n) = wire::ipv4::Header::parse(frame.head()).expect("our own packet");
    ip.tos |= 3;
    ip.emit(&mut frame.head_mut()[..n]);
}

/// Turns of the loop that one call of [`Pair::run_for`] may take: more is a bug.
const MAX_TURNS: usize = 2_000_000;

impl Pair {
    pub(super) fn new(rtt_ms: u64) -> Pair {
        Pair::with(rtt_ms, Granularity::Wheel { hz: 250 })
    }

    pub(super) fn with(rtt_ms: u64, granularity: Granularity) -> Pair {
        Pair::of(rtt_ms, granularity, crate::KernelProfile::default())
    }

    /// Both hosts like that kernel.
    pub(super) fn of(rtt_ms: u64, granularity: Granularity, profile: crate::KernelProfile) -> Pair {
        // A start away from 0, so that no clock shows 0.
        let now = Instant::from_secs(1000);
        let mut hosts = Vec::new();
        for (n, address) in ADDRS.iter().enumerate() {
            let config = StackConfig {
                name: format!("host{n}"),
                granularity,
                seed: 42,
                profile,
                ..StackConfig::default()
            };
            let mut host = Stack::new(config);
            host.sysctl_write(now, "net.ipv6.conf.default.disable_ipv6", "1").unwrap();
            let ifindex = host.add_interface("tun0", Medium::Ip, wire::MacAddr([0; 6]), 1500);
            host.link_set_up(now, ifindex, true).unwrap();
            host.addr_add4(now, ifindex, &NewAddr4::new(address.parse().unwrap(), 24)).unwrap();
            hosts.push(host);
        }
        let pids = [hosts[0].spawn(), hosts[1].spawn()];
        Pair {
            hosts,
            now,
            delay: Duration::from_micros(rtt_ms * 500 + 100),
            rule: Box::new(|_| Fate::Pass),
            seen: Vec::new(),
            frames: Vec::new(),
            wire: Vec::new(),
            serial: 0,
            isn: [None; 2],
            pids,
        }
    }

    pub(super) fn sysctl(&mut self, host: usize, name: &str, value: &str) {
        self.hosts[host].sysctl_write(self.now, name, value).unwrap();
    }

    /// Begins the record anew: times and sequence numbers count from the next packets on.
    pub(super) fn forget(&mut self) {
        self.seen.clear();
        self.frames.clear();
    }

    pub(super) fn start(&self) -> Instant {
        Instant::from_secs(1000)
    }

    /// A call that must not block; errors are results.
    pub(super) fn call(&mut self, host: usize, call: &Call) -> Result<Ret, Errno> {
        let pid = self.pids[host];
        match self.hosts[host].call(self.now, pid, call) {
            Outcome::Done(result) => {
                self.carry();
                result
            }
            Outcome::Block { .. } => panic!("{call:?} blocks"),
        }
    }

    /// A call that sleeps until it returns, at most `limit`.
    pub(super) fn wait(&mut self, host: usize, call: &Call, limit: Duration) -> Option<Result<Ret, Errno>> {
        let end = self.now + limit;
        loop {
            match self.hosts[host].call(self.now, self.pids[host], call) {
                Outcome::Done(result) => {
                    self.carry();
                    return Some(result);
                }
                Outcome::Block { .. } => {}
            }
            self.carry();
            loop {
                if self.hosts[host].poll_wakeup().is_some() {
                    break;
                }
                if !self.turn(end) {
                    return None;
                }
            }
        }
    }

    pub(super) fn socket(&mut self, host: usize, nonblock: bool) -> Fd {
        let call = Call::Socket { domain: Domain::Inet, ty: SockType::Stream, protocol: 0, nonblock };
        match self.call(host, &call) {
            Ok(Ret::Fd(fd, _)) => fd,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn set(&mut self, host: usize, fd: Fd, opt: SockOpt, n: i64) {
        self.call(host, &Call::SetSockOpt { fd, opt, value: OptValue::Int(n) }).unwrap();
    }

    pub(super) fn listen(&mut self, port: u16, backlog: i32) -> Fd {
        let fd = self.socket(S, true);
        self.set(S, fd, SockOpt::SO_REUSEADDR, 1);
        self.call(S, &Call::Bind { fd, addr: addr(S, port) }).unwrap();
        self.call(S, &Call::Listen { fd, backlog }).unwrap();
        fd
    }

    pub(super) fn connect(&mut self, fd: Fd, port: u16) -> Result<Ret, Errno> {
        self.call(C, &Call::Connect { fd, addr: addr(S, port) })
    }

    pub(super) fn accept(&mut self, fd: Fd) -> Result<Fd, Errno> {
        match self.call(S, &Call::Accept { fd, nonblock: true }) {
            Ok(Ret::Fd(fd, _)) => Ok(fd),
            Err(errno) => Err(errno),
            other => panic!("{other:?}"),
        }
    }

    /// A connection: the client's descriptor and the server's.
    pub(super) fn established(&mut self) -> (Fd, Fd) {
        let listener = self.listen(80, 128);
        let client = self.socket(C, true);
        assert_eq!(self.connect(client, 80), Err(Errno::EINPROGRESS));
        let wait = self.delay * 4 + Duration::from_millis(4);
        self.run_for(wait);
        let server = self.accept(listener).expect("a connection");
        self.call(S, &Call::Close { fd: listener }).unwrap();
        (client, server)
    }

    pub(super) fn send(&mut self, host: usize, fd: Fd, len: u32) -> Result<i64, Errno> {
        self.call(host, &Call::Send { fd, data: Data::Filler(len), flags: MsgFlags(0) }).map(|r| r.value())
    }

    pub(super) fn recv(&mut self, host: usize, fd: Fd, len: usize) -> Result<Vec<u8>, Errno> {
        match self.call(host, &Call::Recv { fd, len, flags: MsgFlags(0) }) {
            Ok(Ret::Data { data, .. }) => Ok(data.to_vec()),
            Err(errno) => Err(errno),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn close(&mut self, host: usize, fd: Fd) {
        self.call(host, &Call::Close { fd }).unwrap();
    }

    pub(super) fn poll(&mut self, host: usize, fd: Fd) -> u32 {
        let all = PollEvents(0x2000 | 0x1 | 0x4);
        match self.call(host, &Call::Poll { fds: vec![(fd, all)], timeout_ms: 0 }) {
            Ok(Ret::Poll(found)) => found[0].1.0,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn so_error(&mut self, host: usize, fd: Fd) -> i64 {
        match self.call(host, &Call::GetSockOpt { fd, opt: SockOpt::SO_ERROR }) {
            Ok(Ret::Opt(OptValue::Int(n))) => n,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn counter(&self, host: usize, counter: Counter) -> u64 {
        self.hosts[host].mib().value(counter)
    }

    /// States of a host's sockets, as `ss -tan` shows them.
    pub(super) fn states(&self, host: usize) -> Vec<String> {
        let text = self.hosts[host].ss_tcp(self.now);
        let rows = text.lines().skip(1).filter(|l| !l.starts_with('\t'));
        rows.map(|l| l.split_whitespace().next().unwrap().to_owned()).collect()
    }

    /// `who flags seq ack len window`, one a segment.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |s: &Seen| {
            let who = if s.from == C { 'C' } else { 'S' };
            format!("{who} {} {} {} {} {}", s.flags, s.seq, s.ack, s.len, s.header.window)
        };
        self.seen.iter().map(line).collect()
    }

    /// Hands a host a packet now.
    pub(super) fn inject(&mut self, host: usize, frame: &Frame) {
        self.hosts[host].handle_frame(self.now, 2, frame.clone());
        self.carry();
    }

    /// Carries what the hosts have sent onto the wire.
    pub(super) fn carry(&mut self) {
        for host in [C, S] {
            while let Some((_, mut frame)) = self.hosts[host].poll_transmit() {
                let seen = self.look(host, &frame);
                let mut at = self.now + self.delay;
                if let Some(mut seen) = seen {
                    let fate = (self.rule)(&seen);
                    seen.dropped = fate == Fate::Drop;
                    self.seen.push(seen);
                    self.frames.push((host, frame.clone()));
                    match fate {
                        Fate::Pass => {}
                        Fate::Drop => continue,
                        Fate::Mark => mark(&mut frame),
                        Fate::Delay(ms) => at += Duration::from_millis(ms),
                    }
                }
                self.serial += 1;
                self.wire.push((at, self.serial, 1 - host, frame));
            }
        }
    }

    fn look(&mut self, from: usize, frame: &Frame) -> Option<Seen> {
        let bytes = frame.to_vec();
        let (ip, n) = wire::ipv4::Header::parse(&bytes).ok()?;
        if ip.protocol != wire::ip::Protocol::TCP {
            return None;
        }
        assert!(wire::tcp::verify_v4(ip.src, ip.dst, &bytes[n..]), "a segment with a wrong checksum");
        let (header, h) = Header::parse(&bytes[n..]).expect("our own segment");
        if header.flags.syn() {
            self.isn[from] = Some(header.seq.0);
        }
        let relative = |n: u32, isn: Option<u32>| n.wrapping_sub(isn.unwrap_or(0));
        Some(Seen {
            at: Instant::from_nanos(self.now.as_nanos() - self.start().as_nanos()),
            from,
            flags: header.flags,
            seq: relative(header.seq.0, self.isn[from]),
            ack: if header.flags.ack() { relative(header.ack.0, self.isn[1 - from]) } else { 0 },
            len: bytes.len() - n - h,
            header,
            dropped: false,
        })
    }

    /// The next thing that happens, if it happens by `end`.
    pub(super) fn turn(&mut self, end: Instant) -> bool {
        self.carry();
        let arrival = self.wire.iter().map(|w| (w.0, w.1)).min();
        let timer = self.hosts.iter().filter_map(Stack::poll_timeout).min();
        let next = match (arrival.map(|a| a.0), timer) {
            (Some(a), Some(t)) => a.min(t),
            (Some(a), None) => a,
            (None, Some(t)) => t,
            (None, None) => end + Duration::from_nanos(1),
        };
        if next > end {
            self.now = end.max(self.now);
            return false;
        }
        self.now = self.now.max(next);
        if let Some((at, serial)) = arrival
            && at <= self.now
        {
            let index = self.wire.iter().position(|w| w.1 == serial).expect("it was found");
            let (_, _, to, frame) = self.wire.remove(index);
            self.hosts[to].handle_frame(self.now, 2, frame);
        } else {
            for host in &mut self.hosts {
                host.handle_timeout(self.now);
            }
        }
        self.carry();
        true
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..MAX_TURNS {
            if !self.turn(end) {
                return;
            }
        }
        panic!("events without end");
    }

    pub(super) fn run_secs(&mut self, seconds: u64) {
        self.run_for(Duration::from_secs(seconds));
    }

    pub(super) fn run_ms(&mut self, ms: u64) {
        self.run_for(Duration::from_millis(ms));
    }

    /// When segments for which `which` holds were sent, in seconds.
    pub(super) fn times(&self, which: impl Fn(&Seen) -> bool) -> Vec<f64> {
        self.seen.iter().filter(|s| which(s)).map(Seen::secs).collect()
    }

    /// The record in tcpdump's words, for messages and short comparisons: `C S`, `S S.`, `C . 1`.
    pub(super) fn trace(&self) -> Vec<String> {
        let name = |h: usize| if h == C { 'C' } else { 'S' };
        self.seen
            .iter()
            .map(|s| {
                let ack = if s.flags.ack() { format!(" ack {}", s.ack) } else { String::new() };
                let len = if s.len > 0 { format!(" len {}", s.len) } else { String::new() };
                let lost = if s.dropped { " LOST" } else { "" };
                format!("{} {} {}{ack}{len}{lost}", name(s.from), s.flags, s.seq)
            })
            .collect()
    }
}

/// Asserts that `got` are `nominal` seconds, each as late as the 250-Hz wheel may make it with the ones before.
#[track_caller]
pub(super) fn assert_schedule(got: &[f64], nominal: &[f64]) {
    assert_eq!(got.len(), nominal.len(), "got {got:?}, nominal {nominal:?}");
    let mut late = 0.004;
    let mut last = 0.0;
    for (g, n) in got.iter().zip(nominal) {
        let wait: f64 = n - last;
        late += match wait {
            w if w < 0.256 => 0.008,
            w if w < 2.0 => 0.036,
            w if w < 16.4 => 0.260,
            w if w < 131.0 => 2.1,
            _ => 16.5,
        };
        assert!(*g >= n - 0.0005 && *g <= n + late, "got {got:?}, nominal {nominal:?}");
        last = *n;
    }
}
