//! A host's settings that belong to no interface: `net.core.*`, `net.ipv4.*`, `net.ipv6.*`.
//!
//! Linux: net/core/sysctl_net_core.c, net/ipv4/sysctl_net_ipv4.c, net/ipv4/route.c, net/ipv6/sysctl_net_ipv6.c,
//! net/ipv6/route.c, net/ipv6/icmp.c. Bounds: TRUTH.md §12 (12b) and those files.

use core::time::Duration;

use super::value::{BOOL, Codec, INT, NON_NEGATIVE, U8, UINT, sysctls};
use crate::KernelProfile;

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// `0..=n`.
const fn up_to(n: i64) -> Codec {
    Codec::Int(0, n)
}

const ULONG: Codec = Codec::Int(0, i64::MAX);
const PORT: Codec = Codec::Int(0, 65535);

sysctls! {
    /// Settings of the whole host; the values are 6.18's. Those of other kernels: [`Globals::of`].
    pub struct Globals {
        "net.core.message_burst" message_burst: i32 = 10, INT;
        "net.core.message_cost" message_cost: Duration = secs(5), Codec::Seconds;
        "net.core.netdev_max_backlog" netdev_max_backlog: i32 = 1000, INT;
        "net.core.optmem_max" optmem_max: i32 = 131_072, NON_NEGATIVE;
        "net.core.rmem_default" rmem_default: i32 = 212_992, Codec::Int(2304, i32::MAX as i64);
        "net.core.rmem_max" rmem_max: i32 = 4_194_304, Codec::Int(2304, i32::MAX as i64);
        "net.core.somaxconn" somaxconn: i32 = 4096, NON_NEGATIVE;
        "net.core.txrehash" txrehash: u8 = 1, BOOL;
        "net.core.wmem_default" wmem_default: i32 = 212_992, Codec::Int(4608, i32::MAX as i64);
        "net.core.wmem_max" wmem_max: i32 = 4_194_304, Codec::Int(4608, i32::MAX as i64);

        "net.ipv4.icmp_echo_enable_probe" icmp_echo_enable_probe: u8 = 0, Codec::Int(0, 0);
        "net.ipv4.icmp_echo_ignore_all" icmp_echo_ignore_all: u8 = 0, BOOL;
        "net.ipv4.icmp_echo_ignore_broadcasts" icmp_echo_ignore_broadcasts: u8 = 1, BOOL;
        "net.ipv4.icmp_errors_use_inbound_ifaddr" icmp_errors_use_inbound_ifaddr: u8 = 0, BOOL;
        "net.ipv4.icmp_ignore_bogus_error_responses" icmp_ignore_bogus_error_responses: u8 = 1, BOOL;
        "net.ipv4.icmp_msgs_burst" icmp_msgs_burst: i32 = 50, NON_NEGATIVE;
        "net.ipv4.icmp_msgs_per_sec" icmp_msgs_per_sec: i32 = 1000, NON_NEGATIVE;
        "net.ipv4.icmp_ratelimit" icmp_ratelimit: i32 = 1000, NON_NEGATIVE;
        "net.ipv4.icmp_ratemask" icmp_ratemask: u32 = 6168, UINT;
        "net.ipv4.igmp_link_local_mcast_reports" igmp_link_local_mcast_reports: u8 = 1, BOOL;
        "net.ipv4.igmp_max_memberships" igmp_max_memberships: i32 = 20, INT;
        "net.ipv4.igmp_max_msf" igmp_max_msf: i32 = 10, INT;
        "net.ipv4.igmp_qrv" igmp_qrv: i32 = 2, Codec::Int(1, i32::MAX as i64);
        "net.ipv4.ip_default_ttl" ip_default_ttl: u8 = 64, Codec::Int(1, 255);
        "net.ipv4.ip_early_demux" ip_early_demux: u8 = 1, U8;
        "net.ipv4.ip_forward_update_priority" ip_forward_update_priority: u8 = 1, BOOL;
        "net.ipv4.ip_forward_use_pmtu" ip_forward_use_pmtu: u8 = 0, U8;
        "net.ipv4.ip_local_port_range" ip_local_port_range: [i64; 2] = [32768, 60999], PORT;
        "net.ipv4.ip_local_reserved_ports" ip_local_reserved_ports: String = String::new(), Codec::Text;
        "net.ipv4.ip_no_pmtu_disc" ip_no_pmtu_disc: u8 = 0, up_to(3);
        "net.ipv4.ip_nonlocal_bind" ip_nonlocal_bind: u8 = 0, BOOL;
        "net.ipv4.ip_autobind_reuse" ip_autobind_reuse: u8 = 0, BOOL;
        "net.ipv4.ip_unprivileged_port_start" ip_unprivileged_port_start: i32 = 1024, PORT;
        "net.ipv4.ipfrag_high_thresh" ipfrag_high_thresh: u64 = 4_194_304, ULONG;
        "net.ipv4.ipfrag_low_thresh" ipfrag_low_thresh: u64 = 3_145_728, ULONG;
        "net.ipv4.ipfrag_max_dist" ipfrag_max_dist: i32 = 64, NON_NEGATIVE;
        "net.ipv4.ipfrag_time" ipfrag_time: Duration = secs(30), Codec::Seconds;
        "net.ipv4.ping_group_range" ping_group_range: [i64; 2] = [1, 0], ULONG;

        "net.ipv4.route.gc_timeout" route_gc_timeout: Duration = secs(300), Codec::Seconds;
        "net.ipv4.route.error_burst" route_error_burst: Duration = Duration::from_millis(5_000), Codec::ReadOnly;
        "net.ipv4.route.error_cost" route_error_cost: Duration = Duration::from_millis(1_000), Codec::ReadOnly;
        "net.ipv4.route.min_adv_mss" route_min_adv_mss: i32 = 256, NON_NEGATIVE;
        "net.ipv4.route.min_pmtu" route_min_pmtu: u32 = 552, Codec::Int(68, i32::MAX as i64);
        "net.ipv4.route.mtu_expires" route_mtu_expires: Duration = secs(600), Codec::Seconds;
        "net.ipv4.route.redirect_load" route_redirect_load: Duration = Duration::from_millis(20), Codec::ReadOnly;
        "net.ipv4.route.redirect_number" route_redirect_number: i32 = 9, INT;
        "net.ipv4.route.redirect_silence" route_redirect_silence: Duration = Duration::from_millis(20_480), Codec::ReadOnly;

        "net.ipv4.tcp_abort_on_overflow" tcp_abort_on_overflow: u8 = 0, U8;
        "net.ipv4.tcp_adv_win_scale" tcp_adv_win_scale: i32 = 1, Codec::Int(-31, 31);
        "net.ipv4.tcp_allowed_congestion_control" tcp_allowed_congestion_control: String = "reno cubic bbr".into(), Codec::Text;
        "net.ipv4.tcp_app_win" tcp_app_win: u8 = 31, up_to(31);
        "net.ipv4.tcp_autocorking" tcp_autocorking: u8 = 1, BOOL;
        "net.ipv4.tcp_available_congestion_control" tcp_available_congestion_control: String = "reno cubic bbr".into(), Codec::ReadOnly;
        "net.ipv4.tcp_backlog_ack_defer" tcp_backlog_ack_defer: u8 = 1, BOOL;
        "net.ipv4.tcp_base_mss" tcp_base_mss: i32 = 1024, INT;
        "net.ipv4.tcp_challenge_ack_limit" tcp_challenge_ack_limit: i32 = i32::MAX, INT;
        "net.ipv4.tcp_comp_sack_delay_ns" tcp_comp_sack_delay_ns: u64 = 1_000_000, ULONG;
        "net.ipv4.tcp_comp_sack_nr" tcp_comp_sack_nr: u8 = 44, U8;
        "net.ipv4.tcp_comp_sack_slack_ns" tcp_comp_sack_slack_ns: u64 = 100_000, ULONG;
        "net.ipv4.tcp_congestion_control" tcp_congestion_control: String = "cubic".into(), Codec::Text;
        "net.ipv4.tcp_dsack" tcp_dsack: u8 = 1, U8;
        "net.ipv4.tcp_early_demux" tcp_early_demux: u8 = 1, U8;
        "net.ipv4.tcp_early_retrans" tcp_early_retrans: u8 = 3, up_to(4);
        "net.ipv4.tcp_ecn" tcp_ecn: u8 = 2, up_to(2);
        "net.ipv4.tcp_ecn_fallback" tcp_ecn_fallback: u8 = 1, BOOL;
        "net.ipv4.tcp_ecn_option" tcp_ecn_option: u8 = 2, up_to(2);
        "net.ipv4.tcp_ecn_option_beacon" tcp_ecn_option_beacon: u8 = 3, up_to(3);
        // Kept, and without effect since 4.15.
        "net.ipv4.tcp_fack" tcp_fack: i32 = 0, INT;
        "net.ipv4.tcp_fastopen" tcp_fastopen: i32 = 1, INT;
        "net.ipv4.tcp_fastopen_blackhole_timeout_sec" tcp_fastopen_blackhole_timeout_sec: Duration = secs(0), Codec::Seconds;
        "net.ipv4.tcp_fastopen_key" tcp_fastopen_key: crate::tcp::fastopen::keys::Keys = crate::tcp::fastopen::keys::Keys::default(), Codec::Text;
        "net.ipv4.tcp_fin_timeout" tcp_fin_timeout: Duration = secs(60), Codec::Seconds;
        "net.ipv4.tcp_frto" tcp_frto: u8 = 2, U8;
        "net.ipv4.tcp_invalid_ratelimit" tcp_invalid_ratelimit: Duration = Duration::from_millis(500), Codec::Millis;
        "net.ipv4.tcp_keepalive_intvl" tcp_keepalive_intvl: Duration = secs(75), Codec::Seconds;
        "net.ipv4.tcp_keepalive_probes" tcp_keepalive_probes: u8 = 9, U8;
        "net.ipv4.tcp_keepalive_time" tcp_keepalive_time: Duration = secs(7200), Codec::Seconds;
        "net.ipv4.tcp_limit_output_bytes" tcp_limit_output_bytes: i32 = 4_194_304, INT;
        "net.ipv4.tcp_max_orphans" tcp_max_orphans: i32 = 131_072, INT;
        "net.ipv4.tcp_max_reordering" tcp_max_reordering: i32 = 300, INT;
        "net.ipv4.tcp_max_syn_backlog" tcp_max_syn_backlog: i32 = 2048, INT;
        "net.ipv4.tcp_max_tw_buckets" tcp_max_tw_buckets: i32 = 131_072, INT;
        "net.ipv4.tcp_mem" tcp_mem: [i64; 3] = [287_898, 383_867, 575_796], ULONG;
        "net.ipv4.tcp_migrate_req" tcp_migrate_req: u8 = 0, BOOL;
        "net.ipv4.tcp_min_rtt_wlen" tcp_min_rtt_wlen: i32 = 300, up_to(86400);
        "net.ipv4.tcp_min_snd_mss" tcp_min_snd_mss: i32 = 48, Codec::Int(48, 65535);
        "net.ipv4.tcp_min_tso_segs" tcp_min_tso_segs: u8 = 2, Codec::Int(1, 255);
        "net.ipv4.tcp_moderate_rcvbuf" tcp_moderate_rcvbuf: u8 = 1, U8;
        "net.ipv4.tcp_mtu_probe_floor" tcp_mtu_probe_floor: i32 = 48, Codec::Int(48, 65535);
        "net.ipv4.tcp_mtu_probing" tcp_mtu_probing: u8 = 0, U8;
        "net.ipv4.tcp_no_metrics_save" tcp_no_metrics_save: u8 = 0, U8;
        "net.ipv4.tcp_no_ssthresh_metrics_save" tcp_no_ssthresh_metrics_save: u8 = 1, BOOL;
        "net.ipv4.tcp_notsent_lowat" tcp_notsent_lowat: u32 = u32::MAX, UINT;
        "net.ipv4.tcp_orphan_retries" tcp_orphan_retries: u8 = 0, U8;
        "net.ipv4.tcp_pacing_ca_ratio" tcp_pacing_ca_ratio: i32 = 120, up_to(1000);
        "net.ipv4.tcp_pacing_ss_ratio" tcp_pacing_ss_ratio: i32 = 200, up_to(1000);
        "net.ipv4.tcp_pingpong_thresh" tcp_pingpong_thresh: u8 = 1, Codec::Int(1, 255);
        "net.ipv4.tcp_probe_interval" tcp_probe_interval: u32 = 600, UINT;
        "net.ipv4.tcp_probe_threshold" tcp_probe_threshold: i32 = 8, INT;
        "net.ipv4.tcp_recovery" tcp_recovery: u8 = 1, U8;
        "net.ipv4.tcp_reflect_tos" tcp_reflect_tos: u8 = 0, BOOL;
        "net.ipv4.tcp_reordering" tcp_reordering: i32 = 3, INT;
        "net.ipv4.tcp_retrans_collapse" tcp_retrans_collapse: u8 = 1, U8;
        "net.ipv4.tcp_retries1" tcp_retries1: u8 = 3, U8;
        "net.ipv4.tcp_retries2" tcp_retries2: u8 = 15, U8;
        "net.ipv4.tcp_rfc1337" tcp_rfc1337: u8 = 0, U8;
        "net.ipv4.tcp_rmem" tcp_rmem: [i64; 3] = [4096, 131_072, 33_554_432], Codec::Int(1, i32::MAX as i64);
        "net.ipv4.tcp_rto_max_ms" tcp_rto_max_ms: i32 = 120_000, Codec::Int(1000, 120_000);
        "net.ipv4.tcp_rto_min_us" tcp_rto_min_us: i32 = 200_000, Codec::Int(1, i32::MAX as i64);
        "net.ipv4.tcp_sack" tcp_sack: u8 = 1, U8;
        "net.ipv4.tcp_shrink_window" tcp_shrink_window: u8 = 0, BOOL;
        "net.ipv4.tcp_slow_start_after_idle" tcp_slow_start_after_idle: u8 = 1, U8;
        "net.ipv4.tcp_stdurg" tcp_stdurg: u8 = 0, U8;
        "net.ipv4.tcp_syn_linear_timeouts" tcp_syn_linear_timeouts: u8 = 4, up_to(127);
        "net.ipv4.tcp_syn_retries" tcp_syn_retries: u8 = 6, Codec::Int(1, 127);
        "net.ipv4.tcp_synack_retries" tcp_synack_retries: u8 = 5, U8;
        "net.ipv4.tcp_syncookies" tcp_syncookies: u8 = 1, U8;
        "net.ipv4.tcp_thin_linear_timeouts" tcp_thin_linear_timeouts: u8 = 0, U8;
        "net.ipv4.tcp_timestamps" tcp_timestamps: u8 = 1, U8;
        "net.ipv4.tcp_tso_rtt_log" tcp_tso_rtt_log: u8 = 9, U8;
        "net.ipv4.tcp_tso_win_divisor" tcp_tso_win_divisor: u8 = 3, U8;
        "net.ipv4.tcp_tw_recycle" tcp_tw_recycle: u8 = 0, BOOL;
        "net.ipv4.tcp_tw_reuse" tcp_tw_reuse: u8 = 2, up_to(2);
        "net.ipv4.tcp_tw_reuse_delay" tcp_tw_reuse_delay: u32 = 1000, Codec::Int(1, 60_000);
        "net.ipv4.tcp_window_scaling" tcp_window_scaling: u8 = 1, U8;
        "net.ipv4.tcp_wmem" tcp_wmem: [i64; 3] = [4096, 16384, 4_194_304], Codec::Int(1, i32::MAX as i64);
        "net.ipv4.tcp_workaround_signed_windows" tcp_workaround_signed_windows: u8 = 0, U8;
        "net.ipv4.udp_early_demux" udp_early_demux: u8 = 1, U8;
        "net.ipv4.udp_mem" udp_mem: [i64; 3] = [575_799, 767_734, 1_151_598], ULONG;
        "net.ipv4.udp_rmem_min" udp_rmem_min: i32 = 4096, Codec::Int(1, i32::MAX as i64);
        "net.ipv4.udp_wmem_min" udp_wmem_min: i32 = 4096, Codec::Int(1, i32::MAX as i64);

        "net.ipv6.anycast_src_echo_reply" anycast_src_echo_reply: u8 = 0, BOOL;
        "net.ipv6.auto_flowlabels" auto_flowlabels: u8 = 1, up_to(3);
        "net.ipv6.bindv6only" bindv6only: u8 = 0, BOOL;
        "net.ipv6.icmp.echo_ignore_all" icmp6_echo_ignore_all: u8 = 0, BOOL;
        "net.ipv6.icmp.echo_ignore_anycast" icmp6_echo_ignore_anycast: u8 = 0, BOOL;
        "net.ipv6.icmp.echo_ignore_multicast" icmp6_echo_ignore_multicast: u8 = 0, BOOL;
        "net.ipv6.icmp.ratelimit" icmp6_ratelimit: Duration = Duration::from_millis(100), Codec::Millis;
        "net.ipv6.icmp.ratemask" icmp6_ratemask: String = "0-1,3-127".into(), Codec::Text;
        "net.ipv6.ip6frag_high_thresh" ip6frag_high_thresh: u64 = 4_194_304, ULONG;
        "net.ipv6.ip6frag_low_thresh" ip6frag_low_thresh: u64 = 3_145_728, ULONG;
        "net.ipv6.ip6frag_time" ip6frag_time: Duration = secs(60), Codec::Seconds;
        "net.ipv6.ip_nonlocal_bind" ip6_nonlocal_bind: u8 = 0, BOOL;
        "net.ipv6.max_dst_opts_length" max_dst_opts_length: i32 = i32::MAX, INT;
        "net.ipv6.max_dst_opts_number" max_dst_opts_number: i32 = 8, INT;
        "net.ipv6.max_hbh_length" max_hbh_length: i32 = i32::MAX, INT;
        "net.ipv6.max_hbh_opts_number" max_hbh_opts_number: i32 = 8, INT;
        "net.ipv6.mld_max_msf" mld_max_msf: i32 = 64, INT;
        "net.ipv6.mld_qrv" mld_qrv: i32 = 2, Codec::Int(1, i32::MAX as i64);
        "net.ipv6.route.min_adv_mss" route6_min_adv_mss: i32 = 1220, NON_NEGATIVE;
        "net.ipv6.route.mtu_expires" route6_mtu_expires: Duration = secs(600), Codec::Seconds;
    }
}

