//! One host while it lives: its interfaces' descriptors, its probe, its programs.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use stack::admin::Admin;
use stack::record::{IfIndex, NodeId, What};
use wire::Frame;

use super::admin::{self, Step};
use super::program::{Running, State};
use super::{ExecOutput, LiveHost, LiveIface, LiveProgram, ProgramResult};
use crate::agent_handle::{Agent, Namespace};
use crate::error::LinuxError;
use crate::probe::{Beginning, Probe};
use crate::stamps::Stamps;
use crate::sys;

/// Tables that are worth keeping at the end, if the tools are there.
const TABLES: &[&str] = &[
    "ip addr",
    "ip -6 addr",
    "ip neigh",
    "ip -6 neigh",
    "ip route",
    "ip -6 route",
    "ss -uan",
    "ss -tan",
    "ip tcp_metrics",
    "nstat",
];

/// A host on the real kernel.
pub(super) struct Host {
    pub(super) agent: Agent,
    pub(super) node: NodeId,
    pub(super) taps: Vec<Tap>,
    pub(super) probe: Probe,
    pub(super) programs: Vec<Running>,
    /// What answers of the agent belong to, by the number that was asked with.
    pub(super) asked: Vec<(u64, usize)>,
    /// The kernel may have announced something.
    pub(super) events_ready: bool,
    /// The agent may have answered.
    pub(super) agent_ready: bool,
    setup: Vec<Admin>,
}

/// One interface's other side.
pub(super) struct Tap {
    pub(super) ifindex: IfIndex,
    pub(super) name: String,
    pub(super) fd: OwnedFd,
    /// When its packets left; `None` on a kernel without packet sockets.
    pub(super) stamps: Option<Stamps>,
    /// Somebody deleted it in the namespace.
    pub(super) gone: bool,
    /// There may be packets to read.
    pub(super) ready: bool,
}

impl Tap {
    fn new(fd: OwnedFd, stamps: Option<OwnedFd>, iface: LiveIface) -> Tap {
        let stamps = stamps.map(Stamps::new);
        Tap { ifindex: iface.ifindex, name: iface.name, fd, stamps, gone: false, ready: false }
    }
}

impl Host {
    pub(super) fn new(agent: Agent, namespace: Namespace, host: LiveHost) -> Result<Host, LinuxError> {
        let Namespace { ifindexes, taps, stamps, events, dump, counters } = namespace;
        let stamps = stamps.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        let pairs = ifindexes.iter().zip(&host.ifaces);
        let renumbered = pairs.filter(|(k, w)| **k != w.ifindex).map(|(k, w)| (*k, w.ifindex)).collect();
        let taps = taps.into_iter().zip(stamps).zip(host.ifaces);
        Ok(Host {
            agent,
            node: host.node,
            taps: taps.map(|((fd, stamps), iface)| Tap::new(fd, stamps, iface)).collect(),
            probe: Probe::new(events, dump, counters, renumbered),
            programs: host.programs.into_iter().map(Running::new).collect(),
            asked: Vec::new(),
            events_ready: false,
            agent_ready: false,
            setup: host.setup,
        })
    }

    pub(super) fn add_program(&mut self, program: LiveProgram) -> usize {
        self.programs.push(Running::new(program));
        self.programs.len() - 1
    }

    /// Makes the processes of all programs.
    pub(super) fn prepare_programs(&mut self) -> Result<(), LinuxError> {
        for (index, program) in self.programs.iter_mut().enumerate() {
            let id = program.prepare(&mut self.agent)?;
            self.asked.extend(id.map(|id| (id, index)));
        }
        Ok(())
    }

    /// Runs the commands that build the host.
    pub(super) fn run_setup(&mut self) -> Result<(), LinuxError> {
        for step in admin::steps(&self.setup) {
            match admin::argv(&step) {
                Some((argv, stdin)) => {
                    self.agent.run(&argv, stdin.as_bytes())?.map_err(|stderr| LinuxError::Setup {
                        host: self.agent.host.clone(),
                        what: admin::blame(&step, &stderr),
                        hint: admin::hint(&stderr),
                    })?;
                }
                None => {
                    let Step::Sysctl(name, value) = &step else {
                        unreachable!("only sysctls have no command")
                    };
                    self.agent.sysctl(name, value)?;
                }
            }
        }
        Ok(())
    }

    /// The run begins: the commands that built the host are told like those of a host on our stack.
    pub(super) fn start(&mut self) -> Result<Beginning, LinuxError> {
        let mut begin =
            self.probe.start().map_err(LinuxError::io(format!("{}: netlink", self.agent.host)))?;
        let commands = self.setup.iter().map(|command| What::Admin { text: command.to_string() });
        begin.whats = commands.chain(begin.whats).collect();
        Ok(begin)
    }

