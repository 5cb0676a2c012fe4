//! IPv6 extension headers (RFC 8200 §4), walked in order and within limits. Linux: exthdrs_core.c
//! `ipv6_skip_exthdr`, exthdrs.c `ip6_parse_tlv`.

use crate::ParseError;
use crate::field::{need, put_u16, put_u32, u16_at, u32_at};
use crate::ip::Protocol;

/// Extension headers followed in one packet.
pub const MAX_HEADERS: usize = 12;

/// One extension header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtHeader<'a> {
    /// Which: HOPOPTS, ROUTING, FRAGMENT, AH or DSTOPTS.
    pub kind: Protocol,
    /// Offset from the end of the IPv6 header.
    pub offset: usize,
    /// The whole extension header.
    pub bytes: &'a [u8],
    /// What follows it.
    pub next_header: Protocol,
}

impl<'a> ExtHeader<'a> {
    /// The options of a hop-by-hop or destination options header; none in another.
    pub fn options(&self) -> OptionIter<'a> {
        let bytes = match self.kind {
            Protocol::HOPOPTS | Protocol::DSTOPTS => &self.bytes[2..],
            _ => &[],
        };
        OptionIter { bytes, at: 0 }
    }

    /// The routing header's type and segments left (RFC 8200 §4.4).
    pub fn routing(&self) -> Option<(u8, u8)> {
        (self.kind == Protocol::ROUTING).then(|| (self.bytes[2], self.bytes[3]))
    }
}

/// Steps over extension headers; ends at the upper layer, at a fragment that is not the first, or at an
/// error. Afterwards [`Walk::upper`] says where the upper layer begins.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    payload: &'a [u8],
    next: Protocol,
    at: usize,
    seen: usize,
    fragment: Option<(usize, FragmentHeader)>,
    done: bool,
}

/// Walks the extension headers in `payload`, the bytes after the IPv6 header, whose next-header field is
/// `first`.
///
/// ```
/// use wire::{ip::Protocol, ipv6::ext};
/// let payload = [17, 0, 5, 2, 0, 0, 1, 0, /* UDP */ 0, 53, 0, 53, 0, 8, 0, 0];
/// let mut walk = ext::walk(Protocol::HOPOPTS, &payload);
/// assert!(walk.all(|header| header.is_ok()));
/// assert_eq!(walk.upper(), (Protocol::UDP, 8));
/// ```
pub const fn walk(first: Protocol, payload: &[u8]) -> Walk<'_> {
    Walk { payload, next: first, at: 0, seen: 0, fragment: None, done: false }
}

impl<'a> Walk<'a> {
    /// The protocol the walk stands before, and its offset from the end of the IPv6 header: the upper
    /// layer once the iterator is exhausted without an error. In a fragment that is not the first, what
    /// stands there is the middle of a payload: see [`Walk::fragment`].
    pub const fn upper(&self) -> (Protocol, usize) {
        (self.next, self.at)
    }

    /// The fragment header passed, and its offset.
    pub const fn fragment(&self) -> Option<(usize, FragmentHeader)> {
        self.fragment
    }

    fn step(&mut self) -> Result<ExtHeader<'a>, ParseError> {
        let (kind, rest) = (self.next, &self.payload[self.at..]);
        if self.seen == MAX_HEADERS {
            return Err(ParseError::TooMany { what: "IPv6 extension headers", limit: MAX_HEADERS });
        }
        self.seen += 1;
        let what = match kind {
            Protocol::HOPOPTS => "IPv6 hop-by-hop options",
            Protocol::ROUTING => "IPv6 routing header",
            Protocol::FRAGMENT => "IPv6 fragment header",
            Protocol::AH => "authentication header",
            _ => "IPv6 destination options",
        };
        need(what, rest, 8)?;
        let len = match kind {
            Protocol::FRAGMENT => 8,
            Protocol::AH => (usize::from(rest[1]) + 2) * 4,
            _ => (usize::from(rest[1]) + 1) * 8,
        };
        need(what, rest, len)?;
        let header = ExtHeader { kind, offset: self.at, bytes: &rest[..len], next_header: Protocol(rest[0]) };
        if kind == Protocol::FRAGMENT {
            let (fragment, _) = FragmentHeader::parse(rest)?;
            self.fragment = Some((self.at, fragment));
            self.done = fragment.offset != 0;
        }
        self.next = header.next_header;
        self.at += len;
        Ok(header)
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<ExtHeader<'a>, ParseError>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.done || !self.next.is_ipv6_extension() {
            return None;
        }
        let step = self.step();
        self.done |= step.is_err();
        Some(step)
    }
}

