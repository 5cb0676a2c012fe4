//! Answers that are computed: echo, forms, counters, sessions, JSON-RPC, and one stream of events told in four ways.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE, HeaderName, SET_COOKIE};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::pages::{Handler, Page};
use crate::http::client::{locked, write_fields};
use crate::http::front::{Answer, AnswerBody, Exchange, Upgrade};
use crate::{Cx, ws};

/// Sessions that are remembered.
const MAX_SESSIONS: usize = 10_000;
/// Pieces of a body that wait for the connection.
const PIECES: usize = 4;

/// What a server remembers.
pub(super) struct Memory {
    /// Events happen after this.
    start: Instant,
    /// Requests and POSTs by path.
    counts: Mutex<BTreeMap<String, (u64, u64)>>,
    /// Visits by session.
    sessions: Mutex<BTreeMap<String, u64>>,
    cx: Cx,
}

impl Memory {
    pub(super) fn new(start: Instant, cx: &Cx) -> Memory {
        Memory { start, counts: Mutex::default(), sessions: Mutex::default(), cx: cx.clone() }
    }
}

/// The value of a cookie.
fn cookie<'a>(exchange: &'a Exchange, name: &str) -> Option<&'a str> {
    let fields = exchange.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = fields.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// What a page answers.
pub(super) async fn answer(page: &Page, exchange: &Exchange, body: Bytes, memory: &Memory) -> Answer {
    if let Some((name, value)) = page.requires_cookie.as_deref().and_then(|text| text.split_once('='))
        && cookie(exchange, name) != Some(value)
    {
        return Answer::error(StatusCode::FORBIDDEN);
    }
    let mut answer = page.fixed();
    let Some(handler) = page.handler else { return paced(answer, page) };
    answer.headers.remove(http::header::ETAG);
    answer.headers.insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    match handler {
        Handler::Echo => set(&mut answer, echo(exchange, &body)),
        Handler::Form => set(&mut answer, form(exchange, &body)),
        Handler::Counter => set(&mut answer, count(exchange, memory)),
        Handler::Session => return session(answer, exchange, memory),
        Handler::JsonRpc => {
            let text = json_rpc(&body);
            answer = answer.with(CONTENT_TYPE, "application/json");
            set(&mut answer, text);
        }
        Handler::Poll => poll(&mut answer, page, exchange, memory),
        Handler::LongPoll => {
            let next = since(exchange) + 1;
            if let Some(at) = event_at(page, memory, next) {
                sleep_until(at).await;
            }
            poll(&mut answer, page, exchange, memory);
        }
        Handler::Events => return events(answer, page, exchange, memory),
        Handler::Websocket => return websocket(page, exchange, memory),
    }
    answer
}

fn set(answer: &mut Answer, text: impl Into<String>) {
    answer.body = AnswerBody::Whole(Bytes::from(text.into()));
}

/// The body piece by piece.
fn paced(mut answer: Answer, page: &Page) -> Answer {
    let Some(size) = page.chunk else { return answer };
    let AnswerBody::Whole(mut body) = core::mem::replace(&mut answer.body, AnswerBody::Whole(Bytes::new()))
    else {
        return answer;
    };
    let interval = page.interval.map_or(Duration::ZERO, |span| span.0);
    let (pieces, rest) = mpsc::channel(PIECES);
    net::spawn(async move {
        while !body.is_empty() {
            let piece = body.split_to(size.bytes().min(body.len()));
            if pieces.send(Ok::<_, io::Error>(piece)).await.is_err() {
                return;
            }
            if !interval.is_zero() && !body.is_empty() {
                sleep(interval).await;
            }
        }
    });
    answer.body = AnswerBody::Pieces(rest);
    answer
}

fn echo(exchange: &Exchange, body: &Bytes) -> String {
    let version = match exchange.version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    };
    let mut text = format!("{} {} {version}\r\n", exchange.method, exchange.target);
    write_fields(&mut text, &exchange.headers);
    text.push_str("\r\n");
    text.push_str(&String::from_utf8_lossy(body));
    text
}

/// RFC 1866 §8.2.1: from the query of a GET, the body of a POST.
fn form(exchange: &Exchange, body: &Bytes) -> String {
    let encoded =
        if exchange.method == Method::POST { body } else { exchange.query().unwrap_or_default().as_bytes() };
    let fields = url::form_urlencoded::parse(encoded);
    fields.map(|(name, value)| format!("{name} = {value}\n")).collect()
}

fn count(exchange: &Exchange, memory: &Memory) -> String {
    let mut counts = locked(&memory.counts);
    let (all, posts) = counts.entry(exchange.path().to_string()).or_default();
    *all += 1;
    *posts += u64::from(exchange.method == Method::POST);
    format!("requests {all}, POST {posts}\n")
}

fn session(mut answer: Answer, exchange: &Exchange, memory: &Memory) -> Answer {
    let mut sessions = locked(&memory.sessions);
    let known = cookie(exchange, "sid").filter(|sid| sessions.contains_key(*sid)).map(str::to_string);
    let sid = match known {
        Some(sid) => sid,
        None if sessions.len() < MAX_SESSIONS => {
            let sid = format!("s{}", sessions.len() + 1);
            if let Ok(field) =
                http::HeaderValue::from_str(&format!("sid={sid}; Path=/; HttpOnly; SameSite=Lax"))
            {
                answer.headers.append(SET_COOKIE, field);
            }
            sid
        }
        None => return Answer::error(StatusCode::SERVICE_UNAVAILABLE),
    };
    let visits = sessions.entry(sid.clone()).or_default();
    *visits += 1;
    let text = format!("session {sid}, visit {visits}\n");
    set(&mut answer, text);
    answer
}

