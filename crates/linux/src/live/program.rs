//! What runs on a host: programs that make calls in a process of their own, and commands.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use sim::{Action, Event, Program};
use stack::call::CallResult;
use stack::call::text::{decode_result, encode_call, result_text};
use stack::record::What;
use wire::Instant;

use super::admin::{self, Step};
use super::{ExecOutput, LiveBody, LiveProgram};
use crate::agent::program::{CALL, EXIT, READY};
use crate::agent_handle::{Agent, Streams};
use crate::error::LinuxError;
use crate::protocol::Request;
use crate::sys;

/// The longest answer of a program's process: 16 MiB of data in escapes.
const MAX_LINE: usize = 80 << 20;

/// How long a process may take to be there.
const START_TIME: Duration = Duration::from_secs(5);

/// One program.
pub(super) struct Running {
    pub(super) name: String,
    pub(super) start: Instant,
    /// Its place among the programs of all hosts.
    pub(super) order: u32,
    pub(super) state: State,
    /// `None` for a command.
    pub(super) program: Option<Box<dyn Program>>,
    command: Option<(Vec<String>, Duration)>,
    pub(super) exec: Option<ExecOutput>,
    /// The socket of its process.
    pub(super) socket: Option<OwnedFd>,
    /// Its process may have said something.
    pub(super) ready: bool,
    /// What the process said so far of its next line.
    line: Vec<u8>,
    /// Calls it made.
    seq: u32,
    /// What the agent knows it by, once it has started.
    pub(super) id: Option<u64>,
    /// Its process, by the number it has in our namespace.
    pid: Option<libc::pid_t>,
}

/// What a program waits for.
pub(super) enum State {
    /// Its start.
    NotStarted,
    /// A system call.
    Calling { text: String, since: Instant },
    /// A sleep's end.
    Sleeping(Instant),
    /// An `ip` command.
    Admin { step: Step, streams: Option<Streams> },
    /// A command's end, or its time limit.
    Command { streams: Streams, deadline: Instant },
    /// Nothing. The exit status, when there is one.
    Done(Option<i32>),
}

/// What an answer of a program's process says.
pub(super) struct Returned {
    pub(super) enter_ns: u64,
    pub(super) leave_ns: u64,
    pub(super) result: CallResult,
}

