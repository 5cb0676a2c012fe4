//! What driver and agent say to each other on the control socket: one JSON message per packet, descriptors beside it.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use serde::{Deserialize, Serialize};

use crate::sys;

/// The longest message; a Unix socket takes about 200 KiB by default.
const MAX_MESSAGE: usize = 128 * 1024;

/// An interface to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WantIface {
    pub(crate) name: String,
    /// Its number in the world; taken in the namespace too when it is free there.
    pub(crate) ifindex: u32,
    /// `None` makes a TUN: no link layer.
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) mtu: u32,
}

/// Driver to agent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Make the namespace, its interfaces and sysctls. Answered by `Ready` or `Failed`.
    Setup { sysctls: Vec<(String, String)>, ifaces: Vec<WantIface> },
    /// Write one sysctl. Answered by `Done`.
    Sysctl { id: u64, name: String, value: String },
    /// Run a command; descriptors: stdin, stdout, stderr. Answered by `Failed` or, later, `Exited`.
    Spawn { id: u64, argv: Vec<String> },
    /// Start a process that makes system calls; descriptor: its own control socket.
    Program { id: u64 },
    /// `SIGKILL` for a command (and what it started) or a program.
    Kill { id: u64 },
}

/// Agent to driver.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The namespace stands; descriptors in the order of `fds`.
    Ready { ifindexes: Vec<u32>, fds: Vec<Role> },
    /// It did not work.
    Failed { id: u64, what: String, errno: i32 },
    /// A sysctl was written.
    Done { id: u64 },
    /// A command or program ended, with its exit status or the signal that killed it.
    Exited { id: u64, code: Option<i32>, signal: Option<i32> },
}

/// What a descriptor in `Ready` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// A TAP or TUN, in the order of the interfaces.
    Tap,
    /// A packet socket that sees, with the kernel's time, what leaves by an interface; in the order of these.
    Stamps,
    /// A netlink socket that hears of changes.
    Events,
    /// A netlink socket for dumps.
    Dump,
    /// `/proc/net/snmp`, `snmp6`, `netstat`.
    Counters,
}

/// Sends one message.
pub(crate) fn send<T: Serialize>(socket: RawFd, message: &T, fds: &[RawFd]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message).expect("plain data always serialises");
    if bytes.len() > MAX_MESSAGE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a command is too long for the control socket",
        ));
    }
    sys::send_with_fds(socket, &bytes, fds)
}

/// Receives one message; `None` when the other side is gone.
pub(crate) fn receive<T: for<'a> Deserialize<'a>>(
    socket: RawFd,
    dontwait: bool,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buf = vec![0; MAX_MESSAGE];
    let (len, fds) = sys::recv_with_fds(socket, &mut buf, dontwait)?;
    if len == 0 {
        return Ok(None);
    }
    let message = serde_json::from_slice(&buf[..len])?;
    Ok(Some((message, fds)))
}
