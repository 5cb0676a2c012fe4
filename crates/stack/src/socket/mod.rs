//! Processes, descriptors, sockets: what system calls act on. Linux: net/socket.c, net/core/sock.c,
//! net/ipv4/af_inet.c, fs/file.c, fs/select.c, fs/eventpoll.c.
//!
//! ```text
//! Process ──▶ FdTable (shared by threads) ──▶ File (open file description) ──▶ Dgram (UDP, ping, raw)
//!                                                │ WaitQueue                ├─▶ TcpSock
//!                                                │                          └─▶ Epoll
//!                                                ▼
//!                                             sleeping processes, epoll watches
//! ```
//!
//! Everything is an id into a table of [`Sockets`]; a host without processes owns no heap memory here.
//! `calls` sequences a system call: try it, or put the process to sleep. A transport that has news calls
//! `wake_file`.

mod calls;
mod epoll;
mod error_queue;
mod file;
mod memberships;
mod memory;
pub mod options;
mod poll;
mod set_ip;
mod set_socket;
mod set_tcp;
pub(crate) mod slab;
pub(crate) mod sock;
mod ss;
mod stream;
#[cfg(test)]
pub(crate) mod test_net;
#[cfg(test)]
mod tests;
mod wait;

use wire::Instant;

use crate::Stack;
use crate::rng::Rng;
use crate::udp::ports::PortTable;
use epoll::Epoll;
pub(crate) use error_queue::{
    ICMP as ORIGIN_ICMP, ICMP6 as ORIGIN_ICMP6, LOCAL as ORIGIN_LOCAL, QueuedError,
    TIMESTAMPING as ORIGIN_TIMESTAMPING, ZEROCOPY as ORIGIN_ZEROCOPY,
};
pub use file::NOFILE_DEFAULT;
use file::{FdTable, File};

pub(crate) use memberships::Membership;
pub(crate) use memory::{
    PAGE_PAYLOAD, SKB_OVERHEAD, SKB_SHARED, SKB_STRUCT, SkbHead, SkbMemory, truesize, truesize_fragments,
    truesize_received,
};
use slab::Slab;
pub(crate) use sock::{Dgram, DgramKind, Received};
pub use ss::SsQuery;
pub(crate) use ss::ss_addrs;
use wait::Sleep;

/// A process of the host (a thread has its own, see [`Stack::fork_thread`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub u32);

/// A socket of the host, for calls that do without a descriptor ([`Stack::udp_send_to`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SockId(pub(crate) u32);

/// What happens to a sleeping call later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimerEvent {
    /// The sleep of this process is over (`SO_RCVTIMEO`, `poll`'s timeout).
    SleepOver(Pid),
}

#[derive(Debug)]
struct Process {
    fd_table: u32,
    sleep: Option<Box<Sleep>>,
    /// Of the call that it sleeps in.
    progress: stream::Progress,
}

/// All sockets, files and processes of a host.
#[derive(Debug)]
pub struct Sockets {
    /// By pid; numbers are not used again.
    processes: Vec<Option<Process>>,
    fd_tables: Slab<FdTable>,
    files: Slab<File>,
    epolls: Slab<Epoll>,
    pub(crate) dgrams: Slab<Box<Dgram>>,
    pub(crate) udp_ports: PortTable,
    /// Raw sockets, in the order in which they were made.
    pub(crate) raws: Vec<u32>,
    /// Ping sockets that have an identifier.
    pub(crate) pings: Vec<u32>,
    /// `ping_port_rover`
    pub(crate) ping_rover: u16,
    /// Numbers sockets in records.
    next_serial: u32,
    pub(crate) rng: Rng,
}

impl Sockets {
    pub(crate) fn new(rng: &Rng) -> Sockets {
        Sockets {
            processes: Vec::new(),
            fd_tables: Slab::default(),
            files: Slab::default(),
            epolls: Slab::default(),
            dgrams: Slab::default(),
            udp_ports: PortTable::default(),
            raws: Vec::new(),
            pings: Vec::new(),
            ping_rover: 0,
            next_serial: 0,
            rng: rng.fork("sockets"),
        }
    }

    /// The number that a new socket has in records.
    pub(crate) fn serial(&mut self) -> u32 {
        self.next_serial += 1;
        self.next_serial
    }
}

impl Stack {
    /// A new process without open descriptors but 0, 1 and 2 (so that its first socket is 3).
    pub fn spawn(&mut self) -> Pid {
        let fd_table = self.sockets.fd_tables.insert(FdTable::default());
        self.sockets.add_process(fd_table)
    }

    /// A thread of the process: it shares the descriptors and can sleep in a call of its own.
    /// A process that has ended gives a new one without descriptors.
    pub fn fork_thread(&mut self, pid: Pid) -> Pid {
        let Some(fd_table) = self.sockets.process(pid).map(|p| p.fd_table) else { return self.spawn() };
        self.sockets.fd_tables[fd_table].users += 1;
        self.sockets.add_process(fd_table)
    }

    /// The process (or thread) ends, as by SIGKILL; with the last thread every descriptor is closed.
    pub fn exit(&mut self, now: Instant, pid: Pid) {
        self.forget_sleep(pid);
        let Some(process) = self.sockets.processes.get_mut(pid.0 as usize).and_then(Option::take) else {
            return;
        };
        let table = &mut self.sockets.fd_tables[process.fd_table];
        table.users -= 1;
        if table.users == 0 {
            let table = self.sockets.fd_tables.remove(process.fd_table).expect("the process held it");
            // Linux puts each file off to a task work, and runs those in the order last in, first out (kernel/task_work.c
            // `task_work_run`): the highest descriptor's socket is the first to close.
            let files: Vec<_> = table.open_files().collect();
            for file in files.into_iter().rev() {
                self.put_file(now, file);
            }
        }
        self.run_loopback(now);
    }

    /// `RLIMIT_NOFILE`: the process can have descriptors below `limit` (default [`NOFILE_DEFAULT`]).
    pub fn set_nofile(&mut self, pid: Pid, limit: u32) {
        if let Some(fd_table) = self.sockets.process(pid).map(|p| p.fd_table) {
            self.sockets.fd_tables[fd_table].limit = limit;
        }
    }
}

impl Sockets {
    fn add_process(&mut self, fd_table: u32) -> Pid {
        self.processes.push(Some(Process { fd_table, sleep: None, progress: stream::Progress::default() }));
        Pid(u32::try_from(self.processes.len() - 1).expect("fewer than 2^32 processes"))
    }

    /// There is no raw socket that would want a copy.
    #[inline]
    pub(crate) fn has_no_raw(&self) -> bool {
        self.raws.is_empty()
    }

    fn process(&self, pid: Pid) -> Option<&Process> {
        self.processes.get(pid.0 as usize)?.as_ref()
    }

    /// Takes what a call of this process has done before it slept.
    fn progress(&mut self, pid: Pid) -> stream::Progress {
        self.process_mut(pid).map(|p| core::mem::take(&mut p.progress)).unwrap_or_default()
    }

    fn set_progress(&mut self, pid: Pid, progress: stream::Progress) {
        if let Some(process) = self.process_mut(pid) {
            process.progress = progress;
        }
    }

    fn process_mut(&mut self, pid: Pid) -> Option<&mut Process> {
        self.processes.get_mut(pid.0 as usize)?.as_mut()
    }
}
