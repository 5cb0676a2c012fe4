//! The short way of TCP over IPv4: segments of connections whose route is known, in and out, with the checks, counters
//! and bytes of the long one.
//!
//! Linux: early demux (`tcp_v4_early_demux`, `sk_rx_dst`) and `__ip_queue_xmit` with a cached route.

use std::net::{Ipv4Addr, SocketAddr};

use wire::checksum::{pseudo_v4, sum, sum_header};
use wire::ip::Protocol;
use wire::tcp::Header;
use wire::{Bytes, Frame, Instant, ipv4, tcp};

use super::glue::{INLINE, Way};
use crate::Stack;
use crate::ip::RxMeta;
use crate::mib::Counter;
use crate::record::IfIndex;
use crate::route::RouteKind;
use crate::socket::sock::pmtudisc;

/// The largest headers: IPv4 without options, TCP with all.
const MAX_HEADERS: usize = ipv4::MIN_HEADER_LEN + tcp::MAX_HEADER_LEN;

impl Stack {
    /// `ip_rcv` and `ip_local_deliver` of an unremarkable packet: no options, no fragment, a TCP segment from somebody
    /// whose packets are known to be for us. Takes its header off. `None`: it has to go the long way, as it is.
    #[inline]
    pub(crate) fn tcp4_arrives(&mut self, ifindex: IfIndex, frame: &mut Frame) -> Option<RxMeta> {
        let h = frame.head().first_chunk::<{ ipv4::MIN_HEADER_LEN }>()?;
        let fragment = u16::from_be_bytes([h[6], h[7]]) & 0x3fff;
        if h[0] != 0x45 || h[9] != Protocol::TCP.0 || fragment != 0 || !sum_header(h).is_valid() {
            return None;
        }
        let total = usize::from(u16::from_be_bytes([h[2], h[3]]));
        let octets = frame.len();
        if total < ipv4::MIN_HEADER_LEN || octets < total || !self.sockets.has_no_raw() {
            return None;
        }
        let addr =
            |at: usize| Ipv4Addr::from_bits(u32::from_be_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]));
        let (src, dst) = (addr(12), addr(16));
        if !self.is_known_arrival(src, dst, ifindex) {
            return None;
        }
        let meta = RxMeta {
            ifindex,
            src: src.into(),
            dst: dst.into(),
            protocol: Protocol::TCP,
            ttl: h[8],
            tos: h[1],
            group: false,
            spec_dst: dst.into(),
            network_header_len: ipv4::MIN_HEADER_LEN as u16, // 20
        };
        self.mib.inc(Counter::IpInReceives);
        self.mib.add(Counter::IpExtInOctets, octets as u64);
        self.mib.inc(crate::ip::ECN_COUNTERS[usize::from(meta.tos & 3)]);
        self.mib.inc(Counter::IpInDelivers);
        if octets > total {
            frame.truncate(total); // Ethernet pads short packets
        }
        frame.pull(ipv4::MIN_HEADER_LEN);
        Some(meta)
    }

    /// Sends a segment by a route to a neighbour, all headers written at once. Gives the payload back when it has to go
    /// the long way.
    #[inline]
    pub(super) fn tcp4_output(
        &mut self,
        now: Instant,
        way: &Way,
        header: &Header,
        payload: Bytes,
        id: u16,
        ect: bool,
    ) -> Result<(), Bytes> {
        let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (way.local, way.remote) else {
            return Err(payload);
        };
        let hlen = header.header_len();
        let len = hlen + payload.len();
        let total = ipv4::MIN_HEADER_LEN + len;
        let plain = way.dst.kind == RouteKind::Unicast && way.discover < pmtudisc::PROBE;
        if !plain || total > way.dst.mtu as usize || total > usize::from(u16::MAX) {
            return Err(payload);
        }
        let (src, dst) = (*local.ip(), *remote.ip());
        let mut h = [0; MAX_HEADERS];
        let pseudo = pseudo_v4(src, dst, Protocol::TCP, len as u16); // looked at above
        header.emit_with_checksum(&mut h[ipv4::MIN_HEADER_LEN..], pseudo, sum(&payload));
        let fixed = h.first_chunk_mut::<{ ipv4::MIN_HEADER_LEN }>().expect("longer");
        let ip = crate::ip::Fixed4 {
            tos: if ect { way.tos & 0xfc | 2 } else { way.tos & 0xfc },
            total: total as u16, // looked at above
            id,
            dont_fragment: way.discover != pmtudisc::DONT && !way.dst.mtu_locked,
            ttl: way.ttl,
            protocol: Protocol::TCP,
            src,
            dst,
        };
        ip.emit(fixed);
        let head = &h[..ipv4::MIN_HEADER_LEN + hlen];
        let frame = if payload.len() <= INLINE {
            Frame::from_parts(head, &payload)
        } else {
            let mut frame = Frame::from_parts(head, &[]);
            frame.set_tail(payload);
            frame
        };
        self.mib.inc(Counter::IpOutRequests);
        self.mib.inc(Counter::IpOutTransmits);
        self.mib.add(Counter::IpExtOutOctets, total as u64);
        self.neigh_output(now, way.dst.ifindex, way.dst.next_hop, frame);
        Ok(())
    }
}

/// One address and port are the other; nothing else of a name counts.
#[inline]
pub(super) fn is_same(a: &SocketAddr, b: &SocketAddr) -> bool {
    match (a, b) {
        (SocketAddr::V4(a), SocketAddr::V4(b)) => a == b,
        (SocketAddr::V6(a), SocketAddr::V6(b)) => a.port() == b.port() && a.ip() == b.ip(),
        _ => false,
    }
}
