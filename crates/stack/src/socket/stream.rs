//! System calls on TCP's sockets: what blocks, what is returned. Linux: net/socket.c, af_inet.c, tcp.c `tcp_poll`.

use core::ops::ControlFlow::{self, Break, Continue};

use wire::{Bytes, Instant};

use super::Pid;
use super::calls::{Step, zero};
use super::file::FileKind;
use super::options::IPPROTO_TCP;
use super::wait::{Timeout, Wait};
use crate::call::{Call, Cmsg, Data, Domain, Fd, MsgFlags, PollEvents, Ret, SockAddr};
use crate::socket::Dgram;
use crate::tcp::call::Connecting;
use crate::tcp::fastopen;
use crate::tcp::recv::{Borrowed, Read, RecvRequest};
use crate::tcp::send::Sent;
use crate::tcp::send_buffer::Source;
use crate::tcp::sock::{Phase, TcpSock};
use crate::tcp::tcb::{State, Tcb};
use crate::udp::read::Control;
use crate::udp::read::nothing;
use crate::{Errno, Stack};

/// With `POLLWRBAND`: what `sk_stream_write_space` wakes for.
const WRITABLE: PollEvents = PollEvents(PollEvents::OUT.0 | PollEvents::WRNORM.0);
const READABLE: PollEvents = PollEvents(PollEvents::IN.0 | PollEvents::RDNORM.0);

/// `TCP_CM_INQ`, and what its control message takes: a header of 16 bytes and an int.
const TCP_CM_INQ: i32 = 36;
const CMSG_INQ_SPACE: usize = 20;
/// `SCM_TIMESTAMPING`
const SCM_TIMESTAMPING: i32 = 37;

/// What a call that sleeps has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Bytes taken by a `send`, or read by a `recv` with `MSG_WAITALL`.
    pub(super) bytes: usize,
    pub(super) buffer: Vec<u8>,
    /// A `send` that opens the connection waits for the handshake; `bytes` are in the SYN.
    pub(super) opening: bool,
}

/// The descriptor that a call on one socket names.
pub(super) fn socket_fd(call: &Call) -> Option<Fd> {
    match call {
        Call::Bind { fd, .. }
        | Call::Connect { fd, .. }
        | Call::Listen { fd, .. }
        | Call::Accept { fd, .. }
        | Call::Read { fd, .. }
        | Call::Readv { fd, .. }
        | Call::Recv { fd, .. }
        | Call::RecvFrom { fd, .. }
        | Call::RecvMsg { fd, .. }
        | Call::Write { fd, .. }
        | Call::Writev { fd, .. }
        | Call::Send { fd, .. }
        | Call::SendTo { fd, .. }
        | Call::SendMsg { fd, .. }
        | Call::Shutdown { fd, .. }
        | Call::SetSockOpt { fd, .. }
        | Call::GetSockOpt { fd, .. }
        | Call::GetSockName { fd }
        | Call::GetPeerName { fd }
        | Call::IoctlInq { fd }
        | Call::IoctlOutq { fd } => Some(*fd),
        Call::Socket { .. }
        | Call::Close { .. }
        | Call::Dup { .. }
        | Call::Poll { .. }
        | Call::EpollCreate
        | Call::EpollCtl { .. }
        | Call::EpollWait { .. }
        | Call::GetFl { .. }
        | Call::SetFl { .. } => None,
    }
}

/// An address as the program of this socket sees it.
fn shown(domain: Domain, addr: std::net::SocketAddr, scope: u32) -> SockAddr {
    Dgram::shown_in(domain, addr.ip(), addr.port(), scope)
}

/// What a call wants to send.
struct Outgoing<'a> {
    data: &'a Bytes,
    /// More was asked for, at an address that cannot be read.
    faulty: bool,
    flags: MsgFlags,
    addr: Option<SockAddr>,
}

impl Stack {
    /// The TCP socket behind a descriptor, if it is one.
    pub(super) fn tcp_of(&self, pid: Pid, fd: Fd) -> Option<u32> {
        let file = self.sockets.file_of(pid, fd).ok()?;
        match self.sockets.files[file].kind {
            FileKind::Tcp(id) => Some(id),
            FileKind::Dgram(_) | FileKind::Epoll(_) => None,
        }
    }

