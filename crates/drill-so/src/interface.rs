//! The table that packetdrill calls through: `struct packetdrill_interface` of its packetdrill.h, field by field.
#![expect(unsafe_code, reason = "functions that C calls, with pointers that C made")]

use std::ffi::CStr;
use std::time::Duration;

use drill::target::{Answer, Request};
use libc::{
    c_char, c_int, c_long, c_longlong, c_uint, c_ulong, c_void, epoll_event, iovec, loff_t, msghdr, nfds_t,
    pollfd, size_t, sockaddr, socklen_t, ssize_t, timeval, useconds_t,
};
use stack::Errno;
use stack::call::{Call, Domain, EpollOp, MsgFlags, PollEvents, Ret, Shutdown, SockAddr, SockOpt, SockType};

use crate::calls::{self, FD_BASE, bytes, fail, fd, finish, make, plain, vector};
use crate::flags::Flags;
use crate::host::{self, give_up, host};

/// `struct packetdrill_interface`: each field is the call of its name, in packetdrill.h's order.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Interface {
    pub userdata: *mut c_void,
    pub free: extern "C" fn(*mut c_void),
    pub socket: extern "C" fn(*mut c_void, c_int, c_int, c_int) -> c_int,
    pub bind: unsafe extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int,
    pub listen: extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    pub accept: unsafe extern "C" fn(*mut c_void, c_int, *mut sockaddr, *mut socklen_t) -> c_int,
    pub connect: unsafe extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int,
    pub read: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, size_t) -> ssize_t,
    pub readv: unsafe extern "C" fn(*mut c_void, c_int, *const iovec, c_int) -> ssize_t,
    pub recv: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, size_t, c_int) -> ssize_t,
    pub recvfrom: unsafe extern "C" fn(
        *mut c_void,
        c_int,
        *mut c_void,
        size_t,
        c_int,
        *mut sockaddr,
        *mut socklen_t,
    ) -> ssize_t,
    pub recvmsg: unsafe extern "C" fn(*mut c_void, c_int, *mut msghdr, c_int) -> ssize_t,
    pub write: unsafe extern "C" fn(*mut c_void, c_int, *const c_void, size_t) -> ssize_t,
    pub writev: unsafe extern "C" fn(*mut c_void, c_int, *const iovec, c_int) -> ssize_t,
    pub send: unsafe extern "C" fn(*mut c_void, c_int, *const c_void, size_t, c_int) -> ssize_t,
    pub sendto: unsafe extern "C" fn(
        *mut c_void,
        c_int,
        *const c_void,
        size_t,
        c_int,
        *const sockaddr,
        socklen_t,
    ) -> ssize_t,
    pub sendmsg: unsafe extern "C" fn(*mut c_void, c_int, *const msghdr, c_int) -> ssize_t,
    pub fcntl: extern "C" fn(*mut c_void, c_int, c_int, c_long) -> c_int,
    pub ioctl: unsafe extern "C" fn(*mut c_void, c_int, c_ulong, *mut c_int) -> c_int,
    pub close: extern "C" fn(*mut c_void, c_int) -> c_int,
    pub shutdown: extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    pub getsockopt:
        unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int,
    pub setsockopt: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *const c_void, socklen_t) -> c_int,
    pub poll: unsafe extern "C" fn(*mut c_void, *mut pollfd, nfds_t, c_int) -> c_int,
    pub netdev_send: unsafe extern "C" fn(*mut c_void, *const c_void, size_t) -> c_int,
    pub netdev_receive: unsafe extern "C" fn(*mut c_void, *mut c_void, *mut size_t, *mut c_longlong) -> c_int,
    pub usleep: extern "C" fn(*mut c_void, useconds_t) -> c_int,
    pub gettimeofday: unsafe extern "C" fn(*mut c_void, *mut timeval, *mut c_void) -> c_int,
    pub epoll_create: extern "C" fn(*mut c_void, c_int) -> c_int,
    pub epoll_ctl: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *mut epoll_event) -> c_int,
    pub epoll_wait: unsafe extern "C" fn(*mut c_void, c_int, *mut epoll_event, c_int, c_int) -> c_int,
    pub pipe: unsafe extern "C" fn(*mut c_void, *mut c_int) -> c_int,
    pub splice:
        unsafe extern "C" fn(*mut c_void, c_int, *mut loff_t, c_int, *mut loff_t, size_t, c_uint) -> ssize_t,
}

