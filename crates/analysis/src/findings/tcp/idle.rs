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
        let asked = times(probes.len());
        out.say("keepalive", format!("{host}'s keepalive asked {asked}{idle}{outcome}"), refs);
        decides(case, node, out);
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
    for (sysctl, option) in SETTINGS {
        let set = case.results().into_iter().rfind(|r| {
            r.node == node && r.call_name() == "setsockopt" && r.result == "0" && r.call_text.contains(option)
        });
        let value = set.and_then(|r| Some(r.call_text.rsplit_once(", ")?.1.trim_end_matches(')')));
        match value {
            Some(value) => out.decides_option(host, option, value),
            None => out.decides(host, sysctl),
        }
    }
}
