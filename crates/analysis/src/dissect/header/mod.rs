//! Compressed header fields: HPACK (RFC 7541) here, what QPACK (RFC 9204) shares with it beside it, and both in words.
//!
//! The decoder remembers how each field was coded, so that a reader sees what the dynamic table saves.

pub(super) mod huffman;
pub(super) mod qpack;
pub(super) mod tables;

use std::collections::VecDeque;
use std::fmt::Write as _;

use super::{Field, Message, lossy};

/// Most bytes of a dynamic table that are kept, whatever was agreed on.
const MAX_TABLE: usize = 1 << 20;
/// Most bytes that one block may become: a block of references can stand for far more than its length.
const MAX_LIST: usize = 256 << 10;
/// Most fields of a block.
const MAX_FIELDS: usize = 1000;
/// What an entry costs beside its text (RFC 7541 §4.1).
const ENTRY: usize = 32;

/// A name and a value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// A decoded field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// How it was coded.
    pub(super) how: String,
}

impl Line {
    pub(super) fn new(pair: Pair, how: String) -> Line {
        Line { name: pair.0, value: pair.1, how }
    }
}

/// A dynamic table: the newest entry first.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    entries: VecDeque<Pair>,
    size: usize,
    /// As agreed, at most [`MAX_TABLE`].
    max: usize,
    /// Entries ever inserted (QPACK counts them).
    pub(super) inserted: u64,
}

impl Table {
    pub(super) fn new(max: usize) -> Table {
        Table { max: max.min(MAX_TABLE), ..Table::default() }
    }

    pub(super) fn resize(&mut self, max: usize) {
        self.max = max.min(MAX_TABLE);
        self.evict(0);
    }

    fn evict(&mut self, room_for: usize) {
        while self.size + room_for > self.max {
            let Some((name, value)) = self.entries.pop_back() else { break };
            self.size -= name.len() + value.len() + ENTRY;
        }
    }

    pub(super) fn insert(&mut self, pair: Pair) {
        let size = pair.0.len() + pair.1.len() + ENTRY;
        self.inserted += 1;
        self.evict(size);
        if size <= self.max {
            self.size += size;
            self.entries.push_front(pair);
        }
    }

    /// The entry so many before the newest.
    pub(super) fn get(&self, back: usize) -> Option<&Pair> {
        self.entries.get(back)
    }

    /// `table 5 entries 312 B`.
    pub(super) fn words(&self) -> String {
        let n = self.entries.len();
        format!("table {n} {} {} B", if n == 1 { "entry" } else { "entries" }, self.size)
    }
}

