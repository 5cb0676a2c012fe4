//! Sockets as `ss` prints them. iproute2: misc/ss.c.

use core::fmt::Write;
use std::net::IpAddr;

use super::sock::Dgram;
use super::{DgramKind, Pid};
use crate::Stack;
use crate::call::Domain;

/// Which sockets `ss` shows, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SsQuery {
    /// `-u`
    pub udp: bool,
    /// `-w`
    pub raw: bool,
    /// `-m`: a second line with `skmem:(…)`.
    pub memory: bool,
    /// Without `-a` only connected sockets.
    pub all: bool,
}

impl Default for SsQuery {
    /// `ss -ua`
    fn default() -> Self {
        SsQuery { udp: true, raw: false, memory: false, all: true }
    }
}

/// Local and peer address and port as `ss -n` prints them: `(address, port)` twice.
fn columns(sock: &Dgram, device: Option<&str>) -> [(String, String); 2] {
    let port = |n: u16| if n == 0 { "*".to_owned() } else { n.to_string() };
    // A dual-stack wildcard is a star, and so is the peer that it has not.
    let star = sock.domain == Domain::Inet6 && sock.saddr_shown().is_unspecified() && !sock.opts.v6only;
    let addr = |ip: IpAddr| match (sock.domain, ip) {
        (Domain::Inet6, IpAddr::V4(v4)) => format!("[::ffff:{v4}]"),
        (_, IpAddr::V6(v6)) if v6.is_unspecified() && star => "*".to_owned(),
        (_, IpAddr::V6(v6)) => format!("[{v6}]"),
        (_, IpAddr::V4(v4)) => v4.to_string(),
    };
    let (peer, peer_port) = sock.peer.unwrap_or((Dgram::any_addr(sock.domain), 0));
    let device = device.map(|name| format!("%{name}")).unwrap_or_default();
    [(addr(sock.saddr_shown()) + &device, port(sock.port)), (addr(peer), port(peer_port))]
}

/// Local address and port, and the peer's, each as one word.
pub(crate) fn ss_addrs(sock: &Dgram) -> (String, String) {
    let [(local, local_port), (peer, peer_port)] = columns(sock, None);
    (format!("{local}:{local_port}"), format!("{peer}:{peer_port}"))
}

impl Stack {
    /// `ss -uan`
    pub fn ss_udp(&self) -> String {
        self.ss(&SsQuery::default())
    }

    /// A table with `ss`'s columns; one line for each socket that has a port, in the order they were made.
    pub fn ss(&self, query: &SsQuery) -> String {
        let head = ["State", "Recv-Q", "Send-Q", "Local Address", "Port", "Peer Address", "Port"];
        let mut rows: Vec<[String; 7]> = vec![head.map(str::to_owned)];
        let mut memory = vec![String::new()];
        let mut socks: Vec<&Dgram> = self.sockets.dgrams.iter().map(|(_, sock)| &**sock).collect();
        socks.sort_by_key(|sock| sock.serial);
        for sock in socks {
            let kind = match sock.kind {
                DgramKind::Udp => query.udp,
                DgramKind::Raw => query.raw,
                DgramKind::Ping => false,
            };
            if !kind || sock.port == 0 || !(query.all || sock.peer.is_some()) {
                continue;
            }
            let device = self.ifaces.get(sock.opts.bound_if).map(|iface| &*iface.name);
            let [(local, local_port), (peer, peer_port)] = columns(sock, device);
            let (state, queue) = (sock.state().to_owned(), sock.rmem.to_string());
            rows.push([state, queue, "0".to_owned(), local, local_port, peer, peer_port]);
            memory.push(format!(
                "\t skmem:(r{},rb{},t0,tb{},f0,w0,o0,bl0,d{})",
                sock.rmem, sock.opts.rcvbuf, sock.opts.sndbuf, sock.drops
            ));
        }
        let w: Vec<usize> = (0..7).map(|c| rows.iter().map(|r| r[c].len()).max().unwrap_or(0)).collect();
        let mut text = String::new();
        for (row, memory) in rows.iter().zip(&memory) {
            let [state, recv, send, local, local_port, peer, peer_port] = row;
            // Addresses end, and ports begin, at the colon.
            let line = format!(
                "{state:<s$} {recv:<r$} {send:<q$} {local:>l$}:{local_port:<p$} {peer:>e$}:{peer_port}",
                s = w[0],
                r = w[1],
                q = w[2],
                l = w[3],
                p = w[4],
                e = w[5],
            );
            text.push_str(&line);
            text.push('\n');
            if query.memory && !memory.is_empty() {
                writeln!(text, "{memory}").expect("writing to a String does not fail");
            }
        }
        text
    }

    /// Whether a process sleeps in a call: for `ps`-like views.
    pub fn is_sleeping(&self, pid: Pid) -> bool {
        self.sockets.process(pid).is_some_and(|p| p.sleep.is_some())
    }
}
