//! The stack, its virtual clock, and the one thread that may sleep in a call of it.
//!
//! packetdrill's main thread owns the clock; a blocking call is made by a second thread. Whenever the main thread could have
//! woken that one it waits until the call sleeps again or has returned and its end has been timed, so that a
//! run does not depend on the machine's scheduler.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use stack::admin::Admin;
use stack::call::{Call, CallResult, Outcome};
use stack::record::IfIndex;
use stack::socket::Pid;
use stack::{Stack, StackConfig};
use wire::{Frame, Instant, MacAddr, Medium};

use crate::flags::Flags;

/// The clock when packetdrill starts, in microseconds since 1970; any fixed time would do.
const EPOCH_USECS: i64 = 1_700_000_000_000_000;

/// How much later it is each time the clock is read: packetdrill spins away the last 20 us before an event.
const READING: Duration = Duration::from_micros(1);

/// The longest (virtual) wait for a packet, or for a call that the script did not expect to block.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How long (really) the thread in a blocking call gets for leaving it.
const HANDOVER: Duration = Duration::from_secs(5);

/// What the thread in a blocking call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sleeper {
    /// It is not in a call.
    Away,
    /// It sleeps, at the longest until then.
    Asleep(Option<Instant>),
    /// It was woken and will try its call again.
    Woken,
    /// Its call has returned; packetdrill has not read the clock for it yet.
    Returned,
}

/// Everything behind the lock.
pub(crate) struct Inner {
    pub(crate) stack: Stack,
    pub(crate) now: Instant,
    ifindex: IfIndex,
    main: (ThreadId, Pid),
    second: Pid,
    sleeper: Sleeper,
    /// `--so_flags` named the local address.
    is_local_said: bool,
    /// The last socket was of `AF_INET6`: control messages have that family's numbers.
    pub(crate) inet6_sockets: bool,
    /// What the stack has sent, with the clock's reading.
    sent: VecDeque<(Instant, Vec<u8>)>,
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
    let inner = Inner::new(flags)?;
    HOST.set(Host { inner: Mutex::new(inner), changed: Condvar::new() })
        .map_err(|_| "packetdrill initialised the plug-in twice".to_owned())
}

/// Ends packetdrill: it has no way to be told that nothing will ever come.
pub(crate) fn give_up(why: &str) -> ! {
    eprintln!("{why}");
    std::process::exit(1)
}

impl Inner {
    /// A host as packetdrill's netdev.c makes it: one TUN device `tun0`, its address, a route.
    fn new(flags: &Flags) -> Result<Inner, String> {
        let mut stack = Stack::new(StackConfig {
            name: "drill".into(),
            profile: flags.profile,
            granularity: flags.granularity,
            seed: flags.seed,
            record: false,
        });
        // Well into the life of the host, and in the middle of a tick.
        let now = Instant::from_micros(100_000_250);
        let ifindex = stack.add_interface("tun0", Medium::Ip, MacAddr::ZERO, flags.mtu);
        let (remote, len) = flags.remote;
        let commands = [
            "ip link set dev tun0 up".to_owned(),
            format!("ip addr add {}/{} dev tun0", flags.local_ip, flags.prefix_len),
            format!("ip route add {}/{len} via {} dev tun0", network(remote, len), flags.gateway_ip),
        ];
        for line in &commands {
            let command = Admin::parse(line).map_err(|e| format!("{line}: {e:?}"))?;
            stack.admin(now, &command).map_err(|e| format!("{line}: {e:?}"))?;
        }
        let pid = stack.spawn();
        let second = stack.fork_thread(pid);
        let main = (std::thread::current().id(), pid);
        Ok(Inner {
            stack,
            now,
            ifindex,
            main,
            second,
            sleeper: Sleeper::Away,
            is_local_said: flags.is_local_said,
            inet6_sockets: false,
            sent: VecDeque::new(),
        })
    }

    /// Takes what the stack has to say after anything that happened to it.
    fn drain(&mut self) {
        while let Some((ifindex, frame)) = self.stack.poll_transmit() {
            if ifindex == self.ifindex {
                self.sent.push_back((self.now, frame.to_vec()));
            }
        }
        while let Some(pid) = self.stack.poll_wakeup() {
            if pid == self.second && matches!(self.sleeper, Sleeper::Asleep(_)) {
                self.sleeper = Sleeper::Woken;
            }
        }
        while self.stack.poll_record().is_some() {}
    }

    /// The next thing that happens by itself.
    fn next(&self) -> Option<Instant> {
        let until = match self.sleeper {
            Sleeper::Asleep(until) => until,
            _ => None,
        };
        [self.stack.poll_timeout(), until].into_iter().flatten().min()
    }

    /// Lets that happen: the clock jumps there.
    fn step(&mut self, at: Instant) {
        self.now = self.now.max(at);
        self.stack.handle_timeout(self.now);
        if let Sleeper::Asleep(Some(until)) = self.sleeper
            && until <= self.now
        {
            self.sleeper = Sleeper::Woken;
        }
        self.drain();
    }

    fn is_main(&self) -> bool {
        std::thread::current().id() == self.main.0
    }
}

