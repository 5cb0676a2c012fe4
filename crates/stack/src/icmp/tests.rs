//! What the kernel was seen to do (truth/TRUTH.md §8 and §11), on hosts of our own.

use core::time::Duration;

use crate::Errno;
use crate::ip::IpOut;
use crate::mib::Counter;
use crate::testnet::Net;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// TRUTH 11e, trace line 0.0031: the target's answer arrives with TTL 63.
#[test]
fn ping_through_a_router_11e() {
    let (mut net, a, r, b) = Net::routed(1500);
    net.ping(a, "198.51.100.1", 56).unwrap();
    net.run_for(MS);
    assert_eq!(net.trace(a), ["IP 192.0.2.1>198.51.100.1 ttl 64 DF iplen 84 ICMP 8/0"]);
    assert_eq!(net.trace(b), ["IP 198.51.100.1>192.0.2.1 ttl 64 iplen 84 ICMP 0/0"]);
    assert_eq!(
        net.trace(r),
        [
            "IP 192.0.2.1>198.51.100.1 ttl 63 DF iplen 84 ICMP 8/0",
            "IP 198.51.100.1>192.0.2.1 ttl 63 iplen 84 ICMP 0/0",
        ]
    );
    assert_eq!(net.counter(r, Counter::IpForwDatagrams), 2);
    assert_eq!(net.counter(a, Counter::IcmpInEchoReps), 1);
}

/// TRUTH 11e: 11/0 from the router's ingress address with the router's own TTL 64.
#[test]
fn ttl_exceeded_comes_from_the_ingress_address_11e() {
    let (mut net, a, r, _) = Net::routed(1500);
    net.ping_with(a, "198.51.100.1", 56, |out| IpOut { ttl: 1, ..out }).unwrap();
    net.run_for(MS);
    assert_eq!(net.trace(r), ["IP 192.0.2.126>192.0.2.1 ttl 64 iplen 112 ICMP 11/0"]);
    assert_eq!(net.counter(r, Counter::IpInHdrErrors), 1);
    assert_eq!(net.counter(a, Counter::IcmpInTimeExcds), 1);
}

/// TRUTH 11e (tracepath): at most 576 bytes in all.
#[test]
fn errors_quote_up_to_576_bytes_11e() {
    let (mut net, a, r, _) = Net::routed(1500);
    net.ping_with(a, "198.51.100.1", 1472, |out| IpOut { ttl: 1, ..out }).unwrap();
    net.run_for(MS);
    assert_eq!(net.trace(r), ["IP 192.0.2.126>192.0.2.1 ttl 64 iplen 576 ICMP 11/0"]);
}

/// TRUTH 11e: the next hop does not answer ARP: 3/1 after three seconds.
#[test]
fn an_absent_host_behind_the_router_is_host_unreachable_after_3_s_11e() {
    let (mut net, a, r, _) = Net::routed(1500);
    net.ping(a, "198.51.100.77", 56).unwrap();
    net.run_for(SECOND * 5);
    let answer: Vec<_> = net.sent.iter().filter(|s| s.host == r && s.ethertype() == 0x0800).collect();
    assert_eq!(answer.len(), 1);
    assert_eq!(answer[0].at.as_nanos() / 1_000_000, 3000);
    assert_eq!(net.trace(r), ["IP 192.0.2.126>192.0.2.1 ttl 64 iplen 112 ICMP 3/1"]);
    let _ = a;
}

/// TRUTH 11e: no route 3/0, unreachable 3/1, prohibit 3/13, blackhole silent.
#[test]
fn what_a_router_says_when_it_has_no_way_11e() {
    use crate::route::{NewRoute, RouteKind};
    let (mut net, a, r, _) = Net::routed(1500);
    let kinds = [
        ("203.0.113.0", RouteKind::Unreachable),
        ("203.0.113.128", RouteKind::Prohibit),
        ("203.0.113.192", RouteKind::Blackhole),
    ];
    for (dst, kind) in kinds {
        let new = NewRoute { kind, ..NewRoute::new(dst.parse().unwrap(), 26) };
        net.hosts[r].route_add_quiet(net.now, &new).unwrap();
    }
    for dst in ["203.0.113.100", "203.0.113.1", "203.0.113.130", "203.0.113.200"] {
        net.ping(a, dst, 56).unwrap();
        net.run_for(SECOND * 7);
    }
    assert_eq!(
        net.trace(r),
        [
            "IP 192.0.2.126>192.0.2.1 ttl 64 iplen 112 ICMP 3/0",
            "IP 192.0.2.126>192.0.2.1 ttl 64 iplen 112 ICMP 3/1",
            "IP 192.0.2.126>192.0.2.1 ttl 64 iplen 112 ICMP 3/13",
        ]
    );
    assert_eq!(net.counter(r, Counter::IpExtInNoRoutes), 1);
}

