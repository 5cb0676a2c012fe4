//! Small segments: Nagle's algorithm with Minshall's change, cork, and super-segments that wait for more.
//!
//! RFC 9293 §3.7.4 (SHLD-7). Linux: tcp_output.c `tcp_nagle_test`, `tcp_nagle_check`, `tcp_mss_split_point`,
//! `tcp_tso_should_defer`, `tcp_tso_autosize`.

use core::time::Duration;

use wire::tcp::SeqNum;

use super::cc::CaState;
use super::cx::Cx;
use super::tcb::{Nagle, Tcb};
use crate::KernelProfile;

/// `sk_gso_max_size`: `GSO_LEGACY_MAX_SIZE` less the largest header.
const GSO_MAX_SIZE: u64 = 65_536 - 193;
/// `sk_pacing_shift`: about a millisecond's worth of data in one super-segment.
const PACING_SHIFT: u32 = 10;

impl Tcb {
    /// `tcp_nagle_check`: must a partial segment wait?
    fn nagle_holds(&self, partial: bool, rule: Nagle) -> bool {
        // Minshall: only while a small segment is unacknowledged.
        let small_out = self.snd.sml.after(self.snd.una) && !self.snd.sml.after(self.snd.nxt);
        partial && (rule.cork || (!rule.off && self.recovery.packets_out > 0 && small_out))
    }

    /// `tcp_nagle_test`: may the first unsent entry, a single segment, leave?
    pub(crate) fn nagle_test(&self, mss: u16, rule: Nagle) -> bool {
        let Some(head) = self.unsent.front() else { return false };
        rule.push
            || self.urgent_mode()
            || head.flags.fin()
            || !self.nagle_holds(head.len() < u32::from(mss), rule)
    }

    /// `tcp_tso_segs`: the most packets of one super-segment.
    pub(crate) fn tso_segs(&self, cx: &Cx<'_>, mss: u16) -> u32 {
        let least = self.cc.min_tso_segs(self.pacing_rate, u32::from(cx.sysctl.tcp_min_tso_segs));
        let mut bytes = self.pacing_rate >> PACING_SHIFT;
        let rtt = self.rtt.min_rtt.value().unwrap_or(u32::MAX) >> cx.sysctl.tcp_tso_rtt_log.min(31);
        if rtt < 32 {
            // Short paths take larger bursts.
            bytes += GSO_MAX_SIZE >> rtt;
        }
        let bytes = bytes.min(GSO_MAX_SIZE);
        u32::try_from(bytes / u64::from(mss.max(1))).expect("at most 64 KiB").max(least)
    }

    /// `tcp_mss_split_point`: how much of the first entry may leave now, in whole segments where it matters.
    pub(crate) fn mss_split_point(&self, mss: u16, max_segs: u32, rule: Nagle, wnd_end: SeqNum) -> u32 {
        let head = self.unsent.front().expect("the caller looked at it");
        let window = (wnd_end - head.seq) as u32; // positive: the window test passed
        let max_len = u32::from(mss) * max_segs;
        if max_len <= window && self.unsent.len() > 1 {
            return max_len;
        }
        let needed = head.len().min(window);
        if max_len <= needed {
            return max_len;
        }
        let partial = needed % u32::from(mss);
        if self.nagle_holds(partial != 0, rule) { needed - partial } else { needed }
    }

    /// `tcp_tso_should_defer`: wait for a larger super-segment when an ACK is about to come.
    pub(crate) fn tso_should_defer(
        &self,
        cx: &Cx<'_>,
        mss: u16,
        max_segs: u32,
        cwnd_limited: &mut bool,
        rwnd_limited: &mut bool,
    ) -> bool {
        if self.recovery.ca_state >= CaState::Recovery {
            return false;
        }
        let head = self.unsent.front().expect("the caller looked at it");
        let is_tail = self.unsent.len() == 1;
        // Defer only while writing goes on.
        if cx.now > self.next_departure.max(self.last_sent) + Duration::from_millis(1) {
            return false;
        }
        let in_flight = self.in_flight();
        let send_win = (self.wnd_end() - head.seq) as u32; // positive
        let cong_win = self.window.cwnd.saturating_sub(in_flight).saturating_mul(u32::from(mss));
        let limit = send_win.min(cong_win);
        if limit >= max_segs * u32::from(mss) || (!is_tail && limit >= head.len()) {
            return false;
        }
        let divisor = u32::from(cx.sysctl.tcp_tso_win_divisor);
        let window = self.snd.wnd.min(self.window.cwnd.saturating_mul(u32::from(mss)));
        let enough = match window.checked_div(divisor) {
            Some(chunk) => limit >= chunk,
            None => limit > 3 * u32::from(mss),
        };
        if enough {
            return false;
        }
        let Some(oldest) = self.rtx.head() else { return false };
        let srtt = Duration::from_nanos(u64::from(self.rtt.srtt_us8) * 125);
        let too_late = if cx.profile >= KernelProfile::V6_12 {
            // Expected in more than half a round trip, or 1 ms (6.18, and 6.12 since .56).
            (oldest.sent + srtt).as_nanos()
                > cx.now.as_nanos() + (srtt / 2).min(Duration::from_millis(1)).as_nanos() as u64
        } else {
            cx.now - oldest.sent < srtt / 2
        };
        if too_late {
            return false;
        }
        if cong_win < send_win {
            if cong_win <= head.len() {
                *cwnd_limited = true;
                return true;
            }
        } else if send_win <= head.len() {
            *rwnd_limited = true;
            return true;
        }
        !(head.flags.fin() || head.eor)
    }

    /// `tcp_xmit_size_goal`: how many bytes one entry of the send queue shall take.
    pub(crate) fn size_goal(&mut self, mss: u16) -> u32 {
        let bound = self.bound_to_half_window(u32::try_from(GSO_MAX_SIZE).expect("64 KiB"));
        let mss = u32::from(mss);
        let goal = u32::from(self.gso_segs) * mss;
        if bound < goal || bound >= goal + mss {
            self.gso_segs = u16::try_from((bound / mss).max(1)).expect("at most 64 KiB");
        }
        (u32::from(self.gso_segs) * mss).max(mss)
    }

    /// `tcp_bound_to_half_wnd`
    pub(crate) fn bound_to_half_window(&self, size: u32) -> u32 {
        let cutoff = if self.snd.max_window > 536 { self.snd.max_window >> 1 } else { self.snd.max_window };
        if cutoff > 0 && size > cutoff { cutoff.max(68 - 20) } else { size }
    }
}
