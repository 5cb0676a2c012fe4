//! quinn's configuration from a file's words. Everything that quinn would draw by itself comes from the program's seed.

use core::time::Duration;
use std::io;
use std::sync::Arc;

use net::UdpSocket;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig};

use super::Qlog;
use crate::Cx;
use crate::tls::{ClientTls, ServerTls};

/// Streams that a peer may have open.
const MAX_STREAMS: u32 = 1_024;
/// Connections that a server has at a time.
const MAX_INCOMING: usize = 4_096;

fn other(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

fn seeded(cx: &Cx) -> EndpointConfig {
    let bytes = |purpose| {
        let mut bytes = [0; 32];
        for (n, chunk) in bytes.chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&cx.seed(&format!("quic {purpose} {n}")).to_le_bytes());
        }
        bytes
    };
    let reset = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &bytes("reset"));
    let mut config = EndpointConfig::new(Arc::new(reset));
    config.rng_seed(Some(bytes("rng")));
    config
}

/// How connections of both programs behave: quinn's defaults, bounded, with the idle time and the qlog that are asked for.
pub fn transport(idle: Duration, qlog: Option<&Qlog>) -> io::Result<TransportConfig> {
    let mut config = TransportConfig::default();
    config.max_idle_timeout(Some(IdleTimeout::try_from(idle).map_err(other)?));
    config.max_concurrent_bidi_streams(MAX_STREAMS.into());
    config.max_concurrent_uni_streams(MAX_STREAMS.into());
    config.qlog_stream(qlog.and_then(Qlog::stream));
    Ok(config)
}

/// A server's endpoint.
///
/// # Errors
/// TLS options that QUIC cannot use (it needs TLS 1.3), or a socket without an address.
pub fn server_endpoint(
    cx: &Cx,
    tls: &ServerTls,
    transport: TransportConfig,
    migration: bool,
    socket: UdpSocket,
) -> io::Result<Endpoint> {
    let mut crypto = tls.rustls().as_ref().clone();
    if crypto.max_early_data_size > 0 {
        // RFC 9001 §4.6.1: the only value there is.
        crypto.max_early_data_size = u32::MAX;
    }
    let crypto = QuicServerConfig::try_from(crypto).map_err(other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport)).migration(migration).max_incoming(MAX_INCOMING);
    net::quinn::endpoint(seeded(cx), Some(config), socket)
}

/// A client's endpoint.
///
/// # Errors
/// As for [`server_endpoint`].
pub fn client_endpoint(
    cx: &Cx,
    tls: &ClientTls,
    transport: TransportConfig,
    socket: UdpSocket,
) -> io::Result<Endpoint> {
    let crypto = QuicClientConfig::try_from(tls.rustls().as_ref().clone()).map_err(other)?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    let mut endpoint = net::quinn::endpoint(seeded(cx), None, socket)?;
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}
