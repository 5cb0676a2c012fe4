//! `ping`: echo requests at an interval, and iputils' lines about what comes back.
//!
//! iputils: ping/ping.c, ping4 and ping6. A ping socket first (`SOCK_DGRAM`, `IPPROTO_ICMP`), a raw one when
//! `net.ipv4.ping_group_range` forbids it.

use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use stack::Errno;
use stack::call::{
    Call, CallResult, Cmsg, Data, Domain, Fd, MsgFlags, OptValue, PollEvents, Ret, SockAddr, SockOpt,
    SockType,
};
use wire::Instant;

use super::{Action, Event, Program};

/// What `ping` is told on its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingOptions {
    /// As the user wrote it; the address when he wrote that.
    pub name: String,
    /// Whom.
    pub target: IpAddr,
    /// `-c`: requests; `None` for ever.
    pub count: Option<u16>,
    /// `-i`
    pub interval: Duration,
    /// `-s`: bytes behind the ICMP header.
    pub size: u16,
    /// `-t`
    pub ttl: Option<u8>,
    /// `-M`: `IP_PMTUDISC_*`.
    pub pmtu_discovery: Option<i64>,
    /// `-W`: how long to wait for an answer when none came yet.
    pub linger: Duration,
    /// `-I ADDRESS`
    pub source: Option<IpAddr>,
    /// What a raw socket's requests carry; a ping socket has its own.
    pub identifier: u16,
}

impl PingOptions {
    /// `ping -n TARGET`.
    pub fn new(target: IpAddr) -> PingOptions {
        PingOptions {
            name: target.to_string(),
            target,
            count: None,
            interval: Duration::from_secs(1),
            size: 56,
            ttl: None,
            pmtu_discovery: None,
            linger: Duration::from_secs(10),
            source: None,
            identifier: 1,
        }
    }
}

/// What was asked of the kernel last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Socket,
    RawSocket,
    Setup(usize),
    Send,
    Poll,
    Receive,
    ReceiveError,
}

/// `ping` as a program.
#[derive(Debug)]
pub struct Ping {
    options: PingOptions,
    fd: Fd,
    raw: bool,
    waiting: Waiting,
    started: Instant,
    next_send: Instant,
    /// When each request was sent, from sequence number 1 on, and whether it was answered.
    sent: Vec<(Instant, bool)>,
    received: u32,
    duplicates: u32,
    errors: u32,
    /// Microseconds.
    times: Vec<u64>,
    last: Instant,
    output: Vec<String>,
}

/// Requests of one run at most; the sequence number has 16 bits.
const MAX_COUNT: usize = 65_535;
/// Bytes that one `recvmsg` takes, quotes of errors included.
const BUFFER: usize = 65_535 + 20;

impl Ping {
    /// A `ping` that has not started.
    pub fn new(options: PingOptions) -> Ping {
        Ping {
            options,
            fd: -1,
            raw: false,
            waiting: Waiting::Socket,
            started: Instant::ZERO,
            next_send: Instant::ZERO,
            sent: Vec::new(),
            received: 0,
            duplicates: 0,
            errors: 0,
            times: Vec::new(),
            last: Instant::ZERO,
            output: Vec::new(),
        }
    }

    fn ipv6(&self) -> bool {
        self.options.target.is_ipv6()
    }

    fn socket(&mut self, ty: SockType) -> Action {
        let (domain, protocol) = if self.ipv6() { (Domain::Inet6, 58) } else { (Domain::Inet, 1) };
        self.waiting = if ty == SockType::Raw { Waiting::RawSocket } else { Waiting::Socket };
        Action::Call(Call::Socket { domain, ty, protocol, nonblock: false })
    }

