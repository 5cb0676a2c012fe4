//! One question to one server and its answer: which port and ID it leaves with, what is taken for the answer (RFC 5452 §9),
//! TCP when it was truncated, and once more without EDNS when the server does not know it.

use core::time::Duration;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use net::{TcpStream, UdpSocket};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::time::timeout;

use super::https::Asker;
use super::message::{self, EDNS_UDP, edns, query, read_framed, write_framed};
use super::random::Random;
use crate::tls::{self, ClientTls};

/// The IDs of queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdRule {
    /// Any of 65,536, as everyone does since 2008 (RFC 5452).
    Random,
    /// One after the other, as before 1997.
    Sequential,
}

/// How queries are made hard to answer for a stranger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guard {
    pub(crate) ids: IdRule,
    /// The one port that all queries leave from; a random one for each when `None`.
    pub(crate) port: Option<u16>,
    /// The question's letters change case at random and must come back so (0x20).
    pub(crate) mix_case: bool,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing in time.
    Timeout,
    /// ICMP, or no route: nobody is there.
    Unreachable,
    /// Over TCP: broken, or not DNS.
    Broken,
}

/// Random ports are from here up; unbound's `outgoing-port-permit`.
const FIRST_PORT: u16 = 1024;
/// Ports tried when those drawn are taken.
const PORT_TRIES: usize = 16;
/// Messages of strangers that one question looks at before it gives up.
const STRANGERS: usize = 1 << 20;

/// Sends questions.
pub(crate) struct Exchange {
    guard: Guard,
    rng: Mutex<Random>,
    next_id: AtomicU16,
    /// With a fixed port: its socket, made by the first question.
    fixed: AsyncMutex<Option<Arc<Fixed>>>,
    unwanted: AtomicU64,
}

impl Exchange {
    pub(crate) fn new(guard: Guard, seed: u64) -> Exchange {
        let mut rng = Random::new(seed);
        let first = rng.bits16();
        Exchange {
            guard,
            rng: Mutex::new(rng),
            next_id: AtomicU16::new(first),
            fixed: AsyncMutex::default(),
            unwanted: AtomicU64::new(0),
        }
    }

    /// Messages so far that came to a port of ours and were no answer: wrong ID, wrong question, wrong sender.
    pub(crate) fn unwanted(&self) -> u64 {
        self.unwanted.load(Ordering::Relaxed)
    }

