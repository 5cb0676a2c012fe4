//! What may be sent, and when: the tests in their order.
//!
//! Linux: tcp_output.c `tcp_write_xmit`, `__tcp_push_pending_frames`, `tcp_push_one`. Each test lives in the
//! file of its subject: congestion and flow windows here, Nagle in `nagle.rs`, super-segments in `tso.rs`.

use wire::tcp::Flags;

use super::chrono::Chrono;
use super::cx::Cx;
use super::skb::Skb;
use super::tcb::{Nagle, State, Tcb};
use crate::KernelProfile;
use crate::socket::SKB_OVERHEAD;

/// How many segments one call may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushOne {
    /// As many as the tests allow.
    No,
    /// One (`tcp_push_one`).
    One,
    /// One, whatever the congestion window says (a loss probe).
    Probe,
}

impl Tcb {
    /// `tcp_write_xmit`. `true` when there is data and nothing in flight: a probe timer is needed.
    pub(crate) fn write_xmit(
        &mut self,
        cx: &mut Cx<'_>,
        mss: u16,
        nonagle: Nagle,
        push_one: PushOne,
    ) -> bool {
        let mut sent = 0;
        if push_one == PushOne::No {
            match self.mtu_probe(cx) {
                super::mtuprobe::Probing::Wait => return false,
                super::mtuprobe::Probing::Sent => sent = 1,
                super::mtuprobe::Probing::No => {}
            }
        }
        let max_segs = self.tso_segs(cx, mss);
        let (mut cwnd_limited, mut rwnd_limited) = (false, false);
        while let Some(head) = self.unsent.front().copied() {
            if self.pacing_check(cx) {
                break;
            }
            let mut quota = self.cwnd_quota();
            if quota == 0 {
                if push_one == PushOne::Probe {
                    quota = 1;
                } else {
                    break;
                }
            }
            quota = quota.min(max_segs);
            let want = quota * u32::from(mss);
            if cx.profile >= KernelProfile::V6_12 && want > head.len() {
                self.grow_head(cx, want - head.len());
            }
            let head = *self.unsent.front().expect("it was there");
            let first_end = head.seq + head.len().min(u32::from(mss));
            let is_last = self.unsent.len() == 1;
            if first_end.after(self.wnd_end()) {
                rwnd_limited = true;
                break;
            }
            let wnd_end = self.wnd_end();
            let pcount = self.unsent.front_mut().expect("it was there").set_segments(mss);
            if pcount == 1 {
                let rule = if is_last { nonagle } else { Nagle { push: true, ..nonagle } };
                if !self.nagle_test(mss, rule) {
                    break;
                }
            } else if push_one == PushOne::No
                && self.tso_should_defer(cx, mss, max_segs, &mut cwnd_limited, &mut rwnd_limited)
            {
                break;
            }
            let mut limit = u32::from(mss);
            if pcount > 1 && !self.urgent_mode() {
                limit = self.mss_split_point(mss, quota, nonagle, wnd_end);
            }
            if self.unsent.front().expect("it was there").len() > limit {
                if limit == 0 {
                    break;
                }
                self.split_unsent(cx, limit, mss);
            }
            let before = self.recovery.packets_out;
            if !self.send_head(cx) {
                break;
            }
            sent += self.recovery.packets_out - before;
            if push_one != PushOne::No {
                break;
            }
        }
        if rwnd_limited {
            self.chrono.start(cx.now, Chrono::RwndLimited);
        } else {
            let is_idle = self.rtx.is_empty() && self.unsent.is_empty();
            self.chrono.stop(cx.now, Chrono::RwndLimited, is_idle);
        }
        let cwnd_limited = cwnd_limited || self.in_flight() >= self.window.cwnd;
        if sent > 0 || cwnd_limited {
            self.cwnd_validate(cx, cwnd_limited);
        }
        if sent > 0 {
            if self.recovery.in_cwnd_reduction() {
                self.recovery.prr_out += sent;
            }
            if push_one != PushOne::Probe {
                self.schedule_loss_probe(cx, false);
            }
            return false;
        }
        self.recovery.packets_out == 0 && !self.unsent.is_empty()
    }

    /// `tcp_cwnd_test`: at most half a window at once, so that ACKs keep coming.
    fn cwnd_quota(&self) -> u32 {
        let in_flight = self.in_flight();
        let cwnd = self.window.cwnd;
        if in_flight >= cwnd { 0 } else { (cwnd >> 1).max(1).min(cwnd - in_flight) }
    }

