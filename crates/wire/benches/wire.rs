//! An IPv4 and TCP segment with timestamps and one SACK block: parse and verify, emit and checksum, beside
//! smoltcp and etherparse in the same run; the checksum alone; pcapng written; a filter matched.

use core::net::Ipv4Addr;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use wire::ip::Protocol;
use wire::tcp::{Flags, OptionSet, SackBlock, SeqNum, Timestamps};
use wire::{checksum, ipv4, tcp};

const SRC: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const DST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const PAYLOADS: [usize; 2] = [0, 1448];

fn main() {
    let packets = PAYLOADS.map(|n| {
        let mut out = [vec![0; 2048], vec![0; 2048], vec![0; 2048]];
        let payload = vec![0x5a; n];
        let len = emit_wire(&mut out[0], &payload);
        // smoltcp packs the options without the NOPs that Linux puts before them: 4 bytes less.
        let theirs = emit_smoltcp(&mut out[1], &payload);
        assert_eq!((theirs, emit_etherparse(&mut out[2], &payload)), (len - 4, len));
        assert!(parse_wire(&out[1][..theirs]).1 == n && parse_wire(&out[2][..len]).1 == n);
        assert!(parse_smoltcp(&out[0][..len]).1 == n && parse_etherparse(&out[0][..len]).1 == n);
        len
    });
    assert_eq!(packets, [64, 1512]);
    divan::main();
}

fn segment(payload: usize) -> Vec<u8> {
    let mut b = vec![0; 2048];
    let len = emit_wire(&mut b, &vec![0x5a; payload]);
    b.truncate(len);
    b
}

fn emit_wire(b: &mut [u8], payload: &[u8]) -> usize {
    let set = OptionSet {
        timestamps: Some(Timestamps { val: 3, ecr: 4 }),
        sack: core::iter::once(SackBlock { left: SeqNum(5), right: SeqNum(6) }).collect(),
        ..OptionSet::default()
    };
    let header = tcp::Header {
        src_port: 40000,
        dst_port: 80,
        seq: SeqNum(1),
        ack: SeqNum(2),
        flags: Flags::ACK,
        window: 501,
        checksum: 0,
        urgent: 0,
        options: set.build().expect("24 bytes"),
    };
    let tcp_len = header.header_len() + payload.len();
    let ip = ipv4::Header {
        total_len: 20 + tcp_len as u16,
        dont_fragment: true,
        protocol: Protocol::TCP,
        src: SRC,
        dst: DST,
        ..ipv4::Header::default()
    };
    ip.emit(b);
    let b = &mut b[20..20 + tcp_len];
    b[header.header_len()..].copy_from_slice(payload);
    let pseudo = checksum::pseudo_v4(SRC, DST, Protocol::TCP, tcp_len as u16);
    header.emit_with_checksum(b, pseudo, checksum::sum(payload));
    20 + tcp_len
}

fn parse_wire(b: &[u8]) -> (u32, usize) {
    let (ip, n) = ipv4::Header::parse(b).expect("valid");
    assert!(ipv4::verify_checksum(&b[..n]));
    let b = &b[n..usize::from(ip.total_len)];
    assert!(tcp::verify_v4(ip.src, ip.dst, b));
    let (tcp, n) = tcp::Header::parse(b).expect("valid");
    (tcp.seq.0 ^ tcp.options.timestamps().map_or(0, |t| t.val), b.len() - n)
}

fn parse_smoltcp(b: &[u8]) -> (u32, usize) {
    use smoltcp::wire::{Ipv4Packet, Ipv4Repr, TcpPacket, TcpRepr};
    let caps = smoltcp::phy::ChecksumCapabilities::default();
    let ip = Ipv4Packet::new_checked(b).expect("valid");
    let repr = Ipv4Repr::parse(&ip, &caps).expect("valid");
    let tcp = TcpPacket::new_checked(ip.payload()).expect("valid");
    let tcp = TcpRepr::parse(&tcp, &repr.src_addr.into(), &repr.dst_addr.into(), &caps).expect("valid");
    (tcp.seq_number.0 as u32 ^ tcp.timestamp.map_or(0, |t| t.tsval), tcp.payload.len())
}

fn emit_smoltcp(b: &mut [u8], payload: &[u8]) -> usize {
    use smoltcp::wire::{
        IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, TcpTimestampRepr,
    };
    let caps = smoltcp::phy::ChecksumCapabilities::default();
    let tcp = TcpRepr {
        src_port: 40000,
        dst_port: 80,
        control: TcpControl::None,
        seq_number: TcpSeqNumber(1),
        ack_number: Some(TcpSeqNumber(2)),
        window_len: 501,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [Some((5, 6)), None, None],
        timestamp: Some(TcpTimestampRepr { tsval: 3, tsecr: 4 }),
        payload,
    };
    let len = tcp.buffer_len();
    let repr = Ipv4Repr {
        src_addr: SRC,
        dst_addr: DST,
        next_header: IpProtocol::Tcp,
        payload_len: len,
        hop_limit: 64,
    };
    let mut ip = Ipv4Packet::new_unchecked(&mut b[..20 + len]);
    repr.emit(&mut ip, &caps);
    let mut packet = TcpPacket::new_unchecked(ip.payload_mut());
    tcp.emit(&mut packet, &SRC.into(), &DST.into(), &caps);
    20 + len
}

