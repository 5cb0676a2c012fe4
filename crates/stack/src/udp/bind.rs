//! Names of sockets: bind, ports, connect, disconnect, close. Linux: net/ipv4/af_inet.c `__inet_bind`, udp.c
//! `udp_lib_get_port`, datagram.c `__ip4_datagram_connect`, net/ipv6/af_inet6.c, net/ipv6/datagram.c.
//!
//! Conflicts: TRUTH.md §8.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use wire::Instant;

use crate::call::{Domain, PollEvents, Shutdown, SockAddr};
use crate::record::What;
use crate::route::{Flow, RouteKind};
use crate::socket::sock::{SockOptions, is_link_local, unmapped};
use crate::socket::{Dgram, DgramKind};
use crate::{Errno, Stack};

/// Whether two sockets that both want this port stand in each other's way (`inet_rcv_saddr_equal`).
fn addrs_overlap(a: &Dgram, b: &Dgram) -> bool {
    match (a.rcv_addr, b.rcv_addr) {
        (IpAddr::V4(x), IpAddr::V4(y)) => x == y || x.is_unspecified() || y.is_unspecified(),
        (IpAddr::V6(x), IpAddr::V6(y)) => x == y || x.is_unspecified() || y.is_unspecified(),
        // IPv6's wildcard takes IPv4 too, unless it is IPv6 only.
        (IpAddr::V6(x), IpAddr::V4(_)) => x.is_unspecified() && !a.opts.v6only,
        (IpAddr::V4(_), IpAddr::V6(y)) => y.is_unspecified() && !b.opts.v6only,
    }
}

fn conflicts(a: &Dgram, b: &Dgram) -> bool {
    let (oa, ob) = (&a.opts, &b.opts);
    let same_dev = oa.bound_if == 0 || ob.bound_if == 0 || oa.bound_if == ob.bound_if;
    let share = (oa.reuse_addr && ob.reuse_addr) || (oa.reuse_port && ob.reuse_port);
    !share && same_dev && addrs_overlap(a, b)
}

impl Stack {
    pub(crate) fn dgram_bind(&mut self, now: Instant, sock: u32, addr: SockAddr) -> Result<(), Errno> {
        self.sockets.dgrams[sock].flow = None;
        let entry = &self.sockets.dgrams[sock];
        let (addr, scope) = bind_address(entry.domain, addr)?;
        let ip = unmapped(addr.ip());
        if ip.is_ipv4() && entry.domain == Domain::Inet6 && entry.opts.v6only {
            return Err(Errno::EINVAL);
        }
        let raw = entry.kind == DgramKind::Raw;
        let bound = !raw && entry.port != 0 || raw && entry.peer.is_some();
        if bound {
            // __inet_bind looks at the address first, __inet6_bind at the socket.
            if entry.domain == Domain::Inet {
                self.bindable(now, &entry.opts, ip, entry.opts.bound_if)?;
            }
            return Err(Errno::EINVAL);
        }
        let bound_if = self.scoped_interface(&entry.opts, ip, scope)?;
        let group = self.bindable(now, &self.sockets.dgrams[sock].opts, ip, bound_if)?;

        let entry = &mut self.sockets.dgrams[sock];
        let before = (entry.rcv_addr, entry.saddr, entry.opts.bound_if);
        entry.rcv_addr = ip;
        entry.saddr = if group { any_like(ip) } else { ip };
        entry.opts.bound_if = bound_if;
        if addr.port() != 0 || !(entry.opts.bind_no_port || raw) {
            let given = self.get_port(sock, addr.port());
            let entry = &mut self.sockets.dgrams[sock];
            if let Err(errno) = given {
                (entry.rcv_addr, entry.saddr, entry.opts.bound_if) = before;
                return Err(errno);
            }
        }
        let entry = &mut self.sockets.dgrams[sock];
        entry.addr_locked |= !ip.is_unspecified();
        entry.port_locked |= addr.port() != 0 && !raw;
        entry.dst = None;
        self.record_sock(now, sock, None);
        Ok(())
    }

