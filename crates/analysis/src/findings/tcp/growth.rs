//! Slow start as the packets show it: how many new segments leave in each round trip (RFC 5681, RFC 6928; TRUTH 10d).

use std::collections::BTreeMap;

use super::{Flow, Segment};
use crate::explain::Ref;
use crate::findings::{Case, Findings};

/// Segments that make a transfer worth a sentence.
const LEAST: usize = 25;
/// Round trips that are told.
const SHOWN: usize = 8;

/// One direction's new segments, in rounds: a round ends when what was sent in it begins to be acknowledged.
struct Rounds {
    /// Segments in each round, and the first of each.
    rounds: Vec<(usize, Ref)>,
    /// The acknowledgment that ends the round.
    ends_at: u32,
    /// Beyond everything sent.
    next: u32,
    total: usize,
    over: bool,
}

pub(super) fn find(case: &Case<'_>, segments: &[Segment<'_>], out: &mut Findings) {
    // What each sender does and hears, in its own order of time.
    let mut events: Vec<(u64, bool, &Segment<'_>)> = Vec::new();
    for s in segments {
        if s.len > 0 {
            events.push((s.t.at.as_nanos(), true, s));
        }
        if let Some(at) = s.arrival(case).filter(|_| s.is(wire::tcp::Flags::ACK) && !s.flags.rst()) {
            events.push((at.as_nanos(), false, s));
        }
    }
    // What arrives lets the next ones go.
    events.sort_by_key(|(at, sends, s)| (*at, *sends, s.t.number));
    let mut flows: BTreeMap<(Flow, usize), Rounds> = BTreeMap::new();
    for (_, sends, s) in events {
        if sends {
            let new = || Rounds { rounds: Vec::new(), ends_at: s.seq, next: s.seq, total: 0, over: true };
            flows.entry((s.flow, s.conn)).or_insert_with(new).sent(s);
        } else if let Some(r) = flows.get_mut(&(s.back(), s.conn)) {
            r.over |= s.ack.wrapping_sub(r.ends_at).wrapping_sub(1) < 1 << 31;
        }
    }
    for ((flow, _), r) in flows {
        told(case, flow, &r, out);
    }
}

impl Rounds {
    fn sent(&mut self, s: &Segment<'_>) {
        if s.seq != self.next {
            return; // sent again
        }
        if self.over {
            (self.over, self.ends_at) = (false, self.next);
            self.rounds.push((0, s.number()));
        }
        self.next = s.end();
        self.total += 1;
        self.rounds.last_mut().expect("the first one begins a round").0 += 1;
    }
}

fn told(case: &Case<'_>, flow: Flow, r: &Rounds, out: &mut Findings) {
    let doubles = |a: usize, b: usize| b * 10 >= a * 17 && b * 10 <= a * 23;
    let growing = 1 + r.rounds.windows(2).take_while(|w| doubles(w[0].0, w[1].0)).count();
    if r.total < LEAST || growing < 2 {
        return;
    }
    let Some(node) = case.owner_of_ip(flow.0.ip()) else { return };
    let host = case.name(node);
    let shown = &r.rounds[..growing.min(SHOWN)];
    let counts: Vec<String> = shown.iter().map(|(n, _)| n.to_string()).collect();
    let text = format!(
        "{host} sent {} segments in its first round trips: slow start doubles the window",
        counts.join(", ")
    );
    out.say("slow-start", text, shown.iter().map(|(_, first)| *first));
    out.decides(host, "net.ipv4.tcp_congestion_control");
}
