//! Lookups, changes and exceptions. Texts and errors were compared with iproute2 6.1 on kernel 6.18.

use core::time::Duration;
use std::net::IpAddr;

use wire::{Instant, MacAddr, Medium};

use super::{Dst, Flow, RouteKind, Table};
use crate::admin::Admin;
use crate::record::IfIndex;
use crate::{DropReason, Errno, Stack, StackConfig};

const ETH0: IfIndex = 2;
const ETH1: IfIndex = 3;
const T0: Instant = Instant::from_secs(1);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn run(s: &mut Stack, command: &str) {
    let parsed = Admin::parse(command).unwrap_or_else(|e| panic!("{command}: {e}"));
    s.admin(T0, &parsed).unwrap_or_else(|e| panic!("{command}: {e}"));
}

/// A host with eth0 192.0.2.1/24 and eth1 198.51.100.1/24, IPv6 beside.
fn host() -> Stack {
    let mut s = Stack::new(StackConfig::default());
    for (i, name) in ["eth0", "eth1"].into_iter().enumerate() {
        let mac = MacAddr([2, 0, 0, 0, 0, u8::try_from(i).unwrap() + 1]);
        s.add_interface(name, Medium::Ethernet, mac, 1500);
        run(&mut s, &format!("ip link set {name} up"));
    }
    run(&mut s, "ip addr add 192.0.2.1/24 brd + dev eth0");
    run(&mut s, "ip addr add 198.51.100.1/24 brd + dev eth1");
    s
}

fn out(s: &Stack, dst: &str) -> Result<Dst, Errno> {
    from(s, dst, crate::admin::any(ip(dst).is_ipv6()), 0)
}

fn from(s: &Stack, dst: &str, src: IpAddr, oif: IfIndex) -> Result<Dst, Errno> {
    s.route_output(T0, &Flow { dst: ip(dst), src, oif, tos: 0 })
}

fn arrives(s: &Stack, src: &str, dst: &str, iif: IfIndex) -> Result<RouteKind, DropReason> {
    let flow = Flow { dst: ip(dst), src: ip(src), oif: 0, tos: 0 };
    s.route_input_why(T0, &flow, iif).map(|d| d.kind).map_err(|(_, reason)| reason)
}

#[test]
fn addresses_bring_the_routes_that_linux_makes() {
    let mut s = host();
    run(&mut s, "ip addr add 192.0.2.2/24 dev eth0");
    run(&mut s, "ip addr add 203.0.113.1 peer 203.0.113.2/32 dev eth0");
    run(&mut s, "ip route add default via 192.0.2.254");
    run(&mut s, "ip route add blackhole 203.0.113.0/24");
    run(
        &mut s,
        "ip route add 203.0.113.128/25 via 192.0.2.3 mtu lock 1400 advmss 1300 initcwnd 4 hoplimit 9 rto_min 300ms \
         window 5000 initrwnd 7 quickack 1 metric 5",
    );
    assert_eq!(
        s.ip_route(T0, false, Table::Main),
        [
            "default via 192.0.2.254 dev eth0",
            "192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.1",
            "198.51.100.0/24 dev eth1 proto kernel scope link src 198.51.100.1",
            "blackhole 203.0.113.0/24",
            "203.0.113.2 dev eth0 proto kernel scope link src 203.0.113.1",
            "203.0.113.128/25 via 192.0.2.3 dev eth0 metric 5 mtu lock 1400 window 5000 advmss 1300 hoplimit 9 \
             initcwnd 4 rto_min lock 300ms initrwnd 7 quickack 1",
        ]
    );
    assert_eq!(
        s.ip_route(T0, false, Table::Local),
        [
            "local 127.0.0.0/8 dev lo proto kernel scope host src 127.0.0.1",
            "local 127.0.0.1 dev lo proto kernel scope host src 127.0.0.1",
            "broadcast 127.255.255.255 dev lo proto kernel scope link src 127.0.0.1",
            "local 192.0.2.1 dev eth0 proto kernel scope host src 192.0.2.1",
            "local 192.0.2.2 dev eth0 proto kernel scope host src 192.0.2.1",
            "broadcast 192.0.2.255 dev eth0 proto kernel scope link src 192.0.2.1",
            "local 198.51.100.1 dev eth1 proto kernel scope host src 198.51.100.1",
            "broadcast 198.51.100.255 dev eth1 proto kernel scope link src 198.51.100.1",
            "local 203.0.113.1 dev eth0 proto kernel scope host src 203.0.113.1",
        ]
    );
    run(&mut s, "ip link set eth0 carrier off");
    assert_eq!(s.ip_route(T0, false, Table::Main)[0], "default via 192.0.2.254 dev eth0 linkdown");
}

