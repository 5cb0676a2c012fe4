//! Processes that are driven from outside the world: an event loop with its own programs (crate `net`) makes their
//! calls, hears of news, and moves the clock between events.

use stack::call::{Call, CallResult, Fd, Outcome, PollEvents};
use stack::record::{NodeId, What};
use stack::socket::Pid;
use stack::{Errno, Stack};
use wire::Instant;

use super::World;

/// A process of a host whose calls come from outside ([`World::open_process`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its host.
    pub node: NodeId,
    /// Its number there, for [`World::with_stack`].
    pub pid: Pid,
    /// Its number among the host's programs, as records have it.
    pub index: u32,
}

/// Something happened to a descriptor that is observed ([`World::observe`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// The host.
    pub node: NodeId,
    /// The number that the observer gave.
    pub token: u64,
    /// What happened; a hint.
    pub events: PollEvents,
}

impl World {
    /// A new process of `node` whose calls come from outside. It does not count for [`World::all_programs_done`].
    /// Panics when the node is no host of ours.
    pub fn open_process(&mut self, node: NodeId, name: &str) -> Process {
        let pid = self.host_mut(node).stack.spawn();
        let names = &mut self.wires.journal.nodes[node.0 as usize].programs;
        names.push(name.into());
        let index = u32::try_from(names.len() - 1).expect("fewer than 2^32 programs");
        Process { node, pid, index }
    }

    /// The name that such a process was opened with, as the journal has it.
    pub fn process_name(&self, process: Process) -> &str {
        &self.wires.journal.nodes[process.node.0 as usize].programs[process.index as usize]
    }

    /// What the process does is told by what it prints: readers may leave its calls out.
    pub fn fold_calls(&mut self, process: Process) {
        self.wires.journal.nodes[process.node.0 as usize].folded.push(process.index);
    }

    /// Makes a call of such a process, and carries out what comes of it. A call on a blocking descriptor may have
    /// to be tried again when [`World::poll_news`] tells something.
    pub fn process_call(&mut self, process: Process, call: &Call) -> Outcome {
        self.with_process(process, |stack, now| stack.call(now, process.pid, call))
    }

    /// Makes calls of such a process by other ways than [`Call`].
    #[inline]
    pub fn with_process<R>(&mut self, process: Process, f: impl FnOnce(&mut Stack, Instant) -> R) -> R {
        let result = self.with_stack(process.node, f);
        self.tell_carrier();
        result
    }

    /// Asks for news about a descriptor under this token. `EBADF`, `ENOTSOCK`.
    pub fn observe(&mut self, process: Process, fd: Fd, token: u64) -> Result<(), Errno> {
        self.host_mut(process.node).stack.observe(process.pid, fd, token)
    }

    /// The next news about an observed descriptor.
    #[inline]
    pub fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// The process ends, as by SIGKILL: its descriptors are closed.
    pub fn close_process(&mut self, process: Process) {
        self.with_process(process, |stack, now| stack.exit(now, process.pid));
    }

    /// Writes a call of such a process into the journal; `seq` pairs it with its return.
    pub fn note_call(&mut self, process: Process, seq: u32, call: &Call) {
        let program = process.index;
        self.wires.record(process.node, || What::Call { program, seq, text: call.brief() });
    }

    /// Takes the last call back out of the journal: it would have blocked, and is tried again later. Nothing else
    /// may have been recorded since.
    pub fn unnote_call(&mut self, process: Process, seq: u32) {
        let records = &mut self.wires.journal.records;
        let last = records.iter().rposition(|record| {
            let call = |what: &What| matches!(what, What::Call { program, seq: s, .. } if *program == process.index && *s == seq);
            record.node == process.node && call(&record.what)
        });
        if let Some(at) = last {
            records.remove(at);
        }
    }

    /// Writes the result of a call of such a process into the journal.
    pub fn note_return(&mut self, process: Process, seq: u32, result: &CallResult) {
        let program = process.index;
        self.wires.record(process.node, || {
            let text = stack::call::text::result_text(result);
            What::Return { program, seq, text, unexpected: None }
        });
    }

    /// Whether anything is written into the journal.
    pub fn is_recording(&self) -> bool {
        self.wires.recording
    }

    /// Does the next thing, if it is to happen by `until`, and says when that was.
    #[inline]
    pub fn step_until(&mut self, until: Instant) -> Option<Instant> {
        let (key, due) = self.next_live().filter(|(key, _)| key.at <= until)?;
        self.happen(key, due);
        Some(key.at)
    }

    /// The clock moves on and nothing happens. Panics when something would have happened before `to`.
    pub fn pass_time(&mut self, to: Instant) {
        assert!(self.next_event().is_none_or(|at| at >= to), "an event before {to} was passed over");
        self.wires.now = self.wires.now.max(to);
    }
}
