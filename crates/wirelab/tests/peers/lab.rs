//! A kernel namespace on a TAP, our stack at its other end, and relays that join it to plain sockets.

use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use linux::Netns;
use net::{Host, Live, Port};
use sim::{Impairment, LinkConfig, World, WorldConfig};
use stack::StackConfig;
use stack::admin::Admin;
use stack::record::NodeKind;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use wire::{MacAddr, Medium};

use crate::programs::run;

/// The kernel's address and ours.
const KERNEL: &str = "198.51.100.1";
const STACK: &str = "198.51.100.2";
const KERNEL_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0x0a, 1]);
const STACK_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0x0a, 2]);

/// Who opens the connection over the TAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// Client (kernel, TAP) → our listener → relay → server (plain).
    KernelConnects,
    /// Client (plain) → relay → our stack → TAP → server (kernel).
    StackConnects,
}

/// What is between the kernel and us.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) name: &'static str,
    pub(crate) impairment: Impairment,
    /// How much a test sends over it.
    pub(crate) mib: usize,
    /// `tcp_congestion_control` of both ends.
    pub(crate) cc: &'static str,
}

/// A default wire, changed.
pub(crate) fn impaired(change: impl FnOnce(&mut Impairment)) -> Impairment {
    let mut impairment = Impairment::default();
    change(&mut impairment);
    impairment
}

/// The whole set-up.
pub(crate) struct Bench {
    /// Behind the TAP.
    kernel: Netns,
    /// Where the relays' plain sockets are.
    plain: Netns,
    live: Live,
    host: Host,
    wire: Wire,
    link: sim::LinkId,
    relays: std::cell::RefCell<Vec<Relay>>,
}

struct Relay {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Bench {
    pub(crate) fn new(wire: &Wire) -> Bench {
        let kernel = Netns::new().expect("permission was looked at");
        let plain = Netns::new().expect("as before");
        let (_, tap) = kernel.open_tap("tap0", Some(KERNEL_MAC), 1500).expect("a TAP device");
        run(&kernel, &["ip", "link", "set", "tap0", "up"]);
        run(&kernel, &["ip", "addr", "add", &format!("{KERNEL}/24"), "dev", "tap0"]);
        let cc = std::env::var("WIRELAB_PEER_CC").unwrap_or_else(|_| wire.cc.into());
        for ns in [&kernel, &plain] {
            run(ns, &["sysctl", "-qw", &format!("net.ipv4.tcp_congestion_control={cc}")]);
        }
        let (live, host, link) = stack_on(tap, &wire.impairment);
        host.admin(&format!("sysctl -w net.ipv4.tcp_congestion_control={cc}")).expect("it is modelled");
        Bench { kernel, plain, live, host, wire: wire.clone(), link, relays: Vec::new().into() }
    }

    /// The namespaces of the server and of the client.
    pub(crate) fn sides(&self, path: Path) -> (&Netns, &Netns) {
        match path {
            Path::KernelConnects => (&self.plain, &self.kernel),
            Path::StackConnects => (&self.kernel, &self.plain),
        }
    }

