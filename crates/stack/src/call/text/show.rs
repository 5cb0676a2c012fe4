//! Writes calls and results in `strace`'s words.

use core::fmt::{self, Display, Formatter, Write};

use super::super::{
    Call, CallResult, Cmsg, Data, Domain, EpollOp, MsgFlags, OptValue, PollEvents, Ret, Shutdown, SockAddr,
    SockOpt, SockType,
};
use crate::errno::Errno;

/// `strace -s 32`: how many bytes of a string the short form shows.
const BRIEF_BYTES: usize = 32;

/// How much of the data to write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Whole,
    Brief,
}

/// A string in C's notation; `...` behind it when it was cut.
pub(super) fn quoted(out: &mut impl Write, bytes: &[u8], length: Length) -> fmt::Result {
    let shown = if length == Length::Brief { &bytes[..bytes.len().min(BRIEF_BYTES)] } else { bytes };
    out.write_char('"')?;
    for &byte in shown {
        match byte {
            b'\n' => out.write_str("\\n")?,
            b'\r' => out.write_str("\\r")?,
            b'\t' => out.write_str("\\t")?,
            b'"' => out.write_str("\\\"")?,
            b'\\' => out.write_str("\\\\")?,
            0x20..=0x7e => out.write_char(char::from(byte))?,
            _ => write!(out, "\\x{byte:02x}")?,
        }
    }
    out.write_str(if shown.len() < bytes.len() { "\"..." } else { "\"" })
}

struct Shown<'a, T: ?Sized>(&'a T, Length);

impl Display for Shown<'_, [u8]> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        quoted(f, self.0, self.1)
    }
}

impl Display for Shown<'_, Data> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Data::Literal(bytes) => quoted(f, bytes, self.1),
            Data::Filler(n) => write!(f, "{n}"),
            Data::Unreadable(n) => write!(f, "NULL {n}"),
        }
    }
}

/// One buffer without brackets, several with.
fn list<T>(
    f: &mut Formatter<'_>,
    items: &[T],
    show: impl Fn(&mut Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    if let [one] = items {
        return show(f, one);
    }
    f.write_char('[')?;
    for (i, item) in items.iter().enumerate() {
        f.write_str(if i == 0 { "" } else { ", " })?;
        show(f, item)?;
    }
    f.write_char(']')
}

/// Set bits by name, the rest in hexadecimal; `0` for none.
fn bits(
    f: &mut Formatter<'_>,
    prefix: &str,
    value: u32,
    names: impl Iterator<Item = (&'static str, u32)>,
) -> fmt::Result {
    let mut rest = value;
    let mut first = true;
    for (name, bit) in names.filter(|(_, bit)| value & bit == *bit) {
        write!(f, "{}{prefix}{name}", if first { "" } else { "|" })?;
        rest &= !bit;
        first = false;
    }
    match (rest, first) {
        (0, true) => f.write_char('0'),
        (0, false) => Ok(()),
        (rest, true) => write!(f, "{rest:#x}"),
        (rest, false) => write!(f, "|{rest:#x}"),
    }
}

impl Display for MsgFlags {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        bits(f, "", self.0, Self::NAMES.iter().map(|(name, flag)| (*name, flag.0)))
    }
}

impl Display for PollEvents {
    /// With `poll`'s prefix: `POLLIN|POLLOUT`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        bits(f, "POLL", self.0, Self::NAMES.iter().map(|(name, flag)| (*name, flag.0)))
    }
}

/// With `epoll`'s prefix.
struct Epoll(PollEvents);

impl Display for Epoll {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        bits(f, "EPOLL", self.0.0, PollEvents::NAMES.iter().map(|(name, flag)| (*name, flag.0)))
    }
}

impl Display for SockAddr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            SockAddr::Ip(addr) => write!(f, "{addr}"),
            SockAddr::Unspec => f.write_str("AF_UNSPEC"),
        }
    }
}

