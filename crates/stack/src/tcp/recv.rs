//! Reading. Linux: tcp.c `tcp_recvmsg_locked`, `tcp_recv_urg`, `tcp_inq`.

use core::ops::Range;

use wire::Frame;
use wire::tcp::SeqNum;

use super::cx::Cx;
use super::tcb::{State, Tcb};
use super::urgent::UrgentIn;
use crate::Errno;
use crate::call::MsgFlags;

/// What a try to read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// So many bytes in all (0 is the end), with those of earlier tries of the same call.
    Done(usize),
    /// Less than was asked for has come.
    Wait(usize),
}

impl Tcb {
    /// Reads up to `len` bytes behind what is in `buffer` already (`MSG_WAITALL` in an earlier try); `had` counts
    /// them, also when `MSG_TRUNC` throws them away. `oob_inline` is `SO_OOBINLINE`, `wait` whether the call may sleep.
    pub(crate) fn recv(
        &mut self,
        cx: &mut Cx<'_>,
        args: &RecvRequest,
        had: usize,
        buffer: &mut dyn Target,
    ) -> Result<Read, Errno> {
        let peek = args.flags.has(MsgFlags::PEEK);
        let lowat = usize::try_from(self.rx.rcvlowat).unwrap_or(usize::MAX);
        let target = if args.flags.has(MsgFlags::WAITALL) { args.len } else { lowat.min(args.len) }.max(1);
        let mut copied = had;
        // A peek that waits begins at the front again each time.
        if peek {
            buffer.clear();
            copied = 0;
        }
        let mut seq = self.rcv.copied_seq;
        let end = self.read_ready(cx, args, peek, &mut seq, &mut copied, buffer);
        let fresh = copied - if peek { 0 } else { had };
        self.cleanup_rbuf(cx, u32::try_from(if peek { 0 } else { fresh }).unwrap_or(u32::MAX));
        if end || copied >= target || copied == args.len {
            return Ok(Read::Done(copied));
        }
        if copied > 0 {
            let over = self.error.is_some() || self.state == State::Close || self.shutdown_rd;
            return Ok(if over || !args.wait { Read::Done(copied) } else { Read::Wait(copied) });
        }
        if self.rx_done {
            return Ok(Read::Done(0));
        }
        if let Some(errno) = self.error.take() {
            return Err(errno);
        }
        if self.shutdown_rd {
            return Ok(Read::Done(0));
        }
        if self.state == State::Close {
            return Err(Errno::ENOTCONN);
        }
        Ok(Read::Wait(0))
    }

    /// A read would find nothing, tell nothing and send nothing: no data, no end, no error, no ACK that is owed.
    #[inline]
    pub(crate) fn has_nothing_to_read(&self) -> bool {
        self.state == State::Established
            && self.rx.ready.is_empty()
            && !self.ack.scheduled
            && !self.rx_done
            && !self.shutdown_rd
            && self.error.is_none()
            && !self.urg_in.pending()
    }

    /// Takes what is there; `true` at the end of the stream or before an urgent byte.
    fn read_ready(
        &mut self,
        cx: &mut Cx<'_>,
        args: &RecvRequest,
        peek: bool,
        seq: &mut SeqNum,
        copied: &mut usize,
        buffer: &mut dyn Target,
    ) -> bool {
        let mut index = 0;
        if !args.flags.has(MsgFlags::TRUNC) {
            let there = (self.rcv.nxt - *seq) as u32; // forward
            buffer.expect((there as usize).min(args.len - *copied));
        }
        while *copied < args.len {
            if self.urgent_at(*seq) && *copied > 0 {
                return true; // reading stops at the mark
            }
            let Some(segment) = self.rx.ready.get(index) else { return false };
            let mut offset = usize::try_from(*seq - segment.seq).expect("segments before it are gone");
            let len = segment.len();
            if offset < len {
                let mut used = (len - offset).min(args.len - *copied);
                if let Some(at) = self.urg_in.place() {
                    let ahead = at.minus(*seq);
                    if ahead == 0 && !args.oob_inline {
                        *seq += 1; // the urgent byte is not in the stream
                        offset += 1;
                        used = (len - offset).min(args.len - *copied);
                    } else if ahead > 0 && (ahead as usize) < used {
                        used = ahead as usize; // positive
                    }
                }
                if !args.flags.has(MsgFlags::TRUNC) {
                    segment.for_range(offset, offset + used, |at, piece, range| {
                        buffer.put(*copied + at, piece, range);
                    });
                }
                *seq += u32::try_from(used).expect("a segment");
                *copied += used;
                offset += used;
                if !peek {
                    self.rx.ready[index].forget(offset);
                    self.rcv.copied_seq = *seq;
                    self.rcv_space_adjust(cx);
                    if self.urg_in.place().is_some_and(|at| self.rcv.copied_seq.after(at)) {
                        self.urg_in = UrgentIn::None;
                    }
                }
            }
            let segment = &self.rx.ready[index];
            if offset < len {
                continue;
            }
            let fin = segment.fin;
            if fin {
                *seq = segment.end_seq;
            }
            if peek {
                index += 1;
            } else {
                self.rx.rmem -= segment.truesize;
                self.rx.ready.pop_front();
                self.mem_reclaim(cx);
                self.rcv.copied_seq = *seq;
            }
            if fin {
                return true;
            }
        }
        false
    }

