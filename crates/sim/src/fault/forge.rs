//! Answers that a fault makes up from the packet it saw.

use std::net::IpAddr;

use wire::ethernet::{EtherType, Header};
use wire::ip::Protocol;
use wire::packet::{Network, Packet, Transport};
use wire::tcp::Flags;
use wire::{Frame, MacAddr, Medium, arp, icmpv4, icmpv6, ipv4, ipv6, tcp};

/// An answer that arrives at the sender of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forge {
    /// These bytes, from the link-layer header on.
    Bytes(Vec<u8>),
    /// An ICMP error (ICMPv6 for IPv6) that quotes the packet.
    Icmp {
        /// Who seems to send it; the packet's destination when `None`. An address of the other family
        /// counts as `None`.
        from: Option<IpAddr>,
        /// Type.
        ty: u8,
        /// Code.
        code: u8,
        /// Bytes 4 to 7: the MTU of "fragmentation needed" and "packet too big", a gateway, a pointer.
        rest: u32,
    },
    /// An ARP reply: the address asked for is at `mac`.
    ArpReply {
        /// Whose it is said to be.
        mac: MacAddr,
    },
    /// A TCP RST from the destination, with the sequence numbers of RFC 9293 §3.10.7.1.
    TcpReset,
}

/// Bytes of a packet that a forged ICMP error quotes: the IP header and what fits 576 bytes (RFC 1812 §4.3.2.3).
const ICMP_QUOTE: usize = 548;
/// As much as fits the minimum IPv6 MTU (RFC 4443 §2.4).
const ICMPV6_QUOTE: usize = 1232;

impl Forge {
    /// The answer to `frame`; `None` when there is none to such a packet.
    pub(crate) fn reply(&self, frame: &Frame, medium: Medium) -> Option<Frame> {
        let bytes = frame.to_vec();
        let packet = Packet::parse(&bytes, medium);
        let level = packet.outermost();
        let ip = match self {
            Forge::Bytes(bytes) => return Some(Frame::from_slice(bytes)),
            Forge::ArpReply { mac } => {
                let Network::Arp(request) = &level.network else { return None };
                let reply = arp::Packet {
                    operation: arp::Operation::REPLY,
                    sender_mac: *mac,
                    sender_ip: request.target_ip,
                    target_mac: request.sender_mac,
                    target_ip: request.sender_ip,
                };
                let mut out = Frame::with_headroom(wire::frame::MAX_HEADROOM, arp::PACKET_LEN);
                reply.emit(out.put_zeroed(arp::PACKET_LEN));
                let mut header = level.ethernet?;
                (header.dst, header.src) = (header.src, *mac);
                header.emit(out.push(header.header_len()));
                return Some(out);
            }
            Forge::Icmp { from, ty, code, rest } => {
                let quoted = &bytes[level.ethernet.map_or(0, |h| h.header_len())..];
                icmp(level.ip_src()?, level.ip_dst()?, *from, (*ty, *code, *rest), quoted)
            }
            Forge::TcpReset => {
                let Transport::Tcp(header) = &level.transport else { return None };
                reset(level.ip_src()?, level.ip_dst()?, header, level.payload.len())
            }
        };
        Some(with_ethernet(ip, level.ethernet))
    }
}

/// Puts the Ethernet header of an answer in front, if the packet had one.
fn with_ethernet(mut ip: Frame, header: Option<Header>) -> Frame {
    if let Some(mut header) = header {
        (header.dst, header.src) = (header.src, header.dst);
        if header.src.is_multicast() {
            header.src = MacAddr([2, 0, 0, 0, 0, 0xfe]);
        }
        let version = ip.head()[0] >> 4;
        header.ethertype = if version == 6 { EtherType::IPV6 } else { EtherType::IPV4 };
        header.emit(ip.push(header.header_len()));
    }
    ip
}

fn icmp(
    src: IpAddr,
    dst: IpAddr,
    from: Option<IpAddr>,
    (ty, code, rest): (u8, u8, u32),
    quoted: &[u8],
) -> Frame {
    let limit = if src.is_ipv4() { ICMP_QUOTE } else { ICMPV6_QUOTE };
    let quoted = &quoted[..quoted.len().min(limit)];
    let mut out = Frame::with_headroom(wire::frame::MAX_HEADROOM, 8 + quoted.len());
    out.put(&[ty, code, 0, 0]);
    out.put(&rest.to_be_bytes());
    out.put(quoted);
    let from = from.filter(|f| f.is_ipv4() == dst.is_ipv4()).unwrap_or(dst);
    match (from, src) {
        (IpAddr::V6(from), IpAddr::V6(to)) => icmpv6::set_checksum(from, to, out.head_mut()),
        _ => icmpv4::set_checksum(out.head_mut()),
    }
    let protocol = if src.is_ipv4() { Protocol::ICMP } else { Protocol::ICMPV6 };
    with_ip(out, from, src, protocol)
}

fn reset(src: IpAddr, dst: IpAddr, header: &tcp::Header, payload_len: usize) -> Frame {
    // RFC 9293 §3.10.7.1: with ACK, SEQ=SEG.ACK; without, SEQ=0 and ACK=SEG.SEQ+SEG.LEN.
    let mut rst = tcp::Header { src_port: header.dst_port, dst_port: header.src_port, ..Default::default() };
    if header.flags.contains(Flags::ACK) {
        rst.flags = Flags::RST;
        rst.seq = header.ack;
    } else {
        rst.flags = Flags::RST | Flags::ACK;
        rst.ack = tcp::SeqNum(header.seq.0.wrapping_add(header.seq_len(payload_len)));
    }
    let mut out = Frame::with_headroom(wire::frame::MAX_HEADROOM, tcp::MIN_HEADER_LEN);
    rst.emit(out.put_zeroed(tcp::MIN_HEADER_LEN));
    rst.checksum = match (dst, src) {
        (IpAddr::V4(from), IpAddr::V4(to)) => tcp::checksum_v4(from, to, out.head()),
        (IpAddr::V6(from), IpAddr::V6(to)) => tcp::checksum_v6(from, to, out.head()),
        _ => unreachable!("both addresses stood in one header"),
    };
    rst.emit(out.head_mut());
    with_ip(out, dst, src, Protocol::TCP)
}

fn with_ip(mut out: Frame, from: IpAddr, to: IpAddr, protocol: Protocol) -> Frame {
    let len = out.len();
    match (from, to) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let total_len = u16::try_from(len + ipv4::MIN_HEADER_LEN).expect("quotes are short");
            let header = ipv4::Header { src, dst, protocol, total_len, ttl: 64, ..Default::default() };
            header.emit(out.push(ipv4::MIN_HEADER_LEN));
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let payload_len = u16::try_from(len).expect("quotes are short");
            let header = ipv6::Header {
                traffic_class: 0,
                flow_label: 0,
                payload_len,
                next_header: protocol,
                hop_limit: 64,
                src,
                dst,
            };
            header.emit(out.push(ipv6::HEADER_LEN));
        }
        _ => unreachable!("both addresses are of one family"),
    }
    out
}
