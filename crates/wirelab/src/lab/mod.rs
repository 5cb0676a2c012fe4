//! The front door for tests: a [`net::Lab`] that knows how to build small worlds and what to leave behind.

mod report;

use std::fmt::Display;
use std::ops::Range;
use std::panic::Location;
use std::time::Duration;

use net::{Control, Host, LabConfig};
use sim::{Fault, FaultAction, Impairment, LinkConfig, LinkId, LinkState, SwitchConfig, World, WorldConfig};
use stack::StackConfig;
use stack::admin::Admin;
use stack::record::{Journal, NodeId};
use wire::{MacAddr, Medium};

use report::Report;

/// A world for one test.
///
/// Hosts stand for themselves until [`Lab::link`] or [`Lab::lan`] joins them; programs start with [`Lab::start`] and run
/// during [`Lab::run`]. Dropping the lab ends it: then a fault that never acted panics, and a test that panics gets its
/// report.
pub struct Lab {
    /// `None` when it is over.
    lab: Option<net::Lab>,
    report: Report,
    optional: Vec<usize>,
}

/// A cable between two hosts, for use during a run too.
#[derive(Clone)]
pub struct Link {
    control: Control,
    id: LinkId,
}

impl Link {
    /// Pulls the cable: what is on it is lost, and both ends lose carrier.
    pub fn cut(&self) {
        self.set(LinkState::Down);
    }

    /// Packets vanish and nobody notices.
    pub fn black_hole(&self) {
        self.set(LinkState::Silent);
    }

    /// Packets pass again.
    pub fn restore(&self) {
        self.set(LinkState::Up);
    }

    fn set(&self, state: LinkState) {
        self.control.world(|world| world.set_link_state(self.id, state));
    }
}

impl Default for Lab {
    #[track_caller]
    fn default() -> Lab {
        Lab::new()
    }
}

impl Lab {
    /// An empty world. Its seed is 0, or `WIRELAB_SEED`.
    ///
    /// # Panics
    /// When `WIRELAB_SEED` is no number.
    #[track_caller]
    pub fn new() -> Lab {
        let seed = std::env::var("WIRELAB_SEED").map_or(0, |text| {
            text.trim().parse().unwrap_or_else(|_| panic!("WIRELAB_SEED={text} is no number"))
        });
        Lab::with_seed(seed)
    }

    /// The same with a seed of the test's own: one seed is one run, byte for byte.
    #[track_caller]
    pub fn with_seed(seed: u64) -> Lab {
        let report = Report::new(seed, Location::caller());
        let world = WorldConfig { seed, ..WorldConfig::default() };
        let lab = net::Lab::new(LabConfig { world, ..LabConfig::default() });
        Lab { lab: Some(lab), report, optional: Vec::new() }
    }

    /// The directory under `target/wirelab/`; by default the test's name as the test harness knows it.
    pub fn named(mut self, name: &str) -> Lab {
        self.report.rename(name);
        self
    }

    fn lab(&self) -> &net::Lab {
        self.lab.as_ref().expect("only the end takes it")
    }

    /// The world, for everything that has no method here.
    pub fn world<R>(&self, f: impl FnOnce(&mut World) -> R) -> R {
        self.lab().world(f)
    }

    // --- building ---------------------------------------------------------------------------------

    /// A host with a kernel like 6.18 and no interface but `lo`. Other hosts reach it by its name.
    pub fn host(&self, name: &str) -> Host {
        self.host_with(StackConfig { name: name.into(), ..StackConfig::default() })
    }

    /// A host made to measure, such as one with an older kernel's behaviour. A seed of 0 is taken from the lab's.
    pub fn host_with(&self, mut config: StackConfig) -> Host {
        let count = self.world(|world| world.names().len() as u64);
        if config.seed == 0 {
            config.seed = self.report.seed().wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(count + 1);
        }
        self.lab().host(self.world(|world| world.add_host(config)))
    }

    /// A cable between two hosts: each gets an interface with the address (`192.0.2.1/24`, `2001:db8::1/64`). `wire` is its
    /// delay or its whole [`Impairment`].
    ///
    /// # Panics
    /// When an address cannot be had.
    pub fn link(&self, a: (&Host, &str), b: (&Host, &str), wire: impl Into<Wire>) -> Link {
        let Wire(impairment) = wire.into();
        let id = self.world(|world| {
            let ends = [a, b].map(|(host, addr)| {
                let name = next_nic(world, host.node());
                let nic = world.add_nic(host.node(), &name, Medium::Ip, MacAddr::default(), 1500);
                set_up(world, host, &name, addr);
                (host.node(), nic)
            });
            world.connect(ends[0], ends[1], LinkConfig::symmetric(impairment))
        });
        Link { control: self.lab().control(), id }
    }

    /// A switch, and each host on a port of it with an address: Ethernet, with ARP. `wire` is what each cable is like.
    ///
    /// # Panics
    /// When an address cannot be had.
    pub fn lan(&self, hosts: &[(&Host, &str)], wire: impl Into<Wire>) -> Vec<Link> {
        let Wire(impairment) = wire.into();
        let control = self.lab().control();
        self.world(|world| {
            let switch = world.add_switch(&format!("switch{}", world.names().len()), SwitchConfig::default());
            let cable = |(n, (host, addr)): (u8, &(&Host, &str))| {
                let port =
                    world.add_nic(switch, &format!("port{n}"), Medium::Ethernet, MacAddr::default(), 1500);
                let name = next_nic(world, host.node());
                let [.., high, low] = host.node().0.to_be_bytes();
                let mac = MacAddr([2, 0, n, name.len() as u8, high, low]); // names are short
                let nic = world.add_nic(host.node(), &name, Medium::Ethernet, mac, 1500);
                set_up(world, host, &name, addr);
                let id = world.connect(
                    (host.node(), nic),
                    (switch, port),
                    LinkConfig::symmetric(impairment.clone()),
                );
                Link { control: control.clone(), id }
            };
            (0..).zip(hosts).map(cable).collect()
        })
    }

