//! Commands as text that iproute2 and sysctl take.

use core::fmt::{self, Display, Formatter};

use super::{
    AddrCommand, AddrVerb, Admin, Broadcast, LinkChange, NeighCommand, NeighVerb, NewLink, RouteSpec,
};
use crate::iface::INFINITE_LIFETIME;
use crate::route::{RouteChange, Table};

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn family(ipv6: Option<bool>) -> &'static str {
    match ipv6 {
        None => "ip",
        Some(false) => "ip -4",
        Some(true) => "ip -6",
    }
}

impl Display for Admin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Admin::LinkSet { dev, changes } => {
                write!(f, "ip link set dev {dev}")?;
                changes.iter().try_for_each(|change| write!(f, " {change}"))
            }
            Admin::LinkAdd { name, kind } => new_link(f, name, kind),
            Admin::LinkDel { dev } => write!(f, "ip link del dev {dev}"),
            Admin::Addr(command) => command.fmt(f),
            Admin::AddrFlush { dev, ipv6 } => write!(f, "{} addr flush dev {dev}", family(*ipv6)),
            Admin::Route { change, route } => {
                let verb = match change {
                    RouteChange::Add => "add",
                    RouteChange::Replace => "replace",
                    RouteChange::Change => "change",
                    RouteChange::Append => "append",
                    RouteChange::Prepend => "prepend",
                };
                route_command(f, verb, route)
            }
            Admin::RouteDel(route) => route_command(f, "del", route),
            Admin::RouteFlushCache => f.write_str("ip route flush cache"),
            Admin::Neigh(command) => command.fmt(f),
            Admin::NeighFlush { dev, ipv6, all } => {
                write!(f, "{} neigh flush", family(*ipv6))?;
                match dev {
                    Some(dev) => write!(f, " dev {dev}")?,
                    None => f.write_str(" all")?,
                }
                // `nud all` includes permanent and noarp entries.
                f.write_str(if *all { " nud all" } else { "" })
            }
            Admin::TcpMetricsFlush { remote: None } => f.write_str("ip tcp_metrics flush all"),
            Admin::TcpMetricsFlush { remote: Some(remote) } => write!(f, "ip tcp_metrics delete {remote}"),
            Admin::Sysctl { name, value } => {
                let plain = !value.is_empty() && !value.contains(char::is_whitespace);
                if plain {
                    write!(f, "sysctl -w {name}={value}")
                } else {
                    write!(f, "sysctl -w {name}='{value}'")
                }
            }
            Admin::RouterAdvert { dev, advertise } => match advertise {
                None => write!(f, "ra dev {dev} off"),
                Some(a) => write!(f, "ra dev {dev} {a}"),
            },
        }
    }
}

impl Display for LinkChange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            LinkChange::Up(up) => f.write_str(if *up { "up" } else { "down" }),
            LinkChange::Mtu(mtu) => write!(f, "mtu {mtu}"),
            LinkChange::Address(mac) => write!(f, "address {mac}"),
            LinkChange::Arp(on) => write!(f, "arp {}", on_off(*on)),
            LinkChange::Carrier(on) => write!(f, "carrier {}", on_off(*on)),
        }
    }
}

fn new_link(f: &mut Formatter<'_>, name: &str, kind: &NewLink) -> fmt::Result {
    match kind {
        NewLink::Vlan { link, id } => write!(f, "ip link add link {link} name {name} type vlan id {id}"),
        NewLink::Tunnel { mode, local, remote, ttl, tos, pmtudisc, key, csum, seq, dev } => {
            write!(f, "ip link add name {name} type {}", mode.name())?;
            named(f, "local", local.as_ref())?;
            named(f, "remote", remote.as_ref())?;
            match ttl {
                Some(ttl) => write!(f, " ttl {ttl}")?,
                None => f.write_str(" ttl inherit")?,
            }
            match tos {
                Some(0) => {}
                Some(tos) => write!(f, " tos {tos:#x}")?,
                None => f.write_str(" tos inherit")?,
            }
            if !pmtudisc {
                f.write_str(" nopmtudisc")?;
            }
            named(f, "key", key.as_ref())?;
            f.write_str(if *csum { " csum" } else { "" })?;
            f.write_str(if *seq { " seq" } else { "" })?;
            named(f, "dev", dev.as_ref())
        }
        NewLink::Vxlan { vni, local, remote, dstport, dev, ttl, learning } => {
            write!(f, "ip link add name {name} type vxlan id {vni}")?;
            named(f, "local", local.as_ref())?;
            let multicast = remote.is_some_and(|r| r.is_multicast());
            named(f, if multicast { "group" } else { "remote" }, remote.as_ref())?;
            named(f, "dev", dev.as_ref())?;
            write!(f, " dstport {dstport}")?;
            if *ttl != 0 {
                write!(f, " ttl {ttl}")?;
            }
            f.write_str(if *learning { "" } else { " nolearning" })?;
            Ok(())
        }
    }
}

