//! One packet, taken apart once: the headers from the outside to the inside as owned values.
//!
//! Every other file asks this one instead of reading bytes. Tunnels (IPIP, GRE, VXLAN) are opened, the
//! packet an ICMP error quotes is not: it is a description, not a packet. Bytes that cannot be read end
//! the list with [`Layer::Malformed`].

use std::net::IpAddr;
use std::ops::Range;

use wire::ethernet::{EtherType, VlanTag};
use wire::ip::Protocol;
use wire::packet::{self, Level, Network, Transport};
use wire::{Frame, MacAddr, Medium, arp, ethernet, gre, icmpv4, icmpv6, igmp, ipv6, tcp, udp, vxlan};

/// One header.
#[derive(Clone, Debug, PartialEq)]
pub enum Layer {
    /// Ethernet, with its first VLAN tag.
    Ethernet(ethernet::Header),
    /// A further VLAN tag (802.1ad inside).
    Vlan(VlanTag),
    /// ARP.
    Arp(arp::Packet),
    /// IPv4 or IPv6, extension headers included.
    Ip(Ip),
    /// The middle or end of a fragmented packet: so many bytes.
    FragmentBytes(usize),
    /// TCP.
    Tcp(Box<tcp::Header>),
    /// UDP.
    Udp(udp::Header),
    /// ICMP for IPv4.
    Icmp(icmpv4::Message),
    /// ICMPv6, neighbour discovery included.
    Icmpv6(icmpv6::Message),
    /// IGMP.
    Igmp(igmp::Message),
    /// GRE.
    Gre(gre::Header),
    /// VXLAN.
    Vxlan(vxlan::Header),
    /// An ethertype that nothing here reads.
    OtherEtherType(EtherType),
    /// An IP protocol that nothing here reads.
    OtherProtocol(Protocol),
    /// Cannot be read; the parser's words.
    Malformed(String),
}

/// What this crate wants to know of an IP header, of either version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// Don't Fragment; always true in IPv6.
    pub df: bool,
    /// IPv4's identification, or the fragment header's.
    pub id: u32,
    /// Offset of this fragment in bytes.
    pub frag_offset: u16,
    /// More fragments follow.
    pub more_fragments: bool,
    /// The upper protocol.
    pub protocol: Protocol,
    /// Header and extension headers.
    pub header_len: usize,
    /// The whole IP packet as the header states it.
    pub total_len: usize,
    /// IPv6's flow label; 0 in IPv4.
    pub flow_label: u32,
}

impl Ip {
    /// Part of a fragmented packet.
    pub fn is_fragment(&self) -> bool {
        self.more_fragments || self.frag_offset != 0
    }

    /// Bytes behind the header(s).
    pub fn payload_len(&self) -> usize {
        self.total_len.saturating_sub(self.header_len)
    }
}

/// A packet taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Headers, outermost first.
    pub layers: Vec<Layer>,
    /// All bytes, so that payloads can be shown.
    pub bytes: Vec<u8>,
    /// What follows the last header.
    pub payload: Range<usize>,
}

impl View {
    /// Takes a frame apart.
    pub fn of(medium: Medium, frame: &Frame) -> View {
        View::of_bytes(medium, frame.to_vec())
    }

    /// Takes bytes apart.
    pub fn of_bytes(medium: Medium, bytes: Vec<u8>) -> View {
        let (layers, payload) = layers(&packet::Packet::parse(&bytes, medium));
        View { layers, payload, bytes }
    }

    /// A packet that has been read already.
    pub fn of_packet(packet: &packet::Packet<'_>) -> View {
        let (layers, payload) = layers(packet);
        View { layers, payload, bytes: packet.bytes.to_vec() }
    }

