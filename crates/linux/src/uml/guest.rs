//! Process 1 of a User-Mode Linux kernel: mounts, one program, power off.
#![expect(unsafe_code, reason = "mount(2) and reboot(2) have no safe wrapper in std")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use super::boot::{ERRORS, FAILURE, JOB, OUTPUT, STATUS, Task};
use super::guard::{GUARD_WORD, guard};
use crate::sys;

/// The word on the command line that makes a binary process 1 of the kernel.
pub(super) const GUEST_WORD: &str = "__uml";

/// Where the job's folder of the machine outside is mounted.
pub(super) const INSIDE: &str = "/run/wirelab";

/// Whether this process runs in a User-Mode Linux kernel, where time is virtual (`time-travel=` on its command line).
pub fn is_guest() -> bool {
    std::fs::read_to_string("/proc/cmdline").is_ok_and(|line| line.contains("time-travel="))
}

/// Runs as process 1 (`argv[1] == "__uml"`), or as the process that guards a kernel, when the command line asks for it;
/// returns `None` otherwise. Call it in `main` before [`crate::agent_main`].
pub fn guest_main() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1).map_while(|arg| arg.into_string().ok());
    match args.next()?.as_str() {
        GUEST_WORD => {}
        GUARD_WORD => return Some(guard(args)),
        _ => return None,
    }
    let job = args.next().unwrap_or_default();
    if std::process::id() != 1 {
        eprintln!("{GUEST_WORD} is process 1 of a User-Mode Linux kernel, and nothing else");
        return Some(ExitCode::FAILURE);
    }
    if let Err(e) = run(&job) {
        eprintln!("{e}");
        // Without the job's folder the console is all there is.
        let _ = std::fs::write(Path::new(INSIDE).join(FAILURE), e.to_string());
    }
    power_off();
    Some(ExitCode::FAILURE)
}

/// How long the kernel is up when the program starts: a multiple of every timer wheel's tick, and well past second 0,
/// which the kernel takes for "never" (`ts_recent_stamp`).
const UPTIME_NS: u64 = 10_000_000_000;

fn run(job: &str) -> io::Result<()> {
    // A root without /dev in it has what it needs in devtmpfs; /run is where nothing of the machine is wanted.
    mount("proc", "/proc", "proc", "")?;
    mount("sysfs", "/sys", "sysfs", "")?;
    mount("devtmpfs", "/dev", "devtmpfs", "")?;
    mount("tmpfs", "/run", "tmpfs", "mode=755")?;
    std::fs::create_dir(INSIDE)?;
    mount("job", INSIDE, "hostfs", job)?;
    // As where tunnels are modules: a new namespace has `lo` and nothing else.
    std::fs::write("/proc/sys/net/core/fb_tunnels_only_for_init_net", "1")?;
    sys::exact_timers();
    std::thread::sleep(Duration::from_nanos(UPTIME_NS.saturating_sub(sys::monotonic_ns())));
    let dir = Path::new(INSIDE);
    let task: Task = serde_json::from_slice(&std::fs::read(dir.join(JOB))?).map_err(io::Error::other)?;
    // Programs expect to write there; what the machine has there is only seen when the task is about it.
    let named = [&task.program, &task.cwd].into_iter().chain(&task.args);
    if !named.into_iter().any(|text| text.starts_with("/tmp")) {
        mount("tmpfs", "/tmp", "tmpfs", "mode=1777")?;
    }
    let mut child = Command::new(&task.program)
        .args(&task.args)
        .env_clear()
        .envs(task.env.iter().map(|(k, v)| (k, v)))
        .current_dir(&task.cwd)
        .stdin(Stdio::null())
        .stdout(File::create(dir.join(OUTPUT))?)
        .stderr(File::create(dir.join(ERRORS))?)
        .spawn()
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", task.program)))?;
    let status = child.wait()?;
    std::fs::write(dir.join(STATUS), status.code().unwrap_or(-1).to_string())
}

fn mount(source: &str, target: &str, kind: &str, data: &str) -> io::Result<()> {
    let text = |s: &str| CString::new(s).map_err(io::Error::other);
    let (from, to, fs, options) = (text(source)?, text(target)?, text(kind)?, text(data)?);
    // SAFETY: four NUL-terminated strings that outlive the call.
    let ret = unsafe { libc::mount(from.as_ptr(), to.as_ptr(), fs.as_ptr(), 0, options.as_ptr().cast()) };
    sys::check(ret).map(drop).map_err(|e| io::Error::new(e.kind(), format!("mount {target}: {e}")))
}

/// Ends the kernel, and with it this process.
fn power_off() {
    // SAFETY: no memory of ours is involved; as process 1 of our own kernel nobody else is either.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
}
