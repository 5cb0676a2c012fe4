//! Programs above the sockets in a scenario: how they are written, how they run beside system calls, and what is said
//! about mistakes.

use scenario::{Outcome, Overrides, Targets, file};

const WORLD: &str = r#"
question = "?"
[hosts.client]
address = "192.0.2.1/24"
[hosts.server]
address = "192.0.2.2/24"
[links.lan]
between = ["client", "server"]
delay = "10ms"
[[programs]]
host = "server"
app = "echo"
"#;

/// System calls that talk to it.
const CLIENT: &str = r#"
[[programs]]
host = "client"
at = "5ms"
run = [
    's = socket(AF_INET, SOCK_STREAM)',
    'connect(s, server:7) = 0',
    'send(s, "hello") = 5',
    'recv(s, 100) = "hello"',
    'shutdown(s, SHUT_WR) = 0',
    'recv(s, 100) = ""',
    'u = socket(AF_INET, SOCK_DGRAM)',
    'sendto(u, "again", server:7) = 5',
    'recv(u, 100) = "again"',
]
"#;

fn shown(found: Vec<scenario::Diagnostic>) -> String {
    found.iter().map(|d| d.render(false)).collect()
}

fn plan(text: &str) -> Result<scenario::Plan, String> {
    let file = file::parse(text, "test.toml").map_err(shown)?;
    scenario::plan(&file, &Overrides::default()).map_err(shown)
}

fn run(text: &str) -> Outcome {
    let plan = plan(text).unwrap_or_else(|e| panic!("{e}"));
    scenario::run(&plan, &Targets::stack()).expect("it runs")
}

#[test]
fn system_calls_talk_to_a_program_in_virtual_time() {
    let outcome = run(&format!("{WORLD}{CLIENT}"));
    assert!(outcome.ok(), "{:?}", outcome.problems());
    let (server, client) = (&outcome.programs[0], &outcome.programs[1]);
    assert!(!server.ended && client.ended, "a service runs on; the run ends a second after its client");
    assert_eq!(outcome.journal.nodes[1].programs, ["echo"]);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let capture = || {
        let outcome = run(&format!("{WORLD}{CLIENT}"));
        analysis::pcapng(&outcome.journal, Vec::new()).expect("memory takes all")
    };
    assert_eq!(capture(), capture());
}

#[test]
fn a_run_without_an_end_needs_until() {
    let outcome = run(&format!("until = '3s'\n{WORLD}"));
    assert!(outcome.ok(), "{:?}", outcome.problems());
    assert_eq!(outcome.journal.end, wire::Instant::from_secs(3));
}

#[test]
fn a_service_that_ends_is_a_failure() {
    // Both cannot have the port.
    let outcome = run(&format!("until = '1s'\n{WORLD}[[programs]]\nhost = 'server'\napp = 'echo'\n"));
    let problems = outcome.problems().join("\n");
    assert!(problems.contains("echo on server: a service ended, with status 1"), "{problems}");
    let lines = &outcome.programs[1].output;
    assert!(lines[0].contains("Address already in use"), "{lines:?}");
}

#[test]
fn mistakes_are_told_at_their_place() {
    let wrong =
        |program: &str| plan(&format!("{WORLD}[[programs]]\nhost = 'client'\n{program}")).unwrap_err();
    let text = wrong("app = 'ecko'");
    assert!(text.contains("no program `ecko` is built in") && text.contains("`echo`"), "{text}");
    let text = wrong("app = 'echo'\nwith = { prot = 7 }");
    assert!(text.contains("unknown field `prot`") && text.contains("`port`"), "{text}");
    let text = wrong("app = 'echo'\nwith = { port = 70000 }");
    assert!(text.contains("70000") && text.contains("u16"), "{text}");
    let text = wrong("app = 'echo'\nrun = 'ping client'");
    assert!(text.contains("both `run` and `app`"), "{text}");
    let text = wrong("at = '1s'");
    assert!(text.contains("neither `run` nor `app`"), "{text}");
    let text = wrong("run = 'ping \"client'");
    assert!(text.contains("this \" is not closed"), "{text}");
    let text = wrong("run = 'ping -c 1 client'\nexit = 1");
    assert!(text.contains("no exit status"), "{text}");
}

#[test]
fn what_is_wrong_with_a_table_is_told_at_its_place() {
    let told = |programs: &str| plan(&format!("{WORLD}{programs}")).expect_err(programs);
    let host = "[[programs]]\nhost = \"client\"\n";
    // What is missing is told at what stands there: the program's name.
    let empty = told(&format!("{host}app = \"http-proxy\""));
    assert!(empty.contains("1 to 256 upstream servers") && empty.contains("app = \"http-proxy\""), "{empty}");
    let arq =
        told(&format!("{host}app = \"arq-client\"\nwith = {{ server = \"b\", size = 0, window = 33 }}"));
    for wrong in ["`b` is no host with a port", "a message of 0 bytes", "33 segments on the way"] {
        assert!(arq.contains(wrong), "{wrong}: {arq}");
    }
    // In a zone it is the line that is wrong.
    let zone = "$TTL 300\n@ SOA ns host 1 1800 900 604800 60\n@ NS ns\nwww A 300.1.2.3\n";
    let zone = told(&format!(
        "{host}app = \"dns-server\"\n[programs.with.zones]\n\"example.\" = \"\"\"\n{zone}\"\"\""
    ));
    assert!(zone.contains(" | www A 300.1.2.3\n") && zone.contains(" | ^^^^^^^^^^^^^^^\n"), "{zone}");
    let both = "forward_tls = { name = \"x\" }, forward_https = { url = \"http://x/\" }";
    let both = told(&format!("{host}app = \"dns-recursor\"\nwith = {{ forward = [\"192.0.2.2\"], {both} }}"));
    assert!(both.contains("needs an https URL") && both.contains("either over TLS or over HTTPS"), "{both}");
}
