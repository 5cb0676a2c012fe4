//! Reads calls: one recursive-descent parser over bytes, no recursion deeper than the grammar.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use wire::Bytes;

use super::super::{
    Call, Cmsg, Data, Domain, EpollOp, Fd, MsgFlags, OptValue, PollEvents, Shutdown, SockAddr, SockOpt,
    SockType,
};
use super::scan::{Parsed, Parser};
use super::{CallTextError, Env, nearest};
use crate::errno::Errno;
use crate::socket::options::{LEVELS, VALUES};

/// `msg_controllen` of `recvmsg` when the text does not say.
pub(super) const DEFAULT_CONTROL_LEN: usize = 512;

/// `IPPROTO_*` of `socket()`.
pub(super) const PROTOCOLS: &[(&str, u8)] = &[
    ("IPPROTO_IP", 0),
    ("IPPROTO_ICMP", 1),
    ("IPPROTO_IGMP", 2),
    ("IPPROTO_IPIP", 4),
    ("IPPROTO_TCP", 6),
    ("IPPROTO_UDP", 17),
    ("IPPROTO_GRE", 47),
    ("IPPROTO_ICMPV6", 58),
    ("IPPROTO_RAW", 255),
];

/// Every call that can be written, for "did you mean".
const CALLS: &[&str] = &[
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "accept4",
    "read",
    "readv",
    "recv",
    "recvfrom",
    "recvmsg",
    "write",
    "writev",
    "send",
    "sendto",
    "sendmsg",
    "shutdown",
    "close",
    "dup",
    "setsockopt",
    "getsockopt",
    "getsockname",
    "getpeername",
    "poll",
    "epoll_create",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "fcntl",
    "ioctl",
];

/// Reads one call such as `sendto(s, "hello", 0, server:9)`. Arguments that C programs often leave at 0 (`flags`,
/// `protocol`) may be omitted from the right; a bare number where data is expected is [`Data::Filler`].
pub fn parse_call(text: &str, env: &dyn Env) -> Result<Call, CallTextError> {
    let mut p = Parser::new(text, env);
    let call = p.call()?;
    p.eat(';');
    p.end()?;
    Ok(call)
}

