//! IPv6: hop limit, packet too big, parameter problems, fragments, MLD. What is said to be seen was seen on 6.18
//! between network namespaces over veth, with raw frames.

use core::time::Duration;
use std::net::IpAddr;

use wire::ip::Protocol;

use crate::Errno;
use crate::ip::IpOut;
use crate::mib::Counter;
use crate::testnet::{Net, describe};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const B: &str = "2001:db8:2::1";

#[test]
fn ping_through_a_router_loses_one_hop() {
    let (mut net, a, r, b) = Net::routed6(1500);
    net.ping(a, B, 56).unwrap();
    net.run_for(MS);
    assert_eq!(net.trace(r)[0], "IP6 2001:db8:1::1>2001:db8:2::1 hlim 63 iplen 104 ICMP6 128/0");
    assert_eq!(net.trace(b), ["IP6 2001:db8:2::1>2001:db8:1::1 hlim 64 iplen 104 ICMP6 129/0"]);
    assert_eq!(net.counter(r, Counter::Ip6OutForwDatagrams), 4, "with the one before");
}

#[test]
fn hop_limit_exceeded_comes_from_the_router() {
    let (mut net, a, r, _) = Net::routed6(1500);
    net.ping_with(a, B, 56, |o| IpOut { ttl: 1, ..o }).unwrap();
    net.run_for(MS);
    assert_eq!(net.trace(r), ["IP6 2001:db8:1::ff>2001:db8:1::1 hlim 64 iplen 152 ICMP6 3/0"]);
    assert_eq!(net.counter(r, Counter::Ip6InHdrErrors), 1);
}

#[test]
fn no_route_is_1_0_and_is_counted() {
    let (mut net, a, r, _) = Net::routed6(1500);
    net.ping(a, "2001:db9::1", 56).unwrap();
    net.run_for(MS);
    assert_eq!(net.trace(r), ["IP6 2001:db8:1::ff>2001:db8:1::1 hlim 64 iplen 152 ICMP6 1/0"]);
    assert_eq!(net.counter(r, Counter::Ip6InNoRoutes), 1);
}

/// RFC 8200 §5: routers do not fragment; the source learns and does.
#[test]
fn packet_too_big_is_learnt_and_the_source_fragments() {
    let (mut net, a, r, b) = Net::routed6(1300);
    net.ping(a, B, 1400).unwrap();
    net.run_for(MS);
    assert_eq!(net.trace(r), ["IP6 2001:db8:1::ff>2001:db8:1::1 hlim 64 iplen 1280 ICMP6 2/0"]);
    assert_eq!(net.counter(r, Counter::Ip6InTooBigErrors), 1);
    let df = |o: IpOut| IpOut { dont_fragment: true, ..o };
    assert_eq!(net.ping_with(a, B, 1400, df), Err(Errno::EMSGSIZE));
    net.trace(a);
    net.ping(a, B, 1400).unwrap();
    net.run_for(MS);
    assert_eq!(net.trace(a).len(), 2);
    assert_eq!(net.counter(b, Counter::Ip6ReasmOKs), 1);
    assert_eq!(net.counter(b, Counter::Icmp6InEchos), 2, "with the one before");
}

/// The packet from a to b with this next header and payload.
fn send(net: &mut Net, from: usize, next: u8, payload: &[u8]) {
    let dst: IpAddr = B.parse().unwrap();
    net.send(from, dst, Protocol(next), payload, |o| o).unwrap();
    net.run_for(MS);
}

fn echo(net: &Net) -> Vec<u8> {
    let _ = net;
    let mut message = [0u8; 48];
    message[0] = 128;
    wire::icmpv6::set_checksum("2001:db8:1::1".parse().unwrap(), B.parse().unwrap(), &mut message);
    message.to_vec()
}

/// Seen on 6.18: 4/1 with the offset of the field that names the unknown protocol.
#[test]
fn an_unknown_next_header_is_pointed_at() {
    for (next, payload, pointer) in
        [(200, vec![0; 20], 6u32), (60, [&[200, 0, 1, 4, 0, 0, 0, 0][..], &[0; 20]].concat(), 40)]
    {
        let (mut net, a, _, b) = Net::routed6(1500);
        send(&mut net, a, next, &payload);
        let answer = net.sent.iter().find(|s| s.host == b).unwrap().packet().to_vec();
        assert_eq!(answer[40..42], [4, 1]);
        assert_eq!(answer[44..48], pointer.to_be_bytes());
        assert_eq!(net.counter(b, Counter::Ip6InUnknownProtos), 1);
    }
}

/// RFC 8200 §4.2: the two upper bits of an unknown option say what to do.
#[test]
fn unknown_options_are_skipped_dropped_or_answered() {
    for (kind, answered, delivered) in [(0x1e, false, true), (0x5e, false, false), (0x9e, true, false)] {
        let (mut net, a, _, b) = Net::routed6(1500);
        let payload = [&[58, 0, kind, 4, 0, 0, 0, 0][..], &echo(&net)].concat();
        send(&mut net, a, 60, &payload);
        assert_eq!(net.counter(b, Counter::Icmp6InEchos), 1 + u64::from(delivered), "{kind:x}");
        let lines = net.trace(b);
        assert_eq!(lines.iter().any(|l| l.contains("ICMP6 4/2")), answered, "{kind:x}: {lines:?}");
    }
}

