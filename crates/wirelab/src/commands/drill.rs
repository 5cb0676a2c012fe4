//! `drill`: packetdrill scripts on our stack in virtual time, or on the kernel of this machine.

use std::path::PathBuf;

use drill::host::StackHost;
use drill::kernel::Kernel;
use drill::report::{self, Count};
use drill::suite::{self, Case, Ran, Variant};
use drill::target::Host;
use drill::{HappenedKind, Verdict};
use stack::{Granularity, KernelProfile};

use super::referee::Judge;
use super::save::{can_save, save, unwritable};
use crate::output::Output;
use crate::{DrillArgs, Exit};

/// Runs scripts.
pub(crate) fn drill(args: &DrillArgs, out: &mut Output) -> Exit {
    if args.referee.is_some() && args.on != "stack" {
        let hint = "leave out one of them: `drill --on linux` asks the kernel itself";
        out.error(
            format_args!("--referee judges our stack: it cannot be had with --on {}", args.on),
            Some(hint),
        );
        return Exit::Usage;
    }
    if let Some(path) = &args.junit
        && let Err(e) = can_save(path)
    {
        return unwritable(path, &e, "`--junit FILE` says where the XML goes", out);
    }
    if args.on == "uml" {
        return super::inside::drill(args, out);
    }
    let (options, variants, host) = match prepare(args) {
        Ok(all) => all,
        Err(text) => {
            out.error(text, Some("wirelab drill --help"));
            return Exit::Usage;
        }
    };
    let mut cases = Vec::new();
    for path in &args.paths {
        match suite::find(path) {
            Ok(found) => {
                for path in found {
                    cases.extend(variants.iter().map(|v| Case { path: path.clone(), variant: *v }));
                }
            }
            Err(e) => {
                let hint = "`drill` takes packetdrill scripts (*.pkt), or folders of them";
                out.error(format_args!("cannot read {}: {e}", path.display()), Some(hint));
                return Exit::Usage;
            }
        }
    }
    if cases.is_empty() {
        let paths: Vec<String> = args.paths.iter().map(|p| p.display().to_string()).collect();
        let hint = "`drill` takes packetdrill scripts (*.pkt), or folders of them";
        out.error(format_args!("no scripts (*.pkt) in {} or below", paths.join(", ")), Some(hint));
        return Exit::Usage;
    }
    let judge = match args.referee.as_deref().map(|tool| Judge::find(args, tool)).transpose() {
        Ok(judge) => judge,
        Err((text, hint)) => {
            out.error(text, Some(&hint));
            return Exit::Usage;
        }
    };
    let on_linux = args.on == "linux";
    if on_linux && let Err(e) = kernel_hosts() {
        out.error(e, None);
        return Exit::Environment;
    }
    // A kernel's clock is the machine's: scripts side by side would disturb each other's timing.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.unwrap_or(if on_linux { 1 } else { cores });
    let all = suite::run_all(&cases, &options, host.as_ref(), jobs, &|_| {});
    if let Some(judge) = judge {
        return judge.compare(args, &all, jobs, out);
    }
    if let Some(path) = &args.junit
        && let Err(e) = save(path, |w| w.write_all(report::junit(&all).as_bytes()))
    {
        return unwritable(path, &e, "`--junit FILE` says where the XML goes", out);
    }
    if args.json {
        out.line(serde_json::to_string_pretty(&json(&all)).expect("JSON values print"));
    } else {
        print(args, &all, out);
    }
    let count = Count::of(&all);
    if count.passed == all.len() { Exit::Ok } else { Exit::Failed }
}

/// What the command line says in packetdrill's words.
pub(crate) fn options(args: &DrillArgs) -> Vec<(String, Option<String>)> {
    let mut options: Vec<(String, Option<String>)> = Vec::new();
    for option in &args.option {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option.as_str(), None),
        };
        options.push((name.trim_start_matches('-').to_owned(), value));
    }
    options.extend(args.define.iter().map(|d| ("define".to_owned(), Some(d.clone()))));
    options
}

/// Whether hosts on this machine's kernel can be made, as root or in a user namespace; one is, and is gone again. No thread
/// may have started yet.
fn kernel_hosts() -> Result<(), String> {
    linux::enter_own_network().map_err(|e| e.to_string())?;
    Kernel.make(&drill::config::Config::default()).map(drop)
}

type Prepared = (Vec<(String, Option<String>)>, Vec<Variant>, Box<dyn Host>);

