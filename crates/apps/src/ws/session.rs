//! A connection after its upgrade (RFC 6455 §5 to §7): messages both ways, pings on time, and an end that is told.

use core::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Settings;
use super::close::{By, Closed, INTERNAL, NO_CODE, answer_to, may_be_sent};
use crate::http::BoxStream;

/// How long the other side's Close frame, and then the end of its TCP, is waited for; `close_timeout` of Python's `websockets`.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a message may take to go into the socket: a peer that reads nothing for so long is left.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long, and how much, is read and dropped after an error of the peer, so that the Close frame is not lost to a reset.
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BYTES: usize = 16 << 20;
/// Bytes of a reason beside its code (RFC 6455 §5.5).
const MAX_REASON: usize = 123;

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
    /// A ping, answered already.
    Ping(Bytes),
    /// A pong, and how long after the ping that it answers.
    Pong(Bytes, Option<Duration>),
    /// The end; nothing comes after it.
    Closed(Closed),
}

/// What woke [`Session::wait`].
pub(crate) enum Woken {
    Message(Option<Result<Message, Error>>),
    Heartbeat,
}

/// A connection.
pub struct Session {
    /// Gone after the end.
    ws: Option<WebSocketStream<BoxStream>>,
    role: Role,
    settings: Settings,
    /// When the next ping is due.
    due: Instant,
    /// The ping that has no pong yet.
    waiting: Option<(Bytes, Instant)>,
    pings: u32,
    closed: Option<Closed>,
}

impl Session {
    /// A client's end of an upgraded connection.
    pub async fn client(stream: BoxStream, read: Bytes, settings: Settings) -> Session {
        Session::new(stream, read, Role::Client, settings).await
    }

    /// A server's end.
    pub async fn server(stream: BoxStream, settings: Settings) -> Session {
        Session::new(stream, Bytes::new(), Role::Server, settings).await
    }

    async fn new(stream: BoxStream, read: Bytes, role: Role, settings: Settings) -> Session {
        let config = WebSocketConfig::default()
            .max_message_size(Some(settings.max_message))
            .max_frame_size(Some(settings.max_frame))
            .accept_unmasked_frames(settings.accept_unmasked);
        let due = Instant::now() + settings.ping.unwrap_or_default();
        let ws = WebSocketStream::from_partially_read(stream, read.to_vec(), role, Some(config)).await;
        Session { ws: Some(ws), role, settings, due, waiting: None, pings: 0, closed: None }
    }

    /// The next thing that arrives. Pings of ours are sent meanwhile.
    pub async fn next(&mut self) -> Event {
        loop {
            let woken = self.wait().await;
            if let Some(event) = self.handle(woken).await {
                return event;
            }
        }
    }

    /// Waits until there is something to do; may be dropped.
    pub(crate) async fn wait(&mut self) -> Woken {
        let at = match (&self.waiting, self.settings.ping) {
            (Some((_, sent)), _) => Some(*sent + self.settings.pong_timeout),
            (None, Some(_)) => Some(self.due),
            (None, None) => None,
        };
        let heartbeat = async {
            match at {
                Some(at) => sleep_until(at).await,
                None => core::future::pending().await,
            }
        };
        let Some(ws) = &mut self.ws else { return Woken::Message(None) };
        tokio::select! {
            biased;
            message = ws.next() => Woken::Message(message),
            () = heartbeat => Woken::Heartbeat,
        }
    }

    /// Does it; must be awaited to its end.
    pub(crate) async fn handle(&mut self, woken: Woken) -> Option<Event> {
        match woken {
            Woken::Heartbeat if self.waiting.is_some() => {
                let why = "keepalive ping timeout";
                Some(Event::Closed(self.close(INTERNAL, why).await))
            }
            Woken::Heartbeat => {
                self.pings += 1;
                self.due = Instant::now() + self.settings.ping.unwrap_or_default();
                self.ping(Bytes::from(self.pings.to_string())).await.err().map(Event::Closed)
            }
            Woken::Message(Some(Ok(message))) => self.arrived(message).await,
            Woken::Message(Some(Err(error))) => Some(Event::Closed(self.failed(&error).await)),
            Woken::Message(None) => {
                Some(Event::Closed(self.over(Closed::broken("the connection is closed"))))
            }
        }
    }

