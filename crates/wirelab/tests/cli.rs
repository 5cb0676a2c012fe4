//! The commands as a user runs them: what stands on stdout, what on stderr, the exit status, the files left behind.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs wirelab in an empty folder of its own.
fn wirelab(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wirelab")).args(args).current_dir(dir).output().expect("it starts")
}

fn stdout(out: &Output) -> String {
    String::from_utf8(out.stdout.clone()).expect("UTF-8")
}

fn stderr(out: &Output) -> String {
    String::from_utf8(out.stderr.clone()).expect("UTF-8")
}

fn json(out: &Output) -> Value {
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", stdout(out), stderr(out)))
}

fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("readable");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn run_prints_the_ladder_why_and_writes_the_capture() {
    let dir = temp();
    let out = wirelab(dir.path(), &["run", "arp-resolution"]);
    assert!(out.status.success(), "{}", stderr(&out));
    let text = stdout(&out);
    for part in
        ["who-has 192.0.2.2", "INCOMPLETE", "REACHABLE", "STALE", "PROBE", "why ", "decides ", "capture "]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(text.lines().all(|l| l.chars().count() <= 100), "lines fit 100 columns:\n{text}");
    assert_eq!(files(dir.path()), ["arp-resolution.pcapng"]);
    let bytes = std::fs::read(dir.path().join("arp-resolution.pcapng")).expect("readable");
    let capture = wire::capture::read(&bytes).expect("our reader reads it");
    assert!(capture.problem.is_none() && capture.packets.len() >= 7);
}

#[test]
fn ascii_and_quiet_do_what_they_say() {
    let dir = temp();
    let out = wirelab(dir.path(), &["run", "arp-resolution", "--ascii", "--no-pcap"]);
    let ladder: String = stdout(&out).lines().skip(1).collect();
    assert!(ladder.contains("->"), "{ladder}");
    assert!(!ladder.contains('▶') && !ladder.contains('─'), "{ladder}");
    let out = wirelab(dir.path(), &["run", "arp-resolution", "--quiet"]);
    assert!(out.status.success() && out.stdout.is_empty() && out.stderr.is_empty());
    assert!(files(dir.path()).is_empty(), "nothing was asked for");
}

#[test]
fn the_same_seed_gives_the_same_bytes_in_two_processes() {
    let dir = temp();
    for name in ["arp-resolution", "udp-vs-tcp", "ndp", "nat"] {
        let mut runs = Vec::new();
        for file in ["a.pcapng", "b.pcapng"] {
            let out = wirelab(dir.path(), &["run", name, "--json", "--seed", "7", "--pcap", file]);
            let mut value = json(&out);
            value["capture"] = Value::Null;
            let bytes = std::fs::read(dir.path().join(file)).expect("written");
            runs.push((value.to_string(), bytes));
        }
        assert!(runs[0] == runs[1], "{name} differs between two processes");
    }
}

#[test]
fn a_change_prints_what_differs_and_a_broken_expectation_fails() {
    let dir = temp();
    let args = ["run", "arp-resolution", "--drop", "server: 1st arp.opcode == 2", "--no-pcap"];
    let out = wirelab(dir.path(), &args);
    let text = stdout(&out);
    assert!(text.contains("changed against the file's own run"), "{text}");
    assert!(text.contains("dropped by fault 1"), "{text}");
    assert_eq!(out.status.code(), Some(1), "the answer no longer comes after 2 ms");
    assert!(stderr(&out).contains("expected (line"), "{}", stderr(&out));
}

#[test]
fn a_sysctl_changes_the_answer() {
    let dir = temp();
    let set = "client:net.ipv4.neigh.lan.mcast_solicit=1";
    let wrong = wirelab(dir.path(), &["run", "arp-no-answer", "--no-pcap", "--set", set]);
    assert_eq!(wrong.status.code(), Some(2), "there is no interface `lan`: {}", stderr(&wrong));
    let set = "client:net.ipv4.neigh.eth0.mcast_solicit=1";
    let out = wirelab(dir.path(), &["run", "arp-no-answer", "--json", "--set", set]);
    let requests = |value: &Value| {
        let rows = value["ladder"]["rows"].as_array().expect("rows").clone();
        rows.iter().filter(|r| r.to_string().contains("who-has")).count()
    };
    let own = json(&wirelab(dir.path(), &["run", "arp-no-answer", "--json", "--unfold"]));
    assert!(requests(&json(&out)) < requests(&own), "fewer requests with mcast_solicit=1");
}

