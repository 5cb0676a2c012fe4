//! A whole frame read down to its payload: the headers of each level of tunnelling, and where reading
//! stopped when something was wrong.
//!
//! Lenient where a capture may be cut short (a length that reaches past the end is a [`Packet::problem`],
//! not the end of reading) and bounded: no recursion, [`MAX_TUNNELS`] levels.

use crate::ethernet::{EtherType, VlanTag};
use crate::field::{u16_at, u32_at};
use crate::ip::Protocol;
use crate::ipv6::ext;
use crate::quoted::Quoted;
use crate::tcp::SeqNum;
use crate::{Medium, ParseError, arp, ethernet, gre, icmpv4, icmpv6, igmp, ipv4, ipv6, tcp, udp, vxlan};
use core::net::IpAddr;

/// Tunnels followed inside each other (IPIP, GRE, VXLAN).
pub const MAX_TUNNELS: usize = 4;
/// 802.1Q and 802.1ad tags read in one Ethernet header.
pub const MAX_TAGS: usize = 2;

/// The network layer of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Network<'a> {
    /// None that this library reads: see the Ethernet header's type.
    #[default]
    None,
    /// ARP.
    Arp(arp::Packet),
    /// IPv4.
    Ipv4(ipv4::Header),
    /// IPv6 with its extension headers.
    Ipv6(Ipv6<'a>),
}

/// An IPv6 header with what follows it up to the upper layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6<'a> {
    /// The fixed header.
    pub header: ipv6::Header,
    /// The extension headers' bytes, as far as they could be read.
    pub extensions: &'a [u8],
    /// The upper protocol, behind the extension headers.
    pub upper: Protocol,
}

impl<'a> Ipv6<'a> {
    /// The extension headers in order.
    pub fn extensions(&self) -> impl Iterator<Item = ext::ExtHeader<'a>> + use<'a> {
        ext::walk(self.header.next_header, self.extensions).map_while(Result::ok)
    }
}

/// The part of a datagram that a fragment carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Offset of its payload in the datagram, in bytes.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
    /// Identification: 16 bits over IPv4, 32 over IPv6.
    pub id: u32,
}

/// The transport layer of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Transport {
    /// No IP, or a fragment that is not the first, or it could not be read.
    #[default]
    None,
    /// UDP.
    Udp(udp::Header),
    /// TCP.
    Tcp(tcp::Header),
    /// The first 8 bytes of a TCP header, as quoted in an ICMP error.
    TcpStart {
        /// Source port.
        src_port: u16,
        /// Destination port.
        dst_port: u16,
        /// Sequence number.
        seq: SeqNum,
    },
    /// ICMP.
    Icmpv4(icmpv4::Message),
    /// ICMPv6.
    Icmpv6(icmpv6::Message),
    /// IGMP.
    Igmp(igmp::Message),
    /// GRE; a level follows unless its protocol is unknown.
    Gre(gre::Header),
    /// IPv4 or IPv6 directly inside; a level follows.
    Ip(Protocol),
    /// Another protocol.
    Other(Protocol),
}

/// The headers of one level: the frame itself, or what a tunnel carries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Level<'a> {
    /// Where the level begins in the frame.
    pub offset: usize,
    /// The Ethernet header; none on [`Medium::Ip`], inside IPIP and GRE.
    pub ethernet: Option<ethernet::Header>,
    /// A second VLAN tag, or the first when it is an 802.1ad service tag.
    pub inner_vlan: Option<VlanTag>,
    /// ARP or IP.
    pub network: Network<'a>,
    /// Set on fragments, the first included.
    pub fragment: Option<Fragment>,
    /// What IP carries.
    pub transport: Transport,
    /// The whole transport header with its payload: what its checksum covers.
    pub segment: &'a [u8],
    /// The VXLAN header after a UDP header to port 4789 or 8472; a level follows.
    pub vxlan: Option<vxlan::Header>,
    /// What follows the last header read, without lower-layer padding. In a tunnel, the inner packet.
    pub payload: &'a [u8],
    /// Where the payload begins in the frame.
    pub payload_offset: usize,
    /// The packet was longer than what is here.
    pub truncated: bool,
}

impl<'a> Level<'a> {
    /// The ARP packet.
    pub const fn arp(&self) -> Option<&arp::Packet> {
        if let Network::Arp(p) = &self.network { Some(p) } else { None }
    }

    /// The IPv4 header.
    pub const fn ipv4(&self) -> Option<&ipv4::Header> {
        if let Network::Ipv4(h) = &self.network { Some(h) } else { None }
    }

