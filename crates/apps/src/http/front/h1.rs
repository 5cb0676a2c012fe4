//! HTTP/1 connections over hyper (RFC 9112), and what it leaves to a server: idle and slow clients (408), request lines that
//! are too long (414), and reading on after an answer that closes the connection.

use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, ready};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use http::header::{CONNECTION, EXPECT, HeaderValue};
use http::{Response, StatusCode, Version};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, sleep_until, timeout};

use super::message::{Never, Outgoing, is_ambiguous, replay};
use super::{Answer, Ends, Entry, Exchange, Front, LINGER, LINGER_BYTES, Note, RequestBody, Upgrade};
use crate::http::client::locked;
use crate::http::stream::{BoxStream, writes_through};

/// Header fields of one request.
const MAX_FIELDS: usize = 100;
/// hyper's smallest buffer.
const SMALLEST_BUFFER: usize = 8192;

/// What a connection does.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing since then.
    Idle(Instant),
    /// A request's head is coming since then.
    Head(Instant),
    /// A request is being answered.
    Busy,
}

struct State {
    phase: Mutex<Phase>,
    /// Bytes of a request line without its end.
    line: Mutex<Line>,
    requests: AtomicU64,
    /// Who takes the connection over after a 101.
    upgrade: Mutex<Option<Upgrade>>,
}

#[derive(Default)]
struct Line {
    bytes: usize,
    ended: bool,
    too_long: bool,
}

