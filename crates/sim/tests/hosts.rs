//! Worlds of stack hosts: ARP, UDP, ping, routers, switches and address translation end to end.

mod common;

use core::time::Duration;

use common::{Net, secs};
use sim::program::ping::{Ping, PingOptions};
use sim::program::script::{Script, Step, StepKind, When};
use sim::program::traceroute::{Traceroute, TracerouteOptions};
use sim::{LinkConfig, NatConfig, ProgramId, RunEnd, RunLimit, SwitchConfig};
use stack::record::What;
use wire::Instant;

const MS: Duration = Duration::from_millis(1);

fn call(text: &str) -> Step {
    Step { when: When::Next, what: StepKind::Call(text.into()), expect: None, span: 0..0 }
}

fn expect(text: &str, expect: &str) -> Step {
    Step { expect: Some(expect.into()), ..call(text) }
}

fn spawn_script(net: &mut Net, host: &str, start: Instant, steps: Vec<Step>) -> ProgramId {
    let script = Script::new(net.names(host), steps);
    assert_eq!(script.errors(), []);
    let node = net.node(host);
    net.world.spawn(node, "script", start, Box::new(script))
}

fn run(net: &mut Net) -> RunEnd {
    net.world.run(&RunLimit { until: secs(300), max_events: 1_000_000, ..RunLimit::default() })
}

fn assert_no_failures(net: &Net) {
    for (_, _, name, program) in net.world.programs() {
        assert_eq!(program.failures(), &[] as &[String], "{name}");
    }
}

/// `client` 192.0.2.1 and `server` 192.0.2.2, 5 ms apart.
fn pair() -> Net {
    let mut net = Net::new(1);
    net.host("client", &[("eth0", "192.0.2.1/24")]);
    net.host("server", &[("eth0", "192.0.2.2/24")]);
    net.link(("client", "eth0"), ("server", "eth0"), LinkConfig::with_delay(5 * MS));
    net
}

/// `client` 192.0.2.1 — `router` — `server` 198.51.100.2, 5 ms each.
fn routed() -> Net {
    let mut net = Net::new(1);
    net.host("client", &[("eth0", "192.0.2.1/24")]);
    net.host("router", &[("lan", "192.0.2.254/24"), ("wan", "198.51.100.254/24")]);
    net.host("server", &[("eth0", "198.51.100.2/24")]);
    net.link(("client", "eth0"), ("router", "lan"), LinkConfig::with_delay(5 * MS));
    net.link(("router", "wan"), ("server", "eth0"), LinkConfig::with_delay(5 * MS));
    net.gateway("client", "192.0.2.254");
    net.sysctl("router", "net.ipv4.ip_forward", "1");
    net
}

#[test]
fn a_blocked_receive_returns_when_the_datagram_comes() {
    let mut net = pair();
    let server = vec![
        call("s = socket(AF_INET, SOCK_DGRAM, 0)"),
        expect("bind(s, 192.0.2.2:9)", "0"),
        expect("recvfrom(s, 100, 0)", "\"hello\" from client:*"),
    ];
    let client =
        vec![call("s = socket(AF_INET, SOCK_DGRAM, 0)"), expect("sendto(s, \"hello\", 0, server:9)", "5")];
    spawn_script(&mut net, "server", Instant::ZERO, server);
    spawn_script(&mut net, "client", secs(1), client);
    assert_eq!(run(&mut net), RunEnd::ProgramsDone);
    assert_no_failures(&net);
    let journal = net.world.finish();
    let texts: Vec<String> = journal
        .records
        .iter()
        .filter_map(|r| match &r.what {
            What::Call { text, .. } => Some(format!("{} {text}", r.at)),
            What::Return { text, .. } => Some(format!("{} = {text}", r.at)),
            _ => None,
        })
        .collect();
    // ARP costs a round trip of 10 ms, the datagram 5 ms more.
    let last = texts.last().expect("calls were recorded");
    assert!(last.starts_with("1.015000 = ") && last.contains("\"hello\""), "{texts:#?}");
}

