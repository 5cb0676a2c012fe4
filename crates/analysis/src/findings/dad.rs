//! Addresses on probation: duplicate address detection and addresses made from advertised prefixes (RFC
//! 4862; Linux: addrconf.c addrconf_dad_work, addrconf_prefix_rcv).

use stack::record::{AddrChange, What};
use wire::ndp;

use super::about;
use super::{Case, Findings};
use crate::explain::Ref;
use crate::housekeeping::Housekeeping;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let noise = Housekeeping::of(case.journal, case.traffic);
    for (i, r) in case.journal.records.iter().enumerate() {
        let What::Addr { addr, change, .. } = r.what else { continue };
        if noise.has(r, case.traffic) {
            continue;
        }
        let host = case.name(r.node);
        let tentative = case.journal.records[..i].iter().rposition(|o| {
            o.node == r.node
                && matches!(o.what, What::Addr { addr: a, change: AddrChange::Tentative, .. } if a == addr)
        });
        let probes: Vec<u32> = case
            .packets()
            .filter(|t| t.from == r.node && t.at <= r.at && is_probe_for(t, addr))
            .map(|t| t.number)
            .collect();
        match change {
            AddrChange::Preferred => {
                let (Some(start), false) = (tentative, probes.is_empty()) else { continue };
                let ns = r.at.saturating_since(case.journal.records[start].at).as_nanos();
                let ns = u64::try_from(ns).unwrap_or(u64::MAX);
                let text = format!(
                    "{host} asked whether anybody has {addr}, heard nothing for {} and uses it",
                    about(ns)
                );
                let refs = probes.into_iter().map(Ref::Packet).chain([Ref::Record(start), Ref::Record(i)]);
                out.say("dad-passed", text, refs);
                out.decides(host, "net.ipv6.conf.default.dad_transmits");
            }
            AddrChange::DadFailed => {
                let reply = case.packets().filter(|t| {
                    matches!(t.view.ndp(), Some(ndp::Message::NeighborAdvert(na)) if std::net::IpAddr::from(na.target) == addr)
                        && t.arrivals.iter().any(|a| a.node == r.node && a.at <= r.at)
                });
                let reply = reply.last();
                let by = reply
                    .filter(|t| t.from != r.node)
                    .map_or(String::new(), |t| format!(": {} has it", case.name(t.from)));
                let text = format!("{host} may not use {addr}{by} (dadfailed)");
                let refs = probes.into_iter().chain(reply.map(|t| t.number)).map(Ref::Packet);
                out.say("dad-failed", text, refs.chain([Ref::Record(i)]));
            }
            AddrChange::Tentative => slaac(case, i, addr, out),
            AddrChange::Deprecated | AddrChange::Removed => {}
        }
    }
}

fn is_probe_for(t: &crate::traffic::Transmission, addr: std::net::IpAddr) -> bool {
    matches!(t.view.ndp(), Some(ndp::Message::NeighborSolicit { target }) if std::net::IpAddr::from(*target) == addr)
        && t.view.ip().is_some_and(|ip| ip.src.is_unspecified())
}

/// The address begins with a prefix that a router has just advertised.
fn slaac(case: &Case<'_>, record: usize, addr: std::net::IpAddr, out: &mut Findings) {
    let r = &case.journal.records[record];
    let std::net::IpAddr::V6(addr) = addr else { return };
    let advert = case.packets().find_map(|t| {
        let heard = t.arrivals.iter().any(|a| a.node == r.node && a.at == r.at);
        let is_advert = matches!(t.view.ndp(), Some(ndp::Message::RouterAdvert(_)));
        let prefix = ndp::options(t.view.payload()).map_while(Result::ok).find_map(|o| match o {
            ndp::Opt::PrefixInfo(p) if p.autonomous => Some(p),
            _ => None,
        });
        (heard && is_advert).then_some((t, prefix?))
    });
    let Some((t, prefix)) = advert else { return };
    if prefix.prefix.octets()[..8] == addr.octets()[..8] {
        let host = case.name(r.node);
        let text = format!(
            "{host} made {addr} from the prefix {}/{} that {} advertised",
            prefix.prefix,
            prefix.prefix_len,
            advertiser(case, t)
        );
        out.say("slaac", text, [Ref::Packet(t.number), Ref::Record(record)]);
        out.decides(host, "net.ipv6.conf.all.autoconf");
    }
}

/// Who sent an advertisement: the host whose address is its source, else that address, since anybody can
/// write any source into a packet.
fn advertiser(case: &Case<'_>, t: &crate::traffic::Transmission) -> String {
    match t.view.ip() {
        Some(ip) if case.owner_of_ip(ip.src) != Some(t.from) => ip.src.to_string(),
        _ => case.name(t.from).to_string(),
    }
}