#[test]
fn a_fault_that_never_fires_fails_the_run() {
    let dir = temp();
    let out = wirelab(dir.path(), &["run", "arp-resolution", "--quiet", "--drop", "client: 99th arp"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("never fired"), "{}", stderr(&out));
}

#[test]
fn wrong_words_are_named_and_the_right_ones_suggested() {
    let cases: [(&[&str], &str, &str); 26] = [
        (&["run", "arp-resolutio"], "arp-resolutio", "did you mean `arp-resolution`?"),
        (&["run", "no/such.toml"], "no/such.toml", "No such file"),
        (&["run", "ping", "--set", "clint:net.ipv4.ip_forward=1"], "clint", "did you mean `client`?"),
        (&["run", "ping", "--set", "client:net.ipv4.ip_forwart=1"], "ip_forwart", "ip_forward"),
        (&["run", "ping", "--drop", "icmp.typ == 8"], "icmp.typ", "icmp.type"),
        (&["run", "ping", "--drop", "nobody: icmp"], "nobody", "client"),
        (&["run", "ping", "--on", "linx"], "linx", "stack, linux"),
        (&["run", "ping", "--kernel", "9.9"], "9.9", "6.18"),
        (&["ladder", "no.pcap"], "no.pcap", "No such file"),
        (&["run", "ping", "--seed", "-1"], "-1", "a whole number from 0 to"),
        (&["run", "ping", "--seed", "abc"], "abc", "a whole number from 0 to"),
        (&["run", "ping", "--on", "nobody=linux"], "nobody", "client"),
        (&["run", "ping", "--drop", "client: tcp &&"], "--drop:1:15", "a field is expected"),
        (&["run", "ping", "--delay", "soon icmp"], "`soon` is no duration", "such as 10ms"),
        (&["run", "ping", "--set", "client:=1"], "no sysctl", "such as net.ipv4.ip_default_ttl"),
        (&["run", "ping", "--pcap-of", "nobody"], "nobody", "known: client"),
        (&["show", "third-ack-lst"], "third-ack-lst", "hint: did you mean `third-ack-lost`?"),
        (&["show", ""], "``", "hint: `wirelab list`"),
        (&["twin", "third-ack-lst"], "third-ack-lst", "hint: did you mean `third-ack-lost`?"),
        (&["twin", "third-ack-lst", "--write", "v.tsv"], "third-ack-lst", "did you mean"),
        (&["twin", "ping", "--jobs", "0"], "0", "from 1 to 256"),
        (&["twin", "ping", "--kernel", "nonsense"], "nonsense", "6.12.117), or `host`"),
        (&["twin", "ping", "--kernel", "6.12,"], "''", "or `host`"),
        (&["kernel", "build", "--version", "../../etc"], "../../etc", "as 6.12 or 6.12.117"),
        (&["kernel", "build", "--source", "no/such"], "no/such", "hint: a source is a kernel tree"),
        (&["drill", "x.pkt", "--hz", "7"], "7", "100, 250, 300 or 1000"),
    ];
    for (args, wrong, right) in cases {
        let dir = temp();
        let out = wirelab(dir.path(), args);
        let text = stderr(&out);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(wrong) && text.contains(right), "{args:?}: {text}");
        assert_eq!(text.matches("error:").count(), 1, "{args:?}: {text}");
        assert!(out.stdout.is_empty() && files(dir.path()).is_empty(), "{args:?} leaves nothing behind");
    }
}

/// A command, what its message names, and what its hint says.
type Case = (&'static [&'static str], &'static str, &'static str);

