//! The same over BoringSSL, for what rustls leaves out: the static RSA key exchange (RFC 5246 §7.4.7.1) and False Start
//! (RFC 7918). Certificates are checked by the same code as with rustls.
//!
//! The only unsafe code of this crate is here: two settings that the boring crate does not wrap, and `set_session`.

#![expect(unsafe_code, reason = "three calls of BoringSSL that the boring crate leaves to its user")]

use core::pin::Pin;
use core::task::{Context, Poll};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use boring::error::ErrorStack;
use boring::ex_data::Index;
use boring::pkey::PKey;
use boring::ssl::{
    AlpnError, Ssl, SslAlert, SslContext, SslContextBuilder, SslInfoCallbackMode, SslInfoCallbackValue,
    SslMethod, SslOptions, SslRef, SslSession, SslSessionCacheMode, SslSignatureAlgorithm, SslVerifyError,
    SslVerifyMode, SslVersion, select_next_proto,
};
use boring::x509::X509;
use foreign_types::ForeignTypeRef;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, Error};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::error::{TlsError, alert_name, certificate_words};
use super::options::{ClientAuth, ClientOptions, ServerOptions, VersionWord};
use super::suite::Suite;
use super::verify::{Verifier, roots};
use super::{EarlyStatus, Session};
use crate::Cx;
use crate::pki::{Identity, Pki};

/// Sessions that a client keeps, one for each name.
const MAX_SESSIONS: usize = 256;

/// BoringSSL's generator draws more from the system the first time in a process: that must not be in a run, which draws from
/// its seed. Called where options are read.
pub(super) fn warm_up() {
    static DONE: Once = Once::new();
    DONE.call_once(|| drop(boring::rand::rand_bytes(&mut [0; 1])));
}

/// A client's part of [`super::ClientTls`].
pub(super) struct Client {
    context: SslContext,
    verifier: Arc<Verifier>,
    sessions: Arc<Mutex<BTreeMap<String, SslSession>>>,
    told: Index<Ssl, Told>,
    false_start: bool,
    sni: bool,
}

/// A server's part of [`super::ServerTls`].
pub(super) struct Server {
    context: SslContext,
    staple: Option<Vec<u8>>,
    told: Index<Ssl, Told>,
}

/// What callbacks have to say about one connection.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    /// The name that the client wants.
    name: String,
    sent: Option<u8>,
    received: Option<u8>,
    fault: Option<String>,
    doubt: Option<String>,
}

impl Told {
    fn open(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, fallback: &str) -> TlsError {
        let said = self.open();
        let received = said.received.filter(|alert| *alert != 0);
        let message = match (&said.fault, received) {
            (Some(fault), _) => fault.clone(),
            (None, Some(_)) => "the peer refused".into(),
            (None, None) => fallback.into(),
        };
        let sent = said.sent.filter(|alert| *alert != 0 && received.is_none());
        TlsError { message, sent: sent.map(alert_name), received: received.map(alert_name) }
    }
}

fn unusable(error: &ErrorStack) -> TlsError {
    TlsError::plain(format!("BoringSSL does not take these options: {error}"))
}

fn wire(names: &[String]) -> Vec<u8> {
    let one =
        |name: &String| [&[u8::try_from(name.len()).expect("it was checked")], name.as_bytes()].concat();
    names.iter().flat_map(one).collect()
}

