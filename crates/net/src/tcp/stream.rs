//! [`TcpStream`]: `tokio::net::TcpStream` on any ground.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BufMut;
use stack::call::{Shutdown, SockOpt, SockType};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};

use super::split::{ReadHalf, WriteHalf};
use super::split_owned::{OwnedReadHalf, OwnedWriteHalf};
use super::{domain_of, no_descriptor, options};
use crate::ToSocketAddrs;
use crate::addr::{no_address, resolve};
use crate::context::Ground;
use crate::either::{Either, either, linger};
use crate::shared::{READ, WRITE};
use crate::sock::{self, Direction, Sock};

/// A TCP connection; everything as in [`tokio::net::TcpStream`].
#[derive(Debug)]
pub struct TcpStream(pub(crate) Either<tokio::net::TcpStream>);

/// The lab's socket or tokio's.
impl TcpStream {
    /// Opens a connection; of several addresses the first that answers.
    pub async fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<TcpStream> {
        let (ground, addrs) = resolve(addr).await?;
        let host = match ground {
            Ground::Plain => {
                let stream = tokio::net::TcpStream::connect(addrs.as_slice()).await?;
                return Ok(TcpStream(Either::Plain(stream)));
            }
            Ground::Host(host) => host,
        };
        let mut last = None;
        for addr in addrs {
            let sock = Sock::open(&host, domain_of(addr), SockType::Stream)?;
            match TcpStream::connect_sock(sock, addr).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_address))
    }

    pub(crate) async fn connect_sock(sock: Sock, addr: SocketAddr) -> io::Result<TcpStream> {
        sock.try_op(|inner, sock| sock::connect(inner, sock, addr))?;
        sock.op(WRITE, sock::connected).await?;
        Ok(TcpStream(Either::Lab(sock)))
    }

    /// A stream of the machine from the standard library's.
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<TcpStream> {
        tokio::net::TcpStream::from_std(stream).map(|s| TcpStream(Either::Plain(s)))
    }

    /// The standard library's stream; `Unsupported` in a lab.
    pub fn into_std(self) -> io::Result<std::net::TcpStream> {
        match self.0 {
            Either::Lab(_) => Err(no_descriptor()),
            Either::Plain(p) => p.into_std(),
        }
    }

    /// `getsockname`
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        either!(self, s => s.local_addr(), p => p.local_addr())
    }

    /// `SO_ERROR`
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        either!(self, s => s.take_error(), p => p.take_error())
    }

    /// `getpeername`
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        either!(self, s => s.peer_addr(), p => p.peer_addr())
    }

    /// Reads and leaves the bytes where they are.
    pub fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        either!(self,
            s => s.poll_op(cx, Direction::Read, |inner, s| sock::stream_peek(inner, s, buf)),
            p => p.poll_peek(cx, buf))
    }

    /// Waits until something of `interest` holds.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        either!(self, s => s.ready(interest).await, p => p.ready(interest).await)
    }

    /// Waits until there is something to read.
    pub async fn readable(&self) -> io::Result<()> {
        self.ready(Interest::READABLE).await.map(drop)
    }

    /// The same for a hand-written future.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_ready(cx, Direction::Read), p => p.poll_read_ready(cx))
    }

    /// Reads what is there; `WouldBlock` when nothing is.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        either!(self,
            s => s.try_op(|inner, s| sock::stream_read(inner, s, &mut ReadBuf::new(buf))),
            p => p.try_read(buf))
    }

    /// The same into several buffers.
    pub fn try_read_vectored(&self, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
        either!(self, s => try_read_vectored(s, bufs), p => p.try_read_vectored(bufs))
    }

    /// The same at the end of a growing buffer.
    pub fn try_read_buf<B: BufMut>(&self, buf: &mut B) -> io::Result<usize> {
        either!(self, s => try_read_buf(s, buf), p => p.try_read_buf(buf))
    }

    /// Waits until there is room to write.
    pub async fn writable(&self) -> io::Result<()> {
        self.ready(Interest::WRITABLE).await.map(drop)
    }

    /// The same for a hand-written future.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, s => s.poll_ready(cx, Direction::Write), p => p.poll_write_ready(cx))
    }

    /// Writes what there is room for; `WouldBlock` when there is none.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        either!(self,
            s => s.try_op(|inner, s| sock::stream_write(inner, s, buf)),
            p => p.try_write(buf))
    }

    /// The same from several buffers.
    pub fn try_write_vectored(&self, bufs: &[io::IoSlice<'_>]) -> io::Result<usize> {
        either!(self,
            s => s.try_op(|inner, s| sock::stream_write_vectored(inner, s, bufs)),
            p => p.try_write_vectored(bufs))
    }

    /// Runs `f` when the socket is ready for `interest`.
    pub fn try_io<R>(&self, interest: Interest, f: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        either!(self, s => s.try_io(interest, f), p => p.try_io(interest, f))
    }

    /// Runs `f` whenever the socket is ready for `interest`, until it does not block.
    pub async fn async_io<R>(&self, interest: Interest, f: impl FnMut() -> io::Result<R>) -> io::Result<R> {
        either!(self, s => s.async_io(interest, f).await, p => p.async_io(interest, f).await)
    }

    /// Reads and leaves the bytes where they are.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        either!(self,
            s => s.op(READ, |inner, s| sock::stream_peek(inner, s, &mut ReadBuf::new(buf))).await,
            p => p.peek(buf).await)
    }

    /// `TCP_NODELAY`
    pub fn nodelay(&self) -> io::Result<bool> {
        either!(self, s => s.get_flag(SockOpt::TCP_NODELAY), p => p.nodelay())
    }

    /// `TCP_NODELAY`
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        either!(self, s => s.set_flag(SockOpt::TCP_NODELAY, nodelay), p => p.set_nodelay(nodelay))
    }

    /// `TCP_QUICKACK`
    pub fn quickack(&self) -> io::Result<bool> {
        either!(self, s => s.get_flag(SockOpt::TCP_QUICKACK), p => p.quickack())
    }

    /// `TCP_QUICKACK`
    pub fn set_quickack(&self, quickack: bool) -> io::Result<()> {
        either!(self, s => s.set_flag(SockOpt::TCP_QUICKACK, quickack), p => p.set_quickack(quickack))
    }

    linger!();

    /// `IP_TTL`
    pub fn ttl(&self) -> io::Result<u32> {
        either!(self, s => s.get_int(SockOpt::IP_TTL), p => p.ttl())
    }

    /// `IP_TTL`
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        either!(self, s => s.set_int(SockOpt::IP_TTL, ttl), p => p.set_ttl(ttl))
    }

    /// `TCP_INFO`, raw and as `struct tcp_info` lays it out; `Unsupported` on the machine's own sockets.
    pub fn tcp_info(&self) -> io::Result<Vec<u8>> {
        either!(self,
            s => match s.get(SockOpt::TCP_INFO)? {
                stack::call::OptValue::Bytes(bytes) => Ok(bytes.to_vec()),
                _ => Err(io::ErrorKind::InvalidData.into()),
            },
            _p => Err(io::ErrorKind::Unsupported.into()))
    }

    /// Any socket option of a lab's socket, by the stack's names; `Unsupported` on the machine's own.
    pub fn set_option(&self, option: SockOpt, value: stack::call::OptValue) -> io::Result<()> {
        either!(self, s => s.set(option, value), _p => Err(io::ErrorKind::Unsupported.into()))
    }

    /// Borrowed halves for one task.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf(self), WriteHalf(self))
    }

    /// Owned halves for two tasks. Dropping the write half sends the FIN.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        super::split_owned::split(self)
    }

    // --- what the halves share ---------------------------------------------------------------------

    pub(crate) fn poll_read_shared(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &self.0 {
            Either::Lab(s) => {
                if buf.remaining() == 0 {
                    return Poll::Ready(Ok(()));
                }
                let read = s.poll_op(cx, Direction::Read, |inner, s| sock::stream_read(inner, s, buf));
                read.map_ok(drop)
            }
            Either::Plain(p) => plain_read(p, cx, buf),
        }
    }

    pub(crate) fn poll_write_shared(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &self.0 {
            Either::Lab(s) => s.poll_op(cx, Direction::Write, |inner, s| sock::stream_write(inner, s, buf)),
            Either::Plain(p) => plain_write(p, cx, |p| p.try_write(buf)),
        }
    }

    pub(crate) fn poll_write_vectored_shared(
        &self,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &self.0 {
            Either::Lab(s) => {
                s.poll_op(cx, Direction::Write, |inner, s| sock::stream_write_vectored(inner, s, bufs))
            }
            Either::Plain(p) => plain_write(p, cx, |p| p.try_write_vectored(bufs)),
        }
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        match &self.0 {
            Either::Lab(s) => s.shutdown(Shutdown::Wr),
            Either::Plain(p) => {
                rustix::net::shutdown(p, rustix::net::Shutdown::Write).map_err(io::Error::from)
            }
        }
    }
}

