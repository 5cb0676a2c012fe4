//! Links, switches and faults, between nodes that are played by the test.

use core::time::Duration;

use sim::fault::{Forge, Release};
use sim::{
    Fault, FaultAction, Impairment, LinkConfig, LinkState, RunEnd, RunLimit, SwitchConfig, World, WorldConfig,
};
use stack::record::{IfIndex, LossCause, NodeId, NodeKind, What};
use wire::ethernet::{EtherType, Header};
use wire::{Frame, Instant, MacAddr, Medium, arp};

type Nic = (NodeId, IfIndex);

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

fn world(seed: u64) -> World {
    World::new(WorldConfig { seed, record: true, check: true })
}

fn external(world: &mut World, name: &str, n: u8) -> Nic {
    let node = world.add_external(name, NodeKind::Linux("6.18".into()));
    (node, world.add_nic(node, "eth0", Medium::Ethernet, mac(n), 1500))
}

/// `client` and `server` with a link between them.
fn pair(seed: u64, config: LinkConfig) -> (World, Nic, Nic) {
    let mut world = world(seed);
    let client = external(&mut world, "client", 1);
    let server = external(&mut world, "server", 2);
    world.connect(client, server, config);
    (world, client, server)
}

/// A UDP datagram that carries `tag`, from the node with MAC address `src`.
fn datagram(src: u8, dst: u8, tag: u8) -> Frame {
    let payload = [0, 9, 0, 9, 0, 9, 0, 0, tag];
    let mut f = Frame::with_headroom(34, payload.len());
    f.put(&payload);
    let [src_ip, dst_ip] = [src, dst].map(|n| std::net::Ipv4Addr::new(192, 0, 2, n));
    let header = wire::ipv4::Header {
        src: src_ip,
        dst: dst_ip,
        protocol: wire::ip::Protocol::UDP,
        total_len: 29,
        ..Default::default()
    };
    header.emit(f.push(20));
    Header { dst: mac(dst), src: mac(src), vlan: None, ethertype: EtherType::IPV4 }.emit(f.push(14));
    f
}

fn tag(frame: &Frame) -> u8 {
    *frame.to_vec().last().unwrap()
}

/// When each tagged datagram arrived, in order of arrival.
fn arrivals(world: &mut World) -> Vec<(u64, u8)> {
    let mut seen = Vec::new();
    loop {
        while let Some((_, _, frame)) = world.poll_external() {
            seen.push((world.now().as_nanos() / 1_000_000, tag(&frame)));
        }
        if world.step().is_none() {
            return seen;
        }
    }
}

fn fault(world: &mut World, text: &str, action: FaultAction) -> usize {
    let fault = Fault::parse(text, action, world).unwrap_or_else(|e| panic!("{text}: {e}"));
    world.add_fault(fault)
}

