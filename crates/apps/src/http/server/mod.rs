//! The web server of a scenario: pages and handlers from its table, over TCP and TLS (RFC 9110).
//!
//! Map: `pages` is what the table says, `handlers` what answers by computing, `select` the parts of RFC 9110 that choose what
//! of a page is sent: conditions, ranges, compression.

mod handlers;
mod pages;
mod select;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::client::BoxFuture;
use super::front::{Answer, Exchange, Front, Handle, Limits, LogFormat, Versions};
use crate::app::read_table;
use crate::security::application::{Application, Running};
use crate::tls::ServerOptions;
use crate::units::{Size, Span};
use crate::{App, AppFuture, Cx, Env, Problem, Ready};
use handlers::Memory;
use pages::{Page, Site};
use select::select;

/// A web server.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpServer {
    /// Its port; 80 unless given, 443 with TLS.
    pub port: Option<u16>,
    /// Its TLS; without it the server speaks plain HTTP.
    pub tls: Option<ServerOptions>,
    /// Which versions it speaks: "1.1" means 1.0 and 1.1; "1.1" and "2" unless given.
    pub versions: Option<Vec<Spoken>>,
    /// What it says in `Server`; "wirelab" unless given, nothing when empty.
    pub server: Option<String>,
    /// The access log: "combined" unless given, "common" or "off".
    pub access_log: LogFormat,
    /// Pages by path. A path that ends with `*` is for all that begin so.
    pub pages: BTreeMap<String, Page>,
    /// Virtual hosts by name; the pages above are for all other names.
    pub hosts: BTreeMap<String, Host>,
    /// Codings that may be used when a client accepts them.
    pub compress: Vec<select::Coding>,
    /// Header fields of every answer (nginx's `add_header … always`).
    pub headers: BTreeMap<String, String>,
    /// An application with users; its paths are its own on every name but the virtual hosts'.
    pub application: Option<Application>,
    /// See [`Limits`]; 75 s.
    pub keepalive_timeout: Option<Span>,
    /// See [`Limits`]; 1000.
    pub keepalive_requests: Option<u64>,
    /// See [`Limits`]; 60 s.
    pub client_header_timeout: Option<Span>,
    /// See [`Limits`]; 60 s.
    pub client_body_timeout: Option<Span>,
    /// See [`Limits`]; 1 MiB.
    pub client_max_body_size: Option<Size>,
    /// See [`Limits`]; 8 KiB.
    pub max_request_line: Option<Size>,
    /// See [`Limits`]; 32 KiB.
    pub max_header_size: Option<Size>,
    /// See [`Limits`]; 512.
    pub worker_connections: Option<usize>,
    /// See [`Limits`]; no limit unless given.
    pub connections_per_address: Option<usize>,
    /// See [`Limits`]; 128.
    pub http2_max_concurrent_streams: Option<u32>,
    /// See [`Limits`]; 65,535 bytes.
    pub http2_window: Option<u32>,
}

/// A virtual host.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its pages.
    pub pages: BTreeMap<String, Page>,
}

/// A version that a server speaks.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.0 and 1.1.
    #[serde(rename = "1.1")]
    Http1,
    /// HTTP/2.
    #[serde(rename = "2")]
    Http2,
    /// HTTP/3, on the UDP port of the same number; the others then say so in `Alt-Svc`. Needs TLS.
    #[serde(rename = "3")]
    Http3,
}

/// The product in `Server`.
const SERVER: &str = "wirelab";

impl HttpServer {
    pub(crate) fn limits(&self) -> Limits {
        let default = Limits::default();
        let time = |span: Option<Span>, default| span.map_or(default, |span| span.0);
        let size = |size: Option<Size>, default| size.map_or(default, Size::bytes);
        Limits {
            keepalive_timeout: time(self.keepalive_timeout, default.keepalive_timeout),
            keepalive_requests: self.keepalive_requests.unwrap_or(default.keepalive_requests),
            client_header_timeout: time(self.client_header_timeout, default.client_header_timeout),
            client_body_timeout: time(self.client_body_timeout, default.client_body_timeout),
            client_max_body_size: size(self.client_max_body_size, default.client_max_body_size),
            max_request_line: size(self.max_request_line, default.max_request_line),
            max_header_size: size(self.max_header_size, default.max_header_size),
            worker_connections: self.worker_connections.unwrap_or(default.worker_connections),
            connections_per_address: self.connections_per_address,
            http2_max_concurrent_streams: self
                .http2_max_concurrent_streams
                .unwrap_or(default.http2_max_concurrent_streams),
            http2_window: self.http2_window.unwrap_or(default.http2_window),
            http2_send_buffer: default.http2_send_buffer,
        }
    }

    fn versions(&self) -> Versions {
        let speaks = |version| self.versions.as_ref().is_none_or(|versions| versions.contains(&version));
        let http3 = self.versions.as_ref().is_some_and(|versions| versions.contains(&Spoken::Http3));
        Versions { http1: speaks(Spoken::Http1), http2: speaks(Spoken::Http2), http3 }
    }
}

