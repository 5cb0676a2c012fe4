//! The rows of the catalogue that say `kernel = true` agree with the real kernel: the whole network on it, and one
//! host of two. Needs namespaces; says so when it is skipped, and fails for that with `CI=true`.
//!
//! `cargo test -p scenario --test twin -- PART…` runs the rows whose names contain a part; `--mixed` adds the pairs.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Mutex;

use scenario::{Overrides, Plan, Target, Targets, catalogue, file};

/// Rows at the same time: most of them wait most of the time.
const AT_ONCE: usize = 4;

fn main() -> ExitCode {
    if let Some(code) = linux::agent_main() {
        return code;
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    // What `cargo test` asks every test binary.
    if args.iter().any(|a| a == "--list") {
        return ExitCode::SUCCESS;
    }
    if let Err(why) = linux::check_permission() {
        eprintln!("SKIPPED: the twin was not asked: {why}");
        return if std::env::var("CI").is_ok_and(|v| v == "true") {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        };
    }
    let mixed = args.iter().any(|a| a == "--mixed");
    let parts: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    let wanted = |name: &str| parts.is_empty() || parts.iter().any(|p| name.contains(p.as_str()));
    let mut jobs = VecDeque::new();
    for entry in catalogue::all().iter().filter(|e| wanted(e.name)) {
        let plan = plan_of(entry);
        if plan.kernel && plan.twin_skip.is_none() {
            jobs.push_back((plan.clone(), Targets::linux(), "linux".to_string()));
            if mixed {
                jobs.extend(pairs(&plan));
            }
        }
    }
    let jobs = Mutex::new(jobs);
    let failed = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((plan, targets, how)) = next(&jobs) {
                    let ok = judge(&plan, &targets, &how);
                    *failed.lock().expect("no thread panics with it") += usize::from(!ok);
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no thread panics with it");
    println!("{failed} rows differ");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

type Job = (Plan, Targets, String);

fn next(jobs: &Mutex<VecDeque<Job>>) -> Option<Job> {
    jobs.lock().expect("no thread panics with it").pop_front()
}

/// One host on the kernel, all others ours, for each host of a network of two.
fn pairs(plan: &Plan) -> Vec<Job> {
    let [a, b] = &plan.hosts[..] else { return Vec::new() };
    let mix = |on_linux: &String| {
        let by_host = [(on_linux.clone(), Target::Linux)].into();
        (plan.clone(), Targets { default: Target::Stack, by_host }, format!("{on_linux}=linux"))
    };
    vec![mix(a), mix(b)]
}

fn plan_of(entry: &catalogue::Entry) -> Plan {
    let file = file::parse(entry.text, &entry.origin()).expect("the catalogue reads");
    scenario::plan(&file, &Overrides::default()).expect("the catalogue plans")
}

fn judge(plan: &Plan, targets: &Targets, how: &str) -> bool {
    match scenario::twin(plan, targets) {
        Ok(verdict) => {
            let word = if verdict.ok() { "ok" } else { "DIFFERS" };
            println!("{word} {} on {how}: {}", plan.name, verdict.render_width(160));
            verdict.ok()
        }
        Err(e) => {
            println!("FAILED {} on {how}: {e}", plan.name);
            false
        }
    }
}
