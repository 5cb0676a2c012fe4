//! Half-open connections: SYN-ACKs and their timer, and the third ACK. TRUTH.md §2, §3, §6.
//!
//! Linux: inet_connection_sock.c `reqsk_timer_handler`, `inet_csk_complete_hashdance`; tcp_minisocks.c `tcp_check_req`,
//! `tcp_create_openreq_child`; tcp_output.c `tcp_make_synack`, `tcp_rtx_synack`.

use core::time::Duration;
use std::net::SocketAddr;

use wire::tcp::{Flags, Header, OptionSet, Options, SeqNum, Timestamps};
use wire::{Bytes, Instant};

use super::cx::OutSegment;
use super::fastopen::Cookie;
use super::input::Segment;
use super::rto::{INITIAL_RTO, rto_max};
use super::tables::Owner;
use crate::ip::RxMeta;
use crate::mib::Counter;
use crate::record::What;
use crate::timer::TimerId;
use crate::{DropReason, Stack, TimerKey};

/// An entry of the SYN queue (`struct tcp_request_sock`).
#[derive(Clone, Debug)]
pub(crate) struct RequestSock {
    pub(crate) listener: u32,
    /// That listener's serial number: another socket may have its place by now.
    pub(crate) listener_serial: u32,
    /// Its own, which its connection inherits.
    pub(crate) serial: u32,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) rcv_isn: SeqNum,
    pub(crate) snt_isn: SeqNum,
    pub(crate) rcv_nxt: SeqNum,
    pub(crate) ts_recent: u32,
    pub(crate) ts_off: u32,
    /// TSvals of the first and the last SYN-ACK.
    pub(crate) tsval_first: u32,
    pub(crate) tsval_last: u32,
    /// What the peer announced, and what we did.
    pub(crate) mss: u16,
    pub(crate) advmss: u16,
    pub(crate) snd_wscale: u8,
    pub(crate) rcv_wscale: u8,
    pub(crate) wscale_ok: bool,
    pub(crate) sack_ok: bool,
    pub(crate) ts_ok: bool,
    pub(crate) ecn_ok: bool,
    /// The third ACK came but was not used (`acked`): the queue was full, or data is awaited.
    pub(crate) acked: bool,
    /// Rebuilt from a cookie, never in the table.
    pub(crate) cookie: bool,
    pub(crate) rcv_wnd: u32,
    pub(crate) window_clamp: u32,
    pub(crate) num_timeout: u8,
    pub(crate) num_retrans: u8,
    pub(crate) snt_synack: Instant,
    /// When an ACK for it was last sent; zero for never.
    pub(crate) last_oow_ack: Instant,
    pub(crate) timer: Option<TimerId>,
    pub(crate) hash: u32,
}

impl RequestSock {
    /// `tcp_reqsk_timeout`
    fn timeout(&self, max: Duration) -> Duration {
        (INITIAL_RTO * (1 << self.num_timeout.min(16))).min(max)
    }

    /// `tcp_make_synack`
    pub(super) fn synack(&mut self, now: Instant, cookie: &Cookie) -> OutSegment {
        let mut val = Stack::tsval(now, self.ts_off);
        if self.cookie {
            val = super::syncookie::tsval(now, self).wrapping_add(self.ts_off);
        }
        if self.tsval_first == 0 {
            self.tsval_first = val;
        }
        self.tsval_last = val;
        let set = OptionSet {
            mss: Some(self.advmss),
            sack_permitted: self.sack_ok,
            timestamps: self.ts_ok.then_some(Timestamps { val, ecr: self.ts_recent }),
            window_scale: self.wscale_ok.then_some(self.rcv_wscale),
            fast_open: cookie.option(),
            ..OptionSet::default()
        };
        let mut flags = Flags::SYN | Flags::ACK;
        if self.ecn_ok {
            flags |= Flags::ECE;
        }
        let header = Header {
            src_port: self.local.port(),
            dst_port: self.remote.port(),
            seq: self.snt_isn,
            ack: self.rcv_nxt,
            flags,
            window: u16::try_from(self.rcv_wnd.min(65_535)).expect("clamped"),
            options: set.build().expect("a SYN-ACK's options fit 40 bytes"),
            ..Header::default()
        };
        OutSegment { header, payload: Bytes::new(), mss: u16::MAX, ect: false, without_socket: true }
    }

