//! One line of text for each call and result, nothing lost: what goes through the pipe to the call agent.
//!
//! Calls use the text that people read, with numbers for names. Results name their kind first, because
//! `= 0` alone does not tell `getsockname`'s answer from `bind`'s.

use super::super::{Call, CallResult, OptValue, Ret, SockOpt};
use super::scan::Parser;
use super::show::{Length, epoll_bits, quoted};
use super::{CallTextError, parse_call};
use crate::errno::Errno;

/// A call as one line that [`decode_call`] reads. `sin6_flowinfo` is not carried.
pub fn encode_call(call: &Call) -> String {
    call.to_string()
}

/// Reads what [`encode_call`] wrote.
pub fn decode_call(text: &str) -> Result<Call, CallTextError> {
    parse_call(text, &())
}

/// A result as one line that [`decode_result`] reads.
pub fn encode_result(result: &CallResult) -> String {
    use core::fmt::Write;
    let mut out = String::new();
    let ret = match result {
        Ok(ret) => ret,
        Err(errno) => return format!("err {}", errno.0),
    };
    let written = match ret {
        Ret::Int(n) => write!(out, "int {n}"),
        Ret::Fd(fd, None) => write!(out, "fd {fd}"),
        Ret::Fd(fd, Some(peer)) => write!(out, "fd {fd} {peer}"),
        Ret::Data { len, data, from, flags, control } => {
            let mut parts = write!(out, "data {len} ").and_then(|()| quoted(&mut out, data, Length::Whole));
            if let Some(from) = from {
                parts = parts.and_then(|()| write!(out, " from {from}"));
            }
            parts = parts.and_then(|()| write!(out, " flags {:#x}", flags.0));
            for cmsg in control {
                parts = parts.and_then(|()| write!(out, ", {cmsg}"));
            }
            parts
        }
        Ret::Addr(addr) => write!(out, "addr {addr}"),
        Ret::Opt(value) => write!(out, "opt {value}"),
        Ret::Poll(fds) => {
            let parts: Vec<String> = fds.iter().map(|(fd, events)| format!("{{{fd}, {events}}}")).collect();
            write!(out, "poll {}", parts.join(" "))
        }
        Ret::Epoll(events) => {
            let parts: Vec<String> =
                events.iter().map(|(bits, data)| format!("{{{}, {data}}}", epoll_bits(*bits))).collect();
            write!(out, "epoll {}", parts.join(" "))
        }
    };
    written.expect("writing to a String does not fail");
    out
}

/// Reads what [`encode_result`] wrote.
pub fn decode_result(text: &str) -> Result<CallResult, CallTextError> {
    let mut p = Parser::new(text, &());
    let kind = p.word("kind of result")?;
    let ret = match kind {
        "err" => {
            let errno = Errno(p.int("errno")?);
            p.end()?;
            return Ok(Err(errno));
        }
        "int" => Ret::Int(p.number("number")?),
        "fd" => {
            let fd = p.int("descriptor")?;
            let peer = if p.peek().is_some() { Some(p.sock_addr()?) } else { None };
            Ret::Fd(fd, peer)
        }
        "data" => data(&mut p)?,
        "addr" => Ret::Addr(p.sock_addr()?),
        "opt" => {
            let value: OptValue = p.opt_value(SockOpt { level: -1, name: -1 })?;
            Ret::Opt(value)
        }
        "poll" | "epoll" => {
            let (mut fds, mut events) = (Vec::new(), Vec::new());
            while p.eat('{') {
                if kind == "poll" {
                    let fd = p.int("descriptor")?;
                    p.expect(',')?;
                    fds.push((fd, p.events()?));
                } else {
                    let bits = p.events()?;
                    p.expect(',')?;
                    events.push((bits, p.unsigned()?));
                }
                p.expect('}')?;
            }
            if kind == "poll" { Ret::Poll(fds) } else { Ret::Epoll(events) }
        }
        other => return Err(p.fail(0, other.len(), format!("'{other}' is no kind of result"), None)),
    };
    p.end()?;
    Ok(Ok(ret))
}

fn data(p: &mut Parser<'_>) -> Result<Ret, CallTextError> {
    let len = p.int("length")?;
    let data = p.string()?.into();
    let from = if p.eat_word("from") { Some(p.sock_addr()?) } else { None };
    if !p.eat_word("flags") {
        return Err(p.unexpected("'flags'"));
    }
    let flags = super::super::MsgFlags(p.int("flags")?);
    let mut control = Vec::new();
    while p.eat(',') {
        control.push(p.cmsg()?);
    }
    Ok(Ret::Data { len, data, from, flags, control })
}
