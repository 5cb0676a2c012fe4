//! A small ARQ over UDP, as a program would write it that wants TCP's promise without TCP: sequence numbers, selective
//! acknowledgments, retransmission after a measured time, a window, duplicates and disorder sorted out by the receiver.
//!
//! A message of `size` bytes travels in segments. Formats, numbers big-endian:
//! `D seq:u32 last:u8 payload` from the sender; `A next:u32 after:u32` back, where `next` is the first segment that is
//! missing and bit `n` of `after` says that segment `next + 1 + n` has arrived.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use net::UdpSocket;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::app::read_table;
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// Payload of one segment, in bytes.
const SEGMENT: usize = 1_000;
/// Segments that the bitmap can tell apart beyond the first missing one.
const MAX_WINDOW: u32 = 32;
/// The largest message: what a receiver keeps at most.
const MAX_SIZE: u32 = 16 << 20;
/// Retransmission time before the first measurement and at least (RFC 6298 has 1 s; a program may know its network).
const FIRST_RTO: Duration = Duration::from_millis(200);
const MIN_RTO: Duration = Duration::from_millis(20);
/// Back-off ends here.
const MAX_RTO: Duration = Duration::from_secs(4);
/// A segment that was sent so often in vain ends the transfer.
const MAX_TRIES: u32 = 8;
/// Later segments that have arrived make a missing one count as lost, as three duplicate ACKs do in TCP.
const LATER: u32 = 3;

/// The receiver.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArqServer {
    /// Its UDP port; 9000 unless given.
    #[serde(default = "port")]
    pub port: u16,
}

/// The sender of one message.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArqClient {
    /// Where the message goes, such as `server:9000`.
    pub server: String,
    /// Bytes of the message, at most 16 MiB.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub size: u32,
    /// Segments on the way at a time, at most 32; 8 unless given. 1 is stop-and-wait.
    #[serde(default = "window")]
    #[schemars(range(min = 1, max = 32))]
    pub window: u32,
}

fn port() -> u16 {
    9_000
}

fn window() -> u32 {
    8
}

/// A segment or an acknowledgment.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Message<'a> {
    Data { seq: u32, last: bool, payload: &'a [u8] },
    Ack { next: u32, after: u32 },
}

impl Message<'_> {
    fn parse(bytes: &[u8]) -> Option<Message<'_>> {
        let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        match bytes.first()? {
            b'D' => {
                let last = match bytes.get(5)? {
                    0 => false,
                    1 => true,
                    _ => return None,
                };
                Some(Message::Data { seq: number(1)?, last, payload: bytes.get(6..)? })
            }
            b'A' if bytes.len() == 9 => Some(Message::Ack { next: number(1)?, after: number(5)? }),
            _ => None,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Message::Data { seq, last, payload } => {
                [&[b'D'][..], &seq.to_be_bytes(), &[u8::from(*last)], payload].concat()
            }
            Message::Ack { next, after } => [&[b'A'][..], &next.to_be_bytes(), &after.to_be_bytes()].concat(),
        }
    }
}

/// Byte `n` of every message: the receiver can tell that all of them are there and in their places.
fn byte_at(n: usize) -> u8 {
    (n % 251).to_le_bytes()[0]
}

/// What the receiver has.
#[derive(Debug, Default)]
struct Received {
    message: Vec<u8>,
    /// The first segment that is missing.
    next: u32,
    /// Segments beyond it, and whether each is the last one.
    early: BTreeMap<u32, (bool, Vec<u8>)>,
    whole: bool,
    duplicates: u32,
    disorder: u32,
}

