//! TCP's bytes in order: each direction of a connection is put together from its segments as they were sent
//! (retransmissions, overlaps, any order), handed on piece by piece, and every piece knows which segments carried it.
//!
//! A router's copy of a segment and a retransmission carry the same bytes, hence get the same names. What was never
//! seen, though the peer acknowledged it, is a gap that the protocols are told of.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::app::{App, Cx};
use super::{KeyLog, Layer, PacketLayers};
use crate::traffic::Transmission;

/// Most bytes of one direction that wait for missing ones before them.
const MAX_WAITING: usize = 4 << 20;
/// Segments farther from the expected number than this belong to another connection.
const MAX_AHEAD: i64 = 1 << 30;
/// Most connections followed.
const MAX_CONNECTIONS: usize = 65_536;

type End = (IpAddr, u16);

/// All connections of a journal.
#[derive(Default)]
pub(super) struct Streams {
    connections: Vec<Connection>,
    /// The latest connection between two ends, the smaller first.
    latest: BTreeMap<(End, End), usize>,
    /// What each packet carries: connection, direction, first byte and one past the last.
    carried: BTreeMap<u32, (usize, usize, i64, i64)>,
    /// The connection of every segment.
    of: BTreeMap<u32, usize>,
}

struct Connection {
    ends: [End; 2],
    sides: [Side; 2],
    app: App,
    /// Pieces handed on so far.
    turn: u64,
}

impl Connection {
    fn cx<'k>(&mut self, keys: &'k KeyLog) -> Cx<'k> {
        self.turn += 1;
        Cx::new(keys, [self.ends[0].1, self.ends[1].1], self.turn)
    }
}

/// One direction.
#[derive(Default)]
struct Side {
    /// The sequence number of stream position 0; known with the first segment.
    base: Option<u32>,
    /// A SYN was seen.
    syn: Option<u32>,
    /// All before this position has been handed on.
    next: i64,
    /// Pieces that came before their turn, by position.
    waiting: BTreeMap<i64, (u32, Vec<u8>)>,
    waiting_bytes: usize,
    /// Where the FIN stands.
    fin: Option<i64>,
    fin_told: bool,
    /// What was handed on, in order.
    pieces: Vec<Piece>,
}

/// Bytes that were handed on together, and the messages that they completed.
struct Piece {
    /// The packet that carried them first.
    first: u32,
    from: i64,
    to: i64,
    layers: Vec<Layer>,
    part_of: Option<&'static str>,
}

impl Side {
    /// The position of a sequence number.
    fn position(&self, seq: u32) -> Option<i64> {
        let base = self.base?;
        // Sequence numbers wrap: the position is the one nearest to what is expected. Truncation to 32 bits is the point.
        let expected = base.wrapping_add(self.next as u32);
        let ahead = i64::from(seq.wrapping_sub(expected).cast_signed());
        (ahead.abs() <= MAX_AHEAD).then_some(self.next + ahead)
    }
}

impl Streams {
    /// A segment, in the order of sending.
    pub(super) fn segment(&mut self, t: &Transmission, keys: &KeyLog) {
        let (Some(h), Some(ip)) = (t.view.tcp(), t.view.inner_ip()) else { return };
        let (src, dst) = ((ip.src, h.src_port), (ip.dst, h.dst_port));
        let Some((c, dir)) = self.connection(src, dst, h.flags.syn().then_some(h.seq.0), h.flags.ack())
        else {
            return;
        };
        self.of.insert(t.number, c);
        if h.flags.rst() && t.view.payload().is_empty() {
            return;
        }
        let connection = &mut self.connections[c];
        let side = &mut connection.sides[dir];
        let first = h.seq.0.wrapping_add(u32::from(h.flags.syn()));
        if h.flags.syn() && side.syn.is_none() {
            side.syn = Some(h.seq.0);
            if side.next == 0 {
                side.base = Some(first);
            }
        }
        let payload = t.view.payload();
        if side.base.is_none() && (!payload.is_empty() || h.flags.fin()) {
            side.base = Some(first);
        }
        let len = i64::try_from(payload.len()).unwrap_or(0);
        if let Some(from) = side.position(first).filter(|_| !payload.is_empty() || h.flags.fin()) {
            let to = from + len + i64::from(h.flags.fin());
            self.carried.insert(t.number, (c, dir, from, to));
            if h.flags.fin() {
                side.fin = Some(from + len);
            }
            connection.bytes(dir, from, (t.number, payload), keys);
        }
        if h.flags.ack() {
            connection.acknowledged(1 - dir, h.ack.0, keys);
        }
    }

    /// The connection that a segment belongs to, and its direction.
    fn connection(&mut self, src: End, dst: End, syn: Option<u32>, ack: bool) -> Option<(usize, usize)> {
        let key = if src <= dst { (src, dst) } else { (dst, src) };
        let known = self.latest.get(&key).copied().filter(|&c| {
            let side = &self.connections[c].sides[usize::from(self.connections[c].ends[0] != src)];
            // Another first number: the ports are used again.
            syn.is_none_or(|seq| side.syn.is_none_or(|s| s == seq) && (side.syn.is_some() || side.next == 0))
        });
        let c = match known {
            Some(c) => c,
            None if self.connections.len() < MAX_CONNECTIONS => {
                // Who sends the SYN is the client; seen from the middle on, the one with the higher port.
                let client_first = if syn.is_some() { !ack } else { src.1 >= dst.1 };
                let ends = if client_first { [src, dst] } else { [dst, src] };
                let sides = [Side::default(), Side::default()];
                self.connections.push(Connection { ends, sides, app: App::default(), turn: 0 });
                self.latest.insert(key, self.connections.len() - 1);
                self.connections.len() - 1
            }
            None => return None,
        };
        Some((c, usize::from(self.connections[c].ends[0] != src)))
    }

