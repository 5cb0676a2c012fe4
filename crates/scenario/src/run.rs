//! Runs a plan: builds the world, lets it run, checks what was expected.
//!
//! Every host gets the same commands in the same order, whatever it is made of: sysctls, addresses, interfaces
//! up, routes, the file's own commands. IPv6 is off on a host without an IPv6 address, so that neither side
//! fills the ladder with MLD and router solicitations.

#[cfg(feature = "apps")]
mod apps;
mod build;
#[cfg(feature = "linux")]
mod live;

use core::fmt;
use core::time::Duration;

use sim::{Program, ProgramId, RunEnd, RunLimit};
use stack::Granularity;
use stack::record::{Journal, What};
use wire::Instant;

use crate::check;
use crate::outcome::{FaultReport, Outcome, ProgramReport};
use crate::plan::Plan;
use crate::plan::programs;
use crate::targets::{Target, Targets};

/// Why a plan could not be run at all. What a run shows is an [`Outcome`], even when it is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    /// `--on` names a host that is not there, or a kind of host that this build or machine does not have.
    Target(String),
    /// The build is without something that the scenario needs.
    Need(String),
    /// The world refused a part of the plan, such as a command before the start.
    Setup(String),
    /// A host on the real kernel failed.
    Linux(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Target(text) => write!(f, "--on: {text}"),
            RunError::Setup(text) => write!(f, "setting up: {text}"),
            RunError::Need(text) | RunError::Linux(text) => write!(f, "{text}"),
        }
    }
}

impl std::error::Error for RunError {}

/// Runs a plan. With every host on our stack this takes milliseconds, needs no rights and gives the same
/// journal for the same seed; with any host on the real kernel it takes as long as it takes.
///
/// # Errors
/// See [`RunError`].
pub fn run(plan: &Plan, targets: &Targets) -> Result<Outcome, RunError> {
    targets.check(plan.hosts.iter().map(String::as_str)).map_err(RunError::Target)?;
    let mixed = !all_stack(plan, targets);
    let granularity = if mixed { kernel_clock() } else { Granularity::Ideal };
    run_with(plan, targets, granularity)
}

/// Runs a plan as [`run`] does, with timers of our hosts that fire as the given clock's do.
///
/// # Errors
/// See [`RunError`].
pub fn run_on_wheel(plan: &Plan, targets: &Targets, granularity: Granularity) -> Result<Outcome, RunError> {
    targets.check(plan.hosts.iter().map(String::as_str)).map_err(RunError::Target)?;
    run_with(plan, targets, granularity)
}

/// The tick of the kernel that hosts of ours stand beside.
pub(crate) fn kernel_clock() -> Granularity {
    Granularity::Wheel { hz: kernel_hz() }
}

/// `CONFIG_HZ` of the kernel that this process runs on.
#[cfg(feature = "linux")]
pub(crate) fn kernel_hz() -> u32 {
    linux::kernel_hz()
}

/// `CONFIG_HZ` of Debian's and Ubuntu's kernels.
#[cfg(not(feature = "linux"))]
pub(crate) fn kernel_hz() -> u32 {
    250
}

/// What a host is made of: a NAT box is always ours.
pub(crate) fn target(plan: &Plan, targets: &Targets, host: usize) -> Target {
    let host = &plan.host_plans[host];
    if host.nat.is_some() { Target::Stack } else { targets.of(&host.name) }
}

pub(crate) fn all_stack(plan: &Plan, targets: &Targets) -> bool {
    (0..plan.host_plans.len()).all(|h| target(plan, targets, h) == Target::Stack)
}

pub(crate) fn run_with(
    plan: &Plan,
    targets: &Targets,
    granularity: Granularity,
) -> Result<Outcome, RunError> {
    if let Some(why) = plan.unmet_need() {
        return Err(RunError::Need(why));
    }
    #[cfg(feature = "apps")]
    if plan.programs.iter().any(|p| matches!(p.what, programs::What::App(..))) {
        if !all_stack(plan, targets) {
            let why =
                "programs above the socket calls (`app`, `curl`, …) run on our stack only: leave --on out";
            return Err(RunError::Target(why.into()));
        }
        return apps::run(plan, granularity);
    }
    if all_stack(plan, targets) {
        return run_virtual(plan, granularity);
    }
    #[cfg(feature = "linux")]
    return live::run(plan, targets, granularity);
    #[cfg(not(feature = "linux"))]
    Err(RunError::Target("this build has no hosts on the real kernel; use --on stack".into()))
}

/// Time that a run takes at most when the file does not say.
const LONGEST: Instant = Instant::from_secs(3600);
/// Time after the last program when the file does not say.
const SETTLE: Duration = Duration::from_secs(1);

