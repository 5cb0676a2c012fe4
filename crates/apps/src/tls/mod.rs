//! TLS 1.2 and 1.3 over any byte stream (RFC 5246, RFC 8446), thin over rustls; with the feature `boring` also over BoringSSL, for
//! what rustls does not do: the static RSA key exchange and False Start (RFC 7918).
//!
//! ```no_run
//! # async fn example(cx: apps::Cx, env: apps::Env) -> std::io::Result<()> {
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! let tls = apps::tls::ClientTls::new(&apps::tls::ClientOptions::default(), &env.pki, Some(&cx))?;
//! let tcp = net::TcpStream::connect("server:443").await?;
//! let mut stream = apps::tls::connect(tcp, &tls, "shop.example").await?;
//! println!("{}", stream.session().version);
//! stream.write_all(b"hello").await?;
//! # Ok(()) }
//! ```
//!
//! A [`ClientTls`] keeps the sessions that servers gave it, so that a second connection resumes the first.
//!
//! Map: `options` is what can be written in a file, `suite` the names of things, `config` turns both into rustls' own,
//! `verify` is what a client asks of a certificate, `stream` moves bytes, `error` says what went wrong and by which alert.

mod config;
mod error;
mod options;
mod stream;
mod suite;
mod verify;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};

pub use config::{ClientTls, ServerTls};
pub use error::TlsError;
pub use options::{ClientAuth, ClientOptions, EarlyData, ServerOptions, StapleWord, Verify, VersionWord};
pub use stream::TlsStream;
pub use suite::{Suite, openssl_name};

/// Whether this build has the feature `boring`.
pub const HAS_BORING: bool = cfg!(feature = "boring");

/// What a handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The suite's name in IANA's register.
    pub suite: String,
    /// The group of the key exchange, such as `X25519`; none for static RSA, or when a session was resumed without one.
    pub group: Option<&'static str>,
    /// The application protocol (RFC 7301).
    pub alpn: Option<String>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// What became of data in the first flight (RFC 8446 §2.3).
    pub early_data: EarlyStatus,
    /// Server: the name that the client asked for.
    pub server_name: Option<String>,
    /// The certificates that the peer sent, its own first.
    pub peer_chain: Vec<CertificateDer<'static>>,
    /// Client: what is wrong with them, when [`Verify::Note`] goes on nevertheless.
    pub doubt: Option<String>,
}

/// What became of early data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EarlyStatus {
    /// There was none.
    #[default]
    NotSent,
    /// Sent, and not yet answered.
    Offered,
    /// The server took it.
    Accepted,
    /// The server did not: it was sent again behind the handshake.
    Rejected,
}

/// The client's side of a handshake. `server_name` is the DNS name or the address that the server must prove.
///
/// With early data it returns at once: what is written then leaves with the ClientHello.
///
/// # Errors
/// What the peer or the certificate check said, with the alert that was sent or received.
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    tls: &ClientTls,
    server_name: &str,
) -> Result<TlsStream<S>, TlsError> {
    stream::connect(io, tls, server_name).await
}

/// The server's side of a handshake.
///
/// With early data it returns as soon as the first of it can be read; what is written then leaves half a round trip before
/// the client has finished.
///
/// # Errors
/// As for [`connect`].
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    tls: &ServerTls,
) -> Result<TlsStream<S>, TlsError> {
    stream::accept(io, tls).await
}
