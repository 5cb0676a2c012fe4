//! QUIC (RFC 9000, 9001, 9369): packets of a datagram, the connection they belong to, their keys and frames.
//!
//! A connection is found by connection IDs, so that it stays the same when a client's address changes. Initial packets
//! open with what everybody knows; the others with the key log.

pub(super) mod frame;
mod keys;
mod ordered;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::app::Cx;
use super::http3::Http3;
use super::reader::Reader;
use super::tls::handshake::{self, Known};
use super::tls::keys::Label;
use super::tls::names::suite;
use super::{Field, KeyLog, Layer, Message, dns, hex};
use frame::Content;
use keys::{Keys, V1, V2};
use ordered::Ordered;

/// Most connections followed.
const MAX_CONNECTIONS: usize = 10_000;
/// Most connection IDs of a connection that are remembered.
const MAX_IDS: usize = 1000;
/// Most streams of a connection that are followed.
const MAX_STREAMS: usize = 10_000;
/// Longest handshake message that is waited for.
const MAX_HANDSHAKE: usize = 256 << 10;
/// Most frames read of a packet.
const MAX_FRAMES: usize = 512;
/// Longest connection ID (RFC 9000 §17.2).
const MAX_ID: usize = 20;

type End = (IpAddr, u16);

/// Packet types and, but for Retry, levels of encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Initial,
    ZeroRtt,
    Handshake,
    OneRtt,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Initial => "Initial",
            Level::ZeroRtt => "0-RTT",
            Level::Handshake => "Handshake",
            Level::OneRtt => "1-RTT",
        }
    }

    /// Packet number spaces (RFC 9000 §12.3); also where CRYPTO data belong.
    fn space(self) -> usize {
        match self {
            Level::Initial => 0,
            Level::Handshake => 1,
            Level::ZeroRtt | Level::OneRtt => 2,
        }
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Quic {
    connections: Vec<Connection>,
    /// Who is addressed by an ID: connection, and 0 for the client, 1 for the server.
    ids: BTreeMap<Vec<u8>, (usize, usize)>,
    /// Lengths of known IDs, to find them in short headers.
    lengths: BTreeSet<usize>,
    /// The latest connection from one end to another, and who is the sender.
    paths: BTreeMap<(End, End), (usize, usize)>,
}

#[derive(Debug, Default)]
struct Connection {
    version: u32,
    known: Known,
    /// By the IDs that a client chose: the first, and the one that a Retry gave it.
    initial: Vec<[Keys; 2]>,
    /// By level and direction.
    keys: BTreeMap<(Level, usize), Keys>,
    /// Key updates of each direction so far.
    phase: [u64; 2],
    largest: [[Option<u64>; 2]; 3],
    crypto: [[Ordered; 2]; 3],
    messages: [[Vec<u8>; 2]; 3],
    streams: BTreeMap<(u64, usize), Ordered>,
    /// Answers and questions of DNS over QUIC (RFC 9250), by stream and direction.
    doq: BTreeMap<(u64, usize), Vec<u8>>,
    http3: Http3,
    ids: usize,
    /// Stateless reset tokens.
    tokens: BTreeSet<[u8; 16]>,
    turn: u64,
}

/// What a long header says.
struct Long<'a> {
    version: u32,
    level: Option<Level>,
    dcid: &'a [u8],
    scid: &'a [u8],
    token: &'a [u8],
    /// Where the packet number stands, or what follows the IDs.
    at: usize,
    /// The packet's length.
    len: usize,
}

