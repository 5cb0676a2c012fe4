//! Hosts on one Ethernet segment without delay, against TRUTH 11a, 11b, 11c, 11d and 11h.

mod arp_sysctls;
mod nd;

use core::net::Ipv4Addr;
use core::time::Duration;
use std::net::IpAddr;

use wire::arp::{Operation, Packet};
use wire::ethernet::{self, EtherType};
use wire::{Frame, Instant, MacAddr, Medium};

use super::NudState;
use crate::admin::Admin;
use crate::record::{IfIndex, What};
use crate::route::Flow;
use crate::{DropReason, Stack, StackConfig};

/// Frames that one call of [`Lan::run_for`] carries at most: a loop is a bug.
const MAX_FRAMES: usize = 20_000;

/// Hosts whose `eth0` hangs on one hub.
pub(super) struct Lan {
    pub(super) hosts: Vec<Stack>,
    pub(super) now: Instant,
    /// When, who, what.
    pub(super) sent: Vec<(Instant, usize, Vec<u8>)>,
    pub(super) records: Vec<(Instant, usize, What)>,
    /// Hosts whose cable is cut on the far side: nothing arrives there.
    pub(super) deaf: Vec<usize>,
}

pub(super) const ETH0: IfIndex = 2;

pub(super) fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

pub(super) fn v4(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

impl Lan {
    /// `n` hosts, 192.0.2.1/24 and so on, without IPv6.
    pub(super) fn v4(n: u8) -> Lan {
        Lan::with_seed(n, 1)
    }

    pub(super) fn with_seed(n: u8, seed: u64) -> Lan {
        let mut lan = Lan::bare(n, seed);
        for i in 0..n {
            lan.run(usize::from(i), "sysctl -w net.ipv6.conf.all.disable_ipv6=1");
            lan.run(usize::from(i), "ip link set eth0 up");
            lan.run(usize::from(i), &format!("ip addr add {}/24 brd + dev eth0", v4(i + 1)));
        }
        lan
    }

    /// `n` hosts whose `eth0` is down.
    pub(super) fn bare(n: u8, seed: u64) -> Lan {
        let hosts = (0..n)
            .map(|i| {
                let config = StackConfig { name: format!("h{i}"), seed, ..StackConfig::default() };
                let mut s = Stack::new(config);
                assert_eq!(s.add_interface("eth0", Medium::Ethernet, mac(i + 1), 1500), ETH0);
                s
            })
            .collect();
        Lan { hosts, now: Instant::ZERO, sent: Vec::new(), records: Vec::new(), deaf: Vec::new() }
    }

    pub(super) fn run(&mut self, host: usize, command: &str) {
        let command = Admin::parse(command).unwrap_or_else(|e| panic!("{command}: {e}"));
        let now = self.now;
        self.hosts[host].admin(now, &command).unwrap_or_else(|e| panic!("{command}: {e}"));
    }

    /// Carries what was sent, then runs timers until `time` has passed.
    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        let mut budget = MAX_FRAMES;
        loop {
            self.carry(&mut budget);
            let next = self.hosts.iter().filter_map(Stack::poll_timeout).min().filter(|at| *at <= end);
            let Some(at) = next else { break };
            self.now = self.now.max(at);
            let now = self.now;
            self.hosts.iter_mut().for_each(|h| h.handle_timeout(now));
        }
        self.now = end;
    }

    fn carry(&mut self, budget: &mut usize) {
        loop {
            let mut quiet = true;
            for from in 0..self.hosts.len() {
                while let Some((at, what)) = self.hosts[from].poll_record() {
                    self.records.push((at, from, what));
                }
                let Some((ifindex, frame)) = self.hosts[from].poll_transmit() else { continue };
                assert_eq!(ifindex, ETH0);
                quiet = false;
                *budget = budget.checked_sub(1).expect("frames go round in a loop");
                self.sent.push((self.now, from, frame.to_vec()));
                for to in (0..self.hosts.len()).filter(|to| *to != from && !self.deaf.contains(to)) {
                    self.hosts[to].handle_frame(self.now, ETH0, Frame::from_vec(frame.to_vec()));
                }
            }
            if quiet {
                return;
            }
        }
    }

    /// An IP packet with a UDP datagram to `dst`, as a socket's would go.
    pub(super) fn send(&mut self, host: usize, dst: IpAddr) {
        self.send_len(host, dst, 29);
    }

    pub(super) fn send_len(&mut self, host: usize, dst: IpAddr, len: usize) {
        let now = self.now;
        let s = &mut self.hosts[host];
        let flow = Flow { dst, src: crate::admin::any(dst.is_ipv6()), oif: 0, tos: 0 };
        let route = s.route_output(now, &flow).expect("a route");
        let mut packet = vec![0u8; len];
        match (route.src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                packet[..10].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17]);
                packet[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
                packet[12..16].copy_from_slice(&src.octets());
                packet[16..20].copy_from_slice(&dst.octets());
                let sum = wire::checksum::sum(&packet[..20]).finish();
                packet[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                packet.resize(len.max(60), 0);
                packet[0] = 0x60;
                let payload = u16::try_from(packet.len() - 40).unwrap();
                packet[4..6].copy_from_slice(&payload.to_be_bytes());
                packet[6..8].copy_from_slice(&[59, 64]);
                packet[8..24].copy_from_slice(&src.octets());
                packet[24..40].copy_from_slice(&dst.octets());
            }
            _ => unreachable!("the route is of the destination's family"),
        }
        s.neigh_output(now, route.ifindex, route.next_hop, Frame::from_vec(packet));
        s.run_loopback(now);
        self.run_for(Duration::ZERO);
    }

    pub(super) fn arp_in(&mut self, to: usize, dst: MacAddr, arp: &Packet) {
        let header = ethernet::Header { dst, src: arp.sender_mac, vlan: None, ethertype: EtherType::ARP };
        let mut frame = Frame::with_headroom(0, 60);
        header.emit(frame.put_zeroed(ethernet::HEADER_LEN));
        arp.emit(frame.put_zeroed(wire::arp::PACKET_LEN));
        let now = self.now;
        self.hosts[to].handle_frame(now, ETH0, frame);
        self.run_for(Duration::ZERO);
    }

    /// `ip neigh`'s state (with the MAC address' last byte) of one neighbour.
    pub(super) fn neigh(&self, host: usize, addr: impl Into<IpAddr>) -> Option<(NudState, u8)> {
        let n = self.hosts[host].neigh.get(ETH0, addr.into())?;
        Some((n.state.expect("an event happened"), n.lladdr.0[5]))
    }

    /// Every ARP packet that `host` sent: when (in ms), to which MAC address, what.
    pub(super) fn arps(&self, host: usize) -> Vec<(u64, MacAddr, Packet)> {
        self.sent
            .iter()
            .filter(|(_, from, _)| *from == host)
            .filter_map(|(at, _, bytes)| {
                let (eth, used) = ethernet::Header::parse(bytes).unwrap();
                (eth.ethertype == EtherType::ARP)
                    .then(|| (at.as_nanos() / 1_000_000, eth.dst, Packet::parse(&bytes[used..]).unwrap().0))
            })
            .collect()
    }

    pub(super) fn drops(&self, host: usize, reason: DropReason) -> Vec<u64> {
        self.records
            .iter()
            .filter(|(_, h, w)| *h == host && matches!(w, What::Drop { reason: r, .. } if *r == reason))
            .map(|(at, ..)| at.as_nanos() / 1_000_000)
            .collect()
    }
}

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) fn request(from: u8, sip: Ipv4Addr, tip: Ipv4Addr) -> Packet {
    Packet {
        operation: Operation::REQUEST,
        sender_mac: mac(from),
        sender_ip: sip,
        target_mac: MacAddr::ZERO,
        target_ip: tip,
    }
}

