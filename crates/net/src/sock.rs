//! One descriptor of a host's stack: calls that do not block, and tasks that wait until one would not.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;
use std::net::SocketAddr;

use stack::Errno;
use stack::call::{Call, CallResult, Domain, Fd, MsgFlags, OptValue, Outcome, PollEvents, Ret, Shutdown};
use stack::call::{SockAddr, SockOpt, SockType};
use tokio::io::{Interest, ReadBuf, Ready};
use tokio::task::coop;

use crate::Host;
use crate::shared::{Inner, READ, WRITE, Waiter};

/// What one read takes at most at once: bounds the scratch buffer.
const MAX_READ: usize = 1 << 20;
/// What one write hands over at most at once.
const MAX_WRITE: usize = 1 << 20;

/// An errno as the standard library shows it.
pub(crate) fn os(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.0.into())
}

fn would_block() -> io::Error {
    io::ErrorKind::WouldBlock.into()
}

/// A non-blocking socket; closed when dropped.
pub(crate) struct Sock {
    host: Host,
    fd: Fd,
    token: u64,
}

impl core::fmt::Debug for Sock {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Socket").field("host", &self.host.name()).field("fd", &self.fd).finish()
    }
}

impl Sock {
    /// `socket(2)`
    pub(crate) fn open(host: &Host, domain: Domain, ty: SockType) -> io::Result<Sock> {
        let call = Call::Socket { domain, ty, protocol: 0, nonblock: true };
        let made = host.shared().with(|inner| {
            let fd = call_noted(inner, host, &call)?.value();
            let fd = Fd::try_from(fd).expect("a descriptor");
            Ok(adopt(inner, host, fd))
        });
        made.unwrap_or(Err(Errno::ENETDOWN)).map_err(os)
    }

