//! Explicit congestion notification (RFC 3168) against what Linux 6.18.44 did between two TUN devices, 10 ms each way.

use core::time::Duration;

use wire::tcp::Flags;

use super::fixture::{C, Fate, Pair, S};
use crate::mib::Counter;

/// Segments 5 and 6 are marked: the echo lasts until CWR comes, the window shrinks once, nothing is sent again.
#[test]
fn two_marks_are_one_reduction_of_the_window() {
    let mut pair = Pair::new(0);
    pair.sysctl(C, "net.ipv4.tcp_ecn", "1");
    pair.sysctl(S, "net.ipv4.tcp_ecn", "1");
    let (client, _server) = pair.established();
    assert_eq!(pair.lines()[..2], ["C SEW 0 0 0 64240".to_owned(), "S S.E 0 1 0 65160".to_owned()]);
    pair.forget();
    pair.delay = Duration::from_millis(10);
    let mut n = 0;
    pair.rule = Box::new(move |s| {
        n += u32::from(s.len > 0);
        if s.len > 0 && (n == 5 || n == 6) { Fate::Mark } else { Fate::Pass }
    });
    assert_eq!(pair.send(C, client, 30 * 1448), Ok(30 * 1448));
    pair.run_ms(200);
    let of = |who: char| pair.lines().into_iter().filter(|l| l.starts_with(who)).collect::<Vec<_>>();
    let flags = |n: usize| match n {
        4 | 9 | 17 | 23 | 26 | 29 => "P.",
        18 => ".W",
        _ => ".",
    };
    let sent: Vec<String> = (0..30).map(|n| format!("C {} {} 1 1448 63", flags(n), 1 + 1448 * n)).collect();
    assert_eq!(of('C'), sent);
    let windows = [67, 70, 73, 75, 74, 73, 72, 71, 70, 69, 68, 67, 66, 65, 64, 63, 62, 61, 60, 59, 47, 46];
    let acked = (1..=20).chain([29, 30]);
    let ack = |(n, window): (usize, i32)| {
        let echo = if (5..=18).contains(&n) { ".E" } else { "." };
        format!("S {echo} 1 {} 0 {window}", 1 + 1448 * n)
    };
    assert_eq!(of('S'), acked.zip(windows).map(ack).collect::<Vec<_>>());
    assert_eq!(pair.counter(C, Counter::TcpExtTCPDeliveredCE), 14);
    assert_eq!(pair.counter(C, Counter::TcpRetransSegs), 0);
    assert_eq!(pair.counter(S, Counter::IpExtInCEPkts), 2);
}

/// RFC 3168 §6.1.1.1 with `tcp_ecn_fallback`: the second SYN asks no more; without it every SYN does.
#[test]
fn a_syn_that_is_sent_again_asks_for_ecn_only_without_fallback() {
    for (fallback, again) in [("1", false), ("0", true)] {
        let mut pair = Pair::new(0);
        pair.sysctl(C, "net.ipv4.tcp_ecn", "1");
        pair.sysctl(C, "net.ipv4.tcp_ecn_fallback", fallback);
        pair.rule = Box::new(|_| Fate::Drop);
        let client = pair.socket(C, true);
        let _ = pair.connect(client, 80);
        pair.run_secs(3);
        let asks: Vec<bool> = pair.seen.iter().map(|s| s.flags.contains(Flags::ECE | Flags::CWR)).collect();
        assert_eq!(asks, [true, again, again], "tcp_ecn_fallback={fallback}");
    }
}

/// 6.18.44 has AccECN in its code, but its sysctls do not let anybody turn it on: 3 to 5 are `EINVAL` (measured).
#[test]
fn accurate_ecn_cannot_be_asked_for_in_6_18() {
    let mut host = crate::Stack::new(crate::StackConfig::default());
    let now = wire::Instant::from_secs(1);
    for (name, value, taken) in [
        ("net.ipv4.tcp_ecn", "2", true),
        ("net.ipv4.tcp_ecn", "3", false),
        ("net.ipv4.tcp_ecn", "5", false),
        ("net.ipv4.tcp_ecn_option", "3", false),
        ("net.ipv4.tcp_ecn_option_beacon", "4", false),
    ] {
        assert_eq!(host.sysctl_write(now, name, value).is_ok(), taken, "{name} = {value}");
    }
}
