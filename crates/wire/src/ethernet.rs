//! Ethernet II with at most one 802.1Q tag (IEEE 802.3 §3.1.1, 802.1Q §9.6).

use crate::field::{array, need, put, put_u16, u16_at};
use crate::{MacAddr, ParseError};
use core::fmt;

/// What follows the Ethernet header. Values below 0x0600 are IEEE 802.3 lengths, not types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: EtherType = EtherType(0x0800);
    /// ARP (RFC 826).
    pub const ARP: EtherType = EtherType(0x0806);
    /// Transparent Ethernet bridging: an Ethernet frame inside GRE (RFC 7637 §3.2).
    pub const TEB: EtherType = EtherType(0x6558);
    /// An 802.1Q customer tag follows.
    pub const VLAN: EtherType = EtherType(0x8100);
    /// IPv6 (RFC 2464).
    pub const IPV6: EtherType = EtherType(0x86dd);
    /// An 802.1ad service tag follows.
    pub const QINQ: EtherType = EtherType(0x88a8);

    /// The usual name, when there is one.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            EtherType::IPV4 => "IPv4",
            EtherType::ARP => "ARP",
            EtherType::TEB => "Ethernet",
            EtherType::VLAN => "802.1Q",
            EtherType::IPV6 => "IPv6",
            EtherType::QINQ => "802.1ad",
            _ => return None,
        })
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "ethertype {:#06x}", self.0),
        }
    }
}

/// An 802.1Q tag's control information.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// Priority code point, 0 to 7.
    pub pcp: u8,
    /// Drop eligible indicator.
    pub dei: bool,
    /// VLAN identifier, 0 to 4095; 0 means priority only.
    pub vid: u16,
}

impl VlanTag {
    /// From the 16 bits on the wire.
    pub const fn from_tci(tci: u16) -> Self {
        VlanTag { pcp: (tci >> 13) as u8, dei: tci & 0x1000 != 0, vid: tci & 0x0fff }
    }

    /// The 16 bits on the wire. `pcp` and `vid` are cut to their 3 and 12 bits.
    pub const fn tci(self) -> u16 {
        ((self.pcp as u16 & 7) << 13) | ((self.dei as u16) << 12) | (self.vid & 0x0fff)
    }
}

/// Bytes of a header without a tag.
pub const HEADER_LEN: usize = 14;
/// Bytes of a header with one 802.1Q tag.
pub const TAGGED_HEADER_LEN: usize = 18;

/// An Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Destination.
    pub dst: MacAddr,
    /// Source.
    pub src: MacAddr,
    /// The 802.1Q tag, if the frame has one. A second tag shows as `ethertype` VLAN; an 802.1ad
    /// service tag as QINQ.
    pub vlan: Option<VlanTag>,
    /// What follows (after the tag).
    pub ethertype: EtherType,
}

impl Header {
    /// Reads the header; the second value is its length, 14 or 18.
    pub fn parse(b: &[u8]) -> Result<(Header, usize), ParseError> {
        need("Ethernet header", b, HEADER_LEN)?;
        let dst = MacAddr(array(b, 0));
        let src = MacAddr(array(b, 6));
        let ethertype = EtherType(u16_at(b, 12));
        if ethertype != EtherType::VLAN {
            return Ok((Header { dst, src, vlan: None, ethertype }, HEADER_LEN));
        }
        need("802.1Q tag", b, TAGGED_HEADER_LEN)?;
        let vlan = Some(VlanTag::from_tci(u16_at(b, 14)));
        Ok((Header { dst, src, vlan, ethertype: EtherType(u16_at(b, 16)) }, TAGGED_HEADER_LEN))
    }

    /// Bytes [`Header::emit`] writes: 14, or 18 with a tag.
    pub const fn header_len(&self) -> usize {
        if self.vlan.is_some() { TAGGED_HEADER_LEN } else { HEADER_LEN }
    }

    /// Writes the header to the front of `b`. Panics when `b` is shorter than it.
    #[inline]
    pub fn emit(&self, b: &mut [u8]) {
        put(b, 0, &self.dst.0);
        put(b, 6, &self.src.0);
        match self.vlan {
            None => put_u16(b, 12, self.ethertype.0),
            Some(tag) => {
                put_u16(b, 12, EtherType::VLAN.0);
                put_u16(b, 14, tag.tci());
                put_u16(b, 16, self.ethertype.0);
            }
        }
    }
}
