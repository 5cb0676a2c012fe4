//! `replay`: the experiments behind kernel traces, run again as scenarios on our stack or on a real kernel, and held to the
//! traces packet by packet.

mod experiment;
mod judge;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use linux::uml::{self, Job, Kernel};
use scenario::Targets;
use serde_json::{Value, json};
use traces::{Entry, Script, Trace, read_table};

use self::experiment::Experiment;
use self::judge::Answer;
use super::inside::LIMIT;
use super::kernel::refused;
use super::save::{can_save, save, unwritable};
use crate::output::Output;
use crate::{Exit, ReplayArgs};

/// What the traces do not tell of their programs.
const TABLE: &str = include_str!("../../../../stack/tests/truth/experiments.txt");
/// How late a thread of the lab in virtual time may log, seconds.
const JITTER: f64 = 0.0025;
/// The longest trace that is read, bytes; the longest there is has a tenth of it.
const MAX_BYTES: u64 = 4 << 20;
/// Experiments in one boot of a User-Mode Linux: booting takes half a second, and a kernel that stops takes them along.
const IN_ONE_BOOT: usize = 8;
const HEADER: &str = "trace\tkernel\tverdict";

/// Where the experiments run.
#[derive(Clone, Debug)]
enum Ground {
    /// In this process: on our stack, or on the kernel that this process runs on.
    Here(Targets),
    Uml(Kernel),
}

/// One trace's file and what came of it.
type Judged = (PathBuf, Answer);

pub(crate) fn replay(args: &ReplayArgs, out: &mut Output) -> Exit {
    let files = match files(args) {
        Ok(files) => files,
        Err((what, hint)) => {
            out.error(what, Some(hint));
            return Exit::Usage;
        }
    };
    if let Some(dir) = &args.scenarios {
        return write_scenarios(dir, &files, out);
    }
    let (ground, kernel) = match ground(args) {
        Ok(ground) => ground,
        Err(Refusal::Word(text)) => {
            out.error(text, Some("stack, linux and uml are known"));
            return Exit::Usage;
        }
        Err(Refusal::Kernel(e)) => return refused(&e, out),
    };
    if let Some(path) = &args.write
        && let Err(e) = can_save(path)
    {
        return unwritable(path, &e, "`--write FILE` says where the verdicts go", out);
    }
    let judged = run_all(&files, &ground, args.jobs, out);
    let judged = match judged {
        Ok(judged) => judged,
        Err(text) => {
            out.error(text, None);
            return Exit::Environment;
        }
    };
    if args.json {
        let list: Vec<Value> = judged.iter().map(|(path, answer)| to_json(path, answer)).collect();
        out.line(serde_json::to_string_pretty(&list).expect("JSON values print"));
    } else {
        print(&judged, &kernel, out);
    }
    if let Some(path) = &args.write {
        let text = lines(&judged, &kernel);
        if let Err(e) = save(path, |w| w.write_all(text.as_bytes())) {
            return unwritable(path, &e, "`--write FILE` says where the verdicts go", out);
        }
    }
    match &args.check {
        Some(path) => check(path, &judged, &kernel, out),
        None if judged.iter().any(|(_, a)| matches!(a, Answer::Differs(_))) => Exit::Failed,
        None => Exit::Ok,
    }
}

enum Refusal {
    Word(String),
    Kernel(uml::UmlError),
}

/// Where to run, and what that kernel is called.
fn ground(args: &ReplayArgs) -> Result<(Ground, String), Refusal> {
    match args.on.as_str() {
        "stack" => Ok((Ground::Here(Targets::stack()), "stack".into())),
        "linux" => Ok((Ground::Here(Targets::linux()), linux::kernel_release())),
        "uml" => {
            let kernel = uml::find(args.kernel.as_deref()).map_err(Refusal::Kernel)?;
            let release = kernel.release.clone();
            Ok((Ground::Uml(kernel), release))
        }
        other => Err(Refusal::Word(format!("--on {other} is nothing that an experiment runs on"))),
    }
}

