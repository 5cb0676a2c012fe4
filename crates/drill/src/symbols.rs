//! Numbers behind the names that scripts use: Linux's, from its public headers (x86-64).

use stack::Errno;
use stack::call::{MsgFlags, PollEvents, SockOpt};
use stack::socket::options::{LEVELS, VALUES};

/// Names that no other table of the workspace has.
const NUMBERS: &[(&str, i64)] = &[
    ("AF_UNSPEC", 0),
    ("AF_INET", 2),
    ("AF_INET6", 10),
    ("PF_INET", 2),
    ("PF_INET6", 10),
    ("SOCK_STREAM", 1),
    ("SOCK_DGRAM", 2),
    ("SOCK_RAW", 3),
    ("SOCK_NONBLOCK", 0x800),
    ("SOCK_CLOEXEC", 0x8_0000),
    ("IPPROTO_ICMP", 1),
    ("IPPROTO_RAW", 255),
    ("SHUT_RD", 0),
    ("SHUT_WR", 1),
    ("SHUT_RDWR", 2),
    ("SO_TIMESTAMPING_OPT_STATS", 54),
    ("SCM_TIMESTAMP", 29),
    ("SCM_TIMESTAMPNS", 35),
    ("SCM_TIMESTAMPING", 37),
    ("SCM_TIMESTAMPING_OPT_STATS", 54),
    ("SCM_TSTAMP_SND", 0),
    ("SCM_TSTAMP_SCHED", 1),
    ("SCM_TSTAMP_ACK", 2),
    ("SOF_TIMESTAMPING_TX_HARDWARE", 1),
    ("SOF_TIMESTAMPING_TX_SOFTWARE", 1 << 1),
    ("SOF_TIMESTAMPING_RX_HARDWARE", 1 << 2),
    ("SOF_TIMESTAMPING_RX_SOFTWARE", 1 << 3),
    ("SOF_TIMESTAMPING_SOFTWARE", 1 << 4),
    ("SOF_TIMESTAMPING_SYS_HARDWARE", 1 << 5),
    ("SOF_TIMESTAMPING_RAW_HARDWARE", 1 << 6),
    ("SOF_TIMESTAMPING_OPT_ID", 1 << 7),
    ("SOF_TIMESTAMPING_TX_SCHED", 1 << 8),
    ("SOF_TIMESTAMPING_TX_ACK", 1 << 9),
    ("SOF_TIMESTAMPING_OPT_CMSG", 1 << 10),
    ("SOF_TIMESTAMPING_OPT_TSONLY", 1 << 11),
    ("SOF_TIMESTAMPING_OPT_STATS", 1 << 12),
    ("SOF_TIMESTAMPING_OPT_PKTINFO", 1 << 13),
    ("SOF_TIMESTAMPING_OPT_TX_SWHW", 1 << 14),
    ("SO_EE_ORIGIN_NONE", 0),
    ("SO_EE_ORIGIN_LOCAL", 1),
    ("SO_EE_ORIGIN_ICMP", 2),
    ("SO_EE_ORIGIN_ICMP6", 3),
    ("SO_EE_ORIGIN_TXSTATUS", 4),
    ("SO_EE_ORIGIN_TIMESTAMPING", 4),
    ("SO_EE_ORIGIN_ZEROCOPY", 5),
    ("SO_EE_CODE_ZEROCOPY_COPIED", 1),
    ("TCP_CM_INQ", 36),
    ("TCP_COOKIE_TRANSACTIONS", 15),
    ("TCP_INFINITE_SSTHRESH", 0x7fff_ffff),
    ("SO_SECURITY_AUTHENTICATION", 22),
    ("TCP_NLA_PAD", 0),
    ("TCP_NLA_BUSY", 1),
    ("TCP_NLA_RWND_LIMITED", 2),
    ("TCP_NLA_SNDBUF_LIMITED", 3),
    ("TCP_NLA_DATA_SEGS_OUT", 4),
    ("TCP_NLA_TOTAL_RETRANS", 5),
    ("TCP_NLA_PACING_RATE", 6),
    ("TCP_NLA_DELIVERY_RATE", 7),
    ("TCP_NLA_SND_CWND", 8),
    ("TCP_NLA_REORDERING", 9),
    ("TCP_NLA_MIN_RTT", 10),
    ("TCP_NLA_RECUR_RETRANS", 11),
    ("TCP_NLA_DELIVERY_RATE_APP_LMT", 12),
    ("TCP_NLA_SNDQ_SIZE", 13),
    ("TCP_NLA_CA_STATE", 14),
    ("TCP_NLA_SND_SSTHRESH", 15),
    ("TCP_NLA_DELIVERED", 16),
    ("TCP_NLA_DELIVERED_CE", 17),
    ("TCP_NLA_BYTES_SENT", 18),
    ("TCP_NLA_BYTES_RETRANS", 19),
    ("TCP_NLA_DSACK_DUPS", 20),
    ("TCP_NLA_REORD_SEEN", 21),
    ("TCP_NLA_SRTT", 22),
    ("TCP_NLA_TIMEOUT_REHASH", 23),
    ("TCP_NLA_BYTES_NOTSENT", 24),
    ("TCP_NLA_EDT", 25),
    ("TCP_NLA_TTL", 26),
    ("TCP_NLA_REHASH", 27),
    ("O_RDONLY", 0),
    ("O_WRONLY", 1),
    ("O_RDWR", 2),
    ("O_ACCMODE", 3),
    ("O_CREAT", 0o100),
    ("O_EXCL", 0o200),
    ("O_NOCTTY", 0o400),
    ("O_TRUNC", 0o1000),
    ("O_APPEND", 0o2000),
    ("O_NONBLOCK", 0o4000),
    ("F_DUPFD", 0),
    ("F_GETFD", 1),
    ("F_SETFD", 2),
    ("F_GETFL", 3),
    ("F_SETFL", 4),
    ("FD_CLOEXEC", 1),
    ("SEEK_SET", 0),
    ("SEEK_CUR", 1),
    ("SEEK_END", 2),
    ("MSG_PROXY", 0x10),
    ("MSG_FIN", 0x200),
    ("MSG_SYN", 0x400),
    ("MSG_RST", 0x1000),
    ("MSG_CMSG_CLOEXEC", 0x4000_0000),
    ("SIOCINQ", 0x541b),
    ("FIONREAD", 0x541b),
    ("SIOCOUTQ", 0x5411),
    ("TIOCOUTQ", 0x5411),
    ("POLLRDBAND", 0x80),
    ("POLLWRBAND", 0x200),
    ("POLLMSG", 0x400),
    ("POLLREMOVE", 0x1000),
    ("EPOLLRDBAND", 0x80),
    ("EPOLLWRBAND", 0x200),
    ("EPOLLMSG", 0x400),
    ("EPOLL_CTL_ADD", 1),
    ("EPOLL_CTL_DEL", 2),
    ("EPOLL_CTL_MOD", 3),
    ("SPLICE_F_MOVE", 1),
    ("SPLICE_F_NONBLOCK", 2),
    ("SPLICE_F_MORE", 4),
    ("SPLICE_F_GIFT", 8),
    ("CAP_EFFECTIVE", 0),
    ("CAP_PERMITTED", 1),
    ("CAP_INHERITABLE", 2),
    ("CAP_CLEAR", 0),
    ("CAP_SET", 1),
    ("CAP_NET_BIND_SERVICE", 10),
    ("CAP_NET_BROADCAST", 11),
    ("CAP_NET_ADMIN", 12),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_SYS_RESOURCE", 24),
    ("NULL", 0),
    ("ENOMSG", 42),
    ("EWOULDBLOCK", 11),
];

