//! Ways of arriving IPv4 packets that were looked up lately, and the short way of those that are handed on: one line of
//! memory says where to.
//!
//! Linux keeps the way of packets for itself in the socket (early demux, `sk_rx_dst`) and of others in the next hop
//! (`nhc_pcpu_rth_output`). Counters and checks are those of `ip_rcv`, `ip_forward` and `ip_finish_output`.

use std::net::{IpAddr, Ipv4Addr};

use wire::{Frame, Instant, ipv4};

use super::output::addr4;
use crate::Stack;
use crate::mib::Counter;
use crate::record::IfIndex;
use crate::route::{Dst, RouteKind};

/// Ways of packets for this host that are remembered, a power of two.
const ARRIVALS: usize = 16;
/// Ways of packets for others, a power of two: only routers pay for them.
const ONWARD: usize = 1024;
/// `lo`, by which local packets are delivered.
const LOOPBACK: IfIndex = 1;

/// Packets from `src` to `dst` that come in by `iif` are for us; void when the routing generation has moved on.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    generation: u32,
    iif: IfIndex,
    src: Ipv4Addr,
    dst: Ipv4Addr,
    mtu: u32,
}

/// Such packets are handed on: by which interface, to which neighbour.
#[derive(Clone, Copy, Debug)]
struct Onward {
    generation: u32,
    iif: IfIndex,
    src: Ipv4Addr,
    dst: Ipv4Addr,
    oif: IfIndex,
    next_hop: Ipv4Addr,
    mtu: u32,
}

/// Both kinds; each empty until the first of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Remembered {
    arrivals: Vec<Arrival>,
    onward: Vec<Onward>,
}

#[inline]
fn mixed(src: Ipv4Addr, dst: Ipv4Addr) -> u32 {
    (src.to_bits() ^ dst.to_bits().rotate_left(16)).wrapping_mul(0x9e37_79b9)
}

#[inline]
fn arrival_slot(src: Ipv4Addr, dst: Ipv4Addr) -> usize {
    (mixed(src, dst) >> 28) as usize % ARRIVALS
}

#[inline]
fn onward_slot(src: Ipv4Addr, dst: Ipv4Addr) -> usize {
    (mixed(src, dst) >> 22) as usize % ONWARD
}

impl Stack {
    #[inline(always)]
    fn known_arrival(&self, src: Ipv4Addr, dst: Ipv4Addr, iif: IfIndex) -> Option<&Arrival> {
        self.ip.remembered.arrivals.get(arrival_slot(src, dst)).filter(|known| {
            known.src == src
                && known.dst == dst
                && known.iif == iif
                && known.generation == self.route_generation()
        })
    }

    /// Whether the way of such packets is remembered and leads to ourselves.
    #[inline(always)]
    pub(crate) fn is_known_arrival(&self, src: Ipv4Addr, dst: Ipv4Addr, iif: IfIndex) -> bool {
        self.known_arrival(src, dst, iif).is_some()
    }

    /// The way of such packets, when it is remembered and leads to ourselves.
    #[inline]
    pub(super) fn remembered_arrival(&self, src: Ipv4Addr, dst: Ipv4Addr, iif: IfIndex) -> Option<Dst> {
        self.known_arrival(src, dst, iif).map(|known| Dst {
            kind: RouteKind::Local,
            ifindex: LOOPBACK,
            src: dst.into(),
            next_hop: dst.into(),
            via_gateway: false,
            mtu: known.mtu,
            mtu_locked: false,
        })
    }

    /// Remembers the way of a packet from `src` to `dst`.
    pub(super) fn remember_way(
        &mut self,
        now: Instant,
        src: Ipv4Addr,
        dst: Ipv4Addr,
        iif: IfIndex,
        way: &Dst,
    ) {
        let generation = self.route_generation();
        if way.kind == RouteKind::Local {
            let known = Arrival { generation, iif, src, dst, mtu: way.mtu };
            let arrivals = &mut self.ip.remembered.arrivals;
            if arrivals.is_empty() {
                arrivals.resize(ARRIVALS, known);
            }
            arrivals[arrival_slot(src, dst)] = known;
            return;
        }
        // Without exceptions nothing about it depends on the time; who could have gone straight is told so.
        let (RouteKind::Unicast, false, IpAddr::V4(next_hop)) =
            (way.kind, self.fib.has_exceptions(), way.next_hop)
        else {
            return;
        };
        if way.ifindex == iif {
            return;
        }
        let mtu = self.forward_mtu(now, dst.into(), way);
        let known = Onward { generation, iif, src, dst, oif: way.ifindex, next_hop, mtu };
        let onward = &mut self.ip.remembered.onward;
        if onward.is_empty() {
            onward.resize(ONWARD, known);
        }
        onward[onward_slot(src, dst)] = known;
    }

