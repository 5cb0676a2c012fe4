//! `ws-server`: a service that upgrades connections and answers messages, tells all of them to everybody, or tells events.

use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep_until};

use super::session::{Event, Session};
use super::upgrade::{Terms, accept};
use super::{Settings, check_sizes};
use crate::app::read_table;
use crate::http::client::BoxFuture;
use crate::http::front::{Answer, Exchange, Front, Handle, Limits, LogFormat, Upgrade, Versions};
use crate::tls::ServerOptions;
use crate::units::{Size, Span};
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// Messages that wait for a client of a chat; whoever is further behind misses the oldest.
const CHAT: usize = 256;

/// A WebSocket server. Its limits for requests and connections are the web server's.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WsServer {
    /// Its port; 80 unless given, 443 with TLS.
    pub port: Option<u16>,
    /// Its TLS (`wss`); without it the server speaks plain HTTP.
    pub tls: Option<ServerOptions>,
    /// The only path where it upgrades, others get 404; any unless given.
    pub path: Option<String>,
    /// Subprotocols that it knows, most wanted first.
    pub protocols: Vec<String>,
    /// Origins of pages that may connect, such as `http://shop.example`, others get 403; any unless given.
    pub origins: Vec<String>,
    /// What it does with messages: `echo` unless given.
    pub does: Does,
    /// `events`: how many there are; no end unless given.
    pub events: Option<u32>,
    /// `events`: the time between two; `1s` unless given.
    pub interval: Option<Span>,
    /// It closes a connection after so long, with 1001 (going away).
    pub leaves_after: Option<Span>,
    /// The time between its pings; it sends none unless given.
    pub ping: Option<Span>,
    /// How long it waits for a pong before it gives up with 1011; `20s` unless given.
    pub pong_timeout: Option<Span>,
    /// The largest message, fragments together (1009); `1m` unless given.
    pub max_message: Option<Size>,
    /// The largest frame (1009); `1m` unless given.
    pub max_frame: Option<Size>,
    /// true: it takes frames without masks, as no server should (RFC 6455 §5.1).
    pub accept_unmasked: bool,
    /// Connections at a time; 512 unless given.
    pub worker_connections: Option<usize>,
    /// The access log: "combined" unless given, "common" or "off".
    pub access_log: LogFormat,
}

/// What a server does with messages.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Does {
    /// Sends each back.
    #[default]
    Echo,
    /// Sends each to everybody who is connected.
    Broadcast,
    /// Tells `event 1`, `event 2`, … as they happen.
    Events,
    /// Nothing.
    Listen,
}

/// What one connection does.
#[derive(Clone)]
pub(crate) enum Doing {
    Echo,
    Broadcast(broadcast::Sender<String>),
    Events {
        /// Event `n` happens `n` times `every` after it.
        start: Instant,
        every: Duration,
        last: u32,
        /// The last one that the client knows.
        since: u32,
    },
    Listen,
}

/// Messages in and out.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    arrived: u32,
    sent: u32,
}

/// Reads a server's table.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let server: WsServer = read_table(table)?;
    let mut problems = check_sizes(
        &[("max_message", server.max_message), ("max_frame", server.max_frame)],
        &[
            ("ping", server.ping),
            ("pong_timeout", server.pong_timeout),
            ("interval", server.interval),
            ("leaves_after", server.leaves_after),
        ],
    );
    let mut wrong = |key: &str, message: String, help: &str| {
        problems.push(Problem { path: vec![key.into()], message, help: Some(help.into()) });
    };
    if let Some(path) = server.path.as_ref().filter(|path| !path.starts_with('/')) {
        wrong("path", format!("the path {path:?} must begin with /"), "path = \"/chat\"");
    }
    if let Some(name) = server.protocols.iter().find(|name| !is_token(name)) {
        wrong("protocols", format!("{name:?} cannot name a subprotocol"), "protocols = [\"chat.v1\"]");
    }
    for origin in &server.origins {
        let good = url::Url::parse(origin).is_ok_and(|url| url.origin().ascii_serialization() == *origin);
        if !good {
            wrong("origins", format!("{origin:?} is no origin"), "origins = [\"http://shop.example\"]");
        }
    }
    for (key, given) in [("events", server.events.is_some()), ("interval", server.interval.is_some())] {
        if given && server.does != Does::Events {
            wrong(key, "only a server of events has it".into(), "does = \"events\"");
        }
    }
    for mut problem in server.tls.iter().flat_map(|tls| tls.check(env)) {
        problem.path.insert(0, "tls".into());
        problems.push(problem);
    }
    if problems.is_empty() { Ok(Arc::new(server)) } else { Err(problems) }
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(good)
}

