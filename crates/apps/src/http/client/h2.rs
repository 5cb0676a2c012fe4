//! One HTTP/2 connection of a client, over the `h2` crate (RFC 9113): streams, flow control, GOAWAY, and what the server
//! pushes.

use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use h2::client::{Builder, PushPromises, SendRequest};
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::{Method, StatusCode};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::h1::write_fields;
use super::types::{Pushed, Source};
use super::{Body, Config, ConnectionInfo, Error, Event, Marks, Request, Response, locked};
use crate::http::stream::{BoxStream, Counted};

/// Pushed answers that a connection keeps.
const MAX_PUSHED: usize = 64;
/// The largest of them.
const MAX_PUSHED_BODY: usize = 4 << 20;
/// The largest header list that is accepted (SETTINGS_MAX_HEADER_LIST_SIZE).
const MAX_HEADER_LIST: u32 = 256 << 10;

/// Answers that were pushed or are being pushed, by their path.
type Pushes = Arc<Mutex<BTreeMap<String, JoinHandle<Result<Pushed, Error>>>>>;

/// One connection.
pub(crate) struct Http2 {
    pub(crate) info: Arc<ConnectionInfo>,
    send: SendRequest<Bytes>,
    closed: Arc<AtomicBool>,
    push: bool,
    pushed: Pushes,
}

impl Http2 {
    pub(crate) fn is_usable(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }
}

/// Prefaces and settings.
pub(super) async fn open(
    config: &Config,
    stream: BoxStream,
    info: Arc<ConnectionInfo>,
) -> Result<Arc<Http2>, Error> {
    let stream = Counted::h2_client(stream, info.counts.clone());
    let mut builder = Builder::new();
    builder
        .enable_push(config.push)
        .initial_window_size(config.stream_window)
        .max_header_list_size(MAX_HEADER_LIST);
    if config.connection_window > 65_535 {
        builder.initial_connection_window_size(config.connection_window);
    }
    let (send, connection) = builder.handshake(stream).await.map_err(Error::Http2)?;
    let closed = Arc::new(AtomicBool::new(false));
    let over = closed.clone();
    net::spawn(async move {
        // Its streams have the error.
        let _ = connection.await;
        over.store(true, Ordering::Release);
    });
    Ok(Arc::new(Http2 { info, send, closed, push: config.push, pushed: Arc::default() }))
}

/// Sends a request on a stream of its own.
pub(super) async fn send(
    conn: &Arc<Http2>,
    request: &Request,
    marks: Arc<Mutex<Marks>>,
    reused: bool,
) -> Result<Response, Error> {
    let known = locked(&conn.pushed).remove(&request.target());
    if let (Some(pushed), &Method::GET) = (known, &request.method)
        && let Ok(Ok(pushed)) = pushed.await
    {
        return Ok(from_push(conn, pushed, marks));
    }
    let message = message(request, http::Version::HTTP_2)?;
    let mut shown =
        format!("{} {} HTTP/2\r\nHost: {}\r\n", request.method, request.target(), request.authority());
    write_fields(&mut shown, message.headers());
    shown.push_str("\r\n");
    request.tell(&Event::RequestHead(&shown));
    // Waits while the server's SETTINGS_MAX_CONCURRENT_STREAMS are under way.
    let mut ready = conn
        .send
        .clone()
        .ready()
        .await
        .inspect_err(|_| conn.closed.store(true, Ordering::Release))
        .map_err(Error::Http2)?;
    let whole = request.body.is_empty();
    let (mut answer, mut stream) = ready.send_request(message, whole).map_err(Error::Http2)?;
    if conn.push {
        net::spawn(keep_pushed(answer.push_promises(), conn.pushed.clone()));
    }
    if !whole {
        send_body(&mut stream, request.body.clone()).await?;
    }
    locked(&marks).sent = Some(Instant::now());
    let answer = answer.await.map_err(|error| {
        if error.is_go_away() || error.is_io() {
            conn.closed.store(true, Ordering::Release);
        }
        Error::Http2(error)
    })?;
    locked(&marks).first_byte = Some(Instant::now());
    let (parts, body) = answer.into_parts();
    let head = shown_head("HTTP/2", parts.status, &parts.headers);
    request.tell(&Event::ResponseHead(&head));
    let source = if body.is_end_stream() {
        locked(&marks).end = Some(Instant::now());
        Source::Empty
    } else {
        Source::Http2(body)
    };
    Ok(Response {
        version: http::Version::HTTP_2,
        status: parts.status,
        reason: String::new(),
        headers: parts.headers,
        head,
        interim: Vec::new(),
        body: Body { source, marks },
        connection: conn.info.clone(),
        reused,
        pushed: false,
        upgraded: None,
    })
}

