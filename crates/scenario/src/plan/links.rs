//! Switches and cables as run: what `between` means, impairments in integers, up/down schedules.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sim::link::Gemodel;
use sim::{Impairment, LinkConfig, LinkState, PortConfig, PortMode, SwitchConfig};

use super::Checks;
use super::hosts::HostPlan;
use crate::diagnostic::suggest;
use crate::file::{self, Content};
use crate::source::{join, place};
use crate::values::{self, BadValue};

/// A switch as run.
#[derive(Clone, Debug)]
pub(crate) struct SwitchPlan {
    pub(crate) name: String,
    pub(crate) config: SwitchConfig,
    /// Whether dynamic ARP inspection is on; the bindings are made from the hosts' addresses.
    pub(crate) arp_inspection: bool,
}

/// One end of a cable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A host's interface, by indexes.
    Host(usize, usize),
    /// A port of a switch; ports are made as cables need them.
    Switch(usize),
}

/// One cable as run.
#[derive(Clone, Debug)]
pub(crate) struct CablePlan {
    pub(crate) name: String,
    pub(crate) a: End,
    pub(crate) b: End,
    pub(crate) config: LinkConfig,
}

type Plans = (Vec<SwitchPlan>, Vec<CablePlan>);

pub(crate) fn plan(checks: &mut Checks<'_>, content: &Content, hosts: &mut [HostPlan]) -> Plans {
    let mut switches: Vec<SwitchPlan> = Vec::new();
    for (name, switch) in &content.switches {
        let path = place!("switches", name);
        if content.hosts.contains_key(name) {
            checks.at_key(
                &path,
                format!("`{name}` is a host already"),
                "give the switch another name".to_string(),
            );
        }
        switches.push(switch_plan(checks, &path, name, switch, content));
    }
    let mut cables = Vec::new();
    let before = checks.found.len();
    for (name, link) in &content.links {
        let path = place!("links", name);
        link_plan(checks, &path, name, link, hosts, &mut switches, &mut cables);
    }
    // After a broken link it is no news that an interface is on none.
    if checks.found.len() == before {
        default_network(checks, content, hosts, &mut switches, &mut cables);
    }
    (switches, cables)
}

fn switch_plan(
    checks: &mut Checks<'_>,
    path: &str,
    name: &str,
    switch: &file::Switch,
    content: &Content,
) -> SwitchPlan {
    let mut config = SwitchConfig::default();
    for (host, vlan) in &switch.vlans {
        let at = join(&join(path, "vlans"), host);
        if !content.hosts.contains_key(host) && !content.switches.contains_key(host) {
            let known = content.hosts.keys().chain(content.switches.keys()).map(String::as_str);
            checks.at_key(&at, format!("no host is named `{host}`"), suggest(host, known));
        }
        if !(1..=4094).contains(vlan) {
            checks.at_value(&at, format!("{vlan} is no VLAN"), "1 to 4094 (IEEE 802.1Q §9.6)".to_string());
        }
        config.ports.push((
            host.clone(),
            PortConfig { mode: PortMode::Access { vlan: *vlan }, ..PortConfig::default() },
        ));
    }
    SwitchPlan { name: name.into(), config, arp_inspection: switch.arp_inspection }
}

