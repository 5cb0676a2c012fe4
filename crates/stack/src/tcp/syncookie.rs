//! SYN cookies: the half-open connection travels in the sequence number of the SYN-ACK, its options in the timestamp.
//!
//! RFC 4987 §3.6. Linux: net/ipv4/syncookies.c `__cookie_v4_init_sequence`, `cookie_v4_check`,
//! `cookie_init_timestamp`, `cookie_timestamp_decode`. TRUTH.md §6 (6b, 6c, 6f to 6h).

use core::time::Duration;
use std::net::SocketAddr;

use wire::Instant;
use wire::tcp::SeqNum;

use super::cx::clock_ms;
use super::input::Segment;
use super::isn::{Secrets, siphash};
use super::listen::Syn;
use super::request::RequestSock;
use super::rx::window::{DEFAULT_SCALING_RATIO, initial_window, window_from_space};
use super::tables::tuple_hash;
use crate::ip::RxMeta;
use crate::mib::Counter;
use crate::{DropReason, Stack};

/// MSS values that a cookie can carry (`msstab`), for IPv4 and IPv6.
const MSS_V4: [u16; 4] = [536, 1300, 1440, 1460];
const MSS_V6: [u16; 4] = [1280 - 60, 1480 - 60, 1500 - 60, 9000 - 60];
/// `MAX_SYNCOOKIE_AGE`: minutes that a cookie is good for.
const MAX_AGE: u32 = 2;
/// `TCP_SYNCOOKIE_VALID`: cookies are looked for that long after the last one was sent.
const VALID: Duration = Duration::from_secs(120);
const COOKIE_BITS: u32 = 24;
const COOKIE_MASK: u32 = (1 << COOKIE_BITS) - 1;

/// `TSBITS`: window scale (4 bits, 15 for none), SACK, ECN.
const TS_BITS: u32 = 6;
const TS_SACK: u32 = 1 << 4;
const TS_ECN: u32 = 1 << 5;
const TS_NO_WSCALE: u32 = 0xf;

fn minutes(now: Instant) -> u32 {
    (now.as_nanos() / 60_000_000_000) as u32 // wraps after 8000 years
}

fn hash(secrets: &Secrets, local: SocketAddr, remote: SocketAddr, count: u32, which: u64) -> u32 {
    let seed = u64::from(tuple_hash(secrets.cookie[0] ^ which, local, remote));
    siphash(secrets.cookie, &[seed, u64::from(count) | which << 32]) as u32 // its low half
}

fn table(local: SocketAddr) -> &'static [u16; 4] {
    if local.is_ipv4() { &MSS_V4 } else { &MSS_V6 }
}

/// `secure_tcp_syn_cookie`
fn make(
    secrets: &Secrets,
    local: SocketAddr,
    remote: SocketAddr,
    peer_isn: SeqNum,
    count: u32,
    data: u32,
) -> SeqNum {
    let tail = hash(secrets, local, remote, count, 1).wrapping_add(data) & COOKIE_MASK;
    let sum = hash(secrets, local, remote, 0, 0)
        .wrapping_add(peer_isn.0)
        .wrapping_add(count << COOKIE_BITS)
        .wrapping_add(tail);
    SeqNum(sum)
}

/// `check_tcp_syn_cookie`: the data, when the cookie is not older than two minutes.
fn check(
    secrets: &Secrets,
    local: SocketAddr,
    remote: SocketAddr,
    cookie: SeqNum,
    peer_isn: SeqNum,
    count: u32,
) -> Option<u32> {
    let rest = cookie.0.wrapping_sub(hash(secrets, local, remote, 0, 0)).wrapping_sub(peer_isn.0);
    let age = count.wrapping_sub(rest >> COOKIE_BITS) & (u32::MAX >> COOKIE_BITS);
    if age >= MAX_AGE {
        return None;
    }
    Some(rest.wrapping_sub(hash(secrets, local, remote, count.wrapping_sub(age), 1)) & COOKIE_MASK)
}

/// `cookie_init_timestamp`: the clock with its last bits telling the options; never ahead of the clock.
pub(super) fn tsval(now: Instant, req: &RequestSock) -> u32 {
    let mut options = if req.wscale_ok { u32::from(req.snd_wscale) } else { TS_NO_WSCALE };
    if req.sack_ok {
        options |= TS_SACK;
    }
    if req.ecn_ok {
        options |= TS_ECN;
    }
    let clock = clock_ms(now);
    let mut val = clock >> TS_BITS << TS_BITS | options;
    if val > clock {
        val = val.wrapping_sub(1 << TS_BITS);
    }
    val
}

impl Stack {
    /// `cookie_init_sequence`
    pub(super) fn cookie_init(&mut self, now: Instant, syn: &Syn<'_>, req: &mut RequestSock) {
        let listener = self.tcp.socks[syn.listener].listener.as_mut().expect("it listens");
        listener.overflow = Some(now);
        self.mib.inc(Counter::TcpExtSyncookiesSent);
        let table = table(req.local);
        let index = table.iter().rposition(|m| req.mss >= *m).unwrap_or(0);
        let data = u32::try_from(index).expect("four");
        req.snt_isn = make(&self.tcp.secrets, req.local, req.remote, req.rcv_isn, minutes(now), data);
        if !req.ts_ok {
            req.ecn_ok = false;
        }
    }