pub(super) fn reply(from: u8, sip: Ipv4Addr, to: MacAddr, tip: Ipv4Addr) -> Packet {
    Packet {
        operation: Operation::REPLY,
        sender_mac: mac(from),
        sender_ip: sip,
        target_mac: to,
        target_ip: tip,
    }
}

/// Linux: fib_inetaddr_event() calls fib_disable_ip() and so arp_ifdown() for the last address, and for no other.
#[test]
fn the_last_address_takes_neighbours_and_routes_of_its_family_with_it() {
    let mut lan = Lan::v4(2);
    lan.run(0, "ip addr add 198.51.100.1/24 dev eth0");
    lan.run(0, "ip route add 203.0.113.0/24 dev eth0");
    lan.run(0, "ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev eth0 nud permanent");
    lan.send(0, v4(2).into());
    assert_eq!(lan.neigh(0, v4(2)), Some((NudState::Reachable, 2)));
    lan.run(0, "ip addr del 192.0.2.1/24 dev eth0");
    assert_eq!(lan.neigh(0, v4(2)), Some((NudState::Reachable, 2)), "another address is left");
    lan.run(0, "ip addr del 198.51.100.1/24 dev eth0");
    assert_eq!(lan.neigh(0, v4(2)), None);
    assert_eq!(lan.neigh(0, v4(9)), None, "permanent ones too");
    let routes = lan.hosts[0].ip_route(lan.now, false, crate::route::Table::Main);
    assert_eq!(routes, Vec::<String>::new(), "a route of the user's by this interface, too");
}

