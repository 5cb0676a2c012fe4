//! The stub resolver of glibc: `getaddrinfo` over `/etc/hosts` and DNS. Rounds, times and what is tried next are those of
//! resolv/res_send.c (__res_context_send(), send_dg(), send_vc()) and res_query.c (__res_context_search()); the texts are
//! `gai_strerror`'s; the order of addresses is RFC 6724 as far as reachability and family go.

use core::pin::Pin;
use core::time::Duration;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use super::exchange::{answers, any};
use super::message::{self, edns, query, read_framed, write_framed};
use super::random::Random;
use super::resolv_conf::{HostsFile, ResolvConf};

/// What `options edns0` asks for (`RESOLV_EDNS_BUFFER_SIZE`).
const EDNS0: u16 = 1200;
/// CNAMEs that an answer may hold.
const ALIASES: usize = 64;
/// The port of name servers.
const PORT: u16 = 53;

/// An error of `getaddrinfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GaiError {
    /// The name does not exist.
    NoName,
    /// No server answered, or none could say; later one may.
    Again,
    /// A server refused for good.
    Fail,
    /// The name exists without addresses.
    NoData,
}

impl GaiError {
    /// The constant of `netdb.h`.
    pub fn constant(self) -> &'static str {
        match self {
            GaiError::NoName => "EAI_NONAME",
            GaiError::Again => "EAI_AGAIN",
            GaiError::Fail => "EAI_FAIL",
            GaiError::NoData => "EAI_NODATA",
        }
    }
}

impl core::fmt::Display for GaiError {
    /// `gai_strerror`.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            GaiError::NoName => "Name or service not known",
            GaiError::Again => "Temporary failure in name resolution",
            GaiError::Fail => "Non-recoverable failure in name resolution",
            GaiError::NoData => "No address associated with hostname",
        })
    }
}

impl core::error::Error for GaiError {}

/// The stub resolver of one host.
#[derive(Debug)]
pub struct Stub {
    conf: ResolvConf,
    hosts: HostsFile,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Random,
    /// Where `rotate` stands.
    turn: usize,
}

/// The two questions of one lookup.
struct Questions {
    a: Message,
    aaaa: Message,
}

/// What came back for A and AAAA; a server that could not say leaves `None`.
type Replies = [Option<Box<Message>>; 2];

/// How one server did.
enum Tried {
    /// It answered one question at least.
    Answered(Replies),
    /// It could not say, and with which code; or it is not there.
    NextServer(Option<ResponseCode>),
    /// It did not answer in time.
    TimedOut,
    /// The answer did not fit: again over TCP.
    Truncated,
}

/// The end of the attempts for one name.
enum Unanswered {
    /// A server said `SERVFAIL`: with another domain of the search list there may be an answer.
    Servfail,
    /// Nobody said anything, or `REFUSED`: the search is over.
    Over,
}

impl Stub {
    /// For a host with these files. IDs come from the seed.
    pub fn new(conf: ResolvConf, hosts: HostsFile, seed: u64) -> Stub {
        Stub { conf, hosts, state: Mutex::new(State { random: Random::new(seed), turn: 0 }) }
    }

    /// Its `resolv.conf`.
    pub fn conf(&self) -> &ResolvConf {
        &self.conf
    }

