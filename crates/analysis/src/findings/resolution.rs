//! Address resolution that worked: who asked whom, how long it took, what waited meanwhile, and what the
//! asked host learnt from the question itself (Linux: arp.c arp_process, ndisc.c ndisc_recv_ns).

use core::time::Duration;

use stack::record::What;

use super::about;
use super::{Case, Findings, Question};
use crate::explain::{Ref, Sentence};

/// A real kernel's notification takes a while to reach the journal.
const PROBE_DELAY: Duration = Duration::from_millis(5);

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    for q in case.questions.iter().filter(|q| !q.unicast) {
        let Some(answer) = q.answer else { continue };
        let protocol = if q.addr.is_ipv4() { "ARP" } else { "NDP" };
        let cast = if q.addr.is_ipv4() { "broadcast" } else { "multicast" };
        let took = answer.at.saturating_since(q.at).as_nanos();
        let took = u64::try_from(took).unwrap_or(u64::MAX);
        let mut text = format!(
            "{} did not know {}'s link-layer address, asked by {cast} and {} answered by unicast {}",
            case.name(q.node),
            q.addr,
            case.name(answer.from),
            if took == 0 { "at once".to_string() } else { format!("after {}", about(took)) }
        );
        let mut refs = vec![Ref::Packet(q.number), Ref::Packet(answer.number)];
        if let Some((record, queued)) = waited(case, q) {
            let packets = if queued == 1 { "packet".to_string() } else { "packets".to_string() };
            text.push_str(&format!("; {queued} {packets} waited for it"));
            refs.push(Ref::Record(record));
        }
        out.say(if protocol == "ARP" { "arp-resolution" } else { "ndp-resolution" }, text, refs);
        learnt_from_question(case, q, out);
    }
}

/// How many packets waited when the question was sent, and the record that says so.
fn waited(case: &Case<'_>, q: &Question) -> Option<(usize, u32)> {
    let until = q.answer?.at;
    let waiting = case.journal.records.iter().enumerate().filter_map(|(i, r)| match r.what {
        What::NeighQueued { addr, queued, .. } if r.node == q.node && addr == q.addr && r.at <= until => {
            Some((i, queued))
        }
        _ => None,
    });
    waiting.max_by_key(|w| w.1)
}

/// The asked host makes an entry for the asker: it will not have to ask back.
fn learnt_from_question(case: &Case<'_>, q: &Question, out: &mut Findings) {
    let Some(answer) = q.answer else { return };
    let Some(question) = case.packet(q.number) else { return };
    let Some(arrival) = question.arrivals.iter().find(|a| a.node == answer.from) else { return };
    let learnt = case.entries.iter().filter(|e| e.node == answer.from).find_map(|e| {
        let first = e.steps.first()?;
        let soon = first.at >= arrival.at && first.at.saturating_since(arrival.at) <= PROBE_DELAY;
        let new_now = soon && first.record > arrival.record && first.lladdr.is_some();
        new_now.then_some((e.addr, first))
    });
    let Some((addr, step)) = learnt else { return };
    let state = step.to.map_or("", |s| s.name());
    out.say(
        "learnt-from-question",
        format!(
            "{} learnt {addr}'s address from the question itself ({state}) and need not ask back",
            case.name(answer.from)
        ),
        [Ref::Packet(q.number), Ref::Record(step.record)],
    );
}

/// More resolutions than this are told in one sentence, unless neighbours are what the run is about.
const MAX_TOLD: usize = 2;

/// Where something else happened, what every conversation begins with comes last and is told once.
pub(super) fn make_short(sentences: &mut Vec<Sentence>) {
    let is_resolution = |s: &Sentence| matches!(s.finding, "arp-resolution" | "ndp-resolution");
    let is_routine = |s: &Sentence| is_resolution(s) || s.finding == "learnt-from-question";
    let about_neighbours = |s: &Sentence| {
        let kinds = ["gratuitous", "proxy", "spoof", "static", "no-answer", "dad"];
        kinds.iter().any(|k| s.finding.starts_with(k))
    };
    let other =
        |s: &Sentence| !is_routine(s) && !s.finding.starts_with("ageing") && !s.finding.starts_with("probe");
    let resolutions: Vec<&Sentence> = sentences.iter().filter(|s| is_resolution(s)).collect();
    let many = resolutions.len() > MAX_TOLD && sentences.iter().any(other);
    if !many || sentences.iter().any(about_neighbours) {
        return;
    }
    let (first, n) = (resolutions[0], resolutions.len());
    let text = format!("{n} link-layer addresses had to be asked for first, and all were told");
    let mut refs: Vec<Ref> = resolutions.iter().flat_map(|s| s.refs.iter().copied()).collect();
    refs.sort_unstable();
    refs.dedup();
    let one = Sentence { finding: first.finding, text, refs, at_ns: first.at_ns };
    sentences.retain(|s| !is_resolution(s));
    // A stable sort: the others stay in the order of time.
    sentences.sort_by_key(|s| is_routine(s));
    let at = sentences.iter().position(is_routine).unwrap_or(sentences.len());
    sentences.insert(at, one);
}
