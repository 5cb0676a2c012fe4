use super::*;
use crate::StackConfig;

fn host() -> Stack {
    Stack::new(StackConfig::default())
}

#[test]
fn defaults_are_those_measured() {
    // truth/sysctl-defaults.txt and TRUTH.md §12.
    let s = host();
    for (name, value) in [
        ("net.ipv4.tcp_rmem", "4096\t131072\t33554432"),
        ("net.ipv4.ip_local_port_range", "32768\t60999"),
        ("net.ipv4.tcp_syn_linear_timeouts", "4"),
        ("net.ipv4.tcp_tw_reuse", "2"),
        ("net.ipv4.neigh.default.unres_qlen", "101"),
        ("net.ipv4.neigh.default.locktime", "100"),
        ("net.ipv6.neigh.default.locktime", "0"),
        ("net.ipv4.neigh.lo.proxy_delay", "80"),
        ("net.ipv4.conf.all.accept_source_route", "0"),
        ("net.ipv4.conf.default.accept_source_route", "1"),
        ("net.ipv4.route.mtu_expires", "600"),
        ("net.ipv4.icmp_ratemask", "6168"),
        ("net.ipv6.conf.lo.mtu", "65536"),
        ("net/ipv4/conf/lo/arp_ignore", "0"),
    ] {
        assert_eq!(s.sysctl_read(name).as_deref(), Ok(value), "{name}");
    }
}

#[test]
fn bounds_are_the_kernels() {
    // TRUTH.md §12 (12b).
    let mut s = host();
    let t = Instant::ZERO;
    for (name, good, bad) in [
        ("net.ipv4.tcp_syn_retries", "127", "128"),
        ("net.ipv4.tcp_syn_retries", "1", "0"),
        ("net.ipv4.tcp_tw_reuse", "2", "3"),
        ("net.ipv4.tcp_retries2", "255", "256"),
        ("net.ipv4.tcp_rto_max_ms", "1000", "999"),
        ("net.ipv4.ip_local_port_range", "1024 65535", "5000 4000"),
    ] {
        assert_eq!(s.sysctl_write(t, name, good), Ok(()), "{name}={good}");
        let error = s.sysctl_write(t, name, bad).expect_err(bad);
        assert_eq!(error.errno(), Errno::EINVAL, "{name}={bad}");
        let now: Vec<String> = s.sysctl_read(name).unwrap().split('\t').map(str::to_string).collect();
        assert_eq!(now.join(" "), good, "a refused value changes nothing");
    }
}

#[test]
fn unknown_and_unmodelled_names_are_told_apart() {
    let s = host();
    assert_eq!(
        s.sysctl_read("net.ipv4.tcp_low_latency"),
        Err(SysctlError::NotModelled { name: "net.ipv4.tcp_low_latency".into() })
    );
    assert_eq!(
        s.sysctl_read("net.ipv4.tcp_syn_retrys"),
        Err(SysctlError::NoSuchSysctl {
            name: "net.ipv4.tcp_syn_retrys".into(),
            did_you_mean: Some("net.ipv4.tcp_syn_retries".into())
        })
    );
    assert!(matches!(
        s.sysctl_read("net.ipv4.conf.eth7.rp_filter"),
        Err(SysctlError::NoSuchInterface { interface, .. }) if interface == "eth7"
    ));
    assert!(matches!(
        s.sysctl_read("net.ipv4.conf.lo.arp_acept"),
        Err(SysctlError::NoSuchSysctl { did_you_mean: Some(m), .. }) if m == "net.ipv4.conf.lo.arp_accept"
    ));
}

#[test]
fn other_kernels_have_other_sysctls() {
    let of = |profile| Stack::new(StackConfig { profile, ..StackConfig::default() });
    assert!(of(KernelProfile::V6_12).sysctl_read("net.ipv4.tcp_rto_max_ms").is_err());
    assert!(of(KernelProfile::V6_18).sysctl_read("net.ipv4.tcp_tw_recycle").is_err());
    assert_eq!(of(KernelProfile::V4_4).sysctl_read("net.ipv4.tcp_tw_recycle").as_deref(), Ok("0"));
    assert_eq!(of(KernelProfile::V4_4).sysctl_read("net.core.somaxconn").as_deref(), Ok("128"));
}

#[test]
fn ip_forward_sets_every_interface_and_refuses_redirects() {
    let mut s = host();
    s.sysctl_write(Instant::ZERO, "net.ipv4.ip_forward", "1").unwrap();
    assert_eq!(s.sysctl_read("net.ipv4.conf.lo.forwarding").as_deref(), Ok("1"));
    assert_eq!(s.sysctl_read("net.ipv4.conf.default.forwarding").as_deref(), Ok("1"));
    assert_eq!(s.sysctl_read("net.ipv4.conf.all.accept_redirects").as_deref(), Ok("0"));
}

#[test]
fn writing_default_moves_interfaces_that_nobody_set() {
    let mut s = host();
    let t = Instant::ZERO;
    s.sysctl_write(t, "net.ipv4.conf.default.rp_filter", "2").unwrap();
    assert_eq!(s.sysctl_read("net.ipv4.conf.lo.rp_filter").as_deref(), Ok("2"));
    s.sysctl_write(t, "net.ipv4.conf.lo.rp_filter", "1").unwrap();
    s.sysctl_write(t, "net.ipv4.conf.default.rp_filter", "0").unwrap();
    assert_eq!(s.sysctl_read("net.ipv4.conf.lo.rp_filter").as_deref(), Ok("1"));
}
