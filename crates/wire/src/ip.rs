//! Protocol numbers, shared by IPv4's protocol and IPv6's next-header field (IANA "Protocol Numbers").

use core::fmt;

/// What follows an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// IPv6 hop-by-hop options (RFC 8200 §4.3).
    pub const HOPOPTS: Protocol = Protocol(0);
    /// ICMPv4 (RFC 792).
    pub const ICMP: Protocol = Protocol(1);
    /// IGMP (RFC 3376).
    pub const IGMP: Protocol = Protocol(2);
    /// IPv4 inside IP (RFC 2003).
    pub const IPIP: Protocol = Protocol(4);
    /// TCP (RFC 9293).
    pub const TCP: Protocol = Protocol(6);
    /// UDP (RFC 768).
    pub const UDP: Protocol = Protocol(17);
    /// DCCP (RFC 4340).
    pub const DCCP: Protocol = Protocol(33);
    /// IPv6 inside IP (RFC 2473).
    pub const IPV6: Protocol = Protocol(41);
    /// IPv6 routing header (RFC 8200 §4.4).
    pub const ROUTING: Protocol = Protocol(43);
    /// IPv6 fragment header (RFC 8200 §4.5).
    pub const FRAGMENT: Protocol = Protocol(44);
    /// GRE (RFC 2784).
    pub const GRE: Protocol = Protocol(47);
    /// Encapsulating security payload (RFC 4303).
    pub const ESP: Protocol = Protocol(50);
    /// Authentication header (RFC 4302).
    pub const AH: Protocol = Protocol(51);
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: Protocol = Protocol(58);
    /// Nothing follows (RFC 8200 §4.7).
    pub const NONE: Protocol = Protocol(59);
    /// IPv6 destination options (RFC 8200 §4.6).
    pub const DSTOPTS: Protocol = Protocol(60);
    /// OSPF (RFC 2328).
    pub const OSPF: Protocol = Protocol(89);
    /// SCTP (RFC 9260).
    pub const SCTP: Protocol = Protocol(132);
    /// UDP-Lite (RFC 3828).
    pub const UDPLITE: Protocol = Protocol(136);
    /// For raw sockets only; never on the wire.
    pub const RAW: Protocol = Protocol(255);

    /// The usual name, when there is one.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Protocol::HOPOPTS => "hop-by-hop options",
            Protocol::ICMP => "ICMP",
            Protocol::IGMP => "IGMP",
            Protocol::IPIP => "IPIP",
            Protocol::TCP => "TCP",
            Protocol::UDP => "UDP",
            Protocol::DCCP => "DCCP",
            Protocol::IPV6 => "IPv6",
            Protocol::ROUTING => "routing header",
            Protocol::FRAGMENT => "fragment header",
            Protocol::GRE => "GRE",
            Protocol::ESP => "ESP",
            Protocol::AH => "AH",
            Protocol::ICMPV6 => "ICMPv6",
            Protocol::NONE => "no next header",
            Protocol::DSTOPTS => "destination options",
            Protocol::OSPF => "OSPF",
            Protocol::SCTP => "SCTP",
            Protocol::UDPLITE => "UDP-Lite",
            _ => return None,
        })
    }

    /// An IPv6 extension header that [`crate::ipv6::ext`] can step over.
    pub const fn is_ipv6_extension(self) -> bool {
        matches!(
            self,
            Protocol::HOPOPTS | Protocol::ROUTING | Protocol::FRAGMENT | Protocol::AH | Protocol::DSTOPTS
        )
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "protocol {}", self.0),
        }
    }
}
