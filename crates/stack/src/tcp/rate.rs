//! How fast packets are delivered: a sample for each ACK. Linux: net/ipv4/tcp_rate.c (Cheng, Cardwell,
//! draft-cheng-iccrg-delivery-rate-estimation).

use wire::tcp::SeqNum;

use super::cc::{INFINITE_SSTHRESH, RateSample};
use super::cx::Cx;
use super::skb::Skb;
use super::tcb::Tcb;

impl Tcb {
    /// `tcp_rate_skb_sent`: stamps an entry that is being sent.
    pub(crate) fn rate_sent(&mut self, skb: &mut Skb) {
        let r = &mut self.recovery;
        if r.packets_out == 0 {
            r.first_tx = skb.sent;
            r.delivered_mstamp = Some(skb.sent);
        }
        skb.tx.first_tx = r.first_tx;
        skb.tx.delivered_mstamp = r.delivered_mstamp;
        skb.tx.delivered = r.delivered;
        skb.tx.is_app_limited = r.app_limited != 0;
    }

    /// `tcp_rate_skb_delivered`: of all entries an ACK delivers, the one sent last makes the sample.
    pub(crate) fn rate_delivered(&mut self, skb: &Skb, sample: &mut RateSample) {
        let Some(prior) = skb.tx.delivered_mstamp else { return };
        let r = &mut self.recovery;
        let later = skb.sent > r.first_tx
            || (skb.sent == r.first_tx && skb.end_seq.after(SeqNum(sample.last_end_seq.0)));
        if sample.prior_mstamp.is_some() && sample.prior_delivered != 0 && !later {
            return;
        }
        sample.prior_delivered = skb.tx.delivered;
        sample.prior_mstamp = Some(prior);
        sample.is_app_limited = skb.tx.is_app_limited;
        sample.is_retrans = skb.sacked.retrans || skb.sacked.ever_retrans;
        sample.last_end_seq = skb.end_seq;
        r.first_tx = skb.sent;
        sample.interval = Some(skb.sent - skb.tx.first_tx);
    }

    /// `tcp_rate_gen`: completes the sample.
    pub(crate) fn rate_generate(&mut self, cx: &Cx<'_>, delivered: u32, lost: u32, sample: &mut RateSample) {
        let min_rtt = self.rtt.min_rtt.value();
        let r = &mut self.recovery;
        if r.app_limited != 0 && (r.delivered.wrapping_sub(r.app_limited) as i32) > 0 {
            r.app_limited = 0;
        }
        if delivered > 0 {
            r.delivered_mstamp = Some(cx.now);
        }
        sample.acked_sacked = delivered;
        sample.losses = lost;
        let Some(prior) = sample.prior_mstamp.filter(|_| !r.is_sack_reneg) else {
            sample.delivered = -1;
            sample.interval = None;
            return;
        };
        sample.delivered = r.delivered.wrapping_sub(sample.prior_delivered) as i32; // forward
        let interval = sample.interval.unwrap_or_default().max(cx.now - prior);
        let us = u32::try_from(interval.as_micros()).unwrap_or(u32::MAX);
        if min_rtt.is_none_or(|m| us < m) {
            sample.interval = None; // shorter than a round trip: not a measurement
            return;
        }
        sample.interval = Some(interval);
        let faster = u64::from(sample.delivered.unsigned_abs()) * u64::from(r.rate_interval_us)
            >= u64::from(r.rate_delivered) * u64::from(us);
        if !sample.is_app_limited || faster {
            r.rate_delivered = sample.delivered.unsigned_abs();
            r.rate_interval_us = us;
            r.rate_app_limited = sample.is_app_limited;
        }
    }

    /// `tcp_rate_check_app_limited`: the application has nothing to send although it could.
    pub(crate) fn rate_check_app_limited(&mut self) {
        let unsent = (self.snd.write_seq - self.snd.nxt) as u32; // forward
        if unsent < u32::from(self.mss)
            && self.in_flight() < self.window.cwnd
            && self.recovery.lost_out <= self.recovery.retrans_out
        {
            self.recovery.app_limited = self.recovery.delivered.wrapping_add(self.in_flight()).max(1);
        }
    }

    /// `tcp_update_pacing_rate`: a rate that pacing qdiscs and the size of super-segments follow.
    pub(crate) fn update_pacing_rate(&mut self, cx: &Cx<'_>) {
        let percent = if self.window.cwnd < self.window.ssthresh / 2 {
            cx.sysctl.tcp_pacing_ss_ratio
        } else {
            cx.sysctl.tcp_pacing_ca_ratio
        };
        debug_assert!(self.window.ssthresh <= INFINITE_SSTHRESH, "a threshold is a window");
        let percent = u64::try_from(percent).unwrap_or(100);
        let packets = u64::from(self.window.cwnd.max(self.recovery.packets_out));
        // mss · (percent/100) · packets / srtt, with srtt in eighths of microseconds.
        let srtt = u64::from(self.rtt.srtt_us8).max(1);
        let bytes = u64::from(self.mss) * 80_000 * packets; // 16, 17 and 31 bits at most
        let rate = match bytes.checked_mul(percent) {
            Some(product) => product / srtt,
            None => {
                let rate = u128::from(bytes) * u128::from(percent) / u128::from(srtt);
                u64::try_from(rate).unwrap_or(u64::MAX)
            }
        };
        self.pacing_rate = rate.min(self.user.max_pacing_rate.unwrap_or(u64::MAX));
    }

    /// Whether the delivered rate is worth showing (`tcpi_delivery_rate`), bytes a second.
    pub(crate) fn delivery_rate(&self) -> u64 {
        let r = &self.recovery;
        if r.rate_interval_us == 0 {
            return 0;
        }
        u64::from(r.rate_delivered) * u64::from(self.mss) * 1_000_000 / u64::from(r.rate_interval_us)
    }
}
