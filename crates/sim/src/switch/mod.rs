//! A switch: learns where each MAC address lives, floods what it does not know, keeps VLANs apart.
//!
//! IEEE 802.1Q §8 (learning, ageing, egress rules); Linux: net/bridge. Dynamic ARP inspection:
//! [`arp_inspection`].

pub mod arp_inspection;
mod forward;
mod mac_table;

use core::time::Duration;

use stack::record::IfIndex;
use wire::Instant;

use arp_inspection::ArpInspection;
pub(crate) use forward::{Forward, Tagging};
pub use mac_table::MacEntry;
use mac_table::MacTable;

/// IEEE 802.1Q's default ageing time; Linux: `BR_DEFAULT_AGEING_TIME`.
pub const DEFAULT_AGEING: Duration = Duration::from_secs(300);
/// Addresses that a switch learns by default, as many as a small hardware one.
pub const DEFAULT_MAC_LIMIT: usize = 16_384;

/// What a switch is made from.
#[derive(Clone, Debug)]
pub struct SwitchConfig {
    /// How long an address stays without being heard; zero for ever.
    pub ageing: Duration,
    /// Addresses in the table at most; packets to others are flooded.
    pub mac_limit: usize,
    /// Ports that are not plain members of VLAN 1, by their NIC's name.
    pub ports: Vec<(String, PortConfig)>,
    /// Dynamic ARP inspection; `None` when off.
    pub arp_inspection: Option<ArpInspection>,
}

impl Default for SwitchConfig {
    /// Every port in VLAN 1, no inspection.
    fn default() -> Self {
        SwitchConfig {
            ageing: DEFAULT_AGEING,
            mac_limit: DEFAULT_MAC_LIMIT,
            ports: Vec::new(),
            arp_inspection: None,
        }
    }
}

/// How a port treats tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortMode {
    /// Untagged frames of one VLAN; tagged ones only if they carry its number.
    Access {
        /// The VLAN, 1 to 4094.
        vlan: u16,
    },
    /// Tagged frames.
    Trunk {
        /// VLANs that may pass; empty for all.
        allowed: Vec<u16>,
        /// The VLAN of untagged frames; `None` drops them.
        native: Option<u16>,
    },
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// How it treats tags.
    pub mode: PortMode,
    /// Addresses that are learnt behind it at most; packets to others are flooded. `None`: as many as fit.
    pub mac_limit: Option<usize>,
    /// Dynamic ARP inspection does not look at it: the port of a router or another switch.
    pub arp_trusted: bool,
}

impl Default for PortConfig {
    /// An access port of VLAN 1.
    fn default() -> Self {
        PortConfig { mode: PortMode::Access { vlan: 1 }, mac_limit: None, arp_trusted: false }
    }
}

#[derive(Debug)]
pub(crate) struct Port {
    ifindex: IfIndex,
    name: String,
    config: PortConfig,
}

/// A switch's state.
#[derive(Debug)]
pub(crate) struct Switch {
    config: SwitchConfig,
    ports: Vec<Port>,
    table: MacTable,
}

impl Switch {
    pub(crate) fn new(config: SwitchConfig) -> Switch {
        Switch { table: MacTable::new(config.mac_limit, config.ageing), config, ports: Vec::new() }
    }

    /// Adds the port; its configuration is the one under its name.
    pub(crate) fn add_port(&mut self, ifindex: IfIndex, name: &str) {
        let config = self.config.ports.iter().find(|(n, _)| n == name).map(|(_, c)| c.clone());
        self.ports.push(Port { ifindex, name: name.into(), config: config.unwrap_or_default() });
    }

    /// Replaces a port's configuration.
    pub(crate) fn set_port(&mut self, ifindex: IfIndex, config: PortConfig) {
        self.port_mut(ifindex).config = config;
    }

    /// A port lost its cable: what was learnt behind it is gone.
    pub(crate) fn port_down(&mut self, ifindex: IfIndex) {
        self.table.forget_port(ifindex);
    }

    /// The address table at `now`, as `bridge fdb show` lists it.
    pub(crate) fn table_text(&self, now: Instant) -> String {
        let mut text = String::new();
        for entry in self.table.entries(now) {
            let name = self.port(entry.port).map_or("?", |p| p.name.as_str());
            text += &format!("{} dev {} vlan {}\n", entry.mac, name, entry.vlan);
        }
        text
    }

    /// Addresses in the table, aged ones included, and how many may be.
    pub(crate) fn table_load(&self) -> (usize, usize) {
        (self.table.len(), self.config.mac_limit)
    }

    fn port(&self, ifindex: IfIndex) -> Option<&Port> {
        // Ports are numbered from 1 in the order in which they were added.
        self.ports.get(ifindex.checked_sub(1)? as usize)
    }

    fn port_mut(&mut self, ifindex: IfIndex) -> &mut Port {
        &mut self.ports[ifindex as usize - 1]
    }
}
