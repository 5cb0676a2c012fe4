//! ICMPv6 (RFC 4443), with multicast listener discovery (RFC 2710, 3810) and neighbour discovery (RFC
//! 4861, in [`crate::ndp`]).
//!
//! Reserved fields are ignored on receipt and sent as zero.

use crate::checksum::{pseudo_v6, sum};
use crate::field::{array, need, put, put_u16, put_u32, u16_at, u32_at, v6_at};
use crate::ip::Protocol;
use crate::{ParseError, ndp};
use core::net::Ipv6Addr;

pub use crate::quoted::Quoted;

/// Types as on the wire.
pub mod kind {
    /// Destination unreachable.
    pub const DEST_UNREACH: u8 = 1;
    /// Packet too big.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Multicast listener query, both versions.
    pub const MLD_QUERY: u8 = 130;
    /// MLDv1 report.
    pub const MLD_REPORT: u8 = 131;
    /// MLDv1 done.
    pub const MLD_DONE: u8 = 132;
    /// Router solicitation.
    pub const ROUTER_SOLICIT: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERT: u8 = 134;
    /// Neighbour solicitation.
    pub const NEIGHBOR_SOLICIT: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOR_ADVERT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
    /// MLDv2 report.
    pub const MLD2_REPORT: u8 = 143;
}

/// Codes, with the names of Linux's uapi `linux/icmpv6.h`.
pub mod code {
    /// Unreachable: no route to destination.
    pub const ICMPV6_NOROUTE: u8 = 0;
    /// Unreachable: administratively prohibited.
    pub const ICMPV6_ADM_PROHIBITED: u8 = 1;
    /// Unreachable: beyond scope of the source address.
    pub const ICMPV6_NOT_NEIGHBOUR: u8 = 2;
    /// Unreachable: address unreachable.
    pub const ICMPV6_ADDR_UNREACH: u8 = 3;
    /// Unreachable: port unreachable.
    pub const ICMPV6_PORT_UNREACH: u8 = 4;
    /// Unreachable: source address failed policy.
    pub const ICMPV6_POLICY_FAIL: u8 = 5;
    /// Unreachable: reject route.
    pub const ICMPV6_REJECT_ROUTE: u8 = 6;
    /// Time exceeded: hop limit in transit.
    pub const ICMPV6_EXC_HOPLIMIT: u8 = 0;
    /// Time exceeded: fragment reassembly.
    pub const ICMPV6_EXC_FRAGTIME: u8 = 1;
    /// Parameter problem: erroneous header field.
    pub const ICMPV6_HDR_FIELD: u8 = 0;
    /// Parameter problem: unknown next header.
    pub const ICMPV6_UNK_NEXTHDR: u8 = 1;
    /// Parameter problem: unknown option.
    pub const ICMPV6_UNK_OPTION: u8 = 2;
    /// Parameter problem: first fragment without the whole header chain.
    pub const ICMPV6_HDR_INCOMP: u8 = 3;
}

/// An ICMPv6 message without what follows its fixed part: data, a quoted packet, options, records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "id, seq, code and the like are the fields of RFC 4443 by name")]
pub enum Message {
    DestinationUnreachable {
        code: u8,
    },
    /// The MTU in bytes. Senders set code 0, receivers ignore it.
    PacketTooBig {
        mtu: u32,
    },
    TimeExceeded {
        code: u8,
    },
    /// `pointer` is the offset of the byte that was wrong.
    ParameterProblem {
        code: u8,
        pointer: u32,
    },
    EchoRequest {
        id: u16,
        seq: u16,
    },
    EchoReply {
        id: u16,
        seq: u16,
    },
    /// `v2` is there from 28 bytes on (RFC 3810 §8.1). An unspecified group is a general query.
    MldQuery {
        max_response_code: u16,
        group: Ipv6Addr,
        v2: Option<SourceQuery>,
    },
    MldReportV1 {
        group: Ipv6Addr,
    },
    MldDone {
        group: Ipv6Addr,
    },
    /// This many records follow: [`mld_records`].
    MldReportV2 {
        records: u16,
    },
    /// Neighbour discovery; options follow.
    Ndp(ndp::Message),
    /// Any other; `rest` is bytes 4 to 7.
    Unknown {
        kind: u8,
        code: u8,
        rest: [u8; 4],
    },
}

