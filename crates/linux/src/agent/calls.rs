//! Makes one system call of our vocabulary for real. Every [`Call`] is exactly one call of the kernel.
#![expect(
    unsafe_code,
    reason = "system calls with raw buffers; every pointer is into a local that outlives the call"
)]

use std::io;

use stack::Errno;
use stack::call::{
    Call, CallResult, Data, Domain, EpollOp, Fd, MsgFlags, OptValue, PollEvents, Ret, Shutdown, SockAddr,
};
use stack::call::{SockOpt, SockType};
use wire::Bytes;

use super::cmsg;
use super::sockaddr::RawAddr;
use crate::sys::monotonic_ns;

/// The largest receive buffer; longer ones are cut to this.
const MAX_BUFFER: usize = 16 << 20;
/// Room for any socket option's value.
const MAX_OPTION: usize = 4096;
/// The most events that one `epoll_wait` takes.
const MAX_EVENTS: u32 = 4096;

/// The call's entry and return on `CLOCK_MONOTONIC`, in nanoseconds, and what it returned.
pub(crate) fn make(call: &Call) -> (u64, u64, CallResult) {
    // Buffers are filled and encoded inside: a few hundred nanoseconds that belong to nobody's network.
    let enter = monotonic_ns();
    let result = dispatch(call);
    let leave = monotonic_ns();
    (enter, leave, result.map_err(|e| Errno(u16::try_from(e.raw_os_error().unwrap_or(0)).unwrap_or(0))))
}

fn dispatch(call: &Call) -> io::Result<Ret> {
    match call {
        Call::Socket { domain, ty, protocol, nonblock } => socket(*domain, *ty, *protocol, *nonblock),
        Call::Bind { fd, addr } => {
            let raw = RawAddr::from_addr(addr);
            // SAFETY: see the module's reason.
            int(unsafe { libc::bind(*fd, (&raw const raw.storage).cast(), raw.len) })
        }
        Call::Connect { fd, addr } => {
            let raw = RawAddr::from_addr(addr);
            // SAFETY: see the module's reason.
            int(unsafe { libc::connect(*fd, (&raw const raw.storage).cast(), raw.len) })
        }
        // SAFETY: plain integers.
        Call::Listen { fd, backlog } => int(unsafe { libc::listen(*fd, *backlog) }),
        Call::Accept { fd, nonblock } => accept(*fd, *nonblock),
        Call::Read { fd, len } => read(*fd, &[*len]),
        Call::Readv { fd, lens } => read(*fd, lens),
        Call::Recv { fd, len, flags } => recv(*fd, *len, *flags),
        Call::RecvFrom { fd, len, flags } => recvfrom(*fd, *len, *flags),
        Call::RecvMsg { fd, lens, control_len, flags } => recvmsg(*fd, lens, *control_len, *flags),
        Call::Write { fd, data } => {
            let bytes = data.bytes();
            // SAFETY: see the module's reason.
            long(unsafe { libc::write(*fd, address(data, &bytes).cast(), data.len()) })
        }
        Call::Writev { fd, data } => {
            let data = Gather::new(data);
            // SAFETY: see the module's reason.
            long(unsafe { libc::writev(*fd, data.iov.as_ptr(), count(data.iov.len())) })
        }
        Call::Send { fd, data, flags } => {
            let bytes = data.bytes();
            lend(*flags, &bytes);
            // SAFETY: see the module's reason.
            long(unsafe { libc::send(*fd, address(data, &bytes).cast(), data.len(), c_flags(*flags)) })
        }
        Call::SendTo { fd, data, flags, addr } => {
            let (bytes, raw) = (data.bytes(), RawAddr::from_addr(addr));
            lend(*flags, &bytes);
            let to = (&raw const raw.storage).cast();
            // SAFETY: see the module's reason.
            long(unsafe {
                libc::sendto(*fd, address(data, &bytes).cast(), data.len(), c_flags(*flags), to, raw.len)
            })
        }
        Call::SendMsg { fd, addr, data, control, flags } => {
            let control = cmsg::encode(control, domain_of(*fd));
            sendmsg(*fd, addr.as_ref(), data, &control, *flags)
        }
        Call::Shutdown { fd, how } => {
            let how = match how {
                Shutdown::Rd => libc::SHUT_RD,
                Shutdown::Wr => libc::SHUT_WR,
                Shutdown::RdWr => libc::SHUT_RDWR,
            };
            // SAFETY: plain integers.
            int(unsafe { libc::shutdown(*fd, how) })
        }
        // SAFETY: plain integers; the program's descriptors are its own affair, this process owns none of them.
        Call::Close { fd } => int(unsafe { libc::close(*fd) }),
        // SAFETY: as above.
        Call::Dup { fd } => new_fd(unsafe { libc::dup(*fd) }),
        Call::SetSockOpt { fd, opt, value } => set_option(*fd, *opt, value),
        Call::GetSockOpt { fd, opt } => option(*fd, *opt),
        Call::GetSockName { fd } => name(*fd, libc::getsockname),
        Call::GetPeerName { fd } => name(*fd, libc::getpeername),
        Call::Poll { fds, timeout_ms } => poll(fds, *timeout_ms),
        // SAFETY: plain integers.
        Call::EpollCreate => new_fd(unsafe { libc::epoll_create1(0) }),
        Call::EpollCtl { epfd, op, fd, events, data } => epoll_ctl(*epfd, *op, *fd, *events, *data),
        Call::EpollWait { epfd, max_events, timeout_ms } => epoll_wait(*epfd, *max_events, *timeout_ms),
        // SAFETY: plain integers.
        Call::GetFl { fd } => int(unsafe { libc::fcntl(*fd, libc::F_GETFL) }),
        Call::SetFl { fd, nonblock } => {
            let flags = if *nonblock { libc::O_NONBLOCK } else { 0 };
            // SAFETY: plain integers.
            int(unsafe { libc::fcntl(*fd, libc::F_SETFL, flags) })
        }
        Call::IoctlInq { fd } => ioctl_count(*fd, libc::FIONREAD),
        Call::IoctlOutq { fd } => ioctl_count(*fd, libc::TIOCOUTQ),
    }
}

