//! TCP options: kept as bytes, read once (RFC 9293 §3.2, 7323, 2018, 7413, 2385), laid out as Linux does.
//!
//! Linux: tcp_input.c `tcp_parse_options` (what is accepted: each option only with its exact length, the
//! last of two alike wins, reading stops at the first that does not fit) and tcp_output.c
//! `tcp_options_write` (order and padding).

use super::SeqNum;
use crate::checksum::{Sum, sum, sum_header};
use crate::field::{array, option_data, put, u16_at, u32_at};
use core::fmt;

const EOL: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const MD5: u8 = 19;
const FAST_OPEN: u8 = 34;
const EXPERIMENTAL: u8 = 254;
/// RFC 6994 experiment identifier of the fast open option before it had a number.
const FAST_OPEN_MAGIC: [u8; 2] = [0xf9, 0x89];
/// Most SACK blocks that fit 40 bytes.
const MAX_SACK: usize = 4;

/// RFC 7323 §3.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timestamps {
    /// TSval: the sender's clock.
    pub val: u32,
    /// TSecr: the clock value of the peer that is echoed; 0 without ACK.
    pub ecr: u32,
}

/// A block of bytes that arrived: `left` up to, not including, `right` (RFC 2018 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SackBlock {
    /// First sequence number of the block.
    pub left: SeqNum,
    /// The sequence number after its last.
    pub right: SeqNum,
}

/// Up to four SACK blocks, the most recent first.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Sack {
    blocks: [SackBlock; MAX_SACK],
    len: u8,
}

impl Sack {
    /// No blocks.
    pub const EMPTY: Sack =
        Sack { blocks: [SackBlock { left: SeqNum(0), right: SeqNum(0) }; MAX_SACK], len: 0 };

    /// Adds a block at the end; `false` and no effect when there are four already.
    pub const fn push(&mut self, block: SackBlock) -> bool {
        if self.len as usize == MAX_SACK {
            return false;
        }
        self.blocks[self.len as usize] = block;
        self.len += 1;
        true
    }

    /// The blocks in order.
    #[inline]
    pub fn as_slice(&self) -> &[SackBlock] {
        &self.blocks[..usize::from(self.len)]
    }
}

impl core::ops::Deref for Sack {
    type Target = [SackBlock];
    fn deref(&self) -> &[SackBlock] {
        self.as_slice()
    }
}

impl FromIterator<SackBlock> for Sack {
    /// The first four.
    fn from_iter<I: IntoIterator<Item = SackBlock>>(iter: I) -> Sack {
        let mut sack = Sack::EMPTY;
        for block in iter.into_iter().take(MAX_SACK) {
            sack.push(block);
        }
        sack
    }
}

impl fmt::Debug for Sack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.as_slice()).finish()
    }
}

/// A TCP fast open option (RFC 7413 §4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastOpen<'a> {
    /// 0 bytes: a request for one. Otherwise 4 to 16 bytes, an even number; others are malformed.
    pub cookie: &'a [u8],
    /// Carried in the experimental option (kind 254, 0xF989) instead of kind 34.
    pub experimental: bool,
}

/// What a segment's options say, and their bytes: up to 40, a multiple of four. What nearly every segment carries is
/// kept read, what few do is read when it is asked for.
#[derive(Clone, Copy)]
pub struct Options {
    bytes: [u8; 40],
    /// Zero unless [`seen::TIMESTAMPS`].
    timestamps: Timestamps,
    mss: u16,
    window_scale: u8,
    len: u8,
    seen: u8,
    /// Offset of the first block and number of blocks; 0 blocks when there is no SACK option.
    sack: (u8, u8),
}

/// Bits of `Options::seen`.
mod seen {
    pub(super) const TIMESTAMPS: u8 = 1;
    pub(super) const SACK_PERMITTED: u8 = 2;
    pub(super) const MALFORMED: u8 = 4;
    pub(super) const UNKNOWN: u8 = 8;
    pub(super) const MSS: u8 = 16;
    pub(super) const WINDOW: u8 = 32;
    pub(super) const MD5: u8 = 64;
    pub(super) const FAST_OPEN: u8 = 128;
}

/// More than 40 bytes of options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TCP options longer than 40 bytes")
    }
}

impl core::error::Error for TooLong {}

