//! One entry of the send side's queues: a stretch of sequence space that is sent as one (super-)segment.
//!
//! It holds no bytes; they stay in the [`SendBuffer`](super::send_buffer::SendBuffer) until acknowledged, so
//! that splitting and joining entries moves nothing. Linux: `struct tcp_skb_cb`.

use wire::Instant;
use wire::tcp::{Flags, SeqNum};

/// `TCPCB_*`: what has become of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sacked {
    /// The peer has it (`SACKED_ACKED`).
    pub(crate) acked: bool,
    /// A retransmission of it is in flight (`SACKED_RETRANS`).
    pub(crate) retrans: bool,
    /// It counts as lost (`LOST`).
    pub(crate) lost: bool,
    /// It was ever retransmitted (`EVER_RETRANS`).
    pub(crate) ever_retrans: bool,
}

/// Delivery-rate state when it was sent (`TCP_SKB_CB(skb)->tx`).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TxState {
    pub(crate) delivered: u32,
    pub(crate) delivered_mstamp: Option<Instant>,
    pub(crate) first_tx: Instant,
    pub(crate) is_app_limited: bool,
}

/// A stretch of sequence space.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Skb {
    pub(crate) seq: SeqNum,
    /// After its last sequence number; SYN and FIN take one each.
    pub(crate) end_seq: SeqNum,
    /// SYN, FIN, PSH; ACK is added when it is sent.
    pub(crate) flags: Flags,
    pub(crate) sacked: Sacked,
    /// Wire segments it makes (`tcp_gso_segs`); 0 before it was first considered for sending.
    pub(crate) pcount: u32,
    /// Bytes a segment (`tcp_gso_size`).
    pub(crate) mss: u16,
    /// When it was last sent.
    pub(crate) sent: Instant,
    pub(crate) tx: TxState,
    /// `MSG_EOR`: nothing may be joined behind it.
    pub(crate) eor: bool,
    /// SACKed right behind another SACKed entry: the kernel's two are one (`tcp_shifted_skb`).
    pub(crate) joined: bool,
}

impl Skb {
    /// An entry without bytes yet, at `seq`.
    pub(crate) fn at(seq: SeqNum) -> Skb {
        Skb {
            seq,
            end_seq: seq,
            flags: Flags::ACK,
            sacked: Sacked::default(),
            pcount: 0,
            mss: 0,
            sent: Instant::ZERO,
            tx: TxState::default(),
            eor: false,
            joined: false,
        }
    }

    /// Bytes of its segments (`tcp_skb_seglen`).
    pub(crate) fn segment_len(&self) -> u32 {
        if self.pcount == 1 { self.len() } else { self.mss.into() }
    }

    /// Bytes of payload.
    pub(crate) fn len(&self) -> u32 {
        let space = (self.end_seq - self.seq) as u32; // an entry never spans half the space
        space - u32::from(self.flags.syn()) - u32::from(self.flags.fin())
    }

    /// Sets the number of wire segments for segments of `mss` bytes (`tcp_set_skb_tso_segs`).
    pub(crate) fn set_segments(&mut self, mss: u16) -> u32 {
        let len = self.len();
        if len <= u32::from(mss) {
            self.mss = 0;
            self.pcount = 1;
        } else {
            self.mss = mss;
            self.pcount = len.div_ceil(u32::from(mss));
        }
        self.pcount
    }

    /// Cuts everything after `len` bytes of payload off and returns it (`tcp_fragment`). PSH and FIN go with
    /// the end; what had been sent stays so for both.
    pub(crate) fn split(&mut self, len: u32, mss: u16) -> Skb {
        debug_assert!(len < self.len(), "splitting leaves bytes on both sides");
        let at = self.seq + len + u32::from(self.flags.syn());
        let mut rest = *self;
        rest.seq = at;
        rest.flags = Flags(self.flags.0 & !Flags::SYN.0);
        rest.joined = false;
        self.end_seq = at;
        self.flags = Flags(self.flags.0 & !(Flags::FIN.0 | Flags::PSH.0));
        self.eor = false;
        self.set_segments(mss);
        rest.set_segments(mss);
        rest
    }
}
