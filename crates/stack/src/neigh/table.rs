//! Where entries live, and when they are thrown away.
//!
//! Linux: net/core/neighbour.c, `neigh_alloc`, `neigh_forced_gc`, `neigh_periodic_work`, `neigh_ifdown`.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use wire::{Instant, MacAddr};

use super::{Neighbour, NudState, Proxies, TimerEvent};
use crate::record::{IfIndex, What};
use crate::rng::Rng;
use crate::timer::TimerId;
use crate::{Stack, TimerKey};

/// Entries that nobody touched for this long may go when the table is full.
const FORCED_GC_AGE: Duration = Duration::from_secs(5);

/// The ARP table and the ND table.
#[derive(Clone, Debug)]
pub struct NeighTables {
    slots: Vec<Option<Box<Neighbour>>>,
    free: Vec<u32>,
    index: BTreeMap<(IfIndex, IpAddr), u32>,
    /// The entry that was used last: most hosts talk to one neighbour at a time.
    last: Option<(IfIndex, IpAddr, u32)>,
    pub(super) gc: Option<TimerId>,
    last_flush4: Option<Instant>,
    last_flush6: Option<Instant>,
    pub(super) proxies: Proxies,
    /// Random reachable times and proxy delays.
    pub(super) rng: Rng,
    /// Never moves: nonces of duplicate address detection are forked from it.
    pub(super) nonces: Rng,
}

impl NeighTables {
    pub(crate) fn new(rng: &Rng) -> NeighTables {
        NeighTables {
            slots: Vec::new(),
            free: Vec::new(),
            index: BTreeMap::new(),
            last: None,
            gc: None,
            last_flush4: None,
            last_flush6: None,
            proxies: Proxies::default(),
            rng: rng.fork("neigh"),
            nonces: rng.fork("dad nonce"),
        }
    }

    /// The entry's number, quickly when it was also the one before.
    #[inline]
    pub(super) fn find_cached(&mut self, ifindex: IfIndex, addr: IpAddr) -> Option<u32> {
        if let Some((i, a, slot)) = self.last
            && i == ifindex
            && a == addr
        {
            return Some(slot);
        }
        let slot = *self.index.get(&(ifindex, addr))?;
        self.last = Some((ifindex, addr, slot));
        Some(slot)
    }

    #[inline]
    pub(super) fn slot(&self, slot: u32) -> &Neighbour {
        self.slots[slot as usize].as_deref().expect("the index names live entries only")
    }

    pub(super) fn slot_mut(&mut self, slot: u32) -> &mut Neighbour {
        self.slots[slot as usize].as_deref_mut().expect("the index names live entries only")
    }

    /// `neigh_lookup`
    pub(crate) fn get(&self, ifindex: IfIndex, addr: IpAddr) -> Option<&Neighbour> {
        self.index.get(&(ifindex, addr)).map(|slot| self.slot(*slot))
    }

    pub(super) fn get_mut(&mut self, ifindex: IfIndex, addr: IpAddr) -> Option<&mut Neighbour> {
        let slot = *self.index.get(&(ifindex, addr))?;
        Some(self.slot_mut(slot))
    }

    /// All entries, by interface and address.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Neighbour> + '_ {
        self.index.values().map(|slot| self.slot(*slot))
    }

    fn insert(&mut self, entry: Neighbour) {
        let key = (entry.ifindex, entry.addr);
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(Box::new(entry));
                slot
            }
            None => {
                self.slots.push(Some(Box::new(entry)));
                u32::try_from(self.slots.len() - 1).expect("gc_thresh3 is an int")
            }
        };
        self.index.insert(key, slot);
    }

    fn remove(&mut self, ifindex: IfIndex, addr: IpAddr) -> Option<Box<Neighbour>> {
        let slot = self.index.remove(&(ifindex, addr))?;
        self.last = None;
        self.free.push(slot);
        self.slots[slot as usize].take()
    }

    /// Entries that count against the thresholds: permanent ones do not (`gc_entries`).
    fn counted(&self, ipv6: bool) -> usize {
        self.iter().filter(|n| n.addr.is_ipv6() == ipv6 && n.state != Some(NudState::Permanent)).count()
    }
}

impl Stack {
    /// `__neigh_create`: `false` when the table is full.
    pub(super) fn neigh_create(&mut self, now: Instant, ifindex: IfIndex, addr: IpAddr) -> bool {
        let ipv6 = addr.is_ipv6();
        let gc = if ipv6 { &self.sysctl.gc6 } else { &self.sysctl.gc4 };
        let limit = |n: i32| usize::try_from(n).unwrap_or(0);
        let (thresh1, thresh2, thresh3) = (limit(gc.gc_thresh1), limit(gc.gc_thresh2), limit(gc.gc_thresh3));
        // Counting is only worth it when the table might be full.
        let entries = if self.neigh.index.len() < thresh1.min(thresh2).min(thresh3) {
            0
        } else {
            self.neigh.counted(ipv6)
        };
        let last = if ipv6 { self.neigh.last_flush6 } else { self.neigh.last_flush4 };
        let flushed_lately = last.is_some_and(|at| now <= at + FORCED_GC_AGE);
        if entries >= thresh3 || (entries >= thresh2 && !flushed_lately) {
            let shrunk = self.neigh_forced_gc(now, ipv6, entries.saturating_sub(thresh2));
            if !shrunk && entries >= thresh3 {
                return false;
            }
        }
        self.neigh.insert(Neighbour {
            ifindex,
            addr,
            lladdr: MacAddr::ZERO,
            state: None,
            router: false,
            probes: 0,
            // Long ago, so that nothing counts as confirmed (reachable_time << 1 before now).
            confirmed: now - Duration::from_secs(60),
            updated: now,
            used: now,
            queue: VecDeque::new(),
            queue_bytes: 0,
            timer: None,
        });
        if entries + 1 >= thresh1 {
            self.neigh_arm_gc(now);
        }
        true
    }

