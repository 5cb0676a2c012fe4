//! The client: requests over kept connections, HTTP/1 or HTTP/2 as ALPN says (RFC 9110, 9112, 9113). Redirects, cookies and
//! caches are the caller's.
//!
//! ```no_run
//! # async fn example() -> Result<(), apps::http::client::Error> {
//! use apps::http::client::{Client, Config, Request};
//! let client = Client::new(Config::default());
//! let response = client.send(Request::get("http://server/")?).await?;
//! let timings = response.timings();
//! let (status, body) = (response.status, response.body.collect(1 << 20).await?);
//! # drop((timings, status, body)); Ok(()) }
//! ```

mod alt_svc;
mod error;
mod h1;
mod h2;
mod h3;
mod pool;
mod types;

use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::{Instant, timeout};

pub use error::{Error, TlsError};
pub use h3::{Quic, QuicConnected};
pub use types::{Body, ConnectionInfo, Event, Headers, Pushed, Request, Response, Timings, Trace, Upgraded};

pub(crate) use h1::{Freed, Http1, Outgoing, write_fields};
pub(crate) use types::Marks;

use super::stream::{BoxStream, Counts};
use pool::{Conn, Got, Lease, Pool};

/// A future in a box.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Finds the addresses of a name.
pub trait Resolve: Send + Sync {
    /// The addresses, best first.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// Puts TLS over a connection.
pub trait Secure: Send + Sync {
    /// The handshake, with the server's name and the protocols offered in ALPN.
    fn secure<'a>(
        &'a self,
        stream: BoxStream,
        host: &'a str,
        alpn: &'a [&'static str],
    ) -> BoxFuture<'a, Result<Secured, TlsError>>;
}

/// A connection after its handshake.
pub struct Secured {
    /// What HTTP runs over.
    pub stream: BoxStream,
    /// The protocol that ALPN chose.
    pub alpn: Option<String>,
    /// What there is to say about it, a line each.
    pub about: Vec<String>,
}

/// Which HTTP a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: a connection for each request.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2 over TLS when the server chooses it, and HTTP/1.1 otherwise.
    #[default]
    Http2,
    /// HTTP/2 without asking (`h2c` with prior knowledge, RFC 9113 §3.3).
    Http2PriorKnowledge,
    /// HTTP/3 without asking, as a client does that has learnt of it (`Alt-Svc`).
    Http3,
}

/// How a client behaves.
#[derive(Clone)]
pub struct Config {
    /// Which HTTP.
    pub version: Version,
    /// HTTP/1 connections to one host at a time; 6, as in browsers.
    pub per_host: usize,
    /// Requests under way on one HTTP/1.1 connection; 1 means no pipelining (RFC 9112 §9.3.2).
    pub pipeline: usize,
    /// How long an unused connection is kept; 90 s.
    pub idle_timeout: Duration,
    /// How long name resolution and the handshakes may take together; no limit of its own unless given.
    pub connect_timeout: Option<Duration>,
    /// Whether a request whose kept connection turned out to be closed is sent again (RFC 9112 §9.3.1).
    pub retry: Retry,
    /// How long a request with `Expect: 100-continue` waits for the 100 before its body goes anyway; 1 s, as curl's.
    pub expect_timeout: Duration,
    /// Addresses of names that need no resolver, by name and port.
    pub addresses: BTreeMap<(String, u16), Vec<IpAddr>>,
    /// The resolver; that of the host unless given.
    pub resolver: Option<Arc<dyn Resolve>>,
    /// TLS; without it `https` is refused.
    pub tls: Option<Arc<dyn Secure>>,
    /// QUIC; without it HTTP/3 is refused.
    pub quic: Option<Arc<dyn Quic>>,
    /// Whether what is written first leaves with the SYN, where a server gave a cookie before (TCP Fast Open, RFC 7413); not on the
    /// machine's own sockets.
    pub fast_open: bool,
    /// Whether new connections go by HTTP/3 where an answer of before said that it is there (`Alt-Svc`, RFC 7838). Connections
    /// that stand are used on.
    pub alt_svc: bool,
    /// Whether HTTP/2 servers may push (SETTINGS_ENABLE_PUSH).
    pub push: bool,
    /// The receive window of an HTTP/2 stream; 65,535 unless given.
    pub stream_window: u32,
    /// The receive window of an HTTP/2 connection; 65,535 unless given.
    pub connection_window: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            version: Version::default(),
            per_host: 6,
            pipeline: 1,
            idle_timeout: Duration::from_secs(90),
            connect_timeout: None,
            retry: Retry::Idempotent,
            expect_timeout: Duration::from_secs(1),
            addresses: BTreeMap::new(),
            resolver: None,
            tls: None,
            quic: None,
            fast_open: false,
            alt_svc: false,
            push: false,
            stream_window: 65_535,
            connection_window: 65_535,
        }
    }
}

