//! Keepalive: probes of an idle connection, and what came of them (RFC 9293 §3.8.4; TRUTH 5c, 14.13).

use std::collections::BTreeMap;

use stack::record::{NodeId, What};
use wire::tcp::Flags;

use super::{Segment, times};
use crate::explain::Ref;
use crate::findings::{Case, Findings, about};

/// The three settings: sysctl and option.
const SETTINGS: [(&str, &str); 3] = [
    ("net.ipv4.tcp_keepalive_time", "TCP_KEEPIDLE"),
    ("net.ipv4.tcp_keepalive_intvl", "TCP_KEEPINTVL"),
    ("net.ipv4.tcp_keepalive_probes", "TCP_KEEPCNT"),
];

pub(super) fn find(case: &Case<'_>, segments: &[Segment<'_>], out: &mut Findings) {
    let mut probes: BTreeMap<NodeId, Vec<&Segment<'_>>> = BTreeMap::new();
    for s in segments.iter().filter(|s| s.is_pure_ack() && by_keepalive(case, s)) {
        probes.entry(s.t.from).or_default().push(s);
    }
    let asked: Vec<NodeId> = probes.keys().copied().collect();
    for (node, probes) in probes {
        let host = case.name(node);
        let first = probes[0];
        let quiet = segments.iter().rfind(|s| s.t.number < first.t.number && s.conn == first.conn);
        let idle = quiet.map_or(String::new(), |s| {
            format!(" after {} of silence", about(first.t.at.as_nanos() - s.t.at.as_nanos()))
        });
        let answered = probes.iter().filter(|p| {
            segments
                .iter()
                .any(|s| s.flow == p.back() && s.t.at >= p.t.at && s.t.number > p.t.number && s.arrived(case))
        });
        let answered = answered.count();
        let last = *probes.last().expect("at least one");
        let failed = case
            .results()
            .into_iter()
            .find(|r| r.node == node && r.at > last.t.at && r.errno() == Some("ETIMEDOUT"));
        let rst =
            segments.iter().find(|s| s.flow == last.flow && s.is(Flags::RST) && s.t.number > last.t.number);
        let mut refs: Vec<Ref> = probes.iter().map(|p| p.number()).collect();
        let outcome = match (&failed, rst) {
            (Some(r), rst) if answered == 0 => {
                refs.push(Ref::Record(r.record));
                refs.extend(rst.map(Segment::number));
                let rst = if rst.is_some() { " and sent a RST" } else { "" };
                format!(": no answer, it gave up{rst}, and {}() returned ETIMEDOUT", r.call_name())
            }
            _ if answered == probes.len() => ": the other end answered".to_string(),
            _ => String::new(),
        };
        if let (Some(r), 0) = (&failed, answered) {
            let end = [last.number(), Ref::Record(r.record)];
            if let Some(rst) = rst {
                let fact = format!("{host} sent a RST when it gave up");
                out.folklore(
                    "keepalive drops a dead connection in silence",
                    fact,
                    [rst.number(), Ref::Record(r.record)],
                );
            }
            overridden(case, node, probes.len(), end, out);
        }
        let asked_times = times(probes.len());
        out.say("keepalive", format!("{host}'s keepalive asked {asked_times}{idle}{outcome}"), refs);
        decides(case, node, out);
    }
    suspended(case, segments, &asked, out);
}

/// `TCP_USER_TIMEOUT` decides how often a dead peer is asked, whatever the count says (TRUTH 5cU, 5cU2).
fn overridden(case: &Case<'_>, node: NodeId, sent: usize, refs: [Ref; 2], out: &mut Findings) {
    let host = case.name(node);
    let Some(timeout) = option(case, node, "TCP_USER_TIMEOUT").filter(|t| *t != "0") else { return };
    let (sysctl, name) = SETTINGS[2];
    let count = option(case, node, name).map(str::to_string).or_else(|| out.value(host, sysctl));
    let Some(count) = count.filter(|c| *c != sent.to_string()) else { return };
    let fact =
        format!("{host} asked {} though it is {count}: TCP_USER_TIMEOUT={timeout} overrides it", times(sent));
    out.folklore("tcp_keepalive_probes (TCP_KEEPCNT) is how many probes a dead peer gets", fact, refs);
    out.decides_option(host, "TCP_USER_TIMEOUT", timeout);
}

/// Keepalive was asked for, but data waited for its acknowledgment: the retransmissions ended the connection (TRUTH 5cD).
fn suspended(case: &Case<'_>, segments: &[Segment<'_>], asked: &[NodeId], out: &mut Findings) {
    for r in case.results().iter().filter(|r| r.errno() == Some("ETIMEDOUT") && !asked.contains(&r.node)) {
        let keepalive = option(case, r.node, "SO_KEEPALIVE").is_some_and(|v| v != "0");
        let sent = segments.iter().filter(|s| s.t.from == r.node && s.len > 0 && s.t.at < r.at);
        let Some(last) = sent.clone().next_back().filter(|_| keepalive) else { continue };
        let copies = sent.filter(|s| s.flow == last.flow && s.seq == last.seq).count();
        if copies < 2 {
            continue;
        }
        let host = case.name(r.node);
        let fact = format!(
            "it does not ask while data is unacknowledged: {host} sent its data {} and gave up by tcp_retries2",
            times(copies)
        );
        out.folklore("keepalive finds a dead peer", fact, [last.number(), Ref::Record(r.record)]);
    }
}

fn by_keepalive(case: &Case<'_>, s: &Segment<'_>) -> bool {
    let before = case.journal.records[..s.t.record].iter().rev();
    before
        .take_while(|r| r.at == s.t.at)
        .any(|r| r.node == s.t.from && matches!(r.what, What::Timer { name: "keepalive", .. }))
}

/// The option where the program set it, the sysctl elsewhere.
fn decides(case: &Case<'_>, node: NodeId, out: &mut Findings) {
    let host = case.name(node);
    for (sysctl, name) in SETTINGS {
        match option(case, node, name) {
            Some(value) => out.decides_option(host, name, value),
            None => out.decides(host, sysctl),
        }
    }
}

/// The value that a program of the host gave an option last.
fn option<'a>(case: &Case<'a>, node: NodeId, name: &str) -> Option<&'a str> {
    let set = case.results().into_iter().rfind(|r| {
        r.node == node && r.call_name() == "setsockopt" && r.result == "0" && r.call_text.contains(name)
    });
    Some(set?.call_text.rsplit_once(", ")?.1.trim_end_matches(')'))
}
