//! RFC 6455, section by section.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::problems;
use crate::world::{World, raw};

const MS: Duration = Duration::from_millis(1);

/// A request that is right, but for what is put in front and instead.
fn request(change: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut fields = vec![
        ("Host", "server"),
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let mut line = "GET / HTTP/1.1";
    for (name, value) in change {
        match value {
            Some(value) if *name == "line" => line = value,
            Some(value) => match fields.iter_mut().find(|field| field.0 == *name) {
                Some(field) => field.1 = value,
                None => fields.push((name, value)),
            },
            None => fields.retain(|field| field.0 != *name),
        }
    }
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{line}\r\n{fields}\r\n").into_bytes()
}

fn server(table: &Value) -> World {
    let mut world = World::new(10 * MS);
    world.serve("ws-server", table);
    world
}

#[test]
fn every_wrong_upgrade_gets_its_status() {
    let mut world = server(&json!({ "path": "/", "origins": ["http://shop.example"] }));
    let long = "dGhlIHNhbXBsZSBub25jZSBpcyB0b28gbG9uZw==";
    for (change, status) in [
        (("Host", Some("server")), 101),
        (("Origin", Some("http://shop.example")), 101),
        (("Sec-WebSocket-Extensions", Some("permessage-deflate; client_max_window_bits")), 101),
        (("Upgrade", None), 426),
        (("Upgrade", Some("h2c")), 426),
        (("Connection", Some("close")), 400),
        (("Connection", None), 400),
        (("Sec-WebSocket-Version", Some("8")), 426),
        (("Sec-WebSocket-Version", None), 400),
        (("Sec-WebSocket-Key", None), 400),
        (("Sec-WebSocket-Key", Some("not base 64")), 400),
        (("Sec-WebSocket-Key", Some(long)), 400),
        (("Origin", Some("http://evil.example")), 403),
        (("line", Some("GET /other HTTP/1.1")), 404),
        (("line", Some("POST / HTTP/1.1")), 405),
        (("line", Some("GET / HTTP/1.0")), 426),
    ] {
        let answer = world.client(raw(request(&[change])));
        let first = answer.lines().next().unwrap_or_default();
        assert_eq!(first.split(' ').nth(1), Some(status.to_string().as_str()), "{change:?}: {answer}");
        let head = answer.to_lowercase();
        if status == 426 {
            assert!(head.contains("\r\nsec-websocket-version: 13\r\n"), "{answer}");
            assert!(head.contains("\r\nupgrade: websocket\r\n"), "{answer}");
        }
        if status == 101 {
            // The RFC's own example (§1.3), and nothing that was not asked for or is not known.
            assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
            assert!(!head.contains("extensions") && !head.contains("content-length"), "{answer}");
        }
    }
}

#[test]
fn http_2_has_no_upgrade() {
    let mut world = World::new(MS);
    world.serve("http-server", &json!({ "pages": { "/socket": { "handler": "websocket" } } }));
    let words = ["curl", "--http2-prior-knowledge", "-w", "%{http_code}", "http://server/socket"];
    let (_, lines) = world.command(&words);
    assert_eq!(lines.join(" "), "426 Upgrade Required 426");
}

/// Sends bytes behind a good upgrade; what the server says until it closes, and after how long.
fn after_upgrade(world: &mut World, bytes: &[u8]) -> (Vec<u8>, Duration) {
    world.client(async {
        let mut stream = net::TcpStream::connect("server:80").await.unwrap();
        stream.write_all(&request(&[])).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let start = Instant::now();
        stream.write_all(bytes).await.unwrap();
        let mut said = Vec::new();
        // Until the end, or nothing more for a while.
        let _ = timeout(Duration::from_secs(3), stream.read_to_end(&mut said)).await;
        (said, start.elapsed())
    })
}

/// A frame with a mask of nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        n @ 0..=125 => bytes.push(0x80 | u8::try_from(n).unwrap()),
        n => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(n).unwrap().to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// The code of the Close frame that these frames of a server end with.
fn code(said: &[u8]) -> Option<u16> {
    let at = said.iter().rposition(|b| *b == 0x88)?;
    Some(u16::from_be_bytes(said.get(at + 2..at + 4)?.try_into().ok()?))
}

#[test]
fn whoever_breaks_the_protocol_is_told_how_at_once() {
    let mut world = server(&json!({ "max_frame": "1k", "max_message": "2k" }));
    let text = |part: &[u8]| frame(1, part);
    let more = |part: &[u8]| frame(0, part);
    for (name, bytes, expected) in [
        ("no mask", b"\x81\x05hello".to_vec(), 1002),
        ("compressed without an extension", frame(0xc1, b"x"), 1002),
        ("reserved bit", frame(0x91, b"x"), 1002),
        ("unknown data", frame(0x83, b"x"), 1002),
        ("unknown control", frame(0x8b, b"x"), 1002),
        ("ping in fragments", frame(0x09, b"x"), 1002),
        ("ping of 126 bytes", frame(0x89, &[0; 126]), 1002),
        ("nothing to continue", frame(0x80, b"x"), 1002),
        ("a message in a message", [text(b"a"), frame(0x81, b"b")].concat(), 1002),
        ("close of one byte", frame(0x88, &[3]), 1002),
        ("close with a code that is never sent", frame(0x88, &1005_u16.to_be_bytes()), 1002),
        ("close with 999", frame(0x88, &999_u16.to_be_bytes()), 1002),
        ("no UTF-8", frame(0x81, b"\xc3\x28"), 1007),
        ("no UTF-8 in the first fragment", text(b"\xff"), 1007),
        ("UTF-8 that ends in the middle", [text(b"\xe2\x82"), frame(0x80, b"")].concat(), 1007),
        ("surrogate", frame(0x81, b"\xed\xa0\x80"), 1007),
        ("reason without UTF-8", frame(0x88, b"\x03\xe8\xff"), 1007),
        ("frame beyond the limit", b"\x82\xfe\x04\x01\0\0\0\0".to_vec(), 1009),
        ("2^62 bytes", b"\x82\xff\x40\0\0\0\0\0\0\0\0\0\0\0".to_vec(), 1009),
        ("2^63 bytes", b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0".to_vec(), 1009),
        (
            "message beyond the limit",
            [text(&[b'a'; 1000]), more(&[b'a'; 1000]), more(&[b'a'; 1000])].concat(),
            1009,
        ),
    ] {
        let (said, took) = after_upgrade(&mut world, &bytes);
        assert_eq!(code(&said), Some(expected), "{name}: {said:02x?}");
        // A round trip; nothing of the server's waits for more, and it ends TCP.
        assert!(took < 100 * MS, "{name}: {took:?}");
    }
    // The server goes on.
    let (said, _) = after_upgrade(&mut world, &[frame(0x81, b"hello"), frame(0x88, b"\x03\xe8bye")].concat());
    assert_eq!(said, b"\x81\x05hello\x88\x05\x03\xe8bye");
}

#[test]
fn fragments_may_cut_characters_and_have_pings_between_them() {
    let mut world = server(&json!({}));
    let bytes = [
        frame(0x01, b"\xe2\x82"),
        frame(0x89, b"still there?"),
        frame(0x00, b"\xac 5"),
        frame(0x80, b""),
        frame(0x88, b""),
    ];
    let (said, _) = after_upgrade(&mut world, &bytes.concat());
    assert_eq!(
        said,
        "\u{8a}\u{c}still there?\u{81}\u{5}€ 5\u{88}\0"
            .chars()
            .map(|c| c as u32)
            .flat_map(|c| match c {
                0x20ac => vec![0xe2, 0x82, 0xac],
                c => vec![u8::try_from(c).unwrap()],
            })
            .collect::<Vec<_>>()
    );
}

#[test]
fn lengths_of_all_three_sizes_come_back() {
    let mut world = server(&json!({}));
    let steps =
        ["say-bytes 125", "say-bytes 126", "say-bytes 65535", "say-bytes 65536", "say-bytes 1m", "say €"];
    let (status, lines) = world.app("ws-client", &json!({ "url": "ws://server/", "steps": steps }));
    assert_eq!(status, 0, "{lines:?}");
    let sizes: Vec<&str> = lines[1..6].iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(sizes, ["125", "126", "65535", "65536", "1048576"]);
    assert!(lines[6].starts_with("text \"€\" (3 B) after 20.0 ms"), "{lines:?}");
    assert!(lines[7].starts_with("closed by us: 1000 normal closure, answered"), "{lines:?}");
}

#[test]
fn a_client_takes_no_more_than_its_limit_and_says_so() {
    let mut world = server(&json!({}));
    let table =
        json!({ "url": "ws://server/", "max_message": "1k", "max_frame": "1k", "steps": ["say-bytes 1025"] });
    let (status, lines) = world.app("ws-client", &table);
    assert_eq!(status, 1);
    assert!(lines.last().unwrap().contains("closed by us: 1009 message too big"), "{lines:?}");
    assert!(world.lines().last().unwrap().contains("closed by the peer: 1009"), "{:?}", world.lines());
}

#[test]
fn a_server_that_hears_no_pong_leaves_with_1011() {
    let mut world = server(&json!({ "ping": "5s", "pong_timeout": "2s", "does": "listen" }));
    // A client that does not read answers no ping.
    let table = json!({ "url": "ws://server/", "steps": ["sleep 30s", "closed 1011"] });
    let (status, lines) = world.app("ws-client", &table);
    assert_eq!(status, 0, "{lines:?}");
    assert!(lines[1].starts_with("ping \"1\", answered"), "{lines:?}");
    assert!(lines[2].contains("by the peer: 1011 internal error \"keepalive ping timeout\""), "{lines:?}");
    assert!(world.lines()[1].contains("closed by us: 1011"), "{:?}", world.lines());
    // One that reads stays.
    let table = json!({ "url": "ws://server/", "steps": ["listen 29s", "close 1000 enough"] });
    let (status, lines) = world.app("ws-client", &table);
    assert_eq!(status, 0, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("ping ")).count(), 5, "{lines:?}");
}

#[test]
fn everybody_in_a_room_hears_everything() {
    let mut world = server(&json!({ "does": "broadcast", "access_log": "off" }));
    let seen = world.client(async {
        let client = apps::ws::Client::new("ws://server/", apps::ws::Settings::default());
        let cx = apps::Cx::new(apps::Env::default(), "test", apps::Lines::default());
        let mut sessions = Vec::new();
        for _ in 0..3 {
            sessions.push(client.connect(&cx).await.unwrap().session);
        }
        sessions[1].text("to all").await.unwrap();
        let mut seen = Vec::new();
        for session in &mut sessions {
            seen.push(session.next().await);
        }
        seen
    });
    assert_eq!(seen, vec![apps::ws::Event::Text("to all".into()); 3]);
}

#[test]
fn wss_is_the_same_behind_tls() {
    let mut world = server(&json!({ "tls": { "certificate": "site" }, "protocols": ["b", "a"] }));
    let table = json!({ "url": "wss://server/", "protocols": ["a", "b"], "steps": ["say hello", "ping"] });
    let (status, lines) = world.app("ws-client", &table);
    assert_eq!(status, 0, "{lines:?}");
    // TCP, TLS 1.3, the upgrade: three round trips. The server's order of protocols counts.
    assert_eq!(lines[0], "101 after 60.0 ms (TCP 20.0 ms): protocol b, no extension");
    assert_eq!(lines[1], "text \"hello\" (5 B) after 20.0 ms");
    let table = json!({ "url": "wss://192.0.2.2/", "steps": [] });
    let (status, lines) = world.app("ws-client", &table);
    assert_eq!(status, 1);
    assert!(lines[0].contains("certificate"), "{lines:?}");
}

#[test]
fn a_server_that_is_none_is_told_apart() {
    for (answer, said) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"[..], "no upgrade: 200 hi"),
        (b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "something else than WebSocket"),
        (
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
            "does not fit the key",
        ),
        (b"garbage\r\n\r\n", "no HTTP"),
    ] {
        let mut world = World::new(MS);
        world.raw_server(answer.to_vec());
        let (status, lines) = world.app("ws-client", &json!({ "url": "ws://server/", "steps": [] }));
        assert_eq!(status, 1);
        assert!(lines[0].contains(said), "{lines:?}");
    }
}