#[test]
fn nobody_answers_11a_three_broadcasts_a_second_apart_then_failed() {
    let mut lan = Lan::v4(1);
    lan.send(0, v4(77).into());
    assert_eq!(lan.neigh(0, v4(77)), Some((NudState::Incomplete, 0)));
    lan.run_for(ms(2_999));
    assert_eq!(lan.neigh(0, v4(77)), Some((NudState::Incomplete, 0)));
    lan.run_for(ms(1_501));
    assert_eq!(lan.neigh(0, v4(77)), Some((NudState::Failed, 0)));
    assert_eq!(lan.hosts[0].ip_neigh(), ["192.0.2.77 dev eth0 FAILED"]);
    assert_eq!(lan.drops(0, DropReason::NeighFailed), [3_000]);
    let expected = |at| (at, MacAddr::BROADCAST, request(1, v4(1), v4(77)));
    assert_eq!(lan.arps(0), [0, 1_000, 2_000].map(expected));
    // The trace's second attempt at 4.5 s: a fresh three seconds.
    lan.send(0, v4(77).into());
    lan.run_for(ms(4_000));
    assert_eq!(lan.arps(0)[3..], [4_500, 5_500, 6_500].map(expected));
    assert_eq!(lan.drops(0, DropReason::NeighFailed), [3_000, 7_500]);
    assert_eq!(
        lan.hosts[0].mib.value(crate::mib::Counter::IcmpOutDestUnreachs),
        2,
        "each waiting packet is answered"
    );
}

#[test]
fn failure_on_the_timer_wheel_comes_within_a_step_of_the_trace_11a() {
    // 6.12 at HZ=100 without noise: requests at 0, 1.0734, 2.1134 and the error at 3.1534.
    let mut lan = Lan::bare(1, 1);
    lan.hosts[0].config.granularity = crate::Granularity::Wheel { hz: 100 };
    lan.run(0, "sysctl -w net.ipv6.conf.all.disable_ipv6=1");
    lan.run(0, "ip link set eth0 up");
    lan.run(0, "ip addr add 192.0.2.1/24 dev eth0");
    lan.now = Instant::from_millis(3);
    lan.send(0, v4(77).into());
    lan.run_for(ms(4_000));
    let at: Vec<u64> = lan.arps(0).iter().map(|(at, ..)| at - 3).collect();
    assert_eq!(at.len(), 3);
    for (at, nominal) in at.iter().chain(&lan.drops(0, DropReason::NeighFailed)).zip([0, 1_000, 2_000, 3_000])
    {
        assert!((nominal..=nominal + 260).contains(at), "{at} for {nominal}");
    }
}

