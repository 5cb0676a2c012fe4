//! Reading commands: the subset of iproute2's grammar that wirelab acts on. Words that `ip` knows and wirelab
//! does not model are errors that say so.

use core::net::{Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use std::net::IpAddr;

use super::{
    AddrCommand, AddrVerb, Admin, AdminError, Broadcast, LinkChange, NeighCommand, NeighVerb, NewLink,
    RouteSpec, any,
};
use crate::iface::{Advertise, INFINITE_LIFETIME, Scope, TunnelMode};
use crate::neigh::NudState;
use crate::route::{RouteChange, RouteKind, RouteProtocol, Table};

/// One word with its place.
#[derive(Clone, Debug)]
struct Word {
    text: String,
    offset: usize,
    len: usize,
}

impl Word {
    fn wrong(&self, message: impl Into<String>, hint: impl Into<Option<String>>) -> AdminError {
        AdminError { offset: self.offset, len: self.len, message: message.into(), hint: hint.into() }
    }
}

/// Splits at blanks; quotes hold words together as in a shell.
fn split(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word: Option<(usize, String)> = None;
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match quote {
            Some(q) if c == q => quote = None,
            Some(_) => word.get_or_insert((at, String::new())).1.push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert((at, String::new()));
            }
            None if c.is_whitespace() => {
                if let Some((offset, text)) = word.take() {
                    words.push(Word { text, offset, len: at - offset });
                }
            }
            None => word.get_or_insert((at, String::new())).1.push(c),
        }
    }
    if let Some((offset, word)) = word {
        words.push(Word { text: word, offset, len: text.len() - offset });
    }
    words
}

struct Words {
    words: Vec<Word>,
    at: usize,
    end: usize,
}

impl Words {
    fn next(&mut self) -> Option<Word> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word
    }

    fn need(&mut self, what: &str) -> Result<Word, AdminError> {
        let end = self.end;
        self.next().ok_or_else(|| AdminError {
            offset: end,
            len: 0,
            message: format!("the command ends where {what} is expected"),
            hint: None,
        })
    }

    fn value<T: FromStr>(&mut self, what: &str) -> Result<T, AdminError> {
        let word = self.need(what)?;
        word.text.parse().map_err(|_| word.wrong(format!("{:?} is not {what}", word.text), None))
    }

    fn dev(&mut self) -> Result<String, AdminError> {
        let word = self.need("an interface's name")?;
        if word.text.is_empty() || word.text.len() > 15 || word.text.contains(['/', ' ']) {
            return Err(word.wrong("an interface's name has 1 to 15 characters without / and blanks", None));
        }
        Ok(word.text)
    }

    fn on_off(&mut self) -> Result<bool, AdminError> {
        let word = self.need("on or off")?;
        match word.text.as_str() {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err(word.wrong(format!("{:?} is neither on nor off", word.text), None)),
        }
    }
}

/// The word that `text` abbreviates, as `ip` allows it: the first one that begins so.
fn abbreviated<'a>(text: &str, words: &[&'a str]) -> Option<&'a str> {
    words.iter().find(|w| **w == text).or_else(|| words.iter().find(|w| w.starts_with(text))).copied()
}

fn choose<'a>(word: &Word, what: &str, words: &[&'a str]) -> Result<&'a str, AdminError> {
    abbreviated(&word.text, words).ok_or_else(|| unknown(word, what, words))
}

fn unknown(word: &Word, what: &str, words: &[&str]) -> AdminError {
    let hint = match crate::sysctl::nearest(&word.text, words.iter().copied()) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("one of {}", words.join(", ")),
    };
    word.wrong(format!("{:?} is not {what}", word.text), hint)
}

impl Admin {
    /// Reads a command.
    pub fn parse(text: &str) -> Result<Admin, AdminError> {
        let mut w = Words { words: split(text), at: 0, end: text.len() };
        let tool = w.need("ip, sysctl or ra")?;
        let command = match tool.text.as_str() {
            "ip" => ip(&mut w)?,
            "sysctl" => sysctl(&mut w)?,
            "ra" => router_advert(&mut w)?,
            _ => return Err(unknown(&tool, "a command", &["ip", "sysctl", "ra"])),
        };
        match w.next() {
            None => Ok(command),
            Some(word) => Err(word.wrong(format!("{:?} is one word too many", word.text), None)),
        }
    }
}