#[test]
fn ping_prints_what_iputils_prints() {
    let mut net = pair();
    let (client, target) = (net.node("client"), net.addr("server"));
    let options = PingOptions { count: Some(2), ..PingOptions::new(target) };
    let ping = net.world.spawn(client, "ping", Instant::ZERO, Box::new(Ping::new(options)));
    assert_eq!(run(&mut net), RunEnd::ProgramsDone);
    let expected = [
        "PING 192.0.2.2 (192.0.2.2) 56(84) bytes of data.",
        "64 bytes from 192.0.2.2: icmp_seq=1 ttl=64 time=20.0 ms",
        "64 bytes from 192.0.2.2: icmp_seq=2 ttl=64 time=10.0 ms",
        "",
        "--- 192.0.2.2 ping statistics ---",
        "2 packets transmitted, 2 received, 0% packet loss, time 1010ms",
        "rtt min/avg/max/mdev = 10.000/15.000/20.000/5.000 ms",
    ];
    assert_eq!(net.world.program(ping).output(), expected);
    assert_eq!(net.world.exit_status(ping), Some(0));
}

#[test]
fn a_router_lowers_the_ttl_and_says_when_it_ran_out() {
    let mut net = routed();
    let (client, target) = (net.node("client"), net.addr("server"));
    net.gateway("server", "198.51.100.254");
    let spawn = |net: &mut Net, ttl: Option<u8>| {
        let identifier = u16::from(ttl.unwrap_or(64));
        let options = PingOptions { count: Some(1), ttl, identifier, ..PingOptions::new(target) };
        net.world.spawn(client, "ping", Instant::ZERO, Box::new(Ping::new(options)))
    };
    let (enough, too_low) = (spawn(&mut net, None), spawn(&mut net, Some(1)));
    assert_eq!(run(&mut net), RunEnd::ProgramsDone);
    let line = &net.world.program(enough).output()[1];
    assert!(line.starts_with("64 bytes from 198.51.100.2: icmp_seq=1 ttl=63 time="), "{line}");
    let line = &net.world.program(too_low).output()[1];
    assert_eq!(line, "From 192.0.2.254 icmp_seq=1 Time to live exceeded");
    assert_eq!(net.world.exit_status(too_low), Some(1));
}

#[test]
fn traceroute_names_the_router_and_ends_at_the_target() {
    let mut net = routed();
    net.gateway("server", "198.51.100.254");
    let (client, target) = (net.node("client"), net.addr("server"));
    let options = TracerouteOptions { simultaneous: 1, ..TracerouteOptions::new(target) };
    let id = net.world.spawn(client, "traceroute", Instant::ZERO, Box::new(Traceroute::new(options)));
    assert_eq!(run(&mut net), RunEnd::ProgramsDone);
    let expected = [
        "traceroute to 198.51.100.2 (198.51.100.2), 30 hops max, 60 byte packets",
        " 1  192.0.2.254  20.000 ms  10.000 ms  10.000 ms",
        " 2  198.51.100.2  40.000 ms  20.000 ms  20.000 ms",
    ];
    let output = net.world.program(id).output();
    assert_eq!(output[0], expected[0]);
    assert_eq!(output[1], expected[1]);
    // The server asks for the router's address before it can answer, and the router for the server's.
    assert!(output[2].starts_with(" 2  198.51.100.2  ") && output.len() == 3, "{output:#?}");
}

