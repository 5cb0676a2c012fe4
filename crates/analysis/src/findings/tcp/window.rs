//! A window that was shut: how long, and how the sender asked (RFC 9293 §3.8.6.1; Linux: tcp_timer.c `tcp_probe_timer`;
//! TRUTH 10a, 13z).

use std::collections::BTreeMap;

use stack::record::What;
use wire::Instant;
use wire::tcp::Flags;

use super::{Flow, Segment, times};
use crate::explain::Ref;
use crate::findings::{Case, Findings, about};

/// A receiver that announces no room.
struct Shut {
    from: Instant,
    refs: Vec<Ref>,
    probes: Vec<Instant>,
}

pub(super) fn find(case: &Case<'_>, segments: &[Segment<'_>], out: &mut Findings) {
    let mut shut: BTreeMap<(Flow, usize), Shut> = BTreeMap::new();
    for s in segments.iter().filter(|s| !s.is(Flags::RST) && !s.is(Flags::SYN)) {
        let key = (s.flow, s.conn);
        if s.header.window == 0 && s.is(Flags::ACK) {
            shut.entry(key).or_insert_with(|| Shut {
                from: s.t.at,
                refs: vec![s.number()],
                probes: Vec::new(),
            });
        } else if let Some(ended) = shut.remove(&key) {
            told(case, s, &ended, Some(s.t.at), out);
        }
        // The sender asks: one number below the next.
        if let Some(waiting) = shut.get_mut(&(s.back(), s.conn))
            && s.len == 0
            && s.is_pure_ack()
            && asks(case, s)
        {
            waiting.probes.push(s.t.at);
            waiting.refs.push(s.number());
        }
    }
    for ((flow, conn), open) in shut {
        let Some(last) = segments.iter().rfind(|s| s.flow == flow && s.conn == conn) else { continue };
        told(case, last, &open, None, out);
    }
}

/// Sent by the persist timer; where timers are not recorded every empty segment towards a shut window is.
fn asks(case: &Case<'_>, s: &Segment<'_>) -> bool {
    if !matches!(case.journal.nodes[s.t.from.0 as usize].kind, stack::record::NodeKind::Stack) {
        return true;
    }
    let before = case.journal.records[..s.t.record].iter().rev();
    before
        .take_while(|r| r.at == s.t.at)
        .any(|r| r.node == s.t.from && matches!(r.what, What::Timer { name: "persist", .. }))
}

fn told(case: &Case<'_>, by: &Segment<'_>, shut: &Shut, until: Option<Instant>, out: &mut Findings) {
    let host = case.name(by.t.from);
    let peer = case.who(by.flow.1.ip());
    let mut refs = shut.refs.clone();
    let how_long = match until {
        Some(until) => {
            refs.push(by.number());
            format!("for {}", about(until.as_nanos() - shut.from.as_nanos()))
        }
        None => "until the end of the run".to_string(),
    };
    let asked = match shut.probes.len() {
        0 => String::new(),
        n => {
            let mut last = shut.from;
            let gaps = shut.probes.iter().map(|at| {
                let gap = about(at.as_nanos().saturating_sub(last.as_nanos()));
                last = *at;
                gap
            });
            let gaps: Vec<String> = gaps.take(8).collect();
            format!("; {peer} asked {} whether it is open again, after {}", times(n), gaps.join(", "))
        }
    };
    let text =
        format!("{host}'s program did not read and its buffer was full: its window was 0 {how_long}{asked}");
    out.say("zero-window", text, refs);
    let set = case.results().into_iter().rfind(|r| {
        r.node == by.t.from
            && r.call_name() == "setsockopt"
            && r.call_text.contains("SO_RCVBUF,")
            && r.result == "0"
    });
    match set.and_then(|r| Some(r.call_text.rsplit_once(", ")?.1.trim_end_matches(')'))) {
        Some(value) => out.decides_option(host, "SO_RCVBUF", value),
        None => out.decides(host, "net.ipv4.tcp_rmem"),
    }
}
