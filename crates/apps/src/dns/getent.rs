//! What programs see of names: `getent ahosts`, `host`, and `getaddrinfo` with its errors and the time that it took.

use core::time::Duration;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout};

use super::dig::{arpa, configured};
use super::exchange::{answers, any, tcp};
use super::message::{bare, query, rcode};
use super::random::Random;
use super::stub::GaiError;
use crate::app::read_table;
use crate::{App, AppFuture, CommandError, Cx, Env, Problem, Ready};

/// `getent ahosts NAME…`.
#[derive(Clone, Debug)]
pub struct Getent {
    names: Vec<String>,
    kind: Ahosts,
}

/// Which addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ahosts {
    All,
    V4,
    V6,
}

/// Reads `getent ahosts NAME…`, `ahostsv4`, `ahostsv6`.
///
/// # Errors
/// The word that means nothing.
pub fn command(words: &[String], _: &Env) -> Result<Ready, CommandError> {
    let help = || Some("getent ahosts www.example".into());
    let kind = match words.get(1).map(String::as_str) {
        Some("ahosts") => Ahosts::All,
        Some("ahostsv4") => Ahosts::V4,
        Some("ahostsv6") => Ahosts::V6,
        Some(other) => {
            let message = format!("the database `{other}` is not modelled");
            return Err(CommandError { word: 1, message, help: help() });
        }
        None => return Err(CommandError { word: 1, message: "a database is missing".into(), help: help() }),
    };
    if words.len() < 3 {
        return Err(CommandError { word: 2, message: "a name is missing".into(), help: help() });
    }
    Ok(Arc::new(Getent { names: words[2..].to_vec(), kind }))
}

/// The addresses of a name on the current ground.
async fn addresses(name: &str) -> Result<Vec<IpAddr>, String> {
    let found = net::lookup_host((name, 0)).await.map_err(|error| error.to_string())?;
    let mut unique = Vec::new();
    for ip in found.map(|at| at.ip()) {
        if !unique.contains(&ip) {
            unique.push(ip);
        }
    }
    Ok(unique)
}

impl App for Getent {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let mut status = 0;
            for name in &self.names {
                let found = addresses(name).await.unwrap_or_default();
                let wanted = |ip: &IpAddr| match self.kind {
                    Ahosts::All => true,
                    Ahosts::V4 => ip.is_ipv4(),
                    Ahosts::V6 => ip.is_ipv6(),
                };
                let found: Vec<IpAddr> = found.into_iter().filter(wanted).collect();
                if found.is_empty() {
                    // "One or more supplied key could not be found in the database."
                    status = 2;
                }
                for (at, ip) in found.iter().enumerate() {
                    let canonical = if at == 0 { name.as_str() } else { "" };
                    cx.print(format!("{:<15} STREAM {canonical}", ip.to_string()));
                    cx.print(format!("{:<15} DGRAM  ", ip.to_string()));
                    cx.print(format!("{:<15} RAW    ", ip.to_string()));
                }
            }
            status
        })
    }
}

/// The table of `app = "getaddrinfo"`: looks names up as programs do and says what they get, and after how long.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetAddrInfo {
    /// The names, one after the other; a number between them is a pause in seconds.
    pub names: Vec<NameOrPause>,
}

/// An element of `names`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum NameOrPause {
    /// A name to look up.
    Name(String),
    /// A pause in seconds.
    Pause(f64),
}

/// The longest pause, in seconds.
const LONGEST_PAUSE: f64 = 86_400.0;

/// Reads its table.
///
/// # Errors
/// No names, or a pause that cannot be.
pub fn read(table: &Map<String, Value>, _: &Env) -> Result<Ready, Vec<Problem>> {
    let asker: GetAddrInfo = read_table(table)?;
    let mut problems = Vec::new();
    let mut wrong = |path: Vec<String>, message: String, help: &str| {
        problems.push(Problem { path, message, help: Some(help.into()) });
    };
    if !asker.names.iter().any(|name| matches!(name, NameOrPause::Name(_))) {
        wrong(vec!["names".into()], "there is no name to look up".into(), "such as [\"www.example\"]");
    }
    for (n, name) in asker.names.iter().enumerate() {
        if let NameOrPause::Pause(seconds) = name
            && !(0.0..=LONGEST_PAUSE).contains(seconds)
        {
            let path = vec!["names".into(), n.to_string()];
            wrong(path, format!("a pause of {seconds} s"), "0 to 86400 seconds");
        }
    }
    if problems.is_empty() { Ok(Arc::new(asker)) } else { Err(problems) }
}

/// A time as the lines have it.
fn in_words(time: Duration) -> String {
    let micros = time.as_micros();
    if micros < 1_000_000 {
        format!("{}.{:03} ms", micros / 1000, micros % 1000)
    } else {
        format!("{}.{:03} s", micros / 1_000_000, micros / 1000 % 1000)
    }
}

