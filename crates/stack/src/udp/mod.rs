//! UDP: RFC 768, and what shares its sockets: ping and raw. Linux: net/ipv4/{udp,ping,raw,datagram}.c, net/ipv6/udp.c.
//!
//! | file | answers |
//! |---|---|
//! | `ports` | who is bound to a port |
//! | `bind` | bind, connect, disconnect, close |
//! | `send` | sendmsg: destination, route, options, corking, segmentation |
//! | `receive` | which socket a datagram belongs to, and whether its buffer takes it |
//! | `read` | recvmsg: data, error queue, control messages |
//! | `error` | what an ICMP error means to a socket |
//! | `ping`, `raw` | the same for those |
//! | `fast` | sending and receiving without a `Call` |
//! | `flow` | the short way of datagrams like the one before |

pub(crate) mod bind;
mod error;
pub(crate) mod fast;
pub(crate) mod flow;
mod ping;
pub(crate) mod ports;
mod raw;
pub(crate) mod read;
mod receive;
pub(crate) mod send;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use send::Payload;

use crate::Stack;
use crate::mib::Counter;
use crate::socket::Dgram;

/// Local address and port, then the peer's, as `ss` prints them.
pub(crate) fn addrs_text(sock: &Dgram) -> String {
    let (local, peer) = crate::socket::ss_addrs(sock);
    format!("{local} {peer}")
}

/// UDP's counters of one IP version.
#[derive(Clone, Copy)]
struct Counters {
    in_datagrams: Counter,
    no_ports: Counter,
    in_errors: Counter,
    in_csum_errors: Counter,
    rcvbuf_errors: Counter,
    sndbuf_errors: Counter,
    out_datagrams: Counter,
    ignored_multi: Counter,
}

fn counters(ipv6: bool) -> Counters {
    if ipv6 {
        Counters {
            in_datagrams: Counter::Udp6InDatagrams,
            no_ports: Counter::Udp6NoPorts,
            in_errors: Counter::Udp6InErrors,
            in_csum_errors: Counter::Udp6InCsumErrors,
            rcvbuf_errors: Counter::Udp6RcvbufErrors,
            sndbuf_errors: Counter::Udp6SndbufErrors,
            out_datagrams: Counter::Udp6OutDatagrams,
            ignored_multi: Counter::Udp6IgnoredMulti,
        }
    } else {
        Counters {
            in_datagrams: Counter::UdpInDatagrams,
            no_ports: Counter::UdpNoPorts,
            in_errors: Counter::UdpInErrors,
            in_csum_errors: Counter::UdpInCsumErrors,
            rcvbuf_errors: Counter::UdpRcvbufErrors,
            sndbuf_errors: Counter::UdpSndbufErrors,
            out_datagrams: Counter::UdpOutDatagrams,
            ignored_multi: Counter::UdpIgnoredMulti,
        }
    }
}

impl Stack {
    /// A packet of our own has no way to go.
    fn count_no_route(&mut self, dst: IpAddr) {
        self.mib.inc(if dst.is_ipv4() { Counter::IpOutNoRoutes } else { Counter::Ip6OutNoRoutes });
    }
}
