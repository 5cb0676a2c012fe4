//! What a host remembers of its peers after a connection is over: round-trip time and its variation, `ssthresh`, window,
//! reordering, and Fast Open cookies.
//!
//! Linux: net/ipv4/tcp_metrics.c; shown as iproute2's `ip tcp_metrics show` does (ip/tcp_metrics.c).

use core::fmt::Write;
use core::time::Duration;
use std::collections::BTreeMap;
use std::net::IpAddr;

use wire::Instant;

use super::cc::{CaState, INFINITE_SSTHRESH};
use super::cx::Cx;
use super::fastopen::{Blackhole, Cookie};
use super::rto::FALLBACK_RTO;
use super::tcb::Tcb;
use crate::Stack;
use crate::timer::Granularity;

/// `TCP_METRICS_TIMEOUT`: values not confirmed for so long are forgotten; cookies stay.
const TIMEOUT: Duration = Duration::from_secs(3600);
/// Peers that are remembered: the kernel's table has 16384 rows of six on a host with 512 MiB or more. Beyond, the one
/// not used for longest goes.
const LIMIT: usize = 16_384 * 6;

/// What outlives a connection on its host.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    pub(crate) metrics: TcpMetrics,
    pub(crate) blackhole: Blackhole,
}

/// `struct tcp_metrics_block` (0: not known).
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    stamp: Instant,
    /// Microseconds times 8 and times 4, as the estimator keeps them.
    rtt_us8: u32,
    rttvar_us4: u32,
    ssthresh: u32,
    cwnd: u32,
    reordering: u32,
    fast_open: Option<Box<FastOpen>>,
}

/// `struct tcp_fastopen_metrics`
#[derive(Clone, Copy, Debug)]
pub(crate) struct FastOpen {
    pub(crate) mss: u16,
    syn_loss: u16,
    last_syn_loss: Instant,
    /// 1: ask in the experimental option next time; 2: that was of no use either.
    pub(crate) try_experimental: u8,
    pub(crate) cookie: Cookie,
}

impl FastOpen {
    const UNKNOWN: FastOpen = FastOpen {
        mss: 0,
        syn_loss: 0,
        last_syn_loss: Instant::ZERO,
        try_experimental: 0,
        cookie: Cookie::REQUEST,
    };
}

/// What a SYN-ACK told (`tcp_fastopen_cache_set`).
#[derive(Debug)]
pub(crate) struct Learnt {
    pub(crate) mss: u16,
    pub(crate) cookie: Cookie,
    pub(crate) syn_drop: bool,
    pub(crate) try_experimental: u8,
}

impl Entry {
    fn new(now: Instant) -> Entry {
        Entry { stamp: now, rtt_us8: 0, rttvar_us4: 0, ssthresh: 0, cwnd: 0, reordering: 0, fast_open: None }
    }

    pub(crate) fn fast_open(&self) -> FastOpen {
        self.fast_open.as_deref().copied().unwrap_or(FastOpen::UNKNOWN)
    }
}

/// Peers by their address and ours.
#[derive(Debug, Default)]
pub(crate) struct TcpMetrics {
    entries: BTreeMap<(IpAddr, IpAddr), Entry>,
}

