//! ICMP and ICMPv6: echo, errors and their rate limits. Linux: net/ipv4/icmp.c, net/ipv6/icmp.c.

use std::net::IpAddr;

use wire::{Frame, Instant};

use crate::ip::RxMeta;
use crate::{Errno, Stack};

/// Rate-limit buckets.
#[derive(Clone, Debug, Default)]
pub(crate) struct IcmpState {}

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

impl Stack {
    /// Sends an error about `offending`, which starts at its network header, as `icmp_send` does: never about
    /// ICMP errors, group addresses or later fragments; within the rate limits.
    pub(crate) fn icmp_send(
        &mut self,
        _now: Instant,
        _ifindex: crate::record::IfIndex,
        _offending: &Frame,
        _error: IcmpError,
    ) {
    }

    /// As [`Stack::icmp_send`] for a segment that was delivered to a transport: `frame` starts at the
    /// transport header.
    pub(crate) fn icmp_send_for(&mut self, _now: Instant, _meta: &RxMeta, _frame: Frame, _error: IcmpError) {}
}
