//! Per-interface settings: `net.ipv4.conf.*`, `net.ipv6.conf.*` and `net.ipv{4,6}.neigh.*`.
//!
//! Linux: net/ipv4/devinet.c, net/ipv6/addrconf.c, net/core/neighbour.c (`neigh_sysctl_template`).

use core::time::Duration;

use super::value::{BOOL, Codec, INT, NON_NEGATIVE, sysctls};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

sysctls! {
    /// `net.ipv4.conf.<interface>` (`struct ipv4_devconf`). The defaults are those of `default`.
    pub struct Ipv4Conf {
        "accept_local" accept_local: i32 = 0, INT;
        "accept_redirects" accept_redirects: i32 = 1, INT;
        "accept_source_route" accept_source_route: i32 = 1, INT;
        "arp_accept" arp_accept: i32 = 0, INT;
        "arp_announce" arp_announce: i32 = 0, INT;
        "arp_evict_nocarrier" arp_evict_nocarrier: i32 = 1, INT;
        "arp_filter" arp_filter: i32 = 0, INT;
        "arp_ignore" arp_ignore: i32 = 0, INT;
        "arp_notify" arp_notify: i32 = 0, INT;
        "bc_forwarding" bc_forwarding: i32 = 0, INT;
        "drop_gratuitous_arp" drop_gratuitous_arp: i32 = 0, INT;
        "drop_unicast_in_l2_multicast" drop_unicast_in_l2_multicast: i32 = 0, INT;
        "force_igmp_version" force_igmp_version: i32 = 0, INT;
        "forwarding" forwarding: i32 = 0, INT;
        "igmpv2_unsolicited_report_interval" igmpv2_unsolicited_report_interval: Duration = millis(10_000), Codec::Millis;
        "igmpv3_unsolicited_report_interval" igmpv3_unsolicited_report_interval: Duration = millis(1_000), Codec::Millis;
        "ignore_routes_with_linkdown" ignore_routes_with_linkdown: i32 = 0, INT;
        "log_martians" log_martians: i32 = 0, INT;
        "promote_secondaries" promote_secondaries: i32 = 0, INT;
        "proxy_arp" proxy_arp: i32 = 0, INT;
        "route_localnet" route_localnet: i32 = 0, INT;
        "rp_filter" rp_filter: i32 = 0, INT;
        "secure_redirects" secure_redirects: i32 = 1, INT;
        "send_redirects" send_redirects: i32 = 1, INT;
        "shared_media" shared_media: i32 = 1, INT;
    }
}