impl TcpMetrics {
    /// `tcp_get_metrics`, with `tcpm_check_stamp`: what is known of `remote` to a connection from `local`.
    pub(crate) fn get(&mut self, now: Instant, local: IpAddr, remote: IpAddr) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(&(remote, local))?;
        if now > entry.stamp + TIMEOUT {
            *entry = Entry { fast_open: entry.fast_open.take(), ..Entry::new(now) };
        }
        Some(entry)
    }

    fn get_or_new(&mut self, now: Instant, local: IpAddr, remote: IpAddr) -> &mut Entry {
        let key = (remote, local);
        if self.entries.len() >= LIMIT && !self.entries.contains_key(&key) {
            let oldest = self.entries.iter().min_by_key(|(_, e)| e.stamp).map(|(k, _)| *k);
            self.entries.remove(&oldest.expect("it is full"));
        }
        self.entries.entry(key).or_insert_with(|| Entry::new(now));
        self.get(now, local, remote).expect("just made")
    }

    /// `tcp_fastopen_cache_set`
    pub(crate) fn fastopen_set(&mut self, now: Instant, local: IpAddr, remote: IpAddr, learnt: &Learnt) {
        let entry = self.get_or_new(now, local, remote);
        let known = entry.fast_open.get_or_insert_with(|| Box::new(FastOpen::UNKNOWN));
        if learnt.mss > 0 {
            known.mss = learnt.mss;
        }
        if learnt.cookie.is_cookie() {
            known.cookie = learnt.cookie;
        } else if learnt.try_experimental > known.try_experimental
            && !known.cookie.is_cookie()
            && !known.cookie.experimental
        {
            known.try_experimental = learnt.try_experimental;
        }
        if learnt.syn_drop {
            known.syn_loss = (known.syn_loss + 1) & 0x3ff; // a field of ten bits
            known.last_syn_loss = now;
        } else {
            known.syn_loss = 0;
        }
    }

    /// `tcp_peer_is_proven`: it finished a connection with us before.
    pub(crate) fn is_proven(&mut self, now: Instant, local: IpAddr, remote: IpAddr) -> bool {
        self.get(now, local, remote).is_some_and(|e| e.rtt_us8 > 0)
    }

    /// `ip tcp_metrics flush` and `delete`: one peer, or all.
    pub(crate) fn flush(&mut self, remote: Option<IpAddr>) {
        self.entries.retain(|(peer, _), _| remote.is_some_and(|r| r != *peer));
    }
}

impl Tcb {
    /// `tcp_update_metrics`: a connection that ended well leaves what it learnt.
    pub(crate) fn update_metrics(&mut self, cx: &mut Cx<'_>) {
        if cx.sysctl.tcp_no_metrics_save != 0 {
            return;
        }
        let (local, remote) = (self.local.ip(), self.remote.ip());
        if self.backoff > 0 || self.rtt.srtt_us8 == 0 {
            // No sample came: what was known is doubtful.
            if let Some(entry) = cx.peers.metrics.get(cx.now, local, remote) {
                entry.rtt_us8 = 0;
            }
            return;
        }
        let save_ssthresh = cx.sysctl.tcp_no_ssthresh_metrics_save == 0;
        let usual = u32::try_from(cx.sysctl.tcp_reordering).unwrap_or(3);
        let entry = cx.peers.metrics.get_or_new(cx.now, local, remote);
        // Rather too long than too short: a longer time is taken over, a shorter one by an eighth.
        let less = i64::from(entry.rtt_us8) - i64::from(self.rtt.srtt_us8);
        entry.rtt_us8 = if less <= 0 {
            self.rtt.srtt_us8
        } else {
            entry.rtt_us8 - u32::try_from(less >> 3).expect("a part of it")
        };
        let deviation = u32::try_from(less.unsigned_abs() >> 1).unwrap_or(u32::MAX).max(self.rtt.mdev_us4);
        entry.rttvar_us4 = if deviation >= entry.rttvar_us4 {
            deviation
        } else {
            entry.rttvar_us4 - ((entry.rttvar_us4 - deviation) >> 2)
        };
        let (cwnd, ssthresh) = (self.window.cwnd, self.window.ssthresh);
        if ssthresh >= INFINITE_SSTHRESH {
            // Slow start has not ended.
            if save_ssthresh && entry.ssthresh > 0 && cwnd >> 1 > entry.ssthresh {
                entry.ssthresh = cwnd >> 1;
            }
            entry.cwnd = entry.cwnd.max(cwnd);
        } else if !self.window.in_slow_start() && self.recovery.ca_state == CaState::Open {
            if save_ssthresh {
                entry.ssthresh = (cwnd >> 1).max(ssthresh);
            }
            entry.cwnd = (entry.cwnd + cwnd) >> 1;
        } else {
            entry.cwnd = (entry.cwnd + ssthresh) >> 1;
            if save_ssthresh && entry.ssthresh > 0 && ssthresh > entry.ssthresh {
                entry.ssthresh = ssthresh;
            }
            if entry.reordering < self.recovery.reordering && self.recovery.reordering != usual {
                entry.reordering = self.recovery.reordering;
            }
        }
        entry.stamp = cx.now;
    }

