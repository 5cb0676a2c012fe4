use super::super::{Forward, NatConfig, NatKind};
use super::*;
use wire::{icmpv4, ipv4, udp};

const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
const SECOND: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 6);
const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);

fn nat(kind: NatKind) -> Nat {
    let config = NatConfig { kind, ..NatConfig::masquerade(2, PUBLIC) };
    Nat::new(config, Medium::Ip, Rng::new(1, "nat"))
}

fn secs(s: u64) -> Instant {
    Instant::from_secs(s)
}

fn ip(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    let total_len = u16::try_from(20 + payload.len()).unwrap();
    let header = ipv4::Header { src, dst, protocol, total_len, ..Default::default() };
    let mut out = vec![0; 20];
    header.emit(&mut out);
    out.extend_from_slice(payload);
    out
}

fn udp(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Frame {
    let mut datagram = vec![0; 8];
    let header = udp::Header { src_port: src.1, dst_port: dst.1, len: 13, checksum: 0 };
    header.emit(&mut datagram);
    datagram.extend_from_slice(b"hello");
    let checksum = udp::checksum_v4(src.0, dst.0, &datagram);
    udp::Header { checksum, ..header }.emit(&mut datagram);
    Frame::from_vec(ip(src.0, dst.0, Protocol::UDP, &datagram))
}

/// Source and destination; every checksum must be right.
fn ends(frame: &Frame) -> (Peer, Peer) {
    let bytes = frame.to_vec();
    let (header, n) = ipv4::Header::parse(&bytes).unwrap();
    assert!(ipv4::verify_checksum(&bytes[..n]), "IPv4 checksum");
    let (u, _) = udp::Header::parse(&bytes[n..]).unwrap();
    assert!(udp::verify_v4(header.src, header.dst, &bytes[n..]), "UDP checksum");
    ((header.src, u.src_port), (header.dst, u.dst_port))
}

fn send_out(nat: &mut Nat, now: Instant, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Option<Peer> {
    let mut frame = udp(src, dst);
    let pass = nat.outbound(now, &mut frame);
    (pass == Pass::Yes).then(|| ends(&frame).0)
}

/// Where a datagram from outside goes; `None` when it is refused.
fn send_in(nat: &mut Nat, now: Instant, src: (Ipv4Addr, u16), port: u16) -> Option<Peer> {
    let mut frame = udp(src, (PUBLIC, port));
    let pass = nat.inbound(now, &mut frame);
    (pass == Pass::Yes).then(|| ends(&frame).1)
}

#[test]
fn the_port_is_kept_when_free_and_random_when_not() {
    let mut nat = nat(NatKind::Symmetric);
    assert_eq!(send_out(&mut nat, secs(0), (INSIDE, 5000), (SERVER, 53)), Some((PUBLIC, 5000)));
    let (public, port) = send_out(&mut nat, secs(0), (OTHER, 5000), (SERVER, 53)).unwrap();
    assert!(public == PUBLIC && port != 5000 && port >= 1024, "port {port}");
    // Towards another server the same port is free.
    assert_eq!(send_out(&mut nat, secs(0), (OTHER, 5000), (SECOND, 53)), Some((PUBLIC, 5000)));
    assert_eq!(send_in(&mut nat, secs(1), (SERVER, 53), 5000), Some((INSIDE, 5000)));
    assert_eq!(send_in(&mut nat, secs(1), (SERVER, 53), port), Some((OTHER, 5000)));
}

#[test]
fn an_unanswered_udp_mapping_ends_after_30_s_and_a_stream_after_120_s() {
    let mut nat = nat(NatKind::Symmetric);
    send_out(&mut nat, secs(0), (INSIDE, 5000), (SERVER, 53));
    let local = Some((PUBLIC, 5000));
    assert_eq!(send_in(&mut nat, secs(30), (SERVER, 53), 5000), local, "over: for the router itself");
    send_out(&mut nat, secs(40), (INSIDE, 5000), (SERVER, 53));
    assert!(
        nat.table_text(secs(40))
            .contains("udp      17 30 src=192.0.2.10 dst=203.0.113.5 sport=5000 dport=53")
    );
    assert!(
        nat.table_text(secs(40)).contains("[UNREPLIED] src=203.0.113.5 dst=198.51.100.1 sport=53 dport=5000")
    );
    assert_eq!(send_in(&mut nat, secs(41), (SERVER, 53), 5000), Some((INSIDE, 5000)));
    // Within two seconds of its start an answered flow is no stream yet.
    assert_eq!(send_in(&mut nat, secs(71), (SERVER, 53), 5000), local);
    send_out(&mut nat, secs(80), (INSIDE, 5000), (SERVER, 53));
    send_in(&mut nat, secs(81), (SERVER, 53), 5000);
    send_out(&mut nat, secs(83), (INSIDE, 5000), (SERVER, 53));
    assert!(nat.table_text(secs(83)).contains("17 120 "), "{}", nat.table_text(secs(83)));
    assert_eq!(send_in(&mut nat, secs(202), (SERVER, 53), 5000), Some((INSIDE, 5000)));
}

#[test]
fn cones_differ_in_whom_they_let_in() {
    let from = [(SERVER, 53), (SERVER, 54), (SECOND, 53)];
    let expected = [
        (NatKind::FullCone, [true, true, true]),
        (NatKind::RestrictedCone, [true, true, false]),
        (NatKind::PortRestricted, [true, false, false]),
    ];
    for (kind, passes) in expected {
        for (remote, pass) in from.into_iter().zip(passes) {
            let mut nat = nat(kind);
            send_out(&mut nat, secs(0), (INSIDE, 5000), (SERVER, 53));
            let arrived = send_in(&mut nat, secs(1), remote, 5000);
            assert_eq!(arrived, pass.then_some((INSIDE, 5000)), "{kind:?} from {remote:?}");
        }
    }
}

#[test]
fn a_cone_shows_one_port_to_everybody_a_symmetric_one_may_not() {
    for kind in [NatKind::FullCone, NatKind::RestrictedCone, NatKind::PortRestricted] {
        let mut nat = nat(kind);
        send_out(&mut nat, secs(0), (INSIDE, 5000), (SERVER, 53));
        let first = send_out(&mut nat, secs(0), (OTHER, 5000), (SERVER, 53));
        assert_ne!(first, Some((PUBLIC, 5000)), "{kind:?}: the port has an owner");
        assert_eq!(send_out(&mut nat, secs(0), (OTHER, 5000), (SECOND, 9)), first, "{kind:?}");
    }
    let mut nat = nat(NatKind::Symmetric);
    send_out(&mut nat, secs(0), (INSIDE, 5000), (SERVER, 53));
    let first = send_out(&mut nat, secs(0), (OTHER, 5000), (SERVER, 53));
    assert_ne!(send_out(&mut nat, secs(0), (OTHER, 5000), (SECOND, 9)), first);
}

#[test]
fn a_forward_lets_strangers_in_and_answers_come_from_its_port() {
    let mut nat = nat(NatKind::Symmetric);
    nat.config.forwards.push(Forward { protocol: Protocol::UDP, port: 80, to: INSIDE, to_port: 8080 });
    assert_eq!(send_in(&mut nat, secs(0), (SERVER, 999), 80), Some((INSIDE, 8080)));
    assert_eq!(send_out(&mut nat, secs(0), (INSIDE, 8080), (SERVER, 999)), Some((PUBLIC, 80)));
    assert_eq!(send_in(&mut nat, secs(0), (SERVER, 999), 81), Some((PUBLIC, 81)), "for the router itself");
}

#[test]
fn an_icmp_error_from_outside_finds_its_way_with_the_quote_put_back() {
    let mut nat = nat(NatKind::Symmetric);
    send_out(&mut nat, secs(0), (OTHER, 5000), (SERVER, 53));
    let mut sent = udp((INSIDE, 5000), (SERVER, 53));
    nat.outbound(secs(0), &mut sent);
    let mut message = vec![0; 8];
    icmpv4::Message::TimeExceeded { code: 0 }.emit(&mut message);
    message.extend_from_slice(&sent.to_vec()[..28]);
    icmpv4::set_checksum(&mut message);
    let mut error = Frame::from_vec(ip(ROUTER, PUBLIC, Protocol::ICMP, &message));
    assert_eq!(nat.inbound(secs(1), &mut error), Pass::Yes);
    let bytes = error.to_vec();
    let (header, n) = ipv4::Header::parse(&bytes).unwrap();
    assert!(ipv4::verify_checksum(&bytes[..n]) && icmpv4::verify_checksum(&bytes[n..]));
    assert_eq!((header.src, header.dst), (ROUTER, INSIDE));
    // The quote is what the sender sent, to the byte.
    assert_eq!(bytes[n + 8..], udp((INSIDE, 5000), (SERVER, 53)).to_vec()[..28]);
}

#[test]
fn an_icmp_error_from_inside_shows_the_outside_only_what_it_knows() {
    let mut nat = nat(NatKind::Symmetric);
    send_out(&mut nat, secs(0), (INSIDE, 5000), (SERVER, 53));
    let mut answer = udp((SERVER, 53), (PUBLIC, 5000));
    let original = answer.to_vec();
    nat.inbound(secs(1), &mut answer);
    let mut message = vec![0; 8];
    let unreachable = icmpv4::Message::DestinationUnreachable { code: 3, next_hop_mtu: 0 };
    unreachable.emit(&mut message);
    message.extend_from_slice(&answer.to_vec());
    icmpv4::set_checksum(&mut message);
    let mut error = Frame::from_vec(ip(INSIDE, SERVER, Protocol::ICMP, &message));
    assert_eq!(nat.outbound(secs(1), &mut error), Pass::Yes);
    let bytes = error.to_vec();
    let (header, n) = ipv4::Header::parse(&bytes).unwrap();
    assert!(ipv4::verify_checksum(&bytes[..n]) && icmpv4::verify_checksum(&bytes[n..]));
    assert_eq!((header.src, header.dst), (PUBLIC, SERVER));
    assert_eq!(bytes[n + 8..], original);
}

fn echo(src: Ipv4Addr, dst: Ipv4Addr, message: icmpv4::Message) -> Frame {
    let mut b = vec![0; 8];
    message.emit(&mut b);
    icmpv4::set_checksum(&mut b);
    Frame::from_vec(ip(src, dst, Protocol::ICMP, &b))
}

fn echo_of(frame: &Frame) -> (Ipv4Addr, Ipv4Addr, icmpv4::Message) {
    let bytes = frame.to_vec();
    let (header, n) = ipv4::Header::parse(&bytes).unwrap();
    assert!(ipv4::verify_checksum(&bytes[..n]) && icmpv4::verify_checksum(&bytes[n..]));
    (header.src, header.dst, icmpv4::Message::parse(&bytes[n..]).unwrap().0)
}

#[test]
fn two_pings_with_one_identifier_are_told_apart() {
    let mut nat = nat(NatKind::Symmetric);
    let request = icmpv4::Message::EchoRequest { id: 7, seq: 1 };
    let mut first = echo(INSIDE, SERVER, request);
    let mut second = echo(OTHER, SERVER, request);
    nat.outbound(secs(0), &mut first);
    nat.outbound(secs(0), &mut second);
    assert_eq!(echo_of(&first), (PUBLIC, SERVER, request));
    let icmpv4::Message::EchoRequest { id, seq: 1 } = echo_of(&second).2 else { panic!() };
    assert_ne!(id, 7);
    let mut reply = echo(SERVER, PUBLIC, icmpv4::Message::EchoReply { id, seq: 1 });
    nat.inbound(secs(0), &mut reply);
    assert_eq!(echo_of(&reply), (SERVER, OTHER, icmpv4::Message::EchoReply { id: 7, seq: 1 }));
    assert!(
        nat.table_text(secs(0)).contains("icmp     1 30 src=192.0.2.10 dst=203.0.113.5 type=8 code=0 id=7")
    );
}

#[test]
fn a_full_table_gives_up_what_is_not_assured_and_refuses_else() {
    let mut nat = nat(NatKind::Symmetric);
    nat.table = Table::new(NatKind::Symmetric, 1, Rng::new(1, "nat"));
    send_out(&mut nat, secs(0), (INSIDE, 1), (SERVER, 53));
    assert!(send_out(&mut nat, secs(0), (INSIDE, 2), (SERVER, 53)).is_some());
    send_in(&mut nat, secs(1), (SERVER, 53), 2);
    send_out(&mut nat, secs(3), (INSIDE, 2), (SERVER, 53));
    assert_eq!(send_out(&mut nat, secs(3), (INSIDE, 3), (SERVER, 53)), None, "assured streams stay");
    assert!(send_out(&mut nat, secs(200), (INSIDE, 3), (SERVER, 53)).is_some(), "until they are over");
}

#[test]
fn later_fragments_follow_the_first() {
    let mut nat = nat(NatKind::Symmetric);
    let datagram = udp((INSIDE, 5000), (SERVER, 53)).to_vec();
    let part = |range: core::ops::Range<usize>, more, frag_offset| {
        let payload = &datagram[20..][range];
        let total_len = u16::try_from(20 + payload.len()).unwrap();
        let protocol = Protocol::UDP;
        let header = ipv4::Header {
            src: INSIDE,
            dst: SERVER,
            protocol,
            total_len,
            id: 9,
            more_fragments: more,
            frag_offset,
            ..Default::default()
        };
        let mut out = vec![0; 20];
        header.emit(&mut out);
        out.extend_from_slice(payload);
        Frame::from_vec(out)
    };
    let (mut first, mut second) = (part(0..8, true, 0), part(8..13, false, 8));
    assert_eq!(nat.outbound(secs(0), &mut second.clone()), Pass::No, "its ports are not known yet");
    assert_eq!(nat.outbound(secs(0), &mut first), Pass::Yes);
    assert_eq!(nat.outbound(secs(0), &mut second), Pass::Yes);
    let mut whole = first.to_vec()[20..].to_vec();
    whole.extend_from_slice(&second.to_vec()[20..]);
    assert!(udp::verify_v4(PUBLIC, SERVER, &whole), "the checksum spans both");
    let (header, n) = ipv4::Header::parse(second.head()).unwrap();
    assert!(header.src == PUBLIC && ipv4::verify_checksum(&second.head()[..n]));
}

#[test]
fn a_hairpin_leads_back_inside_under_the_outside_address() {
    let mut nat = nat(NatKind::Symmetric);
    nat.config.forwards.push(Forward { protocol: Protocol::UDP, port: 80, to: OTHER, to_port: 8080 });
    let through = |nat: &mut Nat, src, dst| {
        let mut frame = udp(src, dst);
        nat.hairpin_in(secs(0), &mut frame, Medium::Ip);
        nat.hairpin_out(secs(0), &mut frame, Medium::Ip);
        ends(&frame)
    };
    assert_eq!(through(&mut nat, (INSIDE, 5000), (PUBLIC, 80)), ((PUBLIC, 5000), (OTHER, 8080)));
    assert_eq!(through(&mut nat, (OTHER, 8080), (PUBLIC, 5000)), ((PUBLIC, 80), (INSIDE, 5000)));
    // Nothing stands behind this port, and traffic between two inside networks stays as it is.
    assert_eq!(through(&mut nat, (INSIDE, 5000), (PUBLIC, 81)), ((INSIDE, 5000), (PUBLIC, 81)));
    assert_eq!(through(&mut nat, (INSIDE, 6000), (OTHER, 8080)), ((INSIDE, 6000), (OTHER, 8080)));
}
