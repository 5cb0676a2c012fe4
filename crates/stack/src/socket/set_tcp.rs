//! `getsockopt` and `setsockopt` of TCP's sockets: level `IPPROTO_TCP`, and what `SOL_SOCKET` options do to a
//! connection. Linux: tcp.c `do_tcp_setsockopt`, `do_tcp_getsockopt`. Bounds: TRUTH.md §12 (12b), TRUTH 3e.

use core::time::Duration;

use wire::Instant;

use super::options::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, SOL_SOCKET};
use super::set_socket::{NOT_MODELLED, flag, from_flag, int};
use crate::call::{Domain, OptValue, SockOpt};
use crate::tcp::cc::Cc;
use crate::tcp::fastopen::keys::Keys;
use crate::tcp::info::info_unconnected;
use crate::tcp::notes::sof;
use crate::tcp::tcb::{Nagle, State};
use crate::{Errno, KernelProfile, Stack};

/// `MAX_TCP_KEEPIDLE`, `MAX_TCP_KEEPINTVL`
const MAX_KEEP_SECONDS: i32 = 32_767;
/// `TCP_FIN_TIMEOUT_MAX`
const MAX_LINGER2: u64 = 120;

/// `secs_to_retrans`: how many SYN-ACK timeouts cover so many seconds.
fn seconds_to_timeouts(seconds: i32, rto_max: i32) -> u8 {
    if seconds <= 0 {
        return 0;
    }
    let (mut n, mut timeout, mut period) = (1u8, 1, 1);
    while seconds > period && n < u8::MAX {
        n += 1;
        timeout = (timeout * 2).min(rto_max);
        period += timeout;
    }
    n
}

/// `retrans_to_secs`
fn timeouts_to_seconds(n: u8, rto_max: i32) -> i32 {
    let (mut timeout, mut period) = (1, i32::from(n > 0));
    for _ in 1..n {
        timeout = (timeout * 2).min(rto_max);
        period += timeout;
    }
    period
}

fn within(value: &OptValue, low: i32, high: i32) -> Result<i32, Errno> {
    int(value).and_then(|n| if (low..=high).contains(&n) { Ok(n) } else { Err(Errno::EINVAL) })
}

fn seconds(n: i32) -> Duration {
    Duration::from_secs(u64::try_from(n).unwrap_or(0))
}

