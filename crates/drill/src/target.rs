//! What the runner needs of a host under test: our stack in virtual time, or a kernel behind a TUN device.

use core::fmt;
use std::path::Path;

use stack::call::{Call, CallResult, Fd};
use wire::Instant;

use crate::config::Config;

/// A system call as the runner asks for it: those of [`Call`], and what scripts do with files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A call on sockets.
    Call(Call),
    /// `open(path, flags)`: returns a descriptor.
    Open {
        /// The file.
        path: String,
        /// `O_*`
        flags: i64,
    },
    /// `sendfile(out, in, offset, len)`
    SendFile {
        /// The socket.
        out: Fd,
        /// The file.
        input: Fd,
        /// Where in the file it begins.
        offset: i64,
        /// Bytes at most.
        len: usize,
    },
    /// `pipe()`: returns [`Answer::Pipe`].
    Pipe,
    /// `splice(in, NULL, out, NULL, len, flags)`
    Splice {
        /// A pipe or a socket.
        input: Fd,
        /// A socket or a pipe.
        out: Fd,
        /// Bytes at most.
        len: usize,
        /// `SPLICE_F_*`
        flags: u32,
    },
    /// `cap_set(set, capability, value)` of packetdrill: the process gains or loses a capability.
    CapSet {
        /// `CAP_EFFECTIVE` 0, `CAP_PERMITTED` 1, `CAP_INHERITABLE` 2
        set: i64,
        /// `CAP_NET_ADMIN` and so on.
        capability: i64,
        /// `CAP_SET` 1 or `CAP_CLEAR` 0
        on: bool,
    },
}

impl From<Call> for Request {
    fn from(call: Call) -> Request {
        Request::Call(call)
    }
}

/// What a request gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A finished call.
    Done(CallResult),
    /// Both ends of a pipe: to read from, to write to.
    Pipe(Fd, Fd),
    /// The target cannot do this, in words for the user.
    Unsupported(String),
    /// It sleeps and nothing can wake it.
    Hangs,
}

/// Why a shell command did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShellError {
    /// Not understood: which part, in words for the user.
    Unsupported(String),
    /// Understood, and it failed.
    Failed(String),
}

impl fmt::Display for ShellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShellError::Unsupported(text) => write!(f, "not supported: {text}"),
            ShellError::Failed(text) => f.write_str(text),
        }
    }
}

impl core::error::Error for ShellError {}

/// A host under test with one bare-IP interface `tun0`, whose other end the runner holds.
///
/// Times are the target's own; the runner takes the first as the script's 0. Time passes only in
/// [`Target::sleep_until`], [`Target::receive`], [`Target::call`] when it blocks, and [`Target::finished`]
/// (on a real kernel it passes anyway).
pub trait Target: Send {
    /// What it is, for reports: `stack 6.18`, `linux 6.18.44`.
    fn name(&self) -> String;

    /// The time.
    fn now(&mut self) -> Instant;

    /// Lets time pass; packets that the host sends meanwhile wait for [`Target::receive`].
    fn sleep_until(&mut self, at: Instant);

    /// The next packet that the host sent by `tun0` (from the IP header on) and when; waits for it until
    /// `deadline`.
    fn receive(&mut self, deadline: Instant) -> Result<Option<(Instant, Vec<u8>)>, String>;

    /// A packet, from the IP header on, arrives at `tun0`.
    fn inject(&mut self, packet: &[u8]) -> Result<(), String>;

    /// A call of the script's main thread. It may sleep: time passes then.
    fn call(&mut self, request: &Request) -> Answer;

    /// A call of the second thread, which sleeps while the script goes on. One at a time.
    fn start(&mut self, request: &Request);

    /// What became of the started call, and when; waits for it until `until`. Given out once.
    fn finished(&mut self, until: Instant) -> Option<(Instant, Answer)>;

    /// A command line (several lines, `;`, `&&`, …) in the folder `dir`.
    fn shell(&mut self, text: &str, dir: &Path) -> Result<(), ShellError>;

    /// The host's counters that are not zero, by their `nstat` names, in no order.
    fn counters(&mut self) -> Vec<(String, u64)>;
}

/// Makes a fresh host for every script.
pub trait Host: Sync {
    /// How often a script may be run until no event is late: more than once where other processes can disturb.
    fn tries(&self) -> u32 {
        1
    }

    /// A host with the addresses and the MTU of `config`, and a route to the peer.
    fn make(&self, config: &Config) -> Result<Box<dyn Target>, String>;
}
