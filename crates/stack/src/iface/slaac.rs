//! Router solicitations and advertisements (RFC 4861 §6); under construction: only timers of addresses run.

use super::TimerEvent;
use crate::Stack;
use crate::record::IfIndex;
use core::net::Ipv6Addr;
use wire::Instant;

/// What a router of ours advertises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {}

impl Stack {
    pub(super) fn router_solicit_start(&mut self, _now: Instant, _ifindex: IfIndex, _src: Ipv6Addr) {}
    pub(super) fn advertise_kick(&mut self, _now: Instant, _ifindex: IfIndex) {}
    pub(crate) fn iface_timeout(&mut self, now: Instant, event: TimerEvent) {
        match event {
            TimerEvent::Dad(ifindex, addr) => self.dad_timeout(now, ifindex, addr),
            TimerEvent::Lifetime => self.lifetime_timeout(now),
            TimerEvent::RouterSolicit(_) | TimerEvent::Advertise(_) => {}
        }
    }
}
