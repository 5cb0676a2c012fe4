//! TCP headers (RFC 9293 §3.1): ports, sequence numbers, flags, options.

use crate::ParseError;
use crate::checksum::{pseudo_v4, pseudo_v6, sum};
use crate::field::{need, put, put_u16, put_u32, u16_at, u32_at};
use crate::ip::Protocol;
use core::net::{Ipv4Addr, Ipv6Addr};

mod flags;
mod options;
mod seq;

pub use flags::Flags;
pub use options::{FastOpen, Opt, OptionIter, OptionSet, Options, Sack, SackBlock, Timestamps, TooLong};
pub use seq::SeqNum;

/// Bytes of a header without options.
pub const MIN_HEADER_LEN: usize = 20;
/// Bytes of a header with as many options as fit.
pub const MAX_HEADER_LEN: usize = 60;

/// A TCP header. The data offset is not stored: it follows from the options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number of the first byte of the payload, or of the SYN.
    pub seq: SeqNum,
    /// Next sequence number expected, when the ACK flag is set.
    pub ack: SeqNum,
    /// Flags, and the three reserved bits.
    pub flags: Flags,
    /// Window as on the wire, not scaled.
    pub window: u16,
    /// As on the wire.
    pub checksum: u16,
    /// Urgent pointer, when the URG flag is set.
    pub urgent: u16,
    /// Options and their padding.
    pub options: Options,
}

impl Header {
    /// Reads the header; the second value is its length, 20 to 60. Checks the data offset; not the
    /// checksum, and malformed options are no error (see [`Options::is_malformed`]): Linux's
    /// tcp_input.c `tcp_parse_options` keeps what it read before them.
    #[inline]
    pub fn parse(b: &[u8]) -> Result<(Header, usize), ParseError> {
        let Some(fixed) = b.first_chunk::<MIN_HEADER_LEN>() else {
            return Err(ParseError::Truncated { what: "TCP header", need: MIN_HEADER_LEN, have: b.len() });
        };
        let len = usize::from(fixed[12] >> 4) * 4;
        if len < MIN_HEADER_LEN {
            return Err(ParseError::BadLength { what: "TCP data offset", offset: 12, value: len });
        }
        need("TCP header", b, len)?;
        let header = Header {
            src_port: u16_at(fixed, 0),
            dst_port: u16_at(fixed, 2),
            seq: SeqNum(u32_at(fixed, 4)),
            ack: SeqNum(u32_at(fixed, 8)),
            flags: Flags(u16_at(fixed, 12) & 0x0fff),
            window: u16_at(fixed, 14),
            checksum: u16_at(fixed, 16),
            urgent: u16_at(fixed, 18),
            options: Options::parse(&b[MIN_HEADER_LEN..len]),
        };
        Ok((header, len))
    }

    /// Bytes [`Header::emit`] writes: 20 plus the options.
    #[inline]
    pub const fn header_len(&self) -> usize {
        MIN_HEADER_LEN + self.options.len()
    }

    /// Writes the header with its checksum field as it stands. Panics when `b` is shorter than it.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a header is at most 60 bytes")]
    pub fn emit(&self, b: &mut [u8]) {
        let len = self.header_len();
        let b = &mut b[..len];
        let fixed = b.first_chunk_mut::<MIN_HEADER_LEN>().expect("sliced to the header's length");
        put_u16(fixed, 0, self.src_port);
        put_u16(fixed, 2, self.dst_port);
        put_u32(fixed, 4, self.seq.0);
        put_u32(fixed, 8, self.ack.0);
        put_u16(fixed, 12, ((len / 4) << 12) as u16 | (self.flags.0 & 0x0fff));
        put_u16(fixed, 14, self.window);
        put_u16(fixed, 16, self.checksum);
        put_u16(fixed, 18, self.urgent);
        if !self.options.is_empty() {
            put(b, MIN_HEADER_LEN, self.options.as_bytes());
        }
    }

    /// Sequence numbers the segment takes: payload, SYN and FIN (SEG.LEN of RFC 9293 §3.4).
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "payloads fit an IP packet")]
    pub const fn seq_len(&self, payload_len: usize) -> u32 {
        payload_len as u32 + self.flags.contains(Flags::SYN) as u32 + self.flags.contains(Flags::FIN) as u32
    }
}

/// The checksum of `segment` (header with a zero checksum field, then payload) over IPv4.
#[inline]
pub fn checksum_v4(src: Ipv4Addr, dst: Ipv4Addr, segment: &[u8]) -> u16 {
    (pseudo_v4(src, dst, Protocol::TCP, len16(segment)) + sum(segment)).finish()
}

/// The same over IPv6.
#[inline]
pub fn checksum_v6(src: Ipv6Addr, dst: Ipv6Addr, segment: &[u8]) -> u16 {
    (pseudo_v6(src, dst, Protocol::TCP, len16(segment).into()) + sum(segment)).finish()
}

/// `segment`'s checksum is right over IPv4.
#[inline]
pub fn verify_v4(src: Ipv4Addr, dst: Ipv4Addr, segment: &[u8]) -> bool {
    (pseudo_v4(src, dst, Protocol::TCP, len16(segment)) + sum(segment)).is_valid()
}

/// `segment`'s checksum is right over IPv6.
#[inline]
pub fn verify_v6(src: Ipv6Addr, dst: Ipv6Addr, segment: &[u8]) -> bool {
    (pseudo_v6(src, dst, Protocol::TCP, len16(segment).into()) + sum(segment)).is_valid()
}

/// A segment's length; longer slices cannot be one segment and sum to nothing valid.
#[inline]
fn len16(segment: &[u8]) -> u16 {
    u16::try_from(segment.len()).unwrap_or(u16::MAX)
}
