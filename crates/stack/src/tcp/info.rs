//! What a connection tells about itself: `TCP_INFO`, `ss -tanoi`. Linux: tcp.c `tcp_get_info`; iproute2: misc/ss.c.

use core::fmt::Write;
use core::time::Duration;
use std::net::SocketAddr;

use wire::{Bytes, Instant};

use super::cc::Cc;
use super::sock::TcpSock;
use super::tcb::{State, Tcb};
use super::timer::Pending;
use crate::Stack;

/// `sizeof(struct tcp_info)` of 6.18 (measured: `getsockopt` reports as much).
pub(crate) const INFO_BYTES: usize = 280;

/// `TCP_INFO` of a socket without a connection: what `tcp_init_sock` sets; of a listener (`Some`: how many wait for accept,
/// and the backlog) less.
pub(crate) fn info_unconnected(listening: Option<(u32, u32)>, reordering: i32) -> Bytes {
    let mut bytes = vec![0; INFO_BYTES];
    let mut put = |at: usize, v: u32| bytes[at..at + 4].copy_from_slice(&v.to_ne_bytes());
    put(80, super::cc::INITIAL_WINDOW);
    put(88, u32::try_from(reordering).unwrap_or(3));
    // Pacing: no limit.
    for at in [104, 108, 112, 116] {
        put(at, u32::MAX);
    }
    if let Some((waiting, backlog)) = listening {
        put(24, waiting); // tcpi_unacked
        put(28, backlog); // tcpi_sacked
        bytes[0] = 10;
        return bytes.into();
    }
    put(8, us(super::rto::INITIAL_RTO));
    put(16, super::options::DEFAULT_MSS.into());
    put(72, us(super::rto::INITIAL_RTO) >> 2);
    put(76, super::cc::INFINITE_SSTHRESH);
    put(148, u32::MAX); // no least round trip
    bytes[0] = 7;
    bytes[7] = 1; // no rate sample: limited by the application
    bytes.into()
}

/// `struct tcp_info` is built word by word.
#[derive(Default)]
struct Words(Vec<u8>);

impl Words {
    fn u8(&mut self, v: u8) {
        self.0.push(v);
    }
    fn u16(&mut self, v: u16) {
        self.0.extend_from_slice(&v.to_ne_bytes());
    }
    fn u32(&mut self, v: u32) {
        self.0.extend_from_slice(&v.to_ne_bytes());
    }
    fn u64(&mut self, v: u64) {
        self.0.extend_from_slice(&v.to_ne_bytes());
    }
}

fn ms_since(now: Instant, then: Instant) -> u32 {
    u32::try_from((now - then).as_millis()).unwrap_or(u32::MAX)
}

fn us(d: Duration) -> u32 {
    u32::try_from(d.as_micros()).unwrap_or(u32::MAX)
}