    fn id(&self) -> u16 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).random.bits16()
    }

    /// `getaddrinfo(name, …, AF_UNSPEC)`: addresses, best first.
    ///
    /// # Errors
    /// As glibc's.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, GaiError> {
        let listed = self.hosts.find(name);
        if !listed.is_empty() {
            return Ok(sorted(listed).await);
        }
        if name.eq_ignore_ascii_case("localhost") || name.eq_ignore_ascii_case("localhost.") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
        }
        Ok(sorted(self.search(name).await?).await)
    }

    /// __res_context_search(): as it is, or with the domains of the search list.
    async fn search(&self, name: &str) -> Result<Vec<IpAddr>, GaiError> {
        let absolute = name.ends_with('.');
        let dots = name.matches('.').count();
        let mut as_is = None;
        if dots >= self.conf.ndots || absolute {
            match self.query(name).await {
                Ok(found) => return Ok(found),
                Err((error, _)) if absolute => return Err(error),
                Err((error, _)) => as_is = Some(error),
            }
        }
        let mut nodata = false;
        let mut servfail = false;
        for domain in &self.conf.search {
            let domain = domain.trim_start_matches('.');
            match self.query(&format!("{name}.{domain}")).await {
                Ok(found) => return Ok(found),
                Err((GaiError::NoData, _)) => nodata = true,
                Err((GaiError::NoName, _)) => {}
                Err((GaiError::Again, Unanswered::Servfail)) => servfail = true,
                // Silence ends the search, but for the name itself.
                Err(_) => break,
            }
        }
        if let Some(error) = as_is {
            return Err(error);
        }
        match self.query(name).await {
            Ok(found) => Ok(found),
            Err((GaiError::NoName, _)) if nodata => Err(GaiError::NoData),
            Err((GaiError::NoName, _)) if servfail => Err(GaiError::Again),
            Err((error, _)) => Err(error),
        }
    }

    /// One name: what the servers say, and what that means (res_query.c, nss_dns).
    async fn query(&self, name: &str) -> Result<Vec<IpAddr>, (GaiError, Unanswered)> {
        let no_name = (GaiError::NoName, Unanswered::Servfail);
        let Ok(mut qname) = Name::from_ascii(name) else { return Err(no_name) };
        qname.set_fqdn(true);
        let question = |id, kind| {
            let mut query = query(id, qname.clone(), kind, true);
            if self.conf.edns0 {
                query.set_edns(edns(EDNS0));
            }
            query
        };
        let questions =
            Questions { a: question(self.id(), RecordType::A), aaaa: question(self.id(), RecordType::AAAA) };
        let replies = self.send(&questions).await.map_err(|why| (GaiError::Again, why))?;
        let codes: Vec<ResponseCode> =
            replies.iter().flatten().map(|reply| reply.metadata.response_code).collect();
        let found: Vec<IpAddr> =
            replies.iter().flatten().flat_map(|reply| addresses_in(reply, &qname)).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        Err(match codes.as_slice() {
            [] => (GaiError::Again, Unanswered::Servfail),
            codes if codes.contains(&ResponseCode::NXDomain) => no_name,
            // One half is missing: the name may have an address that nobody told.
            [ResponseCode::NoError] => (GaiError::Again, Unanswered::Servfail),
            codes if codes.iter().all(|&code| code == ResponseCode::NoError) => {
                (GaiError::NoData, Unanswered::Servfail)
            }
            codes if codes.contains(&ResponseCode::ServFail) => (GaiError::Again, Unanswered::Servfail),
            _ => (GaiError::Fail, Unanswered::Servfail),
        })
    }

    /// __res_context_send(): rounds over the servers.
    async fn send(&self, questions: &Questions) -> Result<Replies, Unanswered> {
        let count = self.conf.nameservers.len();
        let first = match self.conf.rotate {
            false => 0,
            true => {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.turn += 1;
                (state.turn - 1) % count
            }
        };
        let mut over_tcp = self.conf.use_vc;
        let mut servfail = false;
        // A server that stays silent is asked again from the same port.
        let mut sockets: Vec<Option<UdpSocket>> = (0..count).map(|_| None).collect();
        for _ in 0..self.conf.attempts {
            for nth in 0..count {
                let at = (first + nth) % count;
                let ip = self.conf.nameservers[at];
                let server = SocketAddr::new(ip, PORT);
                if !over_tcp {
                    match self.over_udp(server, questions, self.patience(nth), &mut sockets[at]).await {
                        Tried::Answered(replies) => return Ok(replies),
                        Tried::NextServer(code) => servfail = code == Some(ResponseCode::ServFail),
                        Tried::TimedOut => {}
                        Tried::Truncated => over_tcp = true,
                    }
                }
                if over_tcp {
                    match over_tcp_both(server, questions).await {
                        Ok(replies) if replies.iter().any(Option::is_some) => return Ok(replies),
                        Ok(_) => servfail = true,
                        Err(_) => {}
                    }
                }
            }
            if over_tcp {
                // One connection per server, no second round.
                break;
            }
        }
        Err(if servfail { Unanswered::Servfail } else { Unanswered::Over })
    }

    /// What the nth server gets: twice as much as the one before, shared among the servers from the second on.
    fn patience(&self, nth: usize) -> Duration {
        let whole = self.conf.timeout.as_secs() << nth;
        let share = if nth > 0 { whole / self.conf.nameservers.len() as u64 } else { whole };
        Duration::from_secs(share.max(1))
    }

    /// send_dg(): both questions from one socket. When only one is answered in time it may be that the server cannot
    /// take two at once: one after the other then, and at last each from its own port.
    async fn over_udp(
        &self,
        server: SocketAddr,
        questions: &Questions,
        patience: Duration,
        socket: &mut Option<UdpSocket>,
    ) -> Tried {
        let mut way = if self.conf.single_request_reopen {
            Way::Reopening
        } else if self.conf.single_request {
            Way::InTurn
        } else {
            Way::Together
        };
        loop {
            let attempted = attempt(server, questions, patience, way, socket).await;
            if attempted.is_err() {
                // It is closed, and the next attempt has another port.
                *socket = None;
            }
            let half = match attempted.unwrap_or(Attempt::Next(Tried::NextServer(None))) {
                Attempt::Next(tried) => return tried,
                Attempt::Half(replies) => replies,
            };
            way = match way {
                Way::Together => Way::InTurn,
                Way::InTurn => {
                    *socket = None;
                    Way::Reopening
                }
                Way::Reopening => return Tried::Answered(half),
            };
        }
    }
}

impl net::Resolve for Stub {
    fn look_up(
        self: Arc<Self>,
        name: String,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        Box::pin(async move {
            // The text of the standard library around getaddrinfo's.
            let told = |error| io::Error::other(format!("failed to lookup address information: {error}"));
            self.addresses(&name).await.map_err(told)
        })
    }
}

/// How the two questions leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Together,
    InTurn,
    Reopening,
}