#[test]
fn primary_address_takes_its_secondaries_along_unless_they_are_promoted() {
    for (promote, left) in [(0, vec![]), (1, vec!["192.0.2.2"])] {
        let mut s = host();
        run(&mut s, &format!("sysctl -w net.ipv4.conf.all.promote_secondaries={promote}"));
        run(&mut s, "ip addr add 192.0.2.2/24 dev eth0");
        run(&mut s, "ip addr del 192.0.2.1/24 dev eth0");
        let addrs: Vec<String> =
            s.ifaces.get(ETH0).unwrap().addrs4.iter().map(|a| a.addr.to_string()).collect();
        assert_eq!(addrs, left);
        let connected = s.ip_route(T0, false, Table::Main).concat();
        assert_eq!(
            connected.contains("192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.2"),
            promote == 1
        );
        assert_eq!(connected.contains("192.0.2.0/24"), promote == 1);
        assert_eq!(
            out(&s, "192.0.2.1").map(|d| d.kind),
            if promote == 1 { Ok(RouteKind::Unicast) } else { Err(Errno::ENETUNREACH) }
        );
    }
}

#[test]
fn output_finds_way_source_and_refusal() {
    let mut s = host();
    assert_eq!(out(&s, "203.0.113.9"), Err(Errno::ENETUNREACH));
    run(&mut s, "ip route add default via 192.0.2.254 metric 10");
    run(&mut s, "ip route add default via 198.51.100.254 metric 20");
    run(&mut s, "ip route add unreachable 203.0.113.16/28");
    run(&mut s, "ip route add prohibit 203.0.113.32/28");
    run(&mut s, "ip route add blackhole 203.0.113.48/28");
    let d = out(&s, "203.0.113.9").unwrap();
    assert_eq!(
        (d.ifindex, d.next_hop, d.src, d.via_gateway),
        (ETH0, ip("192.0.2.254"), ip("192.0.2.1"), true)
    );
    let d = out(&s, "192.0.2.7").unwrap();
    assert_eq!((d.next_hop, d.via_gateway, d.mtu), (ip("192.0.2.7"), false, 1500));
    assert_eq!(out(&s, "203.0.113.17"), Err(Errno::EHOSTUNREACH));
    assert_eq!(out(&s, "203.0.113.33"), Err(Errno::EACCES));
    assert_eq!(out(&s, "203.0.113.49"), Err(Errno::EINVAL));
    let own = out(&s, "198.51.100.1").unwrap();
    assert_eq!((own.kind, own.ifindex, own.src, own.mtu), (RouteKind::Local, 1, ip("198.51.100.1"), 65_536));
    assert_eq!(out(&s, "192.0.2.255").map(|d| d.kind), Ok(RouteKind::Broadcast));
    assert_eq!(out(&s, "192.0.2.0").map(|d| d.kind), Ok(RouteKind::Unicast), "unicast since 5.14");
    assert_eq!(out(&s, "224.0.0.251").map(|d| (d.kind, d.src)), Ok((RouteKind::Multicast, ip("192.0.2.1"))));
    // Bound to an interface without a route, the destination counts as a neighbour.
    run(&mut s, "ip route del default via 198.51.100.254");
    let d = from(&s, "203.0.113.9", ip("0.0.0.0"), ETH1).unwrap();
    assert_eq!((d.next_hop, d.src), (ip("203.0.113.9"), ip("198.51.100.1")));
    assert_eq!(from(&s, "203.0.113.9", ip("203.0.113.77"), 0), Err(Errno::EINVAL), "not our address");
    // A link that is down takes its routes with it.
    run(&mut s, "ip link set eth0 down");
    assert_eq!(out(&s, "203.0.113.9"), Err(Errno::ENETUNREACH));
}

