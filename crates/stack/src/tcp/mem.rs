//! What a connection's queues hold of the host's memory: pages reserved, pressure, and the hard limit (`tcp_mem`).
//!
//! Linux: net/core/sock.c `__sk_mem_schedule`, `__sk_mem_raise_allocated`, `__sk_mem_reclaim`; tcp.c
//! `tcp_enter_memory_pressure`, `tcp_wmem_schedule`, `tcp_check_oom`; include/net/sock.h `sk_forward_alloc_*`.

use core::time::Duration;

use wire::Instant;

use super::cx::Cx;
use super::tcb::Tcb;
use crate::KernelProfile;
use crate::mib::{Counter, Mib};
use crate::rng::Rng;

/// Bytes of a page: sockets reserve whole ones.
const PAGE: u32 = 4096;
/// `sysctl_mem_pcpu_rsv`: pages that a CPU keeps to itself before it tells the host's count (1 MiB). Kernels since 6.0.
const PER_CPU_RESERVE: i64 = 256;
/// `TCP_ORPHAN_TIMER_PERIOD`
const ORPHAN_PERIOD: Duration = Duration::from_millis(100);
/// `SOCK_MIN_SNDBUF`: two of `TCP_SKB_MIN_TRUESIZE`.
const MIN_SNDBUF: u32 = 4608;

/// What all connections of a host share: memory (`tcp_memory_allocated`, `tcp_memory_pressure`) and limits.
#[derive(Clone, Debug, Default)]
pub(crate) struct TcpMemory {
    /// Pages that count against `tcp_mem`.
    allocated: i64,
    /// Pages that this CPU has not reported yet.
    unreported: i64,
    /// Since when memory is short.
    pressure: Option<Instant>,
    /// Sockets that exist (`tcp_sockets_allocated`).
    pub(crate) sockets: u32,
    /// Orphans as they were counted last, and when (`tcp_orphan_cache`).
    orphans: u32,
    orphans_at: Instant,
    /// The second in which challenge ACKs were counted last, and how many may still be sent (before 4.7: how many were).
    challenge_second: u64,
    challenges: u32,
}

/// What memory is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemKind {
    Send,
    Receive,
}

impl TcpMemory {
    fn add(&mut self, pages: i64) {
        self.unreported += pages;
        if self.unreported.abs() >= PER_CPU_RESERVE {
            self.allocated += self.unreported;
            self.unreported = 0;
        }
    }

    /// `sk_memory_allocated`: pages, as the limits see them.
    pub(crate) fn allocated(&self) -> i64 {
        self.allocated.max(0)
    }

    /// `tcp_under_memory_pressure`
    pub(crate) fn under_pressure(&self) -> bool {
        self.pressure.is_some()
    }

    /// `tcp_orphan_cache`: since 5.16 orphans are counted ten times a second only.
    pub(crate) fn count_orphans(&mut self, now: Instant, profile: KernelProfile, exact: u32) -> u32 {
        if profile < KernelProfile::V6_12 || now >= self.orphans_at + ORPHAN_PERIOD {
            self.orphans = exact;
            self.orphans_at = now;
        }
        self.orphans
    }

    /// Whether one more challenge ACK may be sent in this second (RFC 5961 §7); `limit` is `tcp_challenge_ack_limit`.
    pub(crate) fn may_challenge(
        &mut self,
        now: Instant,
        profile: KernelProfile,
        limit: u32,
        rng: &mut Rng,
    ) -> bool {
        let second = now.as_nanos() / 1_000_000_000;
        let fresh = second != core::mem::replace(&mut self.challenge_second, second);
        if profile <= KernelProfile::V4_4 {
            // All hosts have the same limit, so that strangers could count (CVE-2016-5696).
            self.challenges = if fresh { 1 } else { self.challenges.saturating_add(1) };
            return self.challenges <= limit;
        }
        if fresh {
            let half = limit.div_ceil(2);
            self.challenges = half + u32::try_from(rng.below(u64::from(limit.max(1)))).expect("below a u32");
        }
        let allowed = self.challenges > 0;
        self.challenges -= u32::from(allowed);
        allowed
    }

    /// A socket is gone with its queues (`__sk_mem_reduce_allocated`).
    pub(crate) fn release(&mut self, mib: &mut Mib, now: Instant, low: i64, pages: u32) {
        self.give(mib, now, low, i64::from(pages));
    }

    /// `pages` go back; below the first limit memory is no longer short (`tcp_leave_memory_pressure`).
    fn give(&mut self, mib: &mut Mib, now: Instant, low: i64, pages: i64) {
        self.add(-pages);
        if self.allocated() < low {
            self.leave_pressure(mib, now);
        }
    }

    fn leave_pressure(&mut self, mib: &mut Mib, now: Instant) {
        if let Some(since) = self.pressure.take() {
            let ms = u64::try_from((now - since).as_millis()).unwrap_or(u64::MAX);
            mib.add(Counter::TcpExtTCPMemoryPressuresChrono, ms);
        }
    }

    /// Pages in use, those included that this CPU has not reported.
    #[cfg(test)]
    pub(crate) fn exact(&self) -> i64 {
        self.allocated + self.unreported
    }
}

