//! A path that is gone while nobody sends: a connection without data and without keepalive has no timer, so nothing notices
//! (RFC 9293 §3.8.4; TRUTH 5).

use stack::record::{NodeId, What};

use super::{Life, Segment};
use crate::explain::Ref;
use crate::findings::{Case, Findings, about};

/// Shorter pauses are those of any conversation.
const WORTH_TELLING_NS: u64 = 1_000_000_000;

pub(super) fn find(case: &Case<'_>, segments: &[Segment<'_>], lives: &[Life], out: &mut Findings) {
    let mut down = Vec::new();
    let mut back = Vec::new();
    for (i, r) in case.journal.records.iter().enumerate() {
        if let What::Link { carrier, .. } = r.what {
            if carrier { back.push(r.at) } else { down.push((i, r.at)) }
        }
    }
    down.dedup_by_key(|d| d.1);
    for (cut, at) in down {
        let until = back.iter().find(|b| **b > at).copied().unwrap_or(case.journal.end).min(case.journal.end);
        let quiet: Vec<&Life> = lives
            .iter()
            .filter(|l| l.steps.iter().rfind(|s| s.0 < cut).is_some_and(|s| s.2 == Some("ESTAB")))
            .collect();
        let Some(first) = quiet.first() else { continue };
        let ends: Vec<&&Life> = quiet
            .iter()
            .filter(|l| (l.local, l.remote) == (first.remote, first.local) || l.local == first.local)
            .collect();
        // The first thing that happens to it, or that its programs try.
        let flow = (first.local, first.remote);
        let sent =
            segments.iter().find(|s| s.t.at >= at && (s.flow == flow || s.back() == flow)).map(|s| s.t.at);
        let moved = ends.iter().filter_map(|l| l.steps.iter().find(|s| s.0 > cut).map(|s| s.1)).min();
        let tried = case.journal.records[cut..].iter().find(|r| {
            let fires = matches!(&r.what, What::Timer { name: "RTO" | "TLP" | "keepalive" | "probe", .. });
            fires && ends.iter().any(|l| l.node == r.node)
        });
        let over =
            [sent, moved, tried.map(|r| r.at)].into_iter().flatten().min().map_or(until, |t| t.min(until));
        let quiet_for = over.as_nanos().saturating_sub(at.as_nanos());
        if quiet_for < WORTH_TELLING_NS {
            continue;
        }
        if ends.iter().any(|l| asks_for_keepalive(case, l.node)) {
            continue;
        }
        let mut names: Vec<&str> = ends.iter().map(|l| case.name(l.node)).collect();
        names.sort_unstable();
        names.dedup();
        let (names, stayed) = match names.as_slice() {
            [one] => ((*one).to_string(), "stayed"),
            _ => (names.join(" and "), "both stayed"),
        };
        let text = format!(
            "the path was cut, and for {} nobody sent: a connection without data and without keepalive has no timer, so {names} \
             noticed nothing and {stayed} ESTABLISHED",
            about(quiet_for)
        );
        let states = ends.iter().filter_map(|l| l.when("ESTAB")).map(|s| Ref::Record(s.0));
        out.say("silence", text, states.chain([Ref::Record(cut)]));
        return;
    }
}

/// A program there has set `SO_KEEPALIVE`: probes will tell.
fn asks_for_keepalive(case: &Case<'_>, node: NodeId) -> bool {
    let mut results = case.results().into_iter();
    results.any(|r| r.node == node && r.call_text.contains("SO_KEEPALIVE, 1"))
}
