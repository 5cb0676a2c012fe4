//! The client: the upgrade by our own HTTP client, and `ws-client`, a program that does what its steps say.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout};
use url::Url;

use super::close::Closed;
use super::server::is_token;
use super::session::{Event, Session};
use super::steps::Step;
use super::upgrade::{check, request_fields};
use super::{Settings, check_sizes};
use crate::app::read_table;
use crate::http::client::{self, Config, ConnectionInfo, Error, Request, Retry, Version};
use crate::http::tls;
use crate::tls::ClientOptions;
use crate::units::{Size, Span, ms};
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// The largest answer that is read of a server that refuses.
const MAX_REFUSAL: usize = 64 << 10;
/// Characters of a message that are printed.
const SHOWN: usize = 80;

/// Opens connections.
#[derive(Clone, Debug)]
pub struct Client {
    /// `ws://server/chat`, or `wss`.
    pub url: String,
    /// Subprotocols that are offered, most wanted first.
    pub protocols: Vec<String>,
    /// More header fields, such as `Origin`.
    pub headers: Vec<(String, String)>,
    /// The host that is connected to instead of the URL's, on the URL's port.
    pub connect_to: Option<String>,
    /// How the connection is kept.
    pub settings: Settings,
    /// TLS for `wss`.
    pub tls: ClientOptions,
}

/// A connection that was upgraded.
pub struct Connected {
    /// It.
    pub session: Session,
    /// The subprotocol that the server chose.
    pub protocol: Option<String>,
    /// Its addresses, and the bytes that passed over it, the upgrade included.
    pub info: Arc<ConnectionInfo>,
    /// How long TCP took.
    pub connect: Duration,
    /// How long all of it took.
    pub total: Duration,
}

/// Why there is no connection, or no longer one.
#[derive(Debug)]
pub enum Failed {
    /// The request failed.
    Http(Error),
    /// The server answered with this status instead of 101; and what it said.
    Refused(u16, String),
    /// Its 101 is wrong.
    Upgrade(String),
    /// It was closed.
    Closed(Closed),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Http(error) => write!(f, "{error}"),
            Failed::Refused(status, said) => write!(f, "no upgrade: {status} {}", said.trim_end()),
            Failed::Upgrade(why) => f.write_str(why),
            Failed::Closed(closed) => write!(f, "closed {closed}"),
        }
    }
}

impl std::error::Error for Failed {}

impl From<Closed> for Failed {
    fn from(closed: Closed) -> Failed {
        Failed::Closed(closed)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Http(error)
    }
}

/// The URL for HTTP's client; a message when it is none of a WebSocket.
fn http_url(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| format!("{text:?}: {error}"))?;
    let scheme = match url.scheme() {
        "ws" => "http",
        "wss" => "https",
        other => return Err(format!("{other} is no scheme of WebSocket")),
    };
    if url.fragment().is_some() {
        return Err("a WebSocket URL has no fragment (RFC 6455 §3)".into());
    }
    url.set_scheme(scheme).map_err(|()| format!("{text:?} cannot be asked for"))?;
    Ok(url)
}

/// What is wrong with a URL.
pub(crate) fn check_url(text: &str) -> Result<(), String> {
    http_url(text).map(drop)
}

impl Client {
    /// Without anything special.
    pub fn new(url: &str, settings: Settings) -> Client {
        Client {
            url: url.into(),
            protocols: Vec::new(),
            headers: Vec::new(),
            connect_to: None,
            settings,
            tls: ClientOptions::default(),
        }
    }

    /// TCP, TLS and the upgrade.
    ///
    /// # Errors
    /// See [`Failed`].
    pub async fn connect(&self, cx: &Cx) -> Result<Connected, Failed> {
        let url = http_url(&self.url).map_err(|why| Failed::Http(Error::Url(why)))?;
        let mut addresses = BTreeMap::new();
        if let (Some(to), Some(host), Some(port)) =
            (&self.connect_to, url.host_str(), url.port_or_known_default())
        {
            let found = net::lookup_host((to.as_str(), port)).await;
            let found = found.map_err(|error| Failed::Http(Error::Resolve(to.clone(), error)))?;
            addresses.insert((host.to_string(), port), found.map(|to| to.ip()).collect());
        }
        let http = client::Client::new(Config {
            addresses,
            version: Version::Http11,
            retry: Retry::Never,
            tls: Some(Arc::new(tls::Client::new(self.tls.clone(), cx))),
            ..Config::default()
        });
        let key = nonce();
        let mut request = Request::new(http::Method::GET, url);
        request.headers.extend(request_fields(&key, &self.protocols));
        for (name, value) in &self.headers {
            request = request.header(name, value)?;
        }
        let start = Instant::now();
        let response = http.send(request).await?;
        let (status, timings) = (response.status.as_u16(), response.timings());
        let Some(upgraded) = response.upgraded else {
            let said = response.body.collect(MAX_REFUSAL).await.unwrap_or_default();
            return Err(Failed::Refused(status, String::from_utf8_lossy(&said).into_owned()));
        };
        let protocol = check(&response.headers, &key, &self.protocols).map_err(Failed::Upgrade)?;
        let session = Session::client(upgraded.stream, upgraded.read, self.settings).await;
        let info = response.connection;
        Ok(Connected {
            session,
            protocol,
            info,
            connect: timings.connect.unwrap_or_default(),
            total: start.elapsed(),
        })
    }
}