/// The traces that are named, in order: files, or all of folders.
fn files(args: &ReplayArgs) -> Result<Vec<PathBuf>, (String, &'static str)> {
    let hint = "a trace is a text file as in crates/stack/tests/truth/traces-6.12-uml";
    let mut files = Vec::new();
    for path in &args.paths {
        let failed = |e: std::io::Error| (format!("cannot read {}: {e}", path.display()), hint);
        if !std::fs::metadata(path).map_err(failed)?.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(failed)?;
        let mut own: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        own.retain(|p| p.extension().is_some_and(|e| e == "txt"));
        own.sort();
        if own.is_empty() {
            return Err((format!("no traces (*.txt) in {}", path.display()), hint));
        }
        files.extend(own);
    }
    if !args.only.is_empty() {
        let wanted = |path: &PathBuf| {
            let id = id(path);
            args.only.iter().any(|o| *o == id || o.strip_suffix('*').is_some_and(|o| id.starts_with(o)))
        };
        files.retain(wanted);
        if files.is_empty() {
            return Err((
                format!("no trace is called {}", args.only.join(" or ")),
                "`--only '4*'` takes all of 4",
            ));
        }
    }
    Ok(files)
}

fn id(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn experiment(path: &Path, table: &[Entry]) -> Result<Experiment, String> {
    let text = super::input::text(path, MAX_BYTES).map_err(|e| format!("cannot read it: {e}"))?;
    let trace = Trace::of(&id(path), &text, JITTER, table);
    let script = Script::derive(&trace, table);
    Ok(Experiment::new(trace, script))
}

fn one(path: &Path, table: &[Entry], targets: &Targets) -> Answer {
    match experiment(path, table) {
        Ok(mut experiment) => judge::judge(&mut experiment, targets),
        Err(why) => Answer::Inexpressible(why),
    }
}

/// All of them, some at a time, in the order of the files.
fn run_all(
    files: &[PathBuf],
    ground: &Ground,
    jobs: Option<usize>,
    out: &mut Output,
) -> Result<Vec<Judged>, String> {
    let table = read_table(TABLE);
    let size = if matches!(ground, Ground::Uml(_)) { IN_ONE_BOOT } else { 1 };
    let parts: Vec<&[PathBuf]> = files.chunks(size).collect();
    // Hosts on the machine's own clock would disturb each other.
    let real = matches!(ground, Ground::Here(targets) if *targets != Targets::stack());
    let cores = if real { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, Result<Vec<Answer>, String>>> = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.unwrap_or(cores).min(parts.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(part) = parts.get(at) else { return };
                    let answers = match ground {
                        Ground::Here(targets) => Ok(part.iter().map(|p| one(p, &table, targets)).collect()),
                        Ground::Uml(kernel) => inside(part, kernel),
                    };
                    done.lock().expect("no thread panics with it").insert(at, answers);
                }
            });
        }
    });
    let mut judged = Vec::new();
    for (at, answers) in done.into_inner().expect("all threads ended") {
        match answers {
            Ok(answers) => judged.extend(parts[at].iter().cloned().zip(answers)),
            Err(why) => {
                let names: Vec<String> = parts[at].iter().map(|p| id(p)).collect();
                out.message(format_args!("{}: {why}", names.join(", ")));
                return Err(format!("no answers for {}: {why}", names.join(", ")));
            }
        }
    }
    Ok(judged)
}

/// Some experiments in one boot of a kernel.
fn inside(part: &[PathBuf], kernel: &Kernel) -> Result<Vec<Answer>, String> {
    let mut args: Vec<String> =
        ["replay", "--on", "linux", "--json", "--color", "never"].map(str::to_owned).into();
    for path in part {
        let path = path.canonicalize().map_err(|e| format!("{}: {e}", path.display()))?;
        args.push(path.to_str().ok_or("a path that is no text")?.to_owned());
    }
    let ran = uml::boot(kernel, &Job { args, limit: LIMIT }).map_err(|e| match e.hint {
        Some(hint) => format!("{}\n{hint}", e.what),
        None => e.what,
    })?;
    let said = || String::from_utf8_lossy(&ran.stderr).trim().to_owned();
    let list: Vec<Value> = serde_json::from_slice(&ran.stdout).map_err(|_| said())?;
    if list.len() != part.len() {
        return Err(said());
    }
    list.iter().map(|value| from_json(value).ok_or_else(said)).collect()
}

fn to_json(path: &Path, answer: &Answer) -> Value {
    let trace = id(path);
    match answer {
        Answer::Reproduced => json!({ "trace": trace, "verdict": "reproduced" }),
        Answer::Differs(where_) => json!({ "trace": trace, "verdict": "differs", "differences": where_ }),
        Answer::Inexpressible(why) => json!({ "trace": trace, "verdict": "inexpressible", "why": why }),
    }
}

