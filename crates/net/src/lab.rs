//! [`Lab`]: async programs in virtual time. One paused tokio runtime shares its clock with a world.
//!
//! `on_thread_park` runs when no task is runnable. There the world's events happen, in place and with nanoseconds, until
//! one of them wakes a task; then tokio's clock is moved to that event and the tasks run. tokio's timers keep their
//! granularity of 1 ms and fire in order with the world's events:
//!
//! * events before the next millisecond happen at once: tokio has fired every timer up to the last one;
//! * behind it, the clock is first moved to that millisecond, so that the timers there fire;
//! * from a whole millisecond on, tokio's own auto-advance jumps to its next timer; a guard timer of ours stands at
//!   the millisecond of the world's next event, so that it does not jump over it. (Auto-advance adds whole milliseconds to
//!   the clock: it must start from one.)

use core::any::Any;
use core::fmt;
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use sim::{Process, World, WorldConfig};
use stack::record::NodeId;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::Sleep;
use wire::Instant;

use crate::Host;
use crate::context::enter_lab;
use crate::shared::{Clock, Inner, Shared};

/// tokio's timer granularity.
const TICK: u64 = 1_000_000;

/// What a [`Lab`] is made from.
#[derive(Clone, Debug)]
pub struct LabConfig {
    /// The world's seed, its journal and its checks.
    pub world: WorldConfig,
    /// Virtual time at which a run is given up; 24 hours by default. A run in which nothing can happen any more
    /// arrives there at once.
    pub limit: Duration,
}

impl Default for LabConfig {
    fn default() -> Self {
        LabConfig { world: WorldConfig::default(), limit: Duration::from_secs(24 * 3600) }
    }
}

/// A way to a lab's world from inside a run ([`Lab::control`]).
#[derive(Clone)]
pub struct Control(Arc<Shared>);

impl Control {
    /// Does something with the world, now. `None` when the lab is over.
    pub fn world<R>(&self, f: impl FnOnce(&mut World) -> R) -> Option<R> {
        self.0.with(|inner| f(&mut inner.world))
    }
}

/// The run came to [`LabConfig::limit`] (what was awaited would never have happened) or to [`Lab::limit_events`], or a program
/// wakes itself for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// When it was given up.
    pub at: Instant,
    /// When the last event of the world happened.
    pub last_event: Instant,
    /// The program that spins, such as `client on alice`: it was polled ten million times and time could not pass. A program
    /// that is started with plain `tokio::spawn` is not watched.
    pub spins: Option<String>,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(program) = &self.spins {
            return write!(
                f,
                "{program} spins at {} s: it wakes itself again and again, so that time cannot pass. Await a sleep or a \
                 packet instead of yield_now",
                self.at
            );
        }
        write!(
            f,
            "the run did not end within {} s of virtual time; the last event of the world was at {} s. Something \
             waits for what never comes: bound it with tokio::time::timeout",
            self.at, self.last_event
        )
    }
}

impl core::error::Error for Stuck {}

/// A world in virtual time whose hosts run async programs.
///
/// ```
/// use net::{Lab, LabConfig, TcpListener, TcpStream};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let mut lab = Lab::new(LabConfig::default());
/// let [client, server] = lab.pair(std::time::Duration::from_millis(10));
/// lab.start(&server, async {
///     let listener = TcpListener::bind("0.0.0.0:80").await.unwrap();
///     let (mut stream, _) = listener.accept().await.unwrap();
///     stream.write_all(b"hello").await.unwrap();
/// });
/// let text = lab.run(client.scope(async {
///     let mut text = String::new();
///     TcpStream::connect("server:80").await.unwrap().read_to_string(&mut text).await.unwrap();
///     text
/// }));
/// assert_eq!(text, "hello");
/// assert_eq!(lab.now().as_nanos(), 40_000_000); // two round trips, exactly
/// ```
pub struct Lab {
    shared: Arc<Shared>,
    driver: Arc<Driver>,
    runtime: Option<Runtime>,
}

/// Moves the clock; called by the runtime.
struct Driver {
    shared: Arc<Shared>,
    /// tokio's time at the world's zero.
    epoch: OnceLock<tokio::time::Instant>,
    state: Mutex<DriverState>,
    limit: u64,
    /// What the machine's clocks show on this thread.
    #[cfg(all(feature = "interpose", target_os = "linux"))]
    shown: Option<Arc<AtomicU64>>,
    /// Events of the world after which a run is given up, too.
    max_events: AtomicU64,
}

