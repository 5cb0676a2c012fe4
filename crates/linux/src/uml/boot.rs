//! Starts a User-Mode Linux kernel for one program, waits for its end, and brings its output out.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::guard::GUARD_WORD;
use super::guest::{GUEST_WORD, INSIDE};
use super::{FIXED, Kernel, UmlError, supported};

/// Files of a job's folder, which both sides see.
pub(super) const JOB: &str = "job.json";
pub(super) const OUTPUT: &str = "stdout";
pub(super) const ERRORS: &str = "stderr";
pub(super) const STATUS: &str = "status";
pub(super) const FAILURE: &str = "failure";
const CONSOLE: &str = "console";

/// The clock on the wall when the kernel starts, seconds since 1970: 2026-01-01. Sequence numbers depend on it.
const START: u64 = 1_767_225_600;

/// The job's folder as the kernel's process sees it. The command line goes into its randomness: it must be the same in
/// every run.
const HERE: &str = "/proc/self/cwd";

/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(2);

/// A program to run in a kernel.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its arguments; the program is this one.
    pub args: Vec<String>,
    /// The longest that it may take on the machine's own clock: a program that never sleeps stops virtual time.
    pub limit: Duration,
}

/// What a job left.
#[derive(Debug)]
pub struct Ran {
    /// The program's exit status.
    pub status: i32,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub stderr: Vec<u8>,
    dir: tempfile::TempDir,
}

impl Ran {
    /// A file that the program wrote under [`Job::file`], as it is named here; gone with this value.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Job {
    /// The path by which the program can write a file that [`Ran::file`] finds.
    pub fn file(name: &str) -> String {
        format!("{INSIDE}/{name}")
    }
}

/// What process 1 is to run.
#[derive(Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) program: String,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) cwd: String,
}

/// Boots `kernel`, runs this program with the job's arguments in it, and waits until it has ended.
///
/// # Errors
/// The kernel does not start, stops by itself, or takes longer than the job may.
pub fn boot(kernel: &Kernel, job: &Job) -> Result<Ran, UmlError> {
    supported()?;
    let dir = tempfile::Builder::new()
        .prefix("wirelab-uml-")
        .tempdir()
        .map_err(UmlError::io("a temporary folder"))?;
    let program = own_path()?;
    let env = ["PATH", "COLUMNS", "NO_COLOR", "LANG", "RUST_BACKTRACE"];
    let task = Task {
        args: job.args.clone(),
        env: env.iter().filter_map(|n| Some(((*n).to_owned(), std::env::var(n).ok()?))).collect(),
        cwd: path_text(&std::env::current_dir().map_err(UmlError::io("this folder"))?)?,
        program: program.clone(),
    };
    let text = serde_json::to_vec(&task).expect("plain data");
    std::fs::write(dir.path().join(JOB), text).map_err(UmlError::io(JOB))?;
    let status = Machine::start(kernel, dir.path(), &program)?.wait(job.limit);
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap_or_default();
    let told = |name: &str| String::from_utf8_lossy(&read(name)).trim().to_owned();
    if let Some(code) = told(STATUS).parse().ok().filter(|_| status.is_ok()) {
        return Ok(Ran { status: code, stdout: read(OUTPUT), stderr: read(ERRORS), dir });
    }
    let console = told(CONSOLE);
    let mut tail: Vec<&str> = console.lines().rev().take(12).collect();
    tail.reverse();
    let what = match (status, told(FAILURE)) {
        (Err(e), _) => e,
        (Ok(()), failure) if !failure.is_empty() => format!("its process 1 failed: {failure}"),
        (Ok(()), _) => "it ended before its program did".to_owned(),
    };
    Err(UmlError {
        what: format!("Linux {} in user mode: {what}", kernel.release),
        hint: (!tail.is_empty()).then(|| format!("its last words were:\n{}", tail.join("\n"))),
        asked_wrongly: false,
    })
}

/// This program as the guest finds it: by its path in the machine's root.
fn own_path() -> Result<String, UmlError> {
    path_text(&std::env::current_exe().map_err(UmlError::io("this program's path"))?)
}

fn path_text(path: &Path) -> Result<String, UmlError> {
    let text = path.to_str().filter(|t| !t.contains(char::is_whitespace));
    text.map(str::to_owned).ok_or_else(|| {
        UmlError::new(
            format!("{} cannot stand on a kernel's command line", path.display()),
            "move it to a path without spaces",
        )
    })
}

/// A running kernel and its guard: ended with this value, and with this process.
struct Machine {
    guard: Child,
}

impl Machine {
    fn start(kernel: &Kernel, dir: &Path, program: &str) -> Result<Machine, UmlError> {
        let console = File::create(dir.join(CONSOLE)).map_err(UmlError::io(CONSOLE))?;
        let errors = console.try_clone().map_err(UmlError::io(CONSOLE))?;
        let guard = Command::new(program)
            .args([GUARD_WORD, &path_text(dir)?])
            .arg(&kernel.path)
            .args(["mem=1024M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro"])
            .args(["time-travel=inf-cpu", "con=null", "con0=null,fd:1", "quiet", "panic=1"])
            .arg(format!("time-travel-start={START}"))
            .arg(format!("uml_dir={HERE}/"))
            .args([&format!("init={program}"), "--", GUEST_WORD, HERE])
            .env("LD_PRELOAD", kernel.path.with_file_name(FIXED))
            .stdin(Stdio::piped())
            .stdout(console)
            .stderr(errors)
            // Ctrl-C is for this process, whose end is the guard's sign.
            .process_group(0)
            .spawn()
            .map_err(UmlError::io(program))?;
        Ok(Machine { guard })
    }

    fn wait(mut self, limit: Duration) -> Result<(), String> {
        let end = Instant::now() + limit;
        loop {
            match self.guard.try_wait() {
                Ok(Some(_)) => return Ok(()),
                Ok(None) if Instant::now() < end => std::thread::sleep(LOOK),
                Ok(None) => return Err(format!("still busy after {} s", limit.as_secs())),
                Err(e) => return Err(format!("waiting for it: {e}")),
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The end of its input tells the guard, which ends the kernel.
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}
