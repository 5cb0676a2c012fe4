//! What IPv4 options do to a packet on its way: record route, timestamp, source routes, router alert. RFC 791
//! §3.1, RFC 1122 §3.2.1.8, RFC 1812 §5.2.4. Linux: net/ipv4/ip_options.c `__ip_options_compile`,
//! `ip_options_rcv_srr`, `ip_forward_options`.
//!
//! A router writes its address where the pointer stands, in the header itself; then the checksum is new.

use std::net::{IpAddr, Ipv4Addr};

use wire::{Frame, Instant, ipv4};

use super::dev::PktType;
use super::output::addr4;
use crate::icmp::IcmpError;
use crate::icmp::send::About;
use crate::mib::Counter;
use crate::record::IfIndex;
use crate::route::{Dst, Flow, RouteKind};
use crate::{DropReason, Stack};

const END: u8 = 0;
const NOP: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;
const LOOSE_ROUTE: u8 = 131;
const STRICT_ROUTE: u8 = 137;
const ROUTER_ALERT: u8 = 148;

/// Timestamp flags.
const TS_ONLY: u8 = 0;
const TS_AND_ADDR: u8 = 1;
const TS_PRESPEC: u8 = 3;

/// Where each known option stands in the IP header (`struct ip_options`); 0 when it is not there.
#[derive(Clone, Copy, Debug, Default)]
struct Compiled {
    rr: usize,
    ts: usize,
    srr: usize,
    strict: bool,
    router_alert: usize,
}

/// Reads the options; an error is the offset (from the start of the header) that an ICMP parameter problem names.
fn compile(header: &[u8]) -> Result<Compiled, usize> {
    let mut found = Compiled::default();
    let mut at = ipv4::MIN_HEADER_LEN;
    while at < header.len() {
        let kind = header[at];
        match kind {
            END => break,
            NOP => {
                at += 1;
                continue;
            }
            _ => {}
        }
        let len = usize::from(*header.get(at + 1).ok_or(at)?);
        if len < 2 || at + len > header.len() {
            return Err(at);
        }
        let option = &header[at..at + len];
        match kind {
            LOOSE_ROUTE | STRICT_ROUTE => {
                if len < 3 {
                    return Err(at + 1);
                }
                if option[2] < 4 {
                    return Err(at + 2);
                }
                if found.srr != 0 {
                    return Err(at);
                }
                found.srr = at;
                found.strict = kind == STRICT_ROUTE;
            }
            RECORD_ROUTE => {
                if found.rr != 0 {
                    return Err(at);
                }
                if len < 3 {
                    return Err(at + 1);
                }
                let pointer = usize::from(option[2]);
                if pointer < 4 || (pointer <= len && pointer + 3 > len) {
                    return Err(at + 2);
                }
                found.rr = at;
            }
            TIMESTAMP => {
                if found.ts != 0 {
                    return Err(at);
                }
                if len < 4 {
                    return Err(at + 1);
                }
                let pointer = usize::from(option[2]);
                if pointer < 5 {
                    return Err(at + 2);
                }
                let need = if option[3] & 15 == TS_ONLY { 3 } else { 7 };
                if pointer <= len && pointer + need > len {
                    return Err(at + 2);
                }
                if pointer > len && option[3] >> 4 == 15 {
                    return Err(at + 3); // the overflow counter is full too
                }
                found.ts = at;
            }
            ROUTER_ALERT => {
                if len < 4 {
                    return Err(at + 1);
                }
                if option[2] == 0 && option[3] == 0 {
                    found.router_alert = at;
                }
            }
            _ => {}
        }
        at += len;
    }
    Ok(found)
}

fn options_of(head: &[u8]) -> Option<Compiled> {
    let hlen = usize::from(head.first()? & 15) * 4;
    if hlen <= ipv4::MIN_HEADER_LEN {
        return None;
    }
    compile(head.get(..hlen)?).ok()
}

/// The packet must go to exactly the hops it names.
pub(super) fn has_strict_route(head: &[u8]) -> bool {
    options_of(head).is_some_and(|o| o.srr != 0 && o.strict)
}

/// The packet names hops of its own.
pub(super) fn has_source_route(head: &[u8]) -> bool {
    options_of(head).is_some_and(|o| o.srr != 0)
}

/// Milliseconds since midnight UT; the run begins at midnight.
fn milliseconds(now: Instant) -> u32 {
    (now.as_nanos() / 1_000_000 % 86_400_000) as u32 // less than a day
}

fn rewrite_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let checksum = wire::checksum::sum(header).finish();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

