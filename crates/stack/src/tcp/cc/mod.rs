//! Congestion control: the core owns the window, a module decides how it moves.
//!
//! The hooks are those of Linux's `struct tcp_congestion_ops` (net/ipv4/tcp_cong.c), so that recovery, undo
//! and PRR (which belong to the core) work with every module.

use core::time::Duration;

use wire::Instant;
use wire::tcp::SeqNum;

pub(crate) mod bbr;
pub(crate) mod cubic;

pub(crate) use bbr::Bbr;
pub(crate) use cubic::Cubic;

/// `TCP_INFINITE_SSTHRESH`: slow start has not ended yet.
pub(crate) const INFINITE_SSTHRESH: u32 = 0x7fff_ffff;

/// `TCP_INIT_CWND` (RFC 6928).
pub(crate) const INITIAL_WINDOW: u32 = 10;

/// `icsk_ca_state`: what the sender believes about the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CaState {
    /// Nothing odd.
    #[default]
    Open,
    /// Duplicate ACKs or SACKs seen; not yet a loss.
    Disorder,
    /// The window is being reduced for ECN or local congestion.
    Cwr,
    /// Fast recovery.
    Recovery,
    /// Recovery after a retransmission timeout.
    Loss,
}

/// The congestion window and its surroundings (`snd_cwnd` and neighbours in `struct tcp_sock`), in packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) cwnd: u32,
    /// Linear increase counter.
    pub(crate) cwnd_cnt: u32,
    pub(crate) ssthresh: u32,
    /// Never more than this.
    pub(crate) cwnd_clamp: u32,
    /// The window before the last reduction, for undo.
    pub(crate) prior_cwnd: u32,
    /// Whether the window, not the application, held sending back during the last round trip.
    pub(crate) is_cwnd_limited: bool,
    /// The most packets in flight during this round trip, for cwnd validation (RFC 7661).
    pub(crate) max_packets_out: u32,
    /// When the application last used the whole window.
    pub(crate) used_stamp: Instant,
    /// How much of it the application used since.
    pub(crate) used: u32,
}

impl Default for Window {
    fn default() -> Self {
        Window {
            cwnd: INITIAL_WINDOW,
            cwnd_cnt: 0,
            ssthresh: INFINITE_SSTHRESH,
            cwnd_clamp: u32::MAX,
            prior_cwnd: 0,
            is_cwnd_limited: false,
            max_packets_out: 0,
            used_stamp: Instant::ZERO,
            used: 0,
        }
    }
}

impl Window {
    /// `tcp_in_slow_start`
    pub(crate) fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// `tcp_is_cwnd_limited`: may it grow? In slow start the window is worth twice what was used of it (RFC 7661).
    pub(crate) fn is_limited(&self) -> bool {
        self.is_cwnd_limited || (self.in_slow_start() && self.cwnd < 2 * self.max_packets_out)
    }

    /// `tcp_slow_start`: grows by what was acknowledged up to `ssthresh`; returns what is left over.
    pub(crate) fn slow_start(&mut self, acked: u32) -> u32 {
        let cwnd = self.cwnd.saturating_add(acked).min(self.ssthresh);
        let left = acked - (cwnd - self.cwnd);
        self.cwnd = cwnd.min(self.cwnd_clamp);
        left
    }

    /// `tcp_cong_avoid_ai`: one packet more for every `w` acknowledged.
    pub(crate) fn additive_increase(&mut self, w: u32, acked: u32) {
        // A smaller w than before must not release a burst.
        if self.cwnd_cnt >= w {
            self.cwnd_cnt = 0;
            self.cwnd += 1;
        }
        self.cwnd_cnt += acked;
        if self.cwnd_cnt >= w {
            let delta = self.cwnd_cnt / w;
            self.cwnd_cnt -= delta * w;
            self.cwnd += delta;
        }
        self.cwnd = self.cwnd.min(self.cwnd_clamp);
    }
}

