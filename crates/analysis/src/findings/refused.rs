//! What a program hears of an ICMP error: a connected UDP socket gets it with its next call, an unconnected
//! one never does unless it asked with `IP_RECVERR` (Linux: udp.c __udp4_lib_err; TRUTH §8). An error is
//! tied to a call only when the packet that it quotes is that socket's.

use wire::ip::Protocol;

use super::icmp_errors::Error;
use super::sockets::{Flow, socket};
use super::{Case, Findings, Returned};
use crate::explain::Ref;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let results = case.results();
    let mut heard: Vec<usize> = Vec::new();
    for e in super::icmp_errors::errors(case) {
        let port_unreachable = super::icmp_errors::is_port_unreachable(e.t);
        let Some(quoted) = e.t.view.quoted().filter(|q| q.protocol == Protocol::UDP) else { continue };
        let Some(sender) = case.owner_of_ip(quoted.ip.src()).filter(|_| port_unreachable) else { continue };
        let arrived = case.packets().flat_map(|t| t.arrivals.iter().map(move |a| (t, a))).find(|(t, a)| {
            a.node == sender
                && t.number >= e.t.number
                && t.view.is_icmp_error()
                && t.view.quoted().map(|q| q.ports) == Some(quoted.ports)
        });
        let Some((last_hop, arrival)) = arrived else { continue };
        let flow = Flow { dst: quoted.ip.dst(), ports: quoted.ports };
        let told = results.iter().find(|r| {
            r.node == sender
                && r.at >= arrival.at
                && !heard.contains(&r.record)
                && reports(r, "ECONNREFUSED")
                && socket(&results, r).sender_of(case, &flow).is_some()
        });
        match told {
            Some(r) => {
                heard.push(r.record);
                refused(case, &results, r, &e, last_hop.number, out);
            }
            None => silent(case, &results, (sender, &flow), &e, last_hop.number, out),
        }
    }
    for r in results.iter().filter(|r| r.errno() == Some("ECONNREFUSED") && !heard.contains(&r.record)) {
        refused_by_itself(case, &results, r, out);
    }
}

/// A call returned this error, or read it from the error queue.
pub(super) fn reports(r: &Returned<'_>, errno: &str) -> bool {
    r.errno() == Some(errno) || r.result.contains(&format!("ee_errno={errno},"))
}

fn refused(
    case: &Case<'_>,
    results: &[Returned<'_>],
    r: &Returned<'_>,
    e: &Error<'_>,
    last_hop: u32,
    out: &mut Findings,
) {
    let host = case.name(r.node);
    let connected = socket(results, r).connected();
    let (returned, why) = match (r.errno(), connected) {
        (None, _) => ("read ECONNREFUSED from the error queue", "the socket asked for errors"),
        (_, Some(_)) => ("returned ECONNREFUSED", "the socket is connected"),
        (_, None) => ("returned ECONNREFUSED", "the socket asked for errors"),
    };
    let text = format!("{host}'s {}() {returned}: that is the ICMP error, told because {why}", r.call_name());
    let refs = [Ref::Packet(e.t.number), Ref::Packet(last_hop), Ref::Record(r.record)];
    out.say("econnrefused", text, refs.into_iter().chain(connected.map(|c| Ref::Record(c.call))));
}

/// The peer is the host itself: it refused without a packet on any wire.
fn refused_by_itself(case: &Case<'_>, results: &[Returned<'_>], r: &Returned<'_>, out: &mut Findings) {
    let Some(target) = socket(results, r).target(r) else { return };
    if !target.ip().is_loopback() && case.owner_of_ip(target.ip()) != Some(r.node) {
        return;
    }
    let host = case.name(r.node);
    let text = format!(
        "{host}'s {}() returned ECONNREFUSED: {target} is {host} itself, which refused without a packet on any \
         wire",
        r.call_name()
    );
    out.say("econnrefused", text, [Ref::Record(r.call), Ref::Record(r.record)]);
}

fn silent(
    case: &Case<'_>,
    results: &[Returned<'_>],
    (sender, flow): (stack::record::NodeId, &Flow),
    e: &Error<'_>,
    last_hop: u32,
    out: &mut Findings,
) {
    let host = case.name(sender);
    let sent = results.iter().rev().find(|r| {
        let send = r.node == sender && r.call_name().starts_with("send") && !r.result.starts_with('-');
        send && r.at <= e.t.at
            && socket(results, r).sender_of(case, flow).is_some_and(|s| s.record == r.record)
    });
    let Some(sent) = sent else { return };
    let socket = socket(results, sent);
    if socket.connected().is_some() || socket.wants_errors() {
        return;
    }
    let text = format!(
        "the ICMP error reached {host}, whose program was not told: its socket is not connected, and {}() had \
         returned {} long before",
        sent.call_name(),
        sent.result
    );
    let refs = [Ref::Packet(last_hop), Ref::Record(sent.record)];
    out.say("error-not-told", text, refs);
    out.folklore(
        "sending UDP to a closed port returns an error",
        format!("{}() returned {}; only connected sockets are told", sent.call_name(), sent.result),
        refs,
    );
}
