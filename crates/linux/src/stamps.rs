//! When a packet left, by the kernel's clock: the driver reads it from the TAP some 50 us later.
//!
//! A packet socket in the namespace sees each packet just before the TAP gets it, with a time stamp, in the same
//! order. With it a packet stands in the journal before the return of the call that sent it, as it was.
#![expect(unsafe_code, reason = "recvmsg with a control message")]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::sys;

/// How much of each packet is seen, to tell packets apart.
pub(crate) const STAMPED_BYTES: u32 = 96;

/// Stamps that may belong to packets which the TAP's queue dropped.
const MAX_SKIPPED: usize = 1024;

/// The stamps of one interface.
pub(crate) struct Stamps(OwnedFd);

impl Stamps {
    pub(crate) fn new(socket: OwnedFd) -> Stamps {
        Stamps(socket)
    }

    /// When the packet that was just read from the TAP left, on `CLOCK_MONOTONIC`. `None` when no stamp is
    /// its own.
    pub(crate) fn take(&self, packet: &[u8]) -> Option<u64> {
        for _ in 0..MAX_SKIPPED {
            let mut buf = [0; STAMPED_BYTES as usize];
            let (len, realtime_ns) = match receive(self.0.as_raw_fd(), &mut buf) {
                Ok(received) => received,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return None,
                // ENETDOWN tells once that the interface was down; what it sent since then is behind that.
                Err(_) => continue,
            };
            if same(packet, &buf[..len]) {
                return Some(sys::monotonic_of_realtime(realtime_ns?));
            }
        }
        None
    }
}

/// Whether a packet begins with these bytes; a VLAN tag is not in the packet yet when it is stamped.
fn same(packet: &[u8], seen: &[u8]) -> bool {
    let untagged = || packet.get(..12) == seen.get(..12) && packet.get(12..14) == Some(&[0x81, 0x00]);
    packet.starts_with(seen) || untagged()
}

/// One packet's first bytes, and its `SCM_TIMESTAMPNS`.
pub(crate) fn receive(socket: RawFd, buf: &mut [u8]) -> io::Result<(usize, Option<u64>)> {
    // Eight-byte words, because a control buffer is aligned as its header.
    let mut control = [0_u64; 8];
    let mut iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: all-zero is a valid msghdr; its pointers are to locals that outlive the call, and the control
    // message is read within the length that the kernel wrote.
    unsafe {
        let mut msg: libc::msghdr = std::mem::zeroed();
        msg.msg_iov = &raw mut iov;
        msg.msg_iovlen = 1;
        msg.msg_control = control.as_mut_ptr().cast();
        msg.msg_controllen = size_of_val(&control);
        let len = libc::recvmsg(socket, &raw mut msg, libc::MSG_DONTWAIT);
        let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
        let cmsg = libc::CMSG_FIRSTHDR(&raw const msg);
        if cmsg.is_null() || (*cmsg).cmsg_type != libc::SCM_TIMESTAMPNS {
            return Ok((len, None));
        }
        let time = libc::CMSG_DATA(cmsg).cast::<libc::timespec>().read_unaligned();
        Ok((len, Some(sys::nanoseconds(&time))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_belongs_to_the_packet_that_begins_with_it() {
        let plain: Vec<u8> = (0..60).collect();
        assert!(same(&plain, &plain[..40]) && same(&plain, &plain));
        assert!(!same(&plain, &[1; 40]));
        let tagged = [&plain[..12], &[0x81, 0x00, 0, 10], &plain[12..]].concat();
        assert!(same(&tagged, &plain), "the tag came after the stamp");
    }
}
