//! The server's side of connections, for whoever answers requests: listening, limits, HTTP/1 or HTTP/2, access log.
//!
//! Map: `h1`, `h2` and `h3` speak the versions, `message` is what a handler sees and gives back, `log` writes nginx's lines.

mod h1;
mod h2;
mod h3;
mod log;
mod message;

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;

use super::client::{BoxFuture, Secured, TlsError, locked};
use super::stream::BoxStream;
use crate::Cx;

pub use log::LogFormat;
pub(crate) use log::{Entry, version};
pub use message::{Answer, AnswerBody, BodyError, Exchange, Note, RequestBody, Upgrade};

/// Answers requests.
pub trait Handle: Send + Sync {
    /// Dropped when the client goes away before there is an answer.
    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<'static, Answer>;

    /// What a request would be answered that nobody sent, to be pushed.
    fn push(&self, _path: &str, _host: &str) -> Option<Answer> {
        None
    }
}

/// Takes TLS off a connection.
pub trait Accept: Send + Sync {
    /// The handshake.
    fn accept(&self, stream: BoxStream) -> BoxFuture<'_, Result<Secured, TlsError>>;
}

/// Limits and times, named as nginx's directives where it has one.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `keepalive_timeout`: how long an unused connection is kept; 75 s.
    pub keepalive_timeout: Duration,
    /// `keepalive_requests`: requests of one connection; 1000.
    pub keepalive_requests: u64,
    /// `client_header_timeout`: for the whole head, from its first byte (408); 60 s.
    pub client_header_timeout: Duration,
    /// `client_body_timeout`: between two reads of a body (408); 60 s.
    pub client_body_timeout: Duration,
    /// `client_max_body_size` (413); 1 MiB.
    pub client_max_body_size: usize,
    /// The longest request line (414); 8 KiB.
    pub max_request_line: usize,
    /// The largest head (431); 32 KiB.
    pub max_header_size: usize,
    /// `worker_connections`: more are closed at once; 512.
    pub worker_connections: usize,
    /// Connections of one client's address at a time; more are closed at once. nginx's `limit_conn` counts requests whose head is
    /// there, which slow heads never are: this is HAProxy's `src_conn_cur`, iptables' `connlimit`.
    pub connections_per_address: Option<usize>,
    /// `http2_max_concurrent_streams`; 128.
    pub http2_max_concurrent_streams: u32,
    /// The receive window of an HTTP/2 stream; 65,535.
    pub http2_window: u32,
    /// Room for an HTTP/2 response in front of the socket.
    pub http2_send_buffer: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        let minute = Duration::from_secs(60);
        Limits {
            keepalive_timeout: Duration::from_secs(75),
            keepalive_requests: 1000,
            client_header_timeout: minute,
            client_body_timeout: minute,
            client_max_body_size: 1 << 20,
            max_request_line: 8 << 10,
            max_header_size: 32 << 10,
            worker_connections: 512,
            connections_per_address: None,
            http2_max_concurrent_streams: 128,
            http2_window: 65_535,
            http2_send_buffer: 32 << 10,
        }
    }
}

/// How long a connection is read on after an answer that closes it, so that the answer is not lost to a reset: nginx's
/// `lingering_time` would be 30 s, its `lingering_timeout` 5 s.
const LINGER: Duration = Duration::from_secs(5);
/// What is read and dropped at most in that time.
const LINGER_BYTES: usize = 16 << 20;

/// How long clients may remember that there is HTTP/3, in seconds (RFC 7838 §3.1): its default, a day.
const ALT_SVC_AGE: u32 = 86_400;

/// What one listening socket needs to know.
pub(crate) struct Front {
    pub(crate) limits: Limits,
    /// Which versions are spoken.
    pub(crate) versions: Versions,
    pub(crate) server: String,
    pub(crate) log: LogFormat,
    pub(crate) cx: Cx,
    pub(crate) handler: Arc<dyn Handle>,
    connections: AtomicU64,
}

/// Which versions are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) http1: bool,
    pub(crate) http2: bool,
    /// By QUIC, on the same number of port; needs TLS.
    pub(crate) http3: bool,
}

