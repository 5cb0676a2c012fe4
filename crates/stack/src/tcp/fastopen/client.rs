//! The client: whether the SYN may carry data, which, and what the SYN-ACK says of it.
//!
//! Linux: tcp_fastopen.c `tcp_fastopen_cookie_check`, `tcp_fastopen_defer_connect`, `tcp_fastopen_add_skb`; tcp_output.c
//! `tcp_send_syn_data`; tcp_input.c `tcp_rcv_fastopen_synack`.

use wire::Bytes;
use wire::tcp::Flags;

use super::{CLIENT_NO_COOKIE, ClientFail, Cookie};
use crate::mib::Counter;
use crate::tcp::cx::Cx;
use crate::tcp::input::Segment;
use crate::tcp::metrics::Learnt;
use crate::tcp::rx::queue::entry_of;
use crate::tcp::send_buffer::Source;
use crate::tcp::skb::Skb;
use crate::tcp::tcb::Tcb;

/// `MAX_TCP_OPTION_SPACE`: kept free in a SYN with data, for middleboxes that add options.
const OPTION_SPACE: usize = 40;

/// A call that opens a connection with data (`struct tcp_fastopen_request`).
#[derive(Debug)]
pub(crate) struct Request {
    /// The option of the first SYN; later ones have none.
    pub(super) cookie: Cookie,
    /// All that the call wants to send.
    pub(super) data: Bytes,
    /// How much of it the SYN took.
    pub(crate) copied: usize,
    /// All of it is in the SYN; never so when the SYN only asks for a cookie, even with nothing to send.
    done: bool,
}

impl Request {
    pub(crate) fn new(data: Bytes) -> Request {
        Request { cookie: Cookie::REQUEST, data, copied: 0, done: false }
    }

    /// The option of the SYN that is sent now.
    pub(crate) fn option(&self) -> Option<wire::tcp::FastOpen<'_>> {
        self.cookie.option()
    }

    /// The caller has more to send (`fastopen_req->data`).
    pub(crate) fn has_more(&self) -> bool {
        !self.done
    }
}

impl Tcb {
    /// `tcp_fastopen_cookie_check`: whether the SYN may carry data, with which option; the cached MSS goes to `mss`.
    fn fastopen_cookie_check(&mut self, cx: &mut Cx<'_>, mss: &mut u16) -> (bool, Cookie) {
        let mut cookie = Cookie::REQUEST;
        if let Some(known) = cx.peers.metrics.get(cx.now, self.local.ip(), self.remote.ip()) {
            let known = known.fast_open();
            if known.mss > 0 {
                *mss = known.mss;
            }
            cookie = known.cookie;
            if !cookie.is_cookie() && known.try_experimental == 1 {
                cookie.experimental = true;
            }
        }
        if self.fastopen_paused(cx) {
            return (false, Cookie::NONE);
        }
        if cx.sysctl.tcp_fastopen & CLIENT_NO_COOKIE != 0 || self.fo.no_cookie {
            return (true, Cookie::NONE);
        }
        if !cookie.is_cookie() {
            self.fo.client_fail = ClientFail::CookieUnavailable;
        }
        (cookie.is_cookie(), cookie)
    }

    /// `tcp_fastopen_defer_connect`: `TCP_FASTOPEN_CONNECT` waits for the first write when there is a cookie; otherwise
    /// the SYN asks for one at once.
    pub(crate) fn fastopen_defer_connect(&mut self, cx: &mut Cx<'_>) -> bool {
        let (allowed, _) = self.fastopen_cookie_check(cx, &mut 0);
        self.fo.deferred = allowed;
        if !allowed {
            self.fo.request = Some(Box::new(Request::new(Bytes::new())));
        }
        allowed
    }

    /// `tcp_send_syn_data`: sends the SYN, with data when that is allowed. The data is an entry of its own behind the
    /// SYN: a SYN that is repeated has none.
    pub(crate) fn send_syn_data(&mut self, cx: &mut Cx<'_>, syn: &mut Skb) -> Option<Skb> {
        let mut mss = self.rcv.advmss;
        let (allowed, cookie) = self.fastopen_cookie_check(cx, &mut mss);
        self.opts.mss_clamp = mss;
        let space = if allowed { Some(self.syn_data_space(cx)) } else { None };
        let request = self.fo.request.as_mut().expect("the caller looked");
        request.cookie = if allowed || !cookie.is_cookie() { cookie } else { Cookie::REQUEST };
        self.fo.option_sent = request.cookie.is_some();
        self.fo.experimental = request.cookie.experimental && request.cookie.is_some();
        let Some(space) = space else {
            self.transmit_skb(cx, syn);
            self.fastopen_option_done();
            return None;
        };
        let len = space.min(request.data.len());
        request.copied = len;
        request.done = len == request.data.len();
        let data = request.data.clone();
        self.data.push_part(&Source::Shared(&data), 0, len);
        let mut whole = *syn;
        whole.end_seq += u32::try_from(len).expect("below the MSS");
        self.transmit_skb(cx, &mut whole);
        self.fastopen_option_done();
        syn.sent = whole.sent;
        let mut rest = whole;
        rest.seq = syn.end_seq;
        rest.flags = Flags::ACK | Flags::PSH;
        self.snd.write_seq = rest.end_seq;
        self.fo.syn_data = len > 0;
        cx.count(Counter::TcpExtTCPOrigDataSent);
        Some(rest)
    }