// --- results -----------------------------------------------------------------------------------------

fn int(ret: libc::c_int) -> io::Result<Ret> {
    crate::sys::check(ret).map(|n| Ret::Int(n.into()))
}

fn long(ret: isize) -> io::Result<Ret> {
    length(ret).map(|n| Ret::Int(i64::try_from(n).expect("lengths fit")))
}

fn length(ret: isize) -> io::Result<usize> {
    usize::try_from(ret).map_err(|_| io::Error::last_os_error())
}

fn new_fd(ret: libc::c_int) -> io::Result<Ret> {
    crate::sys::check(ret).map(|fd| Ret::Fd(fd, None))
}

fn received(len: usize, mut buf: Vec<u8>, from: Option<SockAddr>) -> Ret {
    buf.truncate(len);
    Ret::Data { len, data: buf.into(), from, flags: MsgFlags::default(), control: Vec::new() }
}

// --- arguments ---------------------------------------------------------------------------------------

fn c_flags(flags: MsgFlags) -> libc::c_int {
    flags.0.cast_signed()
}

/// `iovcnt`; the kernel refuses more than 1024 with `EINVAL`.
fn count(n: usize) -> libc::c_int {
    libc::c_int::try_from(n).unwrap_or(libc::c_int::MAX)
}

fn buffer(len: usize) -> Vec<u8> {
    vec![0; len.min(MAX_BUFFER)]
}

/// Where data lies: nowhere, when it is to be unreadable.
fn address(wanted: &Data, bytes: &Bytes) -> *const u8 {
    if matches!(wanted, Data::Unreadable(_)) { core::ptr::null() } else { bytes.as_slice().as_ptr() }
}

/// With `MSG_ZEROCOPY` the kernel reads the memory when it sends, long after the call: it is never given back.
fn lend(flags: MsgFlags, bytes: &Bytes) {
    if flags.has(MsgFlags::ZEROCOPY) {
        std::mem::forget(bytes.clone());
    }
}

/// Data to write, and the vector that points at it.
struct Gather {
    iov: Vec<libc::iovec>,
    _data: Vec<Bytes>,
}

impl Gather {
    fn new(wanted: &[Data]) -> Gather {
        let data: Vec<Bytes> = wanted.iter().map(Data::bytes).collect();
        // Bytes share one allocation however often they move, so these pointers stay good.
        let iov = wanted
            .iter()
            .zip(&data)
            .map(|(wanted, bytes)| libc::iovec {
                iov_base: address(wanted, bytes).cast_mut().cast(),
                iov_len: wanted.len(),
            })
            .collect();
        Gather { iov, _data: data }
    }
}

