//! Neighbour discovery: asking, answering, believing. RFC 4861 §4, §7, §8; RFC 4862 §5.4.
//!
//! Linux: net/ipv6/ndisc.c (`ndisc_solicit`, `ndisc_recv_ns`, `ndisc_recv_na`, `ndisc_recv_rs`,
//! `ndisc_router_discovery`, `ndisc_redirect_rcv`).

use core::net::Ipv6Addr;
use std::net::IpAddr;

use wire::icmpv6;
use wire::ip::Protocol;
use wire::ndp::{self, Message, NeighborAdvert, Opt, PrefixInfo, RouterAdvert};
use wire::{Frame, Instant, MacAddr};

use super::{NudState, Update};
use crate::iface::{Advertise, DadState, solicited_node};
use crate::ip::RxMeta;
use crate::mib::Counter;
use crate::record::IfIndex;
use crate::{DropReason, Stack};

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Bytes of the IPv6 header.
const IP6_LEN: usize = 40;
/// `ND_OPT_NONCE` (RFC 7527): tells our own solicitation, looped back, from another host's.
const OPT_NONCE: u8 = 14;
/// A redirect quotes no more than fits into the minimum MTU.
const MAX_REDIRECT: usize = 1280;

/// The options that neighbours send.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    source: Option<MacAddr>,
    target: Option<MacAddr>,
    nonce: Option<u64>,
}

/// A nonce's six bytes as a number.
fn nonce(data: &[u8]) -> Option<u64> {
    let mut n = [0; 8];
    n[2..].copy_from_slice(data.get(..6)?);
    Some(u64::from_be_bytes(n))
}

/// `ndisc_parse_options`; `None` when they are malformed and the whole message must be ignored.
fn parse_options(bytes: &[u8]) -> Option<Options> {
    let mut found = Options::default();
    for option in ndp::options(bytes) {
        match option.ok()? {
            Opt::SourceLinkLayer(mac) => found.source = Some(mac),
            Opt::TargetLinkLayer(mac) => found.target = Some(mac),
            Opt::Unknown { kind: OPT_NONCE, data } => found.nonce = nonce(data),
            _ => {}
        }
    }
    Some(found)
}

