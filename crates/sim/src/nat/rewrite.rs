//! Changing addresses and ports in a packet, with its checksums brought along (RFC 1624, RFC 3022 §4.2).

use std::net::Ipv4Addr;

use wire::checksum::{update_u16, update_u32};
use wire::ip::Protocol;

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Src,
    Dst,
}

/// What address translation needs to know of an IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Bytes of the IP header.
    pub(super) header_len: usize,
    pub(super) protocol: Protocol,
    pub(super) src: Ipv4Addr,
    pub(super) dst: Ipv4Addr,
    /// Identification; fragments of one datagram share it.
    pub(super) id: u16,
    /// A fragment that is not the first: no ports.
    pub(super) later_fragment: bool,
    /// More fragments follow.
    pub(super) more_fragments: bool,
    pub(super) upper: Upper,
}

/// What stands behind the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upper {
    /// Source and destination port of TCP or UDP.
    Ports(u16, u16),
    /// An ICMP query with its identifier; `true` for a request.
    Query(u16, bool),
    /// An ICMP error: a quoted packet begins 8 bytes in.
    Error,
    /// Nothing that is translated by port: another protocol, a later fragment, too short.
    None,
}

/// ICMP queries that carry an identifier: request and reply types (`nf_conntrack_proto_icmp.c` `invmap`).
const QUERIES: &[(u8, u8)] = &[(8, 0), (13, 14), (15, 16), (17, 18)];
/// ICMP errors (RFC 1122 §3.2.2).
const ERRORS: &[u8] = &[3, 4, 5, 11, 12];

impl Seen {
    /// Reads a packet from its IP header on; `None` when it is not IPv4. A quoted packet may be cut short.
    pub(super) fn parse(ip: &[u8]) -> Option<Seen> {
        let (header, header_len) = wire::ipv4::Header::parse_quoted(ip).ok()?;
        let later_fragment = header.frag_offset != 0;
        let upper = if later_fragment { Upper::None } else { upper(header.protocol, &ip[header_len..]) };
        Some(Seen {
            header_len,
            protocol: header.protocol,
            src: header.src,
            dst: header.dst,
            id: header.id,
            later_fragment,
            more_fragments: header.more_fragments,
            upper,
        })
    }
}

fn upper(protocol: Protocol, b: &[u8]) -> Upper {
    let word = |at| u16::from_be_bytes([b[at], b[at + 1]]);
    match protocol {
        Protocol::TCP | Protocol::UDP if b.len() >= 8 => Upper::Ports(word(0), word(2)),
        Protocol::ICMP if b.len() >= 8 => {
            if ERRORS.contains(&b[0]) {
                return Upper::Error;
            }
            match QUERIES.iter().find(|(request, reply)| b[0] == *request || b[0] == *reply) {
                Some((request, _)) => Upper::Query(word(4), b[0] == *request),
                None => Upper::None,
            }
        }
        _ => Upper::None,
    }
}

/// Puts `ip` and `port` (or an ICMP identifier) in the place of one end of the packet that `packet` begins with.
/// Checksums that are there are updated, in place and without a look at the payload.
pub(super) fn rewrite(packet: &mut [u8], seen: &Seen, side: Side, ip: Ipv4Addr, port: u16) {
    let at = if side == Side::Src { 12 } else { 16 };
    let old = u32_at(packet, at);
    let new = u32::from(ip);
    packet[at..at + 4].copy_from_slice(&ip.octets());
    update(packet, 10, |sum| update_u32(sum, old, new));
    let transport = seen.header_len;
    if !seen.later_fragment
        && let Some(sum_at) = checksum_at(seen.protocol)
    {
        update_transport(packet, transport + sum_at, seen.protocol, |sum| update_u32(sum, old, new));
    }
    let port_at = match (seen.upper, side) {
        (Upper::Ports(..), Side::Src) => 0,
        (Upper::Ports(..), Side::Dst) => 2,
        (Upper::Query(..), _) => 4,
        (Upper::Error | Upper::None, _) => return,
    };
    let at = transport + port_at;
    let old = u16::from_be_bytes([packet[at], packet[at + 1]]);
    packet[at..at + 2].copy_from_slice(&port.to_be_bytes());
    let sum_at = transport + checksum_at(seen.protocol).unwrap_or(2);
    update_transport(packet, sum_at, seen.protocol, |sum| update_u16(sum, old, port));
}

/// Where the checksum over a pseudo header stands, from the transport header on.
fn checksum_at(protocol: Protocol) -> Option<usize> {
    match protocol {
        Protocol::TCP => Some(16),
        Protocol::UDP => Some(6),
        _ => None,
    }
}

fn update_transport(packet: &mut [u8], at: usize, protocol: Protocol, f: impl FnOnce(u16) -> u16) {
    // A quoted packet may end before its checksum.
    if packet.len() < at + 2 {
        return;
    }
    let udp = protocol == Protocol::UDP;
    if udp && packet[at..at + 2] == [0, 0] {
        return; // none was computed
    }
    update(packet, at, |sum| match f(sum) {
        0 if udp => 0xffff,
        sum => sum,
    });
}

fn update(packet: &mut [u8], at: usize, f: impl FnOnce(u16) -> u16) {
    let sum = f(u16::from_be_bytes([packet[at], packet[at + 1]]));
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}
