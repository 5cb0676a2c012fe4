//! Segments: header fields and options for data, control packets and resets.
//!
//! Linux: tcp_output.c `__tcp_transmit_skb`, `tcp_established_options`, `tcp_event_data_sent`, `tcp_event_ack_sent`,
//! `tcp_send_ack`, `tcp_send_active_reset`.

use wire::Bytes;
use wire::tcp::{Flags, Header, OptionSet, Options, SeqNum, Timestamps};

use super::cx::{Cx, OutSegment};
use super::skb::Skb;
use super::tcb::{State, Tcb};
use crate::mib::Counter;

impl Tcb {
    /// The timestamp option of a segment sent now.
    pub(crate) fn timestamps(&self, cx: &Cx<'_>) -> Option<Timestamps> {
        self.ts
            .ok
            .then(|| Timestamps { val: cx.clock_ms().wrapping_add(self.ts.offset), ecr: self.ts.recent })
    }

    /// `tcp_established_options`; a D-SACK is reported once (`tcp_options_write` takes it back, TRUTH 9d).
    fn established_options(&mut self, cx: &Cx<'_>) -> Options {
        if self.rx.dsack.is_none() && self.rx.sacks.is_empty() {
            return self.timestamps(cx).map_or(Options::EMPTY, Options::of_timestamps);
        }
        let set = OptionSet {
            timestamps: self.timestamps(cx),
            sack: self.rx.sack_blocks(self.ts.ok),
            ..OptionSet::default()
        };
        self.rx.dsack = None;
        set.build().expect("timestamps and as many SACK blocks as fit")
    }

    fn header(&self, seq: SeqNum, flags: Flags, window: u16, options: Options) -> Header {
        Header {
            src_port: self.local.port(),
            dst_port: self.remote.port(),
            seq,
            ack: if flags.contains(Flags::ACK) { self.rcv.nxt } else { SeqNum(0) },
            flags,
            window,
            urgent: 0,
            options,
            ..Header::default()
        }
    }

    /// Sends an entry for the first time or again; stamps it. `false`: not sent, try later.
    pub(crate) fn transmit_skb(&mut self, cx: &mut Cx<'_>, skb: &mut Skb) -> bool {
        let is_syn = skb.flags.syn();
        let options = if is_syn { self.syn_options(cx, skb) } else { self.established_options(cx) };
        let window = if is_syn {
            u16::try_from(self.rcv.wnd.min(65_535)).expect("clamped")
        } else {
            self.select_window(cx)
        };
        let len = skb.len();
        let mut flags = skb.flags;
        if skb.pcount > 1 {
            flags = flags.with(Flags::PSH); // flush the receiver's GRO
        }
        let ect = self.ecn_send(skb, &mut flags, is_syn);
        let mut header = self.header(skb.seq, flags, window, options);
        if self.snd.urg_mode && !is_syn {
            self.set_urgent(&mut header, skb.seq);
        }
        if flags.contains(Flags::ACK) {
            self.event_ack_sent();
        }
        if len > 0 {
            self.event_data_sent(cx);
            self.totals.data_segs_out += skb.pcount;
            self.totals.bytes_sent += u64::from(len);
        }
        // What is sent again is not counted: what was sent first is beyond snd_nxt still.
        if skb.end_seq.after(self.snd.nxt) || skb.end_seq == skb.seq {
            cx.mib.add(Counter::TcpOutSegs, u64::from(skb.pcount.max(1)));
        }
        self.totals.segs_out += skb.pcount.max(1);
        if cx.no_route {
            cx.count(if self.remote.is_ipv4() { Counter::IpOutNoRoutes } else { Counter::Ip6OutNoRoutes });
            return false;
        }
        if skb.pcount == 1 && !is_syn && self.larger_than_way(cx, len) {
            return false; // EMSGSIZE
        }
        if cx.queue_full {
            self.enter_cwr(cx); // local congestion
            return false;
        }
        skb.sent = cx.now;
        self.rate_sent(skb);
        self.update_departure(cx, len);
        let mss = if skb.mss > 0 { skb.mss } else { u16::MAX };
        let segment = OutSegment { header, payload: Bytes::new(), mss, ect, without_socket: false };
        if len > 0 && self.notes.is_some() {
            let first = skb.seq + u32::from(is_syn);
            let payload = self.data.slice(first, len as usize);
            self.notes_sent(cx, first, &payload);
        }
        self.push_segments(cx, segment, is_syn, len);
        true
    }

    /// Hands an entry's `len` bytes over, cut where they do not stand in one piece: at whole segments, so that the wire
    /// shows no difference.
    fn push_segments(&mut self, cx: &mut Cx<'_>, whole: OutSegment, is_syn: bool, len: u32) {
        let first = whole.header.seq + u32::from(is_syn);
        let mut at = 0;
        if len == 0 {
            cx.segments.push(whole);
            return;
        }
        loop {
            let mut segment = whole.clone();
            let left = len - at;
            let mut n = left;
            let mss = u32::from(whole.mss);
            let near = u32::try_from(self.data.contiguous(first + at)).unwrap_or(u32::MAX);
            if near < left {
                n = (near / mss).max(1).saturating_mul(mss).min(left);
            }
            segment.payload = self.data.slice(first + at, n as usize); // 32 bits
            if at > 0 {
                segment.header.seq += at;
                segment.header.flags = segment.header.flags - Flags::CWR;
            }
            at += n;
            if at < len {
                segment.header.flags = segment.header.flags - (Flags::FIN | Flags::PSH);
            }
            cx.segments.push(segment);
            if at >= len {
                break;
            }
        }
    }

