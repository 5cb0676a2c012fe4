//! What system calls do to TCP's sockets: bind, listen, accept, connect, shutdown, close. TRUTH.md §1, §5, §8.
//!
//! Linux: af_inet.c `inet_bind`, `inet_listen`, `__inet_stream_connect`, `inet_shutdown`; tcp_ipv4.c `tcp_v4_connect`;
//! tcp.c `tcp_close`, `tcp_disconnect`.

use std::net::{IpAddr, SocketAddr};

use wire::Instant;

use super::cc::Cc;
use super::connect::Seed;
use super::fastopen::Request;
use super::listen::Listener;
use super::shared::Shared;
use super::sock::{NO_FILE, NO_PLACE, Phase, Prep, TcpSock};
use super::tcb::{Nagle, State, UserOptions};
use crate::call::{Domain, PollEvents, Shutdown, SockAddr};
use crate::mib::Counter;
use crate::record::What;
use crate::route::{Flow, RouteKind};
use crate::socket::Dgram;
use crate::socket::sock::{SockOptions, is_link_local, unmapped};
use crate::udp::bind::{any_like, bind_address, loopback_like, scope_of};
use crate::{Errno, Stack};

/// What a try to connect came to.
pub(crate) enum Connecting {
    /// It is up, or it failed.
    Done(Result<(), Errno>),
    /// The handshake goes on: the errno for who does not wait.
    Wait(Errno),
}

impl Stack {
    /// `socket(SOCK_STREAM)` without its file.
    pub(crate) fn tcp_create(&mut self, domain: Domain) -> u32 {
        let (opts, prep) = self.fresh_settings(domain);
        let any = Dgram::any_addr(domain);
        let serial = self.sockets.serial();
        let sock = TcpSock {
            domain,
            serial,
            file: NO_FILE,
            opts,
            prep,
            rcv_addr: any,
            saddr: any,
            port: 0,
            bind_place: NO_PLACE,
            addr_locked: false,
            port_locked: false,
            peer_scope: 0,
            dst: None,
            ip_id: 0,
            phase: Phase::Unconnected,
            hash: None,
            parent: None,
            error: None,
            shutdown_rd: false,
            shutdown_wr: false,
            lingering: false,
            linger_until: None,
            tcb: None,
            listener: None,
            saved_syn: None,
        };
        self.tcp.socks.insert(Box::new(sock))
    }

    /// What a new socket is set to: the same for all of them until a sysctl changes.
    fn fresh_settings(&mut self, domain: Domain) -> (Shared<SockOptions>, Shared<Prep>) {
        let ns = &self.sysctl.ns;
        let size = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
        let (rcvbuf, sndbuf) = (size(ns.tcp_rmem[1]), size(ns.tcp_wmem[1]));
        let v6only = domain == Domain::Inet6 && ns.bindv6only != 0;
        let congestion = Cc::by_name(&ns.tcp_congestion_control).map_or("cubic", |cc| cc.name());
        if let Some((opts, prep)) = &self.tcp.fresh
            && (opts.rcvbuf, opts.sndbuf, opts.v6only, prep.congestion)
                == (rcvbuf, sndbuf, v6only, congestion)
        {
            return (opts.clone(), prep.clone());
        }
        let opts = SockOptions { v6only, ..SockOptions::new(rcvbuf, sndbuf) };
        let prep = Prep {
            user: Shared::new(UserOptions::default()),
            nagle: Nagle::default(),
            user_mss: 0,
            congestion,
            sndbuf_locked: false,
            rcvbuf_locked: false,
            pingpong: false,
            fastopen: super::fastopen::Prep::default(),
            save_syn: 0,
            inq: false,
            zerocopy: false,
            timestamping: 0,
        };
        let fresh = (Shared::new(opts), Shared::new(prep));
        self.tcp.fresh = Some(fresh.clone());
        fresh
    }

    fn tcp_record(&mut self, now: Instant, id: u32, from: Option<&'static str>, to: Option<&'static str>) {
        let sock = &self.tcp.socks[id];
        let (serial, addr, port) = (sock.serial, sock.rcv_addr, sock.port);
        self.out.record(now, || What::Sock {
            sock: serial,
            from,
            to,
            addrs: format!("{} *:*", SocketAddr::new(addr, port)),
        });
    }