impl Parser<'_> {
    // --- arguments -------------------------------------------------------------------------------

    /// Whether another argument follows; takes the comma before it.
    fn more(&mut self) -> Parsed<bool> {
        match self.peek() {
            Some(')') => Ok(false),
            _ if self.first => {
                self.first = false;
                Ok(self.peek().is_some())
            }
            Some(',') => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.unexpected("',' or ')'")),
        }
    }

    /// Another argument must follow.
    fn next(&mut self, what: &str) -> Parsed<()> {
        if self.more()? {
            return Ok(());
        }
        let message = format!("{}() lacks an argument: {what}", self.call);
        Err(self.fail(self.at, self.at, message, None))
    }

    /// One of these words, by its value.
    fn one_of<T: Copy>(&mut self, what: &str, known: &[(&str, T)]) -> Parsed<T> {
        let word = self.word(what)?;
        match known.iter().find(|(name, _)| *name == word) {
            Some((_, value)) => Ok(*value),
            None => Err(self.unknown(self.at - word.len(), what, known.iter().map(|(name, _)| *name))),
        }
    }

    /// Words joined by `|`; numbers are taken as bits.
    pub(super) fn flags(&mut self, what: &str, prefix: &str, known: &[(&str, u32)]) -> Parsed<u32> {
        let mut bits = 0;
        loop {
            self.space();
            if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
                bits |= self.int::<u32>(what)?;
            } else {
                let word = self.word(what)?;
                let bare = word.strip_prefix(prefix);
                match bare.and_then(|bare| known.iter().find(|(name, _)| *name == bare)) {
                    Some((_, bit)) => bits |= bit,
                    None => {
                        let names: Vec<String> =
                            known.iter().map(|(name, _)| format!("{prefix}{name}")).collect();
                        return Err(self.unknown(
                            self.at - word.len(),
                            what,
                            names.iter().map(String::as_str),
                        ));
                    }
                }
            }
            if !self.eat('|') {
                return Ok(bits);
            }
        }
    }

    pub(super) fn msg_flags(&mut self) -> Parsed<MsgFlags> {
        self.space();
        let start = self.at;
        let known: Vec<(&str, u32)> = MsgFlags::NAMES.iter().map(|(name, flag)| (*name, flag.0)).collect();
        let bits = self.flags("MSG_ flag", "", &known)?;
        let written = &self.text[start..self.at];
        if bits != 0 && written.bytes().all(|b| b.is_ascii_digit()) {
            let hint = "a length is not written: the data has one. Write flags by name or in hexadecimal";
            return Err(self.fail(
                start,
                self.at,
                format!("{written} stands where flags are expected"),
                Some(hint.into()),
            ));
        }
        Ok(MsgFlags(bits))
    }

    /// Flags as the last argument, 0 when absent.
    fn last_flags(&mut self) -> Parsed<MsgFlags> {
        if self.more()? { self.msg_flags() } else { Ok(MsgFlags(0)) }
    }

    pub(super) fn events(&mut self) -> Parsed<PollEvents> {
        let known: Vec<(&str, u32)> = PollEvents::NAMES.iter().map(|(name, flag)| (*name, flag.0)).collect();
        self.space();
        let prefix = if self.rest().starts_with('E') { "EPOLL" } else { "POLL" };
        self.flags("event", prefix, &known).map(PollEvents)
    }

    /// A descriptor: a variable or a number.
    pub(super) fn fd(&mut self) -> Parsed<Fd> {
        self.space();
        let word = self.word_here();
        if word.is_empty() {
            return self.int("descriptor");
        }
        self.at += word.len();
        match self.env.fd(word) {
            Some(fd) => Ok(fd),
            None => {
                let names = self.env.names();
                Err(self.unknown(self.at - word.len(), "descriptor", names.iter().map(String::as_str)))
            }
        }
    }

    fn first_fd(&mut self) -> Parsed<Fd> {
        self.next("the descriptor")?;
        self.fd()
    }

    /// An IP address or a host's name, without port.
    pub(super) fn ip(&mut self) -> Parsed<IpAddr> {
        self.space();
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || "_-.:".contains(c))).unwrap_or(rest.len());
        let start = self.at;
        self.at += end;
        self.resolve(start, &rest[..end], rest[..end].contains(':'))
    }

    fn resolve(&self, start: usize, name: &str, ipv6: bool) -> Parsed<IpAddr> {
        if let Ok(ip) = name.parse() {
            return Ok(ip);
        }
        if name == "*" {
            return Ok(if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() });
        }
        if let Some(ip) = self.env.host(name, ipv6) {
            return Ok(ip);
        }
        let names = self.env.names();
        let hint =
            nearest(name, names.iter().map(String::as_str)).map(|near| format!("did you mean '{near}'?"));
        let message = match name {
            "" => "an address is missing".into(),
            name => format!("'{name}' is neither an IP address nor a host with one"),
        };
        Err(self.fail(start, start + name.len(), message, hint))
    }

    /// `192.0.2.1:53`, `[2001:db8::1]:53`, `[fe80::1%eth0]:53`, `server:53`, `*:53`, `AF_UNSPEC`.
    pub(super) fn sock_addr(&mut self) -> Parsed<SockAddr> {
        if self.eat_word("AF_UNSPEC") {
            return Ok(SockAddr::Unspec);
        }
        self.address(false).map(|(ip, port, scope)| {
            let port = port.expect("no '*' allowed");
            SockAddr::Ip(match ip {
                IpAddr::V4(_) => SocketAddr::new(ip, port),
                IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
            })
        })
    }

    /// Address, port and scope; port `None` for `*` where that is allowed.
    pub(super) fn address(&mut self, any_port: bool) -> Parsed<(IpAddr, Option<u16>, u32)> {
        self.space();
        let start = self.at;
        let ipv6 = self.eat('[');
        let from = self.at;
        let stop: &[char] = if ipv6 { &[']', '%', ',', ')'] } else { &[':', ',', ')', ' ', '}'] };
        self.at += self.rest().find(stop).unwrap_or(self.rest().len());
        let ip = self.resolve(from, &self.text[from..self.at], ipv6)?;
        let mut scope = 0;
        if ipv6 && self.eat('%') {
            scope = self.ifindex()?;
        }
        if ipv6 {
            self.expect(']')?;
        }
        if !self.rest().starts_with(':') {
            let message = format!("'{}' has no port", &self.text[start..self.at]);
            let hint = Some(format!("write {}:PORT", &self.text[start..self.at]));
            return Err(self.fail(start, self.at, message, hint));
        }
        self.at += 1;
        if any_port && self.eat('*') {
            return Ok((ip, None, scope));
        }
        Ok((ip, Some(self.int("port")?), scope))
    }

    /// An interface by name or number.
    fn ifindex(&mut self) -> Parsed<u32> {
        self.space();
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            return self.int("interface number");
        }
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || "_-.@".contains(c))).unwrap_or(rest.len());
        let name = &rest[..end];
        if name.is_empty() {
            return Err(self.unexpected("an interface"));
        }
        self.at += end;
        self.env.ifindex(name).ok_or_else(|| {
            let names = self.env.names();
            self.unknown(self.at - end, "interface of this host", names.iter().map(String::as_str))
        })
    }

    /// A string, or a number of filler bytes.
    fn data(&mut self) -> Parsed<Data> {
        if self.peek() == Some('"') {
            return Ok(Data::Literal(Bytes::from(self.string()?)));
        }
        if self.eat_word("NULL") {
            return self.int("a number of bytes").map(Data::Unreadable);
        }
        self.int("data (a string, or a number of bytes)").map(Data::Filler)
    }

    /// One item, or several in brackets.
    fn list<T>(&mut self, item: impl Fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        if !self.eat('[') {
            return Ok(vec![item(self)?]);
        }
        let mut items = Vec::new();
        while !self.eat(']') {
            if !items.is_empty() {
                self.expect(',')?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn length(&mut self) -> Parsed<usize> {
        self.int("length")
    }

    /// `name=` before a value; the name may be left out where `name` comes next anyway.
    pub(super) fn label(&mut self, name: &str) -> bool {
        let back = self.at;
        let found = self.eat_word(name) && self.eat('=');
        if !found {
            self.at = back;
        }
        found
    }

    // --- control messages and option values ------------------------------------------------------

    pub(super) fn cmsg(&mut self) -> Parsed<Cmsg> {
        const KNOWN: &[&str] = &[
            "IP_TTL",
            "IPV6_HOPLIMIT",
            "IP_TOS",
            "IPV6_TCLASS",
            "IP_PKTINFO",
            "IPV6_PKTINFO",
            "IP_RECVERR",
            "IPV6_RECVERR",
            "SO_TIMESTAMPNS",
            "UDP_SEGMENT",
            "UDP_GRO",
            "cmsg",
        ];
        match self.word("control message")? {
            "IP_TTL" | "IPV6_HOPLIMIT" => self.int("TTL").map(Cmsg::Ttl),
            "IP_TOS" | "IPV6_TCLASS" => self.int("TOS").map(Cmsg::Tos),
            "IP_PKTINFO" => self.pktinfo(Ipv4Addr::UNSPECIFIED.into()),
            "IPV6_PKTINFO" => self.pktinfo(Ipv6Addr::UNSPECIFIED.into()),
            "IP_RECVERR" | "IPV6_RECVERR" => {
                let e = self.extended_err()?;
                Ok(Cmsg::ExtendedErr {
                    errno: e.errno.unwrap_or(Errno(0)),
                    origin: e.origin.unwrap_or(0),
                    ty: e.ty.unwrap_or(0),
                    code: e.code.unwrap_or(0),
                    info: e.info.unwrap_or(0),
                    data: e.data.unwrap_or(0),
                    offender: e.offender,
                })
            }
            "SO_TIMESTAMPNS" => self.unsigned().map(Cmsg::Timestamp),
            "UDP_SEGMENT" | "UDP_GRO" => self.int("segment size").map(Cmsg::SegmentSize),
            "cmsg" => {
                let (level, ty) = (self.int("level")?, self.int("type")?);
                Ok(Cmsg::Other(level, ty, self.string()?.into()))
            }
            word => Err(self.unknown(self.at - word.len(), "control message", KNOWN.iter().copied())),
        }
    }

    /// `eth0 src 192.0.2.1 dst 192.0.2.1`, each part optional.
    fn pktinfo(&mut self, unspecified: IpAddr) -> Parsed<Cmsg> {
        let (mut spec_dst, mut addr, mut ifindex) = (unspecified, unspecified, 0);
        loop {
            if self.eat_word("src") {
                spec_dst = self.ip()?;
            } else if self.eat_word("dst") {
                addr = self.ip()?;
            } else if ifindex == 0 && self.peek().is_some_and(char::is_alphanumeric) {
                ifindex = self.ifindex()?;
            } else {
                return Ok(Cmsg::PktInfo { ifindex, spec_dst, addr });
            }
        }
    }

    /// The fields of `struct sock_extended_err` that are written.
    pub(super) fn extended_err(&mut self) -> Parsed<ExtendedErrFields> {
        const KNOWN: &[&str] =
            &["ee_errno", "ee_origin", "ee_type", "ee_code", "ee_info", "ee_data", "offender"];
        let mut e = ExtendedErrFields::default();
        self.expect('{')?;
        while !self.eat('}') {
            let word = self.word("field of sock_extended_err")?;
            let start = self.at - word.len();
            if let Some(errno) = Errno::from_name(word) {
                e.errno = Some(errno);
            } else {
                let known = KNOWN.contains(&word);
                if !known {
                    return Err(self.unknown(start, "field of sock_extended_err", KNOWN.iter().copied()));
                }
                self.expect('=')?;
                match word {
                    "ee_errno" => e.errno = Some(self.errno()?),
                    "ee_origin" => e.origin = Some(self.origin()?),
                    "ee_type" => e.ty = Some(self.int("ICMP type")?),
                    "ee_code" => e.code = Some(self.int("ICMP code")?),
                    "ee_info" => e.info = Some(self.int("ee_info")?),
                    "ee_data" => e.data = Some(self.int("ee_data")?),
                    _ => e.offender = Some(self.ip()?),
                }
            }
            self.eat(',');
        }
        Ok(e)
    }

    pub(super) fn errno(&mut self) -> Parsed<Errno> {
        self.space();
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            return self.int("errno").map(Errno);
        }
        let word = self.word("errno")?;
        Errno::from_name(word).ok_or_else(|| self.unknown(self.at - word.len(), "errno", Errno::names()))
    }

    fn origin(&mut self) -> Parsed<u8> {
        self.space();
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            return self.int("ee_origin");
        }
        self.eat_str("SO_EE_ORIGIN_");
        self.one_of(
            "ee_origin",
            &[("NONE", 0), ("LOCAL", 1), ("ICMP", 2), ("ICMP6", 3), ("TIMESTAMPING", 4), ("ZEROCOPY", 5)],
        )
    }

    fn sockopt(&mut self) -> Parsed<SockOpt> {
        self.next("the option's level")?;
        self.space();
        let digit = |p: &Self| p.rest().starts_with(|c: char| c.is_ascii_digit() || c == '-');
        let level = if digit(self) { self.int("level")? } else { self.one_of("level of options", LEVELS)? };
        self.next("the option")?;
        self.space();
        if digit(self) {
            return Ok(SockOpt { level, name: self.int("option")? });
        }
        let word = self.word("socket option")?;
        let start = self.at - word.len();
        let Some(opt) = SockOpt::from_symbol(word) else {
            let known = SockOpt::NAMES.iter().map(|(name, _)| *name);
            return Err(self.unknown(start, "socket option", known));
        };
        if opt.level != level {
            let right = opt.level_symbol().expect("every named option has a named level");
            let hint = Some(format!("write {right}, {word}"));
            return Err(self.fail(start, self.at, format!("{word} is no option of this level"), hint));
        }
        Ok(opt)
    }

    pub(super) fn opt_value(&mut self, opt: SockOpt) -> Parsed<OptValue> {
        match self.peek() {
            Some('"') => {
                let start = self.at;
                let text = String::from_utf8(self.string()?)
                    .map_err(|_| self.fail(start, self.at, "the text is not UTF-8".into(), None))?;
                return Ok(OptValue::Text(text));
            }
            Some('{') => return self.opt_struct(),
            _ => {}
        }
        if self.eat_word("bytes") {
            return Ok(OptValue::Bytes(self.string()?.into()));
        }
        let start = self.at;
        let end = self.token_end();
        let token = &self.text[start..end];
        if let Some((_, value)) = VALUES.iter().find(|(name, _)| *name == token) {
            self.at = end;
            return Ok(OptValue::Int(*value));
        }
        if token.contains('.') || token.contains(':') {
            return self.ip().map(|ip| match (opt, ip) {
                (SockOpt::IP_MULTICAST_IF, IpAddr::V4(addr)) => {
                    OptValue::Membership(Ipv4Addr::UNSPECIFIED.into(), Some(addr), 0)
                }
                (_, group) => OptValue::Membership(group, None, 0),
            });
        }
        if matches!(opt, SockOpt::SO_RCVTIMEO | SockOpt::SO_SNDTIMEO) {
            if let Some(ms) = token.strip_suffix("ms").and_then(|n| n.parse::<i64>().ok()) {
                self.at = end;
                return Ok(OptValue::Timeval(ms / 1000, ms % 1000 * 1000));
            }
            if let Some(s) = token.strip_suffix('s').and_then(|n| n.parse::<i64>().ok()) {
                self.at = end;
                return Ok(OptValue::Timeval(s, 0));
            }
        }
        if token.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            return self.int("value of the option").map(OptValue::Int);
        }
        if let Some(ifindex) = self.env.ifindex(token) {
            self.at = end;
            return Ok(OptValue::Int(i64::from(ifindex)));
        }
        self.at = end;
        Err(self.unknown(start, "value of an option", VALUES.iter().map(|(name, _)| *name)))
    }

    /// `{l_onoff=1, l_linger=5}`, `{tv_sec=1, tv_usec=0}`, `{group=239.1.1.1, addr=192.0.2.1, ifindex=eth0}`.
    fn opt_struct(&mut self) -> Parsed<OptValue> {
        const KNOWN: &[&str] = &["l_onoff", "l_linger", "tv_sec", "tv_usec", "group", "addr", "ifindex"];
        let start = self.at;
        self.expect('{')?;
        let (mut linger, mut timeval) = ((None, None), (None, None));
        let (mut group, mut addr, mut ifindex) = (None, None, None);
        while !self.eat('}') {
            let word = self.word("field")?;
            if !KNOWN.contains(&word) {
                return Err(self.unknown(
                    self.at - word.len(),
                    "field of an option's value",
                    KNOWN.iter().copied(),
                ));
            }
            self.expect('=')?;
            match word {
                "l_onoff" => linger.0 = Some(self.number("l_onoff")?),
                "l_linger" => linger.1 = Some(self.int("l_linger")?),
                "tv_sec" => timeval.0 = Some(self.number("tv_sec")?),
                "tv_usec" => timeval.1 = Some(self.number("tv_usec")?),
                "group" => group = Some(self.ip()?),
                "addr" => {
                    let from = self.at;
                    let IpAddr::V4(v4) = self.ip()? else {
                        return Err(self.fail(from, self.at, "addr is an IPv4 address".into(), None));
                    };
                    addr = Some(v4);
                }
                _ => ifindex = Some(self.ifindex()?),
            }
            self.eat(',');
        }
        match (linger, timeval, group, addr, ifindex) {
            ((Some(on), seconds), (None, None), None, None, None) => {
                Ok(OptValue::Linger(on != 0, seconds.unwrap_or(0)))
            }
            ((None, None), (s, us), None, None, None) if s.or(us).is_some() => {
                Ok(OptValue::Timeval(s.unwrap_or(0), us.unwrap_or(0)))
            }
            ((None, None), (None, None), group, addr, ifindex)
                if group.is_some() || addr.is_some() || ifindex.is_some() =>
            {
                let group = group.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
                Ok(OptValue::Membership(group, addr, ifindex.unwrap_or(0)))
            }
            _ => Err(self.fail(start, self.at, "these fields do not belong together".into(), None)),
        }
    }

    // --- calls -----------------------------------------------------------------------------------

    fn call(&mut self) -> Parsed<Call> {
        self.call = self.word("a system call")?;
        if !CALLS.contains(&self.call) {
            return Err(self.unknown(self.at - self.call.len(), "system call", CALLS.iter().copied()));
        }
        self.expect('(')?;
        self.first = true;
        let call = self.arguments()?;
        if self.peek() != Some(')') {
            return Err(match self.peek() {
                Some(',') => {
                    let message = format!("{}() takes no further argument", self.call);
                    self.fail(self.at, self.at + 1, message, None)
                }
                _ => self.unexpected("')'"),
            });
        }
        self.expect(')')?;
        Ok(call)
    }

    fn arguments(&mut self) -> Parsed<Call> {
        match self.call {
            "socket" => self.socket(),
            "epoll_create" | "epoll_create1" => {
                if self.more()? {
                    self.number("size")?;
                }
                Ok(Call::EpollCreate)
            }
            "poll" => self.poll(),
            "epoll_ctl" | "epoll_wait" => self.epoll(),
            "fcntl" | "ioctl" => self.control(),
            "bind" | "connect" => {
                let fd = self.first_fd()?;
                self.next("the address")?;
                let addr = self.sock_addr()?;
                Ok(if self.call == "bind" { Call::Bind { fd, addr } } else { Call::Connect { fd, addr } })
            }
            "write" | "writev" | "send" | "sendto" | "sendmsg" => self.output(),
            "read" | "readv" | "recv" | "recvfrom" | "recvmsg" => self.input(),
            "setsockopt" | "getsockopt" => {
                let fd = self.first_fd()?;
                let opt = self.sockopt()?;
                if self.call == "getsockopt" {
                    return Ok(Call::GetSockOpt { fd, opt });
                }
                self.next("the value")?;
                Ok(Call::SetSockOpt { fd, opt, value: self.opt_value(opt)? })
            }
            _ => self.plain(),
        }
    }

    /// Calls with a descriptor and at most one word.
    fn plain(&mut self) -> Parsed<Call> {
        let fd = self.first_fd()?;
        Ok(match self.call {
            "listen" => {
                let backlog = if self.more()? { self.int("backlog")? } else { 4096 };
                Call::Listen { fd, backlog }
            }
            "accept" | "accept4" => {
                let flags = if self.more()? {
                    self.flags("flag of accept4", "", &[("SOCK_NONBLOCK", 1), ("SOCK_CLOEXEC", 0)])?
                } else {
                    0
                };
                Call::Accept { fd, nonblock: flags & 1 != 0 }
            }
            "shutdown" => {
                self.next("SHUT_RD, SHUT_WR or SHUT_RDWR")?;
                let how =
                    [("SHUT_RD", Shutdown::Rd), ("SHUT_WR", Shutdown::Wr), ("SHUT_RDWR", Shutdown::RdWr)];
                Call::Shutdown { fd, how: self.one_of("direction", &how)? }
            }
            "close" => Call::Close { fd },
            "dup" => Call::Dup { fd },
            "getsockname" => Call::GetSockName { fd },
            "getpeername" => Call::GetPeerName { fd },
            other => unreachable!("{other} is in CALLS and has no arm"),
        })
    }

    fn socket(&mut self) -> Parsed<Call> {
        self.next("the domain")?;
        let domain = self.one_of("domain", &[("AF_INET", Domain::Inet), ("AF_INET6", Domain::Inet6)])?;
        self.next("the type")?;
        const TYPES: &[(&str, u32)] = &[
            ("SOCK_STREAM", 1),
            ("SOCK_DGRAM", 2),
            ("SOCK_RAW", 3),
            ("SOCK_NONBLOCK", 0x800),
            ("SOCK_CLOEXEC", 0),
        ];
        let start = self.at;
        let bits = self.flags("socket type", "", TYPES)?;
        let ty = match bits & 0xff {
            1 => SockType::Stream,
            2 => SockType::Dgram,
            3 => SockType::Raw,
            _ => {
                return Err(self.fail(
                    start,
                    self.at,
                    "the type is SOCK_STREAM, SOCK_DGRAM or SOCK_RAW".into(),
                    None,
                ));
            }
        };
        let protocol = match self.more()? {
            false => 0,
            true if self.peek().is_some_and(|c| c.is_ascii_digit()) => self.int("protocol")?,
            true => self.one_of("protocol", PROTOCOLS)?,
        };
        Ok(Call::Socket { domain, ty, protocol, nonblock: bits & 0x800 != 0 })
    }

    fn input(&mut self) -> Parsed<Call> {
        let fd = self.first_fd()?;
        self.next("the buffer's length")?;
        Ok(match self.call {
            "read" => Call::Read { fd, len: self.length()? },
            "readv" => Call::Readv { fd, lens: self.list(Self::length)? },
            "recv" => Call::Recv { fd, len: self.length()?, flags: self.last_flags()? },
            "recvfrom" => Call::RecvFrom { fd, len: self.length()?, flags: self.last_flags()? },
            _ => {
                let lens = self.list(Self::length)?;
                let (mut control_len, mut flags) = (DEFAULT_CONTROL_LEN, MsgFlags(0));
                if self.more()? {
                    if self.label("control") {
                        control_len = self.length()?;
                        flags = self.last_flags()?;
                    } else {
                        flags = self.msg_flags()?;
                    }
                }
                Call::RecvMsg { fd, lens, control_len, flags }
            }
        })
    }

    fn output(&mut self) -> Parsed<Call> {
        let fd = self.first_fd()?;
        self.next("the data")?;
        Ok(match self.call {
            "write" => Call::Write { fd, data: self.data()? },
            "writev" => Call::Writev { fd, data: self.list(Self::data)? },
            "send" => Call::Send { fd, data: self.data()?, flags: self.last_flags()? },
            "sendto" => {
                let data = self.data()?;
                self.next("the flags or the address")?;
                let end = self.token_end();
                let token = &self.text[self.at..end];
                let is_flags =
                    token.starts_with("MSG_") || !token.contains(':') && token.parse::<u32>().is_ok();
                let flags = if is_flags || token.starts_with("0x") {
                    let flags = self.msg_flags()?;
                    self.next("the address")?;
                    flags
                } else {
                    MsgFlags(0)
                };
                Call::SendTo { fd, data, flags, addr: self.sock_addr()? }
            }
            _ => self.sendmsg(fd)?,
        })
    }

    fn sendmsg(&mut self, fd: Fd) -> Parsed<Call> {
        const KNOWN: &[&str] = &["addr", "data", "control"];
        let (mut addr, mut data, mut control) = (None, Vec::new(), Vec::new());
        self.expect('{')?;
        while !self.eat('}') {
            let word = self.word("addr=, data= or control=")?;
            if !KNOWN.contains(&word) {
                return Err(self.unknown(self.at - word.len(), "field of a message", KNOWN.iter().copied()));
            }
            self.expect('=')?;
            match word {
                "addr" => addr = Some(self.sock_addr()?),
                "data" => data = self.list(Self::data)?,
                _ => control = self.list(Self::cmsg)?,
            }
            self.eat(',');
        }
        Ok(Call::SendMsg { fd, addr, data, control, flags: self.last_flags()? })
    }

    fn poll(&mut self) -> Parsed<Call> {
        self.next("the descriptors")?;
        let fds = self.list(|p| {
            p.expect('{')?;
            p.label("fd");
            let fd = p.fd()?;
            p.expect(',')?;
            p.label("events");
            let events = p.events()?;
            p.expect('}')?;
            Ok((fd, events))
        })?;
        Ok(Call::Poll { fds, timeout_ms: if self.more()? { self.int("timeout")? } else { -1 } })
    }

    fn epoll(&mut self) -> Parsed<Call> {
        let epfd = self.first_fd()?;
        if self.call == "epoll_wait" {
            self.next("the greatest number of events")?;
            let max_events = self.int("number of events")?;
            return Ok(Call::EpollWait {
                epfd,
                max_events,
                timeout_ms: if self.more()? { self.int("timeout")? } else { -1 },
            });
        }
        self.next("the operation")?;
        let ops = [
            ("EPOLL_CTL_ADD", EpollOp::Add),
            ("EPOLL_CTL_DEL", EpollOp::Del),
            ("EPOLL_CTL_MOD", EpollOp::Mod),
        ];
        let op = self.one_of("operation", &ops)?;
        self.next("the descriptor")?;
        let fd = self.fd()?;
        let (mut events, mut data) = (PollEvents(0), u64::try_from(fd).unwrap_or(0));
        if self.more()? {
            let braces = self.eat('{');
            self.label("events");
            events = self.events()?;
            if braces && self.eat(',') {
                self.label("data");
                data = self.unsigned()?;
            }
            if braces {
                self.expect('}')?;
            }
        }
        Ok(Call::EpollCtl { epfd, op, fd, events, data })
    }

    /// All 64 bits of `epoll_data`.
    pub(super) fn unsigned(&mut self) -> Parsed<u64> {
        self.space();
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        match rest[..end].parse() {
            Ok(value) => {
                self.at += end;
                Ok(value)
            }
            Err(_) => Err(self.unexpected("a number")),
        }
    }

    fn control(&mut self) -> Parsed<Call> {
        let fd = self.first_fd()?;
        self.next("the command")?;
        if self.call == "ioctl" {
            let inq = [("SIOCINQ", true), ("FIONREAD", true), ("SIOCOUTQ", false), ("TIOCOUTQ", false)];
            let inq = self.one_of("ioctl command", &inq)?;
            return Ok(if inq { Call::IoctlInq { fd } } else { Call::IoctlOutq { fd } });
        }
        if !self.one_of("fcntl command", &[("F_GETFL", false), ("F_SETFL", true)])? {
            return Ok(Call::GetFl { fd });
        }
        self.next("O_NONBLOCK or 0")?;
        let bits = self.flags("file status flag", "", &[("O_NONBLOCK", 0x800), ("O_RDWR", 2)])?;
        Ok(Call::SetFl { fd, nonblock: bits & 0x800 != 0 })
    }
}

/// Fields of an extended error; `None` where the text is silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ExtendedErrFields {
    pub(super) errno: Option<Errno>,
    pub(super) origin: Option<u8>,
    pub(super) ty: Option<u8>,
    pub(super) code: Option<u8>,
    pub(super) info: Option<u32>,
    pub(super) data: Option<u32>,
    pub(super) offender: Option<IpAddr>,
}
