//! What conformance scripts do with files, pipes and capabilities: calls that [`stack::call::Call`] does not have.
#![expect(unsafe_code, reason = "system calls on plain integers and locals")]

use std::ffi::CString;
use std::io;

use stack::call::Fd;

use crate::sys::check;

/// `open(2)` with mode 0644; the descriptor is the caller's to close.
///
/// # Errors
/// The call's.
pub fn open(path: &str, flags: i32) -> io::Result<Fd> {
    let path = CString::new(path)?;
    // SAFETY: a C string that outlives the call.
    check(unsafe { libc::open(path.as_ptr(), flags, 0o644) })
}

/// `sendfile(2)`: bytes sent.
///
/// # Errors
/// The call's.
pub fn sendfile(out: Fd, input: Fd, mut offset: i64, len: usize) -> io::Result<usize> {
    // SAFETY: reads and writes one local integer.
    let sent = unsafe { libc::sendfile(out, input, &raw mut offset, len) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// `pipe(2)`: the ends to read from and to write to, the caller's to close.
///
/// # Errors
/// The call's.
pub fn pipe() -> io::Result<(Fd, Fd)> {
    let mut ends = [0; 2];
    // SAFETY: writes two integers into an array of two.
    check(unsafe { libc::pipe(ends.as_mut_ptr()) })?;
    Ok((ends[0], ends[1]))
}

/// `splice(2)` without offsets: bytes moved.
///
/// # Errors
/// The call's.
pub fn splice(input: Fd, out: Fd, len: usize, flags: u32) -> io::Result<usize> {
    let none = std::ptr::null_mut();
    // SAFETY: plain integers, and null for "no offset".
    let moved = unsafe { libc::splice(input, none, out, none, len, flags) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

/// `close(2)` of a descriptor that a call made.
pub fn close(fd: Fd) {
    // SAFETY: the caller's descriptor.
    unsafe { libc::close(fd) };
}

/// `struct __user_cap_header_struct`
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `capset(2)`: this thread gains or loses a capability (0 to 63) in set 0 effective, 1 permitted or 2 inheritable.
///
/// # Errors
/// The call's, or `EINVAL` for a set or capability that there is not.
pub fn set_capability(set: u32, capability: u32, on: bool) -> io::Result<()> {
    // _LINUX_CAPABILITY_VERSION_3
    let mut header = CapHeader { version: 0x2008_0522, pid: 0 };
    let mut data = [CapData::default(); 2];
    let word = data.len().min(capability as usize / 32);
    let bit = 1_u32 << (capability % 32);
    // SAFETY: header and data are locals of the layout that version 3 asks for.
    unsafe {
        if libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) < 0 {
            return Err(io::Error::last_os_error());
        }
        let words = data.get_mut(word).ok_or(io::ErrorKind::InvalidInput)?;
        let field = match set {
            0 => &mut words.effective,
            1 => &mut words.permitted,
            2 => &mut words.inheritable,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        *field = if on { *field | bit } else { *field & !bit };
        if libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
