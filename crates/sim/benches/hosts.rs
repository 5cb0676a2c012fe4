//! Memory and speed of 10,000 hosts behind 100 switches and one router, with traffic.
//!
//! Run with `cargo bench -p sim --bench hosts`. The goal is less than 1 GiB.

use core::time::Duration;
use std::alloc::System;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant as Clock;

use sim::{LinkConfig, SwitchConfig, World, WorldConfig};
use stack::call::{Call, Domain, Outcome, SockAddr, SockType};
use stack::record::{IfIndex, NodeId};
use stack::route::{NewRoute, RouteChange};
use stack::socket::SockId;
use stack::{Stack, StackConfig};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use wire::{Instant, MacAddr, Medium};

const SWITCHES: u8 = 100;
const HOSTS_PER_SWITCH: u8 = 100;
const ROUNDS: u64 = 10;
const PORT: u16 = 9;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that are allocated now, and in how many blocks.
fn heap() -> (usize, usize) {
    let now = ALLOCATOR.stats();
    (now.bytes_allocated - now.bytes_deallocated, now.allocations - now.deallocations)
}

/// Says what one host costs since `before`.
fn report(what: &str, hosts: usize, before: (usize, usize)) {
    let (bytes, blocks) = heap();
    let (bytes, blocks) = (bytes - before.0, blocks - before.1);
    println!("heap, {what}: {} bytes in {} blocks a host", bytes / hosts, blocks / hosts);
}

/// 1,000 hosts with one interface each and no cable: what is the stack's own.
fn alone() {
    const N: u16 = 1000;
    let config = |n: u16| StackConfig { name: format!("host{n}"), record: false, ..StackConfig::default() };
    let before = heap();
    let mut stacks: Vec<Stack> = (0..N).map(|n| Stack::new(config(n))).collect();
    println!("size of Stack: {} bytes", size_of::<Stack>());
    report("a stack with lo", N.into(), before);
    for (n, stack) in (0..N).zip(&mut stacks) {
        let [high, low] = n.to_be_bytes();
        let nic = stack.add_interface("eth0", Medium::Ethernet, MacAddr([2, 0, 0, 0, high, low]), 1500);
        stack.link_set_carrier(Instant::ZERO, nic, true).expect("just made");
        stack.link_set_up(Instant::ZERO, nic, true).expect("just made");
        stack.addr_add(Instant::ZERO, nic, Ipv4Addr::new(10, 0, high, low).into(), 8).expect("new");
    }
    report("with an address", N.into(), before);
    for stack in &mut stacks {
        while let Some(at) = stack.poll_timeout().filter(|at| *at < Instant::from_secs(60)) {
            stack.handle_timeout(at);
            while stack.poll_transmit().is_some() {}
        }
    }
    report("a minute later, idle", N.into(), before);
    if std::env::args().any(|arg| arg == "alone") {
        std::process::exit(0);
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("statm");
    pages * 4096
}

fn add(world: &mut World, node: NodeId, name: &str, mac: [u8; 3], ip: Ipv4Addr) -> IfIndex {
    let mac = MacAddr([2, 0, 0, mac[0], mac[1], mac[2]]);
    let ifindex = world.add_nic(node, name, Medium::Ethernet, mac, 1500);
    world.with_stack(node, |stack, now| {
        stack.link_set_up(now, ifindex, true).expect("just made");
        stack.addr_add(now, ifindex, ip.into(), 24).expect("a new address");
    });
    ifindex
}

fn socket(world: &mut World, node: NodeId) -> SockId {
    world.with_stack(node, |stack, now| {
        let pid = stack.spawn();
        let call = Call::Socket { domain: Domain::Inet, ty: SockType::Dgram, protocol: 0, nonblock: true };
        let Outcome::Done(Ok(fd)) = stack.call(now, pid, &call) else { panic!("no socket") };
        let fd = i32::try_from(fd.value()).expect("a descriptor");
        let addr = SockAddr::Ip(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)));
        let Outcome::Done(Ok(_)) = stack.call(now, pid, &Call::Bind { fd, addr }) else { panic!("no port") };
        stack.sock_of(pid, fd).expect("a socket")
    })
}

