//! Runs with hosts on the real kernel: the same world, its clock the machine's.

use linux::{LiveBody, LiveHost, LiveIface, LiveProgram, LiveWorld};
use sim::ProgramId;
use stack::Granularity;
use wire::Medium;

use super::{RunError, build, limit, outcome, report, slack, target};
use crate::outcome::{Outcome, ProgramReport};
use crate::plan::Plan;
use crate::plan::hosts::{DEFAULT_MTU, HostPlan};
use crate::targets::{Target, Targets};
use crate::twin::CONGESTION_CONTROL;

/// Where a program of the plan went.
enum Ran {
    Virtual(ProgramId),
    /// Its place among the results.
    Live(usize),
}

pub(super) fn run(plan: &Plan, targets: &Targets, granularity: Granularity) -> Result<Outcome, RunError> {
    linux::check_permission().map_err(|e| RunError::Linux(e.to_string()))?;
    let mut built = build::build(plan, targets, granularity)?;
    let mut hosts = Vec::new();
    let mut ran: Vec<Option<Ran>> = plan.programs.iter().map(|_| None).collect();
    let mut results = 0;
    for (i, host) in plan.host_plans.iter().enumerate() {
        let mut programs = Vec::new();
        for (p, program) in plan.programs.iter().enumerate().filter(|(_, p)| p.host == i) {
            let body = build::program(plan, program)?;
            ran[p] = Some(match target(plan, targets, i) {
                Target::Stack => {
                    Ran::Virtual(built.world.spawn(built.nodes[i], &program.name, program.start, body))
                }
                Target::Linux => {
                    let body = LiveBody::Calls(body);
                    let (name, start) = (program.name.clone(), program.start);
                    let order = u32::try_from(p).expect("few programs");
                    programs.push(LiveProgram { name, start, order, body });
                    results += 1;
                    Ran::Live(results - 1)
                }
            });
        }
        if target(plan, targets, i) == Target::Linux {
            let ifaces = host.nics.iter().zip(&built.nics[i]).map(|(nic, ifindex)| LiveIface {
                ifindex: *ifindex,
                name: nic.name.clone(),
                medium: Medium::Ethernet,
                mac: nic.mac,
                mtu: nic.mtu.unwrap_or(DEFAULT_MTU),
            });
            let ifaces = ifaces.collect();
            // The file's sysctls are commands like the others here, so that those of an interface find it.
            let setup = build::commands(host)?;
            let sysctls = congestion_control(host);
            hosts.push(LiveHost { node: built.nodes[i], ifaces, sysctls, setup, programs });
        }
    }
    let failed = |e: linux::LinuxError| RunError::Linux(e.to_string());
    let live = LiveWorld::new(built.world, hosts).map_err(failed)?;
    let end = live.run(&limit(plan)).map_err(failed)?;
    let hits = end.world.fault_hits();
    let reports: Vec<ProgramReport> = plan
        .programs
        .iter()
        .zip(&ran)
        .map(|(program, ran)| match ran.as_ref().expect("every program has a host") {
            Ran::Virtual(id) => {
                report(plan, program, end.world.program(*id), end.world.exit_status(*id).is_some())
            }
            Ran::Live(at) => {
                let result = &end.programs[*at];
                let body = result.program.as_deref().expect("programs of calls come back");
                report(plan, program, body, result.status.is_some())
            }
        })
        .collect();
    let why = end.end;
    let storm = end.world.storm().map(str::to_string);
    let journal = end.world.finish();
    let mut outcome = outcome(plan, journal, why, hits, reports, slack(plan.tolerance, granularity));
    outcome.errors.extend(storm);
    Ok(outcome)
}

/// A new namespace has the machine's default, which may be `bbr`; our stack's is Linux's, `cubic`. A namespace may only
/// choose what the machine allows (Linux: `tcp_set_default_congestion_control`): where that is not `cubic`, the default
/// stays, and the twin's verdict names it.
fn congestion_control(host: &HostPlan) -> Vec<(String, String)> {
    const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";
    let given = host.sysctls.iter().any(|(name, _)| name == CONGESTION_CONTROL);
    let allowed = std::fs::read_to_string(ALLOWED).unwrap_or_default();
    let usable = allowed.split_whitespace().any(|algorithm| algorithm == "cubic");
    if given || !usable { Vec::new() } else { vec![(CONGESTION_CONTROL.into(), "cubic".into())] }
}
