//! What a scenario expects of a call, in one string, and whether a result meets it.

use core::fmt;
use std::net::IpAddr;

use super::super::{CallResult, Cmsg, Data, MsgFlags, OptValue, PollEvents, Ret, SockAddr};
use super::parse::ExtendedErrFields;
use super::scan::Parser;
use super::{CallTextError, Env, nearest, result_text, tcp_info};
use crate::errno::Errno;

/// An expectation: any number of terms, all of which a result must meet.
///
/// | term | holds when |
/// |---|---|
/// | `5`, `= 5`, `!= 0`, `> 0`, `>= 1`, `< 9`, `<= 9` | the return value compares so; of `getsockopt`: the option's value |
/// | `ECONNREFUSED`, `= -1 ECONNREFUSED`, `EAGAIN\|EINTR` | the call failed with (one of) that; or `SO_ERROR` is that |
/// | `ok` | the call did not fail |
/// | `"hello"`, `"hel"...`, `filler` | these are the bytes received; they begin so; they are [`Data::Filler`]'s |
/// | `from server:53`, `from server:*` | the sender; the peer of `accept` |
/// | `tcpi_snd_cwnd 10`, `tcpi_rto >= 200000` | a field of `TCP_INFO` compares so |
/// | `192.0.2.1:53`, `*:53`, `*:*` | the address of `getsockname` and `getpeername` |
/// | `MSG_TRUNC`, `!MSG_TRUNC` | `msg_flags` has it, has it not |
/// | `IP_TTL 63`, `IP_PKTINFO eth0`, `IP_RECVERR {ECONNREFUSED, offender=server}` | such a control message is there (unwritten fields are free) |
/// | `POLLIN\|POLLOUT`, `{s, POLLIN}`, `{EPOLLIN, 7}` | exactly these events are reported (for the first that is ready; for that one) |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    text: String,
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Value(Compare, i64),
    Errno(Vec<Errno>),
    Success,
    Bytes(Vec<u8>),
    Prefix(Vec<u8>),
    Filler,
    From(AddrPattern),
    Addr(AddrPattern),
    Flags(MsgFlags, bool),
    Control(Cmsg),
    ExtendedErr(ExtendedErrFields),
    Events(PollEvents),
    FdEvents(i32, PollEvents),
    EpollEvents(PollEvents, u64),
    TcpInfo(&'static str, Compare, i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
}

/// An address with free parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AddrPattern {
    ip: Option<IpAddr>,
    port: Option<u16>,
}

