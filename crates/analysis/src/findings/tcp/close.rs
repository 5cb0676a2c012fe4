//! How a connection closed: who first, in how many packets, who keeps TIME-WAIT and for how long; FIN-WAIT-2 and
//! CLOSE-WAIT that last (RFC 9293 §3.6; TRUTH 4, 7, 9e, 9f, 14.4, 14.8).

use std::collections::BTreeMap;

use stack::record::NodeId;
use wire::Instant;
use wire::tcp::Flags;

use super::{Life, Segment, who};
use crate::explain::Ref;
use crate::findings::{Case, Findings, Returned, about};

/// Counts from `close()` on.
const FIN_TIMEOUT: &str = "net.ipv4.tcp_fin_timeout";
/// `TCP_TIMEWAIT_LEN`, seconds.
const TIME_WAIT_S: u64 = 60;
/// Closes that are told one by one; more are summed up.
const TOLD_APART: usize = 2;

pub(super) fn find(case: &Case<'_>, segments: &[Segment<'_>], lives: &[Life], out: &mut Findings) {
    let mut first_fins: BTreeMap<usize, Vec<&Segment<'_>>> = BTreeMap::new();
    for s in segments.iter().filter(|s| s.is(Flags::FIN)) {
        let fins = first_fins.entry(s.conn).or_default();
        if fins.iter().all(|f| f.flow != s.flow) {
            fins.push(s);
        }
    }
    let closed: Vec<&Vec<&Segment<'_>>> =
        first_fins.values().filter(|f| f[0].arrived(case) || f.len() > 1).collect();
    if closed.len() <= TOLD_APART {
        for fins in closed {
            sequence(case, segments, fins, out);
        }
    }
    time_waits(case, lives, out);
    waits(case, segments, lives, out);
}

/// One close, packet by packet.
fn sequence(case: &Case<'_>, segments: &[Segment<'_>], fins: &[&Segment<'_>], out: &mut Findings) {
    let first = fins[0];
    let (a, b) = (case.name(first.t.from), who(case, first.flow.1.ip()));
    let Some(second) = fins.get(1) else { return };
    let at_once = first.arrival(case).is_none_or(|at| at > second.t.at);
    if at_once {
        let text = format!(
            "{a} and {b} closed at the same time: each FIN was on its way when the other was sent (CLOSING)"
        );
        out.say("tcp-close", text, [first.number(), second.number()]);
        return;
    }
    let end = first.end();
    let ack = segments.iter().find(|s| {
        s.flow == first.back()
            && s.t.number > first.t.number
            && s.is(Flags::ACK)
            && s.ack == end
            && !s.is(Flags::RST)
    });
    let Some(ack) = ack else { return };
    let last = segments.iter().find(|s| s.flow == first.flow && s.is_pure_ack() && s.ack == second.end());
    let refs = [Some(first.number()), Some(ack.number()), Some(second.number()), last.map(Segment::number)];
    let refs: Vec<Ref> = refs.into_iter().flatten().collect();
    let text = if ack.t.number == second.t.number {
        format!(
            "{a} closed first; {b} closed before its delayed ACK was due, so that the ACK travelled with its FIN: three \
             packets"
        )
    } else {
        let later = about(second.t.at.as_nanos().saturating_sub(ack.t.at.as_nanos()));
        format!(
            "{a} closed first; {b}'s kernel acknowledged that by itself, and its own FIN came {later} later, when its \
             program closed: four packets"
        )
    };
    out.say("tcp-close", text, refs);
}

/// Who is in TIME-WAIT, by our stack's records; how long it lasted where the run saw its end.
fn time_waits(case: &Case<'_>, lives: &[Life], out: &mut Findings) {
    let mut all: BTreeMap<NodeId, Vec<&Life>> = BTreeMap::new();
    for life in lives.iter().filter(|l| l.when("TIME-WAIT").is_some()) {
        all.entry(life.node).or_default().push(life);
    }
    for (node, lives) in all {
        let host = case.name(node);
        let entered = |l: &&Life| Ref::Record(l.when("TIME-WAIT").expect("filtered").0);
        let text = match lives.len() {
            1 if lives[0].when("CLOSING").is_some() => {
                format!("{host} keeps the connection's name in TIME-WAIT for 60 s")
            }
            1 => format!("{host} keeps the connection's name in TIME-WAIT for 60 s, because it closed first"),
            n => format!("{host} closed first and has {n} connections in TIME-WAIT, each for 60 s"),
        };
        out.say("time-wait", text, lives.iter().map(entered));
        let ended = lives.iter().find_map(|l| {
            let (from, at) = l.when("TIME-WAIT")?;
            let (to, end, state) = l.after("TIME-WAIT")?;
            state.is_none().then_some((from, to, end.saturating_since(at)))
        });
        let Some((from, to, lasted)) = ended else { continue };
        if lasted.as_secs() < 59 {
            continue;
        }
        let lasted = about(u64::try_from(lasted.as_nanos()).unwrap_or(u64::MAX));
        let refs = [Ref::Record(from), Ref::Record(to)];
        out.say("time-wait-over", format!("{host}'s TIME-WAIT was over after {lasted}"), refs);
        match out.value(host, "net.ipv4.tcp_fin_timeout").filter(|v| v != "60") {
            Some(set) => out.folklore(
                "tcp_fin_timeout sets the length of TIME-WAIT",
                format!("it is {set} on {host}, and TIME-WAIT lasted {lasted}: 60 s from the last FIN on, a constant"),
                refs,
            ),
            None => out.folklore(
                "TIME-WAIT lasts two or four minutes",
                format!("{lasted} on {host}: 60 s from the last FIN on, a constant"),
                refs,
            ),
        }
    }
}

