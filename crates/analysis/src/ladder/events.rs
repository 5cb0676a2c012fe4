//! Records that are no packets, in words: `ip neigh`'s and `ss`'s for states, `strace`'s for calls,
//! `dropwatch`'s for drops.

use stack::neigh::NudState;
use stack::record::{AddrChange, IfIndex, Journal, LossCause, NodeId, Record, What};
use wire::MacAddr;

use super::EventKind;

/// The words for a record, or `None` when it is shown in another way (packets) or not at all.
///
/// `known` is the link-layer address that a neighbour entry had before: a new one is worth its place.
pub(super) fn words(journal: &Journal, r: &Record, known: Option<MacAddr>) -> Option<(EventKind, String)> {
    Some(match &r.what {
        What::Tx { .. }
        | What::Rx { .. }
        | What::Lost { .. }
        | What::Altered { .. }
        | What::KeyLog { .. } => {
            return None;
        }
        What::Drop { reason, .. } => {
            (EventKind::Drop, format!("drop {}: {}", reason.name(), reason.meaning()))
        }
        What::Neigh { addr, lladdr, to, .. } => {
            let by_hand = *to == Some(NudState::Permanent);
            let text = match (to, lladdr) {
                (None, _) => format!("{addr} entry removed"),
                (Some(state), Some(mac)) if by_hand || known.is_some_and(|k| k != *mac) => {
                    format!("{addr} {state} {}", short_mac(*mac))
                }
                (Some(state), _) => format!("{addr} {state}"),
            };
            (EventKind::State, text)
        }
        What::NeighQueued { addr, queued, .. } => {
            let verb = if *queued == 1 { "packet waits" } else { "packets wait" };
            (EventKind::State, format!("{queued} {verb} for {addr}"))
        }
        What::Addr { addr, change, .. } => {
            let word = match change {
                AddrChange::Tentative => "tentative",
                AddrChange::Preferred => "preferred",
                AddrChange::Deprecated => "deprecated",
                AddrChange::DadFailed => "dadfailed: somebody else has it",
                AddrChange::Removed => "removed",
            };
            (EventKind::State, format!("{addr} {word}"))
        }
        What::Link { ifindex, up, carrier } => {
            let state = match (up, carrier) {
                (false, _) => "down",
                (true, false) => "up, no carrier",
                (true, true) => "up",
            };
            (EventKind::State, format!("{} {state}", iface_name(journal, r.node, *ifindex)))
        }
        What::Route { text, added } => {
            let sign = if *added { "route learnt" } else { "route gone" };
            (EventKind::State, format!("{sign}: {text}"))
        }
        What::Sock { from, to, addrs, .. } => {
            let text = match (from, to) {
                // The SYN beside it names the ports.
                (None, Some("SYN-RECV")) => "SYN-RECV".to_string(),
                (None, Some(to)) => format!("{to} {addrs}"),
                (_, Some(to)) => (*to).to_string(),
                (_, None) => format!("socket {addrs} gone"),
            };
            (EventKind::State, text)
        }
        What::Timer { name, detail } if detail.is_empty() => (EventKind::Timer, format!("{name} timer")),
        What::Timer { name, detail } => (EventKind::Timer, format!("{name} timer, {detail}")),
        What::Call { text, .. } => (EventKind::Call, text.clone()),
        What::Return { text, unexpected: None, .. } => (EventKind::Call, format!("= {text}")),
        What::Return { text, unexpected: Some(expected), .. } => {
            (EventKind::Unexpected, format!("= {text}  UNEXPECTED: {expected}"))
        }
        What::Admin { text } => (EventKind::Admin, format!("# {text}")),
        What::Output { line, .. } => (EventKind::Note, format!("prints {line}")),
        What::Note { text } => (EventKind::Note, text.clone()),
    })
}

/// `02:..:0a`: first and last octet, enough to tell the hosts of one lab apart.
pub(crate) fn short_mac(mac: MacAddr) -> String {
    format!("{:02x}:..:{:02x}", mac.0[0], mac.0[5])
}

/// Why a packet was lost, in words.
pub(crate) fn loss_words(cause: &LossCause) -> String {
    match cause {
        LossCause::Fault(i) => format!("dropped by fault {}", i + 1),
        LossCause::Random => "lost: loss random".to_string(),
        LossCause::Gemodel => "lost: loss gemodel".to_string(),
        LossCause::QueueLimit { limit } => format!("lost: queue limit {limit}"),
        LossCause::LinkDown => "lost: link down".to_string(),
        LossCause::LinkMtu => "lost: longer than the link's MTU".to_string(),
        LossCause::NoPort => "lost: no port for it".to_string(),
        LossCause::ArpInspection => "lost: ARP inspection".to_string(),
        LossCause::Vlan => "lost: VLAN not allowed".to_string(),
        LossCause::ReceiverDown => "lost: receiver down".to_string(),
    }
}

fn iface_name(journal: &Journal, node: NodeId, ifindex: IfIndex) -> String {
    let node = journal.nodes.get(node.0 as usize);
    let iface = node.and_then(|n| n.ifaces.iter().find(|i| i.ifindex == ifindex));
    iface.map_or_else(|| format!("if{ifindex}"), |i| i.name.clone())
}

/// Calls with their binary strings cut short: `"\x08\x00\x00\x00"...`. The records keep them whole.
pub(super) fn abridged(text: &str) -> String {
    const WHOLE: usize = 40;
    const SHOWN: usize = 16;
    let mut out = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find('"') {
        let (before, quoted) = rest.split_at(begin + 1);
        out.push_str(before);
        let mut end = quoted.len();
        let mut shown = 0;
        let mut chars = quoted.char_indices();
        while let Some((at, c)) = chars.next() {
            if at <= SHOWN {
                shown = at;
            }
            match c {
                '"' => {
                    end = at;
                    break;
                }
                '\\' => {
                    let escaped = chars.next();
                    if matches!(escaped, Some((_, 'x'))) {
                        chars.nth(1);
                    }
                }
                _ => {}
            }
        }
        let body = &quoted[..end];
        rest = quoted.get(end + 1..).unwrap_or("");
        if body.contains("\\x") && body.len() > WHOLE {
            out.push_str(&body[..shown]);
            out.push_str("\"...");
            rest = rest.strip_prefix("...").unwrap_or(rest);
        } else {
            out.push_str(body);
            if end < quoted.len() {
                out.push('"');
            }
        }
    }
    out + rest
}

/// The name of the system call in `sendto(3, "x", 1, 0, …)`.
pub(super) fn call_name(text: &str) -> &str {
    text.split('(').next().unwrap_or(text)
}