    /// `tcp_poll`
    pub(super) fn tcp_events(&self, id: u32) -> PollEvents {
        let sock = &self.tcp.socks[id];
        let input = READABLE;
        let output = WRITABLE;
        if let Some(listener) = &sock.listener {
            return if listener.accept.is_empty() { PollEvents(0) } else { input };
        }
        let mut events = PollEvents(0);
        let Some(tcb) = &sock.tcb else {
            events = events | PollEvents::HUP | output;
            if sock.shutdown_rd {
                events = events | input | PollEvents::RDHUP;
            }
            if sock.error.is_some() {
                events = events | PollEvents::ERR;
            }
            return events;
        };
        let state = tcb.state();
        if (tcb.shutdown_rd && tcb.shutdown_wr) || state == State::Close {
            events = events | PollEvents::HUP;
        }
        if tcb.shutdown_rd {
            events = events | input | PollEvents::RDHUP;
        }
        if state == State::SynSent && tcb.fo.deferred {
            events = events | output; // a write sends the SYN
        }
        if !matches!(state, State::SynSent | State::SynRecv) || tcb.passive_fastopen() {
            if tcb.is_readable() {
                events = events | input;
            }
            if tcb.shutdown_wr || tcb.is_writable(self.sysctl.ns.tcp_notsent_lowat) {
                events = events | output;
            } else {
                tcb.no_space.set(true);
            }
            if matches!(tcb.urg_in, crate::tcp::urgent::UrgentIn::Valid(..)) {
                events = events | PollEvents::PRI;
            }
        }
        if tcb.error.is_some() || tcb.notes.as_ref().is_some_and(|n| !n.errors.is_empty()) {
            events = events | PollEvents::ERR;
        }
        events
    }

    /// A call on a TCP socket.
    pub(super) fn try_tcp_call(&mut self, now: Instant, pid: Pid, fd: Fd, id: u32, call: &Call) -> Step {
        match call {
            Call::Bind { addr, .. } => zero(self.tcp_bind(now, id, *addr)),
            Call::Listen { backlog, .. } => zero(self.tcp_listen(now, id, *backlog)),
            Call::Connect { addr, .. } => self.tcp_sys_connect(now, id, *addr),
            Call::Accept { nonblock, .. } => self.tcp_sys_accept(now, pid, id, *nonblock),
            Call::Read { len, .. } => self.tcp_sys_recv(now, pid, id, *len, MsgFlags(0)),
            Call::Readv { lens, .. } => self.tcp_sys_recv(now, pid, id, lens.iter().sum(), MsgFlags(0)),
            Call::Recv { len, flags, .. } | Call::RecvFrom { len, flags, .. } => {
                self.tcp_sys_recv(now, pid, id, *len, *flags)
            }
            Call::RecvMsg { lens, flags, control_len, .. } => {
                if flags.has(MsgFlags::ERRQUEUE) {
                    return Step::Done(self.tcp_recv_error(id, lens.iter().sum(), Some(*control_len)));
                }
                let step = self.tcp_sys_recv(now, pid, id, lens.iter().sum(), *flags);
                self.tcp_recv_control(id, step, *flags, *control_len)
            }
            Call::Write { data, .. } => {
                self.tcp_sys_send(now, pid, id, core::slice::from_ref(data), MsgFlags(0), None)
            }
            Call::Writev { data, .. } => self.tcp_sys_send(now, pid, id, data, MsgFlags(0), None),
            Call::Send { data, flags, .. } => {
                self.tcp_sys_send(now, pid, id, core::slice::from_ref(data), *flags, None)
            }
            Call::SendTo { data, flags, addr, .. } => {
                self.tcp_sys_send(now, pid, id, core::slice::from_ref(data), *flags, Some(*addr))
            }
            Call::SendMsg { data, flags, addr, .. } => self.tcp_sys_send(now, pid, id, data, *flags, *addr),
            Call::Shutdown { how, .. } => zero(self.tcp_shutdown(now, id, *how)),
            Call::SetSockOpt { opt, value, .. } => zero(self.tcp_setsockopt(now, id, *opt, value)),
            Call::GetSockOpt { opt, .. } => Step::Done(self.tcp_getsockopt(now, id, *opt).map(Ret::Opt)),
            Call::GetSockName { .. } => {
                let sock = &self.tcp.socks[id];
                let addr = if sock.rcv_addr.is_unspecified() { sock.saddr } else { sock.rcv_addr };
                let addr = std::net::SocketAddr::new(addr, sock.port);
                Step::Done(Ok(Ret::Addr(shown(sock.domain, addr, sock.opts.bound_if))))
            }
            Call::GetPeerName { .. } => Step::Done(self.tcp_peer_name(id)),
            Call::IoctlInq { .. } => Step::Done(match &self.tcp.socks[id] {
                sock if sock.listener.is_some() => Err(Errno::EINVAL),
                sock => {
                    let inline = sock.opts.oob_inline;
                    Ok(Ret::Int(sock.tcb.as_ref().map_or(0, |t| t.inq(inline).into())))
                }
            }),
            Call::IoctlOutq { .. } => Step::Done(match &self.tcp.socks[id] {
                sock if sock.listener.is_some() => Err(Errno::EINVAL),
                sock => Ok(Ret::Int(sock.tcb.as_ref().map_or(0, |t| t.outq().into()))),
            }),
            Call::Socket { .. }
            | Call::Close { .. }
            | Call::Dup { .. }
            | Call::Poll { .. }
            | Call::EpollCreate
            | Call::EpollCtl { .. }
            | Call::EpollWait { .. }
            | Call::GetFl { .. }
            | Call::SetFl { .. } => unreachable!("socket_fd names none for fd {fd}"),
        }
    }

