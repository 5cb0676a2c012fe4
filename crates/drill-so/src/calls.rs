//! System calls as C has them, made on the stack: pointers in, `errno` out. Linux: the calls' manual pages.
#![expect(
    unsafe_code,
    reason = "packetdrill's buffers arrive as pointers, as in the system calls themselves"
)]

use drill::target::{Answer, Request};
use libc::{c_int, c_long, c_void, iovec, msghdr, sockaddr, socklen_t, ssize_t};
use linux::abi::{self, RawAddr};
use stack::Errno;
use stack::call::{Call, CallResult, Cmsg, Data, Domain, MsgFlags, OptValue, Ret, SockAddr, SockOpt};

use crate::host::host;

/// Descriptors of the stack start here, so that they are never mistaken for packetdrill's own.
pub(crate) const FD_BASE: c_int = 1 << 20;

/// A descriptor of the stack.
pub(crate) fn is_ours(fd: c_int) -> bool {
    fd >= FD_BASE
}

/// The stack's number of a descriptor; one that is not the stack's is none (`EBADF`).
pub(crate) fn fd(live: c_int) -> c_int {
    if is_ours(live) { live - FD_BASE } else { -1 }
}

/// Makes a call on the stack.
pub(crate) fn make(call: &Call) -> CallResult {
    ask(&Request::Call(call.clone()))
}

/// Makes a call that is more than one on sockets.
pub(crate) fn ask(request: &Request) -> CallResult {
    match host().map(|host| host.request(request)) {
        Some(Answer::Done(result)) => result,
        _ => Err(Errno::ENOSYS),
    }
}

/// Sets `errno` and returns -1.
pub(crate) fn fail(errno: Errno) -> c_int {
    // SAFETY: the C library's own thread-local integer.
    unsafe { *libc::__errno_location() = errno.0.into() };
    -1
}

/// What the C function returns.
pub(crate) fn finish(result: CallResult) -> c_int {
    match result {
        Ok(Ret::Fd(fd, _)) => fd + FD_BASE,
        Ok(ret) => c_int::try_from(ret.value()).unwrap_or(c_int::MAX),
        Err(errno) => fail(errno),
    }
}

/// Makes a call that returns a plain number.
pub(crate) fn plain(call: &Call) -> c_int {
    finish(make(call))
}

/// The bytes behind a pointer; `None` for a null pointer that should hold some (`EFAULT`).
///
/// # Safety
/// `at` is null or readable for `len` bytes.
pub(crate) unsafe fn bytes<'a>(at: *const c_void, len: usize) -> Option<&'a [u8]> {
    match (at.is_null(), len) {
        (_, 0) => Some(&[]),
        (true, _) => None,
        // SAFETY: the caller's promise.
        _ => Some(unsafe { std::slice::from_raw_parts(at.cast(), len) }),
    }
}

/// An address argument.
///
/// # Safety
/// `at` is null or readable for `len` bytes.
pub(crate) unsafe fn address(at: *const sockaddr, len: socklen_t) -> Result<SockAddr, Errno> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { bytes(at.cast(), len as usize) }.ok_or(Errno::EFAULT)?;
    RawAddr::from_bytes(bytes).addr().ok_or(Errno::EAFNOSUPPORT)
}

/// Fills in an address that a call returns, and its true length.
///
/// # Safety
/// `len` is null or a length, and `at` is null or writable for so many bytes.
pub(crate) unsafe fn put_address(addr: Option<SockAddr>, at: *mut sockaddr, len: *mut socklen_t) {
    if at.is_null() || len.is_null() {
        return;
    }
    let raw = addr.map(|addr| RawAddr::from_addr(&addr));
    let bytes = raw.as_ref().map_or(&[][..], RawAddr::bytes);
    // SAFETY: the caller's promise; no more than the room.
    unsafe {
        let room = bytes.len().min(*len as usize);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), at.cast(), room);
        *len = bytes.len() as socklen_t; // at most sizeof(sockaddr_storage)
    }
}

/// An `iovec` array.
///
/// # Safety
/// `at` is null or holds `count` entries.
pub(crate) unsafe fn vector<'a>(at: *const iovec, count: usize) -> &'a [iovec] {
    if at.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(at, count) }
}

/// Data to write; a null pointer is memory that the kernel cannot read.
///
/// # Safety
/// `buf` is null or readable for `len` bytes.
pub(crate) unsafe fn data(buf: *const c_void, len: usize) -> Data {
    // SAFETY: the caller's promise.
    match unsafe { bytes(buf, len) } {
        Some(bytes) => Data::Literal(bytes.into()),
        None => Data::Unreadable(u32::try_from(len).unwrap_or(u32::MAX)),
    }
}

/// Data to write from an `iovec` array.
///
/// # Safety
/// Each entry is null or readable.
pub(crate) unsafe fn gather(vector: &[iovec]) -> Vec<Data> {
    vector
        .iter()
        .map(|v| {
            // SAFETY: the caller's promise.
            unsafe { data(v.iov_base, v.iov_len) }
        })
        .collect()
}