/// An IPv6 fragment header (RFC 8200 §4.5). Reserved bits are ignored on receipt and sent as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentHeader {
    /// What the fragmentable part begins with.
    pub next_header: Protocol,
    /// Where this fragment belongs, in **bytes**: a multiple of 8 up to 65528.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
    /// Identification, shared by the fragments of one packet.
    pub id: u32,
}

impl FragmentHeader {
    /// Reads the header; the second value is 8.
    pub fn parse(b: &[u8]) -> Result<(FragmentHeader, usize), ParseError> {
        need("IPv6 fragment header", b, 8)?;
        let header = FragmentHeader {
            next_header: Protocol(b[0]),
            offset: u16_at(b, 2) & 0xfff8,
            more: b[3] & 1 != 0,
            id: u32_at(b, 4),
        };
        Ok((header, 8))
    }

    /// Bytes [`FragmentHeader::emit`] writes: 8.
    pub const fn header_len(&self) -> usize {
        8
    }

    /// Writes the header. Panics when `b` is shorter than 8 bytes.
    pub fn emit(&self, b: &mut [u8]) {
        b[0] = self.next_header.0;
        b[1] = 0;
        put_u16(b, 2, (self.offset & 0xfff8) | u16::from(self.more));
        put_u32(b, 4, self.id);
    }

    /// The whole packet in one fragment (RFC 6946).
    pub const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }
}

/// An option of a hop-by-hop or destination options header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opt<'a> {
    /// One byte of padding.
    Pad1,
    /// This many bytes of padding after type and length.
    PadN(usize),
    /// RFC 2711: 0 for MLD, 1 for RSVP.
    RouterAlert(u16),
    /// RFC 2675: the payload length when it is above 65,535.
    Jumbo(u32),
    /// Any other. The top two bits of `kind` say what a host that does not know it must do.
    Unknown {
        /// Option type.
        kind: u8,
        /// Option data.
        data: &'a [u8],
    },
}

/// Reads options one by one, with their offset from the start of the extension header; stops after the
/// first that does not fit.
#[derive(Clone, Debug)]
pub struct OptionIter<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for OptionIter<'a> {
    type Item = Result<(usize, Opt<'a>), ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        let rest = self.bytes.get(at..)?;
        let kind = *rest.first()?;
        let offset = at + 2; // the next-header and length bytes
        if kind == 0 {
            self.at += 1;
            return Some(Ok((offset, Opt::Pad1)));
        }
        let len = rest.get(1).map(|&n| usize::from(n));
        let Some(data) = len.and_then(|n| rest.get(2..2 + n)) else {
            self.at = self.bytes.len();
            let value = len.unwrap_or(0);
            return Some(Err(ParseError::BadLength {
                what: "IPv6 option length",
                offset: offset + 1,
                value,
            }));
        };
        self.at += 2 + data.len();
        let opt = match (kind, data.len()) {
            (1, n) => Opt::PadN(n),
            (5, 2) => Opt::RouterAlert(u16_at(data, 0)),
            (0xc2, 4) => Opt::Jumbo(u32_at(data, 0)),
            _ => Opt::Unknown { kind, data },
        };
        Some(Ok((offset, opt)))
    }
}
