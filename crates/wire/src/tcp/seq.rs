//! Sequence numbers: 32 bits that wrap (RFC 9293 §3.4). Linux: tcp.h `before`, `after`.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};

/// A sequence number. There is no `Ord`: which of two comes first depends on how far apart they are, so
/// sorting them has no meaning. Two numbers compare when they are less than 2^31 apart.
///
/// ```
/// use wire::tcp::SeqNum;
/// let iss = SeqNum(u32::MAX);
/// assert!(iss.before(iss + 1));
/// assert_eq!((iss + 3) - iss, 3);
/// assert_eq!(iss - (iss + 3), -3);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeqNum(pub u32);

impl SeqNum {
    /// Strictly earlier than `other`.
    #[inline]
    pub const fn before(self, other: SeqNum) -> bool {
        self.minus(other) < 0
    }

    /// Strictly later than `other`: nothing else than `other.before(self)`, as in Linux, so that two
    /// numbers exactly 2^31 apart are each before the other.
    #[inline]
    pub const fn after(self, other: SeqNum) -> bool {
        other.before(self)
    }

    /// Not after `other`.
    #[inline]
    pub const fn before_eq(self, other: SeqNum) -> bool {
        !self.after(other)
    }

    /// Not before `other`.
    #[inline]
    pub const fn after_eq(self, other: SeqNum) -> bool {
        !self.before(other)
    }

    /// `low <= self <= high`, going round (Linux: tcp.h `between`).
    #[inline]
    pub const fn between(self, low: SeqNum, high: SeqNum) -> bool {
        high.0.wrapping_sub(low.0) >= self.0.wrapping_sub(low.0)
    }

    /// The signed distance from `other` to `self`.
    #[inline]
    #[expect(clippy::cast_possible_wrap, reason = "the distance is the wrapped difference read as signed")]
    pub const fn minus(self, other: SeqNum) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }

    /// The later of two.
    #[inline]
    #[must_use]
    pub const fn latest(self, other: SeqNum) -> SeqNum {
        if self.before(other) { other } else { self }
    }

    /// The earlier of two.
    #[inline]
    #[must_use]
    pub const fn earliest(self, other: SeqNum) -> SeqNum {
        if self.after(other) { other } else { self }
    }
}

impl Add<u32> for SeqNum {
    type Output = SeqNum;
    #[inline]
    fn add(self, n: u32) -> SeqNum {
        SeqNum(self.0.wrapping_add(n))
    }
}

impl AddAssign<u32> for SeqNum {
    #[inline]
    fn add_assign(&mut self, n: u32) {
        *self = *self + n;
    }
}

impl Sub<u32> for SeqNum {
    type Output = SeqNum;
    #[inline]
    fn sub(self, n: u32) -> SeqNum {
        SeqNum(self.0.wrapping_sub(n))
    }
}

impl Sub for SeqNum {
    type Output = i32;
    #[inline]
    fn sub(self, other: SeqNum) -> i32 {
        self.minus(other)
    }
}

impl fmt::Display for SeqNum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
