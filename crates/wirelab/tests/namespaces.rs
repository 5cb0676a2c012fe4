//! Hosts on the machine's kernel without root: a user namespace gives what they need, where it is allowed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

const SCRIPT: &str = "\
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 32792 <mss 1000>
+0 > S. 0:0(0) ack 1 <...>
";

/// The program as nobody, with a /dev/net/tun of this mode, as udev makes it with 0666.
fn as_nobody(dir: &Path, tun_mode: &str) -> Output {
    let script = format!(
        "cd {dir} && rm -f tun && mknod tun c 10 200 && chmod {tun_mode} tun && mount --bind tun /dev/net/tun && \
         exec setpriv --reuid 65534 --regid 65534 --clear-groups ./wirelab drill a.pkt --on linux",
        dir = dir.display()
    );
    Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().expect("util-linux")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[test]
fn drill_on_linux_needs_no_root_where_user_namespaces_are_allowed() {
    const TEST: &str = "drill_on_linux_needs_no_root_where_user_namespaces_are_allowed";
    linux::testing::use_agent(env!("CARGO_BIN_EXE_wirelab"));
    let users = std::fs::read_to_string("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    let forbidden = ["kernel/unprivileged_userns_clone", "kernel/apparmor_restrict_unprivileged_userns"]
        .iter()
        .zip(["0", "1"])
        .any(|(knob, no)| std::fs::read_to_string(format!("/proc/sys/{knob}")).is_ok_and(|v| v.trim() == no));
    if users.trim() == "0" || forbidden {
        linux::testing::tell(&format!("NOT RUN: {TEST}: user namespaces are not allowed here"));
        return;
    }
    // Becoming nobody needs root.
    if !linux::testing::permitted(TEST) {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let all = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(dir.path(), all(0o755)).expect("ours");
    let program = dir.path().join("wirelab");
    std::fs::copy(env!("CARGO_BIN_EXE_wirelab"), &program).expect("copied");
    std::fs::set_permissions(&program, all(0o755)).expect("ours");
    std::fs::write(dir.path().join("a.pkt"), SCRIPT).expect("written");
    let out = as_nobody(dir.path(), "666");
    assert!(out.status.success() && text(&out).contains("passed"), "{}", text(&out));
    let out = as_nobody(dir.path(), "600");
    assert_eq!(out.status.code(), Some(3), "{}", text(&out));
    assert!(text(&out).contains("chmod 0666 /dev/net/tun"), "{}", text(&out));
}
