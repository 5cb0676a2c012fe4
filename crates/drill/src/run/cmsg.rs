//! Control messages of `recvmsg` and `sendmsg`: error queue entries, timestamps, statistics, numbers.

use stack::call::Cmsg;
use wire::Instant;

use super::value::{Bad, Value, bits, int, member, number, wrong};
use crate::ast::{Expr, Usecs};

/// A control message that the script expects.
#[derive(Debug)]
pub(super) struct Wanted {
    level: i32,
    ty: i32,
    data: WantedData,
}

#[derive(Debug)]
enum WantedData {
    /// An `int`: TTL, TOS, bytes in the queue.
    Int(i32),
    /// `struct scm_timestamping`, seconds and nanoseconds since the script's start; 0 is not compared.
    Timestamping(i64),
    /// errno, origin, type, code, info, data; whether the address after it is an IPv6 one.
    Error { fields: [u32; 6], v6: bool },
    /// `TCP_NLA_*` attributes in order; `None` is not compared.
    Stats(Vec<(u16, Option<u64>)>),
}

/// `CMSG_SPACE`
fn cmsg_space(len: usize) -> usize {
    16 + len.next_multiple_of(8)
}

const SOL_SOCKET: i32 = 1;
const SOL_IP: i32 = 0;
const SOL_IPV6: i32 = 41;
const SCM_TIMESTAMPING: i32 = 37;
const SCM_TIMESTAMPING_OPT_STATS: i32 = 54;

/// Bytes of a statistics attribute's value (linux/tcp.h, net/ipv4/tcp.c `tcp_get_timestamping_opt_stats`).
fn attribute_len(ty: u16) -> usize {
    match ty {
        1..=7 | 18 | 19 | 25 => 8,
        11 | 12 | 14 | 26 => 1,
        _ => 4,
    }
}

impl Wanted {
    /// What it takes of the control buffer.
    pub(super) fn space(&self) -> usize {
        cmsg_space(match &self.data {
            WantedData::Int(_) => 4,
            WantedData::Timestamping(_) => 48,
            WantedData::Error { v6, .. } => 16 + if *v6 { 28 } else { 16 },
            WantedData::Stats(all) => {
                all.iter().map(|(ty, _)| 4 + attribute_len(*ty).next_multiple_of(4)).sum()
            }
        })
    }
}

/// The messages of `msg_control`.
pub(super) fn wanted(control: Option<&Expr>, _v6: bool) -> Value<Vec<Wanted>> {
    let Some(control) = control else { return Ok(Vec::new()) };
    let Expr::List(list) = control else { return wrong("msg_control wants a list") };
    list.iter().map(one).collect()
}

fn one(expr: &Expr) -> Value<Wanted> {
    let (level, ty) = (int(member(expr, "cmsg_level")?)?, int(member(expr, "cmsg_type")?)?);
    let data = member(expr, "cmsg_data")?;
    let data = match data {
        Expr::Struct(fields) if fields.iter().any(|f| f.name == "scm_sec") => {
            let (sec, nsec) = (number(member(data, "scm_sec")?)?, number(member(data, "scm_nsec")?)?);
            WantedData::Timestamping(sec * 1_000_000_000 + nsec)
        }
        Expr::Struct(fields) if fields.iter().any(|f| f.name == "ee_errno") => {
            let mut values = [0; 6];
            let names = ["ee_errno", "ee_origin", "ee_type", "ee_code", "ee_info", "ee_data"];
            for (value, name) in values.iter_mut().zip(names) {
                *value = bits(member(data, name)?)?;
            }
            WantedData::Error { fields: values, v6: level != SOL_IP }
        }
        Expr::Struct(fields) => {
            let mut all = Vec::new();
            for field in fields {
                let ty = int(&Expr::Word(field.name.clone()))?;
                all.push((ty, attribute(&field.value)?));
            }
            WantedData::Stats(all)
        }
        Expr::Tuple(items) => {
            let mut all = Vec::new();
            for item in items {
                let Expr::Assign(name, value) = item else { return wrong("expected NAME=value") };
                all.push((int(&Expr::Word(name.clone()))?, attribute(value)?));
            }
            WantedData::Stats(all)
        }
        other => WantedData::Int(int(other)?),
    };
    Ok(Wanted { level, ty, data })
}

/// `...` is not compared.
fn attribute(expr: &Expr) -> Value<Option<u64>> {
    match expr {
        Expr::Ellipsis => Ok(None),
        other => Ok(Some(number(other)?.cast_unsigned())),
    }
}

/// Control messages for `sendmsg`.
pub(super) fn outgoing(control: Option<&Expr>) -> Value<Vec<Cmsg>> {
    let mut all = Vec::new();
    for wanted in wanted(control, false)? {
        let WantedData::Int(n) = wanted.data else {
            return Err(Bad::Unknown("control message of sendmsg that is no number".into()));
        };
        all.push(match (wanted.level, wanted.ty) {
            (SOL_IP, 2) | (SOL_IPV6, 52) => Cmsg::Ttl(n),
            (SOL_IP, 1) | (SOL_IPV6, 67) => Cmsg::Tos(n),
            (level, ty) => Cmsg::Other(level, ty, n.to_ne_bytes().to_vec().into()),
        });
    }
    Ok(all)
}

