//! The table side of TIME_WAIT: entries come, are asked, are used again, go. TRUTH.md §4, §7.
//!
//! Linux: tcp_minisocks.c `tcp_time_wait`; inet_timewait_sock.c; tcp_ipv4.c `tcp_twsk_unique`, `tcp_v4_timewait_ack`.

use core::time::Duration;
use std::net::{IpAddr, SocketAddr};

use wire::tcp::{Flags, Header, Options, SeqNum, Timestamps};
use wire::{Bytes, Instant};

use super::bind::Holder;
use super::cx::{OutSegment, clock_ms, clock_s};
use super::input::Segment;
use super::sock::{NO_FILE, NO_PLACE};
use super::tables::{Owner, tuple_hash};
use super::time_wait::{TIME_WAIT_LEN, TimeWaitSock, TwSegment, TwVerdict};
use crate::ip::RxMeta;
use crate::mib::Counter;
use crate::record::What;
use crate::timer::TimerQueue;
use crate::{DropReason, Stack, TimerKey};

/// What a new connection takes over from the TIME_WAIT entry in its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recycled {
    pub(crate) entry: u32,
    pub(crate) iss: SeqNum,
    pub(crate) ts_recent: u32,
    pub(crate) ts_recent_stamp: u32,
}

impl Stack {
    /// `tcp_time_wait`: the connection becomes a TIME_WAIT (or FIN_WAIT2) entry, unless there are too many.
    pub(super) fn enter_time_wait(&mut self, now: Instant, id: u32, fin_wait2: bool, timeout: Duration) {
        let sock = &self.tcp.socks[id];
        let tcb = sock.tcb.as_ref().expect("its own step asked for it");
        let before = tcb.state().name();
        let limit = u32::try_from(self.sysctl.ns.tcp_max_tw_buckets).unwrap_or(0);
        let hash = sock.hash;
        match hash {
            Some(hash) if self.tcp.time_wait_count < limit => {
                let rto = tcb.rto;
                let hosts = (tcb.local.ip(), tcb.remote.ip());
                let stamp = (tcb.ts.recent, tcb.ts.recent_stamp);
                let recycled = self.recycle_time_wait(now, hosts, stamp, rto);
                let sock = &self.tcp.socks[id];
                let tcb = sock.tcb.as_ref().expect("looked at above");
                let timeout =
                    if fin_wait2 { timeout.max(rto * 7 / 2) } else { recycled.unwrap_or(TIME_WAIT_LEN) };
                let mut entry = TimeWaitSock::new(tcb.local.port(), tcb.remote.port());
                entry.fin_wait2 = fin_wait2;
                entry.rcv_nxt = tcb.rcv.nxt;
                entry.snd_nxt = tcb.snd.nxt;
                entry.rcv_wnd = tcb.receive_window();
                entry.rcv_wscale = tcb.rcv.wscale;
                entry.ts_recent = tcb.ts.recent;
                entry.ts_recent_stamp = tcb.ts.recent_stamp;
                entry.ts_offset = tcb.ts.offset;
                entry.entered_ms = clock_ms(now);
                entry.set_flags(tcb.ts.ok, sock.opts.reuse_addr, sock.opts.reuse_port);
                entry.tos = if tcb.remote.is_ipv4() { sock.opts.tos } else { sock.opts.tclass };
                entry.serial = sock.serial;
                entry.bind_place = NO_PLACE;
                let serial = sock.serial;
                let addrs = (tcb.local, tcb.remote);
                let tw = self.tcp.time_waits.insert(addrs.0.ip(), addrs.1.ip(), entry);
                if fin_wait2 && self.recycles() {
                    self.tcp.time_waits.remember_rto(tw, rto);
                }
                self.tcp.time_wait_count += 1;
                self.tcp.ehash.replace(hash, Owner::Full(id), Owner::TimeWait(tw));
                self.tcp.socks[id].hash = None;
                let place = self.hand_port_over(id, tw);
                self.tcp.time_waits[tw].bind_place = place;
                let kill = timeout <= Duration::from_secs(4);
                self.mib.inc(if kill { Counter::TcpExtTWKilled } else { Counter::TcpExtTW });
                self.time_wait_rearm(now, tw, timeout);
                let after = if fin_wait2 { "FIN-WAIT-2" } else { "TIME-WAIT" };
                if before != after {
                    self.out.record(now, || What::Sock {
                        sock: serial,
                        from: Some(before),
                        to: Some(after),
                        addrs: format!("{} {}", addrs.0, addrs.1),
                    });
                }
                self.tcp_step(now, id, |tcb, cx| {
                    tcb.update_metrics(cx);
                    tcb.done(cx);
                    cx.transitions.clear();
                    cx.fate = None;
                });
            }
            _ => {
                self.mib.inc(Counter::TcpExtTCPTimeWaitOverflow);
                self.tcp_step(now, id, |tcb, cx| {
                    tcb.done(cx);
                    cx.fate = None;
                });
            }
        }
    }

