//! The agent as a binary of its own, for tests; with `hold` or `fail` it is a driver that tests kill or see fail.

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
        Some("hold") => run(Vec::new()),
        Some("fail") => run(vec![("net.ipv4.no_such_sysctl".into(), "1".into())]),
        Some("check") => match linux::check_permission() {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                println!("{why}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("usage: linux-agent hold | fail | check");
            ExitCode::from(2)
        }
    }
}

/// Two hosts on one link and commands that never end; says `ready` and runs until somebody kills it.
fn run(sysctls: Vec<(String, String)>) -> ExitCode {
    let mut world = World::new(WorldConfig::default());
    let mut hosts = Vec::new();
    let mut ends = Vec::new();
    for n in 1..=2 {
        let node = world.add_external(&format!("h{n}"), NodeKind::Linux(linux::kernel_release()));
        let mac = MacAddr([2, 0, 0, 0, 0, n]);
        let ifindex = world.add_nic(node, "eth0", Medium::Ethernet, mac, 1500);
        ends.push((node, ifindex));
        let iface = LiveIface { ifindex, name: "eth0".into(), medium: Medium::Ethernet, mac, mtu: 1500 };
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
        // A command that starts another one in the background: both must die with us.
        live.exec(ends[0].0, &["sh", "-c", "sleep 4242 & sleep 4242"], Duration::from_secs(60)).map(drop)
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}
