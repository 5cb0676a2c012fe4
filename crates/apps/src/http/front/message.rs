//! What a handler sees of a request and gives as an answer, whichever version carries it.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Entry;
use crate::http::client::{BoxFuture, locked};
use crate::http::stream::{BoxStream, writes_through};

/// A request.
#[derive(Debug)]
pub struct Exchange {
    /// What to do.
    pub method: Method,
    /// Path and query as they came.
    pub target: String,
    /// The authority: `:authority` or Host.
    pub host: String,
    /// Its version.
    pub version: Version,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: RequestBody,
    /// The client.
    pub peer: SocketAddr,
    /// Where it came in.
    pub local: SocketAddr,
    /// It came by TLS.
    pub secure: bool,
    /// The number of its connection, from 0.
    pub connection: u64,
    /// What its handler adds to its line of the access log, whatever becomes of it.
    pub note: Note,
}

/// The end of a line of the access log.
#[derive(Clone, Debug, Default)]
pub struct Note(Arc<Mutex<String>>);

impl Note {
    /// Replaces it.
    pub fn set(&self, text: String) {
        *locked(&self.0) = text;
    }

    pub(super) fn take(&self) -> String {
        core::mem::take(&mut locked(&self.0))
    }
}

impl Exchange {
    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The query without its question mark.
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// A header field that is text.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The body of a request, still coming.
#[derive(Debug)]
pub enum RequestBody {
    /// None.
    Empty,
    /// By HTTP/1.
    Http1(hyper::body::Incoming),
    /// By HTTP/2.
    Http2(::h2::RecvStream),
    /// By HTTP/3, read by a task.
    Pieces(mpsc::Receiver<Result<Bytes, BodyError>>),
}

/// Why a body could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// 413.
    TooLarge,
    /// 408.
    Timeout,
    /// 400.
    Malformed,
}

impl BodyError {
    /// What to answer.
    pub fn status(self) -> StatusCode {
        match self {
            BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Timeout => StatusCode::REQUEST_TIMEOUT,
            BodyError::Malformed => StatusCode::BAD_REQUEST,
        }
    }
}

impl RequestBody {
    /// The whole body.
    ///
    /// # Errors
    /// When it is larger than `limit`, or nothing comes for `pause`, or it breaks off.
    pub async fn collect(self, limit: usize, pause: Duration) -> Result<Bytes, BodyError> {
        let mut whole = BytesMut::new();
        let mut add = |piece: Bytes| {
            if whole.len() + piece.len() > limit {
                return Err(BodyError::TooLarge);
            }
            whole.extend_from_slice(&piece);
            Ok(())
        };
        match self {
            RequestBody::Empty => {}
            RequestBody::Http1(mut body) => loop {
                let next = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
                let Some(frame) = timeout(pause, next).await.map_err(|_| BodyError::Timeout)? else { break };
                // Trailers say nothing that a handler here asks for.
                if let Ok(piece) = frame.map_err(|_| BodyError::Malformed)?.into_data() {
                    add(piece)?;
                }
            },
            RequestBody::Pieces(mut body) => loop {
                let next = timeout(pause, body.recv()).await.map_err(|_| BodyError::Timeout)?;
                let Some(piece) = next else { break };
                add(piece?)?;
            },
            RequestBody::Http2(mut body) => loop {
                let next = poll_fn(|cx| body.poll_data(cx));
                let Some(piece) = timeout(pause, next).await.map_err(|_| BodyError::Timeout)? else { break };
                let piece = piece.map_err(|_| BodyError::Malformed)?;
                let _ = body.flow_control().release_capacity(piece.len());
                add(piece)?;
            },
        }
        Ok(whole.freeze())
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// How it went.
    pub status: StatusCode,
    /// Header fields; Date, Server and Content-Length are added.
    pub headers: HeaderMap,
    /// The body.
    pub body: AnswerBody,
    /// Closes the connection (HTTP/1).
    pub close: bool,
    /// Paths to push with it (HTTP/2).
    pub push: Vec<String>,
    /// With a 101: who takes the connection over (HTTP/1.1).
    pub upgrade: Option<Upgrade>,
}

/// Takes a connection over that speaks another protocol now (RFC 9110 §7.8).
pub struct Upgrade(Box<dyn FnOnce(BoxStream) -> BoxFuture<'static, ()> + Send>);

impl Upgrade {
    /// From what serves the connection to its end.
    pub fn new(serve: impl FnOnce(BoxStream) -> BoxFuture<'static, ()> + Send + 'static) -> Upgrade {
        Upgrade(Box::new(serve))
    }

    pub(super) async fn serve(self, stream: BoxStream) {
        (self.0)(stream).await;
    }
}

impl core::fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Upgrade")
    }
}

