//! Active open: SYN, and the answer to it (RFC 9293 §3.10.7.3). Linux: tcp_output.c `tcp_connect`; tcp_input.c
//! `tcp_rcv_synsent_state_process`, `tcp_finish_connect`, `tcp_init_transfer`.

use std::net::SocketAddr;

use wire::tcp::{Flags, SeqNum};

use super::cc::INITIAL_WINDOW;
use super::cx::Cx;
use super::input::Segment;
use super::options::Offered;
use super::recovery::Recovery;
use super::rto::INITIAL_RTO;
use super::rx::window::{DEFAULT_SCALING_RATIO, initial_window, window_from_space};
use super::send_buffer::SendBuffer;
use super::skb::Skb;
use super::tcb::{Negotiated, Rcv, Snd, State, Tcb, Ts};
use crate::mib::Counter;
use crate::socket::{SKB_SHARED, SKB_STRUCT};
use crate::{DropReason, Errno, KernelProfile};

/// What a connection is made from.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) iss: SeqNum,
    pub(crate) ts_offset: u32,
    /// Path MTU, and the MSS that the route's interface allows to advertise.
    pub(crate) path_mtu: u32,
    /// What the route says about paths by it.
    pub(crate) way: crate::route::Metrics,
    pub(crate) advmss: u16,
    pub(crate) sndbuf: u32,
    pub(crate) sndbuf_locked: bool,
    pub(crate) rcvbuf: u32,
    pub(crate) rcvbuf_locked: bool,
    pub(crate) cc: super::cc::Cc,
    pub(crate) user: super::shared::Shared<super::tcb::UserOptions>,
    pub(crate) nagle: super::tcb::Nagle,
    pub(crate) user_mss: u16,
    pub(crate) rcvlowat: u32,
}

impl Tcb {
    /// A closed connection with everything set that does not depend on the peer (`tcp_init_sock`,
    /// `tcp_connect_init`).
    pub(crate) fn new(sysctl: &crate::sysctl::Globals, now: wire::Instant, seed: Seed) -> Tcb {
        let reordering = u32::try_from(sysctl.tcp_reordering).unwrap_or(3);
        let iss = seed.iss;
        let pacing_needed = seed.user.max_pacing_rate.is_some();
        let mut tcb = Tcb {
            local: seed.local,
            remote: seed.remote,
            state: State::Close,
            chrono: super::chrono::Chronograph::default(),
            snd: Snd {
                una: iss,
                nxt: iss,
                iss,
                up: iss,
                write_seq: iss,
                pushed_seq: iss,
                sml: iss,
                ..Snd::default()
            },
            rcv: Rcv { advmss: seed.advmss, ..Rcv::default() },
            ts: Ts { offset: seed.ts_offset, ..Ts::default() },
            ack: super::tcb::AckState::default(),
            nagle: seed.nagle,
            opts: Negotiated { mss_clamp: u16::MAX, user_mss: seed.user_mss, ..Negotiated::default() },
            ecn: super::tcb::Ecn::default(),
            totals: super::tcb::Totals::default(),
            user: seed.user,
            mss: super::options::DEFAULT_MSS,
            gso_segs: 0,
            path_mtu: seed.path_mtu,
            way: seed.way,
            mtup: super::mtuprobe::MtuProbe::default(),
            data: SendBuffer::at(iss),
            unsent: std::collections::VecDeque::new(),
            rtx: super::rtx::RtxQueue::default(),
            sndbuf: seed.sndbuf,
            sndbuf_locked: seed.sndbuf_locked,
            no_space: core::cell::Cell::new(false),
            mem_pages: 0,
            notes: None,
            rtt: super::rtt::RttEstimator {
                mdev_us4: u32::try_from(INITIAL_RTO.as_micros()).expect("a second"),
                ..super::rtt::RttEstimator::default()
            },
            window: super::cc::Window::default(),
            cwnd_usage_seq: iss,
            cc: seed.cc,
            recovery: Recovery::new(reordering),
            rto: INITIAL_RTO,
            backoff: 0,
            retransmits: 0,
            probes_out: 0,
            retrans_stamp: None,
            probes_stamp: None,
            pacing_rate: u64::MAX,
            pacing_needed,
            next_departure: wire::Instant::ZERO,
            last_sent: now,
            rx: super::rx::RxQueues {
                rcvbuf: seed.rcvbuf,
                rcvbuf_locked: seed.rcvbuf_locked,
                rcvlowat: seed.rcvlowat,
                scaling_ratio: DEFAULT_SCALING_RATIO,
                ..super::rx::RxQueues::default()
            },
            rx_done: false,
            last_oow_ack: None,
            urg_in: super::urgent::UrgentIn::None,
            shutdown_rd: false,
            shutdown_wr: false,
            orphan: false,
            orphan_counted: false,
            error: None,
            soft_error: None,
            last_ack_received: now,
            timers: super::timer::Timers::default(),
            fo: super::fastopen::FastOpen::default(),
            writer_waits: false,
        };
        if seed.user_mss > 0 {
            tcb.opts.mss_clamp = seed.user_mss;
            tcb.rcv.advmss = tcb.rcv.advmss.min(seed.user_mss);
        }
        tcb
    }

