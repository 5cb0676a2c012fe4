//! ICMP for IPv4 (RFC 792; RFC 1191 for the MTU, RFC 1256 for routers, RFC 950 for masks).
//!
//! Codes carry the names of Linux's uapi `linux/icmp.h`. Reserved fields are ignored on receipt and
//! sent as zero.

use crate::ParseError;
use crate::checksum::sum;
use crate::field::{array, need, put, put_u16, put_u32, u16_at, u32_at, v4_at};
use core::net::Ipv4Addr;

pub use crate::quoted::Quoted;

/// Codes of destination unreachable, redirect, time exceeded and parameter problem.
pub mod code {
    /// Network unreachable.
    pub const ICMP_NET_UNREACH: u8 = 0;
    /// Host unreachable.
    pub const ICMP_HOST_UNREACH: u8 = 1;
    /// Protocol unreachable.
    pub const ICMP_PROT_UNREACH: u8 = 2;
    /// Port unreachable.
    pub const ICMP_PORT_UNREACH: u8 = 3;
    /// Fragmentation needed and DF set.
    pub const ICMP_FRAG_NEEDED: u8 = 4;
    /// Source route failed.
    pub const ICMP_SR_FAILED: u8 = 5;
    /// Destination network unknown.
    pub const ICMP_NET_UNKNOWN: u8 = 6;
    /// Destination host unknown.
    pub const ICMP_HOST_UNKNOWN: u8 = 7;
    /// Source host isolated.
    pub const ICMP_HOST_ISOLATED: u8 = 8;
    /// Network administratively prohibited.
    pub const ICMP_NET_ANO: u8 = 9;
    /// Host administratively prohibited.
    pub const ICMP_HOST_ANO: u8 = 10;
    /// Network unreachable for this type of service.
    pub const ICMP_NET_UNR_TOS: u8 = 11;
    /// Host unreachable for this type of service.
    pub const ICMP_HOST_UNR_TOS: u8 = 12;
    /// Packet filtered.
    pub const ICMP_PKT_FILTERED: u8 = 13;
    /// Precedence violation.
    pub const ICMP_PREC_VIOLATION: u8 = 14;
    /// Precedence cut off.
    pub const ICMP_PREC_CUTOFF: u8 = 15;
    /// Redirect: network.
    pub const ICMP_REDIR_NET: u8 = 0;
    /// Redirect: host.
    pub const ICMP_REDIR_HOST: u8 = 1;
    /// Redirect: network for this type of service.
    pub const ICMP_REDIR_NETTOS: u8 = 2;
    /// Redirect: host for this type of service.
    pub const ICMP_REDIR_HOSTTOS: u8 = 3;
    /// Time exceeded: TTL reached zero in transit.
    pub const ICMP_EXC_TTL: u8 = 0;
    /// Time exceeded: fragments did not all arrive in time.
    pub const ICMP_EXC_FRAGTIME: u8 = 1;
}

/// Types as on the wire.
pub mod kind {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const DEST_UNREACH: u8 = 3;
    /// Source quench.
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO: u8 = 8;
    /// Router advertisement.
    pub const ROUTER_ADVERT: u8 = 9;
    /// Router solicitation.
    pub const ROUTER_SOLICIT: u8 = 10;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// Timestamp request.
    pub const TIMESTAMP: u8 = 13;
    /// Timestamp reply.
    pub const TIMESTAMP_REPLY: u8 = 14;
    /// Address mask request.
    pub const ADDRESS_MASK: u8 = 17;
    /// Address mask reply.
    pub const ADDRESS_MASK_REPLY: u8 = 18;
}

/// The three times of a timestamp message, milliseconds since midnight UT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Times {
    /// When the sender last touched the request.
    pub originate: u32,
    /// When the echoer first touched it.
    pub receive: u32,
    /// When the echoer last touched the reply.
    pub transmit: u32,
}

