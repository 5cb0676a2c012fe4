//! Control messages to and from our types. Linux: ip(7), ipv6(7), `struct sock_extended_err` (linux/errqueue.h).
//!
//! Written and parsed as bytes: `struct cmsghdr` is a 64-bit length, level and type, and everything is aligned
//! to 8 (x86-64 and arm64).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use stack::Errno;
use stack::call::{Cmsg, Domain, SockAddr};

use super::sockaddr::RawAddr;

/// `sizeof(struct cmsghdr)`
const HEADER: usize = 16;

const IP_TOS: i32 = 1;
const IP_TTL: i32 = 2;
const IP_PKTINFO: i32 = 8;
const IP_RECVERR: i32 = 11;
const IPV6_RECVERR: i32 = 25;
const IPV6_PKTINFO: i32 = 50;
const IPV6_HOPLIMIT: i32 = 52;
const IPV6_TCLASS: i32 = 67;
const UDP_SEGMENT: i32 = 103;
const UDP_GRO: i32 = 104;
const SO_TIMESTAMP: i32 = 29;
const SO_TIMESTAMPNS: i32 = 35;

/// The control buffer of `sendmsg`, for a socket of that domain.
pub fn encode(control: &[Cmsg], domain: Domain) -> Vec<u8> {
    let mut out = Vec::new();
    for cmsg in control {
        let (level, ty, data) = encode_one(cmsg, domain);
        out.extend_from_slice(&(HEADER + data.len()).to_ne_bytes());
        out.extend_from_slice(&level.to_ne_bytes());
        out.extend_from_slice(&ty.to_ne_bytes());
        out.extend_from_slice(&data);
        out.resize(out.len().next_multiple_of(8), 0);
    }
    out
}

fn encode_one(cmsg: &Cmsg, domain: Domain) -> (i32, i32, Vec<u8>) {
    let v6 = domain == Domain::Inet6;
    match cmsg {
        Cmsg::Ttl(n) if v6 => (libc::IPPROTO_IPV6, IPV6_HOPLIMIT, n.to_ne_bytes().into()),
        Cmsg::Ttl(n) => (libc::IPPROTO_IP, IP_TTL, n.to_ne_bytes().into()),
        Cmsg::Tos(n) if v6 => (libc::IPPROTO_IPV6, IPV6_TCLASS, n.to_ne_bytes().into()),
        Cmsg::Tos(n) => (libc::IPPROTO_IP, IP_TOS, n.to_ne_bytes().into()),
        Cmsg::PktInfo { ifindex, spec_dst: IpAddr::V4(src), addr } => {
            let mut data: Vec<u8> = ifindex.to_ne_bytes().into();
            data.extend_from_slice(&src.octets());
            match addr {
                IpAddr::V4(a) => data.extend_from_slice(&a.octets()),
                IpAddr::V6(_) => data.extend_from_slice(&[0; 4]),
            }
            (libc::IPPROTO_IP, IP_PKTINFO, data)
        }
        Cmsg::PktInfo { ifindex, spec_dst: IpAddr::V6(src), addr: _ } => {
            let mut data: Vec<u8> = src.octets().into();
            data.extend_from_slice(&ifindex.to_ne_bytes());
            (libc::IPPROTO_IPV6, IPV6_PKTINFO, data)
        }
        Cmsg::SegmentSize(n) => (libc::IPPROTO_UDP, UDP_SEGMENT, n.to_ne_bytes().into()),
        // The kernel refuses these two from a sender; it, not we, says how.
        Cmsg::Timestamp(ns) => {
            let mut data: Vec<u8> = (ns / 1_000_000_000).to_ne_bytes().into();
            data.extend_from_slice(&(ns % 1_000_000_000).to_ne_bytes());
            (libc::SOL_SOCKET, SO_TIMESTAMPNS, data)
        }
        Cmsg::ExtendedErr { errno, origin, ty, code, info, data: of, offender } => {
            let mut data: Vec<u8> = u32::from(errno.0).to_ne_bytes().into();
            data.extend_from_slice(&[*origin, *ty, *code, 0]);
            data.extend_from_slice(&info.to_ne_bytes());
            data.extend_from_slice(&of.to_ne_bytes());
            let from = offender.map_or(SockAddr::Unspec, |ip| SockAddr::Ip((ip, 0).into()));
            data.extend_from_slice(RawAddr::from_addr(&from).bytes());
            if v6 {
                // struct sockaddr_in6, also when it names nobody.
                data.resize(data.len().max(16 + 28), 0);
            }
            if v6 { (libc::IPPROTO_IPV6, IPV6_RECVERR, data) } else { (libc::IPPROTO_IP, IP_RECVERR, data) }
        }
        Cmsg::Other(level, ty, bytes) => (*level, *ty, bytes.to_vec()),
    }
}

