//! Datagrams on their way to a program: lost, late, doubled, out of order, cut short, or dropped because the
//! program did not read (RFC 768; Linux: udp.c udp_queue_rcv_skb, udp_recvmsg; TRUTH §8).

use std::collections::BTreeMap;
use std::net::IpAddr;

use stack::DropReason;
use stack::record::What;

use super::{Case, Findings};
use crate::explain::Ref;
use crate::traffic::Transmission;

type Flow = (IpAddr, u16, IpAddr, u16);

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let mut flows: BTreeMap<Flow, Vec<&Transmission>> = BTreeMap::new();
    for t in case.packets() {
        let (Some(ip), Some(h)) = (t.view.inner_ip(), t.view.udp()) else { continue };
        flows.entry((ip.src, h.src_port, ip.dst, h.dst_port)).or_default().push(t);
    }
    for (flow, packets) in &flows {
        delivery(case, flow, packets, out);
    }
    empty(case, out);
    overflow(case, out);
    truncation(case, out);
    checksum(case, out);
}

fn delivery(case: &Case<'_>, flow: &Flow, packets: &[&Transmission], out: &mut Findings) {
    let (src, dst) = (case.owner_of_ip(flow.0), case.owner_of_ip(flow.2));
    let (Some(src), Some(dst)) = (src, dst) else { return };
    let sent: Vec<&&Transmission> = packets.iter().filter(|t| t.from == src).collect();
    let lost: Vec<u32> =
        packets.iter().filter(|t| t.arrivals.is_empty() && !t.losses.is_empty()).map(|t| t.number).collect();
    let whom = format!("{} to {} port {}", case.name(src), case.name(dst), flow.3);
    if !lost.is_empty() {
        let n = lost.len();
        let datagrams = if sent.len() == 1 { "datagram" } else { "datagrams" };
        let text = format!(
            "{n} of {} {datagrams} from {whom} {} lost; UDP neither notices nor repeats",
            sent.len(),
            if n == 1 { "was" } else { "were" }
        );
        out.say("udp-lost", text, lost.into_iter().map(Ref::Packet));
    }
    let mut arrived: Vec<(wire::Instant, usize, &Transmission)> = Vec::new();
    for t in packets {
        arrived.extend(t.arrivals.iter().filter(|a| a.node == dst).map(|a| (a.at, a.record, *t)));
    }
    arrived.sort_by_key(|a| a.1);
    let late: Vec<Ref> = arrived
        .windows(2)
        .filter(|w| w[0].2.number > w[1].2.number && w[0].2.from == w[1].2.from)
        .flat_map(|w| [Ref::Packet(w[0].2.number), Ref::Packet(w[1].2.number)])
        .collect();
    if !late.is_empty() {
        let text = format!(
            "datagrams from {whom} arrived in another order than they were sent; UDP does not mend it"
        );
        out.say("udp-reordered", text, late);
    }
    let doubled: Vec<Ref> = packets
        .iter()
        .filter(|t| t.altered.iter().any(|(_, how)| how.starts_with("duplicated")))
        .map(|t| Ref::Packet(t.number))
        .collect();
    if !doubled.is_empty() {
        let text = format!("a datagram from {whom} arrived twice; UDP hands both to the program");
        out.say("udp-duplicated", text, doubled);
    }
}

/// A datagram without data shows what UDP itself adds (RFC 768).
fn empty(case: &Case<'_>, out: &mut Findings) {
    let empty = |t: &&Transmission| t.view.udp().is_some_and(|h| usize::from(h.len) == wire::udp::HEADER_LEN);
    if let Some(t) = case.packets().find(|t| empty(t) && !t.view.is_tunnelled()) {
        let text = format!(
            "a datagram without data is a packet too: {} bytes of UDP, which are source port, destination port, \
             length and checksum",
            wire::udp::HEADER_LEN
        );
        out.say("udp-empty", text, [Ref::Packet(t.number)]);
    }
}

/// The receive buffer was full: dropped without a word to anybody.
fn overflow(case: &Case<'_>, out: &mut Findings) {
    for node in case.nodes() {
        let mut refs = Vec::new();
        for (i, r) in case.journal.records.iter().enumerate().filter(|(_, r)| r.node == node) {
            if let What::Drop { reason: DropReason::SocketRcvbuff, id, .. } = &r.what {
                refs.push(Ref::Record(i));
                refs.extend(id.and_then(|id| case.traffic.get(id)).map(|t| Ref::Packet(t.number)));
            }
        }
        let dropped = refs.iter().filter(|r| matches!(r, Ref::Record(_))).count();
        let counted = case
            .counter(node, "UdpRcvbufErrors")
            .map_or(String::new(), |n| format!(" (UdpRcvbufErrors {n})"));
        if dropped > 0 {
            let host = case.name(node);
            let what = if dropped == 1 { "datagram that arrived was" } else { "datagrams that arrived were" };
            let text = format!(
                "{dropped} {what} dropped at {host} because the socket's receive buffer was full{counted}; the \
                 sender was not told"
            );
            out.say("udp-overflow", text, refs);
            out.decides(host, "net.core.rmem_default");
        }
    }
}

/// The program's buffer was shorter than the datagram: the rest is gone.
fn truncation(case: &Case<'_>, out: &mut Findings) {
    for r in case.results().iter().filter(|r| r.call_name().starts_with("recv") && !r.result.starts_with('-'))
    {
        let host = case.name(r.node);
        if r.result.split(' ').any(|w| w.contains("MSG_TRUNC")) {
            let text = format!(
                "{host}'s {}() got a datagram longer than its buffer: the rest is gone for good (MSG_TRUNC)",
                r.call_name()
            );
            out.say("udp-truncated", text, [Ref::Record(r.call), Ref::Record(r.record)]);
        }
    }
}

fn checksum(case: &Case<'_>, out: &mut Findings) {
    for (i, r) in case.journal.records.iter().enumerate() {
        let What::Drop { reason, id, .. } = &r.what else { continue };
        if matches!(
            reason,
            DropReason::UdpCsum | DropReason::IpCsum | DropReason::IcmpCsum | DropReason::TcpCsum
        ) {
            let packet = id.and_then(|id| case.traffic.get(id)).map(|t| Ref::Packet(t.number));
            let text = format!(
                "{} dropped a packet that had been damaged on its way: {}",
                case.name(r.node),
                reason.meaning()
            );
            out.say("bad-checksum", text, packet.into_iter().chain([Ref::Record(i)]));
        }
    }
}
