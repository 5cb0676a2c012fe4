//! One packet, taken apart once: the headers from the outside to the inside as owned values.
//!
//! Every other file asks this one instead of reading bytes. Tunnels (IPIP, GRE, VXLAN) are opened, the
//! packet an ICMP error quotes is not: it is a description, not a packet. Bytes that cannot be read end
//! the list with [`Layer::Malformed`].

use std::net::IpAddr;
use std::ops::Range;

use wire::ethernet::{EtherType, VlanTag};
use wire::ip::Protocol;
use wire::{Frame, MacAddr, Medium, arp, ethernet, gre, icmpv4, icmpv6, igmp, ipv4, ipv6, tcp, udp, vxlan};

/// Most headers that are read of one packet; deeper nesting ends as malformed.
pub const MAX_LAYERS: usize = 24;

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
        let mut reader = Reader { layers: Vec::new(), at: 0, end: bytes.len() };
        let mut next = match medium {
            Medium::Ethernet => Next::Ethernet,
            Medium::Ip => Next::IpByVersion,
        };
        while reader.layers.len() < MAX_LAYERS {
            match reader.step(&bytes, next) {
                Ok(Some(following)) => next = following,
                Ok(None) => break,
                Err(error) => {
                    reader.layers.push(Layer::Malformed(error.to_string()));
                    break;
                }
            }
        }
        let Reader { layers, at, end } = reader;
        View { layers, payload: at.min(end)..end, bytes }
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

/// What is to be read next.
#[derive(Clone, Copy)]
enum Next {
    Ethernet,
    IpByVersion,
    EtherType(EtherType),
    Protocol(Protocol),
    Vxlan,
}

struct Reader {
    layers: Vec<Layer>,
    at: usize,
    end: usize,
}

type Step = Result<Option<Next>, wire::ParseError>;

impl Reader {
    fn step(&mut self, bytes: &[u8], next: Next) -> Step {
        let b = &bytes[self.at..self.end];
        match next {
            Next::Ethernet => {
                let (header, n) = ethernet::Header::parse(b)?;
                self.push(Layer::Ethernet(header), n);
                Ok(Some(Next::EtherType(header.ethertype)))
            }
            Next::EtherType(ty) => self.ether_type(b, ty),
            Next::IpByVersion => match b.first().map(|v| v >> 4) {
                Some(6) => self.ipv6(b),
                _ => self.ipv4(b),
            },
            Next::Protocol(protocol) => self.protocol(b, protocol),
            Next::Vxlan => {
                let (header, n) = vxlan::Header::parse(b)?;
                self.push(Layer::Vxlan(header), n);
                Ok(Some(Next::Ethernet))
            }
        }
    }

    fn push(&mut self, layer: Layer, n: usize) {
        self.layers.push(layer);
        self.at = (self.at + n).min(self.end);
    }

    fn ether_type(&mut self, b: &[u8], ty: EtherType) -> Step {
        match ty {
            EtherType::ARP => {
                let (packet, n) = arp::Packet::parse(b)?;
                self.push(Layer::Arp(packet), n);
                // What follows is Ethernet padding.
                self.end = self.at;
                Ok(None)
            }
            EtherType::IPV4 => self.ipv4(b),
            EtherType::IPV6 => self.ipv6(b),
            EtherType::TEB => Ok(Some(Next::Ethernet)),
            EtherType::VLAN | EtherType::QINQ if b.len() >= 4 => {
                let tag = VlanTag::from_tci(u16::from_be_bytes([b[0], b[1]]));
                let inner = EtherType(u16::from_be_bytes([b[2], b[3]]));
                self.push(Layer::Vlan(tag), 4);
                Ok(Some(Next::EtherType(inner)))
            }
            other => {
                self.push(Layer::OtherEtherType(other), 0);
                Ok(None)
            }
        }
    }

    fn ipv4(&mut self, b: &[u8]) -> Step {
        let (h, n) = ipv4::Header::parse(b)?;
        let total_len = usize::from(h.total_len);
        let ip = Ip {
            src: h.src.into(),
            dst: h.dst.into(),
            ttl: h.ttl,
            tos: h.tos,
            df: h.dont_fragment,
            id: h.id.into(),
            frag_offset: h.frag_offset,
            more_fragments: h.more_fragments,
            protocol: h.protocol,
            header_len: n,
            total_len,
            flow_label: 0,
        };
        self.end = self.end.min(self.at + total_len.max(n));
        self.push(Layer::Ip(ip), n);
        Ok(self.behind_ip(&ip))
    }

    fn ipv6(&mut self, b: &[u8]) -> Step {
        let (h, n) = ipv6::Header::parse(b)?;
        let total_len = n + usize::from(h.payload_len);
        let mut walk = ipv6::ext::walk(h.next_header, &b[n..b.len().min(total_len)]);
        for header in walk.by_ref() {
            header?;
        }
        let (protocol, offset) = walk.upper();
        let fragment = walk.fragment().map(|(_, f)| f);
        let ip = Ip {
            src: h.src.into(),
            dst: h.dst.into(),
            ttl: h.hop_limit,
            tos: h.traffic_class,
            df: true,
            id: fragment.map_or(0, |f| f.id),
            frag_offset: fragment.map_or(0, |f| f.offset),
            more_fragments: fragment.is_some_and(|f| f.more),
            protocol,
            header_len: n + offset,
            total_len,
            flow_label: h.flow_label,
        };
        self.end = self.end.min(self.at + total_len);
        self.push(Layer::Ip(ip), n + offset);
        Ok(self.behind_ip(&ip))
    }

    fn behind_ip(&mut self, ip: &Ip) -> Option<Next> {
        if ip.frag_offset != 0 {
            let n = self.end - self.at;
            self.push(Layer::FragmentBytes(n), 0);
            return None;
        }
        Some(Next::Protocol(ip.protocol))
    }

    fn protocol(&mut self, b: &[u8], protocol: Protocol) -> Step {
        match protocol {
            Protocol::IPIP => return self.ipv4(b),
            Protocol::IPV6 => return self.ipv6(b),
            Protocol::GRE => {
                let (header, n) = gre::Header::parse(b)?;
                self.push(Layer::Gre(header), n);
                return Ok(Some(Next::EtherType(header.protocol)));
            }
            Protocol::UDP => {
                // The first fragment of a datagram holds less than the header's length says.
                let (header, n) = udp::Header::parse_quoted(b)?;
                self.push(Layer::Udp(header), n);
                let is_vxlan =
                    matches!(header.dst_port, vxlan::PORT | vxlan::LINUX_PORT) && b.len() >= n + 22;
                return Ok(is_vxlan.then_some(Next::Vxlan));
            }
            Protocol::TCP => {
                let (header, n) = tcp::Header::parse(b)?;
                self.push(Layer::Tcp(Box::new(header)), n);
            }
            Protocol::ICMP => {
                let (message, n) = icmpv4::Message::parse(b)?;
                self.push(Layer::Icmp(message), n);
            }
            Protocol::ICMPV6 => {
                let (message, n) = icmpv6::Message::parse(b)?;
                self.push(Layer::Icmpv6(message), n);
            }
            Protocol::IGMP => {
                let (message, n) = igmp::Message::parse(b)?;
                self.push(Layer::Igmp(message), n);
            }
            other => self.push(Layer::OtherProtocol(other), 0),
        }
        Ok(None)
    }
}
