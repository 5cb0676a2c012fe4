//! Where the time of a page went, read from the packets of one host: DNS, ARP, TCP, TLS, the request, the first byte, the body,
//! and then everything else that the page needed. Only packets decide, taken apart with the run's key log.

use std::net::SocketAddr;

use serde::Serialize;
use stack::record::NodeId;
use wire::Instant;

use crate::dissect::{Dissection, Message};
use crate::traffic::{Traffic, Transmission};

/// A page's way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Phases {
    /// In the order in which they end.
    pub phases: Vec<Phase>,
    /// Packets that the host sent and received.
    pub packets: usize,
    /// Their bytes, link-layer headers included.
    pub bytes: usize,
    /// Packets that were lost on any link meanwhile.
    pub lost: usize,
    /// Round trips until the first byte: for the name, TCP, TLS and the request itself.
    pub round_trips: RoundTrips,
}

/// How often the host had to wait for an answer before it could go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RoundTrips {
    /// For names.
    pub dns: u32,
    /// For TCP's handshake.
    pub tcp: u32,
    /// For TLS's handshake.
    pub tls: u32,
    /// For the answer.
    pub request: u32,
}

impl RoundTrips {
    /// All of them.
    pub fn total(self) -> u32 {
        self.dns + self.tcp + self.tls + self.request
    }
}

/// A part of the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// `dns`, `arp`, `tcp`, `tls`, `request`, `first byte`, `body`, `objects`.
    pub name: &'static str,
    /// When it began.
    pub from_ns: u64,
    /// When it ended.
    pub until_ns: u64,
    /// It never ended: the next one did not begin.
    pub open: bool,
    /// Its packets as the host saw them (`#3`).
    pub packets: Vec<u32>,
}

/// A packet as the host saw it.
struct Seen<'a> {
    at: u64,
    out: bool,
    packet: &'a Transmission,
    messages: Vec<&'a Message>,
    /// The ends, the host's first.
    ends: Option<(SocketAddr, SocketAddr)>,
}

impl Seen<'_> {
    fn any(&self, wanted: impl Fn(&Message) -> bool) -> bool {
        self.messages.iter().any(|message| wanted(message))
    }

    fn syn(&self) -> bool {
        self.packet.view.tcp().is_some_and(|tcp| tcp.flags.contains(wire::tcp::Flags::SYN))
    }
}

/// What one host did between two instants.
pub fn phases(
    traffic: &Traffic,
    dissection: &Dissection,
    host: NodeId,
    from: Instant,
    until: Instant,
) -> Phases {
    let seen = seen(traffic, dissection, host, from, until);
    let mut all = Phases {
        packets: seen.len(),
        bytes: seen.iter().map(|s| s.packet.view.bytes.len()).sum(),
        lost: lost(traffic, from, until),
        ..Phases::default()
    };
    let marks = Marks::of(&seen);
    all.round_trips = marks.round_trips(&seen);
    all.phases = marks.phases(&seen, until.as_nanos());
    all
}

fn seen<'a>(
    traffic: &'a Traffic,
    dissection: &'a Dissection,
    host: NodeId,
    from: Instant,
    until: Instant,
) -> Vec<Seen<'a>> {
    let mut seen: Vec<Seen<'a>> = traffic
        .numbered()
        .filter_map(|packet| {
            let out = packet.from == host;
            let arrival = packet.arrivals.iter().find(|arrival| arrival.node == host);
            let at = if out { packet.at } else { arrival?.at };
            if at < from || at > until {
                return None;
            }
            let layers = dissection.packet(packet.number).map_or(&[][..], |packet| &packet.layers);
            let messages = layers.iter().map(|layer| &layer.message).collect();
            Some(Seen { at: at.as_nanos(), out, packet, messages, ends: ends(packet, out) })
        })
        .collect();
    seen.sort_by_key(|s| (s.at, s.packet.number));
    seen
}