    pub(crate) fn tcp_bind(&mut self, now: Instant, id: u32, addr: SockAddr) -> Result<(), Errno> {
        let sock = &self.tcp.socks[id];
        let (addr, scope) = bind_address(sock.domain, addr)?;
        let ip = unmapped(addr.ip());
        if ip.is_ipv4() && sock.domain == Domain::Inet6 && sock.opts.v6only {
            return Err(Errno::EINVAL);
        }
        let closed = sock.listener.is_none() && sock.tcb.as_ref().is_none_or(|t| t.state() == State::Close);
        if !closed || sock.bind_place != NO_PLACE || sock.port_locked {
            // __inet_bind looks at the address first, __inet6_bind at the socket.
            if sock.domain == Domain::Inet {
                self.bindable(now, &sock.opts, ip, sock.opts.bound_if)?;
            }
            return Err(Errno::EINVAL);
        }
        let bound_if = self.scoped_interface(&sock.opts, ip, scope)?;
        let group = self.bindable(now, &self.tcp.socks[id].opts, ip, bound_if)?;
        let sock = &mut self.tcp.socks[id];
        let before = (sock.rcv_addr, sock.saddr, sock.opts.bound_if);
        sock.rcv_addr = ip;
        sock.saddr = if group { any_like(ip) } else { ip };
        sock.opts.bound_if = bound_if;
        if addr.port() != 0 || !sock.opts.bind_no_port {
            let given = self.tcp_get_port(id, addr.port());
            let sock = &mut self.tcp.socks[id];
            if let Err(errno) = given {
                (sock.rcv_addr, sock.saddr, sock.opts.bound_if) = before;
                return Err(errno);
            }
        }
        let sock = &mut self.tcp.socks[id];
        sock.addr_locked |= !ip.is_unspecified();
        sock.port_locked |= addr.port() != 0;
        sock.dst = None;
        self.tcp_record(now, id, None, Some("UNCONN"));
        Ok(())
    }

    /// `inet_listen`: on a listener it only changes the backlog.
    pub(crate) fn tcp_listen(&mut self, now: Instant, id: u32, backlog: i32) -> Result<(), Errno> {
        let most = u32::try_from(self.sysctl.ns.somaxconn).unwrap_or(0);
        let backlog = u32::try_from(backlog).unwrap_or(u32::MAX).min(most);
        let sock = &mut self.tcp.socks[id];
        if let Some(listener) = &mut sock.listener {
            listener.backlog = backlog;
            return Ok(());
        }
        if sock.phase != Phase::Unconnected || sock.tcb.as_ref().is_some_and(|t| t.state() != State::Close) {
            return Err(Errno::EINVAL);
        }
        if sock.bind_place == NO_PLACE {
            let port = sock.port;
            self.tcp_get_port(id, port)?;
        } else if self.tcp_bind_conflict(id, self.tcp.socks[id].port) {
            return Err(Errno::EADDRINUSE);
        }
        let sock = &mut self.tcp.socks[id];
        sock.tcb = None;
        // Without TCP_FASTOPEN every listener may be one for Fast Open.
        let every = super::fastopen::SERVER_WO_SOCKOPT1 | super::fastopen::SERVER_ENABLE;
        if self.sysctl.ns.tcp_fastopen & every == every && sock.prep.fastopen.max_qlen == 0 {
            sock.prep.fastopen.max_qlen = backlog;
            self.fastopen_init_key();
        }
        let sock = &mut self.tcp.socks[id];
        sock.listener = Some(Box::new(Listener { backlog, ..Listener::default() }));
        let port = sock.port;
        self.tcp.listeners.insert(port, id);
        self.tcp_record(now, id, Some("UNCONN"), Some("LISTEN"));
        Ok(())
    }

    /// `inet_csk_accept`: the next complete connection. `EAGAIN`: there is none yet.
    pub(crate) fn tcp_accept(&mut self, id: u32) -> Result<u32, Errno> {
        let listener = self.tcp.socks[id].listener.as_mut().ok_or(Errno::EINVAL)?;
        let child = listener.accept.pop_front().ok_or(Errno::EAGAIN)?;
        self.tcp.socks[child].parent = None;
        Ok(child)
    }

