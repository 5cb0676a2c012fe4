//! Packets in flight: a header part that is owned and writable, and payload that may be shared.
//!
//! The head has room in front (as an `sk_buff` has headroom) so that a lower layer's header is put
//! before it without moving a byte; the tail is a reference-counted slice, so that bulk payload is
//! handed from host to host, to captures and to retransmission queues without being copied.

use core::fmt;
use core::ops::Range;
use std::sync::Arc;

/// What the first byte of a [`Frame`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Medium {
    /// An Ethernet header (`LINKTYPE_ETHERNET`, 1).
    Ethernet,
    /// An IPv4 or IPv6 header, told apart by its first nibble (`LINKTYPE_RAW`, 101): TUN devices.
    Ip,
}

/// Immutable shared bytes: a range of a reference-counted buffer of less than 4 GiB. Cloning copies no byte, nor does
/// making them from a `Vec`.
#[derive(Clone, Default)]
pub struct Bytes {
    buf: Option<Arc<Vec<u8>>>,
    /// In 32 bits, as [`Frame`]s are moved often and should be small.
    start: u32,
    end: u32,
}

impl Bytes {
    /// No bytes; allocates nothing.
    pub const fn new() -> Self {
        Bytes { buf: None, start: 0, end: 0 }
    }

    /// How many bytes.
    #[inline]
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// No bytes at all.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        match &self.buf {
            Some(b) => &b[self.start as usize..self.end as usize],
            None => &[],
        }
    }

    /// A part of these bytes, sharing the buffer. Panics when `range` reaches past the end.
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        assert!(range.start <= range.end && range.end <= self.len(), "slice {range:?} of {}", self.len());
        // Both are at most `len`, which is 32 bits.
        let (start, end) = (self.start + range.start as u32, self.start + range.end as u32);
        Bytes { buf: self.buf.clone(), start, end }
    }
}

impl Bytes {
    /// The buffer itself, when nobody else shares it.
    pub fn into_unique(self) -> Option<Vec<u8>> {
        Arc::try_unwrap(self.buf?).ok()
    }
}

fn end_of(len: usize) -> u32 {
    u32::try_from(len).expect("shared bytes are less than 4 GiB")
}

impl From<Vec<u8>> for Bytes {
    fn from(v: Vec<u8>) -> Self {
        if v.is_empty() {
            Bytes::new()
        } else {
            Bytes { end: end_of(v.len()), start: 0, buf: Some(Arc::new(v)) }
        }
    }
}

impl From<&[u8]> for Bytes {
    fn from(v: &[u8]) -> Self {
        Bytes::from(v.to_vec())
    }
}

impl core::ops::Deref for Bytes {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Bytes) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Bytes {}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}

/// One packet: `head` bytes followed by `tail` bytes.
///
/// ```
/// use wire::Frame;
/// let mut f = Frame::with_headroom(14, 20);
/// f.put(&[0x45; 20]);
/// f.push(14).fill(0xff); // an Ethernet header in front, nothing moved
/// assert_eq!(f.len(), 34);
/// assert_eq!(f.head()[14], 0x45);
/// ```
#[derive(Clone, Default)]
pub struct Frame {
    buf: Vec<u8>,
    start: usize,
    tail: Bytes,
}

/// Room that [`Frame::with_headroom`] callers leave for lower headers: Ethernet with a VLAN tag,
/// an outer IPv6 header, UDP and VXLAN with its inner Ethernet header.
pub const MAX_HEADROOM: usize = 18 + 40 + 8 + 8 + 14;

/// Room for what most packets get: an Ethernet header with a VLAN tag, rounded up (`LL_RESERVED_SPACE`).
pub const LINK_HEADROOM: usize = 32;

impl Frame {
    /// An empty frame with `headroom` bytes free in front and room for `capacity` bytes.
    #[inline]
    pub fn with_headroom(headroom: usize, capacity: usize) -> Self {
        let mut buf = Vec::with_capacity(headroom + capacity);
        buf.resize(headroom, 0);
        Frame { buf, start: headroom, tail: Bytes::new() }
    }

    /// `headroom` bytes free in front of `len` zero bytes to write headers into, and room for `more` behind them.
    #[inline]
    pub fn with_headroom_and(headroom: usize, len: usize, more: usize) -> Self {
        let mut buf = Vec::with_capacity(headroom + len + more);
        buf.resize(headroom + len, 0);
        Frame { buf, start: headroom, tail: Bytes::new() }
    }

    /// A frame of `header` and then `data`, with [`LINK_HEADROOM`] in front.
    #[inline]
    pub fn from_parts(header: &[u8], data: &[u8]) -> Self {
        let mut buf = Vec::with_capacity(LINK_HEADROOM + header.len() + data.len());
        buf.extend_from_slice(&[0; LINK_HEADROOM]);
        buf.extend_from_slice(header);
        buf.extend_from_slice(data);
        Frame { buf, start: LINK_HEADROOM, tail: Bytes::new() }
    }

