//! The agent: the process that lives in a host's namespaces and does there what the driver asks.
//!
//! Three generations, each killed with the one before it: the process that the driver started makes the
//! namespaces (user, when it is not root; network; process ids) and waits; its child is process 1 of the new
//! process namespace, so that the kernel kills everything in there with it; programs and commands are
//! children of that one. Nothing has a name in the file system, so nothing can be left behind.

pub(crate) mod calls;
pub(crate) mod cmsg;
mod commands;
pub(crate) mod iface;
pub(crate) mod namespace;
pub(crate) mod probe;
pub(crate) mod program;
pub(crate) mod sockaddr;
pub(crate) mod sysctl;

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

use crate::protocol::{self, Reply, Request, Role, WantIface};
use crate::sys::{self, CONTROL_FD};

use commands::Children;

/// The word on the command line that makes a binary an agent.
pub(crate) const AGENT_WORD: &str = "__agent";

/// Runs the agent when the command line asks for it (`argv[1] == "__agent"`); returns `None` otherwise.
///
/// Call this first in `main` of every binary that runs [`crate::LiveWorld`], before any thread starts: the
/// driver starts the same binary again for every host.
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     if let Some(code) = linux::agent_main() {
///         return code;
///     }
///     // the program itself
///     std::process::ExitCode::SUCCESS
/// }
/// ```
#[must_use = "an agent that has ended must not go on as the program"]
pub fn agent_main() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != AGENT_WORD {
        return None;
    }
    sys::die_with_parent();
    sys::exact_timers();
    Some(match namespace::enter() {
        Ok(namespace::Side::Outside(code)) => ExitCode::from(code),
        Ok(namespace::Side::Inside) => {
            serve();
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = protocol::send(CONTROL_FD, &failure.reply(0), &[]);
            ExitCode::FAILURE
        }
    })
}

/// The kernel's numbers of the interfaces, and what the driver gets to hold.
type Made = (Vec<u32>, Vec<(Role, OwnedFd)>);

/// Something that did not work: what was tried, and the error number.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) what: String,
    pub(crate) errno: i32,
}

impl Failure {
    /// With the error of the call that just failed.
    fn new(what: impl Into<String>, error: &std::io::Error) -> Failure {
        Failure { what: what.into(), errno: error.raw_os_error().unwrap_or(0) }
    }

    pub(crate) fn into_io(self) -> std::io::Error {
        let error = std::io::Error::from_raw_os_error(self.errno);
        std::io::Error::new(error.kind(), format!("{}: {error}", self.what))
    }

    fn reply(self, id: u64) -> Reply {
        Reply::Failed { id, what: self.what, errno: self.errno }
    }
}

/// Answers the driver until it goes away.
fn serve() {
    let Ok(mut children) = Children::new() else { return };
    loop {
        let mut fds = [sys::wait_for_input(&CONTROL_FD), sys::wait_for_input(children.signal_fd())];
        if sys::ppoll(&mut fds, None).is_err() {
            return;
        }
        if fds[1].revents != 0 {
            for reply in children.reap() {
                if protocol::send(CONTROL_FD, &reply, &[]).is_err() {
                    return;
                }
            }
        }
        if fds[0].revents != 0 {
            match protocol::receive(CONTROL_FD, false) {
                Ok(Some((request, fds))) => {
                    if !handle(&mut children, request, fds) {
                        return;
                    }
                }
                Ok(None) | Err(_) => return,
            }
        }
    }
}

/// Does one thing; `false` when the driver cannot be told about it any more.
fn handle(children: &mut Children, request: Request, fds: Vec<OwnedFd>) -> bool {
    let reply = match request {
        Request::Setup { sysctls, ifaces } => {
            return match setup(&sysctls, &ifaces) {
                Ok((ifindexes, fds)) => {
                    let roles = fds.iter().map(|(role, _)| *role).collect();
                    let raw: Vec<RawFd> = fds.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
                    protocol::send(CONTROL_FD, &Reply::Ready { ifindexes, fds: roles }, &raw).is_ok()
                }
                Err(failure) => protocol::send(CONTROL_FD, &failure.reply(0), &[]).is_ok(),
            };
        }
        Request::Sysctl { id, name, value } => match sysctl::write(&name, &value) {
            Ok(()) => Some(Reply::Done { id }),
            Err(failure) => Some(failure.reply(id)),
        },
        Request::Spawn { id, argv } => children.spawn_command(id, &argv, fds).err().map(|f| f.reply(id)),
        Request::Program { id } => children.spawn_program(id, fds).err().map(|f| f.reply(id)),
        Request::Kill { id } => {
            children.kill(id);
            None
        }
    };
    reply.is_none_or(|reply| protocol::send(CONTROL_FD, &reply, &[]).is_ok())
}

/// Everything of the host that must stand before its first `ip` command.
///
/// A sysctl that names one of the interfaces can be written only when that exists; every other one must be
/// written before, so that new interfaces inherit `conf.default` and `neigh.default`.
fn setup(sysctls: &[(String, String)], ifaces: &[WantIface]) -> Result<Made, Failure> {
    let names_iface = |name: &str| ifaces.iter().any(|i| sysctl::names_interface(name, &i.name));
    for (name, value) in sysctls.iter().filter(|(name, _)| !names_iface(name)) {
        sysctl::write(name, value)?;
    }
    let mut ifindexes = Vec::new();
    let mut fds = Vec::new();
    for want in ifaces {
        let (ifindex, fd) = iface::create(want)?;
        ifindexes.push(ifindex);
        fds.push((Role::Tap, fd));
    }
    iface::loopback_up()?;
    for (name, value) in sysctls.iter().filter(|(name, _)| names_iface(name)) {
        sysctl::write(name, value)?;
    }
    fds.extend(ifindexes.iter().filter_map(|ifindex| probe::stamps(*ifindex)).map(|fd| (Role::Stamps, fd)));
    fds.extend(probe::open()?);
    Ok((ifindexes, fds))
}
