//! The peer: smoltcp 0.14 under TCP's workloads.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::hint::black_box;

use smoltcp::iface::{PollIngressSingleResult, SocketHandle};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};

use crate::common::smol::{Host, Pool, SERVER, Wire, pair};
use crate::cpu;

const CHUNK: usize = 64 << 10;

impl Host {
    fn add(&mut self, buffer: usize) -> SocketHandle {
        let ring = || tcp::SocketBuffer::new(vec![0u8; buffer]);
        let mut socket = tcp::Socket::new(ring(), ring());
        socket.set_congestion_control(tcp::CongestionControl::None);
        self.sockets.add(socket)
    }

    fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    fn connect(&mut self, handle: SocketHandle, port: u16, own: u16) {
        let socket = self.sockets.get_mut::<tcp::Socket>(handle);
        socket.connect(self.iface.context(), (SERVER, port), own).expect("closed");
    }
}

/// Gbit/s of CPU time, a frame at a time or everything that waits.
pub(crate) fn bulk(total: u64, buffer: usize, single: bool) -> f64 {
    let (mut a, mut b) = pair();
    let mut now = Instant::from_micros(1_000_000);
    let (client, server) = (a.add(buffer), b.add(buffer));
    b.tcp(server).listen(5000).expect("closed");
    a.connect(client, 5000, 40_000);
    while !a.tcp(client).may_send() {
        now += Duration::from_micros(10);
        a.poll(now);
        b.poll(now);
    }
    let source: Vec<u8> = (0..CHUNK).map(|i| (i % 251) as u8).collect();
    let mut target = vec![0u8; CHUNK];
    let (mut sent, mut got) = (0u64, 0u64);
    let start = cpu();
    while got < total {
        now += Duration::from_micros(10);
        let socket = a.tcp(client);
        while socket.can_send() && sent < total {
            sent += socket.send_slice(&source).expect("open") as u64;
        }
        if !single {
            a.poll(now);
            b.poll(now);
            let socket = b.tcp(server);
            while socket.can_recv() {
                let n = socket.recv_slice(&mut target).expect("open");
                black_box(&target[..n]);
                got += n as u64;
            }
            b.poll(now);
            continue;
        }
        loop {
            let mut silent = true;
            a.iface.poll_egress(now, &mut a.device, &mut a.sockets);
            while !matches!(
                b.iface.poll_ingress_single(now, &mut b.device, &mut b.sockets),
                PollIngressSingleResult::None
            ) {
                silent = false;
                let socket = b.tcp(server);
                while socket.can_recv() {
                    let n = socket.recv_slice(&mut target).expect("open");
                    black_box(&target[..n]);
                    got += n as u64;
                }
                b.iface.poll_egress(now, &mut b.device, &mut b.sockets);
            }
            while !matches!(
                a.iface.poll_ingress_single(now, &mut a.device, &mut a.sockets),
                PollIngressSingleResult::None
            ) {
                silent = false;
            }
            if silent {
                break;
            }
            now += Duration::from_micros(1);
        }
    }
    got as f64 * 8e-9 / (cpu() - start)
}

/// Connections opened and closed a second of CPU time, beside `idle` established ones.
pub(crate) fn connections(n: u64, idle: u16) -> f64 {
    const BUFFER: usize = 4096;
    let (mut a, mut b) = pair();
    let mut now = Instant::from_micros(1_000_000);
    for i in 0..idle {
        let (client, server) = (a.add(BUFFER), b.add(BUFFER));
        b.tcp(server).listen(6000).expect("closed");
        a.connect(client, 6000, 1024 + i);
        for _ in 0..2 {
            now += Duration::from_micros(10);
            a.poll(now);
            b.poll(now);
        }
    }
    let (client, server) = (a.add(BUFFER), b.add(BUFFER));
    let start = cpu();
    for i in 0..n {
        b.tcp(server).listen(5000).expect("closed");
        a.connect(client, 5000, 10_000 + (i % 50_000) as u16);
        let mut closed = false;
        loop {
            now += Duration::from_micros(10);
            a.poll(now);
            b.poll(now);
            let socket = a.tcp(client);
            if socket.may_send() && !closed {
                socket.close();
                closed = true;
            }
            let state = socket.state();
            let socket = b.tcp(server);
            if socket.state() == tcp::State::CloseWait {
                socket.close();
            }
            if state == tcp::State::TimeWait && socket.state() == tcp::State::Closed {
                break;
            }
        }
        now += Duration::from_millis(10_100); // its TIME-WAIT
        a.poll(now);
        assert_eq!(a.tcp(client).state(), tcp::State::Closed);
    }
    n as f64 / (cpu() - start)
}