impl Message {
    /// Reads the message; the second value is the length of its fixed part, after which data, a quoted
    /// packet, options or records follow. Not the checksum: see [`verify_checksum`].
    pub fn parse(b: &[u8]) -> Result<(Message, usize), ParseError> {
        need("ICMPv6 header", b, 8)?;
        let (kind, code) = (b[0], b[1]);
        let (id, seq) = (u16_at(b, 4), u16_at(b, 6));
        let message = match (kind, code) {
            (kind::DEST_UNREACH, _) => Message::DestinationUnreachable { code },
            (kind::PACKET_TOO_BIG, _) => Message::PacketTooBig { mtu: u32_at(b, 4) },
            (kind::TIME_EXCEEDED, _) => Message::TimeExceeded { code },
            (kind::PARAMETER_PROBLEM, _) => Message::ParameterProblem { code, pointer: u32_at(b, 4) },
            (kind::ECHO_REQUEST, 0) => Message::EchoRequest { id, seq },
            (kind::ECHO_REPLY, 0) => Message::EchoReply { id, seq },
            (kind::MLD_QUERY, 0) => {
                need("MLD query", b, 24)?;
                Message::MldQuery { max_response_code: id, group: v6_at(b, 8), v2: SourceQuery::parse(b, 24) }
            }
            (kind::MLD_REPORT | kind::MLD_DONE, 0) => {
                need("MLD report", b, 24)?;
                let group = v6_at(b, 8);
                if kind == kind::MLD_REPORT {
                    Message::MldReportV1 { group }
                } else {
                    Message::MldDone { group }
                }
            }
            (kind::MLD2_REPORT, 0) => Message::MldReportV2 { records: seq },
            (kind::ROUTER_SOLICIT..=kind::REDIRECT, 0) => Message::Ndp(ndp::Message::parse(b)?.0),
            _ => Message::Unknown { kind, code, rest: array(b, 4) },
        };
        Ok((message, message.header_len()))
    }

    /// Type and code as on the wire.
    pub const fn type_code(&self) -> (u8, u8) {
        match *self {
            Message::DestinationUnreachable { code } => (kind::DEST_UNREACH, code),
            Message::PacketTooBig { .. } => (kind::PACKET_TOO_BIG, 0),
            Message::TimeExceeded { code } => (kind::TIME_EXCEEDED, code),
            Message::ParameterProblem { code, .. } => (kind::PARAMETER_PROBLEM, code),
            Message::EchoRequest { .. } => (kind::ECHO_REQUEST, 0),
            Message::EchoReply { .. } => (kind::ECHO_REPLY, 0),
            Message::MldQuery { .. } => (kind::MLD_QUERY, 0),
            Message::MldReportV1 { .. } => (kind::MLD_REPORT, 0),
            Message::MldDone { .. } => (kind::MLD_DONE, 0),
            Message::MldReportV2 { .. } => (kind::MLD2_REPORT, 0),
            Message::Ndp(ndp) => (ndp.kind(), 0),
            Message::Unknown { kind, code, .. } => (kind, code),
        }
    }

    /// An error about another packet, which it quotes: types below 128. No error is ever sent about one
    /// of these (RFC 4443 §2.4(e)).
    pub const fn is_error(&self) -> bool {
        self.type_code().0 < 128
    }

    /// Bytes [`Message::emit`] writes.
    pub const fn header_len(&self) -> usize {
        match self {
            Message::MldQuery { v2: Some(_), .. } => 28,
            Message::MldQuery { v2: None, .. } | Message::MldReportV1 { .. } | Message::MldDone { .. } => 24,
            Message::Ndp(ndp) => ndp.header_len(),
            _ => 8,
        }
    }

    /// Writes the fixed part with a zero checksum field; once the rest stands behind it,
    /// [`set_checksum`]. Panics when `b` is shorter than the fixed part.
    pub fn emit(&self, b: &mut [u8]) {
        let b = &mut b[..self.header_len()];
        b.fill(0);
        (b[0], b[1]) = self.type_code();
        match *self {
            Message::PacketTooBig { mtu } => put_u32(b, 4, mtu),
            Message::ParameterProblem { pointer, .. } => put_u32(b, 4, pointer),
            Message::EchoRequest { id, seq } | Message::EchoReply { id, seq } => {
                put_u16(b, 4, id);
                put_u16(b, 6, seq);
            }
            Message::MldQuery { max_response_code, group, v2 } => {
                put_u16(b, 4, max_response_code);
                put(b, 8, &group.octets());
                if let Some(v2) = v2 {
                    v2.emit(b, 24);
                }
            }
            Message::MldReportV1 { group } | Message::MldDone { group } => put(b, 8, &group.octets()),
            Message::MldReportV2 { records } => put_u16(b, 6, records),
            Message::Ndp(ndp) => ndp.emit(b),
            Message::Unknown { rest, .. } => put(b, 4, &rest),
            Message::DestinationUnreachable { .. } | Message::TimeExceeded { .. } => {}
        }
    }
}

/// Computes and stores the checksum of `message`, from its type byte to its end. Panics below 4 bytes.
pub fn set_checksum(src: Ipv6Addr, dst: Ipv6Addr, message: &mut [u8]) {
    put_u16(message, 2, 0);
    let checksum = total(src, dst, message).finish();
    put_u16(message, 2, checksum);
}

/// The checksum of `message`, from its type byte to its end, is right.
pub fn verify_checksum(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> bool {
    total(src, dst, message).is_valid()
}

fn total(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> crate::checksum::Sum {
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    pseudo_v6(src, dst, Protocol::ICMPV6, len) + sum(message)
}

pub use crate::group::{MldRecord, MldRecordIter, RecordKind, SourceQuery, mld_records};
