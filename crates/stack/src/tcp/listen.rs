//! A listener: its two queues, and what happens to a SYN. TRUTH.md §6.
//!
//! Linux: inet_connection_sock.c `inet_csk_listen_start`, `inet_csk_accept`, `inet_csk_listen_stop`; tcp_input.c
//! `tcp_conn_request`, `tcp_syn_flood_action`.

use std::collections::VecDeque;
use std::net::SocketAddr;

use wire::tcp::{Flags, SeqNum};
use wire::{Instant, tcp::Header};

use super::cx::clock_ms;
use super::fastopen::Cookie;
use super::input::Segment;
use super::options::Offered;
use super::request::RequestSock;
use super::rx::window::{DEFAULT_SCALING_RATIO, initial_window, window_from_space};
use super::tables::tuple_hash;
use crate::ip::RxMeta;
use crate::mib::Counter;
use crate::record::What;
use crate::{DropReason, KernelProfile, Stack};

/// `struct request_sock_queue`
#[derive(Debug, Default)]
pub(crate) struct Listener {
    /// `sk_max_ack_backlog`
    pub(crate) backlog: u32,
    /// Complete connections that wait for `accept`.
    pub(crate) accept: VecDeque<u32>,
    /// Half-open ones, and those of them that have not timed out yet (`qlen`, `young`).
    pub(crate) qlen: u32,
    pub(crate) young: u32,
    /// When a cookie was last sent (`ts_recent_stamp` of a listener).
    pub(crate) overflow: Option<Instant>,
    /// "Possible SYN flooding" was said (`synflood_warned`).
    pub(crate) warned: bool,
    pub(crate) fastopen: super::fastopen::Queue,
}

impl Listener {
    /// `sk_acceptq_is_full`: the queue holds one more than the backlog (TRUTH.md §6).
    pub(crate) fn accept_queue_is_full(&self) -> bool {
        u32::try_from(self.accept.len()).is_ok_and(|n| n > self.backlog)
    }

    /// `inet_csk_reqsk_queue_is_full`; one fewer before 6.13 and the stable kernels of January 2025 (TRUTH.md §13).
    fn request_queue_is_full(&self, profile: KernelProfile) -> bool {
        if profile >= KernelProfile::V6_12 { self.qlen > self.backlog } else { self.qlen >= self.backlog }
    }
}

/// What `tcp_conn_request` found out about a SYN.
pub(super) struct Syn<'a> {
    pub(super) listener: u32,
    pub(super) meta: &'a RxMeta,
    pub(super) seg: &'a Segment,
    /// The sequence number that a TIME_WAIT entry gave up its place with.
    pub(super) tw_isn: Option<SeqNum>,
}

impl Syn<'_> {
    pub(super) fn local(&self) -> SocketAddr {
        SocketAddr::new(self.meta.dst, self.seg.header.dst_port)
    }

    pub(super) fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.meta.src, self.seg.header.src_port)
    }
}

impl Stack {
    /// `tcp_rcv_state_process` of a listener. `tw_isn`: a TIME_WAIT entry made room.
    pub(super) fn listener_rcv(
        &mut self,
        now: Instant,
        listener: u32,
        meta: &RxMeta,
        seg: &mut Segment,
        tw_isn: Option<SeqNum>,
    ) -> Result<(), DropReason> {
        let flags = seg.header.flags;
        if flags.contains(Flags::ACK) {
            if !flags.intersects(Flags::SYN | Flags::RST)
                && let Some(done) = self.cookie_check(now, listener, meta, seg)
            {
                return done;
            }
            self.send_reset_for(now, meta, seg);
            return Err(DropReason::TcpFlags);
        }
        if flags.rst() {
            return Err(DropReason::TcpReset);
        }
        if !flags.syn() || flags.fin() {
            return Err(DropReason::TcpFlags);
        }
        self.conn_request(now, &Syn { listener, meta, seg, tw_isn })
    }

