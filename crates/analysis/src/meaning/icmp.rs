//! ICMP for IPv4 in words (tcpdump: print-icmp.c). An error names what it complains about: the quoted
//! packet's destination and port.

use wire::icmpv4::{Message, code};
use wire::ip::Protocol;
use wire::quoted::Quoted;

use super::Words;
use crate::view::View;

pub(super) fn words(message: &Message, packet: &View) -> Words {
    let len = packet.payload().len() + 8;
    let quoted = packet.quoted();
    let about = about(quoted.as_ref());
    let short = match *message {
        Message::EchoRequest { id, seq } => format!("ICMP echo request id {id} seq {seq}"),
        Message::EchoReply { id, seq } => format!("ICMP echo reply id {id} seq {seq}"),
        Message::DestinationUnreachable { code, next_hop_mtu } => {
            format!("ICMP {}", unreachable(code, next_hop_mtu, quoted.as_ref()))
        }
        Message::TimeExceeded { code: code::ICMP_EXC_TTL } => {
            format!("ICMP time exceeded in-transit{about}")
        }
        Message::TimeExceeded { code: code::ICMP_EXC_FRAGTIME } => {
            format!("ICMP ip reassembly time exceeded{about}")
        }
        Message::TimeExceeded { code } => format!("ICMP time exceeded-#{code}{about}"),
        Message::ParameterProblem { code: 0, pointer } => {
            format!("ICMP parameter problem - octet {pointer}{about}")
        }
        Message::ParameterProblem { code, .. } => format!("ICMP parameter problem - code {code}{about}"),
        Message::Redirect { code, gateway } => {
            let what = if matches!(code, 0 | 2) { "net" } else { "host" };
            format!("ICMP redirect {} to {what} {gateway}", destination(quoted.as_ref()))
        }
        Message::SourceQuench => format!("ICMP source quench{about}"),
        Message::TimestampRequest { id, seq, .. } => format!("ICMP time stamp query id {id} seq {seq}"),
        Message::TimestampReply { id, seq, .. } => format!("ICMP time stamp reply id {id} seq {seq}"),
        Message::AddressMaskRequest { .. } => "ICMP address mask request".to_string(),
        Message::AddressMaskReply { mask, .. } => format!("ICMP address mask is {mask}"),
        Message::RouterAdvert { entries, lifetime, .. } => {
            format!("ICMP router advertisement lifetime {lifetime} s {entries} addrs")
        }
        Message::RouterSolicit => "ICMP router solicitation".to_string(),
        Message::Unknown { kind, code, .. } => format!("ICMP type {kind} code {code}"),
    };
    let long = format!("{short}, length {len}");
    Words { short, long }
}

fn unreachable(code: u8, mtu: u16, quoted: Option<&Quoted<'_>>) -> String {
    let dst = destination(quoted);
    match code {
        code::ICMP_NET_UNREACH => format!("net {dst} unreachable"),
        code::ICMP_HOST_UNREACH => format!("host {dst} unreachable"),
        code::ICMP_PROT_UNREACH => {
            let protocol = quoted.map_or(0, |q| q.protocol.0);
            format!("{dst} protocol {protocol} unreachable")
        }
        code::ICMP_PORT_UNREACH => match quoted.and_then(|q| Some((q.protocol, q.ports?.1))) {
            Some((protocol, port)) => format!("{dst} {} port {port} unreachable", lower(protocol)),
            None => format!("{dst} port unreachable"),
        },
        code::ICMP_FRAG_NEEDED if mtu == 0 => format!("{dst} unreachable - need to frag"),
        code::ICMP_FRAG_NEEDED => format!("{dst} unreachable - need to frag (mtu {mtu})"),
        code::ICMP_SR_FAILED => format!("{dst} unreachable - source route failed"),
        code::ICMP_NET_UNKNOWN => format!("net {dst} unreachable - unknown"),
        code::ICMP_HOST_UNKNOWN => format!("host {dst} unreachable - unknown"),
        code::ICMP_HOST_ISOLATED => format!("{dst} unreachable - source host isolated"),
        code::ICMP_NET_ANO => format!("net {dst} unreachable - admin prohibited"),
        code::ICMP_HOST_ANO => format!("host {dst} unreachable - admin prohibited"),
        code::ICMP_NET_UNR_TOS => format!("net {dst} unreachable - tos prohibited"),
        code::ICMP_HOST_UNR_TOS => format!("host {dst} unreachable - tos prohibited"),
        code::ICMP_PKT_FILTERED => format!("host {dst} unreachable - admin prohibited filter"),
        code::ICMP_PREC_VIOLATION => format!("host {dst} unreachable - host precedence violation"),
        code::ICMP_PREC_CUTOFF => format!("host {dst} unreachable - precedence cutoff"),
        other => format!("{dst} unreachable - #{other}"),
    }
}

fn destination(quoted: Option<&Quoted<'_>>) -> String {
    quoted.map_or_else(|| "?".to_string(), |q| q.ip.dst().to_string())
}

/// ` (for udp port 33434)`, as much as the quoted packet tells.
pub(super) fn about(quoted: Option<&Quoted<'_>>) -> String {
    match quoted {
        Some(q) => match q.ports {
            Some((_, port)) => format!(" ({} port {port})", lower(q.protocol)),
            None if matches!(q.protocol, Protocol::ICMP | Protocol::ICMPV6)
                && !q.later_fragment
                && q.upper.len() >= 8
                && matches!(q.upper[0], 8 | 128) =>
            {
                format!(" (echo seq {})", u16::from_be_bytes([q.upper[6], q.upper[7]]))
            }
            None => String::new(),
        },
        None => String::new(),
    }
}

pub(super) fn lower(protocol: Protocol) -> String {
    protocol.name().map_or_else(|| format!("proto {}", protocol.0), str::to_ascii_lowercase)
}
