//! Neighbour discovery, duplicate address detection and autoconfiguration between our own hosts. The order and
//! the forms of DAD, the first router solicitation, resolution and `dadfailed` are those that tcpdump and `ip`
//! showed on kernel 6.18 over a veth.

use core::net::Ipv6Addr;
use core::time::Duration;

use wire::ndp::Message;

use super::{ETH0, Lan, ms};
use crate::neigh::NudState;
use crate::record::{AddrChange, What};
use crate::route::Table;

fn a(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// `n` hosts with IPv6 that have just come up.
fn lan(n: u8) -> Lan {
    let mut lan = Lan::bare(n, 3);
    for i in 0..n {
        lan.run(usize::from(i), "ip link set eth0 up");
    }
    lan
}

/// ND messages that `host` sent: when (ms), source, destination, message.
fn messages(lan: &Lan, host: usize) -> Vec<(u64, Ipv6Addr, Ipv6Addr, Message)> {
    lan.sent
        .iter()
        .filter(|(_, from, b)| *from == host && b[12..14] == [0x86, 0xdd] && b[20] == 58)
        .filter_map(|(at, _, b)| {
            let (ip, used) = wire::ipv6::Header::parse(&b[14..]).unwrap();
            assert!(wire::icmpv6::verify_checksum(ip.src, ip.dst, &b[14 + used..]));
            let (message, _) = Message::parse(&b[14 + used..]).ok()?;
            assert_eq!(ip.hop_limit, 255);
            Some((at.as_nanos() / 1_000_000, ip.src, ip.dst, message))
        })
        .collect()
}

#[test]
fn link_local_address_is_tried_within_a_second_and_ours_a_second_later() {
    let mut lan = lan(1);
    lan.run_for(Duration::from_secs(3));
    let sent = messages(&lan, 0);
    let own = a("fe80::ff:fe00:1");
    let (at, src, dst, message) = sent[0];
    assert!(at < 1_000, "a random delay up to a second");
    assert_eq!((src, dst), (Ipv6Addr::UNSPECIFIED, a("ff02::1:ff00:1")));
    assert_eq!(message, Message::NeighborSolicit { target: own });
    let ready = lan.records.iter().find_map(|(t, _, w)| match w {
        What::Addr { addr, change: AddrChange::Preferred, .. } if *addr == own => {
            Some(t.as_nanos() / 1_000_000)
        }
        _ => None,
    });
    assert_eq!(ready, Some(at + 1_000), "one retrans_time after the only solicitation");
    // Then it asks for a router, from its new address.
    assert_eq!(sent[1].0, at + 1_000);
    assert_eq!((sent[1].1, sent[1].2, sent[1].3), (own, a("ff02::2"), Message::RouterSolicit));
    assert_eq!(
        lan.hosts[0].ip_route(lan.now, true, Table::Main),
        ["fe80::/64 dev eth0 proto kernel metric 256 pref medium"]
    );
    assert_eq!(
        lan.hosts[0].ip_route(lan.now, true, Table::Local),
        [
            "local ::1 dev lo proto kernel metric 0 pref medium",
            "local fe80::ff:fe00:1 dev eth0 proto kernel metric 0 pref medium",
            "multicast ff00::/8 dev eth0 proto kernel metric 256 pref medium",
        ]
    );
}

#[test]
fn router_solicitations_back_off_from_4_s_and_never_end() {
    let mut lan = lan(1);
    lan.run_for(Duration::from_secs(200));
    let at: Vec<u64> =
        messages(&lan, 0).iter().filter(|m| m.3 == Message::RouterSolicit).map(|m| m.0).collect();
    let gaps: Vec<u64> = at.windows(2).map(|w| w[1] - w[0]).collect();
    assert!((3_600..=4_400).contains(&gaps[0]), "{gaps:?}");
    for pair in gaps.windows(2) {
        let ratio = pair[1] * 100 / pair[0];
        assert!((189..=211).contains(&ratio), "RFC 7559: doubled, give or take 5 %: {gaps:?}");
    }
    assert!(gaps.len() >= 5, "{gaps:?}");
}

#[test]
fn address_that_somebody_has_is_refused() {
    let mut lan = lan(2);
    lan.run_for(Duration::from_secs(3));
    lan.run(0, "ip addr add 2001:db8::1/64 dev eth0 nodad");
    lan.run(1, "ip addr add 2001:db8::1/64 dev eth0");
    lan.run_for(Duration::from_secs(3));
    let text = lan.hosts[1].ip_addr(lan.now).concat();
    assert!(text.contains("inet6 2001:db8::1/64 scope global dadfailed tentative"), "{text}");
    assert!(
        messages(&lan, 0)
            .iter()
            .any(|m| matches!(m.3, Message::NeighborAdvert(na) if !na.solicited && na.override_))
    );
}

#[test]
fn of_two_hosts_that_try_an_address_the_one_that_asks_first_keeps_it() {
    // The other one gives up on hearing the question and never asks its own.
    let mut lan = lan(2);
    lan.run_for(Duration::from_secs(3));
    for host in [0, 1] {
        lan.run(host, "ip addr add 2001:db8::7/64 dev eth0");
    }
    lan.run_for(Duration::from_secs(3));
    let asked: Vec<usize> = [0, 1]
        .into_iter()
        .filter(|h| {
            messages(&lan, *h).iter().any(|m| m.3 == Message::NeighborSolicit { target: a("2001:db8::7") })
        })
        .collect();
    assert_eq!(asked.len(), 1);
    let lost = [0, 1]
        .map(|h| lan.hosts[h].ip_addr(lan.now).concat().contains("2001:db8::7/64 scope global dadfailed"));
    assert_eq!(lost, [asked[0] != 0, asked[0] != 1]);
}

#[test]
fn neighbour_is_resolved_by_multicast_and_the_answer_is_unicast() {
    let mut lan = lan(2);
    lan.run(0, "ip addr add 2001:db8::1/64 dev eth0 nodad");
    lan.run(1, "ip addr add 2001:db8::2/64 dev eth0 nodad");
    lan.run_for(Duration::from_secs(3));
    let before = lan.sent.len();
    lan.send(0, a("2001:db8::2").into());
    lan.sent.drain(..before);
    let (q, r) = (messages(&lan, 0)[0], messages(&lan, 1)[0]);
    assert_eq!((q.1, q.2), (a("2001:db8::1"), a("ff02::1:ff00:2")));
    assert_eq!((r.1, r.2), (a("2001:db8::2"), a("2001:db8::1")));
    assert!(matches!(r.3, Message::NeighborAdvert(na) if na.solicited && na.override_ && !na.router));
    assert_eq!(lan.neigh(0, a("2001:db8::2")), Some((NudState::Reachable, 2)));
    assert_eq!(
        lan.neigh(1, a("2001:db8::1")),
        Some((NudState::Delay, 1)),
        "sending the answer used the entry"
    );
    lan.deaf.push(1);
    lan.send(0, a("2001:db8::3").into());
    lan.run_for(ms(3_000));
    assert_eq!(
        lan.neigh(0, a("2001:db8::3")).map(|n| n.0),
        Some(NudState::Failed),
        "three solicitations, as ARP"
    );
}

/// Host 0 is a router that advertises, host 1 a host.
fn routed(options: &str) -> Lan {
    let mut lan = Lan::bare(2, 5);
    lan.run(0, "sysctl -w net.ipv6.conf.all.forwarding=1");
    lan.run(0, "ip link set eth0 up");
    lan.run(0, "ip addr add 2001:db8::ff/64 dev eth0 nodad");
    lan.run_for(Duration::from_secs(3));
    lan.run(0, &format!("ra dev eth0 prefix 2001:db8::/64 {options}"));
    lan.run_for(Duration::from_secs(1));
    lan.run(1, "ip link set eth0 up");
    lan.run_for(Duration::from_secs(6));
    lan
}

/// Kernel 6.18 showed the same lines for the same advertisement, sent by a raw socket.
#[test]
fn router_advertisement_gives_an_address_and_a_way_out() {
    let lan = routed("mtu 1400 hoplimit 33 pref high");
    let text = lan.hosts[1].ip_addr(lan.now).concat();
    assert!(text.contains("inet6 2001:db8::ff:fe00:2/64 scope global dynamic mngtmpaddr"), "{text}");
    let routes = lan.hosts[1].ip_route(lan.now, true, Table::Main);
    assert!(
        routes[0].starts_with("2001:db8::/64 dev eth0 proto kernel metric 256 expires 8639"),
        "{routes:?}"
    );
    let default = routes.last().unwrap();
    assert!(
        default.starts_with("default via fe80::ff:fe00:1 dev eth0 proto ra metric 1024 expires 179"),
        "{routes:?}"
    );
    assert!(default.ends_with("sec mtu 1400 hoplimit 33 pref high"), "{routes:?}");
    assert_eq!(lan.hosts[1].sysctl_read("net.ipv6.conf.eth0.mtu").as_deref(), Ok("1400"));
    assert_eq!(lan.hosts[1].sysctl_read("net.ipv6.conf.eth0.hop_limit").as_deref(), Ok("33"));
    assert!(lan.hosts[1].neigh.get(ETH0, a("fe80::ff:fe00:1").into()).is_some_and(|n| n.router));
    let asked = messages(&lan, 1).iter().filter(|m| m.3 == Message::RouterSolicit).count();
    assert_eq!(asked, 1, "an answer ends the questions");
}

#[test]
fn lifetimes_run_out_first_preferred_then_valid() {
    let mut lan = routed("lifetime 20 valid_lft 40 preferred_lft 10");
    lan.run(0, "ra dev eth0 off");
    lan.run_for(Duration::from_secs(8));
    let text = lan.hosts[1].ip_addr(lan.now).concat();
    assert!(text.contains("2001:db8::ff:fe00:2/64 scope global deprecated dynamic"), "{text}");
    lan.run_for(Duration::from_secs(12));
    let routes = lan.hosts[1].ip_route(lan.now, true, Table::Main);
    assert!(!routes.iter().any(|r| r.starts_with("default")), "{routes:?}");
    lan.run_for(Duration::from_secs(22));
    let text = lan.hosts[1].ip_addr(lan.now).concat();
    assert!(!text.contains("2001:db8::"), "{text}");
}

#[test]
fn short_lifetime_does_not_kill_an_address_before_two_hours() {
    // RFC 4862 §5.5.3 e.
    let mut lan = routed("");
    lan.run(0, "ra dev eth0 prefix 2001:db8::/64 valid_lft 60 preferred_lft 30");
    lan.run_for(Duration::from_secs(1));
    let text = lan.hosts[1].ip_addr(lan.now).concat();
    let valid = text.split("2001:db8::ff:fe00:2/64").nth(1).unwrap();
    let secs: u32 = valid.split("valid_lft ").nth(1).unwrap().split("sec").next().unwrap().parse().unwrap();
    assert!((7_190..=7_200).contains(&secs), "{secs}");
}

#[test]
fn router_takes_no_advertisements_unless_accept_ra_is_2() {
    for (accept_ra, taken) in [(1, false), (2, true)] {
        let mut lan = routed("");
        lan.run(1, "ip link set eth0 down");
        lan.run(1, "sysctl -w net.ipv6.conf.all.forwarding=1");
        lan.run(1, &format!("sysctl -w net.ipv6.conf.eth0.accept_ra={accept_ra}"));
        lan.run(1, "ip link set eth0 up");
        lan.run(0, "ra dev eth0 prefix 2001:db8::/64");
        lan.run_for(Duration::from_secs(6));
        let text = lan.hosts[1].ip_addr(lan.now).concat();
        assert_eq!(text.contains("2001:db8::ff:fe00:2/64"), taken, "accept_ra={accept_ra}");
    }
}

/// Measured on 6.18.44 with the event skb:kfree_skb: a solicitation to a group that nobody joined ends in `ip6_mc_input`,
/// which has no reason of its own; only one that comes through, to a group shared by chance, is for another host.
#[test]
fn solicitations_for_others_are_dropped_for_the_reasons_of_linux() {
    let mut lan = lan(2);
    lan.run(1, "ip addr add 2001:db8::2/64 dev eth0");
    lan.run_for(Duration::from_secs(5));
    let mut reasons = |addr: &str| {
        lan.records.clear();
        lan.run(0, &format!("ip addr add {addr}/64 dev eth0"));
        lan.run_for(Duration::from_secs(3));
        let drops = lan.records.iter().filter_map(|(_, host, what)| match what {
            // From the IPv6 or from the ICMPv6 header on; MLD reports are dropped too.
            What::Drop { reason, packet, .. } if *host == 1 => {
                let ty = if packet[0] >> 4 == 6 { packet[40] } else { packet[0] };
                (ty == 135).then_some(reason.name())
            }
            _ => None,
        });
        drops.collect::<Vec<_>>()
    };
    assert_eq!(reasons("2001:db8::9"), ["NOT_SPECIFIED"], "DAD to ff02::1:ff00:9");
    assert_eq!(reasons("2001:db8::aa00:2"), ["IPV6_NDISC_NS_OTHERHOST"], "DAD to ff02::1:ff00:2");
}
