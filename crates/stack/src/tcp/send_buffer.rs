//! The bytes an application wrote and the peer has not acknowledged (`sk_write_queue`'s pages).
//!
//! Large shared writes become chunks that segments refer to without copying; what is copied is collected in a
//! chunk for each large entry of the queue, and small writes in one until a segment needs them.

use std::collections::VecDeque;

use wire::Bytes;
use wire::tcp::SeqNum;

/// Writes up to this size are collected; larger ones become a chunk of their own.
const COLLECT_BYTES: usize = 4096;

/// What an application writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    /// Bytes that may be kept without copying them.
    Shared(&'a Bytes),
    /// The caller's own.
    Borrowed(&'a [u8]),
}

impl Source<'_> {
    /// How many bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Source::Shared(data) => data.len(),
            Source::Borrowed(data) => data.len(),
        }
    }

    /// So many that each entry of the queue deserves a chunk of its own, and each must be copied.
    pub(crate) fn fills_chunks(&self) -> bool {
        matches!(self, Source::Borrowed(data) if data.len() > COLLECT_BYTES)
    }
}

/// Chunks of a host that nobody uses now: a bulk writer needs new ones all the time.
#[derive(Debug, Default)]
pub(crate) struct ChunkPool(Vec<Vec<u8>>);

impl ChunkPool {
    /// Chunks that are kept.
    const MOST: usize = 16;
    /// Smaller ones are the allocator's business.
    const LEAST_BYTES: usize = 32 << 10;

    fn take(&mut self, bytes: Bytes) {
        if bytes.len() >= Self::LEAST_BYTES
            && self.0.len() < Self::MOST
            && let Some(mut chunk) = bytes.into_unique()
        {
            chunk.clear();
            self.0.push(chunk);
        }
    }
}

/// Bytes from `start` on.
#[derive(Debug, Default)]
pub(crate) struct SendBuffer {
    /// Sequence number of the first byte of the first chunk.
    start: SeqNum,
    chunks: VecDeque<(SeqNum, Bytes)>,
    /// Collected bytes after the last chunk.
    open: Vec<u8>,
    open_seq: SeqNum,
}

impl SendBuffer {
    /// Empty, with the next byte at `seq`.
    pub(crate) fn at(seq: SeqNum) -> SendBuffer {
        SendBuffer { start: seq, chunks: VecDeque::new(), open: Vec::new(), open_seq: seq }
    }

    /// After the last byte.
    pub(crate) fn end(&self) -> SeqNum {
        self.open_seq + len32(self.open.len())
    }

