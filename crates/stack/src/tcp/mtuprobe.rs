//! The segment size: path MTU, and packetization-layer path MTU discovery out of a black hole (RFC 4821).
//!
//! Linux: tcp_output.c `tcp_sync_mss`, `tcp_mtu_to_mss`, `tcp_mtu_probe`; tcp_timer.c `tcp_mtu_probing`.

use core::time::Duration;

use wire::Instant;
use wire::tcp::{Flags, SeqNum};

use super::cx::Cx;
use super::tcb::Tcb;
use crate::mib::Counter;
use crate::sysctl::Globals;

/// Probing state (`icsk_mtup`).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MtuProbe {
    pub(crate) enabled: bool,
    /// Sizes that are known to pass, and known not to, as MTUs.
    pub(crate) search_low: u32,
    pub(crate) search_high: u32,
    /// The probe in flight.
    pub(crate) probe: Option<Probe>,
    /// When the search began: a finished one is begun anew after `tcp_probe_interval`.
    pub(crate) since: Instant,
}

/// A segment that is larger than usual, to find out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(crate) size: u32,
    pub(crate) start: SeqNum,
    pub(crate) end: SeqNum,
}

/// What `tcp_mtu_probe` decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probing {
    /// Nothing to do.
    No,
    /// Wait until a probe fits.
    Wait,
    /// A probe was sent.
    Sent,
}

impl Tcb {
    fn network_header_len(&self) -> u32 {
        if self.local.is_ipv6() { 40 } else { 20 }
    }

    fn timestamp_len(&self) -> u32 {
        if self.ts.ok { 12 } else { 0 }
    }

    /// `tcp_mtu_to_mss`: the payload of a packet of that size, options that every segment carries taken off.
    pub(crate) fn mtu_to_mss(&self, sysctl: &Globals, mtu: u32) -> u32 {
        self.bare_mtu_to_mss(sysctl, mtu).saturating_sub(self.timestamp_len())
    }

    /// `__tcp_mtu_to_mss`: without options.
    pub(crate) fn bare_mtu_to_mss(&self, sysctl: &Globals, mtu: u32) -> u32 {
        let mut mss = mtu.saturating_sub(self.network_header_len() + 20);
        mss = mss.min(u32::from(self.opts.mss_clamp));
        let least = u32::try_from(sysctl.tcp_min_snd_mss).unwrap_or(48);
        mss = mss.max(least);
        mss
    }

    /// `tcp_mss_to_mtu`
    fn mss_to_mtu(&self, mss: u32) -> u32 {
        mss + 20 + self.timestamp_len() + self.network_header_len()
    }

    /// `tcp_mtup_init`
    pub(crate) fn mtu_probe_init(&mut self, cx: &Cx<'_>) {
        self.mtup.enabled = cx.sysctl.tcp_mtu_probing > 1;
        self.mtup.search_high = u32::from(self.opts.mss_clamp) + 20 + self.network_header_len();
        let base = u32::try_from(cx.sysctl.tcp_base_mss).unwrap_or(1024);
        self.mtup.search_low = self.mss_to_mtu(base);
        self.mtup.probe = None;
        self.mtup.since = cx.now;
    }

    /// `tcp_sync_mss`: the path MTU (or the peer's window) changed.
    pub(crate) fn sync_mss(&mut self, cx: &mut Cx<'_>, path_mtu: u32) {
        self.mtup.search_high =
            if self.mtup.search_high == 0 { path_mtu } else { self.mtup.search_high.min(path_mtu) };
        let mut mss = self.mtu_to_mss(cx.sysctl, path_mtu);
        mss = self.bound_to_half_window(mss);
        self.path_mtu = path_mtu;
        if self.mtup.enabled {
            mss = mss.min(self.mtu_to_mss(cx.sysctl, self.mtup.search_low));
        }
        self.mss = u16::try_from(mss).unwrap_or(u16::MAX);
    }

    /// `tcp_mtu_probing`: several timeouts in a row: large segments may vanish; try smaller ones.
    pub(crate) fn mtu_probing_on_timeout(&mut self, cx: &mut Cx<'_>) {
        if cx.sysctl.tcp_mtu_probing == 0 {
            return;
        }
        if self.mtup.enabled {
            let base = u32::try_from(cx.sysctl.tcp_base_mss).unwrap_or(1024);
            let floor = u32::try_from(cx.sysctl.tcp_mtu_probe_floor).unwrap_or(48);
            let least = u32::try_from(cx.sysctl.tcp_min_snd_mss).unwrap_or(48);
            let mss = (self.mtu_to_mss(cx.sysctl, self.mtup.search_low) >> 1).min(base).max(floor).max(least);
            self.mtup.search_low = self.mss_to_mtu(mss);
        } else {
            self.mtup.enabled = true;
            self.mtup.since = cx.now;
        }
        let mtu = self.path_mtu;
        self.sync_mss(cx, mtu);
    }

    pub(crate) fn mtu_probe_in_flight(&self) -> bool {
        self.mtup.probe.is_some()
    }

    /// The first thing that is missing is the probe: too large, not congestion.
    pub(crate) fn mtu_probe_lost(&self) -> bool {
        self.mtup.probe.is_some_and(|p| p.start == self.snd.una)
    }

    /// `tcp_mtup_probe_failed`
    pub(crate) fn mtu_probe_failed(&mut self, cx: &mut Cx<'_>) {
        if let Some(probe) = self.mtup.probe.take() {
            self.mtup.search_high = probe.size - 1;
            cx.count(Counter::TcpExtTCPMTUPFail);
        }
        // The probe used up one packet of the window for nothing.
        self.window.cwnd += 1;
        self.simple_retransmit(cx);
    }

