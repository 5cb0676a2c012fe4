//! A request as it goes to an upstream server, and its answer as it goes back (RFC 9110 §7.6; `ngx_http_proxy_module`).

use std::io;

use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HOST, HeaderMap, HeaderName, HeaderValue, SERVER, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::forward::{Forward, Passed};
use super::log::Told;
use crate::http::client::{Response, write_fields};
use crate::http::front::{Answer, AnswerBody};

/// Pieces of a body between the two connections.
const PIECES: usize = 4;

impl Forward {
    /// The request as the server gets it: HTTP/1.0 and `Connection: close` unless connections are kept.
    pub(super) fn head(&self, passed: &Passed, peer: usize) -> String {
        let version = if self.proxy.keepalive > 0 { '1' } else { '0' };
        let mut head = format!("{} {} HTTP/1.{version}\r\n", passed.method, passed.target);
        let mut headers = passed.headers.clone();
        drop_hop_by_hop(&mut headers);
        headers.remove(CONTENT_LENGTH);
        headers.remove(HOST);
        let proxy_host = {
            let (host, port) = self.peers.address(peer);
            if port == 80 { host } else { format!("{host}:{port}") }
        };
        let mut host = proxy_host;
        for (name, value) in &self.proxy.proxy_set_header {
            let client = passed.client.ip().to_string();
            let before = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
            let chain = before.map_or_else(|| client.clone(), |before| format!("{before}, {client}"));
            let value = value
                .replace("$proxy_add_x_forwarded_for", &chain)
                .replace("$remote_addr", &client)
                .replace("$host", &passed.host);
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
            if name == HOST {
                host = value;
            } else if value.is_empty() {
                headers.remove(name);
            } else if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        head.push_str(&format!("Host: {host}\r\n"));
        if self.proxy.keepalive == 0 {
            head.push_str("Connection: close\r\n");
        }
        if !passed.body.is_empty() || passed.headers.contains_key(CONTENT_LENGTH) {
            head.push_str(&format!("Content-Length: {}\r\n", passed.body.len()));
        }
        write_fields(&mut head, &headers);
        head.push_str("\r\n");
        head
    }

    /// The answer on its way to the client.
    pub(super) fn hand_back(&self, response: Response, mut told: Told) -> Answer {
        let mut answer = Answer::new(response.status);
        answer.headers = response.headers;
        drop_hop_by_hop(&mut answer.headers);
        // nginx hides them and writes its own.
        answer.headers.remove(DATE);
        answer.headers.remove(SERVER);
        let pause = self.time(self.proxy.proxy_read_timeout);
        let (pieces, rest) = mpsc::channel(PIECES);
        let mut body = response.body;
        net::spawn(async move {
            loop {
                let piece = match timeout(pause, body.chunk()).await {
                    Ok(Ok(Some(piece))) => Ok(piece),
                    Ok(Ok(None)) => break,
                    Ok(Err(error)) => Err(io::Error::other(error.to_string())),
                    Err(_) => Err(io::ErrorKind::TimedOut.into()),
                };
                let broken = piece.is_err();
                // A client that is gone drops the body, and with it the connection.
                if pieces.send(piece).await.is_err() || broken {
                    break;
                }
            }
            let asked = told.asked;
            if let Some(seen) = told.all.last_mut() {
                seen.response = Some(asked.elapsed());
            }
            // The note is set before the client's side hears of the end.
            drop(told);
            drop(pieces);
        });
        answer.body = AnswerBody::Pieces(rest);
        answer
    }
}

/// Fields of one connection (RFC 9110 §7.6.1).
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect();
    let always = [
        CONNECTION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    for name in named.iter().chain(&always) {
        headers.remove(name);
    }
}