    /// `__inet_stream_connect`. `open`: `sendmsg` opens the connection with its data (`tcp_sendmsg_fastopen`), which a
    /// deferred connection needs no address for.
    pub(crate) fn tcp_connect(
        &mut self,
        now: Instant,
        id: u32,
        addr: Option<SockAddr>,
        open: Option<Request>,
    ) -> Connecting {
        let is_sendmsg = open.is_some();
        let addr = match addr {
            Some(SockAddr::Ip(addr)) => Some(addr),
            Some(_) => {
                self.tcp_disconnect(now, id);
                return Connecting::Done(Ok(()));
            }
            None => None,
        };
        let sock = &self.tcp.socks[id];
        let deferred = sock.tcb.as_ref().is_some_and(|t| t.fo.deferred);
        let mut answer = Errno::EALREADY;
        match sock.phase {
            Phase::Connected => return Connecting::Done(Err(Errno::EISCONN)),
            Phase::Connecting if deferred => {
                answer = if is_sendmsg { Errno::EINPROGRESS } else { Errno::EISCONN };
                if let Some(open) = open {
                    self.tcp_sync_route(now, id);
                    self.tcp_step(now, id, |tcb, cx| tcb.connect_with(cx, Some(open)));
                }
            }
            Phase::Connecting => {}
            Phase::Unconnected => {
                let closed = sock.tcb.as_ref().is_none_or(|t| t.state() == State::Close);
                if sock.listener.is_some() || !closed {
                    return Connecting::Done(Err(Errno::EISCONN));
                }
                let Some(addr) = addr else { return Connecting::Done(Err(Errno::EINVAL)) };
                if let Err(errno) = self.tcp_connect_start(now, id, addr, open) {
                    return Connecting::Done(Err(errno));
                }
                let sock = &mut self.tcp.socks[id];
                sock.phase = Phase::Connecting;
                if sock.tcb.as_ref().is_some_and(|t| t.fo.deferred) {
                    return Connecting::Done(Ok(()));
                }
                answer = Errno::EINPROGRESS;
            }
        }
        let sock = &mut self.tcp.socks[id];
        let Some(tcb) = sock.tcb.as_mut() else { return Connecting::Done(Err(Errno::ECONNABORTED)) };
        match tcb.state() {
            State::SynSent | State::SynRecv => Connecting::Wait(answer),
            State::Close => {
                // It was closed by a RST, a timeout, an ICMP error, or by somebody's disconnect.
                let errno = tcb.error.take().unwrap_or(Errno::ECONNABORTED);
                self.tcp_disconnect(now, id);
                Connecting::Done(Err(errno))
            }
            _ => {
                sock.phase = Phase::Connected;
                Connecting::Done(Ok(()))
            }
        }
    }