enum Event {
    AtLeft(usize, Vec<u8>),
    AtRight(usize, Vec<u8>),
    AtHost(usize, Vec<u8>),
    Timer(usize),
}

struct Entry(u64, u64, Event);

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.1 == other.1
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// The event queue of the simulator on smoltcp.
#[derive(Default)]
struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    serial: u64,
}

impl Queue {
    fn push(&mut self, at: u64, event: Event) {
        self.serial += 1;
        self.heap.push(Reverse(Entry(at, self.serial, event)));
    }
}

/// Core packets a second of CPU time.
pub(crate) fn dumbbell(flows: usize, seconds: u64, buffer: usize) -> f64 {
    const RATE: f64 = 1e9;
    const QUEUE_NS: u64 = 20_000_000;
    let pool = Pool::default();
    let mut queue = Queue::default();
    let mut hosts: Vec<(Host, SocketHandle, u64)> = (0..2 * flows)
        .map(|i| {
            let mut host =
                Host::new(if i < flows { 1 } else { 2 }, Wire::default(), Wire::default(), pool.clone());
            let handle = host.add(buffer);
            (host, handle, u64::MAX)
        })
        .collect();
    for i in 0..flows {
        let (host, handle, _) = &mut hosts[flows + i];
        host.tcp(*handle).listen(5000).expect("closed");
        let (host, handle, _) = &mut hosts[i];
        host.connect(*handle, 5000, 40_000);
        queue.push(1_000_000_000 + i as u64 * 7_000_000, Event::Timer(i));
    }
    let (source, mut target) = (vec![7u8; CHUNK], vec![0u8; CHUNK]);
    let (mut free, mut core) = ([0u64; 2], 0u64);
    let end = 1_000_000_000 + seconds * 1_000_000_000;
    let start = cpu();
    while let Some(Reverse(Entry(now, _, event))) = queue.heap.pop() {
        if now > end {
            break;
        }
        let who = match event {
            Event::AtLeft(to, frame) => {
                let free = &mut free[usize::from(to >= flows)];
                if free.saturating_sub(now) > QUEUE_NS {
                    pool.borrow_mut().push(frame);
                } else {
                    *free = (*free).max(now) + ((frame.len() + 2) as f64 * 8e9 / RATE) as u64;
                    core += 1;
                    queue.push(*free + 5_000_000, Event::AtRight(to, frame));
                }
                continue;
            }
            Event::AtRight(to, frame) => {
                queue.push(now + 2_500_000, Event::AtHost(to, frame));
                continue;
            }
            Event::AtHost(to, frame) => {
                hosts[to].0.device.rx.borrow_mut().push_back(frame);
                to
            }
            Event::Timer(to) => {
                if hosts[to].2 != u64::MAX && hosts[to].2 > now {
                    continue;
                }
                hosts[to].2 = u64::MAX;
                to
            }
        };
        let (host, handle, timer) = &mut hosts[who];
        let at = Instant::from_micros((now / 1000) as i64);
        let fill = |host: &mut Host| {
            let mut more = false;
            while host.tcp(*handle).can_send() {
                host.tcp(*handle).send_slice(&source).expect("open");
                more = true;
            }
            more
        };
        if who < flows {
            fill(host);
        }
        host.poll(at);
        if who < flows {
            if fill(host) {
                host.poll(at);
            }
        } else {
            while host.tcp(*handle).can_recv() {
                black_box(host.tcp(*handle).recv_slice(&mut target).expect("open"));
            }
        }
        let peer = if who < flows { who + flows } else { who - flows };
        let sent: Vec<Vec<u8>> = host.device.tx.borrow_mut().drain(..).collect();
        for frame in sent {
            queue.push(now + 2_500_000, Event::AtLeft(peer, frame));
        }
        if let Some(next) = host.iface.poll_at(at, &host.sockets) {
            let next = (next.total_micros() as u64 * 1000).max(now + 1000);
            if next < *timer {
                *timer = next;
                queue.push(next, Event::Timer(who));
            }
        }
    }
    core as f64 / (cpu() - start)
}
