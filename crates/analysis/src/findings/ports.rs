//! Names that are taken: what `bind()` and `listen()` refuse and why, which ports `connect()` takes and when there is none left, and
//! descriptors that ran out (Linux: inet_connection_sock.c inet_csk_get_port and inet_csk_bind_conflict, inet_hashtables.c
//! __inet_hash_connect; TRUTH §8).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use stack::record::NodeId;

use super::sockets::addresses;
use super::tcp::{Life, lives};
use super::{Case, Findings, Returned};
use crate::explain::Ref;

const RANGE: &str = "net.ipv4.ip_local_port_range";

pub(super) fn find(case: &Case<'_>, out: &mut Findings) {
    let lives = lives(case);
    let mut results = case.results();
    results.sort_by_key(|r| r.record);
    let mut open = Open::default();
    for r in &results {
        match (r.call_name(), r.errno()) {
            ("bind", Some("EADDRINUSE")) => bind_refused(case, &open, &lives, r, out),
            ("bind", Some("EADDRNOTAVAIL")) => address_of_nobody(case, r, out),
            ("bind", None) => bind_granted(case, &open, &lives, r, out),
            ("listen", Some("EADDRINUSE")) => listen_refused(case, &open, r, out),
            ("connect", Some("EADDRNOTAVAIL")) => no_port_left(case, &open, &lives, r, out),
            (_, Some("EMFILE")) => no_descriptor_left(case, &open, r, out),
            _ => {}
        }
        open.note(r);
    }
    one_port_for_two(case, &lives, out);
    order_of_ports(case, &open, &lives, out);
    with_itself(case, &lives, out);
}

/// A socket that a program holds.
#[derive(Clone, Debug, Default)]
struct Held {
    tcp: bool,
    bound: Option<(SocketAddr, Ref)>,
    listens: bool,
    reuse_addr: bool,
    reuse_port: bool,
}

/// A process: its host and number.
type Process = (NodeId, u32);

/// The sockets that are open, by process and descriptor.
#[derive(Default)]
struct Open {
    held: BTreeMap<(Process, u32), Held>,
    /// Called `bind()` with a port of its own choice.
    choosers: Vec<SocketAddr>,
}