    /// The IPv6 header and extension headers.
    pub const fn ipv6(&self) -> Option<&Ipv6<'a>> {
        if let Network::Ipv6(h) = &self.network { Some(h) } else { None }
    }

    /// Source address of either IP version.
    pub const fn ip_src(&self) -> Option<IpAddr> {
        match &self.network {
            Network::Ipv4(h) => Some(IpAddr::V4(h.src)),
            Network::Ipv6(h) => Some(IpAddr::V6(h.header.src)),
            _ => None,
        }
    }

    /// Destination address of either IP version.
    pub const fn ip_dst(&self) -> Option<IpAddr> {
        match &self.network {
            Network::Ipv4(h) => Some(IpAddr::V4(h.dst)),
            Network::Ipv6(h) => Some(IpAddr::V6(h.header.dst)),
            _ => None,
        }
    }

    /// TTL or hop limit.
    pub const fn ttl(&self) -> Option<u8> {
        match &self.network {
            Network::Ipv4(h) => Some(h.ttl),
            Network::Ipv6(h) => Some(h.header.hop_limit),
            _ => None,
        }
    }

    /// The upper protocol of either IP version.
    pub const fn protocol(&self) -> Option<Protocol> {
        match &self.network {
            Network::Ipv4(h) => Some(h.protocol),
            Network::Ipv6(h) => Some(h.upper),
            _ => None,
        }
    }

    /// The UDP header.
    pub const fn udp(&self) -> Option<&udp::Header> {
        if let Transport::Udp(h) = &self.transport { Some(h) } else { None }
    }

    /// The TCP header.
    pub const fn tcp(&self) -> Option<&tcp::Header> {
        if let Transport::Tcp(h) = &self.transport { Some(h) } else { None }
    }

    /// The ICMP message.
    pub const fn icmpv4(&self) -> Option<&icmpv4::Message> {
        if let Transport::Icmpv4(m) = &self.transport { Some(m) } else { None }
    }

    /// The ICMPv6 message.
    pub const fn icmpv6(&self) -> Option<&icmpv6::Message> {
        if let Transport::Icmpv6(m) = &self.transport { Some(m) } else { None }
    }

    /// The IGMP message.
    pub const fn igmp(&self) -> Option<&igmp::Message> {
        if let Transport::Igmp(m) = &self.transport { Some(m) } else { None }
    }

    /// The GRE header.
    pub const fn gre(&self) -> Option<&gre::Header> {
        if let Transport::Gre(h) = &self.transport { Some(h) } else { None }
    }

    /// Source and destination port of UDP or TCP.
    pub const fn ports(&self) -> Option<(u16, u16)> {
        match &self.transport {
            Transport::Udp(h) => Some((h.src_port, h.dst_port)),
            Transport::Tcp(h) => Some((h.src_port, h.dst_port)),
            Transport::TcpStart { src_port, dst_port, .. } => Some((*src_port, *dst_port)),
            _ => None,
        }
    }

    /// An ICMP or ICMPv6 error.
    const fn is_error(&self) -> bool {
        match &self.transport {
            Transport::Icmpv4(m) => m.is_error(),
            Transport::Icmpv6(m) => {
                m.is_error() || matches!(m, icmpv6::Message::Ndp(crate::ndp::Message::Redirect { .. }))
            }
            _ => false,
        }
    }

    /// The packet that an ICMP or ICMPv6 error quotes.
    pub fn quoted(&self) -> Option<Quoted<'a>> {
        self.quoted_bytes().and_then(|b| Quoted::parse(b).ok())
    }

    /// The same as a level of its own, its offset counted in the frame.
    pub fn quoted_level(&self) -> Option<Level<'a>> {
        let bytes = self.quoted_bytes()?;
        let at = self.payload_offset + self.payload.len() - bytes.len();
        let mut reader = Reader { rest: bytes, at, level: Level::default(), problem: None };
        reader.read(Start::Ip);
        (reader.level.network != Network::None).then_some(reader.level)
    }

    fn quoted_bytes(&self) -> Option<&'a [u8]> {
        if !self.is_error() {
            return None;
        }
        if let Transport::Icmpv6(icmpv6::Message::Ndp(_)) = self.transport {
            return crate::ndp::options(self.payload).find_map(|option| match option {
                Ok(crate::ndp::Opt::RedirectedHeader(packet)) => Some(packet),
                _ => None,
            });
        }
        Some(self.payload)
    }

    /// The transport checksum is right. `None` when it cannot be told (a fragment, bytes missing) or
    /// there is none (UDP over IPv4 with 0; protocols without one).
    pub fn transport_checksum_valid(&self) -> Option<bool> {
        if self.fragment.is_some() || self.truncated {
            return None;
        }
        match (&self.transport, self.ip_src()?, self.ip_dst()?) {
            (Transport::Udp(h), IpAddr::V4(src), IpAddr::V4(dst)) => {
                (h.checksum != 0).then(|| udp::verify_v4(src, dst, self.udp_datagram(h)))
            }
            (Transport::Udp(h), IpAddr::V6(src), IpAddr::V6(dst)) => {
                Some(udp::verify_v6(src, dst, self.udp_datagram(h)))
            }
            (Transport::Tcp(_), IpAddr::V4(src), IpAddr::V4(dst)) => {
                Some(tcp::verify_v4(src, dst, self.segment))
            }
            (Transport::Tcp(_), IpAddr::V6(src), IpAddr::V6(dst)) => {
                Some(tcp::verify_v6(src, dst, self.segment))
            }
            (Transport::Icmpv4(_), ..) => Some(icmpv4::verify_checksum(self.segment)),
            (Transport::Igmp(_), ..) => Some(igmp::verify_checksum(self.segment)),
            (Transport::Icmpv6(_), IpAddr::V6(src), IpAddr::V6(dst)) => {
                Some(icmpv6::verify_checksum(src, dst, self.segment))
            }
            _ => None,
        }
    }

    fn udp_datagram(&self, header: &udp::Header) -> &'a [u8] {
        &self.segment[..self.segment.len().min(header.len.into())]
    }
}

