//! Laws that hold for any header: emitting what was parsed gives the same bytes, and parsing what was
//! emitted the same header. etherparse and a plain RFC 1071 loop are the second opinion.

use core::net::{Ipv4Addr, Ipv6Addr};
use proptest::collection::vec;
use proptest::prelude::*;
use wire::checksum::{self, Sum};
use wire::ethernet::{EtherType, VlanTag};
use wire::ip::Protocol;
use wire::tcp::{FastOpen, OptionSet, Sack, SackBlock, SeqNum, Timestamps};
use wire::{MacAddr, arp, ethernet, gre, icmpv4, icmpv6, igmp, ipv4, ipv6, ndp, tcp, udp, vxlan};

/// `parse(emit(h)) == h` with the right length, for any header with the three methods.
macro_rules! round_trip {
    ($header:expr, $parse:path) => {{
        let header = $header;
        let mut bytes = vec![0xee; header.header_len() + 3];
        header.emit(&mut bytes);
        prop_assert_eq!(&bytes[header.header_len()..], &[0xee; 3], "emit wrote past the header");
        prop_assert_eq!($parse(&bytes[..header.header_len()]), Ok((header, header.header_len())));
        bytes
    }};
}

fn mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr)
}

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from_bits)
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>().prop_map(Ipv6Addr::from_bits)
}

