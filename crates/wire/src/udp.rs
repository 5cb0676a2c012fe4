//! UDP (RFC 768; over IPv6: RFC 8200 §8.1). Lengths are checked as Linux does: udp.c `__udp4_lib_rcv`.

use crate::ParseError;
use crate::checksum::{Sum, pseudo_v4, pseudo_v6, sum};
use crate::field::{need, put_u16, u16_at};
use crate::ip::Protocol;
use core::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a UDP header.
pub const HEADER_LEN: usize = 8;

/// A UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Source port; 0 when the sender wants no answer.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Header and payload, in bytes: at least 8.
    pub len: u16,
    /// As on the wire; 0 over IPv4 means that the sender computed none.
    pub checksum: u16,
}

impl Header {
    /// Reads the header; the second value is 8. `len` is at least 8 and no more than the bytes there
    /// (bytes past it are lower-layer padding).
    pub fn parse(b: &[u8]) -> Result<(Header, usize), ParseError> {
        let (header, n) = Header::parse_quoted(b)?;
        need("UDP datagram", b, header.len.into())?;
        Ok((header, n))
    }

    /// As [`Header::parse`], for a datagram cut short as in an ICMP error: `len` may reach past the end.
    pub fn parse_quoted(b: &[u8]) -> Result<(Header, usize), ParseError> {
        need("UDP header", b, HEADER_LEN)?;
        let header = Header {
            src_port: u16_at(b, 0),
            dst_port: u16_at(b, 2),
            len: u16_at(b, 4),
            checksum: u16_at(b, 6),
        };
        if usize::from(header.len) < HEADER_LEN {
            return Err(ParseError::BadLength { what: "UDP length", offset: 4, value: header.len.into() });
        }
        Ok((header, HEADER_LEN))
    }

    /// Bytes [`Header::emit`] writes: 8.
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header with its checksum field as it stands. Panics when `b` is shorter than 8 bytes.
    pub fn emit(&self, b: &mut [u8]) {
        put_u16(b, 0, self.src_port);
        put_u16(b, 2, self.dst_port);
        put_u16(b, 4, self.len);
        put_u16(b, 6, self.checksum);
    }
}

/// The checksum of `datagram` (header with a zero checksum field, then payload) over IPv4, never 0:
/// a computed 0 is sent as 0xffff.
pub fn checksum_v4(src: Ipv4Addr, dst: Ipv4Addr, datagram: &[u8]) -> u16 {
    not_zero((pseudo_v4(src, dst, Protocol::UDP, len16(datagram)) + sum(datagram)).finish())
}

/// The same over IPv6.
pub fn checksum_v6(src: Ipv6Addr, dst: Ipv6Addr, datagram: &[u8]) -> u16 {
    not_zero((pseudo_v6(src, dst, Protocol::UDP, len16(datagram).into()) + sum(datagram)).finish())
}

/// The checksum when the payload's sum is known already (a [`crate::Frame`] tail): `header` is the 8
/// header bytes with a zero checksum field, `pseudo` from [`pseudo_v4`] or [`pseudo_v6`].
pub fn checksum_parts(pseudo: Sum, header: &[u8], payload: Sum) -> u16 {
    not_zero((pseudo + sum(header) + payload).finish())
}

/// `datagram`'s checksum is right, or absent (0), over IPv4.
pub fn verify_v4(src: Ipv4Addr, dst: Ipv4Addr, datagram: &[u8]) -> bool {
    datagram.get(6..8) == Some(&[0, 0])
        || (pseudo_v4(src, dst, Protocol::UDP, len16(datagram)) + sum(datagram)).is_valid()
}

/// `datagram`'s checksum is right over IPv6, where it must not be absent.
pub fn verify_v6(src: Ipv6Addr, dst: Ipv6Addr, datagram: &[u8]) -> bool {
    datagram.get(6..8) != Some(&[0, 0])
        && (pseudo_v6(src, dst, Protocol::UDP, len16(datagram).into()) + sum(datagram)).is_valid()
}

/// A UDP length; longer slices cannot be one datagram and sum to nothing valid.
fn len16(datagram: &[u8]) -> u16 {
    u16::try_from(datagram.len()).unwrap_or(u16::MAX)
}

fn not_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}