#[test]
fn input_delivers_forwards_or_calls_it_martian() {
    let mut s = host();
    assert_eq!(arrives(&s, "192.0.2.9", "192.0.2.1", ETH0), Ok(RouteKind::Local));
    assert_eq!(arrives(&s, "192.0.2.9", "198.51.100.1", ETH0), Ok(RouteKind::Local), "weak host model");
    assert_eq!(arrives(&s, "192.0.2.9", "192.0.2.255", ETH0), Ok(RouteKind::Broadcast));
    assert_eq!(arrives(&s, "0.0.0.0", "255.255.255.255", ETH0), Ok(RouteKind::Broadcast));
    assert_eq!(arrives(&s, "192.0.2.9", "224.0.0.1", ETH0), Ok(RouteKind::Multicast));
    assert_eq!(
        arrives(&s, "192.0.2.9", "198.51.100.9", ETH0),
        Err(DropReason::IpInAddrErrors),
        "TRUTH 11d: X"
    );
    assert_eq!(arrives(&s, "192.0.2.1", "192.0.2.1", ETH0), Err(DropReason::IpLocalSource));
    assert_eq!(arrives(&s, "127.0.0.1", "192.0.2.1", ETH0), Err(DropReason::IpInvalidSource));
    assert_eq!(arrives(&s, "192.0.2.9", "127.0.0.1", ETH0), Err(DropReason::IpInvalidDest));
    assert_eq!(arrives(&s, "224.1.1.1", "192.0.2.1", ETH0), Err(DropReason::IpInvalidSource));
    assert_eq!(arrives(&s, "192.0.2.1", "192.0.2.1", 1), Ok(RouteKind::Local), "by lo");
    run(&mut s, "sysctl -w net.ipv4.ip_forward=1");
    assert_eq!(arrives(&s, "192.0.2.9", "198.51.100.9", ETH0), Ok(RouteKind::Unicast));
    assert_eq!(arrives(&s, "192.0.2.9", "203.0.113.9", ETH0), Err(DropReason::IpInNoRoutes));
}

#[test]
fn reverse_path_filter_is_the_larger_of_all_and_the_interface() {
    // Source, interface, and what off, strict and loose say.
    type Verdict = Result<RouteKind, DropReason>;
    const OK: Verdict = Ok(RouteKind::Local);
    const RPF: Verdict = Err(DropReason::IpRpfilter);
    let rows: [(&str, [Verdict; 3]); 3] =
        [("192.0.2.9", [OK, OK, OK]), ("198.51.100.9", [OK, RPF, OK]), ("203.0.113.9", [OK, RPF, RPF])];
    for (all, own, column) in [(0, 0, 0), (1, 0, 1), (0, 1, 1), (2, 1, 2), (0, 2, 2)] {
        let mut s = host();
        run(&mut s, &format!("sysctl -w net.ipv4.conf.all.rp_filter={all}"));
        run(&mut s, &format!("sysctl -w net.ipv4.conf.eth0.rp_filter={own}"));
        for (src, verdicts) in rows {
            assert_eq!(arrives(&s, src, "192.0.2.1", ETH0), verdicts[column], "{src}, all {all}, eth0 {own}");
        }
    }
}

