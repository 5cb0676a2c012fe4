//! IPv4 headers (RFC 791 §3.1) with their options. Validity as Linux's ip_input.c `ip_rcv_core`.

use crate::ParseError;
use crate::checksum::{Sum, sum};
use crate::field::{need, put, u16_at, v4_at};
use crate::ip::Protocol;
use core::net::Ipv4Addr;

mod options;
pub use options::{Opt, OptionIter, Options, TooLong};

/// Bytes of a header without options.
pub const MIN_HEADER_LEN: usize = 20;
/// Bytes of a header with as many options as fit.
pub const MAX_HEADER_LEN: usize = 60;

/// An IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Type of service: DSCP in the upper six bits, ECN in the lower two.
    pub tos: u8,
    /// Header and payload, in bytes.
    pub total_len: u16,
    /// Identification, shared by the fragments of one datagram.
    pub id: u16,
    /// The reserved flag ("evil bit", RFC 3514); nobody sets it.
    pub reserved_flag: bool,
    /// DF.
    pub dont_fragment: bool,
    /// MF: more fragments follow.
    pub more_fragments: bool,
    /// Where in the datagram this fragment's payload belongs, in **bytes**: a multiple of 8 up to 65528.
    pub frag_offset: u16,
    /// Hops left.
    pub ttl: u8,
    /// What follows.
    pub protocol: Protocol,
    /// Header checksum as parsed; [`Header::emit`] ignores it and computes a new one.
    pub checksum: u16,
    /// Source.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
    /// Options and their padding.
    pub options: Options,
}

impl Default for Header {
    /// 0.0.0.0 to 0.0.0.0, TTL 64, protocol 255, `total_len` 20, no flags and no options.
    fn default() -> Self {
        Header {
            tos: 0,
            total_len: 20,
            id: 0,
            reserved_flag: false,
            dont_fragment: false,
            more_fragments: false,
            frag_offset: 0,
            ttl: 64,
            protocol: Protocol::RAW,
            checksum: 0,
            src: Ipv4Addr::UNSPECIFIED,
            dst: Ipv4Addr::UNSPECIFIED,
            options: Options::EMPTY,
        }
    }
}

impl Header {
    /// Reads the header; the second value is its length, 20 to 60. Checks version, header length and
    /// that `total_len` is neither shorter than the header nor longer than `b`; not the checksum.
    #[inline]
    pub fn parse(b: &[u8]) -> Result<(Header, usize), ParseError> {
        let (header, ihl) = Header::parse_quoted(b)?;
        if usize::from(header.total_len) > b.len() {
            return Err(ParseError::Truncated {
                what: "IPv4 packet",
                need: header.total_len.into(),
                have: b.len(),
            });
        }
        Ok((header, ihl))
    }

    /// As [`Header::parse`], for a packet cut short as in an ICMP error: `total_len` may reach past the
    /// end of `b`.
    #[inline]
    pub fn parse_quoted(b: &[u8]) -> Result<(Header, usize), ParseError> {
        let Some(fixed) = b.first_chunk::<MIN_HEADER_LEN>() else {
            return Err(ParseError::Truncated { what: "IPv4 header", need: MIN_HEADER_LEN, have: b.len() });
        };
        if fixed[0] >> 4 != 4 {
            return Err(ParseError::BadVersion { what: "IPv4 header", found: fixed[0] >> 4 });
        }
        let ihl = usize::from(fixed[0] & 15) * 4;
        if ihl < MIN_HEADER_LEN {
            return Err(ParseError::BadLength { what: "IPv4 header length", offset: 0, value: ihl });
        }
        let options = if ihl == MIN_HEADER_LEN {
            Options::EMPTY
        } else {
            need("IPv4 header", b, ihl)?;
            Options::from_padded(&b[MIN_HEADER_LEN..ihl])
        };
        let frag = u16_at(fixed, 6);
        let header = Header {
            tos: fixed[1],
            total_len: u16_at(fixed, 2),
            id: u16_at(fixed, 4),
            reserved_flag: frag & 0x8000 != 0,
            dont_fragment: frag & 0x4000 != 0,
            more_fragments: frag & 0x2000 != 0,
            frag_offset: (frag & 0x1fff) * 8,
            ttl: fixed[8],
            protocol: Protocol(fixed[9]),
            checksum: u16_at(fixed, 10),
            src: v4_at(fixed, 12),
            dst: v4_at(fixed, 16),
            options,
        };
        if usize::from(header.total_len) < ihl {
            return Err(ParseError::BadLength {
                what: "IPv4 total length",
                offset: 2,
                value: header.total_len.into(),
            });
        }
        Ok((header, ihl))
    }

