//! Which of our IPv6 addresses a packet leaves with: RFC 6724 §5.
//!
//! Linux: net/ipv6/addrconf.c (`ipv6_dev_get_saddr`, `ipv6_get_saddr_eval`), net/ipv6/addrlabel.c.

use core::net::Ipv6Addr;

use crate::Stack;
use crate::iface::{Interface, Ipv6IfAddr};
use crate::record::IfIndex;

/// RFC 6724 §2.1, the default policy table, as Linux has it: prefix, length, label.
const LABELS: &[(Ipv6Addr, u8, u8)] = &[
    (Ipv6Addr::LOCALHOST, 128, 0),
    (Ipv6Addr::UNSPECIFIED, 96, 3),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 4),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 6),
    (Ipv6Addr::new(0x2001, 0x10, 0, 0, 0, 0, 0, 0), 28, 7),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 2),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 11),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 5),
];

/// Leading bits that two addresses share.
fn common_prefix(a: Ipv6Addr, b: Ipv6Addr) -> u8 {
    let bits = (a.to_bits() ^ b.to_bits()).leading_zeros();
    u8::try_from(bits).expect("at most 128")
}

/// `ipv6_addr_label`: the label of the longest matching prefix, 1 for the rest.
fn label(a: Ipv6Addr) -> u8 {
    LABELS.iter().find(|(prefix, len, _)| common_prefix(a, *prefix) >= *len).map_or(1, |(.., label)| *label)
}

/// `ipv6_addr_scope` as the number in multicast addresses: link-local 2, site-local 5, global 14.
pub(crate) fn scope_number(a: Ipv6Addr) -> u8 {
    if a.is_multicast() {
        a.octets()[1] & 0x0f
    } else if a.is_loopback() || a.is_unicast_link_local() {
        2
    } else if a.segments()[0] & 0xffc0 == 0xfec0 {
        5
    } else {
        14
    }
}

/// What is compared, in the order of the rules: the larger one wins.
type Score = [i16; 6];

/// `ipv6_get_saddr_eval`: rules 1, 2, 3, 5, 6 and 8.
fn score(dst: Ipv6Addr, out: IfIndex, iface: &Interface, a: &Ipv6IfAddr) -> Score {
    let wanted = i16::from(scope_number(dst));
    let scope = i16::from(scope_number(a.addr));
    // Rule 2: the smallest scope that is large enough; else the largest there is.
    let fit = if scope >= wanted { 256 - scope } else { scope - 256 };
    [
        i16::from(a.addr == dst),
        fit,
        i16::from(!a.is_deprecated()),
        i16::from(out == 0 || out == iface.ifindex),
        i16::from(label(a.addr) == label(dst)),
        i16::from(common_prefix(a.addr, dst).min(a.prefix_len)),
    ]
}

impl Stack {
    /// `ipv6_dev_get_saddr`: the source for `dst` by interface `out` (0 when not known).
    pub(crate) fn select_addr6(&self, out: IfIndex, dst: Ipv6Addr) -> Option<Ipv6Addr> {
        let only_out = dst.is_multicast()
            || scope_number(dst) <= 2
            || self.ifaces.get(out).is_some_and(|i| i.conf6.use_oif_addrs_only != 0);
        let out_is_lo = self.ifaces.get(out).is_some_and(Interface::is_loopback);
        let mut best: Option<(Score, Ipv6Addr)> = None;
        // The outgoing interface comes first and later candidates must be better, not equal.
        let first = self.ifaces.iter().filter(|i| i.ifindex == out);
        let others = self.ifaces.iter().filter(|i| i.ifindex != out && (!only_out || out_is_lo));
        for iface in first.chain(others).filter(|i| i.up) {
            for a in iface.inet6.addrs.iter().filter(|a| a.is_usable()) {
                if out_is_lo && only_out && a.addr != dst && iface.ifindex != out {
                    continue;
                }
                let s = score(dst, out, iface, a);
                if best.is_none_or(|(b, _)| s > b) {
                    best = Some((s, a.addr));
                }
            }
        }
        best.map(|(_, a)| a)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_follow_the_policy_table() {
        let of = |a: &str| label(a.parse().unwrap());
        assert_eq!(of("::1"), 0);
        assert_eq!(of("2001:db8::1"), 1);
        assert_eq!(of("2002:c000:201::1"), 2);
        assert_eq!(of("::192.0.2.1"), 3);
        assert_eq!(of("::ffff:192.0.2.1"), 4);
        assert_eq!(of("fd00::1"), 5);
        assert_eq!(of("2001:0:5ef5::1"), 6);
        assert_eq!(of("fe80::1"), 1);
    }
}
