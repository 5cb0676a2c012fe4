//! Packet deliveries per second across one link: the whole way from `udp_send_to` through neighbour table, link and
//! `handle_frame` to `udp_recv_from`, recording off and on, and the event loop alone.
//!
//! Run with `cargo bench -p sim --bench deliveries`. Items are datagrams delivered; the goal is 5 million a second
//! with recording off and 1 million with full records and a capture file.

use core::time::Duration;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};

use divan::Bencher;
use divan::counter::ItemsCount;
use sim::{Impairment, LinkConfig, World, WorldConfig};
use stack::StackConfig;
use stack::call::{Call, Domain, Outcome, SockAddr, SockType};
use stack::record::{IfIndex, NodeId, NodeKind, What};
use stack::socket::SockId;
use wire::capture::LinkType;
use wire::pcapng::{PacketInfo, SectionInfo, Writer};
use wire::{Bytes, Frame, Instant, MacAddr, Medium};

fn main() {
    divan::main();
}

/// Datagrams in one batch.
const BATCH: usize = 64;
/// Batches in one measured run.
const BATCHES: usize = 32;
const ITEMS: usize = BATCH * BATCHES;
const PORT: u16 = 9;
const DELAY: Duration = Duration::from_micros(1);

struct Pair {
    world: World,
    client: (NodeId, SockId),
    server: (NodeId, SockId),
    /// `None` once the client's socket is connected.
    to: Option<SocketAddr>,
}

fn host(world: &mut World, n: u8) -> (NodeId, IfIndex) {
    let name = format!("host{n}");
    let node = world.add_host(StackConfig { name, ..StackConfig::default() });
    let ifindex = world.add_nic(node, "eth0", Medium::Ethernet, MacAddr([2, 0, 0, 0, 0, n]), 1500);
    world.with_stack(node, |stack, now| {
        stack.link_set_up(now, ifindex, true).expect("just made");
        stack.addr_add(now, ifindex, Ipv4Addr::new(192, 0, 2, n).into(), 24).expect("a new address");
    });
    (node, ifindex)
}

/// A socket bound to `port`, connected to `peer` if there is one.
fn socket(world: &mut World, node: NodeId, port: u16, peer: Option<SocketAddr>) -> SockId {
    world.with_stack(node, |stack, now| {
        let pid = stack.spawn();
        let call = Call::Socket { domain: Domain::Inet, ty: SockType::Dgram, protocol: 0, nonblock: true };
        let Outcome::Done(Ok(fd)) = stack.call(now, pid, &call) else { panic!("no socket") };
        let fd = i32::try_from(fd.value()).expect("a descriptor");
        let addr = SockAddr::Ip(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
        let Outcome::Done(Ok(_)) = stack.call(now, pid, &Call::Bind { fd, addr }) else { panic!("no port") };
        if let Some(peer) = peer {
            let call = Call::Connect { fd, addr: SockAddr::Ip(peer) };
            let Outcome::Done(Ok(_)) = stack.call(now, pid, &call) else { panic!("no route") };
        }
        stack.sock_of(pid, fd).expect("a socket")
    })
}

impl Pair {
    fn new(record: bool, link: Impairment) -> Pair {
        let mut world = World::new(WorldConfig { seed: 1, record, check: false });
        let (a, b) = (host(&mut world, 1), host(&mut world, 2));
        world.connect(a, b, LinkConfig::symmetric(link));
        let to = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 2), PORT));
        let client = (a.0, socket(&mut world, a.0, 0, None));
        let server = (b.0, socket(&mut world, b.0, PORT, None));
        // Past duplicate address detection and the first ARP exchange.
        world.run_until(Instant::from_secs(5));
        let mut pair = Pair { world, client, server, to: Some(to) };
        pair.send(&bytes(5));
        pair.world.run_until(Instant::from_secs(6));
        assert_eq!(pair.receive(), 1);
        pair
    }

    fn send(&mut self, payload: &Bytes) {
        let (socket, to, payload) = (self.client.1, self.to, payload.clone());
        let sent =
            self.world.with_stack(self.client.0, |stack, now| stack.udp_send_to(now, socket, payload, to));
        sent.expect("a socket with a route");
    }

    fn receive(&mut self) -> usize {
        let socket = self.server.1;
        self.world.with_stack(self.server.0, |stack, _| {
            let mut n = 0;
            while let Ok(datagram) = stack.udp_recv_from(socket) {
                black_box(datagram);
                n += 1;
            }
            n
        })
    }

    fn batches(&mut self, payload: &Bytes) {
        for _ in 0..BATCHES {
            for _ in 0..BATCH {
                self.send(payload);
            }
            let until = self.world.now() + DELAY * 200;
            self.world.run_until(until);
            assert_eq!(self.receive(), BATCH);
        }
    }
}

