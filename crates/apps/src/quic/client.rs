//! `quic-client`: a connection and what is done with it, step by step.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use core::time::Duration;

use quinn::{Connection, Endpoint};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::server::idle;
use super::{ALPN, Qlog, client_endpoint, size_of, transport};
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
    /// What it does: `connect`, `connect 0-rtt` (requests leave with the first packet), `get /20k` (several paths: streams side
    /// by side), `sleep 1s`, `rebind` (it goes on from another port, or from another of its addresses: `rebind 198.51.100.7`),
    /// `update-keys`, `close`.
    pub steps: Vec<String>,
}

#[derive(Clone, Debug)]
enum Step {
    Connect { early: bool },
    Get(Vec<String>),
    Sleep(Duration),
    Rebind(Option<IpAddr>),
    UpdateKeys,
    Close,
}

/// Requests of one step.
const MAX_SIDE_BY_SIDE: usize = 256;

impl Step {
    fn parse(text: &str) -> Result<Step, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["connect"] => Ok(Step::Connect { early: false }),
            ["connect", "0-rtt"] => Ok(Step::Connect { early: true }),
            ["get", paths @ ..] if !paths.is_empty() && paths.len() <= MAX_SIDE_BY_SIDE => {
                match paths.iter().find(|path| size_of(path).is_none()) {
                    Some(path) => Err(format!("`{path}` says no size: /20k is 20,000 bytes")),
                    None => Ok(Step::Get(paths.iter().map(|path| (*path).to_owned()).collect())),
                }
            }
            ["sleep", time] => Span::parse(time).map(|span| Step::Sleep(span.0)),
            ["rebind"] => Ok(Step::Rebind(None)),
            ["rebind", addr] => addr
                .parse()
                .map(|addr| Step::Rebind(Some(addr)))
                .map_err(|_| format!("`{addr}` is no address")),
            ["update-keys"] => Ok(Step::UpdateKeys),
            ["close"] => Ok(Step::Close),
            _ => Err(format!(
                "no step `{text}`; there are: connect, connect 0-rtt, get /SIZE…, sleep TIME, rebind [ADDRESS], \
                 update-keys, close"
            )),
        }
    }
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
        let qlog = Qlog::new(format!("{} on {}", cx.name(), cx.env().host));
        let socket = net::UdpSocket::bind((any(server), self.given.port)).await?;
        let endpoint = client_endpoint(cx, &tls, transport(self.given.idle.0, Some(&qlog))?, socket)?;
        let mut connection: Option<Connection> = None;
        let result = self.steps(cx, &endpoint, server, &mut connection).await;
        if let Some(connection) = connection {
            let stats = connection.stats();
            cx.print(format!(
                "sent {} datagrams, received {}, {} packets lost, smoothed round trip {}",
                stats.udp_tx.datagrams,
                stats.udp_rx.datagrams,
                stats.path.lost_packets,
                ms(connection.rtt())
            ));
            connection.close(0_u32.into(), b"");
        }
        endpoint.wait_idle().await;
        cx.file(&format!("{}.sqlog", cx.name()), qlog.take());
        result
    }

    async fn steps(
        &self,
        cx: &Cx,
        endpoint: &Endpoint,
        server: SocketAddr,
        connection: &mut Option<Connection>,
    ) -> io::Result<()> {
        let host = self.given.server.rsplit_once(':').map_or(self.given.server.as_str(), |(host, _)| host);
        let name = self.given.name.as_deref().unwrap_or(host);
        for step in &self.steps {
            let begin = Instant::now();
            let open = || connection.as_ref().ok_or_else(|| io::Error::other("this step needs a connection"));
            match step {
                Step::Connect { early } => {
                    let connecting = endpoint.connect(server, name).map_err(io::Error::other)?;
                    let made = match connecting.into_0rtt() {
                        Ok((made, accepted)) if *early => {
                            let cx = cx.clone();
                            net::spawn(async move {
                                let word = if accepted.await { "accepted" } else { "refused" };
                                cx.print(format!(
                                    "handshake done after {}, early data {word}",
                                    ms(begin.elapsed())
                                ));
                            });
                            made
                        }
                        Ok((made, accepted)) => {
                            accepted.await;
                            cx.print(format!("handshake done after {}", ms(begin.elapsed())));
                            made
                        }
                        Err(connecting) => {
                            let made = connecting.await.map_err(io::Error::other)?;
                            cx.print(format!("handshake done after {}", ms(begin.elapsed())));
                            made
                        }
                    };
                    *connection = Some(made);
                }
                Step::Get(paths) => get(cx, open()?, paths, begin).await?,
                Step::Sleep(time) => tokio::time::sleep(*time).await,
                Step::Rebind(addr) => {
                    let socket = net::UdpSocket::bind((addr.unwrap_or(any(server)), 0)).await?;
                    cx.print(format!("goes on from {}", socket.local_addr()?));
                    net::quinn::rebind(endpoint, socket)?;
                }
                Step::UpdateKeys => open()?.force_key_update(),
                Step::Close => {
                    open()?.close(0_u32.into(), b"");
                    *connection = None;
                    endpoint.wait_idle().await;
                }
            }
        }
        Ok(())
    }
}

/// Asks for every path on a stream of its own, all at once; each prints when it is whole.
async fn get(cx: &Cx, connection: &Connection, paths: &[String], begin: Instant) -> io::Result<()> {
    let mut requests = Vec::new();
    for path in paths {
        let (mut send, mut recv) = connection.open_bi().await?;
        send.write_all(format!("GET {path}\r\n").as_bytes()).await?;
        send.finish().map_err(io::Error::other)?;
        let (cx, path) = (cx.clone(), path.clone());
        requests.push(net::spawn(async move {
            let mut got = 0_u64;
            let mut first = None;
            while let Some(chunk) = recv.read_chunk(usize::MAX, true).await? {
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
