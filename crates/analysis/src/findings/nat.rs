//! Address translation: the same payload leaves a router with other addresses or ports (RFC 4787).

use core::time::Duration;
use std::net::IpAddr;

use wire::icmpv4;

use super::{Case, Findings};
use crate::explain::Ref;
use crate::traffic::Transmission;

/// How many packets back the untranslated one is looked for.
const WINDOW: usize = 128;
/// How long a router keeps a packet: it may have to ask for the next hop's address, for 3 s at most.
const FORWARDING: Duration = Duration::from_secs(3);

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let all: Vec<&Transmission> = case.packets().filter(|t| ends(t).is_some()).collect();
    let mut told: Vec<String> = Vec::new();
    for (i, after) in all.iter().enumerate() {
        let Some(new) = ends(after) else { continue };
        let before = all[..i].iter().rev().take(WINDOW).find(|b| is_same_packet(b, after));
        let Some(before) = before else { continue };
        let Some(old) = ends(before).filter(|old| one_address_changed(*old, new)) else { continue };
        let host = case.name(after.from);
        let text = if old.1 != new.1 {
            format!("{host} translated the source {} to {}", end(old.1, old.2), end(new.1, new.2))
        } else {
            format!("{host} translated the destination {} to {}", end(old.3, old.4), end(new.3, new.4))
        };
        if !told.contains(&text) {
            out.say("nat", text.clone(), [Ref::Packet(before.number), Ref::Packet(after.number)]);
            told.push(text);
        }
    }
}

/// A router passed it on: in by one interface, out by another, the same packet but for addresses, ports and
/// what a router changes anyway. The identification tells packets of equal contents apart.
fn is_same_packet(before: &Transmission, after: &Transmission) -> bool {
    let arrived = before.arrivals.iter().any(|a| {
        let soon = a.at <= after.at && after.at.saturating_since(a.at) <= FORWARDING;
        a.node == after.from && a.ifindex != after.ifindex && soon
    });
    let (Some(old), Some(new)) = (before.view.ip(), after.view.ip()) else { return false };
    let same_header = old.ttl == new.ttl.wrapping_add(1)
        && (old.protocol, old.id, old.frag_offset, old.total_len)
            == (new.protocol, new.id, new.frag_offset, new.total_len);
    arrived
        && same_header
        && kind(before) == kind(after)
        && before.view.payload() == after.view.payload()
        && before.from != after.from
}

/// One of the addresses is another, and nothing changed at the other end.
fn one_address_changed(old: Ends, new: Ends) -> bool {
    let source = (old.1, old.2) != (new.1, new.2);
    let destination = (old.3, old.4) != (new.3, new.4);
    (source && !destination && old.1 != new.1) || (destination && !source && old.3 != new.3)
}

/// What a translation leaves alone in an ICMP message: type, code, and an echo's sequence number.
fn kind(t: &Transmission) -> Option<(u8, u8, u16)> {
    let m = t.view.icmp()?;
    let (ty, code) = m.type_code();
    let seq = match m {
        icmpv4::Message::EchoRequest { seq, .. } | icmpv4::Message::EchoReply { seq, .. } => *seq,
        _ => 0,
    };
    Some((ty, code, seq))
}

fn end(addr: IpAddr, port: u16) -> String {
    match (addr, port) {
        (_, 0) => addr.to_string(),
        (IpAddr::V4(_), _) => format!("{addr}:{port}"),
        (IpAddr::V6(_), _) => format!("[{addr}]:{port}"),
    }
}

/// Protocol, source, port, destination, port; ports are 0 without any.
type Ends = (u8, IpAddr, u16, IpAddr, u16);

fn ends(t: &Transmission) -> Option<Ends> {
    let ip = t.view.ip().filter(|_| !t.view.is_tunnelled() && !t.view.is_icmp_error())?;
    let (src, dst) = match (t.view.udp(), t.view.tcp()) {
        (Some(h), _) => (h.src_port, h.dst_port),
        (_, Some(h)) => (h.src_port, h.dst_port),
        _ if t.view.icmp().is_some() => (0, 0),
        _ => return None,
    };
    Some((ip.protocol.0, ip.src, src, ip.dst, dst))
}