impl Received {
    /// Takes a segment; the answer is the acknowledgment.
    fn take(&mut self, seq: u32, last: bool, payload: &[u8]) -> Message<'static> {
        if seq < self.next || self.early.contains_key(&seq) {
            self.duplicates += 1;
        } else if seq - self.next <= MAX_WINDOW && payload.len() <= SEGMENT {
            self.disorder += u32::from(seq != self.next);
            self.early.insert(seq, (last, payload.to_vec()));
        }
        while !self.whole
            && let Some((last, payload)) = self.early.remove(&self.next)
        {
            self.message.extend_from_slice(&payload);
            self.next += 1;
            self.whole = last || self.message.len() > MAX_SIZE as usize;
        }
        let bits = self.early.keys().map(|seq| 1_u32 << (seq - self.next - 1).min(31));
        Message::Ack { next: self.next, after: bits.fold(0, |all, bit| all | bit) }
    }

    fn is_right(&self) -> bool {
        self.message.iter().enumerate().all(|(n, byte)| *byte == byte_at(n))
    }
}

impl App for ArqServer {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            if let Err(error) = receive(self.port, &cx).await {
                cx.print(format!("arq-server: port {}: {error}", self.port));
            }
            1
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

/// Messages of one peer at a time: a new peer begins anew.
async fn receive(port: u16, cx: &Cx) -> io::Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", port)).await?;
    let mut buffer = vec![0; SEGMENT + 64];
    let mut peer = None;
    let mut received = Received::default();
    loop {
        let (n, from) = socket.recv_from(&mut buffer).await?;
        let Some(Message::Data { seq, last, payload }) = Message::parse(&buffer[..n]) else { continue };
        if peer != Some(from) {
            (peer, received) = (Some(from), Received::default());
        }
        let was_whole = received.whole;
        let ack = received.take(seq, last, payload);
        socket.send_to(&ack.bytes(), from).await?;
        if received.whole && !was_whole {
            let state = if received.is_right() { "every byte in its place" } else { "BYTES ARE WRONG" };
            cx.print(format!(
                "{} bytes from {from}, {state}; {} segments came twice, {} before their turn",
                received.message.len(),
                received.duplicates,
                received.disorder
            ));
        }
    }
}

/// A segment on its way.
#[derive(Debug)]
struct Sent {
    at: Instant,
    tries: u32,
    /// Arrived, as the bitmap says.
    there: bool,
}

/// Round trip times (RFC 6298).
#[derive(Debug, Default)]
struct Rtt {
    smoothed: Option<(Duration, Duration)>,
}

impl Rtt {
    fn measure(&mut self, rtt: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => (rtt, rtt / 2),
            Some((srtt, var)) => ((srtt * 7 + rtt) / 8, (var * 3 + srtt.abs_diff(rtt)) / 4),
        });
    }

    fn rto(&self) -> Duration {
        self.smoothed.map_or(FIRST_RTO, |(srtt, var)| srtt + (var * 4).max(MIN_RTO)).min(MAX_RTO)
    }
}

/// The sender's side: no socket and no clock of its own.
#[derive(Debug)]
struct Sender {
    message: Vec<u8>,
    window: u32,
    /// The first segment that is not acknowledged.
    una: u32,
    on_the_way: BTreeMap<u32, Sent>,
    rtt: Rtt,
    sent: u32,
    again: u32,
}

impl Sender {
    fn new(size: u32, window: u32) -> Sender {
        let message = (0..size as usize).map(byte_at).collect();
        Sender {
            message,
            window,
            una: 0,
            on_the_way: BTreeMap::new(),
            rtt: Rtt::default(),
            sent: 0,
            again: 0,
        }
    }

    fn segments(&self) -> u32 {
        u32::try_from(self.message.len().div_ceil(SEGMENT)).expect("the size is bounded")
    }

    fn is_done(&self) -> bool {
        self.una == self.segments()
    }

    fn segment(&self, seq: u32) -> Vec<u8> {
        let from = seq as usize * SEGMENT;
        let payload = &self.message[from..(from + SEGMENT).min(self.message.len())];
        Message::Data { seq, last: seq + 1 == self.segments(), payload }.bytes()
    }

