//! Interfaces and their addresses: what there is, what it is called, whether it is up.
//!
//! Linux: net/core/dev.c (flags), net/ipv4/devinet.c, net/ipv6/addrconf.c. Behaviour: `link.rs` (up, down,
//! carrier), `inet.rs` (IPv4 addresses), `inet6.rs` (IPv6 addresses, DAD), `slaac.rs` (router advertisements).

mod inet;
mod inet6;
mod link;
mod slaac;
#[cfg(test)]
mod tests;
mod text;

use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::net::IpAddr;
use std::sync::Arc;

use wire::{Instant, MacAddr, Medium};

use crate::record::IfIndex;
use crate::sysctl::{Ipv4Conf, Ipv6Conf, NeighParams};
use crate::timer::TimerId;

pub use inet::Ipv4IfAddr;
pub(crate) use inet::NewAddr4;
pub use inet6::{DadState, INFINITE_LIFETIME, Inet6, Ipv6IfAddr, Lifetimes};
pub(crate) use inet6::{NewAddr6, solicited_node};
pub(crate) use link::IPV6_MIN_MTU;
pub use slaac::Advertise;

/// `RT_SCOPE_*`: how far an address or a route is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope(pub u8);

impl Scope {
    /// Everywhere (`global`).
    pub const UNIVERSE: Scope = Scope(0);
    /// Within the site; IPv6 only.
    pub const SITE: Scope = Scope(200);
    /// On this link.
    pub const LINK: Scope = Scope(253);
    /// In this host.
    pub const HOST: Scope = Scope(254);
    /// Nowhere.
    pub const NOWHERE: Scope = Scope(255);

    /// `ip`'s word.
    pub fn name(self) -> String {
        match self {
            Scope::UNIVERSE => "global".into(),
            Scope::SITE => "site".into(),
            Scope::LINK => "link".into(),
            Scope::HOST => "host".into(),
            Scope::NOWHERE => "nowhere".into(),
            Scope(n) => n.to_string(),
        }
    }

    /// From `ip`'s word or number.
    pub fn parse(word: &str) -> Option<Scope> {
        Some(match word {
            "global" | "universe" => Scope::UNIVERSE,
            "site" => Scope::SITE,
            "link" => Scope::LINK,
            "host" => Scope::HOST,
            "nowhere" => Scope::NOWHERE,
            n => Scope(n.parse().ok()?),
        })
    }
}

/// What happens on an interface later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimerEvent {
    /// `addrconf_dad_work`: the next step of duplicate address detection.
    Dad(IfIndex, Ipv6Addr),
    /// `addrconf_rs_timer`: the next router solicitation.
    RouterSolicit(IfIndex),
    /// `addrconf_verify_work`: a lifetime ran out.
    Lifetime,
    /// A router of ours answers a solicitation, or advertises unasked (radvd's job).
    Advertise(IfIndex),
}

/// An IP tunnel's kind (`ip link add type …`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelMode {
    /// IPv4 in IPv4 (RFC 2003).
    Ipip,
    /// GRE over IPv4 (RFC 2784, 2890).
    Gre,
    /// Ethernet in GRE over IPv4.
    Gretap,
    /// IPv6 in IPv4 (RFC 4213).
    Sit,
    /// IPv4 or IPv6 in IPv6 (RFC 2473).
    Ip6tnl,
    /// GRE over IPv6.
    Ip6gre,
}

impl TunnelMode {
    /// The word after `type`.
    pub fn name(self) -> &'static str {
        match self {
            TunnelMode::Ipip => "ipip",
            TunnelMode::Gre => "gre",
            TunnelMode::Gretap => "gretap",
            TunnelMode::Sit => "sit",
            TunnelMode::Ip6tnl => "ip6tnl",
            TunnelMode::Ip6gre => "ip6gre",
        }
    }
}

/// Parameters of an IP tunnel (`struct ip_tunnel_parm`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Which kind.
    pub mode: TunnelMode,
    /// Outer source; `None` for any.
    pub local: Option<IpAddr>,
    /// Outer destination; `None` for any.
    pub remote: Option<IpAddr>,
    /// Outer TTL; `None` to inherit the inner one.
    pub ttl: Option<u8>,
    /// Outer TOS; `None` to inherit the inner one.
    pub tos: Option<u8>,
    /// Outer DF (`pmtudisc`); IPv4 only.
    pub pmtudisc: bool,
    /// GRE input key.
    pub ikey: Option<u32>,
    /// GRE output key.
    pub okey: Option<u32>,
    /// GRE checksums in both directions.
    pub csum: bool,
    /// GRE sequence numbers in both directions.
    pub seq: bool,
    /// The interface that it is bound to; 0 for none.
    pub link: IfIndex,
}

