//! UDP: what stands in each datagram. DNS by port or by its shape.

use std::collections::BTreeMap;

use super::app::DNS_PORTS;
use super::{KeyLog, Layer, PacketLayers, dns};
use crate::traffic::Transmission;

/// All datagrams of a journal.
#[derive(Default)]
pub(super) struct Datagrams {
    layers: BTreeMap<u32, Vec<Layer>>,
}

impl Datagrams {
    /// A datagram, in the order of sending.
    pub(super) fn datagram(&mut self, t: &Transmission, _keys: &KeyLog) {
        let (Some(h), Some(ip)) = (t.view.udp(), t.view.inner_ip()) else { return };
        let payload = t.view.payload();
        if payload.is_empty() || ip.is_fragment() {
            return;
        }
        let hinted = [h.src_port, h.dst_port].iter().any(|p| DNS_PORTS.contains(p));
        if let Some(layer) = dns::message(payload).filter(|_| hinted) {
            self.layers.insert(t.number, vec![layer]);
        }
    }

    /// Adds what packet `number` carries to its layers.
    pub(super) fn layers(&self, number: u32, packet: &mut PacketLayers) {
        packet.layers.extend(self.layers.get(&number).into_iter().flatten().cloned());
    }
}
