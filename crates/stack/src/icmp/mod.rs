//! ICMP and ICMPv6: echo, errors and their rate limits. Linux: net/ipv4/icmp.c, net/ipv6/icmp.c.

use std::net::IpAddr;

use wire::{icmpv4, icmpv6};

use crate::Errno;
use crate::mib::Counter;
use crate::rng::Rng;

mod convert;
pub(crate) mod limits;
mod receive;
pub(crate) mod send;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests6;

/// Rate-limit buckets.
#[derive(Clone, Debug)]
pub(crate) struct IcmpState {
    global: limits::GlobalLimit,
    pub(crate) peers: limits::Peers,
}

impl IcmpState {
    pub(crate) fn new(rng: &Rng) -> IcmpState {
        IcmpState { global: limits::GlobalLimit::new(rng), peers: limits::Peers::default() }
    }
}

/// Errors that transports ask IP to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IcmpError {
    /// Port unreachable: 3/3, ICMPv6 1/4.
    PortUnreachable,
    /// Protocol unreachable: 3/2; ICMPv6 parameter problem 4/1.
    ProtocolUnreachable,
    /// Host unreachable: 3/1; ICMPv6 address unreachable 1/3.
    HostUnreachable,
    /// Net unreachable: 3/0; ICMPv6 no route 1/0.
    NetUnreachable,
    /// Administratively prohibited: 3/13; ICMPv6 1/1.
    Prohibited,
    /// Fragmentation needed: 3/4; ICMPv6 packet too big.
    TooBig(u32),
    /// TTL exceeded in transit: 11/0; ICMPv6 3/0.
    TtlExceeded,
    /// Reassembly time exceeded: 11/1; ICMPv6 3/1.
    ReassemblyTimeout,
    /// Parameter problem at this offset: 12/0; ICMPv6 4/code.
    ParameterProblem(u8, u32),
    /// Source route failed: 3/5.
    SourceRouteFailed,
    /// Redirect to this gateway: 5/1. (ICMPv6 redirects are neighbour discovery's.)
    Redirect(std::net::Ipv4Addr),
    /// Beyond the scope of the source address: ICMPv6 1/2.
    BeyondScope,
}

/// What an ICMP error that arrived says to the transport whose packet it quotes (`icmp_err_convert`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct IcmpReport {
    /// What sockets get.
    pub(crate) errno: Errno,
    /// Whether it ends a connection attempt (`fatal`).
    pub(crate) fatal: bool,
    /// ICMP type and code.
    pub(crate) ty: u8,
    pub(crate) code: u8,
    /// `ee_info`: the MTU of "fragmentation needed" and "packet too big".
    pub(crate) info: u32,
    /// Who sent it.
    pub(crate) offender: IpAddr,
    /// Source of the quoted packet: our own address.
    pub(crate) local: IpAddr,
    /// Destination of the quoted packet.
    pub(crate) remote: IpAddr,
    /// The interface it came in by.
    pub(crate) ifindex: crate::record::IfIndex,
}

/// Counters of received and sent messages by type (`icmpmibmap`).
const TYPES_V4: &[(u8, Counter, Counter)] = &[
    (icmpv4::kind::DEST_UNREACH, Counter::IcmpInDestUnreachs, Counter::IcmpOutDestUnreachs),
    (icmpv4::kind::TIME_EXCEEDED, Counter::IcmpInTimeExcds, Counter::IcmpOutTimeExcds),
    (icmpv4::kind::PARAMETER_PROBLEM, Counter::IcmpInParmProbs, Counter::IcmpOutParmProbs),
    (icmpv4::kind::SOURCE_QUENCH, Counter::IcmpInSrcQuenchs, Counter::IcmpOutSrcQuenchs),
    (icmpv4::kind::REDIRECT, Counter::IcmpInRedirects, Counter::IcmpOutRedirects),
    (icmpv4::kind::ECHO, Counter::IcmpInEchos, Counter::IcmpOutEchos),
    (icmpv4::kind::ECHO_REPLY, Counter::IcmpInEchoReps, Counter::IcmpOutEchoReps),
    (icmpv4::kind::TIMESTAMP, Counter::IcmpInTimestamps, Counter::IcmpOutTimestamps),
    (icmpv4::kind::TIMESTAMP_REPLY, Counter::IcmpInTimestampReps, Counter::IcmpOutTimestampReps),
    (icmpv4::kind::ADDRESS_MASK, Counter::IcmpInAddrMasks, Counter::IcmpOutAddrMasks),
    (icmpv4::kind::ADDRESS_MASK_REPLY, Counter::IcmpInAddrMaskReps, Counter::IcmpOutAddrMaskReps),
];

