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

/// Local and peer address and port as `ss -n` prints them.
pub(crate) fn ss_addrs(sock: &Dgram) -> (String, String) {
    let port = |n: u16| if n == 0 { "*".to_owned() } else { n.to_string() };
    let addr = |ip: IpAddr| match (sock.domain, ip) {
        (Domain::Inet6, IpAddr::V4(v4)) => format!("[::ffff:{v4}]"),
        // A dual-stack wildcard is a star; an IPv6-only one is [::].
        (_, IpAddr::V6(v6)) if v6.is_unspecified() && !sock.opts.v6only => "*".to_owned(),
        (_, IpAddr::V6(v6)) => format!("[{v6}]"),
        (_, IpAddr::V4(v4)) => v4.to_string(),
    };
    let any = Dgram::any_addr(sock.domain);
    let (peer, peer_port) = sock.peer.unwrap_or((any, 0));
    (
        format!("{}:{}", addr(sock.saddr_shown()), port(sock.port)),
        format!("{}:{}", addr(peer), port(peer_port)),
    )
}

impl Stack {
    /// `ss -uan`
    pub fn ss_udp(&self) -> String {
        self.ss(&SsQuery::default())
    }

    /// A table with `ss`'s columns; one line for each socket that has a port, in the order they were made.
    pub fn ss(&self, query: &SsQuery) -> String {
        let mut rows: Vec<[String; 5]> =
            vec![["State", "Recv-Q", "Send-Q", "Local Address:Port", "Peer Address:Port"].map(str::to_owned)];
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
            let (local, peer) = ss_addrs(sock);
            rows.push([sock.state().to_owned(), sock.rmem.to_string(), "0".to_owned(), local, peer]);
            memory.push(format!(
                "\t skmem:(r{},rb{},t0,tb{},f0,w0,o0,bl0,d{})",
                sock.rmem, sock.opts.rcvbuf, sock.opts.sndbuf, sock.drops
            ));
        }
        let widths: Vec<usize> = (0..5).map(|c| rows.iter().map(|r| r[c].len()).max().unwrap_or(0)).collect();
        let mut text = String::new();
        for (row, memory) in rows.iter().zip(&memory) {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, w)| format!("{cell:<w$}")).collect();
            text.push_str(cells.join(" ").trim_end());
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