impl Tcb {
    /// Bytes of both directions' queues.
    fn mem_charged(&self) -> i64 {
        i64::from(self.wmem_queued()) + i64::from(self.rx.rmem)
    }

    /// `sk_forward_alloc`: reserved and not used, bytes.
    pub(crate) fn forward_alloc(&self) -> i64 {
        i64::from(self.mem_pages) * i64::from(PAGE) - self.mem_charged()
    }

    /// `sk_rmem_schedule`, `sk_wmem_schedule`: may `size` bytes more be used?
    pub(crate) fn mem_schedule(&mut self, cx: &mut Cx<'_>, size: u32, kind: MemKind) -> bool {
        let short = i64::from(size) - self.forward_alloc();
        if short <= 0 {
            return true;
        }
        let pages = u32::try_from((short + i64::from(PAGE) - 1) / i64::from(PAGE)).unwrap_or(u32::MAX);
        self.mem_pages = self.mem_pages.saturating_add(pages);
        cx.mem.add(i64::from(pages));
        if self.mem_may_raise(cx, u32::try_from(short).unwrap_or(u32::MAX), kind) {
            return true;
        }
        self.mem_pages -= pages;
        cx.mem.add(-i64::from(pages));
        false
    }

    /// `sk_forced_mem_schedule`: it must go on, whatever the limits say.
    pub(crate) fn mem_force(&mut self, cx: &mut Cx<'_>, size: u32) {
        let short = i64::from(size) - self.forward_alloc();
        if short > 0 {
            let pages = u32::try_from((short + i64::from(PAGE) - 1) / i64::from(PAGE)).unwrap_or(u32::MAX);
            self.mem_pages = self.mem_pages.saturating_add(pages);
            cx.mem.add(i64::from(pages));
        }
    }

    /// `__sk_mem_raise_allocated`, after the pages were added.
    fn mem_may_raise(&mut self, cx: &mut Cx<'_>, size: u32, kind: MemKind) -> bool {
        let [low, pressure, high] = cx.sysctl.tcp_mem;
        let allocated = cx.mem.allocated();
        if allocated <= low {
            cx.mem.leave_pressure(cx.mib, cx.now);
            return true;
        }
        if allocated > pressure && cx.mem.pressure.is_none() {
            cx.mem.pressure = Some(cx.now);
            cx.count(Counter::TcpExtTCPMemoryPressures);
        }
        if allocated <= high {
            // Everybody gets the least buffer, so that windows can still open.
            let least = match kind {
                MemKind::Receive => i64::from(self.rx.rmem) < cx.sysctl.tcp_rmem[0],
                MemKind::Send => i64::from(self.wmem_queued()) < cx.sysctl.tcp_wmem[0],
            };
            if least || !cx.mem.under_pressure() {
                return true;
            }
            // Those below the average may grow.
            let own = (self.mem_charged() + self.forward_alloc() + i64::from(PAGE) - 1) / i64::from(PAGE);
            if high > i64::from(cx.mem.sockets) * own {
                return true;
            }
        }
        if kind == MemKind::Send {
            self.moderate_sndbuf();
            // Fail only below the buffer's limit: above it the writer waits anyway.
            return self.wmem_queued().saturating_add(size) >= self.sndbuf;
        }
        false
    }

    /// `sk_stream_moderate_sndbuf`
    fn moderate_sndbuf(&mut self) {
        if !self.sndbuf_locked {
            self.sndbuf = self.sndbuf.min(self.wmem_queued() >> 1).max(MIN_SNDBUF);
        }
    }

    /// `tcp_wmem_schedule`: how many of `copy` bytes may be taken.
    pub(crate) fn wmem_schedule(&mut self, cx: &mut Cx<'_>, copy: u32) -> u32 {
        if self.mem_schedule(cx, copy, MemKind::Send) {
            return copy;
        }
        let least = u32::try_from(cx.sysctl.tcp_wmem[0]).unwrap_or(0);
        let left = least.saturating_sub(self.wmem_queued());
        if left > 0 {
            self.mem_force(cx, left.min(copy));
        }
        copy.min(u32::try_from(self.forward_alloc()).unwrap_or(0))
    }

    /// `sk_mem_uncharge`, `sk_mem_reclaim`: queues became shorter; whole pages go back to the host.
    pub(crate) fn mem_reclaim(&mut self, cx: &mut Cx<'_>) {
        let free = self.forward_alloc();
        // Before 5.20 a socket kept up to 2 MiB, and then gave half of it back.
        let pages = if cx.profile >= KernelProfile::V6_12 {
            free / i64::from(PAGE)
        } else if free >= 1 << 21 {
            (1 << 20) / i64::from(PAGE)
        } else {
            0
        };
        if pages > 0 {
            self.mem_pages -= u32::try_from(pages).expect("no more than it has");
            cx.mem.give(cx.mib, cx.now, cx.sysctl.tcp_mem[0], pages);
        }
    }

    /// `tcp_out_of_memory`: beyond the hard limit, and this socket has a part in it.
    pub(crate) fn out_of_memory(&self, cx: &Cx<'_>) -> bool {
        self.wmem_queued() > MIN_SNDBUF && cx.mem.allocated() > cx.sysctl.tcp_mem[2]
    }
}
