//! How far a flow has come, and how long it may be silent.
//!
//! Linux: nf_conntrack_proto_{udp,icmp,tcp}.c; `tcp_conntracks` condensed to what decides a timeout.

use core::time::Duration;

use wire::Instant;
use wire::tcp::Flags;

use super::NatTimeouts;

/// Which way a packet of a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As the flow's first packet.
    Original,
    /// Back.
    Reply,
}

/// The state of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Udp,
    Icmp,
    Tcp(TcpState),
    Generic,
}

/// `enum tcp_conntrack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TcpState {
    SynSent,
    SynRecv,
    Established,
    /// Somebody sent a FIN, that way.
    FinWait(WayOfFin),
    CloseWait(WayOfFin),
    LastAck,
    TimeWait,
    Close,
}

/// Who sent the first FIN: the flow's opener or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WayOfFin {
    Original,
    Reply,
}

impl TcpState {
    /// The word of `conntrack -L`.
    pub(super) fn name(self) -> &'static str {
        match self {
            TcpState::SynSent => "SYN_SENT",
            TcpState::SynRecv => "SYN_RECV",
            TcpState::Established => "ESTABLISHED",
            TcpState::FinWait(_) => "FIN_WAIT",
            TcpState::CloseWait(_) => "CLOSE_WAIT",
            TcpState::LastAck => "LAST_ACK",
            TcpState::TimeWait => "TIME_WAIT",
            TcpState::Close => "CLOSE",
        }
    }

    /// The state after a segment with these flags.
    fn next(self, way: Way, flags: Flags) -> TcpState {
        let has = |f| flags.contains(f);
        let fin_way = if way == Way::Original { WayOfFin::Original } else { WayOfFin::Reply };
        if has(Flags::RST) {
            return TcpState::Close;
        }
        match self {
            TcpState::TimeWait | TcpState::Close if has(Flags::SYN) && way == Way::Original => {
                TcpState::SynSent
            }
            TcpState::SynSent if has(Flags::SYN) && way == Way::Reply => TcpState::SynRecv,
            TcpState::SynRecv if has(Flags::ACK) && !has(Flags::SYN) && way == Way::Original => {
                if has(Flags::FIN) { TcpState::FinWait(fin_way) } else { TcpState::Established }
            }
            TcpState::SynRecv | TcpState::Established if has(Flags::FIN) => TcpState::FinWait(fin_way),
            TcpState::FinWait(first) | TcpState::CloseWait(first) if first != fin_way => {
                if has(Flags::FIN) {
                    TcpState::LastAck
                } else {
                    TcpState::CloseWait(first)
                }
            }
            TcpState::LastAck if has(Flags::ACK) && !has(Flags::FIN) => TcpState::TimeWait,
            same => same,
        }
    }

    fn timeout(self, t: &NatTimeouts) -> Duration {
        match self {
            TcpState::SynSent => t.tcp_syn_sent,
            TcpState::SynRecv => t.tcp_syn_recv,
            TcpState::Established => t.tcp_established,
            TcpState::FinWait(_) => t.tcp_fin_wait,
            TcpState::CloseWait(_) => t.tcp_close_wait,
            TcpState::LastAck => t.tcp_last_ack,
            TcpState::TimeWait => t.tcp_time_wait,
            TcpState::Close => t.tcp_close,
        }
    }
}

/// What is known about a flow's life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) state: State,
    created: Instant,
    pub(super) seen_reply: bool,
    /// `IPS_ASSURED`: lives long, and is not given up when the table is full.
    pub(super) assured: bool,
    pub(super) expires: Instant,
}

/// `nf_conntrack_udp_packet`: a flow is a stream when it lives on after two seconds.
const STREAM_AFTER: Duration = Duration::from_secs(2);

impl Life {
    /// A new flow; its first packet, which [`Life::packet`] is told of next, sets when it is over.
    pub(super) fn new(now: Instant, state: State) -> Life {
        Life { state, created: now, seen_reply: false, assured: false, expires: Instant::FAR_FUTURE }
    }

    /// A flow's first state, by protocol.
    pub(super) fn first(protocol: wire::ip::Protocol, flags: Option<Flags>) -> State {
        use wire::ip::Protocol;
        match protocol {
            Protocol::UDP => State::Udp,
            Protocol::ICMP => State::Icmp,
            Protocol::TCP => {
                let syn = flags.is_some_and(|f| f.contains(Flags::SYN));
                // `nf_conntrack_tcp_loose`: picked up in the middle.
                State::Tcp(if syn { TcpState::SynSent } else { TcpState::Established })
            }
            _ => State::Generic,
        }
    }

    /// A packet of the flow passes.
    pub(super) fn packet(&mut self, now: Instant, way: Way, flags: Option<Flags>, t: &NatTimeouts) {
        self.seen_reply |= way == Way::Reply;
        let timeout = match &mut self.state {
            State::Icmp => t.icmp,
            State::Generic => t.generic,
            State::Udp => {
                let stream = self.seen_reply && now.saturating_since(self.created) > STREAM_AFTER;
                self.assured |= stream;
                if stream { t.udp_stream } else { t.udp }
            }
            State::Tcp(state) => {
                *state = state.next(way, flags.unwrap_or_default());
                self.assured |= self.seen_reply && *state == TcpState::Established;
                let unanswered = *state == TcpState::Established && !self.seen_reply;
                if unanswered { t.tcp_unacknowledged } else { state.timeout(t) }
            }
        };
        self.expires = now + timeout;
    }
}
