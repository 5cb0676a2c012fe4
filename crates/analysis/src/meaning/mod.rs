//! One packet in tcpdump's words: short for an arrow of the ladder, long for a line of its own.
//!
//! The words follow tcpdump 4.99 (print-arp.c, print-icmp.c, print-icmp6.c, print-tcp.c); short forms leave out what
//! the arrow itself shows (the two ends) and what is the same in nearly every packet.

mod icmp;
mod icmpv6;
mod igmp;
mod tcp;

use std::fmt::Write as _;
use std::net::IpAddr;

use wire::arp::Operation;
use wire::{arp, udp};

use crate::dissect::PacketLayers;
use crate::view::{Ip, Layer, View};

pub use tcp::Flows;

/// Names to print instead of addresses, such as a host's name; addresses without one stay as they are.
#[derive(Clone, Debug, Default)]
pub struct Names {
    names: Vec<(IpAddr, String)>,
}

impl Names {
    /// Gives an address a name.
    pub fn insert(&mut self, addr: IpAddr, name: impl Into<String>) {
        self.names.push((addr, name.into()));
    }

    /// The name, or the address itself.
    pub fn of(&self, addr: IpAddr) -> String {
        let name = self.names.iter().find(|(a, _)| *a == addr);
        name.map_or_else(|| addr.to_string(), |(_, n)| n.clone())
    }
}

/// A packet in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// For an arrow: without the two ends.
    pub short: String,
    /// tcpdump's line: `192.0.2.1.40000 > 192.0.2.2.9: UDP, length 5`.
    pub long: String,
}

/// One packet in one line, without memory of others: TCP numbers are absolute.
pub fn meaning(packet: &wire::packet::Packet<'_>, names: &Names) -> String {
    words(&View::of_packet(packet), &mut Flows::absolute(), names).long
}

/// One packet in words; `flows` remembers where TCP's sequence numbers began.
pub fn words(packet: &View, flows: &mut Flows, names: &Names) -> Words {
    let mut short = String::new();
    let mut long = String::new();
    let mut ends: Option<Ip> = None;
    for (i, layer) in packet.layers.iter().enumerate() {
        let inside_tunnel = packet.layers[..i].iter().any(|l| matches!(l, Layer::Ip(_)));
        match layer {
            Layer::Ethernet(h) => {
                if let Some(tag) = h.vlan {
                    both(&mut short, &mut long, &format!("vlan {} ", tag.vid));
                }
            }
            Layer::Vlan(tag) => both(&mut short, &mut long, &format!("vlan {} ", tag.vid)),
            Layer::Ip(ip) => {
                if inside_tunnel {
                    tunnel_words(&packet.layers[..i], ip, &mut short, &mut long, names);
                }
                ends = Some(*ip);
            }
            Layer::Gre(_) | Layer::Vxlan(_) => {}
            // An outer UDP header of a tunnel: the tunnel's own words say enough.
            Layer::Udp(_) if i + 1 < packet.layers.len() => {}
            upper => {
                if let (Layer::Arp(_), Some(vni)) = (upper, vni_before(&packet.layers[..i])) {
                    both(&mut short, &mut long, &format!("VXLAN vni {vni} | "));
                    // The IP header belongs to the tunnel, not to this packet.
                    ends = None;
                }
                let upper = upper_words(upper, packet, ends.as_ref(), flows, names);
                short.push_str(&upper.short);
                long.push_str(&upper.long);
            }
        }
    }
    if let Some(ip) = &ends {
        let notes = ip_notes(ip, packet);
        both(&mut short, &mut long, &notes);
    }
    if short.is_empty() {
        let nothing = format!("{} bytes", packet.bytes.len());
        both(&mut short, &mut long, &nothing);
    }
    Words { short, long }
}

