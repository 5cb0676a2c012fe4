//! The few system calls that driver and agent share, each wrapped once: clock, waiting, passing descriptors.
#![expect(unsafe_code, reason = "thin wrappers of libc calls; each checks its result and owns its buffers")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Where an agent finds its control socket, and a program its own: above all numbers that a program will see.
pub(crate) const CONTROL_FD: RawFd = 1000;

/// The most descriptors in one message (`SCM_MAX_FD` of include/net/scm.h).
pub(crate) const MAX_FDS: usize = 253;

/// `-1` is errno.
pub(crate) fn check(ret: libc::c_int) -> io::Result<libc::c_int> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

fn check_len(ret: isize) -> io::Result<usize> {
    usize::try_from(ret).map_err(|_| io::Error::last_os_error())
}

/// `CLOCK_MONOTONIC` in nanoseconds: the one clock that driver and agents share.
pub(crate) fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// A recent time of `CLOCK_REALTIME` as `CLOCK_MONOTONIC` had it.
pub(crate) fn monotonic_of_realtime(realtime_ns: u64) -> u64 {
    /// Reading a clock takes less, unless somebody interrupts.
    const UNDISTURBED_NS: u64 = 1_000;
    let mut best = (u64::MAX, 0);
    for _ in 0..5 {
        let before = monotonic_ns();
        let age = clock_ns(libc::CLOCK_REALTIME).saturating_sub(realtime_ns);
        let took = monotonic_ns() - before;
        best = best.min((took, (before + took / 2).saturating_sub(age)));
        if took < UNDISTURBED_NS {
            break;
        }
    }
    best.1
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec that lives on our stack.
    let ret = unsafe { libc::clock_gettime(clock, &raw mut ts) };
    assert_eq!(ret, 0, "these clocks always exist");
    nanoseconds(&ts)
}

/// A time after 1970; 0 before.
pub(crate) fn nanoseconds(ts: &libc::timespec) -> u64 {
    let secs = u64::try_from(ts.tv_sec).unwrap_or(0);
    secs.saturating_mul(1_000_000_000).saturating_add(u64::try_from(ts.tv_nsec).unwrap_or(0))
}

/// A connected pair of Unix sockets, closed on exec.
pub(crate) fn socketpair(kind: libc::c_int) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: writes two descriptors into an array of two; both are ours alone.
    unsafe {
        check(libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()))?;
        Ok((OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])))
    }
}

/// `read(2)`.
pub(crate) fn read(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most buf.len() bytes into buf.
    check_len(unsafe { libc::read(fd, buf.as_mut_ptr().cast(), buf.len()) })
}

/// `recv(2)` that does not wait.
pub(crate) fn recv_now(socket: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most buf.len() bytes into buf.
    check_len(unsafe { libc::recv(socket, buf.as_mut_ptr().cast(), buf.len(), libc::MSG_DONTWAIT) })
}

/// `pread(2)`.
pub(crate) fn pread(fd: RawFd, buf: &mut [u8], offset: i64) -> io::Result<usize> {
    // SAFETY: the kernel writes at most buf.len() bytes into buf.
    check_len(unsafe { libc::pread(fd, buf.as_mut_ptr().cast(), buf.len(), offset) })
}

/// `write(2)`.
pub(crate) fn write(fd: RawFd, buf: &[u8]) -> io::Result<usize> {
    // SAFETY: the kernel reads buf.len() bytes from buf.
    check_len(unsafe { libc::write(fd, buf.as_ptr().cast(), buf.len()) })
}