impl Versions {
    /// In ALPN.
    pub(crate) fn alpn(self) -> &'static [&'static str] {
        match self {
            Versions { http1: true, http2: true, .. } => &["h2", "http/1.1", "http/1.0"],
            Versions { http1: false, http2: true, .. } => &["h2"],
            Versions { http2: false, .. } => &["http/1.1", "http/1.0"],
        }
    }
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) secure: bool,
    pub(crate) number: u64,
}

/// Every IPv4 address.
fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

impl Front {
    pub(crate) fn new(
        limits: Limits,
        versions: Versions,
        server: String,
        log: LogFormat,
        cx: Cx,
        handler: Arc<dyn Handle>,
    ) -> Arc<Front> {
        Arc::new(Front { limits, versions, server, log, cx, handler, connections: AtomicU64::new(0) })
    }

    /// Serves a port for ever; says so when it cannot.
    pub(crate) async fn run(self: Arc<Self>, port: Option<u16>, tls: Option<&crate::tls::ServerOptions>) {
        let cx = self.cx.clone();
        let port = port.unwrap_or(if tls.is_some() { 443 } else { 80 });
        if let (true, Some(options)) = (self.versions.http3, tls) {
            net::spawn(self.clone().run_http3(port, options.clone()));
        }
        let tls = match tls.map(|tls| super::tls::Server::new(tls, self.versions.alpn(), &cx)).transpose() {
            Ok(tls) => tls.map(|tls| Arc::new(tls) as Arc<dyn Accept>),
            Err(error) => return cx.print(format!("[emerg] {}", error.text)),
        };
        if let Err(error) = self.serve(any(port), tls).await {
            cx.print(format!("[emerg] bind() to 0.0.0.0:{port} failed ({error})"));
        }
    }

    /// Serves one address for ever; says why it cannot.
    pub(crate) async fn run_at(
        self: Arc<Self>,
        at: SocketAddr,
        tls: Option<&crate::tls::ServerOptions>,
    ) -> String {
        let accept = tls.map(|tls| super::tls::Server::new(tls, self.versions.alpn(), &self.cx)).transpose();
        let accept = match accept {
            Ok(accept) => accept.map(|accept| Arc::new(accept) as Arc<dyn Accept>),
            Err(error) => return error.text,
        };
        self.serve(at, accept).await.map_or_else(|error| error.to_string(), |()| String::new())
    }

    /// The same by QUIC.
    async fn run_http3(self: Arc<Self>, port: u16, mut options: crate::tls::ServerOptions) {
        (options.alpn, options.versions) = (vec!["h3".into()], vec![crate::tls::VersionWord::Tls13]);
        let cx = self.cx.clone();
        match crate::tls::ServerTls::new(&options, &cx.env().pki, Some(&cx)) {
            Err(error) => cx.print(format!("[emerg] {error}")),
            Ok(tls) => {
                if let Err(error) = h3::serve(self, port, &tls).await {
                    cx.print(format!("[emerg] bind() to 0.0.0.0:{port} udp failed ({error})"));
                }
            }
        }
    }