impl Options {
    /// No options.
    pub const EMPTY: Options = Options {
        bytes: [0; 40],
        timestamps: Timestamps { val: 0, ecr: 0 },
        mss: 0,
        window_scale: 0,
        len: 0,
        seen: 0,
        sack: (0, 0),
    };

    /// Timestamps alone, behind two bytes of padding: what nearly every segment carries.
    #[inline]
    pub fn of_timestamps(timestamps: Timestamps) -> Options {
        let mut options = Options { timestamps, len: 12, seen: seen::TIMESTAMPS, ..Options::EMPTY };
        let (first, second) = options.bytes.split_at_mut(4);
        first.copy_from_slice(&[NOP, NOP, TIMESTAMPS, 10]);
        let both = u64::from(timestamps.val) << 32 | u64::from(timestamps.ecr);
        second[..8].copy_from_slice(&both.to_be_bytes());
        options
    }

    /// Reads any option bytes, padded with End of Option List to a multiple of four.
    pub fn from_bytes(bytes: &[u8]) -> Result<Options, TooLong> {
        if bytes.len() > 40 {
            return Err(TooLong);
        }
        let mut padded = [0; 40];
        padded[..bytes.len()].copy_from_slice(bytes);
        Ok(Options::parse(&padded[..bytes.len().next_multiple_of(4)]))
    }

    /// `wire` is at most 40 bytes long and a multiple of four.
    #[inline]
    pub(super) fn parse(wire: &[u8]) -> Options {
        let mut options = Options::EMPTY;
        options.parse_into(wire);
        options
    }

    /// The same in place; `self` is [`Options::EMPTY`].
    #[inline]
    pub(super) fn parse_into(&mut self, wire: &[u8]) {
        // As Linux's tcp_parse_aligned_timestamp: nearly every segment begins like this.
        if let Some(first) = wire.first_chunk::<12>()
            && first[..4] == [NOP, NOP, TIMESTAMPS, 10]
        {
            self.timestamps = Timestamps { val: u32_at(first, 4), ecr: u32_at(first, 8) };
            self.seen = seen::TIMESTAMPS;
            self.len = 12;
            self.bytes[..12].copy_from_slice(first);
            if wire.len() == 12 {
                return;
            }
        }
        self.parse_any(wire);
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most 40")]
    fn parse_any(&mut self, wire: &[u8]) {
        let at = self.len();
        self.len = wire.len() as u8;
        for (to, from) in self.bytes.as_chunks_mut::<4>().0.iter_mut().zip(wire.as_chunks::<4>().0) {
            *to = *from;
        }
        self.read(at);
    }

    /// Reads the options from offset `at` on into the typed fields.
    #[expect(clippy::cast_possible_truncation, reason = "offsets are below 40")]
    fn read(&mut self, mut at: usize) {
        let len = self.len();
        while at < len {
            let kind = self.bytes[at];
            if kind == NOP {
                at += 1;
                continue;
            }
            if kind == EOL {
                return;
            }
            let n = if at + 1 < len { usize::from(self.bytes[at + 1]) } else { 0 };
            if n < 2 || at + n > len {
                self.seen |= seen::MALFORMED;
                return;
            }
            let data = &self.bytes[at + 2..at + n];
            match (kind, n) {
                (MSS, 4) => {
                    self.mss = u16_at(data, 0);
                    self.seen |= seen::MSS;
                }
                (WINDOW, 3) => {
                    self.window_scale = data[0];
                    self.seen |= seen::WINDOW;
                }
                (SACK_PERMITTED, 2) => self.seen |= seen::SACK_PERMITTED,
                (TIMESTAMPS, 10) => {
                    self.timestamps = Timestamps { val: u32_at(data, 0), ecr: u32_at(data, 4) };
                    self.seen |= seen::TIMESTAMPS;
                }
                (SACK, 10 | 18 | 26 | 34) => self.sack = (at as u8 + 2, (n as u8 - 2) / 8),
                (MD5, 18) => self.seen |= seen::MD5,
                (FAST_OPEN, 2..=40) => self.seen |= seen::FAST_OPEN,
                (EXPERIMENTAL, 4..=40) if data[..2] == FAST_OPEN_MAGIC => self.seen |= seen::FAST_OPEN,
                _ => self.seen |= seen::UNKNOWN,
            }
            at += n;
        }
    }

    /// Bytes, padding included: 0 to 40.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// No options.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes as on the wire.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len()]
    }