    /// `tcp_update_skb_after_send`: when the next packet may leave.
    fn update_departure(&mut self, cx: &Cx<'_>, len: u32) {
        // The first ten go unpaced.
        if self.pacing_needed
            && self.pacing_rate > 0
            && self.totals.data_segs_out >= super::cc::INITIAL_WINDOW
        {
            let ns = u64::from(len) * 1_000_000_000 / self.pacing_rate;
            // Credit for being late, at most half the gap (Linux takes it off twice at most).
            let late = cx.now - self.next_departure.min(cx.now);
            let gap = core::time::Duration::from_nanos(ns);
            let credit = late.min(gap / 2);
            self.next_departure = cx.now.max(self.next_departure) + (gap - credit);
        } else {
            self.next_departure = cx.now;
        }
    }

    /// `tcp_event_data_sent`
    fn event_data_sent(&mut self, cx: &mut Cx<'_>) {
        if self.in_flight() == 0 {
            self.with_cc(cx, |cc, c| cc.cwnd_event(c, super::cc::CaEvent::TxStart));
        }
        self.last_sent = cx.now;
        // A reply within the delayed ACK time: the traffic is interactive.
        if cx.now - self.ack.last_received < self.ack.ato {
            self.ack.pingpong = self.ack.pingpong.saturating_add(1);
        }
    }

    /// `tcp_event_ack_sent`: whatever carries an ACK pays what is owed.
    fn event_ack_sent(&mut self) {
        self.rx.compressed_ack = 0;
        self.clear_compressed_ack();
        // tcp_dec_quickack_mode: only ACKs for something count.
        if self.ack.quick > 0 && self.ack.scheduled {
            self.ack.quick -= 1;
            if self.ack.quick == 0 {
                self.ack.ato = super::rx::ackpolicy::ATO_MIN;
            }
        }
        self.ack.clear_scheduled();
        self.clear_delayed_ack();
    }

    /// `tcp_acceptable_seq`: a number that the peer takes though its window has shrunk; less than one step of its scale does
    /// not count as shrunk.
    fn acceptable_seq(&self) -> SeqNum {
        let beyond = self.snd.nxt - self.wnd_end();
        let rounding = if self.opts.wscale { 1 << self.rcv.wscale } else { 1 };
        if beyond < rounding { self.snd.nxt } else { self.wnd_end() }
    }

    /// `tcp_send_ack`
    pub(crate) fn send_ack(&mut self, cx: &mut Cx<'_>) {
        if self.state != State::Close {
            self.send_control(cx, self.acceptable_seq(), Flags::ACK);
        }
    }

    /// A segment without data at `seq`; it takes no place in any queue.
    pub(crate) fn send_control(&mut self, cx: &mut Cx<'_>, seq: SeqNum, flags: Flags) {
        let options = self.established_options(cx);
        let window = self.select_window(cx);
        let mut flags = flags;
        if self.opts.ecn && self.ecn.demand_cwr && flags.contains(Flags::ACK) {
            flags = flags.with(Flags::ECE);
        }
        let mut header = self.header(seq, flags, window, options);
        if self.snd.urg_mode {
            self.set_urgent(&mut header, seq);
        }
        self.event_ack_sent();
        cx.count(Counter::TcpOutSegs);
        self.totals.segs_out += 1;
        cx.segments.push(OutSegment {
            header,
            payload: Bytes::new(),
            mss: u16::MAX,
            ect: false,
            without_socket: false,
        });
    }

    /// `tcp_send_active_reset`
    pub(crate) fn send_active_reset(&mut self, cx: &mut Cx<'_>) {
        cx.count(Counter::TcpOutRsts);
        let seq = self.acceptable_seq();
        let options = self.established_options(cx);
        let window = self.select_window(cx);
        let mut header = self.header(seq, Flags::RST.with(Flags::ACK), window, options);
        if self.snd.urg_mode {
            self.set_urgent(&mut header, seq);
        }
        cx.count(Counter::TcpOutSegs);
        self.totals.segs_out += 1;
        cx.segments.push(OutSegment {
            header,
            payload: Bytes::new(),
            mss: u16::MAX,
            ect: false,
            without_socket: false,
        });
    }

    /// `tcp_urg_mode`: an urgent byte waits for its acknowledgment.
    pub(crate) fn urgent_mode(&self) -> bool {
        self.snd.urg_mode && self.snd.una != self.snd.up
    }

    /// Marks the segment that reaches the urgent byte.
    fn set_urgent(&self, header: &mut Header, seq: SeqNum) {
        let up = self.snd.up;
        if !seq.before(up) {
            return;
        }
        if up.between(seq + 1, seq + 0xffff) {
            header.urgent = u16::try_from(up - seq).expect("below 2^16");
            header.flags = header.flags.with(Flags::URG);
        } else if (seq + 0xffff).after(self.snd.nxt) {
            header.urgent = 0xffff;
            header.flags = header.flags.with(Flags::URG);
        }
    }
}
