//! Capture files: what is written reads back, by this crate, by pcap-parser and by tshark.

mod sample;

use pcap_parser::traits::PcapReaderIterator;
use proptest::collection::vec;
use proptest::prelude::*;
use wire::Instant;
use wire::capture::{self, CaptureError, LinkType};
use wire::pcapng::{Direction, PacketInfo, SecretsType, SectionInfo, Writer};

const INFO: SectionInfo<'_> =
    SectionInfo { hardware: "a world", os: "stack 6.18", application: "wirelab", comment: "one section" };

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Unknown), Just(Direction::Inbound), Just(Direction::Outbound)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_reads_back(
        packets in vec((any::<u64>(), vec(any::<u8>(), 0..200), direction(), vec("\\PC{0,20}", 0..4), 0u32..2), 0..20),
        secrets in vec(any::<u8>(), 0..50),
    ) {
        let mut w = Writer::new(Vec::new(), &INFO).unwrap();
        w.secrets(SecretsType::TLS_KEY_LOG, &secrets).unwrap();
        w.interface("client:eth0", "", LinkType::ETHERNET).unwrap();
        w.interface("server:tun0", "räume", LinkType::RAW).unwrap();
        for (at, bytes, direction, comments, interface) in &packets {
            let comments: Vec<&str> = comments.iter().map(String::as_str).collect();
            let info = PacketInfo {
                interface: *interface, at: Instant::from_nanos(*at), direction: *direction,
                original_len: bytes.len() + 7, comments: &comments,
            };
            let (head, tail) = bytes.split_at(bytes.len() / 3);
            w.packet_parts(&info, head, tail).unwrap();
        }
        w.statistics(0, Instant::from_nanos(1), 2, 3).unwrap();
        w.names([("192.0.2.1".parse().unwrap(), "client"), ("2001:db8::1".parse().unwrap(), "server")]).unwrap();
        let file = w.finish().unwrap();
        let c = capture::read(&file).unwrap();
        prop_assert_eq!(c.problem, None);
        prop_assert_eq!(&c.application, "wirelab");
        prop_assert_eq!(&c.comments[..], &["one section"]);
        prop_assert_eq!((c.secrets.len(), c.secrets[0].bytes), (1, &secrets[..]));
        let names: Vec<_> = c.interfaces.iter().map(|i| (&*i.name, &*i.description, i.link_type)).collect();
        prop_assert_eq!(names, [("client:eth0", "", LinkType::ETHERNET), ("server:tun0", "räume", LinkType::RAW)]);
        prop_assert_eq!(c.skipped_blocks.iter().map(|b| b.0).collect::<Vec<_>>(), [5, 4]);
        prop_assert_eq!(c.packets.len(), packets.len());
        for (read, (at, bytes, direction, comments, interface)) in c.packets.iter().zip(&packets) {
            prop_assert_eq!(read.at.as_nanos(), *at);
            prop_assert_eq!(read.bytes, &bytes[..]);
            prop_assert_eq!(read.original_len as usize, if bytes.is_empty() { 7 } else { bytes.len() + 7 });
            prop_assert_eq!(read.direction, *direction);
            prop_assert_eq!(&read.comments, comments);
            prop_assert_eq!(read.interface, *interface as usize);
        }
    }

    #[test]
    fn a_file_cut_anywhere_yields_the_packets_before_the_cut(cut in 0usize..1000) {
        let (file, ends) = three_packets();
        let cut = cut % file.len();
        match capture::read(&file[..cut]) {
            Err(CaptureError::Empty) => prop_assert_eq!(cut, 0),
            Err(error) => {
                let in_section_header = matches!(error, CaptureError::Truncated { offset: 0, .. });
                prop_assert!(in_section_header, "{}", error);
            }
            Ok(c) => {
                let whole = ends.iter().filter(|e| **e <= cut).count();
                prop_assert_eq!(c.packets.len(), whole);
                let at_a_border = c.problem.is_none();
                let truncated = matches!(c.problem, Some(CaptureError::Truncated { .. }));
                prop_assert!(at_a_border || truncated, "{:?}", c.problem);
            }
        }
    }
}

