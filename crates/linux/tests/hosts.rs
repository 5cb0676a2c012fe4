//! Hosts on the real kernel, joined by the world.

mod common;

use std::time::Duration;

use common::{pair, permitted, run};
use sim::RunEnd;
use stack::neigh::NudState;
use stack::record::{Record, What};
use wire::Medium;

/// The neighbour states that one host's records show, in order.
fn neigh_states(
    records: &[Record],
    node: stack::record::NodeId,
) -> Vec<(Option<NudState>, Option<NudState>)> {
    let states = records.iter().filter(|r| r.node == node).filter_map(|r| match &r.what {
        What::Neigh { from, to, .. } => Some((*from, *to)),
        _ => None,
    });
    states.collect()
}

#[test]
fn ping_works_between_two_kernels_and_arp_is_recorded() {
    if !permitted("ping_works_between_two_kernels_and_arp_is_recorded") {
        return;
    }
    let (mut live, [one, two]) = pair(Medium::Ethernet, [Vec::new(), Vec::new()]);
    let said = run(&mut live, one, "ping -n -c 2 -i 0.2 192.0.2.2");
    assert!(said.contains("2 packets transmitted, 2 received"), "{said}");
    let end = live.finish(RunEnd::ProgramsDone).unwrap();
    let journal = end.world.finish();
    let arp = |what: &What| matches!(what, What::Tx { frame, .. } if frame.head()[12..14] == [8, 6]);
    assert!(journal.records.iter().any(|r| r.node == one && arp(&r.what)), "the request");
    assert!(journal.records.iter().any(|r| r.node == two && arp(&r.what)), "the reply");
    let first = |wanted: &dyn Fn(&What) -> bool| {
        journal.records.iter().position(|r| r.node == one && wanted(&r.what)).unwrap()
    };
    let incomplete = |what: &What| matches!(what, What::Neigh { to: Some(NudState::Incomplete), .. });
    assert!(first(&incomplete) < first(&arp), "the state that led to the packet stands before it");
    let states = neigh_states(&journal.records, one);
    assert_eq!(
        states[..2],
        [(None, Some(NudState::Incomplete)), (Some(NudState::Incomplete), Some(NudState::Reachable))],
        "{states:?}"
    );
    assert!(
        neigh_states(&journal.records, two).contains(&(None, Some(NudState::Stale))),
        "learnt from the request"
    );
    let info = &journal.nodes[one.0 as usize];
    assert!(info.counters.contains(&("IcmpOutEchos".into(), 2)), "{:?}", info.counters);
    assert!(info.tables.iter().any(|(name, text)| name == "ip neigh" && text.contains("02:00:00:00:00:02")));
}

#[test]
fn tun_joins_hosts_without_a_link_layer() {
    if !permitted("tun_joins_hosts_without_a_link_layer") {
        return;
    }
    let (mut live, [one, _]) = pair(Medium::Ip, [Vec::new(), Vec::new()]);
    let said = run(&mut live, one, "ping -n -c 1 192.0.2.2");
    assert!(said.contains("1 received"), "{said}");
}

#[test]
fn a_command_that_takes_too_long_is_killed_with_its_children() {
    if !permitted("a_command_that_takes_too_long_is_killed_with_its_children") {
        return;
    }
    let (mut live, [one, _]) = pair(Medium::Ethernet, [Vec::new(), Vec::new()]);
    let argv = ["sh", "-c", "echo begun; sleep 60 & sleep 60"];
    let output = live.exec(one, &argv, Duration::from_millis(300)).unwrap();
    assert!(output.timed_out && output.signal == Some(9), "{output:?}");
    assert_eq!(output.stdout, "begun\n");
}

#[test]
fn a_missing_tool_is_named_with_its_package() {
    if !permitted("a_missing_tool_is_named_with_its_package") {
        return;
    }
    let (mut live, [one, _]) = pair(Medium::Ethernet, [Vec::new(), Vec::new()]);
    let error = live.exec(one, &["no-such-tool"], Duration::from_secs(1)).unwrap_err().to_string();
    assert!(error.contains("no-such-tool is not installed"), "{error}");
}

