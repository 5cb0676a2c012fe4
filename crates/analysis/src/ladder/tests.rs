use super::*;
use crate::build::*;
use stack::DropReason;
use stack::neigh::NudState;
use stack::record::{LossCause, What};
use wire::icmpv4;
use wire::ip::Protocol;

fn draw(journal: &Journal, unicode: bool) -> String {
    let text = Ladder::new(journal, &Options::default()).render(WIDTH, false, unicode);
    for line in text.lines() {
        assert!(canvas::width(line) <= WIDTH, "{line}");
    }
    text
}

#[test]
fn arp_resolution_reads_well() {
    println!("{}", draw(&arp_resolution(), true));
    println!("{}", draw(&arp_resolution(), false));
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
    h.push(
        1_200_000,
        1,
        What::Drop { ifindex: 2, reason: DropReason::NoSocket, id: Some(id), packet: wire::Bytes::new() },
    );
    let quoted = data.to_vec()[14..].to_vec();
    let message = icmpv4::Message::DestinationUnreachable { code: 3, next_hop_mtu: 0 };
    let error = icmp4((2, 1), ("192.0.2.2", "192.0.2.1"), V4::default(), message, &quoted);
    h.pass(1_200_000, 1, 0, &error);
    let id = h.tx(9_200_000, 1, &error);
    h.push(9_200_000, 1, What::Lost { id, cause: LossCause::QueueLimit { limit: 10 } });
    println!("{}", draw(&h.journal, true));
}

#[test]
fn three_hosts_have_lifelines_and_repeats_are_folded() {
    let mut h =
        Hand::new(&[("client", &["192.0.2.1"]), ("router", &["192.0.2.254"]), ("server", &["198.51.100.1"])]);
    h.iface(1, 3, 4, "198.51.100.254");
    for i in 0..12u64 {
        let at = i * 100_000;
        let call = h.call(at, 0, "sendto(3, \"x\", 1, 0, 198.51.100.1:9)");
        let one = udp4((1, 2), ("192.0.2.1", "198.51.100.1"), (40000, 9), b"x");
        h.pass(at, 0, 1, &one);
        let two = udp4_how(
            (4, 3),
            ("192.0.2.1", "198.51.100.1"),
            (40000, 9),
            V4 { ttl: 63, ..V4::default() },
            b"x",
        );
        let id = h.tx_by(at, 1, 3, &two);
        h.rx(at + 5_000, 2, id, &two);
        h.returns(at, 0, call, "1");
    }
    h.neigh(1_300_000, 2, "198.51.100.254", None, Some(NudState::Stale), Some(mac(4)));
    let quoted = ipv4_packet(
        "192.0.2.1",
        "198.51.100.1",
        Protocol::UDP,
        V4::default(),
        &udp_datagram((40000, 9), b"x"),
    );
    let message = icmpv4::Message::DestinationUnreachable { code: 3, next_hop_mtu: 0 };
    let error = icmp4((3, 4), ("198.51.100.1", "192.0.2.1"), V4::default(), message, &quoted);
    let id = h.tx(1_400_000, 2, &error);
    h.rx_by(1_400_000, 1, 3, id, &error);
    let call = h.call(1_500_000, 2, "recvfrom(3, 100)");
    h.returns(8_000_000, 2, call, "-1 EAGAIN (Resource temporarily unavailable)");
    println!("{}", draw(&h.journal, true));
    println!("{}", draw(&h.journal, false));
}
