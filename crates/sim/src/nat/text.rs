//! The table as `conntrack -L` prints it.

use core::fmt::Write;

use wire::Instant;
use wire::ip::Protocol;

use super::state::State;
use super::table::Peer;
use super::translate::Nat;

impl Nat {
    /// Every live flow, a line each: the original tuple, then the one that replies have.
    pub(crate) fn table_text(&self, now: Instant) -> String {
        let mut text = String::new();
        for (key, flow) in self.table.live(now) {
            let outside = (self.config.address, flow.outside);
            // Original: as the flow's first packet was seen; reply: what an answer to it looks like.
            let ((a, b), (c, d)) = if flow.from_outside {
                ((key.remote, outside), (key.inside, key.remote))
            } else {
                ((key.inside, key.remote), (key.remote, outside))
            };
            let left = flow.life.expires.saturating_since(now).as_secs();
            let name = match key.protocol {
                Protocol::UDP => "udp",
                Protocol::TCP => "tcp",
                Protocol::ICMP => "icmp",
                _ => "unknown",
            };
            let _ = write!(text, "{name:<8} {} {left} ", key.protocol.0);
            if let State::Tcp(state) = flow.life.state {
                let _ = write!(text, "{} ", state.name());
            }
            let icmp = key.protocol == Protocol::ICMP;
            text += &tuple(icmp.then_some(8), a, b);
            text += if flow.life.seen_reply { "" } else { "[UNREPLIED] " };
            text += &tuple(icmp.then_some(0), c, d);
            text += if flow.life.assured { "[ASSURED] " } else { "" };
            text += "mark=0 use=1\n";
        }
        text
    }
}

fn tuple(icmp_type: Option<u8>, src: Peer, dst: Peer) -> String {
    match icmp_type {
        None => format!("src={} dst={} sport={} dport={} ", src.0, dst.0, src.1, dst.1),
        // The identifier is the same at both ends of one tuple; the remote end has none of its own.
        Some(ty) => format!("src={} dst={} type={ty} code=0 id={} ", src.0, dst.0, src.1.max(dst.1)),
    }
}