    /// The last option that `pick` takes.
    fn last<'a, R>(&'a self, pick: impl Fn(Opt<'a>) -> Option<R>) -> Option<R> {
        self.iter().filter_map(|(_, option)| pick(option)).last()
    }

    #[inline]
    const fn has(&self, bit: u8) -> bool {
        self.seen & bit != 0
    }

    /// The checksum's sum over them.
    #[inline]
    pub(super) fn sum(&self) -> Sum {
        // Timestamps alone: nearly every segment.
        if self.len == 12 {
            sum_header(self.bytes.first_chunk::<12>().expect("of 40"))
        } else {
            sum(self.as_bytes())
        }
    }

    /// Writes them; `to` is as long as they are.
    #[inline]
    pub(super) fn write(&self, to: &mut [u8]) {
        if let Ok(twelve) = <&mut [u8; 12]>::try_from(&mut *to) {
            put(twelve, 0, &array::<8>(&self.bytes, 0));
            put(twelve, 8, &array::<4>(&self.bytes, 8));
        } else {
            self.write_any(to);
        }
    }

    /// A copy of unknown length is a call.
    #[inline(never)]
    fn write_any(&self, to: &mut [u8]) {
        to.copy_from_slice(self.as_bytes());
    }

    /// Maximum segment size (kind 2).
    #[inline]
    pub const fn mss(&self) -> Option<u16> {
        if self.has(seen::MSS) { Some(self.mss) } else { None }
    }

    /// Window scale as sent (kind 3); above 14 counts as 14 (RFC 7323 §2.3).
    #[inline]
    pub const fn window_scale(&self) -> Option<u8> {
        if self.has(seen::WINDOW) { Some(self.window_scale) } else { None }
    }

    /// SACK permitted (kind 4).
    #[inline]
    pub const fn sack_permitted(&self) -> bool {
        self.has(seen::SACK_PERMITTED)
    }

    /// Timestamps (kind 8).
    #[inline]
    pub const fn timestamps(&self) -> Option<Timestamps> {
        if self.has(seen::TIMESTAMPS) { Some(self.timestamps) } else { None }
    }

    /// There are SACK blocks.
    #[inline]
    pub const fn has_sack(&self) -> bool {
        self.sack.1 > 0
    }

    /// The blocks of the SACK option (kind 5); none when there is no such option.
    #[inline]
    pub fn sack(&self) -> Sack {
        let (at, n) = (usize::from(self.sack.0), usize::from(self.sack.1));
        let (blocks, _) = self.bytes[at..at + 8 * n].as_chunks::<8>();
        blocks.iter().map(|b| SackBlock { left: SeqNum(u32_at(b, 0)), right: SeqNum(u32_at(b, 4)) }).collect()
    }

    /// Fast open (kind 34, or 254 with 0xF989).
    pub fn fast_open(&self) -> Option<FastOpen<'_>> {
        if !self.has(seen::FAST_OPEN) {
            return None;
        }
        self.last(|option| if let Opt::FastOpen(fast_open) = option { Some(fast_open) } else { None })
    }

    /// The TCP MD5 signature (kind 19).
    #[inline]
    pub fn md5(&self) -> Option<[u8; 16]> {
        if !self.has(seen::MD5) {
            return None;
        }
        self.last(|option| if let Opt::Md5(digest) = option { digest.try_into().ok() } else { None })
    }

    /// An option's length did not fit; the ones before it were read.
    #[inline]
    pub const fn is_malformed(&self) -> bool {
        self.has(seen::MALFORMED)
    }

    /// There is an option of a kind or length that this library (and Linux) does not read.
    #[inline]
    pub const fn has_unknown(&self) -> bool {
        self.has(seen::UNKNOWN)
    }

    /// Each option in order, with its offset from the start of the options.
    pub fn iter(&self) -> OptionIter<'_> {
        OptionIter { bytes: self.as_bytes(), at: 0 }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options::EMPTY
    }
}

impl PartialEq for Options {
    fn eq(&self, other: &Options) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Options {}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(_, option)| option)).finish()
    }
}

impl<'a> IntoIterator for &'a Options {
    type Item = (usize, Opt<'a>);
    type IntoIter = OptionIter<'a>;
    fn into_iter(self) -> OptionIter<'a> {
        self.iter()
    }
}

