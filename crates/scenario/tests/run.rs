//! What a run reports: expectations that do not hold and what was seen instead, faults that never fire, programs that
//! hang, and what the command line changes.

use scenario::{Outcome, Overrides, Targets, catalogue, file};

/// Two hosts; the client sends one datagram at 100 ms, to which nobody listens.
const PAIR: &str = r#"
question = "?"
until = "5s"
[hosts.client]
address = "192.0.2.1/24"
[hosts.server]
address = "192.0.2.2/24"
[links.lan]
between = ["client", "server"]
delay = "1ms"
[[programs]]
host = "client"
at = "100ms"
run = ['s = socket(AF_INET, SOCK_DGRAM)', 'sendto(s, "hello", server:9) = 5']
"#;

fn run_with(text: &str, overrides: &Overrides) -> Outcome {
    let show = |found: Vec<scenario::Diagnostic>| found.iter().map(|d| d.render(false)).collect::<String>();
    let file = file::parse(text, "test.toml").unwrap_or_else(|e| panic!("{}", show(e)));
    let plan = scenario::plan(&file, overrides).unwrap_or_else(|e| panic!("{}", show(e)));
    scenario::run(&plan, &Targets::stack()).expect("it runs")
}

fn run(more: &str) -> Outcome {
    run_with(&format!("{PAIR}{more}"), &Overrides::default())
}

