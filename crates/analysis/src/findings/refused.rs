//! What a program hears of an ICMP error: a connected UDP socket gets it with its next call, an unconnected
//! one never does unless it asked with `IP_RECVERR` (Linux: udp.c __udp4_lib_err; TRUTH §8).

use wire::ip::Protocol;

use super::icmp_errors::Error;
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
        let error = results.iter().find(|r| {
            r.node == sender
                && r.at >= arrival.at
                && r.errno() == Some("ECONNREFUSED")
                && !heard.contains(&r.record)
        });
        match error {
            Some(r) => {
                heard.push(r.record);
                refused(case, &results, r, &e, last_hop.number, out);
            }
            None => silent(case, &results, sender, &e, last_hop.number, out),
        }
    }
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
    let connected = connect_of(results, r.node, r.program, r.fd(), r.call);
    let why = if connected.is_some() { "the socket is connected" } else { "the socket asked for errors" };
    let text = format!(
        "{host}'s {}() returned ECONNREFUSED: that is the ICMP error, told because {why}",
        r.call_name()
    );
    let refs = [Ref::Packet(e.t.number), Ref::Packet(last_hop), Ref::Record(r.record)];
    out.say("econnrefused", text, refs.into_iter().chain(connected.map(|c| Ref::Record(c.call))));
}

/// The call that connected a descriptor.
fn connect_of<'a>(
    results: &'a [Returned<'a>],
    node: stack::record::NodeId,
    program: u32,
    fd: Option<&str>,
    before: usize,
) -> Option<&'a Returned<'a>> {
    let last = results.iter().rfind(|c| {
        c.node == node
            && c.program == program
            && c.call < before
            && c.call_name() == "connect"
            && c.fd() == fd
    });
    // connect() to AF_UNSPEC takes the peer away again.
    last.filter(|c| !c.call_text.contains("AF_UNSPEC"))
}

fn silent(
    case: &Case<'_>,
    results: &[Returned<'_>],
    sender: stack::record::NodeId,
    e: &Error<'_>,
    last_hop: u32,
    out: &mut Findings,
) {
    let host = case.name(sender);
    let sent = results.iter().rfind(|r| {
        r.node == sender && r.call_name().starts_with("send") && !r.result.starts_with('-') && r.at <= e.t.at
    });
    let Some(sent) = sent else { return };
    if connect_of(results, sender, sent.program, sent.fd(), sent.call).is_some() {
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