impl Display for Cmsg {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Cmsg::Ttl(ttl) => write!(f, "IP_TTL {ttl}"),
            Cmsg::Tos(tos) => write!(f, "IP_TOS {tos}"),
            Cmsg::PktInfo { ifindex, spec_dst, addr } => {
                let name = if spec_dst.is_ipv6() { "IPV6_PKTINFO" } else { "IP_PKTINFO" };
                write!(f, "{name} {ifindex} src {spec_dst} dst {addr}")
            }
            Cmsg::ExtendedErr { errno, origin, ty, code, info, data, offender } => {
                write!(f, "IP_RECVERR {{ee_errno=")?;
                match errno.name() {
                    Some(name) => f.write_str(name)?,
                    None => write!(f, "{}", errno.0)?,
                }
                match origin {
                    1 => f.write_str(", ee_origin=LOCAL")?,
                    2 => f.write_str(", ee_origin=ICMP")?,
                    3 => f.write_str(", ee_origin=ICMP6")?,
                    4 => f.write_str(", ee_origin=TIMESTAMPING")?,
                    5 => f.write_str(", ee_origin=ZEROCOPY")?,
                    other => write!(f, ", ee_origin={other}")?,
                }
                write!(f, ", ee_type={ty}, ee_code={code}, ee_info={info}")?;
                if *data != 0 {
                    write!(f, ", ee_data={data}")?;
                }
                match offender {
                    Some(offender) => write!(f, ", offender={offender}}}"),
                    None => f.write_char('}'),
                }
            }
            Cmsg::Timestamp(ns) => write!(f, "SO_TIMESTAMPNS {ns}"),
            Cmsg::SegmentSize(size) => write!(f, "UDP_SEGMENT {size}"),
            Cmsg::Other(level, ty, bytes) => {
                write!(f, "cmsg {level} {ty} {}", Shown(bytes.as_slice(), Length::Whole))
            }
        }
    }
}

impl Display for OptValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            OptValue::Int(n) => write!(f, "{n}"),
            OptValue::Linger(on, seconds) => write!(f, "{{l_onoff={}, l_linger={seconds}}}", u8::from(*on)),
            OptValue::Timeval(seconds, micros) => write!(f, "{{tv_sec={seconds}, tv_usec={micros}}}"),
            OptValue::Membership(group, addr, ifindex) => {
                write!(f, "{{group={group}")?;
                if let Some(addr) = addr {
                    write!(f, ", addr={addr}")?;
                }
                write!(f, ", ifindex={ifindex}}}")
            }
            OptValue::Text(text) => write!(f, "{}", Shown(text.as_bytes(), Length::Whole)),
            OptValue::Bytes(bytes) => write!(f, "bytes {}", Shown(bytes.as_slice(), Length::Whole)),
        }
    }
}

impl Display for SockOpt {
    /// Level and name: `SOL_SOCKET, SO_REUSEADDR`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.level_symbol() {
            Some(level) => f.write_str(level)?,
            None => write!(f, "{}", self.level)?,
        }
        match self.symbol() {
            Some(name) => write!(f, ", {name}"),
            None => write!(f, ", {}", self.name),
        }
    }
}

/// `IPPROTO_UDP`, or the number.
fn protocol(number: u8) -> String {
    match super::parse::PROTOCOLS.iter().find(|(_, n)| *n == number && number != 0) {
        Some((name, _)) => (*name).to_owned(),
        None => number.to_string(),
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Shown(self, Length::Whole).fmt(f)
    }
}

impl Call {
    /// The call with data cut to 32 bytes, as `strace` shows it.
    pub fn brief(&self) -> String {
        Shown(self, Length::Brief).to_string()
    }

    /// The C function's name.
    pub fn name(&self) -> &'static str {
        match self {
            Call::Socket { .. } => "socket",
            Call::Bind { .. } => "bind",
            Call::Connect { .. } => "connect",
            Call::Listen { .. } => "listen",
            Call::Accept { nonblock: false, .. } => "accept",
            Call::Accept { nonblock: true, .. } => "accept4",
            Call::Read { .. } => "read",
            Call::Readv { .. } => "readv",
            Call::Recv { .. } => "recv",
            Call::RecvFrom { .. } => "recvfrom",
            Call::RecvMsg { .. } => "recvmsg",
            Call::Write { .. } => "write",
            Call::Writev { .. } => "writev",
            Call::Send { .. } => "send",
            Call::SendTo { .. } => "sendto",
            Call::SendMsg { .. } => "sendmsg",
            Call::Shutdown { .. } => "shutdown",
            Call::Close { .. } => "close",
            Call::Dup { .. } => "dup",
            Call::SetSockOpt { .. } => "setsockopt",
            Call::GetSockOpt { .. } => "getsockopt",
            Call::GetSockName { .. } => "getsockname",
            Call::GetPeerName { .. } => "getpeername",
            Call::Poll { .. } => "poll",
            Call::EpollCreate => "epoll_create1",
            Call::EpollCtl { .. } => "epoll_ctl",
            Call::EpollWait { .. } => "epoll_wait",
            Call::GetFl { .. } | Call::SetFl { .. } => "fcntl",
            Call::IoctlInq { .. } | Call::IoctlOutq { .. } => "ioctl",
        }
    }
}

