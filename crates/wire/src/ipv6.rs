//! IPv6 headers (RFC 8200 §3). Validity as Linux's ip6_input.c `ip6_rcv_core`.

use crate::ParseError;
use crate::field::{need, put, put_u16, put_u32, u16_at, u32_at, v6_at};
use crate::ip::Protocol;
use core::net::Ipv6Addr;

pub mod ext;
pub use ext::FragmentHeader;

/// Bytes of an IPv6 header.
pub const HEADER_LEN: usize = 40;

/// An IPv6 header, without extension headers (see [`ext`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// DSCP in the upper six bits, ECN in the lower two.
    pub traffic_class: u8,
    /// 20 bits.
    pub flow_label: u32,
    /// Bytes after this header, extension headers included; 0 with a jumbo payload option.
    pub payload_len: u16,
    /// What follows: an extension header or the upper layer.
    pub next_header: Protocol,
    /// Hops left.
    pub hop_limit: u8,
    /// Source.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
}

impl Header {
    /// Reads the header; the second value is 40. Checks the version and that `payload_len` is not
    /// longer than the bytes there.
    pub fn parse(b: &[u8]) -> Result<(Header, usize), ParseError> {
        let (header, n) = Header::parse_quoted(b)?;
        need("IPv6 packet", b, HEADER_LEN + usize::from(header.payload_len))?;
        Ok((header, n))
    }

    /// As [`Header::parse`], for a packet cut short as in an ICMPv6 error: `payload_len` may reach past
    /// the end of `b`.
    pub fn parse_quoted(b: &[u8]) -> Result<(Header, usize), ParseError> {
        need("IPv6 header", b, HEADER_LEN)?;
        let first = u32_at(b, 0);
        if first >> 28 != 6 {
            return Err(ParseError::BadVersion { what: "IPv6 header", found: b[0] >> 4 });
        }
        let header = Header {
            traffic_class: (b[0] << 4) | (b[1] >> 4),
            flow_label: first & 0xf_ffff,
            payload_len: u16_at(b, 4),
            next_header: Protocol(b[6]),
            hop_limit: b[7],
            src: v6_at(b, 8),
            dst: v6_at(b, 24),
        };
        Ok((header, HEADER_LEN))
    }

    /// Bytes [`Header::emit`] writes: 40.
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header; `flow_label` is cut to 20 bits. Panics when `b` is shorter than 40 bytes.
    pub fn emit(&self, b: &mut [u8]) {
        let first = (6 << 28) | (u32::from(self.traffic_class) << 20) | (self.flow_label & 0xf_ffff);
        put_u32(b, 0, first);
        put_u16(b, 4, self.payload_len);
        b[6] = self.next_header.0;
        b[7] = self.hop_limit;
        put(b, 8, &self.src.octets());
        put(b, 24, &self.dst.octets());
    }
}
