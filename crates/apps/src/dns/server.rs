//! The authoritative server: zones from the scenario, BIND's query log, and ways to fail on purpose.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::Name;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::message::{EDNS_UDP, refusal, reply_to};
use super::service::{Answering, Asked, Encrypted, Service, own_addresses, serve};
use super::zone::{self, Zone};
use crate::app::read_table;
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// The table of `app = "dns-server"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsServer {
    /// Zones by name (`"example."`, `"."` for the root), each as the text of a master file (RFC 1035 §5).
    #[serde(default)]
    pub zones: BTreeMap<String, String>,
    /// What it does with questions; answers them unless given.
    #[serde(default)]
    pub mode: Mode,
    /// Replies per second; questions above that are dropped. No limit unless given.
    #[serde(default)]
    pub rate: Option<u32>,
    /// How long it takes for a reply, in ms; 0 unless given.
    #[serde(default)]
    pub delay_ms: u32,
    /// The largest reply over UDP; 1232 unless given, as BIND's `max-udp-size`. Longer ones are truncated and the asker
    /// comes back over TCP.
    #[serde(default = "udp_size")]
    pub udp_size: u16,
    /// Its port; 53 unless given.
    #[serde(default = "port")]
    pub port: u16,
    /// The addresses that it listens on; all of its host's unless given.
    #[serde(default)]
    pub listen: Vec<IpAddr>,
    /// Prints a line per question, as BIND with `querylog yes`; true unless given.
    #[serde(default = "yes")]
    pub log: bool,
}

/// What a server does with questions.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Answers from its zones.
    #[default]
    Answer,
    /// `SERVFAIL` to everything.
    Servfail,
    /// `REFUSED` to everything.
    Refused,
    /// Nothing to anybody.
    Silent,
}

pub(super) fn port() -> u16 {
    53
}

pub(super) fn udp_size() -> u16 {
    EDNS_UDP
}

pub(super) fn yes() -> bool {
    true
}

/// A domain name of a table.
pub(super) fn name(text: &str, path: &[&str]) -> Result<Name, Problem> {
    let mut name = Name::from_ascii(text).map_err(|error| Problem {
        path: path.iter().map(|&key| key.into()).collect(),
        message: format!("`{text}` is no domain name: {error}"),
        help: Some("labels of 1 to 63 characters with dots between them, such as \"shop.example.\"".into()),
    })?;
    name.set_fqdn(true);
    Ok(name)
}

/// Reads the table, its zones included.
///
/// # Errors
/// What is wrong with keys and zones.
pub fn read(table: &Map<String, Value>, _: &Env) -> Result<Ready, Vec<Problem>> {
    let config: DnsServer = read_table(table)?;
    Ok(Arc::new(Server::new(config)?))
}

/// A server whose zones are read.
#[derive(Debug)]
pub struct Server {
    config: DnsServer,
    zones: Vec<Zone>,
}

impl Server {
    /// Reads the zones.
    ///
    /// # Errors
    /// Every zone that does not parse, with the line of its text.
    pub fn new(config: DnsServer) -> Result<Server, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut zones = Vec::new();
        for (origin, text) in &config.zones {
            let path = ["zones", origin.as_str()];
            let parsed = name(origin, &path).and_then(|name| {
                Zone::parse(&name, text).map_err(|error| Problem {
                    path: path.map(String::from).into(),
                    message: error.to_string(),
                    help: None,
                })
            });
            match parsed {
                Ok(zone) => zones.push(zone),
                Err(problem) => problems.push(problem),
            }
        }
        if config.zones.is_empty() && config.mode == Mode::Answer {
            problems.push(Problem {
                path: Vec::new(),
                message: "a server that answers needs `zones`".into(),
                help: Some("zones.\"example.\" = \"\"\"…master file…\"\"\", or mode = \"silent\"".into()),
            });
        }
        if problems.is_empty() { Ok(Server { config, zones }) } else { Err(problems) }
    }
}

impl App for Server {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let addresses = own_addresses(&cx, &self.config.listen);
            let port = self.config.port;
            let running = Running { server: self, cx: cx.clone(), spent: Mutex::default() };
            serve(&cx, Arc::new(running), addresses, port, Encrypted::default()).await
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

struct Running {
    server: Arc<Server>,
    cx: Cx,
    spent: Mutex<Spent>,
}

/// Replies of the current second.
#[derive(Default)]
struct Spent {
    second: Option<Instant>,
    replies: u32,
}

impl Running {
    /// Whether one more reply is within the rate.
    fn may_reply(&self) -> bool {
        let Some(rate) = self.server.config.rate else { return true };
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if spent.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            *spent = Spent { second: Some(now), replies: 0 };
        }
        spent.replies += 1;
        spent.replies <= rate
    }
}

impl Service for Running {
    fn answer(self: Arc<Self>, asked: Asked) -> Answering {
        Box::pin(async move {
            let config = &self.server.config;
            if config.log {
                self.cx.print(asked.log_line());
            }
            if config.mode == Mode::Silent || !self.may_reply() {
                return None;
            }
            if config.delay_ms > 0 {
                tokio::time::sleep(Duration::from_millis(config.delay_ms.into())).await;
            }
            Some(match config.mode {
                Mode::Servfail => refusal(&asked.query, ResponseCode::ServFail),
                Mode::Refused => refusal(&asked.query, ResponseCode::Refused),
                Mode::Answer | Mode::Silent => {
                    let mut reply = reply_to(&asked.query);
                    zone::answer(&self.server.zones, &mut reply);
                    reply
                }
            })
        })
    }

    fn udp_size(&self) -> u16 {
        self.server.config.udp_size
    }
}
