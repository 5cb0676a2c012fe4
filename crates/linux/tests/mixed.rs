//! Hosts of both kinds in one world: the kernel's tools against our stack.

mod common;

use std::time::Duration;

use common::{admin, linux_host, permitted, run, stack_host, stack_nic};
use linux::LiveWorld;
use sim::program::script::{Names, Script, Step, StepKind, When};
use sim::{LinkConfig, RunEnd, World, WorldConfig};
use stack::record::{NodeId, What};
use wire::{Instant, Medium};

/// `h1` on the kernel, 192.0.2.1, and `server` on our stack, 192.0.2.2, on one link; `server` echoes a datagram
/// to port 9.
fn kernel_and_stack() -> (LiveWorld, NodeId, NodeId) {
    let mut world = World::new(WorldConfig { check: true, ..WorldConfig::default() });
    let host = linux_host(&mut world, 1, Medium::Ethernet, Vec::new());
    let (server, eth0) = stack_host(&mut world, "server", 2, "192.0.2.2");
    world.connect((host.node, host.ifaces[0].ifindex), (server, eth0), LinkConfig::default());
    let lines = [
        "s = socket(AF_INET, SOCK_DGRAM, 0)",
        "bind(s, 0.0.0.0:9)",
        "recvfrom(s, 100, 0)",
        "sendto(s, \"hello yourself\\n\", 0, 192.0.2.1:5000)",
    ];
    let step = |line: &str| Step {
        when: When::Next,
        what: StepKind::Call(line.to_owned()),
        expect: Some("ok".into()),
        span: 0..0,
    };
    let echo = Script::new(Names::default(), lines.into_iter().map(step).collect());
    world.spawn(server, "echo", Instant::ZERO, Box::new(echo));
    let client = host.node;
    (LiveWorld::new(world, vec![host]).unwrap(), client, server)
}

#[test]
fn arping_is_answered_by_our_stack() {
    if !permitted("arping_is_answered_by_our_stack") {
        return;
    }
    let (mut live, client, _) = kernel_and_stack();
    let said = run(&mut live, client, "arping -c 2 -I eth0 192.0.2.2");
    assert!(said.contains("Received 2 response(s)") && said.contains("02:00:00:00:00:02"), "{said}");
    let taken =
        live.exec(client, &["arping", "-D", "-c", "1", "-I", "eth0", "192.0.2.2"], Duration::from_secs(5));
    assert_eq!(taken.unwrap().status, Some(1), "duplicate address detection finds it (TRUTH 11h)");
}

#[test]
fn ping_is_answered_by_our_stack() {
    if !permitted("ping_is_answered_by_our_stack") {
        return;
    }
    let (mut live, client, server) = kernel_and_stack();
    let said = run(&mut live, client, "ping -n -c 3 -i 0.1 192.0.2.2");
    assert!(said.contains("3 packets transmitted, 3 received") && said.contains("ttl=64"), "{said}");
    // Fragments on both ways: 192.0.2.1 cuts, our stack puts together and cuts again.
    let said = run(&mut live, client, "ping -n -c 1 -s 4000 192.0.2.2");
    assert!(said.contains("4008 bytes from 192.0.2.2"), "{said}");
    let journal = live.finish(RunEnd::ProgramsDone).unwrap().world.finish();
    let fragments = |node| {
        let whole = |what: &What| matches!(what, What::Tx { frame, .. } if frame.len() == 1514);
        journal.records.iter().filter(|r| r.node == node && whole(&r.what)).count()
    };
    // 4008 bytes of ICMP in pieces of 1480, 1480, 1048.
    assert_eq!((fragments(client), fragments(server)), (2, 2));
}

#[test]
fn socat_gets_its_datagram_back() {
    if !permitted("socat_gets_its_datagram_back") {
        return;
    }
    let (mut live, client, server) = kernel_and_stack();
    let socat = "echo hello | socat -t 2 - UDP4:192.0.2.2:9,sourceport=5000";
    let output = live.exec(client, &["sh", "-c", socat], Duration::from_secs(10)).unwrap();
    assert_eq!(output.stdout, "hello yourself\n", "{output:?}");
    let journal = live.finish(RunEnd::ProgramsDone).unwrap().world.finish();
    let got = |what: &What| matches!(what, What::Return { text, .. } if text.contains("hello\\n"));
    assert!(journal.records.iter().any(|r| r.node == server && got(&r.what)));
}

#[test]
fn a_closed_port_of_our_stack_refuses() {
    if !permitted("a_closed_port_of_our_stack_refuses") {
        return;
    }
    let (mut live, client, _) = kernel_and_stack();
    let socat = "echo hello | socat -t 2 - UDP4:192.0.2.2:10";
    let output = live.exec(client, &["sh", "-c", socat], Duration::from_secs(10)).unwrap();
    assert!(output.stderr.contains("Connection refused"), "{output:?}");
}

#[test]
fn traceroute_sees_our_router() {
    if !permitted("traceroute_sees_our_router") {
        return;
    }
    let mut world = World::new(WorldConfig { check: true, ..WorldConfig::default() });
    let host = linux_host(&mut world, 1, Medium::Ethernet, Vec::new());
    let (router, inside) = stack_host(&mut world, "router", 254, "192.0.2.254");
    let outside = stack_nic(&mut world, router, "eth1", 253, "198.51.100.254");
    admin(&mut world, router, "sysctl -w net.ipv4.ip_forward=1");
    let (server, eth0) = stack_host(&mut world, "server", 2, "198.51.100.2");
    admin(&mut world, server, "ip route add default via 198.51.100.254");
    world.connect((host.node, host.ifaces[0].ifindex), (router, inside), LinkConfig::default());
    world.connect((router, outside), (server, eth0), LinkConfig::default());
    let client = host.node;
    let mut live = LiveWorld::new(world, vec![host]).unwrap();
    run(&mut live, client, "ip route add default via 192.0.2.254");
    for method in ["-U", "-I"] {
        let said = run(&mut live, client, &format!("traceroute {method} -n -q 1 -w 2 198.51.100.2"));
        let hops: Vec<&str> =
            said.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(hops, ["192.0.2.254", "198.51.100.2"], "{said}");
    }
}
