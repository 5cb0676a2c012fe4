//! Middleboxes that let the handshake with data in the SYN pass and swallow what follows: Fast Open is paused on the
//! whole host, for an hour times a power of two in the kernel's own default, for
//! `tcp_fastopen_blackhole_timeout_sec` (0: never) here as there.
//!
//! Linux: tcp_fastopen.c `tcp_fastopen_active_disable`, `tcp_fastopen_active_should_disable`,
//! `tcp_fastopen_active_disable_ofo_check`, `tcp_fastopen_active_detect_blackhole`.

use wire::Instant;

use crate::mib::Counter;
use crate::tcp::cx::Cx;
use crate::tcp::tcb::Tcb;

/// The pause lasts at most 2^6 times the sysctl.
const MAX_SHIFT: u32 = 6;

/// A host's memory of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blackhole {
    /// `tfo_active_disable_times`
    times: u32,
    /// `tfo_active_disable_stamp`
    since: Instant,
}

impl Tcb {
    /// `tcp_fastopen_active_disable`
    pub(crate) fn fastopen_disable(cx: &mut Cx<'_>) {
        if cx.sysctl.tcp_fastopen_blackhole_timeout_sec.is_zero() {
            return;
        }
        cx.peers.blackhole.since = cx.now;
        cx.peers.blackhole.times += 1;
        cx.count(Counter::TcpExtTCPFastOpenBlackhole);
    }

    /// `tcp_fastopen_active_should_disable`
    pub(super) fn fastopen_paused(&mut self, cx: &Cx<'_>) -> bool {
        let pause = cx.sysctl.tcp_fastopen_blackhole_timeout_sec;
        let Blackhole { times, since } = cx.peers.blackhole;
        if pause.is_zero() || times == 0 {
            return false;
        }
        if cx.now < since + pause * (1 << (times - 1).min(MAX_SHIFT)) {
            return true;
        }
        self.fo.on_probation = true;
        false
    }

    /// `tcp_fastopen_active_detect_blackhole`: the third timeout in a row, or the last.
    pub(crate) fn fastopen_detect_blackhole(&mut self, cx: &mut Cx<'_>, expired: bool) {
        let used = self.fo.option_sent || self.fo.syn_data || self.fo.syn_data_acked;
        if used && (self.retransmits == 2 || (self.retransmits < 2 && expired)) {
            Self::fastopen_disable(cx);
            cx.count(Counter::TcpExtTCPFastOpenActiveFail);
        }
    }

    /// `tcp_fastopen_active_disable_ofo_check`, when a connection goes: all that came was a FIN beyond a hole; or data
    /// came and Fast Open is good again.
    pub(crate) fn fastopen_closing_check(&self, cx: &mut Cx<'_>, loopback: bool) {
        if !self.fo.option_sent {
            return;
        }
        if self.totals.data_segs_in == 0 {
            if self.rx.out_of_order.len() == 1 && self.rx.out_of_order[0].fin {
                Self::fastopen_disable(cx);
            }
        } else if self.fo.on_probation && !loopback {
            cx.peers.blackhole.times = 0;
        }
    }
}