impl Running {
    pub(super) fn new(program: LiveProgram) -> Running {
        let (program_body, command) = match program.body {
            LiveBody::Calls(p) => (Some(p), None),
            LiveBody::Exec { argv, timeout } => (None, Some((argv, timeout))),
        };
        Running {
            name: program.name,
            start: program.start,
            order: program.order,
            pid: None,
            state: State::NotStarted,
            program: program_body,
            command,
            exec: None,
            socket: None,
            ready: false,
            line: Vec::new(),
            seq: 0,
            id: None,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    /// When it must be looked at although nothing happened.
    pub(super) fn wake(&self) -> Option<Instant> {
        match &self.state {
            State::NotStarted => Some(self.start),
            State::Sleeping(until) => Some(*until),
            State::Command { deadline, .. } => Some(*deadline),
            State::Calling { .. } | State::Admin { .. } | State::Done(_) => None,
        }
    }

    /// Whether it waits for somebody else, for a time or for nothing any more: others may go on.
    pub(super) fn is_blocked(&self) -> bool {
        match &self.state {
            State::NotStarted | State::Sleeping(_) | State::Command { .. } | State::Done(_) => true,
            State::Admin { .. } => false,
            // Asleep, and not for us: it has the call, and has not answered.
            State::Calling { .. } => self.socket.as_ref().is_none_or(|socket| {
                sys::all_was_read(socket)
                    && self.pid.and_then(sys::sleeps) == Some(true)
                    && !sys::is_readable(socket)
            }),
        }
    }

    /// Makes the process of a program, before its start, so that its first call is not late by a `fork`. `Some`
    /// is the number that its end will be told with.
    pub(super) fn prepare(&mut self, agent: &mut Agent) -> Result<Option<u64>, LinuxError> {
        if self.program.is_none() || self.id.is_some() {
            return Ok(None);
        }
        let id = agent.id();
        let (ours, theirs) = sys::socketpair(libc::SOCK_STREAM).map_err(LinuxError::io("socketpair"))?;
        sys::ask_for_pids(&ours).map_err(LinuxError::io("SO_PASSCRED"))?;
        agent.ask(&Request::Program { id }, &[theirs.as_raw_fd()])?;
        // Ours is the only copy left here, so that the end of the process is the end of the connection.
        drop(theirs);
        self.id = Some(id);
        let mut said = [0; READY.len()];
        let mut fds = [sys::wait_for_input(&ours)];
        sys::ppoll(&mut fds, Some(START_TIME)).map_err(LinuxError::io("ppoll"))?;
        let (len, pid) = sys::recv_with_pid(ours.as_raw_fd(), &mut said)
            .map_err(LinuxError::io(format!("program {}: its process does not start", self.name)))?;
        assert!(said[..len] == *READY, "an agent of another version");
        self.socket = Some(ours);
        self.pid = pid;
        Ok(Some(id))
    }

    /// Its start has come. The event for a program; a command is begun, and its end will be told with the number.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        agent: &mut Agent,
    ) -> Result<(Option<Event>, Option<u64>), LinuxError> {
        if let Some((argv, timeout)) = self.command.take() {
            let id = agent.id();
            let streams = agent.spawn(id, &argv, &[])?;
            self.id = Some(id);
            self.state = State::Command { streams, deadline: now + timeout };
            return Ok((None, Some(id)));
        }
        let id = self.prepare(agent)?;
        Ok((Some(Event::Start), id))
    }

    /// Lets the program say what it does next, and begins that. Records what is to be recorded now.
    pub(super) fn resume(
        &mut self,
        now: Instant,
        event: Event,
        agent: &mut Agent,
        records: &mut Vec<What>,
    ) -> Result<Option<u64>, LinuxError> {
        let mut event = event;
        loop {
            let program = self.program.as_mut().expect("commands are not resumed");
            match program.resume(now, event) {
                Action::Call(call) => {
                    self.seq += 1;
                    self.say(&format!("{CALL}{}\n", encode_call(&call)))?;
                    self.state = State::Calling { text: call.brief(), since: now };
                    return Ok(None);
                }
                Action::SleepUntil(until) if until <= now => event = Event::Woke,
                Action::SleepUntil(until) => {
                    self.state = State::Sleeping(until);
                    return Ok(None);
                }
                Action::Admin(command) => {
                    let step = admin::step(&command);
                    let id = agent.id();
                    records.push(What::Admin { text: command.to_string() });
                    let streams = match (&step, admin::argv(&step)) {
                        (Step::Sysctl(name, value), _) => {
                            let (name, value) = (name.clone(), value.clone());
                            agent.ask(&Request::Sysctl { id, name, value }, &[])?;
                            None
                        }
                        (_, Some((argv, stdin))) => Some(agent.spawn(id, &argv, stdin.as_bytes())?),
                        (_, None) => unreachable!("only sysctls have no command"),
                    };
                    self.state = State::Admin { step, streams };
                    return Ok(Some(id));
                }
                Action::Exit(status) => {
                    self.say(&format!("{EXIT}{status}\n"))?;
                    self.socket = None;
                    self.state = State::Done(Some(status));
                    return Ok(None);
                }
            }
        }
    }

    fn say(&self, line: &str) -> Result<(), LinuxError> {
        let socket = self.socket.as_ref().expect("a program that runs has a process");
        sys::write_all(socket.as_raw_fd(), line.as_bytes())
            .map_err(LinuxError::io(format!("program {}: its process", self.name)))
    }

    /// Reads what its process said; `Some` when a call has returned. The process is gone at `Err(UnexpectedEof)`.
    pub(super) fn read(&mut self) -> std::io::Result<Option<Returned>> {
        use std::io::{Error, ErrorKind};
        let Some(socket) = &self.socket else { return Ok(None) };
        let mut buf = [0; 64 * 1024];
        match sys::recv_now(socket.as_raw_fd(), &mut buf) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => self.line.extend_from_slice(&buf[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(e) => return Err(e),
        }
        if self.line.last() != Some(&b'\n') {
            return if self.line.len() > MAX_LINE { Err(ErrorKind::FileTooLarge.into()) } else { Ok(None) };
        }
        let line = String::from_utf8(std::mem::take(&mut self.line)).map_err(|_| ErrorKind::InvalidData)?;
        parse(line.trim_end()).map(Some).ok_or_else(|| Error::new(ErrorKind::InvalidData, line))
    }

    /// A call returned: its two records with their times, and the event for the program.
    pub(super) fn returned(&mut self, index: u32, returned: CallResult) -> (What, What, Event) {
        let text = match &mut self.state {
            State::Calling { text, .. } => std::mem::take(text),
            _ => String::new(),
        };
        let unexpected = self.program.as_mut().and_then(|p| p.check(&returned));
        let seq = self.seq;
        let call = What::Call { program: index, seq, text };
        let ret = What::Return { program: index, seq, text: result_text(&returned), unexpected };
        (call, ret, Event::Returned(returned))
    }

    /// The call that it did not return from, and when it was sent to make it.
    pub(super) fn unfinished(&self, index: u32) -> Option<(Instant, What)> {
        match &self.state {
            State::Calling { text, since } => {
                Some((*since, What::Call { program: index, seq: self.seq, text: text.clone() }))
            }
            _ => None,
        }
    }
}

/// `ENTER LEAVE RESULT`
fn parse(line: &str) -> Option<Returned> {
    let mut parts = line.splitn(3, ' ');
    let enter_ns = parts.next()?.parse().ok()?;
    let leave_ns = parts.next()?.parse().ok()?;
    let result = decode_result(parts.next()?).ok()?;
    Some(Returned { enter_ns, leave_ns, result })
}
