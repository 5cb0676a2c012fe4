//! `getsockopt` and `setsockopt` at levels `IPPROTO_IP`, `IPPROTO_IPV6`, `IPPROTO_UDP`, `SOL_RAW`. Linux:
//! net/ipv4/ip_sockglue.c, net/ipv6/ipv6_sockglue.c, net/ipv4/udp.c, net/ipv4/raw.c. Ranges measured on 6.18.44.

use std::net::Ipv4Addr;

use wire::Instant;
use wire::ip::Protocol;

use super::set_socket::{NOT_MODELLED, flag, from_flag, int};
use super::sock::{DgramKind, SockOptions};
use crate::call::{OptValue, SockOpt};
use crate::record::IfIndex;
use crate::{Errno, Stack};

/// `-1` for the default, else `min..=255`.
fn ttl(value: &OptValue, min: i32) -> Result<Option<u8>, Errno> {
    match int(value)? {
        -1 => Ok(None),
        n if n >= min => u8::try_from(n).map(Some).map_err(|_| Errno::EINVAL),
        _ => Err(Errno::EINVAL),
    }
}

fn byte(value: &OptValue, max: u8) -> Result<u8, Errno> {
    u8::try_from(int(value)?).ok().filter(|n| *n <= max).ok_or(Errno::EINVAL)
}

impl Stack {
    pub(super) fn set_ip(
        &mut self,
        now: Instant,
        sock: u32,
        opt: SockOpt,
        value: &OptValue,
    ) -> Result<(), Errno> {
        match opt {
            SockOpt::IP_ADD_MEMBERSHIP => return self.join_group(now, sock, value, false),
            SockOpt::IP_DROP_MEMBERSHIP => return self.leave_group(now, sock, value, false),
            SockOpt::IP_MULTICAST_IF => return self.set_multicast_if(sock, value),
            _ => {}
        }
        let sock = &mut self.sockets.dgrams[sock];
        match opt {
            SockOpt::IP_HDRINCL if sock.kind == DgramKind::Raw => sock.opts.hdrincl = flag(value)?,
            _ => set_ip_option(&mut sock.opts, opt, value)?,
        }
        if opt == SockOpt::IP_RECVERR && !sock.opts.recverr {
            sock.purge_errors();
        }
        Ok(())
    }

    pub(super) fn get_ip(&mut self, now: Instant, sock: u32, opt: SockOpt) -> Result<OptValue, Errno> {
        if opt == SockOpt::IP_MTU {
            return self.path_mtu_of(now, sock);
        }
        get_ip_option(&self.sockets.dgrams[sock].opts, self.sysctl.ns.ip_default_ttl, opt)
    }

    pub(super) fn set_ipv6(
        &mut self,
        now: Instant,
        sock: u32,
        opt: SockOpt,
        value: &OptValue,
    ) -> Result<(), Errno> {
        match opt {
            SockOpt::IPV6_JOIN_GROUP => return self.join_group(now, sock, value, true),
            SockOpt::IPV6_LEAVE_GROUP => return self.leave_group(now, sock, value, true),
            SockOpt::IPV6_MULTICAST_IF => {
                let ifindex = u32::try_from(int(value)?).map_err(|_| Errno::EINVAL)?;
                if ifindex != 0 && self.ifaces.get(ifindex).is_none() {
                    return Err(Errno::ENODEV);
                }
                let o = &mut self.sockets.dgrams[sock].opts;
                if ifindex != 0 && o.bound_if != 0 && o.bound_if != ifindex {
                    return Err(Errno::EINVAL);
                }
                o.mc_if6 = ifindex;
                return Ok(());
            }
            _ => {}
        }
        let sock = &mut self.sockets.dgrams[sock];
        set_ipv6_option(&mut sock.opts, sock.port != 0, opt, value)?;
        if opt == SockOpt::IPV6_RECVERR && !sock.opts.recverr6 {
            sock.purge_errors();
        }
        Ok(())
    }

    pub(super) fn get_ipv6(&mut self, now: Instant, sock: u32, opt: SockOpt) -> Result<OptValue, Errno> {
        if opt == SockOpt::IPV6_MTU {
            return self.path_mtu_of(now, sock);
        }
        get_ipv6_option(&self.sockets.dgrams[sock].opts, opt)
    }