impl WsServer {
    fn settings(&self) -> Settings {
        let default = Settings::default();
        Settings {
            max_message: self.max_message.map_or(default.max_message, Size::bytes),
            max_frame: self.max_frame.map_or(default.max_frame, Size::bytes),
            ping: self.ping.map(|span| span.0),
            pong_timeout: self.pong_timeout.map_or(default.pong_timeout, |span| span.0),
            accept_unmasked: self.accept_unmasked,
        }
    }
}

impl App for WsServer {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let doing = match self.does {
                Does::Echo => Doing::Echo,
                Does::Broadcast => Doing::Broadcast(broadcast::channel(CHAT).0),
                Does::Events => Doing::Events {
                    start: Instant::now(),
                    every: self.interval.map_or(Duration::from_secs(1), |span| span.0),
                    last: self.events.unwrap_or(u32::MAX),
                    since: 0,
                },
                Does::Listen => Doing::Listen,
            };
            let mut limits = Limits::default();
            limits.worker_connections = self.worker_connections.unwrap_or(limits.worker_connections);
            let rooms = Arc::new(Room { table: self.clone(), doing, cx: cx.clone() });
            let versions = Versions { http1: true, http2: false, http3: false };
            let front = Front::new(limits, versions, String::new(), self.access_log, cx, rooms);
            front.run(self.port, self.tls.as_ref()).await;
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

struct Room {
    table: Arc<WsServer>,
    doing: Doing,
    cx: Cx,
}

impl Handle for Room {
    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let table = &self.table;
            if table.path.as_ref().is_some_and(|path| path != exchange.path()) {
                return Answer::error(StatusCode::NOT_FOUND);
            }
            let terms = Terms { protocols: table.protocols.clone(), origins: table.origins.clone() };
            let (answer, _) = match accept(&exchange, &terms) {
                Ok(accepted) => accepted,
                Err(refusal) => return refusal,
            };
            let (settings, leaves_after) = (table.settings(), table.leaves_after.map(|span| span.0));
            let (doing, cx, peer) = (self.doing.clone(), self.cx.clone(), exchange.peer);
            answer.upgrading(Upgrade::new(move |stream| {
                Box::pin(async move {
                    let session = Session::server(stream, settings).await;
                    serve(session, doing, leaves_after, peer, &cx).await;
                })
            }))
        })
    }
}

/// Serves one connection to its end, and says how it ended.
pub(crate) async fn serve(
    mut session: Session,
    mut doing: Doing,
    leaves_after: Option<Duration>,
    peer: SocketAddr,
    cx: &Cx,
) {
    let leaves = leaves_after.map(|after| Instant::now() + after);
    let mut others = match &doing {
        Doing::Broadcast(room) => Some(room.subscribe()),
        _ => None,
    };
    let mut counts = Counts::default();
    let closed = loop {
        let due = match &doing {
            Doing::Events { start, every, last, since } if since < last => {
                Some(*start + *every * (since + 1))
            }
            _ => None,
        };
        let at = |time: Option<Instant>| async move {
            match time {
                Some(time) => sleep_until(time).await,
                None => core::future::pending().await,
            }
        };
        let told = async {
            match &mut others {
                Some(others) => others.recv().await,
                None => core::future::pending().await,
            }
        };
        // A message that is to be sent.
        let text = tokio::select! {
            biased;
            woken = session.wait() => match session.handle(woken).await {
                None | Some(Event::Ping(_) | Event::Pong(..)) => continue,
                Some(Event::Closed(closed)) => break closed,
                Some(Event::Binary(bytes)) => {
                    counts.arrived += 1;
                    if matches!(doing, Doing::Echo) {
                        if let Err(closed) = session.binary(bytes).await {
                            break closed;
                        }
                        counts.sent += 1;
                    }
                    continue;
                }
                Some(Event::Text(text)) => {
                    counts.arrived += 1;
                    match &doing {
                        Doing::Echo => text,
                        Doing::Broadcast(room) => {
                            // It has this very connection at least.
                            let _ = room.send(text);
                            continue;
                        }
                        Doing::Events { .. } | Doing::Listen => continue,
                    }
                }
            },
            () = at(leaves) => break session.close(1001, "").await,
            told = told => match told {
                Ok(text) => text,
                // Too slow: it missed some.
                Err(_) => continue,
            },
            () = at(due) => {
                let Doing::Events { since, .. } = &mut doing else { continue };
                *since += 1;
                format!("event {since}")
            }
        };
        if let Err(closed) = session.text(&text).await {
            break closed;
        }
        counts.sent += 1;
    };
    let Counts { arrived, sent } = counts;
    cx.print(format!("{peer} WebSocket closed {closed}; {arrived} messages in, {sent} out"));
}