    /// The options that are set before the first request, in iputils' order.
    fn setup(&self) -> Vec<Call> {
        let fd = self.fd;
        let set = |opt, value| Call::SetSockOpt { fd, opt, value: OptValue::Int(value) };
        let mut calls = if self.ipv6() {
            vec![set(SockOpt::IPV6_RECVERR, 1), set(SockOpt::IPV6_RECVHOPLIMIT, 1)]
        } else {
            vec![set(SockOpt::IP_RECVERR, 1), set(SockOpt::IP_RECVTTL, 1)]
        };
        if let Some(ip) = self.options.source {
            calls.insert(0, Call::Bind { fd, addr: SockAddr::Ip(SocketAddr::new(ip, 0)) });
        }
        if let Some(value) = self.options.pmtu_discovery {
            let opt = if self.ipv6() { SockOpt::IPV6_MTU_DISCOVER } else { SockOpt::IP_MTU_DISCOVER };
            calls.push(set(opt, value));
        }
        if let Some(ttl) = self.options.ttl {
            let opt = if self.ipv6() { SockOpt::IPV6_UNICAST_HOPS } else { SockOpt::IP_TTL };
            calls.push(set(opt, i64::from(ttl)));
        }
        calls
    }

    fn continue_setup(&mut self, now: Instant, done: usize) -> Action {
        match self.setup().into_iter().nth(done) {
            Some(call) => {
                self.waiting = Waiting::Setup(done);
                Action::Call(call)
            }
            None => {
                let PingOptions { name, target, size, .. } = &self.options;
                let bytes = if self.ipv6() {
                    format!("{size} data bytes")
                } else {
                    format!("{size}({}) bytes of data.", u32::from(*size) + 28)
                };
                self.output.push(format!("PING {name} ({target}) {bytes}"));
                (self.started, self.next_send, self.last) = (now, now, now);
                self.wait(now)
            }
        }
    }

    /// Sends when it is time to, else waits for that or for an answer.
    fn wait(&mut self, now: Instant) -> Action {
        let all_sent = self.options.count.is_some_and(|n| self.sent.len() >= usize::from(n))
            || self.sent.len() >= MAX_COUNT;
        if all_sent {
            let answered = self.received + self.errors >= u32::try_from(self.sent.len()).unwrap_or(u32::MAX);
            let until = self.give_up();
            if answered || now >= until {
                return self.finish();
            }
            return self.poll(now, until);
        }
        if now >= self.next_send {
            self.next_send = now + self.options.interval;
            return self.send(now);
        }
        self.poll(now, self.next_send)
    }

    /// When the last answer is not waited for any longer (`__schedule_exit`).
    fn give_up(&self) -> Instant {
        let last = self.sent.last().map_or(self.started, |(at, _)| *at);
        let longest = self.times.iter().max().map(|us| Duration::from_micros(2 * us));
        last + longest.map_or(self.options.linger, |wait| wait.max(self.options.interval))
    }

    fn poll(&mut self, now: Instant, until: Instant) -> Action {
        self.waiting = Waiting::Poll;
        let ms = (until - now).as_nanos().div_ceil(1_000_000);
        let timeout_ms = i32::try_from(ms).unwrap_or(i32::MAX);
        Action::Call(Call::Poll { fds: vec![(self.fd, PollEvents::IN | PollEvents::ERR)], timeout_ms })
    }

    fn send(&mut self, now: Instant) -> Action {
        self.sent.push((now, false));
        self.last = now;
        let seq = u16::try_from(self.sent.len()).expect("at most MAX_COUNT");
        let mut message = vec![if self.ipv6() { 128 } else { 8 }, 0, 0, 0];
        message.extend_from_slice(&self.options.identifier.to_be_bytes());
        message.extend_from_slice(&seq.to_be_bytes());
        // A `struct timeval`, then each byte its own offset.
        let us = now.as_nanos() / 1_000;
        let time = [(us / 1_000_000).to_le_bytes(), (us % 1_000_000).to_le_bytes()].concat();
        let data = (0..usize::from(self.options.size)).map(|i| {
            let pattern = u8::try_from(i % 256).expect("a remainder of 256");
            if usize::from(self.options.size) >= time.len() {
                *time.get(i).unwrap_or(&pattern)
            } else {
                pattern
            }
        });
        message.extend(data);
        if self.raw && !self.ipv6() {
            wire::icmpv4::set_checksum(&mut message);
        }
        self.waiting = Waiting::Send;
        let addr = SockAddr::Ip(SocketAddr::new(self.options.target, 0));
        let data = Data::Literal(message.into());
        Action::Call(Call::SendTo { fd: self.fd, data, flags: MsgFlags(0), addr })
    }

