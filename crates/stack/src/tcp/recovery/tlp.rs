//! Tail loss probes: the last packet again, before the timeout (RFC 8985 §7).
//!
//! Linux: tcp_output.c `tcp_schedule_loss_probe`, `tcp_send_loss_probe`; tcp_input.c `tcp_process_tlp_ack`.

use core::time::Duration;

use wire::tcp::SeqNum;

use super::super::ack::AckFlags;
use super::super::cc::CaState;
use super::super::cx::Cx;
use super::super::output::PushOne;
use super::super::tcb::{Nagle, Tcb};
use super::super::timer::Pending;
use super::rack::TIMEOUT_MIN_US;
use crate::mib::Counter;

/// The probe in flight.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tlp {
    /// `snd.nxt` when it was sent (`tlp_high_seq`).
    pub(crate) high_seq: Option<SeqNum>,
    /// It was a retransmission, not new data.
    pub(crate) retrans: bool,
}

impl Tcb {
    /// `tcp_schedule_loss_probe`: arms the probe timer when one may be sent. `advancing_rto`: the timeout would
    /// be counted from now, not from when the first packet was sent.
    pub(crate) fn schedule_loss_probe(&mut self, cx: &mut Cx<'_>, advancing_rto: bool) -> bool {
        if self.fo.server_pending() {
            return false; // not before a fast-open handshake is complete
        }
        let r = &self.recovery;
        let wanted = matches!(cx.sysctl.tcp_early_retrans, 3 | 4);
        if !wanted
            || r.packets_out == 0
            || self.is_reno()
            || !matches!(r.ca_state, CaState::Open | CaState::Cwr)
        {
            return false;
        }
        let mut timeout = if self.rtt.srtt_us8 > 0 {
            let two_rtts = self.rtt.srtt_us8 >> 2;
            let extra = if r.packets_out == 1 {
                // A lone packet's ACK may be delayed.
                self.rto_min_us(cx)
            } else {
                TIMEOUT_MIN_US
            };
            Duration::from_micros(u64::from(two_rtts + extra))
        } else {
            super::super::rto::INITIAL_RTO
        };
        let rto = if advancing_rto { Some(self.rto) } else { self.rto_remaining(cx) };
        if let Some(rto) = rto {
            timeout = timeout.min(rto);
        }
        let delay = cx.ticks(timeout);
        self.arm_retransmit(cx, Pending::LossProbe, delay);
        true
    }

    /// `tcp_send_loss_probe`
    pub(crate) fn send_loss_probe(&mut self, cx: &mut Cx<'_>) {
        if self.recovery.tlp.high_seq.is_none() {
            self.recovery.tlp.retrans = false;
            if self.probe_with_new_data(cx) || self.probe_with_last(cx) {
                self.recovery.tlp.high_seq = Some(self.snd.nxt);
                cx.count(Counter::TcpExtTCPLossProbes);
                // The timeout counts from the probe.
                self.timers.pending = None;
            }
        }
        self.rearm_rto(cx);
    }

    fn probe_with_new_data(&mut self, cx: &mut Cx<'_>) -> bool {
        let mss = self.current_mss();
        let Some(next) = self.unsent.front() else { return false };
        if (next.seq + next.len().min(u32::from(mss))).after(self.wnd_end()) {
            return false;
        }
        let before = self.recovery.packets_out;
        self.write_xmit(cx, mss, Nagle { off: true, ..Nagle::default() }, PushOne::Probe);
        self.recovery.packets_out > before
    }

    fn probe_with_last(&mut self, cx: &mut Cx<'_>) -> bool {
        if !self.unsent.is_empty() && self.new_data_fits() {
            return false;
        }
        let Some(mut index) = self.rtx.len().checked_sub(1) else { return false };
        let mss = self.current_mss();
        let tail = self.rtx.at(index).expect("the last one");
        if tail.pcount > 1 && tail.len() > (tail.pcount - 1) * u32::from(mss) {
            let keep = (tail.pcount - 1) * u32::from(mss);
            self.fragment_rtx(index, keep, mss);
            index += 1;
        }
        if !self.retransmit_entry(cx, index, 1) {
            return false;
        }
        self.recovery.tlp.retrans = true;
        true
    }

    fn new_data_fits(&self) -> bool {
        let mss = u32::from(self.current_mss());
        self.unsent.front().is_some_and(|s| !(s.seq + s.len().min(mss)).after(self.wnd_end()))
    }

    /// `tcp_process_tlp_ack`: did the probe repair a loss, or was nothing lost?
    pub(crate) fn process_tlp_ack(&mut self, cx: &mut Cx<'_>, ack: SeqNum, flags: AckFlags) {
        let Some(high) = self.recovery.tlp.high_seq else { return };
        if ack.before(high) {
            return;
        }
        if !self.recovery.tlp.retrans || flags.dsack_tlp {
            self.recovery.tlp.high_seq = None;
        } else if ack.after(high) {
            // The window moved past the probe without a D-SACK: it repaired a loss.
            self.init_cwnd_reduction(cx);
            self.set_ca_state(cx, CaState::Cwr);
            self.end_cwnd_reduction(cx);
            self.try_keep_open(cx);
            cx.count(Counter::TcpExtTCPLossProbeRecovery);
        } else if !(flags.snd_una_advanced || flags.not_dup() || flags.data_sacked) {
            self.recovery.tlp.high_seq = None;
        }
    }
}
