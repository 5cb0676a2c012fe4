//! Fields of ICMP, ICMPv6 with neighbour and listener discovery, and IGMP.

use super::{Field, Kind, Out, Scope, row};
use crate::field::u16_at;
use crate::{icmpv4, icmpv6, igmp, ndp};
use core::net::Ipv6Addr;

use icmpv4::Message as V4;
use icmpv6::Message as V6;
use igmp::Message as Group;

fn icmp(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl FnOnce(&mut Out<'_>, &V4)) {
    if let Some(m) = s.level.icmpv4() {
        each(o, m);
    }
}

fn icmp6(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl FnOnce(&mut Out<'_>, &V6)) {
    if let Some(m) = s.level.icmpv6() {
        each(o, m);
    }
}

fn igmp(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl FnOnce(&mut Out<'_>, &Group)) {
    if let Some(m) = s.level.igmp() {
        each(o, m);
    }
}

/// The checksum as on the wire.
fn checksum(s: &Scope<'_, '_>, o: &mut Out<'_>) {
    o.put(u16_at(s.level.segment, 2)); // a message that was read has at least 8 bytes
}

const fn echo4(m: &V4) -> Option<(u16, u16)> {
    match *m {
        V4::EchoRequest { id, seq }
        | V4::EchoReply { id, seq }
        | V4::TimestampRequest { id, seq, .. }
        | V4::TimestampReply { id, seq, .. }
        | V4::AddressMaskRequest { id, seq, .. }
        | V4::AddressMaskReply { id, seq, .. } => Some((id, seq)),
        _ => None,
    }
}

const fn echo6(m: &V6) -> Option<(u16, u16)> {
    match *m {
        V6::EchoRequest { id, seq } | V6::EchoReply { id, seq } => Some((id, seq)),
        _ => None,
    }
}

fn advert(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl FnOnce(&mut Out<'_>, &ndp::RouterAdvert)) {
    if let Some(V6::Ndp(ndp::Message::RouterAdvert(ra))) = s.level.icmpv6() {
        each(o, ra);
    }
}

fn neighbor(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl FnOnce(&mut Out<'_>, &ndp::NeighborAdvert)) {
    if let Some(V6::Ndp(ndp::Message::NeighborAdvert(na))) = s.level.icmpv6() {
        each(o, na);
    }
}

fn options(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl Fn(&mut Out<'_>, ndp::Opt<'_>)) {
    if let Some(V6::Ndp(_)) = s.level.icmpv6() {
        for option in ndp::options(s.level.payload).map_while(Result::ok) {
            each(o, option);
        }
    }
}

const fn option_type(option: &ndp::Opt<'_>) -> u8 {
    match option {
        ndp::Opt::SourceLinkLayer(_) => 1,
        ndp::Opt::TargetLinkLayer(_) => 2,
        ndp::Opt::PrefixInfo(_) => 3,
        ndp::Opt::RedirectedHeader(_) => 4,
        ndp::Opt::Mtu(_) => 5,
        ndp::Opt::RouteInfo { .. } => 24,
        ndp::Opt::Rdnss { .. } => 25,
        ndp::Opt::Unknown { kind, .. } => *kind,
    }
}

fn mld_records(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl Fn(&mut Out<'_>, icmpv6::MldRecord<'_>)) {
    if let Some(V6::MldReportV2 { records }) = s.level.icmpv6() {
        for record in icmpv6::mld_records(s.level.payload, *records).map_while(Result::ok) {
            each(o, record);
        }
    }
}

fn igmp_records(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl Fn(&mut Out<'_>, igmp::IgmpRecord<'_>)) {
    if let Some(Group::ReportV3 { records }) = s.level.igmp() {
        for record in igmp::igmp_records(s.level.payload, *records).map_while(Result::ok) {
            each(o, record);
        }
    }
}

fn igmp_version(m: &Group) -> Option<u8> {
    Some(match m {
        Group::Query { v3: Some(_), .. } | Group::ReportV3 { .. } => 3,
        Group::Query { max_response_code: 0, .. } | Group::ReportV1 { .. } => 1,
        Group::Query { .. } | Group::ReportV2 { .. } | Group::Leave { .. } => 2,
        Group::Unknown { .. } => return None,
    })
}

/// The group of a version 1 listener message or of a query.
const fn mld_group(m: &V6) -> Option<Ipv6Addr> {
    match *m {
        V6::MldQuery { group, .. } | V6::MldReportV1 { group } | V6::MldDone { group } => Some(group),
        _ => None,
    }
}

pub(super) const FIELDS: &[Field] = &[
    row("icmp", Kind::Protocol, "an ICMP message", |s, o| o.here(s.level.icmpv4().is_some())),
    row(
        "icmp.type",
        Kind::Uint(8),
        "type: 0 echo reply, 3 unreachable, 8 echo request, 11 time exceeded",
        |s, o| {
            icmp(s, o, |o, m| o.put(m.type_code().0));
        },
    ),
    row("icmp.code", Kind::Uint(8), "code", |s, o| icmp(s, o, |o, m| o.put(m.type_code().1))),
    row("icmp.checksum", Kind::Uint(16), "checksum", |s, o| icmp(s, o, |o, _| checksum(s, o))),
    row("icmp.ident", Kind::Uint(16), "identifier of an echo, timestamp or mask message", |s, o| {
        icmp(s, o, |o, m| o.put_some(echo4(m).map(|(id, _)| id)));
    }),
    row("icmp.seq", Kind::Uint(16), "sequence number of such a message", |s, o| {
        icmp(s, o, |o, m| o.put_some(echo4(m).map(|(_, seq)| seq)));
    }),
    row("icmp.mtu", Kind::Uint(16), "next-hop MTU of \"fragmentation needed\"", |s, o| {
        icmp(s, o, |o, m| {
            if let V4::DestinationUnreachable { code: icmpv4::code::ICMP_FRAG_NEEDED, next_hop_mtu } = *m {
                o.put(next_hop_mtu);
            }
        });
    }),
    row("icmp.redir_gw", Kind::Ipv4, "gateway of a redirect", |s, o| {
        icmp(s, o, |o, m| {
            if let V4::Redirect { gateway, .. } = *m {
                o.put(gateway);
            }
        });
    }),
    row("icmpv6", Kind::Protocol, "an ICMPv6 message", |s, o| o.here(s.level.icmpv6().is_some())),
    row(
        "icmpv6.type",
        Kind::Uint(8),
        "type: 1 unreachable, 2 too big, 128 echo, 135 solicitation",
        |s, o| {
            icmp6(s, o, |o, m| o.put(m.type_code().0));
        },
    ),
    row("icmpv6.code", Kind::Uint(8), "code", |s, o| icmp6(s, o, |o, m| o.put(m.type_code().1))),
    row("icmpv6.checksum", Kind::Uint(16), "checksum", |s, o| icmp6(s, o, |o, _| checksum(s, o))),
    row("icmpv6.echo.identifier", Kind::Uint(16), "identifier of an echo", |s, o| {
        icmp6(s, o, |o, m| o.put_some(echo6(m).map(|(id, _)| id)));
    }),
    row("icmpv6.echo.sequence_number", Kind::Uint(16), "sequence number of an echo", |s, o| {
        icmp6(s, o, |o, m| o.put_some(echo6(m).map(|(_, seq)| seq)));
    }),
    row("icmpv6.mtu", Kind::Uint(32), "MTU of \"packet too big\"", |s, o| {
        icmp6(s, o, |o, m| {
            if let V6::PacketTooBig { mtu } = *m {
                o.put(mtu);
            }
        });
    }),
    row("icmpv6.pointer", Kind::Uint(32), "pointer of a parameter problem", |s, o| {
        icmp6(s, o, |o, m| {
            if let V6::ParameterProblem { pointer, .. } = *m {
                o.put(pointer);
            }
        });
    }),
    row("icmpv6.nd.ns.target_address", Kind::Ipv6, "address a solicitation asks for", |s, o| {
        icmp6(s, o, |o, m| {
            if let V6::Ndp(ndp::Message::NeighborSolicit { target }) = *m {
                o.put(target);
            }
        });
    }),
    row("icmpv6.nd.na.target_address", Kind::Ipv6, "address an advertisement is about", |s, o| {
        neighbor(s, o, |o, na| o.put(na.target));
    }),
    row("icmpv6.nd.na.flag.r", Kind::Bool, "advertisement from a router", |s, o| {
        neighbor(s, o, |o, na| o.put(na.router));
    }),
    row("icmpv6.nd.na.flag.s", Kind::Bool, "advertisement that was solicited", |s, o| {
        neighbor(s, o, |o, na| o.put(na.solicited));
    }),
    row("icmpv6.nd.na.flag.o", Kind::Bool, "advertisement that overrides", |s, o| {
        neighbor(s, o, |o, na| o.put(na.override_));
    }),
    row("icmpv6.nd.rd.target_address", Kind::Ipv6, "better first hop of a redirect", |s, o| {
        icmp6(s, o, |o, m| {
            if let V6::Ndp(ndp::Message::Redirect { target, .. }) = *m {
                o.put(target);
            }
        });
    }),
    row("icmpv6.rd.na.destination_address", Kind::Ipv6, "destination of a redirect", |s, o| {
        icmp6(s, o, |o, m| {
            if let V6::Ndp(ndp::Message::Redirect { destination, .. }) = *m {
                o.put(destination);
            }
        });
    }),
    row("icmpv6.nd.ra.cur_hop_limit", Kind::Uint(8), "hop limit to use", |s, o| {
        advert(s, o, |o, ra| o.put(ra.hop_limit));
    }),
    row("icmpv6.nd.ra.flag.m", Kind::Bool, "addresses by DHCPv6", |s, o| {
        advert(s, o, |o, ra| o.put(ra.managed));
    }),
    row("icmpv6.nd.ra.flag.o", Kind::Bool, "other configuration by DHCPv6", |s, o| {
        advert(s, o, |o, ra| o.put(ra.other));
    }),
    row("icmpv6.nd.ra.flag.prf", Kind::Uint(2), "router preference", |s, o| {
        advert(s, o, |o, ra| o.put(ra.preference));
    }),
    row("icmpv6.nd.ra.router_lifetime", Kind::Uint(16), "router lifetime in seconds", |s, o| {
        advert(s, o, |o, ra| o.put(ra.router_lifetime));
    }),
    row("icmpv6.nd.ra.reachable_time", Kind::Uint(32), "reachable time in milliseconds", |s, o| {
        advert(s, o, |o, ra| o.put(ra.reachable_time));
    }),
    row("icmpv6.nd.ra.retrans_timer", Kind::Uint(32), "retransmission timer in milliseconds", |s, o| {
        advert(s, o, |o, ra| o.put(ra.retrans_timer));
    }),
    row("icmpv6.opt.type", Kind::Uint(8), "types of neighbour discovery options", |s, o| {
        options(s, o, |o, option| o.put(option_type(&option)));
    }),
    row("icmpv6.opt.linkaddr", Kind::Bytes, "link-layer address option", |s, o| {
        options(s, o, |o, option| match option {
            ndp::Opt::SourceLinkLayer(mac) | ndp::Opt::TargetLinkLayer(mac) => o.put(&mac.0[..]),
            _ => {}
        });
    }),
    row("icmpv6.opt.prefix", Kind::Ipv6, "prefix of a prefix or route information option", |s, o| {
        options(s, o, |o, option| match option {
            ndp::Opt::PrefixInfo(ndp::PrefixInfo { prefix, .. }) | ndp::Opt::RouteInfo { prefix, .. } => {
                o.put(prefix);
            }
            _ => {}
        });
    }),
    row("icmpv6.opt.prefix.length", Kind::Uint(8), "length of that prefix", |s, o| {
        options(s, o, |o, option| match option {
            ndp::Opt::PrefixInfo(ndp::PrefixInfo { prefix_len, .. })
            | ndp::Opt::RouteInfo { prefix_len, .. } => o.put(prefix_len),
            _ => {}
        });
    }),
    row("icmpv6.opt.mtu", Kind::Uint(32), "MTU option", |s, o| {
        options(s, o, |o, option| {
            if let ndp::Opt::Mtu(mtu) = option {
                o.put(mtu);
            }
        });
    }),
    row("icmpv6.mld.multicast_address", Kind::Ipv6, "group of an MLD query, v1 report or done", |s, o| {
        icmp6(s, o, |o, m| o.put_some(mld_group(m)));
    }),
    row("icmpv6.mldr.nb_mcast_records", Kind::Uint(16), "records in an MLDv2 report", |s, o| {
        icmp6(s, o, |o, m| {
            if let V6::MldReportV2 { records } = *m {
                o.put(records);
            }
        });
    }),
    row("icmpv6.mldr.mar.record_type", Kind::Uint(8), "kind of an MLDv2 record", |s, o| {
        mld_records(s, o, |o, r| o.put(r.kind.0));
    }),
    row("icmpv6.mldr.mar.multicast_address", Kind::Ipv6, "group of an MLDv2 record", |s, o| {
        mld_records(s, o, |o, r| o.put(r.group));
    }),
    row("igmp", Kind::Protocol, "an IGMP message", |s, o| o.here(s.level.igmp().is_some())),
    row("igmp.version", Kind::Uint(8), "version", |s, o| igmp(s, o, |o, m| o.put_some(igmp_version(m)))),
    row("igmp.type", Kind::Uint(8), "type", |s, o| igmp(s, o, |o, m| o.put(m.kind()))),
    row("igmp.max_resp", Kind::Uint(8), "maximum response code, of a query or version 2 message", |s, o| {
        igmp(s, o, |o, m| {
            if matches!(m, Group::Query { .. } | Group::ReportV2 { .. } | Group::Leave { .. }) {
                o.put(s.level.segment[1]); // a message that was read has at least 8 bytes
            }
        });
    }),
    row("igmp.maddr", Kind::Ipv4, "group address", |s, o| {
        igmp(s, o, |o, m| match *m {
            Group::Query { group, .. }
            | Group::ReportV1 { group }
            | Group::ReportV2 { group }
            | Group::Leave { group } => o.put(group),
            Group::ReportV3 { .. } => igmp_records(s, o, |o, r| o.put(r.group)),
            Group::Unknown { .. } => {}
        });
    }),
    row("igmp.num_grp_recs", Kind::Uint(16), "records in a version 3 report", |s, o| {
        igmp(s, o, |o, m| {
            if let Group::ReportV3 { records } = *m {
                o.put(records);
            }
        });
    }),
    row("igmp.record_type", Kind::Uint(8), "kind of a version 3 record", |s, o| {
        igmp_records(s, o, |o, r| o.put(r.kind.0));
    }),
];
