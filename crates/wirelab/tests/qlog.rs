//! What stands beside a capture of QUIC: qlog files as qvis loads them (draft-ietf-quic-qlog-main-schema-03 §6.2, RFC 7464).

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The records of a JSON text sequence.
fn records(file: &Path) -> Vec<Value> {
    let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert_eq!((bytes.first(), bytes.last()), (Some(&0x1e), Some(&b'\n')), "{}", file.display());
    let texts = bytes[1..].split(|byte| *byte == 0x1e);
    texts
        .map(|text| serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {text:?}")))
        .collect()
}

/// Packets with this event's name, and when the first one was.
fn events<'a>(records: &'a [Value], name: &str) -> Vec<&'a Value> {
    records[1..].iter().filter(|event| event["name"] == name).collect()
}

#[test]
fn each_connection_leaves_a_qlog_of_both_ends_beside_the_capture() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let pcap = dir.path().join("zero-rtt.pcapng");
    let out =
        Command::new(env!("CARGO_BIN_EXE_wirelab")).args(["run", "zero-rtt", "--pcap"]).arg(&pcap).output();
    let out = out.expect("wirelab runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    for number in ["", "-2"] {
        let client = records(&dir.path().join(format!("zero-rtt.client.quic-client{number}.sqlog")));
        let server = records(&dir.path().join(format!("zero-rtt.server.quic-server{number}.sqlog")));
        for (records, side) in [(&client, "client"), (&server, "server")] {
            let head = &records[0];
            assert_eq!(head["qlog_format"], "JSON-SEQ");
            assert!(head["qlog_version"].as_str().is_some_and(|version| version.starts_with("0.")), "{head}");
            assert_eq!(head["trace"]["vantage_point"]["type"], side);
            let mut last = 0.0;
            let mut groups = std::collections::BTreeSet::new();
            for event in &records[1..] {
                let time = event["time"].as_f64().unwrap_or_else(|| panic!("{event}"));
                assert!(time >= last, "{event} after {last}");
                last = time;
                let name = event["name"].as_str().unwrap_or_else(|| panic!("{event}"));
                let (category, _) = name.split_once(':').unwrap_or_else(|| panic!("{name}"));
                assert!(["transport", "recovery", "quic"].contains(&category), "{name}");
                assert!(event["data"].is_object(), "{event}");
                groups.insert(event["group_id"].to_string());
            }
            // A client's first packets go by the ID that it made up for the server.
            let most = if side == "client" { 2 } else { 1 };
            assert!(groups.len() <= most, "one file is one connection: {groups:?}");
        }
        // What one end sent the other one got: nothing is lost in this row.
        let name = |records: &[Value], what: &str| {
            let with = |category: &str| events(records, &format!("{category}:{what}")).len();
            with("transport") + with("quic")
        };
        let (sent, got) = (name(&client, "packet_sent"), name(&server, "packet_received"));
        assert!(sent > 0 && got > 0 && got <= sent, "{sent} sent, {got} received");
    }
}
