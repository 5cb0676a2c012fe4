//! HTTP/3 connections (RFC 9114) over h3 and quinn: streams with their handlers, beside the same pages by TCP, which say so in
//! `Alt-Svc` (RFC 7838).

use core::future::poll_fn;
use core::sync::atomic::Ordering;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::server::RequestStream;
use h3_quinn::{BidiStream, SendStream};
use http::{Method, Version};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::message::is_ambiguous;
use super::{AnswerBody, BodyError, Ends, Exchange, Front, Note, RequestBody};
use crate::quic::{Life, server_config, server_endpoint, transport};
use crate::tls::ServerTls;

/// What is written of one stream at a time.
const PIECE: usize = 16 << 10;
/// Pieces of a request's body that wait for its handler.
const PIECES: usize = 4;

/// Serves a UDP port for ever.
pub(super) async fn serve(front: Arc<Front>, port: u16, tls: &ServerTls) -> io::Result<()> {
    let socket = net::UdpSocket::bind(("0.0.0.0", port)).await?;
    let local = socket.local_addr()?;
    let config = server_config(tls, transport(front.limits.keepalive_timeout, None)?, true)?;
    let (endpoint, _plug) = server_endpoint(&front.cx, config, &[], Life::default(), Arc::new(socket))?;
    let places = Arc::new(Semaphore::new(front.limits.worker_connections));
    while let Some(incoming) = endpoint.accept().await {
        let Ok(place) = places.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let front = front.clone();
        net::spawn(async move {
            connection(front, incoming, local).await;
            drop(place);
        });
    }
    Ok(())
}

async fn connection(front: Arc<Front>, incoming: quinn::Incoming, local: SocketAddr) {
    let peer = incoming.remote_address();
    let failed = |error: &dyn core::fmt::Display| {
        front.cx.print(format!("[info] {error} while QUIC handshaking, client: {}", peer.ip()));
    };
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => return failed(&error),
    };
    // Requests in early data are answered half a round trip before the client has finished.
    let quic = match connecting.into_0rtt() {
        Ok((quic, _)) => quic,
        Err(connecting) => match timeout(front.limits.client_header_timeout, connecting).await {
            Ok(Ok(quic)) => quic,
            Ok(Err(error)) => return failed(&error),
            Err(_) => return failed(&"client timed out"),
        },
    };
    let mut builder = h3::server::builder();
    builder.max_field_section_size(front.limits.max_header_size as u64);
    let Ok(mut http) = builder.build::<_, Bytes>(h3_quinn::Connection::new(quic.clone())).await else {
        return;
    };
    let number = front.connections.fetch_add(1, Ordering::Relaxed);
    // An error is the end of the connection: its streams know.
    while let Ok(Some(resolver)) = http.accept().await {
        let (front, quic) = (front.clone(), quic.clone());
        net::spawn(async move {
            // A malformed request is answered by h3 with its stream's reset.
            let Ok((request, stream)) = resolver.resolve_request().await else { return };
            let ends = Ends { local, peer: quic.remote_address(), secure: true, number };
            request_of(front, ends, request, stream).await;
        });
    }
}

async fn request_of(
    front: Arc<Front>,
    ends: Ends,
    request: http::Request<()>,
    stream: RequestStream<BidiStream<Bytes>, Bytes>,
) {
    let (parts, ()) = request.into_parts();
    let target = parts.uri.path_and_query().map_or_else(|| "/".into(), ToString::to_string);
    let authority = parts.uri.authority().map(ToString::to_string);
    let host = || Some(parts.headers.get(http::header::HOST)?.to_str().ok()?.to_string());
    let ambiguous = is_ambiguous(Version::HTTP_3, &parts.headers, authority.is_some());
    let is_head = parts.method == Method::HEAD;
    let (mut send, mut recv) = stream.split();
    if ambiguous {
        return send.stop_stream(Code::H3_MESSAGE_ERROR);
    }
    let bodiless = matches!(parts.method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS)
        && !parts.headers.contains_key(http::header::CONTENT_LENGTH);
    let body = if bodiless {
        RequestBody::Empty
    } else {
        let (pieces, body) = mpsc::channel(PIECES);
        net::spawn(async move {
            loop {
                let piece = match recv.recv_data().await {
                    Ok(Some(mut piece)) => Ok(piece.copy_to_bytes(piece.remaining())),
                    Ok(None) => return,
                    Err(_) => Err(BodyError::Malformed),
                };
                let broken = piece.is_err();
                if pieces.send(piece).await.is_err() || broken {
                    return;
                }
            }
        });
        RequestBody::Pieces(body)
    };
    let exchange = Exchange {
        host: authority.or_else(host).unwrap_or_default(),
        target,
        version: Version::HTTP_3,
        body,
        peer: ends.peer,
        local: ends.local,
        secure: true,
        connection: ends.number,
        note: Note::default(),
        method: parts.method,
        headers: parts.headers,
    };
    let (mut answer, mut entry) = front.answer(exchange).await;
    let mut response = http::Response::new(());
    *response.status_mut() = answer.status;
    for name in [http::header::CONNECTION, http::header::TRANSFER_ENCODING, http::header::UPGRADE] {
        answer.headers.remove(name);
    }
    *response.headers_mut() = answer.headers;
    if send.send_response(response).await.is_err() {
        return;
    }
    if !is_head && write(&mut send, answer.body, &mut entry).await.is_err() {
        return;
    }
    let _ = send.finish().await;
}

/// Writes a body as the windows allow.
async fn write(
    send: &mut RequestStream<SendStream<Bytes>, Bytes>,
    mut body: AnswerBody,
    entry: &mut super::Entry,
) -> Result<(), h3::error::StreamError> {
    while let Some(piece) = poll_fn(|cx| body.poll_piece(cx)).await {
        let Ok(mut piece) = piece else {
            send.stop_stream(Code::H3_INTERNAL_ERROR);
            return Ok(());
        };
        while !piece.is_empty() {
            let now = piece.split_to(piece.len().min(PIECE));
            entry.sent(now.len());
            send.send_data(now).await?;
        }
    }
    Ok(())
}
