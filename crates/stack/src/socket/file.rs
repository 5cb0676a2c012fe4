//! Descriptors and open file descriptions. Linux: fs/file.c `alloc_fd`, fs/file_table.c.

use wire::Instant;

use super::wait::WaitQueue;
use super::{Pid, SockId, Sockets};
use crate::call::{Fd, PollEvents};
use crate::{Errno, Stack};

/// `RLIMIT_NOFILE` of a new process.
pub const NOFILE_DEFAULT: u32 = 1024;

/// 0, 1 and 2 are open and no sockets.
const FIRST_FD: Fd = 3;

/// An open file description, by its place in the table.
pub(crate) type FileId = u32;

/// What a descriptor refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A UDP, ping or raw socket: `Sockets::dgrams`.
    Dgram(u32),
    /// `Tcp::socks`
    Tcp(u32),
    /// `Sockets::epolls`
    Epoll(u32),
}

/// `struct file`: what `dup` shares.
#[derive(Debug)]
pub(super) struct File {
    pub(super) kind: FileKind,
    /// Descriptors that refer to it.
    pub(super) refs: u32,
    /// `O_NONBLOCK`
    pub(super) nonblock: bool,
    pub(super) waits: WaitQueue,
}

/// A process's descriptors, shared by its threads.
#[derive(Debug)]
pub(super) struct FdTable {
    /// From descriptor 3 on.
    fds: Vec<Option<FileId>>,
    /// No place before this one is free (`next_fd`).
    first_free: usize,
    /// How many are open.
    open: usize,
    pub(super) limit: u32,
    /// Processes (threads) that have this table.
    pub(super) users: u32,
}

impl Default for FdTable {
    fn default() -> Self {
        FdTable { fds: Vec::new(), first_free: 0, open: 0, limit: NOFILE_DEFAULT, users: 1 }
    }
}

impl FdTable {
    /// The lowest free descriptor; `EMFILE` at the limit.
    fn install(&mut self, file: FileId) -> Result<Fd, Errno> {
        let taken = self.fds[self.first_free..].iter().position(Option::is_none);
        let at = taken.map_or(self.fds.len(), |n| self.first_free + n);
        let fd = Fd::try_from(at).ok().and_then(|at| at.checked_add(FIRST_FD)).ok_or(Errno::EMFILE)?;
        if i64::from(fd) >= i64::from(self.limit) {
            return Err(Errno::EMFILE);
        }
        if at == self.fds.len() {
            self.fds.push(None);
        }
        self.fds[at] = Some(file);
        self.open += 1;
        self.first_free = at + 1;
        Ok(fd)
    }

    /// Takes a descriptor out that is open.
    fn remove(&mut self, fd: Fd) {
        let at = usize::try_from(fd - FIRST_FD).expect("an open descriptor is one of these");
        self.open -= usize::from(self.fds[at].take().is_some());
        self.first_free = self.first_free.min(at);
    }

    pub(super) fn open_files(self) -> impl Iterator<Item = FileId> {
        self.fds.into_iter().flatten()
    }
}

impl Sockets {
    /// The file behind a descriptor: `EBADF`; `ENOTSOCK` for 0, 1 and 2, which are no sockets.
    pub(super) fn file_of(&self, pid: Pid, fd: Fd) -> Result<FileId, Errno> {
        if (0..FIRST_FD).contains(&fd) {
            return Err(Errno::ENOTSOCK);
        }
        let table = &self.fd_tables[self.process(pid).ok_or(Errno::ESRCH)?.fd_table];
        let at = usize::try_from(i64::from(fd) - i64::from(FIRST_FD)).map_err(|_| Errno::EBADF)?;
        table.fds.get(at).copied().flatten().ok_or(Errno::EBADF)
    }

    /// Whether a descriptor is free: `EMFILE` otherwise. `accept` reserves its own before it looks for a connection
    /// (socket.c `__sys_accept4_file`).
    pub(super) fn has_free_fd(&self, pid: Pid) -> Result<(), Errno> {
        let table = &self.fd_tables[self.process(pid).ok_or(Errno::ESRCH)?.fd_table];
        let room = i64::from(table.limit) - i64::from(FIRST_FD);
        if i64::try_from(table.open).is_ok_and(|open| open < room) { Ok(()) } else { Err(Errno::EMFILE) }
    }

    pub(super) fn install(&mut self, pid: Pid, file: FileId) -> Result<Fd, Errno> {
        let fd_table = self.process(pid).ok_or(Errno::ESRCH)?.fd_table;
        self.fd_tables[fd_table].install(file)
    }

    /// A new open file description with one reference that is still to be installed.
    pub(super) fn new_file(&mut self, kind: FileKind, nonblock: bool) -> FileId {
        self.files.insert(File { kind, refs: 1, nonblock, waits: WaitQueue::default() })
    }

    pub(super) fn dup(&mut self, pid: Pid, fd: Fd) -> Result<Fd, Errno> {
        let file = self.file_of(pid, fd).map_err(|_| Errno::EBADF)?;
        let new = self.install(pid, file)?;
        self.files[file].refs += 1;
        Ok(new)
    }
}

impl Stack {
    pub(super) fn sys_close(&mut self, now: Instant, pid: Pid, fd: Fd) -> Result<(), Errno> {
        if (0..FIRST_FD).contains(&fd) {
            return Ok(());
        }
        let file = self.sockets.file_of(pid, fd)?;
        let fd_table = self.sockets.process(pid).ok_or(Errno::ESRCH)?.fd_table;
        self.sockets.fd_tables[fd_table].remove(fd);
        self.put_file(now, file);
        Ok(())
    }

    /// Gives up one reference; the last one releases what is behind it.
    pub(super) fn put_file(&mut self, now: Instant, file: FileId) {
        let entry = &mut self.sockets.files[file];
        entry.refs -= 1;
        if entry.refs > 0 {
            return;
        }
        let kind = entry.kind;
        self.unwatch_file(file);
        match kind {
            FileKind::Dgram(sock) => self.dgram_release(now, sock),
            FileKind::Tcp(id) => self.tcp_release(now, id),
            FileKind::Epoll(epoll) => self.epoll_release(epoll),
        }
        // Threads that sleep in a call on it keep sleeping in Linux, too; here the retry finds EBADF.
        self.wake_file(file, PollEvents(u32::MAX));
        self.sockets.files.remove(file);
    }

    /// The socket behind a descriptor, for [`Stack::udp_send_to`] and [`Stack::udp_recv_from`].
    pub fn sock_of(&self, pid: Pid, fd: Fd) -> Result<SockId, Errno> {
        match self.sockets.files[self.sockets.file_of(pid, fd)?].kind {
            FileKind::Dgram(sock) => Ok(SockId(sock)),
            FileKind::Tcp(_) => Err(Errno::EOPNOTSUPP),
            FileKind::Epoll(_) => Err(Errno::ENOTSOCK),
        }
    }
}