    fn receive(&mut self, flags: MsgFlags) -> Action {
        self.waiting = if flags.has(MsgFlags::ERRQUEUE) { Waiting::ReceiveError } else { Waiting::Receive };
        let flags = flags | MsgFlags::DONTWAIT;
        Action::Call(Call::RecvMsg { fd: self.fd, lens: vec![BUFFER], control_len: 4096, flags })
    }

    /// An echo reply, if it is ours.
    fn reply(&mut self, now: Instant, data: &[u8], from: Option<SockAddr>, control: &[Cmsg]) {
        // A raw IPv4 socket gets the IP header too.
        let header =
            if self.raw && !self.ipv6() { data.first().map_or(0, |b| usize::from(b & 15) * 4) } else { 0 };
        let Some(icmp) = data.get(header..).filter(|icmp| icmp.len() >= 8) else { return };
        let reply = if self.ipv6() { 129 } else { 0 };
        let id = u16::from_be_bytes([icmp[4], icmp[5]]);
        if icmp[0] != reply || (self.raw && id != self.options.identifier) {
            return;
        }
        let seq = u16::from_be_bytes([icmp[6], icmp[7]]);
        let Some((sent, answered)) = usize::from(seq).checked_sub(1).and_then(|i| self.sent.get_mut(i))
        else {
            return;
        };
        let us = u64::try_from((now - *sent).as_micros()).unwrap_or(u64::MAX);
        let duplicate = core::mem::replace(answered, true);
        let ttl = control.iter().find_map(|c| if let Cmsg::Ttl(ttl) = c { Some(*ttl) } else { None });
        let ttl = ttl.or_else(|| (header > 0).then(|| i32::from(data[8])));
        let who = match from {
            Some(SockAddr::Ip(addr)) => addr.ip(),
            Some(SockAddr::Unspec) | None => self.options.target,
        };
        let mut line = format!("{} bytes from {who}: icmp_seq={seq}", icmp.len());
        if let Some(ttl) = ttl {
            line += &format!(" ttl={ttl}");
        }
        line += &format!(" time={} ms", milliseconds(us));
        self.last = now;
        if duplicate {
            self.duplicates += 1;
            line += " (DUP!)";
        } else {
            self.received += 1;
            self.times.push(us);
        }
        self.output.push(line);
    }

    /// Something from the error queue.
    fn error(&mut self, data: &[u8], control: &[Cmsg]) {
        let Some(Cmsg::ExtendedErr { errno, origin, ty, code, info, offender, .. }) =
            control.iter().find(|c| matches!(c, Cmsg::ExtendedErr { .. }))
        else {
            return;
        };
        const LOCAL: u8 = 1;
        // A raw socket hears of the requests of every ping on its host.
        let ours = self.options.identifier.to_be_bytes();
        if self.raw && *origin != LOCAL && data.get(4..6) != Some(ours.as_slice()) {
            return;
        }
        self.errors += 1;
        if *origin == LOCAL {
            let line = match *errno {
                Errno::EMSGSIZE => format!("ping: local error: message too long, mtu={info}"),
                other => format!("ping: local error: {}", other.text()),
            };
            self.output.push(line);
            return;
        }
        let seq = data.get(6..8).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
        let who = offender.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let what = if self.ipv6() { describe6(*ty, *code, *info) } else { describe4(*ty, *code, *info) };
        self.output.push(format!("From {who} icmp_seq={seq} {what}"));
    }