#[test]
fn hosts_behind_a_translator_reach_out_under_its_address() {
    let mut net = routed(); // the server knows no way back to 192.0.2.0/24
    let (router, wan) = (net.node("router"), net.nic("router", "wan"));
    net.world.set_nat(router, NatConfig::masquerade(wan, "198.51.100.254".parse().unwrap()));
    let server = vec![
        call("s = socket(AF_INET, SOCK_DGRAM, 0)"),
        expect("bind(s, 0.0.0.0:9)", "0"),
        expect("recvfrom(s, 100, 0)", "\"hello\" from 198.51.100.254:5000"),
        expect("sendto(s, \"answer\", 0, 198.51.100.254:5000)", "6"),
    ];
    let client = vec![
        call("s = socket(AF_INET, SOCK_DGRAM, 0)"),
        expect("bind(s, 0.0.0.0:5000)", "0"),
        expect("sendto(s, \"hello\", 0, server:9)", "5"),
        expect("recvfrom(s, 100, 0)", "\"answer\" from server:9"),
    ];
    spawn_script(&mut net, "server", Instant::ZERO, server);
    spawn_script(&mut net, "client", secs(1), client);
    assert_eq!(run(&mut net), RunEnd::ProgramsDone);
    assert_no_failures(&net);
    let table = net.world.nat_table(router).expect("it translates");
    assert!(table.contains("src=192.0.2.1 dst=198.51.100.2 sport=5000 dport=9 src=198.51.100.2"), "{table}");
}

#[test]
fn hosts_on_a_switch_find_each_other() {
    let mut net = Net::new(1);
    net.switch("switch", SwitchConfig::default());
    for n in 1..=3 {
        let name = format!("host{n}");
        net.host(&name, &[("eth0", &format!("192.0.2.{n}/24"))]);
        net.port((&name, "eth0"), "switch", LinkConfig::with_delay(MS));
    }
    let (node, target) = (net.node("host1"), net.addr("host3"));
    let options = PingOptions { count: Some(1), ..PingOptions::new(target) };
    let ping = net.world.spawn(node, "ping", Instant::ZERO, Box::new(Ping::new(options)));
    assert_eq!(run(&mut net), RunEnd::ProgramsDone);
    assert_eq!(net.world.exit_status(ping), Some(0), "{:#?}", net.world.program(ping).output());
    // The request was broadcast, so host2 saw it; the echo was not.
    let host2 = net.node("host2");
    let journal = net.world.finish();
    let seen = journal.records.iter().filter(|r| r.node == host2 && matches!(r.what, What::Rx { .. }));
    assert!(seen.count() >= 1);
}

#[test]
fn nobody_answers_is_told_after_three_seconds() {
    let mut net = pair();
    let client = net.node("client");
    let options = PingOptions { count: Some(1), ..PingOptions::new("192.0.2.77".parse().unwrap()) };
    let ping = net.world.spawn(client, "ping", Instant::ZERO, Box::new(Ping::new(options)));
    assert_eq!(run(&mut net), RunEnd::ProgramsDone);
    let output = net.world.program(ping).output();
    assert_eq!(output[1], "From 192.0.2.1 icmp_seq=1 Destination Host Unreachable");
    assert_eq!(output[4], "1 packets transmitted, 0 received, +1 errors, 100% packet loss, time 0ms");
}

/// A run with loss, jitter and every kind of record.
fn lossy(seed: u64, record: bool) -> (Net, ProgramId) {
    let mut net = Net::with_record(seed, record);
    net.host("client", &[("eth0", "192.0.2.1/24")]);
    net.host("server", &[("eth0", "192.0.2.2/24")]);
    let mut config = LinkConfig::with_delay(5 * MS);
    config.a_to_b.jitter = 4 * MS;
    config.b_to_a.loss_ppm = 200_000;
    net.link(("client", "eth0"), ("server", "eth0"), config);
    let (client, target) = (net.node("client"), net.addr("server"));
    let options = PingOptions { count: Some(20), ..PingOptions::new(target) };
    let ping = net.world.spawn(client, "ping", Instant::ZERO, Box::new(Ping::new(options)));
    run(&mut net);
    (net, ping)
}

/// Its journal as text.
fn lossy_journal(seed: u64) -> String {
    let journal = lossy(seed, true).0.world.finish();
    let mut text = format!("{:?} {:?}\n", journal.nodes, journal.end);
    for record in &journal.records {
        text += &format!("{record:?}");
        if let What::Tx { frame, .. } | What::Rx { frame, .. } = &record.what {
            text += &format!("{:02x?}", frame.to_vec());
        }
        text.push('\n');
    }
    text
}

