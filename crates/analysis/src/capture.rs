//! A capture as a journal, so that the same ladder and explanation serve real traffic.
//!
//! In a capture of our own, interfaces are named `host:interface` and every packet carries its
//! transmission in a comment: the hosts come back as they were. In any other capture a node is an address:
//! the IP address where there is one, else the MAC address; what is sent to a group, or to an address that
//! never says a word, has no receiver. The same packet seen on two interfaces is then two packets: nothing tells them apart from a
//! packet sent twice.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use stack::record::{FrameId, IfaceInfo, Journal, NodeId, NodeInfo, NodeKind, Record, What};
use wire::arp::Operation;
use wire::capture::{Capture, CapturedPacket, LinkType};
use wire::pcapng::{Direction, SecretsType};
use wire::{Frame, Instant, MacAddr, Medium, arp, ethernet, ndp};

use crate::export::APPLICATION;
use crate::view::View;

/// Most packets that are read into a journal.
pub const MAX_PACKETS: usize = 200_000;

/// Most key log lines that are read.
const MAX_SECRETS: usize = 500_000;

/// Turns a capture into a journal. What was left out is said in notes at its end.
pub fn from_capture(capture: &Capture<'_>) -> Journal {
    let mut journal = Journal::default();
    let packets = &capture.packets[..capture.packets.len().min(MAX_PACKETS)];
    let ours = capture.application == APPLICATION && packets.iter().all(|p| own_frame_id(p).is_some());
    let start = if ours { Instant::ZERO } else { packets.iter().map(|p| p.at).min().unwrap_or_default() };
    let mut unreadable = 0;
    if ours {
        own(capture, packets, &mut journal);
    } else {
        let read = |p: &CapturedPacket<'_>| {
            let (medium, bytes) = readable(p)?;
            let view = View::of_bytes(medium, bytes.to_vec());
            Some((view, medium, bytes.into_owned()))
        };
        let senders = packets.iter().filter_map(|p| Some(ends(&read(p)?.0)?.0)).collect();
        let mut nodes = Nodes { by_address: BTreeMap::new(), senders };
        for (i, p) in packets.iter().enumerate() {
            match read(p) {
                Some((view, medium, bytes)) => {
                    let at = Instant::ZERO + p.at.saturating_since(start);
                    foreign(&mut journal, &mut nodes, (i, p.interface), at, medium, (&view, &bytes));
                }
                None => unreadable += 1,
            }
        }
        journal.records.sort_by_key(|r| r.at);
    }
    secrets(capture, &mut journal);
    journal.end = journal.records.iter().map(|r| r.at).max().unwrap_or_default();
    if capture.packets.len() > MAX_PACKETS {
        note(
            &mut journal,
            format!("only the first {MAX_PACKETS} of {} packets are shown", capture.packets.len()),
        );
    }
    if unreadable > 0 {
        note(&mut journal, format!("{unreadable} packets of link types that are not read were left out"));
    }
    if let Some(problem) = &capture.problem {
        note(&mut journal, format!("the capture ends early: {problem}"));
    }
    journal
}

/// The capture's key log lines as records, before everything else.
fn secrets(capture: &Capture<'_>, journal: &mut Journal) {
    let Some(at) = journal.records.first().map(|r| r.at) else { return };
    let blocks = capture.secrets.iter().filter(|s| s.kind == SecretsType::TLS_KEY_LOG);
    let texts: Vec<Cow<'_, str>> = blocks.map(|s| String::from_utf8_lossy(s.bytes)).collect();
    let lines = texts.iter().flat_map(|t| t.lines()).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let lines = lines.take(MAX_SECRETS).map(|line| Record {
        at,
        node: NodeId(0),
        what: What::KeyLog { line: line.to_string() },
    });
    let lines: Vec<Record> = lines.collect();
    journal.records.splice(0..0, lines);
}

