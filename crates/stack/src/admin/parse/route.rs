//! `ip route …`. iproute2: ip/iproute.c (`iproute_modify`).

use std::net::IpAddr;

use super::{Word, Words, choose, prefix, scope, unknown};
use crate::admin::{Admin, AdminError, RouteSpec};
use crate::route::{RouteChange, RouteKind, RouteProtocol, Table};

const ROUTE_KINDS: &[(&str, RouteKind)] = &[
    ("unicast", RouteKind::Unicast),
    ("local", RouteKind::Local),
    ("broadcast", RouteKind::Broadcast),
    ("multicast", RouteKind::Multicast),
    ("unreachable", RouteKind::Unreachable),
    ("prohibit", RouteKind::Prohibit),
    ("blackhole", RouteKind::Blackhole),
];

pub(super) fn route(w: &mut Words, family: Option<bool>) -> Result<Admin, AdminError> {
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
