//! Names and who was asked for them: the way from the resolver down to the answer, what a cache saved, answers that did not fit,
//! servers that said nothing or could not say, and answers that another host gave (RFC 1034 §5, RFC 2308, RFC 5452).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use stack::record::NodeId;
use wire::Instant;

use super::{Case, Findings, about};
use crate::dissect::{Layer, Message};
use crate::explain::Ref;
use crate::traffic::Transmission;

const PORT: u16 = 53;

/// Whether the run is about names, so that what lies below only keeps the packets going.
pub(super) fn in_question(case: &Case<'_>) -> bool {
    case.packets().any(|t| t.view.udp().is_some_and(|h| h.src_port == PORT || h.dst_port == PORT))
}

/// A question and what came of it.
struct Exchange {
    client: NodeId,
    server_ip: IpAddr,
    name: String,
    ty: String,
    id: u16,
    ports: (u16, u16),
    number: u32,
    at: Instant,
    /// When the server had it.
    arrived: Option<Instant>,
    over_tcp: bool,
    reply: Option<Reply>,
}

/// An answer.
struct Reply {
    number: u32,
    sender: NodeId,
    /// When the client had it.
    at: Instant,
    rcode: String,
    answers: usize,
    truncated: bool,
    authoritative: bool,
    /// The zone that it sends the client down to.
    referral: Option<String>,
    /// The first answer of the question's type: content and TTL.
    content: Option<(String, u32)>,
    /// The TTL of the SOA of a negative answer.
    negative_ttl: Option<u32>,
}

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    if !in_question(case) {
        return;
    }
    let dissection = case.dissection();
    // In the order in which hosts did and learnt things: a forged answer may be on its way before the question is.
    let mut events: Vec<(usize, &Transmission, &Layer)> = Vec::new();
    for t in case.packets() {
        let Some(packet) = dissection.packet(t.number) else { continue };
        for layer in &packet.layers {
            let to = t.view.inner_ip().and_then(|ip| case.owner_of_ip(ip.dst));
            let arrival = t.arrivals.iter().find(|a| Some(a.node) == to).map(|a| a.record);
            match &layer.message {
                Message::DnsQuery { .. } => events.push((t.record, t, layer)),
                Message::DnsResponse { .. } => events.extend(arrival.map(|record| (record, t, layer))),
                _ => {}
            }
        }
    }
    events.sort_by_key(|event| event.0);
    // Who made a message: the first to send it; routers send it on.
    let mut makers = BTreeMap::new();
    for m in case.packets().filter_map(|t| Some((message_of(t)?, t.from))) {
        makers.entry(m.0).or_insert(m.1);
    }
    let translated = translated(case);
    let mut all: Vec<Exchange> = Vec::new();
    let mut strays: BTreeMap<(NodeId, IpAddr), Vec<u32>> = BTreeMap::new();
    for (_, t, layer) in events {
        let (Some(ip), Some((ports, _))) = (t.view.inner_ip(), ports(t)) else { continue };
        match &layer.message {
            Message::DnsQuery { id, name, ty } if translated.contains(&(ip.src, ports.0)) => {
                // When it arrived is what is to be learnt from it.
                let to = case.owner_of_ip(ip.dst);
                let arrived = t.arrivals.iter().find(|a| Some(a.node) == to).map(|a| a.at);
                let mut open = all.iter_mut().rev();
                let same =
                    open.find(|e| e.id == *id && e.name == *name && e.ty == *ty && e.arrived.is_none());
                if let (Some(exchange), Some(_)) = (same, arrived) {
                    exchange.arrived = arrived;
                }
            }
            Message::DnsQuery { id, name, ty } => question(case, t, *id, name, ty, &mut all),
            _ if translated.contains(&(ip.dst, ports.1)) => {}
            _ => {
                let maker = message_of(t).and_then(|m| makers.get(&m)).copied().unwrap_or(t.from);
                answer(case, t, (layer, maker), &mut all, &mut strays);
            }
        }
    }
    walks(case, &all, out);
    from_cache(case, &all, out);
    negative(case, &all, out);
    truncated(case, &all, out);
    unanswered(case, &all, out);
    cannot_say(case, &all, out);
    forged(case, &all, &strays, out);
}

