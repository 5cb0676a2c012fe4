//! `score`: how much of what others can judge our stack agrees on: catalogue rows by kernel, kernel traces, packetdrill
//! scripts. Every figure is counted from what a command wrote or a test holds; none is written by hand.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use drill::host::StackHost;
use drill::kernel::Kernel;
use drill::report::Count;
use drill::suite::{self, Case, Variant};
use drill::target::Host;
use scenario::verdicts;
use serde_json::json;
use stack::{Granularity, KernelProfile};

use super::save::{can_save, save, unwritable};
use crate::output::Output;
use crate::{Exit, ScoreArgs};

/// Which traces agree: `crates/stack/tests/truth` holds the stack to these lists.
const TRACES: [(&str, &str); 2] = [
    ("6.12.117 in virtual time", include_str!("../../../stack/tests/truth/status-6.12-uml.txt")),
    ("6.18.44", include_str!("../../../stack/tests/truth/status-6.18.txt")),
];

/// What the last `replay --on uml --write` found: experiments behind the traces, run again on a kernel.
const REPLAYS: &str = include_str!("../../../../scenarios/replays.tsv");

/// What the last `score --packetdrill DIR --write` counted.
const PACKETDRILL: &str = include_str!("../../../../scenarios/packetdrill.tsv");
const HEADER: &str = "folder\tpassed\tkernel\tscripts";

/// A folder of packetdrill scripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Folder {
    passed: usize,
    /// How many the kernel passes; `None` when it was not asked.
    kernel: Option<usize>,
    scripts: usize,
}

pub(crate) fn score(args: &ScoreArgs, out: &mut Output) -> Exit {
    let folders = match &args.packetdrill {
        None => read(PACKETDRILL),
        Some(dir) => {
            if let Some(path) = &args.write
                && let Err(e) = can_save(path)
            {
                return unwritable(path, &e, "`--write FILE` says where the figures go", out);
            }
            match scripts(dir) {
                Ok(paths) => count(dir, paths, args.judge),
                Err(e) => {
                    let hint =
                        "--packetdrill takes a folder of scripts, such as google/packetdrill's gtests/net";
                    out.error(format_args!("{}: {e}", dir.display()), Some(hint));
                    return Exit::Usage;
                }
            }
        }
    };
    if let Some(path) = &args.write
        && let Err(e) = save(path, |w| w.write_all(text(&folders).as_bytes()))
    {
        return unwritable(path, &e, "`--write FILE` says where the figures go", out);
    }
    if args.json {
        out.line(serde_json::to_string_pretty(&json_of(&folders)).expect("JSON values print"));
        return Exit::Ok;
    }
    for (kernel, (agree, all)) in rows() {
        out.line(format_args!("catalogue    Linux {kernel:<24} {agree:>4} of {all:>4} rows agree"));
    }
    for (kernel, list) in TRACES {
        let (agree, all) = traces(list);
        out.line(format_args!(
            "traces       Linux {kernel:<24} {agree:>4} of {all:>4} agree packet by packet"
        ));
    }
    for (kernel, (reproduced, all)) in replays() {
        out.line(format_args!(
            "experiments  Linux {kernel:<24} {reproduced:>4} of {all:>4} reproduced as scenarios"
        ));
    }
    packetdrill(&folders, out);
    Exit::Ok
}

fn packetdrill(folders: &BTreeMap<String, Folder>, out: &mut Output) {
    let width = folders.keys().map(String::len).max().unwrap_or(0).max("packetdrill".len());
    let kernel = |n: Option<usize>| n.map_or("–".to_owned(), |n| n.to_string());
    let mut all = Folder { kernel: Some(0), ..Folder::default() };
    if folders.is_empty() {
        return;
    }
    out.line("");
    out.line(format_args!("{:<width$}  {:>7} {:>7} {:>7}", "packetdrill", "passed", "kernel", "scripts"));
    for (name, f) in folders {
        out.line(format_args!("{name:<width$}  {:>7} {:>7} {:>7}", f.passed, kernel(f.kernel), f.scripts));
        all.passed += f.passed;
        all.scripts += f.scripts;
        all.kernel = all.kernel.zip(f.kernel).map(|(a, b)| a + b);
    }
    out.line(format_args!(
        "{:<width$}  {:>7} {:>7} {:>7}",
        "all",
        all.passed,
        kernel(all.kernel),
        all.scripts
    ));
}

/// Rows that agree, and rows that were asked about, of every kernel.
fn rows() -> BTreeMap<String, (usize, usize)> {
    let mut kernels: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for known in verdicts::all() {
        let (agree, all) = kernels.entry(known.kernel.clone()).or_default();
        *agree += usize::from(known.agrees());
        *all += 1;
    }
    kernels
}

/// Experiments that were reproduced, and all that were asked for, of every kernel.
fn replays() -> BTreeMap<String, (usize, usize)> {
    let mut kernels: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for line in REPLAYS.lines().skip(1) {
        let mut columns = line.split('\t').skip(1);
        let (Some(kernel), Some(verdict)) = (columns.next(), columns.next()) else { continue };
        let (reproduced, all) = kernels.entry(kernel.to_owned()).or_default();
        *reproduced += usize::from(verdict == "reproduced");
        *all += 1;
    }
    kernels
}