impl Tunnel {
    /// A tunnel with the defaults of `ip link add`.
    pub fn new(mode: TunnelMode) -> Tunnel {
        Tunnel {
            mode,
            local: None,
            remote: None,
            ttl: if matches!(mode, TunnelMode::Ip6tnl | TunnelMode::Ip6gre) { Some(64) } else { None },
            tos: Some(0),
            pmtudisc: true,
            ikey: None,
            okey: None,
            csum: false,
            seq: false,
            link: 0,
        }
    }

    /// Bytes of outer headers (`tunnel->hlen` and the outer IP header).
    pub fn overhead(&self) -> u32 {
        let gre = 4
            + if self.csum { 4 } else { 0 }
            + if self.okey.is_some() { 4 } else { 0 }
            + if self.seq { 4 } else { 0 };
        match self.mode {
            TunnelMode::Ipip | TunnelMode::Sit => 20,
            TunnelMode::Gre => 20 + gre,
            TunnelMode::Gretap => 20 + gre + 14,
            // With the tunnel encapsulation limit option, Linux's default.
            TunnelMode::Ip6tnl => 48,
            TunnelMode::Ip6gre => 48 + gre,
        }
    }
}

/// Parameters of a VXLAN interface (RFC 7348).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    /// Network identifier, 24 bits.
    pub vni: u32,
    /// Outer source; `None` for any.
    pub local: Option<IpAddr>,
    /// Where unknown destinations go: one host (`remote`) or a group (`group`).
    pub remote: Option<IpAddr>,
    /// UDP port; Linux's default is 8472, IANA's 4789.
    pub dstport: u16,
    /// The interface below; 0 for none.
    pub link: IfIndex,
    /// Outer TTL; 0 for the host's default.
    pub ttl: u8,
    /// Learns which host has which MAC address.
    pub learning: bool,
}

/// What an interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// `lo`.
    Loopback,
    /// Attached to the world: Ethernet or bare IP.
    Nic,
    /// An 802.1Q interface on another one.
    Vlan {
        /// The interface below.
        link: IfIndex,
        /// VLAN identifier, 1 to 4094.
        id: u16,
    },
    /// An IP tunnel.
    Tunnel(Box<Tunnel>),
    /// VXLAN.
    Vxlan(Box<Vxlan>),
}

/// One interface. What every packet asks for stands together at its front.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Interface {
    /// Its number; `lo` is 1.
    pub ifindex: IfIndex,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// Its own link-layer address; zero where there is none.
    pub mac: MacAddr,
    /// What its frames start with.
    pub medium: Medium,
    /// `IFF_UP`.
    pub up: bool,
    /// `IFF_LOWER_UP`: a cable is plugged in.
    pub carrier: bool,
    /// `IFF_NOARP`: no neighbour resolution.
    pub noarp: bool,
    /// `NETIF_F_TSO`: it takes TCP segments of up to 64 KiB over IPv4 and cuts them itself, if at all.
    pub tso: bool,
    /// What it is.
    pub kind: LinkKind,
    /// Its name, at most 15 bytes.
    pub name: Box<str>,
    /// IPv4 addresses, primary ones first.
    pub addrs4: Vec<Ipv4IfAddr>,
    /// IPv6: addresses and what a router told us.
    pub inet6: Inet6,
    /// `net.ipv4.conf.<name>`
    pub conf4: Arc<Ipv4Conf>,
    /// `net.ipv6.conf.<name>`
    pub conf6: Arc<Ipv6Conf>,
    /// `net.ipv4.neigh.<name>`
    pub neigh4: Arc<NeighParams>,
    /// `net.ipv6.neigh.<name>`
    pub neigh6: Arc<NeighParams>,
    /// Which of `conf4` were written for this interface.
    pub(crate) conf4_set: u64,
    /// Which of `neigh4` were.
    pub(crate) neigh4_set: u32,
    /// Which of `neigh6` were.
    pub(crate) neigh6_set: u32,
    /// `parms->reachable_time` of ARP: 0.5 to 1.5 of the base, and when it was drawn.
    pub(crate) reachable4: Option<(Duration, Instant)>,
    /// The same of ND.
    pub(crate) reachable6: Option<(Duration, Instant)>,
}

