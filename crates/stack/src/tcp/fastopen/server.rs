//! The server: a connection made from a SYN, used before its third ACK comes.
//!
//! Linux: tcp_fastopen.c `tcp_try_fastopen`, `tcp_fastopen_create_child`, `reqsk_fastopen_remove`; tcp_minisocks.c
//! `tcp_check_req`; tcp_timer.c `tcp_fastopen_synack_timer`; tcp_input.c `tcp_rcv_synrecv_state_fastopen`.

use core::time::Duration;

use wire::tcp::{Flags, SeqNum, Timestamps};
use wire::{Bytes, Instant};

use super::keys::{Keys, Match};
use super::{Cookie, SERVER_COOKIE_NOT_REQD, SERVER_ENABLE};
use crate::mib::Counter;
use crate::tcp::cc::CaState;
use crate::tcp::cx::{Cx, OutSegment};
use crate::tcp::input::Segment;
use crate::tcp::listen::Syn;
use crate::tcp::request::RequestSock;
use crate::tcp::rto::INITIAL_RTO;
use crate::tcp::tcb::{State, Tcb};
use crate::tcp::timer::Pending;
use crate::{DropReason, KernelProfile, Stack};

/// How long a connection that a RST ended counts against the queue: a defence against forged sources.
const RESET_STAYS: Duration = Duration::from_secs(60);

/// A connection needs its request no longer: the handshake is complete, or will never be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Removed {
    listener: u32,
    listener_serial: u32,
    /// A RST ended it.
    reset: bool,
}

impl Stack {
    /// `tcp_fastopen_init_key_once`
    pub(crate) fn fastopen_init_key(&mut self) {
        if self.sysctl.ns.tcp_fastopen_key.is_none() {
            std::sync::Arc::make_mut(&mut self.sysctl.ns).tcp_fastopen_key = Keys::random(&mut self.tcp.rng);
        }
    }

    /// `tcp_fastopen_queue_check`
    fn fastopen_queue_check(&mut self, now: Instant, listener: u32) -> bool {
        let sock = &mut self.tcp.socks[listener];
        let max = sock.prep.fastopen.max_qlen;
        if max == 0 {
            return false;
        }
        let queue = &mut sock.listener.as_mut().expect("a listener").fastopen;
        if queue.qlen >= max {
            if queue.reset.front().is_none_or(|until| *until > now) {
                self.mib.inc(Counter::TcpExtTCPFastOpenListenOverflow);
                return false;
            }
            queue.reset.pop_front();
            queue.qlen -= 1;
        }
        true
    }

    /// `tcp_try_fastopen`: whether the SYN opened a connection. What the SYN-ACK otherwise says is in `cookie` then.
    pub(in crate::tcp) fn try_fastopen(
        &mut self,
        now: Instant,
        syn: &Syn<'_>,
        req: &RequestSock,
        cookie: &mut Cookie,
    ) -> bool {
        if cookie.is_request() {
            self.mib.inc(Counter::TcpExtTCPFastOpenCookieReqd);
        }
        let mode = self.sysctl.ns.tcp_fastopen;
        let wanted = syn.seg.payload_len > 0 || cookie.is_some();
        if mode & SERVER_ENABLE == 0 || !wanted || !self.fastopen_queue_check(now, syn.listener) {
            *cookie = Cookie::NONE;
            return false;
        }
        let prep = &self.tcp.socks[syn.listener].prep.fastopen;
        let free = mode & SERVER_COOKIE_NOT_REQD != 0 || prep.no_cookie;
        let keys = prep.keys.as_deref().copied().unwrap_or(self.sysctl.ns.tcp_fastopen_key);
        let (client, server) = (req.remote.ip(), req.local.ip());
        let mut answer = Cookie::NONE;
        let mut matched = None;
        if !free && cookie.is_some() {
            answer = keys.cookie(client, server).unwrap_or(Cookie::NONE);
            answer.experimental = cookie.experimental;
        }
        if !free && cookie.is_cookie() {
            matched = keys.check(cookie, client, server);
            if matched.is_none() {
                self.mib.inc(Counter::TcpExtTCPFastOpenPassiveFail);
            }
        }
        if free || matched.is_some() {
            // A cookie of the old key is replaced by one of the new.
            let with = if matched == Some(Match::Backup) { answer } else { Cookie::NONE };
            if self.fastopen_child(now, syn, req, &with) {
                if matched == Some(Match::Backup) {
                    self.mib.inc(Counter::TcpExtTCPFastOpenPassiveAltKey);
                }
                self.mib.inc(Counter::TcpExtTCPFastOpenPassive);
                return true;
            }
            self.mib.inc(Counter::TcpExtTCPFastOpenPassiveFail);
        }
        *cookie = answer;
        false
    }