/// The same for ICMPv6 (`icmp6type2name`).
const TYPES_V6: &[(u8, Counter, Counter)] = &[
    (icmpv6::kind::DEST_UNREACH, Counter::Icmp6InDestUnreachs, Counter::Icmp6OutDestUnreachs),
    (icmpv6::kind::PACKET_TOO_BIG, Counter::Icmp6InPktTooBigs, Counter::Icmp6OutPktTooBigs),
    (icmpv6::kind::TIME_EXCEEDED, Counter::Icmp6InTimeExcds, Counter::Icmp6OutTimeExcds),
    (icmpv6::kind::PARAMETER_PROBLEM, Counter::Icmp6InParmProblems, Counter::Icmp6OutParmProblems),
    (icmpv6::kind::ECHO_REQUEST, Counter::Icmp6InEchos, Counter::Icmp6OutEchos),
    (icmpv6::kind::ECHO_REPLY, Counter::Icmp6InEchoReplies, Counter::Icmp6OutEchoReplies),
    (icmpv6::kind::MLD_QUERY, Counter::Icmp6InGroupMembQueries, Counter::Icmp6OutGroupMembQueries),
    (icmpv6::kind::MLD_REPORT, Counter::Icmp6InGroupMembResponses, Counter::Icmp6OutGroupMembResponses),
    (icmpv6::kind::MLD_DONE, Counter::Icmp6InGroupMembReductions, Counter::Icmp6OutGroupMembReductions),
    (icmpv6::kind::ROUTER_SOLICIT, Counter::Icmp6InRouterSolicits, Counter::Icmp6OutRouterSolicits),
    (
        icmpv6::kind::ROUTER_ADVERT,
        Counter::Icmp6InRouterAdvertisements,
        Counter::Icmp6OutRouterAdvertisements,
    ),
    (icmpv6::kind::NEIGHBOR_SOLICIT, Counter::Icmp6InNeighborSolicits, Counter::Icmp6OutNeighborSolicits),
    (
        icmpv6::kind::NEIGHBOR_ADVERT,
        Counter::Icmp6InNeighborAdvertisements,
        Counter::Icmp6OutNeighborAdvertisements,
    ),
    (icmpv6::kind::REDIRECT, Counter::Icmp6InRedirects, Counter::Icmp6OutRedirects),
    (icmpv6::kind::MLD2_REPORT, Counter::Icmp6InMLDv2Reports, Counter::Icmp6OutMLDv2Reports),
];

fn in_counter_v4(kind: u8) -> Option<Counter> {
    TYPES_V4.iter().find(|t| t.0 == kind).map(|t| t.1)
}

fn out_counter_v4(kind: u8) -> Option<Counter> {
    TYPES_V4.iter().find(|t| t.0 == kind).map(|t| t.2)
}

fn in_counter_v6(kind: u8) -> Option<Counter> {
    TYPES_V6.iter().find(|t| t.0 == kind).map(|t| t.1)
}

fn out_counter_v6(kind: u8) -> Option<Counter> {
    TYPES_V6.iter().find(|t| t.0 == kind).map(|t| t.2)
}

/// Whether `net.ipv6.icmp.ratemask`, a list such as `0-1,3-127`, has this type.
fn ratemask_has(mask: &str, kind: u8) -> bool {
    mask.split(',').any(|part| {
        let mut ends = part.trim().splitn(2, '-').map(|n| n.trim().parse::<u16>());
        match (ends.next(), ends.next()) {
            (Some(Ok(only)), None) => only == u16::from(kind),
            (Some(Ok(first)), Some(Ok(last))) => (first..=last).contains(&u16::from(kind)),
            _ => false,
        }
    })
}
