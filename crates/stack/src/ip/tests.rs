//! Input, fragments, groups and options on hosts that see real frames.

use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr};

use wire::ip::Protocol;
use wire::ipv4;

use super::IpOut;
use crate::mib::Counter;
use crate::record::What;
use crate::testnet::{Net, describe};
use crate::{DropReason, Errno};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Two hosts on one wire, ARP done.
fn pair() -> (Net, usize, usize, u32) {
    let mut net = Net::default();
    let (a, b) = (net.host_v4("a"), net.host_v4("b"));
    let (a0, b0) = net.wire(a, b, 1500);
    net.addr(a, a0, "192.0.2.1/24");
    net.addr(b, b0, "192.0.2.2/24");
    net.run_for(SECOND * 3); // past IGMP's reports, should there be any
    net.ping(a, "192.0.2.2", 0).unwrap();
    net.run_for(MS);
    net.sent.clear();
    for host in &mut net.hosts {
        while host.poll_record().is_some() {}
    }
    (net, a, b, b0)
}

/// An Ethernet frame from a to b with this IPv4 packet.
fn framed(net: &Net, b: usize, b0: u32, packet: &[u8]) -> Vec<u8> {
    let mac = net.hosts[b].interfaces().get(b0).unwrap().mac;
    let mut frame = mac.0.to_vec();
    frame.extend_from_slice(&[2, 0, 0, 0, 0, 9, 8, 0]);
    frame.extend_from_slice(packet);
    frame
}