    /// `inet_twsk_hashdance`: the entry joins the port's bucket; the socket would leave it next, unless it is bound.
    fn hand_port_over(&mut self, id: u32, tw: u32) -> u32 {
        let sock = &mut self.tcp.socks[id];
        if sock.port_locked || sock.bind_place == NO_PLACE {
            return self.tcp.binds.add(sock.port, Holder::TimeWait(tw), true);
        }
        let place = core::mem::replace(&mut sock.bind_place, NO_PLACE);
        self.tcp.binds.replace(sock.port, place, Holder::TimeWait(tw));
        place
    }

    /// `inet_twsk_kill`
    pub(crate) fn time_wait_kill(&mut self, now: Instant, id: u32) {
        let (local, remote) = self.tcp.time_waits.addrs(&self.tcp.time_waits[id]);
        let mut tw = self.tcp.time_waits.remove(id).expect("the caller looked at it");
        if let Some(timer) = tw.take_timer() {
            self.timers.cancel_slot(timer);
        }
        self.tcp.time_wait_count -= 1;
        let hash = tuple_hash(self.tcp.secrets.port[0], local, remote);
        self.tcp.ehash.remove(hash, Owner::TimeWait(id));
        self.tcp_unbind(tw.local_port(), tw.bind_place);
        let state = if tw.fin_wait2 { "FIN-WAIT-2" } else { "TIME-WAIT" };
        self.out.record(now, || What::Sock {
            sock: tw.serial,
            from: Some(state),
            to: None,
            addrs: format!("{local} {remote}"),
        });
    }

    /// `tw_timer_handler`
    pub(crate) fn tcp_time_wait_timeout(&mut self, now: Instant, id: u32) {
        self.tcp.time_waits[id].set_timer(None);
        self.time_wait_kill(now, id);
    }

    fn time_wait_rearm(&mut self, now: Instant, id: u32, timeout: Duration) {
        if let Some(timer) = self.tcp.time_waits[id].take_timer() {
            self.timers.cancel_slot(timer);
        }
        let at = self.config.granularity.fire_at(now, timeout);
        let timer = self.timers.arm(at, TimerKey::TcpTimeWait(id));
        let tw = &mut self.tcp.time_waits[id];
        tw.set_timer(Some(TimerQueue::<TimerKey>::slot(timer)));
        tw.expires_ms = clock_ms(at);
    }

