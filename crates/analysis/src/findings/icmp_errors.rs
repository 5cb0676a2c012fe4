//! ICMP errors: who sent them, about which packet, and what they mean (RFC 792, RFC 1122 §3.2.2; TRUTH
//! 11e). Time exceeded in a row of growing TTLs is a traceroute.

use std::net::IpAddr;

use stack::DropReason;
use stack::record::What;
use wire::icmpv4::{self, code};
use wire::icmpv6;

use super::{Case, Findings};
use crate::explain::Ref;
use crate::traffic::Transmission;

/// An ICMP error and the packet it is about.
pub(super) struct Error<'a> {
    pub(super) t: &'a Transmission,
    /// The packet it quotes, when it was seen: the last such before it that reached the complainer.
    pub(super) about: Option<&'a Transmission>,
}

/// All ICMP errors as their authors sent them: not the forwarded copies.
pub(super) fn errors<'a>(case: &Case<'a>) -> Vec<Error<'a>> {
    let mut all = Vec::new();
    for t in case.packets().filter(|t| t.view.is_icmp_error()) {
        let source = t.view.inner_ip().map(|ip| ip.src);
        let own = source.and_then(|s| case.owner_of_ip(s)).is_none_or(|owner| owner == t.from);
        if own {
            all.push(Error { t, about: cause(case, t) });
        }
    }
    all
}

fn cause<'a>(case: &Case<'a>, error: &Transmission) -> Option<&'a Transmission> {
    let quoted = error.view.quoted()?;
    case.before(error.number).find(|t| {
        let Some(ip) = t.view.inner_ip() else { return false };
        let ends = ip.src == quoted.ip.src() && ip.dst == quoted.ip.dst() && ip.protocol == quoted.protocol;
        let ports = match (quoted.ports, t.view.udp(), t.view.tcp()) {
            (Some(p), Some(h), _) => p == (h.src_port, h.dst_port),
            (Some(p), _, Some(h)) => p == (h.src_port, h.dst_port),
            _ => true,
        };
        let arrived = t.arrivals.iter().any(|a| a.node == error.from) || t.from == error.from;
        // With an echo, the sequence number tells which one.
        let head = &t.view.bytes[t.view.payload.start.saturating_sub(8)..t.view.payload.start];
        let same_echo = quoted.ports.is_some()
            || quoted.upper.len() < 8
            || head.len() < 8
            || head[4..8] == quoted.upper[4..8];
        ends && ports && arrived && same_echo
    })
}

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let errors = errors(case);
    traceroute(case, &errors, out);
    let mut told: Vec<(stack::record::NodeId, Option<(u8, u8)>)> = Vec::new();
    closed_ports(case, &errors, out);
    for e in errors.iter().filter(|e| !is_port_unreachable(e.t)) {
        let Some(text) = sentence(case, e) else { continue };
        // The same complaint of the same host again and again is told twice at most.
        let kind = (e.t.from, e.t.view.icmp().map(icmpv4::Message::type_code));
        if told.iter().filter(|k| **k == kind).count() == 2 {
            continue;
        }
        told.push(kind);
        let refs = [Some(Ref::Packet(e.t.number)), e.about.map(|t| Ref::Packet(t.number))];
        out.say("icmp-error", text, refs.into_iter().flatten());
    }
}

/// Port unreachable, of either version.
pub(super) fn is_port_unreachable(t: &Transmission) -> bool {
    matches!(
        t.view.icmp(),
        Some(icmpv4::Message::DestinationUnreachable { code: code::ICMP_PORT_UNREACH, .. })
    ) || matches!(
        t.view.icmpv6(),
        Some(icmpv6::Message::DestinationUnreachable { code: icmpv6::code::ICMPV6_PORT_UNREACH })
    )
}