    /// The interface that a name binds to: a link-local address needs one, by `sin6_scope_id` or `SO_BINDTODEVICE`
    /// (`inet6_bind`).
    pub(crate) fn scoped_interface(&self, opts: &SockOptions, ip: IpAddr, scope: u32) -> Result<u32, Errno> {
        let IpAddr::V6(v6) = ip else { return Ok(opts.bound_if) };
        if !is_link_local(v6) {
            return Ok(opts.bound_if);
        }
        let bound_if = if scope != 0 { scope } else { opts.bound_if };
        if bound_if == 0 {
            return Err(Errno::EINVAL);
        }
        if self.ifaces.get(bound_if).is_none() {
            return Err(Errno::ENODEV);
        }
        Ok(bound_if)
    }

    /// `EADDRNOTAVAIL` unless the address is ours, everybody's or a group's. Whether it is the latter: such an
    /// address is never a source.
    pub(crate) fn bindable(
        &self,
        now: Instant,
        opts: &SockOptions,
        ip: IpAddr,
        oif: u32,
    ) -> Result<bool, Errno> {
        let ns = &self.sysctl.ns;
        let anything = match ip {
            IpAddr::V4(_) => ns.ip_nonlocal_bind != 0,
            IpAddr::V6(_) => ns.ip6_nonlocal_bind != 0,
        };
        if ip.is_unspecified() || self_is_group(ip) {
            return Ok(!ip.is_unspecified());
        }
        let (ours, broadcast) = match ip {
            IpAddr::V4(_) => {
                let flow = Flow { dst: ip, src: Ipv4Addr::UNSPECIFIED.into(), oif: 0, tos: 0 };
                let kind = self.route_output(now, &flow).map(|dst| dst.kind);
                (kind == Ok(RouteKind::Local), kind == Ok(RouteKind::Broadcast))
            }
            IpAddr::V6(_) => {
                (self.ifaces.iter().any(|i| (oif == 0 || i.ifindex == oif) && i.has_addr(ip)), false)
            }
        };
        if ours || broadcast || opts.freebind || opts.transparent || anything {
            return Ok(broadcast);
        }
        Err(Errno::EADDRNOTAVAIL)
    }

    /// Gives the socket a port: this one, or any for 0 (`udp_lib_get_port`, `ping_get_port`).
    fn get_port(&mut self, sock: u32, port: u16) -> Result<(), Errno> {
        let port = match self.sockets.dgrams[sock].kind {
            DgramKind::Raw => return Ok(()),
            DgramKind::Ping => return self.ping_get_port(sock, port),
            DgramKind::Udp if port == 0 => self.free_port(sock)?,
            DgramKind::Udp if self.port_taken(sock, port) => return Err(Errno::EADDRINUSE),
            DgramKind::Udp => port,
        };
        self.sockets.dgrams[sock].port = port;
        self.sockets.udp_ports.insert(port, sock);
        Ok(())
    }

    fn port_taken(&self, sock: u32, port: u16) -> bool {
        let entry = &self.sockets.dgrams[sock];
        self.sockets.udp_ports.on_port(port).any(|other| conflicts(entry, &self.sockets.dgrams[other]))
    }

    /// A random port of `ip_local_port_range` that is free and not reserved.
    fn free_port(&mut self, sock: u32) -> Result<u16, Errno> {
        let ns = &self.sysctl.ns;
        let range = ns.ip_local_port_range.map(|n| u16::try_from(n).unwrap_or(u16::MAX));
        let (mut low, mut high) = (range[0], range[1]);
        let (own_low, own_high) = self.sockets.dgrams[sock].opts.port_range;
        if own_low > low && own_low <= high {
            low = own_low;
        }
        if own_high != 0 && own_high < high && own_high >= low {
            high = own_high;
        }
        let reserved = parse_ports(&ns.ip_local_reserved_ports);
        let count = u64::from(high.saturating_sub(low)) + 1;
        let start = self.sockets.rng.below(count);
        (0..count)
            .map(|n| low + ((start + n) % count) as u16) // below `high`
            .find(|port| {
                !reserved.iter().any(|(a, b)| (a..=b).contains(&port)) && !self.port_taken(sock, *port)
            })
            .ok_or(Errno::EADDRINUSE)
    }

