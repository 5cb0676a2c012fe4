//! The short way of UDP over IPv4, for datagrams like the one before: sending with headers that are known, receiving by
//! the one socket of a port. Whatever is unusual goes the long way (`send`, `ip::input4`, `receive`), which also counts
//! and drops; both ways give the same packets, counters and queues.
//!
//! Linux has the same split: `udp_send_skb` without a lock and `sk_dst_check` on the way out (net/ipv4/udp.c), early
//! demux on the way in (net/ipv4/ip_input.c `ip_rcv_finish_core`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use wire::checksum::{Sum, pseudo_v4, sum, sum_header};
use wire::ip::Protocol;
use wire::{Frame, Instant, ethernet, ipv4, udp};

use super::receive::{Ends, score};
use super::send::{INLINE, Payload, Way};
use crate::Stack;
use crate::ip::RxMeta;
use crate::mib::Counter;
use crate::record::IfIndex;
use crate::route::RouteKind;
use crate::socket::sock::pmtudisc;
use crate::socket::{DgramKind, truesize_received};

/// Bytes of IPv4 and UDP header.
const HEADERS: usize = ipv4::MIN_HEADER_LEN + udp::HEADER_LEN;
/// More fragments, or an offset that is not 0.
const FRAGMENT: u16 = 0x3fff;
/// Don't fragment.
const DF: u16 = 0x4000;

/// Where a datagram's IPv4 identification comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id {
    /// The socket counts (it is connected).
    Socket,
    /// This counter of the host's generator.
    Host(u16),
    /// 0: it will never be fragmented.
    Zero,
}

/// How a socket's last datagram went, for the next one to the same place.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// The routing generation it was found in.
    generation: u32,
    /// The address as the program gave it.
    to: Option<SocketAddr>,
    next_hop: IpAddr,
    ifindex: IfIndex,
    /// Longer ones need fragments, or an error.
    max_payload: usize,
    id: Id,
    no_check: bool,
    /// Both headers without lengths, identification and checksums.
    headers: [u8; HEADERS],
    /// The sum over the 16-bit words of the IPv4 header.
    ip_sum: u32,
    /// The sum over those of the UDP header and its pseudo header.
    udp_sum: u32,
}

/// The sum over 16-bit words.
fn words(bytes: &[u8]) -> u32 {
    bytes.as_chunks::<2>().0.iter().map(|w| u32::from(u16::from_be_bytes(*w))).sum()
}

impl Stack {
    /// Remembers how a datagram without control messages and flags went.
    pub(super) fn remember_flow(&mut self, sock: u32, to: Option<SocketAddr>, way: &Way) {
        let entry = &self.sockets.dgrams[sock];
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (way.src, way.dst) else { return };
        let o = &entry.opts;
        // What ICMP taught about a path expires by itself: only a connected socket keeps its route until then.
        let lasts = to.is_none() || !self.fib.has_exceptions();
        let plain = matches!(way.route.kind, RouteKind::Unicast | RouteKind::Local) && way.gso_size == 0;
        let mtu = way.route.mtu as usize;
        if entry.kind != DgramKind::Udp
            || !lasts
            || !plain
            || o.pmtudisc >= pmtudisc::PROBE
            || mtu <= HEADERS
            || entry.port == 0
        {
            return;
        }
        let (dont_fragment, discover) = (o.pmtudisc == pmtudisc::DO, o.pmtudisc != pmtudisc::DONT);
        let df = dont_fragment || (discover && !way.route.mtu_locked);
        let mut h = [0; HEADERS];
        h[0] = 0x45;
        h[1] = way.tos;
        h[6..8].copy_from_slice(&if df { DF } else { 0 }.to_be_bytes());
        h[8] = way.ttl;
        h[9] = Protocol::UDP.0;
        h[12..16].copy_from_slice(&src.octets());
        h[16..20].copy_from_slice(&dst.octets());
        h[20..22].copy_from_slice(&entry.port.to_be_bytes());
        h[22..24].copy_from_slice(&way.port.to_be_bytes());
        let flow = Flow {
            generation: self.route_generation(),
            to,
            next_hop: way.route.next_hop,
            ifindex: way.route.ifindex,
            max_payload: mtu.min(0xffff) - HEADERS,
            id: match entry.peer {
                Some(_) => Id::Socket,
                None if dont_fragment => Id::Zero,
                None => Id::Host(self.ip.idents.counter_v4(src, dst, Protocol::UDP)),
            },
            no_check: o.no_check,
            headers: h,
            ip_sum: words(&h[..ipv4::MIN_HEADER_LEN]),
            udp_sum: words(&h[12..]) + u32::from(Protocol::UDP.0),
        };
        self.sockets.dgrams[sock].flow = Some(Box::new(flow));
    }