impl Stack {
    /// `ip_rcv_options`: an arriving packet with options, after its route was found. Returns the route onwards when a
    /// source route leads there, or why the packet ends here.
    #[cold]
    pub(super) fn ip4_rcv_options(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        pkt_type: PktType,
        route: &Dst,
        frame: &mut Frame,
    ) -> Result<Option<Dst>, DropReason> {
        let hlen = usize::from(frame.head()[0] & 15) * 4;
        let options = match compile(&frame.head()[..hlen]) {
            Ok(options) => options,
            Err(offset) => {
                self.mib.inc(Counter::IpInHdrErrors);
                let about =
                    About { iif: ifindex, pkt_type, local: route.kind == RouteKind::Local, input: true };
                let pointer = offset as u32; // within 60 bytes
                self.icmp4_send(now, about, frame, IcmpError::ParameterProblem(0, pointer));
                return Err(DropReason::IpInhdr);
            }
        };
        // A host that the packet is for stamps it when it arrives (ip_options_compile with a route at hand).
        let IpAddr::V4(here) = route.src else { return Ok(None) };
        let local = if route.kind == RouteKind::Local { addr4(frame.head(), 16) } else { here };
        if route.kind != RouteKind::Unicast {
            let h = &mut frame.head_mut()[..hlen];
            stamp(h, options, local, now, |_| false);
            rewrite_checksum(h);
        }
        if options.srr == 0 {
            return Ok(None);
        }
        if !self.accept_source_route(ifindex) {
            return Err(DropReason::NotSpecified);
        }
        self.ip4_source_route(now, ifindex, pkt_type, route, options, frame)
    }

    /// `ip_options_rcv_srr`: the packet has reached a hop that it names; where to now?
    fn ip4_source_route(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        pkt_type: PktType,
        route: &Dst,
        options: Compiled,
        frame: &mut Frame,
    ) -> Result<Option<Dst>, DropReason> {
        if pkt_type != PktType::Host {
            return Err(DropReason::NotSpecified);
        }
        let about = About { iif: ifindex, pkt_type, local: false, input: true };
        if route.kind == RouteKind::Unicast {
            if options.strict {
                self.icmp4_send(now, about, frame, IcmpError::ParameterProblem(0, 16));
                return Err(DropReason::IpInhdr);
            }
            return Ok(None);
        }
        if route.kind != RouteKind::Local {
            return Err(DropReason::NotSpecified);
        }
        let head = frame.head();
        let at = options.srr;
        let (len, pointer) = (usize::from(head[at + 1]), usize::from(head[at + 2]));
        if pointer > len {
            return Ok(None); // the last hop: it is for us
        }
        if pointer + 3 > len {
            self.icmp4_send(now, about, frame, IcmpError::ParameterProblem(0, (at + 2) as u32)); // within 60
            return Err(DropReason::IpInhdr);
        }
        let next = addr4(head, at + pointer - 1);
        let flow = Flow { dst: next.into(), src: addr4(head, 12).into(), oif: 0, tos: head[1] };
        let found = self.route_input_why(now, &flow, ifindex).map_err(|(_, reason)| reason)?;
        if found.kind != RouteKind::Unicast {
            return Err(DropReason::NotSpecified);
        }
        // The hop's own address takes the place of the one it used; the destination becomes the next hop.
        let IpAddr::V4(here) = found.src else { return Err(DropReason::NotSpecified) };
        let hlen = usize::from(frame.head()[0] & 15) * 4;
        let h = &mut frame.head_mut()[..hlen];
        h[at + pointer - 1..at + pointer + 3].copy_from_slice(&here.octets());
        h[at + 2] += 4;
        h[16..20].copy_from_slice(&next.octets());
        rewrite_checksum(h);
        Ok(Some(found))
    }

    /// `ip_forward_options`: record route and timestamp with the address of the interface the packet leaves by.
    #[cold]
    pub(super) fn ip4_forward_options(&mut self, now: Instant, dst: &Dst, frame: &mut Frame) {
        let Some(options) = options_of(frame.head()) else { return };
        let IpAddr::V4(here) = dst.src else { return };
        let hlen = usize::from(frame.head()[0] & 15) * 4;
        let asked = prespecified(&frame.head()[..hlen], options);
        let ours = asked.is_some_and(|a| self.is_local_v4(a));
        let h = &mut frame.head_mut()[..hlen];
        stamp(h, options, here, now, |_| ours);
        rewrite_checksum(h);
    }
}