    /// The bytes after the last header.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.payload.clone()]
    }

    /// The outermost Ethernet header.
    pub fn ethernet(&self) -> Option<&ethernet::Header> {
        match self.layers.first() {
            Some(Layer::Ethernet(h)) => Some(h),
            _ => None,
        }
    }

    /// Source and destination MAC address, when there are any.
    pub fn macs(&self) -> Option<(MacAddr, MacAddr)> {
        self.ethernet().map(|h| (h.src, h.dst))
    }

    /// Source and destination MAC address of the innermost Ethernet header: in VXLAN, the packet's own.
    pub fn inner_macs(&self) -> Option<(MacAddr, MacAddr)> {
        let headers = self.layers.iter().rev();
        headers.filter_map(|l| if let Layer::Ethernet(h) = l { Some((h.src, h.dst)) } else { None }).next()
    }

    /// The ARP packet.
    pub fn arp(&self) -> Option<&arp::Packet> {
        self.layers.iter().find_map(|l| if let Layer::Arp(a) = l { Some(a) } else { None })
    }

    /// The outermost IP header.
    pub fn ip(&self) -> Option<&Ip> {
        self.ips().next()
    }

    /// The innermost IP header: the tunnelled packet's, when there is a tunnel.
    pub fn inner_ip(&self) -> Option<&Ip> {
        self.ips().last()
    }

    /// All IP headers, outermost first.
    pub fn ips(&self) -> impl Iterator<Item = &Ip> {
        self.layers.iter().filter_map(|l| if let Layer::Ip(ip) = l { Some(ip) } else { None })
    }

    /// The innermost UDP header.
    pub fn udp(&self) -> Option<&udp::Header> {
        match self.layers.last() {
            Some(Layer::Udp(h)) => Some(h),
            _ => None,
        }
    }

    /// The innermost TCP header.
    pub fn tcp(&self) -> Option<&tcp::Header> {
        match self.layers.last() {
            Some(Layer::Tcp(h)) => Some(h),
            _ => None,
        }
    }

    /// The ICMP message.
    pub fn icmp(&self) -> Option<&icmpv4::Message> {
        match self.layers.last() {
            Some(Layer::Icmp(m)) => Some(m),
            _ => None,
        }
    }

    /// The ICMPv6 message.
    pub fn icmpv6(&self) -> Option<&icmpv6::Message> {
        match self.layers.last() {
            Some(Layer::Icmpv6(m)) => Some(m),
            _ => None,
        }
    }

    /// The neighbour discovery message.
    pub fn ndp(&self) -> Option<&wire::ndp::Message> {
        match self.icmpv6() {
            Some(icmpv6::Message::Ndp(m)) => Some(m),
            _ => None,
        }
    }

    /// Whether this is an ICMP or ICMPv6 error (redirects of both versions included).
    pub fn is_icmp_error(&self) -> bool {
        match (self.icmp(), self.icmpv6()) {
            (Some(m), _) => m.is_error(),
            (_, Some(m)) => matches!(
                m,
                icmpv6::Message::DestinationUnreachable { .. }
                    | icmpv6::Message::PacketTooBig { .. }
                    | icmpv6::Message::TimeExceeded { .. }
                    | icmpv6::Message::ParameterProblem { .. }
            ),
            _ => false,
        }
    }

    /// The packet that an ICMP error quotes.
    pub fn quoted(&self) -> Option<wire::quoted::Quoted<'_>> {
        if self.is_icmp_error() { wire::quoted::Quoted::parse(self.payload()).ok() } else { None }
    }

    /// A header inside a tunnel: there are two IP headers or more, or a second Ethernet header.
    pub fn is_tunnelled(&self) -> bool {
        self.ips().count() > 1
            || self.layers.iter().skip(1).any(|l| matches!(l, Layer::Ethernet(_) | Layer::Gre(_)))
    }

    /// The malformed part's description.
    pub fn malformed(&self) -> Option<&str> {
        match self.layers.last() {
            Some(Layer::Malformed(text)) => Some(text),
            _ => None,
        }
    }
}

