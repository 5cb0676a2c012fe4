//! What the options of the handshake offer and agree on. Linux: tcp_output.c `tcp_syn_options`,
//! `tcp_synack_options`; tcp_input.c `tcp_parse_options`.

use wire::tcp::{OptionSet, Options, Timestamps};

use super::cx::Cx;
use super::skb::Skb;
use super::tcb::Tcb;
use crate::sysctl::Globals;

/// `TCP_MSS_DEFAULT`: the peer sent no MSS option (RFC 9293 §3.7.1, MUST-15).
pub(crate) const DEFAULT_MSS: u16 = 536;
/// The same with IPv6: what its least MTU holds.
const DEFAULT_MSS_V6: u16 = 1280 - 60;
/// `TCP_MIN_GSO_SIZE`, least MSS that is believed.
const LEAST_MSS: u16 = 48;

/// The MSS of a peer that does not say one.
pub(crate) fn default_mss(remote: std::net::IpAddr) -> u16 {
    if remote.is_ipv4() { DEFAULT_MSS } else { DEFAULT_MSS_V6 }
}

/// What a SYN or SYN-ACK offered, with what we would not use taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) mss: u16,
    pub(crate) wscale: Option<u8>,
    pub(crate) sack: bool,
    pub(crate) timestamps: Option<Timestamps>,
}

impl Offered {
    /// Reads the options of a segment with SYN. `user_mss` is `TCP_MAXSEG`, 0 for none; `absent` holds when there is
    /// no MSS option.
    pub(crate) fn read(options: &Options, sysctl: &Globals, user_mss: u16, absent: u16) -> Offered {
        let mss = match options.mss().filter(|m| *m > 0) {
            Some(mss) if user_mss > 0 => mss.min(user_mss),
            Some(mss) => mss,
            None => absent,
        };
        Offered {
            mss: mss.max(LEAST_MSS),
            wscale: options.window_scale().filter(|_| sysctl.tcp_window_scaling != 0).map(|s| s.min(14)),
            sack: options.sack_permitted() && sysctl.tcp_sack != 0,
            timestamps: options.timestamps().filter(|_| sysctl.tcp_timestamps != 0),
        }
    }
}

impl Tcb {
    /// Options of our SYN, or of the SYN-ACK of a simultaneous open.
    pub(crate) fn syn_options(&self, cx: &Cx<'_>, skb: &Skb) -> Options {
        let ack = skb.flags.contains(wire::tcp::Flags::ACK);
        let sysctl = cx.sysctl;
        // Where SYNs cross, the SYN, ACK repeats what the SYN offered, whatever the peer did (the atlas, 6.18.44).
        let timestamps = sysctl.tcp_timestamps != 0;
        let sack = sysctl.tcp_sack != 0;
        let wscale = sysctl.tcp_window_scaling != 0;
        let set = OptionSet {
            mss: Some(self.rcv.advmss),
            sack_permitted: sack,
            timestamps: timestamps
                .then(|| Timestamps { val: cx.clock_ms().wrapping_add(self.ts.offset), ecr: self.ts.recent }),
            window_scale: wscale.then_some(self.rcv.wscale),
            fast_open: if ack { None } else { self.fo.request.as_ref().and_then(|r| r.option()) },
            ..OptionSet::default()
        };
        set.build().expect("a SYN's options fit 40 bytes")
    }
}
