//! What is explained follows from what happened: another setting, another sentence.

use std::process::Command;

/// Sentences, what decides, and folklore of a run, as one text.
fn told(row: &str, args: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_wirelab"))
        .args(["run", row, "--json", "--no-pcap"])
        .args(args)
        .output()
        .expect("it runs");
    let value: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let why = &value["explanation"];
    let texts = |list: &str, keys: &[&str]| -> Vec<String> {
        let list = why[list].as_array().expect("a list");
        let line = |v: &serde_json::Value| {
            keys.iter().map(|k| v[*k].as_str().unwrap_or("?")).collect::<Vec<_>>().join("=")
        };
        list.iter().map(line).collect()
    };
    let all = [
        texts("sentences", &["text"]),
        texts("decides", &["name", "value"]),
        texts("folklore", &["says", "fact"]),
    ];
    all.concat().join("\n")
}

#[track_caller]
fn holds(row: &str, args: &[&str], has: &[&str], has_not: &[&str]) {
    let told = told(row, args);
    for part in has {
        assert!(told.contains(part), "{row} {args:?} does not tell {part:?}, but\n{told}");
    }
    for part in has_not {
        assert!(!told.contains(part), "{row} {args:?} tells {part:?}:\n{told}");
    }
}

/// TRUTH 1a and 1c, 14.1.
#[test]
fn the_syn_schedule_follows_its_two_sysctls_and_the_folklore_goes_when_it_is_true() {
    let says = "a SYN is sent again 5 times";
    holds(
        "syn-lost",
        &[],
        &["1 s (5 times), 2 s, doubling to 32 s", "gave up 131 s after", "tcp_syn_retries=6", says],
        &[],
    );
    let old =
        ["--set", "client:net.ipv4.tcp_syn_retries=5", "--set", "client:net.ipv4.tcp_syn_linear_timeouts=0"];
    holds(
        "syn-lost",
        &old,
        &["after 1 s, doubling to 16 s", "gave up 63 s after", "tcp_syn_linear_timeouts=0"],
        &[says],
    );
}

/// TRUTH 5a, 5aE, 14.11, 14.12.
#[test]
fn who_repeats_and_when_follows_tail_loss_probes_and_retries2() {
    let first = "retransmissions come 1, 3, 7, 15 RTOs";
    holds("rto", &[], &["by a tail loss probe after 220 ms", "tcp_early_retrans=3", first], &[]);
    let off = ["--set", "client:net.ipv4.tcp_early_retrans=0"];
    holds("rto", &off, &["by its retransmission timer after 220 ms, 440 ms"], &["probe", first]);
    let all = ["tcp_retries2=15 means 15 retransmissions", "16 retransmissions in 9"];
    holds("cable-pulled-default", &[], &all, &[]);
}

/// TRUTH 4a, 4a1, 14.7.
#[test]
fn a_fin_that_nobody_answers_follows_tcp_orphan_retries() {
    let zero = "0 stands for 8: the FIN was sent 10 times";
    holds("first-fin-lost-default", &[], &[zero, "forgot the connection after"], &[]);
    let one = ["--set", "client:net.ipv4.tcp_orphan_retries=1"];
    holds("first-fin-lost-default", &one, &["tcp_orphan_retries=1"], &["0 stands for 8"]);
}

#[test]
fn loss_without_a_timer_names_sack_and_tail_loss_the_probe() {
    holds("sack", &[], &["at once when an answer showed that it was missing", "tcp_sack=1"], &["timer"]);
    holds("rack-tlp", &[], &["by a tail loss probe after"], &["retransmission timer"]);
    holds("tlp-off", &[], &["by its retransmission timer after"], &["probe after"]);
}

