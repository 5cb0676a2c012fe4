//! The host under test, its virtual clock, and the one thread that may sleep in a call of it.
//!
//! packetdrill's main thread owns the clock; a blocking call is made by a second thread. Whenever the main thread has let
//! something happen it looks whether that call has returned, and if so waits until packetdrill has timed its
//! end, so that a run does not depend on the machine's scheduler.

#![expect(unsafe_code, reason = "gettid, which touches no memory")]

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use drill::target::{Answer, Host as _, Request, ShellError, Target};
use wire::Instant;

use crate::flags::Flags;

/// How much later it is each time the clock is read: packetdrill spins away the last 20 us before an event.
const READING: Duration = Duration::from_micros(1);

/// The longest (virtual) wait for a packet.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How long (really) the thread in a blocking call gets for leaving it.
const HANDOVER: Duration = Duration::from_secs(5);

/// What the thread in a blocking call does.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sleeper {
    /// It is not in a call.
    Away,
    /// Its call sleeps.
    Asleep,
    /// Its call has returned, at this time and with this answer, of which it does not know yet.
    Answered(Instant, Answer),
    /// It took the answer of that time; packetdrill has not read the clock for it yet.
    Returned(Instant),
}

/// Everything behind the lock.
pub(crate) struct Inner {
    target: Box<dyn Target>,
    main: ThreadId,
    sleeper: Sleeper,
    /// The second thread, while packetdrill may not have noted yet what its last call gave.
    noting: Option<libc::pid_t>,
    /// The address that the host has.
    local_ip: IpAddr,
    /// The last socket was of `AF_INET6`: control messages have that family's numbers.
    pub(crate) inet6_sockets: bool,
}

/// The host under test; there is one in a process.
pub(crate) struct Host {
    inner: Mutex<Inner>,
    changed: Condvar,
}

static HOST: OnceLock<Host> = OnceLock::new();

/// The host, once packetdrill has asked for it.
pub(crate) fn host() -> Option<&'static Host> {
    HOST.get()
}

/// Makes the host. Its thread is the one that owns the clock.
pub(crate) fn start(flags: &Flags) -> Result<(), String> {
    let inner = Inner {
        target: flags.host.make(&flags.config)?,
        main: std::thread::current().id(),
        sleeper: Sleeper::Away,
        noting: None,
        local_ip: flags.config.addresses().local,
        inet6_sockets: false,
    };
    HOST.set(Host { inner: Mutex::new(inner), changed: Condvar::new() })
        .map_err(|_| "packetdrill initialised the plug-in twice".to_owned())
}

/// Ends packetdrill: it has no way to be told.
pub(crate) fn give_up(why: &str) -> ! {
    eprintln!("{why}");
    std::process::exit(1)
}

impl Inner {
    fn is_main(&self) -> bool {
        std::thread::current().id() == self.main
    }
}

impl Host {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After anything that happened: a sleeping call that has returned is handed to its thread, and timed.
    fn settle<'a>(&'a self, mut inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        if inner.sleeper == Sleeper::Asleep {
            let now = inner.target.now();
            if let Some((at, answer)) = inner.target.finished(now) {
                inner.sleeper = Sleeper::Answered(at, answer);
                self.changed.notify_all();
            }
        }
        let busy = |inner: &mut Inner| matches!(inner.sleeper, Sleeper::Answered(..) | Sleeper::Returned(_));
        let waited = self.changed.wait_timeout_while(inner, HANDOVER, busy);
        let (mut inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if busy(&mut inner) {
            give_up("a blocking call returned, but packetdrill did not read the clock for it");
        }
        inner
    }

