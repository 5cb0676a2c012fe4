//! Which local port a connection or a listener gets. TRUTH.md §7 (7f, 7b3), §8; RFC 6056.
//!
//! Linux: inet_hashtables.c `__inet_hash_connect`, `__inet_check_established`; inet_connection_sock.c
//! `inet_csk_get_port`, `inet_csk_find_open_port`, `inet_csk_bind_conflict`.

use std::net::{IpAddr, SocketAddr};

use wire::Instant;

use super::bind::Holder;
use super::tables::{Owner, tuple_hash};
use super::tw::Recycled;
use crate::{Errno, Stack};

/// Salts by destination (`INET_TABLE_PERTURB_SIZE`, there 65536).
pub(crate) const PERTURB: usize = 256;

/// What the four-tuple of a new connection meets.
enum Tuple {
    Free,
    Recycle(Recycled),
    Taken,
}

/// One party of a conflict.
#[derive(Clone, Copy)]
struct Party {
    addr: IpAddr,
    v6only: bool,
    reuse: bool,
    reuse_port: bool,
    bound_if: u32,
    listens: bool,
}

/// `inet_rcv_saddr_equal` with wildcards matching.
fn overlap(a: &Party, b: &Party) -> bool {
    match (a.addr, b.addr) {
        (IpAddr::V4(x), IpAddr::V4(y)) => x == y || x.is_unspecified() || y.is_unspecified(),
        (IpAddr::V6(x), IpAddr::V6(y)) => x == y || x.is_unspecified() || y.is_unspecified(),
        (IpAddr::V6(x), IpAddr::V4(_)) => x.is_unspecified() && !a.v6only,
        (IpAddr::V4(_), IpAddr::V6(y)) => y.is_unspecified() && !b.v6only,
    }
}

/// `inet_bind_conflict`: `a` wants to join.
fn conflicts(a: &Party, b: &Party) -> bool {
    if a.bound_if != 0 && b.bound_if != 0 && a.bound_if != b.bound_if {
        return false;
    }
    let shares_port = a.reuse_port && b.reuse_port;
    let shares_addr = a.reuse && b.reuse && !b.listens;
    !shares_port && !shares_addr && overlap(a, b)
}

impl Stack {
    fn party(&self, holder: Holder) -> Party {
        match holder {
            Holder::Sock(id) => {
                let sock = &self.tcp.socks[id];
                Party {
                    addr: sock.rcv_addr,
                    v6only: sock.opts.v6only,
                    reuse: sock.opts.reuse_addr,
                    reuse_port: sock.opts.reuse_port,
                    bound_if: sock.opts.bound_if,
                    listens: sock.listener.is_some(),
                }
            }
            Holder::TimeWait(id) => {
                let tw = &self.tcp.time_waits[id];
                let addr = self.tcp.time_waits.addrs(tw).0.ip();
                Party {
                    addr,
                    v6only: addr.is_ipv6(),
                    reuse: tw.reuse(),
                    reuse_port: tw.reuse_port(),
                    bound_if: 0,
                    listens: false,
                }
            }
        }
    }

    /// `inet_csk_bind_conflict`: by `SO_REUSEADDR` it may join unless somebody listens.
    pub(super) fn tcp_bind_conflict(&self, id: u32, port: u16) -> bool {
        let Some(bucket) = self.tcp.binds.bucket(port) else { return false };
        let wants = self.party(Holder::Sock(id));
        bucket.holders().any(|holder| holder != Holder::Sock(id) && conflicts(&wants, &self.party(holder)))
    }

    /// `inet_csk_get_port`: this port, or any for 0.
    pub(crate) fn tcp_get_port(&mut self, id: u32, port: u16) -> Result<(), Errno> {
        let port = match port {
            0 => self.tcp_find_open_port(id).ok_or(Errno::EADDRINUSE)?,
            port if self.tcp_bind_conflict(id, port) => return Err(Errno::EADDRINUSE),
            port => port,
        };
        let place = self.tcp.binds.add(port, Holder::Sock(id), false);
        let sock = &mut self.tcp.socks[id];
        sock.port = port;
        sock.bind_place = place;
        Ok(())
    }

    fn port_range(&self, id: u32) -> (u32, u32) {
        let ns = &self.sysctl.ns;
        let range = ns.ip_local_port_range.map(|n| u16::try_from(n).unwrap_or(u16::MAX));
        let (mut low, mut high) = (range[0], range[1]);
        let (own_low, own_high) = self.tcp.socks[id].opts.port_range;
        if own_low > low && own_low <= high {
            low = own_low;
        }
        if own_high != 0 && own_high < high && own_high >= low {
            high = own_high;
        }
        (low.into(), u32::from(high) + 1)
    }

    fn is_reserved(&self, port: u16) -> bool {
        let text = &self.sysctl.ns.ip_local_reserved_ports;
        !text.is_empty() && crate::udp::bind::parse_ports(text).iter().any(|(a, b)| (*a..=*b).contains(&port))
    }