#[test]
fn entry_lives_reachable_stale_delay_probe_reachable_11b() {
    let mut lan = Lan::v4(2);
    lan.send(0, v4(2).into());
    assert_eq!(lan.neigh(0, v4(2)), Some((NudState::Reachable, 2)));
    assert_eq!(lan.neigh(1, v4(1)).map(|n| n.1), Some(1), "the peer has learnt us from our request");
    // The peer answers something: DELAY, and 5 s later it probes by unicast.
    lan.send(1, v4(1).into());
    assert_eq!(lan.neigh(1, v4(1)), Some((NudState::Delay, 1)));
    lan.run_for(ms(4_999));
    assert!(lan.arps(1).len() == 1, "only its reply so far");
    lan.run_for(ms(1));
    assert_eq!(lan.arps(1)[1].0, 5_000);
    assert_eq!(lan.arps(1)[1].1, mac(1), "by unicast");
    assert_eq!(lan.arps(1)[1].2, request(2, v4(2), v4(1)), "without naming the MAC address it checks");
    assert_eq!(lan.neigh(1, v4(1)), Some((NudState::Reachable, 1)));
    // Nothing is sent: stale after 15 to 45 s, without a packet.
    let frames = lan.sent.len();
    lan.run_for(ms(9_999));
    assert_eq!(lan.neigh(0, v4(2)), Some((NudState::Reachable, 2)), "not before half of base_reachable_time");
    lan.run_for(ms(30_001));
    assert_eq!(lan.neigh(0, v4(2)), Some((NudState::Stale, 2)));
    assert_eq!(lan.sent.len(), frames);
    // Used at once, probed after 5 s.
    let used = lan.now.as_nanos() / 1_000_000;
    lan.send(0, v4(2).into());
    assert_eq!(lan.neigh(0, v4(2)), Some((NudState::Delay, 2)));
    assert_eq!(lan.sent.len(), frames + 1 + usize::from(lan.sent.len() > frames + 1), "sent at once");
    lan.run_for(ms(5_000));
    let probe = lan.arps(0).last().copied().unwrap();
    assert!(
        lan.arps(0).iter().any(|(at, dst, p)| {
            *at == used + 5_000 && *dst == mac(2) && p.operation == Operation::REQUEST
        }),
        "{probe:?}"
    );
    assert_eq!(lan.neigh(0, v4(2)), Some((NudState::Reachable, 2)));
}

#[test]
fn silent_neighbour_gets_three_unicast_probes_and_keeps_getting_packets_11b() {
    let mut lan = Lan::v4(2);
    lan.send(0, v4(2).into());
    lan.run_for(Duration::from_secs(46));
    assert_eq!(lan.neigh(0, v4(2)), Some((NudState::Stale, 2)));
    lan.deaf.push(1);
    let start = lan.now;
    let (before, sent) = (lan.arps(0).len(), lan.sent.len());
    for _ in 0..8 {
        lan.send(0, v4(2).into());
        lan.run_for(ms(999));
        lan.run_for(ms(1));
    }
    let since = |at: u64| at - start.as_nanos() / 1_000_000;
    let probes: Vec<(u64, MacAddr)> =
        lan.arps(0)[before..].iter().map(|(at, dst, _)| (since(*at), *dst)).collect();
    assert_eq!(probes, [(5_000, mac(2)), (6_000, mac(2)), (7_000, mac(2))].to_vec());
    assert_eq!(lan.neigh(0, v4(2)).map(|n| n.0), Some(NudState::Failed), "at 8.0 s");
    let data = lan.sent[sent..].iter().filter(|(_, from, b)| *from == 0 && b[12..14] == [8, 0]).count();
    assert_eq!(data, 8, "all went to the old MAC address");
    // The next use asks everyone.
    lan.send(0, v4(2).into());
    assert_eq!(lan.arps(0).last().map(|a| a.1), Some(MacAddr::BROADCAST));
    assert_eq!(lan.neigh(0, v4(2)).map(|n| n.0), Some(NudState::Incomplete));
}

#[test]
fn confirmation_from_above_spares_the_probe() {
    let mut lan = Lan::v4(2);
    lan.send(0, v4(2).into());
    lan.run_for(Duration::from_secs(46));
    lan.send(0, v4(2).into());
    lan.run_for(ms(3_000));
    let now = lan.now;
    lan.hosts[0].neigh_confirm(now, ETH0, v4(2).into());
    let before = lan.arps(0).len();
    lan.run_for(ms(3_000));
    assert_eq!(lan.neigh(0, v4(2)), Some((NudState::Reachable, 2)));
    assert_eq!(lan.arps(0).len(), before);
}

