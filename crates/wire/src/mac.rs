//! EUI-48 addresses.

use core::fmt;
use core::str::FromStr;

/// A 48-bit Ethernet address.
///
/// ```
/// use wire::MacAddr;
/// let mac: MacAddr = "02:00:00:00:00:0a".parse().unwrap();
/// assert!(!mac.is_multicast());
/// assert_eq!(mac.to_string(), "02:00:00:00:00:0a");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);
    /// `00:00:00:00:00:00`, "not known" in ARP requests.
    pub const ZERO: MacAddr = MacAddr([0; 6]);

    /// The group bit: broadcast and multicast addresses have it.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// All ones.
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// The RFC 2464 §7 address of an IPv6 multicast group.
    pub const fn from_ipv6_multicast(group: core::net::Ipv6Addr) -> MacAddr {
        let o = group.octets();
        MacAddr([0x33, 0x33, o[12], o[13], o[14], o[15]])
    }

    /// The RFC 1112 §6.4 address of an IPv4 multicast group.
    pub const fn from_ipv4_multicast(group: core::net::Ipv4Addr) -> MacAddr {
        let o = group.octets();
        MacAddr([0x01, 0x00, 0x5e, o[1] & 0x7f, o[2], o[3]])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The text is not six colon-separated hexadecimal octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadMacAddr;

impl fmt::Display for BadMacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a MAC address: six hexadecimal octets such as 02:00:00:00:00:0a are expected")
    }
}

impl core::error::Error for BadMacAddr {}

impl FromStr for MacAddr {
    type Err = BadMacAddr;
    fn from_str(s: &str) -> Result<Self, BadMacAddr> {
        let mut octets = [0; 6];
        let mut parts = s.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|p| (1..=2).contains(&p.len())).ok_or(BadMacAddr)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| BadMacAddr)?;
        }
        if parts.next().is_some() { Err(BadMacAddr) } else { Ok(MacAddr(octets)) }
    }
}
