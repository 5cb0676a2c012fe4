//! A host on our stack: the stack, what sits between it and its interfaces, and its processes.

use std::net::IpAddr;

use stack::Stack;
use stack::record::IfIndex;
use stack::route::Table;
use stack::socket::Pid;
use wire::{Frame, Instant, MacAddr, Medium};

use crate::nat::{Nat, Pass};

/// A host on our stack.
pub(crate) struct Host {
    pub(crate) stack: Stack,
    /// When the event queue looks at the stack's timers; never later than the earliest of them.
    pub(crate) armed: Option<Instant>,
    /// Which program each process is, in the order of their numbers.
    processes: Vec<(Pid, u32)>,
    /// Address translation on one of its interfaces.
    pub(crate) nat: Option<Box<Nat>>,
}

impl Host {
    pub(crate) fn new(stack: Stack) -> Host {
        Host { stack, armed: None, processes: Vec::new(), nat: None }
    }

    pub(crate) fn add_process(&mut self, pid: Pid, program: u32) {
        let at = self.processes.partition_point(|(p, _)| *p < pid);
        self.processes.insert(at, (pid, program));
    }

    pub(crate) fn program_of(&self, pid: Pid) -> Option<u32> {
        let at = self.processes.binary_search_by_key(&pid, |(p, _)| *p).ok()?;
        Some(self.processes[at].1)
    }
}

impl Host {
    /// An interface that a link can be connected to.
    pub(crate) fn add_nic(&mut self, name: &str, medium: Medium, mac: MacAddr, mtu: u32) -> IfIndex {
        self.stack.add_interface(name, medium, mac, mtu)
    }

    /// A packet arrived from the wire. Hands it back when address translation refused it.
    #[inline]
    pub(crate) fn receive(&mut self, now: Instant, ifindex: IfIndex, mut frame: Frame) -> Option<Frame> {
        if let Some(nat) = &mut self.nat {
            if nat.wan() == ifindex {
                if nat.inbound(now, &mut frame) == Pass::No {
                    return Some(frame);
                }
            } else if nat.hairpins()
                && let Some(iface) = self.stack.interfaces().get(ifindex)
            {
                nat.hairpin_in(now, &mut frame, iface.medium);
            }
        }
        self.stack.handle_frame(now, ifindex, frame);
        None
    }

    /// The next packet for the wire, and whether address translation lets it pass.
    #[inline]
    pub(crate) fn transmit(&mut self, now: Instant) -> Option<(IfIndex, Frame, Pass)> {
        let (ifindex, mut frame) = self.stack.poll_transmit()?;
        let pass = match &mut self.nat {
            Some(nat) if nat.wan() == ifindex => nat.outbound(now, &mut frame),
            Some(nat) if nat.hairpins() => match self.stack.interfaces().get(ifindex) {
                Some(iface) => nat.hairpin_out(now, &mut frame, iface.medium),
                None => Pass::Yes,
            },
            Some(_) | None => Pass::Yes,
        };
        Some((ifindex, frame, pass))
    }

    /// The cable of an interface was plugged in or pulled.
    pub(crate) fn set_carrier(&mut self, now: Instant, ifindex: IfIndex, up: bool) {
        // The interface may be gone: `ip link delete`.
        let _ = self.stack.link_set_carrier(now, ifindex, up);
    }

    /// Counters that are not zero, as `nstat` names them.
    pub(crate) fn counters(&self) -> Vec<(String, u64)> {
        self.stack.mib().non_zero().map(|(name, value)| (name.to_string(), value)).collect()
    }

    /// The settings that explanations name, with the values in force at the end: interfaces have their own.
    pub(crate) fn sysctls(&self) -> Vec<(String, String)> {
        let mut names: Vec<String> = TOLD.iter().map(|name| (*name).to_string()).collect();
        for iface in self.stack.interfaces().iter().filter(|i| &*i.name != "lo") {
            names.extend(TOLD_CONF4.iter().map(|key| format!("net/ipv4/conf/{}/{key}", iface.name)));
            for family in ["ipv4", "ipv6"] {
                names.extend(TOLD_NEIGH.iter().map(|key| format!("net/{family}/neigh/{}/{key}", iface.name)));
            }
        }
        // A kernel profile may be without one of them.
        let read = |name: String| {
            let value = self.stack.sysctl_read(&name).ok()?;
            Some((name.replace('/', "."), value))
        };
        names.into_iter().filter_map(read).collect()
    }

