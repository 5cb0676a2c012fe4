//! One system call: find the file, try, return or sleep. Linux: net/socket.c `__sys_*`, net/ipv4/af_inet.c.
//!
//! Which errors wrong domains, types and protocols give was measured on 6.18.44.

use wire::Instant;
use wire::ip::Protocol;

use super::Pid;
use super::file::{FileId, FileKind};
use super::sock::{Dgram, DgramKind, SockOptions};
use super::wait::{CallKey, Timeout, Wait};
use crate::call::{Call, CallResult, Data, Domain, Fd, MsgFlags, Outcome, PollEvents, Ret, SockType};
use crate::udp::read::RecvArgs;
use crate::udp::send::Payload;
use crate::{Errno, Stack};

/// The group of all programs: they are root's.
const GROUP: i64 = 0;

/// What a try of a call came to.
pub(super) enum Step {
    Done(CallResult),
    Wait(Wait),
}

impl From<Result<Ret, Errno>> for Step {
    fn from(result: Result<Ret, Errno>) -> Step {
        Step::Done(result)
    }
}

pub(super) fn zero(result: Result<(), Errno>) -> Step {
    Step::Done(result.map(|()| Ret::Int(0)))
}

impl Stack {
    /// Tries a system call of a process; it never blocks the caller. See [`Outcome::Block`] for calls that sleep:
    /// the same call is tried again when [`Stack::poll_wakeup`] names the process.
    pub fn call(&mut self, now: Instant, pid: Pid, call: &Call) -> Outcome {
        if self.sockets.process(pid).is_none() {
            return Outcome::Done(Err(Errno::ESRCH));
        }
        let key = CallKey::of(call);
        let slept = self.resume(pid, key);
        if slept.is_none() {
            self.sockets.progress(pid);
        }
        let is_over = slept.is_some_and(|deadline| deadline.is_some_and(|at| now >= at));
        let outcome = match self.try_call(now, pid, call) {
            Step::Done(result) => Outcome::Done(result),
            Step::Wait(wait) if is_over => Outcome::Done(wait.over),
            Step::Wait(wait) => Outcome::Block { until: self.sleep(now, pid, key, &wait, slept) },
        };
        self.run_loopback(now);
        outcome
    }

