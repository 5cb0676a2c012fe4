//! `--observe`: a script that expects nothing. What the host sends is noted as it comes, in the script's numbers; after each
//! event the connection's `TCP_INFO`. The same script on two kernels shows in what they differ.

use wire::Instant;
use wire::tcp::Flags;

use super::code::Value;
use super::packets::{MAX_STRAYS, map_timestamps};
use super::socks::State;
use super::{Happened, HappenedKind, Run, Step};
use crate::ast::TcpOption;
use crate::packet::{Live, LiveBody, show_live};

/// The host's first TSval in the script's numbers, as scripts like to write it.
const FIRST_TS: u32 = 100;

/// What is noted of `TCP_INFO`, without `tcpi_`.
const NOTED: [&str; 47] = [
    "state",
    "ca_state",
    "retransmits",
    "probes",
    "backoff",
    "options",
    "rto",
    "ato",
    "snd_mss",
    "rcv_mss",
    "unacked",
    "sacked",
    "lost",
    "retrans",
    "rcv_ssthresh",
    "rtt",
    "rttvar",
    "snd_ssthresh",
    "snd_cwnd",
    "advmss",
    "pmtu",
    "reordering",
    "rcv_rtt",
    "rcv_space",
    "total_retrans",
    "bytes_acked",
    "bytes_received",
    "segs_out",
    "segs_in",
    "notsent_bytes",
    "min_rtt",
    "data_segs_in",
    "data_segs_out",
    "delivered",
    "delivered_ce",
    "bytes_sent",
    "bytes_retrans",
    "dsack_dups",
    "reord_seen",
    "rcv_ooopack",
    "snd_wnd",
    "rcv_wnd",
    "delivery_rate_app_limited",
    "total_rto",
    "total_rto_recoveries",
    "snd_wscale",
    "rcv_wscale",
];

impl Run<'_> {
    /// Notes what the host has sent so far.
    pub(super) fn observe_packets(&mut self) {
        let now = self.target.now();
        for _ in 0..MAX_STRAYS {
            let Ok(Some((at, bytes))) = self.target.receive(now) else { return };
            let Some(live) = Live::parse(at, &bytes) else { continue };
            if !matches!(live.body, LiveBody::Other(_)) {
                self.observe_packet(at, live);
            }
        }
    }

    fn observe_packet(&mut self, at: Instant, live: Live) {
        let (sport, dport) = live.ports();
        let bits = live.tcp().map_or(0, |t| t.flags & (Flags::SYN.0 | Flags::ACK.0));
        let seq = live.tcp().map_or(0, |t| t.seq);
        let mut ours = false;
        if let Some(sock) = self.socks.under_test() {
            match sock.state {
                State::PacketReceived if bits == Flags::SYN.0 | Flags::ACK.0 => {
                    sock.state = State::SynAckSent;
                    sock.live_local_isn = seq;
                }
                State::Connecting | State::SynSent if bits == Flags::SYN.0 => {
                    sock.state = State::SynSent;
                    sock.live_local_isn = seq;
                    sock.local = Some((live.src, sport));
                }
                _ => {}
            }
            ours = sock.remote.is_some_and(|r| r.1 == dport) && sock.local.is_some_and(|l| l.1 == sport);
        }
        let mut shown = self.in_script_numbers(live);
        if let (Some(sock), true) = (self.socks.under_test(), ours)
            && let Some((val, _)) = shown.tcp().and_then(|t| t.timestamps())
        {
            let (script, first) = sock.first_ts.unwrap_or((FIRST_TS, val));
            let val = script.wrapping_add(val.wrapping_sub(first));
            map_timestamps(sock, Some(&[TcpOption::Timestamps { val, ecr: 0 }]), &mut shown);
        }
        let text = show_live(&shown, false);
        let (text, line) = if ours { (text, self.line) } else { (format!("{sport} > {dport} {text}"), 0) };
        let at = self.script_time(at);
        self.happened.push(Happened { at, line, kind: HappenedKind::Outbound, text });
    }

    /// Notes at the end what TCP has counted.
    pub(super) fn observe_counters(&mut self) {
        let mut counters = self.target.counters();
        counters.retain(|(name, _)| name.starts_with("Tcp"));
        counters.sort();
        let words: Vec<String> = counters.iter().map(|(name, n)| format!("{name}={n}")).collect();
        self.line = 0;
        self.note(HappenedKind::Code, words.join(" "));
    }

    /// Notes what is known of the connection now, if there is one.
    pub(super) fn observe_info(&mut self) -> Step {
        let Some(fd) = self.socks.under_test().filter(|s| s.protocol == 6).and_then(|s| s.live_fd) else {
            return Ok(());
        };
        if self.collect_info(fd).is_err() {
            return Ok(());
        }
        let mut words = Vec::new();
        for name in NOTED {
            if let Some(Value::Int(n)) = self.code.vars.get(&format!("tcpi_{name}")) {
                words.push(format!("{name}={n}"));
            }
        }
        for name in ["RMEM_ALLOC", "RCVBUF", "SNDBUF", "WMEM_QUEUED"] {
            if let Some(Value::Int(n)) = self.code.vars.get(&format!("SK_MEMINFO_{name}")) {
                words.push(format!("{name}={n}"));
            }
        }
        self.note(HappenedKind::Code, words.join(" "));
        Ok(())
    }
}
