//! Everything between the interfaces: packets enter links, meet faults and impairments, and arrive.

use core::time::Duration;

use stack::record::{FrameId, IfIndex, Journal, LossCause, NodeId, Record, What};
use stack::rng::Rng;
use wire::packet::Packet;
use wire::{Frame, Instant, Medium};

use super::Nic;
use crate::config::WorldConfig;
use crate::fault::{Armed, FaultAction, MAX_DUPLICATES, MAX_HELD, Release};
use crate::link::{Cable, Direction, InFlight, LinkState, MAX_IN_FLIGHT, Verdict};
use crate::queue::{Due, Queue};

/// A packet that a fault holds.
#[derive(Debug)]
pub(crate) struct Held {
    direction: u32,
    id: FrameId,
    frame: Frame,
    release: Release,
}

/// The links, the event queue and the journal.
pub(crate) struct Wires {
    pub(crate) now: Instant,
    pub(crate) queue: Queue,
    pub(crate) directions: Vec<Direction>,
    pub(crate) cables: Vec<Cable>,
    pub(crate) faults: Vec<Armed>,
    pub(crate) held: Vec<Option<Held>>,
    pub(crate) rng: Rng,
    pub(crate) recording: bool,
    pub(crate) journal: Journal,
    /// Links whose state changed and whose ends do not know yet.
    pub(crate) carrier_changes: Vec<u32>,
    /// Switches that the packet being transmitted came through; 0 for one that a host sends.
    pub(crate) switches_passed: u16,
    next_frame: u64,
}

impl Wires {
    pub(crate) fn new(config: &WorldConfig) -> Wires {
        Wires {
            now: Instant::ZERO,
            queue: Queue::default(),
            directions: Vec::new(),
            cables: Vec::new(),
            faults: Vec::new(),
            held: Vec::new(),
            rng: Rng::new(config.seed, "world"),
            recording: config.record,
            journal: Journal::default(),
            carrier_changes: Vec::new(),
            switches_passed: 0,
            next_frame: 0,
        }
    }

    /// Adds a fact; `what` is not built when nothing is recorded.
    #[inline]
    pub(crate) fn record(&mut self, node: NodeId, what: impl FnOnce() -> What) {
        if self.recording {
            let at = self.now;
            self.journal.records.push(Record { at, node, what: what() });
        }
    }

    pub(crate) fn record_at(&mut self, node: NodeId, at: Instant, what: What) {
        if self.recording {
            self.journal.records.push(Record { at, node, what });
        }
    }

    fn frame_id(&mut self) -> FrameId {
        self.next_frame += 1;
        FrameId(self.next_frame)
    }

    /// A packet leaves an interface.
    #[inline(always)]
    pub(crate) fn transmit(&mut self, node: NodeId, ifindex: IfIndex, nic: Option<&Nic>, frame: Frame) {
        let id = self.frame_id();
        self.record(node, || What::Tx { ifindex, id, frame: frame.clone() });
        let Some((direction, medium)) = nic.and_then(|nic| Some((nic.out?, nic.medium))) else {
            self.record(node, || What::Lost { id, cause: LossCause::NoPort });
            return;
        };
        self.directions[direction as usize].stats.sent += 1;
        if self.faults.is_empty() {
            self.enter(direction, id, frame, Duration::ZERO);
        } else {
            self.meet_faults(direction, id, frame, medium);
        }
    }

    /// A packet enters the queue of a direction; it arrives `extra` later than it would.
    #[inline(always)]
    fn enter(&mut self, direction: u32, id: FrameId, frame: Frame, extra: Duration) {
        let cable = &self.cables[direction as usize / 2];
        if cable.state != LinkState::Up {
            return self.lose(direction, id, LossCause::LinkDown);
        }
        if let Some(mtu) = cable.mtu
            && network_len(&frame, cable.medium) > mtu as usize
        {
            return self.lose(direction, id, LossCause::LinkMtu);
        }
        let d = &mut self.directions[direction as usize];
        if d.impairer.is_some() {
            return self.impair(direction, id, frame, extra);
        }
        let at = self.now + d.delay + extra;
        self.put(direction, id, frame, at);
    }

    /// A packet is on its way and will arrive at `at`.
    #[inline(always)]
    fn put(&mut self, direction: u32, id: FrameId, frame: Frame, at: Instant) {
        let d = &mut self.directions[direction as usize];
        if d.pipe.len() >= MAX_IN_FLIGHT {
            let limit = u32::try_from(MAX_IN_FLIGHT).expect("a small constant");
            return self.lose(direction, id, LossCause::QueueLimit { limit });
        }
        let key = self.queue.key(at);
        if d.pipe.push(InFlight { key, id, frame, switches_passed: self.switches_passed }) {
            self.queue.push(key, Due::Arrival(direction));
        }
    }

