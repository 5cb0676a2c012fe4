//! `quic-server`: answers `GET /20k` on every stream with as many bytes.

use core::time::Duration;
use std::io;
use std::sync::Arc;

use net::quinn::Plug;
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream, ServerConfig};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{
    ALPN, Life, MAX_REQUEST, Qlog, Side, Version, because, server_config, server_endpoint, size_of, transport,
};
use crate::app::read_table;
use crate::tls::{ServerOptions, ServerTls, VersionWord};
use crate::units::Span;
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// A QUIC server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuicServer {
    /// Its UDP port; 443 unless given.
    #[serde(default = "https")]
    pub port: u16,
    /// Its TLS: at least `certificate`.
    pub tls: ServerOptions,
    /// Versions of QUIC that it speaks, such as `["1", "draft-29"]`; all of the library unless given.
    #[serde(default)]
    pub versions: Vec<Version>,
    /// true: a client that has not shown yet that it gets what is sent to its address is sent a Retry first (RFC 9000 §8.1.2).
    #[serde(default)]
    pub retry: bool,
    /// false: connections stay with the address that they began with (RFC 9000 §9).
    #[serde(default = "yes")]
    pub migration: bool,
    /// A connection ends when nothing arrives for so long; `30s` unless given.
    #[serde(default = "idle")]
    pub idle: Span,
    /// Time that an answer takes before its first byte, such as `20ms`; none unless given.
    pub delay: Option<Span>,
    /// It crashes after this time and is there again at once: it knows no connection of before. Never unless given.
    pub crash: Option<Span>,
    /// true: it has lost the key of its stateless resets in the crash, too (RFC 9000 §10.3.2).
    #[serde(default)]
    pub crash_loses_reset_key: bool,
    /// false: it leaves no qlog of its connections beside the capture.
    #[serde(default = "yes")]
    pub qlog: bool,
}

fn https() -> u16 {
    443
}

fn yes() -> bool {
    true
}

pub(super) fn idle() -> Span {
    Span(Duration::from_secs(30))
}

/// How much of an answer is handed to quinn at a time.
const PIECE: usize = 16 << 10;
/// Connections that leave a qlog.
const MAX_QLOGS: u64 = 16;

impl QuicServer {
    pub(crate) fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
        let mut server: QuicServer = read_table(table)?;
        server.tls.versions = vec![VersionWord::Tls13];
        if server.tls.alpn.is_empty() {
            server.tls.alpn = vec![ALPN.into()];
        }
        let mut problems = server.tls.check(env);
        problems.iter_mut().for_each(|problem| problem.path.insert(0, "tls".into()));
        if server.crash_loses_reset_key && server.crash.is_none() {
            let message = "it loses nothing without `crash`".into();
            let path = vec!["crash_loses_reset_key".into()];
            problems.push(Problem { path, message, help: Some("add crash = \"2s\"".into()) });
        }
        if problems.is_empty() { Ok(Arc::new(server)) } else { Err(problems) }
    }

    async fn serve(&self, cx: &Cx) -> io::Result<()> {
        let socket = Arc::new(net::UdpSocket::bind(("0.0.0.0", self.port)).await?);
        let mut crash = self.crash.map(|span| Instant::now() + span.0);
        let mut connections = 0;
        let mut life = Life { before: 0, new_reset_key: self.crash_loses_reset_key };
        // What a crashed server knew, where nobody hears it any more.
        let mut _dead: Vec<(Endpoint, Plug)> = Vec::new();
        loop {
            let tls = ServerTls::new(&self.tls, &cx.env().pki, Some(cx))?;
            let config = server_config(&tls, transport(self.idle.0, None)?, self.migration)?;
            let (endpoint, plug) = server_endpoint(cx, config.clone(), &self.versions, life, socket.clone())?;
            loop {
                let incoming = tokio::select! {
                    incoming = endpoint.accept() => incoming,
                    () = at(crash) => {
                        crash = None;
                        break;
                    }
                };
                let Some(incoming) = incoming else { return Ok(()) };
                connections += 1;
                self.take(incoming, connections, &config, cx)?;
            }
            cx.print("crashes, and is there again: it knows no connection");
            plug.pull();
            life.before += 1;
            _dead.push((endpoint, plug));
        }
    }

    /// A client's first packet.
    fn take(&self, incoming: Incoming, number: u64, config: &ServerConfig, cx: &Cx) -> io::Result<()> {
        let from = incoming.remote_address();
        if self.retry && !incoming.remote_address_validated() && incoming.may_retry() {
            cx.print(format!("{from} has shown nothing of its address: Retry"));
            // The packet is answered either way.
            let _ = incoming.retry();
            return Ok(());
        }
        let (qlog, start) = if self.qlog && number <= MAX_QLOGS {
            let title = format!("{} on {}, connection {number}", cx.name(), cx.env().host);
            let (qlog, start) = Qlog::new(title, Side::Server);
            (Some(qlog), Some(start))
        } else {
            (None, None)
        };
        let mut config = config.clone();
        config.transport_config(Arc::new(transport(self.idle.0, start)?));
        let (delay, cx) = (self.delay.map(|span| span.0), cx.clone());
        net::spawn(async move {
            connection(incoming, Arc::new(config), delay, &cx).await;
            if let Some(qlog) = qlog {
                let number = if number == 1 { String::new() } else { format!("-{number}") };
                cx.file(&format!("{}{number}.sqlog", cx.name()), qlog.take());
            }
        });
        Ok(())
    }
}

