//! Router solicitations and advertisements: asking for a router, believing it, and being one.
//!
//! Linux: net/ipv6/addrconf.c (`addrconf_rs_timer`, `addrconf_prefix_rcv`), net/ipv6/ndisc.c
//! (`ndisc_router_discovery`). RFC 4861 §6, RFC 4862 §5.5, RFC 4191, RFC 7559. Being a router that advertises is
//! radvd's job on Linux ([`Advertise`]).

use core::fmt;
use core::net::Ipv6Addr;
use core::time::Duration;
use std::sync::Arc;

use wire::Instant;
use wire::ndp::{Opt, PrefixInfo, RouterAdvert};

use super::inet6::{METRIC_ADDRCONF, eui64};
use super::{DadState, INFINITE_LIFETIME, Lifetimes, NewAddr6, TimerEvent};
use crate::record::{AddrChange, IfIndex, What};
use crate::rng::Rng;
use crate::route::{NewRoute, RouteProtocol};
use crate::{Stack, TimerKey};

/// RFC 4862 §5.5.3 e: an advertisement that nobody authenticated cannot cut a lifetime below this.
const MIN_VALID_LIFETIME: u32 = 2 * 3600;
/// `MAX_INITIAL_RTR_ADVERT_INTERVAL` and radvd's `MaxRtrAdvInterval`.
const MAX_ADVERT_INTERVAL: Duration = Duration::from_secs(600);
/// RFC 4861 §6.2.6, `MAX_RA_DELAY_TIME`.
const MAX_RA_DELAY_MS: u64 = 500;
/// Prefixes that one advertisement carries.
const MAX_PREFIXES: usize = 16;

/// What a router advertises: radvd's configuration for one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// On-link and autonomous prefixes.
    pub prefixes: Vec<(Ipv6Addr, u8)>,
    /// `AdvDefaultLifetime`, in seconds; 0 is no default router.
    pub router_lifetime: u16,
    /// `AdvValidLifetime`, in seconds.
    pub valid_lifetime: u32,
    /// `AdvPreferredLifetime`, in seconds.
    pub preferred_lifetime: u32,
    /// `AdvLinkMTU`
    pub mtu: Option<u32>,
    /// `AdvCurHopLimit`
    pub hop_limit: u8,
    /// `AdvDefaultPreference`, coded as in RFC 4191 §2.1.
    pub preference: u8,
}

impl Default for Advertise {
    /// radvd's defaults.
    fn default() -> Self {
        Advertise {
            prefixes: Vec::new(),
            router_lifetime: 1800,
            valid_lifetime: 86_400,
            preferred_lifetime: 14_400,
            mtu: None,
            hop_limit: 64,
            preference: 0,
        }
    }
}

impl fmt::Display for Advertise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (prefix, len) in &self.prefixes {
            write!(f, "prefix {prefix}/{len} ")?;
        }
        let lft = |n: u32| if n == INFINITE_LIFETIME { "forever".to_string() } else { n.to_string() };
        write!(
            f,
            "lifetime {} valid_lft {} preferred_lft {} hoplimit {}",
            self.router_lifetime,
            lft(self.valid_lifetime),
            lft(self.preferred_lifetime),
            self.hop_limit
        )?;
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        match self.preference {
            1 => f.write_str(" pref high"),
            3 => f.write_str(" pref low"),
            _ => Ok(()),
        }
    }
}

/// `rfc3315_s14_backoff_init`: 0.9 to 1.1 of the initial time.
fn backoff_init(initial: Duration, rng: &mut Rng) -> Duration {
    initial * u32::try_from(900_000 + rng.below(200_001)).expect("at most 1.1 million") / 1_000_000
}

/// `rfc3315_s14_backoff_update`: 1.9 to 2.1 of the last time, at most 0.9 to 1.1 of the longest.
fn backoff_update(last: Duration, longest: Duration, rng: &mut Rng) -> Duration {
    let next = last * u32::try_from(1_900_000 + rng.below(200_001)).expect("at most 2.1 million") / 1_000_000;
    if next > longest { backoff_init(longest, rng) } else { next }
}

impl Stack {
    pub(crate) fn iface_timeout(&mut self, now: Instant, event: TimerEvent) {
        match event {
            TimerEvent::Dad(ifindex, addr) => self.dad_timeout(now, ifindex, addr),
            TimerEvent::Lifetime => self.lifetime_timeout(now),
            TimerEvent::RouterSolicit(ifindex) => self.router_solicit_timeout(now, ifindex),
            TimerEvent::Advertise(ifindex) => self.advertise_timeout(now, ifindex),
        }
    }

