//! Resets: those we send for segments without a connection, and those that arrive (RFC 9293 §3.5.2, §3.10.7.1).
//!
//! Linux: tcp_ipv4.c `tcp_v4_send_reset`; tcp_input.c `tcp_reset`.

use wire::Bytes;
use wire::tcp::{Flags, Header, SeqNum};

use super::cx::{Cx, OutSegment};
use super::input::Segment;
use super::tcb::{State, Tcb};
use crate::Errno;
use crate::mib::Counter;

/// The header of the RST that answers a segment; `None`: a RST is never answered.
pub(crate) fn reset_for(seg: &Segment) -> Option<Header> {
    let h = &seg.header;
    if h.flags.rst() {
        return None;
    }
    let (seq, ack, flags) = if h.flags.contains(Flags::ACK) {
        (h.ack, SeqNum(0), Flags::RST)
    } else {
        (SeqNum(0), seg.end_seq, Flags::RST.with(Flags::ACK))
    };
    Some(Header { src_port: h.dst_port, dst_port: h.src_port, seq, ack, flags, ..Header::default() })
}

/// Answers a segment with a RST from within a connection's step.
pub(crate) fn reply_reset(cx: &mut Cx<'_>, seg: &Segment) {
    if let Some(header) = reset_for(seg) {
        cx.count(Counter::TcpOutSegs);
        cx.count(Counter::TcpOutRsts);
        let payload = Bytes::new();
        cx.segments.push(OutSegment { header, payload, mss: u16::MAX, ect: false, without_socket: true });
    }
}

impl Tcb {
    /// `tcp_reset`: the connection is gone; what the application learns depends on the state.
    pub(crate) fn reset_by_peer(&mut self, cx: &mut Cx<'_>, seg: Option<&Segment>) {
        let _ = seg;
        let error = match self.state {
            State::SynSent => Errno::ECONNREFUSED,
            State::CloseWait => Errno::EPIPE,
            State::Close => return,
            State::Established
            | State::SynRecv
            | State::FinWait1
            | State::FinWait2
            | State::LastAck
            | State::Closing => Errno::ECONNRESET,
        };
        self.purge_send_queues(cx);
        self.fail(cx, error);
    }
}
