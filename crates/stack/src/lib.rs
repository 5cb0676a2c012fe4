//! One Linux-faithful host, sans-I/O: no clock, no system calls, no threads.
//!
//! [`Stack`] has four kinds of method:
//!
//! * **A — something happened:** [`Stack::handle_frame`], [`Stack::handle_timeout`]
//! * **B — what now?** [`Stack::poll_transmit`], [`Stack::poll_timeout`], [`Stack::poll_wakeup`],
//!   [`Stack::poll_news`], [`Stack::poll_record`]
//! * **C — system calls**, which never block: [`Stack::call`] and the calls behind it, and `ip`/`sysctl`
//!   commands: [`Stack::admin`]
//! * **D — look, don't touch:** `ss`, `ip neigh`, `ip route`, `nstat`, [`Stack::sysctl_read`]
//!
//! After any A or C call the driver drains the B methods. The same inputs with the same seed give the
//! same outputs, byte for byte.

pub mod admin;
pub mod call;
pub mod drop_reason;
pub mod errno;
mod icmp;
pub mod iface;
mod ip;
pub mod mib;
pub mod neigh;
mod outbox;
pub mod record;
pub mod rng;
pub mod route;
pub mod socket;
pub mod sysctl;
mod tcp;
#[cfg(test)]
mod testnet;
pub mod timer;
mod tunnel;
mod udp;

use core::time::Duration;

pub use drop_reason::DropReason;
pub use errno::Errno;
pub use timer::Granularity;
pub use udp::Payload;
use wire::{Frame, Instant};

use iface::Interfaces;
use mib::Mib;
use outbox::Outbox;
use record::{IfIndex, What};
use rng::Rng;
use sysctl::Sysctls;
use timer::{TimerId, TimerQueue};

/// Which kernel's behaviour a host shows. Differences between kernels hang on this, nowhere else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum KernelProfile {
    /// 4.4, the last long-term kernel with a working `tcp_tw_recycle`.
    V4_4,
    /// 5.15.
    V5_15,
    /// 6.12, the kernel of the virtual-time twin.
    V6_12,
    /// 6.18, measured in TRUTH.md.
    #[default]
    V6_18,
}

impl KernelProfile {
    /// The profile for a kernel of that `uname -r`: the newest that is not newer than it.
    ///
    /// ```
    /// use stack::KernelProfile;
    /// assert_eq!(KernelProfile::of_release("6.12.117"), KernelProfile::V6_12);
    /// assert_eq!(KernelProfile::of_release("6.1.0-41-amd64"), KernelProfile::V5_15);
    /// ```
    pub fn of_release(release: &str) -> KernelProfile {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse::<u32>().ok());
        match (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) {
            version if version >= (6, 18) => KernelProfile::V6_18,
            version if version >= (6, 12) => KernelProfile::V6_12,
            version if version >= (5, 15) => KernelProfile::V5_15,
            _ => KernelProfile::V4_4,
        }
    }
}

/// What a host is made from.
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// The host's name, for messages.
    pub name: String,
    /// Whose behaviour.
    pub profile: KernelProfile,
    /// How exactly timers fire.
    pub granularity: Granularity,
    /// All of the host's randomness comes from this.
    pub seed: u64,
    /// Whether [`Stack::poll_record`] has anything to say; off costs nothing.
    pub record: bool,
}

impl Default for StackConfig {
    fn default() -> Self {
        StackConfig {
            name: "host".into(),
            profile: KernelProfile::default(),
            granularity: Granularity::default(),
            seed: 0,
            record: true,
        }
    }
}

/// What a timer of the host does when it fires. Each module owns its variants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimerKey {
    /// A neighbour entry's state timer (`neigh_timer_handler`).
    Neigh(neigh::TimerEvent),
    /// Address life: DAD, router solicitation, lifetimes (net/ipv6/addrconf.c).
    Iface(iface::TimerEvent),
    /// IP: reassembly, IGMP/MLD reports.
    Ip(ip::TimerEvent),
    /// A process sleeps until then (`SO_RCVTIMEO`, `poll`).
    Socket(socket::TimerEvent),
    /// A connection's timer (tcp_timer.c).
    Tcp(tcp::TcpId, tcp::timer::TimerKind),
    /// A half-open connection's SYN-ACK (`reqsk_timer_handler`).
    TcpRequest(u32),
    /// A TIME_WAIT or FIN_WAIT2 entry goes (`tw_timer_handler`).
    TcpTimeWait(u32),
}