/// Level and type of a live message; those of addresses may be IPv4's or IPv6's.
fn kinds(live: &Cmsg) -> Vec<(i32, i32)> {
    match live {
        Cmsg::Ttl(_) => vec![(SOL_IP, 2), (SOL_IPV6, 52)],
        Cmsg::Tos(_) => vec![(SOL_IP, 1), (SOL_IPV6, 67)],
        Cmsg::PktInfo { .. } => vec![(SOL_IP, 8), (SOL_IPV6, 50)],
        Cmsg::ExtendedErr { .. } => vec![(SOL_IP, 11), (SOL_IPV6, 25)],
        Cmsg::Timestamp(_) => vec![(SOL_SOCKET, 29), (SOL_SOCKET, 35)],
        Cmsg::SegmentSize(_) => vec![(17, 104)],
        Cmsg::Other(level, ty, _) => vec![(*level, *ty)],
    }
}

/// Are these the messages? `start` is the script's 0 on the clock of the timestamps.
pub(super) fn check(
    wanted: &[Wanted],
    live: &[Cmsg],
    start: Instant,
    tolerance: Usecs,
) -> Result<(), String> {
    for (n, (wanted, live)) in wanted.iter().zip(live).enumerate() {
        if !kinds(live).contains(&(wanted.level, wanted.ty)) {
            let (level, ty) = kinds(live)[0];
            return Err(format!(
                "Bad level or type in cmsg {n}: expected={} {} actual={level} {ty}",
                wanted.level, wanted.ty
            ));
        }
        check_one(n, &wanted.data, live, start, tolerance)?;
    }
    match live.len().cmp(&wanted.len()) {
        core::cmp::Ordering::Greater => Err(format!("received more than {} cmsgs", wanted.len())),
        core::cmp::Ordering::Less => Err(format!("received only {} cmsgs", live.len())),
        core::cmp::Ordering::Equal => Ok(()),
    }
}

fn check_one(
    n: usize,
    wanted: &WantedData,
    live: &Cmsg,
    start: Instant,
    tolerance: Usecs,
) -> Result<(), String> {
    match (wanted, live) {
        (WantedData::Int(wanted), Cmsg::Ttl(live) | Cmsg::Tos(live)) => same(n, *wanted, *live),
        (WantedData::Int(wanted), Cmsg::Other(_, _, bytes)) => match <[u8; 4]>::try_from(&bytes[..]) {
            Ok(four) => same(n, *wanted, i32::from_ne_bytes(four)),
            Err(_) => Err(format!("Bad len in cmsg {n}: expected=4 actual={}", bytes.len())),
        },
        (WantedData::Error { fields, .. }, Cmsg::ExtendedErr { errno, origin, ty, code, info, data, .. }) => {
            let live: [u32; 6] =
                [errno.0.into(), (*origin).into(), (*ty).into(), (*code).into(), *info, *data];
            let names = ["errno", "origin", "type", "code", "info", "data"];
            for ((name, wanted), live) in names.iter().zip(fields).zip(live) {
                if *wanted != live {
                    return Err(format!("Bad {name} in extended err {n}: expected={wanted} actual={live}"));
                }
            }
            Ok(())
        }
        (WantedData::Timestamping(wanted), Cmsg::Other(_, SCM_TIMESTAMPING, bytes)) => {
            let part = |at: usize| {
                bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, i64::from_ne_bytes)
            };
            let live = part(0) * 1_000_000_000 + part(8);
            let expected = i64::try_from(start.as_nanos()).unwrap_or(i64::MAX) + wanted;
            if *wanted != 0 && (expected - live).abs() / 1000 > tolerance {
                let relative = (live - i64::try_from(start.as_nanos()).unwrap_or(i64::MAX)) / 1000;
                return Err(format!(
                    "Bad timestamp 0 in scm_timestamping {n}: expected={} actual={relative} (usecs)",
                    wanted / 1000
                ));
            }
            Ok(())
        }
        (WantedData::Stats(wanted), Cmsg::Other(_, SCM_TIMESTAMPING_OPT_STATS, bytes)) => {
            check_stats(n, wanted, bytes, tolerance)
        }
        _ => Err(format!("Bad data in cmsg {n}")),
    }
}

fn same(n: usize, wanted: i32, live: i32) -> Result<(), String> {
    if wanted == live {
        Ok(())
    } else {
        Err(format!("Bad data in cmsg {n}: expected={wanted} actual={live}"))
    }
}

fn check_stats(
    n: usize,
    wanted: &[(u16, Option<u64>)],
    mut bytes: &[u8],
    tolerance: Usecs,
) -> Result<(), String> {
    for (ty, value) in wanted {
        let header = bytes.get(..4).ok_or(format!("statistics end early in cmsg {n}"))?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let live_ty = u16::from_ne_bytes([header[2], header[3]]);
        if live_ty != *ty {
            return Err(format!("Bad nla_type {n}: expected={ty} actual={live_ty}"));
        }
        if len != 4 + attribute_len(*ty) {
            return Err(format!("Bad nla_len {n}: expected={} actual={len}", 4 + attribute_len(*ty)));
        }
        let data = bytes.get(4..len).ok_or(format!("statistics end early in cmsg {n}"))?;
        let mut padded = [0; 8];
        padded[..data.len()].copy_from_slice(data);
        let live = u64::from_ne_bytes(padded);
        if let Some(value) = value {
            // The three times are compared loosely, unless 0 is expected.
            let time = matches!(ty, 1..=3) && *value != 0;
            let near = time && live.abs_diff(*value) <= u64::try_from(tolerance).unwrap_or(0);
            if live != *value && !near {
                return Err(format!("Bad attribute {ty}: expected={value} actual={live}"));
            }
        }
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}