    /// `__tcp_push_pending_frames`
    pub(crate) fn push_pending(&mut self, cx: &mut Cx<'_>, nonagle: Nagle) {
        if self.state == State::Close || self.unsent.is_empty() {
            return;
        }
        let mss = self.current_mss();
        if self.write_xmit(cx, mss, nonagle, PushOne::No) {
            self.check_probe_timer(cx);
        }
    }

    /// `tcp_push_one`
    pub(crate) fn push_one(&mut self, cx: &mut Cx<'_>, mss: u16) {
        let nagle = self.nagle;
        self.write_xmit(cx, mss, nagle, PushOne::One);
    }

    /// `tcp_data_snd_check`: an ACK may have made room.
    pub(crate) fn data_snd_check(&mut self, cx: &mut Cx<'_>) {
        let nagle = self.nagle;
        self.push_pending(cx, nagle);
        self.check_send_space(cx);
    }

    /// `tcp_grow_skb` (6.10): the first entry takes up to `most` bytes of the next one.
    fn grow_head(&mut self, cx: &mut Cx<'_>, most: u32) {
        let Some(next) = self.unsent.get(1).copied() else { return };
        let head = self.unsent.front_mut().expect("the next one is behind it");
        // tcp_skb_can_collapse, skb_shift: an entry of up to 17 pieces of pages.
        let taken = most.min(next.len());
        let pinned = self.notes.as_ref().is_some_and(|n| n.pins(head.seq));
        if head.eor || head.flags.syn() || head.len() == 0 || taken == 0 || pinned {
            return;
        }
        head.end_seq += taken;
        head.pcount = 0;
        if taken == next.len() {
            // tcp_eat_one_skb
            head.end_seq = next.end_seq;
            head.eor = next.eor;
            head.flags = head.flags.with(next.flags);
            self.unsent.remove(1);
            self.mem_reclaim(cx);
        } else {
            self.unsent[1].seq += taken;
        }
    }

    /// Cuts the first unsent entry after `len` bytes (`tso_fragment`).
    pub(crate) fn split_unsent(&mut self, cx: &mut Cx<'_>, len: u32, mss: u16) {
        self.mem_force(cx, SKB_OVERHEAD);
        let head = self.unsent.front_mut().expect("the caller looked at it");
        let rest = head.split(len, mss);
        self.unsent.insert(1, rest);
    }

    /// Sends the first unsent entry and moves it to the retransmission queue (`tcp_event_new_data_sent`).
    pub(crate) fn send_head(&mut self, cx: &mut Cx<'_>) -> bool {
        let mut skb = *self.unsent.front().expect("the caller looked at it");
        let mss = self.current_mss();
        if skb.pcount == 0 {
            skb.set_segments(mss);
        }
        if !self.transmit_skb(cx, &mut skb) {
            return false;
        }
        self.unsent.pop_front();
        let prior = self.recovery.packets_out;
        self.snd.nxt = skb.end_seq;
        if skb.len() < skb.pcount * u32::from(mss) {
            self.snd.sml = skb.end_seq; // tcp_minshall_update
        }
        self.recovery.packets_out += skb.pcount;
        cx.mib.add(crate::mib::Counter::TcpExtTCPOrigDataSent, u64::from(skb.pcount));
        self.rtx.push_back(skb);
        if prior == 0 || self.timers.pending == Some(super::timer::Pending::LossProbe) {
            self.rearm_rto(cx);
        }
        self.check_send_space(cx);
        true
    }

    /// `tcp_cwnd_validate` (RFC 7661): the window grows only when it was used.
    fn cwnd_validate(&mut self, cx: &mut Cx<'_>, cwnd_limited: bool) {
        let packets_out = self.recovery.packets_out;
        let new_round = !self.snd.una.before(self.cwnd_usage_seq);
        let w = &mut self.window;
        if new_round || cwnd_limited || (!w.is_cwnd_limited && packets_out > w.max_packets_out) {
            w.is_cwnd_limited = cwnd_limited;
            w.max_packets_out = packets_out;
            self.cwnd_usage_seq = self.snd.nxt;
        }
        if self.window.is_limited() {
            self.window.used = 0;
            self.window.used_stamp = cx.now;
        } else {
            let w = &mut self.window;
            if packets_out > w.used {
                w.used = packets_out;
            }
            let idle = cx.now - w.used_stamp >= self.rto;
            if cx.sysctl.tcp_slow_start_after_idle != 0 && idle && !matches!(self.cc, super::cc::Cc::Bbr(_)) {
                self.cwnd_application_limited(cx);
            }
            // Everything is sent, and the application waits for room.
            if self.unsent.is_empty() && self.no_space.get() && self.state.may_send() {
                self.chrono.start(cx.now, Chrono::SndbufLimited);
            }
        }
    }

