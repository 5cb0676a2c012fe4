//! The agent as a binary of its own, for tests; with another word it is a driver that tests
//! kill or see fail.

use std::process::ExitCode;
use std::time::Duration;

use linux::{LiveHost, LiveIface, LiveWorld};
use sim::{LinkConfig, World, WorldConfig};
use stack::record::NodeKind;
use wire::{MacAddr, Medium};

fn main() -> ExitCode {
    if let Some(code) = linux::agent_main() {
        return code;
    }
    match std::env::args().nth(1).as_deref() {
        // A command that starts another one in the background: both must die with us.
        Some("hold") => run(None, "eth0", "sleep 4242 & sleep 4242"),
        Some("once") => run(None, "eth0", "sleep 4242 & ip link show eth0"),
        Some("bad-sysctl") => run(Some("net.ipv4.no_such_sysctl"), "eth0", "true"),
        Some("bad-interface") => run(None, "this-name-is-far-too-long", "true"),
        Some("check") => match linux::check_permission() {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                println!("{why}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("usage: linux-agent hold | once | bad-sysctl | bad-interface | check");
            ExitCode::from(2)
        }
    }
}

/// Two hosts on one link; says `ready` when they stand, and runs a shell command on the first.
fn run(sysctl: Option<&str>, name: &str, command: &str) -> ExitCode {
    let sysctls: Vec<(String, String)> =
        sysctl.map(|name| (name.to_owned(), "1".to_owned())).into_iter().collect();
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
        hosts.push(LiveHost {
            node,
            ifaces: vec![iface],
            sysctls: sysctls.clone(),
            setup: Vec::new(),
            programs,
        });
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
