//! [`Live`]: async programs on hosts of ours in real time, joined to real kernels by TAP devices.
//!
//! A thread waits for packets and for the world's next event. Whoever makes a call brings the world up to the machine's
//! time first and writes the packets that come of it himself; the thread is told when it has to wake earlier.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use sim::World;
use stack::record::{IfIndex, NodeId};
use wire::{Frame, Instant};

use crate::Host;
use crate::shared::{Clock, Shared};

/// The longest packet: an IP packet of 65,535 bytes behind an Ethernet header with two VLAN tags.
const MAX_FRAME: usize = 65_535 + 22;

/// Packets taken from one device before programs and the others get their turn.
const MAX_READS: usize = 64;

/// An interface of an external node, and the device behind it.
#[derive(Debug)]
pub struct Port {
    /// The external node ([`World::add_external`]).
    pub node: NodeId,
    /// Its interface.
    pub ifindex: IfIndex,
    /// A TAP device for an Ethernet interface, a TUN device for a bare-IP one, both with `IFF_NO_PI`.
    pub device: OwnedFd,
}

/// What went through the devices of a [`Live`] world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets that kernels sent to us.
    pub received: u64,
    /// Packets that we sent to kernels.
    pub sent: u64,
    /// Packets that a device did not take: its queue was full, or it is down.
    pub refused: u64,
}

/// A device with the thread's view of it.
struct Device {
    node: NodeId,
    ifindex: IfIndex,
    file: File,
    /// Somebody deleted it.
    gone: AtomicBool,
}

/// The devices of a world, and its clock.
pub(crate) struct Ports {
    start: time::Instant,
    devices: Vec<Device>,
    /// Wakes the thread.
    kick: File,
    /// When the thread wakes by itself, in ns of the world.
    armed: AtomicU64,
    stop: AtomicBool,
    received: AtomicU64,
    sent: AtomicU64,
    refused: AtomicU64,
}

impl Ports {
    pub(crate) fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).expect("less than 584 years"))
    }

    /// Hands over what the world has for the kernels, and makes sure that its next event is not missed.
    pub(crate) fn settle(&self, world: &mut World) {
        self.flush(world);
        let next = world.next_event().map_or(u64::MAX, Instant::as_nanos);
        if next < self.armed.load(Ordering::Relaxed) {
            self.armed.store(next, Ordering::Relaxed);
            self.wake_thread();
        }
    }

    fn wake_thread(&self) {
        // The counter cannot be full: the thread empties it.
        let _ = (&self.kick).write(&1_u64.to_ne_bytes());
    }

    fn flush(&self, world: &mut World) {
        while let Some((node, ifindex, frame)) = world.poll_external() {
            let to = self.devices.iter().find(|d| d.node == node && d.ifindex == ifindex);
            let written = to.map(|device| {
                if frame.tail().is_empty() {
                    (&device.file).write(frame.head())
                } else {
                    let parts = [io::IoSlice::new(frame.head()), io::IoSlice::new(frame.tail())];
                    (&device.file).write_vectored(&parts)
                }
            });
            // A device that is full or down loses packets, as any does.
            let count = if matches!(written, Some(Ok(_))) { &self.sent } else { &self.refused };
            count.fetch_add(1, Ordering::Relaxed);
        }
        while world.poll_carrier().is_some() {} // a device has no cable to pull
    }
}

