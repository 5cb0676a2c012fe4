//! The kernel's structures about a connection as named numbers.

use stack::call::text::TCP_INFO_FIELDS;

use crate::symbols::TCP_STATES;

/// Constants that are variables in code blocks.
const CONSTANTS: &[(&str, u64)] = &[
    ("TCP_CA_Open", 0),
    ("TCP_CA_Disorder", 1),
    ("TCP_CA_CWR", 2),
    ("TCP_CA_Recovery", 3),
    ("TCP_CA_Loss", 4),
    ("TCPI_OPT_TIMESTAMPS", 1),
    ("TCPI_OPT_SACK", 2),
    ("TCPI_OPT_WSCALE", 4),
    ("TCPI_OPT_ECN", 8),
    ("TCPI_OPT_ECN_SEEN", 16),
    ("TCPI_OPT_SYN_DATA", 32),
    ("TCPI_OPT_USEC_TS", 64),
    ("TCPI_OPT_TFO_CHILD", 128),
    ("TCP_INFINITE_SSTHRESH", 0x7fff_ffff),
];

const MEMINFO: [&str; 9] = [
    "SK_MEMINFO_RMEM_ALLOC",
    "SK_MEMINFO_RCVBUF",
    "SK_MEMINFO_WMEM_ALLOC",
    "SK_MEMINFO_SNDBUF",
    "SK_MEMINFO_FWD_ALLOC",
    "SK_MEMINFO_WMEM_QUEUED",
    "SK_MEMINFO_OPTMEM",
    "SK_MEMINFO_BACKLOG",
    "SK_MEMINFO_DROPS",
];

type Vars = Vec<(&'static str, u64)>;

/// A number of up to eight bytes; what an older kernel leaves out is 0.
fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    let mut eight = [0; 8];
    if let Some(found) = bytes.get(at..at + len) {
        eight[..len].copy_from_slice(found);
    }
    u64::from_ne_bytes(eight)
}

/// `struct tcp_info`, with the constants that go with it.
pub(super) fn tcp_info(bytes: &[u8]) -> Vars {
    let mut vars: Vars = CONSTANTS.to_vec();
    vars.extend(TCP_STATES.iter().map(|(name, n)| (*name, n.cast_unsigned())));
    vars.extend(TCP_INFO_FIELDS.iter().map(|(name, at, len)| (*name, number(bytes, *at, *len))));
    let wscale = number(bytes, 6, 1);
    vars.push(("tcpi_snd_wscale", wscale & 15));
    vars.push(("tcpi_rcv_wscale", wscale >> 4));
    let bits = number(bytes, 7, 1);
    vars.push(("tcpi_delivery_rate_app_limited", bits & 1));
    vars.push(("tcpi_fastopen_client_fail", bits >> 1 & 3));
    // Linux 6.18: one word of bit fields after the AccECN counters.
    let ecn = number(bytes, 276, 4);
    vars.push(("tcpi_ecn_mode", ecn & 3));
    vars.push(("tcpi_accecn_opt_seen", ecn >> 2 & 3));
    vars.push(("tcpi_accecn_fail_mode", ecn >> 4 & 15));
    vars.push(("tcpi_options2", ecn >> 8));
    vars
}

/// `union tcp_cc_info`, by the name of the congestion control.
pub(super) fn cc_info(name: &str, b: &[u8]) -> Vars {
    match name {
        "bbr" => vec![
            ("bbr_bw_lo", number(b, 0, 4)),
            ("bbr_bw_hi", number(b, 4, 4)),
            ("bbr_bw", number(b, 0, 8)),
            ("bbr_min_rtt", number(b, 8, 4)),
            ("bbr_pacing_gain", number(b, 12, 4)),
            ("bbr_cwnd_gain", number(b, 16, 4)),
        ],
        "dctcp" => vec![
            ("dctcp_enabled", number(b, 0, 2)),
            ("dctcp_ce_state", number(b, 2, 2)),
            ("dctcp_alpha", number(b, 4, 4)),
            ("dctcp_ab_ecn", number(b, 8, 4)),
            ("dctcp_ab_tot", number(b, 12, 4)),
        ],
        "vegas" => vec![
            ("tcpv_enabled", number(b, 0, 4)),
            ("tcpv_rttcnt", number(b, 4, 4)),
            ("tcp_rtt", number(b, 8, 4)),
            ("tcp_minrtt", number(b, 12, 4)),
        ],
        _ => Vec::new(),
    }
}

/// `SO_MEMINFO`
pub(super) fn meminfo(bytes: &[u8]) -> Vars {
    MEMINFO.iter().enumerate().map(|(n, name)| (*name, number(bytes, 4 * n, 4))).collect()
}
