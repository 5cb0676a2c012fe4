//! The state machine of one entry: used, confirmed, updated, timed out.
//!
//! Linux: net/core/neighbour.c, `__neigh_event_send`, `neigh_timer_handler`, `__neigh_update`. RFC 4861 §7.3.
//! TRUTH 11a, 11b, 11c, 11d, 11h.

use core::time::Duration;
use std::net::IpAddr;

use wire::{Frame, Instant, MacAddr};

use super::{Neighbour, NudState, TimerEvent, truesize};
use crate::icmp::IcmpError;
use crate::record::{IfIndex, What};
use crate::sysctl::NeighParams;
use crate::{DropReason, Errno, Stack, TimerKey};

/// No timer of an entry is shorter (`HZ / 100`).
const MIN_TIMER: Duration = Duration::from_millis(10);
/// How often `reachable_time` is drawn anew (`neigh_periodic_work`).
const REACHABLE_REDRAW: Duration = Duration::from_secs(300);

/// What an update may do (`NEIGH_UPDATE_F_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Update {
    /// Another link-layer address replaces the one known.
    pub(crate) override_: bool,
    /// Another link-layer address only makes a connected entry stale.
    pub(crate) weak_override: bool,
    /// `is_router` counts.
    pub(crate) override_is_router: bool,
    pub(crate) is_router: bool,
    /// By `ip neigh`.
    pub(crate) admin: bool,
}

/// Why an entry was not updated.
pub(crate) type UpdateError = Errno;

impl Stack {
    pub(super) fn params_of(&self, ifindex: IfIndex, addr: IpAddr) -> Option<&NeighParams> {
        let iface = self.ifaces.get(ifindex)?;
        Some(if addr.is_ipv6() { &iface.neigh6 } else { &iface.neigh4 })
    }

    /// `parms->reachable_time`, drawn when first needed and again every 300 s.
    fn reachable_time(&mut self, now: Instant, ifindex: IfIndex, addr: IpAddr) -> Duration {
        let Some(iface) = self.ifaces.get_mut(ifindex) else { return Duration::ZERO };
        let (params, drawn) = if addr.is_ipv6() {
            (&iface.neigh6, &mut iface.reachable6)
        } else {
            (&iface.neigh4, &mut iface.reachable4)
        };
        match *drawn {
            Some((time, at)) if now <= at + REACHABLE_REDRAW => time,
            _ => {
                let time = super::random_reachable_time(params.base_reachable_time, &mut self.neigh.rng);
                *drawn = Some((time, now));
                time
            }
        }
    }

    /// Changes the state and says so.
    fn set_state(&mut self, now: Instant, ifindex: IfIndex, addr: IpAddr, to: NudState) {
        let Some(n) = self.neigh.get_mut(ifindex, addr) else { return };
        let from = n.state.replace(to);
        let lladdr = n.is_valid().then_some(n.lladdr);
        if from != Some(to) {
            self.out.record(now, || What::Neigh { ifindex, addr, lladdr, from, to: Some(to) });
        }
    }

    fn set_timer(&mut self, now: Instant, ifindex: IfIndex, addr: IpAddr, delay: Duration) {
        self.stop_timer(ifindex, addr);
        let id = self.arm(now, delay, TimerKey::Neigh(TimerEvent::State(ifindex, addr)));
        if let Some(n) = self.neigh.get_mut(ifindex, addr) {
            n.timer = Some(id);
        }
    }

    fn stop_timer(&mut self, ifindex: IfIndex, addr: IpAddr) {
        if let Some(n) = self.neigh.get_mut(ifindex, addr)
            && let Some(id) = n.timer.take()
        {
            self.timers.cancel(id);
        }
    }

