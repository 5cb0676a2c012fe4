//! `epoll`: level and edge triggered, one-shot, exclusive. Linux: fs/eventpoll.c `ep_poll_callback`, `ep_send_events`.

use std::collections::VecDeque;

use super::Pid;
use super::file::{FileId, FileKind};
use super::poll::timeout;
use super::slab::Slab;
use super::wait::Wait;
use crate::call::{EpollOp, Fd, PollEvents, Ret};
use crate::{Errno, Stack};

/// `EP_MAX_EVENTS`: what `epoll_wait` takes at most.
const MAX_EVENTS: u32 = i32::MAX as u32 / 12; // sizeof(struct epoll_event)

/// Bits that are no events.
const PRIVATE: u32 = PollEvents::ET.0 | PollEvents::ONESHOT.0 | PollEvents::EXCLUSIVE.0 | 1 << 29;

#[derive(Debug, Default)]
pub(super) struct Epoll {
    file: Option<FileId>,
    items: Slab<Item>,
    /// `rdllist`: items that may be ready, in the order in which they became so.
    ready: VecDeque<u32>,
}

#[derive(Debug)]
struct Item {
    file: FileId,
    fd: Fd,
    /// Only private bits left: disabled after a one-shot event.
    events: PollEvents,
    data: u64,
    in_ready: bool,
}

impl Stack {
    pub(super) fn sys_epoll_create(&mut self, pid: Pid) -> Result<Ret, Errno> {
        let epoll = self.sockets.epolls.insert(Epoll::default());
        let file = self.sockets.new_file(FileKind::Epoll(epoll), false);
        self.sockets.epolls[epoll].file = Some(file);
        match self.sockets.install(pid, file) {
            Ok(fd) => Ok(Ret::Fd(fd, None)),
            Err(errno) => {
                self.sockets.epolls.remove(epoll);
                self.sockets.files.remove(file);
                Err(errno)
            }
        }
    }

    fn epoll_of(&self, pid: Pid, epfd: Fd) -> Result<u32, Errno> {
        match self.sockets.files[self.sockets.file_of(pid, epfd).map_err(not_epoll)?].kind {
            FileKind::Epoll(epoll) => Ok(epoll),
            FileKind::Dgram(_) | FileKind::Tcp(_) => Err(Errno::EINVAL),
        }
    }

    pub(super) fn sys_epoll_ctl(
        &mut self,
        pid: Pid,
        epfd: Fd,
        op: EpollOp,
        fd: Fd,
        events: PollEvents,
        data: u64,
    ) -> Result<Ret, Errno> {
        let epoll = self.epoll_of(pid, epfd)?;
        let file =
            self.sockets.file_of(pid, fd).map_err(|e| if e == Errno::ENOTSOCK { Errno::EPERM } else { e })?;
        if matches!(self.sockets.files[file].kind, FileKind::Epoll(_)) {
            // Linux nests up to four deep; nothing here needs it.
            return Err(Errno::EINVAL);
        }
        if events.has(PollEvents::EXCLUSIVE) && op == EpollOp::Mod {
            return Err(Errno::EINVAL);
        }
        let found = self.sockets.epolls[epoll]
            .items
            .iter()
            .find(|(_, i)| i.file == file && i.fd == fd)
            .map(|(n, _)| n);
        // Errors and hang-ups are always reported.
        let events = events | PollEvents::ERR | PollEvents::HUP;
        match (op, found) {
            (EpollOp::Add, Some(_)) => return Err(Errno::EEXIST),
            (EpollOp::Del | EpollOp::Mod, None) => return Err(Errno::ENOENT),
            (EpollOp::Add, None) => {
                let item = Item { file, fd, events, data, in_ready: false };
                let item = self.sockets.epolls[epoll].items.insert(item);
                self.sockets.files[file].waits.watches.push((epoll, item));
                self.epoll_check(epoll, item);
            }
            (EpollOp::Mod, Some(item)) => {
                let entry = &mut self.sockets.epolls[epoll].items[item];
                (entry.events, entry.data) = (events, data);
                self.epoll_check(epoll, item);
            }
            (EpollOp::Del, Some(item)) => {
                let entry = &mut self.sockets.epolls[epoll];
                entry.items.remove(item);
                entry.ready.retain(|i| *i != item);
                self.sockets.files[file].waits.watches.retain(|w| *w != (epoll, item));
            }
        }
        Ok(Ret::Int(0))
    }

    /// Puts an item into the ready list when it is ready now.
    fn epoll_check(&mut self, epoll: u32, item: u32) {
        let entry = &self.sockets.epolls[epoll].items[item];
        if self.file_events(entry.file).0 & entry.events.0 & !PRIVATE != 0 {
            self.epoll_ready(epoll, item);
        }
    }

