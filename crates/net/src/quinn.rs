//! quinn over these sockets: a [`Runtime`] whose clock is tokio's (virtual in a lab), and [`endpoint`]s on UDP sockets of
//! any ground.
//!
//! quinn's timers are tokio's: they fire on whole milliseconds, as they do in a program outside.

use core::fmt;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ::quinn::udp::{RecvMeta, Transmit};
use ::quinn::{AsyncTimer, AsyncUdpSocket, Endpoint, EndpointConfig, ServerConfig, UdpPoller};
use tokio::io::ReadBuf;

use crate::context::current;
use crate::{Host, Scoped, UdpSocket};

/// What quinn asks of its surroundings. Its tasks run on the host of the task that made it.
#[derive(Debug)]
pub struct Runtime {
    host: Option<Host>,
}

impl Runtime {
    /// For the current task's host; the machine outside of a lab.
    pub fn new() -> Runtime {
        Runtime { host: current() }
    }
}

impl Default for Runtime {
    fn default() -> Runtime {
        Runtime::new()
    }
}

impl ::quinn::Runtime for Runtime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(tokio::time::sleep_until(at.into()))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(Scoped::new(self.host.clone(), future));
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        if self.host.is_some() {
            let why =
                "a socket of the machine is none of this host: net::quinn::endpoint takes a net::UdpSocket";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        socket.set_nonblocking(true)?;
        Ok(wrap(UdpSocket::from_std(socket)?))
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// An endpoint on a socket; `server` when it takes connections.
///
/// # Errors
/// When the socket has no address.
pub fn endpoint(
    config: EndpointConfig,
    server: Option<ServerConfig>,
    socket: UdpSocket,
) -> io::Result<Endpoint> {
    Endpoint::new_with_abstract_socket(config, server, wrap(socket), Arc::new(Runtime::new()))
}

/// The endpoint goes on from another socket, as after a change of network: its connections migrate (RFC 9000 §9).
///
/// # Errors
/// When the socket has no address.
pub fn rebind(endpoint: &Endpoint, socket: UdpSocket) -> io::Result<()> {
    endpoint.rebind_abstract(wrap(socket))
}

/// An endpoint on a socket that others may have after it, and its plug: as a process that may crash while its host keeps the
/// port.
///
/// # Errors
/// When the socket has no address.
pub fn pluggable(
    config: EndpointConfig,
    server: Option<ServerConfig>,
    socket: Arc<UdpSocket>,
) -> io::Result<(Endpoint, Plug)> {
    let socket = Socket::new(socket);
    let plug = Plug(socket.unplugged.clone());
    let endpoint =
        Endpoint::new_with_abstract_socket(config, server, Arc::new(socket), Arc::new(Runtime::new()))?;
    Ok((endpoint, plug))
}

/// Takes an endpoint from its socket.
#[derive(Clone, Debug)]
pub struct Plug(Arc<AtomicBool>);

impl Plug {
    /// From now on the endpoint hears nothing, and what it sends goes nowhere.
    pub fn pull(&self) {
        self.0.store(true, Ordering::Release);
    }
}

fn wrap(socket: UdpSocket) -> Arc<dyn AsyncUdpSocket> {
    Arc::new(Socket::new(Arc::new(socket)))
}

#[derive(Debug)]
struct Socket {
    socket: Arc<UdpSocket>,
    /// Its address, when it has a single one: where everything arrives.
    ip: Option<IpAddr>,
    unplugged: Arc<AtomicBool>,
}

impl Socket {
    fn new(socket: Arc<UdpSocket>) -> Socket {
        let ip = socket.local_addr().ok().map(|addr| addr.ip()).filter(|ip| !ip.is_unspecified());
        Socket { socket, ip, unplugged: Arc::default() }
    }

    fn is_unplugged(&self) -> bool {
        self.unplugged.load(Ordering::Acquire)
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { socket: self, waiting: Mutex::new(None) })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.is_unplugged() {
            return Ok(());
        }
        self.socket.try_send_to(transmit.contents, transmit.destination).map(drop)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if self.is_unplugged() {
            // Nobody wakes it any more.
            return Poll::Pending;
        }
        let (Some(buf), Some(meta)) = (bufs.first_mut(), meta.first_mut()) else { return Poll::Ready(Ok(0)) };
        let mut read = ReadBuf::new(buf);
        self.socket.poll_recv_from(cx, &mut read).map_ok(|addr| {
            let len = read.filled().len();
            *meta = RecvMeta { addr, len, stride: len, ecn: None, dst_ip: self.ip };
            1
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// One task's wait for room in the socket's buffer: each connection has its own.
struct Writable {
    socket: Arc<Socket>,
    waiting: Mutex<Option<Waiting>>,
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Writable").field(&self.socket).finish()
    }
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, waiting } = &mut *self;
        let waiting = waiting.get_mut().unwrap_or_else(PoisonError::into_inner);
        let future = waiting.get_or_insert_with(|| {
            let socket = socket.clone();
            Box::pin(async move { socket.socket.writable().await })
        });
        let result = core::task::ready!(future.as_mut().poll(cx));
        *waiting = None;
        Poll::Ready(result)
    }
}
