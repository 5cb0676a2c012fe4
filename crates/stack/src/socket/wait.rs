//! Sleeping in a call and being woken. Linux: kernel/sched/wait.c, net/core/sock.c `sock_def_readable`.
//!
//! A process that sleeps stands in the wait queues of the files it waits for. A wake-up puts it into the outbox
//! once; the driver then tries the same call again, which either returns or sleeps again until the same deadline.

use core::mem::Discriminant;

use wire::Instant;

use super::file::FileId;
use super::{Pid, TimerEvent};
use crate::call::{Call, CallResult, Fd, PollEvents};
use crate::timer::TimerId;
use crate::{Errno, Stack, TimerKey};

/// Who wants to know about a file (`wait_queue_head_t`).
#[derive(Debug, Default)]
pub(super) struct WaitQueue {
    sleepers: Vec<Sleeper>,
    /// Epoll and the number of its item.
    pub(super) watches: Vec<(u32, u32)>,
    /// Somebody outside wants to hear of everything ([`Stack::observe`]).
    observer: Option<u64>,
}

#[derive(Debug)]
struct Sleeper {
    pid: Pid,
    interest: PollEvents,
    /// `WQ_FLAG_EXCLUSIVE`: only one such sleeper is woken by one event.
    exclusive: bool,
}

/// A process that sleeps in a call.
#[derive(Debug)]
pub(super) struct Sleep {
    call: CallKey,
    deadline: Option<Instant>,
    timer: Option<TimerId>,
    files: Vec<FileId>,
    woken: bool,
}

/// Recognises a call that is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallKey(Discriminant<Call>, Fd);

impl CallKey {
    pub(super) fn of(call: &Call) -> CallKey {
        let fd = match call {
            Call::Accept { fd, .. }
            | Call::Connect { fd, .. }
            | Call::Read { fd, .. }
            | Call::Readv { fd, .. }
            | Call::Recv { fd, .. }
            | Call::RecvFrom { fd, .. }
            | Call::RecvMsg { fd, .. }
            | Call::Write { fd, .. }
            | Call::Writev { fd, .. }
            | Call::Send { fd, .. }
            | Call::SendTo { fd, .. }
            | Call::SendMsg { fd, .. }
            | Call::Close { fd } => *fd,
            Call::EpollWait { epfd, .. } => *epfd,
            // The others do not sleep, or (poll) on no single descriptor.
            _ => -1,
        };
        CallKey(core::mem::discriminant(call), fd)
    }
}

/// When a sleep ends by itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timeout {
    Never,
    /// A jiffies timer (`schedule_timeout`): `SO_RCVTIMEO`, `SO_SNDTIMEO`.
    Jiffies(core::time::Duration),
    /// A high-resolution timer: `poll`, `epoll_wait`.
    Exact(core::time::Duration),
}

/// A call that cannot go on now.
#[derive(Debug)]
pub(super) struct Wait {
    /// Files and the events to wait for; exclusively or not.
    pub(super) on: Vec<(FileId, PollEvents, bool)>,
    pub(super) timeout: Timeout,
    /// What the call returns when the time is over.
    pub(super) over: CallResult,
}

impl Stack {
    /// Ends the sleep of a process, if it sleeps: takes it off all queues. Returns its deadline when it slept in
    /// this call.
    pub(super) fn resume(&mut self, pid: Pid, call: CallKey) -> Option<Option<Instant>> {
        let sleep = self.forget_sleep(pid)?;
        (sleep.call == call).then_some(sleep.deadline)
    }

    pub(super) fn forget_sleep(&mut self, pid: Pid) -> Option<Box<Sleep>> {
        let sleep = self.sockets.process_mut(pid)?.sleep.take()?;
        for file in &sleep.files {
            if let Some(file) = self.sockets.files.get_mut(*file) {
                file.waits.sleepers.retain(|s| s.pid != pid);
            }
        }
        if let Some(timer) = sleep.timer {
            self.timers.cancel(timer);
        }
        if sleep.woken {
            // The driver comes before it took the wake-up: it must not come again for it.
            self.out.wakeups.retain(|p| *p != pid);
        }
        Some(sleep)
    }

    /// Puts the process to sleep. `deadline` is that of an earlier try of the same call.
    pub(super) fn sleep(
        &mut self,
        now: Instant,
        pid: Pid,
        call: CallKey,
        wait: &Wait,
        deadline: Option<Option<Instant>>,
    ) -> Option<Instant> {
        let deadline = deadline.unwrap_or_else(|| match wait.timeout {
            Timeout::Never => None,
            Timeout::Jiffies(delay) => Some(self.config.granularity.fire_at(now, delay)),
            Timeout::Exact(delay) => Some(now + delay),
        });
        let timer = deadline.map(|at| self.timers.arm(at, TimerKey::Socket(TimerEvent::SleepOver(pid))));
        let mut files = Vec::with_capacity(wait.on.len());
        for (file, interest, exclusive) in &wait.on {
            let sleeper = Sleeper { pid, interest: *interest, exclusive: *exclusive };
            self.sockets.files[*file].waits.sleepers.push(sleeper);
            files.push(*file);
        }
        let process = self.sockets.process_mut(pid).expect("it makes the call");
        process.sleep = Some(Box::new(Sleep { call, deadline, timer, files, woken: false }));
        deadline
    }

    /// News about a file (`__wake_up_sync_key`): all sleepers that care wake, of the exclusive ones one.
    #[inline]
    pub(crate) fn wake_file(&mut self, file: FileId, events: PollEvents) {
        let Some(entry) = self.sockets.files.get(file) else { return };
        if let Some(token) = entry.waits.observer {
            self.out.news.push_back((token, events));
        }
        if !entry.waits.sleepers.is_empty() || !entry.waits.watches.is_empty() {
            self.wake_waiting(file, events);
        }
    }

    fn wake_waiting(&mut self, file: FileId, events: PollEvents) {
        let mut one_woken = false;
        for at in 0..self.sockets.files[file].waits.sleepers.len() {
            let sleeper = &self.sockets.files[file].waits.sleepers[at];
            if !events.any(sleeper.interest) || (sleeper.exclusive && one_woken) {
                continue;
            }
            let (pid, exclusive) = (sleeper.pid, sleeper.exclusive);
            one_woken |= self.wake_process(pid) && exclusive;
        }
        self.epoll_news(file, events);
    }

    /// From now on [`Stack::poll_news`] tells, under this token, whatever would wake a process that sleeps on the
    /// descriptor: what an edge-triggered `epoll` does, for a driver that has its own event loop. It ends with
    /// the last descriptor of the file. `EBADF`, `ENOTSOCK`.
    pub fn observe(&mut self, pid: Pid, fd: Fd, token: u64) -> Result<(), Errno> {
        let file = self.sockets.file_of(pid, fd)?;
        self.sockets.files[file].waits.observer = Some(token);
        Ok(())
    }

    /// Puts a sleeping process into the outbox; false when it is there already.
    fn wake_process(&mut self, pid: Pid) -> bool {
        let Some(sleep) = self.sockets.process_mut(pid).and_then(|p| p.sleep.as_mut()) else { return false };
        if sleep.woken {
            return false;
        }
        sleep.woken = true;
        self.out.wakeups.push_back(pid);
        true
    }

    pub(crate) fn socket_timeout(&mut self, _now: Instant, event: TimerEvent) {
        match event {
            TimerEvent::SleepOver(pid) => {
                if let Some(sleep) = self.sockets.process_mut(pid).and_then(|p| p.sleep.as_mut()) {
                    sleep.timer = None;
                    self.wake_process(pid);
                }
            }
        }
    }
}