    /// What is to be sent now: what has waited too long or was overtaken, then new segments as far as the window goes.
    /// `None` when a segment was sent in vain too often.
    fn due(&mut self, now: Instant) -> Option<Vec<u32>> {
        let rto = self.rtt.rto();
        let arrived: Vec<u32> =
            self.on_the_way.iter().filter(|(_, s)| s.there).map(|(seq, _)| *seq).collect();
        let mut due = Vec::new();
        for (seq, sent) in self.on_the_way.iter_mut().filter(|(_, sent)| !sent.there) {
            let later = arrived.iter().filter(|other| *other > seq).count();
            let overtaken = sent.tries == 1 && u32::try_from(later).unwrap_or(u32::MAX) >= LATER;
            let waited = now >= sent.at + timeout(rto, sent.tries);
            if !(overtaken || waited) {
                continue;
            }
            if sent.tries == MAX_TRIES {
                return None;
            }
            (sent.at, sent.tries) = (now, sent.tries + 1);
            self.again += 1;
            due.push(*seq);
        }
        let new = self.on_the_way.keys().next_back().map_or(self.una, |last| last + 1);
        for seq in new..(self.una + self.window).min(self.segments()) {
            self.on_the_way.insert(seq, Sent { at: now, tries: 1, there: false });
            self.sent += 1;
            due.push(seq);
        }
        Some(due)
    }

    /// When [`Sender::due`] has something again if nothing arrives.
    fn next_timeout(&self) -> Option<Instant> {
        let rto = self.rtt.rto();
        let waiting = self.on_the_way.values().filter(|sent| !sent.there);
        waiting.map(|sent| sent.at + timeout(rto, sent.tries)).min()
    }

    fn acknowledged(&mut self, now: Instant, next: u32, after: u32) {
        // A peer that acknowledges what was never sent is not believed.
        if next > self.on_the_way.keys().next_back().map_or(self.una, |last| last + 1) {
            return;
        }
        for (seq, sent) in &mut self.on_the_way {
            let beyond = seq.checked_sub(next.saturating_add(1));
            let told = *seq < next || beyond.is_some_and(|n| n < 32 && after & (1 << n) != 0);
            if told && !sent.there {
                sent.there = true;
                // Karn: of a segment that was sent twice nobody knows which one arrived.
                if sent.tries == 1 {
                    self.rtt.measure(now - sent.at);
                }
            }
        }
        self.una = self.una.max(next);
        self.on_the_way = self.on_the_way.split_off(&self.una);
    }
}

/// The time doubles with every try.
fn timeout(rto: Duration, tries: u32) -> Duration {
    (rto * 2_u32.pow(tries.saturating_sub(1).min(8))).min(MAX_RTO)
}

impl ArqClient {
    /// Reads its table.
    ///
    /// # Errors
    /// A size, a window or a server that cannot be.
    pub fn read(table: &Map<String, Value>, _: &Env) -> Result<Ready, Vec<Problem>> {
        let client: ArqClient = read_table(table)?;
        let mut problems = Vec::new();
        let mut check = |key: &str, right: bool, message: String, help: &str| {
            if !right {
                problems.push(Problem { path: vec![key.into()], message, help: Some(help.into()) });
            }
        };
        let ArqClient { server, size, window } = &client;
        let port = server
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
        check("server", port, format!("`{server}` is no host with a port"), "such as server:9000");
        let fits = (1..=MAX_SIZE).contains(size);
        check("size", fits, format!("a message of {size} bytes"), "1 to 16,777,216 (16 MiB)");
        let fits = (1..=MAX_WINDOW).contains(window);
        check("window", fits, format!("{window} segments on the way"), "1 to 32");
        if problems.is_empty() { Ok(Arc::new(client)) } else { Err(problems) }
    }
}

impl App for ArqClient {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            match send(&self, &cx).await {
                Ok(()) => 0,
                Err(error) => {
                    cx.print(format!("arq-client: {error}"));
                    1
                }
            }
        })
    }
}