/// An ICMP message without its data or quoted packet, which follows the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "id, seq, code and the like are the fields of RFC 792 by name")]
pub enum Message {
    EchoRequest {
        id: u16,
        seq: u16,
    },
    EchoReply {
        id: u16,
        seq: u16,
    },
    /// `next_hop_mtu` counts with code `ICMP_FRAG_NEEDED`; 0 from routers before RFC 1191.
    DestinationUnreachable {
        code: u8,
        next_hop_mtu: u16,
    },
    TimeExceeded {
        code: u8,
    },
    /// `pointer` is the offset of the byte that was wrong, with code 0.
    ParameterProblem {
        code: u8,
        pointer: u8,
    },
    Redirect {
        code: u8,
        gateway: Ipv4Addr,
    },
    SourceQuench,
    TimestampRequest {
        id: u16,
        seq: u16,
        times: Times,
    },
    TimestampReply {
        id: u16,
        seq: u16,
        times: Times,
    },
    AddressMaskRequest {
        id: u16,
        seq: u16,
        mask: Ipv4Addr,
    },
    AddressMaskReply {
        id: u16,
        seq: u16,
        mask: Ipv4Addr,
    },
    /// Addresses follow, `entries` of them, `entry_words` 32-bit words each; lifetime in seconds.
    RouterAdvert {
        entries: u8,
        entry_words: u8,
        lifetime: u16,
    },
    RouterSolicit,
    /// Any other type, or a code of the above that has no meaning there; `rest` is bytes 4 to 7.
    Unknown {
        kind: u8,
        code: u8,
        rest: [u8; 4],
    },
}

impl Message {
    /// Reads the message; the second value is where data or the quoted packet begins: 8, and more for
    /// timestamps (20) and address masks (12). Not the checksum: see [`verify_checksum`].
    pub fn parse(b: &[u8]) -> Result<(Message, usize), ParseError> {
        need("ICMP header", b, 8)?;
        let (kind, code) = (b[0], b[1]);
        let (id, seq) = (u16_at(b, 4), u16_at(b, 6));
        let message = match (kind, code) {
            (kind::ECHO, 0) => Message::EchoRequest { id, seq },
            (kind::ECHO_REPLY, 0) => Message::EchoReply { id, seq },
            (kind::DEST_UNREACH, _) => Message::DestinationUnreachable { code, next_hop_mtu: seq },
            (kind::TIME_EXCEEDED, _) => Message::TimeExceeded { code },
            (kind::PARAMETER_PROBLEM, _) => Message::ParameterProblem { code, pointer: b[4] },
            (kind::REDIRECT, _) => Message::Redirect { code, gateway: v4_at(b, 4) },
            (kind::SOURCE_QUENCH, 0) => Message::SourceQuench,
            (kind::TIMESTAMP | kind::TIMESTAMP_REPLY, 0) => {
                need("ICMP timestamp", b, 20)?;
                let times =
                    Times { originate: u32_at(b, 8), receive: u32_at(b, 12), transmit: u32_at(b, 16) };
                if kind == kind::TIMESTAMP {
                    Message::TimestampRequest { id, seq, times }
                } else {
                    Message::TimestampReply { id, seq, times }
                }
            }
            (kind::ADDRESS_MASK | kind::ADDRESS_MASK_REPLY, 0) => {
                need("ICMP address mask", b, 12)?;
                let mask = v4_at(b, 8);
                if kind == kind::ADDRESS_MASK {
                    Message::AddressMaskRequest { id, seq, mask }
                } else {
                    Message::AddressMaskReply { id, seq, mask }
                }
            }
            (kind::ROUTER_ADVERT, 0) => {
                Message::RouterAdvert { entries: b[4], entry_words: b[5], lifetime: seq }
            }
            (kind::ROUTER_SOLICIT, 0) => Message::RouterSolicit,
            _ => Message::Unknown { kind, code, rest: array(b, 4) },
        };
        Ok((message, message.header_len()))
    }

