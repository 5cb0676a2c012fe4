//! HTTP/2 frames (RFC 9113 §6): their names, flags, and the small ones in words.

use std::fmt::Write as _;

use crate::dissect::reader::Reader;
use crate::dissect::{Field, Layer, Message, lossy};

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 9;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) len: usize,
    pub(super) ty: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const CONTINUATION: u8 = 9;

/// ACK of SETTINGS and PING, END_STREAM of DATA and HEADERS.
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITY: u8 = 0x20;

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Option<Header> {
        let mut r = Reader::new(bytes);
        let len = usize::try_from(r.u24()?).ok()?;
        let (ty, flags) = (r.u8()?, r.u8()?);
        Some(Header { len, ty, flags, stream: r.u32()? & 0x7fff_ffff })
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// `HEADERS[1]`, as Wireshark writes it.
    pub(super) fn name(&self) -> String {
        format!("{}[{}]", type_name(self.ty), self.stream)
    }

    pub(super) fn fields(&self) -> Vec<Field> {
        vec![
            Field::new("http2.length", self.len).at(0, 3),
            Field::new("http2.type", format!("{} ({})", type_name(self.ty), self.ty)).at(3, 4),
            Field::new("http2.flags", format!("{:#04x}", self.flags)).at(4, 5),
            Field::new("http2.streamid", self.stream).at(5, 9),
        ]
    }

    /// A frame whose words need no memory of others.
    pub(super) fn small(&self, payload: &[u8]) -> Layer {
        let mut fields = self.fields();
        let words = self.words(payload, &mut fields).unwrap_or_else(|| " (malformed)".to_string());
        let message = Message::Http2Frame { ty: self.ty, stream: self.stream };
        let text = format!("{}{words}", self.name());
        Layer::new("HTTP2", crate::dissect::cut(&text), HEADER + self.len, message).with(fields)
    }

    fn words(&self, payload: &[u8], fields: &mut Vec<Field>) -> Option<String> {
        let mut r = Reader::new(payload);
        Some(match self.ty {
            2 => {
                let dependency = r.u32()?;
                let weight = u16::from(r.u8()?) + 1;
                format!(" on {} weight {weight}", dependency & 0x7fff_ffff)
            }
            3 => format!(" {}", error_name(r.u32()?)),
            SETTINGS if self.has(END_STREAM) => " ACK".to_string(),
            SETTINGS => {
                let mut texts = Vec::new();
                while !r.is_empty() {
                    let at = HEADER + r.at();
                    let (id, value) = (r.u16()?, r.u32()?);
                    texts.push(format!("{} {value}", setting_name(id)));
                    fields.push(
                        Field::new("http2.settings", format!("{} {value}", setting_name(id))).at(at, at + 6),
                    );
                }
                if texts.is_empty() { String::new() } else { format!(" {}", texts.join(" ")) }
            }
            6 => if self.has(END_STREAM) { " ACK" } else { "" }.to_string(),
            7 => {
                let (last, code) = (r.u32()? & 0x7fff_ffff, r.u32()?);
                let mut text = format!(" {} last stream {last}", error_name(code));
                if !r.is_empty() {
                    let _ = write!(text, " \"{}\"", lossy(r.rest()));
                }
                text
            }
            8 => {
                let increment = r.u32()? & 0x7fff_ffff;
                fields.push(Field::new("http2.window_update.window_size_increment", increment).at(9, 13));
                format!(" +{increment}")
            }
            10 => {
                let origin = lossy(r.vec16()?);
                format!(" {origin}{}{}", if origin.is_empty() { "" } else { " " }, lossy(r.rest()))
            }
            16 => {
                let stream = r.u32()?;
                format!(" {stream} {}", lossy(r.rest()))
            }
            _ => String::new(),
        })
    }
}

fn type_name(ty: u8) -> String {
    let name = match ty {
        DATA => "DATA",
        HEADERS => "HEADERS",
        2 => "PRIORITY",
        3 => "RST_STREAM",
        SETTINGS => "SETTINGS",
        PUSH_PROMISE => "PUSH_PROMISE",
        6 => "PING",
        7 => "GOAWAY",
        8 => "WINDOW_UPDATE",
        CONTINUATION => "CONTINUATION",
        10 => "ALTSVC",
        12 => "ORIGIN",
        16 => "PRIORITY_UPDATE",
        other => return format!("UNKNOWN {other}"),
    };
    name.to_string()
}

fn setting_name(id: u16) -> String {
    let name = match id {
        1 => "HEADER_TABLE_SIZE",
        2 => "ENABLE_PUSH",
        3 => "MAX_CONCURRENT_STREAMS",
        4 => "INITIAL_WINDOW_SIZE",
        5 => "MAX_FRAME_SIZE",
        6 => "MAX_HEADER_LIST_SIZE",
        8 => "ENABLE_CONNECT_PROTOCOL",
        9 => "NO_RFC7540_PRIORITIES",
        other => return format!("setting {other}"),
    };
    name.to_string()
}

/// RFC 9113 §7.
fn error_name(code: u32) -> String {
    let name = match code {
        0 => "NO_ERROR",
        1 => "PROTOCOL_ERROR",
        2 => "INTERNAL_ERROR",
        3 => "FLOW_CONTROL_ERROR",
        4 => "SETTINGS_TIMEOUT",
        5 => "STREAM_CLOSED",
        6 => "FRAME_SIZE_ERROR",
        7 => "REFUSED_STREAM",
        8 => "CANCEL",
        9 => "COMPRESSION_ERROR",
        10 => "CONNECT_ERROR",
        11 => "ENHANCE_YOUR_CALM",
        12 => "INADEQUATE_SECURITY",
        13 => "HTTP_1_1_REQUIRED",
        other => return format!("error {other:#x}"),
    };
    name.to_string()
}
