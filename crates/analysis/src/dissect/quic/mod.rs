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
/// The shortest datagram with a client's Initial (RFC 9000 §14.1).
const MIN_INITIAL: usize = 1200;
/// Key updates that may have passed unseen between two packets of a capture.
const MAX_UPDATES: u64 = 4;

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
    /// Something could not be read that may be readable when all of the journal is known: a packet came before the one that
    /// tells its keys or its connection.
    missed: bool,
    /// Both IDs of long headers whose connection was not known: to whom, from whom.
    unknown: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, Default)]
struct Connection {
    version: u32,
    known: Known,
    /// By the IDs that a client chose: the first, and the one that a Retry gave it.
    initial: Vec<[Keys; 2]>,
    /// By level and direction.
    keys: BTreeMap<(Level, usize), Keys>,
    /// The keys before the latest update, for packets that were overtaken by it.
    older: [Option<Keys>; 2],
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

/// A packet without its protection.
struct Opened {
    number: u64,
    plain: Vec<u8>,
    /// The header's length, the number included.
    header: usize,
    /// Key updates before it.
    phase: u64,
}

impl Quic {
    /// For a second reading, when the first one met packets before what tells how to read them: IDs and secrets of all
    /// connections are known from the start.
    pub(super) fn again(self) -> Option<Quic> {
        if !self.missed || self.connections.is_empty() {
            return None;
        }
        let knowing = |c: Connection| Connection {
            version: c.version,
            known: c.known.beforehand(),
            initial: c.initial,
            ids: c.ids,
            tokens: c.tokens,
            ..Connection::default()
        };
        // A packet that came too early says who its sender is, once its receiver is known.
        let (mut ids, mut lengths) = (self.ids, self.lengths);
        for (to, from) in self.unknown {
            if let Some((c, side)) = ids.get(&to).copied()
                && !from.is_empty()
            {
                lengths.insert(from.len());
                ids.entry(from).or_insert((c, 1 - side));
            }
        }
        Some(Quic {
            connections: self.connections.into_iter().map(knowing).collect(),
            ids,
            lengths,
            ..Quic::default()
        })
    }

