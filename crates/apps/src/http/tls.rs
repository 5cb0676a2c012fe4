//! TLS under HTTP: [`crate::tls`] behind what the client and the server ask for.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use quinn::TokenMemoryCache;

use super::client::{BoxFuture, Quic, QuicConnected, Secure, Secured, TlsError, locked};
use super::front::Accept;
use super::stream::BoxStream;
use crate::Cx;
use crate::pki::Pki;
use crate::quic::{self, Qlog, Side};
use crate::tls::{self, ClientOptions, ClientTls, EarlyStatus, ServerOptions, ServerTls, Session};

/// Servers whose protocol a client remembers.
const REMEMBERED: usize = 1024;
/// QUIC connections of one client that leave a qlog.
const MAX_QLOGS: usize = 16;
/// A QUIC connection without traffic ends after this time, as in browsers.
const QUIC_IDLE: Duration = Duration::from_secs(30);

/// A client's TLS; it remembers sessions.
pub struct Client {
    options: ClientOptions,
    pki: Arc<Pki>,
    cx: Cx,
    /// By what is offered in ALPN.
    made: Mutex<BTreeMap<String, ClientTls>>,
    /// For HTTP/3: addresses that servers believe.
    tokens: Arc<TokenMemoryCache>,
    /// Its QUIC connections so far, and the first ones' insides.
    qlogs: Mutex<(u64, Vec<Qlog>)>,
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
            tokens: Arc::default(),
            qlogs: Mutex::default(),
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

fn about_alpn(alpn: Option<&str>) -> String {
    match alpn {
        Some(alpn) => format!("ALPN: server accepted {alpn}"),
        None => "ALPN: server did not agree on a protocol. Uses default.".into(),
    }
}

fn about(session: &Session) -> Vec<String> {
    let mut lines = vec![format!("SSL connection using {} / {}", session.version, session.suite)];
    lines.push(about_alpn(session.alpn.as_deref()));
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
        early: bool,
    ) -> BoxFuture<'a, Result<QuicConnected, TlsError>> {
        Box::pin(async move {
            let wrong = |text: String| TlsError { certificate: text.contains("certificate"), text };
            let failed = |error: &dyn core::fmt::Display| wrong(error.to_string());
            let tls = self.tls(&["h3"]).map_err(|error| failed(&error))?;
            // A socket for each connection, as Chromium has it: connected, so that it has an address and hears of ICMP errors.
            let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
            let socket = net::UdpSocket::bind(any).await.map_err(|error| failed(&error))?;
            socket.connect(to).await.map_err(|error| failed(&error))?;
            let local = socket.local_addr().map_err(|error| failed(&error))?;
            let (nth, start) = self.qlog();
            let config = quic::transport(QUIC_IDLE, start)
                .and_then(|transport| quic::client_config(&tls, transport, self.tokens.clone()))
                .map_err(|error| failed(&error))?;
            let endpoint = quic::client_endpoint(&self.cx, nth, socket).map_err(|error| failed(&error))?;
            let connecting = endpoint.connect_with(config, to, host).map_err(|error| failed(&error))?;
            let known = format!("{host} by QUIC");
            let (connection, early) = match connecting.into_0rtt() {
                Ok((connection, accepted)) if early && self.options.early_data => {
                    (connection, Some(accepted))
                }
                Ok((connection, accepted)) => {
                    accepted.await;
                    (connection, None)
                }
                Err(connecting) => (connecting.await.map_err(|error| failed(&error))?, None),
            };
            let mut chosen = locked(&self.chosen);
            let alpn = match quic::negotiated(&connection) {
                Some(alpn) => {
                    if chosen.len() < REMEMBERED {
                        chosen.insert(known, alpn.clone());
                    }
                    alpn
                }
                None => chosen.get(&known).cloned().flatten(),
            };
            drop(chosen);
            let mut about = vec![format!("QUIC connection from {local}"), about_alpn(alpn.as_deref())];
            if early.is_some() {
                about.push("early data may leave before the handshake ends".into());
            }
            Ok(QuicConnected { connection, local, alpn, about, early })
        })
    }
}

impl Client {
    /// The number of a new QUIC connection, and its qlog, which is left beside the capture when the client ends.
    fn qlog(&self) -> (u64, Option<quic::QlogStart>) {
        let mut qlogs = locked(&self.qlogs);
        let nth = qlogs.0;
        qlogs.0 += 1;
        if qlogs.1.len() >= MAX_QLOGS {
            return (nth, None);
        }
        let title = format!("{} on {}, connection {}", self.cx.name(), self.cx.env().host, nth + 1);
        let (qlog, start) = Qlog::new(title, Side::Client);
        qlogs.1.push(qlog);
        (nth, Some(start))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for (nth, qlog) in locked(&self.qlogs).1.iter().enumerate() {
            let number = if nth == 0 { String::new() } else { format!("-{}", nth + 1) };
            self.cx.file(&format!("{}{number}.sqlog", self.cx.name()), qlog.take());
        }
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
