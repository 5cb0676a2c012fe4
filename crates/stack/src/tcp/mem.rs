//! What a connection's queues hold of the host's memory: pages reserved, pressure, and the hard limit (`tcp_mem`).
//!
//! Linux: net/core/sock.c `__sk_mem_schedule`, `__sk_mem_raise_allocated`, `__sk_mem_reclaim`; tcp.c
//! `tcp_enter_memory_pressure`, `tcp_wmem_schedule`, `tcp_check_oom`; include/net/sock.h `sk_forward_alloc_*`.

use wire::Instant;

use super::cx::Cx;
use super::tcb::Tcb;
use crate::KernelProfile;
use crate::mib::Counter;

/// Bytes of a page: sockets reserve whole ones.
const PAGE: u32 = 4096;
/// `sysctl_mem_pcpu_rsv`: pages that a CPU keeps to itself before it tells the host's count (1 MiB). Kernels since 6.0.
const PER_CPU_RESERVE: i64 = 256;
/// `SOCK_MIN_SNDBUF`: two of `TCP_SKB_MIN_TRUESIZE`.
const MIN_SNDBUF: u32 = 4608;

/// Memory of all connections of a host (`tcp_memory_allocated`, `tcp_memory_pressure`).
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

    /// A socket is gone with its queues.
    pub(crate) fn release(&mut self, pages: u32) {
        self.add(-i64::from(pages));
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
            leave_pressure(cx);
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
            cx.mem.add(-pages);
            if cx.mem.allocated() < cx.sysctl.tcp_mem[0] {
                leave_pressure(cx);
            }
        }
    }

    /// `tcp_out_of_memory`: beyond the hard limit, and this socket has a part in it.
    pub(crate) fn out_of_memory(&self, cx: &Cx<'_>) -> bool {
        self.wmem_queued() > MIN_SNDBUF && cx.mem.allocated() > cx.sysctl.tcp_mem[2]
    }
}

/// `tcp_leave_memory_pressure`
fn leave_pressure(cx: &mut Cx<'_>) {
    if let Some(since) = cx.mem.pressure.take() {
        let ms = u64::try_from((cx.now - since).as_millis()).unwrap_or(u64::MAX);
        cx.mib.add(Counter::TcpExtTCPMemoryPressuresChrono, ms);
    }
}
