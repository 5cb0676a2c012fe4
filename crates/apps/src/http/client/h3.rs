//! One HTTP/3 connection of a client, over h3 and quinn (RFC 9114).

use core::sync::atomic::{AtomicBool, Ordering};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{Buf, Bytes};
use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use tokio::sync::mpsc;
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
    /// The handshake with a server that must prove this name; it may end before the server has answered (early data).
    fn connect<'a>(
        &'a self,
        to: SocketAddr,
        host: &'a str,
    ) -> BoxFuture<'a, Result<quinn::Connection, TlsError>>;
}

/// Pieces of an answer that wait for their reader.
const PIECES: usize = 16;

/// One connection.
pub(crate) struct Http3 {
    pub(crate) info: Arc<ConnectionInfo>,
    send: SendRequest<OpenStreams, Bytes>,
    closed: Arc<AtomicBool>,
}

impl Http3 {
    pub(crate) fn is_usable(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }
}

fn failed(error: impl core::fmt::Display) -> Error {
    Error::Http3(error.to_string())
}

/// QUIC's handshake, and HTTP/3's settings.
pub(super) async fn open(
    config: &Config,
    origin: &Origin,
    request: &Request,
    marks: &Arc<Mutex<Marks>>,
    id: u64,
) -> Result<Arc<Http3>, Error> {
    let quic = config.quic.as_ref().filter(|_| origin.secure).ok_or(Error::NoTls)?;
    let addresses = resolve(config, origin).await?;
    locked(marks).dns = Some(Instant::now());
    let ip = addresses.first().copied();
    let ip = ip.ok_or_else(|| Error::Resolve(origin.host.clone(), std::io::ErrorKind::NotFound.into()))?;
    let to = SocketAddr::new(ip, origin.port);
    request.tell(&Event::Trying(to));
    let connection = quic.connect(to, origin.host.trim_matches(['[', ']'])).await.map_err(Error::Tls)?;
    let now = Instant::now();
    {
        // One handshake does both.
        let mut marks = locked(marks);
        (marks.connect, marks.tls) = (Some(now), Some(now));
    }
    request.tell(&Event::Connected { host: &origin.host, peer: to });
    let local =
        connection.local_ip().map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |ip| (ip, 0).into());
    let info = Arc::new(ConnectionInfo {
        id,
        local,
        peer: to,
        host: origin.host.clone(),
        alpn: Some("h3".into()),
        tls: vec!["SSL connection using TLSv1.3 over QUIC".into(), "ALPN: server accepted h3".into()],
        http2: false,
        counts: Arc::new(Counts::default()),
    });
    let (mut driver, send) = h3::client::new(h3_quinn::Connection::new(connection)).await.map_err(failed)?;
    let closed = Arc::new(AtomicBool::new(false));
    let over = closed.clone();
    net::spawn(async move {
        // Its streams have the error.
        let _ = core::future::poll_fn(|cx| driver.poll_close(cx)).await;
        over.store(true, Ordering::Release);
    });
    Ok(Arc::new(Http3 { info, send, closed }))
}

/// Sends a request on a stream of its own.
pub(super) async fn send(
    conn: &Arc<Http3>,
    request: &Request,
    marks: Arc<Mutex<Marks>>,
    reused: bool,
) -> Result<Response, Error> {
    let message = message(request, http::Version::HTTP_3)?;
    let mut shown =
        format!("{} {} HTTP/3\r\nHost: {}\r\n", request.method, request.target(), request.authority());
    write_fields(&mut shown, message.headers());
    shown.push_str("\r\n");
    request.tell(&Event::RequestHead(&shown));
    let mut stream = conn.send.clone().send_request(message).await.map_err(failed)?;
    if !request.body.is_empty() {
        stream.send_data(request.body.clone()).await.map_err(failed)?;
    }
    stream.finish().await.map_err(failed)?;
    locked(&marks).sent = Some(Instant::now());
    let answer = stream.recv_response().await.map_err(failed)?;
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
