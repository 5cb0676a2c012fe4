//! An entry grows old: REACHABLE → STALE after a random time, used at once all the same, then DELAY and
//! unicast probes (RFC 4861 §7.3; Linux: neighbour.c neigh_timer_handler, neigh_event_send; TRUTH 11b).

use stack::neigh::NudState;
use stack::record::What;

use super::about;
use super::{Case, Entry, EntryStep, Findings};
use crate::explain::Ref;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    for entry in &case.entries {
        for pair in entry.steps.windows(2) {
            step(case, entry, &pair[0], &pair[1], out);
        }
        probes(case, entry, out);
    }
}

fn step(case: &Case<'_>, entry: &Entry, a: &EntryStep, b: &EntryStep, out: &mut Findings) {
    let host = case.name(entry.node);
    let after = b.at.saturating_since(a.at).as_nanos();
    let after = about(u64::try_from(after).unwrap_or(u64::MAX));
    let refs = [Ref::Record(a.record), Ref::Record(b.record)];
    let same_mac = a.lladdr == b.lladdr;
    match (a.to, b.to) {
        (Some(NudState::Reachable), Some(NudState::Stale)) if same_mac => {
            let text = format!(
                "{host}'s entry for {} became STALE after {after} without a confirmation; no packet was \
                 sent for that",
                entry.addr
            );
            out.say("ageing-stale", text, refs);
            out.decides_neigh(case, entry.node, entry.addr, "base_reachable_time_ms");
        }
        (Some(NudState::Delay), Some(NudState::Probe)) => {
            let text = format!(
                "{host} used the stale entry for {} at once and asked only {after} later, since nothing \
                 confirmed it meanwhile (DELAY to PROBE)",
                entry.addr
            );
            let used = case.packets().find(|t| {
                t.from == entry.node
                    && t.at >= a.at
                    && t.at < b.at
                    && t.view.ip().is_some()
                    && sent_to(entry, t)
            });
            let packet = used.map(|t| Ref::Packet(t.number));
            out.say("ageing-probe", text, refs.into_iter().chain(packet));
            out.decides_neigh(case, entry.node, entry.addr, "delay_first_probe_time");
        }
        (Some(NudState::Delay), Some(NudState::Reachable)) => {
            let text = format!(
                "{host}'s entry for {} was confirmed during DELAY, after {after}, and needed no probe",
                entry.addr
            );
            out.say("ageing-confirmed", text, refs);
        }
        (Some(NudState::Stale), None) if !by_hand(case, entry, b) => {
            let text =
                format!("{host} forgot the entry for {} after {after} in which nobody used it", entry.addr);
            out.say("ageing-removed", text, refs);
            out.decides_neigh(case, entry.node, entry.addr, "gc_stale_time");
        }
        _ => {}
    }
}

/// A command or the interface's end took the entry away, not its age.
fn by_hand(case: &Case<'_>, entry: &Entry, step: &EntryStep) -> bool {
    case.journal.records.iter().any(|r| {
        let cause = matches!(r.what, What::Admin { .. } | What::Link { .. });
        r.node == entry.node && r.at == step.at && cause
    })
}

fn sent_to(entry: &Entry, t: &crate::traffic::Transmission) -> bool {
    let mac = entry.steps.iter().find_map(|s| s.lladdr);
    t.ifindex == entry.ifindex && t.view.macs().is_some_and(|(_, dst)| Some(dst) == mac)
}

/// Unicast questions: how many, how far apart, and what came of them.
fn probes(case: &Case<'_>, entry: &Entry, out: &mut Findings) {
    let probes: Vec<_> =
        case.questions.iter().filter(|q| q.node == entry.node && q.addr == entry.addr && q.unicast).collect();
    let (Some(first), Some(last)) = (probes.first(), probes.last()) else { return };
    let host = case.name(entry.node);
    let refs = probes.iter().map(|q| Ref::Packet(q.number));
    if let Some(q) = probes.iter().find(|q| q.answer.is_some()) {
        let answer = q.answer.expect("found by it");
        let text =
            format!("{host} probed {} by unicast and was answered: the entry is good again", entry.addr);
        out.say("probe-answered", text, [Ref::Packet(q.number), Ref::Packet(answer.number)]);
        return;
    }
    let failed = entry.steps.iter().find(|s| s.to == Some(NudState::Failed) && s.at >= last.at);
    let apart = if probes.len() > 1 {
        let ns = last.at.saturating_since(first.at).as_nanos() / (probes.len() as u128 - 1);
        format!(", {} apart", about(u64::try_from(ns).unwrap_or(u64::MAX)))
    } else {
        String::new()
    };
    let end = if failed.is_some() { "; then the entry was FAILED" } else { "" };
    let n = probes.len();
    let probe = if n == 1 { "unicast probe" } else { "unicast probes" };
    let text =
        format!("{host} sent {n} {probe} to the old address of {}{apart}, unanswered{end}", entry.addr);
    out.say("probe-unanswered", text, refs.chain(failed.map(|f| Ref::Record(f.record))));
    out.decides_neigh(case, entry.node, entry.addr, "ucast_solicit");
    out.decides_neigh(case, entry.node, entry.addr, "retrans_time_ms");
}