impl Quic {
    /// The messages of a datagram, if it is one of QUIC.
    pub(super) fn datagram(&mut self, src: End, dst: End, bytes: &[u8], log: &KeyLog) -> Option<Vec<Layer>> {
        let mut layers = Vec::new();
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            if first & 0xc0 == 0 && !layers.is_empty() {
                // RFC 9001 §5.5, RFC 9000 §12.2: filled up behind the packets. Without the fixed bit it is no packet.
                layers.push(Layer::new("QUIC", "", rest.len(), Message::Other));
                break;
            }
            if first & 0x80 == 0 {
                match self.short(src, dst, rest, log) {
                    Some(told) => layers.extend(told),
                    None if layers.is_empty() => return None,
                    // RFC 9000 §14.1: a datagram may be filled up with anything.
                    None => layers.push(Layer::new("QUIC", "", rest.len(), Message::Other)),
                }
                break;
            }
            let Some(long) = long_header(rest) else {
                if layers.is_empty() {
                    return None;
                }
                break;
            };
            let (packet, after) = rest.split_at(long.len.min(rest.len()));
            layers.extend(self.long(src, dst, packet, &long, log)?);
            rest = after;
        }
        (!layers.is_empty()).then_some(layers)
    }

    /// The connection that the latest datagram from one end to another belongs to.
    pub(super) fn connection(&self, src: End, dst: End) -> Option<usize> {
        self.paths.get(&(src, dst)).map(|(c, _)| *c)
    }

    fn learn(&mut self, id: &[u8], connection: usize, side: usize) {
        let c = &mut self.connections[connection];
        if !id.is_empty() && c.ids < MAX_IDS && self.ids.insert(id.to_vec(), (connection, side)).is_none() {
            c.ids += 1;
            self.lengths.insert(id.len());
        }
    }

    fn long(
        &mut self,
        src: End,
        dst: End,
        packet: &[u8],
        long: &Long<'_>,
        log: &KeyLog,
    ) -> Option<Vec<Layer>> {
        let Some(level) = long.level else {
            // The ID that a Retry gives the server is the one the client goes on with (RFC 9000 §7.2).
            if let Some(&(c, 0)) = self.ids.get(long.dcid).filter(|_| long.version != 0) {
                self.learn(long.scid, c, 1);
                // The ClientHello comes again; some clients (aioquic) make another one, which §17.2.5.2 forbids.
                let space = Level::Initial.space();
                self.connections[c].crypto[space][0] = Ordered::default();
                self.connections[c].messages[space][0].clear();
            }
            return Some(vec![unprotected(packet, long)]);
        };
        // The receiver's ID says which connection this is and who sends.
        let known = self.ids.get(long.dcid).map(|(c, side)| (*c, 1 - side));
        let by_path = || self.paths.get(&(src, dst)).copied();
        let found =
            known.or_else(|| if long.dcid.is_empty() || level != Level::Initial { by_path() } else { None });
        let (c, dir) = match found {
            Some(found) => found,
            None => {
                // A client's first packet; it names the server by an ID of its own choice. 0-RTT may come before it.
                if self.connections.len() >= MAX_CONNECTIONS || level == Level::Handshake {
                    return Some(vec![sealed(level, packet.len(), long)]);
                }
                let initial = Keys::initial(long.version, long.dcid).into_iter().collect();
                self.connections.push(Connection { version: long.version, initial, ..Connection::default() });
                let c = self.connections.len() - 1;
                self.learn(long.dcid, c, 1);
                (c, 0)
            }
        };
        self.learn(long.scid, c, dir);
        self.paths.insert((src, dst), (c, dir));
        self.paths.insert((dst, src), (c, 1 - dir));
        let connection = &mut self.connections[c];
        if connection.version != long.version {
            // RFC 9368: the handshake goes on in another version.
            connection.version = long.version;
        }
        let opened = connection.open_long(level, dir, packet, long, log);
        let Some((number, plain, header)) = opened else {
            return Some(vec![sealed(level, packet.len(), long)]);
        };
        let mut fields = long.fields();
        fields.push(Field::new("quic.packet_number", number));
        Some(self.opened((c, dir), level, number, &plain, (packet.len(), header, fields), log))
    }

    fn short(&mut self, src: End, dst: End, packet: &[u8], log: &KeyLog) -> Option<Vec<Layer>> {
        let by_id = self.lengths.iter().rev().find_map(|n| {
            let id = packet.get(1..1 + n)?;
            self.ids.get(id).map(|(c, side)| ((*c, 1 - side), *n))
        });
        let ((c, dir), id_len) = match by_id {
            Some(found) => found,
            None => (*self.paths.get(&(src, dst))?, 0),
        };
        let connection = &mut self.connections[c];
        let token = packet.last_chunk::<16>();
        if by_id.is_none() && token.is_some_and(|t| connection.tokens.contains(t)) {
            return Some(vec![Layer::new(
                "QUIC",
                "Stateless Reset",
                packet.len(),
                Message::QuicPacket { ty: "Stateless Reset", number: None, decrypted: false },
            )]);
        }
        self.paths.insert((src, dst), (c, dir));
        self.paths.insert((dst, src), (c, 1 - dir));
        let connection = &mut self.connections[c];
        let id = packet.get(1..1 + id_len)?;
        let mut fields = vec![Field::new("quic.dcid", hex(id)).at(1, 1 + id_len)];
        let spin = packet[0] >> 5 & 1;
        fields.push(Field::new("quic.spin_bit", spin).at(0, 1));
        let Some((number, plain, header)) = connection.open_short(dir, packet, 1 + id_len, log) else {
            let text = format!("1-RTT (protected, {} B)", packet.len());
            let message = Message::QuicPacket { ty: "1-RTT", number: None, decrypted: false };
            return Some(vec![Layer::new("QUIC", text, packet.len(), message).own(1 + id_len).with(fields)]);
        };
        fields.push(Field::new("quic.packet_number", number));
        fields.push(Field::new("quic.key_phase", connection.phase[dir]).at(0, 1));
        Some(self.opened((c, dir), Level::OneRtt, number, &plain, (packet.len(), header, fields), log))
    }

    /// A packet's frames: its own layer, then the messages that they complete.
    fn opened(
        &mut self,
        (c, dir): (usize, usize),
        level: Level,
        number: u64,
        plain: &[u8],
        (len, header, mut fields): (usize, usize, Vec<Field>),
        log: &KeyLog,
    ) -> Vec<Layer> {
        let mut r = Reader::new(plain);
        let mut words: Vec<String> = Vec::new();
        let mut inside = Vec::new();
        let mut ids = Vec::new();
        for _ in 0..MAX_FRAMES {
            if r.is_empty() {
                break;
            }
            let Some(frame) = frame::next(&mut r) else {
                words.push("malformed frame".to_string());
                break;
            };
            match (&frame.content, words.last_mut()) {
                (Content::Padding, _) => {}
                // They come in sevens.
                (Content::NewConnectionId { .. }, Some(last)) if last.starts_with("NEW_CONNECTION_ID ") => {
                    let (first, _) = last.split_once('-').unwrap_or((last, ""));
                    let number = frame.words.rsplit(' ').next().unwrap_or_default();
                    *last = format!("{first}-{number}");
                }
                _ => words.push(frame.words.clone()),
            }
            fields.push(frame.field());
            let connection = &mut self.connections[c];
            match frame.content {
                Content::Crypto { offset, data } => {
                    connection.crypto(level, dir, offset, data, &mut inside);
                }
                Content::Stream { id, offset, data, fin } => {
                    connection.stream(dir, (id, offset, data, fin), log, &mut inside);
                }
                Content::NewConnectionId { id, token } => {
                    if connection.tokens.len() < MAX_IDS {
                        connection.tokens.insert(token);
                    }
                    ids.push(id.to_vec());
                }
                Content::Padding | Content::Other => {}
            }
        }
        for id in ids {
            self.learn(&id, c, dir);
        }
        let phase = self.connections[c].phase[dir];
        let phase =
            if level == Level::OneRtt && phase > 0 { format!(" key phase {phase}") } else { String::new() };
        let text = format!("{} {number}{phase} ({})", level.name(), words.join(", "));
        let message = Message::QuicPacket { ty: level.name(), number: Some(number), decrypted: true };
        let own = Layer::new("QUIC", super::cut(&text), len, message).own(header + 16).with(fields);
        let mut layers = vec![own];
        layers.append(&mut inside);
        layers
    }
}