    /// Tables, as Linux's tools print them.
    pub(crate) fn tables(&self, now: Instant) -> Vec<(String, String)> {
        let neighbours = self.stack.ip_neigh();
        let ipv6 = |line: &&String| line.split(' ').next().is_some_and(|addr| addr.contains(':'));
        let of_ipv6 = neighbours.iter().filter(ipv6).cloned().collect();
        let lines = |text: String| text.lines().map(String::from).collect();
        let mut tables = vec![
            ("ip addr".to_string(), self.stack.ip_addr(now)),
            ("ip -6 addr".to_string(), self.stack.ip6_addr(now)),
            ("ip neigh".to_string(), neighbours),
            ("ip -6 neigh".to_string(), of_ipv6),
            ("ip route".to_string(), self.stack.ip_route(now, false, Table::Main)),
            ("ip -6 route".to_string(), self.stack.ip_route(now, true, Table::Main)),
            ("ss -uan".to_string(), lines(self.stack.ss_udp())),
            ("ss -tan".to_string(), lines(self.stack.ss_tan(now))),
            ("ss -tanoi".to_string(), lines(self.stack.ss_tcp(now))),
            ("ip tcp_metrics".to_string(), lines(self.stack.ip_tcp_metrics(now))),
            ("nstat".to_string(), lines(self.stack.nstat())),
        ];
        if let Some(nat) = &self.nat {
            tables
                .push(("conntrack -L".to_string(), nat.table_text(now).lines().map(String::from).collect()));
        }
        let text = |lines: Vec<String>| lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        tables.into_iter().map(|(name, lines)| (name, text(lines))).collect()
    }

    /// The addresses of an interface.
    pub(crate) fn addrs(&self, ifindex: IfIndex) -> Vec<(IpAddr, u8)> {
        let Some(iface) = self.stack.interfaces().get(ifindex) else { return Vec::new() };
        let v4 = iface.addrs4.iter().map(|a| (IpAddr::V4(a.addr), a.prefix_len));
        let v6 = iface.inet6.addrs.iter().map(|a| (IpAddr::V6(a.addr), a.prefix_len));
        v4.chain(v6).collect()
    }

    /// The interface takes packets.
    #[inline]
    pub(crate) fn is_up(&self, ifindex: IfIndex) -> bool {
        self.stack.interfaces().get(ifindex).is_some_and(|iface| iface.up)
    }
}

/// Settings without an interface that decide what a run shows.
const TOLD: [&str; 30] = [
    "net/core/rmem_default",
    "net/core/somaxconn",
    "net/ipv4/icmp_ratelimit",
    "net/ipv4/icmp_ratemask",
    "net/ipv4/ip_default_ttl",
    "net/ipv4/ip_forward",
    "net/ipv4/ip_no_pmtu_disc",
    "net/ipv4/ipfrag_time",
    "net/ipv4/tcp_abort_on_overflow",
    "net/ipv4/tcp_congestion_control",
    "net/ipv4/tcp_early_retrans",
    "net/ipv4/tcp_fin_timeout",
    "net/ipv4/tcp_keepalive_time",
    "net/ipv4/tcp_orphan_retries",
    "net/ipv4/tcp_recovery",
    "net/ipv4/tcp_retries2",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_sack",
    "net/ipv4/tcp_syn_linear_timeouts",
    "net/ipv4/tcp_syn_retries",
    "net/ipv4/tcp_synack_retries",
    "net/ipv4/tcp_timestamps",
    "net/ipv4/tcp_tw_reuse",
    "net/ipv4/route/min_pmtu",
    "net/ipv4/route/mtu_expires",
    "net/ipv4/conf/all/accept_redirects",
    "net/ipv4/conf/all/arp_accept",
    "net/ipv4/conf/all/proxy_arp",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/ip6frag_time",
];

/// The same of an interface: `net.ipv4.conf.eth0.arp_accept`.
const TOLD_CONF4: [&str; 3] = ["arp_accept", "proxy_arp", "accept_redirects"];

/// The same of an interface's neighbours, in both families.
const TOLD_NEIGH: [&str; 6] = [
    "base_reachable_time_ms",
    "delay_first_probe_time",
    "gc_stale_time",
    "mcast_solicit",
    "retrans_time_ms",
    "ucast_solicit",
];