    /// A segment for an entry (`tcp_v4_rcv`, `do_time_wait`).
    pub(super) fn time_wait_rcv(
        &mut self,
        now: Instant,
        id: u32,
        meta: &RxMeta,
        seg: &mut Segment,
    ) -> Result<(), DropReason> {
        let arrived = TwSegment {
            seq: seg.seq,
            end_seq: seg.end_seq,
            flags: seg.header.flags,
            tsval: seg.header.options.timestamps().map(|t| t.val),
        };
        let rfc1337 = self.sysctl.ns.tcp_rfc1337 != 0;
        let tw = &mut self.tcp.time_waits[id];
        let was_fin_wait2 = tw.fin_wait2;
        let mut step = tw.segment_arrives(&arrived, clock_s(now), rfc1337);
        if was_fin_wait2 && !tw.fin_wait2 {
            tw.entered_ms = clock_ms(now);
            let sock = tw.serial;
            let stamp = (tw.ts_recent, if tw.ts_ok() { tw.ts_recent_stamp } else { 0 });
            let (local, remote) = self.tcp.time_waits.addrs(&self.tcp.time_waits[id]);
            let rto = self.tcp.time_waits.rto(id);
            let recycled = self.recycle_time_wait(now, (local.ip(), remote.ip()), stamp, rto);
            step.rearm = recycled.or(step.rearm);
            self.out.record(now, || What::Sock {
                sock,
                from: Some("FIN-WAIT-2"),
                to: Some("TIME-WAIT"),
                addrs: format!("{local} {remote}"),
            });
        }
        if step.paws {
            // A counter of its own since 6.14.
            let own = self.config.profile >= crate::KernelProfile::V6_18;
            self.mib.inc(if own { Counter::TcpExtPAWSTimewait } else { Counter::TcpExtPAWSEstab });
        }
        if let Some(timeout) = step.rearm {
            self.time_wait_rearm(now, id, timeout);
        }
        match step.verdict {
            TwVerdict::Success => {}
            TwVerdict::Kill => self.time_wait_kill(now, id),
            TwVerdict::Ack => self.time_wait_ack(now, id, seg, was_fin_wait2),
            TwVerdict::Reset => {
                self.send_reset_for(now, meta, seg);
                self.time_wait_kill(now, id);
            }
            TwVerdict::Syn(isn) => {
                let local = SocketAddr::new(meta.dst, seg.header.dst_port);
                let remote = SocketAddr::new(meta.src, seg.header.src_port);
                match self.listener_lookup(local, remote, meta.ifindex) {
                    Some(listener) => {
                        self.time_wait_kill(now, id);
                        return self.listener_rcv(now, listener, meta, seg, Some(isn));
                    }
                    None => self.time_wait_ack(now, id, seg, was_fin_wait2),
                }
            }
        }
        Err(DropReason::NotSpecified)
    }

    /// `tcp_v4_timewait_ack`, after `tcp_timewait_check_oow_rate_limit` for what is no data.
    fn time_wait_ack(&mut self, now: Instant, id: u32, seg: &Segment, fin_wait2: bool) {
        let has_data = seg.seq != seg.end_seq && !seg.header.flags.syn();
        let limit = self.sysctl.ns.tcp_invalid_ratelimit;
        let (local, remote) = self.tcp.time_waits.addrs(&self.tcp.time_waits[id]);
        let tw = &mut self.tcp.time_waits[id];
        if !has_data {
            let since = Duration::from_millis(clock_ms(now).wrapping_sub(tw.last_oow_ms).into());
            if tw.last_oow_ms != 0 && since < limit {
                self.mib.inc(if fin_wait2 {
                    Counter::TcpExtTCPACKSkippedFinWait2
                } else {
                    Counter::TcpExtTCPACKSkippedTimeWait
                });
                return;
            }
            tw.last_oow_ms = clock_ms(now).max(1);
        }
        let ts = Timestamps { val: Self::tsval(now, tw.ts_offset), ecr: tw.ts_recent };
        let header = Header {
            src_port: local.port(),
            dst_port: remote.port(),
            seq: tw.snd_nxt,
            ack: tw.rcv_nxt,
            flags: Flags::ACK,
            window: u16::try_from((tw.rcv_wnd >> tw.rcv_wscale).min(65_535)).expect("clamped"),
            options: if tw.ts_ok() { Options::of_timestamps(ts) } else { Options::EMPTY },
            ..Header::default()
        };
        let tos = tw.tos;
        self.mib.inc(Counter::TcpOutSegs);
        let payload = Bytes::new();
        let segment = OutSegment { header, payload, mss: u16::MAX, ect: false, without_socket: true };
        self.emit_without_socket(now, None, local, remote, &segment, tos);
    }

