//! One TUN device in a network namespace of its own, and two threads of this process that make system calls there.
//!
//! For conformance scripts, which play the peer themselves: no world, no agent, no other process between the script and the
//! kernel, so that events are as punctual as the machine lets them be. A namespace belongs to a thread, so
//! the rest of the process stays where it is; descriptors belong to the process, so that both threads and the
//! driver share them. Linux: `unshare(2)`, drivers/net/tun.c, packet(7).

mod device;
pub mod files;
mod worker;

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use wire::Instant;

use crate::error::LinuxError;
use crate::permission;
use crate::sys;
use device::Device;
use worker::Worker;

/// How long a call or a command of the main thread may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a started call may take until it sleeps.
const STARTING: Duration = Duration::from_millis(200);

/// A recent time of the wall clock, as [`TunHost::now`] had it; nanoseconds both.
pub fn clock_of_wall(wall_ns: u64) -> u64 {
    sys::monotonic_of_realtime(wall_ns)
}

/// What a shell command gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellOutput {
    /// Its exit status; `None` when a signal ended it.
    pub status: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// A namespace with `tun0`, whose calls answer with an `R`. Everything is gone when it is dropped, but for descriptors that
/// calls have made.
pub struct TunHost<R> {
    device: Device,
    main: Worker<R>,
    second: Worker<R>,
    shell: Worker<io::Result<ShellOutput>>,
    /// The thread that made it drives the script: it must be punctual too.
    _urgent: sys::Urgent,
}

impl<R: Send + 'static> TunHost<R> {
    /// Makes the namespace, `lo` and `tun0` (up, with that MTU), then runs these lines of `ip -batch`.
    ///
    /// # Errors
    /// No permission, or what `ip` said to a line.
    pub fn new(mtu: u32, ip_batch: &str) -> Result<TunHost<R>, LinuxError> {
        let setup: Worker<Result<(Device, worker::Namespace), LinuxError>> = Worker::start(None);
        let batch = ip_batch.to_owned();
        let made = setup.call(move || make(mtu, &batch), PATIENCE);
        let (device, namespace) = made.unwrap_or_else(|| Err(hung("making the namespace")))?;
        Ok(TunHost {
            device,
            main: Worker::start(Some(namespace.clone())),
            second: Worker::start(Some(namespace.clone())),
            shell: Worker::start(Some(namespace)),
            _urgent: sys::Urgent::new(),
        })
    }

    /// `CLOCK_MONOTONIC`.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(sys::monotonic_ns())
    }

    /// Sleeps until then.
    pub fn sleep_until(&self, at: Instant) {
        sys::sleep_until(at.as_nanos());
    }

    /// The next packet that left by `tun0`, from the IP header on, and when; waits for it until `deadline`.
    /// Segmentation is left to the device, as with packetdrill: a packet can be larger than the MTU.
    ///
    /// # Errors
    /// The packet socket's.
    pub fn receive(&self, deadline: Instant) -> io::Result<Option<(Instant, Vec<u8>)>> {
        self.device.receive(deadline.as_nanos()).map(|p| p.map(|(ns, b)| (Instant::from_nanos(ns), b)))
    }

    /// A packet arrives at `tun0`.
    ///
    /// # Errors
    /// The device did not take it.
    pub fn inject(&self, packet: &[u8]) -> io::Result<()> {
        self.device.inject(packet)
    }

    /// Makes a call in the namespace. `None` when it has not returned after a minute.
    pub fn call(&self, job: impl FnOnce() -> R + Send + 'static) -> Option<R> {
        self.main.call(job, PATIENCE)
    }

    /// Starts a call in the second thread; returns when it sleeps or has returned.
    pub fn start(&self, job: impl FnOnce() -> R + Send + 'static) {
        self.second.send(job);
        self.second.wait_until_asleep(STARTING);
    }

    /// What became of the started call, and when it returned; waits for it until then.
    pub fn finished(&self, until: Instant) -> Option<(Instant, R)> {
        let left = until.saturating_since(self.now());
        self.second.answer(left).map(|(ns, r)| (Instant::from_nanos(ns), r))
    }

    /// Runs a shell command in the namespace and the folder.
    ///
    /// # Errors
    /// There is no shell, or it has not ended after a minute.
    pub fn shell(&self, text: &str, dir: &Path) -> io::Result<ShellOutput> {
        let (text, dir) = (text.to_owned(), dir.to_owned());
        let run = move || {
            let mut sh = Command::new("/bin/sh");
            sh.arg("-c").arg(text).current_dir(dir).stdin(Stdio::null());
            // packetdrill's scripts name their restore files by it.
            sh.env("PACKETDRILL_PID", std::process::id().to_string());
            let output = sh.output()?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
            Ok(ShellOutput { status: output.status.code(), stdout, stderr })
        };
        self.shell.call(run, PATIENCE).unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// What the set-up thread does.
fn make(mtu: u32, batch: &str) -> Result<(Device, worker::Namespace), LinuxError> {
    let namespace = worker::Namespace::enter_new()
        .map_err(|e| permission::explain("drill", "unshare(CLONE_NEWNET)", e.raw_os_error().unwrap_or(0)))?;
    let device = Device::create("tun0", mtu)?;
    let mut ip = Command::new("ip");
    ip.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = ip.spawn().map_err(LinuxError::io("start ip"))?;
    let stdin = child.stdin.take().expect("piped above");
    io::Write::write_all(&mut &stdin, batch.as_bytes()).map_err(LinuxError::io("write to ip"))?;
    drop(stdin);
    let output = child.wait_with_output().map_err(LinuxError::io("wait for ip"))?;
    if !output.status.success() {
        return Err(LinuxError::Setup {
            host: "drill".into(),
            what: format!("ip -batch: {}", String::from_utf8_lossy(&output.stderr).trim()),
            hint: None,
        });
    }
    Ok((device, namespace))
}

fn hung(doing: &str) -> LinuxError {
    LinuxError::io(doing)(io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests;
