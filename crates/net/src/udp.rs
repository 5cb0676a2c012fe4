//! [`UdpSocket`]: `tokio::net::UdpSocket` on any ground.

use core::task::{Context, Poll};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::BufMut;
use stack::call::{Call, MsgFlags, OptValue, SockAddr, SockOpt, SockType};
use tokio::io::{Interest, ReadBuf, Ready};

use crate::ToSocketAddrs;
use crate::addr::{no_address, resolve};
use crate::context::Ground;
use crate::either::{Either, device, either};
use crate::shared::{READ, WRITE};
use crate::sock::{self, Direction, Sock};
use crate::tcp::{domain_of, no_descriptor, options};

/// A UDP socket; everything as in [`tokio::net::UdpSocket`].
#[derive(Debug)]
pub struct UdpSocket(Either<tokio::net::UdpSocket>);

/// An option's two methods.
macro_rules! option {
    ($get:ident $set:ident $kind:ty, $lab_get:ident $lab_set:ident $option:ident) => {
        #[doc = concat!("`", stringify!($option), "`")]
        pub fn $get(&self) -> io::Result<$kind> {
            either!(self, s => s.$lab_get(SockOpt::$option), p => p.$get())
        }

        #[doc = concat!("`", stringify!($option), "`")]
        pub fn $set(&self, value: $kind) -> io::Result<()> {
            either!(self, s => s.$lab_set(SockOpt::$option, value), p => p.$set(value))
        }
    };
}

/// Longest datagram.
const MAX_DATAGRAM: usize = 65_535;

const PEEK: MsgFlags = MsgFlags::PEEK;
const PLAIN: MsgFlags = MsgFlags(0);

impl UdpSocket {
    /// Binds; of several addresses the first that works.
    pub async fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<UdpSocket> {
        let (ground, addrs) = resolve(addr).await?;
        let host = match ground {
            Ground::Plain => {
                return tokio::net::UdpSocket::bind(addrs.as_slice())
                    .await
                    .map(|s| UdpSocket(Either::Plain(s)));
            }
            Ground::Host(host) => host,
        };
        let mut last = None;
        for addr in addrs {
            let sock = Sock::open(&host, domain_of(addr), SockType::Dgram)?;
            match sock.bind(addr) {
                Ok(()) => return Ok(UdpSocket(Either::Lab(sock))),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_address))
    }

    /// A socket of the machine from the standard library's.
    pub fn from_std(socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
        tokio::net::UdpSocket::from_std(socket).map(|s| UdpSocket(Either::Plain(s)))
    }

    /// The standard library's socket; `Unsupported` in a lab.
    pub fn into_std(self) -> io::Result<std::net::UdpSocket> {
        match self.0 {
            Either::Lab(_) => Err(no_descriptor()),
            Either::Plain(p) => p.into_std(),
        }
    }

