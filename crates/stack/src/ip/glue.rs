//! What IP asks about interfaces and settings: one place that knows where the answers are kept.

use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::{MacAddr, Medium};

use super::mcast::Protocol;
use crate::Stack;
use crate::icmp::limits::RedirectLimits;
use crate::iface::{Interface, LinkKind, Scope};
use crate::record::IfIndex;

/// How an interface sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Loopback,
    Wire,
    Vlan { parent: IfIndex, vid: u16 },
    Tunnel,
}

/// What input and output look at for every packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dev {
    pub(crate) link: Link,
    pub(crate) medium: Medium,
    pub(crate) mac: MacAddr,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    pub(crate) running: bool,
}

impl Dev {
    #[inline]
    fn of(iface: &Interface) -> Dev {
        Dev {
            link: match &iface.kind {
                LinkKind::Loopback => Link::Loopback,
                LinkKind::Nic => Link::Wire,
                LinkKind::Vlan { link, id } => Link::Vlan { parent: *link, vid: *id },
                LinkKind::Tunnel(_) | LinkKind::Vxlan(_) => Link::Tunnel,
            },
            medium: iface.medium,
            mac: iface.mac,
            mtu: iface.mtu,
            up: iface.up,
            running: iface.is_running(),
        }
    }

    pub(crate) fn is_loopback(&self) -> bool {
        self.link == Link::Loopback
    }

    pub(crate) fn has_ethernet_header(&self) -> bool {
        self.medium == Medium::Ethernet && !self.is_loopback()
    }
}

/// What reassembly may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct FragLimits {
    pub(super) time: Duration,
    pub(super) high_thresh: usize,
    pub(super) max_dist: u32,
}

impl Stack {
    #[inline]
    pub(crate) fn net_device(&self, ifindex: IfIndex) -> Option<Dev> {
        self.ifaces.get(ifindex).map(Dev::of)
    }

    pub(super) fn vlan_dev(&self, parent: IfIndex, vid: u16) -> Option<(IfIndex, Dev)> {
        self.ifaces.vlan(parent, vid).map(|i| (i.ifindex, Dev::of(i)))
    }

    fn asks(&self, ifindex: IfIndex, question: impl Fn(&Interface) -> bool) -> bool {
        self.ifaces.get(ifindex).is_some_and(question)
    }

    pub(super) fn drop_unicast_in_l2_multicast(&self, ifindex: IfIndex) -> bool {
        self.asks(ifindex, |i| self.sysctl.drop_unicast_in_l2_multicast(i))
    }

    /// `net->ipv6.devconf_all->forwarding`: IPv6 forwards on all interfaces or none.
    pub(super) fn forwarding_v6(&self) -> bool {
        self.sysctl.conf6_all.forwarding != 0
    }

    pub(super) fn accept_source_route(&self, ifindex: IfIndex) -> bool {
        self.asks(ifindex, |i| self.sysctl.accept_source_route(i))
    }

    pub(super) fn redirect_limits(&self) -> RedirectLimits {
        let ns = &self.sysctl.ns;
        RedirectLimits {
            number: u32::try_from(ns.route_redirect_number).unwrap_or(0),
            load: ns.route_redirect_load,
            silence: ns.route_redirect_silence,
        }
    }

    pub(super) fn frag_limits_v4(&self) -> FragLimits {
        let ns = &self.sysctl.ns;
        FragLimits {
            time: ns.ipfrag_time,
            high_thresh: usize::try_from(ns.ipfrag_high_thresh).unwrap_or(usize::MAX),
            max_dist: u32::try_from(ns.ipfrag_max_dist).unwrap_or(0),
        }
    }

    pub(super) fn ipv6_enabled(&self, ifindex: IfIndex) -> bool {
        self.asks(ifindex, |i| self.sysctl.ipv6_enabled(i))
    }

    /// An IPv6 group that input takes: joined, or one that every interface has.
    pub(super) fn ip6_is_member(&self, ifindex: IfIndex, group: Ipv6Addr) -> bool {
        self.ip.mcast.is_member(ifindex, group.into())
    }

    /// One of the host's own addresses, on any interface.
    pub(crate) fn is_local(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(a) => self.is_local_v4(a),
            IpAddr::V6(_) => self.ifaces.owner(addr).is_some(),
        }
    }

    pub(crate) fn is_local_v4(&self, addr: Ipv4Addr) -> bool {
        self.addr_type4(addr) == crate::route::RouteKind::Local
    }

    /// `inet_select_addr` on one interface; unspecified when it has none.
    pub(crate) fn address_on(&self, ifindex: IfIndex, dst: Ipv4Addr) -> Ipv4Addr {
        self.select_addr4(ifindex, Some(dst), Scope::LINK).unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    pub(super) fn link_local_on(&self, ifindex: IfIndex) -> Option<Ipv6Addr> {
        self.ifaces.get(ifindex).and_then(Interface::link_local)
    }

    pub(crate) fn hop_limit_v6(&self, ifindex: IfIndex) -> u8 {
        let limit = self.ifaces.get(ifindex).map_or(64, |i| i.conf6.hop_limit);
        u8::try_from(limit).unwrap_or(64)
    }

    pub(super) fn forced_membership_version(&self, ifindex: IfIndex, protocol: Protocol) -> i32 {
        let Some(iface) = self.ifaces.get(ifindex) else { return 0 };
        match protocol {
            Protocol::Igmp => self.sysctl.force_igmp_version(iface),
            Protocol::Mld => self.sysctl.conf6_all.force_mld_version.max(iface.conf6.force_mld_version),
        }
    }

    /// `unsolicited_report_interval`.
    pub(super) fn unsolicited_interval(
        &mut self,
        now: wire::Instant,
        ifindex: IfIndex,
        protocol: Protocol,
    ) -> Duration {
        let newest = self.membership_version(now, ifindex, protocol) == super::mcast::Version::Three;
        let Some(iface) = self.ifaces.get(ifindex) else { return Duration::from_secs(1) };
        match (protocol, newest) {
            (Protocol::Igmp, true) => iface.conf4.igmpv3_unsolicited_report_interval,
            (Protocol::Igmp, false) => iface.conf4.igmpv2_unsolicited_report_interval,
            (Protocol::Mld, true) => iface.conf6.mldv2_unsolicited_report_interval,
            (Protocol::Mld, false) => iface.conf6.mldv1_unsolicited_report_interval,
        }
    }
}