impl Tcb {
    /// `tcp_get_info`: the structure as linux/tcp.h of 6.18 lays it out.
    pub(crate) fn info(&self, now: Instant) -> Bytes {
        let mut w = Words::default();
        let r = &self.recovery;
        w.u8(self.state().number());
        w.u8(r.ca_state as u8); // five states
        w.u8(self.retransmits);
        w.u8(self.probes_out);
        w.u8(self.backoff);
        let mut options = u8::from(self.ts.ok);
        options |= u8::from(self.opts.sack) << 1;
        options |= u8::from(self.opts.wscale) << 2;
        options |= u8::from(self.opts.ecn || self.ecn.offered) << 3;
        options |= u8::from(self.ecn.seen) << 4;
        options |= u8::from(self.fo.syn_data_acked) << 5;
        options |= u8::from(self.fo.child) << 7;
        w.u8(options);
        w.u8(if self.opts.wscale { self.snd.wscale | self.rcv.wscale << 4 } else { 0 });
        w.u8(u8::from(r.rate_app_limited) | (self.fo.client_fail as u8) << 1); // two bits
        w.u32(us(self.rto));
        w.u32(us(self.ack.ato));
        // Until the SYN is answered, no option means the default, less the timestamps that it offers.
        let clamp = match self.opts.mss_clamp {
            u16::MAX if matches!(self.state, State::SynSent | State::Close) => {
                super::options::default_mss(self.remote.ip())
            }
            _ => u16::MAX,
        };
        let waits = self.state == State::SynSent || self.opts.mss_clamp == u16::MAX;
        let options = if !self.ts.ok && self.ts.offered && waits { 12 } else { 0 };
        w.u32((self.mss.min(clamp) - options).into());
        w.u32(self.ack.rcv_mss.into());
        w.u32(r.packets_out);
        w.u32(r.sacked_out);
        w.u32(r.lost_out);
        w.u32(r.retrans_out);
        w.u32(0); // fackets
        w.u32(ms_since(now, self.last_sent));
        w.u32(0); // last_ack_sent: not remembered there either
        w.u32(ms_since(now, self.ack.last_received));
        w.u32(ms_since(now, self.last_ack_received));
        w.u32(self.path_mtu);
        w.u32(self.rcv.ssthresh);
        w.u32(self.rtt.srtt_us8 >> 3);
        w.u32(self.rtt.mdev_us4 >> 2);
        w.u32(self.window.ssthresh);
        w.u32(self.window.cwnd);
        w.u32(self.rcv.advmss.into());
        w.u32(r.reordering);
        w.u32(self.rx.rtt_us8 >> 3);
        w.u32(self.rx.space);
        w.u32(self.totals.total_retrans);
        w.u64(self.pacing_rate);
        w.u64(self.user.max_pacing_rate.unwrap_or(u64::MAX));
        w.u64(self.totals.bytes_acked);
        w.u64(self.totals.bytes_received);
        w.u32(self.totals.segs_out);
        w.u32(self.totals.segs_in);
        w.u32((self.snd.write_seq - self.snd.nxt).max(0) as u32); // not negative
        w.u32(self.rtt.min_rtt.value().unwrap_or(u32::MAX));
        w.u32(self.totals.data_segs_in);
        w.u32(self.totals.data_segs_out);
        w.u64(self.delivery_rate());
        self.chrono.micros(now).into_iter().for_each(|us| w.u64(us));
        w.u32(r.delivered);
        w.u32(r.delivered_ce);
        w.u64(self.totals.bytes_sent);
        w.u64(self.totals.bytes_retrans);
        w.u32(self.totals.dsack_dups);
        w.u32(self.recovery.reord_seen);
        w.u32(self.rx.ooo_packets);
        w.u32(self.snd.wnd);
        w.u32(self.rcv.wnd);
        w.u32(0); // rehash
        w.u16(u16::try_from(r.total_rto).unwrap_or(u16::MAX));
        w.u16(r.rto_recoveries);
        w.u32(r.rto_time(now));
        // tcpi_received_ce to tcpi_accecn_*: AccECN is not modelled.
        w.0.resize(INFO_BYTES, 0);
        w.0.into()
    }

    /// `timer:(on,200ms,0)` of `ss -o`; empty when none is armed.
    fn ss_timer(&self, now: Instant) -> String {
        let (name, at, tries) = match self.timers.pending {
            Some(Pending::Probe0) => ("persist", self.timers.retransmit.deadline(), self.probes_out),
            Some(_) => ("on", self.timers.retransmit.deadline(), self.retransmits),
            None => ("keepalive", self.timers.keepalive.deadline(), self.probes_out),
        };
        at.map_or(String::new(), |at| format!(" timer:({name},{},{tries})", ss_time(at - now)))
    }

