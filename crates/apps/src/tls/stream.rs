//! Bytes between a stream and rustls. Unlike tokio-rustls, a server's `accept` ends when early data is there, so that an answer
//! to it leaves within half a round trip (RFC 8446 §2.3), and each flight is one write, as OpenSSL's buffered handshake is.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, HandshakeKind, ProtocolVersion, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::config::{ClientInner, ServerInner};
use super::error::TlsError;
use super::suite::Suite;
use super::verify::Witness;
use super::{EarlyStatus, Session};

/// What is taken from the stream at once: one TLS record with its header and tag.
const READ: usize = 16_384 + 5 + 256;
/// Encrypted bytes that may wait before more plaintext is taken.
const MAX_PENDING: usize = 64 << 10;

/// A connection.
#[derive(Debug)]
pub(super) struct RustlsStream<S> {
    io: S,
    side: Side,
    session: Session,
    /// Encrypted bytes on their way, and how many of them have left.
    pending: Vec<u8>,
    left: usize,
    /// Early data that this client wrote, until the server has said whether it takes it.
    early: Vec<u8>,
    input: Vec<u8>,
    /// What of it rustls has not had yet.
    from: usize,
    to: usize,
    eof: bool,
    failed: Option<TlsError>,
}

#[derive(Debug)]
enum Side {
    Client(Box<ClientConnection>),
    Server(Box<ServerConnection>),
}

/// Calls the same method of either side's connection.
macro_rules! either {
    ($side:expr, $connection:ident => $call:expr) => {
        match $side {
            Side::Client($connection) => $call,
            Side::Server($connection) => $call,
        }
    };
}

pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    tls: &ClientInner,
    server_name: &str,
) -> Result<RustlsStream<S>, TlsError> {
    let name = ServerName::try_from(server_name.to_string());
    let name = name.map_err(|_| TlsError::plain(format!("`{server_name}` is no name of a server")))?;
    let witness =
        tls.note.then(|| Arc::new(Witness { verifier: tls.verifier.clone(), seen: Mutex::default() }));
    let config = match &witness {
        None => tls.rustls.clone(),
        Some(witness) => {
            let mut config = (*tls.rustls).clone();
            config.dangerous().set_certificate_verifier(witness.clone());
            Arc::new(config)
        }
    };
    let connection = ClientConnection::new(config, name).map_err(|e| TlsError::of(&e, &[]))?;
    let mut stream = RustlsStream::new(io, Side::Client(Box::new(connection)));
    if let Side::Client(client) = &mut stream.side
        && client.early_data().is_some()
    {
        stream.session.early_data = EarlyStatus::Offered;
        return Ok(stream);
    }
    poll_fn(|cx| stream.poll_handshake(cx)).await?;
    if let Some(witness) = witness {
        let seen = witness.take();
        (stream.session.doubt, stream.session.staple) = (seen.doubt, seen.staple);
    }
    Ok(stream)
}

pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    io: S,
    tls: &ServerInner,
) -> Result<RustlsStream<S>, TlsError> {
    let connection = ServerConnection::new(tls.rustls.clone()).map_err(|e| TlsError::of(&e, &[]))?;
    let mut stream = RustlsStream::new(io, Side::Server(Box::new(connection)));
    poll_fn(|cx| stream.poll_handshake(cx)).await?;
    Ok(stream)
}

impl<S> RustlsStream<S> {
    fn new(io: S, side: Side) -> RustlsStream<S> {
        let session = Session {
            version: "",
            suite: String::new(),
            group: None,
            alpn: None,
            resumed: false,
            early_data: EarlyStatus::NotSent,
            server_name: None,
            peer_chain: Vec::new(),
            staple: Vec::new(),
            doubt: None,
        };
        let input = vec![0; READ];
        RustlsStream {
            io,
            side,
            session,
            pending: Vec::new(),
            left: 0,
            early: Vec::new(),
            input,
            from: 0,
            to: 0,
            eof: false,
            failed: None,
        }
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    pub(super) fn get_ref(&self) -> &S {
        &self.io
    }

    pub(super) fn is_handshaking(&self) -> bool {
        either!(&self.side, connection => connection.is_handshaking())
    }

    /// Notes what the connection knows now.
    fn refresh(&mut self) {
        let session = &mut self.session;
        either!(&self.side, connection => {
            session.version = match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "",
            };
            if let Some(suite) = connection.negotiated_cipher_suite() {
                let code = u16::from(suite.suite());
                session.suite = Suite::of(code).map_or_else(|| format!("{code:#06x}"), |suite| suite.iana.into());
            }
            session.group = connection.negotiated_key_exchange_group().map(|group| match group.name() {
                rustls::NamedGroup::X25519 => "X25519",
                rustls::NamedGroup::secp256r1 => "P-256",
                rustls::NamedGroup::secp384r1 => "P-384",
                _ => "other",
            });
            session.alpn = connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
            session.resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
            session.peer_chain = connection.peer_certificates().unwrap_or_default().to_vec();
        });
        match &mut self.side {
            Side::Server(server) => {
                session.server_name = server.server_name().map(Into::into);
                if server.early_data().is_some() {
                    session.early_data = EarlyStatus::Accepted;
                }
            }
            Side::Client(client) => {
                if session.early_data == EarlyStatus::Offered && !client.is_handshaking() {
                    session.early_data = match client.is_early_data_accepted() {
                        true => EarlyStatus::Accepted,
                        false => EarlyStatus::Rejected,
                    };
                }
            }
        }
    }

