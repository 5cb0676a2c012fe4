//! One zone's servers: which is asked first, how long it gets, what its reply is worth.

use core::time::Duration;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{LowerName, Name, Record, RecordType};
use tokio::sync::watch;
use tokio::time::Instant;

use super::resolver::{Quest, Resolver, locked};
use super::walk::{Servers, address};
use crate::dns::exchange::Failure;
use crate::dns::message::{self, rcode};
use crate::dns::service::TLS_PORT;

/// What a server gets in the first rounds, and how many those are.
const RETRY: Duration = Duration::from_millis(800);
const ROUNDS_WITHOUT_BACKOFF: u32 = 3;
/// Queries for one question at most; BIND's `max-recursion-queries` was 100.
const QUERIES: u32 = 100;
/// Names of servers that are looked up for the sake of others, one within the other; BIND's `max-recursion-depth`.
const DEPTH: u32 = 7;

/// What a reply is worth.
pub(super) enum Worth {
    /// It answers: with records, a CNAME, or with their absence.
    Answer,
    /// It names the servers of a zone below.
    Referral(Name),
    /// Nothing: somebody else may know more.
    Lame(&'static str),
}

impl Resolver {
    /// Asks the servers of a zone until one helps. `asked` is what is asked, for the sake of a name.
    pub(super) async fn ask_any(
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
                let patience = patience.max(slow).min(left);
                let result = self.send(server, asked, kind, patience).await;
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

    /// Sends a question in the way that is configured.
    async fn send(
        &self,
        server: IpAddr,
        asked: &Name,
        kind: RecordType,
        patience: Duration,
    ) -> Result<Message, Failure> {
        let told = |way: &str, why: String| {
            self.cx.print(format!("DNS over {way} to {server}: {why}"));
            Failure::Broken
        };
        if let Some((tls, proven)) = &self.forward_tls {
            let at = SocketAddr::new(server, TLS_PORT);
            let reply = self.exchange.ask_tls(at, (tls, proven), (asked, kind)).await;
            return reply.map_err(|why| told("TLS", why));
        }
        if let Some(https) = &self.forward_https {
            let reply = self.exchange.ask_https(server, https, (asked, kind)).await;
            return reply.map_err(|why| told("HTTPS", why));
        }
        let forwarding = !self.config().forward.is_empty();
        self.exchange.ask(SocketAddr::new(server, 53), asked, kind, forwarding, patience).await
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