    /// The host that it belongs to.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    fn with<R>(&self, f: impl FnOnce(&mut Inner) -> Result<R, Errno>) -> Result<R, Errno> {
        self.host.shared().with(f).unwrap_or(Err(Errno::ENETDOWN))
    }

    /// A call that the journal tells.
    pub(crate) fn call(&self, call: &Call) -> io::Result<Ret> {
        self.with(|inner| call_noted(inner, &self.host, call)).map_err(os)
    }

    pub(crate) fn fd(&self) -> Fd {
        self.fd
    }

    pub(crate) fn set(&self, opt: SockOpt, value: OptValue) -> io::Result<()> {
        self.call(&Call::SetSockOpt { fd: self.fd, opt, value }).map(drop)
    }

    pub(crate) fn set_int(&self, opt: SockOpt, value: u32) -> io::Result<()> {
        self.set(opt, OptValue::Int(value.into()))
    }

    pub(crate) fn set_flag(&self, opt: SockOpt, on: bool) -> io::Result<()> {
        self.set_int(opt, on.into())
    }

    /// Not told: looking changes nothing.
    pub(crate) fn get(&self, opt: SockOpt) -> io::Result<OptValue> {
        let call = Call::GetSockOpt { fd: self.fd, opt };
        match self.with(|inner| call_quiet(inner, &self.host, &call)).map_err(os)? {
            Ret::Opt(value) => Ok(value),
            other => unreachable!("getsockopt returns an option, not {other:?}"),
        }
    }

    pub(crate) fn get_int(&self, opt: SockOpt) -> io::Result<u32> {
        match self.get(opt)? {
            OptValue::Int(value) => u32::try_from(value).map_err(|_| io::ErrorKind::InvalidData.into()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    pub(crate) fn get_flag(&self, opt: SockOpt) -> io::Result<bool> {
        self.get_int(opt).map(|value| value != 0)
    }

    /// `SO_ERROR`
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        let errno = self.get_int(SockOpt::SO_ERROR)?;
        Ok(u16::try_from(errno).ok().filter(|errno| *errno != 0).map(|errno| os(Errno(errno))))
    }

    fn name(&self, call: &Call) -> io::Result<SocketAddr> {
        match self.with(|inner| call_quiet(inner, &self.host, call)).map_err(os)? {
            Ret::Addr(SockAddr::Ip(addr)) => Ok(addr),
            other => unreachable!("a socket's name is an address, not {other:?}"),
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.name(&Call::GetSockName { fd: self.fd })
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.name(&Call::GetPeerName { fd: self.fd })
    }

    pub(crate) fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        self.call(&Call::Bind { fd: self.fd, addr: SockAddr::Ip(addr) }).map(drop)
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.call(&Call::Shutdown { fd: self.fd, how }).map(drop)
    }

    // --- waiting ---------------------------------------------------------------------------------

    /// What holds now (`poll(2)`).
    fn events(&self, inner: &mut Inner) -> PollEvents {
        let call = Call::Poll { fds: vec![(self.fd, READ | WRITE)], timeout_ms: 0 };
        match call_quiet(inner, &self.host, &call) {
            Ok(Ret::Poll(fds)) => fds[0].1,
            _ => PollEvents::HUP | PollEvents::ERR,
        }
    }

    /// Tries `op` for a `poll_*` method; when it would block, the task is woken later.
    pub(crate) fn poll_op<R>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        op: impl FnOnce(&mut Inner, &Sock) -> Result<R, Errno>,
    ) -> Poll<io::Result<R>> {
        let budget = ready!(coop::poll_proceed(cx));
        let result = self.with(|inner| match op(inner, self) {
            Err(Errno::EAGAIN) => {
                let watch = inner.watch(self.token);
                let slot = match direction {
                    Direction::Read => &mut watch.reader,
                    Direction::Write => &mut watch.writer,
                };
                if !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *slot = Some(cx.waker().clone());
                }
                Err(Errno::EAGAIN)
            }
            done => done,
        });
        answer(result, budget)
    }

    /// The same for an `async` method: any number of tasks may wait.
    pub(crate) fn op<'a, R, F>(&'a self, interest: PollEvents, op: F) -> Op<'a, F>
    where
        F: FnMut(&mut Inner, &Sock) -> Result<R, Errno> + Unpin,
    {
        Op { sock: self, interest, op, waiter: None }
    }

    /// Tries `op` once.
    pub(crate) fn try_op<R>(&self, op: impl FnOnce(&mut Inner, &Sock) -> Result<R, Errno>) -> io::Result<R> {
        self.with(|inner| op(inner, self)).map_err(os)
    }

    /// `ready()`: waits until something of `interest` holds.
    pub(crate) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        let wanted = wanted(interest);
        self.op(wanted, |inner, sock| {
            let ready = to_ready(sock.events(inner)) & mask(interest);
            if ready.is_empty() { Err(Errno::EAGAIN) } else { Ok(ready) }
        })
        .await
    }

    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>, direction: Direction) -> Poll<io::Result<()>> {
        let interest = match direction {
            Direction::Read => Interest::READABLE,
            Direction::Write => Interest::WRITABLE,
        };
        self.poll_op(cx, direction, |inner, sock| {
            let ready = to_ready(sock.events(inner)) & mask(interest);
            if ready.is_empty() { Err(Errno::EAGAIN) } else { Ok(()) }
        })
    }

    /// `try_io()`: runs `f` when the socket is ready for `interest`.
    pub(crate) fn try_io<R>(&self, interest: Interest, f: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        let events = self.with(|inner| Ok(self.events(inner))).map_err(os)?;
        if (to_ready(events) & mask(interest)).is_empty() { Err(would_block()) } else { f() }
    }

    /// `async_io()`: runs `f` whenever the socket is ready for `interest`, until it does not block.
    pub(crate) async fn async_io<R>(
        &self,
        interest: Interest,
        mut f: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            self.ready(interest).await?;
            match f() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::task::yield_now().await,
                done => return done,
            }
        }
    }
}

/// Which of a socket's two wakers a `poll_*` method uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// What a poll says of a call's result; one that would block waits, and uses up nothing of the task's budget.
fn answer<R>(result: Result<R, Errno>, budget: coop::RestoreOnPending) -> Poll<io::Result<R>> {
    match result {
        Err(Errno::EAGAIN) => Poll::Pending,
        done => {
            budget.made_progress();
            Poll::Ready(done.map_err(os))
        }
    }
}