    fn try_call(&mut self, now: Instant, pid: Pid, call: &Call) -> Step {
        if let Some(fd) = super::stream::socket_fd(call)
            && let Some(id) = self.tcp_of(pid, fd)
        {
            return self.try_tcp_call(now, pid, fd, id, call);
        }
        let one = core::slice::from_ref;
        match call {
            Call::Socket { domain, ty, protocol, nonblock } => {
                self.sys_socket(now, pid, *domain, *ty, *protocol, *nonblock).into()
            }
            Call::Bind { fd, addr } => {
                zero(self.dgram_of(pid, *fd).and_then(|s| self.dgram_bind(now, s, *addr)))
            }
            Call::Connect { fd, addr } => {
                zero(self.dgram_of(pid, *fd).and_then(|s| self.dgram_connect(now, s, *addr)))
            }
            Call::Listen { fd, .. } | Call::Accept { fd, .. } => {
                zero(self.dgram_of(pid, *fd).and(Err(Errno::EOPNOTSUPP)))
            }
            Call::Read { fd, len } => self.sys_read(pid, *fd, *len),
            Call::Readv { fd, lens } => self.sys_read(pid, *fd, lens.iter().sum()),
            Call::Recv { fd, len, flags } => {
                self.sys_recv(pid, *fd, &RecvArgs { len: *len, flags: *flags, addr: false, control: None })
            }
            Call::RecvFrom { fd, len, flags } => {
                self.sys_recv(pid, *fd, &RecvArgs { len: *len, flags: *flags, addr: true, control: None })
            }
            Call::RecvMsg { fd, lens, control_len, flags } => {
                let len = lens.iter().sum();
                self.sys_recv(
                    pid,
                    *fd,
                    &RecvArgs { len, flags: *flags, addr: true, control: Some(*control_len) },
                )
            }
            Call::Write { fd, data } => self.sys_send(now, pid, *fd, None, one(data), &[], MsgFlags(0)),
            Call::Writev { fd, data } => self.sys_send(now, pid, *fd, None, data, &[], MsgFlags(0)),
            Call::Send { fd, data, flags } => self.sys_send(now, pid, *fd, None, one(data), &[], *flags),
            Call::SendTo { fd, data, flags, addr } => {
                self.sys_send(now, pid, *fd, Some(*addr), one(data), &[], *flags)
            }
            Call::SendMsg { fd, addr, data, control, flags } => {
                self.sys_send(now, pid, *fd, *addr, data, control, *flags)
            }
            Call::Shutdown { fd, how } => {
                zero(self.dgram_of(pid, *fd).and_then(|s| self.dgram_shutdown(now, s, *how)))
            }
            Call::Close { fd } => match self.lingering_close(now, pid, *fd) {
                Some(wait) => Step::Wait(wait),
                None => zero(self.sys_close(now, pid, *fd)),
            },
            Call::Dup { fd } => Step::Done(self.sockets.dup(pid, *fd).map(|fd| Ret::Fd(fd, None))),
            Call::SetSockOpt { fd, opt, value } => {
                zero(self.dgram_of(pid, *fd).and_then(|s| self.dgram_setsockopt(now, s, *opt, value)))
            }
            Call::GetSockOpt { fd, opt } => {
                let value = self.dgram_of(pid, *fd).and_then(|s| self.dgram_getsockopt(now, s, *opt));
                Step::Done(value.map(Ret::Opt))
            }
            Call::GetSockName { fd } => Step::Done(self.dgram_of(pid, *fd).map(|s| {
                let sock = &self.sockets.dgrams[s];
                Ret::Addr(sock.shown(sock.saddr_shown(), sock.port, sock.opts.bound_if))
            })),
            Call::GetPeerName { fd } => Step::Done(self.dgram_of(pid, *fd).and_then(|s| {
                let sock = &self.sockets.dgrams[s];
                // A peer without port is none (inet_getname).
                let (addr, port) = sock.peer.filter(|(_, port)| *port != 0).ok_or(Errno::ENOTCONN)?;
                Ok(Ret::Addr(sock.shown(addr, port, sock.peer_scope)))
            })),
            Call::Poll { fds, timeout_ms } => match self.sys_poll(pid, fds, *timeout_ms) {
                Ok(ret) => Step::Done(Ok(ret)),
                Err(wait) => Step::Wait(*wait),
            },
            Call::EpollCreate => self.sys_epoll_create(pid).into(),
            Call::EpollCtl { epfd, op, fd, events, data } => {
                self.sys_epoll_ctl(pid, *epfd, *op, *fd, *events, *data).into()
            }
            Call::EpollWait { epfd, max_events, timeout_ms } => {
                match self.sys_epoll_wait(pid, *epfd, *max_events, *timeout_ms) {
                    Ok(Ok(ret)) => Step::Done(Ok(ret)),
                    Ok(Err(wait)) => Step::Wait(wait),
                    Err(errno) => Step::Done(Err(errno)),
                }
            }
            Call::GetFl { fd } => Step::Done(self.sockets.file_of(pid, *fd).map(|file| {
                // O_RDWR, O_NONBLOCK
                Ret::Int(if self.sockets.files[file].nonblock { 0x802 } else { 2 })
            })),
            Call::SetFl { fd, nonblock } => {
                zero(self.sockets.file_of(pid, *fd).map(|file| self.sockets.files[file].nonblock = *nonblock))
            }
            Call::IoctlInq { fd } => Step::Done(self.dgram_of(pid, *fd).map(|s| {
                // The next datagram's length (first_packet_length).
                let len = self.sockets.dgrams[s].rx.front().map_or(0, |r| r.frame.len());
                Ret::Int(i64::try_from(len).expect("a datagram's length"))
            })),
            // Packets leave at once, or wait in a neighbour's queue, which is not charged to the socket.
            Call::IoctlOutq { fd } => Step::Done(self.dgram_of(pid, *fd).map(|_| Ret::Int(0))),
        }
    }

    /// The socket behind a descriptor.
    fn dgram_of(&self, pid: Pid, fd: Fd) -> Result<u32, Errno> {
        self.sock_of(pid, fd).map(|sock| sock.0)
    }

    fn sys_socket(
        &mut self,
        now: Instant,
        pid: Pid,
        domain: Domain,
        ty: SockType,
        protocol: u8,
        nonblock: bool,
    ) -> Result<Ret, Errno> {
        let (kind, protocol) = match (ty, Protocol(protocol), domain) {
            (SockType::Dgram, Protocol(0) | Protocol::UDP, _) => (DgramKind::Udp, Protocol::UDP),
            // Linux: ping_init_sock(): IPv6 asks the same sysctl. By default nobody may, not even root.
            (SockType::Dgram, Protocol::ICMP, Domain::Inet)
            | (SockType::Dgram, Protocol::ICMPV6, Domain::Inet6) => {
                let [low, high] = self.sysctl.ns.ping_group_range;
                if !(low..=high).contains(&GROUP) {
                    return Err(Errno::EACCES);
                }
                (DgramKind::Ping, Protocol(protocol))
            }
            (SockType::Raw, Protocol(1..), _) => (DgramKind::Raw, Protocol(protocol)),
            (SockType::Stream, Protocol(0) | Protocol::TCP, _) => {
                let id = self.tcp_create(domain);
                let file = self.sockets.new_file(FileKind::Tcp(id), nonblock);
                self.tcp.socks[id].file = file;
                return self.install_new(now, pid, file);
            }
            _ => return Err(Errno::EPROTONOSUPPORT),
        };
        let ns = &self.sysctl.ns;
        let size = |n: i32| u32::try_from(n).unwrap_or(0);
        let mut opts = SockOptions::new(size(ns.rmem_default), size(ns.wmem_default));
        opts.v6only = domain == Domain::Inet6 && ns.bindv6only != 0;
        opts.hdrincl = kind == DgramKind::Raw && protocol == Protocol::RAW;
        let serial = self.sockets.serial();
        let txhash = self.sockets.rng.next_u32();
        let sock = self.sockets.dgrams.insert(Box::new(Dgram {
            kind,
            domain,
            protocol,
            serial,
            file: FileId::MAX,
            opts,
            rcv_addr: Dgram::any_addr(domain),
            saddr: Dgram::any_addr(domain),
            port: if kind == DgramKind::Raw { protocol.0.into() } else { 0 },
            addr_locked: false,
            name6: None,
            port_locked: false,
            peer: None,
            peer_scope: 0,
            dst: None,
            flow: None,
            ip_id: 0,
            txhash,
            shutdown_rd: false,
            shutdown_wr: false,
            error: None,
            errors: Default::default(),
            rx: Default::default(),
            rmem: 0,
            reader_queue: 0,
            rmem_deficit: 0,
            drops: 0,
            cork: None,
            memberships: Vec::new(),
        }));
        if kind == DgramKind::Raw {
            self.sockets.raws.push(sock);
        }
        let file = self.sockets.new_file(FileKind::Dgram(sock), nonblock);
        self.sockets.dgrams[sock].file = file;
        self.install_new(now, pid, file)
    }