fn parse_etherparse(b: &[u8]) -> (u32, usize) {
    let packet = etherparse::SlicedPacket::from_ip(b).expect("valid");
    let Some(etherparse::NetSlice::Ipv4(ip)) = &packet.net else { panic!("IPv4") };
    let header = ip.header().to_header();
    assert_eq!(header.calc_header_checksum(), header.header_checksum);
    let Some(etherparse::TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("TCP") };
    let checksum = tcp.calc_checksum_ipv4(header.source, header.destination).expect("a segment fits");
    assert_eq!(checksum, tcp.checksum());
    let ts = tcp.options_iterator().flatten().find_map(|o| match o {
        etherparse::TcpOptionElement::Timestamp(val, _) => Some(val),
        _ => None,
    });
    (tcp.sequence_number() ^ ts.unwrap_or(0), tcp.payload().len())
}

fn emit_etherparse(b: &mut [u8], payload: &[u8]) -> usize {
    use etherparse::TcpOptionElement::{Noop, SelectiveAcknowledgement, Timestamp};
    let mut tcp = etherparse::TcpHeader::new(40000, 80, 1, 501);
    tcp.ack = true;
    tcp.acknowledgment_number = 2;
    let options = [Noop, Noop, Timestamp(3, 4), Noop, Noop, SelectiveAcknowledgement((5, 6), [None; 3])];
    tcp.set_options(&options).expect("24 bytes");
    let len = (tcp.header_len() + payload.len()) as u16;
    let mut ip = etherparse::Ipv4Header::new(len, 64, etherparse::IpNumber::TCP, SRC.octets(), DST.octets())
        .expect("short");
    ip.header_checksum = ip.calc_header_checksum();
    tcp.checksum = tcp.calc_checksum_ipv4(&ip, payload).expect("short");
    b[..20].copy_from_slice(&ip.to_bytes());
    let bytes = tcp.to_bytes();
    b[20..20 + bytes.len()].copy_from_slice(&bytes);
    b[20 + bytes.len()..][..payload.len()].copy_from_slice(payload);
    20 + bytes.len() + payload.len()
}

macro_rules! pair {
    ($parse:ident, $emit:ident, $run_parse:path, $run_emit:path) => {
        #[divan::bench(args = PAYLOADS, sample_count = 200, sample_size = 4000)]
        fn $parse(bencher: Bencher<'_, '_>, payload: usize) {
            let packet = segment(payload);
            bencher.bench_local(|| $run_parse(black_box(&packet)));
        }

        #[divan::bench(args = PAYLOADS, sample_count = 200, sample_size = 4000)]
        fn $emit(bencher: Bencher<'_, '_>, payload: usize) {
            let payload = vec![0x5a; payload];
            let mut out = vec![0; 2048];
            bencher.bench_local(|| $run_emit(black_box(&mut out), black_box(&payload)));
        }
    };
}

pair!(parse_1_wire, emit_1_wire, parse_wire, emit_wire);
pair!(parse_2_smoltcp, emit_2_smoltcp, parse_smoltcp, emit_smoltcp);
pair!(parse_3_etherparse, emit_3_etherparse, parse_etherparse, emit_etherparse);

const LENGTHS: [usize; 5] = [20, 64, 1460, 9000, 65000];

#[divan::bench(args = LENGTHS, sample_count = 200, sample_size = 2000)]
fn checksum_1_wire(bencher: Bencher<'_, '_>, len: usize) {
    let bytes: Vec<u8> = (0..=len).map(|i| (i * 7 + 3) as u8).collect();
    bencher
        .counter(BytesCount::new(len))
        .bench_local(|| wire::checksum::sum(black_box(&bytes[1..])).finish());
}

#[divan::bench(args = LENGTHS, sample_count = 100, sample_size = 200)]
fn checksum_2_etherparse(bencher: Bencher<'_, '_>, len: usize) {
    use etherparse::checksum::u64_16bit_word::{add_slice, ones_complement};
    let bytes: Vec<u8> = (0..=len).map(|i| (i * 7 + 3) as u8).collect();
    bencher
        .counter(BytesCount::new(len))
        .bench_local(|| ones_complement(add_slice(0, black_box(&bytes[1..]))));
}

/// A sink that takes bytes away, so that only the writer's own work is measured.
fn pcapng(bencher: Bencher<'_, '_>, len: usize, comments: &[&str]) {
    use wire::pcapng::{PacketInfo, SectionInfo, Writer};
    let mut writer = Writer::new(std::io::sink(), &SectionInfo::default()).expect("a sink takes all");
    let interface =
        writer.interface("eth0", "", wire::capture::LinkType::ETHERNET).expect("a sink takes all");
    let packet = vec![0x5a; len];
    let mut at = wire::Instant::ZERO;
    bencher.bench_local(|| {
        at += core::time::Duration::from_nanos(1000);
        writer.packet(&PacketInfo { interface, at, comments, ..PacketInfo::default() }, black_box(&packet))
    });
}

#[divan::bench(args = [64, 1514], sample_count = 200, sample_size = 2000)]
fn pcapng_write(bencher: Bencher<'_, '_>, len: usize) {
    pcapng(bencher, len, &[]);
}

#[divan::bench(args = [64, 1514], sample_count = 200, sample_size = 2000)]
fn pcapng_write_with_comment(bencher: Bencher<'_, '_>, len: usize) {
    pcapng(bencher, len, &["dropped by fault 1"]);
}

#[divan::bench(args = ["tcp.flags.syn == 1 && ip.addr == 192.0.2.0/24", "udp.port == 53", "tcp"], sample_count = 200, sample_size = 2000)]
fn parse_and_filter(bencher: Bencher<'_, '_>, text: &str) {
    let filter = wire::filter::Filter::parse(text).expect("valid");
    let packet = segment(1448);
    bencher
        .bench_local(|| filter.matches(&wire::packet::Packet::parse(black_box(&packet), wire::Medium::Ip)));
}