    /// `tcp_fastopen_create_child`
    fn fastopen_child(&mut self, now: Instant, syn: &Syn<'_>, req: &RequestSock, cookie: &Cookie) -> bool {
        let Some((id, mtu)) = self.create_child(now, syn.listener, req, None, syn.meta.ifindex, syn.seg)
        else {
            return false;
        };
        let queue = self.tcp.socks[syn.listener].listener.as_mut().expect("a listener");
        queue.accept.push_back(id);
        queue.fastopen.qlen += 1;
        self.record_child(now, id);
        let mut seg = syn.seg.clone();
        self.tcp_step(now, id, |tcb, cx| tcb.fastopen_open(cx, mtu, req, &mut seg, cookie));
        self.wake_listener(syn.listener);
        true
    }

    /// `reqsk_fastopen_remove`: the listener's part.
    pub(in crate::tcp) fn fastopen_removed(&mut self, now: Instant, id: u32, removed: Removed) {
        let accepted = self.tcp.socks.get(id).is_none_or(|s| s.parent.is_none());
        let Some(sock) = self.tcp.socks.get_mut(removed.listener) else { return };
        if sock.serial != removed.listener_serial {
            return;
        }
        let Some(listener) = &mut sock.listener else { return };
        let queue = &mut listener.fastopen;
        queue.qlen -= 1;
        if accepted && removed.reset {
            queue.reset.push_back(now + RESET_STAYS);
            queue.qlen += 1;
        }
    }
}

impl Tcb {
    /// The connection begins: its SYN-ACK, its timer, the SYN's data.
    fn fastopen_open(
        &mut self,
        cx: &mut Cx<'_>,
        mtu: u32,
        req: &RequestSock,
        seg: &mut Segment,
        cookie: &Cookie,
    ) {
        cx.count(Counter::TcpPassiveOpens);
        self.sync_mss(cx, mtu);
        self.mtu_probe_init(cx);
        self.initialize_rcv_mss();
        self.start_keepalive(cx);
        self.fo.pending = Some(Box::new(req.clone()));
        self.fo.child = cx.profile >= KernelProfile::V6_18; // TCPI_OPT_TFO_CHILD is of 6.16
        // The window of a SYN is never scaled.
        self.snd.wnd = u32::from(seg.header.window);
        self.snd.max_window = self.snd.wnd;
        self.arm_retransmit(cx, Pending::Retransmit, INITIAL_RTO);
        self.init_transfer(cx);
        self.fastopen_add_data(cx, seg);
        self.rcv.wup = self.rcv.nxt;
        let rcv_nxt = self.rcv.nxt;
        self.fo.pending.as_mut().expect("just made").rcv_nxt = rcv_nxt;
        self.fastopen_send_synack(cx, cookie);
    }

    fn fastopen_send_synack(&mut self, cx: &mut Cx<'_>, cookie: &Cookie) {
        let Some(req) = &mut self.fo.pending else { return };
        cx.count(Counter::TcpOutSegs);
        let segment = req.synack(cx.now, cookie);
        cx.segments.push(segment);
    }

    /// `tcp_rtx_synack`
    fn fastopen_resend_synack(&mut self, cx: &mut Cx<'_>) {
        cx.count(Counter::TcpRetransSegs);
        cx.count(Counter::TcpExtTCPSynRetrans);
        self.fastopen_send_synack(cx, &Cookie::NONE);
        self.totals.total_retrans += 1;
        if let Some(req) = &mut self.fo.pending {
            req.num_retrans = req.num_retrans.saturating_add(1);
        }
    }

    /// `reqsk_fastopen_remove`
    pub(crate) fn fastopen_remove(&mut self, cx: &mut Cx<'_>, reset: bool) {
        if let Some(req) = self.fo.pending.take() {
            let RequestSock { listener, listener_serial, .. } = *req;
            cx.fastopen_removed = Some(Removed { listener, listener_serial, reset });
        }
    }

    /// `tcp_fastopen_synack_timer`: until the third ACK comes nothing but the SYN-ACK is repeated.
    pub(crate) fn fastopen_synack_timeout(&mut self, cx: &mut Cx<'_>) {
        cx.count(Counter::TcpExtTCPTimeouts);
        let own = self.user.syn_retries;
        let most = if own > 0 { own } else { cx.sysctl.tcp_synack_retries.saturating_add(1) };
        let timeouts = self.fo.pending.as_ref().expect("the caller looked").num_timeout;
        if timeouts >= most {
            self.write_error(cx);
            return;
        }
        if self.retransmits == 1 {
            self.enter_loss(cx);
        }
        self.fastopen_resend_synack(cx);
        self.fo.pending.as_mut().expect("as above").num_timeout += 1;
        self.update_rto_stats(cx);
        self.retrans_stamp = self.retrans_stamp.or(Some(cx.now));
        let delay = INITIAL_RTO * (1 << u32::from(timeouts + 1).min(16));
        self.arm_retransmit(cx, Pending::Retransmit, delay);
    }