    /// `tcp_init_metrics`: what was learnt about the peer before; the first timeout.
    pub(crate) fn init_metrics(&mut self, cx: &mut Cx<'_>) {
        self.window.ssthresh = INFINITE_SSTHRESH;
        let mut cached_rtt = 0;
        if let Some(entry) = cx.peers.metrics.get(cx.now, self.local.ip(), self.remote.ip()) {
            if cx.sysctl.tcp_no_ssthresh_metrics_save == 0 && entry.ssthresh > 0 {
                self.window.ssthresh = entry.ssthresh.min(self.window.cwnd_clamp);
            }
            if entry.reordering > 0 {
                self.recovery.reordering = entry.reordering;
            }
            cached_rtt = entry.rtt_us8;
        }
        if cached_rtt > self.rtt.srtt_us8 {
            // Only the first timeout comes from it, the estimator stays as it is.
            let us = u64::from(cached_rtt >> 3);
            let rtt = match cx.granularity {
                Granularity::Ideal => Duration::from_micros(us),
                Granularity::Wheel { hz } => {
                    let ticks = u64::from(cached_rtt) / (8 * 1_000_000 / u64::from(hz)); // cut, as there
                    cx.granularity.tick() * u32::try_from(ticks).expect("of a u32")
                }
            };
            let least =
                cx.ticks(Duration::from_micros(u64::try_from(cx.sysctl.tcp_rto_min_us).unwrap_or(200_000)));
            self.rto = rtt + (rtt * 2).max(least);
        } else if self.rtt.srtt_us8 == 0 {
            // The handshake gave no sample (RFC 6298 §5.7).
            let fallback = u32::try_from(FALLBACK_RTO.as_micros()).expect("3 seconds");
            self.rtt.rttvar_us = fallback;
            self.rtt.mdev_us4 = fallback;
            self.rtt.mdev_max_us = fallback;
            self.rto = FALLBACK_RTO;
        }
    }
}

/// `nla_put_msecs` as `ip` prints it.
fn seconds(d: Duration) -> String {
    format!("{}.{:03}sec", d.as_secs(), d.subsec_millis())
}

impl Stack {
    /// `ip tcp_metrics show`: one line a peer, by address.
    pub fn ip_tcp_metrics(&self, now: Instant) -> String {
        let mut text = String::new();
        for ((remote, local), e) in &self.tcp.peers.metrics.entries {
            let _ = write!(text, "{remote} age {}", seconds(now - e.stamp));
            for (name, n) in [("ssthresh", e.ssthresh), ("cwnd", e.cwnd), ("reordering", e.reordering)] {
                if n > 0 {
                    let _ = write!(text, " {name} {n}");
                }
            }
            for (name, us) in [("rtt", e.rtt_us8 >> 3), ("rttvar", e.rttvar_us4 >> 2)] {
                if us > 0 {
                    let _ = write!(text, " {name} {us}us");
                }
            }
            let fo = e.fast_open();
            if fo.mss > 0 {
                let _ = write!(text, " fo_mss {}", fo.mss);
            }
            if fo.syn_loss > 0 {
                let _ = write!(text, " fo_syn_drops {}/{} ago", fo.syn_loss, seconds(now - fo.last_syn_loss));
            }
            if fo.cookie.is_cookie() {
                text.push_str(" fo_cookie ");
                for byte in fo.cookie.bytes() {
                    let _ = write!(text, "{byte:02x}");
                }
            }
            let _ = writeln!(text, " source {local}");
        }
        text
    }
}