/// The ports of a packet and whether it is TCP's.
fn ports(t: &Transmission) -> Option<((u16, u16), bool)> {
    match (t.view.udp(), t.view.tcp()) {
        (Some(h), _) => Some(((h.src_port, h.dst_port), false)),
        (_, Some(h)) => Some(((h.src_port, h.dst_port), true)),
        _ => None,
    }
}

fn question(case: &Case<'_>, t: &Transmission, id: u16, name: &str, ty: &str, all: &mut Vec<Exchange>) {
    let (Some(ip), Some((ports, over_tcp))) = (t.view.inner_ip(), ports(t)) else { return };
    let Some(client) = case.owner_of_ip(ip.src) else { return };
    let to = case.owner_of_ip(ip.dst);
    let arrived = t.arrivals.iter().find(|a| Some(a.node) == to).map(|a| a.at);
    if t.from != client {
        // A router passed it on: when it arrived is still to be learnt.
        let same =
            |e: &&mut Exchange| e.client == client && e.id == id && e.ports == ports && e.arrived.is_none();
        if let Some(exchange) = all.iter_mut().rev().find(same) {
            exchange.arrived = arrived;
        }
        return;
    }
    all.push(Exchange {
        client,
        server_ip: ip.dst,
        name: name.into(),
        ty: ty.into(),
        id,
        ports,
        number: t.number,
        at: t.at,
        arrived,
        over_tcp,
        reply: None,
    });
}

fn answer(
    case: &Case<'_>,
    t: &Transmission,
    (layer, maker): (&Layer, NodeId),
    all: &mut [Exchange],
    strays: &mut BTreeMap<(NodeId, IpAddr), Vec<u32>>,
) {
    let Message::DnsResponse { id, name, ty, rcode, answers, authoritative, truncated } = &layer.message
    else {
        return;
    };
    let (Some(ip), Some((ports, over_tcp))) = (t.view.inner_ip(), ports(t)) else { return };
    let Some(client) = case.owner_of_ip(ip.dst) else { return };
    let Some(arrival) = t.arrivals.iter().find(|a| a.node == client) else {
        return;
    };
    let asked = all.iter_mut().rev().find(|e| {
        let who = e.client == client && e.server_ip == ip.src && e.ports == (ports.1, ports.0);
        who && e.over_tcp == over_tcp && e.id == *id && e.name.eq_ignore_ascii_case(name) && e.ty == *ty
    });
    let sender = maker;
    let Some(exchange) = asked.filter(|e| e.reply.is_none()) else {
        if case.owner_of_ip(ip.src).is_some_and(|owner| owner != sender) {
            strays.entry((sender, ip.src)).or_default().push(t.number);
        }
        return;
    };
    exchange.reply = Some(Reply {
        number: t.number,
        sender,
        at: arrival.at,
        rcode: rcode.clone(),
        answers: *answers,
        truncated: *truncated,
        authoritative: *authoritative,
        referral: (*answers == 0).then(|| record(layer, "dns.authority", "NS")).flatten().map(|r| r.0),
        content: record(layer, "dns.answers", ty).map(|r| (r.1, r.2)),
        negative_ttl: (*answers == 0).then(|| record(layer, "dns.authority", "SOA")).flatten().map(|r| r.2),
    });
}

/// What of an answer stays the same on the way, through address translation too: its sender and its content.
type Carried<'a> = (IpAddr, u16, &'a [u8]);

fn message_of(t: &Transmission) -> Option<Carried<'_>> {
    Some((t.view.inner_ip()?.src, ports(t)?.0.0, t.view.payload()))
}