#[test]
fn wrong_tables_are_refused_at_their_place_with_a_hint() {
    for (kind, table, path) in [
        ("ws-client", json!({ "url": "http://server/", "steps": [] }), "url"),
        ("ws-client", json!({ "url": "ws://server/#top", "steps": [] }), "url"),
        ("ws-client", json!({ "url": "ws://server/", "steps": ["say hi", "shout"] }), "steps.1"),
        ("ws-client", json!({ "url": "ws://server/", "steps": ["close 1006"] }), "steps.0"),
        ("ws-client", json!({ "url": "ws://server/", "steps": [], "protocols": ["a b"] }), "protocols"),
        ("ws-client", json!({ "url": "ws://server/", "steps": [], "ping": "0s" }), "ping"),
        (
            "ws-client",
            json!({ "url": "ws://server/", "steps": [], "tls": { "trust": ["nobody"] } }),
            "tls.trust.0",
        ),
        ("ws-server", json!({ "path": "chat" }), "path"),
        ("ws-server", json!({ "origins": ["shop.example"] }), "origins"),
        ("ws-server", json!({ "max_frame": "10" }), "max_frame"),
        ("ws-server", json!({ "events": 3 }), "events"),
        ("ws-server", json!({ "tls": {} }), "tls"),
    ] {
        let found = problems(kind, &table);
        assert!(!found.is_empty(), "{table}");
        assert!(found[0].0.starts_with(path) && !found[0].1.is_empty(), "{table}: {found:?}");
    }
    assert_eq!(problems("ws-server", &json!({ "does": "sing" })).len(), 1);
    assert_eq!(problems("ws-client", &json!({ "url": "ws://server/", "steps": [], "colour": 1 })).len(), 1);
}
