//! The driver's side of one agent: starts it, asks it, ends it.
#![expect(unsafe_code, reason = "what happens between fork and exec")]

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::agent::AGENT_WORD;
use crate::error::LinuxError;
use crate::memfile::MemFile;
use crate::permission;
use crate::protocol::{self, Reply, Request, Role, WantIface};
use crate::sys::{self, CONTROL_FD};

/// Names the binary to start as agent instead of this one; it must call [`crate::agent_main`].
pub(crate) const AGENT_VARIABLE: &str = "WIRELAB_AGENT";

/// The binary that [`crate::testing::use_agent`] named.
static CHOSEN: OnceLock<OsString> = OnceLock::new();

/// See [`crate::testing::use_agent`].
pub(crate) fn choose_agent(binary: OsString) {
    let _ = CHOSEN.set(binary);
}

/// The one that was chosen, else the one the environment names, else this very binary.
fn agent_binary() -> OsString {
    let chosen = CHOSEN.get().cloned().or_else(|| std::env::var_os(AGENT_VARIABLE));
    chosen.unwrap_or_else(|| "/proc/self/exe".into())
}

/// How long an agent may take for anything that it does at once.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// How long it may take to end by itself.
const END_TIME: Duration = Duration::from_secs(2);

/// One agent: one host's namespaces.
pub(crate) struct Agent {
    pub(crate) host: String,
    child: Child,
    control: OwnedFd,
    next_id: u64,
}

/// What stands after [`Agent::setup`].
pub(crate) struct Namespace {
    /// The kernel's numbers of the interfaces, in order.
    pub(crate) ifindexes: Vec<u32>,
    pub(crate) taps: Vec<OwnedFd>,
    /// One for each TAP, or none at all.
    pub(crate) stamps: Vec<OwnedFd>,
    pub(crate) events: OwnedFd,
    pub(crate) dump: OwnedFd,
    pub(crate) counters: Vec<OwnedFd>,
}

/// The standard streams of a command.
pub(crate) struct Streams {
    stdin: MemFile,
    pub(crate) stdout: MemFile,
    pub(crate) stderr: MemFile,
}

