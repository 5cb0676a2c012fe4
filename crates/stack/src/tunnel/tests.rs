//! Two sites joined over an underlay, by each kind of tunnel.

use core::time::Duration;
use std::net::IpAddr;

use wire::{MacAddr, Medium};

use crate::Errno;
use crate::iface::{LinkKind, NewAddr4, Tunnel, TunnelMode, Vxlan};
use crate::ip::IpOut;
use crate::mib::Counter;
use crate::testnet::{Net, describe};

const MS: Duration = Duration::from_millis(1);

/// A and B over R, with a tunnel interface on A and B, number 3, 10.0.0.1 and 10.0.0.2.
fn tunnelled(far_mtu: u32, kind: impl Fn(Tunnel) -> Tunnel, mode: TunnelMode) -> (Net, usize, usize, usize) {
    let (mut net, a, r, b) = Net::routed(far_mtu);
    let ends: [(usize, &str, &str, [u8; 4]); 2] =
        [(a, "192.0.2.1", "198.51.100.1", [10, 0, 0, 1]), (b, "198.51.100.1", "192.0.2.1", [10, 0, 0, 2])];
    for (host, local, remote, inner) in ends {
        let mut config = kind(Tunnel::new(mode));
        config.local = Some(local.parse().unwrap());
        config.remote = Some(remote.parse().unwrap());
        let mtu = 1500 - config.overhead();
        let medium = if mode == TunnelMode::Gretap { Medium::Ethernet } else { Medium::Ip };
        let mac = if medium == Medium::Ethernet { MacAddr([2, 1, 1, 1, 1, inner[3]]) } else { MacAddr::ZERO };
        let link = LinkKind::Tunnel(Box::new(config));
        let ifindex = net.hosts[host].new_interface("tun0", link, medium, mac, mtu);
        net.hosts[host].link_set_up(net.now, ifindex, true).unwrap();
        net.hosts[host].addr_add4(net.now, ifindex, &NewAddr4::new(inner.into(), 24)).unwrap();
    }
    (net, a, r, b)
}

fn outer(net: &Net, host: usize) -> Vec<u8> {
    net.sent.iter().find(|s| s.host == host && s.ethertype() == 0x0800).expect("sent").packet().to_vec()
}

#[test]
fn ipip_carries_a_ping_and_inherits_its_ttl() {
    let (mut net, a, _, b) = tunnelled(1500, |t| t, TunnelMode::Ipip);
    assert_eq!(net.hosts[a].interfaces().get(3).unwrap().mtu, 1480);
    net.ping_with(a, "10.0.0.2", 56, |o| IpOut { ttl: 33, ..o }).unwrap();
    net.run_for(MS);
    let p = outer(&net, a);
    assert_eq!(describe(&p), "IP 192.0.2.1>198.51.100.1 ttl 33 DF iplen 104 IPIP");
    assert_eq!(describe(&p[20..]), "IP 10.0.0.1>10.0.0.2 ttl 33 DF iplen 84 ICMP 8/0");
    assert_eq!(net.counter(b, Counter::IcmpInEchos), 1);
    assert_eq!(net.counter(a, Counter::IcmpInEchoReps), 1);
}

#[test]
fn gre_with_key_checksum_and_sequence_carries_a_ping() {
    let with = |t: Tunnel| Tunnel { ikey: Some(7), okey: Some(7), csum: true, seq: true, ttl: Some(64), ..t };
    let (mut net, a, _, b) = tunnelled(1500, with, TunnelMode::Gre);
    for _ in 0..3 {
        net.ping(a, "10.0.0.2", 56).unwrap();
        net.run_for(MS);
    }
    let p = outer(&net, a);
    assert_eq!(describe(&p), "IP 192.0.2.1>198.51.100.1 ttl 64 DF iplen 120 GRE");
    assert_eq!(p[20..24], [0xb0, 0, 8, 0]);
    assert_eq!(p[28..32], [0, 0, 0, 7]);
    assert_eq!(net.counter(b, Counter::IcmpInEchos), 3);
    assert_eq!(net.counter(a, Counter::IcmpInEchoReps), 3);
}