fn link_plan(
    checks: &mut Checks<'_>,
    path: &str,
    name: &str,
    link: &file::Link,
    hosts: &mut [HostPlan],
    switches: &mut Vec<SwitchPlan>,
    cables: &mut Vec<CablePlan>,
) {
    let between = join(path, "between");
    if link.between.len() < 2 {
        let help = "name two ends, such as between = [\"client\", \"server\"]".to_string();
        checks.at_value(&between, "a link to nowhere: it has fewer than two ends", help);
        return;
    }
    let mut ends: Vec<End> = Vec::new();
    for (i, text) in link.between.iter().enumerate() {
        let at = join(&between, &i.to_string());
        match end(text, hosts, switches) {
            Ok(end) if ends.contains(&end) => {
                checks.at_value(&at, format!("`{text}` is on this link twice"), None);
            }
            Ok(end) => {
                claim(checks, &at, text, end, hosts, link.mtu);
                ends.push(end);
            }
            Err(bad) => {
                checks.value::<()>(&at, Err(bad));
            }
        }
    }
    if link.mtu.is_some_and(|m| !(68..=65_535).contains(&m)) {
        checks.at_value(&join(path, "mtu"), "an MTU is between 68 (RFC 791) and 65535", None);
    }
    let base = impairment(checks, path, &link.impairment);
    let schedule = schedule(checks, path, link);
    let from = directions(checks, path, link, hosts, switches);
    let cable = |name: String, a: End, b: End| {
        let of =
            |end: End| from.iter().find(|(e, _)| *e == end).map_or_else(|| base.clone(), |(_, i)| i.clone());
        let config = LinkConfig {
            name: name.clone(),
            a_to_b: of(a),
            b_to_a: of(b),
            mtu: None,
            schedule: schedule.clone(),
        };
        CablePlan { name, a, b, config }
    };
    if ends.len() < link.between.len() {
        return;
    }
    if let [a, b] = ends[..] {
        cables.push(cable(name.into(), a, b));
        return;
    }
    if hosts.iter().any(|h| h.name == name) {
        let help = "its switch would have the same name; give the link another one".to_string();
        checks.at_key(path, format!("`{name}` is a host already"), help);
    }
    let hub = End::Switch(switches.iter().position(|s| s.name == name).unwrap_or_else(|| {
        switches.push(SwitchPlan {
            name: name.into(),
            config: SwitchConfig::default(),
            arp_inspection: false,
        });
        switches.len() - 1
    }));
    for end in ends {
        let far = end_name(end, hosts, switches);
        cables.push(cable(format!("{name}.{far}"), end, hub));
    }
}

/// The name of the node at an end.
pub(crate) fn end_name<'a>(end: End, hosts: &'a [HostPlan], switches: &'a [SwitchPlan]) -> &'a str {
    match end {
        End::Host(host, _) => &hosts[host].name,
        End::Switch(switch) => &switches[switch].name,
    }
}

/// `client`, `client:eth1`, or a switch.
fn end(text: &str, hosts: &[HostPlan], switches: &[SwitchPlan]) -> Result<End, BadValue> {
    let (name, interface) = match text.split_once(':') {
        Some((name, interface)) => (name, Some(interface)),
        None => (text, None),
    };
    if let Some(switch) = switches.iter().position(|s| s.name == name) {
        return Ok(End::Switch(switch));
    }
    let Some(host) = hosts.iter().position(|h| h.name == name) else {
        let known = hosts.iter().map(|h| h.name.as_str()).chain(switches.iter().map(|s| s.name.as_str()));
        let message = format!("a link to nowhere: no host or switch is named `{name}`");
        return Err(BadValue { part: 0..name.len(), message, help: suggest(name, known) });
    };
    let nics = &hosts[host].nics;
    let known = || nics.iter().map(|n| n.name.as_str());
    match interface {
        None if nics.len() == 1 => Ok(End::Host(host, 0)),
        None => {
            let names: Vec<String> = known().map(|n| format!("{name}:{n}")).collect();
            let message = format!("`{name}` has {} interfaces: which one?", nics.len());
            Err(BadValue::new(text, message, format!("write {}", names.join(" or "))))
        }
        Some(interface) => match nics.iter().position(|n| n.name == interface) {
            Some(nic) => Ok(End::Host(host, nic)),
            None => Err(BadValue {
                part: name.len() + 1..text.len(),
                message: format!("`{name}` has no interface `{interface}`"),
                help: suggest(interface, known()),
            }),
        },
    }
}

/// Notes that a link ends at an interface, which one link alone may do, and gives it the link's MTU.
fn claim(
    checks: &mut Checks<'_>,
    path: &str,
    text: &str,
    end: End,
    hosts: &mut [HostPlan],
    mtu: Option<u32>,
) {
    let End::Host(host, nic) = end else { return };
    let nic = &mut hosts[host].nics[nic];
    if nic.linked {
        let help =
            "an interface takes one cable; use a link with more than two ends, or a switch".to_string();
        checks.at_value(path, format!("`{text}` is on another link already"), help);
    }
    nic.linked = true;
    nic.mtu = nic.mtu.or(mtu);
}

