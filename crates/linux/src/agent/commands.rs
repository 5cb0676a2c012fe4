//! The children of process 1: commands (`ip`, `ping`, `curl`) and programs that make system calls.
#![expect(unsafe_code, reason = "fork, signalfd, waitpid and kill")]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::{Failure, program};
use crate::protocol::Reply;
use crate::sys::{self, check};

/// Who runs, by process id.
pub(super) struct Children {
    signals: OwnedFd,
    by_pid: BTreeMap<libc::pid_t, u64>,
}

impl Children {
    pub(super) fn new() -> io::Result<Children> {
        // SAFETY: sigset_t is plain data filled by sigemptyset; the descriptor is new and ours.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGCHLD);
            check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
            let fd = check(libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC))?;
            Ok(Children { signals: OwnedFd::from_raw_fd(fd), by_pid: BTreeMap::new() })
        }
    }

    /// Readable when a child ended.
    pub(super) fn signal_fd(&self) -> &OwnedFd {
        &self.signals
    }

    /// Collects every child that ended; orphans of commands fall to us as process 1 and are nobody's news.
    pub(super) fn reap(&mut self) -> Vec<Reply> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        while sys::read(self.signals.as_raw_fd(), &mut info).is_ok() {}
        let mut replies = Vec::new();
        loop {
            let mut status = 0;
            // SAFETY: writes one integer on our stack.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            if pid <= 0 {
                return replies;
            }
            if let Some(id) = self.by_pid.remove(&pid) {
                let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
                let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
                replies.push(Reply::Exited { id, code, signal });
            }
        }
    }

    /// Runs a command in its own process group with the descriptors as stdin, stdout, stderr.
    pub(super) fn spawn_command(
        &mut self,
        id: u64,
        argv: &[String],
        fds: Vec<OwnedFd>,
    ) -> Result<(), Failure> {
        let (Some(program), Ok([stdin, stdout, stderr])) = (argv.first(), <[OwnedFd; 3]>::try_from(fds))
        else {
            return Err(Failure {
                what: "a command needs a name and three descriptors".into(),
                errno: libc::EINVAL,
            });
        };
        let mut command = Command::new(program);
        command
            .args(&argv[1..])
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout))
            .stderr(Stdio::from(stderr));
        command.env("LC_ALL", "C").process_group(0);
        // SAFETY: the closure makes one async-signal-safe system call.
        unsafe {
            command.pre_exec(|| {
                sys::die_with_parent();
                Ok(())
            });
        }
        let child = command.spawn().map_err(|e| Failure::new(program.clone(), &e))?;
        self.by_pid.insert(libc::pid_t::try_from(child.id()).expect("process ids fit"), id);
        Ok(())
    }

    /// Forks a process that makes the calls its socket asks for.
    pub(super) fn spawn_program(&mut self, id: u64, fds: Vec<OwnedFd>) -> Result<(), Failure> {
        let Some(socket) = fds.into_iter().next() else {
            return Err(Failure { what: "a program needs its socket".into(), errno: libc::EINVAL });
        };
        // SAFETY: the agent has one thread, so the child may do anything.
        match check(unsafe { libc::fork() }).map_err(|e| Failure::new("fork", &e))? {
            0 => program::run(socket),
            pid => {
                // Both sides do it, so that a kill cannot come too early.
                // SAFETY: takes two integers.
                unsafe { libc::setpgid(pid, pid) };
                self.by_pid.insert(pid, id);
                Ok(())
            }
        }
    }

    /// `SIGKILL` to the whole process group, when it still runs.
    pub(super) fn kill(&mut self, id: u64) {
        for (pid, _) in self.by_pid.iter().filter(|(_, i)| **i == id) {
            // SAFETY: takes two integers. The pid is an unreaped child of ours, so it cannot be anybody else's.
            unsafe { libc::kill(-pid, libc::SIGKILL) };
        }
    }
}
