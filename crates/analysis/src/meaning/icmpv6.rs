//! ICMPv6, neighbour discovery and MLD in words (tcpdump: print-icmp6.c). Every NDP option is named in the
//! long form.

use std::fmt::Write as _;

use wire::icmpv6::{Message, code};
use wire::ndp;
use wire::quoted::Quoted;

use super::Words;
use super::icmp::{about, lower};
use super::igmp::record_words;
use crate::view::View;

pub(super) fn words(message: &Message, packet: &View) -> Words {
    let len = packet.payload().len() + 8;
    let quoted = packet.quoted();
    let about = about(quoted.as_ref());
    let short = match *message {
        Message::DestinationUnreachable { code } => {
            format!("ICMP6 unreachable {}", unreachable(code, quoted.as_ref()))
        }
        Message::PacketTooBig { mtu } => format!("ICMP6 packet too big, mtu {mtu}{about}"),
        Message::TimeExceeded { code: code::ICMPV6_EXC_HOPLIMIT } => {
            format!("ICMP6 time exceeded in-transit{about}")
        }
        Message::TimeExceeded { code: code::ICMPV6_EXC_FRAGTIME } => {
            format!("ICMP6 ip reassembly time exceeded{about}")
        }
        Message::TimeExceeded { code } => format!("ICMP6 time exceeded code {code}{about}"),
        Message::ParameterProblem { code, pointer } => {
            let what = match code {
                code::ICMPV6_HDR_FIELD => "erroneous",
                code::ICMPV6_UNK_NEXTHDR => "next header",
                code::ICMPV6_UNK_OPTION => "option",
                _ => "code",
            };
            format!("ICMP6 parameter problem, {what} - octet {pointer}{about}")
        }
        Message::EchoRequest { id, seq } => format!("ICMP6 echo request id {id} seq {seq}"),
        Message::EchoReply { id, seq } => format!("ICMP6 echo reply id {id} seq {seq}"),
        Message::MldQuery { group, v2, .. } => {
            let version = if v2.is_some() { "v2" } else { "" };
            let group = if group.is_unspecified() { "all groups".to_string() } else { group.to_string() };
            format!("MLD{version} query {group}")
        }
        Message::MldReportV1 { group } => format!("MLD report {group}"),
        Message::MldDone { group } => format!("MLD done {group}"),
        Message::MldReportV2 { records } => {
            let groups: Vec<String> = wire::icmpv6::mld_records(packet.payload(), records)
                .map_while(Result::ok)
                .map(|r| record_words(r.kind, r.group.into(), r.sources.len()))
                .collect();
            format!("MLDv2 report {}", groups.join(", "))
        }
        Message::Ndp(m) => return ndp_words(m, packet, len),
        Message::Unknown { kind, code, .. } => format!("ICMP6 type {kind} code {code}"),
    };
    let long = format!("{short}, length {len}");
    Words { short, long }
}

fn unreachable(code: u8, quoted: Option<&Quoted<'_>>) -> String {
    let dst = quoted.map_or_else(|| "?".to_string(), |q| q.ip.dst().to_string());
    match code {
        code::ICMPV6_NOROUTE => format!("no route to {dst}"),
        code::ICMPV6_ADM_PROHIBITED => format!("prohibited {dst}"),
        code::ICMPV6_NOT_NEIGHBOUR => format!("beyond scope {dst}"),
        code::ICMPV6_ADDR_UNREACH => format!("address {dst}"),
        code::ICMPV6_PORT_UNREACH => match quoted.and_then(|q| Some((q.protocol, q.ports?.1))) {
            Some((protocol, port)) => format!("{dst} {} port {port}", lower(protocol)),
            None => format!("port {dst}"),
        },
        code::ICMPV6_POLICY_FAIL => format!("source policy failed {dst}"),
        code::ICMPV6_REJECT_ROUTE => format!("reject route to {dst}"),
        other => format!("code {other} {dst}"),
    }
}

fn ndp_words(message: ndp::Message, packet: &View, len: usize) -> Words {
    let source_unspecified = packet.ip().is_some_and(|ip| ip.src.is_unspecified());
    let unicast = packet.ip().is_some_and(|ip| !ip.dst.is_multicast());
    let mut short = match message {
        ndp::Message::RouterSolicit => "NDP router solicitation".to_string(),
        ndp::Message::RouterAdvert(ra) => {
            let mut text = format!("NDP router advert life {}", ra.router_lifetime);
            let flags: String = [(ra.managed, 'M'), (ra.other, 'O')]
                .iter()
                .filter_map(|&(set, letter)| set.then_some(letter))
                .collect();
            if !flags.is_empty() {
                let _ = write!(text, " [{flags}]");
            }
            text
        }
        ndp::Message::NeighborSolicit { target } => {
            let kind = match (source_unspecified, unicast) {
                (true, _) => " (DAD)",
                (false, true) => " (unicast)",
                (false, false) => "",
            };
            format!("NDP who has {target}{kind}")
        }
        ndp::Message::NeighborAdvert(na) => {
            let flags: String = [(na.router, 'R'), (na.solicited, 'S'), (na.override_, 'O')]
                .iter()
                .filter_map(|&(set, letter)| set.then_some(letter))
                .collect();
            format!("NDP tgt is {} [{flags}]", na.target)
        }
        ndp::Message::Redirect { target, destination } => format!("NDP redirect {destination} to {target}"),
    };
    let mut long = match message {
        ndp::Message::RouterSolicit => "ICMP6, router solicitation".to_string(),
        ndp::Message::RouterAdvert(ra) => format!(
            "ICMP6, router advertisement, hop limit {}, lifetime {} s, reachable {} ms, retrans {} ms",
            ra.hop_limit, ra.router_lifetime, ra.reachable_time, ra.retrans_timer
        ),
        ndp::Message::NeighborSolicit { target } => format!("ICMP6, neighbor solicitation, who has {target}"),
        ndp::Message::NeighborAdvert(na) => format!("ICMP6, neighbor advertisement, tgt is {}", na.target),
        ndp::Message::Redirect { target, destination } => {
            format!("ICMP6, redirect, {destination} to {target}")
        }
    };
    for option in ndp::options(packet.payload()).map_while(Result::ok) {
        match option {
            // On the arrow the option says what the target's address is, which is the point of an advert.
            ndp::Opt::TargetLinkLayer(mac) => {
                let _ = write!(short, " {mac}");
                let _ = write!(long, ", destination link-address {mac}");
            }
            ndp::Opt::SourceLinkLayer(mac) => {
                let _ = write!(long, ", source link-address {mac}");
            }
            ndp::Opt::PrefixInfo(p) => {
                let _ = write!(short, " {}/{}", p.prefix, p.prefix_len);
                let _ = write!(
                    long,
                    ", prefix {}/{} valid {} s pref {} s",
                    p.prefix, p.prefix_len, p.valid_lifetime, p.preferred_lifetime
                );
            }
            ndp::Opt::Mtu(mtu) => {
                let _ = write!(long, ", mtu {mtu}");
            }
            ndp::Opt::RouteInfo { prefix, prefix_len, lifetime, .. } => {
                let _ = write!(long, ", route {prefix}/{prefix_len} lifetime {lifetime} s");
            }
            ndp::Opt::Rdnss { servers, .. } => {
                let _ = write!(long, ", {} DNS servers", servers.len());
            }
            ndp::Opt::RedirectedHeader(_) => long.push_str(", redirected header"),
            ndp::Opt::Unknown { kind, .. } => {
                let _ = write!(long, ", option {kind}");
            }
        }
    }
    let _ = write!(long, ", length {len}");
    Words { short, long }
}
