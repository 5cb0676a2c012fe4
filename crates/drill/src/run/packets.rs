//! Packets of a script: injected with live numbers, or awaited and compared.

use wire::Instant;
use wire::tcp::Flags;

use super::socks::{Sock, State};
use super::{Fault, Happened, HappenedKind, Run, Step, Stop, When, secs};
use crate::ast::{Body, Packet, Quoted, TcpOption, Time, Usecs};
use crate::packet::{
    Flow, Live, LiveBody, Segment, build_icmp, build_tcp, build_udp, check_fragment, check_headers,
    check_options, show_live, show_script,
};

/// How long after its time an outbound packet is still awaited.
const PATIENCE: Usecs = 2_000_000;
/// How long a packet is awaited that may come at any time.
const ANY_TIME_LIMIT: Usecs = 4 * 3600 * 1_000_000;
/// Packets of other connections that are skipped while one is awaited: more is a storm.
pub(super) const MAX_STRAYS: usize = 100_000;

fn is_ack(packet: &Packet) -> bool {
    matches!(&packet.body, Body::Tcp(tcp) if tcp.flags & Flags::ACK.0 != 0)
}

fn is_syn_ack(packet: &Packet) -> bool {
    let both = Flags::SYN.0 | Flags::ACK.0;
    matches!(&packet.body, Body::Tcp(tcp) if tcp.flags & both == both)
}

