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
