//! Many scripts: found in folders, run side by side, each on a fresh host, in one or several kinds of address.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant as Clock};

use crate::config::{Config, OptionError};
use crate::run::{Fault, Outcome, Verdict, run};
use crate::target::Host;

/// Folders in folders.
const MAX_DEPTH: usize = 16;
/// Longest script; those of packetdrill's own suite have a thousandth of it.
const MAX_BYTES: u64 = 4 << 20;
/// Scripts of one run.
const MAX_SCRIPTS: usize = 100_000;

/// A way to run a script: packetdrill's `run_all.py` has three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// As packetdrill does when it is told nothing: IPv4.
    Plain,
    /// `--ip_version=ipv4` with the suite's addresses and symbols.
    V4,
    /// `--ip_version=ipv4-mapped-ipv6`
    Mapped,
    /// `--ip_version=ipv6 --mtu=1520`
    V6,
}

impl Variant {
    /// As written on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Plain => "plain",
            Variant::V4 => "ipv4",
            Variant::Mapped => "ipv4-mapped-ipv6",
            Variant::V6 => "ipv6",
        }
    }

    /// The variant of that name.
    pub fn parse(name: &str) -> Option<Variant> {
        [Variant::Plain, Variant::V4, Variant::Mapped, Variant::V6].into_iter().find(|v| v.name() == name)
    }

    /// The options that the suite's own runner passes.
    fn options(self) -> Vec<(&'static str, &'static str)> {
        let v4 = [
            ("local_ip", "192.168.0.1"),
            ("gateway_ip", "192.168.0.1"),
            ("netmask_ip", "255.255.0.0"),
            ("remote_ip", "192.0.2.1"),
            ("define", "TFO_COOKIE=3021b9d889017eeb"),
            ("define", "TFO_COOKIE_ZERO=b7c12350a90dc8f5"),
            ("define", "CODE=host_unreachable"),
        ];
        let ip = ("define", "CMSG_LEVEL_IP=SOL_IP");
        let (ipv6, error6) =
            (("define", "CMSG_LEVEL_IP=SOL_IPV6"), ("define", "CMSG_TYPE_RECVERR=IPV6_RECVERR"));
        let error = ("define", "CMSG_TYPE_RECVERR=IP_RECVERR");
        match self {
            Variant::Plain => v4[4..].iter().copied().chain([ip, error]).collect(),
            Variant::V4 => [("ip_version", "ipv4")].into_iter().chain(v4).chain([ip, error]).collect(),
            Variant::Mapped => {
                [("ip_version", "ipv4-mapped-ipv6")].into_iter().chain(v4).chain([ipv6, error6]).collect()
            }
            Variant::V6 => vec![
                ("ip_version", "ipv6"),
                ("mtu", "1520"),
                ("local_ip", "fd3d:0a0b:17d6::1"),
                ("gateway_ip", "fd3d:0a0b:17d6:8888::1"),
                ("remote_ip", "fd3d:fa7b:d17d::1"),
                ("define", "TFO_COOKIE=c1d1e9742a47a9bc"),
                ("define", "TFO_COOKIE_ZERO=82af1a8f9a205c34"),
                ipv6,
                error6,
            ],
        }
    }
}

/// One script in one variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The file.
    pub path: PathBuf,
    /// How.
    pub variant: Variant,
}

/// A case that was run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Which.
    pub case: Case,
    /// How it went.
    pub outcome: Outcome,
    /// What it took on the machine's clock.
    pub took: Duration,
}

/// The scripts (`*.pkt`) of a file or folder, sorted.
pub fn find(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(path, 0, &mut found)?;
    found.sort();
    Ok(found)
}

fn walk(path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !std::fs::metadata(path)?.is_dir() {
        found.push(path.to_owned());
        return Ok(());
    }
    if depth > MAX_DEPTH || found.len() > MAX_SCRIPTS {
        return Err(std::io::Error::other("too many folders or scripts"));
    }
    for entry in std::fs::read_dir(path)? {
        let entry = entry?.path();
        if entry.is_dir() {
            walk(&entry, depth + 1, found)?;
        } else if entry.extension().is_some_and(|e| e == "pkt") {
            found.push(entry);
        }
    }
    Ok(())
}

/// What the variant and the caller say.
fn configure(
    config: &mut Config,
    case: &Case,
    options: &[(String, Option<String>)],
) -> Result<(), OptionError> {
    for (name, value) in case.variant.options() {
        config.set(name, Some(value))?;
    }
    for (name, value) in options {
        config.set(name, value.as_deref())?;
    }
    Ok(())
}