pub(super) fn shown_head(version: &str, status: StatusCode, headers: &http::HeaderMap) -> String {
    let mut head = format!("{version} {} \r\n", status.as_u16());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes())));
    }
    head.push_str("\r\n");
    head
}

/// Without the fields that belong to HTTP/1 connections (RFC 9113 §8.2.2).
pub(super) fn message(request: &Request, version: http::Version) -> Result<http::Request<()>, Error> {
    let host = request.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = host.map_or_else(|| request.authority(), str::to_string);
    let uri = http::Uri::builder()
        .scheme(request.url.scheme())
        .authority(authority)
        .path_and_query(request.target());
    let uri = uri.build().map_err(|error| Error::Url(error.to_string()))?;
    let mut message = http::Request::builder().method(request.method.clone()).uri(uri).version(version);
    for (name, value) in &request.headers {
        let hop = [HOST, CONNECTION, TRANSFER_ENCODING].contains(name);
        if !hop && !matches!(name.as_str(), "keep-alive" | "upgrade" | "proxy-connection") {
            message = message.header(name, value);
        }
    }
    if !request.body.is_empty()
        && !request.headers.contains_key(http::header::CONTENT_LENGTH)
        && !request.chunked
    {
        message = message.header(http::header::CONTENT_LENGTH, request.body.len());
    }
    message.body(()).map_err(|error| Error::Malformed(error.to_string()))
}

/// As much as the windows allow at a time.
pub(crate) async fn send_body(stream: &mut h2::SendStream<Bytes>, mut body: Bytes) -> Result<(), Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let granted = poll_fn(|cx| stream.poll_capacity(cx)).await;
        let n = match granted {
            Some(Ok(n)) => n.min(body.len()),
            // The answer tells why.
            Some(Err(_)) | None => return Ok(()),
        };
        let piece = body.split_to(n);
        stream.send_data(piece, body.is_empty()).map_err(Error::Http2)?;
    }
    Ok(())
}

/// Takes what the server pushes beside an answer.
async fn keep_pushed(mut promises: PushPromises, pushed: Pushes) {
    while let Some(Ok(promise)) = promises.push_promise().await {
        let (request, answer) = promise.into_parts();
        let path = request.uri().path_and_query().map_or_else(|| "/".into(), ToString::to_string);
        let mut pushed = locked(&pushed);
        if pushed.len() >= MAX_PUSHED {
            // Dropped: the stream is reset with CANCEL.
            continue;
        }
        let key = path.clone();
        let task = net::spawn(async move {
            let (parts, mut body) = answer.await.map_err(Error::Http2)?.into_parts();
            let mut whole = BytesMut::new();
            while let Some(piece) = poll_fn(|cx| body.poll_data(cx)).await {
                let piece = piece.map_err(Error::Http2)?;
                let _ = body.flow_control().release_capacity(piece.len());
                if whole.len() + piece.len() > MAX_PUSHED_BODY {
                    return Err(Error::TooLarge("a pushed body is"));
                }
                whole.extend_from_slice(&piece);
            }
            Ok(Pushed { path, status: parts.status, headers: parts.headers, body: whole.freeze() })
        });
        pushed.insert(key, task);
    }
}

fn from_push(conn: &Arc<Http2>, pushed: Pushed, marks: Arc<Mutex<Marks>>) -> Response {
    let now = Instant::now();
    {
        let mut marks = locked(&marks);
        (marks.sent, marks.first_byte) = (Some(now), Some(now));
    }
    let head = shown_head("HTTP/2", pushed.status, &pushed.headers);
    Response {
        version: http::Version::HTTP_2,
        status: pushed.status,
        reason: String::new(),
        headers: pushed.headers,
        head,
        interim: Vec::new(),
        body: Body { source: Source::Whole(pushed.body), marks },
        connection: conn.info.clone(),
        reused: true,
        pushed: true,
        upgraded: None,
    }
}
