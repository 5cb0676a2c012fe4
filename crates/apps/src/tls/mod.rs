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
//! Programs: `server`, `client`, `s_client`, and attackers in `interceptor` and `eavesdropper`.

#[cfg(feature = "boring")]
mod boring;
pub mod client;
mod config;
pub mod eavesdropper;
mod error;
pub mod interceptor;
mod options;
pub mod s_client;
pub mod server;
mod stream;
mod suite;
pub mod tunnel;
mod verify;

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use config::{ClientTls, ServerTls};
pub use error::TlsError;
pub use options::{ClientAuth, ClientOptions, EarlyData, ServerOptions, StapleWord, Verify, VersionWord};
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
    /// Client with [`Verify::Note`]: the OCSP answer that the server stapled; empty without one.
    pub staple: Vec<u8>,
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

/// A TLS connection over a stream.
#[derive(Debug)]
pub struct TlsStream<S>(Over<S>);

#[derive(Debug)]
enum Over<S> {
    Rustls(Box<stream::RustlsStream<S>>),
    #[cfg(feature = "boring")]
    Boring(Box<boring::BoringStream<S>>),
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
    #[cfg(feature = "boring")]
    if let Some(client) = &tls.0.boring {
        return Ok(TlsStream(Over::Boring(Box::new(boring::connect(io, client, server_name).await?))));
    }
    Ok(TlsStream(Over::Rustls(Box::new(stream::connect(io, &tls.0, server_name).await?))))
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
    #[cfg(feature = "boring")]
    if let Some(server) = &tls.0.boring {
        return Ok(TlsStream(Over::Boring(Box::new(boring::accept(io, server).await?))));
    }
    Ok(TlsStream(Over::Rustls(Box::new(stream::accept(io, &tls.0).await?))))
}

impl<S> TlsStream<S> {
    /// What was agreed on. While early data is under way this is what is known so far.
    pub fn session(&self) -> &Session {
        match &self.0 {
            Over::Rustls(stream) => stream.session(),
            #[cfg(feature = "boring")]
            Over::Boring(stream) => &stream.session,
        }
    }

    /// The stream underneath.
    pub fn get_ref(&self) -> &S {
        match &self.0 {
            Over::Rustls(stream) => stream.get_ref(),
            #[cfg(feature = "boring")]
            Over::Boring(stream) => stream.get_ref(),
        }
    }

    /// Whether the handshake is still under way: early data, or an answer to it.
    pub fn is_handshaking(&self) -> bool {
        match &self.0 {
            Over::Rustls(stream) => stream.is_handshaking(),
            #[cfg(feature = "boring")]
            Over::Boring(_) => false,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Over::Rustls(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(feature = "boring")]
            Over::Boring(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Over::Rustls(stream) => Pin::new(stream).poll_write(cx, data),
            #[cfg(feature = "boring")]
            Over::Boring(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Over::Rustls(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "boring")]
            Over::Boring(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Over::Rustls(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "boring")]
            Over::Boring(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
