//! The Internet checksum: RFC 1071 sums that combine, pseudo headers, RFC 1624 updates.
//!
//! Sums are kept in memory byte order and swapped once at the end (RFC 1071 §2(B)); 32-bit words are
//! added into 64-bit lanes, which compilers turn into vector code. On x86-64 with AVX2, found out at run
//! time, a loop written for it takes over.

use crate::ip::Protocol;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::ops::Add;

#[cfg(target_arch = "x86_64")]
mod avx2;

/// A one's complement sum over a run of bytes. `a + b` is the sum over `a`'s bytes followed by `b`'s,
/// also when `a` has an odd number of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// In memory byte order; below 2^33, so that additions cannot overflow.
    acc: u64,
    odd: bool,
}

impl Sum {
    /// Of no bytes.
    pub const EMPTY: Sum = Sum { acc: 0, odd: false };

    /// Of big-endian 16-bit words that were added up in `acc`, which must not have overflowed.
    #[inline]
    pub(crate) const fn from_words(acc: u64) -> Sum {
        Sum { acc: fold(acc).to_be() as u64, odd: false }
    }

    /// The checksum to store: the complement of the folded sum, in host order (write it big-endian).
    #[inline]
    pub const fn finish(self) -> u16 {
        !fold(self.acc).to_be()
    }

    /// These bytes include a correct checksum: the sum is all ones.
    #[inline]
    pub const fn is_valid(self) -> bool {
        fold(self.acc) == 0xffff
    }

    /// This sum followed by the 16-bit value `v`.
    #[inline]
    pub const fn add_u16(self, v: u16) -> Sum {
        self.then(Sum { acc: v.to_be() as u64, odd: false })
    }

    /// This sum followed by the 32-bit value `v`.
    #[inline]
    pub const fn add_u32(self, v: u32) -> Sum {
        self.then(Sum { acc: v.to_be() as u64, odd: false })
    }

    #[inline]
    const fn then(self, next: Sum) -> Sum {
        // After an odd number of bytes the next byte is the low half of a word: RFC 1071 §2(B).
        let right = if self.odd { fold(next.acc).swap_bytes() as u64 } else { next.acc };
        let acc = self.acc + right;
        Sum { acc: (acc & 0xffff_ffff) + (acc >> 32), odd: self.odd != next.odd }
    }
}

impl Add for Sum {
    type Output = Sum;
    #[inline]
    fn add(self, next: Sum) -> Sum {
        self.then(next)
    }
}

/// The 16-bit one's complement sum of a wider one.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "folding is truncation with the carries added back")]
const fn fold(acc: u64) -> u16 {
    let s = (acc & 0xffff_ffff) + (acc >> 32);
    let s = (s & 0xffff) + (s >> 16);
    let s = (s & 0xffff) + (s >> 16);
    let s = (s & 0xffff) + (s >> 16);
    s as u16
}

/// The sum over `bytes`; a last odd byte is followed by an imaginary zero.
///
/// ```
/// use wire::checksum::sum;
/// // RFC 1071 §3: the folded sum is ddf2.
/// assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]).finish(), !0xddf2);
/// ```
#[inline]
pub fn sum(bytes: &[u8]) -> Sum {
    let acc = if bytes.len() < VECTOR_MIN { sum_short(bytes) } else { sum_long(bytes) };
    Sum { acc, odd: bytes.len() % 2 == 1 }
}

/// The sum over a header of known length, a multiple of four.
#[inline]
pub fn sum_header<const N: usize>(header: &[u8; N]) -> Sum {
    const { assert!(N.is_multiple_of(4)) };
    let (words, _) = header.as_chunks::<4>();
    Sum { acc: narrow(words.iter().map(|w| u64::from(u32::from_ne_bytes(*w))).sum()), odd: false }
}

/// Below this many bytes the scalar loop wins.
const VECTOR_MIN: usize = 128;

/// Eight bytes at a time with an end-around carry; the header path. Short enough to be inlined everywhere.
#[inline]
fn sum_short(bytes: &[u8]) -> u64 {
    let (mut acc, mut rest) = (0u64, bytes);
    while let Some((word, more)) = rest.split_first_chunk::<8>() {
        let (sum, carry) = acc.overflowing_add(u64::from_ne_bytes(*word));
        acc = sum + u64::from(carry); // a sum that overflowed is far from overflowing again
        rest = more;
    }
    if rest.is_empty() { narrow(acc) } else { narrow(narrow(acc) + sum_rest(rest)) }
}

