use core::time::Duration;

use super::test_net::{A, B, Net};
use crate::call::Outcome;
use crate::record::What;
use wire::Instant;

const REFUSED: &str = "-1 ECONNREFUSED (Connection refused)";
const EINVAL: &str = "-1 EINVAL (Invalid argument)";
const EAGAIN: &str = "-1 EAGAIN (Resource temporarily unavailable)";

#[test]
fn descriptors_are_the_lowest_free_and_end_at_the_limit() {
    let mut net = Net::new();
    net.script(
        A,
        "socket(AF_INET, SOCK_DGRAM) => 3
         socket(AF_INET, SOCK_DGRAM) => 4
         dup(3) => 5
         close(4) => 0
         close(4) => -1 EBADF (Bad file descriptor)
         epoll_create1() => 4
         recv(0, 1) => -1 ENOTSOCK (Socket operation on non-socket)
         recv(4, 1) => -1 ENOTSOCK (Socket operation on non-socket)
         recv(99, 1) => -1 EBADF (Bad file descriptor)",
    );
    net.hosts[A].set_nofile(net.pids[A], 7);
    net.script(
        A,
        "socket(AF_INET, SOCK_DGRAM) => 6
         socket(AF_INET, SOCK_DGRAM) => -1 EMFILE (Too many open files)
         dup(3) => -1 EMFILE (Too many open files)",
    );
    assert_eq!(net.hosts[A].sockets.dgrams.iter().count(), 2, "the refused socket left nothing behind");
    net.script(A, "close(6)\nsocket(AF_INET, SOCK_DGRAM) => 6");
}

#[test]
fn a_duplicate_shares_the_socket_and_its_flags() {
    let mut net = Net::new();
    net.script(
        A,
        "socket(AF_INET, SOCK_DGRAM) => 3
         dup(3) => 4
         bind(4, 192.0.2.1:700) => 0
         getsockname(3) => 0 192.0.2.1:700
         fcntl(3, F_SETFL, O_NONBLOCK) => 0
         fcntl(4, F_GETFL) => 2050
         close(3) => 0
         getsockname(4) => 0 192.0.2.1:700
         close(4) => 0
         socket(AF_INET, SOCK_DGRAM) => 3
         bind(3, 192.0.2.1:700) => 0",
    );
}

/// Measured on 6.18.44: `socket()` with each type and protocol.
#[test]
fn protocols_that_do_not_fit_the_type_are_not_supported() {
    let mut net = Net::new();
    let unsupported = "-1 EPROTONOSUPPORT (Protocol not supported)";
    for call in [
        "socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP)",
        "socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMPV6)",
        "socket(AF_INET6, SOCK_DGRAM, IPPROTO_ICMP)",
        "socket(AF_INET, SOCK_STREAM, IPPROTO_UDP)",
        "socket(AF_INET, SOCK_RAW, 0)",
    ] {
        assert_eq!(net.run(A, call), unsupported, "{call}");
    }
    net.script(A, "socket(AF_INET6, SOCK_RAW, IPPROTO_ICMP) => 3\nsocket(AF_INET, SOCK_RAW, 99) => 4");
}