/// An integer behind `bits` bits of prefix (RFC 7541 §5.1). `at` moves on.
pub(super) fn integer(bytes: &[u8], at: &mut usize, bits: u8) -> Option<usize> {
    let mask = (1_u16 << bits) - 1;
    let first = u16::from(*bytes.get(*at)?) & mask;
    *at += 1;
    let mut value = usize::from(first);
    if first < mask {
        return Some(value);
    }
    for shift in (0..35).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value = value.checked_add(usize::from(byte & 0x7f).checked_shl(shift)?)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A string behind `bits` bits of length and the Huffman bit above them (RFC 7541 §5.2); whether it was Huffman-coded.
pub(super) fn string(bytes: &[u8], at: &mut usize, bits: u8) -> Option<(Vec<u8>, bool)> {
    let coded = bytes.get(*at)? >> bits & 1 == 1;
    let len = integer(bytes, at, bits)?;
    let text = bytes.get(*at..at.checked_add(len)?)?;
    *at += len;
    let text = if coded { huffman::decode(text)? } else { text.to_vec() };
    Some((text, coded))
}

/// HPACK's decoder of one direction.
#[derive(Clone, Debug)]
pub(super) struct Hpack {
    pub(super) table: Table,
}

impl Default for Hpack {
    fn default() -> Hpack {
        // RFC 9113 §6.5.2: SETTINGS_HEADER_TABLE_SIZE is 4,096 unless the peer says otherwise.
        Hpack { table: Table::new(4096) }
    }
}

impl Hpack {
    fn entry(&self, index: usize) -> Option<(Pair, String)> {
        let bytes = |s: &str| s.as_bytes().to_vec();
        match index {
            0 => None,
            1..=61 => {
                let (name, value) = tables::HPACK[index - 1];
                Some(((bytes(name), bytes(value)), format!("static {index}")))
            }
            _ => self.table.get(index - 62).map(|p| (p.clone(), format!("dynamic {index}"))),
        }
    }

    /// A whole block. `None` when it is malformed, or its table's beginning was not seen.
    pub(super) fn decode(&mut self, block: &[u8]) -> Option<Vec<Line>> {
        let (mut at, mut size) = (0, 0);
        let mut lines = Vec::new();
        while let Some(&first) = block.get(at) {
            let line = if first & 0x80 != 0 {
                let (pair, from) = self.entry(integer(block, &mut at, 7)?)?;
                Line::new(pair, format!("indexed, {from}"))
            } else if first & 0xe0 == 0x20 {
                let max = integer(block, &mut at, 5)?;
                self.table.resize(max);
                continue;
            } else {
                let (bits, how) = match first >> 4 {
                    0 => (4, "not added"),
                    1 => (4, "never indexed"),
                    _ => (6, "added"),
                };
                let index = integer(block, &mut at, bits)?;
                let (name, name_from) = if index == 0 {
                    let (name, coded) = string(block, &mut at, 7)?;
                    (name, if coded { "Huffman name".to_string() } else { "literal name".to_string() })
                } else {
                    let ((name, _), from) = self.entry(index)?;
                    (name, format!("name {from}"))
                };
                let (value, coded) = string(block, &mut at, 7)?;
                let value_from = if coded { "Huffman value" } else { "literal value" };
                if bits == 6 {
                    self.table.insert((name.clone(), value.clone()));
                }
                Line::new((name, value), format!("{name_from}, {value_from}, {how}"))
            };
            size += line.name.len() + line.value.len();
            if size > MAX_LIST || lines.len() >= MAX_FIELDS {
                return None;
            }
            lines.push(line);
        }
        Some(lines)
    }
}

/// A block in words: `GET /a.js`, `200 text/html`, `trailers`; what it is; its fields.
pub(super) struct Said {
    pub(super) words: String,
    pub(super) message: Message,
    pub(super) fields: Vec<Field>,
    /// The text of all fields together: what they would take without compression.
    pub(super) plain: usize,
    /// Of `application/dns-message`.
    pub(super) dns: bool,
    /// Of `application/grpc`.
    pub(super) grpc: bool,
    pub(super) path: String,
    pub(super) is_request: bool,
}

/// Fields besides the pseudo fields that are worth their room in a line.
const TOLD: [&str; 7] =
    ["location", "grpc-timeout", "grpc-status", "grpc-message", "content-encoding", "range", "content-range"];

/// A status of gRPC with its name (gRPC's statuscodes.md).
fn grpc_status(code: &str) -> String {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    match code.parse::<usize>().ok().and_then(|n| NAMES.get(n)) {
        Some(name) => format!("{code} {name}"),
        None => code.to_string(),
    }
}

/// Puts a block's fields in words. `prefix` is Wireshark's: `http2.header`, `http3.headers.header`.
pub(super) fn words(lines: &[Line], prefix: &'static str, stream: u64) -> Said {
    let value = |name: &str| lines.iter().find(|l| l.name == name.as_bytes()).map(|l| lossy(&l.value));
    let (method, status) = (value(":method"), value(":status"));
    let kind = value("content-type").map(|v| v.split(';').next().unwrap_or_default().to_string());
    let path = value(":path").unwrap_or_default();
    let mut text;
    let is_request = method.is_some();
    let message;
    if let Some(method) = method {
        let authority = value(":authority").unwrap_or_default();
        text = if path.is_empty() { format!("{method} {authority}") } else { format!("{method} {path}") };
        if let Some(protocol) = value(":protocol") {
            let _ = write!(text, " ({protocol})");
        }
        message = Message::HttpRequest { method, target: path.clone(), authority, stream: Some(stream) };
    } else if let Some(status) = status {
        text = status.clone();
        if let Some(kind) = &kind {
            let _ = write!(text, " {kind}");
        }
        if let Some(len) = value("content-length") {
            let _ = write!(text, " {len} B");
        }
        message = Message::HttpResponse { status: status.parse().unwrap_or(0), stream: Some(stream) };
    } else {
        text = "trailers".to_string();
        message = Message::Other;
    }
    for name in TOLD {
        if let Some(mut value) = value(name) {
            if name == "grpc-status" {
                value = grpc_status(&value);
            }
            let _ = write!(text, " {name}: {value}");
        }
    }
    let field = |l: &Line| {
        let coded = Field::new(format!("{prefix}.repr"), &l.how);
        Field::new(prefix, format!("{}: {}", lossy(&l.name), lossy(&l.value))).of(vec![coded])
    };
    let fields = lines.iter().map(field).collect();
    let plain = lines.iter().map(|l| l.name.len() + l.value.len()).sum();
    let dns = kind.as_deref() == Some("application/dns-message");
    let grpc = kind.as_deref().is_some_and(|kind| kind.starts_with("application/grpc"));
    Said { words: text, message, fields, plain, dns, grpc, path, is_request }
}

#[cfg(test)]
mod tests {
    use super::{Hpack, integer};

    #[test]
    fn integers_are_those_of_rfc_7541_appendix_c_1() {
        assert_eq!(integer(&[0x1f, 0x9a, 0x0a], &mut 0, 5), Some(1337));
        assert_eq!(integer(&[0x0a], &mut 0, 5), Some(10));
        assert_eq!(integer(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], &mut 0, 5), None);
    }

    #[test]
    fn requests_of_rfc_7541_appendix_c_4_fill_the_table() {
        let mut hpack = Hpack::default();
        let blocks: [&[u8]; 3] = [
            &[
                0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90,
                0xf4, 0xff,
            ],
            &[0x82, 0x86, 0x84, 0xbe, 0x58, 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf],
            &[
                0x82, 0x87, 0x85, 0xbf, 0x40, 0x88, 0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f, 0x89,
                0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf,
            ],
        ];
        let tables = ["table 1 entry 57 B", "table 2 entries 110 B", "table 3 entries 164 B"];
        let texts = ["GET / http", "GET / http", "GET /index.html https"];
        for ((block, table), text) in blocks.iter().zip(tables).zip(texts) {
            let lines = hpack.decode(block).expect("the RFC's own");
            let value = |i: usize| String::from_utf8_lossy(&lines[i].value).into_owned();
            assert_eq!(format!("{} {} {}", value(0), value(2), value(1)), text);
            assert_eq!(value(3), "www.example.com");
            assert_eq!(hpack.table.words(), table);
        }
    }

    #[test]
    fn a_table_keeps_to_its_size_and_unknown_indices_are_refused() {
        let mut hpack = Hpack::default();
        assert!(hpack.decode(&[0xbe]).is_none(), "62 is not there yet");
        assert!(hpack.decode(&[0x40, 1, b'a', 1, b'b', 0xbe]).is_some());
        assert_eq!(hpack.decode(&[0x20]).map(|l| l.len()), Some(0), "size 0 empties it");
        assert!(hpack.decode(&[0xbe]).is_none());
        let bomb =
            [&[0x3f, 0xe1, 0x1f, 0x40, 1, b'a', 0x7f, 0x81, 0x1e][..], &[b'x'; 4000], &[0xbe; 2000]].concat();
        assert!(hpack.decode(&bomb).is_none(), "what it stands for is bounded");
    }
}
