//! Standing in for others: `ip neigh add proxy`, and the delay before a proxy answers.
//!
//! Linux: net/core/neighbour.c, `pneigh_lookup`, `pneigh_enqueue`, `neigh_proxy_process`.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

use wire::Instant;
use wire::arp::Packet;

use super::TimerEvent;
use crate::record::IfIndex;
use crate::{DropReason, Stack, TimerKey};

/// Addresses that one host may stand in for.
const MAX_PROXIES: usize = 65_536;

/// Whom we answer for, and who waits for an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    addrs: BTreeSet<(IfIndex, IpAddr)>,
    queue: VecDeque<(Instant, IfIndex, Packet)>,
}

impl Proxies {
    /// `pneigh_lookup`
    pub(super) fn has(&self, ifindex: IfIndex, addr: IpAddr) -> bool {
        self.addrs.contains(&(ifindex, addr))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (IfIndex, IpAddr)> + '_ {
        self.addrs.iter().copied()
    }
}

impl Stack {
    /// `ip neigh add proxy`; `false` when there are too many.
    pub(crate) fn proxy_add(&mut self, ifindex: IfIndex, addr: IpAddr) -> bool {
        let room = self.neigh.proxies.addrs.len() < MAX_PROXIES;
        room && {
            self.neigh.proxies.addrs.insert((ifindex, addr));
            true
        }
    }

    /// `ip neigh del proxy`; `false` when there is none.
    pub(crate) fn proxy_del(&mut self, ifindex: IfIndex, addr: IpAddr) -> bool {
        self.neigh.proxies.addrs.remove(&(ifindex, addr))
    }

    /// `pneigh_enqueue`: the answer waits a random part of `proxy_delay`, so that the real owner is first.
    pub(super) fn proxy_enqueue(&mut self, now: Instant, ifindex: IfIndex, arp: Packet) {
        let Some(params) = self.params_of(ifindex, arp.target_ip.into()) else { return };
        let (delay, limit) = (params.proxy_delay, params.proxy_qlen as usize);
        if self.neigh.proxies.queue.len() > limit {
            let mut bytes = [0; wire::arp::PACKET_LEN];
            arp.emit(&mut bytes);
            return self.record_drop(now, ifindex, DropReason::NeighQueuefull, &bytes);
        }
        let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).max(1);
        let wait = core::time::Duration::from_millis(self.neigh.rng.below(ms));
        self.neigh.proxies.queue.push_back((now + wait, ifindex, arp));
        self.arm(now, wait, TimerKey::Neigh(TimerEvent::Proxy));
    }

    /// `neigh_proxy_process`
    pub(super) fn neigh_proxy_timeout(&mut self, now: Instant) {
        for _ in 0..self.neigh.proxies.queue.len() {
            let Some((due, ifindex, arp)) = self.neigh.proxies.queue.pop_front() else { return };
            if due <= now {
                self.arp_proxy_reply(now, ifindex, &arp);
            } else {
                self.neigh.proxies.queue.push_back((due, ifindex, arp));
            }
        }
    }
}
