//! Captures of real clients and servers (`tests/captures/make.sh`): we name what tshark names, packet by packet, and find the
//! same values. Without tshark only what we say ourselves is checked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use analysis::dissect::{Field, Layer, Message, PacketLayers};
use analysis::ladder::{Ladder, Options};
use analysis::{Dissection, from_capture};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(name)
}

fn dissect(name: &str) -> Dissection {
    let bytes = std::fs::read(path(name)).expect("it is in the repository");
    Dissection::of_journal(&from_capture(&wire::capture::read(&bytes).expect("a capture")))
}

/// Rows of `tshark -T fields`, by frame; `None` without tshark.
fn tshark(name: &str, ports: &[&str], fields: &[&str]) -> Option<BTreeMap<u32, Vec<Vec<String>>>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-2", "-r"]).arg(path(name)).args(["-T", "fields", "-E", "aggregator=|"]);
    for port in ports {
        command.args(["-d", port]);
    }
    command.args(["-e", "frame.number"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let Ok(run) = command.output() else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "tshark must be installed where CI=true");
        eprintln!("SKIPPED: tshark is not installed");
        return None;
    };
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8(run.stdout).expect("tshark prints UTF-8");
    let row = |line: &str| {
        let mut columns = line.split('\t');
        let number = columns.next().expect("a number").parse().expect("a number");
        let values = |c: &str| c.split('|').filter(|v| !v.is_empty()).map(str::to_string).collect();
        (number, columns.map(values).collect())
    };
    Some(text.lines().map(row).collect())
}

/// Values of our detail fields of this name, with those inside of others.
fn values(fields: &[Field], name: &str, out: &mut Vec<String>) {
    for f in fields {
        if f.name == name {
            out.push(f.value.clone());
        }
        values(&f.fields, name, out);
    }
}

fn all(packet: &PacketLayers, name: &str) -> Vec<String> {
    let mut out = Vec::new();
    for layer in &packet.layers {
        values(&layer.details, name, &mut out);
    }
    out
}

fn map<'p>(packet: &'p PacketLayers, pick: impl Fn(&'p Layer) -> Option<String>) -> Vec<String> {
    packet.layers.iter().filter_map(pick).collect()
}

/// A number at the end of ours (`ClientHello (1)`) or alone, as tshark's decimal.
fn number(text: &str) -> String {
    let inside = text.rsplit_once('(').map_or(text, |(_, n)| n.trim_end_matches(')'));
    inside.to_string()
}

