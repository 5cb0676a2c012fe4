//! QUIC frames (RFC 9000 §19, datagrams RFC 9221): one after the other, with their words.

use crate::dissect::reader::Reader;
use crate::dissect::{Field, QuicFrame, hex, lossy};

/// Most ranges of an ACK that are read.
const MAX_RANGES: u64 = 1024;

/// What other parts need of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::dissect) enum Content<'a> {
    Crypto {
        offset: u64,
        data: &'a [u8],
    },
    Stream {
        id: u64,
        offset: u64,
        data: &'a [u8],
        fin: bool,
    },
    NewConnectionId {
        id: &'a [u8],
        token: [u8; 16],
    },
    /// The numbers that were received, the newest first, both ends included; only the first ranges.
    Ack {
        ranges: Vec<(u64, u64)>,
    },
    Close {
        code: u64,
        application: bool,
        reason: String,
    },
    Padding,
    Other,
}

/// A frame.
#[derive(Debug)]
pub(in crate::dissect) struct Frame<'a> {
    pub(in crate::dissect) ty: u64,
    /// `STREAM[0]`, `ACK 0-3`; Wireshark's names.
    pub(in crate::dissect) words: String,
    pub(in crate::dissect) content: Content<'a>,
    pub(in crate::dissect) range: (usize, usize),
}

impl Frame<'_> {
    /// For programs.
    pub(super) fn told(&self) -> QuicFrame {
        match &self.content {
            Content::Ack { ranges } => QuicFrame::Ack { ranges: ranges.clone() },
            Content::Crypto { offset, data } => QuicFrame::Crypto { offset: *offset, len: data.len() },
            Content::Stream { id, offset, data, fin } => {
                QuicFrame::Stream { id: *id, offset: *offset, len: data.len(), fin: *fin }
            }
            Content::Close { code, application, reason } => {
                QuicFrame::Close { code: *code, application: *application, reason: reason.clone() }
            }
            Content::NewConnectionId { .. } | Content::Padding | Content::Other => {
                QuicFrame::Other { ty: self.ty }
            }
        }
    }

    pub(super) fn field(&self) -> Field {
        let mut fields = vec![Field::new("quic.frame_type", self.ty)];
        match &self.content {
            Content::NewConnectionId { id, .. } => fields.push(Field::new("quic.connection_id", hex(id))),
            Content::Ack { ranges } => {
                let largest = ranges.first().map_or(0, |range| range.1);
                fields.push(Field::new("quic.ack.largest_acknowledged", largest));
            }
            Content::Crypto { offset, data } => {
                fields.push(Field::new("quic.crypto.offset", offset));
                fields.push(Field::new("quic.crypto.length", data.len()));
            }
            Content::Stream { id, offset, data, fin } => {
                fields.push(Field::new("quic.stream.stream_id", id));
                fields.push(Field::new("quic.stream.offset", offset));
                fields.push(Field::new("quic.stream.length", data.len()));
                fields.push(Field::new("quic.stream.fin", fin));
            }
            Content::Close { code, application, .. } => {
                let name = if *application { "quic.cc.error_code.app" } else { "quic.cc.error_code" };
                fields.push(Field::new(name, code));
            }
            Content::Padding | Content::Other => {}
        }
        Field::new("quic.frame", &self.words).at(self.range.0, self.range.1).of(fields)
    }
}

/// The next frame; `None` at the end and where the bytes are none.
pub(in crate::dissect) fn next<'a>(r: &mut Reader<'a>) -> Option<Frame<'a>> {
    let from = r.at();
    let ty = r.varint()?;
    let (words, content) = match ty {
        0 => {
            while r.peek() == Some(0) {
                r.u8()?;
            }
            ("PADDING".to_string(), Content::Padding)
        }
        1 => ("PING".to_string(), Content::Other),
        2 | 3 => ack(r, ty == 3)?,
        4 => {
            let (id, code, size) = (r.varint()?, r.varint()?, r.varint()?);
            (format!("RESET_STREAM[{id}] code {code:#x} at {size}"), Content::Other)
        }
        5 => {
            let (id, code) = (r.varint()?, r.varint()?);
            (format!("STOP_SENDING[{id}] code {code:#x}"), Content::Other)
        }
        6 => {
            let offset = r.varint()?;
            ("CRYPTO".to_string(), Content::Crypto { offset, data: r.vec_varint()? })
        }
        7 => (format!("NEW_TOKEN ({} B)", r.vec_varint()?.len()), Content::Other),
        8..=15 => stream(r, ty)?,
        16 => (format!("MAX_DATA {}", r.varint()?), Content::Other),
        17 => {
            let (id, most) = (r.varint()?, r.varint()?);
            (format!("MAX_STREAM_DATA[{id}] {most}"), Content::Other)
        }
        18 | 19 => (format!("MAX_STREAMS {} {}", kind(ty == 18), r.varint()?), Content::Other),
        20 => (format!("DATA_BLOCKED {}", r.varint()?), Content::Other),
        21 => {
            let (id, most) = (r.varint()?, r.varint()?);
            (format!("STREAM_DATA_BLOCKED[{id}] {most}"), Content::Other)
        }
        22 | 23 => (format!("STREAMS_BLOCKED {} {}", kind(ty == 22), r.varint()?), Content::Other),
        24 => {
            let (number, before) = (r.varint()?, r.varint()?);
            let id = r.vec8()?;
            let token = r.take(16)?.try_into().ok()?;
            let retire = if before > 0 { format!(" (retire before {before})") } else { String::new() };
            (format!("NEW_CONNECTION_ID{retire} {number}"), Content::NewConnectionId { id, token })
        }
        25 => (format!("RETIRE_CONNECTION_ID {}", r.varint()?), Content::Other),
        26 => (format!("PATH_CHALLENGE {}", hex(r.take(8)?)), Content::Other),
        27 => (format!("PATH_RESPONSE {}", hex(r.take(8)?)), Content::Other),
        28 | 29 => {
            let code = r.varint()?;
            if ty == 28 {
                r.varint()?;
            }
            let reason = lossy(r.vec_varint()?);
            let name = if ty == 28 { error_name(code) } else { format!("application error {code:#x}") };
            let words = if reason.is_empty() { String::new() } else { format!(" \"{reason}\"") };
            let content = Content::Close { code, application: ty == 29, reason };
            (format!("CONNECTION_CLOSE {name}{words}"), content)
        }
        30 => ("HANDSHAKE_DONE".to_string(), Content::Other),
        0x30 => (format!("DATAGRAM ({} B)", r.rest().len()), Content::Other),
        0x31 => (format!("DATAGRAM ({} B)", r.vec_varint()?.len()), Content::Other),
        0xaf => {
            let (_, _, _, _) = (r.varint()?, r.varint()?, r.varint()?, r.varint()?);
            ("ACK_FREQUENCY".to_string(), Content::Other)
        }
        _ => return None,
    };
    Some(Frame { ty, words, content, range: (from, r.at()) })
}

