//! Whether the journal of a run shows what the scenario expects.

use core::cell::OnceCell;
use core::time::Duration;
use std::collections::BTreeSet;
use std::net::IpAddr;

use analysis::Explanation;
use stack::neigh::NudState;
use stack::record::{FrameId, IfIndex, Journal, LossCause, NodeKind, Record, What as Fact};
use wire::filter::Filter;
use wire::packet::Packet;
use wire::{Frame, Instant, MacAddr, Medium};

use crate::file::{LossWord, Only};
use crate::outcome::{Checked, ProgramReport};
use crate::plan::Plan;
use crate::plan::expect::{ExpectPlan, LocalEnd, NeighbourWant, PlaceOf, What, When};
use crate::values::{CountRange, show};

/// What the clocks of a run add to the tolerances of a file, whose times are nominal.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slack {
    /// Real time: everything may be so much late, or early beside something late.
    pub(crate) noise: Duration,
    /// Timers fire on a wheel of so many ticks a second.
    pub(crate) wheel_hz: Option<u32>,
}

/// How far times may be from the file's.
#[derive(Clone, Copy, Debug)]
struct Leeway {
    tolerance: Duration,
    wheel_hz: Option<u32>,
}

impl Leeway {
    fn earliest(self, at: Instant) -> Instant {
        at - self.tolerance
    }

    /// A wheel rounds every timeout up, by at most an eighth of it (Linux: kernel/time/timer.c, `LVL_GRAN`) and a tick.
    fn latest(self, at: Instant) -> Instant {
        let wheel = self.wheel_hz.map_or(0, |hz| at.as_nanos() / 8 + 2_000_000_000 / u64::from(hz.max(1)));
        at + self.tolerance + Duration::from_nanos(wheel)
    }
}

/// Checks every expectation that holds on these kinds of hosts.
pub(crate) fn all(plan: &Plan, journal: &Journal, programs: &[ProgramReport], slack: Slack) -> Vec<Checked> {
    let seen = Seen { plan, journal, programs, slack, explanation: OnceCell::new() };
    plan.expect.iter().filter(|e| seen.applies(e)).map(|e| seen.check(e)).collect()
}

struct Seen<'a> {
    plan: &'a Plan,
    journal: &'a Journal,
    programs: &'a [ProgramReport],
    slack: Slack,
    /// When it is asked for.
    explanation: OnceCell<Explanation>,
}

/// What was seen instead.
type Instead = Option<String>;

