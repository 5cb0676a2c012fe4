//! A host of a world, as its async programs see it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sim::Process;
use stack::admin::Admin;
use stack::record::{NodeId, What};
use tokio::task::JoinHandle;
use wire::Instant;

use crate::addr::Resolve;
use crate::context::Scoped;
use crate::shared::{Inner, Shared};
use crate::tcp::{TcpListener, TcpStream};
use crate::udp::UdpSocket;
use crate::{ToSocketAddrs, addr};

/// Descriptors that the async programs of one host can have: as a service with `LimitNOFILE=infinity`.
const NOFILE: u32 = 1 << 20;

/// A host whose programs are async tasks; cheap to clone. All of its tasks are one process of the host.
#[derive(Clone)]
pub struct Host(Arc<HostInner>);

/// How often a program may be polled without all programs having had to wait meanwhile; one that goes on spins: it wakes itself
/// and virtual time cannot pass.
const MAX_POLLS: u64 = 1_000_000;

struct HostInner {
    shared: Arc<Shared>,
    process: Process,
    name: String,
    /// Of [`Shared::rests`] when it was polled last, and polls since then.
    polled: (AtomicU64, AtomicU64),
}

impl core::fmt::Debug for Host {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Host").field(&self.0.name).finish()
    }
}

impl Host {
    /// Opens a process for async programs on a host of the world. Panics when the node is no host on our stack.
    pub(crate) fn open(shared: &Arc<Shared>, node: NodeId) -> Host {
        let open = |inner: &mut Inner| {
            let name = inner.world.stack(node).name().to_string();
            (inner.world.open_process(node, "async"), name)
        };
        let (process, name) = shared.with(open).expect("a host is opened while the world is there");
        Host::entered(shared, process, name)
    }

    /// A process that is open already.
    pub(crate) fn of_process(shared: &Arc<Shared>, process: Process) -> Host {
        let name = shared.with(|inner| inner.world.stack(process.node).name().to_string());
        Host::entered(shared, process, name.expect("a program starts while the world is there"))
    }

    fn entered(shared: &Arc<Shared>, process: Process, name: String) -> Host {
        let enter = |inner: &mut Inner| {
            let node = process.node;
            inner.world.with_stack(node, |stack, _| stack.set_nofile(process.pid, NOFILE));
        };
        shared.with(enter).expect("it was there a moment ago");
        Host(Arc::new(HostInner { shared: shared.clone(), process, name, polled: Default::default() }))
    }

    /// Writes what the program did into the journal, now: a line that it printed, a secret of its TLS. The program's
    /// number is handed in.
    pub fn record(&self, what: impl FnOnce(u32) -> What) {
        let Process { node, index, .. } = self.process();
        // After the end there is no journal, and nobody who would miss it.
        let _ = self.0.shared.with(|inner| {
            let now = inner.world.now();
            inner.world.record(node, now, what(index));
        });
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The host that the current task runs on; `None` on the machine.
    pub fn current() -> Option<Host> {
        crate::context::current()
    }

    /// From now on the programs of this host look up names so: `lookup_host`, `TcpStream::connect("www.example:80")`.
    pub fn set_resolver(&self, resolver: Arc<dyn Resolve>) {
        let node = self.node();
        self.0.shared.with(|inner| {
            inner.resolvers.retain(|(of, _)| *of != node);
            inner.resolvers.push((node, resolver));
        });
    }

    /// What [`Host::set_resolver`] set.
    pub fn resolver(&self) -> Option<Arc<dyn Resolve>> {
        let node = self.node();
        self.0.shared.with(|inner| addr::resolver_of(inner, node)).flatten()
    }

    /// Its number in the world.
    pub fn node(&self) -> NodeId {
        self.0.process.node
    }

    /// The world's time.
    pub fn now(&self) -> Instant {
        self.0.shared.now()
    }

    /// Whether its world is a [`crate::Lab`], where time is virtual and nobody outside can be reached.
    pub fn in_virtual_time(&self) -> bool {
        self.0.shared.is_virtual()
    }

    /// The future runs on this host: sockets that it makes are the host's.
    pub fn scope<F: Future>(&self, future: F) -> Scoped<F> {
        Scoped::new(Some(self.clone()), future)
    }

    /// `tokio::spawn` for a task that runs on this host. A task that panics is seen by whoever awaits the handle, as
    /// in tokio; [`crate::Lab::start`] fails the run.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(self.scope(future))
    }

    /// [`TcpStream::connect`] from this host, for tasks that run on none.
    pub async fn connect<A: ToSocketAddrs>(&self, addr: A) -> io::Result<TcpStream> {
        self.scope(TcpStream::connect(addr)).await
    }

    /// [`TcpListener::bind`] on this host.
    pub async fn listen<A: ToSocketAddrs>(&self, addr: A) -> io::Result<TcpListener> {
        self.scope(TcpListener::bind(addr)).await
    }

    /// [`UdpSocket::bind`] on this host.
    pub async fn bind_udp<A: ToSocketAddrs>(&self, addr: A) -> io::Result<UdpSocket> {
        self.scope(UdpSocket::bind(addr)).await
    }

    /// Runs an `ip` or `sysctl` command, such as `sysctl -w net.ipv4.tcp_syncookies=0`. The error is what the
    /// command prints.
    pub fn admin(&self, command: &str) -> Result<(), String> {
        let command: Admin = Admin::parse(command).map_err(|error| error.to_string())?;
        let node = self.node();
        self.0
            .shared
            .with(|inner| inner.world.admin(node, &command))
            .unwrap_or_else(|| Err("the world is gone".into()))
    }

    /// Addresses of its interfaces without loopback and link-local ones, in order.
    pub fn addresses(&self) -> Vec<IpAddr> {
        let node = self.node();
        self.0.shared.with(|inner| addr::of_node(inner, node)).unwrap_or_default()
    }

    /// Does something with the host's stack, such as looking at `ss`.
    pub fn with_stack<R>(&self, f: impl FnOnce(&mut stack::Stack, Instant) -> R) -> Option<R> {
        let node = self.node();
        self.0.shared.with(|inner| inner.world.with_stack(node, f))
    }

    /// Segments that a connection of this host has sent and received so far, as `ss -ti` counts them; `None` when there is no
    /// such connection (any more).
    pub fn tcp_segments(&self, local: SocketAddr, remote: SocketAddr) -> Option<[u32; 2]> {
        self.with_stack(|stack, _| stack.tcp_segments(local, remote)).flatten()
    }

    /// Counts a poll in virtual time. True when the program spins: it is not polled any more, and the run ends.
    #[inline]
    pub(crate) fn spins(&self) -> bool {
        let HostInner { shared, polled: (rests, polls), .. } = &*self.0;
        // A lab runs on one thread.
        let now = shared.rests();
        if rests.load(Ordering::Relaxed) != now {
            rests.store(now, Ordering::Relaxed);
            polls.store(0, Ordering::Relaxed);
        }
        let count = polls.load(Ordering::Relaxed) + 1;
        polls.store(count, Ordering::Relaxed);
        count > MAX_POLLS && self.told_to_spin()
    }

    #[cold]
    fn told_to_spin(&self) -> bool {
        if !self.in_virtual_time() {
            return false;
        }
        let process = self.process();
        let mut inner = self.shared().lock();
        let inner = &mut *inner;
        let name = inner.world.process_name(process);
        inner.spins.get_or_insert_with(|| format!("{name} on {}", self.name()));
        true
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    pub(crate) fn process(&self) -> Process {
        self.0.process
    }
}