    /// `tcp_v4_reqsk_send_ack`
    pub(super) fn ack_header(&self, seq: SeqNum, timestamps: Option<Timestamps>) -> Header {
        Header {
            src_port: self.local.port(),
            dst_port: self.remote.port(),
            seq,
            ack: self.rcv_nxt,
            flags: Flags::ACK,
            window: u16::try_from((self.rcv_wnd >> self.rcv_wscale).min(65_535)).expect("clamped"),
            options: timestamps.map_or(Options::EMPTY, Options::of_timestamps),
            ..Header::default()
        }
    }
}

impl Stack {
    /// `inet_csk_reqsk_queue_hash_add`
    pub(super) fn hash_request(&mut self, now: Instant, req: RequestSock) {
        let (listener, hash) = (req.listener, req.hash);
        let timeout = req.timeout(rto_max(&self.sysctl.ns));
        let id = self.tcp.requests.insert(req);
        self.tcp.ehash.insert(hash, Owner::Request(id));
        let timer = self.arm(now, timeout, TimerKey::TcpRequest(id));
        self.tcp.requests[id].timer = Some(timer);
        if let Some(l) = self.tcp.socks[listener].listener.as_mut() {
            l.qlen += 1;
            l.young += 1;
        }
        self.record_request(now, id, None, Some("SYN-RECV"));
    }

    /// The listener of a request, while it listens.
    pub(super) fn listener_of(&self, req: &RequestSock) -> Option<u32> {
        let sock = self.tcp.socks.get(req.listener)?;
        (sock.serial == req.listener_serial && sock.listener.is_some()).then_some(req.listener)
    }

    /// `inet_csk_reqsk_queue_drop`
    pub(super) fn drop_request(&mut self, now: Instant, id: u32) {
        self.record_request(now, id, Some("SYN-RECV"), None);
        let req = self.unlink_request(id);
        self.tcp.saved_syns.remove(&req.serial);
        self.tcp.ehash.remove(req.hash, Owner::Request(id));
    }

    /// Takes a request out of all but the established table.
    fn unlink_request(&mut self, id: u32) -> RequestSock {
        let req = self.tcp.requests.remove(id).expect("the caller looked at it");
        if let Some(timer) = req.timer {
            self.timers.cancel(timer);
        }
        if let Some(listener) = self.listener_of(&req) {
            let l = self.tcp.socks[listener].listener.as_mut().expect("it listens");
            l.qlen -= 1;
            if req.num_timeout == 0 {
                l.young -= 1;
            }
        }
        req
    }

    fn record_request(
        &mut self,
        now: Instant,
        id: u32,
        from: Option<&'static str>,
        to: Option<&'static str>,
    ) {
        let req = &self.tcp.requests[id];
        let (sock, local, remote) = (req.serial, req.local, req.remote);
        self.out.record(now, || What::Sock { sock, from, to, addrs: format!("{local} {remote}") });
    }

    /// `reqsk_timer_handler`
    pub(crate) fn tcp_request_timeout(&mut self, now: Instant, id: u32) {
        let req = &mut self.tcp.requests[id];
        req.timer = None;
        let req = req.clone();
        let Some(listener) = self.listener_of(&req) else {
            self.drop_request(now, id);
            return;
        };
        let sock = &self.tcp.socks[listener];
        let own = sock.prep.user.syn_retries;
        let mut most = if own > 0 { own } else { self.sysctl.ns.tcp_synack_retries };
        let defer = sock.prep.user.defer_accept;
        let queue = sock.listener.as_ref().expect("it listens");
        // When the queue is more than half full, old entries make room for young ones.
        if queue.qlen << 1 > queue.backlog.max(8) {
            let mut young = queue.young << 1;
            while most > 2 && queue.qlen >= young {
                most -= 1;
                young <<= 1;
            }
        }
        let (expire, resend) = recalculate(&req, most, defer);
        self.mib.inc(Counter::TcpExtTCPTimeouts);
        if expire {
            self.drop_request(now, id);
            return;
        }
        let next = u16::from(req.num_timeout) + 1;
        self.out.record(now, || What::Timer { name: "SYN-ACK", detail: format!("try {next} of {most}") });
        if resend {
            self.retransmit_synack(now, id);
        }
        let req = &mut self.tcp.requests[id];
        req.num_timeout = req.num_timeout.saturating_add(1);
        let timeout = req.timeout(rto_max(&self.sysctl.ns));
        if req.num_timeout == 1 {
            let l = self.tcp.socks[listener].listener.as_mut().expect("it listens");
            l.young -= 1;
        }
        let timer = self.arm(now, timeout, TimerKey::TcpRequest(id));
        self.tcp.requests[id].timer = Some(timer);
    }