    /// `tcp_twsk_unique`: may a new connection take the place of this entry? `chosen`: `connect` looks for a port, so
    /// that the entry must be old enough; a bound port needs only timestamps (TRUTH 7bB).
    pub(super) fn time_wait_reusable(&self, now: Instant, id: u32, chosen: bool) -> Option<Recycled> {
        let tw = &self.tcp.time_waits[id];
        let mut reuse = self.sysctl.ns.tcp_tw_reuse != 0;
        if self.sysctl.ns.tcp_tw_reuse == 2 {
            let loopback = |ip: IpAddr| ip.is_loopback();
            let (local, remote) = self.tcp.time_waits.addrs(tw);
            reuse = loopback(local.ip()) || loopback(remote.ip());
        }
        // Not while the peer may still send (since 6.11; 7b11).
        reuse &= !(tw.fin_wait2 && self.config.profile >= crate::KernelProfile::V6_12);
        if tw.ts_recent_stamp == 0 || !tw.ts_ok() {
            return None;
        }
        let old = if self.config.profile >= crate::KernelProfile::V6_18 {
            let age = clock_ms(now).wrapping_sub(tw.entered_ms);
            age as i32 > 0 && age > self.sysctl.ns.tcp_tw_reuse_delay
        } else {
            // Before tcp_tw_reuse_delay (6.14): in another second than the last timestamp (7b11 of 6.12).
            clock_s(now).wrapping_sub(tw.ts_recent_stamp) as i32 > 0
        };
        if chosen && !(reuse && old) {
            return None;
        }
        let mut iss = tw.snd_nxt + 65_535 + 2;
        if iss.0 == 0 {
            iss = SeqNum(1);
        }
        Some(Recycled { entry: id, iss, ts_recent: tw.ts_recent, ts_recent_stamp: tw.ts_recent_stamp })
    }

    /// Takes a holder out of its bind bucket.
    pub(super) fn tcp_unbind(&mut self, port: u16, place: u32) {
        if place == NO_PLACE {
            return;
        }
        match self.tcp.binds.remove(port, place) {
            Some(Holder::Sock(moved)) => self.tcp.socks[moved].bind_place = place,
            Some(Holder::TimeWait(moved)) => self.tcp.time_waits[moved].bind_place = place,
            None => {}
        }
    }

    /// `inet_put_port`
    pub(super) fn tcp_put_port(&mut self, id: u32) {
        let sock = &mut self.tcp.socks[id];
        let place = core::mem::replace(&mut sock.bind_place, NO_PLACE);
        let port = sock.port;
        self.tcp_unbind(port, place);
    }

    /// `inet_unhash`
    pub(super) fn tcp_unhash(&mut self, id: u32) {
        if let Some(hash) = self.tcp.socks[id].hash.take() {
            self.tcp.ehash.remove(hash, Owner::Full(id));
        }
    }

    /// A connection's queues are gone: their pages are the host's again.
    pub(super) fn tcp_memory_back(&mut self, now: Instant, pages: u32) {
        let low = self.sysctl.ns.tcp_mem[0];
        self.tcp.memory.release(&mut self.mib, now, low, pages);
    }

    /// `inet_csk_destroy_sock`: nothing is left of it.
    pub(super) fn tcp_destroy(&mut self, now: Instant, id: u32) {
        if self.tcp.socks.get(id).is_some_and(|s| s.tcb.as_ref().is_some_and(|t| t.fo.option_sent)) {
            let dev = self.tcp.socks[id].dst.map(|(_, dst)| dst.ifindex);
            let loopback = dev.and_then(|dev| self.ifaces.get(dev)).is_some_and(|i| i.is_loopback());
            self.tcp_step(now, id, |tcb, cx| tcb.fastopen_closing_check(cx, loopback));
        }
        self.tcp_unhash(id);
        self.tcp_put_port(id);
        let Some(mut sock) = self.tcp.socks.remove(id) else { return };
        debug_assert_eq!(sock.file, NO_FILE, "a file holds it");
        if let Some(parent) = sock.parent
            && let Some(listener) = self.tcp.socks.get_mut(parent).and_then(|p| p.listener.as_mut())
        {
            listener.accept.retain(|c| *c != id);
        }
        if let Some(mut tcb) = sock.tcb.take() {
            tcb.timers.remove_all(&mut self.timers);
            let pages = tcb.mem_pages;
            let orphan = tcb.orphan_counted;
            self.tcp_memory_back(now, pages);
            if orphan {
                self.tcp.orphans -= 1;
            }
            self.tcp.spare.keep(tcb);
        }
    }
}
