//! Which fragments make a packet: queues, limits, overlap rules and the timeout (RFC 791 §3.2, RFC 815, RFC
//! 8200 §4.5, RFC 5722, RFC 3168 §5.3). Linux: net/ipv4/{ip_fragment,inet_fragment}.c,
//! net/ipv6/reassembly.c.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::ip::Protocol;
use wire::{Frame, ipv4, ipv6};

use crate::record::IfIndex;
use crate::timer::TimerId;

/// What a fragment costs besides its bytes, against `ipfrag_high_thresh`: `sk_buff`, shared info and the
/// rounding of `truesize`.
const FRAGMENT_OVERHEAD: usize = 576;

/// Fragments that one packet can have: each carries at least 8 bytes.
const MAX_FRAGMENTS: usize = 8192;

/// Which packet a fragment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FragKey {
    V4 {
        src: Ipv4Addr,
        dst: Ipv4Addr,
        id: u16,
        protocol: Protocol,
    },
    /// `iif` counts for link-local and multicast destinations only, and is 0 else.
    V6 {
        src: Ipv6Addr,
        dst: Ipv6Addr,
        id: u32,
        iif: IfIndex,
    },
}

/// The fragments of one packet that are here.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) iif: IfIndex,
    pub(crate) timer: Option<TimerId>,
    /// Offset of each part, and the part without headers, sorted by offset.
    parts: Vec<(usize, Frame)>,
    /// Contiguous stretches as Linux keeps them: extended at their end only.
    runs: Vec<(usize, usize)>,
    /// Header of the first fragment: with it, whole, for the timeout's ICMP error.
    header: Vec<u8>,
    len: usize,
    meat: usize,
    last_in: bool,
    ecn: u8,
    memory: usize,
    max_size: usize,
    max_df_size: usize,
    /// Fragments seen from this source when the latest of ours came (`ipfrag_max_dist`).
    rid: u64,
}

/// What became of a fragment.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Waits for the others.
    Queued,
    /// It was the last one: the packet, from its network header on.
    Complete(Frame),
    /// The same bytes were there already; only this fragment is dropped.
    Duplicate,
    /// Overlaps with another: the whole queue is dropped.
    Overlap,
    /// Contradicts what is known of the packet's end, or the whole is too long: the queue is dropped.
    Invalid,
}

/// One fragment, as both families see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Where its bytes belong, and where they end.
    pub(crate) offset: usize,
    pub(crate) end: usize,
    pub(crate) more: bool,
    pub(crate) ecn: u8,
    pub(crate) dont_fragment: bool,
    /// Bytes of the fragment as a packet.
    pub(crate) size: usize,
}

/// All queues of one family.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reassembly {
    queues: BTreeMap<FragKey, Queue>,
    memory: usize,
    /// Fragments seen from each source that has a queue (`inet_peer.rid`).
    peers: BTreeMap<IpAddr, u64>,
}

/// Sources whose fragments are counted for `ipfrag_max_dist`.
const MAX_PEERS: usize = 65_664;

impl Reassembly {
    /// Bytes in queues, with their overhead.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// The queue of `key`, and whether it is new (then its timer must be armed).
    pub(crate) fn queue(&mut self, key: FragKey, iif: IfIndex) -> (&mut Queue, bool) {
        let mut new = false;
        let queue = self.queues.entry(key).or_insert_with(|| {
            new = true;
            Queue {
                iif,
                timer: None,
                parts: Vec::new(),
                runs: Vec::new(),
                header: Vec::new(),
                len: 0,
                meat: 0,
                last_in: false,
                ecn: 0,
                memory: 0,
                max_size: 0,
                max_df_size: 0,
                rid: 0,
            }
        });
        (queue, new)
    }

    /// `ip_frag_too_far`: more than `max_dist` fragments of this source came since the queue's latest one, so
    /// the identification has probably been used again.
    pub(crate) fn too_far(&mut self, key: FragKey, max_dist: u32) -> bool {
        let FragKey::V4 { src, .. } = key else { return false };
        if max_dist == 0 {
            return false;
        }
        if self.peers.len() >= MAX_PEERS {
            self.peers.pop_first();
        }
        let seen = self.peers.entry(src.into()).or_insert(0);
        *seen += 1;
        let seen = *seen;
        let Some(queue) = self.queues.get_mut(&key) else { return false };
        let far = !queue.parts.is_empty() && seen - queue.rid > u64::from(max_dist);
        queue.rid = seen;
        far
    }

    /// `ip_frag_reinit`: forgets the fragments that are there. Returns the timer, which starts again.
    pub(crate) fn restart(&mut self, key: FragKey) -> Option<TimerId> {
        let old = self.queues.remove(&key)?;
        self.memory -= old.memory;
        let rid = old.rid;
        self.queue(key, old.iif).0.rid = rid;
        old.timer
    }

    /// Drops a queue, handing it out for its timer and its first fragment.
    pub(crate) fn remove(&mut self, key: FragKey) -> Option<Queue> {
        let queue = self.queues.remove(&key)?;
        self.memory -= queue.memory;
        Some(queue)
    }

