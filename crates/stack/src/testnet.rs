//! Hosts on zero-delay links, driven by frames: what unit tests of this crate stand on.

use core::time::Duration;
use std::net::{IpAddr, Ipv4Addr};

use wire::frame::MAX_HEADROOM;
use wire::ip::Protocol;
use wire::{Frame, Instant, MacAddr, Medium, icmpv4, icmpv6, udp};

use crate::iface::{NewAddr4, NewAddr6};
use crate::ip::IpOut;
use crate::mib::Counter;
use crate::record::IfIndex;
use crate::route::{Flow, NewRoute};
use crate::{Errno, Stack, StackConfig};

/// One frame that left a host.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) host: usize,
    pub(crate) bytes: Vec<u8>,
}

impl Sent {
    /// The packet behind the Ethernet header.
    pub(crate) fn packet(&self) -> &[u8] {
        &self.bytes[14..]
    }

    pub(crate) fn ethertype(&self) -> u16 {
        u16::from_be_bytes([self.bytes[12], self.bytes[13]])
    }
}

/// Hosts and the wires between them.
#[derive(Default)]
pub(crate) struct Net {
    pub(crate) hosts: Vec<Stack>,
    wires: Vec<[(usize, IfIndex); 2]>,
    pub(crate) sent: Vec<Sent>,
    pub(crate) now: Instant,
}

/// Frames that one call of [`Net::run_for`] carries at most: a loop is a bug.
const MAX_FRAMES: usize = 100_000;

impl Net {
    /// A host without IPv6, so that traces show only what the test is about.
    pub(crate) fn host_v4(&mut self, name: &str) -> usize {
        let host = self.host(name);
        self.sysctl(host, "net.ipv6.conf.default.disable_ipv6", "1");
        host
    }

    pub(crate) fn host(&mut self, name: &str) -> usize {
        self.hosts.push(Stack::new(StackConfig { name: name.into(), ..StackConfig::default() }));
        self.hosts.len() - 1
    }

    pub(crate) fn sysctl(&mut self, host: usize, name: &str, value: &str) {
        self.hosts[host].sysctl_write(self.now, name, value).expect("a known sysctl");
    }

    /// A wire between two hosts; both ends up. The interfaces' numbers.
    pub(crate) fn wire(&mut self, a: usize, b: usize, mtu: u32) -> (IfIndex, IfIndex) {
        let ends = [a, b].map(|h| {
            let n = u8::try_from(self.wires.len()).unwrap();
            let mac = MacAddr([2, 0, 0, n, 0, u8::try_from(h).unwrap()]);
            let name = format!("eth{n}");
            let ifindex = self.hosts[h].add_interface(&name, Medium::Ethernet, mac, mtu);
            self.hosts[h].link_set_up(self.now, ifindex, true).unwrap();
            (h, ifindex)
        });
        self.wires.push(ends);
        (ends[0].1, ends[1].1)
    }

    pub(crate) fn addr(&mut self, host: usize, ifindex: IfIndex, addr: &str) {
        let (addr, len) = addr.split_once('/').unwrap();
        let new = NewAddr4::new(addr.parse().unwrap(), len.parse().unwrap());
        self.hosts[host].addr_add4(self.now, ifindex, &new).unwrap();
    }

    /// An IPv6 address that is usable at once.
    pub(crate) fn addr6(&mut self, host: usize, ifindex: IfIndex, addr: &str) {
        let (addr, len) = addr.split_once('/').unwrap();
        let new = NewAddr6 { nodad: true, ..NewAddr6::new(addr.parse().unwrap(), len.parse().unwrap()) };
        self.hosts[host].addr_add6(self.now, ifindex, &new).unwrap();
    }

