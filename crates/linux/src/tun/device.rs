//! A TUN device that segments by itself, as packetdrill's does, and a packet socket that sees what leaves by it.
//!
//! With `IFF_VNET_HDR` and TSO the stack above hands down segments of up to 64 KiB and leaves checksums half done, as to
//! any good network card. They are seen by the packet socket with the kernel's time stamp; the device's own queue is
//! emptied unseen.
#![expect(unsafe_code, reason = "ioctls, and recvmsg with a control message")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use crate::agent::{iface, probe};
use crate::error::LinuxError;
use crate::permission;
use crate::stamps;
use crate::sys::{self, check};

/// `_IOW('T', 208, unsigned int)`
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
/// `TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN`
const OFFLOAD: libc::c_ulong = 0x1 | 0x2 | 0x4 | 0x8;
/// `struct virtio_net_hdr`: all zero for a plain packet with its checksum done.
const VNET_HEADER: [u8; 10] = [0; 10];
/// The largest packet that can leave: one of 64 KiB with its header.
const MAX_PACKET: usize = 80 * 1024;

/// Both descriptors.
pub(super) struct Device {
    tun: OwnedFd,
    seen: OwnedFd,
}

impl Device {
    /// In the namespace of the calling thread.
    pub(super) fn create(name: &str, mtu: u32) -> Result<Device, LinuxError> {
        let failed = |f: crate::agent::Failure| permission::explain("drill", &f.what, f.errno);
        let (ifindex, tun) = iface::create_offloading(name, mtu).map_err(failed)?;
        // SAFETY: takes one integer.
        check(unsafe { libc::ioctl(tun.as_raw_fd(), TUNSETOFFLOAD, OFFLOAD) })
            .map_err(LinuxError::io("ioctl TUNSETOFFLOAD"))?;
        iface::set_up("lo").map_err(failed)?;
        // The socket stands first, as a device that comes up may send at once.
        let seen = probe::outgoing(ifindex, u32::MAX)
            .ok_or_else(|| LinuxError::io("socket(AF_PACKET)")(io::Error::last_os_error()))?;
        iface::set_up(name).map_err(failed)?;
        Ok(Device { tun, seen })
    }

    pub(super) fn inject(&self, packet: &[u8]) -> io::Result<()> {
        self.drain();
        let mut bytes = VNET_HEADER.to_vec();
        bytes.extend_from_slice(packet);
        sys::write(self.tun.as_raw_fd(), &bytes).map(drop)
    }

    /// What the device would put on its wire.
    fn drain(&self) {
        /// Its queue holds 500.
        const MOST: usize = 1000;
        let mut unseen = [0; 64];
        for _ in 0..MOST {
            if sys::read(self.tun.as_raw_fd(), &mut unseen).is_err() {
                return;
            }
        }
    }

    /// The next packet and its time on `CLOCK_MONOTONIC`.
    pub(super) fn receive(&self, deadline_ns: u64) -> io::Result<Option<(u64, Vec<u8>)>> {
        loop {
            match self.receive_now() {
                Ok(packet) => return Ok(Some(packet)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // ENETDOWN tells once that the device was down.
                Err(e) if e.raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(e) => return Err(e),
            }
            let now = sys::monotonic_ns();
            if now >= deadline_ns {
                return Ok(None);
            }
            let left = Duration::from_nanos(deadline_ns - now);
            sys::ppoll(&mut [sys::wait_for_input(&self.seen)], Some(left))?;
        }
    }

    fn receive_now(&self) -> io::Result<(u64, Vec<u8>)> {
        let mut buf = vec![0; MAX_PACKET];
        let (len, realtime_ns) = stamps::receive(self.seen.as_raw_fd(), &mut buf)?;
        buf.truncate(len);
        let at = realtime_ns.map_or_else(sys::monotonic_ns, sys::monotonic_of_realtime);
        Ok((at, buf))
    }
}
