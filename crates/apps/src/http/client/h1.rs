//! One HTTP/1 connection of a client: requests are written in order, a task reads the answers in the same order
//! (RFC 9112 §9.3). It also hears when the server closes an unused connection.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex, Weak};

use bytes::{Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::{Method, StatusCode, Version as HttpVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::types::{Source, Upgraded};
use super::{Body, ConnectionInfo, Error, Event, Marks, Request, Response, Version, locked};
use crate::http::stream::{BoxStream, Counted};

/// The largest head that is read; curl's is 300 kB.
const MAX_HEAD: usize = 256 << 10;
/// Header fields of an answer.
const MAX_FIELDS: usize = 256;
/// Interim answers before the final one.
const MAX_INTERIM: usize = 64;
/// The longest line with a chunk's size.
const MAX_CHUNK_LINE: usize = 4096;
/// The largest trailer section.
const MAX_TRAILERS: usize = 16 << 10;
/// One read.
const READ: usize = 16 << 10;
/// Pieces of a body that wait for their reader.
const PIECES: usize = 8;
/// Requests that wait for an answer on one connection.
const IN_FLIGHT: usize = 256;

/// What a connection tells its pool.
pub(crate) enum Freed {
    /// It waits for an answer less.
    Ready(Arc<Http1>),
    /// It is closed; said once.
    Closed,
}

type Free = Box<dyn Fn(Freed) + Send + Sync>;

/// One connection.
pub(crate) struct Http1 {
    pub(crate) info: Arc<ConnectionInfo>,
    write: tokio::sync::Mutex<Option<WriteHalf<Counted>>>,
    queue: mpsc::Sender<Expected>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    closed: AtomicBool,
    in_flight: AtomicUsize,
    stop: Notify,
    freed: Notify,
}

/// An answer that is waited for.
struct Expected {
    conn: Arc<Http1>,
    to_head: bool,
    go_on: Option<oneshot::Sender<()>>,
    head: oneshot::Sender<Result<Head, Error>>,
    marks: Arc<Mutex<Marks>>,
    trace: Option<super::Trace>,
}

/// The head of an answer.
struct Head {
    version: HttpVersion,
    status: StatusCode,
    reason: String,
    headers: HeaderMap,
    text: String,
    interim: Vec<(StatusCode, HeaderMap)>,
    body: Source,
    upgraded: Option<(ReadHalf<Counted>, Bytes)>,
}

/// A request as bytes.
pub(crate) struct Outgoing<'a> {
    pub(crate) head: String,
    pub(crate) body: Bytes,
    /// The answer has no body.
    pub(crate) to_head: bool,
    /// Waits for a 100 before the body, but no longer than this.
    pub(crate) expect: Option<Duration>,
    pub(crate) trace: Option<&'a super::Trace>,
}

impl Http1 {
    /// Takes a connection over; `free` hears when it is.
    pub(crate) fn start(stream: BoxStream, info: Arc<ConnectionInfo>, free: Free) -> Arc<Http1> {
        let (read, write) = tokio::io::split(Counted::h1(stream, info.counts.clone()));
        let (queue, expected) = mpsc::channel(IN_FLIGHT);
        let shared = Arc::new(Shared::default());
        let write = tokio::sync::Mutex::new(Some(write));
        let conn = Arc::new(Http1 { info: info.clone(), write, queue, shared: shared.clone() });
        let this = Arc::downgrade(&conn);
        net::spawn(
            Reader { read: Some(read), buf: BytesMut::new(), expected, shared, free, this, info }.run(),
        );
        conn
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.shared.stop.notify_one();
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Acquire)
    }

    /// Waits until the next answer was read or the connection is closed.
    pub(crate) async fn idle(&self) {
        let freed = self.shared.freed.notified();
        tokio::pin!(freed);
        freed.as_mut().enable();
        if self.in_flight() > 0 && !self.is_closed() {
            freed.await;
        }
    }

    /// A request is about to be sent.
    pub(crate) fn begin(&self) {
        self.shared.in_flight.fetch_add(1, Ordering::AcqRel);
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn exchange(
        self: &Arc<Self>,
        out: Outgoing<'_>,
        marks: Arc<Mutex<Marks>>,
        reused: bool,
    ) -> Result<Response, Error> {
        let mut cancel = Cancel(Some(self));
        let mut write = self.write.lock().await;
        let Some(stream) = write.as_mut() else { return Err(Error::Empty) };
        let (go_on, may_go_on) = oneshot::channel();
        let (head, mut answer) = oneshot::channel();
        let expected = Expected {
            conn: self.clone(),
            to_head: out.to_head,
            go_on: Some(go_on),
            head,
            marks: marks.clone(),
            trace: out.trace.cloned(),
        };
        if self.is_closed() || self.queue.try_send(expected).is_err() {
            return Err(Error::Empty);
        }
        let sent = &self.info.counts.sent;
        sent.add_headers(out.head.len());
        sent.add_data(out.body.len());
        let (written, early) = tokio::select! {
            biased;
            early = &mut answer => (Ok(()), Some(early)),
            written = write_request(stream, &out, may_go_on) => (written, None),
        };
        locked(&marks).sent.get_or_insert_with(Instant::now);
        if early.is_some() {
            // Answered before the request was whole: the rest is not sent, and nothing else can follow it.
            self.shared.closed.store(true, Ordering::Release);
        }
        drop(write);
        let answer = match early {
            Some(answer) => answer,
            None => answer.await,
        };
        let head = match (answer.unwrap_or(Err(Error::Empty)), written) {
            (Ok(head), _) => head,
            (Err(Error::Empty), Err(error)) => return Err(Error::Send(error)),
            (Err(error), _) => return Err(error),
        };
        cancel.0 = None;
        let upgraded = match head.upgraded {
            None => None,
            Some((read_half, read)) => {
                let write = self.write.lock().await.take().ok_or(Error::Empty)?;
                Some(Upgraded { stream: Box::new(read_half.unsplit(write)), read })
            }
        };
        Ok(Response {
            version: head.version,
            status: head.status,
            reason: head.reason,
            headers: head.headers,
            head: head.text,
            interim: head.interim,
            body: Body { source: head.body, marks },
            connection: self.info.clone(),
            reused,
            pushed: false,
            upgraded,
        })
    }
}

/// A request that is given up before its answer takes its connection with it.
struct Cancel<'a>(Option<&'a Arc<Http1>>);

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        if let Some(conn) = self.0 {
            conn.close();
        }
    }
}