    /// `inet_getname(peer)`: a connection that is over has no peer any more.
    fn tcp_peer_name(&self, id: u32) -> Result<Ret, Errno> {
        let sock = &self.tcp.socks[id];
        let tcb = sock.tcb.as_ref().ok_or(Errno::ENOTCONN)?;
        if matches!(tcb.state(), State::Close | State::SynSent) {
            return Err(Errno::ENOTCONN);
        }
        Ok(Ret::Addr(shown(sock.domain, tcb.remote, sock.peer_scope)))
    }

    fn tcp_nonblock(&self, sock: &TcpSock) -> bool {
        self.sockets.files[sock.file].nonblock
    }

    fn tcp_sys_connect(&mut self, now: Instant, id: u32, addr: SockAddr) -> Step {
        match self.tcp_connect(now, id, Some(addr), None) {
            Connecting::Done(result) => zero(result),
            Connecting::Wait(errno) => {
                let sock = &self.tcp.socks[id];
                let timeo = sock.opts.sndtimeo;
                if self.tcp_nonblock(sock) || timeo.is_some_and(|t| t.is_zero()) {
                    return Step::Done(Err(errno));
                }
                let timeout = timeo.map_or(Timeout::Never, Timeout::Jiffies);
                // Whoever waited before us sees EINPROGRESS when its time is over (TRUTH 1h).
                Step::Wait(Wait {
                    on: vec![(sock.file, PollEvents(u32::MAX), false)],
                    timeout,
                    over: Err(Errno::EINPROGRESS),
                })
            }
        }
    }

    fn tcp_sys_accept(&mut self, now: Instant, pid: Pid, id: u32, nonblock: bool) -> Step {
        // The connection stays in the queue of a process that has no descriptor left.
        if let Err(errno) = self.sockets.has_free_fd(pid) {
            return Step::Done(Err(errno));
        }
        let child = match self.tcp_accept(id) {
            Ok(child) => child,
            Err(Errno::EAGAIN) => {
                let sock = &self.tcp.socks[id];
                let timeo = sock.opts.rcvtimeo;
                if self.tcp_nonblock(sock) || timeo.is_some_and(|t| t.is_zero()) {
                    return Step::Done(Err(Errno::EAGAIN));
                }
                let timeout = timeo.map_or(Timeout::Never, Timeout::Jiffies);
                return Step::Wait(Wait {
                    on: vec![(sock.file, READABLE, true)],
                    timeout,
                    over: Err(Errno::EAGAIN),
                });
            }
            Err(errno) => return Step::Done(Err(errno)),
        };
        let file = self.sockets.new_file(FileKind::Tcp(child), nonblock);
        let sock = &mut self.tcp.socks[child];
        sock.file = file;
        sock.phase = Phase::Connected;
        let peer = sock.tcb.as_ref().map(|t| t.remote);
        let peer = peer.map(|addr| shown(sock.domain, addr, sock.peer_scope));
        match self.sockets.install(pid, file) {
            Ok(fd) => Step::Done(Ok(Ret::Fd(fd, peer))),
            Err(errno) => {
                self.put_file(now, file);
                Step::Done(Err(errno))
            }
        }
    }

