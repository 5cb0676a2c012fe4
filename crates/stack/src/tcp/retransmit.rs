//! Sending again. Linux: tcp_output.c `tcp_retransmit_skb`, `tcp_xmit_retransmit_queue`, `tcp_fragment`,
//! `tcp_retrans_try_collapse`, `tcp_simple_retransmit`.

use wire::tcp::Flags;

use super::cc::CaState;
use super::cx::Cx;
use super::tcb::{State, Tcb};
use super::timer::Pending;
use crate::mib::Counter;

impl Tcb {
    /// Cuts an entry of the retransmission queue after `len` bytes and keeps the counters right.
    pub(crate) fn fragment_rtx(&mut self, index: usize, len: u32, mss: u16) {
        let skb = self.rtx.at_mut(index).expect("the caller looked at it");
        let before = skb.pcount;
        let rest = skb.split(len, mss);
        let after = skb.pcount + rest.pcount;
        let sacked = skb.sacked;
        self.rtx.insert_after(index, rest);
        self.adjust_pcount(sacked, i64::from(before) - i64::from(after));
    }

    /// `tcp_adjust_pcount`: an entry now makes `decrease` wire segments fewer.
    fn adjust_pcount(&mut self, sacked: super::skb::Sacked, decrease: i64) {
        let r = &mut self.recovery;
        let change = |field: &mut u32| {
            *field = u32::try_from(i64::from(*field) - decrease).unwrap_or(0);
        };
        change(&mut r.packets_out);
        if sacked.acked {
            change(&mut r.sacked_out);
        }
        if sacked.retrans {
            change(&mut r.retrans_out);
        }
        if sacked.lost {
            change(&mut r.lost_out);
        }
    }

    /// `__tcp_retransmit_skb`: sends up to `segs` segments of the entry at `index` again.
    pub(crate) fn retransmit_entry(&mut self, cx: &mut Cx<'_>, index: usize, segs: u32) -> bool {
        self.mtu_probe_abandon();
        let mss = self.current_mss();
        let una = self.snd.una;
        let entry = self.rtx.at_mut(index).expect("the caller looked at it");
        if entry.seq.before(una) {
            // tcp_trim_head: a part of the segment was acknowledged.
            if !entry.end_seq.after(una) {
                return false;
            }
            entry.seq = una;
            entry.flags = entry.flags - Flags::SYN;
        }
        let skb = *entry;
        let mut room = self.wnd_end().minus(skb.seq);
        if room <= 0 {
            // The window shrank below it: only the first entry may go, as a probe.
            if skb.seq != self.snd.una {
                return false;
            }
            room = i32::from(mss);
        }
        let room = room as u32; // positive
        let mut len = u32::from(mss) * segs;
        if len > room {
            len = room / u32::from(mss) * u32::from(mss);
            if len == 0 {
                len = room;
            }
        }
        if skb.len() > len {
            self.fragment_rtx(index, len, mss);
        } else {
            let entry = self.rtx.at_mut(index).expect("there");
            let before = entry.pcount;
            let after = entry.set_segments(mss);
            let sacked = entry.sacked;
            if before != after {
                self.adjust_pcount(sacked, i64::from(before) - i64::from(after));
            }
            let room = room.min(u32::from(mss));
            if skb.len() < room {
                self.try_collapse(cx, index, room, mss);
            }
        }
        let mut skb = *self.rtx.at(index).expect("there");
        if skb.flags.syn()
            && skb.flags.contains(Flags::ECE.with(Flags::CWR))
            && cx.sysctl.tcp_ecn_fallback != 0
        {
            // RFC 3168 §6.1.1.1: maybe a firewall dislikes the bits.
            skb.flags = skb.flags - Flags::ECE.with(Flags::CWR);
        }
        let segments = skb.pcount;
        cx.mib.add(Counter::TcpRetransSegs, u64::from(segments));
        if skb.flags.syn() {
            cx.count(Counter::TcpExtTCPSynRetrans);
        }
        self.totals.total_retrans += segments;
        self.totals.bytes_retrans += u64::from(skb.len());
        let sent = self.transmit_skb(cx, &mut skb);
        skb.sacked.ever_retrans = true;
        if !sent {
            cx.mib.add(Counter::TcpExtTCPRetransFail, u64::from(segments));
        }
        let slot = self.rtx.slot_at(index).expect("there");
        *self.rtx.get_mut(slot) = skb;
        if sent {
            self.rtx.touch(slot);
        }
        sent
    }

    /// `tcp_retransmit_skb`
    pub(crate) fn retransmit_skb(&mut self, cx: &mut Cx<'_>, index: usize, segs: u32) -> bool {
        let sent = self.retransmit_entry(cx, index, segs);
        let skb = self.rtx.at_mut(index).expect("there");
        let pcount = skb.pcount;
        let at = skb.sent;
        if sent {
            skb.sacked.retrans = true;
            self.recovery.retrans_out += pcount;
        }
        self.retrans_stamp = self.retrans_stamp.or(Some(at));
        let r = &mut self.recovery;
        r.undo_retrans = r.undo_retrans.max(0) + i32::try_from(pcount).expect("few");
        sent
    }

