//! Raw sockets. Linux: net/ipv4/raw.c, net/ipv6/raw.c.
//!
//! IPv4's receive the IP header, IPv6's do not; sent is the transport's part, or with `IP_HDRINCL` the whole packet.

use wire::ip::Protocol;
use wire::{Frame, Instant};

use super::ping::set_icmp_checksum;
use super::receive::takes_host;
use super::send::{Payload, Way};
use crate::call::Domain;
use crate::icmp::IcmpReport;
use crate::ip::RxMeta;
use crate::{Errno, Stack};

impl Stack {
    pub(super) fn raw_send(
        &mut self,
        now: Instant,
        sock: u32,
        way: &Way,
        payload: &Payload<'_>,
    ) -> Result<(), Errno> {
        let entry = &self.sockets.dgrams[sock];
        let protocol = entry.protocol;
        let mut frame = payload.frame(0);
        if entry.opts.hdrincl && way.dst.is_ipv4() {
            return self.ip_output_hdrincl(now, &way.route, frame);
        }
        if protocol == Protocol::ICMPV6 {
            // The kernel fills in ICMPv6's checksum whether asked or not.
            frame.linearize();
            if frame.len() >= 4 {
                set_icmp_checksum(way, frame.head_mut());
            }
        }
        self.dgram_output(now, sock, way, protocol, frame)
    }

    /// `raw_local_deliver`: every delivered packet is offered to raw sockets first; `frame` starts at the transport
    /// header. Returns whether a raw socket of this protocol took a copy (then no "protocol unreachable").
    pub(crate) fn raw_rcv(&mut self, now: Instant, meta: &RxMeta, frame: &Frame) -> bool {
        if self.sockets.raws.is_empty() {
            return false;
        }
        let takers: Vec<u32> = self
            .sockets
            .raws
            .iter()
            .filter(|s| {
                let sock = &self.sockets.dgrams[**s];
                sock.protocol == meta.protocol && sock.protocol != Protocol::RAW && takes_host(sock, meta)
            })
            .copied()
            .collect();
        for sock in &takers {
            if self.icmp_filtered(*sock, meta, frame) {
                continue;
            }
            let mut copy = frame.clone();
            if meta.dst.is_ipv4() {
                copy.push(meta.network_header_len.into());
            }
            self.host_queue(now, *sock, meta, copy);
        }
        !takers.is_empty()
    }

    /// `icmp_filter`: types below 32 by the mask.
    fn icmp_filtered(&self, sock: u32, meta: &RxMeta, frame: &Frame) -> bool {
        let mask = self.sockets.dgrams[sock].opts.icmp_filter;
        match frame.head().first() {
            Some(ty) if meta.protocol == Protocol::ICMP && *ty < 32 => mask >> ty & 1 != 0,
            _ => false,
        }
    }

    /// `raw_icmp_error` and `ping_err`: an ICMP error quotes a packet that no other transport claims, or ICMP echo.
    pub(crate) fn raw_err(&mut self, _now: Instant, report: &IcmpReport, protocol: Protocol, quoted: &[u8]) {
        let echo = match quoted.first() {
            Some(8) if protocol == Protocol::ICMP => Some(Domain::Inet),
            Some(128) if protocol == Protocol::ICMPV6 => Some(Domain::Inet6),
            _ => None,
        };
        if let (Some(domain), Some(id)) = (echo, quoted.get(4..6))
            && let Some(sock) = self.sockets.ping_of(domain, u16::from_be_bytes([id[0], id[1]]))
        {
            self.dgram_error(sock, report, 0, quoted);
        }
        let takers: Vec<u32> = self
            .sockets
            .raws
            .iter()
            .filter(|s| {
                let sock = &self.sockets.dgrams[**s];
                sock.protocol == protocol
                    && (sock.rcv_addr.is_unspecified() || sock.rcv_addr == report.local)
                    && sock.peer.is_none_or(|(addr, _)| addr == report.remote)
                    && (sock.domain == Domain::Inet6) == report.local.is_ipv6()
            })
            .copied()
            .collect();
        for sock in takers {
            self.dgram_error(sock, report, 0, quoted);
        }
    }
}
