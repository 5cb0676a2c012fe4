use super::*;
use crate::build::*;
use crate::explain::explain;

/// All sentences, each with its packets: `text [#1, #2]`.
fn sentences(journal: &Journal) -> Vec<String> {
    let e = explain(journal);
    for s in &e.sentences {
        assert!(!s.refs.is_empty(), "{s:?}");
    }
    e.sentences
        .iter()
        .map(|s| {
            let packets: Vec<String> = s
                .refs
                .iter()
                .filter_map(|r| if let Ref::Packet(n) = r { Some(format!("#{n}")) } else { None })
                .collect();
            format!("{} [{}]", s.text, packets.join(" "))
        })
        .collect()
}

#[test]
fn resolution_tells_who_asked_who_answered_and_what_waited() {
    assert_eq!(
        sentences(&arp_resolution()),
        [
            "client did not know 192.0.2.2's link-layer address, asked by broadcast and server answered by \
             unicast after 20 ms; 1 packet waited for it [#1 #2]",
            "server learnt 192.0.2.1's address from the question itself (STALE) and need not ask back [#1]",
        ]
    );
}

/// The sentences of one finding, with all references counted.
fn of(journal: &Journal, finding: &str) -> Vec<String> {
    let e = explain(journal);
    e.sentences.iter().filter(|s| s.finding == finding).map(|s| s.text.clone()).collect()
}

fn decides(journal: &Journal) -> Vec<String> {
    explain(journal).decides.into_iter().map(|d| format!("{}={} {}", d.name, d.value, d.host)).collect()
}

const C: &str = "192.0.2.1";
const S: &str = "192.0.2.2";

fn pair() -> Hand {
    Hand::new(&[("client", &[C]), ("server", &[S])])
}

/// client – router – server, the router's second interface is number 3 with MAC 02:…:04.
fn routed() -> Hand {
    let mut h = Hand::new(&[("client", &[C]), ("router", &["192.0.2.254"]), ("server", &["198.51.100.1"])]);
    h.iface(1, 3, 4, "198.51.100.254");
    h
}

fn drop_of(reason: stack::DropReason, id: Option<stack::record::FrameId>) -> What {
    What::Drop { ifindex: 2, reason, id, packet: wire::Bytes::new() }
}

#[test]
fn silence_is_told_with_its_count_its_length_and_who_heard_of_it() {
    // TRUTH 11a: requests at 0, 1 and 2 s, FAILED at 3 s; sendto() has long succeeded.
    let mut h = pair();
    h.push(0, 0, What::Admin { text: "sysctl -w net.ipv4.neigh.eth0.mcast_solicit=3".into() });
    let call = h.call(0, 0, "sendto(3, \"x\", 1, 0, 192.0.2.2:9)");
    h.neigh(0, 0, S, None, Some(NudState::Incomplete), None);
    for s in 0..3 {
        let ask = arp_request(mac(1), C, S);
        h.tx(s * 1_000_000, 0, &ask);
        if s == 0 {
            h.returns(0, 0, call, "1");
        }
    }
    h.neigh(3_000_000, 0, S, Some(NudState::Incomplete), Some(NudState::Failed), None);
    h.push(3_000_000, 0, drop_of(stack::DropReason::NeighFailed, None));
    let j = h.journal;
    assert_eq!(
        of(&j, "no-answer"),
        ["Nobody answered for 192.0.2.2: client asked 3 times and gave up after 3 s (FAILED)"]
    );
    assert_eq!(of(&j, "no-answer-drops"), ["The 1 packet that waited was dropped (NEIGH_FAILED)"]);
    assert_eq!(
        of(&j, "no-answer-silent"),
        ["client's sendto() had returned 1 before anybody could know, and nothing told the program later"]
    );
    assert_eq!(
        decides(&j),
        ["net.ipv4.neigh.eth0.mcast_solicit=3 client", "net.ipv4.neigh.eth0.retrans_time_ms=1000 client"]
    );
    let e = explain(&j);
    assert!(e.decides[1].default && !e.decides[0].default);
    assert_eq!(e.folklore[0].says, "sending to a host that is down returns an error");
}