    /// `tcp_sendmsg_fastopen`: opens the connection with data. `Continue`: it is there, so many bytes went with
    /// the SYN.
    fn tcp_send_open(
        &mut self,
        now: Instant,
        pid: Pid,
        id: u32,
        data: &Bytes,
        flags: MsgFlags,
        addr: Option<SockAddr>,
    ) -> ControlFlow<Step, usize> {
        let resumed = self.sockets.progress(pid).opening;
        let result = if resumed {
            self.tcp_connect(now, id, addr, None)
        } else {
            let unspecified = addr.is_some_and(|a| !matches!(a, SockAddr::Ip(_)));
            if self.sysctl.ns.tcp_fastopen & fastopen::CLIENT_ENABLE == 0 || unspecified {
                return Break(Step::Done(Err(Errno::EOPNOTSUPP)));
            }
            if self.tcp.socks[id].tcb.as_ref().is_some_and(|t| t.fo.request.is_some()) {
                return Break(Step::Done(Err(Errno::EALREADY)));
            }
            self.tcp_connect(now, id, addr, Some(fastopen::Request::new(data.clone())))
        };
        let sock = &mut self.tcp.socks[id];
        let request = sock.tcb.as_mut().and_then(|t| t.fo.request.as_ref());
        let (copied, more) = request.map_or((0, false), |r| (r.copied, r.has_more()));
        let taken =
            |errno| if copied > 0 && errno == Errno::EINPROGRESS { Ok(count(copied)) } else { Err(errno) };
        if let Connecting::Wait(errno) = result {
            let timeo = sock.opts.sndtimeo;
            let nonblock = self.sockets.files[sock.file].nonblock || flags.has(MsgFlags::DONTWAIT);
            if !nonblock && timeo.is_none_or(|t| !t.is_zero()) {
                let errno = if resumed { Errno::EINPROGRESS } else { errno };
                let file = sock.file;
                if let Some(tcb) = &mut sock.tcb {
                    tcb.writer_waits = more;
                    tcb.fo.deferred = false;
                }
                let progress = Progress { opening: true, ..Progress::default() };
                self.sockets.set_progress(pid, progress);
                let timeout = timeo.map_or(Timeout::Never, Timeout::Jiffies);
                return Break(Step::Wait(Wait {
                    on: vec![(file, PollEvents(u32::MAX), false)],
                    timeout,
                    over: taken(errno),
                }));
            }
        }
        if let Some(tcb) = &mut sock.tcb {
            tcb.fo.request = None;
            tcb.fo.deferred = false;
            tcb.writer_waits = false;
        }
        match result {
            Connecting::Done(Ok(())) => Continue(copied),
            Connecting::Done(Err(errno)) => Break(Step::Done(Err(errno))),
            Connecting::Wait(errno) => Break(Step::Done(taken(errno))),
        }
    }

