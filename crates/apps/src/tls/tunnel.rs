//! `tls-tunnel`: one end of a tunnel between two gateways, as stunnel does it: what comes to the near end in the clear leaves it in
//! TLS, and what comes to the far end in TLS leaves it in the clear. It carries the bytes of connections, not packets: each end has a
//! TCP of its own with its own segments, so that nothing grows too large for anybody. Both ends prove themselves (mutual TLS).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use net::{TcpListener, TcpStream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::server::below;
use super::{ClientOptions, ClientTls, ServerOptions, ServerTls};
use crate::app::read_table;
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// An end of a tunnel. With `client` it takes plain connections and opens encrypted ones, with `server` the other way round.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsTunnel {
    /// The port on which connections come.
    pub port: u16,
    /// Where they go on to: the other end, or whom they are for.
    pub to: String,
    /// The near end: it opens TLS.
    #[serde(default)]
    pub client: Option<ClientOptions>,
    /// The name that the far end must prove, with `client`.
    #[serde(default)]
    pub name: Option<String>,
    /// The far end: it takes TLS.
    #[serde(default)]
    pub server: Option<ServerOptions>,
}

/// What is passed on at a time: the largest TLS record.
const BUFFER: usize = 16 << 10;
/// Connections at a time.
const CONNECTIONS: usize = 1024;
/// How long the other side's handshakes may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads the table.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let app: TlsTunnel = read_table(table)?;
    let mut problems = Vec::new();
    let mut wrong = |key: &str, message: &str, help: &str| {
        let path = Some(key.to_string()).into_iter().filter(|key| !key.is_empty()).collect();
        problems.push(Problem { path, message: message.into(), help: Some(help.into()) });
    };
    if app.client.is_some() == app.server.is_some() {
        wrong(
            "",
            "an end of a tunnel is either its client or its server",
            "client = {} or server = { certificate = \"…\" }",
        );
    }
    if app.client.is_some() != app.name.is_some() {
        wrong(
            "name",
            "the near end knows the name of the far end, and only it does",
            "name = \"gw2.example\" beside client",
        );
    }
    if !app.to.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
        wrong("to", "this is no host with a port", "to = \"bob:9\"");
    }
    problems.extend(below("client", app.client.iter().flat_map(|tls| tls.check(env)).collect()));
    problems.extend(below("server", app.server.iter().flat_map(|tls| tls.check(env)).collect()));
    if problems.is_empty() { Ok(Arc::new(app)) } else { Err(problems) }
}

/// The end's TLS, made once.
enum End {
    Near(ClientTls, String),
    Far(ServerTls),
}

impl App for TlsTunnel {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            if let Err(error) = self.listen(&cx).await {
                cx.print(format!("tls-tunnel: {error}"));
            }
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

impl TlsTunnel {
    fn end(&self, cx: &Cx) -> io::Result<End> {
        let pki = &cx.env().pki;
        Ok(match (&self.client, &self.server) {
            (Some(options), _) => {
                End::Near(ClientTls::new(options, pki, Some(cx))?, self.name.clone().unwrap_or_default())
            }
            (None, options) => End::Far(ServerTls::new(
                options.as_ref().unwrap_or(&ServerOptions::default()),
                pki,
                Some(cx),
            )?),
        })
    }

    async fn listen(&self, cx: &Cx) -> io::Result<()> {
        let end = Arc::new(self.end(cx)?);
        let listener = TcpListener::bind(("0.0.0.0", self.port)).await?;
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let (tcp, peer) = listener.accept().await?;
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let (end, cx, to) = (end.clone(), cx.clone(), self.to.clone());
            net::spawn(async move {
                match carry(tcp, &end, &to).await {
                    Ok((there, back)) => {
                        cx.print(format!("{peer}: carried {there} bytes to {to} and {back} back"))
                    }
                    Err(error) => cx.print(format!("{peer}: {error}")),
                }
                drop(place);
            });
        }
    }
}

async fn carry(tcp: TcpStream, end: &End, to: &str) -> io::Result<(u64, u64)> {
    tcp.set_nodelay(true)?;
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    match end {
        End::Near(tls, name) => {
            let onward = timeout(PATIENCE, TcpStream::connect(to)).await.map_err(late)??;
            onward.set_nodelay(true)?;
            let onward = timeout(PATIENCE, super::connect(onward, tls, name)).await.map_err(late)??;
            both(tcp, onward).await
        }
        End::Far(tls) => {
            let inward = timeout(PATIENCE, super::accept(tcp, tls)).await.map_err(late)??;
            let onward = timeout(PATIENCE, TcpStream::connect(to)).await.map_err(late)??;
            onward.set_nodelay(true)?;
            both(inward, onward).await
        }
    }
}

/// Passes on both directions until both are over; the bytes of each.
async fn both(
    one: impl AsyncRead + AsyncWrite + Unpin,
    other: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<(u64, u64)> {
    let (one_out, one_in) = tokio::io::split(one);
    let (other_out, other_in) = tokio::io::split(other);
    let (there, back) = (AtomicU64::new(0), AtomicU64::new(0));
    tokio::try_join!(pass(one_out, other_in, &there), pass(other_out, one_in, &back))?;
    Ok((there.into_inner(), back.into_inner()))
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return to.shutdown().await;
        }
        count.fetch_add(n as u64, Ordering::Relaxed);
        to.write_all(&buffer[..n]).await?;
        to.flush().await?;
    }
}
