//! Programs that measure from the client's side: a page with its objects, one call told by HTTP and by bytes, a stream of
//! events told by polling and by the server. Each prints what its own connections counted.

use core::time::Duration;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::client::{Client, Config, Error, Request, Retry, Version};
use super::tls;
use crate::app::read_table;
use crate::tls::ClientOptions;
use crate::units::Span;
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// The largest object that is read.
const MAX_BODY: usize = 1 << 30;
/// Objects of one page.
const MAX_OBJECTS: u32 = 10_000;

/// How a page is fetched.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum Mode {
    /// HTTP/1.0: a connection for each object.
    #[serde(rename = "1.0")]
    Http10,
    /// HTTP/1.1 with kept connections.
    #[default]
    #[serde(rename = "1.1")]
    Http11,
    /// HTTP/1.1, all requests at once on each connection.
    #[serde(rename = "1.1-pipelining")]
    Pipelining,
    /// HTTP/2.
    #[serde(rename = "2")]
    Http2,
    /// HTTP/3.
    #[serde(rename = "3")]
    Http3,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Http10 => "HTTP/1.0",
            Mode::Http11 => "HTTP/1.1",
            Mode::Pipelining => "HTTP/1.1 pipelining",
            Mode::Http2 => "HTTP/2",
            Mode::Http3 => "HTTP/3",
        }
    }
}

/// Fetches a page and its objects, and prints what it cost.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PageLoad {
    /// The page.
    pub url: String,
    /// How.
    pub mode: Mode,
    /// Its objects: so many, at the page's path with `{n}` from 1 in `objects_at`.
    pub objects: u32,
    /// Their path, such as `/object/{n}`.
    pub objects_at: String,
    /// Paths of objects with a name; `path u=0` gives it an urgency (RFC 9218).
    pub paths: Vec<String>,
    /// HTTP/1 connections at a time; 6 unless given.
    pub connections: Option<usize>,
    /// Requests under way on one connection when they are pipelined; 100 unless given.
    pub depth: Option<usize>,
    /// Header fields of every request, as a browser's.
    pub headers: std::collections::BTreeMap<String, String>,
    /// Whether the server may push.
    pub push: bool,
    /// The time between the starts of two objects; none unless given.
    pub every: Option<Span>,
    /// Fetches the objects one after the other instead of at once.
    pub in_turn: bool,
    /// The receive window of an HTTP/2 stream and connection; 65,535 unless given.
    pub window: Option<u32>,
    /// The pause between the page and its objects.
    pub wait: Option<Span>,
    /// The method of the objects; GET unless given.
    pub method: Option<String>,
    /// Prints a line for each object, in the order of their ends, and how many took no more than a round trip and a half.
    pub each: bool,
    /// TLS for `https`.
    pub tls: ClientOptions,
}

fn problem(key: &str, message: String) -> Problem {
    Problem { path: vec![key.into()], message, help: None }
}

fn check_url(key: &str, text: &str) -> Option<Problem> {
    Request::get(text).err().map(|error| problem(key, error.to_string()))
}

/// Reads a `page-load` table.
///
/// # Errors
/// What is wrong with it.
pub fn read_page_load(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let load: PageLoad = read_table(table)?;
    let mut problems: Vec<Problem> = check_url("url", &load.url).into_iter().collect();
    if load.objects > MAX_OBJECTS {
        problems.push(problem("objects", format!("at most {MAX_OBJECTS}")));
    }
    if load.objects > 0 && !load.objects_at.contains("{n}") {
        problems.push(problem("objects_at", "it must contain {n}, such as \"/object/{n}\"".into()));
    }
    if load.method.as_ref().is_some_and(|name| Method::from_bytes(name.as_bytes()).is_err()) {
        problems.push(problem("method", "it is no method".into()));
    }
    for mut found in load.tls.check(env) {
        found.path.insert(0, "tls".into());
        problems.push(found);
    }
    if problems.is_empty() { Ok(Arc::new(load)) } else { Err(problems) }
}

