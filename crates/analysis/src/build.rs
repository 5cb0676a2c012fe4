//! Packets made by hand for this crate's tests: built with `wire`'s own emitters.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use stack::neigh::NudState;
use stack::record::{FrameId, IfaceInfo, Journal, NodeId, NodeInfo, Record, What};
use wire::arp::{self, Operation};
use wire::ethernet::{self, EtherType};
use wire::ip::Protocol;
use wire::{Frame, Instant, MacAddr, Medium, icmpv4, icmpv6, ipv4, ipv6, udp};

pub(crate) fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

pub(crate) fn v4(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// An Ethernet frame around `payload`.
pub(crate) fn eth(src: MacAddr, dst: MacAddr, ethertype: EtherType, payload: &[u8]) -> Frame {
    let header = ethernet::Header { dst, src, vlan: None, ethertype };
    let mut bytes = vec![0; header.header_len()];
    header.emit(&mut bytes);
    bytes.extend_from_slice(payload);
    Frame::from_vec(bytes)
}

pub(crate) fn arp_request(from: MacAddr, sender: &str, target: &str) -> Frame {
    arp_packet(from, MacAddr::BROADCAST, Operation::REQUEST, (from, sender), (MacAddr::ZERO, target))
}

pub(crate) fn arp_reply(from: MacAddr, to: MacAddr, sender: &str, target: &str) -> Frame {
    arp_packet(from, to, Operation::REPLY, (from, sender), (to, target))
}

pub(crate) fn arp_packet(
    src: MacAddr,
    dst: MacAddr,
    operation: Operation,
    sender: (MacAddr, &str),
    target: (MacAddr, &str),
) -> Frame {
    let packet = arp::Packet {
        operation,
        sender_mac: sender.0,
        sender_ip: v4(sender.1),
        target_mac: target.0,
        target_ip: v4(target.1),
    };
    let mut bytes = [0; arp::PACKET_LEN];
    packet.emit(&mut bytes);
    eth(src, dst, EtherType::ARP, &bytes)
}

/// What an IPv4 header of a test packet may change.
#[derive(Clone, Copy)]
pub(crate) struct V4 {
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    pub(crate) df: bool,
    pub(crate) offset: u16,
    pub(crate) more: bool,
}

impl Default for V4 {
    fn default() -> V4 {
        V4 { ttl: 64, id: 0, df: true, offset: 0, more: false }
    }
}

pub(crate) fn ipv4_packet(src: &str, dst: &str, protocol: Protocol, how: V4, payload: &[u8]) -> Vec<u8> {
    let header = ipv4::Header {
        tos: 0,
        total_len: u16::try_from(20 + payload.len()).expect("short"),
        id: how.id,
        reserved_flag: false,
        dont_fragment: how.df,
        more_fragments: how.more,
        frag_offset: how.offset,
        ttl: how.ttl,
        protocol,
        checksum: 0,
        src: v4(src),
        dst: v4(dst),
        options: ipv4::Options::EMPTY,
    };
    let mut bytes = vec![0; header.header_len()];
    header.emit(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

pub(crate) fn udp_datagram(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).expect("short");
    let header = udp::Header { src_port: ports.0, dst_port: ports.1, len, checksum: 0 };
    let mut bytes = vec![0; 8];
    header.emit(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

pub(crate) fn udp4(macs: (u8, u8), ends: (&str, &str), ports: (u16, u16), payload: &[u8]) -> Frame {
    udp4_how(macs, ends, ports, V4::default(), payload)
}

pub(crate) fn udp4_how(
    macs: (u8, u8),
    ends: (&str, &str),
    ports: (u16, u16),
    how: V4,
    payload: &[u8],
) -> Frame {
    let bytes = ipv4_packet(ends.0, ends.1, Protocol::UDP, how, &udp_datagram(ports, payload));
    eth(mac(macs.0), mac(macs.1), EtherType::IPV4, &bytes)
}

/// ICMP with `payload` behind the header: an error's quoted packet, an echo's data.
pub(crate) fn icmp4(
    macs: (u8, u8),
    ends: (&str, &str),
    how: V4,
    message: icmpv4::Message,
    payload: &[u8],
) -> Frame {
    let mut bytes = vec![0; message.header_len()];
    message.emit(&mut bytes);
    bytes.extend_from_slice(payload);
    icmpv4::set_checksum(&mut bytes);
    let packet = ipv4_packet(ends.0, ends.1, Protocol::ICMP, how, &bytes);
    eth(mac(macs.0), mac(macs.1), EtherType::IPV4, &packet)
}

pub(crate) fn icmp6(
    macs: (MacAddr, MacAddr),
    ends: (&str, &str),
    message: icmpv6::Message,
    options: &[u8],
) -> Frame {
    let (src, dst): (Ipv6Addr, Ipv6Addr) = (ends.0.parse().expect("v6"), ends.1.parse().expect("v6"));
    let mut bytes = vec![0; message.header_len()];
    message.emit(&mut bytes);
    bytes.extend_from_slice(options);
    icmpv6::set_checksum(src, dst, &mut bytes);
    let header = ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_len: u16::try_from(bytes.len()).expect("short"),
        next_header: Protocol::ICMPV6,
        hop_limit: 255,
        src,
        dst,
    };
    let mut packet = vec![0; header.header_len()];
    header.emit(&mut packet);
    packet.extend_from_slice(&bytes);
    eth(macs.0, macs.1, EtherType::IPV6, &packet)
}

/// A journal written by hand. Times are in microseconds.
pub(crate) struct Hand {
    pub(crate) journal: Journal,
    next_id: u64,
    next_seq: u32,
}

impl Hand {
    /// Hosts by name, each with `eth0`: MAC `02:..:<position+1>` and these addresses.
    pub(crate) fn new(hosts: &[(&str, &[&str])]) -> Hand {
        let mut journal = Journal::default();
        for (i, (name, addrs)) in hosts.iter().enumerate() {
            let last = u8::try_from(i + 1).expect("few hosts");
            journal.nodes.push(NodeInfo {
                name: (*name).to_string(),
                ifaces: vec![IfaceInfo {
                    ifindex: 2,
                    name: "eth0".to_string(),
                    medium: Medium::Ethernet,
                    mac: mac(last),
                    addrs: addrs.iter().map(|a| (ip(a), 24)).collect(),
                }],
                programs: vec!["main".to_string()],
                ..NodeInfo::default()
            });
        }
        Hand { journal, next_id: 0, next_seq: 0 }
    }

    /// A further interface of a host.
    pub(crate) fn iface(&mut self, node: u32, ifindex: u32, mac_last: u8, addr: &str) {
        self.journal.nodes[node as usize].ifaces.push(IfaceInfo {
            ifindex,
            name: format!("eth{}", ifindex - 2),
            medium: Medium::Ethernet,
            mac: mac(mac_last),
            addrs: vec![(ip(addr), 24)],
        });
    }

    pub(crate) fn push(&mut self, at_us: u64, node: u32, what: What) {
        let at = Instant::from_micros(at_us);
        self.journal.end = self.journal.end.max(at);
        self.journal.records.push(Record { at, node: NodeId(node), what });
    }

    pub(crate) fn tx(&mut self, at_us: u64, node: u32, frame: &Frame) -> FrameId {
        self.tx_by(at_us, node, 2, frame)
    }

    pub(crate) fn tx_by(&mut self, at_us: u64, node: u32, ifindex: u32, frame: &Frame) -> FrameId {
        self.next_id += 1;
        let id = FrameId(self.next_id);
        self.push(at_us, node, What::Tx { ifindex, id, frame: frame.clone() });
        id
    }

    pub(crate) fn rx(&mut self, at_us: u64, node: u32, id: FrameId, frame: &Frame) {
        self.rx_by(at_us, node, 2, id, frame);
    }

    pub(crate) fn rx_by(&mut self, at_us: u64, node: u32, ifindex: u32, id: FrameId, frame: &Frame) {
        self.push(at_us, node, What::Rx { ifindex, id, frame: frame.clone() });
    }

    /// Sent and received at once.
    pub(crate) fn pass(&mut self, at_us: u64, from: u32, to: u32, frame: &Frame) -> FrameId {
        let id = self.tx(at_us, from, frame);
        self.rx(at_us, to, id, frame);
        id
    }

    pub(crate) fn neigh(
        &mut self,
        at_us: u64,
        node: u32,
        addr: &str,
        from: Option<NudState>,
        to: Option<NudState>,
        lladdr: Option<MacAddr>,
    ) {
        self.push(at_us, node, What::Neigh { ifindex: 2, addr: ip(addr), lladdr, from, to });
    }

    pub(crate) fn call(&mut self, at_us: u64, node: u32, text: &str) -> u32 {
        self.next_seq += 1;
        let seq = self.next_seq;
        self.push(at_us, node, What::Call { program: 0, seq, text: text.to_string() });
        seq
    }

    pub(crate) fn returns(&mut self, at_us: u64, node: u32, seq: u32, text: &str) {
        self.push(at_us, node, What::Return { program: 0, seq, text: text.to_string(), unexpected: None });
    }
}

/// Two hosts, one resolves the other's address and sends a datagram; the answer needs no ARP.
pub(crate) fn arp_resolution() -> Journal {
    let mut h = Hand::new(&[("client", &["192.0.2.1"]), ("server", &["192.0.2.2"])]);
    let (c, s) = ("192.0.2.1", "192.0.2.2");
    let call = h.call(0, 0, "sendto(3, \"hello\", 5, 0, 192.0.2.2:9)");
    h.neigh(0, 0, s, None, Some(NudState::Incomplete), None);
    h.push(0, 0, What::NeighQueued { ifindex: 2, addr: ip(s), queued: 1 });
    let ask = arp_request(mac(1), c, s);
    let id = h.tx(0, 0, &ask);
    h.returns(0, 0, call, "5");
    h.rx(10_000, 1, id, &ask);
    h.neigh(10_000, 1, c, None, Some(NudState::Stale), Some(mac(1)));
    let answer = arp_reply(mac(2), mac(1), s, c);
    let id = h.tx(10_000, 1, &answer);
    h.rx(20_000, 0, id, &answer);
    h.neigh(20_000, 0, s, Some(NudState::Incomplete), Some(NudState::Reachable), Some(mac(2)));
    let data = udp4((1, 2), (c, s), (40000, 9), b"hello");
    let id = h.tx(20_000, 0, &data);
    h.rx(30_000, 1, id, &data);
    h.journal
}
