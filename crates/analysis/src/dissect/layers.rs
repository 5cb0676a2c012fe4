//! The headers up to TCP and UDP as layers, with their lengths: what each of them costs.

use wire::ethernet;

use super::{Field, Layer, Message};
use crate::view::{Layer as Header, View};

/// Bytes of a VLAN tag, an ARP packet and a VXLAN header.
const VLAN: usize = 4;
const ARP: usize = wire::arp::PACKET_LEN;
const VXLAN: usize = 8;

/// The headers that [`View`] found, outermost first.
pub(super) fn of(view: &View) -> Vec<Layer> {
    let mut layers = Vec::new();
    let mut left = view.bytes.len();
    for (i, header) in view.layers.iter().enumerate() {
        let last = i + 1 == view.layers.len();
        let (protocol, own, details) = one(header, view, left, last);
        let mut layer = Layer::new(protocol, "", left, Message::Header).own(own.min(left));
        layer.details = details;
        left = left.saturating_sub(own);
        layers.push(layer);
    }
    layers
}

fn one(header: &Header, view: &View, left: usize, last: bool) -> (&'static str, usize, Vec<Field>) {
    // What is not measured on its own is all that stands before the payload.
    let rest = || if last { left.saturating_sub(view.payload.len()) } else { 0 };
    let field = |name: &'static str, value: String| Field::new(name, value);
    match header {
        Header::Ethernet(h) => {
            let fields = vec![field("eth.dst", h.dst.to_string()), field("eth.src", h.src.to_string())];
            ("Ethernet", ethernet::Header::header_len(h), fields)
        }
        Header::Vlan(tag) => ("VLAN", VLAN, vec![field("vlan.id", tag.vid.to_string())]),
        Header::Arp(a) => ("ARP", ARP, vec![field("arp.opcode", a.operation.0.to_string())]),
        Header::Ip(ip) => {
            let (name, src, dst, ttl) = if ip.src.is_ipv4() {
                ("IPv4", "ip.src", "ip.dst", "ip.ttl")
            } else {
                ("IPv6", "ipv6.src", "ipv6.dst", "ipv6.hlim")
            };
            let fields = vec![
                field(src, ip.src.to_string()),
                field(dst, ip.dst.to_string()),
                field(ttl, ip.ttl.to_string()),
            ];
            (name, ip.header_len, fields)
        }
        Header::FragmentBytes(n) => ("IP fragment", *n, Vec::new()),
        Header::Tcp(h) => {
            let fields = vec![
                field("tcp.srcport", h.src_port.to_string()),
                field("tcp.dstport", h.dst_port.to_string()),
                field("tcp.seq_raw", h.seq.0.to_string()),
                field("tcp.ack_raw", h.ack.0.to_string()),
                field("tcp.len", view.payload.len().to_string()),
            ];
            ("TCP", h.header_len(), fields)
        }
        Header::Udp(h) => {
            let fields = vec![
                field("udp.srcport", h.src_port.to_string()),
                field("udp.dstport", h.dst_port.to_string()),
            ];
            ("UDP", wire::udp::HEADER_LEN, fields)
        }
        Header::Icmp(_) => ("ICMP", left, Vec::new()),
        Header::Icmpv6(_) => ("ICMPv6", left, Vec::new()),
        Header::Igmp(_) => ("IGMP", left, Vec::new()),
        Header::Gre(_) => ("GRE", rest().max(4), Vec::new()),
        Header::Vxlan(_) => ("VXLAN", VXLAN, Vec::new()),
        Header::OtherEtherType(_) | Header::OtherProtocol(_) => ("Data", rest(), Vec::new()),
        Header::Malformed(text) => ("Malformed", rest(), vec![field("_ws.malformed", text.clone())]),
    }
}