    fn tcp_sys_send(
        &mut self,
        now: Instant,
        pid: Pid,
        id: u32,
        data: &[Data],
        flags: MsgFlags,
        addr: Option<SockAddr>,
    ) -> Step {
        let pieces: Vec<usize> =
            if flags.has(MsgFlags::ZEROCOPY) { data.iter().map(Data::len).collect() } else { Vec::new() };
        // What stands before the first address that cannot be read is sent, and its length returned.
        let readable =
            data.iter().position(|d| matches!(d, Data::Unreadable(n) if *n > 0)).unwrap_or(data.len());
        let faulty = readable < data.len();
        let data: Bytes = match &data[..readable] {
            [one] => one.bytes(),
            many => many.iter().flat_map(|d| d.bytes().to_vec()).collect::<Vec<u8>>().into(),
        };
        let zerocopy = flags.has(MsgFlags::ZEROCOPY) && self.tcp.socks[id].prep.zerocopy && !data.is_empty();
        if zerocopy && self.sockets.progress(pid) == Progress::default() {
            self.tcp_step(now, id, |tcb, _| tcb.zerocopy_begin(pieces.clone()));
        }
        let step = self.tcp_send_bytes(now, pid, id, Outgoing { data: &data, faulty, flags, addr });
        if zerocopy && let Step::Done(result) = &step {
            let taken = result.as_ref().map_or(0, Ret::value);
            self.tcp_step(now, id, |tcb, cx| {
                if tcb.zerocopy_sends() {
                    tcb.zerocopy_end(cx, taken > 0);
                } else if taken > 0 && tcb.zerocopy_begin(pieces) {
                    // The call made the connection, its bytes went with the SYN.
                    tcb.zerocopy_in_syn(cx, usize::try_from(taken).expect("positive"));
                }
            });
        }
        step
    }

    fn tcp_send_bytes(&mut self, now: Instant, pid: Pid, id: u32, out: Outgoing<'_>) -> Step {
        let Outgoing { data, faulty, flags, addr } = out;
        let sock = &self.tcp.socks[id];
        let Progress { bytes: mut from, opening, .. } = self.sockets.progress(pid);
        let deferred = sock.tcb.as_ref().is_some_and(|t| t.fo.deferred);
        if opening || deferred || (from == 0 && flags.has(MsgFlags::FASTOPEN)) {
            if opening {
                self.sockets.set_progress(pid, Progress { opening, ..Progress::default() });
            }
            match self.tcp_send_open(now, pid, id, data, flags, addr) {
                Continue(copied) if copied == data.len() => return Step::Done(Ok(count(copied))),
                Continue(copied) => from = copied,
                Break(step) => return step,
            }
        }
        let sock = &mut self.tcp.socks[id];
        if faulty && data.is_empty() && sock.tcb.as_ref().is_some_and(|t| t.error.is_none() && !t.shutdown_wr)
        {
            return Step::Done(Err(Errno::EFAULT));
        }
        if sock.tcb.is_none() {
            return Step::Done(Err(sock.error.take().unwrap_or(Errno::EPIPE)));
        }
        self.tcp_sync_route_to_send(now, id);
        let result = self.tcp_step(now, id, |tcb, cx| tcb.send(cx, Source::Shared(data), from, flags));
        self.tcp_release_closed(now, id);
        let sent = match result.expect("it has a connection") {
            Err(errno) => return Step::Done(Err(errno)),
            Ok(Sent::Done(n)) => return Step::Done(Ok(count(n))),
            Ok(Sent::Wait(n)) => n,
        };
        let sock = &self.tcp.socks[id];
        let timeo = sock.opts.sndtimeo;
        let soft = if sent > 0 { Ok(count(sent)) } else { Err(Errno::EAGAIN) };
        if self.tcp_nonblock(sock) || flags.has(MsgFlags::DONTWAIT) || timeo.is_some_and(|t| t.is_zero()) {
            if sent > 0 {
                self.tcp_step(now, id, |tcb, _| tcb.stamp_call());
            }
            return Step::Done(soft);
        }
        let file = sock.file;
        self.sockets.set_progress(pid, Progress { bytes: sent, ..Progress::default() });
        let connecting = |t: &&mut Box<Tcb>| matches!(t.state(), State::SynSent | State::SynRecv);
        if let Some(tcb) = self.tcp.socks[id].tcb.as_mut().filter(connecting) {
            tcb.writer_waits = true;
        }
        let timeout = timeo.map_or(Timeout::Never, Timeout::Jiffies);
        Step::Wait(Wait { on: vec![(file, PollEvents(u32::MAX), false)], timeout, over: soft })
    }