impl Stack {
    pub(super) fn tcp_setsockopt(
        &mut self,
        now: Instant,
        id: u32,
        opt: SockOpt,
        value: &OptValue,
    ) -> Result<(), Errno> {
        let domain = self.tcp.socks[id].domain;
        let result = match opt.level {
            SOL_SOCKET => self.tcp_set_socket(now, id, opt, value),
            IPPROTO_IP => {
                let mut opts = (*self.tcp.socks[id].opts).clone();
                let done = super::set_ip::set_ip_option(&mut opts, opt, value);
                *self.tcp.socks[id].opts = opts;
                done
            }
            IPPROTO_IPV6 if domain == Domain::Inet6 => {
                let bound = self.tcp.socks[id].port != 0;
                super::set_ip::set_ipv6_option(&mut self.tcp.socks[id].opts, bound, opt, value)
            }
            IPPROTO_TCP => self.set_tcp(now, id, opt, value),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        self.note_unmodelled(now, opt, result.is_err_and(|e| e == NOT_MODELLED));
        result.map_err(|e| if e == NOT_MODELLED { Errno::ENOPROTOOPT } else { e })
    }

    pub(super) fn tcp_getsockopt(&mut self, now: Instant, id: u32, opt: SockOpt) -> Result<OptValue, Errno> {
        let domain = self.tcp.socks[id].domain;
        let result = match opt.level {
            SOL_SOCKET => self.tcp_get_socket(id, opt),
            IPPROTO_IP if opt == SockOpt::IP_MTU => self.tcp_path_mtu(id),
            IPPROTO_IPV6 if opt == SockOpt::IPV6_MTU => self.tcp_path_mtu(id),
            IPPROTO_IP => {
                super::set_ip::get_ip_option(&self.tcp.socks[id].opts, self.sysctl.ns.ip_default_ttl, opt)
            }
            IPPROTO_IPV6 if domain == Domain::Inet6 => {
                super::set_ip::get_ipv6_option(&self.tcp.socks[id].opts, opt)
            }
            // It can be read once.
            IPPROTO_TCP if opt == SockOpt::TCP_SAVED_SYN => {
                let saved = self.tcp.socks[id].saved_syn.take().unwrap_or_default();
                Ok(OptValue::Bytes(saved.into_vec().into()))
            }
            IPPROTO_TCP => self.get_tcp(now, id, opt),
            _ => return Err(Errno::EOPNOTSUPP),
        };
        self.note_unmodelled(now, opt, result.as_ref().is_err_and(|e| *e == NOT_MODELLED));
        result.map_err(|e| if e == NOT_MODELLED { Errno::ENOPROTOOPT } else { e })
    }

    fn tcp_path_mtu(&self, id: u32) -> Result<OptValue, Errno> {
        let tcb = self.tcp.socks[id].tcb.as_ref().ok_or(Errno::ENOTCONN)?;
        Ok(OptValue::Int(tcb.path_mtu.into()))
    }

    /// `sock_set_timestamping`
    fn tcp_set_timestamping(&mut self, now: Instant, id: u32, value: &OptValue) -> Result<(), Errno> {
        let flags = u32::try_from(int(value)?).map_err(|_| Errno::EINVAL)?;
        let alone = |option: u32, needs: u32| flags & option != 0 && flags & needs == 0;
        if flags & !sof::MASK != 0
            || alone(sof::OPT_ID_TCP, sof::OPT_ID)
            || alone(sof::OPT_STATS, sof::OPT_TSONLY)
        {
            return Err(Errno::EINVAL);
        }
        let sock = &self.tcp.socks[id];
        if sock.tcb.is_none() && flags & sof::OPT_ID != 0 && sock.prep.timestamping & sof::OPT_ID == 0 {
            return Err(Errno::EINVAL); // keys count bytes of a connection
        }
        if let Some(set) = self.tcp_step(now, id, |tcb, _| tcb.set_timestamping(flags)) {
            set?;
        }
        self.tcp.socks[id].prep.timestamping = flags;
        Ok(())
    }

    fn tcp_set_socket(&mut self, now: Instant, id: u32, opt: SockOpt, value: &OptValue) -> Result<(), Errno> {
        if matches!(opt, SockOpt::SO_TIMESTAMPING | SockOpt::SO_TIMESTAMPING_NEW) {
            return self.tcp_set_timestamping(now, id, value);
        }
        if opt == SockOpt::SO_ZEROCOPY {
            let on = within(value, 0, 1)? == 1;
            let sock = &mut self.tcp.socks[id];
            sock.prep.zerocopy = on;
            if let Some(tcb) = &mut sock.tcb {
                tcb.set_zerocopy(on);
            }
            return Ok(());
        }
        if opt == SockOpt::SO_MAX_PACING_RATE {
            let n = match value {
                OptValue::Int(n) => *n,
                _ => return Err(Errno::EINVAL),
            };
            // ~0 takes the limit away.
            let rate = u64::try_from(n).ok().filter(|n| *n < u64::from(u32::MAX));
            let sock = &mut self.tcp.socks[id];
            sock.prep.user.max_pacing_rate = rate;
            if let Some(tcb) = &mut sock.tcb {
                tcb.user.max_pacing_rate = rate;
                tcb.pacing_needed |= rate.is_some();
                tcb.pacing_rate = tcb.pacing_rate.min(rate.unwrap_or(u64::MAX));
            }
            return Ok(());
        }
        let mut opts = (*self.tcp.socks[id].opts).clone();
        self.set_common(&mut opts, opt, value)?;
        let sock = &mut self.tcp.socks[id];
        *sock.opts = opts;
        match opt {
            SockOpt::SO_DONTROUTE | SockOpt::SO_BINDTODEVICE | SockOpt::SO_BINDTOIFINDEX => sock.dst = None,
            SockOpt::SO_SNDBUF | SockOpt::SO_SNDBUFFORCE => {
                sock.prep.sndbuf_locked = true;
                let size = sock.opts.sndbuf;
                if let Some(tcb) = &mut sock.tcb {
                    tcb.sndbuf = size;
                    tcb.sndbuf_locked = true;
                }
            }
            SockOpt::SO_RCVBUF | SockOpt::SO_RCVBUFFORCE => {
                sock.prep.rcvbuf_locked = true;
                let size = sock.opts.rcvbuf;
                if let Some(tcb) = &mut sock.tcb {
                    tcb.rx.rcvbuf = size;
                    tcb.rx.rcvbuf_locked = true;
                }
            }
            SockOpt::SO_RCVLOWAT => {
                // tcp_set_rcvlowat: no more than half the buffer may become; the buffer grows until the mark fits.
                let locked = sock.prep.rcvbuf_locked;
                let most = match &sock.tcb {
                    Some(tcb) if locked => tcb.rx.rcvbuf >> 1,
                    None if locked => sock.opts.rcvbuf >> 1,
                    _ => u32::try_from(self.sysctl.ns.tcp_rmem[2]).unwrap_or(u32::MAX) >> 1,
                };
                let lowat = u32::try_from(sock.opts.rcvlowat).unwrap_or(1).min(most).max(1);
                sock.opts.rcvlowat = i32::try_from(lowat).unwrap_or(i32::MAX);
                match &mut sock.tcb {
                    Some(tcb) => {
                        tcb.rx.rcvlowat = lowat;
                        if !locked {
                            tcb.rcvbuf_for_lowat(lowat);
                        }
                    }
                    None if !locked => {
                        sock.opts.rcvbuf = sock.opts.rcvbuf.max(lowat.saturating_mul(2));
                    }
                    None => {}
                }
            }
            SockOpt::SO_OOBINLINE => {
                let on = sock.opts.oob_inline;
                sock.prep.user.oob_inline = on;
                if let Some(tcb) = &mut sock.tcb {
                    tcb.user.oob_inline = on;
                }
            }
            SockOpt::SO_KEEPALIVE => {
                let on = sock.opts.keepalive;
                sock.prep.user.keepalive = on;
                self.tcp_step(now, id, |tcb, cx| tcb.set_keepalive(cx, on));
            }
            _ => {}
        }
        Ok(())
    }

    fn tcp_get_socket(&mut self, id: u32, opt: SockOpt) -> Result<OptValue, Errno> {
        let sock = &mut self.tcp.socks[id];
        let (sndbuf, rcvbuf) = match &sock.tcb {
            Some(tcb) => (tcb.sndbuf, tcb.rx.rcvbuf),
            None => (sock.opts.sndbuf, sock.opts.rcvbuf),
        };
        Ok(match opt {
            SockOpt::SO_TYPE => OptValue::Int(1),
            SockOpt::SO_PROTOCOL => OptValue::Int(6),
            SockOpt::SO_DOMAIN => OptValue::Int(if sock.domain == Domain::Inet { 2 } else { 10 }),
            SockOpt::SO_ACCEPTCONN => from_flag(sock.listener.is_some()),
            SockOpt::SO_COOKIE => OptValue::Int(sock.serial.into()),
            SockOpt::SO_SNDBUF => OptValue::Int(sndbuf.into()),
            SockOpt::SO_RCVBUF => OptValue::Int(rcvbuf.into()),
            SockOpt::SO_ERROR => {
                let error = match &mut sock.tcb {
                    Some(tcb) => tcb.error.take().or_else(|| tcb.soft_error.take()),
                    None => sock.error.take(),
                };
                OptValue::Int(error.map_or(0, |e| e.0.into()))
            }
            SockOpt::SO_MAX_PACING_RATE => {
                let rate = sock.prep.user.max_pacing_rate;
                OptValue::Int(rate.map_or(i64::from(u32::MAX), |r| i64::try_from(r).unwrap_or(i64::MAX)))
            }
            SockOpt::SO_ZEROCOPY => from_flag(sock.prep.zerocopy),
            SockOpt::SO_TIMESTAMPING | SockOpt::SO_TIMESTAMPING_NEW => {
                OptValue::Int(sock.prep.timestamping.into())
            }
            SockOpt::SO_MEMINFO => {
                let of = |t: &crate::tcp::tcb::Tcb| {
                    (t.rx.rmem, u32::try_from(t.forward_alloc()).unwrap_or(0), t.wmem_queued())
                };
                let (rmem, forward, wmem) = sock.tcb.as_deref().map_or((0, 0, 0), of);
                // wmem_alloc is 0: TUN, TAP and lo let a packet's owner go at once.
                let words = [rmem, rcvbuf, 0, sndbuf, forward, wmem, 0, 0, 0];
                OptValue::Bytes(words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<u8>>().into())
            }
            _ => {
                let opts = (*self.tcp.socks[id].opts).clone();
                return self.get_common(&opts, opt);
            }
        })
    }

    fn set_tcp(&mut self, now: Instant, id: u32, opt: SockOpt, value: &OptValue) -> Result<(), Errno> {
        let rto_max = self.sysctl.ns.tcp_rto_max_ms / 1000;
        if opt == SockOpt::TCP_CONGESTION {
            return self.set_congestion(now, id, value);
        }
        let sock = &mut self.tcp.socks[id];
        let prep = &mut sock.prep;
        let user = &mut prep.user;
        match opt {
            SockOpt::TCP_NODELAY | SockOpt::TCP_CORK => {
                let on = flag(value)?;
                let change = |n: &mut Nagle| {
                    if opt == SockOpt::TCP_NODELAY {
                        n.off = on;
                        n.push = on;
                    } else {
                        n.cork = on;
                        n.push |= !on && n.off;
                    }
                };
                change(&mut prep.nagle);
                let flush = on == (opt == SockOpt::TCP_NODELAY);
                self.tcp_sync_route(now, id);
                self.tcp_step(now, id, |tcb, cx| {
                    change(&mut tcb.nagle);
                    if flush {
                        let nagle = tcb.nagle;
                        tcb.push_pending(cx, nagle);
                    }
                });
                return Ok(());
            }
            SockOpt::TCP_QUICKACK => {
                let n = int(value)?;
                prep.pingpong = n == 0;
                self.tcp_sync_route(now, id);
                self.tcp_step(now, id, |tcb, cx| tcb.set_quickack(cx, n));
                return Ok(());
            }
            SockOpt::TCP_KEEPIDLE => {
                let idle = seconds(within(value, 1, MAX_KEEP_SECONDS)?);
                user.keepidle = idle;
                self.tcp_step(now, id, |tcb, cx| tcb.set_keepidle(cx, idle));
                return Ok(());
            }
            SockOpt::TCP_MAXSEG => {
                let n = int(value)?;
                if n != 0 && !(88..=32_767).contains(&n) {
                    return Err(Errno::EINVAL);
                }
                prep.user_mss = u16::try_from(n).expect("checked");
            }
            SockOpt::TCP_KEEPINTVL => user.keepintvl = seconds(within(value, 1, MAX_KEEP_SECONDS)?),
            SockOpt::TCP_KEEPCNT => user.keepcnt = within(value, 1, 127)? as u8, // checked
            SockOpt::TCP_SYNCNT => user.syn_retries = within(value, 1, 127)? as u8, // checked
            SockOpt::TCP_LINGER2 => {
                user.linger2 = match int(value)? {
                    n if n < 0 => Some(None),
                    0 => None,
                    n => {
                        Some(Some(Duration::from_secs(u64::try_from(n).expect("positive").min(MAX_LINGER2))))
                    }
                };
            }
            SockOpt::TCP_THIN_LINEAR_TIMEOUTS => user.thin_linear = within(value, 0, 1)? == 1,
            // It does nothing since 4.13.
            SockOpt::TCP_THIN_DUPACK => drop(within(value, 0, 1)?),
            SockOpt::TCP_INQ => prep.inq = within(value, 0, 1)? == 1,
            SockOpt::TCP_DEFER_ACCEPT => user.defer_accept = seconds_to_timeouts(int(value)?, rto_max),
            SockOpt::TCP_USER_TIMEOUT => {
                let ms = u64::try_from(int(value)?).map_err(|_| Errno::EINVAL)?;
                user.user_timeout = Duration::from_millis(ms);
            }
            SockOpt::TCP_NOTSENT_LOWAT => user.notsent_lowat = Some(int(value)? as u32), // the bits
            SockOpt::TCP_WINDOW_CLAMP => {
                let n = u32::try_from(int(value)?).map_err(|_| Errno::EINVAL)?;
                let closed = sock.tcb.as_ref().is_none_or(|t| t.state() == State::Close);
                if n == 0 && !closed {
                    return Err(Errno::EINVAL);
                }
                user.window_clamp = if n == 0 { 0 } else { n.max(1152) }; // SOCK_MIN_RCVBUF / 2
                let clamp = user.window_clamp;
                if let Some(tcb) = sock.tcb.as_mut().filter(|_| clamp > 0) {
                    tcb.rcv.window_clamp = clamp;
                    tcb.rcv.ssthresh = tcb.rcv.ssthresh.min(clamp);
                }
            }
            SockOpt::TCP_FASTOPEN
            | SockOpt::TCP_FASTOPEN_CONNECT
            | SockOpt::TCP_FASTOPEN_NO_COOKIE
            | SockOpt::TCP_FASTOPEN_KEY => return self.set_fastopen(id, opt, value),
            SockOpt::TCP_SAVE_SYN => prep.save_syn = within(value, 0, 2)? as u8, // checked
            // Without CONFIG_TCP_AO, as on the reference machine.
            SockOpt::TCP_INFO | SockOpt::TCP_AO_ADD_KEY | SockOpt::TCP_AO_DEL_KEY | SockOpt::TCP_AO_INFO => {
                return Err(Errno::ENOPROTOOPT);
            }
            _ => return Err(NOT_MODELLED),
        }
        let user = sock.prep.user.clone();
        if let Some(tcb) = &mut sock.tcb {
            tcb.user = user;
        }
        Ok(())
    }

    /// `TCP_FASTOPEN…`; who may set them depends on the state.
    fn set_fastopen(&mut self, id: u32, opt: SockOpt, value: &OptValue) -> Result<(), Errno> {
        if self.config.profile <= KernelProfile::V4_4 && opt != SockOpt::TCP_FASTOPEN {
            return Err(Errno::ENOPROTOOPT); // they came with 4.11 and 4.15
        }
        let sock = &mut self.tcp.socks[id];
        let listens = sock.listener.is_some();
        let closed = !listens && sock.tcb.as_ref().is_none_or(|t| t.state() == State::Close);
        let own = &mut sock.prep.fastopen;
        match opt {
            SockOpt::TCP_FASTOPEN_KEY => {
                let OptValue::Bytes(bytes) = value else { return Err(Errno::EINVAL) };
                own.keys = Some(Box::new(Keys::from_bytes(bytes).ok_or(Errno::EINVAL)?));
            }
            SockOpt::TCP_FASTOPEN => {
                let n = u32::try_from(int(value)?).map_err(|_| Errno::EINVAL)?;
                if !closed && !listens {
                    return Err(Errno::EINVAL);
                }
                own.max_qlen = n.min(u32::try_from(self.sysctl.ns.somaxconn).unwrap_or(0));
                self.fastopen_init_key();
            }
            SockOpt::TCP_FASTOPEN_CONNECT => {
                let on = within(value, 0, 1)? == 1;
                if self.sysctl.ns.tcp_fastopen & crate::tcp::fastopen::CLIENT_ENABLE == 0 {
                    return Err(Errno::EOPNOTSUPP);
                }
                if !closed {
                    return Err(Errno::EINVAL);
                }
                own.connect = on;
            }
            _ => {
                let on = within(value, 0, 1)? == 1;
                if !closed && !listens {
                    return Err(Errno::EINVAL);
                }
                own.no_cookie = on;
            }
        }
        Ok(())
    }

    fn set_congestion(&mut self, now: Instant, id: u32, value: &OptValue) -> Result<(), Errno> {
        let OptValue::Text(name) = value else { return Err(Errno::EINVAL) };
        let cc = Cc::by_name(name).ok_or(Errno::ENOENT)?;
        self.tcp.socks[id].prep.congestion = cc.name();
        self.tcp_step(now, id, |tcb, cx| tcb.change_congestion(cx, cc));
        Ok(())
    }

    fn get_tcp(&self, now: Instant, id: u32, opt: SockOpt) -> Result<OptValue, Errno> {
        let ns = &self.sysctl.ns;
        let sock = &self.tcp.socks[id];
        let (prep, user) = (&sock.prep, &sock.prep.user);
        let tcb = sock.tcb.as_ref().filter(|t| t.state() != State::Close);
        let or = |own: Duration, default: Duration| {
            let d = if own.is_zero() { default } else { own };
            OptValue::Int(i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
        };
        let nagle = sock.tcb.as_ref().map_or(prep.nagle, |t| t.nagle);
        Ok(match opt {
            SockOpt::TCP_NODELAY => from_flag(nagle.off),
            SockOpt::TCP_CORK => from_flag(nagle.cork),
            SockOpt::TCP_MAXSEG => OptValue::Int(match tcb {
                Some(tcb) => tcb.mss.into(),
                None if prep.user_mss > 0 => prep.user_mss.into(),
                None => 536,
            }),
            SockOpt::TCP_KEEPIDLE => or(user.keepidle, ns.tcp_keepalive_time),
            SockOpt::TCP_KEEPINTVL => or(user.keepintvl, ns.tcp_keepalive_intvl),
            SockOpt::TCP_KEEPCNT => {
                OptValue::Int(if user.keepcnt > 0 { user.keepcnt } else { ns.tcp_keepalive_probes }.into())
            }
            SockOpt::TCP_SYNCNT => {
                OptValue::Int(if user.syn_retries > 0 { user.syn_retries } else { ns.tcp_syn_retries }.into())
            }
            SockOpt::TCP_LINGER2 => match user.linger2 {
                Some(None) => OptValue::Int(-1),
                Some(Some(own)) => or(own, own),
                None => or(Duration::ZERO, ns.tcp_fin_timeout),
            },
            SockOpt::TCP_DEFER_ACCEPT => {
                OptValue::Int(timeouts_to_seconds(user.defer_accept, ns.tcp_rto_max_ms / 1000).into())
            }
            SockOpt::TCP_QUICKACK => {
                let pingpong = tcb.map_or(prep.pingpong, |t| t.ack.pingpong >= ns.tcp_pingpong_thresh);
                from_flag(!pingpong)
            }
            SockOpt::TCP_USER_TIMEOUT => {
                OptValue::Int(i64::try_from(user.user_timeout.as_millis()).unwrap_or(i64::MAX))
            }
            SockOpt::TCP_NOTSENT_LOWAT => OptValue::Int(i64::from(user.notsent_lowat.unwrap_or(0) as i32)), // the bits
            SockOpt::TCP_WINDOW_CLAMP => {
                OptValue::Int(tcb.map_or(user.window_clamp, |t| t.rcv.window_clamp).into())
            }
            SockOpt::TCP_THIN_LINEAR_TIMEOUTS => from_flag(user.thin_linear),
            SockOpt::TCP_THIN_DUPACK => OptValue::Int(0),
            SockOpt::TCP_INQ => from_flag(prep.inq),
            SockOpt::TCP_CONGESTION => OptValue::Text(prep.congestion.to_owned()),
            // tcp.c: a module without get_info leaves the buffer as it is and reports no bytes.
            SockOpt::TCP_CC_INFO => {
                let info = sock.tcb.as_ref().map_or_else(Vec::new, |t| t.cc.info(t.mss.into()));
                OptValue::Bytes(info.into())
            }
            SockOpt::TCP_FASTOPEN => OptValue::Int(prep.fastopen.max_qlen.into()),
            SockOpt::TCP_FASTOPEN_CONNECT => from_flag(prep.fastopen.connect),
            SockOpt::TCP_FASTOPEN_NO_COOKIE => from_flag(prep.fastopen.no_cookie),
            SockOpt::TCP_FASTOPEN_KEY => {
                let keys = prep.fastopen.keys.as_deref().copied().unwrap_or_default();
                OptValue::Bytes(keys.to_bytes().into())
            }
            SockOpt::TCP_SAVE_SYN => OptValue::Int(prep.save_syn.into()),
            SockOpt::TCP_INFO => OptValue::Bytes(match &sock.tcb {
                Some(tcb) => tcb.info(now),
                None => {
                    let listening = sock.listener.as_ref().map(|listener| {
                        (u32::try_from(listener.accept.len()).unwrap_or(u32::MAX), listener.backlog)
                    });
                    info_unconnected(listening, self.sysctl.ns.tcp_reordering)
                }
            }),
            _ => return Err(NOT_MODELLED),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TRUTH 3e: 4→7, 5→7, 10→15, 30→31.
    #[test]
    fn defer_accept_is_rounded_up_to_whole_timeouts_3e() {
        for (set, got) in [(0, 0), (1, 1), (4, 7), (5, 7), (10, 15), (30, 31)] {
            assert_eq!(timeouts_to_seconds(seconds_to_timeouts(set, 120), 120), got, "{set} s");
        }
    }
}