/// One delivery-rate sample (`struct rate_sample`), made for each ACK.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RateSample {
    /// When the newest delivered packet's `delivered` count was taken; `None` when there is no sample.
    pub(crate) prior_mstamp: Option<Instant>,
    /// `delivered` when that packet was sent; 0: no packet yet.
    pub(crate) prior_delivered: u32,
    /// Where that packet ended.
    pub(crate) last_end_seq: SeqNum,
    /// Packets delivered over the interval; negative when the sample is not valid.
    pub(crate) delivered: i32,
    /// The interval they took; `None` when the sample is not valid.
    pub(crate) interval: Option<Duration>,
    /// Round trip of the newest packet acknowledged, microseconds; `None` when it was retransmitted.
    pub(crate) rtt_us: Option<u32>,
    /// Packets newly marked lost by this ACK.
    pub(crate) losses: u32,
    /// Packets newly acknowledged or SACKed by this ACK.
    pub(crate) acked_sacked: u32,
    /// Packets in flight before this ACK.
    pub(crate) prior_in_flight: u32,
    /// The sample is limited by the application.
    pub(crate) is_app_limited: bool,
    /// The packet it comes from was retransmitted.
    pub(crate) is_retrans: bool,
    /// A delayed ACK is suspected.
    pub(crate) is_ack_delayed: bool,
}

/// What a module may look at and change besides its own state.
pub(crate) struct CcCx<'a> {
    pub(crate) now: Instant,
    /// Ticks a second and the tick count, for modules that think in jiffies.
    pub(crate) hz: u32,
    pub(crate) window: &'a mut Window,
    pub(crate) ca_state: CaState,
    pub(crate) snd_una: SeqNum,
    pub(crate) snd_nxt: SeqNum,
    pub(crate) srtt_us8: u32,
    /// Least round trip of late, microseconds.
    pub(crate) min_rtt_us: Option<u32>,
    pub(crate) mss: u32,
    pub(crate) packets_in_flight: u32,
    /// Packets delivered so far (`tp->delivered`), lost so far (`tp->lost`).
    pub(crate) delivered: u32,
    pub(crate) lost: u32,
    /// When `delivered` last changed.
    pub(crate) delivered_mstamp: Instant,
    /// `tp->app_limited`: 0, or the delivered count at which the pipe is full again.
    pub(crate) app_limited: &'a mut u32,
    /// When the pacer lets the next packet leave (`tcp_wstamp_ns`).
    pub(crate) next_departure: Instant,
    /// Bytes a second that pacing allows (`sk_pacing_rate`), and whether packets are paced.
    pub(crate) pacing_rate: &'a mut u64,
    pub(crate) pacing_max: u64,
    pub(crate) paced: bool,
    /// When the last segment was sent (`tp->lsndtime`).
    pub(crate) last_sent: Instant,
    pub(crate) rng: &'a mut crate::rng::Rng,
    /// The host's counters.
    pub(crate) mib: &'a mut crate::mib::Mib,
}

impl CcCx<'_> {
    /// Ticks since the epoch (`tcp_jiffies32`).
    pub(crate) fn jiffies(&self) -> u32 {
        jiffies(self.now, self.hz)
    }

    /// Microseconds since the epoch (`tcp_mstamp`), wrapping.
    pub(crate) fn now_us(&self) -> u32 {
        (self.now.as_nanos() / 1_000) as u32 // wraps like the kernel's
    }
}

/// Ticks since the epoch at `at`, wrapping.
pub(crate) fn jiffies(at: Instant, hz: u32) -> u32 {
    (at.as_nanos() / (1_000_000_000 / u64::from(hz))) as u32 // wraps like the kernel's
}

/// `enum tcp_ca_event`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaEvent {
    /// First transmission with nothing in flight.
    TxStart,
    /// The window starts over after an idle time.
    CwndRestart,
    /// A window reduction ended.
    CompleteCwr,
    /// A retransmission timeout.
    Loss,
    /// ECN: a segment without a mark, and one with.
    EcnNoCe,
    EcnIsCe,
}

/// A module with its state.
#[derive(Clone, Debug)]
pub(crate) enum Cc {
    /// net/ipv4/tcp_cong.c `tcp_reno`
    Reno,
    /// net/ipv4/tcp_cubic.c
    Cubic(Cubic),
    /// net/ipv4/tcp_bbr.c
    Bbr(Box<Bbr>),
}

impl Cc {
    /// A module by the name that `tcp_congestion_control` takes; `None` when it is not modelled.
    pub(crate) fn by_name(name: &str) -> Option<Cc> {
        match name {
            "reno" => Some(Cc::Reno),
            "cubic" => Some(Cc::Cubic(Cubic::default())),
            "bbr" => Some(Cc::Bbr(Box::default())),
            _ => None,
        }
    }