    fn epoll_ready(&mut self, epoll: u32, item: u32) {
        let entry = &mut self.sockets.epolls[epoll];
        if !entry.items[item].in_ready {
            entry.items[item].in_ready = true;
            entry.ready.push_back(item);
        }
        if let Some(file) = entry.file {
            self.wake_file(file, PollEvents::IN | PollEvents::RDNORM);
        }
    }

    /// `ep_poll_callback` for every epoll that watches the file; of the exclusive watches one.
    pub(super) fn epoll_news(&mut self, file: FileId, events: PollEvents) {
        let mut one_exclusive = false;
        for at in 0..self.sockets.files[file].waits.watches.len() {
            let (epoll, item) = self.sockets.files[file].waits.watches[at];
            let wanted = self.sockets.epolls[epoll].items[item].events;
            let exclusive = wanted.has(PollEvents::EXCLUSIVE);
            if wanted.0 & !PRIVATE & events.0 == 0 || (exclusive && one_exclusive) {
                continue;
            }
            one_exclusive |= exclusive;
            self.epoll_ready(epoll, item);
        }
    }

    /// An epoll is readable when an item is ready.
    pub(super) fn epoll_events(&self, epoll: u32) -> PollEvents {
        let epoll = &self.sockets.epolls[epoll];
        let ready = epoll.ready.iter().any(|item| {
            let item = &epoll.items[*item];
            self.file_events_of_socket(item.file).0 & item.events.0 & !PRIVATE != 0
        });
        if ready { PollEvents::IN | PollEvents::RDNORM } else { PollEvents(0) }
    }

    /// Items are never epolls themselves, so this does not recurse.
    fn file_events_of_socket(&self, file: FileId) -> PollEvents {
        match self.sockets.files[file].kind {
            FileKind::Dgram(_) | FileKind::Tcp(_) => self.file_events(file),
            FileKind::Epoll(_) => PollEvents(0),
        }
    }

    pub(super) fn sys_epoll_wait(
        &mut self,
        pid: Pid,
        epfd: Fd,
        max_events: u32,
        timeout_ms: i32,
    ) -> Result<Result<Ret, Wait>, Errno> {
        if max_events == 0 || max_events > MAX_EVENTS {
            return Err(Errno::EINVAL);
        }
        let epoll = self.epoll_of(pid, epfd)?;
        let mut events = Vec::new();
        for _ in 0..self.sockets.epolls[epoll].ready.len() {
            if events.len() >= max_events as usize {
                break;
            }
            let item = self.sockets.epolls[epoll].ready.pop_front().expect("its length was taken");
            let entry = &self.sockets.epolls[epoll].items[item];
            let bits = PollEvents(self.file_events(entry.file).0 & entry.events.0 & !PRIVATE);
            let entry = &mut self.sockets.epolls[epoll].items[item];
            entry.in_ready = false;
            if bits.0 == 0 {
                continue;
            }
            events.push((bits, entry.data));
            if entry.events.has(PollEvents::ONESHOT) {
                entry.events = PollEvents(entry.events.0 & PRIVATE);
            } else if !entry.events.has(PollEvents::ET) {
                // Level triggered: stays in the list, to be looked at again next time.
                entry.in_ready = true;
                self.sockets.epolls[epoll].ready.push_back(item);
            }
        }
        if !events.is_empty() || timeout_ms == 0 {
            return Ok(Ok(Ret::Epoll(events)));
        }
        let file = self.sockets.file_of(pid, epfd)?;
        let on = vec![(file, PollEvents::IN, true)];
        Ok(Err(Wait { on, timeout: timeout(timeout_ms), over: Ok(Ret::Epoll(Vec::new())) }))
    }

    /// The file goes away: no epoll watches it any more (`eventpoll_release`).
    pub(super) fn unwatch_file(&mut self, file: FileId) {
        for (epoll, item) in core::mem::take(&mut self.sockets.files[file].waits.watches) {
            let entry = &mut self.sockets.epolls[epoll];
            entry.items.remove(item);
            entry.ready.retain(|i| *i != item);
        }
    }

    pub(super) fn epoll_release(&mut self, epoll: u32) {
        let gone = self.sockets.epolls.remove(epoll).expect("its file held it");
        for (item, entry) in gone.items.iter() {
            self.sockets.files[entry.file].waits.watches.retain(|w| *w != (epoll, item));
        }
    }
}

/// `epoll_ctl` on something that is no epoll.
fn not_epoll(errno: Errno) -> Errno {
    if errno == Errno::ENOTSOCK { Errno::EINVAL } else { errno }
}