/// What packetdrill looks up and calls first: makes the host that `flags` describes and fills the table.
///
/// # Safety
/// `flags` is null or a C string; `interface` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn packetdrill_interface_init(flags: *const c_char, interface: *mut Interface) {
    let text = if flags.is_null() {
        ""
    } else {
        // SAFETY: packetdrill passes the word from its command line.
        unsafe { CStr::from_ptr(flags) }.to_str().unwrap_or("not-utf8")
    };
    if let Err(why) = Flags::parse(text).and_then(|flags| host::start(&flags)) {
        give_up(&why);
    }
    // SAFETY: packetdrill passes its own structure.
    unsafe { interface.write(TABLE) };
}

const TABLE: Interface = Interface {
    userdata: std::ptr::null_mut(),
    free,
    socket,
    bind,
    listen,
    accept,
    connect,
    read,
    readv,
    recv,
    recvfrom,
    recvmsg,
    write,
    writev,
    send,
    sendto,
    sendmsg,
    fcntl,
    ioctl,
    close,
    shutdown,
    getsockopt,
    setsockopt,
    poll,
    netdev_send,
    netdev_receive,
    usleep,
    gettimeofday,
    epoll_create,
    epoll_ctl,
    epoll_wait,
    pipe,
    splice,
};

extern "C" fn free(_: *mut c_void) {}

extern "C" fn socket(_: *mut c_void, domain: c_int, ty: c_int, protocol: c_int) -> c_int {
    let domain = match domain {
        libc::AF_INET => Domain::Inet,
        libc::AF_INET6 => Domain::Inet6,
        _ => return fail(Errno::EAFNOSUPPORT),
    };
    if let Some(host) = host() {
        host.lock().inet6_sockets = domain == Domain::Inet6;
    }
    let nonblock = ty & libc::SOCK_NONBLOCK != 0;
    let ty = match ty & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) {
        libc::SOCK_STREAM => SockType::Stream,
        libc::SOCK_DGRAM => SockType::Dgram,
        libc::SOCK_RAW => SockType::Raw,
        _ => return fail(Errno::EINVAL),
    };
    match u8::try_from(protocol) {
        Ok(protocol) => plain(&Call::Socket { domain, ty, protocol, nonblock }),
        // IPPROTO_MPTCP and what is no protocol at all.
        Err(_) => fail(Errno::EPROTONOSUPPORT),
    }
}

unsafe extern "C" fn bind(_: *mut c_void, live: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: C's promise of a system call.
    match unsafe { calls::address(addr, len) } {
        Ok(addr) => {
            if let (Some(host), SockAddr::Ip(at)) = (host(), addr) {
                host.own(at.ip());
            }
            plain(&Call::Bind { fd: fd(live), addr })
        }
        Err(errno) => fail(errno),
    }
}

extern "C" fn listen(_: *mut c_void, live: c_int, backlog: c_int) -> c_int {
    plain(&Call::Listen { fd: fd(live), backlog })
}

unsafe extern "C" fn accept(_: *mut c_void, live: c_int, addr: *mut sockaddr, len: *mut socklen_t) -> c_int {
    let result = make(&Call::Accept { fd: fd(live), nonblock: false });
    if let Ok(Ret::Fd(_, peer)) = &result {
        // SAFETY: C's promise of a system call.
        unsafe { calls::put_address(*peer, addr, len) };
    }
    finish(result)
}

unsafe extern "C" fn connect(_: *mut c_void, live: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: C's promise of a system call.
    match unsafe { calls::address(addr, len) } {
        Ok(addr) => plain(&Call::Connect { fd: fd(live), addr }),
        Err(errno) => fail(errno),
    }
}

