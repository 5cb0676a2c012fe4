//! Findings about TCP on segments made by hand.

use wire::Frame;
use wire::ip::Protocol;
use wire::tcp::{Header, SeqNum};

use crate::build::*;
use crate::explain::explain;
use wire::tcp::Flags;

const C: (&str, u16) = ("192.0.2.1", 5000);
const S: (&str, u16) = ("192.0.2.2", 80);
const SYN: u16 = 0x002;
const SYN_ACK: u16 = 0x012;
const ACK: u16 = 0x010;
const RST: u16 = 0x004;

fn segment(from: (&str, u16), to: (&str, u16), flags: u16, (seq, ack): (u32, u32), data: &[u8]) -> Frame {
    let header = Header {
        src_port: from.1,
        dst_port: to.1,
        seq: SeqNum(seq),
        ack: SeqNum(ack),
        flags: Flags(flags),
        ..Header::default()
    };
    let mut bytes = vec![0; header.header_len()];
    header.emit(&mut bytes);
    bytes.extend_from_slice(data);
    let packet = ipv4_packet(from.0, to.0, Protocol::TCP, V4::default(), &bytes);
    let (src, dst) = if from == C { (1, 2) } else { (2, 1) };
    eth(mac(src), mac(dst), wire::ethernet::EtherType::IPV4, &packet)
}

fn told(h: &Hand, finding: &str) -> Vec<String> {
    let e = explain(&h.journal);
    e.sentences.iter().filter(|s| s.finding == finding).map(|s| s.text.clone()).collect()
}

fn pair() -> Hand {
    Hand::new(&[("client", &[C.0]), ("server", &[S.0])])
}

#[test]
fn syns_sent_again_are_told_with_their_distances_and_the_sysctls() {
    let mut h = pair();
    let syn = segment(C, S, SYN, (100, 0), b"");
    for at in [0, 1_000_000, 3_000_000] {
        h.tx(at, 0, &syn);
    }
    let text = "client sent its SYN again after 1 s, 2 s";
    assert_eq!(told(&h, "tcp-again"), [text]);
    let e = explain(&h.journal);
    let names: Vec<&str> = e.decides.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["net.ipv4.tcp_syn_retries", "net.ipv4.tcp_syn_linear_timeouts"]);
}

#[test]
fn data_take_the_place_of_a_lost_third_ack_unless_a_rst_answers() {
    let run = |answer: u16| {
        let mut h = pair();
        h.pass(0, 0, 1, &segment(C, S, SYN, (100, 0), b""));
        h.pass(1, 1, 0, &segment(S, C, SYN_ACK, (900, 101), b""));
        h.tx(2, 0, &segment(C, S, ACK, (101, 901), b""));
        h.pass(3, 0, 1, &segment(C, S, ACK, (101, 901), b"hi"));
        h.pass(4, 1, 0, &segment(S, C, answer, (901, 103), b""));
        (told(&h, "third-ack-lost"), explain(&h.journal).folklore.len())
    };
    let (text, folklore) = run(ACK);
    let place = "client's third packet was lost: client is ESTABLISHED and server is not, until client's first data, with \
                 the same acknowledgment, completes the handshake 1 us later";
    assert_eq!((text, folklore), (vec![place.to_string()], 1));
    assert!(run(RST).0[0].ends_with("got a RST"), "{:?}", run(RST));
}

#[test]
fn a_whole_handshake_has_nothing_to_tell_and_a_refused_syn_does() {
    let mut h = pair();
    h.pass(0, 0, 1, &segment(C, S, SYN, (100, 0), b""));
    h.pass(1, 1, 0, &segment(S, C, SYN_ACK, (900, 101), b""));
    h.pass(2, 0, 1, &segment(C, S, ACK, (101, 901), b""));
    assert!(told(&h, "third-ack-lost").is_empty() && told(&h, "tcp-refused").is_empty());
    let mut h = pair();
    h.pass(0, 0, 1, &segment(C, S, SYN, (100, 0), b""));
    h.pass(1, 1, 0, &segment(S, C, RST | ACK, (0, 101), b""));
    assert_eq!(told(&h, "tcp-refused"), ["server answered client's SYN for port 80 with a RST"]);
}
