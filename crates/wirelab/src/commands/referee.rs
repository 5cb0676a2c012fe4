//! `drill --referee`: google/packetdrill judges our stack too, through its plug-in interface; do both judges agree?
//!
//! The tool is the user's own build, unmodified and in a process of its own; nothing of it is here. What differs is a mistake of
//! our runner, or of the plug-in: the host, its shell and its clock are the same.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use drill::Verdict;
use drill::report;
use drill::suite::{Case, Ran};

use crate::output::Output;
use crate::{DrillArgs, Exit};

/// A script of an hour takes seconds; one that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a build of crate `drill-so` is called.
const PLUGIN: &str = "libdrill_so.so";

/// What packetdrill said of a case.
struct Judged {
    passed: bool,
    /// Its first line.
    said: String,
}

/// What is wrong, and what to do about it.
type Refused = (String, String);

/// packetdrill with our stack plugged in.
pub(crate) struct Judge {
    tool: PathBuf,
    plugin: PathBuf,
}

impl Judge {
    /// The tool and the plug-in, both there.
    pub(crate) fn find(args: &DrillArgs, tool: &Path) -> Result<Judge, Refused> {
        let plugin = plugin(args)?;
        let hint = "--referee takes the program that google/packetdrill's gtests/net/packetdrill builds";
        let found = tool.canonicalize().and_then(|path| {
            let data = std::fs::metadata(&path)?;
            let runs =
                data.is_file() && std::os::unix::fs::PermissionsExt::mode(&data.permissions()) & 0o111 != 0;
            if runs { Ok(path) } else { Err(std::io::Error::other("it is no program")) }
        });
        let tool = found.map_err(|e| (format!("packetdrill at {}: {e}", tool.display()), hint.into()))?;
        Ok(Judge { tool, plugin })
    }

    /// Runs all cases under packetdrill and compares with our runner's verdicts.
    pub(crate) fn compare(&self, args: &DrillArgs, all: &[Ran], jobs: usize, out: &mut Output) -> Exit {
        let Judge { tool, plugin } = self;
        let next = AtomicUsize::new(0);
        let judged: Mutex<Vec<(usize, Result<Judged, String>)>> = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(ran) = all.get(at) else { return };
                        let result = judge(args, tool, plugin, &ran.case);
                        judged.lock().expect("no thread panics while it holds this").push((at, result));
                    }
                });
            }
        });
        let mut judged = judged.into_inner().expect("all threads ended");
        judged.sort_by_key(|(at, _)| *at);
        tell(all, &judged, out)
    }
}

/// The plug-in: named, or where a build of the workspace puts it, beside this program.
fn plugin(args: &DrillArgs) -> Result<PathBuf, Refused> {
    let (path, hint) = match &args.plugin {
        Some(path) => {
            (path.clone(), "--plugin takes the libdrill_so.so that `cargo build -p drill-so` makes".into())
        }
        None => {
            let here = std::env::current_exe();
            let here =
                here.map_err(|e| (format!("where is this program? {e}"), "--plugin FILE names it".into()))?;
            (here.with_file_name(PLUGIN), build_hint(&here))
        }
    };
    let found = path.canonicalize().and_then(|found| {
        let mut magic = [0; 4];
        File::open(&found)?.read_exact(&mut magic)?;
        // The loader leaves out anything else with a warning, and packetdrill would judge the machine's kernel.
        if magic == *b"\x7fELF" { Ok(found) } else { Err(std::io::Error::other("it is no shared library")) }
    });
    found.map_err(|e| (format!("the plug-in {}: {e}", path.display()), hint))
}

/// How the plug-in comes to lie beside this program.
fn build_hint(program: &Path) -> String {
    let profile = program.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    match profile {
        Some("debug") => "`cargo build -p drill-so` puts it there".into(),
        Some("release") => "`cargo build --release -p drill-so` puts it there".into(),
        _ => format!(
            "`cargo build --release -p drill-so` makes target/release/{PLUGIN}; --plugin FILE names it"
        ),
    }
}

