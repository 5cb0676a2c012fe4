//! `traceroute`: UDP probes with rising TTL, and who says that it ran out.
//!
//! Dmitry Butskoy's traceroute, default method: a socket for each probe, `IP_RECVERR`, ports from 33434 on.

use core::time::Duration;
use std::net::{IpAddr, SocketAddr};

use stack::Errno;
use stack::call::{
    Call, CallResult, Cmsg, Data, Domain, Fd, MsgFlags, OptValue, PollEvents, Ret, SockAddr, SockOpt,
    SockType,
};
use wire::Instant;

use super::{Action, Event, Program};

/// What `traceroute` is told on its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracerouteOptions {
    /// As the user wrote it.
    pub name: String,
    /// Whither.
    pub target: IpAddr,
    /// `-f`
    pub first_ttl: u8,
    /// `-m`
    pub max_ttl: u8,
    /// `-q`: probes for each hop.
    pub probes: u8,
    /// `-N`: probes on the way at once.
    pub simultaneous: usize,
    /// `-w MAX`: how long an answer is waited for. (The real one also gives up sooner when others answered
    /// quickly, its `HERE` and `NEAR`; this one does not.)
    pub wait: Duration,
    /// Bytes of a probe with all its headers.
    pub packet_len: u16,
    /// The first probe's destination port.
    pub port: u16,
}

impl TracerouteOptions {
    /// `traceroute -n TARGET`.
    pub fn new(target: IpAddr) -> TracerouteOptions {
        TracerouteOptions {
            name: target.to_string(),
            target,
            first_ttl: 1,
            max_ttl: 30,
            probes: 3,
            simultaneous: 16,
            wait: Duration::from_secs(5),
            packet_len: if target.is_ipv4() { 60 } else { 80 },
            port: 33_434,
        }
    }
}

/// One probe.
#[derive(Clone, Debug, Default)]
struct Probe {
    fd: Fd,
    sent: Option<Instant>,
    answer: Option<Answer>,
    over: bool,
}

#[derive(Clone, Debug)]
struct Answer {
    who: IpAddr,
    us: u64,
    remark: &'static str,
}

/// What was asked of the kernel last; the number is the probe's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Socket(usize),
    Setup(usize, usize),
    Send(usize),
    Poll,
    Receive(usize),
    Close,
}

/// `traceroute` as a program.
#[derive(Debug)]
pub struct Traceroute {
    options: TracerouteOptions,
    probes: Vec<Probe>,
    /// Probes from here on are not needed: the target answered.
    end: usize,
    waiting: Waiting,
    /// Probes whose socket has an error to read.
    ready: Vec<usize>,
    /// Probes that were printed.
    printed: usize,
    output: Vec<String>,
}

impl Traceroute {
    /// A `traceroute` that has not started.
    pub fn new(options: TracerouteOptions) -> Traceroute {
        let hops = usize::from(options.max_ttl.saturating_sub(options.first_ttl)) + 1;
        let end = hops * usize::from(options.probes);
        Traceroute {
            probes: vec![Probe::default(); end],
            end,
            waiting: Waiting::Poll,
            ready: Vec::new(),
            printed: 0,
            output: Vec::new(),
            options,
        }
    }

    fn ttl(&self, probe: usize) -> u8 {
        let hop = probe / usize::from(self.options.probes);
        self.options.first_ttl.saturating_add(u8::try_from(hop).unwrap_or(u8::MAX))
    }

    fn ipv6(&self) -> bool {
        self.options.target.is_ipv6()
    }

    /// What comes next: an answer to read, a probe to send, or waiting.
    fn next(&mut self, now: Instant) -> Action {
        if let Some(probe) = self.ready.pop() {
            self.waiting = Waiting::Receive(probe);
            let flags = MsgFlags::ERRQUEUE | MsgFlags::DONTWAIT;
            let fd = self.probes[probe].fd;
            return Action::Call(Call::RecvMsg { fd, lens: vec![1280], control_len: 1024, flags });
        }
        if let Some(fd) = self.expire(now) {
            self.waiting = Waiting::Close;
            return Action::Call(Call::Close { fd });
        }
        self.print();
        if self.printed >= self.end {
            return Action::Exit(0);
        }
        let in_flight = self.in_flight().count();
        let unsent = self.probes[..self.end].iter().position(|p| p.sent.is_none() && !p.over);
        match unsent {
            Some(probe) if in_flight < self.options.simultaneous.max(1) => {
                self.waiting = Waiting::Socket(probe);
                let domain = if self.ipv6() { Domain::Inet6 } else { Domain::Inet };
                let (ty, protocol) = (SockType::Dgram, 17);
                Action::Call(Call::Socket { domain, ty, protocol, nonblock: false })
            }
            _ => self.poll(now),
        }
    }

