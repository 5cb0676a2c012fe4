//! `run`: from a scenario to its answer: the ladder, why, what the kernel says, a capture.

use std::path::{Path, PathBuf};

use analysis::ladder::{Ladder, Options};
use scenario::{Diagnostic, File, Outcome, Overrides, Plan, RunError, Targets, Verdict};
use serde_json::{Value, json};

use super::save::{can_save, save, unwritable};
use crate::output::Output;
use crate::{Exit, RunArgs};

/// Runs a scenario as the command line says.
pub(crate) fn run(args: &RunArgs, out: &mut Output) -> Exit {
    let inside = match super::inside::targets(&args.on) {
        // The twin is in virtual time where it can be; `--on linux` asks for this machine's kernel.
        Ok(None) if args.twin && args.on == "stack" => {
            linux::uml::find(None).ok().map(|k| ("linux".into(), k))
        }
        Ok(None) => None,
        Ok(Some(on)) => match linux::uml::find(None) {
            Ok(kernel) => Some((on, kernel)),
            Err(e) => return super::kernel::refused(&e, out),
        },
        Err(e) => {
            out.error(format_args!("--on {}: {e}", args.on), None);
            return Exit::Usage;
        }
    };
    if let Some((on, kernel)) = inside {
        return super::inside::run(args, &on, &kernel, out);
    }
    match Job::prepare(args, out) {
        Ok(job) if args.twin => job.twin(out),
        Ok(job) => job.run(out),
        Err(exit) => exit,
    }
}

/// What to do about a capture that has no place.
pub(super) const CAPTURE_HINT: &str = "`--pcap FILE` writes it elsewhere, `--no-pcap` not at all";

struct Job<'a> {
    args: &'a RunArgs,
    file: File,
    plan: Plan,
    targets: Targets,
    overrides: Overrides,
    /// The scenario's short name: what the capture is called.
    name: String,
}