    /// The messages of a datagram, if it is one of QUIC.
    pub(super) fn datagram(&mut self, src: End, dst: End, bytes: &[u8], log: &KeyLog) -> Option<Vec<Layer>> {
        let mut layers = Vec::new();
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            if first & 0x80 == 0 {
                // RFC 9001 §5.5, RFC 9000 §12.2: what stands behind packets may be filling. Without the fixed bit it is a
                // packet only if it opens: both ends may agree to leave that bit to chance (RFC 9287).
                let sure = layers.is_empty() || first & 0x40 != 0;
                match self.short(src, dst, rest, sure, log) {
                    Some(told) => layers.extend(told),
                    None if layers.is_empty() => {
                        self.missed = true;
                        return None;
                    }
                    None => layers.push(Layer::new("QUIC", "", rest.len(), Message::Other)),
                }
                break;
            }
            let Some(long) = long_header(rest, |id| self.ids.contains_key(id)) else {
                if layers.is_empty() {
                    self.missed |= first & 0x40 == 0 || rest.len() >= MIN_INITIAL;
                    return None;
                }
                layers.push(Layer::new("QUIC", "", rest.len(), Message::Other));
                break;
            };
            let (packet, after) = rest.split_at(long.len.min(rest.len()));
            // Whoever remembers that the server takes any fixed bit may leave it out from the first packet on (RFC 9287 §3.1):
            // one packet in two with any content looks so, but no other opens.
            if first & 0x40 == 0 && !self.ids.contains_key(long.dcid) && !opens_initial(packet, &long) {
                return if layers.is_empty() { None } else { Some(layers) };
            }
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
        let Some(level) = long.level else { return Some(self.unprotected(src, dst, packet, long)) };
        // The receiver's ID says which connection this is and who sends.
        let known = self.ids.get(long.dcid).map(|(c, side)| (*c, 1 - side));
        let by_path = || self.paths.get(&(src, dst)).copied();
        let found =
            known.or_else(|| if long.dcid.is_empty() || level != Level::Initial { by_path() } else { None });
        let (c, dir) = match found {
            Some(found) => found,
            None => {
                // A client's first packet; it names the server by an ID of its own choice. 0-RTT may come before it.
                let first = level == Level::ZeroRtt || opens_initial(packet, long);
                if self.connections.len() >= MAX_CONNECTIONS || !first {
                    self.missed = true;
                    if self.unknown.len() < MAX_CONNECTIONS {
                        self.unknown.push((long.dcid.to_vec(), long.scid.to_vec()));
                    }
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
        let Some(opened) = connection.open_long(level, dir, packet, long, log) else {
            self.missed = true;
            return Some(vec![sealed(level, packet.len(), long)]);
        };
        let mut fields = long.fields();
        fields.push(Field::new("quic.packet_number", opened.number));
        Some(self.opened((c, dir), level, &opened, (packet.len(), fields), log))
    }

    /// Version Negotiation, Retry, and packets of a version that is not read.
    fn unprotected(&mut self, src: End, dst: End, packet: &[u8], long: &Long<'_>) -> Vec<Layer> {
        if long.version == 0 {
            // It returns the IDs of the packet that it answers (RFC 9000 §17.2.1), which nobody could read.
            if !self.ids.contains_key(long.scid) && self.connections.len() < MAX_CONNECTIONS {
                self.connections.push(Connection::default());
                self.learn(long.scid, self.connections.len() - 1, 1);
                self.missed = true;
            }
        } else if let Some(&(c, 0)) = self.ids.get(long.dcid) {
            // The ID that a Retry gives the server is the one the client goes on with (RFC 9000 §7.2).
            self.learn(long.scid, c, 1);
            // The ClientHello comes again; some clients (aioquic) make another one, which §17.2.5.2 forbids.
            let space = Level::Initial.space();
            self.connections[c].crypto[space][0] = Ordered::default();
            self.connections[c].messages[space][0].clear();
        }
        let to = self.ids.get(long.dcid).map(|(c, side)| (*c, 1 - side));
        if let Some((c, dir)) = to.or(self.ids.get(long.scid).copied()) {
            self.paths.insert((src, dst), (c, dir));
            self.paths.insert((dst, src), (c, 1 - dir));
            self.learn(long.scid, c, dir);
        }
        vec![unprotected(packet, long)]
    }

    /// A packet with a short header; unless it is `sure` to be one, only when it opens.
    fn short(&mut self, src: End, dst: End, packet: &[u8], sure: bool, log: &KeyLog) -> Option<Vec<Layer>> {
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
        if by_id.is_none() && token.is_some_and(|t| connection.gave(t)) {
            return Some(vec![Layer::new(
                "QUIC",
                "Stateless Reset",
                packet.len(),
                Message::QuicPacket {
                    ty: "Stateless Reset",
                    number: None,
                    decrypted: false,
                    frames: Vec::new(),
                },
            )]);
        }
        let id = packet.get(1..1 + id_len)?;
        let mut fields = vec![Field::new("quic.dcid", hex(id)).at(1, 1 + id_len)];
        let spin = packet[0] >> 5 & 1;
        fields.push(Field::new("quic.spin_bit", spin).at(0, 1));
        let opened = connection.open_short(dir, packet, 1 + id_len, log);
        if opened.is_none() && !sure {
            return None;
        }
        self.paths.insert((src, dst), (c, dir));
        self.paths.insert((dst, src), (c, 1 - dir));
        let Some(opened) = opened else {
            self.missed = true;
            let text = format!("1-RTT (protected, {} B)", packet.len());
            let message =
                Message::QuicPacket { ty: "1-RTT", number: None, decrypted: false, frames: Vec::new() };
            return Some(vec![Layer::new("QUIC", text, packet.len(), message).own(1 + id_len).with(fields)]);
        };
        fields.push(Field::new("quic.packet_number", opened.number));
        fields.push(Field::new("quic.key_phase", opened.phase).at(0, 1));
        Some(self.opened((c, dir), Level::OneRtt, &opened, (packet.len(), fields), log))
    }

    /// A packet's frames: its own layer, then the messages that they complete.
    fn opened(
        &mut self,
        (c, dir): (usize, usize),
        level: Level,
        Opened { number, plain, header, phase }: &Opened,
        (len, mut fields): (usize, Vec<Field>),
        log: &KeyLog,
    ) -> Vec<Layer> {
        let mut r = Reader::new(plain);
        let mut frames = Vec::new();
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
            if !matches!(frame.content, Content::Padding) {
                frames.push(frame.told());
            }
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
                Content::Ack { .. } | Content::Close { .. } | Content::Padding | Content::Other => {}
            }
        }
        for id in ids {
            self.learn(&id, c, dir);
        }
        let phase = if *phase > 0 { format!(" key phase {phase}") } else { String::new() };
        let text = format!("{} {number}{phase} ({})", level.name(), words.join(", "));
        let message =
            Message::QuicPacket { ty: level.name(), number: Some(*number), decrypted: true, frames };
        let own = Layer::new("QUIC", super::cut(&text), len, message).own(header + 16).with(fields);
        let mut layers = vec![own];
        layers.append(&mut inside);
        layers
    }
}

impl Connection {
    /// Whether it is a stateless reset token of this connection: one of a handshake, or of a NEW_CONNECTION_ID.
    fn gave(&self, token: &[u8; 16]) -> bool {
        self.tokens.contains(token) || self.known.reset_token.as_ref() == Some(token)
    }