    fn urgent_at(&self, seq: SeqNum) -> bool {
        // One that `MSG_OOB` has read leaves its place (TCP_URG_READ).
        self.urg_in.place() == Some(seq)
    }

    /// `tcp_recv_urg`: the urgent byte (`MSG_OOB`).
    pub(crate) fn recv_urgent(&mut self, flags: MsgFlags, oob_inline: bool) -> Result<Option<u8>, Errno> {
        match self.urg_in {
            UrgentIn::Valid(at, byte) if !oob_inline => {
                if !flags.has(MsgFlags::PEEK) {
                    self.urg_in = UrgentIn::Read(at);
                }
                Ok(Some(byte))
            }
            UrgentIn::None | UrgentIn::Read(_) | UrgentIn::Valid(..) => Err(Errno::EINVAL),
            UrgentIn::Announced(_) => {
                if self.state == State::Close || self.shutdown_rd {
                    return Ok(None);
                }
                Err(Errno::EAGAIN)
            }
        }
    }

    /// `SIOCINQ` (`tcp_inq`): bytes that can be read.
    pub(crate) fn inq(&self, urgent_inline: bool) -> u32 {
        if matches!(self.state, State::SynSent | State::SynRecv) {
            return 0;
        }
        // Up to the urgent byte, while it is announced or waits to be read.
        let mark = match self.urg_in {
            UrgentIn::Announced(at) | UrgentIn::Valid(at, _) | UrgentIn::Read(at)
                if !urgent_inline && !at.before(self.rcv.copied_seq) && at.before(self.rcv.nxt) =>
            {
                Some(at)
            }
            _ => None,
        };
        if let Some(at) = mark {
            return (at - self.rcv.copied_seq) as u32; // checked: forward
        }
        let bytes = (self.rcv.nxt - self.rcv.copied_seq) as u32; // forward
        bytes.saturating_sub(u32::from(self.rx_done && bytes > 0))
    }

    /// `tcp_inq_hint`: what `TCP_CM_INQ` tells; never 0 once there is an end to read.
    pub(crate) fn inq_hint(&self) -> u32 {
        let left = (self.rcv.nxt - self.rcv.copied_seq) as u32; // forward
        if left == 0 && self.rx_done { 1 } else { left }
    }

    /// Recv-Q of `ss`: a FIN that was not read yet counts as a byte (`tcp_diag_get_info`).
    pub(crate) fn rqueue(&self) -> u32 {
        if matches!(self.state, State::SynSent | State::SynRecv) {
            return 0;
        }
        (self.rcv.nxt - self.rcv.copied_seq) as u32 // forward
    }

    /// `SIOCOUTQ`: bytes written and not acknowledged.
    pub(crate) fn outq(&self) -> u32 {
        if matches!(self.state, State::SynSent | State::SynRecv) {
            return 0;
        }
        (self.snd.write_seq - self.snd.una) as u32 // forward
    }
}

/// Where a read puts bytes.
pub(crate) trait Target {
    /// A read that begins again.
    fn clear(&mut self);
    /// So many bytes may come.
    fn expect(&mut self, n: usize);
    /// These bytes of a segment are number `at` and following.
    fn put(&mut self, at: usize, frame: &Frame, range: Range<usize>);
}

impl Target for Vec<u8> {
    fn clear(&mut self) {
        self.clear();
    }

    fn expect(&mut self, n: usize) {
        self.reserve(n);
    }

    fn put(&mut self, _at: usize, frame: &Frame, range: Range<usize>) {
        frame.copy_range(range, self);
    }
}

/// The caller's own buffer.
pub(crate) struct Borrowed<'a>(pub(crate) &'a mut [u8]);

impl Target for Borrowed<'_> {
    fn clear(&mut self) {}

    fn expect(&mut self, _n: usize) {}

    fn put(&mut self, at: usize, frame: &Frame, range: Range<usize>) {
        frame.read_range(range.start, &mut self.0[at..at + range.len()]);
    }
}

/// What a read asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecvRequest {
    pub(crate) len: usize,
    pub(crate) flags: MsgFlags,
    pub(crate) oob_inline: bool,
    /// The call may sleep.
    pub(crate) wait: bool,
}
