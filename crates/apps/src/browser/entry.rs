//! What a browser notes of each request: the rows of its network panel, and of a HAR file.

use core::time::Duration;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The server.
    Network,
    /// The cache; nothing was sent.
    Cache,
    /// The cache, after the server said 304.
    Validated,
    /// The browser itself went on to https (HSTS) before anything was sent.
    Internal,
    /// Nowhere: it failed or was blocked.
    Nowhere,
}

/// Milliseconds with their fractions, as HAR writes times.
fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// One request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Which visit it belongs to, from 1.
    pub visit: usize,
    /// When it began, in milliseconds after 1970.
    pub started: f64,
    /// Its method.
    pub method: String,
    /// Its URL.
    pub url: String,
    /// What it was for, as in `Sec-Fetch-Dest`; `preflight` for those.
    pub destination: String,
    /// Header fields that were sent.
    pub request_headers: Vec<(String, String)>,
    /// The body that was sent.
    pub request_body: String,
    /// The status, or 0.
    pub status: u16,
    /// `HTTP/1.1`, `h2`, `h3`.
    pub protocol: String,
    /// Header fields of the answer.
    pub response_headers: Vec<(String, String)>,
    /// Bytes of the body as they came.
    pub wire: usize,
    /// Bytes of the body after decoding.
    pub size: usize,
    /// Bytes of the answer's head as HTTP/1 writes it.
    pub head: usize,
    /// Where the answer is from.
    pub source: Source,
    /// Why it failed.
    pub error: Option<String>,
    /// The number of its connection.
    pub connection: Option<u64>,
    /// The server's address.
    pub server: Option<String>,
    /// What was agreed in TLS.
    pub tls: Vec<String>,
    /// Waiting for a connection, in milliseconds.
    pub blocked: f64,
    /// Name resolution; `None` on a kept connection.
    pub dns: Option<f64>,
    /// TCP's handshake.
    pub connect: Option<f64>,
    /// TLS's handshake.
    pub ssl: Option<f64>,
    /// Sending.
    pub send: f64,
    /// Waiting for the first byte.
    pub wait: f64,
    /// Receiving.
    pub receive: f64,
    /// All of it.
    pub total: f64,
}

impl Entry {
    pub(super) fn new(visit: usize, method: &str, url: &str, destination: &str, now: SystemTime) -> Entry {
        Entry {
            visit,
            started: ms(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()),
            method: method.into(),
            url: url.into(),
            destination: destination.into(),
            request_headers: Vec::new(),
            request_body: String::new(),
            status: 0,
            protocol: String::new(),
            response_headers: Vec::new(),
            wire: 0,
            size: 0,
            head: 0,
            source: Source::Nowhere,
            error: None,
            connection: None,
            server: None,
            tls: Vec::new(),
            blocked: 0.0,
            dns: None,
            connect: None,
            ssl: None,
            send: 0.0,
            wait: 0.0,
            receive: 0.0,
            total: 0.0,
        }
    }

    pub(super) fn timed(&mut self, timings: &crate::http::client::Timings) {
        self.blocked = ms(timings.blocked);
        self.dns = timings.dns.map(ms);
        self.connect = timings.connect.map(ms);
        self.ssl = timings.tls.map(ms);
        self.send = ms(timings.send);
        self.wait = ms(timings.wait);
        self.receive = timings.receive.map_or(0.0, ms);
        self.total = ms(timings.total);
    }

    /// One line of the network panel.
    pub fn line(&self) -> String {
        let what = format!("{} {}", self.method, self.url);
        let result = match (&self.error, self.status) {
            (Some(error), 0) => return format!("{what}  failed: {error}"),
            (Some(error), status) => return format!("{what}  {status}, blocked: {error}"),
            (None, status) => status,
        };
        let from = match self.source {
            Source::Network => format!("{}, {} bytes", self.protocol, self.wire),
            Source::Cache => "from the cache".into(),
            Source::Validated => format!("{}, 304: from the cache, {} bytes", self.protocol, self.wire),
            Source::Internal => return format!("{what}  {result} HSTS: on to https without a packet"),
            Source::Nowhere => "nothing".into(),
        };
        let decoded = if self.size == self.wire || self.source != Source::Network {
            String::new()
        } else {
            format!(" ({} decoded)", self.size)
        };
        let parts = [
            ("blocked", Some(self.blocked).filter(|t| *t > 0.0)),
            ("dns", self.dns),
            ("tcp", self.connect),
            ("tls", self.ssl),
            ("wait", Some(self.wait).filter(|_| self.source != Source::Cache)),
            ("receive", Some(self.receive).filter(|t| *t > 0.0)),
        ];
        let parts: Vec<String> =
            parts.iter().filter_map(|(name, time)| time.map(|t| format!("{name} {t:.1}"))).collect();
        let times = if parts.is_empty() { String::new() } else { format!("  {} ms", parts.join(" + ")) };
        format!("{what}  {result} {from}{decoded}{times}")
    }
}
