//! UDP and TCP around anything that answers questions: what is dropped, what is refused before anyone looks at it
//! (FORMERR, NOTIMP, BADVERS as BIND's ns_client_request() does), how long a connection may idle, how much runs at a time.

use core::pin::Pin;
use core::time::Duration;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::DNSClass;
use net::{TcpListener, UdpSocket};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use super::https;
use super::message::{self, fit, read_framed, refusal, udp_limit, write_framed};
use crate::Cx;
use crate::tls::{self, ServerOptions, ServerTls};

/// Questions in work at a time; BIND's `recursive-clients`.
pub(super) const IN_WORK: usize = 1000;
/// Connections at a time; BIND's `tcp-clients`.
const CONNECTIONS: usize = 150;
/// How long a connection may say nothing; BIND's `tcp-idle-timeout`.
const IDLE: Duration = Duration::from_secs(30);
/// How often, and how far apart, an address that is not there yet is tried again.
const BIND_TRIES: u32 = 50;
const BIND_PAUSE: Duration = Duration::from_millis(100);

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
    Tls,
    Https,
}

/// A question that is well formed.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) query: Message,
    pub(crate) client: SocketAddr,
    /// Our address that it was sent to.
    pub(crate) at: IpAddr,
    pub(crate) transport: Transport,
}

impl Asked {
    /// The line of BIND's query log, without the pointer that it begins with: `+` recursion desired, `E` EDNS with its
    /// version, `T` TCP, `D` DNSSEC wanted, `C` checking disabled.
    pub(crate) fn log_line(&self) -> String {
        let Some(question) = self.query.queries.first() else { return String::new() };
        let name = message::bare(&question.name);
        let mut flags = String::from(if self.query.metadata.recursion_desired { "+" } else { "-" });
        if let Some(edns) = &self.query.edns {
            flags.push_str(&format!("E({})", edns.version()));
        }
        if self.transport != Transport::Udp {
            flags.push('T');
        }
        if self.query.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok) {
            flags.push('D');
        }
        if self.query.metadata.checking_disabled {
            flags.push('C');
        }
        let [ip, port] = [self.client.ip().to_string(), self.client.port().to_string()];
        let (class, kind, at) = (question.query_class, question.query_type, self.at);
        format!("client {ip}#{port} ({name}): query: {name} {class} {kind} {flags} ({at})")
    }
}

/// The reply, in time; `None` is silence.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Option<Message>> + Send>>;

/// Something that answers.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one question.
    fn answer(self: Arc<Self>, asked: Asked) -> Answering;

    /// The largest reply over UDP.
    fn udp_size(&self) -> u16 {
        message::EDNS_UDP
    }
}

/// What comes of the bytes of a query.
pub(super) enum Intake {
    Drop,
    Refuse(Message),
    Answer(Message),
}

pub(super) fn intake(bytes: &[u8]) -> Intake {
    let Ok(query) = Message::from_vec(bytes) else {
        // What has a header is told that it is malformed, unless it is a reply: two servers would argue for ever.
        let [a, b, flags, ..] = *bytes else { return Intake::Drop };
        if bytes.len() < 12 || flags & 0x80 != 0 {
            return Intake::Drop;
        }
        let op_code = OpCode::from_u8((flags >> 3) & 0xf);
        return Intake::Refuse(Message::error_msg(
            u16::from_be_bytes([a, b]),
            op_code,
            ResponseCode::FormErr,
        ));
    };
    if query.metadata.message_type == MessageType::Response {
        return Intake::Drop;
    }
    if query.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return Intake::Refuse(refusal(&query, ResponseCode::BADVERS));
    }
    if query.metadata.op_code != OpCode::Query {
        return Intake::Refuse(refusal(&query, ResponseCode::NotImp));
    }
    match query.queries.as_slice() {
        [question] if question.query_class == DNSClass::IN => Intake::Answer(query),
        [_] => Intake::Refuse(refusal(&query, ResponseCode::Refused)),
        _ => Intake::Refuse(refusal(&query, ResponseCode::FormErr)),
    }
}

/// The port of DNS over TLS (RFC 7858 §3.1).
pub(crate) const TLS_PORT: u16 = 853;

/// What a server offers besides UDP and TCP.
#[derive(Default)]
pub(crate) struct Encrypted {
    /// Over TLS.
    pub(crate) tls: Option<ServerTls>,
    /// Over HTTPS.
    pub(crate) https: Option<ServerOptions>,
}

