//! One capture with a packet of every kind this crate emits, all checksums right.

#![expect(clippy::unwrap_used, reason = "test data")]

use core::net::{Ipv4Addr, Ipv6Addr};
use wire::capture::LinkType;
use wire::ethernet::{EtherType, VlanTag};
use wire::ip::Protocol;
use wire::pcapng::{Direction, PacketInfo, SecretsType, SectionInfo, Writer};
use wire::tcp::{FastOpen, Flags, OptionSet, SackBlock, SeqNum, Timestamps};
use wire::{
    Instant, MacAddr, Medium, arp, ethernet, gre, icmpv4, icmpv6, igmp, ipv4, ipv6, ndp, tcp, udp, vxlan,
};

const MAC_A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x0a]);
const MAC_B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x0b]);
const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const R: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);
const A6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const B6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
const L6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const ALL6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const GROUP: Ipv4Addr = Ipv4Addr::new(233, 252, 0, 7);
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 7);

fn eth(vlan: Option<VlanTag>, ethertype: EtherType, payload: &[u8]) -> Vec<u8> {
    let header = ethernet::Header { dst: MAC_B, src: MAC_A, vlan, ethertype };
    let mut b = vec![0; header.header_len()];
    header.emit(&mut b);
    b.extend(payload);
    b
}

fn ip(header: ipv4::Header, payload: &[u8]) -> Vec<u8> {
    let header = ipv4::Header { total_len: (header.header_len() + payload.len()) as u16, ..header };
    let mut b = vec![0; header.header_len()];
    header.emit(&mut b);
    b.extend(payload);
    b
}

fn ip4(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    ip(ipv4::Header { src, dst, protocol, id: 7, dont_fragment: true, ..Default::default() }, payload)
}

fn ip6(src: Ipv6Addr, dst: Ipv6Addr, next_header: Protocol, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let header = ipv6::Header {
        traffic_class: 0xb9,
        flow_label: 0x12345,
        payload_len: payload.len() as u16,
        next_header,
        hop_limit,
        src,
        dst,
    };
    let mut b = vec![0; 40];
    header.emit(&mut b);
    b.extend(payload);
    b
}

fn udp_bytes(src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let mut b = vec![0; 8];
    udp::Header { src_port, dst_port, len: 8 + payload.len() as u16, checksum: 0 }.emit(&mut b);
    b.extend(payload);
    b
}

fn udp4(src: Ipv4Addr, dst: Ipv4Addr, dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let mut b = udp_bytes(40001, dst_port, payload);
    let checksum = udp::checksum_v4(src, dst, &b);
    b[6..8].copy_from_slice(&checksum.to_be_bytes());
    b
}

fn udp6(payload: &[u8]) -> Vec<u8> {
    let mut b = udp_bytes(40001, 40002, payload);
    let checksum = udp::checksum_v6(A6, B6, &b);
    b[6..8].copy_from_slice(&checksum.to_be_bytes());
    b
}

fn tcp_header(flags: Flags, options: tcp::Options) -> tcp::Header {
    tcp::Header {
        src_port: 40000,
        dst_port: 40100,
        seq: SeqNum(u32::MAX),
        ack: SeqNum(if flags.ack() { 77 } else { 0 }),
        flags,
        window: 64240,
        checksum: 0,
        urgent: if flags.urg() { 1 } else { 0 },
        options,
    }
}

fn tcp4(flags: Flags, set: OptionSet<'_>, payload: &[u8]) -> Vec<u8> {
    segment(tcp_header(flags, set.build().unwrap()), payload)
}

fn segment(mut header: tcp::Header, payload: &[u8]) -> Vec<u8> {
    let mut b = vec![0; header.header_len()];
    header.emit(&mut b);
    b.extend(payload);
    header.checksum = tcp::checksum_v4(A, B, &b);
    header.emit(&mut b);
    ip4(A, B, Protocol::TCP, &b)
}

fn icmp(message: icmpv4::Message, data: &[u8]) -> Vec<u8> {
    let mut b = vec![0; message.header_len()];
    message.emit(&mut b);
    b.extend(data);
    icmpv4::set_checksum(&mut b);
    ip4(R, A, Protocol::ICMP, &b)
}

fn icmp6(src: Ipv6Addr, dst: Ipv6Addr, message: icmpv6::Message, data: &[u8]) -> Vec<u8> {
    let mut b = vec![0; message.header_len()];
    message.emit(&mut b);
    b.extend(data);
    icmpv6::set_checksum(src, dst, &mut b);
    b
}

