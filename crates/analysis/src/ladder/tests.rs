use super::*;
use crate::build::*;
use stack::DropReason;
use stack::neigh::NudState;
use stack::record::{LossCause, NodeInfo, What};
use wire::ip::Protocol;
use wire::{MacAddr, icmpv4};

fn draw(journal: &Journal, unicode: bool) -> String {
    let title = Some("a-title · What does this show?".to_string());
    let text = Ladder::new(journal, &Options { title, ..Options::default() }).render(WIDTH, false, unicode);
    for line in text.lines() {
        assert!(canvas::width(line) <= WIDTH, "{line}");
        assert_eq!(line, line.trim_end());
    }
    text
}

/// Compares with `snapshots/NAME.txt`; with `BLESS=1` in the environment writes it.
fn pinned(name: &str, text: &str) {
    let path = format!("{}/src/ladder/snapshots/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, text).expect("the snapshots can be written");
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, wanted, "{path} differs:\n{text}");
}

#[test]
fn arp_resolution_reads_well_with_and_without_unicode() {
    pinned("arp-resolution", &draw(&arp_resolution(), true));
    pinned("arp-resolution-ascii", &draw(&arp_resolution(), false));
}

#[test]
fn ascii_has_no_other_characters_but_the_title_s() {
    let text = draw(&arp_resolution(), false);
    assert!(text.lines().skip(1).all(str::is_ascii), "{text}");
}

#[test]
fn a_loss_is_a_cross_with_its_cause_at_the_right() {
    let mut h = Hand::new(&[("client", &["192.0.2.1"]), ("server", &["192.0.2.2"])]);
    h.journal.faults.push("client: 1st udp.dstport==9".to_string());
    let data = udp4((1, 2), ("192.0.2.1", "192.0.2.2"), (40000, 9), b"hello");
    let id = h.tx(0, 0, &data);
    h.push(0, 0, What::Lost { id, cause: LossCause::Fault(0) });
    let id = h.tx(1_000_000, 0, &data);
    h.push(1_000_000, 0, What::Altered { id, how: "delayed 200 ms".into(), fault: None });
    h.rx(1_200_000, 1, id, &data);
    let drop =
        What::Drop { ifindex: 2, reason: DropReason::NoSocket, id: Some(id), packet: wire::Bytes::new() };
    h.push(1_200_000, 1, drop);
    let quoted = data.to_vec()[14..].to_vec();
    let message = icmpv4::Message::DestinationUnreachable { code: 3, next_hop_mtu: 0 };
    let error = icmp4((2, 1), ("192.0.2.2", "192.0.2.1"), V4::default(), message, &quoted);
    h.pass(1_200_000, 1, 0, &error);
    let id = h.tx(9_200_000, 1, &error);
    h.push(9_200_000, 1, What::Lost { id, cause: LossCause::QueueLimit { limit: 10 } });
    pinned("losses", &draw(&h.journal, true));
}

#[test]
fn three_hosts_have_lifelines_and_repeats_are_folded() {
    let hosts: [(&str, &[&str]); 3] =
        [("client", &["192.0.2.1"]), ("router", &["192.0.2.254"]), ("server", &["198.51.100.1"])];
    let ends = ("192.0.2.1", "198.51.100.1");
    let mut h = Hand::new(&hosts);
    h.iface(1, 3, 4, "198.51.100.254");
    for i in 0..12u64 {
        let at = i * 100_000;
        let call = h.call(at, 0, "sendto(3, \"x\", 1, 0, 198.51.100.1:9)");
        h.pass(at, 0, 1, &udp4((1, 2), ends, (40000, 9), b"x"));
        let two = udp4_how((4, 3), ends, (40000, 9), V4 { ttl: 63, ..V4::default() }, b"x");
        let id = h.tx_by(at, 1, 3, &two);
        h.rx(at + 5_000, 2, id, &two);
        h.returns(at, 0, call, "1");
    }
    h.neigh(1_300_000, 2, "198.51.100.254", None, Some(NudState::Stale), Some(mac(4)));
    let quoted = ipv4_packet(ends.0, ends.1, Protocol::UDP, V4::default(), &udp_datagram((40000, 9), b"x"));
    let message = icmpv4::Message::DestinationUnreachable { code: 3, next_hop_mtu: 0 };
    let error = icmp4((3, 4), ("198.51.100.1", "192.0.2.1"), V4::default(), message, &quoted);
    let id = h.tx(1_400_000, 2, &error);
    h.rx_by(1_400_000, 1, 3, id, &error);
    let id = h.tx(1_400_000, 1, &error);
    h.push(1_400_000, 1, What::Lost { id, cause: LossCause::Random });
    let call = h.call(1_500_000, 2, "recvfrom(3, 100)");
    h.returns(8_000_000, 2, call, "-1 EAGAIN (Resource temporarily unavailable)");
    pinned("lifelines", &draw(&h.journal, true));
    let unfolded = Options { unfold: true, ..Options::default() };
    let rows = Ladder::new(&h.journal, &unfolded).rows;
    assert_eq!(rows.iter().filter(|r| matches!(r.what, RowKind::Packet(_))).count(), 26);
}