#[derive(Default)]
struct DriverState {
    /// Where tokio's clock stands, in ns of the world: as far as we know.
    clock: u64,
    guard: Option<(u64, Pin<Box<Sleep>>)>,
    woken: Vec<Waker>,
    /// The limit is reached.
    over: bool,
    last_event: u64,
    /// A program of [`Lab::start`] panicked.
    panic: Option<Box<dyn Any + Send>>,
    /// The run, to be woken for `over` or `panic`.
    root: Option<Waker>,
}

impl DriverState {
    /// An event happened at `at`: everything else of the same time happens before the programs hear of it.
    fn happened(&mut self, inner: &mut Inner, at: Instant) {
        while inner.world.step_until(at).is_some() {}
        self.last_event = at.as_nanos();
        inner.take_woken(&mut self.woken);
    }
}

impl Lab {
    /// An empty world at time 0.
    pub fn new(config: LabConfig) -> Lab {
        let limit = u64::try_from(config.limit.as_nanos()).unwrap_or(u64::MAX);
        let seed = config.world.seed;
        Lab::around(World::new(config.world), limit, seed)
    }

    /// Async programs in a world that was built elsewhere, such as by a scenario; it is still at time 0.
    ///
    /// # Panics
    /// When the world's time has begun.
    pub fn with_world(world: World, limit: Duration) -> Lab {
        assert!(world.now() == Instant::ZERO, "a lab begins at time 0");
        Lab::around(world, u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX), 0)
    }

    #[cfg_attr(not(tokio_unstable), expect(unused_variables, reason = "only unstable tokio takes a seed"))]
    fn around(world: World, limit: u64, seed: u64) -> Lab {
        let shared = Shared::new(world, Clock::Virtual);
        let driver = Arc::new(Driver {
            shared: shared.clone(),
            epoch: OnceLock::new(),
            state: Mutex::default(),
            // The guard can only stand on a whole millisecond.
            limit: (limit / TICK).max(1) * TICK,
            #[cfg(all(feature = "interpose", target_os = "linux"))]
            shown: crate::interpose::clock(),
            max_events: AtomicU64::new(u64::MAX),
        });
        let (parking, unparking) = (driver.clone(), driver.clone());
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder
            .enable_time()
            .start_paused(true)
            .on_thread_park(move || parking.idle())
            .on_thread_unpark(move || unparking.unparked());
        #[cfg(tokio_unstable)]
        crate::context::inherit(&mut builder, seed);
        let runtime = builder.build().expect("a runtime without I/O needs nothing from the machine");
        let epoch = {
            let _inside = runtime.enter();
            tokio::time::Instant::now()
        };
        driver.epoch.set(epoch).expect("it is set once");
        Lab { shared, driver, runtime: Some(runtime) }
    }

    /// Does something with the world: adds hosts, links and faults, or looks at it.
    pub fn world<R>(&self, f: impl FnOnce(&mut World) -> R) -> R {
        self.shared.with(|inner| f(&mut inner.world)).expect("only finish() takes the world")
    }

    /// The world in the hands of a program, to cut a link or to arm a fault while the run goes on.
    pub fn control(&self) -> Control {
        Control(self.shared.clone())
    }

    /// Async programs on a host of the world. Panics when the node is no host on our stack.
    pub fn host(&self, node: NodeId) -> Host {
        Host::open(&self.shared, node)
    }

    /// Async programs as a process that was opened with [`World::open_process`]: its name and its number are in the
    /// journal.
    pub fn process(&self, process: Process) -> Host {
        Host::of_process(&self.shared, process)
    }

    /// A run is given up ([`Stuck`]) after so many events of the world: a bound on wall time. Without bound unless given.
    pub fn limit_events(&self, max: u64) {
        self.driver.max_events.store(max, Ordering::Relaxed);
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.shared.now()
    }

    /// Starts a program on a host. It runs during [`Lab::run`]; a panic in it ends that.
    pub fn start<F>(&self, host: &Host, program: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let driver = Arc::downgrade(&self.driver);
        let scoped = host.scope(program);
        self.runtime().spawn(async move {
            let Err(panic) = CatchUnwind(Box::pin(scoped)).await else { return };
            if let Some(driver) = driver.upgrade() {
                driver.fail(panic);
            }
        })
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("only drop takes it")
    }

    /// Runs until `root` ends. Started programs run on beside it, and go on in the next call.
    ///
    /// # Panics
    /// With the panic of a started program, and when the time limit is reached ([`Stuck`]).
    pub fn run<F: Future>(&mut self, root: F) -> F::Output {
        self.try_run(root).unwrap_or_else(|stuck| panic!("{stuck}"))
    }

    /// The same, but the time limit is an error.
    pub fn try_run<F: Future>(&mut self, root: F) -> Result<F::Output, Stuck> {
        let _inside = enter_lab();
        let driver = self.driver.clone();
        self.runtime().block_on(async move {
            let mut root = pin!(root);
            core::future::poll_fn(|cx| {
                if let Some(end) = driver.end(cx) {
                    return Poll::Ready(Err(end));
                }
                root.as_mut().poll(cx).map(Ok)
            })
            .await
        })
    }

    /// Lets time pass: programs and packets go on.
    pub fn advance(&mut self, time: Duration) {
        self.run(async move { tokio::time::sleep(time).await });
    }

    /// The end: the world with its journal. Sockets that are still open fail with `ENETDOWN`; their hosts are
    /// switched off rather than closed down, so nothing is added to the journal.
    pub fn finish(mut self) -> World {
        let world = self.shared.take_world().expect("only finish() takes the world");
        self.runtime.take();
        world
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Tasks hold the hosts, which hold the world, which the driver in the runtime's hooks holds.
        self.runtime.take();
    }
}

