//! Hosts on a User-Mode Linux kernel in virtual time. The kernel takes minutes to build, so where there is none these
//! tests say that they did nothing; `.ci/uml` builds one and runs them all.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use linux::uml;

fn wirelab(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wirelab"));
    command.args(args).stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// Whether there is a kernel; says so when there is not.
fn kernel(test: &str) -> bool {
    let found = uml::find(None);
    if let Err(e) = &found {
        linux::testing::tell(&format!("NOT RUN: {test}: {e}; `wirelab kernel build` makes one"));
    }
    found.is_ok()
}

#[test]
fn without_a_kernel_the_error_says_how_to_make_one() {
    let empty = tempfile::tempdir().expect("a folder");
    let out = wirelab(&["run", "third-ack-lost", "--on", "uml"]).env("XDG_CACHE_HOME", empty.path()).output();
    let out = out.expect("it starts");
    assert_eq!(out.status.code(), Some(3), "{}", text(&out));
    let said = text(&out);
    assert!(cfg!(not(target_arch = "x86_64")) || said.contains("wirelab kernel build"), "{said}");
    let out = wirelab(&["kernel", "list"]).env("XDG_CACHE_HOME", empty.path()).output().expect("it starts");
    assert_eq!((out.status.code(), &out.stdout[..]), (Some(0), &[][..]));
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn a_build_without_tools_names_them_and_leaves_nothing() {
    let empty = tempfile::tempdir().expect("a folder");
    let build = |args: &[&str], path: Option<&str>| {
        let mut command = wirelab(&[&["kernel", "build"], args].concat());
        if let Some(path) = path {
            command.env("PATH", path);
        }
        command.env("XDG_CACHE_HOME", empty.path()).output().expect("it starts")
    };
    let out = build(&[], Some("/nonexistent"));
    let said = text(&out);
    assert_eq!(out.status.code(), Some(3), "{said}");
    for tool in ["make", "flex", "bison", "apt install"] {
        assert!(said.contains(tool), "{said}");
    }
    // What is asked for is wrong, not the machine; unless that has no tools either.
    let out = build(&["--source", "/nonexistent"], None);
    let status = if text(&out).contains("building a kernel needs") { 3 } else { 2 };
    assert_eq!(out.status.code(), Some(status), "{}", text(&out));
    let left: Vec<_> = walk(empty.path())
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|n| n != "kernels"))
        .collect();
    assert!(left.iter().all(|path| path.ends_with("wirelab")), "{left:?}");
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).expect("readable").map(|e| e.expect("an entry").path());
    entries
        .flat_map(|path| if path.is_dir() { [vec![path.clone()], walk(&path)].concat() } else { vec![path] })
        .collect()
}

#[test]
fn a_mix_of_two_kernels_is_refused() {
    let out =
        wirelab(&["run", "third-ack-lost", "--on", "client=linux,server=uml"]).output().expect("it starts");
    assert_eq!(out.status.code(), Some(2), "{}", text(&out));
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    if !kernel("the_same_run_gives_the_same_bytes") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let run = |name: &str| {
        let file = dir.path().join(name);
        let path = file.to_str().expect("a plain path");
        let out =
            wirelab(&["run", "third-ack-lost", "--on", "uml", "--pcap", path]).output().expect("it starts");
        assert!(out.status.success(), "{}", text(&out));
        let said = text(&out).replace(path, "");
        (said, std::fs::read(file).expect("a capture"))
    };
    let (first, second) = (run("a"), run("b"));
    assert_eq!(first.0, second.0);
    assert!(first.1 == second.1, "the captures differ");
    assert!(first.0.contains("SYN-ACK"), "{}", first.0);
}

/// A quarter of an hour of the kernel's time; a real clock would not be done before the test's own limit.
#[test]
fn rows_agree_in_virtual_time() {
    if !kernel("rows_agree_in_virtual_time") {
        return;
    }
    let begin = Instant::now();
    let rows =
        ["link/arp-resolution", "tcp/handshake/third-ack-lost", "tcp/handshake/syn-lost", "udp/udp-header"];
    let mut args = vec!["twin"];
    args.extend(rows);
    let kernel = uml::find(None).expect("just found").release;
    let out = wirelab(&args).args(["--kernel", &kernel]).output().expect("it starts");
    assert!(out.status.success(), "{}", text(&out));
    assert_eq!(text(&out).matches("agrees").count(), rows.len(), "{}", text(&out));
    assert!(begin.elapsed() < Duration::from_secs(100), "syn-lost alone lasts 131 s");
}

/// Where the traces of a 6.12 kernel in virtual time are.
fn traces() -> String {
    format!("{}/../stack/tests/truth/traces-6.12-uml", env!("CARGO_MANIFEST_DIR"))
}

/// Losses of every kind of packet, delays, refusals; on our stack, then on the kernel.
#[test]
fn experiments_behind_the_traces_are_reproduced() {
    let only = ["--only", "1b,2a,3a,4a,5g,10c,10f1"];
    let replay = |on: &str| {
        let out = wirelab(&["replay", &traces(), "--on", on]).args(only).output().expect("it starts");
        assert!(out.status.success(), "on {on}: {}", text(&out));
        assert!(text(&out).contains("7 of 7 reproduced"), "on {on}: {}", text(&out));
    };
    replay("stack");
    if kernel("experiments_behind_the_traces_are_reproduced") {
        replay("uml");
    }
}

#[test]
fn what_is_no_trace_is_said_and_not_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("x.txt");
    let path = file.to_str().expect("a plain path");
    let code = |args: &[&str]| {
        let out = wirelab(&[&["replay"], args].concat()).output().expect("it starts");
        (out.status.code(), text(&out))
    };
    for words in
        ["", "hello", "1.0000 C>S x>y [S", "   [sysctls both={'a\n# nstat C: x=y\n0.0000 INJECT to S: ü"]
    {
        std::fs::write(&file, words).expect("written");
        let (status, said) = code(&[path]);
        assert!(status == Some(0) && said.contains("not expressible"), "{words:?}: {status:?} {said}");
    }
    assert_eq!(code(&["no/such"]).0, Some(2));
    assert_eq!(code(&[path, "--only", "y"]).0, Some(2));
    assert_eq!(code(&[path, "--on", "mars"]).0, Some(2));
}

#[test]
#[cfg(target_os = "linux")]
fn a_killed_parent_leaves_no_kernel_and_no_folder() {
    if !kernel("a_killed_parent_leaves_no_kernel_and_no_folder") {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let mut child = wirelab(&["run", "tcp/handshake/syn-lost", "--on", "uml", "--no-pcap"])
        .env("TMPDIR", dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let jobs = || std::fs::read_dir(dir.path()).expect("readable").count();
    let end = Instant::now() + Duration::from_secs(20);
    while jobs() == 0 {
        assert!(Instant::now() < end, "it never started");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
    while jobs() > 0 {
        assert!(Instant::now() < end, "its folder stays: {:?}", walk(dir.path()));
        std::thread::sleep(Duration::from_millis(5));
    }
}