    /// `inet_autobind`
    pub(crate) fn autobind(&mut self, now: Instant, sock: u32) -> Result<(), Errno> {
        if self.sockets.dgrams[sock].port != 0 {
            return Ok(());
        }
        self.get_port(sock, 0).map_err(|_| Errno::EAGAIN)?;
        self.record_sock(now, sock, None);
        Ok(())
    }

    pub(crate) fn dgram_connect(&mut self, now: Instant, sock: u32, addr: SockAddr) -> Result<(), Errno> {
        self.sockets.dgrams[sock].flow = None;
        let SockAddr::Ip(addr) = addr else {
            self.disconnect(now, sock);
            return Ok(());
        };
        self.autobind(now, sock)?;
        let entry = &mut self.sockets.dgrams[sock];
        if let (Some(name), IpAddr::V6(_)) = (entry.name6, unmapped(addr.ip())) {
            entry.name6 = None;
            (entry.rcv_addr, entry.saddr) = (name.into(), name.into());
        }
        let entry = &self.sockets.dgrams[sock];
        let state = entry.state();
        if entry.domain == Domain::Inet && addr.is_ipv6() {
            return Err(Errno::EAFNOSUPPORT);
        }
        let (mut ip, port, scope) = (unmapped(addr.ip()), addr.port(), scope_of(addr));
        if entry.domain == Domain::Inet6 {
            let v6_name = entry.addr_locked && entry.saddr.is_ipv6() && !entry.saddr.is_unspecified();
            match ip {
                IpAddr::V4(_) if entry.opts.v6only => {
                    return Err(if addr.is_ipv4() { Errno::EAFNOSUPPORT } else { Errno::ENETUNREACH });
                }
                IpAddr::V4(_) if v6_name => return Err(Errno::ENETUNREACH),
                IpAddr::V6(_) if entry.saddr.is_ipv4() => return Err(Errno::EAFNOSUPPORT),
                IpAddr::V6(v6) if is_link_local(v6) && scope == 0 && entry.opts.bound_if == 0 => {
                    return Err(Errno::EINVAL);
                }
                _ => {}
            }
        }
        if ip.is_unspecified() {
            ip = loopback_like(ip);
        }
        let flow = self.flow_of(sock, ip, scope);
        let dst = self.route_from(now, sock, flow).inspect_err(|_| self.count_no_route(ip))?;
        if dst.kind == RouteKind::Broadcast && !self.sockets.dgrams[sock].opts.broadcast {
            return Err(Errno::EACCES);
        }
        let src = if flow.src.is_unspecified() { dst.src } else { flow.src };
        let entry = &mut self.sockets.dgrams[sock];
        if let (IpAddr::V6(name), IpAddr::V4(_)) = (entry.saddr, ip)
            && !name.is_unspecified()
        {
            // From now on IPv4 has a name of its own (`inet_saddr`), and getsockname goes on with the old one.
            entry.name6 = Some(name);
            entry.saddr = src;
            entry.rcv_addr = src;
        }
        let ip_id = self.sockets.rng.next_u32() as u16; // any 16 bits
        let txhash = self.sockets.rng.next_u32();
        let generation = self.route_generation();
        let entry = &mut self.sockets.dgrams[sock];
        if entry.saddr.is_unspecified() {
            entry.saddr = src;
        }
        if entry.rcv_addr.is_unspecified() {
            entry.rcv_addr = src;
        }
        entry.peer = Some((ip, port));
        entry.peer_scope = scope;
        entry.dst = Some((generation, dst));
        entry.ip_id = ip_id;
        entry.txhash = txhash;
        self.record_sock(now, sock, Some(state));
        Ok(())
    }

    /// `udp_disconnect`: what the program bound stays, what connect chose goes.
    fn disconnect(&mut self, now: Instant, sock: u32) {
        let entry = &mut self.sockets.dgrams[sock];
        let state = entry.state();
        entry.peer = None;
        entry.peer_scope = 0;
        entry.dst = None;
        entry.name6 = None;
        if !entry.addr_locked {
            entry.rcv_addr = Dgram::any_addr(entry.domain);
            entry.saddr = entry.rcv_addr;
        }
        if !entry.port_locked && entry.kind != DgramKind::Raw {
            self.forget_port(sock);
        }
        if state == "ESTAB" {
            self.record_sock(now, sock, Some(state));
        }
    }

