//! Hosts as run: interfaces with MAC addresses that are the same on every kind of host, and the commands
//! that make a host ready, which our stack and the real kernel both get.

use std::net::IpAddr;

use apps::dns::resolv_conf::{BadLine, HostsFile, ResolvConf};
use stack::admin::Admin;
use stack::sysctl::SysctlError;
use stack::{KernelProfile, Stack, StackConfig};
use wire::{Instant, MacAddr, Medium};

use super::{Checks, admin, profile};
use crate::diagnostic::{Diagnostic, suggest};
use crate::file::{Content, Host, Interface, InterfaceTable, NatWord, Neighbours};
use crate::overrides::Overrides;
use crate::source::{Source, join, place};
use crate::values::{self, BadValue};

/// A host as run.
#[derive(Clone, Debug)]
pub(crate) struct HostPlan {
    pub(crate) name: String,
    pub(crate) nics: Vec<NicPlan>,
    pub(crate) profile: Option<KernelProfile>,
    pub(crate) nat: Option<NatPlan>,
    /// Names and values, in order; those of the command line last.
    pub(crate) sysctls: Vec<(String, String)>,
    /// Whether it has an IPv6 address, so that IPv6 is on.
    pub(crate) ipv6: bool,
    pub(crate) router: bool,
    /// How programs look up names, when the file says so.
    pub(crate) resolver: Option<(ResolvConf, HostsFile)>,
    /// Routes and commands of the file, after addresses are there and interfaces are up.
    pub(crate) setup: Vec<Admin>,
}

/// An interface as run.
#[derive(Clone, Debug)]
pub(crate) struct NicPlan {
    pub(crate) name: String,
    pub(crate) mac: MacAddr,
    pub(crate) mtu: Option<u32>,
    pub(crate) addrs: Vec<(IpAddr, u8)>,
    /// Whether a link of the file ends here.
    pub(crate) linked: bool,
}

/// Address translation as run.
#[derive(Clone, Debug)]
pub(crate) struct NatPlan {
    /// Index of the outside interface.
    pub(crate) wan: usize,
    pub(crate) address: std::net::Ipv4Addr,
    pub(crate) kind: NatWord,
    pub(crate) udp: Option<core::time::Duration>,
    pub(crate) udp_stream: Option<core::time::Duration>,
    pub(crate) icmp: Option<core::time::Duration>,
    /// Protocol (17 or 6), outside port, inside address and port.
    pub(crate) forwards: Vec<(u8, u16, std::net::SocketAddrV4)>,
}

/// MTU of an interface that nothing else is said about (IEEE 802.3).
pub(crate) const DEFAULT_MTU: u32 = 1500;

/// Hosts that a file may have; worlds of thousands are built in code.
const MAX_HOSTS: usize = 200;

pub(crate) fn plan(checks: &mut Checks<'_>, content: &Content) -> Vec<HostPlan> {
    let mut plans: Vec<HostPlan> = Vec::new();
    if content.hosts.is_empty() {
        checks.at_key(
            &place!("hosts"),
            "a scenario without hosts",
            "add a table such as [hosts.client]".to_string(),
        );
    }
    if content.hosts.len() > MAX_HOSTS {
        checks.at_key(&place!("hosts"), format!("more than {MAX_HOSTS} hosts"), None);
        return plans;
    }
    let mut serial: u16 = 0;
    let mut seen: Vec<(IpAddr, String)> = Vec::new();
    for (name, host) in &content.hosts {
        let path = place!("hosts", name);
        if !is_name(name) {
            let help = "use letters, digits and hyphens, at most 15, starting with a letter".to_string();
            checks.at_key(&path, format!("`{name}` is no name for a host"), help);
        }
        let nics = nics(checks, &path, host, &mut serial);
        for (nic, addr_path, addr) in &nics.1 {
            if let Some((_, other)) = seen.iter().find(|(a, _)| a == addr) {
                let message = format!("{addr} is used twice: {other} has it already");
                checks.at_value(addr_path, message, "give each interface an address of its own".to_string());
            }
            seen.push((*addr, format!("{name} ({nic})")));
        }
        let nics = nics.0;
        let ipv6 = nics.iter().flat_map(|n| &n.addrs).any(|(a, _)| a.is_ipv6());
        let nat = nat(checks, &path, host, &nics);
        let profile = host.profile.as_ref().and_then(|p| checks.value(&join(&path, "profile"), profile(p)));
        let sysctls = sysctls(checks, &path, host, &nics, profile);
        let setup = setup(checks, &path, host);
        let resolver = resolver(checks, &path, host);
        let router = host.router || host.nat.is_some();
        plans.push(HostPlan {
            name: name.clone(),
            nics,
            profile,
            nat,
            sysctls,
            ipv6,
            router,
            resolver,
            setup,
        });
    }
    if content.neighbours == Some(Neighbours::Known) {
        introduce(&mut plans);
    }
    plans
}

