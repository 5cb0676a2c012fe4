//! WebSocket connections: what their frames say of masking, of the round trip by ping and pong, and of how they were closed
//! (RFC 6455 §5 and §7).

use std::collections::BTreeMap;

use stack::record::NodeId;

use super::{Case, Findings, about};
use crate::dissect::{Dissection, Layer, Message};
use crate::explain::Ref;

/// Runs with more packets than this are about something else.
const PACKETS: usize = 5000;

/// A frame and where it stands.
struct Frame<'a> {
    number: u32,
    from: NodeId,
    opcode: u8,
    layer: &'a Layer,
}

impl Frame<'_> {
    fn field(&self, name: &str) -> Option<&str> {
        self.layer.details.iter().find(|field| field.name == name).map(|field| field.value.as_str())
    }
}

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    if case.packets().take(PACKETS + 1).count() > PACKETS
        || !case.packets().any(|t| t.view.tcp().is_some() && !t.view.payload().is_empty())
    {
        return;
    }
    let dissection = Dissection::of(case.journal, case.traffic);
    let mut connections: BTreeMap<u32, Vec<Frame<'_>>> = BTreeMap::new();
    for (number, packet) in dissection.packets.iter().filter(|(_, packet)| packet.repeats.is_none()) {
        let (Some(connection), Some(t)) = (packet.conversation, case.packet(*number)) else { continue };
        for layer in &packet.layers {
            if let Message::WebSocketFrame { opcode, .. } = layer.message {
                let frame = Frame { number: *number, from: t.from, opcode, layer };
                connections.entry(connection).or_default().push(frame);
            }
        }
    }
    for frames in connections.values() {
        masks(case, frames, out);
        pings(case, frames, out);
        close(case, frames, out);
    }
}

/// Whose frames are masked.
fn masks(case: &Case<'_>, frames: &[Frame<'_>], out: &mut Findings) {
    let mut sides: Vec<(NodeId, usize, usize)> = Vec::new();
    for frame in frames {
        let masked = usize::from(frame.field("websocket.mask") == Some("1"));
        match sides.iter_mut().find(|(node, ..)| *node == frame.from) {
            Some((_, all, with)) => (*all, *with) = (*all + 1, *with + masked),
            None => sides.push((frame.from, 1, masked)),
        }
    }
    let [(a, all_a, masked_a), (b, all_b, masked_b)] = sides[..] else { return };
    let count =
        |masked: usize, all: usize| if masked == 0 { "none".into() } else { format!("{masked} of {all}") };
    let text = format!(
        "WebSocket frames are masked by the client only: {} of {}'s, {} of {}'s",
        count(masked_a, all_a),
        case.name(a),
        count(masked_b, all_b),
        case.name(b)
    );
    // Who broke it is told by the close code.
    if (masked_a == all_a) != (masked_b == all_b) && (masked_a == 0 || masked_b == 0) {
        out.say("websocket-masks", text, [Ref::Packet(frames[0].number)]);
    }
}

/// Each ping and its pong.
fn pings(case: &Case<'_>, frames: &[Frame<'_>], out: &mut Findings) {
    for (at, ping) in frames.iter().enumerate().filter(|(_, frame)| frame.opcode == 9) {
        let payload = ping.field("websocket.payload.ping");
        let pong = frames[at..].iter().find(|frame| {
            frame.opcode == 10 && frame.from != ping.from && frame.field("websocket.payload.pong") == payload
        });
        let sent = case.packet(ping.number).map(|t| t.at);
        let name = case.name(ping.from);
        let back = pong.and_then(|pong| {
            let arrival =
                case.packet(pong.number)?.arrivals.iter().find(|arrival| arrival.node == ping.from)?;
            Some((pong.number, u64::try_from((arrival.at - sent?).as_nanos()).ok()?))
        });
        match back {
            Some((number, ns)) => {
                let text = format!("{name}'s ping was answered by a pong after {}, a round trip", about(ns));
                out.say("websocket-ping", text, [Ref::Packet(ping.number), Ref::Packet(number)]);
            }
            None => {
                let text = format!(
                    "no pong came back for {name}'s ping: the connection may be dead while TCP still waits"
                );
                out.say("websocket-ping-lost", text, [Ref::Packet(ping.number)]);
            }
        }
    }
}

/// The close handshake.
fn close(case: &Case<'_>, frames: &[Frame<'_>], out: &mut Findings) {
    let Some(first) = frames.iter().find(|frame| frame.opcode == 8) else { return };
    let answer = frames.iter().find(|frame| frame.opcode == 8 && frame.from != first.from);
    let code = first
        .field("websocket.payload.close.status_code")
        .map_or("no code".into(), |code| format!("code {code}"));
    let reason = first
        .field("websocket.payload.close.reason")
        .map_or(String::new(), |reason| format!(" (\u{201c}{reason}\u{201d})"));
    let name = case.name(first.from);
    match answer {
        Some(answer) => {
            let other = case.name(answer.from);
            let text = format!(
                "{name} closed the WebSocket with {code}{reason}, and {other} agreed before TCP ended"
            );
            out.say("websocket-close", text, [Ref::Packet(first.number), Ref::Packet(answer.number)]);
        }
        None => {
            let text = format!("{name} closed the WebSocket with {code}{reason}; nobody answered");
            out.say("websocket-close", text, [Ref::Packet(first.number)]);
        }
    }
}
