//! Sysctls, typed and named as in Linux, with the defaults of kernel 6.18; what `all`, `default` and an
//! interface's own value mean together.
//!
//! Linux: include/linux/inetdevice.h (`IN_DEV_ANDCONF`, `IN_DEV_ORCONF`, `IN_DEV_MAXCONF`),
//! net/ipv4/devinet.c (`devinet_conf_proc`, `inet_forward_change`), net/ipv6/addrconf.c
//! (`addrconf_fixup_forwarding`), net/core/neighbour.c (`neigh_proc_update`).
//!
//! All groups are shared between hosts until one is written: a host with defaults costs a few pointers.

mod conf;
mod global;
mod known;
mod name;
pub(crate) mod value;

use core::fmt;
use std::sync::{Arc, OnceLock};

pub use conf::{Ipv4Conf, Ipv6Conf, NeighGc, NeighParams};
pub use global::Globals;
pub(crate) use name::nearest;
use name::{Family, Name, Scope};
use value::{Key, Refused};
use wire::Instant;

use crate::iface::Interface;
use crate::record::{IfIndex, What};
use crate::{Errno, KernelProfile, Stack};

/// A host's settings. Per-interface ones hang on the [`Interface`]; these are the host's own, `all` and
/// `default`.
#[derive(Clone, Debug)]
pub struct Sysctls {
    profile: KernelProfile,
    /// `net.core.*`, `net.ipv4.*` and `net.ipv6.*` without an interface: `stack.sysctl.ns.tcp_sack`.
    pub ns: Arc<Globals>,
    /// `net.ipv4.conf.all`.
    pub conf4_all: Arc<Ipv4Conf>,
    /// `net.ipv4.conf.default`: what new interfaces start with.
    pub conf4_default: Arc<Ipv4Conf>,
    /// `net.ipv6.conf.all`.
    pub conf6_all: Arc<Ipv6Conf>,
    /// `net.ipv6.conf.default`.
    pub conf6_default: Arc<Ipv6Conf>,
    /// What `lo` starts with.
    conf6_lo: Arc<Ipv6Conf>,
    /// What an interface with an MTU of 1500 starts with, and the `default` it was made from.
    conf6_nic: (Arc<Ipv6Conf>, Arc<Ipv6Conf>),
    /// `net.ipv4.neigh.default`.
    pub neigh4_default: Arc<NeighParams>,
    /// `net.ipv6.neigh.default`.
    pub neigh6_default: Arc<NeighParams>,
    /// `net.ipv4.neigh.default.gc_*`.
    pub gc4: Arc<NeighGc>,
    /// `net.ipv6.neigh.default.gc_*`.
    pub gc6: Arc<NeighGc>,
}

impl Sysctls {
    /// The defaults of a fresh network namespace of that kernel.
    pub fn new(profile: KernelProfile) -> Sysctls {
        static DEFAULTS: [OnceLock<Sysctls>; 4] = [const { OnceLock::new() }; 4];
        let slot = match profile {
            KernelProfile::V4_4 => 0,
            KernelProfile::V5_15 => 1,
            KernelProfile::V6_12 => 2,
            KernelProfile::V6_18 => 3,
        };
        DEFAULTS[slot].get_or_init(|| Sysctls::made(profile)).clone()
    }

    fn made(profile: KernelProfile) -> Sysctls {
        let gc = Arc::new(NeighGc::default());
        let default6 = Arc::new(Ipv6Conf::default());
        Sysctls {
            profile,
            ns: Arc::new(Globals::of(profile)),
            conf4_all: Arc::new(Ipv4Conf { accept_source_route: 0, ..Ipv4Conf::default() }),
            conf4_default: Arc::new(Ipv4Conf::default()),
            conf6_all: Arc::new(Ipv6Conf { accept_dad: 0, ..Ipv6Conf::default() }),
            conf6_lo: Arc::new(Ipv6Conf {
                mtu: 65_536,
                accept_dad: -1,
                use_tempaddr: -1,
                ..Ipv6Conf::default()
            }),
            conf6_nic: (Arc::new(Ipv6Conf { mtu: 1500, ..Ipv6Conf::default() }), Arc::clone(&default6)),
            conf6_default: default6,
            neigh4_default: Arc::new(NeighParams::default()),
            neigh6_default: Arc::new(NeighParams::ndp()),
            gc4: Arc::clone(&gc),
            gc6: gc,
        }
    }

