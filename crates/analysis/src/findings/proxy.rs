//! Proxy ARP: a router answers for an address that is not its own (Linux: arp.c arp_fwd_proxy, `proxy_arp`).

use super::{Case, Findings, claim};
use crate::explain::Ref;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    for q in &case.questions {
        let Some(answer) = q.answer else { continue };
        let owner = case.owner_of_ip(q.addr);
        let Some((answerer, _)) = answer.mac.and_then(|m| case.owner_of_mac(m)) else { continue };
        if owner.is_none_or(|o| o == answerer) {
            continue;
        }
        // A router forwards for the address later on; a thief claims it without being asked.
        let forwards = case.packets().any(|t| {
            t.from == answerer && t.view.ip().is_some_and(|ip| ip.dst == q.addr) && t.at >= answer.at
        });
        let claims_unasked = case
            .packets()
            .any(|t| t.from == answerer && claim(t).is_some_and(|c| c.addr == q.addr && c.gratuitous));
        if !forwards || claims_unasked {
            continue;
        }
        let host = case.name(answerer);
        let text = format!(
            "{host} answered for {}, which is {}'s, with its own address: proxy ARP",
            q.addr,
            case.who(q.addr)
        );
        out.say("proxy-arp", text, [Ref::Packet(q.number), Ref::Packet(answer.number)]);
        out.decides(host, "net.ipv4.conf.all.proxy_arp");
    }
}