fn nd(message: ndp::Message, options: &[ndp::Opt<'_>]) -> Vec<u8> {
    let mut data = Vec::new();
    for option in options {
        let at = data.len();
        data.resize(at + option.header_len(), 0);
        option.emit(&mut data[at..]);
    }
    ip6(L6, ALL6, Protocol::ICMPV6, 255, &icmp6(L6, ALL6, icmpv6::Message::Ndp(message), &data))
}

/// Router alert, as MLD messages carry it, before `message`.
fn mld(dst: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let hop_by_hop = [58, 0, 5, 2, 0, 0, 1, 0];
    ip6(L6, dst, Protocol::HOPOPTS, 1, &[&hop_by_hop[..], message].concat())
}

fn igmp_packet(message: igmp::Message, data: &[u8]) -> Vec<u8> {
    let mut b = vec![0; message.header_len()];
    message.emit(&mut b);
    b.extend(data);
    igmp::set_checksum(&mut b);
    let options = ipv4::Options::from_bytes(&[148, 4, 0, 0]).unwrap();
    let protocol = Protocol::IGMP;
    ip(ipv4::Header { src: A, dst: GROUP, protocol, ttl: 1, tos: 0xc0, options, ..Default::default() }, &b)
}

fn arps() -> Vec<Vec<u8>> {
    let packet = |operation, sender_ip, target_mac, target_ip| {
        let mut b = vec![0; 28];
        arp::Packet { operation, sender_mac: MAC_A, sender_ip, target_mac, target_ip }.emit(&mut b);
        b.resize(46, 0); // Ethernet's padding
        eth(None, EtherType::ARP, &b)
    };
    vec![
        packet(arp::Operation::REQUEST, A, MacAddr::ZERO, R),
        packet(arp::Operation::REPLY, A, MAC_B, R),
        packet(arp::Operation::REQUEST, A, MacAddr::ZERO, A),
        packet(arp::Operation::REQUEST, A, MacAddr::BROADCAST, A),
        packet(arp::Operation::REPLY, A, MacAddr::BROADCAST, A),
        packet(arp::Operation::REQUEST, Ipv4Addr::UNSPECIFIED, MacAddr::ZERO, A),
    ]
}

fn segments() -> Vec<Vec<u8>> {
    let ts = Some(Timestamps { val: 0xffff_ffff, ecr: 5 });
    let no = OptionSet::default();
    let block = |l, r| SackBlock { left: SeqNum(l), right: SeqNum(r) };
    let cookie = [1, 2, 3, 4, 5, 6, 7, 8];
    let syn =
        OptionSet { mss: Some(1460), sack_permitted: true, timestamps: ts, window_scale: Some(7), ..no };
    vec![
        tcp4(Flags::SYN, syn, &[]),
        tcp4(Flags::SYN | Flags::ACK, OptionSet { window_scale: None, ..syn }, &[]),
        tcp4(Flags::ACK, OptionSet { timestamps: ts, ..no }, &[]),
        tcp4(Flags::PSH | Flags::ACK, OptionSet { timestamps: ts, ..no }, b"wirelab says hello"),
        tcp4(
            Flags::ACK,
            OptionSet {
                timestamps: ts,
                sack: [block(100, 200), block(300, 400)].into_iter().collect(),
                ..no
            },
            &[],
        ),
        tcp4(
            Flags::SYN,
            OptionSet {
                mss: Some(536),
                fast_open: Some(FastOpen { cookie: &[], experimental: false }),
                ..no
            },
            &[],
        ),
        tcp4(
            Flags::SYN,
            OptionSet {
                mss: Some(536),
                fast_open: Some(FastOpen { cookie: &cookie, experimental: false }),
                ..no
            },
            b"early",
        ),
        tcp4(Flags::ACK | Flags::URG | Flags::ECE | Flags::CWR, no, b"u"),
        tcp4(Flags::FIN | Flags::ACK, OptionSet { md5: Some([7; 16]), ..no }, &[]),
        tcp4(Flags::RST, no, &[]),
        segment(tcp_header(Flags::ACK, tcp::Options::from_bytes(&[1, 1, 4, 2, 0]).unwrap()), &[]),
    ]
}

fn icmps() -> Vec<Vec<u8>> {
    use icmpv4::Message as M;
    let datagram = ip4(A, B, Protocol::UDP, &udp4(A, B, 40002, b"lost"));
    let segment = &tcp4(Flags::SYN, OptionSet::default(), &[])[..28];
    let times = icmpv4::Times { originate: 1, receive: 2, transmit: 3 };
    vec![
        icmp(M::EchoRequest { id: 4242, seq: 1 }, b"0123456789abcdef"),
        icmp(M::EchoReply { id: 4242, seq: 1 }, b"0123456789abcdef"),
        icmp(M::DestinationUnreachable { code: icmpv4::code::ICMP_PORT_UNREACH, next_hop_mtu: 0 }, &datagram),
        icmp(
            M::DestinationUnreachable { code: icmpv4::code::ICMP_FRAG_NEEDED, next_hop_mtu: 1400 },
            &datagram,
        ),
        icmp(M::TimeExceeded { code: icmpv4::code::ICMP_EXC_TTL }, segment),
        icmp(M::Redirect { code: icmpv4::code::ICMP_REDIR_HOST, gateway: B }, &datagram),
        icmp(M::TimestampRequest { id: 9, seq: 8, times }, &[]),
        icmp(M::TimestampReply { id: 9, seq: 8, times }, &[]),
    ]
}

fn groups() -> Vec<Vec<u8>> {
    use icmpv6::Message as M6;
    use igmp::Message as M;
    let mut records = vec![0; 20];
    let joined = igmp::IgmpRecord { kind: igmp::RecordKind::TO_EXCLUDE, group: GROUP, sources: &[] };
    joined.emit(&mut records);
    let sources = [[192, 0, 2, 9]];
    igmp::IgmpRecord { kind: igmp::RecordKind::ALLOW, group: GROUP, sources: &sources }
        .emit(&mut records[8..]);
    let mut records6 = vec![0; 20];
    icmpv6::MldRecord { kind: igmp::RecordKind::TO_EXCLUDE, group: GROUP6, sources: &[] }.emit(&mut records6);
    let query = igmp::SourceQuery { suppress: false, robustness: 2, interval_code: 125, sources: 0 };
    let mld2 = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
    vec![
        igmp_packet(M::Query { max_response_code: 100, group: GROUP, v3: None }, &[]),
        igmp_packet(M::Query { max_response_code: 100, group: Ipv4Addr::UNSPECIFIED, v3: Some(query) }, &[]),
        igmp_packet(M::ReportV1 { group: GROUP }, &[]),
        igmp_packet(M::ReportV2 { group: GROUP }, &[]),
        igmp_packet(M::Leave { group: GROUP }, &[]),
        igmp_packet(M::ReportV3 { records: 2 }, &records),
        mld(ALL6, &icmp6(L6, ALL6, M6::MldQuery { max_response_code: 1000, group: GROUP6, v2: None }, &[])),
        mld(
            ALL6,
            &icmp6(
                L6,
                ALL6,
                M6::MldQuery { max_response_code: 1000, group: Ipv6Addr::UNSPECIFIED, v2: Some(query) },
                &[],
            ),
        ),
        mld(GROUP6, &icmp6(L6, GROUP6, M6::MldReportV1 { group: GROUP6 }, &[])),
        mld(ALL6, &icmp6(L6, ALL6, M6::MldDone { group: GROUP6 }, &[])),
        mld(mld2, &icmp6(L6, mld2, M6::MldReportV2 { records: 1 }, &records6)),
    ]
}

fn sixes() -> Vec<Vec<u8>> {
    use icmpv6::Message as M;
    let datagram = ip6(A6, B6, Protocol::UDP, 64, &udp6(b"lost"));
    let echo = |m| ip6(A6, B6, Protocol::ICMPV6, 64, &icmp6(A6, B6, m, b"0123456789abcdef"));
    let error = |m| ip6(A6, B6, Protocol::ICMPV6, 64, &icmp6(A6, B6, m, &datagram));
    let mut fragment = vec![0; 8];
    ipv6::FragmentHeader { next_header: Protocol::UDP, offset: 0, more: true, id: 0xdead_beef }
        .emit(&mut fragment);
    fragment.extend(udp_bytes(40001, 40002, &[0; 16]));
    let mut later = vec![0; 8];
    ipv6::FragmentHeader { next_header: Protocol::UDP, offset: 24, more: false, id: 0xdead_beef }
        .emit(&mut later);
    later.extend([1, 2, 3]);
    let prefix = ndp::PrefixInfo {
        prefix_len: 64,
        on_link: true,
        autonomous: true,
        valid_lifetime: 86400,
        preferred_lifetime: 14400,
        prefix: Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 0),
    };
    let advert = ndp::RouterAdvert {
        hop_limit: 64,
        managed: false,
        other: true,
        preference: 1,
        router_lifetime: 1800,
        reachable_time: 30000,
        retrans_timer: 1000,
    };
    let na = ndp::NeighborAdvert { router: false, solicited: true, override_: true, target: A6 };
    let destination_options = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &udp6(b"padded")].concat();
    let visited = [&[17, 2, 4, 0, 0, 0, 0, 0][..], &B6.octets(), &udp6(b"routed")].concat();
    vec![
        ip6(A6, B6, Protocol::DSTOPTS, 64, &destination_options),
        ip6(A6, B6, Protocol::ROUTING, 64, &visited),
        datagram.clone(),
        echo(M::EchoRequest { id: 1, seq: 2 }),
        echo(M::EchoReply { id: 1, seq: 2 }),
        error(M::DestinationUnreachable { code: icmpv6::code::ICMPV6_PORT_UNREACH }),
        error(M::PacketTooBig { mtu: 1280 }),
        error(M::TimeExceeded { code: 0 }),
        error(M::ParameterProblem { code: 0, pointer: 40 }),
        ip6(A6, B6, Protocol::FRAGMENT, 64, &fragment),
        ip6(A6, B6, Protocol::FRAGMENT, 64, &later),
        nd(ndp::Message::RouterSolicit, &[ndp::Opt::SourceLinkLayer(MAC_A)]),
        nd(
            ndp::Message::RouterAdvert(advert),
            &[
                ndp::Opt::SourceLinkLayer(MAC_A),
                ndp::Opt::Mtu(1400),
                ndp::Opt::PrefixInfo(prefix),
                ndp::Opt::Rdnss { lifetime: 600, servers: &[A6.octets()] },
                ndp::Opt::RouteInfo {
                    prefix_len: 48,
                    preference: 0,
                    lifetime: 600,
                    prefix: Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 0),
                },
            ],
        ),
        nd(ndp::Message::NeighborSolicit { target: A6 }, &[ndp::Opt::SourceLinkLayer(MAC_A)]),
        nd(ndp::Message::NeighborAdvert(na), &[ndp::Opt::TargetLinkLayer(MAC_B)]),
        nd(
            ndp::Message::Redirect { target: L6, destination: B6 },
            &[ndp::Opt::TargetLinkLayer(MAC_B), ndp::Opt::RedirectedHeader(&datagram)],
        ),
    ]
}