/// TRUTH 5d, 5f, 5g, 14.18.
#[test]
fn a_rst_is_told_with_its_cause_and_what_the_programs_saw() {
    let heard = "whose send() returned ECONNRESET, then send() returned EPIPE";
    let heard = heard.replace("then send() returned EPIPE", "then send() EPIPE");
    holds(
        "host-rebooted",
        &[],
        &["server knew nothing of the connection", &heard, "writing after a RST fails with EPIPE"],
        &[],
    );
    holds("linger-zero", &[], &["SO_LINGER with time 0 asked for it"], &["did not read"]);
    holds("close-with-unread-data", &[], &["data had arrived that its program did not read"], &["SO_LINGER"]);
}

/// TRUTH 4, 9f, 14.4.
#[test]
fn a_close_is_told_by_who_was_first_and_what_waits() {
    holds(
        "three-segment-close",
        &[],
        &["client closed first", "three packets", "client keeps"],
        &["four packets"],
    );
    holds("why-four", &[], &["four packets"], &["three packets"]);
    holds("simultaneous-close", &[], &["at the same time"], &["closed first"]);
    holds("two-msl", &[], &["it is 5 on client, and TIME-WAIT lasted"], &[]);
    holds("close-wait-leak", &[], &["in CLOSE-WAIT on"], &[]);
}

#[test]
fn shut_windows_idle_connections_and_full_queues_are_told() {
    holds(
        "zero-window",
        &[],
        &["its window was 0 for", "asked", "whether it is open again", "SO_RCVBUF=4096"],
        &["tcp_rmem"],
    );
    holds(
        "host-crashed-keepalive",
        &[],
        &["keepalive asked 3 times", "no answer", "TCP_KEEPIDLE=2"],
        &["tcp_keepalive_time"],
    );
    let rst = "tcp_abort_on_overflow=1 answers with a RST when";
    holds("accept-queue-full", &[], &["dropped 2 SYNs in silence", "makes room for 2", rst], &[]);
    let off = ["--set", "server:net.ipv4.tcp_abort_on_overflow=0"];
    holds("accept-queue-full", &off, &["tcp_abort_on_overflow=0"], &[rst]);
    holds("abort-on-overflow", &[], &["answered a third packet with a RST"], &[]);
}

/// TRUTH 10c.
#[test]
fn nagle_and_the_delayed_ack_are_told_only_where_they_meet() {
    let met = "waited 60 ms for the ACK of the first (Nagle's algorithm)";
    holds("nagle-delayed-ack", &[], &[met, "TCP_NODELAY=0"], &[]);
    holds("nagle", &[], &[], &["Nagle's algorithm"]);
}

/// TRUTH 10d, 10f.
#[test]
fn slow_start_is_told_by_its_round_trips_and_the_algorithm_that_decides() {
    let rounds = "sent 10, 20, 40 segments in its first round trips";
    holds("slow-start", &[], &[rounds, "tcp_congestion_control=cubic"], &[]);
    holds("congestion-reno", &[], &["tcp_congestion_control=reno", "link's queue was full"], &[]);
}

/// TRUTH 7, §13.
#[test]
fn old_timestamps_are_told_where_they_count() {
    holds("paws", &[], &["its timestamp", "PAWS", "tcp_timestamps=1"], &[]);
    holds("paws-off", &[], &[], &["PAWS"]);
    holds("tw-recycle-nat", &[], &["dropped 10 SYNs in silence", "tcp_tw_recycle=1"], &[]);
    holds("tw-recycle-nat-today", &[], &[], &["recycle"]);
}

/// TRUTH §8: what takes a port, and what runs out.
#[test]
fn a_name_that_is_taken_is_told_with_who_has_it_and_the_setting_that_decides() {
    let shared = [
        "another socket has 192.0.2.2:80, and a wildcard address",
        "SO_REUSEADDR on one of the two is not enough",
        "SO_REUSEPORT is set on both",
        "one socket alone may listen at 0.0.0.0:81",
        "no interface of server has 198.51.100.1",
    ];
    holds("bind-conflicts", &[], &shared, &[]);
    let time_wait =
        ["in TIME-WAIT has the port, and SO_REUSEADDR is not set", "succeeded beside a connection"];
    holds("restart-address-in-use", &[], &time_wait, &[]);
    let range = ["even ports of its range first (40000)", "2 connections to 192.0.2.2:80", "40000 40001"];
    holds("client-port-choice", &[], &range, &[]);
    let odd = ["--set", "client:net.ipv4.ip_local_port_range=40001 40003"];
    holds("client-port-choice", &odd, &["odd ports of its range first"], &["even ports of its range first"]);
    holds("four-tuple", &[], &["a connection with these two addresses and two ports exists", "at once"], &[]);
    holds("max-connections", &[], &["1024 descriptors", "RLIMIT_NOFILE", "stays in the accept queue"], &[]);
    holds("simultaneous-open-self", &[], &["connected to itself"], &[]);
}

