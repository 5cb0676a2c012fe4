//! Packets in flight: a header part that is owned and writable, and payload that may be shared.
//!
//! The head has room in front (as an `sk_buff` has headroom) so that a lower layer's header is put
//! before it without moving a byte; the tail is a reference-counted slice, so that bulk payload is
//! handed from host to host, to captures and to retransmission queues without being copied.

use core::cell::RefCell;
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
///
/// It is moved from queue to queue all its life: a pointer, to one allocation that holds a short head as well, and that
/// the next frame of the thread takes over.
#[derive(Default)]
pub struct Frame(Option<Box<Inner>>);

/// Heads up to this stand beside the rest: [`LINK_HEADROOM`], IPv4, TCP with timestamps and 64 bytes.
const SHORT: usize = 151;

struct Inner {
    /// Where the head begins and ends in its buffer.
    start: u32,
    end: u32,
    tail: Bytes,
    /// The head's buffer when it outgrows `short`; empty until then.
    long: Vec<u8>,
    /// See [`Frame::set_checksummed`].
    checksummed: bool,
    short: [u8; SHORT],
}

static NO_TAIL: Bytes = Bytes::new();

/// Boxes that a thread keeps for its next frames. Allocators keep few of a size at hand (glibc seven); links hold more.
const SPARE: usize = 256;

thread_local! {
    #[expect(clippy::vec_box, reason = "the boxes themselves are kept and handed out again")]
    static BOXES: RefCell<Vec<Box<Inner>>> = const { RefCell::new(Vec::new()) };
}

impl Inner {
    /// A box that nobody uses, without a tail and with a short buffer of whatever.
    #[inline]
    fn any() -> Box<Inner> {
        let spare = BOXES.try_with(|boxes| boxes.borrow_mut().pop()).ok().flatten();
        spare.unwrap_or_else(|| {
            let (tail, long) = (Bytes::new(), Vec::new());
            Box::new(Inner { start: 0, end: 0, tail, long, checksummed: false, short: [0; SHORT] })
        })
    }

    /// A buffer of at least `size` bytes, of which the head is `start..end`; zeroes up to its end.
    #[inline]
    fn zeroed(size: usize, start: usize, end: usize) -> Box<Inner> {
        let mut inner = Inner::any();
        if size > SHORT {
            inner.long = vec![0; size];
        } else {
            inner.short[..end].fill(0);
        }
        (inner.start, inner.end) = (end_of(start), end_of(end));
        inner
    }

    /// A buffer with a head of `len` bytes of whatever, and [`LINK_HEADROOM`] in front.
    #[inline]
    fn link(len: usize) -> Box<Inner> {
        let end = LINK_HEADROOM + len;
        let mut inner = Inner::any();
        if end > SHORT {
            inner.long = vec![0; end];
        } else {
            inner.short[..LINK_HEADROOM].fill(0);
        }
        (inner.start, inner.end) = (LINK_HEADROOM as u32, end_of(end)); // 32
        inner
    }

    #[inline]
    fn buf(&self) -> &[u8] {
        if self.long.is_empty() { &self.short } else { &self.long }
    }

    #[inline]
    fn buf_mut(&mut self) -> &mut [u8] {
        if self.long.is_empty() { &mut self.short } else { &mut self.long }
    }

    #[inline]
    fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Room for `n` bytes behind the head, which then belong to it.
    #[inline]
    fn put(&mut self, n: usize) -> &mut [u8] {
        assert!(self.tail.is_empty(), "the head cannot grow behind a tail");
        self.checksummed = false;
        let at = self.end as usize;
        if at + n > self.buf().len() {
            self.move_to(self.start as usize, at + n);
        }
        self.end = end_of(at + n);
        &mut self.buf_mut()[at..at + n]
    }

    /// Moves the head to a buffer of its own, `start` bytes from the front; `size` is the least it must hold.
    #[cold]
    fn move_to(&mut self, start: usize, size: usize) {
        let head = self.range();
        let mut long = Vec::with_capacity(size.max(2 * SHORT));
        long.resize(start, 0);
        long.extend_from_slice(&self.buf()[head.clone()]);
        long.resize(long.capacity(), 0);
        self.long = long;
        (self.start, self.end) = (end_of(start), end_of(start + head.len()));
    }
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        let Some(mut inner) = self.0.take() else { return };
        inner.tail = Bytes::new();
        inner.long = Vec::new();
        inner.checksummed = false;
        // While the thread ends there is nobody to keep it for.
        let _ = BOXES.try_with(|boxes| {
            let mut boxes = boxes.borrow_mut();
            if boxes.len() < SPARE {
                boxes.push(inner);
            }
        });
    }
}

