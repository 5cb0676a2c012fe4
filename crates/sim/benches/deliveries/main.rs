//! Packet deliveries per second across one link: the whole way from `udp_send_to` through neighbour table, link and
//! `handle_frame` to `udp_recv_from`, recording off and on, and the event loop alone; beside two hosts of smoltcp that send
//! the same datagrams, ours, theirs, ours, theirs.
//!
//! `cargo bench -p sim --bench deliveries` runs every row; words name rows (`-- udp8 loop`), `pairs=5` sets how often the two
//! take turns, `scale=10` makes the work smaller by that, `peer=0` leaves smoltcp out. Times are the thread's CPU time. smoltcp
//! has no link, no event loop, no Ethernet header and no neighbour there: its frames go from one host's hands into the other's.

#[path = "../common/mod.rs"]
mod common;
mod smol;

use core::time::Duration;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};

use common::{Args, Bar, compare, cpu};
use sim::{Impairment, LinkConfig, World, WorldConfig};
use stack::StackConfig;
use stack::call::{Call, Domain, Outcome, SockAddr, SockType};
use stack::record::{IfIndex, NodeId, NodeKind, What};
use stack::socket::SockId;
use wire::capture::LinkType;
use wire::pcapng::{PacketInfo, SectionInfo, Writer};
use wire::{Bytes, Frame, Instant, MacAddr, Medium};

/// Millions of deliveries a second.
const OFF: (f64, f64) = (5.0, 8.0);
/// The same with full records and a capture file.
const ON: (f64, f64) = (1.0, 2.0);

fn main() {
    let args = Args::parse();
    let off = |row: &str, mut ours: Box<dyn FnMut() -> f64>, theirs: Option<usize>| {
        let mut peer = || smol::deliveries(args.scaled(2_000_000), theirs.unwrap_or_default());
        let peer: Option<&mut dyn FnMut() -> f64> = if theirs.is_some() { Some(&mut peer) } else { None };
        compare(&args, row, "M/s", Bar::figure(OFF.0, OFF.1), &mut ours, peer);
    };
    let n = args.scaled(2_000_000);
    off("udp8 8 bytes", Box::new(move || plain_run(n, 8)), Some(8));
    off("udp1400 1,400 bytes", Box::new(move || plain_run(n, 1400)), Some(1400));
    off("connected 8 bytes, connected", Box::new(move || connected_run(n)), None);
    off("jitter rate and jitter", Box::new(move || jitter_run(n)), None);
    off("loop the event loop alone", Box::new(move || loop_run(n)), None);
    let n = args.scaled(400_000);
    for (row, len) in [("pcap8 8 bytes, records, pcapng", 8), ("pcap1400 1,400 bytes, same", 1400)] {
        compare(&args, row, "M/s", Bar::figure(ON.0, ON.1), || recorded_run(n, len), None);
    }
}

/// Datagrams in one batch.
const BATCH: usize = 64;
/// Batches in one measured run.
const BATCHES: usize = 32;
const ITEMS: u64 = (BATCH * BATCHES) as u64;
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

/// Millions of items a second of CPU time.
fn rate(items: u64, work: impl FnOnce()) -> f64 {
    let start = cpu();
    work();
    items as f64 / (cpu() - start) / 1e6
}

/// So many datagrams, in runs of [`BATCHES`].
fn batches(pair: &mut Pair, n: u64, len: usize) -> f64 {
    let payload = bytes(len);
    let runs = n.div_ceil(ITEMS);
    rate(runs * ITEMS, || {
        for _ in 0..runs {
            pair.batches(&payload);
        }
    })
}

fn plain_run(n: u64, len: usize) -> f64 {
    batches(&mut Pair::new(false, plain()), n, len)
}

fn connected_run(n: u64) -> f64 {
    let mut pair = Pair::new(false, plain());
    let (node, peer) = (pair.client.0, pair.to.take());
    pair.client.1 = socket(&mut pair.world, node, 0, peer);
    batches(&mut pair, n, 8)
}

fn jitter_run(n: u64) -> f64 {
    let (rate, jitter) = (Some(100_000_000_000), DELAY / 2);
    batches(&mut Pair::new(false, Impairment { rate, jitter, ..plain() }), n, 8)
}

fn recorded_run(n: u64, len: usize) -> f64 {
    let payload = bytes(len);
    let mut worlds: Vec<Pair> = (0..n.div_ceil(ITEMS)).map(|_| Pair::new(true, plain())).collect();
    rate(worlds.len() as u64 * ITEMS, || {
        for mut pair in worlds.drain(..) {
            pair.batches(&payload);
            black_box(capture(pair.world));
        }
    })
}

/// A capture file of all that two hosts sent and received.
fn capture(world: World) -> Vec<u8> {
    let journal = world.finish();
    let mut file = Writer::new(Vec::new(), &SectionInfo::default()).expect("memory");
    let interfaces = ["a", "b"].map(|name| file.interface(name, "", LinkType::ETHERNET).expect("memory"));
    for record in &journal.records {
        if let What::Tx { frame, .. } | What::Rx { frame, .. } = &record.what {
            let interface = interfaces[record.node.0 as usize];
            let info = PacketInfo { interface, at: record.at, ..PacketInfo::default() };
            file.frame(&info, frame).expect("memory");
        }
    }
    file.finish().expect("memory")
}

fn loop_run(n: u64) -> f64 {
    let mut world = World::new(WorldConfig { seed: 1, record: false, check: false });
    let nics = ["a", "b"].map(|name| {
        let node = world.add_external(name, NodeKind::Stack);
        (node, world.add_nic(node, "eth0", Medium::Ethernet, MacAddr::ZERO, 1500))
    });
    world.connect(nics[0], nics[1], LinkConfig::with_delay(DELAY));
    let mut frames: Vec<Frame> = (0..BATCH).map(|_| Frame::from_vec(vec![0; 60])).collect();
    let runs = n.div_ceil(BATCH as u64);
    rate(runs * BATCH as u64, || {
        for _ in 0..runs {
            for frame in frames.drain(..) {
                world.inject(nics[0].0, nics[0].1, frame);
            }
            let until = world.now() + DELAY;
            world.run_until(until);
            while let Some((_, _, frame)) = world.poll_external() {
                frames.push(frame);
            }
        }
    })
}