/// What both sides need: versions, suites, groups, the key log and the alerts.
fn context(
    versions: &[VersionWord],
    suites: &[String],
    groups: &[String],
    cx: Option<&Cx>,
) -> Result<(SslContextBuilder, Index<Ssl, Told>), ErrorStack> {
    let mut builder = SslContextBuilder::new(SslMethod::tls())?;
    let number = |version: VersionWord| match version {
        VersionWord::Tls12 => SslVersion::TLS1_2,
        VersionWord::Tls13 => SslVersion::TLS1_3,
    };
    builder.set_min_proto_version(versions.iter().min().map(|version| number(*version)))?;
    builder.set_max_proto_version(versions.iter().max().map(|version| number(*version)))?;
    let suites: Vec<Suite> = suites.iter().filter_map(|name| Suite::named(name)).collect();
    let older: Vec<&str> = suites
        .iter()
        .filter(|suite| suite.version == VersionWord::Tls12)
        .map(|suite| suite.openssl)
        .collect();
    if !older.is_empty() {
        builder.set_cipher_list(&older.join(":"))?;
    }
    let groups: Vec<&str> = match groups {
        [] => vec!["X25519", "P-256", "P-384"],
        groups => groups.iter().filter_map(|name| super::suite::boring_group(name)).collect(),
    };
    builder.set_curves_list(&groups.join(":"))?;
    builder.set_verify_algorithm_prefs(&[
        SslSignatureAlgorithm::ED25519,
        SslSignatureAlgorithm::ECDSA_SECP256R1_SHA256,
        SslSignatureAlgorithm::RSA_PSS_RSAE_SHA256,
        SslSignatureAlgorithm::RSA_PKCS1_SHA256,
        SslSignatureAlgorithm::RSA_PSS_RSAE_SHA384,
        SslSignatureAlgorithm::RSA_PKCS1_SHA384,
    ])?;
    if let Some(cx) = cx.cloned() {
        builder.set_keylog_callback(move |_, line| cx.key_log(line));
    }
    let told = Ssl::new_ex_index::<Told>()?;
    builder.set_info_callback(move |ssl, mode, value| {
        let SslInfoCallbackValue::Alert(alert) = value else { return };
        let Some(told) = ssl.ex_data(told) else { return };
        let code = ALERTS.iter().find(|(_, known)| *known == alert.alert()).map(|(code, _)| *code);
        match mode {
            SslInfoCallbackMode::READ_ALERT => told.open().received = code,
            SslInfoCallbackMode::WRITE_ALERT => told.open().sent = code,
            _ => {}
        }
    });
    Ok((builder, told))
}

fn own_certificate(builder: &mut SslContextBuilder, identity: &Identity) -> Result<(), ErrorStack> {
    let (first, rest) = identity.chain.split_first().expect("a chain begins with the certificate");
    builder.set_certificate(&*X509::from_der(first)?)?;
    for der in rest {
        builder.add_extra_chain_cert(X509::from_der(der)?)?;
    }
    builder.set_private_key(&*PKey::private_key_from_der(identity.key.secret_der())?)
}

impl Client {
    pub(super) fn new(
        options: &ClientOptions,
        pki: &Pki,
        verifier: Arc<Verifier>,
        cx: Option<&Cx>,
    ) -> Result<Client, TlsError> {
        warm_up();
        let make = || {
            let (mut builder, told) = context(&options.versions, &options.suites, &options.groups, cx)?;
            if !options.alpn.is_empty() {
                builder.set_alpn_protos(&wire(&options.alpn))?;
            }
            builder.enable_ocsp_stapling();
            if let Some(identity) = options.certificate.as_deref().and_then(|name| pki.identity(name)) {
                own_certificate(&mut builder, &identity)?;
            }
            let sessions = Arc::new(Mutex::new(BTreeMap::<String, SslSession>::new()));
            if options.resume {
                builder
                    .set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
                let kept = sessions.clone();
                builder.set_new_session_callback(move |ssl, session| {
                    let Some(told) = ssl.ex_data(told) else { return };
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    if kept.len() < MAX_SESSIONS {
                        kept.insert(told.open().name.clone(), session);
                    }
                });
            }
            if options.false_start {
                // SAFETY: the context is alive; the function sets a flag in it. Without it BoringSSL asks for ALPN first.
                unsafe { boring_sys::SSL_CTX_set_false_start_allowed_without_alpn(builder.as_ptr(), 1) };
            }
            let (false_start, sni) = (options.false_start, options.sni);
            Ok(Client { context: builder.build(), verifier, sessions, told, false_start, sni })
        };
        make().map_err(|error| unusable(&error))
    }

    fn ssl(&self, name: &str, told: &Told) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        ssl.set_ex_data(self.told, told.clone());
        told.open().name = name.into();
        let address: Option<std::net::IpAddr> = name.parse().ok();
        if self.sni && address.is_none() {
            ssl.set_hostname(name)?;
        }
        let (verifier, told) = (self.verifier.clone(), told.clone());
        ssl.set_custom_verify_callback(SslVerifyMode::PEER, move |ssl| verify(ssl, &verifier, &told));
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = sessions.get(name) {
            // SAFETY: the session was made in the same context, as the function demands.
            unsafe { ssl.set_session(session)? };
        }
        if self.false_start {
            let mode = boring_sys::SSL_MODE_ENABLE_FALSE_START;
            let mode = mode.try_into().expect("a bit of a 32-bit word");
            // SAFETY: the connection is alive; the function sets a flag in it.
            unsafe { boring_sys::SSL_set_mode(ssl.as_ptr(), mode) };
        }
        Ok(ssl)
    }
}

