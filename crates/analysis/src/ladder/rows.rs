//! From records to rows: which records share a row. A packet's row carries what its sender did at that
//! instant and what its receivers did because of it; a call and its result at the same instant are one.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::IpAddr;

use stack::neigh::NudState;
use stack::record::{Journal, NodeKind, Record, What};
use unicode_width::UnicodeWidthStr as _;
use wire::{Instant, MacAddr, Medium};

use super::{ArrivalAt, Column, EventKind, EventRow, Label, Options, PacketRow, Row, RowKind, events};
use crate::dissect::Dissection;
use crate::housekeeping::{Housekeeping, is_housekeeping};
use crate::meaning::{Flows, Names, with_content, words};
use crate::traffic::{Traffic, Transmission};
use crate::view::View;

/// A call that returns so soon did not block: a real kernel needs some microseconds, an agent more.
const AT_ONCE: Duration = Duration::from_millis(1);
/// Labels longer than this have a row of their own, at their own time.
const MAX_LABEL: usize = 22;

struct Builder<'a> {
    journal: &'a Journal,
    columns: &'a [Column],
    rows: Vec<Row>,
    /// Transmission record → its row.
    row_of_tx: BTreeMap<usize, usize>,
    /// Arrival record → the transmission's record.
    tx_of_rx: BTreeMap<usize, usize>,
    /// The packet whose arrival a node is busy with: row, and when it arrived.
    busy_with: BTreeMap<u32, (usize, Instant)>,
    /// Neighbour entries' link-layer addresses so far, by node, interface and address.
    lladdrs: BTreeMap<(u32, u32, IpAddr), MacAddr>,
    /// Returns that are shown with their calls.
    told: Vec<bool>,
}

pub(super) fn of(
    journal: &Journal,
    (traffic, dissection): (&Traffic, &Dissection),
    columns: &[Column],
    options: &Options,
    hidden: &Housekeeping,
) -> Vec<Row> {
    let mut b = Builder {
        journal,
        columns,
        rows: Vec::new(),
        row_of_tx: BTreeMap::new(),
        tx_of_rx: BTreeMap::new(),
        busy_with: BTreeMap::new(),
        lladdrs: BTreeMap::new(),
        told: vec![false; journal.records.len()],
    };
    let mut flows = Flows::default();
    let shown = || traffic.numbered().filter(|t| !hidden.packets.contains(&t.number) && options.shows(t));
    let by_record: BTreeMap<usize, &Transmission> = shown().map(|t| (t.record, t)).collect();
    for t in shown() {
        for a in &t.arrivals {
            b.tx_of_rx.insert(a.record, t.record);
        }
    }
    let results = results(journal);
    let mut setting_up = journal.records.first().map(|r| r.at);
    // Entries made by hand before a TCP question begins keep ARP out of it: they are no part of the answer.
    let above = traffic.numbered().any(|t| t.view.tcp().is_some());
    for (i, r) in journal.records.iter().enumerate() {
        if let Some(t) = by_record.get(&i) {
            b.packet(i, t, &mut flows, dissection);
        }
        if matches!(r.what, What::Call { .. }) || setting_up.is_some_and(|at| r.at > at) {
            setting_up = None;
        }
        let routine = is_routine(r)
            || hidden.has(r, traffic)
            || setting_up.is_some() && (is_setup(r) || above && is_made_by_hand(r))
            || above && is_flooded(r);
        if !options.setup && routine {
            continue;
        }
        match &r.what {
            What::Rx { .. } => b.arrived(i, r),
            What::Tx { .. } | What::Lost { .. } | What::Altered { .. } | What::KeyLog { .. } => {}
            What::Call { .. } | What::Return { .. } if !options.calls => {}
            What::Call { program, .. } | What::Return { program, unexpected: None, .. }
                if !options.unfold && is_command(journal, r, *program) => {}
            What::Call { text, .. } => b.call(i, r, text, &results),
            What::Return { .. } if b.told[i] => {}
            What::Return { program, seq, .. } => b.returned(i, r, results.get(&(r.node.0, *program, *seq))),
            What::Drop { .. }
            | What::Neigh { .. }
            | What::NeighQueued { .. }
            | What::Addr { .. }
            | What::Link { .. }
            | What::Route { .. }
            | What::Sock { .. }
            | What::Timer { .. }
            | What::Admin { .. }
            | What::Output { .. }
            | What::Note { .. } => {
                let known = b.remember_lladdr(r);
                if let Some((kind, text)) = events::words(journal, r, known) {
                    b.event(i, r, kind, text);
                }
            }
        }
    }
    b.rows
}