/// Writes all of it; the descriptor blocks.
pub(crate) fn write_all(fd: RawFd, mut buf: &[u8]) -> io::Result<()> {
    while !buf.is_empty() {
        match write(fd, buf) {
            Ok(n) => buf = &buf[n..],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Room for the control part of a message with [`MAX_FDS`] descriptors, aligned as `cmsghdr` needs.
#[repr(C, align(8))]
struct FdSpace([u8; 16 + 4 * MAX_FDS + 8]);

/// Sends one message with descriptors (`SCM_RIGHTS`).
pub(crate) fn send_with_fds(socket: RawFd, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    assert!(fds.len() <= MAX_FDS, "SCM_MAX_FD");
    let mut space = FdSpace([0; _]);
    let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let payload = u32::try_from(size_of_val(fds)).expect("at most 253 descriptors");
    // SAFETY: all pointers in msg point at locals that outlive the call; the control buffer has room for
    // CMSG_SPACE(payload) bytes and is aligned for cmsghdr.
    unsafe {
        let mut msg: libc::msghdr = std::mem::zeroed();
        msg.msg_iov = &raw mut iov;
        msg.msg_iovlen = 1;
        if !fds.is_empty() {
            msg.msg_control = space.0.as_mut_ptr().cast();
            msg.msg_controllen = libc::CMSG_SPACE(payload) as usize;
            let cmsg = libc::CMSG_FIRSTHDR(&raw const msg);
            (*cmsg).cmsg_level = libc::SOL_SOCKET;
            (*cmsg).cmsg_type = libc::SCM_RIGHTS;
            (*cmsg).cmsg_len = libc::CMSG_LEN(payload) as usize;
            std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), libc::CMSG_DATA(cmsg), payload as usize);
        }
        check_len(libc::sendmsg(socket, &raw const msg, libc::MSG_NOSIGNAL))?;
    }
    Ok(())
}

/// Receives one message and the descriptors that came with it. Length 0 is the end of the connection.
pub(crate) fn recv_with_fds(
    socket: RawFd,
    buf: &mut [u8],
    dontwait: bool,
) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = FdSpace([0; _]);
    let mut iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let flags = libc::MSG_CMSG_CLOEXEC | if dontwait { libc::MSG_DONTWAIT } else { 0 };
    let mut fds = Vec::new();
    // SAFETY: as in send_with_fds; CMSG_NXTHDR stays inside the control buffer, and each descriptor in an
    // SCM_RIGHTS message is new in this process and owned by nobody else.
    let len = unsafe {
        let mut msg: libc::msghdr = std::mem::zeroed();
        msg.msg_iov = &raw mut iov;
        msg.msg_iovlen = 1;
        msg.msg_control = space.0.as_mut_ptr().cast();
        msg.msg_controllen = space.0.len();
        let len = check_len(libc::recvmsg(socket, &raw mut msg, flags))?;
        let mut cmsg = libc::CMSG_FIRSTHDR(&raw const msg);
        while !cmsg.is_null() {
            if (*cmsg).cmsg_level == libc::SOL_SOCKET && (*cmsg).cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(cmsg).cast::<RawFd>();
                let n = ((*cmsg).cmsg_len - libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
                fds.extend((0..n).map(|i| OwnedFd::from_raw_fd(data.add(i).read_unaligned())));
            }
            cmsg = libc::CMSG_NXTHDR(&raw const msg, cmsg);
        }
        len
    };
    Ok((len, fds))
}

/// From now on [`recv_with_pid`] tells who wrote.
pub(crate) fn ask_for_pids(socket: &OwnedFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = libc::socklen_t::try_from(size_of_val(&on)).expect("an integer's size");
    // SAFETY: reads one integer on our stack.
    check(unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PASSCRED, (&raw const on).cast(), len)
    })
    .map(drop)
}

/// `recv(2)` that does not wait, and the writer's process number as it is known here.
pub(crate) fn recv_with_pid(socket: RawFd, buf: &mut [u8]) -> io::Result<(usize, Option<libc::pid_t>)> {
    let mut space = FdSpace([0; _]);
    let mut iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let mut pid = None;
    // SAFETY: as in recv_with_fds; an SCM_CREDENTIALS message holds one ucred, plain data.
    let len = unsafe {
        let mut msg: libc::msghdr = std::mem::zeroed();
        msg.msg_iov = &raw mut iov;
        msg.msg_iovlen = 1;
        msg.msg_control = space.0.as_mut_ptr().cast();
        msg.msg_controllen = space.0.len();
        let len = check_len(libc::recvmsg(socket, &raw mut msg, libc::MSG_DONTWAIT))?;
        let mut cmsg = libc::CMSG_FIRSTHDR(&raw const msg);
        while !cmsg.is_null() {
            if (*cmsg).cmsg_level == libc::SOL_SOCKET && (*cmsg).cmsg_type == libc::SCM_CREDENTIALS {
                let writer = libc::CMSG_DATA(cmsg).cast::<libc::ucred>().read_unaligned();
                pid = (writer.pid > 0).then_some(writer.pid);
            }
            cmsg = libc::CMSG_NXTHDR(&raw const msg, cmsg);
        }
        len
    };
    Ok((len, pid))
}

/// Whether the other side of a Unix socket has read all that was written to it (`SIOCOUTQ`).
pub(crate) fn all_was_read(socket: &OwnedFd) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: writes one integer on our stack.
    let ret = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    ret == 0 && bytes == 0
}

/// Whether there is something to read.
pub(crate) fn is_readable(fd: &OwnedFd) -> bool {
    let mut fds = [wait_for_input(fd)];
    ppoll(&mut fds, Some(Duration::ZERO)).is_ok() && fds[0].revents != 0
}

/// Whether a process sleeps until somebody wakes it (state `S` in proc_pid_stat(5)); `None` when that cannot be read.
pub(crate) fn sleeps(pid: libc::pid_t) -> Option<bool> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, brackets too.
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.trim_start().starts_with('S'))
}

/// A thread of this process sleeps.
pub(crate) fn is_thread_asleep(tid: libc::pid_t) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/stat"));
    stat.is_ok_and(|s| s.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('S')))
}

/// Sleeps until a time of `CLOCK_MONOTONIC`.
pub(crate) fn sleep_until(ns: u64) {
    let ts = libc::timespec {
        tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ns % 1_000_000_000).expect("less than 10^9"),
    };
    // SAFETY: reads one timespec on our stack; with TIMER_ABSTIME nothing is written.
    while unsafe {
        libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const ts, std::ptr::null_mut())
    } == libc::EINTR
    {}
}