/// States that last because somebody does not close.
fn waits(case: &Case<'_>, segments: &[Segment<'_>], lives: &[Life], out: &mut Findings) {
    let mut open: BTreeMap<NodeId, Vec<Ref>> = BTreeMap::new();
    for life in lives {
        fin_wait_2(case, segments, life, out);
        if let Some((record, _, Some("CLOSE-WAIT"))) = life.steps.last() {
            open.entry(life.node).or_default().push(Ref::Record(*record));
        }
    }
    for (node, refs) in open {
        let sockets =
            if refs.len() == 1 { "a socket is".to_string() } else { format!("{} sockets are", refs.len()) };
        let text = format!(
            "at the end {sockets} in CLOSE-WAIT on {}: the peer has closed, and the program there has not called \
             close(); no timer ends that",
            case.name(node)
        );
        out.say("close-wait", text, refs);
    }
}

/// FIN-WAIT-2: whether its time ran out, and what people say about that time (TRUTH 4j to 4k6, 12a, 14.8).
fn fin_wait_2(case: &Case<'_>, segments: &[Segment<'_>], life: &Life, out: &mut Findings) {
    let Some((record, at)) = life.when("FIN-WAIT-2") else { return };
    let (host, peer) = (case.name(life.node), who(case, life.remote.ip()));
    let next = life.after("FIN-WAIT-2");
    let until = next.map_or(case.journal.end, |n| n.1);
    let lasted = until.as_nanos().saturating_sub(at.as_nanos());
    let own = linger2(case, life.node);
    let set = own.or_else(|| out.value(host, FIN_TIMEOUT)?.parse().ok());
    let Some(set) = set.and_then(|s| u64::try_from(s).ok()) else { return };
    let nominal = if set > TIME_WAIT_S { 2 * (set - TIME_WAIT_S) } else { set } * 1_000_000_000;
    let refs = [Ref::Record(record), next.map_or(Ref::Record(record), |n| Ref::Record(n.0))];
    let name = if own.is_some() { "TCP_LINGER2" } else { "tcp_fin_timeout" };
    let ran_out = matches!(next, Some((_, _, None)))
        && lasted >= nominal
        && lasted > 0
        && !ended_otherwise(case, segments, life, until);
    let says = "tcp_fin_timeout is how long FIN-WAIT-2 lasts";
    if ran_out {
        let text = format!(
            "{host} had closed its socket and waited {} in FIN-WAIT-2 for {peer}'s FIN, then forgot the connection",
            about(lasted)
        );
        out.say("fin-wait-2", text, refs);
        match own {
            Some(own) => out.decides_option(host, "TCP_LINGER2", &own.to_string()),
            None => out.decides(host, FIN_TIMEOUT),
        }
        if set > TIME_WAIT_S {
            let fact = format!(
                "{name} is {set} on {host}, and it lasted {}: beyond 60 s it is twice what is above 60",
                about(lasted)
            );
            out.folklore(says, fact, refs);
        } else if own.is_some() {
            let fact = format!("{} on {host}: TCP_LINGER2={set} of the socket goes before it", about(lasted));
            out.folklore(says, fact, refs);
        }
    }
    // The wheel's steps are an eighth of the wait.
    if own.is_none() && lasted > set.saturating_mul(1_125_000_000) && nominal <= set * 1_000_000_000 {
        let fact = format!(
            "it is {set} on {host}, and FIN-WAIT-2 lasted {}: the time counts only from close() on, shutdown() does not \
             start it",
            about(lasted)
        );
        out.folklore(says, fact, refs);
        out.decides(host, FIN_TIMEOUT);
    }
}

/// A segment of the connection or a call ended it, not a timer.
fn ended_otherwise(case: &Case<'_>, segments: &[Segment<'_>], life: &Life, at: Instant) -> bool {
    let flow = (life.remote, life.local);
    let segment = segments.iter().any(|s| s.flow == flow && s.arrival(case) == Some(at));
    let call = |r: &Returned<'_>| r.node == life.node && r.at == at && r.call_name() == "close";
    segment || case.results().iter().any(call)
}

/// What a program of the host set for its own FIN-WAIT-2, seconds.
fn linger2(case: &Case<'_>, node: NodeId) -> Option<i64> {
    let results = case.results();
    let set = results.iter().rfind(|r| {
        r.node == node
            && r.call_name() == "setsockopt"
            && r.result == "0"
            && r.call_text.contains("TCP_LINGER2")
    })?;
    set.call_text.rsplit_once(", ")?.1.trim_end_matches(')').parse().ok()
}