async fn write_request(
    stream: &mut WriteHalf<Counted>,
    out: &Outgoing<'_>,
    may_go_on: oneshot::Receiver<()>,
) -> io::Result<()> {
    match out.expect {
        Some(limit) if !out.body.is_empty() => {
            stream.write_all(out.head.as_bytes()).await?;
            stream.flush().await?;
            match timeout(limit, may_go_on).await {
                Ok(Ok(())) | Err(_) => stream.write_all(&out.body).await?,
                // The answer is there or will never be.
                Ok(Err(_)) => return Ok(()),
            }
        }
        _ => {
            // One write: one segment when it fits.
            let mut whole = BytesMut::with_capacity(out.head.len() + out.body.len().min(READ));
            whole.extend_from_slice(out.head.as_bytes());
            let first = out.body.len().min(READ);
            whole.extend_from_slice(&out.body[..first]);
            stream.write_all(&whole).await?;
            stream.write_all(&out.body[first..]).await?;
        }
    }
    stream.flush().await
}

/// Sends a request over a connection.
pub(super) async fn send(
    conn: &Arc<Http1>,
    request: &Request,
    version: Version,
    expect: Duration,
    marks: Arc<Mutex<Marks>>,
    reused: bool,
) -> Result<Response, Error> {
    let head = request_head(request, version);
    request.tell(&Event::RequestHead(&head));
    let waits = request
        .headers
        .get(EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let body = if request.chunked { chunked(&request.body) } else { request.body.clone() };
    let out = Outgoing {
        head,
        body,
        to_head: request.method == Method::HEAD,
        expect: waits.then_some(expect),
        trace: request.trace.as_ref(),
    };
    conn.exchange(out, marks, reused).await
}

/// A body as one chunk and the last one (RFC 9112 §7.1).
fn chunked(body: &Bytes) -> Bytes {
    let mut out = BytesMut::new();
    if !body.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out.freeze()
}

/// The head as it is written: `Host` first (RFC 9110 §7.2), then the fields in their order.
fn request_head(request: &Request, version: Version) -> String {
    let digit = if version == Version::Http10 { '0' } else { '1' };
    let mut head = format!("{} {} HTTP/1.{digit}\r\n", request.method, request.target());
    if !request.headers.contains_key(HOST) {
        head.push_str(&format!("Host: {}\r\n", request.authority()));
    }
    write_fields(&mut head, &request.headers);
    let framed =
        request.headers.contains_key(CONTENT_LENGTH) || request.headers.contains_key(TRANSFER_ENCODING);
    if request.chunked && !framed {
        head.push_str("Transfer-Encoding: chunked\r\n");
    } else if !framed && (!request.body.is_empty() || matches!(request.method, Method::POST | Method::PUT)) {
        head.push_str(&format!("Content-Length: {}\r\n", request.body.len()));
    }
    head.push_str("\r\n");
    head
}

/// Header fields with the spelling that HTTP/1 programs are used to.
pub(crate) fn write_fields(head: &mut String, headers: &HeaderMap) {
    for (name, value) in headers {
        head.push_str(&spelling(name));
        head.push_str(": ");
        head.push_str(&String::from_utf8_lossy(value.as_bytes()));
        head.push_str("\r\n");
    }
}

/// `content-type` as `Content-Type`; some names are special.
pub(crate) fn spelling(name: &HeaderName) -> String {
    match name.as_str() {
        "etag" => "ETag".into(),
        "te" => "TE".into(),
        "dnt" => "DNT".into(),
        "last-event-id" => "Last-Event-ID".into(),
        "www-authenticate" => "WWW-Authenticate".into(),
        "sec-websocket-key" => "Sec-WebSocket-Key".into(),
        "sec-websocket-accept" => "Sec-WebSocket-Accept".into(),
        "sec-websocket-version" => "Sec-WebSocket-Version".into(),
        "sec-websocket-protocol" => "Sec-WebSocket-Protocol".into(),
        "sec-websocket-extensions" => "Sec-WebSocket-Extensions".into(),
        other => {
            let mut upper = true;
            let letter = |c: char| {
                let out = if upper { c.to_ascii_uppercase() } else { c };
                upper = c == '-';
                out
            };
            other.chars().map(letter).collect()
        }
    }
}

/// Whether the connection stays open after this message (RFC 9112 §9.3).
pub(crate) fn persists(version: HttpVersion, headers: &HeaderMap) -> bool {
    let says = |word: &str| {
        headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|option| option.trim().eq_ignore_ascii_case(word)))
    };
    if version == HttpVersion::HTTP_10 { says("keep-alive") } else { !says("close") }
}