#[test]
fn files_of_the_wrong_kind_are_refused_with_what_is_wanted() {
    let cases: [Case; 20] = [
        (&["run", "../binary.toml"], "line 2, byte 10", "a scenario is a TOML file"),
        (&["run", "../folder"], "../folder", "it is a folder"),
        (&["run", "../folder.toml"], "Is a directory", "a scenario is a TOML file"),
        (&["run", "../huge"], "longer than 1048576 bytes", "a scenario is a TOML file"),
        (&["twin", "../binary.toml"], "byte 10", "a scenario is a TOML file"),
        (&["show", "../binary.toml"], "binary.toml", "this is a file"),
        (&["ladder", "../huge"], "longer than 1073741824 bytes", "pcap or pcapng"),
        (&["ladder", "../folder"], "Is a directory", "pcap or pcapng"),
        (&["ladder", "../empty", "-Y", "tcp &&"], "byte 6", "such as `tcp.flags.syn"),
        (&["drill", "../folder"], "no scripts (*.pkt) in ../folder", "folders of them"),
        (
            &["drill", "../empty", "--referee", "/bin/true", "--plugin", "no/such"],
            "the plug-in no/such",
            "cargo build -p drill-so",
        ),
        (
            &["drill", "../empty", "--referee", "/bin/true", "--plugin", "../binary.toml"],
            "no shared library",
            "--plugin",
        ),
        (&["drill", "../empty", "--on", "uml", "--referee", "/bin/true"], "--on uml", "--on linux"),
        (&["score", "--packetdrill", "../folder"], "no scripts (*.pkt)", "gtests/net"),
        (
            &["score", "--packetdrill", "../folder", "--write", "../kept.tsv"],
            "no scripts (*.pkt)",
            "gtests/net",
        ),
        (&["score", "--packetdrill", "../kept.tsv"], "kept.tsv: not a directory", "gtests/net"),
        (&["score", "--packetdrill", "no/such"], "no/such", "gtests/net"),
        (
            &["kernel", "build", "--source", "../kept.tsv"],
            "is no kernel's source: tar",
            "linux-source-6.12.tar.xz",
        ),
        (
            &["kernel", "build", "--source", "../folder"],
            "arch/um/Kconfig",
            "the folder that `make` is called in",
        ),
        (&["kernel", "build", "--source", "/dev/null"], "no file and no folder", "a kernel tree"),
    ];
    let dir = temp();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("binary.toml"), b"question\n\xff\xfe\0").expect("written");
    std::fs::write(path("empty"), b"").expect("written");
    std::fs::write(path("kept.tsv"), b"kept").expect("written");
    std::fs::File::create(path("huge")).and_then(|f| f.set_len(3 << 30)).expect("a file of holes");
    for folder in ["folder", "folder.toml", "here"] {
        std::fs::create_dir(path(folder)).expect("made");
    }
    for (args, wrong, right) in cases {
        let cache = temp();
        let out = Command::new(env!("CARGO_BIN_EXE_wirelab"))
            .args(args)
            .current_dir(path("here"))
            .env("XDG_CACHE_HOME", cache.path())
            .output()
            .expect("it starts");
        let text = stderr(&out);
        // Tools that a machine does not have come to light before the source is looked at.
        if args[0] == "kernel" && text.contains("building a kernel needs") {
            continue;
        }
        assert_eq!(out.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(wrong) && text.contains("hint: ") && text.contains(right), "{args:?}: {text}");
        assert!(out.stdout.is_empty() && files(&path("here")).is_empty(), "{args:?} leaves nothing behind");
        let kernels = cache.path().join("wirelab/kernels");
        assert!(!kernels.exists() || files(&kernels).is_empty(), "{args:?} leaves nothing in the cache");
        assert_eq!(std::fs::read(path("kept.tsv")).expect("readable"), b"kept", "{args:?}");
    }
}

#[test]
fn scripts_that_are_no_text_or_too_long_fail_alone() {
    let dir = temp();
    std::fs::write(dir.path().join("binary.pkt"), b"\x7fELF\0").expect("written");
    std::fs::File::create(dir.path().join("huge.pkt"))
        .and_then(|f| f.set_len(3 << 30))
        .expect("a file of holes");
    let mut long = std::fs::File::create(dir.path().join("long.pkt")).expect("made");
    std::io::Write::write_all(&mut long, "// comment\n".repeat(400_000).as_bytes()).expect("written");
    let out = wirelab(dir.path(), &["drill", "."]);
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    let text = stdout(&out);
    for said in [
        "./binary.pkt:0: no script: it has bytes",
        "./huge.pkt:0: no script",
        "./long.pkt:0: longer than 4194304 bytes",
    ] {
        assert!(text.contains(said), "{said} is missing in\n{text}");
    }
}