    /// Writes a packet into the interface: it arrives in the namespace. The error says why the kernel refused.
    pub(super) fn receive(&self, ifindex: IfIndex, frame: &Frame) -> Result<(), String> {
        let Some(tap) = self.taps.iter().find(|tap| tap.ifindex == ifindex) else { return Ok(()) };
        let bytes;
        let whole = if frame.tail().is_empty() {
            frame.head()
        } else {
            bytes = frame.to_vec();
            &bytes
        };
        match sys::write(tap.fd.as_raw_fd(), whole) {
            Ok(_) => Ok(()),
            Err(e) if e.raw_os_error() == Some(libc::EIO) => {
                Err(format!("{} is down: the packet that arrived went nowhere", tap.name))
            }
            Err(e) => Err(format!("{} did not take a packet of {} bytes: {e}", tap.name, whole.len())),
        }
    }

    /// The link of an interface went up or down. The error says what the kernel refused.
    pub(super) fn set_carrier(&self, ifindex: IfIndex, up: bool) -> Result<(), String> {
        let Some(tap) = self.taps.iter().find(|tap| tap.ifindex == ifindex) else { return Ok(()) };
        sys::set_carrier(tap.fd.as_raw_fd(), up).map_err(|e| format!("{} keeps its carrier: {e}", tap.name))
    }

    /// Counters and tables at the end.
    #[expect(clippy::type_complexity, reason = "as in NodeInfo")]
    pub(super) fn last_look(&mut self) -> Result<(Vec<(String, u64)>, Vec<(String, String)>), LinuxError> {
        let counters =
            self.probe.counters().map_err(LinuxError::io(format!("{}: counters", self.agent.host)))?;
        let mut tables = Vec::new();
        for command in TABLES {
            // Without options nstat tells what is new since its last call in any namespace, by a file that they share.
            let options: &[&str] = if *command == "nstat" { &["-a", "-s"] } else { &[] };
            let argv: Vec<String> =
                command.split(' ').chain(options.iter().copied()).map(str::to_owned).collect();
            // A tool that is not installed leaves its table out.
            match self.agent.run(&argv, &[]) {
                Ok(Ok(text)) => tables.push(((*command).to_owned(), text)),
                Ok(_) | Err(LinuxError::Setup { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        let name = "sysctl net.ipv4.tcp_congestion_control";
        let argv = ["cat", "/proc/sys/net/ipv4/tcp_congestion_control"].map(str::to_owned);
        if let Ok(Ok(text)) = self.agent.run(&argv, &[]) {
            tables.push((name.to_owned(), text.trim().to_owned()));
        }
        Ok((counters, tables))
    }

    /// A command's output.
    pub(super) fn exec_output(&self, program: usize) -> ExecOutput {
        self.programs[program].exec.clone().unwrap_or_default()
    }

    pub(super) fn take_results(&mut self) -> Vec<ProgramResult> {
        let node = self.node;
        let results = self.programs.drain(..).map(|running| ProgramResult {
            node,
            status: match running.state {
                State::Done(status) => status,
                _ => None,
            },
            name: running.name,
            program: running.program,
            exec: running.exec,
        });
        results.collect()
    }

    /// Every descriptor that can become readable, always in the same order.
    pub(super) fn descriptors(&self, fds: &mut Vec<libc::pollfd>) {
        // A negative descriptor is none to poll(2).
        let none = libc::pollfd { fd: -1, events: 0, revents: 0 };
        fds.extend(self.taps.iter().map(|tap| if tap.gone { none } else { sys::wait_for_input(&tap.fd) }));
        fds.push(sys::wait_for_input(&self.probe.events));
        fds.push(sys::wait_for_input(self.agent.control()));
        fds.extend(self.programs.iter().map(|p| p.socket.as_ref().map_or(none, sys::wait_for_input)));
    }

    /// Takes what `poll` said, in the order of [`Host::descriptors`].
    pub(super) fn mark_ready(&mut self, ready: &mut impl Iterator<Item = bool>) {
        let mut next = || ready.next().expect("one for each descriptor");
        self.taps.iter_mut().for_each(|tap| tap.ready |= next());
        self.events_ready |= next();
        self.agent_ready |= next();
        self.programs.iter_mut().for_each(|program| program.ready |= next());
    }

    /// Passes an error of a descriptor on, with the host's name.
    pub(super) fn io(&self, doing: &str) -> impl FnOnce(io::Error) -> LinuxError + use<> {
        LinuxError::io(format!("{}: {doing}", self.agent.host))
    }
}
