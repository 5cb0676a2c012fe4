//! Attackers on the way, for worlds that have them: `tls-interceptor` speaks TLS to both sides with a certificate of its own
//! making, as a company's proxy, a virus scanner or Charles does; `tls-replayer` passes bytes on unread and says the first
//! of them again later. Both only ever run on hosts of the simulated world.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use net::{TcpListener, TcpStream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::server::below;
use super::{ClientOptions, ClientTls, ServerOptions, ServerTls, Verify};
use crate::app::read_table;
use crate::pki::KeyWord;
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// A man in the middle of TLS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsInterceptor {
    /// The port on which it takes the place of the server; 443 unless given.
    #[serde(default = "https")]
    pub port: u16,
    /// The real server: `server:443`.
    pub to: String,
    /// The names that it pretends to be: it makes a certificate for each.
    pub names: Vec<String>,
    /// The authority that signs those, by name in the file's certificates. Clients that trust it believe them.
    pub issuer: String,
}

/// One who repeats what he cannot read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsReplayer {
    /// The port on which it passes connections on; 443 unless given.
    #[serde(default = "https")]
    pub port: u16,
    /// The real server: `server:443`.
    pub to: String,
    /// Which connection's first flight it says again, counted from 1.
    pub connection: u16,
    /// How often; once unless given.
    #[serde(default = "one")]
    pub times: u16,
}

fn https() -> u16 {
    443
}

fn one() -> u16 {
    1
}

/// What is passed on at a time.
const BUFFER: usize = 16 << 10;
/// The longest first flight that is kept.
const MAX_FLIGHT: usize = 64 << 10;
/// How long after the connection it is said again.
const LATER: Duration = Duration::from_secs(1);
/// How long an answer to it is waited for.
const LISTEN: Duration = Duration::from_secs(5);

/// Reads the table of `tls-interceptor`.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let app: TlsInterceptor = read_table(table)?;
    let mut problems = Vec::new();
    let problem = |path: &str, message: String| Problem { path: vec![path.into()], message, help: None };
    if env.pki.table(&app.issuer).is_none() {
        problems.push(problem("issuer", format!("there is no certificate `{}`", app.issuer)));
    }
    if app.names.is_empty() {
        problems.push(problem("names", "it pretends to be nobody".into()));
    }
    let bad = app.names.iter().enumerate().filter(|(_, name)| {
        env.pki.table(&app.issuer).is_some() && env.pki.forge(&app.issuer, name, KeyWord::Ed25519).is_none()
    });
    let bad =
        bad.map(|(index, name)| problem(&index.to_string(), format!("`{name}` is no name of a server")));
    problems.extend(below("names", bad.collect()));
    if problems.is_empty() { Ok(Arc::new(app)) } else { Err(problems) }
}

/// Reads the table of `tls-replayer`.
///
/// # Errors
/// What is wrong with it.
pub fn read_replayer(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    crate::from_table::<TlsReplayer>(table, env)
}