/// The headers of all levels in a row, and where the payload stands.
fn layers(packet: &packet::Packet<'_>) -> (Vec<Layer>, Range<usize>) {
    let mut layers = Vec::new();
    for level in packet.levels() {
        level_layers(level, &mut layers);
    }
    let inner = packet.innermost();
    let payload = inner.payload_offset..inner.payload_offset + inner.payload.len();
    if let Some(problem) = packet.problem {
        // A header that was cut short but could be read is no problem of the words.
        let cut_payload = inner.truncated && inner.transport != Transport::None;
        if !cut_payload {
            layers.push(Layer::Malformed(problem.to_string()));
        }
    }
    (layers, payload)
}

fn level_layers(level: &Level<'_>, layers: &mut Vec<Layer>) {
    if let Some(h) = level.ethernet {
        layers.push(Layer::Ethernet(h));
        if let Some(tag) = level.inner_vlan {
            layers.push(Layer::Vlan(tag));
        }
        if matches!(level.network, Network::None) && !is_read(h.ethertype) {
            layers.push(Layer::OtherEtherType(h.ethertype));
        }
    }
    if let Network::Arp(a) = level.network {
        layers.push(Layer::Arp(a));
    }
    if let Some(ip) = ip_of(level) {
        layers.push(Layer::Ip(ip));
        if ip.frag_offset != 0 {
            layers.push(Layer::FragmentBytes(level.payload.len()));
        }
    }
    match level.transport {
        Transport::None | Transport::Ip(_) => {}
        Transport::Udp(h) => layers.push(Layer::Udp(h)),
        Transport::Tcp(h) => layers.push(Layer::Tcp(Box::new(h))),
        // Only quoted packets end there, and those are not taken apart here.
        Transport::TcpStart { .. } => layers.push(Layer::OtherProtocol(Protocol::TCP)),
        Transport::Icmpv4(m) => layers.push(Layer::Icmp(m)),
        Transport::Icmpv6(m) => layers.push(Layer::Icmpv6(m)),
        Transport::Igmp(m) => layers.push(Layer::Igmp(m)),
        Transport::Gre(h) => layers.push(Layer::Gre(h)),
        Transport::Other(p) => layers.push(Layer::OtherProtocol(p)),
    }
    if let Some(h) = level.vxlan {
        layers.push(Layer::Vxlan(h));
    }
}

/// Ethertypes whose packets have a layer of their own.
fn is_read(ty: EtherType) -> bool {
    matches!(ty, EtherType::ARP | EtherType::IPV4 | EtherType::IPV6 | EtherType::VLAN | EtherType::QINQ)
}

fn ip_of(level: &Level<'_>) -> Option<Ip> {
    let fragment = level.fragment;
    match &level.network {
        Network::Ipv4(h) => Some(Ip {
            src: h.src.into(),
            dst: h.dst.into(),
            ttl: h.ttl,
            tos: h.tos,
            df: h.dont_fragment,
            id: h.id.into(),
            frag_offset: h.frag_offset,
            more_fragments: h.more_fragments,
            protocol: h.protocol,
            header_len: h.header_len(),
            total_len: usize::from(h.total_len),
            flow_label: 0,
        }),
        Network::Ipv6(ip) => Some(Ip {
            src: ip.header.src.into(),
            dst: ip.header.dst.into(),
            ttl: ip.header.hop_limit,
            tos: ip.header.traffic_class,
            df: true,
            id: fragment.map_or(0, |f| f.id),
            frag_offset: fragment.map_or(0, |f| f.offset),
            more_fragments: fragment.is_some_and(|f| f.more),
            protocol: ip.upper,
            header_len: ipv6::HEADER_LEN + ip.extensions.len(),
            total_len: ipv6::HEADER_LEN + usize::from(ip.header.payload_len),
            flow_label: ip.header.flow_label,
        }),
        Network::None | Network::Arp(_) => None,
    }
}
