//! The recursive resolver: from the root down, by referrals (RFC 1034 §5.3.3), with a cache. Times are BIND's
//! (lib/dns/resolver.c): 800 ms for a server in each of the first three rounds over all servers, then twice that and twice
//! again, 10 s for the whole question; SERVFAIL is remembered for a second. Of several servers the one with the
//! shortest smoothed round trip is asked first, unknown ones before it. QNAME minimisation is relaxed (RFC 9156), on as
//! in BIND and unbound.

use core::pin::Pin;
use core::time::Duration;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::Instant;

use super::cache::{Cache, Known, Limits, Rank};
use super::exchange::{Exchange, Failure, Guard, IdRule};
use super::message::{self, rcode, refusal, reply_to};
use super::server::{port, udp_size, yes};
use super::service::{Answering, Asked, Service, TLS_PORT, own_addresses, serve};
use super::zone;
use crate::app::read_table;
use crate::tls::server::below;
use crate::tls::{ClientOptions, ClientTls, ServerOptions, ServerTls, TlsError};
use crate::{App, AppFuture, Cx, Env, Problem, Ready};

/// The table of `app = "dns-recursor"`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnsRecursor {
    /// The root servers as a `named.root` file: NS records of `.` and their addresses.
    #[serde(default)]
    pub hints: Option<String>,
    /// Asks these resolvers instead of walking from the root.
    #[serde(default)]
    pub forward: Vec<IpAddr>,
    /// Asks `forward` over TLS (RFC 7858, port 853); nobody on the way can read or forge what is said.
    #[serde(default)]
    pub forward_tls: Option<ForwardTls>,
    /// Answers over TLS, too, with this certificate.
    #[serde(default)]
    pub tls: Option<ServerOptions>,
    /// Whether queries have random IDs; true unless given. Otherwise they count up.
    #[serde(default = "yes")]
    pub random_id: bool,
    /// Whether each query leaves from a random port; true unless given. Otherwise all leave from `query_port`.
    #[serde(default = "yes")]
    pub random_port: bool,
    /// The port of all queries when it is not random; 53053 unless given.
    #[serde(default = "query_port")]
    pub query_port: u16,
    /// Whether the letters of a question change case at random (0x20); false unless given.
    #[serde(default)]
    pub mix_case: bool,
    /// Whether each server is asked for no more of the name than it needs (RFC 9156); true unless given.
    #[serde(default = "yes")]
    pub qname_minimisation: bool,
    /// The longest time that records are kept, in s; a day unless given, as unbound's `cache-max-ttl`.
    #[serde(default = "max_ttl")]
    pub max_ttl: u32,
    /// The longest time that the absence of records is kept, in s; three hours unless given, as BIND's `max-ncache-ttl`.
    #[serde(default = "max_negative_ttl")]
    pub max_negative_ttl: u32,
    /// Sets of records in the cache at most; 10,000 unless given.
    #[serde(default = "cache_entries")]
    pub cache_entries: usize,
    /// The largest reply over UDP; 1232 unless given.
    #[serde(default = "udp_size")]
    pub udp_size: u16,
    /// Its port; 53 unless given.
    #[serde(default = "port")]
    pub port: u16,
    /// The addresses that it listens on; all of its host's unless given.
    #[serde(default)]
    pub listen: Vec<IpAddr>,
    /// Prints a line per question, as BIND with `querylog yes`; true unless given.
    #[serde(default = "yes")]
    pub log: bool,
    /// Prints what it asks of whom, and what it learns; false unless given.
    #[serde(default)]
    pub trace: bool,
}

/// How resolvers are asked over TLS.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardTls {
    /// The name that their certificate must prove.
    pub name: String,
    /// More about the TLS.
    #[serde(default)]
    pub tls: ClientOptions,
}

fn query_port() -> u16 {
    53_053
}

fn max_ttl() -> u32 {
    86_400
}

fn max_negative_ttl() -> u32 {
    10_800
}

fn cache_entries() -> usize {
    10_000
}