/// The ends of questions that address translation made: a host that sends in its own name what it just got in another's.
fn translated(case: &Case<'_>) -> BTreeSet<(IpAddr, u16)> {
    let mut got: BTreeMap<(NodeId, &[u8]), (IpAddr, u16)> = BTreeMap::new();
    let mut made = BTreeSet::new();
    for t in case.packets() {
        let (Some(ip), Some(h)) = (t.view.inner_ip(), t.view.udp()) else { continue };
        if h.dst_port != PORT {
            continue;
        }
        let (end, content) = ((ip.src, h.src_port), t.view.payload());
        if got.get(&(t.from, content)).is_some_and(|first| first.0 != end.0)
            && case.owner_of_ip(end.0) == Some(t.from)
        {
            made.insert(end);
        }
        for arrival in &t.arrivals {
            got.entry((arrival.node, content)).or_insert(end);
        }
    }
    made
}

/// Name, content and TTL of the first record of a type in a section.
fn record(layer: &Layer, section: &str, ty: &str) -> Option<(String, String, u32)> {
    layer.details.iter().filter(|field| field.name == section).find_map(|field| {
        let part = |name: &str| field.fields.iter().find(|f| f.name == name).map(|f| f.value.clone());
        if part("dns.resp.type")? != ty {
            return None;
        }
        Some((part("dns.resp.name")?, part("dns.resp.data")?, part("dns.resp.ttl")?.parse().ok()?))
    })
}

/// A name without its last dot.
fn bare(name: &str) -> &str {
    match name.strip_suffix('.') {
        Some("") | None => name,
        Some(bare) => bare,
    }
}

fn under(name: &str, zone: &str) -> bool {
    let (name, zone) = (name.to_ascii_lowercase(), zone.to_ascii_lowercase());
    zone == "." || name == zone || name.ends_with(&format!(".{zone}"))
}

/// The questions that a resolver asked while it worked on one.
fn upstream<'a>(asked: &Exchange, all: &'a [Exchange], case: &Case<'_>) -> Vec<&'a Exchange> {
    let Some(resolver) = case.owner_of_ip(asked.server_ip) else { return Vec::new() };
    let (Some(from), Some(reply)) = (asked.arrived, &asked.reply) else { return Vec::new() };
    let meant = |e: &&Exchange| {
        let within = e.at >= from && e.at <= reply.at;
        let of_type = e.ty == asked.ty || !e.name.eq_ignore_ascii_case(&asked.name);
        e.client == resolver && within && of_type && under(&asked.name, &e.name)
    };
    all.iter().filter(meant).collect()
}

/// Answered questions of hosts that nobody asks: the clients of the run.
fn of_clients<'a>(case: &Case<'_>, all: &'a [Exchange]) -> Vec<&'a Exchange> {
    let serves = |node: NodeId| all.iter().any(|e| case.owner_of_ip(e.server_ip) == Some(node));
    all.iter().filter(|e| !serves(e.client)).collect()
}

/// Who asked whom on the way to the answer.
fn walks(case: &Case<'_>, all: &[Exchange], out: &mut Findings) {
    let mut told: Vec<&str> = Vec::new();
    for asked in of_clients(case, all) {
        let below = upstream(asked, all, case);
        let Some(reply) = &asked.reply else { continue };
        if below.is_empty() || told.contains(&asked.name.as_str()) {
            continue;
        }
        told.push(&asked.name);
        let resolver = case.who(asked.server_ip);
        let steps: Vec<String> = below
            .iter()
            .map(|e| {
                let (whom, what) = (case.who(e.server_ip), format!("{} {}", bare(&e.name), e.ty));
                let result = match &e.reply {
                    None => "no answer".to_string(),
                    Some(Reply { referral: Some(zone), .. }) => format!("ask the servers of {}", bare(zone)),
                    Some(Reply { content: Some((content, ttl)), .. }) => format!("{content}, TTL {ttl} s"),
                    Some(reply) if reply.rcode != "NOERROR" => reply.rcode.clone(),
                    Some(reply) if reply.answers > 0 => "an alias".to_string(),
                    Some(_) => "no such records".to_string(),
                };
                format!("{whom} for {what}: {result}")
            })
            .collect();
        let took = reply.at.as_nanos().saturating_sub(asked.at.as_nanos());
        let trips = below.iter().filter(|e| e.reply.is_some()).count();
        let text = format!(
            "{} asked {resolver} for {} {}; {resolver} asked {}. {} and one to the client: {}",
            case.name(asked.client),
            bare(&asked.name),
            asked.ty,
            steps.join("; then "),
            round_trips(trips),
            about(took)
        );
        let refs = below.iter().flat_map(|e| [Some(e.number), e.reply.as_ref().map(|r| r.number)]);
        let own = [Some(asked.number), Some(reply.number)];
        out.say("dns-walk", text, own.into_iter().chain(refs).flatten().map(Ref::Packet));
    }
}

