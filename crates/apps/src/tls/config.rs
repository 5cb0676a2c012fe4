//! The libraries' own configurations, made from what a file chose.

use std::sync::Arc;

use core::fmt;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::server::{StoresServerSessions, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, KeyLog, ServerConfig, SupportedProtocolVersion};

use super::error::TlsError;
use super::options::{
    ClientAuth, ClientOptions, EarlyData, HOW_TO_GET_BORING, ServerOptions, Verify, VersionWord,
};
use super::suite::{self, Suite};
use super::verify::{Verifier, roots, store};
use crate::Cx;
use crate::pki::{Identity, Pki};

/// Sessions that a client or a server keeps for resumption.
const MAX_SESSIONS: usize = 256;
/// Early data of one connection, in bytes: what OpenSSL takes, one record.
pub(super) const MAX_EARLY_DATA: u32 = 16_384;

/// What a client brings to its connections; cheap to clone. It remembers sessions.
#[derive(Clone)]
pub struct ClientTls(pub(super) Arc<ClientInner>);

pub(super) struct ClientInner {
    pub(super) rustls: Arc<ClientConfig>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) note: bool,
    #[cfg(feature = "boring")]
    pub(super) boring: Option<super::boring::Client>,
}

/// What a server brings to its connections; cheap to clone. It remembers sessions.
#[derive(Clone)]
pub struct ServerTls(pub(super) Arc<ServerInner>);

pub(super) struct ServerInner {
    pub(super) rustls: Arc<ServerConfig>,
    #[cfg(feature = "boring")]
    pub(super) boring: Option<super::boring::Server>,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

/// Secrets on their way into the capture.
#[derive(Debug)]
struct Secrets(Cx);

impl KeyLog for Secrets {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        self.0.key_log(&format!("{label} {} {}", hex(client_random), hex(secret)));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn provider(suites: &[String], groups: &[String]) -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    // What only BoringSSL has, is asked of it; rustls' own configuration is then not used.
    if !suites.is_empty() && !suite::any_needs_boring(suites) {
        let wanted = suites.iter().filter_map(|name| Suite::named(name));
        let all = &provider.cipher_suites;
        provider.cipher_suites = wanted
            .filter_map(|suite| all.iter().find(|known| u16::from(known.suite()) == suite.code).copied())
            .collect();
    }
    if !groups.is_empty() {
        provider.kx_groups = groups.iter().filter_map(|name| suite::group(name)).collect();
    }
    Arc::new(provider)
}

fn versions(words: &[VersionWord]) -> Vec<&'static SupportedProtocolVersion> {
    let all = [(VersionWord::Tls13, &rustls::version::TLS13), (VersionWord::Tls12, &rustls::version::TLS12)];
    all.into_iter().filter(|(word, _)| words.contains(word)).map(|(_, version)| version).collect()
}

fn alpn(names: &[String]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}

fn unusable(error: impl fmt::Display) -> TlsError {
    TlsError::plain(format!("these TLS options do not work together: {error}"))
}

fn identity(pki: &Pki, name: &str) -> Result<Arc<Identity>, TlsError> {
    pki.identity(name).ok_or_else(|| TlsError::plain(format!("there is no certificate `{name}`")))
}

impl ClientTls {
    /// From what a file chose; secrets go to `cx`.
    ///
    /// # Errors
    /// Options that [`ClientOptions::check`] would have found.
    pub fn new(options: &ClientOptions, pki: &Pki, cx: Option<&Cx>) -> Result<ClientTls, TlsError> {
        if options.needs_boring() && !super::HAS_BORING {
            return Err(TlsError::plain(format!("this needs BoringSSL: {HOW_TO_GET_BORING}")));
        }
        let provider = provider(&options.suites, &options.groups);
        let verifier = Arc::new(Verifier::new(options, pki, provider.clone()));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions(&options.versions))
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone());
        let mut config = match &options.certificate {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let identity = identity(pki, name)?;
                builder
                    .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
                    .map_err(unusable)?
            }
        };
        config.alpn_protocols = alpn(&options.alpn);
        config.enable_sni = options.sni;
        config.enable_early_data = options.early_data;
        config.resumption = match options.resume {
            true => rustls::client::Resumption::in_memory_sessions(MAX_SESSIONS),
            false => rustls::client::Resumption::disabled(),
        };
        if let Some(cx) = cx {
            config.key_log = Arc::new(Secrets(cx.clone()));
        }
        let note = options.verify == Verify::Note;
        #[cfg(feature = "boring")]
        let boring = match options.needs_boring() {
            true => Some(super::boring::Client::new(options, pki, verifier.clone(), cx)?),
            false => None,
        };
        let inner = ClientInner {
            rustls: Arc::new(config),
            verifier,
            note,
            #[cfg(feature = "boring")]
            boring,
        };
        Ok(ClientTls(Arc::new(inner)))
    }
}