impl Open {
    fn note(&mut self, r: &Returned<'_>) {
        let process = (r.node, r.program);
        let made = r.result.split(' ').next().and_then(|n| n.parse().ok());
        let fd = r.fd().and_then(|fd| fd.parse().ok());
        match (r.call_name(), fd, made) {
            ("socket", _, Some(made)) => {
                let tcp = r.call_text.contains("SOCK_STREAM");
                self.held.insert((process, made), Held { tcp, ..Held::default() });
            }
            ("accept" | "accept4", Some(fd), Some(made)) => {
                let listener = self.held.get(&(process, fd)).cloned().unwrap_or_default();
                self.held.insert((process, made), Held { listens: false, ..listener });
            }
            ("close", Some(fd), Some(0)) => {
                self.held.remove(&(process, fd));
            }
            (name, Some(fd), Some(0)) => {
                let Some(socket) = self.held.get_mut(&(process, fd)) else { return };
                let set = !r.call_text.ends_with(", 0)");
                match name {
                    "bind" => {
                        let named = addresses(r.call_text).pop();
                        self.choosers.extend(named.filter(|a| a.port() != 0));
                        socket.bound = named.map(|a| (a, Ref::Record(r.record)));
                    }
                    "listen" => socket.listens = true,
                    "setsockopt" if r.call_text.contains("SO_REUSEADDR") => socket.reuse_addr = set,
                    "setsockopt" if r.call_text.contains("SO_REUSEPORT") => socket.reuse_port = set,
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// The socket that a call is made on.
    fn of(&self, r: &Returned<'_>) -> Option<&Held> {
        self.held.get(&((r.node, r.program), r.fd()?.parse().ok()?))
    }

    /// Another socket of the host with this port and an address that takes `addr` in, or that `addr` takes in: who listens first.
    fn rival(&self, r: &Returned<'_>, addr: SocketAddr, tcp: bool) -> Option<(&Held, SocketAddr, Ref)> {
        let own = r.fd().and_then(|fd| fd.parse().ok()).map(|fd| ((r.node, r.program), fd));
        let same = self.held.iter().filter(|((process, fd), held)| {
            process.0 == r.node && Some((*process, *fd)) != own && held.tcp == tcp
        });
        let rivals = same.filter_map(|(_, held)| {
            let (bound, told) = held.bound?;
            (bound.port() == addr.port() && overlap(bound.ip(), addr.ip())).then_some((held, bound, told))
        });
        rivals.max_by_key(|(held, ..)| held.listens)
    }
}

fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a == b || (a.is_unspecified() || b.is_unspecified()) && (a.is_ipv4() == b.is_ipv4() || a.is_ipv6())
}

/// Connections of the host with this local port that are not over when `record` happens, and their last state.
fn left_over(
    lives: &[Life],
    node: NodeId,
    port: u16,
    record: usize,
) -> impl Iterator<Item = (&Life, &'static str, Ref)> {
    lives
        .iter()
        .filter(move |l| l.node == node && l.local.port() == port)
        .filter_map(move |l| last_state(l, record).map(|(state, at)| (l, state, at)))
}

/// The state a life is in when `record` happens; none when it is over.
fn last_state(life: &Life, record: usize) -> Option<(&'static str, Ref)> {
    let (at, _, state) = life.steps.iter().rfind(|s| s.0 < record)?;
    Some(((*state).filter(|s| *s != "UNCONN")?, Ref::Record(*at)))
}

fn bind_refused(case: &Case<'_>, open: &Open, lives: &[Life], r: &Returned<'_>, out: &mut Findings) {
    let (Some(addr), Some(socket)) = (addresses(r.call_text).pop(), open.of(r)) else { return };
    let host = case.name(r.node);
    let own = [Ref::Record(r.call), Ref::Record(r.record)];
    if let Some((rival, bound, told)) = open.rival(r, addr, socket.tcp) {
        let takes = if bound.ip() == addr.ip() {
            "another socket has that address".to_string()
        } else {
            format!("another socket has {bound}, and a wildcard address takes in all of the host's")
        };
        let cure = match (rival.listens, socket.reuse_addr, rival.reuse_addr) {
            (true, ..) => ", and listens: only SO_REUSEPORT on both would let them share it",
            (_, true, false) => "; SO_REUSEADDR on one of the two is not enough",
            (_, false, true) => "; SO_REUSEADDR on the other alone is not enough",
            _ => "",
        };
        let text = format!("{host}'s bind() to {addr} failed with EADDRINUSE: {takes}{cure}");
        out.say("bind-refused", text, own.into_iter().chain([told]));
        return;
    }
    let left: Vec<_> = left_over(lives, r.node, addr.port(), r.record).collect();
    let Some((_, state, _)) = left.first() else { return };
    let holds = match left.len() {
        1 => format!("a connection in {state} has the port"),
        n => format!("{n} connections, one of them in {state}, have the port"),
    };
    let cure = if socket.reuse_addr {
        "; SO_REUSEADDR does not help, because the socket that they come from had not set it"
    } else {
        ", and SO_REUSEADDR is not set"
    };
    let text = format!("{host}'s bind() to {addr} failed with EADDRINUSE: {holds}{cure}");
    out.say("bind-refused", text, own.into_iter().chain(left.iter().map(|l| l.2)));
    out.decides_option(host, "SO_REUSEADDR", if socket.reuse_addr { "1" } else { "0" });
}

fn bind_granted(case: &Case<'_>, open: &Open, lives: &[Life], r: &Returned<'_>, out: &mut Findings) {
    let (Some(addr), Some(socket)) = (addresses(r.call_text).pop(), open.of(r)) else { return };
    if addr.port() == 0 || !socket.tcp {
        return;
    }
    let host = case.name(r.node);
    let own = [Ref::Record(r.call), Ref::Record(r.record)];
    if let Some((rival, bound, told)) = open.rival(r, addr, socket.tcp) {
        let by = match (socket.reuse_port && rival.reuse_port, socket.reuse_addr && rival.reuse_addr) {
            (true, _) => "SO_REUSEPORT is set on both",
            (_, true) => "SO_REUSEADDR is set on both and the other does not listen",
            _ => return,
        };
        let text = format!("{host}'s bind() to {addr} shares the port with a socket at {bound}: {by}");
        out.say("bind-shared", text, own.into_iter().chain([told]));
        return;
    }
    let left: Vec<_> = left_over(lives, r.node, addr.port(), r.record).collect();
    if let (Some((_, state, at)), true) = (left.first(), socket.reuse_addr) {
        let text = format!(
            "{host}'s bind() to {addr} succeeded beside a connection in {state}: SO_REUSEADDR is set"
        );
        out.say("bind-shared", text, own.into_iter().chain([*at]));
        out.decides_option(host, "SO_REUSEADDR", "1");
    }
    let elsewhere = open.held.iter().find_map(|((process, _), held)| {
        let (bound, told) = held.bound?;
        let other = process.0 == r.node && held.tcp && bound.port() == addr.port() && bound.ip() != addr.ip();
        (other && !overlap(bound.ip(), addr.ip())).then_some((bound, told))
    });
    if let Some((bound, told)) = elsewhere {
        let text =
            format!("{host}'s bind() to {addr} does not conflict with {bound}: they are different addresses");
        out.say("bind-elsewhere", text, own.into_iter().chain([told]));
    }
}

fn listen_refused(case: &Case<'_>, open: &Open, r: &Returned<'_>, out: &mut Findings) {
    let Some((addr, told)) = open.of(r).and_then(|s| s.bound) else { return };
    let Some((rival, bound, _)) = open.rival(r, addr, true).filter(|(rival, ..)| rival.listens) else {
        return;
    };
    let also = if rival.reuse_addr { "SO_REUSEADDR let both bind, but o" } else { "O" };
    let host = case.name(r.node);
    let text =
        format!("{host}'s listen() failed with EADDRINUSE: {also}ne socket alone may listen at {bound}");
    out.say("listen-refused", text, [Ref::Record(r.call), Ref::Record(r.record), told]);
}

fn address_of_nobody(case: &Case<'_>, r: &Returned<'_>, out: &mut Findings) {
    let Some(addr) = addresses(r.call_text).pop() else { return };
    if case.owner_of_ip(addr.ip()) == Some(r.node) {
        return;
    }
    let host = case.name(r.node);
    let text = format!(
        "{host}'s bind() to {addr} failed with EADDRNOTAVAIL: no interface of {host} has {}",
        addr.ip()
    );
    out.say("bind-no-address", text, [Ref::Record(r.call), Ref::Record(r.record)]);
    let family = if addr.is_ipv4() { "ipv4" } else { "ipv6" };
    out.decides(host, &format!("net.{family}.ip_nonlocal_bind"));
}

fn no_port_left(case: &Case<'_>, open: &Open, lives: &[Life], r: &Returned<'_>, out: &mut Findings) {
    let Some(target) = addresses(r.call_text).pop() else { return };
    let host = case.name(r.node);
    let own = [Ref::Record(r.call), Ref::Record(r.record)];
    let there = |l: &&Life| l.node == r.node && l.remote == target;
    let now: Vec<(&Life, &'static str, Ref)> = lives
        .iter()
        .filter(there)
        .filter_map(|l| last_state(l, r.record).map(|(state, at)| (l, state, at)))
        .collect();
    let bound = open.of(r).and_then(|s| s.bound).filter(|(a, _)| a.port() != 0);
    if let Some((bound, told)) = bound {
        let Some((life, state, at)) = now.iter().find(|(l, ..)| l.local.port() == bound.port()) else {
            return;
        };
        let text = format!(
            "{host}'s connect() from port {} to {target} failed with EADDRNOTAVAIL: a connection with these two addresses and \
             two ports exists, {} to {target}, in {state}",
            bound.port(),
            life.local
        );
        out.say("four-tuple-taken", text, own.into_iter().chain([told, *at]));
        return;
    }
    if now.is_empty() {
        return;
    }
    let resting = now.iter().filter(|(_, state, _)| *state == "TIME-WAIT").count();
    let resting = match resting {
        0 => String::new(),
        n if n == now.len() => " in TIME-WAIT".to_string(),
        n => format!(", {n} of them in TIME-WAIT"),
    };
    let connections =
        if now.len() == 1 { "1 connection".to_string() } else { format!("{} connections", now.len()) };
    let text = format!(
        "{host} has {connections} to {target}{resting}, and no port of its range is left for one more: connect() failed with \
         EADDRNOTAVAIL without a packet"
    );
    out.say("no-port-left", text, own);
    out.decides(host, RANGE);
    if !resting.is_empty() {
        out.decides(host, "net.ipv4.tcp_tw_reuse");
    }
}

fn no_descriptor_left(case: &Case<'_>, open: &Open, r: &Returned<'_>, out: &mut Findings) {
    let process = (r.node, r.program);
    let highest = open.held.range((process, 0)..=(process, u32::MAX)).next_back().map(|((_, fd), _)| *fd);
    let Some(limit) = highest.map(|fd| fd + 1) else { return };
    let host = case.name(r.node);
    let (call, waits) = match r.call_name() {
        accept @ ("accept" | "accept4") => {
            (accept, "; the connection stays in the accept queue, complete for its client")
        }
        call => (call, ""),
    };
    let text = format!(
        "{host}'s process has {limit} descriptors, as many as it may (0, 1 and 2 are its standard streams): {call}() failed with \
         EMFILE{waits}"
    );
    out.say("no-descriptor-left", text, [Ref::Record(r.call), Ref::Record(r.record)]);
    out.decides_option(host, "RLIMIT_NOFILE", &limit.to_string());
}

/// When a life held its name: from its first record to the one that ended it.
fn held_at(life: &Life, record: usize) -> bool {
    life.steps.iter().rfind(|s| s.0 <= record).is_some_and(|s| s.2.is_some())
}

fn one_port_for_two(case: &Case<'_>, lives: &[Life], out: &mut Findings) {
    let opened = |l: &Life| l.when("SYN-SENT");
    for (i, later) in lives.iter().enumerate() {
        let Some((at, _)) = opened(later) else { continue };
        let twin = lives[..i].iter().find(|l| {
            let same = l.node == later.node && l.local == later.local && l.remote != later.remote;
            same && opened(l).is_some() && held_at(l, at)
        });
        let (Some(first), host) = (twin, case.name(later.node)) else { continue };
        let Some((before, _)) = opened(first) else { continue };
        let text = format!(
            "{host}'s port {} leads to {} and to {} at once: all four of both addresses and both ports name a connection",
            later.local.port(),
            first.remote,
            later.remote
        );
        out.say("four-tuple", text, [Ref::Record(before), Ref::Record(at)]);
        return;
    }
}

/// Ports with the parity of the range's first before the others (Linux: __inet_hash_connect).
fn order_of_ports(case: &Case<'_>, open: &Open, lives: &[Life], out: &mut Findings) {
    let mut chosen: BTreeMap<(NodeId, SocketAddr), Vec<(u16, Ref)>> = BTreeMap::new();
    for life in lives {
        let Some((at, _)) = life.when("SYN-SENT") else { continue };
        if open.choosers.iter().any(|a| a.port() == life.local.port()) {
            continue;
        }
        chosen.entry((life.node, life.remote)).or_default().push((life.local.port(), Ref::Record(at)));
    }
    for ((node, remote), mut ports) in chosen {
        ports.sort_by_key(|p| p.1);
        let host = case.name(node);
        let range = out.value(host, RANGE);
        let Some(low) =
            range.and_then(|r| r.trim_matches('\'').split_whitespace().next()?.parse::<u16>().ok())
        else {
            continue;
        };
        let parity = |p: &(u16, Ref)| p.0 % 2 == low % 2;
        let first = ports.iter().take_while(|p| parity(p)).count();
        if first == 0 || first == ports.len() || ports[first..].iter().any(parity) {
            continue;
        }
        let list =
            |ports: &[(u16, Ref)]| ports.iter().map(|p| p.0.to_string()).collect::<Vec<_>>().join(", ");
        let kind = if low % 2 == 0 { ("even", "odd") } else { ("odd", "even") };
        let text = format!(
            "for {remote} {host}'s connect() took the {} ports of its range first ({}), as the range begins with one, and the {} \
             ones ({}) when those were taken",
            kind.0,
            list(&ports[..first]),
            kind.1,
            list(&ports[first..]),
        );
        out.say("port-choice", text, ports.iter().map(|p| p.1));
        out.decides(host, RANGE);
    }
}

fn with_itself(case: &Case<'_>, lives: &[Life], out: &mut Findings) {
    for life in lives.iter().filter(|l| l.local == l.remote) {
        let (Some((sent, _)), Some((met, _)), Some((open, _))) =
            (life.when("SYN-SENT"), life.when("SYN-RECV"), life.when("ESTAB"))
        else {
            continue;
        };
        let text = format!(
            "{}'s socket at {} connected to itself: its own SYN reached it in SYN-SENT, a simultaneous open with one end, and \
             what it sends it receives",
            case.name(life.node),
            life.local
        );
        out.say("self-connect", text, [sent, met, open].map(Ref::Record));
    }
}