/// What one object came to.
struct Object {
    path: String,
    /// How long its connection took to open, when it was opened for it.
    connect: Option<Duration>,
    /// From its request to its end.
    took: Duration,
    began: Duration,
    first: Duration,
    ended: Duration,
    bytes: usize,
    pushed: bool,
    status: u16,
}

impl PageLoad {
    fn client(&self, cx: &Cx) -> Client {
        let window = self.window.unwrap_or(65_535);
        let tls = Arc::new(tls::Client::new(self.tls.clone(), cx));
        Client::new(Config {
            version: match (self.mode, self.url.starts_with("https:")) {
                (Mode::Http10, _) => Version::Http10,
                (Mode::Http11 | Mode::Pipelining, _) => Version::Http11,
                (Mode::Http2, true) => Version::Http2,
                (Mode::Http2, false) => Version::Http2PriorKnowledge,
                (Mode::Http3, _) => Version::Http3,
            },
            per_host: self.connections.unwrap_or(6).max(1),
            pipeline: if self.mode == Mode::Pipelining { self.depth.unwrap_or(100).max(1) } else { 1 },
            push: self.push,
            stream_window: window,
            connection_window: window,
            tls: Some(tls.clone()),
            quic: Some(tls),
            ..Config::default()
        })
    }

    fn paths(&self) -> Vec<String> {
        let numbered = (1..=self.objects).map(|n| self.objects_at.replace("{n}", &n.to_string()));
        numbered.chain(self.paths.iter().cloned()).collect()
    }

    fn request(&self, text: &str) -> Result<Request, Error> {
        let (path, priority) = text.split_once(' ').map_or((text, None), |(path, rest)| (path, Some(rest)));
        let mut request = Request::get(&self.url)?;
        if !path.is_empty() {
            request.url = request.url.join(path).map_err(|error| Error::Url(error.to_string()))?;
        }
        for (name, value) in &self.headers {
            request = request.header(name, value)?;
        }
        match priority {
            Some(priority) => request.header("Priority", priority),
            None => Ok(request),
        }
    }

    async fn load(self: Arc<Self>, cx: &Cx) -> Result<bool, Error> {
        let start = Instant::now();
        let client = self.client(cx);
        let page = fetch(&client, self.request("")?, String::new(), start).await?;
        if let Some(wait) = self.wait {
            tokio::time::sleep(wait.0).await;
        }
        let mut objects = Vec::new();
        let mut under_way = Vec::new();
        for (n, path) in self.paths().into_iter().enumerate() {
            if let (Some(every), true) = (self.every, n > 0) {
                tokio::time::sleep(every.0).await;
            }
            let mut request = self.request(&path)?;
            if let Some(method) = &self.method {
                request.method =
                    Method::from_bytes(method.as_bytes()).map_err(|_| Error::Url(method.clone()))?;
            }
            let (name, client) = (format!("{} {path}", request.method), client.clone());
            let cx = cx.clone();
            let fetching = async move {
                let fetched = fetch(&client, request, path, start).await;
                fetched.inspect_err(|error| cx.print(format!("page-load: {name}: {error}")))
            };
            if self.in_turn {
                objects.push(fetching.await?);
            } else {
                under_way.push(net::spawn(fetching));
            }
        }
        for task in under_way {
            // It ends only by itself: nobody aborts it.
            objects.push(task.await.map_err(|_| Error::Empty)??);
        }
        let took = start.elapsed();
        if self.each {
            objects.sort_by_key(|object| object.ended);
            for (n, object) in objects.iter().enumerate() {
                let Object { path, began, first, ended, bytes, pushed, status, .. } = object;
                let [began, first, ended] = [began, first, ended].map(|time| ms(*time));
                let pushed = if *pushed { ", pushed" } else { "" };
                cx.print(format!(
                    "{}. {path}: {status}, asked {began}, first byte {first}, done {ended}, {bytes} B{pushed}",
                    n + 1
                ));
            }
            let round_trip = page.connect.unwrap_or_default();
            let in_time = objects.iter().filter(|object| object.took <= round_trip * 3 / 2).count();
            cx.print(format!("in time: {in_time} of {}", objects.len()));
        }
        let all = core::iter::once(&page).chain(&objects);
        let bad = all.clone().filter(|object| object.status != 200).count();
        let bodies = all.map(|object| object.bytes).sum();
        self.report(&client, &page, [bodies, objects.len() + 1], took, cx);
        if bad > 0 {
            cx.print(format!("{bad} answers were not 200"));
        }
        Ok(bad == 0)
    }