fn impairment(checks: &mut Checks<'_>, path: &str, written: &file::Impairment) -> Impairment {
    let mut result = Impairment::default();
    let at = |field: &str| join(path, field);
    let file::Impairment { delay, jitter, rate, limit, loss, gemodel, reorder, duplicate, corrupt } = written;
    let duration = |checks: &mut Checks<'_>, field: &str, text: &Option<String>| {
        text.as_ref().and_then(|t| checks.value(&at(field), values::duration(t)))
    };
    let share = |checks: &mut Checks<'_>, field: &str, text: &Option<String>| {
        text.as_ref().and_then(|t| checks.value(&at(field), values::share(t))).unwrap_or(0)
    };
    result.delay = duration(checks, "delay", delay).unwrap_or_default();
    result.jitter = duration(checks, "jitter", jitter).unwrap_or_default();
    result.rate = rate.as_ref().and_then(|t| checks.value(&at("rate"), values::rate(t)));
    if let Some(limit) = limit {
        result.limit = *limit;
        if *limit == 0 {
            checks.at_value(
                &at("limit"),
                "a queue for no packets lets nothing pass",
                "at least 1".to_string(),
            );
        }
    }
    result.loss_ppm = share(checks, "loss", loss);
    result.reorder_ppm = share(checks, "reorder", reorder);
    result.duplicate_ppm = share(checks, "duplicate", duplicate);
    result.corrupt_ppm = share(checks, "corrupt", corrupt);
    result.gemodel = gemodel.as_ref().and_then(|t| checks.value(&at("gemodel"), gemodel_value(t)));
    let delay_is_known = delay.is_none() || !result.delay.is_zero();
    if result.jitter > result.delay && delay_is_known {
        checks.at_value(
            &at("jitter"),
            "the jitter is larger than the delay",
            "packets cannot arrive early".to_string(),
        );
    }
    if result.reorder_ppm > 0 && result.delay.is_zero() {
        let help = "as in netem, reordered packets are those that skip the delay: give one".to_string();
        checks.at_key(&at("reorder"), "reordering needs a delay", help);
    }
    result
}

/// `p [r [1-h [1-k]]]`
fn gemodel_value(text: &str) -> Result<Gemodel, BadValue> {
    let help = "write p, r, 1-h and 1-k as tc does, such as `1% 10% 70% 0.1%`; the last ones may be left out";
    let shares: Vec<u32> = text
        .split_whitespace()
        .map(values::share)
        .collect::<Result<_, _>>()
        .map_err(|e| BadValue::new(text, e.message, help))?;
    let mut model = Gemodel::default();
    match shares.len() {
        1..=4 => {}
        _ => return Err(BadValue::new(text, "one to four shares are needed", help)),
    }
    model.p = shares[0];
    // tc: r is 1 - p unless given.
    model.r = shares.get(1).copied().unwrap_or(1_000_000 - model.p);
    model.loss_bad = shares.get(2).copied().unwrap_or(model.loss_bad);
    model.loss_good = shares.get(3).copied().unwrap_or(model.loss_good);
    Ok(model)
}

fn schedule(checks: &mut Checks<'_>, path: &str, link: &file::Link) -> Vec<(wire::Instant, LinkState)> {
    let mut schedule = Vec::new();
    let Some(down) = &link.down else { return schedule };
    let at = join(path, "down");
    for (i, text) in down.as_slice().iter().enumerate() {
        let at = if down.is_many() { join(&at, &i.to_string()) } else { at.clone() };
        let Some((from, to)) = checks.value(&at, values::range(text)) else { continue };
        if from == to {
            checks.at_value(
                &at,
                format!("`{text}` is no time at all"),
                "write a range such as 2s..5s".to_string(),
            );
        }
        schedule.push((from, LinkState::Down));
        if to != wire::Instant::FAR_FUTURE {
            schedule.push((to, LinkState::Up));
        }
    }
    schedule
}