    /// `getsockname`
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        either!(self, s => s.local_addr(), p => p.local_addr())
    }

    /// `getpeername`
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        either!(self, s => s.peer_addr(), p => p.peer_addr())
    }

    /// `connect`; of several addresses the first that works.
    pub async fn connect<A: ToSocketAddrs>(&self, addr: A) -> io::Result<()> {
        let addrs = self.resolve(addr).await?;
        match &self.0 {
            Either::Plain(p) => p.connect(addrs.as_slice()).await,
            Either::Lab(s) => {
                let mut last = None;
                for addr in addrs {
                    match s.call(&Call::Connect { fd: s.fd(), addr: SockAddr::Ip(addr) }) {
                        Ok(_) => return Ok(()),
                        Err(error) => last = Some(error),
                    }
                }
                Err(last.unwrap_or_else(no_address))
            }
        }
    }

    /// Names are those of the ground of the socket, wherever the task runs.
    async fn resolve<A: ToSocketAddrs>(&self, addr: A) -> io::Result<Vec<SocketAddr>> {
        let resolved = resolve(addr);
        let (_, addrs) = match &self.0 {
            Either::Lab(s) => s.host().scope(resolved).await?,
            Either::Plain(_) => resolved.await?,
        };
        Ok(addrs)
    }

    /// Waits until something of `interest` holds.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        either!(self, s => s.ready(interest).await, p => p.ready(interest).await)
    }

    /// Waits until a datagram can be sent.
    pub async fn writable(&self) -> io::Result<()> {
        self.ready(Interest::WRITABLE).await.map(drop)
    }

    /// The same for a hand-written future.
    pub fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_ready(cx, Direction::Write), p => p.poll_send_ready(cx))
    }

    /// Sends to the peer.
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        either!(self,
            s => s.op(WRITE, |inner, s| sock::datagram_send(inner, s, buf, None)).await,
            p => p.send(buf).await)
    }

    /// The same for a hand-written future.
    pub fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self,
            s => s.poll_op(cx, Direction::Write, |inner, s| sock::datagram_send(inner, s, buf, None)),
            p => p.poll_send(cx, buf))
    }

    /// Sends to the peer at once, or `WouldBlock`.
    pub fn try_send(&self, buf: &[u8]) -> io::Result<usize> {
        either!(self,
            s => s.try_op(|inner, s| sock::datagram_send(inner, s, buf, None)),
            p => p.try_send(buf))
    }

    /// Waits until there is a datagram to read.
    pub async fn readable(&self) -> io::Result<()> {
        self.ready(Interest::READABLE).await.map(drop)
    }

    /// The same for a hand-written future.
    pub fn poll_recv_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_ready(cx, Direction::Read), p => p.poll_recv_ready(cx))
    }

    /// The next datagram of the peer.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        either!(self, s => receive(s, buf, PLAIN).await.map(|(n, _)| n), p => p.recv(buf).await)
    }

    /// The same for a hand-written future.
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, s => poll_receive(s, cx, buf, PLAIN).map_ok(drop), p => p.poll_recv(cx, buf))
    }

    /// The next datagram of the peer, or `WouldBlock`.
    pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        either!(self, s => try_receive(s, buf, PLAIN).map(|(n, _)| n), p => p.try_recv(buf))
    }

    /// The next datagram of the peer at the end of a growing buffer, or `WouldBlock`.
    pub fn try_recv_buf<B: BufMut>(&self, buf: &mut B) -> io::Result<usize> {
        either!(self, s => try_receive_buf(s, buf).map(|(n, _)| n), p => p.try_recv_buf(buf))
    }

    /// The next datagram of the peer at the end of a growing buffer.
    pub async fn recv_buf<B: BufMut>(&self, buf: &mut B) -> io::Result<usize> {
        either!(self, s => receive_buf(s, buf).await.map(|(n, _)| n), p => p.recv_buf(buf).await)
    }

    /// The next datagram and its sender at the end of a growing buffer, or `WouldBlock`.
    pub fn try_recv_buf_from<B: BufMut>(&self, buf: &mut B) -> io::Result<(usize, SocketAddr)> {
        either!(self, s => try_receive_buf(s, buf), p => p.try_recv_buf_from(buf))
    }

    /// The next datagram and its sender at the end of a growing buffer.
    pub async fn recv_buf_from<B: BufMut>(&self, buf: &mut B) -> io::Result<(usize, SocketAddr)> {
        either!(self, s => receive_buf(s, buf).await, p => p.recv_buf_from(buf).await)
    }

    /// Sends to an address; of several the first.
    pub async fn send_to<A: ToSocketAddrs>(&self, buf: &[u8], addr: A) -> io::Result<usize> {
        let to = self.resolve(addr).await?.first().copied();
        let to =
            to.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no addresses to send data to"))?;
        either!(self,
            s => s.op(WRITE, |inner, s| sock::datagram_send(inner, s, buf, Some(to))).await,
            p => p.send_to(buf, to).await)
    }

    /// The same for a hand-written future.
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        either!(self,
            s => s.poll_op(cx, Direction::Write, |inner, s| sock::datagram_send(inner, s, buf, Some(target))),
            p => p.poll_send_to(cx, buf, target))
    }

    /// Sends to an address at once, or `WouldBlock`.
    pub fn try_send_to(&self, buf: &[u8], target: SocketAddr) -> io::Result<usize> {
        either!(self,
            s => s.try_op(|inner, s| sock::datagram_send(inner, s, buf, Some(target))),
            p => p.try_send_to(buf, target))
    }

    /// The next datagram and its sender.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        either!(self, s => receive(s, buf, PLAIN).await, p => p.recv_from(buf).await)
    }

    /// The same for a hand-written future.
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<SocketAddr>> {
        either!(self, s => poll_receive(s, cx, buf, PLAIN), p => p.poll_recv_from(cx, buf))
    }

    /// The next datagram and its sender, or `WouldBlock`.
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        either!(self, s => try_receive(s, buf, PLAIN), p => p.try_recv_from(buf))
    }

    /// Runs `f` when the socket is ready for `interest`.
    pub fn try_io<R>(&self, interest: Interest, f: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        either!(self, s => s.try_io(interest, f), p => p.try_io(interest, f))
    }

    /// Runs `f` whenever the socket is ready for `interest`, until it does not block.
    pub async fn async_io<R>(&self, interest: Interest, f: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        either!(self, s => s.async_io(interest, f).await, p => p.async_io(interest, f).await)
    }

    /// The next datagram of the peer, which stays.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        either!(self, s => receive(s, buf, PEEK).await.map(|(n, _)| n), p => p.peek(buf).await)
    }

    /// The same for a hand-written future.
    pub fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, s => poll_receive(s, cx, buf, PEEK).map_ok(drop), p => p.poll_peek(cx, buf))
    }

    /// The next datagram of the peer, which stays, or `WouldBlock`.
    pub fn try_peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        either!(self, s => try_receive(s, buf, PEEK).map(|(n, _)| n), p => p.try_peek(buf))
    }

    /// The next datagram, which stays, and its sender.
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        either!(self, s => receive(s, buf, PEEK).await, p => p.peek_from(buf).await)
    }

    /// The same for a hand-written future.
    pub fn poll_peek_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<SocketAddr>> {
        either!(self, s => poll_receive(s, cx, buf, PEEK), p => p.poll_peek_from(cx, buf))
    }

    /// The next datagram, which stays, and its sender, or `WouldBlock`.
    pub fn try_peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        either!(self, s => try_receive(s, buf, PEEK), p => p.try_peek_from(buf))
    }

    /// Who sent the next datagram.
    pub async fn peek_sender(&self) -> io::Result<SocketAddr> {
        either!(self, s => receive(s, &mut [], PEEK).await.map(|(_, from)| from), p => p.peek_sender().await)
    }

    /// The same for a hand-written future.
    pub fn poll_peek_sender(&self, cx: &mut Context<'_>) -> Poll<io::Result<SocketAddr>> {
        either!(self,
            s => poll_receive(s, cx, &mut ReadBuf::new(&mut []), PEEK),
            p => p.poll_peek_sender(cx))
    }

    /// Who sent the next datagram, or `WouldBlock`.
    pub fn try_peek_sender(&self) -> io::Result<SocketAddr> {
        either!(self, s => try_receive(s, &mut [], PEEK).map(|(_, from)| from), p => p.try_peek_sender())
    }

    option!(broadcast set_broadcast bool, get_flag set_flag SO_BROADCAST);
    option!(multicast_loop_v4 set_multicast_loop_v4 bool, get_flag set_flag IP_MULTICAST_LOOP);
    option!(multicast_ttl_v4 set_multicast_ttl_v4 u32, get_int set_int IP_MULTICAST_TTL);
    option!(multicast_loop_v6 set_multicast_loop_v6 bool, get_flag set_flag IPV6_MULTICAST_LOOP);
    option!(tclass_v6 set_tclass_v6 u32, get_int set_int IPV6_TCLASS);
    option!(ttl set_ttl u32, get_int set_int IP_TTL);
    option!(tos_v4 set_tos_v4 u32, get_int set_int IP_TOS);

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

    device!();

    /// `IP_ADD_MEMBERSHIP`
    pub fn join_multicast_v4(&self, multiaddr: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        either!(self,
            s => s.set(SockOpt::IP_ADD_MEMBERSHIP, group4(multiaddr, interface)),
            p => p.join_multicast_v4(multiaddr, interface))
    }

    /// `IPV6_JOIN_GROUP`
    pub fn join_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        either!(self,
            s => s.set(SockOpt::IPV6_JOIN_GROUP, group6(*multiaddr, interface)),
            p => p.join_multicast_v6(multiaddr, interface))
    }

    /// `IP_DROP_MEMBERSHIP`
    pub fn leave_multicast_v4(&self, multiaddr: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        either!(self,
            s => s.set(SockOpt::IP_DROP_MEMBERSHIP, group4(multiaddr, interface)),
            p => p.leave_multicast_v4(multiaddr, interface))
    }

    /// `IPV6_LEAVE_GROUP`
    pub fn leave_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        either!(self,
            s => s.set(SockOpt::IPV6_LEAVE_GROUP, group6(*multiaddr, interface)),
            p => p.leave_multicast_v6(multiaddr, interface))
    }

    /// `SO_ERROR`
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        either!(self, s => s.take_error(), p => p.take_error())
    }
}