    /// A retransmission while probing: the probe's answer would tell nothing.
    pub(crate) fn mtu_probe_abandon(&mut self) {
        self.mtup.probe = None;
    }

    /// `tcp_mtup_probe_success`
    pub(crate) fn mtu_probe_acked(&mut self, cx: &mut Cx<'_>) {
        let Some(probe) = self.mtup.probe.filter(|p| !p.end.after(self.snd.una)) else { return };
        // Larger segments: the window in packets shrinks so that it stays the same in bytes.
        let old = u64::from(self.mss_to_mtu(self.mss.into()));
        let cwnd = (u64::from(self.window.cwnd) * old / u64::from(probe.size).max(1)).max(1);
        self.window.cwnd = u32::try_from(cwnd).unwrap_or(u32::MAX);
        self.window.cwnd_cnt = 0;
        self.window.used_stamp = cx.now;
        self.window.ssthresh = self.current_ssthresh();
        self.mtup.search_low = probe.size;
        self.mtup.probe = None;
        let mtu = self.path_mtu;
        self.sync_mss(cx, mtu);
        cx.count(Counter::TcpExtTCPMTUPSuccess);
    }

    /// `tcp_mtu_probe`: sends one segment of a size half way between what passes and what does not.
    pub(crate) fn mtu_probe(&mut self, cx: &mut Cx<'_>) -> Probing {
        let ready = self.mtup.enabled
            && self.mtup.probe.is_none()
            && self.recovery.ca_state == super::cc::CaState::Open
            && self.window.cwnd >= 11
            && self.rx.sack_block_count(self.ts.ok) == 0;
        if !ready {
            return Probing::No;
        }
        let mss = u32::from(self.current_mss());
        let size = self.mtu_to_mss(cx.sysctl, u32::midpoint(self.mtup.search_high, self.mtup.search_low));
        let interval = self.mtup.search_high.saturating_sub(self.mtup.search_low);
        let threshold = u32::try_from(cx.sysctl.tcp_probe_threshold).unwrap_or(0);
        if size > self.mtu_to_mss(cx.sysctl, self.mtup.search_high) || interval < threshold {
            self.mtu_check_reprobe(cx);
            return Probing::No;
        }
        let needed = size + (self.recovery.reordering + 1) * mss;
        let queued = (self.snd.write_seq - self.snd.nxt) as u32; // forward
        if queued < needed || self.snd.wnd < needed {
            return Probing::No;
        }
        if (self.snd.nxt + needed).after(self.wnd_end()) {
            return Probing::No;
        }
        if self.in_flight() + 2 > self.window.cwnd {
            return if self.in_flight() == 0 { Probing::No } else { Probing::Wait };
        }
        if !self.gather_head(cx, size) {
            return Probing::No;
        }
        let start = self.snd.nxt;
        // What is too large for the interface does not even leave; write_xmit cuts it to size again.
        // It is no small segment to Nagle's algorithm (tcp_minshall_update is not called).
        let small = self.snd.sml;
        if !self.send_head(cx) {
            return Probing::No;
        }
        self.snd.sml = small;
        self.window.cwnd -= 1;
        self.mtup.probe = Some(Probe { size: self.mss_to_mtu(size), start, end: start + size });
        Probing::Sent
    }

    /// `tcp_mtu_check_reprobe`: the search has ended long ago; the path may have changed.
    fn mtu_check_reprobe(&mut self, cx: &Cx<'_>) {
        if cx.now - self.mtup.since < Duration::from_secs(cx.sysctl.tcp_probe_interval.into()) {
            return;
        }
        self.mtup.probe = None;
        self.mtup.search_high = u32::from(self.opts.mss_clamp) + 20 + self.network_header_len();
        self.mtup.search_low = self.mss_to_mtu(self.current_mss().into());
        self.mtup.since = cx.now;
    }

    /// The first `size` unsent bytes as one entry (`tcp_can_coalesce_send_queue_head`, `tcp_clone_payload`). `false`: what
    /// was written with `MSG_EOR` stays apart.
    fn gather_head(&mut self, cx: &mut Cx<'_>, size: u32) -> bool {
        let mut have = 0;
        for skb in &self.unsent {
            have += skb.len();
            if have >= size {
                break;
            }
            if skb.eor || skb.flags.fin() {
                return false;
            }
        }
        if have < size {
            return false;
        }
        let probe_mss = u16::try_from(size).unwrap_or(u16::MAX);
        let Some(mut head) = self.unsent.pop_front() else { return false };
        while head.len() < size {
            let Some(next) = self.unsent.pop_front() else { break };
            head.end_seq = next.end_seq;
            head.flags = (head.flags - Flags::PSH).with(next.flags);
            head.eor = next.eor;
        }
        self.unsent.push_front(head);
        if head.len() > size {
            self.split_unsent(cx, size, probe_mss);
        }
        let head = self.unsent.front_mut().expect("just put there");
        head.flags = head.flags - Flags::PSH;
        head.set_segments(probe_mss);
        true
    }

    /// Whether a segment of `len` bytes that is not cut is more than the way takes.
    pub(crate) fn larger_than_way(&self, cx: &Cx<'_>, len: u32) -> bool {
        self.mtup.enabled && self.mss_to_mtu(len) > cx.way_mtu
    }
}