    fn random(&self, below: u64) -> u64 {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).below(below)
    }

    /// A number in `0..n`, for choices.
    pub(crate) fn choose(&self, n: usize) -> usize {
        usize::try_from(self.random(n.max(1) as u64)).unwrap_or(0)
    }

    fn id(&self) -> u16 {
        match self.guard.ids {
            IdRule::Random => self.rng.lock().unwrap_or_else(PoisonError::into_inner).bits16(),
            IdRule::Sequential => self.next_id.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn question(&self, name: &Name, kind: RecordType, recursion_desired: bool, with_edns: bool) -> Message {
        let name = if self.guard.mix_case { self.mixed(name) } else { name.clone() };
        let mut query = query(self.id(), name, kind, recursion_desired);
        if with_edns {
            query.set_edns(edns(EDNS_UDP));
        }
        query
    }

    /// The name with each letter in a random case.
    fn mixed(&self, name: &Name) -> Name {
        let bits = |byte: &u8| {
            if self.random(2) == 0 { byte.to_ascii_lowercase() } else { byte.to_ascii_uppercase() }
        };
        let labels: Vec<Vec<u8>> = name.iter().map(|label| label.iter().map(bits).collect()).collect();
        Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap_or_else(|_| name.clone())
    }

    /// Asks a server, over UDP first.
    pub(crate) async fn ask(
        &self,
        server: SocketAddr,
        name: &Name,
        kind: RecordType,
        recursion_desired: bool,
        time: Duration,
    ) -> Result<Message, Failure> {
        let asked = self.question(name, kind, recursion_desired, true);
        let mut reply = self.udp(server, &asked, time).await?;
        if reply.metadata.response_code == ResponseCode::FormErr && reply.edns.is_none() {
            let plain = self.question(name, kind, recursion_desired, false);
            reply = self.udp(server, &plain, time).await?;
        }
        if !reply.metadata.truncation {
            return Ok(reply);
        }
        let again = self.question(name, kind, recursion_desired, true);
        let over_tcp = timeout(time.max(TCP_TIME), tcp(server, &again)).await;
        over_tcp.map_err(|_| Failure::Timeout)?.map_err(|_| Failure::Broken)
    }

    /// Asks a server over TLS (RFC 7858), on a connection of its own.
    pub(crate) async fn ask_tls(
        &self,
        server: SocketAddr,
        (tls, proven): (&ClientTls, &str),
        (name, kind): (&Name, RecordType),
    ) -> Result<Message, String> {
        let asked = self.question(name, kind, true, true);
        let exchange = async {
            let stream = TcpStream::connect(server).await?;
            // The question need not wait until TLS's last message is acknowledged.
            stream.set_nodelay(true)?;
            let mut stream = tls::connect(stream, tls, proven).await?;
            let reply = over_stream(&mut stream, &asked).await?;
            // It has said all that was asked: whether the end arrives matters to nobody.
            let _ = stream.shutdown().await;
            io::Result::Ok(reply)
        };
        let outcome =
            timeout(TCP_TIME, exchange).await.map_err(|_| "it did not answer in time".to_string())?;
        outcome.map_err(|error| error.to_string())
    }

    /// Asks a server over HTTPS (RFC 8484). The ID is 0, so that caches can know the question again (§4.1).
    pub(crate) async fn ask_https(
        &self,
        server: IpAddr,
        https: &Asker,
        (name, kind): (&Name, RecordType),
    ) -> Result<Message, String> {
        let mut asked = self.question(name, kind, true, true);
        asked.metadata.id = 0;
        let reply = timeout(TCP_TIME, https.ask(server, &asked)).await;
        let reply = reply.map_err(|_| "it did not answer in time".to_string())??;
        if answers(&asked, &reply) { Ok(reply) } else { Err("no answer to what was asked".into()) }
    }

    async fn udp(&self, server: SocketAddr, asked: &Message, time: Duration) -> Result<Message, Failure> {
        let bytes = asked.to_vec().map_err(|_| Failure::Broken)?;
        match self.guard.port {
            None => {
                let socket = self.random_port(server).await.map_err(|_| Failure::Unreachable)?;
                socket.send(&bytes).await.map_err(|_| Failure::Unreachable)?;
                timeout(time, self.await_answer(asked, &socket)).await.map_err(|_| Failure::Timeout)?
            }
            Some(port) => {
                let fixed = self.fixed(port).await.map_err(|_| Failure::Unreachable)?;
                fixed.socket.send_to(&bytes, server).await.map_err(|_| Failure::Unreachable)?;
                let (deliver, mut delivered) = mpsc::channel(8);
                let ticket = fixed.expect(server, asked.clone(), deliver);
                let answer = timeout(time, delivered.recv()).await;
                fixed.forget(ticket);
                self.unwanted.store(fixed.unwanted.load(Ordering::Relaxed), Ordering::Relaxed);
                answer.map_err(|_| Failure::Timeout)?.ok_or(Failure::Broken)
            }
        }
    }

    /// A socket on a random port, connected: the kernel drops what other senders send.
    async fn random_port(&self, server: SocketAddr) -> io::Result<UdpSocket> {
        let ports = u64::from(u16::MAX - FIRST_PORT) + 1;
        let mut tries = 0;
        loop {
            let port = FIRST_PORT + u16::try_from(self.random(ports)).expect("below 2^16");
            match UdpSocket::bind(SocketAddr::new(any(server), port)).await {
                Ok(socket) => {
                    socket.connect(server).await?;
                    return Ok(socket);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < PORT_TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// The first message that answers; the kernel has seen to the sender.
    async fn await_answer(&self, asked: &Message, socket: &UdpSocket) -> Result<Message, Failure> {
        let mut buffer = vec![0; message::LONGEST];
        for _ in 0..STRANGERS {
            let n = socket.recv(&mut buffer).await.map_err(|_| Failure::Unreachable)?;
            match Message::from_vec(&buffer[..n]) {
                Ok(reply) if answers(asked, &reply) => return Ok(reply),
                _ => self.unwanted.fetch_add(1, Ordering::Relaxed),
            };
        }
        Err(Failure::Broken)
    }

    async fn fixed(&self, port: u16) -> io::Result<Arc<Fixed>> {
        let mut place = self.fixed.lock().await;
        if let Some(fixed) = &*place {
            return Ok(fixed.clone());
        }
        let socket = UdpSocket::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)).await?;
        let fixed = Arc::new(Fixed { socket, waiting: Mutex::default(), unwanted: AtomicU64::new(0) });
        *place = Some(fixed.clone());
        let receiver = fixed.clone();
        net::spawn(async move { receiver.receive().await });
        Ok(fixed)
    }
}

/// The shortest time that a connection gets.
const TCP_TIME: Duration = Duration::from_secs(4);

/// The wildcard address of a server's family.
pub(crate) fn any(server: SocketAddr) -> IpAddr {
    match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Whether a message answers the query: its ID and, in the same letters, its question.
pub(crate) fn answers(asked: &Message, reply: &Message) -> bool {
    let same_question = match (asked.queries.as_slice(), reply.queries.as_slice()) {
        ([asked], [reply]) => {
            asked.name.eq_case(&reply.name)
                && asked.query_type == reply.query_type
                && asked.query_class == reply.query_class
        }
        // Some refuse without repeating the question.
        ([_], []) => reply.metadata.response_code != ResponseCode::NoError,
        _ => false,
    };
    reply.metadata.message_type == MessageType::Response
        && reply.metadata.id == asked.metadata.id
        && same_question
}

/// One question over a connection of its own.
pub(crate) async fn tcp(server: SocketAddr, asked: &Message) -> io::Result<Message> {
    over_stream(&mut TcpStream::connect(server).await?, asked).await
}

async fn over_stream(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    asked: &Message,
) -> io::Result<Message> {
    write_framed(stream, &asked.to_vec().map_err(io::Error::other)?).await?;
    let bytes = read_framed(stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let reply = Message::from_vec(&bytes).map_err(io::Error::other)?;
    if answers(asked, &reply) { Ok(reply) } else { Err(io::Error::other("no answer to what was asked")) }
}

/// The socket of all questions that leave from one port.
struct Fixed {
    socket: UdpSocket,
    waiting: Mutex<(u64, Vec<Waiting>)>,
    unwanted: AtomicU64,
}

struct Waiting {
    ticket: u64,
    server: SocketAddr,
    asked: Message,
    deliver: mpsc::Sender<Message>,
}

impl Fixed {
    fn expect(&self, server: SocketAddr, asked: Message, deliver: mpsc::Sender<Message>) -> u64 {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.0 += 1;
        let ticket = waiting.0;
        waiting.1.push(Waiting { ticket, server, asked, deliver });
        ticket
    }

    fn forget(&self, ticket: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.1.retain(|waiting| waiting.ticket != ticket);
    }

    /// Hands replies to those who asked, for ever.
    async fn receive(&self) {
        let mut buffer = vec![0; message::LONGEST];
        loop {
            // ICMP errors belong to one of many: it will time out.
            let Ok((n, from)) = self.socket.recv_from(&mut buffer).await else { continue };
            let reply = Message::from_vec(&buffer[..n]);
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let meant = reply.ok().and_then(|reply| {
                let meant = waiting.1.iter().find(|w| w.server == from && answers(&w.asked, &reply))?;
                Some((meant.deliver.clone(), reply))
            });
            drop(waiting);
            let unwanted = meant.is_none_or(|(deliver, reply)| deliver.try_send(reply).is_err());
            self.unwanted.fetch_add(unwanted.into(), Ordering::Relaxed);
        }
    }
}