    /// `net.ipv6.conf.<name>` of a new interface, shared between hosts where nobody changed `default`.
    pub(crate) fn new_conf6(&self, loopback: bool, mtu: u32) -> Arc<Ipv6Conf> {
        let pristine = Arc::ptr_eq(&self.conf6_default, &self.conf6_nic.1);
        if loopback {
            Arc::clone(&self.conf6_lo)
        } else if pristine && self.conf6_nic.0.mtu == mtu {
            Arc::clone(&self.conf6_nic.0)
        } else {
            Arc::new(Ipv6Conf { mtu, ..(*self.conf6_default).clone() })
        }
    }

    /// `net.ipv4.ip_forward`, another name of `net.ipv4.conf.all.forwarding`.
    pub fn ip_forward(&self) -> bool {
        self.conf4_all.forwarding != 0
    }
}

/// How `all` and an interface's own value become one (include/linux/inetdevice.h).
impl Interface {
    /// `IN_DEV_FORWARD`: this interface's own value decides.
    pub fn forwards_ipv4(&self) -> bool {
        self.conf4.forwarding != 0
    }

    /// `idev->cnf.forwarding`; the host forwards when `all` does (`net.ipv6.conf.all.forwarding`).
    pub fn forwards_ipv6(&self) -> bool {
        self.conf6.forwarding != 0
    }
}

