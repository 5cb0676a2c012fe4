//! One packet through the translator: which flow it belongs to, and what is written into it.
//!
//! Linux: nf_nat_core.c `nf_nat_inet_fn`, nf_nat_proto.c `nf_nat_icmp_reply_translation` for errors.

use core::time::Duration;
use std::net::Ipv4Addr;

use stack::rng::Rng;
use wire::checksum::sum;
use wire::ip::Protocol;
use wire::tcp::Flags;
use wire::{Frame, Instant, Medium};

use super::hairpin::Hairpins;
use super::rewrite::{Seen, Side, Upper, rewrite};
use super::state::{Life, Way};
use super::table::{FlowKey, Peer, Table};
use super::{NatConfig, NatKind};

/// Whether a packet goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// It does, changed or not.
    Yes,
    /// It ends here: no port is free, the table is full, or the filter does not let it in.
    No,
}

/// A datagram whose first fragment was translated, for those that follow.
#[derive(Clone, Copy, Debug)]
struct Fragments {
    seen: Instant,
    src: Ipv4Addr,
    dst: Ipv4Addr,
    id: u16,
    protocol: Protocol,
    side: Side,
    to: Ipv4Addr,
}

/// Datagrams whose later fragments are awaited; the oldest gives way.
const MAX_FRAGMENTED: usize = 256;
/// As long as `ipfrag_time`.
const FRAGMENT_TIME: Duration = Duration::from_secs(30);

/// An address translator.
#[derive(Debug)]
pub(crate) struct Nat {
    pub(super) config: NatConfig,
    pub(super) table: Table,
    medium: Medium,
    fragments: Vec<Fragments>,
    pub(super) hairpins: Hairpins,
}

impl Nat {
    pub(crate) fn new(config: NatConfig, medium: Medium, rng: Rng) -> Nat {
        let table = Table::new(config.kind, config.limit, rng);
        Nat { config, table, medium, fragments: Vec::new(), hairpins: Hairpins::default() }
    }

    pub(crate) fn wan(&self) -> u32 {
        self.config.wan
    }

    pub(crate) fn hairpins(&self) -> bool {
        self.config.hairpin
    }