/// Never, or then.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => core::future::pending().await,
    }
}

impl App for QuicServer {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            if let Err(error) = self.serve(&cx).await {
                cx.print(format!("quic-server: port {}: {error}", self.port));
            }
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

async fn connection(incoming: Incoming, config: Arc<ServerConfig>, delay: Option<Duration>, cx: &Cx) {
    let from = incoming.remote_address();
    let connecting = match incoming.accept_with(config) {
        Ok(connecting) => connecting,
        Err(error) => return cx.print(format!("{from}: {}", because(&error))),
    };
    // Answers to early data need not wait for the end of the handshake.
    let connection = match connecting.into_0rtt() {
        Ok((connection, _)) => connection,
        Err(connecting) => match connecting.await {
            Ok(connection) => connection,
            Err(error) => return cx.print(format!("{from}: {}", because(&error))),
        },
    };
    cx.print(format!("{from} connection"));
    let mut seen = from;
    loop {
        let stream = connection.accept_bi().await;
        let now = connection.remote_address();
        if now != seen {
            cx.print(format!("{seen} is {now} now: the connection migrated"));
            seen = now;
        }
        match stream {
            Ok((send, recv)) => {
                net::spawn(answer(send, recv, connection.clone(), delay, cx.clone()));
            }
            Err(error) => {
                let path = connection.stats().path;
                return cx.print(format!(
                    "{now} {}; {} packets sent, {} lost",
                    because(&error),
                    path.sent_packets,
                    path.lost_packets
                ));
            }
        }
    }
}

async fn answer(
    mut send: SendStream,
    mut recv: RecvStream,
    connection: Connection,
    delay: Option<Duration>,
    cx: Cx,
) {
    let early = recv.is_0rtt();
    let request = recv.read_to_end(MAX_REQUEST).await.unwrap_or_default();
    let line = String::from_utf8_lossy(&request);
    let size = line.trim_end().strip_prefix("GET ").and_then(size_of);
    let from = connection.remote_address();
    let Some(mut left) = size else {
        cx.print(format!("{from} stream {}: no request of HTTP/0.9", send.id().index()));
        // H3_REQUEST_REJECTED has no brother here; 1 says "not this".
        let _ = send.reset(1_u32.into());
        return;
    };
    let word = if early { ", early data" } else { "" };
    cx.print(format!("{from} stream {} \"{}\"{word}", send.id().index(), line.trim_end()));
    if let Some(delay) = delay {
        tokio::time::sleep(delay).await;
    }
    let piece = [b'q'; PIECE];
    while left > 0 {
        let n = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        // The client has gone, or wants no more of it.
        let Ok(()) = send.write_all(&piece[..n]).await else { return };
        left -= n as u64;
    }
    let _ = send.finish();
}