impl Run<'_> {
    /// Refuses what is parsed but cannot be run.
    fn plain(&self, packet: &Packet) -> Step {
        if !packet.outer.is_empty() {
            return self.unsupported("packets in GRE, MPLS or IP headers");
        }
        if packet.psp.is_some() {
            return self.unsupported("PSP");
        }
        Ok(())
    }

    /// The socket under test; an inbound packet for a listener makes a new one.
    fn sock_for(&mut self, packet: &Packet) -> Result<&mut Sock, Stop> {
        if let Body::Tcp(tcp) = &packet.body {
            let state = self.socks.under_test().map(|s| s.state);
            if packet.inbound && matches!(state, None | Some(State::Listening)) {
                let mut sock = Sock::new(State::PacketReceived, 6);
                sock.remote_isn = tcp.seq;
                sock.remote = Some((self.addresses.remote, self.socks.peer_port()));
                sock.local = Some((self.addresses.local, self.config.bind_port));
                self.socks.push(sock);
            }
            let syn = tcp.flags & (Flags::SYN.0 | Flags::ACK.0) == Flags::SYN.0;
            if !packet.inbound && syn && state == Some(State::Connecting) {
                let sock = self.socks.under_test().expect("it has a state");
                sock.state = State::SynSent;
                sock.script_local_isn = tcp.seq;
            }
        }
        let line = self.line;
        let none = || {
            let message = "error handling packet: no matching socket for script packet".into();
            Stop::Failed(Fault { line, message, details: Vec::new() })
        };
        let foreign = packet.ports.is_some();
        let sock = self.socks.under_test().ok_or_else(none)?;
        let fits = match (&packet.body, sock.protocol) {
            (Body::Tcp(_), 6) | (Body::Udp { .. }, 17) | (Body::Icmp(_), 1 | 58 | 6 | 17) => true,
            _ => foreign,
        };
        if fits { Ok(sock) } else { Err(none()) }
    }

    pub(super) fn inbound(&mut self, packet: &Packet, when: When) -> Step {
        self.plain(packet)?;
        self.sock_for(packet)?;
        self.wait_for(when, "inbound packet")?;
        let anyip = self.config.is_anyip;
        let (addresses, config) = (self.addresses, self.config);
        let sock = self.sock_for(packet)?;
        match (sock.state, &packet.body) {
            (State::SynAckSent, _) if is_ack(packet) => sock.state = State::SynAckAcked,
            (State::SynSent, Body::Tcp(tcp)) if is_syn_ack(packet) => {
                sock.state = State::SynAcked;
                sock.remote_isn = tcp.seq;
            }
            _ => {}
        }
        if anyip && !matches!(packet.body, Body::Tcp(_)) {
            sock.remote.get_or_insert((addresses.remote, config.connect_port));
            sock.local.get_or_insert((addresses.local, config.bind_port));
        }
        let bytes = match self.live_bytes(packet) {
            Ok(bytes) => bytes,
            Err(text) => return self.fail(format!("error handling packet: {text}")),
        };
        self.note(HappenedKind::Inbound, show_script(packet));
        if let Err(text) = self.target.inject(&bytes) {
            return self.fail(format!("error handling packet: {text}"));
        }
        self.reap()
    }

    /// The bytes of an inbound packet.
    fn live_bytes(&mut self, packet: &Packet) -> Result<Vec<u8>, String> {
        let scaled = self.config.ts_ecr_scaled;
        let addresses = self.addresses;
        let sock = self.socks.under_test().expect("found before");
        let mut flow = Flow {
            src: sock.remote.unwrap_or((addresses.remote, 0)),
            dst: sock.local.unwrap_or((addresses.local, 0)),
        };
        if let Some((src, dst)) = packet.ports {
            let put = |port: &mut u16, said: u16| {
                if said != 0 {
                    *port = said;
                }
            };
            put(&mut flow.src.1, src);
            put(&mut flow.dst.1, dst);
        }
        match &packet.body {
            Body::Udp { len } => Ok(build_udp(flow, packet.ip, *len)),
            Body::Icmp(icmp) => {
                let seq = match icmp.quoted {
                    Quoted::Tcp { seq, .. } => seq.wrapping_add(sock.local_offset(false)),
                    _ => 0,
                };
                let mut icmp = icmp.clone();
                if sock.protocol == 17 && icmp.quoted == (Quoted::Tcp { seq: 0, len: 0 }) {
                    icmp.quoted = Quoted::Udp { len: 0 };
                }
                build_icmp(flow, packet.ip, &icmp, seq)
            }
            Body::Tcp(tcp) => {
                let syn = tcp.flags & Flags::SYN.0 != 0;
                let has_ack = tcp.flags & Flags::ACK.0 != 0;
                let back = sock.local_offset(syn);
                let mut options = tcp.options.clone().unwrap_or_default();
                for option in &mut options {
                    match option {
                        TcpOption::Sack(blocks) => {
                            for (left, right) in blocks {
                                *left = left.wrapping_add(back);
                                *right = right.wrapping_add(back);
                            }
                        }
                        TcpOption::Timestamps { ecr, .. } if has_ack => *ecr = live_ecr(sock, *ecr, scaled)?,
                        _ => {}
                    }
                }
                let segment = Segment {
                    flags: tcp.flags,
                    seq: tcp.seq.wrapping_add(sock.remote_offset(syn)),
                    ack: if has_ack { tcp.ack.wrapping_add(back) } else { tcp.ack },
                    window: tcp.window.unwrap_or(0),
                    urgent: tcp.urgent,
                    options,
                    len: usize::from(tcp.len),
                };
                Ok(build_tcp(flow, packet.ip, &segment))
            }
        }
    }

    pub(super) fn outbound(&mut self, packet: &Packet, when: When) -> Step {
        self.plain(packet)?;
        let syn_ack = is_syn_ack(packet);
        let sock = self.sock_for(packet)?;
        if sock.state == State::PacketReceived && syn_ack {
            let Body::Tcp(tcp) = &packet.body else { unreachable!("it has flags") };
            sock.script_local_isn = tcp.seq;
        }
        let found = self.collect(packet, when);
        match found.and_then(|live| self.verify(packet, &live, when)) {
            Ok(()) => self.reap(),
            Err(Stop::Failed(fault)) if self.config.non_fatal_packet => {
                self.warnings.push(fault);
                Ok(())
            }
            Err(stop) => Err(stop),
        }
    }

    fn packet_fault(&self, message: &str, details: Vec<String>) -> Stop {
        Stop::Failed(Fault { line: self.line, message: format!("error handling packet: {message}"), details })
    }

    /// Waits for the packet, or for as many as the script's one is long; glued into one, live numbers.
    fn collect(&mut self, packet: &Packet, when: When) -> Result<Live, Stop> {
        let expected = match &packet.body {
            Body::Tcp(tcp) => usize::from(tcp.len),
            Body::Udp { len } => usize::from(*len),
            Body::Icmp(_) => 0,
        };
        let mut parts: Vec<Live> = Vec::new();
        let mut have = 0;
        loop {
            let Some(live) = self.sniff(packet, when)? else {
                let line = format!("script packet: {} {}", secs(when.at), show_script(packet));
                return Err(self.packet_fault("Timed out waiting for packet", vec![line]));
            };
            let len = live.payload_len();
            let sock = self.socks.under_test().expect("it was matched");
            if sock.state == State::PacketReceived && is_syn_ack(packet) {
                sock.state = State::SynAckSent;
                sock.live_local_isn = live.tcp().map_or(0, |t| t.seq);
            }
            if let Some(before) = parts.last()
                && let Err(message) = check_fragment(before, &live, expected.saturating_sub(have))
            {
                let mut details =
                    vec![format!("   script packet: {} {}", secs(when.at), show_script(packet))];
                for (n, part) in parts.iter().chain([&live]).enumerate() {
                    details.push(format!("actual #{n} packet: {}", self.mapped_line(part, packet)));
                }
                return Err(self.packet_fault(&message, details));
            }
            have += len;
            parts.push(live);
            if have >= expected || self.config.strict_segments {
                break;
            }
        }
        if have != expected {
            let mut details = vec![format!("script packet: {} {}", secs(when.at), show_script(packet))];
            let shown = parts.iter().map(|p| format!("actual packet: {}", self.mapped_line(p, packet)));
            details.extend(shown.collect::<Vec<_>>());
            let message = format!("live packet payload: expected {expected} bytes vs actual {have} bytes");
            return Err(self.packet_fault(&message, details));
        }
        Ok(glue(parts))
    }

    /// A live packet in the script's numbers, as a line with its time.
    fn mapped_line(&mut self, live: &Live, packet: &Packet) -> String {
        let at = secs(self.script_time(live.at));
        let ace = matches!(&packet.body, Body::Tcp(t) if t.ace);
        let mapped = self.in_script_numbers(live.clone());
        format!("{at} {}", show_live(&mapped, ace))
    }

    /// The next packet of the socket under test; `None` when it is too late for one.
    fn sniff(&mut self, packet: &Packet, when: When) -> Result<Option<Live>, Stop> {
        let wait = if when.time == Time::Any {
            ANY_TIME_LIMIT
        } else {
            (when.end - self.last_at.unwrap_or(0)).max(0) / 1_000_000 * 1_000_000 + PATIENCE
        };
        let deadline = self.now() + wait;
        let deadline = self.live_time(deadline);
        for _ in 0..MAX_STRAYS {
            let received = match self.target.receive(deadline) {
                Ok(received) => received,
                Err(text) => return self.fail(format!("error handling packet: {text}")),
            };
            let Some((at, bytes)) = received else { return Ok(None) };
            let Some(live) = Live::parse(at, &bytes) else { continue };
            if self.is_ours(&live, packet) {
                return Ok(Some(live));
            }
            self.note_stray(at, &live);
        }
        Ok(None)
    }

    /// Sent by the socket under test; a first SYN tells its local port and ISN.
    fn is_ours(&mut self, live: &Live, packet: &Packet) -> bool {
        let Some(sock) = self.socks.under_test() else { return false };
        let (sport, dport) = live.ports();
        let icmp = matches!(live.body, LiveBody::Icmp { .. }) && matches!(sock.protocol, 1 | 58);
        if let (Some(local), Some(remote)) = (sock.local, sock.remote) {
            let addresses = live.src == local.0 && live.dst == remote.0;
            let other = packet.ports.filter(|_| packet.inbound);
            if addresses && (icmp || (sport, dport) == other.unwrap_or((local.1, remote.1))) {
                return true;
            }
        }
        let (syn, isn) = match live.tcp() {
            Some(t) => (t.flags & (Flags::SYN.0 | Flags::ACK.0) == Flags::SYN.0, t.seq),
            None => (false, 0),
        };
        let fits = match sock.protocol {
            6 => syn && sock.state == State::SynSent,
            17 => matches!(live.body, LiveBody::Udp { .. }) && sock.state == State::Connecting,
            _ => icmp && sock.state == State::Connecting,
        };
        let Some(remote) = sock.remote else { return false };
        if !fits || live.dst != remote.0 || (!icmp && dport != remote.1) {
            return false;
        }
        sock.local = Some((live.src, sport));
        if syn {
            sock.live_local_isn = isn;
        }
        true
    }

    /// Sequence numbers of the host and its SACK blocks in the script's numbers.
    pub(super) fn in_script_numbers(&mut self, mut live: Live) -> Live {
        if let (Some(sock), Some(tcp)) = (self.socks.under_test(), live.tcp_mut()) {
            let syn = tcp.flags & Flags::SYN.0 != 0;
            tcp.seq = tcp.seq.wrapping_sub(sock.local_offset(syn));
            let back = sock.remote_offset(syn).wrapping_neg();
            if tcp.flags & Flags::ACK.0 != 0 {
                tcp.ack = tcp.ack.wrapping_add(back);
            }
            tcp.shift_sack(back);
        }
        live
    }

    fn verify(&mut self, packet: &Packet, live: &Live, when: When) -> Step {
        let at = self.script_time(live.at);
        let mut actual = self.in_script_numbers(live.clone());
        if let (Body::Tcp(tcp), Some(sock)) = (&packet.body, self.socks.under_test()) {
            map_timestamps(sock, tcp.options.as_deref(), &mut actual);
        }
        let shown = show_live(&actual, matches!(&packet.body, Body::Tcp(t) if t.ace));
        let mut result = check_headers(packet, &actual).and_then(|()| self.check_flow_label(packet, &actual));
        if let (Ok(()), Body::Tcp(script), Some(tcp)) = (&result, &packet.body, actual.tcp()) {
            let tolerance = self.config.tolerance(when.at);
            result = check_options(script, tcp, self.config.ts_tick_usecs, tolerance);
        }
        let result = result.and_then(|()| self.check_time(when, at, self.last_at, "outbound packet"));
        let kind = if result.is_ok() { HappenedKind::Outbound } else { HappenedKind::Stray };
        self.happened.push(Happened { at, line: self.line, kind, text: shown.clone() });
        result.map_err(|message| {
            let script = format!("script packet: {} {}", secs(when.at), show_script(packet));
            let actual = format!("actual packet: {} {shown}", secs(at));
            self.packet_fault(&message, vec![script, actual])
        })
    }

    /// Only "the same" and "another" can be checked of a flow label.
    fn check_flow_label(&mut self, packet: &Packet, live: &Live) -> Result<(), String> {
        let (script, actual) = (packet.ip.flow_label, live.flow_label);
        if script == 0 || live.src.is_ipv4() {
            return Ok(());
        }
        if actual == 0 {
            return Err("flowlabel unmarked in the live packet".into());
        }
        let sock = self.socks.under_test().expect("it was matched");
        let Some((known, label)) = sock.flow_label else {
            sock.flow_label = Some((script, actual));
            return Ok(());
        };
        if script != known {
            if actual == label {
                return Err("expected a different flowlabel but got the same".into());
            }
            sock.flow_label = Some((script, actual));
        } else if actual != label {
            return Err(format!(
                "inconsistent flowlabels for this packet: expected: {label:#x} vs actual: {actual:#x}"
            ));
        }
        Ok(())
    }

    fn note_stray(&mut self, at: Instant, live: &Live) {
        if matches!(live.body, LiveBody::Other(_)) {
            return; // multicast reports and the like
        }
        let (sport, dport) = live.ports();
        let text = format!("{sport} > {dport} {}", show_live(live, false));
        let at = self.script_time(at);
        self.happened.push(Happened { at, line: 0, kind: HappenedKind::Stray, text });
    }

    /// What the host has sent and nobody asked for, after a failure.
    pub(super) fn note_strays(&mut self) {
        let now = self.target.now();
        for _ in 0..MAX_STRAYS {
            let Ok(Some((at, bytes))) = self.target.receive(now) else { return };
            let Some(live) = Live::parse(at, &bytes) else { continue };
            if matches!(live.body, LiveBody::Other(_)) {
                continue;
            }
            let at = self.script_time(at);
            let mapped = self.in_script_numbers(live);
            let text = show_live(&mapped, false);
            self.happened.push(Happened { at, line: 0, kind: HappenedKind::Stray, text });
        }
    }
}

