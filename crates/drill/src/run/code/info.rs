//! The kernel's structures about a connection as named numbers.

/// Where a member of `struct tcp_info` lies: offset and bytes.
const TCP_INFO: &[(&str, usize, usize)] = &[
    ("tcpi_state", 0, 1),
    ("tcpi_ca_state", 1, 1),
    ("tcpi_retransmits", 2, 1),
    ("tcpi_probes", 3, 1),
    ("tcpi_backoff", 4, 1),
    ("tcpi_options", 5, 1),
    ("tcpi_rto", 8, 4),
    ("tcpi_ato", 12, 4),
    ("tcpi_snd_mss", 16, 4),
    ("tcpi_rcv_mss", 20, 4),
    ("tcpi_unacked", 24, 4),
    ("tcpi_sacked", 28, 4),
    ("tcpi_lost", 32, 4),
    ("tcpi_retrans", 36, 4),
    ("tcpi_fackets", 40, 4),
    ("tcpi_last_data_sent", 44, 4),
    ("tcpi_last_ack_sent", 48, 4),
    ("tcpi_last_data_recv", 52, 4),
    ("tcpi_last_ack_recv", 56, 4),
    ("tcpi_pmtu", 60, 4),
    ("tcpi_rcv_ssthresh", 64, 4),
    ("tcpi_rtt", 68, 4),
    ("tcpi_rttvar", 72, 4),
    ("tcpi_snd_ssthresh", 76, 4),
    ("tcpi_snd_cwnd", 80, 4),
    ("tcpi_advmss", 84, 4),
    ("tcpi_reordering", 88, 4),
    ("tcpi_rcv_rtt", 92, 4),
    ("tcpi_rcv_space", 96, 4),
    ("tcpi_total_retrans", 100, 4),
    ("tcpi_pacing_rate", 104, 8),
    ("tcpi_max_pacing_rate", 112, 8),
    ("tcpi_bytes_acked", 120, 8),
    ("tcpi_bytes_received", 128, 8),
    ("tcpi_segs_out", 136, 4),
    ("tcpi_segs_in", 140, 4),
    ("tcpi_notsent_bytes", 144, 4),
    ("tcpi_min_rtt", 148, 4),
    ("tcpi_data_segs_in", 152, 4),
    ("tcpi_data_segs_out", 156, 4),
    ("tcpi_delivery_rate", 160, 8),
    ("tcpi_busy_time", 168, 8),
    ("tcpi_rwnd_limited", 176, 8),
    ("tcpi_sndbuf_limited", 184, 8),
    ("tcpi_delivered", 192, 4),
    ("tcpi_delivered_ce", 196, 4),
    ("tcpi_bytes_sent", 200, 8),
    ("tcpi_bytes_retrans", 208, 8),
    ("tcpi_dsack_dups", 216, 4),
    ("tcpi_reord_seen", 220, 4),
    ("tcpi_rcv_ooopack", 224, 4),
    ("tcpi_snd_wnd", 228, 4),
    ("tcpi_rcv_wnd", 232, 4),
    ("tcpi_rehash", 236, 4),
    ("tcpi_total_rto", 240, 2),
    ("tcpi_total_rto_recoveries", 242, 2),
    ("tcpi_total_rto_time", 244, 4),
    ("tcpi_received_ce", 248, 4),
    ("tcpi_delivered_e1_bytes", 252, 4),
    ("tcpi_delivered_e0_bytes", 256, 4),
    ("tcpi_delivered_ce_bytes", 260, 4),
    ("tcpi_received_e1_bytes", 264, 4),
    ("tcpi_received_e0_bytes", 268, 4),
    ("tcpi_received_ce_bytes", 272, 4),
];

/// Constants that are variables in code blocks.
const CONSTANTS: &[(&str, u64)] = &[
    ("TCP_ESTABLISHED", 1),
    ("TCP_SYN_SENT", 2),
    ("TCP_SYN_RECV", 3),
    ("TCP_FIN_WAIT1", 4),
    ("TCP_FIN_WAIT2", 5),
    ("TCP_TIME_WAIT", 6),
    ("TCP_CLOSE", 7),
    ("TCP_CLOSE_WAIT", 8),
    ("TCP_LAST_ACK", 9),
    ("TCP_LISTEN", 10),
    ("TCP_CLOSING", 11),
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
    vars.extend(TCP_INFO.iter().map(|(name, at, len)| (*name, number(bytes, *at, *len))));
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
