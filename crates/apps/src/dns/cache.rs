//! What a resolver remembers: records until their TTL is over (RFC 1035 §7.4), that a name or a type is not there (RFC 2308 §5),
//! and which data may replace which (RFC 2181 §5.4.1).

use core::time::Duration;
use std::collections::BTreeMap;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{LowerName, Record, RecordType};
use tokio::time::Instant;

use super::message::negative_ttl;

/// How far data is believed, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Addresses that came with a referral.
    Glue,
    /// The servers that a parent zone names.
    Referral,
    /// The answer to a question.
    Answer,
}

/// What is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Records, their TTLs counted down.
    Records(Vec<Record>),
    /// That there is nothing: no such name, no such type, or nobody could say (`SERVFAIL`).
    Nothing(ResponseCode, Option<Box<Record>>),
}

#[derive(Debug)]
struct Entry {
    known: Known,
    rank: Rank,
    stored: Instant,
    until: Instant,
}

/// Limits of a cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The longest time that records are kept.
    pub(crate) ttl: Duration,
    /// The longest time that their absence is.
    pub(crate) negative_ttl: Duration,
    /// Sets of records at most; then the next to expire goes.
    pub(crate) entries: usize,
}

/// How long `SERVFAIL` is remembered; BIND's `servfail-ttl`.
const SERVFAIL_TTL: Duration = Duration::from_secs(1);

/// The cache. A name that does not exist is an entry of type ANY.
#[derive(Debug)]
pub(crate) struct Cache {
    limits: Limits,
    entries: BTreeMap<(LowerName, RecordType), Entry>,
}

impl Cache {
    pub(crate) fn new(limits: Limits) -> Cache {
        Cache { limits, entries: BTreeMap::new() }
    }

    /// What is known of a name's records of a type.
    pub(crate) fn find(&self, name: &LowerName, kind: RecordType, least: Rank) -> Option<Known> {
        let now = Instant::now();
        let alive = |kind| {
            let entry = self.entries.get(&(name.clone(), kind))?;
            (now < entry.until && entry.rank >= least).then_some(entry)
        };
        let entry = alive(RecordType::ANY).or_else(|| alive(kind))?;
        let age = u32::try_from(now.duration_since(entry.stored).as_secs()).unwrap_or(u32::MAX);
        let aged = |record: &Record| {
            let mut record = record.clone();
            record.ttl = record.ttl.saturating_sub(age);
            record
        };
        Some(match &entry.known {
            Known::Records(records) => Known::Records(records.iter().map(aged).collect()),
            Known::Nothing(code, soa) => Known::Nothing(*code, soa.as_deref().map(aged).map(Box::new)),
        })
    }

    /// Keeps the records of one name and type.
    pub(crate) fn keep(&mut self, name: LowerName, kind: RecordType, mut records: Vec<Record>, rank: Rank) {
        // The records of a set share the shortest TTL (RFC 2181 §5.2).
        let Some(ttl) = records.iter().map(|record| record.ttl).min() else { return };
        let ttl = ttl.min(u32::try_from(self.limits.ttl.as_secs()).unwrap_or(u32::MAX));
        records.iter_mut().for_each(|record| record.ttl = ttl);
        self.entries.remove(&(name.clone(), RecordType::ANY));
        self.store((name, kind), Known::Records(records), rank, Duration::from_secs(ttl.into()));
    }

    /// Keeps that there is nothing. Without a SOA nobody knows for how long, and nothing is kept (RFC 2308 §5).
    pub(crate) fn keep_nothing(
        &mut self,
        name: LowerName,
        kind: RecordType,
        code: ResponseCode,
        soa: Option<Record>,
    ) {
        let key = if code == ResponseCode::NXDomain { RecordType::ANY } else { kind };
        if code == ResponseCode::ServFail {
            return self.store((name, key), Known::Nothing(code, None), Rank::Answer, SERVFAIL_TTL);
        }
        let Some(mut soa) = soa else { return };
        let Some(ttl) = negative_ttl(&soa) else { return };
        soa.ttl = ttl.min(u32::try_from(self.limits.negative_ttl.as_secs()).unwrap_or(u32::MAX));
        let time = Duration::from_secs(soa.ttl.into());
        self.store((name, key), Known::Nothing(code, Some(Box::new(soa))), Rank::Answer, time);
    }

