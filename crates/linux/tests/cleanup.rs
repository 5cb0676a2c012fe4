//! Whatever ends the driver, nothing of its hosts is left: no process, no interface, no namespace, no mount.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const AGENT: &str = env!("CARGO_BIN_EXE_linux-agent");

/// How long the kernel may take to bury everything.
const BURIAL: Duration = Duration::from_secs(5);

fn permitted(test: &str) -> bool {
    linux::testing::use_agent(AGENT);
    linux::testing::permitted(test)
}

/// What could be left on the machine: interfaces, named namespaces, mounts.
fn machine() -> [BTreeSet<String>; 3] {
    let names = |dir: &str| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect::<BTreeSet<String>>()
    };
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    // Other tests' named namespaces may come and go; ours would carry our name.
    let ours = |names: BTreeSet<String>| names.into_iter().filter(|n| n.contains("wirelab")).collect();
    let mounts = mounts.lines().filter(|m| m.contains("wirelab")).map(str::to_owned).collect();
    let taps = names("/sys/class/net").into_iter().filter(|n| n.starts_with("tap") || n.starts_with("tun"));
    [taps.collect(), ours(names("/run/netns")), mounts]
}

/// Processes that carry `mark` in their environment: the driver and all its descendants.
fn marked(mark: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|e| e.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|b| *b == 0).any(|var| var == format!("WIRELAB_TEST_MARK={mark}").as_bytes())
    })
    .collect()
}

fn driver(mode: &str, mark: &str) -> Child {
    // Under `nohup` and some CI runners SIGINT is ignored, and that is inherited: a terminal's user has the default.
    let mut command = Command::new("env");
    command
        .arg("--default-signal")
        .arg(AGENT)
        .arg(mode)
        .env("WIRELAB_TEST_MARK", mark)
        .env_remove("WIRELAB_AGENT");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until something holds; fails with `what` when it does not in time.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + BURIAL;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn nothing_is_left_after_signal(signal: &str) {
    let mark = format!("{}-{signal}", std::process::id());
    let driver = driver("hold", &mark);
    nothing_is_left_of(driver, &mark, signal);
}

/// `driver` runs the `hold` mode.
fn nothing_is_left_of(mut driver: Child, mark: &str, signal: &str) {
    let before = machine();
    let mut line = String::new();
    BufReader::new(driver.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    // Driver, two waiting agents, two processes 1, the shell and its two sleepers.
    eventually("the commands start", || marked(mark).len() == 8);
    let killed = Command::new("kill").args([format!("-{signal}"), driver.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert!(!driver.wait().unwrap().success());
    eventually(&format!("SIG{signal} leaves processes: {:?}", marked(mark)), || marked(mark).is_empty());
    assert_eq!(machine(), before);
}

#[test]
fn nothing_is_left_after_sigkill() {
    if permitted("nothing_is_left_after_sigkill") {
        nothing_is_left_after_signal("KILL");
    }
}

#[test]
fn nothing_is_left_after_sigint() {
    if permitted("nothing_is_left_after_sigint") {
        nothing_is_left_after_signal("INT");
    }
}

#[test]
fn nothing_is_left_after_sigterm() {
    if permitted("nothing_is_left_after_sigterm") {
        nothing_is_left_after_signal("TERM");
    }
}

#[test]
fn nothing_is_left_after_success() {
    if !permitted("nothing_is_left_after_success") {
        return;
    }
    let before = machine();
    let mark = format!("{}-success", std::process::id());
    let output = driver("once", &mark).wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(marked(&mark), Vec::<u32>::new(), "all were waited for");
    assert_eq!(machine(), before);
}

#[test]
fn nothing_is_left_after_a_host_that_cannot_be_built() {
    if !permitted("nothing_is_left_after_a_host_that_cannot_be_built") {
        return;
    }
    let before = machine();
    for (mode, complaint) in [
        ("bad-sysctl", "h1: sysctl net.ipv4.no_such_sysctl=1: ENOENT"),
        ("bad-command", "h1: `ip addr add 192.0.2.1/24 dev eth7`: Cannot find device \"eth7\""),
        ("bad-interface", "this-name-is-far-too-long"),
    ] {
        let mark = format!("{}-{mode}", std::process::id());
        let output = driver(mode, &mark).wait_with_output().unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(complaint), "{said}");
        assert_eq!(marked(&mark), Vec::<u32>::new(), "all were waited for");
    }
    assert_eq!(machine(), before);
}

/// A copy of the agent that an unprivileged user may run; deleted when dropped.
struct PublicAgent(std::path::PathBuf);

impl PublicAgent {
    fn new(name: &str) -> PublicAgent {
        let dir = std::env::temp_dir().join(format!("wirelab-test-{}-{name}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        std::fs::copy(AGENT, dir.join("agent")).unwrap();
        PublicAgent(dir)
    }

    fn path(&self) -> String {
        self.0.join("agent").display().to_string()
    }
}

impl Drop for PublicAgent {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const NOBODY: &str = "setpriv --reuid 65534 --regid 65534 --clear-groups";

/// Whether a shell command made of `unshare` and `setpriv` works here; what to print when not.
fn skipped(test: &str, needs: &str, command: &str) -> bool {
    let works =
        Command::new("sh").args(["-c", command]).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if !works {
        linux::testing::skip(test, needs);
    }
    !works
}

#[test]
fn a_user_namespace_and_an_open_device_are_enough_and_leave_nothing() {
    let test = "a_user_namespace_and_an_open_device_are_enough_and_leave_nothing";
    let device = "mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200";
    let try_it = format!("unshare -m sh -c '{device} && {NOBODY} unshare -Un true'");
    if skipped(test, "root to begin with, util-linux and unprivileged user namespaces", &try_it) {
        return;
    }
    let agent = PublicAgent::new("userns");
    let mark = format!("{}-userns", std::process::id());
    let script = format!("{device} && exec {NOBODY} {} hold", agent.path());
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]).env("WIRELAB_TEST_MARK", &mark).env_remove("WIRELAB_AGENT");
    let driver =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    nothing_is_left_of(driver, &mark, "KILL");
}

#[test]
fn without_permission_the_reason_and_the_way_out_are_told() {
    let test = "without_permission_the_reason_and_the_way_out_are_told";
    let try_it = format!("unshare -m sh -c 'mount -t tmpfs none /dev/net && {NOBODY} true'");
    if skipped(test, "root to begin with and util-linux", &try_it) {
        return;
    }
    let agent = PublicAgent::new("check");
    for (device, cause, way_out) in [
        ("true", "open /dev/net/tun: ENOENT", "modprobe tun"),
        ("mknod -m 600 /dev/net/tun c 10 200", "open /dev/net/tun: EACCES", "mode 0600"),
    ] {
        let script =
            format!("mount -t tmpfs none /dev/net && {device} && exec {NOBODY} {} check", agent.path());
        let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(!output.status.success(), "{said}");
        // Where user namespaces are closed to users, that is what comes first.
        assert!(said.contains(cause) || said.contains("unshare("), "{said}");
        assert!(said.contains(way_out) || said.contains("user namespaces"), "{said}");
        assert!(said.contains("hint: ") && said.contains("--on stack"), "{said}");
    }
}