fn verify(ssl: &SslRef, verifier: &Verifier, told: &Told) -> Result<(), SslVerifyError> {
    use rustls::client::danger::ServerCertVerifier;
    let name = told.open().name.clone();
    let chain = chain(ssl, false);
    let staple = ssl.ocsp_status().unwrap_or_default();
    let result = match (chain.split_first(), ServerName::try_from(name)) {
        (Some((first, rest)), Ok(name)) => {
            told.open().doubt = verifier.doubt(&chain, &name, staple, UnixTime::now());
            verifier.verify_server_cert(first, rest, &name, staple, UnixTime::now()).map(drop)
        }
        _ => Err(Error::NoCertificatesPresented),
    };
    result.map_err(|error| {
        let (words, alert) = match error {
            Error::InvalidCertificate(error) => (certificate_words(&error), AlertDescription::from(error)),
            other => (other.to_string(), AlertDescription::CertificateUnknown),
        };
        told.open().fault = Some(words);
        let code = u8::from(alert);
        let known = ALERTS.iter().find(|(known, _)| *known == code).map(|(_, alert)| *alert);
        SslVerifyError::Invalid(known.unwrap_or(SslAlert::CERTIFICATE_UNKNOWN))
    })
}

/// The peer's certificates, its own first. At a server BoringSSL keeps that one apart.
fn chain(ssl: &SslRef, server: bool) -> Vec<CertificateDer<'static>> {
    let own = ssl.peer_certificate().filter(|_| server).and_then(|certificate| certificate.to_der().ok());
    let rest =
        ssl.peer_cert_chain().into_iter().flatten().filter_map(|certificate| certificate.to_der().ok());
    let all = own.into_iter().chain(rest);
    let mut all: Vec<_> = all.map(CertificateDer::from).collect();
    all.dedup();
    all
}

impl Server {
    pub(super) fn new(
        options: &ServerOptions,
        identity: &Identity,
        pki: &Pki,
        cx: Option<&Cx>,
    ) -> Result<Server, TlsError> {
        warm_up();
        let make = || {
            let (mut builder, told) = context(&options.versions, &options.suites, &options.groups, cx)?;
            own_certificate(&mut builder, identity)?;
            builder.set_session_id_context(b"wirelab")?;
            builder.set_options(SslOptions::CIPHER_SERVER_PREFERENCE);
            if !options.resume {
                builder.set_options(SslOptions::NO_TICKET);
                builder.set_session_cache_mode(SslSessionCacheMode::OFF);
            }
            if !options.alpn.is_empty() {
                let ours = wire(&options.alpn);
                builder.set_alpn_select_callback(move |_, theirs| {
                    let chosen = select_next_proto(&ours, theirs).ok_or(AlpnError::ALERT_FATAL)?;
                    // The chosen one stands in the client's list too, which lives long enough.
                    theirs.windows(chosen.len()).find(|part| *part == chosen).ok_or(AlpnError::ALERT_FATAL)
                });
            }
            for der in roots(pki, &options.trust) {
                builder.cert_store_mut().add_cert(X509::from_der(&der)?)?;
            }
            builder.set_verify(match options.client_auth {
                ClientAuth::No => SslVerifyMode::NONE,
                ClientAuth::Ask => SslVerifyMode::PEER,
                ClientAuth::Require => SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
            });
            Ok(Server { context: builder.build(), staple: identity.staple.clone(), told })
        };
        make().map_err(|error| unusable(&error))
    }
}