#[test]
fn path_mtu_is_remembered_for_600_s_and_never_below_552_11f() {
    let mut s = host();
    run(&mut s, "ip route add default via 192.0.2.254");
    let flow = Flow { dst: ip("203.0.113.9"), src: ip("192.0.2.1"), oif: 0, tos: 0 };
    let generation = s.route_generation();
    assert!(s.route_update_pmtu(T0, &flow, 1000));
    assert_ne!(s.route_generation(), generation);
    assert_eq!(out(&s, "203.0.113.9").map(|d| (d.mtu, d.mtu_locked)), Ok((1000, false)));
    assert_eq!(out(&s, "203.0.113.10").map(|d| d.mtu), Ok(1500), "this destination only");
    assert_eq!(
        s.ip_route_get(T0 + Duration::from_secs(1), flow.dst).unwrap(),
        "203.0.113.9 via 192.0.2.254 dev eth0 src 192.0.2.1\n    cache expires 599sec mtu 1000"
    );
    assert!(!s.route_update_pmtu(T0, &flow, 1400), "ICMP never raises it");
    assert!(s.route_update_pmtu(T0, &flow, 68));
    assert_eq!(
        out(&s, "203.0.113.9").map(|d| (d.mtu, d.mtu_locked)),
        Ok((552, true)),
        "min_pmtu, fragmented below"
    );
    let later = s.route_output(T0 + Duration::from_secs(600), &flow).unwrap();
    assert_eq!(later.mtu, 1500);
    // `mtu lock` believes nobody.
    run(&mut s, "ip route replace default via 192.0.2.254 mtu lock 1300");
    s.route_flush_cache();
    assert!(!s.route_update_pmtu(T0, &flow, 1000));
    assert_eq!(out(&s, "203.0.113.9").map(|d| (d.mtu, d.mtu_locked)), Ok((1300, true)));
}

#[test]
fn redirect_is_believed_from_the_router_in_use_about_a_known_neighbour() {
    let mut s = host();
    run(&mut s, "ip route add default via 192.0.2.254");
    run(&mut s, "ip neigh add 192.0.2.253 lladdr 02:00:00:00:00:fd dev eth0 nud stale");
    let (dst, gw) = (ip("203.0.113.9"), ip("192.0.2.253"));
    s.route_redirect(T0, dst, ip("192.0.2.7"), gw, ETH0);
    assert_eq!(out(&s, "203.0.113.9").map(|d| d.next_hop), Ok(ip("192.0.2.254")), "not our router");
    run(&mut s, "sysctl -w net.ipv4.conf.all.accept_redirects=0");
    run(&mut s, "sysctl -w net.ipv4.conf.eth0.accept_redirects=0");
    s.route_redirect(T0, dst, ip("192.0.2.254"), gw, ETH0);
    assert_eq!(out(&s, "203.0.113.9").map(|d| d.next_hop), Ok(ip("192.0.2.254")), "forbidden");
    run(&mut s, "sysctl -w net.ipv4.conf.eth0.accept_redirects=1");
    s.route_redirect(T0, dst, ip("192.0.2.254"), gw, ETH0);
    assert_eq!(out(&s, "203.0.113.9").map(|d| (d.next_hop, d.mtu)), Ok((gw, 1500)));
    // A path MTU that is learnt afterwards keeps the redirect.
    let flow = Flow { dst, src: ip("192.0.2.1"), oif: 0, tos: 0 };
    assert!(s.route_update_pmtu(T0, &flow, 1200));
    assert_eq!(out(&s, "203.0.113.9").map(|d| (d.next_hop, d.mtu)), Ok((gw, 1200)));
}

#[test]
fn replace_append_and_delete_follow_the_metric() {
    let mut s = host();
    run(&mut s, "ip route add 203.0.113.0/24 via 192.0.2.3");
    run(&mut s, "ip route append 203.0.113.0/24 via 192.0.2.4");
    run(&mut s, "ip route prepend 203.0.113.0/24 via 192.0.2.5");
    run(&mut s, "ip route add 203.0.113.0/24 via 192.0.2.6 metric 9");
    let via = |s: &Stack| -> Vec<String> {
        s.ip_route(T0, false, Table::Main).into_iter().filter(|l| l.starts_with("203.0.113.0/24")).collect()
    };
    let line = |n: u8| format!("203.0.113.0/24 via 192.0.2.{n} dev eth0");
    assert_eq!(via(&s), [line(5), line(3), line(4), line(6) + " metric 9"]);
    run(&mut s, "ip route replace 203.0.113.0/24 via 192.0.2.7");
    assert_eq!(via(&s), [line(7), line(3), line(4), line(6) + " metric 9"]);
    run(&mut s, "ip route del 203.0.113.0/24 via 192.0.2.4");
    run(&mut s, "ip route del 203.0.113.0/24");
    assert_eq!(via(&s), [line(3), line(6) + " metric 9"]);
}