    /// The end of `tcp_v4_connect`: the SYN, with what `open` wants to send, or later with the first write.
    pub(crate) fn connect_with(&mut self, cx: &mut Cx<'_>, open: Option<super::fastopen::Request>) {
        let fresh = !self.fo.deferred;
        self.fo.request = open.map(Box::new);
        if fresh && self.fo.connect && self.fo.request.is_none() && self.fastopen_defer_connect(cx) {
            self.set_state(cx, State::SynSent);
            return;
        }
        self.connect(cx);
    }

    /// Sends the SYN (`tcp_connect`).
    pub(crate) fn connect(&mut self, cx: &mut Cx<'_>) {
        self.set_state(cx, State::SynSent);
        self.mtu_probe_init(cx);
        let mtu = self.path_mtu;
        self.sync_mss(cx, mtu);
        let space = window_from_space(self.rx.rcvbuf, self.rx.scaling_ratio);
        self.ts.offered = cx.sysctl.tcp_timestamps != 0;
        // The first window is cut to whole segments of the advertised size, options not counted.
        let first = initial_window(
            cx.sysctl,
            space,
            u32::from(self.rcv.advmss),
            self.user.window_clamp,
            cx.sysctl.tcp_window_scaling != 0,
            self.rx.rcvbuf_locked,
        )
        .at_most(self.way.initrwnd, u32::from(self.rcv.advmss));
        self.initialize_rcv_mss(); // the window is not known yet: the least
        self.rcv.wnd = first.rcv_wnd;
        self.rcv.ssthresh = first.rcv_wnd;
        self.rcv.window_clamp = first.window_clamp;
        self.rcv.wscale = first.wscale;
        self.rto = INITIAL_RTO;
        let mut skb = Skb::at(self.snd.write_seq);
        // tcp_ecn_send_syn
        let ecn = if cx.sysctl.tcp_ecn == 1 { Flags::ECE.with(Flags::CWR) } else { Flags::NONE };
        self.ecn.offered = ecn != Flags::NONE;
        skb.flags = Flags::SYN.with(ecn);
        skb.end_seq = skb.seq + 1;
        skb.set_segments(self.mss);
        self.snd.write_seq = skb.end_seq;
        self.data.skip_to(skb.end_seq);
        self.retrans_stamp = Some(cx.now);
        let mut data = None;
        if self.fo.request.is_some() {
            data = self.send_syn_data(cx, &mut skb);
        } else {
            self.transmit_skb(cx, &mut skb);
        }
        self.snd.nxt = self.snd.write_seq;
        self.snd.pushed_seq = self.snd.write_seq;
        for entry in [Some(skb), data].into_iter().flatten() {
            self.recovery.packets_out += 1;
            self.rtx.push_back(entry);
        }
        cx.count(Counter::TcpActiveOpens);
        let rto = self.rto;
        self.arm_retransmit(cx, super::timer::Pending::Retransmit, rto);
    }