/// All that is done for one question; BIND's `resolver-query-timeout`.
const QUESTION_TIME: Duration = Duration::from_secs(10);
/// What a server gets in the first rounds, and how many those are.
const RETRY: Duration = Duration::from_millis(800);
const ROUNDS_WITHOUT_BACKOFF: u32 = 3;
/// Queries for one question at most; BIND's `max-recursion-queries` was 100.
const QUERIES: u32 = 100;
/// Names of servers that are looked up for the sake of others, one within the other; BIND's `max-recursion-depth`.
const DEPTH: u32 = 7;
/// Referrals from the root to the answer.
const REFERRALS: usize = 30;
/// CNAMEs from the question to the answer.
const CNAMES: usize = 11;
/// Labels that are added one at a time; RFC 9156 §2.3 MAX_MINIMISE_COUNT.
const MINIMISED: usize = 10;

/// Reads the table.
///
/// # Errors
/// What is wrong with keys and hints.
pub fn read(table: &Map<String, Value>, env: &Env) -> Result<Ready, Vec<Problem>> {
    let config: DnsRecursor = read_table(table)?;
    let of_tls = config.tls.as_ref().map_or_else(Vec::new, |tls| below("tls", tls.check(env)));
    let of_forward = config
        .forward_tls
        .as_ref()
        .map_or_else(Vec::new, |forward| below("forward_tls", below("tls", forward.tls.check(env))));
    let problems = [of_tls, of_forward].concat();
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Arc::new(Recursor::new(config)?))
}

/// A recursive resolver whose hints are read.
#[derive(Debug)]
pub struct Recursor {
    config: DnsRecursor,
    roots: Servers,
}

/// Servers of a zone by name, with the addresses that are known.
type Servers = Vec<(Name, Vec<IpAddr>)>;

impl Recursor {
    /// Reads the hints.
    ///
    /// # Errors
    /// Hints that do not parse, with the line; neither hints nor forwarders.
    pub fn new(config: DnsRecursor) -> Result<Recursor, Vec<Problem>> {
        let problem = |path: &[&str], message: String| {
            vec![Problem { path: path.iter().map(|&key| key.into()).collect(), message, help: None }]
        };
        let roots = match &config.hints {
            Some(text) => {
                let records =
                    zone::records(&Name::root(), text).map_err(|e| problem(&["hints"], e.to_string()))?;
                let servers = servers_of(&records, &records, &Name::root());
                if servers.iter().all(|(_, addresses)| addresses.is_empty()) {
                    return Err(problem(&["hints"], "the hints name no root server with an address".into()));
                }
                servers
            }
            None if config.forward.is_empty() => {
                return Err(problem(&[], "a recursor needs `hints` or `forward`".into()));
            }
            None => Vec::new(),
        };
        Ok(Recursor { config, roots })
    }
}

impl App for Recursor {
    fn run(self: Arc<Self>, cx: Cx) -> AppFuture {
        Box::pin(async move {
            let addresses = own_addresses(&cx, &self.config.listen);
            let port = self.config.port;
            let own = self.config.tls.clone();
            let tls = own.map(|options| ServerTls::new(&options, &cx.env().pki, Some(&cx))).transpose();
            match (Resolver::new(self, cx.clone()), tls) {
                (Ok(resolver), Ok(tls)) => serve(&cx, Arc::new(resolver), addresses, port, tls).await,
                (Err(error), _) | (_, Err(error)) => {
                    cx.print(format!("dns-recursor: {error}"));
                    1
                }
            }
        })
    }

    fn serves(&self) -> bool {
        true
    }
}

/// The servers that NS records of `cut` name, with the addresses among `glue`.
fn servers_of(records: &[Record], glue: &[Record], cut: &Name) -> Servers {
    let names = records.iter().filter(|record| record.name == *cut).filter_map(|record| match &record.data {
        RData::NS(ns) => Some(ns.0.clone()),
        _ => None,
    });
    let with_addresses = |name: Name| {
        let own = glue.iter().filter(|record| record.name == name);
        let addresses = own.filter_map(address).collect();
        (name, addresses)
    };
    names.map(with_addresses).collect()
}

fn address(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(a) => Some(a.0.into()),
        RData::AAAA(aaaa) => Some(aaaa.0.into()),
        _ => None,
    }
}

