//! `ip neigh`'s words. iproute2: ip/ipneigh.c (`print_neigh`).

use core::fmt::Write as _;

use super::NudState;
use crate::Stack;

impl Stack {
    /// `ip neigh`: one line for each entry, IPv4 first. Entries without resolution are left out, as `ip` does.
    pub fn ip_neigh(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for ipv6 in [false, true] {
            for n in self.neigh.iter().filter(|n| n.addr.is_ipv6() == ipv6) {
                let Some(state) = n.state.filter(|s| *s != NudState::Noarp) else { continue };
                let dev = self.ifaces.get(n.ifindex).map_or("?", |i| &i.name);
                let mut s = format!("{} dev {dev}", n.addr);
                if n.is_valid() {
                    write!(s, " lladdr {}", n.lladdr).expect("a String takes everything");
                }
                if n.router {
                    s.push_str(" router");
                }
                write!(s, " {state}").expect("as above");
                lines.push(s);
            }
        }
        lines
    }

    /// `ip neigh show proxy`.
    pub fn ip_neigh_proxy(&self) -> Vec<String> {
        self.neigh
            .proxies
            .iter()
            .map(|(ifindex, addr)| {
                format!("{addr} dev {} proxy", self.ifaces.get(ifindex).map_or("?", |i| &i.name))
            })
            .collect()
    }
}
