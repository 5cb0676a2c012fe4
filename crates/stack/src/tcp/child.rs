//! The third ACK makes a connection. Linux: tcp_ipv4.c `tcp_v4_syn_recv_sock`; tcp_minisocks.c
//! `tcp_create_openreq_child`, `tcp_child_process`; inet_connection_sock.c `inet_csk_complete_hashdance`.

use wire::Instant;

use super::bind::Holder;
use super::cc::Cc;
use super::connect::Seed;
use super::input::Segment;
use super::request::RequestSock;
use super::sock::{NO_FILE, Phase, TcpSock};
use super::tables::Owner;
use super::tcb::{State, Tcb};
use crate::call::PollEvents;
use crate::ip::RxMeta;
use crate::mib::Counter;
use crate::record::What;
use crate::sysctl::Globals;
use crate::{DropReason, Stack};

impl Tcb {
    /// `tcp_create_openreq_child`
    fn of_request(sysctl: &Globals, now: Instant, seed: Seed, req: &RequestSock, seg: &Segment) -> Tcb {
        let window_clamp = req.window_clamp;
        let mut tcb = Tcb::new(sysctl, now, seed);
        tcb.state = State::SynRecv;
        let start = req.snt_isn + 1;
        tcb.snd.una = start;
        tcb.snd.nxt = start;
        tcb.snd.up = start;
        tcb.snd.sml = start;
        tcb.snd.write_seq = start;
        tcb.snd.pushed_seq = start;
        tcb.snd.iss = req.snt_isn;
        tcb.cwnd_usage_seq = start;
        tcb.data = super::send_buffer::SendBuffer::at(start);
        tcb.rcv.irs = req.rcv_isn;
        tcb.rcv.nxt = req.rcv_isn + 1;
        tcb.rcv.wup = tcb.rcv.nxt;
        tcb.rcv.copied_seq = tcb.rcv.nxt;
        tcb.rcv.wnd = req.rcv_wnd;
        tcb.rcv.ssthresh = req.rcv_wnd;
        tcb.rcv.window_clamp = window_clamp;
        tcb.rcv.wscale = if req.wscale_ok { req.rcv_wscale } else { 0 };
        if !req.wscale_ok {
            tcb.rcv.window_clamp = tcb.rcv.window_clamp.min(65_535);
        }
        tcb.rcv.advmss = req.advmss;
        tcb.snd.wscale = if req.wscale_ok { req.snd_wscale } else { 0 };
        tcb.snd.wnd = u32::from(seg.header.window) << tcb.snd.wscale;
        tcb.snd.max_window = tcb.snd.wnd;
        tcb.snd.wl1 = req.rcv_isn;
        tcb.opts.sack = req.sack_ok;
        tcb.opts.wscale = req.wscale_ok;
        tcb.opts.ecn = req.ecn_ok;
        tcb.opts.mss_clamp = req.mss;
        tcb.ts.ok = req.ts_ok;
        if req.ts_ok {
            tcb.ts.recent = req.ts_recent;
            tcb.ts.recent_stamp = super::cx::clock_s(now);
        }
        tcb.totals.segs_in = 1;
        tcb.totals.total_retrans = u32::from(req.num_retrans);
        if req.num_timeout > 0 {
            // tcp_create_openreq_child: the SYN-ACK's timeouts are one recovery, which is over.
            tcb.recovery.total_rto = u32::from(req.num_timeout);
            tcb.recovery.rto_recoveries = 1;
            tcb.recovery.rto_stamp = Some(req.snt_synack);
            tcb.recovery.rto_time_ms = tcb.recovery.rto_time(now);
            tcb.recovery.rto_stamp = None;
            tcb.recovery.undo_marker = Some(req.snt_isn);
            tcb.retrans_stamp = Some(req.snt_synack);
        }
        tcb.last_sent = req.snt_synack;
        tcb.ack.last_received = now;
        tcb
    }
}

impl Stack {
    /// Makes the connection, puts it into the accept queue and gives it the segment. `request`: the entry whose place
    /// in the established table it takes; a cookie has none.
    pub(super) fn make_child(
        &mut self,
        now: Instant,
        listener: u32,
        req: &RequestSock,
        request: Option<u32>,
        meta: &RxMeta,
        seg: &mut Segment,
    ) -> Result<(), DropReason> {
        let Some((id, mtu)) = self.create_child(now, listener, req, request, meta.ifindex, seg) else {
            if let Some(id) = request {
                self.tcp.ehash.remove(req.hash, Owner::Request(id));
            }
            return Err(DropReason::IpOutNoRoutes);
        };
        let queue = self.tcp.socks[listener].listener.as_mut().expect("it listens");
        queue.accept.push_back(id);
        let sampled = (req.num_retrans == 0 && req.snt_synack != Instant::ZERO).then_some(req.snt_synack);
        let result = self.tcp_step(now, id, |tcb, cx| {
            cx.count(Counter::TcpPassiveOpens);
            // tcp_v4_syn_recv_sock, then tcp_init_transfer: the first segments have the path's size even when probing
            // begins below it.
            tcb.sync_mss(cx, mtu);
            tcb.mtu_probe_init(cx);
            tcb.initialize_rcv_mss();
            tcb.start_keepalive(cx);
            if let Some(sent) = sampled {
                tcb.synack_rtt_measure(cx, Some(sent));
            }
            tcb.segment_arrives(cx, seg)
        });
        self.wake_listener(listener);
        self.tcp_release_closed(now, id);
        result.unwrap_or(Ok(()))
    }