#[test]
fn expectations_that_hold_make_the_run_right() {
    let outcome = run(r#"
        [[expect]]
        packet = "udp"
        from = "client"
        at = ["102ms"]
        [[expect]]
        packet = "udp"
        from = "client"
        to = "server"
        count = 1
        [[expect]]
        packet = "icmp.code == 3"
        to = "client"
        at = "100ms..110ms"
        [[expect]]
        order = ["arp.opcode == 1", "arp.opcode == 2", "udp", "icmp"]
        [[expect]]
        neighbour = "server"
        on = "client"
        state = ["INCOMPLETE", "REACHABLE"]
        [[expect]]
        neighbour = "server"
        on = "client"
        state = "none"
        at = "50ms"
        [[expect]]
        counter = "UdpNoPorts"
        on = "server"
        value = "1..2"
        [[expect]]
        dropped = "NO_SOCKET"
        on = "server"
        count = 1
        [[expect]]
        table = "ip neigh"
        on = "client"
        contains = "192.0.2.2 dev eth0 lladdr 02:00:00:00:00:02"
    "#);
    assert_eq!(outcome.problems(), Vec::<String>::new());
    assert_eq!(outcome.expectations.len(), 9);
}

#[test]
fn every_kind_of_expectation_can_fail_and_tells_what_was_seen() {
    let cases = [
        // As in Wireshark, what an ICMP error quotes counts too.
        ("packet = \"udp\"\ncount = 3", "there were 2, at 102ms, 103ms"),
        ("packet = \"udp\"\nat = \"200ms\"", "there were 2, at 102ms, 103ms"),
        ("packet = \"udp\"\nfrom = \"client\"\nat = [\"102ms\", \"1s\"]", "there was one, at 102ms"),
        ("packet = \"tcp\"", "there was none"),
        ("packet = \"arp.opcode == 1\"\nto = \"client\"", "there was none"),
        ("packet = \"arp\"\ncount = 0", "there were 2"),
        ("order = [\"udp\", \"arp.opcode == 1\"]", "no packet `arp.opcode == 1` came at its place"),
        ("neighbour = \"server\"\non = \"client\"\nstate = \"STALE\"\nat = \"1s\"", "102ms REACHABLE"),
        ("neighbour = \"server\"\non = \"client\"\nstate = [\"REACHABLE\", \"FAILED\"]", "102ms REACHABLE"),
        ("neighbour = \"server\"\non = \"client\"\nlladdr = \"client\"", "02:00:00:00:00:02"),
        ("neighbour = \"192.0.2.9\"\non = \"client\"\nstate = \"STALE\"", "it never was in the table"),
        ("counter = \"UdpNoPorts\"\non = \"server\"\nvalue = 0", "it is 1"),
        ("counter = \"UdpInDatagrams\"\non = \"server\"\nvalue = 1", "it is 0"),
        ("output = \"hello\"\non = \"client\"", "there were 0"),
        ("dropped = \"IP_CSUM\"\non = \"server\"", "it was 0; it dropped for: NO_SOCKET"),
        ("lost = \"random\"", "it was 0"),
        ("table = \"ip neigh\"\non = \"client\"\ncontains = \"192.0.2.9\"", "192.0.2.2 dev eth0"),
        ("table = \"ip nieghs\"\non = \"client\"\ncontains = \"x\"", "there is no such table"),
    ];
    for (expect, seen) in cases {
        let outcome = run(&format!("[[expect]]\n{expect}\n"));
        let problems = outcome.problems();
        assert!(!outcome.ok() && problems.len() == 1, "{expect}: {problems:?}");
        assert!(problems[0].contains(seen), "{expect}: {problems:?} lacks {seen}");
        assert!(problems[0].contains("(line 1"), "{problems:?} names its line");
    }
}

#[test]
fn a_fault_that_never_fires_fails_the_run_unless_it_is_optional() {
    let outcome = run("[[faults]]\ndrop = \"server: 7th udp\"\n");
    assert_eq!(outcome.problems(), ["the fault `drop server: 7th udp` never fired: no packet matched it"]);
    assert!(run("[[faults]]\ndrop = \"server: 7th udp\"\noptional = true\n").ok());
}

#[test]
fn faults_do_what_their_file_says() {
    let lost =
        run("[[faults]]\ndrop = \"client: udp\"\n[[expect]]\npacket = \"udp\"\nto = \"server\"\ncount = 0\n");
    assert_eq!(lost.problems(), Vec::<String>::new());
    assert_eq!(lost.faults[0].hits, 1);
    let late = "[[faults]]\ndelay = \"client->server: udp\"\nby = \"1s\"\n[[expect]]\npacket = \"udp\"\nto = \"server\"\nat = [\"1.103s\"]\n";
    assert_eq!(run(late).problems(), Vec::<String>::new());
    let twice = "[[faults]]\nduplicate = \"lan: udp\"\ncopies = 2\n[[expect]]\npacket = \"udp\"\nto = \"server\"\ncount = 3\n";
    assert_eq!(run(twice).problems(), Vec::<String>::new());
    let broken = "[[faults]]\ncorrupt = \"client: udp\"\nbyte = 42\n[[expect]]\ndropped = \"UDP_CSUM\"\non = \"server\"\n";
    assert_eq!(run(broken).problems(), Vec::<String>::new());
    let held = "[[faults]]\nhold = \"client: udp\"\nuntil = \"2s\"\n[[expect]]\npacket = \"udp\"\nto = \"server\"\nat = [\"2.001s\"]\n";
    assert_eq!(run(held).problems(), Vec::<String>::new());
    let forged = "[[faults]]\nforge = \"client: udp\"\nreply = \"icmp 3 1\"\ninstead = true\n[[expect]]\npacket = \"icmp.type == 3 && icmp.code == 1\"\nto = \"client\"\ncount = 1\n[[expect]]\npacket = \"udp\"\nto = \"server\"\ncount = 0\n";
    assert_eq!(run(forged).problems(), Vec::<String>::new());
    let cut = "[[faults]]\ncut = \"client: udp\"\nfor = \"1s\"\n[[expect]]\npacket = \"udp\"\nto = \"server\"\ncount = 0\n";
    assert_eq!(run(cut).problems(), Vec::<String>::new());
}

#[test]
fn a_call_that_returns_something_else_names_its_line() {
    let outcome = run(
        "[[programs]]\nhost = \"server\"\nrun = [\n  's = socket(AF_INET, SOCK_DGRAM)',\n  'bind(s, 192.0.2.9:9) = 0',\n]\n",
    );
    let problems = outcome.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("script on server: line 19: "), "{problems:?}");
    assert!(problems[0].contains("EADDRNOTAVAIL"), "{problems:?}");
}

#[test]
fn a_script_may_wait_for_ever_only_in_a_last_line_without_a_result() {
    let server = |last: &str| {
        let lines = "'s = socket(AF_INET, SOCK_DGRAM)', 'bind(s, *:7) = 0'";
        run(&format!("[[programs]]\nhost = \"server\"\nrun = [{lines}, '{last}']\n")).problems()
    };
    assert_eq!(server("recv(s, 100)"), Vec::<String>::new());
    let hangs = server("recv(s, 100) = 5");
    assert!(hangs[0].contains("still waits in recv"), "{hangs:?}");
}

#[test]
fn the_command_line_changes_a_run() {
    let entry = catalogue::find("arp-no-answer").expect("it is in the catalogue");
    let overrides =
        Overrides { sets: vec!["client:net.ipv4.neigh.eth0.mcast_solicit=1".into()], ..Overrides::default() };
    assert!(overrides.changes_run());
    let outcome = run_with(entry.text, &overrides);
    let asked = outcome.problems();
    assert!(asked[0].contains("there was one, at 0s"), "{asked:?}");
    let overrides =
        Overrides { faults: vec![("drop".into(), "client: 1st arp".into())], ..Overrides::default() };
    let entry = catalogue::find("arp-across-router").expect("it is in the catalogue");
    let outcome = run_with(entry.text, &overrides);
    assert_eq!(outcome.faults.last().map(|f| f.hits), Some(1));
    assert!(outcome.problems()[0].contains("there were 2, at 100ms, 1.1s"), "{:?}", outcome.problems());
}