fn ends(packet: &Transmission, out: bool) -> Option<(SocketAddr, SocketAddr)> {
    let ip = packet.view.ip()?;
    let (from, to) = match (packet.view.tcp(), packet.view.udp()) {
        (Some(tcp), _) => (tcp.src_port, tcp.dst_port),
        (None, Some(udp)) => (udp.src_port, udp.dst_port),
        (None, None) => return None,
    };
    let (from, to) = (SocketAddr::new(ip.src, from), SocketAddr::new(ip.dst, to));
    Some(if out { (from, to) } else { (to, from) })
}

/// Packets on any link that were lost.
fn lost(traffic: &Traffic, from: Instant, until: Instant) -> usize {
    let within = |packet: &&Transmission| packet.at >= from && packet.at <= until;
    traffic.numbered().filter(within).filter(|packet| !packet.losses.is_empty()).count()
}

/// Where the phases meet, as indices into what was seen.
#[derive(Default)]
struct Marks {
    /// The connection of the first request.
    ends: Option<(SocketAddr, SocketAddr)>,
    query: Option<usize>,
    answer: Option<usize>,
    arp: Option<usize>,
    arp_reply: Option<usize>,
    syn: Option<usize>,
    syn_ack: Option<usize>,
    hello: Option<usize>,
    shaken: Option<usize>,
    request: Option<usize>,
    first_byte: Option<usize>,
    body: Option<usize>,
}

