use super::*;
use crate::build::*;
use stack::neigh::NudState;
use stack::record::What;
use wire::icmpv4::Message;

/// The same exchange as a kernel would have it: another MAC address, other ports, ids and times.
fn as_on_linux(journal: &Journal, late_us: u64) -> Journal {
    let mut twin = journal.clone();
    for node in &mut twin.nodes {
        for iface in &mut node.ifaces {
            iface.mac.0[1] = 0x42;
        }
    }
    for r in &mut twin.records {
        r.at += Duration::from_micros(late_us);
        match &mut r.what {
            What::Tx { frame, .. } | What::Rx { frame, .. } => {
                let mut bytes = frame.to_vec();
                let mut at = 0;
                while at + 6 <= bytes.len() {
                    if bytes[at..at + 5] == [2, 0, 0, 0, 0] && matches!(bytes[at + 5], 1 | 2) {
                        bytes[at + 1] = 0x42;
                    }
                    at += 1;
                }
                if bytes[12..14] == [8, 0] {
                    bytes[18..20].copy_from_slice(&[0xab, 0xcd]);
                    bytes[34..36].copy_from_slice(&51000u16.to_be_bytes());
                }
                *frame = wire::Frame::from_vec(bytes);
            }
            What::Neigh { lladdr: Some(mac), .. } => mac.0[1] = 0x42,
            _ => {}
        }
    }
    twin
}

#[test]
fn names_ports_ids_and_noise_do_not_count() {
    let stack = arp_resolution();
    let c = compare(&stack, &as_on_linux(&stack, 700), &Tolerance::wheel(250));
    assert!(c.agree, "{}", c.render(100));
    assert_eq!((c.packets, c.calls, c.states), (3, 1, 2));
    assert_eq!(c.largest_skew_ns, 700_000);
}

#[test]
fn a_missing_packet_is_the_first_difference() {
    let stack = arp_resolution();
    let mut linux = as_on_linux(&stack, 0);
    let last_tx =
        linux.records.iter().rposition(|r| matches!(r.what, What::Tx { .. })).expect("there is one");
    linux.records.truncate(last_tx);
    let c = compare(&stack, &linux, &Tolerance::wheel(250));
    assert!(!c.agree);
    assert_eq!(c.differences[0].what, "only the stack has: UDP 40000 > 9 len 5 \"hello\"");
    let text = c.render(100);
    assert!(text.lines().all(|l| l.chars().count() <= 100), "{text}");
    assert!(text.contains("! 0.020000 UDP 40000 > 9 len 5"), "{text}");
}

#[test]
fn a_changed_field_is_named() {
    let stack = arp_resolution();
    let mut linux = stack.clone();
    for r in &mut linux.records {
        if let What::Tx { frame, .. } | What::Rx { frame, .. } = &mut r.what {
            let mut bytes = frame.to_vec();
            if bytes[12..14] == [8, 0] {
                bytes[22] = 128;
            }
            *frame = wire::Frame::from_vec(bytes);
        }
    }
    let c = compare(&stack, &linux, &Tolerance::wheel(250));
    assert_eq!(c.differences.len(), 1);
    assert!(c.differences[0].what.contains("`64` (stack) and `128` (kernel)"), "{:?}", c.differences);
}

#[test]
fn later_than_the_wheel_and_the_noise_is_a_difference() {
    let stack = arp_resolution();
    let c = compare(&stack, &as_on_linux(&stack, 200_000), &Tolerance::wheel(250));
    assert!(!c.agree);
    assert!(c.differences[0].what.contains("later"), "{:?}", c.differences[0]);
}

#[test]
fn nothing_happens_earlier_than_with_ideal_timers() {
    let ideal = arp_resolution();
    let stack = as_on_linux(&ideal, 30_000);
    let tolerance = Tolerance::wheel(250);
    // The wheels are out of phase: the stack's timer fired 30 ms late, the kernel's only 10.
    let linux = as_on_linux(&ideal, 10_000);
    assert!(compare_on_wheel(&stack, &ideal, &linux, &tolerance).agree);
    let mut early = linux;
    for r in &mut early.records {
        r.at = r.at.max(Instant::from_millis(18)) - Duration::from_millis(18);
    }
    let c = compare_on_wheel(&stack, &ideal, &early, &tolerance);
    assert!(!c.agree);
    assert!(c.differences[0].what.contains("earlier"), "{:?}", c.differences[0]);
}

#[test]
fn the_run_may_end_before_the_random_ageing_of_a_neighbour_comes() {
    let ageing = |states: &[(u64, NudState)], end_s: u64| {
        let mut h = Hand::new(&[("a", &["192.0.2.1"]), ("b", &["192.0.2.2"])]);
        let mut from = None;
        for (s, to) in states {
            h.neigh(s * 1_000_000, 0, "192.0.2.2", from, Some(*to), Some(mac(2)));
            from = Some(*to);
        }
        h.journal.end = Instant::from_secs(end_s);
        h.journal
    };
    use NudState::{Failed, Reachable, Stale};
    let agree = |a: &Journal, b: &Journal| compare(a, b, &Tolerance::wheel(250)).agree;
    let reachable = ageing(&[(1, Reachable)], 40);
    let aged = ageing(&[(1, Reachable), (20, Stale)], 40);
    assert!(agree(&reachable, &aged) && agree(&aged, &reachable));
    // After 45 s it must have come; only this change is random; and nothing follows it.
    assert!(!agree(&ageing(&[(1, Reachable)], 47), &ageing(&[(1, Reachable), (20, Stale)], 47)));
    assert!(!agree(&reachable, &ageing(&[(1, Reachable), (20, Failed)], 40)));
    assert!(!agree(&reachable, &ageing(&[(1, Reachable), (20, Stale), (30, Failed)], 40)));
    assert!(!agree(&ageing(&[], 40), &ageing(&[(1, Stale)], 40)));
}

#[test]
fn counters_must_be_equal_when_both_sides_have_some() {
    let mut stack = arp_resolution();
    stack.nodes[1].counters = vec![("UdpNoPorts".into(), 1)];
    let mut linux = stack.clone();
    linux.nodes[1].counters = vec![("UdpNoPorts".into(), 2)];
    let c = compare(&stack, &linux, &Tolerance::exact());
    assert_eq!(c.differences[0].what, "UdpNoPorts is 1 on the stack, 2 on the kernel");
}

#[test]
fn echo_ids_and_their_time_stamps_do_not_count_but_lengths_do() {
    let ping = |id: u16, data: &[u8]| {
        let mut h = Hand::new(&[("a", &["192.0.2.1"]), ("b", &["192.0.2.2"])]);
        let frame = icmp4(
            (1, 2),
            ("192.0.2.1", "192.0.2.2"),
            V4::default(),
            Message::EchoRequest { id, seq: 1 },
            data,
        );
        h.pass(0, 0, 1, &frame);
        h.journal
    };
    assert!(compare(&ping(1, &[1; 8]), &ping(77, &[2; 8]), &Tolerance::exact()).agree);
    assert!(!compare(&ping(1, &[1; 8]), &ping(77, &[2; 9]), &Tolerance::exact()).agree);
}