    // --- trouble ----------------------------------------------------------------------------------

    /// Loses packets: `server: 2nd tcp.flags.syn == 1 && tcp.flags.ack == 1`, `client->server: first 3 udp`, `every arp`.
    /// It must act by the end; how often it did says [`Lab::hits`].
    ///
    /// # Panics
    /// When the text is no fault, with what to write instead.
    #[track_caller]
    pub fn drop(&self, text: &str) -> usize {
        self.fault(text, FaultAction::Drop)
    }

    /// Delays packets.
    #[track_caller]
    pub fn delay(&self, text: &str, by: Duration) -> usize {
        self.fault(text, FaultAction::Delay(by))
    }

    /// Anything that a fault can do to packets.
    #[track_caller]
    pub fn fault(&self, text: &str, action: FaultAction) -> usize {
        self.world(|world| match Fault::parse(text, action, world) {
            Ok(fault) => world.add_fault(fault),
            Err(error) => {
                let Range { start, end } = error.span;
                let marks = "^".repeat(end.saturating_sub(start).max(1));
                panic!("{error}\n    {text}\n    {:start$}{marks}", "")
            }
        })
    }

    /// The fault need not act.
    pub fn may_miss(&mut self, fault: usize) {
        self.optional.push(fault);
    }

    /// How often a fault acted.
    pub fn hits(&self, fault: usize) -> u64 {
        self.world(|world| world.fault_hits()[fault])
    }

    // --- running ----------------------------------------------------------------------------------

    /// Starts a program on a host. It runs during [`Lab::run`]; a panic in it fails the test.
    pub fn start<F>(&self, host: &Host, program: F) -> tokio::task::JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.lab().start(host, program)
    }

    /// Runs until `program`, which runs on no host, ends.
    ///
    /// # Panics
    /// With the panic of a started program, and when nothing will ever end it.
    pub fn run<F: Future>(&mut self, program: F) -> F::Output {
        self.lab.as_mut().expect("only the end takes it").run(program)
    }

    /// Runs until `program`, which runs on this host, ends.
    pub fn run_on<F: Future>(&mut self, host: &Host, program: F) -> F::Output {
        self.run(host.scope(program))
    }

    /// The same for a program with an error, which fails the test.
    #[track_caller]
    pub fn check<T, E: Display, F: Future<Output = Result<T, E>>>(&mut self, host: &Host, program: F) -> T {
        match self.run_on(host, program) {
            Ok(value) => value,
            Err(error) => panic!("{error}"),
        }
    }

    /// Lets time pass: programs and packets go on.
    pub fn advance(&mut self, time: Duration) {
        self.lab.as_mut().expect("only the end takes it").advance(time);
    }

    /// Virtual time since the start.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.lab().now().as_nanos())
    }

    // --- the end ----------------------------------------------------------------------------------

    /// The end: what happened.
    ///
    /// # Panics
    /// When a fault never acted.
    pub fn finish(mut self) -> Journal {
        let (journal, idle) = self.end().expect("this is the end");
        let complaint = complaint(&journal, &idle);
        if let Some(complaint) = complaint {
            let told = self.report.tell(&journal);
            panic!("{complaint}\n{told}");
        }
        journal
    }

    /// The journal, and the faults that should have acted and did not.
    fn end(&mut self) -> Option<(Journal, Vec<usize>)> {
        let world = self.lab.take()?.finish();
        let hits = world.fault_hits();
        let idle = (0..hits.len()).filter(|i| hits[*i] == 0 && !self.optional.contains(i)).collect();
        let journal = world.finish();
        if self.report.always()
            && let Err(error) = self.report.save(&journal)
        {
            eprintln!("nothing could be saved: {error}");
        }
        Some((journal, idle))
    }
}

fn complaint(journal: &Journal, idle: &[usize]) -> Option<String> {
    let lines = idle.iter().map(|i| format!("fault {} never acted: {}", i + 1, journal.faults[*i]));
    let lines: Vec<String> = lines.collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

impl Drop for Lab {
    fn drop(&mut self) {
        let Some((journal, idle)) = self.end() else { return };
        if std::thread::panicking() {
            // The message of the panic stands above.
            eprintln!("{}", self.report.tell(&journal));
        } else if let Some(complaint) = complaint(&journal, &idle) {
            panic!("{complaint}\n{}", self.report.tell(&journal));
        }
    }
}

/// What a cable is like: a delay, or everything.
pub struct Wire(Impairment);

impl From<Duration> for Wire {
    fn from(delay: Duration) -> Wire {
        Wire(Impairment { delay, ..Impairment::default() })
    }
}

impl From<Impairment> for Wire {
    fn from(impairment: Impairment) -> Wire {
        Wire(impairment)
    }
}

/// `eth0`, `eth1` …
fn next_nic(world: &World, node: NodeId) -> String {
    let taken = |name: &String| world.find_nic(node, name).is_some();
    (0..).map(|n| format!("eth{n}")).find(|name| !taken(name)).expect("there are enough numbers")
}

fn set_up(world: &mut World, host: &Host, nic: &str, addr: &str) {
    let nodad = if addr.contains(':') { " nodad" } else { "" };
    for command in [format!("ip link set {nic} up"), format!("ip addr add {addr} dev {nic}{nodad}")] {
        let done = Admin::parse(&command).map_err(|error| error.to_string());
        let done = done.and_then(|command| world.admin(host.node(), &command));
        if let Err(error) = done {
            panic!("{}: {command}: {error}", host.name());
        }
    }
}
