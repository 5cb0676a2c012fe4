//! What happened: the append-only journal of a run that every view and check reads.
//!
//! The stack writes records about itself; the world adds packets on wires, faults and calls; the real
//! kernel's hosts fill in the same types from what the agent and the probes saw. Analysis knows these
//! types and nothing of the world that wrote them.

use std::net::IpAddr;

use wire::{Bytes, Frame, Instant, MacAddr, Medium};

use crate::drop_reason::DropReason;
use crate::neigh::NudState;

/// A host, switch or other node of the world; the index into [`Journal::nodes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// An interface's number within its host, from 1; `lo` is 1 as in Linux.
pub type IfIndex = u32;

/// One transmission of one packet, unique within the run: what left one NIC and what arrived at
/// others carry the same id. A forwarded or duplicated packet is a new transmission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId(pub u64);

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub at: Instant,
    /// Where.
    pub node: NodeId,
    /// What.
    pub what: What,
}

/// The kinds of fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A packet left an interface for the wire.
    Tx {
        /// The interface.
        ifindex: IfIndex,
        /// This transmission.
        id: FrameId,
        /// The whole packet.
        frame: Frame,
    },
    /// A packet arrived at an interface from the wire.
    Rx {
        /// The interface.
        ifindex: IfIndex,
        /// The transmission it belongs to.
        id: FrameId,
        /// The whole packet, as it arrived (corruption included).
        frame: Frame,
    },
    /// A packet that left a NIC will never arrive (at one of its destinations).
    Lost {
        /// The transmission.
        id: FrameId,
        /// By what.
        cause: LossCause,
    },
    /// A fault or impairment changed a packet's way without losing it.
    Altered {
        /// The transmission.
        id: FrameId,
        /// How: Wireshark-free words such as `delayed 200 ms`, `corrupted byte 54`, `duplicated as #9`.
        how: String,
        /// The scenario's fault, when it was one (index from 0).
        fault: Option<u32>,
    },
    /// The stack dropped a packet.
    Drop {
        /// The interface it came in or would have left by; 0 when none.
        ifindex: IfIndex,
        /// Linux's reason.
        reason: DropReason,
        /// The transmission, when it had just arrived.
        id: Option<FrameId>,
        /// The packet's first bytes, from the IP (or ARP) header on; at most 128.
        packet: Bytes,
    },
    /// A neighbour entry changed, as `ip monitor neigh` reports it.
    Neigh {
        /// The interface.
        ifindex: IfIndex,
        /// The neighbour's address.
        addr: IpAddr,
        /// Its link-layer address, when known.
        lladdr: Option<MacAddr>,
        /// The state before; `None` when the entry is new.
        from: Option<NudState>,
        /// The state after; `None` when the entry was removed.
        to: Option<NudState>,
    },
    /// A packet waits for a neighbour's link-layer address.
    NeighQueued {
        /// The interface.
        ifindex: IfIndex,
        /// The neighbour's address.
        addr: IpAddr,
        /// Packets that wait now.
        queued: u32,
    },
    /// An interface address changed.
    Addr {
        /// The interface.
        ifindex: IfIndex,
        /// The address.
        addr: IpAddr,
        /// What became of it.
        change: AddrChange,
    },
    /// An interface went up or down (administratively or by carrier).
    Link {
        /// The interface.
        ifindex: IfIndex,
        /// `IFF_UP`.
        up: bool,
        /// `IFF_LOWER_UP`.
        carrier: bool,
    },
    /// A route was added, removed or learnt; the text is `ip route`'s line.
    Route {
        /// `ip route`'s words.
        text: String,
        /// `false` when it was removed.
        added: bool,
    },
    /// A socket's state changed, in the words of `ss`.
    Sock {
        /// Which socket of this host; unique in the run.
        sock: u32,
        /// State before, as `ss` prints it; `None` when new.
        from: Option<&'static str>,
        /// State after; `None` when gone.
        to: Option<&'static str>,
        /// Local address and port, then the peer's, as `ss` prints them.
        addrs: String,
    },
    /// A named timer of the host ran.
    Timer {
        /// What ran: `SYN-ACK`, `RTO`, `TLP`, `arp`, `dad` …
        name: &'static str,
        /// Details such as `try 2 of 6`.
        detail: String,
    },
    /// A program entered a system call.
    Call {
        /// The program (index into [`NodeInfo::programs`]).
        program: u32,
        /// Pairs calls with their returns within one program.
        seq: u32,
        /// As `strace` writes it, without the result.
        text: String,
    },
    /// A system call returned.
    Return {
        /// The program.
        program: u32,
        /// The call.
        seq: u32,
        /// As `strace` writes it after the `=`, such as `3` or `-1 ECONNREFUSED (Connection refused)`.
        text: String,
        /// An expectation in the scenario that it did not meet.
        unexpected: Option<String>,
    },
    /// An `ip`, `sysctl` or similar command changed the host.
    Admin {
        /// The command line.
        text: String,
    },
    /// A program printed a line: what a client tells its user, what a server writes to its log.
    Output {
        /// The program (index into [`NodeInfo::programs`]).
        program: u32,
        /// Without the newline.
        line: String,
    },
    /// A program told a secret of TLS or QUIC: a line of the NSS key log format, as `SSLKEYLOGFILE` has it. Captures carry
    /// it in a Decryption Secrets Block.
    KeyLog {
        /// Such as `CLIENT_RANDOM …`, without the newline.
        line: String,
    },
    /// Something a reader should know that has no type of its own.
    Note {
        /// One sentence.
        text: String,
    },
}