/// Reads the control buffer that `recvmsg` filled. Stops at the first message that does not fit.
pub fn decode(mut control: &[u8]) -> Vec<Cmsg> {
    let mut out = Vec::new();
    while let Some((len, rest)) = control.split_first_chunk::<8>() {
        let len = usize::from_ne_bytes(*len);
        let (Some(level), Some(ty)) = (int(rest), rest.get(4..).and_then(int)) else { break };
        let Some(data) = control.get(HEADER..len) else { break };
        out.push(decode_one(level, ty, data));
        control = control.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    out
}

fn decode_one(level: i32, ty: i32, data: &[u8]) -> Cmsg {
    let known = match (level, ty) {
        (libc::IPPROTO_IP, IP_TTL) | (libc::IPPROTO_IPV6, IPV6_HOPLIMIT) => int(data).map(Cmsg::Ttl),
        // Linux: ip_cmsg_recv_tos() gives one byte.
        (libc::IPPROTO_IP, IP_TOS) => data.first().map(|tos| Cmsg::Tos(i32::from(*tos))),
        (libc::IPPROTO_IPV6, IPV6_TCLASS) => int(data).map(Cmsg::Tos),
        (libc::IPPROTO_IP, IP_PKTINFO) => pktinfo_v4(data),
        (libc::IPPROTO_IPV6, IPV6_PKTINFO) => pktinfo_v6(data),
        (libc::IPPROTO_IP, IP_RECVERR) | (libc::IPPROTO_IPV6, IPV6_RECVERR) => extended_err(data),
        (libc::SOL_SOCKET, SO_TIMESTAMP) => time(data, 1_000),
        (libc::SOL_SOCKET, SO_TIMESTAMPNS) => time(data, 1),
        (libc::IPPROTO_UDP, UDP_GRO) => int(data).and_then(|n| u16::try_from(n).ok()).map(Cmsg::SegmentSize),
        _ => None,
    };
    known.unwrap_or_else(|| Cmsg::Other(level, ty, data.into()))
}

fn pktinfo_v4(data: &[u8]) -> Option<Cmsg> {
    let ifindex = u32::from_ne_bytes(*data.first_chunk()?);
    let spec_dst = IpAddr::from(*data.get(4..)?.first_chunk::<4>()?);
    let addr = IpAddr::from(*data.get(8..)?.first_chunk::<4>()?);
    Some(Cmsg::PktInfo { ifindex, spec_dst, addr })
}

/// `struct in6_pktinfo` has one address: both fields carry it.
fn pktinfo_v6(data: &[u8]) -> Option<Cmsg> {
    let addr = IpAddr::from(*data.first_chunk::<16>()?);
    let ifindex = u32::from_ne_bytes(*data.get(16..)?.first_chunk()?);
    Some(Cmsg::PktInfo { ifindex, spec_dst: addr, addr })
}

/// `struct sock_extended_err`, then `SO_EE_OFFENDER`: a sockaddr of family 0 when there is none.
fn extended_err(data: &[u8]) -> Option<Cmsg> {
    let errno = Errno(u16::try_from(u32::from_ne_bytes(*data.first_chunk()?)).ok()?);
    let [origin, ty, code, _] = *data.get(4..)?.first_chunk::<4>()?;
    let info = u32::from_ne_bytes(*data.get(8..)?.first_chunk()?);
    let of = u32::from_ne_bytes(*data.get(12..)?.first_chunk()?);
    let offender =
        data.get(16..).and_then(|sockaddr| match i32::from(u16::from_ne_bytes(*sockaddr.first_chunk()?)) {
            libc::AF_INET => Some(Ipv4Addr::from(*sockaddr.get(4..)?.first_chunk::<4>()?).into()),
            libc::AF_INET6 => Some(Ipv6Addr::from(*sockaddr.get(8..)?.first_chunk::<16>()?).into()),
            _ => None,
        });
    Some(Cmsg::ExtendedErr { errno, origin, ty, code, info, data: of, offender })
}

/// Seconds, then a fraction of so many nanoseconds each.
fn time(data: &[u8], fraction_ns: u64) -> Option<Cmsg> {
    let secs = u64::from_ne_bytes(*data.first_chunk()?);
    let fraction = u64::from_ne_bytes(*data.get(8..)?.first_chunk()?);
    Some(Cmsg::Timestamp(secs * 1_000_000_000 + fraction * fraction_ns))
}

fn int(data: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(*data.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_reads_back() {
        let addr: IpAddr = "192.0.2.1".parse().unwrap();
        let v4 = vec![Cmsg::Ttl(3), Cmsg::Tos(0x10), Cmsg::PktInfo { ifindex: 2, spec_dst: addr, addr }];
        assert_eq!(decode(&encode(&v4, Domain::Inet)), v4);
        let addr: IpAddr = "2001:db8::1".parse().unwrap();
        let v6 = vec![Cmsg::Ttl(3), Cmsg::Tos(0x10), Cmsg::PktInfo { ifindex: 2, spec_dst: addr, addr }];
        assert_eq!(decode(&encode(&v6, Domain::Inet6)), v6);
        let other = vec![Cmsg::Other(1, 2, [7_u8; 5].as_slice().into()), Cmsg::Timestamp(1_000_000_007)];
        assert_eq!(decode(&encode(&other, Domain::Inet)), other);
    }

    #[test]
    fn extended_error_names_the_offender() {
        let mut data = vec![113, 0, 0, 0, 2, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        data.extend_from_slice(&[2, 0, 0, 0, 192, 0, 2, 9, 0, 0, 0, 0, 0, 0, 0, 0]);
        let expected = Cmsg::ExtendedErr {
            errno: Errno::EHOSTUNREACH,
            origin: 2,
            ty: 3,
            code: 1,
            info: 0,
            data: 0,
            offender: Some("192.0.2.9".parse().unwrap()),
        };
        assert_eq!(decode_one(libc::IPPROTO_IP, IP_RECVERR, &data), expected);
    }

    #[test]
    fn extended_errors_of_both_families_read_back() {
        for (offender, domain) in [("192.0.2.9", Domain::Inet), ("2001:db8::9", Domain::Inet6)] {
            let errno = Errno::EHOSTUNREACH;
            let offender = Some(offender.parse().unwrap());
            let error =
                vec![Cmsg::ExtendedErr { errno, origin: 2, ty: 3, code: 1, info: 7, data: 9, offender }];
            assert_eq!(decode(&encode(&error, domain)), error);
        }
    }

    #[test]
    fn cut_buffers_do_not_panic() {
        let whole = encode(&[Cmsg::Ttl(3), Cmsg::Tos(1)], Domain::Inet);
        for n in 0..whole.len() {
            assert!(decode(&whole[..n]).len() <= 2);
        }
    }
}
