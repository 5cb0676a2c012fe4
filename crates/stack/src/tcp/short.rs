//! The short way of TCP over IPv4: segments of connections whose route is known, in and out, with the checks, counters
//! and bytes of the long one.
//!
//! Linux: early demux (`tcp_v4_early_demux`, `sk_rx_dst`) and `__ip_queue_xmit` with a cached route.

use std::net::{Ipv4Addr, SocketAddr};

use wire::checksum::{pseudo_v4, sum, sum_header};
use wire::frame::LINK_HEADROOM;
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

/// Payload of a super-segment: with the largest headers it is an IPv4 packet.
pub(super) const MAX_SUPER: usize = 65_535 - MAX_HEADERS;

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

    /// The interface cuts segments itself (`sk_can_gso`).
    pub(super) fn takes_super_segments(&self, way: &Way) -> bool {
        self.ifaces.get(way.dst.ifindex).is_some_and(|iface| iface.tso)
            && way.dst.kind == RouteKind::Unicast
            && way.discover < pmtudisc::PROBE
            && way.remote.is_ipv4()
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
        let fits = total <= way.dst.mtu as usize || self.takes_super_segments(way);
        if !plain || !fits || total > usize::from(u16::MAX) {
            return Err(payload);
        }
        let (src, dst) = (*local.ip(), *remote.ip());
        let inline = payload.len() <= INLINE;
        let mut frame = Frame::with_headroom_and(
            LINK_HEADROOM,
            ipv4::MIN_HEADER_LEN + hlen,
            if inline { payload.len() } else { 0 },
        );
        let h = frame.head_mut();
        let pseudo = pseudo_v4(src, dst, Protocol::TCP, len as u16); // looked at above
        header.emit_with_checksum(&mut h[ipv4::MIN_HEADER_LEN..], pseudo, sum(&payload));
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
        ip.emit(h.first_chunk_mut::<{ ipv4::MIN_HEADER_LEN }>().expect("longer"));
        if !inline {
            frame.set_tail(payload);
        } else if !payload.is_empty() {
            frame.put(&payload);
        }
        frame.set_checksummed();
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

#[cfg(test)]
mod tests {
    use wire::{MacAddr, Medium};

    use super::*;
    use crate::StackConfig;
    use crate::call::{Call, Domain, Fd, Outcome, Ret, SockAddr, SockType};
    use crate::socket::Pid;

    const MTU: usize = 1500;

    fn host(n: u8) -> (Stack, IfIndex, Pid) {
        let mut stack =
            Stack::new(StackConfig { name: format!("h{n}"), record: false, ..StackConfig::default() });
        let nic = stack.add_interface("tun0", Medium::Ip, MacAddr::ZERO, MTU as u32);
        stack.link_set_carrier(Instant::ZERO, nic, true).expect("just made");
        stack.link_set_up(Instant::ZERO, nic, true).expect("just made");
        stack.addr_add(Instant::ZERO, nic, Ipv4Addr::new(192, 0, 2, n).into(), 24).expect("new");
        let pid = stack.spawn();
        (stack, nic, pid)
    }

    fn done(stack: &mut Stack, now: Instant, pid: Pid, call: &Call) -> Result<Ret, crate::Errno> {
        match stack.call(now, pid, call) {
            Outcome::Done(result) => result,
            Outcome::Block { .. } => panic!("{call:?} blocks"),
        }
    }

    fn fd(result: Result<Ret, crate::Errno>) -> Fd {
        match result {
            Ok(Ret::Fd(fd, _)) => fd,
            other => panic!("{other:?}"),
        }
    }

    /// What `send` writes arrives; the frames that carried it. With `tso` the sender's interface cuts segments.
    fn transfer(tso: bool, data: &[u8]) -> Vec<Frame> {
        let (mut a, a_nic, a_pid) = host(1);
        let (mut b, b_nic, b_pid) = host(2);
        a.link_set_tso(a_nic, tso).expect("an interface");
        let now = Instant::from_secs(5);
        let stream = Call::Socket { domain: Domain::Inet, ty: SockType::Stream, protocol: 0, nonblock: true };
        let listener = fd(done(&mut b, now, b_pid, &stream));
        let addr = SockAddr::Ip(SocketAddr::from(([192, 0, 2, 2], 80)));
        done(&mut b, now, b_pid, &Call::Bind { fd: listener, addr }).expect("free");
        done(&mut b, now, b_pid, &Call::Listen { fd: listener, backlog: 1 }).expect("bound");
        let client = fd(done(&mut a, now, a_pid, &stream));
        let _ = done(&mut a, now, a_pid, &Call::Connect { fd: client, addr });
        let (mut sent, mut got, mut frames, mut server) = (0, Vec::new(), Vec::new(), None);
        let mut buffer = vec![0; 1 << 16];
        for turn in 0..10_000 {
            let now = now + core::time::Duration::from_micros(turn * 100);
            a.handle_timeout(now);
            b.handle_timeout(now);
            sent += a.send_from(now, a_pid, client, &data[sent..]).unwrap_or(0);
            while let Some((_, frame)) = a.poll_transmit() {
                frames.push(frame.clone());
                b.handle_frame(now, b_nic, frame);
            }
            if server.is_none()
                && let Ok(Ret::Fd(fd, _)) =
                    done(&mut b, now, b_pid, &Call::Accept { fd: listener, nonblock: true })
            {
                server = Some(fd);
            }
            if let Some(fd) = server {
                while let Ok(n) = b.recv_into(now, b_pid, fd, &mut buffer) {
                    got.extend_from_slice(&buffer[..n]);
                }
            }
            while let Some((_, frame)) = b.poll_transmit() {
                a.handle_frame(now, a_nic, frame);
            }
            if got.len() == data.len() {
                break;
            }
        }
        assert!(got == data, "{} of {} bytes arrived as they were", got.len(), data.len());
        frames
    }

    /// `ip_select_ident_segs`: a super-segment takes as many identifications as segments.
    #[test]
    fn super_segments_carry_the_same_bytes_and_count_identifications_by_segment() {
        let data: Vec<u8> = (0..500_000u32).map(|i| (i * 31 % 251) as u8).collect();
        let cut = transfer(false, &data);
        let whole = transfer(true, &data);
        assert!(cut.iter().all(|f| f.len() <= MTU));
        assert!(whole.iter().any(|f| f.len() > 10 * MTU), "the window allows more than ten segments");
        assert!(whole.len() * 5 < cut.len());
        let mut next = None;
        for frame in whole.iter().filter(|f| f.head()[0] == 0x45 && f.len() > 60) {
            let id = u16::from_be_bytes([frame.head()[4], frame.head()[5]]);
            assert!(next.is_none_or(|next| next == id), "{next:?} then {id}");
            let payload = frame.len() - 52;
            next = Some(id.wrapping_add(payload.div_ceil(1448) as u16));
        }
    }
}