    /// The socket of a connection that a listener's request becomes, and the path's MTU; `None` without a way back.
    pub(super) fn create_child(
        &mut self,
        now: Instant,
        listener: u32,
        req: &RequestSock,
        request: Option<u32>,
        scope: u32,
        seg: &Segment,
    ) -> Option<(u32, u32)> {
        let Some((dst, way)) = self.tcp_route(now, Some(listener), req.local, req.remote) else {
            self.mib.inc(Counter::TcpExtListenDrops);
            return None;
        };
        let serial = if req.serial != 0 { req.serial } else { self.sockets.serial() };
        let ip_id = self.tcp.rng.next_u32() as u16; // any 16 bits
        let generation = self.route_generation();
        let parent = &self.tcp.socks[listener];
        let mut prep = parent.prep.clone();
        if prep.fastopen.has_queue() {
            prep.fastopen = prep.fastopen.inherited();
        }
        if prep.user.defer_accept != 0 {
            prep.user.defer_accept = 0; // it belongs to the listener's queue
        }
        let seed = Seed {
            local: req.local,
            remote: req.remote,
            iss: req.snt_isn,
            ts_offset: req.ts_off,
            path_mtu: dst.mtu,
            way,
            advmss: req.advmss,
            sndbuf: parent.opts.sndbuf,
            sndbuf_locked: prep.sndbuf_locked,
            rcvbuf: parent.opts.rcvbuf,
            rcvbuf_locked: prep.rcvbuf_locked,
            cc: Cc::by_name(prep.congestion).expect("only known names are stored"),
            user: prep.user.clone(),
            nagle: prep.nagle,
            user_mss: prep.user_mss,
            rcvlowat: u32::try_from(parent.opts.rcvlowat).unwrap_or(1),
        };
        let mut tcb = Tcb::of_request(&self.sysctl.ns, now, seed, req, seg);
        tcb.adopt_notes(prep.zerocopy, prep.timestamping);
        let opts = parent.opts.clone();
        let (domain, addr_locked) = (parent.domain, parent.addr_locked);
        let tcb = self.tcp.spare.boxed(tcb);
        let sock = TcpSock {
            domain,
            serial,
            file: NO_FILE,
            opts,
            prep,
            rcv_addr: req.local.ip(),
            saddr: req.local.ip(),
            port: req.local.port(),
            bind_place: super::sock::NO_PLACE,
            addr_locked,
            port_locked: false,
            peer_scope: scope,
            dst: Some((generation, dst)),
            ip_id,
            phase: Phase::Connected,
            hash: Some(req.hash),
            parent: Some(listener),
            error: None,
            shutdown_rd: false,
            shutdown_wr: false,
            lingering: false,
            linger_until: None,
            tcb: Some(tcb),
            listener: None,
            saved_syn: None,
        };
        let saved = self.tcp.saved_syns.remove(&serial);
        let id = self.tcp.socks.insert(Box::new(TcpSock { saved_syn: saved, ..sock }));
        match request {
            Some(request) => {
                self.tcp.ehash.replace(req.hash, Owner::Request(request), Owner::Full(id));
            }
            None => self.tcp.ehash.insert(req.hash, Owner::Full(id)),
        }
        let place = self.tcp.binds.add(req.local.port(), Holder::Sock(id), false);
        self.tcp.socks[id].bind_place = place;
        Some((id, dst.mtu))
    }

    /// There is somebody to accept.
    pub(super) fn wake_listener(&mut self, listener: u32) {
        let file = self.tcp.socks[listener].file;
        self.wake_file(file, PollEvents(PollEvents::IN.0 | PollEvents::RDNORM.0));
    }

    /// A connection that was no request before is there.
    pub(super) fn record_child(&mut self, now: Instant, id: u32) {
        let sock = &self.tcp.socks[id];
        let serial = sock.serial;
        let tcb = sock.tcb.as_ref().expect("a connection");
        let (local, remote, to) = (tcb.local, tcb.remote, tcb.state().name());
        let to = Some(to);
        self.out.record(now, || What::Sock {
            sock: serial,
            from: None,
            to,
            addrs: format!("{local} {remote}"),
        });
    }

    /// `inet_csk_listen_stop`: nobody will accept these any more.
    pub(super) fn stop_listening(&mut self, now: Instant, id: u32) {
        let Some(listener) = self.tcp.socks[id].listener.take() else { return };
        let port = self.tcp.socks[id].port;
        self.tcp.listeners.remove(port, id);
        for child in listener.accept {
            let Some(sock) = self.tcp.socks.get_mut(child) else { continue };
            sock.parent = None;
            self.tcp_step(now, child, |tcb, cx| {
                tcb.fo.pending = None;
                tcb.disconnect(cx);
                tcb.orphan = true;
            });
            self.tcp_unhash(child);
            self.tcp_destroy(now, child);
        }
    }
}