fn tunnels() -> Vec<Vec<u8>> {
    let inner = ip4(A, B, Protocol::UDP, &udp4(A, B, 40002, b"inside"));
    let framed = eth(None, EtherType::IPV4, &inner);
    let gre_packet = |header: gre::Header, payload: &[u8]| {
        let mut b = vec![0; header.header_len()];
        header.emit(&mut b);
        b.extend(payload);
        if header.checksum.is_some() {
            gre::set_checksum(&mut b);
        }
        ip4(R, B, Protocol::GRE, &b)
    };
    let plain = gre::Header { protocol: EtherType::IPV4, checksum: None, key: None, sequence: None };
    let mut vx = vec![0; 8];
    vxlan::Header { vni: 42 }.emit(&mut vx);
    vx.extend(&framed);
    vec![
        ip4(R, B, Protocol::IPIP, &inner),
        ip4(R, B, Protocol::IPV6, &ip6(A6, B6, Protocol::UDP, 64, &udp6(b"six"))),
        gre_packet(plain, &inner),
        gre_packet(gre::Header { key: Some(5), sequence: Some(6), checksum: Some(0), ..plain }, &inner),
        gre_packet(gre::Header { protocol: EtherType::TEB, key: Some(5), ..plain }, &framed),
        ip4(R, B, Protocol::UDP, &udp4(R, B, vxlan::PORT, &vx)),
    ]
}