impl Driver {
    fn state(&self) -> MutexGuard<'_, DriverState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// tokio's time in ns of the world.
    fn tokio_now(&self, epoch: tokio::time::Instant) -> u64 {
        let now = tokio::time::Instant::now().saturating_duration_since(epoch);
        u64::try_from(now.as_nanos()).expect("the limit is below 584 years")
    }

    /// `on_thread_park`: no task is runnable.
    fn idle(&self) {
        let Some(epoch) = self.epoch.get() else { return };
        let mut state = self.state();
        let state = &mut *state;
        if state.over {
            return self.wake_root(state);
        }
        self.shared.rest();
        let mut inner = self.shared.lock();
        let too_many = inner.world.events() > self.max_events.load(Ordering::Relaxed);
        if too_many || inner.spins.is_some() {
            drop(inner);
            state.over = true;
            return self.wake_root(state);
        }
        let now = self.tokio_now(*epoch);
        if now > state.clock {
            // A program moved tokio's clock (`tokio::time::advance`): the world follows.
            self.show(state, now);
            inner.world.run_until(Instant::from_nanos(now));
            inner.take_woken(&mut state.woken);
            if !state.woken.is_empty() {
                drop(inner);
                return self.hand_over(state, now);
            }
        }
        let tick = (state.clock / TICK + 1) * TICK;
        while let Some(at) = inner.world.step_until(Instant::from_nanos(tick - 1)) {
            state.happened(&mut inner, at);
            if !state.woken.is_empty() {
                drop(inner);
                return self.hand_over(state, at.as_nanos());
            }
        }
        if !state.clock.is_multiple_of(TICK) {
            inner.world.pass_time(Instant::from_nanos(tick));
            drop(inner);
            return self.set_clock(state, tick);
        }
        let next = inner.world.next_event().map_or(self.limit, Instant::as_nanos);
        drop(inner);
        self.arm_guard(state, *epoch, next.min(self.limit) / TICK);
    }

    /// The programs run at `at`.
    fn hand_over(&self, state: &mut DriverState, at: u64) {
        // A woken task keeps the scheduler from sleeping; a waker of another kind may not.
        self.set_clock(state, at);
        for waker in state.woken.drain(..) {
            waker.wake();
        }
    }

    /// The clock stands at `now`.
    fn show(&self, state: &mut DriverState, now: u64) {
        state.clock = now;
        #[cfg(all(feature = "interpose", target_os = "linux"))]
        if let Some(shown) = &self.shown {
            shown.store(now, Ordering::Relaxed);
        }
    }

