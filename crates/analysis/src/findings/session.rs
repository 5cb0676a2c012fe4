//! What stands above TCP and QUIC in a conversation: how TLS was agreed on and in how many round trips (RFC 8446 §2, RFC 5246 §7.3,
//! RFC 7918), which alert ended it, what was asked by HTTP and answered, and what never was.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Case, Findings, about};
use crate::dissect::{Conversation, Exchange, Message};
use crate::explain::Ref;

/// Captures with more packets than this are not looked at: whole runs of programs are.
const PACKETS: usize = 20_000;
/// Answers of one kind that are told one by one.
const ONE_BY_ONE: usize = 3;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let programs = case.journal.nodes.iter().any(|node| !node.folded.is_empty());
    if !programs && case.packets().count() > PACKETS || !case.packets().any(|t| !t.view.payload().is_empty())
    {
        return;
    }
    handshakes(case, out);
    alerts(case, out);
    requests(case, out);
}

/// A conversation and who really holds it: whoever made the packets, whatever address they bear.
struct Held<'a> {
    c: &'a Conversation,
    client: String,
    server: String,
}

/// What the first packet of a conversation keeps when its addresses are translated.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Beginning<'a> {
    Tcp(u32),
    Quic(&'a [u8]),
}

/// Every conversation once: the same behind address translation is no other one.
fn held<'a>(case: &'a Case<'_>) -> Vec<Held<'a>> {
    let mut all: Vec<(Beginning<'a>, Held<'a>)> = Vec::new();
    for c in &case.dissection().conversations {
        let packets = || c.packets.iter().filter_map(|n| case.packet(*n));
        let from = |ip: std::net::IpAddr| {
            let first = packets().find(|t| t.view.inner_ip().is_some_and(|h| h.src == ip));
            first
                .filter(|t| !case.is_seen(t.from))
                .map_or_else(|| ip.to_string(), |t| case.name(t.from).into())
        };
        let Some(first) = packets().next() else { continue };
        let beginning = match first.view.tcp() {
            Some(h) => Beginning::Tcp(h.seq.0),
            None => Beginning::Quic(first.view.payload()),
        };
        match all.iter_mut().find(|(known, _)| *known == beginning) {
            Some((_, held)) => held.server = from(c.server.ip()),
            None => {
                all.push((beginning, Held { c, client: from(c.client.ip()), server: from(c.server.ip()) }))
            }
        }
    }
    all.into_iter().map(|(_, held)| held).collect()
}

/// How a handshake went.
struct Handshake {
    protocol: &'static str,
    kind: &'static str,
    round_trips: Option<u64>,
    took: u64,
    first: u32,
    last: u32,
    /// The request left before the handshake was over.
    ahead: bool,
}

fn handshake(case: &Case<'_>, c: &Conversation) -> Option<Handshake> {
    let (begin, end) = (c.tls_begin_ns?, c.tls_end_ns?);
    let (mut protocol, mut first, mut last, mut certificate, mut key_exchange) = ("TLS", 0, 0, false, false);
    for number in &c.packets {
        for layer in &case.dissection().packet(*number)?.layers {
            let Message::TlsHandshake { ty, from_client, .. } = layer.message else { continue };
            match (ty, from_client) {
                (1, true) if first == 0 => first = *number,
                (11, false) => certificate = true,
                (12, false) => key_exchange = true,
                (20, false) => last = *number,
                _ => {}
            }
            if layer.protocol != "TLS" && !from_client {
                protocol = layer.protocol;
            }
        }
    }
    let rtt = c.connected_ns.map(|at| at - c.begin_ns).filter(|rtt| *rtt > 0);
    let took = end - begin;
    Some(Handshake {
        protocol,
        kind: match (certificate, key_exchange, protocol) {
            (false, ..) => "an earlier session resumed, without a certificate",
            (true, false, "TLSv1.2") => {
                "in full, the secret encrypted with the key of the server's certificate"
            }
            (true, ..) => "in full, with the server's certificate",
        },
        round_trips: rtt.map(|rtt| (took + rtt / 2) / rtt),
        took,
        first,
        last,
        ahead: c.exchanges.first().is_some_and(|e| e.request_ns < end),
    })
}