    /// `neigh_event_send`: the entry is about to be used for `packet`. Returns the packet when it can be sent
    /// at once; otherwise it waits in the queue or was dropped.
    pub(super) fn neigh_event_send(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        addr: IpAddr,
        packet: Option<Frame>,
    ) -> Option<Frame> {
        let params = self.params_of(ifindex, addr)?;
        let (retrans, delay_probe) = (params.retrans_time, params.delay_first_probe_time);
        let (ucast, asks) = (params.ucast_solicit, params.mcast_solicit + params.app_solicit);
        let n = self.neigh.get_mut(ifindex, addr)?;
        n.used = now;
        match n.state {
            Some(
                NudState::Permanent
                | NudState::Noarp
                | NudState::Reachable
                | NudState::Delay
                | NudState::Probe,
            ) => packet,
            Some(NudState::Stale) => {
                n.updated = now;
                self.set_state(now, ifindex, addr, NudState::Delay);
                self.set_timer(now, ifindex, addr, delay_probe);
                packet
            }
            Some(NudState::Incomplete) => {
                self.neigh_enqueue(now, ifindex, addr, packet);
                None
            }
            None | Some(NudState::Failed) => {
                n.updated = now;
                if asks == 0 {
                    self.set_state(now, ifindex, addr, NudState::Failed);
                    if let Some(packet) = packet {
                        self.record_drop(now, ifindex, DropReason::NeighFailed, packet.head());
                    }
                    return None;
                }
                n.probes = ucast;
                self.set_state(now, ifindex, addr, NudState::Incomplete);
                self.set_timer(now, ifindex, addr, retrans.max(MIN_TIMER));
                self.neigh_enqueue(now, ifindex, addr, packet);
                self.neigh_probe(now, ifindex, addr);
                None
            }
        }
    }

    /// Packets wait up to `unres_qlen_bytes`; the oldest gives way.
    fn neigh_enqueue(&mut self, now: Instant, ifindex: IfIndex, addr: IpAddr, packet: Option<Frame>) {
        let Some(packet) = packet else { return };
        let limit = self.params_of(ifindex, addr).map_or(0, |p| p.unres_qlen_bytes);
        let Some(n) = self.neigh.get_mut(ifindex, addr) else { return };
        let size = truesize(packet.len());
        let mut dropped = Vec::new();
        while n.queue_bytes.saturating_add(size) > limit
            && let Some(oldest) = n.queue.pop_front()
        {
            n.queue_bytes = n.queue_bytes.saturating_sub(truesize(oldest.len()));
            dropped.push(oldest);
        }
        n.queue_bytes += size;
        n.queue.push_back(packet);
        let queued = u32::try_from(n.queue.len()).unwrap_or(u32::MAX);
        for oldest in dropped {
            self.record_drop(now, ifindex, DropReason::NeighQueuefull, oldest.head());
        }
        self.out.record(now, || What::NeighQueued { ifindex, addr, queued });
    }

    /// `neigh_probe`: one more request, on behalf of the packet that came last.
    fn neigh_probe(&mut self, now: Instant, ifindex: IfIndex, addr: IpAddr) {
        let Some(n) = self.neigh.get_mut(ifindex, addr) else { return };
        let probes = n.probes;
        n.probes += 1;
        let waiting = n.queue.back().map(|f| f.head().to_vec());
        match addr {
            IpAddr::V4(target) => self.arp_solicit(now, ifindex, target, probes, waiting.as_deref()),
            IpAddr::V6(target) => self.ndisc_solicit(now, ifindex, target, probes, waiting.as_deref()),
        }
    }

    /// `neigh_max_probes`
    fn max_probes(params: &NeighParams, state: NudState) -> u32 {
        let multicast = if state == NudState::Probe { params.mcast_resolicit } else { params.mcast_solicit };
        params.ucast_solicit.saturating_add(params.app_solicit).saturating_add(multicast)
    }

    /// `neigh_timer_handler`
    pub(super) fn neigh_state_timeout(&mut self, now: Instant, ifindex: IfIndex, addr: IpAddr) {
        let reachable = self.reachable_time(now, ifindex, addr);
        let Some(params) = self.params_of(ifindex, addr) else { return };
        let (retrans, delay_probe) = (params.retrans_time.max(MIN_TIMER), params.delay_first_probe_time);
        let limit = |state| Self::max_probes(params, state);
        let (max_probe, max_incomplete) = (limit(NudState::Probe), limit(NudState::Incomplete));
        let Some(n) = self.neigh.get_mut(ifindex, addr) else { return };
        n.timer = None;
        let Some(state) = n.state.filter(|s| s.is_timed()) else { return };
        let (to, next) = match state {
            NudState::Reachable if now < n.confirmed + reachable => (state, n.confirmed + reachable),
            NudState::Reachable if now <= n.used + delay_probe => (NudState::Delay, now + delay_probe),
            NudState::Reachable => (NudState::Stale, now),
            NudState::Delay if n.confirmed + delay_probe > now => {
                (NudState::Reachable, n.confirmed + reachable)
            }
            NudState::Delay => {
                n.probes = 0;
                (NudState::Probe, now + retrans)
            }
            other => (other, now + retrans),
        };
        if to != state {
            n.updated = now;
        }
        let (probes, probing) = (n.probes, matches!(to, NudState::Probe | NudState::Incomplete));
        self.set_state(now, ifindex, addr, to);
        if to == NudState::Stale {
            return;
        }
        let max = if to == NudState::Probe { max_probe } else { max_incomplete };
        if probing && probes >= max {
            self.set_state(now, ifindex, addr, NudState::Failed);
            self.neigh_invalidate(now, ifindex, addr);
            return;
        }
        self.set_timer(now, ifindex, addr, (next - now).max(MIN_TIMER));
        if probing {
            self.neigh_probe(now, ifindex, addr);
        }
    }

