//! How many ICMP errors may be sent: one bucket for the host, one for each destination. RFC 1812 §4.3.2.8, RFC
//! 4443 §2.4(f). Linux: net/ipv4/icmp.c `icmp_global_allow`, `icmp_global_consume`; net/ipv4/inetpeer.c
//! `inet_peer_xrlim_allow`; net/ipv4/route.c `ip_error`, `ip_rt_send_redirect`.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::IpAddr;

use wire::Instant;

use crate::rng::Rng;

/// `inet_peer_threshold`: destinations remembered.
const MAX_PEERS: usize = 65_664;
/// `XRLIM_BURST_FACTOR`: errors to one destination at once.
const BURST: u32 = 6;
/// `ip_rt_error_cost` and `ip_rt_error_burst`.
const ERROR_COST: Duration = Duration::from_secs(1);
const ERROR_BURST: Duration = Duration::from_secs(5);
/// A new destination has this much credit (`inet_getpeer`: `rate_last = jiffies - 60*HZ`).
const FRESH: Duration = Duration::from_secs(60);

/// The host's own bucket (`net.ipv4.icmp_msgs_per_sec`, `icmp_msgs_burst`); it may go below zero.
#[derive(Clone, Debug)]
pub(crate) struct GlobalLimit {
    credit: i64,
    stamp: Option<Instant>,
    rng: Rng,
}

impl GlobalLimit {
    pub(crate) fn new(rng: &Rng) -> GlobalLimit {
        GlobalLimit { credit: 0, stamp: None, rng: rng.fork("icmp-global") }
    }

    /// `icmp_global_allow`: credit is left, or 20 ms have passed and some comes back.
    pub(crate) fn allow(&mut self, now: Instant, msgs_per_sec: i32, burst: i32) -> bool {
        if self.credit > 0 {
            return true;
        }
        let second = Duration::from_secs(1);
        let idle = self.stamp.map_or(second, |stamp| (now - stamp).min(second));
        if idle < second / 50 {
            return false;
        }
        let ms = i64::try_from(idle.as_millis()).expect("at most a second");
        let more = i64::from(msgs_per_sec) * ms / 1000;
        if more == 0 {
            return false;
        }
        self.stamp = Some(now);
        self.credit = (self.credit + more).min(i64::from(burst));
        true
    }

    /// `icmp_global_consume`: a random 0, 1 or 2, so that nobody can count another's packets by it.
    pub(crate) fn consume(&mut self) {
        self.credit -= i64::try_from(self.rng.below(3)).expect("at most 2");
    }
}

/// What is remembered of one destination (`struct inet_peer`).
#[derive(Clone, Copy, Debug)]
struct Peer {
    tokens: Duration,
    last: Option<Instant>,
    redirects: u32,
}

impl Default for Peer {
    fn default() -> Self {
        Peer { tokens: Duration::ZERO, last: None, redirects: 0 }
    }
}

impl Peer {
    /// Adds the time since the last look to the tokens.
    fn earn(&mut self, now: Instant, most: Duration) {
        let idle = self.last.map_or(FRESH, |last| now - last);
        self.tokens = (self.tokens + idle).min(most);
        self.last = Some(now);
    }
}

/// `ip_rt_redirect_number`, `_load` and `_silence`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RedirectLimits {
    pub(crate) number: u32,
    pub(crate) load: Duration,
    pub(crate) silence: Duration,
}

/// All destinations that errors were sent to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers(BTreeMap<IpAddr, Peer>);

impl Peers {
    fn peer(&mut self, addr: IpAddr) -> &mut Peer {
        if self.0.len() >= MAX_PEERS && !self.0.contains_key(&addr) {
            self.0.pop_first();
        }
        self.0.entry(addr).or_default()
    }

    /// `inet_peer_xrlim_allow`: one error each `interval`, and six at once. TRUTH 8e, 11e.
    pub(crate) fn allow(&mut self, now: Instant, addr: IpAddr, interval: Duration) -> bool {
        let peer = self.peer(addr);
        peer.earn(now, interval * BURST);
        let allowed = peer.tokens >= interval;
        if allowed {
            peer.tokens -= interval;
        }
        allowed
    }

    /// `ip_error`: a second limit, on the same tokens, for "no route".
    pub(crate) fn error_allowed(&mut self, now: Instant, addr: IpAddr) -> bool {
        let peer = self.peer(addr);
        peer.earn(now, ERROR_BURST);
        let allowed = peer.tokens >= ERROR_COST;
        if allowed {
            peer.tokens -= ERROR_COST;
        }
        allowed
    }

    /// `ip_rt_send_redirect`: after each redirect that is ignored, twice as long until the next; after
    /// `number` of them silence.
    pub(crate) fn redirect_allowed(&mut self, now: Instant, addr: IpAddr, limits: RedirectLimits) -> bool {
        let peer = self.peer(addr);
        let last = peer.last;
        if last.is_some_and(|last| now - last > limits.silence) || last.is_none() {
            peer.tokens = Duration::ZERO;
            peer.redirects = 0;
        }
        if peer.redirects >= limits.number {
            peer.last = Some(now);
            return false;
        }
        let wait = limits.load * (1 << peer.redirects.min(16));
        if peer.redirects == 0 || last.is_none_or(|last| now - last > wait) {
            peer.last = Some(now);
            peer.redirects += 1;
            return true;
        }
        false
    }

    /// `ip6_forward`: one redirect a second for a destination.
    pub(crate) fn redirect6_allowed(&mut self, now: Instant, addr: IpAddr) -> bool {
        self.allow(now, addr, Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const SECOND: Duration = Duration::from_secs(1);

    /// TRUTH 8e: 30 at once get 6 answers; 40 over 2 s get 7 (6 and 1 more after a second).
    #[test]
    fn six_at_once_then_one_a_second_8e() {
        let mut peers = Peers::default();
        let now = Instant::from_secs(5);
        assert_eq!((0..30).filter(|_| peers.allow(now, PEER, SECOND)).count(), 6);
        let mut peers = Peers::default();
        let spread =
            (0..40).filter(|i| peers.allow(now + Duration::from_millis(50) * *i, PEER, SECOND)).count();
        assert_eq!(spread, 7);
    }

    #[test]
    fn the_hosts_own_limit_is_about_fifty_at_once_and_random_in_its_cost() {
        let mut limit = GlobalLimit::new(&Rng::new(1, "h"));
        let now = Instant::from_secs(5);
        let mut sent = 0;
        while limit.allow(now, 1000, 50) {
            limit.consume();
            sent += 1;
        }
        assert!((34..=80).contains(&sent), "{sent} of about 50");
        assert!(!limit.allow(now + Duration::from_millis(19), 1000, 50));
        assert!(limit.allow(now + Duration::from_millis(20), 1000, 50));
    }

    /// Nine redirects, each after twice the time, then none until 20.48 s of silence.
    #[test]
    fn redirects_grow_rare_and_stop() {
        let limits = RedirectLimits {
            number: 9,
            load: Duration::from_millis(20),
            silence: Duration::from_millis(20_480),
        };
        let mut peers = Peers::default();
        let mut sent = Vec::new();
        for ms in 0..30_000 {
            if peers.redirect_allowed(Instant::from_millis(ms), PEER, limits) {
                sent.push(ms);
            }
        }
        assert_eq!(sent, [0, 41, 122, 283, 604, 1245, 2526, 5087, 10208]);
        assert!(peers.redirect_allowed(Instant::from_millis(60_000), PEER, limits));
    }
}
