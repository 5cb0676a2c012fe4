//! ARP for IPv4 over Ethernet (RFC 826; address conflict detection: RFC 5227).

use crate::field::{array, need, put, put_u16, u16_at, v4_at};
use crate::{MacAddr, ParseError};
use core::fmt;
use core::net::Ipv4Addr;

/// What the sender wants: `ar$op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operation(pub u16);

impl Operation {
    /// Who has the target address?
    pub const REQUEST: Operation = Operation(1);
    /// The sender has it.
    pub const REPLY: Operation = Operation(2);
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Operation::REQUEST => f.pad("request"),
            Operation::REPLY => f.pad("reply"),
            Operation(n) => write!(f, "operation {n}"),
        }
    }
}

/// Bytes of an ARP packet for IPv4 over Ethernet.
pub const PACKET_LEN: usize = 28;

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Request or reply.
    pub operation: Operation,
    /// Sender hardware address.
    pub sender_mac: MacAddr,
    /// Sender protocol address; 0.0.0.0 in an RFC 5227 probe.
    pub sender_ip: Ipv4Addr,
    /// Target hardware address; not meaningful in a request (Linux sends zeroes).
    pub target_mac: MacAddr,
    /// Target protocol address.
    pub target_ip: Ipv4Addr,
}

impl Packet {
    /// Reads the packet; the second value is 28. Trailing padding is ignored.
    pub fn parse(b: &[u8]) -> Result<(Packet, usize), ParseError> {
        need("ARP packet", b, PACKET_LEN)?;
        let bad = |what, offset, value: u16| ParseError::BadValue { what, offset, value: value.into() };
        match (u16_at(b, 0), u16_at(b, 2), b[4], b[5]) {
            (1, 0x0800, 6, 4) => {}
            (1, 0x0800, 6, n) => return Err(bad("ARP protocol address length", 5, n.into())),
            (1, 0x0800, n, _) => return Err(bad("ARP hardware address length", 4, n.into())),
            (1, n, ..) => return Err(bad("ARP protocol type", 2, n)),
            (n, ..) => return Err(bad("ARP hardware type", 0, n)),
        }
        let packet = Packet {
            operation: Operation(u16_at(b, 6)),
            sender_mac: MacAddr(array(b, 8)),
            sender_ip: v4_at(b, 14),
            target_mac: MacAddr(array(b, 18)),
            target_ip: v4_at(b, 24),
        };
        Ok((packet, PACKET_LEN))
    }

    /// Bytes [`Packet::emit`] writes: 28.
    pub const fn header_len(&self) -> usize {
        PACKET_LEN
    }

    /// Writes the packet to the front of `b`. Panics when `b` is shorter than 28 bytes.
    pub fn emit(&self, b: &mut [u8]) {
        put(b, 0, &[0, 1, 8, 0, 6, 4]);
        put_u16(b, 6, self.operation.0);
        put(b, 8, &self.sender_mac.0);
        put(b, 14, &self.sender_ip.octets());
        put(b, 18, &self.target_mac.0);
        put(b, 24, &self.target_ip.octets());
    }

    /// Announces its own address: sender and target protocol address are equal (RFC 5227 §3).
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip == self.target_ip
    }

    /// A request from 0.0.0.0: does anyone have this address? (RFC 5227 §2.1.1)
    pub fn is_probe(&self) -> bool {
        self.operation == Operation::REQUEST && self.sender_ip.is_unspecified()
    }
}
