//! What stands inside of TCP and UDP: every packet's messages named, from Ethernet to HTTP.
//!
//! The bytes of each TCP direction are put in order in [`mod@stream`]; what they are is recognised by their content,
//! with the port as a hint, in `app`; each protocol has a file of its own. TLS and QUIC are decrypted with the
//! key log lines of the journal. Messages are named by RFC, fields by Wireshark. A message that spans packets belongs
//! to the packet that completes it; the others say `[TLS segment of a reassembled PDU]`.
//!
//! Everything here is bounded: buffers by named limits, loops by the bytes there are; nothing panics on any bytes.

mod app;
mod datagram;
mod dns;
mod header;
mod http1;
mod http2;
mod http3;
mod layers;
mod quic;
mod reader;
mod stream;
pub mod timeline;
mod tls;
mod websocket;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use stack::record::Journal;

use crate::traffic::Traffic;

pub use timeline::{Conversation, Exchange};
pub use tls::keys::KeyLog;

/// Most layers kept of one packet; further ones are left out.
pub const MAX_LAYERS: usize = 64;
/// Most detail fields kept of one message.
const MAX_FIELDS: usize = 400;
/// Longest text kept of a name or value, in characters.
const MAX_TEXT: usize = 300;

/// A journal's packets with what stands in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dissection {
    /// By transmission number (`#n`).
    pub packets: BTreeMap<u32, PacketLayers>,
    /// TCP and QUIC connections with their milestones.
    pub conversations: Vec<Conversation>,
}

/// One packet's layers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PacketLayers {
    /// From the outside to the inside, in the order of the bytes.
    pub layers: Vec<Layer>,
    /// What stands in TCP or UDP in words, such as `HTTP GET / HTTP/1.1`; empty when nothing is known of it.
    pub text: String,
    /// Which message goes on in a later packet (`TLS`, `HTTP body`), when this one completes none.
    pub part_of: Option<&'static str>,
    /// The TCP or QUIC connection it belongs to, counted from 0 (QUIC's behind TCP's).
    pub conversation: Option<u32>,
    /// The packet that carried the same message first, where this is a router's copy or a retransmission.
    pub repeats: Option<u32>,
}

impl PacketLayers {
    /// Bytes of each protocol's own, outermost first, and of what is left: (`payload`, n). A message in pieces counts at the
    /// packet that completes it, so that the sum may be more than one packet's length; over a whole message it is right.
    pub fn bytes(&self) -> Vec<(&'static str, usize)> {
        let mut all: Vec<(&'static str, usize)> = Vec::new();
        for layer in &self.layers {
            match all.iter_mut().find(|(name, _)| *name == layer.protocol) {
                Some((_, n)) => *n += layer.header,
                None => all.push((layer.protocol, layer.header)),
            }
        }
        let known: usize = all.iter().map(|(_, n)| n).sum();
        let len = self.layers.first().map_or(0, |l| l.len);
        all.push(("payload", len.saturating_sub(known)));
        all
    }
}

/// One message, or one header, of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// As Wireshark's Protocol column: `TCP`, `TLSv1.3`, `HTTP2`.
    pub protocol: &'static str,
    /// The words behind the protocol; empty when another layer says it all (a TLS record around named messages).
    pub summary: String,
    /// Bytes of the whole message in what carries it.
    pub len: usize,
    /// How many of them are this protocol's own: not those of layers inside of it, nor payload.
    pub header: usize,
    /// What it is, for programs.
    pub message: Message,
    /// Its fields.
    pub details: Vec<Field>,
}

/// A field of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// Wireshark's name where it has one (`tls.handshake.type`).
    pub name: Cow<'static, str>,
    /// Its value in words.
    pub value: String,
    /// Its bytes, from where to before where in the message (in the decrypted message, when it was encrypted).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<(usize, usize)>,
    /// Fields of the field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
}

