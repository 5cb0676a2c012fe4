//! Reads calls: one recursive-descent parser over bytes, no recursion deeper than the grammar. Here: which calls there are,
//! and what arguments of many have in common; the families have files of their own.

mod address;
mod message;
mod option;
mod ready;
mod socket;
mod transfer;

use wire::Bytes;

pub(super) use message::ExtendedErrFields;

use super::super::{Call, Data, Fd, MsgFlags, PollEvents};
use super::scan::{Parsed, Parser};
use super::{CallTextError, Env};

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
}
