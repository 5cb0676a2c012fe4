//! A world from a plan: nodes, cables, faults, and hosts made ready.

use std::net::IpAddr;

use sim::program::script::Script;
use sim::switch::arp_inspection::{ArpInspection, Binding};
use sim::{Fault, Program, World, WorldConfig};
use stack::admin::Admin;
use stack::record::{IfIndex, NodeId, NodeKind};
use stack::{Granularity, StackConfig};
use wire::{MacAddr, Medium};

use super::{RunError, target};
use crate::file::NatWord;
use crate::plan::hosts::{DEFAULT_MTU, HostPlan, NatPlan};
use crate::plan::links::{End, bindings, end_name};
use crate::plan::programs::{ProgramPlan, What};
use crate::plan::{Plan, admin};
use crate::targets::{Target, Targets};

/// A world that is ready to run; hosts on the real kernel are still to be made.
pub(super) struct Built {
    pub(super) world: World,
    /// The nodes of the hosts, in the order of the plan.
    pub(super) nodes: Vec<NodeId>,
    /// The numbers of their interfaces.
    #[cfg_attr(
        not(feature = "linux"),
        expect(dead_code, reason = "only hosts on the real kernel need them")
    )]
    pub(super) nics: Vec<Vec<IfIndex>>,
}

pub(super) fn build(plan: &Plan, targets: &Targets, granularity: Granularity) -> Result<Built, RunError> {
    let mut world = World::new(WorldConfig { seed: plan.seed, ..WorldConfig::default() });
    let mut nodes = Vec::new();
    let mut nics = Vec::new();
    for (i, host) in plan.host_plans.iter().enumerate() {
        let node = match target(plan, targets, i) {
            Target::Stack => world.add_host(StackConfig {
                name: host.name.clone(),
                profile: host.profile.unwrap_or_default(),
                granularity,
                seed: plan.seed,
                record: true,
            }),
            Target::Linux => world.add_external(&host.name, NodeKind::Linux(String::new())),
        };
        let add = |nic: &crate::plan::hosts::NicPlan| {
            world.add_nic(node, &nic.name, Medium::Ethernet, nic.mac, nic.mtu.unwrap_or(DEFAULT_MTU))
        };
        nics.push(host.nics.iter().map(add).collect::<Vec<_>>());
        nodes.push(node);
    }
    let switches = add_switches(plan, &mut world);
    let mut ports = 0;
    for cable in &plan.cables {
        let mut attach = |world: &mut World, end: End, other: End| match end {
            End::Host(host, nic) => (nodes[host], nics[host][nic]),
            End::Switch(switch) => {
                ports += 1;
                let name = end_name(other, &plan.host_plans, &plan.switches);
                let mtu = 65_535; // a switch does not mind; the interfaces at the ends do
                (
                    switches[switch],
                    world.add_nic(switches[switch], name, Medium::Ethernet, port_mac(ports), mtu),
                )
            }
        };
        let a = attach(&mut world, cable.a, cable.b);
        let b = attach(&mut world, cable.b, cable.a);
        world.connect(a, b, cable.config.clone());
    }
    for (i, host) in plan.host_plans.iter().enumerate() {
        if target(plan, targets, i) == Target::Stack {
            for command in commands(host)? {
                world
                    .admin(nodes[i], &command)
                    .map_err(|e| RunError::Setup(format!("{}: `{command}`: {e}", host.name)))?;
            }
            if let Some(nat) = &host.nat {
                world.set_nat(nodes[i], nat_config(nat, &nics[i]));
            }
        }
    }
    for fault in &plan.faults {
        let direction = fault.spec.resolve(&world).map_err(|e| RunError::Setup(e.to_string()))?;
        let (ordinal, filter) = (fault.spec.ordinal, fault.spec.filter.clone());
        let (text, action, optional) = (fault.text.clone(), fault.action.clone(), fault.optional);
        world.add_fault(Fault { text, direction, filter, ordinal, action, optional });
    }
    Ok(Built { world, nodes, nics })
}