    /// `tcp_rtx_synack`
    fn retransmit_synack(&mut self, now: Instant, id: u32) {
        self.mib.inc(Counter::TcpRetransSegs);
        self.mib.inc(Counter::TcpExtTCPSynRetrans);
        let mut req = self.tcp.requests[id].clone();
        self.send_synack(now, &mut req, &Cookie::NONE);
        let entry = &mut self.tcp.requests[id];
        entry.num_retrans = entry.num_retrans.saturating_add(1);
        entry.tsval_last = req.tsval_last;
    }

    /// `tcp_make_synack`, and its sending.
    pub(super) fn send_synack(&mut self, now: Instant, req: &mut RequestSock, cookie: &Cookie) {
        let segment = req.synack(now, cookie);
        self.mib.inc(Counter::TcpOutSegs);
        self.emit_without_socket(now, Some(req.listener), req.local, req.remote, &segment, 0);
    }

    /// `send_ack` of a request: what the peer should know.
    fn send_request_ack(&mut self, now: Instant, id: u32) {
        let req = &self.tcp.requests[id];
        let ts = Timestamps { val: Self::tsval(now, req.ts_off), ecr: req.ts_recent };
        let header = req.ack_header(req.snt_isn + 1, req.ts_ok.then_some(ts));
        let (listener, local, remote) = (req.listener, req.local, req.remote);
        self.mib.inc(Counter::TcpOutSegs);
        let payload = Bytes::new();
        let segment = OutSegment { header, payload, mss: u16::MAX, ect: false, without_socket: true };
        self.emit_without_socket(now, Some(listener), local, remote, &segment, 0);
    }

    /// `tcp_oow_rate_limited` of a request.
    fn request_limited(&mut self, now: Instant, id: u32, seg: &Segment) -> bool {
        if seg.seq != seg.end_seq && !seg.header.flags.syn() {
            return false;
        }
        let limit = self.sysctl.ns.tcp_invalid_ratelimit;
        let req = &mut self.tcp.requests[id];
        if req.last_oow_ack != Instant::ZERO && now - req.last_oow_ack < limit {
            self.mib.inc(Counter::TcpExtTCPACKSkippedSynRecv);
            return true;
        }
        req.last_oow_ack = now;
        false
    }

