//! Ending: `shutdown`, `close`, FIN in both directions, orphans (RFC 9293 §3.6, §3.10.4). Linux: tcp.c
//! `__tcp_close`, `tcp_close_state`, `tcp_shutdown`; tcp_input.c `tcp_fin`.

use core::time::Duration;

use super::cx::{Cx, Fate};
use super::tcb::{State, Tcb};
use super::time_wait::TIME_WAIT_LEN;
use crate::mib::Counter;

impl Tcb {
    /// The one writer of the state.
    pub(crate) fn set_state(&mut self, cx: &mut Cx<'_>, new: State) {
        let old = self.state;
        if old == new {
            return;
        }
        match (old, new) {
            (_, State::Established) if old != State::CloseWait => {
                cx.count(Counter::TcpCurrEstab);
            }
            (State::CloseWait | State::Established, State::Close) => {
                cx.count(Counter::TcpEstabResets);
                cx.mib.sub(Counter::TcpCurrEstab);
            }
            (State::Established, State::CloseWait) => {}
            (State::Established | State::CloseWait, _) => cx.mib.sub(Counter::TcpCurrEstab),
            _ => {}
        }
        self.state = new;
        cx.transitions.push((old, new));
    }

    /// `tcp_fin`: the peer has nothing more to say.
    pub(crate) fn receive_fin(&mut self, cx: &mut Cx<'_>) {
        self.ack.scheduled = true;
        self.shutdown_rd = true;
        self.rx_done = true;
        match self.state {
            State::SynRecv | State::Established => {
                self.set_state(cx, State::CloseWait);
                // Answer the FIN together with a close that follows at once.
                self.enter_pingpong(cx);
            }
            State::FinWait1 => {
                // Simultaneous close: acknowledge now.
                self.send_ack(cx);
                self.set_state(cx, State::Closing);
            }
            State::FinWait2 => {
                self.send_ack(cx);
                cx.fate = Some(Fate::TimeWait { fin_wait2: false, timeout: TIME_WAIT_LEN });
            }
            State::CloseWait | State::Closing | State::LastAck | State::SynSent | State::Close => {}
        }
        // Out-of-order data behind a FIN is nonsense, and what was to be told of it (tcp_sack_reset).
        self.rx.dsack = None;
        if !self.rx.out_of_order.is_empty() {
            for seg in self.rx.out_of_order.drain(..) {
                self.rx.rmem -= seg.truesize;
            }
            self.mem_reclaim(cx);
        }
        self.rx.sacks = wire::tcp::Sack::EMPTY;
        if !self.orphan {
            cx.wake.changed = true;
            cx.wake.readable = true;
        }
    }

    /// `inet_csk_enter_pingpong_mode`
    pub(crate) fn enter_pingpong(&mut self, cx: &Cx<'_>) {
        self.ack.pingpong = cx.sysctl.tcp_pingpong_thresh;
    }

    /// `tcp_fin_time`: how long FIN_WAIT2 lasts after `close()`; `None`: not at all.
    pub(crate) fn fin_time(&self, cx: &Cx<'_>) -> Option<Duration> {
        let time = match self.user.linger2 {
            Some(None) => return None,
            Some(Some(own)) => own,
            None => cx.sysctl.tcp_fin_timeout,
        };
        // Long enough for a retransmitted FIN: 3.5 RTO.
        Some(time.max(self.rto * 7 / 2))
    }

    /// The next state when we send FIN (`tcp_close_state`); `true` when a FIN must be sent.
    fn close_state(&mut self, cx: &mut Cx<'_>) -> bool {
        let (next, fin) = match self.state {
            State::SynSent => (State::Close, false),
            State::SynRecv | State::Established => (State::FinWait1, true),
            State::CloseWait => (State::LastAck, true),
            State::FinWait1 => (State::FinWait1, false),
            State::FinWait2 => (State::FinWait2, false),
            State::LastAck => (State::LastAck, false),
            State::Closing => (State::Closing, false),
            State::Close => (State::Close, false),
        };
        self.set_state(cx, next);
        fin
    }

    /// `shutdown(SHUT_WR)` (`tcp_shutdown`).
    pub(crate) fn shutdown_write(&mut self, cx: &mut Cx<'_>) {
        self.shutdown_wr = true;
        // In SYN-RECV it takes effect when the handshake is complete.
        let sends = matches!(self.state, State::Established | State::SynSent | State::CloseWait);
        if sends && self.close_state(cx) {
            self.send_fin(cx);
        }
    }