/// Serves on these addresses until it cannot; returns the exit status.
pub(crate) async fn serve(
    cx: &Cx,
    service: Arc<impl Service>,
    addresses: Vec<IpAddr>,
    port: u16,
    encrypted: Encrypted,
) -> i32 {
    let Encrypted { tls, https } = encrypted;
    let (failed, mut failure) = tokio::sync::mpsc::channel(1);
    let in_work = Arc::new(Semaphore::new(IN_WORK));
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    for at in addresses.into_iter().map(|ip| SocketAddr::new(ip, port)) {
        let udp = (service.clone(), in_work.clone(), failed.clone());
        net::spawn(async move {
            let error = udp_loop(udp.0, at, udp.1).await;
            let _ = udp.2.send((at, error)).await;
        });
        let tcp = (service.clone(), connections.clone(), failed.clone());
        net::spawn(async move {
            let error = tcp_loop(tcp.0, at, tcp.1, None).await;
            let _ = tcp.2.send((at, error)).await;
        });
        if let Some(tls) = https.clone() {
            let (service, own, failed) = (service.clone(), cx.clone(), failed.clone());
            net::spawn(async move {
                let error = https::serve(service, at.ip(), tls, own).await;
                let _ = failed.send((SocketAddr::new(at.ip(), https::PORT), io::Error::other(error))).await;
            });
        }
        if let Some(tls) = tls.clone() {
            let at = SocketAddr::new(at.ip(), TLS_PORT);
            let (service, connections, failed) = (service.clone(), connections.clone(), failed.clone());
            net::spawn(async move {
                let error = tcp_loop(service, at, connections, Some(tls)).await;
                let _ = failed.send((at, error)).await;
            });
        }
    }
    drop(failed);
    if let Some((at, error)) = failure.recv().await {
        cx.print(format!("{}: {}#{}: {error}", cx.name(), at.ip(), at.port()));
    }
    1
}

/// The addresses that a server listens on when it was not told: those of its host one by one, as BIND does, so that a
/// reply leaves from the address that was asked; all of them at once when the host is not one of a scenario.
pub(crate) fn own_addresses(cx: &Cx, given: &[IpAddr]) -> Vec<IpAddr> {
    if !given.is_empty() {
        return given.to_vec();
    }
    match cx.env().hosts.get(&cx.env().host) {
        Some(own) if !own.is_empty() => {
            core::iter::once(IpAddr::V4(Ipv4Addr::LOCALHOST)).chain(own.iter().copied()).collect()
        }
        _ => vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)],
    }
}

/// Binds, waiting for an address that is not usable yet (IPv6 looks for duplicates first).
async fn patiently<T, F: Future<Output = io::Result<T>>>(mut bind: impl FnMut() -> F) -> io::Result<T> {
    for _ in 1..BIND_TRIES {
        match bind().await {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                tokio::time::sleep(BIND_PAUSE).await
            }
            result => return result,
        }
    }
    bind().await
}

async fn udp_loop<S: Service>(service: Arc<S>, at: SocketAddr, in_work: Arc<Semaphore>) -> io::Error {
    let socket = match patiently(|| UdpSocket::bind(at)).await {
        Ok(socket) => Arc::new(socket),
        Err(error) => return error,
    };
    let mut buffer = vec![0; message::LONGEST];
    loop {
        let (n, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // A reply of ours found nobody: that is between us and them.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return error,
        };
        let query = match intake(&buffer[..n]) {
            Intake::Drop => continue,
            Intake::Refuse(reply) => {
                if let Ok(bytes) = reply.to_vec() {
                    let _ = socket.send_to(&bytes, client).await;
                }
                continue;
            }
            Intake::Answer(query) => query,
        };
        let Ok(permit) = in_work.clone().try_acquire_owned() else { continue };
        let (service, socket) = (service.clone(), socket.clone());
        net::spawn(async move {
            let limit = udp_limit(&query, service.udp_size());
            let asked = Asked { query, client, at: at.ip(), transport: Transport::Udp };
            if let Some(bytes) = service.answer(asked).await.and_then(|reply| fit(&reply, limit)) {
                let _ = socket.send_to(&bytes, client).await;
            }
            drop(permit);
        });
    }
}

async fn tcp_loop<S: Service>(
    service: Arc<S>,
    at: SocketAddr,
    connections: Arc<Semaphore>,
    tls: Option<ServerTls>,
) -> io::Error {
    let listener = match patiently(|| TcpListener::bind(at)).await {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    loop {
        let Ok(permit) = connections.clone().acquire_owned().await else { return io::Error::other("closed") };
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => return error,
        };
        // A short answer does not wait for the acknowledgment of TLS's tickets before it, as in BIND and unbound.
        let _ = stream.set_nodelay(true);
        let (service, tls) = (service.clone(), tls.clone());
        net::spawn(async move {
            let asked = |transport| (client, at.ip(), transport);
            // A connection that breaks is its client's business.
            let _ = match tls {
                None => connection(service, stream, asked(Transport::Tcp)).await,
                Some(tls) => match tokio::time::timeout(IDLE, tls::accept(stream, &tls)).await {
                    Ok(Ok(stream)) => connection(service, stream, asked(Transport::Tls)).await,
                    Ok(Err(_)) | Err(_) => Ok(()),
                },
            };
            drop(permit);
        });
    }
}

async fn connection<S: Service>(
    service: Arc<S>,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    (client, at, transport): (SocketAddr, IpAddr, Transport),
) -> io::Result<()> {
    while let Ok(Some(bytes)) = tokio::time::timeout(IDLE, read_framed(&mut stream)).await? {
        let reply = match intake(&bytes) {
            // Over TCP somebody is there who would wait: the connection ends.
            Intake::Drop => return Ok(()),
            Intake::Refuse(reply) => reply,
            Intake::Answer(query) => {
                let asked = Asked { query, client, at, transport };
                let Some(reply) = service.clone().answer(asked).await else { continue };
                reply
            }
        };
        if let Some(bytes) = fit(&reply, message::LONGEST) {
            write_framed(&mut stream, &bytes).await?;
        }
    }
    Ok(())
}
