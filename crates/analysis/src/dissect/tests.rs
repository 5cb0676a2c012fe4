//! What is named, and that no bytes break anything.

use proptest::prelude::*;

use super::app::{App, Cx};
use super::{Dissection, KeyLog, Layer, dns, words};
use crate::build::*;

/// What both directions' pieces complete, in words.
fn told(pieces: &[(usize, &[u8])], ports: [u16; 2]) -> Vec<String> {
    let keys = KeyLog::default();
    let mut app = App::default();
    let mut all = Vec::new();
    for (turn, (dir, bytes)) in (1..).zip(pieces) {
        let mut cx = Cx::new(&keys, ports, turn);
        app.feed(*dir, bytes, &mut cx);
        let text = words(&cx.layers);
        let part = app.part_of(*dir).filter(|_| text.is_empty());
        all.push(part.map_or(text, |p| format!("[{p}]")));
    }
    all
}

#[test]
fn a_request_is_named_where_it_is_complete_and_a_body_where_it_ends() {
    let pieces: &[(usize, &[u8])] = &[
        (0, b"GET /index.html HTT"),
        (0, b"P/1.1\r\nHost: shop.example\r\n\r\n"),
        (1, b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwxyz\r\n0\r\n\r\n"),
        (0, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nPOST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\n12"),
        (0, b"345"),
        (1, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nHTTP/1.1 304 Not Modified\r\n\r\n"),
    ];
    let texts = told(pieces, [40000, 8080]);
    assert_eq!(texts[0], "[HTTP]");
    assert_eq!(texts[1], "HTTP GET /index.html HTTP/1.1 Host: shop.example");
    assert_eq!(texts[2], "HTTP 200 OK text/html 4 B chunked");
    assert_eq!(texts[3], "HTTP HEAD / HTTP/1.1 Host: a, POST /x HTTP/1.1 5 B");
    assert_eq!(texts[4], "HTTP body end (5 B)");
    assert_eq!(texts[5], "HTTP 200 OK 99 B, 304 Not Modified");
}

#[test]
fn bytes_of_no_known_protocol_stay_unnamed() {
    assert_eq!(told(&[(0, b"hello world"), (1, &[0; 100])], [40000, 53]), ["", ""]);
    assert_eq!(told(&[(0, b"GET"), (0, b"TING on")], [40000, 80]), ["", ""]);
}

#[test]
fn http2_without_tls_shows_frames_and_what_its_table_saves() {
    let mut client = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    client.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]);
    // RFC 7541 appendix C.4.1 and C.4.2.
    let first = [
        0x82, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
    ];
    let second = [0x82, 0x86, 0x84, 0xbe, 0x58, 0x86, 0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf];
    client.extend([0, 0, 17, 1, 5, 0, 0, 0, 1]);
    client.extend(first);
    let mut more = vec![0, 0, 12, 1, 5, 0, 0, 0, 3];
    more.extend(second);
    // A response, a body in two pieces, and the end of all.
    let server = [0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88, 0, 0, 4, 0, 1, 0, 0, 0, 1, b'a', b'b'];
    let end = [
        b'c', b'd', 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 3, 0, 0, 0, 8,
    ];
    let texts = told(&[(0, &client), (0, &more), (1, &server), (1, &end)], [40000, 80]);
    assert_eq!(
        texts,
        [
            "HTTP2 Magic, SETTINGS[0] MAX_CONCURRENT_STREAMS 100, HEADERS[1] GET / (17 B, 35 saved; table 1 entry 57 B)",
            "HTTP2 HEADERS[3] GET / (12 B, 61 saved; table 2 entries 110 B)",
            "HTTP2 HEADERS[1] 200 (1 B, 9 saved; table 0 entries 0 B)",
            "HTTP2 DATA[1] 4 B END_STREAM, GOAWAY[0] NO_ERROR last stream 3, RST_STREAM[3] CANCEL",
        ]
    );
}

#[test]
fn websocket_frames_follow_their_upgrade_in_any_pieces() {
    let ask = b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let yes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x05Hello\x89\x00\x88\x05\x03\xe8bye";
    // RFC 6455 §5.7: the masked "Hello".
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let long = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
    let texts = told(
        &[(0, ask), (1, yes), (0, &masked[..3]), (0, &masked[3..]), (1, &long[..100]), (1, &long[100..])],
        [40000, 80],
    );
    assert_eq!(texts[0], "HTTP GET /chat HTTP/1.1 Host: a Upgrade: websocket");
    assert_eq!(
        texts[1],
        "HTTP 101 Switching Protocols Upgrade: websocket | WebSocket Text [FIN] 5 B \"Hello\", Ping [FIN] 0 B, \
         Connection Close [FIN] 5 B 1000 Normal Closure bye"
    );
    assert_eq!(texts[2..5], ["[WebSocket]", "WebSocket Text [FIN] [MASKED] 5 B \"Hello\"", "[WebSocket]"]);
    assert_eq!(texts[5], "WebSocket Binary [FIN] 256 B");
}

#[test]
fn a_tls_hello_without_keys_is_named_and_what_follows_has_its_length() {
    // RFC 8446 §4.1.2: TLS 1.2's frame, one suite, one compression method, a server name.
    let name = b"shop.example";
    let mut sni = vec![0, 0, 0, 17, 0, 15, 0, 0, 12];
    sni.extend_from_slice(name);
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x30, 1, 0, 0, 21]);
    body.extend(sni);
    let mut hello = vec![1, 0, 0, u8::try_from(body.len()).expect("short")];
    hello.extend(body);
    let mut record = vec![22, 3, 1, 0, u8::try_from(hello.len()).expect("short")];
    record.extend(hello);
    let (first, second) = record.split_at(20);
    let data = [23, 3, 3, 0, 4, 1, 2, 3, 4];
    let texts = told(&[(0, first), (0, second), (0, &data)], [40000, 9443]);
    assert_eq!(texts, ["[TLS]", "TLS ClientHello SNI shop.example", "TLS Application Data (4 B)"]);
}