fn bytes(len: usize) -> Bytes {
    vec![0x55; len].into()
}

fn plain() -> Impairment {
    Impairment { delay: DELAY, ..Impairment::default() }
}

#[divan::bench(args = [8, 1400])]
fn udp_recording_off(bencher: Bencher<'_, '_>, len: usize) {
    let mut pair = Pair::new(false, plain());
    let payload = bytes(len);
    bencher.counter(ItemsCount::new(ITEMS)).bench_local(|| pair.batches(&payload));
}

#[divan::bench]
fn udp_recording_off_connected(bencher: Bencher<'_, '_>) {
    let mut pair = Pair::new(false, plain());
    let (node, peer) = (pair.client.0, pair.to.take());
    pair.client.1 = socket(&mut pair.world, node, 0, peer);
    let payload = bytes(8);
    bencher.counter(ItemsCount::new(ITEMS)).bench_local(|| pair.batches(&payload));
}

#[divan::bench]
fn udp_recording_off_rate_and_jitter(bencher: Bencher<'_, '_>) {
    let (rate, jitter) = (Some(100_000_000_000), DELAY / 2);
    let mut pair = Pair::new(false, Impairment { rate, jitter, ..plain() });
    bencher.counter(ItemsCount::new(ITEMS)).bench_local(|| pair.batches(&bytes(8)));
}

#[divan::bench(args = [8, 1400])]
fn udp_records_and_pcapng(bencher: Bencher<'_, '_>, len: usize) {
    let payload = bytes(len);
    bencher.counter(ItemsCount::new(ITEMS)).with_inputs(|| Pair::new(true, plain())).bench_local_values(
        |mut pair| {
            pair.batches(&payload);
            let journal = pair.world.finish();
            let mut file = Writer::new(Vec::new(), &SectionInfo::default()).expect("memory");
            let interfaces =
                ["a", "b"].map(|name| file.interface(name, "", LinkType::ETHERNET).expect("memory"));
            for record in &journal.records {
                if let What::Tx { frame, .. } | What::Rx { frame, .. } = &record.what {
                    let interface = interfaces[record.node.0 as usize];
                    file.frame(&PacketInfo { interface, at: record.at, ..PacketInfo::default() }, frame)
                        .expect("memory");
                }
            }
            file.finish().expect("memory").len()
        },
    );
}

#[divan::bench]
fn event_loop_alone(bencher: Bencher<'_, '_>) {
    let mut world = World::new(WorldConfig { seed: 1, record: false, check: false });
    let nics = ["a", "b"].map(|name| {
        let node = world.add_external(name, NodeKind::Stack);
        (node, world.add_nic(node, "eth0", Medium::Ethernet, MacAddr::ZERO, 1500))
    });
    world.connect(nics[0], nics[1], LinkConfig::with_delay(DELAY));
    let mut frames: Vec<Frame> = (0..BATCH).map(|_| Frame::from_vec(vec![0; 60])).collect();
    bencher.counter(ItemsCount::new(ITEMS)).bench_local(|| {
        for _ in 0..BATCHES {
            for frame in frames.drain(..) {
                world.inject(nics[0].0, nics[0].1, frame);
            }
            let until = world.now() + DELAY;
            world.run_until(until);
            while let Some((_, _, frame)) = world.poll_external() {
                frames.push(frame);
            }
        }
    });
}
