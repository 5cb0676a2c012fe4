//! The servers of a proxy and whose turn it is: smooth weighted round robin with nginx's passive checks
//! (`ngx_http_upstream_round_robin.c`).

use core::time::Duration;
use std::sync::Mutex;

use tokio::time::Instant;

use crate::http::client::locked;
use crate::units::Span;

/// One server.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    host: String,
    port: u16,
    weight: i64,
    max_fails: u32,
    fail_timeout: Duration,
    backup: bool,
    down: bool,
    current: i64,
    fails: u32,
    checked: Option<Instant>,
}

impl Peer {
    pub(super) fn parse(text: &str) -> Result<Peer, String> {
        let mut words = text.split_whitespace();
        let address = words.next().ok_or("a server has a name")?;
        let (host, port) =
            address.rsplit_once(':').map_or((address, Ok(80)), |(host, port)| (host, port.parse()));
        let mut peer = Peer {
            host: host.into(),
            port: port.map_err(|_| format!("{address:?}: no port"))?,
            weight: 1,
            max_fails: 1,
            fail_timeout: Duration::from_secs(10),
            backup: false,
            down: false,
            current: 0,
            fails: 0,
            checked: None,
        };
        for word in words {
            let wrong = || {
                format!(
                    "{word:?} is no parameter of a server: weight=, max_fails=, fail_timeout=, backup, down"
                )
            };
            match word.split_once('=') {
                Some(("weight", n)) => {
                    peer.weight = n.parse().ok().filter(|n| (1..=1000).contains(n)).ok_or_else(wrong)?
                }
                Some(("max_fails", n)) => peer.max_fails = n.parse().map_err(|_| wrong())?,
                Some(("fail_timeout", span)) => peer.fail_timeout = Span::parse(span)?.0,
                None if word == "backup" => peer.backup = true,
                None if word == "down" => peer.down = true,
                _ => return Err(wrong()),
            }
        }
        Ok(peer)
    }

    /// As `ngx_http_upstream_get_peer` asks.
    fn is_live(&self, now: Instant) -> bool {
        let recent = self.checked.is_some_and(|at| now.duration_since(at) <= self.fail_timeout);
        let failed = self.max_fails > 0 && self.fails >= self.max_fails && recent;
        !self.down && !failed
    }
}

/// All of them.
pub(super) struct Peers(Mutex<Vec<Peer>>);

impl Peers {
    pub(super) fn new(all: Vec<Peer>) -> Peers {
        Peers(Mutex::new(all))
    }

    /// Those that are not out for good.
    pub(super) fn usable(&self) -> usize {
        locked(&self.0).iter().filter(|peer| !peer.down).count()
    }

    /// Host and port.
    pub(super) fn address(&self, index: usize) -> (String, u16) {
        let peer = &locked(&self.0)[index];
        (peer.host.clone(), peer.port)
    }

    /// Smooth weighted round robin; servers that were asked already are left out, backups come last.
    pub(super) fn choose(&self, tried: &[usize]) -> Option<usize> {
        let now = Instant::now();
        let mut peers = locked(&self.0);
        let single = peers.len() == 1;
        for backup in [false, true] {
            let mut total = 0;
            let mut best: Option<usize> = None;
            for index in 0..peers.len() {
                let peer = &mut peers[index];
                let out = peer.backup != backup
                    || tried.contains(&index)
                    || !(peer.is_live(now) || single && !peer.down);
                if out {
                    continue;
                }
                peer.current += peer.weight;
                total += peer.weight;
                let current = peer.current;
                if best.is_none_or(|best| current > peers[best].current) {
                    best = Some(index);
                }
            }
            if let Some(best) = best {
                peers[best].current -= total;
                return Some(best);
            }
        }
        None
    }

    pub(super) fn failed(&self, index: usize) {
        let peer = &mut locked(&self.0)[index];
        peer.fails = peer.fails.saturating_add(1);
        peer.checked = Some(Instant::now());
    }

    pub(super) fn worked(&self, index: usize) {
        locked(&self.0)[index].fails = 0;
    }
}