    fn store(&mut self, key: (LowerName, RecordType), known: Known, rank: Rank, time: Duration) {
        let now = Instant::now();
        if self.entries.get(&key).is_some_and(|old| now < old.until && old.rank > rank) {
            return;
        }
        if self.entries.len() >= self.limits.entries && !self.entries.contains_key(&key) {
            self.entries.retain(|_, entry| now < entry.until);
            if self.entries.len() >= self.limits.entries {
                let next =
                    self.entries.iter().min_by_key(|(_, entry)| entry.until).map(|(key, _)| key.clone());
                next.map(|key| self.entries.remove(&key));
            }
        }
        self.entries.insert(key, Entry { known, rank, stored: now, until: now + time });
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use hickory_proto::rr::rdata::{A, SOA};
    use hickory_proto::rr::{Name, RData};
    use tokio::time::advance;

    use super::*;

    const LIMITS: Limits =
        Limits { ttl: Duration::from_secs(86_400), negative_ttl: Duration::from_secs(3600), entries: 3 };

    fn a(name: &str, ttl: u32, last: u8) -> Record {
        Record::from_rdata(Name::from_ascii(name).unwrap(), ttl, RData::A(A(Ipv4Addr::new(192, 0, 2, last))))
    }

    fn key(name: &str) -> LowerName {
        LowerName::new(&Name::from_ascii(name).unwrap())
    }

    fn ttl(cache: &Cache, name: &str) -> Option<u32> {
        match cache.find(&key(name), RecordType::A, Rank::Glue)? {
            Known::Records(records) => records.first().map(|record| record.ttl),
            Known::Nothing(_, soa) => soa.map(|soa| soa.ttl),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn records_age_and_go_with_their_ttl() {
        let mut cache = Cache::new(LIMITS);
        cache.keep(
            key("a.example."),
            RecordType::A,
            vec![a("a.example.", 60, 1), a("a.example.", 90, 2)],
            Rank::Answer,
        );
        advance(Duration::from_millis(59_999)).await;
        assert_eq!(ttl(&cache, "a.example."), Some(1));
        advance(Duration::from_millis(1)).await;
        assert_eq!(ttl(&cache, "a.example."), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_name_is_missing_for_all_types_as_long_as_its_soa_says() {
        let mut cache = Cache::new(LIMITS);
        let root = Name::root();
        let soa = SOA::new(root.clone(), root.clone(), 1, 2, 3, 4, 30);
        let soa = Record::from_rdata(root, 500, RData::SOA(soa));
        cache.keep_nothing(key("no.example."), RecordType::AAAA, ResponseCode::NXDomain, Some(soa));
        assert_eq!(ttl(&cache, "no.example."), Some(30));
        advance(Duration::from_secs(30)).await;
        assert_eq!(ttl(&cache, "no.example."), None);
    }

    #[tokio::test(start_paused = true)]
    async fn glue_does_not_replace_an_answer_and_the_next_to_expire_makes_room() {
        let mut cache = Cache::new(LIMITS);
        for (name, ttl) in [("a.", 10), ("b.", 5), ("c.", 20)] {
            cache.keep(key(name), RecordType::A, vec![a(name, ttl, 1)], Rank::Answer);
        }
        cache.keep(key("a."), RecordType::A, vec![a("a.", 99, 2)], Rank::Glue);
        assert_eq!(ttl(&cache, "a."), Some(10));
        cache.keep(key("d."), RecordType::A, vec![a("d.", 7, 1)], Rank::Glue);
        assert_eq!(
            ["a.", "b.", "c.", "d."].map(|name| ttl(&cache, name)),
            [Some(10), None, Some(20), Some(7)]
        );
    }
}