    /// A call, made by the thread that asks.
    pub(crate) fn request(&self, request: &Request) -> Answer {
        let mut inner = self.lock();
        let answer = if inner.is_main() {
            let answer = inner.target.call(request);
            drop(self.settle(inner));
            answer
        } else {
            inner.target.start(request);
            let now = inner.target.now();
            inner.sleeper = match inner.target.finished(now) {
                Some((at, answer)) => Sleeper::Answered(at, answer),
                None => Sleeper::Asleep,
            };
            let asleep = |inner: &mut Inner| inner.sleeper == Sleeper::Asleep;
            inner = self.changed.wait_while(inner, asleep).unwrap_or_else(PoisonError::into_inner);
            let Sleeper::Answered(at, answer) = std::mem::replace(&mut inner.sleeper, Sleeper::Away) else {
                give_up("two blocking calls at the same time")
            };
            inner.sleeper = Sleeper::Returned(at);
            answer
        };
        match answer {
            Answer::Hangs => {
                give_up(&format!("{request:?} blocks for ever, which the script does not expect"))
            }
            Answer::Unsupported(what) => give_up(&format!("unsupported: {what}")),
            answer => answer,
        }
    }

    /// `usleep`. packetdrill gives up its own lock for it, so that a call that has returned can be noted (`accept`'s new
    /// descriptor): with a real sleep there is time for that.
    pub(crate) fn sleep(&self, time: Duration) {
        let noting = self.lock().noting.take();
        let end = std::time::Instant::now() + HANDOVER;
        while noting.is_some_and(|tid| !is_asleep(tid)) && std::time::Instant::now() < end {
            std::thread::yield_now();
        }
        let mut inner = self.lock();
        let end = inner.target.now() + time;
        inner.target.sleep_until(end);
        drop(self.settle(inner));
    }

    /// The clock in microseconds.
    pub(crate) fn clock(&self) -> i64 {
        let mut inner = self.lock();
        if let (Sleeper::Returned(at), false) = (&inner.sleeper, inner.is_main()) {
            let at = *at;
            inner.sleeper = Sleeper::Away;
            // SAFETY: cannot fail and touches no memory.
            inner.noting = Some(unsafe { libc::gettid() });
            self.changed.notify_all();
            return usecs(at);
        }
        // The second thread also waits for the time of its call, while the main one waits for it.
        let end = inner.target.now() + READING;
        inner.target.sleep_until(end);
        usecs(self.settle(inner).target.now())
    }

    /// packetdrill binds to the address of its script, which without `local_ip` only it knows: the host takes it.
    pub(crate) fn own(&self, ip: IpAddr) {
        let (ip, is_known) = (ip.to_canonical(), self.lock().local_ip);
        if ip.is_unspecified() || ip == is_known {
            return;
        }
        let whole = if ip.is_ipv6() { 128 } else { 32 };
        if let Err(why) = self.shell(&format!("ip addr add {ip}/{whole} dev tun0")) {
            give_up(&why.to_string());
        }
        self.lock().local_ip = ip;
    }

    /// A packet of the script arrives.
    pub(crate) fn inject(&self, packet: &[u8]) -> Result<(), String> {
        let mut inner = self.lock();
        let done = inner.target.inject(packet);
        drop(self.settle(inner));
        done
    }

    /// Waits for the next packet of the stack, with the time at which it was sent.
    pub(crate) fn next_sent(&self) -> (i64, Vec<u8>) {
        let mut inner = self.lock();
        let deadline = inner.target.now() + PATIENCE;
        let sent = inner.target.receive(deadline);
        drop(self.settle(inner));
        match sent {
            Ok(Some((at, packet))) => (usecs(at), packet),
            Ok(None) => give_up("error handling packet: the stack sends none, and never will"),
            Err(why) => give_up(&why),
        }
    }

    /// A shell line of the script.
    pub(crate) fn shell(&self, text: &str) -> Result<(), ShellError> {
        let mut inner = self.lock();
        let done = inner.target.shell(text, Path::new("."));
        drop(self.settle(inner));
        done
    }
}

/// A thread of this process sleeps: in the end, until the next call for it.
fn is_asleep(tid: libc::pid_t) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/stat"));
    stat.is_ok_and(|s| s.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('S')))
}

fn usecs(at: Instant) -> i64 {
    i64::try_from(at.as_nanos() / 1000).expect("584 years in nanoseconds fit")
}
