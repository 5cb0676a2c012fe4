//! WebSocket frames (RFC 6455 §5), as they follow a 101 response; permessage-deflate (RFC 7692) is named, not unpacked.

use super::app::Cx;
use super::{Field, Layer, Message, hex, lossy};

/// Bytes of a payload that are kept for its words.
const KEPT: usize = 125;

/// A connection after its upgrade.
#[derive(Debug, Default)]
pub(super) struct WebSocket {
    sides: [Side; 2],
}

#[derive(Debug, Default)]
struct Side {
    /// A frame's header that is not complete.
    buffer: Vec<u8>,
    /// A frame whose payload is still to come.
    open: Option<(Frame, u64)>,
    lost: bool,
}

#[derive(Clone, Debug)]
struct Frame {
    fin: bool,
    compressed: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    header: usize,
    len: u64,
    /// The payload's beginning, unmasked.
    kept: Vec<u8>,
}

/// Names of close codes (RFC 6455 §7.4.1 and IANA's register).
fn close_name(code: u16) -> &'static str {
    match code {
        1000 => "Normal Closure",
        1001 => "Going Away",
        1002 => "Protocol error",
        1003 => "Unsupported Data",
        1007 => "Invalid frame payload data",
        1008 => "Policy Violation",
        1009 => "Message Too Big",
        1010 => "Mandatory Extension",
        1011 => "Internal Error",
        1012 => "Service Restart",
        1013 => "Try Again Later",
        1014 => "Bad Gateway",
        3000..=3999 => "registered",
        4000..=4999 => "private",
        _ => "reserved",
    }
}

impl Frame {
    /// A header, when there is a whole one.
    fn read(bytes: &[u8]) -> Option<Frame> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let mut at = 2;
        let len = match second & 0x7f {
            126 => {
                at = 4;
                u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))
            }
            127 => {
                at = 10;
                u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)
            }
            n => u64::from(n),
        };
        let mut mask = None;
        if second & 0x80 != 0 {
            mask = Some(bytes.get(at..at + 4)?.try_into().ok()?);
            at += 4;
        }
        let (fin, compressed) = (first & 0x80 != 0, first & 0x40 != 0);
        Some(Frame { fin, compressed, opcode: first & 0xf, mask, header: at, len, kept: Vec::new() })
    }

    fn keep(&mut self, bytes: &[u8]) {
        for b in bytes {
            if self.kept.len() >= KEPT {
                return;
            }
            let mask = self.mask.map_or(0, |m| m[self.kept.len() % 4]);
            self.kept.push(b ^ mask);
        }
    }

    fn layer(&self) -> Layer {
        let name = match self.opcode {
            0 => "Continuation",
            1 => "Text",
            2 => "Binary",
            8 => "Connection Close",
            9 => "Ping",
            10 => "Pong",
            _ => "Unknown",
        };
        let fin = if self.fin { " [FIN]" } else { "" };
        let masked = if self.mask.is_some() { " [MASKED]" } else { "" };
        let compressed = if self.compressed { " [COMPRESSED]" } else { "" };
        let mut text = format!("{name}{fin}{masked}{compressed} {} B", self.len);
        let mut fields = vec![
            Field::new("websocket.fin", u8::from(self.fin)).at(0, 1),
            Field::new("websocket.opcode", self.opcode).at(0, 1),
            Field::new("websocket.mask", u8::from(self.mask.is_some())).at(1, 2),
            Field::new("websocket.payload_length", self.len),
        ];
        if let Some(mask) = self.mask {
            let wire: Vec<u8> = self.kept.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect();
            let at = self.header - mask.len();
            fields.push(Field::new("websocket.masking_key", hex(&mask)).at(at, self.header));
            fields.push(Field::new("websocket.masked_payload", hex(&wire)));
        }
        let plain = !self.compressed && !self.kept.is_empty();
        match (self.opcode, self.kept.split_first_chunk::<2>()) {
            (8, Some((code, reason))) => {
                let code = u16::from_be_bytes(*code);
                text = format!("{text} {code} {} {}", close_name(code), lossy(reason));
                fields.push(Field::new("websocket.payload.close.status_code", code));
                if !reason.is_empty() {
                    fields.push(Field::new("websocket.payload.close.reason", lossy(reason)));
                }
            }
            (1, _) if plain => {
                text = format!("{text} \"{}\"", lossy(&self.kept));
                fields.push(Field::new("websocket.payload.text", lossy(&self.kept)));
            }
            (9 | 10, _) if plain => {
                let name = if self.opcode == 9 { "websocket.payload.ping" } else { "websocket.payload.pong" };
                text = format!("{text} \"{}\"", lossy(&self.kept));
                fields.push(Field::new(name, hex(&self.kept)));
            }
            _ if plain => fields.push(Field::new("websocket.payload", hex(&self.kept))),
            _ => {}
        }
        let bytes = usize::try_from(self.len).unwrap_or(usize::MAX);
        let message = Message::WebSocketFrame { opcode: self.opcode, fin: self.fin, bytes };
        let len = self.header.saturating_add(bytes);
        Layer::new("WebSocket", text.trim_end().to_string(), len, message).own(self.header).with(fields)
    }
}

impl WebSocket {
    pub(super) fn feed(&mut self, dir: usize, bytes: &[u8], cx: &mut Cx<'_>) {
        let side = &mut self.sides[dir];
        let mut rest = bytes;
        while !rest.is_empty() && !side.lost {
            if side.open.is_none() {
                // A header has at most 14 bytes: only those are put together.
                let old = side.buffer.len();
                side.buffer.extend_from_slice(&rest[..rest.len().min(14)]);
                let Some(frame) = Frame::read(&side.buffer) else { return };
                rest = &rest[frame.header.saturating_sub(old).min(rest.len())..];
                side.buffer.clear();
                let len = frame.len;
                side.open = Some((frame, len));
            }
            let Some((frame, left)) = &mut side.open else { return };
            let n = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
            frame.keep(&rest[..n]);
            *left -= n as u64; // widening
            rest = &rest[n..];
            if *left == 0 {
                cx.put(frame.layer());
                side.open = None;
            }
        }
    }

    pub(super) fn lost(&mut self, dir: usize, missing: u64) {
        let side = &mut self.sides[dir];
        match &mut side.open {
            Some((_, left)) if *left > missing => *left -= missing,
            _ => side.lost = true,
        }
    }

    pub(super) fn part_of(&self, dir: usize) -> Option<&'static str> {
        let side = &self.sides[dir];
        (side.open.is_some() || !side.buffer.is_empty()).then_some("WebSocket")
    }
}