impl App for TlsInterceptor {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            if let Err(error) = self.listen(&cx).await {
                cx.print(format!("tls-interceptor: {error}"));
            }
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

impl TlsInterceptor {
    async fn listen(&self, cx: &Cx) -> io::Result<()> {
        let pki = &cx.env().pki;
        let forged = self.names.iter().filter_map(|name| pki.forge(&self.issuer, name, KeyWord::Ed25519));
        let forged: Vec<_> = forged.collect();
        let towards_client = ServerTls::with_identities(&ServerOptions::default(), &forged, pki, Some(cx))?;
        let options = ClientOptions { verify: Verify::Off, ..ClientOptions::default() };
        let towards_server = ClientTls::new(&options, pki, Some(cx))?;
        let listener = TcpListener::bind(("0.0.0.0", self.port)).await?;
        loop {
            let (tcp, peer) = listener.accept().await?;
            let (client, server) = (towards_client.clone(), towards_server.clone());
            let (cx, to, fallback) = (cx.clone(), self.to.clone(), self.names[0].clone());
            net::spawn(async move {
                if let Err(error) = intercept(tcp, &client, &server, &to, &fallback, &cx).await {
                    cx.print(format!("{peer}: {error}"));
                }
            });
        }
    }
}

async fn intercept(
    tcp: TcpStream,
    client: &ServerTls,
    server: &ClientTls,
    to: &str,
    fallback: &str,
    cx: &Cx,
) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let towards_client = super::accept(tcp, client).await.map_err(|error| whose("the client", &error))?;
    let name = towards_client.session().server_name.clone().unwrap_or_else(|| fallback.into());
    let tcp = TcpStream::connect(to).await?;
    tcp.set_nodelay(true)?;
    let towards_server =
        super::connect(tcp, server, &name).await.map_err(|error| whose("the server", &error))?;
    let (from_client, to_client) = tokio::io::split(towards_client);
    let (from_server, to_server) = tokio::io::split(towards_server);
    // Where one side fails, the other learns of it.
    let up = async {
        relay(from_client, to_server, "the client says", cx).await.map_err(|e| whose("the client", &e))
    };
    let down = async {
        relay(from_server, to_client, "the server says", cx).await.map_err(|e| whose("the server", &e))
    };
    tokio::try_join!(down, up).map(drop)
}

fn whose(side: &str, error: &dyn core::fmt::Display) -> io::Error {
    io::Error::other(format!("{side}: {error}"))
}

async fn relay(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    says: &str,
    cx: &Cx,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return to.shutdown().await;
        }
        for line in String::from_utf8_lossy(&buffer[..n]).lines() {
            cx.print(format!("{says}: {}", line.escape_debug()));
        }
        to.write_all(&buffer[..n]).await?;
        to.flush().await?;
    }
}

impl App for TlsReplayer {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            if let Err(error) = self.listen(&cx).await {
                cx.print(format!("tls-replayer: {error}"));
            }
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

impl TlsReplayer {
    async fn listen(&self, cx: &Cx) -> io::Result<()> {
        let listener = TcpListener::bind(("0.0.0.0", self.port)).await?;
        let mut number = 0_u16;
        loop {
            let (client, peer) = listener.accept().await?;
            number = number.saturating_add(1);
            let again = if number == self.connection { self.times } else { 0 };
            let (cx, to) = (cx.clone(), self.to.clone());
            net::spawn(async move {
                if let Err(error) = pass(client, peer, &to, again, &cx).await {
                    cx.print(format!("{peer}: {error}"));
                }
            });
        }
    }
}

/// Passes a connection on; what the client said before the server said anything is said again afterwards.
async fn pass(mut client: TcpStream, peer: SocketAddr, to: &str, again: u16, cx: &Cx) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut server = TcpStream::connect(to).await?;
    server.set_nodelay(true)?;
    let mut flight = Vec::new();
    let [mut up, mut down] = [vec![0; BUFFER], vec![0; BUFFER]];
    loop {
        tokio::select! {
            biased;
            n = client.read(&mut up) => match n? {
                0 => break,
                n => {
                    flight.extend_from_slice(&up[..n]);
                    server.write_all(&up[..n]).await?;
                }
            },
            n = server.read(&mut down) => {
                client.write_all(&down[..n?]).await?;
                break;
            }
        }
        if flight.len() > MAX_FLIGHT {
            break;
        }
    }
    // A peer that is gone ends the rest.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    for _ in 0..again {
        tokio::time::sleep(LATER).await;
        cx.print(format!("says the first {} bytes of {peer} again", flight.len()));
        let mut server = TcpStream::connect(to).await?;
        server.write_all(&flight).await?;
        let mut answer = Vec::new();
        let listened = tokio::time::timeout(LISTEN, server.read_to_end(&mut answer)).await;
        let end = if listened.is_err() { "and waits" } else { "and closes" };
        cx.print(format!("the server answers {} bytes that nobody can read, {end}", answer.len()));
    }
    Ok(())
}
