//! Functions of the C library that packetdrill calls itself, answered for the stack when this library is preloaded.
//!
//! `getsockopt` (code blocks) and `close` (the end of a script) reach the stack by the descriptor's number. `system` lets the
//! stack have what a script's shell lines do to a kernel, so that nothing on this machine is changed. `mlockall` and `times`
//! only cost time: packetdrill locks its memory, and looks for the edge of a tick of the machine's clock.
#![expect(unsafe_code, reason = "functions that C calls, and system calls with their arguments")]

use std::ffi::CStr;
use std::sync::atomic::{AtomicI64, Ordering};

use drill::target::Request;
use libc::{c_char, c_int, c_long, c_void, socklen_t};
use stack::Errno;
use stack::call::{Call, Ret};

use crate::calls::{self, is_ours};
use crate::host::host;

/// `close(2)`, for the stack's descriptors and for all others.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn close(live: c_int) -> c_int {
    if is_ours(live) {
        return calls::plain(&Call::Close { fd: calls::fd(live) });
    }
    // SAFETY: what the C library's close does, but for its point of cancellation, which packetdrill does not use.
    unsafe { libc::syscall(libc::SYS_close, live) as c_int }
}

/// `getsockopt(2)`, for the stack's sockets and for all others.
///
/// # Safety
/// As the system call: `len` is a length, and `value` writable for so many bytes.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getsockopt(
    live: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller's promise, handed on.
    unsafe {
        if is_ours(live) {
            return calls::getsockopt(live, level, name, value, len);
        }
        libc::syscall(libc::SYS_getsockopt, live, level, name, value, len) as c_int
    }
}

/// `sendfile(2)` from a real file to a socket of the stack.
///
/// # Safety
/// As the system call: `offset` is null or an offset.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sendfile(
    out: c_int,
    input: c_int,
    offset: *mut libc::off_t,
    len: usize,
) -> libc::ssize_t {
    if !is_ours(out) {
        // SAFETY: the caller's promise, handed on.
        return unsafe { libc::syscall(libc::SYS_sendfile, out, input, offset, len) as libc::ssize_t };
    }
    let Ok(path) = std::fs::read_link(format!("/proc/self/fd/{input}")) else {
        return calls::fail(Errno::EBADF) as libc::ssize_t;
    };
    let opened = calls::ask(&Request::Open { path: path.to_string_lossy().into_owned(), flags: 0 });
    let Ok(Ret::Fd(file, _)) = opened else { return calls::finish(opened) as libc::ssize_t };
    // SAFETY: null, or the caller's offset.
    let offset = unsafe { offset.as_ref() }.copied().unwrap_or(0);
    let sent = calls::ask(&Request::SendFile { out: calls::fd(out), input: file, offset, len });
    let _ = calls::make(&Call::Close { fd: file });
    calls::finish(sent) as libc::ssize_t
}

/// `mlockall(2)`: no need for it in virtual time, and no right to it without root.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn mlockall(_flags: c_int) -> c_int {
    0
}

/// `times(2)`: a tick later at every call.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn times(_buffer: *mut c_void) -> c_long {
    static TICKS: AtomicI64 = AtomicI64::new(0);
    TICKS.fetch_add(1, Ordering::Relaxed)
}

/// `system(3)`: a script's shell lines act on the stack; Python for its code blocks really runs.
///
/// # Safety
/// As the C library's: `command` is null or a C string.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn system(command: *const c_char) -> c_int {
    if command.is_null() {
        return 1;
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(command) }.to_string_lossy().into_owned();
    // packetdrill's code_command_line, as it is by default.
    let Some(host) = host().filter(|_| !text.starts_with("python3 ")) else { return run(&text) };
    match host.shell(&text) {
        Ok(()) => 0,
        Err(why) => {
            eprintln!("{why}");
            1 << 8
        }
    }
}

/// A real shell runs it; its wait status.
fn run(text: &str) -> c_int {
    use std::os::unix::process::ExitStatusExt;
    let status = std::process::Command::new("/bin/sh").args(["-c", text]).env_remove("LD_PRELOAD").status();
    status.map_or(-1, ExitStatusExt::into_raw)
}