impl Seen<'_> {
    fn applies(&self, expect: &ExpectPlan) -> bool {
        let host = match &expect.what {
            What::Packet { from, to, .. } | What::Order { from, to, .. } => {
                from.as_ref().or(to.as_ref()).map(|p| p.host)
            }
            What::Neighbour { host, .. }
            | What::Counter { host, .. }
            | What::Output { host, .. }
            | What::Dropped { host, .. }
            | What::Table { host, .. }
            | What::Socket { host, .. } => Some(*host),
            What::Lost { .. } | What::Finding { .. } => None,
        };
        let is_linux = |host: usize| matches!(self.journal.nodes[host].kind, NodeKind::Linux(_));
        let linux = match host {
            Some(host) => is_linux(host),
            None => (0..self.plan.hosts.len()).any(is_linux),
        };
        // Why a real kernel drops a packet, and what its sockets go through, is not visible from outside.
        let visible = !(linux && matches!(expect.what, What::Dropped { .. } | What::Socket { .. }));
        visible
            && match expect.only {
                None => true,
                Some(Only::Stack) => !linux,
                Some(Only::Linux) => linux,
            }
    }

    fn finding(&self, text: &str, count: CountRange) -> Instead {
        let explanation = self.explanation.get_or_init(|| analysis::explain(self.journal));
        let sentences = explanation.sentences.iter().map(|sentence| sentence.text.as_str());
        let n = sentences.clone().filter(|sentence| sentence.contains(text)).count();
        wrong_count(count, n as u64, "there were").map(|wrong| {
            let all: Vec<&str> = sentences.collect();
            format!("{wrong}; it says: {}", all.join(". "))
        })
    }

    fn check(&self, expect: &ExpectPlan) -> Checked {
        let leeway = Leeway { tolerance: expect.tolerance + self.slack.noise, wheel_hz: self.slack.wheel_hz };
        let seen = match &expect.what {
            What::Packet { filter, from, to, count, when } => {
                let times = self.packets(filter, from.as_ref(), to.as_ref());
                packets(&times, *count, when, leeway)
            }
            What::Order { filters, from, to } => self.order(filters, from.as_ref(), to.as_ref()),
            What::Neighbour { host, addr, want } => self.neighbour(*host, *addr, want, leeway),
            What::Counter { host, name, value } => {
                let counters = &self.journal.nodes[*host].counters;
                let is = counters.iter().find(|(n, _)| n == name).map_or(0, |(_, v)| *v);
                wrong_count(*value, is, "it is")
            }
            What::Output { host, text, count } => self.output(*host, text, *count),
            What::Finding { text, count } => self.finding(text, *count),
            What::Dropped { host, reason, count } => {
                let dropped = self.records(*host).filter_map(|r| match &r.what {
                    Fact::Drop { reason, .. } => Some(*reason),
                    _ => None,
                });
                let all: Vec<_> = dropped.collect();
                let n = all.iter().filter(|r| r.name() == reason.name()).count();
                wrong_count(*count, n as u64, "it was").map(|text| {
                    let mut names: Vec<&str> = all.iter().map(|r| r.name()).collect();
                    names.dedup();
                    format!(
                        "{text}; it dropped for: {}",
                        if names.is_empty() { "nothing".into() } else { names.join(", ") }
                    )
                })
            }
            What::Lost { cause, count } => {
                let n = self.journal.records.iter().filter(|r| lost_by(&r.what, *cause)).count();
                wrong_count(*count, n as u64, "it was")
            }
            What::Socket { host, local, states } => self.socket(*host, *local, states),
            What::Table { host, name, contains, count } => {
                let table = self.journal.nodes[*host].tables.iter().find(|(n, _)| n == name);
                match table {
                    Some((_, text)) if count.contains(lines_with(text, contains)) => None,
                    None if count.contains(0) => None,
                    Some((_, text)) => Some(told_table(text, lines_with(text, contains))),
                    None => {
                        let names: Vec<&str> =
                            self.journal.nodes[*host].tables.iter().map(|(n, _)| n.as_str()).collect();
                        Some(format!("there is no such table; there are: {}", names.join(", ")))
                    }
                }
            }
        };
        Checked { text: expect.text.clone(), held: seen.is_none(), seen, line: expect.line }
    }

    fn records(&self, host: usize) -> impl Iterator<Item = &Record> {
        self.journal.records.iter().filter(move |r| r.node.0 as usize == host)
    }

    fn medium(&self, node: usize, ifindex: IfIndex) -> Medium {
        let iface = self.journal.nodes[node].ifaces.iter().find(|i| i.ifindex == ifindex);
        iface.map_or(Medium::Ethernet, |i| i.medium)
    }

    fn is_at(&self, record: &Record, ifindex: IfIndex, place: &PlaceOf) -> bool {
        record.node.0 as usize == place.host
            && place.iface.as_ref().is_none_or(|name| {
                self.journal.nodes[place.host].ifaces.iter().any(|i| i.ifindex == ifindex && i.name == *name)
            })
    }

    fn arrivals<'a>(&'a self, place: &'a PlaceOf) -> impl Iterator<Item = FrameId> {
        self.journal.records.iter().filter_map(move |record| match &record.what {
            Fact::Rx { ifindex, id, .. } if self.is_at(record, *ifindex, place) => Some(*id),
            _ => None,
        })
    }

    /// Packets as they leave a host (or, with only `to`, as they arrive at one), in the order of time.
    fn transmissions<'a>(
        &'a self,
        from: Option<&'a PlaceOf>,
        to: Option<&'a PlaceOf>,
    ) -> impl Iterator<Item = (Instant, &'a Frame, Medium)> {
        // With both ends given: what arrived there, to be one hop from here.
        let arrived: BTreeSet<FrameId> = match (from, to) {
            (Some(_), Some(to)) => self.arrivals(to).collect(),
            _ => BTreeSet::new(),
        };
        self.journal.records.iter().filter_map(move |record| {
            let node = record.node.0 as usize;
            let (ifindex, id, frame) = match (&record.what, from, to) {
                (Fact::Rx { ifindex, id, frame }, None, Some(to)) if self.is_at(record, *ifindex, to) => {
                    (ifindex, id, frame)
                }
                (Fact::Tx { ifindex, id, frame }, Some(from), _) if self.is_at(record, *ifindex, from) => {
                    (ifindex, id, frame)
                }
                (Fact::Tx { ifindex, id, frame }, None, None) if node < self.plan.hosts.len() => {
                    (ifindex, id, frame)
                }
                _ => return None,
            };
            if from.is_some() && to.is_some() && !arrived.contains(id) {
                return None;
            }
            Some((record.at, frame, self.medium(node, *ifindex)))
        })
    }

    fn packets(&self, filter: &Filter, from: Option<&PlaceOf>, to: Option<&PlaceOf>) -> Vec<Instant> {
        let matching =
            self.transmissions(from, to).filter(|(_, frame, medium)| matches(filter, frame, *medium));
        matching.map(|(at, ..)| at).collect()
    }

    fn order(&self, filters: &[Filter], from: Option<&PlaceOf>, to: Option<&PlaceOf>) -> Instead {
        let mut next = filters.iter();
        let mut wanted = next.next()?;
        for (_, frame, medium) in self.transmissions(from, to) {
            if matches(wanted, frame, medium) {
                wanted = next.next()?;
            }
        }
        Some(format!("no packet `{}` came at its place", wanted.as_str()))
    }

    fn output(&self, host: usize, text: &str, count: CountRange) -> Instead {
        let name = &self.plan.hosts[host];
        let lines: Vec<&String> =
            self.programs.iter().filter(|p| p.host == *name).flat_map(|p| &p.output).collect();
        let n = lines.iter().filter(|l| l.contains(text)).count();
        wrong_count(count, n as u64, "there were").map(|found| {
            const SHOWN: usize = 20;
            let shown: Vec<&str> = lines.iter().take(SHOWN).map(|l| l.as_str()).collect();
            format!("{found}; printed:\n{}", shown.join("\n"))
        })
    }

    fn socket(&self, host: usize, local: LocalEnd, states: &[Option<&'static str>]) -> Instead {
        let mut history = Vec::new();
        for record in self.records(host) {
            if let Fact::Sock { from, to, addrs, .. } = &record.what
                && is_local(addrs, local)
            {
                history.push((record.at, *from, *to));
            }
        }
        let mut next = states.iter();
        let mut wanted = next.next();
        for (_, _, to) in &history {
            if wanted.is_some_and(|w| w == to) {
                wanted = next.next();
            }
        }
        wanted.map(|_| {
            let steps: Vec<String> = history
                .iter()
                .map(|(at, from, to)| {
                    format!("{} {} → {}", show(*at), from.unwrap_or("none"), to.unwrap_or("none"))
                })
                .collect();
            if steps.is_empty() { "there was none".to_string() } else { steps.join(", ") }
        })
    }

    fn neighbour(&self, host: usize, addr: IpAddr, want: &NeighbourWant, leeway: Leeway) -> Instead {
        let mut history: Vec<(Instant, Option<NudState>, Option<MacAddr>)> = Vec::new();
        for record in self.records(host) {
            if let Fact::Neigh { addr: a, lladdr, to, .. } = &record.what
                && *a == addr
            {
                history.push((record.at, *to, *lladdr));
            }
        }
        let told = || {
            let steps = history.iter().map(|(at, s, mac)| {
                let mac = mac.map_or(String::new(), |m| format!(" {m}"));
                format!("{} {}{mac}", show(*at), s.map_or("none", NudState::name))
            });
            let steps: Vec<String> = steps.collect();
            if steps.is_empty() { "it never was in the table".to_string() } else { steps.join(", ") }
        };
        match want {
            NeighbourWant::Through(states) => {
                let mut next = states.iter();
                let mut wanted = next.next();
                for (_, state, _) in &history {
                    if wanted.is_some_and(|w| w == state) {
                        wanted = next.next();
                    }
                }
                wanted.map(|_| told())
            }
            NeighbourWant::At { at, state, lladdr } => {
                let (from, to) = at.map_or((self.journal.end, self.journal.end), |(from, to)| {
                    (leeway.earliest(from), leeway.latest(to))
                });
                // What held when the time began, and what changed within it.
                let start = history.iter().rposition(|(t, ..)| *t <= from);
                let mut held: Vec<(Option<NudState>, Option<MacAddr>)> = Vec::new();
                held.push(start.map_or((None, None), |i| (history[i].1, history[i].2)));
                let within = history.iter().filter(|(t, ..)| *t > from && *t <= to);
                held.extend(within.map(|(_, s, m)| (*s, *m)));
                let right = held.iter().any(|(s, m)| {
                    state.as_ref().is_none_or(|want| want == s) && lladdr.is_none_or(|want| Some(want) == *m)
                });
                (!right).then(told)
            }
        }
    }
}