impl App for GetAddrInfo {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let mut status = 0;
            for name in &self.names {
                let name = match name {
                    NameOrPause::Name(name) => name,
                    NameOrPause::Pause(seconds) => {
                        tokio::time::sleep(Duration::try_from_secs_f64(*seconds).unwrap_or_default()).await;
                        continue;
                    }
                };
                let start = Instant::now();
                let found = addresses(name).await;
                let took = in_words(start.elapsed());
                match found {
                    Ok(found) => {
                        let list: Vec<String> = found.iter().map(IpAddr::to_string).collect();
                        cx.print(format!("getaddrinfo(\"{name}\") = {} after {took}", list.join(", ")));
                    }
                    Err(text) => {
                        status = 1;
                        let known = [GaiError::NoName, GaiError::Again, GaiError::Fail, GaiError::NoData];
                        let known = known.into_iter().find(|error| text.ends_with(&error.to_string()));
                        let error = known.map_or(text, |error| format!("{} ({error})", error.constant()));
                        cx.print(format!("getaddrinfo(\"{name}\") = {error} after {took}"));
                    }
                }
            }
            status
        })
    }
}

/// `host NAME [SERVER]`.
#[derive(Clone, Debug)]
pub struct HostCommand {
    name: String,
    server: Option<String>,
}

/// Reads `host NAME [SERVER]`.
///
/// # Errors
/// A missing or superfluous word.
pub fn host_command(words: &[String], _: &Env) -> Result<Ready, CommandError> {
    let error = |word, message: &str| {
        Err(CommandError { word, message: message.into(), help: Some("host www.example 192.0.2.53".into()) })
    };
    match words {
        [_, name] => Ok(Arc::new(HostCommand { name: name.clone(), server: None })),
        [_, name, server] => Ok(Arc::new(HostCommand { name: name.clone(), server: Some(server.clone()) })),
        [] | [_] => error(1, "a name is missing"),
        [..] => error(3, "a word too many"),
    }
}

/// What `host` waits for one server, and how often it asks.
const HOST_TIME: Duration = Duration::from_secs(5);
const HOST_TRIES: u32 = 2;

impl App for HostCommand {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let mut random = Random::new(cx.seed("host"));
            let servers = match &self.server {
                Some(server) => addresses(server).await.unwrap_or_default(),
                None => configured().nameservers,
            };
            let reverse = self.name.parse().ok().map(arpa);
            let parsed = reverse.clone().or_else(|| Name::from_ascii(&self.name).ok());
            let Some(mut name) = parsed else {
                cx.print(format!("host: '{}' is not a legal name", self.name));
                return 1;
            };
            name.set_fqdn(true);
            let kinds = match reverse {
                Some(_) => &[RecordType::PTR][..],
                None => &[RecordType::A, RecordType::AAAA, RecordType::MX],
            };
            for &kind in kinds {
                if !ask_and_tell(&cx, &mut random, &servers, &name, kind).await {
                    return 1;
                }
            }
            0
        })
    }
}

/// One question of `host`; whether to go on.
async fn ask_and_tell(
    cx: &Cx,
    random: &mut Random,
    servers: &[IpAddr],
    name: &Name,
    kind: RecordType,
) -> bool {
    for ip in core::iter::repeat_n(servers, HOST_TRIES as usize).flatten() {
        let server = SocketAddr::new(*ip, 53);
        let asked = query(random.bits16(), name.clone(), kind, true);
        let Ok(Ok(reply)) = timeout(HOST_TIME, over_udp_then_tcp(server, &asked)).await else { continue };
        let code = reply.metadata.response_code;
        if code != ResponseCode::NoError {
            cx.print(format!("Host {} not found: {}({})", bare(name), u16::from(code), rcode(code)));
            return false;
        }
        for record in &reply.answers {
            let owner = bare(&record.name);
            cx.print(match &record.data {
                RData::A(a) => format!("{owner} has address {}", a.0),
                RData::AAAA(aaaa) => format!("{owner} has IPv6 address {}", aaaa.0),
                RData::CNAME(target) => format!("{owner} is an alias for {}", target.0),
                RData::PTR(target) => format!("{owner} domain name pointer {}", target.0),
                RData::MX(mx) => format!("{owner} mail is handled by {} {}", mx.preference, mx.exchange),
                other => {
                    format!("{owner} has {} record {}", record.record_type(), super::message::rdata(other))
                }
            });
        }
        return true;
    }
    cx.print(";; connection timed out; no servers could be reached");
    false
}

async fn over_udp_then_tcp(server: SocketAddr, asked: &Message) -> io::Result<Message> {
    let socket = net::UdpSocket::bind(SocketAddr::new(any(server), 0)).await?;
    socket.connect(server).await?;
    socket.send(&asked.to_vec().map_err(io::Error::other)?).await?;
    let mut buffer = vec![0; super::message::LONGEST];
    loop {
        let n = socket.recv(&mut buffer).await?;
        match Message::from_vec(&buffer[..n]) {
            Ok(reply) if answers(asked, &reply) && reply.metadata.truncation => {
                return tcp(server, asked).await;
            }
            Ok(reply) if answers(asked, &reply) => return Ok(reply),
            _ => {}
        }
    }
}