/// What programs look names up with; every line must mean something.
fn resolver(checks: &mut Checks<'_>, path: &str, host: &Host) -> Option<(ResolvConf, HostsFile)> {
    if host.resolv_conf.is_empty() && host.hosts_file.is_empty() {
        return None;
    }
    let mut tell = |key: &str, bad: Vec<BadLine>| {
        for (at, message) in bad {
            checks.at_value(&join(&join(path, key), &at.to_string()), message, None);
        }
    };
    let (conf, bad) = ResolvConf::parse(host.resolv_conf.iter().map(String::as_str));
    tell("resolv_conf", bad);
    let (hosts, bad) = HostsFile::parse(host.hosts_file.iter().map(String::as_str));
    tell("hosts_file", bad);
    Some((conf, hosts))
}

/// Gives every interface permanent entries for all others of its networks.
fn introduce(plans: &mut [HostPlan]) {
    let mut known: Vec<(usize, IpAddr, u8, MacAddr, String)> = Vec::new();
    for (i, host) in plans.iter().enumerate() {
        for nic in &host.nics {
            known.extend(nic.addrs.iter().map(|(addr, len)| (i, *addr, *len, nic.mac, nic.name.clone())));
        }
    }
    // An interface with two addresses in one network knows a neighbour once.
    let mut told: Vec<(usize, IpAddr, String)> = Vec::new();
    for (i, own, len, _, nic) in &known {
        let others = known.iter().filter(|(j, addr, ..)| {
            let new = (*i, *addr, nic.clone());
            let other = j != i && same_network(*own, *addr, *len) && !told.contains(&new);
            if other {
                told.push(new);
            }
            other
        });
        let entries = others.map(|(_, addr, _, mac, _)| {
            let family = if addr.is_ipv6() { "ip -6" } else { "ip" };
            admin(&format!("{family} neigh add {addr} lladdr {mac} dev {nic} nud permanent"))
                .expect("an entry of what was read is a command")
        });
        let mut entries: Vec<Admin> = entries.collect();
        entries.append(&mut plans[*i].setup);
        plans[*i].setup = entries;
    }
}