fn datagrams() -> Vec<Vec<u8>> {
    let header = ipv4::Header {
        src: A,
        dst: B,
        protocol: Protocol::UDP,
        id: 99,
        tos: 0x2e << 2 | 2,
        ..Default::default()
    };
    let first = ipv4::Header { more_fragments: true, ..header };
    let last = ipv4::Header { frag_offset: 24, ..header };
    vec![
        ip4(A, B, Protocol::UDP, &udp4(A, B, 40002, b"hello")),
        ip4(A, B, Protocol::UDP, &udp_bytes(40001, 40002, b"no checksum")),
        ip(first, &udp_bytes(40001, 40002, &[0; 16])),
        ip(last, &[1, 2, 3]),
        ip4(A, B, Protocol::SCTP, &[]),
    ]
}

/// All frames, with what they begin with.
pub(crate) fn frames() -> Vec<(Medium, Vec<u8>)> {
    let wrap = |b: Vec<u8>| {
        let ethertype = if b[0] >> 4 == 4 { EtherType::IPV4 } else { EtherType::IPV6 };
        (Medium::Ethernet, eth(None, ethertype, &b))
    };
    let mut all: Vec<_> = arps().into_iter().map(|b| (Medium::Ethernet, b)).collect();
    for packets in [datagrams(), segments(), icmps(), groups(), sixes(), tunnels(), applications()] {
        all.extend(packets.into_iter().map(wrap));
    }
    let datagram = ip4(A, B, Protocol::UDP, &udp4(A, B, 40002, b"tagged"));
    let tag = VlanTag { pcp: 5, dei: true, vid: 100 };
    all.push((Medium::Ethernet, eth(Some(tag), EtherType::IPV4, &datagram)));
    let twice = [&[0, 200, 8, 0][..], &datagram].concat();
    all.push((Medium::Ethernet, eth(Some(tag), EtherType::VLAN, &twice)));
    all.push((Medium::Ip, datagram));
    all.push((Medium::Ip, ip6(A6, B6, Protocol::UDP, 64, &udp6(b"raw"))));
    all
}

