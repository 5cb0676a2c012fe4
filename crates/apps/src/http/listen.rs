//! `event-listener` and `event-comparison`: one stream of events, heard by polling, long polling, server-sent events or
//! WebSocket; how late each event came, and what it cost.

use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::client::{Client, Config, ConnectionInfo, Error, Request, Retry, Version};
use super::sse::Reader;
use crate::app::read_table;
use crate::units::{Span, ms};
use crate::ws::{self, Event, Settings};
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// The largest answer of a poll.
const MAX_ANSWER: usize = 1 << 20;
/// Time before a broken stream of events is asked for again, unless the server says another: Chrome's.
const RECONNECT: Duration = Duration::from_secs(3);
/// Streams of events that are asked for, one after the other.
const MAX_STREAMS: u32 = 1000;
/// Characters of the longest bar.
const BAR: u128 = 30;

/// How a listener hears of events.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Hearing {
    /// It asks every now and then.
    #[default]
    Polling,
    /// It asks, and the server answers when there is something.
    LongPolling,
    /// It asks once, and the answer has no end (server-sent events). When it breaks off it asks again, with `Last-Event-ID`.
    Sse,
    /// It is told by WebSocket.
    Websocket,
}

impl Hearing {
    fn name(self) -> &'static str {
        match self {
            Hearing::Polling => "polling",
            Hearing::LongPolling => "long polling",
            Hearing::Sse => "server-sent events",
            Hearing::Websocket => "WebSocket",
        }
    }
}

/// Listens for events and prints how late each came and what they cost.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventListener {
    /// Where: `http://server/events`, `ws://server/socket` by WebSocket.
    pub url: String,
    /// How.
    pub by: Hearing,
    /// The time between two questions when it polls; 1 s unless given.
    pub every: Option<Span>,
    /// It ends after so many events; 10 unless given.
    pub events: Option<u32>,
    /// The time between two events at the server, which began when this program's clock did: for the delay of each.
    pub interval: Option<Span>,
}

/// Several listeners at once, and a table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventComparison {
    /// The listeners, in the order of the table.
    pub ways: Vec<EventListener>,
}

/// Reads an `event-listener` table.
///
/// # Errors
/// What is wrong with it.
pub fn read_listener(table: &Map<String, Value>, _: &Env) -> Result<Ready, Vec<Problem>> {
    let listener: EventListener = read_table(table)?;
    let problems = listener.check();
    if problems.is_empty() { Ok(Arc::new(listener)) } else { Err(problems) }
}

/// Reads an `event-comparison` table.
///
/// # Errors
/// What is wrong with it.
pub fn read_comparison(table: &Map<String, Value>, _: &Env) -> Result<Ready, Vec<Problem>> {
    let comparison: EventComparison = read_table(table)?;
    let mut problems = Vec::new();
    for (n, way) in comparison.ways.iter().enumerate() {
        problems.extend(way.check().into_iter().map(|mut problem| {
            problem.path.splice(0..0, ["ways".into(), n.to_string()]);
            problem
        }));
    }
    if problems.is_empty() { Ok(Arc::new(comparison)) } else { Err(problems) }
}

/// What a listener came to.
struct Heard {
    events: u32,
    requests: u32,
    delays: Vec<Duration>,
    /// Bytes above TCP, up and down.
    bytes: [u64; 2],
    /// TCP segments, both ways; unknown on the machine's own sockets, and of connections that are gone.
    segments: Option<u32>,
}

impl Heard {
    fn mean(&self) -> Duration {
        let count = u32::try_from(self.delays.len().max(1)).unwrap_or(u32::MAX);
        self.delays.iter().sum::<Duration>() / count
    }

    fn worst(&self) -> Duration {
        self.delays.iter().max().copied().unwrap_or_default()
    }
}

/// What is heard, as it is heard.
struct Ear<'a> {
    listener: &'a EventListener,
    start: Instant,
    seen: u32,
    requests: u32,
    delays: Vec<Duration>,
}