    /// Starts a relay for a server on `port`; where the client must connect to.
    pub(crate) fn relay(&self, path: Path, port: u16) -> String {
        let host = self.host.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = self.plain.run(move || {
            std::thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    tokio::select! {
                        () = async {
                            match path {
                                Path::KernelConnects => relay_in(&host, port, ready).await,
                                Path::StackConnects => relay_out(&host, port, ready).await,
                            }
                        } => {}
                        _ = stopped => {}
                    }
                });
            })
        });
        self.relays.borrow_mut().push(Relay { stop: Some(stop), thread: Some(thread) });
        is_ready.recv().expect("the relay listens")
    }

    /// Starts a program on our stack; it ends with the bench.
    pub(crate) fn start(&self, program: impl Future<Output = ()> + Send + 'static) {
        let host = self.host.clone();
        let (stop, stopped) = oneshot::channel();
        let thread = self.plain.run(move || {
            std::thread::spawn(move || {
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    tokio::select! {
                        () = host.scope(program) => {}
                        _ = stopped => {}
                    }
                });
            })
        });
        self.relays.borrow_mut().push(Relay { stop: Some(stop), thread: Some(thread) });
    }

    /// How programs on our stack find names.
    pub(crate) fn set_resolver(&self, resolver: std::sync::Arc<dyn net::Resolve>) {
        self.host.set_resolver(resolver);
    }

    /// Runs a program on our stack to its end.
    pub(crate) fn block_on<T>(&self, program: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(self.host.scope(program))
    }

    /// Nothing was left out: with loss on the wire packets were lost, and the rest went through.
    pub(crate) fn finish(self) {
        let Wire { name, impairment, mib, .. } = &self.wire;
        let stats = self.live.world(|world| world.link_stats(self.link));
        let (lost, sent) = (stats[0].lost + stats[1].lost, stats[0].sent + stats[1].sent);
        assert!(sent as usize > mib * 700, "{name}: {sent} packets cannot have carried {mib} MiB");
        // Chance may differ by half from what was asked for.
        let least = sent * u64::from(impairment.loss_ppm) / 2_000_000;
        assert!(lost >= least, "{name}: {lost} of {sent} packets were lost");
        if std::env::var_os("WIRELAB_PEER_STATS").is_some() {
            eprintln!("{sent} packets, {lost} lost, {:?}", self.live.port_stats());
            let text = self.host.with_stack(|stack, now| (stack.nstat(), stack.ss_tcp(now)));
            eprintln!("{text:?}");
        }
        drop(self.relays);
        drop(self.live);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn stack_on(tap: OwnedFd, impairment: &Impairment) -> (Live, Host, sim::LinkId) {
    let mut world = World::new(WorldConfig { seed: 1, record: false, check: false });
    let ours = world.add_host(StackConfig {
        name: "stack".into(),
        seed: 7,
        record: false,
        ..StackConfig::default()
    });
    let eth0 = world.add_nic(ours, "eth0", Medium::Ethernet, STACK_MAC, 1500);
    let kernel = world.add_external("kernel", NodeKind::Linux(linux::kernel_release()));
    let tap0 = world.add_nic(kernel, "tap0", Medium::Ethernet, KERNEL_MAC, 1500);
    let link = world.connect((ours, eth0), (kernel, tap0), LinkConfig::symmetric(impairment.clone()));
    for command in ["ip link set eth0 up", &format!("ip addr add {STACK}/24 dev eth0")] {
        world.admin(ours, &Admin::parse(command).expect("a command")).expect("it works on a fresh host");
    }
    let live = Live::new(world, vec![Port { node: kernel, ifindex: tap0, device: tap }]).expect("a thread");
    let host = live.host(ours);
    (live, host, link)
}

/// Our listener, and a plain connection for each of its own.
async fn relay_in(host: &Host, port: u16, ready: std::sync::mpsc::Sender<String>) {
    let listener = host.listen(("0.0.0.0", port)).await.expect("our stack listens");
    ready.send(format!("{STACK}:{port}")).expect("the test waits");
    loop {
        let (mut near, _) = listener.accept().await.expect("our stack accepts");
        tokio::spawn(async move {
            let mut far = TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
            // Either end may reset: the programs judge what arrived.
            let _ = copy_bidirectional(&mut near, &mut far).await;
        });
    }
}

/// A plain listener, and a connection over our stack for each of its own.
async fn relay_out(host: &Host, port: u16, ready: std::sync::mpsc::Sender<String>) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free namespace");
    ready.send(format!("127.0.0.1:{port}")).expect("the test waits");
    loop {
        let (mut near, _) = listener.accept().await.expect("the kernel accepts");
        let host = host.clone();
        tokio::spawn(async move {
            // A server that resets is busy: the program sees its connection end, and says so.
            let Ok(mut far) = host.connect((KERNEL, port)).await else { return };
            let _ = copy_bidirectional(&mut near, &mut far).await;
        });
    }
}
