//! Small worlds for tests.

#![expect(dead_code, reason = "each test binary uses some of it")]

use std::net::IpAddr;
use std::time::Duration;

use linux::{LiveHost, LiveIface, LiveProgram, LiveWorld};
use sim::{LinkConfig, World, WorldConfig};
use stack::StackConfig;
use stack::admin::Admin;
use stack::record::{IfIndex, NodeId, NodeKind};
use wire::{MacAddr, Medium};

/// Whether the test may run; the agent is set then.
pub(crate) fn permitted(test: &str) -> bool {
    linux::testing::use_agent(env!("CARGO_BIN_EXE_linux-agent"));
    linux::testing::permitted(test)
}

/// `hN` with `eth0`, up, MAC 02:00:00:00:00:0N, 192.0.2.N/24.
pub(crate) fn linux_host(world: &mut World, n: u8, medium: Medium, programs: Vec<LiveProgram>) -> LiveHost {
    let node = world.add_external(&format!("h{n}"), NodeKind::Linux(linux::kernel_release()));
    let mac = MacAddr([2, 0, 0, 0, 0, n]);
    let ifindex = world.add_nic(node, "eth0", medium, mac, 1500);
    let iface = LiveIface { ifindex, name: "eth0".into(), medium, mac, mtu: 1500 };
    // No router solicitations, no MLD: what a test sees is what it did.
    let sysctls = ["all", "default"]
        .map(|which| (format!("net.ipv6.conf.{which}.disable_ipv6"), "1".to_owned()))
        .into();
    let commands = [format!("ip addr add 192.0.2.{n}/24 dev eth0"), "ip link set dev eth0 up".to_owned()];
    let setup = commands.iter().map(|line| Admin::parse(line).unwrap()).collect();
    LiveHost { node, ifaces: vec![iface], sysctls, setup, programs }
}

/// Two linux hosts, 192.0.2.1 and 192.0.2.2, on one link.
pub(crate) fn pair(medium: Medium, programs: [Vec<LiveProgram>; 2]) -> (LiveWorld, [NodeId; 2]) {
    let mut world = World::new(WorldConfig::default());
    let [one, two] = programs;
    let hosts = [linux_host(&mut world, 1, medium, one), linux_host(&mut world, 2, medium, two)];
    let nodes = [hosts[0].node, hosts[1].node];
    let ends = hosts.each_ref().map(|h| (h.node, h.ifaces[0].ifindex));
    world.connect(ends[0], ends[1], LinkConfig::default());
    (LiveWorld::new(world, hosts.into()).unwrap(), nodes)
}

/// `name` on our stack with `eth0`, up, at that address (of a /24).
pub(crate) fn stack_host(world: &mut World, name: &str, mac: u8, addr: &str) -> (NodeId, IfIndex) {
    let node = world.add_host(StackConfig { name: name.into(), seed: mac.into(), ..StackConfig::default() });
    (node, stack_nic(world, node, "eth0", mac, addr))
}

/// One more interface of a host on our stack.
pub(crate) fn stack_nic(world: &mut World, node: NodeId, name: &str, mac: u8, addr: &str) -> IfIndex {
    let ifindex = world.add_nic(node, name, Medium::Ethernet, MacAddr([2, 0, 0, 0, 0, mac]), 1500);
    let addr: IpAddr = addr.parse().unwrap();
    admin(world, node, &format!("ip addr add {addr}/24 dev {name}"));
    admin(world, node, &format!("ip link set dev {name} up"));
    ifindex
}

/// A command on a host on our stack.
pub(crate) fn admin(world: &mut World, node: NodeId, command: &str) {
    let command = Admin::parse(command).unwrap();
    world.admin(node, &command).unwrap();
}

/// A command that must work; its output.
pub(crate) fn run(live: &mut LiveWorld, node: NodeId, command: &str) -> String {
    let argv: Vec<&str> = command.split(' ').collect();
    let output = live.exec(node, &argv, Duration::from_secs(20)).unwrap();
    assert!(output.ok(), "{command}: {output:?}");
    output.stdout
}