    pub(super) fn set_udp(
        &mut self,
        now: Instant,
        sock: u32,
        opt: SockOpt,
        value: &OptValue,
    ) -> Result<(), Errno> {
        let o = &mut self.sockets.dgrams[sock].opts;
        match opt {
            SockOpt::UDP_CORK => {
                o.cork = flag(value)?;
                if !o.cork {
                    self.udp_push_pending(now, sock)?;
                }
            }
            SockOpt::UDP_SEGMENT => o.gso_size = u16::try_from(int(value)?).map_err(|_| Errno::EINVAL)?,
            SockOpt::UDP_NO_CHECK6_TX => o.no_check6_tx = flag(value)?,
            SockOpt::UDP_NO_CHECK6_RX => o.no_check6_rx = flag(value)?,
            _ => return Err(NOT_MODELLED),
        }
        Ok(())
    }

    pub(super) fn get_udp(&self, sock: u32, opt: SockOpt) -> Result<OptValue, Errno> {
        let o = &self.sockets.dgrams[sock].opts;
        Ok(match opt {
            SockOpt::UDP_CORK => from_flag(o.cork),
            SockOpt::UDP_SEGMENT => OptValue::Int(o.gso_size.into()),
            SockOpt::UDP_NO_CHECK6_TX => from_flag(o.no_check6_tx),
            SockOpt::UDP_NO_CHECK6_RX => from_flag(o.no_check6_rx),
            _ => return Err(NOT_MODELLED),
        })
    }

    pub(super) fn set_raw(&mut self, sock: u32, opt: SockOpt, value: &OptValue) -> Result<(), Errno> {
        match opt {
            // Of other protocols than ICMP (measured).
            SockOpt::ICMP_FILTER if self.sockets.dgrams[sock].protocol != Protocol::ICMP => {
                return Err(Errno::EOPNOTSUPP);
            }
            SockOpt::ICMP_FILTER => self.sockets.dgrams[sock].opts.icmp_filter = int(value)? as u32, // bits
            _ => return Err(NOT_MODELLED),
        }
        Ok(())
    }

    pub(super) fn get_raw(&self, sock: u32, opt: SockOpt) -> Result<OptValue, Errno> {
        match opt {
            SockOpt::ICMP_FILTER if self.sockets.dgrams[sock].protocol != Protocol::ICMP => {
                Err(Errno::EOPNOTSUPP)
            }
            SockOpt::ICMP_FILTER => Ok(OptValue::Int(self.sockets.dgrams[sock].opts.icmp_filter.into())),
            _ => Err(NOT_MODELLED),
        }
    }

    /// `IP_MTU`, `IPV6_MTU`: of the route to the peer, `ENOTCONN` without one.
    fn path_mtu_of(&mut self, now: Instant, sock: u32) -> Result<OptValue, Errno> {
        if self.sockets.dgrams[sock].peer.is_none() {
            return Err(Errno::ENOTCONN);
        }
        let dst = self.dgram_dst(now, sock).map_err(|_| Errno::ENOTCONN)?;
        Ok(OptValue::Int(dst.mtu.into()))
    }

    fn set_multicast_if(&mut self, sock: u32, value: &OptValue) -> Result<(), Errno> {
        let (addr, ifindex) = match value {
            OptValue::Membership(_, addr, ifindex) => (addr.filter(|a| !a.is_unspecified()), *ifindex),
            OptValue::Int(0) => (None, 0),
            _ => return Err(Errno::EINVAL),
        };
        let dev: IfIndex = match (ifindex, addr) {
            (0, None) => 0,
            (0, Some(addr)) => self.ifaces.owner(addr.into()).ok_or(Errno::EADDRNOTAVAIL)?.ifindex,
            (n, _) => self.ifaces.get(n).ok_or(Errno::EADDRNOTAVAIL)?.ifindex,
        };
        let o = &mut self.sockets.dgrams[sock].opts;
        if dev != 0 && o.bound_if != 0 && o.bound_if != dev {
            return Err(Errno::EINVAL);
        }
        (o.mc_if, o.mc_addr) = (dev, addr);
        Ok(())
    }
}