/// Three hosts and an attacker on a switch, which floods and forwards.
fn switched() -> Journal {
    let hosts: [(&str, &[&str]); 4] = [
        ("client", &["192.0.2.1"]),
        ("server", &["192.0.2.2"]),
        ("third", &["192.0.2.3"]),
        ("mallory", &["192.0.2.66"]),
    ];
    let mut h = Hand::new(&hosts);
    h.journal.nodes.push(NodeInfo { name: "sw".into(), kind: NodeKind::Switch, ..NodeInfo::default() });
    let ask = arp_request(mac(1), "192.0.2.1", "192.0.2.2");
    let id = h.tx(0, 0, &ask);
    h.rx_by(1000, 4, 1, id, &ask);
    for host in 1..4 {
        let copy = h.tx_by(1000, 4, host + 1, &ask);
        h.rx(2000, host, copy, &ask);
    }
    let answer = arp_reply(mac(2), mac(1), "192.0.2.2", "192.0.2.1");
    let id = h.tx(2000, 1, &answer);
    h.rx_by(3000, 4, 2, id, &answer);
    let copy = h.tx_by(3000, 4, 1, &answer);
    h.rx(4000, 0, copy, &answer);
    h.neigh(4000, 0, "192.0.2.2", None, Some(NudState::Reachable), Some(mac(2)));
    let forged = arp_reply(mac(4), mac(1), "192.0.2.2", "192.0.2.1");
    let id = h.tx(5000, 3, &forged);
    h.rx_by(6000, 4, 4, id, &forged);
    h.push(6000, 4, What::Lost { id, cause: LossCause::ArpInspection });
    h.journal
}

#[test]
fn more_hosts_are_a_list_and_a_switch_is_part_of_the_wire() {
    pinned("switched", &draw(&switched(), true));
    let ladder = Ladder::new(&switched(), &Options::default());
    let first =
        ladder.rows.iter().find_map(|r| if let RowKind::Packet(p) = &r.what { Some(p) } else { None });
    assert_eq!(first.expect("a packet").to, [1, 2, 3]);
}

#[test]
fn a_changed_link_address_and_long_calls_are_shown_whole() {
    let mut h = Hand::new(&[("client", &["192.0.2.1"]), ("server", &["192.0.2.2"])]);
    h.neigh(0, 0, "192.0.2.2", None, Some(NudState::Reachable), Some(mac(2)));
    let forged = arp_reply(mac(9), mac(1), "192.0.2.2", "192.0.2.1");
    h.pass(1_000_000, 1, 0, &forged);
    h.neigh(1_000_000, 0, "192.0.2.2", Some(NudState::Reachable), Some(NudState::Stale), Some(mac(9)));
    let call = h.call(2_000_000, 1, "recvmsg(3, {msg_iov=[100], msg_control=256}, MSG_ERRQUEUE)");
    let result = "1 \"x\" from 192.0.2.2:9 {IP_RECVERR: ECONNREFUSED origin=ICMP type=3 code=3 offender=192.0.2.2} \
                  MSG_ERRQUEUE";
    h.returns(2_000_000, 1, call, result);
    h.push(2_123_456, 0, What::Note { text: "日本語 is wide, \u{7} is a bell".into() });
    pinned("wide", &draw(&h.journal, true));
}

#[test]
fn a_copy_made_on_the_wire_is_a_packet_of_its_sender() {
    let mut h = Hand::new(&[("client", &["192.0.2.1"]), ("server", &["192.0.2.2"])]);
    let data = udp4((1, 2), ("192.0.2.1", "192.0.2.2"), (40000, 9), b"hello");
    let id = h.tx(0, 0, &data);
    h.push(0, 0, What::Altered { id, how: "duplicated as #77".into(), fault: None });
    h.rx(10_000, 1, id, &data);
    h.rx(11_000, 1, stack::record::FrameId(77), &data);
    pinned("duplicate", &draw(&h.journal, true));
}

