//! Watches a namespace from outside: neighbour states, addresses, links, routes, counters.
//!
//! The kernel announces most changes of a neighbour entry, but not all: an entry becomes INCOMPLETE and
//! DELAY in silence (Linux: net/core/neighbour.c `__neigh_event_send()`, which never calls
//! `neigh_update_notify()`). So the table is also dumped: when a packet of the host was seen, before the
//! world gets it, and every [`DUMP_INTERVAL`].

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use stack::neigh::NudState;
use stack::record::{AddrChange, IfIndex, What};
use wire::{Instant, MacAddr};

use crate::memfile::read_from_start;
use crate::netlink::{self, Message, Table};
use crate::nstat;
use crate::sys;

/// How often the neighbour table is dumped when nothing else asks for it.
pub(crate) const DUMP_INTERVAL: Duration = Duration::from_millis(50);

/// How often at most it is dumped because of packets: a dump costs some 10 us, too much for each packet of a flow.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// One netlink message is at most this long (the kernel's dumps use up to 32 KiB).
const BUFFER: usize = 64 * 1024;

/// The most messages taken at a time, so that a storm of events does not stop the world.
const MAX_READS: usize = 64;

/// What stands when the run begins.
pub(crate) struct Beginning {
    /// What the setup did, as facts.
    pub(crate) whats: Vec<What>,
    /// Every address with its prefix length.
    pub(crate) addrs: Vec<(IfIndex, IpAddr, u8)>,
}

/// The state that was last seen, and the descriptors that show it.
pub(crate) struct Probe {
    pub(crate) events: OwnedFd,
    dump: OwnedFd,
    counter_files: Vec<OwnedFd>,
    counters_before: BTreeMap<String, u64>,
    neigh: BTreeMap<(IfIndex, IpAddr), (NudState, Option<MacAddr>)>,
    addrs: BTreeMap<(IfIndex, IpAddr), AddrChange>,
    links: BTreeMap<IfIndex, (String, bool, bool)>,
    /// The kernel's interface numbers and the world's, where they differ.
    renumbered: Vec<(u32, IfIndex)>,
    next_dump: Instant,
    last_dump: Option<Instant>,
    seq: u32,
    buf: Vec<u8>,
}

impl Probe {
    pub(crate) fn new(
        events: OwnedFd,
        dump: OwnedFd,
        counter_files: Vec<OwnedFd>,
        renumbered: Vec<(u32, IfIndex)>,
    ) -> Probe {
        Probe {
            events,
            dump,
            counter_files,
            counters_before: BTreeMap::new(),
            neigh: BTreeMap::new(),
            addrs: BTreeMap::new(),
            links: BTreeMap::new(),
            renumbered,
            next_dump: Instant::ZERO,
            last_dump: None,
            seq: 0,
            buf: vec![0; BUFFER],
        }
    }

    /// The run begins: what the setup did is told as of now, and counting starts.
    pub(crate) fn start(&mut self) -> io::Result<Beginning> {
        // Names first: a route's text needs them.
        for message in self.table(Table::Link)? {
            if let Message::Link { ifindex, name, .. } = message {
                self.links.entry(self.world_index(ifindex)).or_insert((name, false, false));
            }
        }
        let mut whats = self.drain()?;
        let mut addrs = Vec::new();
        for message in self.table(Table::Addr)? {
            if let Message::Addr { ifindex, addr, prefix, .. } = message {
                addrs.push((self.world_index(ifindex), addr, prefix));
            }
        }
        whats.extend(self.dump_neigh()?);
        self.counters_before = self.read_counters()?;
        Ok(Beginning { whats, addrs })
    }

    /// Whether the table should be dumped now that the host sent this packet: always for one that speaks of
    /// neighbours, else when the last dump is [`LOOK_INTERVAL`] old. If not, a dump follows soon.
    pub(crate) fn wants_look(&mut self, now: Instant, packet: &[u8]) -> bool {
        let wanted =
            speaks_of_neighbours(packet) || self.last_dump.is_none_or(|at| now - at >= LOOK_INTERVAL);
        if !wanted {
            self.next_dump = self.next_dump.min(now + LOOK_INTERVAL);
        }
        wanted
    }

    /// When the table should be dumped although nothing happened.
    pub(crate) fn next_dump(&self) -> Instant {
        self.next_dump
    }