/// TRUTH 11e, trace from 25.47 s: of 20 pings with TTL 1 in 300 ms, six are answered (one was used up before).
#[test]
fn ttl_exceeded_is_limited_to_six_at_once_11e() {
    let (mut net, a, r, _) = Net::routed(1500);
    for _ in 0..20 {
        net.ping_with(a, "198.51.100.1", 56, |out| IpOut { ttl: 1, ..out }).unwrap();
        net.run_for(MS * 16);
    }
    assert_eq!(net.trace(r).len(), 6);
    assert_eq!(net.counter(r, Counter::IcmpOutRateLimitHost), 14);
    assert_eq!(net.counter(r, Counter::IpInHdrErrors), 20);
    net.run_for(SECOND);
    net.ping_with(a, "198.51.100.1", 56, |out| IpOut { ttl: 1, ..out }).unwrap();
    net.run_for(MS);
    assert_eq!(net.trace(r).len(), 1, "one more a second");
}

/// TRUTH 11f: DF ping of 1472 bytes over an MTU of 1000: 3/4 with mtu 1000, the next fails locally; without DF it is
/// cut at the source into 996 and 524 bytes.
#[test]
fn path_mtu_is_learnt_and_kept_11f() {
    let (mut net, a, r, b) = Net::routed(1000);
    let with_df = |out: IpOut| IpOut { dont_fragment: true, ..out };
    net.ping_with(a, "198.51.100.1", 1472, with_df).unwrap();
    net.run_for(MS);
    let error = net.sent.iter().find(|s| s.host == r && s.ethertype() == 0x0800).unwrap();
    assert_eq!(error.packet()[26..28], 1000u16.to_be_bytes());
    assert_eq!(net.trace(r), ["IP 192.0.2.126>192.0.2.1 ttl 64 iplen 576 ICMP 3/4"]);
    net.trace(a);
    assert_eq!(net.ping_with(a, "198.51.100.1", 1472, with_df), Err(Errno::EMSGSIZE));
    net.ping_with(a, "198.51.100.1", 1472, |out| IpOut { pmtu_discover: false, ..out }).unwrap();
    net.run_for(MS);
    assert_eq!(
        net.trace(a),
        [
            "IP 192.0.2.1>198.51.100.1 ttl 64 iplen 996 ICMP 8/0 +",
            "IP 192.0.2.1>198.51.100.1 ttl 64 iplen 524 frag 976",
        ]
    );
    assert_eq!(net.counter(b, Counter::IpReasmOKs), 1);
    assert_eq!(net.counter(b, Counter::IcmpInEchos), 1);
    assert_eq!(net.counter(a, Counter::IpFragCreates), 2);
    // 600 s later it is forgotten: the interface's MTU holds again.
    net.run_for(SECOND * 601);
    assert_eq!(net.ping_with(a, "198.51.100.1", 1472, with_df), Ok(()));
}

/// TRUTH 11d: a packet for somebody else, to our MAC address, on a host that does not forward.
#[test]
fn a_packet_that_is_not_for_this_host_is_counted_11d() {
    let (mut net, a, r, _) = Net::routed(1500);
    net.sysctl(r, "net.ipv4.ip_forward", "0");
    net.ping(a, "198.51.100.1", 56).unwrap();
    net.run_for(MS);
    assert!(net.trace(r).is_empty());
    assert_eq!(net.counter(r, Counter::IpInAddrErrors), 1);
    assert_eq!(net.counter(r, Counter::IpInReceives), 1);
    assert_eq!(net.counter(r, Counter::IpInDelivers), 0);
}

#[test]
fn an_unknown_protocol_is_answered_with_3_2() {
    let (mut net, a, _, b) = Net::routed(1500);
    net.send(a, "198.51.100.1".parse().unwrap(), wire::ip::Protocol(200), &[0; 30], |o| o).unwrap();
    net.run_for(MS);
    assert_eq!(net.trace(b), ["IP 198.51.100.1>192.0.2.1 ttl 64 iplen 78 ICMP 3/2"]);
    assert_eq!(net.counter(b, Counter::IpInUnknownProtos), 1);
}

#[test]
fn errors_are_never_about_errors() {
    let (mut net, a, r, _) = Net::routed(1500);
    let mut message = vec![0; 36];
    message[..2].copy_from_slice(&[3, 1]);
    message[8..28]
        .copy_from_slice(&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1]);
    let protocol = wire::ip::Protocol::ICMP;
    net.send(a, "198.51.100.1".parse().unwrap(), protocol, &message, |o| IpOut { ttl: 1, ..o }).unwrap();
    net.run_for(MS);
    assert!(net.trace(r).is_empty());
    assert_eq!(net.counter(r, Counter::IpInHdrErrors), 1);
}