#[test]
fn a_datagram_of_dns_takes_the_place_of_udps_words() {
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x00\x00\x01\x00\x01";
    let mut hand = Hand::new(&[("client", &["192.0.2.1"]), ("server", &["192.0.2.2"])]);
    hand.pass(0, 0, 1, &udp4((1, 2), ("192.0.2.1", "192.0.2.2"), (40000, 53), query));
    hand.pass(1, 0, 1, &udp4((1, 2), ("192.0.2.1", "192.0.2.2"), (40000, 53), &query[..28]));
    let dissection = Dissection::of_journal(&hand.journal);
    assert_eq!(dissection.packets[&1].text, "DNS www.example. A? rd id 0x1234");
    assert_eq!(dissection.packets[&2].text, "", "cut short, it is no message");
    let of = |p: &Layer| (p.protocol, p.header);
    let layers: Vec<_> = dissection.packets[&1].layers.iter().map(of).collect();
    assert_eq!(layers, [("Ethernet", 14), ("IPv4", 20), ("UDP", 8), ("DNS", 29)]);
    let ladder = crate::ladder::Ladder::new(&hand.journal, &crate::ladder::Options::default());
    let text = ladder.render(100, false, false);
    assert!(text.contains(" DNS www.example. A? rd id 0x1234 "), "{text}");
    let json = serde_json::to_value(&dissection).expect("plain data");
    assert_eq!(json["packets"]["1"]["layers"][3]["message"]["kind"], "dns-query");
}

#[test]
fn names_in_dns_that_point_forward_or_at_themselves_are_refused() {
    let mut message = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01".to_vec();
    assert!(dns::message(&message).is_none());
    message[13] = 0x0e;
    assert!(dns::message(&message).is_none());
}

