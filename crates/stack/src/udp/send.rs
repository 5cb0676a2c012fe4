//! `sendmsg` of datagram sockets. Linux: net/ipv4/udp.c `udp_sendmsg`, net/ipv6/udp.c `udpv6_sendmsg`, net/ipv4/raw.c,
//! net/ipv4/ping.c, ip_output.c `__ip_append_data`.

use std::net::{IpAddr, Ipv4Addr};

use wire::checksum::{pseudo_v4, pseudo_v6, sum};
use wire::frame::MAX_HEADROOM;
use wire::ip::Protocol;
use wire::{Bytes, Frame, Instant, udp};

use super::bind::{loopback_like, scope_of};
use super::counters;
use crate::call::{Cmsg, Domain, MsgFlags, PollEvents, SockAddr};
use crate::ip::IpOut;
use crate::route::{Dst, Flow, RouteKind};
use crate::socket::sock::{is_link_local, pmtudisc, unmapped};
use crate::socket::{DgramKind, QueuedError, truesize};
use crate::{Errno, Stack};

/// Payloads up to this are copied behind the headers; longer ones are shared.
pub(super) const INLINE: usize = 256;

/// `UDP_MAX_SEGMENTS`
const MAX_SEGMENTS: usize = 128;

/// What is to be sent.
#[derive(Clone, Debug)]
pub enum Payload<'a> {
    /// Bytes that are copied.
    Slice(&'a [u8]),
    /// Bytes that are shared when there are many.
    Shared(Bytes),
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Payload::Slice(bytes)
    }
}

impl From<Bytes> for Payload<'_> {
    fn from(bytes: Bytes) -> Self {
        Payload::Shared(bytes)
    }
}

impl Payload<'_> {
    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Payload::Slice(bytes) => bytes,
            Payload::Shared(bytes) => bytes,
        }
    }

    /// A frame with room for `header` bytes, then the payload.
    pub(super) fn frame(&self, header: usize) -> Frame {
        let bytes = self.as_slice();
        match self {
            Payload::Shared(shared) if bytes.len() > INLINE => {
                let mut frame = Frame::with_headroom(MAX_HEADROOM + header, 0);
                frame.push(header);
                frame.set_tail(shared.clone());
                frame
            }
            _ => {
                let mut frame = Frame::with_headroom(MAX_HEADROOM + header, bytes.len());
                frame.put(bytes);
                frame.push(header);
                frame
            }
        }
    }

    fn part(&self, from: usize, to: usize) -> Payload<'_> {
        match self {
            Payload::Slice(bytes) => Payload::Slice(&bytes[from..to]),
            Payload::Shared(bytes) => Payload::Shared(bytes.slice(from..to)),
        }
    }
}

/// Where and how one message goes (`struct ipcm_cookie` and the flow).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(super) dst: IpAddr,
    pub(super) port: u16,
    pub(super) src: IpAddr,
    pub(super) route: Dst,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) gso_size: u16,
}

/// A datagram that is being put together (`UDP_CORK`, `MSG_MORE`).
#[derive(Clone, Debug)]
pub(crate) struct Cork {
    way: Way,
    data: Vec<u8>,
}

/// What control messages change.
#[derive(Clone, Copy, Debug, Default)]
struct Overrides {
    ttl: Option<u8>,
    tos: Option<u8>,
    src: Option<IpAddr>,
    oif: u32,
    gso_size: Option<u16>,
}

impl Stack {
    /// The flow of a packet from this socket to `dst`.
    pub(super) fn flow_of(&self, sock: u32, dst: IpAddr, scope: u32) -> Flow {
        let entry = &self.sockets.dgrams[sock];
        let o = &entry.opts;
        let mut flow = Flow { dst, src: super::bind::any_like(dst), oif: o.bound_if, tos: o.tos };
        if entry.saddr.is_ipv4() == dst.is_ipv4() {
            flow.src = entry.saddr;
        }
        match dst {
            IpAddr::V4(v4) => {
                if v4.is_multicast() {
                    flow.oif = if flow.oif != 0 { flow.oif } else { o.mc_if };
                    if let (true, Some(addr)) = (flow.src.is_unspecified(), o.mc_addr) {
                        flow.src = addr.into();
                    }
                }
            }
            IpAddr::V6(v6) => {
                flow.tos = o.tclass;
                if flow.oif == 0 && is_link_local(v6) {
                    flow.oif = scope;
                }
                if flow.oif == 0 && v6.is_multicast() {
                    flow.oif = o.mc_if6;
                }
            }
        }
        flow
    }