    /// Serves a port for ever.
    async fn serve(self: Arc<Self>, at: SocketAddr, tls: Option<Arc<dyn Accept>>) -> io::Result<()> {
        let listener = net::TcpListener::bind(at).await?;
        let places = Arc::new(Semaphore::new(self.limits.worker_connections));
        let by_address: Arc<Mutex<BTreeMap<IpAddr, usize>>> = Arc::default();
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                // Its client was faster (accept(2)).
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                let limit = self.limits.worker_connections;
                self.cx.print(format!("[alert] {limit} worker_connections are not enough"));
                continue;
            };
            if !self.has_room_for(&by_address, peer.ip()) {
                continue;
            }
            let (front, tls, by_address) = (self.clone(), tls.clone(), by_address.clone());
            net::spawn(async move {
                front.connection(stream, peer, tls).await;
                if let MapEntry::Occupied(mut entry) = locked(&by_address).entry(peer.ip()) {
                    *entry.get_mut() -= 1;
                    if *entry.get() == 0 {
                        entry.remove();
                    }
                }
                drop(place);
            });
        }
    }

    /// Counts one more connection of an address, unless it has as many as it may.
    fn has_room_for(&self, by_address: &Mutex<BTreeMap<IpAddr, usize>>, address: IpAddr) -> bool {
        let mut all = locked(by_address);
        let count = all.entry(address).or_default();
        if let Some(limit) = self.limits.connections_per_address.filter(|limit| *count >= *limit) {
            self.cx.print(format!("[error] limiting connections, client: {address} has {limit}"));
            return false;
        }
        *count += 1;
        true
    }

    async fn connection(
        self: Arc<Self>,
        stream: net::TcpStream,
        peer: SocketAddr,
        tls: Option<Arc<dyn Accept>>,
    ) {
        let Ok(local) = stream.local_addr().and_then(|local| stream.set_nodelay(true).map(|()| local)) else {
            return;
        };
        let number = self.connections.fetch_add(1, Ordering::Relaxed);
        let ends = Ends { local, peer, secure: tls.is_some(), number };
        let Some(tls) = tls else { return self.plain(Box::new(stream), ends).await };
        let handshake = tls.accept(Box::new(stream));
        match tokio::time::timeout(self.limits.client_header_timeout, handshake).await {
            Ok(Ok(secured)) if secured.alpn.as_deref() == Some("h2") => {
                h2::serve(self, secured.stream, ends).await
            }
            Ok(Ok(secured)) => h1::serve(self, secured.stream, ends).await,
            Ok(Err(error)) => {
                self.cx.print(format!("[info] {} while SSL handshaking, client: {}", error.text, peer.ip()));
            }
            Err(_) => {
                self.cx.print(format!("[info] client timed out while SSL handshaking, client: {}", peer.ip()))
            }
        }
    }

    /// Without TLS the first bytes tell HTTP/2 with prior knowledge from HTTP/1 (RFC 9113 §3.3).
    async fn plain(self: Arc<Self>, mut stream: BoxStream, ends: Ends) {
        match self.versions {
            Versions { http2: false, .. } => h1::serve(self, stream, ends).await,
            Versions { http1: false, .. } => h2::serve(self, stream, ends).await,
            Versions { .. } => {
                let first = message::first_bytes(&mut stream, self.limits.keepalive_timeout).await;
                let Some((http2, stream)) = first.map(|read| message::replay(stream, read)) else { return };
                if http2 { h2::serve(self, stream, ends).await } else { h1::serve(self, stream, ends).await }
            }
        }
    }

    /// Answers a request: the handler, then the fields that every answer has.
    async fn answer(self: &Arc<Self>, exchange: Exchange) -> (Answer, Entry) {
        let mut entry = Entry::new(self.clone(), &exchange);
        let by_tcp = exchange.secure && exchange.version != http::Version::HTTP_3;
        let place = format!("h3=\":{}\"; ma={ALT_SVC_AGE}", exchange.local.port());
        let alternative =
            (self.versions.http3 && by_tcp).then(|| http::HeaderValue::from_str(&place).ok()).flatten();
        let mut answer = self.handler.clone().handle(exchange).await;
        self.complete(&mut answer);
        if let Some(place) = alternative {
            answer.headers.entry(http::header::ALT_SVC).or_insert(place);
        }
        entry.answered(&answer);
        (answer, entry)
    }

    fn complete(&self, answer: &mut Answer) {
        use http::header::{CONTENT_LENGTH, DATE, HeaderValue, SERVER};
        let now = httpdate::fmt_http_date(std::time::SystemTime::now());
        if let Ok(now) = HeaderValue::from_str(&now) {
            answer.headers.entry(DATE).or_insert(now);
        }
        if let (false, Ok(server)) = (self.server.is_empty(), HeaderValue::from_str(&self.server)) {
            answer.headers.entry(SERVER).or_insert(server);
        }
        let bodiless = answer.status.is_informational() || matches!(answer.status.as_u16(), 204 | 304);
        if let (false, Some(length)) = (bodiless, answer.body.length()) {
            answer.headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from(length));
        }
    }
}