impl AddrPattern {
    fn takes(self, addr: SockAddr) -> bool {
        match addr {
            SockAddr::Ip(addr) => {
                self.ip.is_none_or(|ip| ip == addr.ip()) && self.port.is_none_or(|port| port == addr.port())
            }
            SockAddr::Unspec => false,
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Words that begin a term, for "did you mean".
const WORDS: &[&str] =
    &["ok", "from", "filler", "IP_TTL", "IP_TOS", "IP_PKTINFO", "IP_RECVERR", "IPV6_PKTINFO"];

impl Expect {
    /// Reads an expectation.
    pub fn parse(text: &str, env: &dyn Env) -> Result<Expect, CallTextError> {
        let mut p = Parser::new(text, env);
        let mut terms = Vec::new();
        while p.peek().is_some() {
            term(&mut p, &mut terms)?;
            p.eat(',');
        }
        if terms.is_empty() {
            return Err(p.fail(
                0,
                0,
                "the expectation is empty".into(),
                Some("write 'ok' for any success".into()),
            ));
        }
        Ok(Expect { text: text.trim().to_owned(), terms })
    }

    /// Whether it names an error: then the call is meant to fail.
    pub fn wants_error(&self) -> bool {
        self.terms.iter().any(|term| matches!(term, Term::Errno(_)))
    }

    /// Holds a result against it; the error says what came instead.
    pub fn matches(&self, result: &CallResult) -> Result<(), String> {
        match self.terms.iter().find(|term| !term.holds(result)) {
            None => Ok(()),
            Some(_) => Err(format!("expected {}, got {}", self.text, result_text(result))),
        }
    }
}

/// Longer marks first.
const COMPARISONS: &[(&str, Compare)] = &[
    ("!=", Compare::NotEqual),
    (">=", Compare::GreaterEqual),
    ("<=", Compare::LessEqual),
    ("==", Compare::Equal),
    ("=", Compare::Equal),
    (">", Compare::Greater),
    ("<", Compare::Less),
];

fn term(p: &mut Parser<'_>, terms: &mut Vec<Term>) -> Result<(), CallTextError> {
    if let Some((_, compare)) = COMPARISONS.iter().find(|(mark, _)| p.eat_str(mark)) {
        // "= ECONNREFUSED" and "= "hello"" are fine too: the mark then only stands there for the reader.
        if !p.peek().is_some_and(|c| c.is_ascii_digit() || c == '-') || is_addr(p) {
            return if *compare == Compare::Equal { Ok(()) } else { Err(p.unexpected("a number")) };
        }
        return value(p, *compare, terms);
    }
    match p.peek() {
        Some('"') => {
            let bytes = p.string()?;
            terms.push(if p.eat_str("...") { Term::Prefix(bytes) } else { Term::Bytes(bytes) });
            return Ok(());
        }
        Some('{') => return braces(p, terms),
        Some('[') => {
            // "[5]" is how results show an option's value; "[2001:db8::1]:53" is an address.
            if is_addr(p) {
                terms.push(Term::Addr(addr_pattern(p)?));
            } else {
                p.eat('[');
                while !p.eat(']') {
                    term(p, terms)?;
                    p.eat(',');
                }
            }
            return Ok(());
        }
        Some('(') => {
            // strerror's text behind an errno.
            p.at += p.text[p.at..].find(')').map_or(p.text.len() - p.at, |n| n + 1);
            return Ok(());
        }
        Some('!') => {
            p.eat('!');
            let flags = p.msg_flags()?;
            terms.push(Term::Flags(flags, false));
            return Ok(());
        }
        _ => {}
    }
    if is_addr(p) {
        terms.push(Term::Addr(addr_pattern(p)?));
        return Ok(());
    }
    if p.peek().is_some_and(|c| c.is_ascii_digit() || c == '-') {
        return value(p, Compare::Equal, terms);
    }
    word(p, terms)
}

/// A number; `-1` before an errno is that errno.
fn value(p: &mut Parser<'_>, compare: Compare, terms: &mut Vec<Term>) -> Result<(), CallTextError> {
    let n = p.number("number")?;
    if n != -1 || !p.peek().is_some_and(|c| c == 'E' || c == 'e') {
        terms.push(Term::Value(compare, n));
    }
    Ok(())
}

/// Whether what stands here is an address with a port.
fn is_addr(p: &mut Parser<'_>) -> bool {
    p.peek();
    let rest = &p.text[p.at..];
    let token = rest.split([' ', ',', '"', '{', '}']).next().unwrap_or("");
    let Some((host, port)) = token.rsplit_once(':') else { return false };
    let port = port.trim_end_matches(']');
    !host.is_empty()
        && (port == "*" || (!port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())))
        && (!host.starts_with('[') || host.ends_with(']'))
}

fn addr_pattern(p: &mut Parser<'_>) -> Result<AddrPattern, CallTextError> {
    if p.eat_str("*:") {
        let port = if p.eat('*') { None } else { Some(p.int("port")?) };
        return Ok(AddrPattern { ip: None, port });
    }
    let (ip, port, _scope) = p.address(true)?;
    Ok(AddrPattern { ip: Some(ip), port })
}

/// `{s, POLLIN}` or `{EPOLLIN, 7}`.
fn braces(p: &mut Parser<'_>, terms: &mut Vec<Term>) -> Result<(), CallTextError> {
    p.expect('{')?;
    if p.text[p.at..].trim_start().starts_with("EPOLL") {
        let events = p.events()?;
        p.expect(',')?;
        p.label("data");
        terms.push(Term::EpollEvents(events, p.unsigned()?));
    } else {
        p.label("fd");
        let fd = p.fd()?;
        p.expect(',')?;
        p.label("revents");
        terms.push(Term::FdEvents(fd, p.events()?));
    }
    p.expect('}')
}

fn word(p: &mut Parser<'_>, terms: &mut Vec<Term>) -> Result<(), CallTextError> {
    let back = p.at;
    let word = p.word("expectation")?;
    let term = match word {
        "ok" | "success" => Term::Success,
        "filler" => Term::Filler,
        "from" => Term::From(addr_pattern(p)?),
        "IP_RECVERR" | "IPV6_RECVERR" => Term::ExtendedErr(p.extended_err()?),
        _ if word.starts_with("MSG_") => {
            p.at = back;
            Term::Flags(p.msg_flags()?, true)
        }
        _ if word.starts_with("POLL") || word.starts_with("EPOLL") => {
            p.at = back;
            Term::Events(p.events()?)
        }
        _ if word.starts_with("IP")
            || word.starts_with("SO_")
            || word.starts_with("UDP_")
            || word == "cmsg" =>
        {
            p.at = back;
            Term::Control(p.cmsg()?)
        }
        _ if word.starts_with("tcpi_") => {
            let Some(field) = tcp_info::names().find(|name| *name == word) else {
                let hint = nearest(word, tcp_info::names()).map(|near| format!("did you mean '{near}'?"));
                return Err(p.fail(back, p.at, format!("'{word}' is no field of TCP_INFO"), hint));
            };
            let compare =
                COMPARISONS.iter().find(|(mark, _)| p.eat_str(mark)).map_or(Compare::Equal, |c| c.1);
            Term::TcpInfo(field, compare, p.number("number")?)
        }
        "errno" => Term::Errno(vec![Errno(p.int("errno")?)]),
        _ if word.starts_with('E') => {
            p.at = back;
            let mut errnos = vec![p.errno()?];
            while p.eat('|') {
                errnos.push(p.errno()?);
            }
            Term::Errno(errnos)
        }
        _ => {
            let known = WORDS
                .iter()
                .copied()
                .chain(Errno::names())
                .chain(MsgFlags::NAMES.iter().map(|(name, _)| *name));
            let hint = nearest(word, known).map(|near| format!("did you mean '{near}'?"));
            return Err(p.fail(back, p.at, format!("'{word}' is nothing that can be expected"), hint));
        }
    };
    terms.push(term);
    Ok(())
}

impl Term {
    fn holds(&self, result: &CallResult) -> bool {
        let ret = match (self, result) {
            (Term::Errno(errnos), Err(errno)) => return errnos.contains(errno),
            (Term::Value(compare, n), Err(_)) => return compare.holds(-1, *n),
            (_, Err(_)) => return false,
            (_, Ok(ret)) => ret,
        };
        match self {
            Term::Success => true,
            Term::Value(compare, n) => match ret {
                Ret::Opt(OptValue::Int(value)) => compare.holds(*value, *n),
                ret => compare.holds(ret.value(), *n),
            },
            Term::Errno(errnos) => match ret {
                Ret::Opt(OptValue::Int(value)) => errnos.iter().any(|e| i64::from(e.0) == *value),
                _ => false,
            },
            Term::Bytes(bytes) => match ret {
                Ret::Data { data, .. } => data.as_slice() == bytes.as_slice(),
                Ret::Opt(OptValue::Text(text)) => text.as_bytes() == bytes.as_slice(),
                Ret::Opt(OptValue::Bytes(raw)) => raw.as_slice() == bytes.as_slice(),
                _ => false,
            },
            Term::Prefix(bytes) => matches!(ret, Ret::Data { data, .. } if data.starts_with(bytes)),
            Term::Filler => match ret {
                Ret::Data { data, .. } => {
                    u32::try_from(data.len()).is_ok_and(|n| Data::Filler(n).bytes() == *data)
                }
                _ => false,
            },
            Term::From(pattern) => match ret {
                Ret::Data { from: Some(addr), .. } | Ret::Fd(_, Some(addr)) => pattern.takes(*addr),
                _ => false,
            },
            Term::Addr(pattern) => match ret {
                Ret::Addr(addr) | Ret::Data { from: Some(addr), .. } | Ret::Fd(_, Some(addr)) => {
                    pattern.takes(*addr)
                }
                _ => false,
            },
            Term::Flags(wanted, present) => match ret {
                Ret::Data { flags, .. } if *present => flags.has(*wanted),
                Ret::Data { flags, .. } => flags.0 & wanted.0 == 0,
                _ => false,
            },
            Term::Control(wanted) => control(ret).iter().any(|cmsg| cmsg_takes(wanted, cmsg)),
            Term::ExtendedErr(wanted) => control(ret).iter().any(|cmsg| wanted.takes(cmsg)),
            Term::Events(wanted) => match ret {
                Ret::Poll(fds) => fds.iter().find(|(_, e)| e.0 != 0).is_some_and(|(_, e)| e == wanted),
                Ret::Epoll(events) => events.first().is_some_and(|(e, _)| e == wanted),
                _ => false,
            },
            Term::TcpInfo(name, compare, n) => match ret {
                Ret::Opt(OptValue::Bytes(raw)) => {
                    let value = tcp_info::field(raw, name).and_then(|v| i64::try_from(v).ok());
                    value.is_some_and(|v| compare.holds(v, *n))
                }
                _ => false,
            },
            Term::FdEvents(fd, wanted) => matches!(ret, Ret::Poll(fds) if fds.contains(&(*fd, *wanted))),
            Term::EpollEvents(wanted, data) => {
                matches!(ret, Ret::Epoll(events) if events.contains(&(*wanted, *data)))
            }
        }
    }
}

impl Compare {
    fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Compare::Equal => left == right,
            Compare::NotEqual => left != right,
            Compare::Greater => left > right,
            Compare::GreaterEqual => left >= right,
            Compare::Less => left < right,
            Compare::LessEqual => left <= right,
        }
    }
}