/// How long a body is (RFC 9112 §6.3).
enum Framing {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

fn framing(to_head: bool, status: StatusCode, headers: &HeaderMap) -> Result<Framing, Error> {
    if to_head || matches!(status.as_u16(), 204 | 304) {
        return Ok(Framing::None);
    }
    if let Some(coding) = headers.get_all(TRANSFER_ENCODING).iter().next_back() {
        let last = coding.as_bytes().rsplit(|b| *b == b',').next().unwrap_or_default();
        let chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return Ok(if chunked { Framing::Chunked } else { Framing::UntilClose });
    }
    let mut length: Option<u64> = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let wrong =
            || Error::Malformed(format!("Content-Length: {}", String::from_utf8_lossy(value.as_bytes())));
        for part in value.to_str().map_err(|_| wrong())?.split(',').map(str::trim) {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            let n = part.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
            if length.is_some_and(|length| length != n) {
                return Err(wrong());
            }
            length = Some(n);
        }
    }
    Ok(match length {
        Some(0) => Framing::None,
        Some(n) => Framing::Length(n),
        None => Framing::UntilClose,
    })
}

/// The task that reads.
struct Reader {
    read: Option<ReadHalf<Counted>>,
    buf: BytesMut,
    expected: mpsc::Receiver<Expected>,
    shared: Arc<Shared>,
    free: Free,
    this: Weak<Http1>,
    info: Arc<ConnectionInfo>,
}

/// Where a body's pieces go.
type Pieces = mpsc::Sender<Result<Bytes, Error>>;

impl Reader {
    async fn run(mut self) {
        while let Some(expected) = self.next().await {
            let conn = expected.conn.clone();
            let stays = self.answer(expected).await && !conn.is_closed();
            self.shared.in_flight.fetch_sub(1, Ordering::AcqRel);
            if !stays {
                break;
            }
            self.shared.freed.notify_waiters();
            (self.free)(Freed::Ready(conn));
        }
        self.shared.closed.store(true, Ordering::Release);
        self.expected.close();
        while let Ok(expected) = self.expected.try_recv() {
            self.shared.in_flight.fetch_sub(1, Ordering::AcqRel);
            drop(expected.head.send(Err(Error::Empty)));
        }
        // Both halves go now, and with them the connection; whoever upgraded has taken them.
        if let (Some(conn), Some(_)) = (self.this.upgrade(), self.read.take())
            && let Ok(mut write) = conn.write.try_lock()
        {
            drop(write.take());
        }
        self.shared.freed.notify_waiters();
        (self.free)(Freed::Closed);
    }

