//! A world whose external nodes are hosts on the real kernel.

mod admin;
mod host;
mod order;
mod program;
mod turn;

use std::time::Duration;

use sim::{Program, RunEnd, RunLimit, World};
use stack::admin::Admin;
use stack::record::{IfIndex, NodeId, NodeKind};
use wire::{Instant, MacAddr, Medium};

use crate::agent_handle::Agent;
use crate::error::LinuxError;
use crate::protocol::WantIface;
use crate::sys;

use host::Host;

/// One host on the real kernel.
pub struct LiveHost {
    /// Its node in the world, made by [`World::add_external`].
    pub node: NodeId,
    /// Its interfaces, as given to [`World::add_nic`].
    pub ifaces: Vec<LiveIface>,
    /// `sysctl`s by name and value, written before the first command; only those that exist per namespace.
    pub sysctls: Vec<(String, String)>,
    /// Commands that build the host, in order, before time 0.
    pub setup: Vec<Admin>,
    /// What runs on it.
    pub programs: Vec<LiveProgram>,
}

/// One interface of a host on the real kernel: a TAP, or a TUN when it has no link layer.
#[derive(Clone, Debug)]
pub struct LiveIface {
    /// Its number in the world.
    pub ifindex: IfIndex,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Ethernet or bare IP.
    pub medium: Medium,
    /// Its MAC address; ignored on a bare-IP interface.
    pub mac: MacAddr,
    /// Its MTU in bytes, without the Ethernet header.
    pub mtu: u32,
}

/// Something that runs on a host on the real kernel.
pub struct LiveProgram {
    /// Its name in the journal.
    pub name: String,
    /// When it starts.
    pub start: Instant,
    /// Its place among the programs of all hosts: of those that are due at one time the lowest goes on first, and
    /// the next one when that waits for something.
    pub order: u32,
    /// What it is.
    pub body: LiveBody,
}

/// The two kinds of program.
pub enum LiveBody {
    /// A program written in system calls: one process that makes them for real.
    Calls(Box<dyn Program>),
    /// Any command, such as `ping -c 1 192.0.2.2`; killed when it takes longer than `timeout`.
    Exec {
        /// The command and its arguments.
        argv: Vec<String>,
        /// The longest it may take.
        timeout: Duration,
    },
}

/// What became of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// Its exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether it was killed because its time was over.
    pub timed_out: bool,
    /// What it wrote, at most 16 MiB.
    pub stdout: String,
    /// What it wrote to stderr, at most 16 MiB.
    pub stderr: String,
}

impl ExecOutput {
    /// It ended with status 0.
    pub fn ok(&self) -> bool {
        self.status == Some(0)
    }
}

/// How one program ended.
pub struct ProgramResult {
    /// Its host.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its exit status; `None` when it still ran at the end or a signal ended it.
    pub status: Option<i32>,
    /// The program, with its output and failures; `None` for a command.
    pub program: Option<Box<dyn Program>>,
    /// A command's output; `None` for a program or when it never started.
    pub exec: Option<ExecOutput>,
}

/// A run that came to its end.
pub struct LiveEnd {
    /// Why it ended.
    pub end: RunEnd,
    /// The world, with all records in order of time; [`World::finish`] gives the journal.
    pub world: World,
    /// The programs of hosts on the real kernel, host by host in the order given.
    pub programs: Vec<ProgramResult>,
}

/// A [`World`] some of whose nodes are hosts on the real kernel, and whose clock is the machine's.
///
/// The namespaces live as long as this value, and die with the thread that made it: make it and run it on the
/// same thread.
pub struct LiveWorld {
    world: World,
    hosts: Vec<Host>,
    /// `CLOCK_MONOTONIC` at world time 0; set by the first run.
    epoch_ns: Option<u64>,
    /// Packets and events so far.
    events: u64,
    /// How many there were when last looked at, and when that number was new.
    seen: (u64, Instant),
    /// The program that goes on before the others of its time may.
    first: Option<order::First>,
    /// Room for one packet.
    buf: Vec<u8>,
}

/// Two descriptors of each travel in one message with a few others (`SCM_MAX_FD` is 253).
const MAX_INTERFACES: usize = 120;

/// How long a run goes on after its last program when the limit does not say.
const DEFAULT_SETTLE: Duration = Duration::from_secs(1);