#[test]
fn ageing_names_times_and_the_sysctls_that_decide() {
    // TRUTH 11b.
    let mut h = pair();
    let m = Some(mac(2));
    h.neigh(0, 0, S, None, Some(NudState::Reachable), m);
    h.neigh(38_000_000, 0, S, Some(NudState::Reachable), Some(NudState::Stale), m);
    h.neigh(50_000_000, 0, S, Some(NudState::Stale), Some(NudState::Delay), m);
    let data = udp4((1, 2), (C, S), (40000, 9), b"x");
    h.tx(50_000_000, 0, &data);
    h.neigh(55_000_000, 0, S, Some(NudState::Delay), Some(NudState::Probe), m);
    for i in 0..3 {
        let probe = arp_packet(mac(1), mac(2), Operation::REQUEST, (mac(1), C), (MacAddr::ZERO, S));
        h.tx(55_000_000 + i * 1_000_000, 0, &probe);
    }
    h.neigh(58_000_000, 0, S, Some(NudState::Probe), Some(NudState::Failed), m);
    let j = h.journal;
    assert_eq!(
        of(&j, "ageing-stale"),
        [
            "client's entry for 192.0.2.2 became STALE after 38 s without a confirmation; no packet was sent for that"
        ]
    );
    assert_eq!(
        of(&j, "ageing-probe"),
        [
            "client used the stale entry for 192.0.2.2 at once and asked only 5 s later, since nothing confirmed \
          it meanwhile (DELAY to PROBE)"
        ]
    );
    assert_eq!(
        of(&j, "probe-unanswered"),
        [
            "client sent 3 unicast probes to the old address of 192.0.2.2, 1 s apart, unanswered; then the entry \
          was FAILED"
        ]
    );
    assert!(decides(&j).contains(&"net.ipv4.neigh.eth0.base_reachable_time_ms=30000 client".to_string()));
    assert!(decides(&j).contains(&"net.ipv4.neigh.eth0.delay_first_probe_time=5 client".to_string()));
}

#[test]
fn a_permanent_entry_is_used_without_questions_even_when_it_is_wrong() {
    let mut h = Hand::new(&[("client", &[C]), ("server", &[S]), ("other", &["192.0.2.3"])]);
    h.neigh(0, 0, S, None, Some(NudState::Permanent), Some(mac(3)));
    let data = udp4((1, 3), (C, S), (40000, 9), b"x");
    h.pass(0, 0, 2, &data);
    let j = h.journal;
    assert_eq!(
        of(&j, "static-entry"),
        ["client sent 1 packet by its PERMANENT entry for 192.0.2.2 and never asked who has it"]
    );
    assert_eq!(
        of(&j, "static-entry-wrong"),
        [
            "The entry names other's 02:00:00:00:00:03, which is not server's: the packets went to the wrong place \
          and client got no error"
        ]
    );
}

#[test]
fn a_spoofed_reply_overwrites_and_the_traffic_follows_it() {
    // TRUTH 11d.
    let mut h = Hand::new(&[("client", &[C]), ("server", &[S]), ("mallory", &["192.0.2.66"])]);
    let ask = arp_request(mac(1), C, S);
    h.pass(0, 0, 1, &ask);
    h.pass(0, 1, 0, &arp_reply(mac(2), mac(1), S, C));
    h.neigh(0, 0, S, None, Some(NudState::Reachable), Some(mac(2)));
    h.pass(1_000_000, 2, 0, &arp_reply(mac(3), mac(1), S, C));
    h.neigh(1_000_000, 0, S, Some(NudState::Reachable), Some(NudState::Stale), Some(mac(3)));
    h.pass(2_000_000, 0, 2, &udp4((1, 3), (C, S), (40000, 9), b"secret"));
    let j = h.journal;
    assert_eq!(
        of(&j, "two-claims"),
        [
            "Two link-layer addresses claim 192.0.2.2: server's 02:00:00:00:00:02 and mallory's 02:00:00:00:00:03"
        ]
    );
    assert_eq!(
        of(&j, "overwritten"),
        [
            "client's entry for 192.0.2.2 was overwritten at once: from server's 02:00:00:00:00:02 to mallory's \
          02:00:00:00:00:03"
        ]
    );
    assert_eq!(of(&j, "misled"), ["1 IP packet from client for server went to mallory instead"]);
}

#[test]
fn gratuitous_arp_is_believed_only_where_an_entry_exists() {
    // TRUTH 11c.
    let mut h = Hand::new(&[("client", &[C]), ("server", &[S]), ("third", &["192.0.2.3"])]);
    h.neigh(0, 0, S, None, Some(NudState::Reachable), Some(mac(9)));
    let announce = arp_request(mac(2), S, S);
    let id = h.tx(1_000_000, 1, &announce);
    h.rx(1_000_000, 0, id, &announce);
    h.neigh(1_000_000, 0, S, Some(NudState::Reachable), Some(NudState::Stale), Some(mac(2)));
    h.rx(1_000_000, 2, id, &announce);
    assert_eq!(
        of(&h.journal, "gratuitous"),
        [
            "The gratuitous ARP for 192.0.2.2 changed client's entry at once",
            "The gratuitous ARP for 192.0.2.2 was ignored by third, which had no entry for it"
        ]
    );
    assert!(decides(&h.journal).contains(&"net.ipv4.conf.all.arp_accept=0 third".to_string()));
}

#[test]
fn a_router_that_answers_for_another_host_is_a_proxy() {
    let mut h = routed();
    h.pass(0, 0, 1, &arp_request(mac(1), C, "198.51.100.1"));
    h.pass(0, 1, 0, &arp_reply(mac(2), mac(1), "198.51.100.1", C));
    h.pass(1000, 0, 1, &udp4((1, 2), (C, "198.51.100.1"), (40000, 9), b"x"));
    let on = udp4_how((4, 3), (C, "198.51.100.1"), (40000, 9), V4 { ttl: 63, ..V4::default() }, b"x");
    let id = h.tx_by(1000, 1, 3, &on);
    h.rx(1000, 2, id, &on);
    assert_eq!(
        of(&h.journal, "proxy-arp"),
        ["router answered for 198.51.100.1, which is server's, with its own address: proxy ARP"]
    );
    assert_eq!(
        of(&h.journal, "hop"),
        [
            "router forwarded the packet to 198.51.100.1: the same IP addresses, new MAC addresses, TTL 64 to 63"
        ]
    );
    assert!(of(&h.journal, "nat").is_empty());
}

