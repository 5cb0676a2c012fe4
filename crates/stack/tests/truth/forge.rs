//! Packets that nobody of the lab sent: forged ones, strangers' SYNs, a router's errors.

use traces::{Host, Offsets, Packet};
use wire::Frame;
use wire::tcp::{Flags, Header, SeqNum};

use super::lab::{ADDRS, Lab};

/// A packet from an `INJECT` line; timestamps are those of the connection's last segment, `ts` apart. A SYN tells whose
/// initial sequence number is another now.
pub(crate) fn forge(lab: &Lab, p: &Packet, offsets: Option<Offsets>) -> (Frame, Option<(usize, u32)>) {
    let conn =
        (0..).map_while(|n| Some((n, lab.ports_of(n)?))).filter(|c| c.1 == p.ports).map(|c| c.0).last();
    let isn = |host| conn.map_or(0, |c| lab.isn_of(c, host));
    let mut flags = Flags::default();
    for letter in p.flags.chars() {
        flags |= match letter {
            'F' => Flags::FIN,
            'S' => Flags::SYN,
            'R' => Flags::RST,
            'P' => Flags::PSH,
            'U' => Flags::URG,
            _ => Flags::ACK,
        };
    }
    let seq = match offsets {
        // The FIN came after the SYN: the next number is two on.
        Some(o) => isn(p.from).wrapping_add(2).wrapping_add(o.seq),
        None => isn(p.from).wrapping_add(p.seq),
    };
    let stamp = |host| conn.and_then(|c| lab.stamp_of(c, host));
    let timestamps = offsets.and_then(|o| {
        let (val, ecr) = (stamp(p.from)?.wrapping_add(o.stamp), stamp(1 - p.from)?);
        Some(wire::tcp::Timestamps { val, ecr })
    });
    let options = wire::tcp::OptionSet { timestamps, ..Default::default() };
    let again = flags.syn().then(|| conn.map(|c| (c, seq))).flatten();
    let header = Header {
        options: options.build().expect("a timestamp fits"),
        src_port: p.ports.0,
        dst_port: p.ports.1,
        seq: SeqNum(seq),
        ack: SeqNum(p.ack.map_or(0, |a| isn(1 - p.from).wrapping_add(a))),
        flags,
        window: 64240,
        ..Header::default()
    };
    (segment(p.from, &header, p.len), again)
}

/// The `n`th stranger's SYN: an address nobody has, a port of its own, an MSS.
pub(crate) fn stranger(n: u32) -> Frame {
    let header = Header {
        src_port: u16::try_from(1024 + n % 60_000).expect("a port"),
        dst_port: 80,
        seq: SeqNum(n.wrapping_mul(0x9e37_79b9)),
        flags: Flags::SYN,
        window: 64240,
        options: wire::tcp::OptionSet { mss: Some(1460), ..Default::default() }.build().expect("an MSS fits"),
        ..Header::default()
    };
    let src = std::net::Ipv4Addr::new(192, 0, 2, u8::try_from(10 + n % 200).expect("a byte"));
    let dst: std::net::Ipv4Addr = ADDRS[1].parse().expect("an address");
    let mut tcp = vec![0; header.header_len()];
    header.emit(&mut tcp);
    tcp[16..18].fill(0);
    let sum = wire::tcp::checksum_v4(src, dst, &tcp);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    ip(src, dst, 6, &tcp)
}

/// A segment with its IP header and checksums.
pub(crate) fn segment(from: Host, header: &Header, len: usize) -> Frame {
    let mut tcp = vec![0; header.header_len()];
    header.emit(&mut tcp);
    tcp.extend((0..len).map(|i| b"hello"[i % 5]));
    let addr = |n: Host| -> std::net::Ipv4Addr { ADDRS[n].parse().expect("an address") };
    tcp[16..18].fill(0);
    let sum = wire::tcp::checksum_v4(addr(from), addr(1 - from), &tcp);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    ip(addr(from), addr(1 - from), 6, &tcp)
}

fn ip(src: std::net::Ipv4Addr, dst: std::net::Ipv4Addr, protocol: u8, body: &[u8]) -> Frame {
    let mut bytes = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0];
    bytes.extend(src.octets());
    bytes.extend(dst.octets());
    let total = u16::try_from(20 + body.len()).expect("short");
    bytes[2..4].copy_from_slice(&total.to_be_bytes());
    let sum = wire::checksum::sum(&bytes[..20]).finish();
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(body);
    Frame::from_vec(bytes)
}

/// An ICMP error from the router that quotes a packet: its IP header and eight bytes.
pub(crate) fn icmp(quoted: &[u8], to: Host, ty: u8, code: u8) -> Frame {
    let mut body = vec![ty, code, 0, 0, 0, 0, 0, 0];
    body.extend(&quoted[..28]);
    let sum = wire::checksum::sum(&body).finish();
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    ip("198.51.100.254".parse().expect("an address"), ADDRS[to].parse().expect("an address"), 1, &body)
}