/// The words of what stands in the packet in the place of TCP's or UDP's own. Flags that begin and end connections stay, as
/// do tunnels; a part of a message stands behind TCP's words.
pub(crate) fn with_content(mut words: Words, view: &View, packet: &PacketLayers) -> Words {
    match (packet.text.as_str(), packet.part_of) {
        ("", None) => return words,
        ("", Some(part)) => {
            let of = if part == "HTTP body" {
                " [HTTP body]".to_string()
            } else {
                format!(" [{part} segment of a reassembled PDU]")
            };
            both(&mut words.short, &mut words.long, &of);
            return words;
        }
        _ => {}
    }
    let text = &packet.text;
    let _ = write!(words.long, ": {text}");
    let flags = view.tcp().map(|h| h.flags);
    let outside = view.is_tunnelled() || view.ethernet().is_some_and(|h| h.vlan.is_some());
    let marked = view.inner_ip().is_some_and(|ip| ip.is_fragment());
    if outside || marked || flags.is_some_and(|f| f.syn() || f.rst() || f.urg()) {
        let _ = write!(words.short, ": {text}");
        return words;
    }
    let fin = if flags.is_some_and(wire::tcp::Flags::fin) { "F. " } else { "" };
    let ce = if view.inner_ip().is_some_and(|ip| ip.tos & 3 == 3) { " CE" } else { "" };
    let shut = if words.short.contains(" win 0") { " win 0" } else { "" };
    words.short = format!("{fin}{text}{shut}{ce}");
    words
}

fn vni_before(outside: &[Layer]) -> Option<u32> {
    outside.iter().rev().find_map(|l| if let Layer::Vxlan(h) = l { Some(h.vni) } else { None })
}

fn both(short: &mut String, long: &mut String, text: &str) {
    short.push_str(text);
    long.push_str(text);
}

/// IP straight in IP: the names of Linux's devices for it (RFC 2003, RFC 4213, RFC 2473).
pub(crate) fn plain_tunnel(outer: &Ip, inner: &Ip) -> &'static str {
    match (outer.src.is_ipv4(), inner.src.is_ipv4()) {
        (true, true) => "IPIP",
        (true, false) => "SIT (6in4)",
        (false, false) => "IP6IP6",
        (false, true) => "IPIP6",
    }
}

/// What is said once per tunnel: `IPIP 192.0.2.1 > 198.51.100.1: `.
fn tunnel_words(outside: &[Layer], inner: &Ip, short: &mut String, long: &mut String, names: &Names) {
    let Some(outer) = outside.iter().rev().find_map(|l| if let Layer::Ip(ip) = l { Some(ip) } else { None })
    else {
        return;
    };
    let kind = match outside.iter().rev().find(|l| matches!(l, Layer::Gre(_) | Layer::Vxlan(_))) {
        Some(Layer::Gre(h)) => match h.key {
            Some(key) => format!("GRE key {key}"),
            None => "GRE".to_string(),
        },
        Some(Layer::Vxlan(h)) => format!("VXLAN vni {}", h.vni),
        _ => plain_tunnel(outer, inner).to_string(),
    };
    let _ = write!(short, "{kind} | {} > {} ", inner.src, inner.dst);
    let _ = write!(long, "{} > {}: {kind}: ", names.of(outer.src), names.of(outer.dst));
}

fn upper_words(layer: &Layer, packet: &View, ip: Option<&Ip>, flows: &mut Flows, names: &Names) -> Words {
    match layer {
        Layer::Arp(a) => arp_words(a, packet),
        Layer::Udp(h) => with_ends(udp_words(h, packet, ip), ip, Some((h.src_port, h.dst_port)), names),
        Layer::Tcp(h) => {
            let text = flows.words(h, packet, ip);
            with_ends(text, ip, Some((h.src_port, h.dst_port)), names)
        }
        Layer::Icmp(m) => with_ends(icmp::words(m, packet), ip, None, names),
        Layer::Icmpv6(m) => with_ends(icmpv6::words(m, packet), ip, None, names),
        Layer::Igmp(m) => with_ends(igmp::words(m, packet.payload()), ip, None, names),
        Layer::FragmentBytes(_) => {
            let protocol = ip.map_or(String::new(), |ip| ip.protocol.to_string());
            with_ends(Words { short: protocol.clone(), long: protocol }, ip, None, names)
        }
        Layer::OtherEtherType(ty) => {
            let text = match ty.name() {
                Some(name) => format!("{name}, length {}", packet.payload().len()),
                None => format!("ethertype {:#06x}, length {}", ty.0, packet.payload().len()),
            };
            Words { short: text.clone(), long: text }
        }
        Layer::OtherProtocol(protocol) => {
            let text = format!("{protocol} len {}", packet.payload().len());
            with_ends(Words { short: text.clone(), long: text }, ip, None, names)
        }
        Layer::Malformed(text) => {
            let text = format!("malformed: {text}");
            with_ends(Words { short: text.clone(), long: text }, ip, None, names)
        }
        Layer::Ethernet(_) | Layer::Vlan(_) | Layer::Ip(_) | Layer::Gre(_) | Layer::Vxlan(_) => {
            Words { short: String::new(), long: String::new() }
        }
    }
}