    /// A frame that owns `bytes`, with no headroom.
    #[inline]
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Frame { buf: bytes, start: 0, tail: Bytes::new() }
    }

    /// A frame with a copy of `bytes` and no headroom.
    pub fn from_slice(bytes: &[u8]) -> Self {
        Frame::from_vec(bytes.to_vec())
    }

    /// The owned first part: all headers, and whatever payload was written inline.
    #[inline]
    pub fn head(&self) -> &[u8] {
        &self.buf[self.start..]
    }

    /// The owned first part, writable.
    #[inline]
    pub fn head_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..]
    }

    /// The shared last part; empty unless [`Frame::set_tail`] was called.
    #[inline]
    pub fn tail(&self) -> &Bytes {
        &self.tail
    }

    /// Shares `tail` as the bytes after the head, replacing any tail before.
    #[inline]
    pub fn set_tail(&mut self, tail: Bytes) {
        self.tail = tail;
    }

    /// Bytes in all.
    #[inline]
    pub fn len(&self) -> usize {
        self.buf.len() - self.start + self.tail.len()
    }

    /// No bytes at all.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends to the head. Panics when there already is a tail: order would be lost.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        assert!(self.tail.is_empty(), "the head cannot grow behind a tail");
        self.buf.extend_from_slice(bytes);
    }

    /// Appends `n` zero bytes to the head and returns them for writing.
    pub fn put_zeroed(&mut self, n: usize) -> &mut [u8] {
        assert!(self.tail.is_empty(), "the head cannot grow behind a tail");
        let at = self.buf.len();
        self.buf.resize(at + n, 0);
        &mut self.buf[at..]
    }

    /// Makes room for `n` bytes in front and returns them for writing (as `skb_push`). Their content
    /// is whatever stood there. Moves bytes only when the headroom is used up.
    #[inline]
    pub fn push(&mut self, n: usize) -> &mut [u8] {
        if self.start < n {
            self.add_headroom(n);
        }
        self.start -= n;
        &mut self.buf[self.start..self.start + n]
    }

    #[cold]
    fn add_headroom(&mut self, n: usize) {
        let room = n.max(MAX_HEADROOM);
        let mut bigger = Vec::with_capacity(room + self.buf.len() - self.start);
        bigger.resize(room, 0);
        bigger.extend_from_slice(&self.buf[self.start..]);
        self.buf = bigger;
        self.start = room;
    }

    /// Drops `n` bytes from the front (as `skb_pull`). Panics when the head is shorter: headers stand
    /// in the head.
    #[inline]
    pub fn pull(&mut self, n: usize) {
        assert!(n <= self.buf.len() - self.start, "pull {n} of {}", self.buf.len() - self.start);
        self.start += n;
    }

    /// Cuts the frame down to its first `n` bytes; no effect when it is not longer.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        let head = self.buf.len() - self.start;
        if n <= head {
            self.buf.truncate(self.start + n);
            self.tail = Bytes::new();
        } else if n - head < self.tail.len() {
            self.tail = self.tail.slice(0..n - head);
        }
    }

    /// Moves the tail into the head, so that [`Frame::head`] is the whole frame.
    pub fn linearize(&mut self) {
        if !self.tail.is_empty() {
            let tail = core::mem::take(&mut self.tail);
            self.buf.extend_from_slice(&tail);
        }
    }

    /// All bytes in one new buffer.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut v = Vec::with_capacity(self.len());
        v.extend_from_slice(self.head());
        v.extend_from_slice(&self.tail);
        v
    }

    /// Copies `range` of the frame out, across the border of head and tail. Panics past the end.
    pub fn copy_range(&self, range: Range<usize>, out: &mut Vec<u8>) {
        assert!(range.end <= self.len(), "range {range:?} of {}", self.len());
        let head = self.head();
        let cut = head.len();
        if range.start < cut {
            out.extend_from_slice(&head[range.start..range.end.min(cut)]);
        }
        if range.end > cut {
            out.extend_from_slice(&self.tail[range.start.max(cut) - cut..range.end - cut]);
        }
    }

    /// Fills `out` with the bytes from `start` on, across the border of head and tail. Panics past the end.
    pub fn read_range(&self, start: usize, out: &mut [u8]) {
        let head = self.head();
        let of_head = head.len().saturating_sub(start).min(out.len());
        if of_head > 0 {
            out[..of_head].copy_from_slice(&head[start..start + of_head]);
        }
        if of_head < out.len() {
            let from = start.max(head.len()) - head.len();
            let rest = &mut out[of_head..];
            rest.copy_from_slice(&self.tail[from..from + rest.len()]);
        }
    }
}

impl PartialEq for Frame {
    fn eq(&self, other: &Frame) -> bool {
        self.len() == other.len() && self.to_vec() == other.to_vec()
    }
}

impl Eq for Frame {}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} B", self.head().len())?;
        if !self.tail.is_empty() {
            write!(f, " + {} B shared", self.tail.len())?;
        }
        f.write_str(")")
    }
}
