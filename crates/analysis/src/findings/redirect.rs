//! Redirects: a router knows a better first hop, and whether the host took it (RFC 792, RFC 4861 §8; Linux:
//! route.c ip_rt_send_redirect, __ip_do_redirect).

use std::net::IpAddr;

use wire::{icmpv4, ndp};

use super::{Case, Findings};
use crate::explain::Ref;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    for t in case.packets() {
        let (gateway, dst): (IpAddr, IpAddr) = match (t.view.icmp(), t.view.ndp()) {
            (Some(icmpv4::Message::Redirect { gateway, .. }), _) => match t.view.quoted() {
                Some(q) => ((*gateway).into(), q.ip.dst()),
                None => continue,
            },
            (_, Some(ndp::Message::Redirect { target, destination })) => {
                ((*target).into(), (*destination).into())
            }
            _ => continue,
        };
        let Some(arrival) = t.arrivals.first() else { continue };
        let host = case.name(arrival.node);
        let text = format!(
            "{} told {host} that {dst} is better reached by {gateway} on the same link (redirect)",
            case.name(t.from)
        );
        out.say("redirect", text, [Ref::Packet(t.number)]);
        let to_gateway = |o: &&crate::traffic::Transmission| {
            let mac = o.view.macs().map(|m| m.1);
            mac.and_then(|m| case.owner_of_mac(m)).is_some_and(|(n, _)| Some(n) == case.owner_of_ip(gateway))
        };
        let mut later = case.packets().filter(|o| {
            o.from == arrival.node && o.at > arrival.at && o.view.ip().is_some_and(|ip| ip.dst == dst)
        });
        let Some(next) = later.next() else { continue };
        let (text, followed) = if to_gateway(&next) {
            (format!("{host} followed it with its next packet"), true)
        } else {
            (format!("{host} did not follow it"), false)
        };
        out.say("redirect-effect", text, [Ref::Packet(t.number), Ref::Packet(next.number)]);
        let family = if dst.is_ipv4() { "ipv4" } else { "ipv6" };
        if !followed {
            out.decides(host, &format!("net.{family}.conf.all.accept_redirects"));
        }
    }
}