/// RFC 1071 §4.1, typed in.
fn plain_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Equal as one's complement numbers: 0 and 0xffff are the same.
fn same(a: u16, b: u16) -> bool {
    a == b || (a.min(b) == 0 && a.max(b) == 0xffff)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn sum_is_rfc_1071s(bytes in vec(any::<u8>(), 0..2000), skip in 0usize..9) {
        let bytes = &bytes[skip.min(bytes.len())..]; // any alignment
        prop_assert_eq!(checksum::sum(bytes).finish(), plain_sum(bytes));
        prop_assert_eq!(
            checksum::sum(bytes).finish(),
            etherparse::checksum::u64_16bit_word::ones_complement(
                etherparse::checksum::u64_16bit_word::add_slice(0, bytes)
            ).to_be()
        );
    }

    #[test]
    fn sums_of_parts_combine_at_any_cut(bytes in vec(any::<u8>(), 0..600), cuts in any::<(usize, usize)>()) {
        let a = cuts.0 % (bytes.len() + 1);
        let b = a + cuts.1 % (bytes.len() - a + 1);
        let parts = checksum::sum(&bytes[..a]) + checksum::sum(&bytes[a..b]) + checksum::sum(&bytes[b..]);
        prop_assert_eq!(parts.finish(), plain_sum(&bytes));
        prop_assert_eq!((Sum::EMPTY + parts).finish(), plain_sum(&bytes));
    }

    #[test]
    fn numbers_add_as_their_bytes(v in any::<u16>(), w in any::<u32>(), before in vec(any::<u8>(), 0..5)) {
        let mut bytes = before.clone();
        bytes.extend(v.to_be_bytes());
        bytes.extend(w.to_be_bytes());
        prop_assert_eq!(checksum::sum(&before).add_u16(v).add_u32(w).finish(), plain_sum(&bytes));
    }

    #[test]
    fn a_stored_checksum_verifies_and_one_flipped_bit_does_not(
        bytes in vec(any::<u8>(), 2..300), bit in any::<usize>(),
    ) {
        let mut bytes = bytes;
        bytes.truncate(bytes.len() & !1);
        bytes[0] = 0;
        bytes[1] = 0;
        let stored = checksum::sum(&bytes).finish();
        bytes[..2].copy_from_slice(&stored.to_be_bytes());
        prop_assume!(bytes.iter().any(|b| *b != 0)); // of zeroes only, the sum is 0xffff and stays so
        prop_assert!(checksum::sum(&bytes).is_valid());
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!checksum::sum(&bytes).is_valid());
    }

    #[test]
    fn rfc_1624_updates_are_a_fresh_checksum(
        bytes in vec(any::<u8>(), 8..80), at in any::<usize>(), new in any::<u32>(),
    ) {
        let mut bytes = bytes;
        let old_sum = plain_sum(&bytes);
        let at = at % (bytes.len() / 2 - 1) * 2;
        let old = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        bytes[at..at + 4].copy_from_slice(&new.to_be_bytes());
        prop_assert!(same(checksum::update_u32(old_sum, old, new), plain_sum(&bytes)));
        let halves = checksum::update_u16(
            checksum::update_u16(old_sum, (old >> 16) as u16, (new >> 16) as u16),
            old as u16,
            new as u16,
        );
        prop_assert!(same(halves, plain_sum(&bytes)));
    }

    #[test]
    fn ethernet_round_trips(
        dst in mac(), src in mac(), ty in any::<u16>(), tag in proptest::option::of(any::<u16>()),
    ) {
        prop_assume!(tag.is_some() || ty != EtherType::VLAN.0);
        let vlan = tag.map(VlanTag::from_tci);
        prop_assert_eq!(vlan.map(VlanTag::tci), tag);
        round_trip!(ethernet::Header { dst, src, vlan, ethertype: EtherType(ty) }, ethernet::Header::parse);
    }

    #[test]
    fn arp_round_trips(op in any::<u16>(), a in mac(), b in v4(), c in mac(), d in v4()) {
        let packet = arp::Packet {
            operation: arp::Operation(op), sender_mac: a, sender_ip: b, target_mac: c, target_ip: d,
        };
        round_trip!(packet, arp::Packet::parse);
    }

    #[test]
    fn ipv4_round_trips_and_etherparse_agrees(
        (tos, id, flags, frag, ttl, protocol) in any::<(u8, u16, u8, u16, u8, u8)>(),
        (src, dst) in (v4(), v4()), options in vec(any::<u8>(), 0..=40), payload in 0u16..1000,
    ) {
        let options = ipv4::Options::from_bytes(&options).unwrap();
        let header_len = 20 + options.len() as u16;
        let mut header = ipv4::Header {
            tos, total_len: header_len + payload, id,
            reserved_flag: flags & 4 != 0, dont_fragment: flags & 2 != 0, more_fragments: flags & 1 != 0,
            frag_offset: frag & 0xfff8, ttl, protocol: Protocol(protocol), checksum: 0, src, dst, options,
        };
        let mut bytes = vec![0; usize::from(header.total_len)];
        header.emit(&mut bytes);
        prop_assert!(ipv4::verify_checksum(&bytes[..header_len.into()]));
        let (parsed, n) = ipv4::Header::parse(&bytes).unwrap();
        header.checksum = parsed.checksum;
        prop_assert_eq!((parsed, n), (header, usize::from(header_len)));
        let mut again = vec![0; n];
        parsed.emit_raw(&mut again);
        prop_assert_eq!(&again[..], &bytes[..n]);
        let (theirs, _) = etherparse::Ipv4Header::from_slice(&bytes).unwrap();
        prop_assert_eq!(theirs.header_checksum, parsed.checksum);
        // etherparse does not keep the reserved flag.
        prop_assert!(parsed.reserved_flag || theirs.calc_header_checksum() == parsed.checksum);
        prop_assert_eq!(theirs.fragment_offset.value() * 8, parsed.frag_offset);
        prop_assert_eq!(theirs.options.as_slice(), parsed.options.as_bytes());
    }

    #[test]
    fn ipv6_round_trips_and_etherparse_agrees(
        (traffic_class, flow, payload_len, next, hop_limit) in any::<(u8, u32, u16, u8, u8)>(),
        (src, dst) in (v6(), v6()),
    ) {
        let header = ipv6::Header {
            traffic_class, flow_label: flow & 0xf_ffff, payload_len, next_header: Protocol(next), hop_limit,
            src, dst,
        };
        let bytes = round_trip!(header, ipv6::Header::parse_quoted);
        let (theirs, _) = etherparse::Ipv6Header::from_slice(&bytes).unwrap();
        prop_assert_eq!(
            (theirs.traffic_class, theirs.flow_label.value(), theirs.next_header.0),
            (header.traffic_class, header.flow_label, next)
        );
    }

    #[test]
    fn fragment_headers_round_trip(next in any::<u8>(), off in any::<u16>(), more in any::<bool>(), id in any::<u32>()) {
        let header = ipv6::FragmentHeader { next_header: Protocol(next), offset: off & 0xfff8, more, id };
        round_trip!(header, ipv6::FragmentHeader::parse);
    }

    #[test]
    fn udp_round_trips_and_its_checksum_is_etherparses(
        (a, b) in any::<(u16, u16)>(), (s4, d4) in (v4(), v4()), (s6, d6) in (v6(), v6()),
        payload in vec(any::<u8>(), 0..64),
    ) {
        let mut header = udp::Header { src_port: a, dst_port: b, len: 8 + payload.len() as u16, checksum: 0 };
        let mut bytes = vec![0; 8];
        bytes.extend(&payload);
        header.emit(&mut bytes);
        prop_assert!(udp::verify_v4(s4, d4, &bytes), "no checksum is right over IPv4");
        prop_assert!(!udp::verify_v6(s6, d6, &bytes), "and wrong over IPv6");
        header.checksum = udp::checksum_v4(s4, d4, &bytes);
        let theirs = etherparse::UdpHeader::with_ipv4_checksum(
            a, b, &etherparse::Ipv4Header::new(header.len, 1, etherparse::IpNumber::UDP, s4.octets(), d4.octets()).unwrap(), &payload,
        ).unwrap();
        prop_assert_eq!(theirs.checksum, header.checksum);
        let parts = udp::checksum_parts(
            checksum::pseudo_v4(s4, d4, Protocol::UDP, header.len), &bytes[..8], checksum::sum(&payload),
        );
        prop_assert_eq!(parts, header.checksum);
        header.emit(&mut bytes);
        prop_assert_eq!(udp::Header::parse(&bytes), Ok((header, 8)));
        prop_assert!(udp::verify_v4(s4, d4, &bytes));
        bytes[6..8].fill(0);
        let six = udp::checksum_v6(s6, d6, &bytes);
        bytes[6..8].copy_from_slice(&six.to_be_bytes());
        prop_assert!(udp::verify_v6(s6, d6, &bytes));
    }

    #[test]
    fn tcp_bytes_survive_parse_and_emit(fixed in any::<[u8; 20]>(), options in vec(any::<u8>(), 0..=40)) {
        let mut bytes = fixed.to_vec();
        bytes.extend(&options[..options.len() & !3]);
        bytes[12] = (bytes.len() as u8 / 4) << 4 | bytes[12] & 15;
        let (header, n) = tcp::Header::parse(&bytes).unwrap();
        prop_assert_eq!(n, bytes.len());
        let mut again = vec![0; n];
        header.emit(&mut again);
        prop_assert_eq!(&again, &bytes);
        let (a, b) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let segment = [&bytes[..], b"payload"].concat();
        let pseudo = checksum::pseudo_v4(a, b, Protocol::TCP, segment.len() as u16);
        header.emit_with_checksum(&mut again, pseudo, checksum::sum(b"payload"));
        prop_assert!(tcp::verify_v4(a, b, &[&again[..], b"payload"].concat()));
        let (theirs, _) = etherparse::TcpHeader::from_slice(&bytes).unwrap();
        prop_assert_eq!(theirs.sequence_number, header.seq.0);
        prop_assert_eq!(theirs.window_size, header.window);
        prop_assert_eq!(
            (theirs.syn, theirs.ack, theirs.fin, theirs.rst, theirs.ece, theirs.cwr, theirs.psh, theirs.urg),
            (header.flags.syn(), header.flags.ack(), header.flags.fin(), header.flags.rst(),
             header.flags.ece(), header.flags.cwr(), header.flags.psh(), header.flags.urg())
        );
    }

    #[test]
    fn tcp_option_sets_read_back_as_written(
        mss in proptest::option::of(any::<u16>()), window_scale in proptest::option::of(0u8..15),
        sack_permitted in any::<bool>(), ts in proptest::option::of(any::<(u32, u32)>()),
        sack in vec(any::<(u32, u32)>(), 0..=4), md5 in proptest::option::weighted(0.2, any::<[u8; 16]>()),
        cookie in proptest::option::of((vec(any::<u8>(), 0..=16), any::<bool>())),
    ) {
        let blocks: Sack = sack.iter().map(|&(l, r)| SackBlock { left: SeqNum(l), right: SeqNum(r) }).collect();
        let fast_open = cookie.as_ref().map(|(c, experimental)| FastOpen { cookie: c, experimental: *experimental });
        let set = OptionSet {
            md5, mss, sack_permitted, window_scale, sack: blocks, fast_open,
            timestamps: ts.map(|(val, ecr)| Timestamps { val, ecr }),
        };
        let Ok(options) = set.build() else { return Ok(()) };
        prop_assert_eq!(tcp::Options::from_bytes(options.as_bytes()), Ok(options));
        let read = tcp::Options::from_bytes(options.as_bytes()).unwrap();
        prop_assert!(!read.is_malformed() && !read.has_unknown());
        prop_assert_eq!(
            (read.mss(), read.window_scale(), read.sack_permitted(), read.timestamps(), read.sack(), read.fast_open(), read.md5()),
            (options.mss(), options.window_scale(), options.sack_permitted(), options.timestamps(), options.sack(), options.fast_open(), options.md5()),
            "what was noted while writing is what reading finds"
        );
        prop_assert_eq!(options.len() % 4, 0);
        prop_assert_eq!(options.mss(), mss);
        prop_assert_eq!(options.window_scale(), window_scale);
        prop_assert_eq!(options.sack_permitted(), sack_permitted);
        prop_assert_eq!(options.timestamps(), set.timestamps);
        prop_assert_eq!(options.fast_open(), fast_open);
        prop_assert_eq!(options.md5(), md5);
        let sent = options.sack();
        prop_assert_eq!(&sent[..], &blocks[..sent.len()], "as many blocks as fit, the first ones first");
        // A first block costs its option's head and two bytes of padding, too.
        let next = if sent.is_empty() { 12 } else { 8 };
        prop_assert!(sent.len() == blocks.len() || options.len() + next > 40, "{} of {}", sent.len(), blocks.len());
    }

    #[test]
    fn typed_fields_and_iterator_agree(bytes in vec(prop_oneof![0u8..12, any::<u8>()], 0..=40)) {
        let options = tcp::Options::from_bytes(&bytes).unwrap();
        let (mut mss, mut wscale, mut ts, mut malformed) = (None, None, None, false);
        for (at, option) in &options {
            prop_assert!(at < options.len());
            match option {
                tcp::Opt::Mss(v) => mss = Some(v),
                tcp::Opt::WindowScale(v) => wscale = Some(v),
                tcp::Opt::Timestamps(t) => ts = Some(t),
                tcp::Opt::Malformed(_) => malformed = true,
                _ => {}
            }
        }
        prop_assert_eq!((options.mss(), options.window_scale(), options.timestamps()), (mss, wscale, ts));
        prop_assert_eq!(options.is_malformed(), malformed);
    }

    #[test]
    fn sequence_numbers_add_and_compare_across_the_wrap(a in any::<u32>(), n in 1u32..(1 << 31), m in 0u32..(1 << 30)) {
        let a = SeqNum(a);
        let b = a + n;
        prop_assert!(a.before(b) && b.after(a) && !a.after(b) && !b.before(a));
        prop_assert_eq!(b - n, a);
        prop_assert_eq!(b - a, n as i32);
        prop_assert_eq!(a - b, -(n as i64) as i32);
        prop_assert!((a + m).between(a, a + (1 << 30)));
        prop_assert!(a.before_eq(a + m) && (a + m).after_eq(a));
        prop_assert_eq!((a.latest(b), a.earliest(b)), (b, a));
    }

    #[test]
    fn gre_and_vxlan_round_trip(
        ty in any::<u16>(), checksum in proptest::option::of(any::<u16>()),
        key in proptest::option::of(any::<u32>()), sequence in proptest::option::of(any::<u32>()), vni in 0u32..(1 << 24),
    ) {
        round_trip!(gre::Header { protocol: EtherType(ty), checksum, key, sequence }, gre::Header::parse);
        round_trip!(vxlan::Header { vni }, vxlan::Header::parse);
    }

    #[test]
    fn icmp_headers_survive_parse_and_emit_where_nothing_is_reserved(bytes in vec(any::<u8>(), 40)) {
        let (four, n) = icmpv4::Message::parse(&bytes).unwrap();
        let mut again = vec![0; n];
        four.emit(&mut again);
        prop_assert_eq!(icmpv4::Message::parse(&again), Ok((four, n)));
        let (six, n) = icmpv6::Message::parse(&bytes).unwrap();
        let mut again = vec![0; n];
        six.emit(&mut again);
        prop_assert_eq!(icmpv6::Message::parse(&again), Ok((six, n)));
        let (group, n) = igmp::Message::parse(&bytes).unwrap();
        let mut again = vec![0; n];
        group.emit(&mut again);
        prop_assert_eq!(igmp::Message::parse(&again), Ok((group, n)));
    }

    #[test]
    fn ndp_options_round_trip(
        m in mac(), len in 0u8..=128, flags in any::<(bool, bool)>(), times in any::<(u32, u32)>(),
        prefix in v6(), servers in vec(any::<[u8; 16]>(), 1..4), quoted in vec(any::<u8>(), 0..200),
    ) {
        let mut quoted = quoted;
        quoted.truncate(quoted.len() & !7);
        let masked = |len: u8, words: usize| {
            let mut o = prefix.octets();
            o[words * 8..].fill(0);
            ndp::Opt::RouteInfo { prefix_len: len, preference: 3, lifetime: times.0, prefix: o.into() }
        };
        let options = [
            ndp::Opt::SourceLinkLayer(m),
            ndp::Opt::TargetLinkLayer(m),
            ndp::Opt::PrefixInfo(ndp::PrefixInfo {
                prefix_len: len, on_link: flags.0, autonomous: flags.1,
                valid_lifetime: times.0, preferred_lifetime: times.1, prefix,
            }),
            ndp::Opt::RedirectedHeader(&quoted),
            ndp::Opt::Mtu(times.1),
            masked(0, 0), masked(64, 1), masked(128, 2),
            ndp::Opt::Rdnss { lifetime: times.0, servers: &servers },
            ndp::Opt::Unknown { kind: 200, data: &m.0 },
        ];
        let mut bytes = Vec::new();
        for option in &options {
            let at = bytes.len();
            bytes.resize(at + option.header_len(), 0xee);
            option.emit(&mut bytes[at..]);
        }
        let read: Result<Vec<_>, _> = ndp::options(&bytes).collect();
        prop_assert_eq!(read.unwrap(), options);
    }

    #[test]
    fn group_records_round_trip(group in v4(), group6 in v6(), s4 in vec(any::<[u8; 4]>(), 0..5), s6 in vec(any::<[u8; 16]>(), 0..5)) {
        let record = igmp::IgmpRecord { kind: igmp::RecordKind::TO_EXCLUDE, group, sources: &s4 };
        let mut bytes = vec![0; record.header_len()];
        record.emit(&mut bytes);
        let twice = [bytes.clone(), bytes].concat();
        prop_assert_eq!(igmp::igmp_records(&twice, 2).collect::<Result<Vec<_>, _>>().unwrap(), [record, record]);
        let record = icmpv6::MldRecord { kind: igmp::RecordKind::BLOCK, group: group6, sources: &s6 };
        let mut bytes = vec![0; record.header_len()];
        record.emit(&mut bytes);
        prop_assert_eq!(icmpv6::mld_records(&bytes, 1).collect::<Result<Vec<_>, _>>().unwrap(), [record]);
        prop_assert!(icmpv6::mld_records(&bytes, 2).nth(1).unwrap().is_err(), "the second is not there");
    }

    #[test]
    fn quoted_packets_tolerate_any_cut(cut in 0usize..70, ports in any::<(u16, u16)>()) {
        let header = ipv4::Header { total_len: 1500, protocol: Protocol::UDP, ..ipv4::Header::default() };
        let mut packet = vec![0; 70];
        header.emit(&mut packet);
        udp::Header { src_port: ports.0, dst_port: ports.1, len: 1480, checksum: 1 }.emit(&mut packet[20..]);
        match icmpv4::Quoted::parse(&packet[..cut]) {
            Err(_) => prop_assert!(cut < 20),
            Ok(quoted) => {
                prop_assert!(cut >= 20);
                prop_assert_eq!(quoted.ports, (cut >= 24).then_some(ports));
                prop_assert_eq!(quoted.upper.len(), cut - 20);
            }
        }
    }
}