    /// Type and code as on the wire.
    pub const fn type_code(&self) -> (u8, u8) {
        match *self {
            Message::EchoRequest { .. } => (kind::ECHO, 0),
            Message::EchoReply { .. } => (kind::ECHO_REPLY, 0),
            Message::DestinationUnreachable { code, .. } => (kind::DEST_UNREACH, code),
            Message::TimeExceeded { code } => (kind::TIME_EXCEEDED, code),
            Message::ParameterProblem { code, .. } => (kind::PARAMETER_PROBLEM, code),
            Message::Redirect { code, .. } => (kind::REDIRECT, code),
            Message::SourceQuench => (kind::SOURCE_QUENCH, 0),
            Message::TimestampRequest { .. } => (kind::TIMESTAMP, 0),
            Message::TimestampReply { .. } => (kind::TIMESTAMP_REPLY, 0),
            Message::AddressMaskRequest { .. } => (kind::ADDRESS_MASK, 0),
            Message::AddressMaskReply { .. } => (kind::ADDRESS_MASK_REPLY, 0),
            Message::RouterAdvert { .. } => (kind::ROUTER_ADVERT, 0),
            Message::RouterSolicit => (kind::ROUTER_SOLICIT, 0),
            Message::Unknown { kind, code, .. } => (kind, code),
        }
    }

    /// An error about another packet, which it quotes. No error is ever sent about one of these (RFC
    /// 1122 §3.2.2).
    pub const fn is_error(&self) -> bool {
        matches!(
            self,
            Message::DestinationUnreachable { .. }
                | Message::TimeExceeded { .. }
                | Message::ParameterProblem { .. }
                | Message::Redirect { .. }
                | Message::SourceQuench
        )
    }

    /// Bytes [`Message::emit`] writes.
    pub const fn header_len(&self) -> usize {
        match self {
            Message::TimestampRequest { .. } | Message::TimestampReply { .. } => 20,
            Message::AddressMaskRequest { .. } | Message::AddressMaskReply { .. } => 12,
            _ => 8,
        }
    }

    /// Writes the header with a zero checksum field; once the data stands behind it, [`set_checksum`].
    /// Panics when `b` is shorter than the header.
    pub fn emit(&self, b: &mut [u8]) {
        let b = &mut b[..self.header_len()];
        b.fill(0);
        (b[0], b[1]) = self.type_code();
        match *self {
            Message::EchoRequest { id, seq } | Message::EchoReply { id, seq } => put_pair(b, id, seq),
            Message::DestinationUnreachable { next_hop_mtu, .. } => put_u16(b, 6, next_hop_mtu),
            Message::ParameterProblem { pointer, .. } => b[4] = pointer,
            Message::Redirect { gateway, .. } => put(b, 4, &gateway.octets()),
            Message::TimestampRequest { id, seq, times } | Message::TimestampReply { id, seq, times } => {
                put_pair(b, id, seq);
                put_u32(b, 8, times.originate);
                put_u32(b, 12, times.receive);
                put_u32(b, 16, times.transmit);
            }
            Message::AddressMaskRequest { id, seq, mask } | Message::AddressMaskReply { id, seq, mask } => {
                put_pair(b, id, seq);
                put(b, 8, &mask.octets());
            }
            Message::RouterAdvert { entries, entry_words, lifetime } => {
                b[4] = entries;
                b[5] = entry_words;
                put_u16(b, 6, lifetime);
            }
            Message::Unknown { rest, .. } => put(b, 4, &rest),
            Message::TimeExceeded { .. } | Message::SourceQuench | Message::RouterSolicit => {}
        }
    }
}

fn put_pair(b: &mut [u8], id: u16, seq: u16) {
    put_u16(b, 4, id);
    put_u16(b, 6, seq);
}

/// Computes and stores the checksum of `message`, from its type byte to its end. Panics below 4 bytes.
pub fn set_checksum(message: &mut [u8]) {
    put_u16(message, 2, 0);
    let checksum = sum(message).finish();
    put_u16(message, 2, checksum);
}

/// The checksum of `message`, from its type byte to its end, is right.
pub fn verify_checksum(message: &[u8]) -> bool {
    sum(message).is_valid()
}