#[test]
fn gre_with_the_wrong_key_is_port_unreachable() {
    let (mut net, a, _, b) =
        tunnelled(1500, |t| Tunnel { ikey: Some(7), okey: Some(8), ..t }, TunnelMode::Gre);
    net.ping(a, "10.0.0.2", 56).unwrap();
    net.run_for(MS);
    assert_eq!(describe(&outer(&net, b)), "IP 198.51.100.1>192.0.2.1 ttl 64 iplen 140 ICMP 3/3");
}

#[test]
fn gretap_carries_ethernet_with_arp() {
    let (mut net, a, _, _) = tunnelled(1500, |t| t, TunnelMode::Gretap);
    net.ping(a, "10.0.0.2", 56).unwrap();
    net.run_for(MS);
    assert_eq!(net.counter(a, Counter::IcmpInEchoReps), 1);
}

#[test]
fn vxlan_floods_to_the_remote_and_learns_from_answers() {
    let (mut net, a, r, b) = Net::routed(1500);
    let ends: [(usize, &str, &str, [u8; 4]); 2] =
        [(a, "192.0.2.1", "198.51.100.1", [10, 0, 0, 1]), (b, "198.51.100.1", "192.0.2.1", [10, 0, 0, 2])];
    for (host, local, remote, inner) in ends {
        let config = Vxlan {
            vni: 42,
            local: Some(local.parse().unwrap()),
            remote: Some(remote.parse().unwrap()),
            dstport: 4789,
            link: 0,
            ttl: 0,
            learning: true,
        };
        let link = LinkKind::Vxlan(Box::new(config));
        let mac = MacAddr([2, 1, 1, 1, 1, inner[3]]);
        let ifindex = net.hosts[host].new_interface("vxlan42", link, Medium::Ethernet, mac, 1450);
        net.hosts[host].link_set_up(net.now, ifindex, true).unwrap();
        net.hosts[host].addr_add4(net.now, ifindex, &NewAddr4::new(inner.into(), 24)).unwrap();
    }
    net.ping(a, "10.0.0.2", 56).unwrap();
    net.run_for(MS);
    let _ = r;
    let p = outer(&net, a);
    assert_eq!(p[22..24], 4789u16.to_be_bytes());
    assert_eq!(p[28..36], [8, 0, 0, 0, 0, 0, 42, 0]);
    assert!(wire::udp::verify_v4([192, 0, 2, 1].into(), [198, 51, 100, 1].into(), &p[20..]));
    assert_eq!(net.counter(a, Counter::IcmpInEchoReps), 1);
}

/// RFC 2003 §4: the tunnel's path narrows, and the sender inside learns it.
#[test]
fn a_narrow_path_below_reaches_the_sender_inside() {
    let (mut net, a, _, b) = tunnelled(1400, |t| t, TunnelMode::Ipip);
    let df = |o: IpOut| IpOut { dont_fragment: true, ..o };
    net.ping_with(a, "10.0.0.2", 1400, df).unwrap();
    net.run_for(MS);
    assert_eq!(net.counter(a, Counter::IcmpInDestUnreachs), 1, "from the router about the outer packet");
    // The second one does not fit the outer path: the tunnel says 1380 to its own host.
    net.ping_with(a, "10.0.0.2", 1400, df).unwrap();
    net.run_for(MS);
    assert_eq!(net.ping_with(a, "10.0.0.2", 1400, df), Err(Errno::EMSGSIZE));
    net.ping_with(a, "10.0.0.2", 1352, df).unwrap();
    net.run_for(MS);
    assert_eq!(net.counter(b, Counter::IcmpInEchos), 1);
}