    /// Hands an unremarkable packet on whose way is known: no options, the right length and checksum, life left, not
    /// too long. Others come back as they are.
    #[inline]
    pub(super) fn ip4_hands_on(&mut self, now: Instant, iif: IfIndex, mut frame: Frame) -> Result<(), Frame> {
        if self.ip.remembered.onward.is_empty() {
            return Err(frame);
        }
        let octets = frame.len();
        let generation = self.route_generation();
        let Some(h) = frame.network_header_mut::<{ ipv4::MIN_HEADER_LEN }>() else {
            return Err(frame);
        };
        let (src, dst) = (addr4(h, 12), addr4(h, 16));
        let known = self.ip.remembered.onward[onward_slot(src, dst)];
        let total = usize::from(u16::from_be_bytes([h[2], h[3]]));
        if known.src != src
            || known.dst != dst
            || known.iif != iif
            || known.generation != generation
            || h[0] != 0x45
            || h[8] <= 1
            || total != octets
            || total > known.mtu as usize
            || !wire::checksum::sum_header(h).is_valid()
        {
            return Err(frame);
        }
        let ecn = usize::from(h[1] & 3);
        // TTL is the upper half of its 16-bit word (ip_decrease_ttl, RFC 1141).
        let word = u16::from_be_bytes([h[8], h[9]]);
        let checksum = wire::checksum::update_u16(u16::from_be_bytes([h[10], h[11]]), word, word - 0x100);
        h[8] -= 1;
        [h[10], h[11]] = checksum.to_be_bytes();
        self.mib.inc(Counter::IpInReceives);
        self.mib.add(Counter::IpExtInOctets, octets as u64);
        self.mib.inc(super::ECN_COUNTERS[ecn]);
        self.mib.inc(Counter::IpForwDatagrams);
        self.mib.inc(Counter::IpOutTransmits);
        self.mib.add(Counter::IpExtOutOctets, octets as u64);
        self.neigh_output(now, known.oif, known.next_hop.into(), frame);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use wire::{MacAddr, Medium};

    use super::*;
    use crate::StackConfig;
    use crate::mib::COUNTERS;

    fn packet(ttl: u8, len: usize) -> Frame {
        let mut bytes = vec![0u8; len];
        bytes[0] = 0x45;
        bytes[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        bytes[8] = ttl;
        bytes[9] = 253;
        bytes[12..16].copy_from_slice(&[192, 0, 2, 9]);
        bytes[16..20].copy_from_slice(&[198, 51, 100, 9]);
        let checksum = wire::checksum::sum(&bytes[..20]).finish();
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        Frame::from_vec(bytes)
    }

    fn router() -> (Stack, IfIndex) {
        let mut stack = Stack::new(StackConfig { record: false, ..StackConfig::default() });
        let now = Instant::ZERO;
        let nics = [[192, 0, 2, 1], [198, 51, 100, 1]].map(|addr| {
            let name = format!("tun{}", addr[0]);
            let nic = stack.add_interface(&name, Medium::Ip, MacAddr::ZERO, 1500);
            stack.link_set_carrier(now, nic, true).expect("just made");
            stack.link_set_up(now, nic, true).expect("just made");
            stack.addr_add(now, nic, Ipv4Addr::from(addr).into(), 24).expect("new");
            nic
        });
        stack.sysctl_write(now, "net.ipv4.ip_forward", "1").expect("a sysctl");
        while stack.poll_transmit().is_some() {}
        (stack, nics[0])
    }

    /// The first packet takes the long way, the second the short one: same bytes out, same counters.
    #[test]
    fn a_packet_handed_on_by_memory_leaves_and_counts_like_the_first() {
        let (mut stack, nic) = router();
        let now = Instant::from_secs(1);
        let counters =
            |stack: &Stack| COUNTERS.iter().map(|(c, _)| stack.mib().value(*c)).collect::<Vec<_>>();
        let before = counters(&stack);
        stack.handle_frame(now, nic, packet(64, 700));
        let first = stack.poll_transmit().expect("handed on");
        let once = counters(&stack);
        assert!(stack.ip4_hands_on(now, nic, packet(64, 700)).is_ok(), "the way is known");
        assert_eq!(stack.poll_transmit(), Some(first));
        let twice = counters(&stack);
        for (n, (_, name)) in COUNTERS.iter().enumerate() {
            assert_eq!(twice[n] - once[n], once[n] - before[n], "{name}");
        }
    }

    #[test]
    fn who_must_be_looked_at_more_closely_takes_the_long_way() {
        let (mut stack, nic) = router();
        let now = Instant::from_secs(1);
        stack.handle_frame(now, nic, packet(64, 100));
        let mut broken = packet(64, 100);
        broken.head_mut()[11] ^= 1;
        for odd in [packet(1, 100), packet(64, 1501), broken] {
            assert!(stack.ip4_hands_on(now, nic, odd).is_err());
        }
        stack.sysctl_write(now, "net.ipv4.ip_forward", "0").expect("a sysctl");
        assert!(stack.ip4_hands_on(now, nic, packet(64, 100)).is_err(), "routing has changed");
    }
}