/// How many labels a name has, the root none and `*` counted as any other.
fn depth(name: &Name) -> usize {
    name.iter().count()
}

/// A recursor at work.
struct Resolver {
    recursor: Arc<Recursor>,
    cx: Cx,
    cache: Mutex<Cache>,
    exchange: Exchange,
    /// With `forward_tls`: TLS, and the name to be proven.
    forward_tls: Option<(ClientTls, String)>,
    /// Smoothed round trips.
    round_trips: Mutex<BTreeMap<IpAddr, Duration>>,
    /// Questions in work: whoever asks the same waits for the same answer.
    in_work: Mutex<BTreeMap<(LowerName, RecordType), Coming>>,
    /// Queries that are out: a server is not asked the same twice at a time, as unbound's serviced queries.
    out: Mutex<BTreeMap<(IpAddr, LowerName, RecordType), Awaited>>,
}

/// What a server will say.
type Awaited = watch::Receiver<Option<Result<Message, Failure>>>;

/// What will come of a question in work.
type Coming = watch::Receiver<Option<Resolved>>;

/// What came of a question.
#[derive(Clone, Debug)]
struct Resolved {
    code: ResponseCode,
    answers: Vec<Record>,
    soa: Option<Record>,
}

impl Resolved {
    fn failed(answers: Vec<Record>) -> Resolved {
        Resolved { code: ResponseCode::ServFail, answers, soa: None }
    }
}

/// What a client's question may spend.
struct Quest {
    deadline: Instant,
    queries: AtomicU32,
}

/// A reply that helps, and of which zone.
struct Useful {
    cut: Name,
    reply: Message,
}

