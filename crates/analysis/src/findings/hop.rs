//! A router's hop: the same IP packet on the next link, with other MAC addresses and a TTL one smaller (RFC
//! 1812 §5.2; Linux: ip_forward.c).

use super::{Case, Findings};
use crate::explain::Ref;
use crate::traffic::Transmission;
use crate::view::Ip;

/// A packet and the one that a router made of it.
pub(super) struct Hop<'a> {
    pub(super) before: &'a Transmission,
    pub(super) after: &'a Transmission,
}

/// All packets that were forwarded.
pub(super) fn hops<'a>(case: &Case<'a>) -> Vec<Hop<'a>> {
    let mut hops = Vec::new();
    let all: Vec<&Transmission> = case.packets().filter(|t| t.view.ip().is_some()).collect();
    for (i, after) in all.iter().enumerate() {
        let before = all[..i].iter().rev().take(WINDOW).find(|b| {
            b.from != after.from
                && b.arrivals.iter().any(|a| a.node == after.from && a.at <= after.at)
                && same(b, after)
        });
        if let Some(before) = before {
            hops.push(Hop { before, after });
        }
    }
    hops
}

/// How many packets back a forwarded one is looked for.
const WINDOW: usize = 512;

fn same(a: &Transmission, b: &Transmission) -> bool {
    let (Some(x), Some(y)) = (a.view.ip(), b.view.ip()) else { return false };
    let rest = |ip: &Ip| (ip.src, ip.dst, ip.protocol, ip.id, ip.frag_offset, ip.total_len);
    rest(x) == rest(y) && x.ttl == y.ttl.wrapping_add(1) && a.view.payload() == b.view.payload()
}

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    if super::dns::in_question(case) {
        return;
    }
    let hops = hops(case);
    let mut told: Vec<(stack::record::NodeId, std::net::IpAddr)> = Vec::new();
    for hop in &hops {
        let (Some(ip), Some(was)) = (hop.after.view.ip(), hop.before.view.ip()) else { continue };
        // One sentence per router and direction: the others are the same again.
        if told.contains(&(hop.after.from, ip.dst)) {
            continue;
        }
        told.push((hop.after.from, ip.dst));
        let word = if ip.dst.is_ipv4() { "TTL" } else { "hop limit" };
        let macs = match (hop.before.view.macs(), hop.after.view.macs()) {
            (Some(a), Some(b)) if a != b => ", new MAC addresses",
            _ => "",
        };
        let text = format!(
            "{} forwarded the packet to {}: the same IP addresses{macs}, {word} {} to {}",
            case.name(hop.after.from),
            ip.dst,
            was.ttl,
            ip.ttl
        );
        out.say("hop", text, [Ref::Packet(hop.before.number), Ref::Packet(hop.after.number)]);
        longest_prefix(case, hop, ip, out);
    }
}

/// Several routes fit: the one with the longest prefix was taken (RFC 1812 §5.2.4.3; Linux: fib_trie.c
/// fib_table_lookup). The default route fits everything and is not counted.
fn longest_prefix(case: &Case<'_>, hop: &Hop<'_>, ip: &Ip, out: &mut Findings) {
    let node = hop.after.from;
    let tables = case.journal.nodes.get(node.0 as usize).map_or(&[][..], |n| n.tables.as_slice());
    let table = if ip.dst.is_ipv4() { "ip route" } else { "ip -6 route" };
    let lines = tables.iter().filter(|(name, _)| name == table).flat_map(|(_, text)| text.lines());
    let mut fits: Vec<(u8, &str)> = lines
        .filter_map(|line| {
            let prefix = line.split(' ').next()?;
            let len = prefix_len(prefix, ip.dst)?;
            Some((len, prefix))
        })
        .collect();
    fits.sort_unstable();
    fits.dedup();
    let (Some((_, longest)), true) = (fits.last(), fits.len() > 1) else { return };
    let all: Vec<&str> = fits.iter().map(|f| f.1).collect();
    let text = format!(
        "{} has {} routes that fit {}, {}: the longest prefix decides, {longest}",
        case.name(node),
        fits.len(),
        ip.dst,
        all.join(" and ")
    );
    out.say("longest-prefix", text, [Ref::Packet(hop.before.number), Ref::Packet(hop.after.number)]);
}

/// How long the prefix is, when the address is in it: 24 of `203.0.113.0/24`. A host's own line has none.
fn prefix_len(prefix: &str, addr: std::net::IpAddr) -> Option<u8> {
    let (net, len) = match prefix.split_once('/') {
        Some((net, len)) => (net, len.parse().ok()?),
        None => (prefix, if addr.is_ipv4() { 32 } else { 128 }),
    };
    let net: std::net::IpAddr = net.parse().ok()?;
    let agree = match (net, addr) {
        (std::net::IpAddr::V4(a), std::net::IpAddr::V4(b)) => {
            a.to_bits().checked_shr(32 - u32::from(len)) == b.to_bits().checked_shr(32 - u32::from(len))
        }
        (std::net::IpAddr::V6(a), std::net::IpAddr::V6(b)) => {
            a.to_bits().checked_shr(128 - u32::from(len)) == b.to_bits().checked_shr(128 - u32::from(len))
        }
        _ => false,
    };
    agree.then_some(len)
}