    /// Sends a datagram the way of the one before; `false` when it has to go the long way.
    pub(super) fn send_by_flow(
        &mut self,
        now: Instant,
        sock: u32,
        to: Option<SocketAddr>,
        payload: &Payload<'_>,
    ) -> bool {
        let generation = self.route_generation();
        let entry = &mut **self.sockets.dgrams.get_mut(sock).expect("the caller's socket");
        let Some(flow) = entry.flow.as_deref() else { return false };
        let data = payload.as_slice();
        if flow.generation != generation || data.len() > flow.max_payload || flow.to != to {
            return false;
        }
        if entry.error.is_some() || entry.shutdown_wr || entry.cork.is_some() {
            return false;
        }
        let total = (HEADERS + data.len()) as u16; // at most 65535, as max_payload is
        let len = total - ipv4::MIN_HEADER_LEN as u16; // 20
        let id = match flow.id {
            Id::Socket => {
                let id = entry.ip_id;
                entry.ip_id = id.wrapping_add(1);
                id
            }
            Id::Host(counter) => self.ip.idents.next_of(now, counter),
            Id::Zero => 0,
        };
        let mut h = flow.headers;
        let ip_sum = Sum::EMPTY.add_u32(flow.ip_sum + u32::from(total) + u32::from(id)).finish();
        h[2..4].copy_from_slice(&total.to_be_bytes());
        h[4..6].copy_from_slice(&id.to_be_bytes());
        h[10..12].copy_from_slice(&ip_sum.to_be_bytes());
        h[24..26].copy_from_slice(&len.to_be_bytes());
        if !flow.no_check {
            // The length counts twice: in the header and in the pseudo header.
            let head = Sum::EMPTY.add_u32(flow.udp_sum + 2 * u32::from(len));
            let checksum = match (head + sum(data)).finish() {
                0 => 0xffff, // 0 would mean that there is none (RFC 768)
                checksum => checksum,
            };
            h[26..28].copy_from_slice(&checksum.to_be_bytes());
        }
        let (ifindex, next_hop) = (flow.ifindex, flow.next_hop);
        let checksummed = !flow.no_check;
        let mut frame = match payload {
            Payload::Shared(shared) if data.len() > INLINE => {
                let mut frame = Frame::from_parts(&h, &[]);
                frame.set_tail(shared.clone());
                frame
            }
            _ => Frame::from_parts(&h, data),
        };
        if checksummed {
            frame.set_checksummed();
        }
        self.mib.inc(Counter::IpOutRequests);
        self.mib.inc(Counter::IpOutTransmits);
        self.mib.add(Counter::IpExtOutOctets, total.into());
        self.mib.inc(Counter::UdpOutDatagrams);
        self.neigh_output(now, ifindex, next_hop, frame);
        true
    }

    /// Receives an Ethernet frame that [`Stack::taker_by_port`] found this socket for.
    #[inline(always)]
    pub(crate) fn receive_by_port(&mut self, now: Instant, ifindex: IfIndex, sock: u32, mut frame: Frame) {
        let octets = frame.len() - ethernet::HEADER_LEN;
        let h = &frame.head()[ethernet::HEADER_LEN..];
        let h = h.first_chunk::<HEADERS>().expect("taker_by_port looked");
        let addr = |at: usize| IpAddr::V4(Ipv4Addr::new(h[at], h[at + 1], h[at + 2], h[at + 3]));
        let total = usize::from(u16::from_be_bytes([h[2], h[3]]));
        let src_port = u16::from_be_bytes([h[20], h[21]]);
        let meta = RxMeta {
            ifindex,
            src: addr(12),
            dst: addr(16),
            protocol: Protocol::UDP,
            ttl: h[8],
            tos: h[1],
            group: false,
            spec_dst: addr(16),
            network_header_len: ipv4::MIN_HEADER_LEN as u16, // 20
        };
        self.mib.inc(Counter::IpInReceives);
        self.mib.add(Counter::IpExtInOctets, octets as u64);
        self.mib.inc(crate::ip::ECN_COUNTERS[usize::from(meta.tos & 3)]);
        self.mib.inc(Counter::IpInDelivers);
        if octets > total {
            frame.truncate(ethernet::HEADER_LEN + total); // Ethernet pads short packets
        }
        frame.pull(ethernet::HEADER_LEN + HEADERS);
        self.dgram_queue(now, sock, &meta, src_port, frame, truesize_received(total));
    }

