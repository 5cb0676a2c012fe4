//! QUIC (RFC 9000, 9001, 9002): what was lost and how it came again, how connections end, who is checked, what an observer sees.

use std::collections::{BTreeMap, BTreeSet};

use wire::Instant;

use super::{Case, Findings, about};
use crate::dissect::{Conversation, Dissection, Layer, Message, QuicFrame, quic_error};
use crate::explain::Ref;
use crate::traffic::Transmission;

/// Losses of one connection that are told one by one.
const MAX_TOLD: usize = 3;
/// Flips of the spin bit that make a measurement.
const MIN_FLIPS: usize = 6;
const PATH_CHALLENGE: u64 = 0x1a;
const PATH_RESPONSE: u64 = 0x1b;

/// A QUIC packet in its datagram.
struct Seen<'a> {
    t: &'a Transmission,
    from_client: bool,
    ty: &'static str,
    number: Option<u64>,
    frames: &'a [QuicFrame],
    layer: &'a Layer,
    /// A router's copy of a datagram that was counted already.
    copy: bool,
}

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    // RFC 8999: a QUIC connection begins with a long header.
    let long = |t: &Transmission| {
        t.view.udp().is_some()
            && t.view.payload().first().is_some_and(|b| b & 0x80 != 0)
            && t.view.payload().len() >= 1200
    };
    if !case.packets().any(long) {
        return;
    }
    let dissection = Dissection::of(case.journal, case.traffic);
    for conversation in dissection.conversations.iter().filter(|c| c.transport == "QUIC") {
        let seen = seen(case, &dissection, conversation);
        unread(&seen, out);
        numbers(&seen, out);
        losses(&seen, out);
        ends(&seen, out);
        paths(&seen, out);
        keys(&seen, out);
        spin(&seen, out);
        qpack(&dissection, conversation, out);
    }
}

fn seen<'a>(case: &Case<'a>, dissection: &'a Dissection, conversation: &Conversation) -> Vec<Seen<'a>> {
    let mut all = Vec::new();
    for number in &conversation.packets {
        let (Some(t), Some(packet)) = (case.packet(*number), dissection.packet(*number)) else { continue };
        let (Some(ip), Some(udp)) = (t.view.inner_ip(), t.view.udp()) else { continue };
        let server = conversation.server;
        let from_client = ip.dst == server.ip() && udp.dst_port == server.port();
        for layer in &packet.layers {
            if let Message::QuicPacket { ty, number, frames, .. } = &layer.message {
                let copy = packet.repeats.is_some();
                all.push(Seen { t, from_client, ty, number: *number, frames, layer, copy });
            }
        }
    }
    all
}

fn side(from_client: bool) -> &'static str {
    if from_client { "client" } else { "server" }
}

/// Packet number spaces (RFC 9000 §12.3).
fn space(ty: &str) -> &str {
    if ty == "0-RTT" { "1-RTT" } else { ty }
}

