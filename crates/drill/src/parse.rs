//! From tokens to a script: packetdrill's grammar, by recursive descent with one token of look-ahead.

mod expr;
mod packet;
#[cfg(test)]
mod tests;

use core::fmt;

use crate::ast::{Event, Script, Shell, Syscall, Time, Usecs, What};
use crate::config::Define;
use crate::lex::{Located, Token, lex};

/// What is wrong with a script, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// From 1.
    pub line: u32,
    /// What is wrong, without the place.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl core::error::Error for ParseError {}

/// Words of the grammar: packetdrill replaces no define with one of these names.
const KEYWORDS: &[&str] = &[
    "sa_family",
    "sin_port",
    "sin_addr",
    "msg_name",
    "msg_iov",
    "msg_flags",
    "msg_control",
    "cmsg_data",
    "cmsg_level",
    "cmsg_type",
    "ee_errno",
    "ee_origin",
    "ee_type",
    "ee_code",
    "ee_info",
    "ee_data",
    "scm_sec",
    "scm_nsec",
    "fd",
    "u32",
    "u64",
    "ptr",
    "events",
    "revents",
    "onoff",
    "linger",
    "htons",
    "ipv4",
    "ipv6",
    "icmp",
    "udp",
    "GREv0",
    "gre",
    "raw",
    "sum",
    "off",
    "key",
    "seq",
    "none",
    "checksum",
    "present",
    "encap",
    "psp",
    "spi",
    "mpls",
    "label",
    "tc",
    "ttl",
    "inet_addr",
    "inet6_addr",
    "ack",
    "eol",
    "ecr",
    "mss",
    "mtu",
    "nop",
    "sack",
    "sackOK",
    "md5",
    "TS",
    "FO",
    "FOEXP",
    "ECN",
    "e0b",
    "e1b",
    "ceb",
    "tos",
    "flowlabel",
    "flags",
    "Flags",
    "val",
    "win",
    "urg",
    "wscale",
    "ect01",
    "ect0",
    "ect1",
    "noecn",
    "ce",
    "id",
];

/// Reads a script. `defines` are those of the command line; the script's own `--define` lines are added to them.
///
/// ```
/// let script = drill::parse("0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 > S 0:0(0) <...>\n", &[]).unwrap();
/// assert_eq!(script.events.len(), 2);
/// ```
pub fn parse(text: &str, defines: &[Define]) -> Result<Script, ParseError> {
    let mut parser = Parser { tokens: lex(text)?, at: 0, defines: defines.to_vec() };
    parser.script()
}

pub(crate) struct Parser {
    tokens: Vec<Located>,
    at: usize,
    defines: Vec<Define>,
}

type Parsed<T> = Result<T, ParseError>;

impl Parser {
    /// The next token, with defines put in.
    fn peek(&self) -> Token {
        let token = &self.tokens[self.at].token;
        let Token::Word(word) = token else { return token.clone() };
        if KEYWORDS.contains(&word.as_str()) {
            return token.clone();
        }
        match self.defines.iter().rev().find(|d| d.name == *word) {
            Some(define) => define.token(),
            None => token.clone(),
        }
    }

    /// The token after the next, as written.
    fn peek_second(&self) -> &Token {
        self.tokens.get(self.at + 1).map_or(&Token::End, |l| &l.token)
    }

