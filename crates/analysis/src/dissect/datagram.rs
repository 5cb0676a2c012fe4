//! UDP: what stands in each datagram. DNS on its ports; QUIC by its long header and its connections' IDs.

use std::collections::BTreeMap;

use super::app::DNS_PORTS;
use super::quic::Quic;
use super::{KeyLog, Layer, PacketLayers, dns};
use crate::traffic::Transmission;

/// Most datagrams whose content is remembered, so that a router's copy is named as the original.
const MAX_SEEN: usize = 1 << 20;

/// All datagrams of a journal.
#[derive(Default)]
pub(super) struct Datagrams {
    layers: BTreeMap<u32, Vec<Layer>>,
    /// QUIC's connections, and the packet that a copy repeats.
    of: BTreeMap<u32, (usize, Option<u32>)>,
    quic: Quic,
    /// QUIC datagrams by their content, which no two have in common: the first packet with it.
    seen: BTreeMap<(u64, usize), u32>,
}

impl Datagrams {
    /// For a second reading with what the first one taught, if there is something in it.
    pub(super) fn again(&mut self) -> Option<Datagrams> {
        let quic = core::mem::take(&mut self.quic).again()?;
        Some(Datagrams { quic, ..Datagrams::default() })
    }

    /// A datagram, in the order of sending.
    pub(super) fn datagram(&mut self, t: &Transmission, keys: &KeyLog) {
        let (Some(h), Some(ip)) = (t.view.udp(), t.view.inner_ip()) else { return };
        let payload = t.view.payload();
        if payload.is_empty() || ip.is_fragment() {
            return;
        }
        let hinted = [h.src_port, h.dst_port].iter().any(|p| DNS_PORTS.contains(p));
        if let Some(layer) = dns::message(payload).filter(|_| hinted) {
            self.layers.insert(t.number, vec![layer]);
            return;
        }
        let key = (digest(payload), payload.len());
        if let Some((first, layers)) = self.seen.get(&key).and_then(|n| Some((*n, self.layers.get(n)?))) {
            let layers = layers.clone();
            self.layers.insert(t.number, layers);
            if let Some((c, _)) = self.of.get(&first).copied() {
                self.of.insert(t.number, (c, Some(first)));
            }
            return;
        }
        let (src, dst) = ((ip.src, h.src_port), (ip.dst, h.dst_port));
        if let Some(layers) = self.quic.datagram(src, dst, payload, keys) {
            self.layers.insert(t.number, layers);
            if let Some(c) = self.quic.connection(src, dst) {
                self.of.insert(t.number, (c, None));
            }
            if self.seen.len() < MAX_SEEN {
                self.seen.insert(key, t.number);
            }
        }
    }

    /// Adds what packet `number` carries to its layers. QUIC's conversations are counted behind TCP's, from `base` on.
    pub(super) fn layers(&self, number: u32, packet: &mut PacketLayers, base: usize) {
        if let Some((c, repeats)) = self.of.get(&number) {
            packet.conversation = u32::try_from(base + c).ok();
            packet.repeats = *repeats;
        }
        packet.layers.extend(self.layers.get(&number).into_iter().flatten().cloned());
    }
}

/// FNV-1a: equal content, equal number; no security wanted.
fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3))
}
