//! The full socket: everything a connection knows (RFC 9293 §3.3.1; Linux: `struct tcp_sock` and
//! `struct inet_connection_sock`).
//!
//! Fields carry the names of the RFC where it has one (`snd.una`, `rcv.nxt`) and Linux's otherwise. Each
//! group has one owner file; the state has one writer, [`Tcb::set_state`].

use core::time::Duration;
use std::net::SocketAddr;

use wire::Instant;
use wire::tcp::SeqNum;

use super::cc::{Cc, Window};
use super::recovery::Recovery;
use super::rtt::RttEstimator;
use super::rtx::RtxQueue;
use super::rx::RxQueues;
use super::send_buffer::SendBuffer;
use super::skb::Skb;
use super::timer::Timers;
use crate::Errno;
use std::collections::VecDeque;

/// A connection's state (RFC 9293 §3.3.2). LISTEN, the half-open server side and TIME-WAIT are other types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum State {
    Established,
    SynSent,
    /// Of a full socket: simultaneous open, or Fast Open.
    SynRecv,
    FinWait1,
    FinWait2,
    Close,
    CloseWait,
    LastAck,
    Closing,
}

impl State {
    /// `ss`'s word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Established => "ESTAB",
            State::SynSent => "SYN-SENT",
            State::SynRecv => "SYN-RECV",
            State::FinWait1 => "FIN-WAIT-1",
            State::FinWait2 => "FIN-WAIT-2",
            State::Close => "UNCONN",
            State::CloseWait => "CLOSE-WAIT",
            State::LastAck => "LAST-ACK",
            State::Closing => "CLOSING",
        }
    }

    /// The number in `tcpi_state` and `TCP_*` of `<netinet/tcp.h>`.
    pub(crate) fn number(self) -> u8 {
        match self {
            State::Established => 1,
            State::SynSent => 2,
            State::SynRecv => 3,
            State::FinWait1 => 4,
            State::FinWait2 => 5,
            State::Close => 7,
            State::CloseWait => 8,
            State::LastAck => 9,
            State::Closing => 11,
        }
    }

    /// The application may still write.
    pub(crate) fn may_send(self) -> bool {
        matches!(self, State::Established | State::CloseWait)
    }
}

/// Send sequence space (RFC 9293 §3.3.1).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Snd {
    /// Oldest unacknowledged.
    pub(crate) una: SeqNum,
    /// Next to send.
    pub(crate) nxt: SeqNum,
    /// Window, in bytes.
    pub(crate) wnd: u32,
    /// Segment sequence number of the last window update.
    pub(crate) wl1: SeqNum,
    /// Initial send sequence number.
    pub(crate) iss: SeqNum,
    /// Urgent pointer: the byte after the urgent one; meaningful while `urg_mode`.
    pub(crate) up: SeqNum,
    pub(crate) urg_mode: bool,
    /// The peer's window scale.
    pub(crate) wscale: u8,
    /// The largest window seen.
    pub(crate) max_window: u32,
    /// After the last byte that was written.
    pub(crate) write_seq: SeqNum,
    /// After the last byte that was pushed.
    pub(crate) pushed_seq: SeqNum,
    /// End of the last small segment (Minshall's Nagle).
    pub(crate) sml: SeqNum,
}

/// Receive sequence space.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rcv {
    /// Next expected.
    pub(crate) nxt: SeqNum,
    /// `rcv.nxt` when the window was last advertised.
    pub(crate) wup: SeqNum,
    /// The window then advertised, bytes.
    pub(crate) wnd: u32,
    /// Initial receive sequence number.
    pub(crate) irs: SeqNum,
    /// Our window scale.
    pub(crate) wscale: u8,
    /// First byte that the application has not read.
    pub(crate) copied_seq: SeqNum,
    /// The most we let the window grow to now (`rcv_ssthresh`).
    pub(crate) ssthresh: u32,
    /// The most we ever advertise.
    pub(crate) window_clamp: u32,
    /// The segment size that we advertised.
    pub(crate) advmss: u16,
}

/// Timestamps (RFC 7323).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ts {
    /// Both ends use them.
    pub(crate) ok: bool,
    /// `TS.Recent`, and the second in which it was stored (0: none).
    pub(crate) recent: u32,
    pub(crate) recent_stamp: u32,
    /// Of the segment being processed.
    pub(crate) saw: bool,
    pub(crate) rcv_tsval: u32,
    pub(crate) rcv_tsecr: u32,
    /// Our SYN offered them; no answer yet.
    pub(crate) offered: bool,
    /// Added to the clock for this peer (`secure_tcp_ts_off`).
    pub(crate) offset: u32,
}