fn round_trips(n: usize) -> String {
    match n {
        1 => "One round trip".into(),
        2 => "Two round trips".into(),
        3 => "Three round trips".into(),
        4 => "Four round trips".into(),
        n => format!("{n} round trips"),
    }
}

/// Answers for which nobody else was asked, by somebody who asks others.
fn from_cache(case: &Case<'_>, all: &[Exchange], out: &mut Findings) {
    let mut told: Vec<(&str, &str)> = Vec::new();
    for asked in of_clients(case, all) {
        let (Some(reply), Some(resolver)) = (&asked.reply, case.owner_of_ip(asked.server_ip)) else {
            continue;
        };
        let asks = all.iter().any(|e| e.client == resolver);
        if !asks || reply.authoritative || reply.rcode == "SERVFAIL" || !upstream(asked, all, case).is_empty()
        {
            continue;
        }
        let learnt = all.iter().rev().find(|e| {
            let early = e.reply.as_ref().is_some_and(|r| r.at <= reply.at);
            e.client == resolver && early && e.name.eq_ignore_ascii_case(&asked.name) && e.ty == asked.ty
        });
        let Some(learnt) = learnt.and_then(|e| e.reply.as_ref()) else { continue };
        let content = reply.content.as_ref().map_or("", |content| content.0.as_str());
        if told.contains(&(&asked.name, content)) {
            continue;
        }
        told.push((&asked.name, content));
        let left = reply.content.as_ref().map(|c| c.1).or(reply.negative_ttl);
        let left = left.map_or(String::new(), |ttl| format!("; it holds for {ttl} s more"));
        let text = format!(
            "{} answered {} {} from its cache: no packet went further{left}",
            case.name(resolver),
            bare(&asked.name),
            asked.ty
        );
        out.say("dns-cache", text, [asked.number, reply.number, learnt.number].map(Ref::Packet));
    }
}

/// What does not exist, and for how long that is remembered.
fn negative(case: &Case<'_>, all: &[Exchange], out: &mut Findings) {
    let mut told: Vec<&str> = Vec::new();
    for e in all {
        let Some(reply) = e.reply.as_ref().filter(|r| r.authoritative && r.rcode == "NXDOMAIN") else {
            continue;
        };
        if told.contains(&e.name.as_str()) {
            continue;
        }
        told.push(&e.name);
        let ttl = reply.negative_ttl.map_or(String::new(), |ttl| {
            format!("; the SOA in the answer says that this may be remembered for {ttl} s (RFC 2308)")
        });
        let text = format!("{} answered that {} does not exist{ttl}", case.who(e.server_ip), bare(&e.name));
        out.say("dns-nxdomain", text, [e.number, reply.number].map(Ref::Packet));
    }
}

/// Cut answers, and the way over TCP.
fn truncated(case: &Case<'_>, all: &[Exchange], out: &mut Findings) {
    for e in all.iter().filter(|e| !e.over_tcp) {
        let Some(reply) = e.reply.as_ref().filter(|r| r.truncated) else { continue };
        let client = case.name(e.client);
        let again = all.iter().find(|t| {
            t.over_tcp
                && t.at >= reply.at
                && t.client == e.client
                && t.name.eq_ignore_ascii_case(&e.name)
                && t.ty == e.ty
        });
        let what = format!(
            "the answer to {} {} did not fit into the datagram: {} set TC",
            bare(&e.name),
            e.ty,
            case.who(e.server_ip)
        );
        let Some(again) = again else {
            out.say("dns-truncated", what, [e.number, reply.number].map(Ref::Packet));
            continue;
        };
        let took =
            |e: &Exchange| e.reply.as_ref().map_or(0, |r| r.at.as_nanos().saturating_sub(e.at.as_nanos()));
        let all_in_all = again.at.as_nanos() + took(again) - e.at.as_nanos();
        let text = format!(
            "{what}, and {client} asked again over TCP, whose handshake costs one round trip more: {} instead of {}",
            about(all_in_all),
            about(took(e))
        );
        let refs =
            [Some(e.number), Some(reply.number), Some(again.number), again.reply.as_ref().map(|r| r.number)];
        out.say("dns-truncated", text, refs.into_iter().flatten().map(Ref::Packet));
    }
}

