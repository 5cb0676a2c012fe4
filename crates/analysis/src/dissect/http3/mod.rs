//! HTTP/3 (RFC 9114): streams by kind, frames, field sections with QPACK.

use std::collections::BTreeMap;

use super::app::Cx;
use super::header::qpack::Qpack;
use super::http1::{MAX_KEPT, dns_in_target};
use super::reader::Reader;
use super::{Field, Layer, Message, dns, header};

/// Longest frame, but for DATA, that is read.
const MAX_FRAME: u64 = 256 << 10;
/// Most bytes of a unidirectional stream's instructions told in words.
const MAX_TOLD: usize = 8;

const DATA: u64 = 0;
const HEADERS: u64 = 1;
const SETTINGS: u64 = 4;
const PUSH_PROMISE: u64 = 5;

/// A connection's streams. Direction 0 is the client's.
#[derive(Debug, Default)]
pub(super) struct Http3 {
    streams: BTreeMap<(u64, usize), Stream>,
    /// Encoders of both directions.
    qpack: [Qpack; 2],
}

#[derive(Debug, Default)]
struct Stream {
    kind: Kind,
    buffer: Vec<u8>,
    /// DATA whose payload is still to come: bytes of the frame in all, and left.
    data: Option<(u64, u64)>,
    body: u64,
    /// A body that is a DNS message.
    kept: Option<Vec<u8>>,
    lost: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// Of a unidirectional stream, before its type was read.
    #[default]
    New,
    /// A request stream, or the control stream: frames.
    Frames,
    Encoder,
    Decoder,
    Other,
}

impl Http3 {
    pub(super) fn feed(&mut self, id: u64, dir: usize, bytes: &[u8], cx: &mut Cx<'_>) {
        let stream = self.streams.entry((id, dir)).or_default();
        if stream.lost {
            return;
        }
        let mut rest = bytes.to_vec();
        if !stream.buffer.is_empty() {
            let mut before = std::mem::take(&mut stream.buffer);
            before.extend_from_slice(bytes);
            rest = before;
        }
        let mut at = 0;
        if stream.kind == Kind::New {
            // RFC 9000 §2.1: bit 1 of the ID is for unidirectional streams, which begin with their type.
            if id & 2 == 0 {
                stream.kind = Kind::Frames;
            } else {
                let mut r = Reader::new(&rest);
                let Some(ty) = r.varint() else {
                    stream.buffer = rest;
                    return;
                };
                at = r.at();
                let (kind, name) = match ty {
                    0 => (Kind::Frames, "control stream"),
                    2 => (Kind::Encoder, "QPACK encoder stream"),
                    3 => (Kind::Decoder, "QPACK decoder stream"),
                    1 => (Kind::Other, "push stream"),
                    _ => (Kind::Other, "reserved stream"),
                };
                stream.kind = kind;
                let message = Message::Http3Frame { ty, stream: id };
                cx.put(Layer::new("HTTP3", format!("{name}[{id}]"), at, message));
            }
        }
        match stream.kind {
            Kind::Frames => self.frames(id, dir, &rest[at..], cx),
            Kind::Encoder if at < rest.len() => {
                let told = self.qpack[dir].instructions(&rest[at..]);
                let mut words: Vec<&str> = told.iter().take(MAX_TOLD).map(String::as_str).collect();
                if told.len() > MAX_TOLD {
                    words.push("…");
                }
                if !words.is_empty() {
                    let table = self.qpack[dir].table.words();
                    let text = format!("QPACK encoder {} ({table})", words.join(", "));
                    cx.put(Layer::new("HTTP3", super::cut(&text), rest.len() - at, Message::Other));
                }
            }
            Kind::New | Kind::Encoder | Kind::Decoder | Kind::Other => {}
        }
    }

    fn frames(&mut self, id: u64, dir: usize, bytes: &[u8], cx: &mut Cx<'_>) {
        let mut rest = bytes;
        loop {
            let Some(stream) = self.streams.get_mut(&(id, dir)) else { return };
            if let Some((all, left)) = stream.data {
                let n = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                if let Some(kept) = stream.kept.as_mut().filter(|k| k.len() + n <= MAX_KEPT) {
                    kept.extend_from_slice(&rest[..n]);
                }
                stream.body += n as u64; // widening
                rest = &rest[n..];
                let left = left - n as u64;
                stream.data = (left > 0).then_some((all, left));
                if left > 0 {
                    break;
                }
                let bytes = usize::try_from(all).unwrap_or(usize::MAX);
                let message =
                    Message::HttpBody { bytes, end: false, from_client: dir == 0, stream: Some(id) };
                cx.put(Layer::new("HTTP3", format!("DATA[{id}] {bytes} B"), bytes, message).own(0));
                continue;
            }
            let mut r = Reader::new(rest);
            let (Some(ty), Some(len)) = (r.varint(), r.varint()) else { break };
            let head = r.at();
            if ty == DATA {
                stream.data = Some((len, len));
                rest = &rest[head..];
                if len == 0 {
                    stream.data = None;
                }
                continue;
            }
            if len > MAX_FRAME {
                stream.lost = true;
                return;
            }
            let Some(payload) = usize::try_from(len).ok().and_then(|n| r.take(n)) else { break };
            let layer = self.frame(id, dir, ty, payload, cx);
            let len = head + payload.len();
            cx.put(Layer { len, header: len, ..layer });
            rest = &rest[len..];
        }
        let left = rest.to_vec();
        if let Some(stream) = self.streams.get_mut(&(id, dir)) {
            stream.buffer = left;
        }
    }

