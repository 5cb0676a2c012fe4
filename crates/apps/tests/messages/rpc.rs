//! gRPC over HTTP/2 as its protocol's document has it, and the length-prefixed calls beside it.

use std::time::Duration;

use apps::http::client::{Client, Config, Request, Version};
use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::problems;
use crate::world::World;

const MS: Duration = Duration::from_millis(1);

fn server(table: &serde_json::Value) -> World {
    let mut world = World::new(10 * MS);
    world.serve("grpc-server", table);
    world
}

#[test]
fn all_four_kinds_of_methods_work_over_one_connection_and_over_tls() {
    for (tls, to, port) in [(None, "http://server:50051", 50051), (Some("site"), "https://server", 443)] {
        let mut table = json!({ "port": port });
        if let Some(name) = tls {
            table["tls"] = json!({ "certificate": name });
        }
        let mut world = server(&table);
        let steps = ["add 20 22", "count 3 every 100ms", "total 1 2 3", "add-each 1 2 3", "total -5 4"];
        let (status, lines) = world.app("grpc-client", &json!({ "to": to, "steps": steps }));
        let expected = [
            "Add(20, 22) = 42: OK after 20.0 ms",
            "Count(3 every 100.0 ms) = 1 2 3: OK after 220.0 ms",
            "Total(1, 2, 3) = 6: OK after 20.0 ms",
            "AddEach(1, 2, 3) = 2 4 6: OK after 20.0 ms",
            "Total(-5, 4) = -1: OK after 20.0 ms",
        ];
        assert_eq!((status, lines), (0, expected.map(str::to_string).to_vec()));
        let told: Vec<String> =
            world.lines().iter().map(|line| line.split_once(' ').unwrap().1.to_string()).collect();
        let expected = ["Add: OK after 0.0 ms", "Count: OK after 200.0 ms", "Total: OK after 0.0 ms"];
        assert_eq!(told[..3], expected);
    }
}

#[test]
fn a_deadline_is_kept_by_whoever_meets_it_first_and_the_connection_stays() {
    let mut world = server(&json!({ "delay": "300ms" }));
    let steps = [
        "add 1 within 1s",
        "add 1 within 100ms = DEADLINE_EXCEEDED",
        "add 1 asking 100ms = DEADLINE_EXCEEDED",
        "add 1 leaving 100ms = CANCELLED",
        "count 9 every 100ms asking 250ms = DEADLINE_EXCEEDED",
        "count 9 every 100ms cancel 2 = CANCELLED",
        "add 7 8",
    ];
    let (status, lines) = world.app("grpc-client", &json!({ "to": "http://server:50051", "steps": steps }));
    assert_eq!(status, 0, "{lines:?}");
    let ends = ["320.0 ms", "100.0 ms", "120.0 ms", "100.0 ms", "270.0 ms", "120.0 ms", "320.0 ms"];
    for (line, end) in lines.iter().zip(ends) {
        assert!(line.ends_with(end), "{end}: {lines:?}");
    }
    assert!(lines[4].starts_with("Count(9 every 100.0 ms) = 1 2 3: DEADLINE_EXCEEDED"), "{lines:?}");
    let server = world.lines();
    let said = |n: usize, text: &str| assert!(server[n].contains(text), "{text}: {server:?}");
    said(2, "Add: DEADLINE_EXCEEDED after 100.0 ms");
    // It hears of the reset half a round trip after the client's end, and works no longer.
    said(3, "Add: cancelled by the client after 100.0 ms");
    said(4, "Count: DEADLINE_EXCEEDED after 250.0 ms");
    said(5, "Count: cancelled by the client");
    // Another end than the one that was said is a failure.
    let (status, lines) =
        world.app("grpc-client", &json!({ "to": "http://server:50051", "steps": ["add 1 = CANCELLED"] }));
    assert_eq!((status, lines[1].as_str()), (1, "grpc-client: that must have ended with CANCELLED"));
}

#[test]
fn hostile_requests_are_answered_with_a_status_on_their_stream_alone() {
    let mut world = server(&json!({ "max_message": "1k" }));
    let grpc = "application/grpc";
    let seen = world.client(async {
        let client = Client::new(Config { version: Version::Http2PriorKnowledge, ..Config::default() });
        let mut seen = Vec::new();
        for (method, path, kind, timeout, body) in [
            (Method::GET, "Add", grpc, "", &b""[..]),
            (Method::POST, "Add", "application/json", "", b"{}"),
            (Method::POST, "Divide", grpc, "", b""),
            (Method::POST, "Add", grpc, "soon", b"\0\0\0\0\0"),
            // A message of 4 GiB is announced; one that is a byte too large.
            (Method::POST, "Add", grpc, "", b"\0\xff\xff\xff\xff"),
            (Method::POST, "Add", grpc, "", b"\0\0\0\x04\x01"),
            // Compressed, with nothing said of how; a flag that there is not.
            (Method::POST, "Add", grpc, "", b"\x01\0\0\0\x01x"),
            (Method::POST, "Add", grpc, "", b"\x07\0\0\0\x01x"),
            // No protobuf; cut short; nothing; one too many.
            (Method::POST, "Add", grpc, "", b"\0\0\0\0\x02\x0a\xff"),
            (Method::POST, "Add", grpc, "", b"\0\0\0\0\x09\x08"),
            (Method::POST, "Add", grpc, "", b""),
            (Method::POST, "Add", grpc, "", b"\0\0\0\0\0\0\0\0\0\0"),
            (Method::POST, "Count", grpc, "", b"\0\0\0\0\x06\x08\xff\xff\xff\xff\x0f"),
        ] {
            let url = format!("http://server:50051/wirelab.Calculator/{path}");
            let mut request =
                Request::get(&url).unwrap().header("Content-Type", kind).unwrap().body(body.to_vec());
            if !timeout.is_empty() {
                request = request.header("grpc-timeout", timeout).unwrap();
            }
            let response = client.send(Request { method, ..request }).await.unwrap();
            let status = response.header("grpc-status").map(|text| text.parse::<u32>().unwrap());
            seen.push((response.status.as_u16(), status));
        }
        (seen, client.connections().len())
    });
    let ok = |code| (200, Some(code));
    let expected = [
        (405, None),
        (415, None),
        ok(12),
        ok(3),
        ok(8),
        ok(8),
        ok(13),
        ok(13),
        ok(13),
        ok(13),
        ok(3),
        ok(3),
        ok(3),
    ];
    assert_eq!(seen.0, expected);
    assert_eq!(seen.1, 1, "one connection carried them all");
}