/// The connection as hyper sees it.
struct Watched {
    stream: BoxStream,
    state: Arc<State>,
    max_line: usize,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let new = &buf.filled()[before..];
        let mut phase = locked(&self.state.phase);
        if let (Phase::Idle(_), false) = (*phase, new.is_empty()) {
            *phase = Phase::Head(Instant::now());
            *locked(&self.state.line) = Line::default();
        }
        if let Phase::Head(_) = *phase {
            let mut line = locked(&self.state.line);
            if !line.ended {
                let end = new.iter().position(|b| *b == b'\n');
                line.ended = end.is_some();
                line.bytes += end.unwrap_or(new.len());
                if line.bytes > self.max_line {
                    line.too_long = true;
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

writes_through!(Watched, stream);

/// Serves a connection until it ends.
pub(super) async fn serve(front: Arc<Front>, stream: BoxStream, ends: Ends) {
    let state = Arc::new(State {
        phase: Mutex::new(Phase::Idle(Instant::now())),
        line: Mutex::default(),
        requests: AtomicU64::new(0),
        upgrade: Mutex::default(),
    });
    let io = Watched { stream, state: state.clone(), max_line: front.limits.max_request_line };
    let service = {
        let (front, state) = (front.clone(), state.clone());
        service_fn(move |request| {
            let (front, state) = (front.clone(), state.clone());
            Box::pin(async move { Ok::<_, Never>(respond(&front, &state, ends, request).await) })
        })
    };
    let mut builder = http1::Builder::new();
    builder
        .title_case_headers(true)
        .auto_date_header(false)
        .half_close(false)
        .max_headers(MAX_FIELDS)
        .max_buf_size(front.limits.max_header_size.max(SMALLEST_BUFFER))
        .timer(TokioTimer::new())
        .header_read_timeout(None);
    let mut connection = builder.serve_connection(TokioIo::new(io), service);
    let limits = &front.limits;
    let shortest = limits.keepalive_timeout.min(limits.client_header_timeout);
    // It fires no later than any deadline: both kinds begin after it was set and are no shorter.
    let mut clock = pin!(sleep_until(Instant::now() + shortest));
    let over = loop {
        let due = || match *locked(&state.phase) {
            Phase::Idle(since) => Some((since + limits.keepalive_timeout, None)),
            Phase::Head(since) => {
                Some((since + limits.client_header_timeout, Some(StatusCode::REQUEST_TIMEOUT)))
            }
            Phase::Busy => None,
        };
        tokio::select! {
            biased;
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break End::Hyper(ended),
            () = &mut clock => {
                let now = Instant::now();
                match due() {
                    Some((at, None)) if at <= now => break End::Idle,
                    Some((at, Some(status))) if at <= now => break End::Say(status),
                    Some((at, _)) => clock.as_mut().reset(at.min(now + shortest)),
                    None => clock.as_mut().reset(now + shortest),
                }
            }
        }
    };
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner().stream;
    let remote = ends.peer.ip();
    let upgrade = locked(&state.upgrade).take();
    if let (End::Hyper(Ok(())), Some(upgrade)) = (&over, upgrade) {
        let (_, stream) = replay(stream, BytesMut::from(&parts.read_buf[..]));
        return upgrade.serve(stream).await;
    }
    match over {
        End::Idle => return,
        End::Say(status) => say(&front, &mut stream, ends, status).await,
        End::Hyper(Ok(())) => {}
        End::Hyper(Err(_)) if locked(&state.line).too_long => {
            say(&front, &mut stream, ends, StatusCode::URI_TOO_LONG).await;
        }
        // hyper has answered already.
        End::Hyper(Err(error)) if error.is_parse() || error.is_parse_too_large() => {
            let status = if error.is_parse_too_large() { 431 } else { 400 };
            drop(Entry::unread(front.clone(), remote, status));
        }
        // The client went away.
        End::Hyper(Err(_)) => return,
    }
    linger(stream).await;
}

enum End {
    Hyper(hyper::Result<()>),
    Idle,
    Say(StatusCode),
}

/// An answer that hyper does not give.
async fn say(front: &Arc<Front>, stream: &mut BoxStream, ends: Ends, status: StatusCode) {
    let mut answer = Answer::error(status);
    front.complete(&mut answer);
    let mut entry = Entry::unread(front.clone(), ends.peer.ip(), status.as_u16());
    let mut text =
        format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
    crate::http::client::write_fields(&mut text, &answer.headers);
    text.push_str("Connection: close\r\n\r\n");
    let body = format!("{} {}\n", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
    text.push_str(&body);
    entry.sent(body.len());
    // Whoever is too slow for a request may be too slow for its answer.
    let _ = timeout(LINGER, stream.write_all(text.as_bytes())).await;
}

/// Ends our direction and reads on, so that the last answer is not lost to a reset (RFC 9112 §9.6).
async fn linger(mut stream: BoxStream) {
    let rest = async {
        stream.shutdown().await?;
        let mut dropped = 0;
        let mut buf = vec![0; 16 << 10];
        while dropped < LINGER_BYTES {
            match stream.read(&mut buf).await? {
                0 => break,
                n => dropped += n,
            }
        }
        Ok::<_, io::Error>(())
    };
    let _ = timeout(LINGER, rest).await;
}

async fn respond(
    front: &Arc<Front>,
    state: &Arc<State>,
    ends: Ends,
    request: http::Request<hyper::body::Incoming>,
) -> Response<Outgoing> {
    *locked(&state.phase) = Phase::Busy;
    let number = state.requests.fetch_add(1, Ordering::Relaxed) + 1;
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or_else(|| parts.uri.to_string(), ToString::to_string);
    let authority = parts.uri.authority().map(ToString::to_string);
    let host = || Some(parts.headers.get(http::header::HOST)?.to_str().ok()?.to_string());
    let ambiguous = is_ambiguous(parts.version, &parts.headers, authority.is_some());
    let expects =
        parts.headers.get(EXPECT).map(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let exchange = Exchange {
        host: authority.or_else(host).unwrap_or_default(),
        target,
        version: parts.version,
        body: if hyper::body::Body::is_end_stream(&body) {
            RequestBody::Empty
        } else {
            RequestBody::Http1(body)
        },
        peer: ends.peer,
        local: ends.local,
        secure: ends.secure,
        connection: ends.number,
        note: Note::default(),
        method: parts.method,
        headers: parts.headers,
    };
    let version = exchange.version;
    let refused = match (ambiguous, expects) {
        (true, _) => Some(Answer::error(StatusCode::BAD_REQUEST).closing()),
        // RFC 9110 §10.1.1.
        (_, Some(false)) => Some(Answer::error(StatusCode::EXPECTATION_FAILED).closing()),
        _ => None,
    };
    let (answer, entry) = match refused {
        None => front.answer(exchange).await,
        Some(mut answer) => {
            let mut entry = Entry::new(front.clone(), &exchange);
            front.complete(&mut answer);
            entry.answered(&answer);
            (answer, entry)
        }
    };
    if answer.status == StatusCode::SWITCHING_PROTOCOLS {
        *locked(&state.upgrade) = answer.upgrade;
    }
    let mut response = Response::new(Outgoing {
        body: answer.body,
        entry,
        done: {
            let state = state.clone();
            Box::new(move || *locked(&state.phase) = Phase::Idle(Instant::now()))
        },
    });
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    let stays = answer.status == StatusCode::SWITCHING_PROTOCOLS;
    let last = !stays
        && (answer.close
            || number >= front.limits.keepalive_requests
            || front.limits.keepalive_timeout.is_zero());
    if last {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    } else if version == Version::HTTP_10 {
        *response.version_mut() = Version::HTTP_10;
    }
    response
}
