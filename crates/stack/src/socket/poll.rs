//! `poll`. Linux: fs/select.c `do_sys_poll`, net/core/datagram.c `datagram_poll`.

use core::time::Duration;

use super::Pid;
use super::file::{FileId, FileKind};
use super::wait::{Timeout, Wait};
use crate::call::{Fd, PollEvents, Ret};
use crate::{Errno, Stack};

/// `POLLWRBAND`, which `PollEvents` does not name.
const WRBAND: PollEvents = PollEvents(0x200);

/// Reported whether asked for or not.
const ALWAYS: PollEvents = PollEvents(PollEvents::ERR.0 | PollEvents::HUP.0 | PollEvents::NVAL.0);

/// A timeout in milliseconds as `poll` and `epoll_wait` take it.
pub(super) fn timeout(ms: i32) -> Timeout {
    u64::try_from(ms).map_or(Timeout::Never, |ms| Timeout::Exact(Duration::from_millis(ms)))
}

impl Stack {
    /// Everything that holds of a file now (`vfs_poll`).
    pub(super) fn file_events(&self, file: FileId) -> PollEvents {
        match self.sockets.files[file].kind {
            FileKind::Dgram(sock) => self.dgram_events(sock),
            FileKind::Tcp(id) => self.tcp_events(id),
            FileKind::Epoll(epoll) => self.epoll_events(epoll),
        }
    }

    fn dgram_events(&self, sock: u32) -> PollEvents {
        let sock = &self.sockets.dgrams[sock];
        let mut events = PollEvents::OUT | PollEvents::WRNORM | WRBAND;
        if sock.error.is_some() || !sock.errors.is_empty() {
            events = events | PollEvents::ERR;
        }
        if sock.shutdown_rd {
            events = events | PollEvents::RDHUP | PollEvents::IN | PollEvents::RDNORM;
        }
        if sock.shutdown_rd && sock.shutdown_wr {
            events = events | PollEvents::HUP;
        }
        if !sock.rx.is_empty() {
            events = events | PollEvents::IN | PollEvents::RDNORM;
        }
        events
    }

    pub(super) fn sys_poll(
        &mut self,
        pid: Pid,
        fds: &[(Fd, PollEvents)],
        timeout_ms: i32,
    ) -> Result<Ret, Box<Wait>> {
        let mut found = Vec::with_capacity(fds.len());
        let mut on = Vec::new();
        let mut ready = false;
        for (fd, wanted) in fds {
            let events = match self.sockets.file_of(pid, *fd) {
                _ if *fd < 0 => PollEvents(0),
                Ok(file) => {
                    on.push((file, *wanted | ALWAYS, false));
                    PollEvents(self.file_events(file).0 & (wanted.0 | ALWAYS.0))
                }
                // 0, 1 and 2: a terminal that takes output and has no input.
                Err(Errno::ENOTSOCK) => PollEvents(wanted.0 & (PollEvents::OUT | PollEvents::WRNORM).0),
                Err(_) => PollEvents::NVAL,
            };
            ready |= events.0 != 0;
            found.push((*fd, events));
        }
        if ready || timeout_ms == 0 {
            return Ok(Ret::Poll(found));
        }
        Err(Box::new(Wait { on, timeout: timeout(timeout_ms), over: Ok(Ret::Poll(found)) }))
    }
}
