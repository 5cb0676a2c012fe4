//! TLS over a byte stream: records, who says what, which keys open them (RFC 8446 §5, RFC 5246 §6).
//!
//! Which key a TLS 1.3 record needs is found by trying the present one and those that may follow: this also holds
//! after refused early data and key updates. Without keys a record says its type and length.

mod certificate;
pub(super) mod decrypt;
pub(super) mod handshake;
pub(super) mod keys;
pub(super) mod names;

use super::app::{App, Cx};
use super::{Field, KeyLog, Layer, Message};
use decrypt::Protection;
use handshake::Known;
use keys::Label;
use names::{Suite, alert_name, suite, version_name};

/// Longest record: 2^14 bytes and what protection may add in TLS 1.2 (RFC 5246 §6.2.3).
const MAX_RECORD: usize = (1 << 14) + 2048;
const HEADER: usize = 5;
/// Longest handshake message that is waited for.
const MAX_HANDSHAKE: usize = 256 << 10;
/// After a gap, as many records may have been missed.
const MAX_MISSED: u64 = 64;
/// Records of a direction that no key opened, after which none is tried any more.
const MAX_FAILURES: u32 = 256;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// A session.
#[derive(Debug)]
pub(super) struct Tls {
    sides: [Side; 2],
    /// Which direction is the client's.
    client: Option<usize>,
    known: Known,
    app: App,
}

#[derive(Debug, Default)]
struct Side {
    /// A record that is not complete.
    buffer: Vec<u8>,
    /// A handshake message that is not complete.
    handshake: Vec<u8>,
    /// ChangeCipherSpec was sent: in TLS 1.2 all after it is protected.
    changed: bool,
    /// The protection in use, once something could be opened.
    protection: Option<(Epoch, Protection)>,
    failures: u32,
    /// Bytes were never seen: where records begin has to be found again.
    lost: bool,
}

/// What a TLS 1.3 key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Epoch {
    Early,
    Handshake,
    Application,
    /// TLS 1.2's only one.
    Only,
}

/// Whether a stream begins as TLS does. `None`: too short to tell.
pub(super) fn looks_like(bytes: &[u8]) -> Option<bool> {
    let plausible = |i: usize, ok: &dyn Fn(u8) -> bool| bytes.get(i).is_none_or(|b| ok(*b));
    if !plausible(0, &|b| (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&b))
        || !plausible(1, &|b| b == 3)
        || !plausible(2, &|b| b <= 4)
    {
        return Some(false);
    }
    let head = bytes.get(..HEADER + 1)?;
    let len = usize::from(u16::from_be_bytes([head[3], head[4]]));
    let handshake = head[0] != HANDSHAKE || matches!(head[5], 1 | 2) || head[5] > 25;
    Some(len > 0 && len <= MAX_RECORD && handshake)
}

/// Gives a session's layers its version, which its first records did not know.
pub(super) fn name_version(layers: &mut [Layer], version: Option<u16>) {
    let Some(version) = version else { return };
    for layer in layers.iter_mut().filter(|l| l.protocol == "TLS") {
        layer.protocol = version_name(version);
    }
}

impl Tls {
    pub(super) fn new(depth: u8) -> Tls {
        Tls { sides: Default::default(), client: None, known: Known::default(), app: App::deeper(depth + 1) }
    }

    pub(super) fn version(&self) -> Option<u16> {
        self.known.version
    }

    pub(super) fn feed(&mut self, dir: usize, bytes: &[u8], cx: &mut Cx<'_>) {
        let side = &mut self.sides[dir];
        if side.lost {
            if looks_like(bytes) != Some(true) && !plausible_header(bytes) {
                return;
            }
            side.lost = false;
        }
        let mut buffer = std::mem::take(&mut side.buffer);
        buffer.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(header) = buffer.get(at..at + HEADER) {
            let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
            if !plausible_header(header) || len > MAX_RECORD {
                // No record begins here: what follows cannot be told.
                cx.put(Layer::new("TLS", "not a TLS record", buffer.len() - at, Message::Other));
                self.sides[dir].lost = true;
                return;
            }
            let Some(record) = buffer.get(at..at + HEADER + len) else { break };
            self.record(dir, record, cx);
            at += HEADER + len;
        }
        buffer.drain(..at);
        self.sides[dir].buffer = buffer;
    }

