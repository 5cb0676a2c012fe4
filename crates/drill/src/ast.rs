//! A script as written: options, events and what is in them. Nothing is resolved here but numbers and defines.

use std::net::IpAddr;

/// Microseconds: the unit of script times.
pub type Usecs = i64;

/// A whole script.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    /// `--name=value` lines, in order.
    pub options: Vec<(String, Option<String>)>,
    /// The shell command before the first event.
    pub init: Option<Shell>,
    /// What happens, in order; never empty.
    pub events: Vec<Event>,
    /// The shell command after the last event.
    pub cleanup: Option<Shell>,
}

/// A shell command and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Shell {
    /// Line of its first character, from 1.
    pub line: u32,
    /// As written between the back quotes.
    pub text: String,
}

/// Something that happens at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The line of the time, from 1.
    pub line: u32,
    /// When.
    pub time: Time,
    /// What.
    pub what: What,
}

/// The time forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// `1.5`
    Absolute(Usecs),
    /// `+1.5`: after the event before.
    Relative(Usecs),
    /// `1~2`
    AbsoluteRange(Usecs, Usecs),
    /// `+1~+2`
    RelativeRange(Usecs, Usecs),
    /// `*`
    Any,
}

/// The kinds of event.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// `< …` or `> …`
    Packet(Box<Packet>),
    /// `call(…) = …`
    Syscall(Box<Syscall>),
    /// `` `…` ``
    Shell(Shell),
    /// `%{ … }%`
    Code(String),
}

/// A packet of the script.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// `<`: injected. Otherwise `>`: the host must send it.
    pub inbound: bool,
    /// Headers around the one below: `ipv4 a > b:`, `gre:`, `mpls …:`.
    pub outer: Vec<Outer>,
    /// `[ect0]`, `(ttl 64)`, …
    pub ip: IpInfo,
    /// `encap psp spi N`
    pub psp: Option<u32>,
    /// `sport > dport`
    pub ports: Option<(u16, u16)>,
    /// What it carries.
    pub body: Body,
}

/// An outer header.
#[derive(Clone, Debug, PartialEq)]
pub enum Outer {
    /// `ipv4 a > b:` or `ipv6 a > b:`
    Ip {
        /// Source.
        src: IpAddr,
        /// Destination.
        dst: IpAddr,
        /// `[tos …]` and so on.
        info: IpInfo,
    },
    /// `gre …:` with its words.
    Gre(String),
    /// `mpls (…)…:` with its words.
    Mpls(String),
}

/// What the script says about the IP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpInfo {
    /// The traffic class.
    pub tos: Tos,
    /// `ttl N`; 0 is not said.
    pub ttl: u8,
    /// `flowlabel N`; 0 is not said.
    pub flow_label: u32,
}

/// How the TOS byte is set (inbound) or checked (outbound).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tos {
    /// Not said: 0 inbound, unchecked outbound.
    #[default]
    Unsaid,
    /// `noecn`, `ect1`, `ect0`, `ce`: the two bits.
    Ecn(u8),
    /// `ect01`: either.
    Ect01,
    /// `tos 0xNN`: the whole byte.
    Byte(u8),
}

/// The protocol part of a packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// TCP.
    Tcp(Tcp),
    /// `udp (len)`
    Udp {
        /// Payload bytes.
        len: u16,
    },
    /// `icmp …`
    Icmp(Icmp),
}

/// A TCP segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Tcp {
    /// FIN to AE, with the bits of [`wire::tcp::Flags`].
    pub flags: u16,
    /// The flags had a digit: the three ECN bits are AccECN's counter, which is then compared as one.
    pub ace: bool,
    /// First sequence number.
    pub seq: u32,
    /// Payload bytes.
    pub len: u16,
    /// `ack N`; 0 is not said.
    pub ack: u32,
    /// `win N`
    pub window: Option<u16>,
    /// `urg N`
    pub urgent: u16,
    /// Options in order; `None` is `<...>`: not checked.
    pub options: Option<Vec<TcpOption>>,
}

/// A TCP option as written; exact order and padding matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// `nop`
    Nop,
    /// `eol`
    Eol,
    /// `mss N`
    Mss(u16),
    /// `wscale N`
    WindowScale(u8),
    /// `sackOK`
    SackPermitted,
    /// `sack a:b …`
    Sack(Vec<(u32, u32)>),
    /// `TS val N ecr N`
    Timestamps {
        /// TSval
        val: u32,
        /// TSecr
        ecr: u32,
    },
    /// `FO hex` and `FOEXP hex`; no digits: a request.
    FastOpen {
        /// The cookie.
        cookie: Vec<u8>,
        /// `FOEXP`: kind 254 with 0xF989.
        experimental: bool,
    },
    /// `md5 hex`
    Md5(Vec<u8>),
    /// `ECN e0b N …` (kind 172) or `ECN e1b N …` (kind 174): the 24-bit counters in order.
    AccEcn {
        /// `e1b` came first.
        e1b_first: bool,
        /// Up to three.
        counters: Vec<u32>,
    },
}

/// An ICMP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// The type's name, such as `unreachable`.
    pub kind: String,
    /// The code's name, such as `frag_needed`.
    pub code: Option<String>,
    /// `mtu N`
    pub mtu: Option<u32>,
    /// `id N`
    pub id: u16,
    /// What it quotes.
    pub quoted: Quoted,
}

/// What an ICMP message quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoted {
    /// `[seq:end(len)]`, or nothing said (all 0): the segment that caused it.
    Tcp {
        /// Sequence number.
        seq: u32,
        /// Payload bytes of the quoted segment.
        len: u16,
    },
    /// `[udp (len)]`
    Udp {
        /// Payload bytes of the quoted datagram.
        len: u16,
    },
    /// `[raw (len)]`: nothing quoted, so many bytes of message.
    Raw {
        /// Bytes from the ICMP header on.
        len: u16,
    },
}

/// A system call with what it must return.
#[derive(Clone, Debug, PartialEq)]
pub struct Syscall {
    /// `...b`: made in a thread of its own, must return at that time (in the event's own time form).
    pub end: Option<Usecs>,
    /// The call's name.
    pub name: String,
    /// Arguments.
    pub args: Vec<Expr>,
    /// The result expected.
    pub result: Expr,
    /// The error expected, such as `EINPROGRESS`.
    pub errno: Option<String>,
}

/// An argument or result.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// `...`
    Ellipsis,
    /// `5`, `0x10`
    Int(i64),
    /// `SOCK_STREAM`
    Word(String),
    /// `"text"`, escapes resolved; adjacent strings are one.
    Text(Vec<u8>),
    /// `A | B`
    Or(Box<Expr>, Box<Expr>),
    /// `name = value` outside of braces
    Assign(String, Box<Expr>),
    /// `[a, b]`
    List(Vec<Expr>),
    /// `{a, b}` without names
    Tuple(Vec<Expr>),
    /// `{name = value, name(arg) = value}`
    Struct(Vec<Field>),
    /// `htons(8080)`, `inet_addr("1.2.3.4")`
    Apply(String, Vec<Expr>),
    /// `gre …` or `mpls …` headers as socket option values: the words in the braces
    Raw(String),
}

/// A member of a braces expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// `msg_iov(1) = …` has one.
    pub arg: Option<Expr>,
    /// Its value.
    pub value: Expr,
}

impl Expr {
    /// The member `name` of a struct.
    pub fn field(&self, name: &str) -> Option<&Expr> {
        match self {
            Expr::Struct(fields) => fields.iter().find(|f| f.name == name).map(|f| &f.value),
            _ => None,
        }
    }
}