    fn fastopen_option_done(&mut self) {
        if let Some(request) = &mut self.fo.request {
            request.cookie = Cookie::NONE;
        }
    }

    /// The cached MSS, bounded by the path's MTU and `TCP_MAXSEG`, less all options.
    fn syn_data_space(&mut self, cx: &mut Cx<'_>) -> usize {
        if self.opts.user_mss > 0 {
            self.opts.mss_clamp = self.opts.mss_clamp.min(self.opts.user_mss);
        }
        self.sync_mss(cx, self.path_mtu);
        let mss = self.bare_mtu_to_mss(cx.sysctl, self.path_mtu);
        usize::try_from(mss).expect("below 64 KiB").saturating_sub(OPTION_SPACE)
    }

    /// `tcp_rcv_fastopen_synack`: learns a cookie, sends the SYN's data again when it was not taken. `true`: it was not.
    pub(crate) fn rcv_fastopen_synack(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> bool {
        let mut cookie = Cookie::read(&seg.header.options);
        let unacked = self.fo.syn_data && !self.rtx.is_empty();
        let mut mss = self.opts.mss_clamp;
        if mss == self.opts.user_mss {
            mss = seg.header.options.mss().unwrap_or(0);
        }
        let (mut syn_drop, mut try_experimental) = (false, 0);
        if !self.fo.option_sent {
            cookie = Cookie::NONE; // unsolicited
        } else if self.totals.total_retrans > 0 {
            // Only the plain SYN seems to have come through.
            syn_drop = !cookie.is_some() && unacked;
        } else if !cookie.is_some() && !self.fo.syn_data {
            // No answer to the request: next time in the experimental option, after that never again.
            try_experimental = if self.fo.experimental { 2 } else { 1 };
        }
        let learnt = Learnt { mss, cookie, syn_drop, try_experimental };
        cx.peers.metrics.fastopen_set(cx.now, self.local.ip(), self.remote.ip(), &learnt);
        if unacked {
            self.fo.client_fail = if self.totals.total_retrans > 0 {
                ClientFail::SynRetransmitted
            } else {
                ClientFail::DataNotAcked
            };
            for index in 0..self.rtx.len() {
                let slot = self.rtx.slot_at(index).expect("in range");
                self.mark_lost(cx, slot);
            }
            self.non_congestion_loss_retransmit(cx);
            cx.count(Counter::TcpExtTCPFastOpenActiveFail);
            return true;
        }
        self.fo.syn_data_acked = self.fo.syn_data;
        if self.fo.syn_data_acked {
            cx.count(Counter::TcpExtTCPFastOpenActive);
            // SYN and data are one packet.
            if self.recovery.delivered > 1 {
                self.recovery.delivered -= 1;
            }
        }
        self.fastopen_add_data(cx, seg);
        false
    }

    /// `tcp_fastopen_add_skb`: takes the data and FIN of a SYN or SYN-ACK. The SYN counts anew in `segs_in`, its data
    /// once more in `data_segs_in`.
    pub(super) fn fastopen_add_data(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) {
        if seg.end_seq == self.rcv.nxt {
            return;
        }
        self.totals.segs_in = 1;
        self.totals.data_segs_in += u32::from(seg.payload_len > 0);
        let fin = seg.header.flags.fin();
        self.mem_force(cx, seg.memory.truesize);
        let mut entry = entry_of(seg);
        entry.seq = self.rcv.nxt; // behind the SYN
        self.push_ready(cx, entry, false);
        self.rcv.nxt = seg.end_seq;
        self.fo.syn_data_acked = true;
        self.totals.bytes_received = seg.payload_len as u64; // widening
        cx.wake.readable = true;
        if fin {
            self.receive_fin(cx);
        }
    }
}
