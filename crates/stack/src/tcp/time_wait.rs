//! TIME-WAIT (and FIN-WAIT-2 of orphans) as a small socket of its own (RFC 9293 §3.6.1, RFC 1337, RFC 6191).
//!
//! Linux: tcp_minisocks.c `tcp_timewait_state_process`, `tcp_time_wait`; inet_timewait_sock.c.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wire::tcp::{Flags, SeqNum};

use crate::socket::slab::Slab;

/// `TCP_TIMEWAIT_LEN`
pub(crate) const TIME_WAIT_LEN: Duration = Duration::from_secs(60);

/// No timer is armed.
const NO_TIMER: u32 = u32::MAX;

/// What is kept of a closed connection for 60 seconds, in 64 bytes. Its local address is the one that it was bound to.
#[derive(Clone, Debug)]
pub(crate) struct TimeWaitSock {
    /// Of IPv4 the local and the remote address; of IPv6 the number of both in [`TimeWaits`].
    addrs: [u32; 2],
    local_port: u16,
    remote_port: u16,
    pub(crate) rcv_nxt: SeqNum,
    pub(crate) snd_nxt: SeqNum,
    pub(crate) rcv_wnd: u32,
    /// Timestamps: last value of the peer and its second, our offset.
    pub(crate) ts_recent: u32,
    pub(crate) ts_recent_stamp: u32,
    pub(crate) ts_offset: u32,
    /// When it entered TIME_WAIT, milliseconds, for `tcp_tw_reuse_delay`.
    pub(crate) entered_ms: u32,
    /// When a segment out of window was last answered, milliseconds; 0 for never.
    pub(crate) last_oow_ms: u32,
    pub(crate) serial: u32,
    pub(crate) bind_place: u32,
    /// The slot of its timer, and when that fires, milliseconds.
    timer: u32,
    pub(crate) expires_ms: u32,
    pub(crate) tos: u8,
    pub(crate) rcv_wscale: u8,
    flags: u8,
    /// FIN_WAIT2 (our FIN is acknowledged, the peer's has not come) or TIME_WAIT.
    pub(crate) fin_wait2: bool,
}

/// Bits of `TimeWaitSock::flags`.
mod flag {
    /// The addresses are IPv6.
    pub(super) const V6: u8 = 1;
    /// Timestamps are in use.
    pub(super) const TS_OK: u8 = 2;
    /// `SO_REUSEADDR` of its socket.
    pub(super) const REUSE: u8 = 4;
    /// `SO_REUSEPORT`
    pub(super) const REUSE_PORT: u8 = 8;
}

impl TimeWaitSock {
    /// Of this connection, with everything that is a number still 0.
    pub(crate) fn new(local_port: u16, remote_port: u16) -> TimeWaitSock {
        TimeWaitSock {
            addrs: [0; 2],
            local_port,
            remote_port,
            rcv_nxt: SeqNum(0),
            snd_nxt: SeqNum(0),
            rcv_wnd: 0,
            ts_recent: 0,
            ts_recent_stamp: 0,
            ts_offset: 0,
            entered_ms: 0,
            last_oow_ms: 0,
            serial: 0,
            bind_place: 0,
            timer: NO_TIMER,
            expires_ms: 0,
            tos: 0,
            rcv_wscale: 0,
            flags: 0,
            fin_wait2: false,
        }
    }

    pub(crate) fn set_flags(&mut self, ts_ok: bool, reuse: bool, reuse_port: bool) {
        let bit = |on: bool, flag: u8| if on { flag } else { 0 };
        self.flags |= bit(ts_ok, flag::TS_OK) | bit(reuse, flag::REUSE) | bit(reuse_port, flag::REUSE_PORT);
    }

    pub(crate) fn ts_ok(&self) -> bool {
        self.flags & flag::TS_OK != 0
    }

    pub(crate) fn reuse(&self) -> bool {
        self.flags & flag::REUSE != 0
    }

    pub(crate) fn reuse_port(&self) -> bool {
        self.flags & flag::REUSE_PORT != 0
    }

    pub(crate) fn local_port(&self) -> u16 {
        self.local_port
    }

    pub(crate) fn set_timer(&mut self, timer: Option<u32>) {
        self.timer = timer.unwrap_or(NO_TIMER);
    }

    /// The slot of its timer, which it forgets.
    pub(crate) fn take_timer(&mut self) -> Option<u32> {
        let timer = core::mem::replace(&mut self.timer, NO_TIMER);
        (timer != NO_TIMER).then_some(timer)
    }
}

/// All entries, and their IPv6 addresses, which are too long for them.
#[derive(Debug, Default)]
pub(crate) struct TimeWaits {
    entries: Slab<TimeWaitSock>,
    pairs: Slab<[Ipv6Addr; 2]>,
    /// RTOs of connections in FIN_WAIT2, for `tcp_tw_recycle`.
    rtos: BTreeMap<u32, Duration>,
}

impl TimeWaits {
    pub(crate) fn insert(&mut self, local: IpAddr, remote: IpAddr, mut entry: TimeWaitSock) -> u32 {
        match (local, remote) {
            (IpAddr::V4(a), IpAddr::V4(b)) => entry.addrs = [a.to_bits(), b.to_bits()],
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                entry.addrs = [self.pairs.insert([a, b]), 0];
                entry.flags |= flag::V6;
            }
            (a, b) => unreachable!("a connection from {a} to {b}"),
        }
        self.entries.insert(entry)
    }

    pub(crate) fn remove(&mut self, id: u32) -> Option<TimeWaitSock> {
        let entry = self.entries.remove(id)?;
        self.rtos.remove(&id);
        if entry.flags & flag::V6 != 0 {
            self.pairs.remove(entry.addrs[0]);
        }
        Some(entry)
    }

    pub(crate) fn remember_rto(&mut self, id: u32, rto: Duration) {
        self.rtos.insert(id, rto);
    }

    /// What was remembered, or nothing.
    pub(crate) fn rto(&self, id: u32) -> Duration {
        self.rtos.get(&id).copied().unwrap_or_default()
    }

    /// Local and remote address and port.
    pub(crate) fn addrs(&self, entry: &TimeWaitSock) -> (SocketAddr, SocketAddr) {
        let [local, remote]: [IpAddr; 2] = if entry.flags & flag::V6 != 0 {
            self.pairs[entry.addrs[0]].map(IpAddr::V6)
        } else {
            entry.addrs.map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
        };
        (SocketAddr::new(local, entry.local_port), SocketAddr::new(remote, entry.remote_port))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &TimeWaitSock> {
        self.entries.iter().map(|(_, entry)| entry)
    }
}

impl core::ops::Index<u32> for TimeWaits {
    type Output = TimeWaitSock;
    fn index(&self, id: u32) -> &TimeWaitSock {
        &self.entries[id]
    }
}

impl core::ops::IndexMut<u32> for TimeWaits {
    fn index_mut(&mut self, id: u32) -> &mut TimeWaitSock {
        &mut self.entries[id]
    }
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
        let saw = seg.tsval.filter(|_| self.ts_ok() && self.ts_recent_stamp != 0);
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
        if let Some(val) = seg.tsval.filter(|_| self.ts_ok()) {
            self.ts_recent = val;
            self.ts_recent_stamp = clock_s;
        }
        TwStep { verdict: TwVerdict::Ack, rearm: Some(TIME_WAIT_LEN), paws: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_64_bytes_of_the_table() {
        assert!(size_of::<Option<TimeWaitSock>>() <= 64, "{} bytes", size_of::<Option<TimeWaitSock>>());
    }
}