/// What a layer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each field is the protocol's own, named as there")]
pub enum Message {
    /// A header of the link, network or transport layer.
    Header,
    /// A DNS question.
    DnsQuery { id: u16, name: String, ty: String },
    /// Its answer.
    DnsResponse {
        id: u16,
        name: String,
        ty: String,
        rcode: String,
        answers: usize,
        authoritative: bool,
        truncated: bool,
    },
    /// A TLS record: what it costs is its `header`.
    TlsRecord { content_type: u8, decrypted: bool },
    /// A TLS handshake message (RFC 8446 §4, RFC 5246 §7.4).
    TlsHandshake { ty: u8, name: &'static str, from_client: bool },
    /// A TLS alert.
    TlsAlert { level: u8, description: u8 },
    /// The head of a request. `stream` is the HTTP/2 or HTTP/3 stream.
    HttpRequest { method: String, target: String, authority: String, stream: Option<u64> },
    /// The head of a response.
    HttpResponse { status: u16, stream: Option<u64> },
    /// Part of a body, or all of it.
    HttpBody { bytes: usize, end: bool, from_client: bool, stream: Option<u64> },
    /// An HTTP/2 frame that is none of the above.
    Http2Frame { ty: u8, stream: u32 },
    /// A WebSocket frame.
    WebSocketFrame { opcode: u8, fin: bool, bytes: usize },
    /// A QUIC packet. `ty` is `Initial`, `0-RTT`, `Handshake`, `Retry`, `1-RTT`, `Version Negotiation`, `Stateless Reset` or
    /// `unknown version`; `frames` are those that were decrypted, without padding.
    QuicPacket { ty: &'static str, number: Option<u64>, decrypted: bool, frames: Vec<QuicFrame> },
    /// An HTTP/3 frame that is none of the above.
    Http3Frame { ty: u64, stream: u64 },
    /// Anything else.
    Other,
}

/// A frame of a QUIC packet (RFC 9000 §19).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "frame", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each field is the protocol's own, named as there")]
pub enum QuicFrame {
    /// Packet numbers that were received, the newest first, both ends included.
    Ack { ranges: Vec<(u64, u64)> },
    /// Bytes of the handshake.
    Crypto { offset: u64, len: usize },
    /// Bytes of a stream.
    Stream { id: u64, offset: u64, len: usize, fin: bool },
    /// The end of the connection: by QUIC itself, or by the application.
    Close { code: u64, application: bool, reason: String },
    /// Any other.
    Other { ty: u64 },
}

/// The name of one of QUIC's own error codes (RFC 9000 §20.1).
pub(crate) fn quic_error(code: u64) -> String {
    quic::frame::error_name(code)
}

impl Layer {
    /// A message that has nothing inside of it.
    fn new(protocol: &'static str, summary: impl Into<String>, len: usize, message: Message) -> Layer {
        Layer { protocol, summary: summary.into(), len, header: len, message, details: Vec::new() }
    }

    fn with(mut self, details: Vec<Field>) -> Layer {
        self.details = details;
        self.details.truncate(MAX_FIELDS);
        self
    }

    fn own(mut self, header: usize) -> Layer {
        self.header = header;
        self
    }
}

impl Field {
    fn new(name: impl Into<Cow<'static, str>>, value: impl ToString) -> Field {
        Field { name: name.into(), value: cut(&value.to_string()), range: None, fields: Vec::new() }
    }

    fn at(mut self, from: usize, to: usize) -> Field {
        self.range = Some((from, to));
        self
    }

    fn of(mut self, fields: Vec<Field>) -> Field {
        self.fields = fields;
        self.fields.truncate(MAX_FIELDS);
        self
    }
}

/// At most [`MAX_TEXT`] characters, nothing that moves a terminal's cursor.
fn cut(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut out: String = text.chars().take(MAX_TEXT).map(plain).collect();
    if text.chars().nth(MAX_TEXT).is_some() {
        out.push('…');
    }
    out
}

/// Bytes as text where they are UTF-8.
fn lossy(bytes: &[u8]) -> String {
    cut(&String::from_utf8_lossy(&bytes[..bytes.len().min(4 * MAX_TEXT)]))
}

/// Bytes in hexadecimal, at most 32 of them.
fn hex(bytes: &[u8]) -> String {
    let mut text: String = bytes.iter().take(32).map(|b| format!("{b:02x}")).collect();
    if bytes.len() > 32 {
        text.push('…');
    }
    text
}

impl Dissection {
    /// Takes every packet of a journal apart.
    pub fn of_journal(journal: &Journal) -> Dissection {
        Dissection::of(journal, &Traffic::of(journal))
    }

    /// As [`Dissection::of_journal`], when the packets have been followed already.
    pub fn of(journal: &Journal, traffic: &Traffic) -> Dissection {
        Dissection::with_keys(traffic, &KeyLog::of(journal))
    }

    /// As [`Dissection::of`], with keys from elsewhere.
    pub fn with_keys(traffic: &Traffic, keys: &KeyLog) -> Dissection {
        let mut streams = stream::Streams::default();
        let mut datagrams = datagram::Datagrams::default();
        for t in traffic.numbered() {
            if t.view.tcp().is_some() {
                streams.segment(t, keys);
            } else if t.view.udp().is_some() {
                datagrams.datagram(t, keys);
            }
        }
        streams.finish(keys);
        if let Some(mut again) = datagrams.again() {
            for t in traffic.numbered().filter(|t| t.view.tcp().is_none() && t.view.udp().is_some()) {
                again.datagram(t, keys);
            }
            datagrams = again;
        }
        let mut packets = BTreeMap::new();
        for t in traffic.numbered() {
            let mut packet = PacketLayers { layers: layers::of(&t.view), ..PacketLayers::default() };
            let below = packet.layers.len();
            if !streams.layers(t.number, &mut packet) {
                datagrams.layers(t.number, &mut packet, streams.len());
            }
            packet.layers.truncate(MAX_LAYERS);
            packet.text = words(&packet.layers[below.min(packet.layers.len())..]);
            packets.insert(t.number, packet);
        }
        let conversations = timeline::of(&packets, traffic);
        Dissection { packets, conversations }
    }

    /// What stands in packet `#number`.
    pub fn packet(&self, number: u32) -> Option<&PacketLayers> {
        self.packets.get(&number)
    }
}

/// Layers in words: a protocol once, then its messages.
fn words(layers: &[Layer]) -> String {
    let mut text = String::new();
    let mut last = "";
    for layer in layers.iter().filter(|l| !l.summary.is_empty()) {
        if layer.protocol == last {
            text.push_str(", ");
        } else {
            if !text.is_empty() {
                text.push_str(" | ");
            }
            text.push_str(layer.protocol);
            text.push(' ');
            last = layer.protocol;
        }
        text.push_str(&layer.summary);
        if text.len() > 4 * MAX_TEXT {
            text.push('…');
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests;