    fn open_long(
        &mut self,
        level: Level,
        dir: usize,
        packet: &[u8],
        long: &Long<'_>,
        log: &KeyLog,
    ) -> Option<Opened> {
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
            self.largest[level.space()][dir] = largest.max(Some(opened.number));
            return Some(opened);
        }
        let opened = match self.keys.get(&(level, dir)).and_then(|keys| open(keys, packet, long.at, largest))
        {
            Some(opened) => opened,
            None => {
                // The first packet of its level, or one of a replay with the same IDs and another handshake.
                self.derive(level, dir, packet, long.at, log);
                open(self.keys.get(&(level, dir))?, packet, long.at, largest)?
            }
        };
        self.largest[level.space()][dir] = largest.max(Some(opened.number));
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
        let largest = self.largest[level.space()][dir];
        for secret in log.secrets(&random, label) {
            for id in [0x1301, 0x1302, 0x1303] {
                let keys = suite(id).and_then(|s| Keys::new(self.version, s, secret));
                if let Some(keys) = keys.filter(|k| open(k, packet, number_at, largest).is_some()) {
                    self.keys.insert((level, dir), keys);
                    return;
                }
            }
        }
    }

    fn open_short(&mut self, dir: usize, packet: &[u8], number_at: usize, log: &KeyLog) -> Option<Opened> {
        let level = Level::OneRtt;
        let largest = self.largest[level.space()][dir];
        if !self.keys.contains_key(&(level, dir)) {
            self.derive(level, dir, packet, number_at, log);
        }
        let phase = self.phase[dir];
        let keys = self.keys.get(&(level, dir))?;
        let opened = match open(keys, packet, number_at, largest) {
            Some(opened) => Opened { phase, ..opened },
            None => match self.older[dir].as_ref().and_then(|keys| open(keys, packet, number_at, largest)) {
                Some(opened) => Opened { phase: phase.saturating_sub(1), ..opened },
                None => match self.updated(dir, packet, number_at) {
                    Some(opened) => opened,
                    None => {
                        self.derive(level, dir, packet, number_at, log);
                        open(self.keys.get(&(level, dir))?, packet, number_at, largest)?
                    }
                },
            },
        };
        self.largest[level.space()][dir] = largest.max(Some(opened.number));
        Some(opened)
    }

    /// The first packet after a key update (RFC 9001 §6).
    fn updated(&mut self, dir: usize, packet: &[u8], number_at: usize) -> Option<Opened> {
        let largest = self.largest[Level::OneRtt.space()][dir];
        let mut keys = self.keys.get(&(Level::OneRtt, dir))?.updated()?;
        for more in 1..=MAX_UPDATES {
            let next = keys.updated()?;
            if let Some(opened) = open(&keys, packet, number_at, largest) {
                self.phase[dir] += more;
                self.older[dir] = self.keys.insert((Level::OneRtt, dir), keys).filter(|_| more == 1);
                return Some(Opened { phase: self.phase[dir], ..opened });
            }
            keys = next;
        }
        None
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

fn open(keys: &Keys, packet: &[u8], number_at: usize, largest: Option<u64>) -> Option<Opened> {
    let (first, truncated, len) = keys.unhide(packet, number_at)?;
    let number = keys::number(largest, truncated, len);
    let plain = keys.open(packet, first, number, truncated, (number_at, len))?;
    Some(Opened { number, plain, header: number_at + len, phase: 0 })
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
    let message =
        Message::QuicPacket { ty: level.name(), number: None, decrypted: false, frames: Vec::new() };
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
    } else if !matches!(long.version, V1 | V2) {
        (
            "unknown version",
            format!("version {:#x} ({} B that only this version can read)", long.version, rest.len()),
        )
    } else {
        ("Retry", format!("Retry (token {} B)", rest.len().saturating_sub(16)))
    };
    let message = Message::QuicPacket { ty, number: None, decrypted: false, frames: Vec::new() };
    Layer::new("QUIC", text, packet.len(), message).with(long.fields())
}

/// Whether it is a client's first packet, which everybody can open.
fn opens_initial(packet: &[u8], long: &Long<'_>) -> bool {
    let keys = || Keys::initial(long.version, long.dcid);
    long.level == Some(Level::Initial)
        && keys().is_some_and(|keys| open(&keys[0], packet, long.at, None).is_some())
}

/// A long header (RFC 9000 §17.2) of a version that is read; of another one (RFC 8999 §5.1) only when it goes to an ID that is
/// `known`.
fn long_header(b: &[u8], known: impl Fn(&[u8]) -> bool) -> Option<Long<'_>> {
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
    if !matches!(version, V1 | V2) {
        return known(dcid).then_some(none);
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
