//! Address translation (NAT44) on a router's outside interface.
//!
//! RFC 4787 and RFC 5382 for the words (mapping, filtering, hairpinning), Linux's nf_nat and nf_conntrack
//! for times and port choice. It sits between the router's stack and its outside interface, where
//! Linux has its PREROUTING and POSTROUTING hooks.

mod hairpin;
mod rewrite;
mod state;
mod table;
mod text;
mod translate;

use core::time::Duration;
use std::net::Ipv4Addr;

use stack::record::IfIndex;
use wire::ip::Protocol;

pub(crate) use translate::{Nat, Pass};

/// How mappings are chosen and who may use them, in RFC 4787's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NatKind {
    /// Endpoint-independent mapping and filtering: anyone may answer ("full cone").
    FullCone,
    /// Endpoint-independent mapping, address-dependent filtering ("restricted cone").
    RestrictedCone,
    /// Endpoint-independent mapping, address- and port-dependent filtering ("port-restricted cone").
    PortRestricted,
    /// Address- and port-dependent mapping and filtering ("symmetric"). Linux's `MASQUERADE`: the port is
    /// kept when it is free towards that destination, so that it often looks like port-restricted.
    #[default]
    Symmetric,
}

/// How long a mapping lives without a packet; names and defaults are `net.netfilter.nf_conntrack_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatTimeouts {
    /// `udp_timeout`: no answer yet, or only one.
    pub udp: Duration,
    /// `udp_timeout_stream`: packets both ways for more than two seconds.
    pub udp_stream: Duration,
    /// `icmp_timeout`.
    pub icmp: Duration,
    /// `generic_timeout`: other protocols.
    pub generic: Duration,
    /// `tcp_timeout_syn_sent`.
    pub tcp_syn_sent: Duration,
    /// `tcp_timeout_syn_recv`.
    pub tcp_syn_recv: Duration,
    /// `tcp_timeout_established`: five days.
    pub tcp_established: Duration,
    /// `tcp_timeout_fin_wait`.
    pub tcp_fin_wait: Duration,
    /// `tcp_timeout_close_wait`.
    pub tcp_close_wait: Duration,
    /// `tcp_timeout_last_ack`.
    pub tcp_last_ack: Duration,
    /// `tcp_timeout_time_wait`.
    pub tcp_time_wait: Duration,
    /// `tcp_timeout_close`.
    pub tcp_close: Duration,
    /// `tcp_timeout_unacknowledged`: the limit of a mapping picked up in the middle is `tcp_established`.
    pub tcp_unacknowledged: Duration,
}

impl Default for NatTimeouts {
    fn default() -> Self {
        let s = Duration::from_secs;
        NatTimeouts {
            udp: s(30),
            udp_stream: s(120),
            icmp: s(30),
            generic: s(600),
            tcp_syn_sent: s(120),
            tcp_syn_recv: s(60),
            tcp_established: s(432_000),
            tcp_fin_wait: s(120),
            tcp_close_wait: s(60),
            tcp_last_ack: s(30),
            tcp_time_wait: s(120),
            tcp_close: s(10),
            tcp_unacknowledged: s(300),
        }
    }
}

/// A static port forward: packets to the outside address and port go to a host inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port outside.
    pub port: u16,
    /// The host inside.
    pub to: Ipv4Addr,
    /// Its port.
    pub to_port: u16,
}

/// What an address translator is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatConfig {
    /// The outside interface.
    pub wan: IfIndex,
    /// The address that everything inside is seen as.
    pub address: Ipv4Addr,
    /// Mapping and filtering.
    pub kind: NatKind,
    /// Life times.
    pub timeouts: NatTimeouts,
    /// Static forwards.
    pub forwards: Vec<Forward>,
    /// Hosts inside reach forwarded ports (and, of a full cone, mapped ones) by the outside address too (RFC
    /// 4787 §6). Off as in Linux, where it takes a rule of its own.
    pub hairpin: bool,
    /// Mappings at most (`nf_conntrack_max`); packets that need one more are dropped.
    pub limit: usize,
}

/// `nf_conntrack_max` of a machine with a gigabyte or more.
pub const DEFAULT_LIMIT: usize = 65_536;

impl NatConfig {
    /// As Linux's `MASQUERADE` on `wan`, whose address is `address`.
    pub fn masquerade(wan: IfIndex, address: Ipv4Addr) -> NatConfig {
        NatConfig {
            wan,
            address,
            kind: NatKind::default(),
            timeouts: NatTimeouts::default(),
            forwards: Vec::new(),
            hairpin: false,
            limit: DEFAULT_LIMIT,
        }
    }
}