/// States of a connection (Linux: include/net/tcp_states.h).
pub(crate) const TCP_STATES: &[(&str, i64)] = &[
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
];

/// The number of a symbol; `None` when it has none here.
///
/// ```
/// assert_eq!(drill::symbols::number("EPOLLET"), Some(1 << 31));
/// ```
pub fn number(name: &str) -> Option<i64> {
    let table = NUMBERS.iter().chain(TCP_STATES).chain(VALUES).find(|(n, _)| *n == name).map(|(_, v)| *v);
    let level = || LEVELS.iter().find(|(n, _)| *n == name).map(|(_, v)| i64::from(*v));
    let option = || SockOpt::from_symbol(name).map(|o| i64::from(o.name));
    let message = || MsgFlags::NAMES.iter().find(|(n, _)| *n == name).map(|(_, f)| i64::from(f.0));
    let events = || {
        let short = name.strip_prefix("EPOLL").or_else(|| name.strip_prefix("POLL"))?;
        PollEvents::NAMES.iter().find(|(n, _)| *n == short).map(|(_, e)| i64::from(e.0))
    };
    let errno = || Errno::from_name(name).map(|e| i64::from(e.0));
    table.or_else(level).or_else(option).or_else(message).or_else(events).or_else(errno)
}

/// The error number of a symbol such as `ECONNREFUSED`.
pub fn errno(name: &str) -> Option<Errno> {
    let n = Errno::from_name(name).map(|e| i64::from(e.0));
    let n = n.or_else(|| NUMBERS.iter().find(|(s, _)| *s == name && name.starts_with('E')).map(|(_, v)| *v));
    n.and_then(|n| u16::try_from(n).ok()).map(Errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_every_table() {
        let expected = [
            ("SOL_TCP", 6),
            ("TCP_FASTOPEN", 23),
            ("MSG_ZEROCOPY", 0x400_0000),
            ("POLLRDHUP", 0x2000),
            ("EINPROGRESS", 115),
            ("IP_PMTUDISC_DO", 2),
            ("O_NONBLOCK", 0x800),
        ];
        for (name, n) in expected {
            assert_eq!(number(name), Some(n), "{name}");
        }
        assert_eq!(number("SO_WHAT"), None);
        assert_eq!(errno("ENOMSG"), Some(Errno(42)));
        assert_eq!(errno("EPOLLIN"), None);
    }
}
