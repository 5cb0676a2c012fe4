//! What the scenario's faults and the links' impairments did to packets.

use stack::record::{LossCause, What};

use super::{Case, Findings};
use crate::explain::Ref;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    for i in 0..case.journal.faults.len() {
        let number = u32::try_from(i).unwrap_or(u32::MAX);
        let dropped: Vec<Ref> = case
            .packets()
            .filter(|t| t.losses.iter().any(|l| l.cause == LossCause::Fault(number)))
            .map(|t| Ref::Packet(t.number))
            .collect();
        let mut altered = Vec::new();
        let mut how_first = "";
        for r in &case.journal.records {
            if let What::Altered { id, how, fault: Some(f) } = &r.what
                && *f == number
            {
                altered.extend(case.traffic.get(*id).map(|t| Ref::Packet(t.number)));
                if how_first.is_empty() {
                    how_first = how;
                }
            }
        }
        if !dropped.is_empty() {
            let n = dropped.len();
            let packets = if n == 1 { "packet" } else { "packets" };
            out.say("fault", format!("fault {} dropped {n} {packets}", i + 1), dropped);
        }
        if !altered.is_empty() {
            let text = format!("fault {} acted: {how_first}", i + 1);
            out.say("fault", text, altered);
        }
    }
    links(case, out);
}

/// Losses that are nobody's plan.
fn links(case: &Case<'_>, out: &mut Findings) {
    type Is = fn(&LossCause) -> bool;
    let kinds: [(&str, Is); 6] = [
        ("by chance (loss random)", |c| matches!(c, LossCause::Random)),
        ("in a burst (loss gemodel)", |c| matches!(c, LossCause::Gemodel)),
        ("because a link's queue was full", |c| matches!(c, LossCause::QueueLimit { .. })),
        ("because a link was down", |c| matches!(c, LossCause::LinkDown | LossCause::ReceiverDown)),
        ("by the switch's ARP inspection", |c| matches!(c, LossCause::ArpInspection)),
        ("at a port where its VLAN is not allowed", |c| matches!(c, LossCause::Vlan)),
    ];
    for (words, is) in kinds {
        let lost: Vec<Ref> = case
            .packets()
            .filter(|t| t.losses.iter().any(|l| is(&l.cause)))
            .map(|t| Ref::Packet(t.number))
            .collect();
        if !lost.is_empty() {
            let n = lost.len();
            let packets = if n == 1 { "packet was" } else { "packets were" };
            out.say("link-loss", format!("{n} {packets} lost {words}"), lost);
        }
    }
}