    /// `neigh_invalidate`: every packet that waited comes back to its sender as host unreachable
    /// (`arp_error_report`, `ndisc_error_report`).
    fn neigh_invalidate(&mut self, now: Instant, ifindex: IfIndex, addr: IpAddr) {
        let Some(n) = self.neigh.get_mut(ifindex, addr) else { return };
        n.updated = now;
        n.queue_bytes = 0;
        let queue = core::mem::take(&mut n.queue);
        for packet in queue {
            self.icmp_send(now, ifindex, &packet, IcmpError::HostUnreachable);
            self.record_drop(now, ifindex, DropReason::NeighFailed, packet.head());
        }
    }

    /// `neigh_update`: somebody, or the administrator, says what is so.
    pub(crate) fn neigh_update(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        addr: IpAddr,
        lladdr: Option<MacAddr>,
        new: NudState,
        flags: Update,
    ) -> Result<(), UpdateError> {
        let base = self.params_of(ifindex, addr).ok_or(Errno::ENODEV)?.base_reachable_time;
        let n = self.neigh.get_mut(ifindex, addr).ok_or(Errno::ENOENT)?;
        let old = n.state;
        let old_valid = n.is_valid();
        if !flags.admin && matches!(old, Some(NudState::Noarp | NudState::Permanent)) {
            return Err(Errno::EPERM);
        }
        if !new.is_valid() {
            self.stop_timer(ifindex, addr);
            self.set_state(now, ifindex, addr, new);
            if matches!(old, Some(NudState::Incomplete | NudState::Probe)) && new == NudState::Failed {
                self.neigh_invalidate(now, ifindex, addr);
            }
            return Ok(());
        }
        let lladdr = match lladdr {
            Some(lladdr) => lladdr,
            None if old_valid => n.lladdr,
            None => return Err(Errno::EINVAL),
        };
        // Even when nothing else changes, we heard of it.
        if new.is_connected() {
            n.confirmed = now;
        }
        let (mut lladdr, mut new, mut update_is_router) = (lladdr, new, flags.override_is_router);
        if old_valid {
            if lladdr != n.lladdr && !flags.override_ {
                update_is_router = false;
                if flags.weak_override && n.is_connected() {
                    lladdr = n.lladdr;
                    new = NudState::Stale;
                } else {
                    return Ok(());
                }
            } else if lladdr == n.lladdr && new == NudState::Stale && !flags.admin {
                new = old.expect("a valid entry has a state");
            }
        }
        let moved = lladdr != n.lladdr;
        if Some(new) != old || moved {
            // Only a change moves the window of locktime.
            n.updated = now;
        }
        if moved {
            n.lladdr = lladdr;
            if !new.is_connected() {
                n.confirmed = now - base * 2;
            }
        }
        if Some(new) != old {
            if new == NudState::Probe {
                n.probes = 0;
            }
            self.stop_timer(ifindex, addr);
            if new.is_timed() {
                let delay = if new == NudState::Reachable {
                    self.reachable_time(now, ifindex, addr)
                } else {
                    Duration::ZERO
                };
                self.set_timer(now, ifindex, addr, delay);
            }
            self.set_state(now, ifindex, addr, new);
            if !old_valid {
                self.neigh_flush_queue(now, ifindex, addr);
            }
        } else if moved {
            self.out.record(now, || What::Neigh { ifindex, addr, lladdr: Some(lladdr), from: old, to: old });
        }
        if update_is_router && let Some(n) = self.neigh.get_mut(ifindex, addr) {
            n.router = flags.is_router;
        }
        Ok(())
    }