fn directions(
    checks: &mut Checks<'_>,
    path: &str,
    link: &file::Link,
    hosts: &[HostPlan],
    switches: &[SwitchPlan],
) -> Vec<(End, Impairment)> {
    let mut list = Vec::new();
    for (name, written) in &link.from {
        let at = join(&join(path, "from"), name);
        let position = link.between.iter().position(|b| b == name || b.split(':').next() == Some(name));
        let Some(position) = position else {
            let known = link.between.iter().map(String::as_str);
            checks.at_key(&at, format!("`{name}` is no end of this link"), suggest(name, known));
            continue;
        };
        // What is not said for the direction is as for the link.
        let merged = merge(written, &link.impairment);
        let before = checks.found.len();
        let read = impairment(checks, &at, &merged);
        // What is wrong with the link's own values was said there.
        let own = checks.found.split_off(before).into_iter().filter(|d| d.span.is_some());
        checks.found.extend(own);
        if let Ok(end) = end(&link.between[position], hosts, switches) {
            list.push((end, read));
        }
    }
    list
}

fn merge(own: &file::Impairment, link: &file::Impairment) -> file::Impairment {
    let pick = |a: &Option<String>, b: &Option<String>| a.clone().or_else(|| b.clone());
    file::Impairment {
        delay: pick(&own.delay, &link.delay),
        jitter: pick(&own.jitter, &link.jitter),
        rate: pick(&own.rate, &link.rate),
        limit: own.limit.or(link.limit),
        loss: pick(&own.loss, &link.loss),
        gemodel: pick(&own.gemodel, &link.gemodel),
        reorder: pick(&own.reorder, &link.reorder),
        duplicate: pick(&own.duplicate, &link.duplicate),
        corrupt: pick(&own.corrupt, &link.corrupt),
    }
}

/// Without links, all interfaces are on one network called `lan`; with links, none may be left over.
fn default_network(
    checks: &mut Checks<'_>,
    content: &Content,
    hosts: &mut [HostPlan],
    switches: &mut Vec<SwitchPlan>,
    cables: &mut Vec<CablePlan>,
) {
    let free: Vec<(usize, usize)> = hosts
        .iter()
        .enumerate()
        .flat_map(|(h, host)| {
            host.nics.iter().enumerate().filter(|(_, n)| !n.linked).map(move |(n, _)| (h, n))
        })
        .collect();
    if !content.links.is_empty() {
        for (host, nic) in free {
            let name = &hosts[host].name;
            let nic = &hosts[host].nics[nic].name;
            let help = format!("add \"{name}:{nic}\" to a link's `between`");
            checks.at_key(&place!("hosts", name), format!("{nic} of `{name}` is on no link"), help);
        }
        return;
    }
    let ends: Vec<End> = free.iter().map(|(h, n)| End::Host(*h, *n)).collect();
    let cable = |name: String, a: End, b: End| CablePlan {
        name: name.clone(),
        a,
        b,
        config: LinkConfig { name, ..LinkConfig::default() },
    };
    match ends[..] {
        [] | [_] => {}
        [a, b] => cables.push(cable("lan".into(), a, b)),
        _ => {
            let hub = switches.iter().position(|s| s.name == "lan").unwrap_or_else(|| {
                let config = SwitchConfig::default();
                switches.push(SwitchPlan { name: "lan".into(), config, arp_inspection: false });
                switches.len() - 1
            });
            for end in ends {
                let far = end_name(end, hosts, switches).to_string();
                cables.push(cable(format!("lan.{far}"), end, End::Switch(hub)));
            }
        }
    }
}

/// Who may say on which switch that he has an address: the hosts of the file, as DHCP snooping would have learnt.
pub(crate) fn bindings(hosts: &[HostPlan]) -> Vec<(std::net::Ipv4Addr, wire::MacAddr)> {
    let mut unique = BTreeMap::new();
    for nic in hosts.iter().flat_map(|h| &h.nics) {
        for (addr, _) in &nic.addrs {
            if let IpAddr::V4(v4) = addr {
                unique.insert(*v4, nic.mac);
            }
        }
    }
    unique.into_iter().collect()
}
