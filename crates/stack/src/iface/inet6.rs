//! IPv6 addresses of an interface: link-local ones made from the MAC address, duplicate address detection,
//! lifetimes, and the routes that come with them.
//!
//! Linux: net/ipv6/addrconf.c (`addrconf_dev_config`, `ipv6_add_addr`, `addrconf_dad_work`, `addrconf_dad_failure`,
//! `addrconf_verify_rtnl`). RFC 4862 §5.4, RFC 4291 appendix A.

use core::net::Ipv6Addr;
use core::time::Duration;

use wire::{Instant, MacAddr, Medium};

use super::{Armed, Interface, LinkKind, Scope, TimerEvent};
use crate::record::{AddrChange, IfIndex, What};
use crate::route::{NewRoute, RouteKind, RouteProtocol, Table};
use crate::sysctl::Ipv6Conf;
use crate::{Errno, Stack, TimerKey};

/// `INFINITY_LIFE_TIME`, in seconds.
pub const INFINITE_LIFETIME: u32 = u32::MAX;
/// The metric of the kernel's own routes (`IP6_RT_PRIO_ADDRCONF`).
pub(super) const METRIC_ADDRCONF: u32 = 256;
/// Addresses that one interface may have, whatever `max_addresses` says of autoconfigured ones.
const MAX_ADDRESSES: usize = 65_536;

/// How far duplicate address detection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DadState {
    /// Not ours yet: this many solicitations are still to be sent.
    Tentative(u32),
    /// Ours.
    Done,
    /// Somebody else has it.
    Failed,
}

/// How long an address may be used, in seconds from when it was last refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Then it goes away.
    pub valid: u32,
    /// Then it is not chosen for new connections.
    pub preferred: u32,
    /// When these began to run.
    pub since: Instant,
}

impl Lifetimes {
    /// For ever.
    pub const INFINITE: Lifetimes =
        Lifetimes { valid: INFINITE_LIFETIME, preferred: INFINITE_LIFETIME, since: Instant::ZERO };

    fn end(self, secs: u32) -> Option<Instant> {
        (secs != INFINITE_LIFETIME).then(|| self.since + Duration::from_secs(secs.into()))
    }

    /// When the address goes.
    pub fn valid_until(self) -> Option<Instant> {
        self.end(self.valid)
    }

    /// When the address is deprecated.
    pub fn preferred_until(self) -> Option<Instant> {
        self.end(self.preferred)
    }
}

/// One IPv6 address of an interface (`struct inet6_ifaddr`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv6IfAddr {
    /// The address.
    pub addr: Ipv6Addr,
    /// Prefix length, 0 to 128.
    pub prefix_len: u8,
    /// Whether it is ours already.
    pub dad: DadState,
    /// `nodad`
    pub nodad: bool,
    /// Lifetimes.
    pub lifetimes: Lifetimes,
    /// Past its preferred lifetime (`IFA_F_DEPRECATED`).
    pub deprecated: bool,
    /// Made from a router's prefix (`dynamic`, RFC 4862 §5.5).
    pub autoconf: bool,
    /// Added by hand or by the kernel itself; stays until it is taken away (`IFA_F_PERMANENT`).
    pub permanent: bool,
    /// The link-local address that the kernel made.
    pub kernel: bool,
    /// `dad_work`
    pub(super) dad_timer: Armed,
}

impl Ipv6IfAddr {
    /// `host` for ::1, `link`, `site` or `global`.
    pub fn scope(&self) -> Scope {
        if self.addr.is_loopback() {
            Scope::HOST
        } else if self.addr.is_unicast_link_local() {
            Scope::LINK
        } else if self.addr.segments()[0] & 0xffc0 == 0xfec0 {
            Scope::SITE
        } else {
            Scope::UNIVERSE
        }
    }

    /// Neither tentative nor a duplicate.
    pub fn is_usable(&self) -> bool {
        self.dad == DadState::Done
    }

    /// Past its preferred lifetime.
    pub fn is_deprecated(&self) -> bool {
        self.deprecated
    }
}

