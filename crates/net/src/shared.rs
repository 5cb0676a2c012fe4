//! The world that hosts, sockets and the clock's driver share, and who waits for which socket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use sim::World;
use stack::call::PollEvents;
use stack::record::NodeId;
use wire::Instant;

use crate::addr::Resolve;
use crate::live::Ports;

/// What a reader waits for: also the events that make a read return an error or the end.
pub(crate) const READ: PollEvents = PollEvents(
    PollEvents::IN.0
        | PollEvents::RDNORM.0
        | PollEvents::PRI.0
        | PollEvents::RDHUP.0
        | PollEvents::HUP.0
        | PollEvents::ERR.0,
);
/// What a writer waits for.
pub(crate) const WRITE: PollEvents =
    PollEvents(PollEvents::OUT.0 | PollEvents::WRNORM.0 | PollEvents::HUP.0 | PollEvents::ERR.0);

/// Who waits for one socket. The `poll_*` methods have one place per direction, as in tokio: the last task to
/// poll is the one that is woken. The `async` methods can have any number of waiters.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    pub(crate) waiters: Vec<Waiter>,
}

/// A pending `async` method.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) id: u64,
    pub(crate) interest: PollEvents,
    pub(crate) waker: Waker,
}

impl Watch {
    fn take(&mut self, events: PollEvents, woken: &mut Vec<Waker>) {
        if events.any(READ) {
            woken.extend(self.reader.take());
        }
        if events.any(WRITE) {
            woken.extend(self.writer.take());
        }
        // Waiters are few; those that are not meant stay in order.
        let mut at = 0;
        while at < self.waiters.len() {
            if self.waiters[at].interest.any(events) {
                woken.push(self.waiters.remove(at).waker);
            } else {
                at += 1;
            }
        }
    }
}

/// What the lock protects.
pub(crate) struct Inner {
    pub(crate) world: World,
    /// By the token that the stack knows a socket by.
    watches: Vec<Watch>,
    free: Vec<usize>,
    /// How hosts look up names that do so by themselves.
    pub(crate) resolvers: Vec<(NodeId, Arc<dyn Resolve>)>,
    /// The program that spins ([`crate::Stuck::spins`]).
    pub(crate) spins: Option<String>,
    next_waiter: u64,
    /// Numbers calls in the journal.
    next_call: u32,
    /// The world was taken away: every call fails.
    over: bool,
}

impl Inner {
    /// A place for the waiters of a new socket.
    pub(crate) fn new_watch(&mut self) -> u64 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.watches.push(Watch::default());
            self.watches.len() - 1
        });
        at as u64
    }

    pub(crate) fn free_watch(&mut self, token: u64) {
        let at = usize::try_from(token).expect("an index");
        self.watches[at] = Watch::default();
        self.free.push(at);
    }

    pub(crate) fn watch(&mut self, token: u64) -> &mut Watch {
        &mut self.watches[usize::try_from(token).expect("an index")]
    }

    pub(crate) fn waiter_id(&mut self) -> u64 {
        self.next_waiter += 1;
        self.next_waiter
    }

    pub(crate) fn call_seq(&mut self) -> u32 {
        self.next_call += 1;
        self.next_call
    }

    /// Moves the wakers of everything that has news to `woken`.
    pub(crate) fn take_woken(&mut self, woken: &mut Vec<Waker>) {
        while let Some(news) = self.world.poll_news() {
            let at = usize::try_from(news.token).expect("an index");
            self.watches[at].take(news.events, woken);
        }
    }

    fn take_all(&mut self, woken: &mut Vec<Waker>) {
        for watch in &mut self.watches {
            watch.take(PollEvents(u32::MAX), woken);
        }
    }
}

/// How the world's clock moves.
pub(crate) enum Clock {
    /// By [`crate::Lab`]: from event to event.
    Virtual,
    /// By the machine's clock ([`crate::Live`]).
    Real(Ports),
}

/// A world with its clock.
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    clock: Clock,
    /// How often a lab's programs had all nothing to do: something else could happen then.
    rests: AtomicU64,
}

impl Shared {
    pub(crate) fn new(world: World, clock: Clock) -> Arc<Shared> {
        let inner = Inner {
            world,
            watches: Vec::new(),
            free: Vec::new(),
            resolvers: Vec::new(),
            spins: None,
            next_waiter: 0,
            next_call: 0,
            over: false,
        };
        Arc::new(Shared { inner: Mutex::new(inner), clock, rests: AtomicU64::new(0) })
    }

    /// A panic elsewhere leaves nothing half done that matters here: the run fails anyway.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something in the world at the time that it is now, and wakes whoever has news from it. `None` when the
    /// world is gone.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Inner) -> R) -> Option<R> {
        let mut inner = self.lock();
        if inner.over {
            return None;
        }
        if let Clock::Real(ports) = &self.clock {
            inner.world.advance_to(ports.now());
        }
        let result = f(&mut inner);
        if let Clock::Real(ports) = &self.clock {
            ports.settle(&mut inner.world);
        }
        let mut woken = Vec::new();
        inner.take_woken(&mut woken);
        drop(inner);
        for waker in woken {
            waker.wake();
        }
        Some(result)
    }

    /// The world's time.
    pub(crate) fn now(&self) -> Instant {
        match &self.clock {
            Clock::Virtual => self.lock().world.now(),
            Clock::Real(ports) => ports.now(),
        }
    }

    /// Whether a [`crate::Lab`] moves the clock.
    pub(crate) fn is_virtual(&self) -> bool {
        matches!(self.clock, Clock::Virtual)
    }

    /// All programs of a lab wait.
    pub(crate) fn rest(&self) {
        // One thread does all of it: no atomic addition is needed.
        self.rests.store(self.rests.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// How often that was.
    pub(crate) fn rests(&self) -> u64 {
        self.rests.load(Ordering::Relaxed)
    }

    /// The devices of a world in real time.
    pub(crate) fn ports(&self) -> &Ports {
        match &self.clock {
            Clock::Real(ports) => ports,
            Clock::Virtual => unreachable!("only crate::live asks, and its clock is real"),
        }
    }

    /// The world was taken away.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().over
    }

    /// Takes the world away: from now on every call fails with `ENETDOWN`.
    pub(crate) fn take_world(&self) -> Option<World> {
        let mut inner = self.lock();
        if core::mem::replace(&mut inner.over, true) {
            return None;
        }
        let mut woken = Vec::new();
        inner.take_all(&mut woken);
        let empty = World::new(sim::WorldConfig { record: false, ..sim::WorldConfig::default() });
        let world = core::mem::replace(&mut inner.world, empty);
        drop(inner);
        for waker in woken {
            waker.wake();
        }
        Some(world)
    }
}
