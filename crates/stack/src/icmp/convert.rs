//! What an ICMP error means to a socket: errno, and whether it is fatal. RFC 1122 §3.2.2.1, §4.2.3.9. Linux:
//! net/ipv4/icmp.c `icmp_err_convert`, net/ipv4/udp.c `__udp4_lib_err`; net/ipv6/icmp.c `icmpv6_err_convert`.

use wire::{icmpv4, icmpv6};

use crate::Errno;

/// Destination unreachable by code (TRUTH 1k0 to 1k13).
const UNREACHABLE_V4: [(Errno, bool); 16] = [
    (Errno::ENETUNREACH, false),
    (Errno::EHOSTUNREACH, false),
    (Errno::ENOPROTOOPT, true),
    (Errno::ECONNREFUSED, true),
    (Errno::EMSGSIZE, false),
    (Errno::EOPNOTSUPP, false),
    (Errno::ENETUNREACH, true),
    (Errno::EHOSTDOWN, true),
    (Errno::ENONET, true),
    (Errno::ENETUNREACH, true),
    (Errno::EHOSTUNREACH, true),
    (Errno::ENETUNREACH, false),
    (Errno::EHOSTUNREACH, false),
    (Errno::EHOSTUNREACH, true),
    (Errno::EHOSTUNREACH, true),
    (Errno::EHOSTUNREACH, true),
];

/// Destination unreachable of ICMPv6 by code.
const UNREACHABLE_V6: [(Errno, bool); 7] = [
    (Errno::ENETUNREACH, false),
    (Errno::EACCES, true),
    (Errno::EHOSTUNREACH, false),
    (Errno::EHOSTUNREACH, false),
    (Errno::ECONNREFUSED, true),
    (Errno::EACCES, true),
    (Errno::EACCES, true),
];

/// The errno of an ICMP error, and whether it ends a connection attempt.
pub(crate) fn errno_v4(kind: u8, code: u8) -> (Errno, bool) {
    match kind {
        icmpv4::kind::DEST_UNREACH => {
            UNREACHABLE_V4.get(usize::from(code)).copied().unwrap_or((Errno::EHOSTUNREACH, true))
        }
        icmpv4::kind::PARAMETER_PROBLEM => (Errno::EPROTO, true),
        _ => (Errno::EHOSTUNREACH, false),
    }
}

/// The same for ICMPv6.
pub(crate) fn errno_v6(kind: u8, code: u8) -> (Errno, bool) {
    match kind {
        icmpv6::kind::DEST_UNREACH => {
            UNREACHABLE_V6.get(usize::from(code)).copied().unwrap_or((Errno::EPROTO, true))
        }
        icmpv6::kind::PACKET_TOO_BIG => (Errno::EMSGSIZE, false),
        icmpv6::kind::PARAMETER_PROBLEM => (Errno::EPROTO, true),
        icmpv6::kind::TIME_EXCEEDED => (Errno::EHOSTUNREACH, false),
        _ => (Errno::EPROTO, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TRUTH 1k0, 1k1, 1k2, 1k3, 1k10, 1k11, 1k13.
    #[test]
    fn errnos_are_those_that_connect_returned_1k() {
        let measured = [
            (3, 0, "ENETUNREACH"),
            (3, 1, "EHOSTUNREACH"),
            (3, 2, "ENOPROTOOPT"),
            (3, 3, "ECONNREFUSED"),
            (3, 10, "EHOSTUNREACH"),
            (11, 0, "EHOSTUNREACH"),
            (3, 13, "EHOSTUNREACH"),
        ];
        for (kind, code, errno) in measured {
            assert_eq!(errno_v4(kind, code).0.name(), Some(errno), "{kind}/{code}");
        }
    }
}