    /// Moves tokio's paused clock: `advance` does so on its first poll, and the yield that it asks for makes the
    /// scheduler look at its timers instead of sleeping.
    fn set_clock(&self, state: &mut DriverState, to: u64) {
        let by = to.checked_sub(state.clock).expect("time does not run backwards");
        self.show(state, to);
        let mut advance = pin!(tokio::time::advance(Duration::from_nanos(by)));
        let _ = advance.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }

    /// The scheduler sleeps now: the paused clock jumps to the guard or to the next timer of tokio.
    fn arm_guard(&self, state: &mut DriverState, epoch: tokio::time::Instant, tick: u64) {
        let deadline = epoch + Duration::from_millis(tick);
        match &mut state.guard {
            Some((at, sleep)) => {
                if *at != tick {
                    sleep.as_mut().reset(deadline);
                    *at = tick;
                }
            }
            none => *none = Some((tick, Box::pin(tokio::time::sleep_until(deadline)))),
        }
        let (_, sleep) = state.guard.as_mut().expect("set above");
        let _ = sleep.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }

    /// `on_thread_unpark`: the runtime may have moved its clock.
    fn unparked(&self) {
        let Some(epoch) = self.epoch.get() else { return };
        let now = self.tokio_now(*epoch);
        let mut state = self.state();
        if now <= state.clock {
            return;
        }
        let state = &mut *state;
        self.show(state, now);
        let mut inner = self.shared.lock();
        let at = Instant::from_nanos(now);
        inner.world.pass_time(at);
        // What happens in this very moment need not wait until the scheduler is about to sleep again.
        if inner.world.step_until(at).is_some() {
            state.happened(&mut inner, at);
        }
        drop(inner);
        for waker in state.woken.drain(..) {
            waker.wake();
        }
        if now >= self.limit {
            state.over = true;
            self.wake_root(state);
        }
    }

    fn wake_root(&self, state: &mut DriverState) {
        if let Some(waker) = state.root.take() {
            waker.wake();
        }
    }

    /// A started program panicked.
    fn fail(&self, panic: Box<dyn Any + Send>) {
        let mut state = self.state();
        state.panic.get_or_insert(panic);
        self.wake_root(&mut state);
    }

    /// Whether the run must end now.
    fn end(&self, cx: &Context<'_>) -> Option<Stuck> {
        let mut state = self.state();
        if let Some(panic) = state.panic.take() {
            drop(state);
            resume_unwind(panic);
        }
        if state.over {
            let [at, last_event] = [state.clock, state.last_event].map(Instant::from_nanos);
            return Some(Stuck { at, last_event, spins: self.shared.lock().spins.clone() });
        }
        match &mut state.root {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        None
    }
}

/// A future whose panic is a value.
struct CatchUnwind<F>(Pin<Box<F>>);

impl<F: Future> Future for CatchUnwind<F> {
    type Output = Result<F::Output, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

impl Lab {
    /// The smallest world: `client` (192.0.2.1, 2001:db8::1) and `server` (192.0.2.2, 2001:db8::2) on one bare-IP
    /// cable that takes `delay` one way.
    pub fn pair(&self, delay: Duration) -> [Host; 2] {
        self.pair_over(sim::Impairment { delay, ..sim::Impairment::default() })
    }

    /// The same, and both directions of the cable are impaired.
    pub fn pair_over(&self, impairment: sim::Impairment) -> [Host; 2] {
        let nodes = self.world(|world| {
            let ends = [(1, "client"), (2, "server")].map(|(n, name)| {
                let config =
                    stack::StackConfig { name: name.into(), seed: n, ..stack::StackConfig::default() };
                let node = world.add_host(config);
                let nic = world.add_nic(node, "eth0", wire::Medium::Ip, wire::MacAddr::default(), 1500);
                (node, nic)
            });
            world.connect(ends[0], ends[1], sim::LinkConfig::symmetric(impairment));
            for (n, (node, _)) in (1..).zip(ends) {
                for command in [
                    "ip link set eth0 up".to_string(),
                    format!("ip addr add 192.0.2.{n}/24 dev eth0"),
                    format!("ip addr add 2001:db8::{n}/64 dev eth0 nodad"),
                ] {
                    let command = stack::admin::Admin::parse(&command).expect("a known command");
                    world.admin(node, &command).expect("it works on a fresh host");
                }
            }
            ends.map(|(node, _)| node)
        });
        nodes.map(|node| self.host(node))
    }
}
