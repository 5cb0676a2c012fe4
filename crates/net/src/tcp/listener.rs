//! [`TcpListener`]: `tokio::net::TcpListener` on any ground.

use core::task::{Context, Poll};
use std::io;
use std::net::SocketAddr;

use stack::call::{SockOpt, SockType};

use super::{TcpStream, domain_of, no_descriptor};
use crate::ToSocketAddrs;
use crate::addr::{no_address, resolve};
use crate::context::Ground;
use crate::either::Either;
use crate::shared::READ;
use crate::sock::{self, Direction, Sock};

/// The backlog that tokio's and mio's `bind` ask for.
const BACKLOG: i32 = 1024;

/// A listening socket; everything as in [`tokio::net::TcpListener`].
#[derive(Debug)]
pub struct TcpListener(pub(crate) Either<tokio::net::TcpListener>);

impl TcpListener {
    /// Binds with `SO_REUSEADDR` and listens; of several addresses the first that works.
    pub async fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<TcpListener> {
        let (ground, addrs) = resolve(addr).await?;
        let host = match ground {
            Ground::Plain => {
                let listener = tokio::net::TcpListener::bind(addrs.as_slice()).await?;
                return Ok(TcpListener(Either::Plain(listener)));
            }
            Ground::Host(host) => host,
        };
        let mut last = None;
        for addr in addrs {
            let sock = Sock::open(&host, domain_of(addr), SockType::Stream)?;
            let bound = sock.set_flag(SockOpt::SO_REUSEADDR, true).and_then(|()| sock.bind(addr));
            match bound.and_then(|()| TcpListener::listen_sock(sock, BACKLOG)) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_address))
    }

    pub(crate) fn listen_sock(sock: Sock, backlog: i32) -> io::Result<TcpListener> {
        sock.call(&stack::call::Call::Listen { fd: sock.fd(), backlog })?;
        Ok(TcpListener(Either::Lab(sock)))
    }

    /// Waits for the next connection.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match &self.0 {
            Either::Plain(p) => p.accept().await.map(|(s, addr)| (s.into(), addr)),
            Either::Lab(s) => {
                let (sock, addr) = s.op(READ, sock::accept).await?;
                Ok((TcpStream(Either::Lab(sock)), addr))
            }
        }
    }

    /// The same for a hand-written future.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        match &self.0 {
            Either::Plain(p) => p.poll_accept(cx).map_ok(|(s, addr)| (s.into(), addr)),
            Either::Lab(s) => {
                let accepted = s.poll_op(cx, Direction::Read, sock::accept);
                accepted.map_ok(|(sock, addr)| (TcpStream(Either::Lab(sock)), addr))
            }
        }
    }

    /// A listener of the machine from the standard library's.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        tokio::net::TcpListener::from_std(listener).map(|l| TcpListener(Either::Plain(l)))
    }

    /// The standard library's listener; `Unsupported` in a lab.
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        match self.0 {
            Either::Lab(_) => Err(no_descriptor()),
            Either::Plain(p) => p.into_std(),
        }
    }

    /// `getsockname`
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Either::Lab(s) => s.local_addr(),
            Either::Plain(p) => p.local_addr(),
        }
    }

    /// `IP_TTL`
    pub fn ttl(&self) -> io::Result<u32> {
        match &self.0 {
            Either::Lab(s) => s.get_int(SockOpt::IP_TTL),
            Either::Plain(p) => p.ttl(),
        }
    }

    /// `IP_TTL`
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        match &self.0 {
            Either::Lab(s) => s.set_int(SockOpt::IP_TTL, ttl),
            Either::Plain(p) => p.set_ttl(ttl),
        }
    }
}

impl TryFrom<std::net::TcpListener> for TcpListener {
    type Error = io::Error;

    fn try_from(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        TcpListener::from_std(listener)
    }
}