/// When a request is sent again after its kept connection died before any answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retry {
    /// Never.
    Never,
    /// When its method is idempotent: a browser and RFC 9110 §9.2.2.
    #[default]
    Idempotent,
    /// Whenever not a byte of the answer came, as curl does.
    Always,
}

/// Times that one request may be sent again.
const RETRIES: usize = 3;

/// A client with its connections; clones share them.
#[derive(Clone)]
pub struct Client(Arc<Pool>);

/// Where a request goes: one pool each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    pub(crate) secure: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Something shared, whoever panicked.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// Without any connection yet.
    pub fn new(config: Config) -> Client {
        Client(Arc::new(Pool::new(config)))
    }

    /// How it behaves.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// All connections that were opened, in order; with what passed over them.
    pub fn connections(&self) -> Vec<Arc<ConnectionInfo>> {
        locked(&self.0.opened).clone()
    }

    /// Closes unused connections and forgets what servers pushed.
    pub fn close_idle(&self) {
        self.0.close_idle();
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let origin = request.origin()?;
        let marks = Arc::new(Mutex::new(Marks::new(Instant::now())));
        for again in 0.. {
            let lease = self.0.acquire(&origin, &request, &marks).await?;
            let reused = lease.reused;
            match self.on(lease, &request, &marks).await {
                Ok(response) => {
                    self.0.learn(&origin, &response);
                    return Ok(response);
                }
                Err(error) => {
                    let allowed = match self.0.config.retry {
                        Retry::Never => error.refused(),
                        Retry::Idempotent => error.refused() || request.method.is_idempotent(),
                        Retry::Always => true,
                    };
                    if again == RETRIES || !allowed || !error.died(reused) {
                        return Err(error);
                    }
                    request.tell(&Event::Info("Connection died, retrying a fresh connect"));
                    locked(&marks).again(Instant::now());
                }
            }
        }
        unreachable!("the last round returns")
    }

    async fn on(
        &self,
        lease: Lease,
        request: &Request,
        marks: &Arc<Mutex<Marks>>,
    ) -> Result<Response, Error> {
        match &lease.conn {
            Conn::H1(conn) => {
                let version = self.0.config.version;
                h1::send(conn, request, version, self.0.config.expect_timeout, marks.clone(), lease.reused)
                    .await
            }
            Conn::H2(conn) => h2::send(conn, request, marks.clone(), lease.reused).await,
            Conn::H3(conn) => h3::send(conn, request, marks.clone(), lease.reused).await,
        }
    }
}

/// Opens an HTTP/3 connection to this UDP port.
pub(crate) async fn dial_http3(
    config: &Config,
    (origin, port): (&Origin, u16),
    limit: Option<Duration>,
    request: &Request,
    marks: &Arc<Mutex<Marks>>,
    id: u64,
) -> Result<(Got, Arc<ConnectionInfo>), Error> {
    let dialling = h3::open(config, origin, port, request, marks, id);
    let conn = match limit {
        None => dialling.await?,
        Some(limit) => timeout(limit, dialling).await.map_err(|_| Error::ConnectTimeout(limit))??,
    };
    let info = conn.info.clone();
    Ok((Got::H3(conn), info))
}

