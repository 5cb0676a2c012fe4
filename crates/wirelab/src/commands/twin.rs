//! `twin`: scenarios on our stack and on one or more real kernels, one verdict each; with `--all` the whole catalogue,
//! held against the verdicts that are kept with it.

use std::collections::VecDeque;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use linux::uml::{self, Job, Kernel};
use scenario::verdicts::{self, Known};
use scenario::{Overrides, catalogue};
use serde_json::{Value, json};

use super::inside::LIMIT;
use super::kernel::refused;
use super::save::{can_save, save, unwritable};
use crate::output::Output;
use crate::{Exit, TwinArgs};

/// A kernel to ask.
#[derive(Clone, Debug)]
enum Judge {
    /// The machine's own, in real time.
    Host,
    /// A User-Mode Linux, in virtual time.
    Uml(Kernel),
}

/// What one kernel says of one scenario.
struct Answer {
    scenario: String,
    verdict: Result<Known, String>,
    differences: Vec<String>,
}

pub(crate) fn twin(args: &TwinArgs, out: &mut Output) -> Exit {
    let judges = match judges(&args.kernel) {
        Ok(judges) => judges,
        Err(e) => return refused(&e, out),
    };
    let questions = if args.all { rows(&judges) } else { each(&args.scenarios, &judges) };
    // The user's mistakes come to light before minutes are spent.
    let checked: Vec<_> = args.scenarios.iter().filter_map(|s| super::run::check(s, out).err()).collect();
    if let Some(exit) = checked.first() {
        return *exit;
    }
    if let Some(path) = &args.write
        && let Err(e) = can_save(path)
    {
        return unwritable(path, &e, "`--write FILE` says where the verdicts go", out);
    }
    let answers = ask(&questions, args.jobs, out);
    let mut exit = Exit::Ok;
    for answer in &answers {
        match &answer.verdict {
            Ok(known) if !known.agrees() => exit = Exit::Failed,
            Err(_) if exit == Exit::Ok => exit = Exit::Environment,
            _ => {}
        }
    }
    if args.all {
        exit = changes(&answers, exit, out);
    }
    if args.json {
        let list: Vec<Value> = answers.iter().map(Answer::json).collect();
        out.line(serde_json::to_string_pretty(&list).expect("JSON values print"));
    }
    if args.all && !args.json {
        let agree = answers.iter().filter(|a| a.verdict.as_ref().is_ok_and(Known::agrees)).count();
        out.line(format_args!("{agree} of {} verdicts agree", answers.len()));
    }
    if let Some(path) = &args.write {
        let known: Vec<Known> = answers.iter().filter_map(|a| a.verdict.clone().ok()).collect();
        if known.is_empty() {
            out.error(format_args!("no verdict: {} is left as it was", path.display()), None);
            return exit;
        }
        let text = verdicts::merged(std::fs::read_to_string(path).ok().as_deref(), known);
        if let Err(e) = save(path, |w| w.write_all(text.as_bytes())) {
            return unwritable(path, &e, "`--write FILE` says where the verdicts go", out);
        }
    }
    exit
}

/// A scenario and a kernel to ask about it.
type Question<'a> = (String, &'a Judge);

/// Every kernel about every scenario.
fn each<'a>(scenarios: &[String], judges: &'a [Judge]) -> Vec<Question<'a>> {
    scenarios.iter().flat_map(|s| judges.iter().map(|j| (s.clone(), j))).collect()
}

/// The rows that have a twin, on every kernel that is to be asked about them.
fn rows(judges: &[Judge]) -> Vec<Question<'_>> {
    let plan = |entry: &catalogue::Entry| {
        let file = scenario::file::parse(entry.text, &entry.origin()).ok()?;
        scenario::plan(&file, &Overrides::default()).ok()
    };
    let mut questions = Vec::new();
    for entry in catalogue::all() {
        let Some(plan) = plan(entry).filter(|p| p.kernel && p.twin_skip.is_none()) else { continue };
        let fits = |judge: &&Judge| !plan.twin_virtual || matches!(judge, Judge::Uml(_));
        questions.extend(judges.iter().filter(fits).map(|judge| (entry.name.to_owned(), judge)));
    }
    questions
}

fn judges(wanted: &[String]) -> Result<Vec<Judge>, uml::UmlError> {
    if wanted.is_empty() {
        return Ok(vec![uml::find(None).map_or(Judge::Host, Judge::Uml)]);
    }
    let judge = |name: &String| match name.as_str() {
        "host" => Ok(Judge::Host),
        version => uml::find(Some(version)).map(Judge::Uml),
    };
    wanted.iter().map(judge).collect()
}