    /// The second line of `ss -i`.
    fn ss_info(&self) -> String {
        let mut text = String::from("\t ");
        let flags = [
            (self.ts.ok, "ts"),
            (self.opts.sack, "sack"),
            (self.opts.ecn, "ecn"),
            (self.fo.syn_data_acked, "fastopen"),
        ];
        for (_, word) in flags.iter().filter(|(on, _)| *on) {
            let _ = write!(text, "{word} ");
        }
        let _ = write!(text, "{}", self.cc.name());
        if self.opts.wscale {
            let _ = write!(text, " wscale:{},{}", self.snd.wscale, self.rcv.wscale);
        }
        let _ = write!(text, " rto:{}", self.rto.as_millis());
        if self.backoff > 0 {
            let _ = write!(text, " backoff:{}", self.backoff);
        }
        if self.rtt.srtt_us8 > 0 {
            let thousandths = |us: u32| format!("{}.{:03}", us / 1000, us % 1000);
            let _ = write!(
                text,
                " rtt:{}/{}",
                thousandths(self.rtt.srtt_us8 >> 3),
                thousandths(self.rtt.mdev_us4 >> 2)
            );
        }
        if !self.ack.ato.is_zero() {
            let _ = write!(text, " ato:{}", self.ack.ato.as_millis());
        }
        let _ = write!(
            text,
            " mss:{} pmtu:{} rcvmss:{} advmss:{} cwnd:{}",
            self.mss, self.path_mtu, self.ack.rcv_mss, self.rcv.advmss, self.window.cwnd
        );
        if self.window.ssthresh < super::cc::INFINITE_SSTHRESH {
            let _ = write!(text, " ssthresh:{}", self.window.ssthresh);
        }
        let t = &self.totals;
        let numbers = [
            ("bytes_sent", t.bytes_sent),
            ("bytes_retrans", t.bytes_retrans),
            ("bytes_acked", t.bytes_acked),
            ("bytes_received", t.bytes_received),
            ("segs_out", t.segs_out.into()),
            ("segs_in", t.segs_in.into()),
            ("data_segs_out", t.data_segs_out.into()),
            ("data_segs_in", t.data_segs_in.into()),
            ("unacked", self.recovery.packets_out.into()),
        ];
        for (name, n) in numbers.iter().filter(|(_, n)| *n > 0) {
            let _ = write!(text, " {name}:{n}");
        }
        if t.total_retrans > 0 {
            let _ = write!(text, " retrans:{}/{}", self.recovery.retrans_out, t.total_retrans);
        }
        let r = &self.recovery;
        let more = [
            ("lost", r.lost_out),
            ("sacked", r.sacked_out),
            ("dsack_dups", t.dsack_dups),
            ("reord_seen", r.reord_seen),
            ("rcv_space", self.rx.space),
            ("rcv_ssthresh", self.rcv.ssthresh),
            ("notsent", (self.snd.write_seq - self.snd.nxt).max(0) as u32), // not negative
        ];
        for (name, n) in more.iter().filter(|(_, n)| *n > 0) {
            let _ = write!(text, " {name}:{n}");
        }
        if let Some(us) = self.rtt.min_rtt.value() {
            let _ = write!(text, " minrtt:{}.{:03}", us / 1000, us % 1000);
        }
        let _ = write!(text, " snd_wnd:{}", self.snd.wnd);
        if matches!(self.cc, Cc::Bbr(_)) {
            let _ = write!(text, " pacing_rate {}bps", self.pacing_rate.saturating_mul(8));
        }
        text
    }
}

/// Times as `ss` prints timers: `29sec`, `200ms`, `1min23sec`.
fn ss_time(left: Duration) -> String {
    let ms = left.as_millis();
    let (minutes, seconds, ms) = (ms / 60_000, ms / 1000 % 60, ms % 1000);
    let mut text = String::new();
    if minutes > 0 {
        let _ = write!(text, "{minutes}min");
    }
    if seconds > 0 {
        let sep = if minutes == 0 && ms > 0 && seconds < 10 { format!(".{:03}", ms) } else { String::new() };
        let _ = write!(text, "{seconds}{sep}sec");
    }
    if minutes == 0 && seconds == 0 {
        let _ = write!(text, "{ms}ms");
    }
    text
}