/// Whether a record's `local peer` is about a socket with this local end.
fn is_local(addrs: &str, want: LocalEnd) -> bool {
    let Some((addr, port)) = addrs.split(' ').next().and_then(|a| a.rsplit_once(':')) else { return false };
    let addr = addr.trim_matches(['[', ']']);
    want.port.is_none_or(|p| port.parse() == Ok(p)) && want.addr.is_none_or(|a| addr.parse() == Ok(a))
}

/// A table that is not as expected; only the start of a long one.
fn told_table(text: &str, with: u64) -> String {
    const SHOWN: usize = 20;
    let lines: Vec<&str> = text.lines().collect();
    let start = lines[..lines.len().min(SHOWN)].join("\n");
    let more = lines.len().saturating_sub(SHOWN);
    let rest = if more > 0 { format!("\n... and {more} lines more") } else { String::new() };
    format!("{with} lines of it have that; it is:\n{start}{rest}")
}

/// Lines of a table with a text, columns taken as separated by one blank.
fn lines_with(table: &str, text: &str) -> u64 {
    let plain = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = plain(text);
    table.lines().filter(|line| plain(line).contains(&text)).count() as u64
}

fn matches(filter: &Filter, frame: &Frame, medium: Medium) -> bool {
    let bytes = frame.to_vec();
    filter.matches(&Packet::parse(&bytes, medium))
}