#[test]
fn colours_only_colour() {
    let journal = arp_resolution();
    let ladder = Ladder::new(&journal, &Options::default());
    let coloured = ladder.render(WIDTH, true, true);
    assert!(coloured.contains("\x1b[36m"));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some(at) = rest.find('\x1b') {
        plain.push_str(&rest[..at]);
        let end = rest[at..].find('m').expect("a colour ends") + at;
        rest = &rest[end + 1..];
    }
    plain.push_str(rest);
    assert_eq!(plain, ladder.render(WIDTH, false, true));
}

#[test]
fn ipv6_setting_itself_up_is_hidden_unless_ipv6_does_more() {
    let mut h = Hand::new(&[("client", &["192.0.2.1", "fe80::1"]), ("server", &["192.0.2.2"])]);
    let target = |text: &str| {
        let target = text.parse().expect("v6");
        wire::icmpv6::Message::Ndp(wire::ndp::Message::NeighborSolicit { target })
    };
    let group = MacAddr([0x33, 0x33, 0xff, 0, 0, 1]);
    let dad = icmp6((mac(1), group), ("::", "ff02::1:ff00:1"), target("fe80::1"), &[]);
    let addr = stack::record::AddrChange::Tentative;
    h.push(123, 0, What::Addr { ifindex: 2, addr: ip("fe80::1"), change: addr });
    h.push(123, 0, What::Timer { name: "dad", detail: "fe80::1".into() });
    let id = h.pass(123, 0, 1, &dad);
    let drop =
        What::Drop { ifindex: 2, reason: DropReason::NotSpecified, id: Some(id), packet: wire::Bytes::new() };
    h.push(123, 1, drop);
    h.pass(1000, 0, 1, &arp_request(mac(1), "192.0.2.1", "192.0.2.2"));
    let text = draw(&h.journal, true);
    assert_eq!(text.lines().filter(|l| l.contains("0.001 s")).count(), 1, "{text}");
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(
        text.ends_with("not shown: 1 packets with which IPv6 sets itself up on the links (#1)\n"),
        "{text}"
    );
    let global = icmp6((mac(1), group), ("::", "ff02::1:ff00:1"), target("2001:db8::1"), &[]);
    h.pass(2000, 0, 1, &global);
    assert!(draw(&h.journal, true).contains("NDP who has fe80::1 (DAD)"));
}

#[test]
fn rows_are_data() {
    let ladder = Ladder::new(&arp_resolution(), &Options::default());
    let json = serde_json::to_value(&ladder).expect("everything is serialisable");
    let packet = &json["rows"][1]["what"];
    assert_eq!(packet["row"], "packet");
    assert_eq!(packet["number"], 1);
    assert_eq!(packet["arrivals"][0]["at_ns"], 10_000_000);
    assert_eq!(packet["before"][1]["text"], "192.0.2.2 INCOMPLETE");
    assert_eq!(packet["after"][0]["text"], "192.0.2.1 STALE");
    assert_eq!(json["columns"][1]["name"], "server");
}

#[test]
fn any_journal_can_be_drawn_at_any_width() {
    // Nobody is there; somebody is but does nothing; packets to nobody; one host.
    draw(&Journal::default(), true);
    let mut h = Hand::new(&[("alone", &["192.0.2.1"])]);
    h.tx(0, 0, &arp_request(mac(1), "192.0.2.1", "192.0.2.2"));
    draw(&h.journal, true);
    for journal in [h.journal, switched(), arp_resolution()] {
        for width in [0, 60, 61, 80, 200] {
            let text = Ladder::new(&journal, &Options::default()).render(width, true, true);
            let plain = Ladder::new(&journal, &Options::default()).render(width, false, true);
            assert!(plain.lines().all(|l| canvas::width(l) <= width.max(60)), "{text}");
        }
    }
    let mut h = Hand::new(&[("a", &[]), ("b", &[])]);
    let id = h.tx(0, 0, &eth(MacAddr::ZERO, MacAddr::ZERO, wire::ethernet::EtherType(0x1234), &[1, 2, 3]));
    h.push(0, 1, What::Lost { id, cause: LossCause::NoPort });
    draw(&h.journal, true);
}

