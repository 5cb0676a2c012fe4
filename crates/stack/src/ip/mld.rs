//! MLD messages: what is read from queries and reports and what is sent (RFC 2710, RFC 3810). Linux:
//! net/ipv6/mcast.c `igmp6_event_query`, `mld_newpack`, `igmp6_send`.

use core::time::Duration;
use std::net::{IpAddr, Ipv6Addr};

use wire::icmpv6::{self, Message, MldRecord, RecordKind};
use wire::ip::Protocol;
use wire::{Frame, Instant};

use super::mcast::{self, Query, Version, float8, float16};
use super::{IpOut, RxMeta};
use crate::record::IfIndex;
use crate::{DropReason, Stack};

const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const ALL_V2_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

impl Stack {
    /// `igmp6_event_query`, `igmp6_event_report`: `frame` starts at the ICMPv6 header, whose checksum is right.
    pub(crate) fn mld_rcv(&mut self, now: Instant, meta: &RxMeta, frame: &Frame) {
        let Ok((message, _)) = Message::parse(frame.head()) else {
            return self.drop_transport(now, meta, DropReason::PktTooSmall, frame);
        };
        let link_local = matches!(meta.src, IpAddr::V6(s) if s.is_unicast_link_local());
        match message {
            Message::MldQuery { max_response_code, group, v2 } => {
                // RFC 3810 §5.1.14: from the link only.
                if !link_local || meta.ttl != 1 {
                    return self.drop_transport(now, meta, DropReason::InvalidProto, frame);
                }
                let ms = if v2.is_some() { float16(max_response_code) } else { max_response_code.into() };
                let query = Query {
                    version: if v2.is_some() { Version::Three } else { Version::Two },
                    group: (!group.is_unspecified()).then_some(group.into()),
                    max_response: Duration::from_millis(ms.max(1).into()),
                    robustness: v2.map_or(0, |v| v.robustness),
                    interval: v2
                        .map_or(Duration::ZERO, |v| Duration::from_secs(float8(v.interval_code).into())),
                };
                self.membership_query(now, meta.ifindex, mcast::Protocol::Mld, &query);
            }
            Message::MldReportV1 { group } if !self.is_local(meta.src) => {
                self.membership_heard(meta.ifindex, group.into());
            }
            _ => {}
        }
    }

    /// An MLDv2 report with these records.
    pub(super) fn mld_send_records(&mut self, now: Instant, ifindex: IfIndex, records: &[(u8, IpAddr)]) {
        let mtu = self.net_device(ifindex).map_or(1280, |d| d.mtu as usize);
        // 48 bytes of IPv6 and hop-by-hop headers, 8 of MLD's, 20 for each record.
        let fit = (mtu.saturating_sub(56) / 20).max(1);
        for part in records.chunks(fit) {
            let mut frame = Frame::with_headroom(wire::frame::MAX_HEADROOM, 8 + part.len() * 20);
            let count = u16::try_from(part.len()).expect("as many as fit an MTU");
            Message::MldReportV2 { records: count }.emit(frame.put_zeroed(8));
            for (kind, group) in part {
                let IpAddr::V6(group) = *group else { continue };
                let record = MldRecord { kind: RecordKind(*kind), group, sources: &[] };
                record.emit(frame.put_zeroed(record.header_len()));
            }
            self.mld_output(now, ifindex, ALL_V2_ROUTERS, frame);
        }
    }

    /// A report to an MLDv1 querier: to the group itself.
    pub(super) fn mld_send_report(&mut self, now: Instant, ifindex: IfIndex, group: Ipv6Addr) {
        self.mld_send(now, ifindex, group, Message::MldReportV1 { group });
    }

    pub(super) fn mld_send_done(&mut self, now: Instant, ifindex: IfIndex, group: Ipv6Addr) {
        self.mld_send(now, ifindex, ALL_ROUTERS, Message::MldDone { group });
    }

    fn mld_send(&mut self, now: Instant, ifindex: IfIndex, to: Ipv6Addr, message: Message) {
        let mut frame = Frame::with_headroom(wire::frame::MAX_HEADROOM, message.header_len());
        message.emit(frame.put_zeroed(message.header_len()));
        self.mld_output(now, ifindex, to, frame);
    }

    /// Hop limit 1, Router Alert; from the link-local address, or `::` before there is one (RFC 3590).
    fn mld_output(&mut self, now: Instant, ifindex: IfIndex, to: Ipv6Addr, mut frame: Frame) {
        if !self.ipv6_enabled(ifindex) {
            return;
        }
        let src = self.link_local_on(ifindex).unwrap_or(Ipv6Addr::UNSPECIFIED);
        icmpv6::set_checksum(src, to, frame.head_mut());
        let out = IpOut {
            ttl: 1,
            router_alert: true,
            multicast_loop: false,
            ..IpOut::new(src.into(), to.into(), Protocol::ICMPV6)
        };
        let dst = self.group_route(ifindex, src.into(), to.into());
        // It fits: built by the MTU.
        let _ = self.ip_output(now, &dst, &out, frame);
    }
}
