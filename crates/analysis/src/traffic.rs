//! Packets on their way: every transmission of a journal with where it came from and what became of it.
//!
//! A transmission is what left one NIC ([`What::Tx`]); its number (`#3`) counts in that order and is what
//! the ladder, the explanation and the capture cite. Switches send the same bytes on: such a copy belongs
//! to the transmission it repeats ([`Transmission::copy_of`]) and has no number of its own.

use std::collections::BTreeMap;

use stack::DropReason;
use stack::record::{FrameId, IfIndex, Journal, LossCause, NodeId, NodeKind, What};
use wire::{Frame, Instant, Medium};

use crate::view::View;

/// A packet that left one NIC.
#[derive(Clone, Debug)]
pub struct Transmission {
    /// `#1`, `#2` … in the order of sending; 0 for a switch's copy.
    pub number: u32,
    /// The journal's id.
    pub id: FrameId,
    /// Index of the [`What::Tx`] record; of the first [`What::Rx`] when nobody saw it leave.
    pub record: usize,
    /// Who sent it.
    pub from: NodeId,
    /// By which interface.
    pub ifindex: IfIndex,
    /// When.
    pub at: Instant,
    /// The packet as it was sent.
    pub view: View,
    /// The bytes as they were sent.
    pub frame: Frame,
    /// Ethernet or bare IP.
    pub medium: Medium,
    /// Where it arrived: directly, and through switches.
    pub arrivals: Vec<Arrival>,
    /// Where it was lost.
    pub losses: Vec<Loss>,
    /// What a fault or impairment did to it without losing it: record index and words.
    pub altered: Vec<(usize, String)>,
    /// Receivers' stacks that dropped it.
    pub drops: Vec<StackDrop>,
    /// The transmission that a switch repeated with this one: an index into [`Traffic::all`].
    pub copy_of: Option<usize>,
}

/// A packet reached a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Index of the [`What::Rx`] record.
    pub record: usize,
    /// Whose NIC.
    pub node: NodeId,
    /// Which.
    pub ifindex: IfIndex,
    /// When.
    pub at: Instant,
    /// Different bytes than were sent (corruption; a switch's tag does not count).
    pub changed: bool,
}

/// A packet did not reach (one of) its destination(s).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Index of the [`What::Lost`] record.
    pub record: usize,
    /// Where it was noticed.
    pub node: NodeId,
    /// When.
    pub at: Instant,
    /// Why.
    pub cause: LossCause,
}

/// A stack dropped a packet that had arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackDrop {
    /// Index of the [`What::Drop`] record.
    pub record: usize,
    /// Whose stack.
    pub node: NodeId,
    /// When.
    pub at: Instant,
    /// Why.
    pub reason: DropReason,
}

/// All transmissions of a journal.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// In the order of sending, switches' copies included.
    pub all: Vec<Transmission>,
    by_id: BTreeMap<FrameId, usize>,
}

impl Traffic {
    /// Follows every packet of `journal`.
    pub fn of(journal: &Journal) -> Traffic {
        let mut traffic = Traffic::default();
        for (record, r) in journal.records.iter().enumerate() {
            match &r.what {
                What::Tx { ifindex, id, frame } => traffic.sent(journal, record, *ifindex, *id, frame),
                What::Rx { ifindex, id, frame } => {
                    // A capture, or a probe that only listens: nobody saw it leave.
                    if !traffic.by_id.contains_key(id) {
                        traffic.sent(journal, record, *ifindex, *id, frame);
                    }
                    let t = &mut traffic.all[traffic.by_id[id]];
                    let changed = t.frame != *frame;
                    t.arrivals.push(Arrival { record, node: r.node, ifindex: *ifindex, at: r.at, changed });
                }
                What::Lost { id, cause } => {
                    if let Some(t) = traffic.by_id_mut(*id) {
                        t.losses.push(Loss { record, node: r.node, at: r.at, cause: cause.clone() });
                    }
                }
                What::Altered { id, how, .. } => {
                    traffic.duplicated(record, *id, how);
                    if let Some(t) = traffic.by_id_mut(*id) {
                        t.altered.push((record, how.clone()));
                    }
                }
                What::Drop { reason, id: Some(id), .. } => {
                    if let Some(t) = traffic.by_id_mut(*id) {
                        t.drops.push(StackDrop { record, node: r.node, at: r.at, reason: *reason });
                    }
                }
                _ => {}
            }
        }
        traffic.join_switch_copies(journal);
        let mut number = 0;
        for t in traffic.all.iter_mut().filter(|t| t.copy_of.is_none()) {
            number += 1;
            t.number = number;
        }
        traffic.name_duplicates();
        traffic
    }