fn control(ret: &Ret) -> &[Cmsg] {
    match ret {
        Ret::Data { control, .. } => control,
        _ => &[],
    }
}

/// Equal, but for parts of packet information that were not written.
fn cmsg_takes(wanted: &Cmsg, found: &Cmsg) -> bool {
    match (wanted, found) {
        (
            Cmsg::PktInfo { ifindex, spec_dst, addr },
            Cmsg::PktInfo { ifindex: found_ifindex, spec_dst: found_spec_dst, addr: found_addr },
        ) => {
            (*ifindex == 0 || ifindex == found_ifindex)
                && (spec_dst.is_unspecified() || spec_dst == found_spec_dst)
                && (addr.is_unspecified() || addr == found_addr)
        }
        (wanted, found) => wanted == found,
    }
}

impl ExtendedErrFields {
    fn takes(&self, found: &Cmsg) -> bool {
        let Cmsg::ExtendedErr { errno, origin, ty, code, info, data, offender } = found else { return false };
        self.errno.is_none_or(|e| e == *errno)
            && self.origin.is_none_or(|o| o == *origin)
            && self.ty.is_none_or(|t| t == *ty)
            && self.code.is_none_or(|c| c == *code)
            && self.info.is_none_or(|i| i == *info)
            && self.data.is_none_or(|d| d == *data)
            && self.offender.is_none_or(|o| Some(o) == *offender)
    }
}