    fn report(
        &self,
        client: &Client,
        page: &Object,
        [bodies, requests]: [usize; 2],
        took: Duration,
        cx: &Cx,
    ) {
        let connections = client.connections();
        let sum = |index: usize, received: bool| -> u64 {
            let side =
                |counts: &super::Counts| if received { counts.received.get() } else { counts.sent.get() };
            connections.iter().map(|connection| side(&connection.counts)[index]).sum()
        };
        let name = self.mode.name();
        // QUIC's streams are not counted by what they carry.
        let headers = match self.mode {
            Mode::Http3 => String::new(),
            _ => format!("headers {} B up, {} B down; ", sum(1, false), sum(1, true)),
        };
        // Of the length that the first handshake took.
        let tenths =
            (took.as_nanos() * 10).checked_div(page.connect.unwrap_or_default().as_nanos()).unwrap_or(0);
        cx.print(format!(
            "{name}: {requests} requests on {} connections in {} ({}.{} round trips); {headers}bodies {bodies} B",
            connections.len(),
            ms(took),
            tenths / 10,
            tenths % 10,
        ));
    }
}

/// `412.5 ms`
fn ms(time: Duration) -> String {
    format!("{}.{} ms", time.as_millis(), time.subsec_micros() % 1000 / 100)
}

async fn fetch(client: &Client, request: Request, path: String, start: Instant) -> Result<Object, Error> {
    let began = start.elapsed();
    let response = client.send(request).await?;
    let (first, status, pushed) = (start.elapsed(), response.status.as_u16(), response.pushed);
    let clock = response.body.clock();
    let bytes = response.body.collect(MAX_BODY).await?.len();
    let timings = clock();
    let took = timings.wait + timings.receive.unwrap_or_default();
    Ok(Object {
        path,
        connect: timings.connect,
        took,
        began,
        first,
        ended: start.elapsed(),
        bytes,
        pushed,
        status,
    })
}

impl App for PageLoad {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            match self.load(&cx).await {
                Ok(good) => i32::from(!good),
                Err(error) => {
                    cx.print(format!("page-load: {error}"));
                    1
                }
            }
        })
    }
}

/// How a listener hears of events.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Hearing {
    /// It asks every now and then.
    #[default]
    Polling,
    /// It asks, and the server answers when there is something.
    LongPolling,
    /// It asks once, and the answer has no end (server-sent events).
    Sse,
}

/// Listens for events and prints how late each came and what they cost.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EventListener {
    /// Where.
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

/// Reads an `event-listener` table.
///
/// # Errors
/// What is wrong with it.
pub fn read_listener(table: &Map<String, Value>, _: &Env) -> Result<Ready, Vec<Problem>> {
    let listener: EventListener = read_table(table)?;
    match check_url("url", &listener.url) {
        Some(problem) => Err(vec![problem]),
        None => Ok(Arc::new(listener)),
    }
}

/// Bytes of one event's line.
const MAX_EVENT: usize = 64 << 10;

