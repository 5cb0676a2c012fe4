//! UDP: RFC 768. Linux: net/ipv4/udp.c, net/ipv6/udp.c.

use wire::{Frame, Instant};

use crate::Stack;
use crate::icmp::IcmpReport;
use crate::ip::RxMeta;

impl Stack {
    /// `udp_rcv`: a datagram for us; `frame` starts at the UDP header.
    pub(crate) fn udp_rcv(&mut self, _now: Instant, _meta: &RxMeta, _frame: Frame) {}

    /// `udp_err`: an ICMP error quotes a UDP datagram of ours; `quoted` starts at its UDP header (8 bytes at least).
    pub(crate) fn udp_err(&mut self, _now: Instant, _report: &IcmpReport, _quoted: &[u8]) {}

    /// `raw_local_deliver`: every delivered packet is offered to raw sockets first; `frame` starts at the transport
    /// header. Returns whether a raw socket of this protocol took a copy (then no "protocol unreachable").
    pub(crate) fn raw_rcv(&mut self, _now: Instant, _meta: &RxMeta, _frame: &Frame) -> bool {
        false
    }

    /// `ping_rcv`: an echo reply for ping sockets (`SOCK_DGRAM`, `IPPROTO_ICMP`); `frame` starts at the ICMP header.
    pub(crate) fn ping_rcv(&mut self, _now: Instant, _meta: &RxMeta, _frame: &Frame) {}

    /// `raw_icmp_error` and `ping_err`: an ICMP error quotes a packet that no other transport claims, or ICMP echo.
    pub(crate) fn raw_err(
        &mut self,
        _now: Instant,
        _report: &IcmpReport,
        _protocol: wire::ip::Protocol,
        _quoted: &[u8],
    ) {
    }
}
