//! Requests, answers and what is measured of them.

use core::time::Duration;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::mpsc;
use tokio::time::Instant;
use url::Url;

use super::super::stream::{BoxStream, Counts};
use super::{Error, Origin, locked};

/// Header fields.
pub type Headers = HeaderMap;

/// Hears what happens to a request, for `curl -v`.
pub type Trace = Arc<dyn Fn(&Event<'_>) + Send + Sync>;

/// Something that happened to a request.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A connection is tried.
    Trying(SocketAddr),
    /// It failed.
    ConnectFailed(SocketAddr, &'a io::Error),
    /// It stands.
    Connected {
        /// The name that was asked for.
        host: &'a str,
        /// Its address.
        peer: SocketAddr,
    },
    /// A kept connection is used.
    Reused(&'a ConnectionInfo),
    /// A remark.
    Info(&'a str),
    /// The head of the request as HTTP/1 writes it.
    RequestHead(&'a str),
    /// The head of an answer, an interim one included.
    ResponseHead(&'a str),
}

/// A request.
#[derive(Clone)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// With what.
    pub url: Url,
    /// Header fields in the order in which they are sent; `Host` and `Content-Length` are added.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
    /// Sends the body in chunks instead of with its length.
    pub chunked: bool,
    /// Hears what happens.
    pub trace: Option<Trace>,
}

impl core::fmt::Debug for Request {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

impl Request {
    /// A GET.
    ///
    /// # Errors
    /// When it is no URL.
    pub fn get(url: &str) -> Result<Request, Error> {
        let url = Url::parse(url).map_err(|error| Error::Url(format!("{url}: {error}")))?;
        Ok(Request::new(Method::GET, url))
    }

    /// A request without header fields and body.
    pub fn new(method: Method, url: Url) -> Request {
        Request { method, url, headers: Headers::new(), body: Bytes::new(), chunked: false, trace: None }
    }

    /// With one more header field.
    ///
    /// # Errors
    /// When it cannot be one.
    pub fn header(mut self, name: &str, value: &str) -> Result<Request, Error> {
        let wrong = || Error::Malformed(format!("{name}: {value} is no header field"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        self.headers.append(name, value);
        Ok(self)
    }

    /// With a body.
    #[must_use]
    pub fn body(self, body: impl Into<Bytes>) -> Request {
        Request { body: body.into(), ..self }
    }

    pub(crate) fn tell(&self, event: &Event<'_>) {
        if let Some(trace) = &self.trace {
            trace(event);
        }
    }

    pub(crate) fn origin(&self) -> Result<Origin, Error> {
        let secure = match self.url.scheme() {
            "http" => false,
            "https" => true,
            other => return Err(Error::Url(format!("{other} is neither http nor https"))),
        };
        let host = self.url.host_str().ok_or_else(|| Error::Url("it names no host".into()))?;
        let port = self.url.port().unwrap_or(if secure { 443 } else { 80 });
        Ok(Origin { secure, host: host.into(), port })
    }

    /// Path and query (RFC 9112 §3.2.1).
    pub(crate) fn target(&self) -> String {
        match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().into(),
        }
    }

    /// Host, and the port when it is not the scheme's.
    pub(crate) fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.into(), |port| format!("{host}:{port}"))
    }
}

/// One connection.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// Its number among this client's connections, from 0.
    pub id: u64,
    /// Our end.
    pub local: SocketAddr,
    /// The server's.
    pub peer: SocketAddr,
    /// The name that was asked for.
    pub host: String,
    /// What ALPN chose.
    pub alpn: Option<String>,
    /// What there is to say about its TLS.
    pub tls: Vec<String>,
    /// It speaks HTTP/2.
    pub http2: bool,
    /// What passed over it.
    pub counts: Arc<Counts>,
}

/// When the steps of a request ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    pub(crate) start: Instant,
    /// A connection began to be opened, or was there.
    pub(crate) granted: Option<Instant>,
    pub(crate) dns: Option<Instant>,
    pub(crate) connect: Option<Instant>,
    pub(crate) tls: Option<Instant>,
    /// The connection is ready for the request.
    pub(crate) ready: Option<Instant>,
    pub(crate) sent: Option<Instant>,
    pub(crate) first_byte: Option<Instant>,
    pub(crate) end: Option<Instant>,
}

impl Marks {
    pub(crate) fn new(start: Instant) -> Marks {
        Marks {
            start,
            granted: None,
            dns: None,
            connect: None,
            tls: None,
            ready: None,
            sent: None,
            first_byte: None,
            end: None,
        }
    }

    /// From the beginning: the time that was lost counts as waiting for a connection.
    pub(super) fn again(&mut self, _: Instant) {
        *self = Marks::new(self.start);
    }

    fn timings(&self) -> Timings {
        let since = |from: Option<Instant>, to: Option<Instant>| Some(to?.saturating_duration_since(from?));
        Timings {
            blocked: since(Some(self.start), self.granted).unwrap_or_default(),
            dns: since(self.granted, self.dns),
            connect: since(self.dns, self.connect),
            tls: since(self.connect, self.tls),
            send: since(self.ready, self.sent).unwrap_or_default(),
            wait: since(self.sent, self.first_byte).unwrap_or_default(),
            receive: since(self.first_byte, self.end),
            total: self
                .end
                .or(self.first_byte)
                .map_or(Duration::ZERO, |end| end.saturating_duration_since(self.start)),
        }
    }
}

/// Where the time of a request went, as in a HAR file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Waiting for a connection.
    pub blocked: Duration,
    /// Name resolution; `None` when a connection was kept, as the next two.
    pub dns: Option<Duration>,
    /// The handshake of TCP.
    pub connect: Option<Duration>,
    /// The handshake of TLS; `None` without TLS as well.
    pub tls: Option<Duration>,
    /// Writing the request.
    pub send: Duration,
    /// Waiting for the first byte of the answer.
    pub wait: Duration,
    /// Reading the answer; `None` while it goes on.
    pub receive: Option<Duration>,
    /// All of it so far.
    pub total: Duration,
}

/// An answer; its body is still coming.
#[derive(Debug)]
pub struct Response {
    /// As the server wrote it.
    pub version: http::Version,
    /// How it went.
    pub status: StatusCode,
    /// HTTP/1's words for the status.
    pub reason: String,
    /// Header fields.
    pub headers: Headers,
    /// The head as HTTP/1 writes it.
    pub head: String,
    /// Interim answers before it (1xx).
    pub interim: Vec<(StatusCode, Headers)>,
    /// The body.
    pub body: Body,
    /// What it came over.
    pub connection: Arc<ConnectionInfo>,
    /// The connection had been used before.
    pub reused: bool,
    /// The server had pushed it: no request was sent.
    pub pushed: bool,
    /// After a 101: the connection itself.
    pub upgraded: Option<Upgraded>,
}

impl Response {
    /// Where the time went; [`Body::timings`] once the body was read.
    pub fn timings(&self) -> Timings {
        self.body.timings()
    }

    /// The value of a header field, when it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A connection that speaks another protocol now.
pub struct Upgraded {
    /// The connection.
    pub stream: BoxStream,
    /// What the server already said in the new protocol.
    pub read: Bytes,
}

impl core::fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Upgraded({} bytes read)", self.read.len())
    }
}