impl FromStr for Admin {
    type Err = AdminError;
    fn from_str(s: &str) -> Result<Admin, AdminError> {
        Admin::parse(s)
    }
}

fn ip(w: &mut Words) -> Result<Admin, AdminError> {
    let mut family = None;
    let mut object = w.need("link, address, route or neighbour")?;
    while object.text.starts_with('-') {
        match object.text.as_str() {
            "-4" => family = Some(false),
            "-6" => family = Some(true),
            "-f" | "-family" => {
                let name = w.need("inet or inet6")?;
                family = Some(choose(&name, "a family", &["inet", "inet6"])? == "inet6");
            }
            _ => return Err(unknown(&object, "an option that wirelab takes", &["-4", "-6", "-family"])),
        }
        object = w.need("link, address, route or neighbour")?;
    }
    match choose(&object, "an object of ip", &["address", "addr", "route", "link", "neighbour", "neighbor"])?
    {
        "link" => link(w),
        "route" => route(w, family),
        "neighbour" | "neighbor" => neigh(w, family),
        _ => addr(w, family),
    }
}

fn link(w: &mut Words) -> Result<Admin, AdminError> {
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

/// `A`, `A/LEN` or `default`; a missing length means the whole address.
fn prefix(word: &Word, family: Option<bool>) -> Result<(IpAddr, u8), AdminError> {
    if ["default", "any", "all"].contains(&word.text.as_str()) {
        return Ok((any(family == Some(true)), 0));
    }
    let (addr, len) = word.text.split_once('/').map_or((word.text.as_str(), None), |(a, l)| (a, Some(l)));
    let wrong = || {
        word.wrong(
            format!("{:?} is not an address with a prefix length", word.text),
            "such as 192.0.2.0/24".to_string(),
        )
    };
    let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
    if family.is_some_and(|v6| v6 != addr.is_ipv6()) {
        return Err(word.wrong("the address is not of the family asked for", None));
    }
    let bits = if addr.is_ipv6() { 128 } else { 32 };
    let len = match len {
        None => bits,
        Some(l) => l.parse().ok().filter(|l| *l <= bits).ok_or_else(wrong)?,
    };
    Ok((addr, len))
}

fn lifetime(w: &mut Words) -> Result<u32, AdminError> {
    let word = w.need("seconds or forever")?;
    if word.text == "forever" {
        return Ok(INFINITE_LIFETIME);
    }
    let digits = word.text.trim_end_matches("sec");
    digits.parse().map_err(|_| word.wrong(format!("{:?} is not a number of seconds", word.text), None))
}

fn scope(w: &mut Words) -> Result<Scope, AdminError> {
    let word = w.need("a scope")?;
    Scope::parse(&word.text).ok_or_else(|| unknown(&word, "a scope", &["global", "site", "link", "host"]))
}

fn addr(w: &mut Words, family: Option<bool>) -> Result<Admin, AdminError> {
    let verb = w.need("add, replace, delete or flush")?;
    let verb = match choose(&verb, "a verb of ip addr", &["add", "change", "replace", "delete", "flush"])? {
        "add" => AddrVerb::Add,
        "delete" => AddrVerb::Del,
        "flush" => {
            let word = w.need("dev and an interface's name")?;
            if word.text != "dev" {
                return Err(unknown(&word, "expected here", &["dev"]));
            }
            return Ok(Admin::AddrFlush { dev: w.dev()?, ipv6: family });
        }
        _ => AddrVerb::Replace,
    };
    let mut c = AddrCommand {
        verb,
        addr: any(false),
        prefix_len: 0,
        peer: None,
        broadcast: None,
        dev: String::new(),
        scope: None,
        label: None,
        nodad: false,
        noprefixroute: false,
        valid_lft: INFINITE_LIFETIME,
        preferred_lft: INFINITE_LIFETIME,
    };
    let mut found = false;
    while let Some(word) = w.next() {
        match word.text.as_str() {
            "dev" => c.dev = w.dev()?,
            "brd" | "broadcast" => {
                let value = w.need("a broadcast address or +")?;
                c.broadcast = Some(match value.text.as_str() {
                    "+" => Broadcast::Auto,
                    a => Broadcast::Address(
                        a.parse().map_err(|_| value.wrong(format!("{a:?} is not an IPv4 address"), None))?,
                    ),
                });
            }
            "peer" => {
                let value = w.need("the peer's address")?;
                let (peer, len) = prefix(&value, Some(false))?;
                c.prefix_len = len;
                c.peer = Some(v4(peer));
            }
            "scope" => c.scope = Some(scope(w)?),
            "label" => c.label = Some(w.need("a label")?.text),
            "nodad" => c.nodad = true,
            "noprefixroute" => c.noprefixroute = true,
            "valid_lft" => c.valid_lft = lifetime(w)?,
            "preferred_lft" => c.preferred_lft = lifetime(w)?,
            "local" if !found => {}
            _ if !found && word.text.starts_with(|ch: char| ch.is_ascii_hexdigit() || ch == ':') => {
                let (a, len) = prefix(&word, family)?;
                (c.addr, found) = (a, true);
                if c.peer.is_none() {
                    c.prefix_len = len;
                }
            }
            _ => {
                let words = [
                    "dev",
                    "brd",
                    "broadcast",
                    "peer",
                    "scope",
                    "label",
                    "nodad",
                    "noprefixroute",
                    "valid_lft",
                    "preferred_lft",
                ];
                return Err(unknown(&word, "something wirelab knows of addresses", &words));
            }
        }
    }
    if !found {
        return Err(w.need("an address").expect_err("the words are used up"));
    }
    if c.dev.is_empty() {
        return Err(w.need("dev and an interface's name").expect_err("the words are used up"));
    }
    Ok(Admin::Addr(c))
}

fn v4(a: IpAddr) -> Ipv4Addr {
    match a {
        IpAddr::V4(a) => a,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

const ROUTE_KINDS: &[(&str, RouteKind)] = &[
    ("unicast", RouteKind::Unicast),
    ("local", RouteKind::Local),
    ("broadcast", RouteKind::Broadcast),
    ("multicast", RouteKind::Multicast),
    ("unreachable", RouteKind::Unreachable),
    ("prohibit", RouteKind::Prohibit),
    ("blackhole", RouteKind::Blackhole),
];

fn route(w: &mut Words, family: Option<bool>) -> Result<Admin, AdminError> {
    let verb = w.need("add, replace, change, append, delete or flush")?;
    let verbs = ["add", "append", "change", "delete", "flush", "prepend", "replace"];
    let change = match choose(&verb, "a verb of ip route", &verbs)? {
        "add" => RouteChange::Add,
        "append" => RouteChange::Append,
        "change" => RouteChange::Change,
        "prepend" => RouteChange::Prepend,
        "replace" => RouteChange::Replace,
        "flush" => {
            let what = w.need("cache")?;
            return match what.text.as_str() {
                "cache" => Ok(Admin::RouteFlushCache),
                _ => Err(unknown(&what, "something wirelab flushes", &["cache"])),
            };
        }
        _ => return Ok(Admin::RouteDel(route_spec(w, family)?)),
    };
    Ok(Admin::Route { change, route: route_spec(w, family)? })
}

fn route_spec(w: &mut Words, family: Option<bool>) -> Result<RouteSpec, AdminError> {
    let mut word = w.need("a destination")?;
    let mut kind = None;
    if let Some((_, k)) = ROUTE_KINDS.iter().find(|(name, _)| *name == word.text) {
        kind = Some(*k);
        word = w.need("a destination")?;
    }
    if word.text == "to" {
        word = w.need("a destination")?;
    }
    // `default` takes its family from what follows.
    let later_v6 = w.words[w.at.min(w.words.len())..].iter().find_map(|v| v.text.parse::<IpAddr>().ok());
    let (dst, prefix_len) = prefix(
        &word,
        family
            .or(later_v6.map(|a| a.is_ipv6()))
            .filter(|_| family.is_some() || ["default", "any", "all"].contains(&word.text.as_str())),
    )?;
    let mut r = RouteSpec { kind, ..RouteSpec::new(dst, prefix_len) };
    while let Some(word) = w.next() {
        route_word(w, &mut r, &word)?;
    }
    Ok(r)
}

fn route_word(w: &mut Words, r: &mut RouteSpec, word: &Word) -> Result<(), AdminError> {
    let family_addr = |w: &mut Words, v6: bool, what: &str| -> Result<IpAddr, AdminError> {
        let word = w.need(what)?;
        match word.text.parse::<IpAddr>() {
            Ok(a) if a.is_ipv6() == v6 => Ok(a),
            Ok(_) | Err(_) if ["inet", "inet6"].contains(&word.text.as_str()) => {
                Err(word.wrong("wirelab does not model gateways of the other family", None))
            }
            _ => Err(word.wrong(format!("{:?} is not {what} of the route's family", word.text), None)),
        }
    };
    let v6 = r.dst.is_ipv6();
    match word.text.as_str() {
        "via" => r.via = Some(family_addr(w, v6, "a gateway")?),
        "src" => r.src = Some(family_addr(w, v6, "a source address")?),
        "dev" => r.dev = Some(w.dev()?),
        "metric" | "priority" | "preference" => r.metric = Some(w.value("a metric")?),
        "table" => {
            let name = w.need("main or local")?;
            r.table = Some(match name.text.as_str() {
                "main" | "254" => Table::Main,
                "local" | "255" => Table::Local,
                _ => return Err(name.wrong("wirelab has the tables main and local only", None)),
            });
        }
        "scope" => r.scope = Some(scope(w)?),
        "proto" | "protocol" => {
            let name = w.need("a routing protocol")?;
            r.proto = Some(RouteProtocol::parse(&name.text).ok_or_else(|| {
                unknown(&name, "a routing protocol", &["kernel", "boot", "static", "ra", "redirect"])
            })?);
        }
        "onlink" => r.onlink = true,
        "pref" => {
            let name = w.need("low, medium or high")?;
            r.pref = Some(match choose(&name, "a preference", &["low", "medium", "high"])? {
                "high" => 1,
                "low" => 3,
                _ => 0,
            });
        }
        "expires" => r.expires = Some(w.value("seconds")?),
        "nexthop" | "nhid" => return Err(word.wrong("wirelab does not model multipath routes", None)),
        "encap" => return Err(word.wrong("wirelab does not model lightweight tunnels", None)),
        "tos" | "dsfield" => return Err(word.wrong("wirelab does not model routes by TOS", None)),
        _ => return route_metric(w, r, word),
    }
    Ok(())
}

fn route_metric(w: &mut Words, r: &mut RouteSpec, word: &Word) -> Result<(), AdminError> {
    let m = &mut r.metrics;
    match word.text.as_str() {
        "mtu" => {
            let value = w.need("an MTU")?;
            m.mtu_lock = value.text == "lock";
            let value = if m.mtu_lock { w.need("an MTU")? } else { value };
            m.mtu = value
                .text
                .parse()
                .map_err(|_| value.wrong(format!("{:?} is not an MTU", value.text), None))?;
        }
        "advmss" => m.advmss = w.value("bytes")?,
        "window" => m.window = w.value("bytes")?,
        "hoplimit" => m.hoplimit = w.value("a TTL")?,
        "initcwnd" => m.initcwnd = w.value("packets")?,
        "initrwnd" => m.initrwnd = w.value("packets")?,
        "quickack" => m.quickack = w.value::<u8>("0 or 1")? != 0,
        "rto_min" => {
            let mut value = w.need("a time")?;
            if value.text == "lock" {
                value = w.need("a time")?;
            }
            let (digits, unit) = match value.text.strip_suffix("ms") {
                Some(ms) => (ms, 1),
                None => (value.text.trim_end_matches('s'), 1000),
            };
            let n: u32 = digits.parse().map_err(|_| {
                value.wrong(format!("{:?} is not a time", value.text), "such as 300ms".to_string())
            })?;
            m.rto_min_ms = n.saturating_mul(unit);
        }
        _ => {
            let words = [
                "via", "dev", "src", "metric", "table", "scope", "proto", "onlink", "pref", "expires", "mtu",
                "advmss", "window", "hoplimit", "initcwnd", "initrwnd", "quickack", "rto_min",
            ];
            return Err(unknown(word, "something wirelab knows of routes", &words));
        }
    }
    Ok(())
}

fn neigh(w: &mut Words, family: Option<bool>) -> Result<Admin, AdminError> {
    let verb = w.need("add, replace, change, delete or flush")?;
    let verb = match choose(&verb, "a verb of ip neigh", &["add", "change", "replace", "delete", "flush"])? {
        "add" => NeighVerb::Add,
        "change" => NeighVerb::Change,
        "replace" => NeighVerb::Replace,
        "delete" => NeighVerb::Del,
        _ => return neigh_flush(w, family),
    };
    let mut c = NeighCommand {
        verb,
        addr: Ipv6Addr::UNSPECIFIED.into(),
        dev: String::new(),
        lladdr: None,
        nud: None,
        router: false,
        proxy: false,
    };
    let mut found = false;
    while let Some(word) = w.next() {
        match word.text.as_str() {
            "dev" => c.dev = w.dev()?,
            "lladdr" => c.lladdr = Some(w.value("a MAC address")?),
            "nud" => {
                let name = w.need("a state")?;
                let states =
                    ["permanent", "reachable", "stale", "noarp", "delay", "probe", "failed", "incomplete"];
                c.nud = Some(NudState::parse(&name.text).ok_or_else(|| unknown(&name, "a state", &states))?);
            }
            "router" => c.router = true,
            "proxy" => c.proxy = true,
            "to" => {}
            a => {
                c.addr = a.parse().ok().filter(|_| !found).ok_or_else(|| {
                    unknown(
                        &word,
                        "something wirelab knows of neighbours",
                        &["dev", "lladdr", "nud", "router", "proxy"],
                    )
                })?;
                found = true;
            }
        }
    }
    if !found {
        return Err(w.need("the neighbour's address").expect_err("the words are used up"));
    }
    if c.dev.is_empty() {
        return Err(w.need("dev and an interface's name").expect_err("the words are used up"));
    }
    Ok(Admin::Neigh(c))
}

fn neigh_flush(w: &mut Words, family: Option<bool>) -> Result<Admin, AdminError> {
    let (mut dev, mut all, mut named) = (None, false, false);
    while let Some(word) = w.next() {
        match word.text.as_str() {
            "dev" => dev = Some(w.dev()?),
            "all" => {}
            "nud" => {
                let name = w.need("all")?;
                if name.text != "all" {
                    return Err(
                        name.wrong("wirelab flushes all states or the usual ones", "nud all".to_string())
                    );
                }
                all = true;
            }
            _ => return Err(unknown(&word, "expected here", &["dev", "all", "nud"])),
        }
        named = true;
    }
    if !named {
        return Err(w.need("dev or all").expect_err("the words are used up"));
    }
    Ok(Admin::NeighFlush { dev, ipv6: family, all })
}

fn sysctl(w: &mut Words) -> Result<Admin, AdminError> {
    let mut word = w.need("NAME=VALUE")?;
    while ["-w", "-q", "--write", "--quiet"].contains(&word.text.as_str()) {
        word = w.need("NAME=VALUE")?;
    }
    let missing =
        || word.wrong("an = and a value are missing", "sysctl -w net.ipv4.ip_forward=1".to_string());
    let (name, value) = word.text.split_once('=').ok_or_else(missing)?;
    Ok(Admin::Sysctl { name: name.trim().into(), value: value.trim().into() })
}

fn router_advert(w: &mut Words) -> Result<Admin, AdminError> {
    let mut dev = w.dev()?;
    if dev == "dev" {
        dev = w.dev()?;
    }
    if w.words.get(w.at).is_some_and(|word| word.text == "off") {
        w.next();
        return Ok(Admin::RouterAdvert { dev, advertise: None });
    }
    let mut a = Advertise::default();
    while let Some(word) = w.next() {
        match word.text.as_str() {
            "prefix" => {
                let value = w.need("a prefix")?;
                let (addr, len) = prefix(&value, Some(true))?;
                let IpAddr::V6(prefix) = addr else {
                    return Err(value.wrong("an IPv6 prefix is expected", None));
                };
                a.prefixes.push((prefix, len));
            }
            "lifetime" => a.router_lifetime = w.value("seconds")?,
            "valid_lft" => a.valid_lifetime = lifetime(w)?,
            "preferred_lft" => a.preferred_lifetime = lifetime(w)?,
            "mtu" => a.mtu = Some(w.value("an MTU")?),
            "hoplimit" => a.hop_limit = w.value("a hop limit")?,
            "pref" => {
                let name = w.need("low, medium or high")?;
                a.preference = match choose(&name, "a preference", &["low", "medium", "high"])? {
                    "high" => 1,
                    "low" => 3,
                    _ => 0,
                };
            }
            _ => {
                let words =
                    ["prefix", "lifetime", "valid_lft", "preferred_lft", "mtu", "hoplimit", "pref", "off"];
                return Err(unknown(&word, "something a router advertises here", &words));
            }
        }
    }
    Ok(Admin::RouterAdvert { dev, advertise: Some(a) })
}
