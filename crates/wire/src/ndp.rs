//! Neighbour discovery (RFC 4861) and its options (RFC 4191, RFC 8106). Linux: ndisc.c.

use crate::field::{array, need, put, put_u16, put_u32, u16_at, u32_at, v6_at};
use crate::icmpv6::kind;
use crate::{MacAddr, ParseError};
use core::net::Ipv6Addr;

/// A neighbour discovery message without its options, which follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Which routers are there?
    RouterSolicit,
    /// A router says how hosts shall configure themselves.
    RouterAdvert(RouterAdvert),
    /// Who has this address?
    NeighborSolicit {
        /// The address asked for.
        target: Ipv6Addr,
    },
    /// I have this address.
    NeighborAdvert(NeighborAdvert),
    /// There is a better first hop.
    Redirect {
        /// The better first hop; `destination` itself when that is on-link.
        target: Ipv6Addr,
        /// For this destination.
        destination: Ipv6Addr,
    },
}

/// RFC 4861 §4.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RouterAdvert {
    /// Hop limit hosts shall use; 0 says nothing.
    pub hop_limit: u8,
    /// M: addresses by DHCPv6.
    pub managed: bool,
    /// O: other configuration by DHCPv6.
    pub other: bool,
    /// RFC 4191 §2.2: 0 medium, 1 high, 3 low, 2 reserved.
    pub preference: u8,
    /// How long the router may be a default router, in seconds; 0: it must not.
    pub router_lifetime: u16,
    /// Milliseconds a neighbour counts as reachable; 0 says nothing.
    pub reachable_time: u32,
    /// Milliseconds between solicitations; 0 says nothing.
    pub retrans_timer: u32,
}

/// RFC 4861 §4.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NeighborAdvert {
    /// R: the sender is a router.
    pub router: bool,
    /// S: in answer to a solicitation.
    pub solicited: bool,
    /// O: replaces a link-layer address already known.
    pub override_: bool,
    /// The address the sender has.
    pub target: Ipv6Addr,
}

impl Message {
    /// Reads the message from its ICMPv6 type byte on; the second value is the length of its fixed part,
    /// after which options follow.
    pub fn parse(b: &[u8]) -> Result<(Message, usize), ParseError> {
        need("NDP message", b, 8)?;
        let message = match b[0] {
            kind::ROUTER_SOLICIT => Message::RouterSolicit,
            kind::ROUTER_ADVERT => {
                need("router advertisement", b, 16)?;
                Message::RouterAdvert(RouterAdvert {
                    hop_limit: b[4],
                    managed: b[5] & 0x80 != 0,
                    other: b[5] & 0x40 != 0,
                    preference: (b[5] >> 3) & 3,
                    router_lifetime: u16_at(b, 6),
                    reachable_time: u32_at(b, 8),
                    retrans_timer: u32_at(b, 12),
                })
            }
            kind::NEIGHBOR_SOLICIT => {
                need("neighbour solicitation", b, 24)?;
                Message::NeighborSolicit { target: v6_at(b, 8) }
            }
            kind::NEIGHBOR_ADVERT => {
                need("neighbour advertisement", b, 24)?;
                Message::NeighborAdvert(NeighborAdvert {
                    router: b[4] & 0x80 != 0,
                    solicited: b[4] & 0x40 != 0,
                    override_: b[4] & 0x20 != 0,
                    target: v6_at(b, 8),
                })
            }
            kind::REDIRECT => {
                need("NDP redirect", b, 40)?;
                Message::Redirect { target: v6_at(b, 8), destination: v6_at(b, 24) }
            }
            other => {
                return Err(ParseError::BadValue { what: "NDP type", offset: 0, value: other.into() });
            }
        };
        Ok((message, message.header_len()))
    }

    /// The ICMPv6 type.
    pub const fn kind(&self) -> u8 {
        match self {
            Message::RouterSolicit => kind::ROUTER_SOLICIT,
            Message::RouterAdvert(_) => kind::ROUTER_ADVERT,
            Message::NeighborSolicit { .. } => kind::NEIGHBOR_SOLICIT,
            Message::NeighborAdvert(_) => kind::NEIGHBOR_ADVERT,
            Message::Redirect { .. } => kind::REDIRECT,
        }
    }