    fn finish(&mut self) -> Action {
        let transmitted = u32::try_from(self.sent.len()).expect("at most MAX_COUNT");
        let mut line = format!("{transmitted} packets transmitted, {} received", self.received);
        if self.duplicates > 0 {
            line += &format!(", +{} duplicates", self.duplicates);
        }
        if self.errors > 0 {
            line += &format!(", +{} errors", self.errors);
        }
        if transmitted > 0 {
            let lost =
                u64::from(transmitted - self.received.min(transmitted)) * 1_000_000 / u64::from(transmitted);
            line += &format!(", {}% packet loss", percent(lost));
            line += &format!(", time {}ms", (self.last - self.started).as_millis());
        }
        self.output.push(String::new());
        self.output.push(format!("--- {} ping statistics ---", self.options.name));
        self.output.push(line);
        if let (Some(min), Some(max)) = (self.times.iter().min(), self.times.iter().max()) {
            let n = u128::from(self.received.max(1));
            let sum: u128 = self.times.iter().map(|t| u128::from(*t)).sum();
            let squares: u128 = self.times.iter().map(|t| u128::from(*t).pow(2)).sum();
            let mean = sum / n;
            let deviation = (squares / n).saturating_sub(mean * mean).isqrt();
            let ms = |us: u128| format!("{}.{:03}", us / 1000, us % 1000);
            let (min, max) = (u128::from(*min), u128::from(*max));
            let figures = [min, mean, max, deviation].map(ms).join("/");
            self.output.push(format!("rtt min/avg/max/mdev = {figures} ms"));
        }
        // iputils: 1 when nothing came back.
        Action::Exit(i32::from(self.received == 0))
    }

    fn fail(&mut self, call: &str, errno: Errno) -> Action {
        self.output.push(format!("ping: {call}: {}", errno.text()));
        Action::Exit(2)
    }

    fn returned(&mut self, now: Instant, result: CallResult) -> Action {
        match (self.waiting, result) {
            (Waiting::Socket | Waiting::RawSocket, Ok(ret)) => {
                self.raw = self.waiting == Waiting::RawSocket;
                self.fd = Fd::try_from(ret.value()).unwrap_or(-1);
                self.continue_setup(now, 0)
            }
            (Waiting::Socket, Err(Errno::EACCES | Errno::EPROTONOSUPPORT)) => self.socket(SockType::Raw),
            (Waiting::Socket | Waiting::RawSocket, Err(errno)) => self.fail("socket", errno),
            (Waiting::Setup(_), Err(errno)) => self.fail("setsockopt", errno),
            (Waiting::Setup(done), Ok(_)) => self.continue_setup(now, done + 1),
            (Waiting::Send, Ok(_)) => self.wait(now),
            // What sendto returns is a pending error: its story is in the error queue.
            (Waiting::Send, Err(_)) => self.receive(MsgFlags::ERRQUEUE),
            (Waiting::Poll, Ok(Ret::Poll(fds))) => {
                let events = fds.first().map_or(PollEvents(0), |(_, events)| *events);
                if events.has(PollEvents::ERR) {
                    self.receive(MsgFlags::ERRQUEUE)
                } else if events.has(PollEvents::IN) {
                    self.receive(MsgFlags(0))
                } else {
                    self.wait(now)
                }
            }
            (Waiting::Receive, Ok(Ret::Data { data, from, control, .. })) => {
                self.reply(now, &data, from, &control);
                self.wait(now)
            }
            (Waiting::ReceiveError, Ok(Ret::Data { data, control, .. })) => {
                self.error(&data, &control);
                self.wait(now)
            }
            (Waiting::ReceiveError, Err(_)) => {
                // Refused without a story, such as by a missing route.
                self.wait(now)
            }
            (Waiting::Poll | Waiting::Receive, _) | (Waiting::ReceiveError, Ok(_)) => self.wait(now),
        }
    }
}

impl Program for Ping {
    fn resume(&mut self, now: Instant, event: Event) -> Action {
        match event {
            Event::Start => self.socket(SockType::Dgram),
            Event::Returned(Err(errno)) if self.waiting == Waiting::Send && is_immediate(errno) => {
                // `ping: sendmsg: Network is unreachable`; the request counts as sent, as iputils counts it.
                self.output.push(format!("ping: sendmsg: {}", errno.text()));
                self.wait(now)
            }
            Event::Returned(result) => self.returned(now, result),
            Event::AdminDone(_) | Event::Woke => self.wait(now),
        }
    }

