//! `tls-server`: a service behind TLS that answers lines, and tells who came and how.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use net::{TcpSocket, TcpStream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use super::{EarlyStatus, ServerOptions, ServerTls, TlsStream};
use crate::app::read_table;
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// A service behind TLS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsServer {
    /// Its port; 443 unless given.
    #[serde(default = "https")]
    pub port: u16,
    /// What it answers to every line; the line itself unless given.
    pub reply: Option<String>,
    /// true: data may come with the SYN (TCP Fast Open; the host's sysctl `net.ipv4.tcp_fastopen` must allow it).
    #[serde(default)]
    pub fast_open: bool,
    /// Its certificate and what it agrees to.
    pub tls: ServerOptions,
}

fn https() -> u16 {
    443
}

/// The longest line.
const MAX_LINE: u64 = 16 << 10;
/// How long a handshake may take; nginx's `ssl_handshake_timeout`.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// Connections that wait to be accepted.
pub(super) const BACKLOG: u32 = 512;

/// Reads its table.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let server: TlsServer = read_table(table)?;
    let problems = below("tls", server.tls.check(env));
    if problems.is_empty() { Ok(Arc::new(server)) } else { Err(problems) }
}

/// Problems of a table inside of another.
pub(crate) fn below(key: &str, problems: Vec<Problem>) -> Vec<Problem> {
    let deeper = |mut problem: Problem| {
        problem.path.insert(0, key.into());
        problem
    };
    problems.into_iter().map(deeper).collect()
}

impl App for TlsServer {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            match self.serve(&cx).await {
                Ok(never) => match never {},
                Err(error) => cx.print(format!("tls-server: port {}: {error}", self.port)),
            }
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

impl TlsServer {
    async fn serve(&self, cx: &Cx) -> io::Result<core::convert::Infallible> {
        let tls = ServerTls::new(&self.tls, &cx.env().pki, Some(cx))?;
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        if self.fast_open {
            socket.set_fastopen(BACKLOG)?;
        }
        socket.bind(SocketAddr::from(([0, 0, 0, 0], self.port)))?;
        let listener = socket.listen(BACKLOG)?;
        loop {
            let (tcp, peer) = listener.accept().await?;
            let (tls, cx, reply) = (tls.clone(), cx.clone(), self.reply.clone());
            net::spawn(async move {
                if let Err(error) = connection(tcp, &tls, &cx, peer, reply.as_deref()).await {
                    cx.print(format!("{peer}: {error}"));
                }
            });
        }
    }
}

async fn connection(
    tcp: TcpStream,
    tls: &ServerTls,
    cx: &Cx,
    peer: SocketAddr,
    reply: Option<&str>,
) -> io::Result<()> {
    // As nginx does: what follows the handshake's last flight does not wait for its acknowledgment.
    tcp.set_nodelay(true)?;
    let handshake = timeout(HANDSHAKE, super::accept(tcp, tls)).await;
    let stream =
        handshake.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no handshake within 60 s"))??;
    cx.print(format!("{peer}: {}", summary(&stream)));
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        (&mut stream).take(MAX_LINE).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return stream.shutdown().await;
        }
        let session = stream.get_ref().session();
        let early = session.early_data == EarlyStatus::Accepted && stream.get_ref().is_handshaking();
        let text = String::from_utf8_lossy(&line);
        let how = if early { " as early data" } else { "" };
        cx.print(format!("{peer}: received \"{}\"{how}", text.trim_end()));
        match reply {
            Some(reply) => stream.write_all(format!("{reply}\n").as_bytes()).await?,
            None => stream.write_all(&line).await?,
        }
        stream.flush().await?;
    }
}

/// What was agreed on, in a line.
pub(super) fn summary<S>(stream: &TlsStream<S>) -> String {
    let session = stream.session();
    let mut words = vec![session.version.to_string(), session.suite.clone()];
    words.extend(session.group.map(Into::into));
    if session.resumed {
        words.push("resumed".into());
    }
    if let Some(name) = &session.server_name {
        words.push(format!("for {name}"));
    }
    if let Some(protocol) = &session.alpn {
        words.push(format!("speaking {protocol}"));
    }
    if let Some(peer) = session.peer_chain.first().and_then(|der| crate::pki::describe(der)) {
        words.push(format!("with {}", peer.subject));
    }
    words.join(" ")
}