fn with_ends(words: Words, ip: Option<&Ip>, ports: Option<(u16, u16)>, names: &Names) -> Words {
    let Some(ip) = ip else { return words };
    let port = |p: Option<u16>| p.map_or(String::new(), |p| format!(".{p}"));
    let (from, to) = (names.of(ip.src), names.of(ip.dst));
    let (sport, dport) = (port(ports.map(|p| p.0)), port(ports.map(|p| p.1)));
    Words { short: words.short, long: format!("{from}{sport} > {to}{dport}: {}", words.long) }
}

/// Fragment, TTL, DF and ECN marks, where they are not what every packet has.
fn ip_notes(ip: &Ip, packet: &View) -> String {
    let mut text = String::new();
    if ip.is_fragment() {
        let more = if ip.more_fragments { " +" } else { "" };
        let _ = write!(text, " frag id {} offset {}{more}", ip.id, ip.frag_offset);
    }
    // Hosts send 64 (Linux), 128 or 255 (routers, neighbour discovery); groups on the link 1.
    let usual = matches!(ip.ttl, 64 | 128 | 255) || (ip.ttl == 1 && ip.dst.is_multicast());
    if !usual {
        let word = if ip.src.is_ipv4() { "ttl" } else { "hlim" };
        let _ = write!(text, " {word} {}", ip.ttl);
    }
    if ip.df && ip.src.is_ipv4() && ip.total_len >= 1000 && packet.tcp().is_none() {
        text.push_str(" DF");
    }
    if ip.tos & 3 == 3 {
        text.push_str(" CE");
    }
    text
}

fn arp_words(a: &arp::Packet, packet: &View) -> Words {
    let (sender, target) = (a.sender_ip, a.target_ip);
    let unicast = packet.inner_macs().is_some_and(|(_, dst)| !dst.is_multicast());
    let (short, long) = match a.operation {
        Operation::REQUEST => {
            let kind = if a.is_probe() {
                " (probe)"
            } else if a.is_gratuitous() {
                " (announcement)"
            } else if unicast {
                " unicast"
            } else {
                ""
            };
            let tell = if a.is_probe() { String::new() } else { format!(" tell {sender}") };
            (
                format!("ARP who-has {target}{tell}{kind}"),
                format!("ARP, Request who-has {target} tell {sender}{kind}"),
            )
        }
        Operation::REPLY => {
            let kind = if a.is_gratuitous() { " (gratuitous)" } else { "" };
            (
                format!("ARP {sender} is-at {}{kind}", a.sender_mac),
                format!("ARP, Reply {sender} is-at {}{kind}", a.sender_mac),
            )
        }
        Operation(other) => {
            let text = format!("ARP operation {other} {sender} > {target}");
            (text.clone(), text)
        }
    };
    Words { short, long }
}

fn udp_words(h: &udp::Header, packet: &View, ip: Option<&Ip>) -> Words {
    let len = usize::from(h.len).saturating_sub(udp::HEADER_LEN);
    let first_fragment = ip.is_some_and(|ip| ip.more_fragments);
    let text = if first_fragment { String::new() } else { printable(packet.payload()) };
    let quote = if text.is_empty() { String::new() } else { format!(" \"{text}\"") };
    Words {
        short: format!("UDP {} > {} len {len}{quote}", h.src_port, h.dst_port),
        long: format!("UDP, length {len}{quote}"),
    }
}

/// The first bytes of a payload when they are text; at most 12 characters.
fn printable(payload: &[u8]) -> String {
    const MOST: usize = 12;
    let head = &payload[..payload.len().min(MOST)];
    let is_text = |b: &u8| b.is_ascii_graphic() || *b == b' ';
    let whole = head.iter().all(|b| is_text(b) || matches!(b, b'\n' | b'\r' | b'\t'));
    if head.is_empty() || !whole {
        return String::new();
    }
    let mut text: String = head.iter().filter(|b| is_text(b)).map(|&b| char::from(b)).collect();
    if payload.len() > MOST {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
