//! The translation table: flows by their inside and by their outside.
//!
//! Linux: nf_conntrack_core.c for the two directions, nf_nat_core.c `get_unique_tuple` and
//! `nf_nat_l4proto_unique_tuple` for the choice of a port.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use stack::rng::Rng;
use wire::Instant;
use wire::ip::Protocol;

use super::NatKind;
use super::state::Life;

/// An address with a port (or an ICMP identifier).
pub(super) type Peer = (Ipv4Addr, u16);

/// A flow as the inside sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FlowKey {
    pub(super) protocol: Protocol,
    pub(super) inside: Peer,
    pub(super) remote: Peer,
}

/// One translated flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    /// The port that the outside sees.
    pub(super) outside: u16,
    /// It began outside: a forwarded port, or a full cone.
    pub(super) from_outside: bool,
    pub(super) life: Life,
}

/// All flows of a translator.
#[derive(Debug)]
pub(super) struct Table {
    kind: NatKind,
    flows: BTreeMap<FlowKey, Flow>,
    outside: BTreeMap<(Protocol, u16, Peer), FlowKey>,
    limit: usize,
    rng: Rng,
    /// No flow that is over is older than this.
    swept: Instant,
}

/// Ports that `nf_nat_l4proto_unique_tuple` tries before it gives up.
const MAX_ATTEMPTS: u16 = 128;

impl Table {
    pub(super) fn new(kind: NatKind, limit: usize, rng: Rng) -> Table {
        Table { kind, flows: BTreeMap::new(), outside: BTreeMap::new(), limit, rng, swept: Instant::ZERO }
    }

    /// The flow of a packet from inside.
    pub(super) fn by_inside(&mut self, now: Instant, key: &FlowKey) -> Option<&mut Flow> {
        self.forget_if_over(now, key);
        self.flows.get_mut(key)
    }

    /// The flow of a packet from outside to `port`.
    pub(super) fn by_outside(
        &mut self,
        now: Instant,
        protocol: Protocol,
        port: u16,
        remote: Peer,
    ) -> Option<FlowKey> {
        let key = *self.outside.get(&(protocol, port, remote))?;
        self.forget_if_over(now, &key);
        self.flows.contains_key(&key).then_some(key)
    }

    /// Who inside owns `port`, whoever asks: endpoint-independent mappings. With the remotes of its flows.
    pub(super) fn owner(&self, now: Instant, protocol: Protocol, port: u16) -> Option<(Peer, Vec<Peer>)> {
        let lowest = (protocol, port, (Ipv4Addr::UNSPECIFIED, 0));
        let highest = (protocol, port, (Ipv4Addr::BROADCAST, u16::MAX));
        let live = self.outside.range(lowest..=highest).filter(|(_, key)| !self.is_over(now, key));
        let mut owner = None;
        let mut remotes = Vec::new();
        for (_, key) in live {
            owner = Some(key.inside);
            remotes.push(key.remote);
        }
        Some((owner?, remotes))
    }

    /// Enters a flow; `None` when the table is full or no port is free.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        key: FlowKey,
        wanted: Option<u16>,
        life: Life,
    ) -> Option<&mut Flow> {
        if self.flows.len() >= self.limit {
            self.sweep(now);
        }
        if self.flows.len() >= self.limit && !self.early_drop() {
            return None;
        }
        let outside = match wanted {
            Some(port) => port,
            None => self.choose(now, &key)?,
        };
        if let Some(old) = self.outside.insert((key.protocol, outside, key.remote), key)
            && old != key
        {
            self.flows.remove(&old);
        }
        self.flows.insert(key, Flow { outside, from_outside: wanted.is_some(), life });
        self.flows.get_mut(&key)
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    pub(super) fn live(&self, now: Instant) -> impl Iterator<Item = (&FlowKey, &Flow)> {
        self.flows.iter().filter(move |(_, flow)| flow.life.expires > now)
    }

    /// The port that the outside shall see: the one an endpoint-independent mapping has, else the
    /// sender's own if it is free, else a random one of the same kind.
    fn choose(&mut self, now: Instant, key: &FlowKey) -> Option<u16> {
        if self.kind != NatKind::Symmetric
            && let Some(port) = self.mapped(now, key)
        {
            return Some(port);
        }
        let own = key.inside.1;
        if self.is_free(now, key, own) {
            return Some(own);
        }
        let (low, high) = match own {
            _ if key.protocol == Protocol::ICMP => (0, u16::MAX),
            0..512 => (1, 511),
            512..1024 => (600, 1023),
            _ => (1024, u16::MAX),
        };
        let size = u64::from(high - low) + 1;
        let offset = self.rng.below(size);
        (0..u64::from(MAX_ATTEMPTS).min(size))
            .map(|i| low + u16::try_from((offset + i) % size).expect("below 2^16"))
            .find(|port| self.is_free(now, key, *port))
    }

    /// The port that this inside address and port already has.
    fn mapped(&self, now: Instant, key: &FlowKey) -> Option<u16> {
        let end = |ip, port| FlowKey { remote: (ip, port), ..*key };
        let all = end(Ipv4Addr::UNSPECIFIED, 0)..=end(Ipv4Addr::BROADCAST, u16::MAX);
        let mut flows = self.flows.range(all);
        flows.find(|(_, flow)| flow.life.expires > now).map(|(_, flow)| flow.outside)
    }

    fn is_free(&self, now: Instant, key: &FlowKey, port: u16) -> bool {
        match self.kind {
            NatKind::Symmetric => match self.outside.get(&(key.protocol, port, key.remote)) {
                Some(other) => self.is_over(now, other),
                None => true,
            },
            NatKind::FullCone | NatKind::RestrictedCone | NatKind::PortRestricted => {
                self.owner(now, key.protocol, port).is_none_or(|(owner, _)| owner == key.inside)
            }
        }
    }

    fn is_over(&self, now: Instant, key: &FlowKey) -> bool {
        self.flows.get(key).is_none_or(|flow| flow.life.expires <= now)
    }

    fn forget_if_over(&mut self, now: Instant, key: &FlowKey) {
        if self.flows.contains_key(key) && self.is_over(now, key) {
            self.remove(key);
        }
    }

    fn remove(&mut self, key: &FlowKey) {
        if let Some(flow) = self.flows.remove(key) {
            self.outside.remove(&(key.protocol, flow.outside, key.remote));
        }
    }

    /// Removes what is over, at most once per second of virtual time.
    fn sweep(&mut self, now: Instant) {
        if now < self.swept + core::time::Duration::from_secs(1) && now > Instant::ZERO {
            return;
        }
        self.swept = now;
        let over: Vec<FlowKey> =
            self.flows.iter().filter(|(_, f)| f.life.expires <= now).map(|(k, _)| *k).collect();
        for key in over {
            self.remove(&key);
        }
    }

    /// `early_drop`: gives up one flow that is not assured.
    fn early_drop(&mut self) -> bool {
        let victim = self.flows.iter().find(|(_, flow)| !flow.life.assured).map(|(key, _)| *key);
        match victim {
            Some(key) => {
                self.remove(&key);
                true
            }
            None => false,
        }
    }
}