#[test]
fn dad_and_slaac_are_tied_to_the_advert_and_the_probe() {
    use stack::record::AddrChange;
    let mut h = Hand::new(&[("client", &["fe80::1"]), ("router", &["fe80::2"])]);
    let advert = wire::icmpv6::Message::Ndp(ndp::Message::RouterAdvert(ndp::RouterAdvert {
        router_lifetime: 1800,
        ..ndp::RouterAdvert::default()
    }));
    let prefix = ndp::Opt::PrefixInfo(ndp::PrefixInfo {
        prefix_len: 64,
        on_link: true,
        autonomous: true,
        valid_lifetime: 3600,
        preferred_lifetime: 1800,
        prefix: "2001:db8::".parse().expect("v6"),
    });
    let mut option = vec![0; prefix.header_len()];
    prefix.emit(&mut option);
    let all_nodes = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
    h.pass(0, 1, 0, &icmp6((mac(2), all_nodes), ("fe80::2", "ff02::1"), advert, &option));
    let addr = ip("2001:db8::1");
    h.push(0, 0, What::Addr { ifindex: 2, addr, change: AddrChange::Tentative });
    let target = "2001:db8::1".parse().expect("v6");
    let probe = wire::icmpv6::Message::Ndp(ndp::Message::NeighborSolicit { target });
    let group = MacAddr([0x33, 0x33, 0xff, 0, 0, 1]);
    h.pass(400_000, 0, 1, &icmp6((mac(1), group), ("::", "ff02::1:ff00:1"), probe, &[]));
    h.push(1_400_000, 0, What::Addr { ifindex: 2, addr, change: AddrChange::Preferred });
    assert_eq!(
        of(&h.journal, "slaac"),
        ["client made 2001:db8::1 from the prefix 2001:db8::/64 that router advertised"]
    );
    assert_eq!(
        of(&h.journal, "dad-passed"),
        ["client asked whether anybody has 2001:db8::1, heard nothing for 1.4 s and uses it"]
    );
}

fn quoted_udp(dst: &str, how: V4) -> Vec<u8> {
    ipv4_packet(C, dst, wire::ip::Protocol::UDP, how, &udp_datagram((40000, 33434), b"x"))
}

#[test]
fn growing_ttls_are_a_traceroute_and_each_answer_has_its_packet() {
    let mut h = Hand::new(&[("client", &[C]), ("r1", &["192.0.2.254"]), ("r2", &["198.51.100.2"])]);
    let dst = "203.0.113.1";
    for (ttl, node, from) in [(1u8, 1u32, "192.0.2.254"), (2, 2, "198.51.100.2")] {
        let how = V4 { ttl, id: u16::from(ttl), ..V4::default() };
        let probe = udp4_how((1, 2), (C, dst), (40000, 33434), how, b"x");
        h.pass(u64::from(ttl) * 1000, 0, node, &probe);
        let exceeded = wire::icmpv4::Message::TimeExceeded { code: 0 };
        let error = icmp4((2, 1), (from, C), V4::default(), exceeded, &quoted_udp(dst, how));
        h.pass(u64::from(ttl) * 1000, node, 0, &error);
    }
    let j = h.journal;
    assert_eq!(
        of(&j, "traceroute"),
        [
            "Packets to 203.0.113.1 with growing TTL made each router on the way answer in turn: 1 192.0.2.254, 2 \
          198.51.100.2"
        ]
    );
    assert_eq!(
        of(&j, "icmp-error")[0],
        "The packet to 203.0.113.1 reached r1 with TTL 1, too few for another hop (time exceeded)"
    );
}

#[test]
fn a_learnt_path_mtu_leads_to_a_local_refusal() {
    // TRUTH 11f.
    let mut h = routed();
    let how = V4 { ttl: 64, ..V4::default() };
    let big = udp4_how((1, 2), (C, "198.51.100.1"), (40000, 33434), how, &[0; 1400]);
    h.pass(0, 0, 1, &big);
    let needed = wire::icmpv4::Message::DestinationUnreachable { code: 4, next_hop_mtu: 1000 };
    let error = icmp4((2, 1), ("192.0.2.254", C), V4::default(), needed, &quoted_udp("198.51.100.1", how));
    h.pass(0, 1, 0, &error);
    h.push(
        0,
        0,
        What::Route { text: "198.51.100.1 via 192.0.2.254 dev eth0 cache mtu 1000".into(), added: true },
    );
    let call = h.call(1_000_000, 0, "send(3, ..., 1400, 0)");
    h.returns(1_000_000, 0, call, "-1 EMSGSIZE (Message too long)");
    let j = h.journal;
    assert_eq!(
        of(&j, "pmtu-learnt"),
        [
            "The packet of 1428 bytes with DF did not fit the next link of router, which told client the MTU there: \
          1000"
        ]
    );
    assert_eq!(of(&j, "pmtu-remembered"), ["client remembers 1000 for this destination (a route exception)"]);
    assert_eq!(
        of(&j, "pmtu-refused"),
        ["From then on client refuses by itself: send() failed with EMSGSIZE and nothing was sent"]
    );
    assert!(of(&j, "pmtu-black-hole").is_empty());
}

