//! A segment arrives: the checks of RFC 9293 §3.10.7.4 in their order. Each lives in the file that owns it.
//!
//! Linux: tcp_input.c `tcp_rcv_established`, `tcp_rcv_state_process`.

use core::ops::ControlFlow;

use wire::Frame;
use wire::tcp::{Flags, Header, SeqNum};

use super::ack::AckFlags;
use super::cx::{Cx, Fate, Step};
use super::tcb::{State, Tcb};
use super::time_wait::TIME_WAIT_LEN;
use crate::mib::Counter;
use crate::socket::SkbMemory;
use crate::{DropReason, KernelProfile};

/// A segment for a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segment {
    pub(crate) header: Header,
    pub(crate) seq: SeqNum,
    /// After its last sequence number: payload, SYN and FIN.
    pub(crate) end_seq: SeqNum,
    pub(crate) ack: SeqNum,
    /// The payload; taken away when it is queued.
    pub(crate) frame: Frame,
    pub(crate) payload_len: usize,
    /// TOS or traffic class, for ECN.
    pub(crate) tos: u8,
    /// What its packet costs the receive buffer.
    pub(crate) memory: SkbMemory,
}

impl Segment {
    /// Bytes of payload, also after it was taken away.
    pub(crate) fn len(&self) -> usize {
        self.payload_len
    }
}

/// Turns the end of a list of checks into a result for the caller.
fn stop(step: Step) -> Result<(), DropReason> {
    match step {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(reason) => Err(reason),
    }
}