/// The key of a handshake: 16 random bytes (RFC 6455 §4.1).
fn nonce() -> String {
    let mut bytes = [0; 16];
    let random: &dyn ring::rand::SecureRandom = &ring::rand::SystemRandom::new();
    random.fill(&mut bytes).expect("the machine has random numbers");
    STANDARD.encode(bytes)
}

/// A WebSocket client.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WsClient {
    /// The server, such as `ws://server:8080/chat`, or `wss`.
    pub url: String,
    /// Subprotocols that it offers, most wanted first.
    #[serde(default)]
    pub protocols: Vec<String>,
    /// The page's origin, as a browser says it.
    pub origin: Option<String>,
    /// The host that it connects to instead of the URL's: a proxy on the way.
    pub connect_to: Option<String>,
    /// The time between its pings; it sends none unless given.
    pub ping: Option<Span>,
    /// How long it waits for a pong before it gives up with 1011; `20s` unless given.
    pub pong_timeout: Option<Span>,
    /// How long it waits for an answer; `10s` unless given.
    pub patience: Option<Span>,
    /// The largest message, fragments together (1009); `1m` unless given.
    pub max_message: Option<Size>,
    /// The largest frame (1009); `1m` unless given.
    pub max_frame: Option<Size>,
    /// What it does: `say WORDS` (and waits for a message), `say-in 3 WORDS` (in fragments), `say-unmasked WORDS`, `say-bytes 300`, `ping` (and waits
    /// for the pong), `listen 10s`, `sleep 1s` (it reads nothing meanwhile), `raw 81 05 …` (bytes past the protocol),
    /// `closed 1002` (waits for the server to close so), `close 1000 WORDS`, `vanish` (TCP ends without a word). At the end it
    /// closes with 1000.
    pub steps: Vec<String>,
    /// TLS for `wss`.
    #[serde(default)]
    pub tls: ClientOptions,
}

/// The program as it runs.
#[derive(Debug)]
struct Program {
    client: Client,
    steps: Vec<Step>,
    patience: Duration,
}

/// Reads a client's table.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let given: WsClient = read_table(table)?;
    let mut problems = check_sizes(
        &[("max_message", given.max_message), ("max_frame", given.max_frame)],
        &[("ping", given.ping), ("pong_timeout", given.pong_timeout), ("patience", given.patience)],
    );
    let mut wrong = |path: &[&str], message: String, help: &str| {
        let path = path.iter().map(|part| (*part).to_string()).collect();
        problems.push(Problem { path, message, help: Some(help.into()) });
    };
    if let Err(why) = http_url(&given.url) {
        wrong(&["url"], why, "url = \"ws://server/chat\", or wss");
    }
    if let Some(name) = given.protocols.iter().find(|name| !is_token(name)) {
        wrong(&["protocols"], format!("{name:?} cannot name a subprotocol"), "protocols = [\"chat.v1\"]");
    }
    if let Some(origin) = given.origin.as_ref().filter(|text| http::HeaderValue::from_str(text).is_err()) {
        wrong(
            &["origin"],
            format!("{origin:?} cannot stand in a header field"),
            "origin = \"http://shop.example\"",
        );
    }
    let mut steps = Vec::new();
    for (n, text) in given.steps.iter().enumerate() {
        match Step::parse(text) {
            Ok(step) => steps.push(step),
            Err((message, help)) => wrong(&["steps", &n.to_string()], message, &help),
        }
    }
    for mut problem in given.tls.check(env) {
        problem.path.insert(0, "tls".into());
        problems.push(problem);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let default = Settings::default();
    let settings = Settings {
        max_message: given.max_message.map_or(default.max_message, Size::bytes),
        max_frame: given.max_frame.map_or(default.max_frame, Size::bytes),
        ping: given.ping.map(|span| span.0),
        pong_timeout: given.pong_timeout.map_or(default.pong_timeout, |span| span.0),
        ..default
    };
    let headers = given.origin.into_iter().map(|origin| ("Origin".to_string(), origin)).collect();
    let patience = given.patience.map_or(Duration::from_secs(10), |span| span.0);
    let WsClient { url, protocols, connect_to, tls, .. } = given;
    let client = Client { url, protocols, headers, connect_to, settings, tls };
    Ok(Arc::new(Program { client, steps, patience }))
}

impl App for Program {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            match self.walk(&cx).await {
                Ok(()) => 0,
                Err(why) => {
                    cx.print(format!("ws-client: {why}"));
                    1
                }
            }
        })
    }
}

