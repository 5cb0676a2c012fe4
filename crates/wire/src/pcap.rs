//! Classic pcap files (draft-ietf-opsawg-pcap): micro- or nanoseconds, either byte order.

use crate::Instant;
use crate::capture::{CaptureError, LinkType};
use crate::field::u32_at;

/// Magic number of files with microseconds, in the file's own order.
const MAGIC_US: u32 = 0xa1b2_c3d4;
/// Magic number of files with nanoseconds.
const MAGIC_NS: u32 = 0xa1b2_3c4d;

/// A packet of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// When.
    pub at: Instant,
    /// The bytes captured.
    pub bytes: &'a [u8],
    /// Bytes the packet had.
    pub original_len: u32,
}

/// Reads packets one by one, each with its offset in the file; stops after the first error.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    swapped: bool,
    nanoseconds: bool,
    link_type: LinkType,
    snap_len: u32,
}

impl<'a> Reader<'a> {
    /// The first four bytes are those of a pcap file.
    pub fn recognises(bytes: &[u8]) -> bool {
        bytes.len() >= 4
            && [MAGIC_US, MAGIC_NS].iter().any(|m| {
                let first = u32_at(bytes, 0);
                first == *m || first.swap_bytes() == *m
            })
    }

    /// Reads the file header.
    pub fn new(bytes: &'a [u8]) -> Result<Reader<'a>, CaptureError> {
        if bytes.len() < 24 {
            return Err(CaptureError::Truncated {
                offset: 0,
                what: "pcap file header",
                need: 24,
                have: bytes.len(),
            });
        }
        let first = u32_at(bytes, 0);
        let (swapped, nanoseconds) = match first {
            MAGIC_US => (false, false),
            MAGIC_NS => (false, true),
            m if m.swap_bytes() == MAGIC_US => (true, false),
            m if m.swap_bytes() == MAGIC_NS => (true, true),
            first => return Err(CaptureError::UnknownFormat { first }),
        };
        let mut reader = Reader { bytes, at: 24, swapped, nanoseconds, link_type: LinkType(0), snap_len: 0 };
        let version = crate::field::u16_at(bytes, 4);
        let major = if swapped { version.swap_bytes() } else { version };
        if major != 2 {
            return Err(CaptureError::BadVersion { offset: 4, value: major });
        }
        reader.snap_len = reader.u32(16);
        // The upper half tells about frame check sequences.
        reader.link_type = LinkType((reader.u32(20) & 0xffff) as u16);
        Ok(reader)
    }

    /// What every packet begins with.
    pub const fn link_type(&self) -> LinkType {
        self.link_type
    }

    /// Most bytes captured of a packet.
    pub const fn snap_len(&self) -> u32 {
        self.snap_len
    }

    fn u32(&self, at: usize) -> u32 {
        let v = u32_at(self.bytes, at);
        if self.swapped { v.swap_bytes() } else { v }
    }

    fn step(&self) -> Result<Packet<'a>, CaptureError> {
        let have = self.bytes.len() - self.at;
        let truncated = |what, need| Err(CaptureError::Truncated { offset: self.at, what, need, have });
        if have < 16 {
            return truncated("pcap packet header", 16);
        }
        let unit = if self.nanoseconds { 1 } else { 1000 };
        let seconds = u64::from(self.u32(self.at)) * 1_000_000_000;
        let at = Instant::from_nanos(seconds + u64::from(self.u32(self.at + 4)) * unit);
        let captured = self.u32(self.at + 8) as usize; // at least 32 bits wide
        match self.bytes[self.at + 16..].get(..captured) {
            Some(bytes) => Ok(Packet { at, bytes, original_len: self.u32(self.at + 12) }),
            None => truncated("captured packet", captured.saturating_add(16)),
        }
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<(usize, Packet<'a>), CaptureError>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let offset = self.at;
        let step = self.step();
        self.at = match &step {
            Ok(packet) => offset + 16 + packet.bytes.len(),
            Err(_) => self.bytes.len(),
        };
        Some(step.map(|packet| (offset, packet)))
    }
}