    /// What the kernel announced.
    pub(crate) fn drain(&mut self) -> io::Result<Vec<What>> {
        let mut out = Vec::new();
        for _ in 0..MAX_READS {
            let messages = match sys::read(self.events.as_raw_fd(), &mut self.buf) {
                Ok(n) => netlink::parse(&self.buf[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // Some were lost; the next dump makes good for neighbours.
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => continue,
                Err(e) => return Err(e),
            };
            for message in messages {
                out.extend(self.learn(message));
            }
        }
        Ok(out)
    }

    /// Announcements first, then the whole neighbour table.
    pub(crate) fn look(&mut self, now: Instant) -> io::Result<Vec<What>> {
        self.next_dump = now + DUMP_INTERVAL;
        self.last_dump = Some(now);
        let mut out = self.drain()?;
        out.extend(self.dump_neigh()?);
        Ok(out)
    }

    fn dump_neigh(&mut self) -> io::Result<Vec<What>> {
        let mut out = Vec::new();
        let mut seen = Vec::new();
        for message in self.table(Table::Neigh)? {
            if let Message::Neigh { ifindex, addr, .. } = message {
                seen.push((self.world_index(ifindex), addr));
                out.extend(self.learn(message));
            }
        }
        let gone: Vec<_> = self.neigh.keys().filter(|key| !seen.contains(key)).copied().collect();
        for (ifindex, addr) in gone {
            out.extend(self.neigh_is(ifindex, addr, None, None));
        }
        Ok(out)
    }

    /// Asks for a table and reads it; the kernel has it ready when the request returns.
    fn table(&mut self, table: Table) -> io::Result<Vec<Message>> {
        self.seq += 1;
        sys::write(self.dump.as_raw_fd(), &netlink::dump_request(table, self.seq))?;
        let mut out = Vec::new();
        loop {
            let n = match sys::read(self.dump.as_raw_fd(), &mut self.buf) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(out),
                Err(e) => return Err(e),
            };
            for message in netlink::parse(&self.buf[..n]) {
                if message == Message::Done {
                    return Ok(out);
                }
                out.push(message);
            }
        }
    }

    fn world_index(&self, kernel: u32) -> IfIndex {
        self.renumbered.iter().find(|(k, _)| *k == kernel).map_or(kernel, |(_, w)| *w)
    }

    /// Compares with what was known; a difference is a fact for the journal.
    fn learn(&mut self, message: Message) -> Option<What> {
        match message {
            Message::Neigh { ifindex, addr, lladdr, state } => {
                self.neigh_is(self.world_index(ifindex), addr, lladdr, state)
            }
            Message::Addr { ifindex, addr, change, .. } => {
                let ifindex = self.world_index(ifindex);
                let before = match change {
                    AddrChange::Removed => self.addrs.remove(&(ifindex, addr)),
                    change => self.addrs.insert((ifindex, addr), change),
                };
                (before != Some(change)).then_some(What::Addr { ifindex, addr, change })
            }
            Message::Link { ifindex, name, up, carrier, gone } => {
                let ifindex = self.world_index(ifindex);
                let before = if gone {
                    self.links.remove(&ifindex)
                } else {
                    self.links.insert(ifindex, (name, up, carrier))
                };
                let changed = gone || before.is_none_or(|(_, u, c)| (u, c) != (up, carrier));
                changed.then_some(What::Link { ifindex, up: up && !gone, carrier: carrier && !gone })
            }
            Message::Route { route, added } => {
                let name = |kernel| self.links.get(&self.world_index(kernel)).map(|(name, ..)| name.clone());
                Some(What::Route { text: route.text(name), added })
            }
            Message::Done => None,
        }
    }

    /// `None` for gone. NOARP entries (multicast, broadcast, loopback) are not shown, as in `ip neigh`.
    fn neigh_is(
        &mut self,
        ifindex: IfIndex,
        addr: IpAddr,
        lladdr: Option<MacAddr>,
        to: Option<NudState>,
    ) -> Option<What> {
        if to == Some(NudState::Noarp) {
            return None;
        }
        let before = match to {
            Some(state) => self.neigh.insert((ifindex, addr), (state, lladdr)),
            None => self.neigh.remove(&(ifindex, addr)),
        };
        let (from, lladdr_before) = before.unzip();
        if from == to && (to.is_none() || lladdr_before == Some(lladdr)) {
            return None;
        }
        Some(What::Neigh { ifindex, addr, lladdr, from, to })
    }

    fn read_counters(&self) -> io::Result<BTreeMap<String, u64>> {
        let mut counters = BTreeMap::new();
        for file in &self.counter_files {
            nstat::parse(&String::from_utf8_lossy(&read_from_start(file)?), &mut counters);
        }
        Ok(counters)
    }

    /// What was counted since [`Probe::start`], in `nstat`'s names.
    pub(crate) fn counters(&self) -> io::Result<Vec<(String, u64)>> {
        Ok(nstat::difference(&self.counters_before, &self.read_counters()?))
    }
}

/// ARP, or neighbour discovery (ICMPv6 types 133 to 137) without extension headers, on Ethernet.
fn speaks_of_neighbours(packet: &[u8]) -> bool {
    match packet.get(12..14) {
        Some([0x08, 0x06]) => true,
        Some([0x86, 0xdd]) => packet.get(20) == Some(&58) && matches!(packet.get(54), Some(133..=137)),
        _ => false,
    }
}
