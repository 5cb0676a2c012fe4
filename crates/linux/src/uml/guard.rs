//! Starts the kernel, and ends it and removes its folder when whoever asked for it is gone, however that went.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::mpsc;
use std::time::Duration;

use crate::sys;

/// The word on the command line that makes a binary a guard: the folder follows, then the kernel and its arguments.
pub(super) const GUARD_WORD: &str = "__uml_guard";

/// How often the end of the kernel is looked for.
const LOOK: Duration = Duration::from_millis(2);

/// Runs the kernel to its end, or to the end of our standard input: the other end of that pipe is held by the process
/// that wants the kernel, and closed with it.
pub(super) fn guard(mut args: impl Iterator<Item = String>) -> ExitCode {
    let (Some(dir), Some(kernel)) = (args.next(), args.next()) else {
        eprintln!("{GUARD_WORD} FOLDER KERNEL ARGUMENTS");
        return ExitCode::FAILURE;
    };
    let (gone, asker) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        // Nothing is ever written: this ends when the pipe does.
        let _ = std::io::stdin().read(&mut [0]);
        drop(gone);
    });
    let started = Command::new(&kernel)
        .args(args)
        .current_dir(&dir)
        .stdin(std::process::Stdio::null())
        .process_group(0)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(e) => {
            eprintln!("{kernel}: {e}");
            return ExitCode::FAILURE;
        }
    };
    loop {
        if let Ok(Some(_)) = child.try_wait() {
            // What it ran are processes of the machine, too.
            sys::kill_group(child.id());
            return ExitCode::SUCCESS;
        }
        if let Err(mpsc::RecvTimeoutError::Disconnected) = asker.recv_timeout(LOOK) {
            sys::kill_group(child.id());
            let _ = child.wait();
            // The asker removes it too, if it still can.
            let _ = std::fs::remove_dir_all(PathBuf::from(dir));
            return ExitCode::FAILURE;
        }
    }
}
