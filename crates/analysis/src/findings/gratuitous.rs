//! Gratuitous ARP and unsolicited advertisements: who believed them (Linux: arp.c arp_process, `arp_accept`;
//! TRUTH 11c).

use stack::record::What;

use super::{Case, Findings, claim};
use crate::explain::Ref;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    for t in case.packets() {
        let Some(c) = claim(t).filter(|c| c.gratuitous) else { continue };
        let what = if c.addr.is_ipv4() { "gratuitous ARP" } else { "unsolicited advertisement" };
        for a in &t.arrivals {
            let host = case.name(a.node);
            // Its owner, old or tentative, has no entry for itself.
            let own =
                case.owner_of_ip(c.addr) == Some(a.node)
                    || case.journal.records.iter().any(|r| {
                        r.node == a.node && matches!(r.what, What::Addr { addr, .. } if addr == c.addr)
                    });
            if own || !case.is_host(a.node) || case.owner_of_mac(c.mac).is_some_and(|(n, _)| n == a.node) {
                continue;
            }
            let entry = case.entries.iter().find(|e| e.node == a.node && e.addr == c.addr);
            let step = entry.and_then(|e| e.steps.iter().find(|s| s.at == a.at && s.record > a.record));
            let had = entry.is_some_and(|e| e.steps.first().is_some_and(|s| s.record < a.record));
            let verdict = match (step, had) {
                (Some(_), true) => format!("changed {host}'s entry at once"),
                (Some(_), false) => format!("made a new entry at {host}"),
                (None, true) => continue,
                (None, false) => format!("was ignored by {host}, which had no entry for it"),
            };
            let refs = [Some(Ref::Packet(t.number)), step.map(|s| Ref::Record(s.record))];
            let text = format!("the {what} for {} {verdict}", c.addr);
            out.say("gratuitous", text, refs.into_iter().flatten());
            if c.addr.is_ipv4() && !had {
                out.decides(host, "net.ipv4.conf.all.arp_accept");
            }
        }
    }
}