/// Where a packet of a capture went that has no column there: to a group, to nobody who ever spoke, or back
/// to its own sender.
fn whither(t: &Transmission) -> String {
    match t.view.ip() {
        Some(ip) if ip.src == ip.dst => " to itself".to_string(),
        Some(ip) => format!(" to {}", ip.dst),
        None => String::new(),
    }
}

/// `ping`, `traceroute` and programs above the sockets are known by what they print and send: their many calls are shown
/// unfolded only.
fn is_command(journal: &Journal, r: &Record, program: u32) -> bool {
    let node = journal.nodes.get(r.node.0 as usize);
    let name = node.and_then(|n| n.programs.get(program as usize));
    node.is_some_and(|n| n.folded.contains(&program))
        || name.is_some_and(|n| matches!(n.split(' ').next(), Some("ping" | "ping6" | "traceroute")))
}

/// Commands and what follows from them, before the first packet and call.
fn is_setup(r: &Record) -> bool {
    matches!(r.what, What::Admin { .. } | What::Addr { .. } | What::Link { .. } | What::Route { .. })
}

/// What a switch sent to everybody: no part of an answer about TCP.
fn is_flooded(r: &Record) -> bool {
    matches!(r.what, What::Drop { reason: stack::DropReason::IpOthersHost, .. })
}

fn is_made_by_hand(r: &Record) -> bool {
    matches!(r.what, What::Neigh { from: None, to: Some(NudState::Permanent), .. })
}

/// What comes with every address and every socket and tells nothing.
fn is_routine(r: &Record) -> bool {
    match &r.what {
        What::Route { text, .. } => text.contains("proto kernel") || text.contains("table local"),
        // Nobody waits for reports and solicitations that go to routers.
        What::Drop { packet, .. } => is_housekeeping(&View::of_bytes(Medium::Ip, packet.to_vec())),
        What::Sock { to, from, .. } => matches!((from, to), (None, Some("UNCONN")) | (_, None)),
        _ => false,
    }
}

/// Call and return records by node, program and number.
type Results = BTreeMap<(u32, u32, u32), (usize, Option<usize>)>;

fn results(journal: &Journal) -> Results {
    let mut results = Results::new();
    for (i, r) in journal.records.iter().enumerate() {
        match r.what {
            What::Call { program, seq, .. } => {
                results.insert((r.node.0, program, seq), (i, None));
            }
            What::Return { program, seq, .. } => {
                if let Some(entry) = results.get_mut(&(r.node.0, program, seq)) {
                    entry.1 = Some(i);
                }
            }
            _ => {}
        }
    }
    results
}

