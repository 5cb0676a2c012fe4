//! Two link-layer addresses for one IP address: who claimed it, whose entry was overwritten, where the
//! traffic went then (Linux: arp.c arp_process; TRUTH 11c, 11d, 11h).

use std::collections::BTreeMap;
use std::net::IpAddr;

use wire::MacAddr;

use super::{Case, Entry, Findings, claim};
use crate::explain::Ref;
use crate::traffic::Transmission;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let mut claims: BTreeMap<IpAddr, Vec<(MacAddr, &Transmission)>> = BTreeMap::new();
    for t in case.packets() {
        let said = claim(t).map(|c| (c.addr, c.mac));
        // An ordinary request claims its sender's address too: it is what the receiver learns.
        let asked = t.view.arp().filter(|a| !a.sender_ip.is_unspecified());
        let said = said.or(asked.map(|a| (a.sender_ip.into(), a.sender_mac)));
        if let Some((addr, mac)) = said {
            claims.entry(addr).or_default().push((mac, t));
        }
    }
    for (addr, all) in &claims {
        let both =
            all.iter().find_map(|a| all.iter().find(|b| a.0 != b.0 && same_link(a.1, b.1)).map(|b| (a, b)));
        let Some((first, second)) = both else { continue };
        let mut first_of: Vec<(MacAddr, &Transmission)> = vec![*first, *second];
        first_of.sort_by_key(|c| c.1.number);
        let text = format!(
            "two link-layer addresses claim {addr}: {} and {}",
            case.whose_mac(first_of[0].0),
            case.whose_mac(first_of[1].0)
        );
        out.say("two-claims", text, first_of.iter().map(|c| Ref::Packet(c.1.number)));
        for entry in case.entries.iter().filter(|e| e.addr == *addr) {
            overwritten(case, entry, all, out);
        }
    }
}

/// Somebody heard both: on different links, one address may well be answered for by different hosts.
fn same_link(a: &Transmission, b: &Transmission) -> bool {
    a.arrivals.iter().any(|x| b.arrivals.iter().any(|y| (x.node, x.ifindex) == (y.node, y.ifindex)))
}

fn overwritten(case: &Case<'_>, entry: &Entry, claims: &[(MacAddr, &Transmission)], out: &mut Findings) {
    let host = case.name(entry.node);
    let mut known: Option<MacAddr> = None;
    for step in &entry.steps {
        let Some(mac) = step.lladdr else { continue };
        let before = known.replace(mac);
        let Some(before) = before.filter(|b| *b != mac) else { continue };
        let cause = claims.iter().rev().find(|(m, t)| {
            *m == mac && t.arrivals.iter().any(|a| a.node == entry.node && a.record <= step.record)
        });
        let mut refs = vec![Ref::Record(step.record)];
        refs.extend(cause.map(|(_, t)| Ref::Packet(t.number)));
        let text = format!(
            "{host}'s entry for {} was overwritten at once: from {} to {}",
            entry.addr,
            case.whose_mac(before),
            case.whose_mac(mac)
        );
        out.say("overwritten", text, refs);
        misled(case, entry, step.at, mac, out);
    }
}

/// IP traffic that went to the wrong host afterwards.
fn misled(case: &Case<'_>, entry: &Entry, since: wire::Instant, mac: MacAddr, out: &mut Findings) {
    let Some((thief, _)) = case.owner_of_mac(mac) else { return };
    if case.owner_of_ip(entry.addr).is_none_or(|owner| owner == thief) {
        return;
    }
    let until = entry
        .steps
        .iter()
        .find(|s| s.at > since && s.lladdr.is_some_and(|m| m != mac))
        .map_or(wire::Instant::FAR_FUTURE, |s| s.at);
    let sent: Vec<u32> = case
        .packets()
        .filter(|t| t.from == entry.node && t.at >= since && t.at < until && t.view.ip().is_some())
        .filter(|t| t.view.macs().is_some_and(|(_, dst)| dst == mac))
        .map(|t| t.number)
        .collect();
    if !sent.is_empty() {
        let packets = if sent.len() == 1 { "packet" } else { "packets" };
        let text = format!(
            "{} IP {packets} from {} for {} went to {} instead",
            sent.len(),
            case.name(entry.node),
            case.who(entry.addr),
            case.name(thief)
        );
        out.say("misled", text, sent.into_iter().map(Ref::Packet));
    }
}