/// A call that waits until it does not block.
pub(crate) struct Op<'a, F> {
    sock: &'a Sock,
    interest: PollEvents,
    op: F,
    /// Our entry among the socket's waiters.
    waiter: Option<u64>,
}

impl<R, F> Future for Op<'_, F>
where
    F: FnMut(&mut Inner, &Sock) -> Result<R, Errno> + Unpin,
{
    type Output = io::Result<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        let budget = ready!(coop::poll_proceed(cx));
        let this = &mut *self;
        let Op { sock, interest, op, waiter } = this;
        let result = sock.with(|inner| match op(inner, sock) {
            Err(Errno::EAGAIN) => {
                let id = *waiter.get_or_insert_with(|| inner.waiter_id());
                let waiters = &mut inner.watch(sock.token).waiters;
                match waiters.iter_mut().find(|w| w.id == id) {
                    Some(entry) => entry.waker.clone_from(cx.waker()),
                    None => waiters.push(Waiter { id, interest: *interest, waker: cx.waker().clone() }),
                }
                Err(Errno::EAGAIN)
            }
            done => done,
        });
        answer(result, budget)
    }
}

impl<F> Drop for Op<'_, F> {
    fn drop(&mut self) {
        if let Some(id) = self.waiter {
            let token = self.sock.token;
            let _ = self.sock.with(|inner| {
                inner.watch(token).waiters.retain(|w| w.id != id);
                Ok(())
            });
        }
    }
}

impl Drop for Sock {
    fn drop(&mut self) {
        let fd = self.fd;
        let _ = self.with(|inner| {
            let close = Call::Close { fd };
            if call_noted(inner, &self.host, &close) == Err(Errno::EAGAIN) {
                // SO_LINGER: the thread would sleep here. The connection closes by itself all the same; nobody
                // waits for it.
                let (opt, value) = (SockOpt::SO_LINGER, OptValue::Linger(false, 0));
                call_quiet(inner, &self.host, &Call::SetSockOpt { fd, opt, value })?;
                call_quiet(inner, &self.host, &close)?;
            }
            inner.free_watch(self.token);
            Ok(())
        });
    }
}

/// Takes a new descriptor over.
fn adopt(inner: &mut Inner, host: &Host, fd: Fd) -> Sock {
    let token = inner.new_watch();
    inner.world.observe(host.process(), fd, token).expect("the descriptor is new");
    Sock { host: host.clone(), fd, token }
}

/// A call that would sleep is `EAGAIN`.
fn call_quiet(inner: &mut Inner, host: &Host, call: &Call) -> CallResult {
    match inner.world.process_call(host.process(), call) {
        Outcome::Done(result) => result,
        Outcome::Block { .. } => Err(Errno::EAGAIN),
    }
}

/// The same, told by the journal with its result; calls that would block are not told.
fn call_noted(inner: &mut Inner, host: &Host, call: &Call) -> CallResult {
    if !inner.world.is_recording() {
        return call_quiet(inner, host, call);
    }
    // What a call sets off happens after it was entered, and before it returns.
    let process = host.process();
    let seq = inner.call_seq();
    inner.world.note_call(process, seq, call);
    let result = call_quiet(inner, host, call);
    if result == Err(Errno::EAGAIN) {
        inner.world.unnote_call(process, seq);
    } else {
        inner.world.note_return(process, seq, &result);
    }
    result
}

/// mio's reading of `epoll`'s bits.
fn to_ready(events: PollEvents) -> Ready {
    let mut ready = Ready::EMPTY;
    if events.any(PollEvents::IN | PollEvents::PRI) {
        ready |= Ready::READABLE;
    }
    if events.has(PollEvents::OUT) {
        ready |= Ready::WRITABLE;
    }
    if events.has(PollEvents::HUP) || events.has(PollEvents::IN | PollEvents::RDHUP) {
        ready |= Ready::READ_CLOSED;
    }
    if events.has(PollEvents::HUP)
        || events.has(PollEvents::OUT | PollEvents::ERR)
        || events == PollEvents::ERR
    {
        ready |= Ready::WRITE_CLOSED;
    }
    if events.has(PollEvents::PRI) {
        ready |= Ready::PRIORITY;
    }
    if events.has(PollEvents::ERR) {
        ready |= Ready::ERROR;
    }
    ready
}