#[test]
fn a_too_long_packet_without_a_message_is_a_black_hole() {
    let mut h = pair();
    let id = h.tx(0, 0, &udp4((1, 2), (C, S), (40000, 9), &[0; 1400]));
    h.push(0, 0, What::Lost { id, cause: stack::record::LossCause::LinkMtu });
    assert_eq!(
        of(&h.journal, "pmtu-black-hole"),
        ["1 packet longer than a link's MTU vanished there and nobody told the sender: a black hole"]
    );
}

#[test]
fn a_lost_fragment_costs_the_packet_and_the_timeout_is_told() {
    let mut h = pair();
    let first = V4 { id: 7, df: false, more: true, ..V4::default() };
    let datagram = udp_datagram((40000, 9), &[0; 2000]);
    let one = ipv4_packet(C, S, wire::ip::Protocol::UDP, first, &datagram[..1480]);
    let two = ipv4_packet(
        C,
        S,
        wire::ip::Protocol::UDP,
        V4 { offset: 1480, more: false, ..first },
        &datagram[1480..],
    );
    h.pass(0, 0, 1, &eth(mac(1), mac(2), wire::ethernet::EtherType::IPV4, &one));
    let id = h.tx(0, 0, &eth(mac(1), mac(2), wire::ethernet::EtherType::IPV4, &two));
    h.push(0, 0, What::Lost { id, cause: stack::record::LossCause::Random });
    h.push(30_000_000, 1, drop_of(stack::DropReason::FragReasmTimeout, None));
    let exceeded = wire::icmpv4::Message::TimeExceeded { code: 1 };
    h.pass(30_000_000, 1, 0, &icmp4((2, 1), (S, C), V4::default(), exceeded, &one));
    let j = h.journal;
    assert_eq!(
        of(&j, "fragmented"),
        ["client cut the packet at the source into 2 fragments with 1480 + 528 bytes"]
    );
    assert_eq!(
        of(&j, "fragment-lost"),
        ["1 of the 2 fragments was lost, and with it the whole packet: nobody repeats a fragment"]
    );
    assert_eq!(
        of(&j, "reassembly-timeout"),
        ["server waited in vain for the missing fragments, dropped the others and said so (reassembly time \
          exceeded)"]
    );
    assert!(decides(&j).contains(&"net.ipv4.ipfrag_time=30 server".to_string()));
    assert_eq!(of(&j, "link-loss"), ["1 packet was lost by chance (loss random)"]);
}

/// A datagram to a closed port; the second call tells what the program heard.
fn closed_port(connect: bool, second: &str) -> Journal {
    let mut h = pair();
    if connect {
        let call = h.call(0, 0, "connect(3, 192.0.2.2:9)");
        h.returns(0, 0, call, "0");
    }
    let text = if connect { "send(3, \"x\", 1, 0)" } else { "sendto(3, \"x\", 1, 0, 192.0.2.2:9)" };
    let call = h.call(0, 0, text);
    h.pass(0, 0, 1, &udp4((1, 2), (C, S), (40000, 9), b"x"));
    h.returns(0, 0, call, "1");
    let quoted = ipv4_packet(C, S, wire::ip::Protocol::UDP, V4::default(), &udp_datagram((40000, 9), b"x"));
    let unreachable = wire::icmpv4::Message::DestinationUnreachable { code: 3, next_hop_mtu: 0 };
    h.pass(1000, 1, 0, &icmp4((2, 1), (S, C), V4::default(), unreachable, &quoted));
    let call = h.call(2000, 0, text);
    h.returns(2000, 0, call, second);
    h.journal
}

#[test]
fn econnrefused_is_tied_to_the_icmp_error_and_only_connected_sockets_hear_it() {
    let j = closed_port(true, "-1 ECONNREFUSED (Connection refused)");
    assert_eq!(
        of(&j, "econnrefused"),
        [
            "client's send() returned ECONNREFUSED: that is the ICMP error, told because the socket is connected"
        ]
    );
    assert_eq!(
        of(&j, "icmp-error"),
        ["Nothing is bound to port 9 at server, which says so (port unreachable)"]
    );
    assert!(explain(&j).folklore.is_empty());
    let j = closed_port(false, "1");
    assert_eq!(
        of(&j, "error-not-told"),
        [
            "The ICMP error reached client, whose program was not told: its socket is not connected, and sendto() \
          had returned 1 long before"
        ]
    );
    assert_eq!(explain(&j).folklore[0].says, "sending UDP to a closed port returns an error");
}