#[test]
fn recording_changes_nothing_but_the_journal() {
    let (on, ping) = lossy(7, true);
    let (off, _) = lossy(7, false);
    assert_eq!(on.world.program(ping).output(), off.world.program(ping).output());
    assert_eq!(on.world.now(), off.world.now());
    let (on, off) = (on.world.finish(), off.world.finish());
    assert!(!on.records.is_empty() && off.records.is_empty());
    let ends = |j: &stack::record::Journal| format!("{:?}", j.nodes);
    assert_eq!(ends(&on), ends(&off), "counters and tables");
}

/// FNV-1a: the same in every process.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn one_seed_gives_the_same_journal_in_this_process_and_in_another() {
    const CHILD: &str = "WIRELAB_PRINT_JOURNAL_HASH";
    let own = hash(&lossy_journal(7));
    if std::env::var_os(CHILD).is_some() {
        println!("journal hash {own:016x}");
        return;
    }
    assert_eq!(own, hash(&lossy_journal(7)));
    assert_ne!(own, hash(&lossy_journal(8)), "another seed loses other packets");
    let name = "one_seed_gives_the_same_journal_in_this_process_and_in_another";
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(said.contains(&format!("journal hash {own:016x}")), "{said}");
}

#[test]
fn a_pulled_cable_takes_the_carrier_of_both_ends_and_a_black_hole_does_not() {
    for (state, told) in [(sim::LinkState::Down, true), (sim::LinkState::Silent, false)] {
        let mut net = Net::new(1);
        net.host("client", &[("eth0", "192.0.2.1/24")]);
        net.host("server", &[("eth0", "192.0.2.2/24")]);
        let config = LinkConfig { schedule: vec![(secs(10), state)], ..LinkConfig::with_delay(MS) };
        net.link(("client", "eth0"), ("server", "eth0"), config);
        net.world.run_until(secs(11));
        let journal = net.world.finish();
        let lost_carrier = journal
            .records
            .iter()
            .filter(|r| r.at == secs(10) && matches!(r.what, What::Link { carrier: false, .. }))
            .count();
        assert_eq!(lost_carrier, if told { 2 } else { 0 }, "{state:?}");
    }
}

#[test]
fn the_journal_ends_with_counters_and_tables_and_begins_with_addresses() {
    let mut net = pair();
    let (client, target) = (net.node("client"), net.addr("server"));
    let options = PingOptions { count: Some(1), ..PingOptions::new(target) };
    net.world.spawn(client, "ping", Instant::ZERO, Box::new(Ping::new(options)));
    run(&mut net);
    let journal = net.world.finish();
    let info = &journal.nodes[0];
    assert_eq!((info.name.as_str(), info.programs.as_slice()), ("client", &["ping".to_string()][..]));
    assert!(info.ifaces[0].addrs.contains(&("192.0.2.1".parse().unwrap(), 24)));
    let counter = |name| info.counters.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
    assert_eq!((counter("IcmpInEchoReps"), counter("IcmpOutEchos")), (Some(1), Some(1)));
    let table = |name| &info.tables.iter().find(|(n, _)| n == name).expect("a table").1;
    assert!(table("ip neigh").starts_with("192.0.2.2 dev eth0 lladdr 02:00:00:00:00:02 "));
    assert!(table("ip route").contains("192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.1"));
}

#[test]
fn a_drop_names_the_packet_that_had_just_arrived() {
    let mut net = pair();
    let steps = vec![
        call("s = socket(AF_INET, SOCK_DGRAM, 0)"),
        expect("connect(s, server:9)", "0"),
        expect("send(s, \"x\", 0)", "1"),
        expect("recv(s, 100, 0)", "ECONNREFUSED"),
    ];
    spawn_script(&mut net, "client", Instant::ZERO, steps);
    run(&mut net);
    assert_no_failures(&net);
    let server = net.node("server");
    let journal = net.world.finish();
    let of_server = |r: &&stack::record::Record| r.node == server;
    let dropped = journal.records.iter().filter(of_server).find_map(|r| match &r.what {
        What::Drop { reason: stack::DropReason::NoSocket, id, .. } => Some(*id),
        _ => None,
    });
    let id = dropped.expect("nobody listens").expect("it had just arrived");
    let arrived = journal
        .records
        .iter()
        .filter(of_server)
        .any(|r| matches!(&r.what, What::Rx { id: i, .. } if *i == id));
    assert!(arrived);
}