/// Buffers to read into, one behind the other in one allocation.
struct Scatter {
    buf: Vec<u8>,
    iov: Vec<libc::iovec>,
}

impl Scatter {
    fn new(lens: &[usize]) -> Scatter {
        let mut room = MAX_BUFFER;
        let lens: Vec<usize> = lens
            .iter()
            .map(|len| {
                let len = (*len).min(room);
                room -= len;
                len
            })
            .collect();
        let mut buf = vec![0_u8; lens.iter().sum()];
        let mut at = buf.as_mut_ptr();
        let mut iov = Vec::with_capacity(lens.len());
        for len in lens {
            iov.push(libc::iovec { iov_base: at.cast(), iov_len: len });
            // SAFETY: the lengths add up to the buffer's.
            at = unsafe { at.add(len) };
        }
        Scatter { buf, iov }
    }
}

/// The socket's family, for control messages that are named differently in IPv6.
fn domain_of(fd: Fd) -> Domain {
    match raw_option(fd, libc::SOL_SOCKET, libc::SO_DOMAIN) {
        Ok(value) if value.first() == Some(&(libc::AF_INET6 as u8)) => Domain::Inet6,
        _ => Domain::Inet,
    }
}

// --- calls -------------------------------------------------------------------------------------------

fn socket(domain: Domain, ty: SockType, protocol: u8, nonblock: bool) -> io::Result<Ret> {
    let domain = match domain {
        Domain::Inet => libc::AF_INET,
        Domain::Inet6 => libc::AF_INET6,
    };
    let ty = match ty {
        SockType::Stream => libc::SOCK_STREAM,
        SockType::Dgram => libc::SOCK_DGRAM,
        SockType::Raw => libc::SOCK_RAW,
    };
    let nonblock = if nonblock { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: plain integers.
    new_fd(unsafe { libc::socket(domain, ty | nonblock, protocol.into()) })
}

fn accept(fd: Fd, nonblock: bool) -> io::Result<Ret> {
    let mut raw = RawAddr::room();
    let flags = if nonblock { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: see the module's reason.
    let ret = unsafe { libc::accept4(fd, (&raw mut raw.storage).cast(), &raw mut raw.len, flags) };
    Ok(Ret::Fd(crate::sys::check(ret)?, raw.addr()))
}

fn read(fd: Fd, lens: &[usize]) -> io::Result<Ret> {
    if let [len] = lens {
        let mut buf = buffer(*len);
        // SAFETY: see the module's reason.
        let len = length(unsafe { libc::read(fd, buf.as_mut_ptr().cast(), buf.len()) })?;
        return Ok(received(len, buf, None));
    }
    let scatter = Scatter::new(lens);
    // SAFETY: see the module's reason.
    let len = length(unsafe { libc::readv(fd, scatter.iov.as_ptr(), count(scatter.iov.len())) })?;
    Ok(received(len, scatter.buf, None))
}

fn recv(fd: Fd, len: usize, flags: MsgFlags) -> io::Result<Ret> {
    let mut buf = buffer(len);
    // SAFETY: see the module's reason.
    let len = length(unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), c_flags(flags)) })?;
    Ok(received(len, buf, None))
}

fn recvfrom(fd: Fd, len: usize, flags: MsgFlags) -> io::Result<Ret> {
    let mut buf = buffer(len);
    let mut raw = RawAddr::room();
    let from = (&raw mut raw.storage).cast();
    // SAFETY: see the module's reason.
    let ret = unsafe {
        libc::recvfrom(fd, buf.as_mut_ptr().cast(), buf.len(), c_flags(flags), from, &raw mut raw.len)
    };
    let len = length(ret)?;
    Ok(received(len, buf, filled(&raw)))
}

/// The address that the kernel filled in; nothing on a connected stream (`msg_namelen` 0).
fn filled(raw: &RawAddr) -> Option<SockAddr> {
    raw.addr().filter(|addr| *addr != SockAddr::Unspec)
}

