//! Holds a run to its trace: packets by connection and direction, results of calls, states, counters.

use std::collections::BTreeMap;

use stack::call::{CallResult, OptValue, Ret};

use super::lab::{Conns, Lab, show};
use super::script::Script;
use super::trace::{Host, Mark, Packet, Trace};

/// How far a time may be from the trace's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    pub(crate) seconds: f64,
    /// Of the time since the section began: a wheel's step is an eighth of the wait.
    pub(crate) share: f64,
}

/// Counters that tell of the driver, of GSO or of what wirelab says it does not do (DIVERGENCES.md).
const NOT_COMPARED: [&str; 9] = [
    "TCPAutoCorking",
    "TCPRcvCoalesce",
    "TCPSackShifted",
    "TCPSackMerged",
    "TCPSackShiftFallback",
    "TCPSpuriousRtxHostQueues",
    "TCPHPHits",
    "TCPHPAcks",
    "TCPPureAcks",
];
/// More messages than this about one trace help nobody.
const MAX_MESSAGES: usize = 12;

/// Differences; empty is agreement.
#[derive(Default)]
pub(crate) struct Differences {
    pub(crate) texts: Vec<String>,
    /// Packets whose times agree, for finding the phase of the kernel's clock.
    pub(crate) in_time: usize,
    pub(crate) timed: usize,
}

impl Differences {
    fn say(&mut self, text: String) {
        if self.texts.len() < MAX_MESSAGES {
            self.texts.push(text);
        }
    }
}

pub(crate) fn compare(trace: &Trace, script: &Script, lab: &Lab, tolerance: Tolerance) -> Differences {
    let mut found = Differences::default();
    packets(trace, script, lab, tolerance, &mut found);
    calls(script, lab, tolerance, &mut found);
    counters(trace, &script.uncounted, lab, &mut found);
    for unknown in &script.unknown {
        found.say(format!("not understood: {unknown}"));
    }
    found
}

/// When a section began: a packet of the prelude is timed from the first.
fn since(lab: &Lab, at: wire::Instant, section: usize) -> f64 {
    let zero = lab.zero[section.min(lab.zero.len() - 1)];
    if at >= zero { (at - zero).as_secs_f64() } else { -(zero - at).as_secs_f64() }
}

fn streams<'a>(
    packets: impl Iterator<Item = (f64, &'a Packet)>,
) -> BTreeMap<(usize, Host), Vec<(f64, &'a Packet)>> {
    let mut conns = Conns::default();
    let mut streams: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (at, p) in packets {
        let conn = conns.of(p.from, p.ports, &p.flags);
        streams.entry((conn, p.from)).or_default().push((at, p));
    }
    streams
}

fn packets(trace: &Trace, script: &Script, lab: &Lab, tolerance: Tolerance, found: &mut Differences) {
    if trace.packets().next().is_none() {
        return;
    }
    // The prelude's clock began before the script did.
    let mut first: BTreeMap<usize, f64> = BTreeMap::new();
    let last = trace.sections.len() - 1;
    // Of a flood the lab shows a part; its SYN-ACKs are counted.
    let flood = trace.title.contains("raw SYNs");
    let legit = trace.packets().find(|p| p.from == 0).map(|p| p.ports.0);
    let client = |p: &Packet| Some(if p.from == 0 { p.ports.0 } else { p.ports.1 });
    let theirs = streams(trace.packets().filter(|p| !flood || client(p) == legit).map(|p| {
        let base = if p.section < last { *first.entry(p.section).or_insert(p.at) } else { 0.0 };
        (p.at - base, p)
    }));
    let visible = lab.seen.iter().filter(|(_, p)| script.map.contains(&p.section));
    let ours = streams(visible.map(|(at, p)| (since(lab, *at, p.section), p)));
    let keys: std::collections::BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
    for key in keys {
        let none = Vec::new();
        let (t, o) = (theirs.get(key).unwrap_or(&none), ours.get(key).unwrap_or(&none));
        stream(*key, t, o, &script.map, tolerance, found);
    }
}

fn stream(
    key: (usize, Host),
    theirs: &[(f64, &Packet)],
    ours: &[(f64, &Packet)],
    map: &[usize],
    tolerance: Tolerance,
    found: &mut Differences,
) {
    let name = format!("conn {} {}", key.0 + 1, ["C>S", "S>C"][key.1]);
    for n in 0..theirs.len().max(ours.len()) {
        match (theirs.get(n), ours.get(n)) {
            (Some((at, p)), None) => {
                return found.say(format!("{name} packet {n}: missing {at:.4} {}", p.text));
            }
            (None, Some((at, p))) => {
                return found.say(format!("{name} packet {n}: too much {at:.4} {}", text(p)));
            }
            (Some((at, p)), Some((our_at, q))) => {
                if !same(p, q) || map[p.section] != q.section {
                    let (ours, at_section) = (text(q), q.section);
                    return found.say(format!(
                        "{name} packet {n}: {at:.4} {} | ours {our_at:.4} {ours} (section {at_section})",
                        p.text
                    ));
                }
                found.timed += 1;
                if (at - our_at).abs() <= tolerance.seconds + tolerance.share * at {
                    found.in_time += 1;
                } else {
                    found.say(format!("{name} packet {n}: {} at {at:.4}, ours {our_at:.4}", p.text));
                }
            }
            (None, None) => return,
        }
    }
}