/// One option as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opt<'a> {
    /// The list ends; what follows is padding.
    EndOfList,
    /// One byte of padding.
    Nop,
    /// Maximum segment size.
    Mss(u16),
    /// Window scale.
    WindowScale(u8),
    /// SACK permitted.
    SackPermitted,
    /// SACK blocks, eight bytes each.
    Sack(&'a [[u8; 8]]),
    /// Timestamps.
    Timestamps(Timestamps),
    /// MD5 signature.
    Md5(&'a [u8]),
    /// Fast open.
    FastOpen(FastOpen<'a>),
    /// Any other kind, or one of the above with a length it must not have.
    Unknown {
        /// Option kind.
        kind: u8,
        /// What stands after the length.
        data: &'a [u8],
    },
    /// Kind and length do not fit the space: reading stops here.
    Malformed(&'a [u8]),
}

/// Reads options one by one; ends after End of Option List and after a malformed one.
#[derive(Clone, Debug)]
pub struct OptionIter<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for OptionIter<'a> {
    type Item = (usize, Opt<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        let rest = self.bytes.get(at..)?;
        let kind = *rest.first()?;
        if kind == NOP {
            self.at += 1;
            return Some((at, Opt::Nop));
        }
        if kind == EOL {
            self.at = self.bytes.len();
            return Some((at, Opt::EndOfList));
        }
        let Ok(data) = option_data(rest) else {
            self.at = self.bytes.len();
            return Some((at, Opt::Malformed(rest)));
        };
        self.at += 2 + data.len();
        let option = match (kind, data) {
            (MSS, [_, _]) => Opt::Mss(u16_at(data, 0)),
            (WINDOW, [shift]) => Opt::WindowScale(*shift),
            (SACK_PERMITTED, []) => Opt::SackPermitted,
            (SACK, [_, ..]) if data.len() % 8 == 0 => Opt::Sack(data.as_chunks::<8>().0),
            (TIMESTAMPS, d) if d.len() == 8 => {
                Opt::Timestamps(Timestamps { val: u32_at(d, 0), ecr: u32_at(d, 4) })
            }
            (MD5, d) if d.len() == 16 => Opt::Md5(d),
            (FAST_OPEN, cookie) => Opt::FastOpen(FastOpen { cookie, experimental: false }),
            (EXPERIMENTAL, [0xf9, 0x89, cookie @ ..]) => {
                Opt::FastOpen(FastOpen { cookie, experimental: true })
            }
            _ => Opt::Unknown { kind, data },
        };
        Some((at, option))
    }
}

/// Options to send; [`OptionSet::build`] lays them out as Linux does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionSet<'a> {
    /// MD5 signature.
    pub md5: Option<[u8; 16]>,
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// SACK permitted.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// Window scale.
    pub window_scale: Option<u8>,
    /// SACK blocks; as many as fit after the other options are written, the first ones first.
    pub sack: Sack,
    /// Fast open request (empty cookie) or cookie.
    pub fast_open: Option<FastOpen<'a>>,
}

impl OptionSet<'_> {
    /// Lays the options out in Linux's order and padding: MD5, MSS, SACK permitted with timestamps, window
    /// scale, SACK blocks, fast open; each part ends on a multiple of four. `TooLong` when they need more
    /// than 40 bytes even without SACK blocks.
    ///
    /// ```
    /// use wire::tcp::{OptionSet, Timestamps};
    /// let syn = OptionSet {
    ///     mss: Some(1460),
    ///     sack_permitted: true,
    ///     timestamps: Some(Timestamps { val: 1, ecr: 0 }),
    ///     window_scale: Some(7),
    ///     ..OptionSet::default()
    /// };
    /// let bytes = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
    /// assert_eq!(syn.build().unwrap().as_bytes(), bytes);
    /// ```
    #[inline]
    pub fn build(&self) -> Result<Options, TooLong> {
        let mut out = Layout { options: Options::EMPTY, words: [[NOP; 4]; 10], at: 0 };
        self.lay_out(&mut out)?;
        let Layout { mut options, words, at } = out;
        options.bytes.copy_from_slice(words.as_flattened());
        options.bytes[at * 4..].fill(0);
        options.len = at as u8 * 4; // at most 10 words
        Ok(options)
    }

    #[inline]
    fn lay_out(&self, out: &mut Layout) -> Result<(), TooLong> {
        if let Some(digest) = self.md5 {
            out.put([NOP, NOP, MD5, 18])?;
            out.options.seen |= seen::MD5;
            for word in digest.as_chunks::<4>().0 {
                out.put(*word)?;
            }
        }
        if let Some(mss) = self.mss {
            let [high, low] = mss.to_be_bytes();
            out.put([MSS, 4, high, low])?;
        }
        match (self.timestamps, self.sack_permitted) {
            (Some(t), permitted) => {
                let before = if permitted { [SACK_PERMITTED, 2] } else { [NOP, NOP] };
                out.put([before[0], before[1], TIMESTAMPS, 10])?;
                out.put(t.val.to_be_bytes())?;
                out.put(t.ecr.to_be_bytes())?;
            }
            (None, true) => out.put([NOP, NOP, SACK_PERMITTED, 2])?,
            (None, false) => {}
        }
        if let Some(shift) = self.window_scale {
            out.put([NOP, WINDOW, 3, shift])?;
        }
        let bit = |is: bool, bit: u8| if is { bit } else { 0 };
        out.options.timestamps = self.timestamps.unwrap_or_default();
        out.options.seen |= bit(self.timestamps.is_some(), seen::TIMESTAMPS)
            | bit(self.sack_permitted, seen::SACK_PERMITTED)
            | bit(self.mss.is_some(), seen::MSS)
            | bit(self.window_scale.is_some(), seen::WINDOW)
            | bit(self.fast_open.is_some(), seen::FAST_OPEN);
        out.options.mss = self.mss.unwrap_or(0);
        out.options.window_scale = self.window_scale.unwrap_or(0);
        if !self.sack.is_empty() {
            self.lay_out_sack(out)?;
        }
        if let Some(option) = self.fast_open {
            out.put_fast_open(option)?;
        }
        Ok(())
    }

    /// As many blocks as leave room for a fast open option.
    #[inline]
    fn lay_out_sack(&self, out: &mut Layout) -> Result<(), TooLong> {
        let fast_open = self.fast_open.map_or(0, fast_open_len) / 4;
        let room = (10 - out.at).saturating_sub(1 + fast_open) / 2;
        let blocks = &self.sack[..self.sack.len().min(room)];
        if blocks.is_empty() {
            return Ok(());
        }
        let n = blocks.len() as u8; // at most 4
        out.put([NOP, NOP, SACK, 2 + 8 * n])?;
        out.options.sack = (out.offset(), n);
        for block in blocks {
            out.put(block.left.0.to_be_bytes())?;
            out.put(block.right.0.to_be_bytes())?;
        }
        Ok(())
    }
}