fn stopped(verdict: Verdict) -> Outcome {
    Outcome { verdict, happened: Vec::new(), warnings: Vec::new(), target: String::new(), usecs: 0 }
}

fn fault(line: u32, message: impl ToString) -> Fault {
    Fault { line, message: message.to_string(), details: Vec::new() }
}

/// Options of a case, as another judge of the same script wants them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Those of the variant and the command line.
    pub given: Vec<(String, Option<String>)>,
    /// The script's own, then those, which win.
    pub all: Vec<(String, Option<String>)>,
}

/// The options that a case runs with; a script that cannot be read has none of its own.
pub fn effective_options(case: &Case, options: &[(String, Option<String>)]) -> Options {
    let variant = case.variant.options();
    let mut given: Vec<_> = variant.into_iter().map(|(n, v)| (n.to_owned(), Some(v.to_owned()))).collect();
    given.extend(options.iter().cloned());
    let mut config = Config::default();
    let script = read(&case.path).ok().and_then(|text| {
        configure(&mut config, case, options).ok()?;
        crate::parse(&text, &config.defines).ok()
    });
    let own = script.map_or_else(Vec::new, |script| script.options);
    Options { all: own.into_iter().chain(given.iter().cloned()).collect(), given }
}

/// A script's text. Comments may be in any encoding; what has a zero byte is no text at all.
fn read(path: &Path) -> std::io::Result<String> {
    // One more than the most tells too long from just right.
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.contains(&0) {
        return Err(std::io::Error::other("no script: it has bytes that are no text"));
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::other(format!("longer than {MAX_BYTES} bytes: no script")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Runs one script, again when only its time was wrong (a packet that is late enough does not come at all) and the host's clock is the machine's.
pub fn run_case(case: &Case, options: &[(String, Option<String>)], host: &dyn Host) -> Outcome {
    let mut outcome = run_once(case, options, host);
    for _ in 1..host.tries() {
        match &outcome.verdict {
            Verdict::Failed(fault)
                if fault.message.contains("timing error") || fault.message.contains("Timed out") => {}
            _ => break,
        }
        outcome = run_once(case, options, host);
    }
    outcome
}

/// `options` are the command line's; they win over the script's own.
fn run_once(case: &Case, options: &[(String, Option<String>)], host: &dyn Host) -> Outcome {
    let text = match read(&case.path) {
        Ok(text) => text,
        Err(e) => return stopped(Verdict::Failed(fault(0, e))),
    };
    let mut config = Config::default();
    if let Err(e) = configure(&mut config, case, options) {
        return stopped(Verdict::Failed(fault(0, e)));
    }
    let script = match crate::parse(&text, &config.defines) {
        Ok(script) => script,
        Err(e) => return stopped(Verdict::Failed(fault(e.line, format!("parse error: {}", e.message)))),
    };
    for (name, value) in &script.options {
        match config.set(name, value.as_deref()) {
            Ok(()) => {}
            Err(e @ OptionError::Unsupported(_)) => return stopped(Verdict::Unsupported(fault(1, e))),
            Err(e) => return stopped(Verdict::Failed(fault(1, e))),
        }
    }
    // What the command line says wins.
    if let Err(e) = configure(&mut config, case, options) {
        return stopped(Verdict::Failed(fault(0, e)));
    }
    if config.dry_run {
        return stopped(Verdict::Passed);
    }
    let dir = match case.path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    };
    match host.make(&config) {
        Ok(mut target) => run(&script, &config, &dir, target.as_mut()),
        Err(e) => stopped(Verdict::Failed(fault(0, format!("cannot make the host: {e}")))),
    }
}

/// Runs all cases on `jobs` threads; `done` hears of each as it ends. The results have the cases' order.
pub fn run_all(
    cases: &[Case],
    options: &[(String, Option<String>)],
    host: &dyn Host,
    jobs: usize,
    done: &(dyn Fn(&Ran) + Sync),
) -> Vec<Ran> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Ran>>> = Mutex::new(vec![None; cases.len()]);
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, cases.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(at) else { return };
                    let start = Clock::now();
                    let outcome = run_case(case, options, host);
                    let ran = Ran { case: case.clone(), outcome, took: start.elapsed() };
                    done(&ran);
                    results.lock().expect("no thread panics while it holds this")[at] = Some(ran);
                }
            });
        }
    });
    let results = results.into_inner().expect("all threads ended");
    results.into_iter().map(|r| r.expect("every case was run")).collect()
}