    fn frame(&mut self, id: u64, dir: usize, ty: u64, payload: &[u8], cx: &mut Cx<'_>) -> Layer {
        let plain = |words: String, fields: Vec<Field>| {
            let name = type_name(ty);
            let message = Message::Http3Frame { ty, stream: id };
            Layer::new("HTTP3", super::cut(&format!("{name}[{id}]{words}")), payload.len(), message)
                .with(fields)
        };
        let mut r = Reader::new(payload);
        let mut number = || r.varint().map_or(String::new(), |n| format!(" {n}"));
        match ty {
            HEADERS => self.section(id, dir, "HEADERS", payload, cx),
            PUSH_PROMISE => plain(number(), Vec::new()),
            SETTINGS => {
                let mut texts = Vec::new();
                let mut fields = Vec::new();
                while let (Some(id), Some(value)) = (r.varint(), r.varint()) {
                    let name = setting_name(id);
                    if id == 1 {
                        // What this side accepts is what the other's encoder may use.
                        self.qpack[1 - dir].max_capacity = value;
                    }
                    fields.push(Field::new("http3.settings", format!("{name} {value}")));
                    texts.push(format!(" {name} {value}"));
                }
                plain(texts.concat(), fields)
            }
            3 | 7 | 13 => plain(number(), Vec::new()),
            _ => plain(String::new(), Vec::new()),
        }
    }

    fn section(&mut self, id: u64, dir: usize, name: &str, payload: &[u8], cx: &mut Cx<'_>) -> Layer {
        let qpack = &self.qpack[dir];
        let Some(lines) = qpack.decode(payload) else {
            let text = format!("{name}[{id}] ({} B of fields that cannot be decoded)", payload.len());
            let message = Message::Http3Frame { ty: HEADERS, stream: id };
            return Layer::new("HTTP3", text, payload.len(), message);
        };
        let said = header::words(&lines, "http3.headers.header", id);
        let table = qpack.table.words();
        let saved = said.plain.saturating_sub(payload.len());
        let text = format!("{name}[{id}] {} ({} B, {saved} saved; {table})", said.words, payload.len());
        let mut fields = vec![
            Field::new("http3.headers.table", table),
            Field::new("http3.headers.encoded.length", payload.len()),
            Field::new("http3.headers.decoded.length", said.plain),
        ];
        fields.extend(said.fields);
        if let Some(stream) = self.streams.get_mut(&(id, dir)).filter(|_| said.dns) {
            stream.kept = Some(Vec::new());
        }
        if let Some(layer) = dns_in_target(&said.path) {
            cx.put(layer);
        }
        Layer::new("HTTP3", super::cut(&text), payload.len(), said.message).with(fields)
    }

    /// The end of a stream's direction.
    pub(super) fn end(&mut self, id: u64, dir: usize, cx: &mut Cx<'_>) {
        let Some(stream) = self.streams.remove(&(id, dir)) else { return };
        if let Some(layer) = stream.kept.and_then(|k| dns::message(&k)) {
            cx.put(layer.own(0));
        }
        if stream.body > 0 {
            // The last DATA's layer, when it is at hand, or a message of its own.
            if let Some(Layer { message: Message::HttpBody { end, .. }, .. }) = cx.layers.last_mut() {
                *end = true;
            } else {
                let message =
                    Message::HttpBody { bytes: 0, end: true, from_client: dir == 0, stream: Some(id) };
                cx.put(Layer::new("HTTP3", "", 0, message));
            }
        }
    }
}

fn type_name(ty: u64) -> String {
    let name = match ty {
        DATA => "DATA",
        HEADERS => "HEADERS",
        3 => "CANCEL_PUSH",
        SETTINGS => "SETTINGS",
        PUSH_PROMISE => "PUSH_PROMISE",
        7 => "GOAWAY",
        13 => "MAX_PUSH_ID",
        0xf0700 | 0xf0701 => "PRIORITY_UPDATE",
        other if other >= 0x21 && (other - 0x21).is_multiple_of(0x1f) => "RESERVED",
        other => return format!("UNKNOWN {other:#x}"),
    };
    name.to_string()
}

fn setting_name(id: u64) -> String {
    let name = match id {
        1 => "QPACK_MAX_TABLE_CAPACITY",
        6 => "MAX_FIELD_SECTION_SIZE",
        7 => "QPACK_BLOCKED_STREAMS",
        8 => "ENABLE_CONNECT_PROTOCOL",
        0x33 => "H3_DATAGRAM",
        0x2b60_3742 => "ENABLE_WEBTRANSPORT",
        other if other >= 0x21 && (other - 0x21).is_multiple_of(0x1f) => "RESERVED",
        other => return format!("setting {other:#x}"),
    };
    name.to_string()
}