/// Alerts by number.
const ALERTS: [(u8, SslAlert); 29] = [
    (0, SslAlert::CLOSE_NOTIFY),
    (10, SslAlert::UNEXPECTED_MESSAGE),
    (20, SslAlert::BAD_RECORD_MAC),
    (22, SslAlert::RECORD_OVERFLOW),
    (40, SslAlert::HANDSHAKE_FAILURE),
    (42, SslAlert::BAD_CERTIFICATE),
    (43, SslAlert::UNSUPPORTED_CERTIFICATE),
    (44, SslAlert::CERTIFICATE_REVOKED),
    (45, SslAlert::CERTIFICATE_EXPIRED),
    (46, SslAlert::CERTIFICATE_UNKNOWN),
    (47, SslAlert::ILLEGAL_PARAMETER),
    (48, SslAlert::UNKNOWN_CA),
    (49, SslAlert::ACCESS_DENIED),
    (50, SslAlert::DECODE_ERROR),
    (51, SslAlert::DECRYPT_ERROR),
    (70, SslAlert::PROTOCOL_VERSION),
    (71, SslAlert::INSUFFICIENT_SECURITY),
    (80, SslAlert::INTERNAL_ERROR),
    (86, SslAlert::INAPPROPRIATE_FALLBACK),
    (90, SslAlert::USER_CANCELLED),
    (100, SslAlert::NO_RENEGOTIATION),
    (109, SslAlert::MISSING_EXTENSION),
    (110, SslAlert::UNSUPPORTED_EXTENSION),
    (111, SslAlert::CERTIFICATE_UNOBTAINABLE),
    (112, SslAlert::UNRECOGNIZED_NAME),
    (113, SslAlert::BAD_CERTIFICATE_STATUS_RESPONSE),
    (115, SslAlert::UNKNOWN_PSK_IDENTITY),
    (116, SslAlert::CERTIFICATE_REQUIRED),
    (120, SslAlert::NO_APPLICATION_PROTOCOL),
];

/// A connection.
#[derive(Debug)]
pub(super) struct BoringStream<S> {
    inner: tokio_boring::SslStream<S>,
    told: Told,
    pub(super) session: Session,
}

impl core::fmt::Debug for Told {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Told").finish_non_exhaustive()
    }
}

pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    client: &Client,
    name: &str,
) -> Result<BoringStream<S>, TlsError> {
    let told = Told::default();
    let ssl = client.ssl(name, &told).map_err(|error| unusable(&error))?;
    let result = tokio_boring::SslStreamBuilder::new(ssl, io).connect().await;
    finish(result, told, false)
}

pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    server: &Server,
) -> Result<BoringStream<S>, TlsError> {
    let told = Told::default();
    let mut ssl = Ssl::new(&server.context).map_err(|error| unusable(&error))?;
    ssl.set_ex_data(server.told, told.clone());
    if let Some(staple) = &server.staple {
        ssl.set_ocsp_status(staple).map_err(|error| unusable(&error))?;
    }
    let result = tokio_boring::SslStreamBuilder::new(ssl, io).accept().await;
    finish(result, told, true)
}

fn finish<S>(
    result: Result<tokio_boring::SslStream<S>, tokio_boring::HandshakeError<S>>,
    told: Told,
    server: bool,
) -> Result<BoringStream<S>, TlsError> {
    let inner = result.map_err(|error| match error.as_io_error() {
        Some(error) => told.error(&error.to_string()),
        None => {
            let text = error.to_string();
            // `TLS handshake failed [NO_SHARED_CIPHER]`
            let reason =
                text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(reason, _)| reason);
            told.error(&reason.map_or(text.clone(), |reason| reason.to_lowercase().replace('_', " ")))
        }
    })?;
    let ssl = inner.ssl();
    let session = Session {
        version: ssl.version_str(),
        suite: ssl.current_cipher().and_then(|suite| suite.standard_name()).unwrap_or_default().into(),
        group: ssl.curve_name(),
        alpn: ssl.selected_alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        resumed: ssl.session_reused(),
        early_data: EarlyStatus::NotSent,
        server_name: ssl.servername(boring::ssl::NameType::HOST_NAME).filter(|_| server).map(Into::into),
        peer_chain: chain(ssl, server),
        staple: ssl.ocsp_status().filter(|_| !server).unwrap_or_default().to_vec(),
        doubt: told.open().doubt.take(),
    };
    Ok(BoringStream { inner, told, session })
}

impl<S> BoringStream<S> {
    pub(super) fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }

    fn explain(&self, error: io::Error) -> io::Error {
        let said = self.told.open();
        let known = said.received.or(said.sent).is_some_and(|alert| alert != 0);
        drop(said);
        if known { self.told.error(&error.to_string()).into() } else { error }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for BoringStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_read(cx, buffer);
        result.map_err(|error| self.explain(error))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for BoringStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, data);
        result.map_err(|error| self.explain(error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
