//! Nagle's algorithm and a delayed ACK that wait for each other (RFC 9293 §3.7.4, §3.8.6.3; TRUTH 10c).

use stack::record::What;

use super::Segment;
use crate::explain::Ref;
use crate::findings::{Case, Findings, about};

/// Shorter than any full segment.
const SMALL: usize = 500;

pub(super) fn find(case: &Case<'_>, segments: &[Segment<'_>], out: &mut Findings) {
    let results = case.results();
    for (i, ack) in segments.iter().enumerate().filter(|(_, s)| s.is_pure_ack() && is_delayed(case, s)) {
        let Some(arrived) = ack.arrival(case) else { continue };
        let freed = segments[i..].iter().find(|s| s.flow == ack.back() && s.len > 0);
        let before = segments[..i].iter().rfind(|s| s.flow == ack.back() && s.len > 0);
        let (Some(freed), Some(before)) = (freed.filter(|s| s.t.at == arrived && s.len < SMALL), before)
        else {
            continue;
        };
        // Written after the segment that was acknowledged, and before its ACK left.
        let write = results.iter().find(|r| {
            r.node == freed.t.from
                && (r.call_name().starts_with("send") || r.call_name().starts_with("write"))
                && r.record > before.t.record
                && r.at < ack.t.at
        });
        let Some(write) = write else { continue };
        let (sender, receiver) = (case.name(freed.t.from), case.name(ack.t.from));
        let waited = about(freed.t.at.as_nanos() - write.at.as_nanos());
        let text = format!(
            "{sender}'s second small write waited {waited} for the ACK of the first (Nagle's algorithm), and {receiver} \
             delayed that ACK, because it waited for data to send it with"
        );
        let refs = [before.number(), ack.number(), freed.number(), Ref::Record(write.call)];
        out.say("nagle-delayed-ack", text, refs);
        out.decides_option(sender, "TCP_NODELAY", "0");
        return;
    }
}

/// The delayed ACK timer sent it.
fn is_delayed(case: &Case<'_>, s: &Segment<'_>) -> bool {
    let before = case.journal.records[..s.t.record].iter().rev();
    before
        .take_while(|r| r.at == s.t.at)
        .any(|r| r.node == s.t.from && matches!(r.what, What::Timer { name: "delayed ACK", .. }))
}