    /// The address is known: everything that waited goes out, in order.
    fn neigh_flush_queue(&mut self, now: Instant, ifindex: IfIndex, addr: IpAddr) {
        let Some(n) = self.neigh.get_mut(ifindex, addr) else { return };
        n.queue_bytes = 0;
        let queue = core::mem::take(&mut n.queue);
        for packet in queue {
            self.neigh_output(now, ifindex, addr, packet);
        }
    }

    /// `neigh_confirm`: a transport (or `MSG_CONFIRM`) saw that packets arrive there.
    pub(crate) fn neigh_confirm(&mut self, now: Instant, ifindex: IfIndex, addr: IpAddr) {
        if let Some(n) = self.neigh.get_mut(ifindex, addr) {
            n.confirmed = now;
        }
    }

    /// `neigh_event_ns`: whoever asks for us has told its own address.
    pub(super) fn neigh_event_ns(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        addr: IpAddr,
        lladdr: MacAddr,
    ) -> bool {
        if self.neigh.get(ifindex, addr).is_none() && !self.neigh_create(now, ifindex, addr) {
            return false;
        }
        let flags = Update { override_: true, ..Update::default() };
        let _ = self.neigh_update(now, ifindex, addr, Some(lladdr), NudState::Stale, flags);
        true
    }

    /// Whether the neighbour's link-layer address is known (`NUD_VALID`).
    pub(crate) fn neigh_known(&self, ifindex: IfIndex, addr: IpAddr) -> bool {
        self.neigh.get(ifindex, addr).is_some_and(Neighbour::is_valid)
    }

    /// Whether the neighbour is known not to answer (`rt6_check_neigh`).
    pub(crate) fn neigh_is_failed(&self, ifindex: IfIndex, addr: IpAddr) -> bool {
        self.neigh.get(ifindex, addr).is_some_and(|n| n.state == Some(NudState::Failed))
    }

    /// Whether there is an entry, whatever its state.
    pub(crate) fn neigh_exists(&self, ifindex: IfIndex, addr: IpAddr) -> bool {
        self.neigh.get(ifindex, addr).is_some()
    }

    /// An entry in `NUD_NONE`; `false` when the table is full.
    pub(crate) fn neigh_make(&mut self, now: Instant, ifindex: IfIndex, addr: IpAddr) -> bool {
        self.neigh_exists(ifindex, addr) || self.neigh_create(now, ifindex, addr)
    }

    /// `ip neigh del`: as `neigh_delete`, the entry fails first, so that waiting packets are answered.
    pub(crate) fn neigh_delete(&mut self, now: Instant, ifindex: IfIndex, addr: IpAddr) {
        let flags = Update { override_: true, admin: true, ..Update::default() };
        let _ = self.neigh_update(now, ifindex, addr, None, NudState::Failed, flags);
        self.neigh_remove(now, ifindex, addr);
    }

    /// `ip neigh flush`: without `all`, permanent and noarp entries stay.
    pub(crate) fn neigh_flush(
        &mut self,
        now: Instant,
        ifindex: Option<IfIndex>,
        ipv6: Option<bool>,
        all: bool,
    ) {
        let gone: Vec<(IfIndex, IpAddr)> = self
            .neigh
            .iter()
            .filter(|n| {
                ifindex.is_none_or(|i| i == n.ifindex) && ipv6.is_none_or(|v6| v6 == n.addr.is_ipv6())
            })
            .filter(|n| all || !matches!(n.state, Some(NudState::Permanent | NudState::Noarp)))
            .map(|n| (n.ifindex, n.addr))
            .collect();
        for (ifindex, addr) in gone {
            self.neigh_delete(now, ifindex, addr);
        }
    }

    /// Starts resolution without a packet.
    pub(crate) fn neigh_resolve(&mut self, now: Instant, ifindex: IfIndex, addr: IpAddr) {
        if self.neigh.get(ifindex, addr).is_some() || self.neigh_create(now, ifindex, addr) {
            let _ = self.neigh_event_send(now, ifindex, addr, None);
        }
    }
}