    /// Bytes [`Header::emit`] writes: 20 plus the options.
    #[inline]
    pub const fn header_len(&self) -> usize {
        MIN_HEADER_LEN + self.options.len()
    }

    /// Bytes after the header, by `total_len`.
    #[inline]
    pub fn payload_len(&self) -> usize {
        usize::from(self.total_len).saturating_sub(self.header_len())
    }

    /// A part of a datagram, not a whole one.
    #[inline]
    pub const fn is_fragment(&self) -> bool {
        self.more_fragments || self.frag_offset != 0
    }

    /// Writes the header with a freshly computed checksum. Panics when `b` is shorter than it.
    #[inline]
    pub fn emit(&self, b: &mut [u8]) {
        let (first, second, third) = self.words(0);
        let mut total = Sum::from_words(halves(first) + halves(second) + u64::from(third));
        if !self.options.is_empty() {
            total = total + sum(self.options.as_bytes());
        }
        self.write(b, (first, second | u64::from(total.finish()) << 32, third));
    }

    /// Writes the header with the checksum as stored: what was parsed comes out byte for byte.
    #[inline]
    pub fn emit_raw(&self, b: &mut [u8]) {
        self.write(b, self.words(self.checksum));
    }

    /// The 20 fixed bytes as big-endian numbers: a processor reads back wide stores sooner than many
    /// narrow ones, and can sum them before they are stored.
    #[inline]
    fn words(&self, checksum: u16) -> (u64, u64, u32) {
        let frag = (u16::from(self.reserved_flag) << 15)
            | (u16::from(self.dont_fragment) << 14)
            | (u16::from(self.more_fragments) << 13)
            | (self.frag_offset / 8);
        let first = ((0x40 | (self.header_len() / 4) as u64) << 56) // at most 15: widening
            | (u64::from(self.tos) << 48)
            | (u64::from(self.total_len) << 32)
            | (u64::from(self.id) << 16)
            | u64::from(frag);
        let second = (u64::from(self.ttl) << 56)
            | (u64::from(self.protocol.0) << 48)
            | (u64::from(checksum) << 32)
            | u64::from(self.src.to_bits());
        (first, second, self.dst.to_bits())
    }

    #[inline]
    fn write(&self, b: &mut [u8], (first, second, third): (u64, u64, u32)) {
        let b = &mut b[..self.header_len()];
        let fixed = b.first_chunk_mut::<MIN_HEADER_LEN>().expect("sliced to the header's length");
        put(fixed, 0, &first.to_be_bytes());
        put(fixed, 8, &second.to_be_bytes());
        put(fixed, 16, &third.to_be_bytes());
        if !self.options.is_empty() {
            put(b, MIN_HEADER_LEN, self.options.as_bytes());
        }
    }
}

/// The 32-bit halves of `word` added up: the same one's complement sum.
#[inline]
const fn halves(word: u64) -> u64 {
    (word >> 32) + (word & 0xffff_ffff)
}

/// The checksum over `header` (all of it, options included) is right.
#[inline]
pub fn verify_checksum(header: &[u8]) -> bool {
    sum(header).is_valid()
}
