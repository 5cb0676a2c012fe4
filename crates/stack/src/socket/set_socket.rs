//! `getsockopt` and `setsockopt` at level `SOL_SOCKET`, and the way to the other levels. Linux: net/core/sock.c
//! `sk_setsockopt`, `sk_getsockopt`; net/socket.c.
//!
//! What is refused and how was measured on 6.18.44: an unknown level or option is `ENOPROTOOPT` when set; read, an
//! unknown level is `EOPNOTSUPP`.

use core::time::Duration;

use wire::Instant;

use super::options::{IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, SOL_RAW, SOL_SOCKET};
use super::sock::{DgramKind, SockOptions, Timestamps};
use crate::call::{Domain, OptValue, SockOpt, SockType};
use crate::record::What;
use crate::timer::Granularity;
use crate::{Errno, Stack};

/// `SOCK_MIN_RCVBUF`
const MIN_RCVBUF: u32 = 2304;
/// `SOCK_MIN_SNDBUF`
const MIN_SNDBUF: u32 = 4608;

/// The `int` (or flag) of a value.
pub(super) fn int(value: &OptValue) -> Result<i32, Errno> {
    match value {
        // Larger numbers are cut to an int, as passing them to C does.
        OptValue::Int(n) => Ok(*n as i32),
        _ => Err(Errno::EINVAL),
    }
}

pub(super) fn flag(value: &OptValue) -> Result<bool, Errno> {
    int(value).map(|n| n != 0)
}

pub(super) fn from_flag(on: bool) -> OptValue {
    OptValue::Int(on.into())
}