fn recvmsg(fd: Fd, lens: &[usize], control_len: usize, flags: MsgFlags) -> io::Result<Ret> {
    let mut scatter = Scatter::new(lens);
    // Eight-byte words, because a control buffer is aligned as its header.
    let mut control = vec![0_u64; control_len.min(MAX_BUFFER).div_ceil(8)];
    let mut raw = RawAddr::room();
    // SAFETY: all-zero is a valid msghdr; then see the module's reason.
    let (len, msg) = unsafe {
        let mut msg: libc::msghdr = std::mem::zeroed();
        msg.msg_name = (&raw mut raw.storage).cast();
        msg.msg_namelen = raw.len;
        msg.msg_iov = scatter.iov.as_mut_ptr();
        msg.msg_iovlen = scatter.iov.len();
        msg.msg_control = control.as_mut_ptr().cast();
        msg.msg_controllen = control_len.min(MAX_BUFFER);
        (length(libc::recvmsg(fd, &raw mut msg, c_flags(flags)))?, msg)
    };
    raw.len = msg.msg_namelen;
    let control: Vec<u8> =
        control.iter().flat_map(|word| word.to_ne_bytes()).take(msg.msg_controllen).collect();
    scatter.buf.truncate(len);
    Ok(Ret::Data {
        len,
        data: scatter.buf.into(),
        from: filled(&raw),
        flags: MsgFlags(msg.msg_flags.cast_unsigned()),
        control: cmsg::decode(&control),
    })
}

fn sendmsg(
    fd: Fd,
    addr: Option<&SockAddr>,
    data: &[Data],
    control: &[u8],
    flags: MsgFlags,
) -> io::Result<Ret> {
    let mut gather = Gather::new(data);
    gather._data.iter().for_each(|bytes| lend(flags, bytes));
    let mut raw = addr.map(RawAddr::from_addr);
    let mut words: Vec<u64> = control
        .chunks(8)
        .map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        })
        .collect();
    // SAFETY: all-zero is a valid msghdr; then see the module's reason.
    long(unsafe {
        let mut msg: libc::msghdr = std::mem::zeroed();
        if let Some(raw) = &mut raw {
            msg.msg_name = (&raw mut raw.storage).cast();
            msg.msg_namelen = raw.len;
        }
        msg.msg_iov = gather.iov.as_mut_ptr();
        msg.msg_iovlen = gather.iov.len();
        if !control.is_empty() {
            msg.msg_control = words.as_mut_ptr().cast();
            msg.msg_controllen = control.len();
        }
        libc::sendmsg(fd, &raw const msg, c_flags(flags))
    })
}

type NameCall = unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn name(fd: Fd, call: NameCall) -> io::Result<Ret> {
    let mut raw = RawAddr::room();
    // SAFETY: see the module's reason; `call` is getsockname or getpeername.
    crate::sys::check(unsafe { call(fd, (&raw mut raw.storage).cast(), &raw mut raw.len) })?;
    raw.addr().map(Ret::Addr).ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

// --- options -----------------------------------------------------------------------------------------

fn set_option(fd: Fd, opt: SockOpt, value: &OptValue) -> io::Result<Ret> {
    let bytes = option_bytes(value);
    let len = libc::socklen_t::try_from(bytes.len()).unwrap_or(libc::socklen_t::MAX);
    // SAFETY: see the module's reason.
    int(unsafe { libc::setsockopt(fd, opt.level, opt.name, bytes.as_ptr().cast(), len) })
}

/// An option's value as C programs hold it.
pub fn option_bytes(value: &OptValue) -> Vec<u8> {
    match value {
        OptValue::Int(n) => match i32::try_from(*n) {
            Ok(n) => n.to_ne_bytes().into(),
            Err(_) => n.to_ne_bytes().into(),
        },
        OptValue::Linger(on, seconds) => [i32::from(*on).to_ne_bytes(), seconds.to_ne_bytes()].concat(),
        OptValue::Timeval(seconds, micros) => [seconds.to_ne_bytes(), micros.to_ne_bytes()].concat(),
        OptValue::Membership(std::net::IpAddr::V4(group), local, ifindex) => {
            let local = local.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED);
            [group.octets(), local.octets(), ifindex.to_ne_bytes()].concat()
        }
        OptValue::Membership(std::net::IpAddr::V6(group), _, ifindex) => {
            [group.octets().as_slice(), &ifindex.to_ne_bytes()].concat()
        }
        OptValue::Text(text) => text.as_bytes().into(),
        OptValue::Bytes(bytes) => bytes.to_vec(),
    }
}