    async fn arrived(&mut self, message: Message) -> Option<Event> {
        match message {
            Message::Text(text) => Some(Event::Text(text.as_str().to_string())),
            Message::Binary(bytes) => Some(Event::Binary(bytes)),
            Message::Ping(payload) => {
                // The library has put the pong before whatever is sent next: that is now.
                self.flush().await.err().map(Event::Closed).or(Some(Event::Ping(payload)))
            }
            Message::Pong(payload) => {
                // A pong for a ping before the last one tells nothing; without a ping it is a heartbeat of the peer's
                // (RFC 6455 §5.5.3).
                let after = self.waiting.take_if(|(sent, _)| *sent == payload).map(|(_, at)| at.elapsed());
                Some(Event::Pong(payload, after))
            }
            Message::Close(frame) => {
                let (code, reason) = told(frame);
                let clean = self.flush().await.is_ok();
                self.await_end().await;
                Some(Event::Closed(self.over(Closed { code, reason, by: By::Peer, clean })))
            }
            Message::Frame(_) => None,
        }
    }

    /// A ping. Its pong is an [`Event::Pong`], which must come within [`Settings::pong_timeout`].
    ///
    /// # Errors
    /// When the connection is over.
    pub async fn ping(&mut self, payload: Bytes) -> Result<(), Closed> {
        self.waiting = Some((payload.clone(), Instant::now()));
        self.send(Message::Ping(payload)).await
    }

    /// Sends a text in one frame.
    ///
    /// # Errors
    /// When the connection is over, or its peer reads nothing for a minute.
    pub async fn text(&mut self, text: &str) -> Result<(), Closed> {
        self.send(Message::text(text)).await
    }

    /// Sends bytes in one frame.
    ///
    /// # Errors
    /// As [`Session::text`].
    pub async fn binary(&mut self, bytes: Bytes) -> Result<(), Closed> {
        self.send(Message::Binary(bytes)).await
    }

    /// Sends a text in so many fragments (RFC 6455 §5.4), which need not end where characters do.
    ///
    /// # Errors
    /// As [`Session::text`].
    pub async fn fragments(&mut self, text: &str, count: usize) -> Result<(), Closed> {
        let bytes = text.as_bytes();
        let size = bytes.len().div_ceil(count.max(1)).max(1);
        let mut pieces = bytes.chunks(size).peekable();
        let mut kind = Data::Text;
        while let Some(piece) = pieces.next() {
            let last = pieces.peek().is_none();
            let frame = Frame::message(Bytes::copy_from_slice(piece), OpCode::Data(kind), last);
            self.send(Message::Frame(frame)).await?;
            kind = Data::Continue;
        }
        Ok(())
    }