#[test]
fn what_cannot_be_written_is_said_before_anything_is_run_and_leaves_nothing() {
    let cases: [Case; 7] = [
        (&["run", "ping", "--pcap", "no/x.pcapng"], "no/x.pcapng", "--no-pcap"),
        (&["run", "ping", "--pcap", "."], "cannot write .: is a directory", "--no-pcap"),
        (&["run", "ping", "--pcap", "/proc/x.pcapng"], "in the folder /proc", "--no-pcap"),
        (&["twin", "--all", "--write", "no/v.tsv"], "no/v.tsv", "`--write FILE`"),
        (&["twin", "ping", "--write", "."], "is a directory", "`--write FILE`"),
        (&["score", "--packetdrill", ".", "--write", "no/p.tsv"], "no/p.tsv", "`--write FILE`"),
        (&["drill", "x.pkt", "--junit", "no/x.xml"], "no/x.xml", "`--junit FILE`"),
    ];
    for (args, wrong, right) in cases {
        let dir = temp();
        let out = wirelab(dir.path(), args);
        let text = stderr(&out);
        assert_eq!(out.status.code(), Some(3), "{args:?}: {text}");
        assert!(text.contains(wrong) && text.contains("hint: ") && text.contains(right), "{args:?}: {text}");
        assert!(!text.contains(".wirelab-"), "nobody knows the temporary file: {text}");
        assert!(out.stdout.is_empty() && files(dir.path()).is_empty(), "{args:?} leaves nothing behind");
    }
}

#[test]
fn a_scenario_file_with_mistakes_shows_all_of_them_with_their_places() {
    let dir = temp();
    let file = dir.path().join("bad.toml");
    let text = "question = \"?\"\n[hosts.a]\naddress = \"192.0.2.1/24\"\n[hosts.b]\naddress = \"192.0.2.1/24\"\n\
                [links.l]\nbetween = [\"a\", \"c\"]\n[[programs]]\nhost = \"a\"\nrun = [ \"sokcet(AF_INET)\" ]\n";
    std::fs::write(&file, text).expect("written");
    let out = wirelab(dir.path(), &["run", "bad.toml"]);
    let shown = stderr(&out);
    assert_eq!(out.status.code(), Some(2));
    for part in ["bad.toml:5:", "bad.toml:7:", "bad.toml:10:", "`c`", "192.0.2.1"] {
        assert!(shown.contains(part), "{part} is missing in\n{shown}");
    }
    assert!(shown.matches("error:").count() >= 3, "several at once:\n{shown}");
}

#[test]
fn a_capture_that_cannot_be_written_is_an_error_and_leaves_nothing() {
    let dir = temp();
    let out = wirelab(dir.path(), &["run", "arp-resolution", "--pcap", "missing/x.pcapng"]);
    assert_eq!(out.status.code(), Some(3));
    assert!(stderr(&out).contains("missing/x.pcapng"), "{}", stderr(&out));
    assert!(files(dir.path()).is_empty());
}

#[cfg(unix)]
#[test]
fn a_capture_for_a_device_or_pipe_goes_through_it_and_leaves_it_there() {
    let dir = temp();
    let full = wirelab(dir.path(), &["run", "arp-resolution", "--quiet", "--pcap", "/dev/full"]);
    assert_eq!(full.status.code(), Some(3), "no space left: {}", stderr(&full));
    let is_device = |path: &str| {
        use std::os::unix::fs::FileTypeExt as _;
        std::fs::metadata(path).expect("there").file_type().is_char_device()
    };
    assert!(is_device("/dev/full"), "the device is still one");
    let out = wirelab(dir.path(), &["run", "arp-resolution", "--quiet", "--pcap", "/dev/stdout"]);
    let capture = wire::capture::read(&out.stdout).expect("the capture went to the pipe");
    assert!(capture.problem.is_none() && !capture.packets.is_empty());
    // A link is followed, as by every program that writes a file.
    std::os::unix::fs::symlink("real.pcapng", dir.path().join("link.pcapng")).expect("linked");
    std::fs::write(dir.path().join("real.pcapng"), b"old").expect("written");
    wirelab(dir.path(), &["run", "arp-resolution", "--quiet", "--pcap", "link.pcapng"]);
    assert!(std::fs::read(dir.path().join("real.pcapng")).expect("readable").len() > 100);
    assert!(dir.path().join("link.pcapng").is_symlink());
}

