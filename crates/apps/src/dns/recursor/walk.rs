//! From the deepest zone whose servers are known down to the one that settles a question, by referrals.

use std::net::IpAddr;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{LowerName, Name, RData, Record, RecordType};

use super::ask::Worth;
use super::resolver::{Quest, Resolver, Useful, locked};
use crate::dns::cache::{Known, Rank};

/// Referrals from the root to the answer.
const REFERRALS: usize = 30;
/// Labels that are added one at a time; RFC 9156 §2.3 MAX_MINIMISE_COUNT.
const MINIMISED: usize = 10;

/// Servers of a zone by name, with the addresses that are known.
pub(super) type Servers = Vec<(Name, Vec<IpAddr>)>;

/// The servers that NS records of `cut` name, with the addresses among `glue`.
pub(super) fn servers_of(records: &[Record], glue: &[Record], cut: &Name) -> Servers {
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

pub(super) fn address(record: &Record) -> Option<IpAddr> {
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

impl Resolver {
    /// From the deepest zone whose servers are known down to a reply that settles the question.
    pub(super) async fn iterate(
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
}
