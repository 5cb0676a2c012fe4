//! HTTP/2 over a byte stream (RFC 9113): frames, header blocks with both directions' dynamic tables, bodies' ends.

mod frame;
mod grpc;

use std::collections::BTreeMap;

use super::app::Cx;
use super::header::{self, Hpack};
use super::http1::{MAX_KEPT, dns_in_target};
use super::{Field, Layer, Message, dns};
use frame::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADER, HEADERS, Header, PADDED, PRIORITY, PUSH_PROMISE,
    SETTINGS,
};

/// What a client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest frame, but for DATA, that is read; longer ones are passed over.
const MAX_FRAME: usize = 256 << 10;
/// Longest header block.
const MAX_BLOCK: usize = 256 << 10;
/// Ends a stream in both directions.
const RST_STREAM: u8 = 3;
/// Most streams whose bodies are looked into.
const MAX_STREAMS: usize = 1000;

/// A connection.
#[derive(Debug, Default)]
pub(super) struct Http2 {
    sides: [Side; 2],
    client: Option<usize>,
}

#[derive(Debug, Default)]
struct Side {
    buffer: Vec<u8>,
    /// The preface has been seen, or was not to be expected.
    begun: bool,
    /// A DATA frame, or one too long to be read: its header and the payload that is still to come.
    long: Option<(Header, usize)>,
    hpack: Hpack,
    /// A header block that is not complete.
    block: Option<(Block, Vec<u8>)>,
    /// Bodies that are DNS messages, by stream.
    kept: BTreeMap<u32, Vec<u8>>,
    /// Bodies that are messages of gRPC, by stream.
    grpc: BTreeMap<u32, grpc::Messages>,
    /// Bytes were never seen.
    lost: bool,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    stream: u32,
    promised: Option<u32>,
    end_stream: bool,
}

/// Whether a direction begins with the preface, or a server's SETTINGS. `None`: too short to tell.
pub(super) fn looks_like(bytes: &[u8]) -> Option<bool> {
    let n = PREFACE.len().min(bytes.len());
    if bytes[..n] == PREFACE[..n] {
        return (n == PREFACE.len()).then_some(true);
    }
    // A first frame of a server: SETTINGS of stream 0 without flags, a multiple of six bytes (RFC 9113 §6.5).
    let head = Header::read(bytes);
    let fits = |h: &Header| {
        h.ty == SETTINGS && h.flags == 0 && h.stream == 0 && h.len.is_multiple_of(6) && h.len <= 120
    };
    match head {
        Some(h) => Some(fits(&h)),
        None => {
            let begins = [(0, 0), (1, 0), (3, SETTINGS), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0)];
            let so_far = begins.iter().all(|(i, b)| bytes.get(*i).is_none_or(|x| x == b));
            if so_far { None } else { Some(false) }
        }
    }
}

impl Http2 {
    /// After `Upgrade: h2c` (RFC 7540 §3.2): the server's side begins with a frame.
    pub(super) fn new() -> Http2 {
        Http2::default()
    }

    pub(super) fn feed(&mut self, dir: usize, bytes: &[u8], cx: &mut Cx<'_>) {
        let side = &mut self.sides[dir];
        if side.lost {
            return;
        }
        let mut buffer = std::mem::take(&mut side.buffer);
        buffer.extend_from_slice(bytes);
        let mut rest = &buffer[..];
        if !side.begun {
            let n = PREFACE.len().min(rest.len());
            if rest[..n] == PREFACE[..n] {
                if n < PREFACE.len() {
                    side.buffer = buffer;
                    return;
                }
                self.client = Some(dir);
                cx.put(Layer::new("HTTP2", "Magic", n, Message::Other));
                rest = &rest[n..];
            }
            side.begun = true;
        }
        loop {
            let side = &mut self.sides[dir];
            if let Some((header, left)) = side.long {
                let n = left.min(rest.len());
                if let Some(kept) = side.kept.get_mut(&header.stream).filter(|k| k.len() + n <= MAX_KEPT) {
                    kept.extend_from_slice(&rest[..n]);
                }
                if let Some(messages) = side.grpc.get_mut(&header.stream) {
                    messages.feed(&rest[..n]);
                }
                rest = &rest[n..];
                side.long = Some((header, left - n));
                if left > n {
                    break;
                }
                side.long = None;
                self.long_frame(dir, header, cx);
                continue;
            }
            let Some(header) = Header::read(rest) else { break };
            if header.ty == DATA && !header.has(PADDED) || header.len > MAX_FRAME {
                side.long = Some((header, header.len));
                rest = &rest[HEADER..];
                continue;
            }
            let Some(payload) = rest.get(HEADER..HEADER + header.len) else { break };
            self.frame(dir, header, payload, cx);
            rest = &rest[HEADER + header.len..];
        }
        let left = rest.to_vec();
        self.sides[dir].buffer = left;
    }

