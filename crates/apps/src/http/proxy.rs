//! The reverse proxy: hands requests on to upstream servers by nginx's rules (`ngx_http_upstream_next`, `ngx_http_proxy_module`,
//! round robin of `ngx_http_upstream_round_robin.c`): 502, 504, 499, which requests another server may get, kept connections.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HOST, HeaderMap, HeaderName, HeaderValue, SERVER, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::client::{
    BoxFuture, ConnectionInfo, Error, Freed, Http1, Marks, Outgoing, Response, locked, write_fields,
};
use super::front::{Answer, AnswerBody, Exchange, Front, Handle, LogFormat, Note, Versions};
use super::server::HttpServer;
use super::stream::Counts;
use crate::app::read_table;
use crate::tls::ServerOptions;
use crate::units::{Size, Span};
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// A reverse proxy. Keys are nginx's directives.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpProxy {
    /// Its port; 80 unless given, 443 with TLS.
    pub port: Option<u16>,
    /// Its TLS; the upstream servers get plain HTTP.
    pub tls: Option<ServerOptions>,
    /// What it says in `Server`; "wirelab" unless given.
    pub server: Option<String>,
    /// The access log.
    pub access_log: LogFormat,
    /// The servers, as `"name:port"`, with `weight=`, `max_fails=`, `fail_timeout=`, `backup`, `down` behind.
    pub upstream: Vec<String>,
    /// Other servers for paths that begin so; the longest beginning counts.
    pub locations: BTreeMap<String, Vec<String>>,
    /// Idle connections that are kept to upstream servers; none unless given. With it requests go out as HTTP/1.1.
    pub keepalive: usize,
    /// How long they are kept; 60 s.
    pub upstream_keepalive_timeout: Option<Span>,
    /// 60 s.
    pub proxy_connect_timeout: Option<Span>,
    /// 60 s.
    pub proxy_send_timeout: Option<Span>,
    /// Between two reads from the upstream server; 60 s.
    pub proxy_read_timeout: Option<Span>,
    /// When the next server is asked: "error" and "timeout" unless given.
    pub proxy_next_upstream: Option<Vec<Next>>,
    /// How many servers are asked; all unless given.
    pub proxy_next_upstream_tries: Option<usize>,
    /// How long until no other server is asked; for ever unless given.
    pub proxy_next_upstream_timeout: Option<Span>,
    /// Fields to send instead of the client's; `$host`, `$remote_addr` and `$proxy_add_x_forwarded_for` are filled in.
    pub proxy_set_header: BTreeMap<String, String>,
    /// The clients' side, as of the server: `keepalive_timeout` and so on.
    pub keepalive_timeout: Option<Span>,
    /// See there.
    pub client_max_body_size: Option<Size>,
}

/// A reason to ask the next server.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum Next {
    /// It refused, or the connection broke.
    #[serde(rename = "error")]
    Error,
    /// It did not answer in time.
    #[serde(rename = "timeout")]
    Timeout,
    /// What it answered is no HTTP.
    #[serde(rename = "invalid_header")]
    InvalidHeader,
    /// It answered 500.
    #[serde(rename = "http_500")]
    Http500,
    /// It answered 502.
    #[serde(rename = "http_502")]
    Http502,
    /// It answered 503.
    #[serde(rename = "http_503")]
    Http503,
    /// It answered 504.
    #[serde(rename = "http_504")]
    Http504,
    /// It answered 404.
    #[serde(rename = "http_404")]
    Http404,
    /// Also requests that are not idempotent, after they were sent.
    #[serde(rename = "non_idempotent")]
    NonIdempotent,
    /// Never.
    #[serde(rename = "off")]
    Off,
}

/// Servers of one proxy.
const MAX_SERVERS: usize = 256;
/// Pieces of a body between the two connections.
const PIECES: usize = 4;
const MINUTE: Duration = Duration::from_secs(60);
/// Requests of one upstream connection (`keepalive_requests`).
const KEEPALIVE_REQUESTS: u64 = 1000;