    /// Bytes held.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.end() - self.start).expect("the end is not before the start")
    }

    /// Appends a copy of `bytes`.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.open.len() + bytes.len() > COLLECT_BYTES.max(self.open.capacity()) {
            self.seal();
        }
        self.open.extend_from_slice(bytes);
    }

    /// A large writer begins an entry of up to `len` bytes: they shall stand in one chunk.
    pub(crate) fn begin_chunk(&mut self, len: usize, pool: &mut ChunkPool) {
        self.seal();
        self.open = match pool.0.pop() {
            Some(chunk) if chunk.capacity() >= len => chunk,
            // To make one larger would copy what nobody wants.
            _ => Vec::with_capacity(len),
        };
    }

    /// Appends `len` bytes of `data` from `at` on; of shared ones many stay shared, few are copied.
    pub(crate) fn push_part(&mut self, data: &Source<'_>, at: usize, len: usize) {
        match data {
            Source::Shared(data) if len > COLLECT_BYTES => self.push_shared(data.slice(at..at + len)),
            Source::Shared(data) => self.push(&data[at..at + len]),
            Source::Borrowed(data) => self.push(&data[at..at + len]),
        }
    }

    /// Appends `bytes` without copying them.
    pub(crate) fn push_shared(&mut self, bytes: Bytes) {
        self.seal();
        if !bytes.is_empty() {
            let seq = self.open_seq;
            self.open_seq = seq + len32(bytes.len());
            self.chunks.push_back((seq, bytes));
        }
    }

    /// Skips a sequence number that carries no byte (SYN).
    pub(crate) fn skip_to(&mut self, seq: SeqNum) {
        debug_assert!(self.chunks.is_empty() && self.open.is_empty(), "only before the first byte");
        self.start = seq;
        self.open_seq = seq;
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            let bytes = Bytes::from(core::mem::take(&mut self.open));
            let seq = self.open_seq;
            self.open_seq = seq + len32(bytes.len());
            self.chunks.push_back((seq, bytes));
        }
    }

    /// How many bytes from `seq` on stand in one chunk.
    pub(crate) fn contiguous(&mut self, seq: SeqNum) -> usize {
        if seq.after(self.open_seq) || seq == self.open_seq {
            self.seal();
        }
        let index = self.chunks.partition_point(|(s, _)| s.before_eq(seq)) - 1;
        let (first_seq, first) = &self.chunks[index];
        first.len() - usize::try_from(seq - *first_seq).expect("the chunk begins at or before it")
    }

    /// The `len` bytes from `seq` on, shared when they stand in one chunk. Panics when they are not held.
    pub(crate) fn slice(&mut self, seq: SeqNum, len: usize) -> Bytes {
        if len == 0 {
            return Bytes::new();
        }
        if (seq + len32(len)).after(self.open_seq) {
            self.seal();
        }
        let mut index = self.chunks.partition_point(|(s, _)| s.before_eq(seq)) - 1;
        let (first_seq, first) = &self.chunks[index];
        let at = usize::try_from(seq - *first_seq).expect("the chunk begins at or before it");
        if at + len <= first.len() {
            return first.slice(at..at + len);
        }
        let mut joined = Vec::with_capacity(len);
        joined.extend_from_slice(&first[at..]);
        while joined.len() < len {
            index += 1;
            let chunk = &self.chunks[index].1;
            let want = (len - joined.len()).min(chunk.len());
            joined.extend_from_slice(&chunk[..want]);
        }
        joined.into()
    }

    /// Forgets everything before `una`.
    pub(crate) fn acknowledge(&mut self, una: SeqNum, pool: &mut ChunkPool) {
        while let Some((seq, bytes)) = self.chunks.front() {
            if (*seq + len32(bytes.len())).after(una) {
                break;
            }
            if let Some((_, bytes)) = self.chunks.pop_front() {
                pool.take(bytes);
            }
        }
        if self.chunks.is_empty() && una.after(self.open_seq) {
            let gone = usize::try_from(una - self.open_seq).expect("after").min(self.open.len());
            self.open.drain(..gone);
            self.open_seq += len32(gone);
        }
        self.start = self.start.latest(una).earliest(self.end());
    }
}

fn len32(n: usize) -> u32 {
    u32::try_from(n).expect("send buffers are far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cross_chunks_and_the_sequence_wrap() {
        let iss = SeqNum(u32::MAX - 5_000);
        let all: Vec<u8> = (0..40_000u32).map(|i| (i % 253) as u8).collect();
        let mut buffer = SendBuffer::at(iss);
        let mut at = 0;
        for n in [10, 20, 9_000, 3_000, 3_000, 1, 20_000, 4_969] {
            buffer.push(&all[at..at + n]);
            at += n;
        }
        assert_eq!(buffer.len(), all.len());
        for from in (0..all.len() - 1_448).step_by(777) {
            assert_eq!(*buffer.slice(iss + from as u32, 1_448), all[from..from + 1_448]);
        }
        let mut pool = ChunkPool::default();
        buffer.acknowledge(iss + 15_001, &mut pool);
        assert_eq!(buffer.len(), 40_000 - 15_001);
        assert_eq!(*buffer.slice(iss + 15_001, 100), all[15_001..15_101]);
        buffer.acknowledge(iss + 40_000, &mut pool);
        assert_eq!(buffer.len(), 0);
        assert_eq!(buffer.end(), iss + 40_000);
    }
}