/// Waits until a descriptor is ready or the time is over; `None` waits for ever. Signals end the wait.
pub(crate) fn ppoll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<()> {
    let ts = timeout.map(|t| libc::timespec {
        tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(t.subsec_nanos()),
    });
    let ts = ts.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: fds is a slice of pollfd with its true length; ts is null or points at a local.
    match check(unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, ts, std::ptr::null()) }) {
        Err(e) if e.kind() == io::ErrorKind::Interrupted => {
            fds.iter_mut().for_each(|p| p.revents = 0);
            Ok(())
        }
        other => other.map(drop),
    }
}

/// An entry for [`ppoll`] that waits for input.
pub(crate) fn wait_for_input(fd: &impl AsRawFd) -> libc::pollfd {
    libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 }
}

/// The kernel sends us `SIGKILL` when the thread that made this process ends.
///
/// Async-signal-safe: also called between `fork` and `exec`.
pub(crate) fn die_with_parent() {
    // SAFETY: PR_SET_PDEATHSIG takes one integer and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
}

/// [`die_with_parent`] for a command that is started from this thread.
pub(crate) fn die_with_parent_on_exec(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: between fork and exec only an async-signal-safe call is made.
    unsafe {
        command.pre_exec(|| {
            die_with_parent();
            Ok(())
        });
    }
}

/// Ends a process group whose leader is a child of ours.
pub(crate) fn kill_group(leader: u32) {
    let group = libc::pid_t::try_from(leader).expect("process numbers are small");
    // SAFETY: no memory is involved; the group is of processes that we started.
    unsafe { libc::kill(-group, libc::SIGKILL) };
}

/// Timeouts of this thread fire as exactly as the kernel can (`PR_SET_TIMERSLACK`, 1 ns instead of 50 us).
pub(crate) fn exact_timers() {
    // SAFETY: as above.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) };
}

/// While it lives, this thread runs before all ordinary ones, if the system lets it (`SCHED_RR`); children do not.
pub(crate) struct Urgent {
    previous: Option<(libc::c_int, libc::sched_param)>,
}

impl Urgent {
    pub(crate) fn new() -> Urgent {
        // SAFETY: sched_* read and write one sched_param on our stack, for the calling thread only (pid 0).
        let previous = unsafe {
            let policy = libc::sched_getscheduler(0);
            let mut param: libc::sched_param = std::mem::zeroed();
            libc::sched_getparam(0, &raw mut param);
            let mut urgent = param;
            urgent.sched_priority = 1;
            let ret =
                libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const urgent);
            (policy >= 0 && ret == 0).then_some((policy, param))
        };
        Urgent { previous }
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        if let Some((policy, param)) = self.previous {
            // SAFETY: as in new; a failure leaves the thread urgent, which harms nobody.
            unsafe { libc::sched_setscheduler(0, policy, &raw const param) };
        }
    }
}

/// Plugs the cable of a TAP or TUN in, or pulls it (`TUNSETCARRIER`, Linux 5.0: drivers/net/tun.c).
pub(crate) fn set_carrier(tap: RawFd, up: bool) -> io::Result<()> {
    /// `_IOW('T', 226, int)`
    const TUNSETCARRIER: libc::c_ulong = 0x4004_54e2;
    let on = libc::c_int::from(up);
    // SAFETY: reads one integer on our stack.
    check(unsafe { libc::ioctl(tap, TUNSETCARRIER, &raw const on) }).map(drop)
}

/// `uname -r`.
pub(crate) fn uname_release() -> String {
    // SAFETY: uname fills the struct with NUL-terminated strings.
    unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        libc::uname(&raw mut name);
        std::ffi::CStr::from_ptr(name.release.as_ptr()).to_string_lossy().into_owned()
    }
}

/// Effective user id 0.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid cannot fail.
    unsafe { libc::geteuid() == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_travel_with_a_message() {
        let (a, b) = socketpair(libc::SOCK_SEQPACKET).unwrap();
        let (one, other) = socketpair(libc::SOCK_STREAM).unwrap();
        send_with_fds(a.as_raw_fd(), b"here", &[one.as_raw_fd(), other.as_raw_fd()]).unwrap();
        let mut buf = [0; 16];
        let (len, fds) = recv_with_fds(b.as_raw_fd(), &mut buf, true).unwrap();
        assert_eq!(&buf[..len], b"here");
        assert_eq!(fds.len(), 2);
        write_all(fds[1].as_raw_fd(), b"x").unwrap();
        assert_eq!(read(one.as_raw_fd(), &mut buf).unwrap(), 1);
        drop(a);
        assert_eq!(recv_with_fds(b.as_raw_fd(), &mut buf, true).unwrap().0, 0, "end of connection");
    }

    #[test]
    fn ppoll_ends_at_its_timeout_and_not_before() {
        let start = monotonic_ns();
        ppoll(&mut [], Some(Duration::from_millis(3))).unwrap();
        assert!(monotonic_ns() - start >= 3_000_000);
    }
}