#[test]
fn a_link_s_words_are_tc_s() {
    let text = PAIR.replace(
        "delay = \"1ms\"",
        "delay = \"1ms\"\nmtu = 600\ndown = \"2s..3s\"\nfrom.client = { delay = \"7ms\" }",
    );
    let outcome = run_with(
        &(text
            + "[[expect]]\npacket = \"udp\"\nto = \"server\"\nat = [\"115ms\"]\n[[expect]]\npacket = \"arp\"\ncount = 2\n"),
        &Overrides::default(),
    );
    assert_eq!(outcome.problems(), Vec::<String>::new());
}

#[test]
fn the_schema_describes_every_field() {
    let schema = scenario::schema();
    let properties = schema["properties"].as_object().expect("a table");
    for field in ["question", "hosts", "links", "programs", "faults", "expect", "twin", "switches"] {
        assert!(properties[field]["description"].is_string(), "{field} has no description");
    }
    let definitions = schema["$defs"].as_object().expect("named types");
    for name in ["Host", "Link", "Program", "Fault", "Expect"] {
        let fields = definitions[name]["properties"].as_object().expect("a table");
        assert!(
            fields.values().all(|f| f["description"].is_string()),
            "{name} has a field without a description"
        );
    }
}

#[test]
fn the_example_of_the_readme_runs() {
    let readme = include_str!("../../../scenarios/README.md");
    let text =
        readme.split("```toml\n").nth(1).and_then(|t| t.split("```").next()).expect("it has an example");
    let outcome = run_with(text, &Overrides::default());
    assert_eq!(outcome.problems(), Vec::<String>::new());
    assert!(outcome.ok() && outcome.faults[0].hits == 1);
}

/// What is wrong with a file and the command line, one message a line.
fn wrong(text: &str, overrides: &Overrides) -> Vec<String> {
    let file = file::parse(text, "test.toml").expect("it reads");
    let found = scenario::plan(&file, overrides).expect_err("it is wrong");
    found.into_iter().map(|d| d.message).collect()
}

#[test]
fn a_fault_of_a_host_that_is_not_there_says_so_with_and_without_a_blank() {
    for text in ["nosuch:arp", "nosuch: arp", "nosuch->server:arp"] {
        let faults = vec![("drop".to_string(), text.to_string())];
        let found = wrong(PAIR, &Overrides { faults, ..Overrides::default() });
        assert_eq!(found, ["no host, switch or link is named `nosuch`"], "{text}");
    }
}

#[test]
fn a_script_of_a_host_that_is_not_there_has_its_own_errors_told_too() {
    let more = r#"
        [[programs]]
        host = "nosuch"
        run = ['s = sockett(AF_INET, SOCK_DGRAM)', 'setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "eth0")']
    "#;
    let found = wrong(&format!("{PAIR}{more}"), &Overrides::default());
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().any(|m| m == "no host is named `nosuch`"), "{found:?}");
    assert!(found.iter().any(|m| m.contains("sockett")), "{found:?}");
}

#[test]
fn an_option_and_its_value_may_be_one_word() {
    let more = r#"
        [[programs]]
        host = "client"
        run = "ping -c1 -W0.5 -s20 server"
        [[expect]]
        output = "20(48) bytes of data"
        on = "client"
        [[expect]]
        packet = "icmp.type == 8"
        from = "client"
        count = 1
    "#;
    assert_eq!(run(more).problems(), Vec::<String>::new());
    let found = wrong(
        &format!("{PAIR}[[programs]]\nhost = \"client\"\nrun = \"ping -cx server\""),
        &Overrides::default(),
    );
    assert_eq!(found, ["`x` is no number that `-c` takes"]);
}