fn same_network(a: IpAddr, b: IpAddr, len: u8) -> bool {
    let bits = |addr: IpAddr| match addr {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let differ = (bits(a) ^ bits(b)).leading_zeros();
    a.is_ipv4() == b.is_ipv4() && differ >= u32::from(len)
}

/// Host names are namespaces' and tables' names: short and plain. 15 bytes is `IFNAMSIZ` without the zero.
fn is_name(name: &str) -> bool {
    name.len() <= 15
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

type Found = Vec<(String, String, IpAddr)>;

fn nics(checks: &mut Checks<'_>, path: &str, host: &Host, serial: &mut u16) -> (Vec<NicPlan>, Found) {
    let mut nics = Vec::new();
    let mut found = Found::new();
    let mut add = |checks: &mut Checks<'_>,
                   name: &str,
                   path: String,
                   addrs: &[String],
                   many: bool,
                   table: Option<&InterfaceTable>| {
        *serial += 1;
        let mut mac = MacAddr([2, 0, 0, 0, (*serial >> 8) as u8, (*serial & 0xff) as u8]); // cut to bytes on purpose
        let mut mtu = None;
        let mut addr_path = path.clone();
        if let Some(table) = table {
            addr_path = join(&path, "address");
            mtu = table.mtu;
            if let Some(text) = &table.mac {
                let read = text.parse().map_err(|_| {
                    BadValue::new(
                        text,
                        format!("`{text}` is no MAC address"),
                        "write six bytes: 02:00:00:00:00:01",
                    )
                });
                mac = checks.value(&join(&path, "mac"), read).unwrap_or(mac);
            }
        }
        if mtu.is_some_and(|m| !(68..=65_535).contains(&m)) {
            checks.at_value(&join(&path, "mtu"), "an MTU is between 68 (RFC 791) and 65535", None);
        }
        let mut list = Vec::new();
        for (i, text) in addrs.iter().enumerate() {
            let at = if many { join(&addr_path, &i.to_string()) } else { addr_path.clone() };
            if let Some((addr, len)) = checks.value(&at, address(text)) {
                found.push((name.to_string(), at, addr));
                list.push((addr, len));
            }
        }
        nics.push(NicPlan { name: name.into(), mac, mtu, addrs: list, linked: false });
    };
    if let Some(addresses) = &host.address {
        if host.interfaces.contains_key("eth0") {
            let help = "write the address of eth0 in one place".to_string();
            checks.at_key(&join(path, "address"), "`address` is eth0's, and `interfaces` has eth0 too", help);
        }
        add(checks, "eth0", join(path, "address"), addresses.as_slice(), addresses.is_many(), None);
    }
    for (name, interface) in &host.interfaces {
        let at = join(&join(path, "interfaces"), name);
        if !is_name(name) || name == "lo" {
            checks.at_key(
                &at,
                format!("`{name}` is no name for an interface here"),
                "eth0, eth1, …".to_string(),
            );
        }
        match interface {
            Interface::Address(one) => add(checks, name, at, std::slice::from_ref(one), false, None),
            Interface::Addresses(many) => add(checks, name, at, many, true, None),
            Interface::Table(table) => add(checks, name, at, &table.address, true, Some(table)),
        }
    }
    if nics.is_empty() {
        let help = "add `address = \"192.0.2.1/24\"`, or `interfaces = { eth0 = … }`".to_string();
        checks.at_key(path, "a host without an interface can take part in nothing", help);
    }
    (nics, found)
}

/// `192.0.2.1/24`
fn address(text: &str) -> Result<(IpAddr, u8), BadValue> {
    let help = "write an address with its prefix length, such as 192.0.2.1/24 or 2001:db8::1/64";
    let Some((addr, len)) = text.split_once('/') else {
        return Err(BadValue::new(text, format!("`{text}` has no prefix length"), help));
    };
    let bad = || BadValue {
        part: 0..addr.len().max(1),
        message: format!("`{addr}` is no IP address"),
        help: Some(help.into()),
    };
    let ip: IpAddr = addr.parse().map_err(|_| bad())?;
    let most = if ip.is_ipv6() { 128 } else { 32 };
    match len.parse::<u8>() {
        Ok(len) if len <= most => Ok((ip, len)),
        _ => Err(BadValue {
            part: addr.len() + 1..text.len(),
            message: format!("`{len}` is no prefix length"),
            help: Some(format!("from 0 to {most}")),
        }),
    }
}

fn sysctls(
    checks: &mut Checks<'_>,
    path: &str,
    host: &Host,
    nics: &[NicPlan],
    profile: Option<KernelProfile>,
) -> Vec<(String, String)> {
    let base = join(path, "sysctl");
    let mut list = Vec::new();
    for (name, value) in &host.sysctl {
        let value = value.to_string();
        if let Err(bad) = check_sysctl(name, &value, nics, profile) {
            let at = join(&base, name);
            let diagnostic = match bad.in_value {
                true => checks.source.at_value(&at, bad.message),
                false => checks.source.at_key(&at, bad.message),
            };
            checks.add(diagnostic.help(bad.help));
        }
        list.push((name.clone(), value));
    }
    list
}

struct BadSysctl {
    in_value: bool,
    message: String,
    help: Option<String>,
}

/// Tries a setting on a host of our stack: unknown names and values out of range are refused there with a reason.
fn check_sysctl(
    name: &str,
    value: &str,
    nics: &[NicPlan],
    profile: Option<KernelProfile>,
) -> Result<(), BadSysctl> {
    let mut stack =
        Stack::new(StackConfig { profile: profile.unwrap_or_default(), ..StackConfig::default() });
    for nic in nics {
        stack.add_interface(&nic.name, Medium::Ethernet, nic.mac, nic.mtu.unwrap_or(DEFAULT_MTU));
    }
    stack.sysctl_write(Instant::ZERO, name, value).map_err(|error| {
        let (in_value, help) = match &error {
            SysctlError::NoSuchSysctl { did_you_mean: Some(other), .. } if other == name => {
                (false, Some("other kernels have it: give the host a `profile`, such as \"4.4\"".to_string()))
            }
            SysctlError::NoSuchSysctl { did_you_mean, .. } => {
                let spelt = "names are written as in Linux, such as net.ipv4.ip_default_ttl";
                (false, Some(did_you_mean.as_ref().map_or(spelt.into(), |m| format!("did you mean `{m}`?"))))
            }
            SysctlError::NotModelled { .. } => (false, Some("hosts on the real kernel have it".to_string())),
            SysctlError::NoSuchInterface { .. } => (false, suggest_interface(nics)),
            SysctlError::Invalid { expects, .. } => (true, Some(format!("it takes {expects}"))),
        };
        let text = error.to_string();
        let message = text.split(" (hint").next().unwrap_or(&text).to_string();
        BadSysctl { in_value, message, help }
    })
}

fn suggest_interface(nics: &[NicPlan]) -> Option<String> {
    let names: Vec<&str> = nics.iter().map(|n| n.name.as_str()).collect();
    Some(format!("this host has {}; `all` and `default` stand for every one", names.join(", ")))
}

fn setup(checks: &mut Checks<'_>, path: &str, host: &Host) -> Vec<Admin> {
    let mut list = Vec::new();
    for (i, route) in host.routes.iter().enumerate() {
        const BEFORE: &str = "ip route add ";
        let family = if route.contains("::") { "ip -6 route add " } else { BEFORE };
        let read = admin(&format!("{family}{route}")).map_err(|mut bad| {
            bad.part = bad.part.start.saturating_sub(family.len())..bad.part.end.saturating_sub(family.len());
            bad
        });
        list.extend(checks.value(&join(&join(path, "routes"), &i.to_string()), read));
    }
    for (i, command) in host.setup.iter().enumerate() {
        list.extend(checks.value(&join(&join(path, "setup"), &i.to_string()), admin(command)));
    }
    list
}

fn nat(checks: &mut Checks<'_>, path: &str, host: &Host, nics: &[NicPlan]) -> Option<NatPlan> {
    let nat = host.nat.as_ref()?;
    let base = join(path, "nat");
    let Some(wan) = nics.iter().position(|n| n.name == nat.wan) else {
        let help = suggest(&nat.wan, nics.iter().map(|n| n.name.as_str()));
        checks.at_value(&join(&base, "wan"), format!("no interface is named `{}`", nat.wan), help);
        return None;
    };
    let mut time = |field: &str, text: &Option<String>| {
        text.as_ref().and_then(|t| checks.value(&join(&base, field), values::duration(t)))
    };
    let udp = time("udp_timeout", &nat.udp_timeout);
    let udp_stream = time("udp_timeout_stream", &nat.udp_timeout_stream);
    let icmp = time("icmp_timeout", &nat.icmp_timeout);
    let mut forwards = Vec::new();
    for (i, text) in nat.forwards.iter().enumerate() {
        let at = join(&join(&base, "forwards"), &i.to_string());
        forwards.extend(checks.value(&at, forward(text)));
    }
    let outside = nics[wan].addrs.iter().find_map(|(a, _)| match a {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    let Some(address) = outside else {
        checks.at_value(
            &join(&base, "wan"),
            format!("`{}` has no IPv4 address to hide behind", nat.wan),
            None,
        );
        return None;
    };
    let kind = nat.kind.unwrap_or(NatWord::Symmetric);
    Some(NatPlan { wan, address, kind, udp, udp_stream, icmp, forwards })
}

/// `udp 5000 -> 10.0.0.2:5000`
fn forward(text: &str) -> Result<(u8, u16, std::net::SocketAddrV4), BadValue> {
    let bad = || {
        BadValue::new(text, format!("`{text}` is no port forward"), "write it as `udp 5000 -> 10.0.0.2:5000`")
    };
    let (outside, inside) = text.split_once("->").ok_or_else(bad)?;
    let mut words = outside.split_whitespace();
    let protocol = match words.next() {
        Some("udp") => 17,
        Some("tcp") => 6,
        _ => return Err(bad()),
    };
    let port = words.next().and_then(|p| p.parse().ok()).ok_or_else(bad)?;
    let to = inside.trim().parse().map_err(|_| bad())?;
    if words.next().is_some() { Err(bad()) } else { Ok((protocol, port, to)) }
}

/// The command line's `--set` and `--kernel`.
pub(crate) fn apply_overrides(checks: &mut Checks<'_>, hosts: &mut [HostPlan], overrides: &Overrides) {
    for text in &overrides.sets {
        if let Err(diagnostic) = set(hosts, text) {
            checks.add(diagnostic);
        }
    }
    if let Some(text) = &overrides.kernel {
        match profile(text) {
            Ok(profile) => hosts.iter_mut().for_each(|h| h.profile = Some(profile)),
            Err(bad) => checks.add(on_command_line("--kernel", text, bad)),
        }
    }
}

/// A diagnostic about an option of the command line.
pub(crate) fn on_command_line(option: &str, text: &str, bad: BadValue) -> Diagnostic {
    Source::command_line(option, text).diagnostic(Some(bad.part), bad.message).help(bad.help)
}

fn set(hosts: &mut [HostPlan], text: &str) -> Result<(), Diagnostic> {
    let wrong = |part: core::ops::Range<usize>, message: String, help: Option<String>| {
        Err(on_command_line("--set", text, BadValue { part, message, help }))
    };
    let example = || Some("write host:sysctl=value, such as server:net.ipv4.ip_default_ttl=32".to_string());
    let Some((host, rest)) = text.split_once(':') else {
        return wrong(0..text.len(), "no host is named before the sysctl".into(), example());
    };
    let Some((name, value)) = rest.split_once('=') else {
        return wrong(host.len() + 1..text.len(), "no value is given".into(), example());
    };
    let (name, value) = (name.trim(), value.trim());
    let Some(first) = hosts.iter().find(|h| host == "*" || h.name == host) else {
        let help = suggest(host, hosts.iter().map(|h| h.name.as_str()));
        return wrong(0..host.len(), format!("no host is named `{host}`"), help);
    };
    if let Err(bad) = check_sysctl(name, value, &first.nics, first.profile) {
        let start = host.len() + 1;
        let part = if bad.in_value { start + name.len() + 1..text.len() } else { start..start + name.len() };
        return wrong(part, bad.message, bad.help);
    }
    for plan in hosts.iter_mut().filter(|h| host == "*" || h.name == host) {
        plan.sysctls.push((name.into(), value.into()));
    }
    Ok(())
}
