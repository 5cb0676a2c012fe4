//! The fields: Wireshark's names, their types, and where their values stand in a packet.

use crate::MacAddr;
use crate::packet::{Level, Packet};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

mod application;
mod control;
mod link;
mod network;
mod transport;

/// The type of a field's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No value: the protocol or option is there or not.
    Protocol,
    /// An unsigned number of at most this many bits.
    Uint(u8),
    /// True or false.
    Bool,
    /// An IPv4 address, compared within a prefix when one is written.
    Ipv4,
    /// An IPv6 address, compared within a prefix when one is written.
    Ipv6,
    /// A MAC address.
    Mac,
    /// Bytes.
    Bytes,
}

impl Kind {
    /// What is to be written beside such a field, as in "… is expected".
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Kind::Protocol => "a protocol",
            Kind::Uint(_) => "a number",
            Kind::Bool => "true or false",
            Kind::Ipv4 => "an IPv4 address",
            Kind::Ipv6 => "an IPv6 address",
            Kind::Mac => "a MAC address",
            Kind::Bytes => "a text or bytes",
        }
    }

    pub(super) const fn example(self) -> Option<&'static str> {
        match self {
            Kind::Protocol => None,
            Kind::Uint(_) => Some("such as 80 or 0x50"),
            Kind::Bool => Some("write 1 or 0, true or false"),
            Kind::Ipv4 => Some("such as 192.0.2.1 or 192.0.2.0/24"),
            Kind::Ipv6 => Some("such as 2001:db8::1 or 2001:db8::/32"),
            Kind::Mac => Some("such as 02:00:00:00:00:0a"),
            Kind::Bytes => Some("such as \"GET \" or de:ad:be:ef"),
        }
    }
}

/// A value of a field in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Of [`Kind::Protocol`].
    Present,
    /// Of [`Kind::Uint`].
    Uint(u64),
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Ipv4`].
    V4(Ipv4Addr),
    /// Of [`Kind::Ipv6`].
    V6(Ipv6Addr),
    /// Of [`Kind::Mac`].
    Mac(MacAddr),
    /// Of [`Kind::Bytes`].
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The bytes of an address or of bytes; addresses are copied into `buffer`.
    pub(super) fn into_bytes(self, buffer: &'a mut [u8; 16]) -> Option<&'a [u8]> {
        let mut copy = |bytes: &[u8]| buffer[..bytes.len()].copy_from_slice(bytes);
        let len = match self {
            Value::Bytes(bytes) => return Some(bytes),
            Value::V4(a) => {
                copy(&a.octets());
                4
            }
            Value::V6(a) => {
                copy(&a.octets());
                16
            }
            Value::Mac(a) => {
                copy(&a.0);
                6
            }
            Value::Present | Value::Uint(_) | Value::Bool(_) => return None,
        };
        Some(&buffer[..len])
    }
}

impl From<u8> for Value<'_> {
    fn from(v: u8) -> Self {
        Value::Uint(v.into())
    }
}

impl From<u16> for Value<'_> {
    fn from(v: u16) -> Self {
        Value::Uint(v.into())
    }
}

impl From<u32> for Value<'_> {
    fn from(v: u32) -> Self {
        Value::Uint(v.into())
    }
}

impl From<usize> for Value<'_> {
    fn from(v: usize) -> Self {
        Value::Uint(v as u64) // lengths: widening
    }
}

impl From<bool> for Value<'_> {
    fn from(v: bool) -> Self {
        Value::Bool(v)
    }
}

impl From<MacAddr> for Value<'_> {
    fn from(v: MacAddr) -> Self {
        Value::Mac(v)
    }
}

impl From<Ipv4Addr> for Value<'_> {
    fn from(v: Ipv4Addr) -> Self {
        Value::V4(v)
    }
}

impl From<Ipv6Addr> for Value<'_> {
    fn from(v: Ipv6Addr) -> Self {
        Value::V6(v)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(v: &'a [u8]) -> Self {
        Value::Bytes(v)
    }
}

impl From<()> for Value<'_> {
    fn from((): ()) -> Self {
        Value::Present
    }
}

/// Where a field is looked for: one level of a packet.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s, 'a> {
    pub(super) packet: &'s Packet<'a>,
    pub(super) level: &'s Level<'a>,
    /// The outermost level, where fields of the frame count.
    pub(super) first: bool,
    /// A level without another inside it.
    pub(super) last: bool,
}

/// Takes the values one by one.
pub(super) struct Out<'f> {
    each: &'f mut dyn FnMut(Value<'_>),
}

impl Out<'_> {
    fn put<'v>(&mut self, value: impl Into<Value<'v>>) {
        (self.each)(value.into());
    }

    fn put_some<'v>(&mut self, value: Option<impl Into<Value<'v>>>) {
        if let Some(value) = value {
            self.put(value);
        }
    }

    /// A protocol, or an option without a value, that may be there.
    fn here(&mut self, present: bool) {
        if present {
            self.put(());
        }
    }
}

/// A field that a filter can name.
pub struct Field {
    /// Wireshark's name.
    pub name: &'static str,
    /// The type of its values.
    pub kind: Kind,
    /// What it is, in a few words.
    pub description: &'static str,
    extract: fn(&Scope<'_, '_>, &mut Out<'_>),
}

impl Field {
    pub(super) fn visit(&self, scope: &Scope<'_, '_>, each: &mut dyn FnMut(Value<'_>)) {
        (self.extract)(scope, &mut Out { each });
    }

    /// All values of the field in `packet`, tunnels included; not in a packet that an ICMP error quotes.
    pub fn values(&self, packet: &Packet<'_>, each: &mut dyn FnMut(Value<'_>)) {
        let last = packet.levels().count() - 1;
        for (i, level) in packet.levels().enumerate() {
            self.visit(&Scope { packet, level, first: i == 0, last: i == last }, each);
        }
    }

    /// As [`Field::values`], and those of a packet that an ICMP error quotes: what filters look at.
    pub fn values_with_quoted(&self, packet: &Packet<'_>, each: &mut dyn FnMut(Value<'_>)) {
        self.values(packet, each);
        if let Some(level) = packet.innermost().quoted_level() {
            self.visit(&Scope { packet, level: &level, first: false, last: true }, each);
        }
    }
}

impl core::fmt::Debug for Field {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} ({:?})", self.name, self.kind)
    }
}

/// A row of a table of fields.
const fn row(
    name: &'static str,
    kind: Kind,
    description: &'static str,
    extract: fn(&Scope<'_, '_>, &mut Out<'_>),
) -> Field {
    Field { name, kind, description, extract }
}

/// All fields, grouped by protocol.
pub fn fields() -> impl Iterator<Item = &'static Field> {
    [link::FIELDS, network::FIELDS, control::FIELDS, transport::FIELDS, application::FIELDS]
        .into_iter()
        .flatten()
}

/// The field of this name.
pub fn field(name: &str) -> Option<&'static Field> {
    fields().find(|f| f.name == name)
}

/// The IPv4 source and destination of a level.
fn v4_pair(scope: &Scope<'_, '_>) -> Option<(Ipv4Addr, Ipv4Addr)> {
    match (scope.level.ip_src(), scope.level.ip_dst()) {
        (Some(IpAddr::V4(src)), Some(IpAddr::V4(dst))) => Some((src, dst)),
        _ => None,
    }
}