/// A body that arrives piece by piece. Dropping it ends its request: HTTP/1 closes the connection, HTTP/2 resets the stream.
#[derive(Debug)]
pub struct Body {
    pub(super) source: Source,
    pub(super) marks: Arc<Mutex<Marks>>,
}

#[derive(Debug)]
pub(super) enum Source {
    Empty,
    /// From the task that reads the connection.
    Pieces(mpsc::Receiver<Result<Bytes, Error>>),
    Http2(::h2::RecvStream),
    /// A pushed answer that is already here.
    Whole(Bytes),
}

impl Body {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When it breaks off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let piece = match &mut self.source {
            Source::Empty => None,
            Source::Pieces(pieces) => pieces.recv().await.transpose()?,
            Source::Http2(stream) => match core::future::poll_fn(|cx| stream.poll_data(cx)).await {
                None => None,
                // "Do not send the rest" is no failure of an answer that is whole (RFC 9113 §8.1).
                Some(Err(error)) if error.reason() == Some(::h2::Reason::NO_ERROR) && error.is_reset() => {
                    None
                }
                Some(piece) => {
                    let piece = piece.map_err(Error::Http2)?;
                    // Only a connection that is gone refuses it, and then the next read says so.
                    let _ = stream.flow_control().release_capacity(piece.len());
                    Some(piece)
                }
            },
            Source::Whole(bytes) => Some(core::mem::take(bytes)).filter(|bytes| !bytes.is_empty()),
        };
        if piece.is_none() {
            self.source = Source::Empty;
            locked(&self.marks).end.get_or_insert_with(Instant::now);
        }
        Ok(piece)
    }

    /// The whole body, up to a limit.
    ///
    /// # Errors
    /// When it breaks off or is larger.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, Error> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.chunk().await? {
            if whole.len() + piece.len() > limit {
                return Err(Error::TooLarge("the body is"));
            }
            if whole.is_empty() && matches!(self.source, Source::Whole(_)) {
                return Ok(piece);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// Where the time went, up to now.
    pub fn timings(&self) -> Timings {
        locked(&self.marks).timings()
    }

    /// A way to the timings that outlives the body.
    pub fn clock(&self) -> impl Fn() -> Timings + Send + use<> {
        let marks = self.marks.clone();
        move || locked(&marks).timings()
    }
}

/// An answer that a server sent before it was asked for (RFC 9113 §8.4).
#[derive(Clone, Debug)]
pub struct Pushed {
    /// What it answers.
    pub path: String,
    /// How it went.
    pub status: StatusCode,
    /// Header fields.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
}