impl Display for Shown<'_, Call> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.0.name())?;
        self.arguments(f)?;
        f.write_char(')')
    }
}

impl Shown<'_, Call> {
    #[expect(clippy::too_many_lines, reason = "one arm for each call")]
    fn arguments(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let length = self.1;
        let buffers = |f: &mut Formatter<'_>, data: &[Data]| list(f, data, |f, d| Shown(d, length).fmt(f));
        let lengths = |f: &mut Formatter<'_>, lens: &[usize]| list(f, lens, |f, n| write!(f, "{n}"));
        match self.0 {
            Call::Socket { domain, ty, protocol: number, nonblock } => {
                let domain = match domain {
                    Domain::Inet => "AF_INET",
                    Domain::Inet6 => "AF_INET6",
                };
                let ty = match ty {
                    SockType::Stream => "SOCK_STREAM",
                    SockType::Dgram => "SOCK_DGRAM",
                    SockType::Raw => "SOCK_RAW",
                };
                let flags = if *nonblock { "|SOCK_NONBLOCK" } else { "" };
                write!(f, "{domain}, {ty}{flags}, {}", protocol(*number))
            }
            Call::Bind { fd, addr } | Call::Connect { fd, addr } => write!(f, "{fd}, {addr}"),
            Call::Listen { fd, backlog } => write!(f, "{fd}, {backlog}"),
            Call::Accept { fd, nonblock } => {
                write!(f, "{fd}{}", if *nonblock { ", SOCK_NONBLOCK" } else { "" })
            }
            Call::Read { fd, len } => write!(f, "{fd}, {len}"),
            Call::Readv { fd, lens } => {
                write!(f, "{fd}, ")?;
                lengths(f, lens)
            }
            Call::Recv { fd, len, flags } | Call::RecvFrom { fd, len, flags } => {
                write!(f, "{fd}, {len}, {flags}")
            }
            Call::RecvMsg { fd, lens, control_len, flags } => {
                write!(f, "{fd}, ")?;
                lengths(f, lens)?;
                if *control_len != super::parse::DEFAULT_CONTROL_LEN {
                    write!(f, ", control={control_len}")?;
                }
                write!(f, ", {flags}")
            }
            Call::Write { fd, data } => write!(f, "{fd}, {}", Shown(data, length)),
            Call::Writev { fd, data } => {
                write!(f, "{fd}, ")?;
                buffers(f, data)
            }
            Call::Send { fd, data, flags } => write!(f, "{fd}, {}, {flags}", Shown(data, length)),
            Call::SendTo { fd, data, flags, addr } => {
                write!(f, "{fd}, {}, {flags}, {addr}", Shown(data, length))
            }
            Call::SendMsg { fd, addr, data, control, flags } => {
                write!(f, "{fd}, {{")?;
                if let Some(addr) = addr {
                    write!(f, "addr={addr}, ")?;
                }
                f.write_str("data=")?;
                buffers(f, data)?;
                if !control.is_empty() {
                    f.write_str(", control=[")?;
                    for (i, cmsg) in control.iter().enumerate() {
                        write!(f, "{}{cmsg}", if i == 0 { "" } else { ", " })?;
                    }
                    f.write_char(']')?;
                }
                write!(f, "}}, {flags}")
            }
            Call::Shutdown { fd, how } => {
                let how = match how {
                    Shutdown::Rd => "SHUT_RD",
                    Shutdown::Wr => "SHUT_WR",
                    Shutdown::RdWr => "SHUT_RDWR",
                };
                write!(f, "{fd}, {how}")
            }
            Call::Close { fd } | Call::Dup { fd } | Call::GetSockName { fd } | Call::GetPeerName { fd } => {
                write!(f, "{fd}")
            }
            Call::SetSockOpt { fd, opt, value } => write!(f, "{fd}, {opt}, {value}"),
            Call::GetSockOpt { fd, opt } => write!(f, "{fd}, {opt}"),
            Call::Poll { fds, timeout_ms } => {
                f.write_char('[')?;
                for (i, (fd, events)) in fds.iter().enumerate() {
                    write!(f, "{}{{{fd}, {events}}}", if i == 0 { "" } else { ", " })?;
                }
                write!(f, "], {timeout_ms}")
            }
            Call::EpollCreate => Ok(()),
            Call::EpollCtl { epfd, op, fd, events, data } => {
                let op = match op {
                    EpollOp::Add => "EPOLL_CTL_ADD",
                    EpollOp::Del => "EPOLL_CTL_DEL",
                    EpollOp::Mod => "EPOLL_CTL_MOD",
                };
                write!(f, "{epfd}, {op}, {fd}, {{{}, {data}}}", Epoll(*events))
            }
            Call::EpollWait { epfd, max_events, timeout_ms } => {
                write!(f, "{epfd}, {max_events}, {timeout_ms}")
            }
            Call::GetFl { fd } => write!(f, "{fd}, F_GETFL"),
            Call::SetFl { fd, nonblock } => {
                write!(f, "{fd}, F_SETFL, {}", if *nonblock { "O_NONBLOCK" } else { "0" })
            }
            Call::IoctlInq { fd } => write!(f, "{fd}, SIOCINQ"),
            Call::IoctlOutq { fd } => write!(f, "{fd}, SIOCOUTQ"),
        }
    }
}