#[test]
fn datagrams_lost_swapped_cut_and_dropped_are_counted() {
    let mut h = pair();
    h.journal.nodes[1].counters.push(("UdpRcvbufErrors".into(), 1));
    let data = |n: u8| udp4((1, 2), (C, S), (40000, 9), &[n]);
    let one = h.tx(0, 0, &data(1));
    let two = h.tx(1000, 0, &data(2));
    let three = h.tx(2000, 0, &data(3));
    h.rx(3000, 1, two, &data(2));
    h.rx(4000, 1, one, &data(1));
    h.push(4000, 1, drop_of(stack::DropReason::SocketRcvbuff, Some(one)));
    h.push(4000, 0, What::Lost { id: three, cause: stack::record::LossCause::QueueLimit { limit: 2 } });
    let call = h.call(5000, 1, "recvfrom(3, 100)");
    h.returns(5000, 1, call, "40 \"x\"... from 192.0.2.1:40000 MSG_TRUNC");
    let j = h.journal;
    assert_eq!(
        of(&j, "udp-lost"),
        ["1 of 3 datagrams from client to server port 9 was lost; UDP neither notices nor repeats"]
    );
    assert_eq!(
        of(&j, "udp-reordered"),
        [
            "Datagrams from client to server port 9 arrived in another order than they were sent; UDP does not mend \
          it"
        ]
    );
    assert_eq!(
        of(&j, "udp-overflow"),
        ["1 datagram that arrived was dropped at server because the socket's receive buffer was full \
          (UdpRcvbufErrors 1); the sender was not told"]
    );
    assert_eq!(
        of(&j, "udp-truncated"),
        ["server's recvfrom() got a datagram longer than its buffer: the rest is gone for good (MSG_TRUNC)"]
    );
}

#[test]
fn nat_shows_old_and_new_tuple() {
    let mut h = routed();
    h.pass(0, 0, 1, &udp4((1, 2), (C, "198.51.100.1"), (40000, 9), b"question"));
    let how = V4 { ttl: 63, ..V4::default() };
    let out = udp4_how((4, 3), ("198.51.100.254", "198.51.100.1"), (61000, 9), how, b"question");
    let id = h.tx_by(0, 1, 3, &out);
    h.rx(0, 2, id, &out);
    assert_eq!(
        of(&h.journal, "nat"),
        ["router translated the source 192.0.2.1:40000 to 198.51.100.254:61000"]
    );
}

#[test]
fn a_tunnel_costs_its_header() {
    let mut h = routed();
    let inner = ipv4_packet(
        "10.0.0.1",
        "10.0.1.1",
        wire::ip::Protocol::UDP,
        V4::default(),
        &udp_datagram((1, 2), b"hi"),
    );
    let outer =
        ipv4_packet("198.51.100.254", "198.51.100.1", wire::ip::Protocol::IPIP, V4::default(), &inner);
    let frame = eth(mac(4), mac(3), wire::ethernet::EtherType::IPV4, &outer);
    let id = h.tx_by(0, 1, 3, &frame);
    h.rx(0, 2, id, &frame);
    assert_eq!(
        of(&h.journal, "tunnel"),
        ["router wrapped the packet 10.0.0.1 > 10.0.1.1 in IPIP to 198.51.100.1: 20 bytes more"]
    );
}

#[test]
fn a_redirect_and_whether_it_was_followed() {
    let mut h = Hand::new(&[("client", &[C]), ("r1", &["192.0.2.254"]), ("r2", &["192.0.2.253"])]);
    let dst = "203.0.113.1";
    h.pass(0, 0, 1, &udp4((1, 2), (C, dst), (40000, 33434), b"x"));
    let message = wire::icmpv4::Message::Redirect { code: 1, gateway: v4("192.0.2.253") };
    let quoted = quoted_udp(dst, V4::default());
    h.pass(0, 1, 0, &icmp4((2, 1), ("192.0.2.254", C), V4::default(), message, &quoted));
    h.pass(1_000_000, 0, 2, &udp4((1, 3), (C, dst), (40000, 33434), b"y"));
    assert_eq!(
        of(&h.journal, "redirect"),
        ["r1 told client that 203.0.113.1 is better reached by 192.0.2.253 on the same link (redirect)"]
    );
    assert_eq!(of(&h.journal, "redirect-effect"), ["client followed it with its next packet"]);
}

#[test]
fn suppressed_icmp_errors_name_the_rate_limit() {
    let mut h = pair();
    h.push(0, 1, drop_of(stack::DropReason::IcmpRatelimit, None));
    h.push(1, 1, drop_of(stack::DropReason::IcmpRatelimit, None));
    assert_eq!(
        of(&h.journal, "icmp-ratelimit"),
        ["server sent 0 ICMP errors and kept 2 errors to itself: its rate limit"]
    );
    assert_eq!(decides(&h.journal), ["net.ipv4.icmp_ratelimit=1000 server"]);
}