    fn line(&self) -> u32 {
        self.tokens[self.at].line
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    fn error<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError { line: self.line(), message: message.into() })
    }

    fn unexpected<T>(&self, wanted: &str) -> Parsed<T> {
        self.error(format!("expected {wanted}, found {}", self.peek().show()))
    }

    fn is_char(&self, c: char) -> bool {
        self.peek() == Token::Char(c)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(w) if w == word)
    }

    /// Takes the character if it is next.
    fn eat(&mut self, c: char) -> bool {
        let here = self.is_char(c);
        if here {
            self.next();
        }
        here
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let here = self.is_word(word);
        if here {
            self.next();
        }
        here
    }

    fn need(&mut self, c: char) -> Parsed<()> {
        if self.eat(c) { Ok(()) } else { self.unexpected(&format!("`{c}`")) }
    }

    fn word(&mut self, wanted: &str) -> Parsed<String> {
        match self.peek() {
            Token::Word(word) => {
                self.next();
                Ok(word)
            }
            _ => self.unexpected(wanted),
        }
    }

    /// A decimal number that fits `T`.
    fn number<T: TryFrom<i64>>(&mut self, what: &str) -> Parsed<T> {
        match self.peek() {
            Token::Int(n, _) | Token::Hex(n) => match T::try_from(n) {
                Ok(n) => {
                    self.next();
                    Ok(n)
                }
                Err(_) => self.error(format!("{what} {n} is out of range")),
            },
            _ => self.unexpected(what),
        }
    }

    fn script(&mut self) -> Parsed<Script> {
        let mut script = Script::default();
        while let Token::Option(name) = self.peek() {
            self.next();
            let value = if self.eat('=') { Some(self.option_value()?) } else { None };
            if name == "define" || name == "D" {
                let Some(define) = value.as_deref().and_then(Define::parse) else {
                    return self.error("--define wants SYMBOL=value");
                };
                // The command line's defines win.
                if !self.defines.iter().any(|d| d.name == define.name) {
                    self.defines.push(define);
                }
            }
            script.options.push((name, value));
        }
        if let Token::Shell(text) = self.peek() {
            script.init = Some(Shell { line: self.line(), text });
            self.next();
        }
        while self.peek() != Token::End {
            if let Token::Shell(text) = self.peek() {
                script.cleanup = Some(Shell { line: self.line(), text });
                self.next();
                if self.peek() != Token::End {
                    return self.error("an event without a time");
                }
                break;
            }
            script.events.push(self.event()?);
        }
        match script.events.first() {
            None => self.error("a script needs an event"),
            Some(first) if !matches!(first.time, Time::Absolute(0) | Time::Relative(0)) => {
                let (line, message) = (first.line, "the first event must be at time 0".into());
                Err(ParseError { line, message })
            }
            Some(_) => Ok(script),
        }
    }

    fn option_value(&mut self) -> Parsed<String> {
        let first = match self.next() {
            Token::Int(_, text) | Token::Float(_, text) | Token::Text(text) => text,
            Token::Hex(n) => format!("{n:#x}"),
            Token::Ip4(a) => a.to_string(),
            Token::Ip6(a) => a.to_string(),
            Token::Word(word) => word,
            _ => {
                self.at -= 1;
                return self.unexpected("a value");
            }
        };
        if !self.eat('=') {
            return Ok(first);
        }
        let second = match self.next() {
            Token::Word(word) => word,
            Token::Int(_, text) => text,
            Token::Hex(n) => format!("{n:#x}"),
            Token::Text(text) => format!("\"{text}\""),
            Token::Shell(text) => format!("`{text}`"),
            _ => {
                self.at -= 1;
                return self.unexpected("a value");
            }
        };
        Ok(format!("{first}={second}"))
    }

    fn seconds(&mut self) -> Parsed<Usecs> {
        let usecs = match self.peek() {
            Token::Float(usecs, _) => usecs,
            Token::Int(n, _) => match n.checked_mul(1_000_000) {
                Some(usecs) => usecs,
                None => return self.error(format!("{n} seconds is too long")),
            },
            _ => return self.unexpected("a time"),
        };
        if usecs < 0 {
            return self.error("negative time");
        }
        self.next();
        Ok(usecs)
    }

    fn time(&mut self) -> Parsed<Time> {
        if self.eat('*') {
            return Ok(Time::Any);
        }
        let relative = self.eat('+');
        let start = self.seconds()?;
        if !self.eat('~') {
            return Ok(if relative { Time::Relative(start) } else { Time::Absolute(start) });
        }
        if relative {
            self.need('+')?;
        }
        let end = self.seconds()?;
        if end < start {
            return self.error("time range is backwards");
        }
        Ok(if relative { Time::RelativeRange(start, end) } else { Time::AbsoluteRange(start, end) })
    }

    fn event(&mut self) -> Parsed<Event> {
        let line = self.line();
        let time = self.time()?;
        let what = match self.peek() {
            Token::Char('<' | '>') => What::Packet(Box::new(self.packet()?)),
            Token::Shell(text) => {
                let line = self.line();
                self.next();
                What::Shell(Shell { line, text })
            }
            Token::Code(text) => {
                self.next();
                What::Code(text)
            }
            _ => What::Syscall(Box::new(self.syscall()?)),
        };
        let outbound = matches!(&what, What::Packet(p) if !p.inbound);
        match time {
            Time::Any if !outbound => Err(ParseError {
                line,
                message: "event time <star> can only be used with outbound packets".into(),
            }),
            Time::AbsoluteRange(..) | Time::RelativeRange(..) if !outbound => Err(ParseError {
                line,
                message: "event time range can only be used with outbound packets".into(),
            }),
            _ => Ok(Event { line, time, what }),
        }
    }

    fn syscall(&mut self) -> Parsed<Syscall> {
        let end = if self.peek() == Token::Ellipsis {
            self.next();
            Some(self.seconds()?)
        } else {
            None
        };
        let name = self.word("a packet, a system call, a shell command or a code block")?;
        self.need('(')?;
        let args = self.expressions(')')?;
        self.need('=')?;
        let result = self.expression()?;
        let errno = match self.peek() {
            Token::Word(word) => {
                self.next();
                Some(word)
            }
            _ => None,
        };
        if self.eat('(') {
            while !self.eat(')') {
                if self.peek() == Token::End {
                    return self.unexpected("`)`");
                }
                self.next();
            }
        }
        Ok(Syscall { end, name, args, result, errno })
    }
}