/// A frame and all its headers.
///
/// ```
/// use wire::{Medium, packet::Packet};
/// let frame = [
///     0x45, 0, 0, 30, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, // IPv4
///     0x30, 0x39, 0, 7, 0, 10, 0, 0, b'h', b'i', // UDP to port 7
/// ];
/// let packet = Packet::parse(&frame, Medium::Ip);
/// assert_eq!(packet.udp().unwrap().dst_port, 7);
/// assert_eq!(packet.payload(), b"hi");
/// assert_eq!(packet.problem, None);
/// ```
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// The frame.
    pub bytes: &'a [u8],
    /// All levels but the innermost: empty without tunnels.
    outer: Vec<Level<'a>>,
    inner: Level<'a>,
    /// Why reading stopped early, if it did.
    pub problem: Option<ParseError>,
    /// Where the header that has the problem begins in the frame.
    pub problem_offset: usize,
}

/// What a level begins with.
#[derive(Clone, Copy)]
enum Start {
    Ethernet,
    Ip,
    Type(EtherType),
}

impl<'a> Packet<'a> {
    /// Reads as much of `bytes` as can be read.
    pub fn parse(bytes: &'a [u8], medium: Medium) -> Packet<'a> {
        let mut start = match medium {
            Medium::Ethernet => Start::Ethernet,
            Medium::Ip => Start::Ip,
        };
        let mut reader = Reader { rest: bytes, at: 0, level: Level::default(), problem: None };
        let mut outer = Vec::new();
        while let Some(next) = reader.read(start) {
            if reader.problem.is_some_and(|(_, p)| !matches!(p, ParseError::Truncated { .. })) {
                break;
            }
            if outer.len() == MAX_TUNNELS {
                let error = ParseError::TooMany { what: "tunnels inside each other", limit: MAX_TUNNELS };
                reader.problem = Some((reader.at, error));
                break;
            }
            outer.push(reader.level);
            start = next;
            reader.level = Level::default();
        }
        let (problem_offset, problem) = reader.problem.map_or((0, None), |(at, e)| (at, Some(e)));
        Packet { bytes, outer, inner: reader.level, problem, problem_offset }
    }

    /// The levels, the outermost first; never empty.
    pub fn levels(&self) -> impl DoubleEndedIterator<Item = &Level<'a>> {
        self.outer.iter().chain(core::iter::once(&self.inner))
    }