/// What became of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddrChange {
    /// Duplicate address detection runs (RFC 4862 §5.4).
    Tentative,
    /// In use.
    Preferred,
    /// Its preferred lifetime is over.
    Deprecated,
    /// Somebody else has it.
    DadFailed,
    /// Removed.
    Removed,
}

/// Why a packet did not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// A fault of the scenario, by its index from 0.
    Fault(u32),
    /// `loss random` on the link.
    Random,
    /// `loss gemodel` on the link.
    Gemodel,
    /// The link's queue was full.
    QueueLimit {
        /// Packets (or bytes) that it takes.
        limit: u32,
    },
    /// The link was down.
    LinkDown,
    /// Longer than the link's MTU.
    LinkMtu,
    /// Nothing is attached to the other end, or no port has this MAC address.
    NoPort,
    /// The switch's dynamic ARP inspection refused it.
    ArpInspection,
    /// The VLAN is not allowed on the port.
    Vlan,
    /// The receiver's interface was down.
    ReceiverDown,
}

/// The journal of one run: who took part, what happened, how it ended.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// Every node, indexed by [`NodeId`].
    pub nodes: Vec<NodeInfo>,
    /// Every fact, in the order in which it happened.
    pub records: Vec<Record>,
    /// The scenario's faults in order, in the words of the file; indexes of [`LossCause::Fault`].
    pub faults: Vec<String>,
    /// Virtual time at the end.
    pub end: Instant,
}

/// One node of the world.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// Its name in the scenario.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// Its interfaces; `ifindex` is the field, not the position.
    pub ifaces: Vec<IfaceInfo>,
    /// Its programs' names.
    pub programs: Vec<String>,
    /// Programs, by number, that say themselves what they do ([`What::Output`]): their system calls are details.
    pub folded: Vec<u32>,
    /// `nstat`'s counters at the end that are not zero, such as (`IpInReceives`, 4).
    pub counters: Vec<(String, u64)>,
    /// Sysctls that the run set, and others worth telling, such as
    /// (`net.ipv4.neigh.default.mcast_solicit`, `3`), in the words of `sysctl`.
    pub sysctls: Vec<(String, String)>,
    /// Tables at the end: (`ip neigh`, text), (`ss -uanp`, text) …
    pub tables: Vec<(String, String)>,
}

/// What a node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodeKind {
    /// A host on our stack, with its kernel profile (`6.18`).
    #[default]
    Stack,
    /// A host on a real kernel, with its `uname -r`.
    Linux(String),
    /// A switch.
    Switch,
    /// Read from a capture: an address, not a node.
    Seen,
}

/// One interface of a node.
#[derive(Clone, Debug)]
pub struct IfaceInfo {
    /// Its number.
    pub ifindex: IfIndex,
    /// Its name, such as `eth0`.
    pub name: String,
    /// Ethernet or bare IP.
    pub medium: Medium,
    /// Its MAC address; zero on a bare-IP interface.
    pub mac: MacAddr,
    /// The addresses at the start, with prefix lengths.
    pub addrs: Vec<(IpAddr, u8)>,
}