/// Retry, Version Negotiation, Stateless Reset: packets without keys.
fn unread(seen: &[Seen<'_>], out: &mut Findings) {
    let first = |ty: &str| seen.iter().find(|s| s.ty == ty && !s.copy);
    if let Some(s) = first("Version Negotiation") {
        let text = format!(
            "the server does not speak the client's version and answers with those that it speaks: {}",
            s.layer.summary
        );
        out.say("quic-versions", text, [Ref::Packet(s.t.number)]);
    }
    if let Some(s) = first("Retry") {
        let (n, len) = (s.t.number, s.t.view.payload().len());
        let text = format!(
            "the server keeps nothing of the client's first packet: Retry, {len} bytes, gives it a token that only who \
             receives at that address can bring back"
        );
        let back = seen.iter().find(|s| s.from_client && s.t.number > n && s.ty == "Initial");
        out.say(
            "quic-retry",
            text,
            [Ref::Packet(n)].into_iter().chain(back.map(|s| Ref::Packet(s.t.number))),
        );
    }
    if let Some(s) = first("Stateless Reset") {
        let before = seen.iter().rev().find(|b| b.t.number < s.t.number && b.from_client != s.from_client);
        let text = format!(
            "the {} knows nothing of this connection any more: it answers with a stateless reset, whose last 16 bytes are the \
             token that it gave away while it did",
            side(s.from_client)
        );
        let refs = before.map(|b| Ref::Packet(b.t.number)).into_iter().chain([Ref::Packet(s.t.number)]);
        out.say("quic-reset", text, refs);
    }
}

/// Numbers of packets are never used twice, whatever is sent again.
fn numbers(seen: &[Seen<'_>], out: &mut Findings) {
    for from_client in [true, false] {
        let mut numbers = Vec::new();
        let (mut again, mut had) = (0_usize, BTreeSet::new());
        for s in seen.iter().filter(|s| s.from_client == from_client && !s.copy && space(s.ty) == "1-RTT") {
            let Some(number) = s.number else { continue };
            numbers.push((number, s.t.number));
            let mut repeated = false;
            for frame in s.frames {
                if let QuicFrame::Stream { id, offset, len, .. } = frame {
                    repeated |= *len > 0 && !had.insert((*id, *offset));
                }
            }
            again += usize::from(repeated);
        }
        let different: BTreeSet<u64> = numbers.iter().map(|(number, _)| *number).collect();
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { continue };
        if again == 0 {
            continue;
        }
        let how = if different.len() == numbers.len() { "no number twice" } else { "some numbers twice" };
        let text = format!(
            "the {}'s {} packets with application data have {} numbers, {how}, although {again} of them carry stream bytes \
             that had been sent before: the number says which packet it is, the stream offset where the bytes belong",
            side(from_client),
            numbers.len(),
            different.len(),
        );
        out.say("quic-numbers", text, [Ref::Packet(first.1), Ref::Packet(last.1)]);
    }
}

/// What is in a frame that would be sent again, in words.
fn data(frame: &QuicFrame) -> Option<(Option<u64>, u64, u64, String)> {
    match frame {
        QuicFrame::Stream { id, offset, len, fin } => {
            let end = offset + *len as u64;
            let fin = if *fin { " FIN" } else { "" };
            Some((Some(*id), *offset, end, format!("STREAM[{id}] {offset}:{end}{fin}")))
        }
        QuicFrame::Crypto { offset, len } => {
            let end = offset + *len as u64;
            Some((None, *offset, end, format!("CRYPTO {offset}:{end}")))
        }
        QuicFrame::Ack { .. } | QuicFrame::Close { .. } | QuicFrame::Other { .. } => None,
    }
}

fn losses(seen: &[Seen<'_>], out: &mut Findings) {
    let lost = seen.iter().filter(|s| !s.t.losses.is_empty() && s.number.is_some());
    for s in lost.filter(|s| s.frames.iter().any(|f| data(f).is_some())).take(MAX_TOLD) {
        let Some((id, from, to, words)) = s.frames.iter().find_map(data) else { continue };
        let Some(number) = s.number else { continue };
        let covers = |f: &QuicFrame| {
            data(f).is_some_and(|(i, a, b, _)| i == id && (a < to && from < b || a == from && b == to))
        };
        let later = seen.iter().find(|l| {
            l.t.number > s.t.number
                && l.from_client == s.from_client
                && space(l.ty) == space(s.ty)
                && l.number != s.number
                && !l.copy
                && l.frames.iter().any(covers)
        });
        let (n, ty) = (s.t.number, s.ty);
        let Some(later) = later else {
            let text = format!("{ty} packet {number} with {words} was lost, and its bytes never came again");
            out.say("quic-loss", text, [Ref::Packet(n)]);
            continue;
        };
        let again = later.number.unwrap_or_default();
        let (why, told) = why(seen, s, number, later.t.at);
        let text = format!(
            "{ty} packet {number} with {words} was lost; its bytes came again as packet {again}, {} later: {why}",
            about((later.t.at - s.t.at).as_nanos().try_into().unwrap_or(u64::MAX))
        );
        let refs = [Some(n), told, Some(later.t.number)].into_iter().flatten().map(Ref::Packet);
        out.say("quic-loss", text, refs);
    }
}

/// What told the sender of a loss: ranges that leave a number out, or nothing but time.
fn why(seen: &[Seen<'_>], lost: &Seen<'_>, number: u64, until: Instant) -> (String, Option<u32>) {
    let mut named = None;
    for s in seen.iter().filter(|s| s.from_client != lost.from_client && space(s.ty) == space(lost.ty)) {
        let there = s.t.arrivals.iter().map(|a| a.at).min().is_some_and(|at| at <= until && at >= lost.t.at);
        for frame in s.frames.iter().filter(|_| there) {
            let QuicFrame::Ack { ranges } = frame else { continue };
            let gap = ranges.iter().any(|(low, _)| *low > number)
                && !ranges.iter().any(|(low, high)| (*low..=*high).contains(&number));
            if gap {
                named = Some((s, ranges));
            }
        }
    }
    match named {
        Some((s, ranges)) => {
            let words: Vec<String> =
                ranges.iter().take(4).map(|(low, high)| format!("{low}-{high}")).collect();
            (format!("ACK {} leaves {number} out", words.join(" ")), Some(s.t.number))
        }
        None => ("no ACK told of it, but the probe timeout (PTO) ran out".into(), None),
    }
}

/// Who ends the connection, and why. The other side's CONNECTION_CLOSE is an answer (RFC 9000 §10.2.2).
fn ends(seen: &[Seen<'_>], out: &mut Findings) {
    let closes = |s: &&Seen<'_>| s.frames.iter().any(|f| matches!(f, QuicFrame::Close { .. }));
    let Some(from_client) = seen.iter().find(closes).map(|s| s.from_client) else { return };
    let mut said = BTreeSet::new();
    for s in seen.iter().filter(|s| s.from_client == from_client && !s.copy) {
        for frame in s.frames {
            let QuicFrame::Close { code, application, reason } = frame else { continue };
            let reason = if reason.is_empty() { String::new() } else { format!(" \"{reason}\"") };
            // RFC 9000 §10.2.3: before the handshake is done an application's code is not told.
            let name = match (application, *code) {
                (true, 0) => "code 0 of the application".to_string(),
                (true, 0x100) => "H3_NO_ERROR".to_string(),
                (true, code) => format!("code {code:#x} of the application"),
                (false, code) => quic_error(code),
            };
            if said.insert((name.clone(), reason.clone())) {
                let text = format!("the {} closes the connection: {name}{reason}", side(from_client));
                out.say("quic-close", text, [Ref::Packet(s.t.number)]);
            }
        }
    }
}

/// Addresses that are asked to prove themselves.
fn paths(seen: &[Seen<'_>], out: &mut Findings) {
    let has = |s: &Seen<'_>, ty: u64| s.frames.contains(&QuicFrame::Other { ty });
    let mut asked = BTreeSet::new();
    for s in seen.iter().filter(|s| !s.copy && has(s, PATH_CHALLENGE)) {
        let (Some(ip), Some(udp)) = (s.t.view.inner_ip(), s.t.view.udp()) else { continue };
        if !asked.insert((ip.dst, udp.dst_port)) {
            continue;
        }
        let answer = seen.iter().find(|a| {
            a.t.number > s.t.number
                && a.from_client != s.from_client
                && has(a, PATH_RESPONSE)
                && a.t.view.inner_ip().is_some_and(|from| from.src == ip.dst)
        });
        let outcome = if answer.is_some() { "PATH_RESPONSE says they do" } else { "nothing came back" };
        let text = format!(
            "the {} asks by PATH_CHALLENGE whether packets to {}:{} reach its peer: {outcome}",
            side(s.from_client),
            ip.dst,
            udp.dst_port
        );
        let refs = [Some(s.t.number), answer.map(|a| a.t.number)].into_iter().flatten().map(Ref::Packet);
        out.say("quic-path", text, refs);
    }
}

fn detail<'a>(s: &'a Seen<'_>, name: &str) -> Option<&'a str> {
    s.layer.details.iter().find(|field| field.name == name).map(|field| field.value.as_str())
}

/// Keys that change in the middle.
fn keys(seen: &[Seen<'_>], out: &mut Findings) {
    let mut refs = Vec::new();
    let mut phases = BTreeSet::new();
    for s in seen.iter().filter(|s| !s.copy) {
        let phase = detail(s, "quic.key_phase").filter(|phase| *phase != "0");
        if let Some(phase) = phase.filter(|phase| phases.insert((s.from_client, (*phase).to_string()))) {
            refs.push((s, phase.to_string()));
        }
    }
    let Some((first, _)) = refs.first() else { return };
    let updates = phases.iter().filter(|(from_client, _)| *from_client == first.from_client).count();
    let text = format!(
        "the {} flips the key phase bit, and its peer follows: {updates} key update{} without any handshake message, since both \
         derive the next keys from the last ones",
        side(first.from_client),
        if updates == 1 { "" } else { "s" },
    );
    out.say("quic-keys", text, refs.iter().map(|(s, _)| Ref::Packet(s.t.number)));
}

/// What somebody on the way measures who can read nothing.
fn spin(seen: &[Seen<'_>], out: &mut Findings) {
    let mut flips: Vec<(Instant, u32)> = Vec::new();
    let mut last = None;
    for s in seen.iter().filter(|s| s.from_client && !s.copy && s.ty == "1-RTT") {
        let bit = detail(s, "quic.spin_bit");
        if last.is_some() && bit != last {
            flips.push((s.t.at, s.t.number));
        }
        last = bit;
    }
    if flips.len() < MIN_FLIPS {
        return;
    }
    let mut spans: Vec<_> = flips.windows(2).map(|w| w[1].0 - w[0].0).collect();
    spans.sort_unstable();
    let median = u64::try_from(spans[spans.len() / 2].as_nanos()).unwrap_or(u64::MAX);
    // Where nobody had anything to send the bit tells nothing, and a bit that chance sets has no measure.
    let near =
        |span: &&core::time::Duration| span.as_nanos().abs_diff(u128::from(median)) <= u128::from(median) / 4;
    if spans.iter().filter(near).count() * 4 < spans.len() * 3 {
        return;
    }
    let text = format!(
        "the spin bit of the client's packets flips {} times, {} apart in the median: the round trip time, for whoever is on \
         the way and can read nothing else",
        flips.len(),
        about(median)
    );
    out.say("quic-spin", text, flips.iter().map(|(_, n)| Ref::Packet(*n)));
}

/// What QPACK saved, and by which tables.
fn qpack(dissection: &Dissection, conversation: &Conversation, out: &mut Findings) {
    let mut sums: BTreeMap<bool, (usize, usize, usize)> = BTreeMap::new();
    let (mut refs, mut inserts) = (Vec::new(), Vec::new());
    for number in &conversation.packets {
        let Some(packet) = dissection.packet(*number).filter(|p| p.repeats.is_none()) else { continue };
        for layer in packet.layers.iter().filter(|l| l.protocol == "HTTP3") {
            let value = |name: &str| {
                let field = layer.details.iter().find(|field| field.name == name)?;
                field.value.parse::<usize>().ok()
            };
            if let (Some(packed), Some(plain)) =
                (value("http3.headers.encoded.length"), value("http3.headers.decoded.length"))
            {
                let request = matches!(layer.message, Message::HttpRequest { .. });
                let sum = sums.entry(!request).or_default();
                *sum = (sum.0 + 1, sum.1 + packed, sum.2 + plain);
                refs.push(Ref::Packet(*number));
            }
            // The stream's own beginning inserts nothing.
            if layer.message == Message::Other && layer.summary.starts_with("QPACK encoder ") {
                inserts.push(Ref::Packet(*number));
            }
        }
    }
    let words: Vec<String> = sums
        .iter()
        .map(|(down, (n, packed, plain))| {
            let what = if *down { "answers" } else { "requests" };
            format!("the heads of {n} {what} are {packed} bytes instead of {plain}")
        })
        .collect();
    if words.is_empty() {
        return;
    }
    let tables = if inserts.is_empty() {
        "nobody inserts into a dynamic table, so only the static table and Huffman's code save"
    } else {
        "the encoders use a dynamic table too"
    };
    let text = format!("QPACK: {}; {tables}", words.join(", "));
    out.say("qpack", text, refs.into_iter().chain(inserts));
}
