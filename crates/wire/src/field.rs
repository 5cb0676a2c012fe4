//! Big-endian fields at fixed offsets. Callers check lengths first, with [`need`].

use crate::ParseError;
use core::net::{Ipv4Addr, Ipv6Addr};

/// `Truncated` unless `bytes` has at least `n` of them.
#[inline]
pub(crate) const fn need(what: &'static str, bytes: &[u8], n: usize) -> Result<(), ParseError> {
    if bytes.len() < n { Err(ParseError::Truncated { what, need: n, have: bytes.len() }) } else { Ok(()) }
}

#[inline]
pub(crate) fn array<const N: usize>(b: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&b[at..at + N]);
    out
}

#[inline]
pub(crate) fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(b, at))
}

#[inline]
pub(crate) fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(b, at))
}

#[inline]
pub(crate) fn v4_at(b: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from(array::<4>(b, at))
}

#[inline]
pub(crate) fn v6_at(b: &[u8], at: usize) -> Ipv6Addr {
    Ipv6Addr::from(array::<16>(b, at))
}

/// The data of the option that `rest` begins with: a kind, a length that counts both of them too, data. A length that
/// cannot be is the error; 0 when it is not there.
#[inline]
pub(crate) fn option_data(rest: &[u8]) -> Result<&[u8], usize> {
    let len = rest.get(1).map_or(0, |&n| usize::from(n));
    if len < 2 { Err(len) } else { rest.get(2..len).ok_or(len) }
}

#[inline]
pub(crate) fn put(b: &mut [u8], at: usize, bytes: &[u8]) {
    b[at..at + bytes.len()].copy_from_slice(bytes);
}

#[inline]
pub(crate) fn put_u16(b: &mut [u8], at: usize, v: u16) {
    put(b, at, &v.to_be_bytes());
}

#[inline]
pub(crate) fn put_u32(b: &mut [u8], at: usize, v: u32) {
    put(b, at, &v.to_be_bytes());
}