    /// `tcp_cwnd_application_limited`: the application left the window unused for a timeout: halve the excess.
    fn cwnd_application_limited(&mut self, cx: &mut Cx<'_>) {
        if self.recovery.ca_state == super::cc::CaState::Open && !self.no_space.get() {
            let initial = self.initial_window();
            let used = self.window.used.max(initial);
            if used < self.window.cwnd {
                let w = &mut self.window;
                w.ssthresh = w.ssthresh.max((w.cwnd >> 1) + (w.cwnd >> 2));
                w.cwnd = (w.cwnd + used) >> 1;
            }
            self.window.used = 0;
        }
        self.window.used_stamp = cx.now;
    }

    /// `tcp_slow_start_after_idle_check`
    pub(crate) fn slow_start_after_idle_check(&mut self, cx: &mut Cx<'_>) {
        if cx.sysctl.tcp_slow_start_after_idle == 0
            || self.recovery.packets_out > 0
            || matches!(self.cc, super::cc::Cc::Bbr(_))
        {
            return;
        }
        let idle = cx.now - self.last_sent;
        if idle > self.rto {
            self.cwnd_restart(cx, idle);
        }
    }

    /// `tcp_cwnd_restart`: halve for every timeout of silence, down to the initial window (RFC 2861).
    fn cwnd_restart(&mut self, cx: &mut Cx<'_>, idle: core::time::Duration) {
        let mut cwnd = self.window.cwnd;
        let initial = self.initial_window();
        self.with_cc(cx, |cc, c| cc.cwnd_event(c, super::cc::CaEvent::CwndRestart));
        let w = &mut self.window;
        w.ssthresh = if self.recovery.in_cwnd_reduction() {
            w.ssthresh
        } else {
            w.ssthresh.max((w.cwnd >> 1) + (w.cwnd >> 2))
        };
        let restart = initial.min(cwnd);
        let mut left = idle;
        while left > self.rto && cwnd > restart {
            left -= self.rto;
            cwnd >>= 1;
        }
        w.cwnd = cwnd.max(restart);
        w.used_stamp = cx.now;
        w.used = 0;
    }

    /// `tcp_pacing_check`: whether the pacer holds the next packet back; if so, its timer is armed.
    pub(crate) fn pacing_check(&mut self, cx: &mut Cx<'_>) -> bool {
        if !self.pacing_needed || self.next_departure <= cx.now {
            return false;
        }
        let at = self.next_departure;
        self.arm_pacing(cx, at);
        true
    }

    /// `tcp_current_mss`
    pub(crate) fn current_mss(&self) -> u16 {
        // mss_cache is kept for segments with a timestamp; SACK blocks take more while there are some.
        let sacks = u16::from(self.rx.sack_block_count(self.ts.ok));
        let sack_len = if sacks > 0 { 4 + 8 * sacks } else { 0 };
        self.mss.saturating_sub(sack_len)
    }

    /// Queues FIN (`tcp_send_fin`): on the last unsent entry, or as an entry of its own.
    pub(crate) fn send_fin(&mut self, cx: &mut Cx<'_>) {
        if let Some(tail) = self.unsent.back_mut() {
            tail.flags = tail.flags.with(Flags::FIN);
            tail.end_seq += 1;
            self.snd.write_seq += 1;
        } else if cx.mem.under_pressure()
            && let Some(last) = self.rtx.len().checked_sub(1)
        {
            // No memory for a packet: as if the last one had carried it; a retransmission will.
            let last = self.rtx.at_mut(last).expect("the queue is not empty");
            last.flags = last.flags.with(Flags::FIN);
            last.end_seq += 1;
            self.snd.write_seq += 1;
            self.snd.nxt += 1;
            return;
        } else {
            let mut skb = Skb::at(self.snd.write_seq);
            skb.flags = Flags::FIN.with(Flags::ACK);
            skb.end_seq = skb.seq + 1;
            self.snd.write_seq = skb.end_seq;
            self.chrono.start(cx.now, Chrono::Busy);
            self.unsent.push_back(skb);
        }
        self.push_pending(cx, Nagle { off: true, ..Nagle::default() });
    }

    /// Forgets everything that waits to be sent or acknowledged (`tcp_write_queue_purge`).
    pub(crate) fn purge_send_queues(&mut self, cx: &mut Cx<'_>) {
        self.chrono.stop(cx.now, Chrono::Busy, true);
        self.unsent.clear();
        self.rtx = super::rtx::RtxQueue::default();
        self.data = super::send_buffer::SendBuffer::at(self.snd.write_seq);
        let r = &mut self.recovery;
        r.packets_out = 0;
        r.retransmit_hint = None;
        self.backoff = 0;
    }
}