/// A file of three packets, and where each of them ends.
fn three_packets() -> (Vec<u8>, Vec<usize>) {
    let mut w = Writer::new(Vec::new(), &INFO).unwrap();
    w.interface("eth0", "", LinkType::RAW).unwrap();
    let mut ends = Vec::new();
    for i in 0..3u8 {
        w.packet(
            &PacketInfo { comments: &["x"], ..Default::default() },
            &[0x45; 21][..20 + usize::from(i & 1)],
        )
        .unwrap();
        let so_far = 20 + usize::from(i & 1);
        ends.push((28 + so_far.next_multiple_of(4) + 8 + 4 + 4) + ends.last().copied().unwrap_or(0));
    }
    let file = w.finish().unwrap();
    let header = file.len() - ends[2];
    (file, ends.iter().map(|e| e + header).collect())
}

#[test]
fn pcap_parser_reads_the_same_packets() {
    let file = sample::file();
    let ours = capture::read(&file).unwrap();
    let mut reader = pcap_parser::PcapNGReader::new(1 << 20, &file[..]).unwrap();
    let (mut theirs, mut secrets) = (Vec::new(), 0);
    loop {
        match reader.next() {
            Ok((n, pcap_parser::PcapBlockOwned::NG(block))) => {
                match block {
                    pcap_parser::Block::EnhancedPacket(p) => theirs.push((
                        u64::from(p.ts_high) << 32 | u64::from(p.ts_low),
                        p.data[..p.caplen as usize].to_vec(),
                        p.if_id as usize,
                    )),
                    pcap_parser::Block::DecryptionSecrets(_) => secrets += 1,
                    _ => {}
                }
                reader.consume(n);
            }
            Ok((n, _)) => reader.consume(n),
            Err(pcap_parser::PcapError::Eof) => break,
            Err(pcap_parser::PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(e) => panic!("{e:?}"),
        }
    }
    let mine: Vec<_> =
        ours.packets.iter().map(|p| (p.at.as_nanos(), p.bytes.to_vec(), p.interface)).collect();
    assert_eq!(theirs, mine);
    assert_eq!(secrets, 1);
}

/// A pcapng file in big-endian order, by hand: two sections, tsresol 10^-3 with an offset and 2^-10, a
/// simple packet, an obsolete packet, an unknown block.
#[test]
fn foreign_files_are_read() {
    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut b = kind.to_be_bytes().to_vec();
        let len = (12 + body.len().next_multiple_of(4)) as u32;
        b.extend(len.to_be_bytes());
        b.extend(body);
        b.resize(len as usize - 4, 0);
        b.extend(len.to_be_bytes());
        b
    }
    let section = block(0x0a0d_0d0a, &[&[0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0][..], &[0xff; 8]].concat());
    // raw IP, snap length 4; if_tsresol 3; if_tsoffset 100 s; no end of options
    let mut idb = vec![0, 101, 0, 0, 0, 0, 0, 4, 0, 9, 0, 1, 3, 0, 0, 0, 0, 14, 0, 8];
    idb.extend(100i64.to_be_bytes());
    let epb = [&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 3, 0, 0, 0, 9][..], &[0x45, 1, 2]].concat();
    let spb = [&[0, 0, 0, 9][..], &[0x45, 1, 2, 3]].concat();
    let old = [&[0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 43, 0, 0, 0, 1, 0, 0, 0, 1][..], &[0x45]].concat();
    let idb2 = vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0x8a, 0, 0, 0, 0, 0, 0, 0];
    let epb2 = [&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[]].concat();
    let file = [
        section.clone(),
        block(1, &idb),
        block(0x77, &[1, 2, 3]),
        block(6, &epb),
        block(3, &spb),
        block(2, &old),
        section,
        block(1, &idb2),
        block(6, &epb2),
    ]
    .concat();
    let c = capture::read(&file).unwrap();
    assert_eq!(c.problem, None);
    let read: Vec<_> =
        c.packets.iter().map(|p| (p.interface, p.at.as_nanos(), p.bytes, p.original_len)).collect();
    let (ms, s) = (1_000_000, 1_000_000_000);
    assert_eq!(
        read,
        [
            (0, 100 * s + 42 * ms, &[0x45, 1, 2][..], 9),
            (0, 100 * s + 42 * ms, &[0x45, 1, 2, 3][..], 9),
            (0, 100 * s + 43 * ms, &[0x45][..], 1),
            (1, s, &[][..], 0),
        ]
    );
    assert_eq!(c.skipped_blocks.len(), 1);
}

