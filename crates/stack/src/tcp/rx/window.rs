//! The window that we offer (RFC 9293 §3.8.6.2.2, silly window avoidance). Linux: tcp_output.c
//! `__tcp_select_window`, `tcp_select_window`; tcp_input.c `tcp_grow_window`; `tcp_select_initial_window`.

use super::super::cx::Cx;
use super::super::input::Segment;
use super::super::tcb::Tcb;
use crate::KernelProfile;
use crate::mib::Counter;
use crate::socket::{SKB_OVERHEAD, SkbHead};
use crate::sysctl::Globals;

/// `TCP_DEFAULT_SCALING_RATIO`: half of the memory holds payload until measured.
pub(crate) const DEFAULT_SCALING_RATIO: u8 = 128;
/// `SOCK_MIN_RCVBUF`
const MIN_RCVBUF: u32 = 2304;

/// `tcp_win_from_space`
pub(crate) fn window_from_space(space: u32, ratio: u8) -> u32 {
    u32::try_from((u64::from(space) * u64::from(ratio)) >> 8).expect("smaller than the space")
}

/// The first window and its scale (`tcp_select_initial_window`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InitialWindow {
    pub(crate) rcv_wnd: u32,
    pub(crate) window_clamp: u32,
    pub(crate) wscale: u8,
}

impl InitialWindow {
    /// The route's `initrwnd`, in packets of `mss`; 0 for none.
    pub(crate) fn at_most(mut self, packets: u32, mss: u32) -> InitialWindow {
        if packets > 0 {
            self.rcv_wnd = self.rcv_wnd.min(packets.saturating_mul(mss));
        }
        self
    }
}

/// `tcp_select_initial_window`: `space` in bytes of payload, `mss` with options taken off. `locked`: the
/// application fixed the buffer at `space`.
pub(crate) fn initial_window(
    sysctl: &Globals,
    space: u32,
    mss: u32,
    clamp: u32,
    wscale_ok: bool,
    locked: bool,
) -> InitialWindow {
    let mut clamp = if clamp == 0 { 65_535 << 14 } else { clamp };
    let mut space = space.min(clamp);
    if space > mss {
        space = space / mss * mss;
    }
    let rcv_wnd = if sysctl.tcp_workaround_signed_windows != 0 { space.min(32_767) } else { space };
    let mut wscale = 0;
    if wscale_ok {
        let mut largest = space;
        if !locked {
            largest = largest.max(u32::try_from(sysctl.tcp_rmem[2]).unwrap_or(u32::MAX));
            largest = largest.max(u32::try_from(sysctl.rmem_max).unwrap_or(0));
        }
        let largest = largest.min(clamp);
        wscale = u8::try_from(largest.max(1).ilog2().saturating_sub(15).min(14)).expect("at most 14");
    }
    clamp = clamp.min(65_535 << wscale);
    InitialWindow { rcv_wnd, window_clamp: clamp, wscale }
}

impl Tcb {
    /// `tcp_full_space`
    pub(crate) fn full_space(&self) -> u32 {
        window_from_space(self.rx.rcvbuf, self.rx.scaling_ratio)
    }

    /// `tcp_space`: what the buffer can still take.
    fn free_space(&self) -> u32 {
        window_from_space(self.rx.rcvbuf.saturating_sub(self.rx.rmem), self.rx.scaling_ratio)
    }

    /// `__tcp_select_window`: the window we would like to offer.
    pub(crate) fn desired_window(&mut self, cx: &Cx<'_>) -> u32 {
        let allowed = self.full_space();
        let full = allowed.min(self.rcv.window_clamp);
        let mut free = self.free_space();
        // The peer's segment size as estimated, or as we advertised it.
        let mut mss = u32::from(self.ack.rcv_mss);
        if mss > full {
            mss = full;
            if mss == 0 {
                return 0;
            }
        }
        let scale = self.rcv.wscale;
        let shrink = cx.sysctl.tcp_shrink_window != 0 && scale > 0;
        if shrink {
            free = free >> scale << scale;
        }
        if free < full >> 1 {
            self.ack.quick = 0;
            if cx.mem.under_pressure() {
                self.adjust_rcv_ssthresh();
            }
            // Under pressure: round down to the scale so that a closed window is closed.
            free = free >> scale << scale;
            if free < allowed >> 4 || free < mss || (shrink && free < 1 << scale) {
                return 0;
            }
        }
        if shrink && free <= self.rcv.ssthresh {
            return free;
        }
        free = free.min(self.rcv.ssthresh);
        if scale > 0 {
            // Whole units of the scale, rounded up.
            return free.div_ceil(1 << scale) << scale;
        }
        let window = self.rcv.wnd;
        // Do not change the window by less than a segment.
        if i64::from(window) <= i64::from(free) - i64::from(mss) || window > free {
            free.checked_div(mss).map_or(free, |n| n * mss)
        } else if mss == full && free > window + (full >> 1) {
            free
        } else {
            window
        }
    }

