//! What a host counted is at least what the journal saw.

use stack::mib::Counter;
use stack::record::What;
use wire::ethernet::{EtherType, Header};
use wire::{MacAddr, Medium};

use crate::World;
use crate::world::Body;

/// `IpInReceives` and `Ip6InReceives` count every packet that was for the host's MAC address (loopback and
/// tunnels come on top, so it may be more than the wire brought).
pub(super) fn check(world: &World) {
    if !world.config.record {
        return;
    }
    for (id, node) in (0..).zip(&world.nodes) {
        let Body::Host(host) = &node.body else { continue };
        let known = &world.wires.journal.nodes[id as usize].ifaces;
        if known.iter().any(|i| host.stack.interfaces().get(i.ifindex).is_none_or(|now| now.mac != i.mac)) {
            continue; // another address than at the start: which packets were for it is not known any more
        }
        let mut arrived = [0u64; 2];
        for record in world.wires.journal.records.iter().filter(|r| r.node.0 == id) {
            let What::Rx { ifindex, frame, .. } = &record.what else { continue };
            let Some(iface) = host.stack.interfaces().get(*ifindex) else { continue };
            if iface.medium != Medium::Ethernet {
                continue;
            }
            let Ok((header, _)) = Header::parse(frame.head()) else { continue };
            if header.vlan.is_some() || !is_for(header.dst, iface.mac) {
                continue;
            }
            match header.ethertype {
                EtherType::IPV4 => arrived[0] += 1,
                EtherType::IPV6 => arrived[1] += 1,
                _ => {}
            }
        }
        let counted = [Counter::IpInReceives, Counter::Ip6InReceives].map(|c| host.stack.mib().value(c));
        assert!(
            counted.iter().zip(arrived).all(|(counted, arrived)| *counted >= arrived),
            "{}: counted {counted:?} IPv4 and IPv6 packets, {arrived:?} arrived",
            node.name
        );
    }
}

fn is_for(dst: MacAddr, own: MacAddr) -> bool {
    dst == own || dst.is_multicast()
}