impl EventListener {
    async fn listen(&self, cx: &Cx) -> Result<(), Error> {
        let client = Client::new(Config { version: Version::Http11, ..Config::default() });
        let start = Instant::now();
        let wanted = self.events.unwrap_or(10);
        let interval = self.interval.map_or(Duration::from_secs(1), |span| span.0);
        let (mut seen, mut requests) = (0, 0_u32);
        let mut delays = Vec::new();
        while seen < wanted {
            let mut request = Request::get(&self.url)?;
            if seen > 0 || self.by != Hearing::Sse {
                request.url.set_query(Some(&format!("since={seen}")));
            }
            if self.by == Hearing::Sse {
                request = request.header("Accept", "text/event-stream")?;
            }
            requests += 1;
            let mut response = client.send(request).await?;
            let mut text = String::new();
            while let Some(piece) = response.body.chunk().await? {
                text.push_str(&String::from_utf8_lossy(&piece));
                while let Some((line, rest)) = text.split_once('\n') {
                    if line.starts_with("event ") || line.starts_with("data: event ") {
                        seen += 1;
                        delays.push(start.elapsed().saturating_sub(interval * seen));
                    }
                    text = rest.to_string();
                }
                if text.len() > MAX_EVENT {
                    return Err(Error::TooLarge("a line is"));
                }
                if seen >= wanted {
                    break;
                }
            }
            if self.by == Hearing::Polling && seen < wanted {
                let every = self.every.map_or(Duration::from_secs(1), |span| span.0);
                tokio::time::sleep(every).await;
            }
        }
        let (up, down) = client.connections().iter().fold((0, 0), |(up, down), connection| {
            (up + connection.counts.sent.get()[0], down + connection.counts.received.get()[0])
        });
        let by = match self.by {
            Hearing::Polling => "polling",
            Hearing::LongPolling => "long polling",
            Hearing::Sse => "server-sent events",
        };
        let count = u32::try_from(delays.len().max(1)).unwrap_or(u32::MAX);
        let mean = delays.iter().sum::<Duration>() / count;
        let worst = delays.iter().max().copied().unwrap_or_default();
        cx.print(format!(
            "{by}: {seen} events by {requests} requests, {} late on average, {} at worst; {up} B up, {down} B down",
            ms(mean),
            ms(worst)
        ));
        Ok(())
    }
}

impl App for EventListener {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            match self.listen(&cx).await {
                Ok(()) => 0,
                Err(error) => {
                    cx.print(format!("event-listener: {error}"));
                    1
                }
            }
        })
    }
}

/// How a call is told.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Telling {
    /// JSON-RPC over HTTP/1.1.
    #[default]
    Json,
    /// A length of four bytes, a method of one, numbers of eight.
    Raw,
}

/// Calls `add` so many times over one connection and prints what it cost.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RpcClient {
    /// `http://server/rpc` for JSON, `server:port` otherwise.
    pub to: String,
    /// How.
    pub by: Telling,
    /// Calls; 10 unless given.
    pub calls: Option<u32>,
}

/// The service that [`RpcClient`] calls with [`Telling::Raw`].
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RpcServer {
    /// Its port; 7000 unless given.
    pub port: Option<u16>,
}

/// Reads an `rpc-client` table.
///
/// # Errors
/// What is wrong with it.
pub fn read_rpc_client(table: &Map<String, Value>, _: &Env) -> Result<Ready, Vec<Problem>> {
    let client: RpcClient = read_table(table)?;
    let wrong = match client.by {
        Telling::Json => check_url("to", &client.to),
        Telling::Raw if client.to.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
            None
        }
        Telling::Raw => Some(problem("to", format!("{:?} is no name:port", client.to))),
    };
    wrong.map_or_else(|| Ok(Arc::new(client) as Ready), |problem| Err(vec![problem]))
}

/// The largest message of the raw protocol.
const MAX_MESSAGE: u32 = 1 << 16;
/// Its only method.
const ADD: u8 = 1;

