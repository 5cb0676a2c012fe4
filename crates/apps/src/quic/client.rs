//! `quic-client`: a connection and what is done with it, step by step.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use core::time::Duration;

use quinn::{Connecting, Connection, ConnectionError, Endpoint, TokenMemoryCache, VarInt};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::server::idle;
use super::steps::Step;
use super::{ALPN, Qlog, Side, Version, because, client_config, client_endpoint, size_of, transport};
use crate::app::read_table;
use crate::tls::{ClientOptions, ClientTls, VersionWord};
use crate::units::Span;
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// A QUIC client.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuicClient {
    /// Whom it connects to, such as `server:443`.
    pub server: String,
    /// The name that the server must prove; the host of `server` unless given.
    pub name: Option<String>,
    /// The UDP port that it sends from; any unless given.
    #[serde(default)]
    pub port: u16,
    /// Its TLS.
    #[serde(default)]
    pub tls: ClientOptions,
    /// A connection ends when nothing arrives for so long; `30s` unless given.
    #[serde(default = "idle")]
    pub idle: Span,
    /// Versions of QUIC that it speaks, such as `["draft-34", "1"]`: it begins with the first, and takes the next one when the
    /// server has another; `["1"]` unless given.
    #[serde(default)]
    pub versions: Vec<Version>,
    /// What it does: `connect`, `connect 0-rtt` (requests leave with the first packet), `get /20k` (several paths: streams side
    /// by side), `try get /20k` (a failure is told, and the next step follows), `sleep 1s`, `rebind` (it goes on from another
    /// port, or from another of its addresses: `rebind 198.51.100.7`), `update-keys`, `await-end` (until the connection ends),
    /// `close`, `close 7 reason`.
    pub steps: Vec<String>,
}

/// The program as it runs.
#[derive(Debug)]
struct Client {
    given: QuicClient,
    steps: Vec<Step>,
}

impl QuicClient {
    pub(crate) fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
        let mut given: QuicClient = read_table(table)?;
        given.tls.versions = vec![VersionWord::Tls13];
        if given.tls.alpn.is_empty() {
            given.tls.alpn = vec![ALPN.into()];
        }
        let mut problems = given.tls.check(env);
        problems.iter_mut().for_each(|problem| problem.path.insert(0, "tls".into()));
        let mut steps = Vec::new();
        for (n, text) in given.steps.iter().enumerate() {
            match Step::parse(text) {
                Ok(step) => steps.push(step),
                Err(message) => {
                    let path = vec!["steps".into(), n.to_string()];
                    problems.push(Problem { path, message, help: None });
                }
            }
        }
        given.tls.early_data = steps.iter().any(|step| matches!(step, Step::Connect { early: true }));
        if problems.is_empty() { Ok(Arc::new(Client { given, steps })) } else { Err(problems) }
    }
}

impl App for Client {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            match self.walk(&cx).await {
                Ok(()) => 0,
                Err(error) => {
                    cx.print(format!("quic-client: {error}"));
                    1
                }
            }
        })
    }
}

/// Any address of the family of this one.
fn any(addr: SocketAddr) -> IpAddr {
    if addr.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

/// A time in ms as it is printed.
fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

impl Client {
    async fn walk(&self, cx: &Cx) -> io::Result<()> {
        let tls = ClientTls::new(&self.given.tls, &cx.env().pki, Some(cx))?;
        let mut addrs = net::lookup_host(&self.given.server).await?;
        let server = addrs.next().ok_or_else(|| io::Error::other("no address"))?;
        let socket = net::UdpSocket::bind((any(server), self.given.port)).await?;
        let endpoint = client_endpoint(cx, 0, socket)?;
        let (tokens, qlogs) = (Arc::default(), Vec::new());
        let mut walk = Walk { client: self, cx, tls, tokens, endpoint, server, connection: None, qlogs };
        let result = walk.steps().await;
        walk.close(0_u32.into(), "").await;
        for (nth, qlog) in walk.qlogs.iter().enumerate() {
            let number = if nth == 0 { String::new() } else { format!("-{}", nth + 1) };
            cx.file(&format!("{}{number}.sqlog", cx.name()), qlog.take());
        }
        result
    }
}

/// The steps on their way.
struct Walk<'a> {
    client: &'a Client,
    cx: &'a Cx,
    tls: ClientTls,
    /// Addresses that servers believe.
    tokens: Arc<TokenMemoryCache>,
    endpoint: Endpoint,
    server: SocketAddr,
    connection: Option<Connection>,
    /// One for each connection.
    qlogs: Vec<Qlog>,
}