    pub(super) fn lost(&mut self, dir: usize) {
        let side = &mut self.sides[dir];
        side.lost = true;
        side.buffer.clear();
        side.handshake.clear();
        // How many bytes of plaintext are missing is not known.
        self.app.lost(dir, u64::from(u32::MAX));
    }

    pub(super) fn end(&mut self, dir: usize, cx: &mut Cx<'_>) {
        self.app.end(dir, cx);
    }

    pub(super) fn part_of(&self, dir: usize) -> Option<&'static str> {
        let side = &self.sides[dir];
        if !side.buffer.is_empty() || !side.handshake.is_empty() {
            return Some("TLS");
        }
        self.app.part_of(dir)
    }

    fn record(&mut self, dir: usize, record: &[u8], cx: &mut Cx<'_>) {
        let (header, body) = record.split_at(HEADER);
        let content_type = header[0];
        let version = u16::from_be_bytes([header[1], header[2]]);
        let fields = vec![
            Field::new("tls.record.content_type", content_type).at(0, 1),
            Field::new("tls.record.version", format!("{} ({version:#06x})", version_name(version))).at(1, 3),
            Field::new("tls.record.length", body.len()).at(3, 5),
        ];
        let place = cx.layers.len();
        let mut layer =
            Layer::new("TLS", "", record.len(), Message::TlsRecord { content_type, decrypted: false });
        layer.details = fields;
        cx.put(layer.own(HEADER));
        let is_13 = self.known.version == Some(0x0304);
        let (content, inner) = if content_type == APPLICATION_DATA && (is_13 || self.known.version.is_none())
        {
            match self.open13(dir, header, body, cx.keys) {
                Some((inner, plain)) => (Some(plain), inner),
                None => (None, content_type),
            }
        } else if self.sides[dir].changed && self.known.version.is_some_and(|v| v < 0x0304) {
            (self.open12(dir, content_type, version, body), content_type)
        } else {
            (Some(body.to_vec()), content_type)
        };
        let sealed = content.as_ref().is_none_or(|c| c.len() != body.len());
        let told = match content {
            Some(content) => {
                let message = Message::TlsRecord { content_type: inner, decrypted: sealed };
                if let Some(layer) = cx.layers.get_mut(place) {
                    layer.header = HEADER + body.len() - content.len().min(body.len());
                    layer.message = message;
                    if sealed {
                        layer.details.push(Field::new("tls.record.opaque_type", inner));
                    }
                }
                self.content(dir, inner, &content, cx)
            }
            None => match content_type {
                HANDSHAKE => "Encrypted Handshake Message".to_string(),
                ALERT => "Encrypted Alert".to_string(),
                CHANGE_CIPHER_SPEC => "ChangeCipherSpec".to_string(),
                _ => format!("Application Data ({} B)", body.len()),
            },
        };
        if let Some(layer) = cx.layers.get_mut(place) {
            layer.summary = told;
        }
    }

    /// What stands in a record; the words for the record itself when nothing else says it.
    fn content(&mut self, dir: usize, ty: u8, content: &[u8], cx: &mut Cx<'_>) -> String {
        match ty {
            CHANGE_CIPHER_SPEC => {
                self.change_cipher_spec(dir, cx.keys);
                "ChangeCipherSpec".to_string()
            }
            ALERT => match content {
                [level, description] => {
                    let word = if *level == 1 { "Warning" } else { "Fatal" };
                    let text = format!("Alert (Level: {word}, Description: {})", alert_name(*description));
                    let message = Message::TlsAlert { level: *level, description: *description };
                    cx.put(Layer::new("TLS", text, 2, message).with(vec![
                        Field::new("tls.alert_message.level", level).at(0, 1),
                        Field::new("tls.alert_message.desc", description).at(1, 2),
                    ]));
                    String::new()
                }
                _ => "malformed Alert".to_string(),
            },
            HANDSHAKE => {
                self.handshake(dir, content, cx);
                String::new()
            }
            APPLICATION_DATA => {
                let before = cx.layers.len();
                self.app.feed(dir, content, cx);
                if cx.layers.len() > before || self.app.part_of(dir).is_some() {
                    String::new()
                } else {
                    format!("Application Data ({} B)", content.len())
                }
            }
            other => format!("record type {other}"),
        }
    }

    /// Handshake messages, which may span records and share them.
    fn handshake(&mut self, dir: usize, content: &[u8], cx: &mut Cx<'_>) {
        let mut buffer = std::mem::take(&mut self.sides[dir].handshake);
        buffer.extend_from_slice(content);
        let mut at = 0;
        while let Some(head) = buffer.get(at..at + 4) {
            let len =
                usize::try_from(u32::from_be_bytes([0, head[1], head[2], head[3]])).unwrap_or(usize::MAX);
            if len > MAX_HANDSHAKE {
                cx.put(Layer::new("TLS", "malformed handshake", buffer.len() - at, Message::Other));
                return;
            }
            let Some(body) = buffer.get(at + 4..at + 4 + len) else { break };
            match head[0] {
                1 => self.client = Some(dir),
                2 => self.client = Some(1 - dir),
                _ => {}
            }
            let from_client = self.client == Some(dir);
            let layer = handshake::message(head[0], body, &mut self.known, from_client);
            cx.put(layer);
            if matches!(head[0], 2 | 8)
                && let Some(alpn) = &self.known.alpn
            {
                self.app.agreed(alpn);
            }
            at += 4 + len;
        }
        buffer.drain(..at);
        self.sides[dir].handshake = buffer;
    }

    fn change_cipher_spec(&mut self, dir: usize, keys: &KeyLog) {
        let client = self.client == Some(dir);
        let known = &self.known;
        self.sides[dir].changed = true;
        if known.version.is_none_or(|v| v != 0x0303) {
            return;
        }
        let protection = || {
            let (client_random, server_random) = (known.client_random?, known.server_random?);
            let master = keys.secret(&client_random, Label::Master)?;
            Protection::tls12(known.suite.and_then(suite)?, master, &client_random, &server_random, client)
        };
        self.sides[dir].protection = protection().map(|p| (Epoch::Only, p));
    }

    fn open12(&mut self, dir: usize, ty: u8, version: u16, body: &[u8]) -> Option<Vec<u8>> {
        let (_, protection) = self.sides[dir].protection.as_mut()?;
        protection.open12(ty, version, body)
    }

    fn open13(&mut self, dir: usize, header: &[u8], body: &[u8], keys: &KeyLog) -> Option<(u8, Vec<u8>)> {
        let random = self.known.client_random?;
        let side = &mut self.sides[dir];
        if side.failures > MAX_FAILURES {
            return None;
        }
        if let Some((epoch, now)) = &mut side.protection {
            for missed in 0..=if side.failures > 0 { MAX_MISSED } else { 0 } {
                if let Some(opened) = now.open13(now.next + missed, header, body) {
                    now.next += missed + 1;
                    side.failures = 0;
                    return Some(opened);
                }
            }
            let updated = if *epoch == Epoch::Application { now.updated() } else { None };
            if let Some(mut updated) = updated
                && let Some(opened) = updated.open13(0, header, body)
            {
                updated.next = 1;
                side.protection = Some((Epoch::Application, updated));
                return Some(opened);
            }
        }
        let after = side.protection.as_ref().map(|(e, _)| *e);
        let epochs: &[(Epoch, Label)] = if self.client == Some(dir) {
            &[
                (Epoch::Early, Label::ClientEarly),
                (Epoch::Handshake, Label::ClientHandshake),
                (Epoch::Application, Label::ClientApplication),
            ]
        } else {
            &[(Epoch::Handshake, Label::ServerHandshake), (Epoch::Application, Label::ServerApplication)]
        };
        for (epoch, label) in epochs.iter().filter(|(e, _)| after.is_none_or(|a| *e > a)) {
            let Some(secret) = keys.secret(&random, *label) else { continue };
            for suite in suites(&self.known, *epoch) {
                let Some(mut protection) = Protection::tls13(suite, secret) else { continue };
                if let Some(opened) = protection.open13(0, header, body) {
                    protection.next = 1;
                    side.protection = Some((*epoch, protection));
                    side.failures = 0;
                    return Some(opened);
                }
            }
        }
        side.failures += 1;
        None
    }
}

/// The suites that a record may be protected with: early data uses the one of the session before.
fn suites(known: &Known, epoch: Epoch) -> impl Iterator<Item = Suite> {
    let agreed = known.suite.filter(|_| epoch != Epoch::Early);
    let all: Vec<u16> = agreed.map_or_else(|| vec![0x1301, 0x1302, 0x1303], |s| vec![s]);
    all.into_iter().filter_map(suite)
}

fn plausible_header(header: &[u8]) -> bool {
    header.len() >= HEADER
        && (CHANGE_CIPHER_SPEC..=APPLICATION_DATA + 1).contains(&header[0])
        && header[1] == 3
        && header[2] <= 4
}