impl Stack {
    pub(super) fn dgram_setsockopt(
        &mut self,
        now: Instant,
        sock: u32,
        opt: SockOpt,
        value: &OptValue,
    ) -> Result<(), Errno> {
        let kind = self.sockets.dgrams[sock].kind;
        let domain = self.sockets.dgrams[sock].domain;
        self.sockets.dgrams[sock].flow = None;
        let result = match opt.level {
            SOL_SOCKET => self.set_sol_socket(sock, opt, value),
            IPPROTO_IP => self.set_ip(now, sock, opt, value),
            IPPROTO_IPV6 if domain == Domain::Inet6 => self.set_ipv6(now, sock, opt, value),
            IPPROTO_UDP if kind == DgramKind::Udp => self.set_udp(now, sock, opt, value),
            SOL_RAW if kind == DgramKind::Raw => self.set_raw(sock, opt, value),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        self.note_unmodelled(now, opt, result.is_err_and(|e| e == NOT_MODELLED));
        result.map_err(|e| if e == NOT_MODELLED { Errno::ENOPROTOOPT } else { e })
    }

    pub(super) fn dgram_getsockopt(
        &mut self,
        now: Instant,
        sock: u32,
        opt: SockOpt,
    ) -> Result<OptValue, Errno> {
        let kind = self.sockets.dgrams[sock].kind;
        let domain = self.sockets.dgrams[sock].domain;
        let result = match opt.level {
            SOL_SOCKET => self.get_sol_socket(sock, opt),
            IPPROTO_IP => self.get_ip(now, sock, opt),
            IPPROTO_IPV6 if domain == Domain::Inet6 => self.get_ipv6(now, sock, opt),
            IPPROTO_UDP if kind == DgramKind::Udp => self.get_udp(sock, opt),
            SOL_RAW if kind == DgramKind::Raw => self.get_raw(sock, opt),
            _ => return Err(Errno::EOPNOTSUPP),
        };
        self.note_unmodelled(now, opt, result.as_ref().is_err_and(|e| *e == NOT_MODELLED));
        result.map_err(|e| if e == NOT_MODELLED { Errno::ENOPROTOOPT } else { e })
    }

    /// An option that Linux has and this stack has not is never refused in silence.
    pub(super) fn note_unmodelled(&mut self, now: Instant, opt: SockOpt, refused: bool) {
        if let (true, Some(name)) = (refused, opt.symbol()) {
            self.out.record(now, || What::Note { text: format!("the socket option {name} is not modelled") });
        }
    }

    fn set_sol_socket(&mut self, sock: u32, opt: SockOpt, value: &OptValue) -> Result<(), Errno> {
        let mut opts = self.sockets.dgrams[sock].opts.clone();
        self.set_common(&mut opts, opt, value)?;
        let sock = &mut self.sockets.dgrams[sock];
        sock.opts = opts;
        if matches!(opt, SockOpt::SO_DONTROUTE | SockOpt::SO_BINDTODEVICE | SockOpt::SO_BINDTOIFINDEX) {
            sock.dst = None;
        }
        Ok(())
    }

    /// What `SOL_SOCKET` options change in any kind of socket.
    pub(super) fn set_common(
        &self,
        o: &mut SockOptions,
        opt: SockOpt,
        value: &OptValue,
    ) -> Result<(), Errno> {
        let ns = &self.sysctl.ns;
        let (rmem_max, wmem_max) = (buffer_limit(ns.rmem_max), buffer_limit(ns.wmem_max));
        let ifindex = match (opt, value) {
            (SockOpt::SO_BINDTODEVICE, OptValue::Text(name)) if name.is_empty() => Some(0),
            (SockOpt::SO_BINDTODEVICE, OptValue::Text(name)) => {
                Some(self.ifaces.by_name(name).ok_or(Errno::ENODEV)?.ifindex)
            }
            (SockOpt::SO_BINDTOIFINDEX, value) => {
                let n = u32::try_from(int(value)?).map_err(|_| Errno::EINVAL)?;
                if n != 0 && self.ifaces.get(n).is_none() {
                    return Err(Errno::ENODEV);
                }
                Some(n)
            }
            _ => None,
        };
        let granularity = self.config.granularity;
        match opt {
            SockOpt::SO_REUSEADDR => o.reuse_addr = flag(value)?,
            SockOpt::SO_REUSEPORT => o.reuse_port = flag(value)?,
            SockOpt::SO_BROADCAST => o.broadcast = flag(value)?,
            SockOpt::SO_DONTROUTE => o.dont_route = flag(value)?,
            SockOpt::SO_KEEPALIVE => o.keepalive = flag(value)?,
            SockOpt::SO_OOBINLINE => o.oob_inline = flag(value)?,
            SockOpt::SO_NO_CHECK => o.no_check = flag(value)?,
            SockOpt::SO_RXQ_OVFL => o.rxq_ovfl = flag(value)?,
            SockOpt::SO_SNDBUF => o.sndbuf = doubled(int(value)?, wmem_max, MIN_SNDBUF),
            SockOpt::SO_RCVBUF => o.rcvbuf = doubled(int(value)?, rmem_max, MIN_RCVBUF),
            SockOpt::SO_SNDBUFFORCE => o.sndbuf = doubled(int(value)?.max(0), i32::MAX as u32, MIN_SNDBUF),
            SockOpt::SO_RCVBUFFORCE => o.rcvbuf = doubled(int(value)?.max(0), i32::MAX as u32, MIN_RCVBUF),
            SockOpt::SO_RCVTIMEO => o.rcvtimeo = timeo(value, granularity)?,
            SockOpt::SO_SNDTIMEO => o.sndtimeo = timeo(value, granularity)?,
            SockOpt::SO_PRIORITY => o.priority = int(value)?,
            SockOpt::SO_MARK => o.mark = int(value)? as u32, // the bits
            SockOpt::SO_RCVLOWAT => {
                let n = int(value)?;
                o.rcvlowat = if n < 0 { i32::MAX } else { n.max(1) };
            }
            SockOpt::SO_TIMESTAMP => o.timestamps = stamps(flag(value)?, Timestamps::Micros),
            SockOpt::SO_TIMESTAMPNS => o.timestamps = stamps(flag(value)?, Timestamps::Nanos),
            SockOpt::SO_LINGER => match value {
                OptValue::Linger(on, seconds) => o.linger = on.then_some(*seconds),
                _ => return Err(Errno::EINVAL),
            },
            SockOpt::SO_BINDTODEVICE | SockOpt::SO_BINDTOIFINDEX => {
                o.bound_if = ifindex.ok_or(Errno::EINVAL)?
            }
            SockOpt::SO_TYPE
            | SockOpt::SO_ERROR
            | SockOpt::SO_PROTOCOL
            | SockOpt::SO_DOMAIN
            | SockOpt::SO_ACCEPTCONN
            | SockOpt::SO_MEMINFO
            | SockOpt::SO_PEERNAME
            | SockOpt::SO_SNDLOWAT
            | SockOpt::SO_COOKIE => return Err(Errno::ENOPROTOOPT),
            _ => return Err(NOT_MODELLED),
        }
        Ok(())
    }

    fn get_sol_socket(&mut self, sock: u32, opt: SockOpt) -> Result<OptValue, Errno> {
        let sock = &mut self.sockets.dgrams[sock];
        let o: &SockOptions = &sock.opts;
        Ok(match opt {
            SockOpt::SO_TYPE => OptValue::Int(match sock.kind {
                DgramKind::Udp | DgramKind::Ping => sock_type(SockType::Dgram),
                DgramKind::Raw => sock_type(SockType::Raw),
            }),
            SockOpt::SO_DOMAIN => OptValue::Int(match sock.domain {
                Domain::Inet => 2,
                Domain::Inet6 => 10,
            }),
            SockOpt::SO_PROTOCOL => OptValue::Int(sock.protocol.0.into()),
            SockOpt::SO_ACCEPTCONN => OptValue::Int(0),
            SockOpt::SO_ERROR => OptValue::Int(sock.take_error().map_or(0, |e| e.0.into())),
            SockOpt::SO_COOKIE => OptValue::Int(sock.serial.into()),
            SockOpt::SO_MEMINFO => {
                // SK_MEMINFO_*: rmem_alloc, rcvbuf, wmem_alloc, sndbuf, fwd_alloc, wmem_queued, optmem, backlog, drops
                let words = [sock.rmem, o.rcvbuf, 0, o.sndbuf, 0, 0, 0, 0, sock.drops];
                OptValue::Bytes(words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<u8>>().into())
            }
            _ => {
                let opts = o.clone();
                return self.get_common(&opts, opt);
            }
        })
    }

    /// The options that every kind of socket answers from its settings.
    pub(super) fn get_common(&self, o: &SockOptions, opt: SockOpt) -> Result<OptValue, Errno> {
        Ok(match opt {
            SockOpt::SO_REUSEADDR => from_flag(o.reuse_addr),
            SockOpt::SO_REUSEPORT => from_flag(o.reuse_port),
            SockOpt::SO_BROADCAST => from_flag(o.broadcast),
            SockOpt::SO_DONTROUTE => from_flag(o.dont_route),
            SockOpt::SO_KEEPALIVE => from_flag(o.keepalive),
            SockOpt::SO_OOBINLINE => from_flag(o.oob_inline),
            SockOpt::SO_NO_CHECK => from_flag(o.no_check),
            SockOpt::SO_RXQ_OVFL => from_flag(o.rxq_ovfl),
            SockOpt::SO_SNDBUF => OptValue::Int(o.sndbuf.into()),
            SockOpt::SO_RCVBUF => OptValue::Int(o.rcvbuf.into()),
            SockOpt::SO_RCVTIMEO => show_timeo(o.rcvtimeo),
            SockOpt::SO_SNDTIMEO => show_timeo(o.sndtimeo),
            SockOpt::SO_PRIORITY => OptValue::Int(o.priority.into()),
            SockOpt::SO_MARK => OptValue::Int(o.mark.into()),
            SockOpt::SO_RCVLOWAT => OptValue::Int(o.rcvlowat.into()),
            SockOpt::SO_SNDLOWAT => OptValue::Int(1),
            SockOpt::SO_TIMESTAMP => from_flag(o.timestamps == Timestamps::Micros),
            SockOpt::SO_TIMESTAMPNS => from_flag(o.timestamps == Timestamps::Nanos),
            SockOpt::SO_LINGER => OptValue::Linger(o.linger.is_some(), o.linger.unwrap_or(0)),
            SockOpt::SO_BINDTOIFINDEX => OptValue::Int(o.bound_if.into()),
            SockOpt::SO_BINDTODEVICE => {
                let name = self.ifaces.get(o.bound_if).map_or("", |iface| &iface.name);
                OptValue::Text(name.to_owned())
            }
            _ => return Err(NOT_MODELLED),
        })
    }
}

/// Stands for "Linux has this option, this stack has not"; never leaves this directory.
pub(super) const NOT_MODELLED: Errno = Errno(u16::MAX);

fn sock_type(ty: SockType) -> i64 {
    match ty {
        SockType::Stream => 1,
        SockType::Dgram => 2,
        SockType::Raw => 3,
    }
}

fn buffer_limit(sysctl: i32) -> u32 {
    u32::try_from(sysctl).unwrap_or(0)
}

/// The kernel doubles the number for its own overhead; a negative one counts as huge.
fn doubled(n: i32, max: u32, min: u32) -> u32 {
    let n = (n as u32).min(max); // the bits of a negative number are a large one
    n.min(i32::MAX as u32 / 2).saturating_mul(2).max(min)
}

fn stamps(on: bool, kind: Timestamps) -> Timestamps {
    if on { kind } else { Timestamps::Off }
}

/// `sock_set_timeout`: `EDOM` for bad microseconds; negative means "do not wait"; rounded up to ticks.
fn timeo(value: &OptValue, granularity: Granularity) -> Result<Option<Duration>, Errno> {
    let OptValue::Timeval(seconds, micros) = value else { return Err(Errno::EINVAL) };
    let Ok(micros) = u32::try_from(*micros) else { return Err(Errno::EDOM) };
    if micros >= 1_000_000 {
        return Err(Errno::EDOM);
    }
    let Ok(seconds) = u64::try_from(*seconds) else { return Ok(Some(Duration::ZERO)) };
    if seconds == 0 && micros == 0 {
        return Ok(None);
    }
    let exact = Duration::new(seconds, micros * 1000);
    let tick = match granularity {
        Granularity::Ideal => return Ok(Some(exact)),
        Granularity::Wheel { .. } => granularity.tick().as_nanos(),
    };
    let rounded = exact.as_nanos().div_ceil(tick).saturating_mul(tick);
    Ok(Some(Duration::from_nanos(u64::try_from(rounded).unwrap_or(u64::MAX))))
}

fn show_timeo(timeo: Option<Duration>) -> OptValue {
    let timeo = timeo.unwrap_or(Duration::ZERO);
    OptValue::Timeval(i64::try_from(timeo.as_secs()).unwrap_or(i64::MAX), timeo.subsec_micros().into())
}