/// tokio's `Ready::from_interest`.
fn mask(interest: Interest) -> Ready {
    let mut ready = Ready::EMPTY;
    if interest.is_readable() {
        ready |= Ready::READABLE | Ready::READ_CLOSED;
    }
    if interest.is_writable() {
        ready |= Ready::WRITABLE | Ready::WRITE_CLOSED;
    }
    if interest.is_priority() {
        ready |= Ready::PRIORITY | Ready::READ_CLOSED;
    }
    if interest.is_error() {
        ready |= Ready::ERROR;
    }
    ready
}

fn wanted(interest: Interest) -> PollEvents {
    let mut wanted = PollEvents::ERR | PollEvents::HUP;
    if interest.is_readable() || interest.is_priority() {
        wanted = wanted | READ;
    }
    if interest.is_writable() {
        wanted = wanted | WRITE;
    }
    wanted
}

// --- calls, in the form that `poll_op`, `op` and `try_op` take ---------------------------------------------

/// Reads from a stream into `buf`; tells how much.
pub(crate) fn stream_read(inner: &mut Inner, sock: &Sock, buf: &mut ReadBuf<'_>) -> Result<usize, Errno> {
    let len = buf.remaining().min(MAX_READ);
    let process = sock.host.process();
    let into = buf.initialize_unfilled_to(len);
    let seq = begin(inner, sock, || Call::Recv { fd: sock.fd, len, flags: MsgFlags(0) });
    let result =
        inner.world.with_process(process, |stack, now| stack.recv_into(now, process.pid, sock.fd, into));
    let got = &into[..result.unwrap_or(0)];
    let data = || Ret::Data {
        len: got.len(),
        data: got.into(),
        from: None,
        flags: MsgFlags(0),
        control: Vec::new(),
    };
    end(inner, sock, seq, result.map(|_| ()), data);
    if let Ok(n) = result {
        buf.advance(n);
    }
    result
}

/// The same with `MSG_PEEK`.
pub(crate) fn stream_peek(inner: &mut Inner, sock: &Sock, buf: &mut ReadBuf<'_>) -> Result<usize, Errno> {
    let len = buf.remaining().min(MAX_READ);
    match call_noted(inner, &sock.host, &Call::Recv { fd: sock.fd, len, flags: MsgFlags::PEEK })? {
        Ret::Data { data, .. } => {
            buf.put_slice(&data);
            Ok(data.len())
        }
        other => unreachable!("recv returns data, not {other:?}"),
    }
}

/// Writes to a stream.
pub(crate) fn stream_write(inner: &mut Inner, sock: &Sock, data: &[u8]) -> Result<usize, Errno> {
    let process = sock.host.process();
    let flags = MsgFlags::NOSIGNAL;
    let data = &data[..data.len().min(MAX_WRITE)];
    let call = || Call::Send { fd: sock.fd, data: stack::call::Data::Literal(data.into()), flags };
    let seq = begin(inner, sock, call);
    let result =
        inner.world.with_process(process, |stack, now| stack.send_from(now, process.pid, sock.fd, data));
    let count = result.map_or(0, |n| i64::try_from(n).expect("a length"));
    end(inner, sock, seq, result.map(|_| ()), || Ret::Int(count));
    result
}

