//! WebSocket and gRPC proven by what we did not write, both ways over a TAP: Python's `websockets`, and grpcio with protobuf's own
//! library.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use apps::Lines;
use serde_json::{Value, json};

use crate::able;
use crate::http::{KERNEL, STACK, env, read, serve, wire};
use crate::lab::{Bench, Path};
use crate::programs::{Files, Running, run};

const SCRIPTS: [(&str, &str); 3] = [
    ("websockets_client.py", include_str!("websockets_client.py")),
    ("websockets_server.py", include_str!("websockets_server.py")),
    ("calculator.py", include_str!("calculator.py")),
];

/// What a test needs, or it is skipped.
fn bench(test: &str) -> Option<(Bench, Files, String)> {
    let python: Option<PathBuf> = linux::testing::peers_python(test);
    let python = python.filter(|_| able(test))?;
    let files = Files::new("messages");
    for (name, text) in SCRIPTS {
        files.write(name, text);
    }
    Some((Bench::new(&wire()), files, python.to_str().expect("UTF-8").into()))
}

/// Runs a client of ours on the stack: its status and what it printed.
fn client(bench: &Bench, kind: &str, table: &Value) -> (i32, String) {
    let (app, lines) = (read(kind, table), Lines::default());
    let status = bench.block_on(app.run(apps::Cx::new(env(), kind, lines.clone())));
    (status, lines.all().join("\n"))
}

/// Waits until a program said something.
fn wait_for(lines: &Lines, text: &str) {
    let start = Instant::now();
    while !lines.all().join("\n").contains(text) {
        assert!(start.elapsed() < Duration::from_secs(10), "no `{text}` in {:?}", lines.all());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn pythons_websockets_is_content_with_our_server() {
    let Some((bench, files, python)) = bench("pythons_websockets_is_content_with_our_server") else { return };
    let table = json!({ "protocols": ["chat.v2", "chat.v1"], "origins": ["http://shop.example"], "ping": "200ms",
        "max_message": "100k", "max_frame": "100k" });
    let lines = serve(&bench, "ws-server", &table);
    let (_, ns) = bench.sides(Path::KernelConnects);
    let said = run(ns, &[&python, &files.path("websockets_client.py"), &format!("ws://{STACK}/")]);
    assert_eq!(said, "all is well\n");
    wait_for(&lines, "closed by the peer: 4001 private \"enough\", answered; 9 messages in, 9 out");
    wait_for(&lines, "closed by us: 1009 message too big");
}

#[test]
fn our_client_is_content_with_pythons_websockets() {
    let Some((bench, files, python)) = bench("our_client_is_content_with_pythons_websockets") else { return };
    let (ns, _) = bench.sides(Path::StackConnects);
    let mut server = Running::start(ns, &[&python, &files.path("websockets_server.py"), "8765"]);
    server.wait_for(ns, 8765);
    let url = format!("ws://{KERNEL}:8765/");
    let with = |steps: &[&str]| {
        client(&bench, "ws-client", &json!({ "url": url, "protocols": ["chat.v1"], "steps": steps }))
    };
    let (status, said) = with(&[
        "say hello",
        "say-in 5 one message in five frames, with €",
        "say-bytes 126",
        "say-bytes 65536",
        "ping",
        "listen 700ms",
        "close 1000 done",
    ]);
    assert_eq!(status, 0, "{said}");
    for part in [
        "protocol chat.v1",
        "five frames, with €\" (36 B)",
        "65536 bytes",
        "pong \"are you there?\"",
        "answered",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains("by us: 1000 normal closure \"done\", answered"), "{said}");
    // What it makes of wrong bytes is what ours makes of them.
    for (raw, code) in [
        ("raw 81 05 68 65 6c 6c 6f", "closed 1002"),
        ("raw c1 81 00 00 00 00 78", "closed 1002"),
        ("raw 81 82 00 00 00 00 c3 28", "closed 1007"),
        ("raw 88 82 00 00 00 00 03 e7", "closed 1002"),
        ("raw 82 ff 00 00 00 00 40 00 00 00 00 00 00 00", "closed 1009"),
    ] {
        let (status, said) = with(&[raw, code]);
        assert_eq!(status, 0, "{raw}: {said}");
    }
}

#[test]
fn grpcio_is_content_with_our_server() {
    let Some((bench, files, python)) = bench("grpcio_is_content_with_our_server") else { return };
    let lines = serve(&bench, "grpc-server", &json!({ "delay": "200ms", "max_message": "4k" }));
    let (_, ns) = bench.sides(Path::KernelConnects);
    let said = run(ns, &[&python, &files.path("calculator.py"), "call", &format!("{STACK}:50051")]);
    assert_eq!(said, "all is well\n");
    for part in [
        "Add: OK",
        "Total: OK",
        "AddEach: OK",
        "Count: OK",
        "Add: RESOURCE_EXHAUSTED",
        "Divide: UNIMPLEMENTED",
    ] {
        wait_for(&lines, part);
    }
    wait_for(&lines, "Count: cancelled by the client");
}

#[test]
fn our_client_is_content_with_grpcio() {
    let Some((bench, files, python)) = bench("our_client_is_content_with_grpcio") else { return };
    let (ns, _) = bench.sides(Path::StackConnects);
    let mut server = Running::start(ns, &[&python, &files.path("calculator.py"), "serve", "50051"]);
    server.wait_for(ns, 50051);
    let steps = [
        "add 20 22",
        "add 9000000000 -9000000001",
        "count 5 every 10ms",
        "total 1 2 3",
        "add-each 1 2 3",
        "call /wirelab.Calculator/Divide = UNIMPLEMENTED",
        "add-many 8k = RESOURCE_EXHAUSTED",
        "count 100 every 50ms within 200ms = DEADLINE_EXCEEDED",
        "count 100 every 50ms asking 200ms = DEADLINE_EXCEEDED",
        "count 100 every 10ms cancel 3 = CANCELLED",
        "add 1 2",
    ];
    let table = json!({ "to": format!("http://{KERNEL}:50051"), "steps": steps });
    let (status, said) = client(&bench, "grpc-client", &table);
    assert_eq!(status, 0, "{said}");
    for part in [
        "Add(20, 22) = 42: OK",
        "= -1: OK",
        "= 1 2 3 4 5: OK",
        "Total(1, 2, 3) = 6",
        "= 2 4 6: OK",
        "Add(1, 2) = 3",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
