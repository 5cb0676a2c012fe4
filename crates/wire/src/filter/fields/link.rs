//! Fields of the frame, Ethernet, VLAN tags, ARP and undissected data.

use super::{Field, Kind, Out, Scope, row};
use crate::ethernet::{EtherType, Header, VlanTag};
use crate::packet::{Network, Transport};
use crate::{MacAddr, arp};
use crate::{icmpv4, icmpv6};

fn eth(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl FnOnce(&mut Out<'_>, &Header)) {
    if let Some(h) = &s.level.ethernet {
        each(o, h);
    }
}

fn tags(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl Fn(&mut Out<'_>, VlanTag)) {
    for tag in [s.level.ethernet.and_then(|h| h.vlan), s.level.inner_vlan].into_iter().flatten() {
        each(o, tag);
    }
}

fn arp(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl FnOnce(&mut Out<'_>, &arp::Packet)) {
    if let Some(p) = s.level.arp() {
        each(o, p);
    }
}

/// Bytes that Wireshark's `data` dissector would show: payload no other protocol reads.
fn data<'a>(s: &Scope<'_, 'a>) -> Option<&'a [u8]> {
    let level = s.level;
    let shown = match (&level.network, &level.transport) {
        (Network::Arp(_), _) => false,
        (_, Transport::Icmpv4(m)) => {
            use icmpv4::Message::{EchoReply, EchoRequest};
            matches!(m, EchoRequest { .. } | EchoReply { .. })
        }
        (_, Transport::Icmpv6(m)) => {
            use icmpv6::Message::{EchoReply, EchoRequest};
            matches!(m, EchoRequest { .. } | EchoReply { .. })
        }
        (_, Transport::Igmp(_) | Transport::TcpStart { .. }) => false,
        _ => s.last && !super::application::is_read(s),
    };
    (shown && !level.payload.is_empty()).then_some(level.payload)
}

/// The Wireshark-visible types of an Ethernet header: `eth.type` and those after the tags.
fn outer_type(h: &Header) -> EtherType {
    if h.vlan.is_some() { EtherType::VLAN } else { h.ethertype }
}

/// What follows the tags, as `vlan.etype`.
fn inner_types(s: &Scope<'_, '_>, o: &mut Out<'_>) {
    let Some(h) = &s.level.ethernet else { return };
    if h.vlan.is_some() {
        o.put(h.ethertype.0);
    }
    if s.level.inner_vlan.is_some() {
        let innermost = match &s.level.network {
            Network::Arp(_) => EtherType::ARP,
            Network::Ipv4(_) => EtherType::IPV4,
            Network::Ipv6(_) => EtherType::IPV6,
            Network::None => return,
        };
        o.put(innermost.0);
    }
}

pub(super) const FIELDS: &[Field] = &[
    row("frame", Kind::Bytes, "the whole frame", |s, o| {
        if s.first {
            o.put(s.packet.bytes);
        }
    }),
    row("frame.len", Kind::Uint(32), "length of the frame in bytes", |s, o| {
        if s.first {
            o.put(s.packet.bytes.len());
        }
    }),
    row("eth", Kind::Protocol, "an Ethernet header", |s, o| o.here(s.level.ethernet.is_some())),
    row("eth.dst", Kind::Mac, "Ethernet destination", |s, o| eth(s, o, |o, h| o.put(h.dst))),
    row("eth.src", Kind::Mac, "Ethernet source", |s, o| eth(s, o, |o, h| o.put(h.src))),
    row("eth.addr", Kind::Mac, "Ethernet destination or source", |s, o| {
        eth(s, o, |o, h| {
            o.put(h.dst);
            o.put(h.src);
        });
    }),
    row("eth.type", Kind::Uint(16), "EtherType; of a tagged frame 0x8100", |s, o| {
        eth(s, o, |o, h| o.put(outer_type(h).0));
    }),
    row("vlan", Kind::Protocol, "an 802.1Q tag", |s, o| tags(s, o, |o, _| o.put(()))),
    row("vlan.id", Kind::Uint(12), "VLAN identifier", |s, o| tags(s, o, |o, t| o.put(t.vid))),
    row("vlan.priority", Kind::Uint(3), "priority code point", |s, o| tags(s, o, |o, t| o.put(t.pcp))),
    row("vlan.dei", Kind::Bool, "drop eligible indicator", |s, o| tags(s, o, |o, t| o.put(t.dei))),
    row("vlan.etype", Kind::Uint(16), "EtherType after the tag", inner_types),
    row("arp", Kind::Protocol, "an ARP packet", |s, o| o.here(s.level.arp().is_some())),
    row("arp.hw.type", Kind::Uint(16), "hardware type: 1, Ethernet", |s, o| arp(s, o, |o, _| o.put(1_u16))),
    row("arp.proto.type", Kind::Uint(16), "protocol type: 0x0800, IPv4", |s, o| {
        arp(s, o, |o, _| o.put(EtherType::IPV4.0));
    }),
    row("arp.opcode", Kind::Uint(16), "1 request, 2 reply", |s, o| arp(s, o, |o, p| o.put(p.operation.0))),
    row("arp.src.hw_mac", Kind::Mac, "sender's hardware address", |s, o| {
        arp(s, o, |o, p| o.put(p.sender_mac));
    }),
    row("arp.src.proto_ipv4", Kind::Ipv4, "sender's address", |s, o| arp(s, o, |o, p| o.put(p.sender_ip))),
    row("arp.dst.hw_mac", Kind::Mac, "target's hardware address", |s, o| {
        arp(s, o, |o, p| o.put(p.target_mac));
    }),
    row("arp.dst.proto_ipv4", Kind::Ipv4, "target's address", |s, o| arp(s, o, |o, p| o.put(p.target_ip))),
    row("arp.isgratuitous", Kind::Bool, "true in packets about the sender's own address", |s, o| {
        arp(s, o, |o, p| {
            if p.is_gratuitous() {
                o.put(true);
            }
        });
    }),
    row(
        "arp.isannouncement",
        Kind::Bool,
        "true in such requests with a target hardware address of zero",
        |s, o| {
            arp(s, o, |o, p| {
                if p.is_gratuitous()
                    && p.operation == arp::Operation::REQUEST
                    && p.target_mac == MacAddr::ZERO
                {
                    o.put(true);
                }
            });
        },
    ),
    row("arp.isprobe", Kind::Bool, "true in requests from 0.0.0.0", |s, o| {
        arp(s, o, |o, p| {
            if p.is_probe() {
                o.put(true);
            }
        });
    }),
    row("data", Kind::Bytes, "payload that no protocol here reads", |s, o| o.put_some(data(s))),
    row("data.data", Kind::Bytes, "payload that no protocol here reads", |s, o| o.put_some(data(s))),
    row("data.len", Kind::Uint(32), "length of that payload", |s, o| {
        o.put_some(data(s).map(<[u8]>::len));
    }),
];