/// IPv6 on one interface (`struct inet6_dev`).
#[derive(Clone, Debug, Default)]
pub struct Inet6 {
    /// Addresses: wider scopes first, among equals the newest first.
    pub addrs: Vec<Ipv6IfAddr>,
    /// A router answered (`IF_RA_RCVD`).
    pub(super) ra_received: bool,
    /// Router solicitations sent, and the time to the next one.
    pub(super) rs_probes: i32,
    pub(super) rs_interval: Duration,
    pub(super) rs_timer: Armed,
    /// What this host, being a router, advertises.
    pub(super) advertise: Option<Box<super::Advertise>>,
    pub(super) advertise_timer: Armed,
}

/// What `ip -6 addr add` was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NewAddr6 {
    pub(crate) addr: Ipv6Addr,
    pub(crate) prefix_len: u8,
    pub(crate) nodad: bool,
    pub(crate) noprefixroute: bool,
    pub(crate) valid: u32,
    pub(crate) preferred: u32,
    pub(crate) autoconf: bool,
    pub(crate) kernel: bool,
}

impl NewAddr6 {
    pub(crate) fn new(addr: Ipv6Addr, prefix_len: u8) -> NewAddr6 {
        NewAddr6 {
            addr,
            prefix_len,
            nodad: false,
            noprefixroute: false,
            valid: INFINITE_LIFETIME,
            preferred: INFINITE_LIFETIME,
            autoconf: false,
            kernel: false,
        }
    }
}

/// The solicited-node group of an address (RFC 4291 §2.7.1).
pub(crate) fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let o = addr.octets();
    let low = u16::from_be_bytes([o[14], o[15]]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(o[13]), low)
}

/// The lower 64 bits made from a MAC address (RFC 4291 appendix A, `addrconf_ifid_eui48`).
pub(super) fn eui64(mac: MacAddr) -> u64 {
    let m = mac.0;
    u64::from_be_bytes([m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]])
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

impl Stack {
    /// Whether IPv6 can run: not disabled, up, and the MTU large enough.
    pub(super) fn inet6_runs(&self, iface: &Interface) -> bool {
        iface.up && iface.mtu >= super::IPV6_MIN_MTU && self.sysctl.ipv6_enabled(iface)
    }

