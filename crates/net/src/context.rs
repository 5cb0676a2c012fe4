//! On which host a task runs. It follows the task from poll to poll by itself; nobody has to know about it.

use core::cell::{Cell, RefCell};
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;

use pin_project_lite::pin_project;
use tokio::task::JoinHandle;

use crate::Host;

thread_local! {
    /// The host of the task that is being polled on this thread.
    static CURRENT: RefCell<Option<Host>> = const { RefCell::new(None) };
    /// A lab's runtime runs on this thread.
    static IN_LAB: Cell<bool> = const { Cell::new(false) };
}

/// Where a new socket belongs.
pub(crate) enum Ground {
    /// To a host of a world.
    Host(Host),
    /// To the machine.
    Plain,
}

/// The ground of the task that asks.
pub(crate) fn ground() -> io::Result<Ground> {
    if let Some(host) = CURRENT.with_borrow(Clone::clone) {
        return Ok(Ground::Host(host));
    }
    if IN_LAB.get() {
        return Err(io::Error::other(
            "this task runs in a lab but on none of its hosts: start it with net::spawn or Host::spawn instead of \
             tokio::spawn, or wrap its future in Host::scope",
        ));
    }
    Ok(Ground::Plain)
}

/// The current host, if any.
pub(crate) fn current() -> Option<Host> {
    CURRENT.with_borrow(Clone::clone)
}

/// Puts a host in force until the guard goes.
pub(crate) struct Entered(Option<Host>);

pub(crate) fn enter(host: Option<Host>) -> Entered {
    Entered(CURRENT.replace(host))
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// Marks this thread as a lab's until the guard goes.
pub(crate) struct InLab(bool);

pub(crate) fn enter_lab() -> InLab {
    InLab(IN_LAB.replace(true))
}

impl Drop for InLab {
    fn drop(&mut self) {
        IN_LAB.set(self.0);
    }
}

pin_project! {
    /// A future that runs on a host ([`Host::scope`]).
    #[must_use = "futures do nothing unless polled"]
    pub struct Scoped<F> {
        #[pin]
        future: F,
        host: Option<Host>,
    }
}

impl<F> Scoped<F> {
    pub(crate) fn new(host: Option<Host>, future: F) -> Scoped<F> {
        Scoped { future, host }
    }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if this.host.as_ref().is_some_and(Host::spins) {
            return Poll::Pending;
        }
        let _entered = enter(this.host.clone());
        this.future.poll(cx)
    }
}

/// `tokio::spawn`, and the new task runs on the host that this one runs on (on the machine when this one does).
///
/// # Panics
/// Outside of a tokio runtime.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(Scoped::new(current(), future))
}

/// With `--cfg tokio_unstable`: `tokio::spawn` hands the host on by itself, and `select!` draws from the lab's seed.
#[cfg(tokio_unstable)]
pub(crate) fn inherit(builder: &mut tokio::runtime::Builder, seed: u64) {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex, PoisonError};

    use tokio::runtime::RngSeed;

    // Only looked up, never walked through: its order does not matter.
    let hosts: Arc<Mutex<HashMap<tokio::task::Id, Host>>> = Arc::default();
    let [spawned, polled, ended] = [hosts.clone(), hosts.clone(), hosts];
    builder
        .rng_seed(RngSeed::from_bytes(&seed.to_be_bytes()))
        .on_task_spawn(move |meta| {
            if let Some(host) = current() {
                spawned.lock().unwrap_or_else(PoisonError::into_inner).insert(meta.id(), host);
            }
        })
        .on_before_task_poll(move |meta| {
            let host = polled.lock().unwrap_or_else(PoisonError::into_inner).get(&meta.id()).cloned();
            CURRENT.set(host);
        })
        .on_after_task_poll(|_| CURRENT.set(None))
        .on_task_terminate(move |meta| {
            ended.lock().unwrap_or_else(PoisonError::into_inner).remove(&meta.id());
        });
}