#[test]
fn silence_after_a_cut_is_told_until_somebody_sends() {
    holds("host-crashed-idle", &[], &["nobody sent", "stayed ESTABLISHED"], &[]);
    holds("server-idle", &[], &["for 9.13 s nobody sent"], &[]);
    holds("cable-pulled", &[], &[], &["nobody sent"]);
}

/// TRUTH 4k, 4l, 14.8: `tcp_fin_timeout` counts from `close()` on, and is named only where it ran out.
#[test]
fn the_time_in_fin_wait_2_is_told_only_where_it_ran_out() {
    let says = "tcp_fin_timeout is how long FIN-WAIT-2 lasts";
    let forgot = "then forgot the connection";
    holds("second-fin-lost-shutdown", &[], &[says, "it is 2 on client", "only from close() on"], &[forgot]);
    let long = ["--set", "client:net.ipv4.tcp_fin_timeout=60"];
    holds("second-fin-lost-shutdown", &long, &[], &[says, forgot]);
    holds("second-fin-lost", &[], &[forgot, "tcp_fin_timeout="], &[says]);
    holds("four-way-close", &[], &[], &[forgot]);
    holds("close-with-unread-data", &[], &[], &[forgot]);
}

/// TRUTH 6f to 6k, 14.10: what limits half-open connections, and when it is not `tcp_max_syn_backlog`.
#[test]
fn the_syn_queue_is_told_by_what_limited_it() {
    let says = "tcp_max_syn_backlog is the length of the SYN queue";
    holds(
        "syn-flood",
        &[],
        &["full with 5 half-open", "with cookies", "what listen() was given decided", says],
        &[],
    );
    holds("syn-queue-full", &[], &["full with 5 half-open", "in silence", says], &["cookies and"]);
    holds(
        "syn-flood-max-syn-backlog",
        &[],
        &["the last quarter of", says, "tcp_max_syn_backlog=4"],
        &["listen() was"],
    );
    let cookies = ["--set", "server:net.ipv4.tcp_syncookies=1"];
    holds("syn-flood-max-syn-backlog", &cookies, &["nobody asks for it", says], &["the last quarter of"]);
    holds("syn-flood-always-cookies", &[], &["tcp_syncookies=2"], &[says]);
}

/// TRUTH 5c, 5cU, 14.13.
#[test]
fn keepalive_ends_with_a_rst_and_a_user_timeout_overrides_its_count() {
    let silence = "keepalive drops a dead connection in silence";
    holds("host-crashed-keepalive", &[], &[silence, "sent a RST when it gave up"], &["overrides"]);
    holds("cable-pulled-idle", &[], &[], &[silence]);
}

/// TRUTH 3e, 14.14.
#[test]
fn a_silent_client_of_a_deferring_listener_is_handed_over() {
    let says = "TCP_DEFER_ACCEPT drops clients that say nothing";
    holds("defer-accept", &[], &[says, "accept() returned the silent client after", "one more SYN-ACK"], &[]);
    holds("data-in-third-packet", &[], &[], &[says]);
}

/// TRUTH 10b, 14.15.
#[test]
fn segments_that_are_acknowledged_one_by_one_are_told() {
    let says = "every second segment is acknowledged, a single one after 40 ms";
    holds("slow-start", &[], &[says, "each by itself and at once"], &[]);
    holds("three-way-handshake", &[], &[], &[says]);
}