/// `ip_options_echo`: the options of a reply to a packet with this header. Record route and timestamp go on being
/// written, first by us, from `here`. (Source routes are not turned round: see DIVERGENCES.md.)
pub(crate) fn echo(header: &[u8], here: Ipv4Addr, now: Instant) -> Vec<u8> {
    let Some(options) = options_of(header) else { return Vec::new() };
    let mut reply = vec![0; ipv4::MIN_HEADER_LEN];
    for at in [options.rr, options.ts] {
        if at != 0 {
            reply.extend_from_slice(&header[at..at + usize::from(header[at + 1])]);
        }
    }
    reply.resize(reply.len().next_multiple_of(4), END);
    if let Ok(options) = compile(&reply) {
        stamp(&mut reply, options, here, now, |a| a == here);
    }
    reply.split_off(ipv4::MIN_HEADER_LEN)
}

/// The address at the pointer of a timestamp option of the prespecified kind.
fn prespecified(header: &[u8], options: Compiled) -> Option<Ipv4Addr> {
    let at = options.ts;
    if at == 0 || header[at + 3] & 15 != TS_PRESPEC {
        return None;
    }
    let (len, pointer) = (usize::from(header[at + 1]), usize::from(header[at + 2]));
    (pointer + 7 <= len).then(|| addr4(header, at + pointer - 1))
}

/// Fills in the next free slot of record route and timestamp.
fn stamp(
    header: &mut [u8],
    options: Compiled,
    here: Ipv4Addr,
    now: Instant,
    ours: impl Fn(Ipv4Addr) -> bool,
) {
    if options.rr != 0 {
        let at = options.rr;
        let (len, pointer) = (usize::from(header[at + 1]), usize::from(header[at + 2]));
        if pointer + 3 <= len {
            header[at + pointer - 1..at + pointer + 3].copy_from_slice(&here.octets());
            header[at + 2] += 4;
        }
    }
    if options.ts == 0 {
        return;
    }
    let at = options.ts;
    let (len, pointer) = (usize::from(header[at + 1]), usize::from(header[at + 2]));
    let slot = at + pointer - 1;
    let time = milliseconds(now).to_be_bytes();
    let (time_at, step) = match header[at + 3] & 15 {
        _ if pointer > len => {
            header[at + 3] = header[at + 3].saturating_add(0x10); // one more hop found no room
            return;
        }
        TS_ONLY => (slot, 4),
        TS_AND_ADDR => {
            header[slot..slot + 4].copy_from_slice(&here.octets());
            (slot + 4, 8)
        }
        TS_PRESPEC if ours(addr4(header, slot)) => (slot + 4, 8),
        _ => return,
    };
    header[time_at..time_at + 4].copy_from_slice(&time);
    header[at + 2] += step;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(options: &[u8]) -> Vec<u8> {
        let h =
            ipv4::Header { options: ipv4::Options::from_bytes(options).unwrap(), ..ipv4::Header::default() };
        let mut b = vec![0; h.header_len()];
        h.emit(&mut b);
        b
    }

    #[test]
    fn record_route_takes_the_next_free_slot_until_full() {
        let mut h = header(&[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for n in 1..=3u8 {
            let options = compile(&h).unwrap();
            stamp(&mut h, options, Ipv4Addr::new(192, 0, 2, n), Instant::ZERO, |_| false);
        }
        assert_eq!(h[20..31], [7, 11, 12, 192, 0, 2, 1, 192, 0, 2, 2]);
    }

    #[test]
    fn timestamps_without_room_count_overflows() {
        let mut h = header(&[68, 8, 5, 0, 0, 0, 0, 0]);
        let now = Instant::from_millis(258);
        for _ in 0..3 {
            let options = compile(&h).unwrap();
            stamp(&mut h, options, Ipv4Addr::LOCALHOST, now, |_| false);
        }
        assert_eq!(h[20..28], [68, 8, 9, 0x20, 0, 0, 1, 2]);
    }

    /// The pointer of the ICMP parameter problem, as `__ip_options_compile` chooses it.
    #[test]
    fn bad_options_name_their_offset() {
        assert_eq!(compile(&header(&[7, 3, 3, 0])).unwrap_err(), 22);
        assert_eq!(compile(&header(&[7, 40, 4, 0])).unwrap_err(), 20);
        assert_eq!(compile(&header(&[1, 131, 2, 0])).unwrap_err(), 22);
        assert_eq!(compile(&header(&[7, 7, 4, 0, 0, 0, 0, 7, 7, 4, 0, 0])).unwrap_err(), 27);
    }
}