/// Opens a connection.
pub(crate) async fn dial(
    config: &Config,
    origin: &Origin,
    request: &Request,
    marks: &Arc<Mutex<Marks>>,
    id: u64,
) -> Result<(Got, Arc<ConnectionInfo>), Error> {
    // Plain `http` has no HTTP/3.
    if config.version == Version::Http3 && origin.secure {
        let limit = config.connect_timeout;
        return dial_http3(config, (origin, origin.port), limit, request, marks, id).await;
    }
    let dialling = connect(config, origin, request, marks);
    let (tcp, local, peer) = match config.connect_timeout {
        None => dialling.await?,
        Some(limit) => timeout(limit, dialling).await.map_err(|_| Error::ConnectTimeout(limit))??,
    };
    let mut info = ConnectionInfo {
        id,
        local,
        peer,
        host: origin.host.clone(),
        alpn: None,
        tls: Vec::new(),
        http2: false,
        counts: Arc::new(Counts::default()),
    };
    let mut stream: BoxStream = Box::new(tcp);
    if origin.secure {
        let tls = config.tls.as_ref().ok_or(Error::NoTls)?;
        let alpn: &[&'static str] = match config.version {
            Version::Http10 => &["http/1.0"],
            Version::Http11 => &["http/1.1"],
            Version::Http2 => &["h2", "http/1.1"],
            Version::Http2PriorKnowledge => &["h2"],
            Version::Http3 => unreachable!("it went by QUIC"),
        };
        let secured = tls.secure(stream, &origin.host, alpn).await.map_err(Error::Tls)?;
        locked(marks).tls = Some(Instant::now());
        for line in &secured.about {
            request.tell(&Event::Info(line));
        }
        (stream, info.alpn, info.tls) = (secured.stream, secured.alpn, secured.about);
    }
    info.http2 = info.alpn.as_deref() == Some("h2") || config.version == Version::Http2PriorKnowledge;
    let http2 = info.http2;
    let info = Arc::new(info);
    let got = if http2 { Got::H2(h2::open(config, stream, info.clone()).await?) } else { Got::H1(stream) };
    Ok((got, info))
}

type Dialled = (net::TcpStream, SocketAddr, SocketAddr);

async fn connect(
    config: &Config,
    origin: &Origin,
    request: &Request,
    marks: &Arc<Mutex<Marks>>,
) -> Result<Dialled, Error> {
    let addresses = resolve(config, origin).await?;
    locked(marks).dns = Some(Instant::now());
    let mut last = None;
    for ip in addresses {
        let to = SocketAddr::new(ip, origin.port);
        request.tell(&Event::Trying(to));
        match open(to, config.fast_open).await {
            Ok(stream) => {
                locked(marks).connect = Some(Instant::now());
                // The request goes at once (curl's and every browser's choice).
                let local = stream.set_nodelay(true).and_then(|()| stream.local_addr());
                let local = local.map_err(|error| Error::Connect(to, error))?;
                request.tell(&Event::Connected { host: &origin.host, peer: to });
                return Ok((stream, local, to));
            }
            Err(error) => {
                request.tell(&Event::ConnectFailed(to, &error));
                last = Some(Error::Connect(to, error));
            }
        }
    }
    Err(last.unwrap_or_else(|| Error::Resolve(origin.host.clone(), io::ErrorKind::NotFound.into())))
}

async fn open(to: SocketAddr, fast_open: bool) -> io::Result<net::TcpStream> {
    if !fast_open {
        return net::TcpStream::connect(to).await;
    }
    let socket = if to.is_ipv4() { net::TcpSocket::new_v4() } else { net::TcpSocket::new_v6() }?;
    socket.set_fastopen_connect(true)?;
    socket.connect(to).await
}

async fn resolve(config: &Config, origin: &Origin) -> Result<Vec<IpAddr>, Error> {
    if let Some(known) = config.addresses.get(&(origin.host.clone(), origin.port)) {
        return Ok(known.clone());
    }
    if let Ok(ip) = origin.host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(vec![ip]);
    }
    let wrong = |error| Error::Resolve(origin.host.clone(), error);
    match &config.resolver {
        Some(resolver) => resolver.resolve(&origin.host).await.map_err(wrong),
        None => {
            let found = net::lookup_host((origin.host.as_str(), origin.port)).await.map_err(wrong)?;
            Ok(found.map(|to| to.ip()).collect())
        }
    }
}