macro_rules! combined {
    ($($(#[$doc:meta])* $name:ident: $field:ident $how:ident;)*) => {
        impl Sysctls {
            $($(#[$doc])* pub fn $name(&self, iface: &Interface) -> combined!(@ty $how) {
                combined!(@how $how self.conf4_all.$field, iface.conf4.$field)
            })*
        }
    };
    (@ty max) => { i32 };
    (@ty or) => { bool };
    (@ty and) => { bool };
    (@how max $all:expr, $own:expr) => { $all.max($own) };
    (@how or $all:expr, $own:expr) => { $all != 0 || $own != 0 };
    (@how and $all:expr, $own:expr) => { $all != 0 && $own != 0 };
}

combined! {
    /// `IN_DEV_ARP_ACCEPT`
    arp_accept: arp_accept max;
    /// `IN_DEV_ARP_ANNOUNCE`
    arp_announce: arp_announce max;
    /// `IN_DEV_ARP_IGNORE`
    arp_ignore: arp_ignore max;
    /// `IN_DEV_ARP_NOTIFY`
    arp_notify: arp_notify max;
    /// `IN_DEV_ARPFILTER`
    arp_filter: arp_filter or;
    /// `IN_DEV_ARP_EVICT_NOCARRIER`
    arp_evict_nocarrier: arp_evict_nocarrier and;
    /// `IN_DEV_PROXY_ARP`
    proxy_arp: proxy_arp or;
    /// `IN_DEV_RPFILTER`: 0 off, 1 strict, 2 loose.
    rp_filter: rp_filter max;
    /// `IN_DEV_LOG_MARTIANS`
    log_martians: log_martians or;
    /// `IN_DEV_ACCEPT_LOCAL`
    accept_local: accept_local or;
    /// `IN_DEV_ROUTE_LOCALNET`
    route_localnet: route_localnet or;
    /// `IN_DEV_SOURCE_ROUTE`
    accept_source_route: accept_source_route and;
    /// `IN_DEV_SEC_REDIRECTS`
    secure_redirects: secure_redirects or;
    /// `IN_DEV_SHARED_MEDIA`
    shared_media: shared_media or;
    /// `IN_DEV_TX_REDIRECTS`
    send_redirects: send_redirects or;
    /// `IN_DEV_PROMOTE_SECONDARIES`
    promote_secondaries: promote_secondaries or;
    /// `IN_DEV_ORCONF(DROP_GRATUITOUS_ARP)`
    drop_gratuitous_arp: drop_gratuitous_arp or;
    /// `IN_DEV_ORCONF(DROP_UNICAST_IN_L2_MULTICAST)`
    drop_unicast_in_l2_multicast: drop_unicast_in_l2_multicast or;
    /// `IN_DEV_BFORWARD`
    bc_forwarding: bc_forwarding and;
    /// `FORCE_IGMP_VERSION`: `all` first, then the interface's.
    force_igmp_version: force_igmp_version max;
    /// Both halves of `IN_DEV_RX_REDIRECTS`: see [`Sysctls::accept_redirects`].
    both_accept_redirects: accept_redirects and;
    /// As above.
    any_accept_redirects: accept_redirects or;
}

impl Sysctls {
    /// `IN_DEV_RX_REDIRECTS`: a router needs both `all` and the interface to allow it, a host either.
    pub fn accept_redirects(&self, iface: &Interface) -> bool {
        if iface.forwards_ipv4() {
            self.both_accept_redirects(iface)
        } else {
            self.any_accept_redirects(iface)
        }
    }

    /// `ipv6_accept_ra`: 1 on a host, 2 even on a router.
    pub fn accept_ra(&self, iface: &Interface) -> bool {
        iface.conf6.accept_ra == 2 || (iface.conf6.accept_ra == 1 && !iface.forwards_ipv6())
    }

    /// Whether IPv6 runs on the interface.
    pub fn ipv6_enabled(&self, iface: &Interface) -> bool {
        iface.conf6.disable_ipv6 == 0
    }
}

/// Why a sysctl was not read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SysctlError {
    /// Neither Linux nor this host has it.
    NoSuchSysctl {
        /// What was asked for.
        name: String,
        /// What was meant, perhaps.
        did_you_mean: Option<String>,
    },
    /// Linux has it, wirelab has not built what it decides.
    NotModelled {
        /// What was asked for.
        name: String,
    },
    /// The name is right but for the interface.
    NoSuchInterface {
        /// What was asked for.
        name: String,
        /// The interface in it.
        interface: String,
    },
    /// `EINVAL`: Linux does not take the value either (or wirelab has not built what it asks for).
    Invalid {
        /// What was written to.
        name: String,
        /// What was written.
        value: String,
        /// What would do.
        expects: String,
    },
}

impl SysctlError {
    /// What the kernel's file returns: `ENOENT` or `EINVAL`.
    pub fn errno(&self) -> Errno {
        match self {
            SysctlError::Invalid { .. } => Errno::EINVAL,
            SysctlError::NoSuchSysctl { .. }
            | SysctlError::NotModelled { .. }
            | SysctlError::NoSuchInterface { .. } => Errno::ENOENT,
        }
    }
}

impl fmt::Display for SysctlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SysctlError::NoSuchSysctl { name, did_you_mean: None } => write!(f, "no sysctl is called {name}"),
            SysctlError::NoSuchSysctl { name, did_you_mean: Some(meant) } => {
                write!(f, "no sysctl is called {name} (hint: {meant})")
            }
            SysctlError::NotModelled { name } => {
                write!(
                    f,
                    "Linux has {name}, but wirelab does not model what it decides (hint: run the host on Linux)"
                )
            }
            SysctlError::NoSuchInterface { name, interface } => {
                write!(f, "{name}: this host has no interface {interface}")
            }
            SysctlError::Invalid { name, value, expects } => {
                write!(f, "{name} does not take {value:?} (hint: it takes {expects})")
            }
        }
    }
}

impl core::error::Error for SysctlError {}

