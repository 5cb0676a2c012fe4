//! The vocabulary of system calls: one type for the stack's API, scenario files, packetdrill scripts
//! and the agent that makes the calls on a real kernel.
//!
//! Arguments and results are as Linux has them; `strace`'s words are the text form ([`text`]).

use std::net::SocketAddr;
use std::sync::OnceLock;

use wire::Bytes;

use crate::errno::Errno;

pub mod text;

/// A process's file descriptor.
pub type Fd = i32;

/// `AF_INET`, `AF_INET6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Domain {
    /// `AF_INET`
    Inet,
    /// `AF_INET6`
    Inet6,
}

/// `SOCK_STREAM`, `SOCK_DGRAM`, `SOCK_RAW`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SockType {
    /// `SOCK_STREAM`
    Stream,
    /// `SOCK_DGRAM`
    Dgram,
    /// `SOCK_RAW`
    Raw,
}

/// A `struct sockaddr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SockAddr {
    /// `AF_INET` or `AF_INET6` (with `sin6_scope_id`).
    Ip(SocketAddr),
    /// `AF_UNSPEC`: dissolves an association in `connect()`.
    Unspec,
}

/// The bytes that a program writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// These bytes.
    Literal(Bytes),
    /// So many bytes of a repeating pattern (byte *i* is `i % 251`), for sizes that matter more than content.
    Filler(u32),
    /// So many bytes at an address that cannot be read (`NULL`): `EFAULT` where the kernel copies them.
    Unreadable(u32),
}

impl Data {
    /// How many bytes.
    pub fn len(&self) -> usize {
        match self {
            Data::Literal(b) => b.len(),
            Data::Filler(n) | Data::Unreadable(n) => *n as usize,
        }
    }

    /// No bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes themselves; none of what cannot be read.
    pub fn bytes(&self) -> Bytes {
        match self {
            Data::Literal(b) => b.clone(),
            Data::Unreadable(_) => Bytes::from(Vec::new()),
            Data::Filler(n) => filler(*n as usize),
        }
    }
}

/// The first `n` bytes of 0, 1, … 250, 0, …; up to 64 KiB of them are made once.
fn filler(n: usize) -> Bytes {
    const MADE: usize = 64 << 10;
    static FILLER: OnceLock<Bytes> = OnceLock::new();
    let make = |n: usize| Bytes::from((0..n).map(|i| (i % 251) as u8).collect::<Vec<u8>>()); // below 251
    if n > MADE { make(n) } else { FILLER.get_or_init(|| make(MADE)).slice(0..n) }
}

/// `MSG_*` flags of send and receive calls, and those that `recvmsg` returns. Linux's bit values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MsgFlags(pub u32);

impl MsgFlags {
    /// `MSG_OOB`
    pub const OOB: MsgFlags = MsgFlags(0x1);
    /// `MSG_PEEK`
    pub const PEEK: MsgFlags = MsgFlags(0x2);
    /// `MSG_DONTROUTE`
    pub const DONTROUTE: MsgFlags = MsgFlags(0x4);
    /// `MSG_CTRUNC`
    pub const CTRUNC: MsgFlags = MsgFlags(0x8);
    /// `MSG_TRUNC`
    pub const TRUNC: MsgFlags = MsgFlags(0x20);
    /// `MSG_DONTWAIT`
    pub const DONTWAIT: MsgFlags = MsgFlags(0x40);
    /// `MSG_EOR`
    pub const EOR: MsgFlags = MsgFlags(0x80);
    /// `MSG_WAITALL`
    pub const WAITALL: MsgFlags = MsgFlags(0x100);
    /// `MSG_CONFIRM`
    pub const CONFIRM: MsgFlags = MsgFlags(0x800);
    /// `MSG_ERRQUEUE`
    pub const ERRQUEUE: MsgFlags = MsgFlags(0x2000);
    /// `MSG_NOSIGNAL`
    pub const NOSIGNAL: MsgFlags = MsgFlags(0x4000);
    /// `MSG_MORE`
    pub const MORE: MsgFlags = MsgFlags(0x8000);
    /// `MSG_ZEROCOPY`
    pub const ZEROCOPY: MsgFlags = MsgFlags(0x400_0000);
    /// `MSG_FASTOPEN`
    pub const FASTOPEN: MsgFlags = MsgFlags(0x2000_0000);

