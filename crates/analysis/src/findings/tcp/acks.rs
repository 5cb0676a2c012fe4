//! When segments are acknowledged: one by one and at once at the start, and wherever the program reads
//! (Linux: tcp_input.c `__tcp_ack_snd_check`, `tcp_enter_quickack_mode`, tcp.c `__tcp_cleanup_rbuf`; TRUTH 10b, 14.15).

use std::collections::BTreeMap;

use stack::record::NodeId;

use super::{Flow, Segment};
use crate::explain::Ref;
use crate::findings::{Case, Findings};

/// Fewer in a row prove nothing: every second segment is acknowledged at once in any case.
const ENOUGH: usize = 8;

pub(super) fn find(case: &Case<'_>, segments: &[Segment<'_>], out: &mut Findings) {
    let mut best: BTreeMap<NodeId, Vec<&Segment<'_>>> = BTreeMap::new();
    let mut open: BTreeMap<(usize, Flow), Vec<&Segment<'_>>> = BTreeMap::new();
    let mut acks: BTreeMap<(usize, Flow), Vec<&Segment<'_>>> = BTreeMap::new();
    for s in segments {
        if s.len > 0 {
            open.entry((s.conn, s.flow)).or_default().push(s);
        } else if s.is_pure_ack() {
            acks.entry((s.conn, s.back())).or_default().push(s);
        }
    }
    for (key, data) in open {
        let Some(acks) = acks.get(&key) else { continue };
        let mut row: Vec<&Segment<'_>> = Vec::new();
        for s in data {
            let at_once = s.arrival(case).and_then(|at| {
                let from = acks.partition_point(|a| a.t.at < at);
                acks[from..].iter().take_while(|a| a.t.at == at).find(|a| a.ack == s.end())
            });
            match at_once {
                Some(ack) => row.push(ack),
                None => row.clear(),
            }
            if row.len() >= ENOUGH && best.get(&row[0].t.from).is_none_or(|b| row.len() > b.len()) {
                best.insert(row[0].t.from, row.clone());
            }
        }
    }
    if let Some((node, row)) = best.into_iter().max_by_key(|(_, row)| row.len()) {
        let host = case.name(node);
        let refs = [row[0], row[row.len() - 1]].map(|s| Ref::Packet(s.t.number));
        let why = if row.len() > 16 {
            "it begins with quick ACKs, and a program that reads at once has them sent"
        } else {
            "it begins with quick ACKs"
        };
        let fact = format!("{host} acknowledged {} in a row each by itself and at once: {why}", row.len());
        out.folklore("every second segment is acknowledged, a single one after 40 ms", fact, refs);
    }
}
