//! A permanent entry: traffic flows and nobody asks (Linux: NUD_PERMANENT; TRUTH 11c).

use std::net::IpAddr;

use stack::neigh::NudState;

use super::{Case, Entry, Findings};
use crate::explain::Ref;
use crate::traffic::Transmission;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    for entry in &case.entries {
        let Some(set) = entry.steps.iter().find(|s| s.to == Some(NudState::Permanent)) else { continue };
        let asked =
            case.questions.iter().any(|q| q.node == entry.node && q.addr == entry.addr && q.at >= set.at);
        let sent: Vec<&Transmission> = case
            .packets()
            .filter(|t| t.from == entry.node && t.at >= set.at && t.view.ip().is_some())
            .filter(|t| t.view.macs().is_some_and(|(_, dst)| Some(dst) == set.lladdr))
            .collect();
        if asked || sent.is_empty() {
            continue;
        }
        wrong(case, entry, &sent, out);
        contradicted(case, entry, set.record, out);
        // Below a question about TCP or names entries made by hand only keep ARP out of the picture.
        if case.packets().any(|t| t.view.tcp().is_some()) || super::dns::in_question(case) {
            continue;
        }
        let host = case.name(entry.node);
        let packets = if sent.len() == 1 { "packet".to_string() } else { "packets".to_string() };
        let text = format!(
            "{host} sent {} {packets} by its PERMANENT entry for {} and never asked who has it",
            sent.len(),
            entry.addr
        );
        out.say(
            "static-entry",
            text,
            sent.iter().map(|t| Ref::Packet(t.number)).chain([Ref::Record(set.record)]),
        );
    }
}

/// The entry names a MAC address that the owner of the IP address does not have.
fn wrong(case: &Case<'_>, entry: &Entry, sent: &[&Transmission], out: &mut Findings) {
    let mac = entry.steps.iter().find_map(|s| s.lladdr);
    let (Some(mac), Some(owner)) = (mac, case.owner_of_ip(entry.addr)) else { return };
    if case.owner_of_mac(mac).is_some_and(|(node, _)| node == owner) {
        return;
    }
    let host = case.name(entry.node);
    out.say(
        "static-entry-wrong",
        format!(
            "the entry names {}, which is not {}'s: the packets went to the wrong place and {host} got no error",
            case.whose_mac(mac),
            case.name(owner)
        ),
        sent.iter().map(|t| Ref::Packet(t.number)),
    );
}

/// Claims that arrived and did not change the entry.
fn contradicted(case: &Case<'_>, entry: &Entry, set: usize, out: &mut Findings) {
    let mac = entry.steps.iter().find_map(|s| s.lladdr);
    for t in case.packets() {
        let Some(claim) = super::claim(t).filter(|c| IpAddr::eq(&c.addr, &entry.addr)) else { continue };
        let arrived = t.arrivals.iter().any(|a| a.node == entry.node && a.record > set);
        let kept = entry.steps.iter().all(|s| s.lladdr == mac);
        if arrived && kept && Some(claim.mac) != mac {
            let text = format!(
                "a claim that {} is at {} reached {} and changed nothing: PERMANENT entries are not overwritten",
                entry.addr,
                case.whose_mac(claim.mac),
                case.name(entry.node)
            );
            out.say("static-entry-kept", text, [Ref::Packet(t.number), Ref::Record(set)]);
        }
    }
}
