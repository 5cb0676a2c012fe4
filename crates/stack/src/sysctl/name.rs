//! Which sysctl a name means: `net.ipv4.conf.eth0.arp_accept`, or with slashes as below `/proc/sys`.
//!
//! sysctl(8): the first separator decides; between dots, a slash stands for a dot (`eth0/10`).

use super::global::Globals;
use super::known::{LINUX, LINUX_CONF4, LINUX_CONF6, LINUX_NEIGH};
use super::value::Key;
use super::{Ipv4Conf, Ipv6Conf, NeighGc, NeighParams, SysctlError, key_of};
use crate::Stack;
use crate::record::IfIndex;

/// Of which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// Whose setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    Default,
    Iface(IfIndex),
}

/// The same number under an older name, in another unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OldUnit {
    /// `base_reachable_time` in seconds.
    BaseReachable,
    /// `retrans_time` in 10 ms.
    Retrans,
}

/// A sysctl that exists.
pub(super) enum Name {
    Global(&'static Key<Globals>),
    IpForward,
    Gc(Family, &'static Key<NeighGc>),
    Conf4(Scope, &'static Key<Ipv4Conf>),
    Conf6(Scope, &'static Key<Ipv6Conf>),
    Neigh(Family, Scope, &'static Key<NeighParams>),
    /// `unres_qlen`: `unres_qlen_bytes` counted in full Ethernet frames.
    UnresQlen(Family, Scope),
    Seconds(Family, Scope, OldUnit),
}

/// Parts of the name, with dots inside a part restored.
fn parts(name: &str) -> Vec<String> {
    let name = name.trim();
    let slashes = name.find(['.', '/']).is_some_and(|at| name.as_bytes()[at] == b'/');
    if slashes {
        name.trim_start_matches("/proc/sys/").split('/').map(str::to_string).collect()
    } else {
        name.split('.').map(|part| part.replace('/', ".")).collect()
    }
}

impl Stack {
    pub(super) fn sysctl_name(&self, name: &str) -> Result<Name, SysctlError> {
        let parts = parts(name);
        let words: Vec<&str> = parts.iter().map(String::as_str).collect();
        if let ["net", family @ ("ipv4" | "ipv6"), group @ ("conf" | "neigh"), middle @ .., last] = &words[..]
            && !middle.is_empty()
        {
            let family = if *family == "ipv4" { Family::V4 } else { Family::V6 };
            // A dotted interface name may also be written as it is.
            return self.interface_sysctl(name, family, group, &middle.join("."), last);
        }
        let dotted = words.join(".");
        if dotted == "net.ipv4.ip_forward" {
            return Ok(Name::IpForward);
        }
        if let Some(key) = key_of(Globals::KEYS, &dotted)
            && Globals::exists(&dotted, self.profile())
        {
            return Ok(Name::Global(key));
        }
        if LINUX.contains(&dotted.as_str()) && Globals::exists(&dotted, self.profile()) {
            return Err(SysctlError::NotModelled { name: name.into() });
        }
        let candidates = Globals::KEYS.iter().map(|k| k.name).chain(["net.ipv4.ip_forward"]);
        Err(no_such(name, &dotted, candidates))
    }

    fn interface_sysctl(
        &self,
        name: &str,
        family: Family,
        group: &str,
        interface: &str,
        last: &str,
    ) -> Result<Name, SysctlError> {
        let scope = match interface {
            "all" if group == "conf" => Scope::All,
            "default" => Scope::Default,
            _ => match self.ifaces.by_name(interface) {
                Some(iface) => Scope::Iface(iface.ifindex),
                None => {
                    return Err(SysctlError::NoSuchInterface {
                        name: name.into(),
                        interface: interface.into(),
                    });
                }
            },
        };
        let found = match (group, family) {
            ("conf", Family::V4) => key_of(Ipv4Conf::KEYS, last).map(|k| Name::Conf4(scope, k)),
            ("conf", Family::V6) => key_of(Ipv6Conf::KEYS, last).map(|k| Name::Conf6(scope, k)),
            _ => match last {
                "unres_qlen" => Some(Name::UnresQlen(family, scope)),
                "base_reachable_time" => Some(Name::Seconds(family, scope, OldUnit::BaseReachable)),
                "retrans_time" => Some(Name::Seconds(family, scope, OldUnit::Retrans)),
                _ => key_of(NeighParams::KEYS, last).map(|k| Name::Neigh(family, scope, k)).or_else(|| {
                    let table = scope == Scope::Default;
                    key_of(NeighGc::KEYS, last).filter(|_| table).map(|k| Name::Gc(family, k))
                }),
            },
        };
        if let Some(found) = found {
            return Ok(found);
        }
        let (linux, ours): (_, Vec<&str>) = match (group, family) {
            ("conf", Family::V4) => (LINUX_CONF4, Ipv4Conf::KEYS.iter().map(|k| k.name).collect()),
            ("conf", Family::V6) => (LINUX_CONF6, Ipv6Conf::KEYS.iter().map(|k| k.name).collect()),
            _ => (LINUX_NEIGH, NeighParams::KEYS.iter().map(|k| k.name).collect()),
        };
        if linux.contains(&last) {
            return Err(SysctlError::NotModelled { name: name.into() });
        }
        let prefix = &name[..name.len() - last.len()];
        let meant = nearest(last, ours.into_iter()).map(|meant| format!("{prefix}{meant}"));
        Err(SysctlError::NoSuchSysctl { name: name.into(), did_you_mean: meant })
    }
}

fn no_such(name: &str, dotted: &str, candidates: impl Iterator<Item = &'static str>) -> SysctlError {
    let meant = nearest(dotted, candidates).map(str::to_string);
    SysctlError::NoSuchSysctl { name: name.into(), did_you_mean: meant }
}

/// The candidate with the smallest edit distance, when it is near enough to have been meant; or one that
/// ends in what was written.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.len() / 5).max(2);
    candidates
        .filter_map(|c| {
            let tail = c.ends_with(word) && word.len() > 4;
            let distance = if tail { 0 } else { edit_distance(word, c) };
            (distance <= limit).then_some((distance, c))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c)
}

/// Levenshtein's distance in bytes.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}
