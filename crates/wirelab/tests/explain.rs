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
