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

    /// Tables, as Linux's tools print them.
    pub(crate) fn tables(&self, now: Instant) -> Vec<(String, String)> {
        let sockets = self.stack.ss_udp();
        let mut tables = vec![
            ("ip neigh".to_string(), self.stack.ip_neigh()),
            ("ip route".to_string(), self.stack.ip_route(now, false, Table::Main)),
            ("ip -6 route".to_string(), self.stack.ip_route(now, true, Table::Main)),
        ];
        // Its first line is the heading.
        if sockets.lines().count() > 1 {
            tables.push(("ss -uan".to_string(), sockets.lines().map(String::from).collect()));
        }
        if let Some(nat) = &self.nat {
            tables
                .push(("conntrack -L".to_string(), nat.table_text(now).lines().map(String::from).collect()));
        }
        tables.retain(|(_, lines)| !lines.is_empty());
        tables.into_iter().map(|(name, lines)| (name, lines.join("\n") + "\n")).collect()
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
