//! The reverse proxy: hands requests on to upstream servers by nginx's rules (`ngx_http_upstream_next`, `ngx_http_proxy_module`):
//! 502, 504, 499, which requests another server may get, kept connections.
//!
//! Map: `peers` chooses a server, `forward` asks it and judges what came back, `message` makes the request for it and the answer
//! of it, `log` tells both.

mod forward;
mod log;
mod message;
mod peers;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::client::BoxFuture;
use super::front::{Answer, Exchange, Front, Handle, LogFormat, Versions};
use super::server::HttpServer;
use crate::app::read_table;
use crate::tls::ServerOptions;
use crate::units::{Size, Span};
use crate::{App, AppFuture, Cx, Env, Problem, Ready};
use forward::Forward;
use peers::Peer;

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
                let peers = servers.iter().filter_map(|text| Peer::parse(text).ok()).collect();
                Arc::new(Forward::new(self.clone(), cx.clone(), &limits, peers))
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
