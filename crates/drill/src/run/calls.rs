//! System calls of a script as requests: arguments resolved, what must be checked afterwards remembered.

use stack::call::{
    Call, Data, Domain, EpollOp, Fd, MsgFlags, OptValue, PollEvents, Ret, Shutdown, SockAddr, SockOpt,
    SockType,
};
use wire::Bytes;

use super::after::{After, What};
use super::cmsg;
use super::socks::State;
use super::value::{
    Bad, Value, bits, bracketed, ellipsis, int, iovec, kind, member, null_buffer, number, wrong,
};
use super::{HappenedKind, Pending, Run, Step, When};
use crate::ast::{Expr, Syscall};
use crate::target::{Answer, Request};

/// Bytes that one call may carry: the scripts write megabytes, not gigabytes.
const MAX_DATA: usize = 64 << 20;

/// A call ready to be made.
pub(super) struct Prepared {
    pub(super) request: Request,
    pub(super) what: What,
}

fn plain(call: Call) -> Prepared {
    Prepared { request: call.into(), what: What::Nothing }
}

/// An answer in `strace`'s way.
pub(super) fn show_answer(answer: &Answer) -> String {
    match answer {
        Answer::Done(Ok(ret)) => ret.value().to_string(),
        Answer::Done(Err(errno)) => format!("-1 {errno}"),
        Answer::Pipe(read, write) => format!("0 [{read}, {write}]"),
        Answer::Unsupported(text) => format!("nothing: {text}"),
        Answer::Hangs => "never".into(),
    }
}

/// So many zero bytes: all data of scripts.
fn zeros(len: usize) -> Value<Data> {
    if len > MAX_DATA {
        return wrong(format!("{len} bytes in one call"));
    }
    Ok(Data::Literal(Bytes::from(vec![0; len])))
}

fn buffer(null: bool, len: usize) -> Value<Data> {
    if null { Ok(Data::Unreadable(u32::try_from(len).unwrap_or(u32::MAX))) } else { zeros(len) }
}