fn packet(change: impl FnOnce(&mut ipv4::Header), payload: &[u8]) -> Vec<u8> {
    let mut h = ipv4::Header {
        protocol: Protocol::UDP,
        src: Ipv4Addr::new(192, 0, 2, 1),
        dst: Ipv4Addr::new(192, 0, 2, 2),
        ..ipv4::Header::default()
    };
    change(&mut h);
    h.total_len = u16::try_from(h.header_len() + payload.len()).unwrap();
    let mut bytes = vec![0; h.header_len()];
    h.emit(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

/// What was sent since the last call, without ARP.
fn ip_sent(net: &mut Net) -> Vec<crate::testnet::Sent> {
    net.sent.drain(..).filter(|s| s.ethertype() == 0x0800).collect()
}

fn drops(net: &mut Net, host: usize) -> Vec<DropReason> {
    let mut reasons = Vec::new();
    while let Some((_, what)) = net.hosts[host].poll_record() {
        if let What::Drop { reason, .. } = what {
            reasons.push(reason);
        }
    }
    reasons
}

/// The order of `ip_rcv_core`, with the counters seen on 6.18 by sending such packets over a veth.
#[test]
fn malformed_headers_are_counted_as_linux_counts_them() {
    type Damage = fn(&mut Vec<u8>);
    let cases: [(Damage, DropReason, &[Counter]); 5] = [
        (|p| p[0] = 0x65, DropReason::IpInhdr, &[Counter::IpInHdrErrors]),
        (|p| p[0] = 0x44, DropReason::IpInhdr, &[Counter::IpInHdrErrors]),
        (|p| p[10] ^= 1, DropReason::IpCsum, &[Counter::IpInHdrErrors, Counter::IpExtInCsumErrors]),
        (|p| p.truncate(40), DropReason::PktTooSmall, &[Counter::IpExtInTruncatedPkts]),
        (|p| p.truncate(19), DropReason::IpInhdr, &[Counter::IpInHdrErrors]),
    ];
    for (damage, reason, counters) in cases {
        let (mut net, _, b, b0) = pair();
        let before: Vec<u64> = counters.iter().map(|c| net.counter(b, *c)).collect();
        let received = net.counter(b, Counter::IpInReceives);
        let mut p = packet(|_| {}, &[0; 30]);
        damage(&mut p);
        let frame = framed(&net, b, b0, &p);
        net.inject(b, b0, &frame);
        assert_eq!(drops(&mut net, b), [reason]);
        assert_eq!(net.counter(b, Counter::IpInReceives), received + 1);
        for (counter, before) in counters.iter().zip(before) {
            assert_eq!(net.counter(b, *counter), before + 1, "{reason}: {counter:?}");
        }
        assert_eq!(net.counter(b, Counter::IpInDelivers), 1, "the ping only");
    }
}

#[test]
fn padding_behind_the_packet_is_cut_off() {
    let (mut net, a, b, b0) = pair();
    let _ = a;
    let mut echo = [8, 0, 0, 0, 1, 2, 3, 4];
    wire::icmpv4::set_checksum(&mut echo);
    let mut p = packet(|h| h.protocol = Protocol::ICMP, &echo);
    p.resize(46, 0xee);
    let frame = framed(&net, b, b0, &p);
    net.inject(b, b0, &frame);
    net.carry();
    assert_eq!(net.trace(b), ["IP 192.0.2.2>192.0.2.1 ttl 64 iplen 28 ICMP 0/0"]);
}

#[test]
fn frames_for_other_macs_and_unknown_vlans_and_ethertypes_end_here() {
    let (mut net, _, b, b0) = pair();
    let p = packet(|_| {}, &[0; 30]);
    let mut other = framed(&net, b, b0, &p);
    other[5] ^= 0x40;
    net.inject(b, b0, &other);
    let mut tagged = framed(&net, b, b0, &p);
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    net.inject(b, b0, &tagged);
    let mut unknown = framed(&net, b, b0, &p);
    unknown[12..14].copy_from_slice(&[0x88, 0x99]);
    net.inject(b, b0, &unknown);
    assert_eq!(
        drops(&mut net, b),
        [DropReason::IpOthersHost, DropReason::IpOthersHost, DropReason::UnhandledProto]
    );
    assert_eq!(net.counter(b, Counter::IpInReceives), 1, "the ping only");
}

#[test]
fn fragments_that_do_not_all_come_are_given_up_after_30_s_with_11_1() {
    let (mut net, _, b, b0) = pair();
    let p = packet(
        |h| {
            h.id = 77;
            h.more_fragments = true;
        },
        &[7; 64],
    );
    let frame = framed(&net, b, b0, &p);
    net.inject(b, b0, &frame);
    net.run_for(SECOND * 29);
    assert!(net.trace(b).is_empty());
    net.run_for(SECOND * 2);
    assert_eq!(net.trace(b), ["IP 192.0.2.2>192.0.2.1 ttl 64 iplen 112 ICMP 11/1"]);
    assert_eq!(net.counter(b, Counter::IpReasmTimeout), 1);
    assert_eq!(net.counter(b, Counter::IpReasmFails), 1);
    assert_eq!(drops(&mut net, b), [DropReason::FragReasmTimeout]);
    // Without the first fragment nobody is told.
    let p = packet(
        |h| {
            h.id = 78;
            h.frag_offset = 64;
        },
        &[7; 64],
    );
    let frame = framed(&net, b, b0, &p);
    net.inject(b, b0, &frame);
    net.run_for(SECOND * 31);
    assert!(net.trace(b).iter().all(|l| !l.contains("ICMP")));
    assert_eq!(net.counter(b, Counter::IpReasmTimeout), 2);
}

#[test]
fn overlapping_fragments_cost_the_whole_packet() {
    let (mut net, _, b, b0) = pair();
    for (offset, len) in [(0u16, 16), (8, 16)] {
        let p = packet(
            |h| {
                h.id = 5;
                h.more_fragments = true;
                h.frag_offset = offset;
            },
            &vec![1; len],
        );
        let frame = framed(&net, b, b0, &p);
        net.inject(b, b0, &frame);
    }
    assert_eq!(net.counter(b, Counter::IpExtReasmOverlaps), 1);
    assert_eq!(net.counter(b, Counter::IpReasmFails), 1);
    assert_eq!(drops(&mut net, b), [DropReason::FragOverlap]);
    net.run_for(SECOND * 40);
    assert_eq!(net.counter(b, Counter::IpReasmTimeout), 0, "the timer went with the queue");
}

/// `ipfrag_max_dist`: after more than 64 other fragments of the sender the identification is probably another's.
#[test]
fn a_fragment_that_comes_too_late_in_the_stream_starts_anew() {
    let (mut net, _, b, b0) = pair();
    let fragment = |id: u16, offset: u16, more: bool| {
        packet(
            |h| {
                h.id = id;
                h.more_fragments = more;
                h.frag_offset = offset;
            },
            &[1; 16],
        )
    };
    for id in 0..70 {
        let frame = framed(&net, b, b0, &fragment(100 + id, 0, true));
        net.inject(b, b0, &frame);
    }
    let frame = framed(&net, b, b0, &fragment(100, 16, false));
    net.inject(b, b0, &frame);
    assert_eq!(net.counter(b, Counter::IpReasmOKs), 0);
    assert_eq!(net.counter(b, Counter::IpReasmFails), 1);
}

/// ip_select_ident: a connected socket's own, 0 with DF forced, else the host's counter.
#[test]
fn identifications_follow_linux() {
    let (mut net, a, _, _) = pair();
    let id = |net: &mut Net, change: fn(IpOut) -> IpOut| {
        net.ping_with(a, "192.0.2.2", 0, change).unwrap();
        net.carry();
        let sent = net.sent.iter().find(|s| s.host == a).unwrap().packet()[4..8].to_vec();
        net.sent.clear();
        (u16::from_be_bytes([sent[0], sent[1]]), sent[2] & 0x40 != 0)
    };
    assert_eq!(id(&mut net, |o| IpOut { dont_fragment: true, ..o }), (0, true));
    assert_eq!(id(&mut net, |o| IpOut { id: Some(0x1234), ..o }), (0x1234, true));
    let (first, _) = id(&mut net, |o| o);
    assert_eq!(id(&mut net, |o| IpOut { pmtu_discover: false, ..o }), (first.wrapping_add(1), false));
}

#[test]
fn limits_of_a_packet_of_our_own() {
    let (mut net, a, _, _) = pair();
    assert_eq!(net.ping(a, "192.0.2.2", 65_508), Err(Errno::EMSGSIZE), "65536 bytes");
    assert_eq!(net.ping(a, "192.0.2.2", 65_507), Ok(()));
    let do_not = |o: IpOut| IpOut { dont_fragment: true, ..o };
    assert_eq!(net.ping_with(a, "192.0.2.2", 1473, do_not), Err(Errno::EMSGSIZE));
    assert_eq!(net.ping_with(a, "192.0.2.2", 1472, do_not), Ok(()));
}

#[test]
fn a_group_packet_is_looped_back_to_members_and_ttl_0_stays_here() {
    let (mut net, a, b, _) = pair();
    let group: IpAddr = "239.1.2.3".parse().unwrap();
    net.hosts[a].mcast_join(net.now, 2, group);
    net.run_for(SECOND * 3);
    net.sent.clear();
    net.route(a, "239.0.0.0/8", "192.0.2.2");
    let before = net.counter(a, Counter::IpExtInMcastPkts);
    net.send(a, group, Protocol(99), &[1; 8], |o| IpOut { ttl: 0, ..o }).unwrap();
    net.carry();
    assert_eq!(net.counter(a, Counter::IpExtInMcastPkts), before + 1);
    assert!(net.trace(a).is_empty());
    net.send(a, group, Protocol(99), &[1; 8], |o| IpOut { ttl: 1, multicast_loop: false, ..o }).unwrap();
    net.carry();
    assert_eq!(net.counter(a, Counter::IpExtInMcastPkts), before + 1, "no copy asked for");
    assert_eq!(net.sent.iter().filter(|s| s.host == a).count(), 1);
    assert_eq!(net.sent[0].bytes[..6], [1, 0, 0x5e, 1, 2, 3]);
    assert_eq!(net.counter(b, Counter::IpExtInMcastPkts), 0, "not a member");
}

/// Seen on 6.18 (veth, tcpdump): two reports of TO_EX, the second within a second; leaving the same with TO_IN.
#[test]
fn joining_and_leaving_are_reported_twice_with_igmpv3() {
    let (mut net, a, _, _) = pair();
    let group: IpAddr = "239.1.2.3".parse().unwrap();
    net.hosts[a].mcast_join(net.now, 2, group);
    net.hosts[a].mcast_join(net.now, 2, group);
    net.run_for(SECOND * 3);
    let reports: Vec<_> = ip_sent(&mut net);
    assert_eq!(reports.len(), 2);
    assert!(reports[1].at - reports[0].at < SECOND);
    let p = reports[0].packet();
    assert_eq!(describe(p), "IP 192.0.2.1>224.0.0.22 ttl 1 DF iplen 40 IGMP");
    assert_eq!((p[0], p[1]), (0x46, 0xc0));
    assert_eq!(p[4..6], [0, 0], "identification 0");
    assert_eq!(p[20..24], [148, 4, 0, 0]);
    assert_eq!(p[24..26], [0x22, 0]);
    assert_eq!(p[32..40], [4, 0, 0, 0, 239, 1, 2, 3]);
    net.hosts[a].mcast_leave(net.now, 2, group);
    net.run_for(SECOND * 3);
    assert!(ip_sent(&mut net).is_empty(), "one user is left");
    net.hosts[a].mcast_leave(net.now, 2, group);
    net.run_for(SECOND * 3);
    let reports = ip_sent(&mut net);
    assert_eq!(reports.len(), 2);
    assert_eq!(reports[0].packet()[32..40], [3, 0, 0, 0, 239, 1, 2, 3]);
}

fn query(net: &mut Net, to: usize, ifindex: u32, message: &[u8]) {
    let mut message = message.to_vec();
    wire::igmp::set_checksum(&mut message);
    let p = packet(
        |h| {
            h.protocol = Protocol::IGMP;
            h.dst = Ipv4Addr::new(224, 0, 0, 1);
            h.ttl = 1;
        },
        &message,
    );
    let mut frame = vec![1, 0, 0x5e, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0];
    frame.extend_from_slice(&p);
    net.inject(to, ifindex, &frame);
}

#[test]
fn queries_are_answered_in_the_queriers_version() {
    let (mut net, _, b, b0) = pair();
    net.hosts[b].mcast_join(net.now, b0, "239.1.2.3".parse().unwrap());
    net.run_for(SECOND * 3);
    net.sent.clear();
    // Version 3, 10 s: one report of all groups.
    query(&mut net, b, b0, &[0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]);
    net.run_for(SECOND * 11);
    let sent = ip_sent(&mut net);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].packet()[32..40], [2, 0, 0, 0, 239, 1, 2, 3]);
    // Version 2: a report of the group to the group; from now on leaving says so to the routers.
    query(&mut net, b, b0, &[0x11, 100, 0, 0, 0, 0, 0, 0]);
    net.run_for(SECOND * 11);
    let sent = ip_sent(&mut net);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].packet()[24], 0x16);
    assert_eq!(describe(sent[0].packet()), "IP 192.0.2.2>239.1.2.3 ttl 1 DF iplen 32 IGMP");
    net.hosts[b].mcast_leave(net.now, b0, "239.1.2.3".parse().unwrap());
    net.run_for(SECOND);
    assert_eq!(describe(ip_sent(&mut net)[0].packet()), "IP 192.0.2.2>224.0.0.2 ttl 1 DF iplen 32 IGMP");
}