impl RpcClient {
    async fn json(&self, calls: u32) -> Result<[u64; 2], Error> {
        let client =
            Client::new(Config { version: Version::Http11, retry: Retry::Never, ..Config::default() });
        for n in 1..=calls {
            let body = format!(r#"{{"jsonrpc":"2.0","method":"add","params":[{n},{n}],"id":{n}}}"#);
            let request = Request { method: Method::POST, ..Request::get(&self.to)? };
            let request = request.header("Content-Type", "application/json")?.body(body);
            let answer = client.send(request).await?.body.collect(MAX_EVENT).await?;
            let answer: Value =
                serde_json::from_slice(&answer).map_err(|error| Error::Malformed(error.to_string()))?;
            if answer.get("result").and_then(Value::as_u64) != Some(2 * u64::from(n)) {
                return Err(Error::Malformed(format!("the answer is {answer}")));
            }
        }
        let counts = client.connections().iter().fold([0, 0], |[up, down], connection| {
            [up + connection.counts.sent.get()[0], down + connection.counts.received.get()[0]]
        });
        Ok(counts)
    }

    async fn raw(&self, calls: u32) -> Result<[u64; 2], Error> {
        let refused = |error| Error::Resolve(self.to.clone(), error);
        let mut stream = net::TcpStream::connect(self.to.as_str()).await.map_err(refused)?;
        stream.set_nodelay(true).map_err(Error::Send)?;
        let mut counts = [0, 0];
        for n in 1..=calls {
            let mut message = vec![0, 0, 0, 17, ADD];
            message.extend(u64::from(n).to_be_bytes());
            message.extend(u64::from(n).to_be_bytes());
            counts[0] += message.len() as u64;
            stream.write_all(&message).await.map_err(Error::Send)?;
            let length = stream.read_u32().await.map_err(Error::Receive)?;
            if length != 8 {
                return Err(Error::Malformed(format!("an answer of {length} bytes")));
            }
            let sum = stream.read_u64().await.map_err(Error::Receive)?;
            counts[1] += 12;
            if sum != 2 * u64::from(n) {
                return Err(Error::Malformed(format!("the answer is {sum}")));
            }
        }
        Ok(counts)
    }
}

impl App for RpcClient {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let calls = self.calls.unwrap_or(10);
            let start = Instant::now();
            let (name, result) = match self.by {
                Telling::Json => ("HTTP/1.1 with JSON", self.json(calls).await),
                Telling::Raw => ("length-prefixed bytes", self.raw(calls).await),
            };
            match result {
                Ok([up, down]) => {
                    cx.print(format!(
                        "{name}: {calls} calls in {}; {up} B up, {down} B down",
                        ms(start.elapsed())
                    ));
                    0
                }
                Err(error) => {
                    cx.print(format!("rpc-client: {error}"));
                    1
                }
            }
        })
    }
}

impl App for RpcServer {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let port = self.port.unwrap_or(7000);
            let listener = match net::TcpListener::bind(("0.0.0.0", port)).await {
                Ok(listener) => listener,
                Err(error) => {
                    cx.print(format!("rpc-server: port {port}: {error}"));
                    return 1;
                }
            };
            while let Ok((stream, peer)) = listener.accept().await {
                let cx = cx.clone();
                net::spawn(async move {
                    if let Err(why) = serve(stream).await {
                        cx.print(format!("rpc-server: {}: {why}", peer.ip()));
                    }
                });
            }
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

/// One connection; a length that is no message's ends it before anything is read for it.
async fn serve(mut stream: net::TcpStream) -> Result<(), String> {
    let broken = |error: std::io::Error| error.to_string();
    stream.set_nodelay(true).map_err(broken)?;
    loop {
        let length = match stream.read_u32().await {
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(broken(error)),
        };
        if length > MAX_MESSAGE {
            return Err(format!("a message of {length} bytes is refused: {MAX_MESSAGE} at most"));
        }
        let mut message = vec![0; usize::try_from(length).map_err(|error| error.to_string())?];
        stream.read_exact(&mut message).await.map_err(broken)?;
        let Some((&[ADD], numbers)) = message.split_first_chunk::<1>() else {
            return Err("an unknown method is refused".into());
        };
        let (numbers, rest) = numbers.as_chunks::<8>();
        if !rest.is_empty() {
            return Err("numbers have eight bytes".into());
        }
        let sum = numbers.iter().fold(0_u64, |sum, number| sum.wrapping_add(u64::from_be_bytes(*number)));
        let mut answer = vec![0, 0, 0, 8];
        answer.extend(sum.to_be_bytes());
        stream.write_all(&Bytes::from(answer)).await.map_err(broken)?;
    }
}