    /// Names and bits, for text forms.
    pub const NAMES: &'static [(&'static str, MsgFlags)] = &[
        ("MSG_OOB", Self::OOB),
        ("MSG_PEEK", Self::PEEK),
        ("MSG_DONTROUTE", Self::DONTROUTE),
        ("MSG_CTRUNC", Self::CTRUNC),
        ("MSG_TRUNC", Self::TRUNC),
        ("MSG_DONTWAIT", Self::DONTWAIT),
        ("MSG_EOR", Self::EOR),
        ("MSG_WAITALL", Self::WAITALL),
        ("MSG_CONFIRM", Self::CONFIRM),
        ("MSG_ERRQUEUE", Self::ERRQUEUE),
        ("MSG_NOSIGNAL", Self::NOSIGNAL),
        ("MSG_MORE", Self::MORE),
        ("MSG_ZEROCOPY", Self::ZEROCOPY),
        ("MSG_FASTOPEN", Self::FASTOPEN),
    ];

    /// All bits of `other` are set.
    pub const fn has(self, other: MsgFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::ops::BitOr for MsgFlags {
    type Output = MsgFlags;
    fn bitor(self, other: MsgFlags) -> MsgFlags {
        MsgFlags(self.0 | other.0)
    }
}

/// `POLL*` / `EPOLL*` event bits (the same numbers in both families).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PollEvents(pub u32);

impl PollEvents {
    /// `POLLIN`
    pub const IN: PollEvents = PollEvents(0x1);
    /// `POLLPRI`
    pub const PRI: PollEvents = PollEvents(0x2);
    /// `POLLOUT`
    pub const OUT: PollEvents = PollEvents(0x4);
    /// `POLLERR`
    pub const ERR: PollEvents = PollEvents(0x8);
    /// `POLLHUP`
    pub const HUP: PollEvents = PollEvents(0x10);
    /// `POLLNVAL`
    pub const NVAL: PollEvents = PollEvents(0x20);
    /// `POLLRDNORM`
    pub const RDNORM: PollEvents = PollEvents(0x40);
    /// `POLLWRNORM`
    pub const WRNORM: PollEvents = PollEvents(0x100);
    /// `POLLRDHUP`
    pub const RDHUP: PollEvents = PollEvents(0x2000);
    /// `EPOLLEXCLUSIVE`
    pub const EXCLUSIVE: PollEvents = PollEvents(1 << 28);
    /// `EPOLLONESHOT`
    pub const ONESHOT: PollEvents = PollEvents(1 << 30);
    /// `EPOLLET`
    pub const ET: PollEvents = PollEvents(1 << 31);

    /// Names without prefix and bits, in the kernel's order.
    pub const NAMES: &'static [(&'static str, PollEvents)] = &[
        ("IN", Self::IN),
        ("PRI", Self::PRI),
        ("OUT", Self::OUT),
        ("ERR", Self::ERR),
        ("HUP", Self::HUP),
        ("NVAL", Self::NVAL),
        ("RDNORM", Self::RDNORM),
        ("WRNORM", Self::WRNORM),
        ("RDHUP", Self::RDHUP),
        ("EXCLUSIVE", Self::EXCLUSIVE),
        ("ONESHOT", Self::ONESHOT),
        ("ET", Self::ET),
    ];

    /// All bits of `other` are set.
    pub const fn has(self, other: PollEvents) -> bool {
        self.0 & other.0 == other.0
    }

    /// Some bit of `other` is set.
    pub const fn any(self, other: PollEvents) -> bool {
        self.0 & other.0 != 0
    }
}

impl core::ops::BitOr for PollEvents {
    type Output = PollEvents;
    fn bitor(self, other: PollEvents) -> PollEvents {
        PollEvents(self.0 | other.0)
    }
}

