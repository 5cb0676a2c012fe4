//! Opens the descriptors through which the driver looks into the namespace from outside: they stay bound to it.
//! Linux: rtnetlink(7), proc(5) `/proc/net/snmp`.
#![expect(unsafe_code, reason = "netlink sockets and their addresses")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::Failure;
use crate::protocol::Role;
use crate::stamps::STAMPED_BYTES;
use crate::sys::check;

/// What the driver hears of: `RTMGRP_LINK`, `RTMGRP_NEIGH`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`,
/// `RTMGRP_IPV6_IFADDR`, `RTMGRP_IPV6_ROUTE`.
const GROUPS: u32 = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400;

/// Room for bursts of events.
const RECEIVE_BYTES: libc::c_int = 1 << 20;

/// Event socket, dump socket, and the counter files that exist.
pub(super) fn open() -> Result<Vec<(Role, OwnedFd)>, Failure> {
    let netlink = |groups| netlink(groups).map_err(|e| Failure::new("socket(AF_NETLINK)", &e));
    let mut fds = vec![(Role::Events, netlink(GROUPS)?), (Role::Dump, netlink(0)?)];
    for file in ["snmp", "netstat", "snmp6"] {
        match File::open(format!("/proc/self/net/{file}")) {
            Ok(file) => fds.push((Role::Counters, file.into())),
            // A kernel without IPv6 has no snmp6.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Failure::new(format!("open /proc/net/{file}"), &e)),
        }
    }
    Ok(fds)
}

/// `PACKET_OUTGOING` of linux/if_packet.h
const PACKET_OUTGOING: u32 = 4;
/// `SKF_AD_OFF + SKF_AD_PKTTYPE` of linux/filter.h
const PACKET_TYPE_AT: u32 = 0xffff_f000 + 4;

/// Sees the first [`STAMPED_BYTES`] of each packet that leaves by an interface, just before the driver (Linux:
/// net/core/dev.c `dev_queue_xmit_nit()`), with the time. `None` where the kernel has no packet sockets.
pub(super) fn stamps(ifindex: u32) -> Option<OwnedFd> {
    outgoing(ifindex, STAMPED_BYTES)
}

/// The same with so many bytes of each packet.
pub(crate) fn outgoing(ifindex: u32, bytes: u32) -> Option<OwnedFd> {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, PACKET_TYPE_AT),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, PACKET_OUTGOING),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, bytes),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    let on: libc::c_int = 1;
    // SAFETY: the filter, the option and the address are locals that outlive the calls; the descriptor is new
    // and ours. Protocol 0 until bind, so that nothing passes before the filter stands.
    unsafe {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let fd = OwnedFd::from_raw_fd(check(libc::socket(libc::AF_PACKET, kind, 0)).ok()?);
        let option = |name, value: *const libc::c_void, len: usize| {
            check(libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, value, len as libc::socklen_t))
                .ok()
        };
        option(libc::SO_ATTACH_FILTER, (&raw const program).cast(), size_of_val(&program))?;
        option(libc::SO_TIMESTAMPNS, (&raw const on).cast(), size_of_val(&on))?;
        option(libc::SO_RCVBUF, std::ptr::from_ref(&RECEIVE_BYTES).cast(), size_of_val(&RECEIVE_BYTES))?;
        let mut addr: libc::sockaddr_ll = std::mem::zeroed();
        addr.sll_family = libc::AF_PACKET as libc::sa_family_t;
        addr.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        addr.sll_ifindex = ifindex.cast_signed();
        check(libc::bind(fd.as_raw_fd(), (&raw const addr).cast(), size_of_val(&addr) as libc::socklen_t))
            .ok()?;
        Some(fd)
    }
}

fn netlink(groups: u32) -> io::Result<OwnedFd> {
    // SAFETY: the address and the option are locals that outlive the calls; the descriptor is new and ours.
    unsafe {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let fd = OwnedFd::from_raw_fd(check(libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE))?);
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            std::ptr::from_ref(&RECEIVE_BYTES).cast(),
            size_of_val(&RECEIVE_BYTES) as libc::socklen_t,
        );
        let mut addr: libc::sockaddr_nl = std::mem::zeroed();
        addr.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        addr.nl_groups = groups;
        check(libc::bind(fd.as_raw_fd(), (&raw const addr).cast(), size_of_val(&addr) as libc::socklen_t))?;
        Ok(fd)
    }
}