    /// Takes what rustls has to send.
    fn collect(&mut self) -> io::Result<()> {
        if self.left == self.pending.len() {
            self.pending.clear();
            self.left = 0;
        }
        either!(&mut self.side, connection => {
            while connection.wants_write() && self.pending.len() < MAX_PENDING {
                connection.write_tls(&mut self.pending)?;
            }
        });
        Ok(())
    }

    /// Takes what came from the stream, up to the first bytes that a reader can have: rustls holds no more than one
    /// record's worth of them.
    fn process(&mut self) -> Result<(), TlsError> {
        loop {
            let mut rest = &self.input[self.from..self.to];
            let result = either!(&mut self.side, connection => {
                connection.read_tls(&mut rest).map_err(TlsError::from)?;
                connection.process_new_packets()
            });
            self.from = self.to - rest.len();
            match result {
                Err(error) => {
                    // The alert goes out with the next flush.
                    self.collect()?;
                    return Err(TlsError::of(&error, &self.pending[self.left..]));
                }
                Ok(state) if state.plaintext_bytes_to_read() > 0 || self.from == self.to => break,
                Ok(_) => {}
            }
        }
        let before = self.session.early_data;
        if self.is_handshaking() || self.session.version.is_empty() || before == EarlyStatus::Offered {
            self.refresh();
        }
        match self.session.early_data {
            EarlyStatus::Rejected if before == EarlyStatus::Offered => {
                // RFC 8446 §4.2.10: what the server did not take is sent again.
                let early = core::mem::take(&mut self.early);
                either!(&mut self.side, connection => connection.writer().write_all(&early))?;
            }
            EarlyStatus::Accepted => self.early = Vec::new(),
            _ => {}
        }
        Ok(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RustlsStream<S> {
    /// Until all that rustls has to send has left.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.collect()?;
            if self.left == self.pending.len() {
                return Poll::Ready(Ok(()));
            }
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.pending[self.left..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.left += n;
        }
    }

    /// One read of the stream.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = &self.failed {
            return Poll::Ready(Err(error.clone().into()));
        }
        if self.from == self.to {
            let mut buffer = ReadBuf::new(&mut self.input);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            (self.from, self.to) = (0, buffer.filled().len());
            self.eof = self.to == 0;
        }
        if let Err(error) = self.process() {
            self.failed = Some(error.clone());
            // The peer is told why; whether it still listens does not matter.
            let _ = self.poll_send(cx);
            return Poll::Ready(Err(error.into()));
        }
        Poll::Ready(Ok(()))
    }

    /// Until the handshake is over, or early data can be read.
    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TlsError>> {
        loop {
            let sent = self.poll_send(cx)?;
            let early = match &mut self.side {
                Side::Server(server) => server.early_data().is_some(),
                Side::Client(_) => false,
            };
            if !self.is_handshaking() || early {
                ready!(sent);
                self.refresh();
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(cx))?;
            if self.eof && self.is_handshaking() {
                return Poll::Ready(Err(TlsError::plain("the peer closed the connection in the handshake")));
            }
        }
    }

    /// Decrypted bytes that are there already. `None` when there are none.
    fn take_plaintext(&mut self, buffer: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        if let Side::Server(server) = &mut self.side
            && let Some(mut early) = server.early_data()
        {
            let n = early.read(buffer.initialize_unfilled()).unwrap_or(0);
            buffer.advance(n);
            if n > 0 {
                return Some(Ok(()));
            }
        }
        let read = either!(&mut self.side, connection => {
            connection.reader().read(buffer.initialize_unfilled())
        });
        match read {
            Ok(n) => {
                buffer.advance(n);
                Some(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let error = TlsError::plain("the peer closed the connection without close_notify");
                Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for RustlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if let Some(done) = this.take_plaintext(buffer) {
                return Poll::Ready(done);
            }
            // Handshake messages, key updates: what must go out, goes while this waits for what comes in.
            if let Poll::Ready(Err(error)) = this.poll_send(cx)
                && this.eof
            {
                return Poll::Ready(Err(error));
            }
            ready!(this.poll_receive(cx))?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for RustlsStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        loop {
            if let Some(error) = &this.failed {
                return Poll::Ready(Err(error.clone().into()));
            }
            if this.session.early_data == EarlyStatus::Offered
                && let Side::Client(client) = &mut this.side
            {
                if let Some(mut early) = client.early_data() {
                    let n = early.write(data)?;
                    if n > 0 || data.is_empty() {
                        this.early.extend_from_slice(&data[..n]);
                        let _ = this.poll_send(cx)?;
                        return Poll::Ready(Ok(n));
                    }
                }
                // No more of it is allowed: the rest waits for the handshake.
                ready!(this.poll_handshake(cx))?;
                continue;
            }
            if this.pending.len() - this.left >= MAX_PENDING {
                ready!(this.poll_send(cx))?;
            }
            let n = either!(&mut this.side, connection => connection.writer().write(data))?;
            let sent = this.poll_send(cx)?;
            if n > 0 || data.is_empty() {
                return Poll::Ready(Ok(n));
            }
            ready!(sent);
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.session.early_data == EarlyStatus::Offered && this.failed.is_none() {
            ready!(this.poll_handshake(cx))?;
        }
        either!(&mut this.side, connection => connection.send_close_notify());
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}
