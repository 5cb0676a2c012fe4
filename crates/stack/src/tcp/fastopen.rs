//! Fast Open state of one connection (RFC 7413). Linux: net/ipv4/tcp_fastopen.c.

use super::cx::Cx;
use super::tcb::Tcb;

/// Whether data travelled with the SYN.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SynData {
    /// A server's connection made from a SYN with a valid cookie, whose handshake is not complete yet.
    pub(crate) pending: bool,
    /// The SYN carried data (`syn_data`), and the peer took it (`syn_data_acked`).
    pub(crate) sent: bool,
    pub(crate) acked: bool,
}

impl SynData {
    /// `fastopen_rsk != NULL`
    pub(crate) fn server_pending(self) -> bool {
        self.pending
    }
}

impl Tcb {
    /// `tcp_fastopen_active_detect_blackhole`: a middlebox that swallows SYNs with data.
    pub(crate) fn fastopen_detect_blackhole(&mut self, cx: &mut Cx<'_>, expired: bool) {
        if self.syn_data.sent && !self.syn_data.acked && (self.retransmits == 2 || expired) {
            cx.fastopen_blackhole = true;
        }
    }
}
