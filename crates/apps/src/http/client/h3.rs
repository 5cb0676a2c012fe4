//! One HTTP/3 connection of a client, over h3 and quinn (RFC 9114).

use core::sync::atomic::{AtomicBool, Ordering};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};
use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::h2::{message, shown_head};
use super::types::Source;
use super::{
    Body, BoxFuture, Config, ConnectionInfo, Error, Event, Marks, Origin, Request, Response, TlsError,
    locked, resolve, write_fields,
};
use crate::http::stream::Counts;

/// Opens QUIC connections.
pub trait Quic: Send + Sync {
    /// The handshake with a server that must prove this name; with `early` it may end before the server has answered, where a
    /// session of before allows it (0-RTT).
    fn connect<'a>(
        &'a self,
        to: SocketAddr,
        host: &'a str,
        early: bool,
    ) -> BoxFuture<'a, Result<QuicConnected, TlsError>>;
}

/// A QUIC connection after its handshake, or in it.
pub struct QuicConnected {
    /// The connection.
    pub connection: quinn::Connection,
    /// Its end on our side.
    pub local: SocketAddr,
    /// The protocol that ALPN chose; with early data the one that it chose the last time.
    pub alpn: Option<String>,
    /// What there is to say about it, a line each.
    pub about: Vec<String>,
    /// What becomes of early data, when they may leave already.
    pub early: Option<quinn::ZeroRttAccepted>,
}

/// Pieces of an answer that wait for their reader.
const PIECES: usize = 16;

/// One connection.
pub(crate) struct Http3 {
    pub(crate) info: Arc<ConnectionInfo>,
    send: SendRequest<OpenStreams, Bytes>,
    closed: Arc<AtomicBool>,
    /// Whether the server took the early data, once it is known; `None` without early data.
    early: Option<watch::Receiver<Option<bool>>>,
}

impl Http3 {
    pub(crate) fn is_usable(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }

    /// Whether the server refused what had left with the first flight: it knows nothing of those streams then.
    async fn was_refused(&self) -> bool {
        let Some(mut early) = self.early.clone() else { return false };
        // Who decides is gone with the connection.
        early.wait_for(Option::is_some).await.is_ok_and(|accepted| *accepted == Some(false))
    }

    async fn failed(&self, error: impl core::fmt::Display) -> Error {
        if self.was_refused().await { Error::EarlyDataRefused } else { failed(error) }
    }
}

fn failed(error: impl core::fmt::Display) -> Error {
    Error::Http3(error.to_string())
}

/// QUIC's handshake, and HTTP/3's settings, with the UDP port where the origin is said to be.
pub(super) async fn open(
    config: &Config,
    origin: &Origin,
    port: u16,
    request: &Request,
    marks: &Arc<Mutex<Marks>>,
    id: u64,
) -> Result<Arc<Http3>, Error> {
    let quic = config.quic.as_ref().filter(|_| origin.secure).ok_or(Error::NoTls)?;
    let addresses = resolve(config, origin).await?;
    locked(marks).dns = Some(Instant::now());
    let ip = addresses.first().copied();
    let ip = ip.ok_or_else(|| Error::Resolve(origin.host.clone(), std::io::ErrorKind::NotFound.into()))?;
    let to = SocketAddr::new(ip, port);
    request.tell(&Event::Trying(to));
    // RFC 8470 §3: what must not happen twice does not travel as early data.
    let early = request.method.is_safe();
    let host = origin.host.trim_matches(['[', ']']);
    let made = quic.connect(to, host, early).await.map_err(Error::Tls)?;
    let now = Instant::now();
    {
        // One handshake does both.
        let mut marks = locked(marks);
        (marks.connect, marks.tls) = (Some(now), Some(now));
    }
    request.tell(&Event::Connected { host: &origin.host, peer: to });
    made.about.iter().for_each(|line| request.tell(&Event::Info(line)));
    let info = Arc::new(ConnectionInfo {
        id,
        local: made.local,
        peer: to,
        host: origin.host.clone(),
        alpn: made.alpn,
        tls: made.about,
        http2: false,
        counts: Arc::new(Counts::default()),
    });
    let closed = Arc::new(AtomicBool::new(false));
    let early = made.early.map(|accepted| {
        let (decide, decided) = watch::channel(None);
        let closed = closed.clone();
        net::spawn(async move {
            let accepted = accepted.await;
            // Nobody may care any more.
            let _ = decide.send(Some(accepted));
            if !accepted {
                closed.store(true, Ordering::Release);
            }
        });
        decided
    });
    let (mut driver, send) =
        h3::client::new(h3_quinn::Connection::new(made.connection)).await.map_err(failed)?;
    let over = closed.clone();
    net::spawn(async move {
        // Its streams have the error.
        let _ = core::future::poll_fn(|cx| driver.poll_close(cx)).await;
        over.store(true, Ordering::Release);
    });
    Ok(Arc::new(Http3 { info, send, closed, early }))
}

/// Sends a request on a stream of its own.
pub(super) async fn send(
    conn: &Arc<Http3>,
    request: &Request,
    marks: Arc<Mutex<Marks>>,
    reused: bool,
) -> Result<Response, Error> {
    if !request.method.is_safe() && conn.was_refused().await {
        return Err(Error::EarlyDataRefused);
    }
    let message = message(request, http::Version::HTTP_3)?;
    let mut shown =
        format!("{} {} HTTP/3\r\nHost: {}\r\n", request.method, request.target(), request.authority());
    write_fields(&mut shown, message.headers());
    shown.push_str("\r\n");
    request.tell(&Event::RequestHead(&shown));
    let asked = async {
        let mut stream = conn.send.clone().send_request(message).await?;
        if !request.body.is_empty() {
            stream.send_data(request.body.clone()).await?;
        }
        stream.finish().await?;
        locked(&marks).sent = Some(Instant::now());
        let answer = stream.recv_response().await?;
        Ok::<_, h3::error::StreamError>((stream, answer))
    };
    let (mut stream, answer) = match asked.await {
        Ok(asked) => asked,
        Err(error) => return Err(conn.failed(error).await),
    };
    locked(&marks).first_byte = Some(Instant::now());
    let (parts, ()) = answer.into_parts();
    let head = shown_head("HTTP/3", parts.status, &parts.headers);
    request.tell(&Event::ResponseHead(&head));
    let (pieces, body) = mpsc::channel(PIECES);
    let keep = conn.clone();
    net::spawn(async move {
        // A connection without any handle would be closed under its last stream.
        let _keep = keep;
        loop {
            let piece = match stream.recv_data().await {
                Ok(Some(mut piece)) => Ok(piece.copy_to_bytes(piece.remaining())),
                Ok(None) => return,
                Err(error) => Err(failed(error)),
            };
            let broken = piece.is_err();
            if pieces.send(piece).await.is_err() || broken {
                return;
            }
        }
    });
    Ok(Response {
        version: http::Version::HTTP_3,
        status: parts.status,
        reason: String::new(),
        headers: parts.headers,
        head,
        interim: Vec::new(),
        body: Body { source: Source::Pieces(body), marks },
        connection: conn.info.clone(),
        reused,
        pushed: false,
        upgraded: None,
    })
}