#[test]
fn poll_returns_nothing_when_its_time_is_over() {
    let mut net = pair();
    let steps = vec![
        call("s = socket(AF_INET, SOCK_DGRAM, 0)"),
        expect("bind(s, 0.0.0.0:9)", "0"),
        expect("poll({s, POLLIN}, 500)", "0"),
    ];
    let id = spawn_script(&mut net, "client", Instant::ZERO, steps);
    net.world.run(&RunLimit { settle: Some(Duration::ZERO), ..RunLimit::default() });
    assert_no_failures(&net);
    assert_eq!((net.world.exit_status(id), net.world.now()), (Some(0), Instant::from_millis(500)));
}

#[test]
fn ping_works_over_ipv6() {
    let mut net = Net::new(1);
    net.host("client", &[("eth0", "2001:db8::1/64")]);
    net.host("server", &[("eth0", "2001:db8::2/64")]);
    net.link(("client", "eth0"), ("server", "eth0"), LinkConfig::with_delay(5 * MS));
    let (client, target) = (net.node("client"), net.addr("server"));
    let options = PingOptions { count: Some(1), ..PingOptions::new(target) };
    // Past duplicate address detection.
    let ping = net.world.spawn(client, "ping", secs(5), Box::new(Ping::new(options)));
    assert_eq!(run(&mut net), RunEnd::ProgramsDone);
    let output = net.world.program(ping).output();
    assert_eq!(output[0], "PING 2001:db8::2 (2001:db8::2) 56 data bytes");
    assert_eq!(output[1], "64 bytes from 2001:db8::2: icmp_seq=1 ttl=64 time=20.0 ms");
}

#[test]
fn what_arrives_at_an_interface_that_is_down_is_lost_there() {
    let mut net = pair();
    let (server, nic) = (net.node("server"), net.nic("server", "eth0"));
    net.world.run_until(secs(5));
    net.world.with_stack(server, |stack, now| stack.link_set_up(now, nic, false).expect("it is up"));
    let (client, target) = (net.node("client"), net.addr("server"));
    let options = PingOptions { count: Some(1), ..PingOptions::new(target) };
    let ping = net.world.spawn(client, "ping", secs(5), Box::new(Ping::new(options)));
    run(&mut net);
    assert_eq!(net.world.exit_status(ping), Some(1));
    let journal = net.world.finish();
    let lost = journal.records.iter().filter(|r| {
        r.node == client && matches!(r.what, What::Lost { cause: stack::record::LossCause::ReceiverDown, .. })
    });
    assert!(lost.count() >= 3, "every ARP request");
}

#[test]
fn traceroute_with_sixteen_probes_at_once_says_the_same() {
    let mut net = routed();
    net.gateway("server", "198.51.100.254");
    let (client, target) = (net.node("client"), net.addr("server"));
    // Neighbours are known, as after an earlier ping: three packets only may wait for an address.
    let ping = PingOptions { count: Some(1), ..PingOptions::new(target) };
    net.world.spawn(client, "ping", Instant::ZERO, Box::new(Ping::new(ping)));
    let options = TracerouteOptions::new(target);
    let id = net.world.spawn(client, "traceroute", secs(2), Box::new(Traceroute::new(options)));
    assert_eq!(run(&mut net), RunEnd::ProgramsDone);
    let output = net.world.program(id).output();
    assert_eq!(
        output[1..],
        [
            " 1  192.0.2.254  10.000 ms  10.000 ms  10.000 ms",
            " 2  198.51.100.2  20.000 ms  20.000 ms  20.000 ms"
        ]
    );
}