sysctls! {
    /// `net.ipv6.conf.<interface>` (`struct ipv6_devconf`). The defaults are those of `default`.
    pub struct Ipv6Conf {
        "accept_dad" accept_dad: i32 = 1, INT;
        "accept_ra" accept_ra: i32 = 1, INT;
        "accept_ra_defrtr" accept_ra_defrtr: i32 = 1, INT;
        "accept_ra_from_local" accept_ra_from_local: i32 = 0, INT;
        "accept_ra_min_hop_limit" accept_ra_min_hop_limit: i32 = 1, INT;
        "accept_ra_min_lft" accept_ra_min_lft: i32 = 0, INT;
        "accept_ra_mtu" accept_ra_mtu: i32 = 1, INT;
        "accept_ra_pinfo" accept_ra_pinfo: i32 = 1, INT;
        "accept_ra_rtr_pref" accept_ra_rtr_pref: i32 = 1, INT;
        "accept_redirects" accept_redirects: i32 = 1, INT;
        "accept_source_route" accept_source_route: i32 = 0, INT;
        "addr_gen_mode" addr_gen_mode: i32 = 0, BOOL;
        "autoconf" autoconf: i32 = 1, INT;
        "dad_transmits" dad_transmits: i32 = 1, NON_NEGATIVE;
        "disable_ipv6" disable_ipv6: i32 = 0, INT;
        "drop_unicast_in_l2_multicast" drop_unicast_in_l2_multicast: i32 = 0, INT;
        "drop_unsolicited_na" drop_unsolicited_na: i32 = 0, BOOL;
        "force_mld_version" force_mld_version: i32 = 0, INT;
        "forwarding" forwarding: i32 = 0, INT;
        "hop_limit" hop_limit: i32 = 64, Codec::Int(1, 255);
        "keep_addr_on_down" keep_addr_on_down: i32 = 0, Codec::Int(0, 0);
        "max_addresses" max_addresses: i32 = 16, INT;
        "mldv1_unsolicited_report_interval" mldv1_unsolicited_report_interval: Duration = millis(10_000), Codec::Millis;
        "mldv2_unsolicited_report_interval" mldv2_unsolicited_report_interval: Duration = millis(1_000), Codec::Millis;
        "mtu" mtu: u32 = 1280, Codec::Int(1280, 65536);
        "ndisc_evict_nocarrier" ndisc_evict_nocarrier: i32 = 1, INT;
        "ndisc_notify" ndisc_notify: i32 = 0, INT;
        "optimistic_dad" optimistic_dad: i32 = 0, Codec::Int(0, 0);
        "ra_defrtr_metric" ra_defrtr_metric: u32 = 1024, Codec::Int(1, u32::MAX as i64);
        "router_solicitation_delay" router_solicitation_delay: Duration = secs(1), Codec::Seconds;
        "router_solicitation_interval" router_solicitation_interval: Duration = secs(4), Codec::Seconds;
        "router_solicitation_max_interval" router_solicitation_max_interval: Duration = secs(3600), Codec::Seconds;
        "router_solicitations" router_solicitations: i32 = -1, Codec::Int(-1, i32::MAX as i64);
        "suppress_frag_ndisc" suppress_frag_ndisc: i32 = 1, INT;
        "use_oif_addrs_only" use_oif_addrs_only: i32 = 0, INT;
        "use_tempaddr" use_tempaddr: i32 = 0, Codec::Int(-1, 0);
    }
}

sysctls! {
    /// `net.ipv4.neigh.<interface>` and `net.ipv6.neigh.<interface>` (`struct neigh_parms`); the defaults
    /// are ARP's.
    pub struct NeighParams {
        "anycast_delay" anycast_delay: Duration = millis(1_000), Codec::UserHz;
        "app_solicit" app_solicit: u32 = 0, NON_NEGATIVE;
        "base_reachable_time_ms" base_reachable_time: Duration = millis(30_000), Codec::Millis;
        "delay_first_probe_time" delay_first_probe_time: Duration = secs(5), Codec::Seconds;
        "gc_stale_time" gc_stale_time: Duration = secs(60), Codec::Seconds;
        "locktime" locktime: Duration = millis(1_000), Codec::UserHz;
        "mcast_resolicit" mcast_resolicit: u32 = 0, NON_NEGATIVE;
        "mcast_solicit" mcast_solicit: u32 = 3, NON_NEGATIVE;
        "proxy_delay" proxy_delay: Duration = millis(800), Codec::UserHz;
        "proxy_qlen" proxy_qlen: u32 = 64, NON_NEGATIVE;
        "retrans_time_ms" retrans_time: Duration = millis(1_000), Codec::Millis;
        "ucast_solicit" ucast_solicit: u32 = 3, NON_NEGATIVE;
        "unres_qlen_bytes" unres_qlen_bytes: u32 = 212_992, NON_NEGATIVE;
    }
}

sysctls! {
    /// `net.ipv4.neigh.default.gc_*`, `net.ipv6.neigh.default.gc_*`: limits of a whole table
    /// (`struct neigh_table`).
    pub struct NeighGc {
        "gc_interval" gc_interval: Duration = secs(30), Codec::Seconds;
        "gc_thresh1" gc_thresh1: i32 = 128, NON_NEGATIVE;
        "gc_thresh2" gc_thresh2: i32 = 512, NON_NEGATIVE;
        "gc_thresh3" gc_thresh3: i32 = 1024, NON_NEGATIVE;
    }
}

impl NeighParams {
    /// ND's defaults: no locktime.
    pub(crate) fn ndp() -> NeighParams {
        NeighParams { locktime: Duration::ZERO, ..NeighParams::default() }
    }
}
