//! Between connections and the host: one step of a connection, and what it leaves behind: segments for IP, records,
//! wake-ups, sockets that go. Linux: net/ipv4/ip_output.c `__ip_queue_xmit`, tcp_offload.c `tcp_gso_segment`.

use std::net::{IpAddr, SocketAddr};

use wire::checksum::{pseudo_v4, pseudo_v6, sum};
use wire::frame::MAX_HEADROOM;
use wire::ip::Protocol;
use wire::tcp::{Flags, Header};
use wire::{Bytes, Frame, Instant};

use super::TcpId;
use super::cx::{Cx, Fate, OutSegment, Wake};
use super::short::MAX_SUPER;
use super::tcb::{State, Tcb};
use super::timer::{Pending, TimerKind};
use crate::Stack;
use crate::call::PollEvents;
use crate::ip::IpOut;
use crate::record::What;
use crate::route::Dst;
use crate::socket::sock::pmtudisc;
use crate::tcp::sock::NO_FILE;

/// Payloads up to this are copied behind the headers; longer ones are shared.
pub(super) const INLINE: usize = 256;

const READABLE: PollEvents = PollEvents(PollEvents::IN.0 | PollEvents::RDNORM.0);
/// With `POLLWRBAND`.
const WRITABLE: PollEvents = PollEvents(PollEvents::OUT.0 | PollEvents::WRNORM.0 | 0x200);
/// `sk_state_change` wakes everybody.
const EVERYTHING: PollEvents = PollEvents(u32::MAX);

/// How a segment leaves (`struct inet_sock`'s part of it).
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) dst: Dst,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) discover: u8,
    flow_label: u32,
}