impl Run<'_> {
    pub(super) fn syscall(&mut self, call: &Syscall, when: When) -> Step {
        self.await_idle();
        self.reap()?;
        if call.end.is_some() && self.pending.is_some() {
            return self.fail(format!(
                "runtime error in {} call: blocking system call while another blocking system call is already in \
                 progress",
                call.name
            ));
        }
        self.wait_for(when, "system call start")?;
        let prepared = match self.prepare(call) {
            Ok(prepared) => prepared,
            Err(Bad::Wrong(text)) => {
                return self.fail(format!("runtime error in {} call: {text}", call.name));
            }
            Err(Bad::Unknown(text)) => return self.unsupported(format!("{} call: {text}", call.name)),
        };
        let after = match After::new(call, prepared.what) {
            Ok(after) => after,
            Err(Bad::Wrong(text)) => {
                return self.fail(format!("runtime error in {} call: {text}", call.name));
            }
            Err(Bad::Unknown(text)) => return self.unsupported(format!("{} call: {text}", call.name)),
        };
        let shown = show_request(&prepared.request);
        if let Some(end) = call.end {
            let end = end + when.offset;
            self.note(HappenedKind::Call, format!("{shown} …"));
            self.target.start(&prepared.request);
            self.pending =
                Some(Pending { line: self.line, name: call.name.clone(), start: when.at, end, after });
            return self.reap();
        }
        let at = self.now();
        let answer = self.target.call(&prepared.request);
        let text = format!("{shown} = {}", show_answer(&answer));
        self.happened.push(super::Happened { at, line: self.line, kind: HappenedKind::Call, text });
        self.finish_call(&call.name, after, answer)
    }

    /// The live descriptor of a script's.
    fn fd(&self, expr: &Expr) -> Value<Fd> {
        let script = number(expr)?;
        self.socks
            .fds
            .get(&script)
            .copied()
            .map_or_else(|| wrong(format!("unable to find live fd for script fd {script}")), Ok)
    }

    fn prepare(&mut self, call: &Syscall) -> Value<Prepared> {
        let args = &call.args;
        let count = |n: usize| {
            if args.len() == n { Ok(()) } else { wrong(format!("expected {n} args but got {}", args.len())) }
        };
        match call.name.as_str() {
            "socket" => count(3).and_then(|()| self.socket(args)),
            "bind" => {
                count(3)?;
                ellipsis(&args[1])?;
                let ip = if self.config.is_anyip {
                    unspecified(self.addresses.local)
                } else {
                    self.addresses.local
                };
                let addr = self.addresses.for_program(ip, self.config.bind_port);
                Ok(plain(Call::Bind { fd: self.fd(&args[0])?, addr: SockAddr::Ip(addr) }))
            }
            "listen" => {
                count(2)?;
                let request = Call::Listen { fd: self.fd(&args[0])?, backlog: int(&args[1])? };
                Ok(Prepared { request: request.into(), what: What::Listen(number(&args[0])?) })
            }
            "accept" => {
                count(3)?;
                let request = Call::Accept { fd: self.fd(&args[0])?, nonblock: false };
                Ok(Prepared { request: request.into(), what: What::Accept })
            }
            "connect" => {
                count(3)?;
                let fd = self.fd(&args[0])?;
                let addr = self.peer(&args[0], &args[1])?;
                Ok(plain(Call::Connect { fd, addr }))
            }
            "close" => {
                count(1)?;
                let request = Call::Close { fd: self.fd(&args[0])? };
                Ok(Prepared { request: request.into(), what: What::Close(number(&args[0])?) })
            }
            "shutdown" => {
                count(2)?;
                let how = match number(&args[1])? {
                    0 => Shutdown::Rd,
                    1 => Shutdown::Wr,
                    2 => Shutdown::RdWr,
                    n => return wrong(format!("shutdown how {n}")),
                };
                Ok(plain(Call::Shutdown { fd: self.fd(&args[0])?, how }))
            }
            "getsockopt" => count(5).and_then(|()| self.getsockopt(args)),
            "setsockopt" => count(5).and_then(|()| self.setsockopt(args)),
            "fcntl" => self.fcntl(args),
            "ioctl" => self.ioctl(args),
            "poll" => count(3).and_then(|()| self.poll(args)),
            "epoll_create" | "epoll_create1" => {
                Ok(Prepared { request: Call::EpollCreate.into(), what: What::NewFd })
            }
            "epoll_ctl" => count(4).and_then(|()| self.epoll_ctl(args)),
            "epoll_wait" => count(4).and_then(|()| self.epoll_wait(args)),
            "read" | "readv" | "recv" | "recvfrom" | "recvmsg" => self.receiving(&call.name, args),
            "write" | "writev" | "send" | "sendto" | "sendmsg" => self.sending(&call.name, args),
            _ => self.prepare_file_call(call),
        }
    }

    fn prepare_file_call(&mut self, call: &Syscall) -> Value<Prepared> {
        let args = &call.args;
        match (call.name.as_str(), args.len()) {
            ("open", 2) => {
                let Expr::Text(path) = &args[0] else { return wrong("open wants a path") };
                let path = String::from_utf8_lossy(path).into_owned();
                Ok(Prepared { request: Request::Open { path, flags: number(&args[1])? }, what: What::NewFd })
            }
            ("sendfile", 4) => {
                let (out, input) = (self.fd(&args[0])?, self.fd(&args[1])?);
                let request =
                    Request::SendFile { out, input, offset: bracketed(&args[2])?, len: int(&args[3])? };
                Ok(Prepared { request, what: What::Nothing })
            }
            ("pipe", 1) => {
                let Expr::List(ends) = &args[0] else { return wrong("pipe wants [fd, fd]") };
                match ends.as_slice() {
                    [read, write] => {
                        let what = What::Pipe(number(read)?, number(write)?);
                        Ok(Prepared { request: Request::Pipe, what })
                    }
                    _ => wrong("pipe wants [fd, fd]"),
                }
            }
            ("splice", 6) => {
                if number(&args[1])? != 0 || number(&args[3])? != 0 {
                    return Err(Bad::Unknown("splice with offsets".into()));
                }
                let (input, out) = (self.fd(&args[0])?, self.fd(&args[2])?);
                let request = Request::Splice { input, out, len: int(&args[4])?, flags: bits(&args[5])? };
                Ok(Prepared { request, what: What::Nothing })
            }
            ("cap_set", 3) => {
                let (set, capability) = (number(&args[0])?, number(&args[1])?);
                let request = Request::CapSet { set, capability, on: number(&args[2])? != 0 };
                Ok(Prepared { request, what: What::Nothing })
            }
            (name @ ("open" | "sendfile" | "pipe" | "splice" | "cap_set"), n) => {
                wrong(format!("{name} with {n} args"))
            }
            (name, _) => Err(Bad::Unknown(format!("unknown system call {name}"))),
        }
    }

    fn socket(&mut self, args: &[Expr]) -> Value<Prepared> {
        let domain = match &args[0] {
            Expr::Ellipsis => self.config.domain(),
            other => match number(other)? {
                2 => Domain::Inet,
                10 => Domain::Inet6,
                n => return Err(Bad::Unknown(format!("socket domain {n}"))),
            },
        };
        let kind = number(&args[1])?;
        let ty = match kind & 0xf {
            1 => SockType::Stream,
            2 => SockType::Dgram,
            3 => SockType::Raw,
            n => return Err(Bad::Unknown(format!("socket type {n}"))),
        };
        let protocol: u8 = int(&args[2])?;
        let request = Call::Socket { domain, ty, protocol, nonblock: kind & 0x800 != 0 };
        let what = What::Socket { datagram: ty == SockType::Dgram, protocol: protocol.into() };
        Ok(Prepared { request: request.into(), what })
    }

    /// The peer's address (or `AF_UNSPEC`); the socket is connecting then, if it was new.
    fn peer(&mut self, fd: &Expr, address: &Expr) -> Value<SockAddr> {
        let script = number(fd)?;
        let unspec = match address {
            Expr::Ellipsis => false,
            other => match number(other)? {
                0 => true,
                n => return Err(Bad::Unknown(format!("address family {n}"))),
            },
        };
        let remote = (self.addresses.remote, self.config.connect_port);
        if let Some(sock) = self.socks.by_script_fd(script) {
            if unspec {
                sock.state = State::New;
            } else if sock.state == State::New {
                sock.state = State::Connecting;
                sock.local = None;
                sock.remote = Some(remote);
            }
        }
        if unspec {
            return Ok(SockAddr::Unspec);
        }
        Ok(SockAddr::Ip(self.addresses.for_program(remote.0, remote.1)))
    }

    fn getsockopt(&mut self, args: &[Expr]) -> Value<Prepared> {
        let opt = SockOpt { level: int(&args[1])?, name: int(&args[2])? };
        let request = Call::GetSockOpt { fd: self.fd(&args[0])?, opt };
        let what = What::GetSockOpt { value: args[3].clone(), len: int(&from_brackets(&args[4])?)? };
        Ok(Prepared { request: request.into(), what })
    }

    fn setsockopt(&mut self, args: &[Expr]) -> Value<Prepared> {
        let opt = SockOpt { level: int(&args[1])?, name: int(&args[2])? };
        let len: usize = int(&args[4])?;
        let value = match &args[3] {
            Expr::List(_) => match len {
                4 => OptValue::Int(i64::from(bracketed(&args[3])? as i32)), // an int's 32 bits
                // The options of IP take a byte as well (ip_sockglue.c `do_ip_setsockopt`).
                1..=3 if opt.level == 0 => OptValue::Int(bracketed(&args[3])? & 0xff),
                _ => {
                    let n = bracketed(&args[3])? as i32; // an int's 32 bits
                    OptValue::Bytes(n.to_ne_bytes().iter().copied().take(len).collect::<Vec<u8>>().into())
                }
            },
            Expr::Struct(_) => {
                OptValue::Linger(number(member(&args[3], "onoff")?)? != 0, int(member(&args[3], "linger")?)?)
            }
            Expr::Text(bytes) => {
                let bytes: Vec<u8> = bytes.iter().copied().take(len).collect();
                match (opt, String::from_utf8(bytes.clone())) {
                    (SockOpt::TCP_CONGESTION | SockOpt::SO_BINDTODEVICE, Ok(text)) => OptValue::Text(text),
                    _ => OptValue::Bytes(bytes.into()),
                }
            }
            other => return Err(Bad::Unknown(format!("setsockopt value of kind {}", kind(other)))),
        };
        Ok(plain(Call::SetSockOpt { fd: self.fd(&args[0])?, opt, value }))
    }

    fn fcntl(&mut self, args: &[Expr]) -> Value<Prepared> {
        let [fd, command, rest @ ..] = args else { return wrong("fcntl wants 2-3 args") };
        let fd = self.fd(fd)?;
        match (number(command)?, rest) {
            (3, _) => Ok(plain(Call::GetFl { fd })),
            (4, [flags]) => Ok(plain(Call::SetFl { fd, nonblock: number(flags)? & 0o4000 != 0 })),
            (n, _) => Err(Bad::Unknown(format!("fcntl command {n}"))),
        }
    }

    fn ioctl(&mut self, args: &[Expr]) -> Value<Prepared> {
        let [fd, command, value] = args else { return Err(Bad::Unknown("ioctl without [value]".into())) };
        let fd = self.fd(fd)?;
        let call = match number(command)? {
            0x541b => Call::IoctlInq { fd },
            0x5411 => Call::IoctlOutq { fd },
            n => return Err(Bad::Unknown(format!("ioctl {n:#x}"))),
        };
        Ok(Prepared { request: call.into(), what: What::Ioctl(bracketed(value)?) })
    }

    fn poll(&mut self, args: &[Expr]) -> Value<Prepared> {
        let Expr::List(list) = &args[0] else { return wrong("poll wants [{fd=…, events=…}]") };
        let (mut fds, mut revents) = (Vec::new(), Vec::new());
        for entry in list {
            fds.push((self.fd(member(entry, "fd")?)?, PollEvents(bits(member(entry, "events")?)?)));
            revents.push(entry.field("revents").map_or(Ok(0), bits)?);
        }
        if number(&args[1])? != i64::try_from(fds.len()).unwrap_or(-1) {
            return wrong(format!("nfds does not match {}-element pollfd array", fds.len()));
        }
        let request = Call::Poll { fds, timeout_ms: int(&args[2])? };
        Ok(Prepared { request: request.into(), what: What::Poll(revents) })
    }

    /// `{events=…, fd|ptr|u32|u64=…}`
    fn epoll_event(&self, expr: &Expr) -> Value<(u32, u64)> {
        let events = bits(member(expr, "events")?)?;
        if let Some(fd) = expr.field("fd") {
            return Ok((events, u64::from(self.fd(fd)?.cast_unsigned())));
        }
        for name in ["ptr", "u32", "u64"] {
            if let Some(value) = expr.field(name) {
                return Ok((events, number(value)?.cast_unsigned()));
            }
        }
        wrong("epoll_event specified incorrectly")
    }

    fn epoll_ctl(&mut self, args: &[Expr]) -> Value<Prepared> {
        let op = match number(&args[1])? {
            1 => EpollOp::Add,
            2 => EpollOp::Del,
            3 => EpollOp::Mod,
            n => return wrong(format!("epoll_ctl operation {n}")),
        };
        let (events, data) = self.epoll_event(&args[3])?;
        let (epfd, fd) = (self.fd(&args[0])?, self.fd(&args[2])?);
        Ok(plain(Call::EpollCtl { epfd, op, fd, events: PollEvents(events), data }))
    }

    fn epoll_wait(&mut self, args: &[Expr]) -> Value<Prepared> {
        let (events, data) = self.epoll_event(&args[1])?;
        let epfd = self.fd(&args[0])?;
        let request = Call::EpollWait { epfd, max_events: bits(&args[2])?, timeout_ms: int(&args[3])? };
        Ok(Prepared { request: request.into(), what: What::Epoll { events, data } })
    }

    fn receiving(&mut self, name: &str, args: &[Expr]) -> Value<Prepared> {
        let counts = [("read", 3), ("readv", 3), ("recv", 4), ("recvfrom", 6), ("recvmsg", 3)];
        if counts.iter().any(|(n, count)| *n == name && *count != args.len()) {
            return wrong(format!("wrong number of args: {}", args.len()));
        }
        let fd = self.fd(&args[0])?;
        // A NULL buffer fails like any that cannot be written to; only MSG_TRUNC leaves it alone.
        let null = matches!(name, "read" | "recv" | "recvfrom") && null_buffer(&args[1])?;
        if null && !(args.len() > 3 && bits(&args[3])? & MsgFlags::TRUNC.0 != 0) {
            return Err(Bad::Unknown("receiving into NULL".into()));
        }
        match name {
            "read" => Ok(plain(Call::Read { fd, len: int(&args[2])? })),
            "readv" => Ok(plain(Call::Readv { fd, lens: iovec(&args[1])? })),
            "recv" => Ok(plain(Call::Recv { fd, len: int(&args[2])?, flags: MsgFlags(bits(&args[3])?) })),
            "recvfrom" => {
                Ok(plain(Call::RecvFrom { fd, len: int(&args[2])?, flags: MsgFlags(bits(&args[3])?) }))
            }
            _ => {
                let msg = &args[1];
                let lens = iovec(member(msg, "msg_iov")?)?;
                let v6 = self.config.domain() == Domain::Inet6;
                let wanted = cmsg::wanted(msg.field("msg_control"), v6)?;
                let control_len = wanted.iter().map(cmsg::Wanted::space).sum();
                let flags = msg.field("msg_flags").map_or(Ok(0), bits)?;
                let request = Call::RecvMsg { fd, lens, control_len, flags: MsgFlags(bits(&args[2])?) };
                Ok(Prepared { request: request.into(), what: What::RecvMsg { flags, wanted } })
            }
        }
    }

    fn sending(&mut self, name: &str, args: &[Expr]) -> Value<Prepared> {
        let counts = [("write", 3), ("writev", 3), ("send", 4), ("sendto", 6), ("sendmsg", 3)];
        if counts.iter().any(|(n, count)| *n == name && *count != args.len()) {
            return wrong(format!("wrong number of args: {}", args.len()));
        }
        let fd = self.fd(&args[0])?;
        let all = |iov: &Expr| iovec(iov)?.into_iter().map(zeros).collect::<Value<Vec<Data>>>();
        let call = match name {
            "write" => Call::Write { fd, data: buffer(null_buffer(&args[1])?, int(&args[2])?)? },
            "writev" => Call::Writev { fd, data: all(&args[1])? },
            "send" => {
                let data = buffer(null_buffer(&args[1])?, int(&args[2])?)?;
                Call::Send { fd, data, flags: MsgFlags(bits(&args[3])?) }
            }
            "sendto" => {
                let mut data = buffer(null_buffer(&args[1])?, int(&args[2])?)?;
                let flags = MsgFlags(bits(&args[3])?);
                let script = number(&args[0])?;
                let ping =
                    self.socks.by_script_fd(script).filter(|s| s.datagram && matches!(s.protocol, 1 | 58));
                if let Some(sock) = ping {
                    let echo = if sock.protocol == 1 { 8 } else { 128 };
                    let mut bytes = data.bytes().to_vec();
                    if let Some(first) = bytes.first_mut() {
                        *first = echo;
                    }
                    data = Data::Literal(bytes.into());
                }
                Call::SendTo { fd, data, flags, addr: self.peer(&args[0], &args[4])? }
            }
            _ => {
                let msg = &args[1];
                let data = all(member(msg, "msg_iov")?)?;
                if msg.field("msg_flags").map_or(Ok(0), number)? != 0 {
                    return wrong("sendmsg ignores msg_flags field in msghdr");
                }
                let control = cmsg::outgoing(msg.field("msg_control"))?;
                let addr = Some(self.peer(&args[0], &Expr::Ellipsis)?);
                Call::SendMsg { fd, addr, data, control, flags: MsgFlags(bits(&args[2])?) }
            }
        };
        Ok(plain(call))
    }
}

