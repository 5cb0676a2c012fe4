use super::*;
use crate::{Stack, StackConfig};
use wire::{Instant, Medium};

/// Every one of these was given to iproute2 6.1 (or sysctl, radvd's `ra` apart) and taken.
const COMMANDS: &[&str] = &[
    "ip link set dev eth0 up",
    "ip link set dev eth0 mtu 1400 address 02:00:00:00:00:01 arp off",
    "ip link add link eth0 name eth0.10 type vlan id 10",
    "ip link add name t0 type ipip local 192.0.2.1 remote 192.0.2.9 ttl 64",
    "ip link add name g0 type gre local 192.0.2.1 remote 192.0.2.9 ttl inherit key 7 csum seq",
    "ip link add name x0 type vxlan id 42 local 192.0.2.1 remote 192.0.2.9 dev eth0 dstport 4789",
    "ip link add name s0 type ip6tnl local 2001:db8::1 remote 2001:db8::2 ttl 64",
    "ip link del dev eth0.10",
    "ip addr add 192.0.2.1/24 brd + dev eth0",
    "ip addr add 203.0.113.1 peer 203.0.113.2/32 dev eth0 scope link label eth0:1",
    "ip addr replace 2001:db8::1/64 dev eth0 nodad noprefixroute valid_lft 3600 preferred_lft 1800",
    "ip addr del 192.0.2.1/24 dev eth0",
    "ip -6 addr flush dev eth0",
    "ip route add default via 192.0.2.254 dev eth0 metric 100",
    "ip route replace blackhole 203.0.113.0/24",
    "ip route append 198.51.100.0/24 via 192.0.2.3 src 192.0.2.1 onlink mtu lock 1400 advmss 1300 initcwnd 4 rto_min 300ms quickack 1",
    "ip -6 route add default via fe80::1 dev eth0 expires 600 pref high",
    "ip route del 198.51.100.0/24 via 192.0.2.3",
    "ip route flush cache",
    "ip neigh add 192.0.2.5 lladdr 02:00:00:00:00:05 dev eth0 nud permanent",
    "ip neigh del 192.0.2.5 dev eth0",
    "ip neigh add proxy 192.0.2.8 dev eth0",
    "ip -4 neigh flush dev eth0 nud all",
    "sysctl -w net.ipv4.ip_forward=1",
    "sysctl -w net.ipv4.tcp_rmem='4096 131072 6291456'",
    "ra dev eth0 prefix 2001:db8::/64 lifetime 1800 valid_lft 86400 preferred_lft 14400 hoplimit 64",
    "ra dev eth0 off",
];

#[test]
fn display_gives_back_the_command() {
    for text in COMMANDS {
        let command = Admin::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(command.to_string(), *text);
    }
}

#[test]
fn abbreviations_are_those_of_ip() {
    for (short, long) in [
        ("ip a a 192.0.2.1/24 dev eth0", "ip addr add 192.0.2.1/24 dev eth0"),
        ("ip r a default via 2001:db8::1", "ip -6 route add default via 2001:db8::1"),
        ("ip l s eth0 down", "ip link set dev eth0 down"),
        ("ip neighbour del 192.0.2.5 dev eth0", "ip neigh del 192.0.2.5 dev eth0"),
        ("ip route add 192.0.2.7 dev eth0", "ip route add 192.0.2.7/32 dev eth0"),
    ] {
        assert_eq!(Admin::parse(short).map(|c| c.to_string()), Ok(long.to_string()));
    }
}

