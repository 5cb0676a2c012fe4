//! Runs with programs above the sockets: the world's events and the tasks of one tokio runtime share a virtual clock
//! ([`net::Lab`]). System calls and commands of the same plan run beside them.

use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::apps::dns::stub::Stub;
use ::apps::{Cx, Ready, Sink};
use net::{Host, Lab};
use sim::{Process, ProgramId, RunEnd};
use stack::Granularity;
use stack::record::What;
use wire::Instant;

use super::{RunError, build, limit, outcome, report, slack};
use crate::outcome::{Outcome, ProgramReport};
use crate::plan::Plan;
use crate::plan::programs::{ProgramPlan, What as Body};
use crate::targets::Targets;

/// How often the run looks whether the system calls of the plan are done.
const LOOK: Duration = Duration::from_millis(10);

/// A program of the plan and where it runs.
enum Ran {
    Calls(ProgramId),
    App(Process, Started),
}

/// A program above the sockets, as far as it has come.
#[derive(Clone)]
struct Started {
    app: Ready,
    wanted: i32,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    lines: Vec<String>,
    status: Option<i32>,
    files: Vec<(String, Vec<u8>)>,
}

fn open(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lines go into the journal, and to the program's report.
struct ToJournal {
    host: Host,
    log: Arc<Mutex<Log>>,
}

impl Sink for ToJournal {
    fn print(&self, line: &str) {
        open(&self.log).lines.push(line.into());
        self.host.record(|program| What::Output { program, line: line.into() });
    }

    fn file(&self, name: &str, contents: Vec<u8>) {
        open(&self.log).files.push((name.into(), contents));
    }

    fn key_log(&self, line: &str) {
        self.host.record(|_| What::KeyLog { line: line.into() });
    }
}

pub(super) fn run(plan: &Plan, granularity: Granularity) -> Result<Outcome, RunError> {
    // A thread of its own: what libraries keep for a thread (random numbers, above all) begins anew with each run.
    let joined = std::thread::scope(|scope| scope.spawn(|| run_here(plan, granularity)).join());
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn run_here(plan: &Plan, granularity: Granularity) -> Result<Outcome, RunError> {
    // Libraries read clocks and draw random numbers of their own.
    #[cfg(target_os = "linux")]
    let _entered = net::interpose::enter(plan.seed);
    let mut built = build::build(plan, &Targets::stack(), granularity)?;
    let mut ran = Vec::new();
    for program in &plan.programs {
        let node = built.nodes[program.host];
        ran.push(match &program.what {
            Body::App(app, wanted) => {
                let process = built.world.open_process(node, &program.name);
                built.world.fold_calls(process);
                Ran::App(process, Started { app: app.clone(), wanted: *wanted, log: Arc::default() })
            }
            Body::Script(_) | Body::Command(_) => {
                let body = build::program(plan, program)?;
                Ran::Calls(built.world.spawn(node, &program.name, program.start, body))
            }
        });
    }
    let bounds = limit(plan);
    let until = bounds.until - Instant::ZERO;
    // The lab's own end is a bound for when the run's end fails: a little later.
    let mut lab = Lab::with_world(built.world, until + Duration::from_secs(1));
    lab.limit_events(bounds.max_events);
    let clients = start(plan, &lab, &ran);
    let control = lab.control();
    let settle = bounds.settle.unwrap_or_default();
    let fixed = plan.until.is_some();
    let ended = async move {
        for client in clients {
            // When it panics the lab ends.
            let _ = client.await;
        }
        while control.world(|world| !world.all_programs_done()).unwrap_or(false) {
            tokio::time::sleep(LOOK).await;
        }
        if fixed {
            return core::future::pending().await;
        }
        tokio::time::sleep(settle).await;
    };
    let mut spins = None;
    let end = match lab.try_run(async move { tokio::time::timeout(until, ended).await }) {
        Ok(Ok(())) => RunEnd::ProgramsDone,
        Ok(Err(_)) => RunEnd::TimeLimit,
        Err(stuck) if stuck.spins.is_some() => {
            spins = Some(stuck.to_string());
            RunEnd::Storm
        }
        Err(_) => RunEnd::EventLimit,
    };
    let world = lab.finish();
    let storm = world.storm().map(str::to_string);
    let reports = plan.programs.iter().zip(&ran).map(|(program, ran)| match ran {
        Ran::Calls(id) => report(plan, program, world.program(*id), world.exit_status(*id).is_some()),
        Ran::App(_, started) => started.report(plan, program),
    });
    let reports = reports.collect();
    let hits = world.fault_hits();
    let end = if storm.is_some() { RunEnd::Storm } else { end };
    let mut outcome = outcome(plan, world.finish(), end, hits, reports, slack(Duration::ZERO, granularity));
    outcome.errors.extend(storm);
    outcome.errors.extend(spins);
    Ok(outcome)
}

/// Starts the programs above the sockets; those that end are what the run waits for.
fn start(plan: &Plan, lab: &Lab, ran: &[Ran]) -> Vec<impl Future + use<>> {
    let names = plan.names();
    let mut clients = Vec::new();
    for (program, ran) in plan.programs.iter().zip(ran) {
        let Ran::App(process, started) = ran else { continue };
        let host = lab.process(*process);
        let log = started.log.clone();
        let env = names.for_apps(host.name(), plan.seed);
        let cx = Cx::new(env, &program.name, ToJournal { host: host.clone(), log: log.clone() });
        if let Some((conf, hosts)) = &plan.host_plans[program.host].resolver
            && host.resolver().is_none()
        {
            let stub = Stub::new(conf.clone(), hosts.clone(), cx.seed("resolver"));
            host.set_resolver(Arc::new(stub));
        }
        let (app, at) = (started.app.clone(), program.start - Instant::ZERO);
        let running = lab.start(&host, async move {
            tokio::time::sleep(at).await;
            let status = app.run(cx).await;
            open(&log).status = Some(status);
        });
        if !started.app.serves() {
            clients.push(running);
        }
    }
    clients
}

impl Started {
    fn report(&self, plan: &Plan, program: &ProgramPlan) -> ProgramReport {
        let log = open(&self.log);
        let failure = match (log.status, self.app.serves()) {
            (None, true) => None,
            (None, false) => Some("had not ended at the end of the run".to_string()),
            (Some(status), true) => Some(format!("a service ended, with status {status}")),
            (Some(status), false) if status == self.wanted => None,
            (Some(status), false) => Some(format!("ended with status {status}, expected {}", self.wanted)),
        };
        ProgramReport {
            host: plan.host_plans[program.host].name.clone(),
            name: program.name.clone(),
            output: log.lines.clone(),
            failures: failure.into_iter().collect(),
            ended: log.status.is_some(),
            files: log.files.clone(),
        }
    }
}