/// Asks every kernel about every scenario, some at a time; answers in the order of the questions.
fn ask(questions: &[Question<'_>], jobs: Option<usize>, out: &mut Output) -> Vec<Answer> {
    let jobs = jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let left: Mutex<VecDeque<usize>> = Mutex::new((0..questions.len()).collect());
    let (send, receive) = std::sync::mpsc::channel();
    let mut answers: Vec<Option<Answer>> = questions.iter().map(|_| None).collect();
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(questions.len()) {
            let (send, left) = (send.clone(), &left);
            scope.spawn(move || {
                let next = || left.lock().expect("no thread panics with it").pop_front();
                while let Some(i) = next() {
                    let (scenario, judge) = &questions[i];
                    // The receiver lives until all threads have ended.
                    let _ = send.send((i, Answer::get(scenario, judge)));
                }
            });
        }
        drop(send);
        let mut shown = 0;
        for (i, answer) in receive {
            answers[i] = Some(answer);
            while let Some(Some(answer)) = answers.get(shown) {
                answer.print(out);
                shown += 1;
            }
        }
    });
    answers.into_iter().map(|answer| answer.expect("every question is answered")).collect()
}

impl Answer {
    fn get(scenario: &str, judge: &Judge) -> Answer {
        let mut answer =
            Answer { scenario: scenario.to_owned(), verdict: Err(String::new()), differences: Vec::new() };
        let words =
            ["run", scenario, "--twin", "--on", "linux", "--json", "--color", "never"].map(str::to_owned);
        let (stdout, stderr) = match judge {
            Judge::Host => match run_here(&words) {
                Ok(both) => both,
                Err(e) => {
                    answer.verdict = Err(e);
                    return answer;
                }
            },
            Judge::Uml(kernel) => match uml::boot(kernel, &Job { args: words.to_vec(), limit: LIMIT }) {
                Ok(ran) => (ran.stdout, ran.stderr),
                Err(e) => {
                    answer.verdict = Err(match e.hint {
                        Some(hint) => format!("{}\n{hint}", e.what),
                        None => e.what,
                    });
                    return answer;
                }
            },
        };
        let Ok(value) = serde_json::from_slice::<Value>(&stdout) else {
            // What the other process said is said again, after this one's own `error:`.
            let said = String::from_utf8_lossy(&stderr);
            answer.verdict = Err(said.trim().trim_start_matches("error: ").to_owned());
            return answer;
        };
        let twin = &value["twin"];
        let texts = |v: &Value| -> Vec<String> {
            v.as_array().into_iter().flatten().filter_map(|t| t.as_str().map(str::to_owned)).collect()
        };
        answer.differences = texts(&twin["differences"]);
        answer.differences.extend(texts(&twin["problems"]));
        answer.verdict = Ok(Known {
            row: value["scenario"].as_str().unwrap_or(scenario).to_owned(),
            kernel: twin["kernel"].as_str().unwrap_or_default().to_owned(),
            hz: twin["hz"].as_u64().and_then(|hz| u32::try_from(hz).ok()).unwrap_or_default(),
            date: verdicts::today(),
            difference: answer.differences.first().cloned(),
        });
        answer
    }

    fn print(&self, out: &mut Output) {
        match &self.verdict {
            Ok(known) => {
                let word = if known.agrees() { "agrees" } else { "differs" };
                let text = format!("{:<36} Linux {} (HZ {}) {word}", self.scenario, known.kernel, known.hz);
                out.message(text);
                for difference in &self.differences {
                    out.message(format_args!("    {difference}"));
                }
            }
            Err(why) => out.error(format_args!("{}: {why}", self.scenario), None),
        }
    }

    fn json(&self) -> Value {
        match &self.verdict {
            Ok(known) => json!({
                "scenario": known.row, "kernel": known.kernel, "hz": known.hz, "date": known.date,
                "agree": known.agrees(), "differences": self.differences,
            }),
            Err(why) => json!({ "scenario": self.scenario, "error": why }),
        }
    }
}

/// Runs this program, and gives what it wrote.
fn run_here(words: &[String]) -> Result<(Vec<u8>, Vec<u8>), String> {
    let program = std::env::current_exe().map_err(|e| format!("this program's path: {e}"))?;
    let output = Command::new(program).args(words).stdin(Stdio::null()).output();
    output.map(|o| (o.stdout, o.stderr)).map_err(|e| format!("running this program again: {e}"))
}

/// Names the rows whose verdict is another one than the catalogue keeps.
fn changes(answers: &[Answer], exit: Exit, out: &mut Output) -> Exit {
    let mut changed = false;
    for known in answers.iter().filter_map(|a| a.verdict.as_ref().ok()) {
        let kept = verdicts::of(&known.row).find(|kept| kept.kernel == known.kernel);
        if kept.as_ref().is_some_and(|kept| kept.agrees() != known.agrees()) {
            let (before, now) = if known.agrees() { ("differed", "agrees") } else { ("agreed", "differs") };
            out.error(format_args!("{} {before} with Linux {} and now {now}", known.row, known.kernel), None);
            changed = true;
        }
    }
    // What is known to differ is named in DIVERGENCES.md: only a change is news.
    match exit {
        Exit::Environment => Exit::Environment,
        _ if changed => Exit::Failed,
        _ => {
            let new = answers.iter().filter_map(|a| a.verdict.as_ref().ok()).any(|known| {
                !known.agrees() && verdicts::of(&known.row).all(|kept| kept.kernel != known.kernel)
            });
            if new { Exit::Failed } else { Exit::Ok }
        }
    }
}
