//! tshark, which we did not write, reads every capture of the catalogue: no warning, nothing malformed, no wrong
//! checksum, as many packets as NICs saw.

use std::path::Path;
use std::process::Command;

/// Whether tshark is there; in CI it must be.
fn tshark_is_there() -> bool {
    let there = Command::new("tshark").arg("--version").output().is_ok_and(|o| o.status.success());
    if !there {
        linux::testing::skip("every_capture_of_the_catalogue_is_read_without_complaint", "tshark");
    }
    there
}

/// tshark's lines for a capture, and what it says on stderr besides its warning about root.
fn tshark(file: &Path, args: &[&str]) -> (Vec<String>, String) {
    let out = Command::new("tshark").arg("-r").arg(file).args(args).output().expect("tshark runs");
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    let said: Vec<&str> =
        text.lines().filter(|l| !l.contains("Running as user") && !l.trim().is_empty()).collect();
    assert!(out.status.success(), "{}: {text}", file.display());
    (String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect(), said.join("\n"))
}

/// tshark takes half a second to start: an eighth of the catalogue here, all of it on demand.
#[test]
fn captures_of_the_catalogue_are_read_without_complaint() {
    read_every(8);
}

#[test]
#[ignore = "five minutes: cargo test -p wirelab --test tshark -- --ignored"]
fn every_capture_of_the_catalogue_is_read_without_complaint() {
    read_every(1);
}

/// Every `nth` row's capture.
fn read_every(nth: usize) {
    if !tshark_is_there() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut wrong = Vec::new();
    // Every packet stands there as both NICs saw it; putting TCP streams together from both stumbles over that.
    let checks = [
        "-o",
        "tcp.desegment_tcp_streams:FALSE",
        "-o",
        "ip.check_checksum:TRUE",
        "-o",
        "udp.check_checksum:TRUE",
        "-o",
        "tcp.check_checksum:TRUE",
    ];
    for entry in scenario::catalogue::all().iter().step_by(nth) {
        let read = scenario::file::parse(entry.text, &entry.origin()).expect("the catalogue reads");
        let plan = scenario::plan(&read, &scenario::Overrides::default()).expect("the catalogue plans");
        if let Some(why) = plan.unmet_need() {
            println!("SKIPPED: {why}");
            continue;
        }
        let file = dir.path().join(format!("{}.pcapng", entry.short()));
        let out = Command::new(env!("CARGO_BIN_EXE_wirelab"))
            .args(["run", entry.name, "--json", "--pcap"])
            .arg(&file)
            .output()
            .expect("wirelab runs");
        assert!(out.status.success(), "{}: {}", entry.name, String::from_utf8_lossy(&out.stderr));
        let bytes = std::fs::read(&file).expect("the capture was written");
        let capture = wire::capture::read(&bytes).expect("our own reader reads it");

        let (lines, said) = tshark(&file, &[]);
        assert_eq!(said, "", "{}", entry.name);
        assert_eq!(lines.len(), capture.packets.len(), "{}: packets", entry.name);
        // A packet that a fault corrupted is bad on purpose; so are protocols guessed from payload bytes.
        let mut args = checks.to_vec();
        args.extend(["-Y", "(_ws.malformed or ip.checksum.status == 0 or udp.checksum.status == 0 or icmp.checksum.status == 0 \
                            or icmpv6.checksum.status == 0) and not frame.comment contains \"corrupt\""]);
        let (bad, _) = tshark(&file, &args);
        if !bad.is_empty() {
            wrong.push(format!("{}:\n{}", entry.name, bad.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "tshark finds these wrong:\n{}", wrong.join("\n"));
}

/// The secrets are in the capture: nothing else is needed to read what was said.
#[test]
fn tshark_decrypts_what_was_said_behind_tls() {
    if !tshark_is_there() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    for row in ["tls13", "tls12-ecdhe", "tls12-rsa"] {
        let file = dir.path().join(format!("{row}.pcapng"));
        let out = Command::new(env!("CARGO_BIN_EXE_wirelab"))
            .args(["run", row, "--json", "--pcap"])
            .arg(&file)
            .output();
        let out = out.expect("wirelab runs");
        let why = String::from_utf8_lossy(&out.stderr);
        if why.contains("without BoringSSL") {
            println!("SKIPPED: {row}: {why}");
            continue;
        }
        assert!(out.status.success(), "{row}: {why}");
        let (lines, said) = tshark(&file, &["-q", "-z", "follow,tls,ascii,0"]);
        assert_eq!(said, "", "{row}");
        let text = lines.join("\n");
        assert!(text.contains("\nhello\n") && text.contains("\nworld"), "{row}: {text}");
    }
}

/// Both ends' captures hold every QUIC packet twice; one end's is read as tcpdump's would be.
#[test]
fn tshark_decrypts_what_was_said_by_quic() {
    if !tshark_is_there() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    for row in [
        "quic-handshake",
        "retry",
        "zero-rtt",
        "key-update",
        "quic-migration",
        "version-negotiation",
        "http3",
    ] {
        let file = dir.path().join(format!("{row}.pcapng"));
        let out = Command::new(env!("CARGO_BIN_EXE_wirelab"))
            .args(["run", row, "--json", "--pcap-of", "client", "--pcap"])
            .arg(&file)
            .output()
            .expect("wirelab runs");
        assert!(out.status.success(), "{row}: {}", String::from_utf8_lossy(&out.stderr));
        let (closed, said) = tshark(&file, &["-2", "-Y", "quic.decryption_failed or _ws.malformed"]);
        assert_eq!((closed.len(), said.as_str()), (0, ""), "{row}: {closed:?}");
        let (short, _) = tshark(&file, &["-2", "-Y", "quic.header_form == 0"]);
        let (open, _) = tshark(&file, &["-2", "-Y", "quic.header_form == 0 and quic.frame_type"]);
        assert!(!short.is_empty() && open.len() == short.len(), "{row}: {} of {}", open.len(), short.len());
    }
}