impl Walk<'_> {
    fn open(&self) -> io::Result<&Connection> {
        self.connection.as_ref().ok_or_else(|| io::Error::other("this step needs a connection"))
    }

    async fn steps(&mut self) -> io::Result<()> {
        for step in &self.client.steps {
            let begin = Instant::now();
            match step {
                Step::Connect { early } => self.connect(*early).await?,
                Step::Get { paths, lenient } => {
                    let got = get(self.cx, self.open()?, paths, begin).await;
                    match got {
                        Err(error) if *lenient => {
                            self.cx.print(format!("{error} after {}", ms(begin.elapsed())))
                        }
                        got => got?,
                    }
                }
                Step::Sleep(time) => tokio::time::sleep(*time).await,
                Step::Rebind(addr) => {
                    let socket = net::UdpSocket::bind((addr.unwrap_or(any(self.server)), 0)).await?;
                    self.cx.print(format!("goes on from {}", socket.local_addr()?));
                    net::quinn::rebind(&self.endpoint, socket)?;
                }
                Step::UpdateKeys => self.open()?.force_key_update(),
                Step::AwaitEnd => {
                    let why = self.open()?.closed().await;
                    self.cx.print(format!("{} after {}", because(&why), ms(begin.elapsed())));
                }
                Step::Close { code, reason } => {
                    self.open()?;
                    self.close(*code, reason).await;
                }
            }
        }
        Ok(())
    }

    /// Handshakes with one version after the other until the server knows one.
    async fn connect(&mut self, early: bool) -> io::Result<()> {
        let given = &self.client.given;
        let host = given.server.rsplit_once(':').map_or(given.server.as_str(), |(host, _)| host);
        let name = given.name.as_deref().unwrap_or(host);
        let versions = if given.versions.is_empty() { &[Version(1)][..] } else { &given.versions };
        for (nth, version) in versions.iter().enumerate() {
            let begin = Instant::now();
            let title =
                format!("{} on {}, connection {}", self.cx.name(), self.cx.env().host, self.qlogs.len() + 1);
            let (qlog, start) = Qlog::new(title, Side::Client);
            self.qlogs.push(qlog);
            let mut config =
                client_config(&self.tls, transport(given.idle.0, Some(start))?, self.tokens.clone())?;
            config.version(version.0);
            let connecting =
                self.endpoint.connect_with(config, self.server, name).map_err(io::Error::other)?;
            match handshake(self.cx, connecting, early, begin).await {
                Ok(made) => {
                    self.connection = Some(made);
                    return Ok(());
                }
                Err(ConnectionError::VersionMismatch) if nth + 1 < versions.len() => {
                    let (took, next) = (ms(begin.elapsed()), versions[nth + 1]);
                    self.cx.print(format!(
                        "the server does not speak {version}, after {took}; again with {next}"
                    ));
                }
                Err(error) => return Err(io::Error::other(because(&error))),
            }
        }
        Ok(())
    }

    async fn close(&mut self, code: VarInt, reason: &str) {
        let Some(connection) = self.connection.take() else { return };
        let stats = connection.stats();
        self.cx.print(format!(
            "sent {} datagrams, received {}, {} packets lost, smoothed round trip {}",
            stats.udp_tx.datagrams,
            stats.udp_rx.datagrams,
            stats.path.lost_packets,
            ms(connection.rtt())
        ));
        connection.close(code, reason.as_bytes());
        self.endpoint.wait_idle().await;
    }
}

/// Waits for the handshake; for early data only until there are keys.
async fn handshake(
    cx: &Cx,
    connecting: Connecting,
    early: bool,
    begin: Instant,
) -> Result<Connection, ConnectionError> {
    let made = match connecting.into_0rtt() {
        Ok((made, accepted)) if early => {
            let cx = cx.clone();
            net::spawn(async move {
                let word = if accepted.await { "accepted" } else { "refused" };
                cx.print(format!("handshake done after {}, early data {word}", ms(begin.elapsed())));
            });
            return Ok(made);
        }
        Ok((made, accepted)) => {
            accepted.await;
            made
        }
        Err(connecting) => connecting.await?,
    };
    cx.print(format!("handshake done after {}", ms(begin.elapsed())));
    Ok(made)
}

/// Asks for every path on a stream of its own, all at once; each prints when it is whole.
async fn get(cx: &Cx, connection: &Connection, paths: &[String], begin: Instant) -> io::Result<()> {
    let mut requests = Vec::new();
    for path in paths {
        let failed =
            |error: &dyn core::error::Error| io::Error::other(format!("GET {path}: {}", because(error)));
        let (mut send, mut recv) = connection.open_bi().await.map_err(|error| failed(&error))?;
        send.write_all(format!("GET {path}\r\n").as_bytes()).await.map_err(|error| failed(&error))?;
        send.finish().map_err(|error| failed(&error))?;
        let (cx, path) = (cx.clone(), path.clone());
        requests.push(net::spawn(async move {
            let mut got = 0_u64;
            let mut first = None;
            loop {
                let chunk = recv.read_chunk(usize::MAX, true).await;
                let chunk =
                    chunk.map_err(|error| io::Error::other(format!("GET {path}: {}", because(&error))))?;
                let Some(chunk) = chunk else { break };
                first.get_or_insert_with(|| begin.elapsed());
                got += chunk.bytes.len() as u64;
            }
            let stream = recv.id().index();
            let whole = begin.elapsed();
            let first = ms(first.unwrap_or(whole));
            cx.print(format!(
                "stream {stream} GET {path}: {got} bytes, first after {first}, whole after {}",
                ms(whole)
            ));
            match size_of(&path) == Some(got) {
                true => Ok(()),
                false => Err(io::Error::other(format!("GET {path}: {got} bytes are not all"))),
            }
        }));
    }
    for request in requests {
        request.await.map_err(io::Error::other)??;
    }
    Ok(())
}
