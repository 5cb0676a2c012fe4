//! Growing the receive buffer with what the path delivers. Linux: tcp_input.c `tcp_rcv_space_adjust`,
//! `tcp_rcvbuf_grow`, `tcp_rcv_rtt_measure`, `tcp_rcv_rtt_measure_ts`.

use super::super::cx::{Cx, delta_us};
use super::super::input::Segment;
use super::super::tcb::Tcb;
use super::window::window_from_space;
use crate::KernelProfile;

impl Tcb {
    /// `tcp_rcv_rtt_update`: a shorter sample counts at once; a longer one by windows does not, one by timestamps is
    /// smoothed in unless data waits to be read (then the application, not the path, is slow).
    fn rcv_rtt_update(&mut self, cx: &Cx<'_>, sample_us: u32, by_window: bool) {
        let newest = cx.profile >= KernelProfile::V6_18;
        let m = sample_us.max(1).saturating_mul(8);
        let old = self.rx.rtt_us8;
        if old == 0 || m < old {
            self.rx.rtt_us8 = m;
        } else if !by_window && (self.rcv.nxt == self.rcv.copied_seq || !newest) {
            self.rx.rtt_us8 = (old - (old >> 3)).saturating_add(sample_us);
        }
    }

    /// `tcp_rcv_rtt_measure`: a window's worth of data takes a round trip, when there are no timestamps.
    pub(crate) fn rcv_rtt_measure(&mut self, cx: &Cx<'_>) {
        if let Some(since) = self.rx.rtt_time {
            if self.rcv.nxt.before(self.rx.rtt_seq) {
                return;
            }
            self.rcv_rtt_update(cx, delta_us(cx.now, since), true);
        }
        self.rx.rtt_seq = self.rcv.nxt + self.rcv.wnd;
        self.rx.rtt_time = Some(cx.now);
    }

    /// `tcp_rcv_rtt_measure_ts`
    pub(crate) fn rcv_rtt_measure_ts(&mut self, cx: &Cx<'_>, seg: &Segment) {
        if !self.ts.saw || self.ts.rcv_tsecr == self.rx.rtt_last_tsecr {
            return;
        }
        self.rx.rtt_last_tsecr = self.ts.rcv_tsecr;
        if seg.payload_len < usize::from(self.ack.rcv_mss) {
            return;
        }
        let sent = self.ts.rcv_tsecr.wrapping_sub(self.ts.offset);
        let delta = cx.clock_ms().wrapping_sub(sent);
        if delta < i32::MAX as u32 / 1000 {
            self.rcv_rtt_update(cx, delta.max(1) * 1000, false);
        }
    }

    /// `tcp_rcv_space_adjust`: once a round trip, after the application has read.
    pub(crate) fn rcv_space_adjust(&mut self, cx: &Cx<'_>) {
        let elapsed = delta_us(cx.now, self.rx.space_time);
        if elapsed < self.rx.rtt_us8 >> 3 || self.rx.rtt_us8 == 0 {
            return;
        }
        // What was read in the last round trip, less what still waits.
        let copied = (self.rcv.copied_seq - self.rx.space_seq) - (self.rcv.nxt - self.rcv.copied_seq);
        if let Ok(copied) = u32::try_from(copied)
            && copied > self.rx.space
        {
            self.grow_rcvbuf(cx, copied);
        }
        self.rx.space_seq = self.rcv.copied_seq;
        self.rx.space_time = cx.now;
    }

    /// `tcp_set_rcvlowat`: so much must fit.
    pub(crate) fn rcvbuf_for_lowat(&mut self, lowat: u32) {
        let space = (u64::from(lowat) << 8) / u64::from(self.rx.scaling_ratio.max(1));
        let space = u32::try_from(space).unwrap_or(u32::MAX);
        if space > self.rx.rcvbuf {
            self.rx.rcvbuf = space;
            if self.rcv.window_clamp > 0 {
                self.rcv.window_clamp = self.rcv.window_clamp.max(lowat);
            }
        }
    }

    /// `tcp_rcvbuf_grow`: twice what was read in a round trip, and room for slow start's growth.
    pub(crate) fn grow_rcvbuf(&mut self, cx: &Cx<'_>, space: u32) {
        let old = u64::from(core::mem::replace(&mut self.rx.space, space).max(1));
        if cx.sysctl.tcp_moderate_rcvbuf == 0 || self.rx.rcvbuf_locked {
            return;
        }
        let newest = cx.profile >= KernelProfile::V6_18;
        let mut window = u64::from(space) * 2;
        if !newest {
            window += 16 * u64::from(self.rcv.advmss);
        }
        window += window * u64::from(space).saturating_sub(old) / old * 2;
        if newest && let Some(last) = self.rx.out_of_order.back() {
            window += u64::try_from(last.end_seq - self.rcv.nxt).unwrap_or(0);
        }
        let space = (window << 8) / u64::from(self.rx.scaling_ratio.max(1));
        let most = u64::try_from(cx.sysctl.tcp_rmem[2]).unwrap_or(u64::MAX);
        let rcvbuf = u32::try_from(space.min(most)).unwrap_or(u32::MAX);
        if rcvbuf > self.rx.rcvbuf {
            self.rx.rcvbuf = rcvbuf;
            self.rcv.window_clamp = window_from_space(rcvbuf, self.rx.scaling_ratio);
        }
    }
}
