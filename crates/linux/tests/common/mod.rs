//! Small worlds for tests.

use std::time::Duration;

use linux::{LiveHost, LiveIface, LiveProgram, LiveWorld};
use sim::{LinkConfig, World, WorldConfig};
use stack::record::{NodeId, NodeKind};
use wire::{MacAddr, Medium};

/// Whether the test may run; the agent is set then.
pub(crate) fn permitted(test: &str) -> bool {
    linux::testing::use_agent(env!("CARGO_BIN_EXE_linux-agent"));
    linux::testing::permitted(test)
}

/// `hN` with `eth0`, MAC 02:00:00:00:00:0N.
pub(crate) fn linux_host(world: &mut World, n: u8, medium: Medium, programs: Vec<LiveProgram>) -> LiveHost {
    let node = world.add_external(&format!("h{n}"), NodeKind::Linux(linux::kernel_release()));
    let mac = MacAddr([2, 0, 0, 0, 0, n]);
    let ifindex = world.add_nic(node, "eth0", medium, mac, 1500);
    let iface = LiveIface { ifindex, name: "eth0".into(), medium, mac, mtu: 1500 };
    // No router solicitations, no MLD: what a test sees is what it did.
    let sysctls = ["all", "default"]
        .map(|which| (format!("net.ipv6.conf.{which}.disable_ipv6"), "1".to_owned()))
        .into();
    LiveHost { node, ifaces: vec![iface], sysctls, setup: Vec::new(), programs }
}

/// Two linux hosts, 192.0.2.1 and 192.0.2.2, on one link.
pub(crate) fn pair(medium: Medium, programs: [Vec<LiveProgram>; 2]) -> (LiveWorld, [NodeId; 2]) {
    let mut world = World::new(WorldConfig::default());
    let [one, two] = programs;
    let hosts = [linux_host(&mut world, 1, medium, one), linux_host(&mut world, 2, medium, two)];
    let nodes = [hosts[0].node, hosts[1].node];
    let ends = hosts.each_ref().map(|h| (h.node, h.ifaces[0].ifindex));
    world.connect(ends[0], ends[1], LinkConfig::default());
    let mut live = LiveWorld::new(world, hosts.into()).unwrap();
    for (n, node) in (1..).zip(nodes) {
        run(&mut live, node, &format!("ip addr add 192.0.2.{n}/24 dev eth0"));
        run(&mut live, node, "ip link set eth0 up");
    }
    (live, nodes)
}

/// A command that must work; its output.
pub(crate) fn run(live: &mut LiveWorld, node: NodeId, command: &str) -> String {
    let argv: Vec<&str> = command.split(' ').collect();
    let output = live.exec(node, &argv, Duration::from_secs(20)).unwrap();
    assert!(output.ok(), "{command}: {output:?}");
    output.stdout
}