    /// `tcp_v4_connect`, `tcp_v6_connect`: address, route, port, SYN.
    fn tcp_connect_start(
        &mut self,
        now: Instant,
        id: u32,
        addr: SocketAddr,
        open: Option<Request>,
    ) -> Result<(), Errno> {
        let sock = &self.tcp.socks[id];
        if sock.domain == Domain::Inet && addr.is_ipv6() {
            return Err(Errno::EAFNOSUPPORT);
        }
        let (mut ip, port, scope) = (unmapped(addr.ip()), addr.port(), scope_of(addr));
        if sock.domain == Domain::Inet6 {
            let v6_name = sock.saddr.is_ipv6() && !sock.saddr.is_unspecified();
            match ip {
                IpAddr::V4(_) if sock.opts.v6only || v6_name => return Err(Errno::ENETUNREACH),
                IpAddr::V6(_) if sock.saddr.is_ipv4() => return Err(Errno::EAFNOSUPPORT),
                IpAddr::V6(v6) if is_link_local(v6) && scope == 0 && sock.opts.bound_if == 0 => {
                    return Err(Errno::EINVAL);
                }
                _ => {}
            }
        }
        if ip.is_unspecified() {
            ip = loopback_like(ip);
        }
        let remote = SocketAddr::new(ip, port);
        let bound = sock.saddr.is_ipv4() == ip.is_ipv4() && !sock.saddr.is_unspecified();
        let src = if bound { sock.saddr } else { any_like(ip) };
        let link_local = matches!(ip, IpAddr::V6(v6) if is_link_local(v6));
        let oif = if sock.opts.bound_if == 0 && link_local { scope } else { sock.opts.bound_if };
        let tos = if ip.is_ipv4() { sock.opts.tos } else { sock.opts.tclass };
        let flow = Flow { dst: ip, src, oif, tos: tos & 0xfc };
        let (dst, way) = self.tcp_look_up(now, &flow).inspect_err(|_| {
            self.mib.inc(if ip.is_ipv4() { Counter::IpOutNoRoutes } else { Counter::Ip6OutNoRoutes });
        })?;
        if matches!(dst.kind, RouteKind::Broadcast | RouteKind::Multicast) {
            return Err(Errno::ENETUNREACH);
        }
        let local_ip = if bound { src } else { dst.src };
        let before = (self.tcp.socks[id].saddr, self.tcp.socks[id].rcv_addr);
        let sock = &mut self.tcp.socks[id];
        sock.peer_scope = scope;
        if sock.saddr.is_unspecified() {
            sock.saddr = local_ip;
        }
        if sock.rcv_addr.is_unspecified() {
            sock.rcv_addr = local_ip;
        }
        let (port, recycled) = match self.tcp_hash_connect(now, id, local_ip, remote) {
            Ok(found) => found,
            Err(errno) => {
                let sock = &mut self.tcp.socks[id];
                (sock.saddr, sock.rcv_addr) = before;
                return Err(errno);
            }
        };
        let local = SocketAddr::new(local_ip, port);
        let new = || self.tcp.secrets.isn(local, remote, now);
        let iss = recycled.as_ref().map_or_else(new, |entry| entry.iss);
        let ts_offset = self.tcp.secrets.ts_offset(local_ip, ip);
        let advmss = self.advmss(&dst, &way, remote);
        let ip_id = self.tcp.rng.next_u32() as u16; // any 16 bits
        let generation = self.route_generation();
        let sock = &mut self.tcp.socks[id];
        let prep = &sock.prep;
        let seed = Seed {
            local,
            remote,
            iss,
            ts_offset,
            path_mtu: dst.mtu,
            way,
            advmss,
            sndbuf: sock.opts.sndbuf,
            sndbuf_locked: prep.sndbuf_locked,
            rcvbuf: sock.opts.rcvbuf,
            rcvbuf_locked: prep.rcvbuf_locked,
            cc: Cc::by_name(prep.congestion).expect("only known names are stored"),
            user: prep.user.clone(),
            nagle: prep.nagle,
            user_mss: prep.user_mss,
            rcvlowat: u32::try_from(sock.opts.rcvlowat).unwrap_or(1),
        };
        let pingpong = prep.pingpong;
        let notes = (prep.zerocopy, prep.timestamping);
        let (no_cookie, connect) = (prep.fastopen.no_cookie, prep.fastopen.connect);
        let tcb = super::tcb::Tcb::new(&self.sysctl.ns, now, seed);
        let mut tcb = self.tcp.spare.boxed(tcb);
        tcb.ack.nodelay_forced = pingpong;
        tcb.adopt_notes(notes.0, notes.1);
        tcb.fo.no_cookie = no_cookie;
        tcb.fo.connect = connect;
        if let Some(entry) = recycled {
            tcb.ts.recent = entry.ts_recent;
            tcb.ts.recent_stamp = entry.ts_recent_stamp;
        }
        let old = self.tcp.socks[id].tcb.replace(tcb);
        self.tcp_memory_back(now, old.map_or(0, |t| t.mem_pages));
        let sock = &mut self.tcp.socks[id];
        sock.dst = Some((generation, dst));
        sock.ip_id = ip_id;
        self.tcp_hash_in(now, id, local, remote, recycled);
        self.tcp_step(now, id, |tcb, cx| tcb.connect_with(cx, open));
        Ok(())
    }

