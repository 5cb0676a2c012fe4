//! Bulk flows across a bottleneck: hosts, two routers, three links, 20 ms, drop-tail queue of one bandwidth-delay
//! product. The peer is a 150-line simulator on smoltcp with the same shape and plain forwarding.

use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use sim::{Action, Event, Impairment, LinkConfig, LinkId, Program, World, WorldConfig};
use stack::StackConfig;
use stack::call::{Call, Data, Domain, Fd, Ret, SockAddr, SockType};
use stack::record::{IfIndex, NodeId};
use stack::route::{NewRoute, RouteChange};
use wire::{Bytes, Instant, MacAddr, Medium};

use crate::{Args, Bar, compare, cpu, smol};

const RATE: u64 = 1_000_000_000;
const PORT: u16 = 5000;
const CHUNK: usize = 64 << 10;
/// Before the programs start: interfaces settle.
const WARM: Instant = Instant::from_secs(5);

pub(crate) fn rows(args: &Args) {
    let seconds = args.scaled(args.number("seconds", 10));
    let rows = [
        ("dumbbell 10 flows, 4 MiB buffers", 4 << 20, Bar::ratio(0.68, 1.7)),
        ("dumbbell256k 10 flows", 256 << 10, Bar::ratio(0.6, 1.1)),
    ];
    for (row, buffer, bar) in rows {
        let flows = args.number("flows", 10);
        let mut theirs = || smol::dumbbell(flows as usize, seconds, buffer);
        compare(args, row, "core packets/s", bar, || dumbbell(flows, seconds, buffer), Some(&mut theirs));
    }
}

/// A host of the world with record off.
pub(crate) fn host(world: &mut World, name: &str, settings: &[(&str, &str)]) -> NodeId {
    let node = world.add_host(StackConfig { name: name.into(), record: false, ..StackConfig::default() });
    world.with_stack(node, |stack, now| {
        for (name, value) in settings {
            stack.sysctl_write(now, name, value).expect("a sysctl");
        }
    });
    node
}

/// A point-to-point interface (no ARP, as ns-3's) with an address of a /30.
pub(crate) fn nic(world: &mut World, node: NodeId, name: &str, addr: Ipv4Addr) -> IfIndex {
    let nic = world.add_nic(node, name, Medium::Ip, MacAddr::ZERO, 1500);
    world.with_stack(node, |stack, now| {
        stack.link_set_up(now, nic, true).expect("just made");
        stack.addr_add(now, nic, addr.into(), 30).expect("a new address");
    });
    nic
}

pub(crate) fn route(world: &mut World, node: NodeId, to: Ipv4Addr, len: u8, via: Ipv4Addr) {
    let mut route = NewRoute::new(IpAddr::V4(to), len);
    route.gateway = Some(via.into());
    world.with_stack(node, |stack, now| {
        stack.route_change(now, &route, RouteChange::Add).expect("a gateway on the link");
    });
}

/// A host behind a router: `net` and the three addresses after it are theirs. Returns the host's address.
pub(crate) fn attach(
    world: &mut World,
    host: NodeId,
    router: NodeId,
    net: u32,
    link: LinkConfig,
) -> Ipv4Addr {
    let (own, gateway) = (Ipv4Addr::from(net + 1), Ipv4Addr::from(net + 2));
    let a = nic(world, host, "eth0", own);
    let b = nic(world, router, &format!("h{net:x}"), gateway);
    world.connect((host, a), (router, b), link);
    route(world, host, Ipv4Addr::UNSPECIFIED, 0, gateway);
    own
}

/// Two routers joined by the bottleneck; left ones are 20.0.0.0/8, right ones 30.0.0.0/8.
pub(crate) fn core(world: &mut World) -> ([NodeId; 2], LinkId) {
    let forward = [("net.ipv4.ip_forward", "1")];
    let routers = ["left", "right"].map(|name| host(world, name, &forward));
    let ends = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
    let a = nic(world, routers[0], "core", ends[0]);
    let b = nic(world, routers[1], "core", ends[1]);
    let limit = u32::try_from(RATE / 50 / 8 / 1500).expect("a small number"); // 20 ms
    let bottleneck =
        Impairment { delay: Duration::from_millis(5), rate: Some(RATE), limit, ..Impairment::default() };
    let link = world.connect((routers[0], a), (routers[1], b), LinkConfig::symmetric(bottleneck));
    route(world, routers[0], Ipv4Addr::new(30, 0, 0, 0), 8, ends[1]);
    route(world, routers[1], Ipv4Addr::new(20, 0, 0, 0), 8, ends[0]);
    (routers, link)
}