/// A packet without its pseudo header. ARP in a "cooked" capture gets an Ethernet header again: its source is
/// in the pseudo header, its destination was broadcast or what the packet itself names.
fn readable<'a>(p: &CapturedPacket<'a>) -> Option<(Medium, Cow<'a, [u8]>)> {
    /// ARPHRD_ETHER, and the packet type of a broadcast.
    const ETHER: [u8; 2] = [0, 1];
    const BROADCAST: u16 = 1;
    if let Some((medium, bytes)) = p.link_type.strip(p.bytes) {
        return Some((medium, Cow::Borrowed(bytes)));
    }
    // tcpdump.org/linktypes: LINUX_SLL, LINUX_SLL2.
    let (protocol, hardware, packet_type, address, rest) = match p.link_type {
        LinkType::LINUX_SLL => {
            let h = p.bytes.get(..16)?;
            (&h[14..16], &h[2..4], u16::from_be_bytes([h[0], h[1]]), &h[6..12], &p.bytes[16..])
        }
        LinkType::LINUX_SLL2 => {
            let h = p.bytes.get(..20)?;
            (&h[0..2], &h[8..10], u16::from(h[10]), &h[12..18], &p.bytes[20..])
        }
        _ => return None,
    };
    if protocol != ethernet::EtherType::ARP.0.to_be_bytes() || hardware != ETHER {
        return None;
    }
    let (packet, _) = arp::Packet::parse(rest).ok()?;
    let asks_all = packet_type == BROADCAST || packet.target_mac == MacAddr::ZERO;
    let dst = if asks_all { MacAddr::BROADCAST } else { packet.target_mac };
    let src = MacAddr(address.try_into().expect("six bytes were cut out"));
    let header = ethernet::Header { dst, src, vlan: None, ethertype: ethernet::EtherType::ARP };
    let mut bytes = vec![0; header.header_len()];
    header.emit(&mut bytes);
    bytes.extend_from_slice(rest);
    Some((Medium::Ethernet, Cow::Owned(bytes)))
}

fn note(journal: &mut Journal, text: String) {
    if journal.nodes.is_empty() {
        journal.nodes.push(NodeInfo { name: "capture".into(), kind: NodeKind::Seen, ..NodeInfo::default() });
    }
    journal.records.push(Record { at: journal.end, node: NodeId(0), what: What::Note { text } });
}

/// The transmission that a comment of ours names: `#3 (frame 17)`.
fn own_frame_id(p: &CapturedPacket<'_>) -> Option<FrameId> {
    let comment = p.comments.first()?.strip_prefix('#')?;
    let (_, id) = comment.strip_suffix(')')?.split_once(" (frame ")?;
    id.parse().ok().map(FrameId)
}

fn own(capture: &Capture<'_>, packets: &[CapturedPacket<'_>], journal: &mut Journal) {
    let mut at_of: Vec<(NodeId, u32)> = Vec::new();
    for interface in &capture.interfaces {
        let (host, name) = interface.name.split_once(':').unwrap_or((&interface.name, ""));
        let node = match journal.nodes.iter().position(|n| n.name == host) {
            Some(node) => node,
            None => {
                let kind = if interface.description == "switch" { NodeKind::Switch } else { NodeKind::Seen };
                journal.nodes.push(NodeInfo { name: host.into(), kind, ..NodeInfo::default() });
                journal.nodes.len() - 1
            }
        };
        let ifaces = &mut journal.nodes[node].ifaces;
        let ifindex = u32::try_from(ifaces.len() + 1).unwrap_or(u32::MAX);
        let medium = interface.link_type.strip(&[0x45; 64]).map_or(Medium::Ethernet, |(m, _)| m);
        let info = IfaceInfo { ifindex, name: name.into(), medium, mac: MacAddr::ZERO, addrs: Vec::new() };
        ifaces.push(info);
        at_of.push((NodeId(u32::try_from(node).unwrap_or(u32::MAX)), ifindex));
    }
    for p in packets {
        let (Some(id), Some((_, bytes)), Some(&(node, ifindex))) =
            (own_frame_id(p), p.link_type.strip(p.bytes), at_of.get(p.interface))
        else {
            continue;
        };
        let frame = Frame::from_slice(bytes);
        let inbound = p.direction == Direction::Inbound;
        if !inbound {
            learn_addresses(&mut journal.nodes[node.0 as usize], ifindex, bytes);
        }
        let what = if inbound { What::Rx { ifindex, id, frame } } else { What::Tx { ifindex, id, frame } };
        journal.records.push(Record { at: p.at, node, what });
        let fates = p.comments.iter().skip(1).filter(|c| !inbound && is_fate(c));
        for how in fates {
            let what = What::Altered { id, how: how.to_string(), fault: None };
            journal.records.push(Record { at: p.at, node, what });
        }
    }
}