    /// Bytes [`Message::emit`] writes: 8, 16, 24 or 40.
    pub const fn header_len(&self) -> usize {
        match self {
            Message::RouterSolicit => 8,
            Message::RouterAdvert(_) => 16,
            Message::NeighborSolicit { .. } | Message::NeighborAdvert(_) => 24,
            Message::Redirect { .. } => 40,
        }
    }

    /// Writes the fixed part, type byte first, with a zero checksum field: see
    /// [`crate::icmpv6::set_checksum`]. Panics when `b` is shorter than it.
    pub fn emit(&self, b: &mut [u8]) {
        let b = &mut b[..self.header_len()];
        b.fill(0);
        b[0] = self.kind();
        match *self {
            Message::RouterSolicit => {}
            Message::RouterAdvert(ra) => {
                b[4] = ra.hop_limit;
                b[5] = (u8::from(ra.managed) << 7) | (u8::from(ra.other) << 6) | ((ra.preference & 3) << 3);
                put_u16(b, 6, ra.router_lifetime);
                put_u32(b, 8, ra.reachable_time);
                put_u32(b, 12, ra.retrans_timer);
            }
            Message::NeighborSolicit { target } => put(b, 8, &target.octets()),
            Message::NeighborAdvert(na) => {
                b[4] = (u8::from(na.router) << 7)
                    | (u8::from(na.solicited) << 6)
                    | (u8::from(na.override_) << 5);
                put(b, 8, &na.target.octets());
            }
            Message::Redirect { target, destination } => {
                put(b, 8, &target.octets());
                put(b, 24, &destination.octets());
            }
        }
    }
}

/// RFC 4861 §4.6.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixInfo {
    /// Bits of `prefix` that count, 0 to 128.
    pub prefix_len: u8,
    /// L: addresses with the prefix are on this link.
    pub on_link: bool,
    /// A: hosts may form addresses with the prefix.
    pub autonomous: bool,
    /// Seconds the prefix is on-link and addresses are valid; all ones is for ever.
    pub valid_lifetime: u32,
    /// Seconds addresses are preferred; all ones is for ever.
    pub preferred_lifetime: u32,
    /// The prefix.
    pub prefix: Ipv6Addr,
}

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opt<'a> {
    /// SLLA: the sender's Ethernet address.
    SourceLinkLayer(MacAddr),
    /// TLLA: the target's Ethernet address.
    TargetLinkLayer(MacAddr),
    /// A prefix of the link.
    PrefixInfo(PrefixInfo),
    /// The packet that caused a redirect, or its beginning. Emitting cuts it to a multiple of eight bytes,
    /// as Linux does (ndisc.c `ndisc_send_redirect`).
    RedirectedHeader(&'a [u8]),
    /// The MTU hosts shall use on the link.
    Mtu(u32),
    /// RFC 4191 §2.3: a route through the sender.
    RouteInfo {
        /// Bits of `prefix` that count.
        prefix_len: u8,
        /// 0 medium, 1 high, 3 low.
        preference: u8,
        /// Seconds; all ones is for ever.
        lifetime: u32,
        /// The prefix; bytes that were not sent are zero.
        prefix: Ipv6Addr,
    },
    /// RFC 8106 §5.1: recursive DNS servers.
    Rdnss {
        /// Seconds; all ones is for ever.
        lifetime: u32,
        /// Addresses.
        servers: &'a [[u8; 16]],
    },
    /// Any other, or one of the above with a length it must not have.
    Unknown {
        /// Option type.
        kind: u8,
        /// What stands after type and length.
        data: &'a [u8],
    },
}

