//! What was sent again, by which mechanism and how far apart: tail loss probe, retransmission timer with its back-off, or
//! at once because SACKs told (RFC 6298, RFC 8985; Linux: tcp_timer.c, tcp_recovery.c; TRUTH 1, 2, 4, 5, 10, 14).

use std::collections::BTreeMap;

use stack::record::{NodeId, What};
use wire::Instant;
use wire::tcp::Flags;

use super::{Life, Segment, times};
use crate::explain::Ref;
use crate::findings::{Case, Findings, about};

/// Groups of one host that are told one by one; more are summed up.
const TOLD_APART: usize = 3;

/// Why a segment was sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// The tail loss probe.
    Probe,
    /// The retransmission timer (of a SYN-ACK: the request's).
    Timer,
    /// RACK's reordering timer.
    Rack,
    /// At once, when an acknowledgment or SACK arrived.
    Acks,
    /// The journal does not tell: a capture, a real kernel.
    Unknown,
}

/// One segment and its repetitions.
struct Group<'s, 'a> {
    first: &'s Segment<'a>,
    again: Vec<(&'s Segment<'a>, Cause)>,
}

impl Group<'_, '_> {
    fn refs(&self) -> impl Iterator<Item = Ref> + '_ {
        [self.first.number()].into_iter().chain(self.again.iter().map(|(s, _)| s.number()))
    }

    fn what(&self) -> String {
        let f = self.first;
        match (f.is(Flags::SYN), f.is(Flags::ACK), f.len, f.is(Flags::FIN)) {
            (true, false, ..) => "its SYN".to_string(),
            (true, true, ..) => "its SYN-ACK".to_string(),
            (false, _, 0, _) => "its FIN".to_string(),
            (false, _, 1, _) => "one byte".to_string(),
            (false, _, len, _) => format!("{len} bytes"),
        }
    }

    /// Times from one copy to the next.
    fn gaps(&self) -> Vec<u64> {
        let all: Vec<u64> = [self.first.t.at]
            .into_iter()
            .chain(self.again.iter().map(|(s, _)| s.t.at))
            .map(Instant::as_nanos)
            .collect();
        all.windows(2).map(|w| w[1] - w[0]).collect()
    }
}

pub(super) fn find(case: &Case<'_>, segments: &[Segment<'_>], lives: &[Life], out: &mut Findings) {
    let mut by_host: BTreeMap<NodeId, Vec<Group<'_, '_>>> = BTreeMap::new();
    for group in groups(case, segments) {
        by_host.entry(group.first.t.from).or_default().push(group);
    }
    for (node, groups) in by_host {
        if groups.len() > TOLD_APART {
            summed_up(case, node, &groups, out);
            continue;
        }
        for group in &groups {
            let text = format!("{} sent {} again {}", case.name(node), group.what(), how(group));
            out.say("tcp-again", text, group.refs());
            decides(case, group, out);
            end(case, segments, lives, group, out);
        }
    }
}