#[test]
fn ipv6_source_follows_rfc_6724() {
    let mut s = host();
    for a in ["2001:db8::1/64", "2001:db8:1::1/64", "fd00::1/64"] {
        run(&mut s, &format!("ip addr add {a} dev eth0 nodad"));
    }
    run(&mut s, "ip addr add fe80::1/64 dev eth0 nodad");
    run(&mut s, "ip -6 route add default via 2001:db8::fe");
    for (dst, src) in [
        ("2001:db8::9", "2001:db8::1"),
        ("2001:db8:1::9", "2001:db8:1::1"),
        ("fd00:5::9", "fd00::1"),
        ("fe80::9", "fe80::1"),
        ("2001:db8::1", "2001:db8::1"),
        // Equal in every rule but the last: the newest address of the longest common prefix.
        ("2001:db8:ffff::9", "2001:db8:1::1"),
    ] {
        let d = from(&s, dst, ip("::"), if dst.starts_with("fe80") { ETH0 } else { 0 });
        assert_eq!(d.map(|d| d.src), Ok(ip(src)), "{dst}");
    }
    // Rule 3: a deprecated address is the last choice.
    run(&mut s, "ip addr replace 2001:db8::1/64 dev eth0 preferred_lft 0");
    assert_eq!(out(&s, "2001:db8::9").map(|d| d.src), Ok(ip("2001:db8:1::1")));
}

#[test]
fn ipv6_path_mtu_is_never_below_1280() {
    let mut s = host();
    run(&mut s, "ip addr add 2001:db8::1/64 dev eth0 nodad");
    let flow = Flow { dst: ip("2001:db8::9"), src: ip("::"), oif: 0, tos: 0 };
    assert!(s.route_update_pmtu(T0, &flow, 600));
    assert_eq!(out(&s, "2001:db8::9").map(|d| d.mtu), Ok(1280));
    assert_eq!(out(&s, "2001:db9::9"), Err(Errno::ENETUNREACH));
}

#[test]
fn link_down_and_up_brings_back_connected_routes_only() {
    let mut s = host();
    run(&mut s, "ip route add default via 192.0.2.254");
    run(&mut s, "ip link set eth0 down");
    assert_eq!(s.ip_route(T0, false, Table::Main).len(), 1);
    assert_eq!(s.addr_type4("192.0.2.1".parse().unwrap()), RouteKind::Unicast);
    run(&mut s, "ip link set eth0 up");
    assert_eq!(
        s.ip_route(T0, false, Table::Main)[0],
        "192.0.2.0/24 dev eth0 proto kernel scope link src 192.0.2.1",
        "the default route stays gone"
    );
}

#[test]
fn vlan_needs_its_link_and_goes_with_it() {
    let mut s = host();
    run(&mut s, "ip link add link eth0 name eth0.10 type vlan id 10");
    run(&mut s, "ip link set eth0.10 up");
    run(&mut s, "ip addr add 203.0.113.1/24 dev eth0.10");
    let vlan = s.ifaces.vlan(ETH0, 10).unwrap().ifindex;
    assert_eq!(out(&s, "203.0.113.9").map(|d| d.ifindex), Ok(vlan));
    assert_eq!(s.sysctl_read("net.ipv4.conf.eth0/10.rp_filter").as_deref(), Ok("0"));
    assert!(s.ip_link()[3].starts_with("4: eth0.10@eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500"));
    run(&mut s, "ip link set eth0 down");
    assert_eq!(out(&s, "203.0.113.9"), Err(Errno::ENETUNREACH));
    run(&mut s, "ip link del eth0");
    assert!(s.ifaces.get(vlan).is_none());
}

#[test]
fn host_with_one_interface_stays_small() {
    // 10,000 hosts in 1 GiB, at most 4 KiB each for interfaces, routes, settings and neighbours.
    let size = size_of::<crate::iface::Interface>();
    assert!(size <= 512, "an interface takes {size} bytes");
    let (a, b) = (Stack::new(StackConfig::default()), Stack::new(StackConfig::default()));
    assert!(std::sync::Arc::ptr_eq(&a.sysctl.ns, &b.sysctl.ns), "defaults are shared between hosts");
}