/// What a reply is worth.
enum Worth {
    /// It answers: with records, a CNAME, or with their absence.
    Answer,
    /// It names the servers of a zone below.
    Referral(Name),
    /// Nothing: somebody else may know more.
    Lame(&'static str),
}

type Walking<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Resolver {
    fn new(recursor: Arc<Recursor>, cx: Cx) -> Result<Resolver, TlsError> {
        let config = &recursor.config;
        let limits = Limits {
            ttl: Duration::from_secs(config.max_ttl.into()),
            negative_ttl: Duration::from_secs(config.max_negative_ttl.into()),
            entries: config.cache_entries,
        };
        let guard = Guard {
            ids: if config.random_id { IdRule::Random } else { IdRule::Sequential },
            port: (!config.random_port).then_some(config.query_port),
            mix_case: config.mix_case,
        };
        let forward_tls = match &config.forward_tls {
            Some(forward) => {
                Some((ClientTls::new(&forward.tls, &cx.env().pki, Some(&cx))?, forward.name.clone()))
            }
            None => None,
        };
        Ok(Resolver {
            forward_tls,
            cache: Mutex::new(Cache::new(limits)),
            exchange: Exchange::new(guard, cx.seed("exchange")),
            round_trips: Mutex::default(),
            in_work: Mutex::default(),
            out: Mutex::default(),
            recursor,
            cx,
        })
    }

    fn config(&self) -> &DnsRecursor {
        &self.recursor.config
    }

    fn trace(&self, line: impl FnOnce() -> String) {
        if self.config().trace {
            self.cx.print(line());
        }
    }

    /// The answer, by whoever works on the question already.
    async fn resolve_once(&self, name: &Name, kind: RecordType) -> Resolved {
        let key = (LowerName::new(name), kind);
        let (tell, waiting) = watch::channel(None);
        let others = match locked(&self.in_work).entry(key.clone()) {
            Entry::Occupied(entry) => Some(entry.get().clone()),
            Entry::Vacant(entry) => {
                entry.insert(waiting);
                None
            }
        };
        if let Some(mut others) = others {
            let resolved = others.wait_for(Option::is_some).await.ok().and_then(|resolved| resolved.clone());
            return resolved.unwrap_or_else(|| Resolved::failed(Vec::new()));
        }
        let quest = Quest { deadline: Instant::now() + QUESTION_TIME, queries: AtomicU32::new(0) };
        let before = self.exchange.unwanted();
        let resolved = self.resolve(name.clone(), kind, &quest, 0).await;
        let unwanted = self.exchange.unwanted() - before;
        if unwanted > 0 {
            let question = message::bare(name);
            self.cx.print(format!(
                "{question} {kind}: {unwanted} unwanted replies: wrong ID, question or sender"
            ));
        }
        locked(&self.in_work).remove(&key);
        let _ = tell.send(Some(resolved.clone()));
        resolved
    }

    /// Follows CNAMEs from cache and servers to the answer.
    fn resolve<'a>(
        &'a self,
        name: Name,
        kind: RecordType,
        quest: &'a Quest,
        depth: u32,
    ) -> Walking<'a, Resolved> {
        Box::pin(async move {
            let mut owner = name;
            let mut answers = Vec::new();
            for _ in 0..=CNAMES {
                if let Some(target) = self.recall(&owner, kind, &mut answers) {
                    match target {
                        Step::Next(target) => owner = target,
                        Step::Done(code, soa) => return Resolved { code, answers, soa },
                    }
                    continue;
                }
                let Some(useful) = self.iterate(&owner, kind, quest, depth).await else {
                    let lower = LowerName::new(&owner);
                    locked(&self.cache).keep_nothing(lower, kind, ResponseCode::ServFail, None);
                    return Resolved::failed(answers);
                };
                match self.take_answer(&owner, kind, &useful, &mut answers) {
                    Step::Next(target) => owner = target,
                    Step::Done(code, soa) => return Resolved { code, answers, soa },
                }
            }
            Resolved::failed(answers)
        })
    }

    fn recall(&self, owner: &Name, kind: RecordType, answers: &mut Vec<Record>) -> Option<Step> {
        let lower = LowerName::new(owner);
        let cache = locked(&self.cache);
        match cache.find(&lower, kind, Rank::Answer) {
            Some(Known::Records(records)) => {
                answers.extend(records);
                return Some(Step::Done(ResponseCode::NoError, None));
            }
            Some(Known::Nothing(code, soa)) => return Some(Step::Done(code, soa.map(|soa| *soa))),
            None if kind == RecordType::CNAME => return None,
            None => {}
        }
        match cache.find(&lower, RecordType::CNAME, Rank::Answer)? {
            Known::Records(records) => {
                let target = target_of(&records)?;
                answers.extend(records);
                Some(Step::Next(target))
            }
            Known::Nothing(..) => None,
        }
    }

    /// Takes from a reply what its zone may say, into the cache and the answer.
    fn take_answer(
        &self,
        owner: &Name,
        kind: RecordType,
        useful: &Useful,
        answers: &mut Vec<Record>,
    ) -> Step {
        let Useful { cut, reply } = useful;
        let mut cache = locked(&self.cache);
        let mut owner = owner.clone();
        for _ in 0..=CNAMES {
            let of = |kind: RecordType| {
                let own = reply.answers.iter().filter(|r| r.name == owner && cut.zone_of(&r.name));
                own.filter(|r| r.record_type() == kind || kind == RecordType::ANY)
                    .cloned()
                    .collect::<Vec<_>>()
            };
            let found = of(kind);
            let lower = LowerName::new(&owner);
            if !found.is_empty() {
                if kind != RecordType::ANY {
                    cache.keep(lower, kind, found.clone(), Rank::Answer);
                }
                answers.extend(found);
                return Step::Done(ResponseCode::NoError, None);
            }
            let cname = of(RecordType::CNAME);
            let Some(target) = target_of(&cname) else { break };
            cache.keep(lower, RecordType::CNAME, cname.clone(), Rank::Answer);
            answers.extend(cname);
            owner = target;
        }
        let is_soa = |r: &&Record| {
            r.record_type() == RecordType::SOA && cut.zone_of(&r.name) && r.name.zone_of(&owner)
        };
        let soa = reply.authorities.iter().find(is_soa).cloned();
        if soa.is_none() && !answers.is_empty() {
            // The CNAME leads out of what this server knows.
            return Step::Next(owner);
        }
        let code = reply.metadata.response_code;
        cache.keep_nothing(LowerName::new(&owner), kind, code, soa.clone());
        // With the time that the cache gives it.
        match cache.find(&LowerName::new(&owner), kind, Rank::Answer) {
            Some(Known::Nothing(code, soa)) => Step::Done(code, soa.map(|soa| *soa)),
            _ => Step::Done(code, soa),
        }
    }

    /// From the deepest zone whose servers are known down to a reply that settles the question.
    async fn iterate(
        &self,
        name: &Name,
        kind: RecordType,
        quest: &Quest,
        depth_of_quest: u32,
    ) -> Option<Useful> {
        if !self.config().forward.is_empty() {
            let servers = vec![(Name::root(), self.config().forward.clone())];
            let reply =
                self.ask_any(&Name::root(), &servers, (name, name, kind), quest, depth_of_quest).await?;
            return Some(Useful { cut: Name::root(), reply: reply.0 });
        }
        let (mut cut, mut servers) = self.closest(name);
        let all = depth(name);
        let mut added = 0;
        let mut shown = depth(&cut) + 1;
        for _ in 0..REFERRALS {
            if !self.config().qname_minimisation || added >= MINIMISED || shown > all {
                shown = all;
            }
            let (asked, asked_kind) =
                if shown < all { (name.trim_to(shown), RecordType::A) } else { (name.clone(), kind) };
            let (reply, worth) =
                self.ask_any(&cut, &servers, (&asked, name, asked_kind), quest, depth_of_quest).await?;
            match worth {
                Worth::Referral(below) => {
                    servers = self.take_referral(&cut, &below, &reply);
                    cut = below;
                    shown = depth(&cut) + 1;
                    added += 1;
                }
                _ if shown == all => return Some(Useful { cut, reply }),
                // Relaxed: a server may say that a name does not exist under which others do.
                _ if reply.metadata.response_code == ResponseCode::NXDomain => shown = all,
                _ => {
                    shown += 1;
                    added += 1;
                }
            }
        }
        None
    }

    /// The deepest zone over a name whose servers the cache has, or the root.
    fn closest(&self, name: &Name) -> (Name, Servers) {
        let cache = locked(&self.cache);
        let addresses = |server: &Name| {
            let lower = LowerName::new(server);
            let of = |kind| match cache.find(&lower, kind, Rank::Glue) {
                Some(Known::Records(records)) => records.iter().filter_map(address).collect(),
                _ => Vec::new(),
            };
            [of(RecordType::A), of(RecordType::AAAA)].concat()
        };
        for labels in (1..=depth(name)).rev() {
            let cut = name.trim_to(labels);
            let Some(Known::Records(records)) = cache.find(&LowerName::new(&cut), RecordType::NS, Rank::Glue)
            else {
                continue;
            };
            let names = records.iter().filter_map(|record| match &record.data {
                RData::NS(ns) => Some(ns.0.clone()),
                _ => None,
            });
            let servers: Servers = names.map(|name| (name.clone(), addresses(&name))).collect();
            // Servers within the zone whose addresses are gone can only be found from above.
            if servers.iter().any(|(server, addresses)| !addresses.is_empty() || !cut.zone_of(server)) {
                return (cut, servers);
            }
        }
        (Name::root(), self.recursor.roots.clone())
    }

    /// Keeps the servers of a zone below, and their addresses as far as the zone above may speak for them.
    fn take_referral(&self, cut: &Name, below: &Name, reply: &Message) -> Servers {
        let is_ns = |r: &&Record| r.name == *below && r.record_type() == RecordType::NS;
        let ns: Vec<Record> = reply.authorities.iter().filter(is_ns).cloned().collect();
        let believed = |r: &&Record| address(r).is_some() && cut.zone_of(&r.name);
        let glue: Vec<Record> = reply.additionals.iter().filter(believed).cloned().collect();
        let servers = servers_of(&ns, &glue, below);
        let mut cache = locked(&self.cache);
        cache.keep(LowerName::new(below), RecordType::NS, ns, Rank::Referral);
        for (server, _) in &servers {
            for kind in [RecordType::A, RecordType::AAAA] {
                let own = glue.iter().filter(|r| r.name == *server && r.record_type() == kind);
                cache.keep(LowerName::new(server), kind, own.cloned().collect(), Rank::Glue);
            }
        }
        servers
    }

    /// Asks the servers of a zone until one helps. `asked` is what is asked, for the sake of a name.
    async fn ask_any(
        &self,
        cut: &Name,
        servers: &Servers,
        (asked, name, kind): (&Name, &Name, RecordType),
        quest: &Quest,
        depth: u32,
    ) -> Option<(Message, Worth)> {
        let mut candidates = self.candidates(servers, quest, depth).await;
        for round in 0.. {
            self.sort(&mut candidates);
            for server in candidates.clone() {
                let left = quest.deadline.checked_duration_since(Instant::now())?;
                if left.is_zero() || quest.queries.fetch_add(1, Ordering::Relaxed) >= QUERIES {
                    return None;
                }
                let outcome = self.ask_one(server, cut, (asked, name, kind), round, left).await;
                match outcome {
                    Ok(useful) => return Some(useful),
                    Err(Failure::Timeout) => {}
                    Err(Failure::Unreachable | Failure::Broken) => {
                        candidates.retain(|&other| other != server)
                    }
                }
            }
            if candidates.is_empty() {
                return None;
            }
        }
        None
    }

    /// Addresses of servers; when none is known, the servers' names are questions of their own.
    async fn candidates(&self, servers: &Servers, quest: &Quest, depth: u32) -> Vec<IpAddr> {
        let known: Vec<IpAddr> =
            servers.iter().flat_map(|(_, addresses)| addresses.iter().copied()).collect();
        if !known.is_empty() || depth >= DEPTH {
            return known;
        }
        for (server, _) in servers {
            let resolved = self.resolve(server.clone(), RecordType::A, quest, depth + 1).await;
            let found: Vec<IpAddr> = resolved.answers.iter().filter_map(address).collect();
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    /// The fastest first; those that were never asked before them, in any order.
    fn sort(&self, candidates: &mut [IpAddr]) {
        for at in (1..candidates.len()).rev() {
            candidates.swap(at, self.exchange.choose(at + 1));
        }
        let round_trips = locked(&self.round_trips);
        candidates.sort_by_key(|ip| round_trips.get(ip).copied());
    }

    async fn ask_one(
        &self,
        server: IpAddr,
        cut: &Name,
        (asked, name, kind): (&Name, &Name, RecordType),
        round: u32,
        left: Duration,
    ) -> Result<(Message, Worth), Failure> {
        let patience = RETRY * (1 << (round + 1).saturating_sub(ROUNDS_WITHOUT_BACKOFF).min(8));
        let slow = locked(&self.round_trips).get(&server).copied().unwrap_or_default() * 2;
        let forwarding = !self.config().forward.is_empty();
        let start = Instant::now();
        let question = || format!("{} {kind}", message::bare(asked));
        let at = SocketAddr::new(server, 53);
        let key = (server, LowerName::new(asked), kind);
        let (tell, waiting) = watch::channel(None);
        let other = match locked(&self.out).entry(key.clone()) {
            Entry::Occupied(entry) => Some(entry.get().clone()),
            Entry::Vacant(entry) => {
                entry.insert(waiting);
                None
            }
        };
        let result = match other {
            Some(mut other) => {
                let told = other.wait_for(Option::is_some).await.ok().and_then(|told| told.clone());
                told.unwrap_or(Err(Failure::Timeout))
            }
            None => {
                let result = match &self.forward_tls {
                    None => {
                        self.exchange.ask(at, asked, kind, forwarding, patience.max(slow).min(left)).await
                    }
                    Some((tls, proven)) => {
                        let at = SocketAddr::new(server, TLS_PORT);
                        let told = self.exchange.ask_tls(at, (tls, proven), (asked, kind)).await;
                        told.map_err(|why| {
                            self.cx.print(format!("DNS over TLS to {server}: {why}"));
                            Failure::Broken
                        })
                    }
                };
                locked(&self.out).remove(&key);
                let _ = tell.send(Some(result.clone()));
                result
            }
        };
        self.learn(server, start.elapsed(), result.is_ok());
        let reply = result.inspect_err(|failure| {
            self.trace(|| format!("{} -> {server}: {failure:?}", question()));
        })?;
        let worth = if forwarding { worth_of_forwarder(&reply) } else { worth(cut, name, &reply) };
        self.trace(|| {
            let code = rcode(reply.metadata.response_code);
            let what = match &worth {
                Worth::Answer => format!("{code}, {} records", reply.answers.len()),
                Worth::Referral(below) => format!("ask the servers of {below}"),
                Worth::Lame(why) => format!("{code}: {why}"),
            };
            format!("{} -> {server} (zone {cut}): {what}", question())
        });
        match worth {
            Worth::Lame(_) => Err(Failure::Broken),
            worth => Ok((reply, worth)),
        }
    }

    /// Smooths the round trip as BIND: 7 parts old and 3 new; silence counts as 200 ms more.
    fn learn(&self, server: IpAddr, took: Duration, answered: bool) {
        let mut round_trips = locked(&self.round_trips);
        let old = round_trips.get(&server).copied();
        let new = match (old, answered) {
            (None, true) => took,
            (Some(old), true) => (old * 7 + took * 3) / 10,
            (old, false) => {
                (old.unwrap_or_default() + Duration::from_millis(200)).min(Duration::from_secs(10))
            }
        };
        if round_trips.len() < self.config().cache_entries || old.is_some() {
            round_trips.insert(server, new);
        }
    }
}

/// Where the walk stands.
enum Step {
    Next(Name),
    Done(ResponseCode, Option<Record>),
}

fn target_of(records: &[Record]) -> Option<Name> {
    records.iter().find_map(|record| match &record.data {
        RData::CNAME(target) => Some(target.0.clone()),
        _ => None,
    })
}

fn worth_of_forwarder(reply: &Message) -> Worth {
    match reply.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Worth::Answer,
        _ => Worth::Lame("it cannot say"),
    }
}

