//! Our own scripts, one claim a file, on the stack; and scripts that must fail, so that a pass means something.

use std::path::{Path, PathBuf};

use drill::host::StackHost;
use drill::suite::{self, Case, Variant};
use drill::{Verdict, report};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

fn run(path: &Path, variant: Variant) -> Verdict {
    let case = Case { path: path.to_owned(), variant };
    suite::run_case(&case, &[], &StackHost::default()).verdict
}

#[test]
fn every_claim_holds_on_the_stack() {
    let scripts = suite::find(&folder()).expect("the folder is here");
    assert!(scripts.len() >= 8, "only {} scripts", scripts.len());
    for path in scripts {
        let verdict = run(&path, Variant::Plain);
        let fault = report::fault(&verdict).map(|f| report::message(&path.display().to_string(), f));
        assert_eq!(verdict, Verdict::Passed, "{}", fault.unwrap_or_default());
    }
}

#[test]
fn the_same_script_gives_the_same_run_twice() {
    let case = Case {
        path: folder().join("tail-loss-is-probed-after-two-round-trips-and-200-ms.pkt"),
        variant: Variant::V6,
    };
    let (a, b) = (
        suite::run_case(&case, &[], &StackHost::default()),
        suite::run_case(&case, &[], &StackHost::default()),
    );
    assert_eq!(a.happened, b.happened);
    assert!(a.happened.len() > 10);
}

const SERVER: &str = "\
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+0 < S 0:0(0) win 32792 <mss 1000,sackOK,nop,nop,nop,wscale 7>
+0 > S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK,nop,wscale 10>
+.1 < . 1:1(0) ack 1 win 257
+0 accept(3, ..., ...) = 4
";

/// Line and message of what stops `SERVER` plus `rest`.
fn stops(rest: &str) -> (&'static str, u32, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.pkt");
    std::fs::write(&path, format!("{SERVER}{rest}")).expect("written");
    match run(&path, Variant::Plain) {
        Verdict::Passed => ("passed", 0, String::new()),
        Verdict::Failed(fault) => ("failed", fault.line, fault.message),
        Verdict::Unsupported(fault) => ("unsupported", fault.line, fault.message),
    }
}

#[test]
fn what_differs_is_told_in_packetdrills_words() {
    let cases = [
        (
            "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 2\n",
            10,
            "live packet field tcp_ack_seq: expected: 2 (0x2) vs actual: 1 (0x1)",
        ),
        ("+0 write(4, ..., 10) = 11\n", 9, "runtime error in write call: Expected result 11 but got 10"),
        ("+0 read(4, ..., 10) = -1 EAGAIN (x)\n", 9, "it sleeps and nothing can wake it"),
        (
            "+0 write(4, ..., 10) = 10\n+.1 > P. 1:11(10) ack 1\n",
            10,
            "timing error: expected outbound packet at 0.200",
        ),
        ("+0 > P. 1:11(10) ack 1\n", 9, "Timed out waiting for packet"),
        ("+0 %{ assert tcpi_snd_cwnd == 11, 'cwnd %d' % tcpi_snd_cwnd }%\n", 9, "AssertionError: cwnd 10"),
        (
            "+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1 <nop,nop,TS val 1 ecr 2>\n",
            10,
            "tcp_data_offset",
        ),
        ("+0 `false`\n", 9, "returned non-zero status"),
        (
            "+0...0.5 read(4, ..., 1) = 1\n+.1 < P. 1:2(1) ack 1 win 257\n+1 close(4) = 0\n",
            9,
            "timing error: expected system call return at",
        ),
    ];
    for (rest, line, words) in cases {
        let (how, at, message) = stops(rest);
        assert_eq!((how, at), ("failed", line), "{rest}: {message}");
        assert!(message.contains(words), "{rest}: {message}");
    }
}

#[test]
fn what_is_not_understood_is_never_passed_over() {
    let cases = [
        ("+0 `iptables -L`\n", "the command `iptables -L`"),
        ("+0 `sysctl -q net.ipv4.tcp_plb_enabled=1`\n", "does not model"),
        ("+0 %{ import os }%\n", "code not understood"),
        ("+0 frobnicate(4) = 0\n", "unknown system call frobnicate"),
        ("+0 setsockopt(4, SOL_TCP, TCP_WHAT, [1], 4) = 0\n", "unknown symbol TCP_WHAT"),
        ("+0 setsockopt(4, SOL_TCP, TCP_AO_REPAIR, [1], 4) = 0\n", "not modelled"),
        ("+0 > gre: . 1:1(0) ack 1\n", "GRE"),
    ];
    for (rest, words) in cases {
        let (how, line, message) = stops(rest);
        assert_eq!((how, line), ("unsupported", 9), "{rest}: {message}");
        assert!(message.contains(words), "{rest}: {message}");
    }
}

#[test]
fn segments_are_glued_unless_that_is_forbidden() {
    let text = "+0 write(4, ..., 3000) = 3000\n+0 > P. 1:3001(3000) ack 1\n";
    assert_eq!(stops(text).0, "passed");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.pkt");
    std::fs::write(&path, format!("--strict_segments\n{SERVER}{text}")).expect("written");
    assert!(
        matches!(run(&path, Variant::Plain), Verdict::Failed(f) if f.message.contains("expected 3000 bytes vs actual 1000"))
    );
}

#[test]
fn observing_expects_nothing_and_notes_packets_and_tcp_info() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.pkt");
    let script = SERVER.replace("+0 > S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK,nop,wscale 10>\n", "");
    std::fs::write(&path, format!("{script}+0 write(4, ..., 1500) = 7\n+.3 < . 1:1(0) ack 1501 win 257\n"))
        .expect("written");
    let case = Case { path, variant: Variant::Plain };
    let outcome = suite::run_case(&case, &[("observe".into(), None)], &StackHost::default());
    assert_eq!(outcome.verdict, Verdict::Passed);
    let noted: Vec<&str> = outcome.happened.iter().map(|h| h.text.as_str()).collect();
    for words in
        ["S. 0:0(0) ack 1 win 64240", "P. 1001:1501(500) ack 1 win 63", "Expected result 7 but got 1500"]
    {
        assert!(noted.iter().any(|n| n.contains(words)), "{words}: {noted:#?}");
    }
    let last = noted.iter().rfind(|n| n.starts_with("state=")).expect("TCP_INFO is noted");
    assert!(last.contains(" snd_cwnd=") && last.contains(" bytes_acked=1500 "), "{last}");
}

#[test]
fn all_three_kinds_of_address_work() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("x.pkt");
    std::fs::write(&path, format!("{SERVER}+0 write(4, ..., 10) = 10\n+0 > P. 1:11(10) ack 1\n"))
        .expect("written");
    for variant in [Variant::V4, Variant::Mapped, Variant::V6] {
        assert_eq!(run(&path, variant), Verdict::Passed, "{}", variant.name());
    }
}
