//! `tcp_tw_recycle`, as kernels had it until 4.12: TIME-WAIT for 3.5 RTOs instead of 60 seconds, and for the next minute
//! no SYN of the peer's *host* with an older timestamp. Behind one NAT address stand many hosts, each with a clock of its
//! own: that is why it is gone (TRUTH §13).
//!
//! Linux 4.4: tcp_metrics.c `tcp_remember_stamp`, `tcp_tw_remember_stamp`, `tcp_peer_is_proven`; tcp_minisocks.c
//! `tcp_time_wait`; tcp_input.c `tcp_conn_request`.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::IpAddr;

use wire::Instant;

use super::cx::clock_s;
use super::request::RequestSock;
use crate::mib::Counter;
use crate::{DropReason, KernelProfile, Stack};

/// `TCP_PAWS_MSL`, seconds: how long a host's last timestamp counts.
const PAWS_MSL: u32 = 60;
/// `TCP_PAWS_WINDOW`: timestamps may be so much older.
const PAWS_WINDOW: i32 = 1;
/// Hosts that are remembered; beyond, the one not heard of for longest goes.
const LIMIT: usize = 16_384;

/// The last timestamp of a host.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    /// `tcpm_ts`
    ts: u32,
    /// `tcpm_ts_stamp`: our second when it came.
    at_s: u32,
}

/// The last timestamps of hosts, by their address and ours.
#[derive(Debug, Default)]
pub(crate) struct Stamps(BTreeMap<(IpAddr, IpAddr), Stamp>);

impl Stamps {
    fn remember(&mut self, now_s: u32, key: (IpAddr, IpAddr), new: Stamp) {
        if self.0.len() >= LIMIT && !self.0.contains_key(&key) {
            let oldest = self.0.iter().min_by_key(|(_, s)| s.at_s).map(|(k, _)| *k);
            self.0.remove(&oldest.expect("it is full"));
        }
        let known = self.0.entry(key).or_insert(new);
        let newer = known.ts.wrapping_sub(new.ts) as i32 <= 0;
        let expired = now_s.wrapping_sub(known.at_s) > PAWS_MSL && known.at_s <= new.at_s;
        if newer || expired {
            *known = new;
        }
    }

    /// `tcp_peer_is_proven` with `paws_check`: whether a SYN with this timestamp is no old one.
    fn allows(&self, now_s: u32, key: (IpAddr, IpAddr), ts: Option<u32>) -> bool {
        let Some(known) = self.0.get(&key).filter(|s| now_s.wrapping_sub(s.at_s) < PAWS_MSL) else {
            return true;
        };
        ts.is_some_and(|ts| known.ts.wrapping_sub(ts) as i32 <= PAWS_WINDOW)
    }
}

impl Stack {
    pub(super) fn recycles(&self) -> bool {
        self.config.profile <= KernelProfile::V4_4 && self.sysctl.ns.tcp_tw_recycle != 0
    }

    /// `tcp_remember_stamp`: the peer's host has this timestamp at its end. How long TIME-WAIT lasts then, if shorter.
    pub(super) fn recycle_time_wait(
        &mut self,
        now: Instant,
        (local, remote): (IpAddr, IpAddr),
        ts: (u32, u32),
        rto: Duration,
    ) -> Option<Duration> {
        let (ts, at_s) = ts;
        if !self.recycles() || at_s == 0 {
            return None;
        }
        self.tcp.stamps.remember(clock_s(now), (remote, local), Stamp { ts, at_s });
        Some(rto * 7 / 2)
    }

    /// The part of `tcp_conn_request` that keeps the second host behind a NAT out.
    pub(super) fn recycle_check(&mut self, now: Instant, req: &RequestSock) -> Result<(), DropReason> {
        let ts = req.ts_ok.then_some(req.ts_recent);
        if !self.recycles() || self.tcp.stamps.allows(clock_s(now), (req.remote.ip(), req.local.ip()), ts) {
            return Ok(());
        }
        self.mib.inc(Counter::TcpExtPAWSPassive);
        self.mib.inc(Counter::TcpExtListenDrops);
        Err(DropReason::TcpRfc7323Paws)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_timestamp_of_the_same_host_is_refused_for_a_minute() {
        let mut stamps = Stamps::default();
        let key = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        stamps.remember(100, key, Stamp { ts: 5000, at_s: 100 });
        assert!(
            stamps.allows(110, key, Some(5001)) && stamps.allows(110, key, Some(4999)),
            "TCP_PAWS_WINDOW"
        );
        assert!(!stamps.allows(110, key, Some(4998)));
        assert!(!stamps.allows(110, key, None), "without timestamps nobody can tell");
        assert!(stamps.allows(160, key, Some(1)), "TCP_PAWS_MSL");
        let other = (IpAddr::from([192, 0, 2, 9]), key.1);
        assert!(stamps.allows(110, other, Some(1)), "another host");
        stamps.remember(120, key, Stamp { ts: 4000, at_s: 120 });
        assert!(!stamps.allows(121, key, Some(4500)), "the newest one counts");
    }
}
