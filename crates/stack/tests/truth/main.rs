//! Replays the kernel traces of `traces/` (6.18, real time) and `traces-6.12-uml/` (6.12, virtual time) on the stack.
//!
//! A trace is the experiment and the answer in one: see crate `traces` for how the programs are read from it.

mod compare;
mod forge;
mod lab;

use core::time::Duration;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use compare::compare;
use lab::{Lab, Machine};
use stack::KernelProfile;
use traces::{Differences, Entry, Script, Tolerance, Trace, read_table};
use wire::Instant;

/// A start away from 0, at a border of the wheel's coarsest step.
const BASE_MS: u64 = 4_194_304_000;

/// One of the two folders.
#[derive(Clone, Copy)]
struct Kernel {
    dir: &'static str,
    machine: Machine,
    tolerance: Tolerance,
    /// How late a thread of the lab may run or log, seconds.
    jitter: f64,
}

const UML: Kernel = Kernel {
    dir: "traces-6.12-uml",
    machine: Machine {
        profile: KernelProfile::V6_12,
        hz: 100,
        forwarding: Duration::from_micros(50),
        spacing: Duration::ZERO,
    },
    tolerance: Tolerance { seconds: 0.0012, share: 0.0 },
    jitter: 0.0025,
};

const REAL: Kernel = Kernel {
    dir: "traces",
    machine: Machine {
        profile: KernelProfile::V6_18,
        hz: 250,
        forwarding: Duration::from_micros(200),
        spacing: Duration::from_micros(20),
    },
    tolerance: Tolerance { seconds: 0.125, share: 0.135 },
    jitter: 0.020,
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/truth")
}

fn table() -> Vec<Entry> {
    read_table(include_str!("experiments.txt"))
}

fn read(kernel: Kernel, id: &str) -> Trace {
    let path = folder().join(kernel.dir).join(format!("{id}.txt"));
    Trace::of(id, &std::fs::read_to_string(&path).expect("a trace"), kernel.jitter, &table())
}

fn ids(kernel: Kernel) -> Vec<String> {
    let dir = std::fs::read_dir(folder().join(kernel.dir)).expect("the folder of traces");
    let names = dir.map(|e| e.expect("an entry").file_name().into_string().expect("a name"));
    let mut ids: Vec<String> = names.filter_map(|n| n.strip_suffix(".txt").map(str::to_owned)).collect();
    ids.sort();
    ids
}

/// One run whose last section begins `phase` microseconds after a border of the wheel.
fn run(kernel: Kernel, trace: &Trace, table: &[Entry], phase_us: u64) -> (Differences, Lab, Script) {
    let target = Instant::from_nanos(BASE_MS * 1_000_000 + phase_us * 1000);
    let mut lead = Duration::ZERO;
    for _ in 0..3 {
        let script = Script::derive(trace, table);
        let start = Instant::from_nanos(target.as_nanos() - u64::try_from(lead.as_nanos()).expect("short"));
        let mut lab = Lab::new(trace, kernel.machine, start, script.seed);
        lab.visible = script.map.clone();
        lab.run(&script.steps, &script.gaps, script.end);
        let zero = *lab.zero.last().expect("a section");
        if zero == target {
            return (compare(trace, &script, &lab, kernel.tolerance), lab, script);
        }
        lead = zero - start;
    }
    let script = Script::derive(trace, table);
    let start = Instant::from_nanos(target.as_nanos() - u64::try_from(lead.as_nanos()).expect("short"));
    let mut lab = Lab::new(trace, kernel.machine, start, script.seed);
    lab.visible = script.map.clone();
    lab.run(&script.steps, &script.gaps, script.end);
    (compare(trace, &script, &lab, kernel.tolerance), lab, script)
}