/// One server.
#[derive(Clone, Debug)]
struct Peer {
    host: String,
    port: u16,
    weight: i64,
    max_fails: u32,
    fail_timeout: Duration,
    backup: bool,
    down: bool,
    current: i64,
    fails: u32,
    checked: Option<Instant>,
}

impl Peer {
    fn parse(text: &str) -> Result<Peer, String> {
        let mut words = text.split_whitespace();
        let address = words.next().ok_or("a server has a name")?;
        let (host, port) =
            address.rsplit_once(':').map_or((address, Ok(80)), |(host, port)| (host, port.parse()));
        let mut peer = Peer {
            host: host.into(),
            port: port.map_err(|_| format!("{address:?}: no port"))?,
            weight: 1,
            max_fails: 1,
            fail_timeout: Duration::from_secs(10),
            backup: false,
            down: false,
            current: 0,
            fails: 0,
            checked: None,
        };
        for word in words {
            let wrong = || {
                format!(
                    "{word:?} is no parameter of a server: weight=, max_fails=, fail_timeout=, backup, down"
                )
            };
            match word.split_once('=') {
                Some(("weight", n)) => {
                    peer.weight = n.parse().ok().filter(|n| (1..=1000).contains(n)).ok_or_else(wrong)?
                }
                Some(("max_fails", n)) => peer.max_fails = n.parse().map_err(|_| wrong())?,
                Some(("fail_timeout", span)) => peer.fail_timeout = Span::parse(span)?.0,
                None if word == "backup" => peer.backup = true,
                None if word == "down" => peer.down = true,
                _ => return Err(wrong()),
            }
        }
        Ok(peer)
    }

    /// As `ngx_http_upstream_get_peer` asks.
    fn is_live(&self, now: Instant) -> bool {
        let recent = self.checked.is_some_and(|at| now.duration_since(at) <= self.fail_timeout);
        let failed = self.max_fails > 0 && self.fails >= self.max_fails && recent;
        !self.down && !failed
    }
}

/// Reads a proxy's table.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let proxy: HttpProxy = read_table(table)?;
    let mut problems = Vec::new();
    let mut wrong = |path: Vec<String>, message: String| problems.push(Problem { path, message, help: None });
    let locations =
        proxy.locations.iter().map(|(path, servers)| (vec!["locations".into(), path.clone()], servers));
    for (at, servers) in core::iter::once((vec!["upstream".to_string()], &proxy.upstream)).chain(locations) {
        if servers.is_empty() || servers.len() > MAX_SERVERS {
            wrong(at.clone(), format!("a proxy has 1 to {MAX_SERVERS} upstream servers"));
        }
        for (index, text) in servers.iter().enumerate() {
            if let Err(message) = Peer::parse(text) {
                wrong(at.iter().cloned().chain([index.to_string()]).collect(), message);
            }
        }
    }
    for (name, value) in &proxy.proxy_set_header {
        if HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err() {
            wrong(
                vec!["proxy_set_header".into(), name.clone()],
                format!("{name}: {value} is no header field"),
            );
        }
    }
    for mut problem in proxy.tls.iter().flat_map(|tls| tls.check(env)) {
        problem.path.insert(0, "tls".into());
        problems.push(problem);
    }
    if problems.is_empty() { Ok(Arc::new(proxy)) } else { Err(problems) }
}