/// A socket option by level and name, as `<sys/socket.h>` and friends number them, e.g.
/// (`SOL_SOCKET`, `SO_REUSEADDR`). Names and numbers: [`crate::socket::options`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SockOpt {
    /// `SOL_SOCKET` 1, `IPPROTO_IP` 0, `IPPROTO_TCP` 6, `IPPROTO_UDP` 17, `IPPROTO_IPV6` 41, `SOL_RAW` 255.
    pub level: i32,
    /// The option's number within its level.
    pub name: i32,
}

/// A socket option's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptValue {
    /// An `int` (or a flag byte).
    Int(i64),
    /// `struct linger { onoff, seconds }`
    Linger(bool, i32),
    /// `struct timeval { seconds, microseconds }`
    Timeval(i64, i64),
    /// `struct ip_mreqn`: group, local address, interface; or `struct ipv6_mreq`: group and interface.
    Membership(std::net::IpAddr, Option<std::net::Ipv4Addr>, u32),
    /// A string, such as a congestion control name.
    Text(String),
    /// Anything else, raw.
    Bytes(Bytes),
}

/// A control message of `sendmsg`/`recvmsg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cmsg {
    /// `IP_TTL` / `IPV6_HOPLIMIT`
    Ttl(i32),
    /// `IP_TOS` / `IPV6_TCLASS`
    Tos(i32),
    /// `IP_PKTINFO` / `IPV6_PKTINFO`: interface, the local address the packet is sent from (or was
    /// routed by, `ipi_spec_dst`), and the header's destination (`ipi_addr`, receive only).
    PktInfo {
        /// `ipi_ifindex`
        ifindex: u32,
        /// `ipi_spec_dst`
        spec_dst: std::net::IpAddr,
        /// `ipi_addr`
        addr: std::net::IpAddr,
    },
    /// `IP_RECVERR` / `IPV6_RECVERR`: `struct sock_extended_err` and `SO_EE_OFFENDER`.
    ExtendedErr {
        /// `ee_errno`
        errno: Errno,
        /// `ee_origin`: 1 local, 2 ICMP, 3 ICMPv6, 4 time stamps, 5 zero copy.
        origin: u8,
        /// `ee_type`
        ty: u8,
        /// `ee_code`
        code: u8,
        /// `ee_info`: the MTU for `EMSGSIZE`, the kind of a time stamp, the first of a range of zero-copy sends.
        info: u32,
        /// `ee_data`: the last of a range of zero-copy sends, the number of a timestamped byte.
        data: u32,
        /// The node that sent the error.
        offender: Option<std::net::IpAddr>,
    },
    /// `SO_TIMESTAMP` and kin, nanoseconds.
    Timestamp(u64),
    /// `UDP_SEGMENT` / `UDP_GRO`
    SegmentSize(u16),
    /// Anything else.
    Other(i32, i32, Bytes),
}

/// `epoll_ctl` operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpollOp {
    /// `EPOLL_CTL_ADD`
    Add,
    /// `EPOLL_CTL_DEL`
    Del,
    /// `EPOLL_CTL_MOD`
    Mod,
}

/// `shutdown` directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// `SHUT_RD`
    Rd,
    /// `SHUT_WR`
    Wr,
    /// `SHUT_RDWR`
    RdWr,
}

