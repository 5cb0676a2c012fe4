//! `ip link`'s and `ip addr`'s words. iproute2: ip/ipaddress.c (`print_linkinfo`, `print_addrinfo`).

use core::fmt::Write as _;

use wire::{Instant, Medium};

use super::{DadState, INFINITE_LIFETIME, Interface, LinkKind, TunnelMode};
use crate::Stack;

impl Interface {
    /// The words in angle brackets.
    fn flag_words(&self) -> String {
        let mut flags = Vec::new();
        if self.up && !self.carrier {
            flags.push("NO-CARRIER");
        }
        if self.is_loopback() {
            flags.push("LOOPBACK");
        } else if self.is_point_to_point() {
            flags.push("POINTOPOINT");
        } else {
            flags.extend(["BROADCAST", "MULTICAST"]);
        }
        if self.noarp {
            flags.push("NOARP");
        }
        if self.up {
            flags.push("UP");
        }
        if self.up && self.carrier {
            flags.push("LOWER_UP");
        }
        flags.join(",")
    }

    fn link_line(&self, below: Option<&str>, mode: &str) -> String {
        let at = below.map(|b| format!("@{b}")).unwrap_or_default();
        let state = match (self.up, self.carrier) {
            _ if self.is_loopback() && self.up => "UNKNOWN",
            (true, true) if self.is_point_to_point() => "UNKNOWN",
            (true, true) => "UP",
            _ => "DOWN",
        };
        let mut s = format!(
            "{}: {}{at}: <{}> mtu {} state {state}{mode}\n",
            self.ifindex,
            self.name,
            self.flag_words(),
            self.mtu
        );
        match (&self.kind, self.medium) {
            (LinkKind::Loopback, _) => {
                s.push_str("    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00")
            }
            (LinkKind::Tunnel(t), _) if t.mode != TunnelMode::Gretap => {
                let word = match t.mode {
                    TunnelMode::Ip6tnl => "tunnel6",
                    TunnelMode::Ip6gre => "gre6",
                    TunnelMode::Ipip | TunnelMode::Gre | TunnelMode::Gretap | TunnelMode::Sit => {
                        t.mode.name()
                    }
                };
                let end = |a: Option<std::net::IpAddr>| match a {
                    Some(a) => a.to_string(),
                    None if matches!(t.mode, TunnelMode::Ip6tnl | TunnelMode::Ip6gre) => "::".into(),
                    None => "0.0.0.0".into(),
                };
                write!(s, "    link/{word} {} peer {}", end(t.local), end(t.remote))
                    .expect("a String takes everything");
            }
            (_, Medium::Ip) => s.push_str("    link/none"),
            (_, Medium::Ethernet) => {
                write!(s, "    link/ether {} brd ff:ff:ff:ff:ff:ff", self.mac).expect("as above");
            }
        }
        s
    }
}

/// `forever` or seconds that are left.
fn left(end: Option<Instant>, now: Instant) -> String {
    match end {
        None => "forever".into(),
        Some(at) => format!("{}sec", at.saturating_since(now).as_secs()),
    }
}

impl Stack {
    fn below(&self, iface: &Interface) -> Option<&str> {
        match iface.kind {
            LinkKind::Vlan { link, .. } => self.ifaces.get(link).map(|i| &*i.name),
            LinkKind::Tunnel(_) => Some("NONE"),
            LinkKind::Loopback | LinkKind::Nic | LinkKind::Vxlan(_) => None,
        }
    }

    /// `ip link`, without queueing disciplines and groups, which are not modelled.
    pub fn ip_link(&self) -> Vec<String> {
        self.ifaces.iter().map(|i| i.link_line(self.below(i), " mode DEFAULT")).collect()
    }

    /// `ip addr`, one string for each interface.
    pub fn ip_addr(&self, now: Instant) -> Vec<String> {
        self.ifaces.iter().map(|i| self.addr_lines(i, now)).collect()
    }

    /// `ip -6 addr`: interfaces that have an IPv6 address, without the line of the link layer.
    pub fn ip6_addr(&self, now: Instant) -> Vec<String> {
        let mut list = Vec::new();
        for iface in self.ifaces.iter().filter(|i| !i.inet6.addrs.is_empty()) {
            let text = self.addr_lines(iface, now);
            let mut lines = text.lines();
            let mut s = lines.next().expect("the name").to_string();
            for line in lines.skip_while(|line| !line.starts_with("    inet6 ")) {
                s.push('\n');
                s.push_str(line);
            }
            list.push(s);
        }
        list
    }

    fn addr_lines(&self, iface: &Interface, now: Instant) -> String {
        let mut s = iface.link_line(self.below(iface), "");
        for a in &iface.addrs4 {
            write!(s, "\n    inet {}", a.addr).expect("a String takes everything");
            if a.peer != a.addr {
                write!(s, " peer {}", a.peer).expect("as above");
            }
            write!(s, "/{}", a.prefix_len).expect("as above");
            if let Some(brd) = a.broadcast {
                write!(s, " brd {brd}").expect("as above");
            }
            write!(s, " scope {}", a.scope.name()).expect("as above");
            if a.secondary {
                s.push_str(" secondary");
            }
            let label = a.label.as_deref().unwrap_or(&iface.name);
            write!(s, " {label}\n       valid_lft forever preferred_lft forever").expect("as above");
        }
        for a in &iface.inet6.addrs {
            write!(s, "\n    inet6 {}/{} scope {}", a.addr, a.prefix_len, a.scope().name())
                .expect("as above");
            if a.deprecated {
                s.push_str(" deprecated");
            }
            match a.dad {
                DadState::Done => {}
                DadState::Tentative(_) => s.push_str(" tentative"),
                DadState::Failed => s.push_str(" dadfailed tentative"),
            }
            if !a.permanent {
                s.push_str(" dynamic");
            }
            if a.autoconf {
                s.push_str(" mngtmpaddr");
            }
            if a.nodad {
                s.push_str(" nodad");
            }
            let preferred = if a.lifetimes.preferred == INFINITE_LIFETIME {
                "forever".into()
            } else {
                left(a.lifetimes.preferred_until(), now)
            };
            write!(
                s,
                "\n       valid_lft {} preferred_lft {preferred}",
                left(a.lifetimes.valid_until(), now)
            )
            .expect("as above");
        }
        s
    }
}