/// What the fields of protocols above TCP and UDP are read from: each begins with its segment.
fn applications() -> Vec<Vec<u8>> {
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x00\x00\x01\x00\x01";
    let mut answer = query.to_vec();
    answer[2..8].copy_from_slice(&[0x85, 0x80, 0, 1, 0, 2]);
    answer.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x01\x2c\x00\x04\xc0\x00\x02\x50");
    answer.extend(b"\xc0\x0c\x00\x1c\x00\x01\x00\x00\x00\x3c\x00\x10\x20\x01\x0d\xb8");
    answer.extend([0; 12]);
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2f, 1, 0, 0, 21, 0, 0, 0, 17, 0, 15, 0, 0, 12]);
    hello.extend(b"shop.example");
    let record = [&[22, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8][..], &hello].concat();
    let mut preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    preface.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]);
    preface.extend([0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    // An Initial and a Handshake packet in one datagram, their contents not QUIC's.
    let mut quic = vec![0xc0, 0, 0, 0, 1, 4, 1, 2, 3, 4, 2, 9, 9, 0, 32];
    quic.extend([5; 32]);
    quic.extend([0xe0, 0, 0, 0, 1, 4, 1, 2, 3, 4, 2, 9, 9, 40]);
    quic.extend([6; 40]);
    let on = |src_port, dst_port, payload: &[u8]| {
        let set = OptionSet::default();
        let flags = Flags::ACK.with(Flags::PSH);
        segment(tcp::Header { src_port, dst_port, ..tcp_header(flags, set.build().unwrap()) }, payload)
    };
    vec![
        ip4(A, B, Protocol::UDP, &udp4(A, B, 53, query)),
        ip4(A, B, Protocol::UDP, &udp4(A, B, 53, &answer)),
        on(41001, 53, &[&[0, 29][..], query].concat()),
        on(41002, 443, &record),
        on(41003, 443, &[21, 3, 3, 0, 2, 2, 48]),
        on(41004, 80, b"GET /index.html HTTP/1.1\r\nHost: shop.example\r\n\r\n"),
        on(41005, 80, b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n"),
        on(41006, 80, &preface),
        ip4(A, B, Protocol::UDP, &udp4(A, B, 443, &quic)),
    ]
}

/// The frames in a file, an interface for each medium.
pub(crate) fn file() -> Vec<u8> {
    let info = SectionInfo { hardware: "a world", os: "stack", application: "wirelab", comment: "sample" };
    let mut w = Writer::new(Vec::new(), &info).unwrap();
    w.secrets(SecretsType::TLS_KEY_LOG, b"CLIENT_RANDOM 00 00\n").unwrap();
    w.names([(A.into(), "client"), (B6.into(), "server")]).unwrap();
    w.interface("client:eth0", "the client's", LinkType::ETHERNET).unwrap();
    w.interface("client:tun0", "", LinkType::RAW).unwrap();
    for (i, (medium, bytes)) in frames().iter().enumerate() {
        let info = PacketInfo {
            interface: u32::from(*medium == Medium::Ip),
            at: Instant::from_nanos(1_000_000_001 * i as u64),
            direction: Direction::Outbound,
            original_len: 0,
            comments: &["dropped by fault 1", "second comment"],
        };
        w.packet(&info, bytes).unwrap();
    }
    w.statistics(0, Instant::from_secs(100), 60, 0).unwrap();
    w.finish().unwrap()
}