/// One system call with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are the system call's own arguments, named as in its manual page")]
pub enum Call {
    Socket {
        domain: Domain,
        ty: SockType,
        protocol: u8,
        nonblock: bool,
    },
    Bind {
        fd: Fd,
        addr: SockAddr,
    },
    Connect {
        fd: Fd,
        addr: SockAddr,
    },
    Listen {
        fd: Fd,
        backlog: i32,
    },
    Accept {
        fd: Fd,
        nonblock: bool,
    },
    Read {
        fd: Fd,
        len: usize,
    },
    Readv {
        fd: Fd,
        lens: Vec<usize>,
    },
    Recv {
        fd: Fd,
        len: usize,
        flags: MsgFlags,
    },
    RecvFrom {
        fd: Fd,
        len: usize,
        flags: MsgFlags,
    },
    RecvMsg {
        fd: Fd,
        lens: Vec<usize>,
        control_len: usize,
        flags: MsgFlags,
    },
    Write {
        fd: Fd,
        data: Data,
    },
    Writev {
        fd: Fd,
        data: Vec<Data>,
    },
    Send {
        fd: Fd,
        data: Data,
        flags: MsgFlags,
    },
    SendTo {
        fd: Fd,
        data: Data,
        flags: MsgFlags,
        addr: SockAddr,
    },
    SendMsg {
        fd: Fd,
        addr: Option<SockAddr>,
        data: Vec<Data>,
        control: Vec<Cmsg>,
        flags: MsgFlags,
    },
    Shutdown {
        fd: Fd,
        how: Shutdown,
    },
    Close {
        fd: Fd,
    },
    Dup {
        fd: Fd,
    },
    SetSockOpt {
        fd: Fd,
        opt: SockOpt,
        value: OptValue,
    },
    GetSockOpt {
        fd: Fd,
        opt: SockOpt,
    },
    GetSockName {
        fd: Fd,
    },
    GetPeerName {
        fd: Fd,
    },
    Poll {
        fds: Vec<(Fd, PollEvents)>,
        timeout_ms: i32,
    },
    EpollCreate,
    EpollCtl {
        epfd: Fd,
        op: EpollOp,
        fd: Fd,
        events: PollEvents,
        data: u64,
    },
    EpollWait {
        epfd: Fd,
        max_events: u32,
        timeout_ms: i32,
    },
    /// `fcntl(F_GETFL)`
    GetFl {
        fd: Fd,
    },
    /// `fcntl(F_SETFL)` with `O_NONBLOCK` (0x800) or 0.
    SetFl {
        fd: Fd,
        nonblock: bool,
    },
    /// `SIOCINQ` / `FIONREAD`
    IoctlInq {
        fd: Fd,
    },
    /// `SIOCOUTQ` / `TIOCOUTQ`
    IoctlOutq {
        fd: Fd,
    },
}

/// What a call that did not fail returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ret {
    /// A plain number: 0, a count, flags.
    Int(i64),
    /// A new descriptor, with the peer's address from `accept`.
    Fd(Fd, Option<SockAddr>),
    /// Received bytes. `len` is the call's return value (with `MSG_TRUNC`, the datagram's length).
    Data {
        /// The return value.
        len: usize,
        /// What was put into the buffer.
        data: Bytes,
        /// `recvfrom`'s and `recvmsg`'s address.
        from: Option<SockAddr>,
        /// `msg_flags` of `recvmsg`.
        flags: MsgFlags,
        /// Control messages of `recvmsg`.
        control: Vec<Cmsg>,
    },
    /// `getsockname`, `getpeername`.
    Addr(SockAddr),
    /// `getsockopt`.
    Opt(OptValue),
    /// `poll`: the return value is the number of entries that are not empty.
    Poll(Vec<(Fd, PollEvents)>),
    /// `epoll_wait`: events and user data.
    Epoll(Vec<(PollEvents, u64)>),
}

impl Ret {
    /// The number that the C function returns.
    pub fn value(&self) -> i64 {
        match self {
            Ret::Int(n) => *n,
            Ret::Fd(fd, _) => i64::from(*fd),
            Ret::Data { len, .. } => i64::try_from(*len).expect("lengths fit"),
            Ret::Addr(_) | Ret::Opt(_) => 0,
            Ret::Poll(fds) => fds.iter().filter(|(_, e)| e.0 != 0).count() as i64,
            Ret::Epoll(events) => events.len() as i64,
        }
    }
}

/// A finished call.
pub type CallResult = Result<Ret, Errno>;

/// What became of a call that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned.
    Done(CallResult),
    /// The thread sleeps in it: try the same call again when the host wakes this process
    /// ([`crate::Stack::poll_wakeup`]) or at `until`.
    Block {
        /// When the sleep ends by itself (`SO_RCVTIMEO`, `poll`'s timeout); `None` for never.
        until: Option<wire::Instant>,
    },
}