/// One buffer as a vector.
fn single(buf: *mut c_void, len: size_t) -> [iovec; 1] {
    [iovec { iov_base: buf, iov_len: len }]
}

unsafe extern "C" fn read(_: *mut c_void, live: c_int, buf: *mut c_void, len: size_t) -> ssize_t {
    let call = Call::Read { fd: fd(live), len };
    // SAFETY: C's promise of a system call.
    unsafe { calls::read(&call, &single(buf, len), std::ptr::null_mut(), std::ptr::null_mut()) }
}

unsafe extern "C" fn readv(_: *mut c_void, live: c_int, iov: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: C's promise of a system call.
    unsafe {
        let iov = vector(iov, usize::try_from(count).unwrap_or(0));
        let lens = iov.iter().map(|v| v.iov_len).collect();
        calls::read(&Call::Readv { fd: fd(live), lens }, iov, std::ptr::null_mut(), std::ptr::null_mut())
    }
}

unsafe extern "C" fn recv(
    _: *mut c_void,
    live: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    let call = Call::Recv { fd: fd(live), len, flags: MsgFlags(flags.cast_unsigned()) };
    // SAFETY: C's promise of a system call.
    unsafe { calls::read(&call, &single(buf, len), std::ptr::null_mut(), std::ptr::null_mut()) }
}

unsafe extern "C" fn recvfrom(
    _: *mut c_void,
    live: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    addr: *mut sockaddr,
    addr_len: *mut socklen_t,
) -> ssize_t {
    let call = Call::RecvFrom { fd: fd(live), len, flags: MsgFlags(flags.cast_unsigned()) };
    // SAFETY: C's promise of a system call.
    unsafe { calls::read(&call, &single(buf, len), addr, addr_len) }
}

unsafe extern "C" fn recvmsg(_: *mut c_void, live: c_int, msg: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: C's promise of a system call.
    unsafe { calls::recvmsg(live, &mut *msg, flags) }
}

/// Makes the call that an argument was good for.
fn with<T>(arg: Result<T, Errno>, call: impl FnOnce(T) -> Call) -> ssize_t {
    match arg {
        Ok(arg) => plain(&call(arg)) as ssize_t,
        Err(errno) => fail(errno) as ssize_t,
    }
}

unsafe extern "C" fn write(_: *mut c_void, live: c_int, buf: *const c_void, len: size_t) -> ssize_t {
    // SAFETY: C's promise of a system call.
    let data = unsafe { calls::data(buf, len) };
    plain(&Call::Write { fd: fd(live), data }) as ssize_t
}

unsafe extern "C" fn writev(_: *mut c_void, live: c_int, iov: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: C's promise of a system call.
    let data = unsafe { calls::gather(vector(iov, usize::try_from(count).unwrap_or(0))) };
    plain(&Call::Writev { fd: fd(live), data }) as ssize_t
}

unsafe extern "C" fn send(
    _: *mut c_void,
    live: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    let flags = MsgFlags(flags.cast_unsigned());
    // SAFETY: C's promise of a system call.
    let data = unsafe { calls::data(buf, len) };
    plain(&Call::Send { fd: fd(live), data, flags }) as ssize_t
}

unsafe extern "C" fn sendto(
    _: *mut c_void,
    live: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
    addr: *const sockaddr,
    addr_len: socklen_t,
) -> ssize_t {
    let (fd, flags) = (fd(live), MsgFlags(flags.cast_unsigned()));
    // SAFETY: C's promise of a system call.
    let (data, addr) =
        unsafe { (calls::data(buf, len), (!addr.is_null()).then(|| calls::address(addr, addr_len))) };
    match addr {
        None => plain(&Call::Send { fd, data, flags }) as ssize_t,
        Some(addr) => with(addr, |addr| Call::SendTo { fd, data, flags, addr }),
    }
}

