//! `ip route`'s words. iproute2: ip/iproute.c (`print_route`).

use core::fmt::Write as _;
use std::net::IpAddr;

use wire::Instant;

use super::table::{Address, Route};
use super::{Flow, RouteKind, RouteProtocol, Table};
use crate::iface::{Interfaces, Scope};
use crate::{Errno, Stack};

/// One line, without the blanks that `ip` leaves at the end.
pub(super) fn route_line<A: Address>(
    ifaces: &Interfaces,
    now: Instant,
    r: &Route<A>,
    table: Table,
) -> String {
    let mut s = String::new();
    if r.kind != RouteKind::Unicast {
        s.push_str(r.kind.name());
        s.push(' ');
    }
    if r.prefix_len == 0 {
        s.push_str("default");
    } else if r.prefix_len == A::BITS {
        write!(s, "{}", r.dst.ip()).expect("a String takes everything");
    } else {
        write!(s, "{}/{}", r.dst.ip(), r.prefix_len).expect("as above");
    }
    if let Some(gw) = r.gateway {
        write!(s, " via {}", gw.ip()).expect("as above");
    }
    if r.oif != 0
        && let Some(iface) = ifaces.get(r.oif)
    {
        write!(s, " dev {}", iface.name).expect("as above");
    }
    if table == Table::Local {
        s.push_str(" table local");
    }
    if r.protocol != RouteProtocol::BOOT {
        write!(s, " proto {}", r.protocol.name()).expect("as above");
    }
    let v4 = A::BITS == 32;
    if v4 && r.scope != Scope::UNIVERSE {
        write!(s, " scope {}", r.scope.name()).expect("as above");
    }
    if let Some(src) = r.prefsrc {
        write!(s, " src {}", src.ip()).expect("as above");
    }
    if !v4 || r.metric != 0 {
        write!(s, " metric {}", r.metric).expect("as above");
    }
    if r.kind == RouteKind::Unicast && ifaces.get(r.oif).is_some_and(|i| i.up && !i.carrier) {
        s.push_str(" linkdown");
    }
    if r.onlink {
        s.push_str(" onlink");
    }
    if let Some(at) = r.expires {
        write!(s, " expires {}sec", at.saturating_since(now).as_secs()).expect("as above");
    }
    if let Some(m) = &r.metrics {
        metrics(&mut s, m);
    }
    if !v4 {
        s.push_str(match r.pref {
            1 => " pref high",
            3 => " pref low",
            _ => " pref medium",
        });
    }
    s
}

fn metrics(s: &mut String, m: &super::Metrics) {
    if m.mtu != 0 {
        write!(s, " mtu {}{}", if m.mtu_lock { "lock " } else { "" }, m.mtu).expect("as above");
    }
    if m.window != 0 {
        write!(s, " window {}", m.window).expect("as above");
    }
    if m.advmss != 0 {
        write!(s, " advmss {}", m.advmss).expect("as above");
    }
    if m.hoplimit != 0 {
        write!(s, " hoplimit {}", m.hoplimit).expect("as above");
    }
    if m.initcwnd != 0 {
        write!(s, " initcwnd {}", m.initcwnd).expect("as above");
    }
    if m.rto_min_ms != 0 {
        write!(s, " rto_min lock {}ms", m.rto_min_ms).expect("as above");
    }
    if m.initrwnd != 0 {
        write!(s, " initrwnd {}", m.initrwnd).expect("as above");
    }
    if m.quickack {
        s.push_str(" quickack 1");
    }
}

impl Stack {
    pub(super) fn route4_text(&self, now: Instant, r: &Route<u32>, table: Table) -> String {
        route_line(&self.ifaces, now, r, table)
    }

    pub(super) fn route6_text(&self, now: Instant, r: &Route<u128>, table: Table) -> String {
        route_line(&self.ifaces, now, r, table)
    }

    /// `ip route` (`-6` with `ipv6`), of the main table or the local one. `ip` shows IPv4's shortest prefix
    /// first, and so does this.
    pub fn ip_route(&self, now: Instant, ipv6: bool, table: Table) -> Vec<String> {
        let live = |at: Option<Instant>| at.is_none_or(|at| now < at);
        let show = |mut line: String| {
            if let Some(at) = line.find(" table local") {
                line.replace_range(at..at + " table local".len(), "");
            }
            line
        };
        if ipv6 {
            let t = if table == Table::Local { &self.fib.local6 } else { &self.fib.main6 };
            let mut routes: Vec<&Route<u128>> = t.iter().filter(|r| live(r.expires)).collect();
            routes.sort_by_key(|r| (r.prefix_len == 0, r.dst, r.prefix_len, r.metric));
            routes.into_iter().map(|r| show(route_line(&self.ifaces, now, r, table))).collect()
        } else {
            let t = if table == Table::Local { &self.fib.local4 } else { &self.fib.main4 };
            let mut routes: Vec<&Route<u32>> = t.iter().collect();
            routes.sort_by_key(|r| (r.dst, r.prefix_len, r.metric));
            routes.into_iter().map(|r| show(route_line(&self.ifaces, now, r, table))).collect()
        }
    }

    /// `ip route get DST`, without its `uid`; the second line names what was learnt about the destination.
    pub fn ip_route_get(&self, now: Instant, dst: IpAddr) -> Result<String, Errno> {
        let unspecified: IpAddr = match dst {
            IpAddr::V4(_) => core::net::Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => core::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let entry = self.route_output(now, &Flow { dst, src: unspecified, oif: 0, tos: 0 })?;
        let mut s = String::new();
        if entry.kind != RouteKind::Unicast {
            write!(s, "{} ", entry.kind.name()).expect("a String takes everything");
        }
        write!(s, "{dst}").expect("as above");
        if entry.via_gateway {
            write!(s, " via {}", entry.next_hop).expect("as above");
        }
        let name = self.ifaces.get(entry.ifindex).map_or("?", |i| &i.name);
        write!(s, " dev {name} src {}\n    cache", entry.src).expect("as above");
        if entry.kind == RouteKind::Local {
            s.push_str(" <local>");
        }
        if let Some(e) = self.fib.exceptions.0.get(&dst).filter(|e| e.expires > now) {
            if e.gateway.is_some() {
                s.push_str(" <redirected>");
            }
            write!(s, " expires {}sec", e.expires.saturating_since(now).as_secs()).expect("as above");
            if e.mtu != 0 {
                write!(s, " mtu {}{}", if e.locked { "lock " } else { "" }, e.mtu).expect("as above");
            }
        }
        Ok(s)
    }

    /// `ip route show cache`: every destination about which ICMP taught something.
    pub fn ip_route_cache(&self, now: Instant) -> Vec<String> {
        self.fib
            .exceptions
            .0
            .iter()
            .filter(|(_, e)| e.expires > now)
            .map(|(dst, e)| {
                let name = self.ifaces.get(e.ifindex).map_or("?", |i| &i.name);
                let via = e.gateway.or((e.next_hop != *dst).then_some(e.next_hop));
                let mut s = dst.to_string();
                if let Some(gw) = via {
                    write!(s, " via {gw}").expect("a String takes everything");
                }
                write!(s, " dev {name}\n    cache").expect("as above");
                if e.gateway.is_some() {
                    s.push_str(" <redirected>");
                }
                write!(s, " expires {}sec", e.expires.saturating_since(now).as_secs()).expect("as above");
                if e.mtu != 0 {
                    write!(s, " mtu {}{}", if e.locked { "lock " } else { "" }, e.mtu).expect("as above");
                }
                s
            })
            .collect()
    }
}