#[test]
fn ladder_draws_captures_whole_filtered_and_cut() {
    let dir = temp();
    wirelab(dir.path(), &["run", "arp-resolution"]);
    let whole = wirelab(dir.path(), &["ladder", "arp-resolution.pcapng"]);
    assert!(whole.status.success() && stdout(&whole).contains("who-has 192.0.2.2"), "{}", stderr(&whole));
    let only_udp = wirelab(dir.path(), &["ladder", "arp-resolution.pcapng", "-Y", "udp"]);
    let text = stdout(&only_udp);
    assert!(text.contains("UDP") && !text.contains("who-has"), "{text}");

    let bytes = std::fs::read(dir.path().join("arp-resolution.pcapng")).expect("written");
    std::fs::write(dir.path().join("cut.pcapng"), &bytes[..bytes.len() - 30]).expect("written");
    let cut = wirelab(dir.path(), &["ladder", "cut.pcapng"]);
    assert_eq!(cut.status.code(), Some(1));
    assert!(stdout(&cut).contains("who-has"), "what came before the cut is shown");
    assert!(stderr(&cut).contains("ends inside"), "{}", stderr(&cut));

    std::fs::write(dir.path().join("noise"), b"this is no capture at all").expect("written");
    let noise = wirelab(dir.path(), &["ladder", "noise"]);
    assert_eq!(noise.status.code(), Some(2));
    assert!(stderr(&noise).contains("neither pcapng nor pcap"), "{}", stderr(&noise));
}

#[test]
fn list_show_and_schema_print_the_catalogue() {
    let dir = temp();
    let list = stdout(&wirelab(dir.path(), &["list"]));
    assert!(list.contains("arp-resolution") && list.contains("How does ARP find a MAC address?"), "{list}");
    let rows = json(&wirelab(dir.path(), &["list", "--json"]));
    let names: Vec<&str> = rows.as_array().expect("rows").iter().filter_map(|r| r["name"].as_str()).collect();
    assert!(names.len() >= 25, "{names:?}");
    let some = stdout(&wirelab(dir.path(), &["list", "proxy"]));
    assert!(some.contains("proxy-arp") && !some.contains("traceroute"), "{some}");
    let shown = stdout(&wirelab(dir.path(), &["show", "arp-resolution"]));
    assert!(shown.starts_with("question = "), "{shown}");
    // What `show` prints is a scenario file that runs.
    std::fs::write(dir.path().join("mine.toml"), &shown).expect("written");
    assert!(wirelab(dir.path(), &["run", "mine.toml", "--quiet"]).status.success());
    let schema = json(&wirelab(dir.path(), &["schema"]));
    assert!(schema["properties"]["hosts"].is_object(), "{schema}");
    let none = wirelab(dir.path(), &["list", "no such words"]);
    assert_eq!(none.status.code(), Some(2));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = temp();
    let script = format!("{} list | head -1; exit ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_wirelab"));
    let out = Command::new("bash").args(["-c", &script]).current_dir(dir.path()).output().expect("bash runs");
    // `list` prints its legend there; a panic about the broken pipe would change the status.
    assert!(out.status.success(), "{}", stderr(&out));
}

#[test]
fn a_setting_from_the_command_line_changes_the_run_and_what_the_explanation_says_of_it() {
    let dir = temp();
    let plain = stdout(&wirelab(dir.path(), &["run", "arp-no-answer", "--no-pcap"]));
    assert!(plain.contains("client asked 3 times"), "{plain}");
    assert!(plain.contains("net.ipv4.neigh.eth0.mcast_solicit=3 (client)"), "{plain}");
    // `default` is what a new interface starts with; the interface's own value is what decides.
    for scope in ["eth0", "default"] {
        let set = format!("client:net.ipv4.neigh.{scope}.mcast_solicit=1");
        let out = wirelab(dir.path(), &["run", "arp-no-answer", "--no-pcap", "--set", &set]);
        assert!(!out.status.success(), "the file expects three questions");
        let text = stdout(&out);
        assert!(text.contains("client asked once"), "{text}");
        assert!(text.contains("net.ipv4.neigh.eth0.mcast_solicit=1 (client)"), "{text}");
    }
}