    fn listener(&mut self, sock: u32) -> &mut Listener {
        self.tcp.socks[sock].listener.as_mut().expect("the lookup gave a listener")
    }

    /// `tcp_listendrop`
    fn listen_drop(&mut self) -> DropReason {
        self.mib.inc(Counter::TcpExtListenDrops);
        DropReason::NotSpecified
    }

    /// `tcp_conn_request`
    fn conn_request(&mut self, now: Instant, syn: &Syn<'_>) -> Result<(), DropReason> {
        let profile = self.config.profile;
        let syncookies = self.sysctl.ns.tcp_syncookies;
        let full = self.listener(syn.listener).request_queue_is_full(profile);
        let mut want_cookie = false;
        if (syncookies == 2 || full) && syn.tw_isn.is_none() {
            want_cookie = self.syn_flood_action(now, syn);
            if !want_cookie {
                return Err(self.listen_drop());
            }
        }
        // Before 4.10 a SYN passed while at most one other was new (TRUTH.md §13).
        let passes = profile <= KernelProfile::V4_4 && self.listener(syn.listener).young <= 1;
        if self.listener(syn.listener).accept_queue_is_full() && !passes {
            self.mib.inc(Counter::TcpExtListenOverflows);
            self.mib.inc(Counter::TcpExtListenDrops);
            return Err(DropReason::TcpListenOverflow);
        }
        let Some(mut req) = self.new_request(now, syn, want_cookie) else { return Err(self.listen_drop()) };
        if !want_cookie && syn.tw_isn.is_none() {
            self.recycle_check(now, &req)?;
        }
        if !want_cookie && syn.tw_isn.is_none() && syncookies == 0 {
            // The last quarter is for those who were seen alive before.
            let most = i64::from(self.sysctl.ns.tcp_max_syn_backlog);
            let known = self.tcp.peers.metrics.is_proven(now, req.local.ip(), req.remote.ip());
            if most - i64::from(self.listener(syn.listener).qlen) < most >> 2 && !known {
                return Err(self.listen_drop());
            }
        }
        if want_cookie {
            self.cookie_init(now, syn, &mut req);
            self.send_synack(now, &mut req, &Cookie::NONE);
            return Ok(());
        }
        if let Some(saved) = self.save_syn(syn) {
            self.tcp.saved_syns.insert(req.serial, saved);
        }
        let mut cookie = Cookie::read(&syn.seg.header.options);
        if self.try_fastopen(now, syn, &req, &mut cookie) {
            return Ok(());
        }
        self.send_synack(now, &mut req, &cookie);
        self.hash_request(now, req);
        Ok(())
    }

    /// `tcp_reqsk_record_syn`: the SYN's headers, as `TCP_SAVE_SYN` wants them.
    fn save_syn(&self, syn: &Syn<'_>) -> Option<Box<[u8]>> {
        let mode = self.tcp.socks[syn.listener].prep.save_syn;
        if mode == 0 {
            return None;
        }
        let ethernet = self.ifaces.get(syn.meta.ifindex).is_some_and(|i| i.medium == wire::Medium::Ethernet);
        let link = if mode == 2 && ethernet { 14 } else { 0 };
        let len = usize::from(syn.meta.network_header_len) + syn.seg.header.header_len() + link;
        let mut frame = syn.seg.frame.clone();
        frame.push(len);
        Some(frame.head()[..len].into())
    }

    /// `tcp_syn_flood_action`: whether cookies answer.
    fn syn_flood_action(&mut self, now: Instant, syn: &Syn<'_>) -> bool {
        let syncookies = self.sysctl.ns.tcp_syncookies;
        let want_cookie = syncookies != 0;
        let counter =
            if want_cookie { Counter::TcpExtTCPReqQFullDoCookies } else { Counter::TcpExtTCPReqQFullDrop };
        self.mib.inc(counter);
        let listener = self.listener(syn.listener);
        if !listener.warned && syncookies != 2 {
            listener.warned = true;
            let what = if want_cookie { "Sending cookies" } else { "Dropping request" };
            let addr = syn.local();
            self.out.record(now, || What::Note {
                text: format!("TCP: request_sock_TCP: Possible SYN flooding on port {addr}. {what}."),
            });
        }
        want_cookie
    }