    /// A - R - B as [`Net::routed`], in 2001:db8:1::/64 and 2001:db8:2::/64, settled.
    pub(crate) fn routed6(far_mtu: u32) -> (Net, usize, usize, usize) {
        let mut net = Net::default();
        let (a, r, b) = (net.host("a"), net.host("r"), net.host("b"));
        net.sysctl(r, "net.ipv6.conf.all.forwarding", "1");
        let (a0, r0) = net.wire(a, r, 1500);
        let (r1, b0) = net.wire(r, b, far_mtu);
        net.addr6(a, a0, "2001:db8:1::1/64");
        net.addr6(r, r0, "2001:db8:1::ff/64");
        net.addr6(r, r1, "2001:db8:2::ff/64");
        net.addr6(b, b0, "2001:db8:2::1/64");
        net.route(a, "::/0", "2001:db8:1::ff");
        net.route(b, "::/0", "2001:db8:2::ff");
        net.run_for(Duration::from_secs(20)); // DAD, MLD, router solicitations
        net.ping(a, "2001:db8:2::1", 0).unwrap();
        net.run_for(Duration::from_millis(1));
        net.sent.clear();
        (net, a, r, b)
    }

    pub(crate) fn route(&mut self, host: usize, to: &str, via: &str) {
        let (dst, len) = to.split_once('/').unwrap();
        let new = NewRoute {
            gateway: Some(via.parse().unwrap()),
            ..NewRoute::new(dst.parse().unwrap(), len.parse().unwrap())
        };
        self.hosts[host].route_add_quiet(self.now, &new).unwrap();
    }

    /// A - R - B: A 192.0.2.1/25, R 192.0.2.126 and 198.51.100.126, B 198.51.100.1/25, as in TRUTH 11e and 11f.
    pub(crate) fn routed(far_mtu: u32) -> (Net, usize, usize, usize) {
        let mut net = Net::default();
        let (a, r, b) = (net.host_v4("a"), net.host_v4("r"), net.host_v4("b"));
        let (a0, r0) = net.wire(a, r, 1500);
        let (r1, b0) = net.wire(r, b, far_mtu);
        net.addr(a, a0, "192.0.2.1/25");
        net.addr(r, r0, "192.0.2.126/25");
        net.addr(r, r1, "198.51.100.126/25");
        net.addr(b, b0, "198.51.100.1/25");
        net.route(a, "0.0.0.0/0", "192.0.2.126");
        net.route(b, "0.0.0.0/0", "198.51.100.126");
        net.sysctl(r, "net.ipv4.ip_forward", "1");
        (net, a, r, b)
    }

