//! UDP without a [`crate::call::Call`]: for programs that run on the host's side of the fence and for benchmarks.
//!
//! The same sockets, rules, counters and errors as `sendto` and `recvfrom`; nothing is copied on the way out of the
//! receive queue.

use std::net::SocketAddr;

use wire::{Frame, Instant};

use super::send::Payload;
use crate::call::{Domain, MsgFlags, SockAddr};
use crate::socket::{DgramKind, SockId};
use crate::{Errno, Stack};

impl Stack {
    /// Sends a datagram to `addr`, or to the peer of a connected socket for `None`; how many bytes were taken.
    ///
    /// The socket comes from [`Stack::sock_of`] and must not have been closed since: then the answer is `EBADF`
    /// (or another socket's that has its number now).
    #[inline]
    pub fn udp_send_to<'a>(
        &mut self,
        now: Instant,
        sock: SockId,
        payload: impl Into<Payload<'a>>,
        addr: Option<SocketAddr>,
    ) -> Result<usize, Errno> {
        if self.sockets.dgrams.get(sock.0).is_none() {
            return Err(Errno::EBADF);
        }
        let payload = payload.into();
        let sent = if self.send_by_flow(now, sock.0, addr, &payload) {
            Ok(payload.as_slice().len())
        } else {
            self.dgram_sendmsg(now, sock.0, addr.map(SockAddr::Ip), payload, &[], MsgFlags(0))
        };
        self.run_loopback(now);
        sent
    }

    /// Takes the next datagram: its payload as it arrived, and the sender (of an IPv6 socket possibly IPv4-mapped).
    /// `EAGAIN` when there is none.
    #[inline]
    pub fn udp_recv_from(&mut self, sock: SockId) -> Result<(Frame, SocketAddr), Errno> {
        let entry = self.sockets.dgrams.get_mut(sock.0).ok_or(Errno::EBADF)?;
        if let Some(errno) = entry.take_error() {
            return Err(errno);
        }
        let received = entry.dequeue().ok_or(Errno::EAGAIN)?;
        let from = match (entry.domain, entry.shown(received.src(), received.src_port, received.ifindex)) {
            (Domain::Inet | Domain::Inet6, SockAddr::Ip(from)) => from,
            (_, SockAddr::Unspec) => unreachable!("packets have a source"),
        };
        if entry.kind == DgramKind::Udp {
            self.mib.inc(super::counters(received.dst().is_ipv6()).in_datagrams);
        }
        Ok((received.frame, from))
    }
}
