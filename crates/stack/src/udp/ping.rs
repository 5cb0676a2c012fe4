//! Ping sockets: `SOCK_DGRAM` with `IPPROTO_ICMP` or `IPPROTO_ICMPV6`. Linux: net/ipv4/ping.c, net/ipv6/ping.c.
//!
//! The program writes an echo request; the identifier is the socket's port, the checksum is filled in.

use std::net::IpAddr;

use wire::ip::Protocol;
use wire::{Frame, Instant};

use super::receive::takes_host;
use super::send::{Payload, Way};
use crate::call::Domain;
use crate::ip::RxMeta;
use crate::socket::{DgramKind, Sockets};
use crate::{Errno, Stack};

/// Type, code, checksum, identifier, sequence number.
const HEADER_LEN: usize = 8;
const ECHO: u8 = 8;
const ECHO6: u8 = 128;

impl Stack {
    /// An identifier: this one (which others may have, too, measured), or the next free one for 0.
    pub(super) fn ping_get_port(&mut self, sock: u32, port: u16) -> Result<(), Errno> {
        let mut port = port;
        if port == 0 {
            if self.sockets.ping_rover == 0 {
                self.sockets.ping_rover = self.sockets.rng.next_u32() as u16; // any 16 bits
            }
            let (rover, sockets) = (self.sockets.ping_rover, &self.sockets);
            let domain = sockets.dgrams[sock].domain;
            let free = |id: &u16| *id != 0 && sockets.ping_of(domain, *id).is_none();
            port = (1..=u16::MAX).map(|n| rover.wrapping_add(n)).find(free).ok_or(Errno::EADDRINUSE)?;
            self.sockets.ping_rover = port;
        }
        self.sockets.dgrams[sock].port = port;
        self.sockets.pings.push(sock);
        Ok(())
    }

    /// `ping_common_sendmsg`: `EINVAL` unless it is an echo request; checked before the address (measured).
    pub(super) fn ping_check(&self, sock: u32, data: &[u8]) -> Result<(), Errno> {
        let wanted = match self.sockets.dgrams[sock].domain {
            Domain::Inet => ECHO,
            Domain::Inet6 => ECHO6,
        };
        if data.len() < HEADER_LEN || data[0] != wanted || data[1] != 0 { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// `ping_v4_sendmsg`, `ping_v6_sendmsg`.
    pub(super) fn ping_send(&mut self, now: Instant, sock: u32, way: &Way, data: &[u8]) -> Result<(), Errno> {
        let entry = &self.sockets.dgrams[sock];
        let protocol = match entry.domain {
            Domain::Inet => Protocol::ICMP,
            Domain::Inet6 => Protocol::ICMPV6,
        };
        if way.dst.is_ipv4() != (entry.domain == Domain::Inet) {
            return Err(Errno::EINVAL);
        }
        let id = entry.port;
        let mut frame = Payload::Slice(data).frame(0);
        frame.linearize();
        let message = frame.head_mut();
        message[4..6].copy_from_slice(&id.to_be_bytes());
        set_icmp_checksum(way, message);
        self.dgram_output(now, sock, way, protocol, frame)
    }

    /// `ping_rcv`: an echo reply for ping sockets (`SOCK_DGRAM`, `IPPROTO_ICMP`); `frame` starts at the ICMP header.
    pub(crate) fn ping_rcv(&mut self, now: Instant, meta: &RxMeta, frame: &Frame) {
        let Some(id) = frame.head().get(4..6).map(|b| u16::from_be_bytes([b[0], b[1]])) else { return };
        let matches = |s: &&u32| {
            let sock = &self.sockets.dgrams[**s];
            sock.port == id && takes_host(sock, meta)
        };
        if let Some(sock) = self.sockets.pings.iter().find(matches).copied() {
            self.host_queue(now, sock, meta, frame.clone());
        }
    }

    /// `sock_queue_rcv_skb`: takes it unless the buffer is full already.
    pub(super) fn host_queue(&mut self, now: Instant, sock: u32, meta: &RxMeta, frame: Frame) {
        let segment = frame.len()
            - if self.sockets.dgrams[sock].kind == DgramKind::Raw && meta.dst.is_ipv4() {
                usize::from(meta.network_header_len)
            } else {
                0
            };
        let cost = self.cost_of(meta, segment);
        let entry = &mut self.sockets.dgrams[sock];
        if entry.rmem >= entry.opts.rcvbuf {
            entry.drops += 1;
            self.record_drop(now, meta.ifindex, crate::DropReason::SocketRcvbuff, frame.head());
            return;
        }
        self.dgram_queue(now, sock, meta, 0, frame, cost);
    }
}

impl Sockets {
    /// The socket with this echo identifier.
    pub(super) fn ping_of(&self, domain: Domain, id: u16) -> Option<u32> {
        self.pings.iter().find(|s| self.dgrams[**s].port == id && self.dgrams[**s].domain == domain).copied()
    }
}

/// Fills in the checksum of an ICMP or ICMPv6 message.
pub(super) fn set_icmp_checksum(way: &Way, message: &mut [u8]) {
    match (way.src, way.dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => wire::icmpv6::set_checksum(src, dst, message),
        _ => wire::icmpv4::set_checksum(message),
    }
}