    /// `tcp_check_req` with `fastopen`: a segment before the third ACK.
    pub(crate) fn fastopen_check(&mut self, cx: &mut Cx<'_>, seg: &Segment) -> Result<(), DropReason> {
        let req = self.fo.pending.as_ref().expect("the caller looked");
        let mut flags = seg.header.flags;
        let ts = seg.header.options.timestamps().filter(|_| cx.sysctl.tcp_timestamps != 0);
        let paws = ts.is_some_and(|t| req.ts_recent.wrapping_sub(t.val) as i32 > 0) && !flags.rst();
        let some = Flags(flags.0 & (Flags::SYN | Flags::ACK | Flags::RST).0);
        if seg.seq == req.rcv_isn && some == Flags::SYN && !paws {
            if !self.fastopen_limited(cx, seg) {
                self.fastopen_resend_synack(cx);
            }
            return Err(DropReason::TcpFastopen);
        }
        let end = req.rcv_nxt + req.rcv_wnd;
        // tcp_in_window
        let inside = seg.seq == req.rcv_nxt
            || (seg.end_seq.after(req.rcv_nxt) && seg.seq.before(end))
            || (seg.seq == end && seg.seq == seg.end_seq);
        if paws || !inside {
            if !flags.rst() && !self.fastopen_limited(cx, seg) {
                self.fastopen_send_ack(cx);
            }
            if paws {
                cx.count(Counter::TcpExtPAWSEstab);
                return Err(DropReason::TcpRfc7323Paws);
            }
            return Err(DropReason::TcpOverwindow);
        }
        if seg.seq == req.rcv_isn {
            flags = flags - Flags::SYN; // it lies below the window
        }
        if flags.intersects(Flags::RST | Flags::SYN) {
            cx.count(Counter::TcpAttemptFails);
            if flags.rst() {
                self.fastopen_remove(cx, true);
                self.reset_by_peer(cx, Some(seg));
            } else {
                crate::tcp::reset::reply_reset(cx, seg);
            }
            return Err(DropReason::TcpFastopen);
        }
        if flags.contains(Flags::ACK) { Ok(()) } else { Err(DropReason::TcpFastopen) }
    }

    /// `tcp_oow_rate_limited` of the request.
    fn fastopen_limited(&mut self, cx: &mut Cx<'_>, seg: &Segment) -> bool {
        if seg.seq != seg.end_seq && !seg.header.flags.syn() {
            return false;
        }
        let req = self.fo.pending.as_mut().expect("the caller looked");
        let last = req.last_oow_ack;
        if last != Instant::ZERO && cx.now - last < cx.sysctl.tcp_invalid_ratelimit {
            cx.count(Counter::TcpExtTCPACKSkippedSynRecv);
            return true;
        }
        req.last_oow_ack = cx.now;
        false
    }

    /// `tcp_v4_reqsk_send_ack` for the connection.
    fn fastopen_send_ack(&mut self, cx: &mut Cx<'_>) {
        let req = self.fo.pending.as_ref().expect("the caller looked");
        let val = cx.clock_ms().wrapping_add(req.ts_off);
        let ts = req.ts_ok.then_some(Timestamps { val, ecr: req.ts_recent });
        let header = req.ack_header(self.snd.nxt, ts);
        cx.count(Counter::TcpOutSegs);
        cx.segments.push(OutSegment {
            header,
            payload: Bytes::new(),
            mss: u16::MAX,
            ect: false,
            without_socket: true,
        });
    }

    /// When the first SYN-ACK was sent, if its answer tells a round trip (`tcp_synack_rtt_meas`).
    pub(crate) fn fastopen_synack_sent(&self) -> Option<Instant> {
        let req = self.fo.pending.as_ref()?;
        (req.num_retrans == 0 && req.snt_synack != Instant::ZERO).then_some(req.snt_synack)
    }

    /// `tcp_rcv_synrecv_state_fastopen`: the third ACK is there.
    pub(crate) fn fastopen_acked(&mut self, cx: &mut Cx<'_>) {
        if self.recovery.ca_state == CaState::Loss && self.recovery.packets_out == 0 {
            self.try_undo_recovery(cx);
        }
        self.retransmits = 0;
        if !self.any_retrans_done() {
            self.retrans_stamp = None;
        }
        self.fastopen_remove(cx, false);
        self.rearm_rto(cx);
    }

    /// Where ICMP errors may point to while the SYN-ACK is not acknowledged.
    pub(crate) fn icmp_window(&self) -> (SeqNum, SeqNum) {
        let una = self.fo.pending.as_ref().map_or(self.snd.una, |req| req.snt_isn);
        (una, self.snd.nxt)
    }

    /// `tcp_passive_fastopen`
    pub(crate) fn passive_fastopen(&self) -> bool {
        self.state() == State::SynRecv && self.fo.server_pending()
    }
}