#[test]
fn setting_up_is_shown_only_when_asked_for() {
    let mut h = Hand::new(&[("client", &["192.0.2.1"]), ("server", &["192.0.2.2"])]);
    h.push(0, 0, What::Admin { text: "ip link set eth0 up".into() });
    h.push(0, 0, What::Link { ifindex: 2, up: true, carrier: true });
    h.push(
        0,
        0,
        What::Route { text: "local 192.0.2.1 dev eth0 table local proto kernel".into(), added: true },
    );
    h.pass(1000, 0, 1, &arp_request(mac(1), "192.0.2.1", "192.0.2.2"));
    h.push(2000, 0, What::Admin { text: "ip neigh flush all".into() });
    let rows = |setup| Ladder::new(&h.journal, &Options { setup, ..Options::default() }).rows.len();
    assert_eq!((rows(false), rows(true)), (2, 5));
}

#[test]
fn a_return_stands_behind_the_packet_that_caused_it_even_at_the_same_instant() {
    let mut h = Hand::new(&[("client", &["192.0.2.1"]), ("server", &["192.0.2.2"])]);
    let at_once = h.call(0, 0, "bind(3, 0.0.0.0:9)");
    h.returns(0, 0, at_once, "0");
    let call = h.call(0, 0, "recv(3, 100, 0)");
    h.pass(0, 1, 0, &udp4((2, 1), ("192.0.2.2", "192.0.2.1"), (9, 9), b"x"));
    h.returns(0, 0, call, "1 \"x\"");
    let ladder = Ladder::new(&h.journal, &Options::default());
    let words: Vec<String> = ladder
        .rows
        .iter()
        .map(|r| match &r.what {
            RowKind::Event(e) => e.text.clone(),
            RowKind::Packet(p) => format!("#{}", p.number),
            RowKind::Idle { .. } | RowKind::Folded { .. } => "…".to_string(),
        })
        .collect();
    assert_eq!(words, ["bind(3, 0.0.0.0:9) = 0", "recv(3, 100, 0)", "#1", "recv() = 1 \"x\""]);
}

#[test]
fn packets_that_come_to_wait_together_are_counted_in_one_row() {
    let mut h = Hand::new(&[("client", &["192.0.2.1"]), ("server", &["192.0.2.2"])]);
    for queued in 1..=3 {
        h.push(0, 0, What::NeighQueued { ifindex: 2, addr: ip("192.0.2.2"), queued });
    }
    let rows = Ladder::new(&h.journal, &Options::default()).rows;
    assert_eq!(rows.len(), 1);
    assert!(matches!(&rows[0].what, RowKind::Event(e) if e.text == "3 packets wait for 192.0.2.2"));
    assert_eq!(rows[0].records, [0, 1, 2]);
}

#[test]
fn binary_strings_in_calls_are_cut_between_escapes() {
    let long = format!("sendto(3, \"{}\"..., 0, 192.0.2.1:0)", "\\x08".repeat(32));
    assert_eq!(events::abridged(&long), "sendto(3, \"\\x08\\x08\\x08\\x08\"..., 0, 192.0.2.1:0)");
    let text = "send(3, \"a text without any escapes stays whole, however long it is\", 0)";
    assert_eq!(events::abridged(text), text);
    let quotes = r#"send(3, "say \"hi\" \x00", 0)"#;
    assert_eq!(events::abridged(quotes), quotes);
    assert_eq!(events::abridged("an \"open end"), "an \"open end");
}

#[test]
fn a_command_s_calls_are_shown_unfolded_only_but_for_surprises() {
    let mut h = Hand::new(&[("client", &["192.0.2.1"]), ("server", &["192.0.2.2"])]);
    h.journal.nodes[0].programs = vec!["ping".to_string()];
    let call = h.call(0, 0, "socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)");
    h.returns(0, 0, call, "3");
    h.pass(1000, 0, 1, &udp4((1, 2), ("192.0.2.1", "192.0.2.2"), (1, 2), b"x"));
    let text = draw(&h.journal, false);
    assert!(!text.contains("socket(") && text.contains("UDP 1 > 2"), "{text}");
    let ladder = Ladder::new(&h.journal, &Options { unfold: true, ..Options::default() });
    assert!(ladder.render(WIDTH, false, false).contains("socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) = 3"));
    let unexpected = Some("expected 4".to_string());
    let what = What::Return { program: 0, seq: call, text: "3".into(), unexpected };
    h.push(2000, 0, what);
    assert!(draw(&h.journal, false).contains("UNEXPECTED"));
}
