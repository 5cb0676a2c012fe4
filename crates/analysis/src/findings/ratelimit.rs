//! ICMP errors that were not sent because too many had been (Linux: icmp.c icmpv4_xrlim_allow, `icmp_ratelimit`;
//! TRUTH 11e).

use stack::DropReason;
use stack::record::What;

use super::{Case, Findings};
use crate::explain::Ref;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    for node in case.nodes() {
        let suppressed: Vec<Ref> = case
            .journal
            .records
            .iter()
            .enumerate()
            .filter(|(_, r)| r.node == node)
            .filter(|(_, r)| matches!(r.what, What::Drop { reason: DropReason::IcmpRatelimit, .. }))
            .map(|(i, _)| Ref::Record(i))
            .collect();
        if suppressed.is_empty() {
            continue;
        }
        let sent: Vec<Ref> = super::icmp_errors::errors(case)
            .iter()
            .filter(|e| e.t.from == node)
            .map(|e| Ref::Packet(e.t.number))
            .collect();
        let host = case.name(node);
        let n = suppressed.len();
        let errors = if n == 1 { "error" } else { "errors" };
        let text =
            format!("{host} sent {} ICMP errors and kept {n} {errors} to itself: its rate limit", sent.len());
        out.say("icmp-ratelimit", text, suppressed.into_iter().chain(sent));
        out.decides(host, "net.ipv4.icmp_ratelimit");
    }
}
