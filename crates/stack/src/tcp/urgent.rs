//! Urgent data (RFC 9293 §3.8.5, RFC 6093): one byte out of band. Linux: tcp_input.c `tcp_urg`, `tcp_check_urg`.

use wire::tcp::{Flags, SeqNum};

use super::cx::Cx;
use super::input::Segment;
use super::tcb::Tcb;

/// What is known of the peer's urgent byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum UrgentIn {
    /// None announced.
    #[default]
    None,
    /// Announced, not arrived yet: its sequence number.
    Announced(SeqNum),
    /// Arrived.
    Valid(SeqNum, u8),
    /// Read by `recv(MSG_OOB)`.
    Read(SeqNum),
}

impl UrgentIn {
    /// Whether the fast path must look closer.
    pub(crate) fn pending(self) -> bool {
        matches!(self, UrgentIn::Announced(_) | UrgentIn::Valid(..))
    }

    /// The byte's place in the stream.
    pub(crate) fn place(self) -> Option<SeqNum> {
        match self {
            UrgentIn::None => None,
            UrgentIn::Announced(at) | UrgentIn::Valid(at, _) | UrgentIn::Read(at) => Some(at),
        }
    }
}

impl Tcb {
    /// Sixth check: the URG bit.
    pub(crate) fn urgent_arrives(&mut self, cx: &mut Cx<'_>, seg: &Segment) {
        if seg.header.flags.contains(Flags::URG) {
            self.check_urgent(cx, seg);
        }
        if let UrgentIn::Announced(at) = self.urg_in {
            let offset = at.minus(seg.seq);
            if let Ok(offset) = usize::try_from(offset)
                && offset < seg.payload_len
            {
                let mut byte = Vec::with_capacity(1);
                seg.frame.copy_range(offset..offset + 1, &mut byte);
                self.urg_in = UrgentIn::Valid(at, byte[0]);
                cx.wake.readable = true;
                cx.wake.changed = true;
            }
        }
    }

    fn check_urgent(&mut self, cx: &mut Cx<'_>, seg: &Segment) {
        let mut pointer = u32::from(seg.header.urgent);
        if cx.sysctl.tcp_stdurg == 0 {
            // BSD's reading, which everybody follows: the pointer is one past the byte.
            pointer = pointer.saturating_sub(1);
        }
        let at = seg.seq + pointer;
        if self.rcv.copied_seq.after(at) || at.before(self.rcv.nxt) {
            return;
        }
        if self.urg_in.place().is_some_and(|old| !at.after(old)) {
            return;
        }
        // The urgent byte before, if it is next to be read, is given up; the new one may come with it in the stream.
        let next = self.rcv.copied_seq;
        if self.urg_in.place() == Some(next) && !self.user.oob_inline && next != self.rcv.nxt {
            self.rcv.copied_seq = next + 1;
            if self.rx.ready.front().is_some_and(|s| !self.rcv.copied_seq.before(s.end_seq))
                && let Some(segment) = self.rx.ready.pop_front()
            {
                self.rx.rmem -= segment.truesize;
            }
        }
        self.urg_in = UrgentIn::Announced(at);
        cx.wake.changed = true; // SIGURG, POLLPRI
    }
}