fn option(fd: Fd, opt: SockOpt) -> io::Result<Ret> {
    let value = raw_option(fd, opt.level, opt.name)?;
    Ok(Ret::Opt(option_value(opt, value)))
}

fn raw_option(fd: Fd, level: i32, name: i32) -> io::Result<Vec<u8>> {
    let mut buf = vec![0_u8; MAX_OPTION];
    let mut len = libc::socklen_t::try_from(MAX_OPTION).expect("4096 fits");
    // SAFETY: see the module's reason.
    crate::sys::check(unsafe { libc::getsockopt(fd, level, name, buf.as_mut_ptr().cast(), &raw mut len) })?;
    buf.truncate(len as usize);
    Ok(buf)
}

/// Gives an option's bytes the type that its manual page says.
pub fn option_value(opt: SockOpt, value: Vec<u8>) -> OptValue {
    let number =
        |at: usize| value.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_ne_bytes);
    let long =
        |at: usize| value.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, i64::from_ne_bytes);
    match opt {
        SockOpt::SO_LINGER => OptValue::Linger(number(0) != 0, number(4)),
        SockOpt::SO_RCVTIMEO | SockOpt::SO_SNDTIMEO => OptValue::Timeval(long(0), long(8)),
        SockOpt::TCP_CONGESTION | SockOpt::SO_BINDTODEVICE | SockOpt::TCP_ULP => {
            let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
            OptValue::Text(String::from_utf8_lossy(&value[..end]).into_owned())
        }
        // Filters are bit sets even when they are as long as a number.
        SockOpt::ICMP6_FILTER => OptValue::Bytes(value.into()),
        _ => match value.len() {
            1 => OptValue::Int(value[0].into()),
            4 => OptValue::Int(number(0).into()),
            8 => OptValue::Int(long(0)),
            _ => OptValue::Bytes(value.into()),
        },
    }
}

fn ioctl_count(fd: Fd, number: libc::c_ulong) -> io::Result<Ret> {
    let mut n: libc::c_int = 0;
    // SAFETY: FIONREAD and TIOCOUTQ write one int.
    crate::sys::check(unsafe { libc::ioctl(fd, number, &raw mut n) })?;
    Ok(Ret::Int(n.into()))
}

// --- readiness ---------------------------------------------------------------------------------------

fn poll(fds: &[(Fd, PollEvents)], timeout_ms: i32) -> io::Result<Ret> {
    let mut entries: Vec<libc::pollfd> = fds
        .iter()
        // POLL* of poll(2) live in the low 16 bits.
        .map(|(fd, events)| libc::pollfd { fd: *fd, events: (events.0 & 0xffff) as u16 as i16, revents: 0 })
        .collect();
    // SAFETY: see the module's reason.
    crate::sys::check(unsafe {
        libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, timeout_ms)
    })?;
    let ready = entries.iter().map(|e| (e.fd, PollEvents(u32::from(e.revents.cast_unsigned())))).collect();
    Ok(Ret::Poll(ready))
}

fn epoll_ctl(epfd: Fd, op: EpollOp, fd: Fd, events: PollEvents, data: u64) -> io::Result<Ret> {
    let op = match op {
        EpollOp::Add => libc::EPOLL_CTL_ADD,
        EpollOp::Del => libc::EPOLL_CTL_DEL,
        EpollOp::Mod => libc::EPOLL_CTL_MOD,
    };
    let mut event = libc::epoll_event { events: events.0, u64: data };
    // SAFETY: see the module's reason.
    int(unsafe { libc::epoll_ctl(epfd, op, fd, &raw mut event) })
}

fn epoll_wait(epfd: Fd, max_events: u32, timeout_ms: i32) -> io::Result<Ret> {
    let max = max_events.min(MAX_EVENTS);
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; max as usize];
    let max = libc::c_int::try_from(max).expect("limited above");
    // SAFETY: see the module's reason.
    let n = crate::sys::check(unsafe { libc::epoll_wait(epfd, events.as_mut_ptr(), max, timeout_ms) })?;
    events.truncate(n.unsigned_abs() as usize);
    Ok(Ret::Epoll(events.iter().map(|e| (PollEvents(e.events), e.u64)).collect()))
}