fn handshakes(case: &Case<'_>, out: &mut Findings) {
    type Kind = (String, String, &'static str, &'static str, Option<u64>, bool);
    let mut all: BTreeMap<Kind, Vec<Handshake>> = BTreeMap::new();
    for Held { c, client, server } in held(case) {
        let Some(h) = handshake(case, c) else { continue };
        all.entry((client, server, h.protocol, h.kind, h.round_trips, h.ahead)).or_default().push(h);
    }
    for ((client, server, protocol, kind, round_trips, ahead), shakes) in all {
        let trips = match round_trips {
            None | Some(0) => String::new(),
            Some(1) => ", one round trip".into(),
            Some(n) => format!(", {n} round trips"),
        };
        let ahead = match (ahead, protocol) {
            (false, _) => "",
            (true, "TLSv1.2") => "; the request left before the server's Finished (False Start)",
            (true, _) => "; the request left with the ClientHello (early data)",
        };
        let more = match shakes.len() {
            1 => String::new(),
            n => format!(", on {n} connections"),
        };
        let text = format!(
            "{client} and {server} agreed on {protocol} after {}{trips}: {kind}{ahead}{more}",
            about(shakes[0].took)
        );
        let refs = shakes.iter().flat_map(|h| [Ref::Packet(h.first), Ref::Packet(h.last)]);
        out.say("tls-handshake", text, refs.filter(|r| *r != Ref::Packet(0)));
    }
}

fn alerts(case: &Case<'_>, out: &mut Findings) {
    /// `close_notify`: no fault.
    const CLOSE_NOTIFY: u8 = 0;
    for Held { c, client, server } in held(case) {
        for number in &c.packets {
            let Some(packet) = case.dissection().packet(*number).filter(|p| p.repeats.is_none()) else {
                continue;
            };
            for layer in &packet.layers {
                let Message::TlsAlert { description, .. } = layer.message else { continue };
                let Some(t) = case.packet(*number).filter(|_| description != CLOSE_NOTIFY) else { continue };
                let by_client = t.view.inner_ip().is_some_and(|ip| ip.src == c.client.ip());
                let (who, whom) = if by_client { (&client, &server) } else { (&server, &client) };
                let name = layer.summary.rsplit_once(": ").map_or("", |(_, name)| name.trim_end_matches(')'));
                let text = format!("{who} ended TLS with {whom} by the alert {name} ({description})");
                out.say("tls-alert", text, [Ref::Packet(*number)]);
            }
        }
    }
}

fn version(c: &Conversation, e: &Exchange) -> &'static str {
    match (c.transport, e.stream) {
        ("QUIC", _) => "HTTP/3",
        (_, Some(_)) => "HTTP/2",
        (_, None) => "HTTP/1",
    }
}

fn requests(case: &Case<'_>, out: &mut Findings) {
    type Pair<'a> = (String, String, &'static str);
    let mut all: BTreeMap<Pair<'_>, Vec<(&Conversation, &Exchange)>> = BTreeMap::new();
    for Held { c, client, server } in held(case) {
        for e in &c.exchanges {
            all.entry((client.clone(), server.clone(), version(c, e))).or_default().push((c, e));
        }
    }
    for ((client, server, version), exchanges) in all {
        if exchanges.len() <= ONE_BY_ONE {
            for (_, e) in &exchanges {
                one(&client, &server, version, e, out);
            }
            continue;
        }
        let mut by_status: BTreeMap<Option<u16>, usize> = BTreeMap::new();
        let mut connections: Vec<SocketAddr> = Vec::new();
        for (c, e) in &exchanges {
            *by_status.entry(e.status).or_default() += 1;
            connections.push(c.client);
        }
        connections.sort_unstable();
        connections.dedup();
        let listed: Vec<String> = by_status
            .iter()
            .map(|(status, n)| {
                status.map_or(format!("{n} without an answer"), |s| format!("{n} answered {s}"))
            })
            .collect();
        let on = match connections.len() {
            1 => "one connection".to_string(),
            n => format!("{n} connections"),
        };
        let text = format!(
            "{client} made {} requests of {server} by {version} over {on}: {}",
            exchanges.len(),
            listed.join(", ")
        );
        let ends = [exchanges.first(), exchanges.last()];
        let refs = ends.into_iter().flatten().map(|(_, e)| Ref::Packet(e.request_packet));
        out.say("http-requests", text, refs);
    }
}

fn one(client: &str, server: &str, version: &str, e: &Exchange, out: &mut Findings) {
    let asked = format!("{client} asked {server} for {} {} by {version}", e.method, e.target);
    let refs = [Some(e.request_packet), e.response_packet].into_iter().flatten().map(Ref::Packet);
    let text = match (e.status, e.response_ns) {
        (Some(status), Some(at)) => {
            let took = about(at.saturating_sub(e.request_ns));
            format!("{asked}: {status} after {took}, {} bytes of body", e.bytes)
        }
        _ => format!("{asked} and was not answered"),
    };
    out.say("http-requests", text, refs);
}
