//! A client's connection to a gRPC server: one HTTP/2 connection, over TLS or not.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{HeaderValue, USER_AGENT};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;
use tonic::body::Body;
use url::Url;

use super::Executor;
use crate::Cx;
use crate::http::stream::Counted;
use crate::http::{BoxStream, Counts};
use crate::tls::{ClientOptions, ClientTls};

/// The receive windows, of a stream and of the connection (RFC 9113 §6.5.2).
const WINDOW: u32 = 65_535;
/// What is said in `user-agent`.
const AGENT: &str = "grpc-rust-tonic/0.14 wirelab";

/// A connection; clones share it.
#[derive(Clone)]
pub struct Channel {
    send: SendRequest<Body>,
    /// The scheme and the authority of every request.
    pub(in crate::rpc) origin: http::Uri,
    /// What passed over it, by the type of frames.
    pub counts: Arc<Counts>,
    /// Our end and the server's.
    pub ends: [SocketAddr; 2],
    /// How long TCP took, and TCP and TLS together.
    pub times: [Duration; 2],
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ChannelError {
    /// It is no `http` or `https` URL of a server.
    Url(String),
    /// The sockets said so.
    Io(io::Error),
    /// TLS failed, or the server did not choose `h2`.
    Tls(String),
    /// HTTP/2 did.
    Http2(hyper::Error),
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChannelError::Url(why) | ChannelError::Tls(why) => f.write_str(why),
            ChannelError::Io(error) => write!(f, "{error}"),
            ChannelError::Http2(error) => write!(f, "HTTP/2: {error}"),
        }
    }
}

impl std::error::Error for ChannelError {}

/// Host, port, whether TLS is wanted; a message when it is no such URL.
pub(in crate::rpc) fn target(text: &str) -> Result<(String, u16, bool), String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?}: {error}"))?;
    let secure = match url.scheme() {
        "http" => false,
        "https" => true,
        other => return Err(format!("{other} is no scheme of gRPC here")),
    };
    if !matches!(url.path(), "" | "/") || url.query().is_some() {
        return Err(format!("{text:?}: a server has no path, its methods have"));
    }
    let host = url.host_str().ok_or_else(|| format!("{text:?} names no host"))?;
    Ok((host.to_string(), url.port_or_known_default().unwrap_or(443), secure))
}

impl Channel {
    /// Connects to `http://server:50051`, or `https`.
    ///
    /// # Errors
    /// See [`ChannelError`].
    pub async fn connect(
        to: &str,
        tls: &ClientOptions,
        keepalive: Option<(Duration, Duration)>,
        cx: &Cx,
    ) -> Result<Channel, ChannelError> {
        let (host, port, secure) = target(to).map_err(ChannelError::Url)?;
        let start = Instant::now();
        let name = host.trim_matches(['[', ']']);
        let stream = net::TcpStream::connect((name, port)).await.map_err(ChannelError::Io)?;
        let tcp = start.elapsed();
        stream.set_nodelay(true).map_err(ChannelError::Io)?;
        let ends = stream.local_addr().and_then(|local| Ok([local, stream.peer_addr()?]));
        let ends = ends.map_err(ChannelError::Io)?;
        let stream: BoxStream = if secure {
            let mut options = tls.clone();
            options.alpn = vec!["h2".into()];
            let failed = |error: crate::tls::TlsError| ChannelError::Tls(error.to_string());
            let tls = ClientTls::new(&options, &cx.env().pki, Some(cx)).map_err(failed)?;
            let stream = crate::tls::connect(stream, &tls, name).await.map_err(failed)?;
            if stream.session().alpn.as_deref() != Some("h2") {
                return Err(ChannelError::Tls("the server does not speak HTTP/2".into()));
            }
            Box::new(stream)
        } else {
            Box::new(stream)
        };
        let ready = start.elapsed();
        let counts = Arc::new(Counts::default());
        let io = TokioIo::new(Counted::h2_client(stream, counts.clone()));
        let mut builder = Builder::new(Executor);
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        if let Some((interval, timeout)) = keepalive {
            builder.keep_alive_interval(interval).keep_alive_timeout(timeout).keep_alive_while_idle(true);
        }
        let (send, connection) = builder.handshake(io).await.map_err(ChannelError::Http2)?;
        // Whoever waits for an answer hears of its end.
        net::spawn(async move { drop(connection.await) });
        let authority = if port == if secure { 443 } else { 80 } { host } else { format!("{host}:{port}") };
        let scheme = if secure { "https" } else { "http" };
        let origin = http::Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build();
        let origin = origin.map_err(|error| ChannelError::Url(error.to_string()))?;
        Ok(Channel { send, origin, counts, ends, times: [tcp, ready] })
    }
}

impl tower_service::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.send.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        Box::pin(self.send.send_request(request))
    }
}
