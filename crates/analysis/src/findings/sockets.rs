//! Which socket a call was made on, and whether a packet is that socket's: by its descriptor, the addresses
//! in its calls and the packets that its calls sent. Two sockets of one host are never taken for each other.

use std::net::{IpAddr, SocketAddr};

use stack::record::What;

use super::{Case, Returned};
use crate::view::View;

/// Where a packet that a socket may have sent goes, and its ports, when it has any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) dst: IpAddr,
    /// Source and destination port.
    pub(crate) ports: Option<(u16, u16)>,
}

impl Flow {
    /// The flow of a packet, of its innermost IP header.
    pub(crate) fn of(view: &View) -> Option<Flow> {
        let ip = view.inner_ip()?;
        let ports = match (view.udp(), view.tcp()) {
            (Some(h), _) => Some((h.src_port, h.dst_port)),
            (_, Some(h)) => Some((h.src_port, h.dst_port)),
            _ => None,
        };
        Some(Flow { dst: ip.dst, ports })
    }
}

/// One socket from the call that made it to the one that asks.
pub(crate) struct Socket<'a, 'r> {
    /// The calls on it before that one, in order.
    calls: Vec<&'r Returned<'a>>,
    /// Other sockets of the host with the same destination make it unclear whose a packet is.
    all: &'r [Returned<'a>],
}

/// The socket on which `r` was called.
pub(crate) fn socket<'a, 'r>(results: &'r [Returned<'a>], r: &Returned<'a>) -> Socket<'a, 'r> {
    let same = |c: &&Returned<'_>| c.node == r.node && c.program == r.program && c.call <= r.call;
    let made = results
        .iter()
        .filter(same)
        .rfind(|c| c.call < r.call && c.call_name() == "socket" && Some(c.result) == r.fd())
        .map_or(0, |c| c.call);
    let calls = results
        .iter()
        .filter(same)
        .filter(|c| c.call >= made && c.call_name() != "socket" && c.fd() == r.fd())
        .collect();
    Socket { calls, all: results }
}

impl<'a, 'r> Socket<'a, 'r> {
    /// The call that connected it, unless `connect()` to `AF_UNSPEC` took the peer away again.
    pub(crate) fn connected(&self) -> Option<&'r Returned<'a>> {
        let last = self.calls.iter().rfind(|c| c.call_name() == "connect" && !failed_at_once(c));
        last.copied().filter(|c| !c.call_text.contains("AF_UNSPEC"))
    }

    /// It asked for all errors (`IP_RECVERR`, `IPV6_RECVERR`).
    pub(crate) fn wants_errors(&self) -> bool {
        let last =
            self.calls.iter().rfind(|c| c.call_name() == "setsockopt" && c.call_text.contains("_RECVERR,"));
        last.is_some_and(|c| !c.call_text.ends_with(", 0)"))
    }

    /// The address that a call sends to: its own, else the one that `connect()` named last.
    pub(crate) fn target(&self, call: &Returned<'_>) -> Option<SocketAddr> {
        let named = |c: &Returned<'_>| addresses(c.call_text).pop();
        let peer = || {
            let connect = self.calls.iter().rfind(|c| c.call <= call.call && c.call_name() == "connect");
            connect.and_then(|c| named(c))
        };
        named(call).or_else(peer)
    }

    /// The last call that sent a packet of this flow, or may have: `connect()` sends TCP's first.
    pub(crate) fn sender_of(&self, case: &Case<'_>, flow: &Flow) -> Option<&'r Returned<'a>> {
        let sent = self.calls.iter().rfind(|c| is_send(c) && self.may_send(c, flow)).copied()?;
        match (self.local_port(case), flow.ports) {
            (Some(own), Some((port, _))) => (own == port).then_some(sent),
            (None, Some(_)) => (!self.is_ambiguous(sent, flow)).then_some(sent),
            (_, None) => Some(sent),
        }
    }

    /// It sent to where this flow goes, by a port that is not known to be another.
    pub(crate) fn may_have_sent(&self, case: &Case<'_>, flow: &Flow) -> bool {
        let port = self.local_port(case).zip(flow.ports).is_none_or(|(own, (port, _))| own == port);
        port && self.calls.iter().any(|c| is_send(c) && self.may_send(c, flow))
    }

    fn may_send(&self, call: &Returned<'_>, flow: &Flow) -> bool {
        self.target(call)
            .is_some_and(|t| t.ip() == flow.dst && flow.ports.is_none_or(|(_, port)| port == t.port()))
    }

    /// The port it is bound to, as `bind()` names it or the first packet that a call of it sent.
    fn local_port(&self, case: &Case<'_>) -> Option<u16> {
        let bound = self.calls.iter().rfind(|c| c.call_name() == "bind" && c.result == "0");
        let named = bound.and_then(|c| addresses(c.call_text).pop()).map(|a| a.port()).filter(|p| *p != 0);
        named.or_else(|| {
            self.calls.iter().filter(|c| is_send(c)).find_map(|c| {
                let target = self.target(c)?;
                let during = case.journal.records.get(c.call..=c.record)?;
                during.iter().filter(|r| r.node == c.node).find_map(|r| {
                    let What::Tx { id, .. } = r.what else { return None };
                    let flow = Flow::of(&case.traffic.get(id)?.view)?;
                    let (own, port) = flow.ports?;
                    (flow.dst == target.ip() && port == target.port()).then_some(own)
                })
            })
        })
    }

    /// Another socket of this host sends there too, and nothing tells whose the packet was.
    fn is_ambiguous(&self, sent: &Returned<'_>, flow: &Flow) -> bool {
        self.all.iter().any(|c| {
            let other = c.node == sent.node && (c.program != sent.program || c.fd() != sent.fd());
            other
                && is_send(c)
                && addresses(c.call_text)
                    .iter()
                    .any(|a| a.ip() == flow.dst && flow.ports.is_none_or(|(_, port)| port == a.port()))
        })
    }
}

/// Puts bytes on their way, or a connection.
fn is_send(call: &Returned<'_>) -> bool {
    let name = call.call_name();
    name.starts_with("send") || name.starts_with("write") || name == "connect"
}

/// `connect()` that had no effect.
fn failed_at_once(call: &Returned<'_>) -> bool {
    matches!(
        call.errno(),
        Some("EINVAL" | "EAFNOSUPPORT" | "ENETUNREACH" | "EACCES" | "EBADF" | "EADDRNOTAVAIL")
    )
}

/// The addresses with ports in a call, strings left out: `sendto(3, "1.2.3.4:5", 0, 192.0.2.2:9)` has one.
pub(super) fn addresses(text: &str) -> Vec<SocketAddr> {
    let mut bare = String::with_capacity(text.len());
    let (mut inside, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            _ if !inside => bare.push(c),
            _ => {}
        }
    }
    let words = bare.split([' ', ',', '(', ')', '{', '}', '=']);
    words.filter_map(|w| w.parse().ok()).collect()
}