impl Display for Ret {
    /// As `strace` writes it behind the `=`, data cut to 32 bytes: `5 "hello" from 192.0.2.2:9 MSG_TRUNC`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Shown(self, Length::Brief).fmt(f)
    }
}

impl Display for Shown<'_, Ret> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.value())?;
        match self.0 {
            Ret::Int(_) | Ret::Fd(_, None) => Ok(()),
            Ret::Fd(_, Some(peer)) => write!(f, " from {peer}"),
            Ret::Data { len: _, data, from, flags, control } => {
                write!(f, " {}", Shown(data.as_slice(), self.1))?;
                if let Some(from) = from {
                    write!(f, " from {from}")?;
                }
                if flags.0 != 0 {
                    write!(f, " {flags}")?;
                }
                if !control.is_empty() {
                    f.write_str(" [")?;
                    // What came from an IPv6 address came with IPv6's control messages (Linux: datagram.c
                    // ip6_datagram_recv_specific_ctl); an IPv4-mapped one has IPv4's.
                    let is_v6 = matches!(from, Some(SockAddr::Ip(a)) if a.ip().to_canonical().is_ipv6());
                    for (i, cmsg) in control.iter().enumerate() {
                        f.write_str(if i == 0 { "" } else { ", " })?;
                        match cmsg {
                            Cmsg::Ttl(limit) if is_v6 => write!(f, "IPV6_HOPLIMIT {limit}")?,
                            Cmsg::Tos(class) if is_v6 => write!(f, "IPV6_TCLASS {class}")?,
                            _ => write!(f, "{cmsg}")?,
                        }
                    }
                    f.write_char(']')?;
                }
                Ok(())
            }
            Ret::Addr(addr) => write!(f, " {addr}"),
            Ret::Opt(OptValue::Bytes(raw)) if let Some(info) = super::tcp_info::text(raw) => {
                write!(f, " {info}")
            }
            Ret::Opt(value) => write!(f, " [{value}]"),
            Ret::Poll(fds) if self.0.value() == 0 && fds.iter().all(|(_, e)| e.0 == 0) => {
                f.write_str(" (Timeout)")
            }
            Ret::Poll(fds) => {
                f.write_str(" [")?;
                let ready = fds.iter().filter(|(_, events)| events.0 != 0);
                for (i, (fd, events)) in ready.enumerate() {
                    write!(f, "{}{{{fd}, {events}}}", if i == 0 { "" } else { ", " })?;
                }
                f.write_char(']')
            }
            Ret::Epoll(events) if events.is_empty() => Ok(()),
            Ret::Epoll(events) => {
                f.write_str(" [")?;
                for (i, (bits, data)) in events.iter().enumerate() {
                    write!(f, "{}{{{}, {data}}}", if i == 0 { "" } else { ", " }, Epoll(*bits))?;
                }
                f.write_char(']')
            }
        }
    }
}

/// `-1 ECONNREFUSED (Connection refused)`
pub fn errno_text(errno: Errno) -> String {
    match errno.name() {
        Some(name) => format!("-1 {name} ({})", errno.text()),
        None => format!("-1 errno {} ({})", errno.0, errno.text()),
    }
}

/// What `strace` writes behind the `=`: `5 "hello"`, `0`, `-1 ECONNREFUSED (Connection refused)`.
pub fn result_text(result: &CallResult) -> String {
    match result {
        Ok(ret) => ret.to_string(),
        Err(errno) => errno_text(*errno),
    }
}

/// Cmsgs, options, addresses: whole; for [`super::codec`].
pub(super) fn epoll_bits(events: PollEvents) -> String {
    Epoll(events).to_string()
}