async fn send(client: &ArqClient, cx: &Cx) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0").await?;
    socket.connect(&client.server).await?;
    let begin = Instant::now();
    let mut sender = Sender::new(client.size, client.window);
    let mut buffer = [0; 64];
    while !sender.is_done() {
        let gone = || io::Error::new(io::ErrorKind::TimedOut, format!("{MAX_TRIES} tries were in vain"));
        for seq in sender.due(Instant::now()).ok_or_else(gone)? {
            socket.send(&sender.segment(seq)).await?;
        }
        let deadline = sender.next_timeout().unwrap_or_else(|| Instant::now() + MAX_RTO);
        // Nothing until then: a retransmission is due.
        if let Ok(n) = tokio::time::timeout_at(deadline, socket.recv(&mut buffer)).await
            && let Some(Message::Ack { next, after }) = Message::parse(&buffer[..n?])
        {
            sender.acknowledged(Instant::now(), next, after);
        }
    }
    cx.print(format!(
        "{} bytes in {} segments, {} sent again; whole after {:.1} ms",
        client.size,
        sender.sent,
        sender.again,
        begin.elapsed().as_secs_f64() * 1e3
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_as_they_were_written() {
        for message in [
            Message::Data { seq: 7, last: true, payload: b"hello" },
            Message::Data { seq: u32::MAX, last: false, payload: b"" },
            Message::Ack { next: 3, after: 0b101 },
        ] {
            assert_eq!(Message::parse(&message.bytes()), Some(message));
        }
        for wrong in [&b""[..], b"D", b"D\0\0\0\0", b"D\0\0\0\0\x02x", b"A\0\0\0\0", b"X\0\0\0\0\0"] {
            assert_eq!(Message::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_receiver_sorts_and_keeps_each_segment_once() {
        let mut received = Received::default();
        let piece = |seq: usize| (seq * SEGMENT..(seq + 1) * SEGMENT).map(byte_at).collect::<Vec<_>>();
        assert_eq!(received.take(1, false, &piece(1)), Message::Ack { next: 0, after: 1 });
        assert_eq!(received.take(3, true, &piece(3)[..10]), Message::Ack { next: 0, after: 0b101 });
        assert_eq!(received.take(1, false, &piece(1)), Message::Ack { next: 0, after: 0b101 });
        assert_eq!(received.take(0, false, &piece(0)), Message::Ack { next: 2, after: 1 });
        assert_eq!(received.take(2, false, &piece(2)), Message::Ack { next: 4, after: 0 });
        assert!(received.whole && received.is_right());
        assert_eq!((received.message.len(), received.duplicates, received.disorder), (3_010, 1, 2));
        // Far beyond the window nothing is kept.
        received.take(1_000_000, false, b"x");
        assert!(received.early.is_empty());
    }

    #[test]
    fn an_overtaken_segment_is_sent_again_at_once_and_a_silent_one_after_its_time() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let mut sender = Sender::new(6_000, 8);
        assert_eq!(sender.due(now), Some((0..6).collect()));
        sender.acknowledged(now + ms(20), 1, 0b111);
        assert_eq!(sender.due(now + ms(20)), Some(vec![1]), "2, 3 and 4 have overtaken 1");
        sender.acknowledged(now + ms(30), 5, 0);
        assert_eq!(sender.due(now + ms(30)), Some(vec![]));
        let timeout = sender.next_timeout().expect("5 is on its way");
        assert_eq!(sender.due(timeout), Some(vec![5]));
        assert!(sender.next_timeout().expect("still") - timeout >= (timeout - now), "the time doubles");
        sender.acknowledged(timeout + ms(20), 6, 0);
        assert!(sender.is_done());
    }

    #[test]
    fn an_acknowledgment_of_what_was_never_sent_is_not_believed() {
        let now = Instant::now();
        let mut sender = Sender::new(20_000, 2);
        sender.due(now);
        sender.acknowledged(now, 20, u32::MAX);
        assert_eq!(sender.una, 0);
    }
}