impl Connection {
    /// Number, content, header length.
    fn open_long(
        &mut self,
        level: Level,
        dir: usize,
        packet: &[u8],
        long: &Long<'_>,
        log: &KeyLog,
    ) -> Option<(u64, Vec<u8>, usize)> {
        let largest = self.largest[level.space()][dir];
        if level == Level::Initial {
            let tried = self.initial.iter().find_map(|keys| open(&keys[dir], packet, long.at, largest));
            let opened = tried.or_else(|| {
                // A Retry, or another version, changes the keys.
                let new = Keys::initial(long.version, long.dcid).filter(|_| dir == 0)?;
                let opened = open(&new[dir], packet, long.at, largest)?;
                self.initial.push(new);
                Some(opened)
            })?;
            self.largest[level.space()][dir] = largest.max(Some(opened.0));
            return Some(opened);
        }
        if !self.keys.contains_key(&(level, dir)) {
            self.derive(level, dir, packet, long.at, log);
        }
        let opened = open(self.keys.get(&(level, dir))?, packet, long.at, largest)?;
        self.largest[level.space()][dir] = largest.max(Some(opened.0));
        Some(opened)
    }

    /// Keys of a level, tried on a packet: the suite of early data is not known.
    fn derive(&mut self, level: Level, dir: usize, packet: &[u8], number_at: usize, log: &KeyLog) {
        let Some(random) = self.known.client_random else { return };
        let label = match (level, dir) {
            (Level::ZeroRtt, 0) => Label::ClientEarly,
            (Level::Handshake, 0) => Label::ClientHandshake,
            (Level::Handshake, _) => Label::ServerHandshake,
            (Level::OneRtt, 0) => Label::ClientApplication,
            (Level::OneRtt, _) => Label::ServerApplication,
            _ => return,
        };
        let Some(secret) = log.secret(&random, label) else { return };
        let largest = self.largest[level.space()][dir];
        for id in [0x1301, 0x1302, 0x1303] {
            let keys = suite(id).and_then(|s| Keys::new(self.version, s, secret));
            if let Some(keys) = keys.filter(|k| open(k, packet, number_at, largest).is_some()) {
                self.keys.insert((level, dir), keys);
                return;
            }
        }
    }

