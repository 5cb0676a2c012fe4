//! Filters against frames written by hand.

use super::*;
use crate::Medium;

/// Ethernet, IPv4 192.0.2.1 → 198.51.100.2, TCP 40000 → 80 SYN with MSS 1460 and SACK permitted.
const SYN: &[u8] = &[
    2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, // Ethernet
    0x45, 0, 0, 48, 0, 1, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, // IPv4
    0x9c, 0x40, 0, 80, 0, 0, 0, 7, 0, 0, 0, 0, 0x70, 2, 0xfa, 0xf0, 0, 0, 0, 0, // TCP
    2, 4, 5, 0xb4, 1, 1, 4, 2,
];

/// IPv4 203.0.113.1 → 192.0.2.1, port unreachable, quoting UDP 192.0.2.1:12345 → 198.51.100.2:7.
const UNREACHABLE: &[u8] = &[
    0x45, 0, 0, 56, 0, 1, 0, 0, 64, 1, 0, 0, 203, 0, 113, 1, 192, 0, 2, 1, // IPv4
    3, 3, 0, 0, 0, 0, 0, 0, // ICMP
    0x45, 0, 0, 30, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, // quoted
    0x30, 0x39, 0, 7, 0, 10, 0, 0,
];

fn matches(filter: &str, bytes: &[u8], medium: Medium) -> bool {
    Filter::parse(filter).unwrap_or_else(|e| panic!("{filter}: {e}")).matches(&Packet::parse(bytes, medium))
}

#[test]
fn a_syn_is_matched_by_its_fields_and_not_by_others() {
    let rows = [
        ("tcp", true),
        ("udp", false),
        ("tcp.flags.syn == 1 && tcp.flags.ack == 0", true),
        ("tcp.flags.syn == true and not tcp.flags.ack == true", true),
        ("tcp.flags.syn", true),
        ("tcp.flags.ack", true), // the field is there, though not set
        ("tcp.flags.ack == 1", false),
        ("tcp.flags & 0x02", true),
        ("tcp.flags & 0x10", false),
        ("tcp.flags & 0x12 == 2", true),
        ("ip.addr == 192.0.2.0/24", true),
        ("ip.addr == 192.0.2.1 && ip.addr == 198.51.100.2", true),
        ("ip.addr != 192.0.2.1", false), // one of the two is
        ("ip.addr !== 192.0.2.1", true),
        ("ip.addr === 192.0.2.1", false),
        ("ip.addr != 203.0.113.0/24", true),
        ("ipv6.addr != 2001:db8::1", false), // there is none
        ("!(ipv6.addr == 2001:db8::1)", true),
        ("tcp.port in {1..79, 81}", false),
        ("tcp.port in {80}", true),
        ("tcp.port in {443, 70..80}", true),
        ("tcp.len == 0", true),
        ("tcp.options.mss_val >= 1460", true),
        ("tcp.options.sack_perm", true),
        ("tcp.options.sack", false),
        ("tcp.seq_raw == 7", true),
        ("eth.src == 02:00:00:00:00:01", true),
        ("eth.src[0:3] == 02:00:00", true),
        ("eth.src[5] == 02", false),
        ("ip.src == ip.dst", false),
        ("tcp.srcport > tcp.dstport", true),
        ("frame contains 05:b4", true),
        ("frame contains \"\\x05\\xb4\"", true),
        ("frame.len == 62", true),
        ("ip.ttl lt 64 or ip.ttl gt 64", false),
        ("udp or tcp and ip.ttl == 1", false), // and binds tighter
        ("(udp or tcp) and ip.ttl == 64", true),
        ("! tcp.port == 80", false), // not takes the whole comparison
    ];
    for (filter, expected) in rows {
        assert_eq!(matches(filter, SYN, Medium::Ethernet), expected, "{filter}");
    }
}

#[test]
fn an_icmp_error_also_has_the_fields_of_the_packet_it_quotes() {
    let rows = [
        ("icmp.type == 3 && icmp.code == 3", true),
        ("udp.dstport == 7", true),
        ("ip.src == 203.0.113.1", true),
        ("ip.dst == 198.51.100.2", true),
        ("ip.src == 198.51.100.2", false),
        ("eth", false),
    ];
    for (filter, expected) in rows {
        assert_eq!(matches(filter, UNREACHABLE, Medium::Ip), expected, "{filter}");
    }
}

#[test]
fn errors_point_at_the_wrong_word_and_say_what_to_write() {
    let rows: [(&str, usize, usize, &str, Option<&str>); 16] = [
        ("tcp.prot == 80", 0, 8, "there is no field \"tcp.prot\"", Some("did you mean tcp.port?")),
        ("ip && tcp.flags.sin", 6, 13, "there is no field", Some("did you mean tcp.flags.syn?")),
        ("tcp.seq == 1", 0, 7, "not available", Some("tcp.seq_raw")),
        ("tcp.analysis.retransmission", 0, 27, "not available", Some("whole connection")),
        ("tcp.port == 65536", 12, 5, "does not fit", Some("such as 80")),
        ("tcp.port = 80", 9, 1, "compares with ==", Some("==")),
        ("ip.addr == 192.0.2", 11, 7, "an IPv4 address is expected", Some("192.0.2.1")),
        ("ip.addr == 192.0.2.1/33", 11, 12, "an IPv4 address is expected", Some("/24")),
        ("(tcp", 4, 0, "\")\" is expected, not the end", None),
        ("tcp &&", 6, 0, "a field is expected, not the end", None),
        ("", 0, 0, "a field is expected, not the end", None),
        ("tcp udp", 4, 3, "\"and\", \"or\" or the end is expected", None),
        ("tcp == 1", 4, 2, "tcp is a protocol", None),
        ("tcp.port contains 80", 9, 8, "contains needs bytes", None),
        ("data contains \"x", 14, 2, "no closing quotation mark", None),
        ("tcp.port in {80 443}", 16, 3, "\",\" or \"}\" is expected", None),
    ];
    for (text, offset, len, message, hint) in rows {
        let error = Filter::parse(text).expect_err(text);
        assert_eq!((error.offset, error.len), (offset, len), "{text}: {error}");
        assert!(error.message.contains(message), "{text}: {error}");
        match hint {
            Some(hint) => assert!(error.hint.as_deref().unwrap_or("").contains(hint), "{text}: {error}"),
            None => assert_eq!(error.hint, None, "{text}"),
        }
    }
}

#[test]
fn nesting_and_length_are_bounded() {
    let deep = |n: usize| format!("{}tcp{}", "(".repeat(n), ")".repeat(n));
    assert!(Filter::parse(&deep(MAX_DEPTH - 1)).is_ok());
    assert!(Filter::parse(&deep(MAX_DEPTH)).unwrap_err().message.contains("nested"));
    assert!(Filter::parse(&"!".repeat(MAX_LEN)).unwrap_err().message.contains("nested"));
    assert!(Filter::parse(&" ".repeat(MAX_LEN + 1)).unwrap_err().message.contains("bytes long"));
}

#[test]
fn names_are_unique() {
    let mut names: Vec<_> = fields().map(|f| f.name).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
}