impl App for HttpProxy {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let sides = HttpServer {
                keepalive_timeout: self.keepalive_timeout,
                client_max_body_size: self.client_max_body_size,
                ..HttpServer::default()
            };
            let limits = sides.limits();
            let forward = |servers: &[String]| {
                Arc::new(Forward {
                    proxy: self.clone(),
                    cx: cx.clone(),
                    max_body: limits.client_max_body_size,
                    pause: limits.client_body_timeout,
                    peers: Mutex::new(servers.iter().filter_map(|text| Peer::parse(text).ok()).collect()),
                    idle: Arc::default(),
                })
            };
            let mut locations: Vec<_> =
                self.locations.iter().map(|(path, servers)| (path.clone(), forward(servers))).collect();
            locations.sort_by_key(|(path, _)| core::cmp::Reverse(path.len()));
            let forward = Arc::new(Routes { locations, default: forward(&self.upstream) });
            let server = self.server.clone().unwrap_or_else(|| "wirelab".into());
            let both = Versions { http1: true, http2: true, http3: false };
            let front = Front::new(limits, both, server, self.access_log, cx, forward);
            front.run(self.port, self.tls.as_ref()).await;
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

/// A kept connection to an upstream server.
struct Kept {
    peer: usize,
    conn: Arc<Http1>,
    since: Instant,
    requests: u64,
}

type Idle = Arc<Mutex<Vec<Kept>>>;

struct Forward {
    proxy: Arc<HttpProxy>,
    cx: Cx,
    max_body: usize,
    pause: Duration,
    peers: Mutex<Vec<Peer>>,
    idle: Idle,
}

/// A request as it goes to every server that is asked.
struct Passed {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
    line: String,
    client: SocketAddr,
    host: String,
}

/// What one server came to, for the log.
#[derive(Clone, Debug, Default)]
struct Seen {
    addr: String,
    status: Option<u16>,
    connect: Option<Duration>,
    header: Option<Duration>,
    response: Option<Duration>,
}

/// Why a server did not answer.
struct Fault {
    reason: Next,
    status: StatusCode,
    /// The request had left.
    sent: bool,
    /// On a kept connection: nobody's fault, so that it costs no try.
    kept: bool,
    text: String,
}

/// `rt=… ua="…" us="…" uct="…" uht="…" urt="…"`, the usual way to log nginx's upstream variables.
fn describe(all: &[Seen], start: Instant) -> String {
    let seconds = |time: &Duration| format!("{}.{:03}", time.as_secs(), time.subsec_millis());
    let list = |one: &dyn Fn(&Seen) -> Option<String>| {
        all.iter().map(|seen| one(seen).unwrap_or_else(|| "-".into())).collect::<Vec<_>>().join(", ")
    };
    let total = start.elapsed();
    format!(
        " rt={} ua=\"{}\" us=\"{}\" uct=\"{}\" uht=\"{}\" urt=\"{}\"",
        seconds(&total),
        list(&|seen| Some(seen.addr.clone())),
        list(&|seen| seen.status.map(|status| status.to_string())),
        list(&|seen| seen.connect.as_ref().map(seconds)),
        list(&|seen| seen.header.as_ref().map(seconds)),
        list(&|seen| seen.response.as_ref().map(seconds)),
    )
}

/// Sets the note when it goes, so that a request that is dropped has its times, too.
struct Told {
    note: Note,
    all: Vec<Seen>,
    start: Instant,
    /// When the server at work was asked.
    asked: Instant,
}

impl Drop for Told {
    fn drop(&mut self) {
        let asked = self.asked;
        if let Some(last) = self.all.last_mut() {
            last.response.get_or_insert_with(|| asked.elapsed());
        }
        self.note.set(describe(&self.all, self.start));
    }
}

impl Forward {
    fn time(&self, span: Option<Span>) -> Duration {
        span.map_or(MINUTE, |span| span.0)
    }

    /// Smooth weighted round robin; servers that were asked already are left out, backups come last.
    fn choose(&self, tried: &[usize]) -> Option<usize> {
        let now = Instant::now();
        let mut peers = locked(&self.peers);
        let single = peers.len() == 1;
        for backup in [false, true] {
            let mut total = 0;
            let mut best: Option<usize> = None;
            for index in 0..peers.len() {
                let peer = &mut peers[index];
                let out = peer.backup != backup
                    || tried.contains(&index)
                    || !(peer.is_live(now) || single && !peer.down);
                if out {
                    continue;
                }
                peer.current += peer.weight;
                total += peer.weight;
                let current = peer.current;
                if best.is_none_or(|best| current > peers[best].current) {
                    best = Some(index);
                }
            }
            if let Some(best) = best {
                peers[best].current -= total;
                return Some(best);
            }
        }
        None
    }