/// How one attempt ended.
enum Attempt {
    Next(Tried),
    /// The other question was not answered in time.
    Half(Replies),
}

async fn open(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(any(server), 0)).await?;
    socket.connect(server).await?;
    Ok(socket)
}

async fn attempt(
    server: SocketAddr,
    questions: &Questions,
    patience: Duration,
    way: Way,
    place: &mut Option<UdpSocket>,
) -> io::Result<Attempt> {
    let asked = [&questions.a, &questions.aaaa];
    let bytes = asked.map(|query| query.to_vec().unwrap_or_default());
    let deadline = Instant::now() + patience;
    let mut socket = match place {
        Some(socket) => socket,
        None => place.insert(open(server).await?),
    };
    socket.send(&bytes[0]).await?;
    if way == Way::Together {
        socket.send(&bytes[1]).await?;
    }
    let mut replies: Replies = [None, None];
    let mut done = [false; 2];
    let mut code = None;
    let mut buffer = vec![0; message::LONGEST];
    while done != [true; 2] {
        let Ok(received) = timeout_at(deadline, socket.recv(&mut buffer)).await else {
            return Ok(if replies.iter().any(Option::is_some) {
                Attempt::Half(replies)
            } else {
                Attempt::Next(Tried::TimedOut)
            });
        };
        let n = received?;
        let Ok(reply) = Message::from_vec(&buffer[..n]) else { continue };
        let Some(at) = (0..2).find(|&at| !done[at] && answers(asked[at], &reply)) else { continue };
        done[at] = true;
        if cannot_say(&reply) {
            code = Some(reply.metadata.response_code);
            // With an answer to the other question in hand that is enough.
            if replies.iter().any(Option::is_some) {
                return Ok(Attempt::Next(Tried::Answered(replies)));
            }
        } else if reply.metadata.truncation {
            return Ok(Attempt::Next(Tried::Truncated));
        } else {
            replies[at] = Some(Box::new(reply));
        }
        if way != Way::Together && done != [true; 2] {
            if way == Way::Reopening {
                socket = place.insert(open(server).await?);
            }
            socket.send(&bytes[1]).await?;
        }
    }
    let any = replies.iter().any(Option::is_some);
    Ok(Attempt::Next(if any { Tried::Answered(replies) } else { Tried::NextServer(code) }))
}

/// Whether another server should be asked.
fn cannot_say(reply: &Message) -> bool {
    let metadata = &reply.metadata;
    let code = metadata.response_code;
    let lame = code == ResponseCode::NoError
        && reply.answers.is_empty()
        && !metadata.authoritative
        && !metadata.recursion_available
        && reply.additionals.is_empty()
        && reply.edns.is_none()
        && !metadata.truncation;
    lame || matches!(code, ResponseCode::ServFail | ResponseCode::NotImp | ResponseCode::Refused)
}

/// send_vc(): both questions over one connection. glibc sets no time of its own: the kernel's is in force.
async fn over_tcp_both(server: SocketAddr, questions: &Questions) -> io::Result<Replies> {
    let mut stream = TcpStream::connect(server).await?;
    let asked = [&questions.a, &questions.aaaa];
    for query in asked {
        write_framed(&mut stream, &query.to_vec().map_err(io::Error::other)?).await?;
    }
    let mut replies: Replies = [None, None];
    let mut missing = 2;
    while missing > 0 {
        let Some(bytes) = read_framed(&mut stream).await? else { break };
        let Ok(reply) = Message::from_vec(&bytes) else { break };
        let Some(at) = (0..2).find(|&at| answers(asked[at], &reply)) else { continue };
        missing -= 1;
        replies[at] = (!cannot_say(&reply)).then(|| Box::new(reply));
    }
    Ok(replies)
}

/// The addresses of a name in a reply, through CNAMEs.
fn addresses_in(reply: &Message, name: &Name) -> Vec<IpAddr> {
    let mut owner = name.clone();
    for _ in 0..ALIASES {
        let target = reply.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == owner => Some(target.0.clone()),
            _ => None,
        });
        match target {
            Some(target) => owner = target,
            None => break,
        }
    }
    let own = reply.answers.iter().filter(|record| record.name == owner);
    own.filter_map(|record| match &record.data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    })
    .collect()
}

/// RFC 6724 §6, rules 1 and 6: what cannot be reached comes last; otherwise IPv6 before IPv4. glibc finds out whether there
/// is a way by connecting a UDP socket, which sends nothing.
async fn sorted(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    if addresses.len() < 2 {
        return addresses;
    }
    let mut reachable = Vec::with_capacity(addresses.len());
    for &ip in &addresses {
        reachable.push((ip, open(SocketAddr::new(ip, PORT)).await.is_ok()));
    }
    addresses.sort_by_key(|ip| {
        let way = reachable.iter().any(|(of, way)| of == ip && *way);
        (!way, precedence(*ip))
    });
    addresses
}

/// RFC 6724 §2.1: lower is better here.
fn precedence(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V6(Ipv6Addr::LOCALHOST) => 0,
        IpAddr::V6(_) => 1,
        IpAddr::V4(_) => 2,
    }
}