impl Stack {
    /// Segments that a connection has sent and received so far, as `ss -ti` counts them (`segs_out`, `segs_in`: RFC 4898).
    pub fn tcp_segments(&self, local: SocketAddr, remote: SocketAddr) -> Option<[u32; 2]> {
        let mut tcbs = self.tcp.socks.iter().filter_map(|(_, sock)| sock.tcb.as_ref());
        let tcb = tcbs.find(|tcb| (tcb.local, tcb.remote) == (local, remote))?;
        Some([tcb.totals.segs_out, tcb.totals.segs_in])
    }

    /// `ss -tanoi`: listeners, half-open connections, connections, TIME_WAIT entries, in the order of their making.
    pub fn ss_tcp(&self, now: Instant) -> String {
        self.ss_rows(now, true)
    }

    /// `ss -tan`: the same without timers and the second line.
    pub fn ss_tan(&self, now: Instant) -> String {
        self.ss_rows(now, false)
    }

    fn ss_rows(&self, now: Instant, all: bool) -> String {
        let mut rows: Vec<(u32, [String; 5], String)> = Vec::new();
        for (_, sock) in self.tcp.socks.iter() {
            if sock.port != 0 {
                rows.push(row_of(sock, now));
            }
        }
        for (_, req) in self.tcp.requests.iter() {
            let row =
                ["SYN-RECV".into(), "0".into(), "0".into(), req.local.to_string(), req.remote.to_string()];
            rows.push((req.serial, row, format!(" timer:(on,,{})", req.num_timeout)));
        }
        for tw in self.tcp.time_waits.iter() {
            let state = if tw.fin_wait2 { "FIN-WAIT-2" } else { "TIME-WAIT" };
            let (local, remote) = self.tcp.time_waits.addrs(tw);
            let row = [state.into(), "0".into(), "0".into(), local.to_string(), remote.to_string()];
            let left = tw.expires_ms.wrapping_sub(super::cx::clock_ms(now));
            let left = ss_time(core::time::Duration::from_millis(left.into()));
            rows.push((tw.serial, row, format!(" timer:(timewait,{left},0)")));
        }
        rows.sort_by_key(|(serial, ..)| *serial);
        let head =
            ["State", "Recv-Q", "Send-Q", "Local Address:Port", "Peer Address:Port"].map(str::to_owned);
        rows.insert(0, (0, head, String::new()));
        let widths: Vec<usize> =
            (0..5).map(|c| rows.iter().map(|r| r.1[c].len()).max().unwrap_or(0)).collect();
        let mut text = String::new();
        for (_, row, more) in &rows {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, w)| format!("{cell:<w$}")).collect();
            text.push_str(cells.join(" ").trim_end());
            if all {
                text.push_str(more);
            }
            text.push('\n');
        }
        text
    }
}

fn row_of(sock: &TcpSock, now: Instant) -> (u32, [String; 5], String) {
    let star = |port: u16| if port == 0 { "*".to_owned() } else { port.to_string() };
    let any = |ip: std::net::IpAddr| match ip {
        std::net::IpAddr::V6(v6) if v6.is_unspecified() && !sock.opts.v6only => "*".to_owned(),
        std::net::IpAddr::V6(v6) => format!("[{v6}]"),
        std::net::IpAddr::V4(v4) => v4.to_string(),
    };
    let local = format!("{}:{}", any(sock.rcv_addr), star(sock.port));
    let state = sock.state_name().to_owned();
    if let Some(listener) = &sock.listener {
        let row =
            [state, listener.accept.len().to_string(), listener.backlog.to_string(), local, "*:*".into()];
        return (sock.serial, row, String::new());
    }
    let Some(tcb) = sock.tcb.as_ref().filter(|t| t.state() != State::Close) else {
        return (sock.serial, [state, "0".into(), "0".into(), local, "*:*".into()], String::new());
    };
    let row = [
        state,
        tcb.rqueue().to_string(),
        tcb.outq().to_string(),
        tcb.local.to_string(),
        tcb.remote.to_string(),
    ];
    (sock.serial, row, format!("{}\n{}", tcb.ss_timer(now), tcb.ss_info()))
}
