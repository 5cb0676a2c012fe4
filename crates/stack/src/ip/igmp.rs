//! IGMP messages: what is read from queries and reports and what is sent (RFC 2236, RFC 3376). Linux:
//! net/ipv4/igmp.c `igmp_rcv`, `igmp_heard_query`, `igmpv3_newpack`, `igmp_send_report`.

use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr};

use wire::igmp::{self, IgmpRecord, Message, RecordKind};
use wire::ip::Protocol;
use wire::{Frame, Instant};

use super::mcast::{self, Query, Version, float8};
use super::{IpOut, RxMeta};
use crate::record::IfIndex;
use crate::route::{Dst, RouteKind};
use crate::{DropReason, Stack};

const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
const ALL_V3_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
/// Internetwork control.
const TOS: u8 = 0xc0;
/// `IGMP_QUERY_RESPONSE_INTERVAL`, for version 1 queries, which name none.
const V1_RESPONSE: Duration = Duration::from_secs(10);

impl Stack {
    /// `igmp_rcv`: `frame` starts at the IGMP header.
    pub(super) fn igmp_rcv(&mut self, now: Instant, meta: &RxMeta, mut frame: Frame) {
        frame.linearize();
        if !igmp::verify_checksum(frame.head()) {
            return self.drop_transport(now, meta, DropReason::IpCsum, &frame);
        }
        let Ok((message, _)) = Message::parse(frame.head()) else {
            return self.drop_transport(now, meta, DropReason::PktTooSmall, &frame);
        };
        match message {
            Message::Query { max_response_code, group, v3 } => {
                let version = match (v3, max_response_code) {
                    (Some(_), _) => Version::Three,
                    (None, 0) => Version::One,
                    (None, _) => Version::Two,
                };
                let tenths = if version == Version::Three {
                    float8(max_response_code)
                } else {
                    u32::from(max_response_code)
                };
                let query = Query {
                    version,
                    group: (!group.is_unspecified() && version != Version::One).then_some(group.into()),
                    max_response: match version {
                        Version::One => V1_RESPONSE,
                        Version::Two | Version::Three => Duration::from_millis(100) * tenths.max(1),
                    },
                    robustness: v3.map_or(0, |v| v.robustness),
                    interval: v3
                        .map_or(Duration::ZERO, |v| Duration::from_secs(float8(v.interval_code).into())),
                };
                self.membership_query(now, meta.ifindex, mcast::Protocol::Igmp, &query);
            }
            Message::ReportV1 { group } | Message::ReportV2 { group } => {
                // Not our own report, looped back.
                if !self.is_local(meta.src) {
                    self.membership_heard(meta.ifindex, group.into());
                }
            }
            Message::Leave { .. } | Message::ReportV3 { .. } | Message::Unknown { .. } => {}
        }
    }

    /// An IGMPv3 report with these records.
    pub(super) fn igmp_send_records(&mut self, now: Instant, ifindex: IfIndex, records: &[(u8, IpAddr)]) {
        let mtu = self.net_device(ifindex).map_or(1500, |d| d.mtu as usize);
        // 24 bytes of IP header, 8 of IGMP's, 8 for each record.
        let fit = (mtu.saturating_sub(32) / 8).max(1);
        for part in records.chunks(fit) {
            let mut frame = Frame::with_headroom(wire::frame::MAX_HEADROOM, 8 + part.len() * 8);
            let count = u16::try_from(part.len()).expect("as many as fit an MTU");
            Message::ReportV3 { records: count }.emit(frame.put_zeroed(8));
            for (kind, group) in part {
                let IpAddr::V4(group) = *group else { continue };
                let record = IgmpRecord { kind: RecordKind(*kind), group, sources: &[] };
                record.emit(frame.put_zeroed(record.header_len()));
            }
            self.igmp_output(now, ifindex, ALL_V3_ROUTERS, frame);
        }
    }

    /// A report to an older querier: to the group itself.
    pub(super) fn igmp_send_report(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        group: Ipv4Addr,
        version: Version,
    ) {
        let message =
            if version == Version::One { Message::ReportV1 { group } } else { Message::ReportV2 { group } };
        self.igmp_send(now, ifindex, group, message);
    }

    pub(super) fn igmp_send_leave(&mut self, now: Instant, ifindex: IfIndex, group: Ipv4Addr) {
        self.igmp_send(now, ifindex, ALL_ROUTERS, Message::Leave { group });
    }

    fn igmp_send(&mut self, now: Instant, ifindex: IfIndex, to: Ipv4Addr, message: Message) {
        let mut frame = Frame::with_headroom(wire::frame::MAX_HEADROOM, 8);
        message.emit(frame.put_zeroed(8));
        self.igmp_output(now, ifindex, to, frame);
    }

    /// TTL 1, Router Alert, precedence, DF: as all of Linux's IGMP. Without an address the source is 0.0.0.0.
    fn igmp_output(&mut self, now: Instant, ifindex: IfIndex, to: Ipv4Addr, mut frame: Frame) {
        igmp::set_checksum(frame.head_mut());
        let src = self.address_on(ifindex, to);
        let out = IpOut {
            ttl: 1,
            tos: TOS,
            dont_fragment: true,
            router_alert: true,
            multicast_loop: false,
            ..IpOut::new(src.into(), to.into(), Protocol::IGMP)
        };
        let dst = self.group_route(ifindex, src.into(), to.into());
        // It fits: built by the MTU.
        let _ = self.ip_output(now, &dst, &out, frame);
    }

    /// The route of a packet to a group on this interface.
    pub(super) fn group_route(&self, ifindex: IfIndex, src: IpAddr, group: IpAddr) -> Dst {
        Dst {
            kind: RouteKind::Multicast,
            ifindex,
            src,
            next_hop: group,
            via_gateway: false,
            mtu: self.net_device(ifindex).map_or(1500, |d| d.mtu),
            mtu_locked: false,
        }
    }
}