    /// `tcp_disconnect`: back to a fresh socket; what the program bound stays.
    pub(crate) fn tcp_disconnect(&mut self, now: Instant, id: u32) {
        self.stop_listening(now, id);
        self.tcp_step(now, id, |tcb, cx| {
            tcb.disconnect(cx);
            cx.fate = None;
        });
        self.tcp_unhash(id);
        if let Some(tcb) = self.tcp.socks[id].tcb.as_mut() {
            tcb.timers.remove_all(&mut self.timers);
        }
        if !self.tcp.socks[id].port_locked {
            self.tcp_put_port(id);
            self.tcp.socks[id].port = 0;
        }
        let sock = &mut self.tcp.socks[id];
        sock.tcb = None;
        sock.phase = Phase::Unconnected;
        sock.dst = None;
        sock.error = None;
        sock.shutdown_rd = false;
        sock.shutdown_wr = false;
        if !sock.addr_locked {
            sock.rcv_addr = Dgram::any_addr(sock.domain);
            sock.saddr = sock.rcv_addr;
        }
    }

    /// `inet_shutdown`
    pub(crate) fn tcp_shutdown(&mut self, now: Instant, id: u32, how: Shutdown) -> Result<(), Errno> {
        let rd = matches!(how, Shutdown::Rd | Shutdown::RdWr);
        let wr = matches!(how, Shutdown::Wr | Shutdown::RdWr);
        let sock = &mut self.tcp.socks[id];
        let file = sock.file;
        if sock.listener.is_some() {
            if rd {
                self.tcp_disconnect(now, id);
            }
            self.wake_file(file, PollEvents(u32::MAX));
            return Ok(());
        }
        let result = match sock.tcb.as_mut() {
            None => {
                sock.shutdown_rd |= rd;
                sock.shutdown_wr |= wr;
                Err(Errno::ENOTCONN)
            }
            Some(tcb) if tcb.state() == State::Close => {
                tcb.shutdown_rd |= rd;
                tcb.shutdown_wr |= wr;
                Err(Errno::ENOTCONN)
            }
            Some(tcb) if tcb.state() == State::SynSent => {
                self.tcp_disconnect(now, id);
                self.tcp.socks[id].error = Some(Errno::ECONNRESET);
                Ok(())
            }
            Some(tcb) => {
                sock.phase = Phase::Connected;
                tcb.shutdown_rd |= rd;
                if wr {
                    self.tcp_sync_route(now, id);
                    self.tcp_step(now, id, |tcb, cx| tcb.shutdown_write(cx));
                }
                Ok(())
            }
        };
        self.wake_file(file, PollEvents(u32::MAX));
        result
    }

    /// `SO_LINGER`: closes as far as that waits; until when, when it does.
    pub(crate) fn tcp_linger(&mut self, now: Instant, id: u32) -> Option<core::time::Duration> {
        let sock = &mut self.tcp.socks[id];
        let seconds = u64::try_from(sock.opts.linger?).ok().filter(|s| *s > 0)?;
        let wait = core::time::Duration::from_secs(seconds);
        sock.tcb.as_ref()?;
        if !sock.lingering {
            sock.lingering = true;
            sock.linger_until = Some(self.config.granularity.fire_at(now, wait));
            self.tcp_sync_route(now, id);
            self.tcp_step(now, id, |tcb, cx| tcb.close_start(cx, false));
        }
        let sock = &self.tcp.socks[id];
        let waits = sock.tcb.as_ref().is_some_and(|t| t.is_closing())
            && sock.linger_until.is_some_and(|until| now < until);
        waits.then_some(wait)
    }

    /// The last descriptor was closed.
    pub(crate) fn tcp_release(&mut self, now: Instant, id: u32) {
        if self.tcp.socks[id].listener.is_some() {
            self.tcp_record(now, id, Some("LISTEN"), None);
            self.stop_listening(now, id);
        }
        let sock = &mut self.tcp.socks[id];
        sock.file = NO_FILE;
        if sock.tcb.is_none() {
            self.tcp_destroy(now, id);
            return;
        }
        let (started, abort) = (sock.lingering, sock.opts.linger == Some(0));
        sock.lingering = false;
        self.tcp_sync_route(now, id);
        self.tcp_step(now, id, |tcb, cx| {
            if !started {
                tcb.close_start(cx, abort);
            }
            tcb.close_finish(cx);
        });
        self.tcp_release_closed(now, id);
        if let Some(sock) = self.tcp.socks.get_mut(id)
            && let Some(tcb) = &mut sock.tcb
            && !tcb.orphan_counted
        {
            tcb.orphan_counted = true;
            self.tcp.orphans += 1;
        }
    }
}
