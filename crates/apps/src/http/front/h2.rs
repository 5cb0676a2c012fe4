//! HTTP/2 connections over the `h2` crate (RFC 9113): streams with their handlers, pushes, GOAWAY when idle or after enough
//! requests, and the order of responses by RFC 9218's urgency.

use core::future::poll_fn;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendPushedResponse, SendResponse};
use h2::{Reason, SendStream};
use http::{HeaderMap, Method, Response, Version};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::message::is_ambiguous;
use super::{Answer, AnswerBody, Ends, Entry, Exchange, Front, LINGER, Note, RequestBody};
use crate::http::client::locked;
use crate::http::stream::BoxStream;

/// What is written of one stream before others may have their turn.
const PIECE: usize = 16 << 10;
/// A stream that got nothing for so long does not hold up less urgent ones.
const STALLED: Duration = Duration::from_millis(500);
/// Streams that a client opened and reset before they were accepted (CVE-2023-44487).
const MAX_RESET: usize = 20;

/// The streams that have something to send, by urgency and number; whether each is incremental.
#[derive(Default)]
struct Turns {
    active: Mutex<BTreeMap<(u8, u32), bool>>,
    changed: Notify,
}

/// A place among the turns.
struct Turn {
    turns: Arc<Turns>,
    key: (u8, u32),
    incremental: bool,
}

impl Turn {
    fn new(turns: &Arc<Turns>, stream: u32, (urgency, incremental): (u8, bool)) -> Turn {
        locked(&turns.active).insert((urgency, stream), incremental);
        Turn { turns: turns.clone(), key: (urgency, stream), incremental }
    }

    fn is_mine(&self) -> bool {
        let active = locked(&self.turns.active);
        let before = active.range(..self.key);
        // Among equals, incremental ones share and the others follow their numbers (RFC 9218 §10).
        before
            .into_iter()
            .all(|((urgency, _), incremental)| *urgency == self.key.0 && (*incremental || self.incremental))
    }

    async fn wait(&self) {
        let waiting = async {
            loop {
                let changed = self.turns.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.is_mine() {
                    return;
                }
                changed.await;
            }
        };
        let _ = timeout(STALLED, waiting).await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        locked(&self.turns.active).remove(&self.key);
        self.turns.changed.notify_waiters();
    }
}

/// Without the field.
const UNSAID: (u8, bool) = (3, false);

/// The Priority field (RFC 9218 §4): `u=0` to `u=7`, 3 when it is not there, and `i`.
fn priority(headers: &HeaderMap) -> (u8, bool) {
    let text = headers.get("priority").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut found = UNSAID;
    for part in text.split(',').map(str::trim) {
        match part.split_once('=') {
            Some(("u", n)) => found.0 = n.parse().ok().filter(|n| *n < 8).unwrap_or(3),
            Some(("i", value)) => found.1 = value == "?1",
            None if part == "i" => found.1 = true,
            _ => {}
        }
    }
    found
}

/// Serves a connection until it ends.
pub(super) async fn serve(front: Arc<Front>, stream: BoxStream, ends: Ends) {
    let limits = &front.limits;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.http2_max_concurrent_streams)
        .initial_window_size(limits.http2_window)
        .max_header_list_size(u32::try_from(limits.max_header_size).unwrap_or(u32::MAX))
        .max_send_buffer_size(limits.http2_send_buffer)
        .max_pending_accept_reset_streams(MAX_RESET);
    if limits.http2_window > 65_535 {
        builder.initial_connection_window_size(limits.http2_window);
    }
    let handshake = builder.handshake(stream);
    let Ok(Ok(mut connection)) = timeout(limits.client_header_timeout, handshake).await else { return };
    let turns = Arc::new(Turns::default());
    let mut requests = 0;
    let mut idle = Box::pin(sleep_until(Instant::now() + limits.keepalive_timeout));
    let mut closing = false;
    loop {
        tokio::select! {
            biased;
            accepted = connection.accept() => match accepted {
                None => return,
                // The connection is broken; its streams know.
                Some(Err(_)) => {
                    let _ = timeout(LINGER, poll_fn(|cx| connection.poll_closed(cx))).await;
                    return;
                }
                Some(Ok((request, respond))) => {
                    requests += 1;
                    idle.as_mut().reset(Instant::now() + limits.keepalive_timeout);
                    net::spawn(stream_of(front.clone(), ends, turns.clone(), request, respond));
                    if requests >= limits.keepalive_requests && !closing {
                        closing = true;
                        connection.graceful_shutdown();
                    }
                }
            },
            () = &mut idle => {
                if is_busy(&connection) {
                    idle.as_mut().reset(Instant::now() + limits.keepalive_timeout);
                } else if closing {
                    return;
                } else {
                    closing = true;
                    connection.graceful_shutdown();
                    idle.as_mut().reset(Instant::now() + LINGER);
                }
            }
        }
    }
}

fn is_busy(connection: &Connection<BoxStream, Bytes>) -> bool {
    connection.has_streams()
}