impl Agent {
    /// Starts the process. It is killed when the calling thread ends.
    pub(crate) fn start(host: &str) -> Result<Agent, LinuxError> {
        let (ours, theirs) = sys::socketpair(libc::SOCK_SEQPACKET).map_err(LinuxError::io("socketpair"))?;
        let binary = agent_binary();
        let parent = std::process::id().cast_signed();
        let socket = theirs.as_raw_fd();
        let mut command = Command::new(&binary);
        command.arg(AGENT_WORD).stdin(Stdio::null()).stdout(Stdio::null());
        // SAFETY: only async-signal-safe system calls on plain integers.
        unsafe {
            command.pre_exec(move || {
                // Away from the terminal: Ctrl-C is for the driver, whose end is the agent's.
                libc::setsid();
                sys::check(libc::dup2(socket, CONTROL_FD))?;
                sys::die_with_parent();
                if libc::getppid() != parent {
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
                Ok(())
            });
        }
        let child = command
            .spawn()
            .map_err(LinuxError::io(format!("start {} as agent", binary.to_string_lossy())))?;
        Ok(Agent { host: host.to_owned(), child, control: ours, next_id: 1 })
    }

    pub(crate) fn control(&self) -> &OwnedFd {
        &self.control
    }

    /// A number for something asked; 0 is the setup.
    pub(crate) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Asks without waiting.
    pub(crate) fn ask(&self, request: &Request, fds: &[RawFd]) -> Result<(), LinuxError> {
        protocol::send(self.control.as_raw_fd(), request, fds).map_err(|e| self.died(&e.to_string()))
    }

    /// Takes an answer if there is one.
    pub(crate) fn poll_answer(&self) -> Result<Option<Reply>, LinuxError> {
        match protocol::receive(self.control.as_raw_fd(), true) {
            Ok(Some((reply, _))) => Ok(Some(reply)),
            Ok(None) => Err(self.died("it closed its control socket")),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(self.died(&e.to_string())),
        }
    }

    /// Waits for the next answer.
    fn answer(&self, limit: Duration) -> Result<(Reply, Vec<OwnedFd>), LinuxError> {
        let end = Instant::now() + limit;
        loop {
            let mut fds = [sys::wait_for_input(&self.control)];
            let left = end.saturating_duration_since(Instant::now());
            sys::ppoll(&mut fds, Some(left)).map_err(LinuxError::io("ppoll"))?;
            if fds[0].revents != 0 {
                return match protocol::receive(self.control.as_raw_fd(), false) {
                    Ok(Some(answer)) => Ok(answer),
                    Ok(None) => Err(self.died(
                        "it closed its control socket; the binary must call linux::agent_main() first in main \
                         (or WIRELAB_AGENT must name one that does)",
                    )),
                    Err(e) => Err(self.died(&e.to_string())),
                };
            }
            if left.is_zero() {
                return Err(self.died(&format!("no answer within {} s", limit.as_secs())));
            }
        }
    }

    fn died(&self, how: &str) -> LinuxError {
        LinuxError::AgentDied { host: self.host.clone(), how: how.to_owned() }
    }

    /// Asks for the namespace, interfaces and sysctls; [`Agent::finish_setup`] waits for them.
    pub(crate) fn begin_setup(
        &self,
        sysctls: &[(String, String)],
        ifaces: &[WantIface],
    ) -> Result<(), LinuxError> {
        let request = Request::Setup { sysctls: sysctls.to_vec(), ifaces: ifaces.to_vec() };
        match protocol::send(self.control.as_raw_fd(), &request, &[]) {
            // It may have failed already; finish_setup hears why.
            Err(e) if e.raw_os_error() == Some(libc::EPIPE) => Ok(()),
            other => other.map_err(|e| self.died(&e.to_string())),
        }
    }

    pub(crate) fn finish_setup(&self) -> Result<Namespace, LinuxError> {
        let (ifindexes, roles, fds) = match self.answer(ANSWER_TIME)? {
            (Reply::Ready { ifindexes, fds: roles }, fds) => (ifindexes, roles, fds),
            (Reply::Failed { what, errno, .. }, _) => {
                return Err(permission::explain(&self.host, &what, errno));
            }
            (other, _) => return Err(self.died(&format!("unexpected answer {other:?}"))),
        };
        let (mut taps, mut stamps, mut events, mut dump, mut counters) =
            (Vec::new(), Vec::new(), None, None, Vec::new());
        for (role, fd) in roles.into_iter().zip(fds) {
            match role {
                Role::Tap => taps.push(fd),
                Role::Stamps => stamps.push(fd),
                Role::Events => events = Some(fd),
                Role::Dump => dump = Some(fd),
                Role::Counters => counters.push(fd),
            }
        }
        match (events, dump) {
            (Some(events), Some(dump)) if taps.len() == ifindexes.len() => {
                Ok(Namespace { ifindexes, taps, stamps, events, dump, counters })
            }
            _ => Err(self.died("descriptors are missing from its answer")),
        }
    }

    /// Starts a command in the namespace; [`Reply::Exited`] or [`Reply::Failed`] with `id` follows.
    pub(crate) fn spawn(&self, id: u64, argv: &[String], stdin: &[u8]) -> Result<Streams, LinuxError> {
        let file = |content: &[u8]| MemFile::new(content).map_err(LinuxError::io("memfd_create"));
        let streams = Streams { stdin: file(stdin)?, stdout: file(&[])?, stderr: file(&[])? };
        let fds = [streams.stdin.raw(), streams.stdout.raw(), streams.stderr.raw()];
        self.ask(&Request::Spawn { id, argv: argv.to_vec() }, &fds)?;
        Ok(streams)
    }

    /// Runs a command to its end, before the world runs. The error is what it wrote to stderr.
    pub(crate) fn run(
        &mut self,
        argv: &[String],
        stdin: &[u8],
    ) -> Result<Result<String, String>, LinuxError> {
        let wanted = self.id();
        let streams = self.spawn(wanted, argv, stdin)?;
        loop {
            match self.answer(ANSWER_TIME)?.0 {
                Reply::Exited { id, code, .. } if id == wanted => {
                    return Ok(if code == Some(0) {
                        Ok(streams.stdout.text())
                    } else {
                        Err(streams.stderr.text())
                    });
                }
                Reply::Failed { id, what, errno } if id == wanted => {
                    return Err(permission::explain(&self.host, &what, errno));
                }
                Reply::Exited { .. } | Reply::Done { .. } | Reply::Failed { .. } | Reply::Ready { .. } => {}
            }
        }
    }

    /// Writes a sysctl, before the world runs.
    pub(crate) fn sysctl(&mut self, name: &str, value: &str) -> Result<(), LinuxError> {
        let wanted = self.id();
        self.ask(&Request::Sysctl { id: wanted, name: name.to_owned(), value: value.to_owned() }, &[])?;
        loop {
            match self.answer(ANSWER_TIME)?.0 {
                Reply::Done { id } if id == wanted => return Ok(()),
                Reply::Failed { id, what, errno } if id == wanted => {
                    return Err(permission::explain(&self.host, &what, errno));
                }
                Reply::Exited { .. } | Reply::Done { .. } | Reply::Failed { .. } | Reply::Ready { .. } => {}
            }
        }
    }

    /// Whether it ended, within a time.
    fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
    }
}

impl Drop for Agent {
    /// Closing the control socket ends process 1 of the namespace, and with it all that is in there.
    fn drop(&mut self) {
        // SAFETY: shuts our own socket down; the descriptor stays ours until the field is dropped.
        unsafe { libc::shutdown(self.control.as_raw_fd(), libc::SHUT_RDWR) };
        if self.wait(END_TIME).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
