//! Ping: a request, its reply, and the TTL that `ping` prints, which is the reply's (RFC 792; Linux: icmp.c
//! icmp_reply; TRUTH 11e).

use wire::{icmpv4, icmpv6};

use super::{Case, Findings};
use crate::explain::Ref;
use crate::traffic::Transmission;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let mut told = Vec::new();
    for t in case.packets().filter(|t| is_reply(t)) {
        let Some(ip) = t.view.ip().filter(|_| !t.view.is_tunnelled()) else { continue };
        let Some(asker) = case.owner_of_ip(ip.dst) else { continue };
        let arrived = t.arrivals.iter().any(|a| a.node == asker);
        let Some(answerer) = case.owner_of_ip(ip.src).filter(|_| arrived) else { continue };
        if told.contains(&(asker, answerer)) {
            continue;
        }
        told.push((asker, answerer));
        let way: Vec<&Transmission> = case
            .packets()
            .filter(|o| o.number <= t.number && is_reply(o) && o.view.payload() == t.view.payload())
            .filter(|o| o.view.ip().map(|i| (i.src, i.dst)) == Some((ip.src, ip.dst)))
            .filter(|o| o.view.icmp() == t.view.icmp() && o.view.icmpv6() == t.view.icmpv6())
            .collect();
        let Some(first) = way.iter().find(|o| o.from == answerer) else { continue };
        let left = first.view.ip().map_or(ip.ttl, |i| i.ttl);
        let word = if ip.dst.is_ipv4() { "TTL" } else { "hop limit" };
        let on_the_way = match left.saturating_sub(ip.ttl) {
            0 => "as it was sent: no router is between them".to_string(),
            1 => format!("of the {left} it was sent with: one router is between them"),
            n => format!("of the {left} it was sent with: {n} routers are between them"),
        };
        let text = format!(
            "{}'s reply reached {} with {word} {}, which is what ping prints, {on_the_way}",
            case.name(answerer),
            case.name(asker),
            ip.ttl
        );
        out.say("echo", text, way.iter().map(|o| Ref::Packet(o.number)));
    }
}

fn is_reply(t: &Transmission) -> bool {
    matches!(t.view.icmp(), Some(icmpv4::Message::EchoReply { .. }))
        || matches!(t.view.icmpv6(), Some(icmpv6::Message::EchoReply { .. }))
}