/// JSON-RPC 2.0 §5.
fn json_rpc(body: &[u8]) -> String {
    let failed = |id: &Value, code: i64, message: &str| json!({ "jsonrpc": "2.0", "error": { "code": code, "message": message }, "id": id });
    let answer = match serde_json::from_slice::<Value>(body) {
        Err(_) => failed(&Value::Null, -32700, "Parse error"),
        Ok(call) => {
            let id = call.get("id").cloned().unwrap_or(Value::Null);
            let params = call.get("params").cloned().unwrap_or(Value::Null);
            let sum = || params.as_array()?.iter().map(Value::as_i64).sum::<Option<i64>>();
            match call.get("method").and_then(Value::as_str) {
                None => failed(&id, -32600, "Invalid Request"),
                Some("echo") => json!({ "jsonrpc": "2.0", "result": params, "id": id }),
                Some("add") => match sum() {
                    Some(sum) => json!({ "jsonrpc": "2.0", "result": sum, "id": id }),
                    None => failed(&id, -32602, "Invalid params"),
                },
                Some(_) => failed(&id, -32601, "Method not found"),
            }
        }
    };
    answer.to_string()
}

/// The last event that the client knows: of the query, or of `Last-Event-ID`.
fn since(exchange: &Exchange) -> u32 {
    let query = exchange.query().unwrap_or_default();
    let asked = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "since");
    let header = exchange.header(HeaderName::from_static("last-event-id"));
    asked.and_then(|(_, n)| n.parse().ok()).or_else(|| header?.parse().ok()).unwrap_or(0)
}

/// When event `n`, from 1, happens.
fn event_at(page: &Page, memory: &Memory, n: u32) -> Option<Instant> {
    let every = page.interval.map_or(Duration::from_secs(1), |span| span.0);
    (n <= page.events.unwrap_or(u32::MAX)).then(|| memory.start + every * n)
}

fn happened(page: &Page, memory: &Memory) -> u32 {
    let every = page.interval.map_or(Duration::from_secs(1), |span| span.0);
    let n = memory.start.elapsed().as_nanos().checked_div(every.as_nanos()).unwrap_or(0);
    u32::try_from(n).unwrap_or(u32::MAX).min(page.events.unwrap_or(u32::MAX))
}

/// The events that the client does not know.
fn poll(answer: &mut Answer, page: &Page, exchange: &Exchange, memory: &Memory) {
    const AT_ONCE: u32 = 1000;
    let (from, to) = (since(exchange) + 1, happened(page, memory));
    answer.headers.insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    if from > to {
        answer.status = StatusCode::NO_CONTENT;
        answer.headers.remove(CONTENT_TYPE);
        return set(answer, "");
    }
    let text: String =
        (from..=to.min(from.saturating_add(AT_ONCE))).map(|n| format!("event {n}\n")).collect();
    set(answer, text);
}

/// Server-sent events (HTML §9.2).
fn events(mut answer: Answer, page: &Page, exchange: &Exchange, memory: &Memory) -> Answer {
    answer = answer.with(CONTENT_TYPE, "text/event-stream").with(CACHE_CONTROL, "no-store");
    let mut n = since(exchange);
    let every = page.interval.map_or(Duration::from_secs(1), |span| span.0);
    let all = page.events.unwrap_or(u32::MAX);
    if n >= all {
        // There will be no more: a client that asks again is told to stop.
        return Answer::new(StatusCode::NO_CONTENT);
    }
    let last = page.events_at_once.map_or(all, |some| all.min(n.saturating_add(some)));
    let start = memory.start;
    let (pieces, rest) = mpsc::channel(PIECES);
    let retry = page.retry.map(|span| format!("retry: {}\n\n", span.0.as_millis()));
    net::spawn(async move {
        if let Some(retry) = retry {
            // Whoever left hears nothing.
            let _ = pieces.send(Ok(Bytes::from(retry))).await;
        }
        while n < last {
            n += 1;
            let at = start + every * n;
            tokio::select! {
                biased;
                () = pieces.closed() => return,
                () = sleep_until(at) => {}
            }
            let text = format!("id: {n}\ndata: event {n}\n\n");
            if pieces.send(Ok::<_, io::Error>(Bytes::from(text))).await.is_err() {
                return;
            }
        }
    });
    answer.body = AnswerBody::Pieces(rest);
    answer
}

/// The same by WebSocket (RFC 6455).
fn websocket(page: &Page, exchange: &Exchange, memory: &Memory) -> Answer {
    let (answer, _) = match ws::accept(exchange, &ws::Terms::default()) {
        Ok(accepted) => accepted,
        Err(refusal) => return refusal,
    };
    let doing = ws::Doing::Events {
        start: memory.start,
        every: page.interval.map_or(Duration::from_secs(1), |span| span.0),
        last: page.events.unwrap_or(u32::MAX),
        since: since(exchange),
    };
    let (cx, peer) = (memory.cx.clone(), exchange.peer);
    answer.upgrading(Upgrade::new(move |stream| {
        Box::pin(async move {
            let session = ws::Session::server(stream, ws::Settings::default()).await;
            ws::serve(session, doing, None, peer, &cx).await;
        })
    }))
}