    /// The world made a copy on the wire, which nobody sent: it is a transmission of the same sender.
    fn duplicated(&mut self, record: usize, id: FrameId, how: &str) {
        let (Some(copy), Some(&original)) = (duplicate_of(how), self.by_id.get(&id)) else { return };
        let mut t = self.all[original].clone();
        t.id = copy;
        t.record = record;
        t.arrivals.clear();
        t.losses.clear();
        t.drops.clear();
        t.altered.clear();
        self.by_id.insert(copy, self.all.len());
        self.all.push(t);
    }

    /// The journal names copies by transmission, readers want `#3`.
    fn name_duplicates(&mut self) {
        for i in 0..self.all.len() {
            for a in 0..self.all[i].altered.len() {
                let copy = duplicate_of(&self.all[i].altered[a].1).and_then(|id| self.by_id.get(&id));
                if let Some(&copy) = copy {
                    let number = self.all[copy].number;
                    self.all[i].altered[a].1 = format!("duplicated as #{number}");
                }
            }
        }
    }

    fn sent(&mut self, journal: &Journal, record: usize, ifindex: IfIndex, id: FrameId, frame: &Frame) {
        let r = &journal.records[record];
        let medium = medium_of(journal, r.node, ifindex);
        self.by_id.insert(id, self.all.len());
        self.all.push(Transmission {
            number: 0,
            id,
            record,
            from: r.node,
            ifindex,
            at: r.at,
            view: View::of(medium, frame),
            frame: frame.clone(),
            medium,
            arrivals: Vec::new(),
            losses: Vec::new(),
            altered: Vec::new(),
            drops: Vec::new(),
            copy_of: None,
        });
    }

    fn by_id_mut(&mut self, id: FrameId) -> Option<&mut Transmission> {
        self.by_id.get(&id).map(|&i| &mut self.all[i])
    }

    /// The transmission with this id, or the one that a switch repeated with it.
    pub fn get(&self, id: FrameId) -> Option<&Transmission> {
        let t = &self.all[*self.by_id.get(&id)?];
        Some(t.copy_of.map_or(t, |i| &self.all[i]))
    }

    /// All but switches' copies.
    pub fn numbered(&self) -> impl Iterator<Item = &Transmission> {
        self.all.iter().filter(|t| t.copy_of.is_none())
    }

    /// Gives what a switch's copies reached to the transmission that they repeat.
    fn join_switch_copies(&mut self, journal: &Journal) {
        for i in 0..self.all.len() {
            if node_kind(journal, self.all[i].from) != Some(&NodeKind::Switch) {
                continue;
            }
            let (switch, at) = (self.all[i].from, self.all[i].at);
            let bytes = untagged(&self.all[i].frame);
            // The latest transmission before it that this switch received with the same bytes.
            let origin = (0..i).rev().find(|&j| {
                let t = &self.all[j];
                let seen = t.arrivals.iter().any(|a| a.node == switch && a.at <= at);
                seen && untagged(&t.frame) == bytes
            });
            self.all[i].copy_of = origin.map(|j| self.all[j].copy_of.unwrap_or(j));
        }
        for i in 0..self.all.len() {
            let Some(origin) = self.all[i].copy_of else { continue };
            let copy = self.all[i].clone();
            let t = &mut self.all[origin];
            t.arrivals.extend(copy.arrivals);
            t.losses.extend(copy.losses);
            t.altered.extend(copy.altered);
            t.drops.extend(copy.drops);
        }
        // What a switch received is on its way, unless the switch is where it ended.
        for t in &mut self.all {
            let elsewhere = t.arrivals.iter().any(|a| node_kind(journal, a.node) != Some(&NodeKind::Switch));
            if elsewhere {
                t.arrivals.retain(|a| node_kind(journal, a.node) != Some(&NodeKind::Switch));
            }
        }
    }
}

/// What a node is.
pub fn node_kind(journal: &Journal, node: NodeId) -> Option<&NodeKind> {
    journal.nodes.get(node.0 as usize).map(|n| &n.kind)
}

/// A node's name.
pub fn node_name(journal: &Journal, node: NodeId) -> &str {
    journal.nodes.get(node.0 as usize).map_or("?", |n| n.name.as_str())
}

/// What an interface is; Ethernet when the journal does not say.
pub fn medium_of(journal: &Journal, node: NodeId, ifindex: IfIndex) -> Medium {
    let iface =
        journal.nodes.get(node.0 as usize).and_then(|n| n.ifaces.iter().find(|i| i.ifindex == ifindex));
    iface.map_or(Medium::Ethernet, |i| i.medium)
}

/// The transmission that `duplicated as #9` names.
fn duplicate_of(how: &str) -> Option<FrameId> {
    how.strip_prefix("duplicated as #")?.parse().ok().map(FrameId)
}

/// The frame without its first VLAN tag, which switches add and remove.
fn untagged(frame: &Frame) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    if bytes.len() >= 18 && bytes[12..14] == [0x81, 0x00] {
        bytes.drain(12..16);
    }
    bytes
}