/// Reads a server's table.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let server: HttpServer = read_table(table)?;
    let mut problems = Vec::new();
    let mut check = |at: &[&str], pages: &BTreeMap<String, Page>| {
        for (path, page) in pages {
            if let Err((key, message)) = page.check(path, pages) {
                let path = at.iter().copied().chain([path.as_str(), key]).filter(|part| !part.is_empty());
                problems.push(Problem { path: path.map(str::to_string).collect(), message, help: None });
            }
        }
    };
    check(&["pages"], &server.pages);
    for (name, host) in &server.hosts {
        check(&["hosts", name, "pages"], &host.pages);
    }
    for mut problem in server.tls.iter().flat_map(|tls| tls.check(env)) {
        problem.path.insert(0, "tls".into());
        problems.push(problem);
    }
    for (name, value) in &server.headers {
        let known = HeaderName::from_bytes(name.as_bytes()).is_ok() && HeaderValue::from_str(value).is_ok();
        if !known {
            let message = format!("{name}: {value} is no header field");
            problems.push(Problem { path: vec!["headers".into(), name.clone()], message, help: None });
        }
    }
    for mut problem in server.application.iter().flat_map(|application| application.check(env)) {
        problem.path.insert(0, "application".into());
        problems.push(problem);
    }
    if server.versions.as_ref().is_some_and(Vec::is_empty) {
        let message = "a server speaks at least one version".into();
        problems.push(Problem {
            path: vec!["versions".into()],
            message,
            help: Some("\"1.1\", \"2\"".into()),
        });
    }
    if problems.is_empty() { Ok(Arc::new(server)) } else { Err(problems) }
}

impl App for HttpServer {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let server = self.server.clone().unwrap_or_else(|| SERVER.into());
            let sites = Arc::new(Sites::new(&self, &cx));
            let versions = self.versions();
            let front = Front::new(self.limits(), versions, server, self.access_log, cx.clone(), sites);
            front.run(self.port, self.tls.as_ref()).await;
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

/// All pages of a server.
pub(crate) struct Sites {
    default: Site,
    named: BTreeMap<String, Site>,
    compress: Vec<select::Coding>,
    memory: Memory,
    application: Option<Running>,
    headers: HeaderMap,
    max_body: usize,
    pause: core::time::Duration,
}

impl Sites {
    pub(crate) fn new(server: &HttpServer, cx: &Cx) -> Sites {
        let limits = server.limits();
        let named =
            server.hosts.iter().map(|(name, host)| (name.to_ascii_lowercase(), Site::new(&host.pages)));
        let header = |(name, value): (&String, &String)| {
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
        };
        Sites {
            headers: server.headers.iter().filter_map(header).collect(),
            application: server.application.as_ref().and_then(|table| Running::new(table, cx)),
            default: Site::new(&server.pages),
            named: named.collect(),
            compress: server.compress.clone(),
            memory: Memory::new(Instant::now(), cx),
            max_body: limits.client_max_body_size,
            pause: limits.client_body_timeout,
        }
    }

    fn named(&self, host: &str) -> Option<&Site> {
        let name = if host.starts_with('[') { host } else { host.split(':').next().unwrap_or_default() };
        self.named.get(&name.to_ascii_lowercase())
    }

    fn site(&self, host: &str) -> &Site {
        self.named(host).unwrap_or(&self.default)
    }

    /// The application, when this is one of its paths.
    fn application(&self, exchange: &Exchange) -> Option<&Running> {
        let ours = Running::has(exchange.path()) && self.named(&exchange.host).is_none();
        self.application.as_ref().filter(|_| ours)
    }

    async fn answer(&self, mut exchange: Exchange) -> Answer {
        let declared =
            exchange.header(http::header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
        if declared.is_some_and(|n| n > self.max_body as u64) {
            return Answer::error(StatusCode::PAYLOAD_TOO_LARGE).closing();
        }
        if let Some(application) = self.application(&exchange) {
            return match self.body(&mut exchange).await {
                Ok(body) => application.answer(&exchange, &body),
                Err(answer) => answer,
            };
        }
        let Some(page) = self.site(&exchange.host).page(exchange.path()) else {
            return refuse(&mut exchange, StatusCode::NOT_FOUND);
        };
        let allowed = page.methods();
        if !allowed.contains(&exchange.method) {
            let list = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
            let status = match exchange.method {
                Method::OPTIONS => StatusCode::NO_CONTENT,
                Method::GET
                | Method::HEAD
                | Method::POST
                | Method::PUT
                | Method::DELETE
                | Method::PATCH
                | Method::TRACE
                | Method::CONNECT => StatusCode::METHOD_NOT_ALLOWED,
                _ => StatusCode::NOT_IMPLEMENTED,
            };
            let mut answer = refuse(&mut exchange, status);
            if let Ok(list) = HeaderValue::from_str(&list) {
                answer.headers.insert(ALLOW, list);
            }
            return answer;
        }
        let body = match self.body(&mut exchange).await {
            Ok(body) => body,
            Err(answer) => return answer,
        };
        if let Some(delay) = page.delay {
            tokio::time::sleep(delay.0).await;
        }
        let answer = handlers::answer(page, &exchange, body, &self.memory).await;
        select(answer, &exchange, &self.compress, page)
    }
}

impl Sites {
    /// The whole body, or what is answered instead.
    async fn body(&self, exchange: &mut Exchange) -> Result<Bytes, Answer> {
        let body = core::mem::replace(&mut exchange.body, super::front::RequestBody::Empty);
        body.collect(self.max_body, self.pause).await.map_err(|error| Answer::error(error.status()).closing())
    }
}

/// A refusal; a body that comes all the same ends the connection.
fn refuse(exchange: &mut Exchange, status: StatusCode) -> Answer {
    let answer = Answer::error(status);
    match exchange.body {
        super::front::RequestBody::Http1(_) => answer.closing(),
        super::front::RequestBody::Http2(_)
        | super::front::RequestBody::Pieces(_)
        | super::front::RequestBody::Empty => answer,
    }
}

impl Handle for Sites {
    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let mut answer = self.answer(exchange).await;
            for (name, value) in &self.headers {
                answer.headers.entry(name).or_insert_with(|| value.clone());
            }
            answer
        })
    }

    fn push(&self, path: &str, host: &str) -> Option<Answer> {
        Some(self.site(host).page(path.split('?').next()?)?.fixed())
    }
}
