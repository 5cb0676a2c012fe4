//! A route as `ip route` prints it. Linux: rtnetlink(7); iproute2's words, ip-route(8).

use std::fmt::Write;
use std::net::IpAddr;

use super::{Attributes, ip, u32_at};

/// One route of a routing table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    v6: bool,
    ty: u8,
    protocol: u8,
    scope: u8,
    dst: Option<(IpAddr, u8)>,
    gateway: Option<IpAddr>,
    oif: Option<u32>,
    src: Option<IpAddr>,
    metric: Option<u32>,
}

/// `RT_TABLE_MAIN`
const MAIN: u32 = 254;
/// `RTM_F_CLONED`: a cached path, not a route somebody made.
const CLONED: u32 = 0x200;

impl Route {
    /// Reads `struct rtmsg` and its attributes. `None` for tables that `ip route` does not show.
    pub(super) fn parse(body: &[u8]) -> Option<Route> {
        let [family, dst_len, _, _, table, protocol, scope, ty] = *body.first_chunk::<8>()?;
        let flags = u32_at(body, 8)?;
        let attrs = Attributes(body.get(12..)?);
        let number = |wanted| attrs.find(wanted).and_then(|b| u32_at(b, 0));
        // RTA_TABLE 15 when the number does not fit into the header.
        if number(15).unwrap_or(table.into()) != MAIN || flags & CLONED != 0 {
            return None;
        }
        Some(Route {
            v6: i32::from(family) == libc::AF_INET6,
            ty,
            protocol,
            scope,
            dst: attrs.find(1).and_then(ip).map(|addr| (addr, dst_len)),
            gateway: attrs.find(5).and_then(ip),
            oif: number(4),
            src: attrs.find(7).and_then(ip),
            metric: number(6),
        })
    }

    /// `ip route`'s line; `name` gives an interface's name by its number.
    pub(crate) fn text(&self, name: impl Fn(u32) -> Option<String>) -> String {
        let mut out = String::new();
        if let Some(ty) = type_name(self.ty) {
            let _ = write!(out, "{ty} ");
        }
        match self.dst {
            None => out.push_str("default"),
            Some((addr, len)) if len == if self.v6 { 128 } else { 32 } => {
                let _ = write!(out, "{addr}");
            }
            Some((addr, len)) => {
                let _ = write!(out, "{addr}/{len}");
            }
        }
        if let Some(gateway) = self.gateway {
            let _ = write!(out, " via {gateway}");
        }
        if let Some(oif) = self.oif {
            let _ = write!(out, " dev {}", name(oif).unwrap_or_else(|| format!("if{oif}")));
        }
        match self.protocol {
            2 => out.push_str(" proto kernel"),
            // RTPROT_BOOT is what `ip route add` sets; ip does not print it.
            3 => {}
            4 => out.push_str(" proto static"),
            9 => out.push_str(" proto ra"),
            1 => out.push_str(" proto redirect"),
            other => {
                let _ = write!(out, " proto {other}");
            }
        }
        if !self.v6 {
            match self.scope {
                253 => out.push_str(" scope link"),
                254 => out.push_str(" scope host"),
                _ => {}
            }
        }
        if let Some(src) = self.src {
            let _ = write!(out, " src {src}");
        }
        if let Some(metric) = self.metric {
            let _ = write!(out, " metric {metric}");
        }
        if self.v6 {
            out.push_str(" pref medium");
        }
        out
    }
}

/// `RTN_*` other than unicast.
fn type_name(ty: u8) -> Option<&'static str> {
    Some(match ty {
        2 => "local",
        3 => "broadcast",
        4 => "anycast",
        5 => "multicast",
        6 => "blackhole",
        7 => "unreachable",
        8 => "prohibit",
        9 => "throw",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_read_as_ip_route_prints_them() {
        let route = Route {
            v6: false,
            ty: 1,
            protocol: 2,
            scope: 253,
            dst: Some(("192.0.2.0".parse().unwrap(), 24)),
            gateway: None,
            oif: Some(2),
            src: Some("192.0.2.1".parse().unwrap()),
            metric: None,
        };
        let name = |n| (n == 2).then(|| "eth0".to_owned());
        assert_eq!(route.text(name), "192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.1");
        let default = Route {
            protocol: 3,
            scope: 0,
            dst: None,
            gateway: Some("192.0.2.254".parse().unwrap()),
            src: None,
            ..route
        };
        assert_eq!(default.text(name), "default via 192.0.2.254 dev eth0");
    }
}