    fn tcp_sys_recv(&mut self, now: Instant, pid: Pid, id: u32, len: usize, flags: MsgFlags) -> Step {
        let sock = &mut self.tcp.socks[id];
        if flags.has(MsgFlags::ERRQUEUE) {
            return Step::Done(self.tcp_recv_error(id, len, None));
        }
        if sock.tcb.is_none() {
            return Step::Done(Err(sock.error.take().unwrap_or(Errno::ENOTCONN)));
        }
        let (timeo, oob_inline, file) = (sock.opts.rcvtimeo, sock.opts.oob_inline, sock.file);
        let at_once = self.sockets.files[file].nonblock
            || flags.has(MsgFlags::DONTWAIT)
            || timeo.is_some_and(|t| t.is_zero());
        if flags.has(MsgFlags::OOB) {
            return self.tcp_sys_recv_urgent(now, id, flags, oob_inline);
        }
        let Progress { bytes: had, mut buffer, .. } = self.sockets.progress(pid);
        let request = RecvRequest { len, flags, oob_inline, wait: !at_once };
        self.tcp_sync_route(now, id);
        let result = self.tcp_step(now, id, |tcb, cx| tcb.recv(cx, &request, had, &mut buffer));
        let had = match result.expect("it has a connection") {
            Err(errno) => return Step::Done(Err(errno)),
            Ok(Read::Done(n)) => return Step::Done(Ok(received(n, buffer, MsgFlags(0)))),
            Ok(Read::Wait(n)) => n,
        };
        if at_once {
            return Step::Done(Err(Errno::EAGAIN));
        }
        let over = if had > 0 { Ok(received(had, buffer.clone(), MsgFlags(0))) } else { Err(Errno::EAGAIN) };
        self.sockets.set_progress(pid, Progress { bytes: had, buffer, opening: false });
        let timeout = timeo.map_or(Timeout::Never, Timeout::Jiffies);
        Step::Wait(Wait {
            on: vec![(file, READABLE | PollEvents::ERR | PollEvents::RDHUP, false)],
            timeout,
            over,
        })
    }

    /// `inet_recv_error`: the oldest report of the error queue, its stamp before it.
    fn tcp_recv_error(&mut self, id: u32, len: usize, room: Option<usize>) -> Result<Ret, Errno> {
        let sock = &mut self.tcp.socks[id];
        let notes = sock.tcb.as_mut().and_then(|t| t.notes.as_deref_mut());
        let error = notes.and_then(|n| n.errors.pop_front()).ok_or(Errno::EAGAIN)?;
        let copied = error.payload.len().min(len);
        let mut flags = MsgFlags::ERRQUEUE;
        if copied < error.payload.len() {
            flags = flags | MsgFlags::TRUNC;
        }
        let mut control = Control::new(room);
        if let Some(at) = error.stamp {
            // struct scm_timestamping: software, unused, hardware
            let nanos = at.as_nanos();
            let mut times = [0u8; 48];
            times[..8].copy_from_slice(&(nanos / 1_000_000_000).to_ne_bytes());
            times[8..16].copy_from_slice(&(nanos % 1_000_000_000).to_ne_bytes());
            control.put(48, Cmsg::Other(1, SCM_TIMESTAMPING, times[..].into()));
        }
        control.put(if sock.domain == Domain::Inet6 { 44 } else { 32 }, error.cmsg());
        Ok(Ret::Data {
            len: copied,
            data: error.payload.slice(0..copied),
            from: error.offender.map(|_| SockAddr::Ip(error.dst)),
            flags: if room.is_some() { flags | control.flags } else { MsgFlags(0) },
            control: control.messages,
        })
    }

    /// The control messages of `tcp_recvmsg`: `TCP_CM_INQ`.
    fn tcp_recv_control(&self, id: u32, mut step: Step, flags: MsgFlags, room: usize) -> Step {
        let sock = &self.tcp.socks[id];
        if let (Step::Done(Ok(Ret::Data { control, flags, .. })), Some(tcb), true, false) =
            (&mut step, &sock.tcb, sock.prep.inq, flags.has(MsgFlags::ERRQUEUE))
        {
            if room < CMSG_INQ_SPACE {
                *flags = *flags | MsgFlags::CTRUNC; // put_cmsg
            } else {
                let left = i32::try_from(tcb.inq_hint()).unwrap_or(i32::MAX);
                control.push(Cmsg::Other(IPPROTO_TCP, TCP_CM_INQ, left.to_ne_bytes().to_vec().into()));
            }
        }
        step
    }

