//! Makes TAP and TUN interfaces. Linux: drivers/net/tun.c; Documentation/networking/tuntap.rst.
#![expect(unsafe_code, reason = "interface ioctls on a struct ifreq")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use super::Failure;
use crate::protocol::WantIface;
use crate::sys::check;

/// `_IOW('T', 202, int)`
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
/// `_IOW('T', 218, unsigned int)`
const TUNSETIFINDEX: libc::c_ulong = 0x4004_54da;
/// `ARPHRD_ETHER`
const ARPHRD_ETHER: u16 = 1;

/// One interface: its number and the descriptor through which its packets pass.
///
/// No `IFF_VNET_HDR`: the kernel then offers neither checksum nor segmentation offload to the stack above,
/// so every packet read is complete, as it would be on a wire.
pub(crate) fn create(want: &WantIface) -> Result<(u32, OwnedFd), Failure> {
    create_kind(want, if want.mac.is_some() { libc::IFF_TAP } else { libc::IFF_TUN })
}

fn create_kind(want: &WantIface, kind: libc::c_int) -> Result<(u32, OwnedFd), Failure> {
    let failed = |what: &str, e: io::Error| Failure::new(format!("{}: {what}", want.name), &e);
    let tun = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .map_err(|e| Failure::new("open /dev/net/tun", &e))?;
    let tun = OwnedFd::from(tun);
    // So that sin6_scope_id and ipi_ifindex agree with the world's numbers; tunnel modules may have taken it.
    // SAFETY: reads one integer that lives on our stack.
    unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETIFINDEX, &raw const want.ifindex) };
    let mut request = ifreq(&want.name).map_err(|e| failed("interface name", e))?;
    request.ifr_ifru.ifru_flags = i16::try_from(kind | libc::IFF_NO_PI).expect("0x5001 fits");
    if let Err(e) = ioctl(tun.as_raw_fd(), TUNSETIFF, &mut request) {
        let zero = 0_u32;
        // SAFETY: as above. 0 lets the kernel choose.
        unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETIFINDEX, &raw const zero) };
        if e.raw_os_error() != Some(libc::EBUSY) {
            return Err(failed("ioctl TUNSETIFF", e));
        }
        ioctl(tun.as_raw_fd(), TUNSETIFF, &mut request).map_err(|e| failed("ioctl TUNSETIFF", e))?;
    }
    let socket = control_socket().map_err(|e| failed("socket", e))?;
    if let Some(mac) = want.mac {
        let mut request = ifreq(&want.name).expect("the name fitted before");
        let mut data = [0; 14];
        for (to, from) in data.iter_mut().zip(mac) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_hwaddr = libc::sockaddr { sa_family: ARPHRD_ETHER, sa_data: data };
        ioctl(socket.as_raw_fd(), libc::SIOCSIFHWADDR, &mut request)
            .map_err(|e| failed("set the MAC address", e))?;
    }
    let mut request = ifreq(&want.name).expect("the name fitted before");
    request.ifr_ifru.ifru_mtu = i32::try_from(want.mtu).unwrap_or(i32::MAX);
    ioctl(socket.as_raw_fd(), libc::SIOCSIFMTU, &mut request)
        .map_err(|e| failed(&format!("set mtu {}", want.mtu), e))?;
    let mut request = ifreq(&want.name).expect("the name fitted before");
    ioctl(socket.as_raw_fd(), libc::SIOCGIFINDEX, &mut request).map_err(|e| failed("read its number", e))?;
    // SAFETY: SIOCGIFINDEX filled this member of the union.
    let ifindex = unsafe { request.ifr_ifru.ifru_ifindex };
    Ok((ifindex.unsigned_abs(), tun))
}

/// `ip link set lo up`.
pub(super) fn loopback_up() -> Result<(), Failure> {
    set_up("lo")
}

/// A TUN device for packets with a `struct virtio_net_hdr` in front, which lets the device segment and sum.
pub(crate) fn create_offloading(name: &str, mtu: u32) -> Result<(u32, OwnedFd), Failure> {
    let want = WantIface { name: name.to_owned(), ifindex: 0, mac: None, mtu };
    create_kind(&want, libc::IFF_TUN | libc::IFF_VNET_HDR)
}

/// `ip link set NAME up`.
pub(crate) fn set_up(name: &str) -> Result<(), Failure> {
    let failed = |e: io::Error| Failure::new(format!("ip link set {name} up"), &e);
    let socket = control_socket().map_err(failed)?;
    let mut request = ifreq(name).map_err(failed)?;
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("0x41 fits");
    ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &mut request).map_err(failed)
}

fn control_socket() -> io::Result<OwnedFd> {
    // SAFETY: a new descriptor that nobody else owns.
    unsafe {
        let fd = check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// An empty request about the interface of that name (at most 15 bytes).
fn ifreq(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

fn ioctl(fd: RawFd, number: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: every number used here reads and writes one struct ifreq.
    check(unsafe { libc::ioctl(fd, number, std::ptr::from_mut(request)) }).map(drop)
}
