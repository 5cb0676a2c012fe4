//! Fields of UDP, TCP and its options, GRE and VXLAN.

use super::{Field, Kind, Out, Scope, row};
use crate::packet::{Network, Transport};
use crate::tcp::{Flags, Header, Opt};
use crate::udp;

fn udp(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl FnOnce(&mut Out<'_>, &udp::Header)) {
    if let Some(h) = s.level.udp() {
        each(o, h);
    }
}

fn tcp(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl FnOnce(&mut Out<'_>, &Header)) {
    if let Some(h) = s.level.tcp() {
        each(o, h);
    }
}

/// The ports of TCP, also of a header that an ICMP error quotes the beginning of.
fn tcp_ports(s: &Scope<'_, '_>) -> Option<(u16, u16)> {
    s.level.ports().filter(|_| s.level.udp().is_none())
}

fn is_tcp(s: &Scope<'_, '_>) -> bool {
    matches!(s.level.transport, Transport::Tcp(_) | Transport::TcpStart { .. })
}

fn flag(s: &Scope<'_, '_>, o: &mut Out<'_>, flag: Flags) {
    tcp(s, o, |o, h| o.put(h.flags.contains(flag)));
}

fn options(s: &Scope<'_, '_>, o: &mut Out<'_>, each: impl Fn(&mut Out<'_>, Opt<'_>)) {
    tcp(s, o, |o, h| {
        for (_, option) in &h.options {
            each(o, option);
        }
    });
}

/// Payload bytes by the IP header's length: also right when the capture cut the packet.
fn tcp_len(s: &Scope<'_, '_>, h: &Header) -> usize {
    let announced = match &s.level.network {
        Network::Ipv4(ip) => ip.payload_len(),
        Network::Ipv6(six) if six.header.payload_len != 0 => {
            usize::from(six.header.payload_len).saturating_sub(six.extensions.len())
        }
        _ => s.level.segment.len(),
    };
    announced.saturating_sub(h.header_len())
}

/// What follows the transport header, also when it is a tunnelled packet.
pub(super) fn payload<'a>(s: &Scope<'_, 'a>) -> Option<&'a [u8]> {
    let segment = s.level.segment;
    let payload = match &s.level.transport {
        Transport::Udp(h) => segment.get(h.header_len()..segment.len().min(h.len.into())),
        Transport::Tcp(h) => segment.get(h.header_len()..),
        _ => None,
    };
    payload.filter(|p| !p.is_empty())
}

pub(super) const FIELDS: &[Field] = &[
    row("udp", Kind::Protocol, "a UDP header", |s, o| o.here(s.level.udp().is_some())),
    row("udp.srcport", Kind::Uint(16), "source port", |s, o| udp(s, o, |o, h| o.put(h.src_port))),
    row("udp.dstport", Kind::Uint(16), "destination port", |s, o| udp(s, o, |o, h| o.put(h.dst_port))),
    row("udp.port", Kind::Uint(16), "source or destination port", |s, o| {
        udp(s, o, |o, h| {
            o.put(h.src_port);
            o.put(h.dst_port);
        });
    }),
    row("udp.length", Kind::Uint(16), "length of header and payload", |s, o| udp(s, o, |o, h| o.put(h.len))),
    row("udp.checksum", Kind::Uint(16), "checksum; 0 is none", |s, o| udp(s, o, |o, h| o.put(h.checksum))),
    row("udp.payload", Kind::Bytes, "payload", |s, o| udp(s, o, |o, _| o.put_some(payload(s)))),
    row("tcp", Kind::Protocol, "a TCP header", |s, o| o.here(is_tcp(s))),
    row("tcp.srcport", Kind::Uint(16), "source port", |s, o| o.put_some(tcp_ports(s).map(|p| p.0))),
    row("tcp.dstport", Kind::Uint(16), "destination port", |s, o| o.put_some(tcp_ports(s).map(|p| p.1))),
    row("tcp.port", Kind::Uint(16), "source or destination port", |s, o| {
        if let Some((src, dst)) = tcp_ports(s) {
            o.put(src);
            o.put(dst);
        }
    }),
    row("tcp.seq_raw", Kind::Uint(32), "sequence number as on the wire", |s, o| {
        tcp(s, o, |o, h| o.put(h.seq.0));
    }),
    row("tcp.ack_raw", Kind::Uint(32), "acknowledgment number as on the wire", |s, o| {
        tcp(s, o, |o, h| o.put(h.ack.0));
    }),
    row("tcp.hdr_len", Kind::Uint(8), "header length in bytes", |s, o| {
        tcp(s, o, |o, h| o.put(h.header_len()))
    }),
    row("tcp.len", Kind::Uint(32), "payload length in bytes", |s, o| tcp(s, o, |o, h| o.put(tcp_len(s, h)))),
    row("tcp.flags", Kind::Uint(12), "all twelve flag bits", |s, o| tcp(s, o, |o, h| o.put(h.flags.0))),
    row("tcp.flags.ae", Kind::Bool, "accurate ECN (once NS)", |s, o| flag(s, o, Flags::AE)),
    row("tcp.flags.cwr", Kind::Bool, "congestion window reduced", |s, o| flag(s, o, Flags::CWR)),
    row("tcp.flags.ece", Kind::Bool, "ECN echo", |s, o| flag(s, o, Flags::ECE)),
    row("tcp.flags.urg", Kind::Bool, "urgent", |s, o| flag(s, o, Flags::URG)),
    row("tcp.flags.ack", Kind::Bool, "acknowledgment", |s, o| flag(s, o, Flags::ACK)),
    row("tcp.flags.push", Kind::Bool, "push", |s, o| flag(s, o, Flags::PSH)),
    row("tcp.flags.reset", Kind::Bool, "reset", |s, o| flag(s, o, Flags::RST)),
    row("tcp.flags.syn", Kind::Bool, "synchronise", |s, o| flag(s, o, Flags::SYN)),
    row("tcp.flags.fin", Kind::Bool, "finish", |s, o| flag(s, o, Flags::FIN)),
    row("tcp.window_size_value", Kind::Uint(16), "window as on the wire, not scaled", |s, o| {
        tcp(s, o, |o, h| o.put(h.window));
    }),
    row("tcp.checksum", Kind::Uint(16), "checksum", |s, o| tcp(s, o, |o, h| o.put(h.checksum))),
    row("tcp.urgent_pointer", Kind::Uint(16), "urgent pointer", |s, o| tcp(s, o, |o, h| o.put(h.urgent))),
    row("tcp.payload", Kind::Bytes, "payload", |s, o| tcp(s, o, |o, _| o.put_some(payload(s)))),
    row("tcp.options", Kind::Bytes, "all options and their padding", |s, o| {
        tcp(s, o, |o, h| {
            if !h.options.is_empty() {
                o.put(h.options.as_bytes());
            }
        });
    }),
    row("tcp.options.nop", Kind::Protocol, "a NOP", |s, o| options(s, o, |o, t| o.here(t == Opt::Nop))),
    row("tcp.options.eol", Kind::Protocol, "end of option list", |s, o| {
        options(s, o, |o, t| o.here(t == Opt::EndOfList));
    }),
    row("tcp.options.mss", Kind::Protocol, "maximum segment size option", |s, o| {
        options(s, o, |o, t| o.here(matches!(t, Opt::Mss(_))));
    }),
    row("tcp.options.mss_val", Kind::Uint(16), "maximum segment size", |s, o| {
        options(s, o, |o, t| {
            if let Opt::Mss(v) = t {
                o.put(v);
            }
        });
    }),
    row("tcp.options.wscale", Kind::Protocol, "window scale option", |s, o| {
        options(s, o, |o, t| o.here(matches!(t, Opt::WindowScale(_))));
    }),
    row("tcp.options.wscale.shift", Kind::Uint(8), "window scale", |s, o| {
        options(s, o, |o, t| {
            if let Opt::WindowScale(v) = t {
                o.put(v);
            }
        });
    }),
    row("tcp.options.sack_perm", Kind::Protocol, "SACK permitted option", |s, o| {
        options(s, o, |o, t| o.here(t == Opt::SackPermitted));
    }),
    row("tcp.options.sack", Kind::Protocol, "SACK option", |s, o| {
        options(s, o, |o, t| o.here(matches!(t, Opt::Sack(_))));
    }),
    row("tcp.options.sack.count", Kind::Uint(8), "number of SACK blocks", |s, o| {
        options(s, o, |o, t| {
            if let Opt::Sack(blocks) = t {
                o.put(blocks.len());
            }
        });
    }),
    row("tcp.options.timestamp", Kind::Protocol, "timestamps option", |s, o| {
        options(s, o, |o, t| o.here(matches!(t, Opt::Timestamps(_))));
    }),
    row("tcp.options.timestamp.tsval", Kind::Uint(32), "timestamp value", |s, o| {
        options(s, o, |o, t| {
            if let Opt::Timestamps(t) = t {
                o.put(t.val);
            }
        });
    }),
    row("tcp.options.timestamp.tsecr", Kind::Uint(32), "timestamp echo reply", |s, o| {
        options(s, o, |o, t| {
            if let Opt::Timestamps(t) = t {
                o.put(t.ecr);
            }
        });
    }),
    row("tcp.options.tfo", Kind::Protocol, "fast open option", |s, o| {
        options(s, o, |o, t| o.here(matches!(t, Opt::FastOpen(_))));
    }),
    row("tcp.options.tfo.request", Kind::Protocol, "fast open cookie request", |s, o| {
        options(s, o, |o, t| o.here(matches!(t, Opt::FastOpen(f) if f.cookie.is_empty())));
    }),
    row("tcp.options.tfo.cookie", Kind::Bytes, "fast open cookie", |s, o| {
        options(s, o, |o, t| {
            if let Opt::FastOpen(f) = t
                && !f.cookie.is_empty()
            {
                o.put(f.cookie);
            }
        });
    }),
    row("tcp.options.md5", Kind::Protocol, "MD5 signature option", |s, o| {
        options(s, o, |o, t| o.here(matches!(t, Opt::Md5(_))));
    }),
    row("gre", Kind::Protocol, "a GRE header", |s, o| o.here(s.level.gre().is_some())),
    row("gre.proto", Kind::Uint(16), "protocol inside", |s, o| {
        o.put_some(s.level.gre().map(|h| h.protocol.0));
    }),
    row("gre.key", Kind::Uint(32), "key", |s, o| o.put_some(s.level.gre().and_then(|h| h.key))),
    row("gre.sequence_number", Kind::Uint(32), "sequence number", |s, o| {
        o.put_some(s.level.gre().and_then(|h| h.sequence));
    }),
    row("vxlan", Kind::Protocol, "a VXLAN header", |s, o| o.here(s.level.vxlan.is_some())),
    row("vxlan.vni", Kind::Uint(24), "network identifier", |s, o| o.put_some(s.level.vxlan.map(|h| h.vni))),
];
