//! GRE version 0: RFC 2784, with the key and sequence number of RFC 2890. Linux: gre_demux.c.

use crate::ParseError;
use crate::checksum::sum;
use crate::ethernet::EtherType;
use crate::field::{need, put, put_u16, put_u32, u16_at, u32_at};

const CHECKSUM: u16 = 0x8000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;

/// A GRE header: 4 bytes and 4 more for each part that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// What is inside: IPV4, IPV6 or TEB.
    pub protocol: EtherType,
    /// The checksum field, when present, as on the wire.
    pub checksum: Option<u16>,
    /// The tunnel's key.
    pub key: Option<u32>,
    /// The packet's number in the tunnel.
    pub sequence: Option<u32>,
}

impl Header {
    /// Reads the header; the second value is its length, 4 to 16. Version 1 (PPTP) and RFC 1701
    /// routing are refused, as by Linux.
    pub fn parse(b: &[u8]) -> Result<(Header, usize), ParseError> {
        need("GRE header", b, 4)?;
        let flags = u16_at(b, 0);
        if flags & 7 != 0 {
            return Err(ParseError::BadVersion { what: "GRE header", found: (flags & 7) as u8 });
        }
        if flags & !(CHECKSUM | KEY | SEQUENCE) != 0 {
            return Err(ParseError::BadValue { what: "GRE flags", offset: 0, value: flags.into() });
        }
        let mut header =
            Header { protocol: EtherType(u16_at(b, 2)), checksum: None, key: None, sequence: None };
        let parts = [flags & CHECKSUM, flags & KEY, flags & SEQUENCE];
        need("GRE header", b, 4 + 4 * parts.iter().filter(|p| **p != 0).count())?;
        let mut at = 4;
        if flags & CHECKSUM != 0 {
            header.checksum = Some(u16_at(b, at));
            at += 4; // and 16 reserved bits
        }
        if flags & KEY != 0 {
            header.key = Some(u32_at(b, at));
            at += 4;
        }
        if flags & SEQUENCE != 0 {
            header.sequence = Some(u32_at(b, at));
            at += 4;
        }
        Ok((header, at))
    }

    /// Bytes [`Header::emit`] writes: 4, 8, 12 or 16.
    pub const fn header_len(&self) -> usize {
        4 + 4
            * (self.checksum.is_some() as usize
                + self.key.is_some() as usize
                + self.sequence.is_some() as usize)
    }

    /// Writes the header, its checksum field as it stands (see [`set_checksum`]). Panics when `b` is
    /// shorter than it.
    pub fn emit(&self, b: &mut [u8]) {
        let mut flags = 0;
        let mut at = 4;
        if let Some(checksum) = self.checksum {
            flags |= CHECKSUM;
            put_u16(b, at, checksum);
            put(b, at + 2, &[0, 0]);
            at += 4;
        }
        if let Some(key) = self.key {
            flags |= KEY;
            put_u32(b, at, key);
            at += 4;
        }
        if let Some(sequence) = self.sequence {
            flags |= SEQUENCE;
            put_u32(b, at, sequence);
        }
        put_u16(b, 0, flags);
        put_u16(b, 2, self.protocol.0);
    }
}

/// Computes and stores the checksum of `packet`, a GRE header with a checksum part and its payload.
pub fn set_checksum(packet: &mut [u8]) {
    put_u16(packet, 4, 0);
    let checksum = sum(packet).finish();
    put_u16(packet, 4, checksum);
}

/// The checksum of `packet`, a GRE header with a checksum part and its payload, is right.
pub fn verify_checksum(packet: &[u8]) -> bool {
    sum(packet).is_valid()
}