/// Numbers behind the other side's SYN are accidents of initial sequence numbers.
fn number(a: u32, b: u32) -> bool {
    a == b || (a > 1 << 30 && b > 1 << 24)
}

fn same(p: &Packet, q: &Packet) -> bool {
    let ack = match (p.ack, q.ack) {
        (Some(a), Some(b)) => number(a, b),
        (None, None) => true,
        _ => false,
    };
    // The trace prints the first block.
    let flags = p.flags == q.flags || (p.flags.is_empty() && q.flags == "none");
    flags && number(p.seq, q.seq) && ack && p.len == q.len && p.sack.first() == q.sack.first()
}

pub(crate) fn text(p: &Packet) -> String {
    let ack = p.ack.map_or("-".to_owned(), |a| a.to_string());
    let sack = p.sack.iter().map(|(l, r)| format!(" sack{l}-{r}")).collect::<String>();
    let mark = match p.mark {
        Mark::Pass => String::new(),
        other => format!(" **{other:?}**"),
    };
    format!("{}>{} [{}] seq {} ack {ack} len {}{sack}{mark}", p.ports.0, p.ports.1, p.flags, p.seq, p.len)
}

fn calls(script: &Script, lab: &Lab, tolerance: Tolerance, found: &mut Differences) {
    for (n, step) in script.steps.iter().enumerate() {
        let Some((expect, at)) = &step.expect else { continue };
        let Some(done) = lab.done.iter().find(|d| d.step == n) else {
            found.say(format!("{}: never came back; the trace has {expect} at {at:.4}", step.text));
            continue;
        };
        if let Some((half, synacks)) = lab.counts.get(&n) {
            let numbers: Vec<f64> = expect.split_whitespace().filter_map(|w| w.parse().ok()).collect();
            // In the lab's rounds of a second, more of them or fewer had fired.
            let near = |a: f64, b: usize| (a - b as f64).abs() <= 0.06 * a.max(tolerance.share * 1e5);
            if numbers.len() >= 2 && !(near(numbers[0], *half) && near(numbers[1], *synacks)) {
                found.say(format!("{expect}, ours {half} and {synacks}"));
            }
            continue;
        }
        if !agrees(expect, &done.result) {
            found.say(format!("{}: {expect}, ours {}", step.text, show(&done.result)));
        }
        let our_at = since(lab, done.at, step.section);
        if !at.is_nan() && (at - our_at).abs() > tolerance.seconds + 0.0003 + tolerance.share * at {
            found.say(format!("{}: back at {at:.4}, ours {our_at:.4}", step.text));
        }
    }
    for done in &lab.done {
        let step = &script.steps[done.step];
        if let (None, Err(errno)) = (&step.expect, &done.result)
            && !matches!(step.what, super::script::Do::Loop(_))
            && !(step.text.contains("MSG_DONTWAIT") && *errno == stack::Errno::EAGAIN)
        {
            found.say(format!("{}: {errno:?}", step.text));
        }
    }
}

/// A result in the lab's words against ours.
fn agrees(expect: &str, result: &CallResult) -> bool {
    if let Some(error) = expect.strip_prefix("ERROR ") {
        let name = error.split_whitespace().next().unwrap_or("");
        let name = if name == "TimeoutError" { "EAGAIN" } else { name };
        return matches!(result, Err(errno) if super::lab::errno_name(*errno) == name);
    }
    let Ok(ret) = result else { return false };
    if let Some(text) = expect.strip_prefix("b'").and_then(|t| t.strip_suffix('\'')) {
        let escapes = text.matches('\\').count();
        return matches!(ret, Ret::Data { len, .. } if *len == text.len() - escapes);
    }
    let number = expect.split_whitespace().next().and_then(|w| w.parse::<i64>().ok());
    match (expect, ret) {
        ("None" | "", _) => true,
        (_, Ret::Fd(..)) => expect.starts_with("socket") || expect.starts_with("('"),
        (_, Ret::Opt(OptValue::Int(n))) => number == Some(*n),
        (_, Ret::Poll(fds)) if expect.starts_with('[') => {
            expect.contains(&format!(", {})", fds.first().map_or(0, |f| f.1.0)))
        }
        (_, Ret::Poll(fds)) => expect == format!("{:#x}", fds.first().map_or(0, |f| f.1.0)),
        (_, Ret::Addr(addr)) => *addr == stack::call::SockAddr::Unspec || !expect.starts_with("ERROR"),
        _ => number == Some(ret.value()),
    }
}

fn counters(trace: &Trace, uncounted: &[String], lab: &Lab, found: &mut Differences) {
    for host in 0..2 {
        let ours = lab.counters(host);
        let theirs = &trace.counters[host];
        let noisy = trace.jitter > 0.01;
        let names = theirs.keys().chain(ours.keys()).filter(|n| !(noisy && n.starts_with("TCPHystart")));
        let names: std::collections::BTreeSet<_> = names
            .filter(|n| !n.starts_with("Ip") && !n.starts_with("Udp") && !n.starts_with("Icmp"))
            .collect();
        for name in names.into_iter().filter(|n| !NOT_COMPARED.contains(&n.as_str())) {
            let (t, o) = (theirs.get(name).copied().unwrap_or(0), ours.get(name).copied().unwrap_or(0));
            if t != o && !uncounted.contains(name) {
                found.say(format!("{} {name}: {t}, ours {o}", ["C", "S"][host]));
            }
        }
    }
}