impl ClientTls {
    /// rustls' own, for QUIC.
    pub(crate) fn rustls(&self) -> &Arc<ClientConfig> {
        &self.0.rustls
    }
}

impl ServerTls {
    /// rustls' own, for QUIC.
    pub(crate) fn rustls(&self) -> &Arc<ServerConfig> {
        &self.0.rustls
    }

    /// From what a file chose; secrets go to `cx`.
    ///
    /// # Errors
    /// Options that [`ServerOptions::check`] would have found.
    pub fn new(options: &ServerOptions, pki: &Pki, cx: Option<&Cx>) -> Result<ServerTls, TlsError> {
        let names = core::iter::once(&options.certificate).chain(&options.more_certificates);
        let identities = names.map(|name| identity(pki, name)).collect::<Result<Vec<_>, _>>()?;
        ServerTls::with_identities(options, &identities, pki, cx)
    }

    /// The same with certificates that no file names, such as an interceptor's.
    ///
    /// # Errors
    /// As for [`ServerTls::new`].
    pub fn with_identities(
        options: &ServerOptions,
        identities: &[Arc<Identity>],
        pki: &Pki,
        cx: Option<&Cx>,
    ) -> Result<ServerTls, TlsError> {
        if options.needs_boring() && !super::HAS_BORING {
            return Err(TlsError::plain(format!("this needs BoringSSL: {HOW_TO_GET_BORING}")));
        }
        let provider = provider(&options.suites, &options.groups);
        let by_name = ByName::new(identities, &provider)?;
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions(&options.versions))
            .map_err(unusable)?
            .with_client_cert_verifier(client_verifier(options, pki, provider)?)
            .with_cert_resolver(Arc::new(by_name));
        config.alpn_protocols = alpn(&options.alpn);
        config.session_storage = match options.early_data {
            _ if !options.resume => Arc::new(NoServerSessionStorage {}),
            EarlyData::Replayable => Arc::new(Forgetful(ServerSessionMemoryCache::new(MAX_SESSIONS))),
            EarlyData::Refuse | EarlyData::Once => ServerSessionMemoryCache::new(MAX_SESSIONS),
        };
        if options.early_data != EarlyData::Refuse {
            config.max_early_data_size = MAX_EARLY_DATA;
            config.send_half_rtt_data = true;
        } else if options.resume {
            // Tickets that the client keeps (RFC 5077): the server remembers nothing. Early data needs a memory.
            config.ticketer = ring::Ticketer::new().map_err(unusable)?;
        }
        if !options.resume {
            config.send_tls13_tickets = 0;
        }
        if let Some(cx) = cx {
            config.key_log = Arc::new(Secrets(cx.clone()));
        }
        #[cfg(feature = "boring")]
        let boring = match (options.needs_boring(), identities.first()) {
            (true, Some(identity)) => Some(super::boring::Server::new(options, identity, pki, cx)?),
            _ => None,
        };
        let inner = ServerInner {
            rustls: Arc::new(config),
            #[cfg(feature = "boring")]
            boring,
        };
        Ok(ServerTls(Arc::new(inner)))
    }
}

fn client_verifier(
    options: &ServerOptions,
    pki: &Pki,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if options.client_auth == ClientAuth::No {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let roots = Arc::new(store(&roots(pki, &options.trust)));
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
    let builder = match options.client_auth {
        ClientAuth::Ask => builder.allow_unauthenticated(),
        ClientAuth::No | ClientAuth::Require => builder,
    };
    builder.build().map_err(unusable)
}

/// Chooses the certificate that is good for the client's SNI.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ByName {
    fn new(identities: &[Arc<Identity>], provider: &CryptoProvider) -> Result<ByName, TlsError> {
        let keys = identities.iter().map(|identity| {
            let key = identity.key.clone_key();
            let mut key = CertifiedKey::from_der(identity.chain.clone(), key, provider).map_err(unusable)?;
            key.ocsp.clone_from(&identity.staple);
            Ok(Arc::new(key))
        });
        Ok(ByName(keys.collect::<Result<_, TlsError>>()?))
    }

    fn is_for(key: &CertifiedKey, name: &str) -> bool {
        let parsed = rustls::server::ParsedCertificate::try_from(&key.cert[0]);
        let name = rustls::pki_types::ServerName::try_from(name);
        matches!((parsed, name), (Ok(parsed), Ok(name)) if rustls::client::verify_server_name(&parsed, &name).is_ok())
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.0.iter().find(|key| ByName::is_for(key, name)));
        named.or(self.0.first()).cloned()
    }
}

/// A memory that forgets that a session was used: what early data must not have (RFC 8446 §8).
#[derive(Debug)]
struct Forgetful(Arc<ServerSessionMemoryCache>);

impl StoresServerSessions for Forgetful {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.0.put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }

    fn can_cache(&self) -> bool {
        self.0.can_cache()
    }
}