/// Comments that say what became of a packet, apart from the explanation's sentences.
fn is_fate(comment: &str) -> bool {
    ["dropped by fault", "lost: ", "delayed", "corrupted", "duplicated", "held", "reordered"]
        .iter()
        .any(|w| comment.starts_with(w))
}

/// What a host says of itself: the sender addresses of its ARP packets.
fn learn_addresses(node: &mut NodeInfo, ifindex: u32, bytes: &[u8]) {
    let Some(iface) = node.ifaces.iter_mut().find(|i| i.ifindex == ifindex) else { return };
    let view = View::of_bytes(iface.medium, bytes.to_vec());
    if let Some((src, _)) = view.macs().filter(|_| iface.mac == MacAddr::ZERO) {
        iface.mac = src;
    }
    let own = view.arp().filter(|a| !a.sender_ip.is_unspecified() && a.sender_mac == iface.mac);
    if let Some(a) = own.filter(|_| iface.addrs.is_empty()) {
        iface.addrs.push((a.sender_ip.into(), 32));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Address {
    Ip(IpAddr),
    Mac(MacAddr),
}

struct Nodes {
    by_address: BTreeMap<Address, NodeId>,
    /// Who ever sent anything: groups and addresses without a host are no nodes.
    senders: BTreeSet<Address>,
}

impl Nodes {
    fn of(&mut self, journal: &mut Journal, address: Address, ifindex: u32, medium: Medium) -> NodeId {
        let node = *self.by_address.entry(address).or_insert_with(|| {
            let name = match address {
                Address::Ip(a) => a.to_string(),
                Address::Mac(m) if m.is_broadcast() => "broadcast".to_string(),
                Address::Mac(m) => m.to_string(),
            };
            journal.nodes.push(NodeInfo { name, kind: NodeKind::Seen, ..NodeInfo::default() });
            NodeId(u32::try_from(journal.nodes.len() - 1).expect("bounded by MAX_PACKETS"))
        });
        let ifaces = &mut journal.nodes[node.0 as usize].ifaces;
        if ifaces.iter().all(|i| i.ifindex != ifindex) {
            let addrs = match address {
                Address::Ip(a) => vec![(a, if a.is_ipv4() { 32 } else { 128 })],
                Address::Mac(_) => Vec::new(),
            };
            ifaces.push(IfaceInfo { ifindex, name: String::new(), medium, mac: MacAddr::ZERO, addrs });
        }
        node
    }
}

fn foreign(
    journal: &mut Journal,
    nodes: &mut Nodes,
    (number, interface): (usize, usize),
    at: Instant,
    medium: Medium,
    (view, bytes): (&View, &[u8]),
) {
    let Some((src, dst)) = ends(view) else { return };
    // Cooked captures have both media at one interface of the file: two of the journal.
    let index = interface * 2 + 1 + usize::from(medium == Medium::Ip);
    let ifindex = u32::try_from(index).unwrap_or(u32::MAX);
    let from = nodes.of(journal, src, ifindex, medium);
    let to = nodes.senders.contains(&dst).then(|| nodes.of(journal, dst, ifindex, medium));
    // An ARP packet or advertisement tells whose MAC address it is; anything else may come from a router.
    let told = view.arp().map(|a| (IpAddr::from(a.sender_ip), a.sender_mac));
    if let Some((_, mac)) = told.filter(|(ip, _)| src == Address::Ip(*ip)) {
        let ifaces = &mut journal.nodes[from.0 as usize].ifaces;
        for iface in ifaces.iter_mut().filter(|i| i.ifindex == ifindex && i.mac == MacAddr::ZERO) {
            iface.mac = mac;
        }
    }
    let id = FrameId(number as u64);
    let frame = Frame::from_slice(bytes);
    journal.records.push(Record { at, node: from, what: What::Tx { ifindex, id, frame: frame.clone() } });
    if let Some(to) = to.filter(|to| *to != from) {
        journal.records.push(Record { at, node: to, what: What::Rx { ifindex, id, frame } });
    }
}

/// Between whom a packet runs.
fn ends(view: &View) -> Option<(Address, Address)> {
    let macs = view.macs();
    if let Some(a) = view.arp() {
        let sender = match (a.sender_ip.is_unspecified(), macs) {
            (true, Some((src, _))) => Address::Mac(src),
            _ => Address::Ip(a.sender_ip.into()),
        };
        let announced = a.is_gratuitous() || a.is_probe();
        let target = match (announced, a.operation, macs) {
            (true, Operation::REQUEST, Some((_, dst))) => Address::Mac(dst),
            _ => Address::Ip(a.target_ip.into()),
        };
        return Some((sender, target));
    }
    if let Some(ip) = view.ip() {
        let src = match (ip.src.is_unspecified(), macs) {
            (true, Some((src, _))) => Address::Mac(src),
            _ => Address::Ip(ip.src),
        };
        let dst = match view.ndp() {
            // The question goes to a group that stands for the one who is asked.
            Some(ndp::Message::NeighborSolicit { target }) if !ip.src.is_unspecified() => {
                Address::Ip((*target).into())
            }
            _ => Address::Ip(ip.dst),
        };
        return Some((src, dst));
    }
    let (src, dst) = macs?;
    Some((Address::Mac(src), Address::Mac(dst)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::*;
    use crate::ladder::{Ladder, Options, WIDTH};
    use wire::capture::LinkType;
    use wire::pcapng::{PacketInfo, SectionInfo, Writer};

    fn packets(ladder: &str) -> Vec<&str> {
        ladder.lines().filter(|l| l.contains(" #")).collect()
    }

    #[test]
    fn our_own_capture_gives_the_same_arrows_back() {
        let journal = arp_resolution();
        let bytes = crate::export::pcapng(&journal, Vec::new()).expect("a Vec takes everything");
        let again = from_capture(&wire::capture::read(&bytes).expect("readable"));
        assert_eq!(again.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["client", "server"]);
        let (a, b) = (crate::traffic::Traffic::of(&journal), crate::traffic::Traffic::of(&again));
        assert_eq!(a.all.len(), b.all.len());
        for (x, y) in a.all.iter().zip(&b.all) {
            assert_eq!((x.number, x.from, x.at, &x.view), (y.number, y.from, y.at, &y.view));
            assert_eq!(x.arrivals.len(), y.arrivals.len());
        }
    }

    #[test]
    fn a_foreign_capture_has_a_column_per_address_and_starts_at_zero() {
        let mut writer = Writer::new(Vec::new(), &SectionInfo::default()).expect("a Vec takes everything");
        let eth0 = writer.interface("eth0", "", LinkType::ETHERNET).expect("a Vec takes everything");
        let (c, s) = ("192.0.2.1", "192.0.2.2");
        let frames = [
            arp_request(mac(1), c, s),
            arp_reply(mac(2), mac(1), s, c),
            udp4((1, 2), (c, s), (40000, 9), b"hello"),
        ];
        for (i, frame) in frames.iter().enumerate() {
            let at = Instant::from_secs(1_700_000_000) + core::time::Duration::from_millis(10 * i as u64);
            let info = PacketInfo { interface: eth0, at, ..PacketInfo::default() };
            writer.frame(&info, frame).expect("a Vec takes everything");
        }
        let bytes = writer.finish().expect("a Vec takes everything");
        let journal = from_capture(&wire::capture::read(&bytes).expect("readable"));
        let text = Ladder::new(&journal, &Options::default()).render(WIDTH, false, false);
        let arrows = packets(&text);
        assert_eq!(arrows.len(), 3, "{text}");
        assert!(
            arrows[0].contains("0.000 s") && arrows[0].contains("ARP who-has 192.0.2.2 tell 192.0.2.1 --"),
            "{text}"
        );
        assert!(arrows[1].contains("<-- ARP 192.0.2.2 is-at 02:00:00:00:00:02"), "{text}");
        assert!(arrows[2].contains("0.020 s") && arrows[2].contains("UDP 40000 > 9 len 5"), "{text}");
    }

    /// A capture of these packets, 10 ms apart.
    fn captured(link_type: LinkType, packets: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), &SectionInfo::default()).expect("a Vec takes everything");
        let any = writer.interface("any", "", link_type).expect("a Vec takes everything");
        for (i, bytes) in packets.iter().enumerate() {
            let at = Instant::from_secs(1_700_000_000) + core::time::Duration::from_millis(10 * i as u64);
            let info = PacketInfo { interface: any, at, ..PacketInfo::default() };
            writer.frame(&info, &Frame::from_slice(bytes)).expect("a Vec takes everything");
        }
        writer.finish().expect("a Vec takes everything")
    }

    fn journal_of(bytes: &[u8]) -> Journal {
        from_capture(&wire::capture::read(bytes).expect("readable"))
    }

    #[test]
    fn arp_in_cooked_captures_is_read_in_both_versions() {
        let frame = arp_request(mac(1), "192.0.2.1", "192.0.2.2").to_vec();
        let arp = &frame[14..];
        // tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html and ..._SLL2.html, a broadcast of 02:00:00:00:00:01.
        let sll = [&[0, 1, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 6], arp].concat();
        let sll2 = [&[8, 6, 0, 0, 0, 0, 0, 2, 0, 1, 1, 6, 2, 0, 0, 0, 0, 1, 0, 0], arp].concat();
        for (link_type, bytes) in [(LinkType::LINUX_SLL, sll), (LinkType::LINUX_SLL2, sll2)] {
            let journal = journal_of(&captured(link_type, std::slice::from_ref(&bytes)));
            let [Record { what: What::Tx { frame: read, .. }, .. }] = journal.records.as_slice() else {
                panic!("{:?}", journal.records)
            };
            assert_eq!(read.to_vec(), frame, "{link_type}");
            // IP packets of the same host and interface are read as such.
            let udp = udp4((1, 2), ("192.0.2.1", "192.0.2.2"), (5, 9), b"x").to_vec();
            let mut ip = bytes[..bytes.len() - arp.len()].to_vec();
            let at = if link_type == LinkType::LINUX_SLL { 14 } else { 0 };
            ip[at..at + 2].copy_from_slice(&[8, 0]);
            ip.extend_from_slice(&udp[14..]);
            let journal = journal_of(&captured(link_type, &[bytes.clone(), ip]));
            let text = Ladder::new(&journal, &Options::default()).render(WIDTH, false, false);
            assert!(text.contains("UDP 5 > 9") && text.contains("ARP who-has"), "{text}");
            // Cut short, it is left out and said so.
            let journal = journal_of(&captured(link_type, &[bytes[..30].to_vec()]));
            assert!(matches!(&journal.records[0].what, What::Note { text } if text.contains("left out")));
        }
    }

    #[test]
    fn groups_and_silent_addresses_are_no_hosts_and_loopback_is_told() {
        let packet = |dst, how| {
            ipv4_packet("192.0.2.1", dst, wire::ip::Protocol::UDP, how, &udp_datagram((5, 9), b"x"))
        };
        let own = ipv4_packet(
            "127.0.0.1",
            "127.0.0.1",
            wire::ip::Protocol::UDP,
            V4::default(),
            &udp_datagram((5, 9), b"x"),
        );
        let packets = [packet("224.0.0.251", V4::default()), packet("192.0.2.99", V4::default()), own];
        let journal = journal_of(&captured(LinkType::RAW, &packets));
        assert_eq!(
            journal.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(),
            ["192.0.2.1", "127.0.0.1"]
        );
        let text = Ladder::new(&journal, &Options::default()).render(WIDTH, false, false);
        let arrows = self::packets(&text);
        for (arrow, whither) in
            arrows.iter().zip(["to 224.0.0.251", "to 192.0.2.99", "UDP 5 > 9 len 1 \"x\" to itself"])
        {
            assert!(arrow.contains(whither), "{text}");
        }
    }

    #[test]
    fn a_filter_leaves_numbers_and_times_as_they_are_in_the_file() {
        let (c, s) = ("192.0.2.1", "192.0.2.2");
        let udp = udp4((1, 2), (c, s), (40000, 9), b"hello").to_vec();
        let other = udp4((1, 3), (c, "192.0.2.3"), (1, 2), b"").to_vec();
        let packets =
            [arp_request(mac(1), c, s).to_vec(), arp_reply(mac(2), mac(1), s, c).to_vec(), other, udp];
        let journal = journal_of(&captured(LinkType::ETHERNET, &packets));
        let filter = wire::filter::Filter::parse("udp.dstport == 9").expect("a filter");
        let text = Ladder::new(&journal, &Options { filter: Some(filter), ..Options::default() });
        let text = text.render(WIDTH, false, false);
        let arrows = self::packets(&text);
        assert_eq!(arrows.len(), 1, "{text}");
        assert!(arrows[0].contains("#4 0.030 s"), "{text}");
    }
}