/// Segments that take sequence numbers and were sent more than once. A piece of one that was cut anew counts with it.
fn groups<'s, 'a>(case: &Case<'_>, segments: &'s [Segment<'a>]) -> Vec<Group<'s, 'a>> {
    let mut sent: BTreeMap<(usize, super::Flow, u32), Group<'s, 'a>> = BTreeMap::new();
    for s in segments {
        let takes = s.len > 0 || s.is(Flags::SYN) || s.is(Flags::FIN);
        if !takes || s.is(Flags::RST) {
            continue;
        }
        match sent.get_mut(&(s.conn, s.flow, s.seq)) {
            // A keepalive's byte of before takes no number, and a SYN's number is not its first byte's.
            Some(group) if group.first.is(Flags::SYN) == s.is(Flags::SYN) => {
                group.again.push((s, cause(case, s)))
            }
            Some(_) => {}
            None => {
                sent.insert((s.conn, s.flow, s.seq), Group { first: s, again: Vec::new() });
            }
        }
    }
    let mut all: Vec<Group<'_, '_>> = sent.into_values().filter(|g| !g.again.is_empty()).collect();
    all.sort_by_key(|g| g.first.t.number);
    all
}

/// The timer that ran at the sender just before, else what had just arrived there.
fn cause(case: &Case<'_>, s: &Segment<'_>) -> Cause {
    let before = case.journal.records[..s.t.record].iter().rev();
    for r in before.take_while(|r| r.at == s.t.at) {
        if r.node != s.t.from {
            continue;
        }
        match &r.what {
            What::Timer { name: "TLP", .. } => return Cause::Probe,
            What::Timer { name: "RTO" | "SYN-ACK", .. } => return Cause::Timer,
            What::Timer { name: "RACK", .. } => return Cause::Rack,
            What::Rx { .. } => return Cause::Acks,
            _ => {}
        }
    }
    Cause::Unknown
}

/// `by a tail loss probe after 220 ms, then by its retransmission timer after 220 ms, 440 ms`
fn how(group: &Group<'_, '_>) -> String {
    let gaps = group.gaps();
    let mut parts: Vec<(Cause, Vec<u64>)> = Vec::new();
    for (gap, (_, cause)) in gaps.iter().zip(&group.again) {
        match parts.last_mut() {
            Some((last, list)) if last == cause => list.push(*gap),
            _ => parts.push((*cause, vec![*gap])),
        }
    }
    let told = parts.iter().map(|(cause, gaps)| {
        let list = schedule(gaps);
        match cause {
            Cause::Probe => format!("by a tail loss probe after {list}"),
            Cause::Timer => format!("by its retransmission timer after {list}"),
            Cause::Rack => format!("by RACK's reordering timer after {list}"),
            Cause::Acks => format!("at once when an answer showed that it was missing, after {list}"),
            Cause::Unknown => format!("after {list}"),
        }
    });
    told.collect::<Vec<_>>().join(", then ")
}

/// `1 s (5 times), 2 s, 4 s`, and a long row of doubled times by its ends: `220 ms, doubling to 56.32 s`.
fn schedule(gaps: &[u64]) -> String {
    const LEAST: usize = 4;
    // Real clocks are not exact.
    let near = |a: u64, b: u64| a.abs_diff(b) <= a.max(b) / 16;
    let mut words = Vec::new();
    let mut i = 0;
    while i < gaps.len() {
        let equal = gaps[i..].iter().take_while(|g| near(**g, gaps[i])).count();
        if equal > 2 {
            words.push(format!("{} ({})", about(gaps[i]), times(equal)));
            i += equal;
            continue;
        }
        let doubled = 1 + gaps[i..].windows(2).take_while(|w| near(w[1], 2 * w[0])).count();
        if doubled >= LEAST {
            words.push(format!("{}, doubling to {}", about(gaps[i]), about(gaps[i + doubled - 1])));
            i += doubled;
        } else {
            words.push(about(gaps[i]));
            i += 1;
        }
    }
    words.join(", ")
}

fn decides(case: &Case<'_>, group: &Group<'_, '_>, out: &mut Findings) {
    let host = case.name(group.first.t.from);
    match (group.first.is(Flags::SYN), group.first.is(Flags::ACK)) {
        (true, false) => {
            out.decides(host, "net.ipv4.tcp_syn_retries");
            out.decides(host, "net.ipv4.tcp_syn_linear_timeouts");
        }
        (true, true) => out.decides(host, "net.ipv4.tcp_synack_retries"),
        _ => {
            if group.again.iter().any(|(_, c)| *c == Cause::Probe) {
                out.decides(host, "net.ipv4.tcp_early_retrans");
            }
            if group.again.iter().any(|(_, c)| *c == Cause::Acks) && !group.first.is(Flags::FIN) {
                out.decides(host, "net.ipv4.tcp_sack");
                out.decides(host, "net.ipv4.tcp_recovery");
            }
        }
    }
}

/// How it ended when nothing helped, and what people say about that.
fn end(case: &Case<'_>, segments: &[Segment<'_>], lives: &[Life], group: &Group<'_, '_>, out: &mut Findings) {
    let (first, last) = (group.first, group.again.last().expect("sent again").0);
    let host = case.name(first.t.from);
    let acked = segments.iter().any(|s| {
        s.flow == first.back()
            && s.t.number > first.t.number
            && s.is(Flags::ACK)
            && s.ack.wrapping_sub(first.end()) < 1 << 31
            && s.arrived(case)
    });
    probe_first(case, group, out);
    if acked {
        return;
    }
    let syn = first.is(Flags::SYN) && !first.is(Flags::ACK);
    let failed = case.results().into_iter().find(|r| {
        r.node == first.t.from
            && r.at > last.t.at
            && (r.errno() == Some("ETIMEDOUT") || r.result.contains("[110]"))
            && (!syn || r.call_name() == "connect")
    });
    if let Some(r) = failed {
        let since = about(r.at.as_nanos() - first.t.at.as_nanos());
        let text = format!(
            "nothing came back: {host} gave up {since} after the first one, and {}() returned ETIMEDOUT",
            r.call_name()
        );
        out.say("tcp-gave-up", text, [last.number(), Ref::Record(r.record)]);
        let refs: Vec<Ref> = group.refs().chain([Ref::Record(r.record)]).collect();
        if syn {
            syn_folklore(host, group, r.at, refs, out);
        } else {
            out.decides(host, "net.ipv4.tcp_retries2");
            retries2_folklore(host, group, r.at, refs, out);
        }
        return;
    }
    let gone =
        lives.iter().find(|l| l.node == first.t.from && l.local == first.flow.0 && l.remote == first.flow.1);
    let gone = gone.and_then(|l| l.steps.last()).filter(|s| s.2.is_none() && s.1 > last.t.at);
    if let Some((record, at, _)) = gone {
        let since = about(at.as_nanos() - first.t.at.as_nanos());
        let silently =
            format!("nothing came back: {host} forgot the connection after {since}, without a packet");
        out.say("tcp-gave-up", silently, [last.number(), Ref::Record(*record)]);
        if first.is(Flags::FIN) {
            out.decides(host, "net.ipv4.tcp_orphan_retries");
            if out.value(host, "net.ipv4.tcp_orphan_retries").as_deref() == Some("0") {
                let fact =
                    format!("0 stands for 8: the FIN was sent {} over {since}", times(group.again.len() + 1));
                let refs: Vec<Ref> = group.refs().collect();
                out.folklore("tcp_orphan_retries=0 means that a lost FIN is not sent again", fact, refs);
            }
        }
    }
}