    /// What stands directly in the frame.
    pub fn outermost(&self) -> &Level<'a> {
        self.outer.first().unwrap_or(&self.inner)
    }

    /// The innermost level: what the hosts at the ends of all tunnels see.
    pub const fn innermost(&self) -> &Level<'a> {
        &self.inner
    }

    /// The frame's own Ethernet header.
    pub fn ethernet(&self) -> Option<&ethernet::Header> {
        self.outermost().ethernet.as_ref()
    }

    /// The innermost level's ARP packet.
    pub const fn arp(&self) -> Option<&arp::Packet> {
        self.inner.arp()
    }

    /// The innermost level's IPv4 header.
    pub const fn ipv4(&self) -> Option<&ipv4::Header> {
        self.inner.ipv4()
    }

    /// The innermost level's IPv6 header.
    pub const fn ipv6(&self) -> Option<&Ipv6<'a>> {
        self.inner.ipv6()
    }

    /// The innermost level's UDP header.
    pub const fn udp(&self) -> Option<&udp::Header> {
        self.inner.udp()
    }

    /// The innermost level's TCP header.
    pub const fn tcp(&self) -> Option<&tcp::Header> {
        self.inner.tcp()
    }

    /// The innermost level's ICMP message.
    pub const fn icmpv4(&self) -> Option<&icmpv4::Message> {
        self.inner.icmpv4()
    }

    /// The innermost level's ICMPv6 message.
    pub const fn icmpv6(&self) -> Option<&icmpv6::Message> {
        self.inner.icmpv6()
    }

    /// The innermost level's IGMP message.
    pub const fn igmp(&self) -> Option<&igmp::Message> {
        self.inner.igmp()
    }

    /// What follows the last header read.
    pub const fn payload(&self) -> &'a [u8] {
        self.inner.payload
    }
}

/// Reads one level after the other; `rest` begins at offset `at` of the frame.
struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
    level: Level<'a>,
    problem: Option<(usize, ParseError)>,
}

impl<'a> Reader<'a> {
    /// Reads a level into `self.level`; what the level inside it begins with, if there is one.
    fn read(&mut self, start: Start) -> Option<Start> {
        self.level.offset = self.at;
        let next = self.headers(start).unwrap_or_else(|error| {
            self.problem = Some((self.at, error));
            None
        });
        self.level.payload = self.rest;
        self.level.payload_offset = self.at;
        next
    }

    fn skip(&mut self, n: usize) {
        self.rest = &self.rest[n..];
        self.at += n;
    }

    fn headers(&mut self, start: Start) -> Result<Option<Start>, ParseError> {
        let ethertype = match start {
            Start::Ethernet => self.ethernet()?,
            Start::Type(t) => t,
            Start::Ip => match self.rest.first().map(|b| b >> 4) {
                Some(4) => EtherType::IPV4,
                Some(6) => EtherType::IPV6,
                Some(found) => return Err(ParseError::BadVersion { what: "IP header", found }),
                None => return Err(ParseError::Truncated { what: "IP header", need: 20, have: 0 }),
            },
        };
        match ethertype {
            EtherType::ARP => {
                let (packet, n) = arp::Packet::parse(self.rest)?;
                self.level.network = Network::Arp(packet);
                self.skip(n);
                self.rest = &[]; // padding
                Ok(None)
            }
            EtherType::IPV4 => {
                let protocol = self.ipv4()?;
                self.transport(protocol)
            }
            EtherType::IPV6 => {
                let protocol = self.ipv6()?;
                self.transport(protocol)
            }
            _ => Ok(None),
        }
    }

    fn ethernet(&mut self) -> Result<EtherType, ParseError> {
        let (header, n) = ethernet::Header::parse(self.rest)?;
        self.skip(n);
        self.level.ethernet = Some(header);
        let mut ethertype = header.ethertype;
        let mut tags = usize::from(header.vlan.is_some());
        while matches!(ethertype, EtherType::VLAN | EtherType::QINQ) && tags < MAX_TAGS {
            crate::field::need("VLAN tag", self.rest, 4)?;
            self.level.inner_vlan = Some(VlanTag::from_tci(u16_at(self.rest, 0)));
            ethertype = EtherType(u16_at(self.rest, 2));
            self.skip(4);
            tags += 1;
        }
        Ok(ethertype)
    }

    /// Cuts what follows the IP header down to `len` bytes; notes when there are fewer.
    fn limit(&mut self, what: &'static str, len: usize) {
        match self.rest.get(..len) {
            Some(rest) => self.rest = rest,
            None => {
                self.level.truncated = true;
                let error = ParseError::Truncated { what, need: len, have: self.rest.len() };
                self.problem.get_or_insert((self.at, error));
            }
        }
    }