    /// Puts a fragment into its queue, which exists. `frame` starts at the network header, `header_len` bytes
    /// long (for IPv6 with all headers up to and with the fragment header).
    pub(crate) fn insert(
        &mut self,
        key: FragKey,
        iif: IfIndex,
        part: Part,
        header_len: usize,
        mut frame: Frame,
    ) -> Verdict {
        let queue = self.queues.get_mut(&key).expect("the caller made the queue");
        let Part { offset, mut end, more, .. } = part;
        if !more {
            if end < queue.len || (queue.last_in && end != queue.len) {
                return Verdict::Invalid;
            }
            queue.last_in = true;
            queue.len = end;
        } else {
            end &= !7;
            if end > queue.len {
                if queue.last_in {
                    return Verdict::Invalid;
                }
                queue.len = end;
            }
        }
        if end == offset || queue.parts.len() >= MAX_FRAGMENTS {
            return Verdict::Invalid;
        }
        match queue.place(offset, end) {
            Placed::New => {}
            Placed::Duplicate => return Verdict::Duplicate,
            Placed::Overlap => return Verdict::Overlap,
        }
        queue.iif = iif;
        queue.meat += end - offset;
        queue.ecn |= 1 << (part.ecn & 3);
        queue.max_size = queue.max_size.max(part.size);
        if part.dont_fragment {
            queue.max_df_size = queue.max_df_size.max(part.size);
        }
        if offset == 0 {
            queue.header = frame.head()[..header_len].to_vec();
        }
        frame.pull(header_len);
        frame.truncate(end - offset);
        let cost = frame.len() + FRAGMENT_OVERHEAD;
        queue.memory += cost;
        self.memory += cost;
        let at = queue.parts.partition_point(|(o, _)| *o < offset);
        queue.parts.insert(at, (offset, frame));
        if queue.last_in && queue.meat == queue.len && !queue.header.is_empty() {
            match queue.build(key) {
                Some(packet) => Verdict::Complete(packet),
                None => Verdict::Invalid,
            }
        } else {
            Verdict::Queued
        }
    }
}

enum Placed {
    New,
    Duplicate,
    Overlap,
}

impl Queue {
    /// `inet_frag_queue_insert`: a fragment inside one stretch is a duplicate, one that shares only some bytes
    /// is an overlap.
    fn place(&mut self, offset: usize, end: usize) -> Placed {
        let Some(last) = self.runs.last_mut() else {
            self.runs.push((offset, end));
            return Placed::New;
        };
        if last.1 < end {
            if offset < last.1 {
                return Placed::Overlap;
            }
            if offset == last.1 {
                last.1 = end;
            } else {
                self.runs.push((offset, end));
            }
            return Placed::New;
        }
        let at = self.runs.partition_point(|run| run.1 <= offset);
        let run = self.runs[at]; // the last run reaches at least to `end`
        if end <= run.0 {
            self.runs.insert(at, (offset, end));
            Placed::New
        } else if offset >= run.0 && end <= run.1 {
            Placed::Duplicate
        } else {
            Placed::Overlap
        }
    }

    /// The first fragment as it arrived, for the ICMP error after the timeout; `None` when it is missing.
    pub(crate) fn first_fragment(&self) -> Option<Frame> {
        let (0, part) = self.parts.first()? else { return None };
        if self.header.is_empty() {
            return None;
        }
        let mut frame = Frame::with_headroom(wire::frame::MAX_HEADROOM, self.header.len() + part.len());
        frame.put(&self.header);
        frame.put(part.head());
        frame.set_tail(part.tail().clone());
        Some(frame)
    }

    /// `ip_frag_reasm`, `ip6_frag_reasm`: the header of the first fragment before everybody's bytes.
    fn build(&mut self, key: FragKey) -> Option<Frame> {
        let ecn = ecn_of(self.ecn)?;
        let mut header = core::mem::take(&mut self.header);
        match key {
            FragKey::V4 { .. } => {
                let (mut h, hlen) = ipv4::Header::parse_quoted(&header).ok()?;
                h.total_len = u16::try_from(hlen + self.len).ok()?;
                h.tos |= ecn;
                h.frag_offset = 0;
                h.more_fragments = false;
                // IPSKB_FRAG_PMTU: the sender really looks for the path MTU with fragments.
                h.dont_fragment = self.max_df_size == self.max_size;
                h.emit(&mut header);
            }
            FragKey::V6 { .. } => {
                let at = header.len() - 8;
                let next = header[at];
                header.truncate(at);
                let (mut h, _) = ipv6::Header::parse_quoted(&header).ok()?;
                h.payload_len = u16::try_from(at - ipv6::HEADER_LEN + self.len).ok()?;
                h.traffic_class |= ecn;
                h.emit(&mut header);
                *next_header_field(&mut header) = next;
            }
        }
        let mut frame = Frame::with_headroom(wire::frame::MAX_HEADROOM, header.len() + self.len);
        frame.put(&header);
        for (_, part) in &self.parts {
            frame.put(part.head());
            frame.put(part.tail());
        }
        Some(frame)
    }
}

/// The field that names what follows the unfragmentable part: the last one in the chain.
fn next_header_field(header: &mut [u8]) -> &mut u8 {
    let mut at = 6;
    let mut next = ipv6::HEADER_LEN;
    // Every extension header is at least 8 bytes long, so this ends.
    while next + 2 <= header.len() {
        at = next;
        next += (usize::from(header[next + 1]) + 1) * 8;
    }
    &mut header[at]
}

/// `ip_frag_ecn_table`: congestion experienced by any fragment counts for all; Not-ECT mixed with ECT or CE
/// is refused. `seen` has bit `n` set when a fragment had the ECN field `n`.
fn ecn_of(seen: u8) -> Option<u8> {
    const NOT_ECT: u8 = 1;
    const CE: u8 = 8;
    if seen & NOT_ECT != 0 {
        return (seen == NOT_ECT).then_some(0);
    }
    Some(if seen & CE != 0 && seen != CE { 3 } else { 0 })
}

#[cfg(test)]
mod tests;
