//! `connect()` on a datagram socket: no packet, only a peer that is remembered, and may be changed (Linux:
//! datagram.c __ip4_datagram_connect; TRUTH §8).

use stack::record::What;

use super::{Case, Findings, Returned};
use crate::explain::Ref;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    if super::dns::in_question(case) {
        return;
    }
    let results = case.results();
    // The `socket()` calls whose sockets were connected.
    let mut told: Vec<usize> = Vec::new();
    for r in results.iter().filter(|r| r.call_name() == "connect" && r.result == "0") {
        let Some(socket) = r.fd().and_then(|fd| datagram_socket(&results, r, fd)) else { continue };
        let peer = r.call_text.split_once(", ").map_or("", |(_, rest)| rest.trim_end_matches(')'));
        let host = case.name(r.node);
        let refs = [Ref::Record(r.call), Ref::Record(r.record)];
        if told.contains(&socket) {
            let text = if peer == "AF_UNSPEC" {
                format!("{host}'s connect() to AF_UNSPEC took the peer away again")
            } else {
                format!("{host} called connect() on the same socket again: its peer is now {peer}")
            };
            out.say("connect-again", text, refs);
            continue;
        }
        let sent = case.journal.records[r.call..=r.record].iter();
        let silent = !sent.clone().any(|s| s.node == r.node && matches!(s.what, What::Tx { .. }));
        if silent && told.is_empty() {
            let text = format!("{host}'s connect() to {peer} sent no packet: it names the peer, no more");
            out.say("connect-udp", text, refs);
        }
        told.push(socket);
    }
}

/// The call `socket(…, SOCK_DGRAM, …)` that the descriptor came from.
fn datagram_socket(results: &[Returned<'_>], connect: &Returned<'_>, fd: &str) -> Option<usize> {
    let made = results.iter().rfind(|s| {
        let same = s.node == connect.node && s.program == connect.program && s.record < connect.call;
        same && s.call_name() == "socket" && s.result == fd
    });
    made.filter(|s| s.call_text.contains("SOCK_DGRAM")).map(|s| s.call)
}