pub(crate) fn limit(plan: &Plan) -> RunLimit {
    let max_events = RunLimit::default().max_events;
    match plan.until {
        // The end is the end, also when all programs have ended long before.
        Some(until) => RunLimit { settle: Some(until - Instant::ZERO + SETTLE), until, max_events },
        None => RunLimit { settle: Some(SETTLE), until: LONGEST, max_events },
    }
}

fn run_virtual(plan: &Plan, granularity: Granularity) -> Result<Outcome, RunError> {
    let mut built = build::build(plan, &Targets::stack(), granularity)?;
    let mut ids: Vec<ProgramId> = Vec::new();
    for program in &plan.programs {
        let node = built.nodes[program.host];
        ids.push(built.world.spawn(node, &program.name, program.start, build::program(plan, program)?));
    }
    let end = built.world.run(&limit(plan));
    let hits = built.world.fault_hits();
    let reports = ids
        .iter()
        .zip(&plan.programs)
        .map(|(id, p)| report(plan, p, built.world.program(*id), built.world.exit_status(*id).is_some()))
        .collect();
    let storm = built.world.storm().map(str::to_string);
    let journal = built.world.finish();
    let mut outcome = outcome(plan, journal, end, hits, reports, slack(Duration::ZERO, granularity));
    outcome.errors.extend(storm);
    Ok(outcome)
}

fn report(plan: &Plan, program: &programs::ProgramPlan, ran: &dyn Program, ended: bool) -> ProgramReport {
    ProgramReport {
        host: plan.host_plans[program.host].name.clone(),
        name: program.name.clone(),
        output: ran.output().to_vec(),
        failures: ran.failures().iter().map(|f| programs::with_line(program, f)).collect(),
        ended,
        files: Vec::new(),
    }
}

fn slack(noise: Duration, granularity: Granularity) -> check::Slack {
    let wheel_hz = match granularity {
        Granularity::Ideal => None,
        Granularity::Wheel { hz } => Some(hz),
    };
    check::Slack { noise, wheel_hz }
}

/// Puts an outcome together.
fn outcome(
    plan: &Plan,
    journal: Journal,
    end: RunEnd,
    hits: Vec<u64>,
    mut programs: Vec<ProgramReport>,
    slack: check::Slack,
) -> Outcome {
    let mut errors = Vec::new();
    match end {
        RunEnd::EventLimit => errors.push("the run was stopped: too many events".to_string()),
        RunEnd::TimeLimit if plan.until.is_none() => {
            errors.push("the run was stopped after an hour: give the file an `until`".to_string());
        }
        // The caller adds what the world says of a storm.
        RunEnd::TimeLimit | RunEnd::ProgramsDone | RunEnd::Quiet | RunEnd::Storm => {}
    }
    for (i, (report, program)) in programs.iter_mut().zip(&plan.programs).enumerate() {
        if !report.ended
            && let Some(failure) = still_waiting(plan, &journal, i, program)
        {
            report.failures.push(failure);
        }
    }
    let expectations = check::all(plan, &journal, &programs, slack);
    let faults = plan
        .faults
        .iter()
        .zip(hits)
        .map(|(f, hits)| FaultReport { text: f.text.clone(), hits, optional: f.optional })
        .collect();
    Outcome { journal, expectations, faults, programs, errors }
}

/// A script may end in a call that never returns only when that is its last line and has no result to meet.
fn still_waiting(
    plan: &Plan,
    journal: &Journal,
    index: usize,
    program: &programs::ProgramPlan,
) -> Option<String> {
    use sim::program::script::StepKind;

    let programs::What::Script(steps) = &program.what else { return None };
    // Programs are numbered per host in the order of the file.
    let number = plan.programs[..index].iter().filter(|p| p.host == program.host).count();
    let host = program.host;
    let is_mine = |node: u32, p: u32| node as usize == host && p as usize == number;
    let mut made = 0;
    let mut pending = None;
    for record in &journal.records {
        match &record.what {
            What::Call { program, text, .. } if is_mine(record.node.0, *program) => {
                made += 1;
                pending = Some(text.clone());
            }
            What::Return { program, .. } if is_mine(record.node.0, *program) => pending = None,
            _ => {}
        }
    }
    let called = steps.iter().filter(|s| matches!(s.what, StepKind::Call(_))).count();
    let last = steps.last()?;
    let is_last = made == called && last.expect.is_none();
    match pending {
        Some(_) if is_last => None,
        Some(text) => Some(format!("still waits in {text} at the end of the run")),
        // It only holds its sockets: a sleep as the last line may last longer than the run.
        None if made == called && matches!(last.what, StepKind::Sleep(_)) => None,
        None => Some("had not come to its last line at the end of the run".into()),
    }
}