    /// `send` on a TCP socket, without waiting and from the caller's own memory: what there is room for is copied, once.
    /// `EAGAIN` when there is none (or no connection yet).
    pub fn send_from(&mut self, now: Instant, pid: Pid, fd: Fd, data: &[u8]) -> Result<usize, Errno> {
        let id = self.tcp_of(pid, fd).ok_or(Errno::ENOTSOCK)?;
        let sock = &mut self.tcp.socks[id];
        let Some(tcb) = &sock.tcb else { return Err(sock.error.take().unwrap_or(Errno::EPIPE)) };
        if tcb.fo.deferred {
            // TCP_FASTOPEN_CONNECT: the SYN takes what fits.
            let data = Data::Literal(data.into());
            let step = self.tcp_sys_send(now, pid, id, &[data], MsgFlags::DONTWAIT, None);
            self.run_loopback(now);
            let Step::Done(result) = step else { return Err(Errno::EAGAIN) };
            return result.map(|r| usize::try_from(r.value()).expect("a length"));
        }
        self.tcp_sync_route(now, id);
        let sent = self.tcp_step(now, id, |tcb, cx| tcb.send(cx, Source::Borrowed(data), 0, MsgFlags(0)));
        self.tcp_release_closed(now, id);
        self.run_loopback(now);
        match sent.expect("it has a connection")? {
            Sent::Done(n) => Ok(n),
            Sent::Wait(0) => Err(Errno::EAGAIN),
            Sent::Wait(n) => Ok(n),
        }
    }

    /// `recv` on a TCP socket, without waiting and into the caller's own memory; 0 is the end. `EAGAIN` when nothing is
    /// there.
    pub fn recv_into(&mut self, now: Instant, pid: Pid, fd: Fd, buffer: &mut [u8]) -> Result<usize, Errno> {
        let id = self.tcp_of(pid, fd).ok_or(Errno::ENOTSOCK)?;
        let sock = &mut self.tcp.socks[id];
        if sock.tcb.is_none() {
            return Err(sock.error.take().unwrap_or(Errno::ENOTCONN));
        }
        if self.tcp_would_block(id) && !buffer.is_empty() {
            // Every call is an occasion to count.
            self.tcp.memory.count_orphans(now, self.config.profile, self.tcp.orphans);
            return Err(Errno::EAGAIN);
        }
        let sock = &self.tcp.socks[id];
        let oob_inline = sock.opts.oob_inline;
        let request = RecvRequest { len: buffer.len(), flags: MsgFlags(0), oob_inline, wait: false };
        self.tcp_sync_route(now, id);
        let read = self.tcp_step(now, id, |tcb, cx| tcb.recv(cx, &request, 0, &mut Borrowed(buffer)));
        self.run_loopback(now);
        match read.expect("it has a connection")? {
            Read::Done(n) => Ok(n),
            Read::Wait(_) => Err(Errno::EAGAIN),
        }
    }

    /// A read of this connection, whose route is still good, would only wait: an event loop's first try.
    fn tcp_would_block(&self, id: u32) -> bool {
        let sock = &self.tcp.socks[id];
        let (Some((generation, dst)), Some(tcb)) = (sock.dst, &sock.tcb) else { return false };
        generation == self.route_generation() && dst.mtu == tcb.path_mtu && tcb.has_nothing_to_read()
    }

    fn tcp_sys_recv_urgent(&mut self, now: Instant, id: u32, flags: MsgFlags, inline: bool) -> Step {
        let result = self.tcp_step(now, id, |tcb, _| tcb.recv_urgent(flags, inline));
        Step::Done(match result.expect("it has a connection") {
            Ok(Some(byte)) => Ok(received(1, vec![byte], MsgFlags::OOB)),
            Ok(None) => Ok(nothing()),
            Err(errno) => Err(errno),
        })
    }
}

fn count(n: usize) -> Ret {
    Ret::Int(i64::try_from(n).expect("a length"))
}

fn received(len: usize, data: Vec<u8>, flags: MsgFlags) -> Ret {
    Ret::Data { len, data: data.into(), from: None, flags, control: Vec::new() }
}