/// Finds where the kernel's clock stood: first within a tick, then step by step of the wheel.
fn fit(kernel: Kernel, trace: &Trace, table: &[Entry]) -> (u64, Differences) {
    let tick = 1_000_000 / u64::from(kernel.machine.hz);
    // A packet that a timer sent stands on a tick: the section began so long before the next one.
    let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
    let apps = trace.sections.iter().flatten().filter_map(|l| match l {
        traces::Line::App(app) => Some(app.at),
        _ => None,
    });
    for at in trace.packets().map(|p| p.at).chain(apps) {
        let at = (at * 1e6).round() as u64 % tick;
        *votes.entry((tick - at) % tick).or_default() += 2;
        *votes.entry((2 * tick - at - 100) % tick).or_default() += 1;
        *votes.entry((tick - at + 100) % tick).or_default() += 1;
    }
    let mut candidates: Vec<(usize, u64)> = votes.into_iter().map(|(at, n)| (n, at)).collect();
    candidates.sort_unstable_by(|a, b| b.cmp(a));
    let mut best: Option<(usize, u64, Differences)> = None;
    let try_one = |phase: u64, best: &mut Option<(usize, u64, Differences)>| {
        let (found, ..) = run(kernel, trace, table, phase);
        let score = (found.in_time * 16 + 16).saturating_sub(found.texts.len());
        let done = found.texts.is_empty();
        if best.as_ref().is_none_or(|b| score > b.0) {
            *best = Some((score, phase, found));
        }
        done
    };
    let status = read_status(if kernel.dir == UML.dir {
        include_str!("status-6.12-uml.txt")
    } else {
        include_str!("status-6.18.txt")
    });
    let known = match status.get(&trace.id) {
        Some(Status::Agrees(phase)) => *phase,
        _ => 0,
    };
    if let Some(phase) = std::env::var("TRUTH_PHASE").ok().and_then(|p| p.parse().ok()) {
        try_one(phase, &mut best);
        let (_, phase, found) = best.expect("just tried");
        return (phase, found);
    }
    if try_one(known, &mut best) || try_one(0, &mut best) {
        let (_, phase, found) = best.expect("just tried");
        return (phase, found);
    }
    if kernel.machine.hz == REAL.machine.hz {
        // Real time: the tolerance is wider than the phase.
        for phase in (1..14).map(|n| n * n * 731_000) {
            if try_one(phase, &mut best) {
                break;
            }
        }
        let (_, phase, found) = best.expect("tried");
        return (phase, found);
    }
    let likely: Vec<u64> = candidates.iter().take(8).map(|c| c.1).collect();
    for (_, at) in candidates.into_iter().take(if std::env::var("TRUTH_WIDE").is_ok() { 24 } else { 5 }) {
        for n in 0..8 {
            if try_one(at + n * tick, &mut best) {
                let (_, phase, found) = best.expect("just tried");
                return (phase, found);
            }
        }
    }
    for level in 1..5 {
        let step = tick << (3 * level);
        let from = best.as_ref().expect("tried").1;
        for n in 1..8 {
            if try_one(from + n * step, &mut best) {
                let (_, phase, found) = best.expect("just tried");
                return (phase, found);
            }
        }
    }
    // Timers that show in nothing but their last firing: all steps at once, where a run is cheap.
    if std::env::var("TRUTH_BRUTE").is_ok() {
        let from = best.as_ref().expect("tried").1 % tick;
        for phase in likely.into_iter().chain([from]).flat_map(|at| (0..4096).map(move |n| at + n * tick)) {
            if try_one(phase, &mut best) {
                break;
            }
        }
    }
    let (_, phase, found) = best.expect("tried");
    (phase, found)
}

/// `TRUTH_FIT=uml|real [TRUTH_ID=id,…] cargo test -p stack --test truth fit -- --ignored --nocapture`
#[test]
#[ignore = "a tool: finds phases and shows differences"]
fn fit_phases() {
    let kernel = if std::env::var("TRUTH_FIT").is_ok_and(|k| k == "real") { REAL } else { UML };
    let only = std::env::var("TRUTH_ID").ok();
    let verbose = std::env::var("TRUTH_SHOW").is_ok();
    let table = table();
    let (mut good, mut bad, mut report) = (0, 0, String::new());
    for id in ids(kernel) {
        if only.as_ref().is_some_and(|o| {
            let status = if kernel.dir == UML.dir {
                include_str!("status-6.12-uml.txt")
            } else {
                include_str!("status-6.18.txt")
            };
            if o == "not-yet" && status.lines().any(|l| l == format!("{id} not-yet")) {
                return false;
            }
            !o.split(',').any(|o| o == id || o.strip_suffix('*').is_some_and(|o| id.starts_with(o)))
        }) {
            continue;
        }
        let trace = read(kernel, &id);
        if trace.title.is_empty() {
            continue;
        }
        let outcome = std::panic::catch_unwind(|| fit(kernel, &trace, &table));
        match outcome {
            Ok((phase, found)) if found.texts.is_empty() => {
                good += 1;
                writeln!(report, "OK {id} {phase}").expect("text");
            }
            Ok((phase, found)) => {
                bad += 1;
                writeln!(
                    report,
                    "NO {id} {phase} ({} of {} in time): {}",
                    found.in_time, found.timed, trace.title
                )
                .expect("text");
                for text in &found.texts {
                    writeln!(report, "      {text}").expect("text");
                }
                if verbose {
                    let (_, lab, script) = run(kernel, &trace, &table, phase);
                    println!("--- steps of {id}");
                    for s in &script.steps {
                        println!(
                            "{} @{:.4} {} {:?} {} {:?}",
                            s.section, s.at, s.host, s.thread, s.text, s.expect
                        );
                    }
                    for (at, p) in &lab.seen {
                        let zero = lab.zero[p.section];
                        println!("{} {:.4} {}", p.section, (*at - zero).as_secs_f64(), traces::text(p));
                    }
                    for host in 0..2 {
                        println!("{}", lab.hosts[host].ss_tcp(lab.now));
                        println!("{:?}", lab.counters(host));
                    }
                }
            }
            Err(_) => {
                bad += 1;
                writeln!(report, "PANIC {id}: {}", trace.title).expect("text");
            }
        }
    }
    println!("{report}\n{good} agree, {bad} do not");
}

/// What `status-*.txt` says of a trace.
enum Status {
    /// It agrees when the last section begins so many microseconds after a border of the timer wheel.
    Agrees(u64),
    /// It does not yet.
    NotYet,
    /// It does not, and DIVERGENCES.md says why; or another test replays it; or it hangs on the noise of its machine.
    Elsewhere,
}