    /// `addrconf_notify(NETDEV_UP)`
    pub(super) fn inet6_up(&mut self, now: Instant, ifindex: IfIndex) {
        let Some(iface) = self.ifaces.get(ifindex) else { return };
        if !self.inet6_runs(iface) {
            return;
        }
        let (loopback, medium, mac) = (iface.is_loopback(), iface.medium, iface.mac);
        let router = iface.forwards_ipv6();
        let has_link_local = iface.inet6.addrs.iter().any(|a| a.scope() == Scope::LINK);
        let makes_link_local = iface.conf6.addr_gen_mode == 0;
        let nic_or_vlan = matches!(iface.kind, LinkKind::Nic | LinkKind::Vlan { .. } | LinkKind::Vxlan(_));
        if loopback {
            if iface.inet6.addrs.is_empty() {
                let _ = self.addr_add6(now, ifindex, &NewAddr6::new(Ipv6Addr::LOCALHOST, 128));
            }
            return;
        }
        let group_route = NewRoute {
            kind: RouteKind::Multicast,
            table: Some(Table::Local),
            protocol: RouteProtocol::KERNEL,
            metric: Some(METRIC_ADDRCONF),
            oif: ifindex,
            ..NewRoute::new(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0).into(), 8)
        };
        let _ = self.route_add_quiet(now, &group_route);
        self.mcast_join(now, ifindex, ALL_NODES.into());
        if router {
            self.mcast_join(now, ifindex, ALL_ROUTERS.into());
        }
        // Addresses that were added while it was down begin their detection now.
        for addr in self
            .ifaces
            .get(ifindex)
            .expect("seen above")
            .inet6
            .addrs
            .iter()
            .map(|a| a.addr)
            .collect::<Vec<_>>()
        {
            self.addr6_routes_and_dad(now, ifindex, addr, false);
        }
        if !has_link_local && makes_link_local {
            let low = match medium {
                Medium::Ethernet if nic_or_vlan => eui64(mac),
                // addrconf_ifid_*: an interface without a hardware address gets random bits.
                Medium::Ethernet | Medium::Ip => self.rng.fork(&format!("ifid {ifindex}")).next_u64(),
            };
            let addr = Ipv6Addr::from_bits((0xfe80_u128 << 112) | u128::from(low));
            let _ = self.addr_add6(now, ifindex, &NewAddr6 { kernel: true, ..NewAddr6::new(addr, 64) });
        }
    }

    /// `addrconf_notify(NETDEV_CHANGE)`: the cable is back, detection starts over for tentative addresses.
    pub(super) fn inet6_carrier_up(&mut self, now: Instant, ifindex: IfIndex) {
        let Some(iface) = self.ifaces.get(ifindex) else { return };
        if !self.inet6_runs(iface) {
            return;
        }
        let tentative: Vec<Ipv6Addr> = iface
            .inet6
            .addrs
            .iter()
            .filter(|a| matches!(a.dad, DadState::Tentative(_)))
            .map(|a| a.addr)
            .collect();
        for addr in tentative {
            self.dad_start(now, ifindex, addr);
        }
        if let Some(src) = self.ifaces.get(ifindex).and_then(Interface::link_local) {
            self.router_solicit_start(now, ifindex, src);
        }
    }

    /// `addrconf_ifdown`: every address goes, but the kernel makes the link-local one again.
    pub(super) fn inet6_down(&mut self, now: Instant, ifindex: IfIndex) {
        let Some(iface) = self.ifaces.get_mut(ifindex) else { return };
        let addrs = core::mem::take(&mut iface.inet6.addrs);
        iface.inet6.ra_received = false;
        for timer in [iface.inet6.rs_timer.take(), iface.inet6.advertise_timer.take()].into_iter().flatten() {
            self.timers.cancel(timer);
        }
        for a in addrs {
            if let Some(timer) = a.dad_timer {
                self.timers.cancel(timer);
            }
            self.mcast_leave(now, ifindex, solicited_node(a.addr).into());
            self.out.record(now, || What::Addr { ifindex, addr: a.addr.into(), change: AddrChange::Removed });
        }
        self.mcast_leave(now, ifindex, ALL_NODES.into());
        self.fib_flush6_dev(now, ifindex);
    }

    /// After a change of `net.ipv6.conf.<name>`.
    pub(crate) fn conf6_changed(&mut self, now: Instant, ifindex: IfIndex, before: &Ipv6Conf) {
        let Some(iface) = self.ifaces.get(ifindex) else { return };
        let (off, was_off) = (iface.conf6.disable_ipv6 != 0, before.disable_ipv6 != 0);
        let (router, was_router) = (iface.forwards_ipv6(), before.forwarding != 0);
        let up = iface.up;
        if off && !was_off {
            self.inet6_down(now, ifindex);
        } else if was_off && !off && up {
            self.inet6_up(now, ifindex);
        }
        if router != was_router && up && !off {
            if router {
                self.mcast_join(now, ifindex, ALL_ROUTERS.into());
                // A router takes no default route from advertisements (rt6_purge_dflt_routers).
                self.fib_purge_ra_routers(now, ifindex);
            } else {
                self.mcast_leave(now, ifindex, ALL_ROUTERS.into());
            }
        }
        self.fib.bump();
    }

    /// `inet6_addr_add`
    pub(crate) fn addr_add6(&mut self, now: Instant, ifindex: IfIndex, new: &NewAddr6) -> Result<(), Errno> {
        if new.prefix_len > 128 || new.preferred > new.valid || new.valid == 0 {
            return Err(Errno::EINVAL);
        }
        if new.addr.is_multicast() || new.addr.is_unspecified() {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let iface = self.ifaces.get_mut(ifindex).ok_or(Errno::ENODEV)?;
        if new.addr.is_loopback() && !iface.is_loopback() {
            return Err(Errno::EADDRNOTAVAIL);
        }
        if iface.conf6.disable_ipv6 != 0 {
            return Err(Errno::EACCES);
        }
        if iface.inet6.addrs.iter().any(|a| a.addr == new.addr) {
            return Err(Errno::EEXIST);
        }
        if iface.inet6.addrs.len() >= MAX_ADDRESSES {
            return Err(Errno::ENOBUFS);
        }
        let ifa = Ipv6IfAddr {
            addr: new.addr,
            prefix_len: new.prefix_len,
            dad: DadState::Tentative(0),
            nodad: new.nodad,
            lifetimes: Lifetimes { valid: new.valid, preferred: new.preferred, since: now },
            deprecated: new.preferred == 0,
            autoconf: new.autoconf,
            permanent: new.valid == INFINITE_LIFETIME && !new.autoconf,
            kernel: new.kernel,
            dad_timer: None,
        };
        // ipv6_link_dev_addr: before those of the same or a narrower scope.
        let scope = ifa.scope();
        let at = iface.inet6.addrs.iter().position(|a| a.scope() >= scope).unwrap_or(iface.inet6.addrs.len());
        crate::socket::slab::grow_by_one(&mut iface.inet6.addrs);
        iface.inet6.addrs.insert(at, ifa);
        self.addr6_routes_and_dad(now, ifindex, new.addr, new.noprefixroute || new.autoconf);
        self.arm_lifetimes(now);
        Ok(())
    }

    /// The prefix route at once, the local route when detection is over.
    fn addr6_routes_and_dad(&mut self, now: Instant, ifindex: IfIndex, addr: Ipv6Addr, noprefixroute: bool) {
        let Some(iface) = self.ifaces.get(ifindex) else { return };
        if !self.inet6_runs(iface) {
            return;
        }
        let Some(a) = iface.inet6.addrs.iter().find(|a| a.addr == addr) else { return };
        let (len, valid) = (a.prefix_len, a.lifetimes.valid);
        if !noprefixroute && len < 128 {
            let mask = if len == 0 { 0 } else { u128::MAX << (128 - u32::from(len)) };
            let route = NewRoute {
                protocol: RouteProtocol::KERNEL,
                metric: Some(METRIC_ADDRCONF),
                oif: ifindex,
                expires: (valid != INFINITE_LIFETIME).then(|| Duration::from_secs(valid.into())),
                ..NewRoute::new(Ipv6Addr::from_bits(addr.to_bits() & mask).into(), len)
            };
            let _ = self.route_add_quiet(now, &route);
        }
        self.dad_start(now, ifindex, addr);
    }

    /// `addrconf_dad_start`, `addrconf_dad_begin`, `addrconf_dad_kick`.
    fn dad_start(&mut self, now: Instant, ifindex: IfIndex, addr: Ipv6Addr) {
        self.mcast_join(now, ifindex, solicited_node(addr).into());
        let all_accept = self.sysctl.conf6_all.accept_dad;
        let Some(iface) = self.ifaces.get_mut(ifindex) else { return };
        let carrier = iface.carrier;
        let skip = iface.noarp || iface.is_loopback() || (all_accept < 1 && iface.conf6.accept_dad < 1);
        let (transmits, delay) = (iface.conf6.dad_transmits, iface.conf6.router_solicitation_delay);
        let Some(a) = iface.inet6.addrs.iter_mut().find(|a| a.addr == addr) else { return };
        if skip || a.nodad {
            return self.dad_completed(now, ifindex, addr);
        }
        a.dad = DadState::Tentative(u32::try_from(transmits).unwrap_or(0));
        self.out.record(now, || What::Addr { ifindex, addr: addr.into(), change: AddrChange::Tentative });
        if !carrier {
            return;
        }
        // RFC 4862 §5.4.2: a random delay up to MAX_RTR_SOLICITATION_DELAY.
        let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let wait = if ms == 0 { 0 } else { self.rng.below(ms) };
        self.dad_arm(now, ifindex, addr, Duration::from_millis(wait));
    }

    /// `addrconf_mod_dad_work`
    fn dad_arm(&mut self, now: Instant, ifindex: IfIndex, addr: Ipv6Addr, delay: Duration) {
        let timer = self.arm(now, delay, TimerKey::Iface(TimerEvent::Dad(ifindex, addr)));
        let a = self.ifaces.get_mut(ifindex).and_then(|i| i.inet6.addrs.iter_mut().find(|a| a.addr == addr));
        if let Some(old) = a.and_then(|a| a.dad_timer.replace(timer)) {
            self.timers.cancel(old);
        }
    }

    /// `addrconf_dad_work`
    pub(super) fn dad_timeout(&mut self, now: Instant, ifindex: IfIndex, addr: Ipv6Addr) {
        let Some(iface) = self.ifaces.get_mut(ifindex) else { return };
        if !iface.is_running() {
            return;
        }
        let retrans = iface.neigh6.retrans_time.max(Duration::from_millis(10));
        let Some(a) = iface.inet6.addrs.iter_mut().find(|a| a.addr == addr) else { return };
        match a.dad {
            DadState::Tentative(0) => self.dad_completed(now, ifindex, addr),
            DadState::Tentative(left) => {
                a.dad = DadState::Tentative(left - 1);
                self.dad_arm(now, ifindex, addr, retrans);
                self.out.record(now, || What::Timer { name: "dad", detail: format!("{addr}") });
                self.ndisc_send_dad(now, ifindex, addr);
            }
            DadState::Done | DadState::Failed => {}
        }
    }

    /// `addrconf_dad_completed`
    fn dad_completed(&mut self, now: Instant, ifindex: IfIndex, addr: Ipv6Addr) {
        let Some(iface) = self.ifaces.get_mut(ifindex) else { return };
        let notify = iface.conf6.ndisc_notify != 0;
        let first_link_local = iface.link_local().is_none();
        let Some(a) = iface.inet6.addrs.iter_mut().find(|a| a.addr == addr) else { return };
        let change = if a.deprecated { AddrChange::Deprecated } else { AddrChange::Preferred };
        a.dad = DadState::Done;
        let link_local = a.scope() == Scope::LINK;
        let loopback = iface.is_loopback();
        let local = NewRoute {
            kind: RouteKind::Local,
            table: Some(Table::Local),
            protocol: RouteProtocol::KERNEL,
            metric: Some(0),
            oif: ifindex,
            ..NewRoute::new(addr.into(), 128)
        };
        let _ = self.route_add_quiet(now, &local);
        self.fib.bump();
        self.out.record(now, || What::Addr { ifindex, addr: addr.into(), change });
        if notify && !loopback {
            self.ndisc_send_unsolicited(now, ifindex, addr);
        }
        if link_local && first_link_local {
            self.mld_dad_complete(now, ifindex);
            self.router_solicit_start(now, ifindex, addr);
            self.advertise_kick(now, ifindex);
        }
    }

    /// `addrconf_dad_failure`: somebody else has this address.
    pub(crate) fn dad_failed(&mut self, now: Instant, ifindex: IfIndex, addr: Ipv6Addr) {
        let Some(iface) = self.ifaces.get_mut(ifindex) else { return };
        let mac = iface.mac;
        let accept_dad = iface.conf6.accept_dad.max(self.sysctl.conf6_all.accept_dad);
        let Some(a) = iface.inet6.addrs.iter_mut().find(|a| a.addr == addr) else { return };
        if !matches!(a.dad, DadState::Tentative(_)) {
            return;
        }
        a.dad = DadState::Failed;
        let (scope, autoconf) = (a.scope(), a.autoconf);
        self.out.record(now, || What::Addr { ifindex, addr: addr.into(), change: AddrChange::DadFailed });
        // accept_dad 2: a link-local address made from the MAC that is taken means that the MAC is.
        let own = Ipv6Addr::from_bits((0xfe80_u128 << 112) | u128::from(eui64(mac)));
        if accept_dad > 1 && scope == Scope::LINK && addr == own {
            self.inet6_down(now, ifindex);
        } else if autoconf {
            let _ = self.addr_del6(now, ifindex, addr, None);
        }
    }

    /// `inet6_addr_del`
    pub(crate) fn addr_del6(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        addr: Ipv6Addr,
        prefix_len: Option<u8>,
    ) -> Result<(), Errno> {
        let iface = self.ifaces.get_mut(ifindex).ok_or(Errno::ENODEV)?;
        let at = iface
            .inet6
            .addrs
            .iter()
            .position(|a| a.addr == addr && prefix_len.is_none_or(|len| len == a.prefix_len))
            .ok_or(Errno::EADDRNOTAVAIL)?;
        let gone = iface.inet6.addrs.remove(at);
        if let Some(timer) = gone.dad_timer {
            self.timers.cancel(timer);
        }
        let mask = if gone.prefix_len == 0 { 0 } else { u128::MAX << (128 - u32::from(gone.prefix_len)) };
        let network = addr.to_bits() & mask;
        let same_net = iface
            .inet6
            .addrs
            .iter()
            .any(|a| a.prefix_len == gone.prefix_len && a.addr.to_bits() & mask == network);
        self.mcast_leave(now, ifindex, solicited_node(addr).into());
        let local = NewRoute {
            kind: RouteKind::Local,
            table: Some(Table::Local),
            oif: ifindex,
            ..NewRoute::new(addr.into(), 128)
        };
        let _ = self.route_delete(now, &local.as_filter());
        // check_cleanup_prefix_route: the kernel's prefix route goes with the last address that has it.
        if !same_net && !gone.autoconf && gone.prefix_len < 128 {
            let prefix = NewRoute {
                metric: Some(METRIC_ADDRCONF),
                oif: ifindex,
                ..NewRoute::new(Ipv6Addr::from_bits(network).into(), gone.prefix_len)
            };
            let _ = self.route_delete(now, &prefix.as_filter());
        }
        self.fib_sync_down_addr(now, addr.into());
        self.fib.bump();
        self.out.record(now, || What::Addr { ifindex, addr: addr.into(), change: AddrChange::Removed });
        Ok(())
    }

    /// `addrconf_verify_work`: arms the timer for the next end of a lifetime.
    pub(super) fn arm_lifetimes(&mut self, now: Instant) {
        let next = self
            .ifaces
            .iter()
            .flat_map(|i| i.inet6.addrs.iter())
            .flat_map(|a| {
                let preferred = a.lifetimes.preferred_until().filter(|_| !a.deprecated);
                [preferred, a.lifetimes.valid_until()].into_iter().flatten()
            })
            .chain(self.fib_next_expiry6())
            .min();
        if let Some(old) = self.ifaces.lifetimes.take() {
            self.timers.cancel(old);
        }
        if let Some(at) = next {
            let wait = at.saturating_since(now);
            self.ifaces.lifetimes = Some(self.arm(now, wait, TimerKey::Iface(TimerEvent::Lifetime)));
        }
    }

    /// `addrconf_verify_rtnl`, `fib6_run_gc`
    pub(super) fn lifetime_timeout(&mut self, now: Instant) {
        self.ifaces.lifetimes = None;
        let mut over = Vec::new();
        for iface in self.ifaces.iter_mut() {
            for a in &mut iface.inet6.addrs {
                if a.lifetimes.valid_until().is_some_and(|at| at <= now) {
                    over.push((iface.ifindex, a.addr, true));
                } else if !a.deprecated && a.lifetimes.preferred_until().is_some_and(|at| at <= now) {
                    a.deprecated = true;
                    over.push((iface.ifindex, a.addr, false));
                }
            }
        }
        let any = !over.is_empty() || self.fib_next_expiry6().is_some_and(|at| at <= now);
        for (ifindex, addr, gone) in over {
            if gone {
                let _ = self.addr_del6(now, ifindex, addr, None);
            } else {
                self.out.record(now, || What::Addr {
                    ifindex,
                    addr: addr.into(),
                    change: AddrChange::Deprecated,
                });
            }
        }
        if any {
            self.fib_expire6(now);
        }
        self.arm_lifetimes(now);
    }
}