    /// netem's part, duplicates first.
    #[inline(never)]
    fn impair(&mut self, direction: u32, id: FrameId, frame: Frame, extra: Duration) {
        let d = &mut self.directions[direction as usize];
        let from = d.from.node;
        let impairer = d.impairer.as_mut().expect("the caller looked");
        if impairer.duplicates() {
            d.stats.sent += 1;
            let copy = self.frame_id();
            self.record(from, || What::Altered {
                id,
                how: format!("duplicated as #{}", copy.0),
                fault: None,
            });
            self.decide(direction, copy, frame.clone(), extra);
        }
        self.decide(direction, id, frame, extra);
    }

    fn decide(&mut self, direction: u32, id: FrameId, mut frame: Frame, extra: Duration) {
        let d = &mut self.directions[direction as usize];
        let from = d.from.node;
        let impairer = d.impairer.as_mut().expect("the caller looked");
        match impairer.decide(self.now, &frame) {
            Verdict::Lose(cause) => self.lose(direction, id, cause),
            Verdict::Arrive { at, corrupt, reordered } => {
                if let Some(bit) = corrupt {
                    flip_bit(&mut frame, bit);
                    let how = || format!("corrupted bit {} of byte {}", bit % 8, bit / 8);
                    self.record(from, || What::Altered { id, how: how(), fault: None });
                }
                if reordered {
                    let how = || "sent before its turn".to_string();
                    self.record(from, || What::Altered { id, how: how(), fault: None });
                }
                self.put(direction, id, frame, at + extra);
            }
        }
    }

    #[inline(never)]
    pub(crate) fn lose(&mut self, direction: u32, id: FrameId, cause: LossCause) {
        let d = &mut self.directions[direction as usize];
        d.stats.lost += 1;
        let from = d.from.node;
        self.record(from, || What::Lost { id, cause });
    }

    /// Shows a packet to every fault; the first that acts on it decides about it.
    #[inline(never)]
    fn meet_faults(&mut self, direction: u32, id: FrameId, frame: Frame, medium: Medium) {
        let fault = self.first_fault(direction, &frame, medium);
        match fault {
            Some(index) => self.act(index, direction, id, frame, medium),
            None => self.enter(direction, id, frame, Duration::ZERO),
        }
        self.count_down_held(direction, id);
    }

    /// Every fault counts the packet; the first one whose number it is acts.
    fn first_fault(&mut self, direction: u32, frame: &Frame, medium: Medium) -> Option<usize> {
        let d = &self.directions[direction as usize];
        let (from, to, link) = (d.from.node, d.to.node, direction / 2);
        let mut bytes = Vec::new();
        let mut packet = None;
        let mut acting = None;
        let looks = |armed: &Armed| {
            let place = &armed.fault.direction;
            place.from.is_none_or(|n| n == from)
                && place.to.is_none_or(|n| n == to)
                && place.link.is_none_or(|l| l.0 == link)
                && !armed.fault.ordinal.is_over(armed.seen)
        };
        if !self.faults.iter().any(looks) {
            return None;
        }
        bytes.extend_from_slice(frame.head());
        bytes.extend_from_slice(frame.tail());
        for (index, armed) in self.faults.iter_mut().enumerate() {
            if !looks(armed) {
                continue;
            }
            let packet = packet.get_or_insert_with(|| Packet::parse(&bytes, medium));
            if !armed.fault.filter.matches(packet) {
                continue;
            }
            armed.seen += 1;
            if acting.is_none() && armed.fault.ordinal.covers(armed.seen) {
                armed.hits += 1;
                acting = Some(index);
            }
        }
        acting
    }