impl Marks {
    fn of(seen: &[Seen<'_>]) -> Marks {
        let mut marks = Marks::default();
        let request = seen.iter().position(|s| s.out && s.any(|m| matches!(m, Message::HttpRequest { .. })));
        let opened = seen.iter().position(|s| s.out && s.syn());
        let Some(tuple) = request.or(opened).and_then(|at| seen[at].ends) else {
            marks.before(seen, seen.len());
            return marks;
        };
        marks.ends = Some(tuple);
        let on = |s: &Seen<'_>| s.ends == Some(tuple);
        let find = |from: usize, wanted: &dyn Fn(&Seen<'_>) -> bool| {
            seen.iter().enumerate().skip(from).find(|(_, s)| on(s) && wanted(s)).map(|(at, _)| at)
        };
        let handshake = |m: &Message| matches!(m, Message::TlsHandshake { .. });
        marks.syn = find(0, &|s| s.out && s.syn());
        marks.syn_ack = marks.syn.and_then(|at| find(at, &|s| !s.out && s.syn()));
        marks.hello = find(0, &|s| s.out && s.any(handshake));
        marks.request = request;
        let end = request.unwrap_or(seen.len());
        marks.shaken = seen[..end.min(seen.len())]
            .iter()
            .enumerate()
            .rfind(|(_, s)| on(s) && s.any(handshake))
            .map(|(at, _)| at)
            // The client's Finished may share a packet with the request.
            .max(request.filter(|at| seen[*at].any(handshake)))
            .filter(|_| marks.hello.is_some());
        if let Some(at) = request {
            let stream = seen[at].messages.iter().find_map(|m| match m {
                Message::HttpRequest { stream, .. } => Some(*stream),
                _ => None,
            });
            let of = |other: &Option<u64>| stream.is_none_or(|stream| stream == *other);
            marks.first_byte = find(at, &|s| {
                !s.out && s.any(|m| matches!(m, Message::HttpResponse { stream, .. } if of(stream)))
            });
            marks.body = marks.first_byte.and_then(|at| {
                find(at, &|s| {
                    let ends = |m: &Message| matches!(m, Message::HttpBody { end: true, from_client: false, stream, .. } if of(stream));
                    !s.out && s.any(ends)
                })
            });
        }
        // An answer without a body ends with its head.
        let bodies =
            |s: &Seen<'_>| !s.out && s.any(|m| matches!(m, Message::HttpBody { from_client: false, .. }));
        if marks.body.is_none() && marks.first_byte.is_some_and(|at| find(at, &bodies).is_none()) {
            marks.body = marks.first_byte;
        }
        let before = marks.syn.or(request).unwrap_or(seen.len());
        marks.before(seen, before);
        marks
    }

    /// What comes before the connection.
    fn before(&mut self, seen: &[Seen<'_>], end: usize) {
        let question = |m: &Message| matches!(m, Message::DnsQuery { .. });
        let answer = |m: &Message| matches!(m, Message::DnsResponse { .. });
        let arp = |s: &Seen<'_>| s.packet.view.arp().is_some();
        let before = &seen[..end];
        self.query = before.iter().position(|s| s.out && s.any(question));
        self.answer = before.iter().rposition(|s| !s.out && s.any(answer));
        self.arp = seen.iter().position(|s| s.out && arp(s));
        self.arp_reply = self.arp.and_then(|at| (at..seen.len()).find(|n| !seen[*n].out && arp(&seen[*n])));
    }

    fn round_trips(&self, seen: &[Seen<'_>]) -> RoundTrips {
        let mut trips = RoundTrips::default();
        if self.query.is_some() && self.answer.is_some() {
            trips.dns = 1;
        }
        // With Fast Open what comes next went along, and was taken.
        let tcp = |at: Option<usize>| at.and_then(|at| seen[at].packet.view.tcp());
        let fast_open =
            |syn: &wire::tcp::Header, syn_ack: &wire::tcp::Header| syn_ack.ack.0 != syn.seq.0.wrapping_add(1);
        if let (Some(syn), Some(syn_ack)) = (tcp(self.syn), tcp(self.syn_ack)) {
            trips.tcp = u32::from(!fast_open(syn, syn_ack));
        }
        trips.request = u32::from(self.first_byte.is_some());
        // Each flight of the server's handshake that the client waited for before it asked.
        let end = self.request.unwrap_or(seen.len());
        let mut asked = false;
        for s in seen[..end].iter().filter(|s| s.ends == self.ends) {
            if s.any(|m| matches!(m, Message::TlsHandshake { .. })) {
                trips.tls += u32::from(asked && !s.out);
                asked = s.out;
            }
        }
        trips
    }

    fn phases(&self, seen: &[Seen<'_>], until: u64) -> Vec<Phase> {
        let span = |name, from: Option<usize>, to: Option<usize>| {
            let from = seen[from?].at;
            let until_ns = to.map_or(until, |to| seen[to].at);
            Some(Phase { name, from_ns: from, until_ns, open: to.is_none(), packets: Vec::new() })
        };
        let mut phases: Vec<Phase> = [
            span("dns", self.query, self.answer),
            span("arp", self.arp, self.arp_reply),
            span("tcp", self.syn, self.syn_ack),
            span("tls", self.hello, self.shaken),
            span("request", self.request, self.request),
            span("first byte", self.request, self.first_byte),
            span("body", self.first_byte, self.body),
        ]
        .into_iter()
        .flatten()
        .collect();
        if let Some(body) = self.body {
            let last = seen.last().map_or(until, |s| s.at);
            phases.push(Phase {
                name: "objects",
                from_ns: seen[body].at,
                until_ns: last,
                open: false,
                packets: Vec::new(),
            });
        }
        for (at, s) in seen.iter().enumerate() {
            let name = self.phase_of(seen, at);
            if let Some(phase) = phases.iter_mut().find(|phase| phase.name == name) {
                phase.packets.push(s.packet.number);
            }
        }
        phases
    }

    fn phase_of(&self, seen: &[Seen<'_>], at: usize) -> &'static str {
        let s = &seen[at];
        let after = |mark: Option<usize>| mark.is_some_and(|mark| at > mark);
        if s.packet.view.arp().is_some() {
            return "arp";
        }
        if s.ends != self.ends || self.ends.is_none() {
            let name = s.any(|m| matches!(m, Message::DnsQuery { .. } | Message::DnsResponse { .. }));
            let early = self.syn.or(self.request).is_none_or(|mark| at < mark);
            return if name && early { "dns" } else { "objects" };
        }
        if after(self.body) {
            "objects"
        } else if after(self.first_byte) {
            "body"
        } else if after(self.request) {
            "first byte"
        } else if self.request == Some(at) {
            "request"
        } else if self.hello.is_some_and(|mark| at >= mark) {
            "tls"
        } else {
            "tcp"
        }
    }
}
