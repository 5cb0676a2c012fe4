//! TLS under HTTP: [`crate::tls`] behind what the client and the server ask for.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::client::{BoxFuture, Quic, Secure, Secured, TlsError, locked};
use super::front::Accept;
use super::stream::BoxStream;
use crate::Cx;
use crate::pki::Pki;
use crate::quic;
use crate::tls::{self, ClientOptions, ClientTls, EarlyStatus, ServerOptions, ServerTls, Session};

/// Servers whose protocol a client remembers.
const REMEMBERED: usize = 1024;
/// A QUIC connection without traffic ends after this time, as in browsers.
const QUIC_IDLE: Duration = Duration::from_secs(30);

/// A client's TLS; it remembers sessions.
pub struct Client {
    options: ClientOptions,
    pki: Arc<Pki>,
    cx: Cx,
    /// By what is offered in ALPN.
    made: Mutex<BTreeMap<String, ClientTls>>,
    /// For HTTP/3: made with the first connection.
    quic: Mutex<Option<quinn::Endpoint>>,
    /// What servers chose, for early data, which leaves before they choose again.
    chosen: Mutex<BTreeMap<String, Option<String>>>,
}

impl Client {
    /// From what a file or a command line chose.
    pub fn new(options: ClientOptions, cx: &Cx) -> Client {
        let pki = cx.env().pki.clone();
        Client {
            options,
            pki,
            cx: cx.clone(),
            made: Mutex::default(),
            quic: Mutex::default(),
            chosen: Mutex::default(),
        }
    }

    fn tls(&self, alpn: &[&'static str]) -> Result<ClientTls, tls::TlsError> {
        let mut made = locked(&self.made);
        let key = alpn.join(",");
        if let Some(tls) = made.get(&key) {
            return Ok(tls.clone());
        }
        let mut options = self.options.clone();
        if options.alpn.is_empty() {
            options.alpn = alpn.iter().map(ToString::to_string).collect();
        }
        let tls = ClientTls::new(&options, &self.pki, Some(&self.cx))?;
        made.insert(key, tls.clone());
        Ok(tls)
    }
}

/// Alerts that say that a certificate is no good (RFC 8446 §6.2).
const ABOUT_CERTIFICATES: [&str; 7] = [
    "bad_certificate",
    "unsupported_certificate",
    "certificate_revoked",
    "certificate_expired",
    "certificate_unknown",
    "unknown_ca",
    "bad_certificate_status_response",
];

fn failed(error: &tls::TlsError) -> TlsError {
    let certificate = error.sent.is_some_and(|alert| ABOUT_CERTIFICATES.contains(&alert));
    TlsError { certificate, text: error.to_string() }
}

fn about(session: &Session) -> Vec<String> {
    let mut lines = vec![format!("SSL connection using {} / {}", session.version, session.suite)];
    match &session.alpn {
        Some(alpn) => lines.push(format!("ALPN: server accepted {alpn}")),
        None => lines.push("ALPN: server did not agree on a protocol. Uses default.".into()),
    }
    if session.resumed {
        lines.push("SSL session resumed".into());
    }
    if let Some(doubt) = &session.doubt {
        lines.push(format!("SSL certificate verify result: {doubt}, continuing anyway."));
    }
    lines
}

impl Secure for Client {
    fn secure<'a>(
        &'a self,
        stream: BoxStream,
        host: &'a str,
        alpn: &'a [&'static str],
    ) -> BoxFuture<'a, Result<Secured, TlsError>> {
        Box::pin(async move {
            let tls = self.tls(alpn).map_err(|error| failed(&error))?;
            let name = host.trim_matches(['[', ']']);
            let stream = tls::connect(stream, &tls, name).await.map_err(|error| failed(&error))?;
            let session = stream.session();
            let mut chosen = locked(&self.chosen);
            let agreed = match session.early_data {
                EarlyStatus::Offered => chosen.get(host).cloned().flatten(),
                EarlyStatus::NotSent | EarlyStatus::Accepted | EarlyStatus::Rejected => {
                    if chosen.len() < REMEMBERED {
                        chosen.insert(host.into(), session.alpn.clone());
                    }
                    session.alpn.clone()
                }
            };
            drop(chosen);
            let about = about(session);
            Ok(Secured { stream: Box::new(stream), alpn: agreed, about })
        })
    }
}

impl Quic for Client {
    fn connect<'a>(
        &'a self,
        to: SocketAddr,
        host: &'a str,
    ) -> BoxFuture<'a, Result<quinn::Connection, TlsError>> {
        Box::pin(async move {
            let wrong = |text: String| TlsError { certificate: text.contains("certificate"), text };
            let known = locked(&self.quic).clone();
            let endpoint = match known {
                Some(endpoint) => endpoint,
                None => {
                    let tls = self.tls(&["h3"]).map_err(|error| failed(&error))?;
                    let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
                    let socket = net::UdpSocket::bind(any).await.map_err(|error| wrong(error.to_string()))?;
                    let made = quic::transport(QUIC_IDLE, None)
                        .and_then(|transport| quic::client_endpoint(&self.cx, &tls, transport, socket))
                        .map_err(|error| wrong(error.to_string()))?;
                    locked(&self.quic).get_or_insert(made).clone()
                }
            };
            let connecting = endpoint.connect(to, host).map_err(|error| wrong(error.to_string()))?;
            let connecting = match connecting.into_0rtt() {
                Ok((connection, accepted)) => {
                    if !self.options.early_data {
                        accepted.await;
                    }
                    return Ok(connection);
                }
                Err(connecting) => connecting,
            };
            connecting.await.map_err(|error| wrong(error.to_string()))
        })
    }
}

/// A server's TLS.
pub struct Server(ServerTls);

impl Server {
    /// From what a file chose; the protocols in ALPN are the server's unless the file says others.
    ///
    /// # Errors
    /// Options that do not work together.
    pub fn new(options: &ServerOptions, alpn: &[&'static str], cx: &Cx) -> Result<Server, TlsError> {
        let mut options = options.clone();
        if options.alpn.is_empty() {
            options.alpn = alpn.iter().map(ToString::to_string).collect();
        }
        let tls = ServerTls::new(&options, &cx.env().pki, Some(cx)).map_err(|error| failed(&error))?;
        Ok(Server(tls))
    }
}

impl Accept for Server {
    fn accept(&self, stream: BoxStream) -> BoxFuture<'_, Result<Secured, TlsError>> {
        Box::pin(async move {
            let stream = tls::accept(stream, &self.0).await.map_err(|error| failed(&error))?;
            let session = stream.session();
            let (alpn, about) = (session.alpn.clone(), about(session));
            Ok(Secured { stream: Box::new(stream), alpn, about })
        })
    }
}