impl Ear<'_> {
    /// A line such as `event 7`; how late it is, is known from its number.
    fn hear(&mut self, line: &str) {
        let Some(n) = line.strip_prefix("event ").and_then(|n| n.parse::<u32>().ok()) else { return };
        let interval = self.listener.interval.map_or(Duration::from_secs(1), |span| span.0);
        self.seen += 1;
        self.delays.push(self.start.elapsed().saturating_sub(interval * n));
    }

    fn is_done(&self) -> bool {
        self.seen >= self.listener.events.unwrap_or(10)
    }

    fn heard(self, connections: &[Arc<ConnectionInfo>]) -> Heard {
        let sum = |bytes: fn(&ConnectionInfo) -> u64| connections.iter().map(|info| bytes(info)).sum();
        let segments = |ends: (SocketAddr, SocketAddr)| {
            Some(net::Host::current()?.tcp_segments(ends.0, ends.1)?.iter().sum::<u32>())
        };
        Heard {
            events: self.seen,
            requests: self.requests,
            delays: self.delays,
            bytes: [sum(|info| info.counts.sent.get()[0]), sum(|info| info.counts.received.get()[0])],
            segments: connections.iter().map(|info| segments((info.local, info.peer))).sum(),
        }
    }
}

impl EventListener {
    fn check(&self) -> Vec<Problem> {
        let url = match self.by {
            Hearing::Websocket => ws::check_url(&self.url),
            _ => Request::get(&self.url)
                .and_then(|request| request.origin())
                .map(drop)
                .map_err(|e| e.to_string()),
        };
        let problem = |key: &str, message, help: &str| Problem {
            path: vec![key.into()],
            message,
            help: Some(help.into()),
        };
        let mut problems = Vec::new();
        if let Err(why) = url {
            let scheme = if self.by == Hearing::Websocket { "ws" } else { "http" };
            problems.push(problem("url", why, &format!("url = \"{scheme}://server/events\"")));
        }
        let none = Duration::ZERO;
        for (key, _) in [("every", self.every), ("interval", self.interval)]
            .iter()
            .filter(|(_, span)| span.is_some_and(|span| span.0 == none))
        {
            problems.push(problem(key, "more than no time".into(), &format!("{key} = \"1s\"")));
        }
        problems
    }

    async fn listen(&self, cx: &Cx) -> Result<Heard, String> {
        let ear = Ear { listener: self, start: Instant::now(), seen: 0, requests: 0, delays: Vec::new() };
        match self.by {
            Hearing::Polling | Hearing::LongPolling => {
                self.poll(ear).await.map_err(|error| error.to_string())
            }
            Hearing::Sse => self.sse(ear, cx).await,
            Hearing::Websocket => self.websocket(ear, cx).await,
        }
    }

    async fn poll(&self, mut ear: Ear<'_>) -> Result<Heard, Error> {
        let client = Client::new(Config { version: Version::Http11, ..Config::default() });
        loop {
            let mut request = Request::get(&self.url)?;
            request.url.set_query(Some(&format!("since={}", ear.seen)));
            ear.requests += 1;
            let answer = client.send(request).await?.body.collect(MAX_ANSWER).await?;
            String::from_utf8_lossy(&answer).lines().for_each(|line| ear.hear(line));
            if ear.is_done() {
                return Ok(ear.heard(&client.connections()));
            }
            if self.by == Hearing::Polling {
                let every = self.every.map_or(Duration::from_secs(1), |span| span.0);
                tokio::time::sleep(every).await;
            }
        }
    }

    /// An EventSource (HTML §9.2.2): whatever breaks a stream, it is asked for again from the last event that came; only an
    /// answer that is no stream, or 204, ends it.
    async fn sse(&self, mut ear: Ear<'_>, cx: &Cx) -> Result<Heard, String> {
        let config = Config { version: Version::Http11, retry: Retry::Never, ..Config::default() };
        let client = Client::new(config);
        let mut reader = Reader::default();
        while ear.requests < MAX_STREAMS {
            let request = Request::get(&self.url)
                .and_then(|request| request.header("Accept", "text/event-stream"))
                .and_then(|request| request.header("Cache-Control", "no-store"));
            let mut request = request.map_err(|error| error.to_string())?;
            if !reader.last_id().is_empty() {
                request =
                    request.header("Last-Event-ID", reader.last_id()).map_err(|error| error.to_string())?;
            }
            ear.requests += 1;
            let why = match client.send(request).await {
                Err(error) => error.to_string(),
                Ok(response) => {
                    let status = response.status.as_u16();
                    let kind = response.header("content-type").unwrap_or_default().to_string();
                    if status == 204 {
                        return Ok(ear.heard(&client.connections()));
                    }
                    if status != 200 || !kind.starts_with("text/event-stream") {
                        return Err(format!("no stream of events: {status} {kind}"));
                    }
                    let mut body = response.body;
                    loop {
                        match body.chunk().await {
                            Ok(Some(piece)) => {
                                let events = reader.feed(&piece).map_err(|_| "an event has no end")?;
                                events.iter().for_each(|event| ear.hear(&event.data));
                                if ear.is_done() {
                                    return Ok(ear.heard(&client.connections()));
                                }
                            }
                            Ok(None) => break "the stream ended".into(),
                            Err(error) => break error.to_string(),
                        }
                    }
                }
            };
            reader.again();
            let pause = reader.retry().unwrap_or(RECONNECT);
            let from = if reader.last_id().is_empty() { "the beginning" } else { reader.last_id() };
            cx.print(format!("{why}; again in {}, from {from}", ms(pause)));
            tokio::time::sleep(pause).await;
        }
        Err(format!("{MAX_STREAMS} streams, and not enough events"))
    }