fn fragment(offset: u16, more: bool, id: u8, part: &[u8]) -> Vec<u8> {
    let field = (offset | u16::from(more)).to_be_bytes();
    [&[58, 0, field[0], field[1], 0, 0, 0, id][..], part].concat()
}

#[test]
fn fragments_atomic_ones_duplicates_and_overlaps() {
    let (mut net, a, _, b) = Net::routed6(1500);
    let e = echo(&net);
    let echos = |net: &Net| net.counter(b, Counter::Icmp6InEchos) - 1;
    send(&mut net, a, 44, &fragment(24, false, 5, &e[24..]));
    send(&mut net, a, 44, &fragment(0, true, 5, &e[..24]));
    assert_eq!(echos(&net), 1);
    // RFC 6946: an atomic fragment is a packet of its own.
    send(&mut net, a, 44, &fragment(0, true, 6, &e[..24]));
    send(&mut net, a, 44, &fragment(0, false, 6, &e));
    assert_eq!(echos(&net), 2);
    send(&mut net, a, 44, &fragment(0, true, 6, &e[..24]));
    send(&mut net, a, 44, &fragment(24, false, 6, &e[24..]));
    assert_eq!(echos(&net), 3, "a repeated fragment is ignored");
    // RFC 5722: an overlap costs the packet.
    send(&mut net, a, 44, &fragment(0, true, 7, &e[..24]));
    send(&mut net, a, 44, &fragment(16, true, 7, &e[16..40]));
    assert_eq!(net.counter(b, Counter::Ip6ReasmFails), 1);
    send(&mut net, a, 44, &fragment(24, false, 7, &e[24..]));
    assert_eq!(echos(&net), 3);
    // A length that is not a multiple of 8 in a fragment with more to come.
    net.trace(b);
    send(&mut net, a, 44, &fragment(0, true, 8, &e[..23]));
    let answer = net.sent.iter().find(|s| s.host == b).unwrap().packet().to_vec();
    assert_eq!((&answer[40..42], &answer[44..48]), (&[4u8, 0][..], &[0u8, 0, 0, 4][..]));
}

#[test]
fn missing_fragments_are_given_up_after_60_s_with_3_1() {
    let (mut net, a, _, b) = Net::routed6(1500);
    let e = echo(&net);
    send(&mut net, a, 44, &fragment(0, true, 9, &e[..24]));
    net.run_for(SECOND * 59);
    assert!(net.trace(b).is_empty());
    net.run_for(SECOND * 2);
    assert_eq!(net.trace(b), ["IP6 2001:db8:2::1>2001:db8:1::1 hlim 64 iplen 120 ICMP6 3/1"]);
    assert_eq!(net.counter(b, Counter::Ip6ReasmTimeout), 1);
}

/// Kernel 6.18 limits to one each 100 ms and six at once.
#[test]
fn errors_are_limited_for_each_destination() {
    let (mut net, a, r, _) = Net::routed6(1500);
    for _ in 0..30 {
        net.ping_with(a, B, 0, |o| IpOut { ttl: 1, ..o }).unwrap();
    }
    net.carry();
    assert_eq!(net.trace(r).len(), 6);
    assert_eq!(net.counter(r, Counter::Icmp6OutRateLimitHost), 24);
    net.run_for(MS * 100);
    for _ in 0..3 {
        net.ping_with(a, B, 0, |o| IpOut { ttl: 1, ..o }).unwrap();
    }
    net.carry();
    assert_eq!(net.trace(r).len(), 1);
}

/// Seen on 6.18: reports to ff02::16 from the link-local address, twice, within about a second.
#[test]
fn joining_a_group_is_reported_with_mldv2() {
    let (mut net, a, _, _) = Net::routed6(1500);
    net.hosts[a].mcast_join(net.now, 2, "ff02::1234".parse().unwrap());
    net.run_for(SECOND * 3);
    let reports: Vec<_> = net.sent.iter().filter(|s| s.host == a && s.packet()[48] == 143).collect();
    assert_eq!(reports.len(), 2);
    let p = reports[0].packet();
    assert_eq!((p[6], p[7]), (0, 1), "hop-by-hop, hop limit 1");
    assert_eq!(p[40..48], [58, 0, 5, 2, 0, 0, 1, 0]);
    assert_eq!(p[24..40], "ff02::16".parse::<std::net::Ipv6Addr>().unwrap().octets());
    assert_eq!(p[8..10], [0xfe, 0x80]);
    assert_eq!(p[56], 4, "CHANGE_TO_EXCLUDE_MODE");
    assert!(describe(p).contains("ICMP6 143/0"));
}
