//! Broadcast and multicast: who joined, who got a copy (RFC 1112, RFC 3376, RFC 3810; Linux: igmp.c, mcast.c).

use std::collections::BTreeMap;
use std::net::IpAddr;

use wire::{icmpv6, igmp};

use super::{Case, Findings};
use crate::explain::Ref;
use crate::housekeeping::Housekeeping;
use crate::traffic::Transmission;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let mut joined: BTreeMap<IpAddr, Vec<(stack::record::NodeId, u32)>> = BTreeMap::new();
    let noise = Housekeeping::of(case.journal, case.traffic);
    for t in case.packets().filter(|t| !noise.packets.contains(&t.number)) {
        for (group, joins) in reported(t) {
            // Every host joins the groups of its own addresses: that is no news.
            if joins && !is_own_business(group) {
                joined.entry(group).or_default().push((t.from, t.number));
            }
        }
    }
    for (group, members) in &joined {
        let mut names: Vec<&str> = members.iter().map(|(n, _)| case.name(*n)).collect();
        names.sort_unstable();
        names.dedup();
        let protocol = if group.is_ipv4() { "IGMP" } else { "MLD" };
        let text = format!("{} said by {protocol} that it wants {group}", names.join(", "));
        out.say("joined", text, members.iter().map(|(_, n)| Ref::Packet(*n)));
    }
    refused(case, out);
    let mut told: Vec<IpAddr> = Vec::new();
    for t in case.packets().filter(|t| t.view.udp().is_some() || t.view.icmp().is_some()) {
        let Some(ip) = t.view.ip() else { continue };
        let group = ip.dst.is_multicast();
        let broadcast = ip.dst.is_ipv4() && t.view.macs().is_some_and(|m| m.1.is_broadcast());
        if !(group || broadcast) || told.contains(&ip.dst) {
            continue;
        }
        told.push(ip.dst);
        let dropped: Vec<_> = t.drops.iter().map(|d| d.node).collect();
        let mut took: Vec<&str> =
            t.arrivals.iter().filter(|a| !dropped.contains(&a.node)).map(|a| case.name(a.node)).collect();
        took.sort_unstable();
        took.dedup();
        if took.is_empty() {
            continue;
        }
        let what = if group { format!("the group {}", ip.dst) } else { format!("everybody ({})", ip.dst) };
        let stopped = stops(case, t);
        let stopped = if stopped.is_empty() {
            String::new()
        } else {
            format!("; {} did not pass it on", stopped.join(", "))
        };
        let text = format!("what was sent to {what} reached {}{stopped}", took.join(", "));
        out.say("one-to-many", text, [Ref::Packet(t.number)]);
    }
}

/// Hosts with a foot in another network that kept the packet out of it.
fn stops<'a>(case: &Case<'a>, t: &Transmission) -> Vec<&'a str> {
    let mut names = Vec::new();
    for a in &t.arrivals {
        let more = case.journal.nodes.get(a.node.0 as usize).is_some_and(|n| n.ifaces.len() > 1);
        let passed = || {
            case.packets().any(|p| {
                p.from == a.node
                    && p.at >= a.at
                    && p.view.payload() == t.view.payload()
                    && p.view.udp() == t.view.udp()
            })
        };
        if case.is_host(a.node) && more && !passed() {
            names.push(case.name(a.node));
        }
    }
    names
}

/// `EACCES`: a broadcast has to be meant (Linux: ip_route_output_key with `SO_BROADCAST` unset; TRUTH §8).
fn refused(case: &Case<'_>, out: &mut Findings) {
    let results = case.results();
    for r in results.iter().filter(|r| r.call_name().starts_with("send") && r.errno() == Some("EACCES")) {
        let meant = results.iter().any(|o| {
            o.node == r.node
                && o.program == r.program
                && o.record < r.call
                && o.call_text.contains("SO_BROADCAST")
        });
        if !meant {
            let host = case.name(r.node);
            let text = format!(
                "{host}'s {}() to a broadcast address failed with EACCES: the program had not set SO_BROADCAST",
                r.call_name()
            );
            out.say("broadcast-not-meant", text, [Ref::Record(r.call), Ref::Record(r.record)]);
        }
    }
}

/// Groups in a membership report, and whether it is a join.
fn reported(t: &Transmission) -> Vec<(IpAddr, bool)> {
    let payload = t.view.payload();
    if let Some(crate::view::Layer::Igmp(m)) = t.view.layers.last() {
        return match *m {
            igmp::Message::ReportV1 { group } | igmp::Message::ReportV2 { group } => {
                vec![(group.into(), true)]
            }
            igmp::Message::ReportV3 { records } => igmp::igmp_records(payload, records)
                .map_while(Result::ok)
                .map(|r| (r.group.into(), matches!(r.kind.0, 2 | 4)))
                .collect(),
            _ => Vec::new(),
        };
    }
    match t.view.icmpv6() {
        Some(icmpv6::Message::MldReportV1 { group }) => vec![((*group).into(), true)],
        Some(icmpv6::Message::MldReportV2 { records }) => icmpv6::mld_records(payload, *records)
            .map_while(Result::ok)
            .map(|r| (r.group.into(), matches!(r.kind.0, 2 | 4)))
            .collect(),
        _ => Vec::new(),
    }
}

/// Solicited-node groups (ff02::1:ff00:0/104) come with addresses.
fn is_own_business(group: IpAddr) -> bool {
    match group {
        IpAddr::V6(g) => {
            let o = g.octets();
            o[..13] == [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff]
        }
        IpAddr::V4(_) => false,
    }
}