#[test]
fn errors_underline_the_word_and_say_what_to_write() {
    for (text, wrong, hint) in [
        ("ip lnik set eth0 up", "lnik", "link"),
        ("ip link set eth0 upp", "upp", "up"),
        ("ip addr add 192.0.2.1/33 dev eth0", "192.0.2.1/33", "192.0.2.0/24"),
        ("ip route add default vai 192.0.2.1", "vai", "via"),
        ("ip route add default nexthop via 192.0.2.1", "nexthop", ""),
        ("ip neigh add 192.0.2.1 lladr 02:00:00:00:00:01 dev eth0", "lladr", "lladdr"),
        ("sysctl -w net.ipv4.ip_forward", "net.ipv4.ip_forward", "=1"),
        ("ifconfig eth0 up", "ifconfig", "ip"),
    ] {
        let error = Admin::parse(text).expect_err(text);
        assert_eq!(&text[error.offset..error.offset + error.len], wrong, "{text}: {error}");
        assert!(error.hint.clone().unwrap_or_default().contains(hint), "{text}: {error}");
    }
    let short = Admin::parse("ip addr add 192.0.2.1/24").unwrap_err();
    assert_eq!((short.offset, short.len), (24, 0));
}

/// What iproute2 6.1 printed on kernel 6.18, command by command, in a namespace with one veth.
#[test]
fn refusals_are_in_the_words_of_ip() {
    let mut s = Stack::new(StackConfig::default());
    s.add_interface("v0", Medium::Ethernet, "02:00:00:00:00:01".parse().unwrap(), 1500);
    let mut run = |text: &str| {
        let command = Admin::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        s.admin(Instant::ZERO, &command).err().map(|e| e.message)
    };
    for (text, answer) in [
        ("ip link set v0 up", None),
        ("ip addr add 192.0.2.1/24 brd + dev v0", None),
        ("ip addr add 192.0.2.1/24 dev v0", Some("Error: ipv4: Address already assigned.")),
        ("ip addr del 192.0.2.9/24 dev v0", Some("Error: ipv4: Address not found.")),
        ("ip addr add 2001:db8::1/64 dev v0", None),
        ("ip addr add 2001:db8::1/64 dev v0", Some("Error: ipv6: address already assigned.")),
        ("ip addr del 2001:db8::9/64 dev v0", Some("Error: ipv6: address not found.")),
        ("ip route add default via 198.51.100.1", Some("Error: Nexthop has invalid gateway.")),
        ("ip route add default via 198.51.100.1 dev v0", Some("Error: Nexthop has invalid gateway.")),
        ("ip route add default via 192.0.2.254", None),
        ("ip route add default via 192.0.2.254", Some("RTNETLINK answers: File exists")),
        ("ip route add 198.51.100.1/24 dev v0", Some("Error: Invalid prefix for given prefix length.")),
        ("ip route del 198.51.100.0/24", Some("RTNETLINK answers: No such process")),
        ("ip route add 198.51.100.0/24 dev v0 src 192.0.2.77", Some("Error: Invalid prefsrc address.")),
        ("ip route change 198.51.100.0/24 dev v0", Some("RTNETLINK answers: No such file or directory")),
        ("ip -6 route add default via 2001:db9::1", Some("RTNETLINK answers: No route to host")),
        ("ip -6 route add default via 2001:db8::fe", None),
        ("ip -6 route add default via 2001:db8::fe", Some("RTNETLINK answers: File exists")),
        ("ip -6 route add 2001:db8:5::/48 via fe80::1", Some("Error: Egress device not specified.")),
        ("ip -6 route del 2001:db8:6::/48", Some("RTNETLINK answers: No such process")),
        ("ip neigh add 192.0.2.5 lladdr 02:00:00:00:00:05 dev v0", None),
        ("ip neigh add 192.0.2.5 lladdr 02:00:00:00:00:05 dev v0", Some("RTNETLINK answers: File exists")),
        (
            "ip neigh change 192.0.2.6 lladdr 02:00:00:00:00:05 dev v0 nud stale",
            Some("RTNETLINK answers: No such file or directory"),
        ),
        ("ip neigh del 192.0.2.6 dev v0", Some("RTNETLINK answers: No such file or directory")),
        ("ip neigh add 192.0.2.7 dev v0", Some("Error: No link layer address given.")),
        ("ip link set dev nope up", Some("Cannot find device \"nope\"")),
        ("ip link set dev v0 mtu 20", Some("Error: mtu less than device minimum.")),
        ("ip link del lo", Some("RTNETLINK answers: Operation not supported")),
    ] {
        assert_eq!(run(text).as_deref(), answer, "{text}");
    }
}