fn add_switches(plan: &Plan, world: &mut World) -> Vec<NodeId> {
    let table: Vec<Binding> = bindings(&plan.host_plans)
        .into_iter()
        .map(|(ip, mac)| Binding { ip, mac, port: None, vlan: None })
        .collect();
    let mut nodes = Vec::new();
    for switch in &plan.switches {
        let mut config = switch.config.clone();
        if switch.arp_inspection {
            config.arp_inspection =
                Some(ArpInspection { bindings: table.clone(), ..ArpInspection::default() });
        }
        nodes.push(world.add_switch(&switch.name, config));
    }
    nodes
}

/// Ports have addresses that no host has.
fn port_mac(n: u16) -> MacAddr {
    let [high, low] = n.to_be_bytes();
    MacAddr([2, 0, 0, 1, high, low])
}

/// Everything that makes a host ready, in order.
pub(super) fn commands(host: &HostPlan) -> Result<Vec<Admin>, RunError> {
    let mut list = Vec::new();
    let mut add = |text: String| {
        let read =
            admin(&text).map_err(|e| RunError::Setup(format!("{}: `{text}`: {}", host.name, e.message)));
        read.map(|command| list.push(command))
    };
    for (name, value) in sysctls(host) {
        add(format!("sysctl -w {name}={value}"))?;
    }
    add("ip link set lo up".into())?;
    for nic in &host.nics {
        for (addr, len) in &nic.addrs {
            let family = if addr.is_ipv6() { "ip -6" } else { "ip" };
            let brd = if matches!(addr, IpAddr::V4(_)) && *len < 31 { " brd +" } else { "" };
            add(format!("{family} addr add {addr}/{len}{brd} dev {}", nic.name))?;
        }
        add(format!("ip link set {} up", nic.name))?;
    }
    list.extend(host.setup.iter().cloned());
    Ok(list)
}

/// The file's sysctls, after those that follow from what the host is.
pub(super) fn sysctls(host: &HostPlan) -> Vec<(String, String)> {
    let mut list = Vec::new();
    let mut add = |name: &str, value: &str| list.push((name.to_string(), value.to_string()));
    if !host.ipv6 {
        add("net.ipv6.conf.all.disable_ipv6", "1");
        add("net.ipv6.conf.default.disable_ipv6", "1");
    }
    if host.router {
        add("net.ipv4.ip_forward", "1");
        if host.ipv6 {
            add("net.ipv6.conf.all.forwarding", "1");
        }
    }
    list.extend(host.sysctls.iter().cloned());
    list
}

fn nat_config(nat: &NatPlan, nics: &[IfIndex]) -> sim::NatConfig {
    let mut config = sim::NatConfig::masquerade(nics[nat.wan], nat.address);
    config.kind = match nat.kind {
        NatWord::FullCone => sim::nat::NatKind::FullCone,
        NatWord::RestrictedCone => sim::nat::NatKind::RestrictedCone,
        NatWord::PortRestricted => sim::nat::NatKind::PortRestricted,
        NatWord::Symmetric => sim::nat::NatKind::Symmetric,
    };
    config.timeouts.udp = nat.udp.unwrap_or(config.timeouts.udp);
    config.timeouts.udp_stream = nat.udp_stream.unwrap_or(config.timeouts.udp_stream);
    config.timeouts.icmp = nat.icmp.unwrap_or(config.timeouts.icmp);
    for (protocol, port, to) in &nat.forwards {
        let protocol = wire::ip::Protocol(*protocol);
        config.forwards.push(sim::nat::Forward { protocol, port: *port, to: *to.ip(), to_port: to.port() });
    }
    config
}

/// A program that is ready to start.
pub(super) fn program(plan: &Plan, program: &ProgramPlan) -> Result<Box<dyn Program>, RunError> {
    let names = plan.names().for_programs(program.host);
    match &program.what {
        What::Script(steps) => Ok(Box::new(Script::new(names, steps.clone()))),
        What::Command(words) => crate::commands::command(words, &names, pid(plan, program))
            .map_err(|e| RunError::Setup(format!("`{}`: {}", words.join(" "), e.message))),
        #[cfg(feature = "apps")]
        What::App(..) => unreachable!("a plan with such programs runs elsewhere"),
    }
}

/// A number of its own for each program of the file, from 1 on.
fn pid(plan: &Plan, program: &ProgramPlan) -> u16 {
    let before = plan.programs.iter().take_while(|p| !std::ptr::eq(*p, program)).count();
    u16::try_from(before + 1).unwrap_or(u16::MAX)
}
