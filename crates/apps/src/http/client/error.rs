//! What can go wrong with a request, told apart as curl's exit codes do.

use core::fmt;
use core::time::Duration;
use std::io;
use std::net::SocketAddr;

/// A handshake that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// It was the server's certificate.
    pub certificate: bool,
    /// Why.
    pub text: String,
}

/// A request that failed.
#[derive(Debug)]
pub enum Error {
    /// The URL cannot be used.
    Url(String),
    /// The name has no address.
    Resolve(String, io::Error),
    /// No connection.
    Connect(SocketAddr, io::Error),
    /// No connection in time.
    ConnectTimeout(Duration),
    /// The client has no TLS.
    NoTls,
    /// The TLS handshake failed.
    Tls(TlsError),
    /// The request could not be written.
    Send(io::Error),
    /// The connection was closed before any byte of the answer.
    Empty,
    /// The connection broke before or in the answer.
    Receive(io::Error),
    /// The body ended too early.
    Partial {
        /// Bytes that are missing, when it is known.
        missing: Option<u64>,
    },
    /// What came is no HTTP.
    Malformed(String),
    /// The head or the body is larger than allowed.
    TooLarge(&'static str),
    /// An HTTP/2 error of the connection or of the stream.
    Http2(::h2::Error),
    /// An HTTP/3 or QUIC error, in their words.
    Http3(String),
    /// The server refused the early data that the request was part of.
    EarlyDataRefused,
}

impl Error {
    /// The connection died before any answer, in a way that a closed kept connection dies.
    pub(crate) fn died(&self, reused: bool) -> bool {
        match self {
            Error::Empty | Error::Send(_) => reused,
            Error::Receive(error) => reused && error.kind() == io::ErrorKind::ConnectionReset,
            Error::Http2(_) | Error::EarlyDataRefused => self.refused(),
            _ => false,
        }
    }

    /// The server says that it did not look at the request (RFC 9113 §8.7, RFC 9001 §4.6.2).
    pub(crate) fn refused(&self) -> bool {
        if matches!(self, Error::EarlyDataRefused) {
            return true;
        }
        let Error::Http2(error) = self else { return false };
        let refused = error.reason() == Some(::h2::Reason::REFUSED_STREAM);
        refused || error.is_go_away() && error.is_remote() && error.reason() == Some(::h2::Reason::NO_ERROR)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Url(text) => write!(f, "URL: {text}"),
            Error::Resolve(host, error) => write!(f, "{host}: {error}"),
            Error::Connect(to, error) => write!(f, "connect to {to}: {error}"),
            Error::ConnectTimeout(limit) => write!(f, "no connection within {} ms", limit.as_millis()),
            Error::NoTls => f.write_str("this client has no TLS"),
            Error::Tls(error) => f.write_str(&error.text),
            Error::Send(error) => write!(f, "sending: {error}"),
            Error::Empty => f.write_str("the server closed the connection without an answer"),
            Error::Receive(error) => write!(f, "receiving: {error}"),
            Error::Partial { missing: Some(n) } => write!(f, "the body ended {n} bytes too early"),
            Error::Partial { missing: None } => f.write_str("the body ended too early"),
            Error::Malformed(text) => write!(f, "the answer is no HTTP: {text}"),
            Error::TooLarge(what) => write!(f, "{what} larger than allowed"),
            Error::Http2(error) => write!(f, "HTTP/2: {error}"),
            Error::Http3(error) => write!(f, "HTTP/3: {error}"),
            Error::EarlyDataRefused => f.write_str("the server refused early data"),
        }
    }
}

impl core::error::Error for Error {}