impl Builder<'_> {
    /// What a neighbour entry's link-layer address was before this record.
    fn remember_lladdr(&mut self, r: &Record) -> Option<MacAddr> {
        let What::Neigh { ifindex, addr, lladdr, .. } = r.what else { return None };
        let key = (r.node.0, ifindex, addr);
        match lladdr {
            Some(mac) => self.lladdrs.insert(key, mac),
            None => self.lladdrs.get(&key).copied(),
        }
    }

    fn column(&self, node: u32) -> Option<usize> {
        self.columns.iter().position(|c| c.node == node)
    }

    fn packet(&mut self, record: usize, t: &Transmission, flows: &mut Flows, dissection: &Dissection) {
        let mut words = words(&t.view, flows, &Names::default());
        if let Some(packet) = dissection.packet(t.number) {
            words = with_content(words, &t.view, packet);
        }
        let from = self.column(t.from.0).filter(|_| !self.seen_on_arrival_only(t));
        let to = self.receivers(t, from);
        if to.is_empty() && self.journal.nodes[t.from.0 as usize].kind == NodeKind::Seen {
            words.short.push_str(&whither(t));
        }
        let arrivals = t
            .arrivals
            .iter()
            .filter_map(|a| Some(ArrivalAt { column: self.column(a.node.0)?, at_ns: a.at.as_nanos() }))
            .collect();
        let mut causes: Vec<String> = t.losses.iter().map(|l| events::loss_words(&l.cause)).collect();
        causes.dedup();
        let before = self.take_before(t, from);
        let row = PacketRow {
            number: t.number,
            from,
            to,
            words: words.short,
            long: words.long,
            len: t.frame.len(),
            arrivals,
            lost: t.arrivals.is_empty() && !t.losses.is_empty(),
            causes,
            altered: t.altered.iter().map(|(_, how)| how.clone()).collect(),
            before,
            after: Vec::new(),
        };
        let mut records = vec![record];
        records.extend(t.arrivals.iter().map(|a| a.record).filter(|&r| r != record));
        records.extend(t.losses.iter().map(|l| l.record));
        records.extend(t.altered.iter().map(|a| a.0));
        self.row_of_tx.insert(record, self.rows.len());
        self.rows.push(Row { at_ns: t.at.as_nanos(), what: RowKind::Packet(Box::new(row)), records });
    }

    /// A capture's packet that only its receiver saw.
    fn seen_on_arrival_only(&self, t: &Transmission) -> bool {
        matches!(self.journal.records[t.record].what, What::Rx { .. })
    }

    /// For whom the packet was: those that it reached and that its MAC address names.
    fn receivers(&self, t: &Transmission, from: Option<usize>) -> Vec<usize> {
        let mut to: Vec<usize> = t
            .arrivals
            .iter()
            .filter(|a| self.is_addressed(t, a.node.0, a.ifindex))
            .filter_map(|a| self.column(a.node.0))
            .collect();
        if to.is_empty() {
            to = t.arrivals.iter().filter_map(|a| self.column(a.node.0)).collect();
        }
        if to.is_empty() {
            to = self.meant_for(t);
        }
        to.sort_unstable();
        to.dedup();
        to.retain(|c| Some(*c) != from);
        to
    }

    fn is_addressed(&self, t: &Transmission, node: u32, ifindex: u32) -> bool {
        let Some((_, dst)) = t.view.macs() else { return true };
        let iface = self
            .journal
            .nodes
            .get(node as usize)
            .and_then(|n| n.ifaces.iter().find(|i| i.ifindex == ifindex));
        dst.is_multicast() || iface.is_none_or(|i| i.mac == dst || i.mac == wire::MacAddr::ZERO)
    }

    /// For whom a packet was that arrived nowhere: the owner of its MAC address, else of its IP address.
    fn meant_for(&self, t: &Transmission) -> Vec<usize> {
        let by_mac = t.view.macs().map(|(_, dst)| dst).and_then(|dst| {
            self.columns.iter().position(|c| {
                self.journal.nodes[c.node as usize]
                    .ifaces
                    .iter()
                    .any(|i| i.mac == dst && dst != wire::MacAddr::ZERO)
            })
        });
        let target = t.view.ip().map(|ip| ip.dst).or(t.view.arp().map(|a| a.target_ip.into()));
        let by_ip = || {
            self.columns.iter().position(|c| {
                let node = &self.journal.nodes[c.node as usize];
                node.ifaces.iter().any(|i| i.addrs.iter().any(|(a, _)| Some(*a) == target))
            })
        };
        by_mac.or_else(by_ip).into_iter().collect()
    }

    /// States and timers of the sender at the same instant, directly before: they belong to the packet.
    fn take_before(&mut self, t: &Transmission, from: Option<usize>) -> Vec<Label> {
        let mut labels = Vec::new();
        while let Some(last) = self.rows.last() {
            let RowKind::Event(e) = &last.what else { break };
            let short = matches!(e.kind, EventKind::State | EventKind::Timer);
            if !short || Some(e.column) != from || last.at_ns != t.at.as_nanos() {
                break;
            }
            let label = Label {
                column: e.column,
                at_ns: last.at_ns,
                kind: e.kind,
                text: e.text.clone(),
                record: last.records[0],
            };
            labels.insert(0, label);
            self.rows.pop();
        }
        // The state stands beside the arrow, how many packets wait above it.
        let journal = self.journal;
        labels.sort_by_key(|l| !matches!(journal.records[l.record].what, What::NeighQueued { .. }));
        labels
    }

    fn arrived(&mut self, record: usize, r: &Record) {
        if let Some(row) = self.tx_of_rx.get(&record).and_then(|tx| self.row_of_tx.get(tx)) {
            self.busy_with.insert(r.node.0, (*row, r.at));
        }
    }

    fn event(&mut self, record: usize, r: &Record, kind: EventKind, text: String) {
        let Some(column) = self.column(r.node.0) else { return };
        let because = self.busy_with.get(&r.node.0).filter(|(_, at)| *at == r.at).map(|b| b.0);
        if self.counts_on(record, r, column, &text) {
            return;
        }
        // Beside lifelines and in lists there is no room at an arrow's end: a row of its own, at its time.
        let because = because.filter(|_| self.columns.len() == 2);
        if let (Some(row), EventKind::State) = (because, kind) {
            // Only while nothing of this host stands between: otherwise the order would be lost.
            let clean = self.rows[row + 1..].iter().all(|later| match &later.what {
                RowKind::Packet(p) => p.from != Some(column),
                RowKind::Event(e) => e.column != column,
                RowKind::Idle { .. } | RowKind::Folded { .. } => true,
            });
            // One label: what does not fit beside it would stand before what happened meanwhile elsewhere.
            let room =
                |p: &PacketRow| p.after.iter().all(|l| l.column != column) && text.width() <= MAX_LABEL;
            if let (true, RowKind::Packet(p)) = (clean, &mut self.rows[row].what)
                && room(p)
            {
                p.after.push(Label { column, at_ns: r.at.as_nanos(), kind, text, record });
                self.rows[row].records.push(record);
                return;
            }
        }
        let what = RowKind::Event(EventRow { column, kind, text });
        self.rows.push(Row { at_ns: r.at.as_nanos(), what, records: vec![record] });
    }

    /// One packet after the other comes to wait for the same address: the row before counts on.
    fn counts_on(&mut self, record: usize, r: &Record, column: usize, text: &str) -> bool {
        let What::NeighQueued { ifindex, addr, .. } = r.what else { return false };
        let Some(last) = self.rows.last_mut() else { return false };
        let RowKind::Event(e) = &mut last.what else { return false };
        let before = last.records.last().map(|&i| &self.journal.records[i]);
        let same = before.is_some_and(|b| {
            let waits =
                matches!(b.what, What::NeighQueued { ifindex: i, addr: a, .. } if (i, a) == (ifindex, addr));
            waits && b.at == r.at && e.column == column
        });
        if same {
            e.text = text.to_string();
            last.records.push(record);
        }
        same
    }

    fn call(&mut self, record: usize, r: &Record, text: &str, results: &Results) {
        let What::Call { program, seq, .. } = r.what else { return };
        let at_once = results
            .get(&(r.node.0, program, seq))
            .and_then(|(_, ret)| *ret)
            .filter(|&ret| self.journal.records[ret].at.saturating_since(r.at) <= AT_ONCE)
            .filter(|&ret| !self.is_interrupted(record, ret));
        let Some(column) = self.column(r.node.0) else { return };
        let mut records = vec![record];
        let (mut kind, mut text) = (EventKind::Call, events::abridged(text));
        if let Some(ret) = at_once {
            if let Some((k, result)) = events::words(self.journal, &self.journal.records[ret], None) {
                kind = k;
                text = format!("{text} {}", events::abridged(&result));
            }
            self.told[ret] = true;
            records.push(ret);
        }
        let what = RowKind::Event(EventRow { column, kind, text });
        self.rows.push(Row { at_ns: r.at.as_nanos(), what, records });
    }

    /// Whether something else than the call's own doing came between a call and its return: a packet that
    /// reached the host, or another call there. Then the return stands behind it, where it may belong, even
    /// when a wire without delay left them the same time stamp.
    fn is_interrupted(&self, call: usize, ret: usize) -> bool {
        let node = self.journal.records[call].node;
        let between = self.journal.records.get(call + 1..ret).unwrap_or_default();
        between.iter().any(|r| {
            r.node == node && matches!(r.what, What::Rx { .. } | What::Call { .. } | What::Return { .. })
        })
    }

    fn returned(&mut self, record: usize, r: &Record, call: Option<&(usize, Option<usize>)>) {
        let Some(column) = self.column(r.node.0) else { return };
        let Some((kind, result)) = events::words(self.journal, r, None) else { return };
        let result = events::abridged(&result);
        let name = call.map_or("", |(c, _)| match &self.journal.records[*c].what {
            What::Call { text, .. } => events::call_name(text),
            _ => "",
        });
        let what = RowKind::Event(EventRow { column, kind, text: format!("{name}() {result}") });
        self.rows.push(Row { at_ns: r.at.as_nanos(), what, records: vec![record] });
    }
}