    /// `tcp_check_req`: a segment for a half-open connection.
    pub(super) fn request_rcv(
        &mut self,
        now: Instant,
        id: u32,
        meta: &RxMeta,
        seg: &mut Segment,
    ) -> Result<(), DropReason> {
        let req = self.tcp.requests[id].clone();
        let Some(listener) = self.listener_of(&req) else {
            self.drop_request(now, id);
            self.send_reset_for(now, meta, seg);
            return Err(DropReason::NoSocket);
        };
        let mut flags = seg.header.flags;
        let ts = seg.header.options.timestamps().filter(|_| req.ts_ok);
        let older = ts.is_some_and(|t| req.ts_recent.wrapping_sub(t.val) as i32 > 0);
        let paws_reject = older && !flags.rst();
        let wrong_ecr = ts.is_some_and(|t| {
            t.ecr != 0 && !SeqNum(t.ecr).between(SeqNum(req.tsval_first), SeqNum(req.tsval_last))
        });
        let first = Flags::SYN | Flags::ACK | Flags::RST | Flags::FIN;
        if seg.seq == req.rcv_isn && Flags(flags.0 & first.0) == Flags::SYN && !paws_reject {
            // The SYN again: answer again, and wait anew (TRUTH 2b).
            if !self.request_limited(now, id, seg) {
                self.retransmit_synack(now, id);
                let entry = &self.tcp.requests[id];
                let timeout = entry.timeout(rto_max(&self.sysctl.ns));
                if let Some(timer) = entry.timer {
                    self.timers.cancel(timer);
                }
                let timer = self.arm(now, timeout, TimerKey::TcpRequest(id));
                self.tcp.requests[id].timer = Some(timer);
            }
            return Err(DropReason::NotSpecified);
        }
        if flags.contains(Flags::ACK) && seg.ack != req.snt_isn + 1 {
            return self.listener_rcv(now, listener, meta, seg, None);
        }
        // tcp_in_window
        let end = req.rcv_nxt + req.rcv_wnd;
        let in_window = seg.seq == req.rcv_nxt
            || (seg.end_seq.after(req.rcv_nxt) && seg.seq.before(end))
            || (seg.seq == end && seg.seq == seg.end_seq);
        if paws_reject || wrong_ecr || !in_window {
            if !flags.rst() && !self.request_limited(now, id, seg) {
                self.send_request_ack(now, id);
            }
            if paws_reject {
                self.mib.inc(Counter::TcpExtPAWSEstab);
                return Err(DropReason::TcpRfc7323Paws);
            }
            if wrong_ecr {
                self.mib.inc(Counter::TcpExtTSEcrRejected);
                return Err(DropReason::TcpRfc7323Tsecr);
            }
            return Err(DropReason::TcpOverwindow);
        }
        if let Some(t) = ts
            && !seg.seq.after(req.rcv_nxt)
        {
            self.tcp.requests[id].ts_recent = t.val;
        }
        if seg.seq == req.rcv_isn {
            flags = flags - Flags::SYN; // it lies below the window
        }
        if flags.rst() && seg.seq != req.rcv_nxt && self.config.profile >= crate::KernelProfile::V6_18 {
            // RFC 5961 §3.2 for half-open connections too (the atlas, 6.18.44; 6.12 believes it).
            if !self.request_limited(now, id, seg) {
                self.mib.inc(Counter::TcpExtTCPChallengeACK);
                self.send_request_ack(now, id);
            }
            return Err(DropReason::TcpReset);
        }
        if flags.intersects(Flags::RST | Flags::SYN) {
            self.mib.inc(Counter::TcpAttemptFails);
            if !flags.rst() {
                self.send_reset_for(now, meta, seg);
            }
            self.mib.inc(Counter::TcpExtEmbryonicRsts);
            self.drop_request(now, id);
            return Err(DropReason::TcpReset);
        }
        if !flags.contains(Flags::ACK) {
            return Err(DropReason::TcpFlags);
        }
        let defer = self.tcp.socks[listener].prep.user.defer_accept;
        if req.num_timeout < defer && seg.end_seq == req.rcv_isn + 1 {
            self.tcp.requests[id].acked = true;
            self.mib.inc(Counter::TcpExtTCPDeferAcceptDrop);
            return Err(DropReason::NotSpecified);
        }
        if self.accept_is_full(listener) {
            if self.sysctl.ns.tcp_abort_on_overflow == 0 {
                self.tcp.requests[id].acked = true;
                return Err(DropReason::TcpListenOverflow);
            }
            self.send_reset_for(now, meta, seg);
            self.mib.inc(Counter::TcpExtEmbryonicRsts);
            self.drop_request(now, id);
            return Err(DropReason::TcpListenOverflow);
        }
        let req = self.unlink_request(id);
        self.make_child(now, listener, &req, Some(id), meta, seg)
    }

    /// The accept queue takes no more: counted as `tcp_v4_syn_recv_sock` does.
    pub(super) fn accept_is_full(&mut self, listener: u32) -> bool {
        let full = self.tcp.socks[listener].listener.as_ref().is_some_and(|l| l.accept_queue_is_full());
        if full {
            self.mib.inc(Counter::TcpExtListenOverflows);
            self.mib.inc(Counter::TcpExtListenDrops);
        }
        full
    }
}

/// `syn_ack_recalc`: whether the entry goes, and whether the SYN-ACK is repeated.
fn recalculate(req: &RequestSock, most: u8, defer: u8) -> (bool, bool) {
    let n = req.num_timeout;
    if defer == 0 {
        return (n >= most, true);
    }
    (n >= most && (!req.acked || n >= defer), !req.acked || n >= defer - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_the_syn_queue_is_small() {
        assert!(size_of::<RequestSock>() <= 160, "{} bytes", size_of::<RequestSock>());
    }
}
