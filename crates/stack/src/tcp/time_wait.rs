//! TIME-WAIT (and FIN-WAIT-2 of orphans) as a small socket of its own (RFC 9293 §3.6.1, RFC 1337, RFC 6191).
//!
//! Linux: tcp_minisocks.c `tcp_timewait_state_process`, `tcp_time_wait`; inet_timewait_sock.c.

use core::time::Duration;
use std::net::SocketAddr;

use wire::tcp::{Flags, SeqNum};

/// `TCP_TIMEWAIT_LEN`
pub(crate) const TIME_WAIT_LEN: Duration = Duration::from_secs(60);

/// What is kept of a closed connection: 60 seconds, in few bytes.
#[derive(Clone, Debug)]
pub(crate) struct TimeWaitSock {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// FIN_WAIT2 (our FIN is acknowledged, the peer's has not come) or TIME_WAIT.
    pub(crate) fin_wait2: bool,
    pub(crate) rcv_nxt: SeqNum,
    pub(crate) snd_nxt: SeqNum,
    pub(crate) rcv_wnd: u32,
    pub(crate) rcv_wscale: u8,
    /// Timestamps: in use, last value of the peer and its second, our offset.
    pub(crate) ts_ok: bool,
    pub(crate) ts_recent: u32,
    pub(crate) ts_recent_stamp: u32,
    pub(crate) ts_offset: u32,
    /// 3.5 RTOs in milliseconds, for `tcp_tw_recycle`.
    pub(crate) recycle_ms: u16,
    /// When it entered TIME_WAIT, milliseconds, for `tcp_tw_reuse_delay`.
    pub(crate) entered_ms: u32,
    /// `SO_REUSEADDR` and `SO_REUSEPORT` of its socket.
    pub(crate) reuse: bool,
    pub(crate) reuse_port: bool,
    pub(crate) last_oow_ack: Option<wire::Instant>,
    pub(crate) tos: u8,
    pub(crate) serial: u32,
    pub(crate) bind_place: u32,
    pub(crate) hash: u32,
    /// The local address it was bound to, for `bind`.
    pub(crate) rcv_addr: std::net::IpAddr,
    pub(crate) timer: Option<crate::timer::TimerId>,
    pub(crate) timer_at: Option<wire::Instant>,
}

/// What a segment does to a TIME_WAIT entry (`enum tcp_tw_status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TwVerdict {
    /// Nothing to send.
    Success,
    /// The entry goes.
    Kill,
    /// Answer with the last ACK again.
    Ack,
    /// Answer with a RST, the entry goes.
    Reset,
    /// A new connection may take its place, beginning at this sequence number.
    Syn(SeqNum),
}

/// A segment's outcome, and whether the 60 seconds start anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TwStep {
    pub(crate) verdict: TwVerdict,
    /// Rearm the timer for so long.
    pub(crate) rearm: Option<Duration>,
    /// An old timestamp was refused in TIME_WAIT.
    pub(crate) paws: bool,
}

fn step(verdict: TwVerdict) -> TwStep {
    TwStep { verdict, rearm: None, paws: false }
}

/// The parts of a segment that matter here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TwSegment {
    pub(crate) seq: SeqNum,
    pub(crate) end_seq: SeqNum,
    pub(crate) flags: Flags,
    pub(crate) tsval: Option<u32>,
}

impl TimeWaitSock {
    /// `tcp_timewait_state_process`. `clock_s` is the second now, `rfc1337` the sysctl.
    pub(crate) fn segment_arrives(&mut self, seg: &TwSegment, clock_s: u32, rfc1337: bool) -> TwStep {
        let saw = seg.tsval.filter(|_| self.ts_ok && self.ts_recent_stamp != 0);
        let paws_reject = saw.is_some_and(|val| self.paws_reject(val, seg.flags.rst(), clock_s));
        if self.fin_wait2 {
            return self.in_fin_wait2(seg, paws_reject, clock_s);
        }
        let bare = seg.seq == seg.end_seq;
        if !paws_reject && seg.seq == self.rcv_nxt && (bare || seg.flags.rst()) {
            if seg.flags.rst() {
                // RFC 1337: a RST could assassinate TIME-WAIT.
                if !rfc1337 {
                    return step(TwVerdict::Kill);
                }
            }
            if let Some(val) = saw {
                self.ts_recent = val;
                self.ts_recent_stamp = clock_s;
            }
            // TRUTH.md §7: a duplicate ACK restarts the clock.
            return TwStep { verdict: TwVerdict::Success, rearm: Some(TIME_WAIT_LEN), paws: false };
        }
        // RFC 6191 and RFC 1122 §4.2.2.13: a SYN that is clearly newer reopens.
        let newer_ts = saw.is_some_and(|val| (self.ts_recent.wrapping_sub(val) as i32) < 0);
        let new_syn = seg.flags.syn()
            && !seg.flags.rst()
            && !seg.flags.contains(Flags::ACK)
            && !paws_reject
            && (seg.seq.after(self.rcv_nxt) || newer_ts);
        if new_syn {
            let mut isn = self.snd_nxt + 65_535 + 2;
            if isn.0 == 0 {
                isn = SeqNum(1);
            }
            return step(TwVerdict::Syn(isn));
        }
        if seg.flags.rst() {
            return TwStep { verdict: TwVerdict::Success, rearm: None, paws: paws_reject };
        }
        // Old duplicate, or the peer's FIN again: repeat the last ACK. Without PAWS trouble the clock restarts.
        let rearm = (paws_reject || seg.flags.contains(Flags::ACK)).then_some(TIME_WAIT_LEN);
        TwStep { verdict: TwVerdict::Ack, rearm, paws: paws_reject }
    }

    /// `tcp_paws_reject`
    fn paws_reject(&self, tsval: u32, rst: bool, clock_s: u32) -> bool {
        let older = self.ts_recent.wrapping_sub(tsval) as i32 > 0;
        if !older {
            return false;
        }
        // A RST is believed when the clock says that the value cannot be checked.
        !(rst && clock_s > self.ts_recent_stamp)
    }

    fn in_fin_wait2(&mut self, seg: &TwSegment, paws_reject: bool, clock_s: u32) -> TwStep {
        let in_window = seg.end_seq == self.rcv_nxt && seg.seq == self.rcv_nxt
            || (seg.end_seq.after(self.rcv_nxt) && seg.seq.before(self.rcv_nxt + self.rcv_wnd));
        if paws_reject || !in_window {
            return step(if seg.flags.rst() { TwVerdict::Success } else { TwVerdict::Ack });
        }
        if seg.flags.rst() {
            return step(TwVerdict::Kill);
        }
        if seg.flags.syn() && !seg.seq.before(self.rcv_nxt) {
            return step(TwVerdict::Reset);
        }
        let dup_ack =
            !seg.flags.contains(Flags::ACK) || !seg.end_seq.after(self.rcv_nxt) || seg.end_seq == seg.seq;
        if dup_ack {
            return step(TwVerdict::Success);
        }
        // New data for nobody: only a FIN right at the edge is welcome.
        if !seg.flags.fin() || seg.end_seq != self.rcv_nxt + 1 {
            return step(TwVerdict::Reset);
        }
        self.fin_wait2 = false;
        self.rcv_nxt = seg.end_seq;
        if let Some(val) = seg.tsval.filter(|_| self.ts_ok) {
            self.ts_recent = val;
            self.ts_recent_stamp = clock_s;
        }
        TwStep { verdict: TwVerdict::Ack, rearm: Some(TIME_WAIT_LEN), paws: false }
    }
}