    fn open_short(
        &mut self,
        dir: usize,
        packet: &[u8],
        number_at: usize,
        log: &KeyLog,
    ) -> Option<(u64, Vec<u8>, usize)> {
        let level = Level::OneRtt;
        let largest = self.largest[level.space()][dir];
        if !self.keys.contains_key(&(level, dir)) {
            self.derive(level, dir, packet, number_at, log);
        }
        let keys = self.keys.get(&(level, dir))?;
        let opened = match open(keys, packet, number_at, largest) {
            Some(opened) => opened,
            None => {
                let next = keys.updated()?;
                let opened = open(&next, packet, number_at, largest)?;
                self.phase[dir] += 1;
                self.keys.insert((level, dir), next);
                opened
            }
        };
        self.largest[level.space()][dir] = largest.max(Some(opened.0));
        Some(opened)
    }

    fn crypto(&mut self, level: Level, dir: usize, offset: u64, data: &[u8], out: &mut Vec<Layer>) {
        let space = level.space();
        let new = self.crypto[space][dir].add(offset, data);
        if new.is_empty() {
            out.extend(self.crypto[space][dir].again(offset, data.len()).cloned());
            return;
        }
        let buffer = &mut self.messages[space][dir];
        buffer.extend_from_slice(&new);
        let mut layers = Vec::new();
        let mut at = 0;
        // RFC 9001 §4.1.3: TLS 1.3's messages without its records.
        while let Some(head) = buffer.get(at..at + 4) {
            let len =
                usize::try_from(u32::from_be_bytes([0, head[1], head[2], head[3]])).unwrap_or(usize::MAX);
            if len > MAX_HANDSHAKE {
                at = buffer.len();
                break;
            }
            let Some(body) = buffer.get(at + 4..at + 4 + len) else { break };
            let mut layer = handshake::message(head[0], body, &mut self.known, dir == 0);
            layer.protocol = "TLSv1.3";
            layers.push(layer);
            at += 4 + len;
        }
        buffer.drain(..at);
        self.crypto[space][dir].told(new.len(), &layers);
        out.extend(layers);
    }