fn losses(world: &World) -> Vec<LossCause> {
    let lost = |record: &stack::record::Record| match &record.what {
        What::Lost { cause, .. } => Some(cause.clone()),
        _ => None,
    };
    world.journal().records.iter().filter_map(lost).collect()
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_packet_arrives_after_the_delay_under_the_id_it_left_with() {
    let (mut world, client, server) = pair(1, LinkConfig::with_delay(10 * MS));
    world.inject(client.0, client.1, datagram(1, 2, 7));
    assert_eq!(arrivals(&mut world), [(10, 7)]);
    let records = &world.journal().records;
    let What::Tx { id: left, frame: sent, .. } = &records[0].what else { panic!("{:?}", records[0]) };
    let What::Rx { id: arrived, frame: got, .. } = &records[1].what else { panic!("{:?}", records[1]) };
    assert_eq!((left, sent), (arrived, got));
    assert_eq!((records[0].node, records[1].node), (client.0, server.0));
    assert_eq!(records[1].at, Instant::from_millis(10));
}

#[test]
fn a_fault_drops_the_packet_of_its_number_and_counts_its_hits() {
    let (mut world, client, server) = pair(1, LinkConfig::default());
    let dropped = fault(&mut world, "client->server: 2nd udp", FaultAction::Drop);
    let never = fault(&mut world, "server: arp", FaultAction::Drop);
    for n in 1..=3 {
        world.inject(client.0, client.1, datagram(1, 2, n));
        world.inject(server.0, server.1, datagram(2, 1, 10 + n));
    }
    let tags: Vec<u8> = arrivals(&mut world).iter().map(|(_, tag)| *tag).collect();
    assert_eq!(tags, [1, 11, 12, 3, 13]);
    assert_eq!(losses(&world), [LossCause::Fault(0)]);
    assert_eq!((world.fault_hits()[dropped], world.fault_hits()[never]), (1, 0));
}

#[test]
fn delay_hold_and_duplicate_change_the_order_and_nothing_else() {
    let run = |action| {
        let (mut world, client, _) = pair(1, LinkConfig::with_delay(10 * MS));
        fault(&mut world, "client: 2nd udp", action);
        for n in 1..=4 {
            world.inject(client.0, client.1, datagram(1, 2, n));
        }
        arrivals(&mut world)
    };
    assert_eq!(run(FaultAction::Delay(5 * MS)), [(10, 1), (10, 3), (10, 4), (15, 2)]);
    let behind = |n| FaultAction::Hold(Release::AfterPackets(n));
    assert_eq!(run(behind(1)), [(10, 1), (10, 3), (10, 2), (10, 4)]);
    assert_eq!(run(behind(2)), [(10, 1), (10, 3), (10, 4), (10, 2)]);
    assert_eq!(run(behind(9)), [(10, 1), (10, 3), (10, 4)], "held for ever");
    let until = FaultAction::Hold(Release::At(Instant::from_millis(3)));
    assert_eq!(run(until), [(10, 1), (10, 3), (10, 4), (13, 2)]);
    assert_eq!(run(FaultAction::Duplicate(1)), [(10, 1), (10, 2), (10, 2), (10, 3), (10, 4)]);
}

#[test]
fn corruption_inverts_the_byte_that_was_named() {
    let (mut world, client, _) = pair(1, LinkConfig::default());
    let last = u32::try_from(datagram(1, 2, 0).len()).unwrap() - 1;
    fault(&mut world, "udp", FaultAction::Corrupt { at: Some(last) });
    world.inject(client.0, client.1, datagram(1, 2, 0x0f));
    assert_eq!(arrivals(&mut world), [(0, 0xf0)]);
}

#[test]
fn a_forged_arp_reply_arrives_at_who_asked() {
    let (mut world, client, server) = pair(1, LinkConfig::with_delay(MS));
    fault(
        &mut world,
        "client: arp",
        FaultAction::Forge { reply: Forge::ArpReply { mac: mac(66) }, instead: true },
    );
    let request = arp::Packet {
        operation: arp::Operation::REQUEST,
        sender_mac: mac(1),
        sender_ip: [192, 0, 2, 1].into(),
        target_mac: MacAddr::ZERO,
        target_ip: [192, 0, 2, 2].into(),
    };
    let mut f = Frame::with_headroom(14, 28);
    request.emit(f.put_zeroed(28));
    Header { dst: MacAddr::BROADCAST, src: mac(1), vlan: None, ethertype: EtherType::ARP }.emit(f.push(14));
    world.inject(client.0, client.1, f);
    world.run_until(Instant::from_secs(1));
    let (node, _, frame) = world.poll_external().expect("an answer");
    assert_eq!(node, client.0);
    let (reply, _) = arp::Packet::parse(&frame.to_vec()[14..]).unwrap();
    assert_eq!((reply.sender_mac, reply.sender_ip), (mac(66), request.target_ip));
    assert_eq!(world.poll_external().map(|(node, ..)| node), None, "nothing for {server:?}");
}

#[test]
fn a_forged_icmp_error_quotes_the_packet_and_comes_from_the_destination() {
    let (mut world, client, _) = pair(1, LinkConfig::default());
    let reply = Forge::Icmp { from: None, ty: 3, code: 3, rest: 0 };
    fault(&mut world, "client: udp", FaultAction::Forge { reply, instead: true });
    let sent = datagram(1, 2, 7);
    world.inject(client.0, client.1, sent.clone());
    world.run_until(Instant::from_secs(1));
    let (_, _, frame) = world.poll_external().expect("an answer");
    let bytes = frame.to_vec();
    let (ip, n) = wire::ipv4::Header::parse(&bytes[14..]).unwrap();
    assert_eq!((ip.src.octets()[3], ip.dst.octets()[3]), (2, 1));
    let icmp = &bytes[14 + n..];
    assert!(wire::icmpv4::verify_checksum(icmp));
    assert_eq!(icmp[8..], sent.to_vec()[14..]);
}

#[test]
fn a_pulled_cable_loses_what_is_on_it_and_plugged_in_again_it_works() {
    let schedule =
        vec![(Instant::from_millis(5), LinkState::Down), (Instant::from_millis(20), LinkState::Up)];
    let config = LinkConfig { schedule, ..LinkConfig::with_delay(10 * MS) };
    let (mut world, client, _) = pair(1, config);
    for (at, n) in [(0, 1), (7, 2), (25, 3)] {
        world.run_until(Instant::from_millis(at));
        world.inject(client.0, client.1, datagram(1, 2, n));
    }
    assert_eq!(arrivals(&mut world), [(35, 3)]);
    assert_eq!(losses(&world), [LossCause::LinkDown, LossCause::LinkDown]);
}

#[test]
fn a_cut_by_a_fault_lasts_as_long_as_it_says() {
    let (mut world, client, _) = pair(1, LinkConfig::default());
    let cut = FaultAction::CutLink { duration: 10 * MS, state: LinkState::Silent };
    fault(&mut world, "client: udp", cut);
    for (at, n) in [(0, 1), (9, 2), (11, 3)] {
        world.run_until(Instant::from_millis(at));
        world.inject(client.0, client.1, datagram(1, 2, n));
    }
    assert_eq!(arrivals(&mut world), [(11, 3)]);
    assert_eq!(losses(&world), [LossCause::Fault(0), LossCause::LinkDown]);
}

#[test]
fn a_link_mtu_counts_from_the_ip_header() {
    let (mut world, client, _) = pair(1, LinkConfig { mtu: Some(28), ..LinkConfig::default() });
    world.inject(client.0, client.1, datagram(1, 2, 1));
    assert_eq!(arrivals(&mut world), []);
    assert_eq!(losses(&world), [LossCause::LinkMtu]);
    let (mut world, client, _) = pair(1, LinkConfig { mtu: Some(29), ..LinkConfig::default() });
    world.inject(client.0, client.1, datagram(1, 2, 1));
    assert_eq!(arrivals(&mut world), [(0, 1)]);
}

#[test]
fn jitter_reorders_and_without_it_order_is_kept() {
    let run = |jitter| {
        let config = LinkConfig::symmetric(Impairment { delay: 10 * MS, jitter, ..Default::default() });
        let (mut world, client, _) = pair(1, config);
        for n in 0..50 {
            world.inject(client.0, client.1, datagram(1, 2, n));
        }
        arrivals(&mut world).iter().map(|(_, tag)| *tag).collect::<Vec<_>>()
    };
    assert_eq!(run(Duration::ZERO), (0..50).collect::<Vec<_>>());
    let mixed = run(5 * MS);
    assert_ne!(mixed, (0..50).collect::<Vec<_>>());
    assert_eq!(mixed.len(), 50);
}

#[test]
fn a_switch_floods_once_and_then_knows() {
    let mut world = world(1);
    let switch = world.add_switch("switch", SwitchConfig::default());
    for n in 1..=3 {
        let host = external(&mut world, &format!("host{n}"), n);
        let port = world.add_nic(switch, &format!("p{n}"), Medium::Ethernet, MacAddr::ZERO, 1500);
        world.connect(host, (switch, port), LinkConfig::with_delay(MS));
    }
    let mut send = |from: u8, to: u8| {
        let node = NodeId(u32::from(from));
        world.inject(node, 2, datagram(from, to, from));
        while world.step().is_some() {}
        let mut reached = Vec::new();
        while let Some((node, ..)) = world.poll_external() {
            reached.push(node.0);
        }
        reached
    };
    assert_eq!(send(1, 2), [2, 3]);
    assert_eq!(send(2, 1), [1]);
    assert_eq!(send(1, 2), [2]);
    let journal = world.finish();
    let fdb = &journal.nodes[0].tables[0];
    assert_eq!(fdb.0, "bridge fdb");
    assert_eq!(fdb.1, "02:00:00:00:00:01 dev p1 vlan 1\n02:00:00:00:00:02 dev p2 vlan 1\n");
}

/// A run that draws from every stream of randomness.
fn noisy(seed: u64, extra_fault: bool) -> (Vec<(u64, u8)>, String) {
    let noisy = Impairment {
        delay: 10 * MS,
        jitter: 3 * MS,
        loss_ppm: 100_000,
        duplicate_ppm: 100_000,
        corrupt_ppm: 100_000,
        reorder_ppm: 100_000,
        rate: Some(1_000_000),
        ..Default::default()
    };
    let (mut world, client, _) = pair(seed, LinkConfig::symmetric(noisy));
    if extra_fault {
        fault(&mut world, "server: every udp", FaultAction::Corrupt { at: None });
    }
    for n in 0..100 {
        world.inject(client.0, client.1, datagram(1, 2, n));
    }
    let seen = arrivals(&mut world);
    (seen, format!("{:?}", world.finish().records))
}

#[test]
fn one_seed_is_one_run_and_another_seed_is_another() {
    assert_eq!(noisy(1, false), noisy(1, false));
    assert_ne!(noisy(1, false).0, noisy(2, false).0);
    assert_eq!(noisy(1, false).0, noisy(1, true).0, "a fault elsewhere changes nothing here");
}

#[test]
fn a_run_ends_when_nothing_is_left_to_happen() {
    let (mut world, client, _) = pair(1, LinkConfig::with_delay(10 * MS));
    world.inject(client.0, client.1, datagram(1, 2, 7));
    let limit = RunLimit { settle: None, ..RunLimit::default() };
    assert_eq!(world.run(&limit), RunEnd::Quiet);
    assert_eq!(world.now(), Instant::from_millis(10));
    world.inject(client.0, client.1, datagram(1, 2, 7));
    let limit = RunLimit { until: Instant::from_millis(15), ..limit };
    assert_eq!(world.run(&limit), RunEnd::TimeLimit);
    assert_eq!(world.now(), Instant::from_millis(15));
}

#[test]
fn a_fault_between_nodes_without_a_link_says_what_to_write() {
    let mut world = world(1);
    let switch = world.add_switch("switch", SwitchConfig::default());
    for n in 1..=2 {
        let host = external(&mut world, &format!("host{n}"), n);
        let port = world.add_nic(switch, &format!("p{n}"), Medium::Ethernet, MacAddr::ZERO, 1500);
        world.connect(host, (switch, port), LinkConfig::default());
    }
    let error = Fault::parse("host1->host2: arp", FaultAction::Drop, &world).unwrap_err();
    assert_eq!(error.span, 0..12);
    assert!(error.hint.unwrap().contains("`->host2:`"));
    let error = Fault::parse("hosst1: arp", FaultAction::Drop, &world).unwrap_err();
    assert_eq!((error.span, error.hint), (0..6, Some("did you mean `host1`?".into())));
    assert!(Fault::parse("host1->switch: arp", FaultAction::Drop, &world).is_ok());
}

/// `host` at the first of `switches` switches, neighbours of which are joined by `links` cables each.
fn switches_in_a_row(switches: usize, links: usize) -> (World, Nic) {
    let mut world = world(1);
    let host = external(&mut world, "host", 1);
    let mut row = Vec::new();
    for n in 0..switches {
        row.push(world.add_switch(&format!("s{n}"), SwitchConfig::default()));
    }
    let port = |world: &mut World, node: NodeId, name: String| {
        (node, world.add_nic(node, &name, Medium::Ethernet, MacAddr::ZERO, 1500))
    };
    let first = port(&mut world, row[0], "host".into());
    world.connect(host, first, LinkConfig { name: "l1".into(), ..LinkConfig::default() });
    for pair in row.windows(2) {
        for n in 2..links + 2 {
            let a = port(&mut world, pair[0], format!("to{n}"));
            let b = port(&mut world, pair[1], format!("from{n}"));
            world.connect(a, b, LinkConfig { name: format!("l{n}"), ..LinkConfig::default() });
        }
    }
    (world, host)
}

#[test]
fn a_loop_of_switches_ends_the_run_and_names_its_links() {
    let (mut world, host) = switches_in_a_row(2, 2);
    world.inject(host.0, host.1, datagram(1, 2, 7));
    let limit = RunLimit { settle: None, ..RunLimit::default() };
    assert_eq!(world.run(&limit), RunEnd::Storm);
    let text = world.storm().unwrap();
    assert!(text.starts_with("a frame passed 256 switches"), "{text}");
    assert!(text.ends_with("frames in flight: a loop of switches? links l2, l3"), "{text}");
    assert_eq!(world.next_event(), None, "nothing happens any more");
    assert!(world.finish().records.len() < 10_000);
}

#[test]
fn packets_that_multiply_end_the_run_before_they_fill_the_memory() {
    let (mut world, host) = switches_in_a_row(2, 9);
    world.inject(host.0, host.1, datagram(1, 2, 7));
    let limit = RunLimit { settle: None, ..RunLimit::default() };
    assert_eq!(world.run(&limit), RunEnd::Storm);
    let text = world.storm().unwrap();
    let in_flight: usize = text.split(' ').next().unwrap().parse().expect("a number first");
    assert!((sim::MAX_STORM..sim::MAX_STORM * 2).contains(&in_flight), "{text}");
}

#[test]
fn a_long_row_of_switches_is_no_loop() {
    let (mut world, host) = switches_in_a_row(usize::from(sim::MAX_SWITCHES) + 10, 1);
    world.inject(host.0, host.1, datagram(1, 2, 7));
    let limit = RunLimit { settle: None, ..RunLimit::default() };
    assert_eq!(world.run(&limit), RunEnd::Quiet);
    assert_eq!(world.storm(), None);
}

/// In real time packets come in by `inject` and nothing else may happen for a long time.
#[test]
fn a_cut_is_told_to_external_nodes_at_once_and_so_is_its_end() {
    let (mut world, client, server) = pair(1, LinkConfig::default());
    let cut = FaultAction::CutLink { duration: Duration::from_secs(2), state: LinkState::Down };
    let fault = Fault::parse("client->server: 2nd udp", cut, &world).unwrap();
    world.add_fault(fault);
    world.inject(client.0, client.1, datagram(1, 2, 1));
    assert_eq!(world.poll_carrier(), None);
    world.inject(client.0, client.1, datagram(1, 2, 2));
    let both = |up| [(client.0, client.1, up), (server.0, server.1, up)].map(Some);
    assert_eq!([world.poll_carrier(), world.poll_carrier()], both(false));
    world.advance_to(Instant::from_secs(2));
    assert_eq!([world.poll_carrier(), world.poll_carrier()], both(true));
    assert_eq!(world.poll_carrier(), None);
}