    /// Writes bytes past the protocol, to see what the peer makes of them.
    ///
    /// # Errors
    /// As [`Session::text`].
    pub async fn raw(&mut self, bytes: &[u8]) -> Result<(), Closed> {
        let Some(ws) = &mut self.ws else { return Err(self.ended()) };
        let writing = async {
            let stream = ws.get_mut();
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        match timeout(SEND_TIMEOUT, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.over(Closed::broken(error))),
            Err(_) => Err(self.over(Closed::broken(READS_NOTHING))),
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Closed> {
        let Some(ws) = &mut self.ws else { return Err(self.ended()) };
        match timeout(SEND_TIMEOUT, ws.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.over(Closed::broken(error))),
            Err(_) => Err(self.over(Closed::broken(READS_NOTHING))),
        }
    }

    async fn flush(&mut self) -> Result<(), Closed> {
        let Some(ws) = &mut self.ws else { return Err(self.ended()) };
        match timeout(SEND_TIMEOUT, ws.flush()).await {
            // The end of a close handshake is no failure.
            Ok(Ok(()) | Err(Error::ConnectionClosed)) => Ok(()),
            Ok(Err(error)) => Err(self.over(Closed::broken(error))),
            Err(_) => Err(self.over(Closed::broken(READS_NOTHING))),
        }
    }

    /// The close handshake (RFC 6455 §7.1.2): our Close frame, then theirs, within ten seconds; what they still say is
    /// dropped. A code that must not be sent (1005, 1006, …) sends a Close frame without any.
    pub async fn close(&mut self, code: u16, reason: &str) -> Closed {
        let Some(ws) = &mut self.ws else { return self.ended() };
        let end = reason.floor_char_boundary(MAX_REASON);
        let reason = &reason[..end];
        let frame =
            may_be_sent(code).then(|| CloseFrame { code: code.into(), reason: reason.to_string().into() });
        let by_us = |clean| Closed { code, reason: reason.to_string(), by: By::Us, clean };
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        let closing = async {
            if ws.close(frame).await.is_err() {
                return false;
            }
            loop {
                match ws.next().await {
                    Some(Ok(Message::Close(_))) => return true,
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return false,
                }
            }
        };
        let clean = timeout_at(deadline, closing).await.unwrap_or(false);
        if clean {
            self.await_end().await;
        }
        self.over(by_us(clean))
    }

    /// Goes without a word: the peer sees 1006.
    pub fn vanish(&mut self) -> Closed {
        self.over(Closed { by: By::Us, ..Closed::broken("") })
    }

    /// A client waits for the server to end TCP (RFC 6455 §7.1.1): TIME-WAIT is the server's.
    async fn await_end(&mut self) {
        let Some(ws) = &mut self.ws else { return };
        if self.role == Role::Client {
            let rest = async { while let Some(Ok(_)) = ws.next().await {} };
            // Then it is ended by us.
            let _ = timeout(CLOSE_TIMEOUT, rest).await;
        }
        let _ = timeout(LINGER, ws.get_mut().shutdown()).await;
    }

    /// The peer broke the protocol, or the connection broke.
    async fn failed(&mut self, error: &Error) -> Closed {
        let Some((code, why)) = answer_to(error) else { return self.over(Closed::broken(error)) };
        let Some(mut ws) = self.ws.take() else { return self.ended() };
        let reason = why[..why.floor_char_boundary(MAX_REASON)].to_string();
        let frame = CloseFrame { code: code.into(), reason: reason.clone().into() };
        let _ = timeout(LINGER, ws.send(Message::Close(Some(frame)))).await;
        linger(ws.into_inner()).await;
        self.over(Closed { code, reason, by: By::Failure, clean: false })
    }

    fn over(&mut self, closed: Closed) -> Closed {
        self.ws = None;
        self.closed.get_or_insert(closed).clone()
    }

    fn ended(&self) -> Closed {
        self.closed.clone().unwrap_or_else(|| Closed::broken("the connection is closed"))
    }
}

const READS_NOTHING: &str = "the peer reads nothing";

/// Code and reason of a peer's Close frame.
fn told(frame: Option<CloseFrame>) -> (u16, String) {
    frame.map_or((NO_CODE, String::new()), |frame| (frame.code.into(), frame.reason.as_str().to_string()))
}

/// Ends our direction and drops what still comes.
async fn linger(mut stream: BoxStream) {
    let rest = async {
        stream.shutdown().await?;
        let (mut dropped, mut buf) = (0, vec![0; 16 << 10]);
        while dropped < LINGER_BYTES {
            match stream.read(&mut buf).await? {
                0 => break,
                n => dropped += n,
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let _ = timeout(LINGER, rest).await;
}
