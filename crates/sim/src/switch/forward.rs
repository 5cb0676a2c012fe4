//! One frame through a switch: ingress VLAN, inspection, learning, egress ports and tags.
//!
//! IEEE 802.1Q §8.6; Linux: br_handle_frame_finish, br_allowed_ingress, br_handle_vlan.

use stack::record::{IfIndex, LossCause};
use wire::ethernet::{self, EtherType, Header, VlanTag};
use wire::{Frame, Instant, MacAddr, arp};

use super::{Port, PortMode, Switch};

/// What becomes of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Forward {
    /// It leaves by these ports, each with its own tagging.
    Ports(Vec<(IfIndex, Tagging)>),
    /// It ends here.
    Drop(LossCause),
}

/// How a frame is tagged when it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tagging {
    /// As it came.
    Keep,
    /// Without its tag.
    Strip,
    /// With this tag.
    Insert(VlanTag),
}

/// Where the 802.1Q tag begins.
const TAG_AT: usize = 12;

impl Switch {
    /// Decides about a frame that came in by `port`.
    pub(crate) fn forward(&mut self, now: Instant, port: IfIndex, frame: &Frame) -> Forward {
        let Ok((header, header_len)) = Header::parse(frame.head()) else {
            return Forward::Drop(LossCause::NoPort);
        };
        let Some(ingress) = self.port(port) else { return Forward::Drop(LossCause::NoPort) };
        let Some(vlan) = ingress.config.mode.ingress(header.vlan) else {
            return Forward::Drop(LossCause::Vlan);
        };
        if !self.arp_permitted(ingress, vlan, &header, &frame.head()[header_len..]) {
            return Forward::Drop(LossCause::ArpInspection);
        }
        let limit = ingress.config.mac_limit;
        self.table.learn(now, vlan, header.src, port, limit);
        if is_link_local(header.dst) {
            return Forward::Drop(LossCause::NoPort);
        }
        let known = if header.dst.is_multicast() { None } else { self.table.lookup(now, vlan, header.dst) };
        let out: Vec<_> = match known {
            // The destination lives where the frame came from: it has it already.
            Some(to) if to == port => Vec::new(),
            Some(to) => self.egress(to, vlan, header.vlan).into_iter().collect(),
            None => self
                .ports
                .iter()
                .filter(|p| p.ifindex != port)
                .filter_map(|p| self.egress(p.ifindex, vlan, header.vlan))
                .collect(),
        };
        if out.is_empty() { Forward::Drop(LossCause::NoPort) } else { Forward::Ports(out) }
    }

    fn arp_permitted(&self, ingress: &Port, vlan: u16, header: &Header, payload: &[u8]) -> bool {
        let Some(inspection) = &self.config.arp_inspection else { return true };
        if ingress.config.arp_trusted || header.ethertype != EtherType::ARP {
            return true;
        }
        arp::Packet::parse(payload)
            .is_ok_and(|(packet, _)| inspection.permits(ingress.ifindex, vlan, header.src, &packet))
    }

    /// How a frame of `vlan` leaves by `port`; `None` when it may not.
    fn egress(&self, port: IfIndex, vlan: u16, tag: Option<VlanTag>) -> Option<(IfIndex, Tagging)> {
        let untagged = match &self.port(port)?.config.mode {
            PortMode::Access { vlan: own } => (*own == vlan).then_some(true)?,
            PortMode::Trunk { native, .. } if *native == Some(vlan) => true,
            PortMode::Trunk { allowed, .. } => {
                (allowed.is_empty() || allowed.contains(&vlan)).then_some(false)?
            }
        };
        let tagging = match (untagged, tag) {
            (true, None) => Tagging::Keep,
            (true, Some(_)) => Tagging::Strip,
            (false, Some(tag)) if tag.vid == vlan => Tagging::Keep,
            (false, tag) => Tagging::Insert(VlanTag { vid: vlan, ..tag.unwrap_or_default() }),
        };
        Some((port, tagging))
    }
}

impl PortMode {
    /// The VLAN of a frame that comes in with `tag`; `None` when it may not.
    fn ingress(&self, tag: Option<VlanTag>) -> Option<u16> {
        // A priority tag (VLAN 0) counts as none.
        let tagged = tag.map(|t| t.vid).filter(|vid| *vid != 0);
        match (self, tagged) {
            (PortMode::Access { vlan }, None) => Some(*vlan),
            (PortMode::Access { vlan }, Some(vid)) => (vid == *vlan).then_some(vid),
            (PortMode::Trunk { native, .. }, None) => *native,
            (PortMode::Trunk { allowed, native }, Some(vid)) => {
                (allowed.is_empty() || allowed.contains(&vid) || *native == Some(vid)).then_some(vid)
            }
        }
    }
}

/// 01:80:c2:00:00:00 to 0f end at the bridge (IEEE 802.1Q table 8-1).
fn is_link_local(dst: MacAddr) -> bool {
    dst.0[..5] == [0x01, 0x80, 0xc2, 0, 0] && dst.0[5] < 0x10
}

impl Tagging {
    /// The frame as it leaves.
    pub(crate) fn apply(self, frame: &mut Frame) {
        match self {
            Tagging::Keep => {}
            Tagging::Strip => {
                let addresses = addresses(frame);
                frame.pull(4);
                frame.head_mut()[..TAG_AT].copy_from_slice(&addresses);
            }
            Tagging::Insert(tag) => {
                if Header::parse(frame.head()).is_ok_and(|(h, _)| h.vlan.is_some()) {
                    frame.head_mut()[14..16].copy_from_slice(&tag.tci().to_be_bytes());
                    return;
                }
                let addresses = addresses(frame);
                frame.push(4);
                let head = frame.head_mut();
                head[..TAG_AT].copy_from_slice(&addresses);
                head[TAG_AT..TAG_AT + 2].copy_from_slice(&EtherType::VLAN.0.to_be_bytes());
                head[TAG_AT + 2..TAG_AT + 4].copy_from_slice(&tag.tci().to_be_bytes());
            }
        }
    }
}

fn addresses(frame: &Frame) -> [u8; TAG_AT] {
    debug_assert!(frame.head().len() >= ethernet::HEADER_LEN);
    frame.head()[..TAG_AT].try_into().expect("a parsed Ethernet header is longer")
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
