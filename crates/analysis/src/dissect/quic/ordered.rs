//! A CRYPTO or STREAM's bytes in order, and which of them completed what: a retransmission is named as the original was.

use std::collections::BTreeMap;

use crate::dissect::Layer;

/// Most bytes that wait for missing ones before them.
const MAX_WAITING: usize = 1 << 20;

/// Where a frame's bytes stand in the stream.
#[derive(Debug, Default)]
pub(super) struct Ordered {
    next: u64,
    waiting: BTreeMap<u64, Vec<u8>>,
    waiting_bytes: usize,
    /// Where the stream ends.
    pub(super) fin: Option<u64>,
    pub(super) fin_told: bool,
    /// What was handed on with messages in it: from, to, layers.
    pieces: Vec<(u64, u64, Vec<Layer>)>,
}

impl Ordered {
    /// Adds bytes; what is now in order is returned, to be followed by [`Ordered::told`].
    pub(super) fn add(&mut self, offset: u64, data: &[u8]) -> Vec<u8> {
        let Some(end) = offset.checked_add(data.len() as u64) else { return Vec::new() };
        if end <= self.next {
            return Vec::new();
        }
        if offset > self.next {
            if self.waiting_bytes + data.len() <= MAX_WAITING {
                self.waiting_bytes += data.len();
                if let Some(before) = self.waiting.insert(offset, data.to_vec()) {
                    self.waiting_bytes -= before.len();
                }
            }
            return Vec::new();
        }
        let mut out = data[usize::try_from(self.next - offset).unwrap_or(0)..].to_vec();
        while let Some((&from, _)) = self.waiting.first_key_value() {
            let at = self.next + out.len() as u64;
            if from > at {
                break;
            }
            let Some(bytes) = self.waiting.remove(&from) else { break };
            self.waiting_bytes -= bytes.len();
            let old = usize::try_from(at - from).unwrap_or(usize::MAX);
            out.extend_from_slice(bytes.get(old..).unwrap_or_default());
        }
        out
    }

    /// So many bytes that [`Ordered::add`] returned completed these messages.
    pub(super) fn told(&mut self, bytes: usize, layers: &[Layer]) {
        let from = self.next;
        self.next += bytes as u64;
        if !layers.is_empty() {
            self.pieces.push((from, self.next, layers.to_vec()));
        }
    }

    /// As [`Ordered::told`], for bytes that were counted already.
    pub(super) fn name(&mut self, bytes: usize, layers: &[Layer]) {
        if !layers.is_empty() {
            self.pieces.push((self.next.saturating_sub(bytes as u64), self.next, layers.to_vec()));
        }
    }

    /// What bytes that came before completed.
    pub(super) fn again(&self, offset: u64, len: usize) -> impl Iterator<Item = &Layer> {
        let end = offset.saturating_add(len as u64);
        let inside = move |p: &&(u64, u64, Vec<Layer>)| p.1 > offset && p.1 <= end;
        self.pieces.iter().filter(inside).flat_map(|p| &p.2)
    }

    pub(super) fn is_whole(&self) -> bool {
        self.fin == Some(self.next)
    }
}