async fn stream_of(
    front: Arc<Front>,
    ends: Ends,
    turns: Arc<Turns>,
    request: http::Request<::h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let (parts, body) = request.into_parts();
    let priority = priority(&parts.headers);
    let target = parts.uri.path_and_query().map_or_else(|| "/".into(), ToString::to_string);
    let host = || Some(parts.headers.get(http::header::HOST)?.to_str().ok()?.to_string());
    let authority = parts.uri.authority().map(ToString::to_string);
    let ambiguous = is_ambiguous(Version::HTTP_2, &parts.headers, authority.is_some());
    let is_head = parts.method == Method::HEAD;
    let exchange = Exchange {
        host: authority.or_else(host).unwrap_or_default(),
        target,
        version: Version::HTTP_2,
        body: if body.is_end_stream() { RequestBody::Empty } else { RequestBody::Http2(body) },
        peer: ends.peer,
        local: ends.local,
        secure: ends.secure,
        connection: ends.number,
        note: Note::default(),
        method: parts.method,
        headers: parts.headers,
    };
    let host = exchange.host.clone();
    if ambiguous {
        return respond.send_reset(Reason::PROTOCOL_ERROR);
    }
    let too_long = exchange.target.len() > front.limits.max_request_line;
    let answered = async {
        if too_long {
            let mut entry = Entry::new(front.clone(), &exchange);
            let mut answer = Answer::error(http::StatusCode::URI_TOO_LONG);
            front.complete(&mut answer);
            entry.answered(&answer);
            return (answer, entry);
        }
        front.answer(exchange).await
    };
    let (mut answer, mut entry) = tokio::select! {
        biased;
        answered = answered => answered,
        // The client gave up: the handler is dropped, and the log says 499.
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
    };
    let pushes = push(&front, &mut respond, &mut answer, &host, ends.secure);
    let body = core::mem::replace(&mut answer.body, AnswerBody::Whole(Bytes::new()));
    let ends_here = is_head || body.length() == Some(0);
    let Ok(stream) = respond.send_response(head(answer), ends_here) else { return };
    for (answer, mut pushed) in pushes {
        let turns = turns.clone();
        net::spawn(async move {
            let body = match answer.body {
                AnswerBody::Whole(ref bytes) => AnswerBody::Whole(bytes.clone()),
                AnswerBody::Pieces(_) => AnswerBody::Whole(Bytes::new()),
            };
            if let Ok(stream) = pushed.send_response(head(answer), body.length() == Some(0)) {
                let _ = write(stream, body, None, &turns, UNSAID).await;
            }
        });
    }
    if !ends_here {
        let _ = write(stream, body, Some(&mut entry), &turns, priority).await;
    }
}

fn head(mut answer: Answer) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = answer.status;
    // They belong to HTTP/1 (RFC 9113 §8.2.2).
    for name in [http::header::CONNECTION, http::header::TRANSFER_ENCODING, http::header::UPGRADE] {
        answer.headers.remove(name);
    }
    *response.headers_mut() = answer.headers;
    response
}

/// Promises what the answer refers to, before it (RFC 9113 §8.4.1).
fn push(
    front: &Arc<Front>,
    respond: &mut SendResponse<Bytes>,
    answer: &mut Answer,
    host: &str,
    secure: bool,
) -> Vec<(Answer, SendPushedResponse<Bytes>)> {
    let mut pushes = Vec::new();
    for path in core::mem::take(&mut answer.push) {
        let Some(mut pushed) = front.handler.push(&path, host) else { continue };
        front.complete(&mut pushed);
        let scheme = if secure { "https" } else { "http" };
        let uri = http::Uri::builder().scheme(scheme).authority(host).path_and_query(path).build();
        let request =
            uri.ok().and_then(|uri| http::Request::builder().method(Method::GET).uri(uri).body(()).ok());
        let Some(request) = request else { continue };
        // A client that does not want pushes is a reason to stop, not an error.
        match respond.push_request(request) {
            Ok(send) => pushes.push((pushed, send)),
            Err(_) => break,
        }
    }
    pushes
}

/// Writes a body as the windows and the turns allow.
async fn write(
    mut stream: SendStream<Bytes>,
    mut body: AnswerBody,
    mut entry: Option<&mut Entry>,
    turns: &Arc<Turns>,
    priority: (u8, bool),
) -> Result<(), ::h2::Error> {
    while let Some(piece) = poll_fn(|cx| body.poll_piece(cx)).await {
        let mut piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                let reason = if error.kind() == io::ErrorKind::TimedOut {
                    Reason::CANCEL
                } else {
                    Reason::INTERNAL_ERROR
                };
                stream.send_reset(reason);
                return Ok(());
            }
        };
        // Its turn lasts while there is something to send.
        let turn = Turn::new(turns, stream.stream_id().as_u32(), priority);
        while !piece.is_empty() {
            turn.wait().await;
            stream.reserve_capacity(piece.len().min(PIECE));
            let granted = poll_fn(|cx| stream.poll_capacity(cx)).await;
            let n = match granted {
                Some(Ok(n)) => n.min(piece.len()).min(PIECE),
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            };
            let now = piece.split_to(n);
            if let Some(entry) = &mut entry {
                entry.sent(now.len());
            }
            let last = piece.is_empty() && body.length() == Some(0);
            stream.send_data(now, last)?;
            if last {
                return Ok(());
            }
        }
    }
    stream.send_data(Bytes::new(), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_priority_field_is_read_and_defaults_to_3() {
        for (text, expected) in [
            ("", (3, false)),
            ("u=0", (0, false)),
            ("u=7, i", (7, true)),
            ("i=?1,u=1", (1, true)),
            ("u=9", (3, false)),
            ("garbage", (3, false)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("priority", http::HeaderValue::from_static(text));
            assert_eq!(priority(&headers), expected, "{text}");
        }
    }

    #[test]
    fn urgent_streams_go_first_and_incremental_ones_share() {
        let turns = Arc::new(Turns::default());
        let with = |stream, urgency, incremental| Turn::new(&turns, stream, (urgency, incremental));
        let [late, early] = [with(1, 5, false), with(3, 1, false)];
        assert!(!late.is_mine());
        assert!(early.is_mine());
        drop(early);
        assert!(late.is_mine());
        let [a, b] = [with(5, 4, true), with(7, 4, true)];
        assert!(a.is_mine());
        assert!(b.is_mine());
        assert!(!late.is_mine());
    }
}