impl Interface {
    /// `netif_running` and `netif_carrier_ok`.
    #[inline]
    pub fn is_running(&self) -> bool {
        self.up && self.carrier
    }

    /// `IFF_LOOPBACK`.
    #[inline]
    pub fn is_loopback(&self) -> bool {
        matches!(self.kind, LinkKind::Loopback)
    }

    /// `IFF_POINTOPOINT`: bare-IP interfaces and layer-3 tunnels.
    pub fn is_point_to_point(&self) -> bool {
        self.medium == Medium::Ip && !self.is_loopback()
    }

    /// Whether its neighbours are resolved: an Ethernet interface with `IFF_NOARP` off.
    pub fn resolves(&self) -> bool {
        self.medium == Medium::Ethernet && !self.noarp && !self.is_loopback()
    }

    /// Whether this address is one of the interface's own (`__in_dev` lists; tentative ones do not count).
    pub fn has_addr(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(a) => self.addrs4.iter().any(|i| i.addr == a),
            IpAddr::V6(a) => self.inet6.addrs.iter().any(|i| i.addr == a && i.is_usable()),
        }
    }

    /// `inet_addr_onlink`: one of its networks holds `a` (and `b`, unless that is unspecified).
    pub fn on_link(&self, a: Ipv4Addr, b: Ipv4Addr) -> bool {
        self.addrs4.iter().any(|i| i.contains(a) && (b.is_unspecified() || i.contains(b)))
    }

    /// The first IPv4 address, if any (`in_dev->ifa_list`).
    pub fn primary4(&self) -> Option<&Ipv4IfAddr> {
        self.addrs4.first()
    }

    /// The link-local address that packets of the link's own protocols come from (`ipv6_get_lladdr`).
    pub fn link_local(&self) -> Option<Ipv6Addr> {
        self.inet6.addrs.iter().find(|a| a.scope() == Scope::LINK && a.is_usable()).map(|a| a.addr)
    }
}

/// Interfaces a host may have.
pub const MAX_INTERFACES: usize = 4096;

/// A host's interfaces, by number.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {
    slots: Vec<Option<Box<Interface>>>,
    /// `addrconf_verify_work`: one timer for the next end of any lifetime.
    lifetimes: Armed,
}

impl Interfaces {
    /// The interface of this number.
    #[inline]
    pub fn get(&self, ifindex: IfIndex) -> Option<&Interface> {
        self.slots.get((ifindex as usize).wrapping_sub(1))?.as_deref()
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, ifindex: IfIndex) -> Option<&mut Interface> {
        self.slots.get_mut((ifindex as usize).wrapping_sub(1))?.as_deref_mut()
    }

    /// The interface of this name.
    pub fn by_name(&self, name: &str) -> Option<&Interface> {
        self.iter().find(|i| &*i.name == name)
    }

    /// All of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Interface> + '_ {
        self.slots.iter().filter_map(|slot| slot.as_deref())
    }

    /// All of them, to change them.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Interface> + '_ {
        self.slots.iter_mut().filter_map(|slot| slot.as_deref_mut())
    }

    /// The interface that frames of this VLAN on `link` belong to.
    pub fn vlan(&self, link: IfIndex, vid: u16) -> Option<&Interface> {
        self.iter().find(|i| i.kind == LinkKind::Vlan { link, id: vid })
    }

    /// Whether `addr` is an address of any interface that is up (`inet_lookup_ifaddr`, `ipv6_chk_addr`).
    pub fn owner(&self, addr: IpAddr) -> Option<&Interface> {
        self.iter().find(|i| i.has_addr(addr))
    }

    /// Puts a new interface at the next free number.
    pub(crate) fn insert(&mut self, make: impl FnOnce(IfIndex) -> Interface) -> IfIndex {
        let ifindex = IfIndex::try_from(self.slots.len() + 1).expect("at most MAX_INTERFACES");
        assert!(self.slots.len() < MAX_INTERFACES, "a host has at most {MAX_INTERFACES} interfaces");
        self.slots.push(Some(Box::new(make(ifindex))));
        ifindex
    }

    /// Takes an interface away; its number is not used again.
    pub(crate) fn remove(&mut self, ifindex: IfIndex) {
        self.slots[ifindex as usize - 1] = None;
    }
}

/// A timer that is armed at most once.
pub(crate) type Armed = Option<TimerId>;
