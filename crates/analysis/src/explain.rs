//! Why it happened: sentences, each with the packets and records it was derived from.
//!
//! Every finding under [`crate::findings`] looks at the journal alone. A sentence without references does
//! not exist: [`Findings::say`] does not take one.

use std::fmt::Write as _;

use serde::Serialize;
use stack::record::Journal;

use crate::findings;
use crate::ladder::wrap;
use crate::traffic::Traffic;

/// What a sentence was derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ref {
    /// Packet `#n` of the ladder.
    Packet(u32),
    /// A record that is no packet: its index in the journal.
    Record(usize),
}

/// One sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sentence {
    /// Which finding says it, such as `arp-resolution`.
    pub finding: &'static str,
    /// The sentence.
    pub text: String,
    /// Packets and records; never empty.
    pub refs: Vec<Ref>,
    /// When the first of them happened, in nanoseconds.
    pub at_ns: u64,
}

/// A setting that decides what was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Decides {
    /// A sysctl or socket option by its name.
    pub name: String,
    /// Its value in force; empty when neither the journal nor the defaults of Linux 6.18 tell.
    pub value: String,
    /// On which host.
    pub host: String,
    /// The value is the kernel's default, not one that the run set.
    pub default: bool,
}

/// Something often said that this run contradicts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Folklore {
    /// What is said.
    pub says: String,
    /// What happened instead.
    pub fact: String,
    /// Where.
    pub refs: Vec<Ref>,
    /// When, in nanoseconds.
    pub at_ns: u64,
}

/// The explanation of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// In the order of what they are about.
    pub sentences: Vec<Sentence>,
    /// The settings that decide.
    pub decides: Vec<Decides>,
    /// What people say, and what happened.
    pub folklore: Vec<Folklore>,
}

/// Explains a run.
pub fn explain(journal: &Journal) -> Explanation {
    explain_traffic(journal, &Traffic::of(journal))
}

/// Explains a run whose packets have been followed already.
pub fn explain_traffic(journal: &Journal, traffic: &Traffic) -> Explanation {
    let case = findings::Case::new(journal, traffic);
    let mut out = findings::Findings::new(journal, traffic);
    for finding in findings::ALL {
        finding(&case, &mut out);
    }
    out.finish()
}

/// Most sentences that are printed; `--json` has all.
const MAX_SENTENCES: usize = 14;
/// Most packets that one sentence cites in print.
const MAX_CITED: usize = 6;

impl Explanation {
    /// The sentences about packet `#number`.
    pub fn about(&self, number: u32) -> impl Iterator<Item = &Sentence> {
        self.sentences.iter().filter(move |s| s.refs.contains(&Ref::Packet(number)))
    }

    /// Leaves only what is said about these packets.
    pub fn retain_about(&mut self, packets: &std::collections::BTreeSet<u32>) {
        let about = |refs: &[Ref]| refs.iter().any(|r| matches!(r, Ref::Packet(n) if packets.contains(n)));
        self.sentences.retain(|s| about(&s.refs));
        self.folklore.retain(|f| about(&f.refs));
        if self.sentences.is_empty() {
            self.decides.clear();
        }
    }

    /// The sentences that are printed. When there are too many, what every conversation begins with gives way.
    fn in_print(&self) -> Vec<&Sentence> {
        let mut order: Vec<usize> = (0..self.sentences.len()).collect();
        order.sort_by_key(|&i| rank(self.sentences[i].finding));
        order.truncate(MAX_SENTENCES);
        order.sort_unstable();
        order.into_iter().map(|i| &self.sentences[i]).collect()
    }

    /// `why`, `decides` and `folklore` as text.
    pub fn render(&self, width: usize) -> String {
        let mut text = String::new();
        let sentences: Vec<String> =
            self.in_print().iter().map(|s| format!("{}{}.", s.text, cite(&s.refs, s.at_ns))).collect();
        if !sentences.is_empty() {
            let mut why = sentences.join(" ");
            if self.sentences.len() > MAX_SENTENCES {
                let _ = write!(why, " (--json has {} more sentences.)", self.sentences.len() - MAX_SENTENCES);
            }
            paragraph(&mut text, "why", &why, width);
        }
        if !self.decides.is_empty() {
            // The same value on several hosts is told once.
            let mut all: Vec<(String, Vec<&str>)> = Vec::new();
            for d in &self.decides {
                let value = if d.value.is_empty() { String::new() } else { format!("={}", d.value) };
                let setting = format!("{}{value}", d.name);
                match all.iter_mut().find(|a| a.0 == setting) {
                    Some((_, hosts)) => hosts.push(&d.host),
                    None => all.push((setting, vec![&d.host])),
                }
            }
            let all: Vec<String> =
                all.iter().map(|(s, hosts)| format!("{s} ({})", hosts.join(", "))).collect();
            paragraph(&mut text, "decides", &all.join(" · "), width);
        }
        for f in &self.folklore {
            let line = format!("\"{}\": no, {}{}", f.says, f.fact, cite(&f.refs, f.at_ns));
            paragraph(&mut text, "folklore", &line, width);
        }
        text
    }
}

/// 0 for what is particular to a run; more for what happens in every conversation.
fn rank(finding: &str) -> u8 {
    match finding {
        "learnt-from-question" => 3,
        "arp-resolution" | "ndp-resolution" => 2,
        "hop" | "ageing-stale" | "probe-answered" | "connect-udp" | "four-tuple" => 1,
        _ => 0,
    }
}

/// ` [#3, #4]`, or ` [at 3.072 s]` when no packet is concerned.
fn cite(refs: &[Ref], at_ns: u64) -> String {
    let packets: Vec<u32> =
        refs.iter().filter_map(|r| if let Ref::Packet(n) = r { Some(*n) } else { None }).collect();
    if packets.is_empty() {
        return format!(" [at {}.{:03} s]", at_ns / 1_000_000_000, at_ns / 1_000_000 % 1000);
    }
    let mut cited: Vec<String> = packets.iter().take(MAX_CITED).map(|n| format!("#{n}")).collect();
    if packets.len() > MAX_CITED {
        cited.push(format!("… #{}", packets[packets.len() - 1]));
    }
    format!(" [{}]", cited.join(", "))
}

fn paragraph(text: &mut String, head: &str, body: &str, width: usize) {
    const INDENT: usize = 10;
    for (i, line) in wrap(body, width.saturating_sub(INDENT).max(20)).iter().enumerate() {
        let _ = writeln!(text, "{:<INDENT$}{line}", if i == 0 { head } else { "" });
    }
}