#[test]
fn a_tunnel_into_itself_ends() {
    let (mut net, a, _, _) = tunnelled(1500, |t| t, TunnelMode::Ipip);
    net.route(a, "198.51.100.1/32", "10.0.0.2");
    net.ping(a, "10.0.0.2", 56).unwrap();
    net.run_for(MS);
    let remote: IpAddr = "198.51.100.1".parse().unwrap();
    assert!(!net.sent.iter().any(|s| s.host == a && describe(s.packet()).contains(&remote.to_string())));
}

/// RFC 6040: congestion on the way is congestion inside.
#[test]
fn ce_outside_becomes_ce_inside() {
    assert_eq!(super::ecn_encapsulate(0, 0b11), 0b10);
    assert_eq!(super::ecn_encapsulate(0xb8, 0b01), 0xb9);
    let mut inner = vec![0; 20];
    wire::ipv4::Header { tos: 2, ..wire::ipv4::Header::default() }.emit(&mut inner);
    let mut frame = wire::Frame::from_vec(inner);
    assert!(super::ecn_decapsulate(3, &mut frame, 0));
    assert_eq!(frame.head()[1] & 3, 3);
    assert!(wire::ipv4::verify_checksum(frame.head()));
    let mut not_ect = vec![0; 20];
    wire::ipv4::Header::default().emit(&mut not_ect);
    assert!(!super::ecn_decapsulate(3, &mut wire::Frame::from_vec(not_ect), 0));
}

/// RFC 2473: IPv4 in IPv6, with the encapsulation limit of 4 that Linux sends by default; and sit the other way round.
#[test]
fn ip6tnl_and_ip6gre_carry_ipv4_over_ipv6() {
    for mode in [TunnelMode::Ip6tnl, TunnelMode::Ip6gre] {
        let (mut net, a, _, b) = Net::routed6(1500);
        let ends: [(usize, &str, &str, [u8; 4]); 2] = [
            (a, "2001:db8:1::1", "2001:db8:2::1", [10, 0, 0, 1]),
            (b, "2001:db8:2::1", "2001:db8:1::1", [10, 0, 0, 2]),
        ];
        for (host, local, remote, inner) in ends {
            let mut config = Tunnel::new(mode);
            config.local = Some(local.parse().unwrap());
            config.remote = Some(remote.parse().unwrap());
            let mtu = 1500 - config.overhead();
            let link = LinkKind::Tunnel(Box::new(config));
            let i = net.hosts[host].new_interface("tun0", link, Medium::Ip, MacAddr::ZERO, mtu);
            net.hosts[host].link_set_up(net.now, i, true).unwrap();
            net.hosts[host].addr_add4(net.now, i, &NewAddr4::new(inner.into(), 24)).unwrap();
        }
        net.ping(a, "10.0.0.2", 56).unwrap();
        net.run_for(MS);
        assert_eq!(net.counter(a, Counter::IcmpInEchoReps), 1, "{mode:?}");
        let sent = net
            .sent
            .iter()
            .find(|s| s.host == a && s.packet()[6] == 60)
            .expect("a destination options header");
        assert_eq!(sent.packet()[41..48], [0, 4, 1, 4, 1, 1, 0]);
    }
}

#[test]
fn sit_carries_ipv6_over_ipv4() {
    let (mut net, a, _, b) = tunnelled(1500, |t| Tunnel { ttl: Some(64), ..t }, TunnelMode::Sit);
    for (host, addr) in [(a, "2001:db8:9::1/64"), (b, "2001:db8:9::2/64")] {
        net.sysctl(host, "net.ipv6.conf.tun0.disable_ipv6", "0");
        net.addr6(host, 3, addr);
    }
    net.run_for(Duration::from_secs(3));
    net.sent.clear();
    net.ping(a, "2001:db8:9::2", 56).unwrap();
    net.run_for(MS);
    assert_eq!(describe(&outer(&net, a)), "IP 192.0.2.1>198.51.100.1 ttl 64 DF iplen 124 IPv6");
    assert_eq!(net.counter(b, Counter::Icmp6InEchos), 1);
    assert_eq!(net.counter(a, Counter::Icmp6InEchoReplies), 1);
}
