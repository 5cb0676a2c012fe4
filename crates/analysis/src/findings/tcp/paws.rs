//! Segments that are dropped because their timestamp is from the past: PAWS (RFC 7323 §5), and `tcp_tw_recycle`'s use of
//! it on a whole host (TRUTH 7, §13).

use std::collections::BTreeMap;

use stack::DropReason;
use stack::record::{NodeId, What};

use super::dropped_header;
use crate::explain::Ref;
use crate::findings::{Case, Findings};

/// A segment, and its timestamp.
type Dropped = (Ref, Option<u32>);

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let mut syns: BTreeMap<NodeId, Vec<Ref>> = BTreeMap::new();
    let mut segments: BTreeMap<(NodeId, String), Vec<Dropped>> = BTreeMap::new();
    for (i, r) in case.journal.records.iter().enumerate() {
        let What::Drop { reason: DropReason::TcpRfc7323Paws, packet, id, .. } = &r.what else { continue };
        let Some((header, src)) = dropped_header(packet.as_slice()) else { continue };
        let at = id.and_then(|id| case.traffic.get(id)).map_or(Ref::Record(i), |t| Ref::Packet(t.number));
        if header.flags.syn() {
            syns.entry(r.node).or_default().push(at);
            continue;
        }
        segments
            .entry((r.node, case.who(src)))
            .or_default()
            .push((at, header.options.timestamps().map(|t| t.val)));
    }
    for ((node, peer), dropped) in segments {
        let host = case.name(node);
        let text = match dropped[..] {
            [(_, val)] => {
                let val = val.map_or(String::new(), |v| format!(" ({v})"));
                format!(
                    "{host} dropped a segment from {peer} although its sequence number fits: its timestamp{val} is older \
                     than the last one seen (PAWS)"
                )
            }
            _ => format!(
                "{host} dropped {} segments from {peer} although their sequence numbers fit: their timestamps are older \
                 than the last one seen (PAWS)",
                dropped.len()
            ),
        };
        out.say("paws", text, dropped.iter().map(|d| d.0));
        out.decides(host, "net.ipv4.tcp_timestamps");
    }
    for (node, refs) in syns {
        let host = case.name(node);
        let n = refs.len();
        let packets = if n == 1 { "a SYN".to_string() } else { format!("{n} SYNs") };
        let text = format!(
            "{host} dropped {packets} in silence: their timestamps are older than the last one that came from that \
             address, which another host behind it may have sent (tcp_tw_recycle)"
        );
        out.say("tw-recycle", text, refs.clone());
        out.decides(host, "net.ipv4.tcp_tw_recycle");
        let fact =
            format!("it compares the clocks of all hosts behind one address: {host} kept one of them out");
        out.folklore("tcp_tw_recycle=1 is a harmless cure for many TIME-WAITs", fact, refs);
    }
}