    /// The link-local address is ours: ask for routers (end of `addrconf_dad_completed`).
    pub(super) fn router_solicit_start(&mut self, now: Instant, ifindex: IfIndex, src: Ipv6Addr) {
        let Some(iface) = self.ifaces.get(ifindex) else { return };
        if !self.sysctl.accept_ra(iface)
            || iface.conf6.router_solicitations == 0
            || iface.is_loopback()
            || iface.noarp
        {
            return;
        }
        let interval = iface.conf6.router_solicitation_interval;
        self.ndisc_send_rs(now, ifindex, src);
        let wait = backoff_init(interval, &mut self.rng);
        let timer = self.arm(now, wait, TimerKey::Iface(TimerEvent::RouterSolicit(ifindex)));
        let inet6 = &mut self.ifaces.get_mut(ifindex).expect("seen above").inet6;
        inet6.ra_received = false;
        inet6.rs_probes = 1;
        inet6.rs_interval = wait;
        if let Some(old) = inet6.rs_timer.replace(timer) {
            self.timers.cancel(old);
        }
    }

    /// `addrconf_rs_timer`
    fn router_solicit_timeout(&mut self, now: Instant, ifindex: IfIndex) {
        let Some(iface) = self.ifaces.get_mut(ifindex) else { return };
        iface.inet6.rs_timer = None;
        let iface = self.ifaces.get(ifindex).expect("seen above");
        if iface.inet6.ra_received || !iface.is_running() || !self.sysctl.accept_ra(iface) {
            return;
        }
        let (limit, longest) =
            (iface.conf6.router_solicitations, iface.conf6.router_solicitation_max_interval);
        let last_wait = iface.conf6.router_solicitation_delay;
        let (sent, interval) = (iface.inet6.rs_probes, iface.inet6.rs_interval);
        if limit >= 0 && sent >= limit {
            self.out.record(now, || What::Note { text: "no IPv6 routers present".into() });
            return;
        }
        let Some(src) = iface.link_local() else { return };
        self.ndisc_send_rs(now, ifindex, src);
        let wait = backoff_update(interval, longest, &mut self.rng);
        let delay = if sent + 1 == limit { last_wait } else { wait };
        let timer = self.arm(now, delay, TimerKey::Iface(TimerEvent::RouterSolicit(ifindex)));
        let inet6 = &mut self.ifaces.get_mut(ifindex).expect("seen above").inet6;
        inet6.rs_probes += 1;
        inet6.rs_interval = wait;
        inet6.rs_timer = Some(timer);
    }

    /// `ndisc_router_discovery`: `router` is the advertisement's source; options are valid.
    pub(crate) fn router_advert(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        router: Ipv6Addr,
        advert: &RouterAdvert,
        options: &[u8],
    ) {
        let Some(iface) = self.ifaces.get_mut(ifindex) else { return };
        let iface_accepts =
            iface.conf6.accept_ra == 2 || (iface.conf6.accept_ra == 1 && iface.conf6.forwarding == 0);
        if !iface_accepts {
            return;
        }
        let ours = iface.inet6.addrs.iter().any(|a| a.addr == router);
        let conf = Arc::clone(&iface.conf6);
        if ours && conf.accept_ra_from_local == 0 {
            return;
        }
        iface.inet6.ra_received = true;
        if let Some(timer) = iface.inet6.rs_timer.take() {
            self.timers.cancel(timer);
        }
        if conf.accept_ra_defrtr != 0 {
            let preference = if conf.accept_ra_rtr_pref != 0 { advert.preference } else { 0 };
            self.default_router(
                now,
                ifindex,
                router,
                advert.router_lifetime,
                preference,
                conf.ra_defrtr_metric,
            );
        }
        let iface = self.ifaces.get_mut(ifindex).expect("seen above");
        let min_hops = u8::try_from(conf.accept_ra_min_hop_limit).unwrap_or(u8::MAX);
        let hop_limit = Some(advert.hop_limit).filter(|h| *h != 0 && *h >= min_hops);
        if let Some(hop_limit) = hop_limit
            && i32::from(hop_limit) != conf.hop_limit
        {
            Arc::make_mut(&mut iface.conf6).hop_limit = hop_limit.into();
        }
        self.fib_ra_metrics(ifindex, router, hop_limit, None);
        let iface = self.ifaces.get_mut(ifindex).expect("seen above");
        if advert.retrans_timer != 0 && advert.retrans_timer < u32::MAX / 1000 {
            let retrans = Duration::from_millis(advert.retrans_timer.into());
            if iface.neigh6.retrans_time != retrans {
                Arc::make_mut(&mut iface.neigh6).retrans_time = retrans;
            }
        }
        if advert.reachable_time != 0 && advert.reachable_time <= 3_600_000 {
            let base = Duration::from_millis(advert.reachable_time.into());
            if iface.neigh6.base_reachable_time != base {
                Arc::make_mut(&mut iface.neigh6).base_reachable_time = base;
                iface.reachable6 = None;
            }
        }
        for option in wire::ndp::options(options).map_while(Result::ok) {
            match option {
                Opt::PrefixInfo(info) if conf.accept_ra_pinfo != 0 => self.prefix_info(now, ifindex, &info),
                Opt::Mtu(mtu) if conf.accept_ra_mtu != 0 => self.advertised_mtu(ifindex, router, mtu),
                _ => {}
            }
        }
        self.arm_lifetimes(now);
    }

