//! Packets on the way through one direction of a link, the next to arrive first.
//!
//! Linux: sch_netem.c `tfifo_enqueue`, which inserts by time as this does.

use std::collections::VecDeque;

use stack::record::FrameId;
use wire::Frame;

use crate::queue::Key;

/// One packet on the way.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) key: Key,
    pub(crate) id: FrameId,
    pub(crate) frame: Frame,
    /// Switches that it came through.
    pub(crate) switches_passed: u16,
}

/// Packets on the way through one direction.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    packets: VecDeque<InFlight>,
}

/// Packets that one direction carries at most; more are lost as if the queue were full.
pub(crate) const MAX_IN_FLIGHT: usize = 1 << 20;

/// Places that an empty pipe keeps: a world of many links must not remember every link's worst burst.
const KEPT_CAPACITY: usize = 64;

impl Pipe {
    /// Adds a packet; true when it is the next to arrive, so that the event queue must know.
    #[inline]
    pub(crate) fn push(&mut self, packet: InFlight) -> bool {
        match self.packets.back() {
            Some(last) if last.key > packet.key => {
                let at = self.packets.partition_point(|p| p.key < packet.key);
                self.packets.insert(at, packet);
                at == 0
            }
            Some(_) => {
                self.packets.push_back(packet);
                false
            }
            None => {
                self.packets.push_back(packet);
                true
            }
        }
    }

    /// When the next packet arrives.
    #[inline]
    pub(crate) fn next(&self) -> Option<Key> {
        self.packets.front().map(|p| p.key)
    }

    /// Takes the next packet.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<InFlight> {
        let packet = self.packets.pop_front();
        if self.packets.is_empty() && self.packets.capacity() > KEPT_CAPACITY {
            self.packets = VecDeque::new();
        }
        packet
    }

    /// Packets on the way.
    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }

    /// No packet is on the way.
    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Takes every packet: the cable is pulled.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = InFlight> + '_ {
        self.packets.drain(..)
    }
}
