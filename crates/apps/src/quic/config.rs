//! quinn's configuration from a file's words. Everything that quinn would draw by itself comes from the program's seed.

use core::time::Duration;
use std::io;
use std::sync::Arc;

use net::UdpSocket;
use net::quinn::Plug;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout, ServerConfig,
    TokenMemoryCache, TransportConfig,
};
use ring::hmac::{HMAC_SHA256, Key};

use super::{QlogStart, Version};
use crate::Cx;
use crate::tls::{ClientTls, ServerTls};

/// Streams that a peer may have open.
const MAX_STREAMS: u32 = 1_024;
/// Bytes of a connection ID, as many as quinn's own have.
const ID_LENGTH: usize = 8;
/// Connections that a server has at a time.
const MAX_INCOMING: usize = 4_096;

fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

/// 32 bytes that are this program's alone; `nth` tells its endpoints apart.
fn drawn(cx: &Cx, purpose: &str, nth: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (n, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        let purpose =
            if nth == 0 { format!("quic {purpose} {n}") } else { format!("quic {purpose} {n} of {nth}") };
        chunk.copy_from_slice(&cx.seed(&purpose).to_le_bytes());
    }
    bytes
}

/// An endpoint's configuration: `nth` of its program, with the `reset_key`th key for stateless resets.
fn seeded(cx: &Cx, nth: u64, reset_key: u64) -> EndpointConfig {
    let reset = Key::new(HMAC_SHA256, &drawn(cx, "reset", reset_key));
    let mut config = EndpointConfig::new(Arc::new(reset));
    config.rng_seed(Some(drawn(cx, "rng", nth)));
    let ids = drawn(cx, "ids", nth);
    config.cid_generator(move || Box::new(Ids { key: Key::new(HMAC_SHA256, &ids), drawn: 0 }));
    config
}

/// Connection IDs that nobody can link, and that are the same in every run. quinn's own carry a check by which it knows those of
/// others; an endpoint that has lost its state must answer those of before with stateless resets.
struct Ids {
    key: Key,
    drawn: u64,
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        self.drawn += 1;
        let tag = ring::hmac::sign(&self.key, &self.drawn.to_le_bytes());
        ConnectionId::new(&tag.as_ref()[..ID_LENGTH])
    }

    fn cid_len(&self) -> usize {
        ID_LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// How connections of both programs behave: quinn's defaults, bounded, with the idle time and the qlog that are asked for.
///
/// # Errors
/// An idle time that QUIC cannot tell.
pub fn transport(idle: Duration, qlog: Option<QlogStart>) -> io::Result<TransportConfig> {
    let mut config = TransportConfig::default();
    config.max_idle_timeout(Some(IdleTimeout::try_from(idle).map_err(other)?));
    config.max_concurrent_bidi_streams(MAX_STREAMS.into());
    config.max_concurrent_uni_streams(MAX_STREAMS.into());
    config.qlog_stream(qlog.and_then(|qlog| qlog.0));
    Ok(config)
}

/// What a server's connections have in common.
///
/// # Errors
/// TLS options that QUIC cannot use: it needs TLS 1.3.
pub fn server_config(
    tls: &ServerTls,
    transport: TransportConfig,
    migration: bool,
) -> io::Result<ServerConfig> {
    let mut crypto = tls.rustls().as_ref().clone();
    if crypto.max_early_data_size > 0 {
        // RFC 9001 §4.6.1: the only value there is.
        crypto.max_early_data_size = u32::MAX;
    }
    let crypto = QuicServerConfig::try_from(crypto).map_err(other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport)).migration(migration).max_incoming(MAX_INCOMING);
    Ok(config)
}

/// One life of a server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Life {
    /// Lives before it.
    pub before: u64,
    /// It has another key for stateless resets than the first one had.
    pub new_reset_key: bool,
}

/// A server's endpoint, and what takes it from its socket.
///
/// # Errors
/// A socket without an address.
pub fn server_endpoint(
    cx: &Cx,
    config: ServerConfig,
    versions: &[Version],
    life: Life,
    socket: Arc<UdpSocket>,
) -> io::Result<(Endpoint, Plug)> {
    let mut endpoint = seeded(cx, life.before, if life.new_reset_key { life.before } else { 0 });
    if !versions.is_empty() {
        endpoint.supported_versions(versions.iter().map(|version| version.0).collect());
    }
    net::quinn::pluggable(endpoint, Some(config), socket)
}

/// What a client's connections have in common; `tokens` keeps what servers gave to prove its address with (RFC 9000 §8.1.3).
///
/// # Errors
/// As for [`server_config`].
pub fn client_config(
    tls: &ClientTls,
    transport: TransportConfig,
    tokens: Arc<TokenMemoryCache>,
) -> io::Result<ClientConfig> {
    let crypto = QuicClientConfig::try_from(tls.rustls().as_ref().clone()).map_err(other)?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport)).token_store(tokens);
    Ok(config)
}

/// What ALPN chose, once the server's answer is there.
pub fn negotiated(connection: &quinn::Connection) -> Option<Option<String>> {
    let data = connection.handshake_data()?.downcast::<quinn::crypto::rustls::HandshakeData>().ok()?;
    Some(data.protocol.map(|name| String::from_utf8_lossy(&name).into_owned()))
}

/// A client's endpoint, the `nth` of its program.
///
/// # Errors
/// A socket without an address.
pub fn client_endpoint(cx: &Cx, nth: u64, socket: UdpSocket) -> io::Result<Endpoint> {
    net::quinn::endpoint(seeded(cx, nth, nth), None, socket)
}
