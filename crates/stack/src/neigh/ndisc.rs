//! Neighbour discovery (RFC 4861); under construction: nothing is sent or read yet.

use crate::Stack;
use crate::ip::RxMeta;
use crate::record::IfIndex;
use core::net::Ipv6Addr;
use wire::{Frame, Instant};

impl Stack {
    pub(super) fn ndisc_solicit(
        &mut self,
        _now: Instant,
        _ifindex: IfIndex,
        _target: Ipv6Addr,
        _probes: u32,
        _waiting: Option<&[u8]>,
    ) {
    }
    pub(crate) fn ndisc_send_dad(&mut self, _now: Instant, _ifindex: IfIndex, _addr: Ipv6Addr) {}
    pub(crate) fn ndisc_send_unsolicited(&mut self, _now: Instant, _ifindex: IfIndex, _addr: Ipv6Addr) {}

    /// `ndisc_rcv`: a router or neighbour solicitation, advertisement or redirect; `frame` starts at the ICMPv6
    /// header, whose checksum was verified. Hop limit, code and options are checked here.
    pub(crate) fn ndisc_rcv(&mut self, _now: Instant, _meta: &RxMeta, _frame: &Frame) {}
}