    /// Carries frames and fires timers until nothing is left to do before `now + time`.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.carry();
            let next = self.hosts.iter().filter_map(Stack::poll_timeout).min();
            match next {
                Some(at) if at <= end => {
                    self.now = self.now.max(at);
                    for host in &mut self.hosts {
                        host.handle_timeout(self.now);
                    }
                }
                _ => break,
            }
        }
        self.now = end;
    }

    /// Carries frames until all is quiet; time stands still.
    pub(crate) fn carry(&mut self) {
        for _ in 0..MAX_FRAMES {
            let Some((host, (ifindex, frame))) =
                self.hosts.iter_mut().enumerate().find_map(|(i, h)| h.poll_transmit().map(|sent| (i, sent)))
            else {
                return;
            };
            self.sent.push(Sent { at: self.now, host, bytes: frame.to_vec() });
            let other = self.wires.iter().find_map(|w| {
                let at = w.iter().position(|end| *end == (host, ifindex))?;
                Some(w[1 - at])
            });
            if let Some((to, at)) = other {
                self.hosts[to].handle_frame(self.now, at, frame);
            }
        }
        panic!("frames without end");
    }

    /// A raw frame for one interface.
    pub(crate) fn inject(&mut self, host: usize, ifindex: IfIndex, bytes: &[u8]) {
        self.hosts[host].handle_frame(self.now, ifindex, Frame::from_slice(bytes));
    }

    /// Sends a packet of this protocol from a host as an unconnected socket would.
    pub(crate) fn send(
        &mut self,
        host: usize,
        dst: IpAddr,
        protocol: Protocol,
        segment: &[u8],
        change: impl FnOnce(IpOut) -> IpOut,
    ) -> Result<(), Errno> {
        let unspecified = if dst.is_ipv4() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)
        };
        let stack = &mut self.hosts[host];
        let route = stack.route_output(self.now, &Flow { dst, src: unspecified, oif: 0, tos: 0 })?;
        let mut frame = Frame::with_headroom(MAX_HEADROOM, segment.len());
        frame.put(segment);
        match (protocol, route.src, dst) {
            (Protocol::ICMP, ..) => icmpv4::set_checksum(frame.head_mut()),
            (Protocol::ICMPV6, IpAddr::V6(s), IpAddr::V6(d)) => {
                icmpv6::set_checksum(s, d, frame.head_mut());
            }
            (Protocol::UDP, IpAddr::V4(s), IpAddr::V4(d)) => {
                let sum = udp::checksum_v4(s, d, frame.head());
                frame.head_mut()[6..8].copy_from_slice(&sum.to_be_bytes());
            }
            _ => {}
        }
        let out = change(IpOut::new(route.src, dst, protocol));
        let result = stack.ip_output(self.now, &route, &out, frame);
        stack.run_loopback(self.now);
        result
    }

    /// `ping -c 1 -s size`: DF as `ping` has it by default.
    pub(crate) fn ping(&mut self, host: usize, dst: &str, size: usize) -> Result<(), Errno> {
        self.ping_with(host, dst, size, |out| out)
    }

    pub(crate) fn ping_with(
        &mut self,
        host: usize,
        dst: &str,
        size: usize,
        change: impl FnOnce(IpOut) -> IpOut,
    ) -> Result<(), Errno> {
        let dst: IpAddr = dst.parse().unwrap();
        let mut message = vec![0x5a; 8 + size];
        message[..8].copy_from_slice(&[8, 0, 0, 0, 0x12, 0x34, 0, 1]);
        let protocol = if dst.is_ipv4() {
            Protocol::ICMP
        } else {
            message[0] = 128;
            Protocol::ICMPV6
        };
        self.send(host, dst, protocol, &message, change)
    }

    /// A UDP datagram of `size` bytes to this port.
    pub(crate) fn udp(&mut self, host: usize, dst: &str, port: u16, size: usize) -> Result<(), Errno> {
        let len = u16::try_from(8 + size).unwrap();
        let mut datagram = vec![0; usize::from(len)];
        udp::Header { src_port: 40_000, dst_port: port, len, checksum: 0 }.emit(&mut datagram);
        self.send(host, dst.parse().unwrap(), Protocol::UDP, &datagram, |out| out)
    }

    /// What this host sent since the last call, ARP left out, one line a packet in the words of the traces.
    pub(crate) fn trace(&mut self, host: usize) -> Vec<String> {
        let nd = |s: &Sent| {
            s.ethertype() == 0x86dd && s.packet()[6] == 58 && (133..=136).contains(&s.packet()[40])
        };
        let lines = self.sent.iter().filter(|s| s.host == host && s.ethertype() != 0x0806 && !nd(s));
        let lines = lines.map(|s| describe(s.packet())).collect();
        self.sent.retain(|s| s.host != host);
        lines
    }

    pub(crate) fn counter(&self, host: usize, counter: Counter) -> u64 {
        self.hosts[host].mib().value(counter)
    }
}

/// One line in the words of truth/traces.
pub(crate) fn describe(packet: &[u8]) -> String {
    let Ok((h, n)) = wire::ipv4::Header::parse(packet) else {
        let Ok((h, n)) = wire::ipv6::Header::parse(packet) else { return format!("{packet:02x?}") };
        let upper = wire::quoted::Quoted::parse(packet).expect("an IPv6 packet");
        let what = match upper.protocol {
            Protocol::ICMPV6 if !upper.later_fragment => {
                format!("ICMP6 {}/{}", upper.upper[0], upper.upper[1])
            }
            other => format!("{other}"),
        };
        return format!(
            "IP6 {}>{} hlim {} iplen {} {what}",
            h.src,
            h.dst,
            h.hop_limit,
            n + usize::from(h.payload_len)
        );
    };
    assert!(wire::ipv4::verify_checksum(&packet[..n]), "a packet with a wrong header checksum");
    let df = if h.dont_fragment { " DF" } else { "" };
    let what = match h.protocol {
        _ if h.frag_offset != 0 => format!("frag {}", h.frag_offset),
        Protocol::ICMP => format!("ICMP {}/{}", packet[n], packet[n + 1]),
        Protocol::UDP => "UDP".into(),
        other => format!("{other}"),
    };
    let more = if h.more_fragments { " +" } else { "" };
    format!("IP {}>{} ttl {}{df} iplen {} {what}{more}", h.src, h.dst, h.ttl, h.total_len)
}
