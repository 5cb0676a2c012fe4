//! `ip link …`. iproute2: ip/iplink.c, ip/link_iptnl.c, ip/link_gre.c, ip/iplink_vxlan.c, ip/iplink_vlan.c.

use std::net::IpAddr;

use super::{Words, choose, unknown};
use crate::admin::{Admin, AdminError, LinkChange, NewLink};
use crate::iface::TunnelMode;

pub(super) fn link(w: &mut Words) -> Result<Admin, AdminError> {
    let verb = w.need("set, add or delete")?;
    match choose(&verb, "a verb of ip link", &["add", "delete", "set"])? {
        "set" => link_set(w),
        "add" => link_add(w),
        _ => {
            let mut name = w.need("an interface's name")?;
            if name.text == "dev" {
                name = w.need("an interface's name")?;
            }
            Ok(Admin::LinkDel { dev: name.text })
        }
    }
}

fn link_set(w: &mut Words) -> Result<Admin, AdminError> {
    let mut dev = w.dev()?;
    if dev == "dev" {
        dev = w.dev()?;
    }
    let mut changes = Vec::new();
    while let Some(word) = w.next() {
        changes.push(match word.text.as_str() {
            "up" => LinkChange::Up(true),
            "down" => LinkChange::Up(false),
            "mtu" => LinkChange::Mtu(w.value("an MTU in bytes")?),
            "address" => LinkChange::Address(w.value("a MAC address")?),
            "arp" => LinkChange::Arp(w.on_off()?),
            "carrier" => LinkChange::Carrier(w.on_off()?),
            _ => {
                return Err(unknown(
                    &word,
                    "something wirelab sets on a link",
                    &["up", "down", "mtu", "address", "arp", "carrier"],
                ));
            }
        });
    }
    if changes.is_empty() {
        return Err(w.need("up, down, mtu, address or arp").expect_err("the words are used up"));
    }
    Ok(Admin::LinkSet { dev, changes })
}

fn link_add(w: &mut Words) -> Result<Admin, AdminError> {
    let (mut link, mut name) = (None, None);
    let kind = loop {
        let word = w.need("type and the kind of link")?;
        match word.text.as_str() {
            "link" => link = Some(w.dev()?),
            "name" | "dev" => name = Some(w.dev()?),
            "type" => break w.need("the kind of link")?,
            _ if name.is_none() => name = Some(word.text),
            _ => return Err(unknown(&word, "expected here", &["link", "name", "type"])),
        }
    };
    let name = name
        .ok_or_else(|| kind.wrong("the new link has no name", "ip link add name NAME type …".to_string()))?;
    let kinds = ["vlan", "vxlan", "ipip", "gre", "gretap", "sit", "ip6tnl", "ip6gre"];
    let new = match kind.text.as_str() {
        "vlan" => {
            let link = link.ok_or_else(|| {
                kind.wrong(
                    "a VLAN needs the link below",
                    "ip link add link eth0 name eth0.10 type vlan id 10".to_string(),
                )
            })?;
            let word = w.need("id")?;
            if word.text != "id" {
                return Err(unknown(&word, "expected here", &["id"]));
            }
            NewLink::Vlan { link, id: w.value("a VLAN identifier")? }
        }
        "vxlan" => vxlan(w, link)?,
        other => {
            let modes = [
                TunnelMode::Ipip,
                TunnelMode::Gre,
                TunnelMode::Gretap,
                TunnelMode::Sit,
                TunnelMode::Ip6tnl,
                TunnelMode::Ip6gre,
            ];
            let mode = modes.into_iter().find(|m| m.name() == other);
            tunnel(w, mode.ok_or_else(|| unknown(&kind, "a kind of link that wirelab makes", &kinds))?, link)?
        }
    };
    Ok(Admin::LinkAdd { name, kind: new })
}

fn tunnel(w: &mut Words, mode: TunnelMode, link: Option<String>) -> Result<NewLink, AdminError> {
    let v6 = matches!(mode, TunnelMode::Ip6tnl | TunnelMode::Ip6gre);
    let (mut local, mut remote, mut dev) = (None, None, link);
    let (mut ttl, mut tos) = (if v6 { Some(64) } else { None }, Some(0));
    let (mut pmtudisc, mut key, mut csum, mut seq) = (true, None, false, false);
    let end = |w: &mut Words| -> Result<Option<IpAddr>, AdminError> {
        let word = w.need("an address")?;
        if word.text == "any" {
            return Ok(None);
        }
        match word.text.parse::<IpAddr>() {
            Ok(a) if a.is_ipv6() == v6 => Ok(Some(a)),
            _ => Err(word.wrong(format!("{:?} is not an address of the tunnel's family", word.text), None)),
        }
    };
    while let Some(word) = w.next() {
        match word.text.as_str() {
            "local" => local = end(w)?,
            "remote" => remote = end(w)?,
            "ttl" | "hoplimit" => {
                let value = w.need("a TTL or inherit")?;
                ttl = match value.text.as_str() {
                    "inherit" | "0" => None,
                    n => Some(n.parse().map_err(|_| value.wrong(format!("{n:?} is not a TTL"), None))?),
                };
            }
            "tos" | "tclass" => {
                let value = w.need("a TOS or inherit")?;
                tos = match value.text.as_str() {
                    "inherit" => None,
                    n => Some(
                        u8::from_str_radix(n.trim_start_matches("0x"), 16)
                            .map_err(|_| value.wrong(format!("{n:?} is not a TOS"), None))?,
                    ),
                };
            }
            "pmtudisc" => pmtudisc = true,
            "nopmtudisc" => pmtudisc = false,
            "key" => key = Some(w.value("a GRE key")?),
            "csum" => csum = true,
            "seq" => seq = true,
            "dev" => dev = Some(w.dev()?),
            _ => {
                let words =
                    ["local", "remote", "ttl", "tos", "pmtudisc", "nopmtudisc", "key", "csum", "seq", "dev"];
                return Err(unknown(&word, "a tunnel parameter that wirelab models", &words));
            }
        }
    }
    Ok(NewLink::Tunnel { mode, local, remote, ttl, tos, pmtudisc, key, csum, seq, dev })
}

fn vxlan(w: &mut Words, link: Option<String>) -> Result<NewLink, AdminError> {
    let (mut vni, mut local, mut remote, mut dev) = (None, None, None, link);
    let (mut dstport, mut ttl, mut learning) = (8472, 0, true);
    while let Some(word) = w.next() {
        match word.text.as_str() {
            "id" | "vni" => {
                let at = w.at;
                let id: u32 = w.value("a VXLAN identifier")?;
                if id >= 1 << 24 {
                    return Err(w.words[at].wrong("a VXLAN identifier has 24 bits", None));
                }
                vni = Some(id);
            }
            "local" => local = Some(w.value("an address")?),
            "remote" | "group" => remote = Some(w.value("an address")?),
            "dstport" => dstport = w.value("a UDP port")?,
            "dev" => dev = Some(w.dev()?),
            "ttl" => ttl = w.value("a TTL")?,
            "learning" => learning = true,
            "nolearning" => learning = false,
            _ => {
                let words =
                    ["id", "local", "remote", "group", "dstport", "dev", "ttl", "learning", "nolearning"];
                return Err(unknown(&word, "a VXLAN parameter that wirelab models", &words));
            }
        }
    }
    let vni = vni.ok_or_else(|| w.need("id and the VXLAN identifier").expect_err("the words are used up"))?;
    Ok(NewLink::Vxlan { vni, local, remote, dstport, dev, ttl, learning })
}
