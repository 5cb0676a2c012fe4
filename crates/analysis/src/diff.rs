//! What a change on the command line changed: the file's own run beside the changed one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use stack::record::Journal;

use crate::align::{Step, align};
use crate::ladder::{span, wrap};
use crate::normal::{Class, Item, lanes};

/// How the new run differs from the old one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// What is new, gone or otherwise, in the order of time.
    pub changes: Vec<Change>,
    /// Packets that are the same but at another time.
    pub retimed: usize,
    /// The first of them.
    pub first_retimed: Option<Retimed>,
    /// Counters with another value.
    pub counters: Vec<CounterChange>,
    /// How long both runs took, in nanoseconds.
    pub end_ns: (u64, u64),
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Whether it is in the new run only, or was in the old run only.
    pub sign: Sign,
    /// Packets, calls, states or drops.
    pub class: Class,
    /// Where.
    pub place: String,
    /// When, in its own run.
    pub at_ns: u64,
    /// The packet's number in its own run.
    pub number: Option<u32>,
    /// In words.
    pub words: String,
}

/// In which run something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    /// Only in the new run.
    New,
    /// Only in the old run.
    Gone,
}

/// The same packet at another time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retimed {
    /// In words.
    pub words: String,
    /// Old and new time in nanoseconds.
    pub at_ns: (u64, u64),
}

/// A counter with another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CounterChange {
    /// Host.
    pub host: String,
    /// `nstat`'s name.
    pub name: String,
    /// Old and new value.
    pub value: (u64, u64),
}

/// Compares two runs of one scenario.
pub fn diff(old: &Journal, new: &Journal) -> Diff {
    let mut left = lanes(old);
    let mut right = lanes(new);
    let mut d = Diff { end_ns: (old.end.as_nanos(), new.end.as_nanos()), ..Diff::default() };
    let mut places: Vec<(Class, String)> = left.keys().chain(right.keys()).cloned().collect();
    places.sort();
    places.dedup();
    let mut retimed: Vec<Retimed> = Vec::new();
    for (class, place) in places {
        let key = (class, place.clone());
        let (a, b) = (left.remove(&key).unwrap_or_default(), right.remove(&key).unwrap_or_default());
        let keys = |items: &[Item]| items.iter().map(|i| i.key.clone()).collect::<Vec<_>>();
        for step in align(&keys(&a), &keys(&b)) {
            let mut push = |sign, i: &Item| {
                d.changes.push(Change {
                    sign,
                    class,
                    place: place.clone(),
                    at_ns: i.at.as_nanos(),
                    number: i.number,
                    words: i.words.clone(),
                });
            };
            match step {
                Step::Left(x) => push(Sign::Gone, &a[x]),
                Step::Right(y) => push(Sign::New, &b[y]),
                Step::Both(x, y) if class == Class::Packets && a[x].at != b[y].at => {
                    let at_ns = (a[x].at.as_nanos(), b[y].at.as_nanos());
                    retimed.push(Retimed { words: b[y].words.clone(), at_ns });
                }
                Step::Both(..) => {}
            }
        }
    }
    d.changes.sort_by_key(|c| c.at_ns);
    d.retimed = retimed.len();
    d.first_retimed = retimed.into_iter().min_by_key(|r| r.at_ns.0);
    d.counters = counters(old, new);
    d
}

fn counters(old: &Journal, new: &Journal) -> Vec<CounterChange> {
    let mut changes = Vec::new();
    for node in &new.nodes {
        let Some(before) = old.nodes.iter().find(|n| n.name == node.name) else { continue };
        let mut both: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (name, value) in &before.counters {
            both.entry(name).or_default().0 = *value;
        }
        for (name, value) in &node.counters {
            both.entry(name).or_default().1 = *value;
        }
        changes.extend(both.into_iter().filter(|(_, (a, b))| a != b).map(|(name, value)| CounterChange {
            host: node.name.clone(),
            name: name.to_string(),
            value,
        }));
    }
    changes
}

/// Most changes that are printed one by one.
const MAX_LINES: usize = 24;

impl Diff {
    /// Nothing differs.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.retimed == 0 && self.counters.is_empty()
    }

    /// A line per change: `+` new, `-` gone.
    pub fn render(&self, width: usize) -> String {
        if self.is_empty() {
            return "nothing changed against the file's own run\n".to_string();
        }
        let mut text = String::new();
        for c in self.changes.iter().take(MAX_LINES) {
            let sign = match c.sign {
                Sign::New => '+',
                Sign::Gone => '-',
            };
            let number = c.number.map_or(String::new(), |n| format!("#{n} "));
            let line = format!("{sign} {number}{} s  {}: {}", seconds(c.at_ns), c.place, c.words);
            for (i, part) in wrap(&line, width.saturating_sub(4)).iter().enumerate() {
                let _ = writeln!(text, "{}{part}", if i == 0 { "" } else { "    " });
            }
        }
        if self.changes.len() > MAX_LINES {
            let _ = writeln!(text, "  and {} more", self.changes.len() - MAX_LINES);
        }
        if let Some(r) = &self.first_retimed {
            let (old, new) = r.at_ns;
            let (by, word) = if new >= old { (new - old, "later") } else { (old - new, "earlier") };
            let line = format!(
                "~ {} packets at other times; the first {} {word}: {}",
                self.retimed,
                span(by),
                r.words
            );
            for part in wrap(&line, width) {
                let _ = writeln!(text, "{part}");
            }
        }
        for c in &self.counters {
            let _ = writeln!(text, "  {} {} {} -> {}", c.host, c.name, c.value.0, c.value.1);
        }
        text
    }
}

fn seconds(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000_000_000, ns / 1_000_000 % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::*;

    #[test]
    fn equal_runs_do_not_differ() {
        let d = diff(&arp_resolution(), &arp_resolution());
        assert!(d.is_empty(), "{d:?}");
    }

    #[test]
    fn a_packet_more_and_later_ones_are_told() {
        let old = arp_resolution();
        let mut new = arp_resolution();
        // The request is lost and asked again a second later.
        let mut h = Hand::new(&[("client", &["192.0.2.1"]), ("server", &["192.0.2.2"])]);
        h.tx(0, 0, &arp_request(mac(1), "192.0.2.1", "192.0.2.2"));
        let second = wire::Instant::from_secs(1) - wire::Instant::ZERO;
        for r in &mut new.records {
            if r.at > wire::Instant::ZERO {
                r.at += second;
            }
        }
        let mut extra = h.journal.records.remove(0);
        extra.at = wire::Instant::from_millis(500);
        if let stack::record::What::Tx { id, .. } = &mut extra.what {
            *id = stack::record::FrameId(99);
        }
        new.records.insert(5, extra);
        new.nodes[0].counters.push(("IpOutRequests".into(), 7));
        let d = diff(&old, &new);
        assert_eq!(d.changes.len(), 1, "{d:?}");
        assert_eq!(d.retimed, 2, "{d:?}");
        let text = d.render(100);
        assert!(
            text.starts_with("+ #2 0.500 s  client eth0: ARP who-has 192.0.2.2 tell 192.0.2.1\n"),
            "{text}"
        );
        assert!(text.contains("~ 2 packets at other times; the first 1 s later"), "{text}");
        assert!(text.contains("client IpOutRequests 0 -> 7"), "{text}");
    }
}
