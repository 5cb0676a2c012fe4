//! A thread that lives in a network namespace and does one job at a time.
#![expect(unsafe_code, reason = "unshare, setns and the scheduler, each on plain integers")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::{self, check};

type Job<R> = Box<dyn FnOnce() -> R + Send>;

/// A network namespace, held by a descriptor.
#[derive(Clone)]
pub(super) struct Namespace(Arc<File>);

impl Namespace {
    /// The calling thread enters a new one, with its loopback up.
    pub(super) fn enter_new() -> io::Result<Namespace> {
        // SAFETY: takes one integer; a network namespace is a thread's own.
        check(unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
        Ok(Namespace(Arc::new(File::open("/proc/thread-self/ns/net")?)))
    }

    /// The calling thread enters it.
    fn enter(&self) -> io::Result<()> {
        // SAFETY: plain integers; the descriptor lives as long as we do.
        check(unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
    }
}

/// What both sides see of a worker.
#[derive(Default)]
struct Shared {
    /// Its thread id; 0 until it runs.
    tid: AtomicI32,
    /// It has begun its job.
    entered: AtomicBool,
}

/// The thread ends when this is dropped and its job, if any, has returned.
pub(super) struct Worker<R> {
    jobs: Sender<Job<R>>,
    answers: Mutex<Receiver<(u64, R)>>,
    /// One that was taken while looking whether the call sleeps.
    early: Mutex<Option<(u64, R)>>,
    shared: Arc<Shared>,
}

impl<R: Send + 'static> Worker<R> {
    pub(super) fn start(namespace: Option<Namespace>) -> Worker<R> {
        let (jobs, take) = channel::<Job<R>>();
        let (give, answers) = channel();
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        std::thread::spawn(move || {
            if let Some(namespace) = &namespace {
                namespace.enter().expect("this process made the namespace");
            }
            sys::exact_timers();
            let _urgent = sys::Urgent::new();
            // SAFETY: cannot fail and touches no memory.
            seen.tid.store(unsafe { libc::gettid() }, Ordering::SeqCst);
            while let Ok(job) = take.recv() {
                seen.entered.store(true, Ordering::SeqCst);
                let answer = job();
                let end = sys::monotonic_ns();
                seen.entered.store(false, Ordering::SeqCst);
                if give.send((end, answer)).is_err() {
                    return;
                }
            }
        });
        Worker { jobs, answers: Mutex::new(answers), early: Mutex::new(None), shared }
    }

    /// Gives it a job.
    pub(super) fn send(&self, job: impl FnOnce() -> R + Send + 'static) {
        self.jobs.send(Box::new(job)).expect("it ends only after us");
    }

    /// The job's answer and when it was there, on `CLOCK_MONOTONIC`.
    pub(super) fn answer(&self, limit: Duration) -> Option<(u64, R)> {
        if let Some(early) = self.early.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Some(early);
        }
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.recv_timeout(limit).ok()
    }

    /// Gives it a job and waits for the answer.
    pub(super) fn call(&self, job: impl FnOnce() -> R + Send + 'static, limit: Duration) -> Option<R> {
        self.send(job);
        self.answer(limit).map(|(_, r)| r)
    }

    /// Waits until the job sleeps in the kernel or is done.
    pub(super) fn wait_until_asleep(&self, limit: Duration) {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Some(answer) = self.answer(Duration::ZERO) {
                *self.early.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
                return;
            }
            let tid = self.shared.tid.load(Ordering::SeqCst);
            if self.shared.entered.load(Ordering::SeqCst) && sys::is_thread_asleep(tid) {
                return;
            }
            std::thread::yield_now();
        }
    }
}