#[test]
fn faults_are_tied_to_the_packets_they_met() {
    let mut h = pair();
    h.journal.faults.push("client: 1st udp".into());
    let id = h.tx(0, 0, &udp4((1, 2), (C, S), (40000, 9), b"x"));
    h.push(0, 0, What::Lost { id, cause: stack::record::LossCause::Fault(0) });
    let e = explain(&h.journal);
    assert_eq!(e.sentences[0].text, "Fault 1 dropped 1 packet");
    assert_eq!(e.sentences[0].refs, [Ref::Packet(1)]);
}

#[test]
fn a_group_is_joined_and_one_packet_reaches_its_members() {
    let mut h = Hand::new(&[("sender", &[C]), ("a", &["192.0.2.2"]), ("b", &["192.0.2.3"])]);
    let report = wire::igmp::Message::ReportV2 { group: v4("239.1.1.1") };
    let mut bytes = vec![0; 8];
    report.emit(&mut bytes);
    wire::igmp::set_checksum(&mut bytes);
    let group_mac = MacAddr([1, 0, 0x5e, 1, 1, 1]);
    let packet =
        ipv4_packet(S, "239.1.1.1", wire::ip::Protocol::IGMP, V4 { ttl: 1, ..V4::default() }, &bytes);
    h.pass(0, 1, 0, &eth(mac(2), group_mac, wire::ethernet::EtherType::IPV4, &packet));
    let data = ipv4_packet(
        C,
        "239.1.1.1",
        wire::ip::Protocol::UDP,
        V4 { ttl: 1, ..V4::default() },
        &udp_datagram((1, 2), b"x"),
    );
    let frame = eth(mac(1), group_mac, wire::ethernet::EtherType::IPV4, &data);
    let id = h.tx(1000, 0, &frame);
    h.rx(1000, 1, id, &frame);
    assert_eq!(of(&h.journal, "joined"), ["a said by IGMP that it wants 239.1.1.1"]);
    assert_eq!(of(&h.journal, "one-to-many"), ["What was sent to the group 239.1.1.1 reached a"]);
}

#[test]
fn the_explanation_as_text_cites_packets_and_keeps_its_width() {
    let text = explain(&closed_port(false, "1")).render(100);
    assert!(text.lines().all(|l| l.chars().count() <= 100), "{text}");
    assert!(text.starts_with("why       "), "{text}");
    assert!(text.contains("[#1, #2]"), "{text}");
    assert!(
        text.contains("folklore  \"sending UDP to a closed port returns an error\": no, sendto()"),
        "{text}"
    );
}

#[test]
fn a_router_that_cuts_is_told_from_one_that_passes_fragments_on() {
    let server = "198.51.100.1";
    let datagram = udp_datagram((40000, 9), &[0; 1392]);
    let piece = |ttl: u8, offset: u16, more: bool, id: u16, bytes: &[u8]| {
        let how = V4 { ttl, id, df: false, offset, more };
        ipv4_packet(C, server, wire::ip::Protocol::UDP, how, bytes)
    };
    let ether = |macs: (u8, u8), packet: &[u8]| {
        eth(mac(macs.0), mac(macs.1), wire::ethernet::EtherType::IPV4, packet)
    };
    let mut h = routed();
    h.pass(0, 0, 1, &ether((1, 2), &piece(64, 0, false, 5, &datagram)));
    h.tx_by(0, 1, 3, &ether((4, 3), &piece(63, 0, true, 5, &datagram[..976])));
    h.tx_by(0, 1, 3, &ether((4, 3), &piece(63, 976, false, 5, &datagram[976..])));
    assert_eq!(
        of(&h.journal, "fragmented"),
        ["router cut the packet on its way into 2 fragments with 976 + 424 bytes"]
    );
    // The next packet was cut by the client.
    h.pass(1000, 0, 1, &ether((1, 2), &piece(64, 0, true, 6, &datagram[..976])));
    h.pass(1000, 0, 1, &ether((1, 2), &piece(64, 976, false, 6, &datagram[976..])));
    h.tx_by(1000, 1, 3, &ether((4, 3), &piece(63, 0, true, 6, &datagram[..976])));
    h.tx_by(1000, 1, 3, &ether((4, 3), &piece(63, 976, false, 6, &datagram[976..])));
    assert_eq!(of(&h.journal, "fragmented").len(), 2);
    assert_eq!(
        of(&h.journal, "fragmented")[1],
        "client cut the packet at the source into 2 fragments with 976 + 424 bytes"
    );
}

#[test]
fn an_entry_that_a_command_removed_did_not_die_of_age() {
    let removed = |by_command: bool| {
        let mut h = pair();
        h.neigh(0, 0, S, None, Some(NudState::Stale), Some(mac(2)));
        if by_command {
            h.push(90_000_000, 0, What::Admin { text: "ip neigh flush dev eth0".into() });
        }
        h.neigh(90_000_000, 0, S, Some(NudState::Stale), None, None);
        of(&h.journal, "ageing-removed")
    };
    assert_eq!(removed(false), ["client forgot the entry for 192.0.2.2 after 90 s in which nobody used it"]);
    assert!(removed(true).is_empty());
}