unsafe extern "C" fn sendmsg(_: *mut c_void, live: c_int, msg: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: C's promise of a system call.
    let parts = unsafe {
        let msg = &*msg;
        let addr = (!msg.msg_name.is_null() && msg.msg_namelen > 0)
            .then(|| calls::address(msg.msg_name.cast(), msg.msg_namelen))
            .transpose();
        let control = bytes(msg.msg_control, msg.msg_controllen).ok_or(Errno::EFAULT);
        let data = calls::gather(vector(msg.msg_iov, msg.msg_iovlen));
        addr.and_then(|addr| Ok((addr, data, linux::abi::decode(control?))))
    };
    let flags = MsgFlags(flags.cast_unsigned());
    with(parts, |(addr, data, control): (Option<SockAddr>, _, _)| Call::SendMsg {
        fd: fd(live),
        addr,
        data,
        control,
        flags,
    })
}

/// Variadic in C. The third argument travels in the same register either way (System V x86-64, AAPCS64).
extern "C" fn fcntl(_: *mut c_void, live: c_int, command: c_int, arg: c_long) -> c_int {
    calls::fcntl(live, command, arg)
}

/// Variadic in C, as above.
unsafe extern "C" fn ioctl(_: *mut c_void, live: c_int, request: c_ulong, value: *mut c_int) -> c_int {
    let fd = fd(live);
    let call = match request {
        libc::FIONREAD => Call::IoctlInq { fd },
        libc::TIOCOUTQ => Call::IoctlOutq { fd },
        _ => return fail(Errno::ENOTTY),
    };
    match make(&call) {
        Ok(ret) => {
            // SAFETY: both requests write one int.
            unsafe { *value = c_int::try_from(ret.value()).unwrap_or(c_int::MAX) };
            0
        }
        Err(errno) => fail(errno),
    }
}

extern "C" fn close(_: *mut c_void, live: c_int) -> c_int {
    crate::preload::close(live)
}

extern "C" fn shutdown(_: *mut c_void, live: c_int, how: c_int) -> c_int {
    let how = match how {
        libc::SHUT_RD => Shutdown::Rd,
        libc::SHUT_WR => Shutdown::Wr,
        libc::SHUT_RDWR => Shutdown::RdWr,
        _ => return fail(Errno::EINVAL),
    };
    plain(&Call::Shutdown { fd: fd(live), how })
}

unsafe extern "C" fn getsockopt(
    _: *mut c_void,
    live: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: C's promise of a system call.
    unsafe { calls::getsockopt(live, level, name, value, len) }
}

unsafe extern "C" fn setsockopt(
    _: *mut c_void,
    live: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    // SAFETY: C's promise of a system call.
    match unsafe { bytes(value, len as usize) } {
        Some(value) => calls::setsockopt(live, SockOpt { level, name }, value),
        None => fail(Errno::EFAULT),
    }
}

unsafe extern "C" fn poll(_: *mut c_void, fds: *mut pollfd, count: nfds_t, timeout_ms: c_int) -> c_int {
    // SAFETY: C's promise of a system call.
    let entries = unsafe { std::slice::from_raw_parts_mut(fds, usize::try_from(count).unwrap_or(0)) };
    // POLL* of poll(2) live in 16 bits.
    let asked = |e: &pollfd| (fd(e.fd), PollEvents(e.events.cast_unsigned().into()));
    let result = make(&Call::Poll { fds: entries.iter().map(asked).collect(), timeout_ms });
    if let Ok(Ret::Poll(ready)) = &result {
        for (entry, (_, events)) in entries.iter_mut().zip(ready) {
            entry.revents = (events.0 & 0xffff) as i16; // 16 bits
        }
    }
    finish(result)
}

unsafe extern "C" fn netdev_send(_: *mut c_void, packet: *const c_void, len: size_t) -> c_int {
    // SAFETY: packetdrill passes a whole packet.
    match (host(), unsafe { bytes(packet, len) }) {
        (Some(host), Some(packet)) => match host.inject(packet) {
            Ok(()) => 0,
            Err(why) => give_up(&why),
        },
        _ => fail(Errno::EFAULT),
    }
}