    fn act(&mut self, index: usize, direction: u32, id: FrameId, mut frame: Frame, medium: Medium) {
        let fault = u32::try_from(index).expect("fewer than 2^32 faults");
        let from = self.directions[direction as usize].from.node;
        let now = self.now;
        match self.faults[index].fault.action.clone() {
            FaultAction::Drop => self.lose(direction, id, LossCause::Fault(fault)),
            FaultAction::Delay(extra) => {
                self.altered(from, id, fault, || format!("delayed {}", duration_text(extra)));
                self.enter(direction, id, frame, extra);
            }
            FaultAction::Duplicate(times) => {
                self.enter(direction, id, frame.clone(), Duration::ZERO);
                for _ in 0..times.min(MAX_DUPLICATES) {
                    let copy = self.frame_id();
                    self.directions[direction as usize].stats.sent += 1;
                    self.altered(from, id, fault, || format!("duplicated as #{}", copy.0));
                    self.enter(direction, copy, frame.clone(), Duration::ZERO);
                }
            }
            FaultAction::Corrupt { at } => {
                let how = self.corrupt(fault, &mut frame, at);
                self.altered(from, id, fault, || how);
                self.enter(direction, id, frame, Duration::ZERO);
            }
            FaultAction::Hold(release) => self.hold(fault, direction, id, frame, release),
            FaultAction::Forge { reply, instead } => {
                if let Some(answer) = reply.reply(&frame, medium) {
                    let answer_id = self.frame_id();
                    self.altered(from, id, fault, || format!("answered by the forged #{}", answer_id.0));
                    self.directions[(direction ^ 1) as usize].stats.sent += 1;
                    self.enter(direction ^ 1, answer_id, answer, Duration::ZERO);
                }
                if instead {
                    self.lose(direction, id, LossCause::Fault(fault));
                } else {
                    self.enter(direction, id, frame, Duration::ZERO);
                }
            }
            FaultAction::Copy { copy, by, instead } => {
                let changed = copy.of(&frame, medium);
                if let Some(changed) = &changed {
                    let copy_id = self.frame_id();
                    self.altered(from, id, fault, || format!("copied and changed as #{}", copy_id.0));
                    self.directions[direction as usize].stats.sent += 1;
                    self.enter_with_copy(
                        direction,
                        (id, frame),
                        (copy_id, changed.clone(), by),
                        instead,
                        fault,
                    );
                } else {
                    self.enter(direction, id, frame, Duration::ZERO);
                }
            }
            FaultAction::CutLink { duration, state } => {
                self.lose(direction, id, LossCause::Fault(fault));
                let link = direction / 2;
                self.schedule_link(link, now + duration, LinkState::Up);
                self.set_link_state(link, state);
            }
        }
    }

    /// The packet first, unless the copy stands for it.
    fn enter_with_copy(
        &mut self,
        direction: u32,
        (id, frame): (FrameId, Frame),
        (copy_id, copy, by): (FrameId, Frame, Duration),
        instead: bool,
        fault: u32,
    ) {
        if instead {
            self.lose(direction, id, LossCause::Fault(fault));
        } else {
            self.enter(direction, id, frame, Duration::ZERO);
        }
        self.enter(direction, copy_id, copy, by);
    }

    fn altered(&mut self, node: NodeId, id: FrameId, fault: u32, how: impl FnOnce() -> String) {
        self.record(node, || What::Altered { id, how: how(), fault: Some(fault) });
    }

    fn corrupt(&mut self, fault: u32, frame: &mut Frame, at: Option<u32>) -> String {
        match at {
            Some(at) if (at as usize) < frame.len() => {
                for bit in 0..8 {
                    flip_bit(frame, u64::from(at) * 8 + bit);
                }
                format!("inverted byte {at}")
            }
            Some(at) => format!("left as it was: it has no byte {at}"),
            None => {
                let stream = format!("fault {fault} corrupt {}", self.faults[fault as usize].hits);
                let bit = self.rng.fork(&stream).below(frame.len().max(1) as u64 * 8);
                flip_bit(frame, bit);
                format!("corrupted bit {} of byte {}", bit % 8, bit / 8)
            }
        }
    }

    fn hold(&mut self, fault: u32, direction: u32, id: FrameId, frame: Frame, release: Release) {
        let waiting = self.held.iter().flatten().count();
        if waiting >= MAX_HELD {
            let limit = u32::try_from(MAX_HELD).expect("a small constant");
            return self.lose(direction, id, LossCause::QueueLimit { limit });
        }
        let from = self.directions[direction as usize].from.node;
        let how = || match release {
            Release::At(at) => format!("held until {at} s"),
            Release::AfterPackets(n) => format!("held behind the next {n} packets"),
        };
        self.altered(from, id, fault, how);
        self.directions[direction as usize].held += 1;
        let slot = self.held.iter().position(Option::is_none).unwrap_or(self.held.len());
        let held = Some(Held { direction, id, frame, release });
        match self.held.get_mut(slot) {
            Some(free) => *free = held,
            None => self.held.push(held),
        }
        if let Release::At(at) = release {
            let slot = u32::try_from(slot).expect("at most MAX_HELD");
            self.queue.push_at(at.max(self.now), Due::Release(slot));
        }
    }

    /// A packet passed: those held behind it come nearer.
    fn count_down_held(&mut self, direction: u32, passed: FrameId) {
        for slot in 0..self.held.len() {
            let Some(held) = &mut self.held[slot] else { continue };
            if held.direction != direction || held.id == passed {
                continue;
            }
            if let Release::AfterPackets(n) = &mut held.release {
                *n = n.saturating_sub(1);
                if *n == 0 {
                    self.release(slot);
                }
            }
        }
    }

