//! Writing: how what an application sends becomes entries of the send queue. Linux: tcp.c `tcp_sendmsg_locked`,
//! `tcp_push`, `tcp_mark_push`; net/core/stream.c `sk_stream_write_space`, `sk_stream_wait_connect`.

use wire::tcp::Flags;

use super::chrono::Chrono;
use super::cx::Cx;
use super::mem::MemKind;
use super::output::PushOne;
use super::send_buffer::Source;
use super::skb::Skb;
use super::tcb::{Nagle, State, Tcb};
use crate::Errno;
use crate::call::MsgFlags;
use crate::socket::SKB_OVERHEAD;

/// What a try to write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// So many bytes were taken; all of them, or the error that stopped it comes with the next call.
    Done(usize),
    /// So many were taken and there is no room (or no connection yet) for more.
    Wait(usize),
}

impl Tcb {
    /// `sk_wmem_queued`
    pub(crate) fn wmem_queued(&self) -> u32 {
        let entries =
            u32::try_from(self.unsent.len() + self.rtx.len() - self.rtx.joined()).unwrap_or(u32::MAX);
        let bytes = u32::try_from(self.data.len()).unwrap_or(u32::MAX);
        // A single segment of which a part is acknowledged is kept whole.
        let kept = self.rtx.head().map_or(0, |h| (self.snd.una - h.seq).max(0) as u32); // not negative
        bytes.saturating_add(kept).saturating_add(entries.saturating_mul(SKB_OVERHEAD))
    }

    fn notsent_allows(&self, cx_lowat: u32, wake: bool) -> bool {
        let limit = self.user.notsent_lowat.unwrap_or(cx_lowat);
        let unsent = u64::from((self.snd.write_seq - self.snd.nxt) as u32); // forward
        unsent << u32::from(wake) < u64::from(limit)
    }

    /// `sk_stream_memory_free`
    fn memory_free(&self, lowat: u32) -> bool {
        self.wmem_queued() < self.sndbuf && self.notsent_allows(lowat, false)
    }

    /// `__sk_stream_is_writeable`: what `poll` calls writable: a third of the buffer is free.
    pub(crate) fn is_writable(&self, lowat: u32) -> bool {
        let queued = self.wmem_queued();
        queued < self.sndbuf && self.sndbuf - queued >= queued >> 1 && self.notsent_allows(lowat, true)
    }

    /// `tcp_check_space`: an ACK made room for a writer that waits.
    pub(crate) fn check_send_space(&mut self, cx: &mut Cx<'_>) {
        if !self.no_space.get() || self.orphan {
            return;
        }
        // tcp_should_expand_sndbuf
        let short = cx.mem.under_pressure() || cx.mem.allocated() >= cx.sysctl.tcp_mem[0];
        if !self.sndbuf_locked && !short && self.in_flight() < self.window.cwnd {
            self.expand_sndbuf(cx);
            self.window.used_stamp = cx.now;
        }
        if self.is_writable(cx.sysctl.tcp_notsent_lowat) {
            self.no_space.set(false);
            cx.wake.writable = true;
            let is_idle = self.rtx.is_empty() && self.unsent.is_empty();
            self.chrono.stop(cx.now, Chrono::SndbufLimited, is_idle);
        }
    }

    /// `forced_push`
    fn forced_push(&self) -> bool {
        self.snd.write_seq.after(self.snd.pushed_seq + (self.snd.max_window >> 1))
    }

    /// `tcp_mark_push`
    fn mark_push(&mut self) {
        if let Some(tail) = self.unsent.back_mut() {
            tail.flags = tail.flags.with(Flags::PSH);
        }
        self.snd.pushed_seq = self.snd.write_seq;
    }