    fn output(&self) -> &[String] {
        &self.output
    }
}

/// Errors of `sendto` itself, which leave nothing in the error queue.
fn is_immediate(errno: Errno) -> bool {
    matches!(errno, Errno::ENETUNREACH | Errno::EACCES | Errno::EPERM | Errno::EINVAL | Errno::ENETDOWN)
}

/// iputils' rounding: three digits below a millisecond, fewer above.
fn milliseconds(us: u64) -> String {
    match us {
        99_950.. => format!("{}", (us + 500) / 1000),
        9_995.. => format!("{}.{}", (us + 50) / 1000, (us + 50) % 1000 / 100),
        1_000.. => format!("{}.{:02}", (us + 5) / 1000, (us + 5) % 1000 / 10),
        _ => format!("{}.{us:03}", 0),
    }
}

/// `%g` of a share in hundredths of a percent: `33.3333`, `50`, `0`.
fn percent(ppm: u64) -> String {
    let text = format!("{}.{:04}", ppm / 10_000, ppm % 10_000);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// iputils: ping.c `pr_icmph`.
fn describe4(ty: u8, code: u8, info: u32) -> String {
    match (ty, code) {
        (3, 0) => "Destination Net Unreachable".into(),
        (3, 1) => "Destination Host Unreachable".into(),
        (3, 2) => "Destination Protocol Unreachable".into(),
        (3, 3) => "Destination Port Unreachable".into(),
        (3, 4) => format!("Frag needed and DF set (mtu = {info})"),
        (3, 5) => "Source Route Failed".into(),
        (3, 6) => "Destination Net Unknown".into(),
        (3, 7) => "Destination Host Unknown".into(),
        (3, 9) => "Destination Net Prohibited".into(),
        (3, 10) => "Destination Host Prohibited".into(),
        (3, 13) => "Packet filtered".into(),
        (3, code) => format!("Dest Unreachable, Bad Code: {code}"),
        (11, 0) => "Time to live exceeded".into(),
        (11, 1) => "Frag reassembly time exceeded".into(),
        (5, _) => "Redirect".into(),
        (12, _) => format!("Parameter problem: pointer = {info}"),
        (4, _) => "Source Quench".into(),
        (ty, _) => format!("Bad ICMP type: {ty}"),
    }
}

/// iputils: ping6_common.c `print_icmp`.
fn describe6(ty: u8, code: u8, info: u32) -> String {
    match (ty, code) {
        (1, 0) => "Destination unreachable: No route".into(),
        (1, 1) => "Destination unreachable: Administratively prohibited".into(),
        (1, 2) => "Destination unreachable: Beyond scope of source address".into(),
        (1, 3) => "Destination unreachable: Address unreachable".into(),
        (1, 4) => "Destination unreachable: Port unreachable".into(),
        (1, code) => format!("Destination unreachable: Unknown code {code}"),
        (2, _) => format!("Packet too big: mtu={info}"),
        (3, 0) => "Time exceeded: Hop limit".into(),
        (3, 1) => "Time exceeded: Defragmentation failure".into(),
        (4, _) => format!("Parameter problem: pointer = {info}"),
        (ty, _) => format!("unknown icmp type: {ty}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_iputils_digits() {
        let cases = [(42, "0.042"), (999, "0.999"), (1_234, "1.23"), (10_046, "10.0"), (123_456, "123")];
        for (us, text) in cases {
            assert_eq!(milliseconds(us), text);
        }
    }

    #[test]
    fn loss_is_printed_as_percent_g() {
        assert_eq!(percent(333_333), "33.3333");
        assert_eq!(
            (percent(0), percent(500_000), percent(1_000_000)),
            ("0".into(), "50".into(), "100".into())
        );
    }
}