fn named(f: &mut Formatter<'_>, word: &str, value: Option<&impl Display>) -> fmt::Result {
    match value {
        Some(value) => write!(f, " {word} {value}"),
        None => Ok(()),
    }
}

impl Display for AddrCommand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let verb = match self.verb {
            AddrVerb::Add => "add",
            AddrVerb::Replace => "replace",
            AddrVerb::Del => "del",
        };
        write!(f, "ip addr {verb} {}", self.addr)?;
        match self.peer {
            Some(peer) => write!(f, " peer {peer}/{}", self.prefix_len)?,
            None => write!(f, "/{}", self.prefix_len)?,
        }
        match self.broadcast {
            None => {}
            Some(Broadcast::Auto) => f.write_str(" brd +")?,
            Some(Broadcast::Address(a)) => write!(f, " brd {a}")?,
        }
        write!(f, " dev {}", self.dev)?;
        named(f, "scope", self.scope.map(|s| s.name()).as_ref())?;
        named(f, "label", self.label.as_ref())?;
        f.write_str(if self.nodad { " nodad" } else { "" })?;
        f.write_str(if self.noprefixroute { " noprefixroute" } else { "" })?;
        if self.valid_lft != INFINITE_LIFETIME {
            write!(f, " valid_lft {}", self.valid_lft)?;
        }
        if self.preferred_lft != INFINITE_LIFETIME {
            write!(f, " preferred_lft {}", self.preferred_lft)?;
        }
        Ok(())
    }
}

fn route_command(f: &mut Formatter<'_>, verb: &str, r: &RouteSpec) -> fmt::Result {
    f.write_str(if r.dst.is_ipv6() { "ip -6 route " } else { "ip route " })?;
    write!(f, "{verb} ")?;
    if let Some(kind) = r.kind {
        write!(f, "{} ", kind.name())?;
    }
    if r.prefix_len == 0 {
        f.write_str("default")?;
    } else {
        write!(f, "{}/{}", r.dst, r.prefix_len)?;
    }
    named(f, "via", r.via.as_ref())?;
    named(f, "dev", r.dev.as_ref())?;
    match r.table {
        None => {}
        Some(Table::Local) => f.write_str(" table local")?,
        Some(Table::Main) => f.write_str(" table main")?,
    }
    named(f, "proto", r.proto.map(|p| p.name()).as_ref())?;
    named(f, "scope", r.scope.map(|s| s.name()).as_ref())?;
    named(f, "src", r.src.as_ref())?;
    named(f, "metric", r.metric.as_ref())?;
    f.write_str(if r.onlink { " onlink" } else { "" })?;
    let m = &r.metrics;
    if m.mtu != 0 {
        write!(f, " mtu {}{}", if m.mtu_lock { "lock " } else { "" }, m.mtu)?;
    }
    let numbers = [
        ("window", m.window),
        ("advmss", m.advmss),
        ("hoplimit", m.hoplimit.into()),
        ("initcwnd", m.initcwnd),
        ("initrwnd", m.initrwnd),
    ];
    for (word, n) in numbers.into_iter().filter(|(_, n)| *n != 0) {
        write!(f, " {word} {n}")?;
    }
    if m.rto_min_ms != 0 {
        write!(f, " rto_min {}ms", m.rto_min_ms)?;
    }
    f.write_str(if m.quickack { " quickack 1" } else { "" })?;
    named(f, "expires", r.expires.as_ref())?;
    match r.pref {
        None => Ok(()),
        Some(1) => f.write_str(" pref high"),
        Some(3) => f.write_str(" pref low"),
        Some(_) => f.write_str(" pref medium"),
    }
}

impl Display for NeighCommand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let verb = match self.verb {
            NeighVerb::Add => "add",
            NeighVerb::Replace => "replace",
            NeighVerb::Change => "change",
            NeighVerb::Del => "del",
        };
        write!(f, "ip neigh {verb} {}{}", if self.proxy { "proxy " } else { "" }, self.addr)?;
        named(f, "lladdr", self.lladdr.as_ref())?;
        write!(f, " dev {}", self.dev)?;
        if let Some(nud) = self.nud {
            write!(f, " nud {}", nud.name().to_ascii_lowercase())?;
        }
        f.write_str(if self.router { " router" } else { "" })
    }
}