impl Stack {
    /// `ndisc_send_skb`: the message with its IPv6 header, hop limit 255, straight to the neighbour.
    fn ndisc_send(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        message: &Message,
        options: &[Opt<'_>],
    ) {
        let len = message.header_len() + options.iter().map(Opt::header_len).sum::<usize>();
        let mut body = vec![0; len];
        message.emit(&mut body);
        let mut at = message.header_len();
        for option in options {
            option.emit(&mut body[at..]);
            at += option.header_len();
        }
        icmpv6::set_checksum(src, dst, &mut body);
        let header = wire::ipv6::Header {
            traffic_class: 0,
            flow_label: 0,
            payload_len: u16::try_from(len).expect("options are few"),
            next_header: Protocol::ICMPV6,
            hop_limit: 255,
            src,
            dst,
        };
        let mut frame = Frame::with_headroom(wire::frame::MAX_HEADROOM, IP6_LEN + len);
        header.emit(frame.put_zeroed(IP6_LEN));
        frame.put(&body);
        self.mib.inc(Counter::Ip6OutRequests);
        self.mib.inc(Counter::Ip6OutTransmits);
        self.mib.add(Counter::Ip6OutOctets, frame.len() as u64); // widening
        if dst.is_multicast() {
            self.mib.inc(Counter::Ip6OutMcastPkts);
            self.mib.add(Counter::Ip6OutMcastOctets, frame.len() as u64); // widening
        }
        self.mib.inc(Counter::Icmp6OutMsgs);
        self.mib.inc(match message.kind() {
            icmpv6::kind::ROUTER_SOLICIT => Counter::Icmp6OutRouterSolicits,
            icmpv6::kind::ROUTER_ADVERT => Counter::Icmp6OutRouterAdvertisements,
            icmpv6::kind::NEIGHBOR_SOLICIT => Counter::Icmp6OutNeighborSolicits,
            icmpv6::kind::NEIGHBOR_ADVERT => Counter::Icmp6OutNeighborAdvertisements,
            _ => Counter::Icmp6OutRedirects,
        });
        self.neigh_output(now, ifindex, dst.into(), frame);
    }

    /// The interface's MAC address, when neighbours need it.
    fn own_mac(&self, ifindex: IfIndex) -> Option<MacAddr> {
        self.ifaces.get(ifindex).filter(|i| i.medium == wire::Medium::Ethernet).map(|i| i.mac)
    }

    /// `ndisc_solicit`: the `probes`-th solicitation for `target`; the first `ucast_solicit` are unicast.
    pub(super) fn ndisc_solicit(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        target: Ipv6Addr,
        probes: u32,
        waiting: Option<&[u8]>,
    ) {
        let Some(iface) = self.ifaces.get(ifindex) else { return };
        let (ucast, app) = (iface.neigh6.ucast_solicit, iface.neigh6.app_solicit);
        if probes >= ucast && probes - ucast < app {
            return;
        }
        // The waiting packet's source, when it is an address of this interface.
        let src = waiting
            .and_then(|b| b.get(8..24))
            .map(|b| Ipv6Addr::from(<[u8; 16]>::try_from(b).expect("16 bytes")))
            .filter(|a| iface.has_addr((*a).into()))
            .or_else(|| iface.link_local());
        let Some(src) = src else { return };
        let dst = if probes < ucast { target } else { solicited_node(target) };
        let mac = self.own_mac(ifindex);
        let options: Vec<Opt<'_>> = mac.map(Opt::SourceLinkLayer).into_iter().collect();
        self.ndisc_send(now, ifindex, src, dst, &Message::NeighborSolicit { target }, &options);
    }

    /// `addrconf_dad_work`: does anyone have `addr`? With a nonce (`enhanced_dad`, RFC 7527).
    pub(crate) fn ndisc_send_dad(&mut self, now: Instant, ifindex: IfIndex, addr: Ipv6Addr) {
        let n = self.dad_nonce(ifindex, addr).to_be_bytes();
        let options = [Opt::Unknown { kind: OPT_NONCE, data: &n[2..] }];
        let message = Message::NeighborSolicit { target: addr };
        self.ndisc_send(now, ifindex, Ipv6Addr::UNSPECIFIED, solicited_node(addr), &message, &options);
    }

    /// 48 bits that this host alone uses for this address.
    fn dad_nonce(&self, ifindex: IfIndex, addr: Ipv6Addr) -> u64 {
        self.neigh.nonces.fork(&format!("dad {ifindex} {addr}")).next_u64() >> 16
    }

    /// `ndisc_send_na`
    fn ndisc_send_na(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        dst: Ipv6Addr,
        target: Ipv6Addr,
        flags: (bool, bool, bool),
    ) {
        let (solicited, override_, with_option) = flags;
        let router = self.ifaces.get(ifindex).is_some_and(crate::iface::Interface::forwards_ipv6);
        let message = Message::NeighborAdvert(NeighborAdvert { router, solicited, override_, target });
        let mac = self.own_mac(ifindex).filter(|_| with_option);
        let options: Vec<Opt<'_>> = mac.map(Opt::TargetLinkLayer).into_iter().collect();
        self.ndisc_send(now, ifindex, target, dst, &message, &options);
    }

    /// `ndisc_notify`: tells all nodes about an address that is new.
    pub(crate) fn ndisc_send_unsolicited(&mut self, now: Instant, ifindex: IfIndex, addr: Ipv6Addr) {
        self.ndisc_send_na(now, ifindex, ALL_NODES, addr, (false, true, true));
    }

    /// `ndisc_send_rs`
    pub(crate) fn ndisc_send_rs(&mut self, now: Instant, ifindex: IfIndex, src: Ipv6Addr) {
        let mac = self.own_mac(ifindex);
        let options: Vec<Opt<'_>> = mac.map(Opt::SourceLinkLayer).into_iter().collect();
        self.ndisc_send(now, ifindex, src, ALL_ROUTERS, &Message::RouterSolicit, &options);
    }

    /// What radvd sends.
    pub(crate) fn ndisc_send_ra(&mut self, now: Instant, ifindex: IfIndex, src: Ipv6Addr, a: &Advertise) {
        let message = Message::RouterAdvert(RouterAdvert {
            hop_limit: a.hop_limit,
            managed: false,
            other: false,
            preference: a.preference,
            router_lifetime: a.router_lifetime,
            reachable_time: 0,
            retrans_timer: 0,
        });
        let mut options: Vec<Opt<'_>> = a
            .prefixes
            .iter()
            .map(|(prefix, prefix_len)| {
                Opt::PrefixInfo(PrefixInfo {
                    prefix_len: *prefix_len,
                    on_link: true,
                    autonomous: true,
                    valid_lifetime: a.valid_lifetime,
                    preferred_lifetime: a.preferred_lifetime,
                    prefix: *prefix,
                })
            })
            .collect();
        options.extend(a.mtu.map(Opt::Mtu));
        options.extend(self.own_mac(ifindex).map(Opt::SourceLinkLayer));
        self.ndisc_send(now, ifindex, src, ALL_NODES, &message, &options);
    }

    /// `ndisc_send_redirect`: `packet` (from its IPv6 header on) came in by `ifindex` and is better sent to
    /// `target`, a router or the destination itself on the same link.
    pub(crate) fn ndisc_send_redirect(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        target: Ipv6Addr,
        packet: &[u8],
    ) {
        let Some(src) = self.ifaces.get(ifindex).and_then(crate::iface::Interface::link_local) else {
            return;
        };
        let Ok((header, _)) = wire::ipv6::Header::parse_quoted(packet) else { return };
        if target != header.dst && !target.is_unicast_link_local() {
            return;
        }
        let known = self.neigh.get(ifindex, target.into()).filter(|n| n.is_valid()).map(|n| n.lladdr);
        let mut options: Vec<Opt<'_>> = known.map(Opt::TargetLinkLayer).into_iter().collect();
        let message = Message::Redirect { target, destination: header.dst };
        let used = IP6_LEN + message.header_len() + options.iter().map(Opt::header_len).sum::<usize>() + 8;
        let room = (MAX_REDIRECT - used) & !7;
        options.push(Opt::RedirectedHeader(&packet[..packet.len().min(room)]));
        self.ndisc_send(now, ifindex, src, header.src, &message, &options);
    }

    /// `ndisc_rcv`: a router or neighbour solicitation, advertisement or redirect; `frame` starts at the ICMPv6
    /// header, whose checksum was verified. Hop limit, code and options are checked here.
    pub(crate) fn ndisc_rcv(&mut self, now: Instant, meta: &RxMeta, frame: &Frame) {
        let bytes = frame.to_vec();
        let ifindex = meta.ifindex;
        if meta.ttl != 255 {
            return self.record_drop(now, ifindex, DropReason::Ipv6NdiscHopLimit, &bytes);
        }
        if bytes.get(1) != Some(&0) {
            return self.record_drop(now, ifindex, DropReason::Ipv6NdiscBadCode, &bytes);
        }
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (meta.src, meta.dst) else { return };
        let parsed = Message::parse(&bytes).ok();
        let Some((message, used)) = parsed else {
            return self.record_drop(now, ifindex, DropReason::PktTooSmall, &bytes);
        };
        let Some(options) = parse_options(&bytes[used..]) else {
            return self.record_drop(now, ifindex, DropReason::Ipv6NdiscBadOptions, &bytes);
        };
        let refused = match message {
            Message::NeighborSolicit { target } => {
                self.ndisc_recv_ns(now, ifindex, (src, dst), target, &options)
            }
            Message::NeighborAdvert(na) => self.ndisc_recv_na(now, ifindex, dst, &na, &options),
            Message::RouterSolicit => self.ndisc_recv_rs(now, ifindex, src, &options),
            Message::RouterAdvert(ra) => self.ndisc_recv_ra(now, ifindex, src, &ra, &options, &bytes[used..]),
            Message::Redirect { target, destination } => {
                self.ndisc_recv_redirect(now, ifindex, src, (target, destination), &options)
            }
        };
        if let Err(reason) = refused {
            self.record_drop(now, ifindex, reason, &bytes);
        }
    }

    fn own_addr6(&self, ifindex: IfIndex, addr: Ipv6Addr) -> Option<DadState> {
        self.ifaces.get(ifindex)?.inet6.addrs.iter().find(|a| a.addr == addr).map(|a| a.dad)
    }

    fn ndisc_recv_ns(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        (src, dst): (Ipv6Addr, Ipv6Addr),
        target: Ipv6Addr,
        options: &Options,
    ) -> Result<(), DropReason> {
        let dad = src.is_unspecified();
        let solicited_group = dst.octets()[..13] == solicited_node(target).octets()[..13];
        if target.is_multicast() || (dad && (!solicited_group || options.source.is_some())) {
            return Err(DropReason::InvalidProto);
        }
        let own = self.own_addr6(ifindex, target);
        match own {
            Some(DadState::Tentative(_)) if dad => {
                // Our own solicitation, looped back, is no collision (RFC 7527).
                if options.nonce != Some(self.dad_nonce(ifindex, target)) {
                    self.dad_failed(now, ifindex, target);
                }
                return Ok(());
            }
            Some(DadState::Tentative(_) | DadState::Failed) => return Ok(()),
            Some(DadState::Done) => {}
            None => return Err(DropReason::Ipv6NdiscNsOtherhost),
        }
        if dad {
            self.ndisc_send_na(now, ifindex, ALL_NODES, target, (false, true, true));
            return Ok(());
        }
        let multicast = dst.is_multicast();
        let create = !multicast || options.source.is_some();
        let flags = Update { override_: true, weak_override: true, ..Update::default() };
        if self.ndisc_update(now, ifindex, src, options.source, NudState::Stale, flags, create) {
            self.ndisc_send_na(now, ifindex, src, target, (true, multicast, multicast));
        }
        Ok(())
    }

    /// Looks the entry up, makes it when `create` says so, and updates it; `false` when there is none.
    #[expect(clippy::too_many_arguments, reason = "the kernel's ndisc_update with its lookup")]
    fn ndisc_update(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        addr: Ipv6Addr,
        lladdr: Option<MacAddr>,
        state: NudState,
        flags: Update,
        create: bool,
    ) -> bool {
        let there =
            self.neigh_exists(ifindex, addr.into()) || (create && self.neigh_make(now, ifindex, addr.into()));
        if !there {
            return false;
        }
        // Without a link-layer address an unknown neighbour stays unknown (EINVAL).
        let _ = self.neigh_update(now, ifindex, addr.into(), lladdr, state, flags);
        true
    }

    fn ndisc_recv_na(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        dst: Ipv6Addr,
        na: &NeighborAdvert,
        options: &Options,
    ) -> Result<(), DropReason> {
        if na.target.is_multicast() || (dst.is_multicast() && na.solicited) {
            return Err(DropReason::InvalidProto);
        }
        let Some(iface) = self.ifaces.get(ifindex) else { return Ok(()) };
        // drop_unsolicited_na (RFC 9131's counterpart for hostile links).
        if !na.solicited && iface.conf6.drop_unsolicited_na != 0 {
            return Err(DropReason::NotSpecified);
        }
        match self.own_addr6(ifindex, na.target) {
            Some(DadState::Tentative(_)) => {
                self.dad_failed(now, ifindex, na.target);
                return Ok(());
            }
            // Somebody else claims an address that is ours: logged by Linux, nothing more.
            Some(DadState::Done | DadState::Failed) => return Ok(()),
            None => {}
        }
        let Some(n) = self.neigh.get(ifindex, na.target.into()) else { return Ok(()) };
        if n.state == Some(NudState::Failed) {
            return Ok(());
        }
        let was_router = n.router;
        let state = if na.solicited { NudState::Reachable } else { NudState::Stale };
        let flags = Update {
            override_: na.override_,
            weak_override: true,
            override_is_router: true,
            is_router: na.router,
            admin: false,
        };
        self.ndisc_update(now, ifindex, na.target, options.target, state, flags, false);
        let is_router = self.neigh.get(ifindex, na.target.into()).is_some_and(|n| n.router);
        if was_router && !is_router {
            // rt6_clean_tohost: a router that became a host is no way out any more.
            self.fib_del_ra_router(now, ifindex, na.target);
        }
        Ok(())
    }

    fn ndisc_recv_rs(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        src: Ipv6Addr,
        options: &Options,
    ) -> Result<(), DropReason> {
        let router = self.ifaces.get(ifindex).is_some_and(crate::iface::Interface::forwards_ipv6);
        if router && !src.is_unspecified() && options.source.is_some() {
            let flags = Update {
                override_: true,
                weak_override: true,
                override_is_router: true,
                ..Update::default()
            };
            self.ndisc_update(now, ifindex, src, options.source, NudState::Stale, flags, true);
        }
        // radvd hears it whatever the kernel thinks.
        self.advertise_kick(now, ifindex);
        Ok(())
    }

    fn ndisc_recv_ra(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        src: Ipv6Addr,
        ra: &RouterAdvert,
        options: &Options,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        if !src.is_unicast_link_local() {
            return Err(DropReason::InvalidProto);
        }
        let accepts = self.ifaces.get(ifindex).is_some_and(|i| self.sysctl.accept_ra(i));
        if !accepts {
            return Ok(());
        }
        if options.source.is_some() {
            let flags = Update {
                override_: true,
                weak_override: true,
                override_is_router: true,
                is_router: true,
                admin: false,
            };
            self.ndisc_update(now, ifindex, src, options.source, NudState::Stale, flags, true);
        }
        self.router_advert(now, ifindex, src, ra, bytes);
        Ok(())
    }

    fn ndisc_recv_redirect(
        &mut self,
        now: Instant,
        ifindex: IfIndex,
        src: Ipv6Addr,
        (target, destination): (Ipv6Addr, Ipv6Addr),
        options: &Options,
    ) -> Result<(), DropReason> {
        let on_link = target == destination;
        let bad_target = !on_link && !target.is_unicast_link_local();
        if !src.is_unicast_link_local() || destination.is_multicast() || bad_target {
            return Err(DropReason::InvalidProto);
        }
        let Some(iface) = self.ifaces.get(ifindex) else { return Ok(()) };
        if iface.forwards_ipv6() || iface.conf6.accept_redirects == 0 {
            return Ok(());
        }
        let flags = Update {
            override_: true,
            weak_override: true,
            override_is_router: !on_link,
            is_router: !on_link,
            admin: false,
        };
        self.ndisc_update(now, ifindex, target, options.target, NudState::Stale, flags, true);
        self.route_redirect(now, destination.into(), src.into(), target.into(), ifindex);
        Ok(())
    }
}
