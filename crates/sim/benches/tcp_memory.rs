//! What TCP weighs: heap bytes of an idle established endpoint, a half-open one and one in TIME-WAIT, of a host with its
//! stack and one link, and a million established connections in one process with both ends.
//!
//! `cargo bench -p sim --bench tcp_memory`; `-- million=100000` makes the last row smaller.

#[path = "tcp/duo.rs"]
#[expect(dead_code, reason = "the other benchmark uses the rest")]
mod duo;

use std::alloc::System;
use std::net::{Ipv4Addr, SocketAddr};

use duo::{Duo, SERVER};
use stack::Errno;
use stack::call::{Call, Fd, SockAddr};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const IDLE_A_PORT: u64 = 10_000;

/// Bytes that are allocated now, and in how many blocks.
fn heap() -> (u64, u64) {
    let now = ALLOCATOR.stats();
    let left = |a: usize, b: usize| u64::try_from(a - b).expect("a size");
    (left(now.bytes_allocated, now.bytes_deallocated), left(now.allocations, now.deallocations))
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("statm");
    pages * 4096
}

fn report(what: &str, before: (u64, u64), things: u64, must: u64, aim: u64) {
    let (bytes, blocks) = heap();
    let each = (bytes - before.0) as f64 / things as f64;
    let verdict = match each {
        e if e <= aim as f64 => "aim met",
        e if e <= must as f64 => "must met",
        _ => "ABOVE MUST",
    };
    let blocks = (blocks - before.1) as f64 / things as f64;
    println!("{what:<44} {each:>8.1} bytes in {blocks:.2} blocks  [must {must} aim {aim}] {verdict}");
}

fn start(duo: &mut Duo, port: u16) -> Fd {
    let fd = duo.client.socket(duo.now);
    let addr = SockAddr::Ip(SocketAddr::from((SERVER, port)));
    let result = duo.client.call(duo.now, &Call::Connect { fd, addr });
    assert_eq!(result, Err(Errno::EINPROGRESS));
    fd
}

fn idle(n: u64) {
    let mut duo = Duo::new(&[]);
    let before = heap();
    let rss = resident();
    let mut port = 6000;
    let mut listener = duo.server.listen(duo.now, port);
    let mut fds = Vec::with_capacity(usize::try_from(n).expect("a count"));
    for i in 0..n {
        if i > 0 && i % IDLE_A_PORT == 0 {
            port += 1;
            listener = duo.server.listen(duo.now, port);
        }
        fds.push(duo.connect(listener, port));
    }
    // Timers that were only moved away come up once.
    for _ in 0..20 {
        duo.now += core::time::Duration::from_secs(1);
        duo.exchange();
    }
    let own = (fds.capacity() * size_of::<(Fd, Fd)>()) as u64;
    report(
        &format!("idle endpoint, all in ({n} connections)"),
        (before.0 + own, before.1),
        2 * n,
        2048,
        1024,
    );
    let rss = (resident() - rss) as f64;
    println!(
        "  resident: {:.0} bytes an endpoint, {:.0} MiB in all",
        rss / (2 * n) as f64,
        rss / 1_048_576.0
    );
    let established = duo.client.stack.mib().value(stack::mib::Counter::TcpCurrEstab);
    assert_eq!(established, n, "all of them are established");
}

fn half_open(n: u64) {
    let mut duo = Duo::new(&[("net.ipv4.tcp_max_syn_backlog", "1000000"), ("net.core.somaxconn", "1000000")]);
    let listener = duo.server.listen(duo.now, 5000);
    duo.server.call(duo.now, &Call::Listen { fd: listener, backlog: 1_000_000 }).expect("listens");
    let mut syns = Vec::new();
    for _ in 0..n {
        start(&mut duo, 5000);
        while let Some((_, frame)) = duo.client.stack.poll_transmit() {
            syns.push(frame);
        }
    }
    let nic = duo.server.nic;
    let before = heap();
    let own: usize = syns.iter().map(wire::Frame::len).sum();
    for frame in &syns {
        duo.server.stack.handle_frame(duo.now, nic, frame.clone());
        while duo.server.stack.poll_transmit().is_some() {}
    }
    assert!(own > 0);
    report("half-open connection, all in", before, n, 512, 256);
}

fn time_wait(n: u64) {
    let mut duo = Duo::new(&[]);
    let listener = duo.server.listen(duo.now, 5000);
    let before = heap();
    let connections: Vec<(Fd, Fd)> = (0..n).map(|_| duo.connect(listener, 5000)).collect();
    for (fd, accepted) in &connections {
        duo.client.call(duo.now, &Call::Close { fd: *fd }).expect("open");
        duo.exchange();
        duo.server.call(duo.now, &Call::Close { fd: *accepted }).expect("open");
        duo.exchange();
    }
    let left = duo.client.stack.ss_tan(duo.now);
    assert_eq!(left.lines().filter(|line| line.contains("TIME-WAIT")).count() as u64, n);
    let own = connections.capacity() * size_of::<(Fd, Fd)>();
    let before = (before.0 + own as u64, before.1 + 1);
    println!(
        "the next is what both hosts keep of a closed connection: entry, hash, port, timer, tables that do not shrink"
    );
    report("connection in TIME-WAIT", before, n, 512, 256);
}

/// A host with its stack and one link, idle; as in the benchmark `hosts`.
fn host(n: u32) {
    let mut world = sim::World::new(sim::WorldConfig { seed: 1, record: false, check: false });
    let switch = world.add_switch("switch", sim::SwitchConfig::default());
    let before = heap();
    for i in 0..n {
        let config = stack::StackConfig { name: format!("host{i}"), record: false, ..Default::default() };
        let node = world.add_host(config);
        let [_, b, c, d] = i.to_be_bytes();
        let nic = world.add_nic(node, "eth0", wire::Medium::Ip, wire::MacAddr([2, 0, 0, b, c, d]), 1500);
        world.with_stack(node, |stack, now| {
            stack.link_set_up(now, nic, true).expect("just made");
            stack.addr_add(now, nic, Ipv4Addr::new(10, b, c, d).into(), 8).expect("new");
        });
        let port = world.add_nic(switch, &format!("p{i}"), wire::Medium::Ip, wire::MacAddr::ZERO, 1500);
        world.connect((node, nic), (switch, port), sim::LinkConfig::default());
    }
    world.run_until(wire::Instant::from_secs(60));
    report("host with its stack and one link", before, n.into(), 8192, 4096);
}

fn main() {
    let million = std::env::args().filter_map(|word| word.strip_prefix("million=")?.parse().ok()).next();
    idle(10_000);
    half_open(10_000);
    time_wait(10_000);
    host(1_000);
    idle(million.unwrap_or(1_000_000));
}