/// TRUTH 14.12: the probe comes first, and the timer starts anew behind it.
fn probe_first(case: &Case<'_>, group: &Group<'_, '_>, out: &mut Findings) {
    let causes: Vec<Cause> = group.again.iter().map(|(_, c)| *c).collect();
    if let [Cause::Probe, Cause::Timer, Cause::Timer, ..] = causes[..] {
        let gaps = group.gaps();
        let rto = gaps[1].max(1);
        let mut sum = 0;
        let list = gaps.iter().take(5).map(|g| {
            sum += g;
            ((sum + rto / 2) / rto).to_string()
        });
        let list: Vec<String> = list.collect();
        let fact = format!(
            "a tail loss probe came first and {}'s timer started anew behind it: after {} RTOs",
            case.name(group.first.t.from),
            list.join(", ")
        );
        out.folklore("retransmissions come 1, 3, 7, 15 RTOs after the first copy", fact, group.refs());
    }
}

/// TRUTH 14.1
fn syn_folklore(host: &str, group: &Group<'_, '_>, end: Instant, refs: Vec<Ref>, out: &mut Findings) {
    let n = group.again.len();
    let took = end.as_nanos() - group.first.t.at.as_nanos();
    if n == 5 && took / 1_000_000_000 == 63 {
        return;
    }
    let fact = format!("{host} sent it again {} and connect() failed after {}", times(n), about(took));
    out.folklore("a SYN is sent again 5 times, and connect() fails after 63 s", fact, refs);
}

/// TRUTH 14.11
fn retries2_folklore(host: &str, group: &Group<'_, '_>, end: Instant, refs: Vec<Ref>, out: &mut Findings) {
    let Some(set) = out.value(host, "net.ipv4.tcp_retries2") else { return };
    let n = group.again.len();
    if set == n.to_string() {
        return;
    }
    let took = about(end.as_nanos() - group.first.t.at.as_nanos());
    let fact = format!("it stands for the time that they would take: {n} retransmissions in {took}");
    out.folklore(&format!("tcp_retries2={set} means {set} retransmissions"), fact, refs);
}

/// A host that sent much again: how much by which mechanism.
fn summed_up(case: &Case<'_>, node: NodeId, groups: &[Group<'_, '_>], out: &mut Findings) {
    let mut by: BTreeMap<Cause, (usize, Vec<Ref>)> = BTreeMap::new();
    for (s, cause) in groups.iter().flat_map(|g| &g.again) {
        let entry = by.entry(*cause).or_default();
        entry.0 += 1;
        entry.1.push(s.number());
    }
    let host = case.name(node);
    for (cause, (n, refs)) in by {
        let segments = if n == 1 { "segment" } else { "segments" };
        let how = match cause {
            Cause::Probe => {
                out.decides(host, "net.ipv4.tcp_early_retrans");
                "as tail loss probes, because nothing came back for two round trips"
            }
            Cause::Timer => "when its retransmission timer ran out",
            Cause::Rack => "when RACK had waited long enough for segments that were overtaken",
            Cause::Acks => {
                out.decides(host, "net.ipv4.tcp_sack");
                out.decides(host, "net.ipv4.tcp_recovery");
                "at once, when ACKs and SACKs showed what was missing"
            }
            Cause::Unknown => "again",
        };
        let again = if cause == Cause::Unknown { "" } else { " again" };
        out.say("tcp-again", format!("{host} sent {n} {segments}{again} {how}"), refs);
    }
    for group in groups {
        decides(case, group, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_told_by_their_shape() {
        let s = |list: &[u64]| schedule(&list.iter().map(|ms| ms * 1_000_000).collect::<Vec<_>>());
        assert_eq!(s(&[220]), "220 ms");
        assert_eq!(s(&[220, 440]), "220 ms, 440 ms");
        assert_eq!(s(&[1000, 1000, 1000, 1000, 1000, 2000, 4000, 8000]), "1 s (5 times), 2 s, 4 s, 8 s");
        assert_eq!(s(&[220, 440, 880, 1760, 3520]), "220 ms, doubling to 3.52 s");
        assert_eq!(
            s(&[220, 450, 890, 1760, 3550, 120_000, 120_000, 120_000]),
            "220 ms, doubling to 3.55 s, 120 s (3 times)"
        );
    }
}