impl Tcb {
    /// A segment for this connection. `Err`: why it was dropped.
    pub(crate) fn segment_arrives(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Result<(), DropReason> {
        self.totals.segs_in += 1;
        if seg.payload_len > 0 {
            self.totals.data_segs_in += 1;
        }
        match self.state {
            State::Close => Err(DropReason::TcpClose),
            State::SynSent => self.syn_sent_process(cx, seg),
            State::Established => self.established_process(cx, seg),
            State::SynRecv
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::LastAck
            | State::Closing => self.other_state_process(cx, seg),
        }
    }

    /// `tcp_rcv_established`
    fn established_process(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Result<(), DropReason> {
        self.ts.saw = false;
        if self.header_predicted(seg) {
            if seg.payload_len == 0 {
                return self.predicted_pure_ack(cx, seg);
            }
            let window = self.rcv.nxt + self.receive_window();
            if cx.profile >= KernelProfile::V6_18 && seg.end_seq.after(window) {
                stop(self.slow_checks(cx, seg))?;
            } else if i64::from(seg.memory.truesize) <= self.forward_alloc() {
                return self.predicted_data(cx, seg);
            }
        } else {
            stop(self.slow_checks(cx, seg))?;
        }
        let flags = AckFlags { slowpath: true, update_ts_recent: true, ..AckFlags::default() };
        self.process_ack(cx, seg, flags)?;
        self.ecn_received(cx, seg);
        self.rcv_rtt_measure_ts(cx, seg);
        self.urgent_arrives(cx, seg);
        let dropped = self.data_queue(cx, seg).err();
        self.data_snd_check(cx);
        self.ack_snd_check(cx);
        dropped.map_or(Ok(()), Err)
    }

    /// Header prediction (Van Jacobson): the next expected segment with an unchanged window.
    fn header_predicted(&mut self, seg: &Segment) -> bool {
        let f = seg.header.flags;
        let plain = f.contains(Flags::ACK)
            && !f.intersects(Flags::SYN | Flags::FIN | Flags::RST | Flags::URG | Flags::ECE | Flags::CWR);
        let fast = plain
            && self.rx.out_of_order.is_empty()
            && self.rcv.wnd > 0
            && !self.urg_in.pending()
            && u32::from(seg.header.window) << self.snd.wscale == self.snd.wnd
            && seg.seq == self.rcv.nxt
            && !seg.ack.after(self.snd.nxt);
        if !fast {
            return false;
        }
        let options = &seg.header.options;
        match options.timestamps() {
            None => !self.ts.ok && options.is_empty(),
            Some(ts) => {
                if !self.ts.ok || options.len() != 12 {
                    return false;
                }
                self.ts.saw = true;
                self.ts.rcv_tsval = ts.val;
                self.ts.rcv_tsecr = ts.ecr;
                // PAWS takes the slow path.
                ts.val.wrapping_sub(self.ts.recent) as i32 >= 0
            }
        }
    }

    fn predicted_pure_ack(&mut self, cx: &mut Cx<'_>, seg: &Segment) -> Result<(), DropReason> {
        if self.ts.ok && self.rcv.nxt == self.rcv.wup {
            self.store_ts_recent(cx);
        }
        self.process_ack(cx, seg, AckFlags::default())?;
        self.data_snd_check(cx);
        self.ecn_received(cx, seg);
        if self.ts.saw {
            self.rx.rtt_last_tsecr = self.ts.rcv_tsecr; // data that echoes the same measures nothing
        }
        Ok(())
    }

    fn predicted_data(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Result<(), DropReason> {
        if self.ts.ok && self.rcv.nxt == self.rcv.wup {
            self.store_ts_recent(cx);
        }
        self.rcv_rtt_measure_ts(cx, seg);
        cx.count(Counter::TcpExtTCPHPHits);
        self.ecn_received(cx, seg);
        self.rx.dsack = None;
        self.queue_predicted(cx, seg);
        if seg.ack == self.snd.una {
            self.snd.wl1 = seg.seq;
        } else {
            let flags = AckFlags { data: true, ..AckFlags::default() };
            self.process_ack(cx, seg, flags)?;
            self.data_snd_check(cx);
            if !self.ack.scheduled {
                cx.wake.readable = true;
                return Ok(());
            }
        }
        self.ack_snd_check_now(cx, false);
        cx.wake.readable = true;
        Ok(())
    }

    /// Checks one to four for every state from SYN-RECV on.
    fn slow_checks(&mut self, cx: &mut Cx<'_>, seg: &Segment) -> Step {
        if !seg.header.flags.intersects(Flags::ACK.with(Flags::RST).with(Flags::SYN)) {
            return ControlFlow::Break(DropReason::TcpFlags);
        }
        self.validate_paws(cx, seg)?; // RFC 7323 §5.3 R1
        self.validate_sequence(cx, seg)?; // first
        self.validate_reset(cx, seg)?; // second
        self.validate_syn(cx, seg)?; // fourth; the third (security) is not for us
        ControlFlow::Continue(())
    }

    /// `tcp_rcv_state_process` for every state but SYN-SENT, ESTABLISHED and LISTEN.
    fn other_state_process(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Result<(), DropReason> {
        self.ts.saw = false;
        if self.fo.server_pending() {
            self.fastopen_check(cx, seg)?;
        }
        stop(self.slow_checks(cx, seg))?;
        if !seg.header.flags.contains(Flags::ACK) {
            return Err(DropReason::TcpFlags);
        }
        let flags = AckFlags {
            slowpath: true,
            update_ts_recent: true,
            no_challenge_ack: true,
            ..AckFlags::default()
        };
        // Fifth: the acknowledgment.
        match self.process_ack(cx, seg, flags) {
            Ok(true) => {}
            Ok(false) if self.state != State::SynRecv => {}
            Ok(false) => {
                super::reset::reply_reset(cx, seg);
                return Err(DropReason::TcpOldAck);
            }
            Err(reason) => {
                if self.state == State::SynRecv {
                    super::reset::reply_reset(cx, seg);
                } else {
                    self.send_challenge_ack(cx);
                }
                return Err(reason);
            }
        }
        stop(self.ack_by_state(cx, seg))?;
        self.urgent_arrives(cx, seg); // sixth
        self.text_by_state(cx, seg)
    }

    fn ack_by_state(&mut self, cx: &mut Cx<'_>, seg: &Segment) -> Step {
        match self.state {
            State::SynRecv => self.syn_recv_acked(cx, seg),
            State::FinWait1 => self.fin_wait1_acked(cx, seg)?,
            State::Closing => {
                if self.snd.una == self.snd.write_seq {
                    cx.fate = Some(Fate::TimeWait { fin_wait2: false, timeout: TIME_WAIT_LEN });
                    return ControlFlow::Break(DropReason::NotSpecified);
                }
            }
            State::LastAck => {
                if self.snd.una == self.snd.write_seq {
                    self.update_metrics(cx);
                    self.done(cx);
                    return ControlFlow::Break(DropReason::NotSpecified);
                }
            }
            State::Established | State::SynSent | State::FinWait2 | State::Close | State::CloseWait => {}
        }
        ControlFlow::Continue(())
    }

    /// `tcp_rcv_state_process`, TCP_SYN_RECV: simultaneous open or fast open completes.
    fn syn_recv_acked(&mut self, cx: &mut Cx<'_>, seg: &Segment) {
        self.recovery.delivered = self.recovery.delivered.wrapping_add(1); // the SYN-ACK
        if self.rtt.srtt_us8 == 0 {
            let sent = self.fastopen_synack_sent();
            self.synack_rtt_measure(cx, sent);
        }
        if self.ts.ok {
            self.rcv.advmss = self.rcv.advmss.saturating_sub(12);
        }
        if self.fo.server_pending() {
            self.fastopen_acked(cx);
        } else {
            self.try_undo_spurious_syn();
            self.retrans_stamp = None;
            self.init_transfer(cx);
        }
        self.set_state(cx, State::Established);
        cx.wake.changed = true;
        cx.wake.writable = true;
        self.snd.una = self.snd.una.latest(seg.ack);
        self.snd.wnd = u32::from(seg.header.window) << self.snd.wscale;
        self.snd.wl1 = seg.seq;
        self.update_pacing_rate(cx);
        self.last_sent = cx.now;
        self.initialize_rcv_mss();
        if self.shutdown_wr {
            // shutdown() came before the handshake was complete.
            self.set_state(cx, State::FinWait1);
            self.send_fin(cx);
        }
    }

    fn fin_wait1_acked(&mut self, cx: &mut Cx<'_>, seg: &Segment) -> Step {
        if self.fo.server_pending() {
            self.fastopen_acked(cx);
        }
        if self.snd.una != self.snd.write_seq {
            return ControlFlow::Continue(());
        }
        self.set_state(cx, State::FinWait2);
        self.shutdown_wr = true;
        if !self.orphan {
            cx.wake.changed = true; // wakes lingering close()
            return ControlFlow::Continue(());
        }
        if self.user.linger2 == Some(None) {
            super::reset::reply_reset(cx, seg);
            self.done(cx);
            cx.count(Counter::TcpExtTCPAbortOnData);
            return ControlFlow::Break(DropReason::TcpAbortOnData);
        }
        let new_data = seg.end_seq != seg.seq
            && (SeqNum(seg.end_seq.0.wrapping_sub(u32::from(seg.header.flags.fin())))).after(self.rcv.nxt);
        if new_data {
            // Data for nobody.
            if self.fo.option_sent && seg.header.flags.fin() {
                Tcb::fastopen_disable(cx); // a FIN beyond a hole
            }
            super::reset::reply_reset(cx, seg);
            self.done(cx);
            cx.count(Counter::TcpExtTCPAbortOnData);
            return ControlFlow::Break(DropReason::TcpAbortOnData);
        }
        let time = self.fin_time(cx).unwrap_or(TIME_WAIT_LEN);
        if time > TIME_WAIT_LEN {
            self.arm_keepalive(cx, time - TIME_WAIT_LEN);
        } else if seg.header.flags.fin() {
            // Three segments may close it: this one's FIN is handled below, then TIME-WAIT.
            self.arm_keepalive(cx, time);
        } else {
            cx.fate = Some(Fate::TimeWait { fin_wait2: true, timeout: time });
            return ControlFlow::Break(DropReason::NotSpecified);
        }
        ControlFlow::Continue(())
    }

    /// Seventh: the segment text.
    fn text_by_state(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Result<(), DropReason> {
        match self.state {
            // Beyond a FIN there is nothing.
            State::CloseWait | State::Closing | State::LastAck if !seg.seq.before(self.rcv.nxt) => {}
            State::CloseWait | State::Closing | State::LastAck | State::FinWait1 | State::FinWait2 => {
                if self.shutdown_rd {
                    let data_end = SeqNum(seg.end_seq.0.wrapping_sub(u32::from(seg.header.flags.fin())));
                    if seg.end_seq != seg.seq && data_end.after(self.rcv.nxt) {
                        cx.count(Counter::TcpExtTCPAbortOnData);
                        super::reset::reply_reset(cx, seg);
                        self.reset_by_peer(cx, None);
                        return Err(DropReason::TcpAbortOnData);
                    }
                }
                self.data_queue_or_fin(cx, seg)?;
            }
            State::Established => self.data_queue_or_fin(cx, seg)?,
            State::SynSent | State::SynRecv | State::Close => {}
        }
        if self.state != State::Close {
            self.data_snd_check(cx);
            self.ack_snd_check(cx);
        }
        Ok(())
    }

    fn data_queue_or_fin(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Result<(), DropReason> {
        let dropped = self.data_queue(cx, seg);
        if dropped.is_err() {
            // A drop here still owes its ACK.
            self.data_snd_check(cx);
            self.ack_snd_check(cx);
        }
        dropped
    }
}