/// Lines of a status file that say that a trace agrees (they give the phase of its timer wheel; others a word), and all.
fn traces(list: &str) -> (usize, usize) {
    let lines = || list.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let agrees = |line: &&str| line.rsplit(' ').next().is_some_and(|phase| phase.parse::<i64>().is_ok());
    (lines().filter(agrees).count(), lines().count())
}

/// The scripts below a folder; that there are none is an error.
fn scripts(dir: &Path) -> io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(dir)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let paths = suite::find(dir)?;
    if paths.is_empty() {
        Err(io::Error::other("no scripts (*.pkt) in this folder or below it"))
    } else {
        Ok(paths)
    }
}

/// Runs every script below a folder on our stack, and on this machine's kernel if asked.
fn count(dir: &Path, paths: Vec<PathBuf>, judge: bool) -> BTreeMap<String, Folder> {
    let cases: Vec<Case> = paths.into_iter().map(|path| Case { path, variant: Variant::Plain }).collect();
    let passed = |host: &dyn Host, jobs: usize| {
        let ran = suite::run_all(&cases, &[], host, jobs, &|_| {});
        ran.into_iter().map(|ran| (folder(dir, &ran.case.path), Count::of([&ran]).passed))
    };
    let mut folders: BTreeMap<String, Folder> = BTreeMap::new();
    // The clock of `drill`, whose figures these are.
    let granularity = Granularity::Wheel { hz: 1000 };
    let stack = StackHost { profile: KernelProfile::default(), granularity, seed: 1 };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for (name, passed) in passed(&stack, cores) {
        let folder = folders.entry(name).or_default();
        folder.passed += passed;
        folder.scripts += 1;
    }
    if judge {
        // One at a time: a kernel's clock is the machine's.
        for (name, passed) in passed(&Kernel, 1) {
            *folders.entry(name).or_default().kernel.get_or_insert(0) += passed;
        }
    }
    folders
}

/// What a script's folder is called: its path below `dir`.
fn folder(dir: &Path, script: &Path) -> String {
    let parent: PathBuf =
        script.strip_prefix(dir).unwrap_or(script).parent().map(Path::to_owned).unwrap_or_default();
    let parts: Vec<String> = parent.iter().map(|p| p.to_string_lossy().into_owned()).collect();
    if parts.is_empty() { ".".into() } else { parts.join("/") }
}

fn text(folders: &BTreeMap<String, Folder>) -> String {
    let line = |(name, f): (&String, &Folder)| {
        let kernel = f.kernel.map_or(String::new(), |n| n.to_string());
        format!("{name}\t{}\t{kernel}\t{}\n", f.passed, f.scripts)
    };
    format!("{HEADER}\n") + &folders.iter().map(line).collect::<String>()
}

fn read(text: &str) -> BTreeMap<String, Folder> {
    let lines = text.lines().filter(|line| *line != HEADER);
    let folder = |line: &str| {
        let [name, passed, kernel, scripts] = line.split('\t').collect::<Vec<_>>().try_into().ok()?;
        let folder = Folder {
            passed: passed.parse().ok()?,
            kernel: if kernel.is_empty() { None } else { Some(kernel.parse().ok()?) },
            scripts: scripts.parse().ok()?,
        };
        Some((name.to_owned(), folder))
    };
    lines.filter_map(folder).collect()
}

fn json_of(folders: &BTreeMap<String, Folder>) -> serde_json::Value {
    let rows = rows()
        .into_iter()
        .map(|(kernel, (agree, all))| json!({ "kernel": kernel, "agree": agree, "rows": all }));
    let traces = TRACES.map(|(kernel, list)| {
        let (agree, all) = traces(list);
        json!({ "kernel": kernel, "agree": agree, "traces": all })
    });
    let experiments = replays()
        .into_iter()
        .map(|(kernel, (reproduced, all))| json!({ "kernel": kernel, "reproduced": reproduced, "experiments": all }));
    let packetdrill = folders.iter().map(
        |(name, f)| json!({ "folder": name, "passed": f.passed, "kernel": f.kernel, "scripts": f.scripts }),
    );
    json!({
        "catalogue": rows.collect::<Vec<_>>(),
        "traces": traces,
        "experiments": experiments.collect::<Vec<_>>(),
        "packetdrill": packetdrill.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let folders = BTreeMap::from([
            ("tcp/sack".to_owned(), Folder { passed: 4, kernel: Some(5), scripts: 6 }),
            ("tcp/ecn".to_owned(), Folder { passed: 1, kernel: None, scripts: 1 }),
        ]);
        assert_eq!(read(&text(&folders)), folders);
    }

    #[test]
    fn the_kept_figures_can_be_read() {
        assert_eq!(read(PACKETDRILL).len(), PACKETDRILL.lines().count() - 1);
        for (name, f) in read(PACKETDRILL) {
            assert!(f.passed <= f.scripts && f.kernel.is_none_or(|n| n <= f.scripts), "{name}: {f:?}");
        }
        for (kernel, list) in TRACES {
            let (agree, all) = traces(list);
            assert!(agree <= all && all >= 260, "{kernel}: {agree} of {all}");
        }
        assert_eq!(traces("# about\na 2700\nb not-yet\nc noise\nd 0\n"), (2, 4));
    }
}
