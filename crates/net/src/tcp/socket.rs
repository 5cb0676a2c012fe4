//! [`TcpSocket`]: `tokio::net::TcpSocket` on any ground.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use stack::call::{Domain, SockOpt, SockType};

use super::{TcpListener, TcpStream, options};
use crate::context::{Ground, ground};
use crate::either::{Either, device, either, linger};
use crate::sock::Sock;

/// A TCP socket that is neither connected nor listening yet; everything as in [`tokio::net::TcpSocket`].
#[derive(Debug)]
pub struct TcpSocket(Either<tokio::net::TcpSocket>);

/// A flag option's two methods.
macro_rules! flags {
    ($($set:ident $get:ident $option:ident)*) => {$(
        #[doc = concat!("`", stringify!($option), "`")]
        pub fn $set(&self, on: bool) -> io::Result<()> {
            either!(self, s => s.set_flag(SockOpt::$option, on), p => p.$set(on))
        }

        #[doc = concat!("`", stringify!($option), "`")]
        pub fn $get(&self) -> io::Result<bool> {
            either!(self, s => s.get_flag(SockOpt::$option), p => p.$get())
        }
    )*};
}

/// A number option's two methods.
macro_rules! numbers {
    ($($set:ident $get:ident $option:ident)*) => {$(
        #[doc = concat!("`", stringify!($option), "`")]
        pub fn $set(&self, value: u32) -> io::Result<()> {
            either!(self, s => s.set_int(SockOpt::$option, value), p => p.$set(value))
        }

        #[doc = concat!("`", stringify!($option), "`")]
        pub fn $get(&self) -> io::Result<u32> {
            either!(self, s => s.get_int(SockOpt::$option), p => p.$get())
        }
    )*};
}

impl TcpSocket {
    /// An IPv4 socket.
    pub fn new_v4() -> io::Result<TcpSocket> {
        TcpSocket::new(Domain::Inet)
    }

    /// An IPv6 socket.
    pub fn new_v6() -> io::Result<TcpSocket> {
        TcpSocket::new(Domain::Inet6)
    }

    fn new(domain: Domain) -> io::Result<TcpSocket> {
        Ok(TcpSocket(match (ground()?, domain) {
            (Ground::Host(host), _) => Either::Lab(Sock::open(&host, domain, SockType::Stream)?),
            (Ground::Plain, Domain::Inet) => Either::Plain(tokio::net::TcpSocket::new_v4()?),
            (Ground::Plain, Domain::Inet6) => Either::Plain(tokio::net::TcpSocket::new_v6()?),
        }))
    }

    flags! {
        set_keepalive keepalive SO_KEEPALIVE
        set_reuseaddr reuseaddr SO_REUSEADDR
        set_reuseport reuseport SO_REUSEPORT
        set_nodelay nodelay TCP_NODELAY
    }

    numbers! {
        set_send_buffer_size send_buffer_size SO_SNDBUF
        set_recv_buffer_size recv_buffer_size SO_RCVBUF
        set_tos_v4 tos_v4 IP_TOS
        set_tclass_v6 tclass_v6 IPV6_TCLASS
    }

    /// `IP_TOS`
    #[deprecated(note = "`tos` related methods have been renamed `tos_v4` since they are IPv4-specific.")]
    pub fn tos(&self) -> io::Result<u32> {
        self.tos_v4()
    }

    /// `IP_TOS`
    #[deprecated(note = "`tos` related methods have been renamed `tos_v4` since they are IPv4-specific.")]
    pub fn set_tos(&self, tos: u32) -> io::Result<()> {
        self.set_tos_v4(tos)
    }

    linger!();

    device!();

    /// `TCP_FASTOPEN_CONNECT`: `connect` returns at once, and what is written first leaves with the SYN when the peer gave a
    /// cookie before (RFC 7413). Not in tokio; `Unsupported` on the machine's own sockets.
    pub fn set_fastopen_connect(&self, on: bool) -> io::Result<()> {
        self.set_option(SockOpt::TCP_FASTOPEN_CONNECT, stack::call::OptValue::Int(on.into()))
    }

    /// `TCP_FASTOPEN`: a listener gives cookies, and this many connections may wait that began with data. Not in tokio;
    /// `Unsupported` on the machine's own sockets.
    pub fn set_fastopen(&self, queue: u32) -> io::Result<()> {
        self.set_option(SockOpt::TCP_FASTOPEN, stack::call::OptValue::Int(queue.into()))
    }

    /// Any socket option of a lab's socket, by the stack's names; `Unsupported` on the machine's own.
    pub fn set_option(&self, option: SockOpt, value: stack::call::OptValue) -> io::Result<()> {
        either!(self, s => s.set(option, value), _p => Err(io::ErrorKind::Unsupported.into()))
    }

    /// `getsockname`
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        either!(self, s => s.local_addr(), p => p.local_addr())
    }

    /// `SO_ERROR`
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        either!(self, s => s.take_error(), p => p.take_error())
    }

    /// `bind`
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        either!(self, s => s.bind(addr), p => p.bind(addr))
    }

    /// `connect`
    pub async fn connect(self, addr: SocketAddr) -> io::Result<TcpStream> {
        match self.0 {
            Either::Lab(s) => TcpStream::connect_sock(s, addr).await,
            Either::Plain(p) => p.connect(addr).await.map(TcpStream::from),
        }
    }

    /// `listen`
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        match self.0 {
            Either::Lab(s) => TcpListener::listen_sock(s, i32::try_from(backlog).unwrap_or(i32::MAX)),
            Either::Plain(p) => p.listen(backlog).map(|l| TcpListener(Either::Plain(l))),
        }
    }

    /// A socket of the machine from the standard library's.
    pub fn from_std_stream(std_stream: std::net::TcpStream) -> TcpSocket {
        TcpSocket(Either::Plain(tokio::net::TcpSocket::from_std_stream(std_stream)))
    }
}