/// Measured on 6.18.44: values as `setsockopt` takes and `getsockopt` returns them.
#[test]
fn option_values_are_checked_doubled_and_clamped_as_linux_does() {
    let mut net = Net::new();
    net.script(A, "socket(AF_INET, SOCK_DGRAM) => 3\nsocket(AF_INET6, SOCK_DGRAM) => 4");
    let cases: &[(&str, &str, &str, &str)] = &[
        ("3, SOL_SOCKET, SO_RCVBUF", "0", "0", "2304"),
        ("3, SOL_SOCKET, SO_RCVBUF", "2000", "0", "4000"),
        ("3, SOL_SOCKET, SO_RCVBUF", "10000000", "0", "8388608"),
        ("3, SOL_SOCKET, SO_RCVBUF", "-1", "0", "8388608"),
        ("3, SOL_SOCKET, SO_SNDBUF", "2000", "0", "4608"),
        ("3, SOL_SOCKET, SO_SNDBUF", "5000", "0", "10000"),
        ("3, SOL_SOCKET, SO_RCVLOWAT", "0", "0", "1"),
        ("3, SOL_SOCKET, SO_RCVLOWAT", "-1", "0", "2147483647"),
        ("3, IPPROTO_IP, IP_TTL", "0", EINVAL, "64"),
        ("3, IPPROTO_IP, IP_TTL", "256", EINVAL, "64"),
        ("3, IPPROTO_IP, IP_TTL", "255", "0", "255"),
        ("3, IPPROTO_IP, IP_TTL", "-1", "0", "64"),
        ("3, IPPROTO_IP, IP_TOS", "256", "0", "0"),
        ("3, IPPROTO_IP, IP_TOS", "-1", "0", "255"),
        ("3, IPPROTO_IP, IP_MTU_DISCOVER", "6", EINVAL, "1"),
        ("3, IPPROTO_IP, IP_MTU_DISCOVER", "IP_PMTUDISC_OMIT", "0", "5"),
        ("3, IPPROTO_IP, IP_RECVTTL", "2", "0", "1"),
        ("3, IPPROTO_IP, IP_MULTICAST_TTL", "256", EINVAL, "1"),
        ("3, IPPROTO_IP, IP_MULTICAST_TTL", "-1", "0", "1"),
        ("3, IPPROTO_IP, IP_MINTTL", "256", EINVAL, "0"),
        ("3, IPPROTO_UDP, UDP_SEGMENT", "65536", EINVAL, "0"),
        ("3, IPPROTO_UDP, UDP_SEGMENT", "1000", "0", "1000"),
        ("4, IPPROTO_IPV6, IPV6_UNICAST_HOPS", "-2", EINVAL, "64"),
        ("4, IPPROTO_IPV6, IPV6_UNICAST_HOPS", "0", "0", "0"),
        ("4, IPPROTO_IPV6, IPV6_TCLASS", "256", EINVAL, "0"),
        ("4, IPPROTO_IPV6, IPV6_MTU_DISCOVER", "6", EINVAL, "1"),
        ("4, IPPROTO_IP, IP_TTL", "9", "0", "9"),
    ];
    for (opt, value, set, get) in cases {
        assert_eq!(net.run(A, &format!("setsockopt({opt}, {value})")), *set, "{opt} {value}");
        assert_eq!(net.run(A, &format!("getsockopt({opt})")), format!("0 [{get}]"), "{opt} after {value}");
    }
    net.script(
        A,
        "getsockopt(3, SOL_SOCKET, SO_TYPE) => 0 [2]
         getsockopt(4, SOL_SOCKET, SO_DOMAIN) => 0 [10]
         getsockopt(3, SOL_SOCKET, SO_PROTOCOL) => 0 [17]
         setsockopt(3, SOL_SOCKET, SO_TYPE, 1) => -1 ENOPROTOOPT (Protocol not available)
         setsockopt(3, IPPROTO_IP, IP_HDRINCL, 1) => -1 ENOPROTOOPT (Protocol not available)
         setsockopt(3, IPPROTO_TCP, TCP_NODELAY, 1) => -1 ENOPROTOOPT (Protocol not available)
         getsockopt(3, IPPROTO_TCP, TCP_NODELAY) => -1 EOPNOTSUPP (Operation not supported)
         getsockopt(3, IPPROTO_IPV6, IPV6_V6ONLY) => -1 EOPNOTSUPP (Operation not supported)
         getsockopt(3, IPPROTO_IP, IP_MTU) => -1 ENOTCONN (Transport endpoint is not connected)
         setsockopt(3, SOL_SOCKET, SO_RCVTIMEO, {tv_sec=1, tv_usec=1000000}) => -1 EDOM (Numerical argument out of domain)
         setsockopt(3, SOL_SOCKET, SO_RCVTIMEO, 1500ms) => 0
         getsockopt(3, SOL_SOCKET, SO_RCVTIMEO) => 0 [{tv_sec=1, tv_usec=500000}]
         setsockopt(3, SOL_SOCKET, SO_LINGER, {l_onoff=1, l_linger=5}) => 0
         getsockopt(3, SOL_SOCKET, SO_LINGER) => 0 [{l_onoff=1, l_linger=5}]
         setsockopt(3, SOL_SOCKET, SO_BINDTODEVICE, \"nope\") => -1 ENODEV (No such device)
         setsockopt(3, SOL_SOCKET, SO_BINDTODEVICE, \"lo\") => 0
         getsockopt(3, SOL_SOCKET, SO_BINDTODEVICE) => 0 [\"lo\"]",
    );
}

#[test]
fn an_option_that_is_not_modelled_is_refused_and_said() {
    let mut net = Net::new();
    net.script(A, "socket(AF_INET, SOCK_DGRAM) => 3");
    net.records(A);
    net.script(A, "setsockopt(3, SOL_SOCKET, SO_BUSY_POLL, 1) => -1 ENOPROTOOPT (Protocol not available)");
    let note = What::Note { text: "the socket option SO_BUSY_POLL is not modelled".into() };
    assert_eq!(net.records(A), [note]);
}

#[test]
fn a_sleeping_read_is_woken_once_by_data_and_by_its_timeout() {
    let mut net = Net::new();
    net.script(A, "socket(AF_INET, SOCK_DGRAM) => 3\nbind(3, 192.0.2.1:9)");
    net.script(B, "socket(AF_INET, SOCK_DGRAM) => 3");
    assert_eq!(net.run(A, "recv(3, 9)"), "sleeps");
    assert_eq!(net.wakeups(A), []);
    net.script(B, "sendto(3, \"a\", 0, 192.0.2.1:9) => 1\nsendto(3, \"b\", 0, 192.0.2.1:9) => 1");
    assert_eq!(net.wakeups(A), [net.pids[A]], "once, though two came");
    assert_eq!(net.run(A, "recv(3, 9)"), "1 \"a\"");
    assert_eq!(net.run(A, "recv(3, 9)"), "1 \"b\"");

    net.script(A, "setsockopt(3, SOL_SOCKET, SO_RCVTIMEO, 300ms) => 0");
    let start = net.now;
    let until = start + Duration::from_millis(300);
    let call = "recv(3, 9)";
    assert_eq!(net.try_call(A, net.pids[A], call), Outcome::Block { until: Some(until) });
    net.advance(Duration::from_millis(299));
    assert_eq!(net.wakeups(A), []);
    // An early retry does not start the time again.
    assert_eq!(net.try_call(A, net.pids[A], call), Outcome::Block { until: Some(until) });
    net.advance(Duration::from_millis(1));
    assert_eq!(net.wakeups(A), [net.pids[A]]);
    assert_eq!(net.run(A, call), EAGAIN);
    assert!(!net.hosts[A].is_sleeping(net.pids[A]));
    assert_eq!(net.run(A, "recv(3, 9, MSG_DONTWAIT)"), EAGAIN);
}

/// `SO_RCVTIMEO` runs on the timer wheel, `poll` does not.
#[test]
fn a_wheel_host_rounds_sleeps_of_read_and_not_of_poll() {
    let config =
        crate::StackConfig { granularity: crate::Granularity::Wheel { hz: 250 }, ..Default::default() };
    let mut host = crate::Stack::new(config);
    let pid = host.spawn();
    let now = Instant::from_millis(1);
    let mut call = |text: &str| {
        let call = crate::call::text::parse_call(text, &()).unwrap();
        host.call(now, pid, &call)
    };
    call("socket(AF_INET, SOCK_DGRAM)");
    call("setsockopt(3, SOL_SOCKET, SO_RCVTIMEO, 1001ms)");
    let Outcome::Block { until: Some(until) } = call("recv(3, 1)") else { panic!("it sleeps") };
    assert!(until > Instant::from_millis(1004) && until.as_nanos() % 4_000_000 == 0, "{until}");
    let Outcome::Block { until } = call("poll([{3, POLLIN}], 1001)") else { panic!("it sleeps") };
    assert_eq!(until, Some(Instant::from_millis(1002)));
}

#[test]
fn of_several_readers_one_datagram_wakes_one_and_of_pollers_all() {
    let mut net = Net::new();
    net.script(A, "socket(AF_INET, SOCK_DGRAM) => 3\nbind(3, 192.0.2.1:9)");
    net.script(B, "socket(AF_INET, SOCK_DGRAM) => 3");
    let readers: Vec<_> = (0..3).map(|_| net.hosts[A].fork_thread(net.pids[A])).collect();
    let pollers: Vec<_> = (0..2).map(|_| net.hosts[A].fork_thread(net.pids[A])).collect();
    for reader in &readers {
        assert_eq!(net.run_as(A, *reader, "recv(3, 9)"), "sleeps");
    }
    for poller in &pollers {
        assert_eq!(net.run_as(A, *poller, "poll([{3, POLLIN}])"), "sleeps");
    }
    net.script(B, "sendto(3, \"a\", 0, 192.0.2.1:9) => 1");
    assert_eq!(net.wakeups(A), [readers[0], pollers[0], pollers[1]]);
    net.script(B, "sendto(3, \"b\", 0, 192.0.2.1:9) => 1");
    assert_eq!(net.wakeups(A), [readers[1]]);
    assert_eq!(net.run_as(A, pollers[0], "poll([{3, POLLIN}])"), "1 [{3, POLLIN}]");
    // The end of one thread leaves the descriptors to the others.
    net.hosts[A].exit(net.now, readers[1]);
    assert_eq!(net.run_as(A, readers[0], "recv(3, 9)"), "1 \"a\"");
}

/// Measured on 6.18.44: a fresh socket polls 0x304, with data 0x345, shut down 0x2355.
#[test]
fn poll_reports_what_datagram_poll_reports() {
    let mut net = Net::new();
    net.script(
        A,
        "socket(AF_INET, SOCK_DGRAM) => 3
         poll([{3, 0x3fff}], 0) => 1 [{3, POLLOUT|POLLWRNORM|0x200}]
         bind(3, 192.0.2.1:9) => 0
         socket(AF_INET, SOCK_DGRAM) => 4
         sendto(4, \"\", 0, 192.0.2.1:9) => 0
         poll([{3, 0x3fff}], 0) => 1 [{3, POLLIN|POLLOUT|POLLRDNORM|POLLWRNORM|0x200}]
         poll([{3, POLLOUT}, {99, POLLIN}, {-1, POLLIN}], 0) => 2 [{3, POLLOUT}, {99, POLLNVAL}]
         recv(3, 9) => 0 \"\"
         poll([{3, POLLIN}], 0) => 0 (Timeout)
         connect(3, 192.0.2.2:9) => 0
         shutdown(3, SHUT_RDWR) => 0
         poll([{3, 0x3fff}], 0) => 1 [{3, POLLIN|POLLOUT|POLLHUP|POLLRDNORM|POLLWRNORM|POLLRDHUP|0x200}]
         recv(3, 9) => 0 \"\"
         send(3, \"x\") => -1 EPIPE (Broken pipe)",
    );
    let start = net.now;
    assert_eq!(net.run(A, "poll([{4, POLLIN}], 250)"), "sleeps");
    net.advance(Duration::from_secs(1));
    assert_eq!(net.wakeups(A), [net.pids[A]]);
    net.now = start + Duration::from_millis(250);
    assert_eq!(net.run(A, "poll([{4, POLLIN}], 250)"), "0 (Timeout)");
}

#[test]
fn epoll_reports_level_edge_and_one_shot() {
    let mut net = Net::new();
    net.script(
        A,
        "socket(AF_INET, SOCK_DGRAM) => 3
         bind(3, 192.0.2.1:9)
         epoll_create1() => 4
         epoll_ctl(4, EPOLL_CTL_ADD, 3, {EPOLLIN, 7}) => 0
         epoll_ctl(4, EPOLL_CTL_ADD, 3, {EPOLLIN, 7}) => -1 EEXIST (File exists)
         epoll_ctl(4, EPOLL_CTL_MOD, 9, EPOLLIN) => -1 EBADF (Bad file descriptor)
         epoll_wait(4, 10, 0) => 0
         socket(AF_INET, SOCK_DGRAM) => 5
         sendto(5, \"a\", 0, 192.0.2.1:9) => 1
         epoll_wait(4, 10, 0) => 1 [{EPOLLIN, 7}]
         epoll_wait(4, 10, 0) => 1 [{EPOLLIN, 7}]
         poll([{4, POLLIN}], 0) => 1 [{4, POLLIN}]
         recv(3, 9) => 1 \"a\"
         epoll_wait(4, 10, 0) => 0
         epoll_ctl(4, EPOLL_CTL_MOD, 3, {EPOLLIN|EPOLLET, 8}) => 0
         sendto(5, \"b\", 0, 192.0.2.1:9) => 1
         epoll_wait(4, 10, 0) => 1 [{EPOLLIN, 8}]
         epoll_wait(4, 10, 0) => 0
         sendto(5, \"c\", 0, 192.0.2.1:9) => 1
         epoll_wait(4, 10, 0) => 1 [{EPOLLIN, 8}]
         epoll_ctl(4, EPOLL_CTL_MOD, 3, {EPOLLIN|EPOLLONESHOT, 9}) => 0
         epoll_wait(4, 10, 0) => 1 [{EPOLLIN, 9}]
         sendto(5, \"d\", 0, 192.0.2.1:9) => 1
         epoll_wait(4, 10, 0) => 0
         epoll_ctl(4, EPOLL_CTL_MOD, 3, {EPOLLIN, 9}) => 0
         epoll_wait(4, 10, 0) => 1 [{EPOLLIN, 9}]
         epoll_create1() => 6
         epoll_ctl(4, EPOLL_CTL_ADD, 6, EPOLLIN) => -1 EINVAL (Invalid argument)
         epoll_wait(4, 0, 0) => -1 EINVAL (Invalid argument)
         epoll_wait(3, 1, 0) => -1 EINVAL (Invalid argument)
         close(3) => 0
         epoll_wait(4, 10, 0) => 0",
    );
    assert_eq!(net.run(A, "epoll_wait(4, 10)"), "sleeps");
    net.script(A, "close(4) => 0");
}

#[test]
fn a_sleeping_epoll_wait_wakes_and_exclusive_watches_share() {
    let mut net = Net::new();
    net.script(
        A,
        "socket(AF_INET, SOCK_DGRAM) => 3
         bind(3, 192.0.2.1:9)
         epoll_create1() => 4
         epoll_create1() => 5
         epoll_ctl(4, EPOLL_CTL_ADD, 3, EPOLLIN|EPOLLEXCLUSIVE) => 0
         epoll_ctl(5, EPOLL_CTL_ADD, 3, EPOLLIN|EPOLLEXCLUSIVE) => 0",
    );
    net.script(B, "socket(AF_INET, SOCK_DGRAM) => 3");
    let thread = net.hosts[A].fork_thread(net.pids[A]);
    assert_eq!(net.run(A, "epoll_wait(4, 10)"), "sleeps");
    assert_eq!(net.run_as(A, thread, "epoll_wait(5, 10)"), "sleeps");
    net.script(B, "sendto(3, \"a\", 0, 192.0.2.1:9) => 1");
    assert_eq!(net.wakeups(A), [net.pids[A]], "one of the two");
    assert_eq!(net.run(A, "epoll_wait(4, 10)"), "1 [{EPOLLIN, 3}]");
}

#[test]
fn an_error_wakes_and_shows_as_pollerr_until_it_is_fetched() {
    let mut net = Net::new();
    net.script(A, "socket(AF_INET, SOCK_DGRAM) => 3\nconnect(3, 192.0.2.2:9) => 0");
    assert_eq!(net.run(A, "recv(3, 9)"), "sleeps");
    let thread = net.hosts[A].fork_thread(net.pids[A]);
    assert_eq!(net.run_as(A, thread, "send(3, \"x\")"), "1");
    assert_eq!(net.wakeups(A), [net.pids[A]]);
    net.script(A, "poll([{3, POLLIN}], 0) => 1 [{3, POLLERR}]");
    assert_eq!(net.run(A, "recv(3, 9)"), REFUSED);
    net.script(A, "poll([{3, POLLIN}], 0) => 0 (Timeout)");
}

#[test]
fn the_end_of_a_process_closes_its_sockets() {
    let mut net = Net::new();
    net.script(A, "socket(AF_INET, SOCK_DGRAM) => 3\nbind(3, 192.0.2.1:9)");
    let pid = net.pids[A];
    net.hosts[A].exit(net.now, pid);
    assert_eq!(net.hosts[A].sockets.dgrams.iter().count(), 0);
    assert_eq!(net.run(A, "recv(3, 9)"), "-1 ESRCH (No such process)");
    net.pids[A] = net.hosts[A].spawn();
    net.script(A, "socket(AF_INET, SOCK_DGRAM) => 3\nbind(3, 192.0.2.1:9) => 0");
}

#[test]
fn an_idle_host_owns_next_to_nothing_here() {
    assert!(size_of::<super::Sockets>() < 512, "{}", size_of::<super::Sockets>());
}