    /// The next answer to read; `None` when the connection is over.
    async fn next(&mut self) -> Option<Expected> {
        let read = self.read.as_mut()?;
        if !self.buf.is_empty() {
            // Already the next answer of a pipeline, or something that nobody asked for.
            return self.expected.try_recv().ok();
        }
        tokio::select! {
            biased;
            expected = self.expected.recv() => expected,
            () = self.shared.stop.notified() => None,
            n = read.read_buf(&mut self.buf) => match n {
                // The server closed it: if a request is on its way, it learns so now.
                Ok(0) | Err(_) => None,
                Ok(_) => self.expected.try_recv().ok(),
            },
        }
    }

    /// Reads an answer; whether another can follow.
    async fn answer(&mut self, expected: Expected) -> bool {
        let Expected { conn: _conn, to_head, mut go_on, head, marks, trace } = expected;
        let mut interim = Vec::new();
        let (mut answer, framing) = loop {
            // Dropped: nobody waits any more.
            let shared = self.shared.clone();
            let read = tokio::select! {
                biased;
                () = shared.stop.notified() => Err(Error::Empty),
                read = self.head(&marks) => read,
            };
            let answer = match read {
                Ok(answer) => answer,
                Err(error) => {
                    drop(head.send(Err(error)));
                    return false;
                }
            };
            if let Some(trace) = &trace {
                trace(&Event::ResponseHead(&answer.text));
            }
            if answer.status.is_informational() && answer.status != StatusCode::SWITCHING_PROTOCOLS {
                if answer.status == StatusCode::CONTINUE
                    && let Some(go_on) = go_on.take()
                {
                    let _ = go_on.send(());
                }
                interim.push((answer.status, answer.headers));
                if interim.len() > MAX_INTERIM {
                    drop(head.send(Err(Error::TooLarge("the number of interim answers is"))));
                    return false;
                }
                continue;
            }
            match framing(to_head, answer.status, &answer.headers) {
                Ok(framing) => break (answer, framing),
                Err(error) => {
                    drop(head.send(Err(error)));
                    return false;
                }
            }
        };
        answer.interim = interim;
        if answer.status == StatusCode::SWITCHING_PROTOCOLS {
            answer.upgraded = self.read.take().map(|read| (read, self.buf.split().freeze()));
            locked(&marks).end = Some(Instant::now());
            drop(head.send(Ok(answer)));
            return false;
        }
        let stays = persists(answer.version, &answer.headers);
        if matches!(framing, Framing::None) {
            locked(&marks).end = Some(Instant::now());
            return head.send(Ok(answer)).is_ok() && stays;
        }
        let (pieces, source) = mpsc::channel(PIECES);
        answer.body = Source::Pieces(source);
        if head.send(Ok(answer)).is_err() {
            return false;
        }
        let read = match framing {
            Framing::None => Ok(()),
            Framing::Length(n) => self.length(n, &pieces).await,
            Framing::Chunked => self.chunks(&pieces).await,
            Framing::UntilClose => self.until_close(&pieces).await,
        };
        match read {
            Ok(()) => {
                locked(&marks).end = Some(Instant::now());
                stays && !matches!(framing, Framing::UntilClose)
            }
            Err(error) => {
                if let Some(error) = error {
                    let _ = pieces.send(Err(error)).await;
                }
                false
            }
        }
    }

    /// More bytes; false at the end.
    async fn more(&mut self) -> Result<bool, Error> {
        let Some(read) = &mut self.read else { return Ok(false) };
        self.buf.reserve(READ);
        // What belongs to later answers stays in the kernel's buffer.
        let mut piece = (&mut *read).take(READ as u64);
        let n = piece.read_buf(&mut self.buf).await.map_err(Error::Receive)?;
        Ok(n > 0)
    }

    async fn head(&mut self, marks: &Arc<Mutex<Marks>>) -> Result<Head, Error> {
        loop {
            if !self.buf.is_empty() {
                locked(marks).first_byte.get_or_insert_with(Instant::now);
                if let Some(head) = self.parse()? {
                    return Ok(head);
                }
                if self.buf.len() >= MAX_HEAD {
                    return Err(Error::TooLarge("the head of the answer is"));
                }
            }
            if !self.more().await? {
                return Err(match self.buf.is_empty() {
                    true => Error::Empty,
                    false => Error::Receive(io::ErrorKind::UnexpectedEof.into()),
                });
            }
        }
    }