#[test]
fn the_value_in_force_is_the_one_set_last_for_the_interface_concerned() {
    let mut h = pair();
    h.push(0, 1, What::Admin { text: "sysctl -w net.ipv4.conf.eth0.arp_accept=1".into() });
    h.pass(1000, 0, 1, &arp_request(mac(1), C, C));
    h.neigh(1000, 1, C, None, Some(NudState::Stale), Some(mac(1)));
    assert_eq!(decides(&h.journal), ["net.ipv4.conf.eth0.arp_accept=1 server"]);
}

#[test]
fn a_lost_message_about_the_mtu_is_a_black_hole_too() {
    let mut h = routed();
    let how = V4::default();
    h.pass(0, 0, 1, &udp4_how((1, 2), (C, "198.51.100.1"), (40000, 33434), how, &[0; 1400]));
    let needed = wire::icmpv4::Message::DestinationUnreachable { code: 4, next_hop_mtu: 1000 };
    let error = icmp4((2, 1), ("192.0.2.254", C), V4::default(), needed, &quoted_udp("198.51.100.1", how));
    let id = h.tx(0, 1, &error);
    h.push(0, 1, What::Lost { id, cause: stack::record::LossCause::Random });
    assert_eq!(
        of(&h.journal, "pmtu-black-hole"),
        [
            "The packet of 1428 bytes with DF did not fit the next link of router (MTU 1000), but the message about \
          it never reached client: a black hole"
        ]
    );
    assert!(of(&h.journal, "pmtu-learnt").is_empty());
}

/// The ICMP error about the first socket's datagram arrives; then a second socket's call fails.
fn two_sockets(calls: &[(&str, &str)]) -> Journal {
    let mut h = pair();
    let call = h.call(0, 0, "socket(AF_INET, SOCK_DGRAM, 0)");
    h.returns(0, 0, call, "3");
    let call = h.call(0, 0, "sendto(3, \"x\", 0, 192.0.2.2:9)");
    h.pass(0, 0, 1, &udp4((1, 2), (C, S), (40000, 9), b"x"));
    h.returns(0, 0, call, "1");
    let quoted = ipv4_packet(C, S, wire::ip::Protocol::UDP, V4::default(), &udp_datagram((40000, 9), b"x"));
    let unreachable = wire::icmpv4::Message::DestinationUnreachable { code: 3, next_hop_mtu: 0 };
    h.pass(1000, 1, 0, &icmp4((2, 1), (S, C), V4::default(), unreachable, &quoted));
    for (call, result) in calls {
        let call = h.call(1_000_000, 0, call);
        h.returns(1_000_000, 0, call, result);
    }
    h.journal
}

#[test]
fn an_error_on_loopback_is_not_the_icmp_error_of_another_socket() {
    let j = two_sockets(&[
        ("socket(AF_INET, SOCK_DGRAM, 0)", "4"),
        ("connect(4, 127.0.0.1:51)", "0"),
        ("send(4, \"q\", 0)", "1"),
        ("send(4, \"q\", 0)", "-1 ECONNREFUSED (Connection refused)"),
    ]);
    assert_eq!(
        of(&j, "econnrefused"),
        [
            "client's send() returned ECONNREFUSED: 127.0.0.1:51 is client itself, which refused without a packet \
          on any wire"
        ]
    );
    assert_eq!(of(&j, "error-not-told").len(), 1);
}

#[test]
fn an_error_that_nothing_ties_to_a_packet_is_not_explained() {
    let j = two_sockets(&[
        ("socket(AF_INET, SOCK_DGRAM, 0)", "4"),
        ("connect(4, 192.0.2.2:51)", "0"),
        ("send(4, \"192.0.2.2:9\", 0)", "-1 ECONNREFUSED (Connection refused)"),
    ]);
    assert!(of(&j, "econnrefused").is_empty());
    // A descriptor's number that was given out again is another socket.
    let j = two_sockets(&[
        ("close(3)", "0"),
        ("socket(AF_INET, SOCK_DGRAM, 0)", "3"),
        ("connect(3, 192.0.2.2:52)", "0"),
        ("send(3, \"q\", 0)", "-1 ECONNREFUSED (Connection refused)"),
    ]);
    assert!(of(&j, "econnrefused").is_empty());
}

