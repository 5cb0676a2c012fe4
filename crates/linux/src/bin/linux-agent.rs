//! The agent as a binary of its own, for tests; with another word it is a driver that tests
//! kill or see fail.

use std::process::ExitCode;
use std::time::Duration;

use linux::{LiveHost, LiveIface, LiveWorld};
use sim::{LinkConfig, World, WorldConfig};
use stack::admin::Admin;
use stack::record::NodeKind;
use wire::{MacAddr, Medium};

fn main() -> ExitCode {
    if let Some(code) = linux::agent_main() {
        return code;
    }
    match std::env::args().nth(1).as_deref() {
        // A command that starts another one in the background: both must die with us.
        Some("hold") => run(&[], "eth0", "sleep 4242 & sleep 4242"),
        Some("once") => run(&["ip link set dev eth0 up"], "eth0", "sleep 4242 & ip link show eth0"),
        Some("bad-sysctl") => run(&["sysctl -w net.ipv4.no_such_sysctl=1"], "eth0", "true"),
        Some("bad-command") => {
            run(&["ip link set dev eth0 up", "ip addr add 192.0.2.1/24 dev eth7"], "eth0", "true")
        }
        Some("bad-interface") => run(&[], "this-name-is-far-too-long", "true"),
        Some("check") => match linux::check_permission() {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                println!("{why}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("usage: linux-agent hold | once | bad-sysctl | bad-command | bad-interface | check");
            ExitCode::from(2)
        }
    }
}

/// Two hosts on one link; says `ready` when they stand, and runs a shell command on the first.
fn run(setup: &[&str], name: &str, command: &str) -> ExitCode {
    let setup: Vec<Admin> = setup.iter().map(|line| Admin::parse(line).expect("written here")).collect();
    let mut world = World::new(WorldConfig::default());
    let mut hosts = Vec::new();
    let mut ends = Vec::new();
    for n in 1..=2 {
        let node = world.add_external(&format!("h{n}"), NodeKind::Linux(linux::kernel_release()));
        let mac = MacAddr([2, 0, 0, 0, 0, n]);
        let ifindex = world.add_nic(node, name, Medium::Ethernet, mac, 1500);
        ends.push((node, ifindex));
        let iface = LiveIface { ifindex, name: name.into(), medium: Medium::Ethernet, mac, mtu: 1500 };
        let programs = Vec::new();
        let setup = setup.clone();
        hosts.push(LiveHost { node, ifaces: vec![iface], sysctls: Vec::new(), setup, programs });
    }
    world.connect(ends[0], ends[1], LinkConfig::default());
    let result = LiveWorld::new(world, hosts).and_then(|mut live| {
        println!("ready");
        live.exec(ends[0].0, &["sh", "-c", command], Duration::from_secs(60)).map(drop)
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