/// Why a port was closed: nobody there, a socket that is connected to somebody else, a NAT mapping that ended.
fn closed_ports(case: &Case<'_>, errors: &[Error<'_>], out: &mut Findings) {
    let mut closed: Vec<(stack::record::NodeId, Vec<u16>, Vec<Ref>)> = Vec::new();
    for e in errors.iter().filter(|e| is_port_unreachable(e.t)) {
        let Some(quoted) = e.t.view.quoted() else { continue };
        let (node, who) = (e.t.from, case.name(e.t.from));
        let (dst, port) = (quoted.ip.dst(), quoted.ports.map_or(0, |p| p.1));
        let refs = [Some(Ref::Packet(e.t.number)), e.about.map(|t| Ref::Packet(t.number))];
        let refs = refs.into_iter().flatten();
        let filtered = e.about.is_some_and(|t| {
            t.drops.iter().any(|d| {
                let what = &case.journal.records[d.record].what;
                d.node == node && matches!(what, What::Drop { reason: DropReason::SocketFilter, .. })
            })
        });
        // Somebody else's packets left with this address and port before: a translation.
        let translated = case.before(e.t.number).any(|t| {
            let same = t.view.ip().is_some_and(|ip| ip.src == dst)
                && t.view.udp().is_some_and(|h| h.src_port == port);
            t.from == node && same && t.view.ip().is_some_and(|ip| matches!(ip.ttl, 63 | 127 | 254))
        });
        if filtered {
            let text = format!(
                "{who}'s socket on port {port} is connected to another address: for {} the port is closed \
                 (SOCKET_FILTER, port unreachable)",
                case.who(quoted.ip.src())
            );
            out.say("connected-filter", text, refs);
        } else if translated {
            let text = format!(
                "{who} no longer knows whose port {port} was and takes the packet for its own, where nothing \
                 is bound (port unreachable): the mapping is gone"
            );
            out.say("nat-mapping-gone", text, refs);
        } else if is_nat(case, node) {
            let text = format!(
                "{who} has no mapping for port {port} and takes the packet for its own, where nothing is bound \
                 (port unreachable)"
            );
            out.say("nat-no-mapping", text, refs);
        } else if let Some((_, ports, all)) = closed.iter_mut().find(|c| c.0 == node) {
            if !ports.contains(&port) {
                ports.push(port);
                all.extend(refs);
            }
        } else {
            closed.push((node, vec![port], refs.collect()));
        }
    }
    for (node, ports, refs) in closed {
        let who = case.name(node);
        let (last, more) = (ports.last().copied().unwrap_or(0), ports.len());
        let which = match more {
            1 => format!("port {last}"),
            2..=4 => format!("ports {}", ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")),
            _ => format!("ports {} to {last} ({more} of them)", ports[0]),
        };
        let text = format!("nothing is bound to {which} at {who}, which says so (port unreachable)");
        out.say("icmp-error", text, refs);
    }
}

/// It has a table of mappings, be it an empty one.
fn is_nat(case: &Case<'_>, node: stack::record::NodeId) -> bool {
    let info = case.journal.nodes.get(node.0 as usize);
    info.is_some_and(|n| n.tables.iter().any(|(name, _)| name == "conntrack -L"))
}

fn sentence(case: &Case<'_>, e: &Error<'_>) -> Option<String> {
    let who = case.name(e.t.from);
    let quoted = e.t.view.quoted()?;
    let dst = quoted.ip.dst();
    let why = match (e.t.view.icmp(), e.t.view.icmpv6()) {
        (Some(icmpv4::Message::DestinationUnreachable { code, .. }), _) => match *code {
            code::ICMP_NET_UNREACH => format!("{who} has no route to {dst} (net unreachable)"),
            code::ICMP_HOST_UNREACH => {
                format!("{who} has a route to {dst} but could not reach it (host unreachable)")
            }
            code::ICMP_PROT_UNREACH => {
                format!("{who} has nothing for IP protocol {} (protocol unreachable)", quoted.protocol.0)
            }
            code::ICMP_NET_ANO | code::ICMP_HOST_ANO | code::ICMP_PKT_FILTERED => {
                format!("{who} may not forward to {dst} and says so (administratively prohibited)")
            }
            // Closed ports, path MTU and redirects have findings of their own.
            _ => return None,
        },
        (Some(icmpv4::Message::TimeExceeded { code: code::ICMP_EXC_TTL }), _)
        | (_, Some(icmpv6::Message::TimeExceeded { code: icmpv6::code::ICMPV6_EXC_HOPLIMIT })) => {
            let ttl =
                e.about.and_then(|t| t.view.inner_ip()).map_or(String::new(), |ip| format!(" {}", ip.ttl));
            format!(
                "the packet to {dst} reached {who} with TTL{ttl}, too few for another hop (time exceeded)"
            )
        }
        (_, Some(icmpv6::Message::DestinationUnreachable { code })) => match *code {
            icmpv6::code::ICMPV6_NOROUTE => format!("{who} has no route to {dst}"),
            icmpv6::code::ICMPV6_ADDR_UNREACH => format!("{who} could not reach {dst} (address unreachable)"),
            icmpv6::code::ICMPV6_ADM_PROHIBITED => {
                format!("{who} may not forward to {dst} and says so (administratively prohibited)")
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(why)
}

/// Two or more answers of different hosts to packets of growing TTL to one destination.
fn traceroute(case: &Case<'_>, errors: &[Error<'_>], out: &mut Findings) {
    let mut path: Vec<(u8, IpAddr, u32, u32)> = Vec::new();
    let mut target = None;
    for e in errors {
        let exceeded = matches!(e.t.view.icmp(), Some(icmpv4::Message::TimeExceeded { code: 0 }))
            || matches!(e.t.view.icmpv6(), Some(icmpv6::Message::TimeExceeded { code: 0 }));
        let (Some(about), true) = (e.about, exceeded) else { continue };
        let origin = origin(case, about);
        let (Some(ip), Some(from)) = (origin.view.inner_ip(), e.t.view.inner_ip()) else { continue };
        if target.is_some_and(|t| t != ip.dst) {
            continue;
        }
        target = Some(ip.dst);
        if path.iter().all(|p| p.0 != ip.ttl) {
            path.push((ip.ttl, from.src, origin.number, e.t.number));
        }
    }
    path.sort_unstable_by_key(|p| p.0);
    let (Some(target), true) = (target, path.len() >= 2) else { return };
    let hops: Vec<String> = path.iter().map(|(ttl, hop, ..)| format!("{ttl} {hop}")).collect();
    let text = format!(
        "packets to {target} with growing TTL made each router on the way answer in turn: {}",
        hops.join(", ")
    );
    out.say("traceroute", text, path.iter().flat_map(|p| [Ref::Packet(p.2), Ref::Packet(p.3)]));
}

/// The packet as its first sender sent it.
fn origin<'a>(case: &Case<'a>, t: &'a Transmission) -> &'a Transmission {
    let Some(ip) = t.view.inner_ip() else { return t };
    let key = |o: &Transmission| {
        o.view.inner_ip().map(|i| (i.src, i.dst, i.protocol, i.id)).zip(Some(o.view.payload().to_vec()))
    };
    let wanted = key(t);
    let sender = case.owner_of_ip(ip.src);
    case.before(t.number + 1).find(|o| Some(o.from) == sender && key(o) == wanted).unwrap_or(t)
}