/// Writes several pieces to a stream as one.
pub(crate) fn stream_write_vectored(
    inner: &mut Inner,
    sock: &Sock,
    bufs: &[io::IoSlice<'_>],
) -> Result<usize, Errno> {
    let mut data = Vec::with_capacity(bufs.iter().map(|b| b.len()).sum::<usize>().min(MAX_WRITE));
    for buf in bufs {
        let room = MAX_WRITE - data.len();
        data.extend_from_slice(&buf[..buf.len().min(room)]);
    }
    stream_write(inner, sock, &data)
}

/// The next connection of a listener.
pub(crate) fn accept(inner: &mut Inner, sock: &Sock) -> Result<(Sock, SocketAddr), Errno> {
    match call_noted(inner, &sock.host, &Call::Accept { fd: sock.fd, nonblock: true })? {
        Ret::Fd(fd, Some(SockAddr::Ip(peer))) => Ok((adopt(inner, &sock.host, fd), peer)),
        other => unreachable!("accept returns a socket and its peer, not {other:?}"),
    }
}

/// Starts to connect. `EINPROGRESS` is success: the connection is there when the socket is writable.
pub(crate) fn connect(inner: &mut Inner, sock: &Sock, addr: SocketAddr) -> Result<(), Errno> {
    match call_noted(inner, &sock.host, &Call::Connect { fd: sock.fd, addr: SockAddr::Ip(addr) }) {
        Ok(_) | Err(Errno::EINPROGRESS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether a connection that was started stands: `EAGAIN` while it does not.
pub(crate) fn connected(inner: &mut Inner, sock: &Sock) -> Result<(), Errno> {
    if !sock.events(inner).any(WRITE) {
        return Err(Errno::EAGAIN);
    }
    let call = Call::GetSockOpt { fd: sock.fd, opt: SockOpt::SO_ERROR };
    match call_noted(inner, &sock.host, &call)? {
        Ret::Opt(OptValue::Int(0)) => Ok(()),
        Ret::Opt(OptValue::Int(errno)) => Err(Errno(u16::try_from(errno).unwrap_or(Errno::EIO.0))),
        other => unreachable!("SO_ERROR is a number, not {other:?}"),
    }
}

/// One datagram: its length as the call returns it, and where it came from.
pub(crate) fn datagram_recv(
    inner: &mut Inner,
    sock: &Sock,
    buf: &mut ReadBuf<'_>,
    flags: MsgFlags,
) -> Result<(usize, SocketAddr), Errno> {
    let call = Call::RecvFrom { fd: sock.fd, len: buf.remaining(), flags };
    match call_noted(inner, &sock.host, &call)? {
        Ret::Data { len, data, from, .. } => {
            buf.put_slice(&data);
            match from {
                Some(SockAddr::Ip(from)) => Ok((len, from)),
                // After shutdown() a read returns nothing from nobody.
                _ => Ok((len, SocketAddr::new(core::net::Ipv4Addr::UNSPECIFIED.into(), 0))),
            }
        }
        other => unreachable!("recvfrom returns data, not {other:?}"),
    }
}

/// Sends a datagram, to the peer or to `addr`.
pub(crate) fn datagram_send(
    inner: &mut Inner,
    sock: &Sock,
    data: &[u8],
    addr: Option<SocketAddr>,
) -> Result<usize, Errno> {
    let (fd, flags) = (sock.fd, MsgFlags::NOSIGNAL);
    let data = stack::call::Data::Literal(data.into());
    let call = match addr {
        Some(addr) => Call::SendTo { fd, data, flags, addr: SockAddr::Ip(addr) },
        None => Call::Send { fd, data, flags },
    };
    call_noted(inner, &sock.host, &call).map(|ret| usize::try_from(ret.value()).expect("a length"))
}

fn begin(inner: &mut Inner, sock: &Sock, call: impl FnOnce() -> Call) -> Option<u32> {
    inner.world.is_recording().then(|| {
        let seq = inner.call_seq();
        inner.world.note_call(sock.host.process(), seq, &call());
        seq
    })
}

fn end(
    inner: &mut Inner,
    sock: &Sock,
    seq: Option<u32>,
    result: Result<(), Errno>,
    ret: impl FnOnce() -> Ret,
) {
    let Some(seq) = seq else { return };
    let process = sock.host.process();
    match result {
        Err(Errno::EAGAIN) => inner.world.unnote_call(process, seq),
        result => inner.world.note_return(process, seq, &result.map(|()| ret())),
    }
}