    fn in_flight(&self) -> impl Iterator<Item = &Probe> {
        self.probes[..self.end].iter().filter(|p| p.sent.is_some() && !p.over)
    }

    /// The socket of a probe that was waited for long enough, or is not needed any more.
    fn expire(&mut self, now: Instant) -> Option<Fd> {
        let (end, wait) = (self.end, self.options.wait);
        let mut open = self.probes.iter_mut().enumerate().filter(|(_, p)| p.sent.is_some() && !p.over);
        let (_, probe) = open.find(|(i, p)| *i >= end || p.sent.is_some_and(|at| now >= at + wait))?;
        probe.over = true;
        Some(probe.fd)
    }

    fn poll(&mut self, now: Instant) -> Action {
        self.waiting = Waiting::Poll;
        let until = self.in_flight().filter_map(|p| p.sent).min().map_or(now, |at| at + self.options.wait);
        let ms = (until - now).as_nanos().div_ceil(1_000_000);
        let fds = self.in_flight().map(|p| (p.fd, PollEvents::ERR)).collect();
        Action::Call(Call::Poll { fds, timeout_ms: i32::try_from(ms).unwrap_or(i32::MAX) })
    }

    /// The calls that make a probe's socket ready.
    fn setup(&self, probe: usize) -> [Call; 4] {
        let fd = self.probes[probe].fd;
        let set = |opt, value| Call::SetSockOpt { fd, opt, value: OptValue::Int(value) };
        let ttl = i64::from(self.ttl(probe));
        let port = self.options.port.wrapping_add(u16::try_from(probe).unwrap_or(u16::MAX));
        let connect = Call::Connect { fd, addr: SockAddr::Ip(SocketAddr::new(self.options.target, port)) };
        const PMTUDISC_DONT: i64 = 0;
        if self.ipv6() {
            let discover = set(SockOpt::IPV6_MTU_DISCOVER, PMTUDISC_DONT);
            [discover, set(SockOpt::IPV6_RECVERR, 1), set(SockOpt::IPV6_UNICAST_HOPS, ttl), connect]
        } else {
            let discover = set(SockOpt::IP_MTU_DISCOVER, PMTUDISC_DONT);
            [discover, set(SockOpt::IP_RECVERR, 1), set(SockOpt::IP_TTL, ttl), connect]
        }
    }

    fn send(&mut self, now: Instant, probe: usize) -> Action {
        self.probes[probe].sent = Some(now);
        self.waiting = Waiting::Send(probe);
        let headers = if self.ipv6() { 48 } else { 28 };
        let len = self.options.packet_len.saturating_sub(headers);
        let data: Vec<u8> = (0..len).map(|i| 0x40 + u8::try_from(i % 64).expect("below 64")).collect();
        Action::Call(Call::Send {
            fd: self.probes[probe].fd,
            data: Data::Literal(data.into()),
            flags: MsgFlags(0),
        })
    }

    /// What the error queue of a probe says.
    fn answered(&mut self, now: Instant, probe: usize, control: &[Cmsg]) {
        let Some(Cmsg::ExtendedErr { ty, code, offender: Some(who), .. }) =
            control.iter().find(|c| matches!(c, Cmsg::ExtendedErr { .. }))
        else {
            return;
        };
        let p = &mut self.probes[probe];
        let sent = p.sent.expect("it has a socket");
        let us = u64::try_from((now - sent).as_micros()).unwrap_or(u64::MAX);
        let remark = remark(who.is_ipv6(), *ty, *code);
        p.answer = Some(Answer { who: *who, us, remark });
        let exceeded = if who.is_ipv6() { 3 } else { 11 };
        if *ty != exceeded {
            // The way ends here, at the target or before it: the hop is finished, the next ones are not
            // looked at.
            let per_hop = usize::from(self.options.probes);
            self.end = self.end.min((probe / per_hop + 1) * per_hop);
        }
    }