    /// A segment in SYN-SENT.
    pub(crate) fn syn_sent_process(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Result<(), DropReason> {
        let flags = seg.header.flags;
        let absent = match self.opts.mss_clamp {
            u16::MAX => super::options::default_mss(self.remote.ip()),
            known => known,
        };
        let offered = Offered::read(&seg.header.options, cx.sysctl, self.opts.user_mss, absent);
        self.ts.saw = offered.timestamps.is_some();
        if let Some(ts) = offered.timestamps {
            self.ts.rcv_tsval = ts.val;
            self.ts.rcv_tsecr = ts.ecr;
        }
        if flags.contains(Flags::ACK) {
            return self.syn_sent_ack(cx, seg, &offered);
        }
        if flags.rst() {
            return Err(DropReason::TcpReset);
        }
        // tcp_paws_reject can not apply before ts_recent is known.
        if flags.syn() {
            return self.simultaneous_open(cx, seg, &offered);
        }
        Err(DropReason::TcpFlags)
    }

    fn syn_sent_ack(
        &mut self,
        cx: &mut Cx<'_>,
        seg: &mut Segment,
        offered: &Offered,
    ) -> Result<(), DropReason> {
        // First: the acknowledgment must be of our SYN.
        if !seg.ack.after(self.snd.una) || seg.ack.after(self.snd.nxt) {
            if self.retransmits == 0 {
                // An old connection of the peer: reset it and try again at once.
                self.arm_retransmit(cx, super::timer::Pending::Retransmit, cx.timeout_min());
            }
            super::reset::reply_reset(cx, seg);
            return Err(DropReason::TcpInvalidAckSequence);
        }
        if let Some(ts) = offered.timestamps.filter(|t| t.ecr != 0) {
            let now = cx.clock_ms().wrapping_add(self.ts.offset);
            let first =
                super::cx::clock_ms(self.retrans_stamp.unwrap_or(cx.now)).wrapping_add(self.ts.offset);
            if !SeqNum(ts.ecr).between(SeqNum(first), SeqNum(now)) {
                cx.count(Counter::TcpExtPAWSActive);
                if self.retransmits == 0 {
                    self.arm_retransmit(cx, super::timer::Pending::Retransmit, cx.timeout_min());
                }
                super::reset::reply_reset(cx, seg);
                return Err(DropReason::TcpRfc7323Paws);
            }
        }
        let flags = seg.header.flags;
        if flags.rst() {
            self.reset_by_peer(cx, Some(seg));
            return Err(DropReason::TcpReset);
        }
        if !flags.syn() {
            return Err(DropReason::TcpFlags);
        }
        self.ecn_receive_synack(cx, flags);
        self.snd.wl1 = seg.seq;
        self.try_undo_spurious_syn();
        self.rcv_synack(cx, seg, offered)?;
        Ok(())
    }

    /// `tcp_try_undo_spurious_syn`: the first SYN (or SYN-ACK) was answered after all; the timeout was for nothing.
    pub(crate) fn try_undo_spurious_syn(&mut self) {
        let Some(first) = self.retrans_stamp.filter(|_| self.ts.saw) else { return };
        if super::cx::clock_ms(first) == self.ts.rcv_tsecr.wrapping_sub(self.ts.offset) {
            self.recovery.undo_marker = None;
        }
    }

    /// `tcp_ecn_rcv_synack`
    fn ecn_receive_synack(&mut self, cx: &Cx<'_>, flags: Flags) {
        self.opts.ecn = cx.sysctl.tcp_ecn == 1 && flags.contains(Flags::ECE) && !flags.contains(Flags::CWR);
        self.ecn.offered = false;
    }

    fn rcv_synack(
        &mut self,
        cx: &mut Cx<'_>,
        seg: &mut Segment,
        offered: &Offered,
    ) -> Result<(), DropReason> {
        self.opts.sack = offered.sack;
        let had_timestamps = offered.timestamps.is_some();
        self.ts.ok = had_timestamps;
        let ack_flags = super::ack::AckFlags { slowpath: true, ..super::ack::AckFlags::default() };
        self.process_ack(cx, seg, ack_flags)?;
        self.rcv.nxt = seg.seq + 1;
        self.rcv.irs = seg.seq;
        self.rcv.wup = seg.seq + 1;
        // The window of a SYN-ACK is never scaled (RFC 7323 §2.2).
        self.snd.wnd = u32::from(seg.header.window);
        match offered.wscale {
            Some(scale) => {
                self.opts.wscale = true;
                self.snd.wscale = scale;
            }
            None => {
                self.opts.wscale = false;
                self.rcv.wscale = 0;
                self.rcv.window_clamp = self.rcv.window_clamp.min(65_535);
            }
        }
        if had_timestamps {
            self.rcv.advmss = self.rcv.advmss.saturating_sub(12);
            self.store_ts_recent(cx);
        }
        self.adopt_mss(cx, offered.mss);
        self.initialize_rcv_mss();
        self.rcv.copied_seq = self.rcv.nxt;
        self.rx.space_seq = self.rcv.nxt;
        self.rx.space_time = cx.now;
        self.finish_connect(cx);
        cx.wake.changed = true;
        cx.wake.writable = true;
        if (self.fo.option_sent || self.fo.syn_data) && self.rcv_fastopen_synack(cx, seg) {
            self.data_snd_check(cx);
            return Ok(());
        }
        let write_pending = self.writer_waits
            || !self.unsent.is_empty()
            || self.user.defer_accept > 0
            || self.ack.nodelay_forced;
        if write_pending {
            // Save one ACK: data will be ready shortly.
            self.ack.scheduled = true;
            self.enter_quickack_mode(cx, super::rx::ackpolicy::MAX_QUICKACKS);
            let at = cx.granularity.fire_at(cx.now, super::rx::ackpolicy::DELACK_MAX);
            self.ack.timeout = cx.now + super::rx::ackpolicy::DELACK_MAX;
            self.arm_delayed_ack(cx, at);
            self.data_snd_check(cx);
        } else {
            self.send_ack(cx);
            self.urgent_arrives(cx, seg);
            self.data_snd_check(cx);
        }
        Ok(())
    }

    /// The peer's MSS becomes ours.
    pub(crate) fn adopt_mss(&mut self, cx: &mut Cx<'_>, offered: u16) {
        self.opts.mss_clamp = offered;
        self.mtu_probe_init(cx);
        let mtu = self.path_mtu;
        self.sync_mss(cx, mtu);
    }

    /// `tcp_finish_connect`
    fn finish_connect(&mut self, cx: &mut Cx<'_>) {
        if self.rtx.is_empty() {
            self.rtx = super::rtx::RtxQueue::default(); // an idle connection should be small
        }
        self.set_state(cx, State::Established);
        self.last_ack_received = cx.now;
        self.ack.last_received = cx.now;
        self.init_transfer(cx);
        self.last_sent = cx.now;
        self.start_keepalive(cx);
    }

    /// `tcp_init_transfer`: window, congestion control and buffers before the first data.
    pub(crate) fn init_transfer(&mut self, cx: &mut Cx<'_>) {
        self.init_metrics(cx);
        // RFC 5681: one packet after more than one SYN or SYN-ACK was lost (TRUTH 12c).
        let lossy = self.recovery.undo_marker.is_some() && self.totals.total_retrans > 1;
        self.window.cwnd = if lossy { 1 } else { self.initial_window() };
        self.window.used_stamp = cx.now;
        self.snd.max_window = self.snd.max_window.max(self.snd.wnd);
        self.pacing_needed = self.pacing_needed || self.cc.needs_pacing();
        self.with_cc(cx, |cc, c| cc.init(c));
        self.init_buffer_space(cx);
    }

    /// `tcp_init_cwnd`: ten packets unless the route says `initcwnd`.
    pub(crate) fn initial_window(&self) -> u32 {
        if self.way.initcwnd > 0 { self.way.initcwnd } else { INITIAL_WINDOW }
    }

    /// `tcp_rto_min_us`: the route's `rto_min`, else the sysctl.
    pub(crate) fn rto_min_us(&self, cx: &Cx<'_>) -> u32 {
        match self.way.rto_min_ms {
            0 => u32::try_from(cx.sysctl.tcp_rto_min_us).unwrap_or(200_000),
            ms => ms.saturating_mul(1000),
        }
    }

    /// `tcp_init_buffer_space`
    fn init_buffer_space(&mut self, cx: &Cx<'_>) {
        if !self.sndbuf_locked {
            self.expand_sndbuf(cx);
        }
        self.rx.space_time = cx.now;
        self.rx.space_seq = self.rcv.copied_seq;
        let max = self.full_space();
        let advmss = u32::from(self.rcv.advmss);
        let app_win = u32::from(cx.sysctl.tcp_app_win);
        if self.rcv.window_clamp >= max {
            self.rcv.window_clamp = max;
            if app_win > 0 && max > 4 * advmss {
                self.rcv.window_clamp = (max - (max >> app_win)).max(4 * advmss);
            }
        }
        // One segment is kept in reserve.
        let clamp = self.rcv.window_clamp;
        if app_win > 0 && clamp > 2 * advmss && clamp + advmss > max {
            self.rcv.window_clamp = (max - advmss).max(2 * advmss);
        }
        self.rcv.ssthresh = self.rcv.ssthresh.min(self.rcv.window_clamp);
        self.rx.space = self.rcv.ssthresh.min(self.rcv.wnd).min(INITIAL_WINDOW * advmss);
    }

    /// `tcp_sndbuf_expand`
    pub(crate) fn expand_sndbuf(&mut self, cx: &Cx<'_>) {
        let room = max_tcp_header(cx.profile) + SKB_SHARED;
        let per_mss = (u32::from(self.mss.max(self.opts.mss_clamp)) + room).next_power_of_two() + SKB_STRUCT;
        let packets = INITIAL_WINDOW.max(self.window.cwnd).max(self.recovery.reordering + 1);
        let want = self.cc.sndbuf_expand().saturating_mul(packets).saturating_mul(per_mss);
        if self.sndbuf < want {
            let most = u32::try_from(cx.sysctl.tcp_wmem[2]).unwrap_or(u32::MAX);
            self.sndbuf = want.min(most).max(self.sndbuf);
        }
    }

    /// `tcp_initialize_rcv_mss`
    pub(crate) fn initialize_rcv_mss(&mut self) {
        let wnd = u16::try_from(self.rcv.wnd / 2).unwrap_or(u16::MAX);
        let hint = self.rcv.advmss.min(self.mss).min(wnd);
        self.ack.rcv_mss = hint.clamp(88, super::options::DEFAULT_MSS);
    }

    /// Both SYNs crossed (RFC 9293 §3.5, figure 7).
    fn simultaneous_open(
        &mut self,
        cx: &mut Cx<'_>,
        seg: &mut Segment,
        offered: &Offered,
    ) -> Result<(), DropReason> {
        self.set_state(cx, State::SynRecv);
        self.ts.ok = offered.timestamps.is_some();
        if self.ts.ok {
            self.store_ts_recent(cx);
        }
        self.opts.sack = offered.sack;
        self.opts.wscale = offered.wscale.is_some();
        // Our own scale stays as it was offered, even to a peer without (the atlas).
        self.snd.wscale = offered.wscale.unwrap_or(0);
        self.rcv.nxt = seg.seq + 1;
        self.rcv.irs = seg.seq;
        self.rcv.copied_seq = self.rcv.nxt;
        self.rcv.wup = seg.seq + 1;
        self.snd.wnd = u32::from(seg.header.window);
        self.snd.wl1 = seg.seq;
        self.snd.max_window = self.snd.wnd;
        let flags = seg.header.flags;
        self.opts.ecn = cx.sysctl.tcp_ecn == 1 && flags.contains(Flags::ECE) && flags.contains(Flags::CWR);
        self.ecn.offered = false;
        self.adopt_mss(cx, offered.mss);
        self.initialize_rcv_mss();
        self.send_syn_ack(cx);
        Ok(())
    }

    /// `tcp_send_synack`: our SYN again, now with ACK.
    fn send_syn_ack(&mut self, cx: &mut Cx<'_>) {
        let Some(head) = self.rtx.at_mut(0).filter(|h| h.flags.syn()) else { return };
        head.flags = head.flags.with(Flags::ACK);
        let mut skb = *head;
        self.transmit_skb(cx, &mut skb);
        *self.rtx.at_mut(0).expect("there") = skb;
        let slot = self.rtx.slot_at(0).expect("there");
        self.rtx.touch(slot);
    }

    /// `tcp_ld_RTO_revert`: a router said "unreachable" for what we resent: the silence was no congestion, so the
    /// back-off is taken back (RFC 6069, TRUTH 5aI).
    pub(crate) fn revert_backoff(&mut self, cx: &mut Cx<'_>, seq: SeqNum) {
        if seq != self.snd.una || self.retransmits == 0 || self.backoff == 0 {
            return;
        }
        let Some(head) = self.rtx.head().copied() else { return };
        self.backoff -= 1;
        if self.rtt.srtt_us8 > 0 {
            self.set_rto(cx);
        } else {
            self.rto = INITIAL_RTO;
        }
        self.rto = (self.rto * (1 << u32::from(self.backoff.min(16)))).min(super::rto::rto_max(cx.sysctl));
        // In jiffies, each rounded up: what was sent just now has waited for one.
        let (rto, elapsed) = (cx.ticks(self.rto), cx.ticks(cx.now - head.sent));
        if rto > elapsed {
            let left = rto - elapsed;
            self.arm_retransmit(cx, super::timer::Pending::Retransmit, left);
        } else {
            self.retransmit_timeout(cx);
        }
    }

    /// ICMP answered (`tcp_v4_err`): hard errors end a connection attempt at once.
    /// `accepted`: a program holds it already.
    pub(crate) fn icmp_error(&mut self, cx: &mut Cx<'_>, errno: Errno, hard_enough: bool, accepted: bool) {
        match self.state {
            // A Fast Open connection that was accepted counts as connected.
            State::SynRecv if self.fo.server_pending() && accepted => self.soft_error = Some(errno),
            State::SynSent | State::SynRecv => self.fail(cx, errno),
            _ if hard_enough => {
                self.error = Some(errno);
                cx.wake.changed = true;
            }
            _ => self.soft_error = Some(errno),
        }
    }
}

/// `MAX_TCP_HEADER`, which the kernel's configuration decides: 46,080 bytes of send buffer were measured on 6.18, 87,040
/// fit what the 6.12 twin did (10a: 40,000 bytes queued) and what distributions' kernels show.
fn max_tcp_header(profile: KernelProfile) -> u32 {
    if profile >= KernelProfile::V6_18 { 192 } else { 320 }
}
