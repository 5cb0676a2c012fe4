//! Files and pipes of a script's process: what `sendfile` and `splice` move between, as far as scripts use them.
//!
//! The stack has sockets only; a file here is bytes in memory, a pipe a queue of bytes. Descriptors begin far above
//! the stack's own.

use std::collections::{BTreeMap, VecDeque};

use stack::Errno;
use stack::call::{Call, Data, Fd, MsgFlags, Outcome, PollEvents, Ret};
use stack::socket::Pid;

use super::StackTarget;
use crate::target::{Answer, Request};

/// The first descriptor of files and pipes.
const FIRST: Fd = 10_000;
/// `PIPE_DEF_BUFFERS` pages.
const PIPE_SIZE: usize = 16 * 4096;

/// A descriptor that is no socket.
#[derive(Debug)]
enum Open {
    File(String),
    PipeRead(usize),
    PipeWrite(usize),
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Content by path.
    pub(crate) content: BTreeMap<String, Vec<u8>>,
    open: BTreeMap<Fd, Open>,
    pipes: Vec<VecDeque<u8>>,
    next: Fd,
}

impl Files {
    fn add(&mut self, what: Open) -> Fd {
        self.next += 1;
        self.open.insert(FIRST + self.next, what);
        FIRST + self.next
    }

    /// The call reads from a pipe or writes into one.
    pub(super) fn has(&self, call: &Call) -> bool {
        match call {
            Call::Read { fd, .. } => matches!(self.open.get(fd), Some(Open::PipeRead(_))),
            Call::Write { fd, .. } => matches!(self.open.get(fd), Some(Open::PipeWrite(_))),
            _ => false,
        }
    }

    /// That call (pipe(7)); `None` when it sleeps.
    pub(super) fn call(&mut self, call: &Call) -> Option<Answer> {
        match call {
            Call::Read { fd, len } => {
                let Some(Open::PipeRead(n)) = self.open.get(fd) else { return failed(Errno::EBADF) };
                let writer = self.open.values().any(|o| matches!(o, Open::PipeWrite(w) if w == n));
                let pipe = &mut self.pipes[*n];
                if pipe.is_empty() && writer {
                    return None;
                }
                let taken = (*len).min(pipe.len());
                pipe.drain(..taken);
                Some(int(taken))
            }
            Call::Write { fd, data } => {
                let Some(Open::PipeWrite(n)) = self.open.get(fd) else { return failed(Errno::EBADF) };
                let pipe = &mut self.pipes[*n];
                let taken = data.len().min(PIPE_SIZE - pipe.len());
                if taken == 0 && !data.is_empty() {
                    return None;
                }
                match data {
                    Data::Literal(bytes) => pipe.extend(bytes.iter().take(taken)),
                    _ => pipe.extend(std::iter::repeat_n(0, taken)),
                }
                Some(int(taken))
            }
            _ => None,
        }
    }

    /// Closes a descriptor that is one of these.
    pub(super) fn close(&mut self, fd: Fd) -> bool {
        self.open.remove(&fd).is_some()
    }
}

fn failed(errno: Errno) -> Option<Answer> {
    Some(Answer::Done(Err(errno)))
}

fn int(n: usize) -> Answer {
    Answer::Done(Ok(Ret::Int(i64::try_from(n).unwrap_or(i64::MAX))))
}

impl StackTarget {
    /// Requests beside calls on sockets; `None` when the thread sleeps.
    pub(super) fn file_request(&mut self, pid: Pid, request: &Request) -> Option<Answer> {
        match request {
            Request::Call(_) => None,
            Request::Open { path, .. } => {
                if !self.files.content.contains_key(path) {
                    return failed(Errno::ENOENT);
                }
                let fd = self.files.add(Open::File(path.clone()));
                Some(Answer::Done(Ok(Ret::Fd(fd, None))))
            }
            Request::Pipe => {
                self.files.pipes.push(VecDeque::new());
                let n = self.files.pipes.len() - 1;
                let (read, write) = (self.files.add(Open::PipeRead(n)), self.files.add(Open::PipeWrite(n)));
                Some(Answer::Pipe(read, write))
            }
            Request::SendFile { out, input, offset, len } => self.send_file(pid, *out, *input, *offset, *len),
            Request::Splice { input, out, len, flags } => self.splice(pid, *input, *out, *len, *flags),
            Request::CapSet { .. } => {
                Some(Answer::Unsupported("capabilities: the stack's processes have all".into()))
            }
        }
    }