    /// `tcp_select_window`: the value for the header. A window is never shrunk (RFC 9293 §3.8.6, SHLD-14).
    pub(crate) fn select_window(&mut self, cx: &mut Cx<'_>) -> u16 {
        let old = self.rcv.wnd;
        if self.ack.nomem {
            // Data was just refused for want of memory.
            self.rcv.wnd = 0;
            self.rcv.wup = self.rcv.nxt;
            if cx.profile >= KernelProfile::V6_18 && old > 0 {
                cx.count(Counter::TcpExtTCPToZeroWindowAdv);
            }
            return 0;
        }
        let current = self.receive_window();
        let mut new = self.desired_window(cx);
        if new < current && (cx.sysctl.tcp_shrink_window == 0 || self.rcv.wscale == 0) {
            if new == 0 {
                cx.count(Counter::TcpExtTCPWantZeroWindowAdv);
            }
            let unit = 1u32 << self.rcv.wscale;
            new = current.div_ceil(unit) * unit;
        }
        self.rcv.wnd = new;
        self.rcv.wup = self.rcv.nxt;
        let limit = if self.rcv.wscale == 0 && cx.sysctl.tcp_workaround_signed_windows != 0 {
            32_767
        } else {
            65_535
        };
        let shown = (new >> self.rcv.wscale).min(limit);
        if new == 0 && old > 0 {
            cx.count(Counter::TcpExtTCPToZeroWindowAdv);
        } else if new > 0 && old == 0 {
            cx.count(Counter::TcpExtTCPFromZeroWindowAdv);
        }
        u16::try_from(shown).expect("clamped")
    }

    /// `tcp_set_window_clamp`
    pub(crate) fn set_window_clamp(&mut self, clamp: u32) {
        let (old, new) = (self.rcv.window_clamp, clamp.max(MIN_RCVBUF / 2));
        self.rcv.window_clamp = new;
        if new < old {
            self.rcv.ssthresh = self.rcv.ssthresh.min(new);
        } else if new > old {
            self.rcv.ssthresh = self.rcv.ssthresh.max(self.rcv.wnd.min(new));
        }
    }

    /// `tcp_grow_window`: data arrives well packed, so more may come.
    pub(crate) fn grow_window(&mut self, cx: &Cx<'_>, seg: &Segment, adjust: bool) {
        let space = self.free_space().min(self.rcv.window_clamp);
        let room = space.saturating_sub(self.rcv.ssthresh);
        if room == 0 {
            return;
        }
        if cx.mem.under_pressure() {
            self.adjust_rcv_ssthresh();
            return;
        }
        let len = u32::try_from(seg.len()).expect("a packet");
        // truesize_adjust: the head of a packet without bytes in it is not counted.
        let paged = adjust && seg.memory.head == SkbHead::Shared;
        let size = if paged { seg.memory.truesize - SKB_OVERHEAD } else { seg.memory.truesize };
        let mut increase = 0;
        if window_from_space(size, self.rx.scaling_ratio) <= len {
            increase = 2 * u32::from(self.rcv.advmss);
        } else {
            // __tcp_grow_window: overhead is acceptable while the window is small.
            let most = u32::try_from(cx.sysctl.tcp_rmem[2]).unwrap_or(u32::MAX);
            let mut truesize = window_from_space(size, self.rx.scaling_ratio) >> 1;
            let mut window = window_from_space(most, self.rx.scaling_ratio) >> 1;
            while self.rcv.ssthresh <= window {
                if truesize <= len {
                    increase = 2 * u32::from(self.ack.rcv_mss);
                    break;
                }
                truesize >>= 1;
                window >>= 1;
            }
        }
        if increase > 0 {
            let increase = increase.max(2 * len);
            self.rcv.ssthresh += increase.min(room);
            self.ack.quick |= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TRUTH.md §12: "first windows SYN 64240, SYN-ACK 65160", window scale 10 from tcp_rmem[2] = 32 MiB.
    #[test]
    fn first_windows_are_those_measured() {
        let sysctl = Globals::of(KernelProfile::V6_18);
        let space = window_from_space(131_072, DEFAULT_SCALING_RATIO);
        let syn = initial_window(&sysctl, space, 1460, 0, true, false);
        let syn_ack = initial_window(&sysctl, space, 1448, 0, true, false);
        assert_eq!((syn.rcv_wnd, syn_ack.rcv_wnd, syn.wscale), (64_240, 65_160, 10));
    }
}
