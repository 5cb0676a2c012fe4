//! Which port leads to which address. IEEE 802.1Q §8.8; Linux: net/bridge/br_fdb.c.

use core::time::Duration;
use std::collections::BTreeMap;

use stack::record::IfIndex;
use wire::{Instant, MacAddr};

/// One learnt address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacEntry {
    /// In which VLAN.
    pub vlan: u16,
    /// The address.
    pub mac: MacAddr,
    /// The port that leads to it.
    pub port: IfIndex,
    /// When it was last heard.
    pub seen: Instant,
}

/// Learnt addresses of one switch.
#[derive(Debug)]
pub(crate) struct MacTable {
    entries: BTreeMap<(u16, MacAddr), (IfIndex, Instant)>,
    /// Entries behind each port.
    behind: Vec<usize>,
    limit: usize,
    ageing: Duration,
    /// No entry is older than the ageing time before this.
    next_sweep: Instant,
}

impl MacTable {
    pub(crate) fn new(limit: usize, ageing: Duration) -> MacTable {
        MacTable { entries: BTreeMap::new(), behind: Vec::new(), limit, ageing, next_sweep: Instant::ZERO }
    }

    /// Hears `mac` on `port`. Not learnt when the table or the port (`port_limit`) is full.
    pub(crate) fn learn(
        &mut self,
        now: Instant,
        vlan: u16,
        mac: MacAddr,
        port: IfIndex,
        port_limit: Option<usize>,
    ) {
        if mac.is_multicast() {
            return;
        }
        if self.behind.len() <= port as usize {
            self.behind.resize(port as usize + 1, 0);
        }
        if let Some((at, seen)) = self.entries.get_mut(&(vlan, mac)) {
            if *at != port {
                if port_limit.is_some_and(|limit| self.behind[port as usize] >= limit) {
                    return;
                }
                self.behind[*at as usize] -= 1;
                self.behind[port as usize] += 1;
                *at = port;
            }
            *seen = now;
            return;
        }
        let full = |table: &MacTable| {
            table.entries.len() >= table.limit
                || port_limit.is_some_and(|limit| table.behind[port as usize] >= limit)
        };
        if full(self) {
            self.sweep(now);
            if full(self) {
                return;
            }
        }
        self.behind[port as usize] += 1;
        self.entries.insert((vlan, mac), (port, now));
    }

    /// The port that leads to `mac`, unless it was not heard for the ageing time.
    pub(crate) fn lookup(&self, now: Instant, vlan: u16, mac: MacAddr) -> Option<IfIndex> {
        let (port, seen) = *self.entries.get(&(vlan, mac))?;
        (!self.aged(now, seen)).then_some(port)
    }

    pub(crate) fn forget_port(&mut self, port: IfIndex) {
        self.entries.retain(|_, (at, _)| *at != port);
        if let Some(n) = self.behind.get_mut(port as usize) {
            *n = 0;
        }
    }

    pub(crate) fn entries(&self, now: Instant) -> impl Iterator<Item = MacEntry> + '_ {
        self.entries
            .iter()
            .filter(move |(_, (_, seen))| !self.aged(now, *seen))
            .map(|(&(vlan, mac), &(port, seen))| MacEntry { vlan, mac, port, seen })
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn aged(&self, now: Instant, seen: Instant) -> bool {
        !self.ageing.is_zero() && now.saturating_since(seen) >= self.ageing
    }

    /// Removes aged entries; at most once a second of virtual time, so that a full table stays cheap.
    fn sweep(&mut self, now: Instant) {
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + Duration::from_secs(1);
        let (ageing, behind) = (self.ageing, &mut self.behind);
        self.entries.retain(|_, (port, seen)| {
            let keep = ageing.is_zero() || now.saturating_since(*seen) < ageing;
            if !keep {
                behind[*port as usize] -= 1;
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(n: u8) -> MacAddr {
        MacAddr([2, 0, 0, 0, 0, n])
    }

    #[test]
    fn an_address_ages_after_300_s_of_silence_and_moves_with_its_host() {
        let mut table = MacTable::new(10, super::super::DEFAULT_AGEING);
        table.learn(Instant::ZERO, 1, mac(1), 1, None);
        assert_eq!(table.lookup(Instant::from_secs(299), 1, mac(1)), Some(1));
        assert_eq!(table.lookup(Instant::from_secs(300), 1, mac(1)), None);
        assert_eq!(table.lookup(Instant::ZERO, 2, mac(1)), None, "another VLAN");
        table.learn(Instant::from_secs(300), 1, mac(1), 2, None);
        assert_eq!(table.lookup(Instant::from_secs(599), 1, mac(1)), Some(2));
    }

    #[test]
    fn a_full_table_or_port_learns_no_more_until_something_ages() {
        let mut table = MacTable::new(2, super::super::DEFAULT_AGEING);
        table.learn(Instant::ZERO, 1, mac(1), 1, Some(1));
        table.learn(Instant::ZERO, 1, mac(2), 1, Some(1));
        assert_eq!(table.len(), 1);
        table.learn(Instant::ZERO, 1, mac(2), 2, None);
        table.learn(Instant::ZERO, 1, mac(3), 2, None);
        assert_eq!((table.len(), table.lookup(Instant::ZERO, 1, mac(3))), (2, None));
        table.learn(Instant::from_secs(301), 1, mac(3), 2, None);
        assert_eq!(table.lookup(Instant::from_secs(301), 1, mac(3)), Some(2));
        assert_eq!(table.len(), 1);
    }
}
