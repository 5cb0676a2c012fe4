//! IGMP version 1, 2 and 3 (RFC 1112 appendix I, RFC 2236, RFC 3376). Linux: igmp.c.

use crate::ParseError;
use crate::field::{array, need, put, put_u16, u16_at, v4_at};
use core::net::Ipv4Addr;

pub use crate::group::{IgmpRecord, IgmpRecordIter, RecordKind, SourceQuery, igmp_records};
// RFC 1112 took ICMP's checksum and its place.
pub use crate::icmpv4::{set_checksum, verify_checksum};

/// Types as on the wire.
pub mod kind {
    /// Membership query, all versions.
    pub const QUERY: u8 = 0x11;
    /// Version 1 report.
    pub const REPORT_V1: u8 = 0x12;
    /// Version 2 report.
    pub const REPORT_V2: u8 = 0x16;
    /// Version 2 leave.
    pub const LEAVE: u8 = 0x17;
    /// Version 3 report.
    pub const REPORT_V3: u8 = 0x22;
}

/// An IGMP message without the sources or records that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "group is the group address of each message")]
pub enum Message {
    /// `v3` is there from 12 bytes on (RFC 3376 §7.1); without it, a `max_response_code` of 0 means
    /// version 1. In tenths of a second below 128. Group 0.0.0.0 is a general query.
    Query {
        max_response_code: u8,
        group: Ipv4Addr,
        v3: Option<SourceQuery>,
    },
    ReportV1 {
        group: Ipv4Addr,
    },
    ReportV2 {
        group: Ipv4Addr,
    },
    Leave {
        group: Ipv4Addr,
    },
    /// This many records follow: [`igmp_records`].
    ReportV3 {
        records: u16,
    },
    /// Any other; `code` is byte 1, `rest` bytes 4 to 7.
    Unknown {
        kind: u8,
        code: u8,
        rest: [u8; 4],
    },
}

impl Message {
    /// Reads the message; the second value is the length of its fixed part, 8 or 12. Not the checksum:
    /// see [`verify_checksum`].
    pub fn parse(b: &[u8]) -> Result<(Message, usize), ParseError> {
        need("IGMP header", b, 8)?;
        let group = v4_at(b, 4);
        let message = match b[0] {
            kind::QUERY => Message::Query { max_response_code: b[1], group, v3: SourceQuery::parse(b, 8) },
            kind::REPORT_V1 => Message::ReportV1 { group },
            kind::REPORT_V2 => Message::ReportV2 { group },
            kind::LEAVE => Message::Leave { group },
            kind::REPORT_V3 => Message::ReportV3 { records: u16_at(b, 6) },
            kind => Message::Unknown { kind, code: b[1], rest: array(b, 4) },
        };
        Ok((message, message.header_len()))
    }

    /// The type as on the wire.
    pub const fn kind(&self) -> u8 {
        match *self {
            Message::Query { .. } => kind::QUERY,
            Message::ReportV1 { .. } => kind::REPORT_V1,
            Message::ReportV2 { .. } => kind::REPORT_V2,
            Message::Leave { .. } => kind::LEAVE,
            Message::ReportV3 { .. } => kind::REPORT_V3,
            Message::Unknown { kind, .. } => kind,
        }
    }

    /// Bytes [`Message::emit`] writes: 8, or 12 for a version 3 query.
    pub const fn header_len(&self) -> usize {
        if let Message::Query { v3: Some(_), .. } = self { 12 } else { 8 }
    }

    /// Writes the fixed part with a zero checksum field; once the rest stands behind it,
    /// [`set_checksum`]. Panics when `b` is shorter than the fixed part.
    pub fn emit(&self, b: &mut [u8]) {
        let b = &mut b[..self.header_len()];
        b.fill(0);
        b[0] = self.kind();
        match *self {
            Message::Query { max_response_code, group, v3 } => {
                b[1] = max_response_code;
                put(b, 4, &group.octets());
                if let Some(v3) = v3 {
                    v3.emit(b, 8);
                }
            }
            Message::ReportV1 { group } | Message::ReportV2 { group } | Message::Leave { group } => {
                put(b, 4, &group.octets());
            }
            Message::ReportV3 { records } => put_u16(b, 6, records),
            Message::Unknown { code, rest, .. } => {
                b[1] = code;
                put(b, 4, &rest);
            }
        }
    }
}