/// Every packet's `ours` against one of tshark's columns.
fn compare(
    what: &str,
    dissection: &Dissection,
    rows: &BTreeMap<u32, Vec<Vec<String>>>,
    column: usize,
    ours: impl Fn(&PacketLayers) -> Vec<String>,
) {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (n, row) in rows {
        let mine = dissection.packet(*n).map(&ours).unwrap_or_default();
        seen += mine.len();
        if mine != row[column] {
            wrong.push(format!("#{n} {what}: ours {mine:?}, tshark {:?}", row[column]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 0, "{what} occurs in the capture");
}

#[test]
fn tls_http_and_dns_are_named_as_tshark_names_them() {
    let fields = [
        "tls.handshake.type",
        "dns.qry.name",
        "dns.flags.rcode",
        "http.request.method",
        "http.request.uri",
        "tls.alert_message.desc",
        "http.response.code",
        "websocket.opcode",
        "websocket.masking_key",
        "websocket.payload.close.status_code",
        "websocket.payload.ping",
        "websocket.payload.pong",
    ];
    let dissection = dissect("web.pcapng");
    let Some(mut rows) = tshark("web.pcapng", &[], &fields) else { return };
    // The connection with a CBC suite, which is not opened here.
    let which = |text: &str| dissection.packets.iter().find(|(_, p)| p.text.contains(text)).map(|(n, _)| *n);
    let (first, last) = (which("Encrypted Handshake Message"), which("Encrypted Alert"));
    let sealed = first.expect("there is one")..=last.expect("there is one");
    rows.retain(|n, _| !sealed.contains(n));
    compare("handshake", &dissection, &rows, 0, |p| {
        let ty = |l: &Layer| match l.message {
            Message::TlsHandshake { ty, .. } => Some(ty.to_string()),
            _ => None,
        };
        map(p, ty)
    });
    compare("dns.qry.name", &dissection, &rows, 1, |p| {
        all(p, "dns.qry.name").iter().map(|n| n.trim_end_matches('.').to_string()).collect()
    });
    compare("dns.flags.rcode", &dissection, &rows, 2, |p| {
        let code = |l: &Layer| match &l.message {
            Message::DnsResponse { rcode, .. } if rcode == "NOERROR" => Some("0".to_string()),
            Message::DnsResponse { .. } => Some("3".to_string()),
            _ => None,
        };
        map(p, code)
    });
    // HTTP/1 only: HTTP/2 has names of its own there.
    compare("http.request.method", &dissection, &rows, 3, |p| all(p, "http.request.method"));
    compare("http.request.uri", &dissection, &rows, 4, |p| all(p, "http.request.uri"));
    compare("alert", &dissection, &rows, 5, |p| all(p, "tls.alert_message.desc"));
    for (at, name) in fields.iter().enumerate().skip(7) {
        compare(name, &dissection, &rows, at, |p| all(p, name));
    }
    // tshark tells a response where its body ends, we where its head does.
    let mut mine: Vec<String> = Vec::new();
    dissection.packets.values().for_each(|p| mine.extend(all(p, "http.response.code")));
    let theirs: Vec<String> = rows.values().flat_map(|r| r[6].clone()).collect();
    assert_eq!(mine, theirs);
}

#[test]
fn http2_frames_and_header_fields_are_tsharks() {
    let fields = ["http2.type", "http2.streamid", "http2.header.name", "http2.header.value"];
    let dissection = dissect("web.pcapng");
    let ports = ["tcp.port==8443,tls", "tcp.port==81,http2"];
    let Some(rows) = tshark("web.pcapng", &ports, &fields) else { return };
    compare("http2.type", &dissection, &rows, 0, |p| {
        all(p, "http2.type").iter().map(|t| number(t)).collect()
    });
    compare("http2.streamid", &dissection, &rows, 1, |p| all(p, "http2.streamid"));
    let line = |p: &PacketLayers| all(p, "http2.header");
    compare("http2.header.name", &dissection, &rows, 2, |p| {
        let name = |l: &String| l[1..].split(": ").next().map(|rest| format!("{}{rest}", &l[..1]));
        line(p).iter().filter_map(name).collect()
    });
    compare("http2.header.value", &dissection, &rows, 3, |p| {
        let value = |l: &String| l[1..].split_once(": ").map(|(_, v)| v.to_string());
        line(p).iter().filter_map(value).filter(|v| !v.is_empty()).collect()
    });
}

#[test]
fn quic_packets_frames_and_http3_are_tsharks() {
    let fields =
        ["quic.packet_number", "quic.frame_type", "tls.handshake.type", "http3.frame_type", "quic.spin_bit"];
    let dissection = dissect("quic.pcapng");
    let Some(mut rows) = tshark("quic.pcapng", &[], &fields) else { return };
    // After a Retry aioquic sends another ClientHello, which RFC 9000 §17.2.5.2 forbids and tshark 4.0 does not follow.
    let retry = dissection.packets.iter().find(|(_, p)| p.text.contains("Retry")).expect("there is one").0;
    rows.retain(|n, _| n < retry);
    compare("quic.packet_number", &dissection, &rows, 0, |p| all(p, "quic.packet_number"));
    compare("quic.frame_type", &dissection, &rows, 1, |p| all(p, "quic.frame_type"));
    compare("handshake", &dissection, &rows, 2, |p| {
        let ty = |l: &Layer| match l.message {
            Message::TlsHandshake { ty, .. } => Some(ty.to_string()),
            _ => None,
        };
        map(p, ty)
    });
}

/// Texts of all packets that have any.
fn texts(dissection: &Dissection) -> Vec<&str> {
    dissection.packets.values().map(|p| p.text.as_str()).filter(|t| !t.is_empty()).collect()
}

#[test]
fn what_the_ladder_says_of_every_variant() {
    let web = dissect("web.pcapng");
    let web = texts(&web);
    let expected = [
        "DNS nope.example. A none, SOA example. ttl 60 · NXDOMAIN aa",
        "DNS alias.example. A CNAME www.example. ttl 300, www.example. A 192.0.2.80 ttl 300 · NOERROR aa",
        "HTTP 200 OK text/plain 20000 B",
        "HTTP body end (20000 B)",
        "TLSv1.3 ClientHello SNI shop.example ALPN h2,http/1.1",
        "TLSv1.2 ServerHello TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 ALPN http/1.1, Certificate (2 certs, shop.example ← wirelab CA), ServerKeyExchange x25519 rsa_pss_rsae_sha256, ServerHelloDone",
        "TLSv1.2 ClientKeyExchange RSA-encrypted premaster (256 B), ChangeCipherSpec, Finished",
        "TLSv1.2 ClientKeyExchange RSA-encrypted premaster (256 B), ChangeCipherSpec, Encrypted Handshake Message",
        "TLSv1.3 Alert (Level: Fatal, Description: Unknown CA)",
        "TLSv1.3 ClientHello SNI shop.example ALPN http/1.1 early_data PSK, ChangeCipherSpec | HTTP GET / HTTP/1.1 Host: shop.example",
        "TLSv1.3 EndOfEarlyData, Finished",
        "TLSv1.3 KeyUpdate (update_requested)",
        "WebSocket Text [FIN] [MASKED] 5 B \"hello\"",
    ];
    for text in expected {
        assert!(web.iter().any(|t| t.starts_with(text)), "{text}\n{}", web.join("\n"));
    }
    // DNS over HTTPS: the message stands in a body.
    assert!(web.iter().any(|t| t.contains("DATA[1]") && t.contains("| DNS www.example. A 192.0.2.80")));
    // The table is the connection's: a second request is shorter.
    let request =
        |path: &str| web.iter().find(|t| t.contains(&format!("GET {path} ("))).copied().unwrap_or_default();
    assert!(
        request("/big.bin").contains("(13 B, 74 saved; table 3 entries 148 B)"),
        "{}",
        request("/big.bin")
    );
    let quic = dissect("quic.pcapng");
    let quic = texts(&quic);
    for text in [
        "QUIC Initial 0 (CRYPTO) | TLSv1.3 ClientHello SNI shop.example ALPN h3",
        "QUIC Retry (token ",
        "HEADERS[4] GET /big (11 B, 55 saved; table 2 entries 99 B)",
        "HTTP3 HEADERS[0] 200 text/plain 12 B",
        "key phase 1 (",
        "QUIC 0-RTT ",
        "CONNECTION_CLOSE",
    ] {
        assert!(quic.iter().any(|t| t.contains(text)), "{text}\n{}", quic.join("\n"));
    }
    assert!(quic.iter().all(|t| !t.contains("protected") && !t.contains("malformed")), "{}", quic.join("\n"));
}

#[test]
fn without_secrets_types_and_lengths_remain() {
    let bytes = std::fs::read(path("web.pcapng")).expect("it is in the repository");
    let mut capture = wire::capture::read(&bytes).expect("a capture");
    capture.secrets.clear();
    let dissection = Dissection::of_journal(&from_capture(&capture));
    let all = texts(&dissection).join("\n");
    assert!(all.contains("TLSv1.3 Application Data ("));
    assert!(all.contains("TLSv1.2 ClientKeyExchange, ChangeCipherSpec, Encrypted Handshake Message"));
    assert!(!all.contains("EncryptedExtensions"), "{all}");
}

#[test]
fn rows_of_the_ladder_keep_to_its_width_and_say_what_stands_inside() {
    let bytes = std::fs::read(path("web.pcapng")).expect("it is in the repository");
    let journal = from_capture(&wire::capture::read(&bytes).expect("a capture"));
    let text = Ladder::new(&journal, &Options::default()).render(100, false, false);
    assert!(text.lines().all(|l| l.chars().count() <= 100), "{text}");
    for part in ["HTTP GET / HTTP/1.1", "TLSv1.3 ClientHello SNI", "[HTTP body]", "HTTP2 HEADERS[1] GET /"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    // Written by us and read again, the secrets are still there.
    let ours = analysis::pcapng(&journal, Vec::new()).expect("a Vec takes everything");
    let again = from_capture(&wire::capture::read(&ours).expect("a capture"));
    assert_eq!(texts(&Dissection::of_journal(&again)), texts(&Dissection::of_journal(&journal)));
}

/// Neighbours change places: a Handshake packet comes before the ServerHello, a 1-RTT packet before the Finished, a packet of the
/// next key phase before the last one of this; whoever has the secrets can read them all. Nothing comes before the first: it names
/// the connection.
#[test]
fn quic_packets_in_another_order_open_all_the_same() {
    let bytes = std::fs::read(path("quic.pcapng")).expect("it is in the repository");
    let mut capture = wire::capture::read(&bytes).expect("a capture");
    let times: Vec<_> = capture.packets.iter().map(|p| p.at).collect();
    for packets in capture.packets[1..].chunks_mut(2) {
        packets.reverse();
    }
    for (packet, at) in capture.packets.iter_mut().zip(times) {
        packet.at = at;
    }
    let dissection = Dissection::of_journal(&from_capture(&capture));
    let all = texts(&dissection);
    let closed: Vec<_> = all.iter().filter(|t| t.contains("protected") || !t.contains("QUIC")).collect();
    assert!(closed.is_empty(), "{closed:?}");
}

#[test]
fn damaged_captures_break_nothing() {
    let bytes = std::fs::read(path("web.pcapng")).expect("it is in the repository");
    let quic = std::fs::read(path("quic.pcapng")).expect("it is in the repository");
    // A linear congruential generator: the same damage in every run.
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits") % below
    };
    for _ in 0..12 {
        for file in [&bytes, &quic] {
            let mut capture = wire::capture::read(file).expect("a capture");
            let mut damaged: Vec<Vec<u8>> = capture.packets.iter().map(|p| p.bytes.to_vec()).collect();
            for packet in damaged.iter_mut().filter(|p| p.len() > 60) {
                match random(8) {
                    0 => {
                        let at = 54 + random(packet.len() - 54);
                        packet[at] ^= 1 << random(8);
                    }
                    1 => packet.truncate(54 + random(packet.len() - 54)),
                    _ => {}
                }
            }
            for (p, bytes) in capture.packets.iter_mut().zip(&damaged) {
                p.bytes = bytes;
            }
            // Packets that were never seen, and such that come too late.
            let n = capture.packets.len();
            capture.packets.remove(random(n));
            capture.packets.swap(random(n - 1), random(n - 1));
            let dissection = Dissection::of_journal(&from_capture(&capture));
            assert!(dissection.packets.len() >= n - 10);
        }
    }
}

#[test]
fn conversations_tell_when_what_was_asked_and_answered() {
    let web = dissect("web.pcapng");
    let of = |port: u16| web.conversations.iter().filter(move |c| c.server.port() == port);
    let plain = of(80).next().expect("curl's first");
    let [page] = plain.exchanges.as_slice() else { panic!("{plain:?}") };
    assert_eq!((page.method.as_str(), page.target.as_str(), page.status), ("GET", "/", Some(200)));
    assert_eq!((page.authority.as_str(), page.bytes), ("shop.example", 15));
    assert!(page.request_ns < page.response_ns.expect("answered"));
    let big = of(80).flat_map(|c| &c.exchanges).find(|e| e.target == "/big.bin").expect("the fourth");
    assert_eq!(big.bytes, 20_000);
    assert!(big.response_ns < big.end_ns && big.response_packet < big.end_packet);
    let head = of(80).flat_map(|c| &c.exchanges).find(|e| e.method == "HEAD").expect("the second");
    assert_eq!(head.bytes, 0);
    // TLS 1.3 without early data: the request comes behind the server's Finished.
    let tls = of(443).find(|c| c.exchanges.len() == 1).expect("curl's first over TLS");
    assert!(tls.tls_begin_ns < tls.tls_end_ns && tls.tls_end_ns < Some(tls.exchanges[0].request_ns));
    let early = of(443).find(|c| c.exchanges.first().is_some_and(|e| Some(e.request_ns) < c.tls_end_ns));
    assert!(early.is_some(), "early data are sent before");
    let h2 = of(443).find(|c| c.exchanges.len() == 3).expect("curl with HTTP/2");
    let told: Vec<_> = h2.exchanges.iter().map(|e| (e.stream, e.target.as_str(), e.bytes)).collect();
    assert_eq!(told, [(Some(1), "/", 15), (Some(3), "/1.js", 3), (Some(5), "/big.bin", 20_000)]);
    let quic = dissect("quic.pcapng");
    for c in &quic.conversations {
        assert_eq!((c.transport, c.server.port()), ("QUIC", 4433));
        let bytes: Vec<usize> = c.exchanges.iter().map(|e| e.bytes).collect();
        assert_eq!(bytes, [12, 4000], "{c:?}");
    }
    assert_eq!(quic.conversations.len(), 5);
    // What each protocol costs, of a packet with a whole message.
    let request = &web.packets[&page.request_packet];
    let bytes = request.bytes();
    let http = bytes.iter().find(|(p, _)| *p == "HTTP").map(|(_, n)| *n);
    let sum: usize = bytes.iter().map(|(_, n)| n).sum();
    assert_eq!((http, sum), (Some(76), request.layers[0].len));
}