/// A world in real time whose hosts run async programs. The programs run wherever they are spawned: on the caller's
/// tokio runtime, of either kind.
///
/// `world` has external nodes ([`World::add_external`]) where kernels stand; a [`Port`] gives each of their interfaces its
/// device. Links and faults between are the world's: loss, delay, reordering and the rest happen there. The world's
/// time is the machine's, from [`Live::new`] on.
pub struct Live {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    /// Starts the clock.
    pub fn new(world: World, ports: Vec<Port>) -> io::Result<Live> {
        let mut devices = Vec::new();
        for Port { node, ifindex, device } in ports {
            let flags = rustix::fs::fcntl_getfl(&device)?;
            rustix::fs::fcntl_setfl(&device, flags | rustix::fs::OFlags::NONBLOCK)?;
            devices.push(Device { node, ifindex, file: File::from(device), gone: AtomicBool::new(false) });
        }
        let ports = Ports {
            start: time::Instant::now(),
            devices,
            kick: File::from(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?),
            armed: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        let shared = Shared::new(world, Clock::Real(ports));
        let driven = shared.clone();
        let thread = std::thread::Builder::new().name("wirelab-live".into()).spawn(move || drive(&driven))?;
        Ok(Live { shared, thread: Some(thread) })
    }

    /// Async programs on a host of the world. Panics when the node is no host on our stack.
    pub fn host(&self, node: NodeId) -> Host {
        Host::open(&self.shared, node)
    }

    /// Does something with the world at the time that it is.
    pub fn world<R>(&self, f: impl FnOnce(&mut World) -> R) -> R {
        self.shared.with(|inner| f(&mut inner.world)).expect("only finish() takes the world")
    }

    /// The time since the start.
    pub fn now(&self) -> Instant {
        self.shared.now()
    }

    /// What went through the devices.
    pub fn port_stats(&self) -> PortStats {
        let ports = self.shared.ports();
        let [received, sent, refused] =
            [&ports.received, &ports.sent, &ports.refused].map(|count| count.load(Ordering::Relaxed));
        PortStats { received, sent, refused }
    }

    /// The end: the world with its journal. Sockets that are still open fail with `ENETDOWN`.
    pub fn finish(mut self) -> World {
        self.stop();
        self.shared.take_world().expect("only finish() takes the world")
    }

    fn stop(&mut self) {
        let ports = self.shared.ports();
        ports.stop.store(true, Ordering::Relaxed);
        ports.wake_thread();
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread: packets in, events, packets out.
fn drive(shared: &Shared) {
    let ports = shared.ports();
    let mut buffer = vec![0; MAX_FRAME];
    while !ports.stop.load(Ordering::Relaxed) && !shared.is_over() {
        let more = shared.with(|inner| {
            let more = read_packets(ports, &mut inner.world, &mut buffer);
            inner.world.advance_to(ports.now());
            ports.flush(&mut inner.world);
            let next = inner.world.next_event().map_or(u64::MAX, Instant::as_nanos);
            ports.armed.store(next, Ordering::Relaxed);
            more
        });
        if more == Some(false) {
            wait(ports);
        }
    }
}

/// Takes packets from the devices; true when there may be more.
fn read_packets(ports: &Ports, world: &mut World, buffer: &mut [u8]) -> bool {
    let mut more = false;
    for device in &ports.devices {
        let mut count = 0;
        while count < MAX_READS
            && let Ok(len) = (&device.file).read(buffer)
            && len > 0
        {
            count += 1;
            ports.received.fetch_add(1, Ordering::Relaxed);
            let frame = Frame::from_parts(&buffer[..len], &[]);
            world.inject(device.node, device.ifindex, frame);
        }
        more |= count == MAX_READS;
    }
    more
}

/// Sleeps until a packet comes, the next event is due, or somebody kicks.
fn wait(ports: &Ports) {
    let armed = ports.armed.load(Ordering::Relaxed);
    let timeout = (armed != u64::MAX).then(|| {
        let ns = armed.saturating_sub(ports.now().as_nanos());
        Timespec {
            tv_sec: i64::try_from(ns / 1_000_000_000).expect("584 years at most"),
            tv_nsec: i64::try_from(ns % 1_000_000_000).expect("below a billion"),
        }
    });
    let there = ports.devices.iter().filter(|device| !device.gone.load(Ordering::Relaxed));
    let mut fds: Vec<PollFd<'_>> = there.clone().map(|d| PollFd::new(&d.file, PollFlags::IN)).collect();
    fds.push(PollFd::new(&ports.kick, PollFlags::IN));
    // An interrupted wait is an early one.
    let _ = poll(&mut fds, timeout.as_ref());
    for (device, fd) in there.zip(&fds) {
        let revents = fd.revents();
        if revents.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL)
            && !revents.contains(PollFlags::IN)
        {
            device.gone.store(true, Ordering::Relaxed);
        }
    }
    let _ = (&ports.kick).read(&mut [0; 8]);
}