    /// `tcp_xmit_retransmit_queue`: sends what is marked lost, as far as the window allows.
    pub(crate) fn xmit_retransmit_queue(&mut self, cx: &mut Cx<'_>) {
        if self.recovery.packets_out == 0 {
            return;
        }
        let mut index = match self.recovery.retransmit_hint {
            Some(slot) => self.rtx.index_of(self.rtx.get(slot).seq),
            None => 0,
        };
        let max_segs = self.tso_segs(cx, self.current_mss());
        let mut hole_passed = false;
        let mut rearm = false;
        while let Some(skb) = self.rtx.at(index).copied() {
            if self.pacing_check(cx) {
                break;
            }
            if !hole_passed {
                self.recovery.retransmit_hint = self.rtx.slot_at(index);
            }
            let room = self.window.cwnd.saturating_sub(self.in_flight());
            if room == 0 || self.recovery.retrans_out >= self.recovery.lost_out {
                break;
            }
            let s = skb.sacked;
            if !s.lost {
                if !s.retrans && !s.acked {
                    hole_passed = true;
                }
                index += 1;
                continue;
            }
            if s.acked || s.retrans {
                index += 1;
                continue;
            }
            if !self.retransmit_skb(cx, index, room.min(max_segs)) {
                break;
            }
            let pcount = self.rtx.at(index).expect("there").pcount;
            let counter = if self.recovery.ca_state == CaState::Loss {
                Counter::TcpExtTCPSlowStartRetrans
            } else {
                Counter::TcpExtTCPFastRetrans
            };
            cx.mib.add(counter, u64::from(pcount));
            if self.recovery.in_cwnd_reduction() {
                self.recovery.prr_out += pcount;
            }
            if index == 0 && self.timers.pending != Some(Pending::ReorderTimeout) {
                rearm = true;
            }
            index += 1;
        }
        if rearm {
            let rto = self.rto;
            self.arm_retransmit(cx, Pending::Retransmit, rto);
        }
    }

    /// `tcp_retrans_try_collapse`: small neighbours are sent as one.
    fn try_collapse(&mut self, cx: &Cx<'_>, index: usize, room: u32, mss: u16) {
        let mut first = true;
        if cx.sysctl.tcp_retrans_collapse == 0 || self.rtx.at(index).is_none_or(|s| s.flags.syn()) {
            return;
        }
        while let (Some(to), Some(skb)) = (self.rtx.at(index).copied(), self.rtx.at(index + 1).copied()) {
            let joinable = skb.pcount <= 1 && !skb.sacked.acked && !to.eor && !skb.flags.syn();
            let fits = to.len() + skb.len() <= room && !skb.end_seq.after(self.wnd_end());
            if !joinable || !fits {
                break;
            }
            if !first && room < skb.len() {
                break;
            }
            first = false;
            let skb = self.rtx.remove(index + 1);
            if self.recovery.retransmit_hint.is_some() {
                self.recovery.retransmit_hint = self.rtx.slot_at(index);
            }
            let into = self.rtx.at_mut(index).expect("there");
            into.end_seq = skb.end_seq;
            into.flags = into.flags.with(skb.flags);
            into.sacked.ever_retrans |= skb.sacked.ever_retrans;
            into.eor = skb.eor;
            let sacked = into.sacked;
            let before = into.pcount;
            let after = into.set_segments(mss);
            self.adjust_pcount(skb.sacked, i64::from(skb.pcount));
            if before != after {
                self.adjust_pcount(sacked, i64::from(before) - i64::from(after));
            }
        }
    }

    /// `tcp_simple_retransmit`: the path MTU shrank; everything larger is lost, but not for congestion.
    pub(crate) fn simple_retransmit(&mut self, cx: &mut Cx<'_>) {
        // A SYN with data stands there as two small entries: all of it is lost.
        let all = self.fo.syn_data && self.state() == State::SynSent;
        let mss = u32::from(self.current_mss());
        let before = self.recovery.lost_out;
        for index in 0..self.rtx.len() {
            let slot = self.rtx.slot_at(index).expect("in range");
            let skb = self.rtx.get(slot);
            let seg = if skb.pcount > 1 { u32::from(skb.mss) } else { skb.len() };
            if all || seg > mss {
                self.mark_lost(cx, slot);
            }
        }
        self.recovery.retransmit_hint = None;
        if before == self.recovery.lost_out {
            return;
        }
        if self.is_reno() {
            self.recovery.sacked_out = self
                .recovery
                .sacked_out
                .min(self.recovery.packets_out - self.recovery.lost_out.min(self.recovery.packets_out));
        }
        self.non_congestion_loss_retransmit(cx);
    }

    /// `tcp_non_congestion_loss_retransmit`: what is lost was not lost to congestion: the window stays as it is.
    pub(crate) fn non_congestion_loss_retransmit(&mut self, cx: &mut Cx<'_>) {
        if self.recovery.ca_state != CaState::Loss {
            self.recovery.high_seq = self.snd.nxt;
            self.window.ssthresh = self.current_ssthresh();
            self.recovery.prior_ssthresh = 0;
            self.recovery.undo_marker = None;
            self.set_ca_state(cx, CaState::Loss);
        }
        self.xmit_retransmit_queue(cx);
    }
}
