//! Address translation: the same payload leaves a router with other addresses or ports (RFC 4787).

use std::net::IpAddr;

use super::{Case, Findings};
use crate::explain::Ref;
use crate::traffic::Transmission;

/// How many packets back the untranslated one is looked for.
const WINDOW: usize = 128;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let all: Vec<&Transmission> = case.packets().filter(|t| ends(t).is_some()).collect();
    let mut told: Vec<String> = Vec::new();
    for (i, after) in all.iter().enumerate() {
        let Some(new) = ends(after) else { continue };
        let before = all[..i].iter().rev().take(WINDOW).find(|b| {
            let arrived = b.arrivals.iter().any(|a| a.node == after.from && a.at <= after.at);
            let ttls = (b.view.ip().map(|ip| ip.ttl), after.view.ip().map(|ip| ip.ttl));
            let hop = matches!(ttls, (Some(x), Some(y)) if x == y.wrapping_add(1));
            arrived
                && hop
                && b.view.payload() == after.view.payload()
                && ends(b).is_some_and(|e| e.0 == new.0)
        });
        let Some(before) = before.filter(|b| ends(b) != Some(new)) else { continue };
        let Some(old) = ends(before) else { continue };
        let host = case.name(after.from);
        let text = if (old.1, old.2) != (new.1, new.2) {
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