    /// The way of a packet of this socket. A source that is not ours is refused with `ENETUNREACH`, unless the
    /// socket is transparent (measured; `FLOWI_FLAG_ANYSRC`).
    pub(super) fn route_from(&self, now: Instant, sock: u32, mut flow: Flow) -> Result<Dst, Errno> {
        let foreign = match flow.src {
            IpAddr::V4(src) => {
                let free = src.is_unspecified() || src.is_loopback() || src.is_multicast();
                !free && self.ifaces.owner(flow.src).is_none()
            }
            IpAddr::V6(_) => false,
        };
        if foreign {
            let opts = &self.sockets.dgrams[sock].opts;
            if !opts.transparent && !opts.hdrincl {
                return Err(Errno::ENETUNREACH);
            }
            flow.src = Ipv4Addr::UNSPECIFIED.into();
        }
        self.route_output(now, &flow)
    }

    /// The route to the peer of a connected socket, from its cache when routing has not changed.
    pub(crate) fn dgram_dst(&mut self, now: Instant, sock: u32) -> Result<Dst, Errno> {
        let generation = self.route_generation();
        let entry = &self.sockets.dgrams[sock];
        if let Some((cached, dst)) = &entry.dst
            && *cached == generation
        {
            return Ok(*dst);
        }
        let (peer, _) = entry.peer.ok_or(Errno::ENOTCONN)?;
        let dst = self.route_from(now, sock, self.flow_of(sock, peer, entry.peer_scope))?;
        self.sockets.dgrams[sock].dst = Some((generation, dst));
        Ok(dst)
    }