    /// The request that a SYN makes (`tcp_openreq_init`, `tcp_openreq_init_rwin`); `None` without a way back.
    fn new_request(&mut self, now: Instant, syn: &Syn<'_>, want_cookie: bool) -> Option<RequestSock> {
        let header: &Header = &syn.seg.header;
        let (local, remote) = (syn.local(), syn.remote());
        let (dst, way) = self.tcp_route(now, Some(syn.listener), local, remote)?;
        let sock = &self.tcp.socks[syn.listener];
        let user_mss = sock.prep.user_mss;
        let absent = super::options::default_mss(remote.ip());
        let mut offered = Offered::read(&header.options, &self.sysctl.ns, user_mss, absent);
        if want_cookie && offered.timestamps.is_none() {
            // tcp_clear_options: a cookie alone carries the MSS and nothing else.
            offered.wscale = None;
            offered.sack = false;
        }
        let mut advmss = self.advmss(&dst, &way, remote);
        if user_mss > 0 {
            advmss = advmss.min(user_mss);
        }
        let serial = if want_cookie { 0 } else { self.sockets.serial() };
        let sock = &self.tcp.socks[syn.listener];
        let space = window_from_space(sock.opts.rcvbuf, DEFAULT_SCALING_RATIO);
        let locked = sock.prep.rcvbuf_locked;
        let mut clamp = sock.prep.user.window_clamp;
        if locked && (clamp > space || clamp == 0) {
            clamp = space;
        }
        let mss = u32::from(advmss) - if offered.timestamps.is_some() { 12 } else { 0 };
        let window = initial_window(&self.sysctl.ns, space, mss, clamp, offered.wscale.is_some(), locked)
            .at_most(way.initrwnd, mss);
        let flags = header.flags;
        let not_ect = syn.meta.tos & 3 == 0;
        // tcp_ecn_create_request: ECT on a SYN is a broken network, unless the other bits say a newer protocol.
        let later = if self.config.profile >= KernelProfile::V6_18 {
            Flags::RESERVED.with(Flags::AE)
        } else {
            Flags::RESERVED
        };
        let plausible = not_ect || flags.intersects(later);
        let ecn = self.sysctl.ns.tcp_ecn != 0 && flags.contains(Flags::ECE | Flags::CWR) && plausible;
        let ts_off = self.tcp.secrets.ts_offset(local.ip(), remote.ip());
        let isn = syn.tw_isn.unwrap_or_else(|| self.tcp.secrets.isn(local, remote, now));
        Some(RequestSock {
            listener: syn.listener,
            listener_serial: sock.serial,
            serial,
            local,
            remote,
            rcv_isn: syn.seg.seq,
            snt_isn: isn,
            rcv_nxt: syn.seg.seq + 1,
            ts_recent: offered.timestamps.map_or(0, |t| t.val),
            ts_off,
            tsval_first: 0,
            tsval_last: 0,
            mss: offered.mss,
            advmss,
            snd_wscale: offered.wscale.unwrap_or(0),
            rcv_wscale: window.wscale,
            wscale_ok: offered.wscale.is_some(),
            sack_ok: offered.sack,
            ts_ok: offered.timestamps.is_some(),
            ecn_ok: ecn,
            acked: false,
            cookie: want_cookie,
            rcv_wnd: window.rcv_wnd,
            window_clamp: window.window_clamp,
            num_timeout: 0,
            num_retrans: 0,
            snt_synack: now,
            last_oow_ack: Instant::ZERO,
            timer: None,
            hash: tuple_hash(self.tcp.secrets.port[0], local, remote),
        })
    }

    /// A TSval for a segment without a full socket.
    pub(super) fn tsval(now: Instant, offset: u32) -> u32 {
        clock_ms(now).wrapping_add(offset)
    }
}