/// The prefix's first address.
fn network(ip: IpAddr, len: u8) -> IpAddr {
    match ip {
        IpAddr::V4(a) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            std::net::Ipv4Addr::from(u32::from(a) & mask).into()
        }
        IpAddr::V6(a) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            std::net::Ipv6Addr::from(u128::from(a) & mask).into()
        }
    }
}

impl Host {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the second thread is out of the way: asleep in its call, or done with it.
    fn settle<'a>(&'a self, inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        self.changed.notify_all();
        let busy = |inner: &mut Inner| matches!(inner.sleeper, Sleeper::Woken | Sleeper::Returned);
        let (mut inner, late) =
            self.changed.wait_timeout_while(inner, HANDOVER, busy).unwrap_or_else(PoisonError::into_inner);
        if late.timed_out() && busy(&mut inner) {
            give_up("a blocking call returned, but packetdrill did not read the clock for it");
        }
        inner
    }

    /// A system call, made by the thread that asks.
    pub(crate) fn call(&self, call: &Call) -> CallResult {
        let mut inner = self.lock();
        let is_main = inner.is_main();
        let pid = if is_main { inner.main.1 } else { inner.second };
        let end = inner.now + PATIENCE;
        loop {
            let now = inner.now;
            let outcome = inner.stack.call(now, pid, call);
            inner.drain();
            match outcome {
                Outcome::Done(result) => {
                    if is_main {
                        drop(self.settle(inner));
                    } else {
                        inner.sleeper = Sleeper::Returned;
                        self.changed.notify_all();
                    }
                    return result;
                }
                // The script expects no wait here: time passes, as on a kernel, and the next event is late.
                Outcome::Block { until } if is_main => {
                    match [inner.next(), until].into_iter().flatten().min() {
                        Some(at) if at <= end => {
                            inner.step(at);
                            inner = self.settle(inner);
                        }
                        _ => give_up(&format!("{call:?} blocks for ever, which the script does not expect")),
                    }
                }
                Outcome::Block { until } => {
                    inner.sleeper = Sleeper::Asleep(until);
                    self.changed.notify_all();
                    let asleep = |inner: &mut Inner| matches!(inner.sleeper, Sleeper::Asleep(_));
                    inner = self.changed.wait_while(inner, asleep).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Time passes, at the longest until `end`; with `for_packet` no longer than until something was sent.
    fn advance(&self, end: Instant, for_packet: bool) -> MutexGuard<'_, Inner> {
        let mut inner = self.settle(self.lock());
        while !for_packet || inner.sent.is_empty() {
            match inner.next() {
                Some(at) if at <= end => {
                    inner.step(at);
                    inner = self.settle(inner);
                }
                _ => {
                    inner.now = inner.now.max(end);
                    break;
                }
            }
        }
        inner
    }

    /// `usleep`
    pub(crate) fn sleep(&self, time: Duration) {
        let end = self.lock().now + time;
        drop(self.advance(end, false));
    }

    /// The clock in microseconds since 1970.
    pub(crate) fn clock(&self) -> i64 {
        let mut inner = self.lock();
        if inner.sleeper == Sleeper::Returned && !inner.is_main() {
            inner.sleeper = Sleeper::Away;
            self.changed.notify_all();
            return usecs(inner.now);
        }
        // The second thread also waits for the time of its call, while the main one waits for it.
        let end = inner.now + READING;
        drop(inner);
        inner = self.advance(end, false);
        usecs(inner.now)
    }

    /// packetdrill binds to the address of its script, which without `local_ip` only it knows: the host takes it.
    pub(crate) fn own(&self, ip: IpAddr) {
        let mut inner = self.lock();
        let ip = ip.to_canonical();
        if inner.is_local_said || ip.is_unspecified() || inner.stack.interfaces().owner(ip).is_some() {
            return;
        }
        let whole = if ip.is_ipv6() { 128 } else { 32 };
        let line = format!("ip addr add {ip}/{whole} dev tun0");
        let command = Admin::parse(&line).expect("an address");
        let now = inner.now;
        if let Err(e) = inner.stack.admin(now, &command) {
            give_up(&format!("{line}: {e:?}"));
        }
        inner.drain();
    }

    /// A packet of the script arrives.
    pub(crate) fn receive(&self, packet: &[u8]) {
        let mut inner = self.lock();
        let (now, ifindex) = (inner.now, inner.ifindex);
        inner.stack.handle_frame(now, ifindex, Frame::from_slice(packet));
        inner.drain();
        drop(self.settle(inner));
    }

    /// Waits for the next packet of the stack, with the time at which it was sent.
    pub(crate) fn next_sent(&self) -> (i64, Vec<u8>) {
        let end = self.lock().now + PATIENCE;
        let sent = self.advance(end, true).sent.pop_front();
        match sent {
            Some((at, packet)) => (usecs(at), packet),
            None => give_up("error handling packet: the stack sends none, and never will"),
        }
    }
}

fn usecs(at: Instant) -> i64 {
    EPOCH_USECS + i64::try_from(at.as_nanos() / 1000).expect("584 years in nanoseconds fit")
}