unsafe extern "C" fn netdev_receive(
    _: *mut c_void,
    buf: *mut c_void,
    len: *mut size_t,
    time_usecs: *mut c_longlong,
) -> c_int {
    let Some(host) = host() else { return fail(Errno::ENOSYS) };
    let (at, packet) = host.next_sent();
    // SAFETY: packetdrill passes a buffer with its length, and a time.
    unsafe {
        if packet.len() > *len {
            return fail(Errno::EMSGSIZE);
        }
        std::ptr::copy_nonoverlapping(packet.as_ptr(), buf.cast(), packet.len());
        *len = packet.len();
        *time_usecs = at;
    }
    0
}

extern "C" fn usleep(_: *mut c_void, usecs: useconds_t) -> c_int {
    let Some(host) = host() else { return fail(Errno::ENOSYS) };
    host.sleep(Duration::from_micros(usecs.into()));
    0
}

unsafe extern "C" fn gettimeofday(_: *mut c_void, tv: *mut timeval, _zone: *mut c_void) -> c_int {
    let Some(host) = host() else { return fail(Errno::ENOSYS) };
    let usecs = host.clock();
    // SAFETY: packetdrill passes a timeval of its own.
    unsafe { tv.write(timeval { tv_sec: usecs / 1_000_000, tv_usec: usecs % 1_000_000 }) };
    0
}

extern "C" fn epoll_create(_: *mut c_void, _size: c_int) -> c_int {
    plain(&Call::EpollCreate)
}

unsafe extern "C" fn epoll_ctl(
    _: *mut c_void,
    epfd: c_int,
    op: c_int,
    live: c_int,
    event: *mut epoll_event,
) -> c_int {
    let op = match op {
        libc::EPOLL_CTL_ADD => EpollOp::Add,
        libc::EPOLL_CTL_DEL => EpollOp::Del,
        libc::EPOLL_CTL_MOD => EpollOp::Mod,
        _ => return fail(Errno::EINVAL),
    };
    // SAFETY: null, or an event of packetdrill's.
    let event = unsafe { event.as_ref() }.copied().unwrap_or(epoll_event { events: 0, u64: 0 });
    let (events, data) = (PollEvents(event.events), event.u64);
    plain(&Call::EpollCtl { epfd: fd(epfd), op, fd: fd(live), events, data })
}

unsafe extern "C" fn epoll_wait(
    _: *mut c_void,
    epfd: c_int,
    events: *mut epoll_event,
    max: c_int,
    timeout_ms: c_int,
) -> c_int {
    let Ok(max_events) = u32::try_from(max) else { return fail(Errno::EINVAL) };
    let result = make(&Call::EpollWait { epfd: fd(epfd), max_events, timeout_ms });
    if let Ok(Ret::Epoll(ready)) = &result {
        for (n, (bits, data)) in ready.iter().enumerate() {
            // SAFETY: packetdrill's array holds `max` events, and the stack returns no more.
            unsafe { events.add(n).write(epoll_event { events: bits.0, u64: *data }) };
        }
    }
    finish(result)
}

unsafe extern "C" fn pipe(_: *mut c_void, fds: *mut c_int) -> c_int {
    match host().map(|host| host.request(&Request::Pipe)) {
        Some(Answer::Pipe(from, to)) => {
            // SAFETY: packetdrill's array of two.
            unsafe {
                fds.write(from + FD_BASE);
                fds.add(1).write(to + FD_BASE);
            }
            0
        }
        Some(Answer::Done(result)) => finish(result),
        _ => fail(Errno::ENOSYS),
    }
}

unsafe extern "C" fn splice(
    _: *mut c_void,
    fd_in: c_int,
    _off_in: *mut loff_t,
    fd_out: c_int,
    _off_out: *mut loff_t,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    // packetdrill passes its two offsets as numbers behind pointers; sockets and pipes have none.
    let request = Request::Splice { input: fd(fd_in), out: fd(fd_out), len, flags };
    finish(calls::ask(&request)) as ssize_t
}