/// One case under packetdrill.
fn judge(args: &DrillArgs, tool: &Path, so: &Path, case: &Case) -> Result<Judged, String> {
    let dir = case.path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = case.path.file_name().ok_or("a script has a name")?;
    let mut command = Command::new(tool);
    command.current_dir(dir).env("LD_PRELOAD", so).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::piped());
    command.arg(format!("--so_filename={}", so.display()));
    let options = drill::suite::effective_options(case, &super::drill::options(args));
    let mut flags = vec![format!("hz={}", args.hz), format!("seed={}", args.seed)];
    flags.extend(args.kernel.as_ref().map(|k| format!("kernel={k}")));
    let of_host = ["ip_version", "local_ip", "gateway_ip", "remote_ip", "netmask_ip", "mtu"];
    for (name, value) in &options.all {
        if let Some(value) = value.as_ref().filter(|_| of_host.contains(&name.as_str())) {
            flags.push(format!("{name}={value}"));
        }
    }
    command.arg(format!("--so_flags={}", flags.join(",")));
    for (name, value) in &options.given {
        match (name.as_str(), value) {
            ("define" | "D", Some(value)) => command.arg("-D").arg(value),
            (_, Some(value)) => command.arg(format!("--{name}={value}")),
            (_, None) => command.arg(format!("--{name}")),
        };
    }
    let mut child = command.arg(name).spawn().map_err(|e| format!("{}: {e}", tool.display()))?;
    let mut said = String::new();
    let mut stderr = child.stderr.take().expect("piped above");
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let passed = wait(&mut child)?;
    if let Ok(text) = reader.join() {
        // What Python says of a failed assertion stands before packetdrill's own words.
        let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
        let own = lines.iter().find(|l| l.contains("rror")).or(lines.first());
        said = own.map_or(String::new(), |l| (*l).to_owned());
    }
    Ok(Judged { passed, said })
}

/// Whether it exited with 0; it is killed when it takes too long.
fn wait(child: &mut Child) -> Result<bool, String> {
    let end = Instant::now() + PATIENCE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Ok(false);
            }
            Err(e) => return Err(format!("wait for packetdrill: {e}")),
        }
    }
}

/// Says where the judges differ.
fn tell(all: &[Ran], judged: &[(usize, Result<Judged, String>)], out: &mut Output) -> Exit {
    let (mut agree, mut passed, mut failed) = (0, 0, 0);
    for (at, theirs) in judged {
        let ran = &all[*at];
        let path = ran.case.path.display().to_string();
        let theirs = match theirs {
            Ok(theirs) => theirs,
            Err(text) => {
                out.error(format_args!("{path}: {text}"), None);
                return Exit::Usage;
            }
        };
        let ours = ran.outcome.verdict == Verdict::Passed;
        if ours == theirs.passed {
            agree += 1;
            *(if ours { &mut passed } else { &mut failed }) += 1;
            continue;
        }
        let word = report::word(&ran.outcome.verdict);
        let why = report::fault(&ran.outcome.verdict).map_or(String::new(), |f| report::message(&path, f));
        let variant = ran.case.variant.name();
        if ours {
            out.line(format_args!("{path} ({variant}): we passed it, packetdrill: {}", theirs.said));
        } else {
            out.line(format_args!("{path} ({variant}): packetdrill passed it, we {word}: {why}"));
        }
    }
    let total = judged.len();
    let counts =
        format!("{agree} of {total} alike ({passed} passed, {failed} not), {} differ", total - agree);
    out.line(out.strong(&format!("both judges on our stack: {counts}")));
    if agree == total { Exit::Ok } else { Exit::Failed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plug_in_is_built_as_the_running_program_was() {
        assert!(build_hint(Path::new("target/debug/wirelab")).starts_with("`cargo build -p drill-so`"));
        assert!(build_hint(Path::new("target/release/wirelab")).starts_with("`cargo build --release"));
        let installed = build_hint(Path::new("/usr/bin/wirelab"));
        assert!(installed.contains("target/release/libdrill_so.so") && installed.contains("--plugin FILE"));
    }
}
