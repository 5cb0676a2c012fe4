//! `ip addr` and `ip link` as iproute2 6.1 prints them on 6.18, without `qdisc`, `group` and `qlen`.

use wire::{Instant, MacAddr, Medium};

use crate::admin::Admin;
use crate::{Stack, StackConfig};

fn run(s: &mut Stack, command: &str) {
    let parsed = Admin::parse(command).unwrap_or_else(|e| panic!("{command}: {e}"));
    s.admin(Instant::ZERO, &parsed).unwrap_or_else(|e| panic!("{command}: {e}"));
}

#[test]
fn addresses_are_listed_as_ip_does() {
    let mut s = Stack::new(StackConfig::default());
    s.add_interface("v0", Medium::Ethernet, MacAddr([0x2a, 0xf0, 0x48, 0x7b, 0x19, 0x09]), 1500);
    for command in [
        "ip link set v0 up",
        "ip addr add 192.0.2.1/24 brd + dev v0",
        "ip addr add 192.0.2.2/24 dev v0",
        "ip addr add 203.0.113.1 peer 203.0.113.2/32 dev v0",
        "ip addr add 2001:db8::1/64 dev v0 nodad",
    ] {
        run(&mut s, command);
    }
    let all = s.ip_addr(Instant::ZERO);
    assert_eq!(
        all[0],
        "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 state UNKNOWN
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
    inet6 ::1/128 scope host
       valid_lft forever preferred_lft forever"
    );
    assert_eq!(
        all[1],
        "2: v0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 state UP
    link/ether 2a:f0:48:7b:19:09 brd ff:ff:ff:ff:ff:ff
    inet 192.0.2.1/24 brd 192.0.2.255 scope global v0
       valid_lft forever preferred_lft forever
    inet 203.0.113.1 peer 203.0.113.2/32 scope global v0
       valid_lft forever preferred_lft forever
    inet 192.0.2.2/24 scope global secondary v0
       valid_lft forever preferred_lft forever
    inet6 2001:db8::1/64 scope global nodad
       valid_lft forever preferred_lft forever
    inet6 fe80::28f0:48ff:fe7b:1909/64 scope link tentative
       valid_lft forever preferred_lft forever"
    );
    run(&mut s, "ip link set v0 carrier off");
    assert!(
        s.ip_link()[1]
            .starts_with("2: v0: <NO-CARRIER,BROADCAST,MULTICAST,UP> mtu 1500 state DOWN mode DEFAULT")
    );
}

#[test]
fn tunnels_take_their_headers_off_the_mtu() {
    let mut s = Stack::new(StackConfig::default());
    s.add_interface("eth0", Medium::Ethernet, MacAddr([2, 0, 0, 0, 0, 1]), 1500);
    for command in [
        "ip link set eth0 up",
        "ip addr add 192.0.2.1/24 dev eth0",
        "ip link add t0 type ipip local 192.0.2.1 remote 192.0.2.9",
        "ip link add g0 type gre local 192.0.2.1 remote 192.0.2.9",
        "ip link add g1 type gre local 192.0.2.1 remote 192.0.2.9 key 7",
        "ip link add x0 type vxlan id 42 local 192.0.2.1 remote 192.0.2.9 dstport 4789",
        "ip link add x1 type vxlan id 43 remote 192.0.2.9 dstport 4789 dev eth0",
        "ip link add s0 type ip6tnl local 2001:db8::1 remote 2001:db8::2",
    ] {
        run(&mut s, command);
    }
    for (name, mtu) in [("t0", 1480), ("g0", 1476), ("g1", 1472), ("x0", 1500), ("x1", 1450), ("s0", 1452)] {
        assert_eq!(s.interfaces().by_name(name).unwrap().mtu, mtu, "{name}");
    }
    assert!(s.ip_link()[2].ends_with("link/ipip 192.0.2.1 peer 192.0.2.9"), "{}", s.ip_link()[2]);
}