/// Puts received bytes into an `iovec` array.
///
/// # Safety
/// Each entry is null or writable.
unsafe fn scatter(mut data: &[u8], vector: &[iovec]) {
    for v in vector {
        let len = v.iov_len.min(data.len());
        if !v.iov_base.is_null() {
            // SAFETY: the caller's promise; no more than the entry's length.
            unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), v.iov_base.cast(), len) };
        }
        data = &data[len..];
    }
}

/// A call that reads into one buffer.
///
/// # Safety
/// `buf` is null or writable for `len` bytes; `addr` and `addr_len` as for [`put_address`].
pub(crate) unsafe fn read(
    call: &Call,
    vector: &[iovec],
    addr: *mut sockaddr,
    addr_len: *mut socklen_t,
) -> ssize_t {
    match make(call) {
        Ok(Ret::Data { len, data, from, .. }) => {
            // SAFETY: the caller's promise.
            unsafe {
                scatter(&data, vector);
                put_address(from, addr, addr_len);
            }
            ssize_t::try_from(len).unwrap_or(ssize_t::MAX)
        }
        other => finish(other) as ssize_t,
    }
}

/// `recvmsg`
///
/// # Safety
/// `msg` is a valid header whose pointers are null or writable.
pub(crate) unsafe fn recvmsg(live: c_int, msg: &mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller's promise.
    let iov = unsafe { vector(msg.msg_iov, msg.msg_iovlen) };
    let lens = iov.iter().map(|v| v.iov_len).collect();
    let call = Call::RecvMsg {
        fd: fd(live),
        lens,
        control_len: msg.msg_controllen,
        flags: MsgFlags(flags.cast_unsigned()),
    };
    match make(&call) {
        Ok(Ret::Data { len, data, from, flags, control }) => {
            let bytes = abi::encode(&control, family(&control));
            let room = bytes.len().min(msg.msg_controllen);
            // SAFETY: the caller's promise; no more than each room.
            unsafe {
                scatter(&data, iov);
                if !msg.msg_name.is_null() {
                    put_address(from, msg.msg_name.cast(), &raw mut msg.msg_namelen);
                }
                if !msg.msg_control.is_null() {
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), msg.msg_control.cast(), room);
                }
            }
            msg.msg_controllen = room;
            msg.msg_flags = flags.0.cast_signed();
            ssize_t::try_from(len).unwrap_or(ssize_t::MAX)
        }
        other => finish(other) as ssize_t,
    }
}

/// Which family's numbers control messages have: an error names its sender, or by its origin.
fn family(control: &[Cmsg]) -> Domain {
    let v6 = control.iter().any(|c| {
        matches!(c, Cmsg::ExtendedErr { offender: Some(ip), .. } if ip.is_ipv6())
            || matches!(c, Cmsg::ExtendedErr { origin: 3, .. })
    });
    if v6 || host().is_some_and(|h| h.lock().inet6_sockets) { Domain::Inet6 } else { Domain::Inet }
}

/// `getsockopt`
///
/// # Safety
/// `len` is a length and `value` is writable for so many bytes.
pub(crate) unsafe fn getsockopt(
    live: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    let opt = SockOpt { level, name };
    match make(&Call::GetSockOpt { fd: fd(live), opt }) {
        Ok(Ret::Opt(got)) => {
            let bytes = abi::option_bytes(&got);
            // SAFETY: the caller's promise; no more than the room.
            unsafe {
                let room = bytes.len().min(*len as usize);
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), value.cast(), room);
                *len = room as socklen_t; // at most what it was
            }
            0
        }
        other => finish(other),
    }
}

/// `setsockopt`
pub(crate) fn setsockopt(live: c_int, opt: SockOpt, value: &[u8]) -> c_int {
    // A number is an int; anything else of an odd length stays raw, so that the stack judges its length.
    let value = match opt {
        SockOpt::SO_LINGER if value.len() >= 8 => abi::option_value(opt, value.to_vec()),
        SockOpt::SO_RCVTIMEO | SockOpt::SO_SNDTIMEO if value.len() >= 16 => {
            abi::option_value(opt, value.to_vec())
        }
        SockOpt::TCP_CONGESTION | SockOpt::SO_BINDTODEVICE | SockOpt::TCP_ULP => {
            abi::option_value(opt, value.to_vec())
        }
        _ => match value.first_chunk::<4>() {
            Some(int) if value.len() == 4 => OptValue::Int(i32::from_ne_bytes(*int).into()),
            _ => OptValue::Bytes(value.into()),
        },
    };
    plain(&Call::SetSockOpt { fd: fd(live), opt, value })
}

/// `fcntl`: `F_GETFL`, and `F_SETFL` for `O_NONBLOCK`.
pub(crate) fn fcntl(live: c_int, command: c_int, arg: c_long) -> c_int {
    let fd = fd(live);
    match command {
        libc::F_GETFL => plain(&Call::GetFl { fd }),
        libc::F_SETFL => plain(&Call::SetFl { fd, nonblock: arg & c_long::from(libc::O_NONBLOCK) != 0 }),
        _ => fail(Errno::EINVAL),
    }
}
