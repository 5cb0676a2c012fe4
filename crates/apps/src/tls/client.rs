//! `tls-client`: says a line to a server behind TLS, once or several times, and tells what was agreed on and how long the
//! answer took. `tls-round-trips`: the same for several ways of setting up a connection, as a table.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use net::{TcpSocket, TcpStream};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::{Instant, timeout};

use super::server::{below, summary};
use super::{ClientOptions, ClientTls, EarlyStatus, VersionWord};
use crate::app::read_table;
use crate::quic;
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// A client behind TLS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsClient {
    /// The server: `server:443`; the port is 443 unless given.
    pub to: String,
    /// The name that the server must prove; that of `to` unless given.
    pub name: Option<String>,
    /// The line that it says; `hello` unless given.
    #[serde(default = "hello")]
    pub send: String,
    /// How many connections it makes, one after another; 1 unless given.
    #[serde(default = "one")]
    pub times: u16,
    /// true: the first data leave with the SYN when the server gave a cookie before (TCP Fast Open).
    #[serde(default)]
    pub fast_open: bool,
    /// What it offers and believes.
    #[serde(default)]
    pub tls: ClientOptions,
}

/// Several ways to set up a connection, compared.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsRoundTrips {
    /// The name that the servers must prove.
    pub name: String,
    /// The ways, in the order of the table.
    pub ways: Vec<Way>,
}

/// One way to set up a connection.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Way {
    /// Its name in the table.
    pub label: String,
    /// The server: `server:443`.
    pub to: String,
    /// true: what is measured is the second visit, which has a session or a cookie from the first.
    #[serde(default)]
    pub again: bool,
    /// true: TCP Fast Open.
    #[serde(default)]
    pub fast_open: bool,
    /// true: QUIC instead of TCP, to a `quic-server`; with `early_data` in `tls` its 0-RTT.
    #[serde(default)]
    pub quic: bool,
    /// TLS; none at all unless given.
    pub tls: Option<ClientOptions>,
    /// How many round trips it takes from the SYN until the first byte of the answer: anything else is a failure.
    pub round_trips: Option<u16>,
}

fn hello() -> String {
    "hello".into()
}

fn one() -> u16 {
    1
}

/// The longest answer.
const MAX_LINE: u64 = 16 << 10;
/// How long one visit may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two visits: goodbyes and tickets are on their way.
const PAUSE: Duration = Duration::from_secs(1);
/// Rows of one table.
const MAX_WAYS: usize = 64;

/// What one visit saw.
struct Visit {
    /// From the SYN until the connection stood; with Fast Open no time at all.
    tcp: Duration,
    /// From the SYN until the answer.
    answer: Duration,
    line: String,
    /// What TLS agreed on.
    summary: Option<String>,
    early: EarlyStatus,
}

async fn open(to: &str, fast_open: bool) -> io::Result<TcpStream> {
    let to = if to.rsplit_once(':').is_some_and(|(host, _)| !host.ends_with(':')) {
        to.to_string()
    } else {
        format!("{to}:443")
    };
    let tcp = if fast_open {
        let mut addresses = net::lookup_host(to.as_str()).await?;
        let address = addresses.find(std::net::SocketAddr::is_ipv4);
        let address =
            address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it has no IPv4 address"))?;
        let socket = TcpSocket::new_v4()?;
        socket.set_fastopen_connect(true)?;
        socket.connect(address).await?
    } else {
        TcpStream::connect(to.as_str()).await?
    };
    // As curl and browsers do.
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

async fn visit(to: &str, fast_open: bool, tls: Option<(&ClientTls, &str)>, line: &str) -> io::Result<Visit> {
    let start = Instant::now();
    let stream =
        open(to, fast_open).await.map_err(|error| io::Error::new(error.kind(), format!("{to}: {error}")))?;
    let tcp = start.elapsed();
    let Some((tls, name)) = tls else {
        let (_, line, answer) = talk(stream, line, start).await?;
        return Ok(Visit { tcp, answer, line, summary: None, early: EarlyStatus::NotSent });
    };
    let stream = super::connect(stream, tls, name).await?;
    let (stream, line, answer) = talk(stream, line, start).await?;
    Ok(Visit { tcp, answer, line, summary: Some(summary(&stream)), early: stream.session().early_data })
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    line: &str,
    start: Instant,
) -> io::Result<(S, String, Duration)> {
    let mut stream = BufReader::new(stream);
    stream.write_all(format!("{line}\n").as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    (&mut stream).take(MAX_LINE).read_until(b'\n', &mut answer).await?;
    let taken = start.elapsed();
    stream.shutdown().await?;
    // Until the server has closed too: an end that is read is no reset. Who does not say goodbye is no failure.
    let _ =
        timeout(PATIENCE, tokio::io::copy(&mut (&mut stream).take(MAX_LINE), &mut tokio::io::sink())).await;
    if answer.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the server closed the connection without an answer",
        ));
    }
    Ok((stream.into_inner(), String::from_utf8_lossy(&answer).trim_end().into(), taken))
}