    /// How many connections there are.
    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Hands on what still waits.
    pub(super) fn finish(&mut self, keys: &KeyLog) {
        for connection in &mut self.connections {
            for dir in 0..2 {
                while !connection.sides[dir].waiting.is_empty() {
                    connection.skip_gap(dir, keys);
                }
            }
            let version = connection.app.tls_version();
            for piece in connection.sides.iter_mut().flat_map(|s| &mut s.pieces) {
                super::tls::name_version(&mut piece.layers, version);
            }
        }
    }

    /// Adds what packet `number` carries to its layers. `false` when it is none of a connection.
    pub(super) fn layers(&self, number: u32, packet: &mut PacketLayers) -> bool {
        packet.conversation = self.of.get(&number).and_then(|c| u32::try_from(*c).ok());
        let Some(&(c, dir, from, to)) = self.carried.get(&number) else {
            return packet.conversation.is_some();
        };
        let pieces = &self.connections[c].sides[dir].pieces;
        let first = pieces.partition_point(|p| p.to <= from);
        for piece in pieces[first..].iter().take_while(|p| p.to <= to) {
            // A keep-alive probe repeats one old byte: it does not carry the message.
            if to - from == 1 && piece.to - piece.from > 1 {
                continue;
            }
            packet.layers.extend(piece.layers.iter().take(super::MAX_LAYERS).cloned());
            packet.part_of = piece.part_of;
            packet.repeats = Some(piece.first).filter(|first| *first != number);
        }
        if let Some(p) = pieces[first..].iter().find(|p| p.to > to && p.from < to) {
            packet.part_of = packet.part_of.or(p.part_of);
        }
        true
    }
}

impl Connection {
    fn bytes(&mut self, dir: usize, from: i64, (number, payload): (u32, &[u8]), keys: &KeyLog) {
        let side = &mut self.sides[dir];
        let old = usize::try_from(side.next - from).unwrap_or(0).min(payload.len());
        let (from, payload) = (from + i64::try_from(old).unwrap_or(0), &payload[old..]);
        if payload.is_empty() {
            self.fin(dir, number, keys);
            return;
        }
        if from > side.next {
            let shorter = side.waiting.get(&from).is_none_or(|(_, w)| w.len() < payload.len());
            if shorter {
                side.waiting_bytes += payload.len();
                if let Some((_, before)) = side.waiting.insert(from, (number, payload.to_vec())) {
                    side.waiting_bytes -= before.len();
                }
            }
            if side.waiting_bytes > MAX_WAITING {
                self.skip_gap(dir, keys);
            }
            return;
        }
        self.hand_on(dir, number, payload, keys);
        self.catch_up(dir, number, keys);
    }

    /// Pieces whose turn it is now.
    fn catch_up(&mut self, dir: usize, latest: u32, keys: &KeyLog) {
        loop {
            let side = &mut self.sides[dir];
            let Some((&from, _)) = side.waiting.first_key_value() else { break };
            if from > side.next {
                break;
            }
            let Some((number, bytes)) = side.waiting.remove(&from) else { break };
            side.waiting_bytes -= bytes.len();
            let old = usize::try_from(side.next - from).unwrap_or(0);
            if let Some(new) = bytes.get(old..).filter(|b| !b.is_empty()) {
                self.hand_on(dir, number, new, keys);
            }
        }
        self.fin(dir, latest, keys);
    }

    fn hand_on(&mut self, dir: usize, number: u32, bytes: &[u8], keys: &KeyLog) {
        let mut cx = self.cx(keys);
        self.app.feed(dir, bytes, &mut cx);
        let len = i64::try_from(bytes.len()).unwrap_or(0);
        let side = &mut self.sides[dir];
        let from = side.next;
        side.next += len;
        let silent = cx.layers.iter().all(|l| l.summary.is_empty());
        let part_of = if silent { self.app.part_of(dir) } else { None };
        // Transfers of unknown content need no memory of each segment.
        if !cx.layers.is_empty() || part_of.is_some() {
            side.pieces.push(Piece { first: number, from, to: side.next, layers: cx.layers, part_of });
        }
    }

    /// The end of a direction, once all before it was handed on.
    fn fin(&mut self, dir: usize, number: u32, keys: &KeyLog) {
        let side = &mut self.sides[dir];
        if side.fin_told || side.fin != Some(side.next) {
            return;
        }
        side.fin_told = true;
        let mut cx = self.cx(keys);
        self.app.end(dir, &mut cx);
        let side = &mut self.sides[dir];
        if !cx.layers.is_empty() {
            let at = side.next;
            side.pieces.push(Piece { first: number, from: at, to: at + 1, layers: cx.layers, part_of: None });
        }
    }

    /// The peer has what was never seen here: it is not going to come.
    fn acknowledged(&mut self, dir: usize, ack: u32, keys: &KeyLog) {
        let side = &self.sides[dir];
        let Some(acked) = side.position(ack) else { return };
        let missing =
            side.waiting.first_key_value().is_some_and(|(&from, _)| from > side.next && acked > from);
        if missing {
            self.skip_gap(dir, keys);
        }
    }

    fn skip_gap(&mut self, dir: usize, keys: &KeyLog) {
        let side = &mut self.sides[dir];
        let Some((&from, &(latest, _))) = side.waiting.first_key_value() else { return };
        if from > side.next {
            let missing = u64::try_from(from - side.next).unwrap_or(0);
            self.app.lost(dir, missing);
            side.next = from;
        }
        self.catch_up(dir, latest, keys);
    }
}