    fn send_file(&mut self, pid: Pid, out: Fd, input: Fd, offset: i64, len: usize) -> Option<Answer> {
        let Some(Open::File(path)) = self.files.open.get(&input) else { return failed(Errno::EBADF) };
        let content = self.files.content.get(path).cloned().unwrap_or_default();
        let Ok(offset) = usize::try_from(offset) else { return failed(Errno::EINVAL) };
        let start = offset.min(content.len());
        let bytes = content[start..].iter().copied().take(len).collect::<Vec<u8>>();
        if bytes.is_empty() {
            return Some(int(0));
        }
        let call = Call::Send { fd: out, data: Data::Literal(bytes.into()), flags: MsgFlags(0) };
        match self.stack.call(self.now, pid, &call) {
            Outcome::Done(result) => Some(Answer::Done(result)),
            Outcome::Block { .. } => None,
        }
    }

    /// The next byte is the urgent one: nothing before it, and no wait for more (tcp.c `tcp_splice_read`).
    fn stands_before_urgent(&mut self, pid: Pid, fd: Fd) -> bool {
        let inq = Call::IoctlInq { fd };
        let none = matches!(self.stack.call(self.now, pid, &inq), Outcome::Done(Ok(Ret::Int(0))));
        let poll = Call::Poll { fds: vec![(fd, PollEvents::PRI)], timeout_ms: 0 };
        let urgent = self.stack.call(self.now, pid, &poll);
        none && matches!(urgent, Outcome::Done(Ok(ret)) if ret.value() == 1)
    }

    fn splice(&mut self, pid: Pid, input: Fd, out: Fd, len: usize, flags: u32) -> Option<Answer> {
        let at_once = if flags & 2 == 0 { MsgFlags(0) } else { MsgFlags::DONTWAIT };
        match (self.files.open.get(&input), self.files.open.get(&out)) {
            // From a socket into a pipe: what is there, up to the pipe's room.
            (None, Some(Open::PipeWrite(n))) => {
                let n = *n;
                let room = PIPE_SIZE - self.files.pipes[n].len().min(PIPE_SIZE);
                if self.stands_before_urgent(pid, input) {
                    return Some(int(0));
                }
                let call = Call::Recv { fd: input, len: len.min(room), flags: at_once };
                match self.stack.call(self.now, pid, &call) {
                    Outcome::Done(Ok(Ret::Data { data, .. })) => {
                        self.files.pipes[n].extend(data.iter());
                        Some(int(data.len()))
                    }
                    Outcome::Done(result) => Some(Answer::Done(result)),
                    Outcome::Block { .. } => None,
                }
            }
            // From a pipe into a socket: more will come while the pipe has more.
            (Some(Open::PipeRead(n)), None) => {
                let n = *n;
                let bytes: Vec<u8> = self.files.pipes[n].iter().copied().take(len).collect();
                if bytes.is_empty() {
                    return failed(Errno::EAGAIN);
                }
                let more = if flags & 4 == 0 { MsgFlags(0) } else { MsgFlags::MORE };
                let flags = at_once | more;
                let call = Call::Send { fd: out, data: Data::Literal(bytes.into()), flags };
                match self.stack.call(self.now, pid, &call) {
                    Outcome::Done(Ok(ret)) => {
                        let sent = usize::try_from(ret.value()).unwrap_or(0);
                        self.files.pipes[n].drain(..sent);
                        Some(Answer::Done(Ok(ret)))
                    }
                    Outcome::Done(result) => Some(Answer::Done(result)),
                    Outcome::Block { .. } => None,
                }
            }
            _ => Some(Answer::Unsupported("splice between these descriptors".into())),
        }
    }
}