    async fn websocket(&self, mut ear: Ear<'_>, cx: &Cx) -> Result<Heard, String> {
        ear.requests += 1;
        let client = ws::Client::new(&self.url, Settings::default());
        let connected = client.connect(cx).await.map_err(|why| why.to_string())?;
        let mut session = connected.session;
        while !ear.is_done() {
            match session.next().await {
                Event::Text(text) => ear.hear(&text),
                Event::Closed(closed) => return Err(format!("closed {closed}")),
                Event::Binary(_) | Event::Ping(_) | Event::Pong(..) => {}
            }
        }
        let heard = ear.heard(&[connected.info]);
        session.close(1000, "").await;
        Ok(heard)
    }
}

impl App for EventListener {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            match self.listen(&cx).await {
                Ok(heard) => {
                    let [up, down] = heard.bytes;
                    cx.print(format!(
                        "{}: {} events by {} requests, {} late on average, {} at worst; {up} B up, {down} B down",
                        self.by.name(),
                        heard.events,
                        heard.requests,
                        ms(heard.mean()),
                        ms(heard.worst())
                    ));
                    0
                }
                Err(error) => {
                    cx.print(format!("event-listener: {error}"));
                    1
                }
            }
        })
    }
}

impl App for EventComparison {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let listening: Vec<_> = self
                .ways
                .iter()
                .map(|way| {
                    let (way, cx) = (way.clone(), cx.clone());
                    net::spawn(async move { (way.by.name(), way.listen(&cx).await) })
                })
                .collect();
            let mut all = Vec::new();
            for task in listening {
                match task.await {
                    Ok((name, Ok(heard))) => all.push((name, heard)),
                    Ok((name, Err(why))) => {
                        cx.print(format!("event-comparison: {name}: {why}"));
                        return 1;
                    }
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                }
            }
            table(&all, &cx);
            0
        })
    }
}

fn table(all: &[(&str, Heard)], cx: &Cx) {
    cx.print(format!(
        "{:<20}{:>7}{:>10}{:>12}{:>12}{:>8}{:>8}{:>9}",
        "by", "events", "requests", "late, mean", "late, most", "B up", "B down", "packets"
    ));
    for (name, heard) in all {
        let packets = heard.segments.map_or("?".into(), |n| n.to_string());
        cx.print(format!(
            "{name:<20}{:>7}{:>10}{:>12}{:>12}{:>8}{:>8}{packets:>9}",
            heard.events,
            heard.requests,
            ms(heard.mean()),
            ms(heard.worst()),
            heard.bytes[0],
            heard.bytes[1],
        ));
    }
    let bars = |title: &str, of: &dyn Fn(&Heard) -> u128, text: &dyn Fn(&Heard) -> String| {
        let most = all.iter().map(|(_, heard)| of(heard)).max().unwrap_or(0).max(1);
        cx.print(title);
        for (name, heard) in all {
            let bar = "█".repeat(usize::try_from((of(heard) * BAR).div_ceil(most)).unwrap_or(0));
            cx.print(format!("{name:<20}{:>10} {bar}", text(heard)));
        }
    };
    bars("late on average:", &|heard| heard.mean().as_micros(), &|heard| ms(heard.mean()));
    let each = |heard: &Heard| heard.bytes.iter().sum::<u64>() / u64::from(heard.events.max(1));
    bars("bytes of an event, both ways:", &|heard| each(heard).into(), &|heard| each(heard).to_string());
}
