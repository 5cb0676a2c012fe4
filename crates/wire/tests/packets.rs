//! Whole frames: how far reading goes, and what it says where it stops.

mod sample;

use wire::ethernet::EtherType;
use wire::ip::Protocol;
use wire::packet::{Fragment, MAX_TUNNELS, Network, Packet, Transport};
use wire::{Medium, ParseError, ipv4};

/// IPv4 headers inside each other, `n` in all, the innermost carrying `payload`.
fn nested(n: usize, payload: &[u8]) -> Vec<u8> {
    (0..n).fold(payload.to_vec(), |inner, i| {
        let protocol = if i == 0 { Protocol::SCTP } else { Protocol::IPIP };
        let total_len = 20 + u16::try_from(inner.len()).unwrap();
        let header = ipv4::Header { total_len, protocol, id: i as u16, ..ipv4::Header::default() };
        let mut bytes = vec![0; 20];
        header.emit(&mut bytes);
        bytes.extend(inner);
        bytes
    })
}

#[test]
fn every_frame_of_the_sample_is_read_without_a_problem_and_its_checksums_are_right() {
    let file = sample::file();
    let capture = wire::capture::read(&file).unwrap();
    assert_eq!(capture.packets.len(), sample::frames().len());
    for (i, captured) in capture.packets.iter().enumerate() {
        let packet = captured.parse().expect("Ethernet and raw IP are read");
        assert_eq!(packet.problem, None, "frame {}", i + 1);
        for level in packet.levels() {
            assert_ne!(level.transport_checksum_valid(), Some(false), "frame {}", i + 1);
            assert!(!level.truncated);
        }
    }
}

#[test]
fn a_flipped_payload_bit_makes_the_transport_checksum_wrong() {
    let mut wrong = 0;
    for (medium, mut bytes) in sample::frames() {
        let packet = Packet::parse(&bytes, medium);
        let level = packet.innermost();
        let had = level.transport_checksum_valid();
        let at = level.payload_offset + level.payload.len();
        if level.payload.is_empty() || had.is_none() {
            continue;
        }
        bytes[at - 1] ^= 1;
        let packet = Packet::parse(&bytes, medium);
        assert_eq!(packet.innermost().transport_checksum_valid(), Some(false));
        wrong += 1;
    }
    assert!(wrong > 30, "{wrong} frames have a payload under a checksum");
}

#[test]
fn tunnels_are_followed_to_the_limit_and_no_further() {
    let bytes = nested(MAX_TUNNELS + 1, b"x");
    let packet = Packet::parse(&bytes, Medium::Ip);
    assert_eq!((packet.levels().count(), packet.problem), (MAX_TUNNELS + 1, None));
    assert_eq!(packet.payload(), b"x");
    assert_eq!(packet.ipv4().unwrap().id, 0, "the innermost");
    assert_eq!(packet.outermost().ipv4().unwrap().id, MAX_TUNNELS as u16);
    let bytes = nested(MAX_TUNNELS + 2, b"x");
    let packet = Packet::parse(&bytes, Medium::Ip);
    assert_eq!(packet.levels().count(), MAX_TUNNELS + 1);
    let limit = MAX_TUNNELS;
    assert_eq!(packet.problem, Some(ParseError::TooMany { what: "tunnels inside each other", limit }));
    assert_eq!(packet.problem_offset, 20 * (MAX_TUNNELS + 1));
}

#[test]
fn a_frame_cut_anywhere_keeps_the_headers_before_the_cut() {
    for (medium, bytes) in sample::frames() {
        let whole = Packet::parse(&bytes, medium);
        let end = whole.innermost().payload_offset + whole.payload().len();
        for cut in 0..end {
            let packet = Packet::parse(&bytes[..cut], medium);
            assert!(packet.problem.is_some(), "{cut} of {end}");
            for (level, same) in packet.levels().zip(whole.levels()) {
                assert!(level.ethernet.is_none() || level.ethernet == same.ethernet);
                assert!(level.ipv4().is_none() || level.ipv4() == same.ipv4());
                assert!(level.udp().is_none() || level.udp() == same.udp());
                assert!(level.tcp().is_none() || level.tcp() == same.tcp());
            }
        }
    }
}

#[test]
fn a_later_fragment_has_no_transport_header() {
    let header = ipv4::Header {
        total_len: 28,
        protocol: Protocol::UDP,
        frag_offset: 1480,
        more_fragments: true,
        id: 5,
        ..ipv4::Header::default()
    };
    let mut bytes = vec![7; 28];
    header.emit(&mut bytes);
    let packet = Packet::parse(&bytes, Medium::Ip);
    let level = packet.innermost();
    assert_eq!(level.fragment, Some(Fragment { offset: 1480, more: true, id: 5 }));
    assert_eq!((level.transport, level.payload), (Transport::None, &[7; 8][..]));
    assert_eq!(level.transport_checksum_valid(), None);
}

#[test]
fn ethernet_padding_is_no_payload() {
    let mut bytes = vec![0; 14];
    bytes[12..].copy_from_slice(&EtherType::IPV4.0.to_be_bytes());
    bytes.extend(nested(1, b"ab"));
    bytes.resize(60, 0xee);
    assert_eq!(Packet::parse(&bytes, Medium::Ethernet).payload(), b"ab");
}

#[test]
fn what_is_not_ip_is_payload() {
    let mut bytes = vec![0; 14];
    bytes[12..].copy_from_slice(&[0x88, 0xcc]); // LLDP
    bytes.extend(b"lldp");
    let packet = Packet::parse(&bytes, Medium::Ethernet);
    assert_eq!(
        (packet.innermost().network, packet.payload(), packet.problem),
        (Network::None, &b"lldp"[..], None)
    );
    let problem = Packet::parse(b"\x15", Medium::Ip).problem;
    assert_eq!(problem, Some(ParseError::BadVersion { what: "IP header", found: 1 }));
}