impl Globals {
    /// The defaults of that kernel on the reference machine (TRUTH.md §12 and §13).
    pub fn of(profile: KernelProfile) -> Globals {
        let mut g = Globals::default();
        if profile <= KernelProfile::V6_12 {
            g.rmem_max = 212_992;
            g.icmp6_ratelimit = secs(1);
            g.wmem_max = 212_992;
            g.tcp_rmem = [4096, 131_072, 6_291_456];
            g.tcp_limit_output_bytes = 1_048_576;
        }
        if profile <= KernelProfile::V5_15 {
            g.tcp_syn_linear_timeouts = 0;
            g.tcp_pingpong_thresh = 3;
            g.optmem_max = 20_480;
        }
        if profile <= KernelProfile::V4_4 {
            g.somaxconn = 128;
            g.tcp_tw_reuse = 0;
            g.tcp_pingpong_thresh = 1; // a flag then
            g.tcp_max_syn_backlog = 1024;
            g.tcp_challenge_ack_limit = 100;
            g.tcp_rmem = [4096, 87_380, 6_291_456];
        }
        g
    }

    /// Whether that kernel has the sysctl of this name (TRUTH.md §13).
    pub(crate) fn exists(name: &str, profile: KernelProfile) -> bool {
        let newest = [
            "net.ipv4.tcp_rto_max_ms",
            "net.ipv4.tcp_tw_reuse_delay",
            "net.ipv4.tcp_comp_sack_rtt_percent",
            "net.ipv4.tcp_ecn_option",
            "net.ipv4.tcp_ecn_option_beacon",
        ];
        let since_6_12 = [
            "net.ipv4.tcp_syn_linear_timeouts",
            "net.ipv4.tcp_shrink_window",
            "net.ipv4.tcp_backlog_ack_defer",
            "net.ipv4.tcp_pingpong_thresh",
            "net.ipv4.tcp_rto_min_us",
        ];
        let since_5_15 =
            ["net.ipv4.tcp_comp_sack_delay_ns", "net.ipv4.tcp_comp_sack_nr", "net.ipv4.tcp_migrate_req"];
        match name {
            "net.ipv4.tcp_tw_recycle" => profile <= KernelProfile::V4_4,
            _ if newest.contains(&name) => profile >= KernelProfile::V6_18,
            _ if since_6_12.contains(&name) => profile >= KernelProfile::V6_12,
            _ if since_5_15.contains(&name) => profile >= KernelProfile::V5_15,
            _ => true,
        }
    }
}