#[test]
fn loopback_echo_is_answered_on_lo() {
    let mut net = Net::default();
    let h = net.host_v4("h");
    net.ping(h, "127.0.0.1", 56).unwrap();
    assert_eq!(net.counter(h, Counter::IcmpInEchos), 1);
    assert_eq!(net.counter(h, Counter::IcmpInEchoReps), 1);
    assert_eq!(net.counter(h, Counter::IpOutRequests), 2);
    net.carry();
    assert!(net.sent.is_empty());
}

/// Linux: `ip_rt_send_redirect`. A's gateway is R, but B's network is behind G on the same link as A.
#[test]
fn a_router_redirects_a_neighbour_to_the_better_gateway() {
    let (mut net, a, r, _) = Net::routed(1500);
    // R reaches 203.0.113.0/24 by way of a router on A's own link, which nobody plays: ARP is enough.
    net.route(r, "203.0.113.0/24", "192.0.2.1");
    net.ping(a, "203.0.113.9", 56).unwrap();
    net.run_for(MS);
    let lines = net.trace(r);
    assert_eq!(lines[0], "IP 192.0.2.126>192.0.2.1 ttl 64 iplen 112 ICMP 5/1", "{lines:?}");
    assert_eq!(lines[1], "IP 192.0.2.1>203.0.113.9 ttl 63 DF iplen 84 ICMP 8/0");
}

/// TRUTH 8e: 30 datagrams to a closed port at once get 6 answers; 40 over 2 s get 7; 57 are counted as limited.
#[test]
fn port_unreachable_is_limited_8e() {
    let (mut net, a, _, b) = Net::routed(1500);
    for _ in 0..30 {
        net.udp(a, "198.51.100.1", 9, 10).unwrap();
    }
    net.run_for(MS);
    let lines = net.trace(b);
    assert_eq!(lines, ["IP 198.51.100.1>192.0.2.1 ttl 64 iplen 66 ICMP 3/3"; 6]);
    net.run_for(SECOND * 8);
    for _ in 0..40 {
        net.udp(a, "198.51.100.1", 9, 10).unwrap();
        net.run_for(MS * 50);
    }
    assert_eq!(net.trace(b).len(), 7);
    assert_eq!(net.counter(b, Counter::IcmpOutRateLimitHost), 57);
    assert_eq!(net.counter(b, Counter::IcmpOutRateLimitGlobal), 0);
    assert_eq!(net.counter(b, Counter::UdpNoPorts), 70);
    assert_eq!(net.counter(a, Counter::IcmpInDestUnreachs), 13);
}

/// `ip_dst_mtu_maybe_forward`: a route's `mtu` counts for what is forwarded; a learnt path MTU does not.
#[test]
fn a_router_goes_by_the_mtu_of_its_route() {
    use crate::route::{Metrics, NewRoute};
    let (mut net, a, r, _) = Net::routed(1500);
    let new = NewRoute {
        gateway: Some("198.51.100.1".parse().unwrap()),
        metrics: Metrics { mtu: 1200, ..Metrics::default() },
        ..NewRoute::new("203.0.113.0".parse().unwrap(), 24)
    };
    net.hosts[r].route_add_quiet(net.now, &new).unwrap();
    net.ping(a, "203.0.113.1", 1300).unwrap();
    net.run_for(MS);
    let answer = net.sent.iter().find(|s| s.host == r && s.ethertype() == 0x0800).unwrap();
    assert_eq!(answer.packet()[20..22], [3, 4]);
    assert_eq!(answer.packet()[26..28], 1200u16.to_be_bytes());
}

/// RFC 1812 §5.3.1, RFC 1141: the checksum is updated, not recomputed, and right for every TTL.
#[test]
fn every_ttl_is_forwarded_with_a_right_checksum() {
    let (mut net, a, r, _) = Net::routed(1500);
    for ttl in 2..=255 {
        net.ping_with(a, "198.51.100.1", 0, |out| IpOut { ttl, ..out }).unwrap();
        net.run_for(MS);
    }
    let lines = net.trace(r); // describe() verifies
    assert_eq!(lines.iter().filter(|l| l.contains("ICMP 8/0")).count(), 254);
}

/// TRUTH 11a: a neighbour that does not answer ARP is reported to the own host, from its own address.
#[test]
fn an_absent_neighbour_is_reported_to_the_own_sockets_11a() {
    let (mut net, a, _, _) = Net::routed(1500);
    net.ping(a, "192.0.2.77", 56).unwrap();
    net.run_for(SECOND * 4);
    assert!(net.trace(a).is_empty(), "nothing but ARP");
    assert_eq!(net.counter(a, Counter::IcmpOutDestUnreachs), 1);
    assert_eq!(net.counter(a, Counter::IcmpInDestUnreachs), 1);
}
