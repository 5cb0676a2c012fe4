//! Dynamic ARP inspection: an untrusted port may only speak for addresses that are bound to it.
//!
//! What managed switches do (there is no standard): an ARP packet from an untrusted port passes when its
//! sender's IP and MAC address stand together in the binding table, which DHCP snooping or an
//! administrator filled. Compare Linux's nftables `arp saddr ip`.

use std::net::Ipv4Addr;

use stack::record::IfIndex;
use wire::MacAddr;
use wire::arp;

/// Who may say that he has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The address.
    pub ip: Ipv4Addr,
    /// Whose it is.
    pub mac: MacAddr,
    /// Behind which port; `None` for any.
    pub port: Option<IfIndex>,
    /// In which VLAN; `None` for any.
    pub vlan: Option<u16>,
}

/// The inspection's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArpInspection {
    /// The binding table.
    pub bindings: Vec<Binding>,
    /// The Ethernet source must be the ARP sender's MAC address (`validate src-mac`).
    pub validate_source_mac: bool,
    /// Probes from 0.0.0.0 (RFC 5227) pass without a binding (`validate ip allow zeros`).
    pub allow_probes: bool,
}

impl Default for ArpInspection {
    /// An empty table; source MAC addresses are validated, probes pass.
    fn default() -> Self {
        ArpInspection { bindings: Vec::new(), validate_source_mac: true, allow_probes: true }
    }
}

impl ArpInspection {
    /// Whether an ARP packet that came from an untrusted port may pass.
    pub(crate) fn permits(&self, port: IfIndex, vlan: u16, source: MacAddr, packet: &arp::Packet) -> bool {
        if self.validate_source_mac && source != packet.sender_mac {
            return false;
        }
        if self.allow_probes && packet.is_probe() {
            return true;
        }
        self.bindings.iter().any(|b| {
            b.ip == packet.sender_ip
                && b.mac == packet.sender_mac
                && b.port.is_none_or(|p| p == port)
                && b.vlan.is_none_or(|v| v == vlan)
        })
    }
}
