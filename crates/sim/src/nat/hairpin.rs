//! Hosts inside reach each other by the outside address (RFC 4787 §6, RFC 5382 §7.1).
//!
//! Linux needs a rule of its own for it; home routers have it built in. A packet from inside to the outside
//! address is sent back inside, under the outside address, so that the answer comes back by the translator.

use core::time::Duration;
use std::collections::BTreeMap;

use wire::ip::Protocol;
use wire::{Frame, Instant, Medium};

use super::NatKind;
use super::rewrite::{Seen, Side, Upper, rewrite};
use super::state::Life;
use super::table::{FlowKey, Peer};
use super::translate::{Nat, Pass, network_header};

/// Conversations between hosts inside, each entered both ways.
#[derive(Debug, Default)]
pub(super) struct Hairpins {
    /// The port of the outside address that packets of this sender to this receiver come from.
    ports: BTreeMap<(Protocol, Peer, Peer), (u16, Instant)>,
}

/// Conversations at most, two entries each; more are not translated.
const MAX_HAIRPINS: usize = 2048;
/// How long one may be silent, as an answered UDP flow.
const HAIRPIN_TIME: Duration = Duration::from_secs(120);

impl Hairpins {
    /// Who is seen as `port` by `receiver`.
    fn sender(&self, now: Instant, protocol: Protocol, port: u16, receiver: Peer) -> Option<Peer> {
        let mut live = self.ports.iter().filter(|(_, (_, expires))| *expires > now);
        live.find(|((p, _, to), (at, _))| *p == protocol && *to == receiver && *at == port)
            .map(|((_, from, _), _)| *from)
    }

    fn enter(&mut self, now: Instant, protocol: Protocol, from: Peer, to: Peer, port: u16) {
        if self.ports.len() >= MAX_HAIRPINS {
            self.ports.retain(|_, (_, expires)| *expires > now);
        }
        if self.ports.len() < MAX_HAIRPINS {
            self.ports.insert((protocol, from, to), (port, now + HAIRPIN_TIME));
        }
    }
}

impl Nat {
    /// A packet arrived at an inside interface. When it is for the outside address and that stands for a host
    /// inside, its destination becomes that host.
    pub(crate) fn hairpin_in(&mut self, now: Instant, frame: &mut Frame, medium: Medium) {
        let Some(at) = network_header(frame, medium) else { return };
        let Some(seen) = Seen::parse(&frame.head()[at..]) else { return };
        let Upper::Ports(sport, dport) = seen.upper else { return };
        if seen.dst != self.config.address {
            return;
        }
        let (protocol, from) = (seen.protocol, (seen.src, sport));
        let to = match self.hairpins.sender(now, protocol, dport, from) {
            Some(to) => to,
            None => {
                let Some(to) = self.inside_of(now, protocol, dport) else { return };
                let key = FlowKey { protocol, inside: from, remote: (self.config.address, dport) };
                let port = match self.table.by_inside(now, &key) {
                    Some(flow) => flow.outside,
                    None => {
                        let mut life = Life::new(now, Life::first(protocol, None));
                        life.expires = now + HAIRPIN_TIME;
                        let Some(flow) = self.table.insert(now, key, None, life) else { return };
                        flow.outside
                    }
                };
                self.hairpins.enter(now, protocol, from, to, port);
                self.hairpins.enter(now, protocol, to, from, dport);
                to
            }
        };
        rewrite(&mut frame.head_mut()[at..], &seen, Side::Dst, to.0, to.1);
    }

    /// A packet leaves by an inside interface: one of a conversation between hosts inside gets the outside
    /// address as its source.
    pub(crate) fn hairpin_out(&mut self, now: Instant, frame: &mut Frame, medium: Medium) -> Pass {
        let Some(at) = network_header(frame, medium) else { return Pass::Yes };
        let Some(seen) = Seen::parse(&frame.head()[at..]) else { return Pass::Yes };
        let Upper::Ports(sport, dport) = seen.upper else { return Pass::Yes };
        let key = (seen.protocol, (seen.src, sport), (seen.dst, dport));
        if let Some((port, expires)) = self.hairpins.ports.get_mut(&key)
            && *expires > now
        {
            *expires = now + HAIRPIN_TIME;
            let port = *port;
            rewrite(&mut frame.head_mut()[at..], &seen, Side::Src, self.config.address, port);
        }
        Pass::Yes
    }

    /// Who inside is reached by a port of the outside address, by anybody.
    fn inside_of(&self, now: Instant, protocol: Protocol, port: u16) -> Option<Peer> {
        let forward = self.config.forwards.iter().find(|f| f.protocol == protocol && f.port == port);
        if let Some(forward) = forward {
            return Some((forward.to, forward.to_port));
        }
        match self.config.kind {
            NatKind::FullCone => self.table.owner(now, protocol, port).map(|(inside, _)| inside),
            NatKind::RestrictedCone | NatKind::PortRestricted | NatKind::Symmetric => None,
        }
    }
}
