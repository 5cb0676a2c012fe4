use super::*;
use crate::build::*;
use wire::ip::Protocol;
use wire::{Frame, MacAddr, Medium, arp::Operation, icmpv4, icmpv6, ndp, tcp};

fn short(frame: &Frame) -> String {
    words(&View::of(Medium::Ethernet, frame), &mut Flows::default(), &Names::default()).short
}

fn long(frame: &Frame) -> String {
    let bytes = frame.to_vec();
    meaning(&wire::packet::Packet::parse(&bytes, Medium::Ethernet), &Names::default())
}

#[test]
fn arp_speaks_as_tcpdump_does() {
    let zero = MacAddr::ZERO;
    assert_eq!(short(&arp_request(mac(1), "192.0.2.1", "192.0.2.2")), "ARP who-has 192.0.2.2 tell 192.0.2.1");
    assert_eq!(
        long(&arp_request(mac(1), "192.0.2.1", "192.0.2.2")),
        "ARP, Request who-has 192.0.2.2 tell 192.0.2.1"
    );
    assert_eq!(
        short(&arp_reply(mac(2), mac(1), "192.0.2.2", "192.0.2.1")),
        "ARP 192.0.2.2 is-at 02:00:00:00:00:02"
    );
    assert_eq!(short(&arp_request(mac(1), "0.0.0.0", "192.0.2.1")), "ARP who-has 192.0.2.1 (probe)");
    assert_eq!(
        short(&arp_request(mac(1), "192.0.2.1", "192.0.2.1")),
        "ARP who-has 192.0.2.1 tell 192.0.2.1 (announcement)"
    );
    let probe = arp_packet(mac(1), mac(2), Operation::REQUEST, (mac(1), "192.0.2.1"), (zero, "192.0.2.2"));
    assert_eq!(short(&probe), "ARP who-has 192.0.2.2 tell 192.0.2.1 unicast");
}

#[test]
fn udp_shows_ports_length_and_text() {
    let frame = udp4((1, 2), ("192.0.2.1", "192.0.2.2"), (40000, 9), b"hello");
    assert_eq!(short(&frame), "UDP 40000 > 9 len 5 \"hello\"");
    assert_eq!(long(&frame), "192.0.2.1.40000 > 192.0.2.2.9: UDP, length 5 \"hello\"");
    let binary = udp4((1, 2), ("192.0.2.1", "192.0.2.2"), (40000, 9), &[0, 1, 2]);
    assert_eq!(short(&binary), "UDP 40000 > 9 len 3");
}

#[test]
fn icmp_error_names_what_it_complains_about() {
    let quoted = ipv4_packet(
        "192.0.2.1",
        "198.51.100.1",
        Protocol::UDP,
        V4::default(),
        &udp_datagram((40000, 9), b"hello"),
    );
    let message =
        icmpv4::Message::DestinationUnreachable { code: icmpv4::code::ICMP_PORT_UNREACH, next_hop_mtu: 0 };
    let frame =
        icmp4((2, 1), ("198.51.100.1", "192.0.2.1"), V4 { ttl: 63, ..V4::default() }, message, &quoted);
    assert_eq!(short(&frame), "ICMP 198.51.100.1 udp port 9 unreachable ttl 63");
    let message =
        icmpv4::Message::DestinationUnreachable { code: icmpv4::code::ICMP_FRAG_NEEDED, next_hop_mtu: 1000 };
    let frame = icmp4((2, 1), ("203.0.113.1", "192.0.2.1"), V4::default(), message, &quoted);
    assert_eq!(short(&frame), "ICMP 198.51.100.1 unreachable - need to frag (mtu 1000)");
    let frame = icmp4(
        (2, 1),
        ("203.0.113.1", "192.0.2.1"),
        V4::default(),
        icmpv4::Message::TimeExceeded { code: 0 },
        &quoted,
    );
    assert_eq!(short(&frame), "ICMP time exceeded in-transit (udp port 9)");
}

#[test]
fn fragments_show_id_offset_and_more() {
    let how = V4 { id: 7, offset: 1480, more: true, df: false, ..V4::default() };
    let bytes = ipv4_packet("192.0.2.1", "192.0.2.2", Protocol::UDP, how, &[0; 1480]);
    let frame = eth(mac(1), mac(2), wire::ethernet::EtherType::IPV4, &bytes);
    assert_eq!(short(&frame), "UDP frag id 7 offset 1480 +");
}

