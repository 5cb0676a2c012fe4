//! Path MTU discovery: a router says how much fits, the sender remembers it and then refuses too long packets
//! itself (RFC 1191, RFC 8201; Linux: route.c ip_rt_update_pmtu; TRUTH 11f). Without the message: a black
//! hole (TRUTH 11g0).

use stack::record::{LossCause, What};
use wire::{icmpv4, icmpv6};

use super::{Case, Findings};
use crate::explain::Ref;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let mut learnt = Vec::new();
    for e in super::icmp_errors::errors(case) {
        let mtu = match (e.t.view.icmp(), e.t.view.icmpv6()) {
            (Some(icmpv4::Message::DestinationUnreachable { code: 4, next_hop_mtu }), _) => {
                u32::from(*next_hop_mtu)
            }
            (_, Some(icmpv6::Message::PacketTooBig { mtu })) => *mtu,
            _ => continue,
        };
        let Some(quoted) = e.t.view.quoted() else { continue };
        let Some(sender) = case.owner_of_ip(quoted.ip.src()) else { continue };
        let len = e
            .about
            .and_then(|t| t.view.ip())
            .map_or(String::new(), |ip| format!(" of {} bytes", ip.total_len));
        let host = case.name(sender);
        let df = if quoted.ip.src().is_ipv4() { " with DF" } else { "" };
        let told = case.packets().any(|t| {
            t.number >= e.t.number
                && t.view.payload() == e.t.view.payload()
                && t.view.is_icmp_error()
                && t.arrivals.iter().any(|a| a.node == sender)
        });
        let router = case.name(e.t.from);
        let refs = [Some(Ref::Packet(e.t.number)), e.about.map(|t| Ref::Packet(t.number))];
        let refs = refs.into_iter().flatten();
        if !told {
            let text = format!(
                "the packet{len}{df} did not fit the next link of {router} (MTU {mtu}), but the message about it \
                 never reached {host}: a black hole"
            );
            out.say("pmtu-black-hole", text, refs);
            continue;
        }
        let text = format!(
            "the packet{len}{df} did not fit the next link of {router}, which told {host} the MTU there: {mtu}"
        );
        out.say("pmtu-learnt", text, refs);
        learnt.push((sender, e.t.number, e.t.at, mtu));
    }
    for (sender, number, at, mtu) in &learnt {
        remembered(case, *sender, *number, *at, *mtu, out);
    }
    black_hole(case, learnt.is_empty(), out);
}

fn remembered(
    case: &Case<'_>,
    sender: stack::record::NodeId,
    number: u32,
    at: wire::Instant,
    mtu: u32,
    out: &mut Findings,
) {
    let host = case.name(sender);
    let route = case.journal.records.iter().enumerate().find(|(_, r)| {
        let learnt = match &r.what {
            What::Route { text, added } => *added && text.contains("mtu"),
            What::Note { text } => text.starts_with("path MTU"),
            _ => false,
        };
        r.node == sender && r.at >= at && learnt
    });
    if let Some((i, _)) = route {
        let text = format!("{host} remembers {mtu} for this destination (a route exception)");
        out.say("pmtu-remembered", text, [Ref::Packet(number), Ref::Record(i)]);
        out.decides(host, "net.ipv4.route.mtu_expires");
    }
    let too_long: Vec<_> = case
        .results()
        .into_iter()
        .filter(|r| r.node == sender && r.at > at && r.errno() == Some("EMSGSIZE"))
        .collect();
    let sends = |name: &str| name.starts_with("send") || name.starts_with("write");
    if let Some(r) = too_long.iter().find(|r| r.call_name().starts_with("recv")) {
        let text = format!(
            "{host}'s {}() returned EMSGSIZE: that is the ICMP error, told because the socket is connected",
            r.call_name()
        );
        out.say("pmtu-told", text, [Ref::Packet(number), Ref::Record(r.record)]);
    }
    if let Some(r) = too_long.iter().find(|r| sends(r.call_name())) {
        let text = format!(
            "from then on {host} refuses by itself: {}() failed with EMSGSIZE and nothing was sent",
            r.call_name()
        );
        out.say("pmtu-refused", text, [Ref::Packet(number), Ref::Record(r.record)]);
    }
}

/// Packets too long for a link vanished there, and no ICMP message came back.
fn black_hole(case: &Case<'_>, nothing_learnt: bool, out: &mut Findings) {
    let lost: Vec<Ref> = case
        .packets()
        .filter(|t| t.losses.iter().any(|l| l.cause == LossCause::LinkMtu))
        .map(|t| Ref::Packet(t.number))
        .collect();
    if nothing_learnt && !lost.is_empty() {
        let n = lost.len();
        let packets = if n == 1 { "packet" } else { "packets" };
        let text = format!(
            "{n} {packets} longer than a link's MTU vanished there and nobody told the sender: a black hole"
        );
        out.say("pmtu-black-hole", text, lost);
    }
}