#[test]
fn force_igmp_version_speaks_the_old_one_unasked() {
    let (mut net, a, _, _) = pair();
    net.sysctl(a, "net.ipv4.conf.all.force_igmp_version", "2");
    net.hosts[a].mcast_join(net.now, 2, "239.1.2.3".parse().unwrap());
    net.run_for(SECOND * 12);
    assert_eq!(net.trace(a), ["IP 192.0.2.1>239.1.2.3 ttl 1 DF iplen 32 IGMP"; 2]);
}

/// Record route through a router and back: each hop writes the address of the interface it sends by.
#[test]
fn record_route_is_filled_in_by_router_and_target() {
    let (mut net, a, r, b) = Net::routed(1500);
    net.ping(a, "198.51.100.1", 0).unwrap();
    net.carry();
    net.sent.clear();
    let mac = net.hosts[r].interfaces().get(2).unwrap().mac;
    let mut echo = [8, 0, 0, 0, 1, 2, 3, 4];
    wire::icmpv4::set_checksum(&mut echo);
    let p = packet(
        |h| {
            h.protocol = Protocol::ICMP;
            h.dst = Ipv4Addr::new(198, 51, 100, 1);
            h.options = ipv4::Options::from_bytes(&[7, 15, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        },
        &echo,
    );
    let mut frame = mac.0.to_vec();
    frame.extend_from_slice(&[2, 0, 0, 0, 0, 9, 8, 0]);
    frame.extend_from_slice(&p);
    net.inject(r, 2, &frame);
    net.carry();
    let forwarded = net.sent.iter().find(|s| s.host == r).unwrap().packet().to_vec();
    assert!(ipv4::verify_checksum(&forwarded[..36]));
    assert_eq!(forwarded[20..27], [7, 15, 8, 198, 51, 100, 126]);
    assert_eq!(net.counter(b, Counter::IcmpInEchos), 2);
    // The answer goes on recording: the target as it arrived, the target as it left (seen on 6.18, veth).
    let answer = net.sent.iter().find(|s| s.host == b).unwrap().packet().to_vec();
    assert_eq!(answer[20..31], [7, 15, 16, 198, 51, 100, 126, 198, 51, 100, 1]);
}

/// Seen on 6.18 (veth, a raw frame with a record route of three slots): the reply has 192.0.2.2 twice.
#[test]
fn an_echo_reply_records_its_way_back() {
    let (mut net, _, b, b0) = pair();
    let mut echo = [8, 0, 0, 0, 0x12, 0x34, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    wire::icmpv4::set_checksum(&mut echo);
    let p = packet(
        |h| {
            h.protocol = Protocol::ICMP;
            h.options = ipv4::Options::from_bytes(&[7, 15, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        },
        &echo,
    );
    let frame = framed(&net, b, b0, &p);
    net.inject(b, b0, &frame);
    net.carry();
    let answer = ip_sent(&mut net)[0].packet().to_vec();
    assert_eq!(answer[0], 0x49);
    assert_eq!(answer[20..36], [7, 15, 12, 192, 0, 2, 2, 192, 0, 2, 2, 0, 0, 0, 0, 0]);
    assert_eq!(describe(&answer), "IP 192.0.2.2>192.0.2.1 ttl 64 iplen 52 ICMP 0/0");
}

#[test]
fn malformed_options_are_answered_with_a_parameter_problem() {
    let (mut net, _, b, b0) = pair();
    let p = packet(|h| h.options = ipv4::Options::from_bytes(&[7, 3, 3, 0]).unwrap(), &[0; 8]);
    let frame = framed(&net, b, b0, &p);
    net.inject(b, b0, &frame);
    net.carry();
    let answer = net.sent.iter().find(|s| s.host == b).unwrap().packet().to_vec();
    assert_eq!(answer[20..22], [12, 0]);
    assert_eq!(answer[24], 22, "the offset of the pointer");
    assert_eq!(net.counter(b, Counter::IpInHdrErrors), 1);
}

#[test]
fn vlan_interfaces_tag_what_they_send_and_take_what_is_tagged() {
    use crate::iface::{LinkKind, NewAddr4};
    let (mut net, a, b, _) = pair();
    let mut subs = Vec::new();
    for (host, addr) in [(a, [198, 51, 100, 1]), (b, [198, 51, 100, 2])] {
        let mac = net.hosts[host].interfaces().get(2).unwrap().mac;
        let kind = LinkKind::Vlan { link: 2, id: 7 };
        let ifindex = net.hosts[host].new_interface("eth0.7", kind, wire::Medium::Ethernet, mac, 1500);
        net.hosts[host].link_set_up(net.now, ifindex, true).unwrap();
        net.hosts[host].addr_add4(net.now, ifindex, &NewAddr4::new(addr.into(), 24)).unwrap();
        subs.push(ifindex);
    }
    net.ping(a, "198.51.100.2", 0).unwrap();
    net.run_for(MS);
    assert!(net.sent.iter().all(|s| s.bytes[12..16] == [0x81, 0, 0, 7]), "ARP too");
    assert_eq!(net.counter(a, Counter::IcmpInEchoReps), 2);
}

/// A broadcast reaches the own sockets, too; echo to it is ignored by default (icmp_echo_ignore_broadcasts).
#[test]
fn broadcasts_are_looped_back_and_echo_to_them_is_ignored() {
    let (mut net, a, b, _) = pair();
    net.ping(a, "192.0.2.255", 0).unwrap();
    net.run_for(MS);
    assert_eq!(net.sent[0].bytes[..6], [0xff; 6]);
    assert_eq!(net.counter(b, Counter::IpExtInBcastPkts), 1);
    assert_eq!(net.counter(a, Counter::IpExtInBcastPkts), 1);
    assert_eq!(net.counter(a, Counter::IpExtOutBcastPkts), 1);
    assert_eq!(net.counter(b, Counter::IcmpInErrors), 1);
    assert!(net.trace(b).is_empty());
    net.sysctl(b, "net.ipv4.icmp_echo_ignore_broadcasts", "0");
    net.ping(a, "192.0.2.255", 0).unwrap();
    net.run_for(MS);
    assert_eq!(net.trace(b), ["IP 192.0.2.2>192.0.2.1 ttl 64 iplen 28 ICMP 0/0"]);
}

/// No bytes from the wire may panic, on a host with every kind of tunnel and on a router. 20,000 frames, half of them
/// real ones with some bytes changed or cut off.
#[test]
fn damaged_frames_never_panic() {
    use crate::iface::{LinkKind, NewAddr4, Tunnel, TunnelMode};
    let mut rng = crate::rng::Rng::new(11, "damage");
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for (mut net, a, r, _) in [Net::routed(1000), Net::routed6(1300)] {
        let to = if net.hosts[r].interfaces().get(2).unwrap().addrs4.is_empty() {
            "2001:db8:2::1"
        } else {
            "198.51.100.1"
        };
        for size in [0, 56, 1400] {
            let _ = net.ping(a, to, size);
            let _ = net.ping_with(a, to, size, |o| IpOut { ttl: 1, pmtu_discover: false, ..o });
            net.run_for(SECOND);
        }
        if to.starts_with('1') {
            net.udp(a, to, 9, 100).unwrap();
            net.run_for(MS);
        }
        net.hosts[a].mcast_join(net.now, 2, "239.1.1.1".parse().unwrap());
        net.hosts[a].mcast_join(net.now, 2, "ff02::99".parse().unwrap());
        net.run_for(SECOND * 3);
        seeds.extend(net.sent.iter().map(|s| s.bytes.clone()));
    }
    let (mut net, _, r, _) = Net::routed(1000);
    net.sysctl(r, "net.ipv6.conf.all.forwarding", "1");
    net.sysctl(r, "net.ipv4.conf.all.accept_source_route", "1");
    for (mode, local, remote) in [
        (TunnelMode::Ipip, "192.0.2.126", "192.0.2.1"),
        (TunnelMode::Gre, "192.0.2.126", "192.0.2.1"),
        (TunnelMode::Sit, "192.0.2.126", "192.0.2.1"),
    ] {
        let mut config = Tunnel::new(mode);
        config.local = Some(local.parse().unwrap());
        config.remote = Some(remote.parse().unwrap());
        let kind = LinkKind::Tunnel(Box::new(config));
        let i = net.hosts[r].new_interface(mode.name(), kind, wire::Medium::Ip, wire::MacAddr::ZERO, 1400);
        net.hosts[r].link_set_up(net.now, i, true).unwrap();
        net.hosts[r].addr_add4(net.now, i, &NewAddr4::new(Ipv4Addr::new(10, i as u8, 0, 1), 24)).unwrap();
    }
    for _ in 0..20_000 {
        let mut frame = seeds[rng.below(seeds.len() as u64) as usize].clone();
        let ifindex = 2 + rng.below(2) as u32;
        if rng.below(4) != 0 {
            let mac = net.hosts[r].interfaces().get(ifindex).unwrap().mac;
            frame[..6].copy_from_slice(&mac.0);
        }
        if rng.below(2) == 0 && frame.len() > 34 && frame[12..14] == [8, 0] {
            frame[30..34].copy_from_slice(&[192, 0, 2, 126]); // for the router itself
        }
        if rng.below(4) == 0 && frame.len() > 34 && frame[12..14] == [8, 0] {
            frame[23] = [1, 2, 4, 17, 41, 47, 200][rng.below(7) as usize];
            frame[14] = 0x45 + rng.below(11) as u8;
        }
        for _ in 0..rng.below(6) {
            let at = rng.below(frame.len().min(120) as u64) as usize;
            frame[at] = rng.next_u32() as u8;
        }
        if rng.below(4) == 0 {
            frame.truncate(rng.below(frame.len() as u64 + 1) as usize);
        }
        // Right checksums, so that damage gets past the first check.
        if frame.len() >= 34 && frame[12..14] == [8, 0] && rng.below(4) != 0 {
            let hlen = (usize::from(frame[14] & 15) * 4).min(frame.len() - 14);
            if hlen >= 20 {
                frame[24..26].fill(0);
                let sum = wire::checksum::sum(&frame[14..14 + hlen]).finish();
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
            }
        }
        let tail = rng.below(3) == 0;
        let mut f = wire::Frame::from_slice(&frame);
        if tail {
            let cut = rng.below(frame.len() as u64 + 1) as usize;
            f = wire::Frame::from_slice(&frame[..cut]);
            f.set_tail(wire::Bytes::from(&frame[cut..]));
        }
        net.hosts[r].handle_frame(net.now, ifindex, f);
        net.now += MS;
        net.hosts[r].handle_timeout(net.now);
        while net.hosts[r].poll_transmit().is_some() {}
        while net.hosts[r].poll_record().is_some() {}
    }
    for (counter, least) in
        [(Counter::IpInReceives, 3000), (Counter::Ip6InReceives, 3000), (Counter::IpInDelivers, 50)]
    {
        let value = net.counter(r, counter);
        assert!(value > least, "{counter:?} {value}");
    }
}