    fn failed(&self, index: usize) {
        let peer = &mut locked(&self.peers)[index];
        peer.fails = peer.fails.saturating_add(1);
        peer.checked = Some(Instant::now());
    }

    fn worked(&self, index: usize) {
        locked(&self.peers)[index].fails = 0;
    }

    fn kept(&self, peer: usize) -> Option<Kept> {
        let limit = self.time(self.proxy.upstream_keepalive_timeout);
        let mut idle = locked(&self.idle);
        idle.retain(|kept| {
            let good = !kept.conn.is_closed() && kept.since.elapsed() < limit;
            if !good {
                kept.conn.close();
            }
            good
        });
        let at = idle.iter().rposition(|kept| kept.peer == peer)?;
        Some(idle.remove(at))
    }

    async fn answer(&self, exchange: Exchange) -> Answer {
        let start = Instant::now();
        let mut told = Told { note: exchange.note.clone(), all: Vec::new(), start, asked: start };
        let declared = exchange.header(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
        if declared.is_some_and(|n| n > self.max_body as u64) {
            return Answer::error(StatusCode::PAYLOAD_TOO_LARGE).closing();
        }
        let line =
            format!("{} {} {}", exchange.method, exchange.target, super::front::version(exchange.version));
        // proxy_request_buffering is on: the whole body first.
        let body = match exchange.body.collect(self.max_body, self.pause).await {
            Ok(body) => body,
            Err(error) => return Answer::error(error.status()).closing(),
        };
        let passed = Passed {
            method: exchange.method,
            target: exchange.target,
            headers: exchange.headers,
            body,
            line,
            client: exchange.peer,
            host: exchange.host,
        };
        let all = locked(&self.peers).iter().filter(|peer| !peer.down).count();
        let mut tries = self.proxy.proxy_next_upstream_tries.filter(|n| *n > 0).map_or(all, |n| n.min(all));
        let mut tried = Vec::new();
        let mut last = None;
        loop {
            let Some(peer) = self.choose(&tried) else {
                self.complain("no live upstreams while connecting to upstream", &passed, "");
                return Answer::error(last.unwrap_or(StatusCode::BAD_GATEWAY));
            };
            told.asked = Instant::now();
            told.all.push(Seen { addr: self.name(peer), ..Seen::default() });
            let fault = match self.ask(peer, &passed, &mut told).await {
                Ok(response) => match self.judge(&response, &passed) {
                    None => {
                        self.worked(peer);
                        return self.hand_back(response, told);
                    }
                    Some(fault) if tries <= 1 || !self.may_go_on(&fault, &passed, start) => {
                        drop(fault);
                        return self.hand_back(response, told);
                    }
                    Some(fault) => fault,
                },
                Err(fault) => fault,
            };
            if !fault.text.is_empty() {
                self.complain(&fault.text, &passed, &self.name(peer));
            }
            if let Some(seen) = told.all.last_mut() {
                seen.status.get_or_insert(fault.status.as_u16());
                seen.response = Some(told.asked.elapsed());
            }
            if fault.kept {
                tries += 1;
            } else {
                self.failed(peer);
                tried.push(peer);
            }
            tries -= 1;
            last = Some(fault.status);
            if tries == 0 || !self.may_go_on(&fault, &passed, start) {
                return Answer::error(fault.status);
            }
        }
    }

    /// `ngx_http_upstream_next`: whether another server may be asked.
    fn may_go_on(&self, fault: &Fault, passed: &Passed, start: Instant) -> bool {
        let default = [Next::Error, Next::Timeout];
        let reasons = self.proxy.proxy_next_upstream.as_deref().unwrap_or(&default);
        let patch = matches!(passed.method, Method::POST | Method::PATCH) || passed.method.as_str() == "LOCK";
        let safe = !(fault.sent && patch) || reasons.contains(&Next::NonIdempotent);
        let in_time = self.proxy.proxy_next_upstream_timeout.is_none_or(|limit| start.elapsed() < limit.0);
        reasons.contains(&fault.reason) && !reasons.contains(&Next::Off) && safe && in_time
    }

    /// An answer that counts as a fault, when the file says so.
    fn judge(&self, response: &Response, _: &Passed) -> Option<Fault> {
        let reason = match response.status.as_u16() {
            500 => Next::Http500,
            502 => Next::Http502,
            503 => Next::Http503,
            504 => Next::Http504,
            404 => Next::Http404,
            _ => return None,
        };
        let asked = self.proxy.proxy_next_upstream.as_ref().is_some_and(|reasons| reasons.contains(&reason));
        asked.then(|| Fault { reason, status: response.status, sent: true, kept: false, text: String::new() })
    }

    fn name(&self, peer: usize) -> String {
        let peer = &locked(&self.peers)[peer];
        let known = self.cx.env().hosts.get(&peer.host).and_then(|ips| ips.first());
        known.map_or_else(
            || format!("{}:{}", peer.host, peer.port),
            |ip| SocketAddr::new(*ip, peer.port).to_string(),
        )
    }

    fn complain(&self, text: &str, passed: &Passed, upstream: &str) {
        if self.proxy.access_log == LogFormat::Off {
            return;
        }
        let Passed { line, target, client, host, .. } = passed;
        let upstream = if upstream.is_empty() {
            String::new()
        } else {
            format!(", upstream: \"http://{upstream}{target}\"")
        };
        let client = client.ip();
        self.cx.print(format!(
            "[error] {text}, client: {client}, request: \"{line}\"{upstream}, host: \"{host}\""
        ));
    }

    /// One server, on a kept connection or a new one.
    async fn ask(&self, peer: usize, passed: &Passed, told: &mut Told) -> Result<Response, Fault> {
        let kept = self.kept(peer);
        let was_kept = kept.is_some();
        let (conn, requests) = match kept {
            Some(Kept { conn, requests, .. }) => {
                set_connect(told, Duration::ZERO);
                (conn, requests + 1)
            }
            None => {
                let conn = self.connect(peer).await?;
                let took = told.asked.elapsed();
                set_connect(told, took);
                (conn, 1)
            }
        };
        let marks = Arc::new(Mutex::new(Marks::new(Instant::now())));
        conn.begin();
        let out = Outgoing {
            head: self.head(passed, peer),
            body: passed.body.clone(),
            to_head: passed.method == Method::HEAD,
            expect: None,
            trace: None,
        };
        let exchange = conn.exchange(out, marks.clone(), was_kept);
        tokio::pin!(exchange);
        let (send, read) =
            (self.time(self.proxy.proxy_send_timeout), self.time(self.proxy.proxy_read_timeout));
        let began = Instant::now();
        let mut deadline = began + send.min(read);
        let outcome = loop {
            tokio::select! {
                biased;
                outcome = &mut exchange => break Some(outcome),
                () = sleep_until(deadline) => {
                    let due = locked(&marks).sent.map_or(began + send, |sent| sent + read);
                    if due <= Instant::now() {
                        break None;
                    }
                    deadline = due;
                }
            }
        };
        let sent = locked(&marks).sent.is_some();
        let while_ =
            if sent { "reading response header from upstream" } else { "sending request to upstream" };
        let fault = |reason, status, kept, text: String| Fault {
            reason,
            status,
            sent,
            kept,
            text: format!("{text} while {while_}"),
        };
        let bad = StatusCode::BAD_GATEWAY;
        match outcome {
            None => {
                let text = "upstream timed out (110: Connection timed out)".into();
                Err(fault(Next::Timeout, StatusCode::GATEWAY_TIMEOUT, false, text))
            }
            Some(Ok(mut response)) => {
                if let Some(seen) = told.all.last_mut() {
                    (seen.status, seen.header) = (Some(response.status.as_u16()), Some(told.asked.elapsed()));
                }
                response.reused = was_kept;
                self.keep_after(peer, &conn, requests);
                Ok(response)
            }
            Some(Err(Error::Malformed(_))) => {
                Err(fault(Next::InvalidHeader, bad, false, "upstream sent invalid header".into()))
            }
            Some(Err(Error::TooLarge(_))) => {
                Err(fault(Next::InvalidHeader, bad, false, "upstream sent too big header".into()))
            }
            Some(Err(Error::Receive(error))) if error.kind() == io::ErrorKind::ConnectionReset => {
                Err(fault(Next::Error, bad, was_kept, "recv() failed (104: Connection reset by peer)".into()))
            }
            Some(Err(_)) => {
                Err(fault(Next::Error, bad, was_kept, "upstream prematurely closed connection".into()))
            }
        }
    }

    async fn connect(&self, peer: usize) -> Result<Arc<Http1>, Fault> {
        let (host, port) = {
            let peer = &locked(&self.peers)[peer];
            (peer.host.clone(), peer.port)
        };
        let fault = |reason, status, text: String| Fault {
            reason,
            status,
            sent: false,
            kept: false,
            text: format!("{text} while connecting to upstream"),
        };
        let bad = StatusCode::BAD_GATEWAY;
        let connecting = net::TcpStream::connect((host.as_str(), port));
        let stream = match timeout(self.time(self.proxy.proxy_connect_timeout), connecting).await {
            Err(_) => {
                let text = "upstream timed out (110: Connection timed out)".into();
                return Err(fault(Next::Timeout, StatusCode::GATEWAY_TIMEOUT, text));
            }
            Ok(Err(error)) => {
                let text = match error.raw_os_error() {
                    Some(n) => format!("connect() failed ({n}: {})", strerror(&error)),
                    None => format!("connect() failed ({error})"),
                };
                return Err(fault(Next::Error, bad, text));
            }
            Ok(Ok(stream)) => stream,
        };
        let ends = stream.set_nodelay(true).and_then(|()| Ok((stream.local_addr()?, stream.peer_addr()?)));
        let (local, remote) = ends.map_err(|error| fault(Next::Error, bad, error.to_string()))?;
        let info = ConnectionInfo {
            id: 0,
            local,
            peer: remote,
            host,
            alpn: None,
            tls: Vec::new(),
            http2: false,
            counts: Arc::new(Counts::default()),
        };
        let idle = self.idle.clone();
        let free = Box::new(move |freed: Freed| match freed {
            // `keep_after` waits for that.
            Freed::Ready(_) => {}
            Freed::Closed => locked(&idle).retain(|kept| !kept.conn.is_closed()),
        });
        Ok(Http1::start(Box::new(stream), Arc::new(info), free))
    }

    /// The connection may serve again once its answer was read.
    fn keep_after(&self, peer: usize, conn: &Arc<Http1>, requests: u64) {
        if self.proxy.keepalive == 0 || requests >= KEEPALIVE_REQUESTS || conn.is_closed() {
            return;
        }
        let (idle, conn, most) = (self.idle.clone(), conn.clone(), self.proxy.keepalive);
        net::spawn(async move {
            // The reader of the body drives it; nothing else has to be done but to wait for its end.
            while conn.in_flight() > 0 && !conn.is_closed() {
                conn.idle().await;
            }
            if !conn.is_closed() {
                let mut idle = locked(&idle);
                if idle.len() >= most {
                    // The one that was unused for longest goes, as in nginx.
                    idle.remove(0).conn.close();
                }
                idle.push(Kept { peer, conn, since: Instant::now(), requests });
            }
        });
    }

    /// The request as the server gets it: HTTP/1.0 and `Connection: close` unless connections are kept.
    fn head(&self, passed: &Passed, peer: usize) -> String {
        let version = if self.proxy.keepalive > 0 { '1' } else { '0' };
        let mut head = format!("{} {} HTTP/1.{version}\r\n", passed.method, passed.target);
        let mut headers = passed.headers.clone();
        drop_hop_by_hop(&mut headers);
        headers.remove(CONTENT_LENGTH);
        headers.remove(HOST);
        let proxy_host = {
            let peer = &locked(&self.peers)[peer];
            if peer.port == 80 { peer.host.clone() } else { format!("{}:{}", peer.host, peer.port) }
        };
        let mut host = proxy_host;
        for (name, value) in &self.proxy.proxy_set_header {
            let client = passed.client.ip().to_string();
            let before = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
            let chain = before.map_or_else(|| client.clone(), |before| format!("{before}, {client}"));
            let value = value
                .replace("$proxy_add_x_forwarded_for", &chain)
                .replace("$remote_addr", &client)
                .replace("$host", &passed.host);
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
            if name == HOST {
                host = value;
            } else if value.is_empty() {
                headers.remove(name);
            } else if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        head.push_str(&format!("Host: {host}\r\n"));
        if self.proxy.keepalive == 0 {
            head.push_str("Connection: close\r\n");
        }
        if !passed.body.is_empty() || passed.headers.contains_key(CONTENT_LENGTH) {
            head.push_str(&format!("Content-Length: {}\r\n", passed.body.len()));
        }
        write_fields(&mut head, &headers);
        head.push_str("\r\n");
        head
    }

    /// The answer on its way to the client.
    fn hand_back(&self, response: Response, mut told: Told) -> Answer {
        let mut answer = Answer::new(response.status);
        answer.headers = response.headers;
        drop_hop_by_hop(&mut answer.headers);
        // nginx hides them and writes its own.
        answer.headers.remove(DATE);
        answer.headers.remove(SERVER);
        let pause = self.time(self.proxy.proxy_read_timeout);
        let (pieces, rest) = mpsc::channel(PIECES);
        let mut body = response.body;
        net::spawn(async move {
            loop {
                let piece = match timeout(pause, body.chunk()).await {
                    Ok(Ok(Some(piece))) => Ok(piece),
                    Ok(Ok(None)) => break,
                    Ok(Err(error)) => Err(io::Error::other(error.to_string())),
                    Err(_) => Err(io::ErrorKind::TimedOut.into()),
                };
                let broken = piece.is_err();
                // A client that is gone drops the body, and with it the connection.
                if pieces.send(piece).await.is_err() || broken {
                    break;
                }
            }
            let asked = told.asked;
            if let Some(seen) = told.all.last_mut() {
                seen.response = Some(asked.elapsed());
            }
            // The note is set before the client's side hears of the end.
            drop(told);
            drop(pieces);
        });
        answer.body = AnswerBody::Pieces(rest);
        answer
    }
}

fn set_connect(told: &mut Told, took: Duration) {
    if let Some(seen) = told.all.last_mut() {
        seen.connect = Some(took);
    }
}

fn strerror(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "Connection refused".into(),
        io::ErrorKind::HostUnreachable => "No route to host".into(),
        io::ErrorKind::NetworkUnreachable => "Network is unreachable".into(),
        io::ErrorKind::TimedOut => "Connection timed out".into(),
        _ => error.to_string(),
    }
}

/// Fields of one connection (RFC 9110 §7.6.1).
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect();
    let always = [
        CONNECTION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    for name in named.iter().chain(&always) {
        headers.remove(name);
    }
}

/// Which servers a path belongs to.
struct Routes {
    /// The longest path first.
    locations: Vec<(String, Arc<Forward>)>,
    default: Arc<Forward>,
}

impl Handle for Routes {
    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<'static, Answer> {
        let found = self.locations.iter().find(|(path, _)| exchange.path().starts_with(path.as_str()));
        let forward = found.map_or(&self.default, |(_, forward)| forward).clone();
        Box::pin(async move { forward.answer(exchange).await })
    }
}
