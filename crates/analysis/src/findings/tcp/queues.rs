//! A listening socket whose queues are full: SYNs and third packets that are dropped, cookies (TRUTH 6, 14.9, 14.10).

use std::collections::BTreeMap;

use stack::DropReason;
use stack::record::{NodeId, What};
use wire::tcp::Flags;

use super::{Life, Segment, dropped_header};
use crate::explain::Ref;
use crate::findings::{Case, Findings};

const MAX_SYN_BACKLOG: &str = "net.ipv4.tcp_max_syn_backlog";
const SYNCOOKIES: &str = "net.ipv4.tcp_syncookies";

pub(super) fn find(case: &Case<'_>, segments: &[Segment<'_>], lives: &[Life], out: &mut Findings) {
    half_open(case, segments, lives, out);
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
    backlog(case, node)
        .map_or(String::new(), |n| format!(" (listen() with {n} makes room for {})", n.max(0) + 1))
}

/// What the last `listen()` of a host asked for.
fn backlog(case: &Case<'_>, node: NodeId) -> Option<i64> {
    let listen =
        case.results().into_iter().rfind(|r| r.node == node && r.call_name() == "listen" && r.result == "0");
    listen?.call_text.rsplit_once(", ")?.1.trim_end_matches(')').parse().ok()
}

/// Half-open connections of one host: how many at once, and what limited them (TRUTH 6f to 6k, 14.10).
struct HalfOpen {
    most: usize,
    /// The record that made them so many.
    record: usize,
}

fn peaks(lives: &[Life]) -> BTreeMap<NodeId, HalfOpen> {
    let mut changes: BTreeMap<NodeId, Vec<(usize, bool)>> = BTreeMap::new();
    for life in lives.iter().filter(|l| l.steps.first().is_some_and(|s| s.2 == Some("SYN-RECV"))) {
        let list = changes.entry(life.node).or_default();
        list.push((life.steps[0].0, true));
        list.extend(life.steps.get(1).map(|s| (s.0, false)));
    }
    let mut all = BTreeMap::new();
    for (node, mut list) in changes {
        list.sort_unstable();
        let (mut now, mut peak) = (0_usize, HalfOpen { most: 0, record: 0 });
        for (record, begins) in list {
            now = if begins { now + 1 } else { now.saturating_sub(1) };
            if now > peak.most {
                peak = HalfOpen { most: now, record };
            }
        }
        all.insert(node, peak);
    }
    all
}

/// The SYN queue: what filled it, what became of the SYNs behind it, and which setting was the limit.
fn half_open(case: &Case<'_>, segments: &[Segment<'_>], lives: &[Life], out: &mut Findings) {
    let peaks = peaks(lives);
    for node in case.nodes() {
        let count = |name: &str| case.counter(node, name).unwrap_or(0);
        let (cookies, full) = (count("TcpExtTCPReqQFullDoCookies"), count("TcpExtTCPReqQFullDrop"));
        let others = count("TcpExtListenDrops").saturating_sub(count("TcpExtListenOverflows") + full);
        let host = case.name(node);
        let value = |name: &str| out.value(host, name).and_then(|v| v.parse::<usize>().ok());
        let Some(limit) = value(MAX_SYN_BACKLOG) else { continue };
        let mode = value(SYNCOOKIES).unwrap_or(1);
        let most = peaks.get(&node).map_or(0, |p| p.most);
        let Some(answer) = segments.iter().find(|s| s.t.from == node && s.is(Flags::SYN) && s.is(Flags::ACK))
        else {
            continue;
        };
        let refs = [peaks.get(&node).map_or(answer.number(), |p| Ref::Record(p.record))];
        let of = |n: u64| if n == 1 { "one SYN".to_string() } else { format!("{n} SYNs") };
        let room = length(case, node);
        if mode == 2 && cookies > 0 {
            let text = format!(
                "{host} answered {} with cookies and remembered none of them: tcp_syncookies=2",
                of(cookies)
            );
            out.say("syn-queue", text, [answer.number()]);
            out.decides(host, SYNCOOKIES);
            continue;
        }
        if most == 0 {
            continue;
        }
        let says = "tcp_max_syn_backlog is the length of the SYN queue";
        if cookies + full > 0 {
            let queue = format!("{host}'s SYN queue was full with {most} half-open connections{room}");
            let then = match (cookies, full) {
                (0, _) => format!("it dropped {} in silence", of(full)),
                (_, 0) => format!("it answered {} with cookies and remembered nothing of them", of(cookies)),
                _ => format!("it answered {} with cookies and dropped {}", of(cookies), of(full)),
            };
            out.say("syn-queue", format!("{queue}: {then}"), refs);
            out.decides(host, SYNCOOKIES);
            out.decides(host, "net.core.somaxconn");
            if most != limit && most < limit - limit / 4 {
                let fact =
                    format!("it is {limit} on {host}; what listen() was given decided: {most} found room");
                out.folklore(says, fact, refs);
            }
        } else if mode == 0 && others > 0 && most <= limit {
            let text = format!(
                "{host} held {most} half-open connections and dropped {} in silence: without cookies the last quarter of \
                 tcp_max_syn_backlog is for clients it has seen before",
                of(others)
            );
            out.say("syn-queue", text, refs);
            out.decides(host, MAX_SYN_BACKLOG);
            out.decides(host, SYNCOOKIES);
            let fact =
                format!("{host} takes {most} of {limit}: the last quarter is for clients it has seen before");
            out.folklore(says, fact, refs);
        }
        if most > limit {
            let fact = format!(
                "{host} held {most} at once though it is {limit}: with tcp_syncookies={mode} nobody asks for it"
            );
            out.folklore(says, fact, refs);
            out.decides(host, MAX_SYN_BACKLOG);
            out.decides(host, SYNCOOKIES);
        }
    }
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