/// The sum over fewer than eight bytes.
#[inline]
fn sum_rest(rest: &[u8]) -> u64 {
    let (words, tail) = rest.as_chunks::<4>();
    let mut acc = words.first().map_or(0, |w| u64::from(u32::from_ne_bytes(*w)));
    let (halves, last) = tail.as_chunks::<2>();
    acc += halves.first().map_or(0, |h| u64::from(u16::from_ne_bytes(*h)));
    acc + last.first().map_or(0, |b| u64::from(u16::from_ne_bytes([*b, 0])))
}

/// Below 2^33, with the same value modulo 0xffff.
#[inline]
const fn narrow(acc: u64) -> u64 {
    (acc & 0xffff_ffff) + (acc >> 32)
}

#[cfg(target_arch = "x86_64")]
fn sum_long(bytes: &[u8]) -> u64 {
    avx2::sum(bytes).unwrap_or_else(|| sum_lanes(bytes))
}

#[cfg(not(target_arch = "x86_64"))]
fn sum_long(bytes: &[u8]) -> u64 {
    sum_lanes(bytes)
}

/// Eight independent 64-bit lanes: no carries to wait for, and two vector additions for 32 bytes.
fn sum_lanes(bytes: &[u8]) -> u64 {
    let mut lanes = [0u64; 8];
    let (blocks, rest) = bytes.as_chunks::<32>();
    for block in blocks {
        let (words, _) = block.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let total: u64 = lanes.iter().map(|&lane| narrow(lane)).sum();
    narrow(total + sum_short(rest))
}

/// The IPv4 pseudo header of TCP and UDP (RFC 9293 §3.1). `len` is the transport header plus payload.
#[inline]
pub fn pseudo_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol, len: u16) -> Sum {
    let acc = u64::from(u32::from_ne_bytes(src.octets()))
        + u64::from(u32::from_ne_bytes(dst.octets()))
        + u64::from((u16::from(protocol.0)).to_be())
        + u64::from(len.to_be());
    Sum { acc: narrow(acc), odd: false }
}

/// The IPv6 pseudo header (RFC 8200 §8.1). `len` is the upper-layer header plus payload.
#[inline]
pub fn pseudo_v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: Protocol, len: u32) -> Sum {
    let acc = sum_short(&src.octets())
        + sum_short(&dst.octets())
        + u64::from(u32::from(protocol.0).to_be())
        + u64::from(len.to_be());
    Sum { acc: narrow(acc), odd: false }
}

/// The checksum after a 16-bit field under it changed from `old` to `new` (RFC 1624 eqn. 3).
pub const fn update_u16(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(!checksum as u64 + !old as u64 + new as u64)
}

/// The checksum after a 32-bit field under it, on an even offset, changed from `old` to `new`.
pub const fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    !fold(!checksum as u64 + !old as u64 + new as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the processor of this machine has, each path is the same sum.
    #[test]
    fn all_paths_agree_at_all_lengths_and_alignments() {
        let bytes: Vec<u8> = (0..700u32).map(|i| (i * i * 31 + 0xf7 * i) as u8).collect();
        for start in 0..33 {
            for end in start..bytes.len() {
                let part = &bytes[start..end];
                let short = fold(sum_short(part));
                if let Some(header) = part.first_chunk::<20>() {
                    assert_eq!(fold(sum_header(header).acc), fold(sum_short(header)));
                }
                assert_eq!(fold(sum_lanes(part)), short, "{start}..{end}");
                assert_eq!(fold(sum_long(part)), short, "{start}..{end}");
            }
        }
        for byte in [0, 0x7f, 0x80, 0xff] {
            let many = vec![byte; (1 << 17) + 77];
            assert_eq!(fold(sum_lanes(&many)), fold(sum_short(&many)), "no lane overflows");
            assert_eq!(fold(sum_long(&many)), fold(sum_short(&many)), "no lane overflows");
        }
    }
}