    /// The last descriptor is gone (`__tcp_close`), up to where `SO_LINGER` waits. `abort`: `SO_LINGER` with time 0.
    pub(crate) fn close_start(&mut self, cx: &mut Cx<'_>, abort: bool) {
        self.shutdown_rd = true;
        self.shutdown_wr = true;
        let unread = self.rx.ready.iter().any(|s| s.len() > 0 && s.end_seq.after(self.rcv.copied_seq));
        self.rx.ready.clear();
        self.rx.rmem = self.rx.out_of_order.iter().map(|s| s.truesize).sum();
        self.mem_reclaim(cx);
        if self.state == State::Close {
            return;
        }
        if unread {
            // Unread data: tell the peer that it is lost (RFC 2525 §2.17).
            cx.count(Counter::TcpExtTCPAbortOnClose);
            self.set_state(cx, State::Close);
            self.send_active_reset(cx);
        } else if abort {
            self.disconnect(cx);
            cx.count(Counter::TcpExtTCPAbortOnData);
        } else if self.close_state(cx) {
            self.send_fin(cx);
        }
    }

    /// `SO_LINGER` goes on waiting (`sk_stream_closing`).
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.state, State::FinWait1 | State::Closing | State::LastAck)
    }

    /// The rest of `__tcp_close`: nobody holds it any more.
    pub(crate) fn close_finish(&mut self, cx: &mut Cx<'_>) {
        self.orphan = true;
        self.after_close(cx);
    }

    fn after_close(&mut self, cx: &mut Cx<'_>) {
        if self.state == State::FinWait2 {
            match self.fin_time(cx) {
                None => {
                    self.set_state(cx, State::Close);
                    self.send_active_reset(cx);
                    cx.count(Counter::TcpExtTCPAbortOnLinger);
                }
                Some(time) if time > TIME_WAIT_LEN => self.arm_keepalive(cx, time - TIME_WAIT_LEN),
                Some(time) => {
                    cx.fate = Some(Fate::TimeWait { fin_wait2: true, timeout: time });
                    return;
                }
            }
        }
        if self.state != State::Close && self.check_oom(cx, 0) {
            self.set_state(cx, State::Close);
            self.send_active_reset(cx);
            cx.count(Counter::TcpExtTCPAbortOnMemory);
        }
        if self.state == State::Close {
            self.fastopen_remove(cx, false);
            self.timers.remove_all(cx.timers);
            cx.fate = Some(Fate::Destroy);
        }
    }

    /// `tcp_disconnect` and `tcp_abort`: drop the connection, with a RST where the peer needs one.
    pub(crate) fn disconnect(&mut self, cx: &mut Cx<'_>) {
        let old = self.state;
        self.set_state(cx, State::Close);
        let needs_reset = matches!(
            old,
            State::Established | State::CloseWait | State::FinWait1 | State::FinWait2 | State::SynRecv
        ) || (self.snd.nxt != self.snd.write_seq
            && matches!(old, State::Closing | State::LastAck));
        if needs_reset {
            self.send_active_reset(cx);
            self.error = Some(crate::Errno::ECONNRESET);
        } else if old == State::SynSent {
            self.error = Some(crate::Errno::ECONNRESET);
        }
        self.fastopen_remove(cx, false);
        self.timers.remove_all(cx.timers);
        self.purge_send_queues(cx);
        self.mem_reclaim(cx);
        self.notes_purged(cx);
    }

    /// `tcp_check_oom`: too many orphans, this one counted `1 << shift` times, or memory beyond the hard limit.
    fn check_oom(&self, cx: &Cx<'_>, shift: u32) -> bool {
        let limit = u64::try_from(cx.sysctl.tcp_max_orphans).unwrap_or(0);
        u64::from(cx.orphans) << shift > limit || self.out_of_memory(cx)
    }

    /// `tcp_out_of_resources`: an orphan's timer asks whether it may live on; if not it is dropped, with a RST when the
    /// peer may still hear.
    pub(crate) fn out_of_resources(&mut self, cx: &mut Cx<'_>, do_reset: bool) -> bool {
        // Orphans that have not been heard of for long weigh more.
        let silent = cx.now - self.last_sent;
        let mut shift = u32::from(silent > super::rto::rto_max(cx.sysctl) * 2 || !do_reset);
        shift += u32::from(self.soft_error.is_some());
        if !self.check_oom(cx, shift) {
            return false;
        }
        let closed_window = self.snd.wnd == 0 && self.recovery.packets_out == 0;
        if do_reset || silent <= TIME_WAIT_LEN || closed_window {
            self.send_active_reset(cx);
        }
        self.done(cx);
        cx.count(Counter::TcpExtTCPAbortOnMemory);
        true
    }
}