fn from_json(value: &Value) -> Option<Answer> {
    let texts = |v: &Value| v.as_array()?.iter().map(|t| Some(t.as_str()?.to_owned())).collect::<Option<_>>();
    match value["verdict"].as_str()? {
        "reproduced" => Some(Answer::Reproduced),
        "differs" => texts(&value["differences"]).map(Answer::Differs),
        _ => Some(Answer::Inexpressible(value["why"].as_str()?.to_owned())),
    }
}

fn print(judged: &[Judged], kernel: &str, out: &mut Output) {
    for (path, answer) in judged {
        let id = id(path);
        match answer {
            Answer::Reproduced => out.line(format_args!("{id:<12} reproduced")),
            Answer::Differs(differences) => {
                out.line(format_args!("{id:<12} differs"));
                for difference in differences {
                    out.line(format_args!("             {difference}"));
                }
            }
            Answer::Inexpressible(why) => out.line(format_args!("{id:<12} not expressible: {why}")),
        }
    }
    let count = |f: fn(&Answer) -> bool| judged.iter().filter(|(_, a)| f(a)).count();
    let reproduced = count(|a| *a == Answer::Reproduced);
    let differ = count(|a| matches!(a, Answer::Differs(_)));
    let text = format!(
        "{reproduced} of {} reproduced on {kernel}, {differ} differ, {} cannot be said as a scenario",
        judged.len(),
        judged.len() - reproduced - differ
    );
    out.line(out.strong(&text));
}

/// The verdicts as they are kept.
fn lines(judged: &[Judged], kernel: &str) -> String {
    let line = |(path, answer): &Judged| {
        let verdict = match answer {
            Answer::Reproduced => "reproduced".to_owned(),
            Answer::Differs(list) => format!("differs: {}", list.first().map_or("", String::as_str)),
            Answer::Inexpressible(why) => format!("inexpressible: {why}"),
        };
        format!("{}\t{kernel}\t{}\n", id(path), verdict.replace(['\t', '\n'], " "))
    };
    format!("{HEADER}\n") + &judged.iter().map(line).collect::<String>()
}

/// Fails on another verdict than the kept one.
fn check(path: &Path, judged: &[Judged], kernel: &str, out: &mut Output) -> Exit {
    let kept = match super::input::text(path, MAX_BYTES) {
        Ok(text) => text,
        Err(e) => {
            out.error(format_args!("cannot read {}: {e}", path.display()), Some("`--write FILE` makes it"));
            return Exit::Usage;
        }
    };
    let word = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let kept: BTreeMap<&str, String> = kept
        .lines()
        .filter_map(|line| {
            let [trace, of, verdict] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
            (of == kernel).then(|| (trace, word(verdict)))
        })
        .collect();
    let mut changed = false;
    for line in lines(judged, kernel).lines().skip(1) {
        let [trace, _, verdict] = line.split('\t').collect::<Vec<_>>().try_into().unwrap_or([""; 3]);
        let now = word(verdict);
        let before = kept.get(trace).map_or("unknown", String::as_str);
        if before != now {
            out.error(format_args!("{trace} was {before} on Linux {kernel} and is {now}: {verdict}"), None);
            changed = true;
        }
    }
    if changed { Exit::Failed } else { Exit::Ok }
}

/// The experiments as scenario files of their own, for `wirelab run`.
fn write_scenarios(dir: &Path, files: &[PathBuf], out: &mut Output) -> Exit {
    let table = read_table(TABLE);
    if let Err(e) = std::fs::create_dir_all(dir) {
        return unwritable(dir, &e, "`--scenarios DIR` says where the files go", out);
    }
    for path in files {
        let text = experiment(path, &table).and_then(|mut e| judge::prepare(&mut e));
        match text {
            Ok(text) => {
                let to = dir.join(format!("{}.toml", id(path)));
                if let Err(e) = save(&to, |w| w.write_all(text.as_bytes())) {
                    return unwritable(&to, &e, "`--scenarios DIR` says where the files go", out);
                }
            }
            Err(why) => out.message(format_args!("{}: not expressible: {why}", id(path))),
        }
    }
    Exit::Ok
}
