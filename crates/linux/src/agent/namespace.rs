//! Enters new user, network and process namespaces. Linux: `unshare(2)`, user_namespaces(7), pid_namespaces(7).
#![expect(unsafe_code, reason = "unshare, fork and waitpid, before any thread exists")]

use std::io;

use super::Failure;
use crate::sys::{self, CONTROL_FD, check};

/// Which of the two processes this is after [`enter`].
pub(super) enum Side {
    /// The one that waited; the other one ended with this status.
    Outside(u8),
    /// Process 1 of the new namespaces.
    Inside,
}

/// Makes the namespaces and forks process 1 into them.
pub(super) fn enter() -> Result<Side, Failure> {
    make(libc::CLONE_NEWNET | libc::CLONE_NEWPID)?;
    // A change of credentials clears the parent-death signal.
    sys::die_with_parent();
    // SAFETY: this process has one thread, so the child may do anything.
    let pid = check(unsafe { libc::fork() }).map_err(|e| Failure::new("fork", &e))?;
    if pid == 0 {
        sys::die_with_parent();
        set_close_on_exec(CONTROL_FD);
        // The driver is the other end of the control socket: should the waiting process have died before the
        // line above, the driver's end of the run closes it and `serve` ends.
        return Ok(Side::Inside);
    }
    // SAFETY: closes our copy only; nothing in this process owns the number.
    unsafe { libc::close(CONTROL_FD) };
    let mut status = 0;
    // SAFETY: writes one integer on our stack.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Ok(Side::Outside(1));
        }
    }
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 1 };
    Ok(Side::Outside(u8::try_from(code).unwrap_or(1)))
}

/// With the rights we have; else with those of a new user namespace.
fn make(wanted: libc::c_int) -> Result<(), Failure> {
    let names = if wanted & libc::CLONE_NEWPID == 0 { "CLONE_NEWNET" } else { "CLONE_NEWNET|CLONE_NEWPID" };
    match unshare(wanted) {
        Ok(()) => return Ok(()),
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => {}
        Err(e) => return Err(Failure::new(format!("unshare({names})"), &e)),
    }
    // SAFETY: cannot fail and touch no memory.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    unshare(libc::CLONE_NEWUSER | wanted)
        .map_err(|e| Failure::new(format!("unshare(CLONE_NEWUSER|{names})"), &e))?;
    // setgroups must be given up before an unprivileged process may map its group (CVE-2014-8989).
    for (file, content) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ] {
        std::fs::write(file, content).map_err(|e| Failure::new(format!("write {file}"), &e))?;
    }
    Ok(())
}

/// Moves this process, which has one thread, into a network namespace of its own, so that it may make others: with its
/// own rights, or with those of a new user namespace.
pub(crate) fn enter_network() -> Result<(), Failure> {
    make(libc::CLONE_NEWNET)
}

fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: takes one integer; this process has one thread, as CLONE_NEWUSER asks.
    check(unsafe { libc::unshare(flags) }).map(drop)
}

fn set_close_on_exec(fd: libc::c_int) {
    // SAFETY: F_SETFD takes one integer.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
}
