//! VXLAN (RFC 7348 §5): an Ethernet frame inside UDP. Linux: vxlan_core.c.

use crate::ParseError;
use crate::field::{need, put, put_u32, u32_at};

/// Bytes of a VXLAN header.
pub const HEADER_LEN: usize = 8;
/// IANA's destination port. (Linux's `vxlan` module keeps 8472 as its default, for history.)
pub const PORT: u16 = 4789;
/// Linux's default destination port.
pub const LINUX_PORT: u16 = 8472;

/// A VXLAN header. Reserved bits are ignored on receipt and sent as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// VXLAN network identifier, 24 bits.
    pub vni: u32,
}

impl Header {
    /// Reads the header; the second value is 8. The I flag must be set.
    pub fn parse(b: &[u8]) -> Result<(Header, usize), ParseError> {
        need("VXLAN header", b, HEADER_LEN)?;
        if b[0] & 0x08 == 0 {
            return Err(ParseError::BadValue { what: "VXLAN flags", offset: 0, value: b[0].into() });
        }
        Ok((Header { vni: u32_at(b, 4) >> 8 }, HEADER_LEN))
    }

    /// Bytes [`Header::emit`] writes: 8.
    pub const fn header_len(&self) -> usize {
        HEADER_LEN
    }

    /// Writes the header; `vni` is cut to 24 bits. Panics when `b` is shorter than 8 bytes.
    pub fn emit(&self, b: &mut [u8]) {
        put(b, 0, &[8, 0, 0, 0]);
        put_u32(b, 4, self.vni << 8);
    }
}
