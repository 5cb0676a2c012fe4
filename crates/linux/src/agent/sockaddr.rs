//! `struct sockaddr` to and from our addresses. Linux: ip(7), ipv6(7).
#![expect(unsafe_code, reason = "sockaddr_storage is read as the family it names")]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use stack::call::SockAddr;

/// Room for any address, and how much of it is used.
#[derive(Clone, Copy)]
pub struct RawAddr {
    /// The bytes.
    pub storage: libc::sockaddr_storage,
    /// How many of them count.
    pub len: libc::socklen_t,
}

impl RawAddr {
    /// Empty, with its whole room on offer: for calls that fill it in.
    pub fn room() -> RawAddr {
        // SAFETY: all-zero is a valid sockaddr_storage.
        let storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        RawAddr { storage, len: size_of_val(&storage) as libc::socklen_t }
    }

    /// As system calls take it.
    pub fn from_addr(addr: &SockAddr) -> RawAddr {
        let mut raw = RawAddr::room();
        let at = &raw mut raw.storage;
        // SAFETY: sockaddr_storage is large enough and aligned for every address family (RFC 3493 §3.10).
        unsafe {
            match addr {
                SockAddr::Ip(SocketAddr::V4(a)) => {
                    *at.cast() = libc::sockaddr_in {
                        sin_family: libc::AF_INET as libc::sa_family_t,
                        sin_port: a.port().to_be(),
                        sin_addr: libc::in_addr { s_addr: u32::from(*a.ip()).to_be() },
                        sin_zero: [0; 8],
                    };
                    raw.len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
                }
                SockAddr::Ip(SocketAddr::V6(a)) => {
                    *at.cast() = libc::sockaddr_in6 {
                        sin6_family: libc::AF_INET6 as libc::sa_family_t,
                        sin6_port: a.port().to_be(),
                        sin6_flowinfo: a.flowinfo().to_be(),
                        sin6_addr: libc::in6_addr { s6_addr: a.ip().octets() },
                        sin6_scope_id: a.scope_id(),
                    };
                    raw.len = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
                }
                // Family 0 is AF_UNSPEC; long enough for both families' checks.
                SockAddr::Unspec => raw.len = size_of::<libc::sockaddr_in>() as libc::socklen_t,
            }
        }
        raw
    }

    /// The bytes that count.
    pub fn bytes(&self) -> &[u8] {
        let len = (self.len as usize).min(size_of_val(&self.storage));
        // SAFETY: plain bytes, initialised by room(), and no more than there are.
        unsafe { std::slice::from_raw_parts((&raw const self.storage).cast(), len) }
    }

    /// From the bytes of a `struct sockaddr`; what is too long is cut.
    pub fn from_bytes(bytes: &[u8]) -> RawAddr {
        let mut raw = RawAddr::room();
        let len = bytes.len().min(size_of_val(&raw.storage));
        // SAFETY: as much as both sides hold; any bytes are a valid sockaddr_storage.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut raw.storage).cast(), len) };
        raw.len = len as libc::socklen_t;
        raw
    }

    /// What the kernel filled in; `None` when it filled in nothing, or a family that is not ours.
    pub fn addr(&self) -> Option<SockAddr> {
        if (self.len as usize) < size_of::<libc::sa_family_t>() {
            return None;
        }
        let at = &raw const self.storage;
        match i32::from(self.storage.ss_family) {
            // SAFETY: the family says which struct stands there, and the storage is long enough for both.
            libc::AF_INET => Some(unsafe { addr_v4(&*at.cast()) }),
            // SAFETY: as above.
            libc::AF_INET6 => Some(unsafe { addr_v6(&*at.cast()) }),
            libc::AF_UNSPEC => Some(SockAddr::Unspec),
            _ => None,
        }
    }
}

fn addr_v4(a: &libc::sockaddr_in) -> SockAddr {
    let ip = Ipv4Addr::from(u32::from_be(a.sin_addr.s_addr));
    SockAddr::Ip(SocketAddrV4::new(ip, u16::from_be(a.sin_port)).into())
}

fn addr_v6(a: &libc::sockaddr_in6) -> SockAddr {
    let ip = Ipv6Addr::from(a.sin6_addr.s6_addr);
    let flowinfo = u32::from_be(a.sin6_flowinfo);
    SockAddr::Ip(SocketAddrV6::new(ip, u16::from_be(a.sin6_port), flowinfo, a.sin6_scope_id).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_to_the_kernel_and_back() {
        for text in ["192.0.2.1:9", "[2001:db8::1]:53", "[fe80::1%3]:1"] {
            let addr = SockAddr::Ip(text.parse().unwrap());
            assert_eq!(RawAddr::from_addr(&addr).addr(), Some(addr));
        }
        assert_eq!(RawAddr::from_addr(&SockAddr::Unspec).addr(), Some(SockAddr::Unspec));
        let none = RawAddr { len: 0, ..RawAddr::room() };
        assert_eq!(none.addr(), None);
    }
}