    fn install_new(&mut self, now: Instant, pid: Pid, file: FileId) -> Result<Ret, Errno> {
        match self.sockets.install(pid, file) {
            Ok(fd) => Ok(Ret::Fd(fd, None)),
            Err(errno) => {
                self.put_file(now, file);
                Err(errno)
            }
        }
    }

    /// `close` of the last descriptor of a socket with `SO_LINGER` sleeps (`sk_stream_wait_close`).
    fn lingering_close(&mut self, now: Instant, pid: Pid, fd: Fd) -> Option<Wait> {
        let file = self.sockets.file_of(pid, fd).ok()?;
        let FileKind::Tcp(id) = self.sockets.files[file].kind else { return None };
        if self.sockets.files[file].refs > 1 {
            return None;
        }
        let wait = self.tcp_linger(now, id)?;
        let on = vec![(file, PollEvents(u32::MAX), false)];
        Some(Wait { on, timeout: Timeout::Jiffies(wait), over: Ok(Ret::Int(0)) })
    }

    /// `read` and `readv`: of no bytes they do nothing at all (`sock_read_iter`).
    fn sys_read(&mut self, pid: Pid, fd: Fd, len: usize) -> Step {
        if len == 0 {
            return match self.dgram_of(pid, fd) {
                Ok(_) => Step::Done(Ok(crate::udp::read::nothing())),
                Err(errno) => Step::Done(Err(errno)),
            };
        }
        self.sys_recv(pid, fd, &RecvArgs { len, flags: MsgFlags(0), addr: false, control: None })
    }

    fn sys_recv(&mut self, pid: Pid, fd: Fd, args: &RecvArgs) -> Step {
        let sock = match self.dgram_of(pid, fd) {
            Ok(sock) => sock,
            Err(errno) => return Step::Done(Err(errno)),
        };
        match self.dgram_recvmsg(sock, args) {
            Ok(Some(ret)) => return Step::Done(Ok(ret)),
            Err(errno) => return Step::Done(Err(errno)),
            Ok(None) => {}
        }
        let entry = &self.sockets.dgrams[sock];
        let timeo = entry.opts.rcvtimeo;
        let at_once = self.sockets.files[entry.file].nonblock
            || args.flags.has(MsgFlags::DONTWAIT)
            || args.flags.has(MsgFlags::ERRQUEUE)
            || timeo.is_some_and(|t| t.is_zero());
        if at_once {
            return Step::Done(Err(Errno::EAGAIN));
        }
        // receiver_wake_function: input and errors; a shutdown wakes by RDHUP.
        let interest = PollEvents::IN | PollEvents::ERR | PollEvents::RDHUP;
        let timeout = timeo.map_or(Timeout::Never, Timeout::Jiffies);
        Step::Wait(Wait { on: vec![(entry.file, interest, true)], timeout, over: Err(Errno::EAGAIN) })
    }

    #[expect(clippy::too_many_arguments, reason = "sendmsg's own arguments")]
    fn sys_send(
        &mut self,
        now: Instant,
        pid: Pid,
        fd: Fd,
        addr: Option<crate::call::SockAddr>,
        data: &[Data],
        control: &[crate::call::Cmsg],
        flags: MsgFlags,
    ) -> Step {
        let sock = match self.dgram_of(pid, fd) {
            Ok(sock) => sock,
            Err(errno) => return Step::Done(Err(errno)),
        };
        if data.iter().any(|d| matches!(d, Data::Unreadable(n) if *n > 0)) {
            return Step::Done(Err(Errno::EFAULT));
        }
        let payload = match data {
            [one] => one.bytes(),
            many => many.iter().flat_map(|d| d.bytes().to_vec()).collect::<Vec<u8>>().into(),
        };
        let sent = self.dgram_sendmsg(now, sock, addr, Payload::Shared(payload), control, flags);
        Step::Done(sent.map(|n| Ret::Int(i64::try_from(n).expect("a datagram's length"))))
    }
}