#[test]
fn every_host_has_every_table_even_an_empty_one() {
    let outcome = run(r#"
        [[expect]]
        table = "ss -uan"
        on = "server"
        contains = "State"
        [[expect]]
        table = "ip -6 neigh"
        on = "server"
        contains = "dev"
        count = 0
        [[expect]]
        table = "ip -6 route"
        on = "server"
        contains = "dev"
        count = 0
        [[expect]]
        table = "ip addr"
        on = "server"
        contains = "inet 192.0.2.2/24 brd 192.0.2.255 scope global eth0"
        [[expect]]
        table = "nstat"
        on = "server"
        contains = "UdpNoPorts                      1 "
    "#);
    assert_eq!(outcome.problems(), Vec::<String>::new());
}

#[test]
fn ip_neigh_has_both_families_and_ip_6_neigh_one() {
    let text = PAIR
        .replace("\"192.0.2.1/24\"", "[\"192.0.2.1/24\", \"2001:db8::1/64\"]")
        .replace("\"192.0.2.2/24\"", "[\"192.0.2.2/24\", \"2001:db8::2/64\"]");
    let more = r#"
        [[programs]]
        host = "client"
        at = "3s"
        run = "ping -c1 -6 server"
    "#;
    let outcome = run_with(&format!("{text}{more}"), &Overrides::default());
    let table = |name: &str| {
        let tables = &outcome.journal.nodes[0].tables;
        tables.iter().find(|(n, _)| n == name).expect("it is there").1.as_str()
    };
    assert!(table("ip neigh").starts_with("192.0.2.2 dev eth0 lladdr 02:00:00:00:00:02 "));
    assert!(table("ip neigh").contains("\n2001:db8::2 dev eth0 lladdr 02:00:00:00:00:02 "));
    assert!(table("ip -6 neigh").starts_with("2001:db8::2 dev eth0 "), "{}", table("ip -6 neigh"));
    assert!(table("ip -6 addr").contains("\n    inet6 2001:db8::1/64 scope global"));
    assert!(!table("ip -6 addr").contains("192.0.2.1"));
}

#[test]
fn a_loop_of_switches_is_an_error_that_names_its_links() {
    let text = r#"
        question = "?"
        [hosts.a]
        address = "192.0.2.1/24"
        [hosts.b]
        address = "192.0.2.2/24"
        [switches.s1]
        [switches.s2]
        [links.l1]
        between = ["a", "s1"]
        [links.l2]
        between = ["s1", "s2"]
        [links.l3]
        between = ["s1", "s2"]
        [links.l4]
        between = ["b", "s2"]
        [[programs]]
        host = "a"
        run = "ping -c 1 b"
    "#;
    let outcome = run_with(text, &Overrides::default());
    let [error] = &outcome.errors[..] else { panic!("{:?}", outcome.errors) };
    assert!(error.ends_with("frames in flight: a loop of switches? links l2, l3"), "{error}");
}

const TCP: &str = r#"
question = "Do the words do what they say?"
neighbours = "known"
[hosts.client]
address = "192.0.2.1/24"
[hosts.server]
address = "192.0.2.2/24"
[links.lan]
between = ["client", "server"]
delay = "1ms"
[[programs]]
host = "server"
run = ['l = socket(AF_INET, SOCK_STREAM)', 'bind(l, *:80) = 0', 'listen(l, 8) = 0', 'repeat 3', 'c$i = accept(l)', 'end',
    'recv(c2, 9) = "SECOND"', 'sleep 100ms']
[[programs]]
host = "client"
at = "10ms"
run = ['repeat 3', 's$i = socket(AF_INET, SOCK_STREAM)', 'connect(s$i, server:80) = 0', 'end', 'send(s2, "second") = 6',
    'getsockopt(s2, SOL_TCP, TCP_INFO) = tcpi_snd_cwnd 10, tcpi_unacked 1', 'sleep 50ms']
[[faults]]
forge = "client->server: 1st tcp.len == 6"
copy = 'data "SECOND"'
instead = true
[[expect]]
packet = "arp"
count = 0
[[expect]]
packet = "tcp.flags.syn == 1 && tcp.flags.ack == 0"
count = 3
"#;

#[test]
fn known_neighbours_repeats_forged_copies_and_tcp_info_do_what_they_say() {
    let file = scenario::file::parse(TCP, "test").expect("reads");
    let plan = scenario::plan(&file, &Overrides::default()).expect("plans");
    let outcome = scenario::run(&plan, &Targets::stack()).expect("runs");
    assert_eq!(outcome.problems(), [] as [String; 0]);
}

#[test]
fn a_wrong_line_of_a_repeat_is_told_once_and_an_open_one_at_its_place() {
    let told = |from: &str, to: &str| {
        let text = TCP.replace(from, to);
        let file = scenario::file::parse(&text, "test").expect("reads");
        let found = scenario::plan(&file, &Overrides::default()).expect_err("something is wrong");
        found.iter().map(|d| d.message.clone()).collect::<Vec<_>>()
    };
    assert_eq!(told("'c$i = accept(l)', 'end'", "'c$i = accept(l)'"), ["`repeat` without `end`"]);
    assert_eq!(told("'repeat 3', 'c$i", "'repeat x', 'c$i"), ["how often?"]);
    assert_eq!(told("connect(s$i, server:80)", "conect(s$i, server:80)").len(), 1);
    assert_eq!(told("copy = 'data", "copy = 'seq 1 data"), ["`1` is no difference such as +1 or -1"]);
}