/// A way by QUIC: what its visits have in common.
struct ByQuic {
    to: String,
    name: String,
    early: bool,
    config: quinn::ClientConfig,
}

/// What is asked of a `quic-server`: five bytes, as long as the word of the others.
const ASKED: &[u8] = b"GET /5\r\n";

impl ByQuic {
    fn new(way: &Way, name: &str, cx: &Cx) -> io::Result<ByQuic> {
        let mut options = way.tls.clone().unwrap_or_default();
        if options.alpn.is_empty() {
            options.alpn = vec![quic::ALPN.into()];
        }
        let tls = ClientTls::new(&options, &cx.env().pki, Some(cx))?;
        let config = quic::client_config(&tls, quic::transport(PATIENCE, None)?, Arc::default())?;
        Ok(ByQuic { to: way.to.clone(), name: name.into(), early: options.early_data, config })
    }

    /// The `nth` of the program's visits by QUIC.
    async fn visit(&self, nth: u64, cx: &Cx) -> io::Result<Visit> {
        let to = net::lookup_host(self.to.as_str()).await?.next();
        let to = to.ok_or_else(|| io::Error::other(format!("{} has no address", self.to)))?;
        let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let endpoint = quic::client_endpoint(cx, nth, net::UdpSocket::bind(any).await?)?;
        let start = Instant::now();
        let connecting = endpoint.connect_with(self.config.clone(), to, &self.name);
        let (connection, accepted) = match connecting.map_err(io::Error::other)?.into_0rtt() {
            Ok((connection, accepted)) if self.early => (connection, Some(accepted)),
            Ok((connection, accepted)) => {
                accepted.await;
                (connection, None)
            }
            Err(connecting) => (connecting.await?, None),
        };
        let (mut send, mut recv) = connection.open_bi().await?;
        send.write_all(ASKED).await?;
        send.finish().map_err(io::Error::other)?;
        let first = recv.read_chunk(usize::MAX, true).await?;
        let answer = start.elapsed();
        let bytes = first.map(|chunk| chunk.bytes).ok_or(io::ErrorKind::UnexpectedEof)?;
        let early = match accepted {
            None => EarlyStatus::NotSent,
            Some(accepted) => {
                if accepted.await {
                    EarlyStatus::Accepted
                } else {
                    EarlyStatus::Rejected
                }
            }
        };
        let agreed = quic::negotiated(&connection).flatten().unwrap_or_else(|| "no ALPN".into());
        let data = if early == EarlyStatus::Accepted { ", early data accepted" } else { "" };
        // Tickets for the next visit are on their way.
        tokio::time::sleep(PAUSE).await;
        connection.close(0_u32.into(), b"");
        endpoint.wait_idle().await;
        let line = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Visit { tcp: Duration::ZERO, answer, line, summary: Some(format!("QUIC, {agreed}{data}")), early })
    }
}

async fn patient<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 60 s")))
}

/// `40 ms`, `40.125 ms`
fn milliseconds(time: Duration) -> String {
    let micros = time.as_micros();
    match micros % 1000 {
        0 => format!("{} ms", micros / 1000),
        rest => format!("{}.{rest:03} ms", micros / 1000),
    }
}

/// The host of `host:port`.
fn host_of(to: &str) -> &str {
    to.rsplit_once(':').map_or(to, |(host, _)| host)
}

/// Reads the table of `tls-client`.
///
/// # Errors
/// What is wrong with it.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let client: TlsClient = read_table(table)?;
    let problems = below("tls", client.tls.check(env));
    if problems.is_empty() { Ok(Arc::new(client)) } else { Err(problems) }
}

impl App for TlsClient {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            match self.visits(&cx).await {
                Ok(()) => 0,
                Err(error) => {
                    cx.print(format!("tls-client: {error}"));
                    1
                }
            }
        })
    }
}