fn main() {
    alone();
    let before = resident();
    let heap_before = heap();
    let mut world = World::new(WorldConfig { seed: 1, record: false, check: false });
    let link = LinkConfig::with_delay(Duration::from_micros(10));
    let router = world.add_host(StackConfig { name: "router".into(), ..StackConfig::default() });
    world.with_stack(router, |stack, now| {
        stack.sysctl_write(now, "net.ipv4.ip_forward", "1").expect("a sysctl");
        // The neighbour table's limits are for an office, not for 10,000 hosts.
        for n in 1..=3 {
            let name = format!("net.ipv4.neigh.default.gc_thresh{n}");
            stack.sysctl_write(now, &name, "65536").expect("a sysctl");
        }
    });
    let mut hosts: Vec<(NodeId, SockId, Ipv4Addr)> = Vec::new();
    for s in 0..SWITCHES {
        let switch = world.add_switch(&format!("switch{s}"), SwitchConfig::default());
        let gateway = Ipv4Addr::new(10, 0, s, 254);
        let nic = add(&mut world, router, &format!("eth{s}"), [1, s, 0], gateway);
        let port = world.add_nic(switch, "router", Medium::Ethernet, MacAddr::ZERO, 1500);
        world.connect((router, nic), (switch, port), link.clone());
        for h in 1..=HOSTS_PER_SWITCH {
            let name = format!("host{s}-{h}");
            let node = world.add_host(StackConfig { name: name.clone(), ..StackConfig::default() });
            let ip = Ipv4Addr::new(10, 0, s, h);
            let nic = add(&mut world, node, "eth0", [0, s, h], ip);
            let mut route = NewRoute::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
            route.gateway = Some(gateway.into());
            world.with_stack(node, |stack, now| {
                stack.route_change(now, &route, RouteChange::Add).expect("a gateway on the link");
            });
            let port = world.add_nic(switch, &name, Medium::Ethernet, MacAddr::ZERO, 1500);
            world.connect((node, nic), (switch, port), link.clone());
            let sock = socket(&mut world, node);
            hosts.push((node, sock, ip));
        }
    }
    let n = hosts.len();
    let empty = resident() - before;
    println!("{n} hosts, idle: {} MiB, {} bytes a host", empty >> 20, empty / n as u64);
    report("just made", n, heap_before);
    let start = Clock::now();
    world.run_until(Instant::from_secs(5));
    println!("start-up (duplicate address detection, MLD): {:.1?}", start.elapsed());
    report("idle", n, heap_before);
    let start = Clock::now();
    let mut received = 0;
    for round in 0..ROUNDS {
        for (i, &(node, sock, _)) in hosts.iter().enumerate() {
            // A host behind another switch, by way of the router.
            let (_, _, to) = hosts[(i * 7919 + 101 * (round as usize + 1)) % n];
            let to = SocketAddr::from((to, PORT));
            let sent =
                world.with_stack(node, |stack, now| stack.udp_send_to(now, sock, &b"hello"[..], Some(to)));
            sent.expect("a route");
        }
        let until = world.now() + Duration::from_secs(1);
        world.run_until(until);
        for &(node, sock, _) in &hosts {
            world.with_stack(node, |stack, _| {
                while stack.udp_recv_from(sock).is_ok() {
                    received += 1;
                }
            });
        }
    }
    let elapsed = start.elapsed();
    let busy = resident() - before;
    println!("{received} of {} datagrams arrived in {elapsed:.1?}", n as u64 * ROUNDS);
    println!("{n} hosts, with traffic: {} MiB, {} bytes a host", busy >> 20, busy / n as u64);
    report("with traffic", n, heap_before);
    assert!(busy < 1 << 30, "more than 1 GiB");
}
