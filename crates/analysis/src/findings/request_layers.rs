//! What each layer adds to a request: the bytes of every header around the first HTTP request of the run.

use super::{Case, Findings};
use crate::dissect::Message;
use crate::explain::Ref;

/// Runs with more packets than this are about something else.
const PACKETS: u32 = 200;

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let count = case.packets().map(|t| t.number).max().unwrap_or(0);
    let tcp = case.packets().any(|t| t.view.tcp().is_some() && !t.view.payload().is_empty());
    if count > PACKETS || !tcp {
        return;
    }
    let dissection = case.dissection();
    let request = |m: &Message| matches!(m, Message::HttpRequest { .. });
    let first = dissection.packets.iter().find(|(_, p)| p.layers.iter().any(|layer| request(&layer.message)));
    let Some((number, packet)) = first else { return };
    let Some(t) = case.packet(*number) else { return };
    let mut parts: Vec<(&str, usize)> = Vec::new();
    for layer in &packet.layers {
        match parts.iter_mut().find(|(name, _)| *name == layer.protocol) {
            Some((_, bytes)) => *bytes += layer.header,
            None => parts.push((layer.protocol, layer.header)),
        }
    }
    let total = t.view.bytes.len();
    let known: usize = parts.iter().map(|(_, bytes)| bytes).sum();
    let listed: Vec<String> = parts.iter().map(|(name, bytes)| format!("{name} {bytes}")).collect();
    let rest = if known < total { format!(", payload {}", total - known) } else { String::new() };
    let text = format!(
        "the request of {} is {total} bytes on the wire: {}{rest}",
        case.name(t.from),
        listed.join(" + ")
    );
    out.say("layers", text, [Ref::Packet(*number)]);
}