/// Bytes of a fast open option with its padding.
fn fast_open_len(option: FastOpen<'_>) -> usize {
    (option.cookie.len() + if option.experimental { 4 } else { 2 }).next_multiple_of(4)
}

/// Options being laid out in words of four bytes, as each part fills whole ones; those not yet written
/// are NOPs. The typed fields of `options` are filled in on the way.
struct Layout {
    options: Options,
    words: [[u8; 4]; 10],
    at: usize,
}

impl Layout {
    #[inline]
    fn put(&mut self, word: [u8; 4]) -> Result<(), TooLong> {
        *self.words.get_mut(self.at).ok_or(TooLong)? = word;
        self.at += 1;
        Ok(())
    }

    /// Where the next word will stand.
    #[inline]
    const fn offset(&self) -> u8 {
        self.at as u8 * 4 // at most 10 words
    }

    fn put_fast_open(&mut self, option: FastOpen<'_>) -> Result<(), TooLong> {
        let cookie = option.cookie;
        let words = fast_open_len(option) / 4;
        let all = self.words.as_flattened_mut().get_mut(self.at * 4..(self.at + words) * 4).ok_or(TooLong)?;
        let head: &[u8] = if option.experimental {
            &[EXPERIMENTAL, 0, FAST_OPEN_MAGIC[0], FAST_OPEN_MAGIC[1]]
        } else {
            &[FAST_OPEN, 0]
        };
        let len = head.len() + cookie.len(); // both fit 40 bytes
        all[..head.len()].copy_from_slice(head);
        all[1] = len as u8;
        all[head.len()..len].copy_from_slice(cookie);
        self.at += words;
        Ok(())
    }
}