fn kind(bidirectional: bool) -> &'static str {
    if bidirectional { "bidi" } else { "uni" }
}

/// `ACK 5-7 0-3`: the ranges, the newest first.
fn ack<'a>(r: &mut Reader<'a>, ecn: bool) -> Option<(String, Content<'a>)> {
    const SHOWN: usize = 4;
    const KEPT: usize = 32;
    let (largest, _delay, ranges, first) = (r.varint()?, r.varint()?, r.varint()?, r.varint()?);
    let range = |low: u64, high: u64| if low == high { format!("{low}") } else { format!("{low}-{high}") };
    let mut low = largest.checked_sub(first)?;
    let mut texts = vec![range(low, largest)];
    let mut all = vec![(low, largest)];
    if ranges > MAX_RANGES {
        return None;
    }
    for _ in 0..ranges {
        let (gap, len) = (r.varint()?, r.varint()?);
        let high = low.checked_sub(gap)?.checked_sub(2)?;
        low = high.checked_sub(len)?;
        if all.len() < KEPT {
            all.push((low, high));
        }
        if texts.len() < SHOWN {
            texts.push(range(low, high));
        }
    }
    if ranges >= SHOWN as u64 {
        texts.push("…".to_string());
    }
    if ecn {
        let (ect0, ect1, ce) = (r.varint()?, r.varint()?, r.varint()?);
        texts.push(format!("ECN {ect0}/{ect1}/{ce}"));
    }
    Some((format!("ACK {}", texts.join(" ")), Content::Ack { ranges: all }))
}

fn stream<'a>(r: &mut Reader<'a>, ty: u64) -> Option<(String, Content<'a>)> {
    let id = r.varint()?;
    let offset = if ty & 4 != 0 { r.varint()? } else { 0 };
    let data = if ty & 2 != 0 { r.vec_varint()? } else { r.rest() };
    let fin = ty & 1 != 0;
    let end = if fin { " FIN" } else { "" };
    Some((
        format!("STREAM[{id}] {offset}:{}{end}", offset.checked_add(data.len() as u64)?),
        Content::Stream { id, offset, data, fin },
    ))
}

/// RFC 9000 §20.1.
pub(in crate::dissect) fn error_name(code: u64) -> String {
    let name = match code {
        0 => "NO_ERROR",
        1 => "INTERNAL_ERROR",
        2 => "CONNECTION_REFUSED",
        3 => "FLOW_CONTROL_ERROR",
        4 => "STREAM_LIMIT_ERROR",
        5 => "STREAM_STATE_ERROR",
        6 => "FINAL_SIZE_ERROR",
        7 => "FRAME_ENCODING_ERROR",
        8 => "TRANSPORT_PARAMETER_ERROR",
        9 => "CONNECTION_ID_LIMIT_ERROR",
        10 => "PROTOCOL_VIOLATION",
        11 => "INVALID_TOKEN",
        12 => "APPLICATION_ERROR",
        13 => "CRYPTO_BUFFER_EXCEEDED",
        14 => "KEY_UPDATE_ERROR",
        15 => "AEAD_LIMIT_REACHED",
        16 => "NO_VIABLE_PATH",
        0x100..=0x1ff => {
            let alert = u8::try_from(code & 0xff).unwrap_or(0);
            return format!("CRYPTO_ERROR ({})", crate::dissect::tls::names::alert_name(alert));
        }
        _ => return format!("error {code:#x}"),
    };
    name.to_string()
}