/// The acknowledgment policy's state (`icsk_ack`).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AckState {
    /// An ACK is owed (`ICSK_ACK_SCHED`).
    pub(crate) scheduled: bool,
    /// The application just read past a full segment (`ICSK_ACK_PUSHED`, `…2`), or an ACK must go now.
    pub(crate) pushed: bool,
    pub(crate) pushed2: bool,
    pub(crate) now: bool,
    /// Data could not be queued for want of memory: the window is 0 (`ICSK_ACK_NOMEM`).
    pub(crate) nomem: bool,
    /// ACKs still to be sent at once.
    pub(crate) quick: u8,
    /// Interactive traffic: delay ACKs (`icsk_ack.pingpong` against `tcp_pingpong_thresh`).
    pub(crate) pingpong: u8,
    /// Delayed ACK time; zero before the first data.
    pub(crate) ato: Duration,
    /// When the delayed ACK is due, before the timer wheel rounds (`icsk_ack.timeout`).
    pub(crate) timeout: Instant,
    /// When data last arrived.
    pub(crate) last_received: Instant,
    /// Estimate of the peer's segment size.
    pub(crate) rcv_mss: u16,
    pub(crate) last_seg_size: u16,
    /// The delayed ACK timer fired while ATO was small.
    pub(crate) retry: u8,
    /// `TCP_QUICKACK` as the application set it: pingpong is forced (0) or off.
    pub(crate) nodelay_forced: bool,
}

/// `TCP_NODELAY`, `TCP_CORK` (`tp->nonagle`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Nagle {
    pub(crate) off: bool,
    pub(crate) cork: bool,
    pub(crate) push: bool,
}

/// What the options of the handshake agreed on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Negotiated {
    pub(crate) sack: bool,
    pub(crate) wscale: bool,
    /// ECN by RFC 3168.
    pub(crate) ecn: bool,
    /// The peer's MSS option, or 536/1220 when there was none.
    pub(crate) mss_clamp: u16,
    /// `TCP_MAXSEG` of the application; 0 for none.
    pub(crate) user_mss: u16,
}

/// ECN (RFC 3168 §6.1): owed echo and window reduction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ecn {
    /// A CE mark arrived: echo ECE until CWR comes.
    pub(crate) demand_cwr: bool,
    /// The window was reduced: tell by CWR.
    pub(crate) queue_cwr: bool,
    pub(crate) seen: bool,
    /// The SYN asked for ECN and was not answered yet.
    pub(crate) offered: bool,
}

/// Counters of `TCP_INFO`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) bytes_acked: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_retrans: u64,
    pub(crate) segs_in: u32,
    pub(crate) segs_out: u32,
    pub(crate) data_segs_in: u32,
    pub(crate) data_segs_out: u32,
    pub(crate) total_retrans: u32,
    pub(crate) dsack_dups: u32,
}

