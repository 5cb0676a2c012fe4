//! A host on our stack: the stack, what sits between it and its interfaces, and its processes.

use stack::Stack;
use stack::record::IfIndex;
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
    nics: IfIndex,
    /// Address translation on one of its interfaces.
    pub(crate) nat: Option<Box<Nat>>,
}

impl Host {
    pub(crate) fn new(stack: Stack) -> Host {
        Host { stack, armed: None, processes: Vec::new(), nics: 0, nat: None }
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
        let _ = (name, medium, mac, mtu);
        self.nics += 1;
        self.nics + 1
    }

    /// A packet arrived from the wire. Hands it back when address translation refused it.
    #[inline]
    pub(crate) fn receive(&mut self, now: Instant, ifindex: IfIndex, mut frame: Frame) -> Option<Frame> {
        if let Some(nat) = &mut self.nat
            && nat.wan() == ifindex
            && nat.inbound(now, &mut frame) == Pass::No
        {
            return Some(frame);
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
            _ => Pass::Yes,
        };
        Some((ifindex, frame, pass))
    }

    /// The cable of an interface was plugged in or pulled.
    pub(crate) fn set_carrier(&mut self, now: Instant, ifindex: IfIndex, up: bool) {
        let _ = (now, ifindex, up);
    }

    /// Counters that are not zero, as `nstat` names them.
    pub(crate) fn counters(&self) -> Vec<(String, u64)> {
        Vec::new()
    }

    /// Tables, as Linux's tools print them.
    pub(crate) fn tables(&self, now: Instant) -> Vec<(String, String)> {
        let _ = now;
        Vec::new()
    }
}