impl TlsClient {
    async fn visits(&self, cx: &Cx) -> io::Result<()> {
        let tls = ClientTls::new(&self.tls, &cx.env().pki, Some(cx))?;
        let name = self.name.as_deref().unwrap_or_else(|| host_of(&self.to));
        for number in 0..self.times {
            if number > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let seen = patient(visit(&self.to, self.fast_open, Some((&tls, name)), &self.send)).await?;
            cx.print(seen.summary.unwrap_or_default());
            let early = match seen.early {
                EarlyStatus::NotSent | EarlyStatus::Offered => "",
                EarlyStatus::Accepted => "; the question was early data",
                EarlyStatus::Rejected => "; early data was refused and sent again",
            };
            let (answer, tcp) = (milliseconds(seen.answer), milliseconds(seen.tcp));
            cx.print(format!("\"{}\" after {answer}, TCP's {tcp} included{early}", seen.line));
        }
        Ok(())
    }
}

/// Reads the table of `tls-round-trips`.
///
/// # Errors
/// What is wrong with it.
pub fn read_round_trips(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let app: TlsRoundTrips = read_table(table)?;
    let mut problems = Vec::new();
    for (index, way) in app.ways.iter().enumerate() {
        if way.quic
            && (way.fast_open
                || way.tls.as_ref().is_none_or(|tls| !tls.versions.contains(&VersionWord::Tls13)))
        {
            let message = "QUIC has TLS 1.3 inside, and no TCP under it".to_string();
            let help = Some("tls = { versions = [\"1.3\"] }, and no fast_open".to_string());
            let path = vec!["ways".into(), index.to_string(), "quic".into()];
            problems.push(Problem { path, message, help });
        }
        let found = way.tls.as_ref().map(|tls| tls.check(env)).unwrap_or_default();
        problems.extend(below("ways", below(&index.to_string(), below("tls", found))));
    }
    if app.ways.is_empty() || app.ways.len() > MAX_WAYS {
        let message = format!("there must be 1 to {MAX_WAYS} ways");
        problems.push(Problem { path: vec!["ways".into()], message, help: None });
    }
    if problems.is_empty() { Ok(Arc::new(app)) } else { Err(problems) }
}

impl App for TlsRoundTrips {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            match self.table(&cx).await {
                Ok(status) => status,
                Err(error) => {
                    cx.print(format!("tls-round-trips: {error}"));
                    1
                }
            }
        })
    }
}

impl TlsRoundTrips {
    async fn table(&self, cx: &Cx) -> io::Result<i32> {
        let width = self.ways.iter().map(|way| way.label.chars().count()).max().unwrap_or(0);
        let mut status = 0;
        // The first connection of all also asks for addresses.
        drop(open(&self.ways[0].to, false).await?);
        tokio::time::sleep(PAUSE).await;
        let mut nth = 0;
        for way in &self.ways {
            // TCP's own handshake is one round trip: the measure of all.
            let start = Instant::now();
            drop(open(&way.to, false).await?);
            let round_trip = start.elapsed();
            tokio::time::sleep(PAUSE).await;
            let mut seen = None;
            let quic = if way.quic { Some(ByQuic::new(way, &self.name, cx)?) } else { None };
            let tls = way.tls.as_ref().map(|tls| ClientTls::new(tls, &cx.env().pki, Some(cx))).transpose()?;
            let with = tls.as_ref().map(|tls| (tls, self.name.as_str()));
            for _ in 0..if way.again { 2 } else { 1 } {
                nth += 1;
                seen = Some(match &quic {
                    Some(quic) => patient(quic.visit(nth, cx)).await?,
                    None => patient(visit(&way.to, way.fast_open, with, "hello")).await?,
                });
                tokio::time::sleep(PAUSE).await;
            }
            let Some(seen) = seen else { continue };
            let trips = seen.answer.as_nanos().checked_div(round_trip.as_nanos()).unwrap_or(0);
            let exact = trips * round_trip.as_nanos() == seen.answer.as_nanos();
            let agreed = seen.summary.unwrap_or_else(|| "plain text".into());
            let about = if exact { "" } else { "more than " };
            let trips_word = if trips == 1 { "round trip" } else { "round trips" };
            let answer = milliseconds(seen.answer);
            let padding = " ".repeat(width - way.label.chars().count());
            cx.print(format!("{}{padding}  {about}{trips} {trips_word}, {answer}  ({agreed})", way.label));
            if let Some(wanted) = way.round_trips
                && (u128::from(wanted) != trips || !exact)
            {
                cx.print(format!("  but it should be {wanted}"));
                status = 1;
            }
        }
        Ok(status)
    }
}
