//! One program of a host: a process whose descriptors start at 3 and that makes one system call at a time, blocking
//! for real.
#![expect(unsafe_code, reason = "gives the process the descriptors and signals of a fresh program")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use stack::call::text::{decode_call, encode_result};

use super::calls;
use crate::sys::{self, CONTROL_FD};

/// Lines that the driver writes to a program.
pub(crate) const CALL: &str = "call ";
/// `exit STATUS`
pub(crate) const EXIT: &str = "exit ";
/// What the process says first: it is there and waits.
pub(crate) const READY: &[u8] = b"ready\n";

/// Serves calls until the driver says exit or goes away.
pub(super) fn run(socket: OwnedFd) -> ! {
    become_a_program(socket);
    // SAFETY: become_a_program put the socket there, and nothing else in this process owns it.
    let control = unsafe { File::from_raw_fd(CONTROL_FD) };
    let mut lines = BufReader::new(control).lines();
    if sys::write_all(CONTROL_FD, READY).is_err() {
        exit(2);
    }
    while let Some(Ok(line)) = lines.next() {
        if let Some(status) = line.strip_prefix(EXIT) {
            exit(status.trim().parse().unwrap_or(1));
        }
        let Some(call) = line.strip_prefix(CALL) else { exit(2) };
        let call = match decode_call(call) {
            Ok(call) => call,
            Err(e) => {
                eprintln!("wirelab agent: {e}");
                exit(2);
            }
        };
        let (enter, leave, result) = calls::make(&call);
        let answer = format!("{enter} {leave} {}\n", encode_result(&result));
        if sys::write_all(CONTROL_FD, answer.as_bytes()).is_err() {
            exit(2);
        }
    }
    exit(0)
}

/// Only 0, 1, 2 and the control socket stay open, so that the first `socket()` is 3, as in any program.
fn become_a_program(socket: OwnedFd) {
    sys::die_with_parent();
    let socket = socket.into_raw_fd();
    // SAFETY: from here on this process uses no descriptor but 0..2 and CONTROL_FD; sigset_t is plain data.
    unsafe {
        libc::setpgid(0, 0);
        libc::dup2(socket, CONTROL_FD);
        let control = CONTROL_FD.unsigned_abs();
        libc::close_range(3, control - 1, 0);
        libc::close_range(control + 1, u32::MAX, 0);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Without destructors or `atexit`: what was forked is the agent's.
fn exit(status: i32) -> ! {
    // SAFETY: never returns, touches no memory.
    unsafe { libc::_exit(status) }
}