impl Clone for Frame {
    fn clone(&self) -> Frame {
        let Some(inner) = &self.0 else { return Frame::default() };
        // With what stands in front: headers that were pulled can be pushed again.
        let Range { start, end } = inner.range();
        let mut copy = Inner::zeroed(end, start, end);
        copy.buf_mut()[..end].copy_from_slice(&inner.buf()[..end]);
        copy.tail = inner.tail.clone();
        copy.checksummed = inner.checksummed;
        Frame(Some(copy))
    }
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
        Frame(Some(Inner::zeroed(headroom + capacity, headroom, headroom)))
    }

    /// `headroom` bytes free in front of `len` zero bytes to write headers into, and room for `more` behind them.
    #[inline]
    pub fn with_headroom_and(headroom: usize, len: usize, more: usize) -> Self {
        Frame(Some(Inner::zeroed(headroom + len + more, headroom, headroom + len)))
    }

    /// A frame of `header` and then `data`, with [`LINK_HEADROOM`] in front.
    #[inline]
    pub fn from_parts(header: &[u8], data: &[u8]) -> Self {
        let mut inner = Inner::link(header.len() + data.len());
        let (first, rest) = inner.buf_mut()[LINK_HEADROOM..].split_at_mut(header.len());
        first.copy_from_slice(header);
        rest[..data.len()].copy_from_slice(data);
        Frame(Some(inner))
    }

    /// A frame that owns `bytes`, with no headroom.
    #[inline]
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        let mut inner = Inner::any();
        (inner.start, inner.end) = (0, end_of(bytes.len()));
        inner.long = bytes;
        Frame(Some(inner))
    }

    /// A frame with a copy of `bytes` and no headroom.
    pub fn from_slice(bytes: &[u8]) -> Self {
        let mut inner = Inner::zeroed(bytes.len(), 0, bytes.len());
        inner.buf_mut()[..bytes.len()].copy_from_slice(bytes);
        Frame(Some(inner))
    }

    #[inline]
    fn inner(&mut self) -> &mut Inner {
        self.0.get_or_insert_with(|| Inner::zeroed(0, 0, 0))
    }

    #[inline]
    fn head_len(&self) -> usize {
        self.0.as_ref().map_or(0, |inner| (inner.end - inner.start) as usize)
    }

    /// The owned first part: all headers, and whatever payload was written inline.
    #[inline]
    pub fn head(&self) -> &[u8] {
        match &self.0 {
            Some(inner) => &inner.buf()[inner.range()],
            None => &[],
        }
    }

    /// The owned first part, writable.
    #[inline]
    pub fn head_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Some(inner) => {
                inner.checksummed = false;
                let range = inner.range();
                &mut inner.buf_mut()[range]
            }
            None => &mut [],
        }
    }

    /// The first bytes, writable for a router: it changes nothing that a transport's checksum covers.
    #[inline]
    pub fn network_header_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        let inner = self.0.as_mut()?;
        let range = inner.range();
        inner.buf_mut()[range].first_chunk_mut()
    }

    /// The transport checksum in it was computed by who made it. As long as nobody has written to the bytes since,
    /// [`Frame::is_checksummed`] saves the receiver from doing so again (`CHECKSUM_UNNECESSARY`, what Linux does between
    /// its own interfaces).
    #[inline]
    pub fn set_checksummed(&mut self) {
        self.inner().checksummed = true;
    }

    /// The transport checksum is right: see [`Frame::set_checksummed`].
    #[inline]
    pub fn is_checksummed(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.checksummed)
    }

    /// The shared last part; empty unless [`Frame::set_tail`] was called.
    #[inline]
    pub fn tail(&self) -> &Bytes {
        self.0.as_ref().map_or(&NO_TAIL, |inner| &inner.tail)
    }

    /// Shares `tail` as the bytes after the head, replacing any tail before.
    #[inline]
    pub fn set_tail(&mut self, tail: Bytes) {
        let inner = self.inner();
        inner.tail = tail;
        inner.checksummed = false;
    }

    /// Bytes in all.
    #[inline]
    pub fn len(&self) -> usize {
        self.head_len() + self.tail().len()
    }

    /// No bytes at all.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends to the head. Panics when there already is a tail: order would be lost.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.inner().put(bytes.len()).copy_from_slice(bytes);
    }

    /// Appends `n` zero bytes to the head and returns them for writing.
    pub fn put_zeroed(&mut self, n: usize) -> &mut [u8] {
        let bytes = self.inner().put(n);
        bytes.fill(0); // a truncated head leaves its bytes there
        bytes
    }

    /// Makes room for `n` bytes in front and returns them for writing (as `skb_push`). Their content
    /// is whatever stood there. Moves bytes only when the headroom is used up.
    #[inline]
    pub fn push(&mut self, n: usize) -> &mut [u8] {
        let inner = self.inner();
        let mut start = inner.start as usize;
        if start < n {
            start = n.max(MAX_HEADROOM);
            inner.move_to(start, start + inner.range().len());
        }
        inner.start = (start - n) as u32; // less than it was
        &mut inner.buf_mut()[start - n..start]
    }

    /// Drops `n` bytes from the front (as `skb_pull`). Panics when the head is shorter: headers stand
    /// in the head.
    #[inline]
    pub fn pull(&mut self, n: usize) {
        assert!(n <= self.head_len(), "pull {n} of {}", self.head_len());
        if let Some(inner) = &mut self.0 {
            inner.start += n as u32; // at most `end`
        }
    }

    /// Cuts the frame down to its first `n` bytes; no effect when it is not longer.
    #[inline]
    pub fn truncate(&mut self, n: usize) {
        let head = self.head_len();
        let Some(inner) = &mut self.0 else { return };
        if n >= head + inner.tail.len() {
            return;
        }
        inner.checksummed = false;
        if n <= head {
            inner.end = inner.start + n as u32; // at most what it was
            inner.tail = Bytes::new();
        } else {
            inner.tail = inner.tail.slice(0..n - head);
        }
    }

    /// Moves the tail into the head, so that [`Frame::head`] is the whole frame.
    pub fn linearize(&mut self) {
        if let Some(inner) = &mut self.0
            && !inner.tail.is_empty()
        {
            let tail = core::mem::take(&mut inner.tail);
            inner.put(tail.len()).copy_from_slice(&tail);
        }
    }

    /// All bytes in one new buffer.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut v = Vec::with_capacity(self.len());
        v.extend_from_slice(self.head());
        v.extend_from_slice(self.tail());
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
            out.extend_from_slice(&self.tail()[range.start.max(cut) - cut..range.end - cut]);
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
            rest.copy_from_slice(&self.tail()[from..from + rest.len()]);
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
        if !self.tail().is_empty() {
            write!(f, " + {} B shared", self.tail().len())?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_outgrows_its_box_keeps_its_bytes() {
        for len in [0, 1, SHORT - 1, SHORT, SHORT + 1, 4000] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            for mut frame in [Frame::from_slice(&bytes), Frame::from_vec(bytes.clone())] {
                frame.push(100).fill(7);
                frame.put(&[8; 100]);
                let whole = [&[7; 100][..], &bytes, &[8; 100]].concat();
                assert_eq!(frame.head(), whole, "{len}");
                frame.pull(100);
                frame.truncate(len);
                assert_eq!(frame.to_vec(), bytes);
                assert_eq!(frame.clone().push(100), [7; 100], "what was pulled can be pushed again");
            }
        }
    }

    #[test]
    fn the_box_of_a_frame_that_is_gone_tells_nothing() {
        for size in [10, SHORT, 1000] {
            let mut old = Frame::from_vec(vec![0xaa; size]);
            old.linearize();
            drop(old);
            drop(Frame::from_slice(&[0xbb; SHORT]));
            let mut new = Frame::with_headroom_and(20, 30, 10);
            assert_eq!(new.head(), [0; 30]);
            assert_eq!(new.put_zeroed(10), [0; 10]);
            assert_eq!(new.push(20), [0; 20]);
            assert!(new.tail().is_empty() && !new.is_checksummed());
            assert!(Frame::default().is_empty());
        }
    }

    #[test]
    fn whoever_writes_to_a_frame_makes_its_checksum_doubtful() {
        let made = || {
            let mut frame = Frame::from_parts(&[1; 20], &[2; 9]);
            frame.set_tail(vec![3; 40].into());
            frame.set_checksummed();
            frame
        };
        let keeps: [fn(&mut Frame); 5] = [
            |f| f.push(14).fill(0),
            |f| f.pull(20),
            |f| f.truncate(69),
            |f| f.network_header_mut::<20>().expect("long enough")[8] -= 1,
            |f| *f = f.clone(),
        ];
        for keep in keeps {
            let mut frame = made();
            keep(&mut frame);
            assert!(frame.is_checksummed());
        }
        let loses: [fn(&mut Frame); 5] = [
            |f| f.head_mut()[0] = 0,
            |f| f.truncate(68),
            |f| f.truncate(3),
            |f| f.linearize(),
            |f| f.set_tail(Bytes::new()),
        ];
        for lose in loses {
            let mut frame = made();
            lose(&mut frame);
            assert!(!frame.is_checksummed());
        }
    }
}