    /// Flows in the table and how many may be.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.table.len(), self.config.limit)
    }

    /// A packet leaves by the outside interface (POSTROUTING).
    pub(crate) fn outbound(&mut self, now: Instant, frame: &mut Frame) -> Pass {
        let Some(at) = network_header(frame, self.medium) else { return Pass::Yes };
        let Some(seen) = Seen::parse(&frame.head()[at..]) else { return Pass::Yes };
        if seen.dst.is_multicast() || seen.dst.is_broadcast() {
            return Pass::Yes;
        }
        if seen.later_fragment {
            return self.later_fragment(now, frame, at, &seen, Side::Src);
        }
        let (key, way_if_new) = match seen.upper {
            Upper::Error => return self.error_outbound(now, frame, at, &seen),
            Upper::Ports(sport, dport) => {
                let (inside, remote) = ((seen.src, sport), (seen.dst, dport));
                (FlowKey { protocol: seen.protocol, inside, remote }, Way::Original)
            }
            Upper::Query(id, request) => {
                let way = if request { Way::Original } else { Way::Reply };
                (FlowKey { protocol: seen.protocol, inside: (seen.src, id), remote: (seen.dst, 0) }, way)
            }
            Upper::None => (
                FlowKey { protocol: seen.protocol, inside: (seen.src, 0), remote: (seen.dst, 0) },
                Way::Original,
            ),
        };
        let flags = tcp_flags(frame, at, &seen);
        let timeouts = self.config.timeouts;
        if self.table.by_inside(now, &key).is_none() {
            if way_if_new == Way::Reply {
                // An answer to a question nobody asked through here: the router's own, perhaps.
                return if seen.src == self.config.address { Pass::Yes } else { Pass::No };
            }
            let life = Life::new(now, Life::first(key.protocol, flags));
            if self.table.insert(now, key, None, life).is_none() {
                return Pass::No;
            }
        }
        let flow = self.table.by_inside(now, &key).expect("found or made above");
        let way = if flow.from_outside { Way::Reply } else { Way::Original };
        flow.life.packet(now, way, flags, &timeouts);
        let port = flow.outside;
        let to = self.config.address;
        self.remember_fragments(now, &seen, Side::Src, to);
        rewrite(&mut frame.head_mut()[at..], &seen, Side::Src, to, port);
        Pass::Yes
    }

    /// A packet arrived at the outside interface (PREROUTING).
    pub(crate) fn inbound(&mut self, now: Instant, frame: &mut Frame) -> Pass {
        let Some(at) = network_header(frame, self.medium) else { return Pass::Yes };
        let Some(seen) = Seen::parse(&frame.head()[at..]) else { return Pass::Yes };
        if seen.dst != self.config.address {
            return Pass::Yes;
        }
        if seen.later_fragment {
            return self.later_fragment(now, frame, at, &seen, Side::Dst);
        }
        let (port, remote) = match seen.upper {
            Upper::Error => return self.error_inbound(now, frame, at, &seen),
            Upper::Ports(sport, dport) => (dport, (seen.src, sport)),
            Upper::Query(id, _) => (id, (seen.src, 0)),
            Upper::None => (0, (seen.src, 0)),
        };
        let flags = tcp_flags(frame, at, &seen);
        let key = match self.find_inbound(now, &seen, port, remote, flags) {
            Inbound::Flow(key) => key,
            Inbound::Local => return Pass::Yes,
            Inbound::Refused => return Pass::No,
        };
        let timeouts = self.config.timeouts;
        let flow = self.table.by_inside(now, &key).expect("found just now");
        let way = if flow.from_outside { Way::Original } else { Way::Reply };
        flow.life.packet(now, way, flags, &timeouts);
        self.remember_fragments(now, &seen, Side::Dst, key.inside.0);
        rewrite(&mut frame.head_mut()[at..], &seen, Side::Dst, key.inside.0, key.inside.1);
        Pass::Yes
    }

    /// Whose packet from outside this is.
    fn find_inbound(
        &mut self,
        now: Instant,
        seen: &Seen,
        port: u16,
        remote: Peer,
        flags: Option<Flags>,
    ) -> Inbound {
        let protocol = seen.protocol;
        if let Some(key) = self.table.by_outside(now, protocol, port, remote) {
            return Inbound::Flow(key);
        }
        let life = Life::new(now, Life::first(protocol, flags));
        let forward = self.config.forwards.iter().find(|f| f.protocol == protocol && f.port == port);
        if let Some(forward) = forward {
            let key = FlowKey { protocol, inside: (forward.to, forward.to_port), remote };
            return match self.table.insert(now, key, Some(port), life) {
                Some(_) => Inbound::Flow(key),
                None => Inbound::Refused,
            };
        }
        if self.config.kind == NatKind::Symmetric {
            return Inbound::Local;
        }
        let Some((inside, remotes)) = self.table.owner(now, protocol, port) else { return Inbound::Local };
        let passes = match self.config.kind {
            NatKind::FullCone => true,
            NatKind::RestrictedCone => remotes.iter().any(|r| r.0 == remote.0),
            NatKind::PortRestricted | NatKind::Symmetric => false,
        };
        let key = FlowKey { protocol, inside, remote };
        if passes && self.table.insert(now, key, Some(port), life).is_some() {
            Inbound::Flow(key)
        } else {
            Inbound::Refused
        }
    }

    /// An ICMP error from inside about a packet that came from outside: the quote shows what the outside knows.
    fn error_outbound(&mut self, now: Instant, frame: &mut Frame, at: usize, seen: &Seen) -> Pass {
        let Some((quote_at, quoted)) = quoted(frame, at, seen) else { return Pass::Yes };
        let (inside, remote) = match quoted.upper {
            Upper::Ports(sport, dport) => ((quoted.dst, dport), (quoted.src, sport)),
            Upper::Query(id, _) => ((quoted.dst, id), (quoted.src, 0)),
            Upper::Error | Upper::None => ((quoted.dst, 0), (quoted.src, 0)),
        };
        let address = self.config.address;
        let key = FlowKey { protocol: quoted.protocol, inside, remote };
        let Some(flow) = self.table.by_inside(now, &key) else {
            // Not about a translated packet. The router's own errors pass, others have no way out.
            return if seen.src == address { Pass::Yes } else { Pass::No };
        };
        let port = flow.outside;
        rewrite(&mut frame.head_mut()[quote_at..], &quoted, Side::Dst, address, port);
        rewrite(&mut frame.head_mut()[at..], seen, Side::Src, address, 0);
        refill_icmp_checksum(frame, at + seen.header_len);
        Pass::Yes
    }

    /// An ICMP error from outside about a packet that was translated on its way out.
    fn error_inbound(&mut self, now: Instant, frame: &mut Frame, at: usize, seen: &Seen) -> Pass {
        let Some((quote_at, quoted)) = quoted(frame, at, seen) else { return Pass::Yes };
        let (port, remote) = match quoted.upper {
            Upper::Ports(sport, dport) => (sport, (quoted.dst, dport)),
            Upper::Query(id, _) => (id, (quoted.dst, 0)),
            Upper::Error | Upper::None => (0, (quoted.dst, 0)),
        };
        let Some(key) = self.table.by_outside(now, quoted.protocol, port, remote) else { return Pass::Yes };
        let (ip, port) = key.inside;
        rewrite(&mut frame.head_mut()[quote_at..], &quoted, Side::Src, ip, port);
        rewrite(&mut frame.head_mut()[at..], seen, Side::Dst, ip, 0);
        refill_icmp_checksum(frame, at + seen.header_len);
        Pass::Yes
    }

    fn remember_fragments(&mut self, now: Instant, seen: &Seen, side: Side, to: Ipv4Addr) {
        if !seen.more_fragments {
            return;
        }
        self.fragments.retain(|f| now.saturating_since(f.seen) < FRAGMENT_TIME);
        if self.fragments.len() == MAX_FRAGMENTED {
            self.fragments.remove(0);
        }
        let Seen { src, dst, id, protocol, .. } = *seen;
        self.fragments.push(Fragments { seen: now, src, dst, id, protocol, side, to });
    }

    /// Linux reassembles before it translates; here a later fragment follows its first one, which must come
    /// before it (DIVERGENCES: "NAT of fragments").
    fn later_fragment(
        &mut self,
        now: Instant,
        frame: &mut Frame,
        at: usize,
        seen: &Seen,
        side: Side,
    ) -> Pass {
        let first = self.fragments.iter().find(|f| {
            f.side == side
                && (f.src, f.dst, f.id, f.protocol) == (seen.src, seen.dst, seen.id, seen.protocol)
                && now.saturating_since(f.seen) < FRAGMENT_TIME
        });
        match first {
            Some(first) => {
                rewrite(&mut frame.head_mut()[at..], seen, side, first.to, 0);
                Pass::Yes
            }
            // To the router itself, perhaps: its stack reassembles.
            None if side == Side::Dst || seen.src == self.config.address => Pass::Yes,
            None => Pass::No,
        }
    }
}