#[test]
fn ndp_names_target_flags_and_link_address() {
    let target: std::net::Ipv6Addr = "2001:db8::2".parse().expect("v6");
    let solicit = icmpv6::Message::Ndp(ndp::Message::NeighborSolicit { target });
    let group = MacAddr([0x33, 0x33, 0xff, 0, 0, 2]);
    let frame = icmp6((mac(1), group), ("2001:db8::1", "ff02::1:ff00:2"), solicit, &[1, 1, 2, 0, 0, 0, 0, 1]);
    assert_eq!(short(&frame), "NDP who has 2001:db8::2");
    assert!(long(&frame).contains("source link-address 02:00:00:00:00:01"), "{}", long(&frame));
    let dad = icmp6((mac(1), group), ("::", "ff02::1:ff00:2"), solicit, &[]);
    assert_eq!(short(&dad), "NDP who has 2001:db8::2 (DAD)");
    let advert = icmpv6::Message::Ndp(ndp::Message::NeighborAdvert(ndp::NeighborAdvert {
        router: false,
        solicited: true,
        override_: true,
        target,
    }));
    let frame = icmp6((mac(2), mac(1)), ("2001:db8::2", "2001:db8::1"), advert, &[2, 1, 2, 0, 0, 0, 0, 2]);
    assert_eq!(short(&frame), "NDP tgt is 2001:db8::2 [SO] 02:00:00:00:00:02");
}

#[test]
fn tunnels_show_the_packet_inside() {
    let inner =
        ipv4_packet("10.0.0.1", "10.0.1.1", Protocol::UDP, V4::default(), &udp_datagram((1000, 2000), b"hi"));
    let outer = ipv4_packet("192.0.2.1", "198.51.100.1", Protocol::IPIP, V4::default(), &inner);
    let frame = eth(mac(1), mac(2), wire::ethernet::EtherType::IPV4, &outer);
    assert_eq!(short(&frame), "IPIP | 10.0.0.1 > 10.0.1.1 UDP 1000 > 2000 len 2 \"hi\"");
    assert_eq!(
        long(&frame),
        "192.0.2.1 > 198.51.100.1: IPIP: 10.0.0.1.1000 > 10.0.1.1.2000: UDP, length 2 \"hi\""
    );
}

fn tcp_frame(
    src: (&str, u16),
    dst: (&str, u16),
    seq: u32,
    ack: u32,
    flags: u16,
    set: &tcp::OptionSet<'_>,
) -> Frame {
    let header = tcp::Header {
        src_port: src.1,
        dst_port: dst.1,
        seq: tcp::SeqNum(seq),
        ack: tcp::SeqNum(ack),
        flags: tcp::Flags(flags),
        window: 64240,
        checksum: 0,
        urgent: 0,
        options: set.build().expect("fits"),
    };
    let mut bytes = vec![0; header.header_len()];
    header.emit(&mut bytes);
    let packet = ipv4_packet(src.0, dst.0, Protocol::TCP, V4::default(), &bytes);
    eth(mac(1), mac(2), wire::ethernet::EtherType::IPV4, &packet)
}

#[test]
fn tcp_numbers_are_relative_to_the_syn_even_across_the_wrap() {
    let (c, s) = (("192.0.2.1", 40000), ("192.0.2.2", 80));
    let mut flows = Flows::default();
    let mut say =
        |frame: &Frame| words(&View::of(Medium::Ethernet, frame), &mut flows, &Names::default()).short;
    let syn = tcp::OptionSet {
        mss: Some(1460),
        sack_permitted: true,
        timestamps: Some(tcp::Timestamps { val: 1, ecr: 0 }),
        window_scale: Some(7),
        ..tcp::OptionSet::default()
    };
    let none = tcp::OptionSet::default();
    let text = say(&tcp_frame(c, s, u32::MAX, 0, 2, &syn));
    assert_eq!(text, "S 40000 > 80 seq 0 mss 1460 sackOK ts wscale 7");
    assert_eq!(say(&tcp_frame(s, c, 5, 0, 0x12, &none)), "S. seq 0 ack 1");
    assert_eq!(say(&tcp_frame(c, s, 0, 6, 0x10, &none)), ". ack 1");
}

#[test]
fn no_bytes_panic_and_every_packet_has_words() {
    let mut rng = 1u64;
    for round in 0..20_000u32 {
        let mut bytes = udp4((1, 2), ("192.0.2.1", "192.0.2.2"), (40000, 4789), &[0x45; 60]).to_vec();
        for _ in 0..4 {
            rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(rng >> 33).expect("31 bits") % bytes.len();
            bytes[at] = (rng >> 8).to_le_bytes()[0];
        }
        bytes.truncate(usize::try_from(rng >> 40).expect("24 bits") % (bytes.len() + 1));
        let medium = if round % 2 == 0 { Medium::Ethernet } else { Medium::Ip };
        let view = View::of_bytes(medium, bytes);
        assert!(!words(&view, &mut Flows::default(), &Names::default()).short.is_empty());
    }
}

#[test]
fn a_tunnel_of_ipv6_through_ipv4_is_sit() {
    let inner = icmp6(
        (mac(1), mac(2)),
        ("2001:db8::1", "2001:db8::2"),
        wire::icmpv6::Message::EchoRequest { id: 1, seq: 1 },
        b"",
    );
    let outer = ipv4_packet("192.0.2.1", "198.51.100.1", Protocol(41), V4::default(), &inner.to_vec()[14..]);
    let frame = eth(mac(1), mac(2), wire::ethernet::EtherType::IPV4, &outer);
    assert!(short(&frame).starts_with("SIT (6in4) | 2001:db8::1 > 2001:db8::2 "), "{}", short(&frame));
}
