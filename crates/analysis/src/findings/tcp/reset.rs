//! A RST: what made a host send it, and what the programs at the other end saw of it (RFC 9293 §3.5.2, §3.10.7; TRUTH 5,
//! 14.18).

use core::time::Duration;

use stack::DropReason;
use wire::Instant;
use wire::tcp::Flags;

use super::Segment;
use crate::explain::Ref;
use crate::findings::{Case, Findings, Returned};

/// Errors of later calls that are told.
const TOLD: usize = 3;
/// RSTs that are told one by one.
const TOLD_APART: usize = 4;

pub(super) fn find(case: &Case<'_>, segments: &[Segment<'_>], out: &mut Findings) {
    let results = case.results();
    let mut heard: Vec<usize> = Vec::new();
    let resets = segments.iter().enumerate().filter(|(_, s)| s.is(Flags::RST));
    for (i, rst) in resets.take(TOLD_APART) {
        why(case, &segments[..i], rst, &results, out);
        heard_of(case, rst, &results, &mut heard, out);
    }
}

/// What the host that sent it had seen or done.
fn why(
    case: &Case<'_>,
    before: &[Segment<'_>],
    rst: &Segment<'_>,
    results: &[Returned<'_>],
    out: &mut Findings,
) {
    let cause = before.iter().rfind(|s| s.flow == rst.back() && s.arrived(case) && !s.is(Flags::RST));
    let host = case.name(rst.t.from);
    if let Some(cause) = cause {
        let peer = case.name(cause.t.from);
        let refs = [cause.number(), rst.number()];
        if cause.is(Flags::SYN) && !cause.is(Flags::ACK) {
            let text = format!("{host} answered {peer}'s SYN for port {} with a RST", rst.flow.0.port());
            out.say("tcp-refused", text, refs);
            return;
        }
        // RFC 9293 §3.10.7.1: its number is the one that the segment acknowledged, and nothing is acknowledged.
        let answers = rst.seq == cause.ack && !rst.is(Flags::ACK);
        if answers && cause.arrival(case).is_some_and(|at| soon(at, rst.t.at)) {
            let text = format!(
                "{host} knew nothing of the connection that {peer}'s segment belonged to, and answered with a RST"
            );
            out.say("tcp-reset", text, refs);
            return;
        }
    }
    // A close() at the same instant: unread data, or a linger time of zero.
    let close = results.iter().find(|r| {
        r.node == rst.t.from && r.call_name() == "close" && soon(case.journal.records[r.call].at, rst.t.at)
    });
    let Some(close) = close else { return };
    let linger = results.iter().find(|r| {
        r.node == close.node
            && r.program == close.program
            && r.fd() == close.fd()
            && r.call < close.call
            && r.call_text.contains("SO_LINGER")
            && r.call_text.contains("l_onoff=1, l_linger=0")
    });
    let refs = [rst.number(), Ref::Record(close.call)];
    if let Some(linger) = linger {
        let text = format!(
            "{host}'s close() sent a RST instead of a FIN, because SO_LINGER with time 0 asked for it: nothing is \
             delivered any more and nobody waits in TIME-WAIT"
        );
        out.decides_option(host, "SO_LINGER", "{l_onoff=1, l_linger=0}");
        out.say("tcp-abort", text, refs.into_iter().chain([Ref::Record(linger.call)]));
    } else if case.counter(rst.t.from, "TcpExtTCPAbortOnClose").unwrap_or(0) > 0 {
        let text = format!(
            "{host}'s close() sent a RST instead of a FIN: data had arrived that its program did not read"
        );
        out.say("tcp-abort", text, refs);
    }
}

/// At the same instant; a real kernel needs a moment.
fn soon(cause: Instant, effect: Instant) -> bool {
    effect >= cause && effect.saturating_since(cause) <= Duration::from_millis(5)
}

/// The calls at the other end that failed because of it.
fn heard_of(
    case: &Case<'_>,
    rst: &Segment<'_>,
    results: &[Returned<'_>],
    heard: &mut Vec<usize>,
    out: &mut Findings,
) {
    let Some(at) = rst.arrival(case) else { return };
    let Some(node) = case.owner_of_ip(rst.flow.1.ip()) else { return };
    // Dropped for its number or time: no effect.
    if rst
        .t
        .drops
        .iter()
        .any(|d| d.node == node && !matches!(d.reason, DropReason::TcpReset | DropReason::NotSpecified))
    {
        return;
    }
    let failed = |r: &&Returned<'_>| {
        r.node == node
            && r.at >= at
            && !heard.contains(&r.record)
            && (matches!(r.errno(), Some("ECONNRESET" | "EPIPE" | "ECONNREFUSED" | "ENOTCONN"))
                || r.call_text.contains("SO_ERROR")
                    && (r.result.contains("[104]") || r.result.contains("[32]")))
    };
    let Some(first) = results.iter().filter(failed).min_by_key(|r| r.record) else { return };
    let mut calls: Vec<&Returned<'_>> = results
        .iter()
        .filter(failed)
        .filter(|r| (r.program, r.fd()) == (first.program, first.fd()))
        .collect();
    calls.sort_by_key(|r| r.record);
    calls.truncate(TOLD);
    let told = calls.iter().enumerate().map(|(n, r)| {
        let error = r.errno().unwrap_or(if r.result.contains("[104]") { "ECONNRESET" } else { "EPIPE" });
        let call = r.call_name();
        if n == 0 { format!("{call}() returned {error}") } else { format!("then {call}() {error}") }
    });
    let (host, peer) = (case.name(node), case.who(rst.flow.0.ip()));
    let text = format!("{peer}'s RST reached {host}, whose {}", told.collect::<Vec<_>>().join(", "));
    let refs: Vec<Ref> =
        [rst.number()].into_iter().chain(calls.iter().map(|r| Ref::Record(r.record))).collect();
    out.say("tcp-reset-heard", text, refs.clone());
    let wrote_first = matches!(calls[0].call_name(), "send" | "sendto" | "write" | "sendmsg");
    if wrote_first && calls[0].errno() == Some("ECONNRESET") {
        let fact = format!(
            "{host}'s first {}() after it returned ECONNRESET; EPIPE is for those behind",
            calls[0].call_name()
        );
        out.folklore("writing after a RST fails with EPIPE", fact, refs);
    }
    heard.extend(calls.iter().map(|r| r.record));
}