#[test]
fn who_heard_of_a_failed_neighbour_is_the_socket_whose_packet_waited() {
    let run = |read: bool| {
        let mut h = pair();
        let call = |h: &mut Hand, at: u64, text: &str, result: &str| {
            let call = h.call(at, 0, text);
            h.returns(at, 0, call, result);
        };
        call(&mut h, 0, "socket(AF_INET, SOCK_DGRAM, 0)", "3");
        call(&mut h, 0, "sendto(3, \"0123456789\", 0, 192.0.2.2:9)", "10");
        call(&mut h, 0, "socket(AF_INET, SOCK_DGRAM, 0)", "4");
        call(&mut h, 0, "setsockopt(4, IPPROTO_IP, IP_RECVERR, 1)", "0");
        call(&mut h, 1, "sendto(4, \"boo\", 0, 192.0.2.99:99)", "3");
        h.tx(1, 0, &arp_request(mac(1), C, "192.0.2.99"));
        h.neigh(3_000_000, 0, "192.0.2.99", Some(NudState::Incomplete), Some(NudState::Failed), None);
        let datagram = udp_datagram((40001, 99), b"boo");
        let packet = ipv4_packet(C, "192.0.2.99", wire::ip::Protocol::UDP, V4::default(), &datagram);
        let reason = stack::DropReason::NeighFailed;
        h.push(3_000_000, 0, What::Drop { ifindex: 2, reason, id: None, packet: wire::Bytes::from(packet) });
        if read {
            let result = "3 \"boo\" from 192.0.2.99:99 MSG_ERRQUEUE [IP_RECVERR {ee_errno=EHOSTUNREACH, \
                          ee_origin=ICMP, ee_type=3, ee_code=1, ee_info=0, offender=192.0.2.1}]";
            call(&mut h, 3_500_000, "recvmsg(4, 100, MSG_ERRQUEUE)", result);
        }
        h.journal
    };
    assert_eq!(
        of(&run(true), "no-answer-error"),
        ["client's recvmsg() read EHOSTUNREACH from the error queue because of it"]
    );
    // Another socket's sendto() has nothing to do with it, and this one could have asked.
    assert!(of(&run(true), "no-answer-silent").is_empty());
    assert!(of(&run(false), "no-answer-silent").is_empty());
}

#[test]
fn a_reply_in_fragments_is_no_translation_of_its_request() {
    let server = "198.51.100.1";
    let mut h = routed();
    let echo = |macs, ends, how, reply: bool| {
        let message = if reply {
            wire::icmpv4::Message::EchoReply { id: 1, seq: 1 }
        } else {
            wire::icmpv4::Message::EchoRequest { id: 1, seq: 1 }
        };
        icmp4(macs, ends, how, message, &[7; 1000])
    };
    let request = V4 { id: 5, df: false, more: true, ..V4::default() };
    h.pass(0, 0, 1, &echo((1, 2), (C, server), request, false));
    let reply = V4 { id: 5, ttl: 63, ..request };
    h.tx_by(40_000, 1, 2, &echo((2, 1), (server, C), reply, true));
    assert!(of(&h.journal, "nat").is_empty());
    // Out by another interface, but a reply is no request.
    h.tx_by(40_000, 1, 3, &echo((4, 3), (server, C), reply, true));
    assert!(of(&h.journal, "nat").is_empty());
    let there = V4 { ttl: 63, ..request };
    h.tx_by(40_000, 1, 3, &echo((4, 3), ("198.51.100.254", server), there, false));
    assert_eq!(of(&h.journal, "nat"), ["router translated the source 192.0.2.1 to 198.51.100.254"]);
}

#[test]
fn an_advertisement_is_its_source_s_whoever_put_it_on_the_wire() {
    let made = |by: u32| {
        let mut h = Hand::new(&[("h", &[]), ("r", &["fe80::2"])]);
        let mut prefix = vec![3, 4, 64, 0xc0, 0, 0, 1, 0x2c, 0, 0, 0, 0xc8, 0, 0, 0, 0];
        prefix.extend("2001:db8::".parse::<std::net::Ipv6Addr>().expect("an address").octets());
        let advert = ndp::Message::RouterAdvert(ndp::RouterAdvert {
            hop_limit: 64,
            router_lifetime: 1800,
            ..ndp::RouterAdvert::default()
        });
        let message = wire::icmpv6::Message::Ndp(advert);
        let frame = icmp6((mac(2), mac(1)), ("fe80::2", "ff02::1"), message, &prefix);
        let id = h.tx(0, by, &frame);
        h.rx(0, 0, id, &frame);
        let addr = ip("2001:db8::1");
        h.push(0, 0, What::Addr { ifindex: 2, addr, change: AddrChange::Tentative });
        of(&h.journal, "slaac")
    };
    assert_eq!(made(1), ["h made 2001:db8::1 from the prefix 2001:db8::/64 that r advertised"]);
    assert_eq!(made(0), ["h made 2001:db8::1 from the prefix 2001:db8::/64 that fe80::2 advertised"]);
}

#[test]
fn many_resolutions_are_told_in_one_sentence_behind_what_is_particular() {
    let run = |n: u8, particular: bool| {
        let mut h = pair();
        for i in 0..n {
            let other = format!("192.0.2.{}", 10 + i);
            h.pass(u64::from(i), 0, 1, &arp_request(mac(1), C, &other));
            h.pass(u64::from(i), 1, 0, &arp_reply(mac(2), mac(1), &other, C));
        }
        if particular {
            h.pass(1000, 0, 1, &udp4((1, 2), (C, S), (40000, 9), b""));
        }
        sentences(&h.journal)
    };
    let told = run(3, true);
    assert!(told[0].starts_with("A datagram without data"), "{told:?}");
    assert_eq!(
        told[1..],
        ["3 link-layer addresses had to be asked for first, and all were told [#1 #2 #3 #4 #5 #6]"]
    );
    assert_eq!(run(2, true).len(), 3);
    // Nothing else happened: each is told.
    assert_eq!(run(3, false).len(), 3);
}