#[test]
fn a_state_that_the_kernel_does_not_announce_is_seen_too() {
    if !permitted("a_state_that_the_kernel_does_not_announce_is_seen_too") {
        return;
    }
    let (mut live, [one, _]) = pair(Medium::Ethernet, [Vec::new(), Vec::new()]);
    run(&mut live, one, "ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 nud stale dev eth0");
    run(&mut live, one, "ping -n -c 1 192.0.2.2");
    run(&mut live, one, "ip neigh del 192.0.2.2 dev eth0");
    let end = live.finish(RunEnd::ProgramsDone).unwrap();
    use NudState::{Delay, Failed, Stale};
    let states = neigh_states(&end.world.journal().records, one);
    assert_eq!(states[..2], [(None, Some(Stale)), (Some(Stale), Some(Delay))], "{states:?}");
    // Linux: neigh_delete() makes the entry FAILED before it goes.
    assert!(matches!(states.last(), Some((Some(Delay | Failed), None))), "{states:?}");
}

#[test]
fn sysctls_are_set_per_host_and_refused_with_the_reason() {
    if !permitted("sysctls_are_set_per_host_and_refused_with_the_reason") {
        return;
    }
    let host_with = |name: &str, value: &str| {
        let mut world = sim::World::new(sim::WorldConfig::default());
        let mut host = common::linux_host(&mut world, 1, Medium::Ethernet, Vec::new());
        host.sysctls.push((name.to_owned(), value.to_owned()));
        let node = host.node;
        (linux::LiveWorld::new(world, vec![host]), node)
    };
    for (name, value, complaint) in [
        ("kernel.hostname", "x", "kernel.hostname is not per namespace"),
        ("net.core.netdev_max_backlog", "10", "net.core.netdev_max_backlog is not per namespace"),
        ("net.ipv4.no_such", "1", "this kernel has no sysctl net.ipv4.no_such"),
        (
            "net.ipv4.tcp_syn_retries",
            "1000",
            "the kernel does not take \"1000\" for net.ipv4.tcp_syn_retries",
        ),
    ] {
        let error = host_with(name, value).0.err().expect(complaint).to_string();
        assert!(error.contains(complaint) && error.starts_with("h1: "), "{error}");
    }
    // A namespace may only choose among what the machine allows to all.
    let list = |which: &str| {
        let text =
            std::fs::read_to_string(format!("/proc/sys/net/ipv4/tcp_{which}_congestion_control")).unwrap();
        text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let allowed = list("allowed");
    for algorithm in list("available") {
        let (live, _) = host_with("net.ipv4.tcp_congestion_control", &algorithm);
        match live {
            Ok(live) => {
                assert!(allowed.contains(&algorithm));
                let journal = live.finish(RunEnd::ProgramsDone).unwrap().world.finish();
                let named = ("sysctl net.ipv4.tcp_congestion_control".to_owned(), algorithm);
                assert!(journal.nodes[0].tables.contains(&named), "{:?}", journal.nodes[0].tables);
            }
            Err(error) => {
                let error = error.to_string();
                assert!(
                    !allowed.contains(&algorithm) && error.contains("tcp_allowed_congestion_control"),
                    "{error}"
                );
            }
        }
    }
    for (name, value) in [("net.ipv4.tcp_syn_retries", "2"), ("net.ipv4.neigh.eth0.retrans_time_ms", "400")] {
        let (live, node) = host_with(name, value);
        let mut live = live.unwrap();
        let file = format!("/proc/sys/{}", name.replace('.', "/"));
        assert_eq!(run(&mut live, node, &format!("cat {file}")).trim(), value);
        let machine = std::fs::read_to_string(&file).unwrap_or_default();
        assert_ne!(machine.trim(), value, "the machine's own is as it was");
    }
}

#[test]
fn a_link_that_goes_down_takes_the_carrier_of_its_ends() {
    if !permitted("a_link_that_goes_down_takes_the_carrier_of_its_ends") {
        return;
    }
    let (mut live, [one, _]) = pair(Medium::Ethernet, [Vec::new(), Vec::new()]);
    let link = live.world().find_link("h1-h2").unwrap();
    for (state, flags) in [(sim::LinkState::Down, "NO-CARRIER"), (sim::LinkState::Up, "LOWER_UP")] {
        live.world_mut().set_link_state(link, state);
        // Linux: link_watch.c tells at once, or once a second when much changes.
        let mut said = String::new();
        for _ in 0..150 {
            live.run_for(Duration::from_millis(20)).unwrap();
            said = run(&mut live, one, "ip link show eth0");
            if said.contains(flags) {
                break;
            }
        }
        assert!(said.contains(flags), "{said}");
    }
    let end = live.finish(RunEnd::ProgramsDone).unwrap();
    let seen = end.world.journal().records.iter().filter(|r| r.node == one);
    let carriers: Vec<bool> = seen
        .filter_map(|r| match r.what {
            What::Link { ifindex: 2, carrier, .. } => Some(carrier),
            _ => None,
        })
        .collect();
    assert_eq!(carriers, [true, false, true]);
}
