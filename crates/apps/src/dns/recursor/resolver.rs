//! A question's answer: from the cache, from somebody who works on it already, or by a walk, CNAME by CNAME.

use core::pin::Pin;
use core::time::Duration;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{DnsRecursor, Recursor};
use crate::Cx;
use crate::dns::cache::{Cache, Known, Limits, Rank};
use crate::dns::exchange::{Exchange, Failure, Guard, IdRule};
use crate::dns::https::Asker;
use crate::dns::message::{self, refusal, reply_to};
use crate::dns::service::{Answering, Asked, Service};
use crate::tls::ClientTls;

/// All that is done for one question; BIND's `resolver-query-timeout`.
const QUESTION_TIME: Duration = Duration::from_secs(10);
/// CNAMEs from the question to the answer.
const CNAMES: usize = 11;

/// A recursor at work.
pub(super) struct Resolver {
    pub(super) recursor: Arc<Recursor>,
    pub(super) cx: Cx,
    pub(super) cache: Mutex<Cache>,
    pub(super) exchange: Exchange,
    /// With `forward_tls`: TLS, and the name to be proven.
    pub(super) forward_tls: Option<(ClientTls, String)>,
    pub(super) forward_https: Option<Asker>,
    /// Smoothed round trips.
    pub(super) round_trips: Mutex<BTreeMap<IpAddr, Duration>>,
    /// Questions in work: whoever asks the same waits for the same answer.
    in_work: Mutex<BTreeMap<(LowerName, RecordType), Coming>>,
    /// Queries that are out: a server is not asked the same twice at a time, as unbound's serviced queries.
    pub(super) out: Mutex<BTreeMap<(IpAddr, LowerName, RecordType), Awaited>>,
}

/// What a server will say.
pub(super) type Awaited = watch::Receiver<Option<Result<Message, Failure>>>;

/// What will come of a question in work.
type Coming = watch::Receiver<Option<Resolved>>;

/// What came of a question.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) code: ResponseCode,
    pub(super) answers: Vec<Record>,
    pub(super) soa: Option<Record>,
}

impl Resolved {
    fn failed(answers: Vec<Record>) -> Resolved {
        Resolved { code: ResponseCode::ServFail, answers, soa: None }
    }
}

/// What a client's question may spend.
pub(super) struct Quest {
    pub(super) deadline: Instant,
    pub(super) queries: AtomicU32,
}

/// A reply that helps, and of which zone.
pub(super) struct Useful {
    pub(super) cut: Name,
    pub(super) reply: Message,
}

type Walking<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Resolver {
    pub(super) fn new(recursor: Arc<Recursor>, cx: Cx) -> Result<Resolver, String> {
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
                let tls = ClientTls::new(&forward.tls, &cx.env().pki, Some(&cx));
                Some((tls.map_err(|error| error.to_string())?, forward.name.clone()))
            }
            None => None,
        };
        let https = config.forward_https.as_ref();
        let forward_https = https.map(|https| Asker::new(https, &config.forward, &cx)).transpose()?;
        Ok(Resolver {
            forward_tls,
            forward_https,
            cache: Mutex::new(Cache::new(limits)),
            exchange: Exchange::new(guard, cx.seed("exchange")),
            round_trips: Mutex::default(),
            in_work: Mutex::default(),
            out: Mutex::default(),
            recursor,
            cx,
        })
    }

    pub(super) fn config(&self) -> &DnsRecursor {
        &self.recursor.config
    }

    pub(super) fn trace(&self, line: impl FnOnce() -> String) {
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
    pub(super) fn resolve<'a>(
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