/// A text frame as a server would send it (RFC 6455 §5.2).
fn unmasked(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(len @ ..=125), _) => frame.push(len),
        (_, Ok(len)) => {
            frame.push(126);
            frame.extend(len.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((text.len() as u64).to_be_bytes());
        }
    }
    frame.extend(text.as_bytes());
    frame
}

/// A message as it is printed.
fn shown(event: &Event) -> String {
    match event {
        Event::Text(text) => {
            let cut: String = text.chars().take(SHOWN).collect();
            let more = if cut.len() < text.len() { " …" } else { "" };
            format!("text {cut:?}{more} ({} B)", text.len())
        }
        Event::Binary(bytes) => format!("{} bytes", bytes.len()),
        Event::Ping(payload) => format!("ping \"{}\", answered", payload.escape_ascii()),
        Event::Pong(payload, Some(after)) => {
            format!("pong \"{}\" after {}", payload.escape_ascii(), ms(*after))
        }
        Event::Pong(payload, None) => format!("pong \"{}\" unasked", payload.escape_ascii()),
        Event::Closed(closed) => format!("closed {closed}"),
    }
}

impl Program {
    async fn walk(&self, cx: &Cx) -> Result<(), String> {
        let connected = self.client.connect(cx).await.map_err(|why| why.to_string())?;
        let protocol = connected.protocol.map_or("no protocol".into(), |name| format!("protocol {name}"));
        cx.print(format!(
            "101 after {} (TCP {}): {protocol}, no extension",
            ms(connected.total),
            ms(connected.connect)
        ));
        let mut session = connected.session;
        let mut over = false;
        for step in &self.steps {
            over = self.step(step, &mut session, cx).await?;
            if over {
                break;
            }
        }
        if !over {
            cx.print(format!("closed {}", session.close(1000, "").await));
        }
        Ok(())
    }

    /// Whether the connection is over, as this step wanted it.
    async fn step(&self, step: &Step, session: &mut Session, cx: &Cx) -> Result<bool, String> {
        let gone = |closed: Closed| format!("closed {closed}");
        match step {
            Step::Say { text, fragments } => {
                let sent = Instant::now();
                match fragments {
                    1 => session.text(text).await.map_err(gone)?,
                    n => session.fragments(text, *n).await.map_err(gone)?,
                }
                self.answer(session, sent, cx).await?;
            }
            Step::SayUnmasked(text) => {
                let sent = Instant::now();
                session.raw(&unmasked(text)).await.map_err(gone)?;
                self.answer(session, sent, cx).await?;
            }
            Step::SayBytes(n) => {
                let sent = Instant::now();
                session.binary(Bytes::from(vec![0x5a; *n])).await.map_err(gone)?;
                self.answer(session, sent, cx).await?;
            }
            Step::Ping => {
                session.ping(Bytes::from_static(b"are you there?")).await.map_err(gone)?;
                loop {
                    let event = timeout(self.patience, session.next()).await.map_err(|_| "no pong")?;
                    match event {
                        Event::Closed(closed) => return Err(gone(closed)),
                        Event::Pong(_, Some(_)) => {
                            cx.print(shown(&event));
                            break;
                        }
                        _ => cx.print(shown(&event)),
                    }
                }
            }
            Step::Listen(time) => {
                let until = Instant::now() + *time;
                while let Ok(event) = tokio::time::timeout_at(until, session.next()).await {
                    match event {
                        Event::Closed(closed) => return Err(gone(closed)),
                        event => cx.print(shown(&event)),
                    }
                }
            }
            Step::Sleep(time) => tokio::time::sleep(*time).await,
            Step::Raw(bytes) => {
                cx.print(format!("{} bytes past the protocol", bytes.len()));
                session.raw(bytes).await.map_err(gone)?;
            }
            Step::Closed(code) => loop {
                let event = timeout(self.patience, session.next()).await.map_err(|_| "it is not closed")?;
                cx.print(shown(&event));
                match event {
                    Event::Closed(closed) if closed.code == *code => return Ok(true),
                    Event::Closed(closed) => return Err(format!("closed with {}, not {code}", closed.code)),
                    _ => {}
                }
            },
            Step::Close(code, reason) => {
                let start = Instant::now();
                let closed = session.close(*code, reason).await;
                cx.print(format!("closed {closed} after {}", ms(start.elapsed())));
                return Ok(true);
            }
            Step::Vanish => {
                session.vanish();
                cx.print("gone without a word");
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Waits for one message and prints it with its round trip.
    async fn answer(&self, session: &mut Session, sent: Instant, cx: &Cx) -> Result<(), String> {
        loop {
            let event = timeout(self.patience, session.next()).await.map_err(|_| "no answer")?;
            match event {
                Event::Closed(closed) => return Err(format!("closed {closed}")),
                Event::Text(_) | Event::Binary(_) => {
                    cx.print(format!("{} after {}", shown(&event), ms(sent.elapsed())));
                    return Ok(());
                }
                event => cx.print(shown(&event)),
            }
        }
    }
}