    fn stream(
        &mut self,
        dir: usize,
        (id, offset, data, fin): (u64, u64, &[u8], bool),
        log: &KeyLog,
        out: &mut Vec<Layer>,
    ) {
        let alpn = self.known.alpn.as_deref().unwrap_or("h3");
        let (h3, doq) = (alpn.starts_with("h3"), alpn.starts_with("doq"));
        if !h3 && !doq || self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&(id, dir)) {
            return;
        }
        let stream = self.streams.entry((id, dir)).or_default();
        if fin {
            stream.fin = offset.checked_add(data.len() as u64);
        }
        let new = stream.add(offset, data);
        let ends = !stream.fin_told && stream.fin.is_some();
        if new.is_empty() && !(ends && stream.is_whole()) {
            out.extend(stream.again(offset, data.len()).cloned());
            return;
        }
        self.turn += 1;
        let mut cx = Cx::new(log, [0, 443], self.turn);
        if h3 {
            self.http3.feed(id, dir, &new, &mut cx);
        } else {
            dns::stream(self.doq.entry((id, dir)).or_default(), &new, &mut cx);
        }
        stream.told(new.len(), &[]);
        if ends && stream.is_whole() {
            stream.fin_told = true;
            if h3 {
                self.http3.end(id, dir, &mut cx);
            }
        }
        stream.name(new.len(), &cx.layers);
        out.extend(cx.layers);
    }
}

fn open(keys: &Keys, packet: &[u8], number_at: usize, largest: Option<u64>) -> Option<(u64, Vec<u8>, usize)> {
    let (first, truncated, len) = keys.unhide(packet, number_at)?;
    let number = keys::number(largest, truncated, len);
    let plain = keys.open(packet, first, number, truncated, (number_at, len))?;
    Some((number, plain, number_at + len))
}

impl Long<'_> {
    fn fields(&self) -> Vec<Field> {
        let dcid_end = 6 + self.dcid.len();
        let mut fields = vec![
            Field::new("quic.version", format!("{:#010x}", self.version)).at(1, 5),
            Field::new("quic.dcid", hex(self.dcid)).at(6, dcid_end),
            Field::new("quic.scid", hex(self.scid)).at(dcid_end + 1, dcid_end + 1 + self.scid.len()),
        ];
        if !self.token.is_empty() {
            fields.push(Field::new("quic.token", hex(self.token)));
        }
        fields
    }
}

fn sealed(level: Level, len: usize, long: &Long<'_>) -> Layer {
    let text = format!("{} (protected, {len} B)", level.name());
    let message = Message::QuicPacket { ty: level.name(), number: None, decrypted: false };
    Layer::new("QUIC", text, len, message).own(long.at).with(long.fields())
}

/// Version negotiation and Retry, which nothing protects.
fn unprotected(packet: &[u8], long: &Long<'_>) -> Layer {
    let rest = packet.get(long.at..).unwrap_or_default();
    let (ty, text) = if long.version == 0 {
        let versions: Vec<String> = rest
            .as_chunks::<4>()
            .0
            .iter()
            .take(16)
            .map(|v| format!("{:#x}", u32::from_be_bytes(*v)))
            .collect();
        ("Version Negotiation", format!("Version Negotiation ({})", versions.join(", ")))
    } else {
        ("Retry", format!("Retry (token {} B)", rest.len().saturating_sub(16)))
    };
    let message = Message::QuicPacket { ty, number: None, decrypted: false };
    Layer::new("QUIC", text, packet.len(), message).with(long.fields())
}

/// A long header (RFC 9000 §17.2) of a version that is read.
fn long_header(b: &[u8]) -> Option<Long<'_>> {
    let mut r = Reader::new(b);
    let first = r.u8()?;
    let version = r.u32()?;
    let dcid = r.vec8()?;
    let scid = r.vec8()?;
    if dcid.len() > MAX_ID || scid.len() > MAX_ID || first & 0x80 == 0 {
        return None;
    }
    let none = Long { version, level: None, dcid, scid, token: &[], at: r.at(), len: b.len() };
    if version == 0 {
        return (r.left() > 0 && r.left().is_multiple_of(4)).then_some(none);
    }
    if !matches!(version, V1 | V2) || first & 0x40 == 0 {
        return None;
    }
    let bits = first >> 4 & 3;
    // RFC 9369 §3.2.
    let bits = if version == V2 { bits.wrapping_sub(1) & 3 } else { bits };
    let level = match bits {
        0 => Level::Initial,
        1 => Level::ZeroRtt,
        2 => Level::Handshake,
        _ => return Some(none),
    };
    let token = if level == Level::Initial { r.vec_varint()? } else { &[] };
    let len = usize::try_from(r.varint()?).ok()?;
    let len = r.at().checked_add(len)?;
    Some(Long { version, level: Some(level), dcid, scid, token, at: r.at(), len })
}
