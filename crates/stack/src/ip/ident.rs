//! Which identification an IPv4 packet gets, and an IPv6 fragment header (RFC 6864, RFC 7739). Linux:
//! net/ipv4/route.c `__ip_select_ident`, net/ipv6/output_core.c `__ipv6_select_ident`.
//!
//! Linux hashes (destination, source, protocol) with a secret into a table of counters, so that one host's
//! counter says little about its traffic with others. A counter also jumps by a random step for the time
//! it was not used.

use std::net::{Ipv4Addr, Ipv6Addr};

use wire::Instant;
use wire::ip::Protocol;

use crate::rng::Rng;

/// Counters, a power of two. Linux has 2048 and more, by memory (`ip_idents_mask`).
const BUCKETS: usize = 2048;

/// The host's own generator of identifications.
#[derive(Clone, Debug)]
pub(crate) struct Idents {
    key: u64,
    rng: Rng,
    /// Last number given and when, in ticks; filled on first use, since most hosts never need it.
    buckets: Vec<(u32, u64)>,
}

impl Idents {
    pub(crate) fn new(rng: &Rng) -> Idents {
        let mut rng = rng.fork("ip-ident");
        Idents { key: rng.next_u64(), rng, buckets: Vec::new() }
    }

    /// The next number for packets from `src` to `dst` (`ip_idents_reserve` for one segment).
    pub(crate) fn next_v4(&mut self, now: Instant, src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol) -> u16 {
        self.next_of(now, self.counter_v4(src, dst, protocol))
    }

    /// Which counter packets from `src` to `dst` take their numbers from.
    pub(crate) fn counter_v4(&self, src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol) -> u16 {
        let addresses = (u64::from(u32::from(dst)) << 32) | u64::from(u32::from(src));
        let mut hash = Rng::new(self.key ^ addresses, "").next_u64();
        hash ^= u64::from(protocol.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((hash >> 32) as usize % BUCKETS) as u16 // 11 bits
    }

    /// The next number of a counter.
    #[inline]
    pub(crate) fn next_of(&mut self, now: Instant, counter: u16) -> u16 {
        if self.buckets.is_empty() {
            let mut rng = self.rng.fork("buckets");
            self.buckets = (0..BUCKETS).map(|_| (rng.next_u32(), 0)).collect();
        }
        let (counter, stamp) = &mut self.buckets[usize::from(counter)];
        // Linux counts the idle time in jiffies; 4 ms each, as with HZ=250.
        let tick = now.as_nanos() / 4_000_000;
        let idle = tick - *stamp;
        *stamp = tick;
        let step = if idle == 0 { 0 } else { self.rng.below(idle.min(u64::from(u32::MAX))) as u32 };
        *counter = counter.wrapping_add(1 + step);
        (*counter & 0xffff) as u16 // the lower half
    }

    /// A flow's label: 20 bits of a hash with the host's secret.
    pub(crate) fn flow_label(&self, src: Ipv6Addr, dst: Ipv6Addr, protocol: Protocol, ports: u32) -> u32 {
        let mut hash = self.key ^ u64::from(protocol.0) ^ (u64::from(ports) << 32);
        for half in [src.to_bits(), dst.to_bits()] {
            // the upper and the lower half
            for word in [(half >> 64) as u64, half as u64] {
                hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                hash ^= hash >> 29;
            }
        }
        ((hash >> 44) as u32).max(1)
    }

    /// A fragment header's identification: random and not 0.
    pub(crate) fn next_v6(&mut self, _src: Ipv6Addr, _dst: Ipv6Addr) -> u32 {
        loop {
            let id = self.rng.next_u32();
            if id != 0 {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pair_counts_up_and_another_pair_does_not_follow() {
        let mut idents = Idents::new(&Rng::new(7, "h"));
        let (a, b, c) =
            (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(192, 0, 2, 3));
        let now = Instant::from_nanos(10);
        let first = idents.next_v4(now, a, b, Protocol::UDP);
        let other = idents.next_v4(now, a, c, Protocol::UDP);
        assert_eq!(idents.next_v4(now, a, b, Protocol::UDP), first.wrapping_add(1));
        assert_ne!(other, first.wrapping_add(1));
    }
}
