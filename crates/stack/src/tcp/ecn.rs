//! Explicit congestion notification (RFC 3168). Linux: tcp_input.c `tcp_ecn_*`, tcp_output.c `tcp_ecn_send`.

use wire::tcp::Flags;

use super::cc::CaEvent;
use super::cx::Cx;
use super::input::Segment;
use super::rx::ackpolicy::MAX_QUICKACKS;
use super::skb::Skb;
use super::tcb::Tcb;
use crate::KernelProfile;

/// The ECN bits of TOS and traffic class.
const ECN_MASK: u8 = 3;
const CE: u8 = 3;

impl Tcb {
    /// `tcp_ecn_queue_cwr`: the window was reduced; the next data segment says so.
    pub(crate) fn ecn_queue_cwr(&mut self) {
        if self.opts.ecn {
            self.ecn.queue_cwr = true;
        }
    }

    /// `tcp_ecn_accept_cwr`: the peer has reacted; stop echoing.
    pub(crate) fn ecn_accept_cwr(&mut self, seg: &Segment) {
        if self.opts.ecn && seg.header.flags.contains(Flags::CWR) {
            self.ecn.demand_cwr = false;
            // Answer soon: the window was just reduced and ACKs clock the rest out.
            if seg.seq != seg.end_seq {
                self.ack.now = true;
            }
        }
    }

    /// `tcp_ecn_check_ce`: data with or without a congestion mark.
    pub(crate) fn ecn_check_ce(&mut self, cx: &mut Cx<'_>, seg: &Segment) {
        if !self.opts.ecn {
            return;
        }
        match seg.tos & ECN_MASK {
            0 => {
                // A retransmission is not marked; the sender may be in trouble.
                if self.ecn.seen {
                    self.enter_quickack_mode(cx, 2);
                }
            }
            CE => {
                self.with_cc(cx, |cc, c| cc.cwnd_event(c, CaEvent::EcnIsCe));
                if !self.ecn.demand_cwr {
                    self.enter_quickack_mode(cx, MAX_QUICKACKS.min(2));
                    self.ecn.demand_cwr = true;
                }
                self.ecn.seen = true;
            }
            _ => {
                self.with_cc(cx, |cc, c| cc.cwnd_event(c, CaEvent::EcnNoCe));
                self.ecn.seen = true;
            }
        }
    }

    /// `tcp_ecn_received_counters`: a connection without ECN notes that there are marks all the same (6.18), for `TCP_INFO`.
    pub(crate) fn ecn_received(&mut self, cx: &Cx<'_>, seg: &Segment) {
        if cx.profile >= KernelProfile::V6_18 && !self.opts.ecn && seg.tos & ECN_MASK != 0 {
            self.ecn.seen = true;
        }
    }

    /// `tcp_ecn_send`: flags of a segment; returns whether the packet is marked ECT(0).
    pub(crate) fn ecn_send(&mut self, skb: &Skb, flags: &mut Flags, is_syn: bool) -> bool {
        if is_syn {
            return false; // connect() set the flags, a retransmission takes them away
        }
        if !self.opts.ecn {
            return false;
        }
        let new_data = skb.len() > 0 && !skb.seq.before(self.snd.nxt);
        if new_data && self.ecn.queue_cwr {
            self.ecn.queue_cwr = false;
            *flags = flags.with(Flags::CWR);
        }
        if self.ecn.demand_cwr {
            *flags = flags.with(Flags::ECE);
        }
        new_data
    }
}