/// `OptionSet` lays out what Linux's tcp_output.c `tcp_options_write` does, in its order and padding.
#[test]
fn options_are_laid_out_as_linux_does() {
    let ts = Some(Timestamps { val: 0x0102_0304, ecr: 0 });
    let block = |l, r| SackBlock { left: SeqNum(l), right: SeqNum(r) };
    let no = OptionSet::default();
    let rows: [(OptionSet<'_>, &[u8]); 7] = [
        (
            OptionSet { mss: Some(1460), sack_permitted: true, timestamps: ts, window_scale: Some(7), ..no },
            &[2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7],
        ),
        (
            OptionSet { mss: Some(1460), sack_permitted: true, window_scale: Some(7), ..no },
            &[2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 7],
        ),
        (OptionSet { timestamps: ts, ..no }, &[1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0]),
        (
            OptionSet { timestamps: ts, sack: [block(1, 2)].into_iter().collect(), ..no },
            &[1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2],
        ),
        (
            OptionSet {
                mss: Some(1460),
                fast_open: Some(FastOpen { cookie: &[], experimental: false }),
                ..no
            },
            &[2, 4, 5, 180, 34, 2, 1, 1],
        ),
        (
            OptionSet {
                fast_open: Some(FastOpen { cookie: &[1, 2, 3, 4, 5, 6, 7, 8], experimental: true }),
                ..no
            },
            &[254, 12, 0xf9, 0x89, 1, 2, 3, 4, 5, 6, 7, 8],
        ),
        (
            OptionSet { fast_open: Some(FastOpen { cookie: &[1, 2, 3, 4], experimental: false }), ..no },
            &[34, 6, 1, 2, 3, 4, 1, 1],
        ),
    ];
    for (set, bytes) in rows {
        assert_eq!(set.build().unwrap().as_bytes(), bytes, "{set:?}");
    }
    let md5 = OptionSet { md5: Some([9; 16]), ..no }.build().unwrap();
    assert_eq!(&md5.as_bytes()[..4], &[1, 1, 19, 18]);
}

#[test]
fn sack_blocks_give_way_to_other_options() {
    let sack: Sack = (0..4).map(|i| SackBlock { left: SeqNum(i), right: SeqNum(i + 1) }).collect();
    let with_ts = OptionSet { sack, timestamps: Some(Timestamps::default()), ..OptionSet::default() };
    assert_eq!(with_ts.build().unwrap().sack().len(), 3);
    assert_eq!(OptionSet { sack, ..OptionSet::default() }.build().unwrap().sack().len(), 4);
    assert_eq!(
        OptionSet { md5: Some([0; 16]), ..with_ts }.build().unwrap().sack().len(),
        0,
        "20 + 12 bytes leave 8: not even one block fits"
    );
}

#[test]
fn flags_read_as_tcpdump_prints_them() {
    use tcp::Flags;
    let rows = [
        (Flags::SYN, "S"),
        (Flags::SYN | Flags::ACK, "S."),
        (Flags::ACK, "."),
        (Flags::PSH | Flags::ACK, "P."),
        (Flags::FIN | Flags::ACK, "F."),
        (Flags::FIN | Flags::PSH | Flags::ACK, "FP."),
        (Flags::RST, "R"),
        (Flags::RST | Flags::ACK, "R."),
        (Flags::SYN | Flags::ECE | Flags::CWR, "SEW"),
        (Flags::NONE, "none"),
    ];
    for (flags, text) in rows {
        assert_eq!(flags.to_string(), text);
    }
}

#[test]
fn malformed_headers_say_what_and_where() {
    let text = |e: wire::ParseError| e.to_string();
    let v4 = |b: &[u8]| text(ipv4::Header::parse(b).unwrap_err());
    assert_eq!(v4(&[0x45; 19]), "IPv4 header truncated: 20 bytes needed, 19 there");
    assert_eq!(v4(&[0x65; 20]), "IPv4 header of version 6");
    assert_eq!(v4(&[0x44; 20]), "IPv4 header length (byte 0) cannot be 16");
    let mut short = [0; 20];
    short[0] = 0x45;
    assert_eq!(v4(&short), "IPv4 total length (byte 2) cannot be 0");
    let mut tcp = [0; 20];
    tcp[12] = 0x40;
    assert_eq!(text(tcp::Header::parse(&tcp).unwrap_err()), "TCP data offset (byte 12) cannot be 16");
    assert_eq!(text(udp::Header::parse(&[0; 8]).unwrap_err()), "UDP length (byte 4) cannot be 0");
    assert_eq!(text(arp::Packet::parse(&[0; 28]).unwrap_err()), "ARP hardware type (byte 0) cannot be 0x0");
}
