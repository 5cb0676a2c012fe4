//! hyper and hyper-util over these sockets.
//!
//! For a server or a client of one connection nothing is needed: `hyper_util::rt::TokioIo::new(stream)` is the IO and
//! `hyper_util::rt::TokioTimer` the timer; in a lab its time is virtual. A client with a pool takes a [`Connector`] and an
//! [`Executor`].

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;

use ::hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;

use crate::context::current;
use crate::{Host, Scoped, TcpStream};

/// Opens connections for hyper-util's client and tonic's channels, from the host of the task that made it.
#[derive(Clone, Debug)]
pub struct Connector {
    host: Option<Host>,
    nodelay: bool,
}

impl Connector {
    /// From the current task's host; on the machine's network outside of a lab. With `TCP_NODELAY`, as the clients' own
    /// connectors are told to by most programs.
    pub fn new() -> Connector {
        Connector { host: current(), nodelay: true }
    }

    /// From this host, whoever uses it.
    pub fn on(host: &Host) -> Connector {
        Connector { host: Some(host.clone()), nodelay: true }
    }

    /// `TCP_NODELAY` or not.
    #[must_use]
    pub fn nodelay(self, nodelay: bool) -> Connector {
        Connector { nodelay, ..self }
    }
}

impl Default for Connector {
    fn default() -> Connector {
        Connector::new()
    }
}

async fn connect(uri: Uri, nodelay: bool) -> io::Result<TokioIo<TcpStream>> {
    let no_host = || io::Error::new(io::ErrorKind::InvalidInput, format!("{uri} names no host"));
    let host = uri.host().ok_or_else(no_host)?;
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(nodelay)?;
    Ok(TokioIo::new(stream))
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // Without a host of our own, that of whoever polls.
        match &self.host {
            Some(host) => Box::pin(host.scope(connect(uri, self.nodelay))),
            None => Box::pin(connect(uri, self.nodelay)),
        }
    }
}

impl Connection for TcpStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// Spawns hyper's tasks on the host of the task that made it.
#[derive(Clone, Debug)]
pub struct Executor {
    host: Option<Host>,
}

impl Executor {
    /// On the current task's host, or on none.
    pub fn new() -> Executor {
        Executor { host: current() }
    }
}

impl Default for Executor {
    fn default() -> Executor {
        Executor::new()
    }
}

impl<F> ::hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(Scoped::new(self.host.clone(), future));
    }
}