impl<'a> Job<'a> {
    fn prepare(args: &'a RunArgs, out: &mut Output) -> Result<Job<'a>, Exit> {
        let (file, name) = parsed(&args.scenario, out)?;
        let targets = Targets::parse(&args.on).map_err(|e| {
            out.error(format_args!("--on {}: {e}", args.on), None);
            Exit::Usage
        })?;
        let overrides = overrides(args);
        let plan = scenario::plan(&file, &overrides).map_err(|all| report(&all, out))?;
        if let Some(host) = args.pcap_of.as_ref().filter(|host| !plan.hosts.contains(host)) {
            let hint = scenario::suggest(host, plan.hosts.iter().map(String::as_str));
            out.error(format_args!("--pcap-of: no host is named `{host}`"), hint.as_deref());
            return Err(Exit::Usage);
        }
        // A long run whose capture has no place would be for nothing.
        if let Some(path) = args.capture(&name)
            && let Err(e) = can_save(&path)
        {
            return Err(unwritable(&path, &e, CAPTURE_HINT, out));
        }
        Ok(Job { args, file, plan, targets, overrides, name })
    }

    fn run(&self, out: &mut Output) -> Exit {
        let outcome = match scenario::run(&self.plan, &self.targets) {
            Ok(outcome) => outcome,
            Err(e) => return refused(&e, out),
        };
        let before = match self.unchanged_run(out) {
            Ok(before) => before,
            Err(exit) => return exit,
        };
        let diff = before.as_ref().map(|b| analysis::diff(&b.journal, &outcome.journal));
        let capture = match self.write_capture(&outcome, out) {
            Ok(capture) => capture,
            Err(exit) => return exit,
        };
        if self.args.json {
            let mut value = self.json(&outcome, capture.as_deref());
            if let Some(diff) = &diff {
                value["diff"] = serde_json::to_value(diff).expect("plain data");
            }
            out.line(serde_json::to_string_pretty(&value).expect("JSON values print"));
        } else if !self.args.quiet {
            self.print(&outcome, out);
            if self.plan.compares {
                out.line(format_args!(
                    "compare  `wirelab compare {}` runs its variants with several seeds",
                    self.name
                ));
            }
            if let Some(known) = self.known() {
                out.line(format_args!("kernel   {known}"));
            }
            if let Some(diff) = &diff {
                out.line(out.strong("changed against the file's own run"));
                out.data(diff.render(out.width));
            }
            if let Some(path) = &capture {
                out.line(format_args!("capture  {}", path.display()));
            }
        }
        if let Some(path) = &capture
            && let Err(exit) = self.write_files(&outcome, path, out)
        {
            return exit;
        }
        verdict(&outcome, out)
    }

    /// What kernels said of this run, when it is the catalogue's own.
    fn known(&self) -> Option<String> {
        let own = !self.overrides.changes_run() && self.args.on == "stack" && self.args.seed.is_none();
        let verdicts = scenario::verdicts::of(&self.plan.name).filter(|_| own);
        let texts: Vec<String> = verdicts
            .map(|known| {
                let word = if known.agrees() { "agrees" } else { "differs" };
                format!("Linux {} {word} ({})", known.kernel, known.date)
            })
            .collect();
        (!texts.is_empty()).then(|| texts.join(" · "))
    }

    /// The file's own run, when the command line changes it.
    fn unchanged_run(&self, out: &mut Output) -> Result<Option<Outcome>, Exit> {
        if !self.overrides.changes_run() {
            return Ok(None);
        }
        let own = Overrides { seed: self.overrides.seed, ..Overrides::default() };
        let plan = scenario::plan(&self.file, &own).map_err(|all| report(&all, out))?;
        scenario::run(&plan, &self.targets).map(Some).map_err(|e| refused(&e, out))
    }

    fn twin(&self, out: &mut Output) -> Exit {
        let targets = if self.args.on == "stack" { Targets::linux() } else { self.targets.clone() };
        let verdict = match scenario::twin(&self.plan, &targets) {
            Ok(verdict) => verdict,
            Err(e) => return refused(&e, out),
        };
        let capture = match self.write_capture(&verdict.stack, out) {
            Ok(capture) => capture,
            Err(exit) => return exit,
        };
        if self.args.json {
            let mut value = self.json(&verdict.stack, capture.as_deref());
            value["twin"] = twin_json(&verdict);
            out.line(serde_json::to_string_pretty(&value).expect("JSON values print"));
        } else if !self.args.quiet {
            self.print(&verdict.stack, out);
            out.data(format_args!("kernel   {}", verdict.render()));
            if let Some(path) = &capture {
                out.line(format_args!("capture  {}", path.display()));
            }
        }
        self.judge(&verdict, out)
    }

    fn judge(&self, verdict: &Verdict, out: &mut Output) -> Exit {
        for problem in verdict.problems() {
            out.error(problem, None);
        }
        if !verdict.agree {
            out.error(
                format_args!("{}: our stack and Linux {} differ", self.plan.name, verdict.kernel),
                None,
            );
            if self.args.quiet {
                for difference in &verdict.differences {
                    out.message(difference);
                }
            }
        }
        if verdict.ok() { Exit::Ok } else { Exit::Failed }
    }

    fn ladder(&self, outcome: &Outcome) -> Ladder {
        let title = format!("{} · {}", self.name, self.plan.question);
        let options = Options { title: Some(title), unfold: self.args.unfold, ..Options::default() };
        Ladder::new(&outcome.journal, &options)
    }

    fn print(&self, outcome: &Outcome, out: &mut Output) {
        out.data(self.ladder(outcome).render(out.width, out.color, out.unicode));
        for program in outcome.programs.iter().filter(|p| !p.output.is_empty()) {
            out.line(format_args!("\n{} on {}", program.name, program.host));
            for line in &program.output {
                out.line(format_args!("    {line}"));
            }
        }
        out.line("");
        out.data(analysis::explain(&outcome.journal).render(out.width));
        let held = outcome.expectations.iter().filter(|e| e.held).count();
        if !outcome.expectations.is_empty() {
            out.line(format_args!("expected {held} of {} hold", outcome.expectations.len()));
        }
    }

    fn write_capture(&self, outcome: &Outcome, out: &mut Output) -> Result<Option<PathBuf>, Exit> {
        let Some(path) = self.args.capture(&self.name) else { return Ok(None) };
        let journal = &outcome.journal;
        let written = save(&path, |w| match &self.args.pcap_of {
            None => analysis::pcapng(journal, w).map(drop),
            Some(host) => analysis::pcapng_of(journal, host, w).map(drop),
        });
        match written {
            Ok(()) => Ok(Some(self.args.capture_is.clone().unwrap_or(path))),
            Err(e) => Err(unwritable(&path, &e, CAPTURE_HINT, out)),
        }
    }

    /// Files of programs stand beside the capture, and begin with its name and the host's.
    fn write_files(&self, outcome: &Outcome, capture: &Path, out: &mut Output) -> Result<(), Exit> {
        for program in &outcome.programs {
            for (name, contents) in &program.files {
                let stem = capture.with_extension("");
                // A program may be called `HTTP/3`.
                let name = name.replace(['/', '\\'], "-");
                let path = PathBuf::from(format!("{}.{}.{name}", stem.display(), program.host));
                if let Err(e) = save(&path, |w| std::io::Write::write_all(w, contents)) {
                    return Err(unwritable(&path, &e, CAPTURE_HINT, out));
                }
                if !self.args.json && !self.args.quiet {
                    out.line(format_args!("file     {}", path.display()));
                }
            }
        }
        Ok(())
    }

    fn json(&self, outcome: &Outcome, capture: Option<&Path>) -> Value {
        let nodes: Vec<Value> = outcome
            .journal
            .nodes
            .iter()
            .map(|n| json!({ "name": n.name, "counters": pairs(&n.counters), "tables": pairs(&n.tables) }))
            .collect();
        json!({
            "scenario": self.plan.name,
            "question": self.plan.question,
            "seed": self.plan.seed,
            "ok": outcome.ok(),
            "problems": outcome.problems(),
            "ladder": self.ladder(outcome),
            "explanation": analysis::explain(&outcome.journal),
            "dissection": analysis::Dissection::of_journal(&outcome.journal),
            "expectations": outcome.expectations,
            "faults": outcome.faults,
            "programs": outcome.programs,
            "nodes": nodes,
            "end_ns": outcome.journal.end.as_nanos(),
            "capture": capture,
        })
    }
}

/// A list of names and values as a JSON object, in its order.
fn pairs<V: serde::Serialize>(list: &[(String, V)]) -> Value {
    list.iter().map(|(k, v)| (k.clone(), serde_json::to_value(v).expect("plain data"))).collect()
}

fn twin_json(verdict: &Verdict) -> Value {
    json!({
        "agree": verdict.agree,
        "kernel": verdict.kernel,
        "hz": verdict.hz,
        "set": verdict.set,
        "differences": verdict.differences,
        "problems": verdict.problems(),
    })
}

fn overrides(args: &RunArgs) -> Overrides {
    let kinds = [
        ("drop", &args.drop),
        ("delay", &args.delay),
        ("duplicate", &args.duplicate),
        ("corrupt", &args.corrupt),
    ];
    let faults = kinds.iter().flat_map(|(kind, texts)| texts.iter().map(|t| ((*kind).to_owned(), t.clone())));
    Overrides {
        seed: args.seed,
        sets: args.set.clone(),
        faults: faults.collect(),
        kernel: args.kernel.clone(),
    }
}

/// What a scenario's capture is called, without reading it.
pub(super) fn short_name(scenario: &str) -> String {
    let path = Path::new(scenario);
    path.file_stem().map_or_else(|| scenario.to_owned(), |s| s.to_string_lossy().into_owned())
}

/// The scenario's file and its short name, or what is wrong with it.
pub(super) fn parsed(scenario: &str, out: &mut Output) -> Result<(File, String), Exit> {
    let (text, origin, name) = source(scenario, out)?;
    let file = scenario::file::parse(&text, &origin).map_err(|all| report(&all, out))?;
    Ok((file, name))
}

/// Says what is wrong with a scenario before anything is run.
pub(super) fn check(scenario: &str, out: &mut Output) -> Result<(), Exit> {
    let (file, _) = parsed(scenario, out)?;
    scenario::plan(&file, &Overrides::default()).map(drop).map_err(|all| report(&all, out))
}

/// The scenario's text, what messages call it, and its short name. A path is what has a slash or ends in
/// `.toml` and exists; anything else is a name of the catalogue.
fn source(scenario: &str, out: &mut Output) -> Result<(String, String, String), Exit> {
    let path = Path::new(scenario);
    let is_file = path.extension().is_some_and(|e| e == "toml") || path.is_file();
    if !is_file {
        let hint = path.is_dir().then_some("it is a folder; a scenario is one .toml file in it");
        let entry = super::list::entry(scenario, hint, out)?;
        return Ok((entry.text.to_owned(), entry.origin(), entry.short().to_owned()));
    }
    let name = short_name(scenario);
    match super::input::text(path, scenario::file::MAX_BYTES as u64) {
        Ok(text) => Ok((text, scenario.to_owned(), name)),
        Err(e) => {
            let hint = "a scenario is a TOML file: `wirelab show arp-resolution` prints one";
            out.error(format_args!("cannot read {scenario}: {e}"), Some(hint));
            Err(Exit::Usage)
        }
    }
}

/// Prints everything that is wrong with a file or an option.
pub(super) fn report(all: &[Diagnostic], out: &mut Output) -> Exit {
    for diagnostic in all {
        out.message(diagnostic.render(out.color_err));
    }
    Exit::Usage
}

/// Says why a plan could not be run.
pub(super) fn refused(e: &RunError, out: &mut Output) -> Exit {
    out.error(e, None);
    match e {
        RunError::Target(_) | RunError::Setup(_) => Exit::Usage,
        RunError::Need(_) | RunError::Linux(_) => Exit::Environment,
    }
}

/// Says what did not hold.
fn verdict(outcome: &Outcome, out: &mut Output) -> Exit {
    for problem in outcome.problems() {
        out.error(problem, None);
    }
    if outcome.ok() { Exit::Ok } else { Exit::Failed }
}