#[test]
fn drill_runs_scripts_and_tells_people_scripts_and_ci_servers_apart() {
    let dir = temp();
    let script = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("written");
    let socket = "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 bind(3, ..., ...) = 0\n";
    script("good.pkt", &format!("{socket}+0 listen(3, 1) = 0\n"));
    let good = wirelab(dir.path(), &["drill", "good.pkt"]);
    assert_eq!(
        (good.status.code(), stdout(&good).as_str()),
        (Some(0), "good.pkt: passed\n"),
        "{}",
        stderr(&good)
    );
    script("bad.pkt", &format!("{socket}+0 listen(3, 1) = -1 EINVAL (Invalid argument)\n"));
    script("odd.pkt", &format!("{socket}+0 `modprobe tcp_vegas`\n"));
    let all = wirelab(dir.path(), &["drill", ".", "--junit", "out.xml"]);
    assert_eq!(all.status.code(), Some(1));
    let text = stdout(&all);
    assert!(
        text.contains("./bad.pkt:3: runtime error in listen call: Expected result -1 but got 0"),
        "{text}"
    );
    assert!(text.contains("./odd.pkt:3: command not understood") && text.contains("(unsupported)"), "{text}");
    assert!(text.contains("listen(3, 1) = 0"), "the ladder shows the call: {text}");
    assert!(text.ends_with("1 passed, 1 failed, 1 unsupported on stack 6.18\n"), "{text}");
    let junit = std::fs::read_to_string(dir.path().join("out.xml")).expect("it was written");
    assert!(junit.contains("tests=\"3\" failures=\"1\" skipped=\"1\""), "{junit}");
    let value = json(&wirelab(dir.path(), &["drill", ".", "--json"]));
    assert_eq!(value["failed"], 1);
    assert_eq!(value["scripts"][0]["fault"]["line"], 3);
    let none = wirelab(dir.path(), &["drill", "nothing.pkt"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("cannot read nothing.pkt"));
}

#[test]
fn ask_finds_the_row_in_both_languages() {
    let dir = temp();
    for question in ["what if the third handshake packet is lost", "第三次握手的 ACK 丢失了会怎样"]
    {
        let out = wirelab(dir.path(), &["ask", question]);
        assert!(out.status.success(), "{}", stderr(&out));
        let text = stdout(&out);
        assert!(text.contains("run      wirelab run third-ack-lost\n"), "{text}");
        assert!(text.contains("第三次握手"), "{text}");
    }
    let found = json(&wirelab(dir.path(), &["ask", "--json", "accept", "queue", "full"]));
    assert_eq!(found[0]["name"], "tcp/queues/accept-queue-full");
    let out = wirelab(dir.path(), &["ask", "xyzzy"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("no row has a word of `xyzzy`"), "{}", stderr(&out));
}

#[test]
fn every_row_runs_and_the_page_is_held_to_them() {
    let dir = temp();
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/catalogue.md");
    let page = std::fs::read_to_string(kept).expect("it is in the repository");
    let rows = json(&wirelab(dir.path(), &["list", "--json"]));
    for row in rows.as_array().expect("a list") {
        let (name, question) = (row["name"].as_str().expect("text"), row["question"].as_str().expect("text"));
        let short = name.rsplit('/').next().expect("a part");
        assert!(page.contains(&format!("\n## {short}\n\n**{question}**")), "{name} has no section");
        assert!(row["question_zh"].is_string(), "{name} asks in English only");
    }
    // Rows that need BoringSSL stand in it, too.
    if !cfg!(feature = "boring") {
        let out = wirelab(dir.path(), &["catalogue"]);
        assert!(out.status.success(), "{}", stderr(&out));
        return;
    }
    // The one line that is wrong, near the end, is the first that differs: all before it is as the rows say.
    let (before, after) = page.rsplit_once("SYN-RECV").expect("many handshakes");
    std::fs::write(dir.path().join("page.md"), format!("{before}SYN-RCVD{after}")).expect("writable");
    let out = wirelab(dir.path(), &["catalogue", "--check", "page.md"]);
    let text = stderr(&out);
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(text.contains("SYN-RCVD") && text.contains("--write"), "{text}");
    assert_eq!(text.matches("error:").count(), 1, "all rows run as they say: {text}");
}