impl Stack {
    /// One step of a connection, with everything that follows from it. `None` when the socket has no connection.
    pub(crate) fn tcp_step<R>(
        &mut self,
        now: Instant,
        id: u32,
        step: impl FnOnce(&mut Tcb, &mut Cx<'_>) -> R,
    ) -> Option<R> {
        let mut tcb = self.tcp.socks.get_mut(id)?.tcb.take()?;
        self.tcp.memory.sockets = self.tcp.socks.len();
        let orphans = self.tcp.memory.count_orphans(now, self.config.profile, self.tcp.orphans);
        let queue_full = self.tcp.full_queue.is_some()
            && self.tcp.socks[id].dst.map(|(_, dst)| dst.ifindex) == self.tcp.full_queue;
        let no_route = self.tcp.socks[id].dst.is_none();
        let way_mtu = self.tcp.socks[id].dst.map_or(u32::MAX, |(_, dst)| dst.mtu);
        let mut cx = Cx {
            queue_full,
            no_route,
            way_mtu,
            now,
            sysctl: &self.sysctl.ns,
            profile: self.config.profile,
            granularity: self.config.granularity,
            mem: &mut self.tcp.memory,
            mib: &mut self.mib,
            rng: &mut self.tcp.rng,
            timers: &mut self.timers,
            segments: &mut self.tcp.segments,
            chunks: &mut self.tcp.chunks,
            wake: Wake::default(),
            fate: None,
            dst_suspect: false,
            fastopen_removed: None,
            peers: &mut self.tcp.peers,
            confirm: false,
            moved_timers: 0,
            orphans,
            transitions: &mut self.tcp.transitions,
        };
        let result = step(&mut tcb, &mut cx);
        let Cx { wake, fate, dst_suspect, confirm, fastopen_removed, moved_timers, .. } = cx;
        if moved_timers != 0 {
            tcb.timers.enqueue(&mut self.timers, TcpId(id), moved_timers);
        }
        if !self.tcp.transitions.is_empty() {
            self.tcp_record_transitions(now, id, &tcb);
        }
        let sock = &mut self.tcp.socks[id];
        sock.tcb = Some(tcb);
        if confirm && let Some((_, dst)) = sock.dst {
            self.neigh_confirm(now, dst.ifindex, dst.next_hop);
        }
        if !self.tcp.segments.is_empty() {
            self.tcp_emit(now, id);
        }
        if dst_suspect {
            self.tcp.socks[id].dst = None;
        }
        if let Some(removed) = fastopen_removed {
            self.fastopen_removed(now, id, removed);
        }
        self.tcp_wake(id, wake);
        if let Some(fate) = fate {
            self.tcp_fate(now, id, fate);
        }
        Some(result)
    }

    fn tcp_record_transitions(&mut self, now: Instant, id: u32, tcb: &Tcb) {
        let serial = self.tcp.socks[id].serial;
        for (from, to) in self.tcp.transitions.drain(..) {
            self.out.record(now, || What::Sock {
                sock: serial,
                from: Some(from.name()),
                to: if to == State::Close && tcb.orphan { None } else { Some(to.name()) },
                addrs: format!("{} {}", tcb.local, tcb.remote),
            });
        }
    }

    fn tcp_wake(&mut self, id: u32, wake: Wake) {
        if !(wake.readable || wake.writable || wake.changed || wake.error) {
            return;
        }
        let Some(sock) = self.tcp.socks.get(id) else { return };
        let file = sock.file;
        if file == NO_FILE {
            return;
        }
        if wake.changed {
            self.wake_file(file, EVERYTHING);
            return;
        }
        if wake.error {
            self.wake_file(file, PollEvents::ERR);
        }
        let Some(sock) = self.tcp.socks.get(id) else { return };
        if wake.readable && sock.tcb.as_ref().is_some_and(|t| t.is_readable()) {
            self.wake_file(file, READABLE);
        }
        if wake.writable {
            self.wake_file(file, WRITABLE);
        }
    }

    fn tcp_fate(&mut self, now: Instant, id: u32, fate: Fate) {
        match fate {
            Fate::TimeWait { fin_wait2, timeout } => self.enter_time_wait(now, id, fin_wait2, timeout),
            Fate::Destroy => {}
        }
        self.tcp_release_closed(now, id);
    }

    /// A closed connection gives its four-tuple up (`tcp_set_state(TCP_CLOSE)` unhashes), and if nobody holds it,
    /// all of it.
    pub(crate) fn tcp_release_closed(&mut self, now: Instant, id: u32) {
        let Some(sock) = self.tcp.socks.get(id) else { return };
        let Some(tcb) = &sock.tcb else { return };
        if tcb.state() != State::Close {
            return;
        }
        let orphan = tcb.orphan;
        self.tcp_unhash(id);
        if !self.tcp.socks[id].port_locked {
            self.tcp_put_port(id);
        }
        if orphan && !self.tcp.socks[id].lingering && self.tcp.socks[id].file == NO_FILE {
            self.tcp_destroy(now, id);
        }
    }

    /// A connection's timer.
    pub(crate) fn tcp_timeout(&mut self, now: Instant, id: TcpId, kind: TimerKind) {
        self.tcp_sync_route(now, id.0);
        let Some(tcb) = self.tcp.socks.get(id.0).and_then(|s| s.tcb.as_ref()) else { return };
        let name = match (kind, tcb.timers.pending) {
            (TimerKind::Retransmit, Some(Pending::Retransmit)) if tcb.fo.server_pending() => "SYN-ACK",
            (TimerKind::Retransmit, Some(Pending::Retransmit)) => "RTO",
            (TimerKind::Retransmit, Some(Pending::LossProbe)) => "TLP",
            (TimerKind::Retransmit, Some(Pending::ReorderTimeout)) => "RACK",
            (TimerKind::Retransmit, Some(Pending::Probe0)) => "persist",
            (TimerKind::DelayedAck, _) => "delayed ACK",
            (TimerKind::Keepalive, _) => "keepalive",
            (TimerKind::Pacing | TimerKind::CompressedAck | TimerKind::Retransmit, _) => "",
        };
        let (due, tries) = (tcb.timer_is_due(now, kind), u16::from(tcb.retransmits) + 1);
        if due && !name.is_empty() {
            let detail =
                if matches!(name, "RTO" | "SYN-ACK") { format!("try {tries}") } else { String::new() };
            self.out.record(now, || What::Timer { name, detail });
        }
        self.tcp_step(now, id.0, |tcb, cx| tcb.on_timer(cx, kind));
        self.tcp_release_closed(now, id.0);
    }

    /// Looks the route up again when routing has changed, and follows its MTU (`tcp_current_mss`).
    pub(crate) fn tcp_sync_route(&mut self, now: Instant, id: u32) {
        let generation = self.route_generation();
        let Some(sock) = self.tcp.socks.get(id) else { return };
        let Some(tcb) = &sock.tcb else { return };
        if let Some((known, dst)) = sock.dst
            && known == generation
        {
            if dst.mtu != tcb.path_mtu {
                self.tcp_step(now, id, |tcb, cx| tcb.sync_mss(cx, dst.mtu));
            }
            return;
        }
        let (local, remote, path_mtu) = (tcb.local, tcb.remote, tcb.path_mtu);
        let connecting = tcb.state() == State::SynSent;
        let Some((dst, way)) = self.tcp_route(now, Some(id), local, remote) else {
            self.tcp.socks[id].dst = None;
            return;
        };
        let sock = &mut self.tcp.socks[id];
        sock.dst = Some((generation, dst));
        if let Some(tcb) = &mut sock.tcb {
            tcb.way = way;
        }
        if dst.mtu != path_mtu {
            // tcp_advertise_mss: a SYN that is repeated announces what the path bears now.
            let advmss = if connecting { self.advmss(&dst, &way, remote) } else { u16::MAX };
            self.tcp_step(now, id, |tcb, cx| {
                tcb.rcv.advmss = tcb.rcv.advmss.min(advmss);
                tcb.sync_mss(cx, dst.mtu);
            });
        }
    }

    /// The same before a program's data are sent: segments are cut for the way that was known (`tcp_current_mss` takes
    /// the cached route as it is), and leave by the new one (`__sk_dst_check` in `__ip_queue_xmit`).
    pub(crate) fn tcp_sync_route_to_send(&mut self, now: Instant, id: u32) {
        let generation = self.route_generation();
        let Some(sock) = self.tcp.socks.get(id) else { return };
        let stale = sock.dst.filter(|(known, _)| *known != generation);
        let established = sock.tcb.as_ref().filter(|t| !matches!(t.state(), State::SynSent | State::Close));
        let (Some(_), Some(tcb)) = (stale, established) else { return self.tcp_sync_route(now, id) };
        let (local, remote) = (tcb.local, tcb.remote);
        let found = self.tcp_route(now, Some(id), local, remote);
        let sock = &mut self.tcp.socks[id];
        sock.dst = found.map(|(dst, _)| (generation, dst));
        if let (Some((_, way)), Some(tcb)) = (found, &mut sock.tcb) {
            tcb.way = way;
        }
    }

    /// Sends what a step made.
    fn tcp_emit(&mut self, now: Instant, id: u32) {
        let sock = &self.tcp.socks[id];
        let tcb = sock.tcb.as_ref().expect("the step put it back");
        let (local, remote) = (tcb.local, tcb.remote);
        let Some((_, dst)) = sock.dst else {
            // No way now: the segments are lost, timers will try again.
            self.mib.inc(if remote.is_ipv4() {
                crate::mib::Counter::IpOutNoRoutes
            } else {
                crate::mib::Counter::Ip6OutNoRoutes
            });
            self.tcp.segments.clear();
            return;
        };
        if self.tcp.full_queue == Some(dst.ifindex) {
            self.tcp.segments.clear(); // NET_XMIT_DROP
            return;
        }
        let way = self.way_of_sock(id, local, remote, dst);
        let mut next_id = sock.ip_id;
        let mut segments = core::mem::take(&mut self.tcp.segments);
        for segment in &mut segments {
            let payload = core::mem::take(&mut segment.payload);
            let mss = usize::from(segment.mss);
            if payload.len() > mss {
                self.emit_cut(now, &way, segment, &payload, &mut next_id);
                continue;
            }
            let ip_id = if segment.without_socket { 0 } else { next_id };
            next_id = next_id.wrapping_add(u16::from(!segment.without_socket));
            self.emit_one(now, &way, &segment.header, segment.ect, payload, ip_id);
        }
        segments.clear();
        self.tcp.segments = segments;
        self.tcp.socks[id].ip_id = next_id;
    }

    /// A super-segment: cut here unless the interface does it. Each segment on the wire takes an identification
    /// (`ip_select_ident_segs`).
    fn emit_cut(
        &mut self,
        now: Instant,
        way: &Way,
        segment: &OutSegment,
        payload: &Bytes,
        next_id: &mut u16,
    ) {
        let mss = usize::from(segment.mss);
        let tso = self.takes_super_segments(way);
        let most = if tso && mss < MAX_SUPER { MAX_SUPER / mss * mss } else { mss };
        let mut at = 0;
        while at < payload.len() {
            let n = most.min(payload.len() - at);
            let mut header = segment.header;
            header.seq += at as u32; // below 64 KiB
            if at + n < payload.len() {
                header.flags = header.flags - (Flags::FIN | Flags::PSH);
            }
            if at > 0 {
                header.flags = header.flags - Flags::CWR;
            }
            let ip_id = if segment.without_socket { 0 } else { *next_id };
            if !segment.without_socket {
                *next_id = next_id.wrapping_add(n.div_ceil(mss) as u16); // below 64 Ki
            }
            self.emit_one(now, way, &header, segment.ect, payload.slice(at..at + n), ip_id);
            at += n;
        }
    }

    fn way_of_sock(&self, id: u32, local: SocketAddr, remote: SocketAddr, dst: Dst) -> Way {
        let opts = &self.tcp.socks[id].opts;
        let (ttl, tos, discover) = if remote.is_ipv4() {
            (opts.ttl.unwrap_or(self.sysctl.ns.ip_default_ttl), opts.tos, opts.pmtudisc)
        } else {
            (opts.hops.unwrap_or(64), opts.tclass, opts.pmtudisc6)
        };
        Way { local, remote, dst, ttl, tos, discover, flow_label: 0 }
    }

    /// Sends a segment for which there is no full socket: SYN-ACKs (`ip_build_and_send_pkt`), ACKs and RSTs
    /// (`ip_send_unicast_reply`). They have DF and identification 0.
    pub(super) fn emit_without_socket(
        &mut self,
        now: Instant,
        listener: Option<u32>,
        local: SocketAddr,
        remote: SocketAddr,
        segment: &OutSegment,
        tos: u8,
    ) {
        let Some((dst, _)) = self.tcp_route(now, listener, local, remote) else {
            return;
        };
        let way = match listener.filter(|l| self.tcp.socks.get(*l).is_some()) {
            Some(id) => self.way_of_sock(id, local, remote, dst),
            None => Way {
                local,
                remote,
                dst,
                ttl: if remote.is_ipv4() { self.sysctl.ns.ip_default_ttl } else { 64 },
                tos: tos & 0xfc,
                discover: pmtudisc::DO,
                flow_label: 0,
            },
        };
        self.emit_one(now, &way, &segment.header, segment.ect, segment.payload.clone(), 0);
    }

    fn emit_one(&mut self, now: Instant, way: &Way, header: &Header, ect: bool, payload: Bytes, ip_id: u16) {
        if let Err(payload) = self.tcp4_output(now, way, header, payload, ip_id, ect) {
            self.emit_any(now, way, header, ect, payload, ip_id);
        }
    }

    /// The long way: IPv6, fragments, to ourselves.
    #[inline(never)]
    fn emit_any(&mut self, now: Instant, way: &Way, header: &Header, ect: bool, payload: Bytes, ip_id: u16) {
        let hlen = header.header_len();
        let len = hlen + payload.len();
        let pseudo = match (way.local.ip(), way.remote.ip()) {
            (IpAddr::V4(s), IpAddr::V4(d)) => {
                pseudo_v4(s, d, Protocol::TCP, u16::try_from(len).expect("segments are below 64 KiB"))
            }
            (IpAddr::V6(s), IpAddr::V6(d)) => {
                pseudo_v6(s, d, Protocol::TCP, u32::try_from(len).expect("segments are below 64 KiB"))
            }
            (s, d) => unreachable!("a connection from {s} to {d}"),
        };
        let body = sum(&payload);
        let inline = payload.len() <= INLINE;
        let room = if inline { payload.len() } else { 0 };
        let mut frame = Frame::with_headroom(MAX_HEADROOM, hlen + room);
        header.emit_with_checksum(frame.put_zeroed(hlen), pseudo, body);
        if inline {
            frame.put(&payload);
        } else {
            frame.set_tail(payload);
        }
        let mut out = IpOut::new(way.local.ip(), way.remote.ip(), Protocol::TCP);
        out.ttl = way.ttl;
        out.tos = if ect { way.tos & 0xfc | 2 } else { way.tos & 0xfc };
        out.flow_label = way.flow_label;
        out.pmtu_discover = !matches!(way.discover, pmtudisc::DONT | pmtudisc::INTERFACE | pmtudisc::OMIT);
        out.ignore_path_mtu = way.discover >= pmtudisc::PROBE;
        out.id = Some(ip_id);
        let _ = self.ip_output(now, &way.dst, &out, frame); // what does not leave is lost: timers try again
    }
}