/// The trace's steps, in both settings of `arp_accept`; frames are broadcasts as there.
fn gratuitous(arp_accept: u8) -> Lan {
    let mut lan = Lan::v4(2);
    lan.run(0, &format!("sysctl -w net.ipv4.conf.eth0.arp_accept={arp_accept}"));
    lan.arp_in(0, MacAddr::BROADCAST, &request(0xe1, v4(50), v4(50)));
    lan.arp_in(0, MacAddr::BROADCAST, &reply(0xe1, v4(51), mac(0xe1), v4(51)));
    lan.arp_in(0, MacAddr::BROADCAST, &reply(0xe1, v4(52), mac(1), v4(1)));
    lan.arp_in(0, MacAddr::BROADCAST, &request(0xe1, v4(53), v4(1)));
    lan
}

#[test]
fn gratuitous_arp_for_unknown_addresses_is_ignored_11c_acc0() {
    let lan = gratuitous(0);
    assert_eq!(lan.hosts[0].ip_neigh(), ["192.0.2.53 dev eth0 lladdr 02:00:00:00:00:e1 STALE"]);
}

#[test]
fn gratuitous_arp_makes_entries_with_arp_accept_11c_acc1() {
    let lan = gratuitous(1);
    for last in 50..=53 {
        assert_eq!(lan.neigh(0, v4(last)), Some((NudState::Stale, 0xe1)), "{last}");
    }
}

#[test]
fn gratuitous_arp_overwrites_at_once_and_never_a_permanent_entry_11c() {
    for accept in [0, 1] {
        let mut lan = gratuitous(accept);
        lan.run_for(ms(800));
        lan.send(0, v4(2).into());
        assert_eq!(lan.neigh(0, v4(2)), Some((NudState::Reachable, 2)));
        lan.run_for(ms(50));
        lan.arp_in(0, MacAddr::BROADCAST, &reply(0xe2, v4(2), mac(0xe2), v4(2)));
        assert_eq!(lan.neigh(0, v4(2)), Some((NudState::Stale, 0xe2)), "50 ms old");
        lan.run_for(ms(1_200));
        lan.arp_in(0, MacAddr::BROADCAST, &request(0xe3, v4(2), v4(2)));
        assert_eq!(lan.neigh(0, v4(2)), Some((NudState::Stale, 0xe3)));
        lan.run_for(ms(1_200));
        lan.arp_in(0, MacAddr::BROADCAST, &reply(0xe1, v4(2), mac(1), v4(1)));
        assert_eq!(lan.neigh(0, v4(2)), Some((NudState::Stale, 0xe1)), "unsolicited, after locktime");
        lan.run(0, "ip neigh replace 192.0.2.60 lladdr 02:00:00:00:00:aa dev eth0 nud permanent");
        lan.arp_in(0, MacAddr::BROADCAST, &reply(0xe2, v4(60), mac(0xe2), v4(60)));
        assert_eq!(lan.neigh(0, v4(60)), Some((NudState::Permanent, 0xaa)));
        let before = lan.arps(0).len();
        lan.send(0, v4(60).into());
        lan.run_for(Duration::from_secs(60));
        assert_eq!(lan.arps(0).len(), before, "used without any ARP");
        assert_eq!(lan.neigh(0, v4(60)), Some((NudState::Permanent, 0xaa)));
    }
}

#[test]
fn spoofed_unicast_reply_poisons_and_the_owners_own_request_heals_11d() {
    let mut lan = Lan::v4(2);
    lan.send(0, v4(2).into());
    lan.run_for(ms(1_500));
    lan.arp_in(0, mac(1), &reply(0x66, v4(2), mac(1), v4(1)));
    assert_eq!(lan.neigh(0, v4(2)), Some((NudState::Reachable, 0x66)), "a reply to us alone counts as proof");
    lan.run_for(ms(3_800));
    lan.arp_in(0, mac(1), &request(2, v4(2), v4(1)));
    assert_eq!(lan.neigh(0, v4(2)), Some((NudState::Stale, 2)), "healed by B's own request");
    assert_eq!(lan.arps(0).last().map(|(_, dst, p)| (*dst, p.operation)), Some((mac(2), Operation::REPLY)));
}