    fn forget_port(&mut self, sock: u32) {
        let entry = &mut self.sockets.dgrams[sock];
        let port = core::mem::take(&mut entry.port);
        match entry.kind {
            DgramKind::Udp => self.sockets.udp_ports.remove(port, sock),
            DgramKind::Ping => self.sockets.pings.retain(|s| *s != sock),
            DgramKind::Raw => {}
        }
    }

    /// `inet_shutdown`: of a socket without a peer the flags are set and `ENOTCONN` is returned all the same.
    pub(crate) fn dgram_shutdown(&mut self, _now: Instant, sock: u32, how: Shutdown) -> Result<(), Errno> {
        let entry = &mut self.sockets.dgrams[sock];
        entry.shutdown_rd |= matches!(how, Shutdown::Rd | Shutdown::RdWr);
        entry.shutdown_wr |= matches!(how, Shutdown::Wr | Shutdown::RdWr);
        let (file, connected) = (entry.file, entry.peer.is_some());
        self.wake_file(file, PollEvents::IN | PollEvents::OUT | PollEvents::RDHUP | PollEvents::HUP);
        if connected { Ok(()) } else { Err(Errno::ENOTCONN) }
    }

    /// The last descriptor was closed.
    pub(crate) fn dgram_release(&mut self, now: Instant, sock: u32) {
        let entry = &self.sockets.dgrams[sock];
        if entry.port != 0 || entry.peer.is_some() {
            self.out.record(now, || What::Sock {
                sock: entry.serial,
                from: Some(entry.state()),
                to: None,
                addrs: crate::udp::addrs_text(entry),
            });
        }
        self.forget_port(sock);
        self.sockets.raws.retain(|s| *s != sock);
        let entry = self.sockets.dgrams.remove(sock).expect("its file held it");
        self.leave_all_groups(now, entry.memberships);
    }

    /// Tells the journal what became of a socket.
    fn record_sock(&mut self, now: Instant, sock: u32, from: Option<&'static str>) {
        let entry = &self.sockets.dgrams[sock];
        self.out.record(now, || What::Sock {
            sock: entry.serial,
            from,
            to: Some(entry.state()),
            addrs: crate::udp::addrs_text(entry),
        });
    }
}

/// The address that `bind` was given, checked against the socket's family, and its scope.
pub(crate) fn bind_address(domain: Domain, addr: SockAddr) -> Result<(SocketAddr, u32), Errno> {
    match (domain, addr) {
        (Domain::Inet, SockAddr::Ip(addr)) if addr.is_ipv4() => Ok((addr, 0)),
        (Domain::Inet6, SockAddr::Ip(addr)) if addr.is_ipv6() => Ok((addr, scope_of(addr))),
        // A zeroed sockaddr is INADDR_ANY for old programs.
        (Domain::Inet, SockAddr::Unspec) => Ok((SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0), 0)),
        // IPv6 sockets: sockaddr_in is too short.
        (Domain::Inet6, SockAddr::Ip(_)) => Err(Errno::EINVAL),
        (Domain::Inet, SockAddr::Ip(_)) | (Domain::Inet6, SockAddr::Unspec) => Err(Errno::EAFNOSUPPORT),
    }
}

pub(crate) fn scope_of(addr: SocketAddr) -> u32 {
    match addr {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(addr) => addr.scope_id(),
    }
}

pub(crate) fn any_like(ip: IpAddr) -> IpAddr {
    if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

pub(crate) fn loopback_like(ip: IpAddr) -> IpAddr {
    if ip.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}

fn self_is_group(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// `8080,9000-9010`
pub(crate) fn parse_ports(text: &str) -> Vec<(u16, u16)> {
    let range = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        Some((low.trim().parse().ok()?, high.trim().parse().ok()?))
    };
    text.split(',').filter_map(range).collect()
}
