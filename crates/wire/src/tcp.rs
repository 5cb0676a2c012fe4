//! TCP headers (RFC 9293 §3.1): ports, sequence numbers, flags, options.

use crate::ParseError;
use crate::checksum::{Sum, pseudo_v4, pseudo_v6, sum};
use crate::field::{need, put, u16_at, u32_at};
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
        let mut header = Header::default();
        let len = header.parse_into(b)?;
        Ok((header, len))
    }

    /// As [`Header::parse`], into a default header that stands where it shall stay: headers are long to move.
    #[inline]
    pub fn parse_into(&mut self, b: &[u8]) -> Result<usize, ParseError> {
        let Some(fixed) = b.first_chunk::<MIN_HEADER_LEN>() else {
            return Err(ParseError::Truncated { what: "TCP header", need: MIN_HEADER_LEN, have: b.len() });
        };
        let len = usize::from(fixed[12] >> 4) * 4;
        if len < MIN_HEADER_LEN {
            return Err(ParseError::BadLength { what: "TCP data offset", offset: 12, value: len });
        }
        need("TCP header", b, len)?;
        self.src_port = u16_at(fixed, 0);
        self.dst_port = u16_at(fixed, 2);
        self.seq = SeqNum(u32_at(fixed, 4));
        self.ack = SeqNum(u32_at(fixed, 8));
        self.flags = Flags(u16_at(fixed, 12) & 0x0fff);
        self.window = u16_at(fixed, 14);
        self.checksum = u16_at(fixed, 16);
        self.urgent = u16_at(fixed, 18);
        if len > MIN_HEADER_LEN {
            self.options.parse_into(&b[MIN_HEADER_LEN..len]);
        }
        Ok(len)
    }

    /// Bytes [`Header::emit`] writes: 20 plus the options.
    #[inline]
    pub const fn header_len(&self) -> usize {
        MIN_HEADER_LEN + self.options.len()
    }

    /// Writes the header with its checksum field as it stands. Panics when `b` is shorter than it.
    #[inline]
    pub fn emit(&self, b: &mut [u8]) {
        self.write(b, self.words(self.checksum));
    }

    /// Writes the header with the checksum of the segment: `pseudo` is the sum of the pseudo header
    /// ([`crate::checksum::pseudo_v4`], [`crate::checksum::pseudo_v6`]) and `payload` that of the payload,
    /// wherever it is. Panics when `b` is shorter than the header.
    #[inline]
    pub fn emit_with_checksum(&self, b: &mut [u8], pseudo: Sum, payload: Sum) {
        let (first, second, third) = self.words(0);
        let halves = |w: u64| (w >> 32) + (w & 0xffff_ffff);
        let mut total = pseudo + Sum::from_words(halves(first) + halves(second) + u64::from(third));
        if !self.options.is_empty() {
            total = total + self.options.sum();
        }
        let checksum = (total + payload).finish();
        self.write(b, (first, second, third | u32::from(checksum) << 16));
    }

    /// The 20 fixed bytes as big-endian numbers: see [`crate::ipv4::Header`]'s.
    #[inline]
    fn words(&self, checksum: u16) -> (u64, u64, u32) {
        let first =
            (u64::from(self.src_port) << 48) | (u64::from(self.dst_port) << 32) | u64::from(self.seq.0);
        let second = (u64::from(self.ack.0) << 32)
            | ((self.header_len() / 4) as u64) << 28 // at most 15: widening
            | (u64::from(self.flags.0 & 0x0fff) << 16)
            | u64::from(self.window);
        (first, second, (u32::from(checksum) << 16) | u32::from(self.urgent))
    }

    #[inline]
    fn write(&self, b: &mut [u8], (first, second, third): (u64, u64, u32)) {
        let b = &mut b[..self.header_len()];
        let (fixed, rest) = b.split_first_chunk_mut::<MIN_HEADER_LEN>().expect("sliced to the length");
        put(fixed, 0, &first.to_be_bytes());
        put(fixed, 8, &second.to_be_bytes());
        put(fixed, 16, &third.to_be_bytes());
        self.options.write(rest);
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