    /// Prints every hop whose probes are all over.
    fn print(&mut self) {
        let per_hop = usize::from(self.options.probes);
        while self.printed < self.end
            && self.probes[self.printed..self.printed + per_hop].iter().all(|p| p.over)
        {
            let mut line = format!("{:2} ", self.ttl(self.printed));
            let mut last = None;
            for probe in &self.probes[self.printed..self.printed + per_hop] {
                let Some(Answer { who, us, remark }) = &probe.answer else {
                    line += " *";
                    continue;
                };
                if last != Some(*who) {
                    line += &format!(" {who}");
                    last = Some(*who);
                }
                line += &format!("  {}.{:03} ms", us / 1000, us % 1000);
                if !remark.is_empty() {
                    line += &format!(" {remark}");
                }
            }
            self.output.push(line);
            self.printed += per_hop;
        }
    }

    fn fail(&mut self, call: &str, errno: Errno) -> Action {
        self.output.push(format!("{call}: {}", errno.text()));
        Action::Exit(1)
    }

    fn returned(&mut self, now: Instant, result: CallResult) -> Action {
        match (self.waiting, result) {
            (Waiting::Socket(probe), Ok(ret)) => {
                self.probes[probe].fd = Fd::try_from(ret.value()).unwrap_or(-1);
                self.waiting = Waiting::Setup(probe, 0);
                Action::Call(self.setup(probe)[0].clone())
            }
            (Waiting::Socket(_), Err(errno)) => self.fail("socket", errno),
            (Waiting::Setup(_, step), Err(errno)) => {
                self.fail(if step == 3 { "connect" } else { "setsockopt" }, errno)
            }
            (Waiting::Setup(probe, step), Ok(_)) => match self.setup(probe).get(step + 1) {
                Some(call) => {
                    self.waiting = Waiting::Setup(probe, step + 1);
                    Action::Call(call.clone())
                }
                None => self.send(now, probe),
            },
            // An error that send() returns is an answer that came before: it is in the error queue.
            (Waiting::Send(_) | Waiting::Close, _) => self.next(now),
            (Waiting::Poll, Ok(Ret::Poll(fds))) => {
                let probe_of =
                    |fd| self.probes.iter().position(|p| p.fd == fd && p.sent.is_some() && !p.over);
                let errors = fds.iter().filter(|(_, events)| events.has(PollEvents::ERR));
                self.ready = errors.filter_map(|(fd, _)| probe_of(*fd)).rev().collect();
                self.next(now)
            }
            (Waiting::Receive(probe), Ok(Ret::Data { control, .. })) => {
                self.answered(now, probe, &control);
                self.probes[probe].over = true;
                self.waiting = Waiting::Close;
                Action::Call(Call::Close { fd: self.probes[probe].fd })
            }
            (Waiting::Poll | Waiting::Receive(_), _) => self.next(now),
        }
    }
}

impl Program for Traceroute {
    fn resume(&mut self, now: Instant, event: Event) -> Action {
        match event {
            Event::Start => {
                let TracerouteOptions { name, target, max_ttl, packet_len, .. } = &self.options;
                self.output.push(format!(
                    "traceroute to {name} ({target}), {max_ttl} hops max, {packet_len} byte packets"
                ));
                self.next(now)
            }
            Event::Returned(result) => self.returned(now, result),
            Event::AdminDone(_) | Event::Woke => self.next(now),
        }
    }

    fn output(&self) -> &[String] {
        &self.output
    }
}

/// traceroute.c `print_probe`'s marks for what is neither "TTL exceeded" nor "port unreachable".
fn remark(ipv6: bool, ty: u8, code: u8) -> &'static str {
    match (ipv6, ty, code) {
        (false, 3, 0 | 6) | (true, 1, 0) => "!N",
        (false, 3, 1 | 7) | (true, 1, 3) => "!H",
        (false, 3, 2) => "!P",
        (false, 3, 4) | (true, 2, _) => "!F",
        (false, 3, 5) => "!S",
        (false, 3, 9 | 10 | 13) | (true, 1, 1) => "!X",
        _ => "",
    }
}