fn prepare(args: &DrillArgs) -> Result<Prepared, String> {
    let options = options(args);
    let mut config = drill::config::Config::default();
    for (name, value) in &options {
        config.set(name, value.as_deref()).map_err(|e| e.to_string())?;
    }
    let mut variants = Vec::new();
    for word in args.variant.split(',') {
        match word {
            "all" => variants.extend([Variant::V4, Variant::Mapped, Variant::V6]),
            word => variants.push(Variant::parse(word).ok_or_else(|| {
                format!("--variant {word}: plain, ipv4, ipv4-mapped-ipv6, ipv6 and all are known")
            })?),
        }
    }
    let profile = match args.kernel.as_deref() {
        None | Some("6.18") => KernelProfile::V6_18,
        Some("6.12") => KernelProfile::V6_12,
        Some("5.15") => KernelProfile::V5_15,
        Some("4.4") => KernelProfile::V4_4,
        Some(other) => return Err(format!("--kernel {other}: 6.18, 6.12, 5.15 and 4.4 are known")),
    };
    let host: Box<dyn Host> = match args.on.as_str() {
        "stack" => {
            let granularity = match args.hz {
                0 => Granularity::Ideal,
                hz => Granularity::Wheel { hz },
            };
            Box::new(StackHost { profile, granularity, seed: args.seed })
        }
        "linux" => Box::new(Kernel),
        other => return Err(format!("--on {other}: stack, linux and uml are known")),
    };
    Ok((options, variants, host))
}

fn print(args: &DrillArgs, all: &[Ran], out: &mut Output) {
    let several = all.len() > 1;
    for ran in all {
        let path = ran.case.path.display().to_string();
        let outcome = &ran.outcome;
        let variant = ran.case.variant;
        let note = if variant == Variant::Plain { String::new() } else { format!(" ({})", variant.name()) };
        for warning in &outcome.warnings {
            out.message(format_args!("{}", report::message(&path, warning)));
        }
        if args.verbose {
            out.data(report::ladder(&outcome.happened, out.unicode));
        }
        match &outcome.verdict {
            Verdict::Passed => {
                if !several && !args.quiet {
                    out.line(format_args!("{path}{note}: passed"));
                }
            }
            Verdict::Failed(fault) => {
                out.line(format_args!("{}{note}", report::message(&path, fault)));
                if !args.verbose && !args.brief {
                    out.data(report::ladder_around(&outcome.happened, fault.line, out.unicode));
                    out.line("");
                }
            }
            Verdict::Unsupported(fault) => {
                out.line(format_args!("{}{note} (unsupported)", report::message(&path, fault)));
            }
        }
    }
    if several {
        folders(args, all, out);
        let count = Count::of(all);
        let on = all.iter().map(|r| r.outcome.target.as_str()).find(|t| !t.is_empty()).unwrap_or("nothing");
        out.line(out.strong(&format!("{count} on {on}")));
    }
}

/// One line a folder, when there are several.
fn folders(args: &DrillArgs, all: &[Ran], out: &mut Output) {
    let mut groups: Vec<(PathBuf, Vec<&Ran>)> = Vec::new();
    for ran in all {
        let folder = ran.case.path.parent().unwrap_or(&ran.case.path).to_owned();
        match groups.iter_mut().find(|(f, _)| *f == folder) {
            Some((_, list)) => list.push(ran),
            None => groups.push((folder, vec![ran])),
        }
    }
    if groups.len() < 2 || args.quiet {
        return;
    }
    let width = groups.iter().map(|(f, _)| f.display().to_string().chars().count()).max().unwrap_or(0);
    for (folder, list) in groups {
        let count = Count::of(list);
        out.line(format_args!("{:<width$}  {count}", folder.display().to_string()));
    }
}

fn json(all: &[Ran]) -> serde_json::Value {
    let count = Count::of(all);
    let scripts: Vec<serde_json::Value> = all
        .iter()
        .map(|ran| {
            let outcome = &ran.outcome;
            let fault = report::fault(&outcome.verdict)
                .map(|f| serde_json::json!({ "line": f.line, "message": f.message, "details": f.details }));
            let happened: Vec<serde_json::Value> = outcome
                .happened
                .iter()
                .map(|h| {
                    let kind = match h.kind {
                        HappenedKind::Inbound => "inbound",
                        HappenedKind::Outbound => "outbound",
                        HappenedKind::Stray => "stray",
                        HappenedKind::Call => "call",
                        HappenedKind::Shell => "shell",
                        HappenedKind::Code => "code",
                    };
                    serde_json::json!({ "at_usecs": h.at, "line": h.line, "kind": kind, "text": h.text })
                })
                .collect();
            serde_json::json!({
                "path": ran.case.path.display().to_string(),
                "variant": ran.case.variant.name(),
                "verdict": report::word(&outcome.verdict),
                "fault": fault,
                "script_usecs": outcome.usecs,
                "happened": happened,
            })
        })
        .collect();
    serde_json::json!({
        "target": all.iter().map(|r| r.outcome.target.as_str()).find(|t| !t.is_empty()),
        "passed": count.passed,
        "failed": count.failed,
        "unsupported": count.unsupported,
        "scripts": scripts,
    })
}
