//! TCP as its packets and records show it, one file a question: what was sent again and by which mechanism, how a
//! handshake came about, how a connection closed and who keeps TIME-WAIT, what a RST did to the programs, windows that
//! were shut, probes of idle connections, full queues, timestamps from the past (RFC 9293; TRUTH 1 to 7, 10, 14).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use stack::record::{NodeId, What};
use wire::tcp::{Flags, Header};
use wire::{Instant, Medium};

use super::{Case, Findings};
use crate::explain::Ref;
use crate::traffic::Transmission;

mod acks;
mod again;
mod close;
mod defer;
mod growth;
mod handshake;
mod idle;
mod nagle;
mod paws;
mod queues;
mod reset;
mod silence;
mod window;

#[cfg(test)]
mod tests;

/// From where to where.
type Flow = (SocketAddr, SocketAddr);

/// A segment that its sender made (routers pass copies on).
struct Segment<'a> {
    t: &'a Transmission,
    flow: Flow,
    /// Which connection of this flow's two ends it belongs to: they count up with every new SYN.
    conn: usize,
    header: &'a Header,
    flags: Flags,
    seq: u32,
    ack: u32,
    len: usize,
}

impl Segment<'_> {
    fn is(&self, flags: Flags) -> bool {
        self.flags.contains(flags)
    }

    /// It reached the host that has its destination's address.
    fn arrived(&self, case: &Case<'_>) -> bool {
        self.arrival(case).is_some()
    }

    fn arrival(&self, case: &Case<'_>) -> Option<Instant> {
        let receiver = case.owner_of_ip(self.flow.1.ip());
        self.t.arrivals.iter().find(|a| Some(a.node) == receiver && !a.changed).map(|a| a.at)
    }

    fn back(&self) -> Flow {
        (self.flow.1, self.flow.0)
    }

    fn number(&self) -> Ref {
        Ref::Packet(self.t.number)
    }

    /// The first number behind it.
    fn end(&self) -> u32 {
        let len = u32::try_from(self.len).unwrap_or(u32::MAX);
        let takes = u32::from(self.is(Flags::SYN)) + u32::from(self.is(Flags::FIN));
        self.seq.wrapping_add(len).wrapping_add(takes)
    }

    fn is_pure_ack(&self) -> bool {
        self.len == 0 && self.is(Flags::ACK) && !self.flags.syn() && !self.flags.fin() && !self.flags.rst()
    }
}

/// What a host's socket went through, by the states that our stack records.
pub(super) struct Life {
    pub(super) node: NodeId,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// Record, time, state after it; `None` when the socket was gone.
    pub(super) steps: Vec<(usize, Instant, Option<&'static str>)>,
}

impl Life {
    pub(super) fn when(&self, state: &str) -> Option<(usize, Instant)> {
        self.steps.iter().find(|s| s.2 == Some(state)).map(|s| (s.0, s.1))
    }

    /// Where it is after this state, the end of the run aside.
    fn after(&self, state: &str) -> Option<(usize, Instant, Option<&'static str>)> {
        let at = self.steps.iter().position(|s| s.2 == Some(state))?;
        self.steps.get(at + 1).copied()
    }
}

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let segments = segments(case);
    if segments.is_empty() {
        return;
    }
    let lives = lives(case);
    again::find(case, &segments, &lives, out);
    handshake::find(case, &segments, out);
    reset::find(case, &segments, out);
    close::find(case, &segments, &lives, out);
    defer::find(case, &segments, &lives, out);
    acks::find(case, &segments, out);
    growth::find(case, &segments, out);
    window::find(case, &segments, out);
    idle::find(case, &segments, out);
    silence::find(case, &segments, &lives, out);
    nagle::find(case, &segments, out);
    queues::find(case, &segments, &lives, out);
    paws::find(case, out);
}

fn segments<'a>(case: &Case<'a>) -> Vec<Segment<'a>> {
    let mut open: BTreeMap<Flow, (u32, usize)> = BTreeMap::new();
    let mut conns = 0;
    let mut all = Vec::new();
    for t in case.packets() {
        let (Some(header), Some(ip)) = (t.view.tcp(), t.view.ip()) else { continue };
        if case.owner_of_ip(ip.src) != Some(t.from) {
            continue;
        }
        let flow = (SocketAddr::new(ip.src, header.src_port), SocketAddr::new(ip.dst, header.dst_port));
        let key = (flow.0.min(flow.1), flow.0.max(flow.1));
        let begins = header.flags.syn() && !header.flags.contains(Flags::ACK);
        let entry = open.entry(key).or_insert_with(|| {
            conns += 1;
            (header.seq.0, conns)
        });
        if begins && entry.0 != header.seq.0 {
            conns += 1;
            *entry = (header.seq.0, conns);
        }
        let (seq, ack, flags) = (header.seq.0, header.ack.0, header.flags);
        all.push(Segment { t, flow, conn: entry.1, header, flags, seq, ack, len: t.view.payload().len() });
    }
    all
}

pub(super) fn lives(case: &Case<'_>) -> Vec<Life> {
    let mut lives: BTreeMap<(NodeId, u32), Life> = BTreeMap::new();
    for (i, r) in case.journal.records.iter().enumerate() {
        let What::Sock { sock, to, addrs, .. } = &r.what else { continue };
        let ends: Vec<SocketAddr> = addrs.split(' ').filter_map(|a| a.parse().ok()).collect();
        if let [local, remote] = ends[..] {
            let new = || Life { node: r.node, local, remote, steps: Vec::new() };
            let life = lives.entry((r.node, *sock)).or_insert_with(new);
            life.steps.push((i, r.at, *to));
        }
    }
    lives.into_values().collect()
}

/// The host that has an address, by name, or the address.
fn who(case: &Case<'_>, ip: IpAddr) -> String {
    case.who(ip)
}

/// `once`, `twice`, `3 times`.
fn times(n: usize) -> String {
    match n {
        1 => "once".to_string(),
        2 => "twice".to_string(),
        n => format!("{n} times"),
    }
}

/// The flags of a packet that a stack dropped: its first bytes from the IP header on.
fn dropped_header(packet: &[u8]) -> Option<(Header, IpAddr)> {
    let view = crate::view::View::of_bytes(Medium::Ip, packet.to_vec());
    Some((*view.tcp()?, view.ip()?.src))
}