/// By client, server and question: what was never answered.
fn unanswered(case: &Case<'_>, all: &[Exchange], out: &mut Findings) {
    let mut groups: BTreeMap<(NodeId, IpAddr, &str), Vec<&Exchange>> = BTreeMap::new();
    for e in all.iter().filter(|e| e.reply.is_none()) {
        groups.entry((e.client, e.server_ip, &e.name)).or_default().push(e);
    }
    for ((client, server, name), tries) in groups {
        let mut times: Vec<u64> = tries.iter().map(|e| e.at.as_nanos()).collect();
        times.dedup();
        let waits: Vec<String> = times.windows(2).map(|w| about(w[1] - w[0])).collect();
        let again = match waits.as_slice() {
            [] => String::new(),
            waits => format!("; it asked again after {}", waits.join(", then ")),
        };
        let text = format!(
            "{} asked {} for {} and heard nothing{again}",
            case.name(client),
            case.who(server),
            bare(name)
        );
        out.say("dns-silence", text, tries.iter().map(|e| Ref::Packet(e.number)));
    }
}

/// SERVFAIL and REFUSED.
fn cannot_say(case: &Case<'_>, all: &[Exchange], out: &mut Findings) {
    let mut groups: BTreeMap<(NodeId, IpAddr, &str, &str), Vec<u32>> = BTreeMap::new();
    for e in all {
        if let Some(reply) = e.reply.as_ref().filter(|r| r.rcode == "SERVFAIL" || r.rcode == "REFUSED") {
            let key = (e.client, e.server_ip, e.name.as_str(), reply.rcode.as_str());
            groups.entry(key).or_default().extend([e.number, reply.number]);
        }
    }
    for ((client, server, name, rcode), packets) in groups {
        let times = packets.len() / 2;
        let text = format!(
            "{} answered {} for {} {} with {rcode}: the name may exist, this server cannot say",
            case.who(server),
            if times == 1 { "a question".into() } else { format!("{times} questions") },
            case.name(client),
            format_args!("about {}", bare(name)),
        );
        out.say("dns-servfail", text, packets.into_iter().map(Ref::Packet));
    }
}

/// Answers by another host than the one whose address they carry.
fn forged(
    case: &Case<'_>,
    all: &[Exchange],
    strays: &BTreeMap<(NodeId, IpAddr), Vec<u32>>,
    out: &mut Findings,
) {
    for e in all {
        let Some(reply) = &e.reply else { continue };
        let Some(owner) = case.owner_of_ip(e.server_ip).filter(|owner| *owner != reply.sender) else {
            continue;
        };
        let content = reply.content.as_ref().map_or("nothing".to_string(), |c| c.0.clone());
        let text = format!(
            "the answer about {} {} comes from {} in the name of {}: it says {content}, and nothing in it tells {} that it is \
             false: addresses, ports, ID {:#06x} and question are right",
            bare(&e.name),
            e.ty,
            case.name(reply.sender),
            case.name(owner),
            case.name(e.client),
            e.id
        );
        out.say("dns-forged", text, [e.number, reply.number].map(Ref::Packet));
    }
    for ((sender, server), packets) in strays {
        let text = format!(
            "{} sent {} answers in the name of {} that were to no question: wrong port or wrong ID",
            case.name(*sender),
            packets.len(),
            case.who(*server)
        );
        out.say("dns-blind", text, packets.iter().take(8).map(|n| Ref::Packet(*n)));
    }
}