fn group4(group: Ipv4Addr, interface: Ipv4Addr) -> OptValue {
    OptValue::Membership(IpAddr::V4(group), Some(interface), 0)
}

fn group6(group: Ipv6Addr, interface: u32) -> OptValue {
    OptValue::Membership(IpAddr::V6(group), None, interface)
}

/// `datagram_recv`, and a datagram that is longer than the buffer fills it: what `recvfrom` returns without
/// `MSG_TRUNC`.
async fn receive(sock: &Sock, buf: &mut [u8], flags: MsgFlags) -> io::Result<(usize, SocketAddr)> {
    sock.op(READ, |inner, s| sock::datagram_recv(inner, s, &mut ReadBuf::new(buf), flags)).await
}

fn try_receive(sock: &Sock, buf: &mut [u8], flags: MsgFlags) -> io::Result<(usize, SocketAddr)> {
    sock.try_op(|inner, s| sock::datagram_recv(inner, s, &mut ReadBuf::new(buf), flags))
}

fn poll_receive(
    sock: &Sock,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
    flags: MsgFlags,
) -> Poll<io::Result<SocketAddr>> {
    let received = sock.poll_op(cx, Direction::Read, |inner, s| sock::datagram_recv(inner, s, buf, flags));
    received.map_ok(|(_, from)| from)
}

async fn receive_buf<B: BufMut>(sock: &Sock, buf: &mut B) -> io::Result<(usize, SocketAddr)> {
    let mut all = vec![0; buf.chunk_mut().len().min(MAX_DATAGRAM)];
    let (len, from) = receive(sock, &mut all, PLAIN).await?;
    buf.put_slice(&all[..len]);
    Ok((len, from))
}

fn try_receive_buf<B: BufMut>(sock: &Sock, buf: &mut B) -> io::Result<(usize, SocketAddr)> {
    let mut all = vec![0; buf.chunk_mut().len().min(MAX_DATAGRAM)];
    let (len, from) = try_receive(sock, &mut all, PLAIN)?;
    buf.put_slice(&all[..len]);
    Ok((len, from))
}
