//! IPv4 headers (RFC 791 §3.1) with their options. Validity as Linux's ip_input.c `ip_rcv_core`.

use crate::ParseError;
use crate::checksum::sum;
use crate::field::{need, put, put_u16, u16_at, v4_at};
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
        let b = &mut b[..self.header_len()];
        self.write(b, 0);
        let checksum = sum(b).finish();
        put_u16(b, 10, checksum);
    }

    /// Writes the header with the checksum as stored: what was parsed comes out byte for byte.
    #[inline]
    pub fn emit_raw(&self, b: &mut [u8]) {
        self.write(&mut b[..self.header_len()], self.checksum);
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a header is at most 60 bytes")]
    fn write(&self, b: &mut [u8], checksum: u16) {
        let fixed = b.first_chunk_mut::<MIN_HEADER_LEN>().expect("sliced to the header's length");
        let frag = (u16::from(self.reserved_flag) << 15)
            | (u16::from(self.dont_fragment) << 14)
            | (u16::from(self.more_fragments) << 13)
            | (self.frag_offset / 8);
        fixed[0] = 0x40 | (self.header_len() / 4) as u8;
        fixed[1] = self.tos;
        put_u16(fixed, 2, self.total_len);
        put_u16(fixed, 4, self.id);
        put_u16(fixed, 6, frag);
        fixed[8] = self.ttl;
        fixed[9] = self.protocol.0;
        put_u16(fixed, 10, checksum);
        put(fixed, 12, &self.src.octets());
        put(fixed, 16, &self.dst.octets());
        if !self.options.is_empty() {
            put(b, MIN_HEADER_LEN, self.options.as_bytes());
        }
    }
}

/// The checksum over `header` (all of it, options included) is right.
#[inline]
pub fn verify_checksum(header: &[u8]) -> bool {
    sum(header).is_valid()
}