/// The live TSecr for a script's.
fn live_ecr(sock: &Sock, ecr: u32, scaled: bool) -> Result<u32, String> {
    if let Some(live) = sock.ts.get(&ecr) {
        return Ok(*live);
    }
    match sock.first_ts {
        Some((script, live)) if scaled => Ok(ecr.wrapping_sub(script).wrapping_add(live)),
        _ => Err(format!(
            "unable to infer live TS ecr for script TS ecr {ecr};  no matching or preceding outbound TS val"
        )),
    }
}

/// Remembers which TSval of the host stands for the script's, and puts the host's into the script's numbers.
pub(super) fn map_timestamps(sock: &mut Sock, script: Option<&[TcpOption]>, actual: &mut Live) {
    let script_val = script.unwrap_or_default().iter().find_map(|o| match o {
        TcpOption::Timestamps { val, .. } => Some(*val),
        _ => None,
    });
    let Some(tcp) = actual.tcp_mut() else { return };
    let (Some(script_val), Some((live_val, _))) = (script_val, tcp.timestamps()) else { return };
    sock.ts.insert(script_val, live_val);
    let (first_script, first_live) = *sock.first_ts.get_or_insert((script_val, live_val));
    tcp.set_ts_val(first_script.wrapping_add(live_val.wrapping_sub(first_live)));
}

/// Several segments as one: the last one's header with the first one's sequence number and CWR.
fn glue(mut parts: Vec<Live>) -> Live {
    let mut last = parts.pop().expect("at least one was collected");
    let Some(first) = parts.first().cloned() else { return last };
    let mut payload = Vec::new();
    for part in parts.iter().chain([&last]) {
        match &part.body {
            LiveBody::Tcp(tcp) => payload.extend(&tcp.payload),
            LiveBody::Udp { payload: bytes, .. } => payload.extend(bytes),
            LiveBody::Icmp { .. } | LiveBody::Other(_) => {}
        }
    }
    match (&mut last.body, &first.body) {
        (LiveBody::Tcp(tcp), LiveBody::Tcp(first)) => {
            tcp.seq = first.seq;
            tcp.flags = tcp.flags & !Flags::CWR.0 | first.flags & Flags::CWR.0;
            tcp.payload = payload;
        }
        (LiveBody::Udp { payload: bytes, len, .. }, _) => {
            *len = u16::try_from(payload.len() + 8).unwrap_or(u16::MAX);
            *bytes = payload;
        }
        _ => {}
    }
    last
}