#[test]
fn first_of_two_replies_wins_inside_locktime_11h() {
    let mut lan = Lan::v4(1);
    lan.send(0, v4(2).into());
    lan.arp_in(0, mac(1), &reply(0xf0, v4(2), mac(1), v4(1)));
    lan.arp_in(0, mac(1), &reply(0xc1, v4(2), mac(1), v4(1)));
    assert_eq!(lan.neigh(0, v4(2)), Some((NudState::Reachable, 0xf0)));
    lan.run_for(ms(1_001));
    lan.arp_in(0, mac(1), &reply(0xc1, v4(2), mac(1), v4(1)));
    assert_eq!(lan.neigh(0, v4(2)), Some((NudState::Reachable, 0xc1)), "after 1 s it is believed");
    // arping -D: a probe from 0.0.0.0 is answered, and teaches nothing.
    lan.arp_in(0, MacAddr::BROADCAST, &request(0xc2, Ipv4Addr::UNSPECIFIED, v4(1)));
    let (_, dst, answer) = *lan.arps(0).last().unwrap();
    assert_eq!((dst, answer), (mac(0xc2), reply(1, v4(1), mac(0xc2), Ipv4Addr::UNSPECIFIED)));
    assert_eq!(lan.hosts[0].ip_neigh().len(), 1);
}

#[test]
fn queue_drops_the_oldest_beyond_unres_qlen() {
    let mut lan = Lan::v4(1);
    for _ in 0..110 {
        lan.send_len(0, v4(9).into(), 1_500);
    }
    let n = lan.hosts[0].neigh.get(ETH0, v4(9).into()).unwrap();
    // 212,992 bytes hold 92 packets of 2,304: a 1,500-byte packet lies in a 2 KiB slab object.
    assert_eq!(n.queue.len(), 92);
    assert_eq!(lan.drops(0, DropReason::NeighQueuefull).len(), 18);
    lan.arp_in(0, mac(1), &reply(9, v4(9), mac(1), v4(1)));
    let data = lan.sent.iter().filter(|(_, _, b)| b[12..14] == [8, 0]).count();
    assert_eq!(data, 92, "what waited goes out");
}

#[test]
fn full_table_refuses_and_old_entries_give_way() {
    let mut lan = Lan::v4(1);
    for (name, value) in [("gc_thresh1", 2), ("gc_thresh2", 3), ("gc_thresh3", 4)] {
        lan.run(0, &format!("sysctl -w net.ipv4.neigh.default.{name}={value}"));
    }
    for last in 10..14 {
        lan.send(0, v4(last).into());
    }
    lan.send(0, v4(14).into());
    assert_eq!(lan.drops(0, DropReason::NeighCreatefail).len(), 1, "all four are being asked for");
    lan.run_for(ms(3_500));
    lan.send(0, v4(15).into());
    assert_eq!(lan.neigh(0, v4(15)).map(|n| n.0), Some(NudState::Incomplete), "failed ones give way");
}

#[test]
fn reachable_time_is_half_to_one_and_a_half_of_the_base() {
    let mut seen = Vec::new();
    for seed in 0..40 {
        let mut lan = Lan::with_seed(2, seed);
        lan.send(0, v4(2).into());
        lan.run_for(Duration::from_secs(60));
        let stale = lan
            .records
            .iter()
            .find(|(_, h, w)| *h == 0 && matches!(w, What::Neigh { to: Some(NudState::Stale), .. }));
        let at = stale.expect("it becomes stale").0.as_nanos() / 1_000_000;
        assert!((15_000..45_000).contains(&at), "{at}");
        seen.push(at);
    }
    seen.sort_unstable();
    assert!(seen[0] < 22_000 && seen[39] > 38_000, "spread over the whole range: {seen:?}");
}

#[test]
fn link_down_forgets_neighbours_and_carrier_loss_keeps_permanent_ones() {
    let mut lan = Lan::v4(2);
    lan.send(0, v4(2).into());
    lan.run(0, "ip neigh add 192.0.2.60 lladdr 02:00:00:00:00:aa dev eth0");
    lan.run(0, "ip link set eth0 carrier off");
    assert_eq!(lan.hosts[0].ip_neigh(), ["192.0.2.60 dev eth0 lladdr 02:00:00:00:00:aa PERMANENT"]);
    lan.run(0, "ip link set eth0 down");
    assert!(lan.hosts[0].ip_neigh().is_empty());
    assert!(lan.hosts[0].ip_route(lan.now, false, crate::route::Table::Main).is_empty());
}