/// Options an application sets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UserOptions {
    pub(crate) user_timeout: Duration,
    /// `TCP_THIN_LINEAR_TIMEOUTS`
    pub(crate) thin_linear: bool,
    /// 0: the sysctl's.
    pub(crate) keepidle: Duration,
    pub(crate) keepintvl: Duration,
    pub(crate) keepcnt: u8,
    pub(crate) syn_retries: u8,
    pub(crate) keepalive: bool,
    /// `SO_OOBINLINE`
    pub(crate) oob_inline: bool,
    /// `TCP_LINGER2`: `None` the sysctl, `Some(None)` no FIN_WAIT2 at all.
    pub(crate) linger2: Option<Option<Duration>>,
    pub(crate) defer_accept: u8,
    pub(crate) notsent_lowat: Option<u32>,
    pub(crate) window_clamp: u32,
    pub(crate) max_pacing_rate: Option<u64>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Tcb {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(super) state: State,
    pub(crate) snd: Snd,
    pub(crate) rcv: Rcv,
    pub(crate) ts: Ts,
    pub(crate) ack: AckState,
    pub(crate) nagle: Nagle,
    pub(crate) opts: Negotiated,
    pub(crate) ecn: Ecn,
    pub(crate) totals: Totals,
    /// What sending waits for.
    pub(crate) chrono: super::chrono::Chronograph,
    pub(crate) user: super::shared::Shared<UserOptions>,

    // Sending.
    /// Current segment size without options (`mss_cache`).
    pub(crate) mss: u16,
    /// Segments of a super-segment as the size goal last said (`gso_segs`).
    pub(crate) gso_segs: u16,
    pub(crate) path_mtu: u32,
    /// The route's metrics as of its lookup (`dst_metric`).
    pub(crate) way: crate::route::Metrics,
    pub(crate) mtup: super::mtuprobe::MtuProbe,
    pub(crate) data: SendBuffer,
    /// Written, not yet sent.
    pub(crate) unsent: VecDeque<Skb>,
    pub(crate) rtx: RtxQueue,
    /// Bytes of send buffer allowed (`sk_sndbuf`), and whether `SO_SNDBUF` fixed it.
    pub(crate) sndbuf: u32,
    pub(crate) sndbuf_locked: bool,
    /// Pages of the host's memory that the queues hold (`sk_forward_alloc` and what is charged).
    pub(crate) mem_pages: u32,
    /// Reports to the sender; few sockets want any.
    pub(crate) notes: Option<Box<super::notes::Notes>>,
    /// The application found the buffer full (`SOCK_NOSPACE`).
    pub(crate) no_space: core::cell::Cell<bool>,

    // Losing.
    pub(crate) rtt: RttEstimator,
    pub(crate) window: Window,
    /// `cwnd_usage_seq`: the end of the round in which cwnd validation measures.
    pub(crate) cwnd_usage_seq: SeqNum,
    pub(crate) cc: Cc,
    pub(crate) recovery: Recovery,
    /// Retransmission timeout without back-off, and its exponent.
    pub(crate) rto: Duration,
    pub(crate) backoff: u8,
    pub(crate) retransmits: u8,
    pub(crate) probes_out: u8,
    /// When the first retransmission by timeout of this series was sent (`retrans_stamp`).
    pub(crate) retrans_stamp: Option<Instant>,
    /// When probing a zero window began (`icsk_probes_tstamp`).
    pub(crate) probes_stamp: Option<Instant>,

    // Pacing.
    pub(crate) pacing_rate: u64,
    pub(crate) pacing_needed: bool,
    /// When the next packet may leave (`tcp_wstamp_ns`).
    pub(crate) next_departure: Instant,
    /// When data was last sent.
    pub(crate) last_sent: Instant,

    // Receiving.
    pub(crate) rx: RxQueues,
    /// The peer's FIN was received (`SOCK_DONE`).
    pub(crate) rx_done: bool,
    /// The last segment of which a duplicate ACK was sent out of window, for rate limiting.
    pub(crate) last_oow_ack: Option<Instant>,
    /// Urgent data received: its place, and the byte when not inline.
    pub(crate) urg_in: super::urgent::UrgentIn,

    // Ending.
    pub(crate) shutdown_rd: bool,
    pub(crate) shutdown_wr: bool,
    /// No process holds it any more (`SOCK_DEAD`).
    pub(crate) orphan: bool,
    pub(crate) error: Option<Errno>,
    /// It counts against `tcp_max_orphans`.
    pub(crate) orphan_counted: bool,
    /// What ICMP said without ending the connection (`sk_err_soft`).
    pub(crate) soft_error: Option<Errno>,
    /// The last segment that arrived, for keepalive.
    pub(crate) last_ack_received: Instant,
    pub(crate) timers: Timers,
    pub(crate) fo: super::fastopen::FastOpen,
    /// A call sleeps until the connection is there, with data to send (`sk_write_pending`).
    pub(crate) writer_waits: bool,
}

impl Tcb {
    /// The RFC state.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Packets in flight (`tcp_packets_in_flight`).
    pub(crate) fn in_flight(&self) -> u32 {
        let r = &self.recovery;
        (r.packets_out + r.retrans_out).saturating_sub(r.sacked_out + r.lost_out)
    }

    /// The first sequence number beyond the peer's window.
    pub(crate) fn wnd_end(&self) -> SeqNum {
        self.snd.una + self.snd.wnd
    }

    /// The window that the peer may still use (`tcp_receive_window`).
    pub(crate) fn receive_window(&self) -> u32 {
        u32::try_from((self.rcv.wup + self.rcv.wnd) - self.rcv.nxt).unwrap_or(0)
    }
}