#[test]
fn a_client_takes_no_message_beyond_its_limit() {
    let mut world = server(&json!({}));
    let table = json!({ "to": "http://server:50051", "max_message": "2",
        "steps": ["add 1 = OK", "add 1000000 = RESOURCE_EXHAUSTED", "add 1"] });
    let (status, lines) = world.app("grpc-client", &table);
    assert_eq!(status, 0, "{lines:?}");
}

#[test]
fn a_silent_server_is_noticed_by_ping_and_a_closed_port_at_once() {
    let mut world = World::new(10 * MS);
    let (status, lines) =
        world.app("grpc-client", &json!({ "to": "http://server:50051", "steps": ["add 1"] }));
    assert_eq!(status, 1);
    assert!(lines[0].to_lowercase().contains("refused"), "{lines:?}");
}

#[test]
fn the_comparison_counts_what_each_way_costs() {
    let mut world = server(&json!({}));
    world.serve("rpc-server", &json!({}));
    world.serve(
        "http-server",
        &json!({ "pages": { "/rpc": { "handler": "json-rpc" } }, "access_log": "off" }),
    );
    let ways = json!([
        { "by": "json", "to": "http://server/rpc" },
        { "by": "grpc", "to": "http://server:50051" },
        { "by": "grpc-stream", "to": "http://server:50051" },
        { "by": "raw", "to": "server:7000" },
    ]);
    let (status, lines) = world.app("rpc-comparison", &json!({ "calls": 5, "ways": ways }));
    assert_eq!(status, 0, "{lines:?}");
    let row = |n: usize| lines[n][20..].split_whitespace().map(str::to_string).collect::<Vec<_>>();
    // A handshake and five calls are six round trips of 20 ms; a stream has one.
    for (n, ms, trips) in [(1, "120.0", "6.0"), (2, "120.0", "6.0"), (3, "40.0", "2.0"), (4, "120.0", "6.0")]
    {
        assert_eq!(row(n)[..4], ["5", ms, "ms", trips], "{lines:?}");
    }
    // SYN, SYN-ACK, ACK; a segment each way for every call, each with the ACK of the one before it; and the ACK that Linux
    // sends at once for each side's first data (quick acknowledgements).
    assert_eq!(row(4)[4..], ["105", "60", "0", "15"], "{lines:?}");
    let bytes = |n: usize| row(n)[4].parse::<u32>().unwrap() + row(n)[5].parse::<u32>().unwrap();
    assert!(bytes(1) > bytes(2) && bytes(2) > bytes(3) && bytes(3) > bytes(4), "{lines:?}");
}

#[test]
fn a_raw_rpc_with_a_hostile_length_is_refused_before_it_is_read() {
    let mut world = World::new(MS);
    world.serve("rpc-server", &json!({}));
    for bytes in
        [vec![0xff, 0xff, 0xff, 0xff], vec![0, 0, 0, 1, 9], vec![0, 0, 0, 3, 1, 0, 0], vec![0, 0, 0, 0]]
    {
        let ended = world.client(async {
            let mut stream = net::TcpStream::connect("server:7000").await.unwrap();
            stream.write_all(&bytes).await.unwrap();
            stream.read(&mut [0; 100]).await.map_or(0, |n| n)
        });
        assert_eq!(ended, 0);
    }
    assert!(world.lines()[0].contains("4294967295 bytes is refused"), "{:?}", world.lines());
}

#[test]
fn wrong_tables_are_refused_at_their_place_with_a_hint() {
    let to = "http://server:50051";
    for (kind, table, path) in [
        ("grpc-client", json!({ "to": "server:50051", "steps": [] }), "to"),
        ("grpc-client", json!({ "to": "http://server/path", "steps": [] }), "to"),
        ("grpc-client", json!({ "to": to, "steps": ["add 1", "add 1 = GREAT"] }), "steps.1"),
        ("grpc-client", json!({ "to": to, "steps": [], "max_message": "0" }), "max_message"),
        ("grpc-server", json!({ "ping": "0s" }), "ping"),
        ("grpc-server", json!({ "tls": { "certificate": "none" } }), "tls"),
        ("rpc-comparison", json!({ "ways": [] }), "ways"),
        ("rpc-comparison", json!({ "ways": [{ "by": "raw", "to": "server" }] }), "ways.0.to"),
        ("rpc-comparison", json!({ "ways": [{ "by": "grpc", "to": "server:1" }] }), "ways.0.to"),
        ("rpc-comparison", json!({ "ways": [{ "by": "json", "to": "nonsense" }] }), "ways.0.to"),
        ("rpc-comparison", json!({ "ways": [{ "by": "raw", "to": "server:1" }], "calls": 0 }), "calls"),
    ] {
        let found = problems(kind, &table);
        assert!(!found.is_empty(), "{table}");
        assert!(found[0].0.starts_with(path) && !found[0].1.is_empty(), "{table}: {found:?}");
    }
}