/// Beginnings that lead deep into a protocol, to be followed by anything.
fn beginnings() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        Just(b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()),
        Just(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n".to_vec()),
        Just(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x20\x01\x04\0\0\0\x01".to_vec()),
        Just(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\0\x30\0\x08\0\0\0\x01".to_vec()),
        Just(vec![22, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3]),
        Just(vec![22, 3, 3, 0, 60, 2, 0, 0, 56, 3, 3]),
        Just(vec![22, 3, 3, 1, 0, 11, 0, 0, 252, 0, 0, 249]),
        Just(vec![0, 40, 1, 2, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]),
    ]
}

proptest! {
    #[test]
    fn no_bytes_in_any_pieces_break_a_stream(
        begin in [beginnings(), beginnings()],
        pieces in prop::collection::vec((0..2_usize, prop::collection::vec(any::<u8>(), 0..200), any::<bool>()), 0..20),
        port in prop_oneof![Just(53_u16), Just(443), Just(80)],
    ) {
        let keys = KeyLog::default();
        let mut app = App::default();
        let mut cx = Cx::new(&keys, [40000, port], 0);
        app.feed(0, &begin[0], &mut cx);
        app.feed(1, &begin[1], &mut cx);
        for (dir, bytes, lost) in &pieces {
            if *lost && bytes.len() < 20 {
                app.lost(*dir, 7);
            }
            app.feed(*dir, bytes, &mut cx);
            let _ = (app.part_of(*dir), app.tls_version());
        }
        app.end(0, &mut cx);
        app.end(1, &mut cx);
        prop_assert!(cx.layers.len() <= super::MAX_LAYERS);
    }

    #[test]
    fn no_datagrams_break_quic(
        datagrams in prop::collection::vec((any::<bool>(), prop_oneof![
            Just(vec![0xc0, 0, 0, 0, 1]), Just(vec![0xc3, 0x6b, 0x33, 0x43, 0xcf, 4, 1, 2, 3, 4, 0]),
            Just(vec![0xe0, 0, 0, 0, 1, 4, 1, 2, 3, 4, 0]), Just(vec![0x80, 0, 0, 0, 0]), Just(vec![0x40, 1, 2, 3, 4]),
        ], prop::collection::vec(any::<u8>(), 0..100)), 1..20)
    ) {
        let keys = KeyLog::default();
        let mut quic = super::quic::Quic::default();
        let ends = [(ip("192.0.2.1"), 40000), (ip("192.0.2.2"), 443)];
        for (back, begin, rest) in &datagrams {
            let bytes = [&begin[..], rest].concat();
            let (src, dst) = if *back { (ends[1], ends[0]) } else { (ends[0], ends[1]) };
            let _ = quic.datagram(src, dst, &bytes, &keys);
        }
    }

    #[test]
    fn no_bytes_break_http3_or_its_tables(
        pieces in prop::collection::vec((0..12_u64, 0..2_usize, prop::collection::vec(any::<u8>(), 0..60), any::<bool>()), 1..30)
    ) {
        let keys = KeyLog::default();
        let mut http3 = super::http3::Http3::default();
        let mut cx = Cx::new(&keys, [0, 443], 1);
        for (id, dir, bytes, end) in &pieces {
            http3.feed(*id, *dir, bytes, &mut cx);
            if *end {
                http3.end(*id, *dir, &mut cx);
            }
        }
    }

    #[test]
    fn no_payload_of_quic_frames_breaks_their_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut r = super::reader::Reader::new(&bytes);
        while let Some(frame) = super::quic::frame::next(&mut r) {
            prop_assert!(frame.range.1 > frame.range.0);
        }
    }

    #[test]
    fn no_bytes_break_a_dns_message(bytes in prop::collection::vec(any::<u8>(), 0..300), small in any::<bool>()) {
        let mut bytes = bytes;
        if small && bytes.len() > 12 {
            // Few records, so that they are read.
            bytes[2] &= 0x87;
            bytes[4..12].copy_from_slice(&[0, 1, 0, 1, 0, 1, 0, 1]);
        }
        let _ = dns::message(&bytes);
    }
}
