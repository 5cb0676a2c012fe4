//! Worlds that nobody thought of: from a seed a topology, links with every trouble, faults, programs and connections. All
//! invariants of `sim::check` hold after every step, and the same seed gives the same journal.
//!
//! `SWARM_SEEDS=5000 cargo test -p sim --release --test swarm` tries more of them, from `SWARM_FROM` on.

#[expect(dead_code, reason = "the other tests' part")]
mod common;
#[path = "swarm/streams.rs"]
mod streams;

use core::time::Duration;

use common::{Net, secs};
use sim::link::{Distribution, Gemodel};
use sim::program::ping::{Ping, PingOptions};
use sim::program::script::{Script, Step, StepKind, When};
use sim::program::traceroute::{Traceroute, TracerouteOptions};
use sim::{Fault, FaultAction, Impairment, LinkConfig, LinkState, RunEnd, RunLimit, SwitchConfig};
use stack::record::Journal;
use stack::rng::Rng;
use wire::Instant;

const SEEDS: u64 = 200;
const NETWORKS: [&str; 3] = ["192.0.2", "198.51.100", "203.0.113"];
const MAX_EVENTS: u64 = 400_000;

fn env(name: &str, unset: u64) -> u64 {
    std::env::var(name).map_or(unset, |v| v.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn any_world_keeps_its_invariants_and_repeats_itself() {
    let from = env("SWARM_FROM", 0);
    let (mut packets, mut whole) = (0, 0);
    for seed in from..from + env("SWARM_SEEDS", SEEDS) {
        // The name of a failing seed stands on the last line before the panic.
        println!("seed {seed}");
        let (journal, read) = run(seed);
        packets += journal.records.len();
        whole += read;
        // Every eighth twice: a run costs as much as its comparison.
        if seed % 8 == 0 {
            assert!(
                format!("{journal:?}") == format!("{:?}", run(seed).0),
                "seed {seed} differs from itself"
            );
        }
    }
    println!("{packets} records, {whole} streams read whole");
    assert!(packets > 0 && whole > 0, "nothing happened");
}

/// The journal, and how many directions of connections were read to their end.
fn run(seed: u64) -> (Journal, usize) {
    let mut rng = Rng::new(seed, "swarm");
    let mut net = Net::new(seed);
    let (hosts, corrupting_links) = topology(&mut net, &mut rng);
    let corrupting_faults = faults(&mut net, &mut rng, &hosts);
    programs(&mut net, &mut rng, &hosts);
    let exact = corrupting_links + corrupting_faults < 2;
    let ways = streams::add(&mut net, &mut Rng::new(seed, "swarm streams"), &hosts, exact);
    let limit = RunLimit { until: secs(120), max_events: MAX_EVENTS, ..RunLimit::default() };
    let end = net.world.run(&limit);
    assert_ne!(end, RunEnd::EventLimit, "seed {seed}: more than {MAX_EVENTS} events in two minutes");
    (net.world.finish(), ways.iter().filter(|way| way.is_whole()).count())
}

/// One to three networks in a row, a switch in each, routers between them; the hosts' names, and how many directions of
/// links flip bits.
fn topology(net: &mut Net, rng: &mut Rng) -> (Vec<String>, usize) {
    let mut corrupting = 0;
    let mut link = |rng: &mut Rng| {
        let link = link(rng);
        corrupting += [&link.a_to_b, &link.b_to_a].iter().filter(|i| i.corrupt_ppm > 0).count();
        link
    };
    let networks = 1 + rng.below(3) as usize;
    let mut hosts = Vec::new();
    for (n, prefix) in NETWORKS[..networks].iter().enumerate() {
        net.switch(&format!("sw{n}"), SwitchConfig::default());
        for h in 0..1 + rng.below(3) {
            let name = format!("h{n}{h}");
            net.host(&name, &[("eth0", &format!("{prefix}.{}/24", h + 1))]);
            let link = link(rng);
            net.port((&name, "eth0"), &format!("sw{n}"), link);
            hosts.push(name);
        }
    }
    for n in 1..networks {
        let name = format!("r{n}");
        let (left, right) = (NETWORKS[n - 1], NETWORKS[n]);
        // The first two routers meet in the middle network.
        net.host(&name, &[("lan", &format!("{left}.{}/24", 253 - n)), ("wan", &format!("{right}.254/24"))]);
        let (a, b) = (link(rng), link(rng));
        let narrow = (rng.below(4) == 0).then_some(1000);
        port(net, (&name, "lan"), n - 1, a);
        port(net, (&name, "wan"), n, LinkConfig { mtu: narrow, ..b });
        net.sysctl(&name, "net.ipv4.ip_forward", "1");
    }
    if networks == 3 {
        net.gateway("r1", &format!("{}.251", NETWORKS[1]));
        net.gateway("r2", &format!("{}.254", NETWORKS[1]));
    }
    for host in &hosts {
        let n = usize::from(host.as_bytes()[1] - b'0');
        if networks > 1 {
            let router = if n == 0 { 252 } else { 254 };
            net.gateway(host, &format!("{}.{router}", NETWORKS[n]));
        }
    }
    (hosts, corrupting)
}

/// A port of its own name: a router has one in two switches.
fn port(net: &mut Net, host: (&str, &str), switch: usize, config: LinkConfig) {
    net.port(host, &format!("sw{switch}"), config);
}

fn link(rng: &mut Rng) -> LinkConfig {
    LinkConfig {
        a_to_b: impairment(rng),
        b_to_a: impairment(rng),
        schedule: match rng.below(8) {
            0 => vec![
                (Instant::from_millis(rng.below(5000)), LinkState::Down),
                (Instant::from_millis(5000 + rng.below(5000)), LinkState::Up),
            ],
            1 => vec![(Instant::from_millis(rng.below(9000)), LinkState::Silent)],
            _ => Vec::new(),
        },
        ..LinkConfig::default()
    }
}

/// Most links are well; some have a trouble, a few have many.
fn impairment(rng: &mut Rng) -> Impairment {
    let mut ppm = |most: u64| if rng.below(4) == 0 { rng.below(most) as u32 } else { 0 };
    let (loss_ppm, reorder_ppm, duplicate_ppm, corrupt_ppm) =
        (ppm(400_000), ppm(500_000), ppm(300_000), ppm(300_000));
    let (loss_correlation_ppm, jitter) = (ppm(900_000), ppm(40_000));
    let gemodel = Gemodel { p: ppm(200_000), r: 300_000, ..Gemodel::default() };
    Impairment {
        delay: Duration::from_micros(rng.below(30_000)),
        jitter: Duration::from_micros(u64::from(jitter)),
        distribution: if rng.below(2) == 0 { Distribution::Uniform } else { Distribution::Normal },
        rate: (rng.below(3) == 0).then(|| 64_000 + rng.below(10_000_000)),
        limit: 1 + rng.below(100) as u32,
        loss_ppm,
        loss_correlation_ppm,
        gemodel: (gemodel.p > 0).then_some(gemodel),
        reorder_ppm,
        duplicate_ppm,
        corrupt_ppm,
        ..Impairment::default()
    }
}

/// Up to three faults; how many of them flip bits.
fn faults(net: &mut Net, rng: &mut Rng, hosts: &[String]) -> usize {
    let mut corrupting = 0;
    const FILTERS: [&str; 8] = [
        "udp",
        "icmp",
        "tcp",
        "tcp.flags.syn == 1",
        "arp",
        "ip.ttl < 64",
        "frame.len > 500",
        "arp.opcode == 2",
    ];
    const ORDINALS: [&str; 5] = ["", "2nd ", "first 3 ", "2-4 ", "every "];
    for _ in 0..rng.below(4) {
        let host = &hosts[rng.below(hosts.len() as u64) as usize];
        let arrow = if rng.below(2) == 0 { "" } else { "->" };
        let ordinal = ORDINALS[rng.below(ORDINALS.len() as u64) as usize];
        let filter = FILTERS[rng.below(FILTERS.len() as u64) as usize];
        let time = Duration::from_millis(1 + rng.below(3000));
        let action = match rng.below(6) {
            0 | 1 => FaultAction::Drop,
            2 => FaultAction::Delay(time),
            3 => FaultAction::Duplicate(1 + rng.below(3) as u32),
            4 => FaultAction::Corrupt { at: (rng.below(2) == 0).then(|| rng.below(80) as u32) },
            _ => FaultAction::CutLink { duration: time, state: LinkState::Down },
        };
        corrupting += usize::from(matches!(action, FaultAction::Corrupt { .. }));
        let text = format!("{arrow}{host}: {ordinal}{filter}");
        let fault = Fault::parse(&text, action, &net.world).unwrap_or_else(|e| panic!("{text}: {e}"));
        net.world.add_fault(fault);
    }
    corrupting
}

fn call(text: String) -> Step {
    Step { when: When::Next, what: StepKind::Call(text), expect: None, span: 0..0 }
}

fn programs(net: &mut Net, rng: &mut Rng, hosts: &[String]) {
    for host in hosts {
        let mut steps = vec![
            call("s = socket(AF_INET, SOCK_DGRAM, 0)".into()),
            call("setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, {tv_sec=2, tv_usec=0})".into()),
            call("setsockopt(s, SOL_IP, IP_RECVERR, 1)".into()),
            call(format!("setsockopt(s, SOL_IP, IP_MTU_DISCOVER, {})", rng.below(4))),
            call("bind(s, 0.0.0.0:9)".into()),
        ];
        for _ in 0..2 + rng.below(8) {
            let peer = &hosts[rng.below(hosts.len() as u64) as usize];
            let size = [0, 1, 100, 1400, 1472, 3000, 9000][rng.below(7) as usize];
            steps.push(match rng.below(6) {
                0 => call(format!("sendto(s, {size}, 0, {peer}:{})", 9 + rng.below(2))),
                1 => call(format!("sendto(s, {size}, 0, 203.0.113.{}:9)", rng.below(8))),
                2 => call("recvfrom(s, 10000, 0)".into()),
                3 => call("recvmsg(s, 100, MSG_ERRQUEUE|MSG_DONTWAIT)".into()),
                4 => call(format!("sendto(s, \"hello\", 0, {peer}:9)")),
                _ => Step {
                    what: StepKind::Sleep(Duration::from_millis(rng.below(4000))),
                    ..call(String::new())
                },
            });
        }
        let script = Script::new(net.names(host), steps);
        assert_eq!(script.errors(), []);
        let node = net.node(host);
        net.world.spawn(node, "script", Instant::from_millis(rng.below(1000)), Box::new(script));
    }
    for _ in 0..1 + rng.below(3) {
        let from = net.node(&hosts[rng.below(hosts.len() as u64) as usize]);
        let target = net.addr(&hosts[rng.below(hosts.len() as u64) as usize]);
        let at = Instant::from_millis(rng.below(3000));
        if rng.below(4) == 0 {
            let options = TracerouteOptions::new(target);
            net.world.spawn(from, "traceroute", at, Box::new(Traceroute::new(options)));
        } else {
            let size = [0, 56, 1472, 2000, 20_000][rng.below(5) as usize];
            let count = Some(1 + rng.below(8));
            let linger = Duration::from_secs(2);
            let options = PingOptions { size, linger, ..PingOptions::new(target) };
            let options = PingOptions { count: count.map(|c| c.try_into().expect("small")), ..options };
            net.world.spawn(from, "ping", at, Box::new(Ping::new(options)));
        }
    }
}