    /// The default route by this router, for as long as it says.
    fn default_router(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        router: Ipv6Addr,
        lifetime: u16,
        preference: u8,
        metric: u32,
    ) {
        if lifetime == 0 {
            return self.fib_del_ra_router(now, ifindex, router);
        }
        let lifetime = Duration::from_secs(lifetime.into());
        // RFC 4191 §2.2: the reserved value 2 counts as medium.
        let pref = if preference == 2 { 0 } else { preference };
        let expires = Some(now + lifetime);
        if self.fib_refresh6(Ipv6Addr::UNSPECIFIED, 0, ifindex, Some(router), expires, pref) {
            return;
        }
        let route = NewRoute {
            protocol: RouteProtocol::RA,
            metric: Some(metric),
            oif: ifindex,
            gateway: Some(router.into()),
            pref,
            addrconf: true,
            expires: Some(lifetime),
            ..NewRoute::new(Ipv6Addr::UNSPECIFIED.into(), 0)
        };
        let _ = self.route_add_quiet(now, &route);
    }

    fn advertised_mtu(&mut self, ifindex: IfIndex, router: Ipv6Addr, mtu: u32) {
        let Some(iface) = self.ifaces.get_mut(ifindex) else { return };
        if (super::IPV6_MIN_MTU..=iface.mtu).contains(&mtu) && iface.conf6.mtu != mtu {
            Arc::make_mut(&mut iface.conf6).mtu = mtu;
            self.fib_ra_metrics(ifindex, router, None, Some(mtu));
        }
    }

    /// `addrconf_prefix_rcv`
    fn prefix_info(&mut self, now: Instant, ifindex: IfIndex, info: &PrefixInfo) {
        let prefix = info.prefix;
        if prefix.is_multicast()
            || prefix.is_unicast_link_local()
            || info.preferred_lifetime > info.valid_lifetime
        {
            return;
        }
        let mask =
            if info.prefix_len == 0 { 0 } else { u128::MAX << (128 - u32::from(info.prefix_len.min(128))) };
        let network = Ipv6Addr::from_bits(prefix.to_bits() & mask);
        let secs = |n: u32| (n != INFINITE_LIFETIME).then(|| Duration::from_secs(n.into()));
        if info.on_link {
            let expires = secs(info.valid_lifetime).map(|d| now + d);
            let known = self.fib_refresh6(network, info.prefix_len, ifindex, None, expires, 0);
            if !known && info.valid_lifetime != 0 {
                let route = NewRoute {
                    protocol: RouteProtocol::KERNEL,
                    metric: Some(METRIC_ADDRCONF),
                    oif: ifindex,
                    addrconf: true,
                    expires: secs(info.valid_lifetime),
                    ..NewRoute::new(network.into(), info.prefix_len)
                };
                let _ = self.route_add_quiet(now, &route);
            }
            if info.valid_lifetime == 0 {
                self.fib_expire6(now);
            }
        }
        let Some(iface) = self.ifaces.get(ifindex) else { return };
        // Only 64-bit prefixes make addresses on Ethernet (RFC 2464 §4).
        if !info.autonomous || iface.conf6.autoconf == 0 || info.prefix_len != 64 {
            return;
        }
        let addr = Ipv6Addr::from_bits(network.to_bits() | u128::from(eui64(iface.mac)));
        let count = iface.inet6.addrs.len();
        let limit = usize::try_from(iface.conf6.max_addresses).unwrap_or(0);
        if let Some(known) = iface.inet6.addrs.iter().find(|a| a.addr == addr) {
            if known.dad != DadState::Failed && known.autoconf {
                self.refresh_autoconf(now, ifindex, addr, info);
            }
        } else if info.valid_lifetime != 0 && (limit == 0 || count < limit) {
            let new = NewAddr6 {
                valid: info.valid_lifetime,
                preferred: info.preferred_lifetime,
                autoconf: true,
                ..NewAddr6::new(addr, info.prefix_len)
            };
            let _ = self.addr_add6(now, ifindex, &new);
        }
    }

