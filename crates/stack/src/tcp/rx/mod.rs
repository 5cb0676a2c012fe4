//! Receiving data: what waits for the application, what waits for a hole to be filled, the window we offer and
//! when we acknowledge.

use std::collections::VecDeque;

use wire::Frame;
use wire::Instant;
use wire::tcp::{Sack, SackBlock, SeqNum};

use crate::socket::SkbHead;

pub(crate) mod ackpolicy;
pub(crate) mod autotune;
pub(crate) mod coalesce;
pub(crate) mod queue;
pub(crate) mod sackblocks;
pub(crate) mod window;

/// A stretch of received bytes: one packet, or several that were joined.
#[derive(Clone, Debug, Default)]
pub(crate) struct RxSegment {
    pub(crate) seq: SeqNum,
    /// After its last sequence number, FIN included.
    pub(crate) end_seq: SeqNum,
    /// The bytes, in pieces; the first `gone` were read and let go.
    pub(crate) frame: Frame,
    #[expect(clippy::box_collection, reason = "few entries have more pieces, and all are moved about")]
    pub(crate) rest: Option<Box<VecDeque<Frame>>>,
    pub(crate) gone: usize,
    pub(crate) fin: bool,
    /// Memory: what it costs, free bytes behind the data, where they stand and in how many pieces of pages.
    pub(crate) truesize: u32,
    pub(crate) tailroom: u32,
    pub(crate) head: SkbHead,
    pub(crate) frags: u8,
}

/// The receive side's queues and estimators.
#[derive(Debug, Default)]
pub(crate) struct RxQueues {
    /// In order, not yet read.
    pub(crate) ready: VecDeque<RxSegment>,
    /// Out of order, sorted; neighbours may overlap.
    pub(crate) out_of_order: VecDeque<RxSegment>,
    /// Blocks to report, most recent first (`selective_acks`), and a D-SACK in front of them.
    pub(crate) sacks: Sack,
    pub(crate) dsack: Option<SackBlock>,
    /// Memory of both queues (`sk_rmem_alloc`), and its limit (`sk_rcvbuf`).
    pub(crate) rmem: u32,
    pub(crate) rcvbuf: u32,
    pub(crate) rcvbuf_locked: bool,
    pub(crate) rcvlowat: u32,
    /// Payload bytes in 256 bytes of memory (`scaling_ratio`).
    pub(crate) scaling_ratio: u8,
    /// ACKs held back while SACKs repeat.
    pub(crate) compressed_ack: u8,
    pub(crate) compressed_ack_rcv_nxt: SeqNum,
    pub(crate) dup_ack_counter: u8,
    /// Receiver-side round-trip estimate, microseconds times 8, and the measurement under way.
    pub(crate) rtt_us8: u32,
    pub(crate) rtt_seq: SeqNum,
    pub(crate) rtt_time: Option<Instant>,
    pub(crate) rtt_last_tsecr: u32,
    /// How much the application read in the last round trip (`rcvq_space`).
    pub(crate) space: u32,
    pub(crate) space_seq: SeqNum,
    pub(crate) space_time: Instant,
    /// Packets pruned, for `TCP_INFO`.
    pub(crate) ooo_packets: u32,
}

impl RxQueues {
    /// Blocks that the next ACK reports: with a timestamp there is room for three, else four.
    pub(crate) fn sack_block_count(&self, timestamps: bool) -> u8 {
        let most = if timestamps { 3 } else { 4 };
        let n = self.sacks.as_slice().len() + usize::from(self.dsack.is_some());
        u8::try_from(n.min(most)).expect("at most four")
    }

    /// Those blocks, D-SACK first.
    pub(crate) fn sack_blocks(&self, timestamps: bool) -> Sack {
        let most = if timestamps { 3 } else { 4 };
        self.dsack.iter().chain(self.sacks.as_slice()).take(most).copied().collect()
    }
}
