//! Nobody answers: `mcast_solicit` questions, one every `retrans_time_ms`, then the entry fails and what
//! waited is dropped; only some senders hear of it (Linux: neighbour.c neigh_timer_handler,
//! neigh_invalidate; TRUTH 11a).

use core::time::Duration;

use stack::DropReason;
use stack::neigh::NudState;
use stack::record::What;

use super::about;
use super::refused::reports;
use super::sockets::{Flow, socket};
use super::{Case, Findings, Question, Returned};
use crate::explain::Ref;
use crate::view::View;

/// A call that waited returns within this: a real kernel's clock goes on meanwhile.
const AT_ONCE: Duration = Duration::from_millis(5);

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let mut done = Vec::new();
    for q in case.questions.iter().filter(|q| q.answer.is_none() && !q.unicast) {
        if done.contains(&(q.node, q.addr)) {
            continue;
        }
        done.push((q.node, q.addr));
        let unanswered: Vec<&Question> = case
            .questions
            .iter()
            .filter(|o| o.node == q.node && o.addr == q.addr && !o.unicast && o.answer.is_none())
            .collect();
        let failed = case
            .entries
            .iter()
            .filter(|e| e.node == q.node && e.addr == q.addr)
            .find_map(|e| e.steps.iter().find(|s| s.to == Some(NudState::Failed) && s.at >= q.at));
        let Some(failed) = failed else { continue };
        // Questions of the attempt that failed first.
        let attempt: Vec<&&Question> = unanswered.iter().filter(|o| o.at <= failed.at).collect();
        let waited = failed.at.saturating_since(q.at).as_nanos();
        let waited = about(u64::try_from(waited).unwrap_or(u64::MAX));
        let host = case.name(q.node);
        let mut refs: Vec<Ref> = attempt.iter().map(|o| Ref::Packet(o.number)).collect();
        refs.push(Ref::Record(failed.record));
        let times = match attempt.len() {
            1 => "once".to_string(),
            n => format!("{n} times"),
        };
        out.say(
            "no-answer",
            format!(
                "nobody answered for {}: {host} asked {times} and gave up after {waited} (FAILED)",
                q.addr
            ),
            refs,
        );
        out.decides_neigh(case, q.node, q.addr, "mcast_solicit");
        out.decides_neigh(case, q.node, q.addr, "retrans_time_ms");
        consequences(case, q, failed.at, failed.record, out);
    }
}

/// Who noticed: a call that returned EHOSTUNREACH, an ICMP error, or nobody.
fn consequences(case: &Case<'_>, q: &Question, at: wire::Instant, record: usize, out: &mut Findings) {
    let host = case.name(q.node);
    let dropped: Vec<usize> = case
        .journal
        .records
        .iter()
        .enumerate()
        .filter(|(_, r)| r.node == q.node && r.at == at)
        .filter(|(_, r)| matches!(r.what, What::Drop { reason: DropReason::NeighFailed, .. }))
        .map(|(i, _)| i)
        .collect();
    if !dropped.is_empty() {
        let packets = if dropped.len() == 1 { "packet that waited was" } else { "packets that waited were" };
        out.say(
            "no-answer-drops",
            format!("the {} {packets} dropped (NEIGH_FAILED)", dropped.len()),
            dropped.iter().map(|i| Ref::Record(*i)),
        );
    }
    let flows = waiting(case, q, &dropped);
    let results = case.results();
    let of_it = |r: &Returned<'_>| {
        // Of several sockets with one destination it is the one whose call returns at that moment.
        let now = r.at.saturating_since(at) <= AT_ONCE;
        let socket = socket(&results, r);
        flows.iter().any(|f| socket.sender_of(case, f).is_some() || now && socket.may_have_sent(case, f))
    };
    let told =
        results.iter().find(|r| r.node == q.node && r.at >= at && reports(r, "EHOSTUNREACH") && of_it(r));
    if let Some(r) = told {
        let how = if r.errno().is_some() {
            "returned EHOSTUNREACH"
        } else {
            "read EHOSTUNREACH from the error queue"
        };
        out.say(
            "no-answer-error",
            format!("{host}'s {}() {how} because of it", r.call_name()),
            [Ref::Record(record), Ref::Record(r.record)],
        );
        if r.call_name() == "connect" {
            let called = case.journal.records[r.call].at;
            let waited = about(r.at.as_nanos().saturating_sub(called.as_nanos()));
            out.folklore(
                "connect() to a host that is down fails after minutes",
                format!("on its own link it returned EHOSTUNREACH after {waited}: nobody had answered for the address"),
                [Ref::Record(r.call), Ref::Record(r.record)],
            );
        }
        return;
    }
    // The call that sent the datagram had returned long before.
    let silent = results.iter().find(|r| {
        let send = r.node == q.node && r.call_name().starts_with("send") && !r.result.starts_with('-');
        send && r.at <= at && {
            let socket = socket(&results, r);
            let sent = |f: &Flow| socket.sender_of(case, f).is_some_and(|s| s.record == r.record);
            flows.iter().any(sent) && !socket.wants_errors()
        }
    });
    let icmp = case.packets().any(|t| t.from == q.node && t.at == at && t.view.is_icmp_error());
    if let (Some(r), false) = (silent, icmp) {
        out.say(
            "no-answer-silent",
            format!(
                "{host}'s {}() had returned {} before anybody could know, and nothing told the program later",
                r.call_name(),
                r.result
            ),
            [Ref::Record(r.record), Ref::Record(record)],
        );
        out.folklore(
            "sending to a host that is down returns an error",
            format!("{}() returned {}", r.call_name(), r.result),
            [Ref::Record(r.record)],
        );
    }
}

/// The flows of the packets that waited, as far as their drops tell; else whatever was for the address itself.
fn waiting(case: &Case<'_>, q: &Question, dropped: &[usize]) -> Vec<Flow> {
    let flows = dropped.iter().filter_map(|&i| match &case.journal.records[i].what {
        What::Drop { packet, .. } => Flow::of(&View::of_bytes(wire::Medium::Ip, packet.to_vec())),
        _ => None,
    });
    let flows: Vec<Flow> = flows.collect();
    if flows.is_empty() { vec![Flow { dst: q.addr, ports: None }] } else { flows }
}