    /// The only socket on the port that a datagram is for, if nothing about the datagram is unusual.
    #[inline(always)]
    pub(crate) fn taker_by_port(&mut self, ifindex: IfIndex, mtu: u32, frame: &Frame) -> Option<u32> {
        let packet = frame.head().get(ethernet::HEADER_LEN..)?;
        let h = packet.first_chunk::<HEADERS>()?;
        let field = |at: usize| u16::from_be_bytes([h[at], h[at + 1]]);
        let total = usize::from(field(2));
        let len = field(24);
        let whole = usize::from(len) == total.wrapping_sub(ipv4::MIN_HEADER_LEN)
            && usize::from(len) >= udp::HEADER_LEN
            && total + ethernet::HEADER_LEN <= frame.len()
            && total <= mtu as usize;
        if h[0] != 0x45 || h[9] != Protocol::UDP.0 || field(6) & FRAGMENT != 0 || !whole {
            return None;
        }
        let ip_header = h.first_chunk::<{ ipv4::MIN_HEADER_LEN }>()?;
        if !sum_header(ip_header).is_valid() || !self.sockets.raws.is_empty() || self.has_vxlan() {
            return None;
        }
        let addr = |at: usize| Ipv4Addr::new(h[at], h[at + 1], h[at + 2], h[at + 3]);
        let (src, dst) = (addr(12), addr(16));
        if !self.is_known_arrival(src, dst, ifindex) {
            return None;
        }
        let (src_port, dst_port) = (field(20), field(22));
        let sock = self.sockets.udp_ports.only_on_port(dst_port)?;
        let ends = Ends { src: src.into(), src_port, dst: dst.into(), dst_port, ifindex };
        let entry = &self.sockets.dgrams[sock];
        score(entry, &ends)?;
        if entry.rmem > 0 && entry.rmem.saturating_add(truesize_received(total)) > entry.opts.rcvbuf {
            return None;
        }
        if field(26) != 0 && !frame.is_checksummed() {
            let inline = &packet[ipv4::MIN_HEADER_LEN..total.min(packet.len())];
            let tail = &frame.tail()[..total.saturating_sub(packet.len())];
            if inline.len() % 2 == 1 && !tail.is_empty() {
                return None;
            }
            let header = h.last_chunk::<{ udp::HEADER_LEN }>()?;
            let all = pseudo_v4(src, dst, Protocol::UDP, len)
                + sum_header(header)
                + sum(&inline[udp::HEADER_LEN..]);
            if !(if tail.is_empty() { all } else { all + sum(tail) }).is_valid() {
                return None;
            }
        }
        Some(sock)
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use crate::mib::COUNTERS;
    use crate::socket::test_net::{A, B, Net};

    /// What two hosts that exchange datagrams show outside: results, frames, counters, sockets.
    struct Seen {
        results: Vec<String>,
        frames: Vec<(usize, Vec<u8>)>,
        counters: Vec<(usize, &'static str, u64)>,
        sockets: [String; 2],
        /// Whether a socket of A remembers how its last datagram went.
        remembers: bool,
    }

    /// Datagrams of all lengths to open, full, filtered and closed ports, from connected sockets and others. `long`: a raw
    /// socket on B that nothing is for, and routes that change before each call on A, keep both ways from being short.
    fn run(long: bool) -> Seen {
        let mut net = Net::new();
        let mut results = Vec::new();
        if long {
            net.script(B, "socket(AF_INET, SOCK_RAW, 200) => 3");
        } else {
            net.script(B, "socket(AF_INET, SOCK_DGRAM) => 3");
        }
        net.script(
            B,
            "socket(AF_INET, SOCK_DGRAM|SOCK_NONBLOCK) => 4
             bind(4, 0.0.0.0:700) => 0
             socket(AF_INET, SOCK_DGRAM|SOCK_NONBLOCK) => 5
             bind(5, 0.0.0.0:701) => 0
             connect(5, 192.0.2.1:1) => 0
             socket(AF_INET, SOCK_DGRAM|SOCK_NONBLOCK) => 6
             bind(6, 192.0.2.2:702) => 0
             setsockopt(6, SOL_SOCKET, SO_RCVBUF, 2500)",
        );
        net.script(
            A,
            "socket(AF_INET, SOCK_DGRAM|SOCK_NONBLOCK) => 3
             bind(3, 0.0.0.0:500) => 0
             socket(AF_INET, SOCK_DGRAM|SOCK_NONBLOCK) => 4
             bind(4, 192.0.2.1:501) => 0
             connect(4, 192.0.2.2:700) => 0
             socket(AF_INET, SOCK_DGRAM|SOCK_NONBLOCK) => 5
             bind(5, 0.0.0.0:502) => 0
             setsockopt(5, SOL_SOCKET, SO_NO_CHECK, 1) => 0
             setsockopt(5, IPPROTO_IP, IP_TTL, 9) => 0
             setsockopt(5, IPPROTO_IP, IP_TOS, 0xb9) => 0",
        );
        net.run(A, "sendto(3, \"first\", 192.0.2.2:700)");
        net.advance(Duration::from_millis(10));
        let mut state = 1_u32;
        let mut random = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % below
        };
        for turn in 0..400 {
            if long {
                net.hosts[A].fib.bump();
            }
            let len = match random(4) {
                0 => random(30),
                1 => 1460 + random(20), // around the longest that fits
                2 => random(1472),
                _ => 88,
            };
            let data = "d".repeat(len as usize);
            let port = 700 + random(4); // 703 is closed
            let call = match random(4) {
                0 => format!("send(4, \"{data}\")"),
                1 => format!("sendto(5, \"{data}\", 192.0.2.2:{port})"),
                _ => format!("sendto(3, \"{data}\", 192.0.2.2:{port})"),
            };
            results.push(net.run(A, &call));
            if turn % 7 == 0 {
                let fd = 4 + random(3);
                results.push(net.run(B, &format!("recvfrom({fd}, 2000)")));
            }
            if turn % 50 == 0 {
                net.advance(Duration::from_millis(1100)); // the limit on port unreachable fills up again
            }
        }
        let counters = COUNTERS.iter().map(|(counter, name)| (*counter, *name));
        let counters = counters.flat_map(|(c, name)| [A, B].map(|host| (host, name, c)));
        Seen {
            results,
            counters: counters.map(|(host, name, c)| (host, name, net.hosts[host].mib.value(c))).collect(),
            frames: net.passed.iter().map(|(from, frame)| (*from, frame.to_vec())).collect(),
            sockets: [A, B].map(|host| net.hosts[host].ss_udp()),
            remembers: net.hosts[A].sockets.dgrams.iter().any(|(_, s)| s.flow.is_some()),
        }
    }

    #[test]
    fn the_short_way_gives_what_the_long_way_gives() {
        let (short, long) = (run(false), run(true));
        assert!(short.remembers, "the short way was not taken at all");
        assert_eq!(short.results, long.results);
        assert_eq!(short.counters, long.counters);
        assert_eq!(short.frames.len(), long.frames.len());
        for (i, (a, b)) in short.frames.iter().zip(&long.frames).enumerate() {
            assert_eq!(a, b, "frame {i}");
        }
        assert_eq!(short.sockets[A], long.sockets[A]);
        // B's list has the socket that only one of the two has.
        let bound =
            |text: &str| text.lines().filter(|l| l.contains(":70")).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(bound(&short.sockets[B]), bound(&long.sockets[B]));
        let value =
            |name: &str| short.counters.iter().find(|(h, n, _)| *h == B && *n == name).map_or(0, |c| c.2);
        for name in ["UdpInDatagrams", "UdpNoPorts", "UdpRcvbufErrors"] {
            assert!(value(name) > 0, "{name}: the test misses what it is about");
        }
    }
}