/// One host: interfaces, neighbours, routes, IP, sockets. See the crate's documentation for how to
/// drive it.
pub struct Stack {
    pub(crate) config: StackConfig,
    pub(crate) sysctl: Sysctls,
    pub(crate) mib: Mib,
    pub(crate) rng: Rng,
    pub(crate) timers: TimerQueue<TimerKey>,
    pub(crate) out: Outbox,
    pub(crate) ifaces: Interfaces,
    pub(crate) fib: route::Fib,
    pub(crate) neigh: neigh::NeighTables,
    pub(crate) ip: ip::IpState,
    pub(crate) icmp: icmp::IcmpState,
    pub(crate) tunnels: tunnel::Tunnels,
    pub(crate) sockets: socket::Sockets,
    pub(crate) tcp: tcp::sock::Tcp,
}

impl Stack {
    /// A host with a loopback interface that is up, and nothing else.
    pub fn new(config: StackConfig) -> Stack {
        let rng = Rng::new(config.seed, &config.name);
        let mut stack = Stack {
            sysctl: Sysctls::new(config.profile),
            mib: Mib::default(),
            timers: TimerQueue::default(),
            out: Outbox::new(config.record),
            ifaces: Interfaces::default(),
            fib: route::Fib::default(),
            neigh: neigh::NeighTables::new(&rng),
            ip: ip::IpState::new(&rng),
            icmp: icmp::IcmpState::new(&rng),
            tunnels: tunnel::Tunnels::default(),
            sockets: socket::Sockets::new(&rng),
            tcp: tcp::sock::Tcp::new(&rng),
            rng,
            config,
        };
        stack.add_loopback();
        stack
    }

    /// The name it was made with.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Whose behaviour it shows.
    pub fn profile(&self) -> KernelProfile {
        self.config.profile
    }

    // --- A: something happened -------------------------------------------------------------------

    /// A packet arrived at an interface. Starts with an Ethernet header on Ethernet interfaces and
    /// with the IP header on bare-IP ones.
    #[inline]
    pub fn handle_frame(&mut self, now: Instant, ifindex: IfIndex, frame: Frame) {
        self.dev_receive(now, ifindex, frame);
        self.run_loopback(now);
    }

    /// Runs every timer that is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, key)) = self.timers.pop_due(now) {
            match key {
                TimerKey::Neigh(event) => self.neigh_timeout(now, event),
                TimerKey::Iface(event) => self.iface_timeout(now, event),
                TimerKey::Ip(event) => self.ip_timeout(now, event),
                TimerKey::Socket(event) => self.socket_timeout(now, event),
                TimerKey::Tcp(id, kind) => self.tcp_timeout(now, id, kind),
                TimerKey::TcpRequest(id) => self.tcp_request_timeout(now, id),
                TimerKey::TcpTimeWait(id) => self.tcp_time_wait_timeout(now, id),
            }
            self.run_loopback(now);
        }
    }

    // --- B: what now? ----------------------------------------------------------------------------

    /// Nothing waits in [`Stack::poll_transmit`], [`Stack::poll_wakeup`], [`Stack::poll_news`] and
    /// [`Stack::poll_record`].
    #[inline]
    pub fn is_silent(&self) -> bool {
        self.out.tx.is_empty()
            && self.out.wakeups.is_empty()
            && self.out.records.is_empty()
            && self.out.news.is_empty()
    }

    /// The next packet for the wire, in order.
    #[inline]
    pub fn poll_transmit(&mut self) -> Option<(IfIndex, Frame)> {
        self.out.tx.pop_front()
    }

    /// When [`Stack::handle_timeout`] must be called next; `None` while no timer is armed.
    #[inline]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next process that has something to do: a call of it that blocked should be tried again.
    pub fn poll_wakeup(&mut self) -> Option<socket::Pid> {
        self.out.wakeups.pop_front()
    }

    /// The next news about a descriptor that somebody observes: the token of [`Stack::observe`], and what
    /// happened. News are hints: what holds now is `poll`'s answer.
    #[inline]
    pub fn poll_news(&mut self) -> Option<(u64, call::PollEvents)> {
        self.out.news.pop_front()
    }

    /// The next fact; always `None` when recording is off.
    pub fn poll_record(&mut self) -> Option<(Instant, What)> {
        self.out.records.pop_front()
    }

    // --- inside ----------------------------------------------------------------------------------

    /// Arms a kernel timer (`mod_timer`): fires on the timer wheel when the host has one.
    pub(crate) fn arm(&mut self, now: Instant, delay: Duration, key: TimerKey) -> TimerId {
        let at = self.config.granularity.fire_at(now, delay);
        self.timers.arm(at, key)
    }

    /// Records a drop; `packet` starts at the network header.
    pub(crate) fn record_drop(&mut self, now: Instant, ifindex: IfIndex, reason: DropReason, packet: &[u8]) {
        let first = &packet[..packet.len().min(128)];
        self.out.record(now, || What::Drop { ifindex, reason, id: None, packet: first.into() });
    }
}