/// A world of client and server, and what their programs do, as a file.
fn file(name: &str, more: &str, client: &[&str], server: &[&str]) -> String {
    let run = |calls: &[&str]| calls.iter().map(|c| format!("    '{c}',\n")).collect::<String>();
    let text = format!(
        "question = \"?\"\nabout = \"?\"\nuntil = \"40s\"\n{more}\n[hosts.client]\naddress = \"192.0.2.1/24\"\n\
         [hosts.server]\naddress = \"192.0.2.2/24\"\n[switches.sw]\n[links.near]\nbetween = [\"client\", \"sw\"]\n\
         [links.far]\nbetween = [\"sw\", \"server\"]\ndown = \"1s..\"\n[[programs]]\nhost = \"server\"\nrun = [\n{}]\n\
         [[programs]]\nhost = \"client\"\nat = \"100ms\"\nrun = [\n{}]\n",
        run(server),
        run(client)
    );
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.toml"));
    std::fs::write(&path, text).expect("a file of the test's own");
    path.to_str().expect("UTF-8").to_owned()
}

const SERVER: [&str; 5] = [
    "l = socket(AF_INET, SOCK_STREAM)",
    "bind(l, *:80) = 0",
    "listen(l, 8) = 0",
    "c = accept(l)",
    "sleep 60s",
];

/// TRUTH 5cU, 5cU2, 5cD, 14.13.
#[test]
fn keepalive_yields_to_a_user_timeout_and_to_data_that_wait() {
    let begin = |first: &'static str, second: &'static str| {
        [
            "s = socket(AF_INET, SOCK_STREAM)",
            "connect(s, server:80) = 0",
            "setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, 1) = 0",
            "setsockopt(s, SOL_TCP, TCP_KEEPIDLE, 5) = 0",
            "setsockopt(s, SOL_TCP, TCP_KEEPINTVL, 2) = 0",
            "setsockopt(s, SOL_TCP, TCP_KEEPCNT, 3) = 0",
            first,
            second,
            "recv(s, 10) = -1 ETIMEDOUT",
        ]
    };
    let known = "neighbours = \"known\"";
    let count = "how many probes a dead peer gets";
    let own = begin("setsockopt(s, SOL_TCP, TCP_USER_TIMEOUT, 20000) = 0", "sleep 1ms");
    let own = file("user-timeout", known, &own, &SERVER);
    holds(&own, &[], &[count, "asked 8 times though it is 3: TCP_USER_TIMEOUT=20000 overrides it"], &[]);
    let none = file("no-user-timeout", known, &begin("sleep 1ms", "sleep 1ms"), &SERVER);
    holds(&none, &[], &["keepalive asked 3 times"], &[count]);
    let data = file("data-waits", known, &begin("at 2s", "send(s, \"x\") = 1"), &SERVER);
    let less = ["--set", "client:net.ipv4.tcp_retries2=5"];
    holds(&data, &less, &["does not ask while data is unacknowledged"], &["keepalive asked"]);
}

/// TRUTH 11a, 14.16.
#[test]
fn a_host_of_the_own_link_that_is_down_is_known_after_three_seconds() {
    let client = ["s = socket(AF_INET, SOCK_STREAM)", "connect(s, 192.0.2.77:80) = -1 EHOSTUNREACH"];
    let says = "connect() to a host that is down fails after minutes";
    let row = file("host-down", "", &client, &SERVER[..1]);
    holds(&row, &[], &[says, "returned EHOSTUNREACH after 3 s"], &[]);
}

/// RFC 6455 §5 and §7, from the frames of the run.
#[test]
fn a_websockets_pings_masks_and_close_are_told_from_its_frames() {
    let lost = "No pong came back";
    let has = [
        "masked by the client only: 7 of 7 of client's, none of server's",
        "ping was answered by a pong after 40 ms",
        "closed the WebSocket with code 1000 (“done”), and server agreed before TCP ended",
    ];
    holds("websocket", &[], &has, &[lost]);
    holds("websocket-lost-ping", &[], &["ping was answered by a pong after 40 ms", lost], &[]);
}