fn wrong_count(want: CountRange, is: u64, verb: &str) -> Instead {
    (!want.contains(is)).then(|| format!("{verb} {is}"))
}

fn packets(times: &[Instant], count: CountRange, when: &When, leeway: Leeway) -> Instead {
    let near = |t: Instant, from: Instant, to: Instant| t >= leeway.earliest(from) && t <= leeway.latest(to);
    let told = || {
        const SHOWN: usize = 12;
        let list: Vec<String> = times.iter().take(SHOWN).map(|t| show(*t)).collect();
        match times.len() {
            0 => "there was none".to_string(),
            1 => format!("there was one, at {}", list[0]),
            n => format!("there were {n}, at {}{}", list.join(", "), if n > SHOWN { ", …" } else { "" }),
        }
    };
    match when {
        When::Any => (!count.contains(times.len() as u64)).then(told),
        When::Within(from, to) => {
            let n = times.iter().filter(|t| near(**t, *from, *to)).count();
            (!count.contains(n as u64)).then(told)
        }
        When::Each(each) => {
            let right = times.iter().zip(each).all(|(t, (from, to))| near(*t, *from, *to));
            (!(right && times.len() >= each.len() && count.contains(times.len() as u64))).then(told)
        }
    }
}

fn lost_by(fact: &Fact, word: LossWord) -> bool {
    let Fact::Lost { cause, .. } = fact else { return false };
    match cause {
        LossCause::Fault(_) => word == LossWord::Fault,
        LossCause::Random => word == LossWord::Random,
        LossCause::Gemodel => word == LossWord::Gemodel,
        LossCause::QueueLimit { .. } => word == LossWord::Queue,
        LossCause::LinkDown | LossCause::ReceiverDown => word == LossWord::Down,
        LossCause::LinkMtu => word == LossWord::Mtu,
        LossCause::NoPort => word == LossWord::NoPort,
        LossCause::ArpInspection => word == LossWord::ArpInspection,
        LossCause::Vlan => word == LossWord::Vlan,
    }
}