/// Settings of level `IPPROTO_IP` that are only stored.
pub(super) fn set_ip_option(o: &mut SockOptions, opt: SockOpt, value: &OptValue) -> Result<(), Errno> {
    // do_ip_setsockopt: what is shorter than an int is an unsigned char.
    let short = match value {
        OptValue::Bytes(bytes) if (1..4).contains(&bytes.len()) => Some(OptValue::Int(bytes[0].into())),
        _ => None,
    };
    let value = short.as_ref().unwrap_or(value);
    match opt {
        SockOpt::IP_TTL => o.ttl = ttl(value, 1)?,
        SockOpt::IP_TOS => o.tos = int(value)? as u8, // the low byte
        SockOpt::IP_MTU_DISCOVER => o.pmtudisc = byte(value, 5)?,
        SockOpt::IP_RECVERR => o.recverr = flag(value)?,
        SockOpt::IP_RECVTTL => o.recvttl = flag(value)?,
        SockOpt::IP_RECVTOS => o.recvtos = flag(value)?,
        SockOpt::IP_PKTINFO => o.pktinfo = flag(value)?,
        SockOpt::IP_FREEBIND => o.freebind = flag(value)?,
        SockOpt::IP_TRANSPARENT => o.transparent = flag(value)?,
        SockOpt::IP_BIND_ADDRESS_NO_PORT => o.bind_no_port = flag(value)?,
        SockOpt::IP_MINTTL => o.min_ttl = byte(value, 255)?,
        SockOpt::IP_MULTICAST_TTL => o.mc_ttl = ttl(value, 0)?.unwrap_or(1),
        SockOpt::IP_MULTICAST_LOOP => o.mc_loop = flag(value)?,
        SockOpt::IP_MULTICAST_ALL => o.mc_all = flag(value)?,
        SockOpt::IP_HDRINCL => return Err(Errno::ENOPROTOOPT),
        SockOpt::IP_LOCAL_PORT_RANGE => {
            let bits = int(value)? as u32; // two ports
            let (low, high) = ((bits & 0xffff) as u16, (bits >> 16) as u16);
            if low != 0 && high != 0 && low > high {
                return Err(Errno::EINVAL);
            }
            o.port_range = (low, high);
        }
        SockOpt::IP_MTU => return Err(Errno::ENOPROTOOPT),
        _ => return Err(NOT_MODELLED),
    }
    Ok(())
}

/// The same, read.
pub(super) fn get_ip_option(o: &SockOptions, default_ttl: u8, opt: SockOpt) -> Result<OptValue, Errno> {
    Ok(match opt {
        SockOpt::IP_TTL => OptValue::Int(o.ttl.unwrap_or(default_ttl).into()),
        SockOpt::IP_TOS => OptValue::Int(o.tos.into()),
        SockOpt::IP_MTU_DISCOVER => OptValue::Int(o.pmtudisc.into()),
        SockOpt::IP_RECVERR => from_flag(o.recverr),
        SockOpt::IP_RECVTTL => from_flag(o.recvttl),
        SockOpt::IP_RECVTOS => from_flag(o.recvtos),
        SockOpt::IP_PKTINFO => from_flag(o.pktinfo),
        SockOpt::IP_FREEBIND => from_flag(o.freebind),
        SockOpt::IP_TRANSPARENT => from_flag(o.transparent),
        SockOpt::IP_BIND_ADDRESS_NO_PORT => from_flag(o.bind_no_port),
        SockOpt::IP_MINTTL => OptValue::Int(o.min_ttl.into()),
        SockOpt::IP_MULTICAST_TTL => OptValue::Int(o.mc_ttl.into()),
        SockOpt::IP_MULTICAST_LOOP => from_flag(o.mc_loop),
        SockOpt::IP_MULTICAST_ALL => from_flag(o.mc_all),
        SockOpt::IP_MULTICAST_IF => OptValue::Membership(
            Ipv4Addr::UNSPECIFIED.into(),
            Some(o.mc_addr.unwrap_or(Ipv4Addr::UNSPECIFIED)),
            0,
        ),
        SockOpt::IP_HDRINCL => from_flag(o.hdrincl),
        SockOpt::IP_LOCAL_PORT_RANGE => {
            OptValue::Int(i64::from(u32::from(o.port_range.1) << 16 | u32::from(o.port_range.0)))
        }
        SockOpt::IP_PROTOCOL => OptValue::Int(0),
        SockOpt::IP_ADD_MEMBERSHIP | SockOpt::IP_DROP_MEMBERSHIP => return Err(Errno::ENOPROTOOPT),
        _ => return Err(NOT_MODELLED),
    })
}

