//! `recvmsg` of datagram sockets: data, the error queue, control messages. Linux: net/ipv4/udp.c `udp_recvmsg`,
//! ip_sockglue.c `ip_cmsg_recv_offset`, `ip_recv_error`; net/ipv6/datagram.c. Order of control messages measured.

use std::net::IpAddr;

use wire::Bytes;

use super::counters;
use crate::call::{Cmsg, Domain, MsgFlags, Ret, SockOpt};
use crate::socket::sock::Timestamps;
use crate::socket::{Dgram, DgramKind, Received};
use crate::{Errno, Stack};

/// What the program asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecvArgs {
    /// Room for data.
    pub(crate) len: usize,
    pub(crate) flags: MsgFlags,
    /// Whether it wants the sender's address.
    pub(crate) addr: bool,
    /// `msg_controllen`, when it is `recvmsg`.
    pub(crate) control: Option<usize>,
}

/// A read of nothing.
pub(crate) fn nothing() -> Ret {
    Ret::Data { len: 0, data: Bytes::new(), from: None, flags: MsgFlags(0), control: Vec::new() }
}

impl Stack {
    /// `recvmsg`; `None` when there is nothing to read yet. A pending error comes before data.
    pub(crate) fn dgram_recvmsg(&mut self, sock: u32, args: &RecvArgs) -> Result<Option<Ret>, Errno> {
        let entry = &mut self.sockets.dgrams[sock];
        if args.flags.has(MsgFlags::ERRQUEUE) {
            return Ok(recv_error(entry, args));
        }
        if let Some(errno) = entry.take_error() {
            return Err(errno);
        }
        let peek = args.flags.has(MsgFlags::PEEK);
        let received = if peek { entry.rx.front().cloned() } else { entry.dequeue() };
        let Some(received) = received else { return Ok(entry.shutdown_rd.then(nothing)) };
        if !peek && entry.kind == DgramKind::Udp {
            self.mib.inc(counters(received.dst().is_ipv6()).in_datagrams);
        }
        Ok(Some(answer(entry, &received, args)))
    }
}

impl Dgram {
    /// Takes the next datagram and gives its memory back: UDP does so late, in portions of a quarter of the buffer
    /// or when its reader queue is empty (`udp_rmem_release`).
    #[inline]
    pub(crate) fn dequeue(&mut self) -> Option<Received> {
        if self.reader_queue == 0 {
            self.reader_queue = u32::try_from(self.rx.len()).unwrap_or(u32::MAX);
        }
        let received = self.rx.pop_front()?;
        self.reader_queue -= 1;
        if self.kind != DgramKind::Udp {
            self.rmem = self.rmem.saturating_sub(received.truesize);
            return Some(received);
        }
        self.rmem_deficit += received.truesize;
        if self.reader_queue == 0 || self.rmem_deficit >= self.opts.rcvbuf / 4 {
            self.rmem = self.rmem.saturating_sub(core::mem::take(&mut self.rmem_deficit));
        }
        Some(received)
    }
}

/// `MSG_ERRQUEUE`: the payload that the error quotes, where that was going, and the error as control message.
fn recv_error(sock: &mut Dgram, args: &RecvArgs) -> Option<Ret> {
    let error = sock.dequeue_error()?;
    let copied = error.payload.len().min(args.len);
    let mut flags = MsgFlags::ERRQUEUE;
    if copied < error.payload.len() {
        flags = flags | MsgFlags::TRUNC;
    }
    let mut control = Control::new(args.control);
    control.put(if error.dst.is_ipv6() { 44 } else { 32 }, error.cmsg());
    let recvmsg = args.control.is_some();
    Some(Ret::Data {
        len: copied,
        data: error.payload.slice(0..copied),
        from: args.addr.then(|| sock.shown(error.dst.ip(), error.dst.port(), 0)),
        flags: if recvmsg { flags | control.flags } else { MsgFlags(0) },
        control: control.messages,
    })
}

