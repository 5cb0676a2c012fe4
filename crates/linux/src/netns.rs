//! A network namespace without an agent, for tests and programs that only need kernel peers on a TAP. Linux:
//! network_namespaces(7): threads may be in different ones, and children inherit their thread's.
#![expect(unsafe_code, reason = "unshare of a new thread")]

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use wire::MacAddr;

use crate::agent::{Failure, iface};
use crate::protocol::WantIface;
use crate::sys::check;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with `lo` up, and a thread that is in it. It goes away with the last thread, process and
/// socket in it.
pub struct Netns {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Netns {
    /// A new namespace. `EPERM` without `CAP_SYS_ADMIN`.
    pub fn new() -> io::Result<Netns> {
        let (jobs, todo) = channel::<Job>();
        let (ready, made) = channel();
        let thread = std::thread::Builder::new().name("netns".into()).spawn(move || {
            // SAFETY: no descriptor or memory is unshared, only this thread's network namespace.
            let entered = check(unsafe { libc::unshare(libc::CLONE_NEWNET) });
            let up = entered.and_then(|_| iface::set_up("lo").map_err(Failure::into_io));
            let failed = up.is_err();
            if ready.send(up).is_err() || failed {
                return;
            }
            while let Ok(job) = todo.recv() {
                job();
            }
        })?;
        made.recv().expect("the thread reports before it ends")?;
        Ok(Netns { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `f` on the namespace's thread and waits for it. Threads, processes and sockets that it makes are in the
    /// namespace.
    ///
    /// # Panics
    /// When `f` does.
    pub fn run<R: Send + 'static>(&self, f: impl FnOnce() -> R + Send + 'static) -> R {
        let (done, result) = channel();
        let job = Box::new(move || {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
            // Whoever asked waits below.
            let _ = done.send(outcome);
        });
        self.jobs.as_ref().expect("only drop takes it").send(job).expect("the thread lives as long as we do");
        match result.recv().expect("a job reports") {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// A TAP device in the namespace (a TUN device without `mac`), still down: its number, and the descriptor that its
    /// packets pass through. Nothing is offloaded: every packet is complete.
    pub fn open_tap(&self, name: &str, mac: Option<MacAddr>, mtu: u32) -> io::Result<(u32, OwnedFd)> {
        let want = WantIface { name: name.to_owned(), ifindex: 0, mac: mac.map(|mac| mac.0), mtu };
        self.run(move || iface::create(&want).map_err(Failure::into_io))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            // It ends by itself; a panic in it was reported by `run`.
            let _ = thread.join();
        }
    }
}
