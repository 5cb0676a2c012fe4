//! Opens the descriptors through which the driver looks into the namespace from outside: they stay bound to it.
//! Linux: rtnetlink(7), proc(5) `/proc/net/snmp`.
#![expect(unsafe_code, reason = "netlink sockets and their addresses")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::Failure;
use crate::protocol::Role;
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