/// tokio's `poll_read` needs `&mut`; the halves share the stream.
fn plain_read(
    stream: &tokio::net::TcpStream,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    loop {
        core::task::ready!(stream.poll_read_ready(cx))?;
        match stream.try_read(buf.initialize_unfilled()) {
            Ok(n) => {
                buf.advance(n);
                return Poll::Ready(Ok(()));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

fn plain_write(
    stream: &tokio::net::TcpStream,
    cx: &mut Context<'_>,
    mut write: impl FnMut(&tokio::net::TcpStream) -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        core::task::ready!(stream.poll_write_ready(cx))?;
        match write(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

fn try_read_vectored(sock: &Sock, bufs: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
    let mut all = vec![0; bufs.iter().map(|b| b.len()).sum()];
    let read = sock.try_op(|inner, s| sock::stream_read(inner, s, &mut ReadBuf::new(&mut all)))?;
    let mut rest = &all[..read];
    for buf in bufs {
        let (now, later) = rest.split_at(rest.len().min(buf.len()));
        buf[..now.len()].copy_from_slice(now);
        rest = later;
    }
    Ok(read)
}

fn try_read_buf<B: BufMut>(sock: &Sock, buf: &mut B) -> io::Result<usize> {
    let mut all = vec![0; buf.chunk_mut().len()];
    let read = sock.try_op(|inner, s| sock::stream_read(inner, s, &mut ReadBuf::new(&mut all)))?;
    buf.put_slice(&all[..read]);
    Ok(read)
}

impl AsyncRead for TcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Either::Plain(p) => Pin::new(p).poll_read(cx, buf),
            Either::Lab(s) => {
                if buf.remaining() == 0 {
                    return Poll::Ready(Ok(()));
                }
                s.poll_op(cx, Direction::Read, |inner, s| sock::stream_read(inner, s, buf)).map_ok(drop)
            }
        }
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_shared(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored_shared(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // a socket has nothing to flush
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown_write())
    }
}

impl TryFrom<std::net::TcpStream> for TcpStream {
    type Error = io::Error;

    fn try_from(stream: std::net::TcpStream) -> io::Result<TcpStream> {
        TcpStream::from_std(stream)
    }
}

impl From<tokio::net::TcpStream> for TcpStream {
    fn from(stream: tokio::net::TcpStream) -> TcpStream {
        TcpStream(Either::Plain(stream))
    }
}