pub(crate) fn access() -> LinkConfig {
    let access = Impairment {
        delay: Duration::from_micros(2500),
        rate: Some(10 * RATE),
        limit: 10_000,
        ..Impairment::default()
    };
    LinkConfig::symmetric(access)
}

/// Core packets a second of CPU time: data and ACKs that crossed the bottleneck.
fn dumbbell(flows: u64, seconds: u64, buffer: usize) -> f64 {
    let mut world = World::new(WorldConfig { seed: 1, record: false, check: false });
    let (routers, link) = core(&mut world);
    let memory = format!("4096 {buffer} {buffer}");
    let settings = [("net.ipv4.tcp_wmem", &*memory), ("net.ipv4.tcp_rmem", &*memory)];
    let mut receivers = Vec::new();
    for n in 0..u32::try_from(flows).expect("few") {
        let client = host(&mut world, &format!("client{n}"), &settings);
        attach(&mut world, client, routers[0], (20 << 24) + n * 4, access());
        let server = host(&mut world, &format!("server{n}"), &settings);
        let addr = attach(&mut world, server, routers[1], (30 << 24) + n * 4, access());
        receivers.push(world.spawn(server, "sink", WARM, Box::new(Sink::default())));
        let start = WARM + Duration::from_millis(7) * (n + 1);
        let to = SocketAddr::from((addr, PORT));
        world.spawn(client, "source", start, Box::new(Source::new(to)));
    }
    world.run_until(WARM);
    let before = world.link_stats(link);
    let start = cpu();
    world.run_until(WARM + Duration::from_secs(seconds));
    let spent = cpu() - start;
    let after = world.link_stats(link);
    let core: u64 = (0..2).map(|d| after[d].delivered - before[d].delivered).sum();
    if std::env::var_os("TCP_BENCH_TELL").is_some() {
        let got: u64 = receivers
            .iter()
            .map(|id| world.program(*id).output().first().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0))
            .sum();
        let lost: u64 = (0..2).map(|d| after[d].lost - before[d].lost).sum();
        eprintln!(
            "dumbbell: {core} core packets, {lost} lost, goodput {:.0} Mbit/s, {:.1} simulated s per s",
            got as f64 * 8e-6 / seconds as f64,
            seconds as f64 / spent
        );
    }
    core as f64 / spent
}

fn socket() -> Action {
    Action::Call(Call::Socket { domain: Domain::Inet, ty: SockType::Stream, protocol: 0, nonblock: false })
}

fn expect_fd(event: &Event) -> Fd {
    match event {
        Event::Returned(Ok(Ret::Fd(fd, _))) => *fd,
        other => panic!("{other:?}"),
    }
}

/// Writes for ever.
struct Source {
    to: SocketAddr,
    fd: Fd,
    step: u8,
    data: Data,
}

impl Source {
    fn new(to: SocketAddr) -> Source {
        Source { to, fd: -1, step: 0, data: Data::Literal(Bytes::from(vec![7; CHUNK])) }
    }
}

impl Program for Source {
    fn resume(&mut self, _now: Instant, event: Event) -> Action {
        self.step = self.step.saturating_add(1);
        match self.step {
            1 => socket(),
            2 => {
                self.fd = expect_fd(&event);
                Action::Call(Call::Connect { fd: self.fd, addr: SockAddr::Ip(self.to) })
            }
            _ => {
                assert!(matches!(event, Event::Returned(Ok(_))), "{event:?}");
                Action::Call(Call::Write { fd: self.fd, data: self.data.clone() })
            }
        }
    }
}

/// Accepts once and reads for ever; its output is how much.
#[derive(Default)]
struct Sink {
    fd: Fd,
    step: u8,
    got: u64,
    output: Vec<String>,
}

impl Program for Sink {
    fn resume(&mut self, _now: Instant, event: Event) -> Action {
        self.step = self.step.saturating_add(1);
        match self.step {
            1 => socket(),
            2 => {
                self.fd = expect_fd(&event);
                let addr = SockAddr::Ip(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)));
                Action::Call(Call::Bind { fd: self.fd, addr })
            }
            3 => Action::Call(Call::Listen { fd: self.fd, backlog: 10 }),
            4 => Action::Call(Call::Accept { fd: self.fd, nonblock: false }),
            step => {
                if step == 5 {
                    self.fd = expect_fd(&event);
                } else if let Event::Returned(Ok(Ret::Data { data, .. })) = &event {
                    self.got += data.len() as u64;
                    self.output = vec![self.got.to_string()];
                }
                Action::Call(Call::Read { fd: self.fd, len: CHUNK })
            }
        }
    }

    fn output(&self) -> &[String] {
        &self.output
    }
}