/// Settings of level `IPPROTO_IPV6` that are only stored. `bound`: the socket has a port.
pub(super) fn set_ipv6_option(
    o: &mut SockOptions,
    bound: bool,
    opt: SockOpt,
    value: &OptValue,
) -> Result<(), Errno> {
    match opt {
        SockOpt::IPV6_V6ONLY if bound => return Err(Errno::EINVAL),
        SockOpt::IPV6_V6ONLY => o.v6only = flag(value)?,
        SockOpt::IPV6_UNICAST_HOPS => o.hops = ttl(value, 0)?,
        SockOpt::IPV6_MULTICAST_HOPS => o.mc_hops = ttl(value, 0)?.unwrap_or(1),
        SockOpt::IPV6_MULTICAST_LOOP => o.mc_loop6 = flag(value)?,
        SockOpt::IPV6_MULTICAST_ALL => o.mc_all6 = flag(value)?,
        SockOpt::IPV6_TCLASS => o.tclass = ttl(value, 0)?.unwrap_or(0),
        SockOpt::IPV6_MTU_DISCOVER => o.pmtudisc6 = byte(value, 5)?,
        SockOpt::IPV6_DONTFRAG => o.dontfrag6 = flag(value)?,
        SockOpt::IPV6_RECVERR => o.recverr6 = flag(value)?,
        SockOpt::IPV6_RECVPKTINFO => o.recvpktinfo6 = flag(value)?,
        SockOpt::IPV6_RECVHOPLIMIT => o.recvhoplimit6 = flag(value)?,
        SockOpt::IPV6_RECVTCLASS => o.recvtclass6 = flag(value)?,
        SockOpt::IPV6_FREEBIND => o.freebind = flag(value)?,
        SockOpt::IPV6_TRANSPARENT => o.transparent = flag(value)?,
        _ => return Err(NOT_MODELLED),
    }
    Ok(())
}

/// The same, read.
pub(super) fn get_ipv6_option(o: &SockOptions, opt: SockOpt) -> Result<OptValue, Errno> {
    Ok(match opt {
        SockOpt::IPV6_V6ONLY => from_flag(o.v6only),
        SockOpt::IPV6_UNICAST_HOPS => OptValue::Int(o.hops.unwrap_or(64).into()),
        SockOpt::IPV6_MULTICAST_HOPS => OptValue::Int(o.mc_hops.into()),
        SockOpt::IPV6_MULTICAST_LOOP => from_flag(o.mc_loop6),
        SockOpt::IPV6_MULTICAST_ALL => from_flag(o.mc_all6),
        SockOpt::IPV6_MULTICAST_IF => OptValue::Int(o.mc_if6.into()),
        SockOpt::IPV6_TCLASS => OptValue::Int(o.tclass.into()),
        SockOpt::IPV6_MTU_DISCOVER => OptValue::Int(o.pmtudisc6.into()),
        SockOpt::IPV6_DONTFRAG => from_flag(o.dontfrag6),
        SockOpt::IPV6_RECVERR => from_flag(o.recverr6),
        SockOpt::IPV6_RECVPKTINFO => from_flag(o.recvpktinfo6),
        SockOpt::IPV6_RECVHOPLIMIT => from_flag(o.recvhoplimit6),
        SockOpt::IPV6_RECVTCLASS => from_flag(o.recvtclass6),
        SockOpt::IPV6_FREEBIND => from_flag(o.freebind),
        SockOpt::IPV6_TRANSPARENT => from_flag(o.transparent),
        SockOpt::IPV6_JOIN_GROUP | SockOpt::IPV6_LEAVE_GROUP => return Err(Errno::ENOPROTOOPT),
        _ => return Err(NOT_MODELLED),
    })
}
