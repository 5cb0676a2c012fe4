//! A listening socket whose queues are full: SYNs and third packets that are dropped, cookies (TRUTH 6, 14.9, 14.10).

use std::collections::BTreeMap;

use stack::DropReason;
use stack::record::{NodeId, What};
use wire::tcp::Flags;

use super::{Segment, dropped_header};
use crate::explain::Ref;
use crate::findings::{Case, Findings};

pub(super) fn find(case: &Case<'_>, segments: &[Segment<'_>], out: &mut Findings) {
    let mut full: BTreeMap<(NodeId, u16), (Vec<Ref>, Vec<Ref>)> = BTreeMap::new();
    for (i, r) in case.journal.records.iter().enumerate() {
        let What::Drop { reason: DropReason::TcpListenOverflow, packet, id, .. } = &r.what else { continue };
        let Some((header, _)) = dropped_header(packet.as_slice()) else { continue };
        let entry = full.entry((r.node, header.dst_port)).or_default();
        let number = id.and_then(|id| case.traffic.get(id)).map(|t| Ref::Packet(t.number));
        let syn = header.flags.syn() && !header.flags.contains(Flags::ACK);
        let list = if syn { &mut entry.0 } else { &mut entry.1 };
        list.push(number.unwrap_or(Ref::Record(i)));
    }
    for ((node, port), (syns, thirds)) in full {
        let host = case.name(node);
        let queue = format!("the accept queue of port {port} was full{}", length(case, node));
        let count = |n: usize, one: &str| if n == 1 { format!("a {one}") } else { format!("{n} {one}s") };
        if !syns.is_empty() {
            let text = format!("{host} dropped {} in silence: {queue}", count(syns.len(), "SYN"));
            out.say("listen-overflow", text, syns.clone());
            let abort = out.value(host, "net.ipv4.tcp_abort_on_overflow");
            let reset =
                segments.iter().any(|s| s.t.from == node && s.is(Flags::RST) && s.flow.0.port() == port);
            if abort.as_deref() == Some("1") && !reset {
                let fact = format!(
                    "{host} dropped the SYNs in silence; the RST is for third packets that find no room"
                );
                out.folklore(
                    "tcp_abort_on_overflow=1 answers with a RST when the accept queue is full",
                    fact,
                    syns,
                );
            }
        }
        if !thirds.is_empty() {
            let text = format!(
                "{host} dropped {}: {queue}; the client believes in a connection that is still half open there",
                count(thirds.len(), "third packet")
            );
            out.say("listen-overflow", text, thirds);
        }
        out.decides(host, "net.core.somaxconn");
        out.decides(host, "net.ipv4.tcp_abort_on_overflow");
    }
    aborted(case, segments, out);
}

/// ` (backlog 1, and one more)`
fn length(case: &Case<'_>, node: NodeId) -> String {
    let listen =
        case.results().into_iter().rfind(|r| r.node == node && r.call_name() == "listen" && r.result == "0");
    let backlog =
        listen.and_then(|r| r.call_text.rsplit_once(", ")?.1.trim_end_matches(')').parse::<i64>().ok());
    backlog.map_or(String::new(), |n| format!(" (listen() with {n} makes room for {})", n.max(0) + 1))
}

/// Third packets that got a RST at once.
fn aborted(case: &Case<'_>, segments: &[Segment<'_>], out: &mut Findings) {
    let mut by_host: BTreeMap<NodeId, Vec<Ref>> = BTreeMap::new();
    for (i, rst) in segments.iter().enumerate().filter(|(_, s)| s.is(Flags::RST)) {
        let overflow = case.counter(rst.t.from, "TcpExtListenOverflows").unwrap_or(0) > 0;
        let third = segments[..i].iter().rfind(|s| s.flow == rst.back());
        let handshake = segments[..i].iter().rfind(|s| s.flow == rst.flow);
        let answers = handshake.is_some_and(|s| s.is(Flags::SYN) && s.is(Flags::ACK));
        if let (true, true, Some(third)) = (overflow, answers, third)
            && third.is_pure_ack()
            && third.arrival(case) == Some(rst.t.at)
        {
            by_host.entry(rst.t.from).or_default().extend([third.number(), rst.number()]);
        }
    }
    for (node, refs) in by_host {
        let host = case.name(node);
        let text = format!(
            "{host} answered a third packet with a RST, because its accept queue was full: the client had been told \
             that it is connected"
        );
        out.say("listen-abort", text, refs);
        out.decides(host, "net.ipv4.tcp_abort_on_overflow");
        out.decides(host, "net.core.somaxconn");
    }
}