impl Opt<'_> {
    /// Bytes [`Opt::emit`] writes: a multiple of 8.
    pub fn header_len(&self) -> usize {
        match self {
            Opt::SourceLinkLayer(_) | Opt::TargetLinkLayer(_) | Opt::Mtu(_) => 8,
            Opt::PrefixInfo(_) => 32,
            Opt::RedirectedHeader(packet) => 8 + packet.len() / 8 * 8,
            Opt::RouteInfo { prefix_len, prefix, .. } => {
                // Bits behind the prefix are sent too when they are set: whoever set them wants to see it.
                let set = 128 - prefix.to_bits().trailing_zeros().min(128);
                match set.max(u32::from(*prefix_len)) {
                    0 => 8,
                    1..=64 => 16,
                    _ => 24,
                }
            }
            Opt::Rdnss { servers, .. } => 8 + 16 * servers.len(),
            Opt::Unknown { data, .. } => (2 + data.len()).next_multiple_of(8),
        }
    }

    /// Writes the option, padded with zeroes. Panics when `b` is shorter than it, or the option longer
    /// than the 2040 bytes that its length field can say.
    pub fn emit(&self, b: &mut [u8]) {
        let len = self.header_len();
        let b = &mut b[..len];
        b.fill(0);
        b[1] = u8::try_from(len / 8).expect("an option is at most 2040 bytes");
        match *self {
            Opt::SourceLinkLayer(mac) => {
                b[0] = 1;
                put(b, 2, &mac.0);
            }
            Opt::TargetLinkLayer(mac) => {
                b[0] = 2;
                put(b, 2, &mac.0);
            }
            Opt::PrefixInfo(p) => {
                b[0] = 3;
                b[2] = p.prefix_len;
                b[3] = (u8::from(p.on_link) << 7) | (u8::from(p.autonomous) << 6);
                put_u32(b, 4, p.valid_lifetime);
                put_u32(b, 8, p.preferred_lifetime);
                put(b, 16, &p.prefix.octets());
            }
            Opt::RedirectedHeader(packet) => {
                b[0] = 4;
                put(b, 8, &packet[..len - 8]);
            }
            Opt::Mtu(mtu) => {
                b[0] = 5;
                put_u32(b, 4, mtu);
            }
            Opt::RouteInfo { prefix_len, preference, lifetime, prefix } => {
                b[0] = 24;
                b[2] = prefix_len;
                b[3] = (preference & 3) << 3;
                put_u32(b, 4, lifetime);
                put(b, 8, &prefix.octets()[..len - 8]);
            }
            Opt::Rdnss { lifetime, servers } => {
                b[0] = 25;
                put_u32(b, 4, lifetime);
                put(b, 8, servers.as_flattened());
            }
            Opt::Unknown { kind, data } => {
                b[0] = kind;
                put(b, 2, data);
            }
        }
    }
}

/// Reads the options in `bytes`, what stands after the fixed part of a message.
pub const fn options(bytes: &[u8]) -> OptionIter<'_> {
    OptionIter { bytes }
}

/// Reads options one by one. An option of length zero or one that does not fit is an error, after which
/// nothing follows: RFC 4861 §4.6 has the whole packet discarded.
#[derive(Clone, Debug)]
pub struct OptionIter<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for OptionIter<'a> {
    type Item = Result<Opt<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let all = core::mem::take(&mut self.bytes);
        let len = all.get(1).map_or(0, |&n| usize::from(n) * 8);
        if len == 0 {
            return Some(Err(ParseError::BadLength { what: "NDP option length", offset: 1, value: 0 }));
        }
        if let Err(e) = need("NDP option", all, len) {
            return Some(Err(e));
        }
        let (b, rest) = all.split_at(len);
        self.bytes = rest;
        Some(Ok(typed(b)))
    }
}

/// `b` is one whole option, at least 8 bytes.
fn typed(b: &[u8]) -> Opt<'_> {
    match (b[0], b.len()) {
        (1, 8) => Opt::SourceLinkLayer(MacAddr(array(b, 2))),
        (2, 8) => Opt::TargetLinkLayer(MacAddr(array(b, 2))),
        (3, 32) => Opt::PrefixInfo(PrefixInfo {
            prefix_len: b[2],
            on_link: b[3] & 0x80 != 0,
            autonomous: b[3] & 0x40 != 0,
            valid_lifetime: u32_at(b, 4),
            preferred_lifetime: u32_at(b, 8),
            prefix: v6_at(b, 16),
        }),
        (4, _) => Opt::RedirectedHeader(&b[8..]),
        (5, 8) => Opt::Mtu(u32_at(b, 4)),
        (24, n @ (8 | 16 | 24)) => {
            let mut prefix = [0; 16];
            prefix[..n - 8].copy_from_slice(&b[8..]);
            Opt::RouteInfo {
                prefix_len: b[2],
                preference: (b[3] >> 3) & 3,
                lifetime: u32_at(b, 4),
                prefix: prefix.into(),
            }
        }
        (25, n) if n >= 24 && n % 16 == 8 => {
            Opt::Rdnss { lifetime: u32_at(b, 4), servers: b[8..].as_chunks::<16>().0 }
        }
        (kind, _) => Opt::Unknown { kind, data: &b[2..] },
    }
}