    /// `cookie_v4_check`: an ACK for a listener may be the answer to a cookie. `None`: it is not.
    pub(super) fn cookie_check(
        &mut self,
        now: Instant,
        listener: u32,
        meta: &RxMeta,
        seg: &mut Segment,
    ) -> Option<Result<(), DropReason>> {
        if self.sysctl.ns.tcp_syncookies == 0 {
            return None;
        }
        let overflow = self.tcp.socks[listener].listener.as_ref()?.overflow;
        if overflow.is_none_or(|at| now - at > VALID) {
            return None;
        }
        let local = SocketAddr::new(meta.dst, seg.header.dst_port);
        let remote = SocketAddr::new(meta.src, seg.header.src_port);
        let cookie = SeqNum(seg.ack.0.wrapping_sub(1));
        let peer_isn = SeqNum(seg.seq.0.wrapping_sub(1));
        let data = check(&self.tcp.secrets, local, remote, cookie, peer_isn, minutes(now));
        let Some(mss) = data.and_then(|d| table(local).get(usize::try_from(d).ok()?)) else {
            self.mib.inc(Counter::TcpExtSyncookiesFailed);
            return None;
        };
        self.mib.inc(Counter::TcpExtSyncookiesRecv);
        let req = self.request_of_cookie(now, listener, meta, seg, *mss)?;
        if self.accept_is_full(listener) {
            return Some(Err(DropReason::TcpListenOverflow));
        }
        Some(self.make_child(now, listener, &req, None, meta, seg))
    }

    /// The request as it was when the cookie was sent; `None` when the options contradict the settings.
    fn request_of_cookie(
        &mut self,
        now: Instant,
        listener: u32,
        meta: &RxMeta,
        seg: &Segment,
        mss: u16,
    ) -> Option<RequestSock> {
        let local = SocketAddr::new(meta.dst, seg.header.dst_port);
        let remote = SocketAddr::new(meta.src, seg.header.src_port);
        let ts_off = self.tcp.secrets.ts_offset(local.ip(), remote.ip());
        let ts = seg.header.options.timestamps().filter(|t| t.ecr != 0);
        let options = ts.map(|t| t.ecr.wrapping_sub(ts_off) & ((1 << TS_BITS) - 1));
        let ns = &self.sysctl.ns;
        if ts.is_some() && ns.tcp_timestamps == 0 {
            return None;
        }
        let sack_ok = options.is_some_and(|o| o & TS_SACK != 0);
        let wscale = options.map(|o| o & TS_NO_WSCALE).filter(|w| *w != TS_NO_WSCALE);
        if sack_ok && ns.tcp_sack == 0 || wscale.is_some() && ns.tcp_window_scaling == 0 {
            return None;
        }
        let ecn_ok = options.is_some_and(|o| o & TS_ECN != 0) && ns.tcp_ecn != 0;
        let (dst, way) = self.tcp_route(now, Some(listener), local, remote)?;
        let sock = &self.tcp.socks[listener];
        let serial = sock.serial;
        let space = window_from_space(sock.opts.rcvbuf, DEFAULT_SCALING_RATIO);
        let locked = sock.prep.rcvbuf_locked;
        let advmss = self.advmss(&dst, &way, remote);
        // cookie_v4_check: cut to segments of the peer's size, not of ours as the SYN, ACK was.
        let window = initial_window(&self.sysctl.ns, space, mss.into(), 0, wscale.is_some(), locked)
            .at_most(way.initrwnd, mss.into());
        Some(RequestSock {
            listener,
            listener_serial: serial,
            serial: 0,
            local,
            remote,
            rcv_isn: SeqNum(seg.seq.0.wrapping_sub(1)),
            snt_isn: SeqNum(seg.ack.0.wrapping_sub(1)),
            rcv_nxt: seg.seq,
            ts_recent: ts.map_or(0, |t| t.val),
            ts_off,
            tsval_first: 0,
            tsval_last: 0,
            mss,
            advmss,
            snd_wscale: wscale.map_or(0, |w| u8::try_from(w).expect("four bits")),
            rcv_wscale: window.wscale,
            wscale_ok: wscale.is_some(),
            sack_ok,
            ts_ok: ts.is_some(),
            ecn_ok,
            acked: false,
            cookie: true,
            rcv_wnd: window.rcv_wnd,
            window_clamp: window.window_clamp,
            num_timeout: 0,
            num_retrans: 0,
            snt_synack: Instant::ZERO,
            last_oow_ack: Instant::ZERO,
            timer: None,
            hash: tuple_hash(self.tcp.secrets.port[0], local, remote),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn a_cookie_carries_its_data_for_two_minutes_and_nothing_else_passes() {
        let secrets = Secrets::new(&Rng::new(1, "cookie"));
        let (local, remote) = ("192.0.2.2:80".parse().unwrap(), "192.0.2.1:40000".parse().unwrap());
        let isn = SeqNum(0xffff_fff0);
        for data in 0..4 {
            let cookie = make(&secrets, local, remote, isn, 1000, data);
            for later in 0..MAX_AGE {
                assert_eq!(check(&secrets, local, remote, cookie, isn, 1000 + later), Some(data));
            }
            assert_eq!(check(&secrets, local, remote, cookie, isn, 1002), None);
            let other = "192.0.2.1:40001".parse().unwrap();
            assert_ne!(check(&secrets, local, other, cookie, isn, 1000), Some(data));
        }
    }
}
