//! What IPv6 says on every link without being asked: each interface makes itself a link-local address,
//! checks it (RFC 4862), reports its groups (RFC 3810) and looks for routers (RFC 4861 §6.3.7). In a run
//! that is about IPv4 this is noise; in one that uses IPv6 for anything else it is part of the story.

use std::collections::BTreeSet;
use std::net::IpAddr;

use stack::record::{AddrChange, Journal, Record, What};
use wire::icmpv6::Message;
use wire::ndp;

use crate::traffic::{Traffic, Transmission};
use crate::view::View;

/// The packets that are only housekeeping.
#[derive(Clone, Debug, Default)]
pub(crate) struct Housekeeping {
    /// Numbers of the packets.
    pub(crate) packets: BTreeSet<u32>,
}

impl Housekeeping {
    /// Empty when IPv6 does anything else in this journal: then nothing is noise.
    pub(crate) fn of(journal: &Journal, traffic: &Traffic) -> Housekeeping {
        let ipv6: Vec<&Transmission> =
            traffic.numbered().filter(|t| t.view.ips().any(|ip| ip.src.is_ipv6())).collect();
        let quiet = ipv6.iter().all(|t| is_housekeeping(&t.view));
        let about_ipv6 = ipv6.len() == traffic.numbered().count();
        let failed = journal
            .records
            .iter()
            .any(|r| matches!(r.what, What::Addr { change: AddrChange::DadFailed, .. }));
        if !quiet || about_ipv6 || failed {
            return Housekeeping::default();
        }
        Housekeeping { packets: ipv6.iter().map(|t| t.number).collect() }
    }

    /// Whether a record that is no packet belongs to it.
    pub(crate) fn has(&self, r: &Record, traffic: &Traffic) -> bool {
        if self.packets.is_empty() {
            return false;
        }
        match &r.what {
            What::Addr { addr, .. } => is_link_local(*addr),
            What::Timer { detail, .. } => detail.contains("fe80:"),
            What::Route { text, .. } => text.contains("fe80:") || text.contains("ff00::"),
            What::Drop { id: Some(id), .. } => {
                traffic.get(*id).is_some_and(|t| self.packets.contains(&t.number))
            }
            What::Drop { packet, .. } => packet.first().is_some_and(|b| b >> 4 == 6),
            _ => false,
        }
    }
}

fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(a) if a.is_unicast_link_local())
}

/// A report, a solicitation of routers, or the check of a link-local address.
pub(crate) fn is_housekeeping(view: &View) -> bool {
    match view.icmpv6() {
        Some(
            Message::MldQuery { .. }
            | Message::MldReportV1 { .. }
            | Message::MldDone { .. }
            | Message::MldReportV2 { .. }
            | Message::Ndp(ndp::Message::RouterSolicit),
        ) => true,
        Some(Message::Ndp(ndp::Message::NeighborSolicit { target })) => {
            target.is_unicast_link_local() && view.ip().is_some_and(|ip| ip.src.is_unspecified())
        }
        _ => false,
    }
}