    fn neigh_forced_gc(&mut self, now: Instant, ipv6: bool, max_clean: usize) -> bool {
        let limit = max_clean.max(1);
        let mut gone = Vec::new();
        let mut candidates: Vec<&Neighbour> =
            self.neigh.iter().filter(|n| n.addr.is_ipv6() == ipv6).collect();
        candidates.sort_by_key(|n| n.updated);
        for n in candidates {
            let idle = n.queue.is_empty() && n.state != Some(NudState::Permanent);
            let old = n.state == Some(NudState::Failed)
                || n.state == Some(NudState::Noarp)
                || now > n.updated + FORCED_GC_AGE;
            if idle && old {
                gone.push((n.ifindex, n.addr));
                if gone.len() >= limit {
                    break;
                }
            }
        }
        for (ifindex, addr) in &gone {
            self.neigh_remove(now, *ifindex, *addr);
        }
        if ipv6 {
            self.neigh.last_flush6 = Some(now);
        } else {
            self.neigh.last_flush4 = Some(now);
        }
        !gone.is_empty()
    }

    fn neigh_arm_gc(&mut self, now: Instant) {
        if self.neigh.gc.is_none() {
            let every = self.sysctl.neigh4_default.base_reachable_time / 2;
            let every = every.max(Duration::from_secs(1));
            self.neigh.gc = Some(self.arm(now, every, TimerKey::Neigh(TimerEvent::Gc)));
        }
    }

    /// `neigh_periodic_work`: above `gc_thresh1`, failed entries and those unused for `gc_stale_time` go. The
    /// kernel runs it always; here the timer rests while the table is small, when it would do nothing.
    pub(super) fn neigh_gc(&mut self, now: Instant) {
        self.neigh.gc = None;
        let mut again = false;
        for ipv6 in [false, true] {
            let gc = if ipv6 { &self.sysctl.gc6 } else { &self.sysctl.gc4 };
            let thresh1 = usize::try_from(gc.gc_thresh1).unwrap_or(0);
            if self.neigh.counted(ipv6) < thresh1 {
                continue;
            }
            again = true;
            let mut gone = Vec::new();
            for n in self.neigh.iter().filter(|n| n.addr.is_ipv6() == ipv6) {
                if n.state == Some(NudState::Permanent) || n.state.is_some_and(NudState::is_timed) {
                    continue;
                }
                let params = self.ifaces.get(n.ifindex).map(|i| if ipv6 { &i.neigh6 } else { &i.neigh4 });
                let stale = params.map_or(Duration::ZERO, |p| p.gc_stale_time);
                if n.state == Some(NudState::Failed) || now >= n.used.max(n.confirmed) + stale {
                    gone.push((n.ifindex, n.addr));
                }
            }
            for (ifindex, addr) in gone {
                self.neigh_remove(now, ifindex, addr);
            }
        }
        if again {
            self.neigh_arm_gc(now);
        }
    }

    /// Takes an entry out; packets that waited for it are dropped.
    pub(super) fn neigh_remove(&mut self, now: Instant, ifindex: IfIndex, addr: IpAddr) {
        let Some(entry) = self.neigh.remove(ifindex, addr) else { return };
        if let Some(timer) = entry.timer {
            self.timers.cancel(timer);
        }
        for frame in &entry.queue {
            self.record_drop(now, ifindex, crate::DropReason::NeighDead, frame.head());
        }
        let lladdr = entry.is_valid().then_some(entry.lladdr);
        let from = entry.state;
        self.out.record(now, || What::Neigh { ifindex, addr, lladdr, from, to: None });
    }

    /// `neigh_ifdown`, `neigh_changeaddr`: every entry of the interface goes, permanent ones stay when only
    /// the carrier is gone (`neigh_carrier_down`).
    pub(crate) fn neigh_ifdown(&mut self, now: Instant, ifindex: IfIndex, keep_permanent: bool) {
        let evict = self
            .ifaces
            .get(ifindex)
            .map(|i| (self.sysctl.arp_evict_nocarrier(i), i.conf6.ndisc_evict_nocarrier != 0));
        let (evict4, evict6) = evict.unwrap_or((true, true));
        self.neigh_remove_where(now, ifindex, |n| {
            !keep_permanent
                || (n.state != Some(NudState::Permanent) && if n.addr.is_ipv6() { evict6 } else { evict4 })
        });
    }

    /// `arp_ifdown`: IPv4 alone leaves the interface, permanent entries too.
    pub(crate) fn neigh_ifdown4(&mut self, now: Instant, ifindex: IfIndex) {
        self.neigh_remove_where(now, ifindex, |n| n.addr.is_ipv4());
    }

    fn neigh_remove_where(&mut self, now: Instant, ifindex: IfIndex, goes: impl Fn(&Neighbour) -> bool) {
        let gone = self.neigh.iter().filter(|n| n.ifindex == ifindex && goes(n));
        for addr in gone.map(|n| n.addr).collect::<Vec<IpAddr>>() {
            self.neigh_remove(now, ifindex, addr);
        }
    }
}