/// Where the IPv4 header begins, with all headers in the frame's writable part.
pub(super) fn network_header(frame: &mut Frame, medium: Medium) -> Option<usize> {
    let at = match medium {
        Medium::Ip => 0,
        Medium::Ethernet => {
            let (header, len) = wire::ethernet::Header::parse(frame.head()).ok()?;
            (header.ethertype == wire::ethernet::EtherType::IPV4).then_some(len)?
        }
    };
    /// The longest IP header and the shortest useful part of TCP's, twice: an ICMP error quotes both.
    const HEADERS: usize = 2 * (60 + 20) + 8;
    if frame.head().len() < at + HEADERS {
        frame.linearize();
    }
    Some(at)
}

/// What a packet from outside is.
enum Inbound {
    /// Of this flow.
    Flow(FlowKey),
    /// For the router itself.
    Local,
    /// For a mapping that does not let it in.
    Refused,
}

fn tcp_flags(frame: &Frame, at: usize, seen: &Seen) -> Option<Flags> {
    let tcp = frame.head().get(at + seen.header_len..)?;
    (seen.protocol == Protocol::TCP).then(|| Some(Flags(u16::from(*tcp.get(13)?))))?
}

/// The packet that an ICMP error quotes, and where it begins in the frame.
fn quoted(frame: &Frame, at: usize, seen: &Seen) -> Option<(usize, Seen)> {
    let quote_at = at + seen.header_len + 8;
    Some((quote_at, Seen::parse(frame.head().get(quote_at..)?)?))
}

/// The ICMP checksum again: the quoted packet changed.
fn refill_icmp_checksum(frame: &mut Frame, icmp_at: usize) {
    frame.head_mut()[icmp_at + 2..icmp_at + 4].fill(0);
    let checksum = (sum(&frame.head()[icmp_at..]) + sum(frame.tail())).finish();
    frame.head_mut()[icmp_at + 2..icmp_at + 4].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
#[path = "translate_tests.rs"]
mod tests;
