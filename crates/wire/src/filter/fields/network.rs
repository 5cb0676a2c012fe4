//! Fields of IPv4 and IPv6.

use super::{Field, Kind, Out, Scope, row, v4_pair};
use crate::ip::Protocol;
use crate::ipv4::{Header, Opt};
use crate::ipv6::{self, ext};
use crate::packet::Ipv6;

fn ip(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl FnOnce(&mut Out<'_>, &Header)) {
    if let Some(h) = s.level.ipv4() {
        each(o, h);
    }
}

fn six(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl FnOnce(&mut Out<'_>, &ipv6::Header)) {
    if let Some(h) = s.level.ipv6() {
        each(o, &h.header);
    }
}

fn extensions(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl Fn(&mut Out<'_>, ext::ExtHeader<'_>)) {
    for header in s.level.ipv6().into_iter().flat_map(Ipv6::extensions) {
        each(o, header);
    }
}

fn fraghdr(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl Fn(&mut Out<'_>, ipv6::FragmentHeader)) {
    extensions(s, o, |o, h| {
        if h.kind == Protocol::FRAGMENT
            && let Ok((f, _)) = ipv6::FragmentHeader::parse(h.bytes)
        {
            each(o, f);
        }
    });
}

pub(super) const FIELDS: &[Field] = &[
    row("ip", Kind::Protocol, "an IPv4 header", |s, o| o.here(s.level.ipv4().is_some())),
    row("ip.version", Kind::Uint(4), "version of either IP: 4 or 6", |s, o| {
        ip(s, o, |o, _| o.put(4_u8));
        six(s, o, |o, _| o.put(6_u8));
    }),
    row("ip.hdr_len", Kind::Uint(8), "header length in bytes", |s, o| ip(s, o, |o, h| o.put(h.header_len()))),
    row("ip.dsfield", Kind::Uint(8), "type of service: DSCP and ECN", |s, o| ip(s, o, |o, h| o.put(h.tos))),
    row("ip.dsfield.dscp", Kind::Uint(6), "DSCP", |s, o| ip(s, o, |o, h| o.put(h.tos >> 2))),
    row("ip.dsfield.ecn", Kind::Uint(2), "ECN: 0 not capable, 1 ECT(1), 2 ECT(0), 3 CE", |s, o| {
        ip(s, o, |o, h| o.put(h.tos & 3));
    }),
    row("ip.len", Kind::Uint(16), "total length in bytes", |s, o| ip(s, o, |o, h| o.put(h.total_len))),
    row("ip.id", Kind::Uint(16), "identification", |s, o| ip(s, o, |o, h| o.put(h.id))),
    row("ip.flags.rb", Kind::Bool, "reserved bit", |s, o| ip(s, o, |o, h| o.put(h.reserved_flag))),
    row("ip.flags.df", Kind::Bool, "don't fragment", |s, o| ip(s, o, |o, h| o.put(h.dont_fragment))),
    row("ip.flags.mf", Kind::Bool, "more fragments", |s, o| ip(s, o, |o, h| o.put(h.more_fragments))),
    row("ip.frag_offset", Kind::Uint(13), "fragment offset in units of 8 bytes", |s, o| {
        ip(s, o, |o, h| o.put(h.frag_offset / 8));
    }),
    row("ip.ttl", Kind::Uint(8), "time to live", |s, o| ip(s, o, |o, h| o.put(h.ttl))),
    row("ip.proto", Kind::Uint(8), "protocol: 1 ICMP, 6 TCP, 17 UDP", |s, o| {
        ip(s, o, |o, h| o.put(h.protocol.0));
    }),
    row("ip.checksum", Kind::Uint(16), "header checksum", |s, o| ip(s, o, |o, h| o.put(h.checksum))),
    row("ip.src", Kind::Ipv4, "source address", |s, o| o.put_some(v4_pair(s).map(|(src, _)| src))),
    row("ip.dst", Kind::Ipv4, "destination address", |s, o| o.put_some(v4_pair(s).map(|(_, dst)| dst))),
    row("ip.addr", Kind::Ipv4, "source or destination address", |s, o| {
        if let Some((src, dst)) = v4_pair(s) {
            o.put(src);
            o.put(dst);
        }
    }),
    row("ip.opt.type", Kind::Uint(8), "types of the options", |s, o| {
        ip(s, o, |o, h| {
            let bytes = h.options.as_bytes();
            for (at, _) in h.options.iter().flatten() {
                o.put(bytes[at]);
            }
        });
    }),
    row("ip.opt.ra", Kind::Uint(16), "router alert option", |s, o| {
        ip(s, o, |o, h| {
            for (_, option) in h.options.iter().flatten() {
                if let Opt::RouterAlert(v) = option {
                    o.put(v);
                }
            }
        });
    }),
    row("ipv6", Kind::Protocol, "an IPv6 header", |s, o| o.here(s.level.ipv6().is_some())),
    row("ipv6.version", Kind::Uint(4), "version: 6", |s, o| six(s, o, |o, _| o.put(6_u8))),
    row("ipv6.tclass", Kind::Uint(8), "traffic class: DSCP and ECN", |s, o| {
        six(s, o, |o, h| o.put(h.traffic_class));
    }),
    row("ipv6.tclass.dscp", Kind::Uint(6), "DSCP", |s, o| six(s, o, |o, h| o.put(h.traffic_class >> 2))),
    row("ipv6.tclass.ecn", Kind::Uint(2), "ECN", |s, o| six(s, o, |o, h| o.put(h.traffic_class & 3))),
    row("ipv6.flow", Kind::Uint(20), "flow label", |s, o| six(s, o, |o, h| o.put(h.flow_label))),
    row("ipv6.plen", Kind::Uint(16), "payload length in bytes", |s, o| {
        six(s, o, |o, h| o.put(h.payload_len))
    }),
    row("ipv6.nxt", Kind::Uint(8), "next header", |s, o| six(s, o, |o, h| o.put(h.next_header.0))),
    row("ipv6.hlim", Kind::Uint(8), "hop limit", |s, o| six(s, o, |o, h| o.put(h.hop_limit))),
    row("ipv6.src", Kind::Ipv6, "source address", |s, o| six(s, o, |o, h| o.put(h.src))),
    row("ipv6.dst", Kind::Ipv6, "destination address", |s, o| six(s, o, |o, h| o.put(h.dst))),
    row("ipv6.addr", Kind::Ipv6, "source or destination address", |s, o| {
        six(s, o, |o, h| {
            o.put(h.src);
            o.put(h.dst);
        });
    }),
    row("ipv6.hopopts", Kind::Protocol, "a hop-by-hop options header", |s, o| {
        extensions(s, o, |o, h| o.here(h.kind == Protocol::HOPOPTS));
    }),
    row("ipv6.dstopts", Kind::Protocol, "a destination options header", |s, o| {
        extensions(s, o, |o, h| o.here(h.kind == Protocol::DSTOPTS));
    }),
    row("ipv6.routing", Kind::Protocol, "a routing header", |s, o| {
        extensions(s, o, |o, h| o.here(h.kind == Protocol::ROUTING));
    }),
    row("ipv6.opt.router_alert", Kind::Uint(16), "router alert option", |s, o| {
        extensions(s, o, |o, h| {
            for (_, option) in h.options().flatten() {
                if let ext::Opt::RouterAlert(v) = option {
                    o.put(v);
                }
            }
        });
    }),
    row("ipv6.fraghdr", Kind::Protocol, "a fragment header", |s, o| fraghdr(s, o, |o, _| o.put(()))),
    row("ipv6.fraghdr.offset", Kind::Uint(13), "fragment offset in units of 8 bytes", |s, o| {
        fraghdr(s, o, |o, f| o.put(f.offset / 8));
    }),
    row("ipv6.fraghdr.more", Kind::Bool, "more fragments", |s, o| fraghdr(s, o, |o, f| o.put(f.more))),
    row("ipv6.fraghdr.ident", Kind::Uint(32), "identification", |s, o| fraghdr(s, o, |o, f| o.put(f.id))),
];