impl Answer {
    /// Without fields and body.
    pub fn new(status: StatusCode) -> Answer {
        Answer {
            status,
            headers: HeaderMap::new(),
            body: AnswerBody::Whole(Bytes::new()),
            close: false,
            push: Vec::new(),
            upgrade: None,
        }
    }

    /// A text.
    pub fn text(status: StatusCode, text: impl Into<String>) -> Answer {
        let mut answer = Answer::new(status);
        answer.body = AnswerBody::Whole(Bytes::from(text.into()));
        answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        answer
    }

    /// The status in words.
    pub fn error(status: StatusCode) -> Answer {
        let words = status.canonical_reason().unwrap_or("Error");
        Answer::text(status, format!("{} {words}\n", status.as_u16()))
    }

    /// With a header field.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: &str) -> Answer {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// And then the connection is someone else's.
    #[must_use]
    pub fn upgrading(self, upgrade: Upgrade) -> Answer {
        Answer { upgrade: Some(upgrade), ..self }
    }

    /// And the connection ends.
    #[must_use]
    pub fn closing(self) -> Answer {
        Answer { close: true, ..self }
    }
}

/// The body of an answer.
#[derive(Debug)]
pub enum AnswerBody {
    /// All of it.
    Whole(Bytes),
    /// Piece by piece; of known length when the Content-Length says so. An error breaks the connection.
    Pieces(mpsc::Receiver<io::Result<Bytes>>),
}

impl AnswerBody {
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            AnswerBody::Whole(bytes) => Some(bytes.len() as u64),
            AnswerBody::Pieces(_) => None,
        }
    }

    /// The next piece.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        match self {
            AnswerBody::Whole(bytes) => {
                let bytes = core::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)))
            }
            AnswerBody::Pieces(pieces) => pieces.poll_recv(cx),
        }
    }
}

/// A body on its way out by HTTP/1; counts for the access log.
pub(super) struct Outgoing {
    pub(super) body: AnswerBody,
    pub(super) entry: Entry,
    /// Runs when it is sent or given up.
    pub(super) done: Box<dyn Fn() + Send + Sync>,
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        (self.done)();
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Some(piece) = ready!(self.body.poll_piece(cx)) else { return Poll::Ready(None) };
        let piece = piece?;
        self.entry.sent(piece.len());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.length() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Whether it is unclear for which host a request is (RFC 9112 §3.2): the answer is 400. A length beside chunks is hyper's
/// business (§6.3): the chunks count, and the connection ends.
pub(super) fn is_ambiguous(version: Version, headers: &HeaderMap, has_authority: bool) -> bool {
    let hosts = headers.get_all(http::header::HOST).iter().count();
    let needs_host = version == Version::HTTP_11 && !has_authority;
    hosts > 1 || needs_host && hosts == 0
}

/// The beginning of HTTP/2's preface that HTTP/1 cannot have: no request of it begins with `PRI * HTTP/2`.
const PREFACE: &[u8] = b"PRI * HTTP/2";

/// Reads until it is known whether it is HTTP/2.
pub(super) async fn first_bytes(stream: &mut BoxStream, limit: Duration) -> Option<BytesMut> {
    let mut read = BytesMut::new();
    let reading = async {
        while read.len() < PREFACE.len() && PREFACE.starts_with(&read) {
            if stream.read_buf(&mut read).await.ok()? == 0 {
                return (!read.is_empty()).then_some(());
            }
        }
        Some(())
    };
    timeout(limit, reading).await.ok()??;
    Some(read)
}

/// A connection whose first bytes were already read.
pub(super) fn replay(stream: BoxStream, read: BytesMut) -> (bool, BoxStream) {
    let http2 = read.starts_with(PREFACE);
    (http2, Box::new(Replay { stream, read }))
}

struct Replay {
    stream: BoxStream,
    read: BytesMut,
}

impl AsyncRead for Replay {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let n = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read.split_to(n));
        Poll::Ready(Ok(()))
    }
}

writes_through!(Replay, stream);

/// No error.
pub(super) type Never = Infallible;