impl LiveWorld {
    /// Makes the namespaces and everything in them; the clock stands still until the first
    /// [`LiveWorld::run`] or [`LiveWorld::exec`].
    ///
    /// # Errors
    /// No permission; an interface, sysctl or command that the kernel or its tools refuse, with their words.
    pub fn new(mut world: World, hosts: Vec<LiveHost>) -> Result<LiveWorld, LinuxError> {
        let release = sys::uname_release();
        let mut agents = Vec::with_capacity(hosts.len());
        for host in &hosts {
            if host.ifaces.len() > MAX_INTERFACES {
                return Err(LinuxError::Setup {
                    host: world.external_info(host.node).name.clone(),
                    what: format!("{} interfaces; at most {MAX_INTERFACES} are possible", host.ifaces.len()),
                    hint: None,
                });
            }
            let info = world.external_info(host.node);
            info.kind = NodeKind::Linux(release.clone());
            info.programs = host.programs.iter().map(|p| p.name.clone()).collect();
            let agent = Agent::start(&info.name)?;
            agent.begin_setup(&host.sysctls, &host.ifaces.iter().map(wanted).collect::<Vec<_>>())?;
            agents.push(agent);
        }
        // All kernels work at the same time; answers are collected in order.
        let mut made = Vec::with_capacity(hosts.len());
        for (agent, host) in agents.into_iter().zip(hosts) {
            let namespace = agent.finish_setup()?;
            made.push(Host::new(agent, namespace, host)?);
        }
        std::thread::scope(|scope| {
            let work: Vec<_> = made.iter_mut().map(|host| scope.spawn(|| host.run_setup())).collect();
            work.into_iter().map(|w| w.join().expect("setup does not panic")).collect::<Result<Vec<()>, _>>()
        })?;
        Ok(LiveWorld {
            world,
            hosts: made,
            epoch_ns: None,
            events: 0,
            seen: (0, Instant::ZERO),
            first: None,
            buf: Vec::new(),
        })
    }

    /// The world.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The world, for changes between runs such as another fault.
    pub fn world_mut(&mut self) -> &mut World {
        if self.epoch_ns.is_some() {
            self.catch_up();
        }
        &mut self.world
    }

    /// Runs to a limit and takes everything down.
    ///
    /// Nobody knows whether a real kernel will do something: without [`RunLimit::settle`] the run ends one second
    /// after the last program, at [`RunLimit::until`], or after 130 s in which nothing happened.
    ///
    /// # Errors
    /// When an agent dies or a system call of the driver fails.
    pub fn run(mut self, limit: &RunLimit) -> Result<LiveEnd, LinuxError> {
        let settle = limit.settle.or(Some(DEFAULT_SETTLE));
        let end = self.drive(&RunLimit { settle, ..limit.clone() })?;
        self.finish(end)
    }

    /// Runs a command on a host while the world runs, until it ends or `timeout` is over (it is killed then).
    ///
    /// # Errors
    /// When it cannot be started, an agent dies or a system call of the driver fails.
    pub fn exec(&mut self, node: NodeId, argv: &[&str], timeout: Duration) -> Result<ExecOutput, LinuxError> {
        self.start_clock()?;
        let start = self.now();
        let argv: Vec<String> = argv.iter().map(|s| (*s).to_owned()).collect();
        let name = argv.join(" ");
        let host =
            self.hosts.iter_mut().position(|h| h.node == node).expect("a node given to LiveWorld::new");
        self.world.external_info(node).programs.push(name.clone());
        let body = LiveBody::Exec { argv, timeout };
        let program = self.hosts[host].add_program(LiveProgram { name, start, order: 0, body });
        self.drive_until_program(host, program)?;
        Ok(self.hosts[host].exec_output(program))
    }

    /// Kills a program or command of a host with `SIGKILL`: the kernel closes its sockets. No effect when it
    /// has not started or has ended.
    ///
    /// # Errors
    /// When the agent dies.
    pub fn kill(&mut self, node: NodeId, name: &str) -> Result<(), LinuxError> {
        for at in 0..self.hosts.len() {
            for index in 0..self.hosts[at].programs.len() {
                let program = &self.hosts[at].programs[index];
                if self.hosts[at].node == node && program.name == name && !program.is_done() {
                    self.kill_program(at, index)?;
                }
            }
        }
        Ok(())
    }

    /// Lets the world run for a while.
    ///
    /// # Errors
    /// As [`LiveWorld::run`].
    pub fn run_for(&mut self, time: Duration) -> Result<(), LinuxError> {
        self.start_clock()?;
        let until = self.now() + time;
        self.drive(&RunLimit { settle: None, until, max_events: u64::MAX }).map(drop)
    }

    /// Takes everything down: the kernel's counters and tables go into the journal.
    ///
    /// # Errors
    /// As [`LiveWorld::run`].
    pub fn finish(mut self, end: RunEnd) -> Result<LiveEnd, LinuxError> {
        self.start_clock()?;
        self.catch_up();
        self.record_unfinished();
        let mut programs = Vec::new();
        for host in &mut self.hosts {
            let (counters, tables) = host.last_look()?;
            let info = self.world.external_info(host.node);
            info.counters = counters;
            info.tables = tables;
            programs.extend(host.take_results());
        }
        self.world.sort_records();
        Ok(LiveEnd { end, world: self.world, programs })
    }
}

fn wanted(iface: &LiveIface) -> WantIface {
    let mac = match iface.medium {
        Medium::Ethernet => Some(iface.mac.0),
        Medium::Ip => None,
    };
    WantIface { name: iface.name.clone(), ifindex: iface.ifindex, mac, mtu: iface.mtu }
}