    /// The name in `TCP_CONGESTION` and `ss -i`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Cc::Reno => "reno",
            Cc::Cubic(_) => "cubic",
            Cc::Bbr(_) => "bbr",
        }
    }

    /// `TCP_CC_INFO` (`get_info`): a module without one tells nothing, which is no error.
    pub(crate) fn info(&self, mss: u32) -> Vec<u8> {
        match self {
            Cc::Reno | Cc::Cubic(_) => Vec::new(),
            Cc::Bbr(bbr) => bbr.info(mss).iter().flat_map(|w| w.to_ne_bytes()).collect(),
        }
    }

    /// Whether packets must be paced even without `SO_MAX_PACING_RATE` (`SK_PACING_NEEDED`).
    pub(crate) fn needs_pacing(&self) -> bool {
        matches!(self, Cc::Bbr(_))
    }

    /// `init`: the connection is established.
    pub(crate) fn init(&mut self, cx: &mut CcCx<'_>) {
        match self {
            Cc::Reno => {}
            Cc::Cubic(c) => c.init(cx),
            Cc::Bbr(b) => b.init(cx),
        }
    }

    /// `ssthresh`: the threshold after a loss.
    pub(crate) fn ssthresh(&mut self, cx: &mut CcCx<'_>) -> u32 {
        match self {
            Cc::Reno => (cx.window.cwnd >> 1).max(2),
            Cc::Cubic(c) => c.ssthresh(cx),
            Cc::Bbr(b) => b.ssthresh(cx),
        }
    }

    /// `cong_avoid`: `acked` packets were acknowledged while nothing is wrong.
    pub(crate) fn cong_avoid(&mut self, cx: &mut CcCx<'_>, acked: u32) {
        match self {
            Cc::Reno => reno_cong_avoid(cx.window, acked),
            Cc::Cubic(c) => c.cong_avoid(cx, acked),
            Cc::Bbr(_) => {}
        }
    }

    /// `set_state`: before the core enters `new`.
    pub(crate) fn set_state(&mut self, cx: &mut CcCx<'_>, new: CaState) {
        match self {
            Cc::Reno => {}
            Cc::Cubic(c) => c.set_state(cx, new),
            Cc::Bbr(b) => b.set_state(cx, new),
        }
    }

    /// `cwnd_event`
    pub(crate) fn cwnd_event(&mut self, cx: &mut CcCx<'_>, event: CaEvent) {
        match self {
            Cc::Reno => {}
            Cc::Cubic(c) => c.cwnd_event(cx, event),
            Cc::Bbr(b) => b.cwnd_event(cx, event),
        }
    }

    /// `pkts_acked`: a round-trip sample, if the ACK gave one.
    pub(crate) fn pkts_acked(&mut self, cx: &mut CcCx<'_>, rtt_us: Option<u32>) {
        if let Cc::Cubic(c) = self {
            c.pkts_acked(cx, rtt_us);
        }
    }

    /// `undo_cwnd`: the reduction was for nothing.
    pub(crate) fn undo_cwnd(&mut self, cx: &mut CcCx<'_>) -> u32 {
        match self {
            Cc::Reno | Cc::Cubic(_) => cx.window.cwnd.max(cx.window.prior_cwnd),
            Cc::Bbr(b) => b.undo_cwnd(cx),
        }
    }

    /// `cong_control`: BBR sets window and rate itself from a delivery-rate sample.
    pub(crate) fn cong_control(&mut self, cx: &mut CcCx<'_>, sample: &RateSample) {
        match self {
            Cc::Bbr(b) => b.main(cx, sample),
            Cc::Reno | Cc::Cubic(_) => {}
        }
    }

    /// `min_tso_segs`: the least super-segment; 2 (`tcp_min_tso_segs`) unless the module says otherwise.
    pub(crate) fn min_tso_segs(&self, pacing_rate: u64, sysctl_min: u32) -> u32 {
        match self {
            // BBR: single packets below 1.2 Mbit/s.
            Cc::Bbr(_) => {
                if pacing_rate < (1_200_000 >> 3) {
                    1
                } else {
                    2
                }
            }
            Cc::Reno | Cc::Cubic(_) => sysctl_min,
        }
    }

    /// `sndbuf_expand`: how many windows of data the send buffer should hold.
    pub(crate) fn sndbuf_expand(&self) -> u32 {
        if matches!(self, Cc::Bbr(_)) { 3 } else { 2 }
    }
}

/// `tcp_reno_cong_avoid`
fn reno_cong_avoid(window: &mut Window, acked: u32) {
    if !window.is_limited() {
        return;
    }
    let acked = if window.in_slow_start() { window.slow_start(acked) } else { acked };
    if acked > 0 {
        window.additive_increase(window.cwnd, acked);
    }
}