    fn ipv4(&mut self) -> Result<Protocol, ParseError> {
        let (header, n) = ipv4::Header::parse_quoted(self.rest)?;
        self.level.network = Network::Ipv4(header);
        self.skip(n);
        self.limit("IPv4 payload", header.payload_len());
        if header.is_fragment() {
            let (offset, more) = (header.frag_offset, header.more_fragments);
            self.level.fragment = Some(Fragment { offset, more, id: header.id.into() });
        }
        Ok(header.protocol)
    }

    fn ipv6(&mut self) -> Result<Protocol, ParseError> {
        let (header, n) = ipv6::Header::parse_quoted(self.rest)?;
        self.level.network = Network::Ipv6(Ipv6 { header, extensions: &[], upper: header.next_header });
        self.skip(n);
        let jumbo = header.payload_len == 0 && header.next_header == Protocol::HOPOPTS;
        if !jumbo {
            self.limit("IPv6 payload", header.payload_len.into());
        }
        let mut walk = ext::walk(header.next_header, self.rest);
        let error = walk.by_ref().find_map(Result::err);
        let (upper, at) = walk.upper();
        self.level.network = Network::Ipv6(Ipv6 { header, extensions: &self.rest[..at], upper });
        if let Some((_, f)) = walk.fragment() {
            self.level.fragment = Some(Fragment { offset: f.offset, more: f.more, id: f.id });
        }
        self.skip(at);
        error.map_or(Ok(upper), Err)
    }

    fn transport(&mut self, protocol: Protocol) -> Result<Option<Start>, ParseError> {
        let segment = self.rest;
        self.level.segment = segment;
        if self.level.fragment.is_some_and(|f| f.offset != 0) {
            return Ok(None);
        }
        let (transport, n, next) = match protocol {
            Protocol::UDP => return self.udp(),
            Protocol::TCP => return self.tcp(),
            Protocol::ICMP => {
                let (m, n) = icmpv4::Message::parse(segment)?;
                (Transport::Icmpv4(m), n, None)
            }
            Protocol::ICMPV6 => {
                let (m, n) = icmpv6::Message::parse(segment)?;
                (Transport::Icmpv6(m), n, None)
            }
            Protocol::IGMP => {
                let (m, n) = igmp::Message::parse(segment)?;
                (Transport::Igmp(m), n, None)
            }
            Protocol::GRE => {
                let (h, n) = gre::Header::parse(segment)?;
                let next = match h.protocol {
                    EtherType::TEB => Some(Start::Ethernet),
                    t @ (EtherType::IPV4 | EtherType::IPV6) => Some(Start::Type(t)),
                    _ => None,
                };
                (Transport::Gre(h), n, next)
            }
            Protocol::IPIP => (Transport::Ip(protocol), 0, Some(Start::Type(EtherType::IPV4))),
            Protocol::IPV6 => (Transport::Ip(protocol), 0, Some(Start::Type(EtherType::IPV6))),
            other => (Transport::Other(other), 0, None),
        };
        self.level.transport = transport;
        self.skip(n);
        // The rest of a tunnelled packet is in other fragments.
        Ok(next.filter(|_| self.level.fragment.is_none_or(|f| !f.more)))
    }

    fn udp(&mut self) -> Result<Option<Start>, ParseError> {
        let (header, n) = udp::Header::parse_quoted(self.rest)?;
        self.level.transport = Transport::Udp(header);
        let whole = !self.level.fragment.is_some_and(|f| f.more) && !self.level.truncated;
        if whole || usize::from(header.len) < self.rest.len() {
            self.limit("UDP datagram", header.len.into());
        }
        self.skip(n);
        if whole && matches!(header.dst_port, vxlan::PORT | vxlan::LINUX_PORT) {
            let (header, n) = vxlan::Header::parse(self.rest)?;
            self.level.vxlan = Some(header);
            self.skip(n);
            return Ok(Some(Start::Ethernet));
        }
        Ok(None)
    }

    fn tcp(&mut self) -> Result<Option<Start>, ParseError> {
        match tcp::Header::parse(self.rest) {
            Ok((header, n)) => {
                self.level.transport = Transport::Tcp(header);
                self.skip(n);
                Ok(None)
            }
            Err(error) => {
                if self.rest.len() >= 8 {
                    self.level.transport = Transport::TcpStart {
                        src_port: u16_at(self.rest, 0),
                        dst_port: u16_at(self.rest, 2),
                        seq: SeqNum(u32_at(self.rest, 4)),
                    };
                }
                Err(error)
            }
        }
    }
}
