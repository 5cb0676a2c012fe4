//! `arp_ignore`, `arp_announce`, `proxy_arp`, `arp_notify`: the same tables came out of kernel 6.18 in namespaces
//! (arping and tcpdump over a veth), the 690 ms that a proxied answer took included.

use core::net::Ipv4Addr;

use wire::MacAddr;

use super::{Lan, mac, ms, reply, request, v4};

/// Whether host 0 answers host 1's question about `tip`.
fn answers(lan: &mut Lan, sip: Ipv4Addr, tip: Ipv4Addr) -> bool {
    let before = lan.arps(0).len();
    lan.arp_in(0, MacAddr::BROADCAST, &request(2, sip, tip));
    lan.arps(0)[before..]
        .iter()
        .any(|(_, dst, p)| *dst == mac(2) && p.sender_ip == tip && p.sender_mac == mac(1))
}

#[test]
fn arp_ignore_decides_which_of_our_addresses_we_answer_for() {
    let other = Ipv4Addr::new(198, 51, 100, 1);
    let foreign = Ipv4Addr::new(203, 0, 113, 9);
    // Columns: own address asked from its network; address of lo; own address asked from elsewhere.
    for (value, expected) in [
        (0, [true, true, true]),
        (1, [true, false, true]),
        (2, [true, false, false]),
        (3, [true, true, true]),
        (8, [false, false, false]),
    ] {
        let mut lan = Lan::v4(1);
        lan.run(0, "ip addr add 198.51.100.1/32 dev lo");
        lan.run(0, "sysctl -w net.ipv4.conf.eth0.rp_filter=0");
        lan.run(0, &format!("sysctl -w net.ipv4.conf.all.arp_ignore={value}"));
        let got = [
            answers(&mut lan, v4(2), v4(1)),
            answers(&mut lan, v4(2), other),
            answers(&mut lan, foreign, v4(1)),
        ];
        assert_eq!(got, expected, "arp_ignore={value}");
    }
}

#[test]
fn arp_announce_chooses_the_senders_address() {
    // A packet from an address of lo: 0 tells it, 1 and 2 take one of the target's network.
    for (value, sender) in [(0, Ipv4Addr::new(198, 51, 100, 1)), (1, v4(1)), (2, v4(1))] {
        let mut lan = Lan::v4(1);
        lan.run(0, "ip addr add 198.51.100.1/32 dev lo");
        lan.run(0, "ip route replace 192.0.2.0/24 dev eth0 src 198.51.100.1");
        lan.run(0, &format!("sysctl -w net.ipv4.conf.eth0.arp_announce={value}"));
        lan.send(0, v4(2).into());
        assert_eq!(lan.arps(0)[0].2.sender_ip, sender, "arp_announce={value}");
    }
}

#[test]
fn proxy_answers_after_a_random_delay_of_up_to_800_ms() {
    let mut lan = Lan::v4(1);
    lan.hosts[0].add_interface("eth1", wire::Medium::Ethernet, mac(0x11), 1500);
    lan.run(0, "ip link set eth1 up");
    lan.run(0, "ip addr add 198.51.100.1/24 dev eth1");
    lan.run(0, "sysctl -w net.ipv4.ip_forward=1");
    let there = Ipv4Addr::new(198, 51, 100, 9);
    assert!(!answers(&mut lan, v4(2), there));
    lan.run_for(ms(1_000));
    assert!(lan.arps(0).is_empty(), "not without proxy_arp");
    lan.run(0, "sysctl -w net.ipv4.conf.eth0.proxy_arp=1");
    lan.arp_in(0, MacAddr::BROADCAST, &request(2, v4(2), there));
    let asked = lan.now.as_nanos() / 1_000_000;
    lan.run_for(ms(800));
    let (at, dst, answer) = lan.arps(0)[0];
    assert_eq!((dst, answer), (mac(2), reply(1, there, mac(2), v4(2))));
    assert!((asked..asked + 800).contains(&at));
    // Asked by unicast, it answers at once.
    lan.arp_in(0, mac(1), &request(2, v4(2), there));
    assert_eq!(lan.arps(0)[1].0, lan.now.as_nanos() / 1_000_000);
    // Never for the network the question came from.
    let before = lan.arps(0).len();
    assert!(!answers(&mut lan, v4(2), v4(99)));
    lan.run_for(ms(1_000));
    assert_eq!(lan.arps(0).len(), before);
}

#[test]
fn proxy_entry_answers_for_one_address() {
    let mut lan = Lan::v4(1);
    lan.hosts[0].add_interface("eth1", wire::Medium::Ethernet, mac(0x11), 1500);
    lan.run(0, "ip link set eth1 up");
    lan.run(0, "ip addr add 198.51.100.1/24 dev eth1");
    lan.run(0, "sysctl -w net.ipv4.ip_forward=1");
    lan.run(0, "sysctl -w net.ipv4.neigh.eth0.proxy_delay=0");
    lan.run(0, "ip neigh add proxy 198.51.100.9 dev eth1");
    assert!(!answers(&mut lan, v4(2), Ipv4Addr::new(198, 51, 100, 9)), "the interface it is asked on counts");
    lan.run(0, "ip neigh add proxy 198.51.100.9 dev eth0");
    assert!(answers(&mut lan, v4(2), Ipv4Addr::new(198, 51, 100, 9)));
    assert!(!answers(&mut lan, v4(2), Ipv4Addr::new(198, 51, 100, 10)));
}

#[test]
fn arp_notify_announces_when_the_link_comes_up() {
    let mut lan = Lan::v4(1);
    lan.run(0, "ip link set eth0 down");
    lan.run(0, "ip link set eth0 up");
    lan.run_for(ms(10));
    assert!(lan.arps(0).is_empty(), "off by default");
    lan.run(0, "sysctl -w net.ipv4.conf.eth0.arp_notify=1");
    lan.run(0, "ip link set eth0 down");
    lan.run(0, "ip link set eth0 up");
    lan.run_for(ms(10));
    assert_eq!(lan.arps(0).len(), 1);
    assert_eq!(lan.arps(0)[0].2, request(1, v4(1), v4(1)));
}

#[test]
fn arp_filter_answers_only_where_the_way_back_leaves() {
    let foreign = Ipv4Addr::new(203, 0, 113, 9);
    for (arp_filter, answered) in [(0, true), (1, false)] {
        let mut lan = Lan::v4(1);
        lan.hosts[0].add_interface("eth1", wire::Medium::Ethernet, mac(0x11), 1500);
        lan.run(0, "ip link set eth1 up");
        lan.run(0, "ip addr add 198.51.100.1/24 dev eth1");
        lan.run(0, "ip route add 203.0.113.9 dev eth1");
        lan.run(0, &format!("sysctl -w net.ipv4.conf.eth0.arp_filter={arp_filter}"));
        assert_eq!(answers(&mut lan, foreign, v4(1)), answered, "arp_filter={arp_filter}");
        let counted = lan.hosts[0].mib.value(crate::mib::Counter::TcpExtArpFilter);
        assert_eq!(counted, u64::from(!answered));
    }
}