#[test]
fn classic_pcap_is_read_in_both_orders_and_units() {
    for (magic, unit) in [(0xa1b2_c3d4_u32, 1000), (0xa1b2_3c4d, 1)] {
        for big in [false, true] {
            let put = |v: u32| if big { v.to_be_bytes() } else { v.to_le_bytes() };
            let put16 = |v: u16| if big { v.to_be_bytes() } else { v.to_le_bytes() };
            let mut file = put(magic).to_vec();
            file.extend(put16(2));
            file.extend(put16(4));
            file.extend([0; 8]);
            file.extend(put(65535));
            file.extend(put(101));
            for (i, len) in [(1, 3), (2, 5)] {
                file.extend([put(i), put(7), put(len), put(60)].concat());
                file.extend(vec![0x45; len as usize]);
            }
            let c = capture::read(&file).unwrap();
            assert_eq!(c.problem, None);
            assert_eq!(c.packets[1].at.as_nanos(), 2_000_000_000 + 7 * unit);
            assert_eq!((c.packets[1].bytes.len(), c.packets[1].original_len), (5, 60));
            assert_eq!(c.packets[1].link_type, LinkType::RAW);
            let cut = capture::read(&file[..file.len() - 1]).unwrap();
            assert_eq!(cut.packets.len(), 1);
            let problem = cut.problem.unwrap().to_string();
            assert_eq!(problem, "byte 43: the file ends inside a captured packet: 21 bytes needed, 20 there");
        }
    }
}

#[test]
fn files_of_other_formats_are_refused_with_a_reason() {
    let text = |b: &[u8]| capture::read(b).unwrap_err().to_string();
    assert_eq!(text(b""), "the file is empty");
    assert!(text(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]).contains("gzip: unpack it first"));
    assert!(text(b"GET / HTTP/1.1").contains("neither pcapng nor pcap"));
    let (mut file, _) = three_packets();
    let section = file[4] as usize;
    file[section + 4] = 3; // the interface block's length
    let c = capture::read(&file).unwrap();
    assert_eq!(
        c.problem.unwrap().to_string(),
        format!("byte {}: a pcapng block cannot be 3 bytes", section + 4)
    );
}

#[test]
fn pseudo_headers_are_taken_off() {
    let ip = [0x45, 0, 0, 20];
    let sll = [&[0; 14][..], &[8, 0], &ip].concat();
    let sll2 = [&[8, 0][..], &[0; 18], &ip].concat();
    let null = [&[2, 0, 0, 0][..], &ip].concat();
    for (link_type, bytes) in
        [(LinkType::LINUX_SLL, sll), (LinkType::LINUX_SLL2, sll2), (LinkType::NULL, null)]
    {
        assert_eq!(link_type.strip(&bytes), Some((wire::Medium::Ip, &ip[..])), "{link_type}");
        assert_eq!(link_type.strip(&bytes[..3]), None);
    }
    assert_eq!(LinkType(147).strip(&ip), None);
}