    fn parse(&mut self) -> Result<Option<Head>, Error> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut fields);
        let wrong = |error: httparse::Error| match error {
            httparse::Error::TooManyHeaders => Error::TooLarge("the number of header fields is"),
            other => Error::Malformed(other.to_string()),
        };
        let length = match parsed.parse(&self.buf).map_err(wrong)? {
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(length) => length,
        };
        let version = if parsed.version == Some(0) { HttpVersion::HTTP_10 } else { HttpVersion::HTTP_11 };
        let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or_else(|| Error::Malformed("no status".into()))?;
        let reason = parsed.reason.unwrap_or_default().to_string();
        let mut headers = HeaderMap::with_capacity(parsed.headers.len());
        for field in &*parsed.headers {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            let value = HeaderValue::from_bytes(field.value);
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(Error::Malformed(format!("header field {:?}", field.name)));
            };
            headers.append(name, value);
        }
        let bytes = self.buf.split_to(length);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.info.counts.received.add_headers(length);
        Ok(Some(Head {
            version,
            status,
            reason,
            headers,
            text,
            interim: Vec::new(),
            body: Source::Empty,
            upgraded: None,
        }))
    }

    /// Hands a piece on; the error `None` means that nobody wants it.
    async fn hand_on(&mut self, piece: Bytes, pieces: &Pieces) -> Result<(), Option<Error>> {
        self.info.counts.received.add_data(piece.len());
        pieces.send(Ok(piece)).await.map_err(|_| None)
    }

    /// More bytes of a body, unless its reader is gone.
    async fn more_of(&mut self, pieces: &Pieces) -> Result<bool, Option<Error>> {
        tokio::select! {
            biased;
            () = pieces.closed() => Err(None),
            more = self.more() => more.map_err(Some),
        }
    }

    async fn length(&mut self, mut left: u64, pieces: &Pieces) -> Result<(), Option<Error>> {
        while left > 0 {
            if self.buf.is_empty() && !self.more_of(pieces).await? {
                return Err(Some(Error::Partial { missing: Some(left) }));
            }
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(self.buf.len());
            let piece = self.buf.split_to(n).freeze();
            left -= n as u64;
            self.hand_on(piece, pieces).await?;
        }
        Ok(())
    }

    async fn until_close(&mut self, pieces: &Pieces) -> Result<(), Option<Error>> {
        loop {
            if !self.buf.is_empty() {
                let piece = self.buf.split().freeze();
                self.hand_on(piece, pieces).await?;
            }
            if !self.more_of(pieces).await? {
                return Ok(());
            }
        }
    }

    /// RFC 9112 §7.1.
    async fn chunks(&mut self, pieces: &Pieces) -> Result<(), Option<Error>> {
        loop {
            let (line, size) = loop {
                match httparse::parse_chunk_size(&self.buf) {
                    Ok(httparse::Status::Complete(found)) => break found,
                    Ok(httparse::Status::Partial) if self.buf.len() < MAX_CHUNK_LINE => {}
                    _ => return Err(Some(Error::Malformed("the size of a chunk".into()))),
                }
                if !self.more_of(pieces).await? {
                    return Err(Some(Error::Partial { missing: None }));
                }
            };
            drop(self.buf.split_to(line));
            if size == 0 {
                return self.trailers(pieces).await;
            }
            self.length(size, pieces).await?;
            while self.buf.len() < 2 {
                if !self.more_of(pieces).await? {
                    return Err(Some(Error::Partial { missing: None }));
                }
            }
            if &self.buf.split_to(2)[..] != b"\r\n" {
                return Err(Some(Error::Malformed("a chunk without its end".into())));
            }
        }
    }

    /// They are read and dropped.
    async fn trailers(&mut self, pieces: &Pieces) -> Result<(), Option<Error>> {
        let mut read = 0;
        loop {
            if let Some(end) = self.buf.iter().position(|b| *b == b'\n') {
                let line = self.buf.split_to(end + 1);
                read += line.len();
                if matches!(&line[..], b"\r\n" | b"\n") {
                    return Ok(());
                }
            } else if self.buf.len() + read > MAX_TRAILERS {
                return Err(Some(Error::TooLarge("the trailer section is")));
            } else if !self.more_of(pieces).await? {
                return Err(Some(Error::Partial { missing: None }));
            }
            if read > MAX_TRAILERS {
                return Err(Some(Error::TooLarge("the trailer section is")));
            }
        }
    }
}