    pub(super) fn lost(&mut self, dir: usize, missing: u64) {
        let side = &mut self.sides[dir];
        match &mut side.long {
            // Inside of a body nothing else is lost.
            Some((header, left)) if *left as u64 > missing => {
                *left -= usize::try_from(missing).unwrap_or(0);
                side.grpc.remove(&header.stream);
            }
            _ => side.lost = true,
        }
    }

    pub(super) fn part_of(&self, dir: usize) -> Option<&'static str> {
        let side = &self.sides[dir];
        (side.long.is_some() || !side.buffer.is_empty()).then_some("HTTP2")
    }

    /// The end of a frame whose payload was not kept.
    fn long_frame(&mut self, dir: usize, header: Header, cx: &mut Cx<'_>) {
        if header.ty == DATA {
            self.data(dir, header, header.len, cx);
        } else {
            let message = Message::Http2Frame { ty: header.ty, stream: header.stream };
            let text = format!("{} ({} B)", header.name(), header.len);
            cx.put(Layer::new("HTTP2", text, HEADER + header.len, message).with(header.fields()));
        }
    }

    fn data(&mut self, dir: usize, header: Header, bytes: usize, cx: &mut Cx<'_>) {
        let end = header.has(END_STREAM);
        let from_client = self.client == Some(dir);
        let message = Message::HttpBody { bytes, end, from_client, stream: Some(header.stream.into()) };
        let text = format!("{} {bytes} B{}", header.name(), if end { " END_STREAM" } else { "" });
        let layer = Layer::new("HTTP2", text, HEADER + header.len, message).with(header.fields());
        cx.put(layer.own(HEADER + header.len - bytes));
        if let Some(messages) = self.sides[dir].grpc.get_mut(&header.stream) {
            messages.told().for_each(|layer| cx.put(layer));
            if end {
                self.sides[dir].grpc.remove(&header.stream);
            }
        }
        if end && let Some(layer) = self.sides[dir].kept.remove(&header.stream).and_then(|k| dns::message(&k))
        {
            cx.put(layer.own(0));
        }
    }

    fn frame(&mut self, dir: usize, header: Header, payload: &[u8], cx: &mut Cx<'_>) {
        let block = match header.ty {
            DATA => {
                // Padded: the first byte is how much.
                let padding = payload.first().map_or(0, |p| usize::from(*p) + 1);
                let content =
                    payload.get(1..(payload.len() + 1).saturating_sub(padding).max(1)).unwrap_or_default();
                if let Some(kept) = self.sides[dir]
                    .kept
                    .get_mut(&header.stream)
                    .filter(|k| k.len() + content.len() <= MAX_KEPT)
                {
                    kept.extend_from_slice(content);
                }
                if let Some(messages) = self.sides[dir].grpc.get_mut(&header.stream) {
                    messages.feed(content);
                }
                return self.data(dir, header, content.len(), cx);
            }
            HEADERS | PUSH_PROMISE => fragment(header, payload),
            CONTINUATION => self.sides[dir].block.take().map(|(block, mut bytes)| {
                if bytes.len() + payload.len() <= MAX_BLOCK {
                    bytes.extend_from_slice(payload);
                }
                (block, bytes)
            }),
            ty => {
                if ty == RST_STREAM {
                    self.sides.iter_mut().for_each(|side| drop(side.grpc.remove(&header.stream)));
                }
                cx.put(header.small(payload));
                return;
            }
        };
        let Some((block, bytes)) = block else {
            cx.put(header.small(payload));
            return;
        };
        if header.has(END_HEADERS) {
            self.block(dir, header, block, &bytes, cx);
        } else {
            let message = Message::Http2Frame { ty: header.ty, stream: header.stream };
            let text = format!("{} goes on", header.name());
            cx.put(Layer::new("HTTP2", text, HEADER + header.len, message).with(header.fields()));
            self.sides[dir].block = Some((block, bytes));
        }
    }

    /// A complete header block, told at the frame that completes it.
    fn block(&mut self, dir: usize, header: Header, block: Block, bytes: &[u8], cx: &mut Cx<'_>) {
        let side = &mut self.sides[dir];
        let mut fields = header.fields();
        let Some(lines) = side.hpack.decode(bytes) else {
            let message = Message::Http2Frame { ty: header.ty, stream: header.stream };
            let text = format!("{} ({} B of fields that cannot be decoded)", header.name(), bytes.len());
            cx.put(Layer::new("HTTP2", text, HEADER + header.len, message).with(fields));
            return;
        };
        let stream = block.promised.unwrap_or(block.stream);
        let said = header::words(&lines, "http2.header", stream.into());
        let table = side.hpack.table.words();
        let promised = block.promised.map_or(String::new(), |p| format!(" promises {p}"));
        let end = if block.end_stream && !said.is_request { " END_STREAM" } else { "" };
        let saved = said.plain.saturating_sub(bytes.len());
        let text = format!(
            "{}{promised} {}{end} ({} B, {saved} saved; {table})",
            header.name(),
            said.words,
            bytes.len()
        );
        fields.push(Field::new("http2.headers.size", bytes.len()));
        fields.push(Field::new("http2.headers.plain", said.plain));
        fields.push(Field::new("http2.headers.table", table));
        fields.extend(said.fields);
        if said.is_request && block.promised.is_none() {
            self.client = Some(dir);
        }
        let side = &mut self.sides[dir];
        if said.dns && !block.end_stream && side.kept.len() < MAX_STREAMS {
            side.kept.insert(stream, Vec::new());
        }
        // Trailers and resets end a stream as well; what remains of streams is bounded.
        if block.end_stream {
            side.grpc.remove(&stream);
        } else if said.grpc && side.grpc.len() < MAX_STREAMS {
            side.grpc.insert(stream, grpc::Messages::default());
        }
        let len = HEADER + header.len;
        let layer = Layer::new("HTTP2", super::cut(&text), len, said.message).with(fields);
        cx.put(layer);
        if let Some(layer) = dns_in_target(&said.path) {
            cx.put(layer);
        }
    }
}

/// The part of a header block in HEADERS or PUSH_PROMISE: without padding, priority, promised stream.
fn fragment(header: Header, payload: &[u8]) -> Option<(Block, Vec<u8>)> {
    let mut rest = payload;
    if header.has(PADDED) {
        let (first, after) = rest.split_first()?;
        rest = after.get(..after.len().checked_sub(usize::from(*first))?)?;
    }
    if header.ty == HEADERS && header.has(PRIORITY) {
        rest = rest.get(5..)?;
    }
    let mut promised = None;
    if header.ty == PUSH_PROMISE {
        let (id, after) = rest.split_at_checked(4)?;
        promised = Some(u32::from_be_bytes([id[0] & 0x7f, id[1], id[2], id[3]]));
        rest = after;
    }
    let end_stream = header.ty == HEADERS && header.has(END_STREAM);
    Some((Block { stream: header.stream, promised, end_stream }, rest.to_vec()))
}
