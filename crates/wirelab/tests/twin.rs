//! The rows of the catalogue that say `kernel = true` agree with the real kernel, and hold what they expect with any one
//! of their hosts on it. Needs namespaces.
//!
//! Every run is a process of its own, many at a time: they mostly wait for the clock. Apart are rows that take long, and
//! each host of a row alone on the kernel instead of one of them: `cargo test -p wirelab --test twin -- --ignored`. `WIRELAB_ROWS=ping,link/` picks rows whose names contain a part.

use std::collections::VecDeque;
use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use scenario::{Overrides, Plan, Targets, catalogue};

/// Runs at the same time.
const AT_ONCE: usize = 12;

/// How often what differed in the crowd is run by itself.
const ALONE: usize = 3;
/// What a row may take to count as short, in its own time.
const SHORT: Duration = Duration::from_secs(10);
/// Added to a run's own time, it is an error to take longer.
const SLACK: Duration = Duration::from_secs(60);

/// One run on the kernel.
struct Job {
    row: String,
    how: Vec<String>,
    /// Its own time: what the run takes on our stack.
    takes: Duration,
}

#[test]
fn short_rows_agree_with_the_kernel_and_hold_beside_it() {
    judge(&rows().into_iter().filter(|(_, takes)| *takes <= SHORT).collect::<Vec<_>>(), one_host);
}

#[test]
#[ignore = "takes more than a minute: cargo test -p wirelab --test twin -- --ignored"]
fn long_rows_agree_with_the_kernel_and_every_host_holds_beside_it() {
    judge(&rows(), |plan| plan.hosts.clone());
}

/// One host of a row, always the same: another one in another row.
fn one_host(plan: &Plan) -> Vec<String> {
    let number: usize = plan.name.bytes().map(usize::from).sum();
    vec![plan.hosts[number % plan.hosts.len()].clone()]
}

/// The host's own default may be another one (bbr on some machines): what the twin ran with is part of its verdict.
#[test]
fn the_verdict_names_the_congestion_control_of_the_namespaces() {
    if !permitted("the_verdict_names_the_congestion_control_of_the_namespaces") {
        return;
    }
    let out = wirelab(&["run", "udp-header", "--twin", "--on", "linux", "--json", "--no-pcap"])
        .output()
        .expect("it starts");
    let value: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let set: Vec<&str> =
        value["twin"]["set"].as_array().expect("a list").iter().filter_map(|v| v.as_str()).collect();
    let allowed =
        std::fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control").expect("readable");
    let own = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").expect("readable");
    let algorithm = if allowed.split_whitespace().any(|a| a == "cubic") { "cubic" } else { own.trim() };
    assert_eq!(set, [format!("net.ipv4.tcp_congestion_control={algorithm}")]);
}

fn permitted(test: &str) -> bool {
    linux::testing::use_agent(env!("CARGO_BIN_EXE_wirelab"));
    linux::testing::permitted(test)
}

fn wirelab(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wirelab"));
    command.args(args);
    command
}

/// All rows that the kernel must agree with, and how long each takes.
fn rows() -> Vec<(Plan, Duration)> {
    let picked = std::env::var("WIRELAB_ROWS").unwrap_or_default();
    let mut rows = Vec::new();
    for entry in catalogue::all().iter().filter(|e| picked.split(',').any(|part| e.name.contains(part))) {
        let file = scenario::file::parse(entry.text, &entry.origin()).expect("the catalogue reads");
        let plan = scenario::plan(&file, &Overrides::default()).expect("the catalogue plans");
        if plan.kernel && plan.twin_skip.is_none() && !plan.twin_virtual {
            let outcome = scenario::run(&plan, &Targets::stack()).expect("the catalogue runs");
            rows.push((plan, outcome.journal.end.saturating_since(wire::Instant::ZERO)));
        }
    }
    rows
}

/// The twin, and hosts alone on the kernel.
fn jobs(rows: &[(Plan, Duration)], alone: fn(&Plan) -> Vec<String>) -> VecDeque<Job> {
    let mut jobs = VecDeque::new();
    for (plan, takes) in rows {
        let mut add = |how: &[&str]| {
            let how = how.iter().map(ToString::to_string).collect();
            jobs.push_back(Job { row: plan.name.clone(), how, takes: *takes });
        };
        add(&["--twin", "--on", "linux"]);
        for host in alone(plan) {
            add(&["--on", &format!("{host}=linux")]);
        }
    }
    // The longest first, so that nobody waits for one at the end.
    jobs.make_contiguous().sort_by_key(|job| std::cmp::Reverse(job.takes));
    jobs
}

fn judge(rows: &[(Plan, Duration)], alone: fn(&Plan) -> Vec<String>) {
    if !permitted("the twin") {
        return;
    }
    assert!(!rows.is_empty(), "no row of the catalogue fits WIRELAB_ROWS, or none is short");
    let jobs = Mutex::new(jobs(rows, alone));
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let next = || jobs.lock().expect("no thread panics with it").pop_front();
                while let Some(job) = next() {
                    if let Err(why) = run(&job) {
                        wrong.lock().expect("no thread panics with it").push((job, why));
                    }
                }
            });
        }
    });
    // The kernel's hosts run in real time on a machine that others use: what differs in the crowd is run again by
    // itself, and differs only if it does so every time.
    let first: Vec<(Job, String)> = wrong.into_inner().expect("no thread panics with it");
    let mut wrong = Vec::new();
    for (job, crowd) in first {
        let name = format!("wirelab run {} {}", job.row, job.how.join(" "));
        let mut again = run(&job);
        for _ in 1..ALONE {
            if again.is_err() {
                again = run(&job);
            }
        }
        match again {
            Ok(()) => eprintln!("AGAIN: {name} differed beside others, not alone:\n{crowd}"),
            Err(why) => wrong.push(format!("{name}\n{why}")),
        }
    }
    assert!(wrong.is_empty(), "{} runs differ:\n\n{}", wrong.len(), wrong.join("\n"));
}

/// Runs one job; what it wrote when it failed.
fn run(job: &Job) -> Result<(), String> {
    let mut child = wirelab(&["run", &job.row, "--quiet"])
        .args(&job.how)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // What it writes is a few lines: the pipe holds them all.
    let end = Instant::now() + job.takes + SLACK;
    let status: Option<ExitStatus> = loop {
        match child.try_wait().expect("it is our child") {
            Some(status) => break Some(status),
            None if Instant::now() > end => {
                child.kill().expect("it is our child");
                child.wait().expect("it is our child");
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("UTF-8");
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("{status}\n{said}")),
        None => Err(format!("not done after {:?}\n{said}", job.takes + SLACK)),
    }
}