    /// `inet_csk_find_open_port`: a random odd offset first, then even ones; `SO_REUSEADDR` looks in the lower half.
    fn tcp_find_open_port(&mut self, id: u32) -> Option<u16> {
        let reuse = self.tcp.socks[id].opts.reuse_addr;
        let halves: &[bool] = if reuse { &[true, false] } else { &[false] };
        for half in halves {
            let (low, mut high) = self.port_range(id);
            if high.saturating_sub(low) < 4 && *half {
                continue;
            }
            if *half {
                high = low + (((high - low) >> 2) << 1);
            }
            let mut remaining = high.saturating_sub(low);
            if remaining > 1 {
                remaining &= !1;
            }
            if remaining == 0 {
                return None;
            }
            let mut offset = self.tcp.rng.below(remaining.into()) as u32; // below `remaining`
            offset |= 1; // __inet_hash_connect favours the other parity
            for _ in 0..2 {
                let mut port = low + offset;
                for _ in (0..remaining).step_by(2) {
                    if port >= high {
                        port -= remaining;
                    }
                    let candidate = u16::try_from(port).expect("a port");
                    if !self.is_reserved(candidate) && !self.tcp_bind_conflict(id, candidate) {
                        return Some(candidate);
                    }
                    port += 2;
                }
                offset = offset.wrapping_sub(1);
                if offset & 1 == 1 {
                    break;
                }
            }
        }
        None
    }

    /// `__inet_check_established`
    fn tuple_state(&self, now: Instant, local: SocketAddr, remote: SocketAddr, chosen: bool) -> Tuple {
        match self.tcp_lookup(local, remote) {
            None => Tuple::Free,
            Some(Owner::TimeWait(id)) => {
                self.time_wait_reusable(now, id, chosen).map_or(Tuple::Taken, Tuple::Recycle)
            }
            Some(Owner::Full(_) | Owner::Request(_)) => Tuple::Taken,
        }
    }

    /// `inet_hash_connect`: gives the connection a four-tuple of its own, and a port if it has none. Returns the
    /// TIME_WAIT entry that makes room.
    pub(crate) fn tcp_hash_connect(
        &mut self,
        now: Instant,
        id: u32,
        local: IpAddr,
        remote: SocketAddr,
    ) -> Result<(u16, Option<Recycled>), Errno> {
        let sock = &self.tcp.socks[id];
        if sock.bind_place != super::sock::NO_PLACE {
            let port = sock.port;
            return match self.tuple_state(now, SocketAddr::new(local, port), remote, false) {
                Tuple::Free => Ok((port, None)),
                Tuple::Recycle(entry) => Ok((port, Some(entry))),
                Tuple::Taken => Err(Errno::EADDRNOTAVAIL),
            };
        }
        let (low, high) = self.port_range(id);
        let mut remaining = high.saturating_sub(low);
        if remaining > 1 {
            remaining &= !1;
        }
        if remaining == 0 {
            return Err(Errno::EADDRNOTAVAIL);
        }
        let hash = self.tcp.secrets.port_offset(local, remote);
        let index = (hash % PERTURB as u64) as usize; // below PERTURB
        let salt = u64::from(self.perturb(index)) + (hash >> 32);
        let mut offset = u32::try_from(salt % u64::from(remaining)).expect("below `remaining`") & !1;
        for _ in 0..2 {
            let mut port = low + offset;
            for step in (0..remaining).step_by(2) {
                if port >= high {
                    port -= remaining;
                }
                let candidate = u16::try_from(port).expect("a port");
                port += 2;
                if self.is_reserved(candidate) {
                    continue;
                }
                // A port that somebody bound by name is left alone.
                if self.tcp.binds.bucket(candidate).is_some_and(|b| !b.only_connect) {
                    continue;
                }
                let recycled = match self.tuple_state(now, SocketAddr::new(local, candidate), remote, true) {
                    Tuple::Free => None,
                    Tuple::Recycle(entry) => Some(entry),
                    Tuple::Taken => continue,
                };
                let jump = (self.tcp.rng.below(8) as u32 * 2).max(step) + 2; // below 16
                let salt = &mut self.tcp.port_perturb[index];
                *salt = salt.wrapping_add(jump);
                return Ok((candidate, recycled));
            }
            offset += 1;
            if remaining <= 1 {
                break;
            }
        }
        Err(Errno::EADDRNOTAVAIL)
    }

    fn perturb(&mut self, index: usize) -> u32 {
        if self.tcp.port_perturb.is_empty() {
            self.tcp.port_perturb = (0..PERTURB).map(|_| self.tcp.rng.next_u32()).collect();
        }
        self.tcp.port_perturb[index]
    }

    /// Enters a connection into the tables under the tuple that [`Stack::tcp_hash_connect`] found.
    pub(crate) fn tcp_hash_in(
        &mut self,
        now: Instant,
        id: u32,
        local: SocketAddr,
        remote: SocketAddr,
        recycled: Option<Recycled>,
    ) {
        if let Some(entry) = recycled {
            self.mib.inc(crate::mib::Counter::TcpExtTWRecycled);
            self.time_wait_kill(now, entry.entry);
        }
        let hash = tuple_hash(self.tcp.secrets.port[0], local, remote);
        self.tcp.ehash.insert(hash, Owner::Full(id));
        self.tcp.socks[id].hash = Some(hash);
        if self.tcp.socks[id].bind_place == super::sock::NO_PLACE {
            let place = self.tcp.binds.add(local.port(), Holder::Sock(id), true);
            let sock = &mut self.tcp.socks[id];
            sock.port = local.port();
            sock.bind_place = place;
        }
    }
}
