//! The packet an ICMP error quotes: its IP header, and the ports if eight bytes more are there.
//!
//! RFC 792 quotes the header and 64 bits, RFC 1812 §4.3.2.3 as much as fits 576 bytes, RFC 4443 §2.4 as
//! fits 1280; so lengths inside may reach past the end.

use crate::ParseError;
use crate::field::u16_at;
use crate::ip::Protocol;
use crate::{ipv4, ipv6};
use core::net::IpAddr;

/// A quoted IP header of either version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpHeader {
    /// IPv4.
    V4(ipv4::Header),
    /// IPv6.
    V6(ipv6::Header),
}

impl IpHeader {
    /// Source address.
    pub const fn src(&self) -> IpAddr {
        match self {
            IpHeader::V4(h) => IpAddr::V4(h.src),
            IpHeader::V6(h) => IpAddr::V6(h.src),
        }
    }

    /// Destination address.
    pub const fn dst(&self) -> IpAddr {
        match self {
            IpHeader::V4(h) => IpAddr::V4(h.dst),
            IpHeader::V6(h) => IpAddr::V6(h.dst),
        }
    }
}

/// What an ICMP error says about the packet it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted<'a> {
    /// The packet's IP header.
    pub ip: IpHeader,
    /// The upper protocol, behind extension headers.
    pub protocol: Protocol,
    /// What is left of the upper layer, from its first byte; possibly nothing.
    pub upper: &'a [u8],
    /// Source and destination port of TCP, UDP, UDP-Lite, DCCP and SCTP, when they were quoted and this
    /// is no later fragment.
    pub ports: Option<(u16, u16)>,
    /// A fragment with an offset: `upper` is the middle of a payload.
    pub later_fragment: bool,
}

impl<'a> Quoted<'a> {
    /// Reads the bytes after an ICMP or ICMPv6 error's header; only the IP header must be whole.
    pub fn parse(b: &'a [u8]) -> Result<Quoted<'a>, ParseError> {
        let Some(first) = b.first() else {
            return Err(ParseError::Truncated { what: "quoted packet", need: 1, have: 0 });
        };
        match first >> 4 {
            4 => Quoted::parse_v4(b),
            6 => Quoted::parse_v6(b),
            found => Err(ParseError::BadVersion { what: "quoted IP header", found }),
        }
    }

    fn parse_v4(b: &'a [u8]) -> Result<Quoted<'a>, ParseError> {
        let (header, n) = ipv4::Header::parse_quoted(b)?;
        let end = b.len().min(usize::from(header.total_len));
        Ok(Quoted::new(IpHeader::V4(header), header.protocol, &b[n..end], header.frag_offset != 0))
    }

    fn parse_v6(b: &'a [u8]) -> Result<Quoted<'a>, ParseError> {
        let (header, n) = ipv6::Header::parse_quoted(b)?;
        let mut walk = ipv6::ext::walk(header.next_header, &b[n..]);
        // A chain cut short leaves the walk before the header that is not whole.
        while let Some(Ok(_)) = walk.next() {}
        let (protocol, at) = walk.upper();
        let later = walk.fragment().is_some_and(|(_, f)| f.offset != 0);
        Ok(Quoted::new(IpHeader::V6(header), protocol, &b[n + at..], later))
    }

    fn new(ip: IpHeader, protocol: Protocol, upper: &'a [u8], later_fragment: bool) -> Quoted<'a> {
        let has_ports = matches!(
            protocol,
            Protocol::TCP | Protocol::UDP | Protocol::UDPLITE | Protocol::DCCP | Protocol::SCTP
        );
        let ports =
            (has_ports && !later_fragment && upper.len() >= 4).then(|| (u16_at(upper, 0), u16_at(upper, 2)));
        Quoted { ip, protocol, upper, ports, later_fragment }
    }
}
