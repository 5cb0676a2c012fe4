//! Reading commands: the subset of iproute2's grammar that wirelab acts on. Words that `ip` knows and wirelab
//! does not model are errors that say so.

mod link;
mod route;

use core::net::{Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use std::net::IpAddr;

use super::{AddrCommand, AddrVerb, Admin, AdminError, Broadcast, NeighCommand, NeighVerb, any};
use crate::iface::{Advertise, INFINITE_LIFETIME, Scope};
use crate::neigh::NudState;
use link::link;
use route::route;

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
    let objects = ["address", "addr", "route", "link", "neighbour", "neighbor", "tcp_metrics", "tcpmetrics"];
    match choose(&object, "an object of ip", &objects)? {
        "tcp_metrics" | "tcpmetrics" => tcp_metrics(w),
        "link" => link(w),
        "route" => route(w, family),
        "neighbour" | "neighbor" => neigh(w, family),
        _ => addr(w, family),
    }
}

fn tcp_metrics(w: &mut Words) -> Result<Admin, AdminError> {
    let verb = w.need("flush or delete")?;
    let flush = choose(&verb, "what wirelab does with tcp_metrics", &["flush", "delete"])? == "flush";
    let word = match w.next() {
        None if flush => return Ok(Admin::TcpMetricsFlush { remote: None }),
        Some(word) if flush && word.text == "all" => return Ok(Admin::TcpMetricsFlush { remote: None }),
        Some(word) if word.text == "address" => w.need("an address")?,
        Some(word) => word,
        None => w.need("an address")?,
    };
    let wrong = |_| word.wrong(format!("{:?} is not an address", word.text), None);
    Ok(Admin::TcpMetricsFlush { remote: Some(word.text.parse().map_err(wrong)?) })
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
    let (name, mut value) = (name.trim().to_owned(), value.trim().to_owned());
    // The rest of a value that is a list: `net.ipv4.ip_local_port_range=40000 40003`.
    while w.words.get(w.at).is_some_and(|word| !word.text.contains('=')) {
        let more = w.need("a value")?;
        value.push(' ');
        value.push_str(&more.text);
    }
    Ok(Admin::Sysctl { name, value })
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
