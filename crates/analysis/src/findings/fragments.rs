//! Fragmentation and reassembly: who cut a packet, who put it together, what a lost piece costs (RFC 791,
//! RFC 8200 §4.5; Linux: ip_output.c ip_do_fragment, ip_fragment.c ip_expire).

use std::collections::BTreeMap;

use stack::DropReason;
use stack::record::What;
use wire::{icmpv4, icmpv6};

use super::{Case, Findings};
use crate::explain::Ref;
use crate::traffic::Transmission;
use crate::view::Ip;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let mut sets: BTreeMap<(u32, String), Vec<&Transmission>> = BTreeMap::new();
    for t in case.packets() {
        let Some(ip) = t.view.ip().filter(|ip| ip.is_fragment()) else { continue };
        let key = format!("{} {} {} {}", ip.src, ip.dst, ip.protocol, ip.id);
        sets.entry((t.from.0, key)).or_default().push(t);
    }
    let mut told = 0;
    for pieces in sets.values() {
        // Many packets are cut alike: the first few are enough.
        told += 1;
        if told <= 4 {
            set(case, pieces, out);
        }
    }
    timeouts(case, out);
}

fn set(case: &Case<'_>, pieces: &[&Transmission], out: &mut Findings) {
    let Some(ip) = pieces[0].view.ip() else { return };
    let sender = case.name(pieces[0].from);
    let source = case.owner_of_ip(ip.src);
    let sizes = sizes(pieces.iter().filter_map(|t| t.view.ip()).map(Ip::payload_len));
    let refs: Vec<Ref> = pieces.iter().map(|t| Ref::Packet(t.number)).collect();
    let whole = whole_before(case, pieces[0], ip);
    let (verb, extra) = match (source == Some(pieces[0].from), whole) {
        (true, _) => ("cut the packet at the source", None),
        (false, Some(whole)) => ("cut the packet on its way", Some(Ref::Packet(whole))),
        // Fragments passed on as they came.
        (false, None) => return,
    };
    let text = format!("{sender} {verb} into {} fragments with {} bytes", pieces.len(), sizes);
    out.say("fragmented", text, refs.iter().copied().chain(extra));
    let lost: Vec<Ref> = pieces
        .iter()
        .filter(|t| t.arrivals.is_empty() && !t.losses.is_empty())
        .map(|t| Ref::Packet(t.number))
        .collect();
    if !lost.is_empty() {
        let text = format!(
            "{} of the {} fragments was lost, and with it the whole packet: nobody repeats a fragment",
            lost.len(),
            pieces.len()
        );
        out.say("fragment-lost", text, lost);
    }
}

/// `1480 + 1480 + 48`; more than three alike are counted: `44 times 1480 + 395`.
fn sizes(all: impl Iterator<Item = usize>) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for size in all {
        match runs.last_mut() {
            Some((times, last)) if *last == size => *times += 1,
            _ => runs.push((1, size)),
        }
    }
    let words = runs.into_iter().map(|(times, size)| match times {
        1..=3 => vec![size.to_string(); times].join(" + "),
        _ => format!("{times} times {size}"),
    });
    words.collect::<Vec<_>>().join(" + ")
}

/// The packet that a router received whole just before it sent these fragments.
fn whole_before(case: &Case<'_>, piece: &Transmission, cut: &Ip) -> Option<u32> {
    let whole = case.before(piece.number).find(|t| {
        // A router keeps the identification when it cuts a packet.
        let same = t.view.ip().is_some_and(|ip| {
            (ip.src, ip.dst, ip.protocol, ip.id) == (cut.src, cut.dst, cut.protocol, cut.id)
                && !ip.is_fragment()
        });
        same && t.from != piece.from && t.arrivals.iter().any(|a| a.node == piece.from && a.at <= piece.at)
    });
    whole.map(|t| t.number)
}

fn timeouts(case: &Case<'_>, out: &mut Findings) {
    for (i, r) in case.journal.records.iter().enumerate() {
        if !matches!(r.what, What::Drop { reason: DropReason::FragReasmTimeout, .. }) {
            continue;
        }
        let host = case.name(r.node);
        let error = case.packets().find(|t| {
            let exceeded = matches!(t.view.icmp(), Some(icmpv4::Message::TimeExceeded { code: 1 }))
                || matches!(t.view.icmpv6(), Some(icmpv6::Message::TimeExceeded { code: 1 }));
            exceeded && t.from == r.node && t.at >= r.at
        });
        let said = match error {
            Some(_) => "and said so (reassembly time exceeded)",
            None => "and said nothing to the sender",
        };
        let text = format!("{host} waited in vain for the missing fragments, dropped the others {said}");
        let refs = [Some(Ref::Record(i)), error.map(|t| Ref::Packet(t.number))];
        out.say("reassembly-timeout", text, refs.into_iter().flatten());
        let v6 = error.is_some_and(|t| t.view.icmpv6().is_some());
        out.decides(host, if v6 { "net.ipv6.ip6frag_time" } else { "net.ipv4.ipfrag_time" });
    }
    for node in case.nodes() {
        let Some(n) = case.counter(node, "IpReasmOKs").filter(|n| *n > 0) else { continue };
        let last: Vec<Ref> = case
            .packets()
            .filter(|t| t.view.ip().is_some_and(Ip::is_fragment))
            .filter(|t| t.arrivals.iter().any(|a| a.node == node))
            .map(|t| Ref::Packet(t.number))
            .collect();
        let packets = if n == 1 { "packet" } else { "packets" };
        let text = format!("{} put {n} {packets} together again (IpReasmOKs {n})", case.name(node));
        out.say("reassembled", text, last);
    }
}