/// Control messages that fit into the program's buffer.
pub(crate) struct Control {
    left: usize,
    wanted: bool,
    pub(crate) messages: Vec<Cmsg>,
    pub(crate) flags: MsgFlags,
}

impl Control {
    pub(crate) fn new(len: Option<usize>) -> Control {
        Control { left: len.unwrap_or(0), wanted: len.is_some(), messages: Vec::new(), flags: MsgFlags(0) }
    }

    /// Adds one whose data are `len` bytes long; `MSG_CTRUNC` when it does not fit. Linux copies a part of one
    /// that does not fit; nothing can be made of that, so it is left out.
    pub(crate) fn put(&mut self, len: usize, cmsg: Cmsg) {
        /// `sizeof(struct cmsghdr)`
        const HEADER: usize = 16;
        if !self.wanted {
            return;
        }
        if self.left < HEADER + len {
            self.flags = self.flags | MsgFlags::CTRUNC;
            self.left = 0;
            return;
        }
        self.left = self.left.saturating_sub((HEADER + len).next_multiple_of(8));
        self.messages.push(cmsg);
    }
}

fn answer(sock: &Dgram, received: &Received, args: &RecvArgs) -> Ret {
    let whole = received.frame.len();
    let copied = whole.min(args.len);
    let mut data = Vec::with_capacity(copied);
    received.frame.copy_range(0..copied, &mut data);
    let recvmsg = args.control.is_some();
    let mut flags = if copied < whole { MsgFlags::TRUNC } else { MsgFlags(0) };
    let mut control = Control::new(args.control);
    if recvmsg {
        put_control(sock, received, &mut control);
    }
    flags = flags | control.flags;
    Ret::Data {
        len: if args.flags.has(MsgFlags::TRUNC) { whole } else { copied },
        data: data.into(),
        from: args.addr.then(|| sock.shown(received.src(), received.src_port, received.ifindex)),
        flags: if recvmsg { flags } else { MsgFlags(0) },
        control: control.messages,
    }
}

/// `sock_recv_cmsgs`, `ip6_datagram_recv_ctl`, `ip_cmsg_recv`.
fn put_control(sock: &Dgram, received: &Received, control: &mut Control) {
    let o = &sock.opts;
    let (dst, ifindex) = (received.dst(), received.ifindex);
    let nanos = received.at.as_nanos();
    match o.timestamps {
        Timestamps::Off => {}
        Timestamps::Micros => control.put(16, Cmsg::Timestamp(nanos / 1000 * 1000)),
        Timestamps::Nanos => control.put(16, Cmsg::Timestamp(nanos)),
    }
    if o.rxq_ovfl && received.drops > 0 {
        let SockOpt { level, name } = SockOpt::SO_RXQ_OVFL;
        control.put(4, Cmsg::Other(level, name, received.drops.to_ne_bytes()[..].into()));
    }
    let ipv6_packet = dst.is_ipv6();
    if sock.domain == Domain::Inet6 {
        if o.recvpktinfo6 {
            let addr = sock.shown_ip(dst);
            control.put(20, Cmsg::PktInfo { ifindex, spec_dst: addr, addr });
        }
        if o.recvhoplimit6 && ipv6_packet {
            control.put(4, Cmsg::Ttl(received.ttl.into()));
        }
        if o.recvtclass6 && ipv6_packet {
            control.put(4, Cmsg::Tos(received.tos.into()));
        }
    }
    if let (IpAddr::V4(_), IpAddr::V4(_)) = (received.src(), dst) {
        if o.pktinfo {
            control.put(12, Cmsg::PktInfo { ifindex, spec_dst: received.spec_dst(), addr: dst });
        }
        if o.recvttl {
            control.put(4, Cmsg::Ttl(received.ttl.into()));
        }
        if o.recvtos {
            control.put(1, Cmsg::Tos(received.tos.into()));
        }
    }
}