/// What the reply of a server of the zone `cut` says about `name`.
fn worth(cut: &Name, name: &Name, reply: &Message) -> Worth {
    match reply.metadata.response_code {
        ResponseCode::NXDomain => return Worth::Answer,
        ResponseCode::NoError => {}
        _ => return Worth::Lame("it cannot say"),
    }
    if !reply.answers.is_empty() {
        return Worth::Answer;
    }
    let mut authorities = reply.authorities.iter();
    if reply.authorities.iter().any(|r| r.record_type() == RecordType::SOA) {
        return Worth::Answer;
    }
    let below = |r: &&Record| {
        r.record_type() == RecordType::NS && r.name != *cut && cut.zone_of(&r.name) && r.name.zone_of(name)
    };
    match authorities.find(below) {
        Some(ns) => Worth::Referral(ns.name.clone()),
        // No records, and nothing about it: the name has none of this type.
        None if reply.metadata.authoritative => Worth::Answer,
        None => Worth::Lame("it is not authoritative and names nobody who is"),
    }
}

impl Service for Resolver {
    fn answer(self: Arc<Self>, asked: Asked) -> Answering {
        Box::pin(async move {
            if self.config().log {
                self.cx.print(asked.log_line());
            }
            // Without "recursion desired" only the cache would be asked; unbound refuses to tell what is in it.
            if !asked.query.metadata.recursion_desired {
                return Some(refusal(&asked.query, ResponseCode::Refused));
            }
            let question = asked.query.queries.first()?.clone();
            let resolved = self.resolve_once(&question.name, question.query_type).await;
            let mut reply = reply_to(&asked.query);
            reply.metadata.recursion_available = true;
            reply.metadata.response_code = resolved.code;
            reply.add_answers(resolved.answers.into_iter().map(|mut record| {
                // In the letters of the question.
                if record.name == question.name {
                    record.name = question.name.clone();
                }
                record
            }));
            reply.add_authorities(resolved.soa);
            Some(reply)
        })
    }

    fn udp_size(&self) -> u16 {
        self.config().udp_size
    }
}