    /// RFC 4862 §5.5.3 e: longer is believed, and so is anything above two hours; less only down to two hours.
    fn refresh_autoconf(&mut self, now: Instant, ifindex: IfIndex, addr: Ipv6Addr, info: &PrefixInfo) {
        let known = self.ifaces.get(ifindex).and_then(|i| i.inet6.addrs.iter().find(|a| a.addr == addr));
        let Some(known) = known else { return };
        let remaining = match known.lifetimes.valid_until() {
            None => INFINITE_LIFETIME,
            Some(at) => u32::try_from(at.saturating_since(now).as_secs()).unwrap_or(INFINITE_LIFETIME),
        };
        let floor = remaining.min(MIN_VALID_LIFETIME);
        let valid = info.valid_lifetime.max(floor);
        self.addr_refresh6(now, ifindex, addr, valid, info.preferred_lifetime);
    }

    /// New lifetimes for an address that is there.
    pub(crate) fn addr_refresh6(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        addr: Ipv6Addr,
        valid: u32,
        preferred: u32,
    ) {
        let Some(iface) = self.ifaces.get_mut(ifindex) else { return };
        let Some(a) = iface.inet6.addrs.iter_mut().find(|a| a.addr == addr) else { return };
        a.lifetimes = Lifetimes { valid, preferred, since: now };
        let was = a.deprecated;
        a.deprecated = preferred == 0;
        if was != a.deprecated && a.is_usable() {
            let change = if was { AddrChange::Preferred } else { AddrChange::Deprecated };
            self.out.record(now, || What::Addr { ifindex, addr: addr.into(), change });
        }
        self.arm_lifetimes(now);
    }

    /// `ra dev X …`: begins or stops to advertise.
    pub(crate) fn set_advertise(&mut self, now: Instant, ifindex: IfIndex, advertise: Option<Advertise>) {
        let Some(iface) = self.ifaces.get_mut(ifindex) else { return };
        iface.inet6.advertise = advertise.map(|mut a| {
            a.prefixes.truncate(MAX_PREFIXES);
            Box::new(a)
        });
        if let Some(timer) = iface.inet6.advertise_timer.take() {
            self.timers.cancel(timer);
        }
        self.advertise_kick(now, ifindex);
    }

    /// Advertises soon: at the start, and when somebody asks (RFC 4861 §6.2.6: within half a second).
    pub(crate) fn advertise_kick(&mut self, now: Instant, ifindex: IfIndex) {
        let ready =
            self.ifaces.get(ifindex).is_some_and(|i| i.inet6.advertise.is_some() && i.link_local().is_some());
        if !ready {
            return;
        }
        let wait = Duration::from_millis(self.rng.below(MAX_RA_DELAY_MS));
        let timer = self.arm(now, wait, TimerKey::Iface(TimerEvent::Advertise(ifindex)));
        let inet6 = &mut self.ifaces.get_mut(ifindex).expect("seen above").inet6;
        if let Some(old) = inet6.advertise_timer.replace(timer) {
            self.timers.cancel(old);
        }
    }

    fn advertise_timeout(&mut self, now: Instant, ifindex: IfIndex) {
        let Some(iface) = self.ifaces.get_mut(ifindex) else { return };
        iface.inet6.advertise_timer = None;
        let (Some(advertise), Some(src)) = (iface.inet6.advertise.clone(), iface.link_local()) else {
            return;
        };
        if !iface.is_running() {
            return;
        }
        self.ndisc_send_ra(now, ifindex, src, &advertise);
        // RFC 4861 §6.2.4: unsolicited ones at a random time between a third of the interval and all of it.
        let most = u64::try_from(MAX_ADVERT_INTERVAL.as_millis()).expect("ten minutes");
        let wait = Duration::from_millis(most / 3 + self.rng.below(most - most / 3));
        let timer = self.arm(now, wait, TimerKey::Iface(TimerEvent::Advertise(ifindex)));
        self.ifaces.get_mut(ifindex).expect("seen above").inet6.advertise_timer = Some(timer);
    }
}
