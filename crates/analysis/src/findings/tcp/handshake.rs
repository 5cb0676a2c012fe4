//! Which packet completed a handshake when the third one was lost (RFC 9293 §3.5; TRUTH 3, 14.2, 14.3).

use wire::tcp::Flags;

use super::{Flow, Segment};
use crate::explain::Ref;
use crate::findings::{Case, Findings, about};

/// The packet with which the side that was asked had its handshake, when it was not the third one.
pub(super) fn find(case: &Case<'_>, segments: &[Segment<'_>], out: &mut Findings) {
    let mut done: Vec<(Flow, u32)> = Vec::new();
    for (i, answer) in segments.iter().enumerate() {
        let is_answer = answer.is(Flags::SYN) && answer.is(Flags::ACK);
        if !is_answer || done.contains(&(answer.flow, answer.seq)) || !answer.arrived(case) {
            continue;
        }
        done.push((answer.flow, answer.seq));
        let back = (answer.flow.1, answer.flow.0);
        let mut thirds = segments[i..].iter().filter(|s| {
            s.flow == back && s.is(Flags::ACK) && !s.is(Flags::SYN) && s.ack == answer.seq.wrapping_add(1)
        });
        let (Some(third), false) = (thirds.next(), answer.is(Flags::RST)) else { continue };
        if third.is(Flags::RST) || third.arrived(case) {
            continue;
        }
        let (client, server) = (case.name(third.t.from), case.name(answer.t.from));
        let lost = [Ref::Packet(answer.t.number), Ref::Packet(third.t.number)];
        let late = segments.iter().enumerate().skip(i).find(|(_, s)| {
            s.flow == back && s.is(Flags::ACK) && !s.is(Flags::SYN) && !s.is(Flags::RST) && s.arrived(case)
        });
        match late {
            Some((n, s)) => {
                let by = match (s.len, s.is(Flags::FIN)) {
                    (0, true) => "FIN",
                    (0, false) => "answer to the repeated SYN-ACK",
                    _ => "first data",
                };
                let refs = lost.into_iter().chain([Ref::Packet(s.t.number)]);
                // Nobody knows the connection any more: a RST is what answers.
                let next = segments[n..].iter().find(|r| r.flow == answer.flow);
                if let Some(rst) = next.filter(|r| r.is(Flags::RST)) {
                    let text = format!(
                        "{client}'s third packet was lost and {server} forgot the connection: what {client} sent later got a RST"
                    );
                    out.say("third-ack-lost", text, refs.chain([Ref::Packet(rst.t.number)]));
                } else {
                    let waited = s.arrival(case).unwrap_or(s.t.at).as_nanos() - third.t.at.as_nanos();
                    let text = format!(
                        "{client}'s third packet was lost: {client} is ESTABLISHED and {server} is not, until \
                         {client}'s {by}, with the same acknowledgment, completes the handshake {} later",
                        about(waited)
                    );
                    out.say("third-ack-lost", text, refs);
                }
                let fact = format!(
                    "{client} sent nothing by itself: an ACK is not acknowledged, so nobody misses it"
                );
                out.folklore("a lost third ACK is retransmitted", fact, [Ref::Packet(third.t.number)]);
            }
            None => {
                let text = format!(
                    "no acknowledgment of {server}'s SYN-ACK reached it: {client} believes in a connection that {server} does not have"
                );
                out.say("third-ack-lost", text, lost);
            }
        }
    }
}
