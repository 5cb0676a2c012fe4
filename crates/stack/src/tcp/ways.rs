//! Which way connections go, and the ways that were looked up lately: opening one connection asks several times.
//!
//! Linux keeps the route in the socket and in the request (`sk_dst_cache`, `ireq`); net/ipv4/route.c
//! `ip_route_output_flow`, include/net/dst.h `dst_metric`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use wire::Instant;

use crate::record::IfIndex;
use crate::route::{Dst, Flow, Metrics};
use crate::{Errno, Stack};

/// Ways that are remembered, a power of two.
const WAYS: usize = 4;

/// One way; void when the routing generation has moved on.
#[derive(Clone, Copy, Debug)]
struct Known {
    generation: u32,
    src: Ipv4Addr,
    dst: Ipv4Addr,
    oif: IfIndex,
    way: (Dst, Metrics),
}

/// The last few IPv4 ways, by the low bits of the destination. Empty it owns nothing.
#[derive(Debug, Default)]
pub(crate) struct Ways(Vec<Known>);

impl Stack {
    /// A route with its metrics.
    pub(super) fn tcp_look_up(&mut self, now: Instant, flow: &Flow) -> Result<(Dst, Metrics), Errno> {
        // Exceptions expire, IPv6 routes as well: those are asked each time.
        let (IpAddr::V4(dst), IpAddr::V4(src), false) = (flow.dst, flow.src, self.fib.has_exceptions())
        else {
            let dst = self.route_output(now, flow)?;
            return Ok((dst, self.route_metrics(now, flow)));
        };
        let generation = self.route_generation();
        let slot = dst.to_bits() as usize % WAYS;
        if let Some(known) = self.tcp.ways.0.get(slot)
            && (known.generation, known.src, known.dst, known.oif) == (generation, src, dst, flow.oif)
        {
            return Ok(known.way);
        }
        let way = (self.route_output(now, flow)?, self.route_metrics(now, flow));
        let known = Known { generation, src, dst, oif: flow.oif, way };
        if self.tcp.ways.0.is_empty() {
            self.tcp.ways.0 = vec![known; WAYS];
        }
        self.tcp.ways.0[slot] = known;
        Ok(way)
    }

    /// The route of a connection from `local` to `remote`, and what it says about paths.
    pub(super) fn tcp_route(
        &mut self,
        now: Instant,
        sock: Option<u32>,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<(Dst, Metrics)> {
        let (oif, tos) = match sock.and_then(|s| self.tcp.socks.get(s)) {
            Some(s) => (s.opts.bound_if, if remote.is_ipv4() { s.opts.tos } else { s.opts.tclass }),
            None => (0, 0),
        };
        let link_local = matches!(remote.ip(), IpAddr::V6(v6) if v6.is_unicast_link_local());
        let oif = if oif == 0 && link_local {
            sock.and_then(|s| self.tcp.socks.get(s)).map_or(0, |s| s.peer_scope)
        } else {
            oif
        };
        let flow = Flow { dst: remote.ip(), src: local.ip(), oif, tos: tos & 0xfc };
        self.tcp_look_up(now, &flow).ok()
    }

    /// `dst_metric_advmss`: the MSS that we announce on this route.
    pub(super) fn advmss(&self, dst: &Dst, metrics: &Metrics, remote: SocketAddr) -> u16 {
        let (header, least, most) = if remote.is_ipv4() {
            (40, u32::try_from(self.sysctl.ns.route_min_adv_mss).unwrap_or(256), 65_495)
        } else {
            (60, u32::try_from(self.sysctl.ns.route6_min_adv_mss).unwrap_or(1220), 65_535)
        };
        let default = dst.mtu.saturating_sub(header).max(least).min(most);
        let mss = if metrics.advmss > 0 { metrics.advmss.min(default) } else { default };
        u16::try_from(mss).expect("clamped")
    }
}