fn key_of<T>(keys: &'static [Key<T>], name: &str) -> Option<&'static Key<T>> {
    keys.iter().find(|k| k.name == name)
}

impl Stack {
    /// `sysctl NAME`: the value as the kernel's file shows it.
    pub fn sysctl_read(&self, name: &str) -> Result<String, SysctlError> {
        let parsed = self.sysctl_name(name)?;
        let s = &self.sysctl;
        Ok(match parsed {
            Name::Global(key) => (key.text)(&s.ns),
            Name::IpForward => i32::from(s.ip_forward()).to_string(),
            Name::Gc(Family::V4, key) => (key.text)(&s.gc4),
            Name::Gc(Family::V6, key) => (key.text)(&s.gc6),
            Name::Conf4(scope, key) => (key.text)(self.conf4(scope)),
            Name::Conf6(scope, key) => (key.text)(self.conf6(scope)),
            Name::Neigh(family, scope, key) => (key.text)(self.neigh_params(family, scope)),
            Name::UnresQlen(family, scope) => {
                let bytes = self.neigh_params(family, scope).unres_qlen_bytes;
                bytes.div_ceil(crate::neigh::FULL_FRAME_TRUESIZE).to_string()
            }
            Name::Seconds(family, scope, which) => {
                let p = self.neigh_params(family, scope);
                match which {
                    name::OldUnit::BaseReachable => p.base_reachable_time.as_secs().to_string(),
                    name::OldUnit::Retrans => (p.retrans_time.as_millis() / 10).to_string(),
                }
            }
        })
    }

    /// `sysctl -w NAME=VALUE`, with what else the kernel changes along with it.
    pub fn sysctl_write(&mut self, now: Instant, name: &str, value: &str) -> Result<(), SysctlError> {
        let parsed = self.sysctl_name(name)?;
        self.fib.bump(); // what sockets remember of their ways holds defaults, too
        let refused = |Refused(expects): Refused| SysctlError::Invalid {
            name: name.to_string(),
            value: value.to_string(),
            expects,
        };
        match parsed {
            Name::Global(key) => self.write_global(key, value).map_err(refused)?,
            Name::IpForward => {
                let key = key_of(Ipv4Conf::KEYS, "forwarding").expect("the group has it");
                self.write_conf4(now, Scope::All, key, value).map_err(refused)?;
            }
            Name::Gc(Family::V4, key) => {
                (key.write)(Arc::make_mut(&mut self.sysctl.gc4), value).map_err(refused)?
            }
            Name::Gc(Family::V6, key) => {
                (key.write)(Arc::make_mut(&mut self.sysctl.gc6), value).map_err(refused)?
            }
            Name::Conf4(scope, key) => self.write_conf4(now, scope, key, value).map_err(refused)?,
            Name::Conf6(scope, key) => self.write_conf6(now, scope, key, value).map_err(refused)?,
            Name::Neigh(family, scope, key) => {
                self.write_neigh(family, scope, key, value).map_err(refused)?
            }
            Name::UnresQlen(family, scope) => {
                let key = key_of(NeighParams::KEYS, "unres_qlen_bytes").expect("the group has it");
                let packets: u32 = value::Value::read(value, value::NON_NEGATIVE).map_err(refused)?;
                let bytes = packets.saturating_mul(crate::neigh::FULL_FRAME_TRUESIZE);
                self.write_neigh(family, scope, key, &bytes.to_string()).map_err(refused)?;
            }
            Name::Seconds(family, scope, which) => {
                let n: u32 = value::Value::read(value, value::NON_NEGATIVE).map_err(refused)?;
                let (key, ms) = match which {
                    name::OldUnit::BaseReachable => ("base_reachable_time_ms", n.saturating_mul(1000)),
                    name::OldUnit::Retrans => ("retrans_time_ms", n.saturating_mul(10)),
                };
                let key = key_of(NeighParams::KEYS, key).expect("the group has it");
                self.write_neigh(family, scope, key, &ms.to_string()).map_err(refused)?;
            }
        }
        self.out.record(now, || What::Admin { text: format!("sysctl -w {name}={}", quoted(value.trim())) });
        Ok(())
    }

    fn conf4(&self, scope: Scope) -> &Ipv4Conf {
        match scope {
            Scope::All => &self.sysctl.conf4_all,
            Scope::Default => &self.sysctl.conf4_default,
            Scope::Iface(i) => &self.ifaces.get(i).expect("the name was looked up").conf4,
        }
    }

    fn conf6(&self, scope: Scope) -> &Ipv6Conf {
        match scope {
            Scope::All => &self.sysctl.conf6_all,
            Scope::Default => &self.sysctl.conf6_default,
            Scope::Iface(i) => &self.ifaces.get(i).expect("the name was looked up").conf6,
        }
    }

    fn neigh_params(&self, family: Family, scope: Scope) -> &NeighParams {
        match (scope, family) {
            (Scope::All | Scope::Default, Family::V4) => &self.sysctl.neigh4_default,
            (Scope::All | Scope::Default, Family::V6) => &self.sysctl.neigh6_default,
            (Scope::Iface(i), Family::V4) => &self.ifaces.get(i).expect("the name was looked up").neigh4,
            (Scope::Iface(i), Family::V6) => &self.ifaces.get(i).expect("the name was looked up").neigh6,
        }
    }

    fn write_global(&mut self, key: &'static Key<Globals>, value: &str) -> Result<(), Refused> {
        let ns = Arc::make_mut(&mut self.sysctl.ns);
        let before = ns.clone();
        (key.write)(ns, value)?;
        let range = ns.ip_local_port_range;
        let unknown = |name: &String| !["reno", "cubic", "bbr"].contains(&name.as_str());
        // ipv4_local_port_range: a range must not reach into the privileged ports (12b).
        let privileged =
            range != before.ip_local_port_range && range[0] < i64::from(ns.ip_unprivileged_port_start);
        let complaint = if range[0] > range[1] || range[0] == 0 {
            Some("two ports, the lower one first")
        } else if privileged {
            Some("a lower port that is not below net.ipv4.ip_unprivileged_port_start")
        } else if unknown(&ns.tcp_congestion_control) {
            Some("reno, cubic or bbr")
        } else {
            None
        };
        match complaint {
            Some(text) => {
                *ns = before;
                Err(Refused(text.into()))
            }
            None => Ok(()),
        }
    }

    fn write_conf4(
        &mut self,
        now: Instant,
        scope: Scope,
        key: &'static Key<Ipv4Conf>,
        value: &str,
    ) -> Result<(), Refused> {
        let index = Ipv4Conf::KEYS.iter().position(|k| k.name == key.name).expect("it is from there");
        match scope {
            Scope::All => {
                let before = self.sysctl.ip_forward();
                (key.write)(Arc::make_mut(&mut self.sysctl.conf4_all), value)?;
                if key.name == "forwarding" && self.sysctl.ip_forward() != before {
                    self.forwarding_changed_ipv4();
                }
            }
            Scope::Default => {
                let default = Arc::make_mut(&mut self.sysctl.conf4_default);
                (key.write)(default, value)?;
                // devinet_copy_dflt_conf: interfaces that nobody set follow.
                for iface in self.ifaces.iter_mut().filter(|i| i.conf4_set & (1 << index) == 0) {
                    (key.copy)(Arc::make_mut(&mut iface.conf4), &self.sysctl.conf4_default);
                }
            }
            Scope::Iface(i) => {
                let iface = self.ifaces.get_mut(i).expect("the name was looked up");
                (key.write)(Arc::make_mut(&mut iface.conf4), value)?;
                iface.conf4_set |= 1 << index;
            }
        }
        if ["forwarding", "route_localnet", "accept_local", "rp_filter"].contains(&key.name) {
            self.fib.bump();
        }
        let _ = now;
        Ok(())
    }

    /// `inet_forward_change`: every interface follows, and a router does not take redirects.
    fn forwarding_changed_ipv4(&mut self) {
        let on = self.sysctl.conf4_all.forwarding;
        Arc::make_mut(&mut self.sysctl.conf4_all).accept_redirects = i32::from(on == 0);
        Arc::make_mut(&mut self.sysctl.conf4_default).forwarding = on;
        for iface in self.ifaces.iter_mut() {
            Arc::make_mut(&mut iface.conf4).forwarding = on;
        }
    }

    fn write_conf6(
        &mut self,
        now: Instant,
        scope: Scope,
        key: &'static Key<Ipv6Conf>,
        value: &str,
    ) -> Result<(), Refused> {
        match scope {
            Scope::All => {
                (key.write)(Arc::make_mut(&mut self.sysctl.conf6_all), value)?;
                // addrconf_forward_change, addrconf_disable_change: these two are for every interface.
                if ["forwarding", "disable_ipv6"].contains(&key.name) {
                    (key.copy)(Arc::make_mut(&mut self.sysctl.conf6_default), &self.sysctl.conf6_all);
                    let all: Vec<IfIndex> = self.ifaces.iter().map(|i| i.ifindex).collect();
                    for ifindex in all {
                        let conf = Arc::clone(&self.sysctl.conf6_all);
                        self.set_conf6(now, ifindex, |own| {
                            (key.copy)(own, &conf);
                            Ok(())
                        })?;
                    }
                }
            }
            Scope::Default => (key.write)(Arc::make_mut(&mut self.sysctl.conf6_default), value)?,
            Scope::Iface(i) => self.set_conf6(now, i, |own| (key.write)(own, value))?,
        }
        Ok(())
    }

    /// Changes an interface's IPv6 settings and lets IPv6 act on it.
    fn set_conf6(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        change: impl FnOnce(&mut Ipv6Conf) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        let iface = self.ifaces.get_mut(ifindex).expect("the name was looked up");
        let before = Arc::clone(&iface.conf6);
        let own = Arc::make_mut(&mut iface.conf6);
        change(own)?;
        if own.mtu > iface.mtu && own.mtu != before.mtu {
            iface.conf6 = before;
            return Err(Refused(format!("at most the interface's MTU, {}", iface.mtu)));
        }
        self.conf6_changed(now, ifindex, &before);
        Ok(())
    }

    fn write_neigh(
        &mut self,
        family: Family,
        scope: Scope,
        key: &'static Key<NeighParams>,
        value: &str,
    ) -> Result<(), Refused> {
        let index = NeighParams::KEYS.iter().position(|k| k.name == key.name).expect("it is from there");
        let bit = 1u32 << index;
        if let Scope::Iface(i) = scope {
            let iface = self.ifaces.get_mut(i).expect("the name was looked up");
            let (params, set, reach) = match family {
                Family::V4 => (&mut iface.neigh4, &mut iface.neigh4_set, &mut iface.reachable4),
                Family::V6 => (&mut iface.neigh6, &mut iface.neigh6_set, &mut iface.reachable6),
            };
            (key.write)(Arc::make_mut(params), value)?;
            *set |= bit;
            // neigh_proc_base_reachable_time draws a new reachable time.
            *reach = None;
            return Ok(());
        }
        let default = match family {
            Family::V4 => &mut self.sysctl.neigh4_default,
            Family::V6 => &mut self.sysctl.neigh6_default,
        };
        (key.write)(Arc::make_mut(default), value)?;
        let default = Arc::clone(default);
        for iface in self.ifaces.iter_mut() {
            let (params, set, reach) = match family {
                Family::V4 => (&mut iface.neigh4, iface.neigh4_set, &mut iface.reachable4),
                Family::V6 => (&mut iface.neigh6, iface.neigh6_set, &mut iface.reachable6),
            };
            if set & bit == 0 {
                (key.copy)(Arc::make_mut(params), &default);
                *reach = None;
            }
        }
        Ok(())
    }

    /// Every sysctl of this host with its value, sorted by name, as `sysctl -a` prints them.
    pub fn sysctl_all(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = Vec::new();
        for key in Globals::KEYS.iter().filter(|k| Globals::exists(k.name, self.sysctl.profile)) {
            all.push((key.name.into(), (key.text)(&self.sysctl.ns)));
        }
        all.push(("net.ipv4.ip_forward".into(), i32::from(self.sysctl.ip_forward()).to_string()));
        let mut scopes = vec![("all".to_string(), Scope::All), ("default".to_string(), Scope::Default)];
        scopes.extend(self.ifaces.iter().map(|i| (i.name.replace('.', "/"), Scope::Iface(i.ifindex))));
        for (name, scope) in scopes {
            for key in Ipv4Conf::KEYS {
                all.push((format!("net.ipv4.conf.{name}.{}", key.name), (key.text)(self.conf4(scope))));
            }
            for key in Ipv6Conf::KEYS {
                all.push((format!("net.ipv6.conf.{name}.{}", key.name), (key.text)(self.conf6(scope))));
            }
            if matches!(scope, Scope::All) {
                continue;
            }
            for (family, word) in [(Family::V4, "ipv4"), (Family::V6, "ipv6")] {
                let p = self.neigh_params(family, scope);
                all.extend(
                    NeighParams::KEYS
                        .iter()
                        .map(|k| (format!("net.{word}.neigh.{name}.{}", k.name), (k.text)(p))),
                );
            }
        }
        all.sort();
        all
    }
}

/// A value as a shell takes it.
fn quoted(value: &str) -> String {
    if value.contains(char::is_whitespace) || value.is_empty() { format!("'{value}'") } else { value.into() }
}

#[cfg(test)]
mod tests;