fn from_brackets(expr: &Expr) -> Value<Expr> {
    bracketed(expr).map(Expr::Int)
}

fn unspecified(ip: std::net::IpAddr) -> std::net::IpAddr {
    if ip.is_ipv4() { std::net::Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() }
}

/// A request in `strace`'s words; zero bytes are only counted.
fn show_request(request: &Request) -> String {
    match request {
        Request::Call(call) => {
            let mut call = call.clone();
            let short = |data: &mut Data| *data = Data::Filler(u32::try_from(data.len()).unwrap_or(u32::MAX));
            match &mut call {
                Call::Write { data, .. } | Call::Send { data, .. } | Call::SendTo { data, .. } => short(data),
                Call::Writev { data, .. } | Call::SendMsg { data, .. } => data.iter_mut().for_each(short),
                _ => {}
            }
            call.to_string()
        }
        Request::Open { path, .. } => format!("open({path:?})"),
        Request::SendFile { out, input, len, .. } => format!("sendfile({out}, {input}, {len})"),
        Request::Pipe => "pipe()".into(),
        Request::Splice { input, out, len, .. } => format!("splice({input}, {out}, {len})"),
        Request::CapSet { capability, on, .. } => format!("cap_set({capability}, {on})"),
    }
}

/// The number that C's function returns, and the error.
pub(super) fn value_of(answer: &Answer) -> (i64, Option<stack::Errno>) {
    match answer {
        Answer::Done(Ok(ret)) => (Ret::value(ret), None),
        Answer::Done(Err(errno)) => (-1, Some(*errno)),
        Answer::Pipe(..) => (0, None),
        Answer::Unsupported(_) | Answer::Hangs => (-1, None),
    }
}