    /// When the packet held in `slot` goes on by itself.
    pub(crate) fn release_time(&self, slot: u32) -> Option<Instant> {
        match self.held.get(slot as usize)?.as_ref()?.release {
            Release::At(at) => Some(at),
            Release::AfterPackets(_) => None,
        }
    }

    pub(crate) fn release(&mut self, slot: usize) {
        if let Some(held) = self.held[slot].take() {
            self.directions[held.direction as usize].held -= 1;
            self.enter(held.direction, held.id, held.frame, Duration::ZERO);
        }
    }

    /// Whether `packet` (from its network header on) is what arrived as `id`: hops may have changed.
    pub(crate) fn is_arrived(&self, id: FrameId, packet: &[u8]) -> bool {
        let arrival = self.journal.records.iter().rev().find_map(|record| match &record.what {
            What::Rx { id: arrived, frame, .. } if *arrived == id => Some(frame),
            _ => None,
        });
        arrival.is_some_and(|frame| is_same_packet(&frame.to_vec(), packet))
    }

    /// The link's next scheduled change, due now.
    pub(crate) fn run_schedule(&mut self, link: u32) {
        let cable = &mut self.cables[link as usize];
        let (_, state) = cable.schedule.pop().expect("an event was made for it");
        if let Some((at, _)) = cable.schedule.last() {
            let at = *at;
            self.queue.push_at(at, Due::Link(link));
        }
        self.set_link_state(link, state);
    }

    fn schedule_link(&mut self, link: u32, at: Instant, state: LinkState) {
        let schedule = &mut self.cables[link as usize].schedule;
        // The next change stands last; changes of the same time keep their order.
        let place = schedule.partition_point(|(t, _)| *t > at);
        schedule.insert(place, (at, state));
        if place + 1 == schedule.len() {
            self.queue.push_at(at, Due::Link(link));
        }
    }

    pub(crate) fn set_link_state(&mut self, link: u32, state: LinkState) {
        let cable = &mut self.cables[link as usize];
        if cable.state == state {
            return;
        }
        let carrier = |s| s != LinkState::Down;
        if carrier(cable.state) != carrier(state) {
            self.carrier_changes.push(link);
        }
        cable.state = state;
        if state == LinkState::Up {
            return;
        }
        for direction in [link * 2, link * 2 + 1] {
            let d = &mut self.directions[direction as usize];
            if let Some(impairer) = &mut d.impairer {
                impairer.clear();
            }
            let gone: Vec<FrameId> = d.pipe.drain().map(|packet| packet.id).collect();
            for id in gone {
                self.lose(direction, id, LossCause::LinkDown);
            }
        }
    }
}

/// Bytes from the IP header on: what an MTU limits.
fn network_len(frame: &Frame, medium: Medium) -> usize {
    let header = match medium {
        Medium::Ethernet => wire::ethernet::Header::parse(frame.head()).map_or(0, |(_, len)| len),
        Medium::Ip => 0,
    };
    frame.len() - header
}

/// `packet` ends or goes on in `frame`'s middle; TTL and header checksum do not count.
fn is_same_packet(frame: &[u8], packet: &[u8]) -> bool {
    let mutable = |at: usize| match packet[0] >> 4 {
        4 => at == 8 || at == 10 || at == 11,
        6 => at == 7,
        _ => false,
    };
    // The packet begins behind the link-layer header: 0, 14 or 18 bytes, or further in for a tunnel.
    const MAX_SKIP: usize = 128;
    !packet.is_empty()
        && (0..=frame.len().saturating_sub(packet.len()).min(MAX_SKIP)).any(|skip| {
            frame.len() >= skip + packet.len()
                && packet.iter().zip(&frame[skip..]).enumerate().all(|(at, (a, b))| a == b || mutable(at))
        })
}

/// Inverts one bit, counted from the first of the frame.
fn flip_bit(frame: &mut Frame, bit: u64) {
    let at = usize::try_from(bit / 8).expect("inside a frame");
    if at >= frame.len() {
        return;
    }
    if at >= frame.head().len() {
        frame.linearize();
    }
    frame.head_mut()[at] ^= 0x80 >> (bit % 8);
}

/// `200 ms`, `1.5 s`, `30 us`: the shortest exact form.
pub(crate) fn duration_text(d: Duration) -> String {
    let ns = d.as_nanos();
    let (unit, name) = match ns {
        1_000_000_000.. => (1_000_000_000, "s"),
        1_000_000.. => (1_000_000, "ms"),
        1_000.. => (1_000, "us"),
        _ => (1, "ns"),
    };
    let rest = format!("{:0width$}", ns % unit, width = unit.ilog10() as usize);
    let rest = rest.trim_end_matches('0');
    if rest.is_empty() { format!("{} {name}", ns / unit) } else { format!("{}.{rest} {name}", ns / unit) }
}