    /// Takes `data` from `from` on (what an earlier try of the same call has not taken).
    pub(crate) fn send(
        &mut self,
        cx: &mut Cx<'_>,
        data: Source<'_>,
        from: usize,
        flags: MsgFlags,
    ) -> Result<Sent, Errno> {
        self.rate_check_app_limited();
        self.writer_waits = false;
        if !self.state.may_send() && !self.passive_fastopen() {
            match self.error.take() {
                Some(errno) if from == 0 => return Err(errno),
                Some(errno) => {
                    self.error = Some(errno);
                    return Ok(Sent::Done(from));
                }
                None => {}
            }
            if matches!(self.state, State::SynSent | State::SynRecv) && !self.shutdown_wr {
                return Ok(Sent::Wait(from));
            }
            return if from > 0 { Ok(Sent::Done(from)) } else { Err(Errno::EPIPE) };
        }
        if self.error.is_some() || self.shutdown_wr {
            if from > 0 {
                return Ok(Sent::Done(from));
            }
            return Err(self.error.take().unwrap_or(Errno::EPIPE));
        }
        let mut mss = self.current_mss();
        let mut goal = self.size_goal_for(mss, flags);
        let mut at = from;
        let lowat = cx.sysctl.tcp_notsent_lowat;
        while at < data.len() {
            let room = match self.unsent.back() {
                Some(tail) if !tail.eor && !tail.flags.fin() => goal.saturating_sub(tail.len()),
                _ => 0,
            };
            let zerocopy = self.zerocopy_sends();
            let mut copy = room;
            let mut taken = 0;
            if zerocopy && room > 0 {
                taken = self.zerocopy_room(at, (room as usize).min(data.len() - at)); // below 64 KiB
                if taken == 0 {
                    self.mark_push(); // EMSGSIZE: the entry has no place for another piece
                    copy = 0;
                }
            }
            if copy == 0 {
                let first = self.unsent.is_empty() && self.rtx.is_empty();
                if !self.memory_free(lowat) || !self.entry_memory(cx, first) {
                    return Ok(self.no_room(cx, flags, mss, from, at));
                }
                self.entail(cx);
                copy = goal;
                if data.fills_chunks() {
                    self.data.begin_chunk(goal as usize, cx.chunks); // at most 64 KiB
                }
            }
            let mut copy = usize::try_from(copy).expect("64 KiB").min(data.len() - at);
            if zerocopy {
                copy = if taken > 0 { taken } else { self.zerocopy_room(at, copy) };
            }
            let copy = self.wmem_schedule(cx, u32::try_from(copy).expect("at most the goal")) as usize;
            if copy == 0 {
                // tcp_remove_empty_skb
                self.unsent.pop_back_if(|tail| tail.seq == tail.end_seq);
                if self.unsent.is_empty() {
                    self.chrono.stop(cx.now, Chrono::Busy, self.rtx.is_empty());
                }
                return Ok(self.no_room(cx, flags, mss, from, at));
            }
            if at == from
                && let Some(tail) = self.unsent.back_mut()
            {
                tail.flags = tail.flags - Flags::PSH;
            }
            self.append(&data, at, copy);
            at += copy;
            if zerocopy {
                self.zerocopy_queued();
            }
            let tail = self.unsent.back_mut().expect("just appended to");
            if at == data.len() {
                tail.eor |= flags.has(MsgFlags::EOR);
                break;
            }
            if tail.len() < goal || flags.has(MsgFlags::OOB) {
                continue;
            }
            if self.forced_push() {
                self.mark_push();
                self.push_pending(cx, push_all());
            } else if self.unsent.len() == 1 {
                self.push_one(cx, mss);
            }
            mss = self.current_mss();
            goal = self.size_goal_for(mss, flags);
        }
        if at > from {
            self.stamp_call();
            let nagle = self.nagle;
            self.push(cx, flags, mss, nagle);
        }
        Ok(Sent::Done(at))
    }

    /// `tcp_stream_alloc_skb`'s part of the memory; the very first entry is always granted.
    fn entry_memory(&mut self, cx: &mut Cx<'_>, first: bool) -> bool {
        if first {
            self.mem_force(cx, SKB_OVERHEAD);
            return true;
        }
        self.mem_schedule(cx, SKB_OVERHEAD, MemKind::Send)
    }

    /// `wait_for_space`: what is there leaves, and the writer waits.
    fn no_room(&mut self, cx: &mut Cx<'_>, flags: MsgFlags, mss: u16, from: usize, at: usize) -> Sent {
        self.no_space.set(true);
        if at > from {
            self.push(cx, MsgFlags(flags.0 & !MsgFlags::MORE.0), mss, push_all());
        }
        Sent::Wait(at)
    }

    /// `tcp_send_mss`: out-of-band data is not gathered.
    fn size_goal_for(&mut self, mss: u16, flags: MsgFlags) -> u32 {
        if flags.has(MsgFlags::OOB) { u32::from(mss) } else { self.size_goal(mss) }
    }

    /// `tcp_skb_entail`: a new entry at the end.
    fn entail(&mut self, cx: &mut Cx<'_>) {
        if self.unsent.is_empty() {
            self.chrono.start(cx.now, Chrono::Busy);
        }
        self.unsent.push_back(Skb::at(self.snd.write_seq));
        self.nagle.push = false;
        self.slow_start_after_idle_check(cx);
    }

    fn append(&mut self, data: &Source<'_>, at: usize, len: usize) {
        self.data.push_part(data, at, len);
        let n = u32::try_from(len).expect("a part of the size goal");
        self.snd.write_seq += n;
        let tail = self.unsent.back_mut().expect("the caller made it");
        tail.end_seq += n;
        tail.pcount = 0;
    }

    /// `tcp_push`
    fn push(&mut self, cx: &mut Cx<'_>, flags: MsgFlags, mss: u16, nagle: Nagle) {
        if self.unsent.is_empty() {
            return;
        }
        if !flags.has(MsgFlags::MORE) || self.forced_push() {
            self.mark_push();
        }
        if flags.has(MsgFlags::OOB) {
            self.snd.up = self.snd.write_seq;
            self.snd.urg_mode = true;
        }
        let nagle = if flags.has(MsgFlags::MORE) { Nagle { cork: true, ..Nagle::default() } } else { nagle };
        if self.write_xmit(cx, mss, nagle, PushOne::No) {
            self.check_probe_timer(cx);
        }
    }
}

/// `TCP_NAGLE_PUSH`
fn push_all() -> Nagle {
    Nagle { push: true, ..Nagle::default() }
}