    /// `sendmsg`: how many bytes were taken.
    pub(crate) fn dgram_sendmsg(
        &mut self,
        now: Instant,
        sock: u32,
        to: Option<SockAddr>,
        payload: Payload<'_>,
        control: &[Cmsg],
        flags: MsgFlags,
    ) -> Result<usize, Errno> {
        let len = payload.as_slice().len();
        let to_ip = match to {
            Some(SockAddr::Ip(addr)) => Some(addr),
            Some(SockAddr::Unspec) | None => None,
        };
        let plain = control.is_empty() && flags == MsgFlags(0) && to != Some(SockAddr::Unspec);
        if plain && self.send_by_flow(now, sock, to_ip, &payload) {
            return Ok(len);
        }
        let kind = self.sockets.dgrams[sock].kind;
        if kind != DgramKind::Raw {
            self.autobind(now, sock)?;
        }
        if len > 0xffff {
            return Err(Errno::EMSGSIZE);
        }
        if flags.has(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        if kind == DgramKind::Ping {
            self.ping_check(sock, payload.as_slice())?;
        }
        if kind == DgramKind::Udp && self.sockets.dgrams[sock].cork.is_some() {
            return self.cork_more(now, sock, payload.as_slice(), flags);
        }
        let overrides = self.control_of(now, sock, control)?;
        let way = self.way_of(now, sock, to, &overrides)?;
        let segment = len + if kind == DgramKind::Udp { udp::HEADER_LEN } else { 0 };
        if way.gso_size == 0 && !(kind == DgramKind::Raw && self.sockets.dgrams[sock].opts.hdrincl) {
            self.check_length(sock, &way, segment)?;
        }
        // sock_alloc_send_pskb: a pending error is reported once, before a shutdown, after wrong arguments (measured).
        if let Some(errno) = self.sockets.dgrams[sock].take_error() {
            return Err(errno);
        }
        if self.sockets.dgrams[sock].shutdown_wr {
            return Err(Errno::EPIPE);
        }
        if flags.has(MsgFlags::CONFIRM) {
            // dst_confirm_neigh: the program knows that its last packets arrived.
            self.neigh_confirm(now, way.route.ifindex, way.route.next_hop);
        }
        match kind {
            DgramKind::Udp => {
                let corked = self.sockets.dgrams[sock].opts.cork || flags.has(MsgFlags::MORE);
                if corked {
                    self.sockets.dgrams[sock].cork = Some(Box::new(Cork { way, data: Vec::new() }));
                    return self.cork_more(now, sock, payload.as_slice(), flags);
                }
                if plain {
                    self.remember_flow(sock, to_ip, &way);
                }
                self.udp_send(now, sock, &way, &payload)?;
            }
            DgramKind::Ping => self.ping_send(now, sock, &way, payload.as_slice())?,
            DgramKind::Raw => self.raw_send(now, sock, &way, &payload)?,
        }
        Ok(len)
    }

    /// `ip_cmsg_send`: `EINVAL` for one that is unknown or out of range.
    fn control_of(&self, _now: Instant, sock: u32, control: &[Cmsg]) -> Result<Overrides, Errno> {
        let mut o = Overrides::default();
        for cmsg in control {
            match cmsg {
                Cmsg::Ttl(n) => o.ttl = Some(u8::try_from(*n).ok().filter(|n| *n > 0).ok_or(Errno::EINVAL)?),
                Cmsg::Tos(n) => o.tos = Some(u8::try_from(*n).map_err(|_| Errno::EINVAL)?),
                Cmsg::PktInfo { ifindex, spec_dst, .. } => {
                    if *ifindex != 0 && self.ifaces.get(*ifindex).is_none() {
                        return Err(Errno::ENODEV);
                    }
                    let src = unmapped(*spec_dst);
                    let opts = &self.sockets.dgrams[sock].opts;
                    let free = src.is_unspecified() || opts.freebind || opts.transparent;
                    if src.is_ipv6() && !free && self.ifaces.owner(src).is_none() {
                        return Err(Errno::EINVAL);
                    }
                    o.oif = *ifindex;
                    o.src = (!src.is_unspecified()).then_some(src);
                }
                Cmsg::SegmentSize(n) if self.sockets.dgrams[sock].kind == DgramKind::Udp => {
                    o.gso_size = Some(*n)
                }
                Cmsg::SegmentSize(_) | Cmsg::ExtendedErr { .. } | Cmsg::Timestamp(_) | Cmsg::Other(..) => {
                    return Err(Errno::EINVAL);
                }
            }
        }
        Ok(o)
    }

    /// Where the message goes: the address given, else the peer.
    fn way_of(
        &mut self,
        now: Instant,
        sock: u32,
        to: Option<SockAddr>,
        over: &Overrides,
    ) -> Result<Way, Errno> {
        let entry = &self.sockets.dgrams[sock];
        let needs_port = entry.kind == DgramKind::Udp;
        let (mut dst, port, scope) = match (to, entry.peer) {
            (Some(SockAddr::Ip(addr)), _) => {
                if entry.domain == Domain::Inet && addr.is_ipv6() {
                    return Err(Errno::EAFNOSUPPORT);
                }
                if needs_port && addr.port() == 0 {
                    return Err(Errno::EINVAL);
                }
                (unmapped(addr.ip()), addr.port(), scope_of(addr))
            }
            (Some(SockAddr::Unspec), _) => return Err(Errno::EINVAL),
            (None, Some((ip, port))) => (ip, port, entry.peer_scope),
            (None, None) => return Err(Errno::EDESTADDRREQ),
        };
        if entry.domain == Domain::Inet6 {
            // Only bind makes LOOPBACK4_IPV6 of it, from where no way leads; a name that connect chose does not.
            let v6_name = entry.addr_locked && entry.saddr.is_ipv6() && !entry.saddr.is_unspecified();
            match dst {
                IpAddr::V4(_) if entry.opts.v6only || v6_name => return Err(Errno::ENETUNREACH),
                IpAddr::V6(_) if entry.saddr.is_ipv4() => return Err(Errno::EAFNOSUPPORT),
                _ => {}
            }
        }
        if dst.is_unspecified() {
            let own = entry.saddr;
            dst = if own.is_ipv4() && dst.is_ipv4() && !own.is_unspecified() {
                own
            } else {
                loopback_like(dst)
            };
        }
        let connected = to.is_none() && over.src.is_none() && over.oif == 0 && over.tos.is_none();
        let mut src = entry.saddr;
        let route = if connected {
            self.dgram_dst(now, sock).inspect_err(|_| self.count_no_route(dst))?
        } else {
            let mut flow = self.flow_of(sock, dst, scope);
            if over.oif != 0 {
                flow.oif = over.oif;
            }
            flow.tos = over.tos.unwrap_or(flow.tos);
            if let Some(wanted) = over.src.filter(|s| s.is_ipv4() == dst.is_ipv4()) {
                flow.src = wanted;
            }
            src = flow.src;
            self.route_from(now, sock, flow).inspect_err(|_| self.count_no_route(dst))?
        };
        let opts = &self.sockets.dgrams[sock].opts;
        if route.kind == RouteKind::Broadcast && !opts.broadcast {
            return Err(Errno::EACCES);
        }
        if opts.dont_route && route.via_gateway {
            return Err(Errno::ENETUNREACH);
        }
        if src.is_unspecified() || src.is_ipv4() != dst.is_ipv4() {
            src = route.src;
        }
        let default_ttl = self.sysctl.ns.ip_default_ttl;
        let (ttl, tos) = match dst {
            IpAddr::V4(v4) if v4.is_multicast() => (opts.mc_ttl, opts.tos),
            IpAddr::V4(_) => (opts.ttl.unwrap_or(default_ttl), opts.tos),
            IpAddr::V6(v6) if v6.is_multicast() => (opts.mc_hops, opts.tclass),
            IpAddr::V6(_) => (opts.hops.unwrap_or(64), opts.tclass),
        };
        Ok(Way {
            dst,
            port,
            src,
            route,
            ttl: over.ttl.unwrap_or(ttl),
            tos: over.tos.unwrap_or(tos),
            gso_size: over.gso_size.unwrap_or(opts.gso_size),
        })
    }

    /// Adds to the datagram that is being put together; sends it when no more is announced.
    fn cork_more(&mut self, now: Instant, sock: u32, data: &[u8], flags: MsgFlags) -> Result<usize, Errno> {
        let entry = &mut self.sockets.dgrams[sock];
        let cork = entry.cork.as_mut().expect("the caller checked or made it");
        if cork.data.len() + data.len() > max_payload(cork.way.dst) {
            entry.cork = None; // udp_flush_pending_frames
            return Err(Errno::EMSGSIZE);
        }
        cork.data.extend_from_slice(data);
        if !entry.opts.cork && !flags.has(MsgFlags::MORE) {
            self.udp_push_pending(now, sock)?;
        }
        Ok(data.len())
    }

    /// `udp_push_pending_frames`
    pub(crate) fn udp_push_pending(&mut self, now: Instant, sock: u32) -> Result<(), Errno> {
        match self.sockets.dgrams[sock].cork.take() {
            Some(cork) => self.udp_send(now, sock, &cork.way, &Payload::Shared(cork.data.into())),
            None => Ok(()),
        }
    }

    /// One message as one datagram, or as several of `gso_size` bytes (`udp_send_skb`).
    pub(super) fn udp_send(
        &mut self,
        now: Instant,
        sock: u32,
        way: &Way,
        payload: &Payload<'_>,
    ) -> Result<(), Errno> {
        let len = payload.as_slice().len();
        let gso = usize::from(way.gso_size);
        let result = if gso == 0 || len <= gso {
            self.udp_send_one(now, sock, way, payload)
        } else {
            self.udp_send_segments(now, sock, way, payload, gso)
        };
        let count = counters(way.dst.is_ipv6());
        match result {
            Ok(()) => self.mib.inc(count.out_datagrams),
            Err(Errno::ENOBUFS) => self.mib.inc(count.sndbuf_errors),
            Err(_) => {}
        }
        result
    }

    fn udp_send_segments(
        &mut self,
        now: Instant,
        sock: u32,
        way: &Way,
        payload: &Payload<'_>,
        gso: usize,
    ) -> Result<(), Errno> {
        let len = payload.as_slice().len();
        if gso + udp::HEADER_LEN + header_len(way.dst) > way.route.mtu as usize {
            return Err(Errno::EMSGSIZE);
        }
        if len > gso * MAX_SEGMENTS {
            return Err(Errno::EINVAL);
        }
        for from in (0..len).step_by(gso) {
            self.udp_send_one(now, sock, way, &payload.part(from, (from + gso).min(len)))?;
        }
        Ok(())
    }

    fn udp_send_one(
        &mut self,
        now: Instant,
        sock: u32,
        way: &Way,
        payload: &Payload<'_>,
    ) -> Result<(), Errno> {
        let mut frame = payload.frame(udp::HEADER_LEN);
        let entry = &self.sockets.dgrams[sock];
        let Ok(len) = u16::try_from(frame.len()) else { return self.too_long(sock, way) };
        let header = udp::Header { src_port: entry.port, dst_port: way.port, len, checksum: 0 };
        header.emit(frame.head_mut());
        let pseudo = match (way.src, way.dst) {
            (IpAddr::V4(_), IpAddr::V4(_)) if entry.opts.no_check => None,
            (IpAddr::V4(src), IpAddr::V4(dst)) => Some(pseudo_v4(src, dst, Protocol::UDP, len)),
            (IpAddr::V6(_), IpAddr::V6(_)) if entry.opts.no_check6_tx => None,
            (IpAddr::V6(src), IpAddr::V6(dst)) => Some(pseudo_v6(src, dst, Protocol::UDP, len.into())),
            (src, dst) => unreachable!("way_of chose {src} for {dst}"),
        };
        if let Some(pseudo) = pseudo {
            let (header, inline) = frame.head().split_at(udp::HEADER_LEN);
            let body = if inline.is_empty() { sum(frame.tail()) } else { sum(inline) };
            let checksum = udp::checksum_parts(pseudo, header, body);
            frame.head_mut()[6..8].copy_from_slice(&checksum.to_be_bytes());
        }
        self.dgram_output(now, sock, way, Protocol::UDP, frame)
    }

    /// Hands a transport segment to IP with the socket's options.
    pub(super) fn dgram_output(
        &mut self,
        now: Instant,
        sock: u32,
        way: &Way,
        protocol: Protocol,
        frame: Frame,
    ) -> Result<(), Errno> {
        let auto_labels = self.sysctl.ns.auto_flowlabels;
        let entry = &mut self.sockets.dgrams[sock];
        let ipv6 = way.dst.is_ipv6();
        let discover = if ipv6 { entry.opts.pmtudisc6 } else { entry.opts.pmtudisc };
        let mut out = IpOut::new(way.src, way.dst, protocol);
        out.ttl = way.ttl;
        out.tos = way.tos;
        out.dont_fragment =
            matches!(discover, pmtudisc::DO | pmtudisc::PROBE) || (ipv6 && entry.opts.dontfrag6);
        out.pmtu_discover = !matches!(discover, pmtudisc::DONT | pmtudisc::INTERFACE | pmtudisc::OMIT);
        out.ignore_path_mtu = discover >= pmtudisc::PROBE;
        out.multicast_loop = if ipv6 { entry.opts.mc_loop6 } else { entry.opts.mc_loop };
        if !ipv6 && entry.peer.is_some() {
            out.id = Some(entry.ip_id);
            entry.ip_id = entry.ip_id.wrapping_add(1);
        }
        if ipv6 && auto_labels != 0 && auto_labels != 2 {
            out.flow_label = flow_label(entry.txhash, way);
        }
        let total = frame.len() + header_len(way.dst);
        self.check_length(sock, way, frame.len())?;
        let mtu = self.mtu_of(way, discover);
        if total > mtu {
            // __ip_append_data: all fragments but the last must stay within twice the send buffer.
            let fragments = total.div_ceil(mtu.max(68));
            let memory = truesize(mtu).saturating_mul(u32::try_from(fragments - 1).unwrap_or(u32::MAX));
            if memory > self.sockets.dgrams[sock].opts.sndbuf.saturating_mul(2) {
                return Err(Errno::ENOBUFS);
            }
        }
        match self.ip_output(now, &way.route, &out, frame) {
            Err(Errno::EMSGSIZE) => self.too_long(sock, way),
            result => result,
        }
    }

    /// The MTU that counts (`ip_sk_use_pmtu`): the path's, or the interface's.
    fn mtu_of(&self, way: &Way, discover: u8) -> usize {
        let device = || self.ifaces.get(way.route.ifindex).map(|iface| iface.mtu);
        let mtu = if discover >= pmtudisc::PROBE { device() } else { None };
        mtu.unwrap_or(way.route.mtu) as usize
    }

    /// `__ip_append_data`: refuses what is too long for any packet, and what may not be fragmented. This comes
    /// before a pending error (measured).
    fn check_length(&mut self, sock: u32, way: &Way, segment: usize) -> Result<(), Errno> {
        let total = segment + header_len(way.dst);
        if total <= way.route.mtu as usize {
            return Ok(());
        }
        let ipv6 = way.dst.is_ipv6();
        let opts = &self.sockets.dgrams[sock].opts;
        let discover = if ipv6 { opts.pmtudisc6 } else { opts.pmtudisc };
        // ip_sk_ignore_df
        let may_fragment = discover < pmtudisc::DO || discover == pmtudisc::OMIT;
        let may_fragment = may_fragment && !(ipv6 && opts.dontfrag6);
        let largest = 0xffff + if ipv6 { header_len(way.dst) } else { 0 };
        if total > largest || (!may_fragment && total > self.mtu_of(way, discover)) {
            return self.too_long(sock, way);
        }
        Ok(())
    }

    /// `EMSGSIZE`, with an entry in the error queue for who asked (`ip_local_error`, `ipv6_local_error`).
    fn too_long(&mut self, sock: u32, way: &Way) -> Result<(), Errno> {
        let entry = &self.sockets.dgrams[sock];
        if entry.wants_errors(way.dst.is_ipv6()) {
            let discover = if way.dst.is_ipv6() { entry.opts.pmtudisc6 } else { entry.opts.pmtudisc };
            let error = QueuedError {
                errno: Errno::EMSGSIZE,
                origin: crate::socket::ORIGIN_LOCAL,
                ty: 0,
                code: 0,
                info: u32::try_from(self.mtu_of(way, discover)).unwrap_or(u32::MAX),
                offender: None,
                dst: std::net::SocketAddr::new(way.dst, way.port),
                payload: Bytes::new(),
                truesize: truesize(0),
                data: 0,
                stamp: None,
            };
            self.queue_error(sock, error);
        }
        Err(Errno::EMSGSIZE)
    }

    /// Puts an entry into the error queue and wakes who waits (`sock_queue_err_skb`).
    pub(super) fn queue_error(&mut self, sock: u32, error: QueuedError) {
        let entry = &mut self.sockets.dgrams[sock];
        if entry.rmem + error.truesize >= entry.opts.rcvbuf {
            return; // the queue counts as received memory
        }
        entry.rmem += error.truesize;
        entry.errors.push_back(error);
        let file = entry.file;
        self.wake_file(file, PollEvents::ERR);
    }
}

/// Bytes of the network header.
fn header_len(dst: IpAddr) -> usize {
    if dst.is_ipv4() { wire::ipv4::MIN_HEADER_LEN } else { wire::ipv6::HEADER_LEN }
}

/// Payload of the largest datagram: 65507 over IPv4, 65527 over IPv6.
fn max_payload(dst: IpAddr) -> usize {
    0xffff - udp::HEADER_LEN - if dst.is_ipv4() { header_len(Ipv4Addr::UNSPECIFIED.into()) } else { 0 }
}

/// A label that is the same for all packets of a flow (`ip6_make_flowlabel`).
fn flow_label(txhash: u32, way: &Way) -> u32 {
    let IpAddr::V6(dst) = way.dst else { return 0 };
    let folded = dst.segments().iter().fold(u32::from(way.port), |h, s| h.rotate_left(5) ^ u32::from(*s));
    (txhash ^ folded.wrapping_mul(0x9e37_79b1)) & 0xf_ffff
}
