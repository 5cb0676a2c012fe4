//! What an ICMP error means to a socket. Linux: net/ipv4/udp.c `__udp4_lib_err`, net/ipv6/udp.c `__udp6_lib_err`,
//! net/ipv4/raw.c `raw_err`, net/ipv4/ping.c `ping_err`. TRUTH.md §8 (8d).

use std::net::SocketAddr;

use wire::{Bytes, Instant, udp};

use super::receive::Ends;
use crate::call::PollEvents;
use crate::icmp::IcmpReport;
use crate::mib::Counter;
use crate::socket::sock::pmtudisc;
use crate::socket::{Dgram, DgramKind, QueuedError, truesize};
use crate::{Errno, Stack};

impl Stack {
    /// `udp_err`: an ICMP error quotes a UDP datagram of ours; `quoted` starts at its UDP header (8 bytes at least).
    pub(crate) fn udp_err(&mut self, _now: Instant, report: &IcmpReport, quoted: &[u8]) {
        let Ok((header, _)) = udp::Header::parse_quoted(quoted) else { return };
        // The socket that sent it: looked up as if its peer had answered.
        let ends = Ends {
            src: report.remote,
            src_port: header.dst_port,
            dst: report.local,
            dst_port: header.src_port,
            ifindex: report.ifindex,
        };
        let Some(sock) = self.udp_lookup(&ends) else {
            let ipv6 = report.local.is_ipv6();
            self.mib.inc(if ipv6 { Counter::Icmp6InErrors } else { Counter::IcmpInErrors });
            return;
        };
        let payload = &quoted[udp::HEADER_LEN..];
        self.dgram_error(sock, report, header.dst_port, payload);
    }

    /// Reports an error to a socket: to everyone who asked for all (`IP_RECVERR`) by the error queue, else to
    /// connected ones if it is final.
    pub(super) fn dgram_error(&mut self, sock: u32, report: &IcmpReport, port: u16, payload: &[u8]) {
        let ipv6 = report.local.is_ipv6();
        let entry = &self.sockets.dgrams[sock];
        let Some((errno, hard)) = severity(entry, report, ipv6) else { return };
        if entry.wants_errors(ipv6) {
            let error = QueuedError {
                errno,
                origin: if ipv6 { crate::socket::ORIGIN_ICMP6 } else { crate::socket::ORIGIN_ICMP },
                ty: report.ty,
                code: report.code,
                info: report.info,
                data: 0,
                stamp: None,
                offender: Some(report.offender),
                dst: SocketAddr::new(report.remote, port),
                payload: Bytes::from(payload),
                truesize: truesize(payload.len() + 28),
            };
            self.queue_error(sock, error);
        } else if !hard || entry.peer.is_none() {
            return;
        }
        let entry = &mut self.sockets.dgrams[sock];
        entry.error = Some(errno);
        let file = entry.file;
        self.wake_file(file, PollEvents::ERR);
    }
}

/// The errno, and whether it is final; `None` for what no socket hears of.
fn severity(sock: &Dgram, report: &IcmpReport, ipv6: bool) -> Option<(Errno, bool)> {
    const SOURCE_QUENCH: u8 = 4;
    const DEST_UNREACH: u8 = 3;
    const FRAG_NEEDED: u8 = 4;
    const PKT_TOO_BIG: u8 = 2;
    if ipv6 {
        let too_big = report.ty == PKT_TOO_BIG;
        let hard = if too_big { sock.opts.pmtudisc6 != pmtudisc::DONT } else { report.fatal };
        return Some((report.errno, hard && sock.kind != DgramKind::Raw || report.fatal));
    }
    match (report.ty, report.code) {
        (SOURCE_QUENCH, _) => None,
        // Path MTU discovery: the socket hears of it when it sets DF at all.
        (DEST_UNREACH, FRAG_NEEDED) if sock.opts.pmtudisc == pmtudisc::DONT => None,
        (DEST_UNREACH, FRAG_NEEDED) => Some((Errno::EMSGSIZE, true)),
        _ => Some((report.errno, report.fatal)),
    }
}