fn read_status(text: &str) -> BTreeMap<String, Status> {
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let mut words = line.split_whitespace();
        let id = words.next().expect("an id").to_owned();
        let status = match words.next().expect("a status") {
            "not-yet" => Status::NotYet,
            "elsewhere" | "noise" => Status::Elsewhere,
            phase => Status::Agrees(phase.parse().expect("microseconds")),
        };
        assert!(found.insert(id, status).is_none(), "{line} twice");
    }
    found
}

/// Every trace that is said to agree does; every trace is accounted for.
fn hold(kernel: Kernel, status: &str) {
    let status = read_status(status);
    let table = table();
    let all = ids(kernel);
    let mut failed = String::new();
    let mut agree = 0;
    for id in &all {
        match status.get(id) {
            None => writeln!(failed, "{id} is not accounted for").expect("text"),
            Some(Status::NotYet | Status::Elsewhere) => {}
            Some(Status::Agrees(phase)) => {
                let trace = read(kernel, id);
                let (found, ..) = run(kernel, &trace, &table, *phase);
                agree += 1;
                if !found.texts.is_empty() {
                    writeln!(failed, "{id}: {}\n    {}", trace.title, found.texts.join("\n    "))
                        .expect("text");
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed}");
    assert!(status.keys().all(|id| all.contains(id)), "a status without a trace");
    println!("{agree} of {} traces agree", all.len());
}

#[test]
fn the_traces_of_6_12_in_virtual_time_agree_within_a_millisecond() {
    hold(UML, include_str!("status-6.12-uml.txt"));
}

#[test]
fn the_traces_of_6_18_in_real_time_agree_within_wheel_step_and_noise() {
    hold(REAL, include_str!("status-6.18.txt"));
}

/// 12b: which values the kernel takes for sysctls and TCP options.
#[test]
fn the_bounds_of_sysctls_and_options_are_the_kernels_12b() {
    for kernel in [UML, REAL] {
        let path = folder().join(kernel.dir).join("12b.txt");
        let text = std::fs::read_to_string(path).expect("12b");
        let trace = Trace::read("12b", "", 0.0);
        let mut lab = Lab::new(&trace, kernel.machine, Instant::from_secs(1000), 42);
        let mut wrong = Vec::new();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("SCTL") => {
                    let name = words.next().expect("a sysctl");
                    let rest: Vec<&str> = words.collect();
                    wrong.extend(sysctl_bounds(&mut lab, name, &rest.join(" ")));
                }
                Some("CKOPT") => {
                    let name = words.next().expect("an option");
                    wrong.extend(words.filter_map(|w| option_bound(&mut lab, name, w)));
                }
                _ => {}
            }
        }
        assert!(wrong.is_empty(), "{}: {wrong:#?}", kernel.dir);
    }
}

/// `0:EINVAL 1:OK 100 99:EINVAL`: values and what came of writing them.
fn sysctl_bounds(lab: &mut Lab, name: &str, cells: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut value = String::new();
    for word in cells.split_whitespace() {
        let (v, verdict) = word.split_once(':').map_or((word, None), |(v, r)| (v, Some(r)));
        value = if value.is_empty() { v.to_owned() } else { format!("{value} {v}") };
        let Some(verdict) = verdict else { continue };
        let now = lab.now;
        let done = lab.hosts[0].sysctl_write(now, name, &value);
        if done.is_ok() != (verdict == "OK") {
            wrong.push(format!("{name}={value}: {verdict}, ours {done:?}"));
        }
        value.clear();
    }
    wrong
}

/// `1->1` or `0:EINVAL`: what setting an option gave, and what it reads then.
fn option_bound(lab: &mut Lab, name: &str, cell: &str) -> Option<String> {
    use stack::call::{Call, OptValue, Outcome, Ret, SockOpt};
    let now = lab.now;
    let pid = lab.hosts[0].spawn();
    let mut call = |call: Call| match lab.hosts[0].call(now, pid, &call) {
        Outcome::Done(result) => result,
        Outcome::Block { .. } => panic!("{call:?} blocks"),
    };
    let open = stack::call::Call::Socket {
        domain: stack::call::Domain::Inet,
        ty: stack::call::SockType::Stream,
        protocol: 0,
        nonblock: true,
    };
    let Ok(Ret::Fd(fd, _)) = call(open) else { panic!("no socket") };
    let opt = SockOpt::NAMES.iter().find(|(n, _)| *n == name).expect("an option").1;
    let (value, expect) = cell.split_once("->").or_else(|| cell.split_once(':'))?;
    let value: i64 = value.parse().ok()?;
    let set = call(Call::SetSockOpt { fd, opt, value: OptValue::Int(value) });
    let ours = match set {
        Err(errno) => lab::errno_name(errno),
        Ok(_) => match call(Call::GetSockOpt { fd, opt }) {
            Ok(Ret::Opt(OptValue::Int(n))) => n.to_string(),
            other => format!("{other:?}"),
        },
    };
    (ours != expect).then(|| format!("{name} {cell}: ours {ours}"))
}
